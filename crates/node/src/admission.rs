//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections a node accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all, on both transports.
    pub connections: usize,
    /// From one address; for IPv6, from one /64.
    pub per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // A few devices in each of a few hundred households behind one carrier's address.
        Self { connections: 100_000, per_address: 1_024 }
    }
}

/// Counts connections from the moment they are accepted, so that half-open ones count too.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    limits: Limits,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// A place for a connection from `address`, if there is one.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut open = self.lock();
        let here = open.by_address.get(&address).copied().unwrap_or(0);
        if open.all >= self.limits.connections || here >= self.limits.per_address {
            return None;
        }
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

    #[test]
    fn places_are_counted_by_network_and_given_back() {
        let admission = Admission::new(Limits { connections: 3, per_address: 2 });
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = admission.admit(at("2001:db8::1")).expect("room");
        let _second = admission.admit(at("2001:db8::2")).expect("room");
        assert!(admission.admit(at("2001:db8::3")).is_none(), "the /64 is full");
        let _third = admission.admit(at("192.0.2.1")).expect("room");
        assert!(admission.admit(at("192.0.2.2")).is_none(), "the node is full");
        drop(first);
        assert!(admission.admit(at("192.0.2.2")).is_some());
    }
}
