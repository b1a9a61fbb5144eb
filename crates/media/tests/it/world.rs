//! Two calls, the network between them, and a clock that only moves when told.
//!
//! What the network does is drawn from a seed. The WebRTC engine draws its own keys and ids; nothing here depends on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dsip_media::audio::quality::{Similarity, compare};
use dsip_media::audio::resample::resample;
use dsip_media::call::{
    Call, Config, Datagram, Description, Direction, Event, Link, Offer, Offered, Origin, Output, Permit,
};
use dsip_media::codec::FRAME;
use dsip_media::stats::Report;
use dsip_media::voice::{Listener, Speaker};
use dsip_proto::time::Tick;

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn at(millis: u64) -> Tick {
    Tick::from_micros(millis * 1000)
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn config() -> Config {
    // An arbitrary instant: only differences to it are ever used.
    Config::new(Origin::new(Instant::now()))
}

/// The demo's speech, 48 kHz.
pub(crate) fn speech(name: &str) -> Vec<f32> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsip/assets").join(name);
    let wav = std::fs::read(path).unwrap();
    let samples = wav[44..].chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0);
    resample(&samples.collect::<Vec<_>>(), 16_000, 48_000)
}

/// What the network does to packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    /// One way.
    pub(crate) delay: Duration,
    /// Added to it, evenly between zero and this: the cause of reordering.
    pub(crate) jitter: Duration,
    /// The share of packets lost, in percent.
    pub(crate) loss: u64,
}

impl Path {
    pub(crate) const GOOD: Self = Self { delay: Duration::from_millis(20), jitter: Duration::ZERO, loss: 0 };
}

/// A port-restricted NAT: one inside address, mapped to one outside address; only who was sent to may answer.
#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) inside: SocketAddr,
    pub(crate) outside: SocketAddr,
    sent_to: BTreeSet<SocketAddr>,
}

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) call: Call,
    pub(crate) locals: Vec<SocketAddr>,
    pub(crate) events: Vec<(Tick, Event)>,
    pub(crate) source: Vec<f32>,
    pub(crate) spoken: usize,
    pub(crate) heard: Vec<f32>,
    pub(crate) sent: u64,
    pub(crate) link: Link,
    speaker: Speaker,
    listener: Listener,
    wake: Tick,
    next_frame: Tick,
    /// The length of this peer's 20 ms by the world's clock, in microseconds.
    frame_micros: u64,
    /// When its first audible sample was played.
    pub(crate) first_sound: Option<Tick>,
}

impl Peer {
    pub(crate) fn new(name: &'static str, call: Call, local: SocketAddr, source: Vec<f32>) -> Self {
        Self {
            name,
            call,
            locals: vec![local],
            events: Vec::new(),
            source,
            spoken: 0,
            heard: Vec::new(),
            sent: 0,
            link: Link::default(),
            speaker: Speaker::new(),
            listener: Listener::new(),
            wake: Tick::default(),
            next_frame: Tick::default(),
            frame_micros: 20_000,
            first_sound: None,
        }
    }

    pub(crate) fn skew(&mut self, parts_per_million: i64) {
        self.frame_micros = (20_000_000_000_i64 / (1_000_000 + parts_per_million)).try_into().unwrap();
    }

    pub(crate) fn connected_at(&self) -> Option<Tick> {
        self.events.iter().find(|(_, event)| *event == Event::Connected).map(|(at, _)| *at)
    }

    pub(crate) fn saw(&self, wanted: &Event) -> bool {
        self.events.iter().any(|(_, event)| event == wanted)
    }

    pub(crate) fn report(&self) -> Report {
        self.listener.report(self.sent, &self.link)
    }

    fn frame(&mut self, now: Tick) {
        self.next_frame = self.next_frame + Duration::from_micros(self.frame_micros);
        if self.call.can_send() {
            let end = (self.spoken + FRAME).min(self.source.len());
            let mut pcm = self.source.get(self.spoken..end).unwrap_or_default().to_vec();
            pcm.resize(FRAME, 0.0);
            self.spoken += FRAME;
            if let Some(spoken) = self.speaker.speak(&pcm) {
                self.sent += u64::from(self.call.send(now, spoken.time, spoken.marker, &spoken.payload));
            }
        } else {
            self.speaker.skip();
        }
        if self.connected_at().is_some() {
            let pcm = self.listener.play(now);
            if self.first_sound.is_none() && pcm.iter().any(|sample| sample.abs() > 0.005) {
                self.first_sound = Some(now);
            }
            self.heard.extend(pcm);
        }
    }
}

pub(crate) struct World {
    pub(crate) now: Tick,
    pub(crate) peers: Vec<Peer>,
    pub(crate) path: Path,
    /// Addresses that no longer reach anybody.
    pub(crate) dead: BTreeSet<SocketAddr>,
    pub(crate) nats: Vec<Nat>,
    pub(crate) transmitted: u64,
    /// The latest packets, as sent.
    pub(crate) recorded: VecDeque<Vec<u8>>,
    in_flight: BTreeMap<(Tick, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    count: u64,
    random: u64,
}

impl World {
    pub(crate) fn new(seed: u64, path: Path) -> Self {
        Self {
            now: at(1000),
            peers: Vec::new(),
            path,
            dead: BTreeSet::new(),
            nats: Vec::new(),
            transmitted: 0,
            recorded: VecDeque::new(),
            in_flight: BTreeMap::new(),
            count: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Alice calls Bob, and both are active at once: the state right after signalling.
    pub(crate) fn call(seed: u64, path: Path, sources: (Vec<f32>, Vec<f32>)) -> Self {
        let mut world = Self::new(seed, path);
        let (a, b) = (address("10.0.0.1:4000"), address("10.0.0.2:5000"));
        let (offer, description) = Offer::new(config(), world.now, Direction::SendRecv, &[a]);
        let mut offered = Offered::new(config(), world.now, description).unwrap();
        offered.add_local(b);
        let (answer, description) = offered.answer(world.now, Direction::SendRecv).unwrap();
        let bob = answer.activate(world.now, Permit::session_is_active());
        let alice = offer.accept(world.now, &description.sdp, Permit::session_is_active()).unwrap();
        world.add(Peer::new("alice", alice, a, sources.0));
        world.add(Peer::new("bob", bob, b, sources.1));
        world
    }

    /// The same, and some seconds later.
    pub(crate) fn connected(seed: u64, path: Path, sources: (Vec<f32>, Vec<f32>)) -> Self {
        let mut world = Self::call(seed, path, sources);
        world.run(Duration::from_secs(3));
        for peer in &world.peers {
            assert!(peer.connected_at().is_some(), "{} is not connected: {:?}", peer.name, peer.events);
        }
        world
    }

    pub(crate) fn add(&mut self, mut peer: Peer) {
        peer.wake = self.now;
        peer.next_frame = self.now;
        self.peers.push(peer);
    }

    pub(crate) fn alice(&mut self) -> &mut Peer {
        &mut self.peers[0]
    }

    pub(crate) fn bob(&mut self) -> &mut Peer {
        &mut self.peers[1]
    }

    pub(crate) fn put_behind_nat(&mut self, inside: SocketAddr, outside: SocketAddr) {
        self.nats.push(Nat { inside, outside, sent_to: BTreeSet::new() });
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.collect();
            let next = self.peers.iter().flat_map(|peer| [peer.wake, peer.next_frame]);
            let next = next.chain(self.in_flight.keys().map(|(due, _)| *due)).min().unwrap();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            let now = self.now;
            while let Some(entry) = self.in_flight.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let (source, destination, payload) = entry.remove();
                self.deliver(source, destination, &payload);
            }
            for peer in &mut self.peers {
                if peer.wake <= now {
                    peer.call.tick(now);
                }
                if peer.next_frame <= now {
                    peer.frame(now);
                }
            }
        }
    }

    /// Injects a packet as anybody could.
    pub(crate) fn inject(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        self.deliver(source, destination, payload);
        self.collect();
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Takes what the calls want to send and tell.
    pub(crate) fn collect(&mut self) {
        let now = self.now;
        let mut sent = Vec::new();
        for peer in &mut self.peers {
            loop {
                match peer.call.poll() {
                    Output::Transmit { source, destination, payload } => {
                        assert!(peer.locals.contains(&source), "{} sent from {source}", peer.name);
                        sent.push((source, destination, payload));
                    }
                    Output::Event(Event::Frame(frame)) => peer.listener.hear(now, &frame),
                    Output::Event(event) => {
                        if let Event::Link(link) = &event {
                            peer.link = *link;
                            peer.speaker.adapt(link);
                        }
                        peer.events.push((now, event));
                    }
                    Output::Idle { wake } => {
                        assert!(wake > now || peer.wake != wake || wake >= now, "{} does not sleep", peer.name);
                        peer.wake = wake.max(now + Duration::from_micros(1));
                        break;
                    }
                }
            }
        }
        for (source, destination, payload) in sent {
            self.transmit(source, destination, payload);
        }
    }

    fn transmit(&mut self, source: SocketAddr, destination: SocketAddr, payload: Vec<u8>) {
        self.transmitted += 1;
        self.recorded.push_back(payload.clone());
        if self.recorded.len() > 200 {
            self.recorded.pop_front();
        }
        let mut seen_as = source;
        for nat in &mut self.nats {
            if nat.inside == source {
                nat.sent_to.insert(destination);
                seen_as = nat.outside;
            }
        }
        if self.random() % 100 < self.path.loss || self.dead.contains(&source) {
            return;
        }
        let jitter = match self.path.jitter.as_micros() as u64 {
            0 => 0,
            most => self.random() % most,
        };
        let due = self.now + self.path.delay + Duration::from_micros(jitter);
        self.count += 1;
        self.in_flight.insert((due, self.count), (seen_as, destination, payload));
    }

    fn deliver(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        let mut destination = destination;
        for nat in &self.nats {
            if nat.inside == destination && nat.inside != source {
                // Nobody outside reaches an inside address.
                return;
            }
            if nat.outside == destination {
                if !nat.sent_to.contains(&source) {
                    return;
                }
                destination = nat.inside;
            }
        }
        if self.dead.contains(&destination) || self.dead.contains(&source) {
            return;
        }
        let now = self.now;
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.locals.contains(&destination)) {
            peer.call.handle(now, Datagram { source, destination, payload });
        }
    }

    /// How well each heard the other: at Alice, at Bob.
    pub(crate) fn similarity(&self) -> (Similarity, Similarity) {
        let (alice, bob) = (&self.peers[0], &self.peers[1]);
        (compare(&bob.source, &alice.heard), compare(&alice.source, &bob.heard))
    }
}

/// Carries an update of `from` to the other and the answer back.
pub(crate) fn update(world: &mut World, from: usize, wanted: Direction, wish: Direction) -> Description {
    let now = world.now;
    let offer = world.peers[from].call.offer(now, wanted).unwrap();
    let answer = world.peers[1 - from].call.answer(now, &offer, wish).unwrap();
    world.peers[from].call.accept(now, &answer.sdp).unwrap();
    answer
}
