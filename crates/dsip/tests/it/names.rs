//! Names: from the operator who gives one to a call by it, and a key that is replaced.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::call::Running;
use crate::{complaint, dsip, last_event};

/// A node that hosts the names of `localhost`, and what is needed to reach it.
struct Village {
    dir: tempfile::TempDir,
    node: Running,
    port: String,
    url: String,
    ca: String,
}

impl Village {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let arguments = ["node", "--listen", "127.0.0.1:0", "--domain", "localhost", "--log", "warn"];
        let mut node = Running::start(&dir.path().join("node"), &arguments);
        let ready = node.until("ready");
        let text = |name: &str| ready[name].as_str().expect("text").to_owned();
        let port = text("wss").trim_start_matches("wss://localhost:").trim_end_matches("/dsip").to_owned();
        assert_eq!(text("web"), format!("https://localhost:{port}/"), "where browsers get a phone");
        Self { dir, node, port, url: text("url"), ca: text("ca") }
    }

    fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn alias(&self, name: &str) -> String {
        format!("{name}@localhost:{}", self.port)
    }

    /// What somebody's program says, who trusts the node's certificate.
    fn says(&self, name: &str, arguments: &[&str]) -> std::process::Output {
        dsip(&self.home(name), &[arguments, &["--ca", &self.ca, "--allow-private", "--json"]].concat())
    }

    /// What the operator's program says.
    fn user(&self, arguments: &[&str]) -> std::process::Output {
        dsip(&self.home("node"), &[&["node", "--listen", "127.0.0.1:0", "user"], arguments].concat())
    }

    /// Somebody with an identity.
    fn settler(&self, name: &str) -> String {
        let made = dsip(&self.home(name), &["id", "new", "--no-passphrase", "--json"]);
        last_event(&made)["did"].as_str().expect("a DID").to_owned()
    }

    /// Bob waits, Alice calls him by his name.
    fn call(&self) -> (i32, Vec<Value>) {
        let reach = ["--ca", &self.ca, "--allow-private"];
        let waits = ["answer", "--node", &self.url, "--auto", "accept", "--once"];
        let mut bob = Running::start(&self.home("bob"), &[&waits[..], &reach].concat());
        bob.until("ready");
        let calls = ["call", &self.alias("bob"), "--duration", "0.3"];
        let alice = Running::start(&self.home("alice"), &[&calls[..], &reach].concat());
        let (code, told) = alice.ends();
        if code == 0 {
            assert_eq!(bob.ends().0, 0);
        }
        (code, told)
    }
}

#[test]
fn somebody_is_given_a_name_called_by_it_and_changes_their_key() {
    let village = Village::new();
    let (_, bob) = (village.settler("alice"), village.settler("bob"));
    let early = village.says("bob", &["id", "adopt", &village.alias("bob")]);
    assert_eq!(early.status.code(), Some(4));
    assert!(complaint(&early).contains("nothing of that name"), "{early:?}");

    let added = village.user(&["add", "bob", "--did", &bob]);
    let did = format!("did:web:localhost%3A{}:users:bob", village.port);
    let shown = String::from_utf8(added.stdout).expect("text");
    for part in ["█", &format!("dsip:{did}"), &village.alias("bob"), &bob, "dsip id adopt"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let stranger = village.says("alice", &["id", "adopt", &village.alias("bob")]);
    assert_eq!(stranger.status.code(), Some(3));
    assert!(complaint(&stranger).contains("does not list"), "{stranger:?}");
    let adopted = last_event(&village.says("bob", &["id", "adopt", &village.alias("bob")]));
    assert_eq!((adopted["did"].as_str(), adopted["delegations"][0]["subject"].as_str()), (Some(&*did), Some(&*did)));

    let found = last_event(&village.says("alice", &["resolve", &village.alias("bob")]));
    // ALS-7, ALS-8: the DID is who it is, also in a call; the alias is how one got there.
    assert_eq!((found["did"].as_str(), found["alias"]["source"].as_str()), (Some(&*did), Some("webfinger")));
    assert_eq!((&found["dial"][0]["source"], &found["dial"][0]["authority"]), (&"document".into(), &true.into()));
    let link = format!("dsip:{did}");
    assert_eq!(last_event(&village.says("alice", &["resolve", &link]))["did"], *did);
    let (code, told) = village.call();
    assert_eq!(code, 0, "{told:#?}");
    let answered = told.iter().find(|event| event["event"] == "answered").expect("answered");
    assert_eq!(
        (answered["identity"].as_str(), answered["basis"].as_str()),
        (Some(&*did), Some(&*format!("Domain verified ({did})")))
    );

    // Over HTTPS, to the node.
    let key = |village: &Village| last_event(&village.user(&["show", "bob", "--json"]))["key"].clone();
    let rotated = village.says("bob", &["id", "rotate", "--reason", "compromised"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let second = key(&village);
    assert_ne!(second, bob);
    let (code, told) = village.call();
    assert_eq!(code, 0, "{told:#?}");

    // By a file, through the operator.
    let printed = village.says("bob", &["id", "rotate", "--print"]);
    let file = village.home("record.json");
    fs::write(&file, printed.stdout).expect("written");
    let entered = village.user(&["rotate", "bob", &file.to_string_lossy()]);
    assert!(entered.status.success(), "{entered:?}");
    let third = key(&village);
    assert!(third != second && third != bob);
    assert!(village.says("bob", &["id", "rotate"]).status.success(), "it finishes what was begun");
    assert_eq!(key(&village), third);
    let (code, told) = village.call();
    assert_eq!(code, 0, "{told:#?}");

    let removed = village.user(&["remove", "bob"]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(village.says("alice", &["resolve", &village.alias("bob")]).status.code(), Some(4));
    drop(village.node);
}

#[test]
fn a_second_device_follows_its_identity_to_the_name() {
    let village = Village::new();
    let bob = village.settler("bob");
    let laptop = last_event(&village.says("laptop", &["id", "new", "--device-only"]));
    let device = laptop["device"].as_str().expect("a device");
    let join = |village: &Village| {
        let file = village.home("delegation.json");
        fs::write(&file, village.says("bob", &["id", "delegate", device]).stdout).expect("written");
        last_event(&village.says("laptop", &["id", "import", &file.to_string_lossy()]))
    };
    assert_eq!(join(&village)["did"], *bob);
    assert!(village.user(&["add", "bob", "--did", &bob]).status.success());
    let did = last_event(&village.says("bob", &["id", "adopt", &village.alias("bob")]))["did"].clone();
    assert_eq!(join(&village)["did"], did);
}

#[test]
fn an_operators_mistakes_cost_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";
    let user =
        |arguments: &[&str]| dsip(dir.path(), &[&["node", "--domain", "example.org", "user"], arguments].concat());
    let homeless = dsip(dir.path(), &["node", "user", "add", "bob", "--did", key]);
    assert_eq!(homeless.status.code(), Some(2));
    assert!(complaint(&homeless).contains("--domain"));
    assert!(user(&["add", "bob", "--did", key]).status.success());
    for (arguments, word) in [
        (&["add", "bob", "--did", key][..], "taken"),
        (&["add", "../bob", "--did", key], "no name"),
        (&["add", "Bob", "--did", key], "no name"),
        (&["add", "carol", "--did", "did:web:example.org"], "--did"),
        (&["add", "carol"], "--did"),
        (&["show", "carol"], "nobody"),
        (&["remove", "carol"], "nobody"),
        (&["rotate", "bob", "/nowhere"], "/nowhere"),
    ] {
        let refused = user(arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(complaint(&refused).contains(word), "{refused:?}");
    }
    let listed = user(&["list"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), format!("bob@example.org  {key}"));
    for domain in ["127.0.0.1", "example.org:0", "https://example.org", "ex ample.org"] {
        let refused = dsip(dir.path(), &["node", "--domain", domain, "user", "list"]);
        assert_eq!(refused.status.code(), Some(2), "{domain}");
        assert!(complaint(&refused).contains("--domain"));
    }
    for (arguments, word) in [
        (&["--acme"][..], "--domain"),
        (&["--acme", "--domain", "example.org", "--acme-directory", "http://ca.example"], "--acme-directory"),
        (&["--acme", "--domain", "example.org", "--certificate", "c.pem", "--key", "k.pem"], "--acme"),
    ] {
        let refused = dsip(dir.path(), &[&["node"], arguments, &["check-config"]].concat());
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(complaint(&refused).contains(word), "{refused:?}");
    }
    let home = dir.path().join("key");
    assert!(dsip(&home, &["id", "new", "--no-passphrase"]).status.success());
    let rigid = dsip(&home, &["id", "rotate"]);
    assert_eq!(rigid.status.code(), Some(3));
    assert!(complaint(&rigid).contains("dsip id adopt"));
}
