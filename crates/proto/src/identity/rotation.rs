//! Checks on a `key-rotation` record (01 §3). The record is for logs and people; documents decide about keys (ROT-1).

use super::key::KeyId;
use crate::wire::message::KeyRotation;

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
