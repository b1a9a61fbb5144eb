//! A virtual network: hosts with clocks of their own, and links that behave as TCP and QUIC connections do.
//!
//! A link is reliable and ordered, so loss shows as delay, and much loss as a broken link. Links are independent of each
//! other: what was sent first on one may arrive after what was sent later on another. Everything random comes from one
//! seed, and every event has one place in one order, so a run repeats exactly.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dsip_proto::time::{Now, Tick, Wall};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A connection attempt across a cut path gives up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A link over a cut path is noticed to be dead after this, at both ends.
const LIVENESS: Duration = Duration::from_secs(45);

/// The first retransmission of a lost frame; each further one waits twice as long.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// A frame lost this often in a row breaks its link.
const MOST_RETRANSMISSIONS: u32 = 7;

/// Unix seconds at which every world begins.
const BEGINNING: u64 = 1_760_000_000;

/// A machine on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(usize);

impl HostId {
    /// The host's number, for addresses.
    #[must_use]
    pub fn number(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

/// A connection between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(u64);

impl LinkId {
    /// The link's number, for tables that want one.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// How the way between two hosts behaves, in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// How long a frame takes at least.
    pub latency: Duration,
    /// How much longer it may take.
    pub jitter: Duration,
    /// How many of a thousand transmissions are lost.
    pub loss: u32,
}

impl Default for Path {
    /// A decent line across a country.
    fn default() -> Self {
        Self { latency: Duration::from_millis(25), jitter: Duration::from_millis(5), loss: 0 }
    }
}

/// What a host notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its connection attempt succeeded.
    Opened(LinkId),
    /// Somebody connected to it.
    Accepted {
        /// The new link.
        link: LinkId,
        /// Who.
        from: HostId,
    },
    /// Its connection attempt failed.
    Failed(LinkId),
    /// A frame came.
    Received {
        /// On which link.
        link: LinkId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// A link is gone, whoever ended it.
    Closed(LinkId),
    /// The time it asked to be woken at has come.
    Wake,
}

/// The network, its clock, and everything under way.
pub struct Network {
    rng: ChaCha20Rng,
    tick: Tick,
    hosts: Vec<Host>,
    links: BTreeMap<LinkId, Link>,
    paths: BTreeMap<(HostId, HostId), Path>,
    cut: BTreeSet<(HostId, HostId)>,
    /// Pairs of which the first knows the second from before: its first frames travel with the handshake.
    acquainted: BTreeSet<(HostId, HostId)>,
    underway: BTreeMap<(Tick, u64), (HostId, Event)>,
    count: u64,
}

struct Host {
    name: String,
    skew_secs: i64,
    up: bool,
    wake: Option<Tick>,
}

struct Link {
    ends: [HostId; 2],
    open: bool,
    /// Per direction (0: from the first end to the second): nothing may arrive before this, or order would be lost.
    floor: [Tick; 2],
    /// Frames that reached a cut path, with their receivers.
    held: VecDeque<(HostId, Vec<u8>)>,
    /// Since when the path is cut, if it is.
    cut_since: Option<Tick>,
}

impl Network {
    /// An empty network. The same seed and the same calls give the same run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            // Not zero, so that a mistake about the origin shows.
            tick: Tick::from_micros(1_000_000),
            hosts: Vec::new(),
            links: BTreeMap::new(),
            paths: BTreeMap::new(),
            cut: BTreeSet::new(),
            acquainted: BTreeSet::new(),
            underway: BTreeMap::new(),
            count: 0,
        }
    }

    /// Adds a machine whose wall clock is `skew_secs` ahead of the true time.
    pub fn add_host(&mut self, name: impl Into<String>, skew_secs: i64) -> HostId {
        self.hosts.push(Host { name: name.into(), skew_secs, up: true, wake: None });
        HostId(self.hosts.len() - 1)
    }

    /// The host's name.
    #[must_use]
    pub fn name(&self, host: HostId) -> &str {
        &self.hosts[host.0].name
    }

    /// Both clocks as `host` reads them.
    #[must_use]
    pub fn now(&self, host: HostId) -> Now {
        let wall = BEGINNING * 1000 + self.tick.micros() / 1000;
        let skew = self.hosts[host.0].skew_secs.saturating_mul(1000);
        Now { tick: self.tick, wall: Wall::from_millis(wall.saturating_add_signed(skew)) }
    }

    /// Sets a host's wall clock so far ahead of the true time.
    pub fn set_skew(&mut self, host: HostId, skew_secs: i64) {
        self.hosts[host.0].skew_secs = skew_secs;
    }

    /// The true monotonic time.
    #[must_use]
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// Random bytes of this world, for seeds of the machines in it.
    pub fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Sets how the way between two hosts behaves; until then it is [`Path::default`].
    pub fn set_path(&mut self, a: HostId, b: HostId, path: Path) {
        self.paths.insert(pair(a, b), path);
    }

    /// Lets `from` remember an earlier connection to `to`, so that the next ones are open at once, as 0-RTT has it.
    pub fn acquaint(&mut self, from: HostId, to: HostId) {
        self.acquainted.insert((from, to));
    }

    /// Opens a connection from one host to another. `from` learns by [`Event::Opened`] or [`Event::Failed`].
    pub fn connect(&mut self, from: HostId, to: HostId) -> LinkId {
        self.count += 1;
        let id = LinkId(self.count);
        let link =
            Link { ends: [from, to], open: false, floor: [self.tick; 2], held: VecDeque::new(), cut_since: None };
        self.links.insert(id, link);
        if self.cut.contains(&pair(from, to)) {
            self.schedule(self.tick + CONNECT_TIMEOUT, from, Event::Failed(id));
        } else if !self.hosts[to.0].up {
            let there_and_back = self.transit(from, to) + self.transit(to, from);
            self.schedule(self.tick + there_and_back, from, Event::Failed(id));
        } else {
            let there = self.tick + self.transit(from, to);
            let answered = there + self.transit(to, from);
            let back = if self.acquainted.contains(&(from, to)) { self.tick } else { answered };
            self.schedule(there, to, Event::Accepted { link: id, from });
            self.schedule(back, from, Event::Opened(id));
            if let Some(link) = self.links.get_mut(&id) {
                link.open = true;
                link.floor = [back.max(there), there];
            }
        }
        id
    }

    /// Sends a frame. On a link that is gone it vanishes, as it does from a socket's buffer.
    pub fn send(&mut self, id: LinkId, from: HostId, frame: Vec<u8>) {
        let Some(link) = self.links.get(&id).filter(|link| link.open) else { return };
        let (to, direction) = if link.ends[0] == from { (link.ends[1], 0) } else { (link.ends[0], 1) };
        let Some(transit) = self.transit_with_loss(from, to) else {
            self.break_link(id, Duration::ZERO);
            return;
        };
        let arrival = self.tick + transit;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.floor[direction] = link.floor[direction].max(arrival);
        let arrival = link.floor[direction];
        self.schedule(arrival, to, Event::Received { link: id, frame });
    }

    /// Closes a link; the other end notices after the frames that are under way to it.
    pub fn close(&mut self, id: LinkId, by: HostId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.open) else { return };
        link.open = false;
        let (to, direction) = if link.ends[0] == by { (link.ends[1], 0) } else { (link.ends[0], 1) };
        let floor = link.floor[direction];
        let arrival = floor.max(self.tick + self.transit(by, to));
        self.schedule(arrival, to, Event::Closed(id));
    }

    /// Cuts the way between two hosts. Frames stop half-way; links die if it lasts.
    pub fn cut(&mut self, a: HostId, b: HostId) {
        self.cut.insert(pair(a, b));
        for id in self.links_between(a, b) {
            if let Some(link) = self.links.get_mut(&id) {
                link.cut_since = Some(self.tick);
            }
            self.schedule(self.tick + LIVENESS, a, Event::Closed(id));
            self.schedule(self.tick + LIVENESS, b, Event::Closed(id));
        }
    }

    /// Mends the way between two hosts. What was held arrives, in order.
    pub fn mend(&mut self, a: HostId, b: HostId) {
        self.cut.remove(&pair(a, b));
        for id in self.links_between(a, b) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.cut_since = None;
            let held = std::mem::take(&mut link.held);
            // They left the queue before anything that is still in it, so they have to stay before it.
            let at = self.tick;
            for (to, frame) in held {
                self.schedule(at, to, Event::Received { link: id, frame });
            }
        }
    }

    /// Stops a host at once: it forgets its timers, its links break, connections to it are refused.
    pub fn crash(&mut self, host: HostId) {
        self.hosts[host.0].up = false;
        self.hosts[host.0].wake = None;
        self.underway.retain(|_, (to, _)| *to != host);
        let broken: Vec<_> =
            self.links.iter().filter(|(_, link)| link.ends.contains(&host)).map(|(id, _)| *id).collect();
        for id in broken {
            self.close(id, host);
        }
    }

    /// Lets a crashed host accept connections again.
    pub fn restart(&mut self, host: HostId) {
        self.hosts[host.0].up = true;
    }

    /// Wakes `host` at `at`, in place of whatever it asked for before.
    pub fn set_wake(&mut self, host: HostId, at: Option<Tick>) {
        self.hosts[host.0].wake = at;
    }

    /// Moves time to the next event, unless it lies after `until`; then time moves to `until`.
    pub fn next(&mut self, until: Tick) -> Option<(HostId, Event)> {
        loop {
            let arriving = self.underway.keys().next().copied();
            let waking = self.hosts.iter().enumerate().filter(|(_, host)| host.up);
            let waking = waking.filter_map(|(index, host)| Some((host.wake?, HostId(index)))).min();
            let (at, wakes) = match (arriving, waking) {
                (Some((at, _)), Some((wake, host))) if wake < at => (wake, Some(host)),
                (Some((at, _)), _) => (at, None),
                (None, Some((wake, host))) => (wake, Some(host)),
                (None, None) => (until + Duration::from_micros(1), None),
            };
            if at > until {
                self.tick = self.tick.max(until);
                return None;
            }
            self.tick = self.tick.max(at);
            if let Some(host) = wakes {
                self.hosts[host.0].wake = None;
                return Some((host, Event::Wake));
            }
            let (_, (host, event)) = self.underway.pop_first()?;
            if let Some(event) = self.arrive(host, event) {
                return Some((host, event));
            }
        }
    }

    /// What an event is worth at the moment it arrives.
    fn arrive(&mut self, host: HostId, event: Event) -> Option<Event> {
        match event {
            Event::Received { link: id, frame } => {
                let link = self.links.get_mut(&id)?;
                if link.cut_since.is_some() {
                    link.held.push_back((host, frame));
                    return None;
                }
                Some(Event::Received { link: id, frame })
            }
            Event::Closed(id) => {
                let link = self.links.get_mut(&id)?;
                // A cut that was mended in time, or mended and made again, breaks nothing at this moment.
                let mended = link.open && link.cut_since.is_none_or(|since| self.tick.since(since) < LIVENESS);
                if mended {
                    return None;
                }
                link.open = false;
                Some(Event::Closed(id))
            }
            Event::Opened(_) | Event::Accepted { .. } | Event::Failed(_) | Event::Wake => Some(event),
        }
    }

    /// Breaks a link: both ends notice `after` from now.
    fn break_link(&mut self, id: LinkId, after: Duration) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.open = false;
        let ends = link.ends;
        let at = self.tick + after;
        for end in ends {
            self.schedule(at, end, Event::Closed(id));
        }
    }

    fn links_between(&self, a: HostId, b: HostId) -> Vec<LinkId> {
        let between = |link: &Link| link.open && pair(link.ends[0], link.ends[1]) == pair(a, b);
        self.links.iter().filter(|(_, link)| between(link)).map(|(id, _)| *id).collect()
    }

    fn schedule(&mut self, at: Tick, host: HostId, event: Event) {
        if self.hosts[host.0].up {
            self.count += 1;
            self.underway.insert((at, self.count), (host, event));
        }
    }

    fn path(&self, a: HostId, b: HostId) -> Path {
        self.paths.get(&pair(a, b)).copied().unwrap_or_default()
    }

    fn transit(&mut self, from: HostId, to: HostId) -> Duration {
        let path = self.path(from, to);
        let jitter = u64::try_from(path.jitter.as_micros()).unwrap_or(u64::MAX);
        path.latency + Duration::from_micros(self.rng.next_u64() % jitter.saturating_add(1))
    }

    /// How long a frame takes with its retransmissions; `None` if it was lost too often.
    fn transit_with_loss(&mut self, from: HostId, to: HostId) -> Option<Duration> {
        let loss = self.path(from, to).loss;
        let mut waited = Duration::ZERO;
        for attempt in 0..MOST_RETRANSMISSIONS {
            if self.rng.next_u32() % 1000 >= loss {
                return Some(waited + self.transit(from, to));
            }
            waited += RETRANSMIT * 2u32.pow(attempt);
        }
        None
    }
}

fn pair(a: HostId, b: HostId) -> (HostId, HostId) {
    (a.min(b), a.max(b))
}
