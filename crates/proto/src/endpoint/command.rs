//! What a local user or program asks of the engine.

use crate::wire::token::{AnsweredBy, Scope};
use crate::wire::{Did, Reason, Ulid};

/// A local request. One that cannot be carried out is [refused](super::Output::Refused), and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Invite somebody (INI-1).
    PlaceCall {
        /// The session's id, which is the invite's.
        session: Ulid,
        /// Whom: an identity, or one device.
        to: Did,
    },
    /// Withdraw an invite (INI-7).
    Cancel {
        /// The session.
        session: Ulid,
    },
    /// End an active session (ACT-2, ACT-10).
    Hangup {
        /// The session.
        session: Ulid,
        /// Why; `user.hangup` unless given.
        reason: Option<Reason>,
    },
    /// Begin to alert the user, and say so (RSP-1, RSP-2).
    Alert {
        /// The session.
        session: Ulid,
        /// For how long, in seconds.
        ring_timeout: Option<u64>,
    },
    /// Refuse without alerting anybody (RSP-3).
    AutoReject {
        /// The session.
        session: Ulid,
        /// Why.
        reason: Reason,
    },
    /// Answer an alerting session (RSP-5).
    Accept {
        /// The session.
        session: Ulid,
        /// Who or what answers; `user` unless given.
        answered_by: Option<AnsweredBy>,
    },
    /// Refuse an alerting session (RSP-6).
    Decline {
        /// The session.
        session: Ulid,
    },
    /// Offer new parameters (UPD-1).
    Update {
        /// The session.
        session: Ulid,
        /// The update's id.
        id: Ulid,
        /// Who or what is here from now on.
        answered_by: Option<AnsweredBy>,
    },
    /// Accept the peer's update (UPD-7).
    AnswerUpdate {
        /// The session.
        session: Ulid,
        /// The update.
        in_reply_to: Ulid,
        /// Who or what answers; `user` unless given.
        answered_by: Option<AnsweredBy>,
    },
    /// Refuse the peer's update (UPD-8).
    RejectUpdate {
        /// The session.
        session: Ulid,
        /// The update.
        in_reply_to: Ulid,
        /// Why.
        reason: Reason,
    },
    /// Send binding data (ACT-5).
    Info {
        /// The session.
        session: Ulid,
    },
    /// Ask for permission to make contact (FC-30).
    Introduce {
        /// The introduction's id.
        id: Ulid,
        /// Whom.
        to: Did,
        /// What for.
        purpose: Option<String>,
        /// A token that the recipient issued.
        contact_token: Option<String>,
    },
    /// Grant a pending request (FC-23).
    Grant {
        /// The request.
        introduction: Ulid,
        /// The grant's id.
        id: Ulid,
        /// What it allows; `dsip.invite` if empty.
        scope: Vec<Scope>,
        /// Until when, in Unix seconds.
        valid_until: u64,
    },
    /// Refuse a pending request (FC-24).
    RejectIntroduction {
        /// The request.
        introduction: Ulid,
        /// Why; `user.declined` unless given.
        reason: Option<Reason>,
    },
    /// Take back a grant (FC-26).
    Revoke {
        /// The grant.
        grant: Ulid,
    },
    /// Remember a contact token that is being given out (FC-27).
    IssueToken {
        /// The token.
        token: String,
        /// The id that the grant made from it will have.
        grant_id: Ulid,
    },
    /// Let an identity call without a grant, or no longer (FC-10).
    Allow {
        /// The identity.
        identity: Did,
        /// Whether it may.
        allowed: bool,
    },
    /// Demand first contact of whoever is not in the allow set, or no longer (FC-10).
    RequireFirstContact(bool),
    /// A device is known to have lost its delegation: what it is in ends (PTY-6).
    EndDelegation {
        /// The device.
        device: Did,
    },
}
