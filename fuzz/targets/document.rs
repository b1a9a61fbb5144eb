//! Any bytes as a DID document.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/document.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
