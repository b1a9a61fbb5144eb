//! Changing the sampling rate of a whole recording, by windowed sinc.
//!
//! Files are converted once, when they are opened or finished, so a plain convolution per output sample is fast enough and
//! needs no state between calls.

use std::f64::consts::PI;

/// Zero crossings of the sinc on either side.
const CROSSINGS: f64 = 24.0;

/// Points of the tabulated filter per zero crossing; between them it is interpolated.
const FINE: usize = 256;

/// Converts `input` from `from` to `to` samples per second. The duration stays, to within a sample.
#[must_use]
pub fn resample(input: &[f32], from: u32, to: u32) -> Vec<f32> {
    if from == to || from == 0 || to == 0 || input.is_empty() {
        return input.to_vec();
    }
    let ratio = f64::from(to) / f64::from(from);
    // Going down, the filter must also keep what the new rate cannot hold from folding back.
    let cutoff = ratio.min(1.0) * 0.97;
    let reach = CROSSINGS / cutoff;
    let filter = filter();
    let length = (input.len() as f64 * ratio).round() as usize;
    (0..length)
        .map(|n| {
            let centre = n as f64 / ratio;
            let first = (centre - reach).ceil().max(0.0) as usize;
            let last = ((centre + reach).floor() as usize).min(input.len() - 1);
            let (mut sum, mut weight) = (0.0, 0.0);
            for (index, sample) in input.iter().enumerate().take(last + 1).skip(first) {
                let tap = tap(&filter, ((index as f64 - centre) * cutoff).abs());
                sum += tap * f64::from(*sample);
                weight += tap;
            }
            // Near the ends part of the filter hangs over; normalising by what lies inside keeps the level.
            if weight.abs() > 0.25 { (sum / weight) as f32 } else { sum as f32 }
        })
        .collect()
}

/// One half of the symmetric filter, [`FINE`] points per crossing: a sinc under a Blackman window.
fn filter() -> Vec<f64> {
    let points = CROSSINGS as usize * FINE;
    (0..=points)
        .map(|point| {
            let x = PI * point as f64 / FINE as f64;
            let sinc = if point == 0 { 1.0 } else { x.sin() / x };
            let w = PI * point as f64 / points as f64;
            sinc * (0.42 + 0.5 * w.cos() + 0.08 * (2.0 * w).cos())
        })
        .collect()
}

/// The filter, so many crossings away from its middle.
fn tap(filter: &[f64], crossings: f64) -> f64 {
    let at = crossings * FINE as f64;
    let index = at as usize;
    match (filter.get(index), filter.get(index + 1)) {
        (Some(a), Some(b)) => a + (b - a) * at.fract(),
        _ => 0.0,
    }
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
