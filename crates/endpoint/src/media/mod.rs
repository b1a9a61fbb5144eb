//! A call's media on real sockets: drives [`dsip_media::call`] and the audio around it.
//!
//! ```text
//!  caller                                   callee
//!  Session::offer ─► description, invite    Session::answer(offer) ─► description, answer
//!  activate(Activation::Answered{sdp})      activate(Activation::Answering)
//! ```
//!
//! A [`Session`] is a handle on one task. Until it is activated the task holds a type that cannot emit a packet to the peer;
//! it only binds sockets, asks STUN servers how they look from outside, and TURN servers for an address (WEB-90). From then on it paces the audio, records
//! what comes in, follows changes of the machine's addresses, and reports in [`Event`]s.

mod driver;
mod network;
mod reach;
mod relays;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dsip_media::call::{self, Permit};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::audio::{Sink, Source};
use crate::turn::{Secure, Via};

pub use dsip_media::call::{Candidate, Codec, Description, Descriptor, Direction, Failure};
pub use dsip_media::stats::{Path, Report};
pub use dsip_proto::turn::Ports;
pub use network::Addresses;
pub use reach::Reach;
pub use relays::Attempts;

/// Events waiting for the owner. Beyond it reports are dropped, and nothing else is frequent.
const EVENTS: usize = 256;

/// Commands waiting for the task.
const COMMANDS: usize = 64;

/// A TURN server, the ways to it, and what it knows us by.
#[derive(Clone)]
pub struct TurnServer {
    /// Where it is.
    pub address: IpAddr,
    /// The ports on which it is spoken to.
    pub ports: Ports,
    /// What its certificate has to show. Without that it is not spoken to over TLS.
    pub secure: Option<Secure>,
    /// Our name there.
    pub username: String,
    /// What proves it.
    pub password: String,
}

impl TurnServer {
    fn port(&self, via: Via) -> Option<u16> {
        match via {
            Via::Udp => self.ports.udp,
            Via::Tcp => self.ports.tcp,
            Via::Tls => self.ports.tls.filter(|_| self.secure.is_some()),
        }
    }

    /// The ways there are, in the order in which they are tried.
    fn ways(&self) -> impl Iterator<Item = Via> + '_ {
        Via::ALL.into_iter().filter(|via| self.port(*via).is_some())
    }

    fn at(&self, via: Via) -> SocketAddr {
        SocketAddr::new(self.address, self.port(via).unwrap_or_default())
    }
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnServer").field("address", &self.address).field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// How a session is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which of this machine's addresses take part.
    pub addresses: Addresses,
    /// STUN servers to ask for server-reflexive candidates.
    pub stun: Vec<SocketAddr>,
    /// TURN servers that relay for us where no direct path is found.
    pub turn: Vec<TurnServer>,
    /// How long media may take to connect; at least 30 s.
    pub connect_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: Addresses::default(),
            stun: Vec::new(),
            turn: Vec::new(),
            connect_timeout: call::CONNECT_TIMEOUT,
        }
    }
}

/// What happens to a session's media.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A candidate to trickle in `info`; those gathered before the description are in it already.
    LocalCandidate(Candidate),
    /// No more candidates will be gathered on the present networks.
    GatheringComplete,
    /// Audio flows.
    Connected,
    /// The path was lost; the session goes on trying.
    Interrupted,
    /// A path was found again.
    Resumed,
    /// The source has nothing more to say.
    SourceEnded,
    /// The figures so far, about once a second.
    Stats(Report),
    /// The peer's transport closed; `bye` decides.
    Closed,
    /// The media failed: `bye` `media.failed`.
    Failed(Failure),
}

/// Why a command was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket could be opened.
    #[error("no usable network address: {0}")]
    Network(String),
    /// The description cannot be used.
    #[error(transparent)]
    Call(#[from] call::Error),
    /// The session is not in a state for this command, e.g. not active yet, or over.
    #[error("the media session is {0}")]
    State(&'static str),
}

/// What opens the path. Both need the proof that a signed answer stands.
#[derive(Debug)]
pub enum Activation {
    /// We offered; the peer's verified answer has this SDP.
    Answered {
        /// The SDP of the accepted answer.
        sdp: String,
        /// The proof.
        permit: Permit,
    },
    /// We answered, and the signed answer has been sent.
    Answering {
        /// The proof.
        permit: Permit,
    },
}

enum Command {
    Activate(Activation, oneshot::Sender<Result<(), Error>>),
    Candidates(Vec<String>),
    Offer(Direction, oneshot::Sender<Result<Description, Error>>),
    Accept(String, oneshot::Sender<Result<(), Error>>),
    RollBack,
    Answer(Description, Direction, oneshot::Sender<Result<Description, Error>>),
    Mute(bool),
    Stop,
}

/// What a session leaves behind.
#[derive(Debug)]
pub struct Summary {
    /// The final figures.
    pub report: Report,
    /// Whether the recording could be completed.
    pub recording: Result<(), crate::audio::Error>,
    /// How far this side reached, if there was no path at the end.
    pub no_path: Option<Reach>,
}

/// One call's media. Dropping it stops the media; [`Session::stop`] also waits for the recording.
#[derive(Debug)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<Summary>,
}

impl Session {
    /// Makes an offer for an `invite`.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub async fn offer(
        config: Config,
        source: Source,
        sink: Sink,
        direction: Direction,
    ) -> Result<(Self, mpsc::Receiver<Event>, Description), Error> {
        let (description, start) = driver::Driver::offer(config, source, sink, direction).await?;
        Ok(Self::spawn(start, description))
    }

    /// Answers a verified offer that passed the binding's checks, at most as widely as `wish`. To be called when the person or
    /// the policy accepts, not while it rings.
    ///
    /// # Errors
    /// When no socket can be opened or the offer has no audio for us.
    pub async fn answer(
        config: Config,
        source: Source,
        sink: Sink,
        offer: Description,
        wish: Direction,
    ) -> Result<(Self, mpsc::Receiver<Event>, Description), Error> {
        let (description, start) = driver::Driver::answer(config, source, sink, offer, wish).await?;
        Ok(Self::spawn(start, description))
    }

    fn spawn(driver: driver::Driver, description: Description) -> (Self, mpsc::Receiver<Event>, Description) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, outbox) = mpsc::channel(EVENTS);
        let task = tokio::spawn(driver.run(inbox, events));
        (Self { commands, task }, outbox, description)
    }

    /// Opens the path. From here on packets leave.
    ///
    /// # Errors
    /// When the answer's SDP is unusable; the session is over then.
    pub async fn activate(&self, activation: Activation) -> Result<(), Error> {
        self.ask(|reply| Command::Activate(activation, reply)).await
    }

    /// Takes in candidates of the peer, in order. Before activation they wait.
    pub async fn add_remote_candidates(&self, candidates: Vec<String>) {
        let _ = self.commands.send(Command::Candidates(candidates)).await;
    }

    /// Makes an offer for an `update`: hold, resume, end of screening.
    ///
    /// # Errors
    /// Before activation, and while an offer is outstanding.
    pub async fn offer_update(&self, direction: Direction) -> Result<Description, Error> {
        self.ask(|reply| Command::Offer(direction, reply)).await
    }

    /// Applies the answer to our `update`.
    ///
    /// # Errors
    /// When none is outstanding or the SDP is unusable; the call goes on as before then.
    pub async fn accept_update(&self, answer: String) -> Result<(), Error> {
        self.ask(|reply| Command::Accept(answer, reply)).await
    }

    /// Takes our `update` back, after a `reject` or when the peer's won.
    pub async fn roll_back(&self) {
        let _ = self.commands.send(Command::RollBack).await;
    }

    /// Answers the peer's `update`, at most as widely as `wish`.
    ///
    /// # Errors
    /// [`call::Error::IceRestart`], or when the SDP is unusable; nothing changed then.
    pub async fn answer_update(&self, offer: Description, wish: Direction) -> Result<Description, Error> {
        self.ask(|reply| Command::Answer(offer, wish, reply)).await
    }

    /// Sends silence instead of the source, or the source again. The peer is not told.
    pub async fn mute(&self, muted: bool) {
        let _ = self.commands.send(Command::Mute(muted)).await;
    }

    /// Closes the path and completes the recording.
    pub async fn stop(self) -> Summary {
        let Self { commands, task } = self;
        let _ = commands.send(Command::Stop).await;
        drop(commands);
        match task.await {
            Ok(summary) => summary,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let over = || Error::State("over");
        self.commands.send(command(reply)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }
}
