//! Calls in a virtual network and in virtual time.

#![allow(clippy::unwrap_used, missing_docs)]

mod abuse;
mod call;
mod hostile;
mod listening;
mod negotiation;
mod roaming;
mod world;
