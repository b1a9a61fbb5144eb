//! The SIP/PSTN gateway (05): reason tables, trunk media, claims, losses, controller traces.

use serde_json::{Value, json};

use super::Vector;

const NUMBER: &str = "+15551234567";

pub(super) fn vectors() -> Vec<Vector> {
    [reasons_inbound(), reasons_outbound(), media(), claims(), losses(), outbound_traces(), inbound_traces()]
        .into_iter()
        .flatten()
        .collect()
}

fn vector(name: &str, rules: &[&'static str], description: &str, input: Value, expect: Value) -> Vector {
    Vector::new("gateway", name, rules, description).input(input).expect(expect)
}

/// Table 3a, table 3b, and the steps of GW-60 to GW-65.
fn reasons_inbound() -> Vec<Vector> {
    let inbound =
        |name: &str, rules: &[&'static str], members: Value, reason: &str, carry: &str, detail: Option<&str>| {
            let mut input = members;
            input["check"] = "reason-inbound".into();
            let mut expect = json!({"reason": reason, "carry": carry});
            if let Some(detail) = detail {
                expect["detail"] = detail.into();
            }
            vector(&format!("inbound-{name}"), rules, "A foreign condition becomes a DSIP reason.", input, expect)
        };
    let mut vectors = vec![
        inbound(
            "cause-beats-status",
            &["GW-60"],
            json!({"sip_status": 503, "q850": 21}),
            "user.declined",
            "reject",
            Some("Q.850 21"),
        ),
        inbound(
            "unmapped-cause-leaves-the-status",
            &["GW-61"],
            json!({"sip_status": 404, "q850": 99}),
            "identity.unknown",
            "reject",
            Some("SIP 404"),
        ),
        inbound("nothing-before-the-answer", &["GW-62"], json!({}), "user.hangup", "reject", None),
        inbound(
            "nothing-mapped",
            &["GW-63"],
            json!({"sip_status": 499, "q850": 99}),
            "gateway.mapped",
            "reject",
            Some("SIP 499"),
        ),
        inbound(
            "moved-by-cause",
            &["GW-64"],
            json!({"q850": 22, "moved_to": "tel:+15557654321"}),
            "identity.moved",
            "reject",
            Some("tel:+15557654321"),
        ),
        inbound(
            "successor-of-somebody-else",
            &["GW-64"],
            json!({"sip_status": 486, "moved_to": "tel:+15557654321"}),
            "endpoint.busy",
            "reject",
            Some("SIP 486"),
        ),
        inbound(
            "active-moved-becomes-mapped",
            &["GW-65"],
            json!({"sip_status": 410, "moved_to": "tel:+15557654321", "phase": "active"}),
            "gateway.mapped",
            "bye",
            Some("tel:+15557654321"),
        ),
        inbound(
            "active-timeout-passes",
            &["GW-65"],
            json!({"q850": 102, "phase": "active"}),
            "session.timeout",
            "bye",
            Some("Q.850 102"),
        ),
        inbound(
            "transport-busy",
            &["GW-61"],
            json!({"sip_status": 486, "phase": "transport"}),
            "endpoint.busy",
            "error",
            Some("SIP 486"),
        ),
    ];
    let causes: [(&str, &[u16]); 10] = [
        ("identity.unknown", &[1, 28]),
        ("user.hangup", &[16, 31]),
        ("endpoint.busy", &[17]),
        ("endpoint.unavailable", &[18, 19, 20]),
        ("user.declined", &[21]),
        ("identity.not-in-service", &[22]),
        ("gateway.unreachable", &[34, 38, 41, 42, 43, 44]),
        ("media.failed", &[47]),
        ("media.unsupported", &[63, 65, 79]),
        ("session.timeout", &[102]),
    ];
    for (reason, cause) in causes.into_iter().flat_map(|(reason, list)| list.iter().map(move |cause| (reason, cause))) {
        let detail = format!("Q.850 {cause}");
        vectors.push(inbound(
            &format!("q850-{cause}"),
            &["GW-60"],
            json!({"q850": cause}),
            reason,
            "reject",
            Some(&detail),
        ));
    }
    let statuses: [(&str, &[u16]); 9] = [
        ("policy.blocked", &[403]),
        ("identity.unknown", &[404, 484, 604]),
        ("endpoint.unavailable", &[408, 480]),
        ("identity.not-in-service", &[410]),
        ("media.unsupported", &[415, 488, 606]),
        ("endpoint.busy", &[486, 600]),
        ("session.cancelled", &[487]),
        ("gateway.unreachable", &[502, 503, 504]),
        ("user.declined", &[603]),
    ];
    for (reason, status) in
        statuses.into_iter().flat_map(|(reason, list)| list.iter().map(move |status| (reason, status)))
    {
        let (name, detail) = (format!("sip-{status}"), format!("SIP {status}"));
        vectors.push(inbound(&name, &["GW-61"], json!({"sip_status": status}), reason, "reject", Some(&detail)));
    }
    vectors
}

/// Tables 4a, 4b and 4c.
fn reasons_outbound() -> Vec<Vector> {
    let header = |token: &str| json!({"protocol": "DSIP", "text": token});
    let refusal = |token: &str, rule: &'static str, status: u16, cause: Option<u16>| {
        let mut expect = json!({"status": status, "reason_header": header(token)});
        if let Some(cause) = cause {
            expect["q850"] = cause.into();
        }
        if token.ends_with(".rate-limited") {
            expect["retry_after"] = true.into();
        }
        let input = json!({"check": "reason-outbound", "reason": token});
        let name = format!("outbound-{}", token.replace('.', "-"));
        vector(&name, &["GW-70", rule], "A DSIP reason becomes a SIP refusal.", input, expect)
    };
    let bye = |token: &str, rule: &'static str, cause: u16| {
        let input = json!({"check": "reason-outbound", "reason": token, "phase": "active"});
        let expect = json!({"method": "BYE", "q850": cause, "reason_header": header(token)});
        let name = format!("outbound-bye-{}", token.replace('.', "-"));
        vector(&name, &["GW-73", rule], "A DSIP reason becomes the cause of a BYE.", input, expect)
    };
    let table_4a: [(&str, u16, Option<u16>); 32] = [
        ("user.declined", 603, Some(21)),
        ("user.blocked", 603, Some(21)),
        ("user.no-answer", 480, Some(19)),
        ("user.cancelled", 487, None),
        ("endpoint.busy", 486, Some(17)),
        ("endpoint.unavailable", 480, Some(18)),
        ("endpoint.capability", 488, Some(79)),
        ("identity.not-in-service", 410, Some(22)),
        ("identity.moved", 410, Some(22)),
        ("identity.suspended", 403, Some(21)),
        ("identity.unknown", 404, Some(1)),
        ("session.expired", 480, Some(102)),
        ("session.timeout", 480, Some(102)),
        ("session.failed", 500, Some(41)),
        ("media.unsupported", 488, Some(65)),
        ("media.offer-required", 488, Some(65)),
        ("media.encryption-required", 488, Some(65)),
        ("policy.blocked", 403, Some(21)),
        ("policy.trust-insufficient", 403, Some(21)),
        ("policy.first-contact-required", 403, Some(21)),
        ("policy.rate-limited", 503, Some(42)),
        ("policy.terminated", 480, Some(31)),
        ("transport.unknown-recipient", 404, Some(1)),
        ("transport.rate-limited", 503, Some(42)),
        ("transport.envelope-too-large", 503, Some(41)),
        ("transport.hello-required", 503, Some(41)),
        ("transport.hello-rejected", 503, Some(41)),
        ("transport.routing-refused", 503, Some(41)),
        ("gateway.unreachable", 503, Some(38)),
        ("gateway.mapped", 500, Some(41)),
        // A registered token that the table does not list goes by its category.
        ("media.failed", 488, Some(65)),
        ("session.glare", 500, Some(41)),
    ];
    let table_4b: [(&str, u16, u16); 9] = [
        ("user.went-fishing", 603, 21),
        ("endpoint.went-fishing", 480, 18),
        ("identity.went-fishing", 404, 1),
        ("session.went-fishing", 500, 41),
        ("media.went-fishing", 488, 65),
        ("policy.went-fishing", 403, 21),
        ("transport.went-fishing", 503, 41),
        ("gateway.went-fishing", 503, 38),
        ("x-shop.went-fishing", 500, 41),
    ];
    let table_4c: [(&str, &'static str, u16); 9] = [
        ("user.hangup", "GW-73", 16),
        ("session.already-answered", "GW-97", 16),
        ("session.cancelled", "GW-97", 16),
        ("session.timeout", "GW-97", 16),
        ("media.failed", "GW-73", 47),
        ("policy.terminated", "GW-73", 31),
        ("endpoint.busy", "GW-73", 17),
        ("user.cancelled", "GW-73", 16),
        ("x-shop.went-fishing", "GW-73", 16),
    ];
    let refusals = table_4a.map(|(token, status, cause)| refusal(token, "GW-71", status, cause));
    let fallbacks = table_4b.map(|(token, status, cause)| refusal(token, "GW-72", status, Some(cause)));
    let byes = table_4c.map(|(token, rule, cause)| bye(token, rule, cause));
    refusals.into_iter().chain(fallbacks).chain(byes).collect()
}

fn media() -> Vec<Vector> {
    let read = |name: &str, rules: &[&'static str], description: &str, sdp: &str, expect: Value| {
        vector(&format!("sdp-{name}"), rules, description, json!({"check": "sdp-to-descriptors", "sdp": sdp}), expect)
    };
    let audio = |direction: &str, codecs: &[&str]| {
        let codecs: Vec<_> = codecs.iter().map(|codec| json!({"id": format!("codec:audio/{codec}")})).collect();
        json!({"type": "audio", "direction": direction, "codecs": codecs})
    };
    vec![
        read("unreadable", &["GW-80"], "Unreadable text is an error.", "not sdp", json!({"error": "unparseable"})),
        read(
            "dead-and-foreign-sections-skipped",
            &["GW-81", "GW-84"],
            "Sections with port 0 and of other kinds give no descriptor, but count for the keying.",
            "v=0\r\nm=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\nm=image 9 UDP/TLS/X t38\r\n",
            json!({"media": [], "srtp": "dtls"}),
        ),
        read(
            "only-unknown-codecs",
            &["GW-82", "GW-85"],
            "A section without a codec DSIP has an id for gives no descriptor.",
            "v=0\r\nm=audio 9 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n",
            json!({"media": [], "srtp": "none"}),
        ),
        read(
            "each-codec-once",
            &["GW-82"],
            "Codecs come in rtpmap order, without repeats and without regard to case.",
            "v=0\r\nm=audio 9 RTP/AVP 111 112 0\r\na=rtpmap:112 OPUS/48000/2\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:0 pcmu/8000\r\n",
            json!({"media": [audio("sendrecv", &["opus", "pcmu"])], "srtp": "none"}),
        ),
        read(
            "static-payload-types",
            &["GW-86"],
            "Payload types 0, 8 and 9 need no rtpmap; what an rtpmap renames is what it says.",
            "v=0\r\na=inactive\r\nm=audio 9 RTP/SAVP 0 8 9\r\na=rtpmap:0 G729/8000\r\na=crypto:1 x inline:y\r\n",
            json!({"media": [audio("inactive", &["pcma", "g722"])], "srtp": "sdes"}),
        ),
        vector(
            "descriptors-without-trunk-names-left-out",
            &["GW-87"],
            "Codec ids without an SDP name are dropped, and a descriptor left empty with them.",
            json!({"check": "descriptors-to-sdp", "media": [
                {"type": "text", "direction": "sendrecv", "codecs": [{"id": "codec:text/t140"}]},
                {"type": "audio", "direction": "inactive", "codecs": [{"id": "codec:audio/aac"}, {"id": "codec:audio/pcma"}]},
                {"type": "video", "direction": "sendrecv", "codecs": [{"id": "codec:video/vp8"}, {"id": "codec:video/av1"}]}
            ]}),
            json!({"m_lines": [
                {"kind": "audio", "encodings": ["PCMA"], "direction": "inactive"},
                {"kind": "video", "encodings": ["VP8", "AV1"], "direction": "sendrecv"}
            ]}),
        ),
    ]
}

fn tel(attestation: &str, verified: bool) -> Value {
    json!({
        "type": "tel", "number": NUMBER, "attestation": attestation, "verified": verified,
        "verifier": "did:web:gw.example"
    })
}

fn basis(attestation: &str, verified: bool) -> String {
    match (attestation, verified) {
        ("none", _) => "Gateway attested by gw.example · no attestation".to_owned(),
        (level, true) => format!("Gateway attested by gw.example · STIR attestation {level} (verified)"),
        (level, false) => format!("Gateway attested by gw.example · STIR attestation {level} (unverified)"),
    }
}

fn claims() -> Vec<Vector> {
    let claim = |name: &str, rules: &[&'static str], identity: Value, attestation: &str, verified: bool| {
        let mut input = json!({"check": "claims", "from_tn": NUMBER, "cnam": ""});
        if !identity.is_null() {
            input["identity"] = identity;
        }
        let expect = json!({"claim": tel(attestation, verified), "trust_basis": basis(attestation, verified)});
        vector(&format!("claims-{name}"), rules, "What a gateway claims about a PSTN caller.", input, expect)
    };
    vec![
        claim("empty-cnam-left-out", &["GW-90"], Value::Null, "none", false),
        claim("level-c", &["GW-91"], json!({"attest": "C", "verified": true, "orig_tn": NUMBER}), "C", true),
        claim("level-missing", &["GW-91"], json!({"verified": true, "orig_tn": NUMBER}), "none", false),
        claim("level-unknown", &["GW-91"], json!({"attest": "Z", "verified": true, "orig_tn": NUMBER}), "none", false),
        claim(
            "vouches-for-another-call",
            &["GW-92"],
            json!({"attest": "A", "verified": true, "orig_tn": "+15550000000"}),
            "none",
            false,
        ),
        claim("vouches-for-no-number", &["GW-93"], json!({"attest": "A", "verified": true}), "A", false),
    ]
}

fn losses() -> Vec<Vector> {
    let lost = |name: &str, rules: &[&'static str], facts: Value, losses: &[&str]| {
        let downgrade = vector(
            &format!("downgrade-{name}"),
            rules,
            "What a crossing loses.",
            json!({"check": "downgrade", "facts": facts}),
            json!({"downgraded": !losses.is_empty(), "lost": losses}),
        );
        let told = if losses.is_empty() { Value::Null } else { json!({"losses": losses}) };
        let input = json!({"check": "downgrade-error", "facts": facts});
        [downgrade, vector(&format!("downgrade-error-{name}"), &["GW-115", "GW-116"], "How it is told.", input, told)]
    };
    [
        lost("defaults", &["GW-110", "GW-111"], json!({}), &["no-srtp-on-trunk", "identity-not-assertable"]),
        lost(
            "inbound-all",
            &["GW-110", "GW-112", "GW-113"],
            json!({"direction": "inbound", "policy_present": true}),
            &["no-srtp-on-trunk", "no-attestation", "policy-unenforceable"],
        ),
        lost(
            "inbound-attested",
            &["GW-112", "GW-114"],
            json!({"direction": "inbound", "trunk_srtp": true, "attestation": "C"}),
            &[],
        ),
        lost(
            "identity-matters-outbound-only",
            &["GW-111"],
            json!({"direction": "inbound", "trunk_srtp": true, "attestation": "A", "identity_assertable": false}),
            &[],
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One step of a trace: the event, what it emits, and the two states after it.
type Step = (Value, Vec<Value>, &'static str, &'static str);

fn trace(name: &str, rules: &[&'static str], description: &str, context: Value, steps: Vec<Step>) -> Vector {
    let (mut events, mut expected) = (Vec::new(), Vec::new());
    for (event, emit, dsip, sip) in steps {
        events.push(json!({"event": event}));
        expected.push(json!({"emit": emit, "state": {"dsip": dsip, "sip": sip}}));
    }
    let input = json!({"check": "trace", "steps": events});
    vector(&format!("trace-{name}"), rules, description, input, json!({"steps": expected})).context(context)
}

fn dsip(message: Value) -> Value {
    json!({"dsip": message})
}

fn sip(message: Value) -> Value {
    json!({"sip": message})
}

fn bye(q850: u16, token: &str) -> Value {
    sip(json!({"request": "BYE", "q850": q850, "reason_header": {"protocol": "DSIP", "text": token}}))
}

fn invite() -> Step {
    (dsip(json!({"type": "invite"})), vec![sip("INVITE".into())], "inviting", "calling")
}

fn alert() -> Value {
    dsip(json!({"local": "alert"}))
}

fn accept() -> Value {
    dsip(json!({"local": "accept", "answered_by": "gateway"}))
}

fn media_is(what: &str) -> Value {
    json!({"media": what})
}

fn status(status: u16) -> Value {
    sip(json!({"status": status}))
}

fn outbound_traces() -> Vec<Vector> {
    let early = || sip(json!({"status": 183, "sdp": true}));
    let ack = || sip("ACK".into());
    let hangup = |reason: &str| dsip(json!({"local": "hangup", "reason": reason}));
    let trace = |name: &str, rules: &[&'static str], description: &str, early_media: &str, steps: Vec<Step>| {
        let context = json!({"direction": "outbound", "early_media": early_media});
        trace(&format!("outbound-{name}"), rules, description, context, steps)
    };
    vec![
        trace(
            "early-media-then-200",
            &["GW-12", "GW-13", "GW-15", "GW-120"],
            "A 183 with SDP rings, answers and bridges; the 200 only confirms.",
            "always",
            vec![
                invite(),
                (early(), vec![alert(), accept(), media_is("bridge")], "active", "early"),
                (early(), vec![], "active", "early"),
                (status(200), vec![ack()], "active", "confirmed"),
            ],
        ),
        trace(
            "early-media-then-503",
            &["GW-17"],
            "A failure after early media ends an established call.",
            "auto",
            vec![
                invite(),
                (early(), vec![alert(), accept(), media_is("bridge")], "active", "early"),
                (status(503), vec![hangup("gateway.unreachable"), media_is("release")], "ended", "terminated"),
            ],
        ),
        trace(
            "early-media-refused",
            &["GW-12", "GW-14"],
            "Where early media means nothing the 200 answers.",
            "never",
            vec![
                invite(),
                (early(), vec![alert()], "proceeding", "early"),
                (status(183), vec![], "proceeding", "early"),
                (status(200), vec![ack(), accept(), media_is("bridge")], "active", "confirmed"),
            ],
        ),
        trace(
            "withdrawn-then-200",
            &["GW-18", "GW-20", "GW-22"],
            "A 200 that crosses the withdrawal is acknowledged and ended at once.",
            "auto",
            vec![
                invite(),
                (dsip(json!({"type": "cancel"})), vec![sip("CANCEL".into())], "ended", "calling"),
                (status(180), vec![], "ended", "calling"),
                (status(200), vec![ack(), bye(16, "session.cancelled")], "ended", "terminated"),
            ],
        ),
        trace(
            "timer-c-while-ringing",
            &["GW-23"],
            "SIP Timer C withdraws and says so.",
            "auto",
            vec![
                invite(),
                (status(180), vec![alert()], "proceeding", "early"),
                (
                    json!({"timer": "C"}),
                    vec![
                        sip("CANCEL".into()),
                        dsip(json!({"local": "auto_reject", "reason": "gateway.unreachable", "detail": "SIP Timer C"})),
                    ],
                    "ended",
                    "terminated",
                ),
            ],
        ),
        trace(
            "timer-c-after-early-media",
            &["GW-24"],
            "After early media Timer C ends an established call.",
            "auto",
            vec![
                invite(),
                (early(), vec![alert(), accept(), media_is("bridge")], "active", "early"),
                (
                    json!({"timer": "C"}),
                    vec![sip("CANCEL".into()), hangup("gateway.unreachable"), media_is("release")],
                    "ended",
                    "terminated",
                ),
            ],
        ),
        trace(
            "sip-bye-twice",
            &["GW-44", "GW-45"],
            "A BYE ends the call with the reason of its cause; a second one is answered and no more.",
            "auto",
            vec![
                invite(),
                (status(200), vec![ack(), accept(), media_is("bridge")], "active", "confirmed"),
                (
                    sip(json!({"request": "BYE", "q850": 41})),
                    vec![sip(json!({"response": 200})), hangup("gateway.unreachable"), media_is("release")],
                    "ended",
                    "terminated",
                ),
                (sip(json!({"request": "BYE"})), vec![sip(json!({"response": 200}))], "ended", "terminated"),
            ],
        ),
        trace(
            "moved",
            &["GW-16", "GW-64"],
            "A refusal that names the number's successor becomes identity.moved.",
            "auto",
            vec![
                invite(),
                (
                    sip(json!({"status": 410, "moved_to": "tel:+15557654321"})),
                    vec![dsip(json!({
                        "local": "auto_reject", "reason": "identity.moved", "detail": "tel:+15557654321"
                    }))],
                    "ended",
                    "terminated",
                ),
            ],
        ),
        trace(
            "hang-up-and-again",
            &["GW-42", "GW-43"],
            "A bye without a reason is an ordinary hang-up; a second one finds no SIP call.",
            "auto",
            vec![
                invite(),
                (status(200), vec![ack(), accept(), media_is("bridge")], "active", "confirmed"),
                (
                    dsip(json!({"type": "bye"})),
                    vec![bye(16, "user.hangup"), media_is("release")],
                    "ended",
                    "terminated",
                ),
                (dsip(json!({"type": "bye"})), vec![media_is("release")], "ended", "terminated"),
            ],
        ),
    ]
}

fn inbound_traces() -> Vec<Vector> {
    let offered = || -> Step {
        let call =
            dsip(json!({"local": "place_call", "claims": [tel("none", false)], "trust_basis": basis("none", false)}));
        let invite = sip(json!({"request": "INVITE", "from_tn": NUMBER}));
        (invite, vec![call, sip(json!({"response": 100}))], "offered", "early")
    };
    let answered = |by: &str, direction: &str| -> Step {
        let emit = vec![sip(json!({"response": 200, "direction": direction})), media_is("bridge")];
        (dsip(json!({"type": "answer", "answered_by": by})), emit, "active", "confirmed")
    };
    let refused = |token: Option<&str>, status: u16, q850: Value| -> Step {
        let event = token.map_or_else(|| json!({"type": "reject"}), |token| json!({"type": "reject", "reason": token}));
        let header = json!({"protocol": "DSIP", "text": token.unwrap_or("session.failed")});
        let emit = vec![sip(json!({"response": status, "q850": q850, "reason_header": header}))];
        (dsip(event), emit, "ended", "terminated")
    };
    let trace = |name: &str, rules: &[&'static str], description: &str, steps: Vec<Step>| {
        trace(&format!("inbound-{name}"), rules, description, json!({"direction": "inbound"}), steps)
    };
    vec![
        trace(
            "screened-then-taken",
            &["GW-32", "GW-40", "GW-95"],
            "While screened the PSTN party is the only sender; taking the call makes it two-way.",
            vec![
                offered(),
                answered("screening", "sendonly"),
                (
                    dsip(json!({"type": "update", "direction": "sendrecv"})),
                    vec![sip(json!({"request": "re-INVITE", "direction": "sendrecv"}))],
                    "active",
                    "confirmed",
                ),
                (
                    dsip(json!({"type": "update"})),
                    vec![sip(json!({"request": "re-INVITE", "direction": "sendrecv"}))],
                    "active",
                    "confirmed",
                ),
            ],
        ),
        trace(
            "first-contact-required",
            &["GW-33", "GW-98"],
            "A callee who does not know the gateway refuses, and the PSTN hears 403.",
            vec![offered(), refused(Some("policy.first-contact-required"), 403, 21.into())],
        ),
        trace(
            "refused-without-reason",
            &["GW-33"],
            "A missing reason counts as session.failed.",
            vec![offered(), refused(None, 500, 41.into())],
        ),
        trace(
            "refused-without-cause",
            &["GW-33"],
            "A reason without a Q.850 cause leaves it null.",
            vec![offered(), refused(Some("user.cancelled"), 487, Value::Null)],
        ),
        trace(
            "late-cancel",
            &["GW-35", "GW-47"],
            "A CANCEL that arrives after the answer is answered and changes nothing.",
            vec![
                offered(),
                answered("user", "sendrecv"),
                (sip(json!({"request": "ACK"})), vec![], "active", "confirmed"),
                (sip(json!({"request": "CANCEL"})), vec![sip(json!({"response": 200}))], "active", "confirmed"),
            ],
        ),
        trace(
            "cancelled-before-ringing",
            &["GW-34"],
            "A PSTN caller who gives up withdraws the DSIP call.",
            vec![
                offered(),
                (
                    sip(json!({"request": "CANCEL"})),
                    vec![
                        sip(json!({"response": 200})),
                        dsip(json!({"local": "cancel"})),
                        sip(json!({"response": 487})),
                    ],
                    "ended",
                    "terminated",
                ),
            ],
        ),
        trace(
            "held-and-transferred",
            &["GW-41", "GW-46"],
            "A hold is copied as it is; a transfer is declined.",
            vec![
                offered(),
                answered("user", "sendrecv"),
                (
                    sip(json!({"request": "re-INVITE", "direction": "inactive"})),
                    vec![dsip(json!({"local": "update", "direction": "inactive"}))],
                    "active",
                    "confirmed",
                ),
                (
                    sip(json!({"request": "re-INVITE"})),
                    vec![dsip(json!({"local": "update", "direction": "sendrecv"}))],
                    "active",
                    "confirmed",
                ),
                (sip(json!({"request": "REFER"})), vec![sip(json!({"response": 603}))], "active", "confirmed"),
            ],
        ),
        trace(
            "trying-says-nothing",
            &["GW-31", "GW-56"],
            "Progress that only tries adds nothing to the 100; ringing is 180.",
            vec![
                offered(),
                (dsip(json!({"type": "progress", "status": "trying"})), vec![], "offered", "early"),
                (
                    dsip(json!({"type": "progress", "status": "ringing"})),
                    vec![sip(json!({"response": 180}))],
                    "alerting",
                    "early",
                ),
            ],
        ),
    ]
}
