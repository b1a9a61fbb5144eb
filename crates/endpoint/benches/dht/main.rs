//! What finding somebody costs: overlays of several sizes, over sockets on loopback or in a virtual network.
//!
//! ```text
//! cargo bench -p dsip-endpoint --bench dht [-- [loopback] [virtual] [SIZE…]]
//! ```
//!
//! On loopback every node, the publishers and the seekers share the machine's cores, so what is measured is the work of
//! all of them together. A process has so many descriptors, so the nodes live in processes of their own, [`crowd::NODES`] in
//! each; the publisher and the seekers are in this one. In the virtual network every byte takes 50 ms and work takes no time at all.
//! `warm` seeks over connections that are open already, `cold` joins the overlay for this one look-up.

#![allow(missing_docs)]

mod crowd;
mod net;

use std::time::{Duration, Instant};

use dsip_endpoint::clock;
use dsip_endpoint::dht::{Config, Dht, Effort, Multiaddr, Role};
use dsip_proto::envelope::Signer;
use dsip_proto::hints;
use dsip_proto::identity::SecretKey;
use dsip_proto::time::Seed;
use dsip_proto::wire::message::HintEndpoint;
use dsip_proto::wire::{Did, Ulid};

use crowd::Crowd;
use net::Network;

const PEOPLE: u16 = 50;
const COLD: usize = 10;

static STARTED: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

/// Where an overlay lives.
enum World {
    Loopback,
    Virtual(Network),
}

fn main() {
    if std::env::var_os(crowd::CROWD).is_some() {
        more_descriptors();
        return crowd::live();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<u16> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![30, 100] } else { sizes };
    let wanted = |world: &str| {
        let named = |argument: &String| ["loopback", "virtual"].contains(&argument.as_str());
        !arguments.iter().any(named) || arguments.iter().any(|argument| argument == world)
    };
    println!(
        "{:<9} {:>5} {:<11} {:>10} {:>10} {:>10} {:>10} {:>9} {:>5}",
        "world", "nodes", "what", "median", "p90", "worst", "first", "requests", "hops"
    );
    if wanted("loopback") {
        more_descriptors();
        for size in &sizes {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(World::Loopback.measure(*size));
        }
    }
    if wanted("virtual") {
        for size in &sizes {
            let network = Network::default();
            let clock = network.clone();
            // The one thread parks when every task waits for another: only then does time go on.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_park(move || clock.advance())
                .build()
                .expect("a runtime");
            runtime.block_on(World::Virtual(network).measure(*size));
        }
    }
}

/// Fifty nodes among three hundred hold up to 15,000 sockets, for in the end nearly everybody is connected to everybody.
fn more_descriptors() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        const WANTED: u64 = 200_000;
        let limit = Rlimit { current: Some(WANTED), maximum: Some(WANTED) };
        if setrlimit(Resource::Nofile, limit).is_err() {
            // Only root may ask for more than the hard limit.
            let maximum = getrlimit(Resource::Nofile).maximum;
            let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        }
    }
}

/// The nodes of an overlay that others join through.
enum Overlay {
    Here(Vec<Dht>),
    Elsewhere(Crowd),
}

impl Overlay {
    fn entry(&self, at: usize) -> Vec<Multiaddr> {
        match self {
            Self::Here(nodes) => nodes[at].listening().to_vec(),
            Self::Elsewhere(crowd) => crowd.entry(at),
        }
    }
}

impl World {
    async fn measure(&self, size: u16) {
        let began = Instant::now();
        // The last one lives here, and is one of those who seek.
        let (overlay, seeker) = match self {
            Self::Loopback => {
                let mut overlay = Crowd::default();
                for number in 0..size - 1 {
                    overlay.add(number);
                }
                let seeker = self.joined_node(size - 1, overlay.entry(usize::from(size - 1) / 2)).await;
                (Overlay::Elsewhere(overlay), seeker)
            }
            Self::Virtual(_) => {
                let mut nodes = vec![self.node(0, Vec::new()).await];
                for number in 1..size {
                    let entry = nodes[usize::from(number) / 2].listening().to_vec();
                    nodes.push(self.joined_node(number, entry).await);
                }
                let seeker = nodes.last().expect("a node").clone();
                (Overlay::Here(nodes), seeker)
            }
        };
        // Half a second after they have joined, nodes refresh their buckets.
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!("{:<9} {size:>5} {:<11} {:>10}", self.name(), "joined", format!("{:.1?}", began.elapsed()));

        let entry = |at: usize| overlay.entry(at * usize::from(size) / 7 % usize::from(size - 1));
        let publisher = self.device(entry(2)).await;
        publisher.joined().await.expect("joined");
        let mut publications = Vec::new();
        for person in 0..PEOPLE {
            let began = self.now();
            let published = publisher.publish(hint(person)).await.expect("published");
            assert!(published.accepted > 0);
            publications.push(Effort { elapsed: self.now() - began, ..published.effort });
        }
        self.report(size, "publish", publications);

        self.report(size, "find, node", self.seek(&seeker).await);
        let phone = self.device(entry(5)).await;
        phone.joined().await.expect("joined");
        self.report(size, "find, warm", self.seek(&phone).await);
        let mut cold = Vec::new();
        for at in 0..COLD {
            let began = self.now();
            let phone = self.device(entry(at)).await;
            let found = phone.find(&did(7)).await.expect("an answer");
            assert!(found.winner.is_some());
            cold.push(Effort { elapsed: self.now() - began, ..found.effort });
        }
        self.report(size, "find, cold", cold);
    }

    async fn seek(&self, dht: &Dht) -> Vec<Effort> {
        let mut efforts = Vec::new();
        for round in 0..2 {
            efforts.clear();
            for person in 0..PEOPLE {
                let began = self.now();
                let found = dht.find(&did(person)).await.expect("an answer");
                assert!(found.winner.is_some(), "round {round}");
                efforts.push(Effort { elapsed: self.now() - began, ..found.effort });
            }
        }
        efforts
    }

    async fn joined_node(&self, number: u16, bootstrap: Vec<Multiaddr>) -> Dht {
        let node = self.node(number, bootstrap).await;
        // Hundreds of nodes may keep the machine too busy to answer the newest in time; it goes on trying.
        while node.joined().await.is_err() {}
        node
    }

    async fn node(&self, number: u16, bootstrap: Vec<Multiaddr>) -> Dht {
        let [high, low] = number.to_be_bytes();
        let listen = match self {
            Self::Loopback => ([127, 0, 0, 1], 0),
            Self::Virtual(_) => ([10, 0, high, low], 4101),
        };
        let role = Role::Node { secret: secret(number), listen: vec![listen.into()], hosts: Vec::new() };
        self.start(role, bootstrap).await
    }

    async fn device(&self, bootstrap: Vec<Multiaddr>) -> Dht {
        self.start(Role::Device, bootstrap).await
    }

    async fn start(&self, role: Role, bootstrap: Vec<Multiaddr>) -> Dht {
        let config = Config { role, bootstrap, remembered: None, documents: None };
        match self {
            Self::Loopback => Dht::start(config).await,
            Self::Virtual(network) => Dht::start_over(config, network.transport()).await,
        }
        .expect("somebody in the overlay")
    }

    fn now(&self) -> Duration {
        match self {
            Self::Loopback => STARTED.elapsed(),
            Self::Virtual(network) => network.now(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Virtual(_) => "virtual",
        }
    }

    fn report(&self, size: u16, what: &str, mut efforts: Vec<Effort>) {
        efforts.sort_by_key(|effort| effort.elapsed);
        let text = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        let at = |share: usize| text(efforts[(efforts.len() - 1) * share / 100].elapsed);
        let count = f64::from(u16::try_from(efforts.len()).expect("few"));
        let requests = efforts.iter().map(|effort| f64::from(effort.requests)).sum::<f64>() / count;
        let hops = efforts.iter().filter_map(|effort| effort.hops).map(f64::from).sum::<f64>() / count;
        let hops = if hops > 0.0 { format!("{hops:.2}") } else { "-".to_owned() };
        let mut firsts: Vec<_> = efforts.iter().filter_map(|effort| effort.first).collect();
        firsts.sort();
        // The driver's own watch does not run on the virtual clock.
        let first = firsts.get(firsts.len() / 2).filter(|_| matches!(self, Self::Loopback));
        let first = first.map_or_else(|| "-".to_owned(), |first| text(*first));
        println!(
            "{:<9} {size:>5} {what:<11} {:>10} {:>10} {:>10} {first:>10} {requests:>9.1} {hops:>5}",
            self.name(),
            at(50),
            at(90),
            at(100)
        );
    }
}

/// The key of a node.
fn secret(number: u16) -> [u8; 32] {
    let mut secret = [7; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    secret
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
