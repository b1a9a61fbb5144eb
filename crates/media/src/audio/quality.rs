//! Is this recording that source, as a person would judge? Unmoved by delay, loudness and a lossy codec; not fooled by
//! silence, noise, another sentence or a call that broke off.
//!
//! Both signals become spectrograms: log energies in 24 mel bands every 10 ms, relative to the source's own long-term spectrum, so
//! that merely sounding like speech earns nothing. The best overall delay is searched by correlating them. Then each half
//! second of the source that contains speech is correlated with the recording again, a little earlier or later, because
//! a jitter buffer may have stretched or cut a pause meanwhile.

use std::f32::consts::PI;

use crate::codec::RATE;

/// Samples between frames: 10 ms.
const HOP: usize = 480;
/// Samples in a window, a power of two for the transform.
const WINDOW: usize = 1024;
/// Mel bands between [`LOWEST`] and [`HIGHEST`].
const BANDS: usize = 24;
const LOWEST: f32 = 120.0;
/// Above the telephone band, below what a codec may cut off.
const HIGHEST: f32 = 7000.0;
/// Frames in a segment that is judged on its own.
const SEGMENT: usize = 50;
/// How far a segment may have moved against the whole, in frames.
const WANDER: usize = 15;
/// How far below the loudest frame a frame still counts as sound: 40 dB in natural-log energy.
const QUIET: f32 = 9.2;
/// A segment that correlates this well was heard.
const HEARD: f32 = 0.55;

/// How well a recording renders its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    /// The mean correlation over the source's segments with sound, 0 to 1. Good calls reach 0.85 and more, other speech stays
    /// below 0.4.
    pub score: f32,
    /// The share of those segments that were heard at all, 0 to 1.
    pub coverage: f32,
    /// How much later the recording says it, in seconds.
    pub delay: f32,
    /// How much louder the recording is, in dB.
    pub gain: f32,
}

impl Similarity {
    /// What a comparison with nothing yields.
    const NONE: Self = Self { score: 0.0, coverage: 0.0, delay: 0.0, gain: 0.0 };

    /// Whether a listener would say that this is the source, completely.
    #[must_use]
    pub fn is_faithful(&self) -> bool {
        self.score >= 0.7 && self.coverage >= 0.9
    }
}

/// Compares a recording with its source, both mono at 48 kHz.
#[must_use]
pub fn compare(source: &[f32], recording: &[f32]) -> Similarity {
    let (source, recording) = (Spectrogram::new(source), Spectrogram::new(recording));
    let Some(loudest) = source.loudest() else { return Similarity::NONE };
    if recording.loudest().is_none() {
        return Similarity::NONE;
    }
    let floor = loudest - QUIET;
    // Each signal is cut off at the same distance below its own loudest frame, so that neither its gain nor what noise lies
    // beneath the speech takes part.
    let mine = source.above(floor);
    let theirs = recording.above(recording.loudest().unwrap_or(floor) - QUIET);
    let mean = mean_of_bands(&mine);
    let mine = centre(&mine, &mean);
    let theirs = centre(&theirs, &mean);

    let Some(delay) = best_delay(&mine, &theirs) else { return Similarity::NONE };
    let mut correlations = Vec::new();
    let (mut own, mut other) = (0.0_f64, 0.0_f64);
    for start in (0..mine.len()).step_by(SEGMENT) {
        let end = (start + SEGMENT).min(mine.len());
        let sounding = source.energy[start..end].iter().filter(|energy| **energy > floor + 2.0).count();
        if sounding * 4 < SEGMENT {
            continue;
        }
        let wander = isize::try_from(WANDER).unwrap_or(0);
        let found = (delay - wander..=delay + wander)
            .map(|at| (correlation(&mine[start..end], &theirs, isize::try_from(start).unwrap_or(0) + at), at))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((value, at)) = found else { continue };
        correlations.push(value.max(0.0));
        for index in start..end {
            let there = isize::try_from(index).unwrap_or(0) + at;
            if let Some(energy) = usize::try_from(there).ok().and_then(|there| recording.energy.get(there)) {
                own += f64::from(source.energy[index]).exp();
                other += f64::from(*energy).exp();
            }
        }
    }
    if correlations.is_empty() {
        return Similarity::NONE;
    }
    let count = correlations.len() as f32;
    Similarity {
        score: correlations.iter().sum::<f32>() / count,
        coverage: correlations.iter().filter(|value| **value >= HEARD).count() as f32 / count,
        delay: delay as f32 * HOP as f32 / RATE as f32,
        gain: if own > 0.0 && other > 0.0 { (10.0 * (other / own).log10()) as f32 } else { 0.0 },
    }
}

/// One frame's log energy per band.
type Bands = [f32; BANDS];

struct Spectrogram {
    bands: Vec<Bands>,
    energy: Vec<f32>,
}

impl Spectrogram {
    fn new(samples: &[f32]) -> Self {
        let edges = edges();
        let window: Vec<f32> = (0..WINDOW).map(|n| 0.5 - 0.5 * (2.0 * PI * n as f32 / WINDOW as f32).cos()).collect();
        let twiddles = twiddles();
        let mut bands = Vec::new();
        let mut energy = Vec::new();
        for start in (0..samples.len().saturating_sub(WINDOW - 1)).step_by(HOP) {
            let mut re = [0.0; WINDOW];
            let mut im = [0.0; WINDOW];
            for ((slot, sample), weight) in re.iter_mut().zip(&samples[start..]).zip(&window) {
                *slot = sample * weight;
            }
            transform(&mut re, &mut im, &twiddles);
            let mut frame = [0.0; BANDS];
            let mut total = 1e-9;
            for (band, slot) in frame.iter_mut().enumerate() {
                let (from, to) = (edges[band], edges[band + 1]);
                let sum: f32 = (from..to).map(|bin| re[bin] * re[bin] + im[bin] * im[bin]).sum();
                total += sum;
                *slot = (sum + 1e-9).ln();
            }
            bands.push(frame);
            energy.push(total.ln());
        }
        Self { bands, energy }
    }

    /// The loudest frame's energy, unless all is silence.
    fn loudest(&self) -> Option<f32> {
        self.energy.iter().copied().max_by(f32::total_cmp).filter(|loudest| *loudest > -6.0)
    }

    /// The bands, none below `floor` spread over them.
    fn above(&self, floor: f32) -> Vec<Bands> {
        let floor = floor - (BANDS as f32).ln();
        self.bands.iter().map(|bands| bands.map(|band| band.max(floor) - floor)).collect()
    }
}

fn mean_of_bands(frames: &[Bands]) -> Bands {
    let mut mean = [0.0; BANDS];
    for frame in frames {
        for (sum, value) in mean.iter_mut().zip(frame) {
            *sum += value;
        }
    }
    mean.map(|sum| sum / frames.len().max(1) as f32)
}

fn centre(frames: &[Bands], mean: &Bands) -> Vec<Bands> {
    frames.iter().map(|frame| std::array::from_fn(|band| frame[band] - mean[band])).collect()
}

/// The delay, in frames, at which the whole source correlates best.
fn best_delay(mine: &[Bands], theirs: &[Bands]) -> Option<isize> {
    // A coarse search over the summed bands, then the best few in full: the full one is 24 times as dear.
    let sum = |frames: &[Bands]| frames.iter().map(|frame| frame.iter().sum::<f32>()).collect::<Vec<_>>();
    let (coarse_mine, coarse_theirs) = (sum(mine), sum(theirs));
    let reach = isize::try_from(mine.len()).ok()?;
    let last = isize::try_from(theirs.len()).ok()?;
    let mut candidates: Vec<(f32, isize)> = (-reach..last)
        .map(|delay| {
            let product: f32 = coarse_mine
                .iter()
                .zip(delay..)
                .filter_map(|(own, at)| Some(own * coarse_theirs.get(usize::try_from(at).ok()?)?))
                .sum();
            (product, delay)
        })
        .collect();
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
    candidates
        .iter()
        .take(40)
        .map(|(_, delay)| (correlation(mine, theirs, *delay), *delay))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, delay)| delay)
}

/// The correlation of `mine` with `theirs` from frame `at` on; what lies outside counts as absent sound.
fn correlation(mine: &[Bands], theirs: &[Bands], at: isize) -> f32 {
    let (mut aa, mut bb, mut ab) = (1e-6_f32, 1e-6_f32, 0.0_f32);
    for (own, there) in mine.iter().zip(at..) {
        let other = usize::try_from(there).ok().and_then(|there| theirs.get(there));
        for (band, a) in own.iter().enumerate() {
            aa += a * a;
            if let Some(other) = other {
                bb += other[band] * other[band];
                ab += a * other[band];
            }
        }
    }
    ab / (aa * bb).sqrt()
}

/// The first bin of each band, and the bin after the last.
fn edges() -> [usize; BANDS + 1] {
    let mel = |hertz: f32| 2595.0 * (1.0 + hertz / 700.0).log10();
    let hertz = |mel: f32| 700.0 * (10_f32.powf(mel / 2595.0) - 1.0);
    let (low, high) = (mel(LOWEST), mel(HIGHEST));
    let mut edges = [0; BANDS + 1];
    let mut previous = 0;
    for (index, edge) in edges.iter_mut().enumerate() {
        let frequency = hertz(low + (high - low) * index as f32 / BANDS as f32);
        let bin = (frequency * WINDOW as f32 / RATE as f32).round() as usize;
        *edge = bin.max(previous + usize::from(index > 0));
        previous = *edge;
    }
    edges
}

fn twiddles() -> Vec<(f32, f32)> {
    (0..WINDOW / 2).map(|n| (-2.0 * PI * n as f32 / WINDOW as f32).sin_cos()).map(|(sin, cos)| (cos, sin)).collect()
}

/// The discrete Fourier transform in place, radix 2.
fn transform(re: &mut [f32; WINDOW], im: &mut [f32; WINDOW], twiddles: &[(f32, f32)]) {
    let bits = WINDOW.trailing_zeros();
    for index in 0..WINDOW {
        let mirrored = index.reverse_bits() >> (usize::BITS - bits);
        if mirrored > index {
            re.swap(index, mirrored);
            im.swap(index, mirrored);
        }
    }
    let mut half = 1;
    while half < WINDOW {
        let stride = WINDOW / (2 * half);
        for start in (0..WINDOW).step_by(2 * half) {
            for offset in 0..half {
                let (cos, sin) = twiddles[offset * stride];
                let (a, b) = (start + offset, start + offset + half);
                let (x, y) = (re[b] * cos - im[b] * sin, re[b] * sin + im[b] * cos);
                (re[b], im[b]) = (re[a] - x, im[a] - y);
                (re[a], im[a]) = (re[a] + x, im[a] + y);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::signal;
    use crate::codec::FRAME;
    use crate::codec::opus::{Decoder, Encoder};

    fn speech(seed: u64) -> Vec<f32> {
        signal::speechlike(seed).take(6 * 48_000).collect()
    }

    #[test]
    fn the_source_itself_is_faithful() {
        let source = speech(1);
        let result = compare(&source, &source);
        assert!(result.score > 0.99 && result.delay == 0.0, "{result:?}");
    }

    #[test]
    fn delay_gain_and_codec_do_not_matter() {
        let source = speech(2);
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut heard = vec![0.0; 31_337];
        for frame in source.chunks_exact(FRAME) {
            let pcm = encoder.encode(frame).and_then(|packet| decoder.decode(&packet));
            heard.extend(pcm.unwrap_or_else(|| decoder.conceal(FRAME)).iter().map(|sample| sample * 0.3));
        }
        heard.extend(signal::noise(5, 0.001).take(40_000));
        let result = compare(&source, &heard);
        assert!(result.is_faithful(), "{result:?}");
        assert!((result.delay - 0.65).abs() < 0.05 && (result.gain + 10.5).abs() < 2.0, "{result:?}");
    }

    #[test]
    fn silence_noise_and_tones_are_not() {
        let source = speech(3);
        for (name, other) in [
            ("silence", vec![0.0; source.len()]),
            ("nothing", Vec::new()),
            ("noise", signal::noise(9, 0.3).take(source.len()).collect()),
            ("tone", signal::tone(440.0, 0.5).take(source.len()).collect()),
        ] {
            let result = compare(&source, &other);
            assert!(result.score < 0.4 && !result.is_faithful(), "{name}: {result:?}");
        }
    }

    #[test]
    fn other_speech_is_not() {
        for seed in 10..14 {
            let result = compare(&speech(4), &speech(seed));
            assert!(result.score < 0.6 && !result.is_faithful(), "{seed}: {result:?}");
        }
    }

    #[test]
    fn a_broken_off_call_is_not() {
        let source = speech(5);
        for kept in [0.5, 0.8] {
            let result = compare(&source, &source[..(source.len() as f32 * kept) as usize]);
            assert!(!result.is_faithful(), "{kept}: {result:?}");
        }
        let result = compare(&source, &source[48_000..]);
        assert!(!result.is_faithful(), "start cut off: {result:?}");
    }
}
