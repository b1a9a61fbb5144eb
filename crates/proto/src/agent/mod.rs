//! A whole phone as one value: who it is, whom it lets in, its links, its calls. Pure; a driver brings the world.
//!
//! ```text
//!            frames, clock, link changes, documents                       commands: call, accept, hang up …
//!                          │ Input                                                    │
//!                          ▼                                                          ▼
//!   parked ──► envelope::Verifier ──► [ links: hello ] ──► endpoint::Engine ◄── binding::webrtc checks
//!  (documents)    Verified<Message>                             │        └──► webrtc::Exchange (candidates)
//!                                                               ▼
//!                                                     compose, envelope::Signer
//!                          │ Output
//!                          ▼
//!   Persist · Dial · Transmit · Close · Ask · Media · Publish · Event · Idle
//! ```
//!
//! The engines decide one thing each and never meet: [`endpoint`] the session, [`webrtc`](crate::binding::webrtc) whether
//! an offer is usable and which candidates go when, [`envelope`](crate::envelope) who speaks. The agent routes between
//! them, fills what the session engine decides to send with media, claims and times, signs it, and knows which link it
//! leaves on.
//!
//! Left to the driver on purpose: sockets, finding people, making SDP, playing and recording sound, asking a person.

mod calls;
mod company;
mod compose;
mod config;
mod contacts;
mod event;
mod hints;
mod inbound;
mod intruders;
mod link;
mod links;
mod memory;
mod parked;
mod wake;
mod watches;

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng as _;

pub use company::Company;
pub use config::{Config, Description, Identity, Policy, Relay};
pub use contacts::{PURPOSE_LIMIT, TOKEN_LIMIT};
pub use event::{
    Answer, AskId, Event, Input, LinkChange, LinkId, Media, Output, Party, Permit, Question, Side, Suspicion,
};
pub use memory::{Change, Memory, Request};
pub use watches::{Record, Stream, Told, Visibility};

use crate::endpoint;
use crate::envelope::{Signer, Supported, Verifier};
use crate::identity::Documents;
use crate::time::{Now, Seed, Tick};
use crate::wire::token::ProfileId;
use crate::wire::{Did, Ulid};

use calls::Call;
use contacts::Errand;
use hints::Hints;
use intruders::Intruders;
use link::{Link, Purpose};
use parked::Parked;
use wake::Waking;
use watches::Watches;

/// A phone. Whoever holds one drives it: one call of [`handle`](Self::handle) or of a command per thing that happens, then
/// [`poll`](Self::poll) until it is idle. Draining late is never wrong.
pub struct Agent {
    did: Did,
    device: Did,
    name: Option<String>,
    policy: Policy,
    memory: Memory,
    signer: Signer,
    verifier: Verifier,
    documents: Documents,
    /// When each fetched document was learned: a DID document may change, and only the current one has authority (RES-3).
    learned: BTreeMap<Did, Tick>,
    parked: Parked,
    engine: endpoint::Engine,
    calls: BTreeMap<Ulid, Call>,
    links: BTreeMap<LinkId, Link>,
    home: Option<LinkId>,
    /// Our pending introductions: an answer may come back where each went out.
    errands: BTreeMap<Ulid, Errand>,
    /// The links that requests came in on: the answer to one goes back there while it stands.
    asked_over: BTreeMap<Ulid, LinkId>,
    intruders: Intruders,
    hints: Option<Hints>,
    watches: Watches,
    waking: Waking,
    /// Whether another program of this device has the links.
    aside: bool,
    rng: ChaCha20Rng,
    last_id: u64,
    out: VecDeque<Output>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("did", &self.did).field("device", &self.device).finish_non_exhaustive()
    }
}

/// A command that cannot be carried out. Nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// The session engine refuses it.
    #[error(transparent)]
    Refused(#[from] endpoint::Refused),
    /// There is nowhere to dial.
    #[error("there is nowhere to dial: neither a place to reach them nor a node of one's own")]
    Nowhere,
    /// So many calls are up that another one would be a fault.
    #[error("too many calls at once")]
    TooManyCalls,
    /// So much is watched that another watch would be a fault.
    #[error("too many watches at once")]
    TooManyWatches,
    /// So many are blocked that another one would be a fault.
    #[error("too many are blocked")]
    TooManyBlocked,
    /// The text is longer than the message may be.
    #[error("the text is too long for its message")]
    TooLong,
    /// The media engine made an offer with other ICE credentials than the call has: it may not be sent (WEB-88).
    #[error("the new offer restarts ICE, which this version of the binding does not have")]
    IceRestart,
}

impl Agent {
    /// A phone that dials its own node, if it has one, as soon as it is polled.
    #[must_use]
    pub fn new(config: Config, seed: Seed, now: Now) -> Self {
        let Config { identity, policy, node, publish, mut memory } = config;
        let mut rng = seed.into_rng();
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let mut verifier = Verifier::new(
            Supported::new([ProfileId::INTERACTIVE_MEDIA, ProfileId::VERIFIED_BROADCAST]),
            Seed::new(bytes),
        );
        verifier.seen_mut().restore(std::mem::take(&mut memory.seen), now.wall.secs());
        let Identity { did, device: key, delegations, name } = identity;
        let device = key.did();
        let kid = key.public().kid();
        let engine = endpoint::Engine::new(Self::engine_config(&did, &device, policy, &memory));
        let mut agent = Self {
            engine,
            verifier,
            did,
            name,
            device,
            policy,
            memory,
            signer: Signer::new(key, kid, delegations),
            documents: Documents::default(),
            learned: BTreeMap::new(),
            parked: Parked::default(),
            calls: BTreeMap::new(),
            links: BTreeMap::new(),
            home: None,
            errands: BTreeMap::new(),
            asked_over: BTreeMap::new(),
            intruders: Intruders::default(),
            hints: publish.then(Hints::new),
            watches: Watches::new(now),
            waking: Waking::default(),
            aside: false,
            rng,
            last_id: 0,
            out: VecDeque::new(),
        };
        agent.home = node.map(|relay| agent.link_to(&relay, Purpose::Home));
        agent
    }

    /// Tells the phone what happened in the world.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Tick => {}
            Input::Received { link, frame } => self.received(now, link, frame),
            Input::Link(link, change) => self.link_changed(now, link, change),
            Input::Company(company) => self.company_changed(now, company),
            Input::Answer(ask, Answer::Document(document)) => self.learn(now, ask, document),
        }
        self.advance(now);
    }

    /// The next thing to do for the world. [`Output::Idle`] ends a round and says when to come back.
    pub fn poll(&mut self, now: Now) -> Output {
        if self.out.is_empty() {
            self.advance(now);
        }
        self.out.pop_front().unwrap_or_else(|| Output::Idle { wake: self.wake() })
    }

    /// The identity this phone speaks for.
    #[must_use]
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The device that signs.
    #[must_use]
    pub fn device(&self) -> &Did {
        &self.device
    }

    /// Whether it has a node of its own, where calls come in.
    #[must_use]
    pub fn has_node(&self) -> bool {
        self.home.is_some()
    }

    /// What it remembers.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whatever is due by now. Order matters little: each part looks at its own deadlines.
    fn advance(&mut self, now: Now) {
        for ask in self.parked.overdue(now) {
            self.learn(now, ask, None);
        }
        self.advance_links(now);
        self.advance_calls(now);
        self.publish_hint(now);
        self.advance_watches(now);
        self.advance_waking(now);
    }

    fn wake(&self) -> Option<Tick> {
        self.links_wake()
            .chain(self.calls.values().filter_map(Call::wake))
            .chain(self.parked.wake())
            .chain(self.hints.as_ref().and_then(Hints::wake))
            .chain(self.engine.wake())
            .chain(self.watches.wake())
            .chain(self.waking.wake())
            .min()
    }

    fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}
