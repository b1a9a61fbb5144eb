//! Which ids were seen before (RPL-3 to RPL-6).

use std::collections::{BTreeMap, HashMap, HashSet};

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::cache::SecretHash;
use crate::wire::{Did, Ulid};

/// Ids are forgotten in batches of this many seconds, so that there are few batches, whatever their ids.
const BATCH_SECS: u64 = 16;

/// At most so many ids are forgotten when one is looked up, so that nobody waits for the end of a busy batch. Fewer than
/// one comes in meanwhile.
const FORGOTTEN_AT_ONCE: usize = 16;

/// The ids a receiving component has seen, in its live window and among held types.
///
/// Remembering and checking cost the same whatever the window holds, and it never outgrows its [`Limits`]: past them an id
/// that cannot be remembered is refused, for forgetting another early would let that one be replayed. One sender's excess
/// meets its own limit long before it meets everybody's. Held ids outlive a restart if the driver stores [`HeldId`]s.
pub struct SeenIds {
    live: Window,
    held: Window,
}

/// How many ids are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live ids of one sender. A relay lets nobody send as many within ten minutes.
    pub live_per_sender: usize,
    /// Live ids of all senders.
    pub live: usize,
    /// Held ids of one sender, who has a week to use them.
    pub held_per_sender: usize,
    /// Held ids of all senders.
    pub held: usize,
}

/// An id that has to be remembered across restarts (RPL-6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldId {
    /// The id.
    pub id: Ulid,
    /// Who signed the message.
    pub sender: Did,
    /// Until when it has to be remembered, in Unix seconds.
    pub until: u64,
}

/// An id that was recorded just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The id.
    pub id: HeldId,
    /// Whether it is of a held type (RPL-6). A live one matters for a few minutes only, yet a receiver that takes envelopes
    /// as 0-RTT has to know it across a restart as well.
    pub is_held: bool,
}

/// Whether an id can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    New,
    Seen,
    NoRoom,
}

/// Ids with the time at which each may be forgotten.
struct Window {
    ids: HashSet<Ulid, SecretHash>,
    senders: HashMap<Did, usize, SecretHash>,
    due: BTreeMap<u64, Vec<(Ulid, Did)>>,
    per_sender: usize,
    total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { live_per_sender: 16_384, live: 1 << 20, held_per_sender: 4_096, held: 1 << 18 }
    }
}

impl SeenIds {
    /// Nothing seen yet.
    pub fn new(limits: Limits, rng: &mut impl Rng) -> Self {
        let hash = SecretHash::new(rng);
        Self {
            live: Window::new(limits.live_per_sender, limits.live, &hash),
            held: Window::new(limits.held_per_sender, limits.held, &hash),
        }
    }

    /// Remembers held ids from before a restart; those that are over already are left out. They were let in once, so no
    /// limit applies to them again.
    pub fn restore(&mut self, ids: impl IntoIterator<Item = HeldId>, now_secs: u64) {
        for HeldId { id, sender, until } in ids {
            if until >= now_secs {
                self.held.insert(id, sender, until);
            }
        }
    }

    /// The same for live ids (RPL-3).
    pub fn restore_live(&mut self, ids: impl IntoIterator<Item = HeldId>, now_secs: u64) {
        for HeldId { id, sender, until } in ids {
            if until >= now_secs {
                self.live.insert(id, sender, until);
            }
        }
    }

    /// Every held id, for storing.
    pub fn held(&self) -> impl Iterator<Item = HeldId> + '_ {
        let batches = self.held.due.iter();
        batches.flat_map(|(until, ids)| {
            ids.iter().map(|(id, sender)| HeldId { id: *id, sender: sender.clone(), until: *until })
        })
    }

    /// How many ids are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.ids.len() + self.held.ids.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `id` was seen. The set is keyed by id alone (RPL-5): whose it was does not matter.
    #[must_use]
    pub fn contains(&self, id: Ulid) -> bool {
        self.live.ids.contains(&id) || self.held.ids.contains(&id)
    }

    /// Forgets what is over, and says whether `id` of `sender` can be accepted.
    pub(super) fn novelty(&mut self, id: Ulid, sender: &Did, is_held: bool, now_secs: u64) -> Novelty {
        self.live.forget(now_secs);
        self.held.forget(now_secs);
        let window = if is_held { &self.held } else { &self.live };
        if self.contains(id) {
            Novelty::Seen
        } else if window.has_room(sender) {
            Novelty::New
        } else {
            Novelty::NoRoom
        }
    }

    /// Remembers `id` until the end of the second `until`.
    pub(super) fn insert(&mut self, id: Ulid, sender: &Did, is_held: bool, until: u64) {
        let window = if is_held { &mut self.held } else { &mut self.live };
        if window.has_room(sender) {
            window.insert(id, sender.clone(), until);
        }
    }
}

impl Window {
    fn new(per_sender: usize, total: usize, hash: &SecretHash) -> Self {
        Self {
            ids: HashSet::with_hasher(hash.clone()),
            senders: HashMap::with_hasher(hash.clone()),
            due: BTreeMap::new(),
            per_sender,
            total,
        }
    }

    fn has_room(&self, sender: &Did) -> bool {
        self.ids.len() < self.total && self.senders.get(sender).is_none_or(|held| *held < self.per_sender)
    }

    fn insert(&mut self, id: Ulid, sender: Did, until: u64) {
        if self.ids.insert(id) {
            *self.senders.entry(sender.clone()).or_default() += 1;
            self.due
                .entry(until.checked_next_multiple_of(BATCH_SECS).unwrap_or(u64::MAX))
                .or_default()
                .push((id, sender));
        }
    }

    fn forget(&mut self, now_secs: u64) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some(mut batch) = self.due.first_entry().filter(|batch| *batch.key() < now_secs) else { return };
            let Some((id, sender)) = batch.get_mut().pop() else {
                batch.remove();
                continue;
            };
            self.ids.remove(&id);
            if let Some(count) = self.senders.get_mut(&sender) {
                *count -= 1;
                if *count == 0 {
                    self.senders.remove(&sender);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Seed, Wall};

    const LIMITS: Limits = Limits { live_per_sender: 3, live: 5, held_per_sender: 2, held: 2 };

    fn seen() -> SeenIds {
        SeenIds::new(LIMITS, &mut Seed::new([1; 32]).into_rng())
    }

    fn ids() -> impl Iterator<Item = Ulid> {
        let mut rng = Seed::new([2; 32]).into_rng();
        std::iter::repeat_with(move || Ulid::generate(Wall::from_secs(0), &mut rng))
    }

    fn did(name: &str) -> Did {
        format!("did:web:{name}.example").parse().expect("a DID")
    }

    #[test]
    fn rpl_3_an_id_is_kept_through_its_last_second_and_forgotten_soon_after() {
        let (mut seen, alice) = (seen(), did("alice"));
        let id = ids().next().expect("endless");
        seen.insert(id, &alice, false, 1300);
        assert_eq!(seen.novelty(id, &alice, false, 1300), Novelty::Seen);
        assert_eq!(seen.novelty(id, &alice, false, 1300 + BATCH_SECS), Novelty::New);
        assert!(seen.is_empty() && seen.live.senders.is_empty() && seen.live.due.is_empty());
    }

    #[test]
    fn rpl_5_bounded_per_sender_and_in_total() {
        let (mut seen, mut ids) = (seen(), ids());
        for name in ["alice", "bob"] {
            for id in ids.by_ref().take(10) {
                if seen.novelty(id, &did(name), false, 0) == Novelty::New {
                    seen.insert(id, &did(name), false, 100);
                }
            }
        }
        assert_eq!(seen.live.senders.get(&did("alice")), Some(&3));
        assert_eq!(seen.live.senders.get(&did("bob")), Some(&2), "the total is five");
        assert_eq!(
            seen.novelty(ids.next().expect("endless"), &did("carol"), true, 0),
            Novelty::New,
            "held ids are apart"
        );
    }

    #[test]
    fn rpl_5_a_busy_batch_is_forgotten_step_by_step() {
        let mut seen = SeenIds::new(Limits::default(), &mut Seed::new([1; 32]).into_rng());
        let (alice, mut ids) = (did("alice"), ids());
        for id in ids.by_ref().take(1000) {
            seen.insert(id, &alice, false, 100);
        }
        for step in 1..=1000usize.div_ceil(FORGOTTEN_AT_ONCE) {
            assert_eq!(seen.novelty(ids.next().expect("endless"), &alice, false, 1000), Novelty::New);
            assert_eq!(seen.len(), 1000usize.saturating_sub(step * FORGOTTEN_AT_ONCE));
        }
    }

    #[test]
    fn rpl_5_keyed_by_id_alone() {
        let (mut seen, id) = (seen(), ids().next().expect("endless"));
        seen.insert(id, &did("alice"), true, 100);
        assert_eq!(seen.novelty(id, &did("bob"), false, 0), Novelty::Seen);
    }

    #[test]
    fn rpl_6_held_ids_survive_a_restart() {
        let (mut before, id) = (seen(), ids().next().expect("endless"));
        before.insert(id, &did("alice"), true, 604_800);
        let stored = serde_json::to_string(&before.held().collect::<Vec<_>>()).expect("serialises");
        let mut after = seen();
        after.restore(serde_json::from_str::<Vec<HeldId>>(&stored).expect("reads back"), 1000);
        assert_eq!(after.novelty(id, &did("alice"), true, 604_800), Novelty::Seen);
        let mut late = seen();
        late.restore(serde_json::from_str::<Vec<HeldId>>(&stored).expect("reads back"), 700_000);
        assert!(late.is_empty());
    }
}
