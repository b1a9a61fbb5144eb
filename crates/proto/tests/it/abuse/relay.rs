//! Random traffic, bindings and clock jumps at one relay, and what must hold after each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dsip_proto::relay::{Body, Config, Engine, Input, Load, Message, Output, Path};
use dsip_proto::time::{Now, Wall};
use dsip_proto::wire::token::Status;
use dsip_proto::wire::{Did, Kind, Reason, Ulid};

const START: u64 = 1_760_000_000;
const DEVICES: [(&str, &str); 7] = [
    ("alice-phone", "alice"),
    ("alice-laptop", "alice"),
    ("bob-phone", "bob"),
    ("bob-laptop", "bob"),
    ("carol", "carol"),
    ("dave-phone", "dave"),
    ("bob-phone", "alice"),
];
const ADDRESSES: [&str; 9] =
    ["alice", "bob", "carol", "dave", "alice-phone", "bob-phone", "bob-laptop", "dave-phone", "nobody"];
const PAUSES: [u64; 8] = [0, 1, 10, 40, 100, 300, 2_000, 90_000];

/// Reads `data` as a list of operations and checks the invariants after each.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let now = Now { wall: Wall::from_secs(START), ..Now::default() };
    let mut world = World {
        engine: Engine::new(Config::default()),
        now,
        messages: 0,
        bound: BTreeSet::new(),
        delivered: BTreeMap::new(),
        outcomes: BTreeMap::new(),
    };
    while let Some(operation) = bytes.next() {
        let mut choose = |among: usize| usize::from(bytes.next().unwrap_or_default()) % among;
        match operation % 8 {
            0 => {
                world.now = world.now.later(Duration::from_secs(PAUSES[choose(8)]));
                world.feed(Input::Tick);
            }
            1 | 2 => {
                let (device, identity) = DEVICES[choose(7)];
                world.bound.insert(did(device));
                world.feed(Input::Bind { device: did(device), identity: did(identity) });
            }
            3 => {
                let device = did(DEVICES[choose(7)].0);
                world.bound.remove(&device);
                world.feed(Input::Unbind { device });
            }
            _ => {
                let message = world.message(&mut choose);
                let out = world.feed(Input::Received(message.clone()));
                if matches!(message.body, Body::Invite | Body::Introduction | Body::Other(_)) {
                    assert!(!out.is_empty(), "RLY-4: {message:?} vanished");
                }
            }
        }
    }
    world.rest();
}

struct World {
    engine: Engine,
    now: Now,
    /// Messages made so far; the number is in each text.
    messages: u64,
    bound: BTreeSet<Did>,
    /// The last message delivered to a device for an address, by sender: order is kept on each path (RLY-3).
    delivered: BTreeMap<(Did, Option<Did>, Did), u64>,
    /// What the initiator was told of each attempt.
    outcomes: BTreeMap<Ulid, Told>,
}

#[derive(Default)]
struct Told {
    answered: bool,
    rejected: bool,
}

impl World {
    fn message(&mut self, choose: &mut dyn FnMut(usize) -> usize) -> Message {
        self.messages += 1;
        let session = id(u64::try_from(choose(8)).unwrap_or_default());
        let reasons = [Reason::USER_DECLINED, Reason::ENDPOINT_BUSY, Reason::MEDIA_UNSUPPORTED];
        let reason = reasons[choose(3)].clone();
        let status = [Status::RINGING, Status::QUEUED][choose(2)].clone();
        let body = match choose(12) {
            0..=3 => Body::Invite,
            4 => Body::Introduction,
            5 => Body::Progress { status },
            6 | 7 => Body::Answer,
            8 => Body::Reject { reason },
            9 => Body::Cancel { reason },
            _ => Body::Other(Kind::Info),
        };
        // An id is seen once (RPL-5), so an invite of a session that was invited before never gets here.
        let fresh = id(1_000 + self.messages);
        let taken = self.outcomes.contains_key(&session);
        let invites = body == Body::Invite && !taken;
        if invites {
            self.outcomes.insert(session, Told::default());
        }
        let expires = [None, Some(self.now.wall.secs() + 30), Some(self.now.wall.secs() + 100_000)];
        Message {
            id: if invites { session } else { fresh },
            from: did(DEVICES[choose(6)].0),
            to: Some(did(ADDRESSES[choose(9)])),
            session: (!matches!(body, Body::Invite | Body::Introduction)).then_some(session),
            in_reply_to: (choose(8) == 0).then_some(session),
            expires_at: expires[choose(3)],
            body,
            text: self.messages.to_string().into(),
        }
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        let mut all = Vec::new();
        for output in out {
            self.check(&output, &mut all);
            all.push(output);
        }
        let load = self.engine.load();
        assert!(load.bound <= load.known && load.bound == self.bound.len(), "{load:?}");
        if let Some(wake) = self.engine.wake() {
            assert!(wake > self.now.tick, "something due was left undone");
        }
        all
    }

    fn check(&mut self, output: &Output, all: &mut Vec<Output>) {
        match output {
            Output::Deliver { leg, message, path, .. } => {
                if self.bound.contains(leg) {
                    self.deliver(leg, message, *path);
                } else {
                    assert_eq!(*path, Path::Withdrawal, "{message:?} to {leg}, which is not bound");
                    self.hand_back(leg, message, all);
                }
            }
            Output::Forward { to, message, .. } => {
                let told = message.session.map(|session| self.outcomes.entry(session).or_default());
                if let Some(told) = told {
                    match message.body {
                        Body::Answer => {
                            assert!(!told.rejected, "an answer after the attempt was reported as refused");
                            told.answered = true;
                        }
                        Body::Reject { .. } => told.reject(),
                        _ => {}
                    }
                }
                if !self.bound.contains(to) {
                    self.hand_back(to, message, all);
                }
            }
            Output::Refuse { session, .. } => self.outcomes.entry(*session).or_default().reject(),
            _ => {}
        }
    }

    /// SNF-5
    fn hand_back(&mut self, to: &Did, message: &Arc<Message>, all: &mut Vec<Output>) {
        let undelivered = Input::Undelivered { to: to.clone(), message: message.clone() };
        self.engine.handle(self.now, undelivered, all);
    }

    fn deliver(&mut self, leg: &Did, message: &Arc<Message>, path: Path) {
        // What went through `Forward` first, or comes again as a late leg's invite, is on a path of its own.
        let scoped = message.body != Body::Introduction && !matches!(message.body, Body::Other(_) | Body::Invite);
        if path == Path::LateLeg || scoped {
            return;
        }
        let number: u64 = message.text.parse().expect("a number");
        let path = (message.from.clone(), message.to.clone(), leg.clone());
        let last = self.delivered.insert(path, number);
        assert!(last.is_none_or(|last| last < number), "RLY-3: {number} was delivered after {last:?}");
    }

    /// Everybody leaves, and time passes: nothing may be left.
    fn rest(&mut self) {
        while let Some(device) = self.bound.pop_first() {
            self.feed(Input::Unbind { device });
        }
        for _ in 0..20 {
            self.now = self.now.later(Duration::from_secs(86_400));
            self.feed(Input::Tick);
        }
        assert_eq!(self.engine.load(), Load::default());
        assert_eq!(self.engine.wake(), None);
    }
}

impl Told {
    fn reject(&mut self) {
        assert!(!self.answered && !self.rejected, "RLY-40: the outcome is told once, and not after an answer");
        self.rejected = true;
    }
}

fn did(name: &str) -> Did {
    format!("did:key:{name}").parse().expect("a DID")
}

fn id(number: u64) -> Ulid {
    format!("{number:026}").parse().expect("a ULID")
}
