//! A client's allocation (RFC 8656): made, kept alive, and used through channels.
//!
//! ```text
//!            401: realm, nonce          success
//!   Asking ────────────────────► Asking ────────► Relayed ──(437, silence)──► Failed
//!     └───────────────── refused, silence ──────────────────────────────────────►┘
//! ```
//!
//! Each peer gets a channel with the first packet for it: binding one also permits the peer, so it is the only request that
//! peers need. The packet waits for it; later ones replace it, since a connectivity check is worth no queue.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use dsip_proto::time::{Seed, Tick};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng as _;

use super::{CHANNELS, channel_data};
use crate::stun::message::{Class, Key, Message, Method, Transaction, Writer, attribute, long_term_key};

/// The first retransmission interval (RFC 8489, 6.2.1); it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// How often a request is said before the server counts as silent.
const TRIES: u32 = 5;

/// How long before its end an allocation is refreshed.
const MARGIN: Duration = Duration::from_secs(60);

/// How often a channel is bound anew: a permission lasts 300 s (RFC 8656, 9).
const REBIND: Duration = Duration::from_secs(240);

/// Peers at a time. A peer has a candidate for each of its networks and ways.
const MOST_PEERS: usize = 64;

/// Challenges answered in a row before the server counts as one that takes no answer.
const MOST_CHALLENGES: u32 = 4;

/// How an allocation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not answered so far.
    Asking,
    /// Peers may send to this address.
    Relayed(SocketAddr),
    /// There is none, or none any more.
    Failed(Failure),
}

/// Why there is no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server does not answer.
    #[error("the server does not answer")]
    Silent,
    /// The server refused, with this code.
    #[error("the server refused ({0})")]
    Refused(u16),
}

/// What a packet from the server was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Nothing for this allocation.
    Foreign,
    /// Something for the allocation itself.
    Control,
    /// Data from a peer: these octets of the packet.
    Data(SocketAddr, Range<usize>),
}

/// One allocation.
#[derive(Debug)]
pub struct Allocation {
    server: SocketAddr,
    username: String,
    password: String,
    is_stream: bool,
    rng: ChaCha20Rng,
    /// Realm, nonce and the key they make, once the server named them.
    challenge: Option<(String, Vec<u8>, Key)>,
    challenges: u32,
    status: Status,
    requests: Vec<Request>,
    peers: BTreeMap<SocketAddr, Peer>,
    by_channel: BTreeMap<u16, SocketAddr>,
    refresh: Option<Tick>,
    ready: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Request {
    what: What,
    transaction: Transaction,
    message: Vec<u8>,
    tries: u32,
    next: Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Allocate,
    Refresh,
    Bind(SocketAddr),
}

#[derive(Debug)]
struct Peer {
    channel: u16,
    state: Binding,
    /// When something was last sent to it.
    used: Tick,
}

#[derive(Debug)]
enum Binding {
    /// Asked for; this packet waits.
    Asked(Vec<u8>),
    Bound {
        rebind: Tick,
    },
    /// The server does not relay to it.
    Refused,
}

impl Allocation {
    /// Asks `server` for an address of the family in which it is reached. A stream pads what a datagram does not.
    #[must_use]
    pub fn new(server: SocketAddr, is_stream: bool, username: &str, password: &str, seed: Seed, now: Tick) -> Self {
        let mut allocation = Self {
            server,
            username: username.to_owned(),
            password: password.to_owned(),
            is_stream,
            rng: seed.into_rng(),
            challenge: None,
            challenges: 0,
            status: Status::Asking,
            requests: Vec::new(),
            peers: BTreeMap::new(),
            by_channel: BTreeMap::new(),
            refresh: None,
            ready: Vec::new(),
        };
        allocation.ask(What::Allocate, now);
        allocation
    }

    /// The server.
    #[must_use]
    pub const fn server(&self) -> SocketAddr {
        self.server
    }

    /// How it stands.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The relayed address, while there is one.
    #[must_use]
    pub const fn relayed(&self) -> Option<SocketAddr> {
        match self.status {
            Status::Relayed(address) => Some(address),
            Status::Asking | Status::Failed(_) => None,
        }
    }

    /// Whether the server said that it does not relay to this peer.
    #[must_use]
    pub fn is_refused(&self, peer: SocketAddr) -> bool {
        self.peers.get(&peer).is_some_and(|peer| matches!(peer.state, Binding::Refused))
    }

    /// What to send to the server now. Ask until there is nothing.
    pub fn poll(&mut self, now: Tick) -> Option<Vec<u8>> {
        if let Some(ready) = self.ready.pop() {
            return Some(ready);
        }
        if matches!(self.status, Status::Failed(_)) {
            return None;
        }
        if self.refresh.is_some_and(|due| due <= now) {
            self.refresh = None;
            self.ask(What::Refresh, now);
        }
        self.rebind(now);
        let due = self.requests.iter().position(|request| request.next <= now)?;
        let request = self.requests.get_mut(due)?;
        if request.tries >= TRIES {
            let request = self.requests.swap_remove(due);
            match request.what {
                What::Bind(peer) => self.forget(peer),
                What::Allocate | What::Refresh => self.status = Status::Failed(Failure::Silent),
            }
            return self.poll(now);
        }
        request.next = now + FIRST_RETRY * 2_u32.pow(request.tries);
        request.tries += 1;
        Some(request.message.clone())
    }

    /// When [`Self::poll`] has something again.
    #[must_use]
    pub fn wake(&self) -> Option<Tick> {
        if matches!(self.status, Status::Failed(_)) {
            return None;
        }
        let rebinds = self.peers.values().filter_map(|peer| match peer.state {
            Binding::Bound { rebind } => Some(rebind),
            Binding::Asked(_) | Binding::Refused => None,
        });
        self.requests.iter().map(|request| request.next).chain(self.refresh).chain(rebinds).min()
    }

    /// Wraps a packet for a peer. `None` while the way to it is being prepared, or when there is none.
    pub fn send(&mut self, now: Tick, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let relayed = self.relayed()?;
        if relayed.is_ipv4() != to.is_ipv4() {
            return None;
        }
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.used = now;
            return match &mut peer.state {
                Binding::Asked(waiting) => {
                    waiting.clear();
                    waiting.extend_from_slice(payload);
                    None
                }
                Binding::Bound { .. } => wrap(peer.channel, payload, self.is_stream),
                Binding::Refused => None,
            };
        }
        // RFC 8656, 12.1: the server remembers which channel a peer had, so it has it again.
        let earlier = self.by_channel.iter().find(|(_, peer)| **peer == to).map(|(channel, _)| *channel);
        let channel = earlier.or_else(|| CHANNELS.clone().find(|channel| !self.by_channel.contains_key(channel)))?;
        if self.peers.len() >= MOST_PEERS {
            return None;
        }
        self.by_channel.insert(channel, to);
        self.peers.insert(to, Peer { channel, state: Binding::Asked(payload.to_vec()), used: now });
        self.ask(What::Bind(to), now);
        None
    }

    /// Takes a packet that came from the server.
    pub fn handle(&mut self, now: Tick, packet: &[u8]) -> Received {
        if let Some((channel, data)) = channel_data(packet) {
            return match self.by_channel.get(&channel) {
                Some(peer) => Received::Data(*peer, data),
                None => Received::Control,
            };
        }
        let Some(message) = Message::parse(packet) else { return Received::Foreign };
        if (message.class(), message.method()) == (Class::Indication, Method::Data) {
            let (Some(peer), Some(data)) =
                (message.address(attribute::XOR_PEER_ADDRESS), message.find(attribute::DATA))
            else {
                return Received::Control;
            };
            let start = data.as_ptr().addr().saturating_sub(packet.as_ptr().addr());
            return Received::Data(peer, start..start + data.len());
        }
        let transaction = message.transaction();
        let Some(at) = self.requests.iter().position(|request| request.transaction == transaction) else {
            return Received::Foreign;
        };
        let what = match self.requests.get(at) {
            Some(request) => request.what,
            None => return Received::Foreign,
        };
        match message.class() {
            Class::Success => {
                // What is not provably the server's might be anybody's who saw the request.
                if self.challenge.as_ref().is_some_and(|(_, _, key)| message.is_authentic(key)) {
                    self.requests.swap_remove(at);
                    self.challenges = 0;
                    self.succeeded(now, what, &message);
                }
            }
            Class::Error => {
                self.requests.swap_remove(at);
                self.refused(now, what, &message);
            }
            Class::Request | Class::Indication => return Received::Foreign,
        }
        Received::Control
    }

    /// The farewell: the server is told not to wait for the end (RFC 8656, 8).
    #[must_use]
    pub fn close(mut self) -> Option<Vec<u8>> {
        self.relayed()?;
        let transaction = self.transaction();
        let message = Writer::new(Method::Refresh, Class::Request, transaction).with(attribute::LIFETIME, &[0; 4]);
        Some(self.sign(message))
    }

    fn succeeded(&mut self, now: Tick, what: What, message: &Message<'_>) {
        match what {
            What::Allocate | What::Refresh => {
                if what == What::Allocate {
                    self.status = match message.address(attribute::XOR_RELAYED_ADDRESS) {
                        Some(relayed) => Status::Relayed(relayed),
                        None => Status::Failed(Failure::Silent),
                    };
                }
                let lifetime = Duration::from_secs(message.number(attribute::LIFETIME).unwrap_or(600).into());
                self.refresh = Some(now + lifetime.saturating_sub(MARGIN).max(lifetime / 2));
            }
            What::Bind(peer) => {
                let Some(peer) = self.peers.get_mut(&peer) else { return };
                let before = std::mem::replace(&mut peer.state, Binding::Bound { rebind: now + REBIND });
                if let Binding::Asked(waiting) = before {
                    self.ready.extend(wrap(peer.channel, &waiting, self.is_stream));
                }
            }
        }
    }

    fn refused(&mut self, now: Tick, what: What, message: &Message<'_>) {
        let code = message.error().unwrap_or(0);
        // RFC 8489, 9.2.5: 401 asks for credentials, 438 for the same with another nonce.
        if matches!(code, 401 | 438)
            && self.challenges < MOST_CHALLENGES
            && (code == 438 || self.challenge.is_none())
            && let (Some(realm), Some(nonce)) = (message.text(attribute::REALM), message.find(attribute::NONCE))
        {
            self.challenges += 1;
            let key = long_term_key(&self.username, realm, &self.password);
            self.challenge = Some((realm.to_owned(), nonce.to_vec(), key));
            return self.ask(what, now);
        }
        match what {
            What::Bind(peer) => match self.peers.get_mut(&peer) {
                Some(peer) if code == 403 || code == 443 => peer.state = Binding::Refused,
                _ => self.forget(peer),
            },
            What::Allocate | What::Refresh => self.status = Status::Failed(Failure::Refused(code)),
        }
    }

    /// Binds anew what is in use, and lets go what is not.
    fn rebind(&mut self, now: Tick) {
        let due = self.peers.iter().find_map(|(address, peer)| match peer.state {
            Binding::Bound { rebind } if rebind <= now => Some((*address, peer.used)),
            _ => None,
        });
        let Some((address, used)) = due else { return };
        if now.since(used) >= REBIND {
            return self.forget(address);
        }
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.state = Binding::Bound { rebind: now + REBIND };
        }
        self.ask(What::Bind(address), now);
    }

    /// The channel stays the peer's: it must not become another's before the server forgot it, and there are plenty.
    fn forget(&mut self, address: SocketAddr) {
        self.peers.remove(&address);
    }

    fn ask(&mut self, what: What, now: Tick) {
        let transaction = self.transaction();
        let message = match what {
            What::Allocate => {
                let family = if self.server.is_ipv4() { 1 } else { 2 };
                Writer::new(Method::Allocate, Class::Request, transaction)
                    .with(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
                    .with(attribute::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0])
            }
            What::Refresh => Writer::new(Method::Refresh, Class::Request, transaction),
            What::Bind(address) => {
                let Some(peer) = self.peers.get(&address) else { return };
                let [high, low] = peer.channel.to_be_bytes();
                Writer::new(Method::ChannelBind, Class::Request, transaction)
                    .with(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
                    .with_address(attribute::XOR_PEER_ADDRESS, address)
            }
        };
        let message = self.sign(message);
        self.requests.push(Request { what, transaction, message, tries: 0, next: now });
    }

    fn sign(&self, message: Writer) -> Vec<u8> {
        let Some((realm, nonce, key)) = &self.challenge else { return message.finish() };
        message
            .with(attribute::USERNAME, self.username.as_bytes())
            .with(attribute::REALM, realm.as_bytes())
            .with(attribute::NONCE, nonce)
            .signed(key)
            .finish()
    }

    fn transaction(&mut self) -> Transaction {
        let mut transaction = [0; 12];
        self.rng.fill_bytes(&mut transaction);
        transaction
    }
}

fn wrap(channel: u16, payload: &[u8], is_stream: bool) -> Option<Vec<u8>> {
    let length = u16::try_from(payload.len()).ok()?;
    let mut packet = Vec::with_capacity(payload.len() + 8);
    packet.extend(channel.to_be_bytes());
    packet.extend(length.to_be_bytes());
    packet.extend_from_slice(payload);
    if is_stream {
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    Some(packet)
}
