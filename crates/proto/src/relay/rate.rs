//! Rates: how much of something one party may do in a while (RLY-61, RLY-70, RLY-71).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Tick;

/// So many at once, and one more each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What may be spent at once after a pause.
    pub burst: u32,
    /// How long it takes to earn one more.
    pub every: Duration,
}

impl Rate {
    /// `count` per minute on average, half of it at once.
    #[must_use]
    pub const fn per_minute(count: u32) -> Self {
        let count = if count == 0 { 1 } else { count };
        Self { burst: count.div_ceil(2), every: Duration::from_micros(60_000_000 / count as u64) }
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, count: u32) -> Self {
        let micros = self.every.as_micros() as u64 / if count == 0 { 1 } else { count as u64 };
        Self { burst: self.burst.saturating_mul(count), every: Duration::from_micros(micros) }
    }

    /// What a steady sender may do in a minute, for `capabilities.rate_limit`.
    #[must_use]
    pub fn each_minute(self) -> u64 {
        u64::try_from(Duration::from_secs(60).as_micros() / self.every.as_micros().max(1)).unwrap_or(u64::MAX).max(1)
    }
}

/// One party's account: the moment at which it will have earned back what it spent. Eight bytes, whatever the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket(Tick);

impl Bucket {
    /// Spends one, or says how long to wait until there is one to spend.
    pub fn take(&mut self, rate: Rate, now: Tick) -> Result<(), Duration> {
        let ahead = self.0.since(now);
        let most = rate.every.saturating_mul(rate.burst.saturating_sub(1));
        if ahead > most {
            return Err(ahead - most);
        }
        self.0 = self.0.max(now) + rate.every;
        Ok(())
    }

    /// Whether it is as good as new.
    #[must_use]
    pub fn is_full(&self, now: Tick) -> bool {
        self.0 <= now
    }
}

/// One account for each party, and no more than so many: those that are full again are forgotten.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    most: usize,
    buckets: BTreeMap<K, Bucket>,
    /// Look for full ones when there are so many.
    sweep_at: usize,
}

impl<K: Ord + Clone> Buckets<K> {
    /// Accounts at `rate`, for at most `most` parties.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, buckets: BTreeMap::new(), sweep_at: FIRST_SWEEP.min(most) }
    }

    /// From now on at another rate. Whoever is in debt by the old one earns at the new one.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Spends one of `party`'s, or says how long it has to wait.
    pub fn take(&mut self, party: &K, now: Tick) -> Result<(), Duration> {
        self.take_by(party, 1, now)
    }

    /// Spends one of `party`'s, which may do so many times as much as others; or says how long it has to wait.
    pub fn take_by(&mut self, party: &K, times: u32, now: Tick) -> Result<(), Duration> {
        let rate = self.rate.times(times);
        if let Some(bucket) = self.buckets.get_mut(party) {
            return bucket.take(rate, now);
        }
        if self.buckets.len() >= self.sweep_at {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.sweep_at = (2 * self.buckets.len()).clamp(FIRST_SWEEP.min(self.most), self.most);
            if self.buckets.len() >= self.most {
                // So many are in debt at once that there is no room to remember another: nobody new gets in.
                return Err(rate.every);
            }
        }
        let mut bucket = Bucket::default();
        bucket.take(rate, now)?;
        self.buckets.insert(party.clone(), bucket);
        Ok(())
    }
}

const FIRST_SWEEP: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(10) };

    #[test]
    fn a_burst_then_one_each_interval() {
        let (mut bucket, start) = (Bucket::default(), Tick::from_micros(1_000_000_000));
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, start), Ok(()));
        }
        assert_eq!(bucket.take(RATE, start), Err(Duration::from_secs(10)));
        let later = start + Duration::from_secs(10);
        assert_eq!(bucket.take(RATE, later), Ok(()));
        assert_eq!(bucket.take(RATE, later), Err(Duration::from_secs(10)));
        assert!(bucket.is_full(later + Duration::from_secs(30)));
    }

    #[test]
    fn parties_do_not_share_and_are_bounded() {
        let mut buckets = Buckets::new(RATE, 4);
        let start = Tick::from_micros(1_000_000_000);
        for party in 0..4 {
            assert_eq!(buckets.take(&party, start), Ok(()));
        }
        assert!(buckets.take(&4, start).is_err(), "no room for a fifth in debt");
        assert_eq!(buckets.take(&0, start), Ok(()), "those known go on");
        let later = start + Duration::from_secs(60);
        assert_eq!(buckets.take(&4, later), Ok(()), "the others are full again and forgotten");
    }

    #[test]
    fn a_party_may_do_more_than_others() {
        let (mut buckets, start) = (Buckets::new(RATE, 4), Tick::from_micros(1_000_000_000));
        let spent = |buckets: &mut Buckets<u8>, party, times, at| {
            (0..100).take_while(|_| buckets.take_by(&party, times, at).is_ok()).count()
        };
        assert_eq!((spent(&mut buckets, 1, 1, start), spent(&mut buckets, 2, 4, start)), (3, 12));
        let later = start + Duration::from_secs(10);
        assert_eq!((spent(&mut buckets, 1, 1, later), spent(&mut buckets, 2, 4, later)), (1, 4));
    }

    #[test]
    fn a_rate_per_minute_reads_back() {
        assert_eq!(Rate::per_minute(600).times(4).each_minute(), 2_400);
        assert_eq!(Rate::per_minute(600).each_minute(), 600);
        assert_eq!(Rate::per_minute(0).each_minute(), 1);
    }
}
