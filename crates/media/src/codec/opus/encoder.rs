#![expect(
    unsafe_code,
    reason = "the port keeps libopus's C interface; docs/decisions/0003-opus.md bounds this to one file"
)]

use unsafe_libopus::{
    OPUS_APPLICATION_VOIP, OPUS_OK, OPUS_SET_BITRATE_REQUEST, OPUS_SET_COMPLEXITY_REQUEST, OPUS_SET_DTX_REQUEST,
    OPUS_SET_INBAND_FEC_REQUEST, OPUS_SET_PACKET_LOSS_PERC_REQUEST, OPUS_SET_SIGNAL_REQUEST, OPUS_SIGNAL_VOICE,
    OpusEncoder, opus_encode_float, opus_encoder_ctl_impl, opus_encoder_get_size, opus_encoder_init, varargs,
};

use super::MAX_PACKET;
use crate::codec::FRAME;

/// Bits per second: transparent for speech, with room for in-band FEC.
const BITRATE: i32 = 32_000;

/// The encoder's effort, 0 to 10.
const COMPLEXITY: i32 = 9;

/// What is expected of a path nobody has reported on yet. Above zero, so that the first losses are covered already.
const FIRST_LOSS: f32 = 0.05;

/// An Opus encoder: mono, 48 kHz, 20 ms, speech, in-band FEC and DTX on.
pub struct Encoder {
    /// The encoder's memory, in words so that it is aligned. It holds no pointer into itself, so it may move.
    state: Vec<u64>,
    /// Whether silence may go unsent.
    dtx: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// A fresh encoder.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: the function computes a size from the number of channels and touches no memory.
        let bytes = unsafe { opus_encoder_get_size(1) };
        let words = usize::try_from(bytes).unwrap_or(0).div_ceil(size_of::<u64>());
        let mut encoder = Self { state: vec![0; words], dtx: true };
        // SAFETY: the memory is as large as the port asked for a line above, aligned to 8, and exclusively ours.
        let status = unsafe { opus_encoder_init(encoder.pointer(), 48_000, 1, OPUS_APPLICATION_VOIP) };
        assert_eq!(status, OPUS_OK, "libopus accepts 48 kHz mono");
        encoder.set(OPUS_SET_BITRATE_REQUEST, BITRATE);
        encoder.set(OPUS_SET_COMPLEXITY_REQUEST, COMPLEXITY);
        encoder.set(OPUS_SET_SIGNAL_REQUEST, OPUS_SIGNAL_VOICE);
        encoder.set(OPUS_SET_INBAND_FEC_REQUEST, 1);
        encoder.allow_dtx(true);
        encoder.expect_loss(FIRST_LOSS);
        encoder
    }

    /// An encoder for a file: every frame yields a packet, and none carries redundancy, since nothing gets lost.
    #[must_use]
    pub fn for_file() -> Self {
        let mut encoder = Self::new();
        encoder.set(OPUS_SET_INBAND_FEC_REQUEST, 0);
        encoder.allow_dtx(false);
        encoder.expect_loss(0.0);
        encoder
    }

    /// Encodes one frame of [`FRAME`] samples, each within ±1. `None` when nothing needs to be sent: during silence the
    /// encoder speaks up a few times a second only (DTX). A frame of another length is refused likewise.
    pub fn encode(&mut self, pcm: &[f32]) -> Option<Vec<u8>> {
        if pcm.len() != FRAME {
            return None;
        }
        let mut packet = vec![0_u8; MAX_PACKET];
        // SAFETY: `pcm` holds the 960 samples announced, `packet` the bytes announced, the state was initialised in `new`.
        let written = unsafe {
            opus_encode_float(self.pointer(), pcm.as_ptr(), FRAME as i32, packet.as_mut_ptr(), MAX_PACKET as i32)
        };
        let written = usize::try_from(written).ok()?;
        packet.truncate(written);
        // libopus: with DTX, a packet of two bytes or less need not be transmitted.
        (written > 2 || (written > 0 && !self.dtx)).then_some(packet)
    }

    /// Adapts the redundancy to the share of packets, 0 to 1, that the peer reports lost.
    pub fn expect_loss(&mut self, share: f32) {
        let percent = (share.clamp(0.0, 1.0) * 100.0).round() as i32;
        self.set(OPUS_SET_PACKET_LOSS_PERC_REQUEST, percent);
    }

    /// Whether silence may go unsent. A peer that does not ask for it may not expect gaps (RFC 7587, 6.1: `usedtx`).
    pub fn allow_dtx(&mut self, allow: bool) {
        self.dtx = allow;
        self.set(OPUS_SET_DTX_REQUEST, i32::from(allow));
    }

    fn set(&mut self, request: i32, value: i32) {
        // SAFETY: the state was initialised in `new`; every request used here takes one integer.
        let status = unsafe { opus_encoder_ctl_impl(self.pointer(), request, varargs!(value)) };
        debug_assert_eq!(status, OPUS_OK, "request {request} with {value}");
    }

    fn pointer(&mut self) -> *mut OpusEncoder {
        self.state.as_mut_ptr().cast()
    }
}
