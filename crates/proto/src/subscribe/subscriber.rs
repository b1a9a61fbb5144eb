//! The subscriber: one party's own subscriptions (02 section 12.3).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::time::{Now, Tick};
use crate::wire::token::{NotifyState, SubscriptionEvent};
use crate::wire::{Did, Reason, Ulid};

/// Subscriptions remembered at once, those that are over included.
pub const SUBSCRIPTIONS: usize = 1_024;

/// One party's subscriptions.
#[derive(Debug)]
pub struct Subscriber {
    clock: Now,
    subscriptions: BTreeMap<Ulid, Subscription>,
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    /// Who answers for the target. Nobody else's `notify` or `reject` counts.
    pub authority: Did,
    /// What to.
    pub target: String,
    /// How it stands.
    pub state: State,
    /// The highest `seq` seen.
    pub seq: u64,
    expires_at: u64,
}

/// How a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Asked for.
    Pending,
    /// Confirmed by a first `notify`.
    Active,
    /// Ended by the authority.
    Terminated,
    /// Refused.
    Rejected,
    /// Ran out.
    Lapsed,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A person or program wants to be told about something.
    Subscribe(Request),
    /// A verified `notify` arrived.
    Notify(Notify),
    /// A verified `reject` arrived.
    Reject {
        /// Who it was verified to come from: device and identity.
        from: (Did, Did),
        /// What it refuses.
        session: Ulid,
        /// Why.
        reason: Reason,
    },
    /// Any other message (SBR-10).
    Other,
    /// Time passed.
    Tick,
}

/// What to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The id of the `subscribe`, which names the subscription.
    pub id: Ulid,
    /// Who answers for the target.
    pub to: Did,
    /// A subject's DID or a stream id.
    pub target: String,
    /// Which events.
    pub events: Vec<SubscriptionEvent>,
    /// For how many seconds.
    pub expires_in: u32,
}

/// What the subscriber reads of a verified `notify`.
#[derive(Debug, Clone)]
pub struct Notify {
    /// Who it was verified to come from: device and identity.
    pub from: (Did, Did),
    /// The subscription.
    pub subscription: Ulid,
    /// Its place in the sequence.
    pub seq: u64,
    /// Whether more will come.
    pub state: NotifyState,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// What is told.
    pub body: Map<String, Value>,
}

/// What to do, and what to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a `subscribe`.
    Send(Request),
    /// Show what was told. It is the authority's word (SUB-9).
    Told {
        /// Which event: the body's `event`, or `type` from an older writer (SUB-11).
        event: Option<String>,
        /// The state that was told.
        state: Option<String>,
    },
    /// The authority ended it.
    Terminated(Option<Reason>),
    /// The authority refused it; the reason is the one to act on (REG-1).
    Rejected(Reason),
    /// It ran out.
    Lapsed(Ulid),
    /// The message has no effect.
    Drop(Drop),
    /// Too many subscriptions are open to add this one.
    Refused(Ulid),
}

/// Why a message has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the labels of 02 section 12.3")]
pub enum Drop {
    UnknownSubscription,
    TerminatedSubscription,
    StaleSeq,
    NotSubscription,
}

impl Subscriber {
    /// A party without subscriptions.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { clock: now, subscriptions: BTreeMap::new() }
    }

    /// Takes one input; what follows from it comes out in order.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        self.clock = now;
        match input {
            Input::Subscribe(request) => out.push(self.subscribe(request)),
            Input::Notify(notify) => out.push(self.notified(notify)),
            Input::Reject { from, session, reason } => {
                let known = self.subscriptions.get_mut(&session).filter(|held| held.answers(&from));
                // SBR-2, SBR-3
                out.push(known.map_or(Output::Drop(Drop::UnknownSubscription), |held| {
                    held.state = State::Rejected;
                    Output::Rejected(reason.effective().0)
                }));
            }
            Input::Other => out.push(Output::Drop(Drop::NotSubscription)),
            Input::Tick => {
                let now = now.wall.secs();
                // SBR-9, SBR-11
                for (id, held) in &mut self.subscriptions {
                    if held.state == State::Active && held.expires_at <= now {
                        held.state = State::Lapsed;
                        out.push(Output::Lapsed(*id));
                    }
                }
            }
        }
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn wake(&self) -> Option<Tick> {
        let active = self.subscriptions.values().filter(|held| held.state == State::Active);
        let at = active.map(|held| held.expires_at).min()?;
        let left = at.saturating_mul(1000).saturating_sub(self.clock.wall.millis());
        Some(self.clock.tick + Duration::from_millis(left))
    }

    /// The subscriptions remembered, by id.
    pub fn subscriptions(&self) -> impl Iterator<Item = (Ulid, &Subscription)> {
        self.subscriptions.iter().map(|(id, held)| (*id, held))
    }

    /// SBR-1
    fn subscribe(&mut self, request: Request) -> Output {
        if self.subscriptions.len() >= SUBSCRIPTIONS {
            // Those that are over are kept only to tell late messages from unknown ones.
            let over = self.subscriptions.iter().find(|(_, held)| !held.is_open()).map(|(id, _)| *id);
            let Some(over) = over else {
                return Output::Refused(request.id);
            };
            self.subscriptions.remove(&over);
        }
        let subscription = Subscription {
            authority: request.to.clone(),
            target: request.target.clone(),
            state: State::Pending,
            seq: 0,
            expires_at: self.clock.wall.secs().saturating_add(request.expires_in.into()),
        };
        self.subscriptions.insert(request.id, subscription);
        Output::Send(request)
    }

    /// SBR-4 to SBR-8, in the order of SBR-12
    fn notified(&mut self, notify: Notify) -> Output {
        let Some(held) = self.subscriptions.get_mut(&notify.subscription).filter(|held| held.answers(&notify.from))
        else {
            return Output::Drop(Drop::UnknownSubscription);
        };
        if matches!(held.state, State::Terminated | State::Rejected) {
            return Output::Drop(Drop::TerminatedSubscription);
        }
        if notify.seq <= held.seq {
            return Output::Drop(Drop::StaleSeq);
        }
        held.seq = notify.seq;
        match notify.state {
            NotifyState::Terminated => {
                held.state = State::Terminated;
                Output::Terminated(notify.reason)
            }
            NotifyState::Active => {
                held.state = State::Active;
                let text = |name: &str| notify.body.get(name).and_then(Value::as_str).map(str::to_owned);
                Output::Told { event: text("event").or_else(|| text("type")), state: text("state") }
            }
        }
    }
}

impl Subscription {
    /// A signature says who speaks, not that they have a say here: only the authority that was asked does.
    fn answers(&self, (device, identity): &(Did, Did)) -> bool {
        self.authority == *device || self.authority == *identity
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Pending | State::Active)
    }
}

impl State {
    /// The word in traces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Terminated => "terminated",
            Self::Rejected => "rejected",
            Self::Lapsed => "lapsed",
        }
    }
}

impl Drop {
    /// The label in traces and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSubscription => "unknown-subscription",
            Self::TerminatedSubscription => "terminated-subscription",
            Self::StaleSeq => "stale-seq",
            Self::NotSubscription => "not-subscription",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::Wall;

    fn did(name: &str) -> Did {
        format!("did:key:z6Mk{name}").parse().expect("a DID")
    }

    fn id(number: u32) -> Ulid {
        format!("01K742SG00{number:016}").parse().expect("a ULID")
    }

    fn at(secs: u64) -> Now {
        Now { tick: Tick::from_micros(secs * 1_000_000), wall: Wall::from_secs(1_760_000_000 + secs) }
    }

    fn request(number: u32) -> Input {
        Input::Subscribe(Request {
            id: id(number),
            to: did("Authority"),
            target: "did:key:z6MkBob".into(),
            events: vec![SubscriptionEvent::PRESENCE],
            expires_in: 60,
        })
    }

    fn notify(number: u32, seq: u64, state: NotifyState, body: &Value) -> Notify {
        let body = body.as_object().cloned().unwrap_or_default();
        let from = (did("AuthorityDevice"), did("Authority"));
        Notify { from, subscription: id(number), seq, state, reason: None, body }
    }

    fn feed(subscriber: &mut Subscriber, secs: u64, input: Input) -> Output {
        let mut out = Vec::new();
        subscriber.handle(at(secs), input, &mut out);
        out.pop().expect("one output")
    }

    #[test]
    fn sub_11_a_body_may_call_its_event_type() {
        let mut subscriber = Subscriber::new(at(0));
        feed(&mut subscriber, 0, request(1));
        let body = json!({"type": "presence", "state": "busy"});
        let told = feed(&mut subscriber, 0, Input::Notify(notify(1, 1, NotifyState::Active, &body)));
        assert_eq!(told, Output::Told { event: Some("presence".into()), state: Some("busy".into()) });
        let told = feed(&mut subscriber, 0, Input::Notify(notify(1, 2, NotifyState::Active, &json!({"state": 5}))));
        assert_eq!(told, Output::Told { event: None, state: None });
    }

    #[test]
    fn a_stranger_can_neither_notify_nor_refuse() {
        let mut subscriber = Subscriber::new(at(0));
        feed(&mut subscriber, 0, request(1));
        let mut forged = notify(1, 9, NotifyState::Terminated, &json!({}));
        forged.from = (did("MalloryPhone"), did("Mallory"));
        let unknown = Output::Drop(Drop::UnknownSubscription);
        assert_eq!(feed(&mut subscriber, 0, Input::Notify(forged.clone())), unknown);
        let reject = Input::Reject { from: forged.from, session: id(1), reason: Reason::POLICY_BLOCKED };
        assert_eq!(feed(&mut subscriber, 0, reject), unknown);
        assert!(subscriber.subscriptions().all(|(_, held)| held.state == State::Pending && held.seq == 0));
    }

    #[test]
    fn sbr_3_the_reason_to_act_on_is_the_effective_one() {
        let mut subscriber = Subscriber::new(at(0));
        feed(&mut subscriber, 0, request(1));
        let reason = "x-shop.closed".parse().expect("a reason");
        let reject = Input::Reject { from: (did("Authority"), did("Authority")), session: id(1), reason };
        assert_eq!(feed(&mut subscriber, 0, reject), Output::Rejected(Reason::SESSION_FAILED));
        let late = feed(&mut subscriber, 0, Input::Notify(notify(1, 1, NotifyState::Active, &json!({}))));
        assert_eq!(late, Output::Drop(Drop::TerminatedSubscription));
        assert_eq!(feed(&mut subscriber, 0, Input::Other), Output::Drop(Drop::NotSubscription));
    }

    #[test]
    fn sbr_9_and_11_only_active_ones_lapse_and_wake_says_when() {
        let mut subscriber = Subscriber::new(at(0));
        feed(&mut subscriber, 0, request(1));
        feed(&mut subscriber, 0, request(2));
        assert_eq!(subscriber.wake(), None);
        feed(&mut subscriber, 10, Input::Notify(notify(2, 1, NotifyState::Active, &json!({}))));
        assert_eq!(subscriber.wake(), Some(at(60).tick));
        let mut out = Vec::new();
        subscriber.handle(at(59), Input::Tick, &mut out);
        subscriber.handle(at(60), Input::Tick, &mut out);
        assert_eq!(out, [Output::Lapsed(id(2))]);
        assert_eq!(subscriber.wake(), None);
    }

    #[test]
    fn subscriptions_are_bounded_and_what_is_over_makes_room() {
        let mut subscriber = Subscriber::new(at(0));
        for number in 0..u32::try_from(SUBSCRIPTIONS).expect("small") {
            assert!(matches!(feed(&mut subscriber, 0, request(number)), Output::Send(_)));
        }
        assert_eq!(feed(&mut subscriber, 0, request(5000)), Output::Refused(id(5000)));
        feed(&mut subscriber, 0, Input::Notify(notify(7, 1, NotifyState::Terminated, &json!({}))));
        assert!(matches!(feed(&mut subscriber, 0, request(5000)), Output::Send(_)));
        assert_eq!(subscriber.subscriptions().count(), SUBSCRIPTIONS);
    }
}
