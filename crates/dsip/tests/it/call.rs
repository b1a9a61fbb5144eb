//! Two people, each a process, and a node between them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dsip_endpoint::audio::{self, Sink};
use dsip_media::audio::quality::compare;
use dsip_media::audio::signal;
use dsip_node::{Config, Node};
use serde_json::Value;

/// Nothing in these tests takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(40);

/// A process of ours, and what it tells line by line.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Value>,
    told: Vec<Value>,
}

impl Running {
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dsip"));
        for name in ["DSIP_NODE", "DSIP_DHT", "DSIP_CA", "DSIP_PASSPHRASE_FILE", "DSIP_JSON"] {
            command.env_remove(name);
        }
        command.env("DSIP_HOME", home).args(arguments).arg("--json");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let stdout = child.stdout.take().expect("piped");
        let stdin = child.stdin.take();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines, told: Vec::new() }
    }

    /// Waits for an event of that name.
    pub(crate) fn until(&mut self, name: &str) -> Value {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(value) => {
                    self.told.push(value.clone());
                    if value["event"] == name {
                        return value;
                    }
                }
                Err(error) => panic!("no {name:?} ({error}); told so far: {:#?}", self.told),
            }
        }
    }

    /// Waits for one event of each name, in any order.
    fn until_all(&mut self, names: &[&str]) {
        let start = self.told.len();
        for name in names {
            if !self.told.iter().skip(start).any(|told| told["event"] == *name) {
                self.until(name);
            }
        }
    }

    fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").expect("written");
    }

    /// Waits for the end; gives the exit code.
    pub(crate) fn ends(mut self) -> (i32, Vec<Value>) {
        let status = self.child.wait().expect("waited for");
        self.told.extend(self.lines.iter());
        (status.code().unwrap_or(-1), std::mem::take(&mut self.told))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node, and homes for Alice and Bob.
pub(crate) struct Town {
    node: Option<Node>,
    pub(crate) runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    pub(crate) url: String,
    dht: String,
}

impl Town {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let mut config = Config::new(dir.path().join("node"), loopback);
        change(&mut config);
        let node = runtime.block_on(Node::start(config)).expect("a node");
        let (url, dht) = (node.ready().url(), node.ready().dht.clone());
        for name in ["Alice", "Bob"] {
            let made = super::dsip(&dir.path().join(name), &["id", "new", "--no-passphrase", "--name", name]);
            assert!(made.status.success(), "{made:?}");
        }
        Self { node: Some(node), runtime, dir, url, dht }
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn did(&self, name: &str) -> String {
        let shown = super::dsip(&self.home(name), &["id", "show", "--json"]);
        super::last_event(&shown)["did"].as_str().expect("a DID").to_owned()
    }

    /// Some seconds of sound that is different for every seed.
    fn speech(&self, seed: u64, seconds: usize) -> PathBuf {
        let path = self.dir.path().join(format!("speech-{seed}.wav"));
        let samples: Vec<f32> = signal::speechlike(seed).take(48_000 * seconds).collect();
        self.runtime.block_on(async {
            let mut sink = Sink::open(path.to_str().expect("text")).expect("a file");
            for frame in samples.chunks(960) {
                sink.write(frame);
            }
            sink.finish().await.expect("written");
        });
        path
    }

    pub(crate) fn answers(&self, more: &[&str]) -> Running {
        let mut bob = Running::start(&self.home("Bob"), &[&["answer", "--node", &self.url], more].concat());
        bob.until("ready");
        bob
    }

    pub(crate) fn calls(&self, more: &[&str]) -> Running {
        let bob = self.did("Bob");
        Running::start(&self.home("Alice"), &[&["call", &bob, "--node", &self.url], more].concat())
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.shutdown());
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn names(told: &[Value]) -> Vec<&str> {
    told.iter().filter_map(|event| event["event"].as_str()).collect()
}

#[test]
fn a_call_carries_speech_both_ways_and_ends_well() {
    let town = Town::new();
    let (alices, bobs) = (town.speech(1, 4), town.speech(2, 4));
    let (heard_by_alice, heard_by_bob) = (town.dir.path().join("alice.wav"), town.dir.path().join("bob.wav"));
    let bob =
        town.answers(&["--auto", "accept", "--once", "--audio-in", text(&bobs), "--audio-out", text(&heard_by_bob)]);
    let alice = town.calls(&["--audio-in", text(&alices), "--audio-out", text(&heard_by_alice), "--duration", "4.5"]);
    let (code, told) = alice.ends();
    assert_eq!(code, 0, "{told:#?}");
    let mut rest = names(&told).into_iter();
    for expected in ["found", "dialling", "invited", "ringing", "answered", "talking", "ended", "stats"] {
        assert!(rest.any(|name| name == expected), "{expected} is missing or out of order: {told:#?}");
    }
    let answered = told.iter().find(|event| event["event"] == "answered").expect("answered");
    assert_eq!(answered["answered_by"], "user");
    assert_eq!(answered["identity"], town.did("Bob"));
    assert_eq!(answered["basis"], "Self-issued identity");

    let (code, told) = bob.ends();
    assert_eq!(code, 0, "{told:#?}");
    let incoming = told.iter().find(|event| event["event"] == "incoming");
    assert!(incoming.is_none_or(|incoming| incoming["claimed_name"] == "Alice"), "{told:#?}");
    for (source, recording) in [(&alices, &heard_by_bob), (&bobs, &heard_by_alice)] {
        let (source, recording) = (audio::read(source).expect("audio"), audio::read(recording).expect("audio"));
        let similarity = compare(&source, &recording);
        assert!(similarity.is_faithful(), "{similarity:?}");
    }
}

#[test]
fn a_declined_call_is_refused_and_nobody_missed_it() {
    let town = Town::new();
    let bob = town.answers(&["--auto", "decline", "--once"]);
    let (code, told) = town.calls(&[]).ends();
    assert_eq!(code, 6, "{told:#?}");
    let ended = told.iter().find(|event| event["event"] == "ended").expect("ended");
    assert_eq!(ended["reason"], "user.declined");
    let (code, told) = bob.ends();
    assert_eq!(code, 0);
    assert!(told.iter().filter(|event| event["event"] == "ended").all(|event| event["missed"] == false), "{told:#?}");
}

#[cfg(unix)]
#[test]
fn asked_to_end_a_caller_hangs_up_first() {
    let town = Town::new();
    let bob = town.answers(&["--auto", "accept", "--once"]);
    let mut alice = town.calls(&[]);
    alice.until("talking");
    let sent = Command::new("kill").args(["-TERM", &alice.child.id().to_string()]).status();
    assert!(sent.expect("there is kill").success());
    assert_eq!(alice.ends().0, 0);
    let (code, told) = bob.ends();
    assert_eq!(code, 0);
    let ended = told.iter().find(|event| event["event"] == "ended").expect("ended");
    assert_eq!((&ended["reason"], &ended["by"]), (&"user.hangup".into(), &"peer".into()));
}

#[test]
fn scr_3_a_screened_call_is_taken_over() {
    let town = Town::new();
    let mut bob = town.answers(&["--once", "--audio-in", "tone:300"]);
    let mut alice = town.calls(&["--audio-in", "tone:500"]);
    bob.until("incoming");
    bob.types("s");
    assert_eq!(alice.until("answered")["answered_by"], "screening");
    bob.until("talking");
    bob.types("t");
    let updated = alice.until("updated");
    assert_eq!(updated["answered_by"], "user");
    assert_eq!(updated["direction"], "sendrecv");
    bob.types("h");
    let (code, told) = alice.ends();
    assert_eq!(code, 0, "{told:#?}");
    assert_eq!(bob.ends().0, 0);
}

#[test]
fn somebody_is_found_in_the_dht_and_called_at_another_node_than_ones_own() {
    let town = Town::new();
    let mut bob = town.answers(&["--auto", "accept", "--once", "--publish", "--dht", &town.dht]);
    bob.until("published");
    let bob_did = town.did("Bob");
    let alice = Running::start(
        &town.home("Alice"),
        &["call", &bob_did, "--as", "ephemeral", "--dht", &town.dht, "--duration", "0.5"],
    );
    let (code, told) = alice.ends();
    assert_eq!(code, 0, "{told:#?}");
    let found = told.iter().find(|event| event["event"] == "found").expect("found");
    assert_eq!(found["places"][0]["uri"], town.url.split('#').next().expect("a URL"));
    assert_eq!(bob.ends().0, 0);
}

#[test]
fn a_stranger_has_to_introduce_themselves_where_first_contact_is_asked_for() {
    let town = Town::new();
    let mut bob = town.answers(&["--auto", "accept", "--first-contact"]);
    let (code, told) = town.calls(&[]).ends();
    assert_eq!(code, 6, "{told:#?}");
    let ended = told.iter().find(|event| event["event"] == "ended").expect("ended");
    assert_eq!(ended["reason"], "policy.first-contact-required");

    let bob_did = town.did("Bob");
    let asks = ["introduce", &bob_did, "--purpose", "about the boat", "--node", &town.url, "--wait", "0.2"];
    assert_eq!(Running::start(&town.home("Alice"), &asks).ends().0, 0);
    let introduction = bob.until("introduction");
    assert_eq!(introduction["purpose"], "about the boat");

    let listed = super::dsip(&town.home("Bob"), &["requests", "--json"]);
    let id = super::last_event(&listed)["introduction"].as_str().expect("an id").to_owned();
    let granted = super::dsip(&town.home("Bob"), &["requests", "grant", &id, "--node", &town.url]);
    assert!(granted.status.success(), "{granted:?}");
    // The other program took the device's place at the node for a moment; the phone that waits comes back, and has heard.
    bob.until_all(&["ready", "contacts-changed"]);
    assert_eq!(town.calls(&["--duration", "0.3"]).ends().0, 0);
}

#[test]
fn mistakes_cost_one_line_and_the_right_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = super::dsip(dir.path(), &["id", "new", "--no-passphrase"]);
    assert!(made.status.success());
    let nobody = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";
    for (arguments, code, word) in [
        (&["call", "bob"][..], 2, "bob"),
        (&["call", "did:key:z6Mk"][..], 4, "did:key:z6Mk"),
        (&["call", nobody][..], 4, "--dht"),
        (&["call", nobody, "--node", "http://x"][..], 2, "--node"),
        (&["call", nobody, "--node", "wss://127.0.0.1:1/dsip"][..], 5, "127.0.0.1"),
        (&["call", nobody, "--node", "wss://127.0.0.1:1/dsip", "--audio-in", "/nowhere.wav"][..], 2, "/nowhere.wav"),
        (&["call", nobody, "--ca", "/nowhere.pem"][..], 2, "/nowhere.pem"),
        (&["answer"][..], 2, "--node"),
        (&["answer", "--node", "wss://127.0.0.1:1/dsip", "--publish"][..], 2, "--publish"),
        (&["requests", "grant", "x"][..], 2, "x"),
    ] {
        let output = super::dsip(dir.path(), arguments);
        let said = super::complaint(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

/// WS-7: a node keeps one connection of a device, and here are two programs of one. The one that calls has it, and gives it
/// back; what the other side says in the call comes to nobody else.
#[test]
fn a_call_from_a_home_in_which_another_program_waits_for_calls_ends_as_it_should() {
    let town = Town::new();
    let mut waiting = Running::start(&town.home("Alice"), &["answer", "--node", &town.url, "--auto", "accept"]);
    waiting.until("ready");
    let mut bob = town.answers(&["--auto", "accept", "--once", "--duration", "5.5"]);
    let mut alice = town.calls(&[]);
    alice.until("talking");
    bob.until("ended");
    let (code, told) = alice.ends();
    assert_eq!(code, 0, "{told:#?}");
    assert_eq!(told.iter().find(|told| told["event"] == "ended").expect("ended")["reason"], "user.hangup");
    bob.ends();

    // The one that waits was away once, said why, and is there again.
    waiting.until("ready");
    let names = names(&waiting.told);
    let times = |name: &str| names.iter().filter(|told| **told == name).count();
    assert_eq!((times("aside"), times("ready")), (1, 2), "{:#?}", waiting.told);
    let alice = town.did("Alice");
    let bob = Running::start(&town.home("Bob"), &["call", &alice, "--node", &town.url, "--duration", "0.5"]);
    let (code, told) = bob.ends();
    assert_eq!(code, 0, "{told:#?}");
}

/// The other way round: nobody takes the connection away from a program that is in a call.
#[test]
fn a_program_started_during_a_call_of_its_home_waits_until_it_is_over() {
    let town = Town::new();
    let mut bob = town.answers(&[]);
    let mut alice = town.calls(&[]);
    bob.until("incoming");
    bob.types("a");
    alice.until("talking");
    bob.until("talking");
    let refused = super::dsip(&town.home("Bob"), &["presence", "everybody", "--node", &town.url]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(super::complaint(&refused).contains("another program of this home is in a call"), "{refused:?}");
    let mut second = Running::start(&town.home("Bob"), &["answer", "--node", &town.url, "--auto", "accept"]);
    assert_eq!(second.until("aside")["why"], "in-call");
    bob.types("h");
    bob.until("ended");
    let (code, told) = alice.ends();
    assert_eq!(code, 0, "{told:#?}");
    second.until("ready");
    assert_eq!(bob.until("aside")["why"], "newer");
}
