//! Random messages and responses at one gateway controller.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/gateway.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
