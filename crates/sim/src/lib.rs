//! A virtual network and a seeded world for tests. Never shipped.
//!
//! ```text
//! network   hosts, clocks, links: latency, jitter, loss, cuts, crashes
//! story     what happened, printed when a world fails
//! world     phones and nodes on the network, and the people who use them
//! ```

pub mod network;
mod story;
pub mod world;
