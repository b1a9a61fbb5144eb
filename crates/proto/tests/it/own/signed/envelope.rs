//! Kind `envelope`: the pipeline, stage by stage.

use dsip_proto::wire::base64url;
use serde_json::{Value, json};

use super::people::{
    delegated, delegation, did, document, header, key, kid, message, message_at, offer, required, seal,
    seal_presenting, seal_text, ulid,
};
use super::{Case, NOW, reject, reject_with, set, unset, with};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    accepted(&mut cases);
    shape(&mut cases);
    headers(&mut cases);
    keys(&mut cases);
    signatures(&mut cases);
    payloads(&mut cases);
    bindings(&mut cases);
    freshness(&mut cases);
    held(&mut cases);
    order(&mut cases);
    cases.0
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &str, rules: &'static [&'static str], about: &'static str, envelope: Value, expect: Value) {
        self.add_in(json!({}), name, rules, about, envelope, expect);
    }

    fn add_in(
        &mut self,
        context: Value,
        name: &str,
        rules: &'static [&'static str],
        about: &'static str,
        envelope: Value,
        expect: Value,
    ) {
        let profiles = json!(["interactive-media/1.0", "verified-broadcast/1.0"]);
        let mut full = json!({"now": NOW, "supported": {"core": "1.0", "profiles": profiles, "extensions": []}});
        full.as_object_mut().expect("an object").extend(context.as_object().expect("an object").clone());
        let input = json!({"envelope": envelope});
        self.0.push(Case { kind: "envelope", name: name.into(), rules, about, context: full, input, expect });
    }
}

fn accept(kind: &str, signer: &str, identity: &str) -> Value {
    json!({"verdict": "accept", "type": kind, "signer": did(signer), "identity": did(identity)})
}

/// An invite by ada's phone in its own name.
fn invite() -> Value {
    message("invite", &did("ada-phone"), offer())
}

/// An invite by ada's phone in ada's name.
fn invite_for_ada() -> Value {
    message("invite", &did("ada"), offer())
}

/// The payload of [`invite`] as text, for tampering.
fn invite_text(change: impl FnOnce(String) -> String) -> Value {
    seal_text("ada-phone", &header(&kid("ada-phone")), change(invite().to_string()).as_bytes())
}

fn accepted(cases: &mut Cases) {
    let phone = [delegated("ada", "ada-phone")];
    cases.add(
        "device-in-its-own-name",
        &["DEL-10", "DEL-22"],
        "Bound to itself; not lifted to its controller.",
        seal("ada-phone", &invite()),
        accept("invite", "ada-phone", "ada-phone"),
    );
    cases.add(
        "device-for-its-identity",
        &["DEL-3", "DEL-22"],
        "The delegation rides in the header.",
        seal_presenting("ada-phone", &phone, &invite_for_ada()),
        accept("invite", "ada-phone", "ada"),
    );
    cases.add(
        "device-in-its-own-name-presenting",
        &["DEL-22"],
        "A presented delegation does not change the identity.",
        seal_presenting("ada-phone", &phone, &invite()),
        accept("invite", "ada-phone", "ada-phone"),
    );
    cases.add(
        "hello-on-behalf-of",
        &["DEL-21", "DEL-22"],
        "The identity is whom it acts for.",
        seal_presenting(
            "ada-phone",
            &phone,
            &message("hello", &did("ada-phone"), json!({"bindings": ["ws/1.0"], "on_behalf_of": did("ada")})),
        ),
        accept("hello", "ada-phone", "ada"),
    );
    cases.add(
        "hello-on-behalf-of-itself",
        &["DEL-10", "DEL-21"],
        "Nobody else to ask.",
        seal(
            "ada-phone",
            &message("hello", &did("ada-phone"), json!({"bindings": ["ws/1.0"], "on_behalf_of": did("ada-phone")})),
        ),
        accept("hello", "ada-phone", "ada-phone"),
    );
    cases.add(
        "header-with-unknown-members",
        &["HEL-12", "ENV-6"],
        "Unknown header members, and aud, are ignored; order has no meaning.",
        seal_text(
            "ada-phone",
            &format!(
                r#"{{"x":[1.5,null],"typ":7,"kid":"{}","aud":"node.example:443","alg":"EdDSA"}}"#,
                kid("ada-phone")
            ),
            invite().to_string().as_bytes(),
        ),
        accept("invite", "ada-phone", "ada-phone"),
    );
    cases.add(
        "payload-with-spaces-and-escapes",
        &["ENV-4", "ENV-6"],
        "What was signed is what counts, however it is written.",
        invite_text(|text| text.replace("\":", "\" :\n").replace("invite", "\\u0069nvite")),
        accept("invite", "ada-phone", "ada-phone"),
    );
    for kind in ["progress", "answer", "reject", "cancel", "update", "info", "bye", "error", "subscribe", "notify"] {
        let effective = match kind {
            "progress" => Some(json!({"status": "ringing"})),
            "answer" => Some(json!({"answered_by": "user"})),
            "reject" => Some(json!({"reason": "user.declined", "fallback": "none"})),
            "cancel" => Some(json!({"reason": "user.cancelled", "fallback": "none"})),
            "bye" => Some(json!({"reason": "user.hangup", "fallback": "none"})),
            "error" => Some(json!({"reason": "session.invalid-state", "fallback": "none"})),
            _ => None,
        };
        let mut expect = accept(kind, "ada-phone", "ada-phone");
        if let Some(effective) = effective {
            expect["effective"] = effective;
        }
        cases.add(
            &format!("accept-{kind}"),
            &["PIPE-1"],
            "A minimal message through the whole pipeline.",
            seal("ada-phone", &message(kind, &did("ada-phone"), required(kind))),
            expect,
        );
    }
}

fn shape(cases: &mut Cases) {
    let good = seal("ada-phone", &invite());
    let text = |name: &str| good[name].as_str().expect("a string").to_owned();
    let shape = || reject("envelope-shape");
    cases.add(
        "shape-not-an-object",
        &["ENV-1"],
        "An array.",
        json!([good["protected"], good["payload"], good["signature"]]),
        shape(),
    );
    cases.add("shape-missing-member", &["ENV-1"], "No signature.", unset(good.clone(), "signature"), shape());
    cases.add("shape-not-a-string", &["ENV-1"], "A payload object.", set(good.clone(), "payload", invite()), shape());
    cases.add("shape-null", &["ENV-1"], "A null signature.", set(good.clone(), "signature", Value::Null), shape());
    cases.add("shape-empty", &["ENV-2"], "An empty payload.", set(good.clone(), "payload", ""), shape());
    cases.add(
        "shape-padding",
        &["ENV-2"],
        "Padding.",
        set(good.clone(), "signature", format!("{}==", text("signature"))),
        shape(),
    );
    cases.add(
        "shape-length",
        &["ENV-2"],
        "A length of one modulo four.",
        set(good.clone(), "payload", "AAAAA"),
        shape(),
    );
    cases.add(
        "shape-standard-alphabet",
        &["ENV-2"],
        "The other alphabet.",
        set(good.clone(), "protected", "ab+/"),
        shape(),
    );
    cases.add(
        "shape-spare-bits",
        &["ENV-2"],
        "86 characters carry four spare bits; they have to be zero.",
        set(good.clone(), "signature", with_spare_bit(&text("signature"))),
        shape(),
    );
    cases.add(
        "shape-before-header",
        &["PIPE"],
        "Shape comes before the header.",
        set(set(good, "protected", "e30"), "payload", "A"),
        shape(),
    );
}

/// The same value with its lowest spare bit set.
fn with_spare_bit(text: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = text.chars().next_back().and_then(|last| ALPHABET.find(last)).expect("base64url");
    format!("{}{}", &text[..text.len() - 1], &ALPHABET[last + 1..=last + 1])
}

fn headers(cases: &mut Cases) {
    let kid = kid("ada-phone");
    let signed = |header: &str| seal_text("ada-phone", header, invite().to_string().as_bytes());
    for (name, header, code) in [
        ("not-json", "{".to_owned(), "header-invalid"),
        ("array", "[]".to_owned(), "header-invalid"),
        ("no-alg", json!({"kid": kid}).to_string(), "header-invalid"),
        ("no-kid", json!({"alg": "EdDSA"}).to_string(), "header-invalid"),
        ("alg-number", json!({"alg": 8, "kid": kid}).to_string(), "header-invalid"),
        ("kid-before-alg", json!({"alg": "none"}).to_string(), "header-invalid"),
        ("duplicate-member", format!(r#"{{"alg":"none","alg":"EdDSA","kid":"{kid}"}}"#), "header-invalid"),
        ("es256", json!({"alg": "ES256", "kid": kid}).to_string(), "alg-unsupported"),
        ("lower-case-alg", json!({"alg": "eddsa", "kid": kid}).to_string(), "alg-unsupported"),
        ("alg-before-kid", json!({"alg": "none", "kid": "x"}).to_string(), "alg-unsupported"),
        ("kid-without-fragment", json!({"alg": "EdDSA", "kid": did("ada-phone")}).to_string(), "kid-invalid"),
        (
            "kid-empty-fragment",
            json!({"alg": "EdDSA", "kid": format!("{}#", did("ada-phone"))}).to_string(),
            "kid-invalid",
        ),
        ("kid-not-a-did", json!({"alg": "EdDSA", "kid": "https://a.example#key"}).to_string(), "kid-invalid"),
    ] {
        cases.add(&format!("header-{name}"), &["PIPE", "ALG-1", "ID-2"], "Stage 3.", signed(&header), reject(code));
    }
    cases.add(
        "header-not-utf8",
        &["PIPE"],
        "Stage 3.",
        {
            let (protected, payload) = (base64url::encode(b"{\"alg\":\"\xff\"}"), base64url::encode(b"{}"));
            let signature = base64url::encode(&key("ada-phone").sign(format!("{protected}.{payload}").as_bytes()));
            json!({"protected": protected, "payload": payload, "signature": signature})
        },
        reject("header-invalid"),
    );
    cases.add(
        "header-delegations-not-an-array",
        &["DEL-3"],
        "Nothing is presented, and nothing is needed.",
        signed(&json!({"alg": "EdDSA", "kid": kid, "delegations": 5}).to_string()),
        accept("invite", "ada-phone", "ada-phone"),
    );
    let nine = vec![delegated("ada", "ada-phone"); 9];
    cases.add(
        "header-too-many-delegations",
        &["DEL-5"],
        "Ours: nine delegations are more than a sender may have checked.",
        seal_presenting("ada-phone", &nine, &invite()),
        reject("header-invalid"),
    );
}

fn keys(cases: &mut Cases) {
    let org = "did:web:org.example";
    let method = |id: &str| json!({"id": id, "type": "Multikey", "controller": org, "publicKeyMultibase": key("org").public().to_multibase()});
    let signed = |kid: &str| seal_text("org", &header(kid), message("invite", org, offer()).to_string().as_bytes());
    let listed = |methods: Value| json!({"did_documents": {org: {"id": org, "verificationMethod": methods}}});
    let accepted = || json!({"verdict": "accept", "type": "invite", "signer": org, "identity": org});
    let kid = format!("{org}#key-1");
    let unresolvable = || reject("kid-unresolvable");
    cases.add_in(
        listed(json!([method(&kid)])),
        "key-full-id",
        &["RES-2"],
        "Listed by its whole id.",
        signed(&kid),
        accepted(),
    );
    cases.add_in(
        listed(json!([method("#key-1")])),
        "key-short-id",
        &["RES-2"],
        "Listed by its fragment.",
        signed(&kid),
        accepted(),
    );
    cases.add_in(
        listed(json!([unset(method("#key-1"), "controller")])),
        "key-no-controller",
        &["RES-2"],
        "A controller may be absent.",
        signed(&kid),
        accepted(),
    );
    cases.add_in(
        listed(json!([set(method("#key-1"), "controller", "did:web:evil.example")])),
        "key-other-controller",
        &["RES-2"],
        "Somebody else's key.",
        signed(&kid),
        unresolvable(),
    );
    cases.add_in(
        listed(json!([set(method("#key-1"), "publicKeyMultibase", "z6Mk")])),
        "key-not-ed25519",
        &["RES-2"],
        "Not a key.",
        signed(&kid),
        unresolvable(),
    );
    cases.add_in(
        listed(json!([set(method(&kid), "controller", "did:web:evil.example"), method("#key-1")])),
        "key-first-entry-decides",
        &["RES-2"],
        "The first entry of that id is unusable.",
        signed(&kid),
        unresolvable(),
    );
    cases.add_in(
        listed(json!([method("#key-2")])),
        "key-not-listed",
        &["RES-3"],
        "Retired.",
        signed(&kid),
        unresolvable(),
    );
    cases.add_in(
        json!({"did_documents": {org: document("did:web:other.example", &method(&kid))}}),
        "key-document-of-another",
        &["ID-21"],
        "The document is about another DID.",
        signed(&kid),
        unresolvable(),
    );
    cases.add("key-no-document", &["ID-22"], "No document at all.", signed(&kid), unresolvable());
    cases.add_in(json!({"did_documents": {"did:peer:2abc": document("did:peer:2abc", &json!({"id": "#key-1", "publicKeyMultibase": key("org").public().to_multibase()}))}}), "key-unknown-method", &["ID-4"], "A method nobody requires.", signed("did:peer:2abc#key-1"), unresolvable());
    cases.add_in(json!({"did_documents": {did("org"): document(&did("org"), &json!({"id": "#key-1", "publicKeyMultibase": key("org").public().to_multibase()}))}}), "key-document-of-a-did-key", &["ID-13"], "A did:key has one method, whatever a document says.", signed(&format!("{}#key-1", did("org"))), unresolvable());
    cases.add(
        "key-did-key-other-codec",
        &["ID-12"],
        "A multibase key of another kind.",
        signed(
            "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc#z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc",
        ),
        unresolvable(),
    );
}

fn signatures(cases: &mut Cases) {
    let good = seal("ada-phone", &invite());
    let signature = base64url::decode(good["signature"].as_str().expect("a string")).expect("base64url");
    let invalid = || reject("signature-invalid");
    let with_signature = |bytes: &[u8]| set(good.clone(), "signature", base64url::encode(bytes));
    cases.add("signature-63-octets", &["ALG-2"], "Too short.", with_signature(&signature[..63]), invalid());
    cases.add(
        "signature-65-octets",
        &["ALG-2"],
        "Too long.",
        with_signature(&[&signature[..], &[0]].concat()),
        invalid(),
    );
    // S + L is the same number to a lenient verifier.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut malleated = signature.clone();
    let mut carry = 0;
    for (byte, order) in malleated[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    cases.add(
        "signature-malleated",
        &["ALG-2"],
        "A second spelling of a good signature.",
        with_signature(&malleated),
        invalid(),
    );
    // With the neutral element as key, R = neutral and S = 0 satisfies the equation for every message.
    let weak = header(&format!("{}#{}", weak_did(), weak_did().trim_start_matches("did:key:")));
    let mut forged = [0u8; 64];
    forged[0] = 1;
    let payload = message("invite", &weak_did(), offer()).to_string();
    cases.add("signature-weak-key", &["ALG-2", "ID-12"], "A small-order key verifies nothing.", json!({"protected": base64url::encode(weak.as_bytes()), "payload": base64url::encode(payload.as_bytes()), "signature": base64url::encode(&forged)}), invalid());
    let other = seal("ada-phone", &message("invite", &did("ada-phone"), set(offer(), "to", did("eve"))));
    cases.add(
        "signature-of-another-payload",
        &["ENV-4"],
        "Header and signature of one, payload of the other.",
        set(good.clone(), "payload", other["payload"].clone()),
        invalid(),
    );
    cases.add(
        "signature-of-another-header",
        &["ENV-4"],
        "The header is covered, too.",
        set(good.clone(), "protected", base64url::encode(format!(" {}", header(&kid("ada-phone"))).as_bytes())),
        invalid(),
    );
    cases.add(
        "signature-before-payload",
        &["PIPE"],
        "Nothing is read before the signature holds.",
        set(good, "payload", base64url::encode(b"[1.5")),
        invalid(),
    );
}

/// The did:key of the neutral element.
fn weak_did() -> String {
    let mut octets = [0; 32];
    octets[0] = 1;
    dsip_proto::identity::PublicKey::from_bytes(octets).did().to_string()
}

fn payloads(cases: &mut Cases) {
    let phone = header(&kid("ada-phone"));
    let raw = |payload: &[u8]| seal_text("ada-phone", &phone, payload);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (name, payload, code) in [
        ("not-utf8", b"{\"a\":\"\xff\"}".to_vec(), "payload-not-utf8"),
        ("lone-surrogate-octets", b"{\"a\":\"\xed\xa0\x80\"}".to_vec(), "payload-not-utf8"),
        ("scalar", b"5".to_vec(), "payload-not-json"),
        ("array", b"[]".to_vec(), "payload-not-json"),
        ("null", b"null".to_vec(), "payload-not-json"),
        ("trailing-data", b"{} {}".to_vec(), "payload-not-json"),
        ("trailing-comma", b"{\"a\":1,}".to_vec(), "payload-not-json"),
        ("nan", b"{\"a\":NaN}".to_vec(), "payload-not-json"),
        ("leading-zero", b"{\"a\":01}".to_vec(), "payload-not-json"),
        ("byte-order-mark", b"\xef\xbb\xbf{}".to_vec(), "payload-not-json"),
        ("control-character", b"{\"a\":\"\n\"}".to_vec(), "payload-not-json"),
        ("duplicate-member", b"{\"a\":1,\"a\":1}".to_vec(), "payload-not-json"),
        ("duplicate-member-escaped", b"{\"a\":1,\"\\u0061\":1}".to_vec(), "payload-not-json"),
        ("nested-too-deep", format!("{{\"a\":{}}}", nested(32)).into_bytes(), "payload-not-json"),
        ("syntax-before-float", b"{\"a\":1.5".to_vec(), "payload-not-json"),
        ("array-before-float", b"[1.5]".to_vec(), "payload-not-json"),
        ("float-before-shape", b"{\"a\":1.5}".to_vec(), "payload-float"),
        ("float-deep", b"{\"a\":[{\"b\":[0.0]}]}".to_vec(), "payload-float"),
        ("exponent", b"{\"a\":1e3}".to_vec(), "payload-float"),
        ("negative-exponent", b"{\"a\":-1E-0}".to_vec(), "payload-float"),
        ("float-before-huge", b"{\"a\":[9223372036854775808,1.0]}".to_vec(), "payload-float"),
        ("empty-object", b"{}".to_vec(), "payload-shape"),
    ] {
        cases.add(
            &format!("payload-{name}"),
            &["PAY-1", "PAY-2", "PAY-3", "PAY-5", "PAY-7"],
            "Stage 6.",
            raw(&payload),
            reject(code),
        );
    }
    cases.add(
        "payload-nested-32",
        &["PAY-7"],
        "Ours: 32 levels are read, and this is refused for its shape.",
        raw(format!("{{\"a\":{}}}", nested(31)).as_bytes()),
        reject("payload-shape"),
    );
    cases.add(
        "payload-float-in-text",
        &["PAY-3"],
        "A string that looks like a float.",
        seal("ada-phone", &with(invite(), |m| m["identity"] = json!({"display_name": "1.5e3"}))),
        accept("invite", "ada-phone", "ada-phone"),
    );
    cases.add(
        "payload-huge-integer",
        &["PAY-7"],
        "Beyond 64 bits, in an open object.",
        invite_text(|text| text.replace("\"ice\":\"trickle\"", "\"ice\":9223372036854775808")),
        reject("payload-shape"),
    );
    cases.add(
        "payload-largest-integer",
        &["PAY-7"],
        "The largest of 64 bits.",
        invite_text(|text| text.replace("\"ice\":\"trickle\"", "\"ice\":9223372036854775807")),
        accept("invite", "ada-phone", "ada-phone"),
    );
    for (name, member, value) in [
        ("dsip-string", "dsip", json!("1.0")),
        ("type-number", "type", json!(1)),
        ("id-lower-case", "id", json!(ulid(NOW, "invite").to_lowercase())),
        ("id-short", "id", json!("01K742SG00")),
        ("id-overflow", "id", json!(format!("8{}", &ulid(NOW, "invite")[1..]))),
        ("from-not-a-did", "from", json!("ada")),
        ("issued-at-text", "issued_at", json!("1770000000")),
        ("issued-at-boolean", "issued_at", json!(true)),
        ("expires-at-negative", "expires_at", json!(-1)),
        ("expires-at-null", "expires_at", Value::Null),
    ] {
        cases.add(
            &format!("core-{name}"),
            &["PAY-4", "ULID-1"],
            "A core field is malformed.",
            seal("ada-phone", &set(invite(), member, value)),
            reject("payload-shape"),
        );
    }
}

fn bindings(cases: &mut Cases) {
    let for_ada = |delegations: &[Value]| seal_presenting("ada-phone", delegations, &invite_for_ada());
    let accepted = || accept("invite", "ada-phone", "ada");
    let ada = |change: &dyn Fn(Value) -> Value| seal("ada", &change(delegation(&did("ada"), &did("ada-phone"))));
    let good = delegated("ada", "ada-phone");
    let expired = ada(&|m| set(m, "expires_at", NOW));
    let incapable = ada(&|m| set(m, "capabilities", json!(["dsip.media.interactive"])));
    let invalid = || reject("delegation-invalid");

    cases.add(
        "binding-none-presented",
        &["DEL-11"],
        "Nothing presented.",
        seal("ada-phone", &invite_for_ada()),
        reject("signer-mismatch"),
    );
    cases.add(
        "binding-other-device",
        &["DEL-11"],
        "A delegation for another device is no candidate.",
        for_ada(&[delegated("ada", "ada-laptop")]),
        reject("signer-mismatch"),
    );
    cases.add(
        "binding-other-subject",
        &["DEL-11"],
        "A delegation by somebody else is no candidate.",
        for_ada(&[delegated("eve", "ada-phone")]),
        reject("signer-mismatch"),
    );
    cases.add(
        "binding-chain",
        &["DEL-1"],
        "The laptop cannot delegate on.",
        for_ada(&[delegated("ada", "ada-laptop"), delegated("ada-laptop", "ada-phone")]),
        reject("signer-mismatch"),
    );
    cases.add(
        "binding-signed-by-another",
        &["DEL-1", "DEL-13"],
        "In ada's name, by eve.",
        for_ada(&[seal("eve", &delegation(&did("ada"), &did("ada-phone")))]),
        invalid(),
    );
    cases.add(
        "binding-signed-by-the-device",
        &["DEL-1"],
        "A device delegates to itself.",
        for_ada(&[seal("ada-phone", &delegation(&did("ada"), &did("ada-phone")))]),
        invalid(),
    );
    cases.add(
        "binding-tampered",
        &["DEL-13"],
        "Changed after signing.",
        for_ada(&[set(good.clone(), "payload", expired["payload"].clone())]),
        invalid(),
    );
    cases.add(
        "binding-wrong-type",
        &["DEL-13"],
        "Not a delegation.",
        for_ada(&[ada(&|m| set(m, "type", "Delegation"))]),
        invalid(),
    );
    cases.add(
        "binding-float",
        &["DEL-13", "PAY-3"],
        "Stage 6 applies to a delegation, too.",
        for_ada(&[seal_text(
            "ada",
            &header(&kid("ada")),
            delegation(&did("ada"), &did("ada-phone")).to_string().replace("1769913600", "1769913600.0").as_bytes(),
        )]),
        invalid(),
    );
    cases.add(
        "binding-extra-envelope-member",
        &["DEL-13", "ENV-1"],
        "Stage 2 applies to a delegation, too.",
        for_ada(&[set(good.clone(), "x", "AA")]),
        invalid(),
    );
    cases.add(
        "binding-capability-missing",
        &["DEL-13"],
        "No dsip.signaling.",
        for_ada(std::slice::from_ref(&incapable)),
        reject("delegation-capability"),
    );
    cases.add(
        "binding-capabilities-text",
        &["DEL-13"],
        "Not an array.",
        for_ada(&[ada(&|m| set(m, "capabilities", "dsip.signaling"))]),
        reject("delegation-capability"),
    );
    cases.add(
        "binding-capability-before-time",
        &["DEL-13"],
        "The order of checks.",
        for_ada(&[ada(&|m| set(set(m, "capabilities", json!([])), "expires_at", NOW - 1))]),
        reject("delegation-capability"),
    );
    cases.add(
        "binding-expires-now",
        &["DEL-13"],
        "Over in that very second.",
        for_ada(std::slice::from_ref(&expired)),
        reject("delegation-expired"),
    );
    cases.add(
        "binding-issued-now",
        &["DEL-13"],
        "Valid from that very second.",
        for_ada(&[ada(&|m| set(m, "issued_at", NOW))]),
        accepted(),
    );
    cases.add(
        "binding-not-yet",
        &["DEL-13"],
        "Valid from the next second; no tolerance.",
        for_ada(&[ada(&|m| set(m, "issued_at", NOW + 1))]),
        reject("delegation-expired"),
    );
    cases.add(
        "binding-time-text",
        &["DEL-13"],
        "Times are integers.",
        for_ada(&[ada(&|m| set(m, "expires_at", "2030"))]),
        reject("delegation-expired"),
    );
    cases.add(
        "binding-old-delegation",
        &["DEL-4"],
        "No replay window for delegations.",
        for_ada(&[ada(&|m| set(m, "issued_at", 1))]),
        accepted(),
    );
    cases.add(
        "binding-second-candidate",
        &["DEL-12"],
        "The first that passes binds.",
        for_ada(&[expired.clone(), good.clone()]),
        accepted(),
    );
    cases.add(
        "binding-first-failure-reported",
        &["DEL-12"],
        "Of two failures the first counts.",
        for_ada(&[incapable.clone(), expired.clone()]),
        reject("delegation-capability"),
    );
    cases.add(
        "binding-junk-skipped",
        &["DEL-3", "DEL-11"],
        "Elements that are no objects, or cannot be decoded, are no candidates.",
        for_ada(&[
            json!("x"),
            json!(5),
            json!({}),
            set(good.clone(), "payload", "e30"),
            set(good.clone(), "payload", "!!"),
            good.clone(),
        ]),
        accepted(),
    );
    cases.add(
        "binding-undecodable-alone",
        &["DEL-11"],
        "A candidate has to be decodable.",
        for_ada(&[set(good.clone(), "payload", "AA")]),
        reject("signer-mismatch"),
    );
    cases.add_in(
        json!({"delegations": [incapable]}),
        "binding-store-first",
        &["DEL-2", "DEL-12"],
        "The verifier's own come first, and the header's may still bind.",
        for_ada(std::slice::from_ref(&good)),
        accepted(),
    );
    cases.add_in(
        json!({"delegations": [expired]}),
        "binding-store-failure-first",
        &["DEL-2", "DEL-12"],
        "The verifier's own failure is the first.",
        for_ada(&[ada(&|m| set(m, "capabilities", json!([])))]),
        reject("delegation-expired"),
    );
    cases.add_in(
        json!({"delegations": [good.clone()]}),
        "binding-from-store",
        &["DEL-2"],
        "Known beforehand.",
        seal("ada-phone", &invite_for_ada()),
        accepted(),
    );

    let rejected = |code: &str| reject_with(code, "transport.hello-rejected");
    let hello = |members: Value| message("hello", &did("ada-phone"), members);
    let on_behalf = |of: &str| hello(json!({"bindings": ["ws/1.0"], "on_behalf_of": of}));
    cases.add(
        "binding-hello-from-identity",
        &["DEL-23"],
        "A hello that fails says so.",
        seal("ada-phone", &message("hello", &did("ada"), json!({"bindings": ["ws/1.0"]}))),
        rejected("signer-mismatch"),
    );
    cases.add(
        "binding-hello-on-behalf-of-stranger",
        &["DEL-21", "DEL-23"],
        "Nothing shows that eve agreed.",
        seal_presenting("ada-phone", &[good], &on_behalf(&did("eve"))),
        rejected("signer-mismatch"),
    );
    cases.add(
        "binding-hello-on-behalf-of-text",
        &["DEL-21"],
        "A string that is no DID cannot be bound.",
        seal("ada-phone", &on_behalf("ada")),
        rejected("signer-mismatch"),
    );
    cases.add(
        "binding-hello-on-behalf-of-number",
        &["DEL-21"],
        "Not a string: left to the schema.",
        seal("ada-phone", &hello(json!({"bindings": ["ws/1.0"], "on_behalf_of": 5}))),
        reject("schema-invalid"),
    );
    cases.add(
        "binding-on-behalf-of-elsewhere",
        &["DEL-21"],
        "Means nothing on an invite, but its schema is closed.",
        seal("ada-phone", &set(invite(), "on_behalf_of", did("eve"))),
        reject("schema-invalid"),
    );
}

fn freshness(cases: &mut Cases) {
    let at = |kind: &str, issued_at: u64, expires_at: u64| {
        let members = required(kind);
        seal("ada-phone", &set(message_at(kind, &did("ada-phone"), issued_at, 0, members), "expires_at", expires_at))
    };
    let accepted = || accept("invite", "ada-phone", "ada-phone");
    cases.add("window-past-edge", &["RPL-1"], "300 seconds ago.", at("invite", NOW - 300, NOW + 30), accepted());
    cases.add(
        "window-past",
        &["RPL-1"],
        "301 seconds ago.",
        at("invite", NOW - 301, NOW + 30),
        reject("replay-window"),
    );
    cases.add("window-future-edge", &["RPL-1"], "In 300 seconds.", at("invite", NOW + 300, NOW + 330), accepted());
    cases.add(
        "window-future",
        &["RPL-1"],
        "In 301 seconds.",
        at("invite", NOW + 301, NOW + 330),
        reject("replay-window"),
    );
    cases.add("expires-now", &["RPL-2"], "Live in its last second.", at("invite", NOW - 30, NOW), accepted());
    cases.add(
        "expired-invite",
        &["PIPE"],
        "A second later.",
        at("invite", NOW - 30, NOW - 1),
        reject_with("expired", "session.expired"),
    );
    cases.add("expired-bye", &["PIPE"], "No reason on other types.", at("bye", NOW - 30, NOW - 1), reject("expired"));
    cases.add("expiry-equals-issue", &["RPL-2"], "Never valid.", at("invite", NOW, NOW), reject("expiry-order"));
    cases.add(
        "expiry-order-before-window",
        &["PIPE"],
        "Stage 8 before 9.",
        at("invite", NOW - 1000, NOW - 1001),
        reject("expiry-order"),
    );
    cases.add(
        "window-before-expired",
        &["PIPE"],
        "Stage 9a before 9b.",
        at("invite", NOW - 1000, NOW - 900),
        reject("replay-window"),
    );
    cases.add(
        "window-hello",
        &["HEL-9", "PIPE-3"],
        "A stale hello carries no reason in its verdict.",
        at("hello", NOW - 301, NOW + 30),
        reject("replay-window"),
    );
    let with_id = |secs: u64| seal("ada-phone", &set(invite(), "id", ulid(secs, "invite")));
    cases.add("ulid-edge-before", &["ULID-3"], "Made 300 seconds before.", with_id(NOW - 300), accepted());
    cases.add("ulid-before", &["ULID-3"], "301 seconds before.", with_id(NOW - 301), reject("ulid-issued-at-mismatch"));
    cases.add("ulid-edge-after", &["ULID-3"], "Made 300 seconds after.", with_id(NOW + 300), accepted());
    cases.add("ulid-after", &["ULID-3"], "301 seconds after.", with_id(NOW + 301), reject("ulid-issued-at-mismatch"));
    let seen = json!({"seen_ids": [ulid(NOW - 301, "invite")]});
    cases.add_in(
        seen,
        "duplicate-before-ulid",
        &["PIPE"],
        "Stage 10 before 11.",
        with_id(NOW - 301),
        reject("duplicate-id"),
    );
}

/// RPL-6.
fn held(cases: &mut Cases) {
    const WEEK: u64 = 604_800;
    let ada_for = |kind: &str| if kind == "key-rotation" { "did:web:ada.example".to_owned() } else { did("ada") };
    let world = json!({"did_documents": {"did:web:ada.example": document("did:web:ada.example", &json!({"id": "#key-1", "publicKeyMultibase": key("ada").public().to_multibase()}))}});
    let signed = |kind: &str, age: u64, lifetime: u64| {
        let from = ada_for(kind);
        let kid = if kind == "key-rotation" { "did:web:ada.example#key-1".to_owned() } else { kid("ada") };
        let payload = message_at(kind, &from, NOW - age, lifetime, required(kind));
        seal_text("ada", &header(&kid), payload.to_string().as_bytes())
    };
    for kind in ["introduction", "grant", "reachability-hint", "publish", "unpublish", "provenance", "key-rotation"] {
        let from = ada_for(kind);
        let expect = json!({"verdict": "accept", "type": kind, "signer": from, "identity": from});
        let name = |what: &str| format!("held-{kind}-{what}");
        cases.add_in(
            world.clone(),
            &name("six-days-late"),
            &["RPL-6"],
            "Meant to wait, and accepted until it expires.",
            signed(kind, 6 * 86_400, WEEK),
            expect,
        );
    }
    cases.add(
        "held-last-second",
        &["RPL-6", "RPL-2"],
        "Accepted through its last second.",
        signed("introduction", WEEK, WEEK),
        accept("introduction", "ada", "ada"),
    );
    cases.add("held-expired", &["RPL-6"], "And no longer.", signed("introduction", WEEK + 1, WEEK), reject("expired"));
    cases.add(
        "held-too-long",
        &["RPL-6"],
        "A lifetime above seven days: the window applies.",
        signed("introduction", 301, WEEK + 1),
        reject("replay-window"),
    );
    cases.add(
        "held-too-long-but-fresh",
        &["RPL-6", "SEM-8"],
        "Within the window any lifetime will do.",
        signed("introduction", 300, WEEK + 1),
        accept("introduction", "ada", "ada"),
    );
    let future = message_at("introduction", &did("ada"), NOW + 301, 600, required("introduction"));
    cases.add(
        "held-future",
        &["RPL-6"],
        "The future edge applies to all.",
        seal("ada", &future),
        reject("replay-window"),
    );
    for kind in ["invite", "hello", "bye", "subscribe", "notify"] {
        cases.add(
            &format!("not-held-{kind}"),
            &["RPL-6"],
            "Every other type obeys the whole window.",
            seal("ada", &message_at(kind, &did("ada"), NOW - 301, WEEK, required(kind))),
            reject("replay-window"),
        );
    }
    let late = message_at("introduction", &did("ada"), NOW - 86_400, WEEK, required("introduction"));
    cases.add_in(
        json!({"seen_ids": [late["id"]]}),
        "held-duplicate",
        &["RPL-6"],
        "Its id is remembered as long.",
        seal("ada", &late),
        reject("duplicate-id"),
    );
}

fn order(cases: &mut Cases) {
    let of = |kind: &str| message(kind, &did("ada-phone"), required(kind));
    cases.add(
        "order-binding-before-freshness",
        &["PIPE"],
        "Stage 7 before 8.",
        seal("ada-phone", &set(set(invite(), "from", did("eve")), "expires_at", 0)),
        reject("signer-mismatch"),
    );
    cases.add(
        "order-version-before-schema",
        &["PIPE"],
        "Stage 12 before 13.",
        seal(
            "ada-phone",
            &with(invite(), |m| {
                m["dsip"]["core"] = json!("2.0");
                m["media"] = json!([]);
            }),
        ),
        reject_with("version-unsupported", "session.unsupported-core-version"),
    );
    cases.add(
        "order-unknown-type",
        &["PIPE"],
        "Stage 13a.",
        seal("ada-phone", &set(of("bye"), "type", "goodbye")),
        reject("unknown-type"),
    );
    cases.add(
        "order-schema-before-semantics",
        &["PIPE"],
        "Stage 13 before 14.",
        seal("ada-phone", &set(set(of("subscribe"), "expires_in", 7_200), "x", 1)),
        reject("schema-invalid"),
    );
    cases.add(
        "order-offerless-invite",
        &["PIPE-4"],
        "No reason in the verdict.",
        seal("ada-phone", &unset(invite(), "media")),
        reject("schema-invalid"),
    );
    cases.add(
        "order-rotation-signed-by-next",
        &["ROT-5"],
        "Signed with the new key, without recovery.",
        {
            let rotation = message(
                "key-rotation",
                &did("ada"),
                json!({
                    "subject": did("ada"), "previous": format!("{}#old", did("ada")), "next": kid("ada"),
                    "next_public_key_multibase": key("ada").public().to_multibase(), "reason": "scheduled",
                }),
            );
            seal("ada", &rotation)
        },
        reject("rotation-signer-not-previous"),
    );
    cases.add(
        "order-reason-warning",
        &["REG-2"],
        "Accepted with a warning.",
        seal("ada-phone", &set(of("cancel"), "reason", "user.hangup")),
        with(accept("cancel", "ada-phone", "ada-phone"), |value| {
            value["effective"] = json!({"reason": "user.hangup", "fallback": "none"});
            value["warnings"] = json!(["reason-not-valid-on-type"]);
        }),
    );
}
