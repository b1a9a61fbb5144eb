//! What an authority does and refuses, rule by rule. The order of emissions is pinned by the state vectors.

use super::*;
use crate::time::Wall;
use crate::wire::token::Token;

const START: u64 = 1_760_000_000;

fn did(name: &str) -> Did {
    format!("did:key:z6Mk{name}").parse().expect("a DID")
}

fn id(number: usize) -> Ulid {
    format!("01K742SG00{number:016}").parse().expect("a ULID")
}

fn at(secs: u64) -> Now {
    Now { tick: Tick::from_micros(secs * 1_000_000), wall: Wall::from_secs(START + secs) }
}

/// A world of one authority, fed at its own clock.
struct World {
    authority: Authority,
    secs: u64,
}

impl World {
    fn new() -> Self {
        Self { authority: Authority::new(at(0), [did("Bob")]), secs: 0 }
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.authority.handle(at(self.secs), input, &mut out);
        out
    }

    fn say(&mut self, who: &str, body: Body) -> Vec<Output> {
        let device = did(&format!("{who}Phone"));
        self.feed(Input::Received(Received { device, identity: did(who), body }))
    }

    fn publish(&mut self, who: &str, number: usize, name: &str) -> Vec<Output> {
        self.say(who, publish(who, number, name))
    }

    fn subscribe(&mut self, who: &str, number: usize, target: &str, event: SubscriptionEvent) -> Vec<Output> {
        self.say(who, subscribe(number, target, event))
    }
}

fn stream(who: &str, name: &str) -> String {
    format!("{}:{name}", did(who))
}

fn publish(who: &str, number: usize, name: &str) -> Body {
    Body::Publish {
        id: id(number),
        publisher: did(who),
        stream: stream(who, name),
        state: StreamState::Live,
        variants: vec!["opus".into()],
        policy: None,
        expires_at: START + 300,
    }
}

fn subscribe(number: usize, target: &str, event: SubscriptionEvent) -> Body {
    Body::Subscribe { id: id(number), target: target.into(), events: vec![event], expires_in: 600, capability: None }
}

fn statement(who: &str, number: usize, operation: Operation) -> Body {
    Body::Provenance {
        stream: stream("Bob", "radio"),
        publication: id(number),
        processor: did(who),
        operation,
        input_variant: "opus".into(),
    }
}

fn notifies(out: &[Output]) -> Vec<&Notify> {
    out.iter().filter_map(|output| if let Output::Notify(notify) = output { Some(notify) } else { None }).collect()
}

fn policy(key: &str, value: &str) -> Policy {
    let mut policy = Policy::default();
    policy.declare(key, value.parse::<Token>().expect("a token")).expect("a key");
    policy
}

#[test]
fn sub_6_every_refusal_is_the_same() {
    let mut world = World::new();
    world.publish("Bob", 1, "radio");
    let allow = |target: String| Input::Policy { target, mode: Mode::Allow(BTreeSet::from([did("Alice")])) };
    world.feed(allow(stream("Bob", "radio")));
    world.feed(allow(did("Bob").to_string()));
    let refused = [Output::Reject { to: did("MalloryPhone"), session: id(9) }];
    for (target, event) in [
        (stream("Bob", "radio"), SubscriptionEvent::PUBLICATION),
        (stream("Bob", "nothing"), SubscriptionEvent::PUBLICATION),
        (did("Bob").to_string(), SubscriptionEvent::PRESENCE),
        (did("Nobody").to_string(), SubscriptionEvent::PRESENCE),
        ("no target at all".to_owned(), SubscriptionEvent::PRESENCE),
        ("x".repeat(TARGET_BYTES + 1), SubscriptionEvent::PRESENCE),
    ] {
        assert_eq!(world.subscribe("Mallory", 9, &target, event), refused, "{target}");
    }
}

#[test]
fn aut_40_a_token_admits_to_its_own_target_alone_and_a_wrong_one_does_no_harm() {
    let mut world = World::new();
    let target = did("Bob").to_string();
    world.feed(Input::Policy { target: target.clone(), mode: Mode::Allow(BTreeSet::from([did("Alice")])) });
    world.feed(Input::IssueCapability { token: "for-bob".into(), target: target.clone() });
    world.feed(Input::IssueCapability { token: "for-carol".into(), target: did("Carol").to_string() });
    let with = |number, token: &str| Body::Subscribe {
        id: id(number),
        target: target.clone(),
        events: vec![SubscriptionEvent::PRESENCE],
        expires_in: 60,
        capability: Some(token.into()),
    };
    assert_eq!(notifies(&world.say("Mallory", with(1, "for-bob"))).len(), 1);
    assert!(notifies(&world.say("Eve", with(2, "for-carol"))).is_empty());
    assert_eq!(notifies(&world.say("Alice", with(3, "for-carol"))).len(), 1);
}

#[test]
fn aut_31_subscriptions_go_before_records_and_wake_says_when() {
    let mut world = World::new();
    world.publish("Bob", 1, "radio");
    assert_eq!(world.authority.wake(), Some(at(300).tick));
    let target = stream("Bob", "radio");
    let short = Body::Subscribe {
        id: id(2),
        target: target.clone(),
        events: vec![SubscriptionEvent::PUBLICATION],
        expires_in: 300,
        capability: None,
    };
    world.say("Alice", short);
    world.subscribe("Carol", 3, &target, SubscriptionEvent::PUBLICATION);
    world.secs = 300;
    let out = world.feed(Input::Tick);
    let told = notifies(&out);
    let [ended, expired] = told.as_slice() else { panic!("two notifies, got {out:?}") };
    assert_eq!((ended.subscription, ended.seq, ended.state), (id(2), 2, NotifyState::Terminated));
    assert_eq!(ended.reason, Some(Reason::SESSION_EXPIRED));
    assert_eq!(ended.body.to_map()["state"], "live");
    assert_eq!((expired.subscription, &expired.body.to_map()["state"]), (id(3), &json!("expired")));
    assert_eq!(world.authority.wake(), Some(at(600).tick));
    world.secs = 600;
    assert_eq!(notifies(&world.feed(Input::Tick)).len(), 1);
    assert_eq!((world.feed(Input::Tick), world.authority.wake()), (vec![], None));
}

#[test]
fn aut_31_a_record_that_was_renewed_or_withdrawn_does_not_expire_with_its_predecessor() {
    let mut world = World::new();
    world.publish("Bob", 1, "radio");
    world.secs = 200;
    let mut renewed = publish("Bob", 2, "radio");
    if let Body::Publish { expires_at, .. } = &mut renewed {
        *expires_at = START + 500;
    }
    world.say("Bob", renewed);
    world.publish("Bob", 3, "tv");
    world.say("Bob", Body::Unpublish { stream: stream("Bob", "tv"), publication: id(3) });
    world.secs = 300;
    assert_eq!((world.feed(Input::Tick), world.authority.wake()), (vec![], Some(at(500).tick)));
    world.secs = 500;
    let expired = Output::Publication { stream: stream("Bob", "radio").into(), state: RecordState::Expired };
    assert_eq!(world.feed(Input::Tick), [expired]);
}

#[test]
fn aut_42_a_person_is_offline_only_when_no_device_is_left() {
    let mut world = World::new();
    let target = did("Bob").to_string();
    world.subscribe("Alice", 1, &target, SubscriptionEvent::PRESENCE);
    let bind = |device: &str| Input::Bind { device: did(device), identity: did("Bob") };
    let unbind = |device: &str| Input::Unbind { device: did(device), identity: did("Bob") };
    let mut states = Vec::new();
    for input in [bind("Phone"), bind("Laptop"), unbind("Phone"), unbind("Laptop")] {
        let out = world.feed(input);
        states.extend(notifies(&out).iter().map(|notify| notify.body.to_map()["state"].to_string()));
    }
    assert_eq!(states, [r#""available""#, r#""available""#, r#""available""#, r#""offline""#]);
}

#[test]
fn aut_41_a_stranger_becomes_known_by_binding() {
    let mut world = World::new();
    let target = did("Carol").to_string();
    assert!(matches!(world.subscribe("Alice", 1, &target, SubscriptionEvent::PRESENCE)[..], [Output::Reject { .. }]));
    world.feed(Input::Bind { device: did("CarolPhone"), identity: did("Carol") });
    assert_eq!(notifies(&world.subscribe("Alice", 1, &target, SubscriptionEvent::PRESENCE)).len(), 1);
}

#[test]
fn bc_5_a_new_record_forgets_the_statements_about_the_old_one() {
    let mut world = World::new();
    world.publish("Bob", 1, "radio");
    assert!(matches!(world.say("Carol", statement("Carol", 1, Operation::RELAY))[..], [Output::Provenance { .. }]));
    world.publish("Bob", 2, "radio");
    let out = world.subscribe("Alice", 3, &stream("Bob", "radio"), SubscriptionEvent::PUBLICATION);
    let [notify] = notifies(&out)[..] else { panic!("one notify, got {out:?}") };
    let expected = json!({"event": "publication", "state": "live", "publication": id(2)});
    assert_eq!(Value::Object(notify.body.to_map()), expected);
}

#[test]
fn aut_8_is_judged_before_aut_9_and_aut_9_before_aut_10() {
    let mut world = World::new();
    let mut foreign = statement("Dave", 1, Operation::RELAY);
    let dropped = |why| vec![Output::Drop(why)];
    assert_eq!(world.say("Carol", foreign.clone()), dropped(Drop::ProvenanceUnknownPublication));
    world.publish("Bob", 1, "radio");
    if let Body::Provenance { input_variant, .. } = &mut foreign {
        *input_variant = "nope".into();
    }
    assert_eq!(world.say("Carol", foreign.clone()), dropped(Drop::ProvenanceProcessorMismatch));
    assert_eq!(world.say("Dave", foreign), dropped(Drop::ProvenanceVariantUnknown));
}

#[test]
fn statements_that_the_policy_rules_out_are_not_attached() {
    for (key, value, operation, attached) in [
        ("transcoding", "forbidden", Operation::TRANSCODE, false),
        ("transcoding", "denied", Operation::TRANSCODE, false),
        ("transcoding", "forbidden", Operation::RELAY, true),
        ("transcoding", "allowed", Operation::TRANSCODE, true),
        ("redistribution", "forbidden", Operation::RELAY, false),
        ("redistribution", "denied", Operation::RELAY, true),
    ] {
        let mut world = World::new();
        let mut record = publish("Bob", 1, "radio");
        if let Body::Publish { policy: declared, .. } = &mut record {
            *declared = Some(policy(key, value));
        }
        world.say("Bob", record);
        let out = world.say("Carol", statement("Carol", 1, operation));
        assert_eq!(out.contains(&Output::Drop(Drop::ProvenancePolicyViolation)), !attached, "{key} {value}");
    }
}

#[test]
fn statements_are_bounded_so_that_no_notify_can_pass_the_envelope_cap() {
    let mut world = World::new();
    world.publish("Bob", 1, "radio");
    let longest = |number: usize| format!("Z{number:02}{}", "x".repeat(DID_BYTES - 15));
    for number in 0..STATEMENTS {
        let who = longest(number);
        assert_eq!(did(&who).as_str().len(), DID_BYTES);
        assert!(matches!(world.say(&who, statement(&who, 1, Operation::RELAY))[..], [Output::Provenance { .. }]));
    }
    let over = vec![Output::Drop(Drop::ProvenanceLimit)];
    assert_eq!(world.say("Carol", statement("Carol", 1, Operation::RELAY)), over);
    world.publish("Bob", 2, "radio");
    let too_long = format!("{}x", longest(0));
    assert_eq!(world.say(&too_long, statement(&too_long, 2, Operation::RELAY)), over);

    let mut world = World::new();
    world.publish("Bob", 1, "radio");
    for number in 0..STATEMENTS {
        let who = longest(number);
        world.say(&who, statement(&who, 1, Operation::RELAY));
    }
    let out = world.subscribe("Alice", 3, &stream("Bob", "radio"), SubscriptionEvent::PUBLICATION);
    let [notify] = notifies(&out)[..] else { panic!("one notify") };
    let body = Value::Object(notify.body.to_map()).to_string();
    // What is left of 65,536 holds the other members, the header with its delegations, and the signature.
    assert!(body.len() * 4 / 3 < 24_000, "{}", body.len());
}

#[test]
fn a_subscriber_with_an_endless_did_is_refused() {
    let mut world = World::new();
    let who = "x".repeat(DID_BYTES);
    let out = world.subscribe(&who, 1, did("Bob").as_str(), SubscriptionEvent::PRESENCE);
    assert!(matches!(out[..], [Output::Reject { .. }]));
}

#[test]
fn a_subscribe_id_that_is_taken_cannot_displace_anybody() {
    let mut world = World::new();
    let target = did("Bob").to_string();
    world.subscribe("Alice", 1, &target, SubscriptionEvent::PRESENCE);
    let out = world.subscribe("Mallory", 1, &target, SubscriptionEvent::PRESENCE);
    assert_eq!(out, [Output::Reject { to: did("MalloryPhone"), session: id(1) }]);
    assert!(world.authority.subscriptions().all(|(_, held)| held.subscriber == did("Alice")));
}

#[test]
fn subscriptions_are_bounded_per_subscriber_and_renewing_still_works() {
    let mut world = World::new();
    for number in 0..=SUBSCRIPTIONS_PER_SUBSCRIBER {
        world.feed(Input::Bind { device: did("X"), identity: did(&format!("N{number}")) });
        let target = did(&format!("N{number}")).to_string();
        let out = world.subscribe("Alice", number, &target, SubscriptionEvent::PRESENCE);
        assert_eq!(notifies(&out).len(), usize::from(number < SUBSCRIPTIONS_PER_SUBSCRIBER), "{number}");
    }
    let renewed = world.subscribe("Alice", 9999, did("N5").as_str(), SubscriptionEvent::PRESENCE);
    assert!(matches!(renewed[..], [Output::Subscription { gone: Gone::Replaced, .. }, Output::Notify(_)]));
    assert_eq!(world.authority.subscriptions().count(), SUBSCRIPTIONS_PER_SUBSCRIBER);
}

#[test]
fn subscriptions_are_bounded_per_target() {
    let mut world = World::new();
    let target = did("Bob").to_string();
    for number in 0..SUBSCRIPTIONS_PER_TARGET + 3 {
        world.subscribe(&format!("N{number}"), number, &target, SubscriptionEvent::PRESENCE);
    }
    let out = world.feed(Input::Bind { device: did("BobPhone"), identity: did("Bob") });
    assert_eq!(out.len(), SUBSCRIPTIONS_PER_TARGET);
}

#[test]
fn records_are_bounded_and_what_is_over_makes_room() {
    let mut world = World::new();
    for number in 0..PUBLICATIONS_PER_PUBLISHER {
        assert!(matches!(world.publish("Bob", number, &format!("s{number}"))[..], [Output::Publication { .. }]));
    }
    assert_eq!(world.publish("Bob", 900, "more"), [Output::Drop(Drop::PublicationLimit)]);
    world.say("Bob", Body::Unpublish { stream: stream("Bob", "s3"), publication: id(3) });
    let out = world.publish("Bob", 900, "more");
    assert!(
        matches!(&out[..], [Output::Forgotten { stream: old }, Output::Publication { .. }] if **old == *stream("Bob", "s3"))
    );
    assert!(world.authority.publications().all(|(held, _)| held != stream("Bob", "s3")));
    assert_eq!(world.authority.publications().count(), PUBLICATIONS_PER_PUBLISHER);

    let mut large = publish("Carol", 1, "radio");
    if let Body::Publish { variants, .. } = &mut large {
        variants.push("v".repeat(RECORD_BYTES));
    }
    assert_eq!(world.say("Carol", large), [Output::Drop(Drop::PublicationLimit)]);
}

#[test]
fn records_are_bounded_over_all_publishers() {
    let mut world = World::new();
    for number in 0..PUBLICATIONS {
        world.publish(&format!("N{number}"), number, "s");
    }
    assert_eq!(world.publish("Bob", 1, "radio"), [Output::Drop(Drop::PublicationLimit)]);
    world.secs = 300;
    assert_eq!(world.feed(Input::Tick).len(), PUBLICATIONS);
    let out = world.publish("Bob", 1, "radio");
    assert!(matches!(out[..], [Output::Forgotten { .. }, Output::Publication { .. }]));
    assert_eq!(world.authority.publications().count(), PUBLICATIONS);
}

#[test]
fn bc_2_a_stream_id_is_the_publisher_or_continues_it_after_a_colon() {
    for (name, taken) in [("", true), (":radio", true), ("radio", false), ("/radio", false)] {
        let mut world = World::new();
        let mut record = publish("Bob", 1, "radio");
        if let Body::Publish { stream, .. } = &mut record {
            *stream = format!("{}{name}", did("Bob"));
        }
        let out = world.say("Bob", record);
        assert_eq!(out == [Output::Drop(Drop::StreamIdNamespace)], !taken, "{name:?}");
    }
}
