//! What finding somebody costs: overlays of several sizes in one process, over real sockets on loopback.
//!
//! ```text
//! ulimit -n 100000 && cargo bench -p dsip-endpoint --bench dht [-- SIZE…]
//! ```
//!
//! Every node, the publishers and the seekers share the machine's cores, so the times are an upper bound for one seeker.
//! `warm` seeks over connections that are open already, `cold` joins the overlay for this one look-up.

#![allow(missing_docs)]

use std::time::{Duration, Instant};

use dsip_endpoint::clock;
use dsip_endpoint::dht::{Config, Dht, Effort, Multiaddr, Role};
use dsip_proto::envelope::Signer;
use dsip_proto::hints;
use dsip_proto::identity::SecretKey;
use dsip_proto::time::Seed;
use dsip_proto::wire::message::HintEndpoint;
use dsip_proto::wire::{Did, Ulid};

const PEOPLE: u16 = 50;
const COLD: usize = 10;

#[tokio::main]
async fn main() {
    let sizes: Vec<u16> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![30, 100, 300] } else { sizes };
    println!(
        "{:>5} {:<14} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "nodes", "what", "median", "p90", "worst", "requests", "hops"
    );
    for size in sizes {
        measure(size).await;
    }
}

async fn measure(size: u16) {
    let began = Instant::now();
    let mut nodes = vec![node(0, Vec::new()).await];
    for number in 1..size {
        let entry = nodes[usize::from(number) / 2].listening().to_vec();
        let node = node(number, entry).await;
        node.joined().await.expect("joined");
        nodes.push(node);
    }
    // Half a second after they have joined, nodes refresh their buckets.
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("{size:>5} {:<14} {:>9}", "joined", format!("{:.1?}", began.elapsed()));

    let entry = |at: usize| nodes[at * nodes.len() / 7 % nodes.len()].listening().to_vec();
    let publisher = device(entry(2)).await;
    publisher.joined().await.expect("joined");
    let mut publications = Vec::new();
    for person in 0..PEOPLE {
        let published = publisher.publish(hint(person)).await.expect("published");
        assert!(published.accepted > 0);
        publications.push(published.effort);
    }
    report(size, "publish", publications);

    let seeker = nodes.last().expect("a node").clone();
    report(size, "find, node", seek(&seeker).await);
    let phone = device(entry(5)).await;
    phone.joined().await.expect("joined");
    report(size, "find, warm", seek(&phone).await);
    let mut cold = Vec::new();
    for at in 0..COLD {
        let began = Instant::now();
        let phone = device(entry(at)).await;
        let found = phone.find(&did(7)).await.expect("an answer");
        assert!(found.winner.is_some());
        cold.push(Effort { elapsed: began.elapsed(), ..found.effort });
    }
    report(size, "find, cold", cold);
}

async fn seek(dht: &Dht) -> Vec<Effort> {
    let mut efforts = Vec::new();
    for round in 0..2 {
        efforts.clear();
        for person in 0..PEOPLE {
            let found = dht.find(&did(person)).await.expect("an answer");
            assert!(found.winner.is_some(), "round {round}");
            efforts.push(found.effort);
        }
    }
    efforts
}

fn report(size: u16, what: &str, mut efforts: Vec<Effort>) {
    efforts.sort_by_key(|effort| effort.elapsed);
    let at = |share: usize| format!("{:.2} ms", efforts[(efforts.len() - 1) * share / 100].elapsed.as_secs_f64() * 1e3);
    let count = f64::from(u16::try_from(efforts.len()).expect("few"));
    let requests = efforts.iter().map(|effort| f64::from(effort.requests)).sum::<f64>() / count;
    let hops = efforts.iter().filter_map(|effort| effort.hops).map(f64::from).sum::<f64>() / count;
    let hops = if hops > 0.0 { format!("{hops:.2}") } else { "-".to_owned() };
    println!("{size:>5} {what:<14} {:>9} {:>9} {:>9} {requests:>9.1} {hops:>6}", at(50), at(90), at(100));
}

fn person(number: u16) -> Signer {
    let mut secret = [3; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    Signer::of_key(SecretKey::from_bytes(&secret))
}

fn did(number: u16) -> Did {
    person(number).kid().did().clone()
}

fn hint(number: u16) -> String {
    let signer = person(number);
    let now = clock::now();
    let bindings = vec!["ws/1.0".parse().expect("a binding")];
    let endpoint = HintEndpoint { uri: "wss://node.example/dsip".into(), bindings, rest: Default::default() };
    let id = Ulid::generate(now.wall, &mut Seed::new([1; 32]).into_rng());
    let hint = hints::hint(signer.kid().did(), vec![endpoint], id, now, 3600);
    signer.sign(&hint.into()).text()
}

async fn node(number: u16, bootstrap: Vec<Multiaddr>) -> Dht {
    let mut secret = [7; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let role = Role::Node { secret, listen, hosts: Vec::new() };
    Dht::start(Config { role, bootstrap, remembered: None, documents: None }).await.expect("a node")
}

async fn device(bootstrap: Vec<Multiaddr>) -> Dht {
    Dht::start(Config { role: Role::Device, bootstrap, remembered: None, documents: None }).await.expect("a device")
}
