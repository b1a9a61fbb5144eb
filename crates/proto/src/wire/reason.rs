//! The reason registry (`dsip-reason`, 01 §10.1): tokens, what an unknown one falls back to, and where each is listed.

use super::field::text;
use super::message::Kind;
use super::token::is_token;

text! {
    /// Why something was refused, withdrawn or ended: `category.condition`.
    Reason, is_reason, {
        /// A person refused.
        USER_DECLINED = "user.declined",
        /// Alerting ended with no reaction.
        USER_NO_ANSWER = "user.no-answer",
        /// Ordinary end of a call.
        USER_HANGUP = "user.hangup",
        /// The caller gave up.
        USER_CANCELLED = "user.cancelled",
        /// The recipient blocks this identity.
        USER_BLOCKED = "user.blocked",
        /// Will not alert: already in a session.
        ENDPOINT_BUSY = "endpoint.busy",
        /// Cannot take sessions now.
        ENDPOINT_UNAVAILABLE = "endpoint.unavailable",
        /// Lacks a capability that the invite requires.
        ENDPOINT_CAPABILITY = "endpoint.capability",
        /// The address is permanently closed.
        IDENTITY_NOT_IN_SERVICE = "identity.not-in-service",
        /// The identity moved; its successor may be in `detail`.
        IDENTITY_MOVED = "identity.moved",
        /// Suspended by its domain or organisation.
        IDENTITY_SUSPENDED = "identity.suspended",
        /// No such identity here; only where existence is public anyway.
        IDENTITY_UNKNOWN = "identity.unknown",
        /// The invite was received or processed too late.
        SESSION_EXPIRED = "session.expired",
        /// A timer of the initiator ran out.
        SESSION_TIMEOUT = "session.timeout",
        /// Lost a glare comparison.
        SESSION_GLARE = "session.glare",
        /// Another leg answered; never a missed call.
        SESSION_ANSWERED_ELSEWHERE = "session.answered-elsewhere",
        /// This answer came after another leg's was applied.
        SESSION_ALREADY_ANSWERED = "session.already-answered",
        /// Release of a leg whose answer crossed a cancel.
        SESSION_CANCELLED = "session.cancelled",
        /// A message that this state does not allow.
        SESSION_INVALID_STATE = "session.invalid-state",
        /// `session` names nothing known.
        SESSION_UNKNOWN_SESSION = "session.unknown-session",
        /// A second update while one is open.
        SESSION_UPDATE_PENDING = "session.update-pending",
        /// No common core version.
        SESSION_UNSUPPORTED_CORE_VERSION = "session.unsupported-core-version",
        /// No common profile.
        SESSION_UNSUPPORTED_PROFILE_VERSION = "session.unsupported-profile-version",
        /// A critical extension is unknown.
        SESSION_UNSUPPORTED_CRITICAL_EXTENSION = "session.unsupported-critical-extension",
        /// The signed negotiation shows a downgrade.
        SESSION_VERSION_DOWNGRADE_DETECTED = "session.version-downgrade-detected",
        /// The wire form is not supported.
        SESSION_UNSUPPORTED_WIRE_FORMAT = "session.unsupported-wire-format",
        /// Unspecified failure; also what a token of an unknown category stands for.
        SESSION_FAILED = "session.failed",
        /// Nothing acceptable in the offer.
        MEDIA_UNSUPPORTED = "media.unsupported",
        /// An invite or update without an offer.
        MEDIA_OFFER_REQUIRED = "media.offer-required",
        /// The offer is below the encryption floor.
        MEDIA_ENCRYPTION_REQUIRED = "media.encryption-required",
        /// The established media path failed.
        MEDIA_FAILED = "media.failed",
        /// The basis of trust is below the threshold.
        POLICY_TRUST_INSUFFICIENT = "policy.trust-insufficient",
        /// First contact has to be completed before inviting.
        POLICY_FIRST_CONTACT_REQUIRED = "policy.first-contact-required",
        /// Policy refused; also the uniform refusal of subscriptions.
        POLICY_BLOCKED = "policy.blocked",
        /// Ended by a policy authority.
        POLICY_TERMINATED = "policy.terminated",
        /// A policy rate was exceeded.
        POLICY_RATE_LIMITED = "policy.rate-limited",
        /// `expires_in` is above the cap.
        POLICY_SUBSCRIPTION_LIFETIME = "policy.subscription-lifetime",
        /// The envelope is over the binding's cap.
        TRANSPORT_ENVELOPE_TOO_LARGE = "transport.envelope-too-large",
        /// Traffic before a verified `hello`.
        TRANSPORT_HELLO_REQUIRED = "transport.hello-required",
        /// The `hello` failed signature, delegation or replay checks.
        TRANSPORT_HELLO_REJECTED = "transport.hello-rejected",
        /// Relay policy declines to route.
        TRANSPORT_ROUTING_REFUSED = "transport.routing-refused",
        /// No route from here to that identity or device.
        TRANSPORT_UNKNOWN_RECIPIENT = "transport.unknown-recipient",
        /// A relay rate was exceeded.
        TRANSPORT_RATE_LIMITED = "transport.rate-limited",
        /// The far side of a gateway is not reachable.
        GATEWAY_UNREACHABLE = "gateway.unreachable",
        /// The session goes on with weaker trust.
        GATEWAY_DOWNGRADED = "gateway.downgraded",
        /// A foreign condition; its own code may be in `detail`.
        GATEWAY_MAPPED = "gateway.mapped",
    }
}

/// How much of a reason token its receiver knows (REG-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// The token is registered.
    None,
    /// Only its category is known: behave as the category says.
    Category,
    /// Not even the category is known: it counts as `session.failed`.
    UnknownCategory,
}

impl Fallback {
    /// The word in a verdict's `effective` object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Category => "category",
            Self::UnknownCategory => "unknown-category",
        }
    }
}

impl Reason {
    /// The part before the first dot.
    #[must_use]
    pub fn category(&self) -> &str {
        self.as_str().split('.').next().unwrap_or_default()
    }

    /// The token to act on, and how it was arrived at (REG-1).
    #[must_use]
    pub fn effective(&self) -> (Self, Fallback) {
        if self.is_registered() {
            (self.clone(), Fallback::None)
        } else if CATEGORIES.contains(&self.category()) {
            (self.clone(), Fallback::Category)
        } else {
            (Self::SESSION_FAILED, Fallback::UnknownCategory)
        }
    }

    /// Whether the registry lists this token for messages of type `kind`; no list exists for unregistered ones.
    ///
    /// The lists guide senders; receivers only warn (RSN-1, REG-2).
    #[must_use]
    pub fn is_listed_for(&self, kind: Kind) -> bool {
        use Kind::{Bye, Cancel, Error, Reject};
        let kinds: &[Kind] = match self.as_str() {
            "user.declined" => &[Reject, Bye],
            "user.hangup" | "session.already-answered" | "session.cancelled" | "media.failed" | "policy.terminated" => {
                &[Bye]
            }
            "user.cancelled" | "session.timeout" | "session.answered-elsewhere" => &[Cancel],
            "user.no-answer"
            | "user.blocked"
            | "endpoint.busy"
            | "endpoint.unavailable"
            | "endpoint.capability"
            | "identity.moved"
            | "identity.suspended"
            | "session.expired"
            | "media.unsupported"
            | "media.offer-required"
            | "media.encryption-required"
            | "policy.trust-insufficient"
            | "policy.first-contact-required" => &[Reject],
            "identity.not-in-service"
            | "identity.unknown"
            | "session.unsupported-core-version"
            | "session.unsupported-profile-version"
            | "session.unsupported-critical-extension"
            | "policy.rate-limited"
            | "gateway.unreachable" => &[Reject, Error],
            "session.glare" | "policy.blocked" => &[Reject, Cancel],
            "session.failed" | "gateway.mapped" => &[Reject, Bye, Error],
            "session.invalid-state"
            | "session.unknown-session"
            | "session.update-pending"
            | "session.version-downgrade-detected"
            | "session.unsupported-wire-format"
            | "policy.subscription-lifetime"
            | "transport.envelope-too-large"
            | "transport.hello-required"
            | "transport.hello-rejected"
            | "transport.routing-refused"
            | "transport.unknown-recipient"
            | "transport.rate-limited"
            | "gateway.downgraded" => &[Error],
            _ => &[],
        };
        kinds.contains(&kind)
    }
}

const CATEGORIES: [&str; 8] = ["user", "endpoint", "identity", "session", "media", "policy", "transport", "gateway"];

fn is_reason(text: &str) -> bool {
    text.split_once('.').is_some_and(|(category, condition)| is_token(category) && is_token(condition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(text: &str) -> (String, &'static str) {
        let (reason, fallback) = text.parse::<Reason>().expect("well-formed").effective();
        (reason.to_string(), fallback.as_str())
    }

    #[test]
    fn reg_1_fallbacks() {
        assert_eq!(effective("user.declined"), ("user.declined".into(), "none"));
        assert_eq!(effective("endpoint.on-fire"), ("endpoint.on-fire".into(), "category"));
        assert_eq!(effective("x-contactcenter.queue-full"), ("session.failed".into(), "unknown-category"));
    }

    #[test]
    fn rsn_1_every_registered_token_is_listed_somewhere() {
        for reason in Reason::REGISTERED {
            assert!(
                [Kind::Reject, Kind::Cancel, Kind::Bye, Kind::Error].iter().any(|kind| reason.is_listed_for(*kind)),
                "{reason}"
            );
        }
    }

    #[test]
    fn reason_grammar() {
        for bad in ["user", "user.", ".declined", "User.declined", "a.b.c", "a.b\n"] {
            assert!(bad.parse::<Reason>().is_err(), "{bad:?}");
        }
    }
}
