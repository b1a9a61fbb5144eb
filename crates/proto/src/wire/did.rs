//! DIDs as text (ID-1, ID-3). What a DID means is in [`identity`](crate::identity).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A decentralized identifier whose syntax satisfies ID-1; compared byte for byte (ID-3). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(Arc<str>);

/// The text is not a DID in the sense of ID-1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a DID: it has to look like did:method:identifier, without path, query or fragment")]
pub struct DidSyntaxError;

impl Did {
    /// The DID's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The method name, such as `key` or `web`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// What follows `did:method:`.
    #[must_use]
    pub fn specific(&self) -> &str {
        self.0.splitn(3, ':').nth(2).unwrap_or_default()
    }
}

impl FromStr for Did {
    type Err = DidSyntaxError;

    fn from_str(text: &str) -> Result<Self, DidSyntaxError> {
        let mut parts = text.splitn(3, ':');
        let (scheme, method, specific) = (parts.next(), parts.next(), parts.next());
        let well_formed = scheme == Some("did")
            && method.is_some_and(|m| !m.is_empty() && m.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
            && specific.is_some_and(|s| {
                !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b".%_:-".contains(&b))
            });
        if well_formed { Ok(Self(text.into())) } else { Err(DidSyntaxError) }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Did {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Did {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
