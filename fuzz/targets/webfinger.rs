//! Any bytes as an alias and as what a domain answers about one.
#![no_main]

#[path = "../../crates/endpoint/tests/it/abuse/webfinger.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));
