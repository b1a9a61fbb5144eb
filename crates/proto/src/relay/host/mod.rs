//! A relay's server side, without its sockets: who may speak on a connection, how much, and what becomes of a frame.
//!
//! ```text
//!  frame ─► closing? ─► parked? ─► stranger's rate ─► verify ──┬─► hello: audience ─► bind, answer, flush
//!                                                      │       └─► rates ─► Engine ─► Transmit · Close · Event
//!                                                      └─► a did:web key is missing: park, Ask
//! ```
//!
//! What is cheap comes first, and whatever a peer can make grow has a bound. A refused frame costs its sender: every
//! connection may be refused a little, and then it is closed.

mod admittance;
mod authority;
mod config;
mod custody;
mod documents;
mod frames;
mod hello;
mod policies;
mod rates;
mod refusals;
mod routed;
mod wake;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng as _;

pub use self::admittance::{Admittance, INVITE_CODE, Invitation, LONGEST_CODE};
use self::authority::Hosted;
pub use self::config::{Config, Elsewhere, Rates, Turn};
pub use self::custody::MAX_UNSTORED;
use self::custody::Owed;
use self::documents::{Asked, Parked};
pub use self::policies::{MAX_LISTED, POLICY_KEPT};
use self::rates::Accounts;
pub use self::rates::{Limit, Tier};
use self::wake::Sleepers;
pub use self::wake::{WAKE_KEPT, Wake, Woken};
use super::custody::Custody;
use super::engine::{self, Engine};
use super::kept::{Memory, Write};
use super::rate::{Bucket, Rate};
use crate::envelope::{Code, Recorded, Signer, Supported, Verifier};
use crate::identity::{Document, Documents};
use crate::reach;
use crate::time::{Now, Seed, Tick};
use crate::wake::{Outcome, Push};
use crate::wire::token::ProfileId;
use crate::wire::{Did, Kind, Reason, Ulid};

/// How long a connection may stay without a verified `hello` (HEL-8).
pub const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// A connection, named by whoever accepted it. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// What happens to the relay.
#[derive(Debug)]
pub enum Input<'a> {
    /// Time passed.
    Tick,
    /// A connection was accepted.
    Connected {
        /// Its name.
        conn: Conn,
        /// Where it comes from.
        from: IpAddr,
        /// The host and port it came in on, if known; a `hello` may be addressed to it (HEL-12).
        at: Option<String>,
    },
    /// A frame arrived.
    Received {
        /// On which connection.
        conn: Conn,
        /// Its text.
        frame: &'a str,
    },
    /// A connection is gone, for whatever reason.
    Closed {
        /// Which.
        conn: Conn,
    },
    /// A connection asks to be told when everything before is in safe hands (CUS-1).
    Asked {
        /// Which.
        conn: Conn,
        /// What its question is known by.
        mark: Vec<u8>,
    },
    /// A device has everything it was sent before [`Output::Question`] with this number (CUS-10).
    Reached {
        /// Its connection.
        conn: Conn,
        /// The number.
        number: u64,
    },
    /// The first so many writes are durable.
    Stored {
        /// How many.
        count: u64,
    },
    /// The disk takes no more writes, or does again. What it was given before is not lost: it is tried again.
    Disk {
        /// Whether it takes writes.
        writable: bool,
    },
    /// The operator lets in others than before, from now on.
    Admit(Admittance),
    /// The operator allows more or less than before.
    Allow {
        /// Envelopes of one device.
        devices: Rate,
        /// Envelopes of one identity.
        envelopes: Rate,
        /// Invites of one identity.
        invites: Rate,
        /// Connections at one time.
        connections: usize,
    },
    /// What became of [`Output::Wake`].
    Woken {
        /// Which.
        id: u64,
        /// What the push service said, or why it was not asked.
        outcome: Outcome,
    },
    /// A document that was asked for, or that it cannot be had.
    Answer {
        /// Whose.
        did: Did,
        /// The document.
        document: Option<Document>,
    },
}

/// What the relay wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Put this on disk, or take it off. Nothing has to wait for that; what does waits for [`Input::Stored`].
    Write(Write),
    /// Ask this connection's device to say when it has everything sent before; the answer is [`Input::Reached`].
    Question {
        /// On which connection.
        conn: Conn,
        /// The question's number.
        number: u64,
    },
    /// Answer [`Input::Asked`]: everything that came before it is safe.
    Vouch {
        /// Who asked.
        conn: Conn,
        /// What it asked with.
        mark: Vec<u8>,
    },
    /// Send a frame.
    Transmit {
        /// On which connection.
        conn: Conn,
        /// The session it belongs to, for bindings that keep sessions apart.
        session: Option<Ulid>,
        /// Its text.
        frame: Arc<str>,
    },
    /// Send what is queued, then close. Nothing more is expected from this connection but [`Input::Closed`].
    Close {
        /// Which.
        conn: Conn,
        /// Why.
        why: Close,
    },
    /// Fetch this document and [`Input::Answer`].
    Ask(Did),
    /// ADM-2: this identity has become a member by this code. The next [`Input::Admit`] should say so, too.
    Joined {
        /// Who.
        identity: Did,
        /// By what.
        code: String,
    },
    /// Ask a push service to wake a device, and say with [`Input::Woken`] what came of it.
    Wake(Push),
    /// Something an operator may want to count.
    Event(Event),
}

/// Why the relay closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// No verified `hello` in time, or the delegation it rested on has ended (HEL-8, DEL-13).
    HelloMissing,
    /// A newer connection of the same device took over (WS-7).
    Replaced,
    /// It was refused too much.
    Abuse,
    /// It leaves too much unacknowledged.
    Unread,
    /// There is no room for it.
    Full,
    /// The operator bars its device or identity.
    Barred,
}

/// What happened, without who said what to whom (RLY-7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A device bound, or bound anew.
    Bound(Conn),
    /// A message was handed to a device.
    Delivered(Kind),
    /// A message waits for its recipient.
    Queued(Kind),
    /// A message waits no more, undelivered.
    Dequeued(Kind),
    /// A frame was refused by the pipeline.
    Rejected(Conn, Code),
    /// A verified message was refused with this reason.
    Refused(Conn, Reason),
    /// A message went no further.
    Dropped(engine::Drop),
    /// A sleeping device was to be woken.
    Wake(Woken),
    /// Somebody was held up because this much had been done already.
    Limited(Limit),
}

/// A relay: [`Engine`] and [`Verifier`], and what stands between them and connections.
pub struct Host {
    config: Config,
    did: Did,
    signer: Signer,
    rng: ChaCha20Rng,
    verifier: Verifier,
    engine: Engine,
    hosted: Hosted,
    sleepers: Sleepers,
    admittance: Admittance,
    /// When the last input came.
    now: Now,
    connections: BTreeMap<Conn, Connection>,
    /// The connection that holds each device's binding (WS-9).
    devices: BTreeMap<Did, Conn>,
    /// When to look after which connection: `hello` missing, delegation over.
    deadlines: BTreeSet<(Tick, Conn)>,
    documents: Documents,
    /// Documents and gaps, with the moment each is forgotten.
    known: BTreeMap<Did, Tick>,
    forget: BTreeSet<(Tick, Did)>,
    asked: BTreeMap<Did, Asked>,
    accounts: Accounts,
    /// When to look after which connection's deliveries.
    looks: BTreeSet<(Tick, Conn)>,
    /// Envelopes handed to devices that have not acknowledged them.
    unacknowledged: usize,
    /// What is not safe yet, by the device that sent it.
    owed: BTreeMap<Did, Owed>,
    /// Envelopes on their way to the disk: by the number of the write, whose they are and their arrival number.
    unstored: VecDeque<(u64, Did, u64)>,
    /// Writes so far, and how many of them are durable.
    written: u64,
    stored: u64,
    writable: bool,
    /// The engine's outputs, drained before each return; kept for its room.
    routed: Vec<engine::Output>,
}

struct Connection {
    /// Whom its address stands for.
    from: IpAddr,
    at: Option<String>,
    state: State,
    deadline: Option<Tick>,
    faults: Bucket,
    refusals: Bucket,
    /// What waits for documents, in order of arrival.
    parked: VecDeque<Parked>,
    parked_bytes: usize,
    /// Documents the first parked frame still lacks.
    lacking: BTreeSet<Did>,
    /// What was handed to it.
    custody: Custody,
    /// When to look after that; mirrored in the host's `looks`.
    look: Option<Tick>,
}

enum State {
    /// No `hello` verified yet.
    Greeting,
    Bound {
        device: Did,
        identity: Did,
    },
    /// Told to close; whatever still arrives is ignored.
    Closing,
}

impl Host {
    /// A relay that speaks as `signer`, has no connections, and has seen nothing yet.
    #[must_use]
    pub fn new(config: Config, signer: Signer, seed: Seed) -> Self {
        let mut rng = seed.into_rng();
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        // A relay forwards what it does not speak itself: which profiles a call needs is for its ends to agree on.
        let profiles = [ProfileId::INTERACTIVE_MEDIA, ProfileId::VERIFIED_BROADCAST, ProfileId::DHT_HINTS];
        let verifier = Verifier::with_limits(Supported::new(profiles), config.seen, Seed::new(secret));
        Self {
            did: signer.kid().did().clone(),
            signer,
            rng,
            verifier,
            engine: Engine::new(config.engine.clone()),
            hosted: Hosted::new(config.presence_is_public),
            sleepers: Sleepers::new(),
            admittance: Admittance::default(),
            now: Now::default(),
            connections: BTreeMap::new(),
            devices: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            documents: Documents::default(),
            known: BTreeMap::new(),
            forget: BTreeSet::new(),
            asked: BTreeMap::new(),
            accounts: Accounts::new(config.rates.clone()),
            looks: BTreeSet::new(),
            unacknowledged: 0,
            owed: BTreeMap::new(),
            unstored: VecDeque::new(),
            written: 0,
            stored: 0,
            writable: true,
            routed: Vec::new(),
            config,
        }
    }

    /// Takes back what was kept before a restart: envelopes, known devices, ids (RPL-6).
    pub fn restore(&mut self, memory: Memory, now: Now) {
        let Memory { held, devices, seen, subscriptions, records, policies, wakes } = memory;
        let (held_ids, live_ids): (Vec<_>, Vec<_>) = seen.into_iter().partition(|recorded| recorded.is_held);
        let ids = |recorded: Vec<Recorded>| recorded.into_iter().map(|recorded| recorded.id);
        self.verifier.seen_mut().restore(ids(held_ids), now.wall.secs());
        self.verifier.seen_mut().restore_live(ids(live_ids), now.wall.secs());
        self.engine.restore(now, devices.into_values(), held.into_values());
        self.restore_wakes(wakes);
        self.hosted.restore(now, subscriptions, records, policies);
    }

    /// Keeps the relay's own document, or one that the operator vouches for; it is never fetched. The last one counts.
    pub fn know(&mut self, document: Document) {
        let held = self.documents.get(document.did());
        if held.is_some_and(|held| held.methods() != document.methods()) {
            self.sleepers.doubt(document.did());
        }
        self.forget_document(document.did());
        self.documents.insert(document);
    }

    /// Ends that.
    pub fn unknow(&mut self, did: &Did) {
        self.sleepers.doubt(did);
        self.forget_document(did);
    }

    fn forget_document(&mut self, did: &Did) {
        if let Some(until) = self.known.remove(did) {
            self.forget.remove(&(until, did.clone()));
        }
        self.documents.remove(did);
    }

    /// Takes one input, after whatever became due before it, and appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        self.now = now;
        self.expire(now, out);
        self.advance_authority(now, matches!(input, Input::Tick), out);
        self.advance_wakes(now, out);
        match input {
            Input::Tick => {
                self.engine.handle(now, engine::Input::Tick, &mut self.routed);
                self.carry_out(now, None, out);
            }
            Input::Connected { conn, from, at } => self.connected(now, conn, from, at, out),
            Input::Received { conn, frame } => self.received(now, conn, frame, out),
            Input::Closed { conn } => self.closed(now, conn, out),
            Input::Asked { conn, mark } => self.asked_by(now, conn, mark, out),
            Input::Reached { conn, number } => self.reached(now, conn, number, out),
            Input::Stored { count } => {
                self.stored(count, out);
                self.accept_subscriptions(now, count, out);
                self.give_receipts(now, count, out);
            }
            Input::Disk { writable } => {
                self.writable = writable;
                self.engine.set_disk(writable);
                let conns: Vec<Conn> = self.connections.keys().copied().collect();
                for conn in conns {
                    self.look_after(conn);
                }
            }
            Input::Admit(admittance) => self.admit(now, admittance, out),
            Input::Allow { devices, envelopes, invites, connections } => {
                self.accounts.allow(devices, envelopes, invites);
                self.config.max_connections = connections;
            }
            Input::Woken { id, outcome } => self.woken(now, id, outcome, out),
            Input::Answer { did, document } => self.answered(now, &did, document, out),
        }
    }

    /// When [`Input::Tick`] has something to do.
    #[must_use]
    pub fn wake(&self) -> Option<Tick> {
        let deadline = self.deadlines.first().map(|(tick, _)| *tick);
        let forget = self.forget.first().map(|(tick, _)| *tick);
        let asked = self.asked.values().map(|asked| asked.until).min();
        let look = self.looks.first().map(|(tick, _)| *tick);
        let (hosted, sleepers) = (self.hosted.wake(self.now), self.sleepers.wake(self.now));
        [self.engine.wake(), hosted, sleepers, deadline, forget, asked, look].into_iter().flatten().min()
    }

    /// The relay's DID.
    #[must_use]
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// How much the engine has in hand.
    #[must_use]
    pub fn load(&self) -> engine::Load {
        self.engine.load()
    }

    /// Subscriptions and records that the authority holds, and notifies that have still to be sent.
    #[must_use]
    pub fn told(&self) -> (usize, usize, usize) {
        self.hosted.load()
    }

    /// How many envelopes were handed to devices that have not acknowledged them (CUS-10).
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    // Connections

    fn connected(&mut self, now: Now, conn: Conn, from: IpAddr, at: Option<String>, out: &mut Vec<Output>) {
        if self.connections.len() >= self.config.max_connections {
            out.push(Output::Close { conn, why: Close::Full });
            return;
        }
        let connection = Connection {
            from: reach::subscriber(from),
            at,
            state: State::Greeting,
            deadline: None,
            faults: Bucket::default(),
            refusals: Bucket::default(),
            parked: VecDeque::new(),
            parked_bytes: 0,
            lacking: BTreeSet::new(),
            custody: Custody::default(),
            look: None,
        };
        self.connections.insert(conn, connection);
        self.set_deadline(conn, Some(now.tick + HELLO_DEADLINE));
    }

    fn closed(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        self.set_deadline(conn, None);
        if let Some(State::Bound { device, .. }) = self.connections.get(&conn).map(|connection| &connection.state) {
            let device = device.clone();
            self.unbind(now, conn, &device, out);
        }
        self.take_back(now, conn, out);
        self.connections.remove(&conn);
    }

    /// WS-9: only the connection that owns a binding can end it.
    fn unbind(&mut self, now: Now, conn: Conn, device: &Did, out: &mut Vec<Output>) {
        if self.devices.get(device) == Some(&conn) {
            self.devices.remove(device);
            let identity = self.engine.identity_of(device).cloned();
            self.engine.handle(now, engine::Input::Unbind { device: device.clone() }, &mut self.routed);
            self.carry_out(now, None, out);
            if let Some(identity) = identity {
                self.went(now, device, &identity, out);
            }
        }
    }

    fn close(&mut self, now: Now, conn: Conn, why: Close, out: &mut Vec<Output>) {
        self.set_deadline(conn, None);
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.parked.clear();
        let state = std::mem::replace(&mut connection.state, State::Closing);
        if matches!(state, State::Closing) {
            return;
        }
        out.push(Output::Close { conn, why });
        if let State::Bound { device, .. } = state {
            self.unbind(now, conn, &device, out);
        }
        self.take_back(now, conn, out);
    }

    fn set_deadline(&mut self, conn: Conn, deadline: Option<Tick>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if let Some(earlier) = std::mem::replace(&mut connection.deadline, deadline) {
            self.deadlines.remove(&(earlier, conn));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, conn));
        }
    }

    fn expire(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some((due, conn)) = self.deadlines.first().copied()
            && due <= now.tick
        {
            self.close(now, conn, Close::HelloMissing, out); // HEL-8
        }
        while let Some((due, conn)) = self.looks.first().copied()
            && due <= now.tick
        {
            self.looks.pop_first();
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.look = None;
            }
            self.keep_overdue(now, conn, out);
            self.hand_on(now, conn, out);
        }
        while let Some((due, did)) = self.forget.first().cloned()
            && due <= now.tick
        {
            self.forget.remove(&(due, did.clone()));
            self.known.remove(&did);
            self.documents.remove(&did);
        }
        if self.asked.values().any(|asked| asked.until <= now.tick) {
            let late: Vec<Did> =
                self.asked.iter().filter(|(_, asked)| asked.until <= now.tick).map(|(did, _)| did.clone()).collect();
            for did in late {
                self.answered(now, &did, None, out);
            }
        }
    }
}
