//! Who opens the DTLS handshake (file 04, section 7).

use super::check::{Code, Description, Refusal};

/// A side's part in the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// Sends the first flight.
    Client,
    /// Waits for it.
    Server,
}

/// The DTLS roles that an offer and its answer agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// The side that wrote the offer.
    pub offerer: DtlsRole,
    /// The side that wrote the answer.
    pub answerer: DtlsRole,
}

/// The roles that the two `a=setup` values stand for. The offer is judged first: a bad one is refused as an offer.
pub fn roles(offer_setup: &str, answer_setup: &str) -> Result<Roles, Refusal> {
    let refused = |of| Refusal { code: Code::SetupInvalid, of, section: None };
    if offer_setup != "actpass" {
        return Err(refused(Description::Offer));
    }
    // WEB-40: senders answer `active`; a receiver also takes `passive`.
    match answer_setup {
        "active" => Ok(Roles { offerer: DtlsRole::Server, answerer: DtlsRole::Client }),
        "passive" => Ok(Roles { offerer: DtlsRole::Client, answerer: DtlsRole::Server }),
        _ => Err(refused(Description::Answer)),
    }
}

impl DtlsRole {
    /// `client` or `server`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_40_actpass_then_active_or_passive() {
        let roles_of = |offer, answer| roles(offer, answer).map(|r| (r.offerer.as_str(), r.answerer.as_str()));
        assert_eq!(roles_of("actpass", "active"), Ok(("server", "client")));
        assert_eq!(roles_of("actpass", "passive"), Ok(("client", "server")));
    }

    #[test]
    fn web_40_the_offer_is_judged_before_the_answer() {
        for (offer, answer, reason) in [
            ("actpass", "actpass", "media.failed"),
            ("actpass", "holdconn", "media.failed"),
            ("actpass", "", "media.failed"),
            ("active", "passive", "media.unsupported"),
            ("active", "holdconn", "media.unsupported"),
        ] {
            let refusal = roles(offer, answer).expect_err("refused");
            assert_eq!(
                (refusal.code.as_str(), refusal.reason().as_str()),
                ("binding-setup-invalid", reason),
                "{offer} {answer}"
            );
        }
    }
}
