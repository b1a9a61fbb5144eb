//! The hint overlay: nodes on loopback, honest and otherwise.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use dsip_endpoint::clock;
use dsip_endpoint::dht::{self, Config, Dht, Error, Found, Multiaddr, PeerId, Role, Warning};
use dsip_proto::envelope::Signer;
use dsip_proto::hints;
use dsip_proto::identity::{Document, Documents, KeyId, SecretKey};
use dsip_proto::time::Seed;
use dsip_proto::wire::message::{HintEndpoint, ReachabilityHint};
use dsip_proto::wire::{Did, Ulid};
use futures_util::{FutureExt as _, StreamExt as _};
use libp2p::kad::store::{MemoryStore, RecordStore as _};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, kad, noise, tcp, yamux};

/// Somebody who can be found.
struct Person {
    signer: Signer,
    hints: u8,
}

impl Person {
    fn new(number: u8) -> Self {
        let key = SecretKey::from_bytes(&[number; 32]);
        Self { signer: Signer::of_key(key), hints: 0 }
    }

    /// Somebody whose domain vouches for the key.
    fn at(did: &str, number: u8) -> Self {
        let key = SecretKey::from_bytes(&[number; 32]);
        let kid = KeyId::new(did.parse().expect("a DID"), "key-1").expect("a key id");
        Self { signer: Signer::new(key, kid, Vec::new()), hints: 0 }
    }

    fn did(&self) -> Did {
        self.signer.kid().did().clone()
    }

    /// A hint of hers, changed before she signs it.
    fn hint(&mut self, uri: &str, change: impl FnOnce(&mut ReachabilityHint)) -> String {
        self.hints += 1;
        let now = clock::now();
        let id = Ulid::generate(now.wall, &mut Seed::new([self.hints; 32]).into_rng());
        let endpoint = HintEndpoint {
            uri: uri.to_owned(),
            bindings: vec!["ws/1.0".parse().expect("a binding")],
            rest: Default::default(),
        };
        let mut hint = hints::hint(&self.did(), vec![endpoint], id, now, 600);
        change(&mut hint);
        self.signer.sign(&hint.into()).text()
    }
}

async fn node(number: u8, bootstrap: Vec<Multiaddr>) -> Dht {
    let mut secret = [7; 32];
    secret[0] = number;
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let role = Role::Node { secret, listen, hosts: Vec::new() };
    Dht::start(Config { role, bootstrap, remembered: None, documents: None }).await.expect("a node")
}

async fn device(bootstrap: Vec<Multiaddr>) -> Dht {
    Dht::start(Config { role: Role::Device, bootstrap, remembered: None, documents: None }).await.expect("a device")
}

/// Nodes that have found each other.
async fn overlay(size: u8) -> Vec<Dht> {
    let first = node(0, Vec::new()).await;
    let entry = first.listening().to_vec();
    let mut nodes = vec![first];
    for number in 1..size {
        nodes.push(node(number, entry.clone()).await);
    }
    for node in &nodes[1..] {
        node.joined().await.expect("joined");
    }
    nodes
}

fn entries(nodes: &[Dht]) -> Vec<Multiaddr> {
    nodes.iter().flat_map(Dht::listening).cloned().collect()
}

/// On one thread, so that it leaves the other cores to tests that run in real time.
#[tokio::test]
async fn bob_is_found_after_ten_of_thirty_nodes_died() {
    let mut nodes = overlay(30).await;
    let mut bob = Person::new(1);
    // Whoever has been reached before needs no handshake while the clock of a query runs.
    let bobs = device(entries(&nodes[3..5])).await;
    bobs.joined().await.expect("joined");
    let published = bobs.publish(bob.hint("wss://a.example/dsip", |_| {})).await.expect("published");
    assert!(published.accepted > 10, "ten may die, and the hint is still there: {published:?}");
    for node in nodes.drain(5..15) {
        node.shutdown().await;
    }
    let alice = device(entries(&nodes[1..3])).await;
    alice.joined().await.expect("joined");
    let found = alice.find(&bob.did()).await.expect("an answer");
    assert_eq!(found.winner.expect("a record").endpoints()[0].uri, "wss://a.example/dsip");
    assert!(found.refused.is_empty() && found.warnings.is_empty());
}

/// A peer that plays the overlay's protocol and none of its rules: it returns what it was given to return, and keeps
/// nothing of what it is handed.
struct Hostile {
    swarm: Swarm<HostileBehaviour>,
}

#[derive(NetworkBehaviour)]
struct HostileBehaviour {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

impl Hostile {
    async fn start(entry: &Multiaddr) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .expect("a transport")
            .with_behaviour(|key| {
                let here = key.public().to_peer_id();
                let mut config = kad::Config::new(StreamProtocol::new(hints::PROTOCOL));
                config.set_record_filtering(kad::StoreInserts::FilterBoth);
                let mut kad = kad::Behaviour::with_config(here, MemoryStore::new(here), config);
                kad.set_mode(Some(kad::Mode::Server));
                let identify = identify::Config::new(hints::PROTOCOL.to_owned(), key.public());
                HostileBehaviour { kad, identify: identify::Behaviour::new(identify) }
            })
            .expect("a behaviour")
            .build();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("a port");
        swarm.dial(entry.clone()).expect("a dial");
        let mut hostile = Self { swarm };
        // Once identified, it is in the other's routing table.
        hostile
            .until(|event| match event {
                SwarmEvent::Behaviour(HostileBehaviourEvent::Identify(identify::Event::Sent { .. })) => Some(()),
                _ => None,
            })
            .await;
        hostile
    }

    fn peer(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// Serves `text` as the record of `subject`.
    fn serve(&mut self, subject: &Did, text: &str) {
        let record = kad::Record::new(hints::key(subject.as_str()).to_vec(), text.as_bytes().to_vec());
        self.swarm.behaviour_mut().kad.store_mut().put(record).expect("room");
    }

    /// Hands `text` to `victim` as the record of `subject`, whatever it is, and waits for the answer.
    async fn hand(&mut self, victim: &Dht, subject: &Did, text: &str) -> bool {
        let record = kad::Record::new(hints::key(subject.as_str()).to_vec(), text.as_bytes().to_vec());
        let victims = [victim.peer_id()].into_iter();
        let query = self.swarm.behaviour_mut().kad.put_record_to(record, victims, kad::Quorum::One);
        self.until(|event| match event {
            SwarmEvent::Behaviour(HostileBehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id,
                result: kad::QueryResult::PutRecord(result),
                ..
            })) if id == query => Some(result.is_ok()),
            _ => None,
        })
        .await
    }

    async fn until<T>(&mut self, mut wanted: impl FnMut(SwarmEvent<HostileBehaviourEvent>) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.swarm.select_next_some().await) {
                return found;
            }
        }
    }

    /// Answers others while `work` is done.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = self.swarm.select_next_some() => {}
            }
        }
    }
}

fn uri(found: &Found) -> Option<&str> {
    found.winner.as_ref().and_then(|record| record.endpoints().first()).map(|endpoint| endpoint.uri.as_str())
}

fn codes(found: &Found) -> BTreeSet<&'static str> {
    found.refused.iter().map(|(_, refusal)| refusal.as_str()).collect()
}

/// `envelope` with another payload under the same signature.
fn tampered(envelope: &str, other: &str) -> String {
    let mut envelope: serde_json::Value = serde_json::from_str(envelope).expect("an envelope");
    let other: serde_json::Value = serde_json::from_str(other).expect("an envelope");
    envelope["payload"] = other["payload"].clone();
    envelope.to_string()
}

#[tokio::test]
async fn dht_28_a_forged_record_is_neither_kept_nor_returned() {
    let nodes = overlay(3).await;
    let mut bob = Person::new(1);
    let genuine = bob.hint("wss://bob.example/dsip", |_| {});
    let forged = tampered(&genuine, &bob.hint("wss://mallory.example/dsip", |hint| hint.seq += 9));
    let mut mallory = Hostile::start(&nodes[0].listening()[0]).await;
    mallory.serve(&bob.did(), &forged);
    for node in &nodes {
        mallory.hand(node, &bob.did(), &forged).await;
    }

    let alice = device(entries(&nodes)).await;
    let found = mallory.during(alice.find(&bob.did())).await.expect("an answer");
    assert_eq!(uri(&found), None);
    assert!(found.all.is_empty(), "no honest node keeps it");
    assert_eq!(found.refused.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [mallory.peer()]);
    assert_eq!(codes(&found), BTreeSet::from(["signature-invalid"]));
    assert_eq!(found.warnings, [Warning::Refused { peers: 1 }]);

    mallory.during(alice.publish(genuine)).await.expect("published");
    let found = mallory.during(alice.find(&bob.did())).await.expect("an answer");
    assert_eq!(uri(&found), Some("wss://bob.example/dsip"));
}

#[tokio::test]
async fn dht_11_a_record_under_another_ones_key_is_refused() {
    let nodes = overlay(2).await;
    let (bob, mut mallory) = (Person::new(1).did(), Person::new(2));
    let own = mallory.hint("wss://mallory.example/dsip", |_| {});
    let about_bob = mallory.hint("wss://mallory.example/dsip", |hint| hint.subject = Person::new(1).did());
    let alice = device(entries(&nodes)).await;
    for (text, code) in [(own, "hint-subject-mismatch"), (about_bob, "hint-subject-mismatch")] {
        let mut peer = Hostile::start(&nodes[0].listening()[0]).await;
        peer.serve(&bob, &text);
        peer.hand(&nodes[1], &bob, &text).await;
        let found = peer.during(alice.find(&bob)).await.expect("an answer");
        assert!(found.winner.is_none() && found.all.is_empty());
        assert_eq!(codes(&found), BTreeSet::from([code]));
    }
}

#[tokio::test]
async fn dht_28_a_peer_that_hands_over_rubbish_is_shut_out() {
    let nodes = overlay(1).await;
    let bob = Person::new(1).did();
    let mut mallory = Hostile::start(&nodes[0].listening()[0]).await;
    let mut handed = 0;
    while mallory.hand(&nodes[0], &bob, &format!("rubbish {handed}")).await {
        handed += 1;
        assert!(handed < 20, "it is never shut out");
    }
    assert!(handed >= 9, "nine mistakes may be mistakes");
}

#[tokio::test]
async fn dht_29_all_records_are_folded_not_the_first_taken() {
    let nodes = overlay(2).await;
    let mut bob = Person::new(1);
    let old = bob.hint("wss://old.example/dsip", |_| {});
    let new = bob.hint("wss://new.example/dsip", |hint| hint.seq += 1);
    let twin = bob.hint("wss://twin.example/dsip", |hint| hint.seq += 1);
    let over = bob.hint("wss://over.example/dsip", |hint| {
        hint.seq += 99;
        hint.common.issued_at -= 200;
        hint.common.expires_at = hint.common.issued_at + 100;
    });
    let alice = device(entries(&nodes)).await;
    alice.publish(new.clone()).await.expect("published");
    for (served, warning) in [
        (&old, None),
        (&new, None),
        (&twin, Some(Warning::SameSequence { seq: 0 })),
        (&over, Some(Warning::Refused { peers: 1 })),
    ] {
        let mut peer = Hostile::start(&nodes[0].listening()[0]).await;
        peer.serve(&bob.did(), served);
        let found = peer.during(alice.find(&bob.did())).await.expect("an answer");
        match warning {
            // DHT-25: which of the two came first is chance; that there are two is what matters.
            Some(Warning::SameSequence { .. }) => {
                assert!(matches!(found.warnings[..], [Warning::SameSequence { .. }]));
                assert!(found.all.len() == 2);
            }
            warning => {
                // DHT-22
                assert_eq!(uri(&found), Some("wss://new.example/dsip"));
                assert_eq!(found.warnings, Vec::from_iter(warning));
            }
        }
    }
    // DHT-23: handing the old one in again does not bring it back.
    alice.publish(old).await.expect("published");
    assert_eq!(uri(&alice.find(&bob.did()).await.expect("an answer")), Some("wss://new.example/dsip"));
}

#[tokio::test]
async fn dht_32_withheld_records_are_found_at_the_others() {
    let nodes = overlay(4).await;
    let mut withholding = Vec::new();
    for _ in 0..4 {
        let mut peer = Hostile::start(&nodes[0].listening()[0]).await;
        withholding.push(tokio::spawn(async move { peer.during(std::future::pending::<()>()).await }));
    }
    let mut bob = Person::new(1);
    device(entries(&nodes)).await.publish(bob.hint("wss://bob.example/dsip", |_| {})).await.expect("published");
    let found = device(entries(&nodes)).await.find(&bob.did()).await.expect("an answer");
    assert_eq!(uri(&found), Some("wss://bob.example/dsip"));
    withholding.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_peer_that_takes_connections_and_says_nothing_keeps_no_answer_back() {
    let nodes = overlay(2).await;
    let mut bob = Person::new(1);
    let alice = device(entries(&nodes)).await;
    alice.publish(bob.hint("wss://bob.example/dsip", |_| {})).await.expect("published");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = dht::multiaddr(silent.local_addr().expect("its address"));
    alice.introduce(address.with_p2p(PeerId::random()).expect("a peer")).await;
    let found = alice.find(&bob.did()).await.expect("an answer");
    assert_eq!(uri(&found), Some("wss://bob.example/dsip"));
    assert!(found.effort.answered < found.effort.requests, "one is still being waited for: {:?}", found.effort);
}

#[tokio::test]
async fn dht_6_a_restarted_participant_rejoins_through_remembered_peers() {
    let nodes = overlay(3).await;
    let mut bob = Person::new(1);
    device(entries(&nodes)).await.publish(bob.hint("wss://bob.example/dsip", |_| {})).await.expect("published");
    let folder = tempfile::tempdir().expect("a folder");
    let file: PathBuf = folder.path().join("peers");
    let start = |bootstrap| {
        let remembered = Some(file.clone());
        Dht::start(Config { role: Role::Device, bootstrap, remembered, documents: None })
    };

    let first = start(entries(&nodes[..1])).await.expect("a device");
    first.joined().await.expect("joined");
    first.shutdown().await;
    let text = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(dht::parse_remembered(&text).len(), 3);

    nodes[0].clone().shutdown().await;
    let second = start(Vec::new()).await.expect("a device");
    assert_eq!(uri(&second.find(&bob.did()).await.expect("an answer")), Some("wss://bob.example/dsip"));

    std::fs::write(&file, [0xff; 70_000]).expect("written");
    let third = start(Vec::new()).await.expect("rubbish is no reason not to start");
    assert!(matches!(third.find(&bob.did()).await, Err(Error::NoPeers)));
}

#[tokio::test]
async fn dht_10_a_domains_record_is_verified_with_its_document() {
    let mut bob = Person::at("did:web:bob.example", 1);
    let document = Document::new(bob.did(), "key-1", SecretKey::from_bytes(&[1; 32]).public(), Vec::new());
    let mut documents = Documents::default();
    documents.insert(document);
    let fetch: dht::FetchDocuments = Arc::new(move |dids: Vec<Did>| {
        let documents = documents.clone();
        async move {
            let mut found = Documents::default();
            dids.iter().filter_map(|did| documents.get(did)).for_each(|document| found.insert(document.clone()));
            found
        }
        .boxed()
    });
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let role = Role::Node { secret: [9; 32], listen, hosts: Vec::new() };
    let node = Config { role, bootstrap: Vec::new(), remembered: None, documents: Some(fetch.clone()) };
    let node = Dht::start(node).await.expect("a node");
    let with =
        Config { role: Role::Device, bootstrap: node.listening().to_vec(), remembered: None, documents: Some(fetch) };
    let with = Dht::start(with).await.expect("a device");
    with.publish(bob.hint("wss://bob.example/dsip", |_| {})).await.expect("published");
    // The node keeps it once it has the document, which may be a moment after it acknowledged.
    let found = loop {
        let found = with.find(&bob.did()).await.expect("an answer");
        if found.winner.is_some() {
            break found;
        }
    };
    assert_eq!(uri(&found), Some("wss://bob.example/dsip"));

    let without = device(node.listening().to_vec()).await;
    let found = without.find(&bob.did()).await.expect("an answer");
    assert_eq!(uri(&found), None);
    assert_eq!(codes(&found), BTreeSet::from(["kid-unresolvable"]));
    let refused = without.publish(bob.hint("wss://bob.example/dsip", |_| {})).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn nobody_to_ask_is_an_error_and_nothing_found_is_none() {
    let bob = Person::new(1).did();
    let lonely = device(vec!["/ip4/127.0.0.1/tcp/1".parse().expect("an address")]).await;
    assert!(matches!(lonely.find(&bob).await, Err(Error::NoPeers)));
    let nodes = overlay(2).await;
    let found = device(entries(&nodes)).await.find(&bob).await.expect("an answer");
    assert!(found.winner.is_none() && found.all.is_empty() && found.warnings.is_empty());
}

#[tokio::test]
async fn a_lone_node_is_an_overlay_of_one() {
    let node = node(0, Vec::new()).await;
    let (mut bob, mut carol) = (Person::new(1), Person::new(2));
    assert_eq!(node.publish(carol.hint("wss://carol.example/dsip", |_| {})).await.expect("kept").accepted, 1);
    // An address without a peer id does, too: who is there is found out on the way.
    let mut plain = node.listening()[0].clone();
    plain.pop();
    let device = device(vec![plain]).await;
    assert_eq!(device.publish(bob.hint("wss://bob.example/dsip", |_| {})).await.expect("published").accepted, 1);
    assert_eq!(uri(&node.find(&bob.did()).await.expect("an answer")), Some("wss://bob.example/dsip"));
    assert_eq!(uri(&device.find(&carol.did()).await.expect("an answer")), Some("wss://carol.example/dsip"));
    assert_eq!(device.peers().await.expect("peers").len(), 1);
}
