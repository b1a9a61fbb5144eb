//! What a relay may say it keeps, and what becomes of it when connections, the relay or its disk fail
//! (docs/spec/custody.md).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dsip_proto::relay::host::{Close, Conn, Input, Output};
use dsip_proto::relay::{Memory, Write};
use dsip_proto::time::Seed;
use rand_chacha::rand_core::Rng as _;

use crate::host::{Device, World, closed, heard, payload, reasons};

/// The numbers of the questions put on `conn`.
fn questions(out: &[Output], conn: Conn) -> Vec<u64> {
    out.iter()
        .filter_map(|output| match output {
            Output::Question { conn: to, number } if *to == conn => Some(*number),
            _ => None,
        })
        .collect()
}

fn vouched(out: &[Output]) -> Vec<Vec<u8>> {
    out.iter()
        .filter_map(|output| match output {
            Output::Vouch { mark, .. } => Some(mark.clone()),
            _ => None,
        })
        .collect()
}

fn holds(out: &[Output]) -> usize {
    out.iter().filter(|output| matches!(output, Output::Write(Write::Hold(_)))).count()
}

fn releases(out: &[Output]) -> usize {
    out.iter().filter(|output| matches!(output, Output::Write(Write::Release(_)))).count()
}

fn details(out: &[Output], conn: Conn) -> Vec<String> {
    heard(out, conn).iter().filter_map(|said| Some(said.get("detail")?.as_str()?.to_owned())).collect()
}

/// Alice on connection 1, Bob on 2.
struct Two {
    world: World,
    alice: Device,
    bob: Device,
    writes: u64,
}

const ALICE: Conn = Conn(1);
const BOB: Conn = Conn(2);

impl Two {
    fn new() -> Self {
        let mut two = Self { world: World::new(|_| {}), alice: Device::new(1), bob: Device::new(2), writes: 0 };
        for (conn, seed) in [(1, 1), (2, 2)] {
            let device = Device::new(seed);
            two.world.connect(conn);
            let hello = two.world.hello(&device);
            let envelope = device.signer.sign(&hello);
            two.input(Input::Received { conn: Conn(conn), frame: &envelope.text() });
        }
        two
    }

    fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        let out = self.world.input(input);
        self.writes += out.iter().filter(|output| matches!(output, Output::Write(_))).count() as u64;
        out
    }

    fn say(&mut self, detail: &str) -> Vec<Output> {
        let bye = self.world.bye(&self.alice, &self.bob.did, detail);
        let text = self.alice.signer.sign(&bye).text();
        self.input(Input::Received { conn: ALICE, frame: &text })
    }

    fn ask(&mut self) -> Vec<Output> {
        self.input(Input::Asked { conn: ALICE, mark: b"?".to_vec() })
    }

    fn store(&mut self) -> Vec<Output> {
        let count = self.writes;
        self.input(Input::Stored { count })
    }

    fn pass(&mut self, by: Duration) -> Vec<Output> {
        self.world.now = self.world.now.later(by);
        self.input(Input::Tick)
    }

    fn bind_bob(&mut self, conn: u64) -> Vec<Output> {
        self.world.connect(conn);
        let hello = self.world.hello(&self.bob);
        let text = self.bob.signer.sign(&hello).text();
        self.input(Input::Received { conn: Conn(conn), frame: &text })
    }
}

#[test]
fn cus_1_a_question_is_answered_when_everything_before_it_is_safe() {
    let mut two = Two::new();
    assert_eq!(vouched(&two.ask()).len(), 1, "nothing was sent");
    let out = two.say("straight through");
    let question = questions(&out, BOB)[0];
    assert!(vouched(&two.ask()).is_empty(), "Bob may not have it");
    let out = two.input(Input::Reached { conn: BOB, number: question });
    assert_eq!((vouched(&out).len(), releases(&out)), (1, 0), "it never was on disk");

    two.input(Input::Closed { conn: BOB });
    assert_eq!(holds(&two.say("for later")), 1);
    assert!(vouched(&two.ask()).is_empty(), "it is not on disk yet");
    assert_eq!(vouched(&two.store()).len(), 1);
}

#[test]
fn cus_4_a_refused_envelope_needs_no_keeping() {
    let mut two = Two::new();
    let nobody = Device::new(9);
    let bye = two.world.bye(&two.alice, &nobody.did, "");
    let text = two.alice.signer.sign(&bye).text();
    let out = two.input(Input::Received { conn: ALICE, frame: &text });
    assert_eq!(reasons(&out, ALICE), ["transport.unknown-recipient"]);
    assert_eq!(vouched(&two.ask()).len(), 1);
}

#[test]
fn cus_5_an_id_is_remembered_no_sooner_than_its_envelope_is_safe() {
    let mut two = Two::new();
    let ids = |out: &[Output]| out.iter().filter(|output| matches!(output, Output::Write(Write::Seen(_)))).count();
    let out = two.say("on its way");
    assert_eq!(ids(&out), 0);
    let number = questions(&out, BOB)[0];
    assert_eq!(ids(&two.input(Input::Reached { conn: BOB, number })), 1);
}

#[test]
fn cus_6_a_new_connection_answers_for_what_came_on_the_old_one() {
    let mut two = Two::new();
    two.say("on its way");
    two.input(Input::Closed { conn: ALICE });
    two.world.connect(3);
    let hello = two.world.hello(&two.alice);
    let text = two.alice.signer.sign(&hello).text();
    two.input(Input::Received { conn: Conn(3), frame: &text });
    assert!(vouched(&two.input(Input::Asked { conn: Conn(3), mark: b"?".to_vec() })).is_empty());
    two.pass(Duration::from_millis(150));
    assert_eq!(vouched(&two.store()).len(), 1);
}

#[test]
fn cus_10_questions_come_at_once_and_on_a_busy_connection_together() {
    let mut two = Two::new();
    // One at a time: the second envelope waits for the answer about the first.
    let first = questions(&two.say("1"), BOB);
    assert_eq!(first.len(), 1);
    assert!(questions(&two.say("2"), BOB).is_empty());
    let second = questions(&two.input(Input::Reached { conn: BOB, number: first[0] }), BOB);
    assert_eq!((first[0], second[0]), (1, 2));
    two.input(Input::Reached { conn: BOB, number: 2 });
    // On a connection that is busy for longer they become rarer: one each 500 ms,
    for number in 3..=8 {
        assert_eq!(questions(&two.say("more"), BOB), [number]);
        two.input(Input::Reached { conn: BOB, number });
    }
    assert!(questions(&two.say("9"), BOB).is_empty());
    assert!(questions(&two.pass(Duration::from_millis(499)), BOB).is_empty());
    assert_eq!(questions(&two.pass(Duration::from_millis(1)), BOB), [9]);
    two.input(Input::Reached { conn: BOB, number: 9 });
    // or one for 32 envelopes.
    for _ in 0..31 {
        assert!(questions(&two.say("and more"), BOB).is_empty());
    }
    assert_eq!(questions(&two.say("the 32nd"), BOB), [41]);
}

#[test]
fn cus_12_what_a_device_acknowledged_is_let_go() {
    let mut two = Two::new();
    two.input(Input::Closed { conn: BOB });
    two.say("for later");
    two.store();
    let out = two.bind_bob(3);
    assert_eq!(details(&out, Conn(3)), ["for later"]);
    assert_eq!(releases(&out), 0, "Bob may not have it");
    let number = questions(&out, Conn(3))[0];
    assert_eq!(releases(&two.input(Input::Reached { conn: Conn(3), number })), 1);
    two.input(Input::Closed { conn: Conn(3) });
    assert_eq!(details(&two.bind_bob(4), Conn(4)), Vec::<String>::new());
}

#[test]
fn cus_13_what_is_not_acknowledged_soon_goes_to_disk() {
    let mut two = Two::new();
    assert_eq!(holds(&two.say("straight through")), 0);
    two.ask();
    assert_eq!(holds(&two.pass(Duration::from_millis(99))), 0);
    assert_eq!(holds(&two.pass(Duration::from_millis(1))), 1);
    assert_eq!(vouched(&two.store()).len(), 1);

    assert_eq!(holds(&two.say("and nobody asks")), 0);
    assert_eq!(holds(&two.pass(Duration::from_millis(999))), 0);
    assert_eq!(holds(&two.pass(Duration::from_millis(1))), 1);
}

#[test]
fn cus_14_what_a_lost_connection_did_not_acknowledge_comes_again_in_order() {
    let mut two = Two::new();
    two.say("1");
    two.say("2");
    two.input(Input::Closed { conn: BOB });
    two.say("3");
    assert_eq!(details(&two.bind_bob(3), Conn(3)), ["1", "2", "3"]);
    // A newer connection takes over while the older one still seems to be there (WS-7).
    two.say("4");
    assert_eq!(details(&two.bind_bob(4), Conn(4)), ["1", "2", "3", "4"]);
    assert_eq!(details(&two.say("5"), Conn(4)), ["5"]);
}

#[test]
fn cus_14_nothing_rings_for_a_leg_that_has_ended() {
    let mut two = Two::new();
    let invite = two.world.invite(&two.alice, &two.bob.identity);
    let text = two.alice.signer.sign(&invite).text();
    two.input(Input::Received { conn: ALICE, frame: &text });
    two.input(Input::Closed { conn: BOB });
    two.pass(dsip_proto::relay::SILENT_LEG);
    let out = two.bind_bob(3);
    assert_eq!(heard(&out, Conn(3)).len(), 1, "the hello alone");
    assert_eq!(releases(&out), 1);
}

#[test]
fn cus_15_a_window_is_open_at_a_time_and_who_acknowledges_nothing_is_cut_off() {
    let mut two = Two::new();
    let mut sent = 0;
    for number in 0..1_100 {
        let out = two.say(&number.to_string());
        sent += heard(&out, BOB).len();
        assert!(sent <= 128);
        if !closed(&out).is_empty() {
            assert_eq!(closed(&out), [(BOB, Close::Unread)]);
            assert_eq!(number, 1_024);
            assert_eq!(two.world.host.load().held, 1_025, "nothing is lost by it");
            return;
        }
    }
    panic!("never cut off");
}

#[test]
fn cus_21_without_a_disk_nothing_is_taken_that_would_have_to_wait() {
    let mut two = Two::new();
    two.input(Input::Disk { writable: false });
    let out = two.say("straight through");
    assert_eq!(details(&out, BOB), ["straight through"], "calls go on");
    let number = questions(&out, BOB)[0];
    two.input(Input::Reached { conn: BOB, number });
    two.say("lost on the way");
    let out = two.input(Input::Closed { conn: BOB });
    assert_eq!(reasons(&out, ALICE), ["transport.routing-refused"]);
    assert_eq!(reasons(&two.say("for later"), ALICE), ["transport.routing-refused"]);
    let introduction = two.world.introduction(&two.alice, &Device::new(9).identity);
    let text = two.alice.signer.sign(&introduction).text();
    let out = two.input(Input::Received { conn: ALICE, frame: &text });
    assert_eq!(reasons(&out, ALICE), ["policy.rate-limited"], "whoever it is for");
    two.input(Input::Disk { writable: true });
    assert_eq!(holds(&two.say("for later")), 1);
}

/// Senders, recipients, a relay and its disk, all of which fail at random.
struct Life {
    world: World,
    disk: Memory,
    pending: Vec<Write>,
    stored: u64,
    devices: Vec<Device>,
    conns: Vec<Option<Conn>>,
    next: u64,
    said: Vec<Said>,
    /// Frames that each recipient has read and not acknowledged, and the questions it has read.
    read: Vec<Vec<usize>>,
    questions: Vec<Vec<(u64, usize)>>,
    /// Redelivery of these is what a crash explains: their release was not on disk, or their senders sent them again.
    unreleased: BTreeSet<usize>,
    asked: BTreeMap<u8, (usize, usize)>,
    marks: u8,
    story: Vec<String>,
}

struct Said {
    id: String,
    text: String,
    from: usize,
    to: usize,
    promised: bool,
    refused: bool,
    got: bool,
    acknowledged: bool,
}

const SENDERS: usize = 2;

impl Life {
    fn new() -> Self {
        let devices: Vec<Device> = (1..=4).map(Device::new).collect();
        let mut life = Self {
            world: World::new(|_| {}),
            disk: Memory::default(),
            pending: Vec::new(),
            stored: 0,
            conns: vec![None; devices.len()],
            read: vec![Vec::new(); devices.len()],
            questions: vec![Vec::new(); devices.len()],
            devices,
            next: 0,
            said: Vec::new(),
            unreleased: BTreeSet::new(),
            asked: BTreeMap::new(),
            marks: 0,
            story: Vec::new(),
        };
        for device in 0..life.devices.len() {
            life.connect(device);
        }
        life.commit(usize::MAX);
        life
    }

    fn input(&mut self, input: Input<'_>) {
        for output in self.world.input(input) {
            match output {
                Output::Write(write) => self.pending.push(write),
                Output::Transmit { conn, frame, .. } => {
                    let Some(device) = self.conns.iter().position(|open| *open == Some(conn)) else { continue };
                    let said = payload(&frame);
                    match said["type"].as_str() {
                        Some("bye") => self.hear(device, said["detail"].as_str().and_then(|d| d.parse().ok())),
                        Some("error") => self.refused(&said["in_reply_to"]),
                        _ => {}
                    }
                }
                Output::Question { conn, number } => {
                    if let Some(device) = self.conns.iter().position(|open| *open == Some(conn)) {
                        let read = self.read[device].len();
                        self.questions[device].push((number, read));
                    }
                }
                Output::Vouch { mark, .. } => {
                    let Some((sender, before)) = self.asked.remove(&mark[0]) else { continue };
                    for said in self.said[..before].iter_mut().filter(|said| said.from == sender && !said.refused) {
                        said.promised = true;
                    }
                }
                Output::Close { conn, .. } => {
                    for device in 0..self.conns.len() {
                        if self.conns[device] == Some(conn) {
                            self.forget(device);
                        }
                    }
                }
                Output::Ask(_) | Output::Event(_) | Output::Joined { .. } | Output::Wake(_) => {}
            }
        }
    }

    fn hear(&mut self, device: usize, number: Option<usize>) {
        let number = number.expect("one of ours");
        self.story.push(format!("{device} hears {number}"));
        let (from, to) = (self.said[number].from, self.said[number].to);
        assert_eq!(to, device);
        assert!(
            !self.said[number].acknowledged || self.unreleased.contains(&number),
            "{number} came again after it was acknowledged"
        );
        if !self.said[number].got {
            let later = self.said[number + 1..].iter().any(|said| said.from == from && said.to == to && said.got);
            assert!(!later, "{number} came after a later one (RLY-3)");
            self.said[number].got = true;
        }
        self.read[device].push(number);
    }

    fn refused(&mut self, id: &serde_json::Value) {
        let number = self.said.iter().position(|said| said.id == id.as_str().unwrap_or_default()).expect("one of ours");
        self.story.push(format!("{number} refused"));
        assert!(!self.said[number].promised, "{number} was refused after it was vouched for");
        self.said[number].refused = true;
    }

    fn say(&mut self, from: usize, to: usize) {
        let Some(conn) = self.conns[from] else { return };
        let number = self.said.len();
        let did = self.devices[to].did.clone();
        let bye = self.world.bye(&self.devices[from], &did, &number.to_string());
        self.story.push(format!("{from} says {number} to {to}"));
        let (id, text) = (bye.common().id.to_string(), self.devices[from].signer.sign(&bye).text());
        let (promised, refused, got, acknowledged) = (false, false, false, false);
        self.said.push(Said { id, text: text.clone(), from, to, promised, refused, got, acknowledged });
        self.input(Input::Received { conn, frame: &text });
    }

    fn ask(&mut self, from: usize) {
        let Some(conn) = self.conns[from] else { return };
        self.marks = self.marks.wrapping_add(1);
        self.asked.insert(self.marks, (from, self.said.len()));
        let mark = vec![self.marks];
        self.input(Input::Asked { conn, mark });
    }

    fn answer(&mut self, device: usize) {
        let Some(conn) = self.conns[device] else { return };
        if self.questions[device].is_empty() {
            return;
        }
        let (number, read) = self.questions[device].remove(0);
        for said in &self.read[device][..read] {
            self.story.push(format!("{device} has {said}"));
            self.said[*said].acknowledged = true;
        }
        self.input(Input::Reached { conn, number });
    }

    fn connect(&mut self, device: usize) {
        self.next += 1;
        self.forget(device);
        self.story.push(format!("{device} connects"));
        let conn = self.world.connect(self.next);
        self.conns[device] = Some(conn);
        let hello = self.world.hello(&self.devices[device]);
        let text = self.devices[device].signer.sign(&hello).text();
        self.input(Input::Received { conn, frame: &text });
        // CUS-5: what nobody vouched for is sent again.
        let unsure = |said: &&Said| said.from == device && !said.promised && !said.refused;
        let again: Vec<String> = self.said.iter().filter(unsure).map(|said| said.text.clone()).collect();
        for text in again {
            self.input(Input::Received { conn, frame: &text });
        }
    }

    fn forget(&mut self, device: usize) {
        self.conns[device] = None;
        self.read[device].clear();
        self.questions[device].clear();
    }

    fn disconnect(&mut self, device: usize) {
        if let Some(conn) = self.conns[device] {
            self.story.push(format!("{device} disconnects"));
            self.forget(device);
            self.input(Input::Closed { conn });
        }
    }

    fn commit(&mut self, most: usize) {
        let count = self.pending.len().min(most);
        for write in self.pending.drain(..count) {
            self.disk.apply(write);
        }
        self.stored += count as u64;
        let stored = self.stored;
        self.input(Input::Stored { count: stored });
    }

    fn crash(&mut self) {
        self.story.push("crash".into());
        let held = self.disk.held.values().map(|kept| payload(&kept.text)["detail"].as_str().map(str::to_owned));
        let held: BTreeSet<usize> = held.filter_map(|detail| detail?.parse().ok()).collect();
        self.unreleased.extend(held);
        self.unreleased.extend((0..self.said.len()).filter(|number| !self.said[*number].promised));
        self.pending.clear();
        self.stored = 0;
        self.asked.clear();
        for device in 0..self.conns.len() {
            self.forget(device);
        }
        let memory = self.disk.clone();
        self.world.restart(memory);
    }

    fn live(seed: u64) {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        let mut rng = Seed::new(secret).into_rng();
        let mut choose = move |below: usize| rng.next_u32() as usize % below;
        let mut life = Self::new();
        for _ in 0..300 {
            let (sender, recipient) = (choose(SENDERS), SENDERS + choose(2));
            match choose(32) {
                0..10 => life.say(sender, recipient),
                10..13 => life.ask(sender),
                13..18 => life.answer(recipient),
                18..20 => life.disconnect(recipient),
                20..22 => life.connect(recipient),
                22 => life.disconnect(sender),
                23 => life.connect(sender),
                24..27 => life.commit(choose(8)),
                27 => life.crash(),
                28 => life.input(Input::Disk { writable: choose(3) > 0 }),
                _ => {
                    life.world.now = life.world.now.later(Duration::from_millis(choose(500) as u64));
                    life.input(Input::Tick);
                }
            }
        }
        life.input(Input::Disk { writable: true });
        life.commit(usize::MAX);
        if choose(2) == 0 {
            life.crash();
        }
        for recipient in SENDERS..life.devices.len() {
            life.connect(recipient);
            while !life.questions[recipient].is_empty() {
                life.answer(recipient);
            }
        }
        for (number, said) in life.said.iter().enumerate() {
            assert!(said.got || !said.promised, "seed {seed}: {number} was vouched for and lost\n{:#?}", life.story);
        }
        assert_eq!(life.world.host.load().held, 0);
        life.commit(usize::MAX);
        assert_eq!(life.disk.held.len(), 0, "seed {seed}: what everybody has is kept on\n{:#?}", life.story);
    }
}

#[test]
fn cus_1_14_whatever_fails_what_was_vouched_for_arrives_once_and_in_order() {
    // CUS-1, CUS-12, CUS-14
    for seed in 0..40 {
        Life::live(seed);
    }
}
