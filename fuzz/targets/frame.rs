//! Any bytes as a received frame.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/frame.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
