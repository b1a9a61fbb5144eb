//! The stages that need no key: versions (12), semantics (14) and what the registries make of a message (01 §8 to §10).

use std::collections::BTreeSet;
use std::fmt;

use super::verdict::{Code, Verdict};
use crate::identity::{KeyId, check_rotation};
use crate::wire::json::Json;
use crate::wire::media::{MediaDescriptor, Transport, is_subset};
use crate::wire::message::{Answer, MAX_INTRODUCTION_BYTES};
use crate::wire::reason::Fallback;
use crate::wire::token::{AnsweredBy, Integrity, ProfileId, Status, Version, version_numbers};
use crate::wire::{Kind, Message, Reason, Ulid};

/// What this receiver speaks (01 §8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supported {
    core: Version,
    known: BTreeSet<ProfileId>,
}

/// What the receiver remembers that a stateless check cannot know. Whatever is absent is not checked.
#[derive(Clone, Copy, Default)]
pub struct Connection<'a> {
    /// Whether a `hello` was verified on this connection; `None` where there is no such thing (stage 11b).
    pub hello_verified: Option<bool>,
    /// The id of the client `hello` this connection sent (SEM-1).
    pub sent_hello_id: Option<Ulid>,
    /// Finds the offer that an answer selects from (SEM-2).
    pub offer: Option<FindOffer<'a>>,
    /// The introductions we sent and had no grant for yet (SEM-5).
    pub introductions: Option<&'a BTreeSet<Ulid>>,
}

/// Finds the offer that an answer selects from.
pub type FindOffer<'a> = &'a dyn Fn(&Answer) -> Option<Offer<'a>>;

/// An offer, as far as a selection is measured against it.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The offered media.
    pub media: &'a [MediaDescriptor],
    /// The offered transports.
    pub transports: &'a [Transport],
}

/// What the registries make of a message's tokens (01 §10): what to act on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    /// The reason, with how it was arrived at (REG-1).
    pub reason: Option<(Reason, Fallback)>,
    /// Who answered (REG-3).
    pub answered_by: Option<AnsweredBy>,
    /// The progress (REG-4).
    pub status: Option<Status>,
    /// How far a publisher's signature covers the media (REG-5).
    pub integrity: Option<Integrity>,
}

/// Something odd about a message that was accepted all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Warning {
    /// A registered reason on a type it is not listed for (REG-2).
    ReasonNotValidOnType,
    /// An unknown integrity mode (REG-5).
    IntegrityModeUnknown,
}

impl Supported {
    /// Core 1.0 with these profiles and extensions.
    #[must_use]
    pub fn new(known: impl IntoIterator<Item = ProfileId>) -> Self {
        Self::with_core(Version::CORE, known)
    }

    pub(crate) fn with_core(core: Version, known: impl IntoIterator<Item = ProfileId>) -> Self {
        Self { core, known: known.into_iter().collect() }
    }

    /// Stage 12, on the block as it was received: a malformed one is left for stage 13 to refuse (VER-1).
    pub(crate) fn negotiate(&self, dsip: &Json<'_>) -> Result<(), Verdict> {
        let number = |name| dsip.get(name).and_then(Json::as_str).and_then(version_numbers);
        let (Some(core), Some(min_core)) = (number("core"), number("min_core")) else { return Ok(()) };
        let refuse = |reason| Err(Verdict::with_reason(Code::VersionUnsupported, reason));
        let ours = self.core.numbers();
        if core.0 != ours.0 || min_core > ours {
            return refuse(Reason::SESSION_UNSUPPORTED_CORE_VERSION); // VER-2
        }
        let list = |name| dsip.get(name).and_then(Json::as_array).unwrap_or_default();
        let knows = |id: &Json<'_>| id.as_str().is_some_and(|id| self.known.iter().any(|known| known.as_str() == id));
        if !list("critical").iter().all(knows) {
            return refuse(Reason::SESSION_UNSUPPORTED_CRITICAL_EXTENSION); // VER-3
        }
        let profiles = list("profiles");
        if !profiles.is_empty() && !profiles.iter().any(knows) {
            return refuse(Reason::SESSION_UNSUPPORTED_PROFILE_VERSION); // VER-4
        }
        Ok(())
    }
}

impl Default for Supported {
    /// Core 1.0 with interactive media.
    fn default() -> Self {
        Self::new([ProfileId::INTERACTIVE_MEDIA])
    }
}

/// Stage 14: each check applies to its own type, and is skipped where the receiver does not know what it needs.
pub(crate) fn semantics(
    message: &Message,
    connection: &Connection<'_>,
    size: Option<usize>,
    kid: Option<&KeyId>,
) -> Result<(), Verdict> {
    let refuse_if = |wrong: bool, code| if wrong { Err(Verdict::new(code)) } else { Ok(()) };
    match message {
        // SEM-1
        Message::Hello(hello) => {
            let mismatch = hello.in_reply_to.zip(connection.sent_hello_id).is_some_and(|(reply, sent)| reply != sent);
            refuse_if(mismatch, Code::HelloInReplyToMismatch)
        }
        // SEM-2
        Message::Answer(answer) => {
            let offer = connection.offer.and_then(|find| find(answer));
            let fits = offer
                .is_none_or(|offer| is_subset((&answer.media, &answer.transports), (offer.media, offer.transports)));
            refuse_if(!fits, Code::SelectionNotSubset)
        }
        // SEM-3
        Message::Subscribe(subscribe) => {
            let over = |cap| u64::from(subscribe.expires_in) > cap;
            if subscribe.events.iter().filter_map(|event| event.lifetime_cap()).any(over) {
                let reason = Reason::POLICY_SUBSCRIPTION_LIFETIME;
                return Err(Verdict::with_reason(Code::SubscriptionLifetimeExceeded, reason));
            }
            Ok(())
        }
        // SEM-4
        Message::Introduction(_) => {
            refuse_if(size.is_some_and(|size| size > MAX_INTRODUCTION_BYTES), Code::IntroductionTooLarge)
        }
        // SEM-5
        Message::Grant(grant) => {
            let unknown = connection.introductions.is_some_and(|sent| !sent.contains(&grant.session));
            refuse_if(unknown, Code::GrantUnknownIntroduction)
        }
        // SEM-6
        Message::KeyRotation(rotation) => check_rotation(rotation, kid).map_err(|error| Verdict::new(error.into())),
        Message::Invite(_)
        | Message::Progress(_)
        | Message::Reject(_)
        | Message::Cancel(_)
        | Message::Update(_)
        | Message::Info(_)
        | Message::Bye(_)
        | Message::Error(_)
        | Message::Notify(_)
        | Message::Publish(_)
        | Message::Unpublish(_)
        | Message::Provenance(_)
        | Message::ReachabilityHint(_) => Ok(()),
    }
}

impl Effective {
    /// Looks up the tokens of `message` (REG-1 to REG-6).
    pub(crate) fn of(message: &Message) -> (Self, Vec<Warning>) {
        let mut effective = Self::default();
        let mut warnings = Vec::new();
        let reason = match message {
            Message::Reject(m) => Some(&m.reason),
            Message::Cancel(m) => Some(&m.reason),
            Message::Bye(m) => Some(&m.reason),
            Message::Error(m) => Some(&m.reason),
            Message::Notify(m) => m.reason.as_ref(),
            Message::Answer(m) => {
                effective.answered_by = Some(m.answered_by.effective());
                None
            }
            Message::Update(m) => {
                effective.answered_by = m.answered_by.as_ref().map(AnsweredBy::effective);
                None
            }
            Message::Progress(m) => {
                effective.status = Some(m.status.effective());
                None
            }
            Message::Publish(m) => {
                effective.integrity = m.integrity.as_ref().map(Integrity::effective);
                if m.integrity.as_ref().is_some_and(|mode| !mode.is_registered()) {
                    warnings.push(Warning::IntegrityModeUnknown);
                }
                None
            }
            Message::Invite(_)
            | Message::Info(_)
            | Message::Hello(_)
            | Message::Introduction(_)
            | Message::Grant(_)
            | Message::Subscribe(_)
            | Message::Unpublish(_)
            | Message::Provenance(_)
            | Message::KeyRotation(_)
            | Message::ReachabilityHint(_) => None,
        };
        if let Some(reason) = reason {
            effective.reason = Some(reason.effective());
            let kind = message.kind();
            // REG-2: unregistered tokens and notifies never warn.
            if reason.is_registered() && kind != Kind::Notify && !reason.is_listed_for(kind) {
                warnings.push(Warning::ReasonNotValidOnType);
            }
        }
        (effective, warnings)
    }

    /// Whether the registries have nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Warning {
    /// The warning's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReasonNotValidOnType => "reason-not-valid-on-type",
            Self::IntegrityModeUnknown => "integrity-mode-unknown",
        }
    }
}

impl fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("hello_verified", &self.hello_verified)
            .field("sent_hello_id", &self.sent_hello_id)
            .finish_non_exhaustive()
    }
}
