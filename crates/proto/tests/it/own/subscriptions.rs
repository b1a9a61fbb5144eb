//! Authority and subscriber (02 section 12, 06 part B).

use serde_json::{Value, json};

use super::Vector;

const START: u64 = 1_760_000_000;
const AUTHORITY: &str = "did:key:z6MkAuthority";
const BOB: &str = "did:key:z6MkBob";
const RADIO: &str = "did:key:z6MkBob:radio";

pub(super) fn vectors() -> Vec<Vector> {
    vec![
        publish_subscribe_notify(),
        publication_expiry(),
        policy_and_statements(),
        statements_are_bounded(),
        uniform_refusal(),
        taken_id(),
        presence_of_two_devices(),
        order_of_events(),
        subscriber_order(),
        subscriber_strangers(),
    ]
}

/// A vector of one engine; each step is an event, what it emits, and snapshots to take.
fn trace(component: &str, name: &str, rules: &[&'static str], description: &str, steps: Vec<(Value, Value)>) -> Vector {
    let steps: Vec<_> = steps.into_iter().map(|(event, expect)| json!({"event": event, "expect": expect})).collect();
    let people = ["Alice", "Bob", "Carol", "Dave"];
    let identities: Value = people.iter().map(|name| (device(name), Value::from(did(name)))).collect();
    Vector::new("state", &format!("{component}-{name}"), rules, description)
        .context(json!({"component": component, "start": START, "identities": identities}))
        .input(json!({"steps": steps}))
}

fn did(name: &str) -> String {
    format!("did:key:z6Mk{name}")
}

fn device(name: &str) -> String {
    format!("did:key:z6Mk{name}Phone")
}

fn id(number: usize) -> String {
    format!("01K742SG00{number:016}")
}

fn emit(emitted: Vec<Value>) -> Value {
    json!({"emit": emitted})
}

fn publish(number: usize, state: &str, expires_in: u64) -> Value {
    json!({"recv": {
        "type": "publish", "id": id(number), "from": device("Bob"), "publisher": BOB, "stream_id": RADIO, "state": state,
        "variants": [{"id": "opus"}], "expires_at": START + expires_in
    }})
}

fn subscribe(who: &str, number: usize, target: &str, event: &str, expires_in: u64) -> Value {
    json!({"recv": {
        "type": "subscribe", "id": id(number), "from": device(who), "to": AUTHORITY, "target": target,
        "events": [event], "expires_in": expires_in
    }})
}

fn statement(who: &str, number: usize, operation: &str) -> Value {
    json!({"recv": {
        "type": "provenance", "id": id(900), "from": device(who), "original_stream": RADIO,
        "original_publication": id(number), "processor": did(who), "operation": operation, "input_variant": "opus",
        "output_variant": "other"
    }})
}

fn notify(who: &str, number: usize, seq: u64, body: Value) -> Value {
    json!({"send": {
        "type": "notify", "to": device(who), "subscription": id(number), "seq": seq, "state": "active", "body": body
    }})
}

fn ended(who: &str, number: usize, seq: u64, body: Value) -> Value {
    let mut notify = notify(who, number, seq, body);
    notify["send"]["state"] = "terminated".into();
    notify["send"]["reason"] = "session.expired".into();
    notify
}

fn refused(who: &str, number: usize) -> Value {
    json!({"send": {"type": "reject", "to": device(who), "session": id(number), "reason": "policy.blocked"}})
}

fn record(state: &str, number: usize) -> Value {
    json!({"event": "publication", "state": state, "publication": id(number)})
}

fn changed(state: &str) -> Value {
    json!({"publication": {"stream": RADIO, "state": state}})
}

fn presence(state: &str) -> Value {
    json!({"event": "presence", "state": state})
}

fn publish_subscribe_notify() -> Vector {
    let held = |seq: u64| {
        json!({id(2): {
            "subscriber": did("Alice"), "target": RADIO, "events": ["publication"], "seq": seq, "expires_at": START + 600
        }})
    };
    trace(
        "authority",
        "publish-subscribe-notify",
        &["AUT-4", "AUT-7", "AUT-23", "AUT-31", "SUB-4", "SUB-7"],
        "A subscriber is told the state at once and every change after it, until the end.",
        vec![
            (publish(1, "live", 900), emit(vec![changed("live")])),
            (
                subscribe("Alice", 2, RADIO, "publication", 600),
                json!({"emit": [notify("Alice", 2, 1, record("live", 1))], "subscriptions": held(1)}),
            ),
            (publish(3, "ended", 900), emit(vec![changed("ended"), notify("Alice", 2, 2, record("ended", 3))])),
            (
                json!({"recv": {
                    "type": "unpublish", "id": id(4), "from": device("Bob"), "publisher": BOB, "stream_id": RADIO,
                    "publication": id(3)
                }}),
                json!({
                    "emit": [changed("withdrawn"), notify("Alice", 2, 3, record("withdrawn", 3))],
                    "publications": {RADIO: {"publication": id(3), "publisher": BOB, "state": "withdrawn"}}
                }),
            ),
            (
                json!({"advance": 600}),
                json!({"emit": [ended("Alice", 2, 4, record("withdrawn", 3))], "subscriptions": {}}),
            ),
            (json!({"advance": 600}), emit(vec![])),
        ],
    )
}

fn publication_expiry() -> Vector {
    trace(
        "authority",
        "publication-expiry",
        &["AUT-31"],
        "At one moment subscriptions end first, then records; a record that is over does not expire.",
        vec![
            (publish(1, "scheduled", 300), emit(vec![changed("scheduled")])),
            (
                subscribe("Alice", 2, RADIO, "publication", 300),
                emit(vec![notify("Alice", 2, 1, record("scheduled", 1))]),
            ),
            (
                subscribe("Carol", 3, RADIO, "publication", 301),
                emit(vec![notify("Carol", 3, 1, record("scheduled", 1))]),
            ),
            (json!({"advance": 299}), emit(vec![])),
            (
                json!({"advance": 1}),
                emit(vec![
                    ended("Alice", 2, 2, record("scheduled", 1)),
                    changed("expired"),
                    notify("Carol", 3, 2, record("expired", 1)),
                ]),
            ),
            (publish(4, "ended", 310), emit(vec![changed("ended"), notify("Carol", 3, 3, record("ended", 4))])),
            (json!({"advance": 100}), emit(vec![ended("Carol", 3, 4, record("ended", 4))])),
        ],
    )
}

fn policy_and_statements() -> Vector {
    let mut declared = publish(1, "live", 300);
    declared["recv"]["policy"] = json!({"transcoding": "forbidden", "recording": "denied"});
    let mut closed = publish(2, "live", 300);
    closed["recv"]["policy"] = json!({"redistribution": "forbidden"});
    let violation = || emit(vec![json!({"drop": "provenance-policy-violation"})]);
    trace(
        "authority",
        "statements-need-the-policy",
        &["AUT-11", "BC-38"],
        "A statement is attached only where the publication's policy admits its operation.",
        vec![
            (declared, emit(vec![changed("live")])),
            (statement("Carol", 1, "transcode"), violation()),
            (
                statement("Carol", 1, "relay"),
                emit(vec![json!({"provenance": {"stream": RADIO, "processor": did("Carol")}})]),
            ),
            (closed, emit(vec![changed("live")])),
            (statement("Carol", 2, "relay"), violation()),
        ],
    )
}

fn statements_are_bounded() -> Vector {
    let attached = json!({"provenance": {"stream": RADIO, "processor": did("Carol")}});
    let mut steps = vec![(publish(1, "live", 300), emit(vec![changed("live")]))];
    steps.extend((0..16).map(|_| (statement("Carol", 1, "relay"), emit(vec![attached.clone()]))));
    steps.push((statement("Carol", 1, "relay"), emit(vec![json!({"drop": "provenance-limit"})])));
    let description = "The seventeenth statement about a record is dropped.";
    trace("authority", "statements-bounded", &["AUT-11", "PTY-7"], description, steps)
}

fn uniform_refusal() -> Vector {
    let allow = |target: &str| json!({"local": "policy", "target": target, "mode": "allow", "allow": [did("Alice")]});
    let with_token = |who: &str, number: usize, token: &str| {
        let mut asked = subscribe(who, number, RADIO, "publication", 60);
        asked["recv"]["capability"] = token.into();
        asked
    };
    let token = json!({"local": "issue_capability", "token": "for-the-radio", "target": RADIO});
    trace(
        "authority",
        "uniform-refusal",
        &["AUT-22", "AUT-40", "AUT-41", "SUB-6"],
        "Not allowed, not there and not known are refused alike; a token admits to its own target alone.",
        vec![
            (publish(1, "live", 300), emit(vec![changed("live")])),
            (allow(RADIO), emit(vec![])),
            (allow(BOB), emit(vec![])),
            (token, emit(vec![])),
            (subscribe("Dave", 2, RADIO, "publication", 60), emit(vec![refused("Dave", 2)])),
            (subscribe("Dave", 3, "did:key:z6MkBob:nothing", "publication", 60), emit(vec![refused("Dave", 3)])),
            (subscribe("Dave", 4, BOB, "presence", 60), emit(vec![refused("Dave", 4)])),
            (subscribe("Dave", 5, "did:key:z6MkNobody", "presence", 60), emit(vec![refused("Dave", 5)])),
            (with_token("Dave", 6, "guessed"), emit(vec![refused("Dave", 6)])),
            (with_token("Dave", 7, "for-the-radio"), emit(vec![notify("Dave", 7, 1, record("live", 1))])),
            (with_token("Alice", 8, "guessed"), emit(vec![notify("Alice", 8, 1, record("live", 1))])),
        ],
    )
}

fn taken_id() -> Vector {
    trace(
        "authority",
        "taken-id-refused",
        &["AUT-22"],
        "The id of a subscription is its subscriber's choice, so nobody can displace another's by choosing the same.",
        vec![
            (subscribe("Alice", 1, BOB, "presence", 60), emit(vec![notify("Alice", 1, 1, presence("offline"))])),
            (
                subscribe("Dave", 1, BOB, "presence", 60),
                json!({"emit": [refused("Dave", 1)], "subscriptions": {id(1): {
                    "subscriber": did("Alice"), "target": BOB, "events": ["presence"], "seq": 1, "expires_at": START + 60
                }}}),
            ),
        ],
    )
}

fn presence_of_two_devices() -> Vector {
    let bind = |what: &str, device: &str| json!({"relay": what, "device": device, "identity": BOB});
    let told = |seq: u64, state: &str| emit(vec![notify("Alice", 1, seq, presence(state))]);
    trace(
        "authority",
        "presence-of-two-devices",
        &["AUT-30", "AUT-42"],
        "A person is offline only when no device is left.",
        vec![
            (subscribe("Alice", 1, BOB, "presence", 60), told(1, "offline")),
            (bind("bind", "did:key:z6MkBobPhone"), told(2, "available")),
            (bind("bind", "did:key:z6MkBobLaptop"), told(3, "available")),
            (bind("unbind", "did:key:z6MkBobPhone"), told(4, "available")),
            (bind("unbind", "did:key:z6MkBobLaptop"), told(5, "offline")),
        ],
    )
}

fn order_of_events() -> Vector {
    let mut both = subscribe("Alice", 2, RADIO, "publication", 60);
    both["recv"]["events"] = json!(["publication", "presence"]);
    let mut turned = subscribe("Alice", 3, RADIO, "publication", 60);
    turned["recv"]["events"] = json!(["presence", "publication"]);
    let mut over = subscribe("Alice", 4, RADIO, "publication", 0);
    over["recv"]["events"] = json!(["publication", "presence"]);
    trace(
        "authority",
        "same-events-in-another-order",
        &["AUT-20", "AUT-21", "AUT-33"],
        "Only the same events in the same order make a subscription the same.",
        vec![
            (publish(1, "live", 300), emit(vec![changed("live")])),
            (both, emit(vec![notify("Alice", 2, 1, record("live", 1))])),
            (turned, emit(vec![notify("Alice", 3, 1, record("live", 1))])),
            (over.clone(), emit(vec![json!({"subscription": {"id": id(2), "state": "terminated"}})])),
            (over, emit(vec![json!({"drop": "no-matching-subscription"})])),
            (
                json!({"recv": {"type": "bye", "id": id(9), "from": device("Alice")}}),
                emit(vec![json!({"drop": "not-broadcast"})]),
            ),
        ],
    )
}

fn subscribed(number: usize, expires_in: u64) -> (Value, Value) {
    let members = json!({
        "id": id(number), "to": AUTHORITY, "target": BOB, "events": ["presence"], "expires_in": expires_in
    });
    let (mut event, mut sent) = (members.clone(), members);
    event["local"] = "subscribe".into();
    sent["type"] = "subscribe".into();
    (event, emit(vec![json!({"send": sent})]))
}

fn told(from: &str, number: usize, seq: u64, state: &str, body: Value) -> Value {
    json!({"recv": {
        "type": "notify", "id": id(500), "from": from, "subscription": id(number), "seq": seq, "state": state, "body": body
    }})
}

fn subscriber_order() -> Vector {
    let drop = |label: &str| emit(vec![json!({"drop": label})]);
    let shown = |state: &str| emit(vec![json!({"ui": "notify", "event": "presence", "state": state})]);
    trace(
        "subscriber",
        "order-of-checks",
        &["SBR-6", "SBR-7", "SBR-8", "SBR-10", "SBR-11", "SBR-12", "SUB-11"],
        "Gaps are fine, older news is not; an ending without a reason shows none; pending ones do not lapse.",
        vec![
            subscribed(1, 60),
            subscribed(2, 60),
            (told(AUTHORITY, 1, 5, "active", json!({"type": "presence", "state": "busy"})), shown("busy")),
            (told(AUTHORITY, 1, 5, "terminated", json!({})), drop("stale-seq")),
            (
                told(AUTHORITY, 1, 6, "terminated", json!({})),
                emit(vec![json!({"ui": "subscription_terminated", "reason": null})]),
            ),
            (told(AUTHORITY, 1, 2, "active", presence("available")), drop("terminated-subscription")),
            (json!({"recv": {"type": "bye", "id": id(9), "from": AUTHORITY}}), drop("not-subscription")),
            (
                json!({"advance": 60}),
                json!({"emit": [], "subscriptions": {
                    id(1): {"target": BOB, "state": "terminated", "seq": 6},
                    id(2): {"target": BOB, "state": "pending", "seq": 0}
                }}),
            ),
        ],
    )
}

fn subscriber_strangers() -> Vector {
    let unknown = || emit(vec![json!({"drop": "unknown-subscription"})]);
    let reject = |from: &str| json!({"recv": {"type": "reject", "id": id(9), "from": from, "session": id(1), "reason": "x-shop.closed"}});
    trace(
        "subscriber",
        "only-the-authority-speaks",
        &["SBR-2", "SBR-3", "SBR-4", "SUB-8"],
        "A notify or reject counts only from the authority that was asked; an unknown reason is acted on as session.failed.",
        vec![
            subscribed(1, 60),
            (told(&device("Dave"), 1, 9, "active", presence("available")), unknown()),
            (reject(&device("Dave")), unknown()),
            (
                reject(AUTHORITY),
                json!({
                    "emit": [{"ui": "subscription_rejected", "reason": "session.failed"}],
                    "subscriptions": {id(1): {"target": BOB, "state": "rejected", "seq": 0}}
                }),
            ),
        ],
    )
}
