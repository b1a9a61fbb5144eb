//! What an operator sees and does: metrics, health, draining, a look at a configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dsip_endpoint::link::{Close, Closed, Transport};
use dsip_media::turn::client::Received;
use dsip_node::control::{self, Ask, Blocked, Failed, Invited, Status};
use dsip_node::{Allowance, StartError};
use dsip_proto::relay::rate::Rate;
use dsip_proto::time::Tick;
use dsip_proto::wire::Did;
use dsip_proto::wire::token::SubscriptionEvent;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::device::{Device, hear, hear_error, hear_exactly, say};
use crate::turn::{allocate, granted, send};
use crate::{World, start};

/// A node that shows its metrics.
async fn watched() -> World {
    World::with(|config| config.metrics = Some("127.0.0.1:0".parse().expect("an address"))).await
}

/// The status code of a page, and its text.
async fn page(world: &World, path: &str) -> (u16, String) {
    let shown = world.node.ready().metrics.as_deref().expect("metrics");
    let at = shown.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics")).expect("a URL");
    let mut stream = TcpStream::connect(at).await.expect("somebody listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, body.to_owned())
}

/// The samples of a page of metrics. Every one has its help and its type before it.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let mut described = (None, None);
    let mut samples = BTreeMap::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            described.0 = help.split(' ').next();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert!(matches!(kind, "gauge" | "counter"), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            described.1 = Some(name);
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            let plain = name.split('{').next();
            assert_eq!(described, (plain, plain), "{line}");
            assert!(samples.insert(name, value.parse().expect("a number")).is_none(), "{line}");
        }
    }
    samples
}

#[tokio::test]
async fn metrics_follow_what_happens() {
    let world = watched().await;
    let (status, before) = page(&world, "/metrics").await;
    assert_eq!(status, 200);
    let before = samples(&before);
    assert_eq!((before["dsip_bound_devices"], before["dsip_delivered_envelopes_total"]), (0.0, 0.0));

    let (alice, bob) = (Device::new(1), Device::new(2));
    let alices = world.bind(&alice, Transport::Ws).await;
    let mut bobs = world.bind(&bob, Transport::Quic).await;
    let invite = alice.invite(&bob.did);
    say(&alices, &invite);
    hear_exactly(&mut bobs, &invite).await;
    world.until(|counts| counts.delivered == 1).await;

    let _allocation = allocate(&granted(&world, &Device::new(3)).await, 1).await;

    let (_, after) = page(&world, "/metrics").await;
    let after = samples(&after);
    assert_eq!(after["dsip_turn_allocations_total"], 1.0);
    // The challenge that every client gets first is no refusal.
    assert!(!after.keys().any(|name| name.starts_with("dsip_turn_refused_total")), "{after:?}");
    assert_eq!((after["dsip_bound_devices"], after["dsip_delivered_envelopes_total"]), (2.0, 1.0));
    assert_eq!((after["dsip_attempts"], after["dsip_ready"]), (1.0, 1.0));
    assert!(after["dsip_store_bytes"] > 0.0 && after.contains_key("dsip_dht_peers"));
    assert!(!after.contains_key("dsip_certificate_expiry_timestamp_seconds"), "it has no domain's certificate");
    // Two devices, each with a socket, and what listens.
    assert!(after["process_open_fds"] > 8.0, "{}", after["process_open_fds"]);
    assert!(after.contains_key(concat!("dsip_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")));
}

#[tokio::test]
async fn what_is_refused_is_counted_by_reason() {
    let world = World::with(|config| {
        config.metrics = Some("127.0.0.1:0".parse().expect("an address"));
        config.limits.per_address = 2;
        config.relay.rates.invites = Rate { burst: 1, every: Duration::from_secs(3600) };
    })
    .await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let mut link = world.bind(&alice, Transport::Ws).await;
    let stranger = world.dial(Transport::Quic).await;
    assert!(tries(&world).await.is_err(), "no third one from here");
    let invite = alice.invite(&bob.identity);
    say(&link, &invite);
    hear_error(&mut link, "transport.unknown-recipient", &invite).await;
    say(&link, &invite);
    world.until(|counts| counts.rejected == 1).await;
    let again = alice.hello(Some("did:web:elsewhere.example"));
    say(&stranger, &again);
    world.until(|counts| counts.refused == 2).await;
    let more = alice.invite(&bob.identity);
    say(&link, &more);
    hear_error(&mut link, "policy.rate-limited", &more).await;
    let (_, text) = page(&world, "/metrics").await;
    let counted = samples(&text);
    for (name, count) in [
        ("dsip_refused_envelopes_total{reason=\"transport.unknown-recipient\"}", 1.0),
        ("dsip_refused_envelopes_total{reason=\"transport.hello-rejected\"}", 1.0),
        ("dsip_rejected_frames_total{code=\"duplicate-id\"}", 1.0),
        ("dsip_refused_connections_total{why=\"address\"}", 1.0),
        ("dsip_refused_connections_total{why=\"full\"}", 0.0),
        ("dsip_rate_limited_total{limit=\"invites\"}", 1.0),
    ] {
        assert_eq!(counted.get(name), Some(&count), "{name} in {text}");
    }
}

#[tokio::test]
async fn nobody_is_named_in_metrics() {
    let world = watched().await;
    let alice = Device::new(1);
    let _alices = world.bind(&alice, Transport::Ws).await;
    let (_, text) = page(&world, "/metrics").await;
    assert!(!text.contains("did:") && !text.contains("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn other_pages_are_not_there() {
    let world = watched().await;
    assert_eq!(page(&world, "/healthz").await.0, 200);
    assert_eq!(page(&world, "/readyz").await.0, 200);
    assert_eq!(page(&world, "/dsip").await.0, 404);
    assert_eq!(page(&world, "/../etc/passwd").await.0, 404);
}

#[tokio::test]
async fn somebody_who_only_connects_to_metrics_keeps_nobody_out() {
    let world = watched().await;
    let shown = world.node.ready().metrics.clone().expect("metrics");
    let at = shown.trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(&at).await.expect("connected"));
    }
    // The bounded places are taken; the watcher comes again, as watchers do, until one is free.
    let asked = async {
        loop {
            let mut stream = TcpStream::connect(&at).await.expect("connected");
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await;
            let mut answer = String::new();
            if stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(20), asked).await.expect("answered");
}

#[tokio::test]
async fn a_node_that_drains_lets_relayed_media_go_on() {
    let world = watched().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let mut link = world.bind(&alice, Transport::Ws).await;
    let (alices, bobs) = (granted(&world, &Device::new(3)).await, granted(&world, &bob).await);
    let (alice, mut alices) = allocate(&alices, 1).await;
    let (bob, mut bobs) = allocate(&bobs, 2).await;
    let (to_alice, to_bob) = (alices.relayed().expect("an address"), bobs.relayed().expect("an address"));
    send(&bob, &mut bobs, to_alice, b"this opens bob's side").await;
    send(&alice, &mut alices, to_bob, b"before").await;
    let mut packet = [0; 2048];
    let mut heard = async |socket: &UdpSocket| {
        let (length, _) = timeout(Duration::from_secs(10), socket.recv_from(&mut packet)).await.ok()?.ok()?;
        match bobs.handle(Tick::default(), &packet[..length]) {
            Received::Data(_, data) => Some(packet[data].to_vec()),
            _ => None,
        }
    };
    assert_eq!(heard(&bob).await.as_deref(), Some(&b"before"[..]));

    let drained = world.node.drain(Duration::from_secs(2));
    let meanwhile = async {
        assert_eq!(link.recv().await, Err(Closed::There(Close::GoingAway)));
        assert_eq!(page(&world, "/healthz").await.0, 200);
        assert_eq!(page(&world, "/readyz").await, (503, "draining\n".to_owned()));
        send(&alice, &mut alices, to_bob, b"meanwhile").await;
        assert_eq!(heard(&bob).await.as_deref(), Some(&b"meanwhile"[..]));
    };
    let ((), ()) = tokio::join!(drained, meanwhile);
    // Patience has ended before the call.
    assert_eq!(world.node.turn().allocations, 2);
    world.node.shutdown().await;
}

#[tokio::test]
async fn a_node_with_nothing_to_relay_drains_at_once() {
    let world = watched().await;
    timeout(Duration::from_secs(5), world.node.drain(Duration::from_secs(3600))).await.expect("at once");
    world.node.shutdown().await;
}

/// Runs an admin command.
async fn told<T: serde::de::DeserializeOwned>(world: &World, ask: Ask) -> Result<T, Failed> {
    control::ask(world.home.path(), &ask).await
}

#[tokio::test]
async fn the_socket_is_the_owners_alone_and_gone_nodes_are_missed() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::start().await;
    let mode = std::fs::metadata(world.home.path().join("control.sock")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status: Status = told(&world, Ask::Status).await.expect("told");
    assert_eq!((status.did, status.closed), (world.node.ready().did.clone(), false));
    world.node.shutdown().await;
    assert!(matches!(control::ask::<Status>(world.home.path(), &Ask::Status).await, Err(Failed::NoNode(_))));
}

#[tokio::test]
async fn who_is_blocked_is_disconnected_and_has_nothing_relayed() {
    let world = World::start().await;
    let (mallory, bob) = (Device::new(1), Device::new(2));
    let grant = granted(&world, &mallory).await;
    let mut links = [world.bind(&mallory, Transport::Ws).await, world.bind(&bob, Transport::Quic).await];
    let _allocation = allocate(&grant, 1).await;
    assert_eq!(world.node.turn().allocations, 1);

    let identity = mallory.identity.to_string();
    told::<()>(&world, Ask::Block { who: identity.clone(), hours: None }).await.expect("done");
    assert_eq!(links[0].recv().await, Err(Closed::There(Close::NotServed)));
    assert_eq!(world.node.turn().allocations, 0);
    let blocked: Vec<Blocked> = told(&world, Ask::Blocked).await.expect("told");
    assert_eq!(blocked.iter().map(|blocked| &blocked.who).collect::<Vec<_>>(), [&identity]);
    let refused = world.dial(Transport::Ws).await;
    say(&refused, &mallory.hello(Some(world.node.ready().did.as_str())));
    world.until(|counts| counts.refused == 1).await;

    told::<()>(&world, Ask::Block { who: "127.0.0.0/8".into(), hours: Some(1) }).await.expect("done");
    assert_eq!(links[1].recv().await, Err(Closed::There(Close::NotServed)));
    assert!(tries(&world).await.is_err(), "nobody comes in from there");

    // A node that was started anew knows it still.
    let World { node, home } = world;
    node.shutdown().await;
    let world = World { node: start(home.path(), |_| {}).await, home };
    assert!(tries(&world).await.is_err());
    assert_eq!(told(&world, Ask::Unblock { who: "127.0.0.0/8".into() }).await.ok(), Some(true));
    assert!(tries(&world).await.is_ok());
}

/// One try to open a link.
async fn tries(world: &World) -> Result<(), dsip_endpoint::link::OpenError> {
    let dialer = dsip_endpoint::link::Dialer::new(crate::no_roots());
    dialer.open(&world.target(Transport::Ws)).await.map(drop)
}

#[tokio::test]
async fn commands_that_are_wrong_are_refused_in_words() {
    let world = World::start().await;
    let node = world.node.ready().did.to_string();
    for who in ["nobody", "did:", "192.0.2.1/24", &node] {
        let refused = told::<()>(&world, Ask::Block { who: who.into(), hours: None }).await;
        assert!(matches!(&refused, Err(Failed::Refused(_))), "{who}: {refused:?}");
    }
    for (uses, days) in [(0, 1), (1, 0), (u32::MAX, 1)] {
        assert!(matches!(told::<Invited>(&world, Ask::Invite { uses, days }).await, Err(Failed::Refused(_))));
    }
    let socket = world.home.path().join("control.sock");
    for line in ["\n", "{}\n", "{\"do\":\"dance\"}\n"] {
        let mut stream = tokio::net::UnixStream::connect(&socket).await.expect("connected");
        stream.write_all(line.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with("{\"wrong\":\"not a command"), "{line:?}: {answer}");
    }
    // What never ends a line costs a bounded number of octets.
    let mut stream = tokio::net::UnixStream::connect(&socket).await.expect("connected");
    drop(stream.write_all(&vec![b'x'; 1 << 20]).await);
    assert!(told::<Status>(&world, Ask::Status).await.is_ok());
}

#[tokio::test]
async fn an_invitation_lets_one_person_in() {
    let world = World::with(|config| config.closed = true).await;
    let invited: Invited = told(&world, Ask::Invite { uses: 1, days: 1 }).await.expect("made");
    let (alice, bob) = (Device::new(1), Device::new(2));
    let mut alices = world.bind(&alice, Transport::Ws).await;
    let bobs = world.bind(&bob, Transport::Ws).await;
    let invite = bob.invite(&alice.identity);
    say(&bobs, &invite);
    world.until(|counts| counts.refused == 1).await;

    let claim = json!({ "type": "invite-code", "code": invited.code });
    let target = alice.identity.to_string();
    say(&alices, &alice.subscribe(&world.node.ready().did, &target, SubscriptionEvent::PRESENCE, &[claim]));
    assert_eq!(hear(&mut alices).await["type"], "notify");
    let members: Vec<Did> = told(&world, Ask::Members).await.expect("told");
    assert!(members.iter().eq([&alice.identity]));
    let invite = bob.invite(&alice.identity);
    say(&bobs, &invite);
    hear_exactly(&mut alices, &invite).await;
}

#[tokio::test]
async fn limits_change_while_it_runs() {
    let world = World::start().await;
    let alice = Device::new(1);
    let mut link = world.bind(&alice, Transport::Ws).await;
    let limits = Ask::Limits {
        max_connections: None,
        max_connections_per_address: Some(1),
        max_envelopes_per_device: None,
        max_envelopes: None,
        max_invites: Some(1),
    };
    let limits: Allowance = told(&world, limits).await.expect("done");
    assert_eq!((limits.max_connections_per_address, limits.max_invites), (1, 1));
    assert!(tries(&world).await.is_err(), "one is there already");
    let to = Device::new(2).identity;
    let [first, second] = [alice.invite(&to), alice.invite(&to)];
    say(&link, &first);
    hear_error(&mut link, "transport.unknown-recipient", &first).await;
    say(&link, &second);
    hear_error(&mut link, "policy.rate-limited", &second).await;
}

#[tokio::test]
async fn what_would_keep_a_node_from_starting_shows_beforehand() {
    let home = tempfile::tempdir().expect("a directory");
    let config = dsip_node::Config::new(home.path(), "127.0.0.1:7443".parse().expect("an address"));
    assert!(config.check().is_ok());
    assert!(home.path().read_dir().expect("read").next().is_none(), "looking leaves nothing behind");

    let mut twice = config.clone();
    twice.turn.tcp = Some(twice.listen);
    assert!(matches!(twice.check(), Err(StartError::Listen { at, .. }) if at == "127.0.0.1:7443"));

    let mut nowhere = config.clone();
    nowhere.certificate = Some((home.path().join("no.pem"), home.path().join("no.key")));
    assert!(matches!(nowhere.check(), Err(StartError::Tls(_))));

    // A certificate with somebody else's key.
    let node = start(home.path(), |_| {}).await;
    let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let key = home.path().join("other.key");
    std::fs::write(&key, pem).expect("written");
    let mut mixed = config;
    mixed.certificate = Some((node.ready().ca.clone(), key));
    assert!(matches!(mixed.check(), Err(StartError::Tls(_))), "{:?}", mixed.check());
}

/// Addresses of this test alone: every one of 127.0.0.0/8 is this machine.
#[tokio::test]
async fn what_picks_a_port_by_itself_leaves_those_alone_that_were_chosen() {
    let at = |port: u16| Some(SocketAddr::from(([127, 77, 1, 1], port)));
    let home = tempfile::tempdir().expect("a directory");
    let node = start(home.path(), |config| {
        config.listen = at(7_443).expect("an address");
        config.metrics = at(7_444);
        config.turn.tls = at(7_445);
        config.turn.tcp = at(7_446);
        assert!(config.check().is_ok(), "and so says the check");
    })
    .await;
    let ready = node.ready();
    assert!(ready.dht.starts_with("/ip4/127.77.1.1/tcp/7447/"), "{}", ready.dht);
    assert_eq!(ready.metrics.as_deref(), Some("http://127.77.1.1:7444/metrics"));
    node.shutdown().await;

    // The port that is customary for TURN is somebody else's here.
    let home = tempfile::tempdir().expect("a directory");
    let node = start(home.path(), |config| {
        config.listen = at(8_443).expect("an address");
        config.metrics = at(3_478);
    })
    .await;
    assert_eq!(node.ready().metrics.as_deref(), Some("http://127.77.1.1:3478/metrics"));
    assert!(!node.ready().turn.iter().any(|url| url.contains(":3478?transport=tcp")), "{:?}", node.ready().turn);
    node.shutdown().await;
}
