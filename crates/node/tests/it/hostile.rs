//! What dishonest or broken peers get, and that nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use dsip_endpoint::dht::{self, Dht};
use dsip_endpoint::link::{Close, Closed, Dialer, OpenError, Stream, Target, Transport};
use dsip_endpoint::tls::{self, Expect};
use dsip_media::stun::{
    self,
    message::{Class, Method, Writer},
};
use dsip_node::Limits;
use dsip_proto::identity::{PublicKey, SecretKey};
use dsip_proto::relay::rate::Rate;
use dsip_proto::wire::{Did, Ulid};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::device::{Device, hear_error, hear_exactly, say};
use crate::{World, no_roots};

impl World {
    fn port(&self) -> u16 {
        self.target(Transport::Ws).port()
    }

    async fn tls(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port())).await?;
        TlsConnector::from(config).connect(tls::server_name("127.0.0.1").expect("a name"), tcp).await
    }

    fn key(&self) -> Expect {
        Expect::Key(*PublicKey::of_did(&self.node.ready().did).expect("a did:key").as_bytes())
    }

    /// A socket below the link, for what no link would send.
    async fn socket(&self) -> WebSocketStream<TlsStream<TcpStream>> {
        let secured = self.tls(no_roots().ws_client(&self.key()).expect("configured")).await.expect("secured");
        tokio_tungstenite::client_async(self.node.ready().wss.as_str(), secured).await.expect("upgraded").0
    }

    /// Whether an ordinary call still works.
    pub(crate) async fn is_well(&self) {
        let (alice, bob) = (Device::new(101), Device::new(102));
        let mut callee = self.bind(&bob, Transport::Quic).await;
        let caller = self.bind(&alice, Transport::Ws).await;
        let invite = alice.invite(&bob.identity);
        say(&caller, &invite);
        hear_exactly(&mut callee, &invite).await;
    }
}

async fn status(socket: &mut WebSocketStream<TlsStream<TcpStream>>) -> u16 {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("expected a close frame, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn ws_9_tls_1_2_is_refused() {
    let world = World::start().await;
    let old = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("the library has it")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    assert!(world.tls(Arc::new(old)).await.expect_err("refused").to_string().contains("ProtocolVersion"));
    world.is_well().await;
}

#[tokio::test]
async fn ws_12_an_oversized_frame_ends_the_connection_with_1009() {
    let world = World::start().await;
    let mut socket = world.socket().await;
    socket.send(Message::text("x".repeat(65_537))).await.expect("sent");
    assert_eq!(status(&mut socket).await, 1009);
    world.is_well().await;
}

#[tokio::test]
async fn ws_14_binary_frames_and_garbage_end_the_connection() {
    let world = World::start().await;
    let mut binary = world.socket().await;
    binary.send(Message::binary(vec![1, 2, 3])).await.expect("sent");
    assert_eq!(status(&mut binary).await, Close::NotText.ws_status());

    let mut garbage = world.socket().await;
    for number in 0..64 {
        // The node may be done with it before the last one.
        drop(garbage.send(Message::text(format!("{{\"garbage\":{number}}}"))).await);
    }
    assert_eq!(status(&mut garbage).await, Close::Abuse.ws_status());

    let mut link = world.dial(Transport::Quic).await;
    for _ in 0..64 {
        let _ = link.send(Stream::Control, "garbage".into());
    }
    assert_eq!(link.recv().await, Err(Closed::There(Close::Abuse)));
    world.is_well().await;
}

#[tokio::test]
async fn forged_signatures_use_up_their_connection() {
    let world = World::start().await;
    let (mallory, bob) = (Device::new(3), Device::new(2));
    let mut callee = world.bind(&bob, Transport::Ws).await;
    let mut link = world.bind(&mallory, Transport::Quic).await;
    for _ in 0..64 {
        let forged = mallory.invite(&bob.identity);
        let cut = forged.text.rfind("signature").expect("it has one") + "signature\":\"".len();
        let mut text = forged.text.to_string();
        let other = if text.as_bytes()[cut] == b'A' { "B" } else { "A" };
        text.replace_range(cut..=cut, other);
        let _ = link.send(Stream::Control, text.into());
    }
    assert_eq!(link.recv().await, Err(Closed::There(Close::Abuse)));
    // The callee saw none of them: the next thing it hears is honest.
    let alice = Device::new(1);
    let caller = world.bind(&alice, Transport::Ws).await;
    let invite = alice.invite(&bob.identity);
    say(&caller, &invite);
    hear_exactly(&mut callee, &invite).await;
}

#[tokio::test]
async fn http_gets_plain_answers() {
    let world = World::start().await;
    for (request, status) in [("GET / HTTP/1.1", "200"), ("GET /dsip HTTP/1.1", "426"), ("GET /x HTTP/1.1", "404")] {
        let config = no_roots().ws_client(&world.key()).expect("configured");
        let mut stream = world.tls(config).await.expect("secured");
        stream
            .write_all(format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

/// Octets that differ for every seed.
fn noise(seed: u8) -> Vec<u8> {
    (0..1200u32).map(|at| seed.wrapping_mul(31).wrapping_add((at * 7) as u8) ^ seed).collect()
}

/// Every port that a node opens: signaling and TURN over TCP and TLS, the DHT, metrics; QUIC, STUN and TURN over UDP. What
/// comes over TCP comes bare, so that the first record is wrong, and inside of TLS, where TLS is spoken.
#[tokio::test]
async fn garbage_on_every_port_disturbs_nobody() {
    let world = World::with(|config| config.metrics = Some("127.0.0.1:0".parse().expect("an address"))).await;
    let ready = world.node.ready();
    let port = |text: &str| -> u16 {
        let digits = text.rsplit(':').next().unwrap_or_default();
        digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().expect(text)
    };
    let turn = |scheme: &str, transport: &str| {
        let url = ready.turn.iter().find(|url| url.starts_with(scheme) && url.ends_with(transport));
        port(url.expect("served").split('?').next().expect("a URL"))
    };
    let (turn_tcp, turn_tls) = (turn("turn:", "=tcp"), turn("turns:", "=tcp"));
    let dht = ready.dht.split('/').nth(4).expect("a port").parse().expect("a number");
    let metrics = port(ready.metrics.as_deref().expect("served"));
    let stun = port(&ready.stun);
    assert_eq!(stun, turn("turn:", "=udp"));

    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    for seed in 0..=255u8 {
        let noise = noise(seed);
        udp.send_to(&noise, ("127.0.0.1", world.port())).await.expect("sent");
        udp.send_to(&noise[..usize::from(seed)], ("127.0.0.1", stun)).await.expect("sent");
    }
    for seed in 0..16u8 {
        let mut noise = noise(seed);
        // One in two begins like the head of a long TLS record, so that more of it is waited for.
        if seed % 2 == 1 {
            noise.splice(..5, [0x16, 3, 1, 0x40, 0]);
        }
        for port in [world.port(), turn_tcp, turn_tls, dht, metrics] {
            let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
            // The node hangs up as soon as it sees what this is.
            drop(tcp.write_all(&noise).await);
        }
        for port in [world.port(), turn_tls] {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
            let config = match port == turn_tls {
                true => no_roots().turn_client(&world.key()),
                false => no_roots().ws_client(&world.key()),
            };
            let name = tls::server_name("127.0.0.1").expect("a name");
            let mut secured =
                TlsConnector::from(config.expect("configured")).connect(name, tcp).await.expect("secured");
            drop(secured.write_all(&noise).await);
            drop(secured.flush().await);
        }
    }
    world.is_well().await;
    // STUN is answered, over UDP and over TCP, and so are those who ask for metrics.
    let request = Writer::new(Method::Binding, Class::Request, [7; 12]).finish();
    let mut answer = [0; 512];
    udp.send_to(&request, ("127.0.0.1", stun)).await.expect("sent");
    loop {
        let (length, _) = udp.recv_from(&mut answer).await.expect("answered");
        let message = stun::message::Message::parse(&answer[..length]);
        if message.is_some_and(|message| message.transaction() == [7; 12]) {
            break;
        }
    }
    let mut tcp = TcpStream::connect(("127.0.0.1", turn_tcp)).await.expect("connected");
    tcp.write_all(&request).await.expect("sent");
    let length = tcp.read(&mut answer).await.expect("answered");
    assert!(stun::message::Message::parse(&answer[..length]).is_some(), "{:?}", &answer[..length]);
    let mut shown = TcpStream::connect(("127.0.0.1", metrics)).await.expect("connected");
    shown.write_all(b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("sent");
    let mut said = String::new();
    shown.read_to_string(&mut said).await.expect("answered");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let joined = Dht::start(dht::Config {
        role: dht::Role::Device,
        bootstrap: vec![ready.dht.parse().expect("an address")],
        remembered: None,
        documents: None,
    });
    joined.await.expect("started").joined().await.expect("the DHT answers");
}

#[tokio::test]
async fn half_open_connections_count_and_are_bounded() {
    let world = World::with(|config| config.limits = Limits { per_address: 4, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpStream::connect(("127.0.0.1", world.port())).await.expect("connected"));
    }
    let mut fifth = TcpStream::connect(("127.0.0.1", world.port())).await.expect("accepted by the system");
    assert!(matches!(fifth.read(&mut [0; 1]).await, Ok(0) | Err(_)), "hung up on");
    held.clear();
    let alice = Device::new(1);
    loop {
        // The node notices the hang-ups when it gets to them.
        if let Ok(mut link) = Dialer::new(no_roots()).open(&world.target(Transport::Ws)).await {
            alice.greet(&mut link, world.node.ready().did.as_str()).await;
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn where_nobody_listens_the_reasons_are_told() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let node = SecretKey::from_bytes(&[77; 32]).did();
    let target: Target = format!("wss://{closed}/dsip#{node}").parse().expect("a target");
    let target = target.with_bindings(["ws/1.0", "quic/1.0"]);
    let failed = Dialer::new(no_roots()).open(&target).await.map(|link| link.transport());
    let Err(OpenError::Unreachable { detail, .. }) = failed else { panic!("{failed:?}") };
    assert!(detail.contains("ws/1.0: ") && detail.ends_with("no answer"), "{detail}");
}

#[tokio::test]
async fn another_nodes_key_is_refused() {
    let world = World::start().await;
    let other = SecretKey::from_bytes(&[77; 32]).did();
    for transport in [Transport::Ws, Transport::Quic] {
        let target = world.target(transport).with_node(other.clone()).expect("a did:key");
        let refused = Dialer::new(no_roots()).open(&target).await.map(|link| link.transport());
        assert!(matches!(refused, Err(OpenError::WrongKey { .. })), "{refused:?}");
    }
    let unknown: Target = world.node.ready().wss.parse().expect("a target");
    let refused = Dialer::new(no_roots()).open(&unknown).await.map(|link| link.transport());
    assert!(matches!(refused, Err(OpenError::Untrusted { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_off_and_its_sender_goes_on() {
    let world = World::start().await;
    let (alice, bob, sloth) = (Device::new(1), Device::new(2), Device::new(4));
    let mut slow = world.socket().await;
    slow.send(Message::text(sloth.hello(None).text.to_string())).await.expect("sent");
    world.until(|counts| counts.bound == 1).await;
    let mut caller = world.bind(&alice, Transport::Quic).await;
    let mut callee = world.bind(&bob, Transport::Ws).await;
    let session = alice.invite(&sloth.did).id;
    // Larger than what the kernel buffers for a socket that nobody reads, both ends together.
    let large = "x".repeat(1000);
    let mut sent = 0;
    while world.node.counts().too_slow == 0 {
        let filler = alice.bye_saying(&sloth.did, session, &large);
        while caller.send(Stream::Control, filler.text.clone()).is_err() {
            tokio::task::yield_now().await;
        }
        sent += 1;
        assert!(sent < 20_000, "never cut off");
        // What is still under way then is refused, and nobody may be refused very often.
        let counts = || world.node.counts();
        while counts().too_slow == 0 && counts().delivered + 64 < sent {
            tokio::task::yield_now().await;
        }
    }
    let invite = alice.invite(&bob.identity);
    say(&caller, &invite);
    hear_exactly(&mut callee, &invite).await;
    let ringing = bob.ringing(&alice.did, invite.id);
    say(&callee, &ringing);
    while caller.recv().await.expect("a frame") != *ringing.text {}
    drop(slow);
}

#[tokio::test]
async fn hel_8_slow_writers_disturb_nobody_and_are_closed() {
    let world = World::start().await;
    let mut slow = Vec::new();
    for _ in 0..32 {
        let mut secured = self_contained(&world).await;
        // The head of a masked text frame of 60,000 octets, and a few of these.
        secured.write_all(&[0x81, 0xfe, 0xea, 0x60, 1, 2, 3, 4]).await.expect("sent");
        secured.write_all(&[b'x'; 1000]).await.expect("sent");
        slow.push(secured);
    }
    world.is_well().await;
    // They go on, an octet at a time, until they are closed.
    for mut secured in slow {
        let mut heard = [0; 64];
        loop {
            if secured.write_all(b"x").await.is_err() {
                break;
            }
            let read = tokio::time::timeout(Duration::from_millis(200), secured.read(&mut heard)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
    }
    world.until(|counts| counts.bound == 0 && counts.connections == 0).await;
}

/// A WebSocket whose frames the test writes itself.
async fn self_contained(world: &World) -> TlsStream<TcpStream> {
    let mut secured = world.tls(no_roots().ws_client(&world.key()).expect("configured")).await.expect("secured");
    let upgrade = "GET /dsip HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    secured.write_all(upgrade.as_bytes()).await.expect("sent");
    let mut answer = [0; 1024];
    let length = secured.read(&mut answer).await.expect("answered");
    assert!(answer[..length].starts_with(b"HTTP/1.1 101"), "{:?}", String::from_utf8_lossy(&answer[..length]));
    secured
}

#[tokio::test]
async fn cus_3_a_node_shows_that_it_lives_before_it_answers() {
    let world = World::start().await;
    let mut raw = self_contained(&world).await;
    // A masked ping that says "alive?", by hand: a library might swallow a pong that it did not ask for.
    let (mask, question) = ([1, 2, 3, 4], *b"alive?");
    let masked: Vec<u8> = question.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask).collect();
    raw.write_all(&[&[0x89, 0x80 | 6][..], &mask, &masked].concat()).await.expect("sent");
    let mut pongs = Vec::new();
    for _ in 0..2 {
        let mut head = [0; 2];
        raw.read_exact(&mut head).await.expect("read");
        assert_eq!(head[0], 0x8a, "a pong, whole");
        let mut payload = vec![0; usize::from(head[1])];
        raw.read_exact(&mut payload).await.expect("read");
        pongs.push(payload);
    }
    assert_ne!(pongs[0], question, "nobody sent that");
    assert_eq!(pongs[1], question, "CUS-1: nothing came before it");
}

#[tokio::test]
async fn rly_70_a_flood_is_limited_and_ended_while_another_pair_talks_on() {
    let world = World::with(|config| {
        config.relay.rates.envelopes = Rate { burst: 20, every: Duration::from_secs(60) };
    })
    .await;
    let (mallory, alice, bob) = (Device::new(3), Device::new(1), Device::new(2));
    let mut callee = world.bind(&bob, Transport::Quic).await;
    let caller = world.bind(&alice, Transport::Ws).await;
    let mut flood = world.bind(&mallory, Transport::Ws).await;
    let nobody: Did = Device::new(9).identity;
    let session = Ulid::from_bits(1 << 100);
    for _ in 0..20 {
        say(&flood, &mallory.bye(&nobody, session));
    }
    let over = mallory.bye(&bob.did, session);
    say(&flood, &over);
    for _ in 0..20 {
        assert_eq!(crate::device::hear(&mut flood).await["reason"], "transport.unknown-recipient");
    }
    hear_error(&mut flood, "transport.rate-limited", &over).await;
    while flood.send(Stream::Control, mallory.bye(&bob.did, session).text).is_ok() {
        tokio::task::yield_now().await;
    }
    let ended = loop {
        if let Err(closed) = flood.recv().await {
            break closed;
        }
    };
    assert_eq!(ended, Closed::There(Close::Abuse));
    let invite = alice.invite(&bob.identity);
    say(&caller, &invite);
    hear_exactly(&mut callee, &invite).await;
}
