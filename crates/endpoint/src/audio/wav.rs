//! WAV files, by hound.

use std::fs::File;
use std::io::{BufWriter, Cursor};
use std::path::Path;

use dsip_media::audio::resample::resample;
use dsip_media::codec::RATE;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use super::{Error, LONGEST};

/// Decodes a whole file to 48 kHz mono.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(|error| explain(&error))?;
    let spec = reader.spec();
    let (rate, channels) = (spec.sample_rate, usize::from(spec.channels));
    if channels == 0 || !(1_000..=768_000).contains(&rate) {
        return Err(format!("a WAV file with {channels} channels at {rate} Hz cannot be played"));
    }
    // The header's length may lie; what bounds memory is the bytes that are there, and the time they would last.
    if u64::from(reader.duration()) * u64::from(RATE) / u64::from(rate) > LONGEST as u64 {
        return Err("longer than two hours".into());
    }
    let samples: Result<Vec<f32>, _> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect(),
        SampleFormat::Int => {
            let scale = 1.0 / f64::from(1_u32 << (spec.bits_per_sample.clamp(1, 32) - 1));
            reader.samples::<i32>().map(|sample| sample.map(|value| (f64::from(value) * scale) as f32)).collect()
        }
    };
    let samples = samples.map_err(|error| explain(&error))?;
    if samples.is_empty() {
        return Err("the WAV file holds no audio".into());
    }
    let mono: Vec<f32> = samples
        .chunks_exact(channels)
        .map(|frame| frame.iter().map(|s| if s.is_finite() { *s } else { 0.0 }).sum::<f32>() / channels as f32)
        .map(|sample| sample.clamp(-1.0, 1.0))
        .collect();
    // A signal between two samples of full scale can be louder than both.
    Ok(resample(&mono, rate, RATE).into_iter().map(|sample| sample.clamp(-1.0, 1.0)).collect())
}

fn explain(error: &hound::Error) -> String {
    match error {
        hound::Error::IoError(error) => format!("the WAV file is cut short ({error})"),
        other => format!("damaged or unsupported WAV file ({other})"),
    }
}

/// A WAV file being written.
pub(super) struct Writer {
    inner: WavWriter<BufWriter<File>>,
    unflushed: usize,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let spec = WavSpec { channels: 1, sample_rate: RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let inner = WavWriter::create(path, spec).map_err(|error| Error::file(path, explain_write(&error)))?;
        Ok(Self { inner, unflushed: 0 })
    }

    pub(super) fn write(&mut self, pcm: &[f32]) -> Result<(), String> {
        for sample in pcm {
            self.inner.write_sample(to_i16(*sample)).map_err(|error| explain_write(&error))?;
        }
        self.unflushed += pcm.len();
        if self.unflushed >= RATE as usize {
            // Keeps the header right, so that the file is whole up to the last second even if we are killed.
            self.unflushed = 0;
            self.inner.flush().map_err(|error| explain_write(&error))?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), String> {
        self.inner.finalize().map_err(|error| explain_write(&error))
    }
}

fn explain_write(error: &hound::Error) -> String {
    match error {
        hound::Error::IoError(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// One sample as 16 bits.
pub(super) fn to_i16(sample: f32) -> i16 {
    (sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(spec: WavSpec, write: impl Fn(&mut WavWriter<&mut Cursor<Vec<u8>>>)) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).expect("opened");
        write(&mut writer);
        writer.finalize().expect("written");
        bytes.into_inner()
    }

    #[test]
    fn reads_every_usual_form() {
        for (rate, channels, bits, format) in [
            (8_000, 1, 8, SampleFormat::Int),
            (16_000, 1, 16, SampleFormat::Int),
            (44_100, 2, 24, SampleFormat::Int),
            (48_000, 6, 32, SampleFormat::Int),
            (96_000, 2, 32, SampleFormat::Float),
        ] {
            let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
            let bytes = file(spec, |writer| {
                for _ in 0..rate / 2 * u32::from(channels) {
                    match format {
                        SampleFormat::Float => writer.write_sample(0.5_f32).expect("written"),
                        SampleFormat::Int => writer.write_sample(1_i32 << (bits - 2)).expect("written"),
                    }
                }
            });
            let pcm = super::super::decode(&bytes).expect("read");
            assert!(pcm.len().abs_diff(24_000) < 5, "{rate}: {}", pcm.len());
            assert!((pcm[12_000] - 0.5).abs() < 0.01, "{rate}/{bits}: {}", pcm[12_000]);
        }
    }

    #[test]
    fn nothing_is_louder_than_full_scale() {
        let spec = WavSpec { channels: 1, sample_rate: 32_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let loud = file(spec, |writer| {
            let mut state = 1_u32;
            for _ in 0..32_000 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                writer.write_sample(if state >> 31 == 0 { i16::MIN } else { i16::MAX }).expect("written");
            }
        });
        let pcm = super::super::decode(&loud).expect("read");
        assert!(pcm.iter().all(|sample| sample.abs() <= 1.0));
    }

    #[test]
    fn says_what_is_wrong() {
        let spec = WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let whole = file(spec, |writer| (0..800).for_each(|_| writer.write_sample(1_i16).expect("written")));
        assert!(super::super::decode(&whole[..600]).expect_err("a mistake").contains("cut short"));
        let empty = file(spec, |_| ());
        assert!(super::super::decode(&empty).expect_err("a mistake").contains("no audio"));
        assert!(super::super::decode(b"").expect_err("a mistake").contains("empty"));
        assert!(super::super::decode(b"ID3\x04 an mp3").expect_err("a mistake").contains("neither WAV nor Ogg/Opus"));
        for length in 0..60 {
            assert!(super::super::decode(&whole[..length]).is_err());
        }
    }
}
