//! Random connections, frames, documents and clock jumps at a relay's server side.
#![no_main]

#[path = "../../crates/proto/tests/it/abuse/host.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
