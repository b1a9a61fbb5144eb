//! Clients that count: senders number what they say and remember what was vouched for, recipients remember what came.
//!
//! [`a_crowd`] makes a program of them, for those who break the node, its disk and its network from outside
//! (`cargo x chaos`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::BufRead as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dsip_endpoint::link::{Close, Dialer, Link, Target, Transport};
use dsip_proto::time::Wall;
use dsip_proto::wire::Ulid;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::device::{Device, Said, payload, wall};
use crate::no_roots;

/// Set to the node's URL, DID included, in the process that is the crowd.
const CROWD: &str = "DSIP_COUNT_AT";

/// After how long a node that cannot be reached is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// How long nothing may arrive that was vouched for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the node is; it may move with each start.
#[derive(Clone)]
pub(crate) struct At {
    pub(crate) url: String,
    pub(crate) did: String,
}

/// How fast a sender goes.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// What it has not been vouched for and goes on with at most.
    pub(crate) unsure: usize,
    /// How long it rests after each answer.
    pub(crate) rest: Duration,
}

impl Pace {
    /// As fast as the node lets it.
    pub(crate) const FAST: Self = Self { unsure: 32, rest: Duration::ZERO };

    /// Within the rates of a node that nobody set up for this (RLY-70).
    const ORDINARY: Self = Self { unsure: 8, rest: Duration::from_millis(200) };
}

/// What became of each envelope, by its id.
#[derive(Default)]
struct Ledger {
    vouched: HashMap<Ulid, Wall>,
    received: HashSet<Ulid>,
    /// How much each sender has said.
    said: HashMap<usize, u64>,
    /// The last number each recipient heard from each sender.
    last: HashMap<(usize, usize), u64>,
    refused: usize,
    repeats: usize,
    losses: usize,
}

/// What all of them found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    /// Envelopes that the node said are safe.
    pub(crate) vouched: usize,
    /// Envelopes that arrived, each once.
    pub(crate) received: usize,
    /// Envelopes that are the sender's again.
    pub(crate) refused: usize,
    /// Envelopes that came more than once.
    pub(crate) repeats: usize,
    /// Connections that recipients lost.
    pub(crate) losses: usize,
    /// Envelopes that were vouched for and did not come.
    pub(crate) lost: usize,
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

/// Four senders, two recipients, both transports.
pub(crate) struct Crowd {
    shared: Shared,
    at: watch::Receiver<Option<At>>,
    halt: watch::Sender<bool>,
    sending: JoinSet<()>,
    receiving: JoinSet<()>,
}

impl Crowd {
    /// Recipients at `at`, known to the node; nobody says anything yet.
    pub(crate) async fn gather(at: watch::Receiver<Option<At>>) -> Self {
        let shared = Shared { ledger: Arc::default(), heard: watch::channel(0).0 };
        let mut receiving = JoinSet::new();
        for (number, transport) in RECIPIENTS {
            let link = bound(&mut at.clone(), &recipient(number), transport).await;
            link.kept().await.expect("answered");
            receiving.spawn(receive(number, transport, at.clone(), shared.clone()));
        }
        Self { shared, at, halt: watch::channel(true).0, sending: JoinSet::new(), receiving }
    }

    /// Everybody talks, until [`settle`](Self::settle).
    pub(crate) fn talk(&mut self, pace: Pace) {
        self.halt.send_replace(false);
        for (number, transport) in SENDERS {
            let sender = send(number, transport, pace, self.at.clone(), self.halt.subscribe(), self.shared.clone());
            self.sending.spawn(sender);
        }
    }

    /// How much has arrived.
    pub(crate) fn received(&self) -> usize {
        self.shared.lock().received.len()
    }

    /// Waits until so much has arrived.
    pub(crate) async fn hears(&self, count: usize) {
        self.shared.heard.subscribe().wait_for(|heard| *heard >= count).await.expect("they go on");
    }

    /// Falls silent once everything said was vouched for or refused, waits for what was vouched for, and counts.
    pub(crate) async fn settle(&mut self) -> Tally {
        self.halt.send_replace(true);
        while let Some(ended) = self.sending.join_next().await {
            ended.expect("a sender found everything in order");
        }
        let mut progress = self.shared.heard.subscribe();
        while self.tally().lost > 0 {
            tokio::select! {
                Some(ended) = self.receiving.join_next() => ended.expect("a recipient found everything in order"),
                more = timeout(PATIENCE, progress.changed()) => if more.is_err() { break },
            }
        }
        self.tally()
    }

    /// Says on standard error what is missing, for whoever looks for it in the logs: an id begins with its time.
    fn explain(&self) {
        let ledger = self.shared.lock();
        for id in ledger.vouched.keys().filter(|id| !ledger.received.contains(id)) {
            let [said, vouched] = [u64::try_from(id.to_bits() >> 80).unwrap_or(0), ledger.vouched[id].millis()];
            eprintln!("{id} was said at {said} ms, vouched for at {vouched} ms, and is missing");
        }
    }

    fn tally(&self) -> Tally {
        let ledger = self.shared.lock();
        Tally {
            vouched: ledger.vouched.len(),
            received: ledger.received.len(),
            refused: ledger.refused,
            repeats: ledger.repeats,
            losses: ledger.losses,
            lost: ledger.vouched.keys().filter(|id| !ledger.received.contains(id)).count(),
        }
    }
}

/// Not a test of its own: the crowd as a program. `talk` and `settle` come on standard input, a line of JSON goes out for each.
#[tokio::test]
async fn a_crowd() {
    let Ok(url) = std::env::var(CROWD) else { return };
    let did = url.split_once('#').expect("a URL with the node's DID").1.to_owned();
    let (_here, at) = watch::channel(Some(At { url, did }));
    let (command, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| command.send(line))
    });
    let mut crowd = Crowd::gather(at).await;
    println!("\n{}", serde_json::json!({ "event": "gathered" }));
    while let Some(command) = commands.recv().await {
        match command.as_str() {
            "talk" => crowd.talk(Pace::ORDINARY),
            "settle" => {
                let Tally { vouched, received, refused, repeats, losses, lost } = crowd.settle().await;
                let settled = serde_json::json!({
                    "event": "settled", "vouched": vouched, "received": received, "refused": refused,
                    "repeats": repeats, "losses": losses, "lost": lost,
                });
                println!("\n{settled}");
                crowd.explain();
            }
            other => panic!("{other:?} is not a command"),
        }
    }
}

/// A link on which `device` has said hello, sooner or later.
pub(crate) async fn bound(at: &mut watch::Receiver<Option<At>>, device: &Device, transport: Transport) -> Link {
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
            link = attempt => match link {
                Some(link) => return link,
                None => sleep(AGAIN).await,
            },
            _ = at.changed() => {}
        }
    }
}

/// Says numbered things to every recipient, asks now and then, and after a loss says again what nobody vouched for.
async fn send(
    number: usize,
    transport: Transport,
    pace: Pace,
    mut at: watch::Receiver<Option<At>>,
    stop: watch::Receiver<bool>,
    shared: Shared,
) {
    let (device, recipients) = (sender(number), RECIPIENTS.map(|(number, _)| recipient(number).did));
    let mut unsure: VecDeque<Said> = VecDeque::new();
    let mut count = shared.lock().said.get(&number).copied().unwrap_or(0);
    'connections: loop {
        let (outbox, mut inbox) = bound(&mut at, &device, transport).await.split();
        for said in &unsure {
            if outbox.send(said.stream, said.text.clone()).is_err() {
                continue 'connections;
            }
        }
        loop {
            let stopping = *stop.borrow();
            while unsure.len() < pace.unsure && !stopping {
                count += 1;
                shared.lock().said.insert(number, count);
                let to = &recipients[count as usize % recipients.len()];
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
                    shared.lock().refused += 1;
                }
                kept = outbox.kept() => {
                    if kept.is_err() {
                        continue 'connections;
                    }
                    shared.lock().vouched.extend(unsure.drain(..asked).map(|said| (said.id, wall())));
                    if stopping && unsure.is_empty() {
                        return;
                    }
                    sleep(pace.rest).await;
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

pub(crate) fn sender(number: usize) -> Device {
    Device::new(10 + number as u8)
}

pub(crate) fn recipient(number: usize) -> Device {
    Device::new(50 + number as u8)
}

const SENDERS: [(usize, Transport); 4] =
    [(0, Transport::Ws), (1, Transport::Quic), (2, Transport::Ws), (3, Transport::Quic)];
const RECIPIENTS: [(usize, Transport); 2] = [(0, Transport::Ws), (1, Transport::Quic)];
