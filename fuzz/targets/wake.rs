//! Any bytes as a push endpoint.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/wake.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
