//! Hostile and random input: one body for each engine, fed by properties here, by the committed corpus, and by the fuzzer
//! (`fuzz/`), which includes the same files.

mod endpoint;
mod relay;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn endpoint_operations(data in vec(any::<u8>(), 0..3_000)) {
        endpoint::run(&data);
    }

    #[test]
    fn relay_operations(data in vec(any::<u8>(), 0..3_000)) {
        relay::run(&data);
    }
}

#[test]
fn endpoint_corpus() {
    replay("endpoint", endpoint::run);
}

#[test]
fn relay_corpus() {
    replay("relay", relay::run);
}

/// Runs `body` on every file of a target's committed corpus.
fn replay(target: &str, body: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display())) {
        body(&std::fs::read(entry.expect("a readable directory").path()).expect("a readable file"));
        replayed += 1;
    }
    assert!(replayed > 0, "an empty corpus proves nothing: {}", corpus.display());
}
