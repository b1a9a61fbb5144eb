//! Random traffic, bindings and clock jumps at the relay engine.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/relay.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
