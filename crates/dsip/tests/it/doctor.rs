//! A node in good order, and one thing broken at a time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::link::{Deliver, Heard, Side, Stream, outbox, ws};
use dsip_endpoint::tls::Certificate;
use dsip_node::{Config, Node};
use dsip_proto::envelope::Signer;
use dsip_proto::identity::SecretKey;
use dsip_proto::time::{Seed, Wall};
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::message::{Capabilities, Common, Hello};
use dsip_proto::wire::{Envelope, Message, Ulid};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// A node on this machine.
struct World {
    node: Option<Node>,
    runtime: Runtime,
    dir: tempfile::TempDir,
}

impl World {
    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = Runtime::new().expect("a runtime");
        let mut config = Config::new(dir.path().join("node"), "127.0.0.1:0".parse().expect("an address"));
        config.turn.allow_private = true;
        change(&mut config);
        let node = runtime.block_on(Node::start(config)).expect("a node");
        Self { node: Some(node), runtime, dir }
    }

    fn url(&self) -> String {
        self.node.as_ref().expect("running").ready().url()
    }

    fn dht(&self) -> String {
        self.node.as_ref().expect("running").ready().dht.clone()
    }

    fn home(&self) -> std::path::PathBuf {
        self.dir.path().join("home")
    }

    /// What the doctor finds, with these arguments.
    fn examine(&self, arguments: &[&str]) -> Findings {
        examine(&self.home(), arguments)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.shutdown());
        }
    }
}

/// Outcome, words and remedy of each check.
struct Findings {
    code: Option<i32>,
    found: BTreeMap<String, Value>,
}

impl Findings {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).expect("text");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let (last, checks) = lines.split_last().expect("a summary");
        assert_eq!(last["event"], "summary", "{text}");
        let found: BTreeMap<_, _> =
            checks.iter().map(|line| (line["check"].as_str().expect("a check").to_owned(), line.clone())).collect();
        assert_eq!(found.len(), checks.len(), "each check once: {text}");
        Self { code: output.status.code(), found }
    }

    /// The outcome of each check that is neither in order nor skipped.
    fn complaints(&self) -> Vec<(&str, &str)> {
        let all = self.found.iter().map(|(check, line)| (&**check, line["outcome"].as_str().expect("an outcome")));
        all.filter(|(_, outcome)| *outcome != "ok" && *outcome != "skipped").collect()
    }

    /// That the only complaint is this, and that it says and advises what it should.
    fn only(&self, check: &str, outcome: &str, words: &[&str]) {
        assert_eq!(self.complaints(), [(check, outcome)], "{:#?}", self.found);
        self.says(check, words);
        assert_eq!(self.code, Some(i32::from(outcome == "failed")));
    }

    fn says(&self, check: &str, words: &[&str]) {
        let line = self.found[check].to_string();
        for word in words {
            assert!(line.contains(word), "no {word:?} in {line}");
        }
    }
}

fn examine(home: &Path, arguments: &[&str]) -> Findings {
    let arguments = [&["doctor", "--json", "--allow-private"], arguments].concat();
    Findings::of(&super::dsip(home, &arguments))
}

#[test]
fn a_node_in_good_order_and_a_phone_at_home_have_nothing_to_complain_of() {
    let world = World::with(|_| {});
    assert!(super::dsip(&world.home(), &["id", "new", "--no-passphrase"]).status.success());
    let findings = world.examine(&["--node", &world.url(), "--dht", &world.dht()]);
    assert_eq!(findings.complaints(), [], "{:#?}", findings.found);
    assert!(findings.found.values().all(|line| line["outcome"] == "ok"), "{:#?}", findings.found);
    assert_eq!((findings.code, findings.found["nat"]["kind"].as_str()), (Some(0), Some("none")));
    // Who looks from outside has no home there, and nothing changes.
    let outside = examine(&world.dir.path().join("nobody"), &["--node", &world.url()]);
    assert_eq!((outside.complaints(), outside.code), (vec![], Some(0)), "{:#?}", outside.found);
    assert_eq!(outside.found["identity"]["outcome"], "skipped");
}

#[test]
fn a_delegation_that_ends_soon_is_told_and_a_device_that_has_none_fails() {
    let world = World::with(|_| {});
    let findings = |who: &str, new: &[&str]| {
        let home = world.dir.path().join(who);
        assert!(super::dsip(&home, &[&["id", "new"], new].concat()).status.success());
        examine(&home, &["--node", &world.url()])
    };
    let soon = findings("soon", &["--no-passphrase", "--days", "5"]);
    soon.only("identity", "warning", &["more", "dsip id delegate"]);
    let nobody = findings("nobody", &["--device-only"]);
    nobody.only("identity", "failed", &["nobody has delegated to it", "dsip id delegate"]);
    // The node is looked at all the same.
    assert_eq!(nobody.found["relayed"]["outcome"], "ok");
}

#[test]
fn people_read_one_line_for_each_check() {
    let world = World::with(|_| {});
    let output = super::dsip(&world.home(), &["doctor", "--node", &world.url()]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!((text.lines().count(), output.status.code()), (15, Some(0)), "{text}");
    assert!(text.contains("warning  dns") && text.contains("; if that is meant so, say --allow-private"), "{text}");
    assert!(text.ends_with("skipped\n"), "{text}");
}

#[test]
fn a_closed_port_and_a_name_nobody_knows_are_told_apart() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        listener.local_addr().expect("an address")
    };
    let home = tempfile::tempdir().expect("a directory");
    let findings = examine(&home.path().join("none"), &["--node", &format!("wss://{closed}/dsip")]);
    assert_eq!(findings.complaints(), [("quic", "warning"), ("tcp", "failed")], "{:#?}", findings.found);
    findings.says("tcp", &[&closed.to_string(), "refused", "firewall"]);
    assert_eq!(findings.code, Some(1));
    let findings = examine(&home.path().join("none"), &["--node", "wss://nobody.invalid/dsip"]);
    findings.only("dns", "failed", &["nobody.invalid", "spelling"]);
}

#[test]
fn another_key_than_the_one_named_is_never_greeted() {
    let world = World::with(|_| {});
    let url = world.url();
    let (address, did) = url.split_once('#').expect("a DID");
    let other = SecretKey::from_bytes(&[9; 32]).did();
    let findings = world.examine(&["--node", &format!("{address}#{other}")]);
    findings.only("certificate", "failed", &[did, "not the one after #"]);
    assert_eq!(findings.found["hello"]["outcome"], "skipped");
    // Nobody vouches for a key: without the DID or the file there is no trust, and the remedy names both.
    let findings = world.examine(&["--node", address]);
    findings.only("certificate", "failed", &["nobody this machine trusts", did]);
    let ca = world.node.as_ref().expect("running").ready().ca.display().to_string();
    let findings = world.examine(&["--node", address, "--ca", &ca]);
    assert_eq!(findings.complaints(), [], "{:#?}", findings.found);
}

#[test]
fn a_certificate_that_ends_ended_or_begins_later_is_named_as_such() {
    let day = 86_400;
    let now = clock::now().wall.secs();
    for (from, to, outcome, words) in [
        (now - 2 * day, now + 90 * day + 999, "ok", &["for 90 days more"][..]),
        (now - 2 * day, now + 5 * day + 999, "warning", &["for 5 days more", "renew"]),
        (now - 9 * day, now - 3 * day, "failed", &["expired 3 days ago", "renew"]),
        (now + 3 * day, now + 9 * day, "failed", &["not valid yet", "clock"]),
    ] {
        let mut root = None;
        let world = World::with(|config| {
            let dir = config.home.clone();
            let (ca, chain, key) = certificate(&dir, from, to);
            config.certificate = Some((chain, key)); // nothing about dates keeps a node from starting
            root = Some(ca);
        });
        let root = root.expect("made").display().to_string();
        let url = world.url();
        let (address, _) = url.split_once('#').expect("a DID");
        let findings = world.examine(&["--node", address, "--ca", &root]);
        findings.says("certificate", words);
        assert_eq!(findings.found["certificate"]["outcome"], outcome, "{:#?}", findings.found);
        assert_eq!(findings.code, Some(i32::from(outcome == "failed")), "{:#?}", findings.found);
        // Phones that know the DID are not concerned; everybody else is.
        let pinned = world.examine(&["--node", &url, "--ca", &root]);
        assert_eq!(pinned.code, Some(0), "{:#?}", pinned.found);
        let expected = if outcome == "ok" { "ok" } else { "warning" };
        assert_eq!(pinned.found["certificate"]["outcome"], expected, "{:#?}", pinned.found);
    }
}

/// An authority, and a certificate for loopback that it issued for that span.
fn certificate(dir: &Path, from: u64, to: u64) -> (std::path::PathBuf, std::path::PathBuf, std::path::PathBuf) {
    std::fs::create_dir_all(dir).expect("made");
    let date = |seconds: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = rcgen::KeyPair::generate().expect("a key");
    let root = authority.self_signed(&root_key).expect("a root");
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    (params.not_before, params.not_after) = (date(from), date(to));
    let key = rcgen::KeyPair::generate().expect("a key");
    let issuer = rcgen::Issuer::new(authority, root_key);
    let issued = params.signed_by(&key, &issuer).expect("issued");
    let (ca, chain, secret) = (dir.join("root.pem"), dir.join("chain.pem"), dir.join("key.pem"));
    for (path, text) in [(&ca, root.pem()), (&chain, issued.pem()), (&secret, key.serialize_pem())] {
        std::fs::write(path, text).expect("written");
    }
    (ca, chain, secret)
}

#[test]
fn a_node_without_turn_and_one_that_relays_to_nobody_here_are_told_apart() {
    let world = World::with(|config| config.turn.enabled = false);
    let findings = world.examine(&["--node", &world.url()]);
    findings.only("turn-udp", "warning", &["relays no media", "--no-turn"]);
    let world = World::with(|config| config.closed = true);
    world.examine(&["--node", &world.url()]).only("turn-udp", "warning", &["members only", "dsip join"]);
    let world = World::with(|config| config.turn.allow_private = false);
    let findings = world.examine(&["--node", &world.url()]);
    // Its own relayed addresses are open to each other; this machine's are not.
    assert_eq!(findings.complaints(), [], "{:#?}", findings.found);
    assert_eq!(findings.found["relayed"]["outcome"], "skipped");
}

/// A node that is nothing but a greeting: it answers hello with a clock and capabilities of its own.
fn impostor(ahead: i64, capabilities: Map<String, Value>) -> (Runtime, String) {
    let runtime = Runtime::new().expect("a runtime");
    let seed = [7; 32];
    let key = SecretKey::from_bytes(&seed);
    let did = key.did();
    let certificate = Certificate::self_signed(&seed, did.as_str(), &[]).expect("made");
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("bound");
    let at = listener.local_addr().expect("an address");
    let acceptor = TlsAcceptor::from(certificate.ws_server().expect("configured"));
    runtime.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, key, capabilities) = (acceptor.clone(), key.clone(), capabilities.clone());
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let Ok(socket) = tokio_tungstenite::accept_async_with_config(tls, Some(ws::config())).await else {
                    return;
                };
                let (outbox, outgoing) = outbox();
                let (sender, mut heard) = mpsc::channel::<String>(16);
                let answer = async move {
                    while let Some(frame) = heard.recv().await {
                        let claimed = Envelope::parse(&frame).expect("an envelope").payload_bytes();
                        let claimed: Value = serde_json::from_slice(&claimed).expect("JSON");
                        let asked = claimed["id"].as_str().and_then(|id| id.parse().ok());
                        let wall = clock::now().wall.secs().saturating_add_signed(ahead);
                        let common = Common {
                            dsip: VersionBlock::new(&[]),
                            id: Ulid::generate(Wall::from_secs(wall), &mut Seed::new([3; 32]).into_rng()),
                            from: key.did(),
                            issued_at: wall,
                            expires_at: wall + 30,
                        };
                        let hello: Message = Hello {
                            common,
                            on_behalf_of: None,
                            bindings: None,
                            in_reply_to: asked,
                            capabilities: Some(Capabilities {
                                max_envelope_bytes: 65_536,
                                store_and_forward: None,
                                offline_retention_s: None,
                                rate_limit: None,
                                push_wake: None,
                                rest: capabilities.clone(),
                            }),
                        }
                        .into();
                        let said = Signer::of_key(key.clone()).sign(&hello).text();
                        outbox.send(Stream::Control, said.into()).expect("queued");
                    }
                };
                tokio::join!(answer, ws::drive(socket, Side::Server, outgoing, Deliver::new(sender, Heard::frame)));
            });
        }
    });
    (runtime, format!("wss://{at}/dsip#{did}"))
}

#[test]
fn rpl_1_clocks_too_far_apart_are_told_by_the_signed_hello() {
    let home = tempfile::tempdir().expect("a directory");
    let cases: [(i64, &str, &[&str]); 5] = [
        (0, "ok", &["agree"]),
        (-20, "ok", &["ahead of", "300 are tolerated"]),
        (200, "warning", &["behind", "NTP"]),
        (4000, "failed", &["66 minutes behind", "nobody accepts"]),
        (-91_000, "failed", &["25 hours ahead of"]),
    ];
    std::thread::scope(|scope| {
        for (ahead, outcome, words) in cases {
            let home = home.path().join("none");
            scope.spawn(move || {
                let (_running, url) = impostor(ahead, Map::new());
                let findings = examine(&home, &["--node", &url]);
                findings.says("clock", words);
                assert_eq!(findings.found["clock"]["outcome"], outcome, "{:#?}", findings.found);
                assert_eq!(findings.found["quic"]["outcome"], "warning", "it speaks none: {:#?}", findings.found);
            });
        }
    });
}

#[test]
fn servers_that_do_not_answer_and_one_that_is_another_are_each_named() {
    // A socket that hears and says nothing, a TCP port that takes connections and says nothing, one that takes none, and
    // the TURN server of another node.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        listener.local_addr().expect("an address").port()
    };
    let port = |at: std::io::Result<SocketAddr>| at.expect("an address").port();
    let (udp, mute) = (port(silent.local_addr()), port(mute.local_addr()));
    let world = World::with(|_| {});
    let others = world.node.as_ref().expect("running").ready().turn.iter().find(|uri| uri.starts_with("turns:"));
    let others = others.and_then(|uri| uri.split([':', '?']).nth(2)?.parse::<u16>().ok()).expect("a port");
    let home = tempfile::tempdir().expect("a directory");
    let silent_at = |port: u16| ["does not answer over TCP".to_owned(), format!("open TCP port {port}")];
    std::thread::scope(|scope| {
        for (tcp, tls, at_tcp, at_tls) in [
            (mute, closed, silent_at(mute), ["refused".to_owned(), format!("open TCP port {closed}")]),
            (
                closed,
                others,
                ["refused".into(), format!("open TCP port {closed}")],
                ["does not show the node's certificate".into(), "taken the port".into()],
            ),
        ] {
            let turn = json!({
                "username": "u", "password": "p", "expires_at": 4_000_000_000_u64,
                "udp_port": udp, "tcp_port": tcp, "tls_port": tls,
            });
            let told = [("stun_port".to_owned(), udp.into()), ("turn".to_owned(), turn)].into_iter().collect();
            let home = home.path().join("none");
            scope.spawn(move || {
                let (_running, url) = impostor(0, told);
                let findings = examine(&home, &["--node", &url]);
                let failed = ["stun", "turn-tcp", "turn-tls", "turn-udp"].map(|check| (check, "failed"));
                let complaints = [&[("quic", "warning")][..], &failed].concat();
                assert_eq!(findings.complaints(), complaints, "{:#?}", findings.found);
                findings.says("stun", &["no answer", &format!("open UDP port {udp}")]);
                findings.says("turn-udp", &["does not answer over UDP", &format!("open UDP port {udp}")]);
                findings.says("turn-tcp", &at_tcp.each_ref().map(|word| &**word));
                findings.says("turn-tls", &at_tls.each_ref().map(|word| &**word));
                assert_eq!(findings.code, Some(1));
            });
        }
    });
}

#[test]
fn mistakes_cost_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().expect("a directory");
    for (arguments, word) in [
        (&["doctor"][..], "--node"),
        (&["doctor", "--node", "http://x"], "--node"),
        (&["doctor", "--node", "wss://127.0.0.1:1/dsip", "--stun", "x"], "--stun"),
        (&["doctor", "--node", "wss://127.0.0.1:1/dsip", "--timeout", "soon"], "--timeout"),
        (&["doctor", "--node", "wss://127.0.0.1:1/dsip", "--ca", "/nowhere.pem"], "/nowhere.pem"),
        (&["doctor", "--node", "wss://127.0.0.1:1/dsip", "--dht", "x"], "--dht"),
    ] {
        let output = super::dsip(dir.path(), arguments);
        let said = super::complaint(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word) && said.trim_end().lines().count() == 1, "{arguments:?}: {said}");
    }
}
