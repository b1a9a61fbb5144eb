//! A virtual network and a seeded world for tests. Never shipped.
//!
//! ```text
//! network   hosts, clocks, links: latency, jitter, loss, cuts, crashes
//! disk      what a node wrote, and what of it is safe
//! counter   a client that counts what it was promised and what came
//! story     what happened, printed when a world fails
//! world     phones and nodes on the network, and the people who use them
//! setup     one call with real media, timed from the press of the button to the first audio
//! ```

mod counter;
mod disk;
pub mod network;
pub mod setup;
mod story;
pub mod world;
