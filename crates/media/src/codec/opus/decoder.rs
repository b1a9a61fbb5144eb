//! Opus packets to samples, also for packets that never came.

use opus_rs::OpusDecoder;

use super::duration;

/// The longest packet, 120 ms, in samples.
const LONGEST: usize = 5760;

/// An Opus decoder: mono at 48 kHz, whatever the packet holds.
pub struct Decoder {
    inner: OpusDecoder,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A fresh decoder.
    #[must_use]
    pub fn new() -> Self {
        #[expect(clippy::expect_used, reason = "48 kHz and one channel are among the values Opus defines")]
        let inner = OpusDecoder::new(48_000, 1).expect("48 kHz mono");
        Self { inner }
    }

    /// Decodes a packet; `None` if it is not Opus.
    pub fn decode(&mut self, packet: &[u8]) -> Option<Vec<f32>> {
        let expected = duration(packet)?;
        let mut pcm = vec![0.0; LONGEST];
        let samples = self.inner.decode(packet, LONGEST, &mut pcm).ok()?;
        pcm.truncate(samples.min(expected));
        limit(&mut pcm);
        Some(pcm)
    }

    /// Rebuilds the `samples` before `next` from the redundancy in it, as far as it has any, and conceals the rest.
    pub fn recover(&mut self, next: &[u8], samples: usize) -> Vec<f32> {
        let mut pcm = vec![0.0; samples];
        if duration(next).is_none() || self.inner.decode_fec(next, samples, &mut pcm).is_err() {
            return self.conceal(samples);
        }
        limit(&mut pcm);
        pcm
    }

    /// Makes up `samples` for a frame that never came: at first like the one before, then fading into comfort noise.
    pub fn conceal(&mut self, samples: usize) -> Vec<f32> {
        let mut pcm = vec![0.0; samples];
        if self.inner.decode(&[], samples, &mut pcm).is_err() {
            pcm.fill(0.0);
        }
        limit(&mut pcm);
        pcm
    }
}

/// A hostile packet can decode to anything; nobody's ears or files should get more than full scale.
fn limit(pcm: &mut [f32]) {
    for sample in pcm {
        *sample = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    }
}
