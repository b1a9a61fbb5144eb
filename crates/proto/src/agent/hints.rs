//! When to publish where we can be dialled.
//!
//! Publishing is a disclosure and happens only for an owner who opted in (DHT-31), only while our own node knows us, and
//! again every 240 s, because a strict reader applies the ±300 s window to hints as well (DHT-30).

use std::time::Duration;

use crate::time::{Now, Tick};

/// DHT-30: how often a hint is signed afresh.
pub(super) const EVERY: Duration = Duration::from_secs(crate::hints::RESIGN_AFTER);
/// DHT-3: how long a hint lives. Long enough that one missed publication does not hide us.
pub(super) const LIFETIME_SECS: u64 = 900;

/// The schedule, and the sequence number that must rise with every hint (DHT-2).
#[derive(Debug)]
pub(super) struct Hints {
    due: Option<Tick>,
    last_seq: u64,
}

impl Hints {
    pub(super) fn new() -> Self {
        Self { due: None, last_seq: 0 }
    }

    /// Our node knows us: publish now, and from now on.
    pub(super) fn begin(&mut self, now: Now) {
        self.due = Some(now.tick);
    }

    /// Our node is out of reach: what we would publish is not true any more.
    pub(super) fn pause(&mut self) {
        self.due = None;
    }

    /// The sequence number of the hint to sign now, if one is due. DHT-2: the clock is a good choice, and it stays one
    /// across restarts; within one second it still has to rise.
    pub(super) fn due(&mut self, now: Now) -> Option<u64> {
        if self.due? > now.tick {
            return None;
        }
        self.due = Some(now.tick + EVERY);
        self.last_seq = now.wall.secs().max(self.last_seq + 1);
        Some(self.last_seq)
    }

    pub(super) fn wake(&self) -> Option<Tick> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn dht_30_a_hint_is_signed_afresh_every_240_seconds_and_its_seq_rises() {
        let start = Now { tick: Tick::from_micros(5), wall: Wall::from_secs(1_760_000_000) };
        let mut hints = Hints::new();
        assert_eq!(hints.due(start), None, "nobody knows us yet");
        hints.begin(start);
        let first = hints.due(start).expect("due at once");
        assert_eq!(hints.due(start.later(EVERY - Duration::from_secs(1))), None);
        assert!(hints.due(start.later(EVERY)).expect("due again") > first);
        hints.begin(start.later(EVERY));
        assert!(hints.due(start).is_none_or(|again| again > first), "DHT-2: never the same number twice");
        hints.pause();
        assert_eq!(hints.wake(), None);
    }
}
