//! Hostile and random input: one body for each decoder and engine, fed by properties here, by the committed corpus, and by
//! the fuzzer (`fuzz/`), which includes the same files.

mod datagram;
mod description;
mod turn;
mod voice;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// The corpus as it is, and with a few bytes of it changed, for random bytes seldom get far.
macro_rules! bodies {
    ($($name:ident, $corpus:ident, $mutated:ident, $cases:literal;)*) => {
        $(#[test]
        fn $corpus() {
            corpus(stringify!($name)).iter().for_each(|data| $name::run(data));
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases($cases))]
            #[test]
            fn $mutated(file in any::<Index>(), changes in vec((any::<Index>(), any::<u8>()), 1..6)) {
                let corpus = corpus(stringify!($name));
                let mut data = corpus[file.index(corpus.len())].clone();
                for (place, byte) in changes {
                    let at = place.index(data.len());
                    data[at] = byte;
                }
                $name::run(&data);
            }
        })*
    };
}

bodies! {
    datagram, datagram_corpus, datagram_mutated, 200;
    description, description_corpus, description_mutated, 40;
    turn, turn_corpus, turn_mutated, 200;
    voice, voice_corpus, voice_mutated, 200;
}

/// The files of a target's committed corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "an empty corpus proves nothing: {}", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}
