//! `dsip conformance`: the vectors of this repository, the shared ones, and how a failure is shown.

use std::path::{Path, PathBuf};

use crate::dsip;

/// The shared vectors lie beside the repository; continuous integration must have them.
fn shared_vectors() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("DSIP_SHARED").map_or_else(beside, PathBuf::from).join("conformance/vectors");
    let required = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(dir.is_dir() || !required, "{} is missing", dir.display());
    dir.is_dir().then_some(dir)
}

#[test]
fn every_shared_vector_passes_in_the_binary() {
    match shared_vectors() {
        Some(dir) => every_vector_passes(&dir),
        None => println!("skipped: the shared vectors are not there; DSIP_SHARED says where they are"),
    }
}

#[test]
fn every_vector_of_our_own_passes_in_the_binary() {
    every_vector_passes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors"));
}

fn every_vector_passes(dir: &Path) {
    let home = tempfile::tempdir().expect("a directory");
    let ran = dsip(home.path(), &["conformance", &dir.to_string_lossy()]);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let totals = said.lines().next_back().unwrap_or_default();
    assert!(totals.ends_with(" passed, 0 failed"), "{said}");
    assert_eq!(ran.status.code(), Some(0));
}

#[test]
fn a_wrong_expectation_is_shown_with_its_difference() {
    let dir = tempfile::tempdir().expect("a directory");
    let vector = r#"{"vector":"payload/wrong","format":1,"kind":"payload","description":"","spec_ref":[],"context":{},
        "input":{"schema":"envelope","payload":{}},"expect":{"verdict":"accept"}}"#;
    std::fs::create_dir(dir.path().join("payload")).expect("made");
    std::fs::write(dir.path().join("payload/wrong.json"), vector).expect("written");
    let ran = dsip(dir.path(), &["conformance", &dir.path().to_string_lossy()]);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.contains("FAIL payload/wrong\n     /"), "{said}");
    assert!(said.ends_with("0 passed, 1 failed\n"), "{said}");
    assert_eq!(ran.status.code(), Some(1));
}
