//! Waking a device that sleeps, by a push service (docs/spec/wake.md).
//!
//! ```text
//!   node's Key ──► capabilities of its hello ──► the device asks its push service for an Endpoint that takes this key's word
//!   Endpoint ──► claim of a subscribe ──► the node ──► Push ──► push service ──► the device says hello
//! ```
//!
//! What goes through the push service is [`SIGNAL`], encrypted: that somebody calls, and who, is said by the envelope that waits.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::wire::base64url;

/// The content of every push (WAK-21).
pub const SIGNAL: &[u8] = br#"{"type":"wake"}"#;

/// What core 1.0 lists among `push_wake` (CAP-2).
pub const SERVICE: &str = "web-push";

/// The member of `capabilities` by which a node says that it wakes devices (WAK-1).
const MEMBER: &str = "wake";

/// The type of the claim that carries an endpoint, or takes it back (WAK-3, WAK-5).
const CLAIM: &str = "web-push";

/// WAK-4: the longest URL of an endpoint. Browsers' have 150 to 500 octets.
pub const MAX_URL: usize = 1_024;

/// Octets of a point of P-256, uncompressed.
const POINT: usize = 65;

/// Octets of an endpoint's authentication secret (RFC 8291, 3.2).
const AUTH: usize = 16;

/// A public key on P-256, uncompressed: a node's for VAPID (RFC 8292), or a device's (RFC 8291). Whether it is a point of the curve
/// shows when it is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; POINT]);

impl Key {
    /// The key with these octets, if that is what they look like.
    #[must_use]
    pub fn of(octets: &[u8]) -> Option<Self> {
        let point: [u8; POINT] = octets.try_into().ok()?;
        (point[0] == 4).then_some(Self(point))
    }

    /// Its octets: 4, and both coordinates.
    #[must_use]
    pub const fn octets(&self) -> &[u8; POINT] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl FromStr for Key {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        base64url::decode(text).and_then(|octets| Self::of(&octets)).ok_or(EndpointError::Key)
    }
}

/// WAK-1: the member of a node's `capabilities` and its value.
#[must_use]
pub fn member(key: &Key) -> (String, Value) {
    (MEMBER.to_owned(), serde_json::json!({ "vapid": key.to_string() }))
}

/// The key of a node that wakes devices, by the open members of its `capabilities`. What is not of the right form counts as absent
/// (CAP-2).
#[must_use]
pub fn announced(members: &Map<String, Value>) -> Option<Key> {
    members.get(MEMBER)?.get("vapid")?.as_str()?.parse().ok()
}

/// Why something is not an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// WAK-4.
    #[error("not an https URL of at most 1024 characters, without a user and a fragment")]
    Url,
    /// RFC 8291, 3.1.
    #[error("p256dh is not an uncompressed P-256 key in base64url")]
    Key,
    /// RFC 8291, 3.2.
    #[error("auth is not 16 octets in base64url")]
    Auth,
    /// WAK-3.
    #[error("no claim of the type web-push")]
    Missing,
}

/// Where a push service takes messages for one device, and what they are encrypted with: a push subscription as browsers and
/// UnifiedPush have it. Who knows the URL can wake the device, so it is a secret of device and node (WAK-6).
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Arc<str>,
    /// Where in the URL its authority ends.
    authority: usize,
    key: Key,
    auth: [u8; AUTH],
}

/// WAK-6: nothing of it is shown but the push service.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("origin", &self.origin()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The endpoint at `url`, with the device's public key and authentication secret in base64url, as a browser's
    /// `PushSubscription` has them.
    pub fn new(url: &str, p256dh: &str, auth: &str) -> Result<Self, EndpointError> {
        let authority = authority(url).ok_or(EndpointError::Url)?;
        let auth = base64url::decode(auth).and_then(|auth| auth.try_into().ok()).ok_or(EndpointError::Auth)?;
        Ok(Self { url: url.into(), authority, key: p256dh.parse()?, auth })
    }

    /// WAK-3: the claim that says so to a node.
    #[must_use]
    pub fn claim(&self) -> Map<String, Value> {
        let mut claim = no_claim();
        let (p256dh, auth) = (self.key.to_string(), base64url::encode(&self.auth));
        for (name, value) in [("endpoint", &*self.url), ("p256dh", &p256dh), ("auth", &auth)] {
            claim.insert(name.to_owned(), value.into());
        }
        claim
    }

    /// WAK-3, WAK-5: the endpoint among the claims of a `subscribe`; nothing if one is taken back.
    pub fn read(claims: &[Map<String, Value>]) -> Result<Option<Self>, EndpointError> {
        let is_ours = |claim: &&Map<String, Value>| claim.get("type").and_then(Value::as_str) == Some(CLAIM);
        let claim = claims.iter().find(is_ours).ok_or(EndpointError::Missing)?;
        let Some(url) = claim.get("endpoint") else { return Ok(None) };
        let text = |name| claim.get(name).and_then(Value::as_str).unwrap_or_default();
        Self::new(url.as_str().ok_or(EndpointError::Url)?, text("p256dh"), text("auth")).map(Some)
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// The push service: scheme, host, and port if one is given (RFC 8292, 2).
    #[must_use]
    pub fn origin(&self) -> &str {
        self.url.get(..self.authority).unwrap_or_default()
    }

    /// The address that the URL names instead of a host, if it does.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let host = self.origin().strip_prefix(SCHEME)?;
        match host.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next()?.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            None => host.split(':').next()?.parse().ok(),
        }
    }

    /// The device's public key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The authentication secret.
    #[must_use]
    pub const fn auth(&self) -> &[u8; AUTH] {
        &self.auth
    }
}

/// WAK-5: the claim that takes an endpoint back.
#[must_use]
pub fn no_claim() -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), CLAIM.into())])
}

const SCHEME: &str = "https://";

/// Where the authority of `url` ends, if it is one that is taken.
fn authority(url: &str) -> Option<usize> {
    let rest = url.strip_prefix(SCHEME).filter(|_| url.len() <= MAX_URL)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !br##""#<>\^`{|}"##.contains(&byte);
    let authority = rest.split(['/', '?']).next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("443")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("443")),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    let port: u16 = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    (port > 0 && !host.is_empty() && host.bytes().all(is_name) && url.bytes().all(is_plain))
        .then_some(SCHEME.len() + authority.len())
}

/// What a device is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Somebody calls, and does not wait for long.
    Call,
    /// Something else waits, and can wait.
    Mail,
}

impl Cause {
    /// How soon a push service should wake a device for it (RFC 8030, 5.3).
    #[must_use]
    pub const fn urgency(self) -> &'static str {
        match self {
            Self::Call => "high",
            Self::Mail => "normal",
        }
    }

    /// Of two pushes of one topic that have not reached the device, a push service keeps the later one (RFC 8030, 5.4).
    #[must_use]
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Call => "dsip-call",
            Self::Mail => "dsip-mail",
        }
    }
}

/// One request to a push service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// What it is known by until its [`Outcome`] is.
    pub id: u64,
    /// Where to.
    pub endpoint: Endpoint,
    /// What for.
    pub cause: Cause,
    /// For how long the push service is to try, in seconds: as long as what waits is of use (WAK-22).
    pub ttl: u32,
}

/// What became of a [`Push`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The push service took it.
    Taken,
    /// There is no such endpoint any more (404, 410).
    Gone,
    /// Too many of them (429), and how long to wait, if it says so.
    Throttled(Option<Duration>),
    /// The push service is out of reach, too slow, or has trouble of its own (5xx), and how long to wait, if it says so.
    Failed(Option<Duration>),
    /// It does not want this one, and would not later.
    Refused,
    /// The endpoint is in private address space, where this node sends nothing.
    Forbidden,
    /// Nothing can be encrypted to the endpoint's key: it is no point of the curve.
    Unusable,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of RFC 8291, 5.
    const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    fn endpoint(url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::new(url, P256DH, AUTH)
    }

    #[test]
    fn wak_1_a_key_survives_the_hello_and_rubbish_counts_as_none() {
        let key: Key = P256DH.parse().expect("a key");
        let members: Map<_, _> = [member(&key)].into_iter().collect();
        assert_eq!(announced(&members), Some(key));
        let compressed = base64url::encode(&[2; 33]);
        for value in [Value::Null, "".into(), AUTH.into(), compressed.into(), 7.into()] {
            let mut broken = members.clone();
            broken[MEMBER]["vapid"] = value.clone();
            assert_eq!(announced(&broken), None, "{value}");
        }
    }

    #[test]
    fn wak_3_an_endpoint_survives_its_claim() {
        let endpoint = endpoint("https://push.example:8443/up?token=A-b_c").expect("one");
        assert_eq!(endpoint.origin(), "https://push.example:8443");
        assert_eq!(Endpoint::read(&[Map::new(), endpoint.claim()]), Ok(Some(endpoint.clone())));
        assert_eq!(Endpoint::read(&[no_claim()]), Ok(None), "WAK-5");
        assert_eq!(Endpoint::read(&[Map::new()]), Err(EndpointError::Missing));
        for (name, value, wrong) in [
            ("endpoint", Value::from(7), EndpointError::Url),
            ("p256dh", AUTH.into(), EndpointError::Key),
            ("p256dh", Value::Null, EndpointError::Key),
            ("auth", P256DH.into(), EndpointError::Auth),
            ("auth", Value::Null, EndpointError::Auth),
        ] {
            let mut claim = endpoint.claim();
            claim.insert(name.to_owned(), value);
            assert_eq!(Endpoint::read(&[claim]), Err(wrong), "{name}");
        }
    }

    #[test]
    fn wak_4_only_plain_https_is_an_endpoint() {
        for (url, origin, address) in [
            ("https://a.example", "https://a.example", None),
            ("https://a.example?x", "https://a.example", None),
            ("https://192.0.2.1/x", "https://192.0.2.1", Some("192.0.2.1")),
            ("https://[::1]:444/x", "https://[::1]:444", Some("::1")),
        ] {
            let endpoint = endpoint(url).expect(url);
            assert_eq!((endpoint.origin(), endpoint.address()), (origin, address.map(|ip| ip.parse().expect("one"))));
        }
        let long = format!("https://a.example/{}", "x".repeat(MAX_URL));
        for url in [
            "http://a.example/x",
            "HTTPS://a.example/x",
            "https://",
            "https:///x",
            "https://?x",
            "https://:443/x",
            "https://a.example:0/x",
            "https://a.example:65536/x",
            "https://a.example:+1/x",
            "https://a.example:/x",
            "https://user@a.example/x",
            "https://a.example#/x",
            "https://a.example/x#y",
            "https://a.example\\@b.example/x",
            "https://a.example/x y",
            "https://a.example/x\r\nTTL: 1",
            "https://ä.example/x",
            "https://[::1/x",
            "https://[::1]x/x",
            "https://[x]/x",
            &long,
        ] {
            assert_eq!(endpoint(url), Err(EndpointError::Url), "{url}");
        }
    }

    #[test]
    fn wak_6_nothing_secret_is_printed() {
        let shown = format!("{:?}", endpoint("https://push.example/secret").expect("one"));
        assert!(shown.contains("push.example") && !shown.contains("secret"), "{shown}");
        assert!(!shown.contains(AUTH) && !shown.contains(P256DH), "{shown}");
    }
}
