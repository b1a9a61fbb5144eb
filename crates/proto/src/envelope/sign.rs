//! Making envelopes.

use crate::identity::{DeviceKey, KeyId, SecretKey, header};
use crate::wire::{Envelope, Kind, Message, base64url};

/// A key with its name, and the delegations that show for whom it may speak.
///
/// With an [external](DeviceKey::External) key what it makes is [`Unsigned`](crate::wire::Unsigned): complete but for the
/// signature, so that it verifies nowhere until the key's keeper has signed it.
pub struct Signer {
    key: DeviceKey,
    kid: KeyId,
    delegations: Vec<Envelope>,
    /// The encoded headers, which hardly ever change.
    plain: String,
    delegated: String,
}

impl Signer {
    /// Signs with `key`, which `kid` names, and presents `delegations` where a receiver may need them.
    #[must_use]
    pub fn new(key: impl Into<DeviceKey>, kid: KeyId, delegations: Vec<Envelope>) -> Self {
        let key = key.into();
        let plain = base64url::encode(header(&kid).as_bytes());
        let delegated = base64url::encode(full_header(&kid, &delegations, None).as_bytes());
        Self { key, kid, delegations, plain, delegated }
    }

    /// Signs with a `did:key` of its own, without delegations.
    #[must_use]
    pub fn of_key(key: SecretKey) -> Self {
        let kid = key.public().kid();
        Self::new(key, kid, Vec::new())
    }

    /// The name of the key.
    #[must_use]
    pub const fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// The delegations it presents.
    #[must_use]
    pub fn delegations(&self) -> &[Envelope] {
        &self.delegations
    }

    /// Signs `message` as it stands. Its fields have to be in order ([`Message::check`]); receivers refuse it otherwise.
    #[must_use]
    pub fn sign(&self, message: &Message) -> Envelope {
        let header = if presents_delegations(message.kind()) { &self.delegated } else { &self.plain };
        self.seal(header, message)
    }

    /// Signs `message` for one receiver: its DID, or the host and port that were dialled (HEL-12).
    #[must_use]
    pub fn sign_for(&self, message: &Message, audience: &str) -> Envelope {
        let header = full_header(&self.kid, &self.delegations, Some(audience));
        self.seal(&base64url::encode(header.as_bytes()), message)
    }

    fn seal(&self, protected: &str, message: &Message) -> Envelope {
        debug_assert!(message.check().is_ok(), "a message that its own field table refuses: {message:?}");
        Envelope::seal(protected, &message.to_json(), |bytes| self.key.sign(bytes))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Which messages show for whom their signer speaks. The rest follow within a session, where it is known by then, and
/// would only grow.
const fn presents_delegations(kind: Kind) -> bool {
    match kind {
        Kind::Invite
        | Kind::Progress
        | Kind::Answer
        | Kind::Reject
        | Kind::Update
        | Kind::Hello
        | Kind::Introduction
        | Kind::Grant
        | Kind::Subscribe
        | Kind::Publish
        | Kind::Unpublish
        | Kind::Provenance
        | Kind::KeyRotation
        | Kind::ReachabilityHint => true,
        Kind::Cancel | Kind::Info | Kind::Bye | Kind::Error | Kind::Notify => false,
    }
}

/// ENV-10: `alg`, `kid`, `typ`, then the extras.
fn full_header(kid: &KeyId, delegations: &[Envelope], audience: Option<&str>) -> String {
    let mut text = header(kid);
    text.pop();
    if !delegations.is_empty() {
        let list: Vec<String> = delegations.iter().map(Envelope::text).collect();
        text.push_str(&format!(r#","delegations":[{}]"#, list.join(",")));
    }
    if let Some(audience) = audience {
        text.push_str(&format!(r#","aud":{}"#, serde_json::Value::from(audience)));
    }
    text.push('}');
    text
}
