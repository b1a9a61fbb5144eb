//! TURN (RFC 8656): a server's allocations, a client's allocation, and what both put on the wire. Pure: sockets and clocks
//! belong to the drivers.
//!
//! ```text
//!   client ══ UDP, TCP or TLS ══► Server ── relayed address, UDP ──► peer
//!             Frames cut a stream
//! ```
//!
//! - [`server`]: who may have an allocation, and which packet goes where.
//! - [`client`]: keeps one allocation alive, and wraps what goes through it.
//!
//! What is deliberately not here: TCP towards peers (RFC 6062), which no call needs, and moving an allocation to another
//! address (RFC 8016): a phone that moves makes a new one, as it does with its sockets.

pub mod client;
pub mod server;

pub use client::Allocation;
pub use server::Server;

use std::ops::{Range, RangeInclusive};

use crate::stun::message::{HEADER, be16};

/// The octets before the data of a ChannelData message (RFC 8656, 12.4).
pub const CHANNEL_HEADER: usize = 4;

/// The channels that a client binds (12).
const CHANNELS: RangeInclusive<u16> = 0x4000..=0x4fff;

/// The channels that a server lets be bound: RFC 5766 had more, and clients built to it choose among all.
const EARLIER_CHANNELS: RangeInclusive<u16> = 0x4000..=0x7fff;

/// The longest message taken from a stream. Data is meant to fit a datagram on the other side, and few paths carry more than
/// 1,500 octets.
const LONGEST_FRAME: usize = 4096;

/// The channel and the data of a ChannelData message; on a stream and off it, padding does not count.
fn channel_data(packet: &[u8]) -> Option<(u16, Range<usize>)> {
    let (channel, length) = (be16(packet, 0)?, usize::from(be16(packet, 2)?));
    let end = CHANNEL_HEADER + length;
    (EARLIER_CHANNELS.contains(&channel) && end <= packet.len()).then_some((channel, CHANNEL_HEADER..end))
}

/// What arrived on a stream and is neither STUN nor ChannelData, or too long. The stream cannot be made sense of from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither STUN nor ChannelData")]
pub struct NotTurn;

/// Cuts a stream into messages (RFC 8656, 12.5: on a stream ChannelData is padded to four octets).
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// Adds what was read. At most 4,096 octets of a message that is not whole are kept between two calls of
    /// [`Self::pop`].
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// When what follows is not a message.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, NotTurn> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let (Some(kind), Some(length)) = (be16(rest, 0), be16(rest, 2)) else { return Ok(None) };
        let length = match kind >> 14 {
            0 => HEADER + usize::from(length),
            1 => CHANNEL_HEADER + usize::from(length).next_multiple_of(4),
            _ => return Err(NotTurn),
        };
        if length > LONGEST_FRAME {
            return Err(NotTurn);
        }
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.taken;
        self.taken += length;
        Ok(self.buffer.get(from..self.taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::message::{Class, Method, Writer};

    #[test]
    fn rfc_8656_12_5_a_stream_is_cut_wherever_it_was_split() {
        let binding = Writer::new(Method::Binding, Class::Request, [1; 12]).finish();
        let stream = [&binding[..], b"\x40\x01\x00\x05hello\0\0\0", &binding].concat();
        for split in 0..stream.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                frames.push(part);
                while let Some(frame) = frames.pop().expect("TURN") {
                    found.push(frame.to_vec());
                }
            }
            assert_eq!(found.len(), 3, "{split}");
            assert_eq!(channel_data(&found[1]), Some((0x4001, 4..9)));
            assert_eq!(found[2], binding);
        }
    }

    #[test]
    fn another_protocol_and_a_long_announcement_end_a_stream() {
        for stream in [&b"\x80\x00\x00\x00"[..], b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n"] {
            let mut frames = Frames::default();
            frames.push(stream);
            let refused = frames.pop();
            assert!(refused.is_err() || refused == Ok(None), "{stream:?}");
        }
        let mut frames = Frames::default();
        frames.push(b"\x40\x00\xff\xff");
        assert_eq!(frames.pop(), Err(NotTurn), "before any of it is kept");
    }
}
