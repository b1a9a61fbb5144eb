//! What a crossing loses, said out loud (file 05, section 7).

use serde::Serialize;

use super::{Attestation, Direction};

/// What is known about one crossing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Which way the call goes.
    pub direction: Direction,
    /// Whether the trunk's media is encrypted.
    pub trunk_srtp: bool,
    /// Whether the caller's DSIP identity can be signed into the PSTN (file 05, section 10).
    pub identity_assertable: bool,
    /// The caller's attestation. Pass [`Attestation::None`] when it did not verify: a level nobody can check is none
    /// (GW-117).
    pub attestation: Attestation,
    /// Whether the session carries a media policy.
    pub policy_present: bool,
}

/// One guarantee that ends at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// GW-110.
    NoSrtpOnTrunk,
    /// GW-111.
    IdentityNotAssertable,
    /// GW-112.
    NoAttestation,
    /// GW-113.
    PolicyUnenforceable,
}

impl Facts {
    /// What is lost, in the order of the rules.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        let outbound = self.direction == Direction::Outbound;
        let conditions = [
            (Loss::NoSrtpOnTrunk, !self.trunk_srtp),
            (Loss::IdentityNotAssertable, outbound && !self.identity_assertable),
            (Loss::NoAttestation, !outbound && self.attestation == Attestation::None),
            (Loss::PolicyUnenforceable, self.policy_present),
        ];
        conditions.into_iter().filter(|(_, lost)| *lost).map(|(loss, _)| loss).collect()
    }

    /// The `detail` of the one `error` `gateway.downgraded` that the DSIP leg gets for this crossing: the compact JSON
    /// text of an object. `None` when nothing is lost, and then nothing is sent (GW-115, GW-116).
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        let losses = self.losses();
        (!losses.is_empty()).then(|| serde_json::json!({ "losses": losses }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(direction: Direction) -> Facts {
        Facts {
            direction,
            trunk_srtp: false,
            identity_assertable: false,
            attestation: Attestation::None,
            policy_present: true,
        }
    }

    #[test]
    fn gw_110_to_113_losses_come_in_order() {
        use Loss::{IdentityNotAssertable, NoAttestation, NoSrtpOnTrunk, PolicyUnenforceable};
        let outbound = facts(Direction::Outbound);
        assert_eq!(outbound.losses(), [NoSrtpOnTrunk, IdentityNotAssertable, PolicyUnenforceable]);
        let inbound = facts(Direction::Inbound);
        assert_eq!(inbound.losses(), [NoSrtpOnTrunk, NoAttestation, PolicyUnenforceable]);
        let attested = Facts { attestation: Attestation::C, trunk_srtp: true, policy_present: false, ..inbound };
        assert_eq!((attested.losses(), attested.detail()), (vec![], None));
    }

    #[test]
    fn gw_116_the_detail_is_compact_json_text() {
        let detail = Facts { policy_present: false, ..facts(Direction::Inbound) }.detail();
        assert_eq!(detail.as_deref(), Some(r#"{"losses":["no-srtp-on-trunk","no-attestation"]}"#));
    }
}
