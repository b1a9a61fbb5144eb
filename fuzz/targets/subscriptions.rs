//! Random publishers, processors and subscribers at one authority, and a subscriber at the other end.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/subscriptions.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
