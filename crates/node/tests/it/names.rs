//! Names of a node's domain, over HTTPS as anybody asks for them.

use std::sync::Arc;
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::link::{Link, Transport};
use dsip_endpoint::resolve::{self, Domain, Origin, ResolveError, Resolver};
use dsip_endpoint::tls::{Expect, Roots, server_name};
use dsip_node::{Register, RegisterError};
use dsip_proto::identity::{KeyId, SecretKey, rotate};
use dsip_proto::time::Seed;
use dsip_proto::wire::token::RotationReason;
use dsip_proto::wire::{Did, Envelope, Ulid};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::World;
use crate::device::{Device, hear, hear_exactly, say};

/// A node that hosts the names of `localhost`.
pub(crate) struct Town {
    pub(crate) world: World,
    pub(crate) domain: Domain,
    pub(crate) register: Register,
}

impl Town {
    pub(crate) async fn new() -> Self {
        let world = World::with(|config| config.domain = Some("localhost".parse().expect("a domain"))).await;
        let register = Register::of_node(world.home.path());
        let domain = register.domain().expect("readable").expect("the node has noted it");
        Self { world, domain, register }
    }

    /// Enters the identity of `seed`.
    fn add(&self, name: &str, seed: u8) -> Did {
        let key = SecretKey::from_bytes(&[seed; 32]).did();
        self.register.add(&self.domain, name, &key, 1).expect("entered").did
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::load(&[&self.world.node.ready().ca]).expect("loaded")
    }

    fn resolver(&self) -> Resolver {
        let tls = self.roots().ws_client(&Expect::WebPki).expect("roots");
        let config = resolve::Config { tls, allow_private: true, dns: None, patience: Duration::from_secs(8) };
        Resolver::new(&config).expect("a resolver")
    }

    /// The whole answer to a request, without its date.
    pub(crate) async fn says(&self, request: &str) -> String {
        let tls = self.roots().ws_client(&Expect::WebPki).expect("roots");
        let tcp = TcpStream::connect(("127.0.0.1", self.domain.port())).await.expect("somebody listens");
        let name = server_name("localhost").expect("a name");
        let mut stream = TlsConnector::from(Arc::clone(&tls)).connect(name, tcp).await.expect("secured");
        let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.says(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).expect("a status")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let lines = answer.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[tokio::test]
async fn nam_1_and_2_documents_and_aliases_are_found_where_they_are_looked_for() {
    let town = Town::new().await;
    let alice = town.add("alice", 1);
    assert_eq!(alice.as_str(), format!("did:web:localhost%3A{}:users:alice", town.domain.port()));
    let resolver = town.resolver();
    let resolved = resolver.document(&alice).await.expect("resolved");
    let key = SecretKey::from_bytes(&[1; 32]).public();
    // NAM-2
    let kid = format!("{alice}#{}", key.to_multibase()).parse().expect("a key id");
    assert_eq!(resolved.document.key(&kid), Some(&key));
    assert_eq!(resolved.document.services()[0].uri, town.world.node.ready().wss);
    assert!(matches!(resolved.origin, Origin::Web { .. }));
    let alias = format!("Alice@localhost:{}", town.domain.port()).parse().expect("an alias");
    assert_eq!(resolver.alias(&alias).await.expect("known").0, alice);

    let node = resolver.document(&town.domain.did()).await.expect("resolved");
    let of_node: Did =
        format!("did:key:{}", node.document.methods()[0].key.expect("a key").to_multibase()).parse().expect("a DID");
    assert_eq!(of_node, town.world.node.ready().did, "the domain signs with the node's key");

    for name in ["bob", "alice.b"] {
        let did = town.domain.user_did(name).expect("a name");
        assert!(matches!(resolver.document(&did).await, Err(ResolveError::Fetch(_))), "{name}");
    }
}

#[tokio::test]
async fn pages_may_be_read_by_anybody_and_kept_for_a_while() {
    let town = Town::new().await;
    town.add("alice", 1);
    let webfinger = "/.well-known/webfinger?resource=acct%3Aalice%40localhost";
    for (path, kind) in [
        ("/.well-known/did.json", "application/did+json"),
        ("/users/alice/did.json", "application/did+json"),
        (webfinger, "application/jrd+json"),
    ] {
        let answer = town.get(path).await;
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(header(&answer, "Content-Type"), Some(kind));
        assert_eq!(header(&answer, "Access-Control-Allow-Origin"), Some("*"));
        assert_eq!(header(&answer, "Cache-Control"), Some("public, max-age=60"));
        let tag = header(&answer, "ETag").expect("a tag");
        for known in [tag.to_owned(), format!("\"other\", W/{tag}")] {
            let again = town.says(&format!("GET {path} HTTP/1.1\r\nHost: h\r\nIf-None-Match: {known}\r\n\r\n")).await;
            assert_eq!((status(&again), body(&again)), ("304", ""), "{again}");
            assert_eq!(header(&again, "ETag"), Some(tag));
        }
    }
    // RFC 7033, 4.3 and 4.4.4.
    let about = async |query: &str| -> Value {
        serde_json::from_str(body(&town.get(&format!("{webfinger}{query}")).await)).expect("JSON")
    };
    assert_eq!(about("&rel=urn%3Adsip%3Adid").await, about("").await);
    let other = about("&rel=self&rel=http://webfinger.net/rel/avatar").await;
    assert_eq!(
        (other["subject"].as_str(), other["links"].as_array().map(Vec::len)),
        (Some("acct:alice@localhost"), Some(0))
    );
}

#[tokio::test]
async fn nam_1_whoever_has_no_name_and_what_can_be_none_look_the_same() {
    let town = Town::new().await;
    town.add("alice", 1);
    let nobody = town.get("/users/bob/did.json").await;
    assert_eq!((status(&nobody), header(&nobody, "Access-Control-Allow-Origin")), ("404", Some("*")));
    let long = "x".repeat(8_000);
    for path in [
        "/users/Alice/did.json",
        "/users/%61lice/did.json",
        "/users/alice%2fdid.json/did.json",
        "/users//did.json",
        "/users/../did.json",
        "/users/../../../../etc/passwd/did.json",
        "/users/%2e%2e/did.json",
        "/users/alice/../alice/did.json",
        "/users/alice/bob/did.json",
        "/users/alice%00/did.json",
        "/users/alice/did.json/did.json",
        "/users/",
        "/users/alice",
        "/users/alice/",
        "/users/alice/did.json/",
        "/users/names.json",
        &format!("/users/{long}/did.json"),
        "/.well-known/webfinger?resource=acct:bob@localhost",
        "/.well-known/webfinger?resource=acct:alice@elsewhere.example",
        "/.well-known/webfinger?resource=acct:alice@localhost:1",
        "/.well-known/webfinger?resource=acct:alice%00@localhost",
        "/.well-known/webfinger?resource=acct:..%2f..@localhost",
        "/.well-known/webfinger?resource=alice@localhost",
        "/.well-known/webfinger?resource=https://localhost/users/alice",
        "/.well-known/webfinger?resource=%ff%fe",
        "/.well-known/webfinger?resource=",
        &format!("/.well-known/webfinger?resource=acct:{long}@localhost"),
        &format!("/.well-known/webfinger?{}resource=acct:bob@localhost", "rel=x&".repeat(1_000)),
    ] {
        assert_eq!(town.get(path).await, nobody, "{path:.60}");
    }
    for query in ["", "?", "?rel=x", "?resource=acct:alice@localhost&resource=acct:alice@localhost"] {
        let answer = town.get(&format!("/.well-known/webfinger{query}")).await;
        assert_eq!(status(&answer), "400", "{query}");
    }
    for path in ["/users", "/.well-known/", "/.well-known", "/names.json", "/node.key", "/.well-known/../node.key"] {
        assert_eq!(status(&town.get(path).await), "404", "{path}");
    }
    assert_eq!(status(&town.get(&format!("/users/{}/did.json", "x".repeat(20_000))).await), "431");
    assert_eq!(status(&town.says("POST /users/alice/did.json HTTP/1.1\r\nHost: h\r\n\r\n").await), "405");
}

#[tokio::test]
async fn a_node_without_a_domain_hosts_no_names() {
    let world = World::start().await;
    let register = Register::of_node(world.home.path());
    assert_eq!(register.domain().expect("readable"), None);
    let port = world.target(Transport::Ws).port();
    let town = Town { domain: format!("localhost:{port}").parse().expect("a domain"), world, register };
    town.add("alice", 1);
    for path in
        ["/users/alice/did.json", "/.well-known/did.json", "/.well-known/webfinger?resource=acct:alice@localhost"]
    {
        let answer = town.get(path).await;
        assert_eq!((status(&answer), header(&answer, "Access-Control-Allow-Origin")), ("404", None));
    }
}

/// A link of `device`, if the node believes whose it is.
async fn bound(town: &Town, device: &Device) -> Option<Link> {
    let mut link = town.world.dial(Transport::Ws).await;
    say(&link, &device.hello(Some(town.world.node.ready().did.as_str())));
    (hear(&mut link).await["type"] == "hello").then_some(link)
}

/// Waits until the node believes the device, or does not.
async fn until(town: &Town, device: &Device, believed: bool) {
    let turned = async { while bound(town, device).await.is_some() != believed {} };
    timeout(Duration::from_secs(20), turned).await.expect("the node has noticed");
}

#[tokio::test]
async fn del_1_a_device_of_a_name_is_called_by_that_name_until_it_is_taken_away() {
    let town = Town::new().await;
    let did = town.domain.user_did("bob").expect("a name");
    let bob = Device::named(2, &did);
    assert!(bound(&town, &bob).await.is_none(), "nobody has that name yet");
    assert_eq!(town.add("bob", 2), did);
    until(&town, &bob, true).await;
    let mut bobs = bound(&town, &bob).await.expect("bound");
    let alice = Device::new(1);
    let mut alices = town.world.bind(&alice, Transport::Quic).await;
    let invite = alice.invite(&did);
    say(&alices, &invite);
    hear_exactly(&mut bobs, &invite).await;
    let ringing = bob.ringing(&alice.did, invite.id);
    say(&bobs, &ringing);
    hear_exactly(&mut alices, &ringing).await;

    // The name goes to somebody else.
    town.register.remove("bob").expect("removed");
    town.add("bob", 3);
    assert_eq!(status(&town.get("/users/bob/did.json").await), "200");
    until(&town, &bob, false).await;
    until(&town, &Device::named(3, &did), true).await;
    town.register.remove("bob").expect("removed");
    assert_eq!(status(&town.get("/users/bob/did.json").await), "404", "at once");
    until(&town, &Device::named(3, &did), false).await;
}

#[tokio::test]
async fn names_outlive_a_restart_and_a_damaged_register_is_not_believed() {
    let mut town = Town::new().await;
    let alice = town.add("alice", 1);
    town.world.node.shutdown().await;
    let port = town.domain.port();
    town.world.node = crate::start(town.world.home.path(), |config| {
        config.listen.set_port(port);
        config.domain = Some(town.domain.clone());
    })
    .await;
    let before = town.get("/users/alice/did.json").await;
    assert_eq!(status(&before), "200");
    let file = town.world.home.path().join("names.json");
    std::fs::write(&file, "{\"format\":\"dsip/names\"").expect("written");
    assert_eq!(town.get("/users/alice/did.json").await, before);
    assert!(matches!(town.register.users(&town.domain), Err(RegisterError::File(_))));
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(status(&town.get("/users/alice/did.json").await), "404");
    assert_eq!(town.add("alice", 1), alice);
    assert_eq!(town.get("/users/alice/did.json").await, before);
}

#[test]
fn als_1_only_names_and_keys_that_can_be_used_are_entered() {
    let dir = tempfile::tempdir().expect("a directory");
    let register = Register::of_node(dir.path());
    let domain = "example.org".parse().expect("a domain");
    let key = SecretKey::from_bytes(&[1; 32]).did();
    for name in ["", ".", "..", "a..b", ".a", "Alice", "al ice", "a/b", "a%2fb", "a:b", "é", "a\0", &"a".repeat(64)] {
        assert!(matches!(register.add(&domain, name, &key, 1), Err(RegisterError::Name(_))), "{name:?}");
    }
    for did in ["did:web:example.org", "did:key:z6Mk", "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"] {
        let did = did.parse().expect("a DID");
        assert!(matches!(register.add(&domain, "alice", &did, 1), Err(RegisterError::Key(_))), "{did}");
    }
    assert_eq!(register.add(&domain, "alice", &key, 1).expect("entered").alias, "alice@example.org");
    assert!(matches!(register.add(&domain, "alice", &key, 2), Err(RegisterError::Taken(_))));
    assert!(matches!(register.remove("bob"), Err(RegisterError::Nobody(_))));
    assert_eq!(register.users(&domain).expect("read").len(), 1);
    register.remove("alice").expect("removed");
    assert!(matches!(register.user(&domain, "alice"), Err(RegisterError::Nobody(_))));
}

/// Keys of a user, one after another.
fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

/// The record by which `old` makes way for `new`.
fn record(did: &Did, old: u8, new: u8) -> String {
    let (old, now) = (key(old), clock::now());
    let kid = KeyId::new(did.clone(), &old.public().to_multibase()).expect("a key id");
    let id = Ulid::generate(now.wall, &mut Seed::new([new; 32]).into_rng());
    let next = key(new).public();
    rotate(&old, &kid, &next, RotationReason::COMPROMISED, Vec::new(), id, now).expect("signed").text()
}

impl Town {
    async fn post(&self, path: &str, body: &str) -> String {
        let length = body.len();
        self.says(&format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")).await
    }
}

#[tokio::test]
async fn nam_3_and_5_and_6_a_key_makes_way_for_another_by_its_own_signature() {
    let town = Town::new().await;
    let did = town.add("bob", 2);
    let (before, after) = (Device::named(2, &did), Device::named(3, &did));
    until(&town, &before, true).await;
    assert_eq!(status(&town.get("/users/bob/key-rotation").await), "404", "it is the first key");

    let signed = record(&did, 2, 3);
    let handed_in = town.resolver().hand_in(&did, &Envelope::parse(&signed).expect("an envelope")).await;
    assert_eq!(handed_in, Ok(()));
    let document = town.resolver().document(&did).await.expect("resolved").document;
    let keys: Vec<_> = document.methods().iter().map(|method| method.key).collect();
    assert_eq!(keys, [Some(key(3).public())], "ROT-2: the new key and no other");
    // NAM-6
    let shown = town.get("/users/bob/key-rotation").await;
    assert_eq!(
        (status(&shown), body(&shown), header(&shown, "Content-Type")),
        ("200", &*signed, Some("application/json"))
    );
    // ROT-2: the node itself believes nobody for longer than that.
    until(&town, &before, false).await;
    until(&town, &after, true).await;
    // NAM-5
    assert_eq!(status(&town.post("/users/bob/key-rotation", &signed).await), "204");
    assert!(town.register.user(&town.domain, "bob").expect("there").rotated.is_some());
}

#[tokio::test]
async fn nam_4_what_the_key_in_use_has_not_signed_for_this_name_changes_nothing() {
    let town = Town::new().await;
    let (bob, carol) = (town.add("bob", 2), town.add("carol", 4));
    let path = "/users/bob/key-rotation";
    assert_eq!(status(&town.post(path, &record(&bob, 2, 3)).await), "204");
    let before = town.get("/users/bob/did.json").await;
    let good = record(&bob, 3, 5);
    let forged = good.replace("\"signature\":\"", "\"signature\":\"AAAA");
    for (bad, why) in [
        (record(&bob, 2, 6), "kid-unresolvable"),
        (record(&bob, 3, 2), "in use before"),
        (record(&bob, 3, 3), "rotation-next-same-as-previous"),
        (record(&carol, 4, 6), "kid-unresolvable"),
        (forged, "signature-invalid"),
        (Device::named(3, &bob).hello(None).text.to_string(), "another kind"),
        ("{}".to_owned(), "envelope-shape"),
        (String::new(), "envelope-shape"),
        (format!("{good}{}", " ".repeat(4_096)), "longer"),
    ] {
        let answer = town.post(path, &bad).await;
        assert_eq!(status(&answer), "409", "{answer}");
        assert!(body(&answer).contains(why), "{why} is not in {answer}");
    }
    assert_eq!(status(&town.post("/users/carol/key-rotation", &good).await), "409");
    let nobody = town.post("/users/dave/key-rotation", &good).await;
    assert_eq!(status(&nobody), "404");
    for path in
        ["/users/../key-rotation", "/users/Bob/key-rotation", "/users//key-rotation", "/users/b%6fb/key-rotation"]
    {
        assert_eq!(town.post(path, &good).await, nobody, "{path}");
    }
    assert_eq!(status(&town.post("/users/bob/did.json", &good).await), "405");
    assert_eq!(status(&town.post("/.well-known/key-rotation", &good).await), "405");
    let says = async |lines: &str| town.says(&format!("POST {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n{good}")).await;
    assert_eq!(status(&says("").await), "411");
    assert_eq!(status(&says("Transfer-Encoding: chunked\r\n").await), "411");
    assert_eq!(status(&says("Content-Length: -1\r\n").await), "400");
    assert_eq!(status(&says("Content-Length: 99999999999999999999\r\n").await), "400");
    assert_eq!(status(&says("Content-Length: 8193\r\n").await), "413");
    assert_eq!(town.get("/users/bob/did.json").await, before);
    assert_eq!(status(&town.post(path, &good).await), "204");
}

#[test]
fn nam_4_two_records_at_one_time_leave_one_successor() {
    let dir = tempfile::tempdir().expect("a directory");
    let register = Register::of_node(dir.path());
    let domain: Domain = "example.org".parse().expect("a domain");
    let did = register.add(&domain, "bob", &key(2).did(), 1).expect("entered").did;
    let attempts: Vec<_> = (10..14)
        .map(|new| {
            let (register, domain, record) = (register.clone(), domain.clone(), record(&did, 2, new));
            std::thread::spawn(move || register.rotate(&domain, "bob", &record, clock::now()).map(|user| user.key))
        })
        .collect();
    let outcomes: Vec<_> = attempts.into_iter().map(|attempt| attempt.join().expect("ended")).collect();
    let taken: Vec<&Did> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(taken, [&register.user(&domain, "bob").expect("there").key]);
}
