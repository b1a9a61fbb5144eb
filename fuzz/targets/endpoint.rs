//! Random messages, requests and clock jumps at the session engine.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/endpoint.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
