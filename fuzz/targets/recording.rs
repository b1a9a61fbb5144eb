//! Any bytes as an audio file.
#![no_main]

#[path = "../../crates/endpoint/tests/it/abuse/recording.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
