//! Hostile input at the endpoint's decoders: their corpus as it is, and with a few bytes of it changed. The fuzzer
//! (`fuzz/`) includes the same bodies.

mod peers;
mod recording;
mod stream;
mod webfinger;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

macro_rules! decoders {
    ($($name:ident, $corpus:ident, $mutated:ident;)*) => {
        $(#[test]
        fn $corpus() {
            corpus(stringify!($name)).iter().for_each(|data| $name::run(data));
        })*

        proptest! {
            $(#[test]
            fn $mutated(file in any::<Index>(), changes in vec((any::<Index>(), any::<u8>()), 1..4)) {
                let corpus = corpus(stringify!($name));
                let mut data = file.get(&corpus).clone();
                for (place, byte) in changes {
                    let at = place.index(data.len());
                    data[at] = byte;
                }
                $name::run(&data);
            })*
        }
    };
}

decoders! {
    peers, peers_corpus, peers_mutated;
    recording, recording_corpus, recording_mutated;
    stream, stream_corpus, stream_mutated;
    webfinger, webfinger_corpus, webfinger_mutated;
}

/// The files of a target's committed corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let corpus: Vec<_> =
        files.map(|file| std::fs::read(file.expect("a folder").path()).expect("a readable file")).collect();
    assert!(!corpus.is_empty(), "an empty corpus proves nothing: {}", folder.display());
    corpus
}
