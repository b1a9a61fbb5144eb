//! Any bytes as the delegations of a well-signed envelope.
#![no_main]

#[allow(dead_code, reason = "its own target runs it; here only its keys and clock are wanted")]
#[path = "../../crates/proto/tests/it/abuse/frame.rs"]
mod frame;
#[path = "../../crates/proto/tests/it/abuse/delegations.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
