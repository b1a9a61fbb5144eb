//! Reasons across the border: SIP status and Q.850 cause to DSIP token and back (file 05, sections 3 and 4).

use std::fmt;

use crate::wire::{Kind, Reason};

/// How far the call had come, which decides the message that carries a mapped reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before a final answer: `reject`.
    PreAnswer,
    /// In an established call: `bye`.
    Active,
    /// Reaching the far side at all: `error`.
    Transport,
}

/// What a foreign condition becomes on the DSIP side. Foreign numbers cross in `detail` alone (GW-66).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The reason token.
    pub reason: Reason,
    /// The type of the message that carries it.
    pub carry: Kind,
    /// The original code, or the successor of a moved identity.
    pub detail: Option<String>,
}

/// What a DSIP reason becomes in a SIP response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outbound {
    /// The SIP status.
    pub status: u16,
    /// The Q.850 cause, where the table has one.
    pub q850: Option<u16>,
    /// Whether a `Retry-After` header goes along (GW-74).
    pub retry_after: bool,
}

/// The `Reason: DSIP;text="<token>"` header, with the literal token, registered or not (GW-70).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header(pub Reason);

/// The tokens that only make sense before an answer (GW-65).
const ATTEMPT_TOKENS: [Reason; 8] = [
    Reason::ENDPOINT_BUSY,
    Reason::ENDPOINT_UNAVAILABLE,
    Reason::IDENTITY_UNKNOWN,
    Reason::IDENTITY_NOT_IN_SERVICE,
    Reason::IDENTITY_MOVED,
    Reason::SESSION_CANCELLED,
    Reason::USER_DECLINED,
    Reason::POLICY_BLOCKED,
];

/// What a SIP status, a Q.850 cause or both mean, with the number's new holder if the network named one.
#[must_use]
pub fn inbound(status: Option<u16>, q850: Option<u16>, phase: Phase, moved_to: Option<&str>) -> Inbound {
    let by_cause = q850.and_then(|cause| Some((from_q850(cause)?, format!("Q.850 {cause}"))));
    let by_status = || status.and_then(|status| Some((from_status(status)?, format!("SIP {status}"))));
    let (mut reason, mut detail) = match by_cause.or_else(by_status) {
        // GW-60, GW-61
        Some((reason, detail)) => (reason, Some(detail)),
        None => match (status, q850) {
            // GW-62
            (None, None) => (Reason::USER_HANGUP, None),
            // GW-63
            (Some(status), _) => (Reason::GATEWAY_MAPPED, Some(format!("SIP {status}"))),
            (None, Some(cause)) => (Reason::GATEWAY_MAPPED, Some(format!("Q.850 {cause}"))),
        },
    };
    // GW-64
    if let Some(successor) = moved_to.filter(|_| reason == Reason::IDENTITY_NOT_IN_SERVICE) {
        (reason, detail) = (Reason::IDENTITY_MOVED, Some(successor.to_owned()));
    }
    // GW-65
    if phase == Phase::Active && ATTEMPT_TOKENS.contains(&reason) {
        // The detail stays: no attempt token comes out of the tables without one.
        reason = Reason::GATEWAY_MAPPED;
    }
    Inbound { reason, carry: phase.carry(), detail }
}

/// The SIP response for a DSIP refusal before the answer (GW-71, GW-72).
#[must_use]
pub fn outbound(reason: &Reason) -> Outbound {
    let (status, q850) = registered(reason).unwrap_or_else(|| by_category(reason));
    let retry_after = [Reason::POLICY_RATE_LIMITED, Reason::TRANSPORT_RATE_LIMITED].contains(reason);
    Outbound { status, q850, retry_after }
}

/// The Q.850 cause of the BYE that a DSIP reason ends an established call with (GW-73, table 4c).
#[must_use]
pub fn outbound_bye(reason: &Reason) -> u16 {
    match reason.as_str() {
        "media.failed" => 47,
        "policy.terminated" => 31,
        "user.hangup" => 16,
        // GW-97
        _ if reason.category() == "session" => 16,
        _ => registered(reason).and_then(|(_, cause)| cause).unwrap_or(16),
    }
}

/// Table 3a.
fn from_q850(cause: u16) -> Option<Reason> {
    Some(match cause {
        1 | 28 => Reason::IDENTITY_UNKNOWN,
        16 | 31 => Reason::USER_HANGUP,
        17 => Reason::ENDPOINT_BUSY,
        18..=20 => Reason::ENDPOINT_UNAVAILABLE,
        21 => Reason::USER_DECLINED,
        22 => Reason::IDENTITY_NOT_IN_SERVICE,
        34 | 38 | 41..=44 => Reason::GATEWAY_UNREACHABLE,
        47 => Reason::MEDIA_FAILED,
        63 | 65 | 79 => Reason::MEDIA_UNSUPPORTED,
        102 => Reason::SESSION_TIMEOUT,
        _ => return None,
    })
}

/// Table 3b.
fn from_status(status: u16) -> Option<Reason> {
    Some(match status {
        403 => Reason::POLICY_BLOCKED,
        404 | 484 | 604 => Reason::IDENTITY_UNKNOWN,
        408 | 480 => Reason::ENDPOINT_UNAVAILABLE,
        410 => Reason::IDENTITY_NOT_IN_SERVICE,
        415 | 488 | 606 => Reason::MEDIA_UNSUPPORTED,
        486 | 600 => Reason::ENDPOINT_BUSY,
        487 => Reason::SESSION_CANCELLED,
        502..=504 => Reason::GATEWAY_UNREACHABLE,
        603 => Reason::USER_DECLINED,
        _ => return None,
    })
}

/// Table 4a.
fn registered(reason: &Reason) -> Option<(u16, Option<u16>)> {
    let (status, cause) = match reason.as_str() {
        "user.declined" | "user.blocked" => (603, 21),
        "user.no-answer" => (480, 19),
        "user.cancelled" => return Some((487, None)),
        "endpoint.busy" => (486, 17),
        "endpoint.unavailable" => (480, 18),
        "endpoint.capability" => (488, 79),
        "identity.not-in-service" | "identity.moved" => (410, 22),
        "identity.suspended" => (403, 21),
        "identity.unknown" | "transport.unknown-recipient" => (404, 1),
        "session.expired" | "session.timeout" => (480, 102),
        "session.failed" | "gateway.mapped" => (500, 41),
        "media.unsupported" | "media.offer-required" | "media.encryption-required" => (488, 65),
        "policy.blocked" | "policy.trust-insufficient" | "policy.first-contact-required" => (403, 21),
        // GW-96
        "policy.rate-limited" | "transport.rate-limited" => (503, 42),
        "policy.terminated" => (480, 31),
        "transport.envelope-too-large"
        | "transport.hello-required"
        | "transport.hello-rejected"
        | "transport.routing-refused" => (503, 41),
        "gateway.unreachable" => (503, 38),
        _ => return None,
    };
    Some((status, Some(cause)))
}

/// Table 4b.
fn by_category(reason: &Reason) -> (u16, Option<u16>) {
    let (status, cause) = match reason.category() {
        "user" => (603, 21),
        "endpoint" => (480, 18),
        "identity" => (404, 1),
        "media" => (488, 65),
        "policy" => (403, 21),
        "transport" => (503, 41),
        "gateway" => (503, 38),
        // `session`, and GW-72
        _ => (500, 41),
    };
    (status, Some(cause))
}

impl Phase {
    fn carry(self) -> Kind {
        match self {
            Self::PreAnswer => Kind::Reject,
            Self::Active => Kind::Bye,
            Self::Transport => Kind::Error,
        }
    }
}

impl fmt::Display for Header {
    /// The header's value. Tokens hold no character that a quoted string would have to escape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DSIP;text=\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Reason {
        text.parse().expect("a reason")
    }

    #[test]
    fn gw_60_every_cause_of_table_3a() {
        for (causes, token) in [
            (&[1u16, 28][..], "identity.unknown"),
            (&[16, 31], "user.hangup"),
            (&[17], "endpoint.busy"),
            (&[18, 19, 20], "endpoint.unavailable"),
            (&[21], "user.declined"),
            (&[22], "identity.not-in-service"),
            (&[34, 38, 41, 42, 43, 44], "gateway.unreachable"),
            (&[47], "media.failed"),
            (&[63, 65, 79], "media.unsupported"),
            (&[102], "session.timeout"),
        ] {
            for cause in causes {
                // GW-60: the cause beats the status.
                let mapped = inbound(Some(480), Some(*cause), Phase::PreAnswer, None);
                assert_eq!((mapped.reason.as_str(), mapped.carry), (token, Kind::Reject), "{cause}");
                assert_eq!(mapped.detail, Some(format!("Q.850 {cause}")));
            }
        }
    }

    #[test]
    fn gw_61_every_status_of_table_3b() {
        for (statuses, token) in [
            (&[403u16][..], "policy.blocked"),
            (&[404, 484, 604], "identity.unknown"),
            (&[408, 480], "endpoint.unavailable"),
            (&[410], "identity.not-in-service"),
            (&[415, 488, 606], "media.unsupported"),
            (&[486, 600], "endpoint.busy"),
            (&[487], "session.cancelled"),
            (&[502, 503, 504], "gateway.unreachable"),
            (&[603], "user.declined"),
        ] {
            for status in statuses {
                // GW-61: an unmapped cause does not stand in the way.
                let mapped = inbound(Some(*status), Some(99), Phase::PreAnswer, None);
                assert_eq!((mapped.reason.as_str(), mapped.detail), (token, Some(format!("SIP {status}"))));
            }
        }
    }

    #[test]
    fn gw_62_and_63_nothing_known_and_nothing_mapped() {
        let hangup = inbound(None, None, Phase::Active, None);
        assert_eq!((hangup.reason, hangup.carry, hangup.detail), (Reason::USER_HANGUP, Kind::Bye, None));
        for (status, cause, detail) in
            [(Some(500), None, "SIP 500"), (Some(500), Some(99), "SIP 500"), (None, Some(99), "Q.850 99")]
        {
            let mapped = inbound(status, cause, Phase::PreAnswer, None);
            assert_eq!((mapped.reason, mapped.detail.as_deref()), (Reason::GATEWAY_MAPPED, Some(detail)));
        }
    }

    #[test]
    fn gw_64_a_successor_turns_not_in_service_into_moved() {
        let moved = inbound(Some(410), None, Phase::PreAnswer, Some("tel:+15557654321"));
        assert_eq!((moved.reason, moved.detail.as_deref()), (Reason::IDENTITY_MOVED, Some("tel:+15557654321")));
        assert_eq!(inbound(Some(404), None, Phase::PreAnswer, Some("tel:+1")).reason, Reason::IDENTITY_UNKNOWN);
    }

    #[test]
    fn gw_65_attempt_tokens_have_no_place_in_an_established_call() {
        for cause in [1, 17, 18, 21, 22] {
            let mapped = inbound(None, Some(cause), Phase::Active, None);
            assert_eq!((mapped.reason, mapped.detail), (Reason::GATEWAY_MAPPED, Some(format!("Q.850 {cause}"))));
        }
        for status in [403, 487] {
            assert_eq!(inbound(Some(status), None, Phase::Active, None).reason, Reason::GATEWAY_MAPPED);
        }
        let moved = inbound(None, Some(22), Phase::Active, Some("tel:+1"));
        assert_eq!((moved.reason, moved.detail.as_deref()), (Reason::GATEWAY_MAPPED, Some("tel:+1")));
        assert_eq!(inbound(None, Some(41), Phase::Active, None).reason, Reason::GATEWAY_UNREACHABLE);
        assert_eq!(inbound(Some(503), None, Phase::Transport, None).carry, Kind::Error);
    }

    #[test]
    fn gw_71_every_token_of_table_4a() {
        for (tokens, status, q850) in [
            (&["user.declined", "user.blocked"][..], 603, Some(21)),
            (&["user.no-answer"], 480, Some(19)),
            (&["user.cancelled"], 487, None),
            (&["endpoint.busy"], 486, Some(17)),
            (&["endpoint.unavailable"], 480, Some(18)),
            (&["endpoint.capability"], 488, Some(79)),
            (&["identity.not-in-service", "identity.moved"], 410, Some(22)),
            (&["identity.suspended"], 403, Some(21)),
            (&["identity.unknown", "transport.unknown-recipient"], 404, Some(1)),
            (&["session.expired", "session.timeout"], 480, Some(102)),
            (&["session.failed", "gateway.mapped"], 500, Some(41)),
            (&["media.unsupported", "media.offer-required", "media.encryption-required"], 488, Some(65)),
            (&["policy.blocked", "policy.trust-insufficient", "policy.first-contact-required"], 403, Some(21)),
            (&["policy.rate-limited", "transport.rate-limited"], 503, Some(42)),
            (&["policy.terminated"], 480, Some(31)),
            (&["transport.envelope-too-large", "transport.hello-required"], 503, Some(41)),
            (&["transport.hello-rejected", "transport.routing-refused"], 503, Some(41)),
            (&["gateway.unreachable"], 503, Some(38)),
        ] {
            for text in tokens {
                let retry_after = text.ends_with(".rate-limited");
                assert_eq!(outbound(&token(text)), Outbound { status, q850, retry_after }, "{text}");
            }
        }
    }

    #[test]
    fn gw_72_unknown_tokens_go_by_category() {
        for (text, status, cause) in [
            ("user.stepped-out", 603, 21),
            ("endpoint.new", 480, 18),
            ("identity.new", 404, 1),
            ("session.new", 500, 41),
            ("media.failed", 488, 65),
            ("policy.new", 403, 21),
            ("transport.new", 503, 41),
            ("gateway.new", 503, 38),
            ("x-cc.queue-full", 500, 41),
        ] {
            assert_eq!(outbound(&token(text)), Outbound { status, q850: Some(cause), retry_after: false }, "{text}");
        }
    }

    #[test]
    fn gw_73_every_bye_has_a_cause() {
        for (text, cause) in [
            ("user.hangup", 16),
            ("session.already-answered", 16),
            ("session.cancelled", 16),
            // GW-97: although table 4a has 102 for it.
            ("session.timeout", 16),
            ("media.failed", 47),
            ("policy.terminated", 31),
            ("endpoint.busy", 17),
            ("user.cancelled", 16),
            ("x-cc.queue-full", 16),
        ] {
            assert_eq!(outbound_bye(&token(text)), cause, "{text}");
        }
    }

    #[test]
    fn gw_70_the_header_holds_the_literal_token() {
        assert_eq!(Header(token("x-cc.queue-full")).to_string(), r#"DSIP;text="x-cc.queue-full""#);
    }
}
