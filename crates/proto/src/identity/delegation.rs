//! Delegations: an identity lets a device sign for it (01 §2).

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::key::{KeyId, SecretKey};
use crate::wire::json::{self, Json};
use crate::wire::{Did, Envelope, base64url};

/// The payload of a delegation. Built here it is a statement still to be signed; a received one is only believed by
/// [`envelope`](crate::envelope).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// The identity that lets the device act for it.
    pub subject: Did,
    /// The device.
    pub device: Did,
    /// What the device may do; `dsip.signaling` is needed for anything.
    pub capabilities: Vec<String>,
    /// From when, in Unix seconds.
    pub issued_at: u64,
    /// Until when, in Unix seconds; not valid any more in that very second.
    pub expires_at: u64,
}

impl Delegation {
    /// The value of `type`.
    pub const TYPE: &'static str = "DeviceDelegation";
    /// The capability without which a device signs for nobody.
    pub const SIGNALING: &'static str = "dsip.signaling";
    /// The capability to hold interactive sessions.
    pub const INTERACTIVE_MEDIA: &'static str = "dsip.media.interactive";
    /// What a phone's device is allowed: all that this version has.
    pub const PHONE: [&'static str; 2] = [Self::SIGNALING, Self::INTERACTIVE_MEDIA];

    /// Signs it with a key of the subject (DEL-1).
    ///
    /// `kid` has to name `key` in the subject's document; nobody accepts the result otherwise.
    #[must_use]
    pub fn sign(&self, key: &SecretKey, kid: &KeyId) -> Envelope {
        let protected = base64url::encode(header(kid).as_bytes());
        #[expect(clippy::expect_used, reason = "strings and integers always serialise")]
        let payload = serde_json::to_string(self).expect("plain data serialises");
        Envelope::seal(&protected, &payload, |bytes| Some(key.sign(bytes)))
    }

    /// What an envelope claims as a delegation, unverified: for showing one's own, and for saying what does not fit.
    #[must_use]
    pub fn claimed(envelope: &Envelope) -> Option<Self> {
        let payload = envelope.payload_bytes();
        let json = json::parse(std::str::from_utf8(&payload).ok()?).ok()?.root;
        let text = |name| json.get(name).and_then(Json::as_str);
        let seconds = |name| json.get(name).and_then(Json::as_int).and_then(|value| u64::try_from(value).ok());
        let capabilities = json.get("capabilities")?.as_array()?;
        (text("type")? == Self::TYPE).then_some(())?;
        Some(Self {
            subject: text("subject")?.parse().ok()?,
            device: text("device")?.parse().ok()?,
            capabilities: capabilities.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            issued_at: seconds("issued_at")?,
            expires_at: seconds("expires_at")?,
        })
    }
}

impl Serialize for Delegation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("type", Self::TYPE)?;
        map.serialize_entry("subject", &self.subject)?;
        map.serialize_entry("device", &self.device)?;
        map.serialize_entry("capabilities", &self.capabilities)?;
        map.serialize_entry("issued_at", &self.issued_at)?;
        map.serialize_entry("expires_at", &self.expires_at)?;
        map.end()
    }
}

/// Lets `device` act for the DID of `kid`, from `issued_at` until `expires_at` (Unix seconds).
#[must_use]
pub fn delegate(
    identity: &SecretKey,
    kid: &KeyId,
    device: &Did,
    capabilities: &[&str],
    issued_at: u64,
    expires_at: u64,
) -> Envelope {
    let capabilities = capabilities.iter().map(|&capability| capability.to_owned()).collect();
    let delegation =
        Delegation { subject: kid.did().clone(), device: device.clone(), capabilities, issued_at, expires_at };
    delegation.sign(identity, kid)
}

/// The protected header of an envelope without extras (ENV-10).
pub(crate) fn header(kid: &KeyId) -> String {
    // A DID needs no escapes in JSON, but a fragment may hold anything.
    let kid = serde_json::Value::from(kid.to_string());
    format!(r#"{{"alg":"EdDSA","kid":{kid},"typ":"dsip+json"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_delegation_claims_what_was_said() {
        let (identity, device) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]).did());
        let said = Delegation {
            subject: identity.did(),
            device,
            capabilities: vec![Delegation::SIGNALING.to_owned()],
            issued_at: 1_760_000_000,
            expires_at: 1_760_086_400,
        };
        let envelope = said.sign(&identity, &identity.public().kid());
        assert_eq!(Delegation::claimed(&envelope), Some(said));
    }
}
