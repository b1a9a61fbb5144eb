//! One offer, several answers: exactly one is applied (WEB-100 to WEB-104).

use super::check::{self, Description};
use super::{Described, Refusal};
use crate::wire::Reason;

/// The walk over the answers that one offer gets, in the order in which they arrive.
#[derive(Debug, Clone)]
pub struct OneAnswer {
    offered_sections: Option<usize>,
    applied: bool,
}

/// What becomes of the leg that sent an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// This answer is the one: hand it to the session engine, then to the media.
    Applied,
    /// It cannot be used. That leg alone gets `bye` `media.failed`; the attempt goes on (WEB-101).
    Failed(Refusal),
    /// Another one was applied before: `bye` `session.already-answered`, unchecked (WEB-102).
    Released,
}

impl OneAnswer {
    /// The walk for the answers to `offer`.
    #[must_use]
    pub fn new(offer: Described<'_>) -> Self {
        Self { offered_sections: check::offered_sections(offer), applied: false }
    }

    /// Judges the next answer. It runs before the session engine sees the answer (WEB-103).
    pub fn judge(&mut self, answer: Described<'_>) -> Leg {
        if self.applied {
            return Leg::Released;
        }
        match check::check(answer, Description::Answer, self.offered_sections) {
            Ok(_) => {
                self.applied = true;
                Leg::Applied
            }
            Err(refusal) => Leg::Failed(refusal),
        }
    }
}

impl Leg {
    /// The reason of the `bye` that ends this leg, if it ends.
    #[must_use]
    pub fn bye(&self) -> Option<Reason> {
        match self {
            Self::Applied => None,
            Self::Failed(refusal) => Some(refusal.reason()),
            Self::Released => Some(Reason::SESSION_ALREADY_ANSWERED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Code, ICE_MODE};
    use super::*;
    use crate::wire::media::{MediaDescriptor, Transport};
    use crate::wire::token::{CodecId, Direction, MediaType, TransportId};

    fn described(setup: &str) -> (Vec<MediaDescriptor>, Vec<Transport>) {
        let sdp = format!(
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 AA\r\n\
             a=setup:{setup}\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
        );
        let media = MediaDescriptor::new(MediaType::Audio, Direction::SendRecv, &[CodecId::OPUS]);
        (vec![media], vec![Transport::new(TransportId::WEBRTC).with_sdp(ICE_MODE, &sdp)])
    }

    #[test]
    fn web_101_and_102_a_bad_answer_costs_its_own_leg_and_late_ones_are_not_even_checked() {
        let (media, transports) = described("actpass");
        let mut walk = OneAnswer::new((&media, &transports));
        let mut judge = |setup| {
            let (media, transports) = described(setup);
            walk.judge((&media, &transports))
        };
        let failed = judge("actpass");
        assert!(matches!(failed, Leg::Failed(Refusal { code: Code::SetupInvalid, section: Some(0), .. })));
        assert_eq!(failed.bye(), Some(Reason::MEDIA_FAILED));
        assert_eq!((judge("active"), judge("active"), judge("holdconn")), (Leg::Applied, Leg::Released, Leg::Released));
        assert_eq!((Leg::Applied.bye(), Leg::Released.bye()), (None, Some(Reason::SESSION_ALREADY_ANSWERED)));
    }

    #[test]
    fn web_103_if_no_answer_passes_nothing_is_applied() {
        let (media, transports) = described("actpass");
        let mut walk = OneAnswer::new((&media, &transports));
        assert!((0..3).all(|_| matches!(walk.judge((&media, &transports)), Leg::Failed(_))));
    }
}
