//! Kind `trust`: the lines of 06, part D, that the shared suite leaves out.

use serde_json::{Value, json};

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, rules, about, input: Value, expect: Value| Case {
        kind: "trust",
        name: name.into(),
        rules,
        about,
        context: json!({}),
        input,
        expect,
    };
    let basis = |identity: &str, claims: Value| json!({"check": "basis", "identity": identity, "claims": claims});
    let tel = |verifier: &str, attestation: Value| json!({"type": "tel", "number": "+15550100", "attestation": attestation, "verified": true, "verifier": verifier});
    let losses = |list: Value| json!({"check": "downgrade", "losses": list});
    vec![
        case(
            "basis-unknown-method",
            &["TRU-2"],
            "Neither did:key nor did:web.",
            basis("did:plc:abc", json!([])),
            json!("Unrecognized identity method"),
        ),
        case(
            "basis-tel-no-attestation",
            &["TRU-3"],
            "Attestation none, whatever `verified` says.",
            basis("did:web:gw.example", json!([tel("did:web:gw.example", json!("none"))])),
            json!("Gateway attested by gw.example · no attestation"),
        ),
        case(
            "basis-tel-behind-another-claim",
            &["TRU-2"],
            "The first claim that yields a line decides, even if others precede it.",
            basis(
                "did:web:gw.example",
                json!([{"type": "brand", "name": "ACME"}, tel("did:web:gw.example", json!("A"))]),
            ),
            json!("Gateway attested by gw.example · STIR attestation A (verified)"),
        ),
        case(
            "basis-tel-borrowed-gateway",
            &["TRU-7"],
            "A tel claim whose verifier is not the verified identity is not used.",
            basis("did:web:evil.example", json!([tel("did:web:gw.example", json!("A"))])),
            json!("Domain verified (did:web:evil.example)"),
        ),
        case(
            "tel-caller-without-number",
            &["TRU-4"],
            "No number, no headline.",
            json!({"check": "tel-caller", "claim": {"type": "tel", "cnam": "ACME"}}),
            Value::Null,
        ),
        case(
            "downgrade-empty",
            &["TRU-8"],
            "No losses.",
            losses(json!([])),
            json!("Trust downgraded crossing the gateway (§6.3)"),
        ),
        case(
            "downgrade-unknown-loss",
            &["TRU-5"],
            "A loss nobody knows.",
            losses(json!(["no-attestation", "new-loss"])),
            json!(
                "Trust downgraded crossing the gateway (§6.3): the caller carried no verified attestation; an unspecified guarantee was lost"
            ),
        ),
    ]
}
