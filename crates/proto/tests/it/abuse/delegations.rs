//! Any bytes as the `delegations` of a well-signed envelope.

use dsip_proto::envelope::Connection;
use dsip_proto::identity::Documents;

use super::frame::{NOW, judge, signed, verifier};

/// Whatever is presented, a device that speaks for itself needs none of it, and proves nobody who did not sign.
pub(crate) fn run(data: &[u8]) {
    let Ok(presented) = std::str::from_utf8(data) else { return };
    let header = format!(r#"{{"alg":"EdDSA","kid":"KID","delegations":{presented}}}"#);
    let payload = concat!(
        r#"{"dsip":{"core":"1.0","min_core":"1.0","profiles":[],"extensions":[],"critical":[]},"type":"bye","#,
        r#""id":"01KGC4Q40000000000000000AA","from":"did:web:ada.example","to":"did:web:grace.example","#,
        r#""session":"01KGC4Q40000000000000000AB","reason":"user.hangup","issued_at":1770000000,"expires_at":1770000030}"#
    );
    let frame = signed(&header, payload.as_bytes());
    judge(&frame);
    let verdict = verifier().verify(&frame, NOW, &Documents::default(), Connection::default());
    assert!(verdict.is_err(), "without documents nobody speaks for a did:web");
}
