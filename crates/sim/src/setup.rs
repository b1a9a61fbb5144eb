//! One call between two networks, with the shipping agents, node and media engine, timed step by step.
//!
//! ```text
//!   caller ──── T/2 ──── callee's node ──── T/2 ──── callee        signalling
//!      └────────────────────── T/2 ────────────────────┘           media
//! ```
//!
//! `T` is [`ROUND_TRIP`]. The caller knows the node from before, so its connection is open at once; everybody does what is
//! to be done without a pause, the callee included, and speaks as soon as it may. What remains is what protocol and
//! engines need.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dsip_media::call::{self, Answer, Call, Config, Datagram, Offer, Offered, Origin, Output};
use dsip_proto::agent::{self, Event};
use dsip_proto::time::Tick;
use dsip_proto::wire::Ulid;
use dsip_proto::wire::token::{AnsweredBy, Direction, Status};

use crate::network::{HostId, Path};
use crate::world::{Manner, Setup, World};

/// There and back between any two machines.
pub const ROUND_TRIP: Duration = Duration::from_millis(100);

/// One way.
const ONE_WAY: Duration = trips(1);

/// How closely the world is watched. Everything in it happens at multiples of this, but for the media engine's own timers,
/// which are kept exactly.
const STEP: Duration = Duration::from_millis(1);

/// A set-up that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the caller's media is.
const CALLER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 4000);

/// Where the callee's is.
const CALLEE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 5000);

/// An Opus frame of silence.
const FRAME: [u8; 3] = [0xf8, 0xff, 0xfe];

/// How long it sounds.
const FRAME_TIME: Duration = Duration::from_millis(20);

/// The same in samples of 48 kHz.
const FRAME_SAMPLES: u32 = 960;

/// What each step of a set-up took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// From the press of the caller's button until the callee's phone rings.
    pub ring: Duration,
    /// From there until the caller is told so.
    pub ringback: Duration,
    /// From the callee's consent until the caller has its answer, verified.
    pub answer: Duration,
    /// From the callee's consent until the first audio packet of the caller is with the callee, decrypted.
    pub heard_by_callee: Duration,
    /// From the callee's consent until the first audio packet of the callee is with the caller, decrypted.
    pub heard_by_caller: Duration,
}

impl Delays {
    /// What no implementation of the protocol can be quicker than on these paths. In one-way trips:
    ///
    /// - Ringing: the flight with `hello` and `invite` reaches the node, which passes the invite on (2); `ringing` goes back
    ///   the same way (2), and so does the answer (2), without which the caller's packets may not leave (WEB-90).
    /// - ICE: the callee's connectivity check is with the caller before the answer is, and waits there. The caller's
    ///   response leaves with the answer's arrival and makes the pair valid for the callee (3), which may send on it at
    ///   once, nominated or not (RFC 8445, 12.1).
    /// - DTLS 1.3, the answerer being the client (WEB-40), no cookie since ICE has proven the addresses: ClientHello (4);
    ///   ServerHello to Finished (5), by which the callee has the keys and knows the caller's certificate; certificate to
    ///   Finished, with the callee's first audio (6). The caller knows the callee's certificate now, and its own first
    ///   audio goes back (7). DTLS 1.2 has one flight more, so the callee may send only at (7), and is heard at (8).
    pub const MINIMUM: Self = Self {
        ring: trips(2),
        ringback: trips(2),
        answer: trips(2),
        heard_by_callee: trips(7),
        heard_by_caller: trips(6),
    };
}

const fn trips(count: u64) -> Duration {
    Duration::from_millis(50 * count)
}

/// Sets up one call in a world of its own.
///
/// # Panics
/// When the call does not come about.
#[must_use]
pub fn measure(seed: u64) -> Delays {
    let mut world = World::new(seed);
    let (hers, his) = (world.add_node("alpha", 0), world.add_node("beta", 0));
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(hers));
    let bob = world.add_phone(Setup::of("bob", "bob-phone").who(Manner::Ignores), Some(his));
    let path = Path { latency: ONE_WAY, jitter: Duration::ZERO, loss: 0 };
    for (phone, node) in [(alice, hers), (alice, his), (bob, his)] {
        world.network().set_path(phone, node, path);
    }
    world.network().acquaint(alice, his);
    world.run(Duration::from_secs(3));

    // The button is pressed. The device knows its addresses, so the offer leaves with them.
    let pressed = world.network().tick();
    let (offer, description) = Offer::new(config(), pressed, call::Direction::SendRecv, &[CALLER]);
    let (to, relay) = (world.did("bob"), world.relay(his));
    let description = agent::Description::voice(Direction::SendRecv, description.sdp);
    let call = world.command(alice, |agent, now| agent.call(now, to, vec![relay], description));
    let call = call.expect("a phone that can call");

    let mut packets = Packets::default();
    let mut offer = Some(offer);
    let mut accepted = None;
    while !packets.all_heard() {
        packets.step(&mut world);
        let now = world.network().tick();
        assert!(now.since(pressed) < PATIENCE, "the call does not come about");
        if accepted.is_none()
            && let Some(offered) = incoming(&world, bob, call)
        {
            let (answer, selection) = answer(now, offered);
            let outcome = world.command(bob, |agent, now| agent.accept(now, call, selection, AnsweredBy::USER));
            outcome.expect("a call that rings");
            let permit = world.permit(bob, call).expect("leave to send: the answer is on its way");
            packets.join(now, CALLEE, answer.activate(now, permit.into()));
            accepted = Some(now);
        }
        if let Some(permit) = world.permit(alice, call)
            && let Some(offer) = offer.take()
        {
            let sdp = permit.remote().expect("the answer that was verified").to_owned();
            let caller = offer.accept(now, &sdp, permit.into()).expect("an answer of our own engine");
            packets.join(now, CALLER, caller);
        }
    }

    let accepted = accepted.expect("a callee that accepted");
    let rang = world.when(bob, |event| matches!(event, Event::Incoming { .. })).expect("it rang");
    let is_ringing = |event: &Event| matches!(event, Event::Progress { status, .. } if *status == Status::RINGING);
    let ringback = world.when(alice, is_ringing).expect("the caller was told");
    let answered = world.when(alice, |event| matches!(event, Event::Answered { .. })).expect("the answer came");
    Delays {
        ring: rang.since(pressed),
        ringback: ringback.since(rang),
        answer: answered.since(accepted),
        heard_by_callee: packets.heard_at(CALLEE).since(accepted),
        heard_by_caller: packets.heard_at(CALLER).since(accepted),
    }
}

/// What a phone that rings was offered.
fn incoming(world: &World, phone: HostId, wanted: Ulid) -> Option<String> {
    world.seen(phone).find_map(|event| match event {
        Event::Incoming { call, offer, .. } if *call == wanted => Some(offer.sdp.clone()),
        _ => None,
    })
}

/// The callee's media engine, and what it answers.
fn answer(now: Tick, sdp: String) -> (Answer, agent::Description) {
    let media = vec![call::Descriptor::audio(call::Direction::SendRecv)];
    let offer = call::Description { sdp, media };
    let mut offered = Offered::new(config(), now, offer).expect("an offer of our own engine");
    offered.add_local(CALLEE);
    let (answer, description) = offered.answer(now, call::Direction::SendRecv).expect("an offer of our own engine");
    (answer, agent::Description::voice(Direction::SendRecv, description.sdp))
}

fn config() -> Config {
    // An arbitrary instant: only differences to it are ever used.
    Config::new(Origin::new(Instant::now()))
}

/// The media engines of both ends, and what is under way between them.
#[derive(Default)]
struct Packets {
    ends: BTreeMap<SocketAddr, End>,
    under_way: BTreeMap<(Tick, u64), Packet>,
    /// What came before an end was allowed to send: its socket keeps it, as the shipping driver does.
    early: Vec<Packet>,
    count: u64,
}

struct End {
    call: Call,
    wake: Tick,
    next_frame: Tick,
    spoken: u32,
    heard: Option<Tick>,
}

struct Packet {
    source: SocketAddr,
    destination: SocketAddr,
    payload: Vec<u8>,
}

impl Packets {
    fn all_heard(&self) -> bool {
        self.ends.len() == 2 && self.ends.values().all(|end| end.heard.is_some())
    }

    fn heard_at(&self, address: SocketAddr) -> Tick {
        self.ends.get(&address).and_then(|end| end.heard).expect("audio that came through")
    }

    /// An end may send from now on.
    fn join(&mut self, now: Tick, address: SocketAddr, call: Call) {
        self.ends.insert(address, End { call, wake: now, next_frame: now, spoken: 0, heard: None });
        for packet in std::mem::take(&mut self.early) {
            self.deliver(now, packet);
        }
        self.collect(now);
    }

    /// Moves the world and the packets to whatever is next, together.
    fn step(&mut self, world: &mut World) {
        let now = world.network().tick();
        let arrival = self.under_way.keys().next().map(|(due, _)| *due);
        let due = self.ends.values().map(|end| end.wake).chain(arrival).chain([now + STEP]).min().unwrap_or(now);
        world.run(due.since(now));
        let now = world.network().tick();
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= now) {
            let packet = entry.remove();
            self.deliver(now, packet);
        }
        for end in self.ends.values_mut() {
            if end.wake <= now {
                end.call.tick(now);
            }
            if end.next_frame <= now && end.call.can_send() {
                end.call.send(now, end.spoken, end.spoken == 0, &FRAME);
                end.spoken += FRAME_SAMPLES;
                end.next_frame = now + FRAME_TIME;
            }
        }
        self.collect(now);
    }

    fn deliver(&mut self, now: Tick, packet: Packet) {
        match self.ends.get_mut(&packet.destination) {
            Some(end) => {
                let Packet { source, destination, payload } = &packet;
                end.call.handle(now, Datagram { source: *source, destination: *destination, payload });
            }
            None => self.early.push(packet),
        }
    }

    /// Takes what the calls want to send and tell.
    fn collect(&mut self, now: Tick) {
        for end in self.ends.values_mut() {
            loop {
                match end.call.poll() {
                    Output::Transmit { source, destination, payload } => {
                        self.count += 1;
                        let packet = Packet { source, destination, payload };
                        self.under_way.insert((now + ONE_WAY, self.count), packet);
                    }
                    Output::Event(call::Event::Frame(_)) => {
                        end.heard.get_or_insert(now);
                    }
                    Output::Event(_) => {}
                    Output::Idle { wake } => {
                        end.wake = wake.max(now + Duration::from_micros(1));
                        break;
                    }
                }
            }
        }
    }
}
