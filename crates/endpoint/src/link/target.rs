//! Where to dial: a node's URL, and who is expected there.

use std::fmt;
use std::str::FromStr;

use dsip_proto::identity::PublicKey;
use dsip_proto::wire::Did;
use url::{Host, Url};

use super::Transport;
use crate::tls::Expect;

/// A node to dial: its WebSocket URL, its DID if known, and the bindings it is said to speak.
///
/// Written `wss://HOST[:PORT]/dsip`, with the node's DID as fragment where a key has to be expected:
/// `wss://192.0.2.1:8443/dsip#did:key:z6Mk…`. `quic/1.0` is served on UDP at the same host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    url: Url,
    node: Option<Did>,
    quic: bool,
}

/// The text names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL.
    #[error("not a node URL: {0}")]
    Url(#[from] url::ParseError),
    /// WS-1: plain `ws` is never accepted.
    #[error("a node URL begins with wss://")]
    Scheme,
    /// No host.
    #[error("a node URL names a host")]
    Host,
    /// A user name or a password.
    #[error("a node URL has no user name or password")]
    Credentials,
    /// The fragment is no DID.
    #[error("after # a node URL gives the node's DID")]
    Fragment,
    /// The DID is a `did:key` that holds no Ed25519 key.
    #[error("{0} holds no Ed25519 key")]
    Key(Did),
}

impl Target {
    /// The same node, known to be `node`.
    pub fn with_node(mut self, node: Did) -> Result<Self, TargetError> {
        key(&node)?;
        self.node = Some(node);
        Ok(self)
    }

    /// The same node, said to speak these bindings. Without this, both are tried.
    #[must_use]
    pub fn with_bindings<'a>(mut self, bindings: impl IntoIterator<Item = &'a str>) -> Self {
        self.quic = bindings.into_iter().any(|binding| binding == Transport::Quic.id());
        self
    }

    /// The node's DID, if known.
    #[must_use]
    pub fn node(&self) -> Option<&Did> {
        self.node.as_ref()
    }

    /// The URL without the fragment.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The host as it stands in the URL.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port, 443 if the URL names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(443)
    }

    /// Whom a `hello` on this link is for (HEL-12): the node's DID if known, else the host and port dialled.
    #[must_use]
    pub fn audience(&self) -> String {
        match &self.node {
            Some(node) => node.to_string(),
            None => format!("{}:{}", self.host(), self.port()),
        }
    }

    pub(super) fn speaks_quic(&self) -> bool {
        self.quic
    }

    /// What the node's certificate has to show.
    #[must_use]
    pub fn expect(&self) -> Expect {
        self.node.as_ref().and_then(|node| key(node).ok().flatten()).map_or(Expect::WebPki, Expect::Key)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let mut url = Url::parse(text)?;
        if url.scheme() != "wss" {
            return Err(TargetError::Scheme);
        }
        if !matches!(url.host(), Some(Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_))) {
            return Err(TargetError::Host);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        let node = url.fragment().map(|did| did.parse::<Did>().map_err(|_| TargetError::Fragment)).transpose()?;
        url.set_fragment(None);
        let target = Self { url, node: None, quic: true };
        match node {
            Some(node) => target.with_node(node),
            None => Ok(target),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())?;
        self.node.as_ref().map_or(Ok(()), |node| write!(f, "#{node}"))
    }
}

/// The key a `did:key` stands for; none for other methods.
fn key(did: &Did) -> Result<Option<[u8; 32]>, TargetError> {
    if did.method() != "key" {
        return Ok(None);
    }
    PublicKey::of_did(did).map(|key| Some(*key.as_bytes())).map_err(|_| TargetError::Key(did.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "did:key:z6Mkg9oRSg6APtrMJP8iekQm8yPc9ore3E4SJ5bF7Cw1qFCu";

    #[test]
    fn a_fragment_names_the_node_and_its_key_is_expected() {
        let target: Target = format!("wss://192.0.2.1:8443/dsip#{NODE}").parse().expect("a target");
        assert_eq!(target.node().map(Did::as_str), Some(NODE));
        assert_eq!(target.url(), "wss://192.0.2.1:8443/dsip");
        assert_eq!(target.audience(), NODE);
        assert!(matches!(target.expect(), Expect::Key(_)));
        assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(&target));
    }

    #[test]
    fn hel_12_without_a_did_the_audience_is_what_was_dialled() {
        let target: Target = "wss://node.example/dsip".parse().expect("a target");
        assert_eq!(target.audience(), "node.example:443");
        assert_eq!(target.expect(), Expect::WebPki);
    }

    #[test]
    fn ws_1_plain_ws_and_other_nonsense_are_refused() {
        assert_eq!("ws://node.example/dsip".parse::<Target>(), Err(TargetError::Scheme));
        assert_eq!("wss://u:p@node.example/dsip".parse::<Target>(), Err(TargetError::Credentials));
        assert_eq!("wss://node.example/dsip#bob".parse::<Target>(), Err(TargetError::Fragment));
        assert!(matches!("wss://node.example/dsip#did:key:z6Mk".parse::<Target>(), Err(TargetError::Key(_))));
        assert!("node.example".parse::<Target>().is_err());
    }
}
