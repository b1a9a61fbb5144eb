//! Audio as samples: resampling, test signals, and the comparison of a recording with its source.
//!
//! Everywhere in this crate audio is mono, 48 kHz, `f32` within ±1.

pub mod quality;
pub mod resample;
pub mod signal;

/// The signal-to-noise ratio in dB of `heard` against `source`, at the delay (up to 30 ms) and gain that suit it best.
#[must_use]
pub fn snr(source: &[f32], heard: &[f32]) -> f32 {
    (0..1440.min(heard.len())).map(|delay| snr_at(source, &heard[delay..])).fold(f32::NEG_INFINITY, f32::max)
}

fn snr_at(source: &[f32], heard: &[f32]) -> f32 {
    let (mut ss, mut hh, mut sh) = (1e-12_f64, 1e-12_f64, 0.0_f64);
    for (s, h) in source.iter().zip(heard) {
        let (s, h) = (f64::from(*s), f64::from(*h));
        ss += s * s;
        hh += h * h;
        sh += s * h;
    }
    let explained = (sh * sh / (ss * hh)).min(1.0 - 1e-12);
    if sh <= 0.0 { f32::NEG_INFINITY } else { (10.0 * (explained / (1.0 - explained)).log10()) as f32 }
}
