//! Runs directories of conformance vectors: this repository's own, and the shared suite where it lies beside it.

use std::fs;
use std::path::{Path, PathBuf};

use dsip_proto::conformance;

/// Where the shared suite is expected unless `DSIP_SHARED` names another place.
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");

/// The kinds that the suite knows, so that one may be run by name: `cargo test vectors::shared_envelope`.
macro_rules! kinds {
    ($($name:ident: $kind:literal,)*) => {$(
        #[test]
        fn $name() {
            if let Some(root) = shared() {
                check(&root, $kind);
            }
        }
    )*};
}

kinds! {
    shared_broadcast: "broadcast",
    shared_dht: "dht",
    shared_envelope: "envelope",
    shared_gateway: "gateway",
    shared_media_binding: "media-binding",
    shared_payload: "payload",
    shared_semantic: "semantic",
    shared_state: "state",
    shared_transport: "transport",
    shared_trust: "trust",
}

/// This repository's own vectors.
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors");

/// Everything in `vectors/`, whoever put it there.
#[test]
fn repository_vectors_pass() {
    let mut kinds: Vec<String> = fs::read_dir(OWN)
        .expect("the repository's vectors")
        .map(|entry| entry.expect("a readable directory"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    kinds.sort();
    for kind in kinds {
        check(Path::new(OWN), &kind);
    }
}

/// The root of the shared vectors; they may be absent, except on CI.
fn shared() -> Option<PathBuf> {
    let base = std::env::var_os("DSIP_SHARED").map_or_else(|| PathBuf::from(SHARED), PathBuf::from);
    let root = base.join("conformance/vectors");
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no shared vectors at {}", root.display());
    None
}

fn check(root: &Path, kind: &str) {
    let report = conformance::run_all(read(root, kind));
    assert!(report.is_success(), "{kind}:\n{report}");
}

/// The vectors of one folder, as (name, text), in the order of their names.
fn read(root: &Path, kind: &str) -> Vec<(String, String)> {
    let folder = root.join(kind);
    let mut vectors: Vec<(String, String)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("an UTF-8 file name");
            (format!("{kind}/{name}"), fs::read_to_string(&path).expect("a readable file"))
        })
        .collect();
    vectors.sort();
    vectors
}
