//! Kind `broadcast`: records, statements, and what is shown.

use serde_json::{Value, json};

use super::people::{delegated, did, message_at, required, seal, seal_presenting, ulid};
use super::{Case, NOW, reject, set, with};

/// A record of ada's with two variants, issued `age` seconds ago.
fn publication(age: u64, lifetime: u64) -> Value {
    let mut publish = message_at("publish", &did("ada"), NOW - age, lifetime, required("publish"));
    let hls = json!({
        "id": "hls", "media": ["audio", "video"], "codec": "codec:audio/aac", "transport": "transport:hls",
        "uri": "https://tv.example/hls",
    });
    publish["variants"].as_array_mut().expect("an array").push(hls);
    publish
}

/// A statement of `processor` about `publish`.
fn statement(processor: &str, operation: &str, publish: &Value) -> Value {
    let members = json!({
        "original_stream": publish["stream_id"], "original_publication": publish["id"], "processor": did(processor),
        "operation": operation, "input_variant": "main", "output_variant": "small",
    });
    message_at("provenance", &did(processor), NOW, 3_600, members)
}

pub(super) fn cases() -> Vec<Case> {
    let supported = json!({"core": "1.0", "profiles": ["verified-broadcast/1.0"], "extensions": []});
    let case = |name: &str, rules, about, publication: Value, statements: Vec<Value>, expect: Value| Case {
        kind: "broadcast",
        name: name.into(),
        rules,
        about,
        context: json!({"now": NOW, "supported": supported}),
        input: json!({
            "publication": publication, "provenance": statements,
            "capabilities": {"codecs": ["codec:audio/opus", "codec:audio/aac"], "transports": ["transport:webrtc"]},
        }),
        expect,
    };
    let accept = |variant: Value, statements: Value, delivered: Value, transcoded: Value, mode: &str| {
        json!({
            "verdict": "accept", "type": "publish", "signer": did("ada"), "identity": did("ada"),
            "selected_variant": variant, "provenance": statements,
            "display": {
                "original_publisher": did("ada"), "delivered_by": delivered, "transcoded_by": transcoded,
                "integrity_mode": mode,
            },
        })
    };
    let plain = |mode: &str| accept(json!("main"), json!([]), json!([]), json!([]), mode);
    let held = |processor: &str, operation: &str| json!({"verdict": "accept", "processor": did(processor), "operation": operation, "integrity_mode": "derivative-bound"});
    let publish = publication(0, 300);
    let signed = seal("ada", &publish);
    let refused = |code: &str| accept(json!("main"), json!([reject(code)]), json!([]), json!([]), "metadata-only");
    let about_publish = |operation: &str, change: &dyn Fn(Value) -> Value| {
        vec![seal("node", &change(statement("node", operation, &publish)))]
    };
    let policy = |policy: Value| seal("ada", &set(publish.clone(), "policy", policy));
    let violated = |violation: &str, operation: &str| {
        let one = set(held("node", operation), "policy_violation", violation);
        let (delivered, transcoded, mode) = match operation {
            "transcode" => (json!([]), json!([did("node")]), "derivative-bound"),
            _ => (json!([did("node")]), json!([]), "metadata-only"),
        };
        accept(json!("main"), json!([one]), delivered, transcoded, mode)
    };
    vec![
        case(
            "late-but-live",
            &["RPL-6"],
            "Published an hour ago, and held until it expires.",
            seal("ada", &publication(3_600, 7_200)),
            vec![],
            plain("metadata-only"),
        ),
        case("expired", &["BC-10"], "Past its expiry.", seal("ada", &publication(600, 599)), vec![], reject("expired")),
        case(
            "delegated-device",
            &["BC-1"],
            "A device publishes for its identity.",
            seal_presenting("ada-phone", &[delegated("ada", "ada-phone")], &publish),
            vec![],
            set(plain("metadata-only"), "signer", did("ada-phone")),
        ),
        case(
            "device-in-its-own-name",
            &["BC-1"],
            "The device's `from` is the device: not the publisher.",
            seal_presenting(
                "ada-phone",
                &[delegated("ada", "ada-phone")],
                &set(publish.clone(), "from", did("ada-phone")),
            ),
            vec![],
            reject("publisher-mismatch"),
        ),
        case(
            "publisher-mismatch-before-schema",
            &["BC-1", "BC-11"],
            "Checked before the schema.",
            seal("eve", &set(set(publish.clone(), "from", did("eve")), "variants", json!([]))),
            vec![],
            reject("publisher-mismatch"),
        ),
        case(
            "stream-of-a-longer-did",
            &["BC-2"],
            "A prefix of the text is not the namespace.",
            seal("ada", &set(publish.clone(), "stream_id", format!("{}x", did("ada")))),
            vec![],
            reject("stream-id-namespace"),
        ),
        case(
            "stream-is-the-did",
            &["BC-2"],
            "The DID alone is a stream id.",
            seal("ada", &set(publish.clone(), "stream_id", did("ada"))),
            vec![],
            plain("metadata-only"),
        ),
        case(
            "stream-before-version",
            &["BC-11"],
            "Checked before versions.",
            seal(
                "ada",
                &with(publish.clone(), |m| {
                    m["stream_id"] = json!("news");
                    m["dsip"]["core"] = json!("2.0");
                }),
            ),
            vec![],
            reject("stream-id-namespace"),
        ),
        case(
            "no-compatible-variant",
            &["BC-13"],
            "Nothing to play; the record is accepted all the same.",
            seal("ada", &with(publish.clone(), |m| m["variants"][0]["codec"] = json!("codec:video/av1"))),
            vec![],
            accept(Value::Null, json!([]), json!([]), json!([]), "metadata-only"),
        ),
        case(
            "declared-derivative-bound",
            &["BC-20"],
            "The record declares it.",
            seal("ada", &set(publish.clone(), "integrity", "derivative-bound")),
            vec![],
            plain("derivative-bound"),
        ),
        case(
            "variant-overrides-record",
            &["BC-20"],
            "The selected variant's own mode wins.",
            seal(
                "ada",
                &with(set(publish.clone(), "integrity", "derivative-bound"), |m| {
                    m["variants"][0]["integrity"] = json!("metadata-only")
                }),
            ),
            vec![],
            plain("metadata-only"),
        ),
        case(
            "unselected-variant-says-nothing",
            &["BC-20"],
            "Another variant's mode does not count.",
            seal("ada", &with(publish.clone(), |m| m["variants"][1]["integrity"] = json!("derivative-bound"))),
            vec![],
            plain("metadata-only"),
        ),
        case(
            "reserved-mode",
            &["BC-22"],
            "Reserved names fall back.",
            seal("ada", &set(publish.clone(), "integrity", "manifest-bound")),
            vec![],
            plain("metadata-only"),
        ),
        case(
            "chain-of-two",
            &["BC-37"],
            "One relays, one transcodes.",
            signed.clone(),
            vec![
                seal("node", &statement("node", "relay", &publish)),
                seal("eve", &statement("eve", "transcode", &publish)),
            ],
            accept(
                json!("main"),
                json!([held("node", "relay"), held("eve", "transcode")]),
                json!([did("node")]),
                json!([did("eve")]),
                "derivative-bound",
            ),
        ),
        case(
            "repackage-is-delivery",
            &["BC-37"],
            "Everything but transcode is delivery.",
            signed.clone(),
            about_publish("repackage", &|m| m),
            accept(json!("main"), json!([held("node", "repackage")]), json!([did("node")]), json!([]), "metadata-only"),
        ),
        case(
            "statement-stream-mismatch",
            &["BC-34"],
            "The right record, another stream.",
            signed.clone(),
            about_publish("relay", &|m| set(m, "original_stream", format!("{}:x", did("ada")))),
            refused("provenance-stream-mismatch"),
        ),
        case(
            "statement-publication-first",
            &["BC-33", "BC-34"],
            "The record is checked before the stream.",
            signed.clone(),
            about_publish("relay", &|m| {
                set(set(m, "original_stream", "x"), "original_publication", ulid(NOW, "other"))
            }),
            refused("provenance-unknown-publication"),
        ),
        case(
            "statement-not-an-envelope",
            &["BC-39"],
            "Something else in its place.",
            signed.clone(),
            vec![json!("nonsense")],
            refused("envelope-shape"),
        ),
        case(
            "statement-other-type",
            &["BC-32"],
            "A message that is no statement.",
            signed.clone(),
            vec![signed.clone()],
            refused("schema-invalid"),
        ),
        case(
            "statement-bad-between-good",
            &["BC-14"],
            "Each is evaluated by itself.",
            signed.clone(),
            vec![
                seal("node", &statement("node", "relay", &publish)),
                json!({}),
                seal("eve", &statement("eve", "relay", &publish)),
            ],
            accept(
                json!("main"),
                json!([held("node", "relay"), reject("envelope-shape"), held("eve", "relay")]),
                json!([did("node"), did("eve")]),
                json!([]),
                "metadata-only",
            ),
        ),
        case(
            "policy-transcoding-denied",
            &["BC-38"],
            "Denied is as good as forbidden.",
            policy(json!({"transcoding": "denied"})),
            about_publish("transcode", &|m| m),
            violated("transcoding", "transcode"),
        ),
        case(
            "policy-transcoding-and-relay",
            &["BC-38"],
            "A relay does not transcode.",
            policy(json!({"transcoding": "forbidden"})),
            about_publish("relay", &|m| m),
            accept(json!("main"), json!([held("node", "relay")]), json!([did("node")]), json!([]), "metadata-only"),
        ),
        case(
            "policy-redistribution",
            &["BC-38"],
            "Any operation redistributes.",
            policy(json!({"redistribution": "forbidden"})),
            about_publish("relay", &|m| m),
            violated("redistribution", "relay"),
        ),
        case(
            "policy-redistribution-overrides",
            &["BC-38"],
            "One member for two causes.",
            policy(json!({"redistribution": "forbidden", "transcoding": "forbidden"})),
            about_publish("transcode", &|m| m),
            violated("redistribution", "transcode"),
        ),
        case(
            "policy-redistribution-denied",
            &["BC-38"],
            "For redistribution only forbidden counts.",
            policy(json!({"redistribution": "denied"})),
            about_publish("relay", &|m| m),
            accept(json!("main"), json!([held("node", "relay")]), json!([did("node")]), json!([]), "metadata-only"),
        ),
    ]
}
