//! The relay's state machine: bindings, attempts, queues (03 §3.2 to §3.6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, Leg, LegState, Outcome, Phase, QUEUED_LEG, RINGING_LEG, Refusal, SILENT_LEG};
use super::inbox::{Full, Inbox, Ledger, Place};
use super::kept::{Kept, KeptDevice, Write};
use super::message::{Body, Message};
use crate::time::{Now, Tick};
use crate::wire::token::Status;
use crate::wire::{Did, Reason, Ulid};

/// `offline_retention_s` where the operator sets nothing else (03 §3.2).
pub const RETENTION: Duration = Duration::from_secs(86_400);

/// How long a decided attempt without live legs is remembered, so that what crossed its end is told apart from plain
/// traffic: the replay window (RPL-1), after which nothing signed before the end is valid any more.
pub const DECIDED_KEPT: Duration = Duration::from_secs(300);

/// Decided attempts remembered at once. Under more load than that, the oldest is forgotten early: its stragglers are then
/// routed by `to`, and the endpoints' own rules for late messages apply.
pub const MAX_DECIDED: usize = 65_536;

/// How long after a start a sender may come with what it said before, and has not been vouched for (CUS-5).
const SENT_AGAIN: Duration = Duration::from_secs(600);

/// Attempts without an outcome that one sender may have at once; it bounds what a flood of invites that nobody takes can
/// cost.
pub const MAX_OPEN_PER_SENDER: usize = 4_096;

/// Attempts that are not over, at once, for everybody together.
pub const MAX_LIVE: usize = 262_144;

/// Devices bound for one identity at once, and so the legs of one attempt at its start.
pub const MAX_DEVICES: usize = 64;

/// Legs of one attempt, those that bound in its course included.
pub const MAX_LEGS: usize = 2 * MAX_DEVICES;

/// Devices remembered at once, unless the operator sets another number. Room for a new one is made by forgetting the one
/// that has been away longest.
pub const MAX_KNOWN: usize = 262_144;

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long an envelope waits for its recipient at most (`offline_retention_s`, SNF-3).
    pub retention: Duration,
    /// How long a device that went away stays *known*; `None` for ever (DIS-15). No shorter than `retention`.
    pub known_for: Option<Duration>,
    /// How many devices are remembered at once.
    pub max_known: usize,
    /// Whether silent legs expire by the relay's own clock and decided attempts are forgotten. A trace expires its legs
    /// by an event of its own, and looks at attempts long after they ended.
    pub limits_legs: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { retention: RETENTION, known_for: Some(7 * RETENTION), max_known: MAX_KNOWN, limits_legs: true }
    }
}

/// What happens to a relay.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A verified message came in.
    Received(Message),
    /// A device's verified `hello` bound a connection (HEL-7). Its delegation for the identity has been verified.
    Bind {
        /// The device.
        device: Did,
        /// The identity it acts for; itself, if none.
        identity: Did,
    },
    /// The connection that held the device's binding is gone (WS-9: the host tells no older one's end).
    Unbind {
        /// The device.
        device: Did,
    },
    /// A message could not be handed to the device it was for, because it has no connection: it waits for the next one, if
    /// the device is known (SNF-5).
    Undelivered {
        /// The device.
        to: Did,
        /// The message.
        message: Arc<Message>,
    },
    /// A message was handed over, but its device lost the connection before it acknowledged it (CUS-14): it waits where it
    /// did before, or where it would have waited.
    Returned {
        /// Its arrival number, from `Engine::number` or its [`Place`].
        number: u64,
        /// Under which address it waits.
        address: Did,
        /// Until when, if it has waited before.
        deadline: Option<u64>,
        /// The message.
        message: Arc<Message>,
        /// Whether it is on disk, or on its way there.
        on_disk: bool,
    },
}

/// What a relay is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send the message's text to a device. If it has no connection, hand it back as [`Input::Undelivered`]: only the
    /// initiator's cancel ([`Path::Withdrawal`]) can go to a leg that is no longer bound.
    Deliver {
        /// The device.
        leg: Did,
        /// What to send.
        message: Arc<Message>,
        /// Which rule sends it.
        path: Path,
        /// Where it waited, and on disk still does, until the device has acknowledged it.
        place: Option<Place>,
    },
    /// Send a leg's text to the initiator. If it has no connection, hand it back as [`Input::Undelivered`].
    Forward {
        /// The initiator's device.
        to: Did,
        /// The leg it stands for.
        leg: Did,
        /// What to send.
        message: Arc<Message>,
    },
    /// Sign a `reject` for the whole attempt and send it to the initiator: no leg signed one, or none that is still valid
    /// (RLY-44).
    Refuse {
        /// The initiator's device.
        to: Did,
        /// The leg it stands for.
        leg: Did,
        /// The attempt's session.
        session: Ulid,
        /// Why.
        reason: Reason,
    },
    /// Sign an `error` and send it to the sender (RLY-4, RLY-5).
    Error {
        /// The sender.
        to: Did,
        /// Why.
        reason: Reason,
        /// The message at fault.
        in_reply_to: Ulid,
    },
    /// A message now waits for its recipient.
    Queued {
        /// The address it waits under.
        to: Did,
        /// The message.
        message: Arc<Message>,
    },
    /// A message waits no more, and was not delivered.
    Dequeued {
        /// The address it waited under.
        to: Did,
        /// The message.
        message: Arc<Message>,
        /// Why.
        why: Dequeue,
    },
    /// A message goes no further. The host answers its sender `transport.routing-refused` (RLY-4), unless
    /// [`Drop::is_silent`].
    Drop {
        /// The message.
        message: Arc<Message>,
        /// Why.
        why: Drop,
    },
    /// A device was not bound: the identity has [`MAX_DEVICES`] bound already, or the relay is full.
    NotBound {
        /// The device.
        device: Did,
    },
}

/// By which rule a message is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// An invite or introduction, to those bound when it came (RLY-10, RLY-12).
    Fork,
    /// The initiator's cancel, to a live leg (RLY-18).
    Withdrawal,
    /// By `to` alone (RLY-30).
    Plain,
    /// Out of the queue, to a device that bound (RLY-50).
    Flush,
    /// An invite, to a device that bound in the course of the attempt (RLY-46).
    LateLeg,
}

/// Why a queued message is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dequeue {
    /// Its deadline passed (SNF-2).
    Expired,
    /// It is an invite, and its initiator cancelled (RLY-15).
    Cancelled,
}

/// Why a message goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drop {
    /// It claims to come from a leg of an attempt, but its sender is none (RLY-19).
    UnknownLeg,
    /// Its leg has ended (RLY-20).
    LegTerminated,
    /// A leg cannot cancel an attempt (RLY-24).
    NotAttemptScoped,
    /// An introduction, and the inbox has no room (SNF-8).
    InboxFull,
}

impl Drop {
    /// Whether the sender must not learn of it: an introduction is never answered (RLY-60).
    #[must_use]
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::InboxFull)
    }

    /// What it is called where it is counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownLeg => "unknown-leg",
            Self::LegTerminated => "leg-terminated",
            Self::NotAttemptScoped => "not-attempt-scoped",
            Self::InboxFull => "inbox-full",
        }
    }
}

/// How much a relay has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Devices bound now.
    pub bound: usize,
    /// Devices known, bound or not.
    pub known: usize,
    /// Attempts that are not over.
    pub live: usize,
    /// Attempts that are over and still remembered.
    pub decided: usize,
    /// Envelopes held: queued, or the invite of an open attempt.
    pub held: usize,
    /// Their bytes.
    pub held_bytes: usize,
}

/// The relay's rules. See [`relay`](super) for its states.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    now: Now,
    devices: BTreeMap<Did, Device>,
    identities: BTreeMap<Did, Identity>,
    /// Devices that are not bound, by the Unix second they went away; of those that are expected for longer, by one so much later.
    away: BTreeSet<(u64, Did)>,
    attempts: BTreeMap<Ulid, Attempt>,
    /// Attempts without an outcome, per identity called, in creation order (RLY-46).
    open: BTreeMap<Did, BTreeSet<(u64, Ulid)>>,
    /// How many attempts without an outcome each sender has.
    open_by: BTreeMap<Did, usize>,
    /// Attempts that are over, in the order they ended, with the moment each is forgotten.
    decided: VecDeque<(Tick, Ulid)>,
    /// When to look after which attempt's legs.
    schedule: BTreeSet<(Tick, Ulid)>,
    inbox: Inbox,
    ledger: Ledger,
    created: u64,
    /// Whether what is to wait can be put on disk now.
    has_disk: bool,
    /// Envelopes that were there at the start, and for whom: their senders may send them again (CUS-5).
    restored: BTreeSet<(Ulid, Did)>,
    /// When that is no longer to be expected.
    forget_restored: Option<Tick>,
}

/// A device that has bound here.
#[derive(Debug)]
struct Device {
    identity: Did,
    /// The Unix second it went away; `None` while it is bound.
    away_since: Option<u64>,
    /// Until when it stays known at least, in Unix seconds (WAK-9).
    expected_until: u64,
}

impl Device {
    fn kept(&self, device: &Did) -> KeptDevice {
        KeptDevice { device: device.clone(), identity: self.identity.clone(), away_since: self.away_since }
    }
}

/// An identity for which a device has bound here.
#[derive(Debug, Default)]
struct Identity {
    bound: BTreeSet<Did>,
    /// How many known devices it has, bound or not.
    devices: usize,
}

impl Engine {
    /// A relay that knows nobody.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Now::default(),
            devices: BTreeMap::new(),
            identities: BTreeMap::new(),
            away: BTreeSet::new(),
            attempts: BTreeMap::new(),
            open: BTreeMap::new(),
            open_by: BTreeMap::new(),
            decided: VecDeque::new(),
            schedule: BTreeSet::new(),
            inbox: Inbox::default(),
            ledger: Ledger::default(),
            created: 0,
            has_disk: true,
            restored: BTreeSet::new(),
            forget_restored: None,
        }
    }

    /// Takes one input, after whatever became due before it, and appends what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        self.now = now;
        self.expire(out);
        match input {
            Input::Tick => {}
            Input::Received(message) => self.route(Arc::new(message), out),
            Input::Bind { device, identity } => self.bind(device, identity, out),
            Input::Unbind { device } => self.unbind(&device),
            Input::Undelivered { to, message } if self.is_known(&to) => self.hold(&to, message, out),
            Input::Undelivered { message, .. } => self.refuse(&message, Reason::TRANSPORT_UNKNOWN_RECIPIENT, out), // SNF-1
            Input::Returned { number, address, deadline, message, on_disk } => {
                if !on_disk && !self.is_known(&address) {
                    self.refuse(&message, Reason::TRANSPORT_UNKNOWN_RECIPIENT, out);
                } else if !on_disk && !self.has_disk {
                    self.refuse(&message, Reason::TRANSPORT_ROUTING_REFUSED, out); // CUS-21
                } else {
                    let deadline = deadline.unwrap_or_else(|| self.deadline(&message));
                    let place = Place { address, number, deadline };
                    self.inbox.put_back(place, message, on_disk, &mut self.ledger);
                }
            }
        }
    }

    /// Puts back what was known when the relay last stopped, at `now`. Envelopes come after the devices they wait for.
    pub(super) fn restore(
        &mut self,
        now: Now,
        devices: impl IntoIterator<Item = KeptDevice>,
        held: impl IntoIterator<Item = Kept>,
    ) {
        self.now = now;
        for KeptDevice { device, identity, away_since } in devices {
            let since = away_since.unwrap_or(now.wall.secs());
            self.away.insert((since, device.clone()));
            self.identities.entry(identity.clone()).or_default().devices += 1;
            self.devices.insert(device, Device { identity, away_since: Some(since), expected_until: 0 });
        }
        for Kept { place, text } in held {
            let known = self.is_known(&place.address);
            match Message::put_away(text) {
                Some(message) => {
                    self.restored.insert((message.id, place.address.clone()));
                    self.inbox.restore(place, message, known, &mut self.ledger);
                }
                None => self.inbox.writes.push(Write::Release(place.number)),
            }
        }
        self.forget_restored = (!self.restored.is_empty()).then(|| now.tick + SENT_AGAIN);
    }

    /// What is to be put on disk or taken off it since this was last asked, in order.
    pub(super) fn writes(&mut self) -> std::vec::Drain<'_, Write> {
        self.inbox.writes.drain(..)
    }

    /// The number of a new arrival, for a message that goes straight through.
    pub(super) fn number(&mut self) -> u64 {
        self.inbox.number()
    }

    /// When a message that arrives now ceases to wait (SNF-2, SNF-3).
    pub(super) fn deadline(&self, message: &Message) -> u64 {
        let by_retention = self.now.wall.secs().saturating_add(self.config.retention.as_secs());
        message.expires_at.map_or(by_retention, |expiry| expiry.min(by_retention))
    }

    /// Whether what is to wait can be put on disk from now on; if not, it is refused (CUS-21).
    pub(super) fn set_disk(&mut self, has_disk: bool) {
        self.has_disk = has_disk;
    }

    /// When [`Input::Tick`] has something to do.
    #[must_use]
    pub fn wake(&self) -> Option<Tick> {
        let at_second = |second: u64| {
            self.now.tick + Duration::from_millis(second.saturating_mul(1000).saturating_sub(self.now.wall.millis()))
        };
        let queued = self.inbox.next_deadline().map(at_second);
        let legs = self.schedule.first().map(|(tick, _)| *tick);
        let decided = self.decided.front().map(|(tick, _)| *tick);
        let away = self
            .config
            .known_for
            .and_then(|kept| self.away.first().map(|(since, _)| at_second(since.saturating_add(kept.as_secs()))));
        [queued, legs, decided, away, self.forget_restored].into_iter().flatten().min()
    }

    /// Whether the device is bound now.
    #[must_use]
    pub fn is_bound(&self, device: &Did) -> bool {
        self.devices.get(device).is_some_and(|device| device.away_since.is_none())
    }

    /// The identity that a device known here acts for (DEL-24).
    #[must_use]
    pub fn identity_of(&self, device: &Did) -> Option<&Did> {
        self.devices.get(device).map(|device| &device.identity)
    }

    /// How much the relay has in hand.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            bound: self.devices.len() - self.away.len(),
            known: self.devices.len(),
            live: self.attempts.len() - self.decided.len(),
            decided: self.decided.len(),
            held: self.ledger.envelopes(),
            held_bytes: self.ledger.bytes(),
        }
    }

    /// The legs of an attempt, in delivery order, and its outcome.
    pub(crate) fn attempt(&self, session: Ulid) -> Option<(impl Iterator<Item = (&Did, LegState)>, Option<Outcome>)> {
        let attempt = self.attempts.get(&session)?;
        Some((attempt.legs.iter().map(|leg| (&leg.device, leg.state)), attempt.outcome()))
    }

    /// Every address for which something waits, and how much.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&Did, usize)> {
        self.inbox.waiting()
    }

    // Routing (03 §3.3)

    fn route(&mut self, message: Arc<Message>, out: &mut Vec<Output>) {
        match message.body {
            Body::Introduction => self.route_introduction(message, out),
            Body::Invite => self.route_invite(message, out),
            _ => match message.session {
                Some(session) if self.attempts.contains_key(&session) => self.route_in_attempt(session, message, out),
                _ => self.route_without_attempt(message, out),
            },
        }
    }

    fn route_introduction(&mut self, message: Arc<Message>, out: &mut Vec<Output>) {
        // An introduction names its recipient by its field table; one that does not has nowhere to go.
        let Some(to) = message.to.clone() else { return };
        let legs = self.legs_for(&to);
        if legs.is_empty() {
            self.hold(&to, message, out); // RLY-11: known or not
            return;
        }
        self.fork(&to, legs, &message, Path::Fork, out); // RLY-10
    }

    fn route_invite(&mut self, message: Arc<Message>, out: &mut Vec<Output>) {
        let Some(to) = message.to.clone() else { return self.refuse(&message, Reason::TRANSPORT_ROUTING_REFUSED, out) };
        let legs = self.legs_for(&to);
        if legs.is_empty() {
            if self.is_known(&to) {
                self.hold(&to, message, out); // RLY-13
            } else {
                self.refuse(&message, Reason::TRANSPORT_UNKNOWN_RECIPIENT, out); // RLY-14
            }
        } else if let Some(attempt) = self.attempts.get(&message.id) {
            // The seen set (RPL-5) lets no id through twice, except after a crash; an attempt is never replaced by
            // another's invite.
            if attempt.initiator != message.from {
                self.refuse(&message, Reason::TRANSPORT_ROUTING_REFUSED, out);
            }
        } else if self.has_no_room_for(&message.from) {
            self.refuse(&message, Reason::TRANSPORT_RATE_LIMITED, out);
        } else {
            // RLY-12. An invite too many to keep is delivered all the same; devices that bind later miss it.
            let kept = self.ledger.take(&message).is_ok().then(|| message.clone());
            self.create(message.id, message.from.clone(), to.clone(), kept);
            for leg in &legs {
                self.add_leg(message.id, leg.clone());
            }
            self.fork(&to, legs, &message, Path::Fork, out);
        }
    }

    fn route_without_attempt(&mut self, message: Arc<Message>, out: &mut Vec<Output>) {
        if let (Body::Cancel { .. }, Some(to), Some(session)) = (&message.body, message.to.clone(), message.session)
            && let Some(invite) = self.inbox.invite(&to, session)
            // Only who placed the call may take it back (RSP-22): a session id alone is no say in it.
            && (invite.from == message.from || self.are_of_one_identity(&invite.from, &message.from))
        {
            // RLY-15: no leg is ever created, and the cancel goes no further.
            if let Some(invite) = self.inbox.withdraw(&to, session, &mut self.ledger) {
                out.push(Output::Dequeued { to, message: invite, why: Dequeue::Cancelled });
            }
            return;
        }
        self.route_plainly(message, out); // RLY-16
    }

    fn route_in_attempt(&mut self, session: Ulid, message: Arc<Message>, out: &mut Vec<Output>) {
        let scoped =
            matches!(message.body, Body::Progress { .. } | Body::Answer | Body::Reject { .. } | Body::Cancel { .. });
        if !scoped || message.in_reply_to.is_some() {
            return self.route_plainly(message, out); // RLY-17
        }
        let Some(attempt) = self.attempts.get_mut(&session) else { return };
        if matches!(message.body, Body::Cancel { .. }) && message.from == attempt.initiator {
            return self.withdraw(session, &message, out); // RLY-18
        }
        let initiator = attempt.initiator.clone();
        let Some(leg) = attempt.leg_mut(&message.from) else {
            out.push(Output::Drop { message, why: Drop::UnknownLeg }); // RLY-19
            return;
        };
        let live = leg.state == LegState::Delivered;
        let answers_again = leg.state == LegState::Answered && message.body == Body::Answer;
        if !live && !answers_again {
            out.push(Output::Drop { message, why: Drop::LegTerminated }); // RLY-20
            return;
        }
        let device = leg.device.clone();
        match &message.body {
            Body::Progress { status } => {
                if self.config.limits_legs {
                    leg.limit = Some(self.now.tick + patience(status));
                }
                out.push(Output::Forward { to: initiator, leg: device, message }); // RLY-21
            }
            Body::Answer => {
                leg.state = LegState::Answered;
                out.push(Output::Forward { to: initiator, leg: device, message }); // RLY-22
                self.decide(session, Outcome::Answered);
            }
            Body::Reject { reason } => {
                let refusal =
                    Refusal { leg: device, reason: reason.clone(), at: self.now, reject: Some(message.clone()) };
                self.end_leg(session, LegState::Rejected, refusal, out); // RLY-23
            }
            _ => out.push(Output::Drop { message, why: Drop::NotAttemptScoped }), // RLY-24
        }
    }

    fn route_plainly(&mut self, message: Arc<Message>, out: &mut Vec<Output>) {
        // RLY-30
        let Some(to) = message.to.clone() else { return self.refuse(&message, Reason::TRANSPORT_ROUTING_REFUSED, out) };
        let legs = self.legs_for(&to);
        if legs.is_empty() {
            if self.is_known(&to) {
                self.hold(&to, message, out);
            } else {
                self.refuse(&message, Reason::TRANSPORT_UNKNOWN_RECIPIENT, out);
            }
            return;
        }
        self.fork(&to, legs, &message, Path::Plain, out);
    }

    /// Delivers `message`, which is for `to`, to those of these devices for whom it does not wait already.
    fn fork(&self, to: &Did, legs: Vec<Did>, message: &Arc<Message>, path: Path, out: &mut Vec<Output>) {
        if self.is_restored(message, to) {
            return;
        }
        for leg in legs {
            if !self.is_restored(message, &leg) {
                out.push(Output::Deliver { leg, message: message.clone(), path, place: None });
            }
        }
    }

    /// Whether `message` was there for `address` at the start, accepted or delivered by the process before this one. Its id may
    /// not have been written down in time.
    fn is_restored(&self, message: &Message, address: &Did) -> bool {
        !self.restored.is_empty() && self.restored.contains(&(message.id, address.clone()))
    }

    /// Queues `message` under `to`, or says that there is no room.
    fn hold(&mut self, to: &Did, message: Arc<Message>, out: &mut Vec<Output>) {
        if self.is_restored(&message, to) {
            return;
        }
        if !self.has_disk {
            return self.refuse(&message, Reason::TRANSPORT_ROUTING_REFUSED, out); // CUS-21
        }
        let deadline = self.deadline(&message);
        let known = self.is_known(to);
        match self.inbox.push(to, message.clone(), deadline, known, &mut self.ledger) {
            Ok(()) => out.push(Output::Queued { to: to.clone(), message }),
            // SNF-8, RLY-60: whether the recipient exists or not, the sender learns nothing.
            Err(_) if message.body == Body::Introduction => {
                out.push(Output::Drop { message, why: Drop::InboxFull });
            }
            Err(Full::Inbox) => self.refuse(&message, Reason::TRANSPORT_ROUTING_REFUSED, out),
            Err(Full::Share) => self.refuse(&message, Reason::TRANSPORT_RATE_LIMITED, out),
        }
    }

    fn refuse(&self, message: &Message, reason: Reason, out: &mut Vec<Output>) {
        out.push(Output::Error { to: message.from.clone(), reason, in_reply_to: message.id });
    }

    /// The bound devices that `to` stands for (RLY-2, 03 §3.2).
    fn legs_for(&self, to: &Did) -> Vec<Did> {
        match self.devices.get(to) {
            // A device that acts for itself alone is its own identity, and takes the other branch.
            Some(device) if device.identity != *to => {
                device.away_since.is_none().then(|| to.clone()).into_iter().collect()
            }
            _ => self.identities.get(to).map(|identity| identity.bound.iter().cloned().collect()).unwrap_or_default(),
        }
    }

    fn is_known(&self, to: &Did) -> bool {
        self.devices.contains_key(to) || self.identities.contains_key(to)
    }

    fn are_of_one_identity(&self, one: &Did, other: &Did) -> bool {
        self.identity_of(one).is_some_and(|identity| self.identity_of(other) == Some(identity))
    }

    // Attempts (03 §3.4)

    /// Creates the attempt of an invite whose legs were chosen elsewhere, and which is not remembered.
    pub(crate) fn place(&mut self, now: Now, invite: Message, legs: Vec<Did>, out: &mut Vec<Output>) {
        self.now = now;
        let Some(to) = invite.to.clone() else { return };
        let invite = Arc::new(invite);
        self.create(invite.id, invite.from.clone(), to, None);
        for leg in legs {
            self.add_leg(invite.id, leg.clone());
            out.push(Output::Deliver { leg, message: invite.clone(), path: Path::Fork, place: None });
        }
    }

    fn has_no_room_for(&self, sender: &Did) -> bool {
        self.attempts.len() - self.decided.len() >= MAX_LIVE
            || self.open_by.get(sender).is_some_and(|open| *open >= MAX_OPEN_PER_SENDER)
    }

    fn create(&mut self, session: Ulid, initiator: Did, identity: Did, invite: Option<Arc<Message>>) {
        let created = self.created;
        self.created += 1;
        self.open.entry(identity.clone()).or_default().insert((created, session));
        *self.open_by.entry(initiator.clone()).or_default() += 1;
        let phase = Phase::Open { invite, refusals: Vec::new() };
        self.attempts.insert(session, Attempt { initiator, identity, created, legs: Vec::new(), phase, due: None });
    }

    /// Adds a live leg, unless the device is one already. Whether it did.
    fn add_leg(&mut self, session: Ulid, device: Did) -> bool {
        let limit = self.config.limits_legs.then(|| self.now.tick + SILENT_LEG);
        let Some(attempt) = self.attempts.get_mut(&session) else { return false };
        if attempt.leg(&device).is_some() || attempt.legs.len() >= MAX_LEGS {
            return false;
        }
        attempt.legs.push(Leg { device, state: LegState::Delivered, limit });
        self.look_after(session);
        true
    }

    /// The initiator withdraws: every live leg learns of it (RLY-18).
    fn withdraw(&mut self, session: Ulid, cancel: &Arc<Message>, out: &mut Vec<Output>) {
        let Some(attempt) = self.attempts.get_mut(&session) else { return };
        for leg in attempt.legs.iter_mut().filter(|leg| leg.state == LegState::Delivered) {
            leg.state = LegState::Cancelled;
            let (leg, message) = (leg.device.clone(), cancel.clone());
            out.push(Output::Deliver { leg, message, path: Path::Withdrawal, place: None });
        }
        self.decide(session, Outcome::Cancelled);
    }

    /// A live leg ends without an answer; the attempt may end with it (RLY-23, RLY-43).
    fn end_leg(&mut self, session: Ulid, state: LegState, refusal: Refusal, out: &mut Vec<Output>) {
        let Some(attempt) = self.attempts.get_mut(&session) else { return };
        let Some(leg) = attempt.leg_mut(&refusal.leg) else { return };
        leg.state = state;
        let Phase::Open { refusals, .. } = &mut attempt.phase else {
            return self.look_after(session); // RLY-45: after the outcome, only the leg's own state changes
        };
        refusals.push(refusal);
        if attempt.has_live_leg() {
            return self.look_after(session); // RLY-45
        }
        // RLY-40
        let to = attempt.initiator.clone();
        if let Some(verdict) = attempt.verdict(self.now) {
            out.push(match verdict.reject {
                Some(message) => Output::Forward { to, leg: verdict.leg, message },
                None => Output::Refuse { to, leg: verdict.leg, session, reason: verdict.reason }, // RLY-44
            });
        }
        self.decide(session, Outcome::Rejected);
    }

    /// A live leg ran into the relay's limit (RLY-43). Nothing happens to any other.
    pub(crate) fn expire_leg(&mut self, now: Now, session: Ulid, device: &Did, out: &mut Vec<Output>) {
        self.now = now;
        let leg = self.attempts.get(&session).and_then(|attempt| attempt.leg(device));
        if leg.is_some_and(|leg| leg.state == LegState::Delivered) {
            let refusal = Refusal { leg: device.clone(), reason: Reason::ENDPOINT_UNAVAILABLE, at: now, reject: None };
            self.end_leg(session, LegState::Expired, refusal, out);
        }
    }

    /// Sets the outcome, unless there is one.
    fn decide(&mut self, session: Ulid, outcome: Outcome) {
        let Some(attempt) = self.attempts.get_mut(&session) else { return };
        if let Phase::Open { invite, .. } = &mut attempt.phase {
            if let Some(invite) = invite.take() {
                self.ledger.give_back(&invite);
            }
            attempt.phase = Phase::Decided(outcome);
            if let Some(open) = self.open.get_mut(&attempt.identity) {
                open.remove(&(attempt.created, session));
                if open.is_empty() {
                    self.open.remove(&attempt.identity);
                }
            }
            if let Some(open) = self.open_by.get_mut(&attempt.initiator) {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    self.open_by.remove(&attempt.initiator);
                }
            }
        }
        self.look_after(session); // RLY-47: no longer open, it gains no legs
    }

    /// Puts the attempt where it belongs in time: on the schedule while a leg can expire, among the decided once none can
    /// change.
    fn look_after(&mut self, session: Ulid) {
        let Some(attempt) = self.attempts.get_mut(&session) else { return };
        if let Phase::Decided(outcome) = attempt.phase
            && !attempt.has_live_leg()
        {
            attempt.phase = Phase::Over(outcome);
            if self.config.limits_legs {
                self.decided.push_back((self.now.tick + DECIDED_KEPT, session));
            }
        }
        let due = attempt.next_limit();
        if due != attempt.due {
            if let Some(earlier) = std::mem::replace(&mut attempt.due, due) {
                self.schedule.remove(&(earlier, session));
            }
            if let Some(due) = due {
                self.schedule.insert((due, session));
            }
        }
        if self.decided.len() > MAX_DECIDED
            && let Some((_, oldest)) = self.decided.pop_front()
        {
            self.attempts.remove(&oldest);
        }
    }

    // Bindings (03 §3.5)

    fn bind(&mut self, device: Did, identity: Did, out: &mut Vec<Output>) {
        if !self.record(&device, &identity) {
            out.push(Output::NotBound { device });
            return;
        }
        // RLY-50: what waited for the identity, then what waited for the device, each in arrival order.
        let mut addresses = vec![&identity];
        if device != identity {
            addresses.push(&device);
        }
        for address in addresses {
            for (place, message) in self.inbox.flush(address, &mut self.ledger) {
                self.deliver_queued(place, &device, message, out);
            }
        }
        // RLY-46
        let open: Vec<Ulid> =
            self.open.get(&identity).map(|open| open.iter().map(|(_, session)| *session).collect()).unwrap_or_default();
        for session in open {
            let now = self.now.wall.secs();
            let invite = match self.attempts.get(&session).map(|attempt| &attempt.phase) {
                Some(Phase::Open { invite: Some(invite), .. })
                    if invite.expires_at.is_none_or(|expiry| expiry > now) =>
                {
                    invite.clone()
                }
                _ => continue,
            };
            if self.add_leg(session, device.clone()) {
                out.push(Output::Deliver { leg: device.clone(), message: invite, path: Path::LateLeg, place: None });
            }
        }
    }

    /// A queued message meets its recipient; an invite becomes a tracked leg only now (SNF-4).
    fn deliver_queued(&mut self, place: Place, device: &Did, message: Arc<Message>, out: &mut Vec<Output>) {
        if message.body == Body::Invite {
            let leg = self.attempts.get(&message.id).and_then(|attempt| attempt.leg(device));
            if leg.is_some_and(|leg| leg.state != LegState::Delivered) {
                // It came back unacknowledged (CUS-14), and since then the leg has ended: nothing is to ring for it.
                self.inbox.writes.push(Write::Release(place.number));
                return;
            }
            if !self.attempts.contains_key(&message.id) {
                let kept = self.ledger.take(&message).is_ok().then(|| message.clone());
                self.create(message.id, message.from.clone(), place.address.clone(), kept);
            }
            self.add_leg(message.id, device.clone());
        }
        out.push(Output::Deliver { leg: device.clone(), message, path: Path::Flush, place: Some(place) });
    }

    /// Notes that `device` is bound for `identity`. Whether there was room.
    fn record(&mut self, device: &Did, identity: &Did) -> bool {
        if self.is_bound(device) && self.identity_of(device) == Some(identity) {
            return true;
        }
        let bound = self.identities.get(identity).map_or(0, |identity| identity.bound.len());
        if bound >= MAX_DEVICES {
            return false;
        }
        if !self.devices.contains_key(device) && self.devices.len() >= self.config.max_known {
            let Some((_, longest_away)) = self.away.pop_first() else { return false };
            self.forget(&longest_away);
        }
        // A device that acted for another identity until now no longer does (WS-8).
        self.forget(device);
        let known = Device { identity: identity.clone(), away_since: None, expected_until: 0 };
        self.inbox.writes.push(Write::Device(known.kept(device)));
        self.devices.insert(device.clone(), known);
        let identity = self.identities.entry(identity.clone()).or_default();
        identity.bound.insert(device.clone());
        identity.devices += 1;
        true
    }

    fn unbind(&mut self, device: &Did) {
        let Some(known) = self.devices.get_mut(device) else { return };
        let now = self.now.wall.secs();
        if known.away_since.is_none() {
            known.away_since = Some(now);
            self.away.insert((away_as_of(self.config.known_for, known).unwrap_or(now), device.clone()));
            self.inbox.writes.push(Write::Device(known.kept(device)));
            if let Some(identity) = self.identities.get_mut(&known.identity) {
                identity.bound.remove(device); // RLY-51: the identity stays known even when none is left
            }
        }
    }

    /// WAK-9: the device can be woken, so it stays known until then although it is away.
    pub(super) fn expect(&mut self, device: &Did, until: u64) {
        let Some(known) = self.devices.get_mut(device) else { return };
        let before = away_as_of(self.config.known_for, known);
        known.expected_until = until;
        if let (Some(before), Some(after)) = (before, away_as_of(self.config.known_for, known)) {
            self.away.remove(&(before, device.clone()));
            self.away.insert((after, device.clone()));
        }
    }

    /// Forgets that the device ever bound.
    fn forget(&mut self, device: &Did) {
        let Some(known) = self.devices.remove(device) else { return };
        self.inbox.writes.push(Write::NoDevice(device.clone()));
        if let Some(since) = away_as_of(self.config.known_for, &known) {
            self.away.remove(&(since, device.clone()));
        }
        if let Some(identity) = self.identities.get_mut(&known.identity) {
            identity.bound.remove(device);
            identity.devices = identity.devices.saturating_sub(1);
            if identity.devices == 0 {
                self.identities.remove(&known.identity);
            }
        }
    }

    // Time

    fn expire(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        if self.forget_restored.is_some_and(|tick| tick <= now.tick) {
            self.forget_restored = None;
            self.restored = BTreeSet::new();
        }
        // SNF-2
        for (to, message) in self.inbox.expire(now.wall.secs(), &mut self.ledger) {
            out.push(Output::Dequeued { to, message, why: Dequeue::Expired });
        }
        while let Some((tick, session)) = self.schedule.first().copied()
            && tick <= now.tick
        {
            self.schedule.pop_first();
            let Some(attempt) = self.attempts.get_mut(&session) else { continue };
            attempt.due = None;
            let late =
                |leg: &&Leg| leg.state == LegState::Delivered && leg.limit.is_some_and(|limit| limit <= now.tick);
            let late: Vec<Did> = attempt.legs.iter().filter(late).map(|leg| leg.device.clone()).collect();
            for device in late {
                self.expire_leg(now, session, &device, out);
            }
            // A leg that reported progress since has a later limit than the schedule knew of.
            self.look_after(session);
        }
        while self.decided.front().is_some_and(|(tick, _)| *tick <= now.tick) {
            if let Some((_, session)) = self.decided.pop_front() {
                self.attempts.remove(&session);
            }
        }
        if let Some(kept) = self.config.known_for {
            while let Some((since, device)) = self.away.first().cloned()
                && since.saturating_add(kept.as_secs()) <= now.wall.secs()
            {
                self.away.pop_first();
                self.forget(&device);
            }
        }
    }
}

/// Since when a device counts as away for the question of how long it is known; nothing while it is bound.
fn away_as_of(known_for: Option<Duration>, device: &Device) -> Option<u64> {
    let expected = known_for.map_or(0, |kept| device.expected_until.saturating_sub(kept.as_secs()));
    device.away_since.map(|since| since.max(expected))
}

/// How long a leg that reports `status` is given from then on: as long as the initiator itself would wait (TMR-2, TMR-3).
fn patience(status: &Status) -> Duration {
    if *status == Status::QUEUED { QUEUED_LEG } else { RINGING_LEG }
}
