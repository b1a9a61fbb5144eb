//! Any bytes as a received frame, as they are and as the payload of a well-signed one.

use std::time::Duration;

use dsip_proto::envelope::{self, Code, Connection, Supported, Verifier};
use dsip_proto::identity::{Documents, SecretKey};
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::wire::base64url;
use dsip_proto::wire::token::ProfileId;

/// The clock of our own vectors, from which the corpus comes.
pub(super) const NOW: Now = Now { tick: Tick::from_micros(0), wall: Wall::from_secs(1_770_000_000) };

/// An accepted frame is forwarded byte for byte and accepted once; its signer's documents are all that is asked for.
pub(crate) fn run(data: &[u8]) {
    if let Ok(frame) = std::str::from_utf8(data) {
        judge(frame);
    }
    judge(&signed(r#"{"alg":"EdDSA","kid":"KID"}"#, data));
}

/// An envelope over `payload` by a key of ours; `KID` in the header stands for its name.
pub(super) fn signed(header: &str, payload: &[u8]) -> String {
    let key = SecretKey::from_bytes(&[9; 32]);
    let header = header.replace("KID", &key.public().kid().to_string());
    let (protected, payload) = (base64url::encode(header.as_bytes()), base64url::encode(payload));
    let signature = base64url::encode(&key.sign(format!("{protected}.{payload}").as_bytes()));
    format!(r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}"}}"#)
}

pub(super) fn verifier() -> Verifier {
    Verifier::new(Supported::new([ProfileId::INTERACTIVE_MEDIA, ProfileId::VERIFIED_BROADCAST]), Seed::new([1; 32]))
}

pub(super) fn judge(frame: &str) {
    assert!(envelope::needs(frame).len() <= 9);
    let (mut verifier, documents) = (verifier(), Documents::default());
    let mut verify = |now| verifier.verify(frame, now, &documents, Connection::default());
    let Ok(verified) = verify(NOW) else { return };
    assert_eq!(**verified.text(), *frame);
    assert!(verified.proofs().iter().all(|proof| proof.until > NOW.wall.secs()));
    let again = verify(NOW.later(Duration::from_secs(1))).expect_err("an id is accepted once");
    assert!(matches!(again.code, Code::DuplicateId | Code::ReplayWindow | Code::Expired), "{again}");
}
