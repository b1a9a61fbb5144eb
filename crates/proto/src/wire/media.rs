//! Offers and selections: media descriptors, codecs, transports, policies, claimed identities (01 §11.0).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::SchemaError;
use super::field::{Field, at_most, object};
use super::json::Json;
use super::token::{CodecId, Direction, MediaType, ProfileId, Token, TransportId, Version};

object! {
    /// The versions a sender speaks and what it demands of the receiver (T-vblock, 01 §8).
    closed VersionBlock {
        /// The core version of this message.
        core: Version,
        /// The oldest core version whose receiver can make sense of it.
        min_core: Version,
        /// Profiles, of which the receiver has to know one.
        profiles: Vec<ProfileId>,
        /// Extensions in use.
        extensions: Vec<ProfileId>,
        /// What the receiver has to know, or refuse.
        critical: Vec<ProfileId>,
    }
}

object! {
    /// A codec and its parameters (T-codec).
    open Codec {
        /// Which codec.
        id: CodecId,
    }
}

object! {
    /// A way for media to travel, with the data of its binding (T-transport).
    open Transport {
        /// Which transport.
        id: TransportId,
    }
}

object! {
    /// One stream of media: what, which way, in which codecs (T-media).
    open MediaDescriptor {
        /// What flows.
        kind as "type": MediaType,
        /// Which way, seen from the sender of this descriptor.
        direction: Direction,
        /// The codecs, in order of preference.
        codecs: Vec<Codec>,
        /// What it is for, such as `sign-language`.
        purpose: Option<Token>,
    }
    where |media| !media.codecs.is_empty()
}

object! {
    /// What a sender says about itself: claims, to be shown as such (T-identity, TRU-9).
    closed ClaimedIdentity {
        /// The name it wants to be shown under.
        display_name: Option<String>,
        /// Further claims.
        claims: Option<Vec<Map<String, Value>>>,
    }
    where |identity| at_most(identity.display_name.as_ref(), 256)
}

/// A signed declaration of what may be done with the media (T-policy); nothing but its receiver enforces it (NEG-8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy(BTreeMap<String, Token>);

impl VersionBlock {
    /// Core version 1.0 with these profiles and no extensions.
    #[must_use]
    pub fn new(profiles: &[ProfileId]) -> Self {
        Self {
            core: Version::CORE,
            min_core: Version::CORE,
            profiles: profiles.to_vec(),
            extensions: Vec::new(),
            critical: Vec::new(),
        }
    }
}

impl Codec {
    /// The codec without parameters.
    #[must_use]
    pub fn new(id: CodecId) -> Self {
        Self { id, rest: Map::new() }
    }
}

impl Transport {
    /// The transport without binding data.
    #[must_use]
    pub fn new(id: TransportId) -> Self {
        Self { id, rest: Map::new() }
    }

    /// The ICE mode, if it is given as a string.
    #[must_use]
    pub fn ice(&self) -> Option<&str> {
        self.rest.get("ice").and_then(Value::as_str)
    }

    /// The session description, if it is given as a string.
    #[must_use]
    pub fn sdp(&self) -> Option<&str> {
        self.rest.get("sdp").and_then(Value::as_str)
    }

    /// The same transport with a session description.
    #[must_use]
    pub fn with_sdp(mut self, ice: &str, sdp: &str) -> Self {
        self.rest.insert("ice".into(), ice.into());
        self.rest.insert("sdp".into(), sdp.into());
        self
    }
}

impl MediaDescriptor {
    /// A descriptor with these codecs and no purpose.
    #[must_use]
    pub fn new(kind: MediaType, direction: Direction, codecs: &[CodecId]) -> Self {
        let codecs = codecs.iter().cloned().map(Codec::new).collect();
        Self { kind, direction, codecs, purpose: None, rest: Map::new() }
    }
}

impl Policy {
    /// Declares `value` for `key`; refuses a key that is not `[a-z][a-z0-9_]*`.
    pub fn declare(&mut self, key: &str, value: Token) -> Result<(), SchemaError> {
        if !is_policy_key(key) {
            return Err(SchemaError);
        }
        self.0.insert(key.to_owned(), value);
        Ok(())
    }

    /// What is declared for `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Token> {
        self.0.get(key)
    }

    /// All declarations, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Token)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl Field for Policy {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        let Json::Object(members) = json else { return Err(SchemaError) };
        let mut policy = Self::default();
        for (key, value) in members {
            policy.declare(&key, Token::read(value)?)?;
        }
        Ok(policy)
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Whether `selection` is a subset of `offer` (NEG-2 to NEG-5, SEM-2).
#[must_use]
pub fn is_subset(selection: (&[MediaDescriptor], &[Transport]), offer: (&[MediaDescriptor], &[Transport])) -> bool {
    selection.0.iter().all(|selected| {
        // NEG-2: the first offered descriptor of that type and purpose is the one that is answered.
        offer.0.iter().find(|offered| offered.kind == selected.kind && offered.purpose == selected.purpose).is_some_and(
            |offered| {
                selected.codecs.iter().all(|codec| offered.codecs.iter().any(|other| other.id == codec.id)) // NEG-3
                    && selected.direction.answers(offered.direction)
            },
        )
    }) && selection.1.iter().all(|transport| offer.1.iter().any(|offered| offered.id == transport.id)) // NEG-5
}

fn is_policy_key(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
