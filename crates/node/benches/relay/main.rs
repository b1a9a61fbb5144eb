//! What a node costs: routed envelopes, binds, latency, memory of idle devices.
//!
//! The node runs in a process of its own on one thread; this process plays the devices. Rates are per second of *processor
//! time of the node*, so that neither the devices nor a busy machine count, and are also given as a share of what the same
//! processor verifies of raw Ed25519 signatures over messages of that size.
//!
//! ```text
//! cargo bench -p dsip-node --bench relay                          # about a minute
//! cargo bench -p dsip-node --bench relay -- load quic 200          # one measurement, transport, number of pairs
//! DSIP_BENCH_IDLE=20000 cargo bench -p dsip-node --bench relay -- idle    # a crowd of another size
//! cargo bench -p dsip-node --bench relay -- queue                 # what a long queue costs
//! cargo bench -p dsip-node --bench relay -- wake                  # what it costs to wake a sleeping device
//! DSIP_BENCH_SECS=600 cargo bench -p dsip-node --bench relay      # ten minutes of load at each size: is it flat?
//! ```

#![allow(missing_docs, clippy::unwrap_used)]

mod crowd;
#[path = "../../tests/it/device.rs"]
#[allow(dead_code)]
mod device;
mod kamailio;
#[path = "../../tests/it/push_service.rs"]
#[allow(dead_code)]
mod push_service;
mod wake;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dsip_endpoint::link::{Dialer, Inbox, Outbox, SendError, Target, Transport};
use dsip_endpoint::tls::Roots;
use dsip_node::{Config, Limits, Node};
use dsip_proto::envelope;
use dsip_proto::identity::SecretKey;
use dsip_proto::relay::host::Rates;
use dsip_proto::relay::rate::Rate;
use dsip_proto::wire::Ulid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crowd::Crowd;
use device::{Device, Said};

/// Set in the process that is the node.
const NODE: &str = "DSIP_BENCH_NODE";

/// The home of that node, if it is to outlive it.
const HOME: &str = "DSIP_BENCH_HOME";

/// A certificate that it trusts besides the system's: a push service's on this machine.
const ROOT: &str = "DSIP_BENCH_ROOT";

/// Calls that one pair has under way.
const IN_FLIGHT: usize = 8;

/// Pairs of devices that call each other, for each load.
const PAIRS: [usize; 3] = [2, 20, 200];

const TRANSPORTS: [Transport; 2] = [Transport::Ws, Transport::Quic];

/// Devices that are bound and say nothing, unless `DSIP_BENCH_IDLE` names another number.
const IDLE: usize = 500;

/// Slices of a load, to see whether it is flat.
const SLICES: u32 = 10;

fn main() {
    raise_descriptor_limit();
    if std::env::var_os(NODE).is_some() {
        return node();
    }
    if std::env::var_os(crowd::DEVICES).is_some() {
        return crowd::live();
    }
    // Names of measurements to make; `--bench`, which cargo passes, is none.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    // One of a kind is wanted if it is named, or nothing of its kind is.
    let among = |kind: &[&str], name: &str| {
        let named = |name: &str| wanted.iter().any(|one| one == name);
        named(name) || !kind.iter().any(|one| named(one))
    };
    let is_wanted =
        |name: &str| among(&["load", "latency", "kept", "queue", "idle", "binds", "wake", "kamailio"], name);
    let transports = || {
        TRANSPORTS.into_iter().filter(|one| among(&["ws", "quic"], if *one == Transport::Ws { "ws" } else { "quic" }))
    };
    let seconds = std::env::var("DSIP_BENCH_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(5.0);
    let duration = Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if is_wanted("load") {
            println!("| load | routed/s of node processor time | raw verify/s | share | share in each tenth of the run, % | wall/s |");
            println!("|---|---|---|---|---|---|");
            for transport in transports() {
                for pairs in PAIRS.into_iter().filter(|one| among(&["2", "20", "200"], &one.to_string())) {
                    load(transport, pairs, duration).await;
                }
            }
        }
        if is_wanted("latency") {
            println!("\n| at half load | p50 | p99 |\n|---|---|---|");
            for transport in transports() {
                latency(transport, duration).await;
            }
        }
        if is_wanted("kept") {
            println!("\nthe disk: {}\n", Syncs::measure());
            println!("| kept | kept/s | p50 | p99 | of node processor time |");
            println!("|---|---|---|---|---|");
            for transport in transports() {
                for senders in [1, 4, 16] {
                    kept(transport, senders, duration).await;
                }
            }
        }
        if is_wanted("queue") {
            queue().await;
        }
        if is_wanted("idle") {
            let crowd = std::env::var("DSIP_BENCH_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(IDLE);
            println!("\n| idle devices | KiB each | processor, of one core | KiB three minutes after all left | when they came again |");
            println!("|---|---|---|---|---|");
            for transport in transports() {
                idle(transport, crowd).await;
            }
        }
        if is_wanted("binds") {
            println!("\n| binds | per second of node processor time |\n|---|---|");
            for transport in transports() {
                binds(transport, duration).await;
            }
        }
        if is_wanted("wake") {
            println!("\n| wakes | first | p50 | p99 | node processor time each | at once | node processor time each | in signature checks |");
            println!("|---|---|---|---|---|---|---|---|");
            for transport in transports() {
                wake::wakes(transport).await;
            }
        }
        if is_wanted("kamailio") {
            println!("\n| whole calls | per second of the server's processor time | ratio to Kamailio |\n|---|---|---|");
            calls(transports(), duration).await;
        }
    });
}

/// A connection is a descriptor in each of the two processes, over WebSocket.
fn raise_descriptor_limit() {
    const WANTED: u64 = 65_536;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Only root may ask for more than the hard limit, and not everywhere.
    for wanted in [WANTED.max(maximum.unwrap_or(WANTED)), maximum.unwrap_or(WANTED)] {
        if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(wanted) }).is_ok() {
            return;
        }
    }
}

/// Devices that one process can have over WebSocket: some descriptors are for other things.
fn most_descriptors() -> usize {
    const OTHERS: usize = 64;
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(usize::MAX, |limit| limit.saturating_sub(OTHERS))
}

// The node's process

fn node() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // One that outlives this process if it is given.
        let own = tempfile::tempdir().expect("a directory");
        let home = std::env::var_os(HOME).map_or_else(|| own.path().to_owned(), PathBuf::from);
        let mut config = Config::new(&home, "127.0.0.1:0".parse().expect("an address"));
        let unlimited = Rate { burst: u32::MAX, every: Duration::from_micros(1) };
        config.limits = Limits { connections: 100_000, per_address: 100_000, opens: unlimited };
        config.relay.seen = envelope::Limits { live_per_sender: usize::MAX, live: usize::MAX, ..Default::default() };
        config.relay.rates = Rates {
            devices: unlimited,
            envelopes: unlimited,
            networks: unlimited,
            invites: unlimited,
            infos: unlimited,
            introductions: unlimited,
            domain_introductions: unlimited,
            introductions_received: unlimited,
            strangers: unlimited,
            fetches: unlimited,
            ..Rates::default()
        };
        if let Some(root) = std::env::var_os(ROOT) {
            config.ca.push(root.into());
            config.allow_private = true;
        }
        let node = Node::start(config).await.expect("started");
        println!("{} {}", node.ready().url(), node.ready().did);
        // Runs until the other process closes our standard input.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.expect("read").ok();
    });
}

/// A node in its own process.
struct Server {
    process: Child,
    url: String,
    target: Target,
    did: String,
}

impl Server {
    fn start(transport: Transport) -> Self {
        Self::spawn(transport, Command::new(std::env::current_exe().expect("this program")).env(NODE, "1"))
    }

    /// With a home that may hold something already.
    fn start_in(transport: Transport, home: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        Self::spawn(transport, command.env(NODE, "1").env(HOME, home))
    }

    /// One that talks with services on this machine, which this certificate vouches for.
    fn start_with_root(transport: Transport, root: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        Self::spawn(transport, command.env(NODE, "1").env(ROOT, root))
    }

    fn spawn(transport: Transport, command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("ready");
        let (url, did) = line.trim().split_once(' ').expect("a URL and a DID");
        let target: Target = url.parse().expect("a target");
        let target = target.with_bindings(["ws/1.0", transport.id()]);
        Self { process, url: url.to_owned(), target, did: did.to_owned() }
    }

    /// Processor time that all its threads have had.
    fn processor(&self) -> Duration {
        processor(self.process.id())
    }

    /// Memory it holds, in KiB.
    fn memory(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).expect("it runs");
        let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).expect("known to the kernel");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    async fn bind(&self, dialer: &Dialer, device: &Device) -> (Outbox, Inbox) {
        bind(dialer, &self.target, &self.did, device).await
    }
}

async fn bind(dialer: &Dialer, target: &Target, did: &str, device: &Device) -> (Outbox, Inbox) {
    let mut link = dialer.open(target).await.expect("opened");
    device.greet(&mut link, did).await;
    link.split()
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Processor time that all threads of a process have had.
fn processor(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn dialer() -> Dialer {
    Dialer::new(Roots::load::<&str>(&[]).expect("loaded"))
}

/// Two devices of two identities, the same for the same number.
fn pair(number: usize) -> (Device, Device) {
    let key = |role: u8| {
        let mut secret = [role; 32];
        secret[..8].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_bytes(&secret)
    };
    (Device::with_keys(&key(1), key(2)), Device::with_keys(&key(3), key(4)))
}

// Measurements

/// Strict verifications of an invite's signature per second of this thread's processor time.
fn raw_verify() -> f64 {
    let key = SecretKey::from_bytes(&[1; 32]);
    let (alice, bob) = pair(0);
    let text = alice.invite(&bob.identity).text;
    let signature = key.sign(text.as_bytes());
    let public = key.public();
    let own = || {
        let text = fs::read_to_string("/proc/thread-self/schedstat").expect("known to the kernel");
        text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).expect("a number")
    };
    const COUNT: u32 = 10_000;
    let before = own();
    for _ in 0..COUNT {
        assert!(public.verifies(text.as_bytes(), &signature));
    }
    f64::from(COUNT) / Duration::from_nanos(own() - before).as_secs_f64()
}

/// Pairs that call each other as fast as they can: invite, ringing, answer, bye, and again. Each tenth of the run has its own
/// measure of the processor, for its speed changes in ten minutes.
async fn load(transport: Transport, pairs: usize, duration: Duration) {
    let server = Server::start(transport);
    let heard = Arc::new(AtomicU64::new(0));
    let _talking = talk(&server, pairs, IN_FLIGHT, &heard).await;
    tokio::time::sleep(Duration::from_millis(500)).await; // warm
    let (mut routed, mut used, mut raw, mut shares) = (0.0, Duration::ZERO, 0.0, Vec::new());
    let began = Instant::now();
    for _ in 0..SLICES {
        let (processor, count) = (server.processor(), heard.load(Ordering::Relaxed));
        let verified = tokio::task::spawn_blocking(raw_verify);
        tokio::time::sleep(duration / SLICES).await;
        let verified = verified.await.expect("measured");
        let count = (heard.load(Ordering::Relaxed) - count) as f64;
        let processor = server.processor() - processor;
        shares.push(format!("{:.0}", 100.0 * count / processor.as_secs_f64() / verified));
        (routed, used, raw) = (routed + count, used + processor, raw + verified / f64::from(SLICES));
    }
    let rate = routed / used.as_secs_f64();
    println!(
        "| {transport}, {pairs} pairs | {rate:.0} | {raw:.0} | {:.0} % | {} | {:.0} |",
        100.0 * rate / raw,
        shares.join(" "),
        routed / began.elapsed().as_secs_f64(),
    );
}

/// Starts `pairs` that call each other without pause; `heard` counts what arrived.
async fn talk(server: &Server, pairs: usize, in_flight: usize, heard: &Arc<AtomicU64>) -> JoinSet<()> {
    let dialer = dialer();
    let mut tasks = JoinSet::new();
    let mut bound = Vec::new();
    for number in 0..pairs {
        let (alice, bob) = pair(number);
        let links = (server.bind(&dialer, &alice).await, server.bind(&dialer, &bob).await);
        bound.push((alice, bob, links));
    }
    for (alice, bob, ((to_alice, mut from_alice), (to_bob, mut from_bob))) in bound {
        let (callee, caller) = (bob.identity.clone(), alice.did.clone());
        for _ in 0..in_flight {
            post(&to_alice, &alice.invite(&callee)).await;
        }
        let (count, other) = (heard.clone(), heard.clone());
        let bob_did = bob.did.clone();
        tasks.spawn(async move {
            // Bob rings and answers whatever invite comes.
            while let Ok(frame) = from_bob.recv().await {
                count.fetch_add(1, Ordering::Relaxed);
                let said = read(&frame);
                if said.kind == "invite" {
                    post(&to_bob, &bob.ringing(&caller, said.session)).await;
                    post(&to_bob, &bob.answer(&caller, said.session)).await;
                }
            }
        });
        tasks.spawn(async move {
            // Alice hangs up on the answer and calls again.
            while let Ok(frame) = from_alice.recv().await {
                other.fetch_add(1, Ordering::Relaxed);
                let said = read(&frame);
                if said.kind == "answer" {
                    post(&to_alice, &alice.bye(&bob_did, said.session)).await;
                    post(&to_alice, &alice.invite(&callee)).await;
                }
            }
        });
    }
    tasks
}

/// One call at a time per pair, at about half of what the node can do: how long does an envelope take?
async fn latency(transport: Transport, duration: Duration) {
    const PAIRS: usize = 20;
    let server = Server::start(transport);
    let heard = Arc::new(AtomicU64::new(0));
    // What it can do, first.
    let full = {
        let _talking = talk(&server, PAIRS, IN_FLIGHT, &heard).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = heard.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(2)).await;
        (heard.load(Ordering::Relaxed) - before) as f64 / 2.0
    };
    drop(server);
    let server = Server::start(transport);
    let dialer = dialer();
    let mut tasks = JoinSet::new();
    let interval = Duration::from_secs_f64(PAIRS as f64 / (full / 2.0));
    for number in 0..PAIRS {
        let (alice, bob) = pair(number);
        let (to_alice, _inbox) = server.bind(&dialer, &alice).await;
        let (_outbox, mut from_bob) = server.bind(&dialer, &bob).await;
        tasks.spawn(async move {
            let _kept = (_inbox, _outbox);
            let mut took = Vec::new();
            let mut sent: HashMap<Ulid, Instant> = HashMap::new();
            let session = alice.invite(&bob.did).id;
            let until = Instant::now() + duration;
            let mut ticks = tokio::time::interval(interval);
            while Instant::now() < until {
                tokio::select! {
                    _ = ticks.tick() => {
                        let said = alice.bye(&bob.did, session);
                        sent.insert(said.id, Instant::now());
                        post(&to_alice, &said).await;
                    }
                    frame = from_bob.recv() => {
                        let said = read(&frame.expect("a frame"));
                        took.extend(sent.remove(&said.id).map(|at| at.elapsed()));
                    }
                }
            }
            took
        });
    }
    let mut took: Vec<Duration> = tasks.join_all().await.concat();
    took.sort_unstable();
    println!("| {transport}, {:.0}/s | {:.2?} | {:.2?} |", full / 2.0, at(&took, 0.5), at(&took, 0.99));
}

/// What the disk under the nodes' homes can do by itself.
struct Syncs(Vec<Duration>);

impl Syncs {
    /// Appends a page and syncs it, as often as goes in a second.
    fn measure() -> Self {
        let mut file = tempfile::tempfile().expect("a file");
        let (mut took, until) = (Vec::new(), Instant::now() + Duration::from_secs(1));
        while Instant::now() < until {
            let began = Instant::now();
            file.write_all(&[1; 4096]).and_then(|()| file.sync_data()).expect("synced");
            took.push(began.elapsed());
        }
        took.sort_unstable();
        Self(took)
    }
}

impl fmt::Display for Syncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [0.5, 0.99].map(|share| at(&self.0, share));
        write!(f, "{} fsync/s, p50 {p50:.2?}, p99 {p99:.2?}", self.0.len())
    }
}

/// Envelopes that one sender is not vouched for and goes on with.
const UNSURE: usize = 64;

/// What the relay holds for one sender at most, and for all of them, and for one recipient: a little less than that.
const OF_SENDER: usize = 4_000;
const OF_ALL: usize = 260_000;
const OF_RECIPIENT: usize = 200;
const RECIPIENTS: usize = OF_SENDER / OF_RECIPIENT;

/// Somebody whose messages are for people who are away, with a connection.
struct Sender {
    said: Vec<Said>,
    outbox: Outbox,
    inbox: Inbox,
}

impl Sender {
    /// The sender of this number and so many messages, which are signed beforehand.
    async fn new(server: &Server, dialer: &Dialer, number: usize, messages: usize) -> Self {
        let alice = pair(number).0;
        let recipients: Vec<Device> = (0..RECIPIENTS).map(|one| recipient(number, one)).collect();
        for recipient in recipients.iter().take(messages.div_ceil(OF_RECIPIENT)) {
            drop(server.bind(dialer, recipient).await);
        }
        let session = alice.invite(&alice.did).id;
        let to = |n: usize| &recipients[n / OF_RECIPIENT].did;
        let said = (0..messages.min(OF_SENDER)).map(|n| alice.bye(to(n), session)).collect();
        let (outbox, inbox) = server.bind(dialer, &alice).await;
        Self { said, outbox, inbox }
    }

    /// Lets [`UNSURE`] envelopes go ahead and asks after each quarter of them; an envelope is kept when that question is
    /// answered, and its time counts from its sending. How long each took.
    async fn send(self, until: Instant) -> Vec<Duration> {
        let Self { said, outbox, inbox: _inbox } = self;
        let mut took = Vec::new();
        let mut asked = VecDeque::new();
        for said in said.chunks(UNSURE / 4) {
            if Instant::now() > until {
                break;
            }
            let sent = Instant::now();
            for said in said {
                post(&outbox, said).await;
            }
            let (outbox, count) = (outbox.clone(), said.len());
            asked.push_back(tokio::spawn(async move {
                outbox.kept().await.expect("kept");
                (sent.elapsed(), count)
            }));
            if asked.len() == 4
                && let Some(first) = asked.pop_front()
            {
                let (each, count) = first.await.expect("asked");
                took.extend(std::iter::repeat_n(each, count));
            }
        }
        for last in asked {
            let (each, count) = last.await.expect("asked");
            took.extend(std::iter::repeat_n(each, count));
        }
        took
    }
}

fn recipient(sender: usize, one: usize) -> Device {
    pair(1_000 + sender * RECIPIENTS + one).1
}

/// Senders whose envelopes go to disk, because their recipients are away.
async fn kept(transport: Transport, senders: usize, duration: Duration) {
    let server = Server::start(transport);
    let dialer = dialer();
    let mut ready = Vec::new();
    for number in 0..senders {
        ready.push(Sender::new(&server, &dialer, number, OF_SENDER.min(OF_ALL / senders)).await);
    }
    let (processor, began) = (server.processor(), Instant::now());
    let mut tasks = JoinSet::new();
    for sender in ready {
        tasks.spawn(sender.send(began + duration));
    }
    let mut took: Vec<Duration> = tasks.join_all().await.concat();
    let elapsed = began.elapsed().as_secs_f64();
    let busy = (server.processor() - processor).as_secs_f64();
    took.sort_unstable();
    println!(
        "| {transport}, {senders} senders | {:.0} | {:.2?} | {:.2?} | {:.0}/s |",
        took.len() as f64 / elapsed,
        at(&took, 0.5),
        at(&took, 0.99),
        took.len() as f64 / busy,
    );
}

/// What it costs that much is waiting already: to keep one more, to hand one over, to route a call, and to start again.
async fn queue() {
    /// Senders that queue up to a row's length; a recipient holds 256 envelopes at most, so a long queue is many people's.
    const LENGTHS: [usize; 4] = [1, 8, 64, 65];
    const AT_ONCE: usize = 8;
    const CALLS: Duration = Duration::from_secs(3);
    let transport = Transport::Ws;
    let home = tempfile::tempdir().expect("a directory");
    println!(
        "\n| envelopes waiting | kept/s of node processor time | handed over/s of it | routed/s of it | memory each, KiB | file, MiB | start |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut server = Server::start_in(transport, home.path());
    let dialer = dialer();
    come_and_go(&server).await;
    let before = server.memory();
    let (mut senders, mut waiting) = (0, 0);
    for length in LENGTHS {
        let (mut busy, mut kept) = (Duration::ZERO, 0);
        while senders < length {
            let mut ready = Vec::new();
            for number in senders..length.min(senders + AT_ONCE) {
                ready.push(Sender::new(&server, &dialer, number, OF_SENDER).await);
            }
            senders += ready.len();
            let processor = server.processor();
            let until = Instant::now() + Duration::from_secs(600);
            let mut tasks = JoinSet::new();
            for sender in ready {
                tasks.spawn(sender.send(until));
            }
            // Of the last round alone, when the queue was nearly so long as the row says.
            (busy, kept) = (Duration::ZERO, 0);
            kept += tasks.join_all().await.concat().len();
            busy += server.processor() - processor;
            waiting += kept;
        }
        let per_second = |count: f64, time: Duration| count / time.as_secs_f64();
        let keeping = per_second(kept as f64, busy);
        settle(&server, 64.0).await;
        let memory = (server.memory() - before) / waiting as f64;
        let file = bytes_under(home.path()) as f64 / f64::from(1 << 20);

        // Calls between others, all the while.
        let heard = Arc::new(AtomicU64::new(0));
        let talking = talk(&server, 2, IN_FLIGHT, &heard).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (processor, count) = (server.processor(), heard.load(Ordering::Relaxed));
        tokio::time::sleep(CALLS).await;
        let routed = (heard.load(Ordering::Relaxed) - count) as f64;
        let routing = per_second(routed, server.processor() - processor);
        drop(talking);

        // Everybody for whom the last sender left something comes back.
        let processor = server.processor();
        let mut handed = 0;
        for one in 0..RECIPIENTS {
            let (_outbox, mut inbox) = server.bind(&dialer, &recipient(senders - 1, one)).await;
            for _ in 0..OF_RECIPIENT {
                inbox.recv().await.expect("what was kept");
                handed += 1;
            }
        }
        let handing = per_second(f64::from(handed), server.processor() - processor);
        waiting -= usize::try_from(handed).expect("few");

        // It is killed, so that it has nothing but its file.
        drop(server);
        let began = Instant::now();
        server = Server::start_in(transport, home.path());
        let start = began.elapsed();
        println!(
            "| {} | {keeping:.0} | {handing:.0} | {routing:.0} | {memory:.2} | {file:.0} | {start:.2?} |",
            waiting + OF_SENDER
        );
    }
}

/// Bytes of all files in a directory.
fn bytes_under(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("a directory").filter_map(Result::ok);
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                bytes_under(&entry.path())
            } else {
                entry.metadata().map_or(0, |file| file.len())
            }
        })
        .sum()
}

/// The value below which so great a share of the sorted `values` lies.
fn at(values: &[Duration], share: f64) -> Duration {
    values.get((values.len() as f64 * share) as usize).copied().unwrap_or_default()
}

/// Memory that devices cost which are bound and silent, and whether it comes back.
async fn idle(transport: Transport, crowd: usize) {
    const WATCHED: Duration = Duration::from_secs(30);
    // What keeps so many connections alive moves the memory a little all the time.
    let calm = 64.0f64.max(crowd as f64 / 20.0);
    let crowd = if transport == Transport::Ws { crowd.min(most_descriptors()) } else { crowd };
    let server = Server::start(transport);
    // What the first connection allocates for good is not the devices' fault.
    come_and_go(&server).await;
    settle(&server, calm).await;
    let before = server.memory();
    let mut devices = Crowd::gather(&server, transport, crowd);
    settle(&server, calm).await;
    let with = server.memory();
    let used = server.processor();
    tokio::time::sleep(WATCHED).await;
    let used = 100.0 * (server.processor() - used).as_secs_f64() / WATCHED.as_secs_f64();
    devices.leave();
    settle(&server, calm).await;
    drop(devices);
    // What is remembered about devices ages while others talk; three minutes later the node gives the memory back.
    for _ in 0..19 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        come_and_go(&server).await;
    }
    let after = server.memory();
    let devices = Crowd::gather(&server, transport, crowd);
    settle(&server, calm).await;
    let again = server.memory();
    drop(devices);
    let each = |now: f64| (now - before) / crowd as f64;
    println!("| {transport}, {crowd} | {:.1} | {used:.1} % | {:.1} | {:.1} |", each(with), each(after), each(again));
}

/// A few devices bind and leave.
async fn come_and_go(server: &Server) {
    let dialer = dialer();
    let mut links = Vec::new();
    for number in 0..4 {
        links.push(server.bind(&dialer, &pair(number).0).await);
    }
}

/// Waits until the node's memory changes by less than so many KiB in a second, for two minutes at most.
async fn settle(server: &Server, calm: f64) {
    let mut last = server.memory();
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = server.memory();
        if (now - last).abs() < calm {
            return;
        }
        last = now;
    }
}

/// Devices that connect, say hello, and leave. QUIC ones come back with 0-RTT, as phones do.
async fn binds(transport: Transport, duration: Duration) {
    const AT_ONCE: usize = 8;
    let server = Arc::new(Server::start(transport));
    let (until, processor) = (Instant::now() + duration, server.processor());
    let mut tasks = JoinSet::new();
    for number in 0..AT_ONCE {
        let server = server.clone();
        tasks.spawn(async move {
            let (dialer, device, mut count) = (dialer(), pair(number).0, 0u32);
            while Instant::now() < until {
                drop(server.bind(&dialer, &device).await);
                count += 1;
            }
            count
        });
    }
    let count: u32 = tasks.join_all().await.into_iter().sum();
    println!("| {transport} | {:.0} |", f64::from(count) / (server.processor() - processor).as_secs_f64());
}

/// Envelopes that make a call: invite, ringing, answer, bye.
const CALL: u64 = 4;

/// Calls of 20 pairs, 8 under way for each, and as many at one time through Kamailio.
async fn calls(transports: impl Iterator<Item = Transport>, duration: Duration) {
    let theirs = tokio::task::spawn_blocking(kamailio::calls_per_second).await.expect("measured");
    match theirs {
        Some(theirs) => println!("| Kamailio, SIP over TLS | {theirs:.0} | 1 |"),
        None => println!("| Kamailio, SIP over TLS | needs kamailio with its TLS module, stunnel and sipp | – |"),
    }
    for transport in transports {
        let server = Server::start(transport);
        let heard = Arc::new(AtomicU64::new(0));
        let _talking = talk(&server, 20, IN_FLIGHT, &heard).await;
        tokio::time::sleep(Duration::from_millis(500)).await; // warm
        let (used, count) = (server.processor(), heard.load(Ordering::Relaxed));
        tokio::time::sleep(duration).await;
        let calls = (heard.load(Ordering::Relaxed) - count) as f64 / CALL as f64;
        let ours = calls / (server.processor() - used).as_secs_f64();
        match theirs {
            Some(theirs) => println!("| {transport} | {ours:.0} | {:.2} |", ours / theirs),
            None => println!("| {transport} | {ours:.0} | – |"),
        }
    }
}

// Devices

/// Queues, and waits when the queue is full.
async fn post(outbox: &Outbox, said: &Said) {
    while outbox.send(said.stream, said.text.clone()) == Err(SendError::Full) {
        tokio::task::yield_now().await;
    }
}

struct Heard {
    kind: String,
    id: Ulid,
    session: Ulid,
}

/// What a device reads of a frame here; verifying it would only measure the devices.
fn read(frame: &str) -> Heard {
    let payload = device::payload(frame);
    let ulid = |name: &str| payload[name].as_str().and_then(|text| text.parse::<Ulid>().ok());
    let id = ulid("id").expect("an id");
    Heard { kind: payload["type"].as_str().unwrap_or_default().to_owned(), id, session: ulid("session").unwrap_or(id) }
}
