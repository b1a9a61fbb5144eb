//! What one peer may cost a node: records it may hand over, and refused ones it may be caught with (DHT-28, DHT-32).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// Records one peer may hand over per minute. A node that replicates its neighbours' records needs hundreds; a signature
/// check costs a twentieth of a millisecond, so this bounds one peer to some 3 % of a core.
const PUTS_PER_MINUTE: u32 = 600;
/// Records of one peer that may fail to verify per minute before it is shut out.
const REFUSALS_PER_MINUTE: u32 = 10;
/// How long a peer is shut out.
pub(super) const SHUT_OUT: Duration = Duration::from_secs(600);
/// Peers accounted for at once. An attacker who needs a fresh identity per record pays a handshake for each.
const MAX_PEERS: usize = 4096;

/// Counts per peer and minute.
#[derive(Default)]
pub(super) struct Limits {
    peers: BTreeMap<PeerId, Account>,
    shut_out: BTreeMap<PeerId, Instant>,
}

struct Account {
    since: Instant,
    puts: u32,
    refusals: u32,
}

impl Limits {
    /// Whether `peer` may hand over one more record now.
    pub(super) fn admits(&mut self, peer: PeerId, now: Instant) -> bool {
        let account = self.account(peer, now);
        account.puts = account.puts.saturating_add(1);
        account.puts <= PUTS_PER_MINUTE
    }

    /// Counts a record of `peer` that did not verify; true once it should be shut out.
    pub(super) fn refused(&mut self, peer: PeerId, now: Instant) -> bool {
        let account = self.account(peer, now);
        account.refusals = account.refusals.saturating_add(1);
        if account.refusals < REFUSALS_PER_MINUTE {
            return false;
        }
        self.shut_out.insert(peer, now + SHUT_OUT);
        while self.shut_out.len() > MAX_PEERS {
            self.shut_out.pop_first();
        }
        true
    }

    /// Forgets what is over, and names the peers that may come back.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<PeerId> {
        self.peers.retain(|_, account| now.duration_since(account.since) < MINUTE);
        self.shut_out.extract_if(.., |_, until| *until <= now).map(|(peer, _)| peer).collect()
    }

    fn account(&mut self, peer: PeerId, now: Instant) -> &mut Account {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            self.peers.pop_first();
        }
        let account = self.peers.entry(peer).or_insert(Account { since: now, puts: 0, refusals: 0 });
        if now.duration_since(account.since) >= MINUTE {
            *account = Account { since: now, puts: 0, refusals: 0 };
        }
        account
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dht_28_a_peer_caught_too_often_is_shut_out_and_may_come_back() {
        let (mut limits, peer, start) = (Limits::default(), PeerId::random(), Instant::now());
        assert!((1..REFUSALS_PER_MINUTE).all(|_| !limits.refused(peer, start)));
        assert!(limits.refused(peer, start));
        assert!(limits.sweep(start + SHUT_OUT - MINUTE).is_empty());
        assert_eq!(limits.sweep(start + SHUT_OUT), [peer]);
    }

    #[test]
    fn dht_32_puts_are_limited_per_peer_and_minute() {
        let (mut limits, peer, start) = (Limits::default(), PeerId::random(), Instant::now());
        assert!((0..PUTS_PER_MINUTE).all(|_| limits.admits(peer, start)));
        assert!(!limits.admits(peer, start));
        assert!(limits.admits(PeerId::random(), start));
        assert!(limits.admits(peer, start + MINUTE));
    }

    #[test]
    fn the_accounts_are_bounded() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for _ in 0..MAX_PEERS + 50 {
            limits.admits(PeerId::random(), now);
        }
        assert_eq!(limits.peers.len(), MAX_PEERS);
    }
}
