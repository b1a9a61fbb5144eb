//! Any text as SDP, through the reader, the checks and the trunk mapping.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/sdp.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
