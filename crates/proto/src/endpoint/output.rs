//! What the engine asks of the world, in the order it is to be done.

use crate::wire::token::{About, AnsweredBy, Scope, Status};
use crate::wire::{self, Did, Reason, Ulid};

/// One thing to do. The sequence of them is what the state vectors compare (README V.7); those marked *beside the trace*
/// are left out there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Complete this message, sign it and send it.
    Send(Send),
    /// A timer started, stopped or fired. The engine keeps its own time ([`Engine::wake`](super::Engine::wake)); this
    /// only tells.
    Timer {
        /// Whose.
        session: Ulid,
        /// Which.
        name: TimerName,
        /// What happened to it.
        event: TimerEvent,
    },
    /// An instruction to the media layer. There is no other way to start media (SES-7).
    Media {
        /// The session.
        session: Ulid,
        /// What to do.
        action: Media,
    },
    /// Something for the user to know.
    Ui {
        /// The session or introduction it is about.
        about: Option<Ulid>,
        /// What.
        event: Ui,
    },
    /// Hand the `info` just received to the binding it is for (INF-2).
    Info {
        /// The session.
        session: Ulid,
        /// Which binding.
        about: About,
    },
    /// The message just received is ignored.
    Drop(Drop),
    /// The command just given is not carried out; nothing else happened.
    Refused(Refused),
    /// [`Contacts`](super::Contacts) changed: store them before what follows leaves. *Beside the trace.*
    ContactsChanged,
    /// Somebody who has no say in a session spoke in it (PTY-5). *Beside the trace.*
    Intrusion {
        /// Who signed.
        signer: Did,
        /// The session it named.
        session: Option<Ulid>,
        /// What it sent.
        kind: wire::Kind,
    },
}

/// A message to send: what the rules decide of it. Ids, times, media and claims are added by whoever signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Send {
    /// An invite, whose id is `session`.
    Invite {
        /// Whom.
        to: Did,
        /// The session.
        session: Ulid,
        /// A held grant (FC-33).
        grant: Option<Ulid>,
    },
    /// Progress.
    Progress {
        /// The caller's device.
        to: Did,
        /// The session.
        session: Ulid,
        /// What to report.
        status: Status,
        /// How long we ring, as requested (TMR-12).
        ring_timeout: Option<u64>,
    },
    /// An answer to the invite, or to an update.
    Answer {
        /// The peer's device.
        to: Did,
        /// The session.
        session: Ulid,
        /// Who or what answers.
        answered_by: AnsweredBy,
        /// The update.
        in_reply_to: Option<Ulid>,
    },
    /// A refusal of an invite, update or introduction.
    Reject {
        /// Whom.
        to: Did,
        /// The session, or the introduction.
        session: Ulid,
        /// Why.
        reason: Reason,
        /// The update.
        in_reply_to: Option<Ulid>,
    },
    /// A cancel.
    Cancel {
        /// The address that the invite went to (SES-6).
        to: Did,
        /// The session.
        session: Ulid,
        /// Why.
        reason: Reason,
    },
    /// An offer of new parameters.
    Update {
        /// The peer's device.
        to: Did,
        /// The session.
        session: Ulid,
        /// The message's id.
        id: Ulid,
        /// Who or what is here from now on.
        answered_by: Option<AnsweredBy>,
    },
    /// Binding data.
    Info {
        /// The peer's device.
        to: Did,
        /// The session.
        session: Ulid,
    },
    /// The end of a session, or the release of a leg.
    Bye {
        /// The device.
        to: Did,
        /// The session.
        session: Ulid,
        /// Why.
        reason: Reason,
    },
    /// An error.
    Error {
        /// The sender of the message at fault.
        to: Did,
        /// The session; none where the reason is of the transport.
        session: Option<Ulid>,
        /// Why.
        reason: Reason,
        /// The message at fault.
        in_reply_to: Ulid,
    },
    /// An introduction.
    Introduction {
        /// Whom.
        to: Did,
        /// The message's id.
        id: Ulid,
        /// What for.
        purpose: Option<String>,
        /// A token that the recipient issued.
        contact_token: Option<String>,
    },
    /// A grant.
    Grant {
        /// The grantee.
        to: Did,
        /// The introduction.
        session: Ulid,
        /// The message's id, which is the grant's.
        id: Ulid,
        /// What it allows.
        scope: Vec<Scope>,
        /// Until when, in Unix seconds.
        valid_until: u64,
    },
}

/// The timers of §8.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerName {
    /// Nobody has reacted to the invite yet (TMR-1).
    Establish,
    /// The callee rings (TMR-2).
    Ring,
    /// The callee holds us in a queue (TMR-3).
    Queue,
    /// We ring (TMR-4).
    RingLocal,
}

impl TimerName {
    /// The name in the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Establish => "T-Establish",
            Self::Ring => "T-Ring",
            Self::Queue => "T-Queue",
            Self::RingLocal => "T-Ring-Local",
        }
    }
}

/// What happened to a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerEvent {
    /// It runs for so many seconds, in place of an earlier run.
    Start(u64),
    /// It no longer runs.
    Stop,
    /// It ran out.
    Fire,
}

/// What the media layer is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Open the path: the initiator has accepted a signed answer, or the responder has sent one (SES-7).
    Start,
    /// Close the path.
    Stop,
    /// Put the update in force that was just answered.
    ApplyUpdate,
}

/// What the user is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ui {
    /// A call came in. Nothing rings yet: decide, then [`Command::Alert`](super::Command::Alert) or refuse.
    Offered,
    /// It rang, and the caller gave up.
    MissedCall,
    /// The peer offers new parameters.
    UpdateOffered,
    /// Both called each other at once with one id; trying again after a random one to four seconds may help (GLR-5).
    GlareRetry,
    /// What the called side reports, as an effective value.
    Progress(Status),
    /// Who or what is there, as an effective value (ANS-2).
    Answered(AnsweredBy),
    /// The session ended.
    Ended(Reason),
    /// Our update was refused; the old parameters stay.
    UpdateRejected(Reason),
    /// An error came in.
    Error(Reason),
    /// Somebody asks for permission to make contact. Belongs among the requests, never among the calls (FC-2).
    IntroductionReceived {
        /// The identity.
        from: Did,
        /// Whether a contact token of ours admitted it at once.
        token: bool,
    },
    /// We may now make contact.
    Granted {
        /// The identity that lets us.
        by: Did,
    },
    /// Our introduction was refused.
    IntroductionRejected(Reason),
}

/// Why a message is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drop {
    /// Its session has ended (RX-7).
    EndedSession,
    /// No binding here is called that (INF-2).
    UnknownAbout,
    /// It replies to an update that is not open (UPD-12).
    StaleUpdateReply,
    /// The introduction came before (FC-20).
    DuplicateIntroduction,
    /// It answers no introduction of ours (FC-31).
    UnknownIntroduction,
    /// An error from somebody without a say; errors are never answered (SES-8, PTY-5).
    NotAParty,
}

impl Drop {
    /// The label in a trace.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndedSession => "ended-session",
            Self::UnknownAbout => "unknown-about",
            Self::StaleUpdateReply => "stale-update-reply",
            Self::DuplicateIntroduction => "duplicate-introduction",
            Self::UnknownIntroduction => "unknown-introduction",
            Self::NotAParty => "not-a-party",
        }
    }
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such session (RSP-23).
    #[error("there is no such session")]
    UnknownSession,
    /// The session's state does not allow it (INI-14, RSP-14, ACT-6).
    #[error("the session is not in a state that allows this")]
    InvalidState,
    /// An update is open already (UPD-2).
    #[error("an update is open already")]
    UpdatePending,
    /// No such update of the peer's is open (UPD-9).
    #[error("the peer has no such update open")]
    NoPendingUpdate,
    /// No such request is pending (FC-25).
    #[error("no such introduction is pending")]
    UnknownIntroduction,
    /// No such grant was issued (FC-26).
    #[error("no such grant was issued")]
    UnknownGrant,
    /// A bound of this endpoint is reached.
    #[error("there is no room for more")]
    TooMany,
}

impl Refused {
    /// The label in a trace.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSession => "unknown-session",
            Self::InvalidState => "invalid-state",
            Self::UpdatePending => "update-pending",
            Self::NoPendingUpdate => "no-pending-update",
            Self::UnknownIntroduction => "unknown-introduction",
            Self::UnknownGrant => "unknown-grant",
            Self::TooMany => "too-many",
        }
    }
}
