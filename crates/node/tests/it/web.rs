//! The web phone's page, and what a browser may ask, over HTTPS as a browser does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dsip_endpoint::tls::{self, Expect, Roots};
use dsip_node::{Config, Node};
use futures_util::future::join_all;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, StatusCode};
use rustls::{ClientConfig, SignatureScheme};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::chromium::{Chromium, has_chromium};
use crate::device::Device;
use crate::{World, start};

/// Somebody with an HTTP client.
struct Visitor {
    client: Client,
    page: String,
}

impl Visitor {
    fn of(node: &Node) -> Self {
        let tls = Roots::load(&[&node.ready().ca]).expect("loaded").ws_client(&Expect::WebPki).expect("roots");
        let client = Client::builder().tls_backend_preconfigured((*tls).clone()).no_proxy();
        let page = format!("https://localhost:{}/", port(node));
        Self { client: client.build().expect("a client"), page }
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Response {
        let url = format!("{}{}", self.page, path.trim_start_matches('/'));
        self.client.request(method, url).body(body.to_owned()).send().await.expect("answered")
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, "").await
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        serde_json::from_str(&answer.text().await.expect("text")).expect("JSON")
    }

    /// Hands a record in.
    async fn publish(&self, record: &str) -> (StatusCode, Value) {
        let answer = self.ask(Method::POST, "/dsip/v1/records", record).await;
        let status = answer.status();
        (status, serde_json::from_str(&answer.text().await.expect("text")).expect("JSON"))
    }
}

fn port(node: &Node) -> u16 {
    let authority = node.ready().wss.strip_prefix("wss://").and_then(|rest| rest.split('/').next()).expect("a host");
    authority.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

fn line<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn wph_5_to_7_the_page_comes_with_what_it_may_do() {
    let world = World::start().await;
    let visitor = Visitor::of(&world.node);
    assert_eq!(world.node.ready().web.as_ref(), Some(&visitor.page));
    for path in ["/", "/index.html"] {
        let answer = visitor.get(path).await;
        assert_eq!(
            (answer.status(), line(answer.headers(), "content-type")),
            (StatusCode::OK, "text/html; charset=utf-8")
        );
        let headers = answer.headers();
        let policy: Vec<&str> = line(headers, "content-security-policy").split(';').map(str::trim).collect();
        // WPH-5
        for directive in [
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self'",
            "connect-src 'self' https: wss:",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types dsip",
        ] {
            assert!(policy.contains(&directive), "{directive}: {policy:?}");
        }
        assert!(
            !policy.iter().any(|directive| directive.contains("unsafe-inline") || directive.contains("'unsafe-eval'"))
        );
        // WPH-6
        assert_eq!(line(headers, "cross-origin-opener-policy"), "same-origin");
        assert_eq!(line(headers, "cross-origin-embedder-policy"), "require-corp");
        assert_eq!(line(headers, "cross-origin-resource-policy"), "same-origin");
        assert_eq!(line(headers, "referrer-policy"), "no-referrer");
        assert_eq!(line(headers, "x-content-type-options"), "nosniff");
        // WPH-7
        let allowed: Vec<&str> = line(headers, "permissions-policy").split(", ").collect();
        for feature in ["camera=(self)", "microphone=(self)", "display-capture=(self)", "geolocation=()"] {
            assert!(allowed.contains(&feature), "{feature}: {allowed:?}");
        }
        // WPH-9
        assert_eq!(line(headers, "set-cookie"), "", "WPH-9");
    }
    let nothing = visitor.get("/nothing").await;
    assert_eq!(nothing.status(), StatusCode::NOT_FOUND);
    assert_eq!(line(nothing.headers(), "content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    let head = visitor.ask(Method::HEAD, "/", "").await;
    assert!(line(head.headers(), "content-length").parse::<u64>().expect("a length") > 0);
    assert_eq!(head.text().await.expect("nothing"), "");
    assert_eq!(visitor.ask(Method::PUT, "/", "x").await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn wph_8_only_a_certified_domain_at_its_own_port_is_bound_to_https() {
    let world = World::start().await;
    let domain = World::with(|config| config.domain = Some("localhost".parse().expect("a domain"))).await;
    for node in [&world.node, &domain.node] {
        assert_eq!(line(Visitor::of(node).get("/").await.headers(), "strict-transport-security"), "");
    }
    // At port 443, as far as others are concerned: the system picks no port, so the domain keeps its own.
    let files = tempfile::tempdir().expect("a directory");
    let (chain, key) = (files.path().join("chain.pem"), files.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(&chain, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let certified = World::with(|config| {
        config.listen = free;
        config.domain = Some("localhost".parse().expect("a domain"));
        config.certificate = Some((chain.clone(), key));
    })
    .await;
    assert_eq!(certified.node.ready().web.as_deref(), Some("https://localhost/"));
    let tls = Roots::load(&[&chain]).expect("loaded").ws_client(&Expect::WebPki).expect("roots");
    let client = Client::builder().tls_backend_preconfigured((*tls).clone()).no_proxy().build().expect("a client");
    let answer = client.get(format!("https://localhost:{}/", free.port())).send().await.expect("answered");
    assert_eq!(line(answer.headers(), "strict-transport-security"), "max-age=31536000");
}

#[tokio::test]
async fn wph_11_an_operator_may_serve_no_page() {
    let world = World::with(|config| config.web = false).await;
    let visitor = Visitor::of(&world.node);
    assert_eq!(world.node.ready().web, None);
    assert!(visitor.get("/").await.text().await.expect("text").starts_with("A DSIP node: did:key:"));
    assert_eq!(visitor.get("/index.html").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(visitor.json("/dsip/v1/node").await["web"], Value::Null);
}

#[tokio::test]
async fn wph_30_and_31_every_page_may_ask_who_the_node_is() {
    let world = World::start().await;
    let (visitor, ready) = (Visitor::of(&world.node), world.node.ready());
    // WPH-31
    let node = visitor.json("/dsip/v1/node").await;
    assert_eq!(node, json!({"did": ready.did, "wss": ready.wss, "dht": ready.dht, "web": ready.web}));
    let long = format!("/dsip/v1/records/did:key:{}", "z".repeat(9_000));
    for (method, path, status, error) in [
        (Method::GET, "/dsip/v1/node", 200, None),
        (Method::HEAD, "/dsip/v1/node", 200, None),
        (Method::OPTIONS, "/dsip/v1/records", 204, None),
        (Method::GET, "/dsip/v1/records/did:key:z6Mk", 200, None),
        (Method::GET, "/dsip/v1/", 404, Some("nothing-here")),
        (Method::GET, "/dsip/v1/secrets", 404, Some("nothing-here")),
        (Method::GET, "/dsip/v1/node/x", 404, Some("nothing-here")),
        (Method::GET, "/dsip/v1/document/did:web:example.com", 404, Some("nothing-here")), // WPH-36
        (Method::GET, "/dsip/v1/records", 405, Some("method")),
        (Method::DELETE, "/dsip/v1/records/did:key:z6Mk", 405, Some("method")),
        (Method::GET, "/dsip/v1/records/bob", 400, Some("not-a-did")),
        (Method::GET, "/dsip/v1/records/did:key:%ff", 400, Some("not-a-did")),
        (Method::GET, "/dsip/v1/records/did:key:z6Mk/x", 400, Some("not-a-did")),
        (Method::GET, "/dsip/v1/records/did:key:z6Mk%2fx", 400, Some("not-a-did")),
        (Method::GET, "/dsip/v1/records/..%2f..%2fnode.key", 400, Some("not-a-did")),
        (Method::GET, &long, 200, None),
        (Method::GET, "/dsip/v1/alias/bob", 400, Some("not-an-alias")),
    ] {
        let answer = visitor.ask(method.clone(), path, "").await;
        assert_eq!(answer.status(), status, "{method} {path:.60}");
        let headers = answer.headers().clone();
        assert_eq!(line(&headers, "access-control-allow-origin"), "*", "{method} {path:.60}");
        assert_eq!(line(&headers, "access-control-expose-headers"), "Date");
        assert_eq!(line(&headers, "cross-origin-resource-policy"), "cross-origin");
        assert_eq!(line(&headers, "cache-control"), "no-store");
        let body: Value = serde_json::from_str(&answer.text().await.expect("text")).unwrap_or_default();
        assert_eq!(body["error"].as_str(), error, "{method} {path:.60}");
        assert_eq!(body["detail"].is_string(), error.is_some());
    }
    let preflight = visitor.ask(Method::OPTIONS, "/dsip/v1/records", "").await;
    assert_eq!(line(preflight.headers(), "access-control-allow-methods"), "GET, POST");
    assert_eq!(line(preflight.headers(), "access-control-allow-headers"), "Content-Type");
}

/// Where a browser's device says it is.
fn at(node: &Node) -> String {
    format!("wss://localhost:{}/dsip", port(node))
}

#[tokio::test]
async fn wph_32_33_and_34_what_one_browser_publishes_another_finds_at_another_node() {
    let first = World::start().await;
    let dht = first.node.ready().dht.parse().expect("an address");
    let second = World::with(|config| config.bootstrap = vec![dht]).await;
    second.node.dht().joined().await.expect("joined");
    let (bobs, alices) = (Visitor::of(&first.node), Visitor::of(&second.node));
    let bob = Device::new(2);
    let path = format!("/dsip/v1/records/{}", bob.identity.as_str().replace(':', "%3A"));
    let nobody = alices.json(&format!("/dsip/v1/records/{}", Device::new(9).identity)).await;
    assert_eq!(nobody["records"], json!([]), "WPH-32: nobody known, and nobody there");

    let record = bob.hint(&at(&first.node), 1);
    let (status, handed) = bobs.publish(&record).await;
    assert_eq!(status, StatusCode::OK, "{handed}");
    assert_eq!(handed, json!({"accepted": 2, "asked": 2}));
    let found = alices.json(&path).await;
    assert_eq!((&found["subject"], &found["refused"]), (&json!(bob.identity), &json!(0)));
    // To the letter, so that a page can verify it (DHT-6).
    assert_eq!(found["records"], json!([*record]));

    // A node that is alone is all of the DHT.
    let alone = World::start().await;
    let visitor = Visitor::of(&alone.node);
    assert_eq!(visitor.json(&path).await["answered"], 0);
    let own = Device::new(3);
    assert_eq!(visitor.publish(&own.hint(&at(&alone.node), 1)).await.1, json!({"accepted": 1, "asked": 1}));
    let held = visitor.json(&format!("/dsip/v1/records/{}", own.identity)).await;
    assert_eq!(held["records"].as_array().map(Vec::len), Some(1), "{held}");

    // WPH-34: what does not verify is nobody's, and neither is what is no record.
    let forged = record.replacen("\"signature\":\"", "\"signature\":\"A", 1);
    let invite = bob.invite(&Device::new(1).identity).text;
    for wrong in [&*forged, &invite, "{}", "\u{0}"] {
        let (status, refused) = bobs.publish(wrong).await;
        assert_eq!((status, &refused["error"]), (StatusCode::FORBIDDEN, &json!("refused")), "{wrong:.40}");
        assert!(refused["verdict"].is_string(), "{refused}");
    }
    let (status, refused) = bobs.publish(&"x".repeat(65_537)).await;
    assert_eq!((status, &refused["error"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too-large")));

    // DHT-14: a later one wins, and an earlier one changes nothing.
    let later = bob.hint(&at(&second.node), 2);
    assert_eq!(bobs.publish(&later).await.0, StatusCode::OK);
    let third = Visitor::of(&first.node).json(&path).await;
    assert_eq!(third["records"][0], json!(*later));
}

#[tokio::test]
async fn wph_35_and_38_an_alias_that_leads_nowhere_tells_nothing() {
    let world = World::start().await;
    let visitor = Visitor::of(&world.node);
    let mut said = Vec::new();
    // A private network's, one that does not exist, this machine.
    // WPH-38
    for alias in ["bob@localhost", "bob@nothing.invalid", "BOB@localhost"] {
        let answer = visitor.get(&format!("/dsip/v1/alias/{}", alias.replace('@', "%40"))).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{alias}");
        said.push(answer.text().await.expect("text"));
    }
    assert!(said.iter().all(|text| *text == said[0] && text.contains("\"unknown-alias\"")), "{said:?}");
    for wrong in
        [format!("bob@localhost:{}", port(&world.node)), "bob@127.0.0.1".into(), "bob".into(), "%00@a.b".into()]
    {
        let answer = visitor.get(&format!("/dsip/v1/alias/{wrong}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "WPH-35: {wrong}");
    }
}

#[tokio::test]
async fn wph_37_one_address_may_not_ask_too_often() {
    let world = World::start().await;
    let visitor = Visitor::of(&world.node);
    let path = format!("/dsip/v1/records/{}", Device::new(9).identity);
    let answers = join_all((0..80).map(|_| visitor.get(&path))).await;
    let refused: Vec<&Response> =
        answers.iter().filter(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS).collect();
    assert!((30..=50).contains(&refused.len()), "{}", refused.len());
    assert!(answers.iter().all(|answer| matches!(answer.status().as_u16(), 200 | 429)));
    let wait: u64 = line(refused[0].headers(), "retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(visitor.get("/dsip/v1/node").await.status(), StatusCode::OK, "the page goes on");
    world.is_well().await;
}

/// TLS as browsers speak it: nothing of Ed25519.
async fn as_a_browser(node: &Node, root: &Path) -> std::io::Result<()> {
    let mut provider = (*tls::provider()).clone();
    let known = provider.signature_verification_algorithms.mapping.iter();
    let known: Vec<_> = known.filter(|(scheme, _)| *scheme != SignatureScheme::ED25519).copied().collect();
    provider.signature_verification_algorithms.mapping = known.leak();
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(root).expect("read");
    for certificate in rustls::pki_types::pem::PemObject::pem_slice_iter(&pem) {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the library has it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(("127.0.0.1", port(node))).await?;
    let name = tls::server_name("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map(|_| ())
}

#[tokio::test]
async fn wph_55_browsers_see_a_certificate_that_they_can_check_and_that_stays() {
    let World { node, home } = World::start().await;
    let file = home.path().join("browsers.pem");
    let before = std::fs::read(&file).expect("made");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds a key");
    as_a_browser(&node, &file).await.expect("what a browser can check");
    as_a_browser(&node, &node.ready().ca).await.expect_err("the node's own");
    // Others see the node's own as ever.
    Visitor::of(&node).get("/").await;
    node.shutdown().await;
    let again = start(home.path(), |_| {}).await;
    assert_eq!(std::fs::read(&file).expect("there"), before, "who has let it pass is not asked again");
    as_a_browser(&again, &file).await.expect("the same");
    again.shutdown().await;
    let renamed = start(home.path(), |config: &mut Config| config.hosts = vec!["node.example".into()]).await;
    assert_ne!(std::fs::read(&file).expect("there"), before, "it does not name the node any more");
    as_a_browser(&renamed, &file).await.expect("a new one");
    renamed.shutdown().await;
    std::fs::write(&file, "damaged").expect("written");
    let repaired = start(home.path(), |_| {}).await;
    as_a_browser(&repaired, &file).await.expect("a new one");
}

#[tokio::test]
async fn wph_9_a_browser_loads_the_page_without_a_complaint_and_asks_nobody_else() {
    if !has_chromium() {
        return;
    }
    let (world, other) = (World::start().await, World::start().await);
    let page = world.node.ready().web.clone().expect("it serves one");
    let elsewhere = other.node.ready();
    let other_page = elsewhere.web.as_deref().expect("it serves one");
    let seen = async {
        let mut browser = Chromium::open().await;
        browser.visit(&format!("{page}#dsip:{}?name=Bob", Device::new(2).identity)).await;
        for request in browser.told("Network.requestWillBeSent") {
            let url = request["request"]["url"].as_str().expect("a URL");
            assert!(url.starts_with(&page) || url.starts_with("data:") || url.starts_with("blob:"), "{url}");
        }
        assert_eq!(browser.eval("[isSecureContext, crossOriginIsolated]").await, json!([true, true]));
        // Its own node, and another: what a phone has to reach.
        for base in ["/", other_page] {
            let did = if base == "/" { &world.node.ready().did } else { &elsewhere.did };
            let ask = format!("fetch('{base}dsip/v1/node').then(answer => answer.json()).then(node => node.did)");
            assert_eq!(browser.eval(&ask).await, json!(did));
        }
        for complaint in ["Log.entryAdded", "Runtime.exceptionThrown", "Audits.issueAdded"] {
            let all: Vec<&Value> = browser.told(complaint).collect();
            assert!(all.is_empty(), "{complaint}: {all:?}");
        }
        let publish = format!(
            "fetch('{other_page}dsip/v1/records', {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body: '{{}}'}})\
             .then(answer => answer.json()).then(answer => answer.error)"
        );
        assert_eq!(browser.eval(&publish).await, "refused", "after a preflight");
        for wss in [&world.node.ready().wss, &elsewhere.wss] {
            let dial = format!(
                "new Promise(done => {{ const socket = new WebSocket('{wss}'); \
                 socket.onopen = () => done(['open', socket.extensions, socket.protocol]); \
                 socket.onerror = () => done('failed'); }})"
            );
            assert_eq!(browser.eval(&dial).await, json!(["open", "", ""]), "WPH-50, WPH-51");
        }
        // WPH-5 holds: no markup from text, no script from text, nothing from others.
        for (harm, held) in [
            (
                "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch (e) { return e.name } })()",
                "TypeError",
            ),
            (
                "(() => { try { document.createElement('script').text = '1'; return 'done' } catch (e) { return e.name } })()",
                "TypeError",
            ),
            (
                "(() => { try { trustedTypes.createPolicy('mine', {}); return 'done' } catch (e) { return e.name } })()",
                "TypeError",
            ),
        ] {
            assert_eq!(browser.eval(harm).await, held, "{harm}");
        }
        let picture = format!(
            "new Promise(done => {{ document.addEventListener('securitypolicyviolation', told => done(told.effectiveDirective)); \
             document.createElement('img').src = '{other_page}x.png'; }})"
        );
        assert_eq!(browser.eval(&picture).await, "img-src");
        browser.close().await;
    };
    tokio::time::timeout(Duration::from_secs(120), seen).await.expect("in time");
}
