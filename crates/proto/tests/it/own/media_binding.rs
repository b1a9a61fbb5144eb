//! The WebRTC binding (04): checks, roles, candidates, renegotiation, one answer.

use serde_json::{Value, json};

use super::Vector;

const PEER: &str = "did:key:z6Mks11tjMeRnE1JceWhyT7zEToX4z3L6BuKaM13PbTEdApn";
const OTHER: &str = "did:key:z6Mkj2BxyZQc1YnUdPNkRDAd1GP2ZigPPhh6ZfYwf5HRMrtJ";

pub(super) fn vectors() -> Vec<Vector> {
    [offers(), answers(), roles(), candidates(), renegotiations(), one_answers()].into_iter().flatten().collect()
}

/// One section of an SDP text.
fn section(kind: &str, setup: &str) -> String {
    let encoding = if kind == "video" { "96 H264/90000" } else { "111 opus/48000/2" };
    let payload_type = encoding.split(' ').next().unwrap_or_default();
    format!(
        "m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:0123\r\na=ice-pwd:0123456789abcdef\r\n\
         a=fingerprint:sha-256 AA:BB:CC\r\na=setup:{setup}\r\na=mid:{kind}\r\na=sendrecv\r\na=rtcp-mux\r\n\
         a=rtpmap:{encoding}\r\n"
    )
}

fn sdp(sections: &[String]) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{}", sections.concat())
}

fn medium(kind: &str) -> Value {
    let codec = if kind == "video" { "codec:video/h264" } else { "codec:audio/opus" };
    json!({"type": kind, "direction": "sendrecv", "codecs": [{"id": codec}]})
}

fn audio(setup: &str) -> String {
    sdp(&[section("audio", setup)])
}

fn payload(media: &[&str], transport: Value) -> Value {
    json!({"media": media.iter().map(|kind| medium(kind)).collect::<Vec<_>>(), "transports": [transport]})
}

fn described(media: &[&str], sdp: &str) -> Value {
    payload(media, json!({"id": "transport:webrtc", "ice": "trickle", "sdp": sdp}))
}

fn reject(code: &str, reason: &str) -> Value {
    json!({"verdict": "reject", "code": code, "reason": reason})
}

fn offer(name: &str, rules: &[&'static str], description: &str, payload: Value, expect: Value) -> Vector {
    let input = json!({"check": "offer", "payload": payload});
    Vector::new("media-binding", &format!("offer-{name}"), rules, description).input(input).expect(expect)
}

fn offers() -> Vec<Vector> {
    let accept = || json!({"verdict": "accept"});
    let unsupported = |code| reject(code, "media.unsupported");
    let edited = |from: &str, to: &str| described(&["audio"], &audio("actpass").replace(from, to));
    let mut vectors = vec![
        offer("audio", &["WEB-10"], "A plain audio offer.", described(&["audio"], &audio("actpass")), accept()),
        offer(
            "no-transport",
            &["WEB-6"],
            "Without a transport there is nothing to check.",
            json!({"media": [medium("audio")], "transports": []}),
            json!({"verdict": "accept", "binding": "not-webrtc"}),
        ),
        offer(
            "ice-absent",
            &["WEB-30"],
            "ICE mode is judged before the presence of SDP (step 2).",
            payload(&["audio"], json!({"id": "transport:webrtc"})),
            unsupported("binding-ice-mode"),
        ),
        offer(
            "ice-not-a-string",
            &["WEB-30"],
            "An ICE mode of another type is no ICE mode (step 2).",
            payload(&["audio"], json!({"id": "transport:webrtc", "ice": 1, "sdp": audio("actpass")})),
            unsupported("binding-ice-mode"),
        ),
        offer(
            "sdp-not-a-string",
            &["WEB-30"],
            "SDP of another type counts as missing (step 3).",
            payload(&["audio"], json!({"id": "transport:webrtc", "ice": "trickle", "sdp": 1})),
            reject("binding-sdp-missing", "media.offer-required"),
        ),
        offer(
            "not-sdp",
            &["WEB-20"],
            "Text that does not start with v=0 is no SDP (step 4).",
            described(&["audio"], "hello"),
            unsupported("binding-sdp-invalid"),
        ),
        offer(
            "port-not-a-number",
            &["WEB-22"],
            "One bad m= line makes the whole text unreadable (step 4).",
            edited("m=audio 9", "m=audio nine"),
            unsupported("binding-sdp-invalid"),
        ),
        offer(
            "port-with-count",
            &["WEB-22"],
            "What follows a slash in the port is discarded.",
            edited("m=audio 9", "m=audio 9/2"),
            accept(),
        ),
        offer(
            "bare-line-feeds",
            &["WEB-21", "WEB-23"],
            "Lines may end in LF alone, carry spaces around them, or make no sense.",
            edited("\r\n", " \n\nnonsense\n"),
            accept(),
        ),
        offer(
            "direction-first-wins",
            &["WEB-24"],
            "The first direction attribute of a section counts; one with a value is none.",
            edited("a=sendrecv", "a=inactive:x\r\na=sendrecv\r\na=recvonly"),
            accept(),
        ),
        offer(
            "session-level-attributes",
            &["WEB-25"],
            "Fingerprint, credentials and setup may stand at session level.",
            described(
                &["audio"],
                "v=0\r\na=ice-ufrag:0123\r\na=ice-pwd:4567\r\na=fingerprint:SHA-256 AA:BB\r\na=setup:actpass\r\n\
                 m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtcp-mux\r\na=rtpmap:111 OPUS/48000/2\r\n",
            ),
            accept(),
        ),
        offer(
            "rtcp-mux-at-session-level",
            &["WEB-25"],
            "rtcp-mux counts inside the section only (step 12).",
            described(&["audio"], &audio("actpass").replace("a=rtcp-mux\r\n", "").replace("s=-", "s=-\r\na=rtcp-mux")),
            unsupported("binding-rtcp-mux-missing"),
        ),
        offer(
            "codec-without-mapping",
            &["WEB-13"],
            "A codec id without an SDP name is not checked.",
            json!({
                "media": [{"type": "audio", "direction": "sendrecv", "codecs": [{"id": "codec:audio/aac"}]}],
                "transports": [{"id": "transport:webrtc", "ice": "trickle", "sdp": audio("actpass")}]
            }),
            accept(),
        ),
        offer(
            "sections-in-full",
            &["WEB-30"],
            "Section 0 fails a late check, section 1 an early one: section 0 decides.",
            described(
                &["audio", "video"],
                &sdp(&[section("audio", "active"), section("video", "actpass").replace("m=video", "m=text")]),
            ),
            unsupported("binding-setup-invalid"),
        ),
        offer(
            "no-bundle-and-ice-lite",
            &["WEB-35"],
            "A receiver refuses neither a missing BUNDLE nor ice-lite.",
            edited("s=-", "s=-\r\na=ice-lite"),
            accept(),
        ),
    ];
    let faults = [
        ("encryption-avpf", "UDP/TLS/RTP/SAVPF", "RTP/AVPF", "binding-encryption"),
        ("direction", "a=sendrecv", "a=sendonly", "binding-direction-mismatch"),
        ("rtcp-mux", "a=rtcp-mux\r\n", "", "binding-rtcp-mux-missing"),
        ("fingerprint-sha-1", "sha-256", "sha-1", "binding-fingerprint-missing"),
        ("ice-ufrag", "a=ice-ufrag:0123\r\n", "", "binding-ice-credentials-missing"),
        ("ice-pwd", "a=ice-pwd:0123456789abcdef\r\n", "", "binding-ice-credentials-missing"),
        ("setup-active", "actpass", "active", "binding-setup-invalid"),
        ("setup-missing", "a=setup:actpass\r\n", "", "binding-setup-invalid"),
    ];
    vectors.extend(faults.map(|(name, from, to, code)| {
        let encryption = code == "binding-encryption";
        let reason = if encryption { "media.encryption-required" } else { "media.unsupported" };
        let description = format!("An offer that fails with {code}.");
        offer(&format!("fault-{name}"), &["WEB-30"], &description, edited(from, to), reject(code, reason))
    }));
    vectors
}

fn answers() -> Vec<Vector> {
    let failed = |code| reject(code, "media.failed");
    let answer =
        |name: &str, rules: &[&'static str], description: &str, offer: Value, mut answer: Value, expect: Value| {
            answer["from"] = PEER.into();
            let input = json!({"check": "answer", "offer": offer, "payload": answer});
            Vector::new("media-binding", &format!("answer-{name}"), rules, description).input(input).expect(expect)
        };
    let offered = || described(&["audio"], &audio("actpass"));
    let two = sdp(&[section("audio", "active"), section("audio", "active").replace("m=audio 9", "m=audio 0")]);
    vec![
        answer(
            "passive-without-ice",
            &["WEB-40"],
            "An answer may leave `ice` out and be passive.",
            offered(),
            payload(&["audio"], json!({"id": "transport:webrtc", "sdp": audio("passive")})),
            json!({"verdict": "accept"}),
        ),
        answer(
            "ice-of-another-mode",
            &["WEB-30"],
            "An answer may not name another ICE mode (step 2).",
            offered(),
            payload(&["audio"], json!({"id": "transport:webrtc", "ice": "full", "sdp": audio("active")})),
            failed("binding-ice-mode"),
        ),
        answer(
            "without-sdp",
            &["WEB-32"],
            "An answer without SDP fails its leg (step 3).",
            offered(),
            payload(&["audio"], json!({"id": "transport:webrtc", "ice": "trickle"})),
            failed("binding-sdp-missing"),
        ),
        answer(
            "extra-dead-section",
            &["WEB-41"],
            "An answer has the sections of its offer, dead ones included (step 5).",
            offered(),
            described(&["audio"], &two),
            failed("binding-section-count"),
        ),
        answer(
            "to-an-offer-without-sdp",
            &["WEB-30"],
            "Step 5 is skipped when the offer's SDP cannot be read.",
            described(&["audio"], "nonsense"),
            described(&["audio"], &two),
            json!({"verdict": "accept"}),
        ),
        answer(
            "dead-section-not-examined",
            &["WEB-14"],
            "A section that was turned down needs no descriptor and no attributes.",
            described(&["audio", "video"], &sdp(&[section("audio", "actpass"), section("video", "actpass")])),
            described(&["audio"], &sdp(&[section("audio", "active"), "m=video 0 x 9\r\n".to_owned()])),
            json!({"verdict": "accept"}),
        ),
    ]
}

fn roles() -> Vec<Vector> {
    let role = |name: &str, offer: &str, answer: &str, expect: Value| {
        let input = json!({"check": "role", "offer_setup": offer, "answer_setup": answer});
        let description = format!("An offer of {offer} answered with {answer}.");
        Vector::new("media-binding", &format!("role-{name}"), &["WEB-40"], &description).input(input).expect(expect)
    };
    let setup = |reason| reject("binding-setup-invalid", reason);
    vec![
        role(
            "passive-answer",
            "actpass",
            "passive",
            json!({"verdict": "accept", "offerer": "client", "answerer": "server"}),
        ),
        role("offer-judged-first", "passive", "holdconn", setup("media.unsupported")),
        role("unknown-answer", "actpass", "sideways", setup("media.failed")),
    ]
}

fn candidate(number: usize) -> Value {
    json!({"candidate": format!("candidate:{number} 1 udp 2130706431 192.0.2.1 {} typ host", 50_000 + number), "sdp_mid": "0"})
}

fn candidates() -> Vec<Vector> {
    let local = |number| json!({"local_candidate": candidate(number)});
    let info = |from: &str, count: usize, end: bool| {
        let list: Vec<_> = (1..=count).map(candidate).collect();
        json!({"remote_info": {"from": from, "candidates": list, "end_of_candidates": end}})
    };
    let event = |name: &str| json!({name: true});
    let sent = |count: usize, end: bool| json!({"send_info": {"candidates": count, "end_of_candidates": end}});
    let buffered = |side: &str, n: usize| json!({"buffer": side, "n": n});
    let trace = |name: &str, rules: &[&'static str], description: &str, steps: Vec<(Value, Vec<Value>)>| {
        let (events, emits): (Vec<_>, Vec<_>) =
            steps.into_iter().map(|(event, emit)| (json!({"event": event}), json!({"emit": emit}))).unzip();
        Vector::new("media-binding", &format!("candidates-{name}"), rules, description)
            .context(json!({"peer": PEER}))
            .input(json!({"check": "candidates", "steps": events}))
            .expect(json!({"steps": emits}))
    };
    let many = (1..=65).map(|number| (local(number), vec![buffered("local", number)]));
    vec![
        trace(
            "split-at-sixty-four",
            &["WEB-65", "WEB-79"],
            "Sixty-five buffered candidates take two messages, and the end marker is on the last.",
            many.chain([
                (event("gathering_complete"), vec![]),
                (event("active"), vec![sent(64, false), sent(1, true)]),
            ])
            .collect(),
        ),
        trace(
            "active-with-nothing",
            &["WEB-61", "WEB-63", "WEB-64", "WEB-66"],
            "Becoming active with nothing gathered says nothing; later candidates go at once, the end once.",
            vec![
                (event("active"), vec![]),
                (local(1), vec![sent(1, false)]),
                (event("gathering_complete"), vec![sent(0, true)]),
                (event("gathering_complete"), vec![]),
            ],
        ),
        trace(
            "end-before-active",
            &["WEB-62", "WEB-65", "WEB-78"],
            "Gathering that ends early with no candidate at all still has its end marker sent once.",
            vec![
                (event("gathering_complete"), vec![]),
                (event("active"), vec![sent(0, true)]),
                (event("gathering_complete"), vec![]),
            ],
        ),
        trace(
            "remote-end-while-buffering",
            &["WEB-67", "WEB-70", "WEB-71", "WEB-73"],
            "The peer's end marker is noted while its candidates still wait, and nothing after it counts.",
            vec![
                (info(PEER, 2, true), vec![buffered("remote", 2), json!({"remote_end": true})]),
                (info(PEER, 1, false), vec![json!({"ignore": "after-end"})]),
                (event("remote_description"), vec![json!({"apply": 2})]),
                (event("remote_description"), vec![]),
            ],
        ),
        trace(
            "bare-end-marker",
            &["WEB-52", "WEB-68", "WEB-70", "WEB-73"],
            "An empty end marker is valid and counts once; an empty message that ends nothing has no effect.",
            vec![
                (event("remote_description"), vec![]),
                (info(PEER, 0, false), vec![]),
                (info(PEER, 0, true), vec![json!({"remote_end": true})]),
                (info(PEER, 0, true), vec![json!({"ignore": "after-end"})]),
            ],
        ),
        trace(
            "stranger-cannot-end",
            &["WEB-69"],
            "Nobody but the peer can add or end candidates.",
            vec![
                (info(OTHER, 1, true), vec![json!({"ignore": "not-party"})]),
                (event("remote_description"), vec![]),
                (info(PEER, 1, false), vec![json!({"apply": 1})]),
            ],
        ),
        trace(
            "session-end-drops-both",
            &["WEB-74", "WEB-76"],
            "What waits on either side when the session ends is dropped, and everything later is ignored.",
            vec![
                (local(1), vec![buffered("local", 1)]),
                (info(PEER, 2, false), vec![buffered("remote", 2)]),
                (event("session_end"), vec![json!({"drop_buffered": 3})]),
                (event("active"), vec![json!({"ignore": "ended"})]),
                (event("session_end"), vec![json!({"ignore": "ended"})]),
            ],
        ),
        trace(
            "session-end-with-nothing",
            &["WEB-75"],
            "Nothing to drop, nothing to say.",
            vec![(event("session_end"), vec![])],
        ),
    ]
}

fn renegotiations() -> Vec<Vector> {
    let trace = |name: &str, rules: &[&'static str], description: &str, steps: Vec<(Value, Value)>| {
        let (events, emits): (Vec<_>, Vec<_>) =
            steps.into_iter().map(|(event, emit)| (json!({"event": event}), json!({"emit": emit}))).unzip();
        Vector::new("media-binding", &format!("renegotiation-{name}"), rules, description)
            .context(json!({"ufrag": "abcd"}))
            .input(json!({"check": "renegotiation", "steps": events}))
            .expect(json!({"steps": emits}))
    };
    let local = |ufrag: &str| json!({"local_reoffer": {"ufrag": ufrag}});
    let bug = json!([{"error": "binding-ice-restart", "detail": "a re-offer MUST keep the ICE credentials"}]);
    let pending = json!([{"local_description": "pending"}]);
    vec![
        trace(
            "answered",
            &["WEB-85"],
            "An answered re-offer becomes current, once.",
            vec![
                (local("abcd"), pending.clone()),
                (json!({"remote_answer": true}), json!([{"apply": "answer"}, {"local_description": "current"}])),
                (json!({"remote_reject": true}), json!([{"ignore": "no-pending-offer"}])),
            ],
        ),
        trace(
            "bug-leaves-pending-offer",
            &["WEB-88"],
            "A local restart is refused and does not disturb an offer that is already out.",
            vec![
                (local("abcd"), pending),
                (local("zzzz"), bug),
                (json!({"remote_reject": true}), json!([{"rollback": true}, {"local_description": "current"}])),
            ],
        ),
        trace(
            "unknown-event",
            &["WEB-85"],
            "An event the table does not list is ignored.",
            vec![(json!({"rain": true}), json!([{"ignore": "unknown-event"}]))],
        ),
    ]
}

fn one_answers() -> Vec<Vector> {
    let walk = |name: &str, rules: &[&'static str], description: &str, answers: &[(&str, &str)], expect: Value| {
        let answers = answers.iter().map(|(from, setup)| {
            let mut answer = described(&["audio"], &audio(setup));
            answer["from"] = (*from).into();
            answer
        });
        let offer = described(&["audio"], &audio("actpass"));
        let input = json!({"check": "one-answer", "offer": offer, "answers": answers.collect::<Vec<_>>()});
        Vector::new("media-binding", &format!("one-answer-{name}"), rules, description).input(input).expect(expect)
    };
    let released = |from: &str| json!({"from": from, "bye": "session.already-answered"});
    let failed = |from: &str| json!({"from": from, "bye": "media.failed", "code": "binding-setup-invalid"});
    vec![
        walk(
            "later-ones-unchecked",
            &["WEB-102"],
            "Once one answer is applied the others are released, good or bad.",
            &[(PEER, "active"), (OTHER, "active"), (OTHER, "holdconn")],
            json!({"applied": PEER, "legs": [{"from": PEER, "applied": true}, released(OTHER), released(OTHER)]}),
        ),
        walk(
            "none-passes",
            &["WEB-101", "WEB-103"],
            "If no answer passes nothing is applied.",
            &[(PEER, "actpass"), (OTHER, "holdconn")],
            json!({"applied": null, "legs": [failed(PEER), failed(OTHER)]}),
        ),
    ]
}
