//! Devices that sleep and are woken, at a relay in virtual time (docs/spec/wake.md).

use std::collections::BTreeSet;
use std::time::Duration;

use dsip_proto::envelope::Signer;
use dsip_proto::identity::{Document, SecretKey};
use dsip_proto::relay::Memory;
use dsip_proto::relay::host::{self, Admittance, Config, Event, Input, Output, WAKE_KEPT, Woken};
use dsip_proto::relay::rate::Rate;
use dsip_proto::wake::{self, Cause, Endpoint, Key, Outcome, Push};
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::message;
use dsip_proto::wire::token::{BindingId, ProfileId, Status, SubscriptionEvent};
use dsip_proto::wire::{Did, Message, Reason, Ulid};
use serde_json::{Map, Value};

use crate::host::{Device, World, heard, reasons};
use crate::subscriptions::{Seat, Stage, subscribe};

const SECOND: Duration = Duration::from_secs(1);

/// The device of RFC 8291, 5.
const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

fn key() -> Key {
    P256DH.parse().expect("a key")
}

fn at(host: &str) -> Endpoint {
    Endpoint::new(&format!("https://{host}/up"), P256DH, AUTH).expect("an endpoint")
}

fn wakes(config: &mut Config) {
    config.wake = Some(host::Wake { key: key(), allow_private: false });
    config.rates.introductions = Rate { burst: 100, every: SECOND };
    config.rates.introductions_received = Rate { burst: 100, every: SECOND };
    config.rates.subscribes = Rate { burst: 1_000, every: SECOND };
}

fn stage() -> Stage {
    Stage::with(wakes)
}

/// A device that is its identity itself, so that no delegation ends.
fn undelegated(seed: u8) -> Device {
    let key = SecretKey::from_bytes(&[seed; 32]);
    let did = key.did();
    Device { signer: Signer::of_key(key), did: did.clone(), identity: did }
}

fn seat(stage: &mut Stage, conn: u64, device: Device) -> Seat {
    let conn = host::Conn(conn);
    stage.input(Input::Connected { conn, from: [192, 0, 2, 1].into(), at: None });
    let common = stage.world.common(&device.did);
    let bindings = Some(vec![BindingId::WS]);
    let hello = message::Hello { common, on_behalf_of: None, bindings, in_reply_to: None, capabilities: None };
    let seat = Seat { device, conn };
    let out = stage.say(&seat, &hello.into());
    assert_eq!(heard(&out, conn)[0]["type"], "hello");
    seat
}

fn say_where(stage: &mut Stage, seat: &Seat, claim: Map<String, Value>) -> (Ulid, Vec<Output>) {
    let target = seat.device.did.clone();
    say_where_of(stage, seat, &target, 60, vec![claim])
}

fn say_where_of(
    stage: &mut Stage,
    seat: &Seat,
    target: &Did,
    expires_in: u32,
    claims: Vec<Map<String, Value>>,
) -> (Ulid, Vec<Output>) {
    let events = [SubscriptionEvent::WAKE];
    let message = subscribe(&mut stage.world, &seat.device, target.as_str(), &events, expires_in, claims);
    (message.common().id, stage.say(seat, &message))
}

/// What a device is told of its registration: the state, and until when it holds.
fn receipts(out: &[Output], seat: &Seat) -> Vec<(String, Option<u64>)> {
    let notifies = heard(out, seat.conn).into_iter().filter(|said| said["type"] == "notify");
    let receipt = |said: Value| {
        assert_eq!((said["body"]["event"].as_str(), said["seq"].as_u64()), (Some("wake"), Some(1)));
        (said["body"]["state"].as_str().expect("text").to_owned(), said["body"]["expires_at"].as_u64())
    };
    notifies.map(receipt).collect()
}

fn pushes(out: &[Output]) -> Vec<Push> {
    let push = |output: &Output| match output {
        Output::Wake(push) => Some(push.clone()),
        _ => None,
    };
    out.iter().filter_map(push).collect()
}

fn counted(out: &[Output], what: Woken) -> usize {
    out.iter().filter(|output| matches!(output, Output::Event(Event::Wake(woken)) if *woken == what)).count()
}

/// A device that has said where it can be woken, and fallen asleep.
fn asleep(stage: &mut Stage, conn: u64, device: Device, endpoint: &Endpoint) -> Device {
    let seat = stage.seat_of(conn, device);
    let (_, out) = say_where(stage, &seat, endpoint.claim());
    assert_eq!(receipts(&out, &seat).len(), 1);
    stage.leave(seat).0
}

fn invite(stage: &mut Stage, from: &Seat, to: &Did) -> (Ulid, Vec<Output>) {
    let message = stage.world.invite(&from.device, to);
    (message.common().id, stage.say(from, &message))
}

fn introduce(stage: &mut Stage, from: &Seat, to: &Did) -> Vec<Output> {
    let message = stage.world.introduction(&from.device, to);
    stage.say(from, &message)
}

fn taken(stage: &mut Stage, push: &Push, outcome: Outcome) -> Vec<Output> {
    stage.input(Input::Woken { id: push.id, outcome })
}

#[test]
fn wak_1_a_node_that_wakes_says_so_by_its_key() {
    let said = |world: &mut World, device: &Device, conn: u64| {
        let conn = world.connect(conn);
        let hello = world.hello(device);
        heard(&world.say(conn, &device.signer.sign(&hello)), conn)[0]["capabilities"].clone()
    };
    let (member, guest) = (Device::new(1), Device::new(2));
    let mut world = World::new(wakes);
    let capabilities = said(&mut world, &guest, 1);
    assert_eq!(wake::announced(capabilities.as_object().expect("an object")), Some(key()));
    assert_eq!(capabilities["push_wake"][0], wake::SERVICE);

    // ADM-4: guests of a closed node are not woken.
    let members = [member.identity.clone()].into();
    world.input(Input::Admit(Admittance { closed: true, members, ..Admittance::default() }));
    assert!(said(&mut world, &member, 2).get("wake").is_some());
    assert!(said(&mut world, &guest, 3).get("wake").is_none());
    assert!(said(&mut World::new(|_| {}), &guest, 1).get("wake").is_none());
}

#[test]
fn wak_3_a_device_is_told_that_it_can_be_woken_once_that_is_on_disk() {
    let mut stage = stage();
    let bob = stage.seat(1, 2);
    stage.stores = false;
    let (_, out) = say_where(&mut stage, &bob, at("push.example").claim());
    assert_eq!(receipts(&out, &bob), []);
    let out = stage.store();
    assert_eq!(receipts(&out, &bob).len(), 1);
    stage.stores = true;

    // Only for itself, and only what can be used.
    let alice = stage.seat(3, 1);
    let whose = bob.device.did.clone();
    let (_, out) = say_where_of(&mut stage, &alice, &whose, 60, vec![at("mine.example").claim()]);
    assert_eq!(reasons(&out, alice.conn), ["transport.routing-refused"]);
    for claims in [Vec::new(), vec![object(serde_json::json!({ "type": "web-push", "endpoint": "http://a" }))]] {
        let own = alice.device.did.clone();
        let (_, out) = say_where_of(&mut stage, &alice, &own, 60, claims);
        let said = heard(&out, alice.conn).remove(0);
        assert_eq!(said["reason"], "transport.routing-refused");
        assert!(said["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{said}");
    }
    assert_eq!(stage.world.host.sleepers().0, 1);

    // It outlives a restart, and a crash of the disk refuses new ones.
    let (bob, _) = stage.leave(bob);
    let memory = stage.memory.clone();
    assert_eq!(memory.wakes.len(), 1);
    restart(&mut stage, memory);
    let alice = stage.seat(1, 1);
    let (_, out) = invite(&mut stage, &alice, &bob.identity);
    assert_eq!(pushes(&out)[0].endpoint, at("push.example"));
    stage.input(Input::Disk { writable: false });
    let (_, out) = say_where(&mut stage, &alice, at("push.example").claim());
    assert_eq!(reasons(&out, alice.conn), ["transport.routing-refused"], "CUS-21");
}

fn restart(stage: &mut Stage, memory: Memory) {
    let mut again = Stage::with(wakes);
    again.world.now = stage.world.now.later(SECOND);
    again.world.host.restore(memory.clone(), again.world.now);
    again.memory = memory;
    *stage = again;
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

#[test]
fn wak_5_what_was_said_can_be_taken_back_and_replaced() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = stage.seat(2, 2);
    say_where(&mut stage, &bob, at("one.example").claim());
    say_where(&mut stage, &bob, at("two.example").claim());
    let bob = stage.leave(bob).0;
    let (_, out) = invite(&mut stage, &alice, &bob.identity);
    let woken: Vec<_> = pushes(&out).iter().map(|push| push.endpoint.clone()).collect();
    assert_eq!(woken, [at("two.example")], "a device has one");

    for (conn, expires_in) in [(3, 60), (4, 0)] {
        let bob = stage.seat_of(conn, Device::new(2));
        say_where(&mut stage, &bob, at("one.example").claim());
        let own = bob.device.did.clone();
        let (_, out) = say_where_of(&mut stage, &bob, &own, expires_in, vec![wake::no_claim()]);
        let told = receipts(&out, &bob);
        assert_eq!(told.first().map(|(state, _)| state.as_str()), (expires_in > 0).then_some("none"));
        assert!(stage.memory.wakes.is_empty());
        stage.leave(bob);
        let (_, out) = invite(&mut stage, &alice, &Device::new(2).identity);
        assert_eq!(pushes(&out), []);
    }
}

#[test]
fn wak_7_registrations_end_and_are_bounded() {
    let mut stage = stage();
    let alice = seat(&mut stage, 1, undelegated(1));
    let bob = seat(&mut stage, 2, undelegated(2));
    let (_, out) = say_where(&mut stage, &bob, at("push.example").claim());
    let until = stage.world.now.wall.secs() + WAKE_KEPT.as_secs();
    assert_eq!(receipts(&out, &bob), [("registered".to_owned(), Some(until))]);
    let written = stage.memory.clone();
    stage.world.pass(Duration::from_secs(3600));
    let (_, out) = say_where(&mut stage, &bob, at("push.example").claim());
    assert_eq!(receipts(&out, &bob), [("registered".to_owned(), Some(until))], "worth no write yet");
    assert_eq!(stage.memory.wakes, written.wakes);
    let bob = stage.leave(bob).0;
    stage.world.now = stage.world.now.later(WAKE_KEPT - Duration::from_secs(3700));
    let alice = seat(&mut stage, 3, alice.device);
    // WAK-9: known for weeks, unlike a device that nobody could reach.
    let (_, out) = invite(&mut stage, &alice, &bob.identity);
    assert_eq!(pushes(&out).len(), 1);
    let out = stage.pass(101);
    assert!(out.iter().any(|output| matches!(output, Output::Write(_))));
    assert!(stage.memory.wakes.is_empty(), "its time is over");
    let (_, out) = invite(&mut stage, &alice, &bob.identity);
    assert_eq!(reasons(&out, alice.conn), ["transport.unknown-recipient"], "and it is known no longer");

    // One identity has so many devices that are woken.
    let mut told = 0;
    for number in 0..20 {
        let (device, conn) = (of_one_identity(number), 100 + u64::from(number));
        let seat = stage.seat_of(conn, device);
        let (_, out) = say_where(&mut stage, &seat, at("push.example").claim());
        told += receipts(&out, &seat).len();
    }
    assert_eq!(told, 16);

    // One address brings so many, whoever they are.
    let mut stage = self::stage();
    let mut refused = Vec::new();
    for number in 0..140 {
        let seat = seat(&mut stage, number, undelegated(u8::try_from(number).expect("small")));
        let (_, out) = say_where(&mut stage, &seat, at("push.example").claim());
        refused.extend(reasons(&out, seat.conn));
    }
    assert_eq!(refused.len(), 12);
    assert!(refused.iter().all(|reason| reason == "transport.rate-limited"));
}

fn of_one_identity(number: u8) -> Device {
    use dsip_proto::identity::{Delegation, delegate};
    let (identity, key) = (SecretKey::from_bytes(&[77; 32]), SecretKey::from_bytes(&[100 + number; 32]));
    let (did, start) = (key.did(), 1_800_000_000);
    let until = start + 90 * 86_400;
    let delegation = delegate(&identity, &identity.public().kid(), &did, &[Delegation::SIGNALING], start, until);
    let own = key.public().kid();
    Device { signer: Signer::new(key, own, vec![delegation]), did, identity: identity.did() }
}

#[test]
fn wak_8_nobody_is_woken_for_an_identity_longer_than_they_may_act_for_it() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = stage.seat(2, 2);
    let (_, out) = say_where(&mut stage, &bob, at("push.example").claim());
    let until = receipts(&out, &bob)[0].1.expect("a time");
    assert!(until <= stage.world.now.wall.secs() + 3_600, "the delegation ends");
    let bob = stage.leave(bob).0;

    // The same device, for itself: what it said for another counts no more (WS-8).
    let own = Device { identity: bob.did.clone(), ..bob };
    let own = seat(&mut stage, 3, own);
    stage.leave(own);
    assert!(stage.memory.wakes.is_empty());

    // Barred is not woken.
    let carol = asleep(&mut stage, 4, Device::new(3), &at("push.example"));
    let barred = BTreeSet::from([carol.identity.clone()]);
    stage.input(Input::Admit(Admittance { barred, ..Admittance::default() }));
    let (_, out) = invite(&mut stage, &alice, &carol.identity);
    assert_eq!((pushes(&out).len(), stage.memory.wakes.len()), (0, 0));
    stage.input(Input::Admit(Admittance::default()));

    // An identity whose node says that its keys are others now has to delegate anew.
    let (old, new) = (SecretKey::from_bytes(&[61; 32]), SecretKey::from_bytes(&[62; 32]));
    let did: Did = "did:web:dora.example".parse().expect("a DID");
    let document = |key: &SecretKey| Document::new(did.clone(), "key", key.public(), Vec::new());
    stage.world.host.know(document(&old));
    let kid = format!("{did}#key").parse().expect("a key id");
    let dora = Device::of(9, &old, &kid);
    let dora = asleep(&mut stage, 5, dora, &at("push.example"));
    stage.world.host.know(document(&old));
    stage.pass(1);
    assert_eq!(stage.memory.wakes.len(), 1, "the same keys as before");
    stage.world.host.know(document(&new));
    let (_, out) = invite(&mut stage, &alice, &dora.identity);
    assert_eq!((pushes(&out).len(), stage.memory.wakes.len()), (0, 0));
}

#[test]
fn wak_10_calls_and_what_is_kept_for_days_wake_and_nothing_else() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = asleep(&mut stage, 2, Device::new(2), &at("push.example"));
    let bye = stage.world.bye(&alice.device, &bob.did, "late");
    let out = stage.say(&alice, &bye);
    assert_eq!(pushes(&out), []);
    let out = introduce(&mut stage, &alice, &bob.identity);
    let mail = pushes(&out);
    assert_eq!(mail.iter().map(|push| (push.cause, push.ttl)).collect::<Vec<_>>(), [(Cause::Mail, 200)]);
    stage.pass(2);
    let (_, out) = invite(&mut stage, &alice, &bob.identity);
    let call = pushes(&out);
    // WAK-22: as long as the invite is valid.
    assert_eq!(call.iter().map(|push| (push.cause, push.ttl)).collect::<Vec<_>>(), [(Cause::Call, 200)]);
    assert_eq!((Cause::Call.urgency(), Cause::Mail.urgency()), ("high", "normal"));
    assert_ne!(Cause::Call.topic(), Cause::Mail.topic(), "a call is not replaced by something that can wait");
    // By the device's name, too.
    let out = taken(&mut stage, &call[0], Outcome::Taken);
    assert_eq!(counted(&out, Woken::Sent), 1);
    stage.pass(10);
    let (_, out) = invite(&mut stage, &alice, &bob.did);
    assert_eq!(pushes(&out).len(), 1);
    // Who is unknown is refused as ever.
    let (_, out) = invite(&mut stage, &alice, &Device::new(50).identity);
    assert_eq!((pushes(&out).len(), reasons(&out, alice.conn).len()), (0, 1));
}

#[test]
fn wak_11_who_sleeps_is_called_with_those_who_are_there() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let phone = asleep(&mut stage, 2, of_one_identity(1), &at("push.example"));
    let desk = stage.seat_of(3, of_one_identity(2));
    let (session, out) = invite(&mut stage, &alice, &desk.device.identity);
    assert_eq!(heard(&out, desk.conn).len(), 1);
    assert_eq!(pushes(&out).len(), 1);
    // RLY-46: woken, it rings, too.
    let (phone, out) = stage.arrive(4, phone);
    let rings = heard(&out, phone.conn).into_iter().any(|said| said["id"] == session.to_string());
    assert!(rings);
}

#[test]
fn wak_12_a_device_that_does_not_take_what_it_is_handed_is_woken() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = stage.seat(2, 2);
    say_where(&mut stage, &bob, at("push.example").claim());
    stage.pass(1);
    stage.acknowledges = false;
    let (_, out) = invite(&mut stage, &alice, &bob.device.identity);
    assert_eq!((heard(&out, bob.conn).len(), pushes(&out).len()), (1, 0), "it has a connection");
    let out = stage.pass(2);
    assert_eq!(pushes(&out).iter().map(|push| push.cause).collect::<Vec<_>>(), [Cause::Call]);
    // It comes on another connection, and the invite with it (CUS-14).
    stage.acknowledges = true;
    let (bob, out) = stage.arrive(3, bob.device);
    assert!(heard(&out, bob.conn).iter().any(|said| said["type"] == "invite"));
    assert_eq!(pushes(&out), []);

    // The connection ends with an invite on it.
    stage.acknowledges = false;
    let (_, out) = invite(&mut stage, &alice, &bob.device.identity);
    assert_eq!((heard(&out, bob.conn).len(), pushes(&out).len()), (1, 0));
    let (_, out) = stage.leave(bob);
    assert_eq!(pushes(&out).len(), 1);
}

#[test]
fn wak_12_a_call_that_is_over_wakes_nobody() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = stage.seat(2, 2);
    say_where(&mut stage, &bob, at("push.example").claim());
    stage.acknowledges = false;
    let (session, _) = invite(&mut stage, &alice, &bob.device.identity);
    let cancel = cancel(&mut stage, &alice, &bob.device.identity, session);
    stage.say(&alice, &cancel);
    let (_, out) = stage.leave(bob);
    assert_eq!(pushes(&out), []);
}

fn cancel(stage: &mut Stage, from: &Seat, to: &Did, session: Ulid) -> Message {
    let common = media(stage, &from.device.did);
    let reason = Reason::USER_CANCELLED;
    message::Cancel { common, to: to.clone(), session, reason, detail: None, retry_after: None }.into()
}

fn media(stage: &mut Stage, from: &Did) -> message::Common {
    let mut common = stage.world.common(from);
    common.dsip = VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]);
    common
}

#[test]
fn wak_13_a_burst_wakes_once() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = asleep(&mut stage, 2, Device::new(2), &at("push.example"));
    let mut out = Vec::new();
    for _ in 0..5 {
        out.extend(invite(&mut stage, &alice, &bob.identity).1);
        out.extend(introduce(&mut stage, &alice, &bob.identity));
    }
    assert_eq!((pushes(&out).len(), counted(&out, Woken::Collapsed)), (2, 8), "one for calls, one for the rest");
    for push in pushes(&out) {
        taken(&mut stage, &push, Outcome::Taken);
    }
    // After a while another call is worth another try; what can wait has been said.
    stage.pass(10);
    let (_, out) = invite(&mut stage, &alice, &bob.identity);
    assert_eq!(pushes(&out).len(), 1);
    assert_eq!(pushes(&introduce(&mut stage, &alice, &bob.identity)), []);
    // Once it was there, everything begins anew.
    let bob = stage.seat_of(3, bob);
    let bob = stage.leave(bob).0;
    let out = introduce(&mut stage, &alice, &bob.identity);
    assert_eq!(pushes(&out).len(), 1);
}

#[test]
fn wak_14_nobody_is_woken_all_night() {
    let mut stage = stage();
    let callers: Vec<Seat> =
        (0..4).map(|number| stage.seat(10 + number, 10 + u8::try_from(number).expect("small"))).collect();
    let bob = asleep(&mut stage, 2, Device::new(2), &at("push.example"));
    let mut by_one = 0;
    for _ in 0..30 {
        let (_, out) = invite(&mut stage, &callers[0], &bob.identity);
        for push in pushes(&out) {
            by_one += 1;
            taken(&mut stage, &push, Outcome::Taken);
        }
        stage.pass(10);
    }
    assert!((12..30).contains(&by_one), "one caller: {by_one}");
    let mut by_all = 0;
    for caller in (0..180).map(|turn| &callers[turn % 4]) {
        let (_, out) = invite(&mut stage, caller, &bob.identity);
        for push in pushes(&out) {
            by_all += 1;
            taken(&mut stage, &push, Outcome::Taken);
        }
        stage.pass(10);
    }
    assert!(by_all <= 16 + 60, "one every 30 s in half an hour: {by_all}");
}

#[test]
fn wak_15_a_device_that_was_woken_rings_and_answers() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = asleep(&mut stage, 2, Device::new(2), &at("push.example"));
    let (session, out) = invite(&mut stage, &alice, &bob.identity);
    assert!(heard(&out, alice.conn).is_empty(), "RLY-13: the caller is told nothing meanwhile");
    let push = pushes(&out).remove(0);
    taken(&mut stage, &push, Outcome::Taken);
    stage.pass(20);
    let (bob, out) = stage.arrive(3, bob);
    assert_eq!(heard(&out, bob.conn).iter().filter(|said| said["id"] == session.to_string()).count(), 1);
    let common = media(&mut stage, &bob.device.did);
    let (to, status) = (alice.device.did.clone(), Status::RINGING);
    let ringing = message::Progress { common, to, session, status, ring_timeout: Some(60), queue_timeout: None };
    let out = stage.say(&bob, &ringing.into());
    assert_eq!(heard(&out, alice.conn)[0]["status"], "ringing");
}

#[test]
fn wak_16_who_comes_too_late_hears_nothing_of_the_call() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    for (conn, too_late) in [(2, false), (20, true)] {
        let bob = asleep(&mut stage, conn, Device::new(2), &at("push.example"));
        let (session, _) = invite(&mut stage, &alice, &bob.identity);
        if too_late {
            stage.pass(201); // SNF-2
        } else {
            let cancel = cancel(&mut stage, &alice, &bob.identity, session); // RLY-15
            stage.say(&alice, &cancel);
        }
        let (bob, out) = stage.arrive(conn + 1, bob);
        assert!(heard(&out, bob.conn).iter().all(|said| said["type"] == "hello"), "no call, and none that was missed");
        stage.leave(bob);
    }
}

#[test]
fn wak_23_private_address_space_is_refused_unless_the_operator_allows_it() {
    for (allow_private, told) in [(false, 0), (true, 1)] {
        let mut stage = Stage::with(|config| {
            wakes(config);
            config.wake = Some(host::Wake { key: key(), allow_private });
        });
        let bob = stage.seat(1, 2);
        for host in ["127.0.0.1:8443", "[::1]", "10.0.0.1", "169.254.169.254"] {
            let (_, out) = say_where(&mut stage, &bob, at(host).claim());
            assert_eq!(receipts(&out, &bob).len(), told, "{host}");
            assert_eq!(reasons(&out, bob.conn).len(), 1 - told, "{host}");
        }
    }
}

#[test]
fn wak_33_a_device_that_came_by_itself_is_left_alone() {
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = asleep(&mut stage, 2, Device::new(2), &at("push.example"));
    let (_, out) = invite(&mut stage, &alice, &bob.identity);
    let push = pushes(&out).remove(0);
    let bob = stage.seat_of(3, bob);
    let out = taken(&mut stage, &push, Outcome::Failed(None));
    let out = stage.after(5, out);
    assert_eq!((pushes(&out).len(), counted(&out, Woken::Retried)), (0, 0));
    assert_eq!(stage.world.host.sleepers(), (1, 0), "it can be woken again");
    stage.leave(bob);
}

#[test]
fn wak_40_an_endpoint_that_is_gone_is_forgotten() {
    for (outcome, counts) in
        [(Outcome::Gone, Woken::Gone), (Outcome::Forbidden, Woken::Private), (Outcome::Unusable, Woken::Unusable)]
    {
        let mut stage = stage();
        let alice = stage.seat(1, 1);
        let bob = asleep(&mut stage, 2, Device::new(2), &at("push.example"));
        let (_, out) = invite(&mut stage, &alice, &bob.identity);
        let push = pushes(&out).remove(0);
        let out = taken(&mut stage, &push, outcome);
        assert_eq!((counted(&out, counts), stage.memory.wakes.len()), (1, 0));
        stage.pass(60);
        let (_, out) = invite(&mut stage, &alice, &bob.identity);
        assert_eq!(pushes(&out), []);
    }
    // One that was replaced in the meantime is not the one that is gone.
    let mut stage = stage();
    let alice = stage.seat(1, 1);
    let bob = asleep(&mut stage, 2, Device::new(2), &at("old.example"));
    let (_, out) = invite(&mut stage, &alice, &bob.identity);
    let push = pushes(&out).remove(0);
    asleep(&mut stage, 3, bob, &at("new.example"));
    taken(&mut stage, &push, Outcome::Gone);
    assert_eq!(stage.memory.wakes.len(), 1);
}
