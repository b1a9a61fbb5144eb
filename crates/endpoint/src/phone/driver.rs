//! The loop: one task, one agent. It waits for whatever comes first, tells the agent, and carries out what the agent says,
//! in order. Whatever takes time (dialling, looking up, setting media up, completing a recording) runs beside it and reports
//! back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use dsip_media::call::Permit;
use dsip_proto::agent::{
    self, Agent, Answer, AskId, Change, Company, Input, LinkChange, LinkId, Misuse, Output, Question, Relay,
};
use dsip_proto::identity::Document;
use dsip_proto::time::Tick;
use dsip_proto::turn::Grant;
use dsip_proto::wire::token::AnsweredBy;
use dsip_proto::wire::{Did, Reason, Ulid};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::describe::{from_media, to_media};
use super::network::Network;
use super::storage::Storage;
use super::{Audio, Error, Event};
use crate::clock;
use crate::home::{Claim, Home};
use crate::link::{Close, Closed, Link, Outbox, Stream, Target, Transport};
use crate::media::{self, Activation, Direction, Session, TurnServer};

/// Happenings that may wait for the loop; whoever has more to tell waits.
const WORLD: usize = 1024;
/// How long a stopping phone waits for what it said last to leave.
const FAREWELL: Duration = Duration::from_millis(1500);
/// How long a call that is to be placed waits for our node to say where STUN is answered. Without it, media still finds every
/// path that needs no help from outside.
const STUN_WAIT: Duration = Duration::from_millis(1500);
/// How often the phone looks whether another program changed what they share.
const LOOK: Duration = Duration::from_secs(1);
/// How often a phone that stands aside looks whether it may come back.
const RETURN: Duration = Duration::from_millis(250);
/// How often, and at what distance, it is looked again whether another program is in a call, or only dealing with a frame.
const GLANCES: u32 = 4;
const GLANCE: Duration = Duration::from_millis(25);
/// A loop without any deadline still looks up now and then.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What a program asks of the phone.
pub(super) enum Command {
    Call { did: Did, routes: Vec<Relay>, audio: Audio, reply: oneshot::Sender<Result<Ulid, Error>> },
    Accept { call: Ulid, manner: Manner, audio: Audio, reply: oneshot::Sender<Result<(), Error>> },
    TakeOver { call: Ulid, reply: oneshot::Sender<Result<(), Error>> },
    Agent(Box<dyn FnOnce(&mut Agent) + Send>),
    Stop(oneshot::Sender<()>),
}

/// How a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// In person.
    Talk,
    /// Listening only, until the person takes over (SCR-1).
    Screen,
}

/// What the tasks beside the loop report.
enum World {
    Opened(LinkId, u64, Result<Link, String>),
    /// A frame, and where to say that it was dealt with.
    Frame(LinkId, u64, String, oneshot::Sender<()>),
    Closed(LinkId, u64, Closed),
    Document(AskId, Option<Document>),
    Offering(Box<Offering>),
    Answering(Box<Answering>),
    Media(Ulid, media::Event),
    Finished(Ulid, Box<media::Summary>),
    Published(Result<usize, String>),
}

type Ready = Result<(Session, mpsc::Receiver<media::Event>, media::Description), Error>;

/// Our side of a call to be placed.
struct Offering {
    did: Did,
    routes: Vec<Relay>,
    media: Ready,
    reply: oneshot::Sender<Result<Ulid, Error>>,
}

/// Our side of a call to be answered.
struct Answering {
    call: Ulid,
    manner: Manner,
    media: Ready,
    reply: oneshot::Sender<Result<(), Error>>,
}

/// A link's transport.
struct Connection {
    generation: u64,
    /// None while it is being dialled.
    open: Option<(Outbox, Transport)>,
}

/// What the loop knows of a call.
#[derive(Default)]
struct Call {
    media: Option<Session>,
    /// What the caller offers, until it is answered.
    offer: Option<media::Description>,
    /// The link it was dialled over.
    dialled: Option<String>,
    answered: Option<Instant>,
    /// Whether the person only listens so far (SCR-1).
    screening: bool,
    gathered: Gathered,
    /// How it ended, while its recording is being completed.
    ended: Option<Event>,
}

impl Call {
    /// Which way sound goes as far as we are concerned.
    fn wish(&self) -> Direction {
        if self.screening { Direction::RecvOnly } else { Direction::SendRecv }
    }
}

/// What is known of this machine's own addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gathered {
    /// Still looking for the first time.
    #[default]
    Nothing,
    /// All there were when last looked.
    All,
    /// All of then, and more since.
    More,
}

/// What our node offers media.
#[derive(Default)]
struct Servers {
    stun: Vec<SocketAddr>,
    turn: Vec<TurnServer>,
}

pub(super) struct Driver {
    agent: Agent,
    network: Network,
    media: media::Config,
    storage: Storage,
    /// Our claim to the device's links, where other programs may have one too. Staked with the first link.
    claim: Option<Claim>,
    /// The home in which to stake it.
    home: Option<Home>,
    /// Frames that were dealt with as soon as everything that follows from them is done (CUS-11).
    dealt: Vec<oneshot::Sender<()>>,
    /// Whether the storage is lost: a phone that forgets what it must remember may not go on.
    forgetful: bool,
    events: mpsc::Sender<Event>,
    connections: HashMap<LinkId, Connection>,
    generation: u64,
    calls: HashMap<Ulid, Call>,
    /// STUN servers, once our node has told, or once it is clear that none will.
    servers: watch::Sender<Option<Servers>>,
    world: mpsc::Sender<World>,
}

impl Driver {
    pub(super) fn spawn(
        agent: Agent,
        network: Network,
        media: media::Config,
        storage: Storage,
        events: mpsc::Sender<Event>,
        commands: mpsc::Receiver<Command>,
    ) {
        let (world, happenings) = mpsc::channel(WORLD);
        let has_node = agent.has_node();
        let driver = Self {
            agent,
            network,
            media,
            claim: None,
            home: storage.home().cloned(),
            storage,
            dealt: Vec::new(),
            forgetful: false,
            events,
            connections: HashMap::new(),
            generation: 0,
            calls: HashMap::new(),
            servers: watch::Sender::new((!has_node).then(Servers::default)),
            world,
        };
        tokio::spawn(driver.run(commands, happenings));
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut world: mpsc::Receiver<World>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut come_back = interval(RETURN);
        come_back.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.drain().await;
            if self.forgetful {
                return self.stop(world).await;
            }
            self.settle();
            let pause = wake.map_or(LONGEST_SLEEP, |wake| wake.since(clock::now().tick));
            tokio::select! {
                command = commands.recv() => match command {
                    // Every handle is gone: nobody is left to hear of a call, so none may go on.
                    None => return self.stop(world).await,
                    Some(Command::Stop(reply)) => {
                        self.stop(world).await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.obey(command).await,
                },
                Some(happening) = world.recv() => self.notice(happening).await,
                _ = look.tick(), if self.storage.is_shared() => {
                    // A file that did change is small. What is new is taken over when all of ours is stored.
                    self.storage.look();
                    // A newer program that uses another node does not push us out.
                    self.make_room().await;
                }
                _ = come_back.tick(), if self.agent.is_aside() => self.come_back(),
                () = sleep(pause) => self.agent.handle(clock::now(), Input::Tick),
            }
        }
    }

    /// Ends what is going on, lets the last words leave, and hangs up the links.
    async fn stop(mut self, mut world: mpsc::Receiver<World>) {
        let live: Vec<Ulid> = self.agent.live_calls().collect();
        for call in live {
            let _ = self.agent.end(clock::now(), call);
        }
        self.drain().await;
        for connection in self.connections.values() {
            if let Some((outbox, _)) = &connection.open {
                outbox.close(Close::Done);
            }
        }
        let until = Instant::now() + FAREWELL;
        let busy = |driver: &Self| {
            driver.connections.values().any(|connection| connection.open.is_some())
                || driver.calls.values().any(|call| call.ended.is_some())
        };
        while busy(&self) {
            match tokio::time::timeout_at(until, world.recv()).await {
                Ok(Some(World::Closed(link, generation, _))) => {
                    if self.connections.get(&link).is_some_and(|known| known.generation == generation) {
                        self.connections.remove(&link);
                    }
                }
                Ok(Some(World::Finished(call, summary))) => self.finished(call, *summary),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Call { did, routes, audio, reply } => {
                if let Some(first) = routes.first() {
                    self.agent.approach(first);
                }
                let (config, world) = (self.media_config(), self.world.clone());
                tokio::spawn(async move {
                    let media = match audio.open().await {
                        Ok((source, sink)) => {
                            Session::offer(config.await, source, sink, Direction::SendRecv).await.map_err(Error::from)
                        }
                        Err(error) => Err(error),
                    };
                    let _ = world.send(World::Offering(Box::new(Offering { did, routes, media, reply }))).await;
                });
            }
            Command::Accept { call, manner, audio, reply } => {
                let Some(offer) = self.calls.get_mut(&call).and_then(|call| call.offer.take()) else {
                    let _ = reply.send(Err(Error::NoSuchCall));
                    return;
                };
                let (config, world) = (self.media_config(), self.world.clone());
                let wish = match manner {
                    Manner::Talk => Direction::SendRecv,
                    Manner::Screen => Direction::RecvOnly,
                };
                tokio::spawn(async move {
                    let media = match audio.open().await {
                        Ok((source, sink)) => {
                            Session::answer(config.await, source, sink, offer, wish).await.map_err(Error::from)
                        }
                        Err(error) => Err(error),
                    };
                    let _ = world.send(World::Answering(Box::new(Answering { call, manner, media, reply }))).await;
                });
            }
            Command::TakeOver { call, reply } => {
                let _ = reply.send(self.take_over(call).await);
            }
            Command::Agent(act) => {
                self.make_room().await;
                act(&mut self.agent);
            }
            // Taken by the loop itself.
            Command::Stop(_) => {}
        }
    }

    async fn take_over(&mut self, call: Ulid) -> Result<(), Error> {
        let session = self.calls.get(&call).and_then(|call| call.media.as_ref()).ok_or(Error::NoSuchCall)?;
        let offer = session.offer_update(Direction::SendRecv).await?;
        let done = self.agent.update(clock::now(), call, from_media(&offer), Some(AnsweredBy::USER));
        if done.is_err() {
            session.roll_back().await;
        } else if let Some(state) = self.calls.get_mut(&call) {
            state.screening = false;
        }
        Ok(done?)
    }

    async fn notice(&mut self, happening: World) {
        let now = clock::now();
        match happening {
            World::Opened(link, generation, opened) => {
                if opened.is_err() || self.has_line().await {
                    self.opened(link, generation, opened);
                }
            }
            World::Frame(link, generation, frame, dealt) => {
                if self.connections.get(&link).is_none_or(|known| known.generation != generation) {
                    return;
                }
                // What is not dealt with here is not acknowledged, so the node keeps it for whoever has the line (CUS-14).
                if self.has_line().await {
                    self.agent.handle(now, Input::Received { link, frame: &frame });
                    self.dealt.push(dealt);
                }
            }
            World::Closed(link, generation, closed) => {
                if self.connections.get(&link).is_some_and(|known| known.generation == generation) {
                    self.connections.remove(&link);
                    let change = match closed {
                        Closed::There(Close::Replaced) => LinkChange::Replaced,
                        closed => LinkChange::Down(closed.to_string()),
                    };
                    let replaced = change == LinkChange::Replaced;
                    self.agent.handle(now, Input::Link(link, change));
                    if replaced {
                        self.make_room().await;
                    }
                }
            }
            World::Document(ask, document) => {
                self.agent.handle(now, Input::Answer(ask, Answer::Document(document)));
            }
            World::Offering(offering) => {
                self.has_line().await; // without it, the call waits
                self.place(*offering);
            }
            World::Answering(answering) => self.answer(*answering),
            World::Media(call, event) => self.media_event(call, event).await,
            World::Finished(call, summary) => self.finished(call, *summary),
            World::Published(Ok(accepted)) => self.tell(Event::Published { accepted }),
            World::Published(Err(why)) => self.tell(Event::Unpublished { why }),
        }
    }

    fn opened(&mut self, id: LinkId, generation: u64, opened: Result<Link, String>) {
        let Some(connection) = self.connections.get_mut(&id).filter(|known| known.generation == generation) else {
            return;
        };
        match opened {
            Ok(link) => {
                let transport = link.transport();
                let (outbox, mut inbox) = link.split();
                connection.open = Some((outbox, transport));
                let world = self.world.clone();
                tokio::spawn(async move {
                    loop {
                        match inbox.recv().await {
                            Ok(frame) => {
                                let (dealt, done) = oneshot::channel();
                                let told = world.send(World::Frame(id, generation, frame, dealt)).await;
                                // To ask for the next frame is to say that this one was dealt with.
                                if told.is_err() || done.await.is_err() {
                                    return;
                                }
                            }
                            Err(closed) => {
                                let _ = world.send(World::Closed(id, generation, closed)).await;
                                return;
                            }
                        }
                    }
                });
                self.agent.handle(clock::now(), Input::Link(id, LinkChange::Up));
            }
            Err(why) => {
                self.connections.remove(&id);
                self.agent.handle(clock::now(), Input::Link(id, LinkChange::Down(why)));
            }
        }
    }

    /// Our offer is made: places the call.
    fn place(&mut self, offering: Offering) {
        let Offering { did, routes, media, reply } = offering;
        let placed = media.and_then(|(session, events, offer)| {
            let call = self.agent.call(clock::now(), did, routes, from_media(&offer))?;
            self.calls.insert(call, Call { media: Some(session), ..Call::default() });
            self.follow(call, events);
            Ok(call)
        });
        let _ = reply.send(placed);
    }

    /// Our answer is made: signs and sends it.
    fn answer(&mut self, answering: Answering) {
        let Answering { call, manner, media, reply } = answering;
        let by = match manner {
            Manner::Talk => AnsweredBy::USER,
            Manner::Screen => AnsweredBy::SCREENING,
        };
        let answered = media.and_then(|(session, events, selection)| {
            let state = self.calls.get_mut(&call).ok_or(Error::NoSuchCall)?;
            state.media = Some(session);
            if let Err(refused) = self.agent.accept(clock::now(), call, from_media(&selection), by) {
                state.media = None;
                return Err(refused.into());
            }
            state.answered = Some(Instant::now());
            state.screening = manner == Manner::Screen;
            self.follow(call, events);
            Ok(())
        });
        let _ = reply.send(answered);
    }

    /// Passes a media session's events to the loop.
    fn follow(&self, call: Ulid, mut events: mpsc::Receiver<media::Event>) {
        let world = self.world.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if world.send(World::Media(call, event)).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn media_event(&mut self, call: Ulid, event: media::Event) {
        let now = clock::now();
        match event {
            media::Event::LocalCandidate(candidate) => {
                let gathered = self.calls.get_mut(&call).map(|state| &mut state.gathered);
                if let Some(gathered) = gathered.filter(|gathered| **gathered != Gathered::Nothing) {
                    *gathered = Gathered::More;
                }
                self.agent.candidate(now, call, candidate.candidate, candidate.sdp_mid);
            }
            media::Event::GatheringComplete => {
                let gathered = self.calls.get_mut(&call).map(|state| &mut state.gathered);
                if gathered.map(|gathered| std::mem::replace(gathered, Gathered::All)) == Some(Gathered::More) {
                    self.describe_anew(call).await;
                }
                self.agent.gathered(now, call);
            }
            media::Event::Connected => self.tell(Event::Talking { call }),
            media::Event::Interrupted => self.tell(Event::Interrupted { call }),
            media::Event::Resumed => self.tell(Event::Resumed { call }),
            media::Event::SourceEnded => self.tell(Event::SourceEnded { call }),
            media::Event::Stats(report) => self.tell(Event::Stats { call, report }),
            media::Event::Failed(_) => {
                // ACT-10: the media layer gives up on its path.
                let _ = self.agent.hang_up(now, call, Some(Reason::MEDIA_FAILED));
            }
            // `bye` decides, and it is on its way.
            media::Event::Closed => {}
        }
    }

    /// This machine has other addresses than those it told of. The peer takes no candidates after the end marker (WEB-70),
    /// but it takes a new description, and candidates that belong to that one (WEB-82, WEB-83).
    async fn describe_anew(&mut self, call: Ulid) {
        let Some(state) = self.calls.get(&call) else { return };
        let Some(session) = &state.media else { return };
        // Before the call is active, or while another offer is out, there is nothing to do: the checks that go out from
        // the new address tell the peer of it wherever they get through.
        let Ok(offer) = session.offer_update(state.wish()).await else { return };
        if let Err(error) = self.agent.update(clock::now(), call, from_media(&offer), None) {
            tracing::debug!(%error, "new addresses not described");
            session.roll_back().await;
        }
    }

    /// Carries out everything the agent wants done, and returns when it wants to be woken.
    async fn drain(&mut self) -> Option<Tick> {
        loop {
            match self.agent.poll(clock::now()) {
                Output::Idle { wake } => {
                    if let Some(memory) = self.storage.news() {
                        self.agent.adopt(memory);
                        self.tell(Event::ContactsChanged);
                    }
                    return wake;
                }
                Output::Persist(change) => {
                    if let Err(what) = self.store(change).await {
                        self.tell(Event::Trouble { what });
                    }
                }
                Output::Dial(link, relay) => {
                    if self.has_line().await {
                        self.dial(link, relay);
                    }
                }
                Output::Transmit { link, frame, session } => self.transmit(link, frame, session),
                Output::Close(link) => {
                    if let Some(Connection { open: Some((outbox, _)), .. }) = self.connections.remove(&link) {
                        outbox.close(Close::Done);
                    }
                }
                Output::Ask(ask, Question::Document(did)) => {
                    let (network, world) = (self.network.clone(), self.world.clone());
                    tokio::spawn(async move {
                        let document = network.document(&did).await;
                        let _ = world.send(World::Document(ask, document)).await;
                    });
                }
                Output::Media(call, act) => self.media(call, act).await,
                Output::Publish(hint) => {
                    let (network, world) = (self.network.clone(), self.world.clone());
                    tokio::spawn(async move {
                        let published = network.publish(hint).await;
                        let _ = world.send(World::Published(published)).await;
                    });
                }
                Output::Event(event) => self.event(event).await,
            }
        }
    }

    /// Whether we may speak now; we may until [`settle`](Self::settle). If another program of this home goes first, the
    /// agent learns of it.
    async fn has_line(&mut self) -> bool {
        if let (None, Some(home)) = (&self.claim, self.home.take()) {
            match Claim::stake(&home) {
                Ok(claim) => self.claim = Some(claim),
                // A home that cannot be written to fails in what matters more.
                Err(error) => tracing::warn!(%error, "other programs of this home are not seen"),
            }
        }
        let Some(claim) = &mut self.claim else { return true };
        let mut glances = 1;
        let company = loop {
            match claim.take_line() {
                Ok(()) => return !self.agent.is_aside(),
                Err(Company::InCall) if glances < GLANCES => {
                    glances += 1;
                    sleep(GLANCE).await;
                }
                Err(company) => break company,
            }
        };
        self.agent.handle(clock::now(), Input::Company(Some(company)));
        false
    }

    /// Everything that followed from what happened is done.
    fn settle(&mut self) {
        for dealt in self.dealt.drain(..) {
            let _ = dealt.send(()); // its link may be gone
        }
        if let Some(claim) = self.claim.as_mut().filter(|_| !self.agent.is_engaged() || self.agent.is_aside()) {
            claim.leave_line();
        }
    }

    /// Steps aside if a newer program of this home goes first.
    async fn make_room(&mut self) {
        if self.claim.as_ref().is_some_and(|claim| !claim.is_last()) {
            self.has_line().await;
        }
    }

    /// Comes back if no other program of this home goes first any more.
    fn come_back(&mut self) {
        // Who is not the last does not touch the line, so as not to be taken for one who has it.
        if self.claim.as_mut().is_none_or(|claim| claim.is_last() && claim.take_line().is_ok()) {
            self.agent.handle(clock::now(), Input::Company(None));
        }
    }

    /// Stores a change beside the loop, and waits for it: what follows relies on it.
    async fn store(&mut self, change: Change) -> Result<(), String> {
        let mut storage = std::mem::replace(&mut self.storage, Storage::Nowhere);
        let stored = spawn_blocking(move || {
            let stored = storage.store(change);
            (storage, stored)
        });
        let (storage, stored) = stored.await.map_err(|error| {
            self.forgetful = true;
            error.to_string()
        })?;
        self.storage = storage;
        stored.map_err(|error| error.to_string())
    }

    fn dial(&mut self, id: LinkId, relay: Relay) {
        self.generation += 1;
        let generation = self.generation;
        self.connections.insert(id, Connection { generation, open: None });
        let (dialer, world) = (self.network.dialer.clone(), self.world.clone());
        tokio::spawn(async move {
            let opened = match target(&relay) {
                Ok(target) => dialer.open(&target).await.map_err(|error| error.to_string()),
                Err(why) => Err(why),
            };
            let _ = world.send(World::Opened(id, generation, opened)).await;
        });
    }

    fn transmit(&mut self, id: LinkId, frame: String, session: Option<Ulid>) {
        let Some(Connection { open: Some((outbox, _)), .. }) = self.connections.get(&id) else { return };
        let stream = session.map_or(Stream::Control, Stream::Session);
        if let Err(error) = outbox.send(stream, frame.into()) {
            outbox.cut();
            self.connections.remove(&id);
            self.agent.handle(clock::now(), Input::Link(id, LinkChange::Down(error.to_string())));
        }
    }

    async fn media(&mut self, id: Ulid, act: agent::Media) {
        let Some(session) = self.calls.get(&id).and_then(|call| call.media.as_ref()) else { return };
        let done = match act {
            agent::Media::Start(permit) => {
                // The agent's permit is the proof that a signed answer stands (WEB-90).
                let activation = match permit.remote().map(str::to_owned) {
                    Some(sdp) => Activation::Answered { sdp, permit: Permit::from(permit) },
                    None => Activation::Answering { permit: Permit::from(permit) },
                };
                session.activate(activation).await
            }
            agent::Media::Candidates(candidates) => {
                session.add_remote_candidates(candidates).await;
                Ok(())
            }
            agent::Media::Apply(sdp) => session.accept_update(sdp).await,
            agent::Media::RollBack => {
                session.roll_back().await;
                Ok(())
            }
            // The engine took our description when it made it, and it stops when the call's end is told.
            // It offers no text either.
            agent::Media::EndOfCandidates | agent::Media::Adopt | agent::Media::Text(_) | agent::Media::Stop => Ok(()),
        };
        if done.is_err() {
            let _ = self.agent.hang_up(clock::now(), id, Some(Reason::MEDIA_FAILED));
        }
    }

    async fn event(&mut self, event: agent::Event) {
        let told = match event {
            agent::Event::Online { relay, uri, stun_port, turn, vapid } => {
                let transport = self.transport(&uri);
                self.learn_servers(&uri, stun_port, turn);
                Event::Online { relay, uri, transport, vapid }
            }
            // TURN-6: the next call uses the new ones. One under way keeps its own, which the server goes on accepting.
            agent::Event::Renewed { uri, stun_port, turn } => return self.learn_servers(&uri, stun_port, Some(turn)),
            agent::Event::WakeRegistered { until } => Event::WakeRegistered { until },
            agent::Event::WakeRefused { reason } => Event::WakeRefused { reason },
            agent::Event::Offline { why } => {
                self.servers
                    .send_if_modified(|servers| servers.is_none() && servers.replace(Servers::default()).is_none());
                Event::Offline { why }
            }
            agent::Event::Aside { company } => Event::Aside { company },
            agent::Event::Dialling { call, relay } => {
                self.calls.entry(call).or_default().dialled = Some(relay.uri.clone());
                Event::Dialling { call, uri: relay.uri }
            }
            agent::Event::Invited { call, relay } => {
                let uri = self.calls.get(&call).and_then(|call| call.dialled.clone()).unwrap_or_default();
                Event::Invited { call, relay, transport: self.transport(&uri) }
            }
            agent::Event::Progress { call, status, device } => Event::Progress { call, status, device },
            agent::Event::Incoming { call, party, offer } => {
                let state = Call { offer: Some(to_media(&offer)), ..Call::default() };
                self.calls.insert(call, state);
                Event::Incoming { call, party }
            }
            agent::Event::Answered { call, by, party, .. } => Event::Answered { call, by, party },
            agent::Event::UpdateOffered { call, offer, by } => return self.update_offered(call, offer, by).await,
            agent::Event::UpdateRejected { call, reason } => Event::UpdateRejected { call, reason },
            agent::Event::Ended { call, reason, side, missed } => {
                let lasted = self.calls.get(&call).and_then(|call| call.answered).map(|since| since.elapsed());
                let event = Event::Ended { call, reason, side, missed, lasted, report: None };
                return self.finish(call, event);
            }
            agent::Event::Unreachable { call, why } => return self.finish(call, Event::Unreachable { call, why }),
            agent::Event::TryAgain { call } => Event::TryAgain { call },
            agent::Event::Introduced { introduction, party, purpose, by_token } => {
                Event::Introduced { introduction, party, purpose, by_token }
            }
            agent::Event::Asked { introduction, relay } => Event::Asked { introduction, relay },
            agent::Event::Granted { introduction, by, valid_until } => Event::Granted { introduction, by, valid_until },
            agent::Event::IntroductionRejected { introduction, reason } => {
                Event::IntroductionRejected { introduction, reason }
            }
            agent::Event::Told { watch, by, told } => Event::Told { watch, by, told },
            agent::Event::WatchEnded { watch, reason } => Event::WatchEnded { watch, reason },
            agent::Event::Security { what, signer, session } => Event::Security { what, signer, session },
            agent::Event::Reported { session, reason } => Event::Reported { session, reason },
        };
        if let Event::Answered { call, .. } = &told
            && let Some(state) = self.calls.get_mut(call)
        {
            state.answered = Some(Instant::now());
        }
        self.tell(told);
    }

    /// Our node answers STUN and TURN at the host we dialled; media asks it how our sockets look from outside, and for
    /// addresses that reach where ours do not.
    fn learn_servers(&self, uri: &str, stun_port: Option<u16>, turn: Option<Grant>) {
        let target = self.agent.home().filter(|relay| relay.uri == uri).and_then(|relay| target(relay).ok());
        let host = target.as_ref().map(|target| target.host().trim_matches(['[', ']']).to_owned());
        let secure = target.and_then(|target| self.network.dialer.turn_tls(&target).ok());
        let servers = self.servers.clone();
        tokio::spawn(async move {
            let found = match host {
                Some(host) => tokio::net::lookup_host((host, 0)).await.map(Iterator::collect).unwrap_or_default(),
                None => Vec::new(),
            };
            let at = |port: Option<u16>| {
                let found = found.iter();
                port.into_iter().flat_map(move |port| found.clone().map(move |at| SocketAddr::new(at.ip(), port)))
            };
            let stun = at(stun_port).collect();
            let turn = turn.iter().flat_map(|grant| {
                found.iter().map(|at| TurnServer {
                    address: at.ip(),
                    ports: grant.ports,
                    secure: secure.clone(),
                    username: grant.username.clone(),
                    password: grant.password.clone(),
                })
            });
            let turn = turn.collect();
            servers.send_replace(Some(Servers { stun, turn }));
        });
    }

    /// How media is set up: with the STUN and TURN servers known by now, or in a moment.
    fn media_config(&self) -> impl Future<Output = media::Config> + use<> {
        let (mut config, mut servers) = (self.media.clone(), self.servers.subscribe());
        async move {
            if let Ok(Ok(known)) = timeout(STUN_WAIT, servers.wait_for(Option::is_some)).await {
                for Servers { stun, turn } in known.iter() {
                    config.stun.extend(stun);
                    config.turn.extend_from_slice(turn);
                }
            }
            config
        }
    }

    /// The peer would like to change what the call carries. Within sound both ways there is nothing to ask a person
    /// about: whoever is in a call agreed to that.
    async fn update_offered(&mut self, call: Ulid, offer: agent::Description, by: Option<AnsweredBy>) {
        let Some(state) = self.calls.get(&call) else { return };
        let Some(session) = &state.media else { return };
        let now = clock::now();
        match session.answer_update(to_media(&offer), state.wish()).await {
            Ok(selection) => {
                let selection = from_media(&selection);
                let direction = selection.direction();
                if self.agent.accept_update(now, call, selection).is_ok() {
                    self.tell(Event::Updated { call, direction, by });
                }
            }
            Err(_) => {
                let _ = self.agent.reject_update(now, call, Reason::MEDIA_UNSUPPORTED);
            }
        }
    }

    /// A call is over: its media stops now, and its end is told once the recording is complete.
    fn finish(&mut self, id: Ulid, event: Event) {
        let Some(call) = self.calls.get_mut(&id) else { return self.tell(event) };
        match call.media.take() {
            Some(session) => {
                call.ended = Some(event);
                let world = self.world.clone();
                tokio::spawn(async move {
                    let _ = world.send(World::Finished(id, Box::new(session.stop().await))).await;
                });
            }
            None => {
                self.calls.remove(&id);
                self.tell(event);
            }
        }
    }

    fn finished(&mut self, id: Ulid, summary: media::Summary) {
        let Some(mut event) = self.calls.remove(&id).and_then(|call| call.ended) else { return };
        if let Err(error) = summary.recording {
            self.tell(Event::Trouble { what: error.to_string() });
        }
        if let Event::Ended { report, lasted: Some(_), .. } = &mut event {
            *report = Some(summary.report);
        }
        if let (Event::Ended { reason, lasted: Some(_), .. }, Some(why)) = (&event, summary.no_path)
            && *reason == Reason::MEDIA_FAILED
        {
            self.tell(Event::NoPath { call: id, why });
        }
        self.tell(event);
    }

    fn transport(&self, uri: &str) -> Option<Transport> {
        let link = self.agent.link_of(uri)?;
        self.connections.get(&link)?.open.as_ref().map(|(_, transport)| *transport)
    }

    /// Tells the program. One that does not read loses what it did not read; a call never waits for it.
    fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            tracing::warn!("nobody reads the phone's events; one was dropped");
        }
    }
}

fn target(relay: &Relay) -> Result<Target, String> {
    let target: Target = relay.uri.parse().map_err(|error| format!("{}: {error}", relay.uri))?;
    let target = match &relay.node {
        Some(node) => target.with_node(node.clone()).map_err(|error| error.to_string())?,
        None => target,
    };
    Ok(if relay.bindings.is_empty() { target } else { target.with_bindings(relay.bindings.iter().map(String::as_str)) })
}

impl From<Misuse> for Error {
    fn from(misuse: Misuse) -> Self {
        Self::Refused(misuse)
    }
}
