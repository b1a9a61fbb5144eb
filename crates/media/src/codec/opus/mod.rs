//! Opus, mono at 48 kHz in frames of 20 ms (WEB-38).
//!
//! Encoder and decoder come from two pure-Rust ports of libopus, each for what it does well; docs/decisions/0003-opus.md has the
//! measurements. The formats are one, so it shows nowhere but here.

mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// The largest Opus packet (RFC 6716, 3.2.1 bounds a frame at 1275 bytes; we send one frame per packet).
pub const MAX_PACKET: usize = 1275 + 1;

/// How many 48 kHz samples a packet decodes to, or `None` if it is no Opus packet (RFC 6716, 3.1 and 3.4).
#[must_use]
pub fn duration(packet: &[u8]) -> Option<usize> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 0x3f),
    };
    let total = frame * frames;
    // R5: at most 120 ms.
    (total > 0 && total <= 5760).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{signal, snr};
    use crate::codec::FRAME;

    #[test]
    fn duration_follows_the_table_of_contents() {
        assert_eq!(duration(&[]), None);
        assert_eq!(duration(&[1 << 3]), Some(960));
        assert_eq!(duration(&[(3 << 3) | 1]), Some(5760));
        assert_eq!(duration(&[(3 << 3) | 3, 3]), None, "180 ms");
        assert_eq!(duration(&[(31 << 3) | 3, 0]), None, "no frame");
        assert_eq!(duration(&[(16 << 3) | 3, 48]), Some(5760));
    }

    fn round_trip(pcm: &[f32]) -> Vec<f32> {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut out = Vec::new();
        for frame in pcm.chunks_exact(FRAME) {
            match encoder.encode(frame) {
                Some(packet) => out.extend(decoder.decode(&packet).expect("our own packet")),
                None => out.extend(decoder.conceal(FRAME)),
            }
        }
        out
    }

    #[test]
    fn a_tone_survives() {
        let tone = signal::tone(440.0, 0.5).take(48_000).collect::<Vec<_>>();
        let heard = round_trip(&tone);
        assert!(snr(&tone, &heard) > 10.0, "{}", snr(&tone, &heard));
    }

    #[test]
    fn silence_is_hardly_sent() {
        let mut encoder = Encoder::new();
        let silence = [0.0; FRAME];
        let sent = (0..500).filter(|_| encoder.encode(&silence).is_some()).count();
        assert!(sent < 60, "{sent} of 500 frames of silence were sent");
    }

    #[test]
    fn the_next_packet_brings_a_lost_frame_back() {
        let speech = signal::alice();
        let mut encoder = Encoder::new();
        encoder.expect_loss(0.2);
        let packets: Vec<_> = speech.chunks_exact(FRAME).map(|frame| encoder.encode(frame)).collect();
        let mut results = Vec::new();
        for recover in [false, true] {
            let mut decoder = Decoder::new();
            let mut out = Vec::new();
            for (index, packet) in packets.iter().enumerate() {
                let lost = index % 5 == 3;
                match (packet, packets.get(index + 1)) {
                    (Some(packet), _) if !lost => out.extend(decoder.decode(packet).expect("our own packet")),
                    (_, Some(Some(next))) if recover => out.extend(decoder.recover(next, FRAME)),
                    _ => out.extend(decoder.conceal(FRAME)),
                }
            }
            results.push(snr(&speech, &out));
        }
        assert!(results[1] > results[0] + 1.0, "concealed {} dB, recovered {} dB", results[0], results[1]);
    }

    #[test]
    fn rubbish_decodes_to_an_error_or_to_bounded_audio() {
        let mut decoder = Decoder::new();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..2_000 {
            let length = usize::try_from(random() % 120).expect("small");
            let packet: Vec<u8> = (0..length).map(|_| u8::try_from(random() & 0xff).expect("a byte")).collect();
            if let Some(pcm) = decoder.decode(&packet) {
                assert!(pcm.len() <= 5760);
            }
            assert_eq!(decoder.recover(&packet, FRAME).len(), FRAME);
        }
    }
}
