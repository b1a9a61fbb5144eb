//! The one task that owns the swarm. It moves records between peers, the verifier and the store, and keeps the books of
//! running look-ups; what a text is worth is decided by `check`, who may hand one over by `limits`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dsip_proto::hints::{self, PROTOCOL, Record, Refusal};
use dsip_proto::identity::Documents;
use dsip_proto::time::Now;
use dsip_proto::wire::Did;
use futures_util::StreamExt as _;
use futures_util::io::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, ListenerId};
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::{Multiaddr, Protocol};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{
    PeerId, StreamProtocol, Swarm, Transport as _, allow_block_list, connection_limits, dns, identify, identity, kad,
    noise, ping, tcp, yamux,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::check::{self, Checker};
use super::limits::Limits;
use super::store::{Kept, Store};
use super::{Config, Dht, Effort, Error, FetchDocuments, Found, Peer, Published, Role, Warning, remembered};
use crate::clock;

/// A whole look-up or publication ends after this long, with what it has.
const QUERY: Duration = Duration::from_secs(8);
/// A connection, Noise handshake included, has to stand after this long. A dead peer costs a look-up no more.
const CONNECT: Duration = Duration::from_secs(4);
/// How long a command waits for the first peer to be reached.
const JOIN: Duration = Duration::from_secs(6);
/// How long the first look around may take once a peer has been reached.
const LOOK_AROUND: Duration = Duration::from_secs(30);
/// Once a record is in, silent peers are waited for twice as long as the slowest answer took, within these bounds.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));
/// Connections rest this long before they close: a look-up over open ones takes one round trip.
const IDLE: Duration = Duration::from_secs(600);
/// Peers asked at a time on the way to a key: as many as are asked in the end, so that where they are known already one
/// round trip does.
const PARALLELISM: usize = 20;
/// A record's envelope has at most 65,536 bytes (DHT-4); the packet around it a little more.
const MAX_PACKET: usize = 65_536 + 16 * 1024;
/// Connections of a node: what 20 KiB each may cost altogether.
const MAX_CONNECTIONS: u32 = 2048;
/// Connections from one address of the public internet.
const MAX_PER_ADDRESS: usize = 32;
/// Verifications that wait for a document at one time; more are refused, for a stranger can cause them.
const MAX_FETCHES: usize = 64;
/// Addresses believed of one peer.
const MAX_ADDRESSES: usize = 8;
/// Answers to one look-up that are counted, and different texts among them that are looked at: an honest overlay gives
/// twenty answers of one or two texts.
const MAX_ANSWERS: usize = 256;
const MAX_TEXTS: usize = 64;
/// Commands that wait at one time.
const MAX_COMMANDS: usize = 256;

pub(super) enum Command {
    Find { subject: Did, reply: oneshot::Sender<Result<Found, Error>> },
    Publish { text: Arc<str>, reply: oneshot::Sender<Result<Published, Error>> },
    Introduce { address: Multiaddr },
    Peers { reply: oneshot::Sender<Vec<Peer>> },
    Joined { reply: oneshot::Sender<Result<(), Error>> },
    Shutdown { reply: oneshot::Sender<()> },
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    limits: connection_limits::Behaviour,
    kad: kad::Behaviour<Store>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// Takes part over TCP.
pub(super) async fn start(config: Config) -> Result<Dht, Error> {
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    // A machine without a resolver configuration can still reach peers by address.
    let streams = match dns::tokio::Transport::system(tcp()) {
        Ok(named) => named.boxed(),
        Err(error) => {
            tracing::debug!(%error, "no DNS configuration; DHT peers are reached by address only");
            tcp().boxed()
        }
    };
    start_over(config, streams).await
}

/// Takes part over whatever carries bytes between the addresses of `config`.
pub(super) async fn start_over<S>(config: Config, streams: Boxed<S>) -> Result<Dht, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (keypair, listen, hosts, mode) = match config.role {
        Role::Node { mut secret, listen, hosts } => {
            let keypair = identity::Keypair::ed25519_from_bytes(&mut secret)
                .map_err(|error| Error::Setup(format!("not an Ed25519 key: {error}")))?;
            (keypair, listen, hosts, kad::Mode::Server)
        }
        Role::Device => (identity::Keypair::generate_ed25519(), Vec::new(), Vec::new(), kad::Mode::Client),
    };
    let here = keypair.public().to_peer_id();
    let mut swarm = Swarm::new(
        secured(streams, &keypair)?,
        behaviour(&keypair, mode),
        here,
        libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE)
            // The dialer states its only protocol together with its request: one round trip less per question.
            .with_substream_upgrade_protocol_override(Version::V1Lazy),
    );
    let mut listening = Vec::new();
    for socket in listen {
        listening.extend(listen_on(&mut swarm, socket).await?);
    }
    let named =
        hosts.iter().flat_map(|host| listening.iter().filter_map(move |at| super::under(host, at))).collect::<Vec<_>>();
    for address in &named {
        swarm.add_external_address(address.clone());
    }
    listening.splice(0..0, named);
    let listening = listening.into_iter().filter_map(|address| address.with_p2p(here).ok()).collect();

    let remembered = match &config.remembered {
        Some(path) => remembered::load(path).await,
        None => Vec::new(),
    };
    let checker = Checker::new()?;
    let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
    let driver = Driver {
        swarm,
        inbox,
        checker,
        finds: HashMap::new(),
        puts: HashMap::new(),
        waiting: Vec::new(),
        joined: false,
        looking_around: None,
        fetches: JoinSet::new(),
        fetch: config.documents,
        limits: Limits::default(),
        bootstrap: config.bootstrap,
        known: remembered.into_iter().collect(),
        remembered: config.remembered,
        unsaved: false,
        connections: HashMap::new(),
        serves: mode == kad::Mode::Server,
    };
    tokio::spawn(driver.run());
    Ok(Dht { commands, peer: here, listening })
}

fn secured<S>(streams: Boxed<S>, keypair: &identity::Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let noise = noise::Config::new(keypair).map_err(|error| Error::Setup(error.to_string()))?;
    let secured = streams.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux::Config::default());
    Ok(secured.timeout(CONNECT).boxed())
}

fn behaviour(keypair: &identity::Keypair, mode: kad::Mode) -> Behaviour {
    let here = keypair.public().to_peer_id();
    let protocol = StreamProtocol::new(PROTOCOL);
    let mut config = kad::Config::new(protocol);
    config
        .set_query_timeout(QUERY)
        .set_substreams_timeout(CONNECT)
        .set_parallelism(std::num::NonZeroUsize::new(PARALLELISM).unwrap_or(kad::ALPHA_VALUE))
        .set_max_packet_size(MAX_PACKET)
        // DHT-28: Kademlia stores nothing by itself, neither what it is handed nor what it sees passing by.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_caching(kad::Caching::Disabled)
        .set_record_ttl(Some(Duration::from_secs(3600)))
        // The publisher's new signature every 240 s is what keeps a record alive; nodes only pass it on to newcomers.
        .set_replication_interval(Some(Duration::from_secs(600)))
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let mut kad = kad::Behaviour::with_config(here, Store::new(here), config);
    kad.set_mode(Some(mode));
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(128))
        .with_max_established(Some(MAX_CONNECTIONS))
        .with_max_established_per_peer(Some(4));
    Behaviour {
        blocked: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(limits),
        kad,
        identify: identify::Behaviour::new(
            identify::Config::new(PROTOCOL.to_owned(), keypair.public()).with_agent_version("dsip".to_owned()),
        ),
        ping: ping::Behaviour::default(),
    }
}

async fn listen_on(swarm: &mut Swarm<Behaviour>, socket: SocketAddr) -> Result<Vec<Multiaddr>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Listen(socket, error.to_string());
    let listener: ListenerId = swarm.listen_on(super::multiaddr(socket)).map_err(|error| failed(&error))?;
    loop {
        match swarm.select_next_some().await {
            // A socket on all interfaces announces one address after the other; the first says which port it is, and
            // identify carries the rest.
            SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => return Ok(vec![address]),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                return Err(reason.err().map_or_else(|| failed(&"closed"), |error| failed(&error)));
            }
            _ => {}
        }
    }
}

struct Driver {
    swarm: Swarm<Behaviour>,
    inbox: mpsc::Receiver<Command>,
    checker: Checker,
    finds: HashMap<kad::QueryId, Find>,
    puts: HashMap<kad::QueryId, Put>,
    /// Commands that came before anybody was reached, and when they came.
    waiting: Vec<(Instant, Command)>,
    joined: bool,
    looking_around: Option<kad::QueryId>,
    fetches: JoinSet<Fetched>,
    fetch: Option<FetchDocuments>,
    limits: Limits,
    bootstrap: Vec<Multiaddr>,
    /// Peers that were seen to serve, for the file and for finding back after an outage.
    known: BTreeMap<PeerId, Multiaddr>,
    remembered: Option<PathBuf>,
    unsaved: bool,
    /// Where each open connection leads.
    connections: HashMap<ConnectionId, Multiaddr>,
    serves: bool,
}

/// A look-up under way.
struct Find {
    subject: Did,
    key: Vec<u8>,
    began: Instant,
    reply: oneshot::Sender<Result<Found, Error>>,
    /// Peers that were known when it began: whoever is not among them took another round to get to.
    near: BTreeSet<PeerId>,
    /// What came back, each distinct text once, so that twenty copies cost one signature check.
    texts: Vec<(Arc<str>, Checked)>,
    answers: Vec<(Option<PeerId>, usize)>,
    hops: Option<u32>,
    /// When the first record that verifies was in.
    first: Option<Duration>,
    answered: u32,
    last_answer: Instant,
    ended: Option<kad::QueryStats>,
}

enum Checked {
    Fetching,
    Done(Result<Arc<Record>, Refusal>),
}

/// A publication under way: first the nodes around the key are looked for, then they are handed the record.
struct Put {
    record: Record,
    began: Instant,
    reply: oneshot::Sender<Result<Published, Error>>,
    kept_here: bool,
    requests: u32,
    answered: u32,
    asked: usize,
}

/// Documents came in for something that waits to be verified.
struct Fetched {
    waiting: Waiting,
    text: Arc<str>,
    documents: Documents,
    /// Whether all that was asked for could be had.
    complete: bool,
}

enum Waiting {
    Answer(kad::QueryId),
    Handed { from: PeerId, key: Vec<u8> },
    Publish(oneshot::Sender<Result<Published, Error>>),
}

impl Driver {
    async fn run(mut self) {
        self.dial_somebody();
        let mut housekeeping = tokio::time::interval(Duration::from_secs(10));
        let mut saving = tokio::time::interval(Duration::from_secs(60));
        let mut deadlines = tokio::time::interval(Duration::from_millis(50));
        deadlines.set_missed_tick_behavior(MissedTickBehavior::Delay);
        housekeeping.tick().await;
        saving.tick().await;
        loop {
            let hurry = !self.finds.is_empty() || !self.puts.is_empty() || !self.waiting.is_empty();
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.inbox.recv() => match command {
                    Some(Command::Shutdown { reply }) => {
                        self.save();
                        drop(self);
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.on_command(Instant::now(), command),
                    None => {
                        self.save();
                        return;
                    }
                },
                Some(Ok(fetched)) = self.fetches.join_next() => self.on_fetched(fetched),
                _ = housekeeping.tick() => self.keep_house(),
                _ = saving.tick() => self.save(),
                // Kademlia looks at its deadlines only when it is polled.
                _ = deadlines.tick(), if hurry => self.look_at_deadlines(),
            }
        }
    }

    fn on_command(&mut self, since: Instant, command: Command) {
        // A node may be asked for what it holds itself before it knows anybody.
        let nobody = !self.serves && self.swarm.behaviour_mut().kad.kbuckets().next().is_none();
        match command {
            Command::Peers { reply } => {
                let _ = reply.send(self.peers());
            }
            Command::Introduce { address } => self.dial(&address),
            Command::Joined { reply } if self.joined => {
                let _ = reply.send(Ok(()));
            }
            Command::Find { subject, reply } if !nobody => self.find(since, subject, reply),
            Command::Publish { text, reply } if !nobody => self.publish(since, text, reply),
            command => {
                if self.is_alone() {
                    self.dial_somebody();
                }
                self.waiting.push((since, command));
            }
        }
    }

    fn look_at_deadlines(&mut self) {
        let now = Instant::now();
        let looking_around = self.looking_around.is_some();
        let alone = self.is_alone();
        let over = |(since, command): &mut (Instant, Command)| {
            let waits_for_others = looking_around && matches!(command, Command::Joined { .. });
            alone || now.duration_since(*since) >= if waits_for_others { LOOK_AROUND } else { JOIN }
        };
        for (_, command) in self.waiting.extract_if(.., over) {
            match command {
                Command::Find { reply, .. } => drop(reply.send(Err(Error::NoPeers))),
                Command::Publish { reply, .. } => drop(reply.send(Err(Error::NoPeers))),
                Command::Joined { reply } => drop(reply.send(Err(Error::NoPeers))),
                Command::Introduce { .. } | Command::Peers { .. } | Command::Shutdown { .. } => {}
            }
        }
        let kad = &mut self.swarm.behaviour_mut().kad;
        let mut over = Vec::new();
        for (id, find) in &mut self.finds {
            if find.ended.is_some() {
                if find.began.elapsed() >= QUERY + CONNECT {
                    over.push(*id);
                }
                continue;
            }
            let Some(mut query) = kad.query_mut(id) else { continue };
            let answered = query.stats().num_successes();
            if answered != find.answered {
                find.answered = answered;
                find.last_answer = now;
            }
            let slowest = find.last_answer.duration_since(find.began);
            let patience = (slowest * 2).clamp(PATIENCE.0, PATIENCE.1);
            if answered > 0 && find.has_record() && now.duration_since(find.last_answer) >= patience {
                query.finish();
            }
        }
        for id in over {
            self.conclude(id, true);
        }
    }

    // ---- looking up (DHT-29)

    fn find(&mut self, since: Instant, subject: Did, reply: oneshot::Sender<Result<Found, Error>>) {
        let key = hints::key(subject.as_str()).to_vec();
        let kad = &mut self.swarm.behaviour_mut().kad;
        let near = kad
            .kbuckets()
            .flat_map(|bucket| bucket.iter().map(|entry| *entry.node.key.preimage()).collect::<Vec<_>>())
            .collect();
        let id = kad.get_record(kad::RecordKey::new(&key));
        let find = Find {
            subject,
            key,
            began: since,
            reply,
            near,
            texts: Vec::new(),
            answers: Vec::new(),
            hops: None,
            first: None,
            answered: 0,
            last_answer: Instant::now(),
            ended: None,
        };
        self.finds.insert(id, find);
    }

    fn on_answer(&mut self, id: kad::QueryId, peer: Option<PeerId>, value: Vec<u8>) {
        let Some(find) = self.finds.get_mut(&id) else { return };
        // One answer per peer: a peer that repeats itself gains nothing.
        if find.answers.len() >= MAX_ANSWERS || find.answers.iter().any(|(who, _)| *who == peer) {
            return;
        }
        let text: Arc<str> = String::from_utf8_lossy(&value).into();
        let at = match find.texts.iter().position(|(known, _)| *known == text) {
            Some(at) => at,
            None if find.texts.len() >= MAX_TEXTS => return,
            None => {
                let checked = match self.needs(&text) {
                    Some(dids) if self.fetch(Waiting::Answer(id), text.clone(), &dids) => Checked::Fetching,
                    _ => Checked::Done(self.checker.check(&text, &Documents::default()).map(Arc::new)),
                };
                let Some(find) = self.finds.get_mut(&id) else { return };
                find.texts.push((text, checked));
                find.texts.len() - 1
            }
        };
        let Some(find) = self.finds.get_mut(&id) else { return };
        find.answers.push((peer, at));
        find.note_first();
        if find.hops.is_none() {
            find.hops = Some(peer.map_or(0, |peer| if find.near.contains(&peer) { 1 } else { 2 }));
        }
    }

    fn on_find_ended(&mut self, id: kad::QueryId, stats: kad::QueryStats) {
        let Some(find) = self.finds.get_mut(&id) else { return };
        if stats.num_successes() == 0 && find.answers.is_empty() && find.began.elapsed() < JOIN {
            // All the peers known so far are gone; others may be about to be reached.
            if let Some(Find { subject, reply, began, .. }) = self.finds.remove(&id) {
                self.waiting.push((began, Command::Find { subject, reply }));
            }
            return;
        }
        find.ended = Some(stats);
        self.conclude(id, false);
    }

    /// Ends a look-up whose peers have all answered, unless documents are still to come.
    fn conclude(&mut self, id: kad::QueryId, anyway: bool) {
        let fetching = |find: &Find| find.texts.iter().any(|(_, checked)| matches!(checked, Checked::Fetching));
        if !anyway && self.finds.get(&id).is_none_or(|find| find.ended.is_none() || fetching(find)) {
            return;
        }
        let Some(mut find) = self.finds.remove(&id) else { return };
        for (text, checked) in &mut find.texts {
            if matches!(checked, Checked::Fetching) {
                *checked = Checked::Done(self.checker.check(text, &Documents::default()).map(Arc::new));
            }
        }
        let stats = find.ended;
        let effort = Effort {
            requests: stats.as_ref().map_or(0, kad::QueryStats::num_requests),
            answered: stats.as_ref().map_or(0, kad::QueryStats::num_successes),
            hops: find.hops,
            first: find.first,
            elapsed: find.began.elapsed(),
        };
        let result = if effort.answered == 0 && find.answers.is_empty() && !self.serves {
            Err(Error::NoPeers)
        } else {
            Ok(find.fold(clock::now(), effort))
        };
        // The process may end with the answer.
        self.save();
        let Find { reply, .. } = find;
        let _ = reply.send(result);
    }

    // ---- publishing

    fn publish(&mut self, since: Instant, text: Arc<str>, reply: oneshot::Sender<Result<Published, Error>>) {
        match self.needs(&text) {
            Some(dids) => {
                self.fetch(Waiting::Publish(reply), text, &dids);
            }
            None => {
                let checked = self.checker.check(&text, &Documents::default());
                self.publish_checked(since, checked, reply);
            }
        }
    }

    fn publish_checked(
        &mut self,
        since: Instant,
        record: Result<Record, Refusal>,
        reply: oneshot::Sender<Result<Published, Error>>,
    ) {
        let record = match record {
            Ok(record) => record,
            Err(refusal) => return drop(reply.send(Err(refusal.into()))),
        };
        let here = *self.swarm.local_peer_id();
        let wall = clock::now().wall.secs();
        let kad = &mut self.swarm.behaviour_mut().kad;
        let kept_here = self.serves && kad.store_mut().keep(record.clone(), here, wall) == Kept::Stored;
        let id = kad.get_closest_peers(key(&record));
        self.puts.insert(id, Put { record, began: since, reply, kept_here, requests: 0, answered: 0, asked: 0 });
    }

    fn on_closest(&mut self, id: kad::QueryId, peers: Vec<PeerId>, stats: &kad::QueryStats) {
        let Some(mut put) = self.puts.remove(&id) else { return };
        put.requests = stats.num_requests();
        put.answered = stats.num_successes();
        put.asked = peers.len();
        if peers.is_empty() {
            if put.kept_here {
                put.finish(0, stats);
            } else if put.began.elapsed() < JOIN {
                let text = put.record.text().clone();
                self.waiting.push((put.began, Command::Publish { text, reply: put.reply }));
            } else {
                let _ = put.reply.send(Err(Error::NoPeers));
            }
            return;
        }
        let left = put.record.standing().expires_at.saturating_sub(clock::now().wall.secs());
        let record = kad::Record {
            key: key(&put.record).into(),
            value: put.record.text().as_bytes().to_vec(),
            publisher: None,
            expires: Some(Instant::now() + Duration::from_secs(left)),
        };
        let id = self.swarm.behaviour_mut().kad.put_record_to(record, peers.into_iter(), kad::Quorum::All);
        self.puts.insert(id, put);
    }

    fn on_put(&mut self, id: kad::QueryId, result: kad::PutRecordResult, stats: &kad::QueryStats) {
        let Some(put) = self.puts.remove(&id) else { return };
        let accepted = match result {
            Ok(_) => put.asked,
            Err(kad::PutRecordError::QuorumFailed { success, .. } | kad::PutRecordError::Timeout { success, .. }) => {
                success.len()
            }
        };
        put.finish(accepted, stats);
    }

    // ---- storing for others (DHT-28)

    fn on_handed(&mut self, from: PeerId, handed: kad::Record) {
        let key: Vec<u8> = handed.key.to_vec();
        if self.swarm.behaviour_mut().kad.store_mut().holds(&key, &handed.value) {
            return;
        }
        if !self.limits.admits(from, Instant::now()) {
            tracing::trace!(%from, "too many records from one peer");
            return;
        }
        let text: Arc<str> = String::from_utf8_lossy(&handed.value).into();
        match self.needs(&text) {
            Some(dids) => {
                self.fetch(Waiting::Handed { from, key }, text, &dids);
            }
            None => {
                let checked = self.checker.check(&text, &Documents::default());
                self.keep(from, &key, checked);
            }
        }
    }

    fn keep(&mut self, from: PeerId, under: &[u8], checked: Result<Record, Refusal>) {
        match checked {
            Ok(record) if key(&record) == under => {
                let (subject, seq) = (record.subject().clone(), record.standing().seq);
                let wall = clock::now().wall.secs();
                match self.swarm.behaviour_mut().kad.store_mut().keep(record, from, wall) {
                    Kept::Stored | Kept::Older => {}
                    Kept::Conflict => tracing::debug!(%subject, seq, "two live hints with one sequence number"),
                    Kept::Full => tracing::debug!(%from, "no room for a hint"),
                }
            }
            Ok(_) => self.on_refused(from, &Refusal::SubjectMismatch),
            Err(refusal) => self.on_refused(from, &refusal),
        }
    }

    fn on_refused(&mut self, from: PeerId, refusal: &Refusal) {
        tracing::trace!(%from, %refusal, "a record was refused");
        if self.limits.refused(from, Instant::now()) {
            tracing::debug!(%from, "a peer handed over too many bad records and is shut out");
            self.swarm.behaviour_mut().blocked.block_peer(from);
            self.forget(from);
        }
    }

    // ---- documents of did:web subjects

    /// The documents that verifying `text` takes and that cannot be derived, unless there are none.
    fn needs(&self, text: &str) -> Option<Vec<Did>> {
        let dids = check::needs(text);
        (!dids.is_empty() && self.fetch.is_some()).then_some(dids)
    }

    fn fetch(&mut self, waiting: Waiting, text: Arc<str>, dids: &[Did]) -> bool {
        let Some(fetch) = self.fetch.as_ref().filter(|_| self.fetches.len() < MAX_FETCHES) else { return false };
        let documents = fetch(dids.to_vec());
        let dids = dids.to_vec();
        self.fetches.spawn(async move {
            let documents = tokio::time::timeout(QUERY, documents).await.unwrap_or_default();
            let complete = dids.iter().all(|did| documents.get(did).is_some());
            Fetched { waiting, text, documents, complete }
        });
        true
    }

    fn on_fetched(&mut self, Fetched { waiting, text, documents, complete }: Fetched) {
        let checked = self.checker.check(&text, &documents);
        match waiting {
            Waiting::Answer(id) => {
                if let Some(find) = self.finds.get_mut(&id)
                    && let Some((_, slot)) = find.texts.iter_mut().find(|(known, _)| *known == text)
                {
                    *slot = Checked::Done(checked.map(Arc::new));
                    find.note_first();
                    self.conclude(id, false);
                }
            }
            // A document that cannot be had is not the handing peer's fault: no mark against it.
            Waiting::Handed { from, key } if complete || checked.is_ok() => self.keep(from, &key, checked),
            Waiting::Handed { from, .. } => tracing::trace!(%from, "a document for a hint is not to be had"),
            Waiting::Publish(reply) => self.publish_checked(Instant::now(), checked, reply),
        }
    }

    // ---- peers

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.on_kad(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
                ..
            })) => self.on_identified(peer_id, connection_id, &info),
            SwarmEvent::ConnectionEstablished { connection_id, peer_id, endpoint, .. } => {
                let remote = endpoint.get_remote_address();
                let shared = |known: &&Multiaddr| public_ip(known).is_some_and(|ip| Some(ip) == public_ip(remote));
                if endpoint.is_listener() && self.connections.values().filter(shared).count() >= MAX_PER_ADDRESS {
                    self.swarm.close_connection(connection_id);
                }
                self.connections.insert(connection_id, remote.clone());
                if endpoint.is_dialer() {
                    self.learn(peer_id, remote.clone());
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.connections.remove(&connection_id);
            }
            // Whoever cannot be dialled is not handed on to others, and costs no later look-up a timeout; a peer that
            // comes back introduces itself again. With no connection left, the fault is more likely ours.
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), .. }
                if !self.connections.is_empty() && !self.swarm.is_connected(&peer) =>
            {
                self.forget(peer);
            }
            _ => {}
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest {
                request: kad::InboundRequest::PutRecord { source, record: Some(record), .. },
            } => self.on_handed(source, record),
            kad::Event::OutboundQueryProgressed { id, result, stats, step } => match result {
                kad::QueryResult::GetRecord(result) => {
                    if let Ok(kad::GetRecordOk::FoundRecord(found)) = result {
                        self.on_answer(id, found.peer, found.record.value);
                    }
                    if step.last {
                        self.on_find_ended(id, stats);
                    }
                }
                kad::QueryResult::GetClosestPeers(_) if self.looking_around == Some(id) => {
                    self.joined = stats.num_successes() > 0;
                    self.looking_around = None;
                    self.try_again();
                }
                kad::QueryResult::GetClosestPeers(result) => {
                    let peers = match result {
                        Ok(found) => found.peers,
                        Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
                    };
                    self.on_closest(id, peers.into_iter().map(|peer| peer.peer_id).collect(), &stats);
                }
                kad::QueryResult::PutRecord(result) => self.on_put(id, result, &stats),
                _ => {}
            },
            _ => {}
        }
    }

    fn try_again(&mut self) {
        for (since, command) in std::mem::take(&mut self.waiting) {
            self.on_command(since, command);
        }
    }

    fn on_identified(&mut self, peer: PeerId, connection: ConnectionId, info: &identify::Info) {
        if !info.protocols.iter().any(|protocol| protocol.as_ref() == PROTOCOL) {
            return;
        }
        // A public peer may not send others into our, or their, private network.
        let nearby = self.connections.get(&connection).is_some_and(is_nearby);
        let here = *self.swarm.local_peer_id();
        let kad = &mut self.swarm.behaviour_mut().kad;
        let addresses: Vec<_> = info
            .listen_addrs
            .iter()
            .filter(|address| nearby || !is_nearby(address))
            .take(MAX_ADDRESSES)
            .cloned()
            .collect();
        for address in &addresses {
            kad.add_address(&peer, address.clone());
        }
        // Who is around here? Kademlia refreshes its further buckets by itself, half a second later.
        if !self.joined && self.looking_around.is_none() {
            self.looking_around = Some(kad.get_closest_peers(here));
        }
        if let Some(address) = addresses.into_iter().next() {
            self.learn(peer, address);
        }
        self.try_again();
    }

    /// Whether there is no connection, and none about to be.
    fn is_alone(&self) -> bool {
        let info = self.swarm.network_info();
        let counters = info.connection_counters();
        counters.num_established() == 0 && counters.num_pending() == 0
    }

    fn learn(&mut self, peer: PeerId, address: Multiaddr) {
        let address = remembered::split(address.clone()).map_or(address, |(_, address)| address);
        // Whoever has been around for long is more likely to stay, and newcomers cannot push the others out.
        if self.known.len() < remembered::MAX_REMEMBERED || self.known.contains_key(&peer) {
            self.unsaved |= self.known.insert(peer, address.clone()) != Some(address);
        }
    }

    fn forget(&mut self, peer: PeerId) {
        self.known.remove(&peer);
        self.swarm.behaviour_mut().kad.remove_peer(&peer);
    }

    fn peers(&mut self) -> Vec<Peer> {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let mut peers: Vec<Peer> = kad
            .kbuckets()
            .flat_map(|bucket| {
                bucket
                    .iter()
                    .map(|entry| Peer {
                        id: *entry.node.key.preimage(),
                        addresses: entry.node.value.iter().cloned().collect(),
                        connected: false,
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        for peer in &mut peers {
            peer.connected = self.swarm.is_connected(&peer.id);
        }
        peers
    }

    fn dial_somebody(&mut self) {
        for address in self.bootstrap.clone() {
            self.dial(&address);
        }
        for (peer, address) in self.known.clone() {
            let kad = &mut self.swarm.behaviour_mut().kad;
            kad.add_address(&peer, address);
            let _ = self.swarm.dial(peer);
        }
    }

    fn dial(&mut self, address: &Multiaddr) {
        let outcome = match remembered::split(address.clone()) {
            Some((peer, _)) if peer == *self.swarm.local_peer_id() => return,
            Some((peer, rest)) => {
                self.swarm.behaviour_mut().kad.add_address(&peer, rest);
                self.swarm.dial(peer)
            }
            None => self.swarm.dial(address.clone()),
        };
        if let Err(error) = outcome {
            tracing::debug!(%address, %error, "a DHT peer is not dialled");
        }
    }

    fn keep_house(&mut self) {
        self.swarm.behaviour_mut().kad.store_mut().sweep();
        for peer in self.limits.sweep(Instant::now()) {
            self.swarm.behaviour_mut().blocked.unblock_peer(peer);
        }
        if self.is_alone() {
            self.dial_somebody();
        }
    }

    fn save(&mut self) {
        let Some(path) = self.remembered.as_ref().filter(|_| self.unsaved) else { return };
        self.unsaved = false;
        if let Err(error) = remembered::save(path, self.known.iter()) {
            tracing::debug!(path = %path.display(), %error, "DHT peers not remembered");
        }
    }
}

impl Put {
    fn finish(self, accepted: usize, stats: &kad::QueryStats) {
        let effort = Effort {
            requests: self.requests + stats.num_requests(),
            answered: self.answered + stats.num_successes(),
            hops: None,
            first: None,
            elapsed: self.began.elapsed(),
        };
        let here = usize::from(self.kept_here);
        let _ = self.reply.send(Ok(Published { accepted: accepted + here, asked: self.asked + here, effort }));
    }
}

impl Find {
    /// Whether a record that verifies is among the answers.
    fn has_record(&self) -> bool {
        self.texts.iter().any(|(_, checked)| matches!(checked, Checked::Done(Ok(record)) if key(record) == self.key))
    }

    fn note_first(&mut self) {
        if self.first.is_none() && self.has_record() {
            self.first = Some(self.began.elapsed());
        }
    }

    /// Folds all that verified through the conflict table (DHT-29). Of two live records with one sequence number the
    /// first to arrive stands (DHT-25).
    fn fold(&self, now: Now, effort: Effort) -> Found {
        let mut found = Found { winner: None, all: Vec::new(), refused: Vec::new(), warnings: Vec::new(), effort };
        for (at, (_, checked)) in self.texts.iter().enumerate() {
            let peers: Vec<PeerId> =
                self.answers.iter().filter(|(_, text)| *text == at).filter_map(|(peer, _)| *peer).collect();
            let refusal = match checked {
                Checked::Done(Ok(record)) if key(record) == self.key => {
                    found.all.push((record.clone(), peers));
                    continue;
                }
                Checked::Done(Ok(_)) => Refusal::SubjectMismatch,
                Checked::Done(Err(refusal)) => refusal.clone(),
                Checked::Fetching => continue,
            };
            found.refused.extend(peers.into_iter().map(|peer| (peer, refusal.clone())));
        }
        if let Some(folded) = hints::fold(found.all.iter().map(|(record, _)| record.as_ref().clone()), now) {
            if folded.contradicted {
                found.warnings.push(Warning::SameSequence { seq: folded.record.standing().seq });
            }
            found.winner = Some(folded.record);
        }
        if !found.refused.is_empty() {
            let peers = found.refused.len();
            tracing::debug!(subject = %self.subject, peers, "peers returned records that do not verify");
            found.warnings.push(Warning::Refused { peers });
        }
        found
    }
}

fn key(record: &Record) -> Vec<u8> {
    hints::key(record.subject().as_str()).to_vec()
}

/// Whether an address leads to this machine or a private network.
fn is_nearby(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => !dsip_proto::reach::is_public(ip.into()),
        Some(Protocol::Ip6(ip)) => !dsip_proto::reach::is_public(ip.into()),
        _ => false,
    }
}

fn public_ip(address: &Multiaddr) -> Option<std::net::IpAddr> {
    let ip = match address.iter().next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    dsip_proto::reach::is_public(ip).then_some(ip)
}
