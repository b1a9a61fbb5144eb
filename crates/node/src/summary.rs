//! What an operator hears of an attack: one line, at most once a minute, with numbers and nobody's name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::admission::{Admission, Refused};
use crate::relay::Watch;

/// How often it is told, if there is anything to tell.
const EVERY: Duration = Duration::from_secs(60);

/// Why connections were closed that did nobody any harm.
const HARMLESS: &str = "replaced";

/// Tells until it is stopped.
pub(crate) async fn tell(counts: Watch, admission: Admission) {
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Turned::default();
    loop {
        looks.tick().await;
        let now = Turned::read(&counts, admission.refused());
        let since = now.since(&before);
        if !since.0.is_empty() {
            tracing::warn!("turned away in the last minute: {since}");
        }
        before = now;
    }
}

/// How often something was turned away, by what and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Turned(BTreeMap<(&'static str, &'static str), u64>);

impl Turned {
    fn read(counts: &Watch, refused: Refused) -> Self {
        let reasons = counts.reasons();
        let closed = reasons.closed.into_iter().filter(|(why, _)| *why != HARMLESS);
        let frames = reasons.rejected.into_iter();
        let Refused { blocked, full, address, rate } = refused;
        let kept_out = [("blocked", blocked), ("full", full), ("address", address), ("rate", rate)];
        let all = closed
            .map(|(why, count)| (("connections closed", why), count))
            .chain(kept_out.map(|(why, count)| (("connections not let in", why), count)))
            .chain(frames.map(|(why, count)| (("frames that do not verify", why), count)));
        Self(all.filter(|(_, count)| *count > 0).collect())
    }

    fn since(&self, before: &Self) -> Self {
        let more = |(what, count): (&(&'static str, &'static str), &u64)| {
            let more = count.saturating_sub(before.0.get(what).copied().unwrap_or(0));
            (more > 0).then_some((*what, more))
        };
        Self(self.0.iter().filter_map(more).collect())
    }
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for ((what, why), count) in &self.0 {
            match last {
                Some(last) if last == what => write!(f, ", {why} {count}")?,
                Some(_) => write!(f, "; {what}: {why} {count}")?,
                None => write!(f, "{what}: {why} {count}")?,
            }
            last = Some(what);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_turned_away_since_is_told_by_reason() {
        let refused = |rate| Refused { rate, address: 2, ..Refused::default() };
        let counts = Watch::default();
        let before = Turned::read(&counts, refused(5));
        assert_eq!(before.since(&Turned::default()).to_string(), "connections not let in: address 2, rate 5");
        counts.closing("abuse");
        counts.closing("replaced");
        let now = Turned::read(&counts, refused(7));
        assert_eq!(now.since(&before).to_string(), "connections closed: abuse 1; connections not let in: rate 2");
        assert_eq!(now.since(&now), Turned::default(), "nothing to tell");
    }
}
