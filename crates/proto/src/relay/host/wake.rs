//! Devices that sleep: where they can be woken, and what for (docs/spec/wake.md).
//!
//! ```text
//!  subscribe to "wake" ─► registered, on disk ─► notify
//!  an envelope waits, or its device does not take it ─► worth it? ─► Pushes ─► Output::Wake ─► Input::Woken
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::refusals::Refusal;
use super::{Conn, Event, Host, Output};
use crate::envelope::Verified;
use crate::reach;
use crate::relay::kept::{KeptWake, Write};
use crate::relay::message::{Body, Message};
use crate::relay::pushes::{Done, Full, Pushes};
use crate::relay::rate::{Bucket, Buckets, Rate};
use crate::time::{Now, Tick};
use crate::wake::{Cause, Endpoint, Key, Outcome};
use crate::wire::message::{self, Subscribe};
use crate::wire::token::{NotifyState, ProfileId, SubscriptionEvent};
use crate::wire::{self, Did, Reason, Ulid};

/// WAK-7: how long a registration holds after it was last said.
pub const WAKE_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// A registration that is said again is written down anew when it gains so much.
const WORTH_WRITING: u64 = 86_400;

/// WAK-7: devices that can be woken, and those of one identity.
const MAX_DEVICES: usize = 65_536;
const MAX_EACH: usize = 16;

/// WAK-7: new registrations from one address. To say one again costs nothing.
const REGISTRATIONS: Rate = Rate { burst: 128, every: Duration::from_secs(60) };

/// WAK-14: wakes of one device, and those that one identity may cause.
const WAKES: Rate = Rate { burst: 16, every: Duration::from_secs(30) };
const CAUSED: Rate = Rate { burst: 12, every: Duration::from_secs(20) };

/// Identities whose wakes are counted.
const MAX_PARTIES: usize = 65_536;

/// WAK-13: how long after a wake for a call another call needs none. By then the device is there, or something went wrong.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

/// Devices that are woken on behalf of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// The node's public key, by which push services know it (RFC 8292).
    pub key: Key,
    /// Whether endpoints may be in private address space.
    pub allow_private: bool,
}

/// What became of a wake, for whoever counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Woken {
    /// The push service took it.
    Sent,
    /// It takes it later, perhaps.
    Retried,
    /// The endpoint does not exist any more.
    Gone,
    /// The endpoint is in private address space.
    Private,
    /// The endpoint's key is none.
    Unusable,
    /// The push service does not want it, or was tried too often.
    GivenUp,
    /// It was too late before it could be sent.
    Expired,
    /// Another one is on its way.
    Collapsed,
    /// The device, or who caused it, had too many lately.
    Rate,
    /// Too many wait.
    Full,
}

impl Woken {
    /// What it is called where it is counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Retried => "retried",
            Self::Gone => "gone",
            Self::Private => "private",
            Self::Unusable => "unusable",
            Self::GivenUp => "given-up",
            Self::Expired => "expired",
            Self::Collapsed => "collapsed",
            Self::Rate => "rate",
            Self::Full => "full",
        }
    }
}

/// Who can be woken, and what is under way.
#[derive(Debug)]
pub(super) struct Sleepers {
    devices: BTreeMap<Did, Sleeper>,
    by_identity: BTreeMap<Did, BTreeSet<Did>>,
    until: BTreeSet<(u64, Did)>,
    pushes: Pushes,
    /// Receipts that wait for the disk, by the write they wait for.
    receipts: VecDeque<(u64, Receipt)>,
    /// Identities whose keys have changed: what their devices said counts no more.
    doubtful: Vec<Did>,
    registrations: Buckets<IpAddr>,
    caused: Buckets<Did>,
}

#[derive(Debug)]
struct Sleeper {
    identity: Did,
    endpoint: Endpoint,
    until: u64,
    wakes: Bucket,
    /// Until when a wake of each cause makes another one unnecessary, unless the device comes before.
    on_their_way: [Option<Tick>; 2],
}

/// What a device is told when it is so.
#[derive(Debug)]
struct Receipt {
    device: Did,
    subscription: Ulid,
    until: Option<u64>,
}

impl Sleepers {
    pub(super) fn new() -> Self {
        Self {
            devices: BTreeMap::new(),
            by_identity: BTreeMap::new(),
            until: BTreeSet::new(),
            pushes: Pushes::default(),
            receipts: VecDeque::new(),
            doubtful: Vec::new(),
            registrations: Buckets::new(REGISTRATIONS, MAX_PARTIES),
            caused: Buckets::new(CAUSED, MAX_PARTIES),
        }
    }

    pub(super) fn wake(&self, now: Now) -> Option<Tick> {
        let over = self.until.first().map(|(second, _)| {
            now.tick + Duration::from_millis(second.saturating_mul(1000).saturating_sub(now.wall.millis()))
        });
        self.pushes.wake().into_iter().chain(over).min()
    }

    /// The keys of this identity are others now.
    pub(super) fn doubt(&mut self, identity: &Did) {
        if self.by_identity.contains_key(identity) {
            self.doubtful.push(identity.clone());
        }
    }

    fn has_room_for(&self, identity: &Did) -> bool {
        let own = self.by_identity.get(identity).map_or(0, BTreeSet::len);
        own < MAX_EACH && self.devices.len() < MAX_DEVICES
    }

    fn insert(&mut self, kept: KeptWake) {
        let KeptWake { device, identity, endpoint, until } = kept;
        self.remove(&device);
        self.by_identity.entry(identity.clone()).or_default().insert(device.clone());
        self.until.insert((until, device.clone()));
        let (wakes, on_their_way) = (Bucket::default(), [None; 2]);
        self.devices.insert(device, Sleeper { identity, endpoint, until, wakes, on_their_way });
    }

    fn remove(&mut self, device: &Did) -> bool {
        let Some(sleeper) = self.devices.remove(device) else { return false };
        self.until.remove(&(sleeper.until, device.clone()));
        if let Some(devices) = self.by_identity.get_mut(&sleeper.identity) {
            devices.remove(device);
            if devices.is_empty() {
                self.by_identity.remove(&sleeper.identity);
            }
        }
        self.pushes.forget(device);
        true
    }
}

impl Host {
    /// Takes back what was kept before a restart; devices are known already.
    pub(super) fn restore_wakes(&mut self, wakes: BTreeMap<Did, KeptWake>) {
        for kept in wakes.into_values() {
            self.engine.expect(&kept.device, kept.until);
            self.sleepers.insert(kept);
        }
    }

    /// Devices that can be woken, and requests to push services that are under way.
    #[must_use]
    pub fn sleepers(&self) -> (usize, usize) {
        (self.sleepers.devices.len(), self.sleepers.pushes.flying())
    }

    /// Takes a `subscribe` by which a device says where it can be woken. False if it is another one.
    pub(super) fn for_wake(
        &mut self,
        now: Now,
        conn: Conn,
        (device, identity): (&Did, &Did),
        verified: &Verified<wire::Message>,
        message: &Message,
        out: &mut Vec<Output>,
    ) -> bool {
        let (Some(wake), wire::Message::Subscribe(subscribe)) = (self.config.wake, verified.message()) else {
            return false;
        };
        if subscribe.to != self.did || subscribe.events != [SubscriptionEvent::WAKE] {
            return false;
        }
        let is_own = verified.signer() == device && subscribe.target == device.as_str();
        let wanted = match wanted(subscribe) {
            Ok(wanted) => wanted,
            Err(wrong) => {
                self.refuse_wake(now, conn, message, Some(wrong.to_string()), out);
                return true;
            }
        };
        let is_private = |endpoint: &Endpoint| endpoint.address().is_some_and(|ip| !reach::is_public(ip));
        if let Some(endpoint) = &wanted
            && !wake.allow_private
            && is_private(endpoint)
        {
            // WAK-23
            let why = "the endpoint is in private address space".to_owned();
            self.refuse_wake(now, conn, message, Some(why), out);
            return true;
        }
        // WAK-3, WAK-7, CUS-21. Guests of a closed node call and are called while they are there (ADM-4).
        let has_room = || self.sleepers.devices.contains_key(device) || self.sleepers.has_room_for(identity);
        if !is_own || !self.has_disk() || wanted.is_some() && !(self.admittance.serves(identity) && has_room()) {
            self.refuse_wake(now, conn, message, None, out);
            return true;
        }
        let is_new = wanted.is_some() && !self.sleepers.devices.contains_key(device);
        let from = self.connections.get(&conn).map(|connection| connection.from);
        if let Some(from) = from.filter(|_| is_new)
            && let Err(wait) = self.sleepers.registrations.take(&from, now.tick)
        {
            self.refuse(now, conn, message, Reason::TRANSPORT_RATE_LIMITED, Some(wait), out);
            return true;
        }
        self.register(now, conn, (device, identity), subscribe, wanted, out);
        true
    }

    fn register(
        &mut self,
        now: Now,
        conn: Conn,
        (device, identity): (&Did, &Did),
        subscribe: &Subscribe,
        wanted: Option<Endpoint>,
        out: &mut Vec<Output>,
    ) {
        let subscription = subscribe.common.id;
        // WAK-8: no longer than the device may act for the identity.
        let deadline = self.connections.get(&conn).and_then(|connection| connection.deadline);
        let delegated = deadline.map(|deadline| now.wall.secs().saturating_add(deadline.since(now.tick).as_secs()));
        let until = now.wall.secs().saturating_add(WAKE_KEPT.as_secs()).min(delegated.unwrap_or(u64::MAX));
        let is_written = match (&wanted, self.sleepers.devices.get(device)) {
            (Some(endpoint), Some(held)) => {
                held.endpoint == *endpoint
                    && held.identity == *identity
                    && (held.until..held.until.saturating_add(WORTH_WRITING)).contains(&until)
            }
            (None, None) => true,
            _ => false,
        };
        let until = match (is_written, self.sleepers.devices.get(device)) {
            (true, held) => held.map(|held| held.until),
            (false, _) => wanted.as_ref().map(|_| until),
        };
        if !is_written {
            let write = match wanted.zip(until) {
                Some((endpoint, until)) => {
                    let kept = KeptWake { device: device.clone(), identity: identity.clone(), endpoint, until };
                    self.sleepers.insert(kept.clone());
                    Write::Wake(kept)
                }
                None => {
                    self.sleepers.remove(device);
                    Write::NoWake(device.clone())
                }
            };
            self.engine.expect(device, until.unwrap_or_default());
            self.write_owed(Some(device), write, out);
        }
        if subscribe.expires_in == 0 {
            return; // SUB-2: nobody expects an answer
        }
        let receipt = Receipt { device: device.clone(), subscription, until };
        self.sleepers.receipts.push_back((self.written, receipt));
        self.give_receipts(now, self.stored, out);
    }

    fn refuse_wake(&mut self, now: Now, conn: Conn, message: &Message, detail: Option<String>, out: &mut Vec<Output>) {
        let reason = Reason::TRANSPORT_ROUTING_REFUSED;
        out.push(Output::Event(Event::Refused(conn, reason.clone())));
        let refused = Refusal { detail, ..Refusal::of(message.from.clone(), reason, Some(message.id)) };
        self.send_refusal(now, conn, refused, out);
    }

    /// WAK-3: everything up to this write is durable, and devices may know.
    pub(super) fn give_receipts(&mut self, now: Now, stored: u64, out: &mut Vec<Output>) {
        while let Some((_, receipt)) = self.sleepers.receipts.pop_front_if(|(write, _)| *write <= stored) {
            let Receipt { device, subscription, until } = receipt;
            // One that has gone meanwhile says so again when it is back.
            let Some(conn) = self.devices.get(&device).copied() else { continue };
            let mut body = Map::new();
            body.insert("event".to_owned(), SubscriptionEvent::WAKE.as_str().into());
            body.insert("state".to_owned(), if until.is_some() { "registered" } else { "none" }.into());
            body.extend(until.map(|until| ("expires_at".to_owned(), Value::from(until))));
            let common = self.common(now, &[ProfileId::INTERACTIVE_MEDIA]);
            let (to, seq, state) = (device.clone(), 1, NotifyState::Active);
            let notify: wire::Message =
                message::Notify { common, to, subscription, seq, state, body, reason: None }.into();
            let text: Arc<str> = Arc::from(self.signer.sign(&notify).text());
            self.deliver(now, conn, device, Arc::new(Message::own(&notify, text)), None, None, out);
        }
    }

    /// WAK-10, WAK-11: a message was let in for `to`. Devices of it that are away, and can be woken for it, are.
    pub(super) fn rouse(&mut self, now: Now, to: &Did, message: &Message, out: &mut Vec<Output>) {
        let Some(cause) = self.cause(message) else { return };
        let of_identity = self.sleepers.by_identity.get(to);
        let asleep: Vec<Did> = match self.sleepers.devices.contains_key(to) {
            true => vec![to.clone()],
            false => of_identity.into_iter().flatten().cloned().collect(),
        };
        for device in asleep {
            if !self.devices.contains_key(&device) {
                self.rouse_device(now, &device, cause, message, out);
            }
        }
        self.push(now, out);
    }

    /// WAK-12: a device has a connection and does not take what it is handed, as one does that fell asleep without a word.
    pub(super) fn rouse_unheard(&mut self, now: Now, device: &Did, message: &Message, out: &mut Vec<Output>) {
        if let Some(cause @ Cause::Call) = self.cause(message) {
            self.rouse_device(now, device, cause, message, out);
            self.push(now, out);
        }
    }

    /// WAK-10: what a message is worth waking somebody for, if it is. A call that is answered or given up is not (WAK-12, WAK-16).
    fn cause(&self, message: &Message) -> Option<Cause> {
        self.config.wake?;
        match &message.body {
            Body::Invite => {
                let attempt = self.engine.attempt(message.id);
                attempt.is_none_or(|(_, outcome)| outcome.is_none()).then_some(Cause::Call)
            }
            body if body.kind().is_held() => Some(Cause::Mail),
            _ => None,
        }
    }

    fn rouse_device(&mut self, now: Now, device: &Did, cause: Cause, message: &Message, out: &mut Vec<Output>) {
        // WAK-22
        let left = self.engine.deadline(message).saturating_sub(now.wall.secs());
        let until = now.tick + Duration::from_secs(left);
        let from = self.engine.identity_of(&message.from).unwrap_or(&message.from).clone();
        let Some(sleeper) = self.sleepers.devices.get_mut(device) else { return };
        if left == 0 {
            return;
        }
        let slot = match cause {
            Cause::Call => 0,
            Cause::Mail => 1,
        };
        if sleeper.on_their_way[slot].is_some_and(|until| now.tick < until) {
            return out.push(Output::Event(Event::Wake(Woken::Collapsed))); // WAK-13
        }
        // WAK-14
        if self.sleepers.caused.take(&from, now.tick).is_err() || sleeper.wakes.take(WAKES, now.tick).is_err() {
            return out.push(Output::Event(Event::Wake(Woken::Rate)));
        }
        sleeper.on_their_way[slot] = Some(match cause {
            Cause::Call => until.min(now.tick + ON_ITS_WAY),
            Cause::Mail => until,
        });
        if let Err(Full) = self.sleepers.pushes.submit(device, &sleeper.endpoint, cause, until) {
            sleeper.on_their_way[slot] = None;
            out.push(Output::Event(Event::Wake(Woken::Full)));
        }
    }

    /// Makes the requests that may be made now.
    fn push(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some(push) = self.sleepers.pushes.next(now.tick) {
            out.push(Output::Wake(push));
        }
    }

    /// What became of a request.
    pub(super) fn woken(&mut self, now: Now, id: u64, outcome: Outcome, out: &mut Vec<Output>) {
        let done = self.sleepers.pushes.done(now.tick, id, outcome, &mut self.rng);
        let what = match (&done, outcome) {
            (Done::Nothing, _) => None,
            (Done::Taken(_), _) => Some(Woken::Sent),
            (Done::Later, _) => Some(Woken::Retried),
            (_, Outcome::Gone) => Some(Woken::Gone),
            (_, Outcome::Forbidden) => Some(Woken::Private),
            (_, Outcome::Unusable) => Some(Woken::Unusable),
            _ => Some(Woken::GivenUp),
        };
        out.extend(what.map(|what| Output::Event(Event::Wake(what))));
        match done {
            // WAK-40: unless the device has said another one since.
            Done::Useless(device, endpoint) => {
                if self.sleepers.devices.get(&device).is_some_and(|sleeper| sleeper.endpoint == endpoint) {
                    self.not_woken_any_more(&device, out);
                }
            }
            Done::GivenUp(device) => {
                if let Some(sleeper) = self.sleepers.devices.get_mut(&device) {
                    sleeper.on_their_way = [None; 2]; // the next one may do better
                }
            }
            Done::Taken(_) | Done::Later | Done::Nothing => {}
        }
        self.push(now, out);
    }

    /// WAK-33: a device is there: it has been woken, whatever is still under way.
    pub(super) fn awake(&mut self, device: &Did, identity: &Did, out: &mut Vec<Output>) {
        let Some(sleeper) = self.sleepers.devices.get_mut(device) else { return };
        sleeper.on_their_way = [None; 2];
        self.sleepers.pushes.forget(device);
        let until = sleeper.until;
        if sleeper.identity == *identity {
            self.engine.expect(device, until);
        } else {
            self.not_woken_any_more(device, out); // WS-8, WAK-8
        }
    }

    /// ADM-1, ADM-4: who is not served is not woken either.
    pub(super) fn wake_those_served(&mut self, out: &mut Vec<Output>) {
        let unserved = |device: &Did, sleeper: &Sleeper| {
            !self.may_bind(device, &sleeper.identity) || !self.admittance.serves(&sleeper.identity)
        };
        let devices = self.sleepers.devices.iter();
        let over: Vec<Did> =
            devices.filter(|(device, held)| unserved(device, held)).map(|(did, _)| did.clone()).collect();
        for device in over {
            self.not_woken_any_more(&device, out);
        }
    }

    /// What the clock does.
    pub(super) fn advance_wakes(&mut self, now: Now, out: &mut Vec<Output>) {
        for identity in std::mem::take(&mut self.sleepers.doubtful) {
            for device in self.sleepers.by_identity.get(&identity).cloned().unwrap_or_default() {
                self.not_woken_any_more(&device, out); // WAK-8
            }
        }
        while let Some((until, device)) = self.sleepers.until.first().cloned()
            && until <= now.wall.secs()
        {
            self.not_woken_any_more(&device, out); // WAK-7
        }
        if self.sleepers.pushes.wake().is_some_and(|due| due <= now.tick) {
            for _ in 0..self.sleepers.pushes.expire(now.tick) {
                out.push(Output::Event(Event::Wake(Woken::Expired)));
            }
            self.push(now, out);
        }
    }

    fn not_woken_any_more(&mut self, device: &Did, out: &mut Vec<Output>) {
        if self.sleepers.remove(device) {
            self.engine.expect(device, 0);
            self.write(Write::NoWake(device.clone()), out);
        }
    }
}

/// WAK-3, WAK-5: what a `subscribe` asks for: an endpoint, or none any more.
fn wanted(subscribe: &Subscribe) -> Result<Option<Endpoint>, crate::wake::EndpointError> {
    if subscribe.expires_in == 0 {
        return Ok(None);
    }
    Endpoint::read(subscribe.claims.as_deref().unwrap_or_default())
}
