//! Kind `payload`: every field table, at its edges.

use serde_json::{Value, json};

use super::people::{KINDS, audio, did, message, required, ulid};
use super::{Case, NOW, reject, set, unset, with};

pub(super) fn cases() -> Vec<Case> {
    let case = |name: String, rules, about, schema: &str, payload: Value, valid: bool| Case {
        kind: "payload",
        name,
        rules,
        about,
        context: json!({}),
        input: json!({"schema": schema, "payload": payload}),
        expect: if valid { json!({"verdict": "accept"}) } else { reject("schema-invalid") },
    };
    let mut cases = Vec::new();
    for kind in KINDS {
        let minimal = message(kind, &did("ada"), required(kind));
        let mut add = |what: &str, rules, about, payload: Value, valid| {
            cases.push(case(format!("{kind}-{what}"), rules, about, kind, payload, valid));
        };
        add("minimal", &["MSG"], "Only what the table requires.", minimal.clone(), true);
        add("unknown-member", &["PAY-6"], "Message objects are closed.", set(minimal.clone(), "x_extra", 1), false);
        let own = required(kind);
        for member in own.as_object().into_iter().flatten().map(|(name, _)| name.clone()) {
            // A hello without `bindings`, and an update's `transports`, have vectors of their own below.
            let without = unset(minimal.clone(), &member);
            add(
                &format!("without-{}", member.replace('_', "-")),
                &["MSG"],
                "A required member is missing.",
                without,
                false,
            );
        }
        for (member, value) in optional(kind) {
            let name = member.replace('_', "-");
            add(&format!("with-{name}"), &["MSG"], "An optional member.", set(minimal.clone(), member, value), true);
            add(
                &format!("null-{name}"),
                &["MSG-2"],
                "Null is never acceptable.",
                set(minimal.clone(), member, Value::Null),
                false,
            );
        }
    }
    let of = |kind: &str| message(kind, &did("ada"), required(kind));
    let mut edge = |name: &str, rules, about, kind: &str, payload: Value, valid| {
        cases.push(case(name.to_owned(), rules, about, kind, payload, valid));
    };

    // Shared types.
    edge("type-of-another-schema", &["MSG"], "A valid bye is no cancel.", "cancel", of("bye"), false);
    edge(
        "did-with-path",
        &["ID-1"],
        "A DID has no path.",
        "invite",
        set(of("invite"), "to", "did:web:a.example/b"),
        false,
    );
    edge(
        "did-with-fragment",
        &["ID-1"],
        "A DID has no fragment.",
        "invite",
        set(of("invite"), "to", "did:web:a.example#b"),
        false,
    );
    edge(
        "ulid-lower-case",
        &["ULID-1"],
        "Upper case only.",
        "bye",
        set(of("bye"), "session", ulid(NOW, "session").to_lowercase()),
        false,
    );
    edge("time-negative", &["MSG"], "Before 1970.", "grant", set(of("grant"), "valid_until", -1), false);
    edge("time-zero", &["MSG"], "Zero is a time.", "grant", set(of("grant"), "valid_until", 0), true);
    edge("boolean-is-no-integer", &["PAY-4"], "true is not 1.", "notify", set(of("notify"), "seq", true), false);
    edge(
        "version-block-closed",
        &["MSG"],
        "An extra member in the block.",
        "invite",
        with(of("invite"), |m| m["dsip"]["x"] = json!(1)),
        false,
    );
    edge(
        "version-block-bad-profile",
        &["MSG"],
        "A profile without a version.",
        "invite",
        with(of("invite"), |m| m["dsip"]["profiles"] = json!(["x"])),
        false,
    );
    edge(
        "media-application",
        &["MSG"],
        "The fourth media type.",
        "invite",
        set(of("invite"), "media", json!([set(audio(), "type", "application")])),
        true,
    );
    edge(
        "media-unknown-type",
        &["MSG"],
        "Closed by the schema.",
        "invite",
        set(of("invite"), "media", json!([set(audio(), "type", "smell")])),
        false,
    );
    edge(
        "media-open",
        &["MSG"],
        "Media descriptors are open.",
        "invite",
        set(of("invite"), "media", json!([set(audio(), "x", json!({"deep": [1.5]}))])),
        true,
    );
    edge(
        "media-no-codecs",
        &["MSG"],
        "At least one codec.",
        "invite",
        set(of("invite"), "media", json!([set(audio(), "codecs", json!([]))])),
        false,
    );
    edge(
        "media-purpose-grammar",
        &["MSG"],
        "A purpose is a token.",
        "invite",
        set(of("invite"), "media", json!([set(audio(), "purpose", "Sign Language")])),
        false,
    );
    edge(
        "media-repeated",
        &["MSG-1"],
        "Elements may repeat.",
        "invite",
        set(of("invite"), "media", json!([audio(), audio()])),
        true,
    );
    edge(
        "codec-kind-unknown",
        &["MSG"],
        "codec:sound/…",
        "invite",
        set(of("invite"), "media", json!([set(audio(), "codecs", json!([{"id": "codec:sound/opus"}]))])),
        false,
    );
    edge(
        "transport-open",
        &["MSG"],
        "Transports are open.",
        "invite",
        set(of("invite"), "transports", json!([{"id": "transport:x", "y": {"z": 1}}])),
        true,
    );
    edge(
        "transport-grammar",
        &["MSG"],
        "No dots in a transport id.",
        "invite",
        set(of("invite"), "transports", json!([{"id": "transport:x.y"}])),
        false,
    );
    edge(
        "policy-key-grammar",
        &["MSG"],
        "Keys are lower case.",
        "invite",
        set(of("invite"), "policy", json!({"Recording": "denied"})),
        false,
    );
    edge(
        "policy-value-grammar",
        &["MSG"],
        "Values are tokens.",
        "invite",
        set(of("invite"), "policy", json!({"recording": true})),
        false,
    );
    edge(
        "identity-closed",
        &["MSG"],
        "Claimed identities are closed.",
        "introduction",
        set(of("introduction"), "identity", json!({"logo": "x"})),
        false,
    );
    edge(
        "claims-are-objects",
        &["MSG"],
        "Claims are objects.",
        "introduction",
        set(of("introduction"), "identity", json!({"claims": ["x"]})),
        false,
    );

    // Lengths count characters, not bytes (CNV-6).
    let long = |character: &str, count: usize| character.repeat(count);
    edge(
        "display-name-256-wide",
        &["CNV-6"],
        "256 characters of three bytes.",
        "introduction",
        set(of("introduction"), "identity", json!({"display_name": long("語", 256)})),
        true,
    );
    edge(
        "display-name-257",
        &["CNV-6"],
        "One more.",
        "introduction",
        set(of("introduction"), "identity", json!({"display_name": long("語", 257)})),
        false,
    );
    edge(
        "purpose-280-wide",
        &["CNV-6"],
        "280 characters of four bytes.",
        "introduction",
        set(of("introduction"), "purpose", long("😀", 280)),
        true,
    );
    edge(
        "purpose-281",
        &["CNV-6"],
        "One more.",
        "introduction",
        set(of("introduction"), "purpose", long("x", 281)),
        false,
    );
    edge(
        "purpose-empty",
        &["MSG-3"],
        "An empty string is fine.",
        "introduction",
        set(of("introduction"), "purpose", ""),
        true,
    );
    edge(
        "token-2048",
        &["MSG-3"],
        "2,048 characters.",
        "introduction",
        set(of("introduction"), "contact_token", long("x", 2_048)),
        true,
    );
    edge(
        "token-2049",
        &["MSG-3"],
        "One more.",
        "introduction",
        set(of("introduction"), "contact_token", long("x", 2_049)),
        false,
    );
    edge("detail-1024", &["MSG-3"], "1,024 characters.", "reject", set(of("reject"), "detail", long("é", 1_024)), true);
    edge("detail-1025", &["MSG-3"], "One more.", "error", set(of("error"), "detail", long("é", 1_025)), false);
    edge(
        "title-513",
        &["MSG-3"],
        "A title of 513 characters.",
        "publish",
        set(of("publish"), "title", long("x", 513)),
        false,
    );
    edge("target-empty", &["MSG-3"], "At least one character.", "subscribe", set(of("subscribe"), "target", ""), false);

    // Numbers at their bounds.
    for (name, value, valid) in [("29", 29, false), ("30", 30, true), ("300", 300, true), ("301", 301, false)] {
        edge(
            &format!("ring-timeout-{name}"),
            &["MSG"],
            "30 to 300.",
            "progress",
            set(of("progress"), "ring_timeout", value),
            valid,
        );
    }
    for (name, value, valid) in [("0", 0, false), ("1", 1, true), ("1800", 1_800, true), ("1801", 1_801, false)] {
        let queued = set(of("progress"), "status", "queued");
        edge(
            &format!("queue-timeout-{name}"),
            &["MSG"],
            "1 to 1,800.",
            "progress",
            set(queued, "queue_timeout", value),
            valid,
        );
    }
    edge(
        "queue-timeout-missing",
        &["MSG"],
        "Required with queued.",
        "progress",
        set(of("progress"), "status", "queued"),
        false,
    );
    edge(
        "queue-timeout-with-ringing",
        &["MSG"],
        "Allowed, though meaningless.",
        "progress",
        set(of("progress"), "queue_timeout", 60),
        true,
    );
    for (name, value, valid) in [("0", 0, true), ("86400", 86_400, true), ("86401", 86_401, false)] {
        edge(
            &format!("expires-in-{name}"),
            &["MSG"],
            "0 to 86,400.",
            "subscribe",
            set(of("subscribe"), "expires_in", value),
            valid,
        );
    }
    edge(
        "retry-after-zero",
        &["RSN-3"],
        "Zero says that retrying will not help.",
        "reject",
        set(of("reject"), "retry_after", 0),
        true,
    );
    edge("retry-after-negative", &["MSG"], "At least zero.", "reject", set(of("reject"), "retry_after", -1), false);

    // Lists.
    edge(
        "update-empty-transports",
        &["MSG"],
        "One at least, if there are any.",
        "update",
        set(of("update"), "transports", json!([])),
        false,
    );
    edge("answer-no-transport", &["MSG"], "Exactly one.", "answer", set(of("answer"), "transports", json!([])), false);
    edge(
        "scope-grammar",
        &["MSG"],
        "Scopes start with dsip.",
        "grant",
        set(of("grant"), "scope", json!(["invite"])),
        false,
    );
    edge(
        "scope-unknown",
        &["REG-6"],
        "An unknown scope is carried.",
        "grant",
        set(of("grant"), "scope", json!(["dsip.x.y-1"])),
        true,
    );
    edge(
        "events-not-a-token",
        &["MSG"],
        "Events are tokens.",
        "subscribe",
        set(of("subscribe"), "events", json!(["Presence"])),
        false,
    );
    edge("reason-without-condition", &["MSG"], "category.condition", "bye", set(of("bye"), "reason", "user"), false);
    edge(
        "reason-of-an-extension",
        &["MSG"],
        "An extension's own category.",
        "bye",
        set(of("bye"), "reason", "x-contactcenter.queue-full"),
        true,
    );
    edge(
        "hint-uri-not-wss",
        &["MSG"],
        "wss only.",
        "reachability-hint",
        set(of("reachability-hint"), "endpoints", json!([{"uri": "https://a.example", "bindings": ["ws/1.0"]}])),
        false,
    );
    edge(
        "hint-no-bindings",
        &["MSG"],
        "At least one binding.",
        "reachability-hint",
        set(of("reachability-hint"), "endpoints", json!([{"uri": "wss://a.example", "bindings": []}])),
        false,
    );
    edge(
        "variant-open",
        &["MSG"],
        "Variants are open.",
        "publish",
        with(of("publish"), |m| m["variants"][0]["integrity"] = json!(5)),
        true,
    );
    edge(
        "variant-application",
        &["MSG"],
        "audio, video or text.",
        "publish",
        with(of("publish"), |m| m["variants"][0]["media"] = json!(["application"])),
        false,
    );
    edge(
        "variant-uri-not-checked",
        &["MSG"],
        "The form of a URI is not checked.",
        "publish",
        with(of("publish"), |m| m["variants"][0]["uri"] = json!("not a uri")),
        true,
    );
    edge(
        "rotation-method-without-fragment",
        &["MSG"],
        "A method id has a fragment.",
        "key-rotation",
        set(of("key-rotation"), "next", "did:web:ada.example"),
        false,
    );
    edge(
        "rotation-key-alphabet",
        &["MSG"],
        "No 0, O, I or l in base58.",
        "key-rotation",
        set(of("key-rotation"), "next_public_key_multibase", "z0OIl"),
        false,
    );

    // hello: the client's form and the relay's.
    let relay = json!({"in_reply_to": ulid(NOW, "hello"), "capabilities": {"max_envelope_bytes": 65_536}});
    let relay = message("hello", &did("node"), relay);
    edge("hello-relay-minimal", &["MSG"], "in_reply_to and capabilities.", "hello", relay.clone(), true);
    edge(
        "hello-relay-with-bindings",
        &["MSG"],
        "bindings are optional then.",
        "hello",
        set(relay.clone(), "bindings", json!(["ws/1.0"])),
        true,
    );
    edge(
        "hello-relay-empty-bindings",
        &["MSG"],
        "One at least, if there are any.",
        "hello",
        set(relay.clone(), "bindings", json!([])),
        false,
    );
    edge(
        "hello-relay-without-in-reply-to",
        &["MSG"],
        "Capabilities alone.",
        "hello",
        set(unset(relay.clone(), "in_reply_to"), "bindings", json!(["ws/1.0"])),
        false,
    );
    edge(
        "hello-with-to",
        &["HEL-10"],
        "A hello is addressed to nobody.",
        "hello",
        set(of("hello"), "to", did("node")),
        false,
    );
    for (name, value, valid) in [
        ("rate-limit-open", json!({"rate_limit": {"envelopes_per_minute": 1, "x": []}}), true),
        ("rate-limit-zero", json!({"rate_limit": {"invites_per_minute": 0}}), false),
        ("push-wake", json!({"push_wake": ["apns", "x"]}), true),
        ("push-wake-not-strings", json!({"push_wake": [1]}), false),
        ("store-and-forward-not-boolean", json!({"store_and_forward": 1}), false),
    ] {
        let mut capabilities = json!({"max_envelope_bytes": 65_536});
        capabilities.as_object_mut().expect("an object").extend(value.as_object().expect("an object").clone());
        edge(
            &format!("hello-{name}"),
            &["CAP-2"],
            "Capabilities.",
            "hello",
            set(relay.clone(), "capabilities", capabilities),
            valid,
        );
    }

    // info about WebRTC.
    let info = |data: Value| set(of("info"), "data", data);
    let candidates = |list: Value| info(json!({"candidates": list, "end_of_candidates": false}));
    let candidate =
        json!({"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdp_mid": "0", "sdp_m_line_index": 0});
    edge("ice-64-candidates", &["PIPE-2"], "64 at most.", "info", candidates(json!(vec![candidate.clone(); 64])), true);
    edge("ice-65-candidates", &["PIPE-2"], "One more.", "info", candidates(json!(vec![candidate.clone(); 65])), false);
    edge(
        "ice-candidate-closed",
        &["PIPE-2"],
        "Candidates are closed.",
        "info",
        candidates(json!([set(candidate.clone(), "x", 1)])),
        false,
    );
    edge(
        "ice-candidate-prefix",
        &["PIPE-2"],
        "Starts with candidate:.",
        "info",
        candidates(json!([set(candidate.clone(), "candidate", "a=candidate:1")])),
        false,
    );
    edge(
        "ice-candidate-513",
        &["PIPE-2"],
        "512 characters at most.",
        "info",
        candidates(json!([set(candidate.clone(), "candidate", format!("candidate:{}", long("x", 503)))])),
        false,
    );
    edge(
        "ice-mid-65",
        &["PIPE-2"],
        "64 characters at most.",
        "info",
        candidates(json!([set(candidate, "sdp_mid", long("x", 65))])),
        false,
    );
    edge("ice-without-end", &["PIPE-2"], "Both members are required.", "info", info(json!({"candidates": []})), false);
    edge(
        "ice-closed",
        &["PIPE-2"],
        "The object is closed.",
        "info",
        info(json!({"candidates": [], "end_of_candidates": true, "x": 1})),
        false,
    );

    // The envelope object.
    let envelope = json!({"protected": "e30", "payload": "e30", "signature": "AA"});
    for (name, value, valid) in [
        ("plain", envelope.clone(), true),
        ("extra-member", set(envelope.clone(), "x", "AA"), false),
        ("empty-string", set(envelope.clone(), "payload", ""), false),
        ("padding", set(envelope.clone(), "payload", "AA=="), false),
        ("not-a-string", set(envelope, "signature", 5), false),
    ] {
        edge(&format!("envelope-{name}"), &["ENV-1"], "The envelope object.", "envelope", value, valid);
    }
    cases
}

/// Optional members, each with a value that is fine.
fn optional(kind: &str) -> Vec<(&'static str, Value)> {
    let policy = ("policy", json!({"recording": "consent-required", "ai_processing": "denied"}));
    let detail = [("detail", json!("because")), ("retry_after", json!(60))];
    let id = || json!(ulid(NOW, "other"));
    let mut members = match kind {
        "invite" => vec![
            ("intent", json!("interactive")),
            ("identity", json!({"display_name": "Ada", "claims": [{"type": "x"}]})),
            ("grant", id()),
        ],
        "progress" => vec![("ring_timeout", json!(60))],
        "answer" => vec![("in_reply_to", id())],
        "update" => vec![("transports", json!([{"id": "transport:webrtc"}])), ("answered_by", json!("user"))],
        "reject" => vec![("in_reply_to", id())],
        "error" => vec![("session", id()), ("in_reply_to", id())],
        "hello" => vec![("on_behalf_of", json!(did("ada")))],
        "introduction" => vec![("purpose", json!("Hello.")), ("contact_token", json!("t"))],
        "subscribe" => vec![("claims", json!([{}])), ("capability", json!("c"))],
        "notify" => vec![("reason", json!("session.expired"))],
        "publish" => vec![("title", json!("News")), ("integrity", json!("x-new"))],
        "provenance" => vec![("output_uri", json!("https://node.example/small"))],
        "key-rotation" => vec![("recovery", json!(true)), ("devices", json!([did("ada-phone")]))],
        _ => Vec::new(),
    };
    if matches!(kind, "invite" | "answer" | "update" | "publish") {
        members.push(policy);
    }
    if matches!(kind, "reject" | "cancel" | "bye" | "error") {
        members.extend(detail);
    }
    members
}
