//! A virtual network and a seeded world for tests. Never shipped.
//!
//! ```text
//! network   hosts, clocks, links: latency, jitter, loss, cuts, crashes
//! ```

pub mod network;
