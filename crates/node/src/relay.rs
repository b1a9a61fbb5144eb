//! The one task that owns the rules: frames of all connections in, frames for all connections out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::link::{self, Heard, Outbox, Stream};
use dsip_endpoint::resolve::Resolver;
use dsip_proto::identity::Document;
use dsip_proto::relay::host::{self, Close, Conn, Event, Host, Output, Woken};
use dsip_proto::relay::rate::Rate;
use dsip_proto::relay::{Load, Write};
use dsip_proto::time::{Now, Seed};
use dsip_proto::wake::{Outcome, Push};
use dsip_proto::wire::Did;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::admission::Network;
use crate::home::NodeHome;
use crate::roster::Roster;
use crate::routing::{Routes, Unread};
use crate::store::{Progress, Store};
use crate::wake::Pusher;
use crate::{StartError, named};

/// Inputs that may wait for the rules. Every connection waits with one frame at most, so this is their fair queue.
const WAITING: usize = 1024;

/// Inputs handled between two looks at the clock.
const BATCH: usize = 64;

/// How long to sleep when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// Timers of the rules are seconds long; waking more often than this gains nobody anything.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// What happens to the relay.
pub(crate) enum Input {
    Connected {
        conn: Conn,
        from: IpAddr,
        at: Option<String>,
        outbox: Outbox,
    },
    Heard {
        conn: Conn,
        heard: Heard,
    },
    Closed {
        conn: Conn,
    },
    Answer {
        did: Did,
        document: Option<Document>,
    },
    /// What a push service said.
    Woken {
        id: u64,
        outcome: Outcome,
    },
    /// What this node itself publishes about a DID of its domain.
    Vouched {
        did: Did,
        document: Option<Document>,
    },
    /// What [`Roster`] says has changed.
    Admit,
    /// Connections from here are not wanted any more.
    Shut(Network),
    Allow(Allowance),
}

/// What operators may change while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Allowance {
    /// Connections at one time.
    pub max_connections: usize,
    /// Connections from one address, or one IPv6 /64.
    pub max_connections_per_address: usize,
    /// Envelopes of one device in a minute.
    pub max_envelopes_per_device: u32,
    /// Envelopes of one identity in a minute.
    pub max_envelopes: u32,
    /// Invites of one identity in a minute.
    pub max_invites: u32,
}

/// Where connections tell the relay what happens. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) inputs: mpsc::Sender<Input>,
    next: Arc<AtomicU64>,
}

impl Relay {
    /// A name for a connection that was just accepted.
    pub(crate) fn name(&self) -> Conn {
        Conn(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a node has done since it started, and has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Connections open now, bound or not.
    pub connections: usize,
    /// Devices bound now.
    pub bound: usize,
    /// Messages handed to devices.
    pub delivered: u64,
    /// Messages that were queued.
    pub queued: u64,
    /// Frames the pipeline refused.
    pub rejected: u64,
    /// Verified messages that were refused.
    pub refused: u64,
    /// Verified messages that went no further, told to their sender or not.
    pub dropped: u64,
    /// Connections closed because they did not read.
    pub too_slow: u64,
    /// Attempts without an end so far.
    pub attempts: usize,
    /// Envelopes held for devices that are away, or for late legs.
    pub held: usize,
    /// Envelopes handed to devices that have not acknowledged them.
    pub unacknowledged: usize,
    /// Whether the disk takes no more writes, so that what would have to wait is refused.
    pub disk_refuses: bool,
    /// Devices that can be woken.
    pub sleepers: usize,
    /// Requests to push services that are under way.
    pub waking: usize,
    /// Requests that push services have taken.
    pub woken: u64,
}

/// What was not done, by the reason why. The reasons are the node's own, so there are only so many.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reasons {
    /// Frames the pipeline refused, by its code.
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    /// Verified envelopes that were refused, by the reason their sender was given.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Verified envelopes that went no further.
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    /// What came too fast.
    pub(crate) limited: BTreeMap<&'static str, u64>,
    /// Connections that the node closed.
    pub(crate) closed: BTreeMap<&'static str, u64>,
    /// What became of wakes.
    pub(crate) wakes: BTreeMap<&'static str, u64>,
}

/// Reads the counts.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<(Counts, Reasons)>>);

impl Watch {
    pub(crate) fn read(&self) -> Counts {
        self.lock().0
    }

    pub(crate) fn reasons(&self) -> Reasons {
        self.lock().1.clone()
    }

    /// A connection is closed by the node, for this reason.
    pub(crate) fn closing(&self, why: &'static str) {
        *self.lock().1.closed.entry(why).or_default() += 1;
    }

    fn write(&self, counts: Counts) {
        self.lock().0 = counts;
    }

    fn lock(&self) -> MutexGuard<'_, (Counts, Reasons)> {
        // Numbers alone.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom the relay asks about the world.
pub(crate) struct World {
    pub(crate) resolver: Resolver,
    /// None if the node wakes nobody.
    pub(crate) pusher: Option<Arc<Pusher>>,
}

/// Starts the relay's task.
pub(crate) fn start(
    tasks: &mut JoinSet<()>,
    config: host::Config,
    home: &NodeHome,
    world: World,
    roster: Roster,
    stopping: watch::Receiver<bool>,
) -> Result<(Relay, Watch), StartError> {
    let now = clock::now();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| StartError::Randomness)?;
    let mut host = Host::new(config, home.signer(), Seed::new(seed));
    let (store, memory) =
        Store::open(home.dir(), home.did()).map_err(|source| StartError::Store { home: named(home.dir()), source })?;
    host.restore(memory, now);

    host.handle(now, host::Input::Admit(roster.admittance()), &mut Vec::new());

    let (inputs, received) = mpsc::channel(WAITING);
    let counts = Watch::default();
    let relay = Relay { inputs: inputs.clone(), next: Arc::default() };
    let driver = Driver {
        host,
        routes: Routes::new(),
        roster,
        counts: Counts::default(),
        shown: counts.clone(),
        store,
        writes: Vec::new(),
        world,
        answers: inputs.downgrade(),
    };
    tasks.spawn(driver.run(received, stopping));
    Ok((relay, counts))
}

struct Driver {
    host: Host,
    routes: Routes,
    roster: Roster,
    counts: Counts,
    shown: Watch,
    store: Store,
    /// What the rules want written, on its way to the store.
    writes: Vec<Write>,
    world: World,
    answers: mpsc::WeakSender<Input>,
}

impl Driver {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut stopping: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut out = Vec::new();
        let mut alarm = std::pin::pin!(sleep(NOTHING_DUE));
        let mut set_for = None;
        loop {
            let wake = self.host.wake();
            if set_for != Some(wake) {
                let due = wake.map_or(NOTHING_DUE, |wake| wake.since(clock::now().tick).max(SHORTEST_SLEEP));
                alarm.as_mut().reset(Instant::now() + due);
                set_for = Some(wake);
            }
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => break,
                progress = self.store.changed() => {
                    let Progress { stored, writable } = progress;
                    let now = clock::now();
                    self.host.handle(now, host::Input::Stored { count: stored }, &mut out);
                    if self.counts.disk_refuses == writable {
                        self.counts.disk_refuses = !writable;
                        self.host.handle(now, host::Input::Disk { writable }, &mut out);
                    }
                    self.perform(&mut out);
                    self.store.write(&mut self.writes);
                    self.show();
                    continue;
                }
                count = inputs.recv_many(&mut batch, BATCH) => if count == 0 { break },
                () = alarm.as_mut() => set_for = None,
            }
            let now = clock::now();
            if batch.is_empty() {
                self.host.handle(now, host::Input::Tick, &mut out);
            }
            for input in batch.drain(..) {
                self.handle(now, input, &mut out);
                self.perform(&mut out);
            }
            self.perform(&mut out);
            self.store.write(&mut self.writes);
            self.show();
        }
        // What was on its way and is not acknowledged waits for the next start.
        for conn in self.routes.end(link::Close::GoingAway) {
            self.host.handle(clock::now(), host::Input::Closed { conn }, &mut out);
            self.perform(&mut out);
        }
        self.store.write(&mut self.writes);
        // The connections are told; what they still send goes nowhere.
        inputs.close();
        while inputs.recv().await.is_some() {}
        let store = self.store;
        drop(spawn_blocking(move || store.close()).await);
    }

    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let input = match &input {
            Input::Connected { conn, from, at, outbox } => {
                self.routes.open(*conn, *from, outbox.clone());
                host::Input::Connected { conn: *conn, from: *from, at: at.clone() }
            }
            Input::Heard { conn, heard: Heard::Frame(frame) } => host::Input::Received { conn: *conn, frame },
            Input::Heard { conn, heard: Heard::Asked(mark) } => host::Input::Asked { conn: *conn, mark: mark.clone() },
            Input::Heard { conn, heard: Heard::Reached(number) } => {
                host::Input::Reached { conn: *conn, number: *number }
            }
            Input::Closed { conn } => {
                self.routes.ended(*conn);
                host::Input::Closed { conn: *conn }
            }
            Input::Answer { did, document } => host::Input::Answer { did: did.clone(), document: document.clone() },
            Input::Woken { id, outcome } => host::Input::Woken { id: *id, outcome: *outcome },
            Input::Admit => host::Input::Admit(self.roster.admittance()),
            Input::Shut(network) => return self.routes.shut(|from| network.contains(from)),
            Input::Allow(allowed) => host::Input::Allow {
                devices: Rate::per_minute(allowed.max_envelopes_per_device),
                envelopes: Rate::per_minute(allowed.max_envelopes),
                invites: Rate::per_minute(allowed.max_invites),
                connections: allowed.max_connections,
            },
            Input::Vouched { document: Some(document), .. } => return self.host.know(document.clone()),
            Input::Vouched { did, document: None } => return self.host.unknow(did),
        };
        self.host.handle(now, input, out);
    }

    fn perform(&mut self, out: &mut Vec<Output>) {
        for output in out.drain(..) {
            match output {
                Output::Transmit { conn, session, frame } => {
                    let stream = session.map_or(Stream::Control, Stream::Session);
                    if let Err(Unread) = self.routes.transmit(conn, stream, frame) {
                        tracing::debug!(conn = conn.0, "cut off: what was sent is not being read");
                        self.counts.too_slow += 1;
                        self.shown.closing("not-reading");
                    }
                }
                Output::Close { conn, why } => {
                    tracing::debug!(conn = conn.0, ?why, "closing");
                    self.counts.too_slow += u64::from(why == Close::Unread);
                    self.shown.closing(word(why));
                    self.routes.close(conn, wire(why));
                }
                Output::Ask(did) => self.ask(did),
                Output::Wake(push) => self.wake(push),
                Output::Joined { identity, code } => self.roster.joined(&identity, &code),
                Output::Write(write) => self.writes.push(write),
                Output::Question { conn, number } => self.routes.ask(conn, number),
                Output::Vouch { conn, mark } => self.routes.vouch(conn, mark),
                Output::Event(event) => self.count(&event),
            }
        }
    }

    fn ask(&self, did: Did) {
        let (resolver, answers) = (self.world.resolver.clone(), self.answers.clone());
        tokio::spawn(async move {
            let document = match resolver.document(&did).await {
                Ok(resolved) => Some(resolved.document.as_ref().clone()),
                Err(error) => {
                    tracing::debug!(%did, %error, "a DID document is not to be had");
                    None
                }
            };
            if let Some(answers) = answers.upgrade() {
                // The relay has stopped if nobody takes it.
                drop(answers.send(Input::Answer { did, document }).await);
            }
        });
    }

    /// WAK-34: in a task of its own.
    fn wake(&self, push: Push) {
        let (pusher, answers) = (self.world.pusher.clone(), self.answers.clone());
        tokio::spawn(async move {
            let id = push.id;
            let outcome = match pusher {
                Some(pusher) => pusher.push(push).await,
                None => Outcome::Refused,
            };
            if let Some(answers) = answers.upgrade() {
                // The relay has stopped if nobody takes it.
                drop(answers.send(Input::Woken { id, outcome }).await);
            }
        });
    }

    fn count(&mut self, event: &Event) {
        tracing::trace!(?event);
        match event {
            Event::Delivered(_) => self.counts.delivered += 1,
            Event::Queued(_) => self.counts.queued += 1,
            Event::Rejected(_, code) => {
                self.counts.rejected += 1;
                *self.shown.lock().1.rejected.entry(code.as_str()).or_default() += 1;
            }
            Event::Refused(_, reason) => {
                self.counts.refused += 1;
                let refused = &mut self.shown.lock().1.refused;
                match refused.get_mut(reason.as_str()) {
                    Some(count) => *count += 1,
                    None => drop(refused.insert(reason.as_str().to_owned(), 1)),
                }
            }
            Event::Dropped(why) => {
                self.counts.dropped += 1;
                *self.shown.lock().1.dropped.entry(why.as_str()).or_default() += 1;
            }
            Event::Wake(what) => {
                self.counts.woken += u64::from(*what == Woken::Sent);
                *self.shown.lock().1.wakes.entry(what.as_str()).or_default() += 1;
            }
            Event::Limited(limit) => *self.shown.lock().1.limited.entry(limit.as_str()).or_default() += 1,
            Event::Bound(_) | Event::Dequeued(_) => {}
        }
    }

    fn show(&mut self) {
        let Load { bound, live, held, .. } = self.host.load();
        self.counts.connections = self.routes.links();
        self.counts.bound = bound;
        self.counts.attempts = live;
        self.counts.held = held;
        self.counts.unacknowledged = self.host.unacknowledged();
        (self.counts.sleepers, self.counts.waking) = self.host.sleepers();
        self.shown.write(self.counts);
    }
}

/// What a close is called where it is counted.
const fn word(why: Close) -> &'static str {
    match why {
        Close::HelloMissing => "hello-missing",
        Close::Replaced => "replaced",
        Close::Abuse => "abuse",
        Close::Unread => "unread",
        Close::Full => "full",
        Close::Barred => "blocked",
    }
}

fn wire(why: Close) -> link::Close {
    match why {
        Close::HelloMissing => link::Close::HelloMissing,
        Close::Replaced => link::Close::Replaced,
        Close::Abuse => link::Close::Abuse,
        Close::Barred => link::Close::NotServed,
        Close::Unread => link::Close::TooSlow,
        Close::Full => link::Close::Full,
    }
}
