//! Who is there and what is on, watched from another process.

use crate::call::{Running, Town};

#[test]
fn presence_is_seen_by_those_who_may() {
    let town = Town::new();
    let (alice, bob) = (town.did("Alice"), town.did("Bob"));
    let at = ["--node", &town.url];
    let watch = |more: &[&str]| Running::start(&town.home("Alice"), &[&["watch", &bob], &at[..], more].concat());
    let (code, told) = watch(&["--once"]).ends();
    assert_eq!(code, 6, "{told:#?}");
    assert_eq!(told.last().map(|last| last["reason"].clone()), Some("policy.blocked".into()));

    let (code, told) = Running::start(&town.home("Bob"), &[&["presence", "only", &alice], &at[..]].concat()).ends();
    assert_eq!(code, 0, "{told:#?}");
    let mut watching = watch(&[]);
    // The node may still have to hear that the command before this one hung up.
    while watching.until("told")["state"] != "offline" {}
    let answering = town.answers(&[]);
    assert_eq!(watching.until("told")["state"], "available");
    // A process that was killed says no goodbye; the next one takes its place, which is no news (WS-7). Nobody any more, said
    // by the phone itself as it comes back.
    drop(answering);
    let _answering = town.answers(&["--presence", "nobody"]);
    let ended = watching.until("unwatched");
    assert_eq!(ended["reason"], "policy.terminated");
}

#[test]
fn bc_15_a_publication_is_watched_verified_and_withdrawn() {
    let town = Town::new();
    let bob = town.did("Bob");
    let at = ["--node", &town.url];
    let bobs = |command: &[&str]| {
        let (code, told) = Running::start(&town.home("Bob"), &[command, &at[..]].concat()).ends();
        assert_eq!(code, 0, "{told:#?}");
        told.last().cloned().expect("something was told")
    };
    let publish = ["publish", "https://radio.example/live", "--name", "radio", "--title", "Night radio"];
    let published = bobs(&publish)["publication"].as_str().expect("an id").to_owned();
    let mut watching = Running::start(&town.home("Alice"), &[&["watch", &bob, "--stream", "radio"], &at[..]].concat());
    let told = watching.until("told");
    assert_eq!((&told["state"], &told["publication"]), (&"live".into(), &published.as_str().into()));
    let record = &told["record"];
    assert_eq!((&record["verified"], &record["title"]), (&true.into(), &"Night radio".into()));
    assert_eq!((&record["original_publisher"], &record["uri"]), (&bob.as_str().into(), &publish[1].into()));
    assert_eq!(record["integrity_mode"], "metadata-only");
    bobs(&["unpublish", &published, "--name", "radio"]);
    assert_eq!(watching.until("told")["state"], "withdrawn");
}
