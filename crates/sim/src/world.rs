//! A world of phones and nodes: the shipping machines, a virtual network between them, and people who pick up or do not.
//!
//! ```text
//!   agent::Agent ── Output ─► Phone ─► Network ─► Node ── Input ─► relay::Host
//!        ▲                     │                    │                  │
//!        └────── Input ────────┘                    └───── Output ◄────┘
//! ```
//!
//! Nothing here decides what the rules decide; a world opens links, carries frames, keeps what is to be kept, and does what
//! its people were told to do. What each of them saw is its events.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dsip_proto::agent::{self, Agent, Change, Description, Event, Memory, Policy, Relay};
use dsip_proto::envelope::Signer;
use dsip_proto::identity::{self, Delegation, SecretKey};
use dsip_proto::relay;
use dsip_proto::relay::host::{self, Conn, Elsewhere, Host};
use dsip_proto::time::{Now, Seed, Tick};
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::message::Common;
use dsip_proto::wire::token::{AnsweredBy, Direction, ProfileId};
use dsip_proto::wire::{Did, Envelope, Message, Reason, Ulid};

use crate::counter::{Act, Control, Counter};
use crate::disk::Disk;
use crate::network::{self, HostId, LinkId, Network};
use crate::story::Story;

/// More inputs than this without time moving on is a loop.
const MOST_STEPS: usize = 2_000_000;

/// A media path that found nobody at its other end is given up after this, as ICE would.
const CONNECTIVITY: Duration = Duration::from_secs(15);

/// How long delegations in a world hold, in seconds.
const DELEGATED: u64 = 30 * 86_400;

/// What a person does when the phone rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Lets it ring.
    Ignores,
    /// Picks up after this long.
    Accepts(Duration),
    /// Declines after this long.
    Declines(Duration),
}

/// A phone to add to a world.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The machine's name in the story.
    pub name: String,
    /// Whose it is: phones with the same owner are one identity's devices.
    pub owner: String,
    /// How far its wall clock is ahead, in seconds.
    pub skew_secs: i64,
    /// What its owner does when it rings.
    pub manner: Manner,
    /// Whom it lets in.
    pub policy: Policy,
}

impl Setup {
    /// The phone `name` of `owner`, which picks up after two seconds.
    #[must_use]
    pub fn of(owner: &str, name: &str) -> Self {
        let manner = Manner::Accepts(Duration::from_secs(2));
        Self { name: name.into(), owner: owner.into(), skew_secs: 0, manner, policy: Policy::default() }
    }

    /// The same with another manner.
    #[must_use]
    pub fn who(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }

    /// The same with a clock that is off.
    #[must_use]
    pub fn skewed(self, skew_secs: i64) -> Self {
        Self { skew_secs, ..self }
    }
}

/// What counters have counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Envelopes that a node said are safe.
    pub vouched: usize,
    /// Envelopes that arrived, each once.
    pub received: usize,
    /// Envelopes that are their sender's again.
    pub refused: usize,
    /// Envelopes that came more than once, over different links.
    pub repeats: usize,
    /// Counters of which something is neither vouched for nor refused.
    pub unsure: usize,
    /// Envelopes that were vouched for and have not come.
    pub lost: usize,
}

/// Phones, nodes, and what lies between them.
pub struct World {
    network: Network,
    machines: BTreeMap<HostId, Machine>,
    /// Where each node is dialled.
    addresses: BTreeMap<String, HostId>,
    owners: BTreeMap<String, SecretKey>,
    plans: BTreeMap<(Tick, u64), (HostId, Plan)>,
    planned: u64,
    /// The node of each counter.
    counters: BTreeMap<HostId, HostId>,
    story: Story,
}

enum Machine {
    Phone(Box<Phone>),
    Node(Box<Node>),
    Counter(Box<Counter>),
}

struct Phone {
    agent: Option<Agent>,
    owner: String,
    device: SecretKey,
    delegations: Vec<Envelope>,
    policy: Policy,
    manner: Manner,
    node: Option<Relay>,
    memory: Memory,
    /// Links by the agent's name for them and by the network's.
    links: BTreeMap<agent::LinkId, LinkId>,
    names: BTreeMap<LinkId, agent::LinkId>,
    seen: Vec<(Tick, Event)>,
    talking: BTreeSet<Ulid>,
    /// What the agent gave leave for, until somebody takes it.
    permits: BTreeMap<Ulid, agent::Permit>,
    /// The device at the other end of each call: with whom keys for the media were agreed.
    partners: BTreeMap<Ulid, Did>,
}

struct Node {
    host: Option<Host>,
    key: SecretKey,
    disk: Disk,
    links: BTreeMap<Conn, LinkId>,
    uri: String,
    elsewhere: Option<Elsewhere>,
}

/// What happens later without anybody sending anything.
enum Plan {
    /// The person picks up.
    Accept(Ulid, Description),
    /// The person declines.
    Decline(Ulid),
    /// The media engine looks whether anybody is at the other end.
    Connect(Ulid),
}

impl World {
    /// An empty world. `DSIP_SIM_SEED` overrides the seed, to replay one that failed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let seed = std::env::var("DSIP_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(seed);
        let network = Network::new(seed);
        let story = Story::new(seed, network.tick());
        Self {
            network,
            machines: BTreeMap::new(),
            addresses: BTreeMap::new(),
            owners: BTreeMap::new(),
            plans: BTreeMap::new(),
            planned: 0,
            counters: BTreeMap::new(),
            story,
        }
    }

    /// Adds a node.
    pub fn add_node(&mut self, name: &str, skew_secs: i64) -> HostId {
        let id = self.network.add_host(name, skew_secs);
        let key = SecretKey::from_bytes(&self.network.random());
        let uri = format!("wss://{name}.example/dsip");
        self.addresses.insert(uri.clone(), id);
        let node = Node { host: None, key, disk: Disk::default(), links: BTreeMap::new(), uri, elsewhere: None };
        self.machines.insert(id, Machine::Node(Box::new(node)));
        self.boot(id);
        id
    }

    /// From its next start on, `node` tells its phones to go to `other` while it is away.
    pub fn send_elsewhere(&mut self, node: HostId, other: HostId) {
        let other = self.node(other);
        let elsewhere = Elsewhere { uri: other.uri.clone(), node: other.key.did() };
        self.node_mut(node).elsewhere = Some(elsewhere);
    }

    /// Adds a phone, and lets it sit on `node` if it has one.
    pub fn add_phone(&mut self, setup: Setup, node: Option<HostId>) -> HostId {
        let id = self.network.add_host(&*setup.name, setup.skew_secs);
        let device = SecretKey::from_bytes(&self.network.random());
        let fresh = self.network.random();
        let owner = self.owners.entry(setup.owner.clone()).or_insert_with(|| SecretKey::from_bytes(&fresh));
        // An identity signs with a clock that is right: what skews is the device.
        let from = self.network.now(id).wall.secs().saturating_add_signed(-setup.skew_secs) - 3_600;
        let capabilities = [Delegation::SIGNALING, Delegation::INTERACTIVE_MEDIA];
        let kid = owner.public().kid();
        let delegation = identity::delegate(owner, &kid, &device.did(), &capabilities, from, from + DELEGATED);
        let node = node.map(|node| self.relay(node));
        let phone = Phone {
            agent: None,
            owner: setup.owner,
            device,
            delegations: vec![delegation],
            policy: setup.policy,
            manner: setup.manner,
            node,
            memory: Memory::default(),
            links: BTreeMap::new(),
            names: BTreeMap::new(),
            seen: Vec::new(),
            talking: BTreeSet::new(),
            permits: BTreeMap::new(),
            partners: BTreeMap::new(),
        };
        self.machines.insert(id, Machine::Phone(Box::new(phone)));
        self.boot(id);
        id
    }

    /// Adds a client of `node` that counts.
    pub fn add_counter(&mut self, name: &str, node: HostId) -> HostId {
        let id = self.network.add_host(name, 0);
        let now = self.network.now(id);
        let [device, identity] = [0; 2].map(|_| SecretKey::from_bytes(&self.network.random()));
        let from = now.wall.secs() - 3_600;
        let kid = identity.public().kid();
        let may = [Delegation::SIGNALING];
        let delegation = identity::delegate(&identity, &kid, &device.did(), &may, from, from + DELEGATED);
        let kid = device.public().kid();
        let rng = Seed::new(self.network.random()).into_rng();
        let audience = self.node(node).key.did();
        let signer = Signer::new(device, kid, vec![delegation]);
        let counter = Counter::new(signer, identity.did(), audience, rng, now);
        self.machines.insert(id, Machine::Counter(Box::new(counter)));
        self.counters.insert(id, node);
        self.boot(id);
        id
    }

    /// Lets a counter talk to others, or to nobody any more.
    pub fn talk(&mut self, counter: HostId, to: &[HostId]) {
        let now = self.network.now(counter);
        let to = to.iter().map(|id| self.counter(*id).device.clone()).collect();
        self.counter_mut(counter).talk(to, now);
        self.set_counter_wake(counter);
    }

    /// What all counters have counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let counters = || self.counters.keys().map(|id| self.counter(*id));
        let received: BTreeSet<Ulid> = counters().flat_map(|counter| counter.received.keys().copied()).collect();
        Tally {
            vouched: counters().map(|counter| counter.vouched.len()).sum(),
            received: received.len(),
            refused: counters().map(|counter| counter.refused).sum(),
            repeats: counters().map(|counter| counter.repeats).sum(),
            unsure: counters().filter(|counter| !counter.is_sure()).count(),
            lost: counters().flat_map(|counter| counter.vouched.iter()).filter(|id| !received.contains(id)).count(),
        }
    }

    /// How long a node's disk takes to make something safe; no time unless told.
    pub fn set_disk_speed(&mut self, node: HostId, takes: Duration) {
        self.node_mut(node).disk.set_speed(takes);
    }

    /// Lets a node's disk refuse every write, or take them again.
    pub fn set_disk_refuses(&mut self, node: HostId, refuses: bool) {
        self.tell(node, if refuses { "has a disk that refuses" } else { "has a disk that takes writes" });
        self.node_mut(node).disk.set_refuses(refuses);
    }

    /// How to dial a node, and who it has to be.
    #[must_use]
    pub fn relay(&self, node: HostId) -> Relay {
        let node = self.node(node);
        Relay { uri: node.uri.clone(), bindings: vec!["ws/1.0".into()], node: Some(node.key.did()) }
    }

    /// The identity of an owner.
    #[must_use]
    pub fn did(&self, owner: &str) -> Did {
        self.owners[owner].did()
    }

    /// The network, to make it worse or better.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Places a call from `phone` to the owner `to`, by way of `via`.
    pub fn call(&mut self, phone: HostId, to: &str, via: HostId) -> Ulid {
        let (did, relay) = (self.did(to), self.relay(via));
        let call = self.command(phone, |agent, now| agent.call(now, did, vec![relay], description(Role::Offers)));
        let call = call.expect("a phone that can call");
        self.tell(phone, format_args!("calls {to}: {call}"));
        call
    }

    /// Hangs up, or gives up, whatever state the call is in.
    pub fn hang_up(&mut self, phone: HostId, call: Ulid) {
        self.tell(phone, format_args!("hangs up {call}"));
        let outcome =
            self.command(phone, |agent, now| agent.hang_up(now, call, None).or_else(|_| agent.cancel(now, call)));
        if let Err(misuse) = outcome {
            self.tell(phone, format_args!("cannot hang up: {misuse}"));
        }
    }

    /// Sends a message past a phone's agent, over a link that its agent opened: what a hostile program can do that has this
    /// phone's key, and only this phone's. `make` completes the message with whom it is from, its id and its times.
    pub fn smuggle(&mut self, phone: HostId, make: impl FnOnce(Common) -> Message) {
        let now = self.network.now(phone);
        let id = Ulid::generate(now.wall, &mut Seed::new(self.network.random()).into_rng());
        let of = self.phone(phone);
        let issued_at = now.wall.secs();
        let dsip = VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]);
        let common = Common { dsip, id, from: of.device.did(), issued_at, expires_at: issued_at + 60 };
        let signer = Signer::new(of.device.clone(), of.device.public().kid(), of.delegations.clone());
        let link = of.links.values().next().copied().expect("a phone with a link");
        let frame = signer.sign(&make(common)).text();
        self.tell(phone, format_args!("smuggles {}", brief(&frame)));
        self.network.send(link, phone, frame.as_bytes().to_vec());
    }

    /// The device of a phone.
    #[must_use]
    pub fn device(&self, phone: HostId) -> Did {
        self.phone(phone).device.did()
    }

    /// Gives a command to a phone's agent, and carries out what follows from it.
    pub fn command<R>(&mut self, phone: HostId, command: impl FnOnce(&mut Agent, Now) -> R) -> R {
        let now = self.network.now(phone);
        let agent = self.phone_mut(phone).agent.as_mut().expect("a phone that is on");
        let result = command(agent, now);
        self.drain_phone(phone);
        result
    }

    /// Switches a machine off without warning. What it kept on disk stays.
    pub fn crash(&mut self, id: HostId) {
        self.tell(id, "crashes");
        self.network.crash(id);
        let made_it = self.network.random()[0].is_multiple_of(2);
        self.plans.retain(|_, (whose, _)| *whose != id);
        match self.machines.get_mut(&id) {
            Some(Machine::Phone(phone)) => {
                phone.agent = None;
                phone.links.clear();
                phone.names.clear();
                phone.talking.clear();
                phone.permits.clear();
            }
            Some(Machine::Node(node)) => {
                node.host = None;
                node.links.clear();
                node.disk.crash(made_it);
            }
            Some(Machine::Counter(_)) => panic!("a counter that forgets proves nothing"),
            None => {}
        }
    }

    /// Switches a machine on again, with what it kept.
    pub fn restart(&mut self, id: HostId) {
        self.tell(id, "starts again");
        self.network.restart(id);
        self.boot(id);
    }

    /// Lets time pass, with everything that happens in it.
    pub fn run(&mut self, by: Duration) {
        let until = self.network.tick() + by;
        for _ in 0..MOST_STEPS {
            let plan = self.plans.keys().next().map(|(at, _)| *at).filter(|at| *at <= until);
            match self.network.next(plan.unwrap_or(until)) {
                Some((host, event)) => self.happen(host, event),
                None if plan.is_some() => self.carry_out_plan(),
                None => return,
            }
        }
        panic!("the world does not come to rest");
    }

    /// What a phone's owner saw, in order.
    pub fn seen(&self, phone: HostId) -> impl Iterator<Item = &Event> {
        self.phone(phone).seen.iter().map(|(_, event)| event)
    }

    /// When a phone's owner first saw something of this kind, since the world began.
    #[must_use]
    pub fn when(&self, phone: HostId, kind: impl Fn(&Event) -> bool) -> Option<Tick> {
        self.phone(phone).seen.iter().find(|(_, event)| kind(event)).map(|(at, _)| *at)
    }

    /// The calls in which a phone's media path is open.
    #[must_use]
    pub fn talking(&self, phone: HostId) -> &BTreeSet<Ulid> {
        &self.phone(phone).talking
    }

    /// The agent's leave to open a call's media path, for a world that has real media. It is given once.
    pub fn permit(&mut self, phone: HostId, call: Ulid) -> Option<agent::Permit> {
        self.phone_mut(phone).permits.remove(&call)
    }

    /// How many envelopes a node handed to devices that have not acknowledged them.
    #[must_use]
    pub fn unacknowledged(&self, node: HostId) -> Option<usize> {
        self.node(node).host.as_ref().map(Host::unacknowledged)
    }

    /// How much a node has in hand.
    #[must_use]
    pub fn load(&self, node: HostId) -> Option<relay::Load> {
        self.node(node).host.as_ref().map(Host::load)
    }

    /// Notes something in the story.
    pub fn tell(&mut self, who: HostId, what: impl std::fmt::Display) {
        self.story.tell(self.network.tick(), self.network.name(who), what);
    }

    /// Starts a machine from what it keeps.
    fn boot(&mut self, id: HostId) {
        let seed = Seed::new(self.network.random());
        let now = self.network.now(id);
        match self.machines.get_mut(&id) {
            Some(Machine::Phone(phone)) => {
                let config = agent::Config {
                    identity: agent::Identity {
                        did: self.owners[&phone.owner].did(),
                        device: phone.device.clone().into(),
                        delegations: phone.delegations.clone(),
                        name: Some(phone.owner.clone()),
                    },
                    policy: phone.policy,
                    node: phone.node.clone(),
                    publish: false,
                    memory: phone.memory.clone(),
                };
                phone.agent = Some(Agent::new(config, seed, now));
                self.drain_phone(id);
            }
            Some(Machine::Node(node)) => {
                let config = host::Config { elsewhere: node.elsewhere.clone(), ..host::Config::default() };
                let mut host = Host::new(config, Signer::of_key(node.key.clone()), seed);
                host.restore(node.disk.safe().clone(), now);
                node.host = Some(host);
            }
            Some(Machine::Counter(_)) => self.set_counter_wake(id),
            None => {}
        }
    }

    fn happen(&mut self, id: HostId, event: network::Event) {
        match self.machines.get(&id) {
            Some(Machine::Phone(_)) => self.happen_to_phone(id, event),
            Some(Machine::Node(_)) => self.happen_to_node(id, event),
            Some(Machine::Counter(_)) => self.happen_to_counter(id, event),
            None => {}
        }
    }

    fn happen_to_phone(&mut self, id: HostId, event: network::Event) {
        let now = self.network.now(id);
        let phone = self.phone_mut(id);
        let Some(agent) = phone.agent.as_mut() else { return };
        match event {
            network::Event::Wake => agent.handle(now, agent::Input::Tick),
            network::Event::Opened(link) => {
                let Some(name) = phone.names.get(&link) else { return };
                agent.handle(now, agent::Input::Link(*name, agent::LinkChange::Up));
            }
            network::Event::Failed(link) | network::Event::Closed(link) => {
                let Some(name) = phone.names.remove(&link) else { return };
                phone.links.remove(&name);
                agent.handle(now, agent::Input::Link(name, agent::LinkChange::Down("the link broke".into())));
            }
            network::Event::Received { link, frame } => {
                if let Some(Control::Question(number)) = Control::of(&frame) {
                    self.network.send(link, id, Control::Reached(number).frame());
                    return;
                }
                let (Some(name), Ok(frame)) = (phone.names.get(&link), std::str::from_utf8(&frame)) else { return };
                agent.handle(now, agent::Input::Received { link: *name, frame });
            }
            // Nobody dials a phone.
            network::Event::Accepted { .. } => return,
        }
        self.drain_phone(id);
    }

    fn drain_phone(&mut self, id: HostId) {
        for _ in 0..MOST_STEPS {
            let now = self.network.now(id);
            let Some(agent) = self.phone_mut(id).agent.as_mut() else { return };
            match agent.poll(now) {
                agent::Output::Idle { wake } => {
                    self.network.set_wake(id, wake);
                    return;
                }
                output => self.carry_out(id, output),
            }
        }
        panic!("{} does not come to rest", self.network.name(id));
    }

    fn carry_out(&mut self, id: HostId, output: agent::Output) {
        match output {
            agent::Output::Persist(Change::Memory(memory)) => {
                let phone = self.phone_mut(id);
                let seen = std::mem::take(&mut phone.memory.seen);
                phone.memory = Memory { seen, ..*memory };
            }
            agent::Output::Persist(Change::Seen(held)) => self.phone_mut(id).memory.seen.push(held),
            agent::Output::Dial(name, relay) => {
                let Some(node) = self.addresses.get(&relay.uri).copied() else {
                    let now = self.network.now(id);
                    let change = agent::LinkChange::Down("no such host".into());
                    if let Some(agent) = self.phone_mut(id).agent.as_mut() {
                        agent.handle(now, agent::Input::Link(name, change));
                    }
                    return;
                };
                let link = self.network.connect(id, node);
                let phone = self.phone_mut(id);
                phone.links.insert(name, link);
                phone.names.insert(link, name);
            }
            agent::Output::Transmit { link, frame, .. } => {
                self.tell(id, format_args!("→ {}", brief(&frame)));
                if let Some(link) = self.phone(id).links.get(&link).copied() {
                    self.network.send(link, id, frame.into_bytes());
                }
            }
            agent::Output::Close(name) => {
                let phone = self.phone_mut(id);
                if let Some(link) = phone.links.remove(&name) {
                    phone.names.remove(&link);
                    self.network.close(link, id);
                }
            }
            // Everybody here is a did:key, whose document nobody has to fetch.
            agent::Output::Ask(ask, _) => {
                let now = self.network.now(id);
                if let Some(agent) = self.phone_mut(id).agent.as_mut() {
                    agent.handle(now, agent::Input::Answer(ask, agent::Answer::Document(None)));
                }
            }
            agent::Output::Media(call, media) => self.media(id, call, media),
            agent::Output::Publish(_) => {}
            agent::Output::Event(event) => self.notice(id, event),
            agent::Output::Idle { .. } => {}
        }
    }

    /// The media engine of this world: it knows whether a path is open, and nothing else.
    fn media(&mut self, id: HostId, call: Ulid, media: agent::Media) {
        match media {
            agent::Media::Start(permit) => {
                self.tell(id, format_args!("opens the media path of {call}"));
                let phone = self.phone_mut(id);
                assert!(phone.talking.insert(call), "a media path opens once");
                phone.permits.insert(call, permit);
                self.plan(id, CONNECTIVITY, Plan::Connect(call));
            }
            agent::Media::Stop => {
                self.tell(id, format_args!("closes the media path of {call}"));
                let phone = self.phone_mut(id);
                phone.talking.remove(&call);
                phone.permits.remove(&call);
            }
            _ => {}
        }
    }

    fn notice(&mut self, id: HostId, event: Event) {
        self.tell(id, format_args!("sees {event:?}"));
        let manner = self.phone(id).manner;
        if let Event::Incoming { call, .. } = &event {
            let (delay, plan) = match manner {
                Manner::Ignores => (Duration::ZERO, None),
                Manner::Accepts(delay) => (delay, Some(Plan::Accept(*call, description(Role::Answers)))),
                Manner::Declines(delay) => (delay, Some(Plan::Decline(*call))),
            };
            if let Some(plan) = plan {
                self.plan(id, delay, plan);
            }
        }
        let at = self.network.tick();
        let phone = self.phone_mut(id);
        if let Event::Incoming { call, party, .. } | Event::Answered { call, party, .. } = &event {
            phone.partners.insert(*call, party.device.clone());
        }
        phone.seen.push((at, event));
    }

    fn plan(&mut self, id: HostId, after: Duration, plan: Plan) {
        self.planned += 1;
        self.plans.insert((self.network.tick() + after, self.planned), (id, plan));
    }

    fn carry_out_plan(&mut self) {
        let Some((_, (id, plan))) = self.plans.pop_first() else { return };
        if self.phone(id).agent.is_none() {
            return;
        }
        // The call may be over by now: then the person picks up a silent phone.
        let outcome = match plan {
            Plan::Accept(call, selection) => {
                self.tell(id, format_args!("picks up {call}"));
                self.command(id, |agent, now| agent.accept(now, call, selection, AnsweredBy::USER))
            }
            Plan::Decline(call) => {
                self.tell(id, format_args!("declines {call}"));
                self.command(id, |agent, now| agent.decline(now, call))
            }
            Plan::Connect(call) if self.is_alone(id, call) => {
                self.tell(id, format_args!("finds nobody at the other end of {call}"));
                self.command(id, |agent, now| agent.hang_up(now, call, Some(Reason::MEDIA_FAILED)))
            }
            Plan::Connect(_) => Ok(()),
        };
        if let Err(misuse) = outcome {
            self.tell(id, format_args!("too late: {misuse}"));
        }
    }

    /// Whether a phone's media path has no other end: the device it agreed on keys with does not talk to it.
    fn is_alone(&self, id: HostId, call: Ulid) -> bool {
        let phones = || {
            self.machines.values().filter_map(|machine| match machine {
                Machine::Phone(phone) => Some(phone),
                Machine::Node(_) | Machine::Counter(_) => None,
            })
        };
        let phone = self.phone(id);
        let device = phone.device.did();
        let answers = |other: &Phone| {
            phone.partners.get(&call) == Some(&other.device.did()) && other.partners.get(&call) == Some(&device)
        };
        phone.talking.contains(&call) && !phones().any(|other| other.talking.contains(&call) && answers(other))
    }

    fn happen_to_node(&mut self, id: HostId, event: network::Event) {
        let node = self.node_mut(id);
        if node.host.is_none() {
            return;
        }
        match event {
            network::Event::Wake => {
                let tick = self.network.tick();
                for news in self.node_mut(id).disk.poll(tick) {
                    self.tell_node(id, news);
                }
                self.tell_node(id, host::Input::Tick);
            }
            network::Event::Accepted { link, from } => {
                let conn = Conn(link.number());
                node.links.insert(conn, link);
                self.tell_node(id, host::Input::Connected { conn, from: address(from), at: None });
            }
            network::Event::Received { link, frame } => {
                let conn = Conn(link.number());
                match (Control::of(&frame), std::str::from_utf8(&frame)) {
                    (Some(Control::Reached(number)), _) => self.tell_node(id, host::Input::Reached { conn, number }),
                    (Some(Control::Asked(mark)), _) => self.tell_node(id, host::Input::Asked { conn, mark }),
                    (_, Ok(frame)) => self.tell_node(id, host::Input::Received { conn, frame }),
                    _ => {}
                }
            }
            network::Event::Closed(link) | network::Event::Failed(link) => {
                let conn = Conn(link.number());
                node.links.remove(&conn);
                self.tell_node(id, host::Input::Closed { conn });
            }
            network::Event::Opened(_) => {}
        }
    }

    fn carry_out_for_node(&mut self, id: HostId, output: host::Output) {
        match output {
            host::Output::Write(write) => {
                let tick = self.network.tick();
                let disk = &mut self.node_mut(id).disk;
                disk.write(tick, write);
                for news in disk.poll(tick) {
                    self.tell_node(id, news);
                }
            }
            host::Output::Question { conn, number } => self.send_from_node(id, conn, Control::Question(number).frame()),
            host::Output::Vouch { conn, mark } => self.send_from_node(id, conn, Control::Vouched(mark).frame()),
            host::Output::Transmit { conn, frame, .. } => {
                if self.node(id).links.contains_key(&conn) {
                    self.tell(id, format_args!("→ {}", brief(&frame)));
                }
                self.send_from_node(id, conn, frame.as_bytes().to_vec());
            }
            host::Output::Close { conn, why } => {
                self.tell(id, format_args!("closes a connection: {why:?}"));
                if let Some(link) = self.node_mut(id).links.remove(&conn) {
                    self.network.close(link, id);
                    // A socket that was closed by its owner reports that, too.
                    self.happen_to_node(id, network::Event::Closed(link));
                }
            }
            host::Output::Ask(did) => {
                self.tell_node(id, host::Input::Answer { did, document: None });
            }
            host::Output::Joined { identity, .. } => self.tell(id, format_args!("has {identity} as a member")),
            host::Output::Event(event) => self.tell(id, format_args!("{event:?}")),
        }
    }

    fn send_from_node(&mut self, id: HostId, conn: Conn, frame: Vec<u8>) {
        if let Some(link) = self.node(id).links.get(&conn).copied() {
            self.network.send(link, id, frame);
        }
    }

    fn tell_node(&mut self, id: HostId, input: host::Input<'_>) {
        let now = self.network.now(id);
        let mut out = Vec::new();
        if let Some(host) = self.node_mut(id).host.as_mut() {
            host.handle(now, input, &mut out);
        }
        for output in out {
            self.carry_out_for_node(id, output);
        }
        let node = self.node(id);
        let wake = [node.host.as_ref().and_then(Host::wake), node.disk.wake()].into_iter().flatten().min();
        self.network.set_wake(id, wake);
    }

    fn happen_to_counter(&mut self, id: HostId, event: network::Event) {
        let (now, mut acts) = (self.network.now(id), Vec::new());
        let counter = self.counter_mut(id);
        let before = counter.link();
        match event {
            network::Event::Wake => counter.woken(now, &mut acts),
            network::Event::Opened(link) => counter.opened(now, link, &mut acts),
            network::Event::Failed(link) | network::Event::Closed(link) => counter.closed(now, link),
            network::Event::Received { link, frame } => counter.hear(now, link, &frame, &mut acts),
            network::Event::Accepted { .. } => {}
        }
        let link = counter.link();
        for act in acts {
            match (act, link) {
                (Act::Dial, _) => {
                    let node = self.counters[&id];
                    let link = self.network.connect(id, node);
                    self.counter_mut(id).dialled(link);
                }
                (Act::Send(frame), Some(link)) => self.network.send(link, id, frame),
                (Act::Close, _) => before.into_iter().for_each(|link| self.network.close(link, id)),
                (Act::Send(_), None) => {}
            }
        }
        self.set_counter_wake(id);
    }

    fn set_counter_wake(&mut self, id: HostId) {
        let wake = self.counter(id).wake();
        self.network.set_wake(id, wake);
    }

    fn phone(&self, id: HostId) -> &Phone {
        match &self.machines[&id] {
            Machine::Phone(phone) => phone,
            _ => panic!("{} is no phone", self.network.name(id)),
        }
    }

    fn phone_mut(&mut self, id: HostId) -> &mut Phone {
        match self.machines.get_mut(&id) {
            Some(Machine::Phone(phone)) => phone,
            _ => panic!("{} is no phone", self.network.name(id)),
        }
    }

    fn node(&self, id: HostId) -> &Node {
        match &self.machines[&id] {
            Machine::Node(node) => node,
            _ => panic!("{} is no node", self.network.name(id)),
        }
    }

    fn node_mut(&mut self, id: HostId) -> &mut Node {
        match self.machines.get_mut(&id) {
            Some(Machine::Node(node)) => node,
            _ => panic!("{} is no node", self.network.name(id)),
        }
    }

    fn counter(&self, id: HostId) -> &Counter {
        match &self.machines[&id] {
            Machine::Counter(counter) => counter,
            _ => panic!("{} does not count", self.network.name(id)),
        }
    }

    fn counter_mut(&mut self, id: HostId) -> &mut Counter {
        match self.machines.get_mut(&id) {
            Some(Machine::Counter(counter)) => counter,
            _ => panic!("{} does not count", self.network.name(id)),
        }
    }
}

/// Which side of a negotiation a description is for.
#[derive(Clone, Copy)]
enum Role {
    Offers,
    Answers,
}

/// What a media engine would offer.
#[must_use]
pub fn offer() -> Description {
    description(Role::Offers)
}

/// What a media engine would answer to it.
#[must_use]
pub fn selection() -> Description {
    description(Role::Answers)
}

/// What a media engine would have said. No world sends packets, so one pair of descriptions does for all.
fn description(role: Role) -> Description {
    let setup = match role {
        Role::Offers => "actpass",
        Role::Answers => "active",
    };
    let fingerprint = ["AB"; 32].join(":");
    let lines = [
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.1",
        "s=-",
        "t=0 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuvwx",
        &format!("a=fingerprint:sha-256 {fingerprint}"),
        &format!("a=setup:{setup}"),
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "",
    ];
    Description::voice(Direction::SendRecv, lines.join("\r\n"))
}

/// An address for a host, so that a node can tell them apart.
fn address(host: HostId) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + host.number()).into()
}

/// A frame in a word or two, for the story.
fn brief(frame: &str) -> String {
    let payload = Envelope::parse(frame).map(|envelope| envelope.payload_bytes()).unwrap_or_default();
    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap_or_default();
    let member = |name: &str| payload.get(name).and_then(serde_json::Value::as_str);
    let mut words = vec![member("type").unwrap_or("garbage").to_owned()];
    words.extend(["status", "reason"].into_iter().filter_map(member).map(str::to_owned));
    words.extend(member("session").or(member("id")).map(str::to_owned));
    words.join(" ")
}
