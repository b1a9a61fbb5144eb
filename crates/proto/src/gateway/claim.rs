//! The PSTN caller is a claim; the gateway is the signer (GW-6, file 05 section 6).

use serde::Serialize;
use serde_json::{Map, Value};

use crate::wire::Did;

/// What SIP said about who calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The `From` number.
    pub number: String,
    /// What the `Identity` header came to; `None` without one.
    pub passport: Option<Passport>,
    /// The calling name from a database: unverified, and never part of the attestation (GW-99).
    pub cnam: Option<String>,
}

/// The outcome of checking an `Identity` header (RFC 8224) and its PASSporT (RFC 8225).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passport {
    /// The level its signer claims.
    pub attestation: Attestation,
    /// Whether signature, chain, freshness and number authority all held.
    pub verified: bool,
    /// The number it vouches for.
    pub orig: Option<String>,
}

/// How far the originating provider vouches for the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Attestation {
    /// The customer and their right to the number are known.
    A,
    /// The customer is known, the number is not.
    B,
    /// The call merely came through here.
    C,
    /// Nobody vouches.
    #[serde(rename = "none")]
    None,
}

/// The `tel` claim that the gateway puts into the invite's `identity.claims[]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TelClaim {
    #[serde(rename = "type")]
    kind: Tel,
    number: String,
    attestation: Attestation,
    verified: bool,
    verifier: Did,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnam: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Tel {
    #[serde(rename = "tel")]
    Tel,
}

impl Caller {
    /// The claim that `gateway` makes about this caller (GW-90 to GW-93).
    #[must_use]
    pub fn claim(self, gateway: Did) -> TelClaim {
        let (attestation, verified) = match &self.passport {
            // GW-90
            None => (Attestation::None, false),
            // GW-92: it vouches for another call.
            Some(passport) if passport.orig.as_ref().is_some_and(|orig| *orig != self.number) => {
                (Attestation::None, false)
            }
            // GW-91; GW-93: without `orig` it vouches for no number.
            Some(Passport { attestation, verified, orig }) => {
                (*attestation, *verified && orig.is_some() && *attestation != Attestation::None)
            }
        };
        TelClaim {
            kind: Tel::Tel,
            number: self.number,
            attestation,
            verified,
            verifier: gateway,
            cnam: self.cnam.filter(|name| !name.is_empty()),
        }
    }
}

impl TelClaim {
    /// The attestation that counts: none unless it verified (GW-117).
    #[must_use]
    pub fn verified_attestation(&self) -> Attestation {
        if self.verified { self.attestation } else { Attestation::None }
    }

    /// The claim as it rides in `identity.claims[]`.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(claim)) => claim,
            // A struct serialises to an object.
            _ => Map::new(),
        }
    }
}

impl Attestation {
    /// The level a PASSporT's `attest` names; anything unknown vouches for nothing.
    #[must_use]
    pub fn parse(attest: &str) -> Self {
        match attest {
            "A" => Self::A,
            "B" => Self::B,
            "C" => Self::C,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(passport: Option<Passport>, cnam: Option<&str>) -> Value {
        let caller = Caller { number: "+15551234567".into(), passport, cnam: cnam.map(str::to_owned) };
        caller.claim("did:web:gw.example".parse().expect("a DID")).to_json().into()
    }

    fn passport(attest: &str, verified: bool, orig: Option<&str>) -> Option<Passport> {
        Some(Passport { attestation: Attestation::parse(attest), verified, orig: orig.map(str::to_owned) })
    }

    #[test]
    fn gw_90_no_identity_header_vouches_for_nothing() {
        let expected = json!({
            "type": "tel", "number": "+15551234567", "attestation": "none", "verified": false,
            "verifier": "did:web:gw.example"
        });
        assert_eq!(claim(None, Some("")), expected);
    }

    #[test]
    fn gw_91_to_93_level_and_outcome() {
        let own = Some("+15551234567");
        for (given, level, verified) in [
            (passport("A", true, own), "A", true),
            (passport("C", true, own), "C", true),
            (passport("B", false, own), "B", false),
            (passport("A", true, Some("+15550000000")), "none", false),
            (passport("A", true, None), "A", false),
            (passport("none", true, own), "none", false),
            (passport("Z", true, own), "none", false),
        ] {
            let claimed = claim(given, Some("ACME"));
            assert_eq!((&claimed["attestation"], &claimed["verified"]), (&json!(level), &json!(verified)));
            assert_eq!(claimed["cnam"], "ACME");
        }
    }

    #[test]
    fn gw_117_a_level_that_did_not_verify_is_none() {
        let caller = Caller { number: "+1".into(), passport: passport("B", false, Some("+1")), cnam: None };
        let claimed = caller.claim("did:web:gw.example".parse().expect("a DID"));
        assert_eq!(claimed.verified_attestation(), Attestation::None);
    }
}
