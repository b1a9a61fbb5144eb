//! Any bytes as the file of remembered DHT peers.
#![no_main]

#[path = "../../crates/endpoint/tests/it/abuse/peers.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
