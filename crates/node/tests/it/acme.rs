//! A certificate from an authority of our own, which is as strict as it has to be: signatures, nonces, and a look at the domain.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dsip_endpoint::link::{Dialer, Target, Transport};
use dsip_endpoint::tls::{self, Expect, Roots, server_name};
use dsip_node::{Acme, Node};
use dsip_proto::wire::base64url;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::device::{Device, hear, say};
use crate::start;

/// What keeps a challenge from being met.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Fair,
    /// Looks for another digest than it should, as one does who is asked about somebody else's domain.
    Unconvinced,
}

/// The authority, as it stands.
#[derive(Default)]
struct Books {
    nonces: BTreeSet<String>,
    issued: u64,
    key: Option<Value>,
    accounts: u32,
    orders: u32,
    /// pending, valid or invalid
    authorization: &'static str,
    chain: Option<String>,
    /// What is wrong with a request; nothing should be.
    complaints: Vec<String>,
}

struct Authority {
    base: String,
    /// Its own certificate, which the node has to trust to talk with it at all.
    root: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Where the domain's port 443 leads.
    domain: watch::Sender<Option<u16>>,
    mood: Mood,
    books: Mutex<Books>,
}

/// The key that a request for a certificate is for: a point of P-256.
struct Point([u8; 65]);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    async fn open(mood: Mood) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let base = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("web.pem"), own.cert.pem()).expect("written");
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("made");
        std::fs::write(root.path().join("root.pem"), issuer.as_ref().pem()).expect("written");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .expect("supported")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (domain, books) = (watch::Sender::new(None), Mutex::default());
        let authority = Arc::new(Self { base, root, issuer, domain, mood, books });
        let serving = Arc::downgrade(&authority);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (Some(authority), acceptor) = (serving.upgrade(), acceptor.clone()) else { return };
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(tcp).await.expect("secured");
                    let (mut request, mut piece) = (String::new(), [0; 4096]);
                    let (head, body) = loop {
                        let length = stream.read(&mut piece).await.expect("read");
                        request.push_str(std::str::from_utf8(&piece[..length]).expect("text"));
                        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
                        let head = head.to_lowercase();
                        let whole = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                        if body.len() >= whole.unwrap_or(0) {
                            break (head.clone(), body.to_owned());
                        }
                    };
                    let path = head.split(' ').nth(1).expect("a path").to_owned();
                    let (status, headers, answer) = authority.answer(&path, &body).await;
                    let nonce = authority.nonce();
                    let answer = if head.starts_with("head") { String::new() } else { answer };
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nReplay-Nonce: {nonce}\r\n{headers}Content-Length: {}\r\n\
                         Connection: close\r\n\r\n{answer}",
                        answer.len()
                    );
                    stream.write_all(answer.as_bytes()).await.expect("written");
                    stream.shutdown().await.expect("closed");
                });
            }
        });
        authority
    }

    fn nonce(&self) -> String {
        let mut books = self.books.lock().expect("whole");
        books.issued += 1;
        let nonce = format!("nonce-{}", books.issued);
        books.nonces.insert(nonce.clone());
        nonce
    }

    async fn answer(&self, path: &str, body: &str) -> (&'static str, String, String) {
        let at = |path: &str| format!("{}{path}", self.base);
        let ok = |value: Value| ("200 OK", "Content-Type: application/json\r\n".to_owned(), value.to_string());
        if path == "/directory" {
            return ok(json!({"newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order")}));
        }
        if path == "/nonce" {
            return ("200 OK", String::new(), String::new());
        }
        let payload = match self.opened(path, body) {
            Ok(payload) => payload,
            Err(wrong) => {
                self.books.lock().expect("whole").complaints.push(format!("{path}: {wrong}"));
                return ("403 Forbidden", String::new(), json!({"type": "x:malformed", "detail": wrong}).to_string());
            }
        };
        if path == "/challenge" {
            let holds = self.looks().await;
            self.books.lock().expect("whole").authorization = if holds { "valid" } else { "invalid" };
        }
        let mut books = self.books.lock().expect("whole");
        let created =
            |path: &str, value: Value| ("201 Created", format!("Location: {}\r\n", at(path)), value.to_string());
        let challenge = json!({
            "type": "tls-alpn-01", "url": at("/challenge"), "token": "token", "status": "pending",
        });
        match path {
            "/account" => {
                assert_eq!(payload["termsOfServiceAgreed"], true);
                assert_eq!(payload["contact"], json!(["mailto:ops@example.org"]));
                books.accounts += 1;
                created("/account/1", json!({"status": "valid"}))
            }
            "/order" => {
                assert_eq!(payload["identifiers"], json!([{"type": "dns", "value": "localhost"}]));
                books.orders += 1;
                books.authorization = "pending";
                books.chain = None;
                created("/order/1", self.order(&books))
            }
            "/order/1" => ok(self.order(&books)),
            "/authorization" => ok(json!({
                "identifier": {"type": "dns", "value": "localhost"},
                "status": books.authorization, "challenges": [challenge],
            })),
            "/challenge" => ok(challenge),
            "/finalize" => {
                books.chain = Some(self.certify(&payload));
                ok(self.order(&books))
            }
            "/certificate" => ("200 OK", String::new(), books.chain.clone().expect("there is one")),
            other => panic!("{other}"),
        }
    }

    fn order(&self, books: &Books) -> Value {
        let status = match (books.authorization, &books.chain) {
            (_, Some(_)) => "valid",
            ("valid", None) => "ready",
            (other, None) => other,
        };
        let at = |path: &str| format!("{}{path}", self.base);
        json!({
            "status": status, "authorizations": [at("/authorization")],
            "finalize": at("/finalize"), "certificate": at("/certificate"),
        })
    }

    /// RFC 8555, 6.2: signed by the account's key, for this URL, with a nonce of ours that was not used before.
    fn opened(&self, path: &str, body: &str) -> Result<Value, &'static str> {
        let body: Value = serde_json::from_str(body).map_err(|_| "not JSON")?;
        let text = |name: &str| body[name].as_str().ok_or("a member is missing");
        let decoded = |name: &str| base64url::decode(text(name)?).ok_or("not base64url");
        let header: Value = serde_json::from_slice(&decoded("protected")?).map_err(|_| "no header")?;
        let mut books = self.books.lock().expect("whole");
        if !books.nonces.remove(header["nonce"].as_str().unwrap_or_default()) {
            return Err("no nonce of ours");
        }
        if header["url"] != format!("{}{path}", self.base) || header["alg"] != "ES256" {
            return Err("for another address, or by another algorithm");
        }
        let key = match path {
            "/account" => {
                books.key = Some(header["jwk"].clone());
                header["jwk"].clone()
            }
            _ if header["kid"] == format!("{}/account/1", self.base) => books.key.clone().ok_or("no account")?,
            _ => return Err("of no account"),
        };
        let half = |name: &str| base64url::decode(key[name].as_str()?);
        let point = [vec![4], half("x").ok_or("no key")?, half("y").ok_or("no key")?].concat();
        let input = format!("{}.{}", text("protected")?, body["payload"].as_str().ok_or("no payload")?);
        let signature = decoded("signature")?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(input.as_bytes(), &signature).map_err(|_| "forged")?;
        let payload = base64url::decode(body["payload"].as_str().unwrap_or_default()).unwrap_or_default();
        Ok(serde_json::from_slice(&payload).unwrap_or_default())
    }

    /// RFC 8737, 3: what the domain shows to those who speak `acme-tls/1` names it, and the digest.
    async fn looks(&self) -> bool {
        let key = self.books.lock().expect("whole").key.clone().expect("an account");
        // RFC 7638: the members in this order, and no others.
        let thumb = format!(r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#, key["crv"], key["kty"], key["x"], key["y"]);
        let token = if self.mood == Mood::Unconvinced { "another" } else { "token" };
        let thumb = base64url::encode(digest(&SHA256, thumb.as_bytes()).as_ref());
        let expected = digest(&SHA256, format!("{token}.{thumb}").as_bytes());
        let port = *self.domain.subscribe().wait_for(Option::is_some).await.expect("told");
        let tcp = TcpStream::connect(("127.0.0.1", port.expect("told"))).await.expect("somebody listens");
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .expect("supported")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let name = server_name("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("secured");
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(&b"acme-tls/1"[..]));
        let shown = session.peer_certificates().expect("one")[0].clone();
        // id-pe-acmeIdentifier, critical, an octet string of an octet string.
        let head = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 1, 0x1f, 0x01, 1, 0xff, 0x04, 34, 0x04, 32];
        let extension = [&head[..], expected.as_ref()].concat();
        shown.windows(extension.len()).any(|part| part == extension)
    }

    fn certify(&self, payload: &Value) -> String {
        let request = base64url::decode(payload["csr"].as_str().expect("text")).expect("base64url");
        let head = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 0x03, 66, 0];
        let at = request.windows(head.len()).position(|part| part == head).expect("a P-256 key") + head.len();
        let point = Point(request[at..at + 65].try_into().expect("a point"));
        assert!(request.windows(9).any(|part| part == b"localhost"));
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(4000, 1, 1);
        params.signed_by(&point, &self.issuer).expect("signed").pem()
    }

    /// A node that asks this authority.
    async fn node(&self, home: &Path) -> Node {
        let node = start(home, |config| {
            config.domain = Some("localhost".parse().expect("a domain"));
            config.ca = vec![self.root.path().join("web.pem")];
            let contact = Some("ops@example.org".to_owned());
            config.acme = Some(Acme { directory: format!("{}/directory", self.base), contact });
        })
        .await;
        let port = node.ready().wss.trim_start_matches("wss://localhost:").trim_end_matches("/dsip").parse();
        self.domain.send_replace(Some(port.expect("a port")));
        node
    }

    /// Those who trust the authority, and nothing else.
    fn roots(&self) -> Roots {
        Roots::load(&[self.root.path().join("root.pem")]).expect("loaded")
    }

    fn seen<T>(&self, what: impl Fn(&Books) -> T) -> T {
        what(&self.books.lock().expect("whole"))
    }
}

/// RFC 8737, 3: the certificate is self-signed, and only what it says counts.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // The library knows no certificate with a critical extension of this kind.
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Whether somebody who trusts `roots` reaches the node by its name.
async fn reached(node: &Node, roots: Roots, transport: Transport) -> bool {
    let target: Target = node.ready().wss.parse().expect("a target");
    let target = target.with_bindings(["ws/1.0", transport.id()]);
    Dialer::new(roots).open(&target).await.is_ok_and(|link| link.transport() == transport)
}

#[tokio::test]
async fn a_node_has_its_domain_certified_and_keeps_that() {
    let authority = Authority::open(Mood::Fair).await;
    let home = tempfile::tempdir().expect("a directory");
    let node = authority.node(home.path()).await;
    let certified = async { while !reached(&node, authority.roots(), Transport::Ws).await {} };
    timeout(Duration::from_secs(30), certified).await.expect("certified");
    assert!(reached(&node, authority.roots(), Transport::Quic).await);
    // Whoever knows the node's key still sees that.
    let by_key = Dialer::new(crate::no_roots()).open(&node.ready().url().parse().expect("a target")).await;
    let mut link = by_key.expect("opened");
    let hello = Device::new(1).hello(Some(node.ready().did.as_str()));
    say(&link, &hello);
    assert_eq!(hear(&mut link).await["type"], "hello");
    // The question is over, so there is no answer any more.
    let tls = authority.roots().ws_client(&Expect::WebPki).expect("roots");
    let mut tls = tls.as_ref().clone();
    tls.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let port = authority.domain.borrow().expect("told");
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("somebody listens");
    assert!(TlsConnector::from(Arc::new(tls)).connect(server_name("localhost").expect("a name"), tcp).await.is_err());

    for file in ["account.json", "localhost.pem"] {
        let about = std::fs::metadata(home.path().join("acme").join(file)).expect("kept");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777, 0o600, "{file}");
    }
    node.shutdown().await;
    let node = authority.node(home.path()).await;
    assert!(reached(&node, authority.roots(), Transport::Ws).await, "at once, from what was kept");
    node.shutdown().await;

    // What was kept is lost, the account is not.
    std::fs::remove_file(home.path().join("acme/localhost.pem")).expect("removed");
    let node = authority.node(home.path()).await;
    let certified = async { while !reached(&node, authority.roots(), Transport::Ws).await {} };
    timeout(Duration::from_secs(30), certified).await.expect("certified");
    let none: Vec<String> = Vec::new();
    assert_eq!(authority.seen(|books| (books.accounts, books.orders, books.complaints.clone())), (1, 2, none));
}

#[tokio::test]
async fn a_node_whose_domain_is_not_found_to_be_its_own_goes_on_without() {
    let authority = Authority::open(Mood::Unconvinced).await;
    let home = tempfile::tempdir().expect("a directory");
    let node = authority.node(home.path()).await;
    let refused = async {
        while authority.seen(|books| books.authorization) != "invalid" {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), refused).await.expect("refused");
    assert!(!reached(&node, authority.roots(), Transport::Ws).await);
    let own = Roots::load(&[&node.ready().ca]).expect("loaded");
    assert!(reached(&node, own, Transport::Ws).await, "its own certificate");
    assert!(!home.path().join("acme/localhost.pem").exists());
    node.shutdown().await;
    assert_eq!(authority.seen(|books| books.orders), 1, "and nobody is asked in a loop");
}
