//! Any bytes as a record from the overlay.
#![no_main]

#[allow(dead_code, reason = "its own target runs it; here only its keys and clock are wanted")]
#[path = "../../crates/proto/tests/it/abuse/frame.rs"]
mod frame;
#[path = "../../crates/proto/tests/it/abuse/hint.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
