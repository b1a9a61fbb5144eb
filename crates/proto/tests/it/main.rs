//! The crate's integration tests, in one binary.

mod own;
#[path = "../../examples/generate_vectors/suite/mod.rs"]
mod suite;
mod vectors;
