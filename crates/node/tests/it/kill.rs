//! A node that is killed again and again under load, and clients that count.
//!
//! ```text
//! DSIP_KILL_SECS=600 cargo test -p dsip-node --test it kill
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dsip_endpoint::link::{Close, Closed, Dialer, Link, Target, Transport};
use dsip_proto::relay::rate::Rate;
use dsip_proto::wire::Ulid;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use crate::device::{Device, Said, payload};
use crate::{no_roots, start};

/// Set to its home in the process that is the node.
const NODE: &str = "DSIP_KILL_NODE";

/// Where it listens there, if not on a port of its choice.
const LISTEN: &str = "DSIP_KILL_LISTEN";

/// What one sender has not been vouched for and goes on with at most.
const UNSURE: usize = 32;

/// Where the node is; it moves with each start.
#[derive(Clone)]
struct At {
    url: String,
    did: String,
}

/// Not a test of its own: the node's process.
#[tokio::test]
async fn a_node_to_be_killed() {
    let Some(home) = std::env::var_os(NODE) else { return };
    let node = start(Path::new(&home), |config| {
        if let Ok(at) = std::env::var(LISTEN) {
            config.listen = at.parse().expect("an address");
        }
        config.limits.opens = Rate { burst: 100_000, every: Duration::from_micros(1) };
        config.relay.rates.envelopes = Rate { burst: 1_000_000, every: Duration::from_micros(1) };
        config.relay.rates.strangers = config.relay.rates.envelopes;
    })
    .await;
    println!("\nready {} {}", node.ready().url(), node.ready().did);
    // Runs until it is killed, or its test is.
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    drop(wait.await);
}

struct Process(Child);

impl Process {
    fn start(home: &Path) -> (Self, At) {
        Self::start_on(home, "127.0.0.1:0")
    }

    fn start_on(home: &Path, listen: &str) -> (Self, At) {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "kill::a_node_to_be_killed", "--nocapture", "--test-threads=1"])
            .env(NODE, home)
            .env(LISTEN, listen)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut lines = lines.map(|line| line.expect("text"));
        let ready = lines.find_map(|line| line.strip_prefix("ready ").map(str::to_owned)).expect("it became ready");
        let (url, did) = ready.split_once(' ').expect("a URL and a DID");
        (Self(child), At { url: url.to_owned(), did: did.to_owned() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: no destructor runs, no buffer is written.
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

/// What became of each envelope, by its id.
#[derive(Default)]
struct Ledger {
    vouched: HashSet<Ulid>,
    received: HashSet<Ulid>,
    /// The last number each recipient heard from each sender.
    last: HashMap<(usize, usize), u64>,
    repeats: usize,
    losses: usize,
}

#[derive(Clone)]
struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    /// Counts what is received.
    heard: watch::Sender<usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("whole")
    }
}

async fn bound(at: &mut watch::Receiver<Option<At>>, device: &Device, transport: Transport) -> Link {
    let dialer = Dialer::new(no_roots());
    loop {
        let now = at.borrow_and_update().clone();
        let Some(now) = now else {
            at.changed().await.expect("the test goes on");
            continue;
        };
        let target: Target = now.url.parse().expect("a target");
        let attempt = async {
            let mut link = dialer.open(&target.with_bindings(["ws/1.0", transport.id()])).await.ok()?;
            let hello = device.hello(Some(&now.did));
            link.send(hello.stream, hello.text).ok()?;
            let reply = payload(&link.recv().await.ok()?);
            (reply["type"] == "hello").then_some(link)
        };
        tokio::select! {
            link = attempt => if let Some(link) = link { return link },
            _ = at.changed() => {}
        }
    }
}

/// Says numbered things to every recipient, asks now and then, and after a loss says again what nobody vouched for.
async fn send(
    number: usize,
    transport: Transport,
    mut at: watch::Receiver<Option<At>>,
    stop: watch::Receiver<bool>,
    shared: Shared,
) {
    let (device, recipients) = (sender(number), RECIPIENTS.map(|(number, _)| recipient(number).did));
    let mut unsure: VecDeque<Said> = VecDeque::new();
    let mut count = 0;
    'connections: loop {
        let (outbox, mut inbox) = bound(&mut at, &device, transport).await.split();
        for said in &unsure {
            if outbox.send(said.stream, said.text.clone()).is_err() {
                continue 'connections;
            }
        }
        loop {
            let stopping = *stop.borrow();
            while unsure.len() < UNSURE && !stopping {
                count += 1;
                let to = &recipients[count % recipients.len()];
                let said = device.bye_saying(to, Ulid::from_bits(7), &format!("{number} {count}"));
                let sent = outbox.send(said.stream, said.text.clone());
                unsure.push_back(said);
                if sent.is_err() {
                    continue 'connections;
                }
            }
            let asked = unsure.len();
            // A refusal comes before the answer that it makes possible.
            tokio::select! {
                biased;
                // Over UDP nobody says that it is gone.
                _ = at.changed() => continue 'connections,
                frame = inbox.recv() => {
                    let Ok(frame) = frame else { continue 'connections };
                    let said = payload(&frame);
                    assert_eq!((&said["type"], &said["reason"]), (&"error".into(), &"transport.routing-refused".into()));
                    // An inbox was full: this envelope is ours again.
                    unsure.retain(|unsure| said["in_reply_to"] != unsure.id.to_string());
                }
                kept = outbox.kept() => {
                    if kept.is_err() {
                        continue 'connections;
                    }
                    shared.lock().vouched.extend(unsure.drain(..asked).map(|said| said.id));
                    if stopping && unsure.is_empty() {
                        return;
                    }
                }
            }
        }
    }
}

/// Hears what comes and goes away every now and then.
async fn receive(number: usize, transport: Transport, mut at: watch::Receiver<Option<At>>, shared: Shared) {
    let device = recipient(number);
    loop {
        let mut link = bound(&mut at, &device, transport).await;
        let mut left = 1_000;
        loop {
            let frame = tokio::select! {
                frame = link.recv() => frame,
                _ = at.changed() => break,
            };
            let Ok(frame) = frame else { break };
            left -= 1;
            if left == 0 {
                link.close(Close::Done);
            }
            let said = payload(&frame);
            let detail = said["detail"].as_str().expect("ours").to_owned();
            let (sender, count) = detail.split_once(' ').expect("ours");
            let (sender, count): (usize, u64) = (sender.parse().expect("ours"), count.parse().expect("ours"));
            let id = said["id"].as_str().and_then(|id| id.parse().ok()).expect("ours");
            let (mut ledger, heard) = (shared.lock(), &shared.heard);
            if ledger.received.insert(id) {
                let last = ledger.last.insert((sender, number), count);
                assert!(last.is_none_or(|last| last < count), "RLY-3: {count} after {last:?} of {sender}");
            } else {
                ledger.repeats += 1;
            }
            heard.send_replace(ledger.received.len());
        }
        shared.lock().losses += 1;
    }
}

fn sender(number: usize) -> Device {
    Device::new(10 + number as u8)
}

fn recipient(number: usize) -> Device {
    Device::new(50 + number as u8)
}

const SENDERS: [(usize, Transport); 4] =
    [(0, Transport::Ws), (1, Transport::Quic), (2, Transport::Ws), (3, Transport::Quic)];
const RECIPIENTS: [(usize, Transport); 2] = [(0, Transport::Ws), (1, Transport::Quic)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cus_1_14_a_node_killed_under_load_loses_nothing_it_vouched_for() {
    // CUS-1, CUS-14
    let seconds = std::env::var("DSIP_KILL_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let until = Instant::now() + Duration::from_secs(seconds);
    let home = tempfile::tempdir().expect("a directory");
    let (heard, mut progress) = watch::channel(0);
    let shared = Shared { ledger: Arc::default(), heard };
    let (place, at) = watch::channel(None);
    let (halt, stop) = watch::channel(false);

    let (mut process, ready) = Process::start(home.path());
    // Everybody who is to receive has to be known.
    let (_here, mut first) = watch::channel(Some(ready.clone()));
    for (number, transport) in RECIPIENTS {
        let link = bound(&mut first, &recipient(number), transport).await;
        link.kept().await.expect("answered");
    }
    place.send_replace(Some(ready));
    let mut receiving = JoinSet::new();
    for (number, transport) in RECIPIENTS {
        receiving.spawn(receive(number, transport, at.clone(), shared.clone()));
    }
    let mut sending = JoinSet::new();
    for (number, transport) in SENDERS {
        sending.spawn(send(number, transport, at.clone(), stop.clone(), shared.clone()));
    }
    let mut kills = 0;
    while Instant::now() < until {
        let received = shared.lock().received.len();
        // Somewhere in the next few hundred envelopes.
        let mut random = [0; 2];
        getrandom::fill(&mut random).expect("randomness");
        let more = usize::from(u16::from_be_bytes(random) % 2_000);
        let enough = progress.wait_for(|now| *now >= received + more);
        drop(timeout_at(until.into(), enough).await);
        place.send_replace(None);
        drop(process);
        kills += 1;
        let (again, ready) = Process::start(home.path());
        process = again;
        place.send_replace(Some(ready));
    }
    halt.send_replace(true);
    while let Some(ended) = sending.join_next().await {
        ended.expect("a sender found everything in order");
    }
    let missing = || {
        let ledger = shared.lock();
        ledger.vouched.difference(&ledger.received).count()
    };
    while missing() > 0 {
        tokio::select! {
            Some(ended) = receiving.join_next() => ended.expect("a recipient found everything in order"),
            more = timeout(Duration::from_secs(10), progress.changed()) => {
                assert!(more.is_ok() || missing() == 0, "{} were vouched for and lost", missing());
            }
        }
    }
    let ledger = shared.lock();
    println!(
        "{kills} kills, {} vouched for, {} received, {} of them again after {} losses",
        ledger.vouched.len(),
        ledger.received.len(),
        ledger.repeats,
        ledger.losses
    );
    // What was on its way when a connection was lost may come again, and what was let go of just before a kill.
    assert!(ledger.repeats <= 256 * (ledger.losses + 1), "CUS-12: {} came again", ledger.repeats);
    drop(process);
}

#[tokio::test]
async fn qb_45_whose_node_was_killed_learns_of_it_from_the_next_one() {
    let home = tempfile::tempdir().expect("a directory");
    let (process, ready) = Process::start(home.path());
    let (_here, mut at) = watch::channel(Some(ready.clone()));
    let (alice, bob) = (sender(0), recipient(0));
    let mut link = bound(&mut at, &alice, Transport::Quic).await;
    drop(process);
    let port = ready.url.split([':', '/']).find_map(|part| part.parse::<u16>().ok()).expect("a port");
    let (_process, again) = Process::start_on(home.path(), &format!("127.0.0.1:{port}"));
    assert_eq!(again.did, ready.did);
    let said = alice.invite(&bob.did);
    link.send(said.stream, said.text).expect("queued");
    let closed = timeout(Duration::from_secs(10), link.recv()).await.expect("sooner than the idle timeout of 45 s");
    assert!(matches!(closed, Err(Closed::Lost(_))), "{closed:?}");
}
