//! Checks on a `key-rotation` record (01 §3). The record is for logs and people; documents decide about keys (ROT-1).

use super::delegation::header;
use super::key::{KeyId, PublicKey, SecretKey};
use crate::time::Now;
use crate::wire::media::VersionBlock;
use crate::wire::message::{Common, KeyRotation};
use crate::wire::token::{ProfileId, RotationReason};
use crate::wire::{Did, Envelope, Message, Ulid, base64url};

/// How long a record may be on its way, in seconds: an operator may be asked by letter (RPL-6).
const LIFETIME: u64 = 604_800;

/// Why a rotation record contradicts itself or its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// `from` is not the subject (ROT-3).
    #[error("the record is not from its subject")]
    SubjectMismatch,
    /// The new key is the old one (ROT-4).
    #[error("the next key is the previous one")]
    NextSameAsPrevious,
    /// Not signed with the key that retires, and no recovery (ROT-5).
    #[error("the record is not signed with the previous key")]
    SignerNotPrevious,
}

/// Why the host of a name does not replace its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionError {
    /// The record is about somebody else.
    #[error("the record is about another name")]
    OtherSubject,
    /// The key it retires is not the one in use.
    #[error("the key it retires is not the one that is in use")]
    OtherPrevious,
    /// It is signed with a recovery key. No document says which keys those are (ROT-6), so there are none.
    #[error("a recovery key signed it, and the name has none")]
    Recovery,
    /// The new key is unusable, or is not named by itself.
    #[error("its next key is not named by the Ed25519 key itself")]
    NextKey,
    /// The new key was in use before.
    #[error("its next key was in use before")]
    UsedBefore,
}

/// Signs the record that `next` takes the place of `key`, which `kid` names. The new key is named by itself, so that no two keys
/// ever share a name (ROT-4).
///
/// None if `kid` has a fragment that no record can hold.
#[must_use]
pub fn rotate(
    key: &SecretKey,
    kid: &KeyId,
    next: &PublicKey,
    reason: RotationReason,
    devices: Vec<Did>,
    id: Ulid,
    now: Now,
) -> Option<Envelope> {
    let did = kid.did().clone();
    let issued_at = now.wall.secs();
    let rotation = KeyRotation {
        common: Common {
            dsip: VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]),
            id,
            from: did.clone(),
            issued_at,
            expires_at: issued_at.saturating_add(LIFETIME),
        },
        previous: kid.to_string().parse().ok()?,
        next: KeyId::new(did.clone(), &next.to_multibase()).ok()?.to_string().parse().ok()?,
        next_public_key_multibase: next.to_multibase().parse().ok()?,
        subject: did,
        reason,
        recovery: None,
        devices: Some(devices).filter(|devices| !devices.is_empty()),
    };
    let protected = base64url::encode(header(kid).as_bytes());
    Some(Envelope::seal(&protected, &Message::from(rotation).to_json(), |bytes| Some(key.sign(bytes))))
}

/// NAM-4: the key that takes the place of `current` in the document of its DID, by a record that was verified against that
/// document.
///
/// `before` are keys that were in use earlier. None of them comes back: a record that once retired one would count again.
pub fn successor(rotation: &KeyRotation, current: &KeyId, before: &[PublicKey]) -> Result<PublicKey, SuccessionError> {
    if rotation.subject != *current.did() {
        return Err(SuccessionError::OtherSubject);
    }
    if rotation.recovery == Some(true) {
        return Err(SuccessionError::Recovery);
    }
    if rotation.previous.as_str() != current.to_string() {
        return Err(SuccessionError::OtherPrevious);
    }
    let multibase = rotation.next_public_key_multibase.as_str();
    let key = PublicKey::from_multibase(multibase).map_err(|_| SuccessionError::NextKey)?;
    if !key.is_usable() || rotation.next.as_str() != format!("{}#{multibase}", rotation.subject) {
        return Err(SuccessionError::NextKey);
    }
    if before.contains(&key) || current.fragment() == multibase {
        return Err(SuccessionError::UsedBefore);
    }
    Ok(key)
}

/// ROT-3, ROT-4 and, where the signing key is known, ROT-5, in this order.
///
/// With `recovery`, any key of the subject may sign: documents cannot mark recovery keys yet, so designating them is left
/// to the caller's policy (ROT-6).
pub fn check_rotation(rotation: &KeyRotation, signed_with: Option<&KeyId>) -> Result<(), RotationError> {
    if rotation.common.from != rotation.subject {
        return Err(RotationError::SubjectMismatch);
    }
    if rotation.next == rotation.previous {
        return Err(RotationError::NextSameAsPrevious);
    }
    let is_previous = signed_with.is_none_or(|kid| kid.to_string() == rotation.previous.as_str());
    if rotation.recovery != Some(true) && !is_previous {
        return Err(RotationError::SignerNotPrevious);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Tick, Wall};
    use crate::wire::json;

    fn rotation(key: &SecretKey, kid: &KeyId, next: &PublicKey) -> KeyRotation {
        let now = Now { tick: Tick::default(), wall: Wall::from_secs(1_760_000_000) };
        let reason = RotationReason::SCHEDULED;
        let record = rotate(key, kid, next, reason, vec![next.did()], Ulid::from_bits(1), now).expect("signed");
        let payload = String::from_utf8(record.payload_bytes()).expect("text");
        match Message::from_json(json::parse(&payload).expect("JSON").root).expect("a message") {
            Message::KeyRotation(rotation) => rotation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nam_4_only_the_key_in_use_names_a_successor_and_none_comes_back() {
        let keys = [1, 2, 3].map(|seed| SecretKey::from_bytes(&[seed; 32]));
        let [first, second, third] = [0, 1, 2].map(|at: usize| keys[at].public());
        let did: Did = "did:web:example.org:users:alice".parse().expect("a DID");
        let kid = |key: &PublicKey| KeyId::new(did.clone(), &key.to_multibase()).expect("a key id");
        let good = rotation(&keys[0], &kid(&first), &second);
        assert_eq!(check_rotation(&good, Some(&kid(&first))), Ok(()));
        assert_eq!(successor(&good, &kid(&first), &[]), Ok(second));
        let refused = |change: &dyn Fn(&mut KeyRotation), before: &[PublicKey]| {
            let mut bad = good.clone();
            change(&mut bad);
            successor(&bad, &kid(&first), before).expect_err("refused")
        };
        let other: Did = "did:web:example.org:users:bob".parse().expect("a DID");
        assert_eq!(refused(&|bad| bad.subject = other.clone(), &[]), SuccessionError::OtherSubject);
        assert_eq!(refused(&|bad| bad.recovery = Some(true), &[]), SuccessionError::Recovery);
        let previous = kid(&third).to_string().parse().expect("a method");
        assert_eq!(refused(&|bad| bad.previous = Clone::clone(&previous), &[]), SuccessionError::OtherPrevious);
        let named = format!("{did}#key-2").parse().expect("a method");
        assert_eq!(refused(&|bad| bad.next = Clone::clone(&named), &[]), SuccessionError::NextKey);
        for multibase in [&third.to_multibase()[..], "z6Mk", &PublicKey::from_bytes([0; 32]).to_multibase()] {
            let text = multibase.parse().expect("base58");
            let change = |bad: &mut KeyRotation| bad.next_public_key_multibase = Clone::clone(&text);
            assert_eq!(refused(&change, &[]), SuccessionError::NextKey, "{multibase}");
        }
        assert_eq!(refused(&|_| {}, &[third, second]), SuccessionError::UsedBefore);
    }
}
