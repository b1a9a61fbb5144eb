//! The two halves of an audio stream, between samples and [`Call`](crate::call::Call).

use std::collections::VecDeque;

use dsip_proto::time::Tick;

use crate::call::{Frame, Link};
use crate::codec::FRAME;
use crate::codec::opus::{Decoder, Encoder};
use crate::jitter::{Jitter, Next};
use crate::stats::{Path, Report};

/// An encoded frame ready for [`Call::send`](crate::call::Call::send).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// When it begins, in samples since the stream began.
    pub time: u32,
    /// Whether it follows a pause (RFC 7587, 4.1).
    pub marker: bool,
    /// The encoded audio.
    pub payload: Vec<u8>,
}

/// From samples to frames.
#[derive(Debug, Default)]
pub struct Speaker {
    encoder: Encoder,
    time: u32,
    talking: bool,
}

impl Speaker {
    /// A speaker that has said nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes 20 ms. `None` if silence need not be sent.
    pub fn speak(&mut self, pcm: &[f32]) -> Option<Spoken> {
        let time = self.time;
        self.time = time.wrapping_add(FRAME as u32);
        let payload = self.encoder.encode(pcm);
        let marker = payload.is_some() && !self.talking;
        self.talking = payload.is_some();
        Some(Spoken { time, marker, payload: payload? })
    }

    /// Lets 20 ms pass unsent, e.g. on hold or before the call connects.
    pub fn skip(&mut self) {
        self.time = self.time.wrapping_add(FRAME as u32);
        self.talking = false;
    }

    /// Whether silence may go unsent: as [`Call::peer_wants_dtx`](crate::call::Call::peer_wants_dtx) says.
    pub fn allow_dtx(&mut self, allow: bool) {
        self.encoder.allow_dtx(allow);
    }

    /// Adapts the redundancy to what the peer reports.
    pub fn adapt(&mut self, link: &Link) {
        if let Some(loss) = link.loss {
            self.encoder.expect_loss(loss);
        }
    }
}

/// From frames to samples.
#[derive(Debug, Default)]
pub struct Listener {
    jitter: Jitter,
    decoder: Decoder,
    ready: VecDeque<f32>,
    pauses: u32,
}

/// Pauses in a row, in frames, after which nothing is played but silence: comfort noise is for pauses in talk, not for a peer
/// that has not started or has left.
const COMFORT: u32 = 250;

impl Listener {
    /// A listener that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a frame from the network.
    pub fn hear(&mut self, now: Tick, frame: &Frame) {
        self.jitter.insert(now, frame.seq, frame.time, &frame.payload);
    }

    /// The next 20 ms to play. To be asked once every 20 ms.
    pub fn play(&mut self, now: Tick) -> Vec<f32> {
        while self.ready.len() < FRAME {
            let pcm = match self.jitter.next(now) {
                Next::Play(packet) => {
                    self.pauses = 0;
                    self.decoder.decode(&packet).unwrap_or_else(|| vec![0.0; FRAME])
                }
                Next::Recover(next, samples) => self.decoder.recover(&next, samples),
                Next::Conceal(samples) => self.decoder.conceal(samples),
                Next::Pause(samples) => {
                    self.pauses = self.pauses.saturating_add(1);
                    if self.jitter.counts().received == 0 || self.pauses > COMFORT {
                        vec![0.0; samples]
                    } else {
                        self.decoder.conceal(samples)
                    }
                }
            };
            self.ready.extend(pcm);
        }
        self.ready.drain(..FRAME).collect()
    }

    /// The call's figures. `sent` and `link` are the other half's.
    #[must_use]
    pub fn report(&self, sent: u64, link: &Link) -> Report {
        let Self { jitter, .. } = self;
        let report = Report::new(sent, jitter.counts(), jitter.jitter(), jitter.delay(), link.round_trip, link.loss);
        let path = if link.relayed { Path::Relay } else { Path::Direct };
        Report { path: link.path.map(|_| path), ..report }
    }
}
