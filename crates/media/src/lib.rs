//! DSIP's packet plane: the media engine of a call, codecs, jitter buffer and statistics. Pure: no socket, no clock.
//!
//! A driver owns the sockets and the clock; everything that decides lives here and is told the time:
//!
//! ```text
//! audio source ─► voice::Speaker ─► call::Call ─► datagrams          (encode, packetise, encrypt)
//! audio sink   ◄─ voice::Listener ◄─ call::Call ◄─ datagrams         (decrypt, reorder, conceal, decode)
//! ```
//!
//! - [`call`]: ICE, DTLS-SRTP and SDP of one call. No packet can leave before a signed answer, by type.
//! - [`voice`]: the two halves of an audio stream, composed of [`codec`] and [`jitter`].
//! - [`stats`]: what a call reports, and the estimated listening quality.
//! - [`stun`]: messages of STUN, and asking a server how the world sees a socket.
//! - [`turn`]: relaying for those whom no direct path reaches, the server's side and the client's.
//! - [`audio`]: resampling, test signals and the comparison of a recording with its source.

pub mod audio;
pub mod call;
pub mod codec;
pub mod jitter;
pub mod stats;
pub mod stun;
pub mod turn;
pub mod voice;
