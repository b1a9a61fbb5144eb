//! Kind `semantic`: stages 12 to 14.

use serde_json::{Value, json};

use super::people::{audio, did, dsip, message, required, ulid};
use super::{Case, NOW, reject, reject_with, set};

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, rules, about, context: Value, payload: Value, expect: Value| Case {
        kind: "semantic",
        name: name.into(),
        rules,
        about,
        context: super::with(context, |context| context["now"] = NOW.into()),
        input: json!({"payload": payload}),
        expect,
    };
    let of = |kind: &str| message(kind, &did("ada"), required(kind));
    let accept = || json!({"verdict": "accept"});
    let effective = |members: Value| json!({"verdict": "accept", "effective": members});
    let block =
        |member: &str, value: Value| set(of("invite"), "dsip", set(dsip("interactive-media/1.0"), member, value));
    let unsupported = |what: &str| reject_with("version-unsupported", &format!("session.unsupported-{what}"));
    let knows = |extensions: Value| json!({"supported": {"core": "1.0", "profiles": ["interactive-media/1.0"], "extensions": extensions}});

    let mut cases = vec![
        case(
            "version-min-core-above",
            &["VER-2"],
            "min_core above ours.",
            json!({}),
            block("min_core", json!("1.1")),
            unsupported("core-version"),
        ),
        case(
            "version-numbers-not-text",
            &["VER-2"],
            "1.10 is newer than 1.2, and 01 is 1.",
            json!({"supported": {"core": "1.10", "profiles": ["interactive-media/1.0"], "extensions": []}}),
            block("min_core", json!("01.2")),
            accept(),
        ),
        case(
            "version-huge-minor",
            &["VER-2"],
            "A minor number beyond 64 bits is just newer.",
            json!({}),
            block("core", json!("1.99999999999999999999999")),
            accept(),
        ),
        case(
            "version-malformed",
            &["VER-1"],
            "Left to the schema.",
            json!({}),
            block("core", json!("1.0.0")),
            reject("schema-invalid"),
        ),
        case(
            "version-critical-known",
            &["VER-3"],
            "A critical extension that is supported.",
            knows(json!(["ring/1.0"])),
            block("critical", json!(["ring/1.0"])),
            accept(),
        ),
        case(
            "version-critical-other-version",
            &["VER-3"],
            "Compared as whole strings.",
            knows(json!(["ring/1.0"])),
            block("critical", json!(["ring/1.1"])),
            unsupported("critical-extension"),
        ),
        case(
            "version-one-of-two-profiles",
            &["VER-4"],
            "One known profile is enough.",
            json!({}),
            block("profiles", json!(["x/1.0", "interactive-media/1.0"])),
            accept(),
        ),
        case(
            "version-empty-profiles",
            &["VER-4"],
            "An empty list passes.",
            json!({}),
            block("profiles", json!([])),
            accept(),
        ),
        case(
            "version-core-before-critical",
            &["VER-2", "VER-3"],
            "The first rule that fails decides.",
            json!({}),
            set(of("invite"), "dsip", set(set(dsip("y/1.0"), "critical", json!(["x/1.0"])), "core", "2.0")),
            unsupported("core-version"),
        ),
        case(
            "version-critical-before-profile",
            &["VER-3", "VER-4"],
            "The first rule that fails decides.",
            json!({}),
            set(of("invite"), "dsip", set(dsip("y/1.0"), "critical", json!(["x/1.0"]))),
            unsupported("critical-extension"),
        ),
        case(
            "version-before-type",
            &["PIPE"],
            "Stage 12 comes before 13.",
            json!({}),
            set(block("core", json!("2.0")), "type", "no-such-type"),
            unsupported("core-version"),
        ),
        case(
            "unknown-type",
            &["PIPE"],
            "None of the nineteen.",
            json!({}),
            set(of("invite"), "type", "no-such-type"),
            reject("unknown-type"),
        ),
        case(
            "subscribe-presence-over-cap",
            &["SEM-3"],
            "3,601 seconds of presence.",
            json!({}),
            set(of("subscribe"), "expires_in", 3_601),
            reject_with("subscription-lifetime-exceeded", "policy.subscription-lifetime"),
        ),
        case(
            "subscribe-unknown-event-no-cap",
            &["SEM-3"],
            "An event without a cap adds none.",
            json!({}),
            set(set(of("subscribe"), "expires_in", 86_400), "events", json!(["weather"])),
            accept(),
        ),
        case(
            "grant-for-our-introduction",
            &["SEM-5"],
            "We asked for it.",
            json!({"known_introductions": [ulid(NOW, "session")]}),
            of("grant"),
            accept(),
        ),
        case(
            "grant-nobody-asked-for",
            &["SEM-5"],
            "We asked for nothing.",
            json!({"known_introductions": []}),
            of("grant"),
            reject("grant-unknown-introduction"),
        ),
        case(
            "rotation-subject-mismatch",
            &["ROT-3"],
            "Not from its subject; checked before everything else.",
            json!({}),
            set(set(of("key-rotation"), "next", "did:web:ada.example#key-1"), "from", "did:web:eve.example"),
            reject("rotation-subject-mismatch"),
        ),
        case(
            "rotation-next-same",
            &["ROT-4"],
            "The next key is the previous one.",
            json!({"signer_kid": "did:web:ada.example#key-9"}),
            set(set(of("key-rotation"), "next", "did:web:ada.example#key-1"), "from", "did:web:ada.example"),
            reject("rotation-next-same-as-previous"),
        ),
        case(
            "rotation-recovery",
            &["ROT-6"],
            "With recovery another key signs.",
            json!({"signer_kid": "did:web:ada.example#recovery"}),
            set(set(of("key-rotation"), "recovery", true), "from", "did:web:ada.example"),
            accept(),
        ),
        case(
            "rotation-recovery-false",
            &["ROT-5"],
            "Saying that it is none changes nothing.",
            json!({"signer_kid": "did:web:ada.example#recovery"}),
            set(set(of("key-rotation"), "recovery", false), "from", "did:web:ada.example"),
            reject("rotation-signer-not-previous"),
        ),
        case(
            "status-unknown",
            &["REG-4"],
            "An unknown status is trying.",
            json!({}),
            set(of("progress"), "status", "juggling"),
            effective(json!({"status": "trying"})),
        ),
        case(
            "answered-by-unknown",
            &["REG-3"],
            "An unknown answerer is a service.",
            json!({}),
            set(of("answer"), "answered_by", "oracle"),
            effective(json!({"answered_by": "service"})),
        ),
        case(
            "answered-by-on-update",
            &["REG-3"],
            "An update may say who is there now.",
            json!({}),
            set(of("update"), "answered_by", "user"),
            effective(json!({"answered_by": "user"})),
        ),
        case(
            "integrity-registered",
            &["REG-5"],
            "A registered mode.",
            json!({"supported": {"core": "1.0", "profiles": ["verified-broadcast/1.0"], "extensions": []}}),
            set(of("publish"), "integrity", "derivative-bound"),
            effective(json!({"integrity": "derivative-bound"})),
        ),
        case(
            "integrity-reserved",
            &["REG-5", "BC-22"],
            "A reserved mode falls back like an unknown one.",
            json!({"supported": {"core": "1.0", "profiles": ["verified-broadcast/1.0"], "extensions": []}}),
            set(of("publish"), "integrity", "frame-bound"),
            super::with(effective(json!({"integrity": "metadata-only"})), |value| {
                value["warnings"] = json!(["integrity-mode-unknown"])
            }),
        ),
        case(
            "reason-not-for-type",
            &["REG-2"],
            "A registered token on a type it is not listed for.",
            json!({}),
            set(of("bye"), "reason", "user.no-answer"),
            super::with(effective(json!({"reason": "user.no-answer", "fallback": "none"})), |value| {
                value["warnings"] = json!(["reason-not-valid-on-type"])
            }),
        ),
        case(
            "reason-unregistered-never-warns",
            &["REG-2"],
            "An unregistered token.",
            json!({}),
            set(of("bye"), "reason", "user.stepped-out"),
            effective(json!({"reason": "user.stepped-out", "fallback": "category"})),
        ),
        case(
            "reason-on-notify-never-warns",
            &["REG-2", "RSN-4"],
            "Tokens on notify are never listed.",
            json!({}),
            set(set(of("notify"), "state", "terminated"), "reason", "policy.terminated"),
            effective(json!({"reason": "policy.terminated", "fallback": "none"})),
        ),
        case(
            "reason-category-is-not-a-prefix",
            &["REG-1"],
            "users is not user.",
            json!({}),
            set(of("reject"), "reason", "users.declined"),
            effective(json!({"reason": "session.failed", "fallback": "unknown-category"})),
        ),
        case(
            "grammar-is-not-the-registry",
            &["REG-6"],
            "Unknown operations are kept as they are.",
            json!({"supported": {"core": "1.0", "profiles": ["verified-broadcast/1.0"], "extensions": []}}),
            set(of("provenance"), "operation", "subtitle"),
            accept(),
        ),
    ];

    // NEG-2 to NEG-5.
    let captions = |direction: &str| json!({"type": "text", "direction": direction, "purpose": "caption", "codecs": [{"id": "codec:text/t140"}]});
    let offered =
        json!({"offer": {"media": [audio(), captions("sendonly")], "transports": [{"id": "transport:webrtc"}]}});
    let answer = |media: Value| set(of("answer"), "media", media);
    let user = || effective(json!({"answered_by": "user"}));
    let mut selection = |name: &str, rules, about, media: Value, fits: bool| {
        let expect = if fits { user() } else { reject("selection-not-subset") };
        cases.push(case(name, rules, about, offered.clone(), answer(media), expect));
    };
    selection(
        "selection-leaves-media-out",
        &["NEG-6"],
        "Offered media may be left out.",
        json!([captions("recvonly")]),
        true,
    );
    selection(
        "selection-purpose-must-match",
        &["NEG-2"],
        "Text without a purpose was not offered.",
        json!([super::unset(captions("recvonly"), "purpose")]),
        false,
    );
    selection(
        "selection-direction-not-answering",
        &["NEG-4"],
        "Both sides cannot send only.",
        json!([captions("sendonly")]),
        false,
    );
    selection(
        "selection-direction-sendrecv-to-sendonly",
        &["NEG-4"],
        "More than was offered.",
        json!([captions("sendrecv")]),
        false,
    );
    selection(
        "selection-direction-inactive",
        &["NEG-4"],
        "Nothing at all answers everything.",
        json!([set(audio(), "direction", "inactive")]),
        true,
    );
    selection(
        "selection-codec-parameters-ignored",
        &["NEG-3"],
        "Codec parameters are not compared.",
        json!([set(audio(), "codecs", json!([{"id": "codec:audio/opus", "channels": [9]}]))]),
        true,
    );
    selection(
        "selection-codec-not-offered",
        &["NEG-3"],
        "One of two codecs was not offered.",
        json!([set(audio(), "codecs", json!([{"id": "codec:audio/opus"}, {"id": "codec:audio/g722"}]))]),
        false,
    );
    cases.push(case(
        "selection-transport-not-offered",
        &["NEG-5"],
        "Another transport.",
        offered.clone(),
        set(of("answer"), "transports", json!([{"id": "transport:rtp"}])),
        reject("selection-not-subset"),
    ));
    cases
}
