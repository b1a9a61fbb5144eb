//! The devices: identities made from the seed, each with a device key it delegated to and a link of its own.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dsip_endpoint::clock;
use dsip_endpoint::link::{Close, Dialer, Inbox, Link, Outbox, Stream, Target, Transport};
use dsip_endpoint::tls::Roots;
use dsip_proto::envelope::Signer;
use dsip_proto::identity::{Delegation, SecretKey, delegate};
use dsip_proto::time::Seed;
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::message::{Common, Hello};
use dsip_proto::wire::token::{BindingId, ProfileId};
use dsip_proto::wire::{Did, Envelope, Message, Ulid};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::Deserialize;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::alarm::Alarm;
use super::measure::{Fate, Flow, Measure, Stage, Waiting, note};

/// How long what devices sign is valid, unless it has to wait for somebody who is away.
const VALIDITY: Duration = Duration::from_secs(60);

/// How long a node may take to answer a hello.
const HELLO: Duration = Duration::from_secs(10);

/// How long a device that lost its link waits before it dials again: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long a device that comes and goes stays.
const STAY: Duration = Duration::from_secs(1);

/// How long it waits, once it wants to go, for what is on its way; and then for the node to notice that it is gone. What is
/// sent to it in that time would meet a closing connection: no node can know that nobody reads it any more.
const LEAVE: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_millis(300);

/// How often it looks whether something is still on its way to it.
const LOOK: Duration = Duration::from_millis(20);

/// How far a run has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Devices connect.
    Gathering,
    /// Exchanges begin.
    Load,
    /// None begins; what is on its way arrives.
    Draining,
    /// Devices leave.
    Over,
}

/// What the fleet needs to know.
pub(super) struct Config {
    pub(super) seed: u64,
    /// Devices that are there all the time, and those after them that come and go.
    pub(super) present: usize,
    pub(super) coming_and_going: usize,
    /// The node, over the binding to use: devices take turns.
    pub(super) targets: Vec<Target>,
    pub(super) roots: Roots,
    /// How long the delegations hold.
    pub(super) valid_for: Duration,
    /// How long a message may take before it counts as lost.
    pub(super) deadline: Duration,
    /// How long devices that come and go are away.
    pub(super) away: Duration,
    /// How long an interval of the measurement is.
    pub(super) interval: Duration,
}

/// One device.
pub(super) struct Device {
    pub(super) did: Did,
    pub(super) identity: Did,
    signer: Signer,
    /// The session of the `info` it sends.
    pub(super) talk: Ulid,
    dialer: Dialer,
    target: Target,
    link: Mutex<Option<Outbox>>,
    /// Whether its link has been bound at least once.
    bound: AtomicBool,
    /// When it last said hello, in microseconds of the run.
    back: AtomicU64,
    /// Whether something may be sent to it: not while it is about to leave.
    pub(super) takes: AtomicBool,
}

/// All devices, and what they share.
pub(super) struct Fleet {
    pub(super) devices: Vec<Device>,
    config: Config,
    epoch: Instant,
    pub(super) alarm: Alarm,
    measure: Mutex<Measure>,
    /// Message ids are fresh in every run, or a node that remembers the last one would refuse them.
    ids: Mutex<ChaCha20Rng>,
    phase: watch::Sender<Phase>,
    over: [AtomicUsize; 2],
}

/// What of a frame counts here. Verifying it would only load this machine.
#[derive(Deserialize)]
struct Heard {
    #[serde(rename = "type")]
    kind: String,
    id: Ulid,
    in_reply_to: Option<Ulid>,
    reason: Option<String>,
}

impl Fleet {
    pub(super) fn new(config: Config, ids: Seed, alarm: Alarm) -> Self {
        let mut ids = ids.into_rng();
        let (count, now) = (config.present + config.coming_and_going, clock::now().wall.secs());
        let until = now + config.valid_for.as_secs();
        let devices = (0..count).map(|number| {
            let mut rng = ChaCha20Rng::seed_from_u64(config.seed);
            rng.set_stream(number as u64);
            let mut key = || {
                let mut secret = [0; 32];
                rng.fill_bytes(&mut secret);
                SecretKey::from_bytes(&secret)
            };
            let (identity, key) = (key(), key());
            let (did, capabilities) = (key.did(), [Delegation::SIGNALING, Delegation::INTERACTIVE_MEDIA]);
            let kid = identity.public().kid();
            // An hour back, for a node whose clock is behind.
            let delegation = delegate(&identity, &kid, &did, &capabilities, now.saturating_sub(3600), until);
            let kid = key.public().kid();
            Device {
                did,
                identity: identity.did(),
                signer: Signer::new(key, kid, vec![delegation]),
                talk: Ulid::generate(clock::now().wall, &mut ids),
                dialer: Dialer::new(config.roots.clone()),
                target: config.targets[number % config.targets.len()].clone(),
                link: Mutex::new(None),
                bound: AtomicBool::new(false),
                back: AtomicU64::new(0),
                takes: AtomicBool::new(true),
            }
        });
        Self {
            devices: devices.collect(),
            epoch: Instant::now(),
            alarm,
            measure: Mutex::new(Measure::new(count, config.interval)),
            ids: Mutex::new(ids),
            phase: watch::Sender::new(Phase::Gathering),
            over: Default::default(),
            config,
        }
    }

    /// The time of the run.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(super) fn measure(&self) -> MutexGuard<'_, Measure> {
        lock(&self.measure)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Returns once the run has got to `phase`.
    pub(super) async fn reached(&self, phase: Phase) {
        // The sender lives in `self`.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Returns at that moment of the run, or false once exchanges are to come to an end.
    pub(super) async fn pause(&self, until: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.reached(Phase::Draining) => false,
            () = self.alarm.wait(self.epoch + until) => true,
        }
    }

    /// The numbers of the devices that have a link, of those that are always there or of those that come and go.
    pub(super) fn bound(&self, coming_and_going: bool) -> Vec<usize> {
        let all = if coming_and_going { self.config.present..self.devices.len() } else { 0..self.config.present };
        all.filter(|number| self.devices[*number].bound.load(Ordering::Relaxed)).collect()
    }

    /// How many links are open over WebSocket, and over QUIC.
    pub(super) fn over(&self) -> [usize; 2] {
        [0, 1].map(|of| self.over[of].load(Ordering::Relaxed))
    }

    /// The members that every message has.
    pub(super) fn common(&self, from: &Device, profiles: &[ProfileId]) -> Common {
        let wall = clock::now().wall;
        Common {
            dsip: VersionBlock::new(profiles),
            id: Ulid::generate(wall, &mut *lock(&self.ids)),
            from: from.did.clone(),
            issued_at: wall.secs(),
            expires_at: wall.secs() + VALIDITY.as_secs(),
        }
    }

    /// Has `from` send a message that should have been sent at `intended`, and waits for what becomes of it.
    pub(super) async fn say(
        &self,
        flow: Flow,
        (from, to): (usize, usize),
        intended: Duration,
        mut message: Message,
    ) -> Fate {
        let mut due = intended + self.config.deadline;
        if flow == Flow::Stored
            && let Message::Info(info) = &mut message
        {
            let longest = self.config.away + STAY + LEAVE + SETTLE;
            due += longest;
            info.common.expires_at += longest.as_secs();
        }
        let sender = &self.devices[from];
        let (id, stream) = (message.common().id, message.session().map_or(Stream::Control, Stream::Session));
        let text: Arc<str> = sender.signer.sign(&message).text().into();
        let (tell, told) = oneshot::channel();
        let waiting = Waiting { flow, to, intended, due, hash: hash(&text), tell };
        // First the note, then the message: its arrival may be faster than this task.
        self.measure().sent(id, waiting, self.now());
        let sent = match &*lock(&sender.link) {
            Some(link) => link.send(stream, text).map_err(|error| error.to_string()),
            None => Err("its sender is not connected".into()),
        };
        if let Err(why) = sent {
            self.measure().unsent(id, &why);
        }
        told.await.unwrap_or(Fate::Lost)
    }

    /// Plays the device with this number until the run is over: dials at `first`, and again whenever the link is lost.
    pub(super) async fn live(self: Arc<Self>, number: usize, first: Duration) {
        let device = &self.devices[number];
        let comes_and_goes = number >= self.config.present;
        let (mut intended, mut wait) = (first, BACK_OFF.0);
        // They begin to come back one after the other, not all at once.
        let turn = (number + 1).saturating_sub(self.config.present);
        let mut away = self.config.away.mul_f64(turn as f64 / self.config.coming_and_going.max(1) as f64);
        loop {
            tokio::select! {
                () = sleep_until((self.epoch + intended).into()) => {}
                () = self.reached(Phase::Over) => return,
            }
            // Who did not get in while everybody gathered takes no part.
            if *self.phase.borrow() > Phase::Gathering && !device.bound.load(Ordering::Relaxed) {
                return;
            }
            let connected = tokio::select! {
                connected = self.connect(device, intended) => connected,
                () = self.reached(Phase::Over) => return,
            };
            match connected {
                Ok((transport, outbox, inbox)) => {
                    wait = BACK_OFF.0;
                    let over = &self.over[usize::from(transport == Transport::Quic)];
                    over.fetch_add(1, Ordering::Relaxed);
                    *lock(&device.link) = Some(outbox);
                    device.bound.store(true, Ordering::Relaxed);
                    let left = self.stay(number, inbox, comes_and_goes).await;
                    *lock(&device.link) = None;
                    over.fetch_sub(1, Ordering::Relaxed);
                    if left {
                        sleep(SETTLE).await;
                        device.takes.store(true, Ordering::Relaxed);
                        tokio::select! {
                            () = sleep(away) => {}
                            () = self.reached(Phase::Draining) => {}
                        }
                        away = self.config.away;
                        intended = self.now();
                        continue;
                    }
                }
                Err((stage, why)) => self.measure().fault(stage, &why),
            }
            intended = self.now() + wait;
            wait = (2 * wait).min(BACK_OFF.1);
        }
    }

    /// Opens a link and says hello on it.
    async fn connect(
        &self,
        device: &Device,
        intended: Duration,
    ) -> Result<(Transport, Outbox, Inbox), (Stage, String)> {
        let mut link = device.dialer.open(&device.target).await.map_err(|error| (Stage::Connect, error.to_string()))?;
        let opened = self.now();
        let common = self.common(device, &[]);
        let id = common.id;
        let hello = Message::from(Hello {
            common,
            on_behalf_of: Some(device.identity.clone()),
            bindings: Some(vec![BindingId::WS, BindingId::QUIC]),
            in_reply_to: None,
            capabilities: None,
        });
        let text = device.signer.sign_for(&hello, &device.target.audience()).text();
        // What waited at the node follows its hello at once.
        device.back.store(micros(opened), Ordering::Relaxed);
        let failed = |why: String| (Stage::Hello, why);
        link.send(Stream::Control, text.into()).map_err(|error| failed(error.to_string()))?;
        let answered = timeout(HELLO, answer(&mut link, id)).await;
        answered.map_err(|_| failed("no answer within 10 seconds".into()))?.map_err(failed)?;
        let bound = self.now();
        let mut measure = self.measure();
        note(&mut measure.connect, opened.saturating_sub(intended));
        note(&mut measure.bind, bound.saturating_sub(intended));
        drop(measure);
        let transport = link.transport();
        let (outbox, inbox) = link.split();
        Ok((transport, outbox, inbox))
    }

    /// Reads until the link ends. Whether the device ended it, to be away for a while.
    async fn stay(&self, number: usize, mut inbox: Inbox, comes_and_goes: bool) -> bool {
        let device = &self.devices[number];
        let mut leaving = Box::pin(async {
            if !comes_and_goes {
                return std::future::pending().await;
            }
            self.reached(Phase::Load).await;
            sleep(STAY).await;
            if *self.phase.borrow() != Phase::Load {
                return std::future::pending().await;
            }
            device.takes.store(false, Ordering::Relaxed);
            let last = self.now() + LEAVE;
            while self.measure().towards(number) > 0 && self.now() < last {
                sleep(LOOK).await;
            }
            if let Some(link) = &*lock(&device.link) {
                link.close(Close::Done);
            }
        });
        let mut ended = Box::pin(self.reached(Phase::Over));
        let (mut left, mut over) = (false, false);
        loop {
            tokio::select! {
                frame = inbox.recv() => match frame {
                    Ok(frame) => self.heard(number, &frame),
                    Err(why) => {
                        if !left && !over {
                            self.measure().fault(Stage::Closed, &why.to_string());
                            device.takes.store(true, Ordering::Relaxed);
                        }
                        return left;
                    }
                },
                () = &mut leaving, if !left => left = true,
                () = &mut ended, if !over => {
                    over = true;
                    if let Some(link) = &*lock(&device.link) {
                        link.close(Close::Done);
                    }
                }
            }
        }
    }

    /// A frame came to this device.
    fn heard(&self, number: usize, frame: &str) {
        let at = self.now();
        let back = Duration::from_micros(self.devices[number].back.load(Ordering::Relaxed));
        let Some(heard) = read(frame) else {
            self.measure().altered += 1;
            return;
        };
        let mut measure = self.measure();
        if measure.arrived(heard.id, number, hash(frame), back, at) {
            return;
        }
        // What the node says itself: no to one message, or no to a call whose callee fell silent (RLY-44).
        match heard.kind.as_str() {
            "error" | "reject" => {
                measure.refused(heard.in_reply_to, heard.reason.as_deref().unwrap_or("no reason"), at);
            }
            _ => measure.unexpected += 1,
        }
    }
}

/// Waits for the node's hello, or its refusal.
async fn answer(link: &mut Link, hello: Ulid) -> Result<(), String> {
    loop {
        let frame = link.recv().await.map_err(|closed| closed.to_string())?;
        match read(&frame) {
            Some(heard) if heard.in_reply_to == Some(hello) => {
                let refused = heard.reason.filter(|_| heard.kind == "error");
                return refused.map_or(Ok(()), Err);
            }
            // Nothing else comes before it (HEL-4).
            _ => {}
        }
    }
}

fn read(frame: &str) -> Option<Heard> {
    serde_json::from_slice(&Envelope::parse(frame).ok()?.payload_bytes()).ok()
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Counters and queues: a panic elsewhere does not make them wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
