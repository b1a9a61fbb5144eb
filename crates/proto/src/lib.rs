//! The rules of DSIP: who signed what, whether it is acceptable, and what happens next.
//!
//! Everything here is pure. A caller brings the bytes, both clocks ([`time::Now`]), randomness ([`time::Seed`]) and the
//! DID documents it resolved; the crate answers with values to send, store, show or ask. Nothing here opens a socket,
//! reads a clock or starts a task, so a whole world of callers and relays replays from a seed.
//!
//! A module imports only what stands above it in this list, and siblings on one line never import each other:
//!
//! ```text
//! time         both clocks, seeded randomness
//! wire         strict JSON, ids, message structs, registries: text <-> plain values, no meaning
//! link         `dsip:` links, what a QR code holds
//! reach        which addresses belong to the public internet
//! turn         credentials for a node's TURN server
//! wake         push endpoints of devices that sleep
//! identity     DIDs and documents, keys, delegation
//! envelope     sign; verify: the only maker of Verified<T>
//! endpoint   relay   broadcast   hints   binding   trust
//! subscribe   gateway      on top of broadcast; of binding and trust
//! agent        composes the above into one phone
//! conformance  runs the language-neutral vectors against all of it
//! ```

pub mod agent;
pub mod binding;
pub mod broadcast;
pub mod conformance;
pub mod endpoint;
pub mod envelope;
pub mod gateway;
pub mod hints;
pub mod identity;
pub mod link;
pub mod reach;
pub mod relay;
pub mod subscribe;
pub mod time;
pub mod trust;
pub mod turn;
pub mod wake;
pub mod wire;
