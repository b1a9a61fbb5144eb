//! Kind `transport`: frames, and what a connection remembers.

use serde_json::{Value, json};

use super::people::{did, message, offer, required, seal, ulid};
use super::{Case, NOW, reject, reject_with, set};

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, rules, about, context: Value, input: Value, expect: Value| Case {
        kind: "transport",
        name: name.into(),
        rules,
        about,
        context: super::with(context, |context| context["now"] = NOW.into()),
        input,
        expect,
    };
    let accept = |kind: &str, signer: &str| json!({"verdict": "accept", "type": kind, "signer": did(signer), "identity": did(signer)});
    let framed = |envelope: &Value, length: usize| {
        let text = envelope.to_string();
        let frame = format!("{text}{}", " ".repeat(length.saturating_sub(text.len())));
        json!({"envelope": envelope, "frame": frame})
    };
    let invite = seal("ada-phone", &message("invite", &did("ada-phone"), offer()));
    let introduction = seal("ada", &message("introduction", &did("ada"), required("introduction")));
    let answer_to = |id: &str| {
        let capabilities = json!({"max_envelope_bytes": 65_536});
        seal("node", &message("hello", &did("node"), json!({"in_reply_to": id, "capabilities": capabilities})))
    };
    let sent = ulid(NOW, "sent-hello");
    vec![
        case(
            "frame-at-cap",
            &["ENV-12"],
            "65,536 bytes exactly; the cap is inclusive.",
            json!({}),
            framed(&invite, 65_536),
            accept("invite", "ada-phone"),
        ),
        case(
            "frame-over-cap",
            &["PIPE", "ENV-12"],
            "One byte more.",
            json!({}),
            framed(&invite, 65_537),
            reject_with("frame-too-large", "transport.envelope-too-large"),
        ),
        case(
            "introduction-frame-at-cap",
            &["SEM-4", "ENV-11"],
            "The received frame's length counts: 4,096 bytes.",
            json!({}),
            framed(&introduction, 4_096),
            accept("introduction", "ada"),
        ),
        case(
            "introduction-frame-over-cap",
            &["SEM-4", "ENV-11"],
            "The received frame's length counts, though the envelope alone would fit.",
            json!({}),
            framed(&introduction, 4_097),
            reject("introduction-too-large"),
        ),
        case(
            "hello-required",
            &["HEL-1"],
            "An invite before hello.",
            json!({"hello_verified": false}),
            json!({"envelope": invite}),
            reject_with("hello-required", "transport.hello-required"),
        ),
        case(
            "hello-required-after-freshness",
            &["HEL-1", "PIPE"],
            "Stages 1 to 11 come first.",
            json!({"hello_verified": false, "seen_ids": [message("invite", &did("ada-phone"), offer())["id"]]}),
            json!({"envelope": invite}),
            reject("duplicate-id"),
        ),
        case(
            "hello-required-before-version",
            &["HEL-1", "PIPE"],
            "Version and schema come after.",
            json!({"hello_verified": false}),
            json!({"envelope": seal("ada-phone", &set(message("invite", &did("ada-phone"), offer()), "type", "no-such-type"))}),
            reject_with("hello-required", "transport.hello-required"),
        ),
        case(
            "after-hello",
            &["HEL-1"],
            "An invite after hello.",
            json!({"hello_verified": true}),
            json!({"envelope": invite}),
            accept("invite", "ada-phone"),
        ),
        case(
            "relay-hello-in-reply",
            &["SEM-1", "HEL-4"],
            "The relay answers the hello this connection sent.",
            json!({"sent_hello_id": sent}),
            json!({"envelope": answer_to(&sent)}),
            accept("hello", "node"),
        ),
        case(
            "relay-hello-of-another-connection",
            &["SEM-1", "HEL-5"],
            "A captured reply.",
            json!({"sent_hello_id": sent}),
            json!({"envelope": answer_to(&ulid(NOW, "other-hello"))}),
            reject("hello-in-reply-to-mismatch"),
        ),
        case(
            "hello-repeated",
            &["HEL-9"],
            "The same hello a second time.",
            json!({"seen_ids": [message("hello", &did("ada-phone"), required("hello"))["id"]]}),
            json!({"envelope": seal("ada-phone", &message("hello", &did("ada-phone"), required("hello")))}),
            reject("duplicate-id"),
        ),
    ]
}
