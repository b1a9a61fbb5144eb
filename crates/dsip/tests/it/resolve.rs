//! `dsip resolve`: what is known about a target, and what of it has authority.

use crate::{complaint, dsip, last_event};

const BOB: &str = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";

#[test]
fn what_a_link_says_is_shown_as_advice_and_the_key_as_authority() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = format!("dsip:{BOB}?node=wss://192.0.2.7:7443/dsip&name=Bob");
    let resolved = dsip(dir.path(), &["resolve", &link, "--json"]);
    assert_eq!(resolved.status.code(), Some(0));
    let found = last_event(&resolved);
    assert_eq!(found["did"], BOB);
    assert_eq!(found["claimed_name"], "Bob");
    assert_eq!(found["document"]["authority"], true);
    assert_eq!(found["dial"][0]["source"], "link");
    assert_eq!(found["dial"][0]["authority"], false);
    let shown = dsip(dir.path(), &["resolve", BOB]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("nobody says where"));
}

#[test]
fn what_cannot_be_resolved_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let private = dsip(dir.path(), &["resolve", "did:web:127.0.0.1%3A1", "--json"]);
    assert_eq!(private.status.code(), Some(4));
    let why = last_event(&private)["document"]["error"].as_str().expect("a reason").to_owned();
    assert!(why.contains("--allow-private"), "{why}");
    for nonsense in ["bob", "did:key", "dsip:bob"] {
        let refused = dsip(dir.path(), &["resolve", nonsense]);
        assert_eq!(refused.status.code(), Some(2), "{nonsense}");
        assert!(complaint(&refused).contains("TARGET"));
    }
}
