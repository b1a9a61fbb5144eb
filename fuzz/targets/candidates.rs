//! Random candidates, messages and endings at one candidate exchange and its pacer.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/candidates.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
