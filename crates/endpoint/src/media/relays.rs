//! Addresses at TURN servers, by whichever way the server is reached.
//!
//! ```text
//!   asked ──► UDP ──(no address in a moment)──► TCP ──► TLS        one after another, the earlier ones going on
//!              └────────────┬────────────────────┴───────┘
//!                       relayed ──(lost)──► asked again
//! ```
//!
//! What is relayed over a connection is as good as any other candidate, only later: a lost segment holds up those behind it.
//! So a connection is made where datagrams bring no address, and nowhere else.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use dsip_media::turn::client::{Allocation, Received, Status};
use dsip_proto::time::{Seed, Tick};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::TurnServer;
use super::network::{Arrival, Network};
use crate::turn::{Sender, Stream, Via};

/// Addresses that one session has at a time: each costs the server a port.
const ALLOCATIONS: usize = 4;

/// The head start of each way over the next: two requests and a slow path's time for the answers.
const HEAD_START: Duration = Duration::from_secs(1);

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(8);

/// How often a lost address is asked for again, and after how long.
const RETRIES: u32 = 3;
const RETRY: Duration = Duration::from_secs(2);

/// News of connections that wait to be taken.
const NEWS: usize = 256;

/// What changed about our relayed addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// There is one more, and this is the address it was asked for from.
    Added { relayed: SocketAddr, base: SocketAddr },
    /// One is gone.
    Removed(SocketAddr),
}

/// What a connection reports.
pub(super) enum News {
    Opened(u64, Result<(Sender, SocketAddr), String>),
    Packet(u64, Vec<u8>),
    Ended(u64),
}

/// All of them.
pub(super) struct Relays {
    ladders: Vec<Ladder>,
    connections: u64,
    tell: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

/// One server, asked from one of this machine's addresses.
struct Ladder {
    base: SocketAddr,
    server: TurnServer,
    /// Ways not tried so far.
    left: VecDeque<Via>,
    /// When the next one is.
    due: Option<Tick>,
    retries: u32,
    attempts: Vec<Attempt>,
}

struct Attempt {
    via: Via,
    way: Way,
    /// None while there is no connection to ask over.
    allocation: Option<Allocation>,
    /// The address that the call knows.
    told: Option<SocketAddr>,
    /// Whether there is nothing to hope for.
    failed: Option<String>,
}

enum Way {
    Datagrams,
    Connection { number: u64, task: AbortHandle, open: Option<(Sender, SocketAddr)> },
}

/// Whatever goes over the connection ends with it.
impl Drop for Way {
    fn drop(&mut self) {
        if let Self::Connection { task, .. } = self {
            task.abort();
        }
    }
}

/// How servers were reached, one way after another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempts(Vec<(Via, Result<(), String>)>);

impl Attempts {
    /// The ways over which an address was had.
    pub fn worked(&self) -> impl Iterator<Item = Via> + '_ {
        self.0.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(via, _)| *via)
    }

    /// Whether nobody was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Via, Result<(), String>)> for Attempts {
    fn from_iter<I: IntoIterator<Item = (Via, Result<(), String>)>>(attempts: I) -> Self {
        Self(attempts.into_iter().collect())
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (via, outcome)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let how = outcome.as_ref().map_or_else(String::as_str, |()| "works");
            write!(f, "{comma}{via}: {how}")?;
        }
        Ok(())
    }
}

impl Relays {
    pub(super) fn new() -> Self {
        let (tell, news) = mpsc::channel(NEWS);
        Self { ladders: Vec::new(), connections: 0, tell, news }
    }

    /// Asks `server` for an address, from `base`.
    pub(super) fn ask(&mut self, base: SocketAddr, server: TurnServer, now: Tick) {
        if self.ladders.len() >= ALLOCATIONS {
            return;
        }
        let left = server.ways().collect();
        self.ladders.push(Ladder { base, server, left, due: Some(now), retries: 0, attempts: Vec::new() });
    }

    /// Says what is due, and tells what changed.
    pub(super) fn poll(&mut self, now: Tick, network: &Network) -> Vec<Change> {
        let mut changes = Vec::new();
        for ladder in &mut self.ladders {
            ladder.drive(now, network, &mut changes);
            if ladder.due.is_some_and(|due| due <= now) {
                ladder.climb(now, &mut self.connections, &self.tell);
                ladder.drive(now, network, &mut changes);
            }
        }
        changes
    }

    /// When [`Self::poll`] has something again.
    pub(super) fn wake(&self) -> Option<Tick> {
        let ladders = self.ladders.iter();
        let due = ladders.clone().filter_map(|ladder| ladder.due);
        let attempts = ladders.flat_map(|ladder| &ladder.attempts).filter_map(|attempt| attempt.allocation.as_ref());
        due.chain(attempts.filter_map(Allocation::wake)).min()
    }

    /// Whether an address may come yet.
    pub(super) fn is_asking(&self) -> bool {
        self.ladders.iter().any(|ladder| {
            !ladder.is_relayed() && (ladder.due.is_some() || ladder.attempts.iter().any(|it| it.failed.is_none()))
        })
    }

    /// News of connections. Waits for ever where there are none.
    pub(super) async fn news(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // We hold a sender ourselves, so the channel never closes.
            None => std::future::pending().await,
        }
    }

    /// Takes in what a connection reports. Gives what a peer sent through it.
    pub(super) fn take(&mut self, now: Tick, news: News) -> Option<Arrival> {
        let (News::Opened(number, _) | News::Packet(number, _) | News::Ended(number)) = news;
        let found = self.ladders.iter_mut().find_map(|ladder| {
            let at = ladder.attempts.iter().position(|attempt| attempt.is_over(number))?;
            Some((ladder, at))
        });
        let (ladder, at) = found?;
        let server = ladder.server.clone();
        let attempt = ladder.attempts.get_mut(at)?;
        match news {
            News::Opened(_, Ok(opened)) => {
                attempt.allocation = allocation(&server, attempt.via, now);
                if let Way::Connection { open, .. } = &mut attempt.way {
                    *open = Some(opened);
                }
            }
            News::Opened(_, Err(why)) => {
                tracing::debug!(via = %attempt.via, %why, "no connection to the TURN server");
                attempt.failed = Some(why);
                ladder.hurry(now);
            }
            News::Packet(_, packet) => return attempt.handle(now, packet).ok(),
            News::Ended(_) => attempt.failed = Some("the connection was lost".into()),
        }
        None
    }

    /// Takes in a datagram: gives back what is not from a server, unwraps what a peer sent, and keeps the rest.
    pub(super) fn receive(&mut self, now: Tick, arrival: Arrival) -> Option<Arrival> {
        let Arrival { source, destination, payload } = arrival;
        let is_from = |attempt: &&mut Attempt| {
            let server = attempt.allocation.as_ref().map(Allocation::server);
            matches!(attempt.way, Way::Datagrams) && server == Some(source)
        };
        let ladders = self.ladders.iter_mut().filter(|ladder| ladder.base == destination);
        match ladders.flat_map(|ladder| &mut ladder.attempts).find(is_from) {
            None => Some(Arrival { source, destination, payload }),
            Some(attempt) => match attempt.handle(now, payload) {
                Ok(arrival) => Some(arrival),
                Err(Some(foreign)) => Some(Arrival { source, destination, payload: foreign }),
                Err(None) => None,
            },
        }
    }

    /// Sends to a peer from a relayed address. None if that is none of ours, else whether our own address seems gone.
    pub(super) fn send(
        &mut self,
        now: Tick,
        network: &Network,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Option<bool> {
        for ladder in &mut self.ladders {
            let base = ladder.base;
            if let Some(attempt) = ladder.attempts.iter_mut().find(|attempt| attempt.told == Some(from)) {
                let packet = attempt.allocation.as_mut().and_then(|allocation| allocation.send(now, to, payload));
                return Some(packet.is_some_and(|packet| attempt.transmit(network, base, packet)));
            }
        }
        None
    }

    /// Forgets an address of this machine. Gives those that were relayed to it.
    pub(super) fn forget(&mut self, base: SocketAddr) -> Vec<SocketAddr> {
        let gone = self.ladders.extract_if(.., |ladder| ladder.base == base);
        gone.flat_map(|ladder| ladder.attempts).filter_map(|attempt| attempt.told).collect()
    }

    /// Gives all addresses back.
    pub(super) fn close(&mut self, network: &Network) {
        for ladder in std::mem::take(&mut self.ladders) {
            for mut attempt in ladder.attempts {
                if let Some(farewell) = attempt.allocation.take().and_then(Allocation::close) {
                    attempt.transmit_to(network, ladder.base, ladder.server.at(attempt.via), farewell);
                }
            }
        }
    }

    /// How the servers were reached.
    pub(super) fn attempts(&self) -> Attempts {
        let all = self.ladders.iter().flat_map(|ladder| &ladder.attempts);
        all.map(|attempt| (attempt.via, attempt.outcome())).collect()
    }
}

impl Ladder {
    fn is_relayed(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.told.is_some())
    }

    /// Keeps what there is alive, and notices what came and went.
    fn drive(&mut self, now: Tick, network: &Network, changes: &mut Vec<Change>) {
        let (base, mut lost) = (self.base, false);
        for attempt in &mut self.attempts {
            while let Some(packet) = attempt.allocation.as_mut().and_then(|allocation| allocation.poll(now)) {
                attempt.transmit(network, base, packet);
            }
            if let Some(Status::Failed(why)) = attempt.allocation.as_ref().map(Allocation::status) {
                attempt.failed.get_or_insert_with(|| why.to_string());
            }
            let is_up = attempt.failed.is_none();
            let relayed = attempt.allocation.as_ref().and_then(Allocation::relayed).filter(|_| is_up);
            if relayed == attempt.told {
                continue;
            }
            changes.extend(attempt.told.map(Change::Removed));
            lost |= attempt.told.is_some();
            let asked_from = match &attempt.way {
                Way::Connection { open: Some((_, local)), .. } => *local,
                Way::Connection { .. } | Way::Datagrams => base,
            };
            changes.extend(relayed.map(|relayed| Change::Added { relayed, base: asked_from }));
            attempt.told = relayed;
            if relayed.is_none() {
                tracing::debug!(via = %attempt.via, why = ?attempt.failed, "an address at a TURN server is lost");
            }
        }
        if self.is_relayed() {
            self.due = None;
            self.left.clear();
        } else if lost && self.retries < RETRIES {
            // It was there: whatever brought it may bring another.
            self.retries += 1;
            self.left = self.server.ways().collect();
            self.due = Some(now + RETRY);
            self.attempts.clear();
        }
    }

    /// Tries the next way.
    fn climb(&mut self, now: Tick, connections: &mut u64, tell: &mpsc::Sender<News>) {
        self.due = None;
        let Some(via) = self.left.pop_front() else { return };
        let address = self.server.at(via);
        let attempt = match via {
            Via::Udp => Attempt {
                via,
                way: Way::Datagrams,
                allocation: allocation(&self.server, via, now),
                told: None,
                failed: None,
            },
            Via::Tcp | Via::Tls => {
                *connections += 1;
                let secure = self.server.secure.clone().filter(|_| via == Via::Tls);
                let (number, tell, from) = (*connections, tell.clone(), self.base.ip());
                let task = tokio::spawn(async move {
                    let connecting = Stream::connect(address, Some(from), secure.as_ref());
                    let opened = match timeout(CONNECT, connecting).await {
                        Ok(opened) => opened.map_err(|error| error.to_string()),
                        Err(_) => Err("no answer".to_owned()),
                    };
                    match opened {
                        Ok(stream) => converse(number, stream, tell).await,
                        Err(why) => drop(tell.send(News::Opened(number, Err(why))).await),
                    }
                });
                let way = Way::Connection { number, task: task.abort_handle(), open: None };
                Attempt { via, way, allocation: None, told: None, failed: None }
            }
        };
        self.attempts.push(attempt);
        if !self.left.is_empty() {
            self.due = Some(now + HEAD_START);
        }
    }

    /// What was just tried has failed: the next way need not wait.
    fn hurry(&mut self, now: Tick) {
        if self.due.is_some() && self.attempts.iter().all(|attempt| attempt.failed.is_some() || attempt.via == Via::Udp)
        {
            self.due = Some(now);
        }
    }
}

impl Attempt {
    fn is_over(&self, connection: u64) -> bool {
        matches!(self.way, Way::Connection { number, .. } if number == connection)
    }

    /// Takes a packet from the server: what a peer sent, or else what nobody here understands.
    fn handle(&mut self, now: Tick, packet: Vec<u8>) -> Result<Arrival, Option<Vec<u8>>> {
        let Some(allocation) = &mut self.allocation else { return Err(Some(packet)) };
        match (allocation.handle(now, &packet), allocation.relayed()) {
            (Received::Data(source, data), Some(destination)) => {
                let payload = packet.get(data).unwrap_or_default().to_vec();
                Ok(Arrival { source, destination, payload })
            }
            (Received::Foreign, _) => Err(Some(packet)),
            (Received::Control | Received::Data(..), _) => Err(None),
        }
    }

    /// Whether our own address seems gone.
    fn transmit(&self, network: &Network, base: SocketAddr, packet: Vec<u8>) -> bool {
        match self.allocation.as_ref().map(Allocation::server) {
            Some(server) => self.transmit_to(network, base, server, packet),
            None => false,
        }
    }

    fn transmit_to(&self, network: &Network, base: SocketAddr, server: SocketAddr, packet: Vec<u8>) -> bool {
        match &self.way {
            Way::Datagrams => network.send(base, server, &packet),
            Way::Connection { open: Some((sender, _)), .. } => {
                sender.send(packet);
                false
            }
            Way::Connection { open: None, .. } => false,
        }
    }

    fn outcome(&self) -> Result<(), String> {
        match (&self.failed, self.told) {
            (Some(why), _) => Err(why.clone()),
            (None, Some(_)) => Ok(()),
            (None, None) => Err("no answer".into()),
        }
    }
}

fn allocation(server: &TurnServer, via: Via, now: Tick) -> Option<Allocation> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).ok()?;
    let TurnServer { username, password, .. } = server;
    Some(Allocation::new(server.at(via), via != Via::Udp, username, password, Seed::new(seed), now))
}

/// Passes on what comes over a connection, until it ends.
async fn converse(number: u64, mut stream: Stream, tell: mpsc::Sender<News>) {
    let opened = (stream.sender(), stream.local());
    if tell.send(News::Opened(number, Ok(opened))).await.is_err() {
        return;
    }
    while let Some(packet) = stream.recv().await {
        if tell.send(News::Packet(number, packet)).await.is_err() {
            return;
        }
    }
    // The session may be over, and then nobody wants to know.
    let _ = tell.send(News::Ended(number)).await;
}
