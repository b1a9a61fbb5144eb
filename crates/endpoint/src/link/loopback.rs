//! Both bindings over real sockets, against a listener that echoes every frame on the stream its text names.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicUsize;

use dsip_proto::identity::SecretKey;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::tls::{self, Certificate, Roots};

const SEED: [u8; 32] = [42; 32];

/// An echoing node on one port number, TCP and UDP.
struct Node {
    port: u16,
    seen: Arc<AtomicUsize>,
    tasks: Vec<AbortHandle>,
    endpoint: Option<quinn::Endpoint>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        if let Some(endpoint) = &self.endpoint {
            endpoint.close(0u32.into(), b"");
        }
    }
}

impl Node {
    async fn start(port: u16, ws: bool, quic: bool) -> Self {
        Self::with(port, ws, quic, Certificate::self_signed(&SEED, "did:key:node", &[]).expect("made")).await
    }

    async fn with(port: u16, ws: bool, quic: bool, certificate: Certificate) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("bound");
        let at = listener.local_addr().expect("an address");
        let seen = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        if ws {
            let acceptor = TlsAcceptor::from(certificate.ws_server().expect("configured"));
            let seen = seen.clone();
            tasks.push(tokio::spawn(accept_ws(listener, acceptor, seen)).abort_handle());
        }
        let mut endpoint = None;
        if quic {
            let mut config = quinn::ServerConfig::with_crypto(Arc::new(certificate.quic_server().expect("configured")));
            config.transport_config(quic::transport(Side::Server));
            let server = quinn::Endpoint::server(config, at).expect("bound");
            tasks.push(tokio::spawn(accept_quic(server.clone(), seen.clone())).abort_handle());
            endpoint = Some(server);
        }
        Self { port: at.port(), seen, tasks, endpoint }
    }

    /// Another one on the same port over QUIC, which knows nothing of the sessions of this one.
    async fn restart(self) -> Self {
        let port = self.port;
        if let Some(endpoint) = &self.endpoint {
            endpoint.close(0u32.into(), b"");
            endpoint.wait_idle().await;
        }
        drop(self);
        // The listener's tasks let go of the port once they have been told to stop.
        loop {
            tokio::task::yield_now().await;
            if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Self::start(port, false, true).await;
            }
        }
    }

    fn target(&self, seed: Option<[u8; 32]>) -> Target {
        let url = format!("wss://127.0.0.1:{}/dsip", self.port);
        let target: Target = url.parse().expect("a target");
        match seed {
            Some(seed) => target.with_node(SecretKey::from_bytes(&seed).did()).expect("a did:key"),
            None => target,
        }
    }
}

async fn accept_ws(listener: TcpListener, acceptor: TlsAcceptor, seen: Arc<AtomicUsize>) {
    let mut tasks = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        tasks.spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let Ok(socket) = tokio_tungstenite::accept_async_with_config(tls, Some(ws::config())).await else { return };
            seen.fetch_add(1, Ordering::Relaxed);
            echo(|outgoing, deliver| ws::drive(socket, Side::Server, outgoing, deliver)).await;
        });
    }
}

async fn accept_quic(endpoint: quinn::Endpoint, seen: Arc<AtomicUsize>) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let seen = seen.clone();
        tasks.spawn(async move {
            let Ok(Ok((connection, _))) = incoming.accept().map(quinn::Connecting::into_0rtt) else { return };
            seen.fetch_add(1, Ordering::Relaxed);
            echo(|outgoing, deliver| quic::drive(connection, Side::Server, None, outgoing, deliver)).await;
        });
    }
}

async fn echo<D: Future<Output = Closed>>(
    drive: impl FnOnce(Outgoing, Deliver<String, fn(Heard) -> Option<String>>) -> D,
) {
    let (outbox, outgoing) = outbox();
    let (sender, mut received) = mpsc::channel::<String>(16);
    let answer = async move {
        while let Some(text) = received.recv().await {
            let number = text.split(' ').next().and_then(|first| first.parse::<u128>().ok());
            let stream = number.map_or(Stream::Control, |number| Stream::Session(Ulid::from_bits(number)));
            while outbox.send(stream, text.as_str().into()) == Err(SendError::Full) {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(answer, drive(outgoing, Deliver::new(sender, Heard::frame)));
}

fn dialer() -> Dialer {
    Dialer::new(Roots::load::<&str>(&[]).expect("loaded"))
}

async fn say(link: &mut Link, stream: Stream, text: &str) {
    link.send(stream, text.into()).expect("queued");
    assert_eq!(link.recv().await.as_deref(), Ok(text));
}

#[tokio::test]
async fn qb_3_and_4_quic_goes_first_and_a_did_key_node_is_known_by_its_key() {
    let node = Node::start(0, true, true).await;
    let mut link = dialer().open(&node.target(Some(SEED))).await.expect("opened");
    assert_eq!(link.transport(), Transport::Quic);
    say(&mut link, Stream::Control, "hello").await;
    say(&mut link, Stream::Session(Ulid::from_bits(7)), "7 invite").await;
}

#[tokio::test]
async fn qb_2_websocket_where_quic_is_not_spoken_and_it_goes_first_next_time() {
    let node = Node::start(0, true, false).await;
    let dialer = dialer();
    let target = node.target(Some(SEED));
    for _ in 0..2 {
        let mut link = dialer.open(&target).await.expect("opened");
        assert_eq!(link.transport(), Transport::Ws);
        say(&mut link, Stream::Control, "hello").await;
    }
    assert_eq!(node.seen.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn qb_3_and_4_another_key_is_refused_over_either_binding() {
    for (ws, quic) in [(true, false), (false, true)] {
        let node = Node::start(0, ws, quic).await;
        let refused = dialer().open(&node.target(Some([1; 32]))).await.map(|link| link.transport());
        assert!(matches!(refused, Err(OpenError::WrongKey { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_unknown_node_is_refused_with_advice_and_its_certificate_makes_it_known() {
    let node = Node::start(0, true, true).await;
    let refused = dialer().open(&node.target(None)).await.map(|link| link.transport()).expect_err("refused");
    assert!(refused.to_string().contains("--ca FILE"), "{refused}");

    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("node.pem");
    let certificate = Certificate::self_signed(&SEED, "did:key:node", &[]).expect("made");
    std::fs::write(&path, certificate.pem()).expect("written");
    for bindings in [["ws/1.0"].as_slice(), &["ws/1.0", "quic/1.0"]] {
        let dialer = Dialer::new(Roots::load(&[&path]).expect("loaded"));
        let target = node.target(None).with_bindings(bindings.iter().copied());
        let mut link = dialer.open(&target).await.expect("opened");
        assert_eq!(link.transport().id(), *bindings.last().expect("not empty"));
        say(&mut link, Stream::Control, "hello").await;
    }
}

#[tokio::test]
async fn a_node_with_a_domain_shows_each_client_what_it_can_check() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let (chain, key) = (home.path().join("domain.pem"), home.path().join("domain.key"));
    let domain = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(&chain, domain.cert.pem()).expect("written");
    std::fs::write(&key, domain.signing_key.serialize_pem()).expect("written");
    let certificate = Certificate::self_signed(&SEED, "did:key:node", &[]).expect("made");
    certificate.show_domain(&chain, &key).expect("read");
    let node = Node::with(0, true, true, certificate).await;

    let mut by_key = dialer().open(&node.target(Some(SEED))).await.expect("its own key");
    say(&mut by_key, Stream::Control, "hello").await;
    let by_name: Target = format!("wss://localhost:{}/dsip", node.port).parse().expect("a target");
    let trusting = Dialer::new(Roots::load(&[&chain]).expect("loaded"));
    let mut by_name = trusting.open(&by_name).await.expect("the domain's certificate");
    say(&mut by_name, Stream::Control, "hello").await;
}

#[tokio::test]
async fn ws_9_tls_1_2_is_refused() {
    let node = Node::start(0, true, false).await;
    let config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("supported by the library")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, node.port)).await.expect("connected");
    let name = tls::server_name("localhost").expect("a name");
    let refused = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect_err("refused").to_string();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
}

#[tokio::test]
async fn ws_12_a_frame_over_the_cap_ends_the_connection_with_1009() {
    let node = Node::start(0, true, false).await;
    let target = node.target(Some(SEED));
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, node.port)).await.expect("connected");
    let tls = Roots::load::<&str>(&[]).expect("loaded").ws_client(&target.expect()).expect("configured");
    let mut socket = ws::connect(&target, tcp, tls).await.expect("open");
    let largest = "x".repeat(MAX_FRAME);
    socket.send(Message::text(largest.clone())).await.expect("sent");
    let back = socket.next().await.expect("an answer").expect("a frame");
    assert_eq!(back.into_text().expect("text").as_str(), largest);
    socket.send(Message::text("x".repeat(MAX_FRAME + 1))).await.expect("sent");
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1009),
        other => panic!("expected a close frame, got {other:?}"),
    }
}

#[tokio::test]
async fn qb_30_the_second_link_sends_its_first_frame_as_0_rtt() {
    let node = Node::start(0, false, true).await;
    let dialer = dialer();
    let target = node.target(Some(SEED));
    let mut first = dialer.open(&target).await.expect("opened");
    assert!(!first.is_early());
    say(&mut first, Stream::Control, "hello").await;
    let mut second = dialer.open(&target).await.expect("opened");
    assert!(second.is_early());
    say(&mut second, Stream::Control, "hello again").await;
    say(&mut second, Stream::Session(Ulid::from_bits(3)), "3 invite").await;
}

#[tokio::test]
async fn qb_32_what_a_restarted_node_refuses_as_0_rtt_is_sent_again_in_order() {
    let node = Node::start(0, false, true).await;
    let dialer = dialer();
    let target = node.target(Some(SEED));
    let mut first = dialer.open(&target).await.expect("opened");
    say(&mut first, Stream::Control, "hello").await;
    let restarted = node.restart().await;
    let mut second = dialer.open(&target).await.expect("opened");
    assert!(second.is_early());
    for text in ["hello", "one", "two"] {
        second.send(Stream::Control, text.into()).expect("queued");
    }
    for text in ["hello", "one", "two"] {
        assert_eq!(second.recv().await.as_deref(), Ok(text));
    }
    assert_eq!(restarted.seen.load(Ordering::Relaxed), 1);
}

/// QUIC and its driver run on another thread than the link: what the node refuses may be refused before the link has learnt
/// it, and what it sends then arrives.
#[tokio::test]
async fn qb_32_a_refusal_that_the_link_learns_late_is_no_second_control_stream() {
    let mut node = Node::start(0, false, true).await;
    let target = node.target(Some(SEED));
    let crypto = Roots::load::<&str>(&[]).expect("loaded").quic_client(&target.expect()).expect("configured");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(quic::transport(Side::Client));
    let client = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("bound");
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
    let connect = || client.connect_with(config.clone(), at, "localhost").expect("begun");
    let first = connect().await.expect("connected");
    let mut first = spawn(Transport::Quic, at, false, |outgoing, deliver| {
        quic::drive(first, Side::Client, None, outgoing, deliver)
    });
    say(&mut first, Stream::Control, "hello").await;

    for accepts in [true, false] {
        if !accepts {
            node = node.restart().await;
        }
        let (connection, accepted) = connect().into_0rtt().expect("a session");
        assert_eq!(accepted.await, accepts);
        let mut is_known = false;
        let late = poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut is_known, true) { Poll::Ready(accepts) } else { Poll::Pending }
        });
        let mut link = spawn(Transport::Quic, at, true, |outgoing, deliver| {
            quic::drive(connection, Side::Client, Some(Box::pin(late)), outgoing, deliver)
        });
        let session = Stream::Session(Ulid::from_bits(5));
        for (stream, text) in [(Stream::Control, "hello"), (session, "5 one"), (session, "5 two")] {
            link.send(stream, text.into()).expect("queued");
        }
        for text in ["hello", "5 one", "5 two"] {
            assert_eq!(link.recv().await.as_deref(), Ok(text), "accepted: {accepts}");
        }
        say(&mut link, Stream::Control, "three").await;
        say(&mut link, session, "5 four").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn qb_32_many_links_survive_a_node_s_restart() {
    const LINKS: usize = 24;
    let mut node = Node::start(0, false, true).await;
    let target = node.target(Some(SEED));
    let roots = Roots::load::<&str>(&[]).expect("loaded");
    let dialers: Vec<Dialer> = (0..LINKS).map(|_| Dialer::new(roots.clone())).collect();
    for round in 0..3 {
        let mut links = JoinSet::new();
        for dialer in &dialers {
            let (dialer, target) = (dialer.clone(), target.clone());
            links.spawn(async move {
                let mut link = dialer.open(&target).await.expect("opened");
                assert_eq!(link.is_early(), round > 0);
                let session = |number| Stream::Session(Ulid::from_bits(number));
                for (stream, text) in [(Stream::Control, "hello"), (session(1), "1 one"), (session(2), "2 two")] {
                    link.send(stream, text.into()).expect("queued");
                }
                let mut back = [link.recv().await, link.recv().await, link.recv().await];
                back.sort_by_key(|text| text.clone().ok());
                assert_eq!(back.each_ref().map(|text| text.as_deref()), [Ok("1 one"), Ok("2 two"), Ok("hello")]);
            });
        }
        while let Some(ended) = links.join_next().await {
            ended.expect("survived");
        }
        assert_eq!(node.seen.load(Ordering::Relaxed), LINKS);
        node = node.restart().await;
    }
}

#[tokio::test]
async fn qb_43_a_link_survives_a_change_of_address() {
    let node = Node::start(0, false, true).await;
    let dialer = dialer();
    let mut link = dialer.open(&node.target(Some(SEED))).await.expect("opened");
    say(&mut link, Stream::Control, "hello").await;
    dialer.rebind().expect("bound");
    say(&mut link, Stream::Control, "still here").await;
    assert_eq!(node.seen.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn qb_23_any_number_of_sessions_each_in_order() {
    const SESSIONS: u128 = 200;
    let node = Node::start(0, false, true).await;
    let mut link = dialer().open(&node.target(Some(SEED))).await.expect("opened");
    say(&mut link, Stream::Control, "hello").await;
    let mut expected = vec![0; SESSIONS as usize];
    for round in 0..3 {
        for session in 1..=SESSIONS {
            let text = format!("{session} {round}");
            while link.send(Stream::Session(Ulid::from_bits(session)), text.as_str().into()).is_err() {
                tokio::task::yield_now().await;
            }
        }
    }
    for _ in 0..3 * SESSIONS {
        let text = link.recv().await.expect("an echo");
        let (session, round) = text.split_once(' ').expect("two numbers");
        let next = &mut expected[session.parse::<usize>().expect("a number") - 1];
        assert_eq!(round.parse(), Ok(*next), "session {session} out of order");
        *next += 1;
    }
}

/// A connection without a link, to be used as no link would.
async fn raw(node: &Node) -> quinn::Connection {
    let crypto = Roots::load::<&str>(&[]).expect("loaded").quic_client(&node.target(Some(SEED)).expect()).expect("set");
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("bound");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
    endpoint.connect_with(config, at, "localhost").expect("begun").await.expect("connected")
}

#[tokio::test]
async fn qb_12_a_promised_length_over_the_cap_ends_the_connection() {
    let node = Node::start(0, false, true).await;
    let connection = raw(&node).await;
    let (mut send, _recv) = connection.open_bi().await.expect("opened");
    send.write_all(&[&[0; 16][..], &65_537u32.to_be_bytes()].concat()).await.expect("written");
    assert_eq!(quic::closed(connection.closed().await), Closed::There(Close::TooLarge));
}

#[tokio::test]
async fn qb_26_who_gives_up_a_stream_gives_up_the_connection() {
    let node = Node::start(0, false, true).await;
    let begun = [&[0; 16][..], &5u32.to_be_bytes(), b"hello"].concat();
    let in_preamble = &begun[..7];
    let between_frames = &begun[..];
    let in_a_length = [&begun[..], &[0, 0]].concat();
    let in_a_frame = [&begun[..], &9u32.to_be_bytes(), b"cut"].concat();
    for so_far in [in_preamble, between_frames, &in_a_length, &in_a_frame] {
        let connection = raw(&node).await;
        let (mut send, _recv) = connection.open_bi().await.expect("opened");
        send.write_all(so_far).await.expect("written");
        send.reset(0u32.into()).expect("reset");
        assert_eq!(quic::closed(connection.closed().await), Closed::There(Close::Protocol), "{so_far:?}");
    }
    let connection = raw(&node).await;
    let (mut send, mut recv) = connection.open_bi().await.expect("opened");
    send.write_all(&begun).await.expect("written");
    recv.stop(0u32.into()).expect("stopped");
    assert_eq!(quic::closed(connection.closed().await), Closed::There(Close::Protocol));
}
