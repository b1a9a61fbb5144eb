//! A client that counts: it numbers what it says, asks the node to vouch for it, says again what was not vouched for, and
//! remembers what came. It has no agent, so that nothing between it and the relay's rules makes up for a mistake of theirs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dsip_proto::envelope::Signer;
use dsip_proto::time::{Now, Tick};
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::message::{Bye, Common, Hello};
use dsip_proto::wire::token::{BindingId, ProfileId};
use dsip_proto::wire::{Did, Envelope, Message, Reason, Ulid};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng as _;

use crate::network::LinkId;

/// What it has not been vouched for and goes on with at most (CUS-5).
const MOST_UNSURE: usize = 24;

/// How long what it says is valid, in seconds: longer than any node is away.
const VALIDITY: u64 = 280;

/// The longest it waits before it dials again.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What it wants done.
pub(crate) enum Act {
    Dial,
    Send(Vec<u8>),
    Close,
}

/// The client.
pub(crate) struct Counter {
    rng: ChaCha20Rng,
    signer: Signer,
    pub(crate) device: Did,
    identity: Did,
    /// Its node.
    audience: Did,
    /// Whom it talks to.
    to: Vec<Did>,
    talks: bool,
    state: State,
    pause: Duration,
    wake: Option<Tick>,
    said: u64,
    unsure: VecDeque<(Ulid, Vec<u8>)>,
    /// How much of that its question is about.
    asked: Option<usize>,
    pub(crate) vouched: BTreeSet<Ulid>,
    /// What came, and over which link last.
    pub(crate) received: BTreeMap<Ulid, LinkId>,
    last: BTreeMap<String, u64>,
    /// What came again, over another link than before.
    pub(crate) repeats: usize,
    pub(crate) refused: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Away,
    Dialling(LinkId),
    Greeting(LinkId),
    Bound(LinkId),
}

/// What the two ends of a link say to each other beside envelopes: pings and pongs, or marks (docs/spec/custody.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// A node's question, and a device's answer.
    Question(u64),
    Reached(u64),
    /// A device's question, and the node's answer.
    Asked(Vec<u8>),
    Vouched(Vec<u8>),
}

impl Control {
    /// No envelope begins like this.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let (kind, mark) = match self {
            Self::Question(number) => (1, number.to_be_bytes().to_vec()),
            Self::Reached(number) => (2, number.to_be_bytes().to_vec()),
            Self::Asked(mark) => (3, mark.clone()),
            Self::Vouched(mark) => (4, mark.clone()),
        };
        [vec![kind], mark].concat()
    }

    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let (kind, mark) = frame.split_first()?;
        let number = || Some(u64::from_be_bytes(mark.try_into().ok()?));
        match kind {
            1 => Some(Self::Question(number()?)),
            2 => Some(Self::Reached(number()?)),
            3 => Some(Self::Asked(mark.to_vec())),
            4 => Some(Self::Vouched(mark.to_vec())),
            _ => None,
        }
    }
}

impl Counter {
    pub(crate) fn new(signer: Signer, identity: Did, audience: Did, rng: ChaCha20Rng, now: Now) -> Self {
        Self {
            rng,
            device: signer.kid().did().clone(),
            signer,
            identity,
            audience,
            to: Vec::new(),
            talks: false,
            state: State::Away,
            pause: Duration::ZERO,
            wake: Some(now.tick),
            said: 0,
            unsure: VecDeque::new(),
            asked: None,
            vouched: BTreeSet::new(),
            received: BTreeMap::new(),
            last: BTreeMap::new(),
            repeats: 0,
            refused: 0,
        }
    }

    pub(crate) fn wake(&self) -> Option<Tick> {
        self.wake
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Away => None,
            State::Dialling(link) | State::Greeting(link) | State::Bound(link) => Some(link),
        }
    }

    /// Whether nothing it said is open.
    pub(crate) fn is_sure(&self) -> bool {
        self.unsure.is_empty()
    }

    /// Talks to these from now on, or to nobody.
    pub(crate) fn talk(&mut self, to: Vec<Did>, now: Now) {
        self.talks = !to.is_empty();
        if self.talks {
            self.to = to;
        }
        self.wake = Some(now.tick);
    }

    pub(crate) fn dialled(&mut self, link: LinkId) {
        self.state = State::Dialling(link);
    }

    pub(crate) fn opened(&mut self, now: Now, link: LinkId, acts: &mut Vec<Act>) {
        if self.state != State::Dialling(link) {
            return;
        }
        self.state = State::Greeting(link);
        let hello = Hello {
            common: self.common(now),
            on_behalf_of: Some(self.identity.clone()),
            bindings: Some(vec![BindingId::WS]),
            in_reply_to: None,
            capabilities: None,
        };
        let hello = self.signer.sign_for(&hello.into(), self.audience.as_str());
        acts.push(Act::Send(hello.text().into_bytes()));
    }

    pub(crate) fn closed(&mut self, now: Now, link: LinkId) {
        if self.link() == Some(link) {
            self.away(now);
        }
    }

    pub(crate) fn woken(&mut self, now: Now, acts: &mut Vec<Act>) {
        if self.wake.is_none_or(|wake| wake > now.tick) {
            return;
        }
        self.wake = None;
        match self.state {
            State::Away => acts.push(Act::Dial),
            State::Dialling(_) | State::Greeting(_) => {}
            State::Bound(_) => self.speak(now, acts),
        }
    }

    /// Something came over its link.
    pub(crate) fn hear(&mut self, now: Now, link: LinkId, frame: &[u8], acts: &mut Vec<Act>) {
        if self.link() != Some(link) {
            return;
        }
        match Control::of(frame) {
            Some(Control::Question(number)) => acts.push(Act::Send(Control::Reached(number).frame())),
            Some(Control::Vouched(_)) => {
                let asked = self.asked.take().unwrap_or(0);
                self.vouched.extend(self.unsure.drain(..asked).map(|(id, _)| id));
                self.wake = Some(now.tick + self.moment());
            }
            Some(_) => {}
            None => self.hear_envelope(now, link, frame, acts),
        }
    }

    fn hear_envelope(&mut self, now: Now, link: LinkId, frame: &[u8], acts: &mut Vec<Act>) {
        let envelope = std::str::from_utf8(frame).ok().and_then(|frame| Envelope::parse(frame).ok());
        let payload = envelope.map(|envelope| envelope.payload_bytes()).unwrap_or_default();
        let payload: serde_json::Value = serde_json::from_slice(&payload).expect("an envelope");
        let member = |name: &str| payload.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        match member("type") {
            "hello" => {
                self.state = State::Bound(link);
                self.pause = Duration::ZERO;
                // CUS-5: unchanged, and in order.
                acts.extend(self.unsure.iter().map(|(_, frame)| Act::Send(frame.clone())));
                self.ask(acts);
                self.wake = Some(now.tick + self.moment());
            }
            "error" if matches!(self.state, State::Greeting(_)) => {
                acts.push(Act::Close);
                self.away(now);
            }
            "error" => {
                let about = member("in_reply_to");
                let place = self.unsure.iter().position(|(id, _)| id.to_string() == about);
                if let Some(place) = place {
                    self.unsure.remove(place);
                    // The question is about what is left of what came before it.
                    self.asked = self.asked.map(|asked| asked - usize::from(place < asked));
                    self.refused += 1;
                }
            }
            "bye" => {
                let id: Ulid = member("id").parse().expect("an id");
                let number: u64 = member("detail").parse().expect("a number");
                match self.received.insert(id, link) {
                    None => {
                        let last = self.last.insert(member("from").to_owned(), number);
                        assert!(last.is_none_or(|last| last < number), "RLY-3: {number} came after {last:?}");
                    }
                    Some(before) => {
                        assert_ne!(before, link, "the same envelope twice over one link");
                        self.repeats += 1;
                    }
                }
            }
            other => panic!("nobody here says {other}"),
        }
    }

    fn speak(&mut self, now: Now, acts: &mut Vec<Act>) {
        let more = if self.talks { 1 + self.rng.next_u32() % 4 } else { 0 };
        for _ in 0..more {
            if self.unsure.len() >= MOST_UNSURE {
                break;
            }
            self.said += 1;
            let to = self.to[usize::try_from(self.rng.next_u32()).unwrap_or(0) % self.to.len()].clone();
            let common = self.common(now);
            let id = common.id;
            let (session, detail) = (Ulid::from_bits(7), Some(self.said.to_string()));
            let bye = Bye { common, to, session, reason: Reason::USER_HANGUP, detail, retry_after: None };
            let frame = self.signer.sign(&Message::from(bye)).text().into_bytes();
            acts.push(Act::Send(frame.clone()));
            self.unsure.push_back((id, frame));
        }
        self.ask(acts);
    }

    fn ask(&mut self, acts: &mut Vec<Act>) {
        if self.asked.is_none() && !self.unsure.is_empty() {
            self.asked = Some(self.unsure.len());
            acts.push(Act::Send(Control::Asked(vec![7]).frame()));
        }
    }

    fn away(&mut self, now: Now) {
        self.state = State::Away;
        self.asked = None;
        self.pause = (2 * self.pause).clamp(Duration::from_millis(500), LONGEST_PAUSE);
        self.wake = Some(now.tick + self.pause);
    }

    /// Until it speaks next.
    fn moment(&mut self) -> Duration {
        Duration::from_millis(u64::from(100 + self.rng.next_u32() % 900))
    }

    fn common(&mut self, now: Now) -> Common {
        let issued_at = now.wall.secs();
        Common {
            dsip: VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]),
            id: Ulid::generate(now.wall, &mut self.rng),
            from: self.device.clone(),
            issued_at,
            expires_at: issued_at + VALIDITY,
        }
    }
}
