//! One call's packets: SDP, ICE, DTLS-SRTP and RTP, after `04-webrtc-binding.md`.
//!
//! ```text
//!   Offer::new ──► Offer ──accept──► Call          caller: an answer that was verified
//!   Offered::new ─► Offered ─accept─► Answer ──activate──► Call      callee: an answer that was signed and sent
//! ```
//!
//! Only [`Call`] has `poll`, so only a [`Call`] can emit a datagram, and a [`Call`] is made only in exchange for a
//! [`Permit`]: the proof that a signed answer stands (WEB-90). [`Offer`] and [`Answer`] merely collect candidates.
//!
//! An offer cannot be made to send:
//!
//! ```compile_fail
//! # use dsip_media::call::{Config, Direction, Offer, Origin};
//! # fn f(config: Config, now: dsip_proto::time::Tick) {
//! let (mut offer, description) = Offer::new(config, now, Direction::SendRecv, &[]);
//! offer.poll(); // no method named `poll`
//! # }
//! ```
//!
//! The WebRTC engine inside is str0m. It wants to be drained after each mutation, and it is, here: commands and inputs
//! are legal at any time and in any order, and what results waits in a bounded queue for [`Call::poll`].
//!
//! What is deliberately not here: the checks of a peer's SDP against its descriptors (they belong to the protocol and
//! precede this module), audio (see [`crate::voice`]), and ICE restarts, which core 1.0 forbids (WEB-88).

mod clock;
mod engine;
mod path;
mod sdp;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use dsip_proto::time::Tick;
use serde::{Deserialize, Serialize};

pub use clock::Origin;
pub use engine::prepare;

use engine::{Engine, Happening};
use path::{Dead, Paths};

/// How long media may take to connect, and how long it may stay away, before the call is lost. 04 §13 demands at least
/// 30 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How many outputs may wait for [`Call::poll`]. Datagrams beyond it are dropped, oldest first: they are late anyway.
const OUTBOX: usize = 1024;

/// How many remote candidates one call takes in, over its whole life (WEB-97 asks for at least 128 per description).
const REMOTE_CANDIDATES: usize = 512;

/// How long nothing at all may come from the peer before the path counts as lost. Checks alone come every second, so this is
/// the consent that RFC 7675 speaks of, noticed sooner than its 30 s.
const SILENCE: Duration = Duration::from_secs(5);

/// How often lost pairs are tried anew while a call has no path.
const RETRY: Duration = Duration::from_secs(2);

/// The direction of an audio stream, seen from the side that says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// This side only talks.
    SendOnly,
    /// This side only listens: screening (WEB-105), or being on hold.
    RecvOnly,
    /// Neither: on hold both ways.
    Inactive,
}

impl Direction {
    /// Whether this side sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether this side receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same stream seen from the other side.
    #[must_use]
    pub const fn invert(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }

    /// The widest answer to this offered direction that does not exceed `wish` (NEG-4).
    #[must_use]
    pub const fn answer(self, wish: Self) -> Self {
        let (sends, receives) = (self.receives() && wish.sends(), self.sends() && wish.receives());
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    const fn token(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// One codec of a media descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codec {
    /// The codec's DSIP id, e.g. `codec:audio/opus`.
    pub id: String,
}

/// One element of `media[]`: what is exchanged, in DSIP's own terms (WEB-110). Members this module has no use for are
/// not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// `audio`, `video`, `text` or `application`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which way, seen from the description's author.
    pub direction: Direction,
    /// The codecs offered, or the one selected.
    pub codecs: Vec<Codec>,
    /// Tells descriptors of one type apart (WEB-111).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// The id of the one codec every endpoint has (WEB-38).
pub const OPUS: &str = "codec:audio/opus";

impl Descriptor {
    /// An Opus audio stream.
    #[must_use]
    pub fn audio(direction: Direction) -> Self {
        Self { kind: "audio".into(), direction, codecs: vec![Codec { id: OPUS.into() }], purpose: None }
    }

    fn is_our_audio(&self) -> bool {
        self.kind == "audio" && self.codecs.iter().any(|codec| codec.id == OPUS)
    }
}

/// An offer or an answer: the SDP for `transports[].sdp` and the descriptors for `media[]` that agree with it (WEB-10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The whole SDP, CRLF line ends.
    pub sdp: String,
    /// The descriptors, one for each live section, in order.
    pub media: Vec<Descriptor>,
}

/// A candidate to be trickled in `info` (WEB-50).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The attribute value, beginning `candidate:`.
    pub candidate: String,
    /// The section it belongs to: always the first, which carries the bundle (WEB-53).
    pub sdp_mid: String,
}

/// What a call is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ties the driver's ticks to the engine's notion of time.
    pub origin: Origin,
    /// How long media may stay unconnected; raised to [`CONNECT_TIMEOUT`] if shorter.
    pub connect_timeout: Duration,
}

impl Config {
    /// The defaults, on a driver's clock.
    #[must_use]
    pub const fn new(origin: Origin) -> Self {
        Self { origin, connect_timeout: CONNECT_TIMEOUT }
    }
}

/// The proof that a signed answer stands, without which no packet may leave (WEB-90).
///
/// The agent issues one when it accepted a verified answer, or has handed out its own signed answer for sending (WEB-77);
/// `Permit::from` takes it over. It is neither cloned nor stored: activating a call consumes it.
#[derive(Debug)]
#[must_use = "a permit is spent by activating the call it was issued for"]
pub struct Permit(());

impl From<dsip_proto::agent::Permit> for Permit {
    fn from(_: dsip_proto::agent::Permit) -> Self {
        Self(())
    }
}

impl Permit {
    /// States on the caller's own responsibility that the session is ACTIVE: for tests, and for an embedder that runs the
    /// session engine without the agent. Whoever has an agent has no use for it.
    pub const fn session_is_active() -> Self {
        Self(())
    }
}

/// Why a description was not made or not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer's SDP cannot be used.
    #[error("unusable SDP: {0}")]
    Sdp(String),
    /// The offer holds no audio section with Opus.
    #[error("the offer has no Opus audio")]
    NoAudio,
    /// The description would restart ICE (WEB-88).
    #[error("ice-restart")]
    IceRestart,
    /// An answer came although nothing was offered, or a second offer while one is outstanding (WEB-84).
    #[error("no offer is outstanding, or one is already")]
    Glare,
}

/// An offer made and not yet answered. It cannot emit a packet.
#[derive(Debug)]
pub struct Offer {
    engine: Engine,
    pending: engine::Pending,
    config: Config,
    direction: Direction,
}

impl Offer {
    /// Makes an offer of one Opus audio stream. `locals` are the sockets known already; their host candidates are inlined
    /// (WEB-43).
    #[must_use]
    pub fn new(config: Config, now: Tick, direction: Direction, locals: &[SocketAddr]) -> (Self, Description) {
        let mut engine = Engine::new(config.origin, now);
        for local in locals {
            engine.add_local(*local);
        }
        let (sdp, pending) = engine.offer(direction);
        let description = Description { sdp, media: vec![Descriptor::audio(direction)] };
        (Self { engine, pending, config, direction }, description)
    }

    /// Adds a socket; returns its candidate for trickling unless it is already known or unusable.
    pub fn add_local(&mut self, local: SocketAddr) -> Option<Candidate> {
        self.engine.add_local(local)
    }

    /// Adds how a STUN server sees the socket at `base`; returns the candidate for trickling.
    pub fn add_reflexive(&mut self, seen: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        self.engine.add_reflexive(seen, base)
    }

    /// Adds an address at a TURN server; returns the candidate for trickling. Packets from and to it go through the server.
    pub fn add_relayed(&mut self, relayed: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        self.engine.add_relayed(relayed, base)
    }

    /// Applies the answer that was verified and accepted, and opens the packet plane.
    ///
    /// # Errors
    /// When the answer's SDP is unusable. The offer is spent: the leg ends with `bye` `media.failed`.
    pub fn accept(mut self, now: Tick, answer: &str, _permit: Permit) -> Result<Call, Error> {
        self.engine.accept_answer(now, self.pending, answer)?;
        let direction = sdp::direction_of_audio(answer).unwrap_or(Direction::SendRecv).invert();
        let both = Direction::SendRecv.answer(direction);
        let direction = self.direction.invert().answer(both);
        Ok(Call::open(self.engine, self.config, now, direction))
    }
}

/// A peer's offer that rings. Nothing has been answered; it cannot emit a packet, and the engine has not started.
#[derive(Debug)]
pub struct Offered {
    engine: Engine,
    config: Config,
    offer: Description,
}

impl Offered {
    /// Takes in an offer that passed the protocol's checks.
    ///
    /// # Errors
    /// [`Error::NoAudio`] when it has no Opus audio.
    pub fn new(config: Config, now: Tick, offer: Description) -> Result<Self, Error> {
        if !offer.media.iter().any(Descriptor::is_our_audio) {
            return Err(Error::NoAudio);
        }
        Ok(Self { engine: Engine::new(config.origin, now), config, offer })
    }

    /// Adds a socket; returns its candidate, which is inlined in the answer if the answer is yet to be made.
    pub fn add_local(&mut self, local: SocketAddr) -> Option<Candidate> {
        self.engine.add_local(local)
    }

    /// Adds how a STUN server sees the socket at `base`.
    pub fn add_reflexive(&mut self, seen: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        self.engine.add_reflexive(seen, base)
    }

    /// Makes the answer: the first Opus audio stream at most as wide as `wish`, everything else turned down (WEB-14).
    ///
    /// # Errors
    /// When the offer's SDP is unusable.
    pub fn answer(mut self, now: Tick, wish: Direction) -> Result<(Answer, Description), Error> {
        let (answer, direction) = answer(&mut self.engine, now, &self.offer, wish)?;
        Ok((Answer { engine: self.engine, config: self.config, direction }, answer))
    }
}

/// An answer made and not yet sent. It cannot emit a packet.
#[derive(Debug)]
pub struct Answer {
    engine: Engine,
    config: Config,
    direction: Direction,
}

impl Answer {
    /// Adds a socket; returns its candidate for trickling.
    pub fn add_local(&mut self, local: SocketAddr) -> Option<Candidate> {
        self.engine.add_local(local)
    }

    /// Adds how a STUN server sees the socket at `base`; returns the candidate for trickling.
    pub fn add_reflexive(&mut self, seen: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        self.engine.add_reflexive(seen, base)
    }

    /// Adds an address at a TURN server; returns the candidate for trickling. Packets from and to it go through the server.
    pub fn add_relayed(&mut self, relayed: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        self.engine.add_relayed(relayed, base)
    }

    /// Opens the packet plane, the signed answer having been sent.
    #[must_use]
    pub fn activate(self, now: Tick, _permit: Permit) -> Call {
        Call::open(self.engine, self.config, now, self.direction)
    }
}

fn answer(
    engine: &mut Engine,
    now: Tick,
    offer: &Description,
    wish: Direction,
) -> Result<(Description, Direction), Error> {
    let (section, offered) =
        offer.media.iter().enumerate().find(|(_, media)| media.is_our_audio()).ok_or(Error::NoAudio)?;
    let direction = offered.direction.answer(wish);
    // The engine answers whatever it is offered, so it is offered only what we want to answer.
    let narrowed = sdp::narrow(&offer.sdp, section, direction.invert());
    let sdp = engine.accept_offer(now, &narrowed)?;
    let media = vec![Descriptor { purpose: offered.purpose.clone(), ..Descriptor::audio(direction) }];
    Ok((Description { sdp, media }, direction))
}

/// A datagram that arrived, as the driver's socket saw it.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// The address of the socket it arrived at, as given to `add_local`.
    pub destination: SocketAddr,
    /// The bytes.
    pub payload: &'a [u8],
}

/// An audio frame that arrived, in the order of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The sequence number, extended: it does not wrap.
    pub seq: u64,
    /// The media time, extended, at 48 kHz.
    pub time: u64,
    /// The encoded audio.
    pub payload: Vec<u8>,
}

/// What the other side and the path report about the stream (RTCP, STUN).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Link {
    /// The round trip, by RTCP or else by connectivity checks.
    pub round_trip: Option<Duration>,
    /// The share of our packets that the peer did not get, 0 to 1, by its last reports.
    pub loss: Option<f32>,
    /// Where packets go from and to.
    pub path: Option<(SocketAddr, SocketAddr)>,
    /// Whether either end of the path is at a TURN server.
    pub relayed: bool,
}

/// Why a call's media ended without anybody hanging up. Each calls for `bye` `media.failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The certificate was not the one that the signed SDP names (WEB-91).
    Fingerprint,
    /// No path came about, or none came back, within the connectivity timeout.
    Connectivity,
    /// The engine gave up, e.g. over a broken handshake.
    Engine(String),
}

/// What happened to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// ICE and DTLS are through: audio flows. Once per call.
    Connected,
    /// An audio frame.
    Frame(Frame),
    /// A periodic report.
    Link(Link),
    /// The path was lost; the call goes on trying.
    Interrupted,
    /// A path was found again.
    Resumed,
    /// The peer closed its side. `bye` decides; this merely hints.
    Closed,
    /// The call is over.
    Failed(Failure),
}

/// What [`Call::poll`] answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this from the socket at `source`.
    Transmit {
        /// The address of the sending socket, as given to `add_local`.
        source: SocketAddr,
        /// Where to.
        destination: SocketAddr,
        /// The bytes.
        payload: Vec<u8>,
    },
    /// Something happened.
    Event(Event),
    /// Nothing left. Call [`Call::tick`] at `wake`, or earlier if anything comes in.
    Idle {
        /// The next deadline.
        wake: Tick,
    },
}

/// An open call: the only thing that emits packets.
#[derive(Debug)]
pub struct Call {
    engine: Engine,
    outbox: VecDeque<Output>,
    wake: Tick,
    paths: Paths,
    state: State,
    direction: Direction,
    renegotiation: Renegotiation,
    connect_timeout: Duration,
    last_heard: Tick,
    remote_candidates: usize,
    link: Link,
}

/// Whether packets get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never connected, since.
    Connecting { since: Tick },
    /// ICE has a pair and DTLS is through.
    Connected,
    /// Was connected; nothing heard since, and lost pairs were last retried at `retried`.
    Interrupted { since: Tick, retried: Tick },
    /// Failed or closed.
    Over,
}

/// Our own outstanding offer, if any.
#[derive(Debug)]
enum Renegotiation {
    None,
    Offered { pending: engine::Pending, wanted: Direction },
}

impl Call {
    fn open(engine: Engine, config: Config, now: Tick, direction: Direction) -> Self {
        let mut call = Self {
            engine,
            outbox: VecDeque::new(),
            wake: now,
            paths: Paths::default(),
            state: State::Connecting { since: now },
            direction,
            renegotiation: Renegotiation::None,
            connect_timeout: config.connect_timeout.max(CONNECT_TIMEOUT),
            last_heard: now,
            remote_candidates: 0,
            link: Link::default(),
        };
        call.tick(now);
        call
    }

    /// Which way audio flows, as last negotiated.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether audio can be sent now.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.state == State::Connected && self.direction.sends()
    }

    /// Whether the peer would rather not receive silence; if not, every frame must be sent.
    #[must_use]
    pub const fn peer_wants_dtx(&self) -> bool {
        self.engine.peer_wants_dtx()
    }

    /// Takes in a datagram. Whatever is not for this call, or is broken, is dropped without a trace to the peer.
    pub fn handle(&mut self, now: Tick, datagram: Datagram<'_>) {
        if self.state == State::Over {
            return;
        }
        let Some(kind) = self.engine.classify(now, datagram) else { return };
        // Only an authenticated connectivity check makes an address known, so a stranger's packets cost a table look-up and
        // never reach the handshake.
        if kind == engine::Kind::Media && !self.paths.knows(datagram.source) {
            return;
        }
        self.paths.heard(now, datagram.destination, datagram.source);
        self.last_heard = now;
        if matches!(self.state, State::Interrupted { .. }) {
            self.state = State::Connected;
            self.push(Output::Event(Event::Resumed));
        }
        self.engine.receive(now, datagram);
        self.drain(now);
    }

    /// Tells the time. To be called at the wake time [`Output::Idle`] named.
    pub fn tick(&mut self, now: Tick) {
        if self.state == State::Over {
            return;
        }
        // The engine keeps a dead pair for half a minute; a conversation cannot wait that long when another pair works.
        match self.paths.stale(now) {
            Some(Dead::Remote(remote)) => self.engine.doubt_remote(remote),
            Some(Dead::Local(local)) => self.engine.doubt_local(local),
            None => {}
        }
        match self.state {
            State::Connecting { since } | State::Interrupted { since, .. }
                if now.since(since) >= self.connect_timeout =>
            {
                self.fail(Failure::Connectivity);
                return;
            }
            State::Connected if now.since(self.last_heard) >= SILENCE => {
                self.state = State::Interrupted { since: self.last_heard, retried: now };
                self.engine.retry_remotes();
                self.push(Output::Event(Event::Interrupted));
            }
            State::Interrupted { since, retried } if now.since(retried) >= RETRY => {
                self.engine.retry_remotes();
                self.state = State::Interrupted { since, retried: now };
            }
            _ => {}
        }
        self.engine.tick(now);
        self.drain(now);
    }

    /// What to do next. Call it until it says [`Output::Idle`].
    pub fn poll(&mut self) -> Output {
        self.outbox.pop_front().unwrap_or(Output::Idle { wake: self.wake })
    }

    /// Sends one encoded audio frame that began at `time` (48 kHz). Refuses, saying `false`, while audio cannot be sent.
    pub fn send(&mut self, now: Tick, time: u32, marker: bool, payload: &[u8]) -> bool {
        if !self.can_send() {
            return false;
        }
        let sent = self.engine.send(now, time, marker, payload);
        self.drain(now);
        sent
    }

    /// Takes in a candidate that the peer trickled (WEB-72). Refuses, saying `false`, what is not one.
    pub fn add_remote_candidate(&mut self, now: Tick, candidate: &str) -> bool {
        if self.state == State::Over || self.remote_candidates >= REMOTE_CANDIDATES {
            return false;
        }
        self.remote_candidates += 1;
        let known = self.engine.add_remote(candidate);
        self.drain(now);
        known
    }

    /// Adds a socket, e.g. after a change of network; returns its candidate for trickling. Checks go out from it at once,
    /// so the peer learns the new address from them even if it takes no more candidates (WEB-70).
    pub fn add_local(&mut self, now: Tick, local: SocketAddr) -> Option<Candidate> {
        let candidate = self.engine.add_local(local);
        self.drain(now);
        candidate
    }

    /// Adds how a STUN server sees the socket at `base`; returns the candidate for trickling.
    pub fn add_reflexive(&mut self, now: Tick, seen: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        let candidate = self.engine.add_reflexive(seen, base);
        self.drain(now);
        candidate
    }

    /// Adds an address at a TURN server; returns the candidate for trickling. Packets from and to it go through the server.
    pub fn add_relayed(&mut self, now: Tick, relayed: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        let candidate = self.engine.add_relayed(relayed, base);
        self.drain(now);
        candidate
    }

    /// Forgets a socket whose address is gone. Packets move to another pair as soon as one works.
    pub fn remove_local(&mut self, now: Tick, local: SocketAddr) {
        self.engine.drop_local(local);
        self.paths.forget_local(local);
        self.drain(now);
    }

    /// Makes an offer for an `update` that asks for `direction`: hold, resume, or the end of screening. ICE credentials and
    /// fingerprint stay (WEB-83). Nothing changes until the answer comes.
    ///
    /// # Errors
    /// [`Error::Glare`] while an offer is outstanding (WEB-84).
    pub fn offer(&mut self, now: Tick, direction: Direction) -> Result<Description, Error> {
        if matches!(self.renegotiation, Renegotiation::Offered { .. }) {
            return Err(Error::Glare);
        }
        let (sdp, pending) = self.engine.reoffer(direction, self.direction).ok_or(Error::Glare)?;
        self.renegotiation = Renegotiation::Offered { pending, wanted: direction };
        self.drain(now);
        Ok(Description { sdp, media: vec![Descriptor::audio(direction)] })
    }

    /// Applies the answer to our outstanding offer.
    ///
    /// # Errors
    /// When nothing is outstanding or the SDP is unusable; in the latter case the offer is rolled back.
    pub fn accept(&mut self, now: Tick, answer: &str) -> Result<(), Error> {
        let Renegotiation::Offered { pending, wanted } =
            std::mem::replace(&mut self.renegotiation, Renegotiation::None)
        else {
            return Err(Error::Glare);
        };
        let result = self.engine.accept_answer(now, pending, answer);
        match &result {
            Ok(()) => {
                let theirs = sdp::direction_of_audio(answer).unwrap_or(Direction::SendRecv);
                self.direction = theirs.answer(wanted);
            }
            Err(_) => self.engine.roll_back(self.direction),
        }
        self.drain(now);
        result
    }

    /// Takes our outstanding offer back, after a `reject` or when the peer's `update` won the glare (WEB-85).
    pub fn roll_back(&mut self, now: Tick) {
        if let Renegotiation::Offered { .. } = std::mem::replace(&mut self.renegotiation, Renegotiation::None) {
            self.engine.roll_back(self.direction);
            self.drain(now);
        }
    }

    /// Answers a peer's `update` with at most `wish`. Nothing is touched if it is refused (WEB-86).
    ///
    /// # Errors
    /// [`Error::IceRestart`] when credentials changed (WEB-88), [`Error::Glare`] while an offer of ours is outstanding.
    pub fn answer(&mut self, now: Tick, offer: &Description, wish: Direction) -> Result<Description, Error> {
        if matches!(self.renegotiation, Renegotiation::Offered { .. }) {
            return Err(Error::Glare);
        }
        let (answer, direction) = answer(&mut self.engine, now, offer, wish)?;
        self.direction = direction;
        self.drain(now);
        Ok(answer)
    }

    /// Says goodbye to the peer's transport, after `bye`. What is to be sent is in [`Call::poll`]; nothing follows it.
    pub fn close(&mut self, now: Tick) {
        if self.state != State::Over {
            self.engine.close();
            self.drain(now);
            self.state = State::Over;
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Over;
        self.push(Output::Event(Event::Failed(failure)));
    }

    fn push(&mut self, output: Output) {
        if self.outbox.len() >= OUTBOX {
            let oldest = self.outbox.iter().position(|queued| matches!(queued, Output::Transmit { .. }));
            self.outbox.remove(oldest.unwrap_or(0));
        }
        self.outbox.push_back(output);
    }

    /// Empties the engine into the outbox. Follows every mutation.
    fn drain(&mut self, now: Tick) {
        loop {
            match self.engine.poll() {
                Happening::Transmit { source, destination, payload } => {
                    self.paths.sent(now, source, destination, &payload);
                    self.push(Output::Transmit { source, destination, payload });
                }
                Happening::Connected => {
                    if matches!(self.state, State::Connecting { .. }) {
                        self.state = State::Connected;
                        self.last_heard = now;
                        self.push(Output::Event(Event::Connected));
                    }
                }
                Happening::Frame(frame) => {
                    if self.direction.receives() {
                        self.push(Output::Event(Event::Frame(frame)));
                    }
                }
                Happening::Loss(loss) => self.link.loss = Some(loss),
                Happening::Report { round_trip, path, relayed } => {
                    self.link.round_trip = round_trip.or(self.link.round_trip);
                    self.link.path = path;
                    self.link.relayed = relayed;
                    self.push(Output::Event(Event::Link(self.link)));
                }
                Happening::Closed => self.push(Output::Event(Event::Closed)),
                Happening::Failed(failure) => {
                    self.fail(failure);
                    return;
                }
                Happening::Idle(wake) => {
                    self.wake = self.deadline(now).map_or(wake, |deadline| deadline.min(wake));
                    return;
                }
            }
        }
    }

    /// Our own next deadline, besides the engine's.
    fn deadline(&self, now: Tick) -> Option<Tick> {
        let state = match self.state {
            State::Connecting { since } => Some(since + self.connect_timeout),
            State::Interrupted { since, retried } => Some((since + self.connect_timeout).min(retried + RETRY)),
            State::Connected => Some(self.last_heard + SILENCE),
            State::Over => None,
        };
        [state, self.paths.deadline(now)].into_iter().flatten().min()
    }
}
