//! What a person is shown about who they talk to: the basis of trust, never a bare tick (TRU-1).
//!
//! The strings are defined here once and shared by command line, page and gateway (TRU-6). Whatever a signer says about
//! itself is a claim and is shown as one (TRU-9).

use serde_json::{Map, Value};

use crate::wire::Did;

/// The basis on which an identity is what it says it is (TRU-2).
///
/// A `tel` claim decides only if the verified identity itself vouches for it: otherwise any signer could borrow the name
/// of a gateway (TRU-7).
#[must_use]
pub fn basis(identity: &Did, claims: &[Map<String, Value>]) -> String {
    let own = claims.iter().filter(|claim| string(claim, "verifier") == Some(identity.as_str()));
    own.filter_map(tel_line).next().unwrap_or_else(|| match identity.method() {
        "web" => format!("Domain verified ({identity})"),
        "key" => "Self-issued identity".to_owned(),
        _ => "Unrecognized identity method".to_owned(),
    })
}

/// The line for a `tel` claim (TRU-3); `None` if it is not one, or names no verifier.
#[must_use]
pub fn tel_line(claim: &Map<String, Value>) -> Option<String> {
    let verifier = of_type_tel(claim)?.get("verifier")?.as_str()?;
    let host = verifier.strip_prefix("did:web:").unwrap_or(verifier);
    Some(match string(claim, "attestation") {
        None | Some("none") => format!("Gateway attested by {host} · no attestation"),
        Some(level) => {
            let verified = claim.get("verified").and_then(Value::as_bool) == Some(true);
            let outcome = if verified { "verified" } else { "unverified" };
            format!("Gateway attested by {host} · STIR attestation {level} ({outcome})")
        }
    })
}

/// The headline for a caller from the PSTN (TRU-4); `None` if the claim is not `tel`, or has no number.
#[must_use]
pub fn tel_caller(claim: &Map<String, Value>) -> Option<String> {
    let number = of_type_tel(claim)?.get("number")?.as_str()?;
    Some(match string(claim, "cnam") {
        Some(name) => format!("PSTN caller {number} · {name}"),
        None => format!("PSTN caller {number}"),
    })
}

/// What a crossing lost, in words (TRU-5). Without losses it still says that trust was lost (TRU-8).
#[must_use]
pub fn downgrade<'a>(losses: impl IntoIterator<Item = &'a str>) -> String {
    let phrases: Vec<_> = losses
        .into_iter()
        .map(|loss| match loss {
            "no-srtp-on-trunk" => "media is not encrypted on the PSTN trunk",
            "identity-not-assertable" => "your identity could not be asserted into the PSTN",
            "no-attestation" => "the caller carried no verified attestation",
            "policy-unenforceable" => "your media policy cannot be enforced past the gateway",
            _ => "an unspecified guarantee was lost",
        })
        .collect();
    let headline = "Trust downgraded crossing the gateway (§6.3)";
    if phrases.is_empty() { headline.to_owned() } else { format!("{headline}: {}", phrases.join("; ")) }
}

/// What the `detail` of an `error` `gateway.downgraded` says in words: it holds the JSON text of `{"losses": […]}`. Text
/// that cannot be read that way renders as no losses (GW-116).
#[must_use]
pub fn downgrade_detail(detail: Option<&str>) -> String {
    let parsed = detail.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let losses = parsed.as_ref().and_then(|value| value.get("losses")).and_then(Value::as_array);
    downgrade(losses.into_iter().flatten().filter_map(Value::as_str))
}

fn of_type_tel(claim: &Map<String, Value>) -> Option<&Map<String, Value>> {
    (string(claim, "type") == Some("tel")).then_some(claim)
}

fn string<'a>(claim: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claim.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    fn did(text: &str) -> Did {
        text.parse().expect("a DID")
    }

    #[test]
    fn tru_2_without_a_tel_claim_the_method_decides() {
        assert_eq!(basis(&did("did:web:a.example"), &[]), "Domain verified (did:web:a.example)");
        assert_eq!(basis(&did("did:key:z6Mk"), &[]), "Self-issued identity");
        assert_eq!(basis(&did("did:plc:abc"), &[]), "Unrecognized identity method");
    }

    #[test]
    fn tru_2_the_first_tel_claim_decides_whatever_precedes_it() {
        let claims = [
            claim(&json!({"type": "brand", "verifier": "did:web:gw.example"})),
            claim(&json!({"type": "tel", "attestation": "C", "verified": true, "verifier": "did:web:gw.example"})),
            claim(&json!({"type": "tel", "attestation": "A", "verified": true, "verifier": "did:web:gw.example"})),
        ];
        let line = basis(&did("did:web:gw.example"), &claims);
        assert_eq!(line, "Gateway attested by gw.example · STIR attestation C (verified)");
    }

    #[test]
    fn tru_3_lines() {
        let line = |value: Value| tel_line(&claim(&value));
        let none = Some("Gateway attested by did:key:z6Mk · no attestation".to_owned());
        assert_eq!(line(json!({"type": "tel", "verifier": "did:key:z6Mk"})), none);
        assert_eq!(
            line(json!({"type": "tel", "verifier": "did:key:z6Mk", "attestation": "none", "verified": true})),
            none
        );
        let unverified = Some("Gateway attested by gw · STIR attestation B (unverified)".to_owned());
        assert_eq!(line(json!({"type": "tel", "verifier": "did:web:gw", "attestation": "B"})), unverified);
        let verified = json!({"type": "tel", "verifier": "did:web:gw", "attestation": "B", "verified": "true"});
        assert_eq!(line(verified), unverified);
        assert_eq!(line(json!({"type": "tel", "verifier": 5})), None);
        assert_eq!(line(json!({"type": "brand", "verifier": "did:web:gw"})), None);
    }

    #[test]
    fn tru_4_headlines() {
        let headline = |value: Value| tel_caller(&claim(&value));
        assert_eq!(
            headline(json!({"type": "tel", "number": "+1", "cnam": "B"})).as_deref(),
            Some("PSTN caller +1 · B")
        );
        assert_eq!(headline(json!({"type": "tel", "number": "+1", "cnam": 5})).as_deref(), Some("PSTN caller +1"));
        assert_eq!(headline(json!({"type": "tel", "number": 1})), None);
        assert_eq!(headline(json!({"number": "+1"})), None);
    }

    #[test]
    fn tru_5_and_8_losses_in_words() {
        assert_eq!(downgrade([]), "Trust downgraded crossing the gateway (§6.3)");
        assert_eq!(
            downgrade(["no-attestation", "new-loss"]),
            "Trust downgraded crossing the gateway (§6.3): the caller carried no verified attestation; an unspecified \
             guarantee was lost"
        );
        assert_eq!(downgrade_detail(Some(r#"{"losses":["no-attestation"]}"#)), downgrade(["no-attestation"]));
        for unreadable in [None, Some("rain"), Some("{}"), Some(r#"{"losses":5}"#)] {
            assert_eq!(downgrade_detail(unreadable), downgrade([]));
        }
    }

    #[test]
    fn tru_7_a_borrowed_verifier_gives_no_basis() {
        let borrowed = json!({"type": "tel", "attestation": "A", "verified": true, "verifier": "did:web:gw.example"});
        assert_eq!(basis(&did("did:key:z6MkMallory"), &[claim(&borrowed)]), "Self-issued identity");
    }
}
