//! Our own conformance vectors: made here, kept in `vectors/`, run like any others.
//!
//! They cover rules that the shared suite leaves unpinned, and rows of its tables that it has no file for. What is
//! expected is written by hand from the rule that `spec_ref` names, never computed by the code under test. After a change
//! here, `DSIP_WRITE_VECTORS=1 cargo test -p dsip-proto --test it own` writes the files anew.

mod gateway;
mod media_binding;
mod signed;
mod subscriptions;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dsip_proto::conformance;
use serde::Serialize;
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors");

/// What the names of the vectors made here start with.
const OURS: [&str; 11] = [
    "broadcast/",
    "dht/",
    "envelope/",
    "gateway/",
    "media-binding/",
    "payload/",
    "semantic/",
    "state/authority-",
    "state/subscriber-",
    "transport/",
    "trust/",
];

/// One vector file (VEC-2).
#[derive(Serialize)]
pub(crate) struct Vector {
    vector: String,
    format: u8,
    kind: &'static str,
    description: String,
    spec_ref: Vec<&'static str>,
    context: Value,
    input: Value,
    expect: Value,
}

impl Vector {
    /// A vector of `kind` with an empty context. `rules` are the ids it pins.
    pub(crate) fn new(kind: &'static str, name: &str, rules: &[&'static str], description: &str) -> Self {
        Self {
            vector: format!("{kind}/{name}"),
            format: 1,
            kind,
            description: description.to_owned(),
            spec_ref: rules.to_vec(),
            context: json!({}),
            input: json!({}),
            expect: json!({}),
        }
    }

    pub(crate) fn context(mut self, context: Value) -> Self {
        self.context = context;
        self
    }

    pub(crate) fn input(mut self, input: Value) -> Self {
        self.input = input;
        self
    }

    pub(crate) fn expect(mut self, expect: Value) -> Self {
        self.expect = expect;
        self
    }

    fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("a vector is plain JSON");
        format!("{text}\n")
    }
}

fn all() -> BTreeMap<String, String> {
    let sections = [media_binding::vectors(), gateway::vectors(), signed::vectors(), subscriptions::vectors()];
    let mut files = BTreeMap::new();
    for vector in sections.into_iter().flatten() {
        let previous = files.insert(vector.vector.clone(), vector.text());
        assert!(previous.is_none(), "two vectors are called {}", vector.vector);
    }
    files
}

#[test]
fn own_vectors_pass() {
    let report = conformance::run_all(all());
    assert!(report.is_success(), "{report}");
}

#[test]
fn own_vectors_on_disk_are_the_ones_made_here() {
    let root = Path::new(ROOT);
    let made = all();
    if std::env::var_os("DSIP_WRITE_VECTORS").is_some() {
        write(root, &made);
    }
    let kept = keep(root);
    let missing: Vec<_> =
        made.iter().filter(|(name, text)| kept.get(*name) != Some(*text)).map(|(name, _)| name).collect();
    let left_over: Vec<_> = kept.keys().filter(|name| !made.contains_key(*name)).collect();
    assert!(
        missing.is_empty() && left_over.is_empty(),
        "vectors/ is stale; `DSIP_WRITE_VECTORS=1 cargo test -p dsip-proto --test it own` writes it anew.\n\
         differ: {missing:?}\nleft over: {left_over:?}"
    );
}

fn write(root: &Path, files: &BTreeMap<String, String>) {
    for name in keep(root).keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(path(root, name)).expect("a file that can be removed");
    }
    for (name, text) in files {
        let path = path(root, name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder that can be made");
        fs::write(path, text).expect("a file that can be written");
    }
}

/// The vectors below `root` that are made here, by name.
fn keep(root: &Path) -> BTreeMap<String, String> {
    let ours = |name: &String| OURS.iter().any(|start| name.starts_with(start));
    let folders = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let files =
        folders.filter(|path| path.is_dir()).flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root").with_extension("");
            let name = name.to_str().expect("an UTF-8 name").replace('\\', "/");
            (name, fs::read_to_string(&path).expect("a readable file"))
        })
        .filter(|(name, _)| ours(name))
        .collect()
}

fn path(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.json"))
}
