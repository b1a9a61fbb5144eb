//! One attempt to reach somebody: its legs, what they said, and what becomes of it (03 §3.4).

use std::sync::Arc;
use std::time::Duration;

use super::message::Message;
use crate::time::{Now, Tick};
use crate::wire::{Did, Reason};

/// How long a leg may stay silent after the invite was delivered to it (RLY-43): the longest T-Establish (TMR-1), after
/// which an initiator that heard nothing has given up, and some time for its cancel to travel.
pub const SILENT_LEG: Duration = Duration::from_secs(60 + 5);

/// How long a leg may ring or work on it after it last said so: the longest T-Ring (TMR-2), and some time to travel.
pub const RINGING_LEG: Duration = Duration::from_secs(300 + 5);

/// How long a leg may hold the caller in a queue after it last said so: the longest T-Queue (TMR-3), and some time.
pub const QUEUED_LEG: Duration = Duration::from_secs(1_800 + 5);

/// How old a signed message may be when it is received (RPL-1, TMR-6).
const REPLAY_WINDOW: Duration = Duration::from_secs(300);

/// The reasons that say most about the person called, best first (RLY-41).
const PREFERRED: [Reason; 4] =
    [Reason::USER_DECLINED, Reason::USER_NO_ANSWER, Reason::ENDPOINT_BUSY, Reason::ENDPOINT_UNAVAILABLE];

/// Where a leg stands. Only a `Delivered` one is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegState {
    /// The invite was delivered, and nothing final came back.
    Delivered,
    /// It answered.
    Answered,
    /// It refused.
    Rejected,
    /// It ran into the relay's own limit (RLY-43).
    Expired,
    /// The initiator's cancel was delivered to it.
    Cancelled,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A leg answered.
    Answered,
    /// Every leg refused or expired.
    Rejected,
    /// The initiator withdrew it.
    Cancelled,
}

/// An attempt, from the routing of its invite until nothing that concerns it can come any more.
#[derive(Debug)]
pub(super) struct Attempt {
    /// `from` of the invite.
    pub(super) initiator: Did,
    /// `to` of the invite.
    pub(super) identity: Did,
    /// In creation order, among all attempts (RLY-50).
    pub(super) created: u64,
    /// In the order the invite was delivered.
    pub(super) legs: Vec<Leg>,
    pub(super) phase: Phase,
    /// When to look after it again; mirrored in the engine's schedule.
    pub(super) due: Option<Tick>,
}

/// One device that got the invite (SES-3), followed for as long as the attempt lasts (RLY-6).
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) device: Did,
    pub(super) state: LegState,
    /// When a `Delivered` leg expires; never, if the relay sets no limit.
    pub(super) limit: Option<Tick>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// No outcome yet: devices that bind still become legs, and refusals add up.
    Open {
        /// For legs added later. Absent if the relay could not keep it.
        invite: Option<Arc<Message>>,
        /// In order of arrival.
        refusals: Vec<Refusal>,
    },
    /// The outcome is set; legs that are still live can answer, refuse, expire, or learn of the initiator's cancel.
    Decided(Outcome),
    /// No leg can change any more; what remains is to tell late traffic apart.
    Over(Outcome),
}

/// That a leg will not take the call, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) leg: Did,
    pub(super) reason: Reason,
    /// When it came.
    pub(super) at: Now,
    /// The leg's own reject; an expired leg signed none (RLY-44).
    pub(super) reject: Option<Arc<Message>>,
}

impl Refusal {
    /// The leg's own reject, if the initiator would still accept it: other legs may have rung on beyond its validity, or
    /// beyond the replay window.
    fn acceptable_reject(&self, now: Now) -> Option<Arc<Message>> {
        let reject = self.reject.as_ref()?;
        let expired = reject.expires_at.is_some_and(|expiry| expiry <= now.wall.secs());
        let stale = now.tick.since(self.at.tick) >= REPLAY_WINDOW;
        (!expired && !stale).then(|| reject.clone())
    }
}

/// The refusal that stands for the whole attempt.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) leg: Did,
    pub(super) reason: Reason,
    /// The envelope to forward; without one, the relay signs.
    pub(super) reject: Option<Arc<Message>>,
}

impl Attempt {
    pub(super) fn leg(&self, device: &Did) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.device == *device)
    }

    pub(super) fn leg_mut(&mut self, device: &Did) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.device == *device)
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Open { .. } => None,
            Phase::Decided(outcome) | Phase::Over(outcome) => Some(outcome),
        }
    }

    pub(super) fn has_live_leg(&self) -> bool {
        self.legs.iter().any(|leg| leg.state == LegState::Delivered)
    }

    /// When the first live leg runs into its limit.
    pub(super) fn next_limit(&self) -> Option<Tick> {
        self.legs.iter().filter(|leg| leg.state == LegState::Delivered).filter_map(|leg| leg.limit).min()
    }

    /// What the refusals amount to at `now` (RLY-41, RLY-42, RLY-44); `None` without one.
    pub(super) fn verdict(&self, now: Now) -> Option<Verdict> {
        let Phase::Open { refusals, .. } = &self.phase else { return None };
        let preferred = PREFERRED.iter().find_map(|reason| refusals.iter().find(|r| r.reason == *reason));
        let chosen = preferred.or(refusals.first())?;
        // A leg that rejected with the reason an expired one merely counts as did sign an envelope: forward that.
        let reject = refusals.iter().filter(|r| r.reason == chosen.reason).find_map(|r| r.acceptable_reject(now));
        Some(Verdict { leg: chosen.leg.clone(), reason: chosen.reason.clone(), reject })
    }
}
