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

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng as _;
use serde_json::Map;

use super::custody::{Custody, Delivery};
use super::engine::{self, Engine};
use super::inbox::Place;
use super::kept::{Kept, Memory, Write};
use super::message::{Body, Message};
use super::rate::{Bucket, Buckets, Rate};
use crate::envelope::{self, Code, Limits, Recorded, Signer, Supported, Verdict, Verified, Verifier, needs};
use crate::identity::{Document, Documents};
use crate::time::{Now, Seed, Tick};
use crate::turn;
use crate::wire::media::VersionBlock;
use crate::wire::message::{self, Capabilities, Common, MAX_ENVELOPE_BYTES, RateLimit};
use crate::wire::token::{BindingId, ProfileId};
use crate::wire::{self, Did, Envelope, Kind, Reason, Ulid, json};

/// How long a connection may stay without a verified `hello` (HEL-8).
pub const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// How long what the relay signs is valid, in seconds.
const VALIDITY: u64 = 120;

/// How long a fetched document is believed: a key that its owner removed goes on working for so long at most.
const DOCUMENT_KEPT: Duration = Duration::from_secs(300);

/// How long a document that could not be had is not asked for again.
const MISSING_KEPT: Duration = Duration::from_secs(30);

/// How long frames wait for a document.
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(10);

/// Documents kept, and documents known to be missing, each.
const MAX_DOCUMENTS: usize = 4_096;

/// Documents asked for at one time.
const MAX_ASKED: usize = 256;

/// Frames of one connection that may wait for a document, and their bytes.
const MAX_PARKED: usize = 32;
const MAX_PARKED_BYTES: usize = 4 * MAX_ENVELOPE_BYTES;

/// Ids of one device that wait for their envelopes to be safe; more than that are written down at once.
const MAX_WAITING_IDS: usize = 16_384;

/// Questions of one device that wait for their answer; a later one takes the place of the last (RFC 6455, 5.5.3).
const MAX_QUESTIONS: usize = 16;

/// The longest question that is answered: what a control frame can hold.
const MAX_MARK: usize = 125;

/// Writes that may be on their way to the disk. More means a disk that cannot keep up: new ids are then not written down,
/// and what would have to wait is refused.
pub const MAX_UNSTORED: u64 = 262_144;

/// After how long an introduction that met a full disk may be tried again, in seconds.
const DISK_RETRY: Duration = Duration::from_secs(60);

/// Parties whose rates are remembered at once, of each kind.
const MAX_PARTIES: usize = 262_144;

/// A connection, named by whoever accepted it. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// Routing and queues.
    pub engine: engine::Config,
    /// Host and port pairs, as clients dial them, that a `hello` may be addressed to besides the relay's DID (HEL-12).
    pub addresses: Vec<String>,
    /// Whether a `hello` without `aud` is refused (HEL-12).
    pub requires_audience: bool,
    /// The UDP port on which this node's hosts answer STUN, told to devices as `stun_port` among the capabilities.
    pub stun_port: Option<u16>,
    /// TURN credentials for devices that bind, if this node has a TURN server.
    pub turn: Option<Turn>,
    /// How many message ids are remembered (RPL-5).
    pub seen: Limits,
    /// What each party may do.
    pub rates: Rates,
    /// Connections at one time.
    pub max_connections: usize,
}

/// The TURN server of this node, as far as devices are told (TURN-1).
#[derive(Debug, Clone)]
pub struct Turn {
    /// Shared with the server.
    pub issuer: turn::Issuer,
    /// Where on this node's hosts it is.
    pub ports: turn::Ports,
    /// How long credentials work; a device asks for new ones half-way (TURN-6).
    pub lifetime: Duration,
}

/// Who may do how much. None of it depends on whether a recipient exists (RLY-61).
#[derive(Debug, Clone)]
pub struct Rates {
    /// Envelopes of one identity (RLY-70).
    pub envelopes: Rate,
    /// Invites of one identity (RLY-71).
    pub invites: Rate,
    /// `info` of one identity (RLY-71).
    pub infos: Rate,
    /// Introductions of one self-issued identity (RLY-61).
    pub introductions: Rate,
    /// Introductions of one identity that rests on a domain.
    pub domain_introductions: Rate,
    /// Introductions to one recipient, whoever sends them (RLY-61).
    pub introductions_received: Rate,
    /// Frames from one address before a verified `hello`.
    pub strangers: Rate,
    /// Documents that frames from one address may make us fetch.
    pub fetches: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            envelopes: Rate::per_minute(6_000),
            invites: Rate::per_minute(120),
            infos: Rate::per_minute(1_200),
            introductions: Rate { burst: 8, every: hours(3) },
            domain_introductions: Rate { burst: 64, every: hours(1) },
            introductions_received: Rate { burst: 64, every: Duration::from_secs(600) },
            strangers: Rate { burst: 512, every: Duration::from_millis(50) },
            fetches: Rate { burst: 16, every: Duration::from_secs(2) },
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: engine::Config::default(),
            addresses: Vec::new(),
            requires_audience: false,
            stun_port: None,
            turn: None,
            // What the rates below let through in one replay window, for one identity and for a busy node.
            seen: Limits { live_per_sender: 65_536, live: 1 << 23, ..Limits::default() },
            rates: Rates::default(),
            max_connections: 100_000,
        }
    }
}

/// Structural faults that one connection may commit: no honest peer commits any, a buggy one is told of a few.
const FAULTS: Rate = Rate { burst: 8, every: Duration::from_secs(30) };

/// Refusals that one connection is sent before it is closed: signing them is work, too.
const REFUSALS: Rate = Rate { burst: 128, every: Duration::from_millis(500) };

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
}

/// A relay: [`Engine`] and [`Verifier`], and what stands between them and connections.
pub struct Host {
    config: Config,
    did: Did,
    signer: Signer,
    rng: ChaCha20Rng,
    verifier: Verifier,
    engine: Engine,
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
    envelopes: Buckets<Did>,
    invites: Buckets<Did>,
    infos: Buckets<Did>,
    introductions: Buckets<Did>,
    domain_introductions: Buckets<Did>,
    introductions_received: Buckets<Did>,
    strangers: Buckets<IpAddr>,
    fetches: Buckets<IpAddr>,
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

/// What one device sent and is not safe yet, whatever connection it came on (CUS-6).
#[derive(Default)]
struct Owed {
    /// Envelopes that are neither on disk nor acknowledged by whom they are for, by arrival number; with the connection they
    /// were handed to, if they are not just waiting for the disk. Never empty.
    open: BTreeMap<u64, Option<Conn>>,
    /// What it asked: everything before this arrival number has to be safe.
    questions: VecDeque<(u64, Conn, Vec<u8>)>,
    /// Ids of its envelopes, to be written down when everything before this arrival number is safe. Until then a restart
    /// forgets envelope and id together, and it may be sent again (CUS-5).
    ids: VecDeque<(u64, Recorded)>,
}

/// What waits for a document.
enum Parked {
    Frame(Box<str>),
    Asked(Vec<u8>),
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

struct Asked {
    until: Tick,
    waiting: Vec<Conn>,
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
        let of_identities = |rate| Buckets::new(rate, MAX_PARTIES);
        let rates = config.rates.clone();
        Self {
            did: signer.kid().did().clone(),
            signer,
            rng,
            verifier,
            engine: Engine::new(config.engine.clone()),
            connections: BTreeMap::new(),
            devices: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            documents: Documents::default(),
            known: BTreeMap::new(),
            forget: BTreeSet::new(),
            asked: BTreeMap::new(),
            envelopes: of_identities(rates.envelopes),
            invites: of_identities(rates.invites),
            infos: of_identities(rates.infos),
            introductions: of_identities(rates.introductions),
            domain_introductions: of_identities(rates.domain_introductions),
            introductions_received: of_identities(rates.introductions_received),
            strangers: Buckets::new(rates.strangers, MAX_PARTIES),
            fetches: Buckets::new(rates.fetches, MAX_PARTIES),
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
        let Memory { held, devices, seen } = memory;
        let (held_ids, live_ids): (Vec<_>, Vec<_>) = seen.into_iter().partition(|recorded| recorded.is_held);
        let ids = |recorded: Vec<Recorded>| recorded.into_iter().map(|recorded| recorded.id);
        self.verifier.seen_mut().restore(ids(held_ids), now.wall.secs());
        self.verifier.seen_mut().restore_live(ids(live_ids), now.wall.secs());
        self.engine.restore(now, devices.into_values(), held.into_values());
    }

    /// Keeps the relay's own document, or one that the operator vouches for; it is never fetched.
    pub fn know(&mut self, document: Document) {
        self.documents.insert(document);
    }

    /// Takes one input, after whatever became due before it, and appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        self.expire(now, out);
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
            Input::Stored { count } => self.stored(count, out),
            Input::Disk { writable } => {
                self.writable = writable;
                self.engine.set_disk(writable);
                let conns: Vec<Conn> = self.connections.keys().copied().collect();
                for conn in conns {
                    self.look_after(conn);
                }
            }
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
        [self.engine.wake(), deadline, forget, asked, look].into_iter().flatten().min()
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
            from,
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
            self.engine.handle(now, engine::Input::Unbind { device: device.clone() }, &mut self.routed);
            self.carry_out(now, None, out);
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

    // Frames

    fn received(&mut self, now: Now, conn: Conn, frame: &str, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if matches!(connection.state, State::Closing) {
            return;
        }
        if !connection.parked.is_empty() {
            self.park(now, conn, Parked::Frame(frame.into()), out); // order is kept (RLY-3)
            return;
        }
        self.judge(now, conn, frame, out);
    }

    /// Verifies a frame and acts on it, or parks it for want of a document. False if it was parked.
    fn judge(&mut self, now: Now, conn: Conn, frame: &str, out: &mut Vec<Output>) -> bool {
        let Some(connection) = self.connections.get(&conn) else { return true };
        let is_bound = matches!(connection.state, State::Bound { .. });
        if !is_bound && self.strangers.take(&connection.from, now.tick).is_err() {
            self.close(now, conn, Close::Abuse, out);
            return true;
        }
        let known = envelope::Connection { hello_verified: Some(is_bound), ..Default::default() };
        match self.verifier.verify(frame, now, &self.documents, known) {
            Ok(verified) => self.accepted(now, conn, verified, out),
            Err(verdict) => {
                let may_lack_key = matches!(
                    verdict.code,
                    Code::KidUnresolvable | Code::DelegationInvalid | Code::SignerMismatch | Code::SignatureInvalid
                );
                if may_lack_key && self.ask(now, conn, frame, out) {
                    self.park(now, conn, Parked::Frame(frame.into()), out);
                    return false;
                }
                self.rejected(now, conn, frame, &verdict, out);
            }
        }
        true
    }

    fn accepted(&mut self, now: Now, conn: Conn, verified: Verified<wire::Message>, out: &mut Vec<Output>) {
        if let wire::Message::Hello(hello) = verified.message() {
            self.greeted(now, conn, &verified, hello, out);
        } else if let Some(Connection { state: State::Bound { device, identity }, .. }) = self.connections.get(&conn) {
            let (device, identity) = (device.clone(), identity.clone());
            self.route(now, conn, &device, &identity, &verified, out);
            if let Some(owed) = self.owed.get_mut(&device)
                && owed.ids.len() < MAX_WAITING_IDS
            {
                let before = self.engine.number();
                owed.ids.extend(verified.recorded().map(|recorded| (before, recorded.clone())));
                return;
            }
        }
        if let Some(recorded) = verified.recorded() {
            self.remember(recorded.clone(), out);
        }
    }

    fn route(
        &mut self,
        now: Now,
        conn: Conn,
        device: &Did,
        identity: &Did,
        verified: &Verified<wire::Message>,
        out: &mut Vec<Output>,
    ) {
        let message = Message::of(verified);
        if message.to.as_ref() == Some(&self.did) && message.body == Body::Other(Kind::Error) {
            return; // SES-8: an error is never answered
        }
        if let Err((reason, wait)) = self.spend(now, identity, &message) {
            return self.refuse(now, conn, &message, reason, Some(wait), out);
        }
        self.engine.set_disk(self.has_disk());
        self.engine.handle(now, engine::Input::Received(message), &mut self.routed);
        self.carry_out(now, Some(device), out);
    }

    /// RLY-61, RLY-70, RLY-71: whether the sender may, whoever the recipient is.
    fn spend(&mut self, now: Now, identity: &Did, message: &Message) -> Result<(), (Reason, Duration)> {
        self.envelopes.take(identity, now.tick).map_err(|wait| (Reason::TRANSPORT_RATE_LIMITED, wait))?;
        if message.body == Body::Introduction && !self.has_disk() {
            // CUS-21, RLY-60: whether it would have had to wait does not show.
            return Err((Reason::POLICY_RATE_LIMITED, DISK_RETRY));
        }
        let by_policy = |wait| (Reason::POLICY_RATE_LIMITED, wait);
        match message.body {
            Body::Invite => self.invites.take(identity, now.tick).map_err(by_policy),
            Body::Other(Kind::Info) => self.infos.take(identity, now.tick).map_err(by_policy),
            Body::Introduction => {
                let sent =
                    if identity.method() == "web" { &mut self.domain_introductions } else { &mut self.introductions };
                sent.take(identity, now.tick).map_err(by_policy)?;
                match &message.to {
                    Some(to) => self.introductions_received.take(to, now.tick).map_err(by_policy),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn greeted(
        &mut self,
        now: Now,
        conn: Conn,
        verified: &Verified<wire::Message>,
        hello: &message::Hello,
        out: &mut Vec<Output>,
    ) {
        let (device, identity) = (hello.common.from.clone(), verified.identity().clone());
        // A relay's form of hello has no business here, and a hello is for whom it says (HEL-12).
        if hello.in_reply_to.is_some() || !self.is_for_us(conn, verified.audience()) {
            out.push(Output::Event(Event::Refused(conn, Reason::TRANSPORT_HELLO_REJECTED)));
            let refused = Refusal {
                to: device,
                reason: Reason::TRANSPORT_HELLO_REJECTED,
                session: None,
                in_reply_to: Some(hello.common.id),
                retry_after: None,
            };
            return self.send_refusal(now, conn, refused, out);
        }
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let earlier = std::mem::replace(
            &mut connection.state,
            State::Bound { device: device.clone(), identity: identity.clone() },
        );
        if let State::Bound { device: before, .. } = earlier {
            // WS-8: the connection spoke for another device so far.
            if before != device {
                self.unbind(now, conn, &before, out);
                self.take_back(now, conn, out);
            }
            // Nobody needs to say hello often; each one is work.
            self.count_refusal(now, conn, out);
        }
        // WS-7, WS-9: the newer connection owns the binding before the older one is told to go.
        if let Some(older) = self.devices.insert(device.clone(), conn)
            && older != conn
        {
            self.close(now, older, Close::Replaced, out);
        }
        // DEL-13: the binding lasts as long as what proves it.
        let until = verified.proofs().iter().filter(|proof| proof.identity == identity).map(|proof| proof.until).max();
        let deadline = until.filter(|_| identity != device).map(|until| {
            now.tick + Duration::from_millis(until.saturating_mul(1000).saturating_sub(now.wall.millis()))
        });
        self.set_deadline(conn, deadline);

        let reply = self.hello(now, hello.common.id, &identity);
        self.transmit(conn, None, reply, out); // HEL-4, before anything that waited
        out.push(Output::Event(Event::Bound(conn)));
        self.engine.handle(now, engine::Input::Bind { device, identity }, &mut self.routed);
        self.carry_out(now, None, out);
    }

    fn is_for_us(&self, conn: Conn, audience: Option<&str>) -> bool {
        let Some(audience) = audience else { return !self.config.requires_audience };
        let here = self.connections.get(&conn).and_then(|connection| connection.at.as_deref());
        audience == self.did.as_str()
            || here == Some(audience)
            || self.config.addresses.iter().any(|address| address == audience)
    }

    /// A frame that the pipeline refused.
    fn rejected(&mut self, now: Now, conn: Conn, frame: &str, verdict: &Verdict, out: &mut Vec<Output>) {
        out.push(Output::Event(Event::Rejected(conn, verdict.code)));
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let refused = match (&verdict.origin, verdict.answer()) {
            (Some(origin), Some(reason)) => {
                // Stage 7 is what shows that the signer may say `from`.
                let after_stage_7 = !matches!(
                    verdict.code,
                    Code::SignerMismatch
                        | Code::DelegationInvalid
                        | Code::DelegationCapability
                        | Code::DelegationExpired
                );
                let to = if after_stage_7 { &origin.from } else { &origin.signer };
                let session = origin.session.filter(|_| !reason.as_str().starts_with("transport."));
                Some(Refusal { to: to.clone(), reason, session, in_reply_to: Some(origin.id), retry_after: None })
            }
            (Some(_), None) => None,
            (None, _) => {
                if connection.faults.take(FAULTS, now.tick).is_err() {
                    return self.close(now, conn, Close::Abuse, out);
                }
                claimed_hello(frame).map(|(to, id)| Refusal {
                    to,
                    reason: Reason::TRANSPORT_HELLO_REJECTED, // PIPE-3
                    session: None,
                    in_reply_to: Some(id),
                    retry_after: None,
                })
            }
        };
        match refused {
            Some(refused) => self.send_refusal(now, conn, refused, out),
            None => self.count_refusal(now, conn, out),
        }
    }

    // Documents

    /// Asks for the documents that this frame lacks. False if none is worth asking for.
    fn ask(&mut self, now: Now, conn: Conn, frame: &str, out: &mut Vec<Output>) -> bool {
        let unknown: Vec<Did> = needs(frame)
            .into_iter()
            .filter(|did| !self.known.contains_key(did) && self.documents.get(did).is_none())
            .collect();
        let Some(connection) = self.connections.get_mut(&conn) else { return false };
        for did in unknown {
            if !self.asked.contains_key(&did) {
                if self.asked.len() >= MAX_ASKED || self.fetches.take(&connection.from, now.tick).is_err() {
                    continue;
                }
                out.push(Output::Ask(did.clone()));
            }
            let until = now.tick + DOCUMENT_DEADLINE;
            let asked = self.asked.entry(did.clone()).or_insert(Asked { until, waiting: Vec::new() });
            asked.waiting.push(conn);
            connection.lacking.insert(did);
        }
        !connection.lacking.is_empty()
    }

    fn park(&mut self, now: Now, conn: Conn, parked: Parked, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let size = match &parked {
            Parked::Frame(frame) => frame.len(),
            Parked::Asked(mark) => mark.len(),
        };
        if connection.parked.len() >= MAX_PARKED || connection.parked_bytes + size > MAX_PARKED_BYTES {
            return self.close(now, conn, Close::Abuse, out);
        }
        connection.parked_bytes += size;
        connection.parked.push_back(parked);
    }

    fn answered(&mut self, now: Now, did: &Did, document: Option<Document>, out: &mut Vec<Output>) {
        let Some(asked) = self.asked.remove(did) else { return }; // late, or twice
        let kept = if document.is_some() { DOCUMENT_KEPT } else { MISSING_KEPT };
        if self.known.len() >= MAX_DOCUMENTS
            && let Some((due, oldest)) = self.forget.pop_first()
        {
            debug_assert!(due >= now.tick, "what is due was forgotten at the start of this call");
            self.known.remove(&oldest);
            self.documents.remove(&oldest);
        }
        let until = now.tick + kept;
        self.known.insert(did.clone(), until);
        self.forget.insert((until, did.clone()));
        if let Some(document) = document {
            self.documents.insert(document);
        }
        for conn in asked.waiting {
            let Some(connection) = self.connections.get_mut(&conn) else { continue };
            connection.lacking.remove(did);
            if connection.lacking.is_empty() {
                self.unpark(now, conn, out);
            }
        }
    }

    fn unpark(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let mut waiting = std::mem::take(&mut connection.parked);
        connection.parked_bytes = 0;
        while let Some(parked) = waiting.pop_front() {
            match parked {
                Parked::Frame(frame) => {
                    if !self.judge(now, conn, &frame, out) {
                        // It waits for another document, and the rest wait behind it.
                        for parked in waiting {
                            self.park(now, conn, parked, out);
                        }
                        return;
                    }
                }
                Parked::Asked(mark) => self.asked_by(now, conn, mark, out),
            }
            if !self.is_open(conn) {
                return;
            }
        }
    }

    // What the engine wants

    /// Carries out what the engine decided; `from` is the device that sent the message, for answers to it.
    fn carry_out(&mut self, now: Now, from: Option<&Did>, out: &mut Vec<Output>) {
        let conn = from.and_then(|from| self.devices.get(from)).copied();
        self.write_down(from, out);
        // What cannot be handed over goes back in, and the engine then queues it: it cannot come back a second time.
        for _ in 0..2 {
            if self.routed.is_empty() {
                return;
            }
            let mut back = Vec::new();
            for output in std::mem::take(&mut self.routed) {
                match output {
                    engine::Output::Deliver { leg, message, place, .. } => {
                        match (self.devices.get(&leg).copied(), place) {
                            (Some(to), place) => self.deliver(now, to, leg, message, place, from, out),
                            (None, Some(Place { address, number, deadline })) => {
                                let (deadline, on_disk) = (Some(deadline), true);
                                back.push(engine::Input::Returned { number, address, deadline, message, on_disk });
                            }
                            (None, None) => back.push(engine::Input::Undelivered { to: leg, message }),
                        }
                    }
                    engine::Output::Forward { to: device, message, .. } => match self.devices.get(&device).copied() {
                        Some(to) => self.deliver(now, to, device, message, None, from, out),
                        None => back.push(engine::Input::Undelivered { to: device, message }),
                    },
                    engine::Output::Refuse { to, session, reason, .. } => {
                        let message = Arc::new(self.reject(now, to.clone(), session, reason));
                        match self.devices.get(&to).copied() {
                            Some(at) => self.deliver(now, at, to, message, None, None, out),
                            None => back.push(engine::Input::Undelivered { to, message }),
                        }
                    }
                    engine::Output::Error { to, reason, in_reply_to } => {
                        let conn = self.devices.get(&to).copied().or(conn);
                        out.extend(conn.map(|conn| Output::Event(Event::Refused(conn, reason.clone()))));
                        let refused =
                            Refusal { to, reason, session: None, in_reply_to: Some(in_reply_to), retry_after: None };
                        if let Some(conn) = conn {
                            self.send_refusal(now, conn, refused, out);
                        }
                    }
                    engine::Output::Queued { message, .. } => {
                        out.push(Output::Event(Event::Queued(message.body.kind())));
                    }
                    engine::Output::Dequeued { message, .. } => {
                        out.push(Output::Event(Event::Dequeued(message.body.kind())));
                    }
                    engine::Output::Drop { message, why } => {
                        out.push(Output::Event(Event::Dropped(why)));
                        if !why.is_silent()
                            && let Some(conn) = conn
                        {
                            self.refuse(now, conn, &message, Reason::TRANSPORT_ROUTING_REFUSED, None, out); // RLY-4
                        }
                    }
                    engine::Output::NotBound { device } => {
                        if let Some(conn) = self.devices.get(&device).copied() {
                            self.close(now, conn, Close::Full, out);
                        }
                    }
                }
            }
            for input in back {
                self.engine.handle(now, input, &mut self.routed);
            }
            self.write_down(from, out);
        }
    }

    // Custody

    /// Hands a message to a device and keeps it until the device has acknowledged it.
    #[expect(clippy::too_many_arguments, reason = "what is known of a delivery comes from two sides")]
    fn deliver(
        &mut self,
        now: Now,
        to: Conn,
        device: Did,
        message: Arc<Message>,
        place: Option<Place>,
        origin: Option<&Did>,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Event(Event::Delivered(message.body.kind())));
        let delivery = match place {
            // It has waited: it is on disk, and who sent it was told so long ago.
            Some(Place { address, number, deadline }) => {
                Delivery { number, address, deadline: Some(deadline), message, at: now.tick, kept: true, origin: None }
            }
            None => {
                let (number, origin) = (self.engine.number(), origin.cloned());
                if let Some(origin) = &origin {
                    self.owed.entry(origin.clone()).or_default().open.insert(number, Some(to));
                }
                Delivery { number, address: device, deadline: None, message, at: now.tick, kept: false, origin }
            }
        };
        let Some(connection) = self.connections.get_mut(&to) else { return };
        self.unacknowledged += 1;
        if connection.custody.push(delivery) {
            self.hand_on(now, to, out);
        } else {
            self.close(now, to, Close::Unread, out);
        }
    }

    /// Sends what the connection's window allows, and asks after it when it is time to.
    fn hand_on(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        while let Some(message) = connection.custody.next(now.tick) {
            out.push(Output::Transmit { conn, session: session_of(&message), frame: message.text.clone() });
        }
        if let Some(number) = connection.custody.question(now.tick) {
            out.push(Output::Question { conn, number });
        }
        self.look_after(conn);
    }

    fn look_after(&mut self, conn: Conn) {
        let writable = self.has_disk();
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let due = connection.custody.due(writable);
        if due != connection.look {
            if let Some(earlier) = std::mem::replace(&mut connection.look, due) {
                self.looks.remove(&(earlier, conn));
            }
            if let Some(due) = due {
                self.looks.insert((due, conn));
            }
        }
    }

    /// CUS-13: what a device does not acknowledge soon goes to disk, while it is on its way.
    fn keep_overdue(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        if !self.has_disk() {
            return;
        }
        loop {
            let Some(connection) = self.connections.get_mut(&conn) else { return };
            let Some(delivery) = connection.custody.overdue(now.tick) else { return };
            let deadline = self.engine.deadline(&delivery.message);
            let place = Place { address: delivery.address.clone(), number: delivery.number, deadline };
            let (origin, text) = (delivery.origin.clone(), delivery.message.text.clone());
            self.write_for(origin.as_ref(), Write::Hold(Kept { place, text }), out);
        }
    }

    /// CUS-14: what a connection that is gone did not acknowledge waits for its device again.
    fn take_back(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let returned = connection.custody.take();
        self.unacknowledged -= returned.len();
        self.look_after(conn);
        self.engine.set_disk(self.has_disk());
        for Delivery { number, address, deadline, message, kept, origin, .. } in returned {
            let input = engine::Input::Returned { number, address, deadline, message, on_disk: kept };
            self.engine.handle(now, input, &mut self.routed);
            self.carry_out(now, origin.as_ref(), out);
            if let Some(origin) = origin
                && self.owed.get(&origin).is_some_and(|owed| matches!(owed.open.get(&number), Some(Some(_))))
            {
                self.safe(&origin, number, out); // it does not wait for the disk, so its sender was told of its refusal
            }
        }
    }

    fn is_open(&self, conn: Conn) -> bool {
        self.connections.get(&conn).is_some_and(|connection| !matches!(connection.state, State::Closing))
    }

    /// A device says what it has.
    fn reached(&mut self, now: Now, conn: Conn, number: u64, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let State::Bound { device, .. } = &connection.state else { return };
        let device = device.clone();
        let theirs = connection.custody.acknowledge(number);
        self.unacknowledged -= theirs.len();
        for delivery in theirs {
            if delivery.kept {
                self.write_for(Some(&device), Write::Release(delivery.number), out); // CUS-12
            }
            if let Some(origin) = &delivery.origin {
                self.safe(origin, delivery.number, out);
            }
        }
        self.hand_on(now, conn, out);
    }

    /// A connection asks whether what it sent is safe.
    fn asked_by(&mut self, now: Now, conn: Conn, mark: Vec<u8>, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if matches!(connection.state, State::Closing) || mark.len() > MAX_MARK {
            return;
        }
        if !connection.parked.is_empty() {
            return self.park(now, conn, Parked::Asked(mark), out); // what came before it has not been judged yet
        }
        let State::Bound { device, .. } = &connection.state else {
            return out.push(Output::Vouch { conn, mark }); // it has sent nothing that was routed
        };
        let Some(owed) = self.owed.get_mut(device) else { return out.push(Output::Vouch { conn, mark }) };
        if owed.questions.len() >= MAX_QUESTIONS {
            owed.questions.pop_back();
        }
        owed.questions.push_back((self.engine.number(), conn, mark));
        let recipients: BTreeSet<Conn> = owed.open.values().copied().flatten().collect();
        for recipient in recipients {
            if let Some(connection) = self.connections.get_mut(&recipient) {
                connection.custody.hurry();
                self.hand_on(now, recipient, out);
            }
        }
    }

    fn stored(&mut self, count: u64, out: &mut Vec<Output>) {
        self.stored = self.stored.max(count);
        while self.unstored.front().is_some_and(|(write, ..)| *write <= count) {
            if let Some((_, origin, number)) = self.unstored.pop_front() {
                self.safe(&origin, number, out);
            }
        }
    }

    /// The envelope with this number has left our hands, or is on disk, or was refused; then the error is out (CUS-4).
    fn safe(&mut self, origin: &Did, number: u64, out: &mut Vec<Output>) {
        let Some(owed) = self.owed.get_mut(origin) else { return };
        if owed.open.remove(&number).is_none() {
            return;
        }
        let first = owed.open.first_key_value().map(|(number, _)| *number);
        let is_safe = |before: u64| first.is_none_or(|first| first >= before);
        let mut ids = Vec::new();
        while owed.ids.front().is_some_and(|(before, _)| is_safe(*before)) {
            ids.extend(owed.ids.pop_front().map(|(_, id)| id));
        }
        // CUS-1
        while owed.questions.front().is_some_and(|(before, ..)| is_safe(*before)) {
            if let Some((_, conn, mark)) = owed.questions.pop_front()
                && self.connections.contains_key(&conn)
            {
                out.push(Output::Vouch { conn, mark });
            }
        }
        if first.is_none() {
            self.owed.remove(origin);
        }
        for id in ids {
            self.remember(id, out);
        }
    }

    /// RPL-3, RPL-6. A disk that does not keep up is not given more of what can be done without: whom it is for checks it, too.
    fn remember(&mut self, id: Recorded, out: &mut Vec<Output>) {
        if self.written - self.stored < MAX_UNSTORED {
            self.write(Write::Seen(id), out);
        }
    }

    /// Passes on what the engine wants on disk; what is new there came from `origin`.
    fn write_down(&mut self, origin: Option<&Did>, out: &mut Vec<Output>) {
        let writes: Vec<Write> = self.engine.writes().collect();
        for write in writes {
            self.write_for(origin, write, out);
        }
    }

    /// Writes, and remembers who waits for it.
    fn write_for(&mut self, origin: Option<&Did>, write: Write, out: &mut Vec<Output>) {
        let number = match &write {
            Write::Hold(Kept { place, .. }) => Some(place.number),
            Write::Release(number) => Some(*number),
            Write::Device(_) | Write::NoDevice(_) | Write::Seen(_) => None,
        };
        if let (Some(number), Some(origin)) = (number, origin) {
            self.owed.entry(origin.clone()).or_default().open.insert(number, None);
            self.unstored.push_back((self.written + 1, origin.clone(), number));
        }
        self.write(write, out);
    }

    fn write(&mut self, write: Write, out: &mut Vec<Output>) {
        self.written += 1;
        out.push(Output::Write(write));
    }

    fn has_disk(&self) -> bool {
        self.writable && self.written - self.stored < MAX_UNSTORED
    }

    fn transmit(&self, conn: Conn, session: Option<Ulid>, frame: Arc<str>, out: &mut Vec<Output>) {
        out.push(Output::Transmit { conn, session, frame });
    }

    // What the relay says itself

    /// Answers a verified message that is not routed (RLY-4).
    fn refuse(
        &mut self,
        now: Now,
        conn: Conn,
        message: &Message,
        reason: Reason,
        wait: Option<Duration>,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Event(Event::Refused(conn, reason.clone())));
        let refused = Refusal {
            to: message.from.clone(),
            reason,
            session: None,
            in_reply_to: Some(message.id),
            // RSN-3: 0 would say that retrying is no use.
            retry_after: wait.map(|wait| wait.as_secs() + 1),
        };
        self.send_refusal(now, conn, refused, out);
    }

    fn send_refusal(&mut self, now: Now, conn: Conn, refused: Refusal, out: &mut Vec<Output>) {
        let Refusal { to, reason, session, in_reply_to, retry_after } = refused;
        let common = self.common(now, &[]);
        let error = message::Error { common, to, reason, detail: None, retry_after, session, in_reply_to };
        let frame = Arc::from(self.signer.sign(&error.into()).text());
        self.transmit(conn, session, frame, out);
        self.count_refusal(now, conn, out);
    }

    fn count_refusal(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if connection.refusals.take(REFUSALS, now.tick).is_err() {
            self.close(now, conn, Close::Abuse, out);
        }
    }

    /// HEL-4. TURN-1: whatever it grants `identity` goes to this one connection, which TLS hides from others.
    fn hello(&mut self, now: Now, in_reply_to: Ulid, identity: &Did) -> Arc<str> {
        let rates = &self.config.rates;
        let stun_port = self.config.stun_port.map(|port| ("stun_port".to_owned(), port.into()));
        let turn = self.config.turn.as_ref().map(|turn| {
            let mut salt = [0; turn::SALT];
            self.rng.fill_bytes(&mut salt);
            let expires_at = now.wall.secs() + turn.lifetime.as_secs();
            turn.issuer.issue(identity, expires_at, salt, turn.ports).member()
        });
        let capabilities = Capabilities {
            max_envelope_bytes: 65_536, // CAP-1
            store_and_forward: Some(true),
            offline_retention_s: Some(self.config.engine.retention.as_secs()),
            rate_limit: Some(RateLimit {
                envelopes_per_minute: Some(rates.envelopes.each_minute()),
                invites_per_minute: Some(rates.invites.each_minute()),
                rest: Map::new(),
            }),
            push_wake: None,
            rest: stun_port.into_iter().chain(turn).collect(),
        };
        let hello = message::Hello {
            common: self.common(now, &[]),
            on_behalf_of: None,
            bindings: Some(vec![BindingId::WS, BindingId::QUIC]),
            in_reply_to: Some(in_reply_to),
            capabilities: Some(capabilities),
        };
        Arc::from(self.signer.sign(&hello.into()).text())
    }

    /// RLY-44.
    fn reject(&mut self, now: Now, to: Did, session: Ulid, reason: Reason) -> Message {
        let common = self.common(now, &[ProfileId::INTERACTIVE_MEDIA]);
        let (id, from, expires_at) = (common.id, common.from.clone(), Some(common.expires_at));
        let body = Body::Reject { reason: reason.clone() };
        let reject = message::Reject {
            common,
            to: to.clone(),
            session,
            reason,
            detail: None,
            retry_after: None,
            in_reply_to: None,
        };
        let text = Arc::from(self.signer.sign(&reject.into()).text());
        Message { id, from, to: Some(to), session: Some(session), in_reply_to: None, expires_at, body, text }
    }

    fn common(&mut self, now: Now, profiles: &[ProfileId]) -> Common {
        let issued_at = now.wall.secs();
        Common {
            dsip: VersionBlock::new(profiles),
            id: Ulid::generate(now.wall, &mut self.rng),
            from: self.did.clone(),
            issued_at,
            expires_at: issued_at + VALIDITY,
        }
    }
}

struct Refusal {
    to: Did,
    reason: Reason,
    session: Option<Ulid>,
    in_reply_to: Option<Ulid>,
    retry_after: Option<u64>,
}

fn session_of(message: &Message) -> Option<Ulid> {
    if message.body == Body::Invite { Some(message.id) } else { message.session }
}

/// Who claims to have sent a `hello`, and its id: nobody verified it, but PIPE-3 wants it answered.
fn claimed_hello(frame: &str) -> Option<(Did, Ulid)> {
    let payload = Envelope::parse(frame).ok()?.payload_bytes();
    let parsed = json::parse(str::from_utf8(&payload).ok()?).ok()?;
    let string = |name| parsed.root.get(name)?.as_str();
    if string("type")? != Kind::Hello.as_str() {
        return None;
    }
    Some((string("from")?.parse().ok()?, string("id")?.parse().ok()?))
}
