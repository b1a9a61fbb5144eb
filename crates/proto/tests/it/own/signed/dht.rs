//! Kind `dht`: hints and their conflicts.

use serde_json::{Value, json};

use super::people::{delegated, did, dsip, message_at, required, seal, seal_presenting};
use super::{Case, NOW, reject, reject_with, set};

/// A hint of ada's, issued `age` seconds ago.
fn hint(age: u64, lifetime: u64, seq: u64) -> Value {
    set(message_at("reachability-hint", &did("ada"), NOW - age, lifetime, required("reachability-hint")), "seq", seq)
}

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, rules, about, context: Value, envelope: Value, expect: Value| Case {
        kind: "dht",
        name: name.into(),
        rules,
        about,
        context: super::with(context, |context| context["now"] = NOW.into()),
        input: json!({"envelope": envelope}),
        expect,
    };
    let accept = |signer: &str, winner: &str, conflict: &str| {
        json!({
            "verdict": "accept", "type": "reachability-hint", "signer": did(signer), "identity": did("ada"),
            "winner": winner, "conflict": conflict,
        })
    };
    let held = |payload: &Value| json!({"existing": seal("ada", payload)});
    let phone = [delegated("ada", "ada-phone")];
    vec![
        case(
            "valid-delegated-device",
            &["DHT-1"],
            "A device signs; its delegation rides in the header.",
            json!({}),
            seal_presenting("ada-phone", &phone, &hint(0, 600, 5)),
            accept("ada-phone", "input", "none"),
        ),
        case(
            "late-but-live",
            &["DHT-30", "RPL-6"],
            "Issued an hour ago and still live: hints are a held type.",
            json!({}),
            seal("ada", &hint(3_000, 3_600, 5)),
            accept("ada", "input", "none"),
        ),
        case(
            "late-and-too-long",
            &["RPL-6"],
            "Lives longer than seven days, so the past edge of the window applies.",
            json!({}),
            seal("ada", &hint(3_000, 604_801, 5)),
            reject("replay-window"),
        ),
        case(
            "seen-id-is-no-duplicate",
            &["DHT-27"],
            "The same record is legitimately seen again and again.",
            json!({"seen_ids": [hint(0, 600, 5)["id"]]}),
            seal("ada", &hint(0, 600, 5)),
            accept("ada", "input", "none"),
        ),
        case(
            "same-record-duplicate",
            &["DHT-24"],
            "The held record itself.",
            held(&hint(0, 600, 5)),
            seal("ada", &hint(0, 600, 5)),
            accept("ada", "existing", "none"),
        ),
        case(
            "same-payload-other-signer",
            &["DHT-24", "DHT-26"],
            "One content signed by identity and device is one record.",
            held(&hint(0, 600, 5)),
            seal_presenting("ada-phone", &phone, &hint(0, 600, 5)),
            accept("ada-phone", "existing", "none"),
        ),
        case(
            "held-expires-now",
            &["DHT-21", "DHT-23"],
            "A held record that expires this second is still live.",
            held(&hint(600, 600, 9)),
            seal("ada", &hint(0, 600, 5)),
            accept("ada", "existing", "older-seq"),
        ),
        case(
            "held-just-expired",
            &["DHT-21"],
            "A second later it no longer stands in the way.",
            held(&hint(601, 600, 9)),
            seal("ada", &hint(0, 600, 5)),
            accept("ada", "input", "none"),
        ),
        case(
            "subject-not-signer",
            &["DHT-11"],
            "A hint about somebody else.",
            json!({}),
            seal("eve", &set(hint(0, 600, 5), "from", did("eve"))),
            reject("hint-subject-mismatch"),
        ),
        case(
            "subject-before-version",
            &["DHT-11", "DHT-12"],
            "The subject is checked before versions.",
            json!({}),
            seal("eve", &set(set(hint(0, 600, 5), "from", did("eve")), "dsip", set(dsip(""), "core", "2.0"))),
            reject("hint-subject-mismatch"),
        ),
        case(
            "version-unsupported",
            &["DHT-12"],
            "An unknown critical extension.",
            json!({}),
            seal("ada", &set(hint(0, 600, 5), "dsip", set(dsip(""), "critical", json!(["x/1.0"])))),
            reject_with("version-unsupported", "session.unsupported-critical-extension"),
        ),
        case(
            "endpoint-not-wss",
            &["DHT-13"],
            "Endpoints are wss only.",
            json!({}),
            seal(
                "ada",
                &set(hint(0, 600, 5), "endpoints", json!([{"uri": "ws://node.example/dsip", "bindings": ["ws/1.0"]}])),
            ),
            reject("schema-invalid"),
        ),
        case(
            "endpoint-carries-more",
            &["DHT-13"],
            "Endpoint objects are open.",
            json!({}),
            seal(
                "ada",
                &set(
                    hint(0, 600, 5),
                    "endpoints",
                    json!([{"uri": "wss://node.example/dsip", "bindings": ["ws/1.0", "quic/1.0"], "node": did("node")}]),
                ),
            ),
            accept("ada", "input", "none"),
        ),
        case(
            "other-type",
            &["DHT-13"],
            "A valid message that is no hint.",
            json!({}),
            seal("ada", &message_at("unpublish", &did("ada"), NOW, 600, required("unpublish"))),
            reject("hint-subject-mismatch"),
        ),
    ]
}
