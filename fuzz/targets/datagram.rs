//! Any datagrams at a connected call.
#![no_main]

#[path = "../../crates/media/tests/it/abuse/datagram.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
