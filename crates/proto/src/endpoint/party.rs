//! Who may speak in a session (02 §1.2): a valid signature says who speaks, not that they have a say.

use super::message::{Body, Proof, Received};
use super::session::{Ended, EndedRole, Session};
use crate::wire::Did;

/// The device at the other end, and the identity it was proved to act for.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// `from` of what it said first, and of whatever else it says.
    pub(super) device: Did,
    pub(super) identity: Did,
    /// Until when the delegation last seen is valid, in Unix seconds; `None` if the device needs none.
    pub(super) until: Option<u64>,
}

/// The sender's standing in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has a say.
    Party,
    /// It has none: its message counts as one for an unknown session (PTY-5).
    Stranger,
    /// It is the peer's device, but no longer delegated for the peer (PTY-6).
    Lapsed,
}

impl Standing {
    fn party_if(condition: bool) -> Self {
        if condition { Self::Party } else { Self::Stranger }
    }
}

impl Peer {
    /// Whether the peer's device is still delegated: as this message proves, or as an earlier one proved until later than
    /// `now`.
    fn is_still_delegated(&self, proof: &Proof, now: u64) -> bool {
        self.device == self.identity || proof.identity == self.identity || self.until.is_some_and(|until| now < until)
    }

    /// Learns from a message of the peer's device until when it is delegated.
    pub(super) fn renew(&mut self, received: &Received) {
        if let Some(proof) = &received.proof
            && received.from == self.device
            && proof.identity == self.identity
        {
            self.until = proof.until;
        }
    }
}

impl Session {
    /// Whether the sender may say this here.
    pub(super) fn standing(&self, received: &Received, now: u64) -> Standing {
        // PTY-7
        let Some(proof) = &received.proof else { return Standing::Party };
        match self {
            // PTY-2, PRG-13. A device reports errors of its own too (PTY-1, INV-4), so a bound one may as well.
            Self::Calling(calling) => {
                Standing::party_if(proof.is_bound_to(&calling.to) || is_of_relay(received, proof))
            }
            Self::Called(called) => called.peer.standing(received, proof, now),
            Self::Active(active) => match active.invited() {
                None => active.peer.standing(received, proof, now),
                Some(invited) => {
                    if received.from == active.peer.device {
                        let lapsed = !active.peer.is_still_delegated(proof, now);
                        return if lapsed { Standing::Lapsed } else { Standing::Party };
                    }
                    // PTY-3. What remains to other legs is to be told that they came late (INI-10, INI-12).
                    let attempt = match &received.body {
                        Body::Answer { in_reply_to, .. } | Body::Reject { in_reply_to, .. } => in_reply_to.is_none(),
                        Body::Progress { .. } | Body::Cancel { .. } | Body::Error { .. } => true,
                        _ => false,
                    };
                    Standing::party_if(attempt && proof.is_bound_to(invited) || is_of_relay(received, proof))
                }
            },
        }
    }
}

impl Ended {
    /// Whether the sender had a say in the session that ended.
    pub(super) fn standing(&self, received: &Received) -> Standing {
        let Some(proof) = &received.proof else { return Standing::Party };
        let bound = match &self.role {
            EndedRole::Initiator { to, .. } => proof.is_bound_to(to),
            EndedRole::Responder { peer } => received.from == peer.device || proof.identity == peer.identity,
        };
        Standing::party_if(bound || is_of_relay(received, proof))
    }
}

impl Peer {
    /// PTY-4, at the responder.
    fn standing(&self, received: &Received, proof: &Proof, now: u64) -> Standing {
        if matches!(received.body, Body::Cancel { .. }) {
            // RSP-22: any delegated device of who signed the invite.
            return Standing::party_if(received.from == self.device || proof.identity == self.identity);
        }
        if received.from != self.device {
            return Standing::party_if(is_of_relay(received, proof));
        }
        if self.is_still_delegated(proof, now) { Standing::Party } else { Standing::Lapsed }
    }
}

/// Whether the relay itself speaks, of the attempt's outcome (RLY-44) or of an error.
fn is_of_relay(received: &Received, proof: &Proof) -> bool {
    proof.is_relay() && matches!(received.body, Body::Reject { in_reply_to: None, .. } | Body::Error { .. })
}
