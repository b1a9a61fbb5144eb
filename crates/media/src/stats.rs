//! What a call reports, and how good it sounds by estimate.

use std::time::Duration;

use serde::Serialize;

use crate::jitter::Counts;

/// A call's figures, so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Report {
    /// Audio packets sent. Silence sends few (DTX).
    pub sent: u64,
    /// Audio packets received.
    pub received: u64,
    /// Audio packets that never came.
    pub lost: u64,
    /// Audio packets that came too late to be heard.
    pub late: u64,
    /// Frames rebuilt from the redundancy of the next packet.
    pub recovered: u64,
    /// Frames made up.
    pub concealed: u64,
    /// Frames played, made up and rebuilt ones included, pauses excluded.
    pub frames: u64,
    /// The share of our packets that the peer reports lost, 0 to 1.
    pub remote_loss: Option<f32>,
    /// The interarrival jitter of RFC 3550, in milliseconds.
    pub jitter_ms: f32,
    /// The jitter buffer's target delay, in milliseconds.
    pub buffer_ms: f32,
    /// The round trip, in milliseconds.
    pub round_trip_ms: Option<f32>,
    /// Whether packets went straight between the two, or through a TURN server, by the last report.
    pub path: Option<Path>,
    /// The estimated mean opinion score of what we hear, 1 to 4.4.
    pub mos: Option<f32>,
}

/// The way packets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Straight between the two.
    Direct,
    /// Through a TURN server, of either side.
    Relay,
}

impl Report {
    /// The share of packets that never came, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f32 {
        share(self.lost, self.received + self.lost)
    }

    pub(crate) fn new(
        sent: u64,
        counts: Counts,
        jitter: Duration,
        buffer: Duration,
        round_trip: Option<Duration>,
        remote_loss: Option<f32>,
    ) -> Self {
        let frames = counts.played + counts.recovered + counts.concealed;
        let impaired = counts.concealed as f32 + RECOVERED * counts.recovered as f32;
        let heard = Heard {
            impaired: if frames == 0 { 0.0 } else { impaired / frames as f32 },
            delay: round_trip.unwrap_or_default() / 2 + buffer + CODING,
        };
        Self {
            sent,
            received: counts.received,
            lost: counts.lost,
            late: counts.late,
            recovered: counts.recovered,
            concealed: counts.concealed,
            frames,
            remote_loss,
            jitter_ms: jitter.as_secs_f32() * 1000.0,
            buffer_ms: buffer.as_secs_f32() * 1000.0,
            round_trip_ms: round_trip.map(|round_trip| round_trip.as_secs_f32() * 1000.0),
            path: None,
            mos: (frames > 0).then(|| mos(heard)),
        }
    }
}

/// What an Opus frame waits for before it leaves: its own length and the encoder's look-ahead.
const CODING: Duration = Duration::from_micros(26_500);

/// How much a frame rebuilt from redundancy hurts, compared with one made up: it is coded more coarsely.
const RECOVERED: f32 = 0.25;

/// What the listener is exposed to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// The share of frames that were not as sent, 0 to 1.
    pub impaired: f32,
    /// From mouth to ear, one way.
    pub delay: Duration,
}

/// The estimated mean opinion score by the E-model (ITU-T G.107), reduced to what a packet network changes:
///
/// ```text
/// R   = 93.2 − Id − Ie,eff
/// Id  = 0.024·d + 0.11·(d − 177.3)·[d > 177.3]                 d: mouth-to-ear delay in ms
/// Ie,eff = Ie + (95 − Ie)·P / (P + Bpl)                         P: impaired frames in percent
/// MOS = 1 + 0.035·R + 7·10⁻⁶·R·(R − 60)·(100 − R)              for 0 < R < 100
/// ```
///
/// Opus has no entry in G.113. `Ie` = 0 (at 32 kbit/s it is not told from its source) and `Bpl` = 10, between G.711 without
/// concealment (4.3) and with it (25.1), since losses come in bursts and our frames are twice as long. The scale ends at 4.4:
/// it knows narrowband listening only.
#[must_use]
pub fn mos(heard: Heard) -> f32 {
    const IE: f32 = 0.0;
    const BPL: f32 = 10.0;
    let delay = heard.delay.as_secs_f32() * 1000.0;
    let id = 0.024 * delay + if delay > 177.3 { 0.11 * (delay - 177.3) } else { 0.0 };
    let percent = heard.impaired.clamp(0.0, 1.0) * 100.0;
    let ie = IE + (95.0 - IE) * percent / (percent + BPL);
    let r = 93.2 - id - ie;
    if r <= 0.0 { 1.0 } else { (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).clamp(1.0, 4.5) }
}

fn share(part: u64, whole: u64) -> f32 {
    if whole == 0 { 0.0 } else { part as f32 / whole as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(percent: f32, millis: u64) -> f32 {
        mos(Heard { impaired: percent / 100.0, delay: Duration::from_millis(millis) })
    }

    #[test]
    fn falls_with_loss_and_with_delay() {
        assert!(score(0.0, 50) > 4.3);
        assert!((3.0..3.9).contains(&score(3.0, 80)), "{}", score(3.0, 80));
        assert!((1.5..2.9).contains(&score(10.0, 80)), "{}", score(10.0, 80));
        assert!(score(0.0, 400) < 3.9 && score(0.0, 400) > 2.8, "{}", score(0.0, 400));
        for percent in 0..100 {
            assert!(score(percent as f32, 50) >= score(percent as f32 + 1.0, 50));
        }
        assert!(score(100.0, 5_000) >= 1.0);
    }
}
