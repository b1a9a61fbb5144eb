//! Documents, aliases and the whole look-up, against a web server and a DNS server on loopback.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::dht::{self, Dht, Role};
use dsip_endpoint::resolve::{
    Alias, AliasOrigin, Config, FetchError, MAX_BYTES, Origin, PATIENCE, REL, ResolveError, Resolver, Source, Target,
};
use dsip_endpoint::tls::{Certificate, Expect, Roots};
use dsip_proto::envelope::Signer;
use dsip_proto::hints;
use dsip_proto::identity::{Document, DocumentError, SecretKey, Service};
use dsip_proto::time::Seed;
use dsip_proto::wire::message::HintEndpoint;
use dsip_proto::wire::{Did, Ulid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

const BOB: &str = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";

/// What the web server does with a request.
#[derive(Clone)]
enum Page {
    Text(String),
    Head(&'static str),
    Endless,
    Silent,
}

/// A web server whose pages are given by path; anything else is not found.
struct Site {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    resolver: Resolver,
    tls: Arc<rustls::ClientConfig>,
    _root: tempfile::NamedTempFile,
}

impl Site {
    /// `pages` is told the port, which is part of every DID on it.
    async fn open(allow_private: bool, dns: Option<SocketAddr>, pages: impl Fn(u16) -> Vec<(String, Page)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let pages: Arc<BTreeMap<String, Page>> = Arc::new(pages(address.port()).into_iter().collect());
        let certificate = Certificate::self_signed(&[5; 32], "test", &["localhost".to_owned()]).expect("a certificate");
        let mut root = tempfile::NamedTempFile::new().expect("a file");
        root.write_all(certificate.pem().as_bytes()).expect("written");
        let acceptor = TlsAcceptor::from(certificate.ws_server().expect("TLS"));
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (acceptor, pages, counter) = (acceptor.clone(), pages.clone(), counter.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => request.push(byte),
                            Err(_) => return,
                        }
                    }
                    counter.fetch_add(1, Ordering::SeqCst);
                    let request = String::from_utf8_lossy(&request).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    let _ = match pages.get(&path) {
                        Some(Page::Text(text)) => {
                            let head = format!(
                                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                                text.len()
                            );
                            stream.write_all((head + text).as_bytes()).await
                        }
                        Some(Page::Head(head)) => stream.write_all(head.as_bytes()).await,
                        Some(Page::Endless) => {
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
                            while stream.write_all(&[b' '; 4096]).await.is_ok() {}
                            Ok(())
                        }
                        Some(Page::Silent) => std::future::pending().await,
                        None => {
                            stream
                                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                                .await
                        }
                    };
                    let _ = stream.shutdown().await;
                });
            }
        });
        let roots = Roots::load(&[root.path()]).expect("roots");
        let tls = roots.ws_client(&Expect::WebPki).expect("TLS");
        let resolver =
            Resolver::new(&Config { tls: tls.clone(), allow_private, dns, patience: PATIENCE }).expect("a resolver");
        Self { address, requests, resolver, tls, _root: root }
    }

    fn did(&self, name: &str) -> Did {
        did(self.address.port(), name)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn did(port: u16, name: &str) -> Did {
    format!("did:web:localhost%3A{port}:{name}").parse().expect("a DID")
}

fn document(did: &Did) -> String {
    let service =
        Service { uri: "wss://home.example/dsip".into(), bindings: vec!["ws/1.0".parse().expect("a binding")] };
    Document::new(did.clone(), "key-1", SecretKey::from_bytes(&[1; 32]).public(), vec![service]).to_json()
}

#[tokio::test]
async fn fet_4_a_document_is_fetched_once_and_kept() {
    let site = Site::open(true, None, |port| {
        let bob = did(port, "bob");
        let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n";
        vec![("/bob/did.json".into(), Page::Text(document(&bob))), ("/unused".into(), Page::Head(head))]
    })
    .await;
    let bob = site.did("bob");
    // Asked for twice at once, fetched once.
    let (first, second) = tokio::join!(site.resolver.document(&bob), site.resolver.document(&bob));
    let (first, second) = (first.expect("a document"), second.expect("a document"));
    assert_eq!(first.document.did(), &bob);
    assert!(Arc::ptr_eq(&first.document, &second.document));
    assert!(matches!(first.origin, Origin::Web { url, .. } if url.ends_with("/bob/did.json")));
    assert_eq!(site.requests(), 1);
    assert!(site.resolver.documents(&[bob.clone(), site.did("nobody")]).await.get(&bob).is_some());
}

#[tokio::test]
async fn id_21_and_fet_1_whatever_goes_wrong_is_unresolvable_and_says_why() {
    let site = Site::open(true, None, |port| {
        vec![
            ("/other/did.json".into(), Page::Text(document(&did(port, "bob")))),
            ("/html/did.json".into(), Page::Text("<html>".into())),
            ("/large/did.json".into(), Page::Text(" ".repeat(MAX_BYTES + 1))),
            ("/endless/did.json".into(), Page::Endless),
            (
                "/moved/did.json".into(),
                Page::Head("HTTP/1.1 302 Found\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n"),
            ),
            ("/broken/did.json".into(), Page::Head("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")),
            ("/cut/did.json".into(), Page::Head("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")),
            (
                "/bytes/did.json".into(),
                Page::Head("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\n\u{7f}"),
            ),
        ]
    })
    .await;
    let outcome = async |name: &str| site.resolver.document(&site.did(name)).await.expect_err(name);
    assert_eq!(outcome("other").await, ResolveError::Document(DocumentError::OtherSubject));
    assert_eq!(outcome("html").await, ResolveError::Document(DocumentError::NotAnObject));
    assert!(matches!(outcome("large").await, ResolveError::Fetch(FetchError::TooLarge(_))));
    assert!(matches!(outcome("endless").await, ResolveError::Fetch(FetchError::TooLarge(_))));
    assert!(matches!(outcome("moved").await, ResolveError::Fetch(FetchError::Redirect(_))));
    assert!(matches!(outcome("broken").await, ResolveError::Fetch(FetchError::Status { status: 500, .. })));
    assert!(matches!(outcome("cut").await, ResolveError::Fetch(FetchError::Unreachable { .. })));
    assert!(matches!(outcome("nobody").await, ResolveError::Fetch(FetchError::NotFound(_))));
    // A failure is remembered for a moment as well, so that it cannot be used to make us fetch.
    let before = site.requests();
    assert!(matches!(outcome("nobody").await, ResolveError::Fetch(FetchError::NotFound(_))));
    assert_eq!(site.requests(), before);
}

#[tokio::test]
async fn fet_2_a_server_that_says_nothing_is_given_up() {
    let site = Site::open(true, None, |_| vec![("/slow/did.json".into(), Page::Silent)]).await;
    let tls = site.tls.clone();
    let patience = Duration::from_millis(300);
    let resolver = Resolver::new(&Config { tls, allow_private: true, dns: None, patience }).expect("a resolver");
    let error = resolver.document(&site.did("slow")).await.expect_err("it never answers");
    assert!(matches!(error, ResolveError::Fetch(FetchError::Slow(_))), "{error}");
}

#[tokio::test]
async fn fet_3_private_addresses_are_refused_unless_allowed() {
    let site =
        Site::open(false, None, |port| vec![("/bob/did.json".into(), Page::Text(document(&did(port, "bob"))))]).await;
    let port = site.address.port();
    for did in [
        site.did("bob"),
        format!("did:web:127.0.0.1%3A{port}:bob").parse().expect("a DID"),
        format!("did:web:2130706433%3A{port}").parse().expect("127.0.0.1 as one number"),
        format!("did:web:0x7f.1%3A{port}").parse().expect("and in hexadecimal"),
        "did:web:169.254.169.254".parse().expect("a DID"),
    ] {
        let error = site.resolver.document(&did).await.expect_err("refused");
        assert!(matches!(error, ResolveError::Fetch(FetchError::Private(_))), "{did}: {error}");
    }
    assert_eq!(site.requests(), 0);
}

#[tokio::test]
async fn fet_1_a_certificate_nobody_vouches_for_is_refused() {
    let site =
        Site::open(true, None, |port| vec![("/bob/did.json".into(), Page::Text(document(&did(port, "bob"))))]).await;
    let tls = Roots::load::<&str>(&[]).expect("roots").ws_client(&Expect::WebPki).expect("TLS");
    let stranger =
        Resolver::new(&Config { tls, allow_private: true, dns: None, patience: PATIENCE }).expect("a resolver");
    let error = stranger.document(&site.did("bob")).await.expect_err("refused");
    assert!(matches!(error, ResolveError::Fetch(FetchError::Unreachable { .. })), "{error}");
    assert_eq!(site.requests(), 0);
}

#[tokio::test]
async fn id_4_only_two_methods_are_resolved() {
    let site = Site::open(true, None, |_| Vec::new()).await;
    let derived = site.resolver.document(&BOB.parse().expect("a DID")).await.expect("derived");
    assert_eq!(derived.origin, Origin::Derived);
    for (text, error) in [
        ("did:plc:abc", ResolveError::Method("plc".into())),
        ("did:key:z6Mkbroken", ResolveError::Key),
        ("did:web:..", ResolveError::Url),
    ] {
        let did = text.parse().expect("a DID");
        let outcome = site.resolver.document(&did).await;
        assert!(outcome.is_err(), "{text}");
        if text != "did:web:.." {
            assert_eq!(outcome.expect_err(text), error);
        }
    }
}

/// Answers every TXT question with `texts`.
async fn name_server(texts: Vec<String>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("its address");
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            // RFC 1035, 4.1: twelve octets of header, then the question: a name, its type and class.
            let name = packet[12..length].iter().position(|octet| *octet == 0).expect("a name's end");
            let question = &packet[12..12 + name + 5];
            let code = if texts.is_empty() { 3 } else { 0 };
            let mut answer =
                vec![packet[0], packet[1], 0x84, code, 0, 1, 0, u8::try_from(texts.len()).expect("few"), 0, 0, 0, 0];
            answer.extend_from_slice(question);
            for text in &texts {
                let length = u8::try_from(text.len()).expect("a short text");
                answer.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, length + 1, length]);
                answer.extend_from_slice(text.as_bytes());
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

fn webfinger(alias: &Alias) -> String {
    let url = alias.webfinger();
    url.split_at(url.find("/.well-known").expect("a path")).1.to_owned()
}

#[tokio::test]
async fn als_3_an_alias_leads_to_a_did_by_webfinger() {
    let site = Site::open(true, None, |port| {
        let alias: Alias = format!("bob@localhost:{port}").parse().expect("an alias");
        let answer = format!(r#"{{"subject":"acct:bob@localhost","links":[{{"rel":"{REL}","href":"{BOB}"}}]}}"#);
        vec![(webfinger(&alias), Page::Text(answer))]
    })
    .await;
    let alias: Alias = format!("Bob@localhost:{}", site.address.port()).parse().expect("an alias");
    assert_eq!(site.resolver.alias(&alias).await, Ok((BOB.parse().expect("a DID"), AliasOrigin::WebFinger)));
    let other: Alias = format!("carol@localhost:{}", site.address.port()).parse().expect("an alias");
    let error = site.resolver.alias(&other).await.expect_err("unknown").to_string();
    assert!(error.contains("carol@localhost") && error.contains("nothing of that name"), "{error}");
}

#[tokio::test]
async fn als_5_and_6_an_alias_leads_to_a_did_by_dns_where_there_is_no_web_server() {
    // ALS-6: whatever is wrong with the web server.
    let alias: Alias = "bob@no-such-host.example".parse().expect("an alias");
    let dns = name_server(vec!["v=spf1 -all".into(), format!("did={BOB}")]).await;
    let site = Site::open(true, Some(dns), |_| Vec::new()).await;
    assert_eq!(site.resolver.alias(&alias).await, Ok((BOB.parse().expect("a DID"), AliasOrigin::Dns)));

    let dns = name_server(vec![format!("did={BOB}"), "did=did:web:mallory.example".into()]).await;
    let site = Site::open(true, Some(dns), |_| Vec::new()).await;
    let error = site.resolver.alias(&alias).await.expect_err("contradictory").to_string();
    assert!(error.contains("two different DIDs"), "{error}");

    let dns = name_server(Vec::new()).await;
    let site = Site::open(true, Some(dns), |_| Vec::new()).await;
    let error = site.resolver.alias(&alias).await.expect_err("unknown").to_string();
    assert!(error.contains("no record of that name"), "{error}");
}

#[tokio::test]
async fn dsc_2_and_lnk_8_the_document_comes_first_then_the_hint_then_the_link() {
    let site =
        Site::open(true, None, |port| vec![("/bob/did.json".into(), Page::Text(document(&did(port, "bob"))))]).await;
    let bob = site.did("bob");
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let role = Role::Node { secret: [9; 32], listen, hosts: Vec::new() };
    let documents = Some(site.resolver.for_dht());
    let node = dht::Config { role, bootstrap: Vec::new(), remembered: None, documents: documents.clone() };
    let node = Dht::start(node).await.expect("a node");
    let device = dht::Config { role: Role::Device, bootstrap: Vec::new(), remembered: None, documents };
    let device = Dht::start(device).await.expect("a device");

    // The device knows no peer: the link says which to ask.
    let link = format!(
        "dsip:{bob}?node=wss://link.example/dsip&node-did={BOB}&node=wss://home.example/dsip&name=Bob&dht={}",
        node.listening()[0]
    );
    let target: Target = link.parse().expect("a link");
    let kid = dsip_proto::identity::KeyId::new(bob.clone(), "key-1").expect("a key id");
    let signer = Signer::new(SecretKey::from_bytes(&[1; 32]), kid, Vec::new());
    let now = clock::now();
    let mut rest = serde_json::Map::new();
    rest.insert("node".into(), BOB.into());
    let bindings = vec!["ws/1.0".parse().expect("a binding"), "quic/1.0".parse().expect("a binding")];
    let endpoint = HintEndpoint { uri: "wss://hint.example/dsip".into(), bindings, rest: rest.into_iter().collect() };
    let id = Ulid::generate(now.wall, &mut Seed::new([1; 32]).into_rng());
    let hint = hints::hint(&bob, vec![endpoint], id, now, 600);
    device.introduce(node.listening()[0].clone()).await;
    device.publish(signer.sign(&hint.into()).text()).await.expect("published");

    let located = loop {
        let located = site.resolver.locate(&target, Some(&device)).await.expect("no alias, no error");
        // The node verifies with Bob's document, which it fetches first.
        if matches!(&located.hints, Some(Ok(found)) if found.winner.is_some()) {
            break located;
        }
    };
    assert_eq!(located.did, bob);
    assert_eq!(located.link_name.as_deref(), Some("Bob"));
    let dial: Vec<_> = located.candidates.iter().map(|c| (c.uri.as_str(), c.node.as_ref().map(Did::as_str))).collect();
    assert_eq!(
        dial,
        [
            ("wss://home.example/dsip", None),
            ("wss://hint.example/dsip", Some(BOB)),
            ("wss://link.example/dsip", Some(BOB)),
        ]
    );
    // DSC-3, LNK-8: the link repeats what the document says, and adds itself at the end.
    let authority: Vec<bool> = located.candidates.iter().map(|candidate| candidate.source.has_authority()).collect();
    assert_eq!(authority, [true, false, false]);
    assert!(matches!(&located.candidates[1].source, Source::Hint { signer, .. } if *signer == bob));
    assert_eq!(located.candidates[1].bindings, ["ws/1.0", "quic/1.0"]);
}

#[tokio::test]
async fn res_3_without_a_document_nothing_is_dialled() {
    let site = Site::open(true, None, |_| Vec::new()).await;
    let target: Target = format!("dsip:{}?node=wss://mallory.example/dsip", site.did("bob")).parse().expect("a link");
    let located = site.resolver.locate(&target, None).await.expect("no alias, no error");
    assert!(located.document.is_err() && located.candidates.is_empty() && located.hints.is_none());
}
