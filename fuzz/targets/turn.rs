//! Any operations on a TURN server.
#![no_main]

#[path = "../../crates/media/tests/it/abuse/turn.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
