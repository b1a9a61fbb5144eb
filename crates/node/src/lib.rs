//! The server: listeners, routing, DHT, STUN and TURN, driven by the rules of dsip-proto and dsip-media.
//!
//! [`Node::start`] makes or loads the node's identity, opens every listener and runs until [`Node::shutdown`]. All it
//! decides is where bytes go: who may speak, and what becomes of a frame, is [`dsip_proto::relay::Host`]'s to say.
//!
//! ```text
//!   TCP ─ tls ─ http ─ ws::drive ──┐                           ┌── turn (UDP, TCP, TLS)
//!                                  ├── relay: one task, Host   │
//!   UDP ─ quinn ───── quic::drive ─┘                           └── dht (TCP)
//! ```

mod acme;
mod admission;
mod certificate;
pub mod control;
mod front;
mod home;
mod http;
mod lookup;
mod memory;
mod metrics;
mod names;
mod quic;
mod relay;
mod roster;
mod routing;
mod store;
mod summary;
mod turn;
mod wake;
mod web;
mod ws;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use dsip_endpoint::dht::{self, Dht, Multiaddr};
use dsip_endpoint::link::Target;
use dsip_endpoint::resolve::{self, Domain, Resolver};
use dsip_endpoint::tls::{Certificate, Expect, Roots, TlsError};
use dsip_proto::relay::host;
use dsip_proto::relay::rate::Rate;
use dsip_proto::turn::Ports;
use dsip_proto::wire::Did;
use serde::Serialize;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::roster::Roster;

pub use acme::Acme;
pub use admission::Limits;
pub use dsip_media::turn::server::Counts as TurnCounts;
pub use names::{Register, RegisterError, User};
pub use relay::{Allowance, Counts};
pub use store::Error as StoreError;
pub use turn::{Config as TurnConfig, Limits as TurnLimits};
pub use wake::Config as WakeConfig;

/// How far beyond the signaling port a free one is looked for.
const NEXT_PORTS: u16 = 64;

/// The port that is not written.
const HTTPS: u16 = 443;

/// How long connections may take to say goodbye when the node stops.
const GRACE: Duration = Duration::from_secs(3);

/// How often a node that drains looks whether media is still relayed.
const DRAIN_LOOKS: Duration = Duration::from_millis(500);

/// How a node is to run.
#[derive(Clone)]
pub struct Config {
    /// Where its identity and certificate are kept; made at the first start.
    pub home: PathBuf,
    /// Where `ws/1.0` (TCP) and `quic/1.0` (UDP) are served. Port 0 takes one that is free in both.
    pub listen: SocketAddr,
    /// The names and addresses by which clients know this node, besides the one it listens on.
    pub hosts: Vec<String>,
    /// The domain whose names it hosts: `did:web` documents and aliases of itself and its users. The port is the one at which
    /// others reach this node; if the system picks the port to listen on, it is that one.
    pub domain: Option<Domain>,
    /// Where STUN, and TURN over UDP, is answered; by default on the next free port.
    pub stun: Option<SocketAddr>,
    /// Relaying of media.
    pub turn: TurnConfig,
    /// Waking devices that sleep.
    pub wake: WakeConfig,
    /// A certificate chain and its key in PEM files, for a node with a domain: shown to those who do not expect the node's
    /// own key. The files may be replaced while the node runs.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Who certifies the domain, if no files are given. Port 443 of the domain has to lead here.
    pub acme: Option<Acme>,
    /// Where the DHT is served (TCP); by default on the next free port.
    pub dht: Option<SocketAddr>,
    /// DHT nodes to join through. The first node of a DHT has none.
    pub bootstrap: Vec<Multiaddr>,
    /// Roots to trust besides the system's when a `did:web` document is fetched or a push service is asked, in PEM files.
    pub ca: Vec<PathBuf>,
    /// Whether a `did:web`, or an endpoint of a push service, may lead into private address space.
    pub allow_private: bool,
    /// Another node of the operator's, where devices go while this one is away; its DID has to be known.
    pub elsewhere: Option<Target>,
    /// Whether only members are served: those whom the operator names, and who come with an invitation.
    pub closed: bool,
    /// Whether browsers get the web phone.
    pub web: bool,
    /// Where metrics and health are served over plain HTTP; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// Connections.
    pub limits: Limits,
    /// Everything the rules leave to the operator. Its addresses are filled in from `hosts` and `listen`.
    pub relay: host::Config,
}

impl Config {
    /// A node that keeps itself in `home` and listens on `listen`, with everything else at its default.
    #[must_use]
    pub fn new(home: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            home: home.into(),
            listen,
            hosts: Vec::new(),
            domain: None,
            stun: None,
            turn: TurnConfig::default(),
            wake: WakeConfig::default(),
            certificate: None,
            acme: None,
            dht: None,
            bootstrap: Vec::new(),
            ca: Vec::new(),
            allow_private: false,
            elsewhere: None,
            closed: false,
            web: true,
            metrics: None,
            limits: Limits::default(),
            relay: host::Config::default(),
        }
    }
}

impl Config {
    /// Finds what would keep a node from starting, without starting one: unreadable files, a certificate without its key,
    /// two listeners on one port.
    pub fn check(&self) -> Result<(), StartError> {
        Roots::load(&self.ca)?.ws_client(&Expect::WebPki)?;
        if let Some((chain, key)) = &self.certificate {
            // Any key of a node's will do to see whether the pair is one.
            let seed = [1; 32];
            let own = dsip_proto::identity::SecretKey::from_bytes(&seed).did();
            Certificate::self_signed(&seed, own.as_str(), &self.hosts)?.show_domain(chain, key)?;
        }
        let tcp = [Some(self.listen), self.dht, self.turn.tcp, self.turn.tls, self.metrics];
        let udp = [Some(self.listen), self.stun];
        for listeners in [&tcp[..], &udp] {
            let mut taken: Vec<&SocketAddr> = Vec::new();
            for at in listeners.iter().flatten().filter(|at| at.port() != 0) {
                let is_taken = taken.iter().any(|other| share(at, other));
                taken.push(at);
                if is_taken {
                    let source = io::Error::new(io::ErrorKind::AddrInUse, "two listeners are to share it");
                    return Err(StartError::Listen { at: at.to_string(), source });
                }
            }
        }
        Ok(())
    }

    /// The TCP ports that the operator chose for something. What picks a port by itself leaves them alone, whichever of the
    /// two comes first.
    fn chosen_tcp(&self) -> BTreeSet<u16> {
        let chosen = [self.dht, self.turn.tcp, self.turn.tls, self.metrics];
        chosen.into_iter().flatten().map(|at| at.port()).filter(|port| *port != 0).collect()
    }
}

/// Whether two listeners would want the same: an address that stands for all of its family has each of them.
fn share(one: &SocketAddr, other: &SocketAddr) -> bool {
    let is_all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && (one.ip() == other.ip() || is_all)
}

/// How to reach a node that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// Its DID.
    pub did: Did,
    /// Its WebSocket URL.
    pub wss: String,
    /// Where it serves QUIC.
    pub quic: String,
    /// Its DHT address, with its peer id, for others to join through.
    pub dht: String,
    /// Where it answers STUN.
    pub stun: String,
    /// Where it relays media: TURN over UDP, TCP and TLS. Nothing if it does not.
    pub turn: Vec<String>,
    /// The address of its web phone, if it serves one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<String>,
    /// Its certificate, in PEM form.
    pub ca: PathBuf,
    /// Where it shows metrics, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
}

impl Ready {
    /// The URL with which a client that has no other way to know this node can authenticate it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}#{}", self.wss, self.did)
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or the address is not ours.
    #[error("cannot listen on {at}: {source}")]
    Listen {
        /// Where.
        at: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The key file does not hold a key.
    #[error("{0}: not a key of a node's")]
    Key(String),
    /// Others than its owner can read the key.
    #[error("{0}: others can read it; make it yours alone (chmod 600) or remove it to start with a new identity")]
    Exposed(String),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The resolver cannot be set up.
    #[error(transparent)]
    Resolver(#[from] resolve::SetupError),
    /// The DHT cannot be set up, or cannot listen.
    #[error(transparent)]
    Dht(#[from] dht::Error),
    /// The names of its domain cannot be read.
    #[error(transparent)]
    Names(#[from] RegisterError),
    /// The store cannot be opened.
    #[error("the store in {home}: {source}")]
    Store {
        /// The node's home.
        home: String,
        /// What is wrong.
        source: store::Error,
    },
}

/// A running node. Dropping it ends it at once, [`shutdown`](Self::shutdown) in order.
pub struct Node {
    ready: Ready,
    stop: watch::Sender<bool>,
    /// Media that is relayed may go on for a while after that.
    stop_media: watch::Sender<bool>,
    told_to_drain: watch::Receiver<Option<Duration>>,
    health: metrics::Health,
    counts: relay::Watch,
    turn: Arc<turn::Turn>,
    dht: Dht,
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts a node; when this returns, everything listens.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let home = home::open(&config.home)?;
        let (tcp, udp) = listen(config.listen).await?;
        let at = tcp.local_addr().map_err(|source| StartError::Listen { at: config.listen.to_string(), source })?;
        let stun = listen_stun(config.stun, at, config.listen.port() != 0).await?;

        let names = names(&config, &home, at)?;
        let tls = Roots::load(&config.ca)?.ws_client(&Expect::WebPki)?;
        let patience = resolve::PATIENCE;
        let pusher = match config.wake.enabled {
            true => Some(Arc::new(wake::Pusher::open(home.dir(), &config.wake, &tls, config.allow_private)?)),
            false => None,
        };
        let authority = match (&config.acme, &config.domain, &config.certificate) {
            (Some(acme), Some(domain), None) => {
                Some(acme::Authority::new(acme.clone(), domain.host(), home.dir(), &tls)?)
            }
            _ => None,
        };
        let mut resolver =
            Resolver::new(&resolve::Config { tls, allow_private: config.allow_private, dns: None, patience })?;
        if let Some(names) = &names {
            resolver = resolver.publishing(names.own_documents());
        }
        let dht = start_dht(&config, &home, at, &resolver).await?;

        let hosts = hosts(&config, at.ip());
        let certificate = Certificate::self_signed(&home.seed(), home.did().as_str(), &hosts)?;
        if let Some((chain, key)) = &config.certificate {
            certificate.show_domain(chain, key)?;
        }
        if let Some(authority) = &authority {
            authority.show(&certificate);
        }
        let for_browsers = certificate::for_browsers(certificate.clone(), &home, hosts.clone());
        let name = hosts.first().map_or_else(|| "localhost".to_owned(), |host| bracketed(host));
        let turn =
            turn::Listeners::open(&config.turn, stun, at, &hosts, config.listen.port() == 0, &config.chosen_tcp())?;
        let (stun_port, turn_ports) = (turn.stun_port(), turn.ports());
        let metrics = match config.metrics {
            Some(at) => Some(metrics::listen(at).await?),
            None => None,
        };
        let ready = Ready {
            did: home.did().clone(),
            wss: format!("wss://{name}:{}{}", at.port(), http::PATH),
            quic: format!("quic://{name}:{}", at.port()),
            dht: dht.listening().first().map(ToString::to_string).unwrap_or_default(),
            stun: format!("stun:{name}:{stun_port}"),
            turn: turn_ports.map(|ports| turn_urls(&name, ports)).unwrap_or_default(),
            web: config.web.then(|| web_url(&config, &name, at.port())),
            ca: home.certificate(),
            metrics: metrics
                .as_ref()
                .and_then(|listener| listener.local_addr().ok())
                .map(|at| format!("http://{at}/metrics")),
        };

        let mut rules = config.relay.clone();
        rules.stun_port = Some(stun_port);
        let allow_private = config.allow_private;
        rules.wake = pusher.as_ref().map(|pusher| host::Wake { key: pusher.key(), allow_private });
        let lifetime = config.turn.lifetime;
        rules.elsewhere = config.elsewhere.as_ref().and_then(|target| {
            let node = target.node()?.clone();
            Some(host::Elsewhere { uri: target.url().to_owned(), node })
        });
        rules.turn = turn_ports.map(|ports| host::Turn { issuer: home.issuer(), ports, lifetime });
        rules.max_connections = rules.max_connections.min(config.limits.connections);
        rules.addresses.extend(
            hosts
                .iter()
                .map(String::as_str)
                .chain(["localhost", "127.0.0.1", "::1"])
                .flat_map(|host| [format!("{}:{}", bracketed(host), at.port())]),
        );
        // A port that is forwarded to ours.
        rules.addresses.extend(config.domain.iter().map(|domain| format!("{}:{}", domain.host(), domain.port())));
        let mut tasks = JoinSet::new();
        let (stop, stopping) = watch::channel(false);
        let (stop_media, media_stopping) = watch::channel(false);
        let roster = Roster::open(home.dir(), config.closed)
            .map_err(|source| StartError::File { path: named(&home.dir().join(roster::FILE)), source })?;
        let allowance = Allowance {
            max_connections: rules.max_connections,
            max_connections_per_address: config.limits.per_address,
            max_envelopes_per_device: per_minute(rules.rates.devices),
            max_envelopes: per_minute(rules.rates.envelopes),
            max_invites: per_minute(rules.rates.invites),
        };
        let lookups = resolver.clone();
        let (relay, counts) = relay::start(
            &mut tasks,
            rules,
            &home,
            relay::World { resolver, pusher },
            roster.clone(),
            stopping.clone(),
        )?;
        // By now the home is ours: another node that runs in it keeps its store to itself.
        home.write_certificate(&certificate.pem())?;
        let health = metrics::Health::new(counts.clone(), turn.reading());
        let admission = admission::Admission::new(config.limits);
        let domain = names.as_ref().map(|names| names.domain().clone());
        let about = lookup::About {
            did: &ready.did,
            wss: &ready.wss,
            dht: &ready.dht,
            domain: domain.as_ref().map(Domain::to_string),
            web: ready.web.as_deref(),
        };
        let front = front::Front::new(
            format!("A DSIP node: {}\nSignaling: {}\n", ready.did, ready.wss),
            config.web.then(web::Phone::new),
            lookup::Lookup::new(&about, dht.clone(), lookups),
            health.clone(),
            names.clone(),
            domain.filter(|domain| domain.port() == HTTPS).map(|_| certificate.clone()),
        );
        tasks.spawn(ws::serve(
            tcp,
            certificate.ws_server()?,
            admission.clone(),
            relay.clone(),
            Arc::new(front),
            stopping.clone(),
        ));
        if let Some(names) = names {
            tasks.spawn(until(stop.subscribe(), names::watch(names, relay.clone())));
        }
        let endpoint = quic::listen(udp, &certificate, &home.seed())
            .map_err(|source| StartError::Listen { at: config.listen.to_string(), source })?;
        tasks.spawn(quic::serve(endpoint, at.port(), admission.clone(), relay.clone(), stopping.clone()));
        let turn =
            turn.serve(&mut tasks, &config.turn, home.issuer(), &certificate, admission.clone(), &media_stopping)?;
        tasks.spawn(until(stop.subscribe(), memory::give_back(counts.clone())));
        let started = Instant::now();
        let (drain, told_to_drain) = watch::channel(None);
        tasks.spawn(until(media_stopping.clone(), summary::tell(counts.clone(), admission.clone())));
        let shown_certificate = certificate.clone();
        let commands = control::listen(home.dir())
            .inspect_err(|error| tracing::warn!(%error, "there will be no admin commands"))
            .ok();
        let control = control::Control {
            ready: ready.clone(),
            store: home.dir().join(store::embedded::FILE),
            health: health.clone(),
            counts: counts.clone(),
            turn: turn.clone(),
            issuer: home.issuer(),
            roster,
            relay,
            admission: admission.clone(),
            limits: watch::Sender::new(allowance),
            drain,
            started,
        };
        tasks.spawn(until(media_stopping.clone(), control.serve(commands)));
        tasks.spawn(until(media_stopping.clone(), for_browsers));
        if let Some(files) = config.certificate {
            // Also while it drains: those who stay may have to come back.
            tasks.spawn(until(media_stopping.clone(), certificate::follow(certificate, files)));
        } else if let Some(authority) = authority {
            tasks.spawn(until(media_stopping.clone(), authority.follow(certificate)));
        }
        if let Some(listener) = metrics {
            let shown = metrics::Metrics {
                health: health.clone(),
                counts: counts.clone(),
                turn: turn.clone(),
                admission: admission.clone(),
                dht: dht.clone(),
                dht_peers: AtomicUsize::new(0),
                certificate: shown_certificate,
                store: home.dir().join(store::embedded::FILE),
                started,
            };
            tasks.spawn(metrics::serve(listener, Arc::new(shown), media_stopping));
        }
        tracing::info!(did = %ready.did, wss = %ready.wss, "node started");
        Ok(Self { ready, stop, stop_media, told_to_drain, health, counts, turn, dht, tasks })
    }

    /// How to reach it.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// What it has done so far, and has in hand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.read()
    }

    /// What its TURN server has done so far, and has in hand.
    #[must_use]
    pub fn turn(&self) -> TurnCounts {
        self.turn.counts()
    }

    /// Its part in the DHT.
    #[must_use]
    pub fn dht(&self) -> &Dht {
        &self.dht
    }

    /// Waits until an admin command tells the node to drain, and says how much patience it is to have.
    pub async fn told_to_drain(&self) -> Duration {
        let mut told = self.told_to_drain.clone();
        let told = told.wait_for(Option::is_some).await.map(|patience| *patience);
        match told {
            Ok(Some(patience)) => patience,
            _ => std::future::pending().await,
        }
    }

    /// Takes no new work, says goodbye to every connection, and returns when no media is relayed any more, or after
    /// `patience`. Phones find another way to signal; their calls go on. [`shutdown`](Self::shutdown) ends what is left.
    pub async fn drain(&self, patience: Duration) {
        tracing::info!("draining");
        self.health.drain();
        self.stop.send_replace(true);
        let ended = async {
            while self.turn().allocations > 0 {
                tokio::time::sleep(DRAIN_LOOKS).await;
            }
        };
        if tokio::time::timeout(patience, ended).await.is_err() {
            tracing::info!(allocations = self.turn().allocations, "not everybody has left");
        }
    }

    /// Says goodbye to every connection and returns when all of them, and the listeners, are gone.
    pub async fn shutdown(mut self) {
        self.health.drain();
        self.stop.send_replace(true);
        self.stop_media.send_replace(true);
        self.dht.shutdown().await;
        while self.tasks.join_next().await.is_some() {}
        tracing::info!("node stopped");
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// Runs `work` until it is done or the node stops.
async fn until(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

/// The rate as an operator writes it.
fn per_minute(rate: Rate) -> u32 {
    u32::try_from(rate.each_minute()).unwrap_or(u32::MAX)
}

/// One port number, TCP and UDP (QB-2).
async fn listen(at: SocketAddr) -> Result<(TcpListener, std::net::UdpSocket), StartError> {
    // A port that is free for TCP may be taken for UDP; with port 0 the next one is as good.
    let attempts = if at.port() == 0 { 16 } else { 1 };
    let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..attempts {
        let tcp = admission::listen(at).map_err(|source| StartError::Listen { at: at.to_string(), source })?;
        let bound = tcp.local_addr().map_err(|source| StartError::Listen { at: at.to_string(), source })?;
        match std::net::UdpSocket::bind(bound) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) => failure = error,
        }
    }
    Err(StartError::Listen { at: format!("{at}/udp"), source: failure })
}

/// Where the operator said, or on the next port that is free.
async fn listen_stun(
    explicit: Option<SocketAddr>,
    beside: SocketAddr,
    takes_next_port: bool,
) -> Result<UdpSocket, StartError> {
    if let Some(at) = explicit {
        return UdpSocket::bind(at).await.map_err(|source| StartError::Listen { at: at.to_string(), source });
    }
    let next = (1..=NEXT_PORTS).filter_map(|step| beside.port().checked_add(step));
    for port in next.filter(|_| takes_next_port) {
        if let Ok(socket) = UdpSocket::bind((beside.ip(), port)).await {
            return Ok(socket);
        }
    }
    UdpSocket::bind((beside.ip(), 0))
        .await
        .map_err(|source| StartError::Listen { at: format!("{}:0/udp", beside.ip()), source })
}

/// Joins the DHT as one of its servers, where the operator said, or on the next port that is free.
async fn start_dht(
    config: &Config,
    home: &home::NodeHome,
    beside: SocketAddr,
    resolver: &Resolver,
) -> Result<Dht, StartError> {
    let start = |listen: SocketAddr| {
        Dht::start(dht::Config {
            role: dht::Role::Node { secret: home.seed(), listen: vec![listen], hosts: config.hosts.clone() },
            bootstrap: config.bootstrap.clone(),
            remembered: Some(config.home.join("dht-peers")),
            documents: Some(resolver.for_dht()),
        })
    };
    if let Some(at) = config.dht {
        return Ok(start(at).await?);
    }
    let next = (1..=NEXT_PORTS).filter_map(|step| beside.port().checked_add(step));
    let chosen = config.chosen_tcp();
    for port in next.filter(|port| config.listen.port() != 0 && !chosen.contains(port)) {
        match start((beside.ip(), port).into()).await {
            Err(dht::Error::Listen(..)) => {}
            started => return Ok(started?),
        }
    }
    Ok(start((beside.ip(), 0).into()).await?)
}

/// The operator's names, the domain, then the address listened on if it is one; the first is how the node calls itself.
fn hosts(config: &Config, listen: IpAddr) -> Vec<String> {
    let own = if listen.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen };
    let domain = config.domain.iter().map(|domain| domain.host().to_owned());
    let mut seen = BTreeSet::new();
    let all = config.hosts.iter().cloned().chain(domain).chain([own.to_string()]);
    all.filter(|host| seen.insert(host.clone())).collect()
}

/// The names that the node hosts, if it has a domain.
fn names(config: &Config, home: &home::NodeHome, at: SocketAddr) -> Result<Option<Arc<names::Names>>, StartError> {
    let Some(domain) = &config.domain else { return Ok(None) };
    let domain = if config.listen.port() == 0 { domain.at(at.port()) } else { domain.clone() };
    if domain.port() != at.port() {
        tracing::info!(%domain, listen = at.port(), "names are found only if that port of the domain leads here");
    }
    Ok(Some(Arc::new(names::Names::open(home.dir().to_path_buf(), domain, home.key())?)))
}

/// Where TURN is served, as RFC 7065 writes it.
fn turn_urls(host: &str, ports: Ports) -> Vec<String> {
    let url = |scheme, port: u16, transport| format!("{scheme}:{host}:{port}?transport={transport}");
    let udp = ports.udp.map(|port| url("turn", port, "udp"));
    let tcp = ports.tcp.map(|port| url("turn", port, "tcp"));
    let tls = ports.tls.map(|port| url("turns", port, "tcp"));
    [udp, tcp, tls].into_iter().flatten().collect()
}

/// Where the web phone is. A browser takes the name of this machine for safer than its address: passkeys need a name.
fn web_url(config: &Config, name: &str, port: u16) -> String {
    let name = if matches!(name, "127.0.0.1" | "[::1]") { "localhost" } else { name };
    match &config.domain {
        Some(domain) if config.listen.port() != 0 => format!("https://{domain}/"),
        _ if port == HTTPS => format!("https://{name}/"),
        _ => format!("https://{name}:{port}/"),
    }
}

/// A host as a URL has it.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// A path as an error names it.
fn named(path: &Path) -> String {
    path.display().to_string()
}
