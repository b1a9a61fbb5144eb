//! Which pairs of addresses are alive, so that a dead one is left in seconds.
//!
//! ICE alone notices late: a pair counts as alive for 15 s after the peer's last check. A device that moves from Wi-Fi
//! to LTE leaves its peer talking to nobody for that long, although checks from the new address already arrive. So the
//! call watches the pair in use: silent for [`SILENCE`] while another pair is alive means it is dead.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dsip_proto::time::Tick;

/// How long the pair in use may be silent before a live one replaces it: longer than the second between checks.
const SILENCE: Duration = Duration::from_millis(1300);

/// How recently another pair must have been heard to replace it.
const ALIVE: Duration = Duration::from_millis(600);

/// How many pairs are remembered; the one heard longest ago goes first.
const PAIRS: usize = 64;

/// A local and a remote address.
type Pair = (SocketAddr, SocketAddr);

/// The end of a pair that no longer works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dead {
    /// Ours.
    Local(SocketAddr),
    /// The peer's.
    Remote(SocketAddr),
}

/// When each pair was last heard, and which one carries our media.
#[derive(Debug, Default)]
pub(super) struct Paths {
    heard: BTreeMap<Pair, Tick>,
    used: Option<(Pair, Tick)>,
}

impl Paths {
    /// Notes that a packet of the peer came in.
    pub(super) fn heard(&mut self, now: Tick, local: SocketAddr, remote: SocketAddr) {
        if self.heard.len() >= PAIRS
            && !self.heard.contains_key(&(local, remote))
            && let Some(oldest) = self.heard.iter().min_by_key(|(_, at)| **at).map(|(pair, _)| *pair)
        {
            self.heard.remove(&oldest);
        }
        self.heard.insert((local, remote), now);
    }

    /// Whether a check from this address was ever authenticated.
    pub(super) fn knows(&self, remote: SocketAddr) -> bool {
        self.heard.keys().any(|(_, known)| *known == remote)
    }

    /// Notes that media or handshake, as opposed to a check, went out.
    pub(super) fn sent(&mut self, now: Tick, local: SocketAddr, remote: SocketAddr, payload: &[u8]) {
        let is_check = payload.first().is_none_or(|first| *first < 20);
        if !is_check && self.used.is_none_or(|(pair, _)| pair != (local, remote)) {
            self.used = Some(((local, remote), now));
        }
    }

    /// A local address is gone.
    pub(super) fn forget_local(&mut self, local: SocketAddr) {
        self.heard.retain(|(known, _), _| *known != local);
        if self.used.is_some_and(|((used, _), _)| used == local) {
            self.used = None;
        }
    }

    /// Which end of the pair in use is dead, if one is while another pair lives. The pair is forgotten by asking.
    pub(super) fn stale(&mut self, now: Tick) -> Option<Dead> {
        let ((local, remote), since) = self.used?;
        let last = self.heard.get(&(local, remote)).copied().unwrap_or(since).max(since);
        if now.since(last) < SILENCE {
            return None;
        }
        let mut alive = self.heard.iter().filter(|(_, at)| now.since(**at) <= ALIVE).map(|(pair, _)| *pair);
        // If the peer is heard from elsewhere, it moved; if it is heard there but by another way of ours, we did.
        let moved = alive.clone().any(|(_, other)| other != remote);
        let dead = if moved {
            Dead::Remote(remote)
        } else if alive.any(|(other, _)| other != local) {
            Dead::Local(local)
        } else {
            return None;
        };
        self.used = None;
        self.heard.remove(&(local, remote));
        Some(dead)
    }

    /// When to look again.
    pub(super) fn deadline(&self, now: Tick) -> Option<Tick> {
        let (pair, since) = self.used?;
        let last = self.heard.get(&pair).copied().unwrap_or(since).max(since);
        let due = last + SILENCE;
        Some(if due > now { due } else { now + Duration::from_millis(250) })
    }
}
