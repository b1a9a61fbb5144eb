//! This machine's addresses and the sockets on them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Datagrams read but not yet processed. Beyond it they are dropped, as the network would.
const QUEUE: usize = 256;

/// Larger than any datagram a path delivers; what is cut off fails its authentication.
const DATAGRAM: usize = 2048;

/// How many addresses take part at most: a machine with hundreds (containers, say) would drown the peer in candidates.
const ADDRESSES: usize = 16;

/// Which of this machine's addresses take part in a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Addresses {
    /// Those of every interface that is up, without loopback and link-local ones; loopback if there are no others when the
    /// session starts.
    #[default]
    Interfaces,
    /// Loopback only: peers on this machine, e.g. the demo.
    Loopback,
    /// Interfaces and loopback.
    All,
    /// Exactly these.
    Only(Vec<IpAddr>),
}

impl Addresses {
    /// The addresses as of now. `first`: when the session starts.
    fn current(&self, first: bool) -> io::Result<BTreeSet<IpAddr>> {
        const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if let Self::Only(addresses) = self {
            return Ok(addresses.iter().copied().collect());
        }
        if *self == Self::Loopback {
            return Ok(BTreeSet::from([LOOPBACK]));
        }
        let interfaces = if_addrs::get_if_addrs()?;
        let usable = interfaces.iter().filter(|interface| interface.is_oper_up()).map(if_addrs::Interface::ip);
        let mut found: BTreeSet<IpAddr> = usable.filter(|ip| is_routable(*ip)).take(ADDRESSES).collect();
        if *self == Self::All || (first && found.is_empty()) {
            found.insert(LOOPBACK);
        }
        Ok(found)
    }
}

fn is_routable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => v6 != Ipv6Addr::LOCALHOST && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

/// A datagram as it came in.
pub(super) struct Arrival {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) payload: Vec<u8>,
}

/// What changed since the last look.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) added: Vec<SocketAddr>,
    pub(super) removed: Vec<SocketAddr>,
}

/// The sockets, one per address.
pub(super) struct Network {
    addresses: Addresses,
    sockets: BTreeMap<SocketAddr, (Arc<UdpSocket>, JoinHandle<()>)>,
    sender: mpsc::Sender<Arrival>,
    arrivals: mpsc::Receiver<Arrival>,
}

impl Network {
    pub(super) async fn open(addresses: Addresses) -> io::Result<Self> {
        let (sender, arrivals) = mpsc::channel(QUEUE);
        let mut network = Self { addresses, sockets: BTreeMap::new(), sender, arrivals };
        network.compare(true).await?;
        if network.sockets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no address to bind to"));
        }
        Ok(network)
    }

    pub(super) fn locals(&self) -> Vec<SocketAddr> {
        self.sockets.keys().copied().collect()
    }

    /// Compares the machine's addresses with the sockets: opens and closes what differs.
    pub(super) async fn rescan(&mut self) -> io::Result<Change> {
        self.compare(false).await
    }

    async fn compare(&mut self, first: bool) -> io::Result<Change> {
        let current = self.addresses.current(first)?;
        let mut change = Change::default();
        // Loopback never goes; a session that fell back to it keeps it beside the networks that came up later.
        let is_gone = |local: &SocketAddr| !local.ip().is_loopback() && !current.contains(&local.ip());
        let gone: Vec<SocketAddr> = self.locals().into_iter().filter(is_gone).collect();
        for local in gone {
            if let Some((_, reader)) = self.sockets.remove(&local) {
                reader.abort();
            }
            change.removed.push(local);
        }
        for ip in current {
            if self.sockets.keys().any(|local| local.ip() == ip) {
                continue;
            }
            // An address may be listed and not be usable yet, e.g. while IPv6 checks for duplicates: the next look tries again.
            match bind(ip).await {
                Ok((local, socket)) => {
                    let socket = Arc::new(socket);
                    let reader = tokio::spawn(read(local, socket.clone(), self.sender.clone()));
                    self.sockets.insert(local, (socket, reader));
                    change.added.push(local);
                }
                Err(error) => tracing::debug!(%ip, %error, "address not used"),
            }
        }
        Ok(change)
    }

    pub(super) async fn arrival(&mut self) -> Arrival {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            // We hold a sender ourselves, so the channel never closes.
            None => std::future::pending().await,
        }
    }

    /// Sends at once or not at all. Says whether the address seems gone.
    pub(super) fn send(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> bool {
        let Some((socket, _)) = self.sockets.get(&source) else { return true };
        match socket.try_send_to(payload, destination) {
            Ok(_) => false,
            Err(error) => {
                tracing::trace!(%source, %destination, %error, "not sent");
                matches!(
                    error.kind(),
                    io::ErrorKind::AddrNotAvailable
                        | io::ErrorKind::NetworkUnreachable
                        | io::ErrorKind::NetworkDown
                        | io::ErrorKind::InvalidInput
                )
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (_, reader) in self.sockets.values() {
            reader.abort();
        }
    }
}

/// A socket that can be written to at once: until the runtime has seen it ready, it would refuse the first datagrams.
async fn bind(ip: IpAddr) -> io::Result<(SocketAddr, UdpSocket)> {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).await?;
    socket.writable().await?;
    Ok((socket.local_addr()?, socket))
}

async fn read(local: SocketAddr, socket: Arc<UdpSocket>, to: mpsc::Sender<Arrival>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, source)) => {
                let payload = buffer.get(..length).unwrap_or_default().to_vec();
                let arrival = Arrival { source, destination: local, payload };
                if let Err(mpsc::error::TrySendError::Closed(_)) = to.try_send(arrival) {
                    return;
                }
            }
            Err(error) => {
                // Often an ICMP message about an earlier datagram. Never spin on it.
                tracing::trace!(%local, %error, "not received");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}
