//! The server's side of RFC 8656 (TURN-11): allocations, permissions, channels, and what each may cost.
//!
//! ```text
//!   from_client ─┬─ Binding, errors ────────► Output::Send
//!                ├─ Allocate ──► Output::Bind ──► bound ──► Output::Send
//!                └─ Send, ChannelData ──────► Forward: which relay socket, to whom
//!   from_peer  ──── permission, channel ────► which client, in which wrapping
//!   tick       ──── what has expired ───────► Output::Close
//! ```
//!
//! Credentials are verified without state ([`dsip_proto::turn::Issuer`]), and so are nonces: a stranger costs one MAC and is
//! remembered nowhere. The way of a packet takes two look-ups and copies nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use dsip_proto::reach;
use dsip_proto::time::{Now, Seed, Tick};
use dsip_proto::turn::{Holder, Issuer};
use dsip_proto::wire::base64url;

use super::{CHANNEL_HEADER, EARLIER_CHANNELS, channel_data};
use crate::stun::message::{
    ADDRESS, Class, HEADER, Key, Message, Method, Transaction, Writer, attribute, long_term_key, write_address,
};

/// The realm of every node. Credentials are bound to a node by their secret; the realm is merely part of the protocol.
pub const REALM: &str = "dsip";

/// Room a packet needs before itself in the buffer given to [`Server::from_peer`], and behind itself.
pub const HEADROOM: usize = HEADER + 4 + ADDRESS + 4;
/// See [`HEADROOM`].
pub const TAILROOM: usize = 3;

/// RFC 8656, 3.2 and 7.2: what is granted unasked, and at most.
const DEFAULT_LIFETIME: u32 = 600;
const LONGEST_LIFETIME: u32 = 3600;

/// RFC 8656, 9.
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// RFC 8656, 12.
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// RFC 8656, 7.2: a reserved port waits this long.
const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);

/// How long a nonce is good. RFC 8656, 5: at least an hour is customary.
const NONCE_LIFETIME: u64 = 3600;

/// How long an allocation may outlive its credentials, in seconds: a call does not end because a credential does (TURN-7).
const GRACE: u64 = 24 * 3600;

/// Peers one allocation may permit, and channels it may bind, at a time.
const MOST_PEERS: usize = 128;

/// Errors by number (RFC 8489, 14.8; RFC 8656, 19).
mod code {
    pub(super) const BAD_REQUEST: u16 = 400;
    pub(super) const UNAUTHENTICATED: u16 = 401;
    pub(super) const FORBIDDEN: u16 = 403;
    pub(super) const UNKNOWN_ATTRIBUTE: u16 = 420;
    pub(super) const ALLOCATION_MISMATCH: u16 = 437;
    pub(super) const STALE_NONCE: u16 = 438;
    pub(super) const FAMILY_NOT_SUPPORTED: u16 = 440;
    pub(super) const WRONG_CREDENTIALS: u16 = 441;
    pub(super) const UNSUPPORTED_TRANSPORT: u16 = 442;
    pub(super) const PEER_FAMILY_MISMATCH: u16 = 443;
    pub(super) const QUOTA_REACHED: u16 = 486;
    pub(super) const INSUFFICIENT_CAPACITY: u16 = 508;
}

/// By which of the server's sockets a client is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// A UDP socket, by its number.
    Datagram(u16),
    /// A TCP or TLS connection, by its number; never used twice.
    Stream(u64),
}

/// A client: the 5-tuple of RFC 8656.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// Its transport address, as seen.
    pub address: SocketAddr,
    /// Where it came in.
    pub via: Via,
}

/// A relay socket. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Relay(pub u64);

/// What one party, and all together, may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Allocations in all, reservations included.
    pub allocations: usize,
    /// Allocations of one identity.
    pub per_holder: usize,
    /// Allocations from one address; for IPv6, from one /64.
    pub per_address: usize,
    /// Octets a second that one identity may have relayed, both ways together. Two seconds' worth may come at once.
    pub bandwidth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // A call takes one or two for each network of a device, some 10 kB/s with sound, and a hundred times that with video.
        Self { allocations: 10_000, per_holder: 24, per_address: 512, bandwidth: 2_500_000 }
    }
}

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses on which relayed addresses are announced: one of a family at most.
    pub relays: Vec<IpAddr>,
    /// Addresses of this machine. Of them only live relayed addresses are relayed to (TURN-10).
    pub own: Vec<IpAddr>,
    /// Whether peers may be at private addresses and at this machine's.
    pub allow_private: bool,
    /// Bounds.
    pub limits: Limits,
}

/// A relay socket that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Its name.
    pub relay: Relay,
    /// The address it is announced on.
    pub ip: IpAddr,
    /// Whether its port has to be even.
    pub even: bool,
    /// The name of a second socket on the next port, if one is to be reserved.
    pub next: Option<Relay>,
}

/// What the server wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to a client.
    Send(Client, Vec<u8>),
    /// Open sockets, then say [`Server::bound`].
    Bind(Client, Vec<Want>),
    /// Close a relay socket.
    Close(Relay),
    /// A client's allocation is gone: what is left of its connection may go, too.
    Gone(Client),
}

/// Data on its way to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// From this relay socket.
    pub relay: Relay,
    /// To this peer.
    pub peer: SocketAddr,
    /// These octets of the packet.
    pub data: Range<usize>,
    /// The peer is a relayed address of ours: hand the data to [`Server::from_peer`] of this relay, as coming from this
    /// address. It saves two system calls, and works where a NAT does not lead back to us.
    pub inside: Option<(Relay, SocketAddr)>,
}

/// What the server has done and has in hand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Allocations now.
    pub allocations: usize,
    /// Allocations ever made.
    pub allocated: u64,
    /// Requests refused, by the code of the answer. What every honest client meets is not among them: the challenge for a
    /// request without credentials, and a nonce that grew stale.
    pub refused: BTreeMap<u16, u64>,
    /// Packets relayed, both ways.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
    /// Packets over a bandwidth limit, dropped.
    pub throttled: u64,
}

/// Allocations and all that belongs to them.
#[derive(Debug)]
pub struct Server {
    config: Config,
    issuer: Issuer,
    rng: rand_chacha::ChaCha20Rng,
    allocations: BTreeMap<Client, Allocation>,
    /// Allocations whose sockets are being opened.
    pending: BTreeMap<Client, Pending>,
    /// Whose each relay socket is.
    relays: BTreeMap<Relay, Client>,
    /// Our relayed addresses in use.
    addresses: BTreeMap<SocketAddr, Relay>,
    reservations: BTreeMap<Token, Reservation>,
    holders: BTreeMap<Holder, Account>,
    barred: BTreeSet<Holder>,
    networks: BTreeMap<IpAddr, usize>,
    deadlines: BTreeSet<(Tick, Deadline)>,
    next_relay: u64,
    counts: Counts,
}

type Token = [u8; 8];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    Allocation(Client),
    Reservation(Token),
    /// The holder has no allocations, and by then no debt.
    Debt(Holder),
}

#[derive(Debug)]
struct Allocation {
    owner: Owner,
    /// The Allocate request that made it: its repetition is answered, another one is not (RFC 8656, 7.2).
    transaction: Transaction,
    answer: Vec<u8>,
    /// Its relayed addresses: one, or one of each family.
    relays: Vec<(Relay, SocketAddr)>,
    expires: Tick,
    permissions: BTreeMap<IpAddr, Tick>,
    channels: BTreeMap<u16, (SocketAddr, Tick)>,
    by_peer: BTreeMap<SocketAddr, u16>,
}

#[derive(Debug, Clone)]
struct Owner {
    username: String,
    key: Key,
    holder: Holder,
    /// Unix seconds after which it is not refreshed any more.
    until: u64,
}

#[derive(Debug)]
struct Pending {
    owner: Owner,
    transaction: Transaction,
    lifetime: u32,
    wants: Vec<Want>,
    /// The additional family that this server has not (RFC 8656, 7.2).
    lacks: Option<u8>,
}

#[derive(Debug)]
struct Reservation {
    relay: Relay,
    address: SocketAddr,
    holder: Holder,
    expires: Tick,
}

#[derive(Debug, Default)]
struct Account {
    allocations: usize,
    /// The moment at which what was relayed will have been earned.
    meter: Tick,
}

/// An authenticated request's sender.
struct Authentic {
    owner: Owner,
}

/// A refusal: its code, and whether it tells realm and nonce instead of being signed.
enum Refusal {
    Challenge(u16),
    Plain(u16),
    Signed(u16, Key),
    /// The value of UNKNOWN-ATTRIBUTES.
    Unknown(Vec<u8>, Key),
}

/// RFC 8489, 6.3.1: what must be understood in a request and is not, as UNKNOWN-ATTRIBUTES lists it. DONT-FRAGMENT is among
/// it: no portable and safe call sets the bit.
fn unknown(message: &Message<'_>) -> Vec<u8> {
    const KNOWN: [u16; 13] = [
        attribute::USERNAME,
        attribute::MESSAGE_INTEGRITY,
        attribute::CHANNEL_NUMBER,
        attribute::LIFETIME,
        attribute::XOR_PEER_ADDRESS,
        attribute::DATA,
        attribute::REALM,
        attribute::NONCE,
        attribute::REQUESTED_ADDRESS_FAMILY,
        attribute::EVEN_PORT,
        attribute::REQUESTED_TRANSPORT,
        attribute::RESERVATION_TOKEN,
        attribute::XOR_MAPPED_ADDRESS,
    ];
    let kinds = message.attributes().map(|found| found.kind);
    kinds.filter(|kind| *kind < 0x8000 && !KNOWN.contains(kind)).take(16).flat_map(u16::to_be_bytes).collect()
}

impl Server {
    /// A server without allocations. `seed` makes reservation tokens.
    #[must_use]
    pub fn new(config: Config, issuer: Issuer, seed: Seed) -> Self {
        Self {
            config,
            issuer,
            rng: seed.into_rng(),
            allocations: BTreeMap::new(),
            pending: BTreeMap::new(),
            relays: BTreeMap::new(),
            addresses: BTreeMap::new(),
            reservations: BTreeMap::new(),
            holders: BTreeMap::new(),
            barred: BTreeSet::new(),
            networks: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_relay: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a datagram or a frame from a client.
    pub fn from_client(&mut self, now: Now, client: Client, packet: &[u8], out: &mut Vec<Output>) -> Option<Forward> {
        // Most packets are data: nothing else begins with these two bits (RFC 8656, 12).
        if packet.first()? >> 6 == 1 {
            let (channel, data) = channel_data(packet)?;
            let allocation = self.allocations.get(&client)?;
            let (peer, until) = *allocation.channels.get(&channel)?;
            return if until > now.tick { self.forward(now.tick, client, peer, data) } else { None };
        }
        let message = Message::parse(packet)?;
        match (message.class(), message.method()) {
            (Class::Request, Method::Binding) => {
                let unknown = unknown(&message);
                let answer = if unknown.is_empty() {
                    Writer::new(Method::Binding, Class::Success, message.transaction())
                        .with_address(attribute::XOR_MAPPED_ADDRESS, client.address)
                } else {
                    Writer::error(Method::Binding, message.transaction(), code::UNKNOWN_ATTRIBUTE)
                        .with(attribute::UNKNOWN_ATTRIBUTES, &unknown)
                };
                out.push(Output::Send(client, answer.finish()));
                None
            }
            (Class::Request, Method::Send | Method::Data) | (Class::Success | Class::Error, _) => None,
            (Class::Request, _) => {
                if let Err(refusal) = self.request(now, client, &message, out) {
                    self.refuse(now, client, &message, refusal, out);
                }
                None
            }
            (Class::Indication, Method::Send) => self.send_indication(now.tick, client, packet, &message),
            (Class::Indication, _) => None,
        }
    }

    /// Takes a datagram that a peer sent to a relayed address. It lies in `buffer` at `data`, which leaves [`HEADROOM`] before
    /// it and [`TAILROOM`] behind. Says which octets of the buffer go to which client.
    pub fn from_peer(
        &mut self,
        now: Tick,
        relay: Relay,
        peer: SocketAddr,
        buffer: &mut [u8],
        data: Range<usize>,
    ) -> Option<(Client, Range<usize>)> {
        let client = *self.relays.get(&relay)?;
        let allocation = self.allocations.get(&client)?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let is_permitted = allocation.permissions.get(&peer.ip()).is_some_and(|until| *until > now);
        let holder = allocation.owner.holder;
        if !is_permitted {
            return None;
        }
        let channel = allocation.by_peer.get(&peer).copied();
        let channel = channel.filter(|channel| allocation.channels.get(channel).is_some_and(|(_, until)| *until > now));
        if !self.spend(now, holder, data.len()) {
            return None;
        }
        let length = u16::try_from(data.len()).ok()?.to_be_bytes();
        let is_stream = matches!(client.via, Via::Stream(_));
        if let Some(channel) = channel {
            let start = data.start.checked_sub(CHANNEL_HEADER)?;
            let header = buffer.get_mut(start..data.start)?;
            header.copy_from_slice(
                &u32::from_be_bytes([channel.to_be_bytes(), length].concat().try_into().ok()?).to_be_bytes(),
            );
            // RFC 8656, 12.5: padding is for streams.
            let end = if is_stream { start + (data.end - start).next_multiple_of(4) } else { data.end };
            buffer.get_mut(data.end..end)?.fill(0);
            return Some((client, start..end));
        }
        // A Data indication, written backwards from the data. Its transaction only has to be there (RFC 8656, 11.5).
        let transaction = [0; 12];
        let mut value = [0; ADDRESS];
        let address = write_address(peer, &transaction, &mut value);
        let start = data.start.checked_sub(HEADER + 4 + address + 4)?;
        let end = data.start + data.len().next_multiple_of(4);
        let body = u16::try_from(end - start - HEADER).ok()?.to_be_bytes();
        buffer.get_mut(data.end..end)?.fill(0);
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&[0x00, 0x17]);
        header[2..4].copy_from_slice(&body);
        header[4..8].copy_from_slice(&crate::stun::message::COOKIE);
        let mut at = start;
        let address_length = u16::try_from(address).ok()?.to_be_bytes();
        for part in [
            &header[..],
            &attribute::XOR_PEER_ADDRESS.to_be_bytes(),
            &address_length,
            value.get(..address)?,
            &attribute::DATA.to_be_bytes(),
            &length,
        ] {
            buffer.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        Some((client, start..end))
    }

    /// What became of [`Output::Bind`]: the port of each wanted socket, in order, or that there is none.
    pub fn bound(&mut self, now: Now, client: Client, ports: &[Option<u16>], out: &mut Vec<Output>) {
        let Some(Pending { owner, transaction, lifetime, wants, lacks }) = self.pending.remove(&client) else { return };
        let mut answer = Writer::new(Method::Allocate, Class::Success, transaction);
        let mut relays = Vec::new();
        let mut token = None;
        let mut failed = lacks.map(|family| (family, code::FAMILY_NOT_SUPPORTED));
        for (want, port) in wants.iter().zip(ports) {
            let Some(port) = *port else {
                failed = Some((family(want.ip), code::INSUFFICIENT_CAPACITY));
                continue;
            };
            let address = SocketAddr::new(want.ip, port);
            relays.push((want.relay, address));
            answer = answer.with_address(attribute::XOR_RELAYED_ADDRESS, address);
            if let (Some(relay), Some(port)) = (want.next, port.checked_add(1)) {
                token = Some(self.reserve(now.tick, relay, SocketAddr::new(want.ip, port), owner.holder));
            }
        }
        if relays.is_empty() {
            self.release(owner.holder, client.address.ip());
            self.count_refusal(code::INSUFFICIENT_CAPACITY);
            let refusal = Writer::error(Method::Allocate, transaction, code::INSUFFICIENT_CAPACITY);
            out.push(Output::Send(client, refusal.signed(&owner.key).finish()));
            return;
        }
        if let Some((family, number)) = failed {
            let [class, number] = [number / 100, number % 100].map(|part| u8::try_from(part).unwrap_or_default());
            answer = answer.with(attribute::ADDRESS_ERROR_CODE, &[family, 0, class, number]);
        }
        if let Some(token) = token {
            answer = answer.with(attribute::RESERVATION_TOKEN, &token);
        }
        self.establish(now.tick, client, Made { owner, transaction, lifetime, relays, answer }, out);
    }

    /// Serves these no more, whatever credentials they have; what they have here ends.
    pub fn bar(&mut self, barred: BTreeSet<Holder>, out: &mut Vec<Output>) {
        self.barred = barred;
        let pending = self.pending.iter().map(|(client, pending)| (client, &pending.owner));
        let standing = self.allocations.iter().map(|(client, allocation)| (client, &allocation.owner));
        let theirs = pending.chain(standing).filter(|(_, owner)| self.barred.contains(&owner.holder));
        let clients: Vec<Client> = theirs.map(|(client, _)| *client).collect();
        for client in clients {
            self.remove(client, out);
        }
    }

    /// A client's connection is gone, and its allocation with it.
    pub fn closed(&mut self, client: Client, out: &mut Vec<Output>) {
        self.remove(client, out);
    }

    /// Ends what has expired.
    pub fn tick(&mut self, now: Tick, out: &mut Vec<Output>) {
        while let Some((due, deadline)) = self.deadlines.first().copied()
            && due <= now
        {
            self.deadlines.remove(&(due, deadline));
            match deadline {
                Deadline::Allocation(client) => self.remove(client, out),
                Deadline::Reservation(token) => {
                    if let Some(reservation) = self.reservations.remove(&token) {
                        out.push(Output::Close(reservation.relay));
                    }
                }
                Deadline::Debt(holder) => drop(self.holders.remove(&holder)),
            }
        }
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn wake(&self) -> Option<Tick> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// Whether the client has an allocation.
    #[must_use]
    pub fn serves(&self, client: Client) -> bool {
        self.allocations.contains_key(&client)
    }

    /// What it has done so far, and has in hand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { allocations: self.allocations.len(), ..self.counts.clone() }
    }

    // Requests

    fn request(
        &mut self,
        now: Now,
        client: Client,
        message: &Message<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let Authentic { owner } = self.authenticate(now, client, message)?;
        let key = owner.key;
        let unknown = unknown(message);
        if !unknown.is_empty() {
            return Err(Refusal::Unknown(unknown, key));
        }
        if message.method() == Method::Allocate {
            return self.allocate(now, client, message, owner, out);
        }
        // RFC 8656, 5: nobody takes over somebody else's allocation.
        let Some(allocation) = self.allocations.get(&client) else {
            return Err(Refusal::Signed(code::ALLOCATION_MISMATCH, key));
        };
        if allocation.owner.username != owner.username {
            return Err(Refusal::Signed(code::WRONG_CREDENTIALS, key));
        }
        let signed = |code| Refusal::Signed(code, key);
        match message.method() {
            Method::Refresh => self.refresh(now.tick, client, message, &key, out).map_err(signed),
            Method::CreatePermission => self.create_permission(now.tick, client, message, &key, out).map_err(signed),
            Method::ChannelBind => self.bind_channel(now.tick, client, message, &key, out).map_err(signed),
            _ => Err(signed(code::BAD_REQUEST)),
        }
    }

    /// RFC 8489, 9.2.4, in its order.
    fn authenticate(&self, now: Now, client: Client, message: &Message<'_>) -> Result<Authentic, Refusal> {
        if !message.is_signed() {
            return Err(Refusal::Challenge(code::UNAUTHENTICATED));
        }
        let text = |kind| message.text(kind).ok_or(Refusal::Plain(code::BAD_REQUEST));
        let (username, realm, nonce) = (text(attribute::USERNAME)?, text(attribute::REALM)?, text(attribute::NONCE)?);
        let known = self.allocations.get(&client).map(|allocation| &allocation.owner);
        let owner = match known.filter(|owner| owner.username == username) {
            // TURN-7: the allocation was made in time; it may go on for a while.
            Some(owner) => Some(owner.clone()).filter(|owner| now.wall.secs() <= owner.until),
            None => self.issuer.open(username).filter(|(until, _)| now.wall.secs() <= *until).map(|(until, holder)| {
                let key = long_term_key(username, REALM, &self.issuer.password(username));
                Owner { username: username.to_owned(), key, holder, until: until.saturating_add(GRACE) }
            }),
        };
        let owner = owner
            .filter(|owner| realm == REALM && !self.barred.contains(&owner.holder))
            .ok_or(Refusal::Challenge(code::UNAUTHENTICATED))?;
        if !message.is_authentic(&owner.key) {
            return Err(Refusal::Challenge(code::UNAUTHENTICATED));
        }
        if !self.is_fresh(now, client, nonce) {
            return Err(Refusal::Challenge(code::STALE_NONCE));
        }
        Ok(Authentic { owner })
    }

    /// A nonce is a time and a MAC over it and the client, so there is none to remember, and none to steal.
    fn nonce(&self, secs: u64, client: Client) -> String {
        let secs = u32::try_from(secs & u64::from(u32::MAX)).unwrap_or_default().to_be_bytes();
        let tag = self.issuer.tag(format!("{client:?} {secs:?}").as_bytes());
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&secs);
        nonce[4..].copy_from_slice(tag.first_chunk::<12>().unwrap_or(&[0; 12]));
        base64url::encode(&nonce)
    }

    fn is_fresh(&self, now: Now, client: Client, nonce: &str) -> bool {
        let Some(octets) = base64url::decode(nonce) else { return false };
        let Some(secs) = octets.first_chunk::<4>().map(|secs| u64::from(u32::from_be_bytes(*secs))) else {
            return false;
        };
        now.wall.secs().checked_sub(secs).is_some_and(|age| age <= NONCE_LIFETIME) && self.nonce(secs, client) == nonce
    }

    fn refuse(&mut self, now: Now, client: Client, message: &Message<'_>, refusal: Refusal, out: &mut Vec<Output>) {
        match refusal {
            Refusal::Challenge(code::UNAUTHENTICATED) if !message.is_signed() => {}
            Refusal::Challenge(code::STALE_NONCE) => {}
            Refusal::Challenge(code) | Refusal::Plain(code) | Refusal::Signed(code, _) => self.count_refusal(code),
            Refusal::Unknown(..) => self.count_refusal(code::UNKNOWN_ATTRIBUTE),
        }
        let error = |code| Writer::error(message.method(), message.transaction(), code);
        let answer = match refusal {
            Refusal::Plain(code) => error(code),
            Refusal::Challenge(code) => error(code)
                .with(attribute::REALM, REALM.as_bytes())
                .with(attribute::NONCE, self.nonce(now.wall.secs(), client).as_bytes()),
            Refusal::Signed(code, key) => error(code).signed(&key),
            Refusal::Unknown(kinds, key) => {
                error(code::UNKNOWN_ATTRIBUTE).with(attribute::UNKNOWN_ATTRIBUTES, &kinds).signed(&key)
            }
        };
        out.push(Output::Send(client, answer.finish()));
    }

    fn count_refusal(&mut self, code: u16) {
        *self.counts.refused.entry(code).or_default() += 1;
    }

    /// RFC 8656, 7.2, in its order.
    fn allocate(
        &mut self,
        now: Now,
        client: Client,
        message: &Message<'_>,
        owner: Owner,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let key = owner.key;
        let refused = |code| Refusal::Signed(code, key);
        if let Some(allocation) = self.allocations.get(&client) {
            if allocation.transaction == message.transaction() && allocation.owner.username == owner.username {
                out.push(Output::Send(client, allocation.answer.clone()));
                return Ok(());
            }
            return Err(refused(code::ALLOCATION_MISMATCH));
        }
        if self.pending.contains_key(&client) {
            return Ok(()); // its sockets are being opened, and then it is answered
        }
        match message.find(attribute::REQUESTED_TRANSPORT) {
            Some([17, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(refused(code::UNSUPPORTED_TRANSPORT)),
            _ => return Err(refused(code::BAD_REQUEST)),
        }
        let wished = Wished::read(message).ok_or_else(|| refused(code::BAD_REQUEST))?;
        let transaction = message.transaction();
        if let Some(token) = wished.token {
            let reservation = self.reservations.get(&token).filter(|known| known.holder == owner.holder);
            let Some(Reservation { relay, address, expires, .. }) = reservation else {
                return Err(refused(code::INSUFFICIENT_CAPACITY));
            };
            let (relay, address, expires) = (*relay, *address, *expires);
            self.admit(owner.holder, client.address.ip()).map_err(refused)?;
            self.reservations.remove(&token);
            self.deadlines.remove(&(expires, Deadline::Reservation(token)));
            let answer = Writer::new(Method::Allocate, Class::Success, transaction)
                .with_address(attribute::XOR_RELAYED_ADDRESS, address);
            let made = Made { owner, transaction, lifetime: wished.lifetime, relays: vec![(relay, address)], answer };
            self.establish(now.tick, client, made, out);
            return Ok(());
        }
        let of_family = |wanted: u8| self.config.relays.iter().copied().find(|ip| family(*ip) == wanted);
        let first = of_family(wished.family).ok_or_else(|| refused(code::FAMILY_NOT_SUPPORTED))?;
        let second = wished.additional.map(|wanted| of_family(wanted).ok_or(wanted));
        self.admit(owner.holder, client.address.ip()).map_err(refused)?;
        let mut wants = Vec::new();
        for ip in [Some(first), second.and_then(Result::ok)].into_iter().flatten() {
            let relay = self.name_relay();
            let next = wished.reserves.then(|| self.name_relay());
            wants.push(Want { relay, ip, even: wished.even, next });
        }
        out.push(Output::Bind(client, wants.clone()));
        let lacks = second.and_then(Result::err);
        self.pending.insert(client, Pending { owner, transaction, lifetime: wished.lifetime, wants, lacks });
        Ok(())
    }

    fn establish(&mut self, now: Tick, client: Client, made: Made, out: &mut Vec<Output>) {
        let Made { owner, transaction, lifetime, relays, answer } = made;
        let answer = answer
            .with(attribute::LIFETIME, &lifetime.to_be_bytes())
            .with_address(attribute::XOR_MAPPED_ADDRESS, client.address)
            .signed(&owner.key)
            .finish();
        for (relay, address) in &relays {
            self.relays.insert(*relay, client);
            self.addresses.insert(*address, *relay);
        }
        let expires = now + Duration::from_secs(lifetime.into());
        self.deadlines.insert((expires, Deadline::Allocation(client)));
        out.push(Output::Send(client, answer.clone()));
        let allocation = Allocation {
            owner,
            transaction,
            answer,
            relays,
            expires,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            by_peer: BTreeMap::new(),
        };
        self.allocations.insert(client, allocation);
        self.counts.allocated += 1;
    }

    /// RFC 8656, 8.2.
    fn refresh(
        &mut self,
        now: Tick,
        client: Client,
        message: &Message<'_>,
        key: &Key,
        out: &mut Vec<Output>,
    ) -> Result<(), u16> {
        let wished = Wished::read(message).ok_or(code::BAD_REQUEST)?;
        let Some(allocation) = self.allocations.get_mut(&client) else { return Err(code::ALLOCATION_MISMATCH) };
        let names_family = message.find(attribute::REQUESTED_ADDRESS_FAMILY).is_some();
        if names_family && !allocation.relays.iter().any(|(_, address)| family(address.ip()) == wished.family) {
            return Err(code::PEER_FAMILY_MISMATCH);
        }
        let ends = message.number(attribute::LIFETIME) == Some(0);
        let lifetime = if ends { 0 } else { wished.lifetime };
        let answer = Writer::new(Method::Refresh, Class::Success, message.transaction())
            .with(attribute::LIFETIME, &lifetime.to_be_bytes());
        out.push(Output::Send(client, answer.signed(key).finish()));
        if !ends {
            self.deadlines.remove(&(allocation.expires, Deadline::Allocation(client)));
            allocation.expires = now + Duration::from_secs(lifetime.into());
            self.deadlines.insert((allocation.expires, Deadline::Allocation(client)));
        } else if names_family && allocation.relays.len() > 1 {
            // One family of two goes, and the other stays.
            let is_it = |address: &SocketAddr| family(address.ip()) == wished.family;
            let (gone, kept) = allocation.relays.drain(..).partition(|(_, address)| is_it(address));
            allocation.relays = kept;
            allocation.channels.retain(|_, (peer, _)| !is_it(peer));
            allocation.by_peer.retain(|peer, _| !is_it(peer));
            allocation.permissions.retain(|ip, _| family(*ip) != wished.family);
            self.close(gone, out);
        } else {
            self.remove(client, out);
        }
        Ok(())
    }

    /// RFC 8656, 10.2: all of the peers, or none.
    fn create_permission(
        &mut self,
        now: Tick,
        client: Client,
        message: &Message<'_>,
        key: &Key,
        out: &mut Vec<Output>,
    ) -> Result<(), u16> {
        let peers: Option<Vec<SocketAddr>> = message.addresses(attribute::XOR_PEER_ADDRESS).collect();
        let peers = peers.filter(|peers| !peers.is_empty()).ok_or(code::BAD_REQUEST)?;
        for peer in &peers {
            self.check_peer(client, peer.ip())?;
        }
        let Some(allocation) = self.allocations.get_mut(&client) else { return Err(code::ALLOCATION_MISMATCH) };
        allocation.permit(now, peers.iter().map(|peer| peer.ip().to_canonical()))?;
        let answer = Writer::new(Method::CreatePermission, Class::Success, message.transaction());
        out.push(Output::Send(client, answer.signed(key).finish()));
        Ok(())
    }

    /// RFC 8656, 12.2.
    fn bind_channel(
        &mut self,
        now: Tick,
        client: Client,
        message: &Message<'_>,
        key: &Key,
        out: &mut Vec<Output>,
    ) -> Result<(), u16> {
        let channel = message.find(attribute::CHANNEL_NUMBER).filter(|value| value.len() == 4);
        let channel = channel.and_then(|value| value.first_chunk()).map(|octets| u16::from_be_bytes(*octets));
        let peer = message.address(attribute::XOR_PEER_ADDRESS);
        let (Some(channel), Some(peer)) = (channel.filter(|channel| EARLIER_CHANNELS.contains(channel)), peer) else {
            return Err(code::BAD_REQUEST);
        };
        self.check_peer(client, peer.ip())?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Some(allocation) = self.allocations.get_mut(&client) else { return Err(code::ALLOCATION_MISMATCH) };
        allocation.forget_channels(now);
        let is_others = allocation.channels.get(&channel).is_some_and(|(bound, _)| *bound != peer);
        if is_others || allocation.by_peer.get(&peer).is_some_and(|bound| *bound != channel) {
            return Err(code::BAD_REQUEST);
        }
        if allocation.channels.len() >= MOST_PEERS && !allocation.channels.contains_key(&channel) {
            return Err(code::INSUFFICIENT_CAPACITY);
        }
        allocation.permit(now, [peer.ip()].into_iter())?;
        allocation.channels.insert(channel, (peer, now + CHANNEL_LIFETIME));
        allocation.by_peer.insert(peer, channel);
        let answer = Writer::new(Method::ChannelBind, Class::Success, message.transaction());
        out.push(Output::Send(client, answer.signed(key).finish()));
        Ok(())
    }

    /// TURN-10: whether a client may exchange packets with an address at all.
    fn check_peer(&self, client: Client, peer: IpAddr) -> Result<(), u16> {
        let Some(allocation) = self.allocations.get(&client) else { return Err(code::ALLOCATION_MISMATCH) };
        if !allocation.relays.iter().any(|(_, relayed)| family(relayed.ip()) == family(peer)) {
            return Err(code::PEER_FAMILY_MISMATCH);
        }
        // Towards this machine only its relayed addresses are open; which port that is shows when data comes.
        let is_fit = self.is_own(peer) || reach::is_public(peer);
        let is_possible = !peer.is_unspecified() && !peer.is_multicast() && peer != IpAddr::from([255; 4]);
        if is_possible && (is_fit || self.config.allow_private) { Ok(()) } else { Err(code::FORBIDDEN) }
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.config.own.contains(&ip) || self.config.relays.contains(&ip)
    }

    // Data

    /// RFC 8656, 11.2. Indications are not authenticated; the permission was.
    fn send_indication(&mut self, now: Tick, client: Client, packet: &[u8], message: &Message<'_>) -> Option<Forward> {
        let peer = message.address(attribute::XOR_PEER_ADDRESS)?;
        let data = message.find(attribute::DATA)?;
        let is_known = |kind: u16| kind >= 0x8000 || matches!(kind, attribute::XOR_PEER_ADDRESS | attribute::DATA);
        if !message.attributes().all(|found| is_known(found.kind)) {
            return None;
        }
        let start = data.as_ptr().addr().checked_sub(packet.as_ptr().addr())?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.forward(now, client, peer, start..start + data.len())
    }

    fn forward(&mut self, now: Tick, client: Client, peer: SocketAddr, data: Range<usize>) -> Option<Forward> {
        let allocation = self.allocations.get(&client)?;
        let until = allocation.permissions.get(&peer.ip())?;
        let of_family = |(_, relayed): &&(Relay, SocketAddr)| relayed.is_ipv4() == peer.is_ipv4();
        let (relay, relayed) = *allocation.relays.iter().find(of_family)?;
        if *until <= now || peer.port() == 0 {
            return None;
        }
        let holder = allocation.owner.holder;
        let mut inside = None;
        if self.is_own(peer.ip()) {
            inside = self.addresses.get(&peer).map(|relay| (*relay, relayed));
            if inside.is_none() && !self.config.allow_private {
                return None; // TURN-10
            }
        }
        self.spend(now, holder, data.len()).then_some(Forward { relay, peer, data, inside })
    }

    /// TURN-9: whether an identity may have so many octets relayed now.
    fn spend(&mut self, now: Tick, holder: Holder, octets: usize) -> bool {
        let Some(account) = self.holders.get_mut(&holder) else { return false };
        // Headers cost, too: 28 octets of IP and UDP.
        let octets = u64::try_from(octets).unwrap_or(u64::MAX).saturating_add(28);
        let price = Duration::from_nanos(octets.saturating_mul(1_000_000_000) / self.config.limits.bandwidth.max(1));
        if account.meter.since(now) > Duration::from_secs(2) {
            self.counts.throttled += 1;
            return false;
        }
        account.meter = account.meter.max(now) + price;
        self.counts.packets += 1;
        self.counts.octets = self.counts.octets.saturating_add(octets);
        true
    }

    // Bounds

    /// TURN-8: one more allocation for this identity from this address, if there may be.
    fn admit(&mut self, holder: Holder, from: IpAddr) -> Result<(), u16> {
        let Limits { allocations, per_holder, per_address, .. } = self.config.limits;
        if self.allocations.len() + self.pending.len() + self.reservations.len() >= allocations {
            return Err(code::INSUFFICIENT_CAPACITY);
        }
        let network = reach::subscriber(from);
        let held = self.holders.get(&holder).map_or(0, |account| account.allocations);
        let here = self.networks.get(&network).copied().unwrap_or(0);
        let reserved = self.reservations.values().filter(|reservation| reservation.holder == holder).count();
        if held + reserved >= per_holder || here >= per_address {
            return Err(code::QUOTA_REACHED);
        }
        let account = self.holders.entry(holder).or_default();
        self.deadlines.remove(&(account.meter, Deadline::Debt(holder)));
        account.allocations += 1;
        self.networks.insert(network, here + 1);
        Ok(())
    }

    fn release(&mut self, holder: Holder, from: IpAddr) {
        if let Some(account) = self.holders.get_mut(&holder) {
            account.allocations = account.allocations.saturating_sub(1);
            if account.allocations == 0 {
                // TURN-9: who gives up the last allocation does not get rid of a debt.
                self.deadlines.insert((account.meter, Deadline::Debt(holder)));
            }
        }
        let network = reach::subscriber(from);
        if let Some(here) = self.networks.get_mut(&network) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                self.networks.remove(&network);
            }
        }
    }

    fn reserve(&mut self, now: Tick, relay: Relay, address: SocketAddr, holder: Holder) -> Token {
        use rand_chacha::rand_core::Rng as _;
        let token = self.rng.next_u64().to_be_bytes();
        let expires = now + RESERVATION_LIFETIME;
        self.deadlines.insert((expires, Deadline::Reservation(token)));
        self.reservations.insert(token, Reservation { relay, address, holder, expires });
        token
    }

    fn remove(&mut self, client: Client, out: &mut Vec<Output>) {
        if let Some(pending) = self.pending.remove(&client) {
            self.release(pending.owner.holder, client.address.ip());
        }
        let Some(allocation) = self.allocations.remove(&client) else { return };
        self.deadlines.remove(&(allocation.expires, Deadline::Allocation(client)));
        self.release(allocation.owner.holder, client.address.ip());
        self.close(allocation.relays, out);
        out.push(Output::Gone(client));
    }

    fn close(&mut self, relays: Vec<(Relay, SocketAddr)>, out: &mut Vec<Output>) {
        for (relay, address) in relays {
            self.relays.remove(&relay);
            self.addresses.remove(&address);
            out.push(Output::Close(relay));
        }
    }

    fn name_relay(&mut self) -> Relay {
        self.next_relay += 1;
        Relay(self.next_relay)
    }
}

impl Allocation {
    fn permit(&mut self, now: Tick, ips: impl Iterator<Item = IpAddr>) -> Result<(), u16> {
        for ip in ips {
            if self.permissions.len() >= MOST_PEERS && !self.permissions.contains_key(&ip) {
                self.permissions.retain(|_, until| *until > now);
                if self.permissions.len() >= MOST_PEERS {
                    return Err(code::INSUFFICIENT_CAPACITY);
                }
            }
            self.permissions.insert(ip, now + PERMISSION_LIFETIME);
        }
        Ok(())
    }

    fn forget_channels(&mut self, now: Tick) {
        let by_peer = &mut self.by_peer;
        self.channels.retain(|_, (peer, until)| {
            let stays = *until > now;
            if !stays {
                by_peer.remove(peer);
            }
            stays
        });
    }
}

/// An allocation whose sockets are there.
struct Made {
    owner: Owner,
    transaction: Transaction,
    lifetime: u32,
    relays: Vec<(Relay, SocketAddr)>,
    answer: Writer,
}

/// What an Allocate or Refresh request asks for, as far as it makes sense.
struct Wished {
    lifetime: u32,
    family: u8,
    additional: Option<u8>,
    even: bool,
    reserves: bool,
    token: Option<Token>,
}

impl Wished {
    /// RFC 8656, 7.2: `None` for combinations that are a bad request.
    fn read(message: &Message<'_>) -> Option<Self> {
        let family_of = |kind| match message.find(kind) {
            None => Some(None),
            Some(value) if value.len() == 4 => Some(value.first().copied()),
            Some(_) => None,
        };
        let requested = family_of(attribute::REQUESTED_ADDRESS_FAMILY)?;
        let additional = family_of(attribute::ADDITIONAL_ADDRESS_FAMILY)?;
        let even = message.find(attribute::EVEN_PORT);
        let reserves = match even {
            None => false,
            Some([bits]) => bits & 0x80 != 0,
            Some(_) => return None,
        };
        let token = match message.find(attribute::RESERVATION_TOKEN) {
            None => None,
            Some(value) => Some(value.try_into().ok()?),
        };
        let lifetime = match message.find(attribute::LIFETIME) {
            None => DEFAULT_LIFETIME,
            Some(value) => u32::from_be_bytes(value.try_into().ok()?).clamp(DEFAULT_LIFETIME, LONGEST_LIFETIME),
        };
        let clashes = token.is_some() && (even.is_some() || requested.is_some() || additional.is_some())
            || requested.is_some() && additional.is_some()
            || additional.is_some() && reserves
            || additional == Some(IPV4);
        let wished =
            Self { lifetime, family: requested.unwrap_or(IPV4), additional, even: even.is_some(), reserves, token };
        (!clashes).then_some(wished)
    }
}

const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// The family as RFC 8656, 18.6 numbers it.
const fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { IPV4 } else { IPV6 }
}
