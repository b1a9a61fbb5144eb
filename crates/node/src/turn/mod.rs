//! STUN and TURN on sockets: one place answers both. What a packet means is for [`dsip_media::turn::Server`] to say.
//!
//! ```text
//!   UDP ───────────── datagrams ─┐                    ┌─ peer_packets, one task for each relay socket
//!   TCP ───── stream ────────────┼── State: Server ───┤
//!   TLS ───── stream ────────────┘    (one lock)      └─ relay sockets
//! ```
//!
//! The lock is held for two look-ups a packet and never across a system call on data. No packet is copied, and between
//! datagram sockets none is allocated: each task has a buffer with room for what is written before a packet.

mod ports;
mod reading;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::link;
use dsip_endpoint::tls::Certificate;
use dsip_media::turn::server::{self, Client, Forward, HEADROOM, Output, Relay, TAILROOM, Via};
use dsip_media::turn::{Server, server::Counts};
use dsip_proto::time::Seed;
use dsip_proto::turn::{Holder, Issuer, Ports};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use self::reading::receive_all;
use crate::admission::{self, Admission};
use crate::{StartError, until};

pub(crate) use self::reading::Reading;
pub use server::Limits;

/// The largest datagram that is relayed. Paths on the internet carry 1,500 octets.
const DATAGRAM: usize = 2048;

/// How often expired allocations are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// The ports that IANA gave to TURN over TCP and over TLS.
const TCP_PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;

/// The TURN server, as an operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether anything is relayed. STUN is answered either way.
    pub enabled: bool,
    /// The addresses on which relayed addresses are announced, one of a family; by default those the node listens on.
    pub relays: Vec<IpAddr>,
    /// Where TURN over TCP is served; by default on port 3478, or the next that is free.
    pub tcp: Option<SocketAddr>,
    /// Where TURN over TLS is served; by default on port 5349, or the next that is free.
    pub tls: Option<SocketAddr>,
    /// The ports of relayed addresses.
    pub ports: RangeInclusive<u16>,
    /// Whether to relay to private addresses, and to this machine.
    pub allow_private: bool,
    /// Bounds.
    pub limits: Limits,
    /// How long credentials work.
    pub lifetime: Duration,
    /// How long a TCP connection may be there without an allocation, or take nothing of what is sent to it.
    pub idle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            relays: Vec::new(),
            tcp: None,
            tls: None,
            ports: 49_152..=65_535,
            allow_private: false,
            limits: Limits::default(),
            lifetime: Duration::from_secs(12 * 3600),
            idle: Duration::from_secs(10),
        }
    }
}

/// The listeners, bound and not yet served.
pub(crate) struct Listeners {
    udp: UdpSocket,
    reading: Arc<Reading>,
    tcp: Option<(TcpListener, TcpListener)>,
    relays: Vec<IpAddr>,
    own: Vec<IpAddr>,
}

impl Listeners {
    /// Opens what `config` says beside the node's own port, on the socket that answers STUN. Nothing takes the TCP ports that
    /// were `chosen`, unless it was chosen for it.
    pub(crate) fn open(
        config: &Config,
        udp: UdpSocket,
        beside: SocketAddr,
        hosts: &[String],
        picks: bool,
        chosen: &BTreeSet<u16>,
    ) -> Result<Self, StartError> {
        link::quic::enlarge(&udp);
        let relays =
            if config.relays.is_empty() { ports::announced(beside.ip(), hosts) } else { config.relays.clone() };
        let own = ports::own(beside.ip(), hosts);
        let tcp = if config.enabled {
            let preferred = |port| if picks { 0 } else { port };
            let tcp = listen(config.tcp, beside.ip(), preferred(TCP_PORT), chosen)?;
            Some((tcp, listen(config.tls, beside.ip(), preferred(TLS_PORT), chosen)?))
        } else {
            None
        };
        Ok(Self { udp, reading: Arc::default(), tcp, relays, own })
    }

    /// Whether the UDP socket can be read.
    pub(crate) fn reading(&self) -> Arc<Reading> {
        self.reading.clone()
    }

    /// The port on which STUN is answered.
    pub(crate) fn stun_port(&self) -> u16 {
        self.udp.local_addr().map_or(0, |at| at.port())
    }

    /// Where TURN is served, if it is.
    pub(crate) fn ports(&self) -> Option<Ports> {
        let (tcp, tls) = self.tcp.as_ref()?;
        let port = |listener: &TcpListener| listener.local_addr().ok().map(|at| at.port());
        Some(Ports { udp: Some(self.stun_port()), tcp: port(tcp), tls: port(tls) })
    }

    /// Serves until the node stops.
    pub(crate) fn serve(
        self,
        tasks: &mut JoinSet<()>,
        config: &Config,
        issuer: Issuer,
        certificate: &Certificate,
        admission: Admission,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Arc<Turn>, StartError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| StartError::Randomness)?;
        let rules = server::Config {
            relays: self.relays,
            own: self.own,
            allow_private: config.allow_private,
            limits: if config.enabled { config.limits } else { Limits { allocations: 0, ..config.limits } },
        };
        let state = State {
            server: Server::new(rules, issuer, Seed::new(seed)),
            relays: BTreeMap::new(),
            streams: BTreeMap::new(),
            out: Vec::new(),
        };
        let speaks_ipv6 = self.udp.local_addr().is_ok_and(|at| at.is_ipv6());
        let (ports, idle) = (config.ports.clone(), config.idle);
        let turn =
            Arc::new(Turn { state: Mutex::new(state), udp: self.udp, reading: self.reading, speaks_ipv6, ports, idle });
        tasks.spawn(until(stopping.clone(), turn.clone().datagrams()));
        let ends = Ends(turn.clone());
        let mut stops = stopping.clone();
        tasks.spawn(async move { ends.0.sweep(&mut stops).await });
        if let Some((tcp, tls)) = self.tcp {
            let acceptor = tokio_rustls::TlsAcceptor::from(certificate.turn_server()?);
            tasks.spawn(stream::serve(turn.clone(), tcp, None, admission.clone(), stopping.clone()));
            tasks.spawn(stream::serve(turn.clone(), tls, Some(acceptor), admission, stopping.clone()));
        }
        Ok(turn)
    }
}

/// Where the operator said, or on the customary port, or on any that nobody asked for.
fn listen(
    explicit: Option<SocketAddr>,
    ip: IpAddr,
    preferred: u16,
    chosen: &BTreeSet<u16>,
) -> Result<TcpListener, StartError> {
    let failed = |at: SocketAddr| move |source| StartError::Listen { at: at.to_string(), source };
    if let Some(at) = explicit {
        return admission::listen(at).map_err(failed(at));
    }
    if !chosen.contains(&preferred)
        && let Ok(listener) = admission::listen((ip, preferred).into())
    {
        return Ok(listener);
    }
    admission::listen((ip, 0).into()).map_err(failed((ip, 0).into()))
}

/// The server and its sockets.
pub(crate) struct Turn {
    state: Mutex<State>,
    udp: UdpSocket,
    reading: Arc<Reading>,
    /// Whether that is an IPv6 socket. Asking it for each packet would cost as much as half a packet.
    speaks_ipv6: bool,
    ports: RangeInclusive<u16>,
    idle: Duration,
}

struct State {
    server: Server,
    relays: BTreeMap<Relay, RelaySocket>,
    /// Where frames for the client of a connection go.
    streams: BTreeMap<u64, mpsc::Sender<Vec<u8>>>,
    /// Kept for its room.
    out: Vec<Output>,
}

struct RelaySocket {
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
}

impl Drop for RelaySocket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A buffer with room before and behind a packet.
fn buffer() -> Vec<u8> {
    vec![0; HEADROOM + DATAGRAM + 1 + TAILROOM]
}

/// Reads one datagram into the middle of a buffer. One that is longer than any we relay is read as none at all.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(Range<usize>, SocketAddr)> {
    let room = buffer.get_mut(HEADROOM..HEADROOM + DATAGRAM + 1).unwrap_or_default();
    let (length, from) = socket.try_recv_from(room)?;
    let length = if length > DATAGRAM { 0 } else { length };
    Ok((HEADROOM..HEADROOM + length, SocketAddr::new(from.ip().to_canonical(), from.port())))
}

/// Ends the readers of relay sockets with the task that holds it, however that ends: they hold what holds them.
struct Ends(Arc<Turn>);

impl Drop for Ends {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.relays.clear();
        state.streams.clear();
    }
}

impl Turn {
    /// What it has done and has in hand.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().server.counts()
    }

    /// Serves these no more.
    pub(crate) fn bar(&self, barred: BTreeSet<Holder>) {
        let mut state = self.lock();
        let mut out = std::mem::take(&mut state.out);
        state.server.bar(barred, &mut out);
        self.discard(&mut state, &mut out);
        state.out = out;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst one allocation in disorder.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sweep(&self, stopping: &mut watch::Receiver<bool>) {
        let mut sweeps = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                _ = sweeps.tick() => {}
            }
            let mut state = self.lock();
            let mut out = std::mem::take(&mut state.out);
            state.server.tick(clock::now().tick, &mut out);
            self.discard(&mut state, &mut out);
            state.out = out;
        }
    }

    /// Serves the UDP socket.
    async fn datagrams(self: Arc<Self>) {
        let mut buffer = buffer();
        loop {
            let ready = self.udp.readable().await;
            let read = ready.and_then(|()| {
                receive_all(
                    &mut buffer,
                    |buffer| receive(&self.udp, buffer),
                    |buffer, data, address| {
                        self.from_client(Client { address, via: Via::Datagram(0) }, buffer, data);
                    },
                )
            });
            self.reading.note(read).await;
        }
    }

    /// A packet of a client lies in `buffer` at `packet`, with room around it.
    fn from_client(self: &Arc<Self>, client: Client, buffer: &mut [u8], packet: Range<usize>) {
        let Some(octets) = buffer.get(packet.clone()) else { return };
        let now = clock::now();
        let mut state = self.lock();
        let mut out = std::mem::take(&mut state.out);
        let forward = state.server.from_client(now, client, octets, &mut out);
        self.perform(&mut state, &mut out);
        state.out = out;
        let Some(Forward { relay, peer, data, inside }) = forward else { return };
        let data = packet.start + data.start..packet.start + data.end;
        if let Some((other, relayed)) = inside {
            if let Some((to, packet)) = state.server.from_peer(now.tick, other, relayed, buffer, data) {
                self.send(state, to, buffer, packet);
            }
            return;
        }
        let Some(socket) = state.relays.get(&relay).map(|relay| relay.socket.clone()) else { return };
        drop(state);
        if let Some(data) = buffer.get(data) {
            // A full send buffer drops the packet, as the network may.
            drop(socket.try_send_to(data, peer));
        }
    }

    /// Serves a relay socket.
    async fn peer_packets(self: Arc<Self>, relay: Relay, socket: Arc<UdpSocket>) {
        let mut buffer = buffer();
        let reading = Reading::default();
        loop {
            let ready = socket.readable().await;
            let read = ready.and_then(|()| {
                receive_all(
                    &mut buffer,
                    |buffer| receive(&socket, buffer),
                    |buffer, data, peer| {
                        let now = clock::now().tick;
                        let mut state = self.lock();
                        if let Some((to, packet)) = state.server.from_peer(now, relay, peer, buffer, data) {
                            self.send(state, to, buffer, packet);
                        }
                    },
                )
            });
            reading.note(read).await;
        }
    }

    /// Sends a packet to a client; lets go of the lock first.
    fn send(&self, state: MutexGuard<'_, State>, to: Client, buffer: &[u8], packet: Range<usize>) {
        let Some(packet) = buffer.get(packet) else { return };
        match to.via {
            Via::Datagram(_) => {
                drop(state);
                self.send_datagram(to.address, packet);
            }
            Via::Stream(stream) => {
                // A full queue drops the packet: what waits for a slow reader is late anyway.
                if let Some(queue) = state.streams.get(&stream) {
                    drop(queue.try_send(packet.to_vec()));
                }
            }
        }
    }

    fn send_datagram(&self, to: SocketAddr, packet: &[u8]) {
        drop(self.udp.try_send_to(packet, self.as_dialled(to)));
    }

    /// An address as the UDP socket wants it: one that serves both families knows IPv4 in IPv6 form.
    fn as_dialled(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.speaks_ipv6 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            _ => to,
        }
    }

    fn perform(self: &Arc<Self>, state: &mut State, out: &mut Vec<Output>) {
        // Only what is bound leads to more, and only once.
        while let Some(at) = out.iter().position(|output| matches!(output, Output::Bind(..))) {
            let Output::Bind(client, wants) = out.remove(at) else { continue };
            let ports: Vec<Option<u16>> = wants.iter().map(|want| self.open(state, want)).collect();
            state.server.bound(clock::now(), client, &ports, out);
        }
        self.discard(state, out);
    }

    /// Performs what needs no socket to be opened.
    fn discard(&self, state: &mut State, out: &mut Vec<Output>) {
        for output in out.drain(..) {
            match output {
                Output::Send(client, message) => match client.via {
                    Via::Datagram(_) => self.send_datagram(client.address, &message),
                    Via::Stream(stream) => {
                        if let Some(queue) = state.streams.get(&stream) {
                            drop(queue.try_send(message));
                        }
                    }
                },
                Output::Close(relay) => drop(state.relays.remove(&relay)),
                Output::Gone(Client { via: Via::Stream(stream), .. }) => drop(state.streams.remove(&stream)),
                Output::Gone(_) | Output::Bind(..) => {}
            }
        }
    }

    /// Opens a relay socket, and the reserved one beside it.
    fn open(self: &Arc<Self>, state: &mut State, want: &server::Want) -> Option<u16> {
        let (port, sockets) = ports::bind(want.ip, &self.ports, want.even, want.next.is_some())?;
        for (relay, socket) in [Some(want.relay), want.next].into_iter().flatten().zip(sockets) {
            let socket = Arc::new(socket);
            let reader = tokio::spawn(self.clone().peer_packets(relay, socket.clone())).abort_handle();
            state.relays.insert(relay, RelaySocket { socket, reader });
        }
        Some(port)
    }
}

/// The unspecified address of the same family.
const fn any(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
