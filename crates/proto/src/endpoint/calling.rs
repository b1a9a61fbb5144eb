//! The initiator before an answer: INVITING and PROCEEDING (§2), and what `progress` does (§8.2).

use super::active::Active;
use super::message::{Body, Received};
use super::output::{Media, Send, TimerName, Ui};
use super::party::Peer;
use super::session::{Ended, Step, T_QUEUE_MAX, T_RING, Timer, Turn, clamp};
use crate::wire::token::Status;
use crate::wire::{Did, Reason, Ulid};

/// Consecutive `queued` reports that an attempt survives; the next one ends it (PRG-11).
pub const MAX_QUEUED: u32 = 3;

/// We invited somebody, and nobody has answered yet.
#[derive(Debug)]
pub(super) struct Calling {
    /// Whom the invite names (SES-6).
    pub(super) to: Did,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Nobody has reacted: INVITING.
    Inviting { establish: Timer },
    /// Somebody works on it: PROCEEDING.
    Proceeding {
        /// T-Ring or T-Queue: exactly one of the two runs.
        waiting: Timer,
        /// How many `queued` came in a row.
        queued: u32,
    },
}

impl Calling {
    /// INI-1
    pub(super) fn place(to: Did, grant: Option<Ulid>, turn: &mut Turn<'_>) -> Self {
        turn.send(Send::Invite { to: to.clone(), session: turn.session, grant });
        let establish = turn.start(TimerName::Establish, turn.lengths.establish);
        Self { to, stage: Stage::Inviting { establish } }
    }

    /// A message of a party to the attempt.
    pub(super) fn receive(self, received: &Received, sender: Did, turn: &mut Turn<'_>) -> Step {
        match &received.body {
            Body::Progress { status, ring_timeout, queue_timeout, .. } => {
                self.progress(&status.effective(), *ring_timeout, *queue_timeout, turn) // INI-2
            }
            Body::Answer { in_reply_to: None, media_ok: false, .. } => {
                // INI-20, WEB-101: this leg alone is released, and the attempt goes on.
                let (to, session) = (received.from.clone(), turn.session);
                turn.send(Send::Bye { to, session, reason: Reason::MEDIA_FAILED });
                self.into()
            }
            Body::Answer { in_reply_to: None, answered_by, .. } => {
                // INI-3
                self.stop_all(turn);
                turn.media(Media::Start);
                turn.ui(Ui::Answered(answered_by.effective()));
                if received.from != self.to {
                    // FRK-1, INI-24; the only cancel there is after an answer (INI-23)
                    let reason = Reason::SESSION_ANSWERED_ELSEWHERE;
                    turn.send(Send::Cancel { to: self.to.clone(), session: turn.session, reason });
                }
                Active::initiator(Peer::of(received, sender), self.to).into()
            }
            Body::Reject { in_reply_to: None, reason, .. } => {
                // INI-5, FRK-3
                self.stop_all(turn);
                turn.ui(Ui::Ended(reason.effective().0));
                Ended::initiator(self.to, Reason::SESSION_FAILED, turn).into()
            }
            // INI-4, INI-6, INI-9
            _ => {
                turn.error(received, Reason::SESSION_INVALID_STATE);
                self.into()
            }
        }
    }

    /// Withdraws the invite, without a word to the user: INI-7, and the first half of INI-8 and of glare.
    pub(super) fn withdraw(self, reason: Reason, turn: &mut Turn<'_>) -> Ended {
        self.stop_all(turn);
        turn.send(Send::Cancel { to: self.to.clone(), session: turn.session, reason });
        Ended::initiator(self.to, Reason::SESSION_CANCELLED, turn)
    }

    /// Withdraws the invite for a reason the user did not give: INI-8, PRG-4, GLR-4, GLR-5.
    pub(super) fn give_up(self, reason: Reason, turn: &mut Turn<'_>) -> Ended {
        let ended = self.withdraw(reason.clone(), turn);
        turn.ui(Ui::Ended(reason));
        ended
    }

    fn progress(
        self,
        status: &Status,
        ring_timeout: Option<u64>,
        queue_timeout: Option<u64>,
        turn: &mut Turn<'_>,
    ) -> Step {
        // PRG-1
        let (running, queued) = match self.stage {
            Stage::Inviting { establish } => {
                turn.stop(&establish);
                (None, 0)
            }
            Stage::Proceeding { waiting, queued } => (Some(waiting), queued),
        };
        turn.ui(Ui::Progress(status.clone()));
        let is = |timer: &Timer, name| timer.name == name;
        let (waiting, queued) = if *status == Status::RINGING {
            // PRG-3, PRG-10
            let given = ring_timeout.map(|secs| clamp(secs, &T_RING));
            let waiting = match running {
                Some(ring) if is(&ring, TimerName::Ring) => match given {
                    Some(secs) => turn.restart(&ring, secs),
                    None => ring,
                },
                other => {
                    if let Some(queue) = other {
                        turn.stop(&queue);
                    }
                    turn.start(TimerName::Ring, given.unwrap_or(turn.lengths.ring))
                }
            };
            (waiting, 0)
        } else if *status == Status::QUEUED {
            // PRG-4, PRG-11, PRG-14
            let secs = queue_timeout.unwrap_or(T_QUEUE_MAX).min(T_QUEUE_MAX);
            if queued >= MAX_QUEUED
                && let Some(waiting) = running
            {
                let over = Self { to: self.to, stage: Stage::Proceeding { waiting, queued } };
                return over.give_up(Reason::SESSION_TIMEOUT, turn).into();
            }
            let waiting = match running {
                Some(queue) if is(&queue, TimerName::Queue) => turn.restart(&queue, secs),
                other => {
                    if let Some(ring) = other {
                        turn.stop(&ring);
                    }
                    turn.start(TimerName::Queue, secs)
                }
            };
            (waiting, queued.saturating_add(1))
        } else {
            // PRG-5
            let waiting = match running {
                Some(waiting) => waiting,
                None => turn.start(TimerName::Ring, turn.lengths.ring),
            };
            (waiting, queued)
        };
        Self { to: self.to, stage: Stage::Proceeding { waiting, queued } }.into()
    }

    /// The timer that ends the attempt if nothing else does.
    pub(super) fn running(&self) -> &Timer {
        match &self.stage {
            Stage::Inviting { establish } => establish,
            Stage::Proceeding { waiting, .. } => waiting,
        }
    }

    fn stop_all(&self, turn: &mut Turn<'_>) {
        turn.stop(self.running());
    }
}
