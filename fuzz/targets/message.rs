//! Any bytes as a message payload.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/message.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
