//! TURN on real sockets: coturn's own clients against our server, and what dishonest ones get.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use dsip_endpoint::link::Transport;
use dsip_endpoint::tls::{self, Roots};
use dsip_media::stun::message::{Class, Message, Method, Writer, attribute};
use dsip_media::turn::Allocation;
use dsip_media::turn::client::{Received, Status};
use dsip_node::{Config, Limits};
use dsip_proto::time::{Seed, Tick};
use dsip_proto::turn::{Grant, Ports};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::World;
use crate::chromium::has_chromium;
use crate::device::{Device, hear, say};

/// A node that relays between programs on this machine.
async fn relaying() -> World {
    World::with(relay_here).await
}

fn relay_here(config: &mut Config) {
    config.turn.allow_private = true;
    config.turn.relays = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
}

/// What the node gives a device that says hello.
pub(crate) async fn granted(world: &World, device: &Device) -> Grant {
    let mut link = world.dial(Transport::Ws).await;
    say(&link, &device.hello(Some(world.node.ready().did.as_str())));
    let reply = hear(&mut link).await;
    Grant::read(reply["capabilities"].as_object().expect("capabilities")).expect("a grant")
}

fn at(port: Option<u16>) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port.expect("a port")).into()
}

/// Whether coturn's tools are there. Continuous integration must have them.
fn has_coturn() -> bool {
    let has =
        |tool: &str| std::process::Command::new(tool).arg("-?").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let all = ["turnutils_uclient", "turnutils_peer"].into_iter().all(|tool| has(tool).is_ok());
    assert!(
        all || std::env::var_os("CI").is_none(),
        "turnutils_uclient and turnutils_peer are missing: apt-get install coturn"
    );
    all
}

/// coturn's echo, which answers when this returns.
async fn echo() -> (Child, u16) {
    let probe = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let port = {
        let free = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        free.local_addr().expect("an address").port()
    };
    let mut peer = Command::new("turnutils_peer");
    let peer = peer.args(["-L", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let peer = peer.kill_on_drop(true).spawn().expect("started");
    let mut answer = [0; 16];
    loop {
        // Refused until it listens; each refusal is heard at once.
        probe.send_to(b"there?", ("127.0.0.1", port)).await.ok();
        let heard = tokio::time::timeout(Duration::from_millis(50), probe.recv_from(&mut answer)).await;
        if matches!(heard, Ok(Ok(_))) {
            return (peer, port);
        }
    }
}

#[tokio::test]
async fn coturns_clients_are_served_over_udp_tcp_and_tls() {
    if !has_coturn() {
        return;
    }
    let world = relaying().await;
    let (_echo, peer) = echo().await;
    let Ports { udp, tcp, tls } = granted(&world, &Device::new(1)).await.ports;
    let cases: [(&'static str, Option<u16>, &[&str]); 11] = [
        ("channels, with a reserved port for RTCP", udp, &[]),
        ("channels", udp, &["-c"]),
        ("indications", udp, &["-c", "-s"]),
        ("from one relayed address to another", udp, &["-y", "-c"]),
        ("several clients, large messages", udp, &["-c", "-m", "4", "-l", "1200"]),
        ("requests beyond the necessary", udp, &["-c", "-G"]),
        ("IPv6, from one relayed address to another", udp, &["-x", "-y", "-c"]),
        ("TCP", tcp, &["-t", "-c"]),
        ("TCP, indications, odd sizes", tcp, &["-t", "-c", "-s", "-l", "171"]),
        ("TLS", tls, &["-t", "-S", "-c"]),
        ("TLS, from one relayed address to another", tls, &["-t", "-S", "-y", "-c"]),
    ];
    let mut runs = JoinSet::new();
    for ((what, port, flags), who) in cases.into_iter().zip(1..) {
        let grant = granted(&world, &Device::new(who)).await;
        let mut client = Command::new("turnutils_uclient");
        client.args(["-u", &grant.username, "-w", &grant.password, "-p", &port.expect("a port").to_string()]);
        client.args(["-e", "127.0.0.1", "-r", &peer.to_string(), "-n", "20", "-z", "5"]).args(flags).arg("127.0.0.1");
        runs.spawn(async move { (what, client.kill_on_drop(true).output().await.expect("run")) });
    }
    while let Some(run) = runs.join_next().await {
        let (what, output) = run.expect("joined");
        let said = String::from_utf8_lossy(&output.stdout);
        let lost = said.lines().rev().find_map(|line| line.split("Total lost packets ").nth(1)).unwrap_or("not told");
        assert!(output.status.success() && lost.starts_with("0 "), "{what}: lost {lost}\n{said}");
    }
    let counts = world.node.turn();
    assert!(counts.allocated >= 15 && counts.packets > 500, "{counts:?}");
}

/// One HTTP exchange: the first line and the body of the request, and where to answer.
async fn exchange(listener: &tokio::net::TcpListener) -> (String, String, TcpStream) {
    let (mut stream, _) = listener.accept().await.expect("accepted");
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return (head.lines().next().unwrap_or_default().to_owned(), body.to_owned(), stream);
            }
        }
        if stream.read_buf(&mut request).await.expect("read") == 0 {
            return (String::new(), String::new(), stream);
        }
    }
}

/// Serves a page to a browser, until the page tells what came of it.
async fn told_by_browser(page: &str) -> serde_json::Value {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let profile = tempfile::tempdir().expect("a directory");
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]);
    browser.args(["--no-first-run", "--allow-loopback-in-peer-connection", "--ignore-certificate-errors"]);
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.arg(format!("http://{}/", listener.local_addr().expect("an address")));
    browser.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut browser = browser.spawn().expect("started");
    let told = loop {
        let (request, body, mut stream) = exchange(&listener).await;
        let page = if request.starts_with("GET / ") { page } else { "" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        );
        drop(stream.write_all(answer.as_bytes()).await);
        if request.starts_with("POST /told ") {
            break serde_json::from_str(&body).expect("JSON");
        }
    };
    // All of its processes end with the first, and then nobody writes into the profile any more.
    browser.kill().await.expect("ended");
    told
}

#[tokio::test]
async fn a_browser_is_served_over_udp_tcp_and_tls() {
    if !has_chromium() {
        return;
    }
    // Browsers know nothing of Ed25519 in certificates: they need one of the kind that authorities issue.
    let files = tempfile::tempdir().expect("a directory");
    let (chain, key) = (files.path().join("chain.pem"), files.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("made");
    std::fs::write(&chain, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let world = World::with(|config| {
        relay_here(config);
        config.certificate = Some((chain, key));
    })
    .await;
    let grant = granted(&world, &Device::new(1)).await;
    let Ports { udp, tcp, tls } = grant.ports;
    let (udp, tcp, tls) = (udp.expect("a port"), tcp.expect("a port"), tls.expect("a port"));
    let server = |urls: String| json!({ "urls": urls, "username": grant.username, "credential": grant.password });
    let cases = json!({
        "UDP": server(format!("turn:127.0.0.1:{udp}?transport=udp")),
        "TCP": server(format!("turn:127.0.0.1:{tcp}?transport=tcp")),
        "TLS": server(format!("turns:127.0.0.1:{tls}?transport=tcp")),
    });
    let page = include_str!("browser.html").replace("CASES", &cases.to_string());
    let told = tokio::time::timeout(Duration::from_secs(120), told_by_browser(&page)).await.expect("in time");
    let expected = "ereht by relay";
    assert_eq!(told, json!({ "UDP": expected, "TCP": expected, "TLS": expected }));
    assert!(world.node.turn().allocated >= 6);
}

/// Our client on a socket, until it has an address.
pub(crate) async fn allocate(grant: &Grant, seed: u8) -> (UdpSocket, Allocation) {
    allocate_at(at(grant.ports.udp), grant, seed).await
}

async fn allocate_at(server: SocketAddr, grant: &Grant, seed: u8) -> (UdpSocket, Allocation) {
    let socket = UdpSocket::bind((server.ip(), 0)).await.expect("bound");
    let now = Tick::default();
    let mut allocation = Allocation::new(server, false, &grant.username, &grant.password, Seed::new([seed; 32]), now);
    let mut packet = [0; 2048];
    while allocation.status() == Status::Asking {
        while let Some(request) = allocation.poll(now) {
            socket.send_to(&request, server).await.expect("sent");
        }
        let (length, _) = socket.recv_from(&mut packet).await.expect("answered");
        allocation.handle(now, &packet[..length]);
    }
    (socket, allocation)
}

/// Sends to a peer through an allocation, once its channel is bound.
pub(crate) async fn send(socket: &UdpSocket, allocation: &mut Allocation, peer: SocketAddr, data: &[u8]) {
    let (now, server) = (Tick::default(), allocation.server());
    let mut packet = [0; 2048];
    if let Some(ready) = allocation.send(now, peer, data) {
        socket.send_to(&ready, server).await.expect("sent");
        return;
    }
    let mut answered = false;
    loop {
        while let Some(request) = allocation.poll(now) {
            socket.send_to(&request, server).await.expect("sent");
        }
        if answered {
            return;
        }
        let (length, _) = socket.recv_from(&mut packet).await.expect("answered");
        answered = allocation.handle(now, &packet[..length]) == Received::Control;
    }
}

#[tokio::test]
async fn two_people_on_one_node_reach_each_other_through_it() {
    let world = World::start().await;
    let (alices, bobs) = (granted(&world, &Device::new(1)).await, granted(&world, &Device::new(2)).await);
    let (alice, mut alices) = allocate(&alices, 1).await;
    let (bob, mut bobs) = allocate(&bobs, 2).await;
    let (to_alice, to_bob) = (alices.relayed().expect("an address"), bobs.relayed().expect("an address"));
    send(&bob, &mut bobs, to_alice, b"this opens bob's side").await;
    send(&alice, &mut alices, to_bob, b"hello bob").await;
    let mut packet = [0; 2048];
    let (length, _) = bob.recv_from(&mut packet).await.expect("heard");
    let Received::Data(from, data) = bobs.handle(Tick::default(), &packet[..length]) else { panic!("data") };
    assert_eq!((from, &packet[data]), (to_alice, &b"hello bob"[..]));
}

#[tokio::test]
async fn turn_11_a_node_on_all_addresses_serves_both_families() {
    let world = World::with(|config| {
        config.listen = (Ipv6Addr::UNSPECIFIED, 0).into();
        config.turn.allow_private = true;
        config.turn.relays = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    })
    .await;
    let grant = granted(&world, &Device::new(1)).await;
    let udp = grant.ports.udp.expect("a port");
    for (server, seed) in
        [SocketAddr::from((Ipv4Addr::LOCALHOST, udp)), (Ipv6Addr::LOCALHOST, udp).into()].into_iter().zip(1..)
    {
        is_well_at(server).await;
        let (_, allocation) = allocate_at(server, &grant, seed).await;
        assert_eq!(allocation.relayed().map(|relayed| relayed.ip()), Some(server.ip()));
    }
}

#[tokio::test]
async fn turn_10_a_node_on_loopback_relays_to_nothing_else_there() {
    let world = World::start().await;
    let grant = granted(&world, &Device::new(1)).await;
    let (socket, mut allocation) = allocate(&grant, 1).await;
    let victim = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let (server, witness) = (allocation.server(), UdpSocket::bind("127.0.0.1:0").await.expect("bound"));
    send(&socket, &mut allocation, victim.local_addr().expect("an address"), b"harm").await;
    // A second one, and then an answered request: when that is back, both were looked at.
    send(&socket, &mut allocation, victim.local_addr().expect("an address"), b"harm").await;
    socket.send_to(&Writer::new(Method::Binding, Class::Request, [1; 12]).finish(), server).await.expect("sent");
    let mut packet = [0; 2048];
    loop {
        let (length, _) = socket.recv_from(&mut packet).await.expect("answered");
        if Message::parse(&packet[..length]).is_some_and(|message| message.method() == Method::Binding) {
            break;
        }
    }
    witness.send_to(b"nothing came before this", victim.local_addr().expect("an address")).await.expect("sent");
    let (length, from) = victim.recv_from(&mut packet).await.expect("heard");
    assert_eq!(
        (&packet[..length], from),
        (&b"nothing came before this"[..], witness.local_addr().expect("an address"))
    );
    assert_eq!(world.node.turn().allocations, 1);
}

/// Whether STUN over UDP is still answered.
async fn is_well(grant: &Grant) {
    is_well_at(at(grant.ports.udp)).await;
}

async fn is_well_at(server: SocketAddr) {
    let socket = UdpSocket::bind((server.ip(), 0)).await.expect("bound");
    let request = Writer::new(Method::Binding, Class::Request, [1; 12]).finish();
    socket.send_to(&request, server).await.expect("sent");
    let mut answer = [0; 128];
    let (length, _) = socket.recv_from(&mut answer).await.expect("answered");
    let answer = Message::parse(&answer[..length]).expect("STUN");
    assert_eq!(answer.address(attribute::XOR_MAPPED_ADDRESS), socket.local_addr().ok());
}

/// Reads to the end, which the server has to make.
async fn ends(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let read = stream.read_to_end(&mut rest).await;
    read.is_err() || rest.len() < 512
}

#[tokio::test]
async fn connections_that_stall_or_talk_nonsense_are_closed() {
    let world = World::with(|config| config.turn.idle = Duration::from_millis(50)).await;
    let grant = granted(&world, &Device::new(1)).await;
    for port in [grant.ports.tcp, grant.ports.tls] {
        for said in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\x40\x00\xff\xff", b"\x00\x03\xff\xfc"]
        {
            let mut stream = TcpStream::connect(at(port)).await.expect("connected");
            stream.write_all(said).await.expect("sent");
            if port == grant.ports.tls && said.is_empty() {
                continue; // the handshake's own deadline is longer than a test
            }
            assert!(ends(&mut stream).await, "{port:?} {said:?}");
        }
    }
    // Half a request, on a connection that is secured but has no allocation.
    let tls = Roots::load::<&str>(&[&world.node.ready().ca.display().to_string()]).expect("roots");
    let config = tls.ws_client(&tls::Expect::WebPki).expect("configured");
    let mut config = config.as_ref().clone();
    config.alpn_protocols.clear();
    let tcp = TcpStream::connect(at(grant.ports.tls)).await.expect("connected");
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut secured = connector.connect(tls::server_name("127.0.0.1").expect("a name"), tcp).await.expect("secured");
    secured.write_all(b"\x00\x03\x00").await.expect("sent");
    assert!(ends(&mut secured).await);
    is_well(&grant).await;
}

#[tokio::test]
async fn half_open_connections_are_bounded_by_address() {
    let limits = Limits { per_address: 4, ..Limits::default() };
    let world = World::with(|config| config.limits = limits).await;
    let grant = granted(&world, &Device::new(1)).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(TcpStream::connect(at(grant.ports.tls)).await.expect("connected"));
    }
    let mut last = TcpStream::connect(at(grant.ports.tls)).await.expect("accepted by the system");
    assert!(ends(&mut last).await, "and dropped by the node");
    is_well(&grant).await;
}

#[tokio::test]
async fn rubbish_and_oversized_datagrams_are_not_answered() {
    let world = relaying().await;
    let grant = granted(&world, &Device::new(1)).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    for said in [vec![0; 20], vec![0x40; 9000], vec![0xff; 1500], b"GET / HTTP/1.1".to_vec()] {
        socket.send_to(&said, at(grant.ports.udp)).await.expect("sent");
    }
    let request = Writer::new(Method::Binding, Class::Request, [9; 12]).finish();
    socket.send_to(&request, at(grant.ports.udp)).await.expect("sent");
    let mut answer = [0; 2048];
    let (length, _) = socket.recv_from(&mut answer).await.expect("answered");
    assert_eq!(Message::parse(&answer[..length]).map(|message| message.transaction()), Some([9; 12]), "nothing before");
}
