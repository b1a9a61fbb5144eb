//! The authority as a relay hosts it: who is told what, what a restart leaves of it, and what it costs (docs/spec/presence.md).

use std::collections::BTreeMap;
use std::time::Duration;

use dsip_proto::relay::host::{Config, Conn, Input, Output};
use dsip_proto::relay::{Memory, Write};
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::message::{self, Variant};
use dsip_proto::wire::token::{CodecId, MediaType, Operation, ProfileId, StreamState, SubscriptionEvent, TransportId};
use dsip_proto::wire::{Did, Message, Ulid};
use serde_json::{Map, Value, json};

use crate::host::{Device, World, heard, reasons};

const SECOND: Duration = Duration::from_secs(1);

/// A relay with a disk and with devices that acknowledge what they get.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) memory: Memory,
    written: u64,
    /// Whether writes are durable at once, and whether devices acknowledge.
    pub(crate) stores: bool,
    pub(crate) acknowledges: bool,
}

/// A device at its place.
pub(crate) struct Seat {
    pub(crate) device: Device,
    pub(crate) conn: Conn,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self { world: World::new(change), memory: Memory::default(), written: 0, stores: true, acknowledges: true }
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        let out = self.world.input(input);
        self.follow(out)
    }

    /// Does what a driver does with outputs, until nothing more follows.
    fn follow(&mut self, mut out: Vec<Output>) -> Vec<Output> {
        let mut at = 0;
        while at < out.len() {
            let input = match &out[at] {
                Output::Write(write) => {
                    self.memory.apply(write.clone());
                    self.written += 1;
                    self.stores.then_some(Input::Stored { count: self.written })
                }
                Output::Question { conn, number } if self.acknowledges => {
                    Some(Input::Reached { conn: *conn, number: *number })
                }
                _ => None,
            };
            let more = input.map(|input| self.world.input(input)).unwrap_or_default();
            out.extend(more);
            at += 1;
        }
        out
    }

    pub(crate) fn store(&mut self) -> Vec<Output> {
        let count = self.written;
        self.input(Input::Stored { count })
    }

    /// Time passes, with a look at the clock each second.
    pub(crate) fn pass(&mut self, secs: u64) -> Vec<Output> {
        let mut out = Vec::new();
        for _ in 0..secs {
            let passed = self.world.pass(SECOND);
            out.extend(self.follow(passed));
        }
        out
    }

    /// What came out, and what comes in the seconds after.
    pub(crate) fn after(&mut self, secs: u64, mut out: Vec<Output>) -> Vec<Output> {
        out.extend(self.pass(secs));
        out
    }

    pub(crate) fn seat(&mut self, conn: u64, seed: u8) -> Seat {
        self.seat_of(conn, Device::new(seed))
    }

    pub(crate) fn seat_of(&mut self, conn: u64, device: Device) -> Seat {
        let (seat, _) = self.arrive(conn, device);
        seat
    }

    pub(crate) fn arrive(&mut self, conn: u64, device: Device) -> (Seat, Vec<Output>) {
        let conn = Conn(conn);
        let mut out = self.input(Input::Connected { conn, from: [192, 0, 2, 1].into(), at: None });
        let hello = self.world.hello(&device);
        let greeted = self.input(Input::Received { conn, frame: &device.signer.sign(&hello).text() });
        out.extend(greeted);
        (Seat { device, conn }, out)
    }

    pub(crate) fn leave(&mut self, seat: Seat) -> (Device, Vec<Output>) {
        let out = self.input(Input::Closed { conn: seat.conn });
        (seat.device, out)
    }

    pub(crate) fn say(&mut self, seat: &Seat, message: &Message) -> Vec<Output> {
        self.input(Input::Received { conn: seat.conn, frame: &seat.device.signer.sign(message).text() })
    }

    fn subscribe(&mut self, seat: &Seat, target: &str, event: SubscriptionEvent, secs: u32) -> (Ulid, Vec<Output>) {
        self.subscribe_with(seat, target, &[event], secs, Vec::new())
    }

    fn subscribe_with(
        &mut self,
        seat: &Seat,
        target: &str,
        events: &[SubscriptionEvent],
        secs: u32,
        claims: Vec<Map<String, Value>>,
    ) -> (Ulid, Vec<Output>) {
        let message = subscribe(&mut self.world, &seat.device, target, events, secs, claims);
        let id = message.common().id;
        (id, self.say(seat, &message))
    }

    fn watch(&mut self, seat: &Seat, whom: &Did) -> (Ulid, Vec<Output>) {
        self.subscribe(seat, whom.as_str(), SubscriptionEvent::PRESENCE, 600)
    }

    /// An identity says who may see whether it is there.
    fn set_policy(&mut self, seat: &Seat, claim: Value) -> Vec<Output> {
        let target = seat.device.identity.clone();
        let claims = vec![object(claim)];
        self.subscribe_with(seat, target.as_str(), &[SubscriptionEvent::PRESENCE], 60, claims).1
    }

    fn publish(&mut self, seat: &Seat, name: &str, state: StreamState) -> (Ulid, Vec<Output>) {
        let message = publish(&mut self.world, &seat.device, name, state);
        (message.common().id, self.say(seat, &message))
    }

    fn restart(&mut self) {
        self.world.restart(self.memory.clone());
        self.written = 0;
    }
}

pub(crate) fn subscribe(
    world: &mut World,
    device: &Device,
    target: &str,
    events: &[SubscriptionEvent],
    expires_in: u32,
    claims: Vec<Map<String, Value>>,
) -> Message {
    let mut common = world.common(&device.did);
    common.dsip = VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]);
    message::Subscribe {
        common,
        to: world.host.did().clone(),
        target: target.to_owned(),
        events: events.to_vec(),
        expires_in,
        claims: (!claims.is_empty()).then_some(claims),
        capability: None,
    }
    .into()
}

fn stream(device: &Device, name: &str) -> String {
    format!("{}:{name}", device.identity)
}

fn publish(world: &mut World, device: &Device, name: &str, state: StreamState) -> Message {
    let mut common = world.common(&device.did);
    common.dsip = VersionBlock::new(&[ProfileId::VERIFIED_BROADCAST]);
    let variant = Variant {
        id: "opus".into(),
        media: vec![MediaType::Audio],
        codec: CodecId::OPUS,
        transport: TransportId::WEBRTC,
        uri: "https://radio.example/live".into(),
        rest: Map::new(),
    };
    message::Publish {
        common,
        publisher: device.identity.clone(),
        stream_id: stream(device, name),
        state,
        variants: vec![variant],
        title: None,
        integrity: None,
        policy: None,
    }
    .into()
}

fn provenance(world: &mut World, device: &Device, stream: &str, publication: Ulid) -> Message {
    let mut common = world.common(&device.did);
    common.dsip = VersionBlock::new(&[ProfileId::VERIFIED_BROADCAST]);
    message::Provenance {
        common,
        original_stream: stream.into(),
        original_publication: publication,
        processor: device.identity.clone(),
        operation: Operation::TRANSCODE,
        input_variant: "opus".into(),
        output_variant: "low".into(),
        output_uri: None,
    }
    .into()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn public() -> Value {
    json!({ "type": "presence-policy", "mode": "public" })
}

fn allow(whom: &[&Did]) -> Value {
    json!({ "type": "presence-policy", "mode": "allow", "allow": whom })
}

/// What a connection is notified: `seq`, whether more comes or why not, and the state told.
fn notified(out: &[Output], conn: Conn) -> Vec<(u64, String, String)> {
    let notifies = heard(out, conn).into_iter().filter(|said| said["type"] == "notify");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    notifies
        .map(|said| {
            let state = if said["state"] == "active" { "active".into() } else { text(&said["reason"]) };
            (said["seq"].as_u64().expect("a number"), state, text(&said["body"]["state"]))
        })
        .collect()
}

fn told(seq: u64, state: &str) -> (u64, String, String) {
    (seq, "active".into(), state.into())
}

#[test]
fn sub_9_presence_is_private_until_its_owner_says_otherwise() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    let whom = bob.device.identity.clone();
    let (_, out) = stage.watch(&alice, &whom);
    assert_eq!(reasons(&out, alice.conn), ["policy.blocked"]);

    let out = stage.set_policy(&bob, allow(&[&alice.device.identity]));
    assert_eq!(notified(&out, bob.conn), [told(1, "available")], "PRS-2: it is in force and on disk");
    let (_, out) = stage.watch(&alice, &whom);
    assert_eq!(notified(&out, alice.conn), [told(1, "available")]);
    let carol = stage.seat(3, 3);
    assert_eq!(reasons(&stage.watch(&carol, &whom).1, carol.conn), ["policy.blocked"]);

    stage.set_policy(&bob, public());
    let (_, out) = stage.watch(&carol, &whom);
    assert_eq!(notified(&out, carol.conn), [told(1, "available")]);

    // SUB-7: what was allowed and no longer is ends at once.
    let out = stage.set_policy(&bob, allow(&[&carol.device.identity]));
    let out = stage.after(1, out);
    assert_eq!(notified(&out, alice.conn), [(2, "policy.terminated".into(), "available".into())]);
    assert!(notified(&out, carol.conn).is_empty());
    let (_, out) = stage.leave(bob);
    let out = stage.after(1, out);
    assert!(notified(&out, alice.conn).is_empty(), "nothing follows a last notify");
    assert_eq!(notified(&out, carol.conn), [told(2, "offline")]);
}

#[test]
fn sub_6_and_bc_66_one_who_is_hidden_and_one_who_is_not_there_are_refused_alike() {
    let mut stage = Stage::new();
    let (mallory, bob, carol) = (stage.seat(1, 1), stage.seat(2, 2), stage.seat(3, 3));
    stage.set_policy(&carol, allow(&[&bob.device.identity]));
    let (hidden, chosen) = (bob.device.identity.to_string(), carol.device.identity.to_string());
    let away = {
        let dave = stage.seat(4, 4);
        let (device, _) = stage.leave(dave);
        device.identity.to_string()
    };
    let nobody = Device::new(99).identity.to_string();
    let mut answers = Vec::new();
    for (target, event) in [
        (hidden.clone(), SubscriptionEvent::PRESENCE),
        (chosen, SubscriptionEvent::PRESENCE),
        (away, SubscriptionEvent::PRESENCE),
        (nobody.clone(), SubscriptionEvent::PRESENCE),
        ("did:web:no.such.example".into(), SubscriptionEvent::PRESENCE),
        (format!("{hidden}:radio"), SubscriptionEvent::PUBLICATION),
        (format!("{nobody}:radio"), SubscriptionEvent::PUBLICATION),
    ] {
        let (id, out) = stage.subscribe(&mallory, &target, event, 600);
        let mut said = heard(&out, mallory.conn);
        assert_eq!(said.len(), 1, "{target}");
        let answer = said[0].as_object_mut().expect("an object");
        assert_eq!(answer["session"], id.to_string());
        for own in ["id", "session"] {
            assert!(answer.remove(own).is_some());
        }
        // The same members, and the same things done: nothing is written but the id, which waits for company.
        let done: Vec<String> = out
            .iter()
            .map(|output| match output {
                Output::Transmit { frame, .. } => format!("transmit {}", frame.len()),
                Output::Write(Write::Seen(_)) => "id".into(),
                other => format!("{other:?}"),
            })
            .collect();
        answers.push((serde_json::to_string(&answer).expect("JSON"), done));
    }
    assert!(answers[0].0.contains(r#""reason":"policy.blocked""#), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}

#[test]
fn rly_61_the_rate_of_subscribes_does_not_tell_who_exists_and_asking_about_everybody_ends() {
    let mut stage = Stage::new();
    let mallory = stage.seat(1, 1);
    let mut refused = 0;
    for seed in 2..250 {
        let target = Device::new(seed).identity.clone();
        let (_, out) = stage.watch(&mallory, &target);
        refused += reasons(&out, mallory.conn).len();
        if out.iter().any(|output| matches!(output, Output::Close { .. })) {
            assert_eq!(refused, 129);
            return;
        }
    }
    panic!("it went on");
}

#[test]
fn bc_84_a_stream_is_public_but_does_not_open_its_publishers_presence() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    let stream_id = bob.device.identity.to_string();
    let mut record = publish(&mut stage.world, &bob.device, "", StreamState::Live);
    if let Message::Publish(record) = &mut record {
        record.stream_id.clone_from(&stream_id);
    }
    assert!(reasons(&stage.say(&bob, &record), bob.conn).is_empty());
    let both = [SubscriptionEvent::PUBLICATION, SubscriptionEvent::PRESENCE];
    for events in [&both[..], &[both[1].clone(), both[0].clone()]] {
        let (_, out) = stage.subscribe_with(&alice, &stream_id, events, 600, Vec::new());
        assert_eq!(reasons(&out, alice.conn), ["policy.blocked"]);
    }
    let (_, out) = stage.subscribe(&alice, &stream_id, SubscriptionEvent::PUBLICATION, 600);
    assert_eq!(notified(&out, alice.conn), [told(1, "live")]);
    let (_, out) = stage.leave(bob);
    assert!(notified(&stage.after(1, out), alice.conn).is_empty());
}

#[test]
fn bc_41_to_46_records_are_held_withdrawn_and_told_in_order() {
    let mut stage = Stage::new();
    let (alice, bob, carol) = (stage.seat(1, 1), stage.seat(2, 2), stage.seat(3, 3));
    let radio = stream(&bob.device, "radio");
    let (first, out) = stage.publish(&bob, "radio", StreamState::Scheduled);
    assert!(heard(&out, bob.conn).is_empty(), "no answer is an answer");
    let (_, out) = stage.subscribe(&alice, &radio, SubscriptionEvent::PUBLICATION, 3600);
    assert_eq!(notified(&out, alice.conn), [told(1, "scheduled")]);
    let (record, out) = stage.publish(&bob, "radio", StreamState::Live);
    assert_eq!(notified(&stage.after(1, out), alice.conn), [told(2, "live")]);

    // What has no effect is answered (RLY-4), with the label.
    let stale = provenance(&mut stage.world, &carol.device, &radio, first);
    let out = stage.say(&carol, &stale);
    assert_eq!(reasons(&out, carol.conn), ["transport.routing-refused"]);
    assert_eq!(heard(&out, carol.conn)[0]["detail"], "provenance-unknown-publication");
    let others = publish(&mut stage.world, &Device::new(2), "radio", StreamState::Ended);
    let out = stage.input(Input::Received { conn: carol.conn, frame: &carol.device.signer.sign(&others).text() });
    assert_eq!(heard(&out, carol.conn).len(), 0, "its envelope does not verify at all");

    let statement = provenance(&mut stage.world, &carol.device, &radio, record);
    let out = stage.say(&carol, &statement);
    let out = stage.after(1, out);
    let said = heard(&out, alice.conn);
    assert_eq!(said[0]["body"]["provenance"], json!([carol.device.identity]));

    let withdrawn = {
        let mut common = stage.world.common(&bob.device.did);
        common.dsip = VersionBlock::new(&[ProfileId::VERIFIED_BROADCAST]);
        let publisher = bob.device.identity.clone();
        message::Unpublish { common, publisher, stream_id: radio.clone(), publication: record }.into()
    };
    let out = stage.say(&bob, &withdrawn);
    assert_eq!(notified(&stage.after(1, out), alice.conn), [told(4, "withdrawn")]);

    // BC-47: it is still there, also after a restart, and one that expired stays expired.
    stage.publish(&bob, "news", StreamState::Live);
    stage.restart();
    let alice = stage.seat_of(11, alice.device);
    let (_, out) = stage.subscribe(&alice, &radio, SubscriptionEvent::PUBLICATION, 600);
    assert_eq!(notified(&out, alice.conn), [told(1, "withdrawn")]);
    assert_eq!(heard(&out, alice.conn)[0]["body"]["provenance"], json!([carol.device.identity]));
    stage.pass(201);
    let news = stream(&bob.device, "news");
    let (_, out) = stage.subscribe(&alice, &news, SubscriptionEvent::PUBLICATION, 600);
    assert_eq!(notified(&out, alice.conn), [told(1, "expired")]);
}

#[test]
fn prs_20_a_subscriber_that_asks_gets_record_and_statements_to_verify_itself() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    let radio = stream(&bob.device, "radio");
    let message = publish(&mut stage.world, &bob.device, "radio", StreamState::Live);
    let text = bob.device.signer.sign(&message).text();
    stage.input(Input::Received { conn: bob.conn, frame: &text });
    for seed in 10..26 {
        let processor = stage.seat(seed, u8::try_from(seed).expect("small"));
        let statement = provenance(&mut stage.world, &processor.device, &radio, message.common().id);
        assert!(reasons(&stage.say(&processor, &statement), processor.conn).is_empty());
    }
    let claims = vec![object(json!({ "type": "with-record" }))];
    let (_, out) = stage.subscribe_with(&alice, &radio, &[SubscriptionEvent::PUBLICATION], 600, claims);
    let said = &heard(&out, alice.conn)[0];
    assert_eq!(said["body"]["record"], serde_json::from_str::<Value>(&text).expect("JSON"));
    assert_eq!(said["body"]["provenance"].as_array().map(Vec::len), Some(16));
    let statements = said["body"]["statements"].as_array().map(Vec::len);
    assert!(statements.is_some_and(|count| (8..=16).contains(&count)), "PRS-21: as many as fit: {statements:?}");
    let largest = out.iter().map(|output| if let Output::Transmit { frame, .. } = output { frame.len() } else { 0 });
    assert!(largest.max() <= Some(65_536));
    let (_, out) = stage.subscribe(&alice, &radio, SubscriptionEvent::PUBLICATION, 700);
    assert!(heard(&out, alice.conn)[0]["body"].get("record").is_none(), "who does not ask gets the core's form");
}

#[test]
fn sub_4_a_subscription_is_on_disk_before_its_first_notify_and_what_was_said_about_it_is_safe() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    stage.set_policy(&bob, public());
    stage.stores = false;
    let whom = bob.device.identity.clone();
    let (id, out) = stage.watch(&alice, &whom);
    assert!(heard(&out, alice.conn).is_empty(), "not before it is durable");
    let asked = stage.input(Input::Asked { conn: alice.conn, mark: b"?".to_vec() });
    assert!(!asked.iter().any(|output| matches!(output, Output::Vouch { .. })), "CUS-1");
    // What happens meanwhile comes after it.
    stage.leave(bob);
    let out = stage.store();
    assert!(out.iter().any(|output| matches!(output, Output::Vouch { .. })));
    assert_eq!(notified(&out, alice.conn), [told(1, "available"), told(2, "offline")]);
    assert!(stage.memory.subscriptions.contains_key(&id));

    // AUT-20
    let message =
        subscribe(&mut stage.world, &alice.device, whom.as_str(), &[SubscriptionEvent::PRESENCE], 0, Vec::new());
    let out = stage.say(&alice, &message);
    assert!(heard(&out, alice.conn).is_empty());
    assert!(!stage.memory.subscriptions.contains_key(&id));
    // AUT-21
    let message =
        subscribe(&mut stage.world, &alice.device, whom.as_str(), &[SubscriptionEvent::PRESENCE], 0, Vec::new());
    let out = stage.say(&alice, &message);
    assert_eq!(heard(&out, alice.conn)[0]["detail"], "no-matching-subscription");
}

#[test]
fn cus_21_without_a_disk_every_subscribe_is_refused_alike() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    stage.set_policy(&bob, public());
    stage.input(Input::Disk { writable: false });
    for target in [bob.device.identity.clone(), Device::new(99).identity] {
        assert_eq!(reasons(&stage.watch(&alice, &target).1, alice.conn), ["transport.routing-refused"]);
    }
    let (_, out) = stage.publish(&bob, "radio", StreamState::Live);
    assert_eq!(reasons(&out, bob.conn), ["transport.routing-refused"]);
    stage.input(Input::Disk { writable: true });
    let (_, out) = stage.watch(&alice, &bob.device.identity);
    assert_eq!(notified(&out, alice.conn), [told(1, "available")]);
}

#[test]
fn bc_93_and_94_devices_come_and_go_and_a_newer_connection_is_no_news() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    stage.set_policy(&bob, public());
    let whom = bob.device.identity.clone();
    stage.watch(&alice, &whom);
    // WS-7: the same device on a newer connection; the older one's end comes late.
    let (bob, out) = stage.arrive(3, bob.device);
    let gone = stage.input(Input::Closed { conn: Conn(2) });
    assert!(notified(&stage.after(1, out.into_iter().chain(gone).collect()), alice.conn).is_empty());
    // A hello on the same connection, as for new TURN credentials.
    let hello = stage.world.hello(&bob.device);
    let out = stage.say(&bob, &hello);
    assert!(notified(&stage.after(1, out), alice.conn).is_empty());
    let (device, out) = stage.leave(bob);
    assert_eq!(notified(&stage.after(1, out), alice.conn), [told(2, "offline")]);
    let (_, out) = stage.arrive(4, device);
    assert_eq!(notified(&stage.after(1, out), alice.conn), [told(3, "available")]);
}

#[test]
fn snf_7_a_subscriber_who_was_away_is_told_how_things_stand_and_not_how_they_stood() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    stage.set_policy(&bob, public());
    let whom = bob.device.identity.clone();
    stage.watch(&alice, &whom);
    let (phone, _) = stage.leave(alice);
    let mut bob = bob;
    for conn in 10..30 {
        let (device, _) = stage.leave(bob);
        stage.pass(1);
        bob = stage.seat_of(conn, device);
    }
    stage.pass(300);
    assert!(stage.memory.held.is_empty(), "nothing that would be too old");
    let (alice, out) = stage.arrive(40, phone);
    let told_now = notified(&stage.after(1, out), alice.conn);
    assert_eq!(told_now, [told(41, "available")]);
}

#[test]
fn sub_4_and_bc_64_after_a_restart_subscriptions_go_on_and_nobody_is_told_twice() {
    let mut stage = Stage::new();
    let (alice, bob, carol) = (stage.seat(1, 1), stage.seat(2, 2), stage.seat(3, 3));
    for seat in [&bob, &carol] {
        stage.set_policy(seat, public());
    }
    let mut last = 0;
    let watch =
        |stage: &mut Stage, whom: &Did| stage.subscribe(&alice, whom.as_str(), SubscriptionEvent::PRESENCE, 1800).0;
    let (id, other) = (watch(&mut stage, &bob.device.identity), watch(&mut stage, &carol.device.identity));
    let mut bob = bob;
    // Far beyond what is reserved at once.
    for conn in 100..700 {
        let (device, left) = stage.leave(bob);
        let (back, came) = stage.arrive(conn, device);
        bob = back;
        let out = stage.after(1, left.into_iter().chain(came).collect());
        last = notified(&out, alice.conn).iter().map(|(seq, ..)| *seq).chain([last]).max().unwrap_or_default();
    }
    assert!(last > 1_024, "{last}");
    let reserved = stage.memory.subscriptions[&id].seq;
    assert!(reserved >= last && reserved < last + 1_100, "{reserved} after {last}");
    let (alice, bob, carol) = (alice.device, bob.device, carol.device);
    stage.restart();

    // All three come back. Bob was there and is there again; Carol does not come.
    let (alice, out) = stage.arrive(1001, alice);
    assert!(notified(&out, alice.conn).is_empty(), "it is too early to say who is there");
    let (_bob, out) = stage.arrive(1002, bob);
    assert_eq!(notified(&stage.after(1, out), alice.conn), [told(reserved + 1, "available")]);
    let out = stage.pass(120);
    let said = heard(&out, alice.conn);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((&said[0]["subscription"], &said[0]["body"]["state"]), (&other.to_string().into(), &"offline".into()));
    drop(carol);

    // They end when they would have ended.
    let out = stage.pass(1800);
    let ends: Vec<String> = notified(&out, alice.conn).into_iter().map(|(_, why, _)| why).collect();
    assert_eq!(ends, ["session.expired", "session.expired"]);
    assert!(stage.memory.subscriptions.is_empty());
}

#[test]
fn prs_4_policies_survive_a_restart_and_are_forgotten_when_they_are_not_repeated() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    stage.set_policy(&bob, allow(&[&alice.device.identity]));
    stage.restart();
    let (alice, whom) = (stage.seat_of(11, alice.device), bob.device.identity.clone());
    let (_, out) = stage.watch(&alice, &whom);
    assert_eq!(notified(&out, alice.conn), [told(1, "offline")], "AUT-41: who has a policy exists");
    stage.world.now = stage.world.now.later(Duration::from_secs(31 * 86_400));
    stage.input(Input::Tick);
    assert!(stage.memory.policies.is_empty());
}

#[test]
fn prs_1_nobody_sets_another_ones_policy_and_an_older_word_changes_nothing() {
    let mut stage = Stage::new();
    let (mallory, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    let whom = bob.device.identity.clone();
    let presence = [SubscriptionEvent::PRESENCE];
    let (_, out) = stage.subscribe_with(&mallory, whom.as_str(), &presence, 60, vec![object(public())]);
    assert_eq!(reasons(&out, mallory.conn), ["policy.blocked"]);
    // A captured word of Bob's, said on another connection.
    let own = subscribe(&mut stage.world, &bob.device, whom.as_str(), &presence, 60, vec![object(public())]);
    let text = bob.device.signer.sign(&own).text();
    let out = stage.input(Input::Received { conn: mallory.conn, frame: &text });
    assert_eq!(reasons(&out, mallory.conn), ["transport.routing-refused"]);
    // Two words of his that overtake each other.
    let early = subscribe(&mut stage.world, &bob.device, whom.as_str(), &presence, 60, vec![object(public())]);
    stage.set_policy(&bob, allow(&[]));
    stage.say(&bob, &early);
    assert_eq!(reasons(&stage.watch(&mallory, &whom).1, mallory.conn), ["policy.blocked"]);
    assert_eq!(stage.memory.policies.len(), 1);
}

#[test]
fn ten_thousand_subscribers_to_one_stream_do_not_hold_up_a_call() {
    const SUBSCRIBERS: usize = 10_000;
    let mut stage = Stage::with(|config| {
        config.rates.subscribes.burst = u32::MAX;
        config.rates.devices.burst = u32::MAX;
        config.rates.envelopes.burst = u32::MAX;
        config.rates.invites.burst = u32::MAX;
    });
    let bob = stage.seat(1, 1);
    let radio = stream(&bob.device, "radio");
    stage.publish(&bob, "radio", StreamState::Scheduled);
    let seats: Vec<Seat> = (2..52).map(|seed| stage.seat(u64::from(seed), seed)).collect();
    for (number, seat) in seats.iter().cycle().take(SUBSCRIBERS).enumerate() {
        // With another event beside it, it is another subscription of the same identity (SUB-2).
        let other = format!("other-{}", number / seats.len()).parse().expect("an event");
        let events = [SubscriptionEvent::PUBLICATION, other];
        let (_, out) = stage.subscribe_with(seat, &radio, &events, 600, Vec::new());
        assert_eq!(notified(&out, seat.conn), [told(1, "scheduled")]);
    }
    let count = |out: &[Output]| -> usize { seats.iter().map(|seat| notified(out, seat.conn).len()).sum() };
    let (_, out) = stage.publish(&bob, "radio", StreamState::Live);
    assert!(count(&out) <= 2, "{}", count(&out));
    let (caller, callee) = (&seats[0], &seats[1]);
    let mut told_so_far = 0;
    for _ in 0..100 {
        let invite = stage.world.invite(&caller.device, &callee.device.identity);
        let message = caller.device.signer.sign(&invite).text();
        let out = stage.world.input(Input::Received { conn: caller.conn, frame: &message });
        assert!(heard(&out, callee.conn).iter().any(|said| said["id"] == invite.common().id.to_string()));
        assert!(count(&out) <= 1, "a call waits for one notify at most");
        told_so_far += count(&stage.follow(out));
    }
    assert!(told_so_far >= 25, "nor do they wait for the calls to end: {told_so_far}");
    let mut looks = 0;
    while stage.world.host.told().2 > 0 {
        told_so_far += count(&stage.input(Input::Tick));
        looks += 1;
        assert!(looks < 2 * SUBSCRIBERS / 32, "each look tells some");
    }
    assert_eq!(told_so_far + count(&out), SUBSCRIBERS, "each of them once");
}

/// A subscriber that reads nothing costs a few notifies, whatever happens, and gets the latest when it does.
#[test]
fn a_subscriber_that_does_not_read_is_sent_a_few_and_then_the_latest() {
    let mut stage = Stage::with(|config| config.rates.publications.burst = 1_000);
    let (alice, bob) = (stage.seat(1, 1), stage.seat(2, 2));
    let radio = stream(&bob.device, "radio");
    stage.publish(&bob, "radio", StreamState::Scheduled);
    stage.subscribe(&alice, &radio, SubscriptionEvent::PUBLICATION, 3600);
    stage.acknowledges = false;
    let mut sent = BTreeMap::new();
    let mut questions = Vec::new();
    for number in 0..100 {
        let state = if number % 2 == 0 { StreamState::Live } else { StreamState::Ended };
        let (_, out) = stage.publish(&bob, "radio", state);
        let out = stage.after(1, out);
        sent.extend(notified(&out, alice.conn).into_iter().map(|(seq, _, state)| (seq, state)));
        questions.extend(out.into_iter().filter_map(|output| match output {
            Output::Question { conn, number } if conn == alice.conn => Some(number),
            _ => None,
        }));
    }
    assert_eq!(sent.len(), 64, "{sent:?}");
    let question = questions.last().copied().expect("it was asked");
    let out = stage.input(Input::Reached { conn: alice.conn, number: question });
    let out = stage.after(1, out);
    assert_eq!(notified(&out, alice.conn).last(), Some(&told(101, "ended")));
}
