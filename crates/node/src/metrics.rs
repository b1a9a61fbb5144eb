//! What a node tells its operator: metrics in Prometheus' text format, and whether it is alive and ready.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dsip_endpoint::dht::Dht;
use dsip_endpoint::tls::Certificate;
use dsip_media::turn::server::Counts as TurnCounts;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::admission::{Admission, Refused};
use crate::relay::{Counts, Reasons, Watch};
use crate::turn::{Reading, Turn};
use crate::{StartError, admission, http};

/// Requests answered at one time.
const AT_ONCE: usize = 16;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// One request for each connection: there are few places.
const BOUNDS: http::Bounds = http::Bounds { head: DEADLINE, body: DEADLINE, life: DEADLINE, requests: 1 };

/// How often it is looked how many there are in the DHT.
const LOOKS: Duration = Duration::from_secs(10);

/// Whether a node runs as it should, for whoever asks.
#[derive(Clone)]
pub(crate) struct Health {
    counts: Watch,
    /// The socket of STUN and TURN.
    datagrams: Arc<Reading>,
    draining: Arc<AtomicBool>,
}

impl Health {
    pub(crate) fn new(counts: Watch, datagrams: Arc<Reading>) -> Self {
        Self { counts, datagrams, draining: Arc::default() }
    }

    /// From now on it is not ready for new work.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why it should get no new work, if so.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        match () {
            () if self.draining.load(Ordering::Relaxed) => Some("draining"),
            () if self.counts.read().disk_refuses => Some("the disk takes no writes"),
            () if self.datagrams.fails() => Some("the socket of STUN and TURN cannot be read"),
            () => None,
        }
    }
}

/// Everything that is shown.
pub(crate) struct Metrics {
    pub(crate) health: Health,
    pub(crate) counts: Watch,
    pub(crate) turn: Arc<Turn>,
    pub(crate) admission: Admission,
    pub(crate) dht: Dht,
    /// DHT nodes known, when last looked.
    pub(crate) dht_peers: AtomicUsize,
    pub(crate) certificate: Certificate,
    pub(crate) store: PathBuf,
    pub(crate) started: Instant,
}

/// Listens on `at`.
pub(crate) async fn listen(at: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(at).await.map_err(|source| StartError::Listen { at: at.to_string(), source })
}

/// Answers over plain HTTP until the node stops.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, mut stopping: watch::Receiver<bool>) {
    let mut answers = JoinSet::new();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (stream, from) = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            Some(_) = answers.join_next() => continue,
            // Nobody who asks waits for the DHT.
            _ = looks.tick() => {
                let metrics = metrics.clone();
                answers.spawn(async move {
                    if let Ok(Ok(peers)) = timeout(DEADLINE, metrics.dht.peers()).await {
                        metrics.dht_peers.store(peers.len(), Ordering::Relaxed);
                    }
                });
                continue;
            }
            accepted = admission::next(&listener) => accepted,
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let answered = http::serve(stream, from.ip(), metrics.clone(), stopping.clone());
        answers.spawn(async move {
            drop(answered.await);
            drop(place);
        });
    }
}

impl http::Site for Metrics {
    const SIGNALING: bool = false;

    async fn answer(&self, _: IpAddr, request: &http::Request, _: http::Body) -> http::Page {
        let page = match (request.method(), request.uri().path()) {
            (&http::Method::GET | &http::Method::HEAD, "/metrics") => {
                Some(http::Page::ok(http::PROMETHEUS, self.to_string()))
            }
            (&http::Method::GET | &http::Method::HEAD, path) => health(path, &self.health),
            _ => Some(http::Page::only("GET, HEAD")),
        };
        page.unwrap_or_else(http::Page::nothing)
    }

    fn visitors(&self) -> Option<&Admission> {
        None
    }

    fn bounds(&self) -> http::Bounds {
        BOUNDS
    }
}

/// What is said about the node's health.
pub(crate) fn health(path: &str, health: &Health) -> Option<http::Page> {
    match (path, health.unready()) {
        ("/healthz", _) | ("/readyz", None) => Some(http::Page::ok(http::TEXT, "ok\n")),
        ("/readyz", Some(why)) => Some(http::Page::status(http::StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n"))),
        _ => None,
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            connections,
            bound,
            delivered,
            queued,
            attempts,
            held,
            unacknowledged,
            disk_refuses,
            sleepers,
            waking,
            ..
        } = self.counts.read();
        let TurnCounts { allocations, allocated, refused: turn_refused, packets, octets, throttled } =
            self.turn.counts();
        let mut page = Page(f);
        page.gauge("dsip_connections", "Connections open now, bound or not.", connections)?;
        page.gauge("dsip_bound_devices", "Devices bound now.", bound)?;
        page.gauge("dsip_attempts", "Call attempts without an end so far.", attempts)?;
        page.gauge("dsip_held_envelopes", "Envelopes held for devices that are away, or for late legs.", held)?;
        page.gauge("dsip_unacknowledged_envelopes", "Envelopes handed over and not acknowledged.", unacknowledged)?;
        page.counter("dsip_delivered_envelopes_total", "Envelopes handed to devices.", delivered)?;
        page.counter("dsip_queued_envelopes_total", "Envelopes that had to wait.", queued)?;
        page.gauge("dsip_wakeable_devices", "Devices that can be woken by a push service.", sleepers)?;
        page.gauge("dsip_wakes_in_flight", "Requests to push services under way.", waking)?;
        let Reasons { rejected, refused, dropped, limited, closed, wakes } = self.counts.reasons();
        page.counters("dsip_wakes_total", "Devices to be woken, by what became of it.", "outcome", &wakes)?;
        page.counters("dsip_rejected_frames_total", "Frames that verification refused.", "code", &rejected)?;
        let help = "Verified envelopes refused, as their sender was told.";
        page.counters("dsip_refused_envelopes_total", help, "reason", &refused)?;
        page.counters("dsip_dropped_envelopes_total", "Verified envelopes that went no further.", "why", &dropped)?;
        let help = "What was held up because it came too fast, by the rate that was used up.";
        page.counters("dsip_rate_limited_total", help, "limit", &limited)?;
        page.counters("dsip_closed_connections_total", "Connections that the node closed.", "why", &closed)?;
        let Refused { blocked, full, address, rate } = self.admission.refused();
        let kept_out = [("blocked", blocked), ("full", full), ("address", address), ("rate", rate)].into();
        page.counters("dsip_refused_connections_total", "Connections that were not let in.", "why", &kept_out)?;
        page.gauge("dsip_turn_allocations", "Relayed addresses now.", allocations)?;
        page.counter("dsip_turn_allocations_total", "Relayed addresses ever given.", allocated)?;
        let help = "TURN requests refused; not counted is what honest clients meet, 401 without credentials and 438.";
        page.counters("dsip_turn_refused_total", help, "code", &turn_refused)?;
        page.counter("dsip_turn_packets_total", "Packets relayed, both ways.", packets)?;
        page.counter("dsip_turn_bytes_total", "Their octets.", octets)?;
        page.counter("dsip_turn_throttled_packets_total", "Packets dropped at a bandwidth limit.", throttled)?;
        let failures = self.health.datagrams.failures();
        page.counter(
            "dsip_turn_socket_errors_total",
            "Times the socket of STUN and TURN could not be read.",
            failures,
        )?;
        page.gauge(
            "dsip_dht_peers",
            "DHT nodes that this one knows in its routing table.",
            self.dht_peers.load(Ordering::Relaxed),
        )?;
        if let Ok(store) = std::fs::metadata(&self.store) {
            page.gauge("dsip_store_bytes", "What the store takes on the disk.", store.len())?;
        }
        if let Some(validity) = self.certificate.domain_validity() {
            let help = "Until when the domain's certificate is valid, in Unix seconds.";
            page.gauge("dsip_certificate_expiry_timestamp_seconds", help, validity.until)?;
        }
        page.gauge("dsip_disk_refuses", "1 while the disk takes no writes.", usize::from(disk_refuses))?;
        page.gauge("dsip_ready", "1 while new work is welcome.", usize::from(self.health.unready().is_none()))?;
        page.gauge("dsip_uptime_seconds", "Since the start.", self.started.elapsed().as_secs())?;
        if let Some(resident) = resident() {
            page.gauge("process_resident_memory_bytes", "Memory in use.", resident)?;
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One is the directory itself, while it is read.
            page.gauge("process_open_fds", "Open file descriptors.", open.count().saturating_sub(1))?;
        }
        page.head("dsip_info", "gauge", "The version that runs.")?;
        writeln!(page.0, "dsip_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
    }
}

struct Page<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Page<'_, '_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}")
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) -> fmt::Result {
        self.head(name, "gauge", help)?;
        writeln!(self.0, "{name} {value}")
    }

    /// One for each label; none as long as nothing has happened.
    fn counters<L: fmt::Display>(&mut self, name: &str, help: &str, label: &str, of: &BTreeMap<L, u64>) -> fmt::Result {
        self.head(name, "counter", help)?;
        of.iter().try_for_each(|(which, count)| writeln!(self.0, "{name}{{{label}=\"{which}\"}} {count}"))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.head(name, "counter", help)?;
        writeln!(self.0, "{name} {value}")
    }
}

/// Octets of memory that this process holds, where the system says so.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
