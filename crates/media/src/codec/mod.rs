//! Codecs behind a safe face.

pub mod opus;

/// Samples per second of everything in this crate.
pub const RATE: u32 = 48_000;

/// Samples in one 20 ms frame.
pub const FRAME: usize = 960;
