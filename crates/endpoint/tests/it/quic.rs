//! `quic/1.0`, rule by rule, against a peer whose streams and octets the test writes itself (docs/spec/quic.md).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dsip_endpoint::link::{
    Close, Closed, Deliver, Dialer, Heard, Outbox, SendError, Side, Stream, Target, Transport, outbox, quic,
};
use dsip_endpoint::tls::{self, Certificate, QUIC_ALPN, QUIC_ALPN_MARKS, Roots};
use dsip_proto::identity::SecretKey;
use dsip_proto::wire::Ulid;
use futures_util::FutureExt as _;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_rustls::TlsAcceptor;

const SEED: [u8; 32] = [42; 32];
const CONTROL: u128 = 0;
const SESSION: u128 = 77;
const MARK: [u8; 4] = [0x80, 0, 0, 0];
const ECHO: [u8; 4] = [0x80, 0, 0, 1];

/// A side that listens.
struct Served {
    certificate: Certificate,
    endpoint: Endpoint,
    accepted: mpsc::Receiver<Here>,
    accepting: AbortHandle,
}

/// One of its connections.
struct Here {
    outbox: Outbox,
    heard: mpsc::Receiver<Heard>,
    closed: JoinHandle<Closed>,
}

impl Served {
    fn start() -> Self {
        Self::on(0)
    }

    fn on(port: u16) -> Self {
        let certificate = Certificate::self_signed(&SEED, "did:key:node", &[]).expect("made");
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(certificate.quic_server().expect("configured")));
        config.transport_config(quic::transport(Side::Server));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, port).into()).expect("bound");
        let (sender, accepted) = mpsc::channel(8);
        let accepting = tokio::spawn(accept(endpoint.clone(), sender)).abort_handle();
        Self { certificate, endpoint, accepted, accepting }
    }

    fn at(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("an address")
    }

    fn target(&self) -> Target {
        let target: Target = format!("wss://127.0.0.1:{}/dsip", self.at().port()).parse().expect("a target");
        target.with_node(SecretKey::from_bytes(&SEED).did()).expect("a did:key")
    }

    /// TLS of somebody who offers these application protocols.
    fn tls(&self, protocols: &[&[u8]]) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(self.certificate.pem().as_bytes()).expect("a certificate");
        roots.add(der).expect("a root");
        let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.enable_early_data = true;
        config
    }

    async fn dialled(&self, protocols: &[&[u8]]) -> Result<Connection, quinn::ConnectionError> {
        soon(connecting(&client(self.tls(protocols)), self.at())).await
    }

    /// A raw connection, with marks or without, and the listening side's end of it.
    async fn connect(&mut self, marks: bool) -> (Connection, Here) {
        let protocols: &[&[u8]] = if marks { &[QUIC_ALPN_MARKS, QUIC_ALPN] } else { &[QUIC_ALPN] };
        let connection = self.dialled(protocols).await.expect("connected");
        (connection, soon(self.accepted.recv()).await.expect("accepted"))
    }

    /// The same, after a first frame on the control stream.
    async fn greet(&mut self, marks: bool) -> (Connection, Here, SendStream, RecvStream) {
        let (connection, mut here) = self.connect(marks).await;
        let (send, recv) = open(&connection, CONTROL, &frame("hello")).await;
        here.hears("hello").await;
        (connection, here, send, recv)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.accepting.abort();
        self.endpoint.close(0u32.into(), b"");
    }
}

impl Here {
    async fn hears(&mut self, text: &str) {
        assert_eq!(soon(self.heard.recv()).await, Some(Heard::Frame(text.into())));
    }

    fn says(&self, stream: u128, text: &str) {
        self.outbox.send(named(stream), text.into()).expect("queued");
    }
}

async fn accept(endpoint: Endpoint, accepted: mpsc::Sender<Here>) {
    while let Some(incoming) = endpoint.accept().await {
        let Ok(Ok((connection, _))) = incoming.accept().map(quinn::Connecting::into_0rtt) else { continue };
        let ((outbox, outgoing), (sender, heard)) = (outbox(), mpsc::channel(16));
        let deliver = Deliver::new(sender, Some);
        let closed = tokio::spawn(quic::drive(connection, Side::Server, None, outgoing, deliver));
        if accepted.send(Here { outbox, heard, closed }).await.is_err() {
            return;
        }
    }
}

fn client(tls: rustls::ClientConfig) -> Endpoint {
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("bound");
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("QUIC"))));
    endpoint
}

async fn connecting(endpoint: &Endpoint, at: SocketAddr) -> Result<Connection, quinn::ConnectionError> {
    endpoint.connect(at, "localhost").expect("begun").await
}

/// What a test waits for comes; if it does not, the test says so.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("within half a minute")
}

fn named(stream: u128) -> Stream {
    if stream == CONTROL { Stream::Control } else { Stream::Session(Ulid::from_bits(stream)) }
}

fn frame(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat()
}

/// A stream of ours with that name, and the first octets after it.
async fn open(connection: &Connection, name: u128, rest: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = soon(connection.open_bi()).await.expect("opened");
    send.write_all(&[&name.to_be_bytes(), rest].concat()).await.expect("written");
    (send, recv)
}

async fn reads(recv: &mut RecvStream, octets: &[u8]) {
    let mut read = vec![0; octets.len()];
    soon(recv.read_exact(&mut read)).await.expect("read");
    assert_eq!(read, octets);
}

async fn ends(connection: &Connection) -> Closed {
    quic::closed(soon(connection.closed()).await)
}

#[tokio::test]
async fn qb_1_who_speaks_something_else_is_refused() {
    let served = Served::start();
    served.dialled(&[QUIC_ALPN]).await.expect("spoken here");
    for other in [&b"h3"[..], b"dsip/2"] {
        let refused = served.dialled(&[other]).await.expect_err("not spoken here");
        // RFC 9001, 8.1: the alert no_application_protocol.
        assert!(
            matches!(&refused, quinn::ConnectionError::ConnectionClosed(close) if close.error_code == quinn::TransportErrorCode::crypto(120)),
            "{refused}"
        );
    }
    served.dialled(&[]).await.expect_err("nothing named");
}

#[tokio::test]
async fn qb_10_and_11_streams_are_named_once_and_frames_follow() {
    let mut served = Served::start();
    let (connection, mut here, _control, _) = served.greet(true).await;
    // Octets may come in any portions.
    let octets = [frame("one"), frame(""), frame("two")].concat();
    let (mut send, mut recv) = open(&connection, SESSION, &octets[..5]).await;
    for octet in &octets[5..] {
        send.write_all(&[*octet]).await.expect("written");
    }
    for text in ["one", "", "two"] {
        here.hears(text).await;
    }
    // The other direction begins with a frame.
    here.says(SESSION, "back");
    reads(&mut recv, &frame("back")).await;
    assert!(connection.open_uni().now_or_never().is_none(), "no unidirectional streams");
    assert_eq!(connection.max_datagram_size(), None);
}

#[tokio::test]
async fn qb_12_a_frame_of_the_largest_size_passes() {
    let mut served = Served::start();
    let (_connection, mut here, mut control, _) = served.greet(true).await;
    let largest = "x".repeat(65_536);
    let sent = frame(&largest);
    let (written, ()) = tokio::join!(control.write_all(&sent), here.hears(&largest));
    written.expect("written");
}

#[tokio::test]
async fn qb_13_what_is_no_text_or_ends_too_soon_ends_the_connection() {
    for (octets, finish, close) in [
        (&[&CONTROL.to_be_bytes()[..], &[0, 0, 0, 2, 0xc3, 0x28]].concat()[..], false, Close::NotText),
        (&[&CONTROL.to_be_bytes()[..], &[0, 0, 0, 9, b'x']].concat(), true, Close::Protocol),
        (&[&CONTROL.to_be_bytes()[..], &[0, 0]].concat(), true, Close::Protocol),
        (&[7; 15], true, Close::Protocol),
    ] {
        let mut served = Served::start();
        let (connection, here) = served.connect(true).await;
        let (mut send, _recv) = connection.open_bi().await.expect("opened");
        send.write_all(octets).await.expect("written");
        if finish {
            send.finish().expect("finished");
        }
        assert_eq!(ends(&connection).await, Closed::There(close), "{octets:?}");
        assert_eq!(here.closed.await.expect("ended"), Closed::Here(close));
    }
}

#[tokio::test]
async fn qb_20_there_is_one_control_stream_and_the_client_opens_it() {
    let mut served = Served::start();
    let (connection, _here, _control, _) = served.greet(true).await;
    let _second = open(&connection, CONTROL, &frame("another hello")).await;
    assert_eq!(ends(&connection).await, Closed::There(Close::Protocol));

    // What a listening side says before that waits for it.
    let (connection, mut here) = served.connect(true).await;
    here.says(CONTROL, "first");
    let (_send, mut recv) = open(&connection, CONTROL, &frame("hello")).await;
    here.hears("hello").await;
    reads(&mut recv, &frame("first")).await;
}

#[tokio::test]
async fn qb_20_a_server_that_opens_a_control_stream_is_left() {
    let Served { certificate, .. } = &Served::start();
    let config = quinn::ServerConfig::with_crypto(Arc::new(certificate.quic_server().expect("configured")));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).expect("bound");
    let at = endpoint.local_addr().expect("an address");
    let target: Target = format!("wss://127.0.0.1:{}/dsip", at.port()).parse().expect("a target");
    let target = target.with_node(SecretKey::from_bytes(&SEED).did()).expect("a did:key");
    let dialer = Dialer::new(Roots::load::<&str>(&[]).expect("loaded"));
    let raw = async { endpoint.accept().await.expect("dialled").await.expect("connected") };
    let (link, connection) = soon(async { tokio::join!(dialer.open_over(&target, Transport::Quic, at), raw) }).await;
    let mut link = link.expect("opened");
    let _stream = open(&connection, CONTROL, &frame("hello")).await;
    assert_eq!(ends(&connection).await, Closed::There(Close::Protocol));
    assert_eq!(soon(link.recv()).await, Err(Closed::Here(Close::Protocol)));
}

#[tokio::test]
async fn qb_22_a_session_has_the_stream_that_either_side_opened_for_it() {
    let mut served = Served::start();
    let (connection, mut here, _control, _) = served.greet(true).await;
    let (_send, mut recv) = open(&connection, SESSION, &frame("theirs")).await;
    here.hears("theirs").await;
    here.says(SESSION, "on the same");
    reads(&mut recv, &frame("on the same")).await;
    here.says(SESSION + 1, "on its own");
    let (mut send, mut recv) = soon(connection.accept_bi()).await.expect("opened");
    reads(&mut recv, &[&(SESSION + 1).to_be_bytes()[..], &frame("on its own")].concat()).await;
    send.write_all(&frame("back")).await.expect("written");
    here.hears("back").await;
    // 32 of ours besides the control stream, one of which is open.
    let mut open_now = Vec::new();
    for number in 2..=32 {
        open_now.push(open(&connection, SESSION + number, &[]).await);
    }
    assert!(connection.open_bi().now_or_never().is_none(), "a 33rd");
}

#[tokio::test]
async fn qb_24_a_successor_is_read_after_its_predecessor() {
    let mut served = Served::start();
    let (connection, mut here, _control, _) = served.greet(true).await;
    let (mut first, _first) = open(&connection, SESSION, &frame("1")).await;
    here.hears("1").await;
    let _second = open(&connection, SESSION, &frame("3")).await;
    // What came on another stream since shows that it waits.
    let _other = open(&connection, SESSION + 1, &frame("meanwhile")).await;
    here.hears("meanwhile").await;
    first.write_all(&frame("2")).await.expect("written");
    first.finish().expect("finished");
    here.hears("2").await;
    here.hears("3").await;
}

#[tokio::test]
async fn qb_25_both_sides_may_open_a_stream_for_one_session() {
    let mut served = Served::start();
    let (connection, mut here, _control, _) = served.greet(true).await;
    here.says(SESSION, "from here");
    let (mut ours, mut crossing) = open(&connection, SESSION, &frame("from there")).await;
    let (mut other, mut theirs) = soon(connection.accept_bi()).await.expect("opened");
    reads(&mut theirs, &[&SESSION.to_be_bytes()[..], &frame("from here")].concat()).await;
    here.hears("from there").await;
    // Each finishes its direction of the other's, and goes on writing on its own.
    assert_eq!(soon(crossing.read_to_end(100)).await.expect("finished"), b"");
    other.finish().expect("finished");
    here.says(SESSION, "and more");
    reads(&mut theirs, &frame("and more")).await;
    ours.write_all(&frame("and more there")).await.expect("written");
    here.hears("and more there").await;
}

#[tokio::test]
async fn qb_26_who_asks_to_stop_a_stream_is_left() {
    let mut served = Served::start();
    let (connection, mut here, _control, _) = served.greet(true).await;
    let (_send, mut recv) = open(&connection, SESSION, &frame("there")).await;
    here.hears("there").await;
    recv.stop(0u32.into()).expect("asked");
    // It shows when something is written there.
    soon(async {
        while here.outbox.send(named(SESSION), "x".into()) != Err(SendError::Closed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(ends(&connection).await, Closed::There(Close::Protocol));
}

#[tokio::test]
async fn qb_31_a_recorded_first_flight_is_heard_once() {
    let mut served = Served::start();
    let endpoint = client(served.tls(&[QUIC_ALPN_MARKS]));
    let first = soon(connecting(&endpoint, served.at())).await.expect("connected");
    let firsts = soon(served.accepted.recv()).await.expect("accepted");
    // Somebody stands between the two and records. As soon as the ticket is there, the client speaks at once.
    let (wire, connection) = soon(async {
        loop {
            let wire = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
            let at = wire.local_addr().expect("an address");
            if let Ok((connection, _)) = endpoint.connect(at, "localhost").expect("begun").into_0rtt() {
                break (wire, connection);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let _flight = open(&connection, CONTROL, &frame("hello")).await;
    let mut recorded = Vec::new();
    let passing = async {
        loop {
            let mut packet = vec![0; 2048];
            let (length, _) = wire.recv_from(&mut packet).await.expect("received");
            packet.truncate(length);
            wire.send_to(&packet, served.endpoint.local_addr().expect("an address")).await.expect("sent");
            recorded.push(packet);
        }
    };
    let hearing = async {
        let mut here = served.accepted.recv().await.expect("accepted");
        here.hears("hello").await;
        here
    };
    let here = soon(async {
        tokio::select! {
            here = hearing => here,
            () = passing => unreachable!("it goes on"),
        }
    })
    .await;

    // When that connection is forgotten, the same packets make another, and nothing is heard on it.
    here.outbox.cut();
    drop((first, firsts));
    soon(async {
        while served.endpoint.open_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let replayer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    for packet in &recorded {
        replayer.send_to(packet, served.at()).await.expect("sent");
    }
    let mut again = soon(served.accepted.recv()).await.expect("accepted");
    let heard = tokio::time::timeout(Duration::from_secs(1), again.heard.recv()).await;
    assert!(heard.is_err(), "heard twice: {heard:?}");
}

#[tokio::test]
async fn qb_33_a_first_flight_that_nobody_answers_is_given_up_and_websocket_goes_first() {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let port = tcp.local_addr().expect("an address").port();
    let mut served = Served::on(port);
    let (certificate, target) = (served.certificate.clone(), served.target());
    let dialer = Dialer::new(Roots::load::<&str>(&[]).expect("loaded"));
    let mut link = soon(dialer.open(&target)).await.expect("opened");
    let mut here = soon(served.accepted.recv()).await.expect("accepted");
    link.send(Stream::Control, "hello".into()).expect("queued");
    here.hears("hello").await;
    here.says(CONTROL, "hello");
    assert_eq!(soon(link.recv()).await.as_deref(), Ok("hello"));
    drop(link);
    assert_eq!(soon(here.closed).await.expect("ended"), Closed::There(Close::Done));

    // From now on what comes there over UDP vanishes.
    drop(served);
    let _silence = soon(async {
        loop {
            if let Ok(silence) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await {
                break silence;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut link = soon(dialer.open(&target)).await.expect("opened");
    assert!(link.is_early());
    link.send(Stream::Control, "hello".into()).expect("queued");
    assert_eq!(soon(link.recv()).await, Err(Closed::Unanswered));

    let acceptor = TlsAcceptor::from(certificate.ws_server().expect("configured"));
    let websocket = async {
        let (stream, _) = tcp.accept().await.expect("dialled");
        let stream = acceptor.accept(stream).await.expect("secured");
        tokio_tungstenite::accept_async(stream).await.expect("a WebSocket")
    };
    let (link, _websocket) = soon(async { tokio::join!(dialer.open(&target), websocket) }).await;
    assert_eq!(link.expect("opened").transport(), Transport::Ws);
}

#[tokio::test]
async fn qb_42_who_does_not_read_is_cut_off() {
    let mut served = Served::start();
    let (connection, here, _control, _) = served.greet(true).await;
    let large = "x".repeat(60_000);
    let mut queued = 0;
    while here.outbox.send(named(SESSION), large.as_str().into()).is_ok() {
        queued += 1;
        tokio::task::yield_now().await;
        assert!(queued < 100, "more than the windows and 1 MiB");
    }
    here.outbox.cut();
    assert_eq!(ends(&connection).await, Closed::There(Close::TooSlow));
}

#[tokio::test]
async fn qb_50_codes_say_why_and_unknown_ones_nothing() {
    for (code, meant) in [(0, Close::Done), (1, Close::GoingAway), (8, Close::Abuse), (99, Close::Done)] {
        let mut served = Served::start();
        let (connection, here, _control, _) = served.greet(true).await;
        connection.close(quinn::VarInt::from_u32(code), b"");
        assert_eq!(soon(here.closed).await.expect("ended"), Closed::There(meant), "{code}");
    }
}

#[tokio::test]
async fn qb_51_what_was_said_last_arrives_before_the_end() {
    let mut served = Served::start();
    let (connection, here, _control, mut recv) = served.greet(true).await;
    here.says(CONTROL, "last");
    here.outbox.close(Close::GoingAway);
    reads(&mut recv, &frame("last")).await;
    assert_eq!(ends(&connection).await, Closed::There(Close::GoingAway));
}

#[tokio::test]
async fn qb_60_marks_are_agreed_on_by_alpn() {
    let mut served = Served::start();
    for (marks, agreed) in [(true, QUIC_ALPN_MARKS), (false, QUIC_ALPN)] {
        let (connection, mut here, mut control, _) = served.greet(marks).await;
        let data = connection.handshake_data().expect("over").downcast::<HandshakeData>().expect("rustls");
        assert_eq!(data.protocol.as_deref(), Some(agreed));
        control.write_all(&[&MARK[..], &[9; 8]].concat()).await.expect("written");
        if marks {
            assert_eq!(soon(here.heard.recv()).await, Some(Heard::Asked(vec![9; 8])));
        } else {
            assert_eq!(ends(&connection).await, Closed::There(Close::TooLarge));
        }
    }
}

#[tokio::test]
async fn qb_61_and_62_marks_are_put_on_each_stream_and_echoed() {
    let mut served = Served::start();
    let (connection, mut here, mut control, mut controls) = served.greet(true).await;
    // Theirs.
    let (mut send, mut recv) = open(&connection, SESSION, &frame("one")).await;
    send.write_all(&[&MARK[..], &[5; 8]].concat()).await.expect("written");
    here.hears("one").await;
    assert_eq!(soon(here.heard.recv()).await, Some(Heard::Asked(vec![5; 8])));
    here.outbox.vouch(vec![5; 8]);
    reads(&mut controls, &[&ECHO[..], &[5; 8]].concat()).await;
    // Ours: one on each stream that was used, behind what was sent there.
    here.says(SESSION, "a");
    here.says(CONTROL, "b");
    assert!(here.outbox.ask(7));
    let mut marks = Vec::new();
    for (recv, text) in [(&mut recv, "a"), (&mut controls, "b")] {
        reads(recv, &[&frame(text)[..], &MARK].concat()).await;
        let mut mark = [0; 8];
        soon(recv.read_exact(&mut mark)).await.expect("read");
        marks.push(mark);
    }
    assert_ne!(marks[0], marks[1]);
    // Their echoes may come on any stream, and only all of them are an answer.
    control.write_all(&[&ECHO[..], &marks[0]].concat()).await.expect("written");
    control.write_all(&frame("not yet")).await.expect("written");
    here.hears("not yet").await;
    send.write_all(&[&ECHO[..], &marks[1]].concat()).await.expect("written");
    assert_eq!(soon(here.heard.recv()).await, Some(Heard::Reached(7)));
}

#[tokio::test]
async fn qb_63_without_marks_what_was_handed_over_counts_as_acknowledged() {
    let mut served = Served::start();
    let (_connection, mut here, _control, mut recv) = served.greet(false).await;
    here.says(CONTROL, "there");
    assert!(here.outbox.ask(3));
    assert_eq!(soon(here.heard.recv()).await, Some(Heard::Reached(3)));
    // Nothing but the frame is on the wire.
    here.says(CONTROL, "more");
    reads(&mut recv, &[frame("there"), frame("more")].concat()).await;
}
