//! Random publishers, processors and subscribers at one authority, with a subscriber at the other end of its notifies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dsip_proto::subscribe::authority::{
    Authority, Body, Input, Mode, Output, PUBLICATIONS_PER_PUBLISHER, Received, STATEMENTS,
    SUBSCRIPTIONS_PER_SUBSCRIBER, Told,
};
use dsip_proto::subscribe::subscriber;
use dsip_proto::time::{Now, Wall};
use dsip_proto::wire::media::Policy;
use dsip_proto::wire::token::{NotifyState, Operation, StreamState, SubscriptionEvent};
use dsip_proto::wire::{Did, Ulid};

const START: u64 = 1_760_000_000;
const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "mallory"];
const AUTHORITY: &str = "authority";

/// Reads `data` as a list of operations and checks the invariants after each.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut world = World::new();
    while let Some(operation) = bytes.next() {
        let mut choose = |among: usize| usize::from(bytes.next().unwrap_or_default()) % among;
        match operation % 16 {
            0..=2 => world.publish(&mut choose),
            3 => world.unpublish(&mut choose),
            4 | 5 => world.state(&mut choose),
            6..=9 => world.subscribe(&mut choose),
            10 => world.feed(Input::Policy { target: target(&mut choose), mode: mode(&mut choose) }),
            11 => world.feed(Input::IssueCapability { token: choose(4).to_string(), target: target(&mut choose) }),
            12 | 13 => {
                let (device, identity) = (did(&format!("device-{}", choose(4))), did(PEOPLE[choose(5)]));
                world.feed(if choose(2) == 0 {
                    Input::Bind { device, identity }
                } else {
                    Input::Unbind { device, identity }
                });
            }
            _ => world.wait(u64::try_from(choose(256)).unwrap_or_default()),
        }
    }
    world.rest();
}

struct World {
    authority: Authority,
    subscriber: subscriber::Subscriber,
    now: Now,
    made: usize,
    /// The last `seq` of each subscription, and whether its last notify has gone out.
    told: BTreeMap<Ulid, (u64, bool)>,
    /// Subscriptions that the other end has asked for.
    asked: BTreeSet<Ulid>,
}

impl World {
    fn new() -> Self {
        let now = Now { wall: Wall::from_secs(START), ..Now::default() };
        let authority = Authority::new(now, PEOPLE.map(did));
        let (told, asked) = (BTreeMap::new(), BTreeSet::new());
        Self { authority, subscriber: subscriber::Subscriber::new(now), now, made: 0, told, asked }
    }

    /// A fresh id, or now and then one that was used before.
    fn id(&mut self, again: usize) -> Ulid {
        self.made += usize::from(again > 0);
        id(self.made)
    }

    fn say(&mut self, who: usize, body: Body) {
        let device = did(&format!("{}-phone", PEOPLE[who]));
        self.feed(Input::Received(Received { device, identity: did(PEOPLE[who]), body }));
    }

    fn publish(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let who = choose(5);
        let mut policy = Policy::default();
        let value = ["allowed", "forbidden", "denied"][choose(3)].parse().expect("a token");
        policy.declare(["transcoding", "redistribution"][choose(2)], value).expect("a key");
        let body = Body::Publish {
            id: self.id(choose(8)),
            publisher: did(PEOPLE[choose(16).min(who)]),
            stream: format!("{}:{}", did(PEOPLE[who]), choose(256)),
            state: [StreamState::Live, StreamState::Scheduled, StreamState::Ended][choose(3)],
            variants: vec!["opus".into(), "x".repeat(choose(256) * 40)],
            policy: Some(policy),
            expires_at: self.now.wall.secs() + u64::try_from(choose(256)).unwrap_or_default(),
        };
        self.say(who, body);
    }

    fn unpublish(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        if let Some((stream, publication)) = self.a_record(choose) {
            self.say(choose(5), Body::Unpublish { stream, publication });
        }
    }

    fn state(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let Some((stream, publication)) = self.a_record(choose) else {
            return;
        };
        let who = choose(5);
        let body = Body::Provenance {
            stream,
            publication: if choose(8) == 0 { id(0) } else { publication },
            processor: did(PEOPLE[choose(16).min(who)]),
            operation: [Operation::RELAY, Operation::TRANSCODE, Operation::REPACKAGE][choose(3)].clone(),
            input_variant: ["opus", "nope"][choose(8) / 7].into(),
        };
        self.say(who, body);
    }

    fn subscribe(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let who = choose(5);
        let id = self.id(choose(8));
        let target =
            self.a_record(choose).filter(|_| choose(2) == 0).map_or_else(|| target(choose), |(stream, _)| stream);
        let both = [SubscriptionEvent::PUBLICATION, SubscriptionEvent::PRESENCE];
        let events = both[choose(2)..].to_vec();
        let expires_in = u32::try_from(choose(256) * choose(2)).unwrap_or_default();
        if self.asked.insert(id) && expires_in > 0 {
            let request = subscriber::Request {
                id,
                to: did(AUTHORITY),
                target: target.clone(),
                events: events.clone(),
                expires_in,
            };
            self.subscriber.handle(self.now, subscriber::Input::Subscribe(request), &mut Vec::new());
        }
        let capability = Some(choose(4).to_string());
        self.say(who, Body::Subscribe { id, target, events, expires_in, capability });
    }

    fn a_record(&self, choose: &mut dyn FnMut(usize) -> usize) -> Option<(String, Ulid)> {
        let held = self.authority.publications().count();
        let at = if held == 0 { 0 } else { choose(held) };
        self.authority.publications().nth(at).map(|(stream, record)| (stream.to_owned(), record.publication))
    }

    fn wait(&mut self, secs: u64) {
        self.now = self.now.later(Duration::from_secs(secs));
        self.feed(Input::Tick);
        let wake = self.authority.wake();
        assert!(wake.is_none_or(|wake| wake > self.now.tick), "something due was left undone");
    }

    fn feed(&mut self, input: Input) {
        let before = self.authority.subscriptions().count();
        let asked = matches!(&input, Input::Received(Received { body: Body::Subscribe { .. }, .. }));
        let mut out = Vec::new();
        self.authority.handle(self.now, input, &mut out);
        if out.iter().any(|output| matches!(output, Output::Reject { .. })) {
            assert!(asked && out.len() == 1, "SUB-6: a refusal is all that a stranger learns: {out:?}");
            assert_eq!(before, self.authority.subscriptions().count(), "a refusal changes nothing");
        }
        for output in out {
            self.check(output);
        }
        self.bounds();
    }

    fn check(&mut self, output: Output) {
        match output {
            Output::Notify(notify) => {
                let (last, over) = self.told.get(&notify.subscription).copied().unwrap_or_default();
                // An id may come back after its subscription is gone; then the count starts over (BC-64).
                let fresh = notify.seq == 1;
                assert!(fresh || (notify.seq == last + 1 && !over), "SUB-4, SUB-7: {notify:?} after {last}");
                let terminated = notify.state == NotifyState::Terminated;
                assert_eq!(terminated, notify.reason.is_some(), "SUB-7");
                self.told.insert(notify.subscription, (notify.seq, terminated));
                if let Told::Publication(Some(record)) = &notify.body {
                    assert!(record.provenance.len() <= STATEMENTS);
                }
                let body = notify.body.to_map();
                assert!(
                    serde_json::Value::Object(body.clone()).to_string().len() < 24_000,
                    "a notify must fit an envelope"
                );
                self.relay(notify.subscription, notify.seq, notify.state, body);
            }
            Output::Subscription { id, .. } => {
                self.told.insert(id, (u64::MAX - 1, true));
            }
            Output::Publication { .. }
            | Output::Provenance { .. }
            | Output::Forgotten { .. }
            | Output::Reject { .. }
            | Output::Drop(_) => {}
        }
    }

    /// The other end, which must never be told old news by an honest authority.
    fn relay(
        &mut self,
        subscription: Ulid,
        seq: u64,
        state: NotifyState,
        body: serde_json::Map<String, serde_json::Value>,
    ) {
        let from = (did("authority-device"), did(AUTHORITY));
        let notify = subscriber::Notify { from, subscription, seq, state, reason: None, body };
        let mut out = Vec::new();
        self.subscriber.handle(self.now, subscriber::Input::Notify(notify), &mut out);
        assert_eq!(out.len(), 1);
        if seq > 1 {
            assert_ne!(out, [subscriber::Output::Drop(subscriber::Drop::StaleSeq)]);
        }
    }

    fn bounds(&self) {
        let mut by_subscriber = BTreeMap::<&Did, usize>::new();
        for (_, held) in self.authority.subscriptions() {
            *by_subscriber.entry(&held.subscriber).or_default() += 1;
        }
        assert!(by_subscriber.values().all(|count| *count <= SUBSCRIPTIONS_PER_SUBSCRIBER));
        let mut by_publisher = BTreeMap::<&Did, usize>::new();
        for (stream, record) in self.authority.publications() {
            *by_publisher.entry(&record.publisher).or_default() += 1;
            assert!(stream.starts_with(record.publisher.as_str()), "BC-2");
        }
        assert!(by_publisher.values().all(|count| *count <= PUBLICATIONS_PER_PUBLISHER));
    }

    /// Time passes: no subscription may be left, and nothing to wake for.
    fn rest(&mut self) {
        self.wait(86_400);
        assert_eq!(self.authority.subscriptions().count(), 0);
        assert_eq!(self.authority.wake(), None);
    }
}

fn target(choose: &mut dyn FnMut(usize) -> usize) -> String {
    match choose(8) {
        0 => "nobody at all".to_owned(),
        1 => "x".repeat(choose(256) * 16),
        _ => did(PEOPLE[choose(5)]).to_string(),
    }
}

fn mode(choose: &mut dyn FnMut(usize) -> usize) -> Mode {
    if choose(2) == 0 { Mode::Public } else { Mode::Allow(BTreeSet::from([did(PEOPLE[choose(5)])])) }
}

fn did(name: &str) -> Did {
    format!("did:key:{name}").parse().expect("a DID")
}

fn id(number: usize) -> Ulid {
    format!("{number:026}").parse().expect("a ULID")
}
