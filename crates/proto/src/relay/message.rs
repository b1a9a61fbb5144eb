//! What the relay's rules read of a message, and the text they pass on unread.

use std::sync::Arc;

use crate::envelope::Verified;
use crate::wire::token::Status;
use crate::wire::{self, Did, Envelope, Reason, Ulid, json};

/// A verified message as the routing rules see it: the members they decide on, and the received text, which leaves as
/// it came (ENV-5, RLY-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id. The id of an invite names the session (SES-1).
    pub id: Ulid,
    /// Who it is from: for session messages, a device (DEL-25).
    pub from: Did,
    /// Whom it is for: a device or an identity. A broadcast statement names nobody.
    pub to: Option<Did>,
    /// The session it belongs to; an invite has none, its id is the session.
    pub session: Option<Ulid>,
    /// What it replies to. With it, an answer or reject concerns an update, not the attempt (RLY-17).
    pub in_reply_to: Option<Ulid>,
    /// When it ceases to be valid, in Unix seconds.
    pub expires_at: Option<u64>,
    /// Its type, with what only that type has.
    pub body: Body,
    /// The received envelope.
    pub text: Arc<str>,
}

impl Message {
    /// What routing reads of a message that the pipeline accepted (RLY-1), with its text.
    #[must_use]
    pub fn of(verified: &Verified<wire::Message>) -> Self {
        Self::read(verified.message(), verified.text().clone())
    }

    /// The message that the relay itself once put away as `text`, having verified it; `None` if it is none. Nothing that a
    /// peer says goes this way.
    pub(super) fn put_away(text: Arc<str>) -> Option<Self> {
        let payload = Envelope::parse(&text).ok()?.payload_bytes();
        let message = wire::Message::from_json(json::parse(str::from_utf8(&payload).ok()?).ok()?.root).ok()?;
        Some(Self::read(&message, text))
    }

    /// A message that the relay itself says, with its text.
    pub(super) fn own(message: &wire::Message, text: Arc<str>) -> Self {
        Self::read(message, text)
    }

    fn read(message: &wire::Message, text: Arc<str>) -> Self {
        use wire::Message as M;
        let (body, in_reply_to) = match message {
            M::Introduction(_) => (Body::Introduction, None),
            M::Invite(_) => (Body::Invite, None),
            M::Progress(m) => (Body::Progress { status: m.status.clone() }, None),
            M::Answer(m) => (Body::Answer, m.in_reply_to),
            M::Reject(m) => (Body::Reject { reason: m.reason.clone() }, m.in_reply_to),
            M::Cancel(m) => (Body::Cancel { reason: m.reason.clone() }, None),
            other => (Body::Other(other.kind()), None),
        };
        let common = message.common();
        Self {
            id: common.id,
            from: common.from.clone(),
            to: message.to().cloned(),
            session: message.session().filter(|_| body != Body::Invite),
            in_reply_to,
            expires_at: Some(common.expires_at),
            body,
            text,
        }
    }
}

/// The types of message that routing tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Asks for permission to make contact; the one type that is never refused (RLY-60).
    Introduction,
    /// Starts an attempt.
    Invite,
    /// A leg reports progress.
    Progress {
        /// What it reports, as received.
        status: Status,
    },
    /// A leg answers.
    Answer,
    /// A leg refuses.
    Reject {
        /// Why.
        reason: Reason,
    },
    /// The initiator withdraws.
    Cancel {
        /// Why.
        reason: Reason,
    },
    /// Any other type: routed by its `to` alone.
    Other(wire::Kind),
}

impl Body {
    /// The message's type.
    #[must_use]
    pub const fn kind(&self) -> wire::Kind {
        match self {
            Self::Introduction => wire::Kind::Introduction,
            Self::Invite => wire::Kind::Invite,
            Self::Progress { .. } => wire::Kind::Progress,
            Self::Answer => wire::Kind::Answer,
            Self::Reject { .. } => wire::Kind::Reject,
            Self::Cancel { .. } => wire::Kind::Cancel,
            Self::Other(kind) => *kind,
        }
    }
}
