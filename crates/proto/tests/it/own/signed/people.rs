//! Who signs, and how: keys from names, ids from labels, envelopes put together by hand so that they may be wrong.

use dsip_proto::identity::SecretKey;
use dsip_proto::wire::base64url;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::NOW;

/// A key, from a name nobody uses for anything else.
pub(super) fn key(name: &str) -> SecretKey {
    SecretKey::from_bytes(&Sha256::digest(format!("dsip-own-vector:{name}")).into())
}

/// The `did:key` of that name.
pub(super) fn did(name: &str) -> String {
    key(name).did().to_string()
}

/// The key id of that `did:key`.
pub(super) fn kid(name: &str) -> String {
    key(name).public().kid().to_string()
}

/// A ULID made at `secs`, its random part from `label`.
pub(super) fn ulid(secs: u64, label: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digest = Sha256::digest(format!("dsip-own-ulid:{label}"));
    let random = digest.iter().take(10).fold(0u128, |value, byte| value << 8 | u128::from(*byte));
    let value = u128::from(secs * 1000) << 80 | random;
    (0..26).rev().map(|place| char::from(ALPHABET[(value >> (place * 5) & 31) as usize])).collect()
}

/// An envelope by the key of `name` over exactly these texts.
pub(super) fn seal_text(name: &str, header: &str, payload: &[u8]) -> Value {
    let (protected, payload) = (base64url::encode(header.as_bytes()), base64url::encode(payload));
    let signature = key(name).sign(format!("{protected}.{payload}").as_bytes());
    json!({"protected": protected, "payload": payload, "signature": base64url::encode(&signature)})
}

/// An envelope by the `did:key` of `name`.
pub(super) fn seal(name: &str, payload: &Value) -> Value {
    seal_text(name, &header(&kid(name)), payload.to_string().as_bytes())
}

/// An envelope by the `did:key` of `name` that presents delegations.
pub(super) fn seal_presenting(name: &str, delegations: &[Value], payload: &Value) -> Value {
    let header = json!({"alg": "EdDSA", "kid": kid(name), "typ": "dsip+json", "delegations": delegations});
    seal_text(name, &header.to_string(), payload.to_string().as_bytes())
}

/// An ordinary header.
pub(super) fn header(kid: &str) -> String {
    json!({"alg": "EdDSA", "kid": kid, "typ": "dsip+json"}).to_string()
}

/// A delegation payload that holds for a month around [`NOW`].
pub(super) fn delegation(subject: &str, device: &str) -> Value {
    json!({
        "type": "DeviceDelegation", "subject": subject, "device": device,
        "capabilities": ["dsip.signaling", "dsip.media.interactive"],
        "issued_at": NOW - 86_400, "expires_at": NOW + 30 * 86_400,
    })
}

/// A delegation that holds, from the `did:key` of one name to that of another.
pub(super) fn delegated(subject: &str, device: &str) -> Value {
    seal(subject, &delegation(&did(subject), &did(device)))
}

/// A DID document with one key.
pub(super) fn document(did: &str, method: &Value) -> Value {
    json!({"id": did, "verificationMethod": [method]})
}

/// The version block of a message that needs this profile; none for an empty name.
pub(super) fn dsip(profile: &str) -> Value {
    let profiles: Vec<&str> = [profile].into_iter().filter(|profile| !profile.is_empty()).collect();
    json!({"core": "1.0", "min_core": "1.0", "profiles": profiles, "extensions": [], "critical": []})
}

/// A message of type `kind` from `from`, issued at `secs`, that lives `lifetime` seconds, with further members.
pub(super) fn message_at(kind: &str, from: &str, secs: u64, lifetime: u64, members: Value) -> Value {
    let profile = match kind {
        "hello" | "error" | "reachability-hint" => "",
        "publish" | "unpublish" | "provenance" => "verified-broadcast/1.0",
        _ => "interactive-media/1.0",
    };
    let mut message = json!({
        "dsip": dsip(profile), "type": kind, "id": ulid(secs, kind), "from": from,
        "issued_at": secs, "expires_at": secs + lifetime,
    });
    let Value::Object(members) = members else { unreachable!("members are an object") };
    message.as_object_mut().expect("an object").extend(members);
    message
}

/// A message issued at [`NOW`].
pub(super) fn message(kind: &str, from: &str, members: Value) -> Value {
    message_at(kind, from, NOW, 30, members)
}

/// Audio in Opus, both ways.
pub(super) fn audio() -> Value {
    json!({"type": "audio", "direction": "sendrecv", "codecs": [{"id": "codec:audio/opus"}]})
}

/// The members of an invite to grace.
pub(super) fn offer() -> Value {
    json!({"to": did("grace"), "media": [audio()], "transports": [{"id": "transport:webrtc", "ice": "trickle"}]})
}

/// The members that a message of each type cannot do without.
pub(super) fn required(kind: &str) -> Value {
    let (to, session) = (did("grace"), ulid(NOW, "session"));
    match kind {
        "invite" => offer(),
        "progress" => json!({"to": to, "session": session, "status": "ringing"}),
        "answer" => json!({
            "to": to, "session": session, "answered_by": "user", "media": [audio()],
            "transports": [{"id": "transport:webrtc"}],
        }),
        "reject" => json!({"to": to, "session": session, "reason": "user.declined"}),
        "cancel" => json!({"to": to, "session": session, "reason": "user.cancelled"}),
        "update" => json!({"to": to, "session": session, "media": [audio()]}),
        "info" => json!({
            "to": to, "session": session, "about": "transport:webrtc",
            "data": {"candidates": [], "end_of_candidates": true},
        }),
        "bye" => json!({"to": to, "session": session, "reason": "user.hangup"}),
        "error" => json!({"to": to, "reason": "session.invalid-state"}),
        "hello" => json!({"bindings": ["ws/1.0"]}),
        "introduction" => json!({"to": to, "identity": {}}),
        "grant" => json!({"to": to, "session": session, "scope": ["dsip.invite"], "valid_until": NOW + 86_400}),
        "subscribe" => json!({"to": to, "target": to, "events": ["presence"], "expires_in": 600}),
        "notify" => json!({"to": to, "subscription": session, "seq": 1, "state": "active", "body": {}}),
        "publish" => json!({
            "publisher": did("ada"), "stream_id": format!("{}:news", did("ada")), "state": "live",
            "variants": [{
                "id": "main", "media": ["audio"], "codec": "codec:audio/opus", "transport": "transport:webrtc",
                "uri": "https://tv.example/main",
            }],
        }),
        "unpublish" => json!({
            "publisher": did("ada"), "stream_id": format!("{}:news", did("ada")), "publication": session,
        }),
        "provenance" => json!({
            "original_stream": format!("{}:news", did("ada")), "original_publication": session,
            "processor": did("node"), "operation": "transcode", "input_variant": "main", "output_variant": "small",
        }),
        "key-rotation" => json!({
            "subject": "did:web:ada.example", "previous": "did:web:ada.example#key-1",
            "next": "did:web:ada.example#key-2", "next_public_key_multibase": key("ada-next").public().to_multibase(),
            "reason": "scheduled",
        }),
        "reachability-hint" => json!({
            "subject": did("ada"), "seq": NOW,
            "endpoints": [{"uri": "wss://node.example/dsip", "bindings": ["ws/1.0"]}],
        }),
        other => unreachable!("no message type {other}"),
    }
}

/// The nineteen types.
pub(super) const KINDS: [&str; 19] = [
    "invite",
    "progress",
    "answer",
    "reject",
    "cancel",
    "update",
    "info",
    "bye",
    "error",
    "hello",
    "introduction",
    "grant",
    "subscribe",
    "notify",
    "publish",
    "unpublish",
    "provenance",
    "key-rotation",
    "reachability-hint",
];
