//! The session in which media flows: ACTIVE (§4), crossing cancels (§5), updates (§7), `info` (§9).

use std::time::Duration;

use super::message::{Body, Received};
use super::output::{Drop, Media, Output, Refused, Send, Ui};
use super::party::Peer;
use super::session::{Ended, Step, Turn};
use crate::time::Tick;
use crate::wire::token::{About, AnsweredBy};
use crate::wire::{Did, Reason, Ulid};

/// `info` messages of the peer that are taken in any [`INFO_PERIOD`] (INF-5): well above the ten a second that a sender
/// may send at most (WEB-96), so that only abuse meets it.
pub const MAX_INFO: u32 = 200;

/// The period over which [`MAX_INFO`] counts.
pub const INFO_PERIOD: Duration = Duration::from_secs(10);

/// There is a signed answer, and media flows.
#[derive(Debug)]
pub(super) struct Active {
    /// The device at the other end.
    pub(super) peer: Peer,
    role: Role,
    /// The one open update, whichever side offered it.
    pub(super) update: Option<Update>,
    /// When the current period of `info` began, and how many came in it.
    infos: (Tick, u32),
}

#[derive(Debug)]
enum Role {
    /// We accepted an answer to the invite that went to `invited`.
    Initiator { invited: Did },
    /// We answered; whether the peer has shown since that it got the answer (RACE-10).
    Responder { post_answer_seen: bool },
}

/// An open update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// Its id.
    pub id: Ulid,
    /// Who offered it.
    pub direction: Direction,
}

/// Who offered an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We did: the session is renegotiating.
    Outbound,
    /// The peer did.
    Inbound,
}

impl Active {
    pub(super) fn initiator(peer: Peer, invited: Did) -> Self {
        Self { peer, role: Role::Initiator { invited }, update: None, infos: (Tick::default(), 0) }
    }

    pub(super) fn responder(peer: Peer) -> Self {
        Self { peer, role: Role::Responder { post_answer_seen: false }, update: None, infos: (Tick::default(), 0) }
    }

    /// Whom the invite named, if it was ours.
    pub(super) fn invited(&self) -> Option<&Did> {
        match &self.role {
            Role::Initiator { invited } => Some(invited),
            Role::Responder { .. } => None,
        }
    }

    /// A message of a party to the session.
    pub(super) fn receive(mut self, received: &Received, turn: &mut Turn<'_>) -> Step {
        self.peer.renew(received);
        // RX-8
        if let (Role::Responder { post_answer_seen }, false) =
            (&mut self.role, matches!(received.body, Body::Cancel { .. }))
        {
            *post_answer_seen = true;
        }
        match &received.body {
            Body::Bye { reason, .. } => {
                // ACT-1, UPD-24
                turn.media(Media::Stop);
                turn.ui(Ui::Ended(reason.effective().0));
                return self.end(turn).into();
            }
            Body::Cancel { reason, .. } => {
                // RSP-11
                let reason = reason.effective().0;
                let crossed = matches!(self.role, Role::Responder { post_answer_seen: false });
                if crossed && reason != Reason::SESSION_ANSWERED_ELSEWHERE {
                    // RACE-2
                    turn.media(Media::Stop);
                    turn.ui(Ui::Ended(reason));
                    return self.end(turn).into();
                }
                turn.error(received, Reason::SESSION_INVALID_STATE); // RACE-3, RACE-4, INI-12
            }
            // ACT-3
            Body::Answer { in_reply_to: Some(id), media_ok, .. } => self.update_answered(*id, *media_ok, turn),
            Body::Reject { in_reply_to: Some(id), reason, .. } => self.update_rejected(*id, reason, turn),
            Body::Answer { in_reply_to: None, .. } if self.invited().is_some() && received.from != self.peer.device => {
                // INI-10, FRK-2
                let (to, session) = (received.from.clone(), turn.session);
                turn.send(Send::Bye { to, session, reason: Reason::SESSION_ALREADY_ANSWERED });
            }
            Body::Update { answered_by, .. } => self.update_offered(received, answered_by.as_ref(), turn),
            // ACT-4
            Body::Info { about, .. } => self.info(received, about, turn),
            // INI-11, INI-12, RSP-12
            _ => turn.error(received, Reason::SESSION_INVALID_STATE),
        }
        self.into()
    }

    /// ACT-2, ACT-10
    pub(super) fn hang_up(self, reason: Reason, turn: &mut Turn<'_>) -> Ended {
        turn.send(Send::Bye { to: self.peer.device.clone(), session: turn.session, reason });
        turn.media(Media::Stop);
        self.end(turn)
    }

    /// The peer's device is no longer delegated (PTY-6).
    pub(super) fn distrust(self, turn: &mut Turn<'_>) -> Ended {
        let ended = self.hang_up(Reason::POLICY_TERMINATED, turn);
        turn.ui(Ui::Ended(Reason::POLICY_TERMINATED));
        ended
    }

    /// ACT-5
    pub(super) fn send_info(&self, turn: &mut Turn<'_>) {
        turn.send(Send::Info { to: self.peer.device.clone(), session: turn.session });
    }

    /// UPD-1, UPD-2
    pub(super) fn offer_update(
        &mut self,
        id: Ulid,
        answered_by: Option<AnsweredBy>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refused> {
        if self.update.is_some() {
            return Err(Refused::UpdatePending);
        }
        turn.send(Send::Update { to: self.peer.device.clone(), session: turn.session, id, answered_by });
        self.update = Some(Update { id, direction: Direction::Outbound });
        Ok(())
    }

    /// UPD-7, UPD-9
    pub(super) fn answer_update(
        &mut self,
        id: Ulid,
        answered_by: AnsweredBy,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refused> {
        self.close_update(id, Direction::Inbound).ok_or(Refused::NoPendingUpdate)?;
        let (to, session) = (self.peer.device.clone(), turn.session);
        turn.send(Send::Answer { to, session, answered_by, in_reply_to: Some(id) });
        turn.media(Media::ApplyUpdate);
        Ok(())
    }

    /// UPD-8, UPD-9
    pub(super) fn reject_update(&mut self, id: Ulid, reason: Reason, turn: &mut Turn<'_>) -> Result<(), Refused> {
        self.close_update(id, Direction::Inbound).ok_or(Refused::NoPendingUpdate)?;
        let (to, session) = (self.peer.device.clone(), turn.session);
        turn.send(Send::Reject { to, session, reason, in_reply_to: Some(id) });
        Ok(())
    }

    fn update_offered(&mut self, received: &Received, answered_by: Option<&AnsweredBy>, turn: &mut Turn<'_>) {
        let theirs = received.id;
        match self.update {
            Some(Update { id: ours, direction: Direction::Outbound }) if ours < theirs => {
                // UPD-4
                let (to, session, reason) = (received.from.clone(), turn.session, Reason::SESSION_GLARE);
                turn.send(Send::Reject { to, session, reason, in_reply_to: Some(theirs) });
                return;
            }
            Some(Update { direction: Direction::Outbound, .. }) => {
                turn.ui(Ui::UpdateRejected(Reason::SESSION_GLARE)); // UPD-5, UPD-22
            }
            Some(Update { direction: Direction::Inbound, .. }) => {
                turn.error(received, Reason::SESSION_UPDATE_PENDING); // UPD-6, UPD-23
                self.update = None;
                return;
            }
            None => {}
        }
        // UPD-3
        turn.ui(Ui::UpdateOffered);
        if let Some(answered_by) = answered_by {
            turn.ui(Ui::Answered(answered_by.effective()));
        }
        self.update = Some(Update { id: theirs, direction: Direction::Inbound });
    }

    fn update_answered(&mut self, id: Ulid, media_ok: bool, turn: &mut Turn<'_>) {
        if self.close_update(id, Direction::Outbound).is_none() {
            turn.out.push(Output::Drop(Drop::StaleUpdateReply)); // UPD-12
        } else if media_ok {
            turn.media(Media::ApplyUpdate); // UPD-10
        } else {
            // An answer that is none leaves the old parameters in force, as a refusal does (UPD-21).
            turn.ui(Ui::UpdateRejected(Reason::MEDIA_FAILED));
        }
    }

    fn update_rejected(&mut self, id: Ulid, reason: &Reason, turn: &mut Turn<'_>) {
        if self.close_update(id, Direction::Outbound).is_none() {
            turn.out.push(Output::Drop(Drop::StaleUpdateReply)); // UPD-12
        } else {
            turn.ui(Ui::UpdateRejected(reason.effective().0)); // UPD-11
        }
    }

    fn close_update(&mut self, id: Ulid, direction: Direction) -> Option<Update> {
        self.update.take_if(|update| *update == Update { id, direction })
    }

    fn info(&mut self, received: &Received, about: &About, turn: &mut Turn<'_>) {
        if turn.now.tick.since(self.infos.0) >= INFO_PERIOD {
            self.infos = (turn.now.tick, 0);
        }
        self.infos.1 = self.infos.1.saturating_add(1);
        if self.infos.1 > MAX_INFO {
            turn.error(received, Reason::POLICY_RATE_LIMITED); // INF-5
        } else if *about == About::WEBRTC {
            // INF-3: it gets no reply and changes nothing here.
            turn.out.push(Output::Info { session: turn.session, about: about.clone() });
        } else {
            turn.out.push(Output::Drop(Drop::UnknownAbout)); // INF-2
        }
    }

    fn end(self, turn: &Turn<'_>) -> Ended {
        match self.role {
            Role::Initiator { invited } => Ended::initiator(invited, Reason::SESSION_ALREADY_ANSWERED, turn),
            Role::Responder { .. } => Ended::responder(self.peer, turn),
        }
    }
}
