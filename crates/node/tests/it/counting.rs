//! Clients that count: senders number what they say and remember what was vouched for, recipients remember what came.
//!
//! [`a_crowd`] makes a program of them, for those who break the node, its disk and its network from outside
//! (`cargo x chaos`).

use std::collections::{HashMap, VecDeque};
use std::io::BufRead as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dsip_endpoint::link::{Close, Dialer, Link, Stream, Target, Transport};
use dsip_proto::time::Wall;
use dsip_proto::wire::Ulid;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::device::{Device, Said, payload, wall};
use crate::no_roots;

/// Set to the node's URL, DID included, in the process that is the crowd.
const CROWD: &str = "DSIP_COUNT_AT";

/// After how long a node that cannot be reached is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// How often a recipient looks at what it has acknowledged.
const LOOK: Duration = Duration::from_millis(100);

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
    received: HashMap<Ulid, Came>,
    /// How often its sender said it again, less how often it came again for that.
    said_again: HashMap<Ulid, usize>,
    /// Connections that recipients have had.
    connections: usize,
    /// What each recipient has received on its present connection and cannot be sure yet that the node knows.
    unsettled: HashMap<usize, VecDeque<(u64, Ulid)>>,
    /// What came again though the node knew.
    again: Vec<Ulid>,
    /// How much each sender has said.
    said: HashMap<usize, u64>,
    /// The last number each recipient heard from each sender.
    last: HashMap<(usize, usize), u64>,
    refused: usize,
    repeats: usize,
    losses: usize,
}

/// How an envelope came last.
struct Came {
    /// On which connection.
    on: usize,
    /// Whether its recipient acknowledged it, and the node said that it is done with it (CUS-12).
    settled: bool,
}

impl Ledger {
    /// An envelope came on a connection. False if it came before.
    fn came(&mut self, id: Ulid, on: usize) -> bool {
        let Some(came) = self.received.get_mut(&id) else {
            self.received.insert(id, Came { on, settled: false });
            return true;
        };
        self.repeats += 1;
        // CUS-5: its sender has said it again. After a crash the node cannot know that it has been there.
        if let Some(count) = self.said_again.get_mut(&id).filter(|count| **count > 0) {
            *count -= 1;
        } else if came.settled {
            self.again.push(id);
        } else {
            // CUS-14: what the connection before it did not acknowledge.
            assert!(came.on != on, "{id} came twice on one connection");
        }
        came.on = on;
        false
    }

    /// The node is done with what this recipient has received up to this frame of its present connection.
    fn settle(&mut self, recipient: usize, upto: u64) {
        let Some(unsettled) = self.unsettled.get_mut(&recipient) else { return };
        while let Some((_, id)) = unsettled.pop_front_if(|(number, _)| *number <= upto) {
            if let Some(came) = self.received.get_mut(&id) {
                came.settled = true;
            }
        }
    }
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
    /// Envelopes whose recipient acknowledged them, as the node confirmed.
    pub(crate) settled: usize,
    /// Envelopes that came again after that, though nobody said them again.
    pub(crate) again: usize,
    /// Envelopes that came more than once, for whatever reason.
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

    /// How much its recipients have acknowledged, as the node confirmed.
    pub(crate) fn settled(&self) -> usize {
        self.tally().settled
    }

    /// Waits until so much has arrived.
    pub(crate) async fn hears(&self, count: usize) {
        self.shared.heard.subscribe().wait_for(|heard| *heard >= count).await.expect("they go on");
    }

    /// Falls silent once everything said was vouched for or refused, waits for what was vouched for and for recipients to be
    /// sure of what they have, and counts.
    pub(crate) async fn settle(&mut self) -> Tally {
        self.halt.send_replace(true);
        while let Some(ended) = self.sending.join_next().await {
            ended.expect("a sender found everything in order");
        }
        let mut progress = self.shared.heard.subscribe();
        while self.tally().lost > 0 || self.shared.lock().unsettled.values().any(|unsettled| !unsettled.is_empty()) {
            tokio::select! {
                Some(ended) = self.receiving.join_next() => ended.expect("a recipient found everything in order"),
                more = timeout(PATIENCE, progress.changed()) => if more.is_err() { break },
            }
        }
        while let Some(ended) = self.receiving.try_join_next() {
            ended.expect("a recipient found everything in order");
        }
        self.tally()
    }

    /// Says on standard error what is missing, for whoever looks for it in the logs: an id begins with its time.
    fn explain(&self) {
        let ledger = self.shared.lock();
        for id in &ledger.again {
            eprintln!("{id} was acknowledged, and came again");
        }
        for id in ledger.vouched.keys().filter(|id| !ledger.received.contains_key(id)) {
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
            settled: ledger.received.values().filter(|came| came.settled).count(),
            again: ledger.again.len(),
            repeats: ledger.repeats,
            losses: ledger.losses,
            lost: ledger.vouched.keys().filter(|id| !ledger.received.contains_key(id)).count(),
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
                let Tally { vouched, received, refused, settled, again, repeats, losses, lost } = crowd.settle().await;
                let settled = serde_json::json!({
                    "event": "settled", "vouched": vouched, "received": received, "refused": refused,
                    "acknowledged": settled, "again": again, "repeats": repeats, "losses": losses, "lost": lost,
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
            *shared.lock().said_again.entry(said.id).or_default() += 1;
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

/// Hears what comes and goes away every now and then. What it has acknowledged, and the node has confirmed, may not come again.
async fn receive(number: usize, transport: Transport, mut at: watch::Receiver<Option<At>>, shared: Shared) {
    let device = recipient(number);
    loop {
        let (outbox, mut inbox) = bound(&mut at, &device, transport).await.split();
        let on = {
            let mut ledger = shared.lock();
            ledger.connections += 1;
            ledger.unsettled.insert(number, VecDeque::new());
            ledger.connections
        };
        // The node's hello was the first.
        let mut frames = 1_u64;
        let mut left = 1_000;
        // How much was acknowledged at the last two looks: over QUIC a question has up to two parts here, so that all of
        // the earlier one was answered when the count has moved on.
        let (mut earlier, mut acknowledged) = (0, 0);
        let mut look = interval(LOOK);
        let mut confirming: Option<(u64, BoxFuture<'_, bool>)> = None;
        loop {
            tokio::select! {
                frame = inbox.recv() => {
                    let Ok(frame) = frame else { break };
                    frames += 1;
                    let said = payload(&frame);
                    if said["from"] != device.did.as_str() && said["type"] != "error" {
                        left -= 1;
                        if left == 0 {
                            outbox.close(Close::Done);
                        }
                        hear(number, on, frames, &said, &shared);
                    }
                }
                confirmed = async { confirming.as_mut().expect("there is one").1.as_mut().await }, if confirming.is_some() => {
                    if let Some((upto, _)) = confirming.take()
                        && confirmed
                    {
                        shared.lock().settle(number, upto);
                        shared.heard.send_modify(|_| {});
                    }
                }
                _ = look.tick() => {
                    if inbox.acknowledged() > acknowledged {
                        (earlier, acknowledged) = (acknowledged, inbox.acknowledged());
                    }
                    let unsettled = shared.lock().unsettled.get(&number).and_then(|unsettled| unsettled.front().copied());
                    if confirming.is_none() && unsettled.is_some_and(|(first, _)| first <= acknowledged) {
                        // CUS-1: an answer to what is said now says that all we acknowledged before is off the disk; and it
                        // is one more envelope for the node to ask about.
                        let said = device.bye_saying(&device.did, Ulid::from_bits(7), "to itself");
                        outbox.send(Stream::Control, said.text).ok();
                        let outbox = &outbox;
                        confirming = Some((earlier, Box::pin(async move { outbox.kept().await.is_ok() })));
                    }
                }
                _ = at.changed() => break,
            }
        }
        let mut ledger = shared.lock();
        ledger.losses += 1;
        ledger.unsettled.remove(&number);
    }
}

/// A recipient heard this as that frame of its connection.
fn hear(recipient: usize, on: usize, frame: u64, said: &serde_json::Value, shared: &Shared) {
    let detail = said["detail"].as_str().expect("ours").to_owned();
    let (sender, count) = detail.split_once(' ').expect("ours");
    let (sender, count): (usize, u64) = (sender.parse().expect("ours"), count.parse().expect("ours"));
    let id = said["id"].as_str().and_then(|id| id.parse().ok()).expect("ours");
    let mut ledger = shared.lock();
    if ledger.came(id, on) {
        let last = ledger.last.insert((sender, recipient), count);
        assert!(last.is_none_or(|last| last < count), "RLY-3: {count} after {last:?} of {sender}");
    }
    ledger.unsettled.entry(recipient).or_default().push_back((frame, id));
    shared.heard.send_replace(ledger.received.len());
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

#[test]
fn what_comes_again_is_told_apart() {
    let [id, other] = [1, 2].map(Ulid::from_bits);
    let mut ledger = Ledger::default();
    let receive = |ledger: &mut Ledger, id, on, frame| {
        let is_new = ledger.came(id, on);
        ledger.unsettled.entry(0).or_default().push_back((frame, id));
        is_new
    };
    assert!(receive(&mut ledger, id, 1, 2) && receive(&mut ledger, other, 1, 3));
    ledger.settle(0, 2);
    // What was not acknowledged for certain may come again on another connection, and what its sender said again.
    assert!(!receive(&mut ledger, other, 2, 2));
    ledger.said_again.insert(id, 1);
    assert!(!receive(&mut ledger, id, 2, 3));
    assert!(ledger.again.is_empty());
    // Nothing else may.
    assert!(!receive(&mut ledger, id, 3, 2));
    assert_eq!((ledger.again, ledger.repeats), (vec![id], 3));
}
