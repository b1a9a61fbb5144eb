//! The responder before its answer: OFFERED and ALERTING (§3).

use super::active::Active;
use super::message::{Body, Received};
use super::output::{Media, Send, TimerName, Ui};
use super::party::Peer;
use super::session::{Ended, Step, T_RING, Timer, Turn, clamp};
use crate::wire::Reason;
use crate::wire::token::{AnsweredBy, Status};

/// Somebody invited us, and we have not answered yet.
#[derive(Debug)]
pub(super) struct Called {
    /// Who signed the invite (SES-6).
    pub(super) peer: Peer,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing rings yet: OFFERED.
    Offered {
        /// Until when the invite may begin to ring, in Unix seconds (TMR-5).
        expires_at: Option<u64>,
    },
    /// It rings: ALERTING. The invite's own expiry no longer matters (RSP-21).
    Alerting { ring: Timer },
}

impl Called {
    /// INV-5
    pub(super) fn offered(peer: Peer, expires_at: Option<u64>, turn: &mut Turn<'_>) -> Self {
        turn.ui(Ui::Offered);
        Self { peer, stage: Stage::Offered { expires_at } }
    }

    /// A message of a party to the attempt.
    pub(super) fn receive(self, received: &Received, turn: &mut Turn<'_>) -> Step {
        let Body::Cancel { reason, .. } = &received.body else {
            turn.error(received, Reason::SESSION_INVALID_STATE); // RSP-10
            return self.into();
        };
        // RACE-1
        let reason = reason.effective().0;
        if let Stage::Alerting { ring } = &self.stage {
            // RSP-7, RSP-8
            turn.stop(ring);
            if reason != Reason::SESSION_ANSWERED_ELSEWHERE {
                turn.ui(Ui::MissedCall);
            }
        }
        turn.ui(Ui::Ended(reason)); // RSP-4
        Ended::responder(self.peer, turn).into()
    }

    /// RSP-1, RSP-2; refused where it rings already (RSP-14).
    pub(super) fn alert(self, ring_timeout: Option<u64>, turn: &mut Turn<'_>) -> Result<Step, Self> {
        let Stage::Offered { expires_at } = self.stage else { return Err(self) };
        if expires_at.is_some_and(|expiry| turn.now.wall.secs() > expiry) {
            return Ok(self.refuse(Reason::SESSION_EXPIRED, turn).into()); // RSP-2
        }
        let (to, session) = (self.peer.device.clone(), turn.session);
        turn.send(Send::Progress { to, session, status: Status::RINGING, ring_timeout }); // TMR-12
        let secs = ring_timeout.map_or(turn.lengths.ring_local, |secs| clamp(secs, &T_RING)); // TMR-4
        let ring = turn.start(TimerName::RingLocal, secs);
        Ok(Self { peer: self.peer, stage: Stage::Alerting { ring } }.into())
    }

    /// RSP-3; refused where it rings already (RSP-14).
    pub(super) fn auto_reject(self, reason: Reason, turn: &mut Turn<'_>) -> Result<Step, Self> {
        match self.stage {
            Stage::Offered { .. } => Ok(self.refuse(reason, turn).into()),
            Stage::Alerting { .. } => Err(self),
        }
    }

    /// RSP-5; there is no way from OFFERED to ACTIVE (RSP-20).
    pub(super) fn accept(self, answered_by: AnsweredBy, turn: &mut Turn<'_>) -> Result<Step, Self> {
        let Stage::Alerting { ring } = &self.stage else { return Err(self) };
        turn.stop(ring);
        let (to, session) = (self.peer.device.clone(), turn.session);
        turn.send(Send::Answer { to, session, answered_by, in_reply_to: None });
        turn.media(Media::Start);
        Ok(Active::responder(self.peer).into())
    }

    /// RSP-6; refused where nothing rings (RSP-14).
    pub(super) fn decline(self, turn: &mut Turn<'_>) -> Result<Step, Self> {
        let Stage::Alerting { ring } = &self.stage else { return Err(self) };
        turn.stop(ring);
        Ok(self.refuse(Reason::USER_DECLINED, turn).into())
    }

    /// RSP-9
    pub(super) fn no_answer(self, turn: &mut Turn<'_>) -> Ended {
        let ended = self.refuse(Reason::USER_NO_ANSWER, turn);
        turn.ui(Ui::Ended(Reason::USER_NO_ANSWER));
        ended
    }

    /// The caller's device is no longer delegated (PTY-6).
    pub(super) fn distrust(self, turn: &mut Turn<'_>) -> Ended {
        if let Stage::Alerting { ring } = &self.stage {
            turn.stop(ring);
        }
        let ended = self.refuse(Reason::POLICY_TRUST_INSUFFICIENT, turn);
        turn.ui(Ui::Ended(Reason::POLICY_TRUST_INSUFFICIENT));
        ended
    }

    fn refuse(self, reason: Reason, turn: &mut Turn<'_>) -> Ended {
        let (to, session) = (self.peer.device.clone(), turn.session);
        turn.send(Send::Reject { to, session, reason, in_reply_to: None });
        Ended::responder(self.peer, turn)
    }
}
