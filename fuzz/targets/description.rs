//! Any text as a peer's SDP.
#![no_main]

#[path = "../../crates/media/tests/it/abuse/description.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
