//! Any audio packets of an authenticated peer.
#![no_main]

#[path = "../../crates/media/tests/it/abuse/voice.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
