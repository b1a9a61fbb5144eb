//! A phone as a library: call people by DID, answer calls, decide who may.
//!
//! ```text
//!   your program ── Phone ──► commands ──►┐                      ┌──► links: QUIC, WebSocket
//!                                         │  driver: one task,   ├──► media: one session per call
//!                ◄── Events ◄── events ◄──┘  one agent::Agent    ├──► documents, the DHT
//!                                                                └──► the home directory
//! ```
//!
//! The driver decides nothing: it carries inputs to the [`Agent`] and its outputs to the world, in their order. What may
//! happen when is in `dsip-proto`; here are sockets, files and time.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dsip_endpoint::phone::{Audio, Config, Event, Network, Phone};
//! use dsip_endpoint::tls::Roots;
//!
//! // A fresh identity that is linked to nothing, calling somebody with a tone.
//! let network = Network::join(Roots::load::<&str>(&[])?, &[], false).await?;
//! let (phone, mut events) = Phone::start(Config::ephemeral()?, network)?;
//! let bob = phone.locate(&"did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf".parse()?).await?;
//! let call = phone.call(&bob, Audio { from: "tone:440".into(), to: "bob.wav".into() }).await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Answered { by, party, .. } => println!("{by} answers for {}", party.identity),
//!         Event::Talking { .. } => phone.hang_up(call).await?,
//!         Event::Ended { reason, .. } => println!("over: {reason}"),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```

mod describe;
mod driver;
mod event;
mod network;
mod storage;

use dsip_proto::agent::{self, Agent, Memory, Misuse, Policy, Relay};
use dsip_proto::identity::SecretKey;
use dsip_proto::time::Seed;
use dsip_proto::wake::{Endpoint, Key};
use dsip_proto::wire::{Did, Reason, Ulid};
use tokio::sync::{mpsc, oneshot};

pub use describe::{from_media, to_media};
pub use dsip_proto::agent::{
    Company, Identity, PURPOSE_LIMIT, Party, Record, Side, Stream, Suspicion, TOKEN_LIMIT, Told, Visibility,
};
pub use event::Event;
pub use network::{JoinError, Network};

use crate::audio::{self, Sink, Source};
use crate::clock;
use crate::home::{self, Home};
use crate::link::Target;
use crate::media;
use crate::resolve::{self, Located, UnknownAlias};
use driver::{Command, Driver, Manner};
use storage::Storage;

/// Events that wait for whoever reads them. A program that does not read loses the rest; its calls go on.
const EVENTS: usize = 1024;
/// Commands that wait for the phone.
const COMMANDS: usize = 64;

/// Who a phone is and how it behaves.
#[derive(Debug)]
pub struct Config {
    /// Who it is.
    pub identity: Identity,
    /// Whom it lets in.
    pub policy: Policy,
    /// Its own node: where calls come in, and the last resort for reaching others.
    pub node: Option<Target>,
    /// Whether to publish in the DHT where this identity can be dialled. Off unless its owner says so (DHT-31).
    pub publish: bool,
    /// Where contacts, grants and seen ids are kept; nowhere for an ephemeral phone.
    pub home: Option<Home>,
    /// How its media reaches the network.
    pub media: media::Config,
}

/// Where a call's sound comes from and goes to, as [`audio`] reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// What to send: `silence`, `tone:440`, a file, `exec:COMMAND`.
    pub from: String,
    /// What becomes of what is heard: `none`, a file, `exec:COMMAND`.
    pub to: String,
}

impl Default for Audio {
    /// Silence out, nothing kept.
    fn default() -> Self {
        Self { from: "silence".into(), to: "none".into() }
    }
}

impl Audio {
    /// Opens both ends. Files are read and created here, so that a mistake shows before anybody rings.
    async fn open(self) -> Result<(Source, Sink), Error> {
        let opened = tokio::task::spawn_blocking(move || {
            let source = Source::open(&self.from)?;
            Ok::<_, audio::Error>((source, Sink::open(&self.to)?))
        });
        Ok(opened.await.map_err(|_| Error::Stopped)??)
    }
}

/// Why a phone cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The home directory.
    #[error(transparent)]
    Home(#[from] home::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The audio source or sink.
    #[error(transparent)]
    Audio(#[from] audio::Error),
    /// The media engine or its sockets.
    #[error(transparent)]
    Media(#[from] media::Error),
    /// The rules do not allow it now.
    #[error(transparent)]
    Refused(Misuse),
    /// There is no such call, or it is being answered already.
    #[error("there is no such call waiting")]
    NoSuchCall,
    /// The phone has stopped.
    #[error("the phone has stopped")]
    Stopped,
}

/// A running phone. Clones share it; it hangs up and ends when the last one is dropped, or with [`stop`](Self::stop).
#[derive(Debug, Clone)]
pub struct Phone {
    commands: mpsc::Sender<Command>,
    network: Network,
    did: Did,
    device: Did,
}

/// What a phone tells, in order.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; none once the phone has stopped.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Config {
    /// A phone without a home: a fresh identity, linked to nothing, forgotten at the end. It can call; calls reach it only
    /// where it told somebody to call back.
    pub fn ephemeral() -> Result<Self, Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| Error::Randomness)?;
        let device = SecretKey::from_bytes(&secret);
        Ok(Self {
            identity: Identity { did: device.did(), device: device.into(), delegations: Vec::new(), name: None },
            policy: Policy::default(),
            node: None,
            publish: false,
            home: None,
            media: media::Config::default(),
        })
    }
}

impl Phone {
    /// Starts a phone. It dials its own node at once, and keeps at it.
    pub fn start(config: Config, network: Network) -> Result<(Self, Events), Error> {
        let Config { identity, policy, node, publish, home, media } = config;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| Error::Randomness)?;
        let (storage, memory) = match home {
            Some(home) => Storage::open(home, &identity.did)?,
            None => (Storage::Nowhere, Memory::default()),
        };
        let node = node.map(|target| Relay {
            uri: target.url().to_owned(),
            bindings: Vec::new(),
            node: target.node().cloned(),
        });
        let config = agent::Config { identity, policy, node, publish, memory };
        let agent = Agent::new(config, Seed::new(seed), clock::now());
        let (did, device) = (agent.did().clone(), agent.device().clone());
        let (commands, obeyed) = mpsc::channel(COMMANDS);
        let (told, events) = mpsc::channel(EVENTS);
        tokio::task::spawn_blocking(dsip_media::call::prepare);
        Driver::spawn(agent, network.clone(), media, storage, told, obeyed);
        Ok((Self { commands, network, did, device }, Events(events)))
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

    /// Finds what is known about somebody, and where they can be dialled.
    pub async fn locate(&self, target: &resolve::Target) -> Result<Located, UnknownAlias> {
        self.network.locate(target).await
    }

    /// Calls somebody that was found. The places found are tried in order, then our own node. Returns the call's id at
    /// once; [`Event`]s tell what becomes of it.
    pub async fn call(&self, whom: &Located, audio: Audio) -> Result<Ulid, Error> {
        let (did, routes) = (whom.did.clone(), relays(whom));
        self.ask(|reply| Command::Call { did, routes, audio, reply }).await?
    }

    /// Answers a call in person.
    pub async fn accept(&self, call: Ulid, audio: Audio) -> Result<(), Error> {
        self.ask(|reply| Command::Accept { call, manner: Manner::Talk, audio, reply }).await?
    }

    /// Answers a call by listening only: the caller is told that this is screening, and may say what it is about (SCR-1).
    pub async fn screen(&self, call: Ulid, audio: Audio) -> Result<(), Error> {
        self.ask(|reply| Command::Accept { call, manner: Manner::Screen, audio, reply }).await?
    }

    /// Takes over a call that was screened: sound goes both ways once the caller's phone agrees (SCR-3).
    pub async fn take_over(&self, call: Ulid) -> Result<(), Error> {
        self.ask(|reply| Command::TakeOver { call, reply }).await?
    }

    /// Declines a call that rings.
    pub async fn decline(&self, call: Ulid) -> Result<(), Error> {
        self.with_agent(move |agent| agent.decline(clock::now(), call)).await
    }

    /// Ends a call in whatever state it is: gives up, declines or hangs up.
    pub async fn hang_up(&self, call: Ulid) -> Result<(), Error> {
        self.with_agent(move |agent| agent.end(clock::now(), call)).await
    }

    /// Ends a call that is up, with a reason (ACT-10), e.g. `user.declined` after screening.
    pub async fn hang_up_because(&self, call: Ulid, reason: Reason) -> Result<(), Error> {
        self.with_agent(move |agent| agent.hang_up(clock::now(), call, Some(reason))).await
    }

    /// Asks somebody for permission to call. Returns the introduction's id; the answer may never come (FC-3).
    pub async fn introduce(
        &self,
        whom: &Located,
        purpose: Option<String>,
        token: Option<String>,
    ) -> Result<Ulid, Error> {
        let (did, routes) = (whom.did.clone(), relays(whom));
        self.with_agent(move |agent| agent.introduce(clock::now(), did, routes, purpose, token)).await
    }

    /// Grants a request: its sender may call from now on. Returns the grant's id.
    pub async fn grant(&self, introduction: Ulid) -> Result<Ulid, Error> {
        self.with_agent(move |agent| agent.grant(clock::now(), introduction)).await
    }

    /// Refuses a request.
    pub async fn reject_introduction(&self, introduction: Ulid, reason: Option<Reason>) -> Result<(), Error> {
        self.with_agent(move |agent| agent.reject_introduction(clock::now(), introduction, reason)).await
    }

    /// Takes a grant back.
    pub async fn revoke(&self, grant: Ulid) -> Result<(), Error> {
        self.with_agent(move |agent| agent.revoke(clock::now(), grant)).await
    }

    /// Makes a contact token to give out: whoever presents it first is let in (FC-4, FC-21).
    pub async fn issue_token(&self) -> Result<String, Error> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|_| Error::Randomness)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let issued = token.clone();
        self.with_agent(move |agent| agent.issue_token(clock::now(), issued)).await?;
        Ok(token)
    }

    /// Puts somebody into the address book, or takes them out. Whoever is in it may call without asking first.
    pub async fn allow(&self, identity: Did, allowed: bool, name: Option<String>) -> Result<(), Error> {
        self.with_agent(move |agent| agent.allow(clock::now(), &identity, allowed, name)).await
    }

    /// Watches whether somebody is there, by the word of the node they use. [`Event::Told`] says each change.
    pub async fn watch_presence(&self, whom: &Located) -> Result<Ulid, Error> {
        let (did, routes) = (whom.did.clone(), relays(whom));
        self.with_agent(move |agent| agent.watch_presence(clock::now(), &did, routes)).await
    }

    /// Watches a stream of somebody that was found: `stream` is its whole id.
    pub async fn watch_stream(&self, publisher: &Located, stream: String) -> Result<Ulid, Error> {
        let routes = relays(publisher);
        self.with_agent(move |agent| agent.watch_stream(clock::now(), stream, routes)).await
    }

    /// Ends a watch.
    pub async fn unwatch(&self, watch: Ulid) -> Result<(), Error> {
        self.with_agent(move |agent| {
            agent.unwatch(clock::now(), watch);
            Ok(())
        })
        .await
    }

    /// Brings an invitation to our own node, which serves members only. We are one once [`Event::Told`] comes for this watch.
    pub async fn join(&self, code: String) -> Result<Ulid, Error> {
        self.with_agent(move |agent| agent.join(clock::now(), &code)).await
    }

    /// Tells our own node who may see whether we are there. It is so once [`Event::Told`] comes for this watch.
    pub async fn show_presence(&self, to: Visibility) -> Result<Ulid, Error> {
        self.with_agent(move |agent| agent.show_presence(clock::now(), &to)).await
    }

    /// Has our own node wake this device by `endpoint` when something waits for it, also after this phone has stopped. An endpoint
    /// that a push service made for one node's key is said to that node alone: give the key as `made_for`.
    /// [`Event::WakeRegistered`] or [`Event::WakeRefused`] says what came of it.
    pub async fn register_wake(&self, endpoint: Endpoint, made_for: Option<Key>) -> Result<(), Error> {
        self.with_agent(move |agent| agent.register_wake(clock::now(), endpoint, made_for)).await
    }

    /// Takes that back.
    pub async fn unregister_wake(&self) -> Result<(), Error> {
        self.with_agent(|agent| agent.unregister_wake(clock::now())).await
    }

    /// Publishes a stream at our own node, and watches it: the publication stands once [`Event::Told`] names its id.
    /// Returns that, and the watch.
    pub async fn publish(&self, stream: Stream) -> Result<(Ulid, Ulid), Error> {
        self.with_agent(move |agent| {
            let stream_id = agent.stream_id(stream.name.as_deref());
            let publication = agent.publish(clock::now(), stream)?;
            Ok((publication, agent.watch_stream(clock::now(), stream_id, Vec::new())?))
        })
        .await
    }

    /// Withdraws a publication of ours, and watches its stream: it is withdrawn once [`Event::Told`] says so.
    pub async fn unpublish(&self, name: Option<String>, publication: Ulid) -> Result<Ulid, Error> {
        self.with_agent(move |agent| {
            agent.unpublish(clock::now(), name.as_deref(), publication)?;
            let stream_id = agent.stream_id(name.as_deref());
            agent.watch_stream(clock::now(), stream_id, Vec::new())
        })
        .await
    }

    /// What the phone remembers: contacts, requests, grants.
    pub async fn memory(&self) -> Result<Memory, Error> {
        self.with_agent(|agent| Ok(agent.memory().clone())).await
    }

    /// Ends every call, says so to the other side, and hangs up all links. Returns when that is done.
    pub async fn stop(&self) {
        // A phone that has stopped already has nothing left to do.
        let _ = self.ask(Command::Stop).await;
    }

    /// Runs one command on the agent, in the driver's turn.
    async fn with_agent<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Agent) -> Result<T, Misuse> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.ask(|reply: oneshot::Sender<Result<T, Misuse>>| {
            Command::Agent(Box::new(move |agent| {
                let _ = reply.send(act(agent));
            }))
        });
        done.await?.map_err(Error::Refused)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)
    }
}

/// The places found, as the agent dials them.
fn relays(located: &Located) -> Vec<Relay> {
    let relay = |candidate: &resolve::Candidate| Relay {
        uri: candidate.uri.clone(),
        bindings: candidate.bindings.clone(),
        node: candidate.node.clone(),
    };
    located.candidates.iter().map(relay).collect()
}
