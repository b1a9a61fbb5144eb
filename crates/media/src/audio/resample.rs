//! Changing the sampling rate of a whole recording, by windowed sinc.
//!
//! Between two rates an output sample lies in one of a few places between two input samples: its *phase*. Each phase has a
//! filter made beforehand, so that an output sample is a plain sum of products. A call waits for its file to be converted
//! before it can be offered, so the speed of this is heard.

use std::f64::consts::PI;

/// Zero crossings of the sinc on either side.
const CROSSINGS: f64 = 24.0;

/// Phases told apart at most. Rates with no common measure have more; the nearest of these then serves.
const MAX_PHASES: u64 = 1024;

/// Converts `input` from `from` to `to` samples per second. The duration stays, to within a sample.
#[must_use]
pub fn resample(input: &[f32], from: u32, to: u32) -> Vec<f32> {
    if from == to || from == 0 || to == 0 || input.is_empty() {
        return input.to_vec();
    }
    let ratio = f64::from(to) / f64::from(from);
    let common = greatest_common_divisor(from, to);
    // Output sample n lies n * step / places input samples after the first one.
    let (step, places) = (u64::from(from / common), u64::from(to / common));
    let phases = places.min(MAX_PHASES);
    // Going down, the filter must also keep what the new rate cannot hold from folding back.
    let cutoff = ratio.min(1.0) * 0.97;
    let filters: Vec<Filter> = (0..phases).map(|phase| Filter::new(phase as f64 / phases as f64, cutoff)).collect();
    let length = (input.len() as f64 * ratio).round() as u64;
    (0..length)
        .map(|n| {
            let at = n * step;
            let phase = (at % places) * phases / places;
            filters.get(phase as usize).map_or(0.0, |filter| filter.apply(input, (at / places) as usize))
        })
        .collect()
}

/// The taps for one phase, and how many of them lie before the input sample they are applied at.
struct Filter {
    taps: Vec<f32>,
    before: usize,
    gain: f32,
}

impl Filter {
    /// A sinc under a Blackman window, for output samples that lie `phase` of an input sample after one.
    fn new(phase: f64, cutoff: f64) -> Self {
        let before = (CROSSINGS / cutoff).ceil() as usize;
        let taps: Vec<f32> = (0..=2 * before)
            .map(|tap| {
                let crossings = (tap as f64 - before as f64 - phase) * cutoff;
                if crossings.abs() >= CROSSINGS {
                    return 0.0;
                }
                let x = PI * crossings;
                let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
                let w = x / CROSSINGS;
                (sinc * (0.42 + 0.5 * w.cos() + 0.08 * (2.0 * w).cos())) as f32
            })
            .collect();
        let gain = taps.iter().sum();
        Self { taps, before, gain }
    }

    fn apply(&self, input: &[f32], at: usize) -> f32 {
        let first = at.saturating_sub(self.before);
        let taps = self.taps.get(self.before.saturating_sub(at)..).unwrap_or_default();
        let samples = input.get(first..).unwrap_or_default();
        let sum: f32 = taps.iter().zip(samples).map(|(tap, sample)| tap * sample).sum();
        // Near the ends part of the filter hangs over; normalising by what lies inside keeps the level.
        let is_whole = taps.len() == self.taps.len() && samples.len() >= taps.len();
        let weight = if is_whole { self.gain } else { taps.iter().take(samples.len()).sum() };
        if weight.abs() > 0.25 * self.gain { sum / weight } else { sum / self.gain }
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: u32, seconds: f64) -> Vec<f32> {
        let n = (f64::from(rate) * seconds) as usize;
        (0..n).map(|i| (2.0 * PI * hertz * i as f64 / f64::from(rate)).sin() as f32 * 0.5).collect()
    }

    #[test]
    fn keeps_a_tone_at_every_usual_rate() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 96_000] {
            let out = resample(&tone(1000.0, rate, 0.5), rate, 48_000);
            let wanted = tone(1000.0, 48_000, 0.5);
            assert!(out.len().abs_diff(wanted.len()) <= 2, "{rate}: {} samples", out.len());
            let error = out.iter().zip(&wanted).skip(2000).take(18_000).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error < 0.01, "{rate}: off by {error}");
        }
    }

    #[test]
    fn going_down_does_not_fold_back() {
        let out = resample(&tone(15_000.0, 48_000, 0.2), 48_000, 16_000);
        let loudest = out.iter().skip(400).take(2400).map(|s| s.abs()).fold(0.0, f32::max);
        assert!(loudest < 0.02, "{loudest}");
    }

    #[test]
    fn trivial_inputs() {
        assert_eq!(resample(&[], 8_000, 48_000), Vec::<f32>::new());
        assert_eq!(resample(&[0.5], 48_000, 48_000), [0.5]);
        assert_eq!(resample(&[0.5; 3], 8_000, 48_000).len(), 18);
    }
}
