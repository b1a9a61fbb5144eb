//! The WebAssembly face of [`dsip_proto`]: an agent in, an agent out.
//!
//! ```text
//!   page (TypeScript)                      this crate                        dsip-proto
//!   WebSocket, WebRTC, IndexedDB ──► JSON ► Phone::command, received, … ──► agent::Agent
//!                                ◄── JSON ◄ Phone::poll                ◄── agent::Output
//!   WebCrypto ──────────────────────────► keys: delegations, sealing, words
//! ```
//!
//! Everything crosses the border as text or octets, so that the glue stays small; numbers of the clock cross as `f64`. Nothing is
//! decided here: no signature is checked, no state changes and nothing is tried again that [`dsip_proto`] did not say. The page
//! brings randomness and time, as any driver of `proto` does.

mod border;
mod conformance;
mod event;
mod keys;
mod link;
mod locate;
mod phone;

pub use conformance::run_vector;
pub use keys::{
    adopted, delegate, did_of_public, did_of_secret, fingerprint, open_secret, renewed, seal_secret, secret_of_words,
    words_of_secret,
};
pub use locate::{document_places, document_url, record_places};
pub use link::{format_link, parse_link, qr_code};
pub use phone::{Phone, signed, signing_input};
