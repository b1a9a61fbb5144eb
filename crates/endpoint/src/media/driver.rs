//! The task behind a session: sockets, timers, audio. It decides nothing about packets; [`dsip_media`] does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dsip_media::call::{Answer, Call, Candidate, Datagram, Description, Direction, Offer, Offered, Origin, Output};
use dsip_media::call::{Config as CallConfig, Event as CallEvent, Link};
use dsip_media::stun::{Query, Status};
use dsip_media::voice::{Listener, Speaker};
use dsip_proto::time::Tick;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::network::{Arrival, Network};
use super::relays::{Change, Relays};
use super::{Activation, Command, Config, Error, Event, Reach, Report, Summary, TurnServer};
use crate::audio::{Sink, Source};

/// The length of an audio frame.
const FRAME: Duration = Duration::from_millis(20);

/// How often the machine's addresses are looked at.
const RESCAN: Duration = Duration::from_secs(1);

/// Datagrams of an eager peer kept until we are active ourselves: its first checks may overtake the answer.
const EARLY: usize = 64;

/// Candidates kept until there is a call to give them to.
const EARLY_CANDIDATES: usize = 256;

/// Room left in the event queue for what matters more than reports.
const RESERVED_EVENTS: usize = 64;

/// What the session is, by what it may do.
enum Phase {
    Offering(Offer),
    Answering(Answer),
    Active(Box<Call>),
    Over,
}

pub(super) struct Driver {
    clock: Instant,
    network: Network,
    queries: Vec<(SocketAddr, Query, Option<SocketAddr>)>,
    stun: Vec<SocketAddr>,
    relays: Relays,
    turn: Vec<TurnServer>,
    gathering: bool,
    reach: Reach,
    phase: Phase,
    early: VecDeque<Arrival>,
    early_candidates: Vec<String>,
    speaker: Speaker,
    listener: Listener,
    source: Source,
    source_ended: bool,
    muted: bool,
    sink: Sink,
    sent: u64,
    link: Link,
    connected: bool,
    wake: Tick,
    lost_address: bool,
}

impl Driver {
    pub(super) async fn offer(
        config: Config,
        source: Source,
        sink: Sink,
        direction: Direction,
    ) -> Result<(Description, Self), Error> {
        let mut driver = Self::open(&config, source, sink).await?;
        let locals = driver.network.locals();
        let (offer, description) = Offer::new(driver.call_config(&config), driver.now(), direction, &locals);
        driver.phase = Phase::Offering(offer);
        Ok((description, driver))
    }

    pub(super) async fn answer(
        config: Config,
        source: Source,
        sink: Sink,
        offer: Description,
        wish: Direction,
    ) -> Result<(Description, Self), Error> {
        let mut driver = Self::open(&config, source, sink).await?;
        let mut offered = Offered::new(driver.call_config(&config), driver.now(), offer)?;
        for local in driver.network.locals() {
            // These are inlined in the answer, so nothing is left to trickle.
            let _ = offered.add_local(local);
        }
        let (answer, description) = offered.answer(driver.now(), wish)?;
        driver.phase = Phase::Answering(answer);
        Ok((description, driver))
    }

    async fn open(config: &Config, source: Source, sink: Sink) -> Result<Self, Error> {
        let network =
            Network::open(config.addresses.clone()).await.map_err(|error| Error::Network(error.to_string()))?;
        let mut driver = Self {
            clock: Instant::now(),
            network,
            queries: Vec::new(),
            stun: config.stun.clone(),
            relays: Relays::new(),
            turn: config.turn.clone(),
            gathering: true,
            reach: Reach::default(),
            phase: Phase::Over,
            early: VecDeque::new(),
            early_candidates: Vec::new(),
            speaker: Speaker::new(),
            listener: Listener::new(),
            source,
            source_ended: false,
            muted: false,
            sink,
            sent: 0,
            link: Link::default(),
            connected: false,
            wake: Tick::default(),
            lost_address: false,
        };
        for local in driver.network.locals() {
            driver.query(local);
        }
        Ok(driver)
    }

    const fn call_config(&self, config: &Config) -> CallConfig {
        let mut call = CallConfig::new(Origin::new(self.clock));
        call.connect_timeout = config.connect_timeout;
        call
    }

    fn now(&self) -> Tick {
        Tick::default() + self.clock.elapsed()
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) -> Summary {
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut rescans = tokio::time::interval(RESCAN);
        rescans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rescans.reset();
        loop {
            self.gather(&events);
            self.drain(&mut frames, &events);
            let wake = tokio::time::Instant::from_std(self.clock + self.next_wake().since(Tick::default()));
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => break,
                    Some(command) => self.obey(command),
                },
                arrival = self.network.arrival() => self.receive(arrival),
                news = self.relays.news() => {
                    let now = self.now();
                    if let Some(arrival) = self.relays.take(now, news) {
                        self.take(now, arrival);
                    }
                }
                _ = frames.tick(), if self.connected => self.exchange_audio(&events),
                _ = rescans.tick(), if !matches!(self.phase, Phase::Over) => self.rescan(&events).await,
                () = tokio::time::sleep_until(wake) => self.tick(),
            }
            if std::mem::take(&mut self.lost_address) {
                self.rescan(&events).await;
            }
        }
        self.finish(&events).await
    }

    async fn finish(mut self, events: &mpsc::Sender<Event>) -> Summary {
        let now = self.now();
        if let Phase::Active(call) = &mut self.phase {
            call.close(now);
        }
        let mut frames = tokio::time::interval(FRAME);
        self.drain(&mut frames, events);
        let no_path = (!self.connected).then(|| self.reach.with(self.relays.attempts()));
        self.relays.close(&self.network);
        let report = self.report();
        Summary { report, recording: self.sink.finish().await, no_path }
    }

    fn report(&self) -> Report {
        self.listener.report(self.sent, &self.link)
    }

    fn next_wake(&self) -> Tick {
        let queries = self.queries.iter().filter_map(|(_, query, _)| query.wake());
        let call = matches!(self.phase, Phase::Active(_)).then_some(self.wake);
        queries.chain(self.relays.wake()).chain(call).min().unwrap_or_else(|| self.now() + Duration::from_secs(60))
    }

    fn tick(&mut self) {
        let now = self.now();
        if let Phase::Active(call) = &mut self.phase {
            call.tick(now);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Activate(activation, reply) => {
                let _ = reply.send(self.activate(activation));
            }
            Command::Candidates(candidates) => {
                if let Phase::Active(call) = &mut self.phase {
                    for candidate in &candidates {
                        call.add_remote_candidate(now, candidate);
                    }
                } else {
                    let room = EARLY_CANDIDATES.saturating_sub(self.early_candidates.len());
                    self.early_candidates.extend(candidates.into_iter().take(room));
                }
            }
            Command::Offer(direction, reply) => {
                let _ = reply.send(self.with_call(|call| call.offer(now, direction)));
            }
            Command::Accept(answer, reply) => {
                let _ = reply.send(self.with_call(|call| call.accept(now, &answer)));
            }
            Command::RollBack => {
                if let Phase::Active(call) = &mut self.phase {
                    call.roll_back(now);
                }
            }
            Command::Answer(offer, wish, reply) => {
                let _ = reply.send(self.with_call(|call| call.answer(now, &offer, wish)));
            }
            Command::Mute(muted) => self.muted = muted,
            Command::Stop => {}
        }
    }

    fn with_call<T>(&mut self, act: impl FnOnce(&mut Call) -> Result<T, dsip_media::call::Error>) -> Result<T, Error> {
        match &mut self.phase {
            Phase::Active(call) => Ok(act(call)?),
            Phase::Over => Err(Error::State("over")),
            Phase::Offering(_) | Phase::Answering(_) => Err(Error::State("not active yet")),
        }
    }

    fn activate(&mut self, activation: Activation) -> Result<(), Error> {
        let now = self.now();
        let mut call = match (std::mem::replace(&mut self.phase, Phase::Over), activation) {
            (Phase::Offering(offer), Activation::Answered { sdp, permit }) => offer.accept(now, &sdp, permit)?,
            (Phase::Answering(answer), Activation::Answering { permit }) => answer.activate(now, permit),
            (phase, _) => {
                self.phase = phase;
                return Err(Error::State("not waiting for this activation"));
            }
        };
        for candidate in self.early_candidates.drain(..) {
            call.add_remote_candidate(now, &candidate);
        }
        for Arrival { source, destination, payload } in self.early.drain(..) {
            call.handle(now, Datagram { source, destination, payload: &payload });
        }
        self.phase = Phase::Active(Box::new(call));
        Ok(())
    }

    fn receive(&mut self, arrival: Arrival) {
        let now = self.now();
        let Arrival { source, destination, payload } = arrival;
        let mut queries = self.queries.iter_mut().filter(|(local, ..)| *local == destination);
        if queries.any(|(_, query, _)| query.handle(now, source, &payload)) {
            return;
        }
        let arrival = Arrival { source, destination, payload };
        if let Some(arrival) = self.relays.receive(now, arrival) {
            self.take(now, arrival);
        }
    }

    /// Takes in what a peer sent, however it came here.
    fn take(&mut self, now: Tick, arrival: Arrival) {
        let Arrival { source, destination, payload } = arrival;
        match &mut self.phase {
            Phase::Active(call) => call.handle(now, Datagram { source, destination, payload: &payload }),
            Phase::Offering(_) | Phase::Answering(_) if self.early.len() < EARLY => {
                self.early.push_back(Arrival { source, destination, payload });
            }
            _ => {}
        }
    }

    /// One frame out, one frame in.
    fn exchange_audio(&mut self, events: &mpsc::Sender<Event>) {
        let now = self.now();
        let Phase::Active(call) = &mut self.phase else { return };
        if call.can_send() {
            let pcm = self.source.next_frame();
            let spoken = if self.muted { self.speaker.speak(&vec![0.0; pcm.len()]) } else { self.speaker.speak(&pcm) };
            if let Some(spoken) = spoken {
                self.sent += u64::from(call.send(now, spoken.time, spoken.marker, &spoken.payload));
            }
            if self.source.ended() && !self.source_ended {
                self.source_ended = true;
                tell(events, Event::SourceEnded);
            }
        } else {
            self.speaker.skip();
        }
        self.sink.write(&self.listener.play(now));
    }

    /// Carries out what the call wants, until it wants nothing more.
    fn drain(&mut self, frames: &mut Interval, events: &mpsc::Sender<Event>) {
        let Phase::Active(call) = &mut self.phase else { return };
        loop {
            match call.poll() {
                Output::Transmit { source, destination, payload } => {
                    let now = Tick::default() + self.clock.elapsed();
                    let relayed = self.relays.send(now, &self.network, source, destination, &payload);
                    self.lost_address |= relayed.unwrap_or_else(|| self.network.send(source, destination, &payload));
                }
                Output::Event(event) => match event {
                    CallEvent::Connected => {
                        self.connected = true;
                        self.speaker.allow_dtx(call.peer_wants_dtx());
                        // Keep-alives of the mapping are ICE's business from here on.
                        self.queries.clear();
                        frames.reset_immediately();
                        tell(events, Event::Connected);
                    }
                    CallEvent::Frame(frame) => {
                        let now = Tick::default() + self.clock.elapsed();
                        self.listener.hear(now, &frame);
                    }
                    CallEvent::Link(link) => {
                        self.link = link;
                        self.speaker.adapt(&link);
                        if events.capacity() > RESERVED_EVENTS {
                            tell(events, Event::Stats(self.listener.report(self.sent, &link)));
                        }
                    }
                    CallEvent::Interrupted => {
                        self.lost_address = true;
                        tell(events, Event::Interrupted);
                    }
                    CallEvent::Resumed => tell(events, Event::Resumed),
                    CallEvent::Closed => tell(events, Event::Closed),
                    CallEvent::Failed(failure) => {
                        self.connected = false;
                        tell(events, Event::Failed(failure));
                        self.phase = Phase::Over;
                        return;
                    }
                },
                Output::Idle { wake } => {
                    self.wake = wake;
                    return;
                }
            }
        }
    }

    /// Asks STUN and TURN servers, and passes on what they said.
    fn gather(&mut self, events: &mpsc::Sender<Event>) {
        let now = self.now();
        let mut found = Vec::new();
        for (local, query, told) in &mut self.queries {
            if let Some(request) = query.poll(now) {
                self.network.send(*local, query.server(), &request);
            }
            self.reach.answered |= matches!(query.status(), Status::Seen(_));
            if let Status::Seen(seen) = query.status()
                && told.replace(seen) != Some(seen)
                && seen != *local
            {
                found.push((seen, *local));
            }
        }
        for (seen, base) in found {
            let candidate = match &mut self.phase {
                Phase::Offering(offer) => offer.add_reflexive(seen, base),
                Phase::Answering(answer) => answer.add_reflexive(seen, base),
                Phase::Active(call) => call.add_reflexive(now, seen, base),
                Phase::Over => None,
            };
            trickle(events, candidate);
        }
        self.gather_relayed(now, events);
        let asking = self.queries.iter().any(|(_, query, _)| query.status() == Status::Asking);
        if self.gathering && !asking && !self.relays.is_asking() {
            self.gathering = false;
            tell(events, Event::GatheringComplete);
        }
    }

    /// Keeps allocations alive, and tells the call which addresses came and went.
    fn gather_relayed(&mut self, now: Tick, events: &mpsc::Sender<Event>) {
        for change in self.relays.poll(now, &self.network) {
            let (relayed, base) = match change {
                Change::Added { relayed, base } => (relayed, base),
                Change::Removed(gone) => {
                    if let Phase::Active(call) = &mut self.phase {
                        call.remove_local(now, gone);
                    }
                    // Another may come in its place, of which the peer has to hear.
                    self.gathering = true;
                    continue;
                }
            };
            let candidate = match &mut self.phase {
                Phase::Offering(offer) => offer.add_relayed(relayed, base),
                Phase::Answering(answer) => answer.add_relayed(relayed, base),
                Phase::Active(call) => call.add_relayed(now, relayed, base),
                Phase::Over => None,
            };
            trickle(events, candidate);
        }
    }

    fn query(&mut self, local: SocketAddr) {
        let now = self.now();
        for server in self.turn.iter().filter(|server| server.address.is_ipv4() == local.is_ipv4()) {
            self.relays.ask(local, server.clone(), now);
        }
        for server in self.stun.iter().filter(|server| server.is_ipv4() == local.is_ipv4()) {
            let mut transaction = [0; 12];
            if getrandom::fill(&mut transaction).is_ok() {
                self.reach.asked = true;
                let query = Query::new(*server, transaction, now);
                self.queries.push((local, query, None));
            }
        }
    }

    /// Follows the machine's addresses: a phone that leaves one network for another keeps its call.
    async fn rescan(&mut self, events: &mpsc::Sender<Event>) {
        let change = match self.network.rescan().await {
            Ok(change) => change,
            Err(error) => {
                tracing::debug!(%error, "addresses unknown");
                return;
            }
        };
        let now = self.now();
        for local in &change.removed {
            self.queries.retain(|(asked, ..)| asked != local);
            let mut lost = self.relays.forget(*local);
            lost.push(*local);
            if let Phase::Active(call) = &mut self.phase {
                lost.into_iter().for_each(|lost| call.remove_local(now, lost));
            }
        }
        for local in change.added {
            let candidate = match &mut self.phase {
                Phase::Offering(offer) => offer.add_local(local),
                Phase::Answering(answer) => answer.add_local(local),
                Phase::Active(call) => call.add_local(now, local),
                Phase::Over => None,
            };
            trickle(events, candidate);
            self.query(local);
            self.gathering = true;
        }
    }
}

fn trickle(events: &mpsc::Sender<Event>, candidate: Option<Candidate>) {
    if let Some(candidate) = candidate {
        tell(events, Event::LocalCandidate(candidate));
    }
}

/// Nobody may hold up the audio by not listening.
fn tell(events: &mpsc::Sender<Event>, event: Event) {
    if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
        tracing::warn!(?event, "nobody takes the media events");
    }
}
