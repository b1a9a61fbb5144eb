//! The authority: holds publications, answers subscriptions, says who is present (02 section 12.2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::broadcast::Violation;
use crate::time::{Now, Tick};
use crate::wire::media::Policy;
use crate::wire::token::{NotifyState, Operation, StreamState, SubscriptionEvent};
use crate::wire::{Did, Message, Reason, Ulid};

/// Records held at once. A full authority makes room by forgetting the oldest record that is over, and refuses otherwise.
pub const PUBLICATIONS: usize = 4_096;

/// Records held at once for one publisher.
pub const PUBLICATIONS_PER_PUBLISHER: usize = 64;

/// What is kept of one record, in bytes: its stream id and the ids of its variants.
pub const RECORD_BYTES: usize = 8_192;

/// Statements attached to one record (note after PTY-7).
pub const STATEMENTS: usize = 16;

/// The longest DID of a processor or subscribing device, in bytes. With [`STATEMENTS`] it keeps every `notify` far below
/// the cap of an envelope: sixteen such DIDs in base64url are 22 KB.
pub const DID_BYTES: usize = 1_024;

/// Subscriptions held at once.
pub const SUBSCRIPTIONS: usize = 131_072;

/// Subscriptions held at once for one subscriber.
pub const SUBSCRIPTIONS_PER_SUBSCRIBER: usize = 256;

/// Subscriptions held at once for one target: what one event may cost in messages.
pub const SUBSCRIPTIONS_PER_TARGET: usize = 16_384;

/// The longest target, in bytes.
pub const TARGET_BYTES: usize = 2_048;

/// The most events one subscription may name.
pub const EVENTS: usize = 8;

/// The authority for a set of identities and for the streams published to it.
#[derive(Debug)]
pub struct Authority {
    clock: Now,
    hosted: BTreeSet<Did>,
    bound: BTreeMap<Did, BTreeSet<Did>>,
    policies: BTreeMap<String, Mode>,
    capabilities: BTreeMap<String, String>,
    /// Whether presence is told only where a policy says so (SUB-9).
    private: bool,
    records: Records,
    subscriptions: Subscriptions,
}

/// Who may subscribe to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Everybody. It also holds where no policy is set, unless the authority keeps presence private (SUB-9).
    Public,
    /// These identities.
    Allow(BTreeSet<Did>),
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A verified message arrived.
    Received(Received),
    /// A device of an identity connected.
    Bind {
        /// The device.
        device: Did,
        /// Its identity.
        identity: Did,
    },
    /// A device of an identity is gone.
    Unbind {
        /// The device.
        device: Did,
        /// Its identity.
        identity: Did,
    },
    /// Somebody with a say in it says who may subscribe to a target. Held subscriptions go on; see [`Input::Enforce`].
    Policy {
        /// A subject's DID or a stream id.
        target: String,
        /// Who.
        mode: Mode,
    },
    /// A target's policy is forgotten.
    NoPolicy {
        /// The target.
        target: String,
    },
    /// Ends the subscriptions to a target that would not be accepted now (SUB-7).
    Enforce {
        /// The target.
        target: String,
    },
    /// Tells one subscriber how things stand, whether they have changed or not.
    Tell(Ulid),
    /// The operator hands out a token that admits whoever shows it to one target.
    IssueCapability {
        /// The token.
        token: String,
        /// The target it was issued for.
        target: String,
    },
    /// Time passed.
    Tick,
}

/// What the authority reads of a verified message.
#[derive(Debug, Clone)]
pub struct Received {
    /// The device that signed it.
    pub device: Did,
    /// The identity it was verified to speak for.
    pub identity: Did,
    /// What it says.
    pub body: Body,
}

/// The messages an authority takes.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the messages' field tables")]
pub enum Body {
    Publish {
        id: Ulid,
        publisher: Did,
        stream: String,
        state: StreamState,
        variants: Vec<String>,
        policy: Option<Policy>,
        expires_at: u64,
    },
    Unpublish {
        stream: String,
        publication: Ulid,
    },
    Provenance {
        stream: String,
        publication: Ulid,
        processor: Did,
        operation: Operation,
        input_variant: String,
    },
    Subscribe {
        id: Ulid,
        target: String,
        events: Vec<SubscriptionEvent>,
        expires_in: u32,
        capability: Option<String>,
    },
    Other,
}

/// What to do, and what was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A record changed.
    Publication {
        /// The stream.
        stream: Arc<str>,
        /// Its record's state now.
        state: RecordState,
    },
    /// A statement was attached.
    Provenance {
        /// The stream.
        stream: Arc<str>,
        /// Who made it.
        processor: Did,
    },
    /// A record made room for another one.
    Forgotten {
        /// Its stream.
        stream: Arc<str>,
    },
    /// A subscription is gone.
    Subscription {
        /// Which.
        id: Ulid,
        /// How.
        gone: Gone,
    },
    /// Send this `notify`.
    Notify(Notify),
    /// Refuse a subscribe: always `policy.blocked` (SUB-6).
    Reject {
        /// The device that asked.
        to: Did,
        /// The subscribe's id.
        session: Ulid,
    },
    /// The message has no effect.
    Drop(Drop),
}

/// One `notify`, to the device that subscribed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The device that subscribed.
    pub to: Did,
    /// The subscription.
    pub subscription: Ulid,
    /// Its place in the sequence.
    pub seq: u64,
    /// Whether more will come.
    pub state: NotifyState,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// What is told.
    pub body: Told,
}

/// The body of a `notify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What the connections say about an identity: the authority's claim, not the subject's (SUB-9).
    Presence {
        /// Whether at least one of its devices is connected.
        available: bool,
    },
    /// The record of a stream; `None` where none is held any more.
    Publication(Option<TellRecord>),
}

/// What a subscriber is told about a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TellRecord {
    /// Its state.
    pub state: RecordState,
    /// Its id.
    pub publication: Ulid,
    /// Who stated that they processed the stream, in order of arrival.
    pub provenance: Vec<Did>,
}

/// The state of a held record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// As its publisher last said.
    Said(StreamState),
    /// The publisher withdrew it.
    Withdrawn,
    /// It ran out.
    Expired,
}

/// How a subscription ended, other than by a last `notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Its subscriber asked again.
    Replaced,
    /// Its subscriber ended it.
    Terminated,
}

/// Why a message has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the labels of 02 section 12.2")]
pub enum Drop {
    PublisherMismatch,
    StreamIdNamespace,
    StalePublication,
    UnknownPublication,
    ProvenanceUnknownPublication,
    ProvenanceProcessorMismatch,
    ProvenanceVariantUnknown,
    /// The record's policy does not admit the operation (note after PTY-7).
    ProvenancePolicyViolation,
    /// The record holds as many statements as it may, or the processor's DID is too long.
    ProvenanceLimit,
    /// The record is too large, or there is no room for it.
    PublicationLimit,
    NoMatchingSubscription,
    NotBroadcast,
}

/// A held record, as an operator may see it.
#[derive(Debug)]
pub struct Record {
    /// Its id.
    pub publication: Ulid,
    /// Whose stream it is.
    pub publisher: Did,
    /// Its state.
    pub state: RecordState,
    order: u64,
    expires_at: u64,
    variants: Vec<String>,
    policy: Option<Policy>,
    provenance: Vec<Did>,
}

/// A held subscription, as an operator may see it.
#[derive(Debug)]
pub struct Subscription {
    /// The identity that subscribed.
    pub subscriber: Did,
    /// What to.
    pub target: Arc<str>,
    /// Which events.
    pub events: Vec<SubscriptionEvent>,
    /// The last `seq` sent.
    pub seq: u64,
    /// When it ends, in Unix seconds.
    pub expires_at: u64,
    /// The device that is told.
    pub device: Did,
    /// The token it was accepted for, if it showed one.
    pub capability: Option<String>,
}

/// Records by stream id, in the order in which their streams first came.
#[derive(Debug, Default)]
struct Records {
    by_stream: BTreeMap<Arc<str>, Record>,
    by_order: BTreeMap<u64, Arc<str>>,
    by_publisher: BTreeMap<Did, usize>,
    /// `expires_at` and order of those that can still expire.
    expiring: BTreeSet<(u64, u64)>,
    next: u64,
}

#[derive(Debug, Default)]
struct Subscriptions {
    by_id: BTreeMap<Ulid, Subscription>,
    by_subscriber: BTreeMap<Did, BTreeSet<Ulid>>,
    by_target: BTreeMap<Arc<str>, BTreeSet<Ulid>>,
    expiring: BTreeSet<(u64, Ulid)>,
}

impl Authority {
    /// An authority that answers for `hosted` identities; any other becomes known when a device of it binds or a policy
    /// names it (AUT-41).
    #[must_use]
    pub fn new(now: Now, hosted: impl IntoIterator<Item = Did>) -> Self {
        Self {
            clock: now,
            hosted: hosted.into_iter().collect(),
            bound: BTreeMap::new(),
            policies: BTreeMap::new(),
            capabilities: BTreeMap::new(),
            private: false,
            records: Records::default(),
            subscriptions: Subscriptions::default(),
        }
    }

    /// The same, but presence of a target for which no policy is set is nobody's business but its own (SUB-9). A stream without
    /// a policy stays public: somebody published it.
    #[must_use]
    pub fn with_private_presence(self) -> Self {
        Self { private: true, ..self }
    }

    /// Takes back a record that was held before a restart. The oldest comes first.
    pub fn restore_record(&mut self, message: Received, withdrawn: bool, provenance: Vec<Did>) {
        let Body::Publish { id, publisher, stream, state, variants, policy, expires_at } = message.body else { return };
        let state = if withdrawn { RecordState::Withdrawn } else { RecordState::Said(state) };
        let record = Record { publication: id, publisher, state, order: 0, expires_at, variants, policy, provenance };
        // It was let in once; what no longer fits does not come back.
        drop(self.records.put(stream, record));
    }

    /// Takes back a subscription that was held before a restart. Its next notify has a `seq` above the one it has here.
    pub fn restore_subscription(&mut self, id: Ulid, subscription: Subscription) {
        if !self.subscriptions.by_id.contains_key(&id) && self.subscriptions.by_id.len() < SUBSCRIPTIONS {
            self.subscriptions.insert(id, subscription);
        }
    }

    /// Takes one input; what follows from it comes out in order.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        self.clock = now;
        match input {
            Input::Received(message) => {
                if let Err(why) = self.receive(message, out) {
                    out.push(Output::Drop(why));
                }
            }
            // AUT-30, AUT-42
            Input::Bind { device, identity } => {
                self.bound.entry(identity.clone()).or_default().insert(device);
                self.notify_all(&SubscriptionEvent::PRESENCE, identity.as_str(), out);
            }
            Input::Unbind { device, identity } => {
                if let Some(devices) = self.bound.get_mut(&identity) {
                    devices.remove(&device);
                    if devices.is_empty() {
                        self.bound.remove(&identity);
                    }
                }
                self.notify_all(&SubscriptionEvent::PRESENCE, identity.as_str(), out);
            }
            // AUT-32
            Input::Policy { target, mode } => {
                self.policies.insert(target, mode);
            }
            Input::IssueCapability { token, target } => {
                self.capabilities.insert(token, target);
            }
            Input::NoPolicy { target } => drop(self.policies.remove(&target)),
            Input::Enforce { target } => self.enforce(&target, out),
            Input::Tell(id) => self.notify(id, NotifyState::Active, None, out),
            Input::Tick => self.expire(out),
        }
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn wake(&self) -> Option<Tick> {
        let subscription = self.subscriptions.expiring.first().map(|(at, _)| *at);
        let record = self.records.expiring.first().map(|(at, _)| *at);
        let at = subscription.into_iter().chain(record).min()?;
        let left = at.saturating_mul(1000).saturating_sub(self.clock.wall.millis());
        Some(self.clock.tick + Duration::from_millis(left))
    }

    /// The records held, by stream id.
    pub fn publications(&self) -> impl Iterator<Item = (&str, &Record)> {
        self.records.by_stream.iter().map(|(stream, record)| (&**stream, record))
    }

    /// Whether this device is counted as a connected one of this identity.
    #[must_use]
    pub fn is_bound(&self, device: &Did, identity: &Did) -> bool {
        self.bound.get(identity).is_some_and(|devices| devices.contains(device))
    }

    /// The record of a stream.
    #[must_use]
    pub fn record(&self, stream: &str) -> Option<&Record> {
        self.records.by_stream.get(stream)
    }

    /// One subscription.
    #[must_use]
    pub fn subscription(&self, id: Ulid) -> Option<&Subscription> {
        self.subscriptions.by_id.get(&id)
    }

    /// The subscriptions held, by id.
    pub fn subscriptions(&self) -> impl Iterator<Item = (Ulid, &Subscription)> {
        self.subscriptions.by_id.iter().map(|(id, subscription)| (*id, subscription))
    }

    fn receive(&mut self, message: Received, out: &mut Vec<Output>) -> Result<(), Drop> {
        let Received { device, identity, body } = message;
        match body {
            Body::Publish { id, publisher, stream, state, variants, policy, expires_at } => {
                // AUT-1
                if publisher != identity {
                    return Err(Drop::PublisherMismatch);
                }
                let state = RecordState::Said(state);
                let record = Record {
                    publication: id,
                    publisher,
                    state,
                    order: 0,
                    expires_at,
                    variants,
                    policy,
                    provenance: Vec::new(),
                };
                let (stream, forgotten) = self.records.put(stream, record)?;
                out.extend(forgotten.map(|stream| Output::Forgotten { stream }));
                self.publication_changed(stream, state, out);
            }
            Body::Unpublish { stream, publication } => {
                let stream = self.records.withdraw(&stream, publication, &identity)?;
                self.publication_changed(stream, RecordState::Withdrawn, out);
            }
            Body::Provenance { stream, publication, processor, operation, input_variant } => {
                if processor != identity {
                    // AUT-8 is judged before AUT-9.
                    self.records.original(&stream, publication)?;
                    return Err(Drop::ProvenanceProcessorMismatch);
                }
                self.records.attach(&stream, publication, &processor, &operation, &input_variant)?;
                let stream: Arc<str> = stream.into();
                out.push(Output::Provenance { stream: Arc::clone(&stream), processor });
                self.notify_all(&SubscriptionEvent::PUBLICATION, &stream, out);
            }
            Body::Subscribe { id, target, events, expires_in, capability } => {
                let existing = self.subscriptions.matching(&identity, &target, &events);
                if expires_in == 0 {
                    // AUT-20, AUT-21
                    let id = existing.ok_or(Drop::NoMatchingSubscription)?;
                    self.subscriptions.remove(id);
                    out.push(Output::Subscription { id, gone: Gone::Terminated });
                    return Ok(());
                }
                // Both questions are asked whatever the first one says: a refusal costs the same either way (SUB-6).
                let exists = self.exists(&target, &events);
                let authorised = self.authorised(&identity, &target, &events, capability.as_deref());
                let fits = self.subscriptions.fits(id, &device, &identity, &target, &events, existing.is_some());
                if !(exists && authorised && fits) {
                    // AUT-22
                    out.push(Output::Reject { to: device, session: id });
                    return Ok(());
                }
                // AUT-23
                if let Some(id) = existing {
                    self.subscriptions.remove(id);
                    out.push(Output::Subscription { id, gone: Gone::Replaced });
                }
                let expires_at = self.clock.wall.secs().saturating_add(expires_in.into());
                let target: Arc<str> = target.into();
                let subscription =
                    Subscription { subscriber: identity, target, events, seq: 0, expires_at, device, capability };
                self.subscriptions.insert(id, subscription);
                self.notify(id, NotifyState::Active, None, out);
            }
            // AUT-33
            Body::Other => return Err(Drop::NotBroadcast),
        }
        Ok(())
    }

    fn publication_changed(&mut self, stream: Arc<str>, state: RecordState, out: &mut Vec<Output>) {
        out.push(Output::Publication { stream: Arc::clone(&stream), state });
        self.notify_all(&SubscriptionEvent::PUBLICATION, &stream, out);
    }

    /// AUT-31: subscriptions first, then records.
    fn expire(&mut self, out: &mut Vec<Output>) {
        let now = self.clock.wall.secs();
        let due = self.subscriptions.expiring.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        for id in due.collect::<BTreeSet<_>>() {
            self.notify(id, NotifyState::Terminated, Some(Reason::SESSION_EXPIRED), out);
            self.subscriptions.remove(id);
        }
        for stream in self.records.expire(now) {
            self.publication_changed(stream, RecordState::Expired, out);
        }
    }

    /// AUT-41
    fn exists(&self, target: &str, events: &[SubscriptionEvent]) -> bool {
        if events.contains(&SubscriptionEvent::PUBLICATION) {
            return self.records.by_stream.contains_key(target);
        }
        // No look-up is spared for what another one has found (SUB-6).
        target.parse().is_ok_and(|identity: Did| {
            self.hosted.contains(&identity) | self.bound.contains_key(&identity) | self.policies.contains_key(target)
        })
    }

    /// AUT-40
    fn authorised(&self, identity: &Did, target: &str, events: &[SubscriptionEvent], capability: Option<&str>) -> bool {
        let holds_token = capability.and_then(|token| self.capabilities.get(token)).is_some_and(|of| of == target);
        // A stream may be named like its publisher. Whoever also asks for presence is told when the publisher's devices come
        // and go (AUT-30), so a public stream alone must not let them in.
        let asks = |event| events.contains(&event);
        let is_public = !self.private || asks(SubscriptionEvent::PUBLICATION) && !asks(SubscriptionEvent::PRESENCE);
        let admitted = match self.policies.get(target) {
            None => is_public || identity.as_str() == target,
            Some(Mode::Public) => true,
            Some(Mode::Allow(listed)) => listed.contains(identity) || self.private && identity.as_str() == target,
        };
        holds_token || admitted
    }

    /// SUB-7: `policy.terminated` for those that a target's policy does not admit any more.
    fn enforce(&mut self, target: &str, out: &mut Vec<Output>) {
        let ids = self.subscriptions.by_target.get(target).into_iter().flatten();
        let refused = ids.copied().filter(|id| {
            self.subscriptions.by_id.get(id).is_some_and(|held| {
                !self.authorised(&held.subscriber, target, &held.events, held.capability.as_deref())
            })
        });
        for id in refused.collect::<Vec<_>>() {
            self.notify(id, NotifyState::Terminated, Some(Reason::POLICY_TERMINATED), out);
            self.subscriptions.remove(id);
        }
    }

    fn notify_all(&mut self, event: &SubscriptionEvent, target: &str, out: &mut Vec<Output>) {
        // BC-45: sets iterate in ascending order.
        for id in self.subscriptions.by_target.get(target).cloned().unwrap_or_default() {
            if self.subscriptions.by_id.get(&id).is_some_and(|held| held.events.contains(event)) {
                self.notify(id, NotifyState::Active, None, out);
            }
        }
    }

    fn notify(&mut self, id: Ulid, state: NotifyState, reason: Option<Reason>, out: &mut Vec<Output>) {
        let Some(subscription) = self.subscriptions.by_id.get_mut(&id) else {
            return;
        };
        // SUB-4
        subscription.seq = subscription.seq.saturating_add(1);
        let body = if subscription.events.contains(&SubscriptionEvent::PUBLICATION) {
            Told::Publication(self.records.by_stream.get(&subscription.target).map(Record::tell))
        } else {
            let present = |identity: Did| self.bound.contains_key(&identity);
            Told::Presence { available: subscription.target.parse().is_ok_and(present) }
        };
        let (to, seq) = (subscription.device.clone(), subscription.seq);
        out.push(Output::Notify(Notify { to, subscription: id, seq, state, reason, body }));
    }
}

impl Records {
    /// AUT-2 to AUT-4. With the stream comes another one whose record made room, if one did.
    fn put(&mut self, stream: String, mut record: Record) -> Result<(Arc<str>, Option<Arc<str>>), Drop> {
        let own = stream.strip_prefix(record.publisher.as_str());
        if !own.is_some_and(|rest| rest.is_empty() || rest.starts_with(':')) {
            return Err(Drop::StreamIdNamespace);
        }
        if stream.len() + record.variants.iter().map(String::len).sum::<usize>() > RECORD_BYTES {
            return Err(Drop::PublicationLimit);
        }
        match self.by_stream.get_mut(stream.as_str()) {
            Some(held) if record.publication <= held.publication => Err(Drop::StalePublication),
            Some(held) => {
                // The statements go with the record they were about (BC-5); its place in line stays.
                self.expiring.remove(&(held.expires_at, held.order));
                record.order = held.order;
                self.expiring.extend(record.expiry());
                *held = record;
                Ok((stream.into(), None))
            }
            None => {
                let forgotten = self.make_room(&record.publisher)?;
                let stream: Arc<str> = stream.into();
                record.order = self.next;
                self.next += 1;
                *self.by_publisher.entry(record.publisher.clone()).or_default() += 1;
                self.by_order.insert(record.order, Arc::clone(&stream));
                self.expiring.extend(record.expiry());
                self.by_stream.insert(Arc::clone(&stream), record);
                Ok((stream, forgotten))
            }
        }
    }

    /// Forgets the oldest record that is over, of this publisher if it has too many, of anybody if all have.
    fn make_room(&mut self, publisher: &Did) -> Result<Option<Arc<str>>, Drop> {
        let own = self.by_publisher.get(publisher).is_some_and(|count| *count >= PUBLICATIONS_PER_PUBLISHER);
        if !own && self.by_stream.len() < PUBLICATIONS {
            return Ok(None);
        }
        let over = |record: &Record| !record.is_open() && (!own || record.publisher == *publisher);
        let mut oldest_first = self.by_order.values().filter(|stream| self.by_stream.get(*stream).is_some_and(over));
        let stream = oldest_first.next().map(Arc::clone).ok_or(Drop::PublicationLimit)?;
        if let Some(record) = self.by_stream.remove(&stream) {
            self.by_order.remove(&record.order);
            if let Some(count) = self.by_publisher.get_mut(&record.publisher) {
                *count -= 1;
                if *count == 0 {
                    self.by_publisher.remove(&record.publisher);
                }
            }
        }
        Ok(Some(stream))
    }

    /// AUT-5 to AUT-7
    fn withdraw(&mut self, stream: &str, publication: Ulid, identity: &Did) -> Result<Arc<str>, Drop> {
        let record = self.by_stream.get_mut(stream).filter(|record| record.publication == publication);
        let record = record.ok_or(Drop::UnknownPublication)?;
        if record.publisher != *identity {
            return Err(Drop::PublisherMismatch);
        }
        self.expiring.remove(&(record.expires_at, record.order));
        record.state = RecordState::Withdrawn;
        Ok(stream.into())
    }

    /// AUT-8
    fn original(&mut self, stream: &str, publication: Ulid) -> Result<&mut Record, Drop> {
        let record = self.by_stream.get_mut(stream).filter(|record| record.publication == publication);
        record.ok_or(Drop::ProvenanceUnknownPublication)
    }

    /// AUT-8, AUT-10, AUT-11 and the note after PTY-7
    fn attach(
        &mut self,
        stream: &str,
        publication: Ulid,
        processor: &Did,
        operation: &Operation,
        input_variant: &str,
    ) -> Result<(), Drop> {
        let record = self.original(stream, publication)?;
        if !record.variants.iter().any(|variant| variant == input_variant) {
            return Err(Drop::ProvenanceVariantUnknown);
        }
        if Violation::of(record.policy.as_ref(), operation).is_some() {
            return Err(Drop::ProvenancePolicyViolation);
        }
        if record.provenance.len() >= STATEMENTS || processor.as_str().len() > DID_BYTES {
            return Err(Drop::ProvenanceLimit);
        }
        record.provenance.push(processor.clone());
        Ok(())
    }

    /// The streams whose records ran out by `now`, in insertion order.
    fn expire(&mut self, now: u64) -> Vec<Arc<str>> {
        let mut due = BTreeMap::new();
        while let Some((_, order)) = self.expiring.first().copied().filter(|(at, _)| *at <= now) {
            self.expiring.pop_first();
            if let Some(stream) = self.by_order.get(&order) {
                due.insert(order, Arc::clone(stream));
            }
        }
        for stream in due.values() {
            if let Some(record) = self.by_stream.get_mut(stream) {
                record.state = RecordState::Expired;
            }
        }
        due.into_values().collect()
    }
}

impl Record {
    /// Whether it can still expire (AUT-31).
    fn is_open(&self) -> bool {
        matches!(self.state, RecordState::Said(StreamState::Live | StreamState::Scheduled))
    }

    fn expiry(&self) -> Option<(u64, u64)> {
        self.is_open().then_some((self.expires_at, self.order))
    }

    fn tell(&self) -> TellRecord {
        TellRecord { state: self.state, publication: self.publication, provenance: self.provenance.clone() }
    }
}

impl Subscriptions {
    /// The subscription that a new one replaces (SUB-2): same identity, same target, same events in the same order.
    fn matching(&self, subscriber: &Did, target: &str, events: &[SubscriptionEvent]) -> Option<Ulid> {
        let own = self.by_subscriber.get(subscriber).into_iter().flatten();
        own.copied().find(|id| self.by_id.get(id).is_some_and(|held| *held.target == *target && held.events == events))
    }

    /// Whether there is room for one more. The id is the subscriber's choice, so one that is taken is refused too.
    fn fits(
        &self,
        id: Ulid,
        device: &Did,
        subscriber: &Did,
        target: &str,
        events: &[SubscriptionEvent],
        replaces: bool,
    ) -> bool {
        let of_subscriber = self.by_subscriber.get(subscriber).map_or(0, BTreeSet::len);
        let of_target = self.by_target.get(target).map_or(0, BTreeSet::len);
        let room = of_subscriber < SUBSCRIPTIONS_PER_SUBSCRIBER
            && of_target < SUBSCRIPTIONS_PER_TARGET
            && self.by_id.len() < SUBSCRIPTIONS;
        (room || replaces)
            && !self.by_id.contains_key(&id)
            && device.as_str().len() <= DID_BYTES
            && target.len() <= TARGET_BYTES
            && events.len() <= EVENTS
            && events.iter().all(|event| event.as_str().len() <= 64)
    }

    fn insert(&mut self, id: Ulid, subscription: Subscription) {
        self.by_subscriber.entry(subscription.subscriber.clone()).or_default().insert(id);
        self.by_target.entry(Arc::clone(&subscription.target)).or_default().insert(id);
        self.expiring.insert((subscription.expires_at, id));
        self.by_id.insert(id, subscription);
    }

    fn remove(&mut self, id: Ulid) {
        let Some(subscription) = self.by_id.remove(&id) else {
            return;
        };
        self.expiring.remove(&(subscription.expires_at, id));
        unlink(&mut self.by_subscriber, &subscription.subscriber, id);
        unlink(&mut self.by_target, &subscription.target, id);
    }
}

impl Received {
    /// Reads a verified message: `device` signed it, and it was verified to speak for `identity`.
    #[must_use]
    pub fn new(message: &Message, device: Did, identity: Did) -> Self {
        let body = match message {
            Message::Publish(m) => Body::Publish {
                id: m.common.id,
                publisher: m.publisher.clone(),
                stream: m.stream_id.clone(),
                state: m.state,
                variants: m.variants.iter().map(|variant| variant.id.clone()).collect(),
                policy: m.policy.clone(),
                expires_at: m.common.expires_at,
            },
            Message::Unpublish(m) => Body::Unpublish { stream: m.stream_id.clone(), publication: m.publication },
            Message::Provenance(m) => Body::Provenance {
                stream: m.original_stream.clone(),
                publication: m.original_publication,
                processor: m.processor.clone(),
                operation: m.operation.clone(),
                input_variant: m.input_variant.clone(),
            },
            Message::Subscribe(m) => Body::Subscribe {
                id: m.common.id,
                target: m.target.clone(),
                events: m.events.clone(),
                expires_in: m.expires_in,
                capability: m.capability.clone(),
            },
            _ => Body::Other,
        };
        Self { device, identity, body }
    }
}

impl Told {
    /// The body as it goes over the wire; its discriminator is `event` (SUB-11).
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        let body = match self {
            Self::Presence { available } => {
                json!({"event": "presence", "state": if *available { "available" } else { "offline" }})
            }
            Self::Publication(None) => json!({"event": "publication", "state": "unknown"}),
            Self::Publication(Some(TellRecord { state, publication, provenance })) if provenance.is_empty() => {
                json!({"event": "publication", "state": state.as_str(), "publication": publication})
            }
            Self::Publication(Some(TellRecord { state, publication, provenance })) => json!({
                "event": "publication", "state": state.as_str(), "publication": publication, "provenance": provenance
            }),
        };
        match body {
            Value::Object(body) => body,
            // Every arm above is an object.
            _ => Map::new(),
        }
    }
}

impl RecordState {
    /// The word in notifies and traces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Said(state) => state.as_str(),
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

impl Gone {
    /// The word in traces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Terminated => "terminated",
        }
    }
}

impl Drop {
    /// The label in traces and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PublisherMismatch => "publisher-mismatch",
            Self::StreamIdNamespace => "stream-id-namespace",
            Self::StalePublication => "stale-publication",
            Self::UnknownPublication => "unknown-publication",
            Self::ProvenanceUnknownPublication => "provenance-unknown-publication",
            Self::ProvenanceProcessorMismatch => "provenance-processor-mismatch",
            Self::ProvenanceVariantUnknown => "provenance-variant-unknown",
            Self::ProvenancePolicyViolation => "provenance-policy-violation",
            Self::ProvenanceLimit => "provenance-limit",
            Self::PublicationLimit => "publication-limit",
            Self::NoMatchingSubscription => "no-matching-subscription",
            Self::NotBroadcast => "not-broadcast",
        }
    }
}

fn unlink<K: Ord + Clone>(index: &mut BTreeMap<K, BTreeSet<Ulid>>, key: &K, id: Ulid) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
