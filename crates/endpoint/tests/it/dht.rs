//! The hint overlay: nodes on loopback, honest and otherwise.

use dsip_endpoint::clock;
use dsip_endpoint::dht::{Config, Dht, Multiaddr, Role};
use dsip_proto::envelope::Signer;
use dsip_proto::hints;
use dsip_proto::identity::SecretKey;
use dsip_proto::time::Seed;
use dsip_proto::wire::message::{HintEndpoint, ReachabilityHint};
use dsip_proto::wire::{Did, Ulid};

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
    let role = Role::Node { secret, listen, announce: Vec::new() };
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bob_is_found_after_ten_of_thirty_nodes_died() {
    let mut nodes = overlay(30).await;
    let mut bob = Person::new(1);
    let published = device(entries(&nodes[3..5])).await.publish(bob.hint("wss://a.example/dsip", |_| {})).await;
    assert!(published.expect("published").accepted >= 15);
    for node in nodes.drain(5..15) {
        node.shutdown().await;
    }
    let alice = device(entries(&nodes[1..3])).await;
    let found = alice.find(&bob.did()).await.expect("an answer");
    assert_eq!(found.winner.expect("a record").endpoints()[0].uri, "wss://a.example/dsip");
    assert!(found.refused.is_empty() && found.warnings.is_empty());
}
