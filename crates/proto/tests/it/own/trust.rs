//! Trust lines (06 part D).

use serde_json::{Value, json};

use super::Vector;

pub(super) fn vectors() -> Vec<Vector> {
    let tel = json!({
        "type": "tel", "number": "+15551234567", "attestation": "C", "verified": true, "verifier": "did:web:gw.example"
    });
    vec![
        basis("unknown-method", &["TRU-2"], "did:plc:abcdefgh", &json!([]), "Unrecognized identity method"),
        basis(
            "tel-wins-over-domain",
            &["TRU-2", "TRU-3"],
            "did:web:gw.example",
            &json!([{"type": "brand", "name": "ACME"}, tel]),
            "Gateway attested by gw.example · STIR attestation C (verified)",
        ),
        basis(
            "tel-none-though-verified",
            &["TRU-3"],
            "did:web:gw.example",
            &json!([{"type": "tel", "attestation": "none", "verified": true, "verifier": "did:web:gw.example"}]),
            "Gateway attested by gw.example · no attestation",
        ),
        basis(
            "tel-attestation-missing",
            &["TRU-3"],
            "did:web:gw.example",
            &json!([{"type": "tel", "verifier": "did:web:gw.example"}]),
            "Gateway attested by gw.example · no attestation",
        ),
        basis("tel-borrowed-verifier", &["TRU-7"], "did:key:z6MkMallory", &json!([tel]), "Self-issued identity"),
        line(
            "tel-caller-without-number",
            &["TRU-4"],
            "A tel claim without a number has no headline.",
            json!({"check": "tel-caller", "claim": {"type": "tel", "cnam": "ACME Corp"}}),
            Value::Null,
        ),
        line(
            "downgrade-nothing-named",
            &["TRU-8"],
            "Without losses the headline stands alone.",
            json!({"check": "downgrade", "losses": []}),
            "Trust downgraded crossing the gateway (§6.3)".into(),
        ),
        line(
            "downgrade-unknown-loss",
            &["TRU-5"],
            "A loss nobody has a phrase for is still said.",
            json!({"check": "downgrade", "losses": ["no-srtp-on-trunk", "no-quantum"]}),
            "Trust downgraded crossing the gateway (§6.3): media is not encrypted on the PSTN trunk; an unspecified guarantee \
             was lost"
                .into(),
        ),
    ]
}

fn basis(name: &str, rules: &[&'static str], identity: &str, claims: &Value, shown: &str) -> Vector {
    let input = json!({"check": "basis", "identity": identity, "claims": claims});
    line(&format!("basis-{name}"), rules, "The basis line for an identity and its claims.", input, shown.into())
}

fn line(name: &str, rules: &[&'static str], description: &str, input: Value, shown: Value) -> Vector {
    Vector::new("trust", name, rules, description).input(input).expect(shown)
}
