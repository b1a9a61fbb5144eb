//! Any bytes as a `dsip:` link.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/link.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
