//! Dialling: QUIC and WebSocket raced, and what worked remembered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use quinn::{ClientConfig, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Closed, HANDSHAKE_DEADLINE, Link, Side, Target, Transport, quic, spawn, ws};
use crate::tls::{Expect, Roots, TlsError, server_name};
use crate::turn::Secure;

/// The head start of each attempt over the next one (QB-4).
const HEAD_START: Duration = Duration::from_millis(250);

/// How long QUIC has once every WebSocket attempt failed: a node that offers it offers WebSocket as well (QUIC-4), so that
/// nobody seems to be there, and UDP packets to nobody are not always answered.
const WITHOUT_WS: Duration = Duration::from_secs(3);

/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 4;

/// Nodes whose sessions and favoured transport are remembered.
const MAX_NODES: usize = 64;

/// How long WebSocket goes first after QUIC failed: networks that drop UDP are left behind again.
const FAVOUR: Duration = Duration::from_secs(600);

/// Why no link came about.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The host name means nothing.
    #[error("cannot find {host}: {source}")]
    Lookup {
        /// The host dialled.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The node's certificate does not belong to the key its DID names.
    #[error("{host} is not {node}: its certificate has another key")]
    WrongKey {
        /// The host dialled.
        host: String,
        /// The DID expected there.
        node: String,
    },
    /// Nobody we trust vouches for the node's certificate.
    #[error(
        "cannot authenticate {host}: {detail}. If you know the node's DID, append it to the URL (wss://…/dsip#did:key:…); \
         if you have its certificate, pass it with --ca FILE"
    )]
    Untrusted {
        /// The host dialled.
        host: String,
        /// What is wrong with the certificate.
        detail: String,
    },
    /// Nothing answered, on any address or binding.
    #[error("cannot reach {host}: {detail}")]
    Unreachable {
        /// The host dialled.
        host: String,
        /// What became of the attempts.
        detail: String,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Opens links, and remembers for each node what worked and the session that allows 0-RTT. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    roots: Roots,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    nodes: HashMap<Node, Known>,
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

/// What a node is remembered by: TLS sessions must never be shared between two expectations.
type Node = (String, u16, Expect);

#[derive(Debug)]
struct Known {
    quic: ClientConfig,
    /// Until when WebSocket goes first.
    favour_ws: Option<Instant>,
    used: Instant,
}

impl Dialer {
    /// A dialler that trusts `roots` where a node is not known by its key.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self { roots, shared: Arc::default() }
    }

    /// Opens a link over whichever binding answers first: QUIC, then 250 ms later WebSocket, or the other way round
    /// while QUIC is known to fail here.
    ///
    /// With a session from an earlier link the QUIC attempt costs no round trip: the link comes back at once, and its
    /// first frames travel as 0-RTT. If the node then does not answer, the link ends with [`Closed::Unanswered`], and
    /// the next one races again.
    pub async fn open(&self, target: &Target) -> Result<Link, OpenError> {
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let host = || target.host().to_owned();
        let unanswered = || OpenError::Unreachable { host: host(), detail: "no answer within 10 seconds".into() };
        let bare = target.host().trim_start_matches('[').trim_end_matches(']');
        let found = timeout_at(deadline, tokio::net::lookup_host((bare, target.port()))).await;
        let addresses: Vec<SocketAddr> = found
            .map_err(|_| unanswered())?
            .map_err(|source| OpenError::Lookup { host: host(), source })?
            .take(MAX_ADDRESSES)
            .collect();
        self.race(target, &addresses, deadline).await
    }

    /// Opens a link over one binding to one address of the node, and tries nothing else: for who wants to know whether that
    /// way is open. Nothing is remembered of it, and nothing travels as 0-RTT.
    pub async fn open_over(
        &self,
        target: &Target,
        transport: Transport,
        address: SocketAddr,
    ) -> Result<Link, OpenError> {
        let node = (target.host().to_owned(), target.port(), target.expect());
        let (quic, _) = self.known(&node)?;
        let opening = async {
            match transport {
                Transport::Quic => self.open_quic(&node, quic, address, false).await,
                Transport::Ws => self.open_ws(target, address).await,
            }
        };
        let host = || target.host().to_owned();
        let unreachable = |detail| OpenError::Unreachable { host: host(), detail };
        match timeout_at(Instant::now() + HANDSHAKE_DEADLINE, opening).await {
            Err(_) => Err(unreachable("no answer within 10 seconds".into())),
            Ok(opened) => opened.map_err(|failure| match failure {
                Failure::WrongKey => wrong_key(target),
                Failure::Untrusted(detail) => OpenError::Untrusted { host: host(), detail },
                Failure::Other(detail) => unreachable(detail),
            }),
        }
    }

    /// TURN-12: what the TURN server of that node has to show over TLS is what the node itself has to show.
    pub fn turn_tls(&self, target: &Target) -> Result<Secure, OpenError> {
        let unnamed = || OpenError::Unreachable { host: target.host().to_owned(), detail: "no name for TLS".into() };
        let name = server_name(target.host()).ok_or_else(unnamed)?;
        Ok(Secure { config: self.roots.turn_client(&target.expect())?, name })
    }

    /// Whom it trusts where a node is not known by its key.
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Moves every QUIC link to a fresh UDP socket, as when the network changed under us. The links go on (QB-43).
    ///
    /// Only a socket bound to one address needs this; ours are not, so the system moves them by itself. It is for those
    /// who know of a change before their packets do.
    pub fn rebind(&self) -> io::Result<()> {
        let shared = self.lock();
        for (endpoint, any) in [(&shared.v4, ANY_V4), (&shared.v6, ANY_V6)] {
            if let Some(endpoint) = endpoint {
                endpoint.rebind(quic::client_socket(any)?)?;
            }
        }
        Ok(())
    }

    /// Tries everything, one a head start after the other.
    async fn race(&self, target: &Target, addresses: &[SocketAddr], deadline: Instant) -> Result<Link, OpenError> {
        let node = (target.host().to_owned(), target.port(), target.expect());
        let (quic, favour_ws) = self.known(&node)?;
        let order = if favour_ws { [Transport::Ws, Transport::Quic] } else { [Transport::Quic, Transport::Ws] };
        let mut waiting = addresses
            .iter()
            .flat_map(|address| order.map(|transport| (transport, *address)))
            .filter(|(transport, _)| *transport == Transport::Ws || target.speaks_quic());
        let mut running: FuturesUnordered<BoxFuture<'_, (Transport, Result<Link, Failure>)>> = FuturesUnordered::new();
        let mut failures = Vec::new();
        let mut ws_left = addresses.len();
        let mut deadline = std::pin::pin!(sleep_until(deadline));
        loop {
            let next = waiting.next();
            let more = next.is_some();
            if let Some((transport, address)) = next {
                let quic = quic.clone();
                let node = &node;
                running.push(Box::pin(async move {
                    let opened = match transport {
                        // What failed a moment ago is not handed out before it works.
                        Transport::Quic => self.open_quic(node, quic, address, !favour_ws).await,
                        Transport::Ws => self.open_ws(target, address).await,
                    };
                    (transport, opened)
                }));
            }
            let finished = tokio::select! {
                finished = running.next() => finished,
                () = sleep(HEAD_START), if more => continue,
                () = &mut deadline => {
                    failures.push("no answer".into());
                    return Err(OpenError::Unreachable { host: target.host().to_owned(), detail: failures.join("; ") });
                }
            };
            match finished {
                Some((transport, Ok(link))) => {
                    if target.speaks_quic() {
                        self.remember(&node, transport);
                    }
                    return Ok(link);
                }
                // An impostor on one binding is no reason to try the next.
                Some((_, Err(Failure::WrongKey))) => return Err(wrong_key(target)),
                Some((_, Err(Failure::Untrusted(detail)))) => {
                    return Err(OpenError::Untrusted { host: target.host().to_owned(), detail });
                }
                Some((transport, Err(Failure::Other(detail)))) => {
                    failures.push(format!("{transport}: {detail}"));
                    ws_left -= usize::from(transport == Transport::Ws);
                    if ws_left == 0 {
                        let sooner = deadline.deadline().min(Instant::now() + WITHOUT_WS);
                        deadline.as_mut().reset(sooner);
                    }
                }
                None if more => {}
                None => {
                    let detail =
                        if failures.is_empty() { "the name has no address".into() } else { failures.join("; ") };
                    return Err(OpenError::Unreachable { host: target.host().to_owned(), detail });
                }
            }
        }
    }

    async fn open_quic(
        &self,
        node: &Node,
        config: ClientConfig,
        address: SocketAddr,
        early: bool,
    ) -> Result<Link, Failure> {
        let endpoint = self.endpoint(address)?;
        let name = node.0.trim_start_matches('[').trim_end_matches(']');
        let connecting = endpoint.connect_with(config, address, name).map_err(|e| Failure::Other(e.to_string()))?;
        let (connection, early) = match if early { connecting.into_0rtt() } else { Err(connecting) } {
            Ok((connection, accepted)) => (connection, Some(accepted.boxed())),
            Err(connecting) => (connecting.await?, None),
        };
        let (dialer, node) = (self.clone(), node.clone());
        Ok(spawn(Transport::Quic, address, early.is_some(), move |outgoing, deliver| async move {
            let closed = quic::drive(connection, Side::Client, early, outgoing, deliver).await;
            if closed == Closed::Unanswered {
                dialer.remember(&node, Transport::Ws);
            }
            closed
        }))
    }

    async fn open_ws(&self, target: &Target, address: SocketAddr) -> Result<Link, Failure> {
        let tls = self.roots.ws_client(&target.expect()).map_err(|error| Failure::Other(error.to_string()))?;
        let socket = ws::connect(target, TcpStream::connect(address).await?, tls).await?;
        Ok(spawn(Transport::Ws, address, false, move |outgoing, deliver| {
            ws::drive(socket, Side::Client, outgoing, deliver)
        }))
    }

    /// How to dial a node over QUIC, and whether WebSocket goes first.
    fn known(&self, node: &Node) -> Result<(ClientConfig, bool), OpenError> {
        let now = Instant::now();
        let mut shared = self.lock();
        let oldest = shared.nodes.iter().min_by_key(|(_, known)| known.used).map(|(node, _)| node.clone());
        if let Some(oldest) = oldest.filter(|_| shared.nodes.len() >= MAX_NODES && !shared.nodes.contains_key(node)) {
            shared.nodes.remove(&oldest);
        }
        let known = match shared.nodes.entry(node.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => {
                let mut quic = ClientConfig::new(Arc::new(self.roots.quic_client(&node.2)?));
                quic.transport_config(quic::transport(Side::Client));
                slot.insert(Known { quic, favour_ws: None, used: now })
            }
        };
        known.used = now;
        Ok((known.quic.clone(), known.favour_ws.is_some_and(|until| now < until)))
    }

    /// Where WebSocket won although QUIC had the head start, it gets the head start for a while.
    fn remember(&self, node: &Node, worked: Transport) {
        if let Some(known) = self.lock().nodes.get_mut(node) {
            let now = Instant::now();
            known.favour_ws = match worked {
                Transport::Quic => None,
                Transport::Ws => known.favour_ws.filter(|until| now < *until).or(Some(now + FAVOUR)),
            };
        }
    }

    fn endpoint(&self, towards: SocketAddr) -> io::Result<Endpoint> {
        let mut shared = self.lock();
        let (slot, any) = if towards.is_ipv4() { (&mut shared.v4, ANY_V4) } else { (&mut shared.v6, ANY_V6) };
        match slot {
            Some(endpoint) => Ok(endpoint.clone()),
            None => {
                let socket = quic::client_socket(any)?;
                let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
                Ok(slot.insert(endpoint).clone())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing below leaves the maps half-changed, so a panic elsewhere has not spoilt them.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const ANY_V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const ANY_V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// What a verifier's `ApplicationVerificationFailure` becomes; only the one that compares keys says it.
const ALERT_ACCESS_DENIED: u64 = 0x131;

/// Why one attempt failed.
enum Failure {
    WrongKey,
    Untrusted(String),
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure)) => {
                Self::WrongKey
            }
            Some(rustls::Error::InvalidCertificate(why)) => {
                Self::Untrusted(rustls::Error::from(why.clone()).to_string())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        match error {
            // RFC 9001, 4.8: 0x100 and the TLS alert; these are the alerts a client gives about a certificate, the last one about
            // a signature in it.
            ConnectionError::TransportError(error) => match u64::from(error.code) {
                ALERT_ACCESS_DENIED => Self::WrongKey,
                0x12a..=0x130 | 0x133 => Self::Untrusted(error.reason),
                _ => Self::Other(error.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

fn wrong_key(target: &Target) -> OpenError {
    let node = target.node().map(ToString::to_string).unwrap_or_default();
    OpenError::WrongKey { host: target.host().to_owned(), node }
}
