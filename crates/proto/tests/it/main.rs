//! The crate's integration tests, in one binary.

mod abuse;
mod admittance;
mod agent;
mod custody;
mod host;
mod own;
mod properties;
mod subscriptions;
mod vectors;
mod wake;
