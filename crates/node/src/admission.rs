//! How connections come in: how many there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dsip_proto::relay::rate::{Buckets, Rate};
use dsip_proto::time::Tick;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Addresses whose rates are remembered at once.
const MOST_ADDRESSES: usize = 262_144;

/// How long to wait when the system has no more file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

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
    limits: Limits,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    rates: Buckets<IpAddr>,
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
        Self { limits, open: Arc::new(Mutex::new(Open { all: 0, by_address: HashMap::new(), rates })) }
    }

    /// A place for a connection from `address`, if there is one.
    pub(crate) fn admit(&self, address: IpAddr, now: Tick) -> Option<Place> {
        let address = network(address);
        let mut open = self.lock();
        let here = open.by_address.get(&address).copied().unwrap_or(0);
        if open.all >= self.limits.connections || here >= self.limits.per_address {
            return None;
        }
        open.rates.take(&address, now).ok()?;
        open.all += 1;
        open.by_address.insert(address, here + 1);
        Some(Place { admission: self.clone(), address })
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

/// Whom an address stands for: one IPv4 address, or the /64 that an IPv6 subscriber is given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
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
