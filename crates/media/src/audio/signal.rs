//! Signals made by rule, for tests and for `tone:440`.

use std::f32::consts::TAU;

use crate::codec::RATE;

/// An endless sine of `hertz` at `amplitude`.
pub fn tone(hertz: f32, amplitude: f32) -> impl Iterator<Item = f32> {
    let step = f64::from(hertz) / f64::from(RATE);
    (0_u64..).map(move |n| {
        let turns = (n as f64 * step).fract() as f32;
        (turns * TAU).sin() * amplitude
    })
}

/// Endless white noise at `amplitude`, the same for the same seed.
pub fn noise(seed: u64, amplitude: f32) -> impl Iterator<Item = f32> {
    let mut random = Random::new(seed);
    std::iter::repeat_with(move || random.unit() * amplitude)
}

/// An endless signal that has what speech has: a buzzing source with wandering pitch, two wandering resonances, words and
/// pauses. The same for the same seed, different for another.
pub fn speechlike(seed: u64) -> impl Iterator<Item = f32> {
    let mut random = Random::new(seed);
    let mut phase = 0.0_f32;
    let (mut pitch, mut first, mut second) = (120.0_f32, 500.0_f32, 1500.0_f32);
    let (mut loudness, mut wanted) = (0.0_f32, 0.0_f32);
    let mut left = 0_u32;
    let mut resonators = [[0.0_f32; 2]; 2];
    std::iter::repeat_with(move || {
        if left == 0 {
            left = 2_400 + (random.unit().abs() * 9_600.0) as u32;
            wanted = if random.unit() > -0.4 { 0.4 + 0.3 * random.unit() } else { 0.0 };
            pitch = 140.0 + 50.0 * random.unit();
            first = 550.0 + 250.0 * random.unit();
            second = 1700.0 + 800.0 * random.unit();
        }
        left -= 1;
        loudness += (wanted - loudness) * 0.001;
        phase = (phase + pitch / RATE as f32).fract();
        let buzz = 1.0 - 2.0 * phase + 0.05 * random.unit();
        let mut sum = 0.0;
        for (memory, centre) in resonators.iter_mut().zip([first, second]) {
            let radius = 0.985_f32;
            let next = buzz * 0.02 + 2.0 * radius * (TAU * centre / RATE as f32).cos() * memory[0]
                - radius * radius * memory[1];
            *memory = [next, memory[0]];
            sum += next;
        }
        (sum * loudness).clamp(-1.0, 1.0)
    })
}

/// The demo's real speech.
#[cfg(test)]
pub(crate) fn alice() -> Vec<f32> {
    let wav = include_bytes!("../../../dsip/assets/alice.wav");
    let samples = wav[44..].chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0);
    super::resample::resample(&samples.collect::<Vec<_>>(), 16_000, RATE)
}

/// A small generator for signals; nothing secret depends on it.
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next value within ±1.
    fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
    }
}
