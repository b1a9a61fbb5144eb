//! Any bytes as JSON text.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/json.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
