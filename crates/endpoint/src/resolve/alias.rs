//! Aliases: names that people can say, each leading to a DID and then forgotten (DSC-1).
//!
//! `bob@example.com` is looked up at `example.com`: first WebFinger over HTTPS (`ALS-3`), then a DNS TXT record
//! (`ALS-5`). An alias has no authority. It leads to a DID, and from there on the DID is whom one talks to: whoever holds
//! the domain may answer with somebody else's, so a phone shows the DID's own name beside the alias it was reached by.
//! The rules `ALS-n` are in `docs/spec/discovery.md`.

use std::fmt;
use std::str::FromStr;

use dsip_proto::wire::Did;
use serde_json::Value;

/// ALS-3: the relation of a WebFinger link whose `href` is the account's DID.
pub const REL: &str = "urn:dsip:did";
/// ALS-1: an alias has at most this many characters.
const MAX_LEN: usize = 256;
/// The port that is not written.
const HTTPS: u16 = 443;
/// The path under which the documents of a domain's users are.
const USERS: &str = "users";
/// ALS-3: entries of a WebFinger answer that are looked at.
const MAX_LINKS: usize = 64;

/// `user@domain`, normalised (ALS-1, ALS-2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias {
    user: String,
    domain: String,
    port: Option<u16>,
}

/// The text is not an alias.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an alias; it looks like bob@example.com")]
pub struct AliasError(String);

/// Where a domain's names are looked up: `HOST[:PORT]`, port 443 where none is given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain {
    host: String,
    port: Option<u16>,
}

/// The text is not a domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a domain; it looks like example.com or example.com:8443, and is never an address")]
pub struct DomainError(String);

/// What a domain's answer about an alias is worth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The answer is not what the protocol says it should be.
    #[error("{0}")]
    Malformed(&'static str),
    /// The domain knows the alias but gives no DID for it.
    #[error("the domain names no DID for it")]
    NoDid,
    /// ALS-4, ALS-5: two different DIDs; taking either would be a guess.
    #[error("the domain names two different DIDs for it ({0} and {1}); ask its owner which is right")]
    Ambiguous(Did, Did),
}

impl Alias {
    /// The part before the `@`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The domain, without a port.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether it names a port.
    #[must_use]
    pub fn has_port(&self) -> bool {
        self.port.is_some()
    }

    /// Where it is looked up.
    #[must_use]
    pub fn place(&self) -> Domain {
        Domain { host: self.domain.clone(), port: self.port.filter(|port| *port != HTTPS) }
    }

    /// ALS-3: where WebFinger answers about it.
    #[must_use]
    pub fn webfinger(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let Self { user, domain, .. } = self;
        format!("https://{domain}{port}/.well-known/webfinger?resource=acct%3A{user}%40{domain}&rel=urn%3Adsip%3Adid")
    }

    /// ALS-5: the DNS name whose TXT record names the DID. There is none for an alias with a port.
    #[must_use]
    pub fn txt(&self) -> Option<String> {
        self.port.is_none().then(|| format!("{}._dsip.{}.", self.user, self.domain))
    }
}

impl FromStr for Alias {
    type Err = AliasError;

    fn from_str(text: &str) -> Result<Self, AliasError> {
        let refused = || AliasError(text.chars().take(48).filter(|c| !c.is_control()).collect());
        let bare = text.trim();
        if bare.len() > MAX_LEN {
            return Err(refused());
        }
        // ALS-2: people copy aliases out of mail clients and fediverse pages.
        let bare = bare.strip_prefix("acct:").or_else(|| bare.strip_prefix('@')).unwrap_or(bare).to_ascii_lowercase();
        let (user, place) = bare.split_once('@').ok_or_else(refused)?;
        let (domain, port) = match place.split_once(':') {
            Some((domain, port)) => (domain, Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(refused)?)),
            None => (place, None),
        };
        if is_user(user) && is_domain(domain) {
            Ok(Self { user: user.to_owned(), domain: domain.to_owned(), port })
        } else {
            Err(refused())
        }
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.domain)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Domain {
    /// The host name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(HTTPS)
    }

    /// The same host at another port.
    #[must_use]
    pub fn at(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port: Some(port).filter(|port| *port != HTTPS) }
    }

    /// The DID of the domain itself (ID-20).
    #[must_use]
    pub fn did(&self) -> Did {
        let port = self.port.map(|port| format!("%3A{port}")).unwrap_or_default();
        #[expect(clippy::expect_used, reason = "a host name and a port satisfy the syntax of ID-1")]
        format!("did:web:{}{port}", self.host).parse().expect("a did:web is a DID")
    }

    /// The alias of somebody who has a name here; none if `user` is no name (ALS-1).
    #[must_use]
    pub fn alias(&self, user: &str) -> Option<Alias> {
        let alias = Alias { user: user.to_owned(), domain: self.host.clone(), port: self.port };
        (is_user(user) && alias.to_string().len() <= MAX_LEN).then_some(alias)
    }

    /// The DID of somebody who has a name here (NAM-1); none if `user` is no name (ALS-1).
    #[must_use]
    pub fn user_did(&self, user: &str) -> Option<Did> {
        self.alias(user)?;
        format!("{}:{USERS}:{user}", self.did()).parse().ok()
    }

    /// Whose DID this is, if it is one of [`user_did`](Self::user_did)'s.
    #[must_use]
    pub fn user_of<'a>(&self, did: &'a Did) -> Option<&'a str> {
        let (domain, user) = did.as_str().rsplit_once(&format!(":{USERS}:"))?;
        (domain == self.did().as_str() && is_user(user)).then_some(user)
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let refused = || DomainError(text.chars().take(48).filter(|c| !c.is_control()).collect());
        let lower = text.trim().to_ascii_lowercase();
        let (host, port) = match lower.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(refused)?)),
            None => (lower.as_str(), None),
        };
        if !is_domain(host) {
            return Err(refused());
        }
        Ok(Self { host: host.to_owned(), port: port.filter(|port| *port != HTTPS) })
    }
}

impl fmt::Display for Domain {
    /// As it stands in a URL, and behind the `@` of an alias.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn is_user(user: &str) -> bool {
    user.len() <= 63
        && user.split('.').all(|part| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        })
}

fn is_domain(domain: &str) -> bool {
    domain.len() <= 253
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
        // An address is nobody's domain, and no certificate worth the name covers it.
        && domain.parse::<std::net::Ipv4Addr>().is_err()
}

/// Reads a WebFinger answer (RFC 7033, 4.4) about `alias`: the DID in the links of our relation (ALS-3, ALS-4).
///
/// # Errors
///
/// [`AnswerError`].
pub fn read_webfinger(text: &str) -> Result<Did, AnswerError> {
    let answer: Value =
        serde_json::from_str(text).map_err(|_| AnswerError::Malformed("WebFinger answered without JSON"))?;
    let links = answer.get("links").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let dids = links
        .iter()
        .take(MAX_LINKS)
        .filter(|link| link.get("rel").and_then(Value::as_str) == Some(REL))
        .filter_map(|link| link.get("href")?.as_str()?.parse().ok());
    only(dids)
}

/// Reads the TXT records found for an alias: the DID in the one that starts `did=` (ALS-5).
///
/// # Errors
///
/// [`AnswerError`].
pub fn read_txt<'a>(records: impl IntoIterator<Item = &'a str>) -> Result<Did, AnswerError> {
    only(
        records
            .into_iter()
            .take(MAX_LINKS)
            .filter_map(|record| record.trim().strip_prefix("did=")?.trim().parse().ok()),
    )
}

fn only(mut dids: impl Iterator<Item = Did>) -> Result<Did, AnswerError> {
    let first = dids.next().ok_or(AnswerError::NoDid)?;
    match dids.find(|other| *other != first) {
        Some(other) => Err(AnswerError::Ambiguous(first, other)),
        None => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: &str = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";

    #[test]
    fn als_1_and_2_aliases_are_normalised() {
        // ALS-2
        for text in ["bob@example.com", " Bob@Example.COM ", "@bob@example.com", "acct:bob@example.com"] {
            let alias: Alias = text.parse().expect(text);
            assert_eq!(alias.to_string(), "bob@example.com");
            assert_eq!(alias.txt().as_deref(), Some("bob._dsip.example.com."));
        }
        let alias: Alias = "bob.b@example.com:8443".parse().expect("a port");
        assert!(
            alias
                .webfinger()
                .starts_with("https://example.com:8443/.well-known/webfinger?resource=acct%3Abob.b%40example.com&")
        );
        assert_eq!(alias.txt(), None);
    }

    #[test]
    fn id_20_a_domain_names_itself_and_its_users() {
        let of = |text: &str| text.parse::<Domain>().expect(text);
        let bob = |text: &str| of(text).user_did("bob").expect("a name").to_string();
        assert_eq!(bob("Example.com"), "did:web:example.com:users:bob");
        assert_eq!(bob("example.com:443"), "did:web:example.com:users:bob");
        assert_eq!(bob("example.com:8443"), "did:web:example.com%3A8443:users:bob");
        assert_eq!(of("example.com:8443").did().as_str(), "did:web:example.com%3A8443");
        assert_eq!(of("example.com").alias("bob").expect("a name").to_string(), "bob@example.com");
        let domain = of("example.com:8443");
        let did = domain.user_did("users").expect("a name");
        assert_eq!(domain.user_of(&did), Some("users"));
        assert_eq!(of("example.com").user_of(&did), None);
        assert_eq!(domain.user_of(&"did:web:example.com%3A8443:users:a:b".parse().expect("a DID")), None);
        assert_eq!("bob@example.com:443".parse::<Alias>().expect("an alias").place(), of("example.com"));
        for user in ["", ".", "..", "a..b", "Bob", "b/b", "b%2fb", "b:b", "böb", &"b".repeat(64)] {
            assert_eq!(domain.user_did(user), None, "{user}");
        }
        for text in ["", "127.0.0.1", "[::1]", "a b", "example.com:0", "example.com:x", "example.com/x", "https://a.b"]
        {
            assert!(text.parse::<Domain>().is_err(), "{text}");
        }
    }

    #[test]
    fn als_1_what_is_no_alias_is_refused() {
        for text in [
            "",
            "bob",
            "@",
            "bob@",
            "@example.com",
            "bob@@example.com",
            "a@b@c",
            "bob@exa mple.com",
            "bob@-a.com",
            "bob@a..b",
            "bob@127.0.0.1",
            "bob@[::1]",
            "bob@example.com:0",
            "bob@example.com:x",
            "bob@example.com/x",
            "b%40b@example.com",
            "..@example.com",
            "böb@example.com",
            "bob@exämple.com",
            "bob@example.com?x",
            "bob@example.com#x",
        ] {
            assert!(text.parse::<Alias>().is_err(), "{text}");
        }
    }

    #[test]
    fn als_3_and_4_a_webfinger_answer_names_one_did() {
        let link = |did: &str| format!(r#"{{"rel":"{REL}","href":"{did}"}}"#);
        let answer =
            |links: &[String]| format!(r#"{{"subject":"acct:bob@example.com","links":[{}]}}"#, links.join(","));
        let profile = r#"{"rel":"self","href":"https://example.com/bob"}"#.to_owned();
        assert_eq!(
            read_webfinger(&answer(&[profile, link(BOB), link(BOB)])).map(|did| did.to_string()),
            Ok(BOB.to_owned())
        );
        // ALS-4
        assert!(matches!(
            read_webfinger(&answer(&[link(BOB), link("did:web:example.com")])),
            Err(AnswerError::Ambiguous(..))
        ));
        assert_eq!(read_webfinger(&answer(&[link("https://example.com")])), Err(AnswerError::NoDid));
        for text in ["{}", "[]", "null", r#"{"links":{}}"#, r#"{"links":[1,null,{"rel":1}]}"#] {
            assert_eq!(read_webfinger(text), Err(AnswerError::NoDid), "{text}");
        }
        assert!(matches!(read_webfinger("<html>"), Err(AnswerError::Malformed(_))));
    }

    #[test]
    fn als_5_txt_records_name_one_did() {
        assert_eq!(read_txt(["v=spf1 -all", &format!("did={BOB}")]).map(|did| did.to_string()), Ok(BOB.to_owned()));
        assert_eq!(read_txt(["did=bob"]), Err(AnswerError::NoDid));
        assert!(matches!(read_txt([format!("did={BOB}").as_str(), "did=did:web:a"]), Err(AnswerError::Ambiguous(..))));
    }
}
