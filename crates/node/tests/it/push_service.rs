//! A push service that a test runs itself: HTTPS on loopback with a certificate of its own, RFC 8030 as far as a sender sees it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use dsip_endpoint::tls;
use dsip_node::Config;
use dsip_proto::wake::{Endpoint, Key};
use dsip_proto::wire::base64url;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use web_push_native::p256::SecretKey;
use web_push_native::p256::elliptic_curve::sec1::ToEncodedPoint as _;
use web_push_native::{Auth, decrypt};

use crate::device::wall;

/// A browser's or a UnifiedPush distributor's side of an endpoint.
pub(crate) struct Subscription {
    key: SecretKey,
    auth: [u8; 16],
    pub(crate) path: &'static str,
    pub(crate) endpoint: Endpoint,
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct PushService {
    pub(crate) origin: String,
    port: u16,
    dir: tempfile::TempDir,
    requests: mpsc::UnboundedReceiver<Request>,
    script: Arc<Mutex<VecDeque<&'static str>>>,
    /// How many more may be answered.
    pub(crate) places: Arc<Semaphore>,
}

impl PushService {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).expect("made");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("root.pem"), own.cert.pem()).expect("written");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .expect("supported")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (told, requests) = mpsc::unbounded_channel();
        let (script, places) = (Arc::<Mutex<VecDeque<_>>>::default(), Arc::new(Semaphore::new(1_000)));
        let (lines, answers) = (script.clone(), places.clone());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, told, lines, answers) = (acceptor.clone(), told.clone(), lines.clone(), answers.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                    while let Some(request) = read(&mut stream).await {
                        if told.send(request).is_err() {
                            return;
                        }
                        answers.acquire().await.expect("open").forget();
                        let line = lines.lock().expect("whole").pop_front().unwrap_or("201 Created");
                        let answer = format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n");
                        stream.write_all(answer.as_bytes()).await.expect("written");
                    }
                });
            }
        });
        Self { origin: format!("https://localhost:{port}"), port, dir, requests, script, places }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// What the node has to be told so that it may talk with us.
    pub(crate) fn known_to(&self, config: &mut Config) {
        config.ca.push(self.root());
        config.allow_private = true;
        config.wake.contact = Some("mailto:ops@node.example".into());
    }

    pub(crate) fn subscribe(&self, path: &'static str) -> Subscription {
        self.subscribe_at(path, "localhost")
    }

    pub(crate) fn subscribe_at(&self, path: &'static str, host: &str) -> Subscription {
        let (mut key, mut auth) = ([0; 32], [0; 16]);
        getrandom::fill(&mut key).expect("randomness");
        getrandom::fill(&mut auth).expect("randomness");
        let key = SecretKey::from_slice(&key).expect("a key");
        let point = base64url::encode(key.public_key().to_encoded_point(false).as_bytes());
        let url = format!("https://{host}:{}{path}", self.port);
        let endpoint = Endpoint::new(&url, &point, &base64url::encode(&auth)).expect("an endpoint");
        Subscription { key, auth, path, endpoint }
    }

    /// What it answers next: a status line, and headers if there are any.
    pub(crate) fn answer_next(&self, lines: &[&'static str]) {
        self.script.lock().expect("whole").extend(lines);
    }

    pub(crate) async fn request(&mut self) -> Request {
        self.requests.recv().await.expect("it goes on")
    }

    pub(crate) fn has_more(&mut self) -> bool {
        !self.requests.is_empty()
    }
}

impl Request {
    /// What the device would read of it.
    pub(crate) fn opened_by(&self, subscription: &Subscription) -> Vec<u8> {
        assert_eq!(self.path, subscription.path);
        assert_eq!(self.headers["content-encoding"], "aes128gcm");
        let auth = Auth::clone_from_slice(&subscription.auth);
        decrypt(self.body.clone(), &subscription.key, &auth).expect("meant for this device")
    }

    /// The claims by which a node with this key shows who it is (RFC 8292).
    pub(crate) fn shown_by(&self, key: &Key) -> Value {
        let shown = self.headers["authorization"].strip_prefix("vapid ").expect("the scheme of RFC 8292");
        let (token, shown_key) = shown.strip_prefix("t=").and_then(|rest| rest.split_once(", k=")).expect("both");
        assert_eq!(shown_key, key.to_string());
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let signature = base64url::decode(signature).expect("base64url");
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.octets());
        public.verify(signed.as_bytes(), &signature).expect("the node's signature");
        let (header, claims) = signed.split_once('.').expect("a header");
        let part = |part: &str| -> Value {
            serde_json::from_slice(&base64url::decode(part).expect("base64url")).expect("JSON")
        };
        assert_eq!(part(header)["alg"], "ES256");
        let claims = part(claims);
        let left = claims["exp"].as_u64().expect("a time").saturating_sub(wall().secs());
        assert!((60..=86_400).contains(&left), "{left}");
        claims
    }
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Request> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut piece).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&piece[..length]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&bytes[..end]).expect("text");
        let (line, rest) = head.split_once("\r\n").expect("headers");
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: BTreeMap<String, String> = rest.split("\r\n").filter_map(header).collect();
        let whole: usize = headers["content-length"].parse().expect("a length");
        if bytes.len() >= end + 4 + whole {
            assert!(line.starts_with("POST "), "{line}");
            let path = line.split(' ').nth(1).expect("a path").to_owned();
            let body = bytes[end + 4..].to_vec();
            return Some(Request { path, headers, body });
        }
    }
}
