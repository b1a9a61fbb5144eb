//! What begins when, between whom: decided by a seed alone, before and regardless of what the node does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::Serialize;

/// The stream of a seed's generator that schedules draw from; devices have the streams of their numbers.
const STREAM: u64 = u64::MAX;

/// What two devices do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Exchange {
    /// Invite, ringing, answer, bye.
    Call,
    /// Invite, ringing, cancel.
    Cancelled,
    /// Invite, ringing, reject.
    Declined,
    /// An introduction.
    Introduction,
    /// An `info` to somebody who is there.
    Info,
    /// An `info` to somebody who is away and comes back.
    Away,
}

impl Exchange {
    pub(super) const ALL: [Self; 6] =
        [Self::Call, Self::Cancelled, Self::Declined, Self::Introduction, Self::Info, Self::Away];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Cancelled => "cancelled",
            Self::Declined => "declined",
            Self::Introduction => "introduction",
            Self::Info => "info",
            Self::Away => "away",
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each exchange occurs, as weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mix([u32; Exchange::ALL.len()]);

impl Mix {
    pub(super) fn weight(&self, of: Exchange) -> u32 {
        self.0[of as usize]
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|weight| u64::from(*weight)).sum()
    }

    /// The exchange at `place`, when all weights lie one after the other.
    fn at(&self, mut place: u64) -> Exchange {
        for exchange in Exchange::ALL {
            let weight = u64::from(self.weight(exchange));
            if place < weight {
                return exchange;
            }
            place -= weight;
        }
        Exchange::Call
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix = Self([0; Exchange::ALL.len()]);
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or_else(|| format!("{part:?} is not KIND=WEIGHT"))?;
            let exchange = Exchange::ALL.into_iter().find(|exchange| exchange.name() == name.trim());
            let exchange = exchange.ok_or_else(|| {
                let names = Exchange::ALL.map(Exchange::name).join(", ");
                format!("{:?} is none of {names}", name.trim())
            })?;
            mix.0[exchange as usize] =
                weight.trim().parse().map_err(|_| format!("{:?} is not a whole number", weight.trim()))?;
        }
        if mix.total() == 0 {
            return Err("nothing is left to do".into());
        }
        Ok(mix)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = Exchange::ALL.into_iter().filter(|exchange| self.weight(*exchange) > 0);
        let parts: Vec<String> = parts.map(|exchange| format!("{exchange}={}", self.weight(exchange))).collect();
        f.write_str(&parts.join(","))
    }
}

/// How much load, for how long.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Exchanges that begin in a second, once the ramp is over.
    pub(super) rate: f64,
    /// How long the rate grows from nothing to that.
    pub(super) ramp: Duration,
    /// How long exchanges begin, the ramp included.
    pub(super) duration: Duration,
    pub(super) mix: Mix,
}

/// One exchange to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When, from the start of the load.
    pub(super) at: Duration,
    pub(super) exchange: Exchange,
    /// Who begins it: a place among those who are always there.
    pub(super) from: usize,
    /// With whom: another such place, or for [`Exchange::Away`] one among those who come and go.
    pub(super) to: usize,
}

/// Exchanges in the order they begin: a Poisson process, as calls of many independent people are.
#[derive(Debug)]
pub(super) struct Schedule {
    plan: Plan,
    rng: ChaCha20Rng,
    present: u64,
    coming_and_going: u64,
    /// Exchanges that the rate would have begun on average by the last arrival.
    expected: f64,
}

impl Schedule {
    /// Among `present` devices, at least two, and `coming_and_going` further ones.
    pub(super) fn new(seed: u64, plan: Plan, present: usize, coming_and_going: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        Self { plan, rng, present: present as u64, coming_and_going: coming_and_going as u64, expected: 0.0 }
    }

    /// When the rate will have begun `expected` exchanges on average: while it grows by a square root, then by a line.
    fn moment(&self, expected: f64) -> f64 {
        let (rate, ramp) = (self.plan.rate, self.plan.ramp.as_secs_f64());
        let in_ramp = rate * ramp / 2.0;
        if expected < in_ramp { (2.0 * expected * ramp / rate).sqrt() } else { ramp + (expected - in_ramp) / rate }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        // Between 0, inclusive, and 1.
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        self.expected -= (1.0 - uniform).ln();
        let at = self.moment(self.expected);
        let total = self.plan.mix.total();
        let place = self.below(total);
        let exchange = self.plan.mix.at(place);
        let from = self.below(self.present);
        let to = match exchange {
            Exchange::Away => self.below(self.coming_and_going),
            // Anybody but oneself.
            _ => (from + 1 + self.below(self.present.saturating_sub(1))) % self.present.max(1),
        };
        if at >= self.plan.duration.as_secs_f64() {
            return None;
        }
        let at = Duration::try_from_secs_f64(at).ok()?;
        Some(Arrival { at, exchange, from: usize::try_from(from).ok()?, to: usize::try_from(to).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rate: f64, ramp: u64, mix: &str) -> Plan {
        let mix = mix.parse().expect("a mix");
        Plan { rate, ramp: Duration::from_secs(ramp), duration: Duration::from_secs(100), mix }
    }

    #[test]
    fn a_seed_decides_everything() {
        let of = |seed| Schedule::new(seed, plan(50.0, 10, "call=3,info=1,away=1"), 40, 3).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn arrivals_have_the_rate_the_ramp_and_the_mix_asked_for() {
        let all: Vec<Arrival> = Schedule::new(1, plan(100.0, 20, "call=3,info=1"), 40, 0).collect();
        assert!(all.is_sorted_by_key(|arrival| arrival.at));
        // A thousand in the ramp, eight thousand after it; five standard deviations either way.
        let in_ramp = all.iter().filter(|arrival| arrival.at < Duration::from_secs(20)).count() as f64;
        assert!((in_ramp - 1000.0).abs() < 160.0, "{in_ramp}");
        assert!((all.len() as f64 - 9000.0).abs() < 480.0, "{}", all.len());
        let first_half = all.iter().filter(|arrival| arrival.at < Duration::from_secs(10)).count() as f64;
        assert!((first_half - 250.0).abs() < 80.0, "{first_half}");
        let calls = all.iter().filter(|arrival| arrival.exchange == Exchange::Call).count() as f64;
        assert!((calls / all.len() as f64 - 0.75).abs() < 0.03, "{calls}");
        // Independent arrivals: gaps vary as much as they are long.
        let gaps: Vec<f64> = all[1500..].windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.1, "{} {mean}", variance.sqrt());
    }

    #[test]
    fn nobody_talks_to_themselves() {
        for present in [2, 3, 50] {
            let mut all = Schedule::new(3, plan(100.0, 0, "call=1"), present, 0);
            assert!(all.all(|arrival| arrival.from != arrival.to && arrival.to < present));
        }
    }

    #[test]
    fn a_mix_is_weights_by_name() {
        let mix: Mix = "call=70, info=30".parse().expect("a mix");
        assert_eq!(mix.to_string(), "call=70,info=30");
        for wrong in ["", "call", "calls=1", "call=-1", "call=0", "call=1,,info=2"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
