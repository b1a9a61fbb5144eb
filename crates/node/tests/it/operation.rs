//! What an operator sees and does: metrics, health, draining, a look at a configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use dsip_endpoint::link::{Close, Closed, Transport};
use dsip_media::turn::client::Received;
use dsip_node::StartError;
use dsip_proto::time::Tick;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::device::{Device, hear_exactly, say};
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

    let (_, after) = page(&world, "/metrics").await;
    let after = samples(&after);
    assert_eq!((after["dsip_bound_devices"], after["dsip_delivered_envelopes_total"]), (2.0, 1.0));
    assert_eq!((after["dsip_attempts"], after["dsip_ready"]), (1.0, 1.0));
    assert!(after.contains_key(concat!("dsip_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")));
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
