//! What the phone is told about: presence of people and streams it asked for, and who may see its own.
//!
//! A watch is one subscription after another: each is asked for half-way through the last (SUB-2), on a link that is kept up
//! while the watch lasts. Who answers is the relay of that link, by its verified `hello` (SUB-1); nobody else's word counts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::broadcast::{self, Capabilities, Evaluation};
use crate::relay::host::INVITE_CODE;
use crate::subscribe::subscriber::{self, Notify, Output as Heard, Request, Subscriber};
use crate::time::{Now, Tick};
use crate::wire::message::{Common, Publish, Subscribe, Unpublish, Variant};
use crate::wire::token::{CodecId, ProfileId, StreamState, SubscriptionEvent, TransportId};
use crate::wire::{Did, Message, Reason, Ulid};

use super::inbound::Inbound;
use super::link::Purpose;
use super::{Agent, Event, LinkId, Misuse, Output, Relay};

/// Watches at one time.
pub(super) const WATCHES: usize = 256;
/// SUB-3: the tightest cap, and for how long a policy is asked about.
const WATCH_SECS: u32 = 3_600;
const POLICY_SECS: u32 = 60;
/// How long a request is valid, and a record that was published.
const REQUEST_SECS: u64 = 120;
const RECORD_SECS: u64 = 86_400;

/// Who may see whether the owner is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// These, and nobody if there are none.
    Only(Vec<Did>),
}

/// A stream to tell the world about.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// What comes after the publisher's DID in its id; nothing for the publisher's only stream.
    pub name: Option<String>,
    /// What it is called: a claim (TRU-9).
    pub title: Option<String>,
    /// Whether it is on.
    pub state: StreamState,
    /// Ways to receive it, in order of preference (BC-3).
    pub variants: Vec<Variant>,
}

/// What a watch was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Which event: `presence` or `publication`.
    pub event: Option<String>,
    /// How things stand.
    pub state: Option<String>,
    /// The record's id, for a publication.
    pub publication: Option<Ulid>,
    /// The record itself and what it says about itself, if the authority sent it along: verified here, or why it is not.
    pub record: Option<Result<Record, String>>,
}

/// A verified record, as far as it is shown (BC-10 to BC-15).
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What its publisher calls it: a claim.
    pub title: Option<String>,
    /// Where the first variant that this phone can play is.
    pub uri: Option<String>,
    /// Whose stream it is, who passed it on, and how far signatures cover it.
    pub display: broadcast::Display,
}

#[derive(Debug)]
struct Watch {
    link: LinkId,
    target: String,
    event: SubscriptionEvent,
    /// Claims to send along. A watch for the sake of its claims is not renewed.
    claims: Vec<Map<String, Value>>,
    is_renewed: bool,
    /// The subscription in force, and when the next one is asked for.
    subscription: Option<Ulid>,
    due: Option<Tick>,
}

/// The watches, and their subscriptions.
#[derive(Debug)]
pub(super) struct Watches {
    subscriber: Subscriber,
    watches: BTreeMap<Ulid, Watch>,
}

impl Watches {
    pub(super) fn new(now: Now) -> Self {
        Self { subscriber: Subscriber::new(now), watches: BTreeMap::new() }
    }

    /// Whether a watch needs this link.
    pub(super) fn need(&self, link: LinkId) -> bool {
        self.watches.values().any(|watch| watch.link == link)
    }

    /// The watch that a subscription belongs to.
    fn of(&self, subscription: Ulid) -> Option<Ulid> {
        let found = self.watches.iter().find(|(_, watch)| watch.subscription == Some(subscription));
        found.map(|(id, _)| *id)
    }

    pub(super) fn wake(&self) -> Option<Tick> {
        self.watches.values().filter_map(|watch| watch.due).chain(self.subscriber.wake()).min()
    }
}

impl Agent {
    /// Watches whether somebody is there. The authority is the node at the first of `routes`, or else our own; what it says
    /// comes as [`Event::Told`].
    pub fn watch_presence(&mut self, now: Now, whom: &Did, routes: Vec<Relay>) -> Result<Ulid, Misuse> {
        self.watch(now, whom.to_string(), SubscriptionEvent::PRESENCE, routes, Vec::new())
    }

    /// Watches a stream.
    pub fn watch_stream(&mut self, now: Now, stream: String, routes: Vec<Relay>) -> Result<Ulid, Misuse> {
        let claims = vec![claim(json!({ "type": "with-record" }))]; // PRS-20
        self.watch(now, stream, SubscriptionEvent::PUBLICATION, routes, claims)
    }

    /// Tells our own node who may see whether we are there (PRS-1). It has done so when it says how we stand.
    pub fn show_presence(&mut self, now: Now, to: &Visibility) -> Result<Ulid, Misuse> {
        let policy = match to {
            Visibility::Public => json!({ "type": "presence-policy", "mode": "public" }),
            Visibility::Only(listed) => json!({ "type": "presence-policy", "mode": "allow", "allow": listed }),
        };
        let target = self.did.to_string();
        self.watch(now, target, SubscriptionEvent::PRESENCE, Vec::new(), vec![claim(policy)])
    }

    /// Brings an invitation to our own node (ADM-2). We are a member when it says how we stand.
    pub fn join(&mut self, now: Now, code: &str) -> Result<Ulid, Misuse> {
        let (target, invitation) = (self.did.to_string(), json!({ "type": INVITE_CODE, "code": code }));
        self.watch(now, target, SubscriptionEvent::PRESENCE, Vec::new(), vec![claim(invitation)])
    }

    /// Ends a watch. Nothing more is heard of it.
    pub fn unwatch(&mut self, now: Now, watch: Ulid) {
        let Some(watch) = self.watches.watches.remove(&watch) else { return };
        if watch.subscription.is_some() {
            self.ask(now, &watch, 0); // AUT-20
        }
    }

    /// Publishes a stream at our own node, which tells those who subscribed. Returns the record's id; a refusal comes as
    /// [`Event::Reported`].
    pub fn publish(&mut self, now: Now, stream: Stream) -> Result<Ulid, Misuse> {
        let link = self.home.ok_or(Misuse::Nowhere)?;
        let publisher = self.did.clone();
        let stream_id = self.stream_id(stream.name.as_deref());
        let Stream { title, state, variants, .. } = stream;
        let common = self.record_common(now, RECORD_SECS);
        let id = common.id;
        let publish = Publish { common, publisher, stream_id, state, variants, title, integrity: None, policy: None };
        let message = Message::from(publish);
        message.check().map_err(|_| Misuse::TooLong)?;
        self.say(link, message);
        Ok(id)
    }

    /// Withdraws a record of ours.
    pub fn unpublish(&mut self, now: Now, name: Option<&str>, publication: Ulid) -> Result<(), Misuse> {
        let link = self.home.ok_or(Misuse::Nowhere)?;
        let (publisher, stream_id) = (self.did.clone(), self.stream_id(name));
        let common = self.record_common(now, REQUEST_SECS);
        self.say(link, Unpublish { common, publisher, stream_id, publication });
        Ok(())
    }

    /// The id of a stream of ours (BC-2).
    #[must_use]
    pub fn stream_id(&self, name: Option<&str>) -> String {
        name.map_or_else(|| self.did.to_string(), |name| format!("{}:{name}", self.did))
    }

    /// BC-1: a record is the publisher's own word, whichever of its devices signs.
    fn record_common(&mut self, now: Now, lifetime: u64) -> Common {
        let from = self.did.clone();
        Common { from, ..self.common(now, lifetime, &[ProfileId::VERIFIED_BROADCAST]) }
    }

    fn watch(
        &mut self,
        now: Now,
        target: String,
        event: SubscriptionEvent,
        routes: Vec<Relay>,
        claims: Vec<Map<String, Value>>,
    ) -> Result<Ulid, Misuse> {
        if self.watches.watches.len() >= WATCHES {
            return Err(Misuse::TooManyWatches);
        }
        let link = match routes.first() {
            Some(relay) => self.link_to(relay, Purpose::Errand),
            None => self.home.ok_or(Misuse::Nowhere)?,
        };
        let id = Ulid::generate(now.wall, &mut self.rng);
        let is_renewed = !claims.iter().any(|claim| claim.contains_key("mode") || claim.contains_key("code"));
        let due = Some(now.tick);
        let watch = Watch { link, target, event, claims, is_renewed, subscription: None, due };
        self.watches.watches.insert(id, watch);
        Ok(id)
    }

    /// Asks for what is due, at the authorities that are known by now.
    pub(super) fn advance_watches(&mut self, now: Now) {
        let due = |watch: &Watch| watch.due.is_some_and(|due| due <= now.tick);
        let ids: Vec<Ulid> = self.watches.watches.iter().filter(|(_, watch)| due(watch)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut watch) = self.watches.watches.remove(&id) else { continue };
            let secs = if watch.is_renewed { WATCH_SECS } else { POLICY_SECS };
            // Without its link it is asked for when that is bound.
            let asked = self.ask(now, &watch, secs);
            watch.due = match asked {
                Some(_) if watch.is_renewed => Some(now.tick + Duration::from_secs(u64::from(secs) / 2)),
                _ => None,
            };
            watch.subscription = asked.or(watch.subscription);
            self.watches.watches.insert(id, watch);
        }
        let mut out = Vec::new();
        self.watches.subscriber.handle(now, subscriber::Input::Tick, &mut out);
        for heard in out {
            if let Heard::Lapsed(subscription) = heard
                && let Some(watch) = self.watches.of(subscription)
            {
                self.end_watch(watch, Some(Reason::SESSION_EXPIRED));
            }
        }
    }

    /// The link is bound: its watches are asked for, if they are not in force.
    pub(super) fn watch_over(&mut self, now: Now, link: LinkId) {
        for watch in self.watches.watches.values_mut() {
            if watch.link == link && watch.subscription.is_none() {
                watch.due = Some(now.tick);
            }
        }
    }

    /// Nothing says where the authority is any more, and none was ever heard there.
    pub(super) fn watches_lost(&mut self, link: LinkId) {
        let lost = |watch: &Watch| watch.link == link;
        let ids: Vec<Ulid> = self.watches.watches.iter().filter(|(_, watch)| lost(watch)).map(|(id, _)| *id).collect();
        for id in ids {
            self.end_watch(id, None);
        }
    }

    fn ask(&mut self, now: Now, watch: &Watch, expires_in: u32) -> Option<Ulid> {
        let authority = self.links.get(&watch.link)?.bound()?.clone();
        let common: Common = self.common(now, REQUEST_SECS, &[ProfileId::INTERACTIVE_MEDIA]);
        let id = common.id;
        let (target, events) = (watch.target.clone(), vec![watch.event.clone()]);
        if expires_in > 0 {
            let request =
                Request { id, to: authority.clone(), target: target.clone(), events: events.clone(), expires_in };
            let mut out = Vec::new();
            self.watches.subscriber.handle(now, subscriber::Input::Subscribe(request), &mut out);
            if !matches!(out.first(), Some(Heard::Send(_))) {
                return None;
            }
        }
        let claims = (!watch.claims.is_empty()).then(|| watch.claims.clone());
        let subscribe = Subscribe { common, to: authority, target, events, expires_in, claims, capability: None };
        self.say(watch.link, subscribe);
        Some(id)
    }

    /// A verified message that may be about a watch. False if it is not.
    pub(super) fn heard_about_watch(&mut self, now: Now, inbound: &Inbound) -> bool {
        let from = (inbound.device.clone(), inbound.identity.clone());
        let (subscription, input, body) = match &inbound.message {
            Message::Notify(notify) => {
                let heard = Notify {
                    from,
                    subscription: notify.subscription,
                    seq: notify.seq,
                    state: notify.state,
                    reason: notify.reason.clone(),
                    body: notify.body.clone(),
                };
                (notify.subscription, subscriber::Input::Notify(heard), Some(&notify.body))
            }
            Message::Reject(reject) if self.watches.of(reject.session).is_some() => {
                let (session, reason) = (reject.session, reject.reason.clone());
                (session, subscriber::Input::Reject { from, session, reason }, None)
            }
            // RLY-4: the authority has no room, or no disk. Only its own word counts.
            Message::Error(error) => {
                let Some(watch) = error.in_reply_to.and_then(|id| self.watches.of(id)) else { return false };
                if inbound.via.as_ref() == Some(&inbound.device) {
                    self.end_watch(watch, Some(error.reason.clone()));
                }
                return true;
            }
            _ => return false,
        };
        let mut out = Vec::new();
        self.watches.subscriber.handle(now, input, &mut out);
        let Some(watch) = self.watches.of(subscription) else { return true };
        for heard in out {
            match heard {
                Heard::Told { event, state } => {
                    let told = self.told(now, watch, event, state, body);
                    self.out.push_back(Output::Event(Event::Told { watch, by: inbound.device.clone(), told }));
                    if self.watches.watches.get(&watch).is_some_and(|watch| !watch.is_renewed) {
                        self.watches.watches.remove(&watch); // it has served its purpose
                    }
                }
                Heard::Terminated(reason) => self.end_watch(watch, reason),
                Heard::Rejected(reason) => self.end_watch(watch, Some(reason)),
                Heard::Send(_) | Heard::Lapsed(_) | Heard::Drop(_) | Heard::Refused(_) => {}
            }
        }
        true
    }

    fn told(
        &mut self,
        now: Now,
        watch: Ulid,
        event: Option<String>,
        state: Option<String>,
        body: Option<&Map<String, Value>>,
    ) -> Told {
        let member = |name: &str| body.and_then(|body| body.get(name));
        let publication = member("publication").and_then(Value::as_str).and_then(|id| id.parse().ok());
        let target = self.watches.watches.get(&watch).map(|watch| watch.target.clone());
        let record = member("record").map(|record| {
            let statements = member("statements").and_then(Value::as_array).into_iter().flatten();
            let statements: Vec<String> = statements.map(Value::to_string).collect();
            let found = broadcast::evaluate(
                &mut self.verifier,
                &record.to_string(),
                statements.iter().map(String::as_str),
                &playable(),
                now,
                &self.documents,
            );
            let evaluation = found.map_err(|refusal| refusal.to_string())?;
            let publish = evaluation.publication.message();
            // Whoever holds a record chooses which one to send; it has to be the one that was asked for.
            if Some(&publish.stream_id) != target.as_ref() || Some(publish.common.id) != publication {
                return Err("it is not the record that was asked for".to_owned());
            }
            Ok(shown(evaluation))
        });
        Told { event, state, publication, record }
    }

    fn end_watch(&mut self, watch: Ulid, reason: Option<Reason>) {
        if self.watches.watches.remove(&watch).is_some() {
            self.out.push_back(Output::Event(Event::WatchEnded { watch, reason }));
        }
    }
}

/// What this phone could play of a stream: the codecs it has.
fn playable() -> Capabilities {
    Capabilities { codecs: vec![CodecId::OPUS], transports: vec![TransportId::WEBRTC] }
}

fn shown(evaluation: Evaluation) -> Record {
    let publish = evaluation.publication.message();
    let selected = evaluation.selected_variant.as_ref();
    let variant = publish.variants.iter().find(|variant| Some(&variant.id) == selected);
    Record {
        title: publish.title.clone(),
        uri: variant.map(|variant| variant.uri.clone()),
        display: evaluation.display.clone(),
    }
}

fn claim(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(claim) => claim,
        _ => Map::new(),
    }
}
