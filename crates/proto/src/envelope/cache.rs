//! Lookup by a secret hash, and a cache bounded in bytes and in time.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher as _};
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::time::Tick;

/// Hashes under a secret: a peer that chooses the keys cannot choose where they collide.
#[derive(Clone)]
pub(super) struct SecretHash([u64; 2]);

impl SecretHash {
    pub(super) fn new(rng: &mut impl Rng) -> Self {
        Self([rng.next_u64(), rng.next_u64()])
    }
}

impl BuildHasher for SecretHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0[0]);
        hasher.write_u64(self.0[1]);
        hasher
    }
}

/// How long an entry stays at least after its last use; at most twice that.
pub(super) const TERM: Duration = Duration::from_secs(60);

/// What was worked out about a text, for as long as it is used and there is room.
///
/// Two generations: entries that are used move to the young one, and when that is full, or a minute old, the old one goes.
/// What is in use stays, and peers that have left leave nothing behind.
pub(super) struct Cache<V> {
    young: HashMap<Box<str>, V, SecretHash>,
    old: HashMap<Box<str>, V, SecretHash>,
    young_bytes: usize,
    limit: usize,
    /// When the young generation began; none before the first use.
    began: Option<Tick>,
}

/// What an entry costs besides its text, roughly.
const ENTRY_BYTES: usize = 512;

impl<V> Cache<V> {
    /// A cache that holds at most about `limit` bytes of texts, counting each entry's overhead.
    pub(super) fn new(limit: usize, hash: &SecretHash) -> Self {
        let empty = || HashMap::with_hasher(hash.clone());
        Self { young: empty(), old: empty(), young_bytes: 0, limit, began: None }
    }

    /// Lets go what was not used lately. To be called before anything is looked up.
    pub(super) fn age(&mut self, now: Tick) {
        let began = *self.began.get_or_insert(now);
        if now.since(began) >= TERM {
            self.turn();
            self.old.shrink_to_fit();
            self.young.shrink_to_fit();
            self.began = Some(now);
        }
    }

    pub(super) fn get_mut(&mut self, text: &str) -> Option<&mut V> {
        if let Some((text, value)) = self.old.remove_entry(text) {
            self.insert(text, value);
        }
        self.young.get_mut(text)
    }

    pub(super) fn insert(&mut self, text: Box<str>, value: V) {
        let bytes = text.len() + ENTRY_BYTES;
        if self.young_bytes + bytes > self.limit / 2 {
            self.turn();
        }
        self.young_bytes += bytes;
        self.young.insert(text, value);
    }

    fn turn(&mut self) {
        std::mem::swap(&mut self.old, &mut self.young);
        self.young.clear();
        self.young_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Seed;

    #[test]
    fn a_cache_is_bounded_and_keeps_what_is_used() {
        let hash = SecretHash::new(&mut Seed::new([1; 32]).into_rng());
        let mut cache = Cache::new(20 * ENTRY_BYTES, &hash);
        cache.insert("kept".into(), 0);
        for n in 0..1000 {
            cache.insert(n.to_string().into(), n);
            assert!(cache.get_mut("kept").is_some());
            assert!(cache.young.len() + cache.old.len() <= 20);
        }
        assert!(cache.get_mut("1").is_none());
    }

    #[test]
    fn a_cache_lets_go_what_is_not_used() {
        let mut cache = Cache::new(20 * ENTRY_BYTES, &SecretHash::new(&mut Seed::new([1; 32]).into_rng()));
        let mut now = Tick::from_micros(5);
        cache.age(now);
        cache.insert("used".into(), 1);
        cache.insert("not used".into(), 2);
        for _ in 0..2 {
            now = now + TERM;
            cache.age(now);
            assert!(cache.get_mut("used").is_some());
        }
        assert_eq!(cache.young.len() + cache.old.len(), 1);
        assert!(cache.get_mut("not used").is_none());
    }
}
