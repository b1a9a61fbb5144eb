//! The crate's integration tests, in one binary.

mod abuse;
mod own;
mod vectors;
