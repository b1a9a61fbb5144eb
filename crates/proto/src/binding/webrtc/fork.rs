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
