//! The authority that this node is (02 §12, 06 parts A and B): who subscribed to what, and how they come to know.
//!
//! ```text
//!  subscribe, publish … ─► subscribe::Authority ─┬─► reject, error: at once, whatever the target (SUB-6)
//!  bind, unbind, clock ─►                        ├─► a first notify: when its subscription is on disk
//!                                                └─► later ones: Fanout ─► a few at a time, when their device reads
//! ```
//!
//! A notify is signed when it can be handed over. One for a device that is away is not queued: it would be too old by the time
//! it is read (SNF-7), and the device is told how things stand as soon as it is back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::policies::{self, Policies};
use super::refusals::Refusal;
use super::{Conn, Event, Host, Output};
use crate::envelope::Verified;
use crate::relay::engine;
use crate::relay::fanout::Fanout;
use crate::relay::kept::{KeptPolicy, KeptRecord, KeptStatement, KeptSubscription, Write};
use crate::relay::message::Message;
use crate::subscribe::authority::{self, Authority, Mode, Notify, Received, Subscription, Told};
use crate::time::{Now, Tick};
use crate::wire::message::{self, MAX_ENVELOPE_BYTES};
use crate::wire::token::{NotifyState, ProfileId, SubscriptionEvent};
use crate::wire::{self, Did, Reason, Ulid, json};

/// So many numbers of a subscription are written down at once; a restart goes on behind them (SUB-4, SBR-11).
const SEQ_BLOCK: u64 = 1_024;

/// The largest `publish` that is held, and the largest statement. A record travels in notifies, to as many as subscribe.
const MAX_RECORD_BYTES: usize = 8_192;
const MAX_STATEMENT_BYTES: usize = 4_096;

/// PRS-21: what a notify may carry of records and statements. Encoded, with everything else, it stays below the cap.
const MAX_ATTACHED_BYTES: usize = 32_768;

/// So much may a device leave unacknowledged and still be notified. More waits, and only the latest of each subscription.
const MAX_UNREAD: usize = 64;

/// Notifies sent when the clock asks, and one more with every so many inputs: ten thousand subscribers to one stream are told
/// within a second of an idle node, and a busy one spends a small part of its time on them.
const EACH_TICK: usize = 32;
const EACH_INPUTS: u32 = 4;

/// How soon after a restart those who subscribed are told how things stand, unless something happens before: by then, who was
/// bound has had time to come back (WS-22).
const SETTLED_AFTER: Duration = Duration::from_secs(90);

/// The hosted authority.
#[derive(Debug)]
pub(super) struct Hosted {
    engine: Authority,
    presence_is_public: bool,
    told: Vec<authority::Output>,
    watches: BTreeMap<Ulid, Watch>,
    records: BTreeMap<Arc<str>, KeptRecord>,
    policies: Policies,
    fanout: Fanout,
    /// Subscriptions whose first notify waits for the disk, by the write it waits for.
    accepted: VecDeque<(u64, Ulid)>,
    /// Those from before a restart that have not been told anything since, and when they will be.
    untold: BTreeSet<Ulid>,
    settled: Option<Tick>,
    inputs: u32,
}

/// What the host knows of a subscription.
#[derive(Debug)]
struct Watch {
    /// Up to which `seq` it is written down.
    reserved: u64,
    with_record: bool,
    /// The latest notify, while the subscription is on its way to the disk.
    first: Option<Notify>,
    /// What came after that.
    then: Option<Notify>,
}

/// Whom a message came from, and on which connection.
#[derive(Clone, Copy)]
struct From<'a> {
    conn: Conn,
    device: &'a Did,
    message: &'a Message,
    said: &'a wire::Message,
}

impl Hosted {
    pub(super) fn new(presence_is_public: bool) -> Self {
        Self {
            engine: engine(Now::default(), presence_is_public),
            presence_is_public,
            told: Vec::new(),
            watches: BTreeMap::new(),
            records: BTreeMap::new(),
            policies: Policies::default(),
            fanout: Fanout::default(),
            accepted: VecDeque::new(),
            untold: BTreeSet::new(),
            settled: None,
            inputs: 0,
        }
    }

    /// Takes back what was kept before a restart.
    pub(super) fn restore(
        &mut self,
        now: Now,
        subscriptions: BTreeMap<Ulid, KeptSubscription>,
        records: BTreeMap<Arc<str>, KeptRecord>,
        policies: BTreeMap<Did, KeptPolicy>,
    ) {
        self.engine = engine(now, self.presence_is_public);
        let mut records: Vec<_> = records.into_values().filter_map(|kept| Some((publish(&kept)?, kept))).collect();
        records.sort_by_key(|(publish, _)| publish.common.id);
        for (publish, kept) in records {
            let (device, identity) = (publish.common.from.clone(), publish.publisher.clone());
            let processors = kept.statements.iter().map(|statement| statement.processor.clone()).collect();
            let received = Received::new(&publish.into(), device, identity);
            self.engine.restore_record(received, kept.withdrawn, processors);
            self.records.insert(kept.stream.clone(), kept);
        }
        for kept in policies.into_values() {
            let (target, mode) = (kept.subject.to_string(), kept.mode.clone());
            if self.policies.put(kept).is_ok() {
                self.engine.handle(now, authority::Input::Policy { target, mode }, &mut self.told);
            }
        }
        for (id, kept) in subscriptions {
            let KeptSubscription {
                subscriber, device, target, events, expires_at, seq, capability, with_record, ..
            } = kept;
            let target = target.into();
            let subscription = Subscription { subscriber, target, events, seq, expires_at, device, capability };
            self.engine.restore_subscription(id, subscription);
            self.watches.insert(id, Watch { reserved: seq, with_record, first: None, then: None });
            self.untold.insert(id);
        }
        self.settled = (!self.untold.is_empty()).then(|| now.tick + SETTLED_AFTER);
    }

    pub(super) fn wake(&self, now: Now) -> Option<Tick> {
        let at_second = |second: u64| {
            now.tick + Duration::from_millis(second.saturating_mul(1000).saturating_sub(now.wall.millis()))
        };
        let ready = self.fanout.is_ready().then_some(now.tick);
        let policy = self.policies.next_until().map(at_second);
        [self.engine.wake(), self.settled, ready, policy].into_iter().flatten().min()
    }

    pub(super) fn load(&self) -> (usize, usize, usize) {
        (self.watches.len(), self.records.len(), self.fanout.len())
    }

    /// What is kept of a subscription.
    fn kept(&self, id: Ulid) -> Option<KeptSubscription> {
        let (held, watch) = (self.engine.subscription(id)?, self.watches.get(&id)?);
        Some(KeptSubscription {
            id,
            subscriber: held.subscriber.clone(),
            device: held.device.clone(),
            target: (*held.target).to_owned(),
            events: held.events.clone(),
            expires_at: held.expires_at,
            seq: watch.reserved,
            capability: held.capability.clone(),
            with_record: watch.with_record,
        })
    }

    /// The body of a notify, with what its subscriber asked for besides (PRS-20, PRS-21).
    fn body(&self, notify: &Notify) -> Map<String, Value> {
        let mut body = notify.body.to_map();
        let with_record = self.watches.get(&notify.subscription).is_some_and(|watch| watch.with_record);
        let target = self.engine.subscription(notify.subscription).map(|held| &held.target);
        if let (true, Told::Publication(_), Some(kept)) =
            (with_record, &notify.body, target.and_then(|stream| self.records.get(stream)))
        {
            let mut room = MAX_ATTACHED_BYTES - kept.text.len().min(MAX_ATTACHED_BYTES);
            let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
            body.extend(parse(&kept.text).map(|record| ("record".to_owned(), record)));
            let fits = |statement: &&KeptStatement| {
                let fits = statement.text.len() <= room;
                room -= if fits { statement.text.len() } else { 0 };
                fits
            };
            let statements: Vec<Value> =
                kept.statements.iter().filter(fits).filter_map(|statement| parse(&statement.text)).collect();
            if !statements.is_empty() {
                body.insert("statements".into(), statements.into());
            }
        }
        body
    }
}

impl Host {
    /// Takes a message that is for the authority. False if it is not.
    pub(super) fn for_authority(
        &mut self,
        now: Now,
        conn: Conn,
        (device, identity): (&Did, &Did),
        verified: &Verified<wire::Message>,
        message: &Message,
        out: &mut Vec<Output>,
    ) -> bool {
        let from = From { conn, device, message, said: verified.message() };
        let fits = match from.said {
            // SUB-1: another authority is reached like anybody else, by `to`.
            wire::Message::Subscribe(subscribe) if subscribe.to == self.did => *verified.signer() == *device,
            wire::Message::Publish(_) => message.text.len() <= MAX_RECORD_BYTES,
            wire::Message::Unpublish(_) => true,
            wire::Message::Provenance(_) => message.text.len() <= MAX_STATEMENT_BYTES,
            _ => return false,
        };
        // CUS-21. Neither answer depends on what the message is about.
        if !fits || !self.has_disk() {
            self.refuse(now, conn, message, Reason::TRANSPORT_ROUTING_REFUSED, None, out);
            return true;
        }
        let speaker = self.speaker(verified, (device, identity));
        if let wire::Message::Subscribe(subscribe) = from.said
            && !self.join(now, identity, subscribe, out)
        {
            self.refuse(now, conn, message, Reason::TRANSPORT_ROUTING_REFUSED, None, out);
            return true;
        }
        if let wire::Message::Subscribe(subscribe) = from.said
            && let Some(mode) = subscribe.claims.as_deref().and_then(policies::claimed)
            && !self.set_policy(now, from, &speaker, subscribe, mode, out)
        {
            self.refuse(now, conn, message, Reason::TRANSPORT_ROUTING_REFUSED, None, out);
            return true;
        }
        let received = Received::new(from.said, verified.signer().clone(), speaker);
        self.consult(now, authority::Input::Received(received), Some(from), out);
        true
    }

    /// DEL-24: for whom the signer speaks. Of several identities that it proves to act for, the one it names counts.
    fn speaker(&self, verified: &Verified<wire::Message>, (device, identity): (&Did, &Did)) -> Did {
        let named = match verified.message() {
            wire::Message::Publish(publish) => Some(&publish.publisher),
            wire::Message::Unpublish(unpublish) => Some(&unpublish.publisher),
            wire::Message::Provenance(provenance) => Some(&provenance.processor),
            _ => None,
        };
        let signer = verified.signer();
        if verified.identity() != signer {
            return verified.identity().clone(); // DEL-22
        }
        let bound = (signer == device).then_some(identity);
        let known = bound.or_else(|| self.engine.identity_of(signer));
        let mut proven = verified.proofs().iter().map(|proof| &proof.identity);
        let as_named = proven.clone().find(|identity| Some(*identity) == named);
        let own = named.filter(|named| *named == signer);
        as_named.or(own).or(known).or_else(|| proven.next()).unwrap_or(signer).clone()
    }

    /// PRS-1: an identity says who may see whether it is there. False if there is no room for that.
    fn set_policy(
        &mut self,
        now: Now,
        from: From<'_>,
        speaker: &Did,
        subscribe: &message::Subscribe,
        mode: Mode,
        out: &mut Vec<Output>,
    ) -> bool {
        let is_own = subscribe.target == speaker.as_str() && subscribe.events == [SubscriptionEvent::PRESENCE];
        if !is_own || subscribe.expires_in == 0 {
            return true; // somebody else's claim about it, which counts for nothing
        }
        let policy = policies::kept(speaker.clone(), subscribe.common.id, now.wall.secs(), mode.clone());
        match self.hosted.policies.put(policy.clone()) {
            Ok(true) => {
                self.write_owed(Some(from.device), Write::Policy(policy), out);
                let target = speaker.to_string();
                self.consult(now, authority::Input::Policy { target: target.clone(), mode }, None, out);
                self.consult(now, authority::Input::Enforce { target }, None, out);
                true
            }
            Ok(false) => true,
            Err(policies::Full) => false,
        }
    }

    /// A device came (BC-93). One that was counted already has not come again: a newer connection changes nothing (WS-7).
    pub(super) fn came(&mut self, now: Now, device: &Did, identity: &Did, out: &mut Vec<Output>) {
        if self.engine.is_bound(device) && !self.hosted.engine.is_bound(device, identity) {
            let (device, identity) = (device.clone(), identity.clone());
            self.consult(now, authority::Input::Bind { device, identity }, None, out);
        }
        self.hosted.fanout.wake(device);
        self.tell_some(now, 1, out);
    }

    /// A device has read something: what waits for that may be tried again.
    pub(super) fn has_read(&mut self, device: &Did) {
        self.hosted.fanout.wake(device);
    }

    /// A device of this identity went.
    pub(super) fn went(&mut self, now: Now, device: &Did, identity: &Did, out: &mut Vec<Output>) {
        if self.hosted.engine.is_bound(device, identity) {
            let (unbound, identity) = (device.clone(), identity.clone());
            self.consult(now, authority::Input::Unbind { device: unbound, identity }, None, out);
        }
    }

    /// What the clock does, and what waited for its turn.
    pub(super) fn advance_authority(&mut self, now: Now, is_tick: bool, out: &mut Vec<Output>) {
        while let Some(subject) = self.hosted.policies.expire(now.wall.secs()) {
            let target = subject.to_string();
            self.write(Write::NoPolicy(subject), out);
            self.consult(now, authority::Input::NoPolicy { target: target.clone() }, None, out);
            self.consult(now, authority::Input::Enforce { target }, None, out);
        }
        if self.hosted.engine.wake().is_some_and(|due| due <= now.tick) {
            self.consult(now, authority::Input::Tick, None, out);
        }
        if self.hosted.settled.is_some_and(|settled| settled <= now.tick) {
            for _ in 0..EACH_TICK {
                let Some(id) = self.hosted.untold.pop_first() else { break };
                self.consult(now, authority::Input::Tell(id), None, out);
            }
            self.hosted.settled = (!self.hosted.untold.is_empty()).then_some(now.tick);
        }
        self.hosted.inputs += 1;
        if is_tick {
            self.tell_some(now, EACH_TICK, out);
        } else if self.hosted.inputs >= EACH_INPUTS {
            self.hosted.inputs = 0;
            self.tell_some(now, 1, out);
        }
    }

    /// Everything up to this write is durable: who subscribed may know.
    pub(super) fn accept_subscriptions(&mut self, now: Now, stored: u64, out: &mut Vec<Output>) {
        while let Some((_, id)) = self.hosted.accepted.pop_front_if(|(write, _)| *write <= stored) {
            let Some(watch) = self.hosted.watches.get_mut(&id) else { continue };
            let (first, then) = (watch.first.take(), watch.then.take());
            for notify in first.into_iter().chain(then) {
                self.hand_over(now, notify, out);
            }
        }
    }

    /// Asks the engine, and carries out what it says.
    fn consult(&mut self, now: Now, input: authority::Input, from: Option<From<'_>>, out: &mut Vec<Output>) {
        let mut told = std::mem::take(&mut self.hosted.told);
        self.hosted.engine.handle(now, input, &mut told);
        for output in told.drain(..) {
            self.carry_out_told(now, output, from, out);
        }
        self.hosted.told = told;
    }

    fn carry_out_told(&mut self, now: Now, told: authority::Output, from: Option<From<'_>>, out: &mut Vec<Output>) {
        match told {
            authority::Output::Publication { stream, .. } => self.keep_record(stream, from, out),
            authority::Output::Provenance { stream, processor } => {
                if let (Some(from), Some(kept)) = (from, self.hosted.records.get_mut(&stream)) {
                    kept.statements.push(KeptStatement { processor, text: from.message.text.clone() });
                    let kept = kept.clone();
                    self.write_owed(Some(from.device), Write::Record(kept), out);
                }
            }
            authority::Output::Forgotten { stream } => {
                self.hosted.records.remove(&stream);
                self.write(Write::NoRecord(stream), out);
            }
            authority::Output::Subscription { id, .. } => {
                self.hosted.fanout.forget(id);
                self.over(id, from, out);
            }
            authority::Output::Notify(notify) => self.notify(now, notify, from, out),
            authority::Output::Reject { to, session } => {
                let Some(From { conn, .. }) = from else { return };
                out.push(Output::Event(Event::Refused(conn, Reason::POLICY_BLOCKED)));
                let reject = self.reject(now, to, session, Reason::POLICY_BLOCKED);
                self.transmit(conn, None, reject.text, out);
                self.count_refusal(now, conn, out); // to ask about everybody costs a connection
            }
            authority::Output::Drop(why) => {
                let Some(From { conn, message, .. }) = from else { return };
                // RLY-4
                let reason = Reason::TRANSPORT_ROUTING_REFUSED;
                out.push(Output::Event(Event::Refused(conn, reason.clone())));
                let refused = Refusal {
                    detail: Some(why.as_str().to_owned()),
                    ..Refusal::of(message.from.clone(), reason, Some(message.id))
                };
                self.send_refusal(now, conn, refused, out);
            }
        }
    }

    fn keep_record(&mut self, stream: Arc<str>, from: Option<From<'_>>, out: &mut Vec<Output>) {
        let Some(From { device, message, said, .. }) = from else { return }; // it expired, which its text tells
        let kept = match (said, self.hosted.records.get_mut(&stream)) {
            (wire::Message::Unpublish(_), Some(kept)) => {
                kept.withdrawn = true;
                kept.clone()
            }
            (wire::Message::Publish(_), _) => {
                let text = message.text.clone();
                let kept = KeptRecord { stream: stream.clone(), text, withdrawn: false, statements: Vec::new() };
                self.hosted.records.insert(stream, kept.clone());
                kept
            }
            _ => return,
        };
        self.write_owed(Some(device), Write::Record(kept), out);
    }

    /// Nothing is kept of this subscription any more.
    fn over(&mut self, id: Ulid, from: Option<From<'_>>, out: &mut Vec<Output>) {
        self.hosted.untold.remove(&id);
        if self.hosted.watches.remove(&id).is_some() {
            self.write_owed(from.map(|from| from.device), Write::NoSubscription(id), out);
        }
    }

    fn notify(&mut self, now: Now, notify: Notify, from: Option<From<'_>>, out: &mut Vec<Output>) {
        let id = notify.subscription;
        self.hosted.untold.remove(&id);
        if notify.state == NotifyState::Terminated {
            // Its last word. What waits for the disk goes out with it, in order.
            let waited = self.hosted.watches.get_mut(&id).and_then(|watch| watch.first.take());
            self.over(id, from, out);
            if let Some(notify) = waited {
                self.hand_over(now, notify, out);
            }
            self.hosted.fanout.forget(id); // what is parked waits for its device, which may never come back
            return self.hosted.fanout.push(notify);
        }
        if let Some(watch) = self.hosted.watches.get_mut(&id) {
            if watch.first.is_some() {
                watch.then = Some(notify);
                return;
            }
            // Well before its numbers run out, more are reserved.
            if notify.seq + SEQ_BLOCK / 2 >= watch.reserved {
                watch.reserved = notify.seq + SEQ_BLOCK;
                if let Some(kept) = self.hosted.kept(id) {
                    self.write(Write::Subscription(kept), out);
                }
            }
            return self.hosted.fanout.push(notify);
        }
        let Some(From { device, said: wire::Message::Subscribe(subscribe), .. }) = from else { return };
        let claims = subscribe.claims.as_deref().unwrap_or_default();
        let with_record = claims.iter().any(|claim| policies::is(claim, "with-record"));
        let reserved = notify.seq + SEQ_BLOCK;
        self.hosted.watches.insert(id, Watch { reserved, with_record, first: Some(notify), then: None });
        if let Some(kept) = self.hosted.kept(id) {
            self.write_owed(Some(device), Write::Subscription(kept), out);
            self.hosted.accepted.push_back((self.written, id));
        }
    }

    /// Sends up to so many of the notifies that wait for their turn.
    fn tell_some(&mut self, now: Now, most: usize, out: &mut Vec<Output>) {
        for _ in 0..most {
            let Some(notify) = self.hosted.fanout.next() else { return };
            self.hand_over(now, notify, out);
        }
    }

    /// Signs a notify for its device, or has it wait for that.
    fn hand_over(&mut self, now: Now, notify: Notify, out: &mut Vec<Output>) {
        let conn = self.devices.get(&notify.to).copied();
        let unread = conn.and_then(|conn| self.connections.get(&conn)).map(|connection| connection.custody.len());
        let is_last = notify.state == NotifyState::Terminated;
        if !is_last && unread.is_none_or(|unread| unread >= MAX_UNREAD) {
            return self.hosted.fanout.park(notify);
        }
        let device = notify.to.clone();
        let message = Arc::new(self.signed(now, notify));
        match conn {
            Some(conn) => self.deliver(now, conn, device, message, None, None, out),
            None => {
                // SNF-5: nothing would tell it later.
                self.engine.set_disk(self.has_disk());
                self.engine.handle(now, engine::Input::Undelivered { to: device, message }, &mut self.routed);
                self.carry_out(now, None, out);
            }
        }
    }

    fn signed(&mut self, now: Now, notify: Notify) -> Message {
        let body = self.hosted.body(&notify);
        let Notify { to, subscription, seq, state, reason, .. } = notify;
        let common = self.common(now, &[ProfileId::INTERACTIVE_MEDIA]);
        let notify: wire::Message = message::Notify { common, to, subscription, seq, state, body, reason }.into();
        let text: Arc<str> = Arc::from(self.signer.sign(&notify).text());
        debug_assert!(text.len() <= MAX_ENVELOPE_BYTES, "MAX_ATTACHED_BYTES leaves room for everything else");
        Message::own(&notify, text)
    }
}

fn engine(now: Now, presence_is_public: bool) -> Authority {
    let engine = Authority::new(now, []);
    if presence_is_public { engine } else { engine.with_private_presence() }
}

/// The record that was kept.
fn publish(kept: &KeptRecord) -> Option<message::Publish> {
    let payload = wire::Envelope::parse(&kept.text).ok()?.payload_bytes();
    match wire::Message::from_json(json::parse(str::from_utf8(&payload).ok()?).ok()?.root).ok()? {
        wire::Message::Publish(publish) => Some(publish),
        _ => None,
    }
}
