//! How connections come in: how many there may be, in all and from one address.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dsip_proto::reach;
use dsip_proto::relay::rate::{Buckets, Rate};
use dsip_proto::time::Tick;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

/// Addresses whose rates are remembered at once.
const MOST_ADDRESSES: usize = 262_144;

/// How long to wait when the system has no more file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted, as far as the system allows: after a restart all devices come at once.
const BACKLOG: u32 = 4_096;

/// Listens on `at`.
pub(crate) fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that was restarted need not wait until the connections of the one before it are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// The next connection, whoever it is from. Nothing is lost if this is not waited for to its end.
pub(crate) async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

/// The connections a node accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all, on both transports.
    pub connections: usize,
    /// From one address; for IPv6, from one /64.
    pub per_address: usize,
    /// How fast one address may open them: each costs a handshake, whatever is said after it.
    pub opens: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        // A few devices in each of a few hundred households behind one carrier's address.
        Self { connections: 100_000, per_address: 1_024, opens: Rate { burst: 512, every: Duration::from_millis(20) } }
    }
}

/// Counts connections from the moment they are accepted, so that half-open ones count too.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    limits: Limits,
    barred: Vec<Network>,
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    refused: Refused,
    rates: Buckets<IpAddr>,
}

/// Connections that were not let in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refused {
    /// The operator does not want them.
    pub(crate) blocked: u64,
    /// There were too many in all.
    pub(crate) full: u64,
    /// There were too many from one address.
    pub(crate) address: u64,
    /// They came too fast.
    pub(crate) rate: u64,
}

/// One connection's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        let rates = Buckets::new(limits.opens, MOST_ADDRESSES);
        let open =
            Open { limits, barred: Vec::new(), all: 0, by_address: HashMap::new(), refused: Refused::default(), rates };
        Self { open: Arc::new(Mutex::new(open)) }
    }

    /// Lets nobody in from these networks from now on.
    pub(crate) fn bar(&self, barred: Vec<Network>) {
        self.lock().barred = barred;
    }

    /// How many connections there may be from now on, in all and from one address. Who is in stays.
    pub(crate) fn allow(&self, connections: usize, per_address: usize) {
        let mut open = self.lock();
        (open.limits.connections, open.limits.per_address) = (connections, per_address);
    }

    /// A place for a connection from `address`, if there is one.
    pub(crate) fn admit(&self, address: IpAddr, now: Tick) -> Option<Place> {
        let mut open = self.lock();
        if open.barred.iter().any(|network| network.contains(address)) {
            open.refused.blocked += 1;
            return None;
        }
        let address = reach::subscriber(address);
        let here = open.by_address.get(&address).copied().unwrap_or(0);
        if open.all >= open.limits.connections {
            open.refused.full += 1;
            return None;
        }
        if here >= open.limits.per_address {
            open.refused.address += 1;
            return None;
        }
        if open.rates.take(&address, now).is_err() {
            open.refused.rate += 1;
            return None;
        }
        open.all += 1;
        open.by_address.insert(address, here + 1);
        Some(Place { admission: self.clone(), address })
    }

    /// Who was not let in so far.
    pub(crate) fn refused(&self) -> Refused {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Two counters changed together; a panic elsewhere cannot have come between them.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.all = open.all.saturating_sub(1);
        let here = open.by_address.get(&self.address).copied().unwrap_or(0);
        if here > 1 {
            open.by_address.insert(self.address, here - 1);
        } else {
            open.by_address.remove(&self.address);
        }
    }
}

/// A network: an address, and how many of its first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Network {
    address: IpAddr,
    length: u32,
}

impl Network {
    /// Whether this address is of it. An IPv4 address in IPv6 clothing is an IPv4 address.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.length) == Some(self.address)
    }
}

/// The first `length` bits of an address, if it has so many.
fn masked(address: IpAddr, length: u32) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
            Some(Ipv4Addr::from_bits(v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
            Some(Ipv6Addr::from_bits(v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither an address nor a network such as 192.0.2.0/24 or 2001:db8::/32");
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(whole), str::parse).map_err(|_| wrong())?;
        // What the last bits were to mean nobody can tell.
        match masked(address, length) {
            Some(first) if first == address => Ok(Self { address, length }),
            Some(first) => Err(format!("{text:?} has bits behind its prefix; {first}/{length} would be the network")),
            None => Err(wrong()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.length) {
            (IpAddr::V4(address), 32) => write!(f, "{address}"),
            (IpAddr::V6(address), 128) => write!(f, "{address}"),
            (address, length) => write!(f, "{address}/{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Tick = Tick::from_micros(1_000_000);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_are_read_and_contain_what_they_say() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.9", "192.0.3.9"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.0/24", "::ffff:192.0.2.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:9::1", "2001:db9::1"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
        ] {
            let network: Network = text.parse().expect(text);
            assert!(network.contains(address(inside)) && !network.contains(address(outside)), "{text}");
            assert_eq!(network.to_string(), text);
        }
        for wrong in ["192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/-1", "example.org", "", "::/129", "192.0.2.0/"] {
            wrong.parse::<Network>().expect_err(wrong);
        }
        let admission = Admission::new(Limits::default());
        admission.bar(vec!["192.0.2.0/24".parse().expect("a network")]);
        assert!(admission.admit(address("192.0.2.1"), AT).is_none());
        assert!(admission.admit(address("192.0.3.1"), AT).is_some());
    }

    /// The backlog that is customary, 128, makes every connection after it wait for seconds.
    #[tokio::test]
    async fn many_connections_may_wait_to_be_accepted() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("listens");
        let at = listener.local_addr().expect("bound");
        let connect = || std::net::TcpStream::connect_timeout(&at, Duration::from_secs(20)).expect("there is room");
        let waiting: Vec<_> = (0..400).map(|_| connect()).collect();
        assert_eq!(waiting.len(), 400);
    }

    #[test]
    fn places_are_counted_by_network_and_given_back() {
        let admission = Admission::new(Limits { connections: 3, per_address: 2, ..Limits::default() });
        let first = admission.admit(address("2001:db8::1"), AT).expect("room");
        let _second = admission.admit(address("2001:db8::2"), AT).expect("room");
        assert!(admission.admit(address("2001:db8::3"), AT).is_none(), "the /64 is full");
        let _third = admission.admit(address("192.0.2.1"), AT).expect("room");
        assert!(admission.admit(address("192.0.2.2"), AT).is_none(), "the node is full");
        drop(first);
        assert!(admission.admit(address("192.0.2.2"), AT).is_some());
    }

    #[test]
    fn coming_and_going_is_limited_too() {
        let opens = Rate { burst: 2, every: Duration::from_secs(1) };
        let admission = Admission::new(Limits { opens, ..Limits::default() });
        let knocks = |now| (0..5).filter(|_| admission.admit(address("192.0.2.1"), now).is_some()).count();
        assert_eq!(knocks(AT), 2);
        assert_eq!(knocks(AT + Duration::from_secs(1)), 1);
        assert!(admission.admit(address("192.0.2.2"), AT).is_some(), "others are not concerned");
    }
}
