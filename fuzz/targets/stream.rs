//! Any octets on a QUIC stream.
#![no_main]

#[path = "../../crates/endpoint/tests/it/abuse/stream.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
