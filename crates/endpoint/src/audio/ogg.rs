//! Ogg/Opus files (RFC 7845).

use std::fs::File;
use std::io::{BufWriter, Cursor};
use std::path::Path;

use dsip_media::codec::FRAME;
use dsip_media::codec::opus::{Decoder, Encoder};
use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use super::{Error, LONGEST};

/// What the encoder looks ahead, which players drop: 6.5 ms.
const PRE_SKIP: u16 = 312;

/// Decodes a whole file to 48 kHz mono.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let damaged = |why: &dyn std::fmt::Display| format!("damaged Ogg file ({why})");
    let mut reader = PacketReader::new(Cursor::new(bytes));
    let head = reader.read_packet().map_err(|error| damaged(&error))?.ok_or("the Ogg file is empty")?;
    let stream = head.stream_serial();
    if !head.data.starts_with(b"OpusHead") {
        return Err("an Ogg file, but not Opus".into());
    }
    let field = |from: usize| head.data.get(from..from + 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let (version, channels) = (head.data.get(8).copied(), head.data.get(9).copied());
    let (Some(pre_skip), Some(gain), Some(family)) = (field(10), field(16), head.data.get(18).copied()) else {
        return Err(damaged(&"short header"));
    };
    if version.is_none_or(|version| version & 0xf0 != 0) {
        return Err("an Opus file of a later version".into());
    }
    if family != 0 || !matches!(channels, Some(1 | 2)) {
        return Err("an Opus file with more than two channels".into());
    }
    let gain = 10_f32.powf(f32::from(gain.cast_signed()) / 256.0 / 20.0);
    let mut decoder = Decoder::new();
    let mut pcm: Vec<f32> = Vec::new();
    let mut end = None;
    let mut tags_seen = false;
    while let Some(packet) = reader.read_packet().map_err(|error| damaged(&error))? {
        if packet.stream_serial() != stream {
            continue;
        }
        if !tags_seen {
            tags_seen = true;
            continue;
        }
        let decoded = decoder.decode(&packet.data).ok_or_else(|| damaged(&"a packet is not Opus"))?;
        pcm.extend(decoded.iter().map(|sample| (sample * gain).clamp(-1.0, 1.0)));
        if packet.last_in_stream() {
            end = usize::try_from(packet.absgp_page()).ok();
        }
        if pcm.len() > LONGEST {
            return Err("longer than two hours".into());
        }
    }
    // RFC 7845, 4.4: the last granule position says how much of the last packet counts.
    if let Some(end) = end.filter(|end| *end < pcm.len()) {
        pcm.truncate(end);
    }
    pcm.drain(..usize::from(pre_skip).min(pcm.len()));
    if pcm.is_empty() { Err("the Opus file holds no audio".into()) } else { Ok(pcm) }
}

/// An Ogg/Opus file being written.
pub(super) struct Writer {
    inner: PacketWriter<'static, BufWriter<File>>,
    encoder: Encoder,
    waiting: Option<Vec<u8>>,
    partial: Vec<f32>,
    granule: u64,
    frames: u64,
}

const SERIAL: u32 = 0x6473_6970;

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|error| Error::file(path, error))?;
        let mut inner = PacketWriter::new(BufWriter::new(file));
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend(48_000_u32.to_le_bytes());
        head.extend([0, 0, 0]);
        let vendor = b"dsip";
        let mut tags = b"OpusTags".to_vec();
        tags.extend(u32::try_from(vendor.len()).unwrap_or(0).to_le_bytes());
        tags.extend(vendor);
        tags.extend(0_u32.to_le_bytes());
        for packet in [head, tags] {
            inner
                .write_packet(packet, SERIAL, PacketWriteEndInfo::EndPage, 0)
                .map_err(|error| Error::file(path, error))?;
        }
        let encoder = Encoder::for_file();
        Ok(Self { inner, encoder, waiting: None, partial: Vec::new(), granule: 0, frames: 0 })
    }

    pub(super) fn write(&mut self, pcm: &[f32]) -> Result<(), String> {
        self.partial.extend_from_slice(pcm);
        while self.partial.len() >= FRAME {
            let frame: Vec<f32> = self.partial.drain(..FRAME).collect();
            let Some(packet) = self.encoder.encode(&frame) else { continue };
            // One packet is held back, because the last one must say that it is.
            if let Some(previous) = self.waiting.replace(packet) {
                self.put(previous, false)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, packet: Vec<u8>, last: bool) -> Result<(), String> {
        self.granule += FRAME as u64;
        self.frames += 1;
        let end = match (last, self.frames % 50) {
            (true, _) => PacketWriteEndInfo::EndStream,
            (false, 0) => PacketWriteEndInfo::EndPage,
            (false, _) => PacketWriteEndInfo::NormalPacket,
        };
        self.inner.write_packet(packet, SERIAL, end, self.granule).map_err(|error| error.to_string())?;
        if !matches!(end, PacketWriteEndInfo::NormalPacket) {
            std::io::Write::flush(self.inner.inner_mut()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), String> {
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        if !self.partial.is_empty() {
            let rest = FRAME - self.partial.len();
            self.write(&vec![0.0; rest])?;
        }
        match self.waiting.take() {
            Some(packet) => self.put(packet, true),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A recording whose call was torn down is still a recording.
        if let Err(error) = self.end() {
            tracing::warn!(error, "the recording could not be finished");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsip_media::audio::{signal, snr};

    fn recording(pcm: &[f32]) -> Vec<u8> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.opus");
        let mut writer = Writer::create(&path).expect("opened");
        pcm.chunks(700).for_each(|part| writer.write(part).expect("written"));
        writer.finish().expect("written");
        std::fs::read(path).expect("read")
    }

    #[test]
    fn what_is_written_can_be_read() {
        let tone: Vec<f32> = signal::tone(500.0, 0.4).take(60_000).collect();
        let back = super::super::decode(&recording(&tone)).expect("read");
        assert!(back.len().abs_diff(tone.len()) < 1000, "{}", back.len());
        assert!(snr(&tone[..50_000], &back) > 10.0);
    }

    #[test]
    fn damage_is_named_and_never_panics() {
        let whole = recording(&signal::tone(500.0, 0.4).take(9_600).collect::<Vec<_>>());
        assert!(super::super::decode(&whole[..40]).is_err());
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            let _ = super::super::decode(&damaged);
            let _ = super::super::decode(&whole[..at]);
        }
    }
}
