//! What the session rules read of a received message, and what its envelope proved about the sender.

use crate::wire::token::{About, AnsweredBy, Scope, Status};
use crate::wire::{self, Did, Message, Reason, Ulid};

/// A message that has been accepted by the pipeline, as the session rules see it.
///
/// It holds the members that transitions depend on, and nothing of the media: whoever drives the engine keeps offers and
/// selections by session, and acts on them when the engine says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its id. The id of an invite names the session (SES-1).
    pub id: Ulid,
    /// Who it is from, which the pipeline has bound to who signed (DEL-20): a device, or an identity that one speaks for.
    pub from: Did,
    /// Whom it is for.
    pub to: Option<Did>,
    /// When it ceases to be valid, in Unix seconds.
    pub expires_at: Option<u64>,
    /// Its type, with what only that type has.
    pub body: Body,
    /// What the envelope proved about the sender. `None` in a trace, which carries no envelopes: there every sender counts
    /// as a party (PTY-7).
    pub proof: Option<Proof>,
}

/// What a verified envelope proves about who speaks (§1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The device whose key signed.
    pub device: Did,
    /// The identity it is delegated for at this moment (DEL-24, PTY-6); the device itself without a delegation.
    pub identity: Did,
    /// Until when that delegation is valid, in Unix seconds; `None` if it needs none.
    pub until: Option<u64>,
    /// The relay whose verified `hello` owns the connection that the session's invite went out on; for a message of no
    /// session, the connection it came in on. A relay's own words count only from there (PTY-2).
    pub via_relay: Option<Did>,
}

impl Received {
    /// What the session rules read of `message`; `None` if it is of a type that is not theirs.
    ///
    /// An answer comes out as one whose media failed: set `media_ok` once it has been checked.
    #[must_use]
    pub fn of(message: &Message, proof: Option<Proof>) -> Option<Self> {
        let body = match message {
            Message::Invite(_) => Body::Invite,
            Message::Progress(m) => Body::Progress {
                session: m.session,
                status: m.status.clone(),
                ring_timeout: m.ring_timeout.map(u64::from),
                queue_timeout: m.queue_timeout.map(u64::from),
            },
            Message::Answer(m) => Body::Answer {
                session: m.session,
                answered_by: m.answered_by.clone(),
                in_reply_to: m.in_reply_to,
                media_ok: false,
            },
            Message::Reject(m) => {
                Body::Reject { session: m.session, reason: m.reason.clone(), in_reply_to: m.in_reply_to }
            }
            Message::Cancel(m) => Body::Cancel { session: m.session, reason: m.reason.clone() },
            Message::Update(m) => Body::Update { session: m.session, answered_by: m.answered_by.clone() },
            Message::Info(m) => Body::Info { session: m.session, about: m.about.clone() },
            Message::Bye(m) => Body::Bye { session: m.session, reason: m.reason.clone() },
            Message::Error(m) => {
                Body::Error { session: m.session, reason: m.reason.clone(), in_reply_to: m.in_reply_to }
            }
            Message::Introduction(m) => Body::Introduction { contact_token: m.contact_token.clone() },
            Message::Grant(m) => Body::Grant { session: m.session, scope: m.scope.clone(), valid_until: m.valid_until },
            Message::Hello(_)
            | Message::Subscribe(_)
            | Message::Notify(_)
            | Message::Publish(_)
            | Message::Unpublish(_)
            | Message::Provenance(_)
            | Message::KeyRotation(_)
            | Message::ReachabilityHint(_) => return None,
        };
        let common = message.common();
        let (id, from, to) = (common.id, common.from.clone(), message.to().cloned());
        Some(Self { id, from, to, expires_at: Some(common.expires_at), body, proof })
    }
}

impl Proof {
    /// Whether the sender is `whom` or a device delegated for it.
    #[must_use]
    pub fn is_bound_to(&self, whom: &Did) -> bool {
        self.device == *whom || self.identity == *whom
    }

    /// Whether the sender is the relay itself.
    #[must_use]
    pub fn is_relay(&self) -> bool {
        self.via_relay.as_ref() == Some(&self.device)
    }
}

/// The message types of the session engine, with the members that transitions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Starts a session.
    Invite,
    /// Pre-answer status.
    Progress {
        /// The session.
        session: Ulid,
        /// What it reports, as received.
        status: Status,
        /// How long the callee will ring, in seconds.
        ring_timeout: Option<u64>,
        /// How long the callee will queue us, in seconds.
        queue_timeout: Option<u64>,
    },
    /// Accepts the invite, or an update.
    Answer {
        /// The session.
        session: Ulid,
        /// Who or what answers, as received.
        answered_by: AnsweredBy,
        /// The update answered; none for the invite.
        in_reply_to: Option<Ulid>,
        /// Whether the selection passed the checks of the offer and the media binding (NEG, WEB-103). Checked before the
        /// engine sees the answer, so that one that fails cannot move the session (INI-20).
        media_ok: bool,
    },
    /// Refuses an invite, an update or an introduction.
    Reject {
        /// The session, or the introduction.
        session: Ulid,
        /// Why, as received.
        reason: Reason,
        /// The update refused; none for an invite or introduction.
        in_reply_to: Option<Ulid>,
    },
    /// Withdraws the invite.
    Cancel {
        /// The session.
        session: Ulid,
        /// Why, as received.
        reason: Reason,
    },
    /// Offers new parameters.
    Update {
        /// The session.
        session: Ulid,
        /// Who or what is there from now on.
        answered_by: Option<AnsweredBy>,
    },
    /// Binding data inside a session.
    Info {
        /// The session.
        session: Ulid,
        /// Which binding it is for.
        about: About,
    },
    /// Ends the session.
    Bye {
        /// The session.
        session: Ulid,
        /// Why, as received.
        reason: Reason,
    },
    /// Reports a failure.
    Error {
        /// The session, if it is about one.
        session: Option<Ulid>,
        /// Why, as received.
        reason: Reason,
        /// The message at fault.
        in_reply_to: Option<Ulid>,
    },
    /// Asks for permission to make contact.
    Introduction {
        /// A token that its recipient may have issued.
        contact_token: Option<String>,
    },
    /// Gives permission to make contact.
    Grant {
        /// The introduction it answers.
        session: Ulid,
        /// What it allows.
        scope: Vec<Scope>,
        /// Until when, in Unix seconds.
        valid_until: u64,
    },
}

impl Body {
    /// The message's type.
    #[must_use]
    pub const fn kind(&self) -> wire::Kind {
        match self {
            Self::Invite => wire::Kind::Invite,
            Self::Progress { .. } => wire::Kind::Progress,
            Self::Answer { .. } => wire::Kind::Answer,
            Self::Reject { .. } => wire::Kind::Reject,
            Self::Cancel { .. } => wire::Kind::Cancel,
            Self::Update { .. } => wire::Kind::Update,
            Self::Info { .. } => wire::Kind::Info,
            Self::Bye { .. } => wire::Kind::Bye,
            Self::Error { .. } => wire::Kind::Error,
            Self::Introduction { .. } => wire::Kind::Introduction,
            Self::Grant { .. } => wire::Kind::Grant,
        }
    }

    /// What the member `session` says.
    #[must_use]
    pub const fn session(&self) -> Option<Ulid> {
        match self {
            Self::Invite | Self::Introduction { .. } => None,
            Self::Error { session, .. } => *session,
            Self::Progress { session, .. }
            | Self::Answer { session, .. }
            | Self::Reject { session, .. }
            | Self::Cancel { session, .. }
            | Self::Update { session, .. }
            | Self::Info { session, .. }
            | Self::Bye { session, .. }
            | Self::Grant { session, .. } => Some(*session),
        }
    }
}
