//! `dsip:` links: a DID one can scan, click or paste, with optional advice on where to dial.
//!
//! ```text
//! dsip:did:key:z6Mk…?node=wss%3A%2F%2Fnode.example%2Fdsip&node-did=did:key:z6Mk…&dht=%2Fip4%2F…&name=Bob
//! └─┬─┘└────┬──────┘ └──────────────┬──────────────────┘ └──────────┬─────────┘ └───┬────┘ └───┬──┘
//! scheme   DID       a node to dial (LNK-4)         that node's DID (LNK-5)   DHT peer (LNK-6)  a name (LNK-7)
//! ```
//!
//! For those who have no program that knows the scheme, a link stands behind the address of a page that is a phone (WPH-20):
//! `https://node.example/#dsip:did:key:z6Mk…`.
//!
//! A link is unsigned, so everything after the `?` is advice from whoever made the picture: it may save a look-up, it can
//! not make a key valid (RES-3). Only the DID is the person. The rules `LNK-n` are in `docs/spec/discovery.md`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::wire::Did;

/// LNK-1: a longer link is refused unread; it would not fit a QR code that a phone can scan either.
pub const MAX_LEN: usize = 2048;
/// A web link that is longer is refused unread: an escaped link, and the address before it.
pub const MAX_WEB_LEN: usize = 2 * MAX_LEN;
/// LNK-3: at most this many parameters, known and unknown together.
pub const MAX_PARAMETERS: usize = 16;
/// LNK-4, LNK-6: at most this many nodes, and as many DHT peers.
pub const MAX_HINTS: usize = 4;
/// LNK-7: a name has at most this many characters.
pub const MAX_NAME: usize = 64;

/// A parsed link: whom it names, and the advice that came along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The person, device or organisation. The only part with a meaning of its own.
    pub did: Did,
    /// Nodes at which the DID may be reached, in the maker's order of preference.
    pub nodes: Vec<Node>,
    /// DHT peers to ask, as multiaddr texts; not checked beyond their bounds here.
    pub dht: Vec<String>,
    /// What the maker calls the DID. A claim: show it as one.
    pub name: Option<String>,
}

/// A node that a link advises to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node's address, `wss://HOST[:PORT]/dsip`, without a fragment.
    pub uri: String,
    /// The node's own DID. A `did:key` here is checked against the key that the node proves to hold.
    pub did: Option<Did>,
}

/// What is wrong with a link. The text says which part, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// LNK-1.
    #[error("the link is longer than {MAX_LEN} bytes; ask for a shorter one")]
    TooLong,
    /// LNK-1.
    #[error("a link starts with \"dsip:\"; this does not")]
    Scheme,
    /// LNK-2.
    #[error("after \"dsip:\" comes a DID such as did:key:z6Mk…; \"{0}\" is not one (was the link cut off?)")]
    Did(String),
    /// LNK-1.
    #[error("a link holds printable ASCII only; write other characters percent-encoded")]
    Characters,
    /// LNK-3.
    #[error("the link has more than {MAX_PARAMETERS} parameters")]
    TooManyParameters,
    /// LNK-3.
    #[error("\"{0}\" holds a % that is not followed by two hexadecimal digits, or does not decode to UTF-8 text")]
    Encoding(String),
    /// LNK-3.
    #[error("\"{0}\" is given twice; leave one")]
    Repeated(&'static str),
    /// LNK-4, LNK-6.
    #[error("\"{0}\" is given more than {MAX_HINTS} times")]
    TooMany(&'static str),
    /// LNK-4.
    #[error("node=\"{0}\" is not a node's address; it looks like wss://host:port/dsip")]
    Node(String),
    /// LNK-5.
    #[error("node-did=\"{0}\" is not a DID")]
    NodeDid(String),
    /// LNK-5.
    #[error("node-did stands before any node; it describes the node in front of it")]
    NodeDidAlone,
    /// LNK-6.
    #[error("dht=\"{0}\" is not a multiaddr; it looks like /ip4/192.0.2.7/tcp/4101/p2p/12D3Koo…")]
    Dht(String),
    /// LNK-7.
    #[error("the name is empty, longer than {MAX_NAME} characters or holds control characters")]
    Name,
}

impl Link {
    /// A link to `did` without advice.
    #[must_use]
    pub fn to(did: Did) -> Self {
        Self { did, nodes: Vec::new(), dht: Vec::new(), name: None }
    }

    /// Whether `text` claims to be a link or a web link, so that its mistakes should be reported as a link's.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        let text = text.trim();
        strip_scheme(text).is_some() || of_web(text).is_some()
    }

    /// The web link to it, on the phone that `page` serves, the address of a node's page (WPH-20, WPH-21).
    #[must_use]
    pub fn on(&self, page: &str) -> String {
        format!("{page}#{self}")
    }
}

impl Node {
    /// Where the node serves a phone to browsers, if it does (WPH-1).
    #[must_use]
    pub fn page(&self) -> Option<String> {
        let (authority, _) = self.uri.strip_prefix("wss://")?.split_once('/')?;
        Some(format!("https://{authority}/"))
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        if text.len() > MAX_WEB_LEN {
            return Err(LinkError::TooLong);
        }
        let inner = of_web(text);
        let text = inner.as_deref().unwrap_or(text); // WPH-25
        if text.len() > MAX_LEN {
            return Err(LinkError::TooLong);
        }
        let rest = strip_scheme(text).ok_or(LinkError::Scheme)?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(LinkError::Characters);
        }
        let (did, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut link = Self::to(did.parse().map_err(|_| LinkError::Did(excerpt(did)))?);
        let mut parameters = 0;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            parameters += 1;
            if parameters > MAX_PARAMETERS {
                return Err(LinkError::TooManyParameters);
            }
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = decode(value).ok_or_else(|| LinkError::Encoding(excerpt(parameter)))?;
            link.add(name, value)?;
        }
        Ok(link)
    }
}

impl Link {
    fn add(&mut self, name: &str, value: String) -> Result<(), LinkError> {
        match name {
            "node" => {
                if self.nodes.len() == MAX_HINTS {
                    return Err(LinkError::TooMany("node"));
                }
                self.nodes.push(node(&value).ok_or_else(|| LinkError::Node(excerpt(&value)))?);
            }
            "node-did" => {
                let node = self.nodes.last_mut().ok_or(LinkError::NodeDidAlone)?;
                if node.did.is_some() {
                    return Err(LinkError::Repeated("node-did"));
                }
                node.did = Some(value.parse().map_err(|_| LinkError::NodeDid(excerpt(&value)))?);
            }
            "dht" => {
                if self.dht.len() == MAX_HINTS {
                    return Err(LinkError::TooMany("dht"));
                }
                if !value.starts_with('/') || value.len() > 256 || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(LinkError::Dht(excerpt(&value)));
                }
                self.dht.push(value);
            }
            "name" => {
                if self.name.is_some() {
                    return Err(LinkError::Repeated("name"));
                }
                if value.is_empty() || value.chars().count() > MAX_NAME || value.chars().any(unprintable) {
                    return Err(LinkError::Name);
                }
                self.name = Some(value);
            }
            // LNK-3: a newer link has to work in an older phone.
            _ => {}
        }
        Ok(())
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dsip:{}", self.did)?;
        let mut separator = '?';
        let mut add = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| {
            write!(f, "{separator}{name}=")?;
            separator = '&';
            encode(f, value)
        };
        for node in &self.nodes {
            add(f, "node", &node.uri)?;
            if let Some(did) = &node.did {
                add(f, "node-did", did.as_str())?;
            }
        }
        for peer in &self.dht {
            add(f, "dht", peer)?;
        }
        if let Some(name) = &self.name {
            add(f, "name", name)?;
        }
        Ok(())
    }
}

/// Reads a node's address: `wss://HOST[:PORT]/PATH`, with the node's DID as fragment if it has one (LNK-4).
fn node(text: &str) -> Option<Node> {
    let (uri, did) = match text.split_once('#') {
        Some((uri, did)) => (uri, Some(did.parse().ok()?)),
        None => (text, None),
    };
    let rest = uri.strip_prefix("wss://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path_is_fine = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte));
    (is_authority(authority) && path_is_fine && uri.len() <= 512).then(|| Node { uri: uri.to_owned(), did })
}

/// Whether it is `HOST[:PORT]`, and no more.
fn is_authority(text: &str) -> bool {
    let host_ends = match text.starts_with('[') {
        true => text.find(']').map_or(0, |at| at + 1),
        false => text.find(':').unwrap_or(text.len()),
    };
    let Some((host, port)) = text.split_at_checked(host_ends) else { return false };
    let port_is_fine =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let host_is_fine = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
        }
    };
    port_is_fine && host_is_fine
}

/// The link in a web link (WPH-20); unescaped once if a mail program has escaped it (WPH-22).
fn of_web(text: &str) -> Option<Cow<'_, str>> {
    let (scheme, rest) = text.split_at_checked("https://".len())?;
    let (page, link) = rest.split_once('#')?;
    let authority = page.strip_suffix('/').unwrap_or(page);
    if !scheme.eq_ignore_ascii_case("https://") || !is_authority(authority) {
        return None;
    }
    if strip_scheme(link).is_some() {
        return Some(Cow::Borrowed(link));
    }
    let is_escaped = link.get(.."dsip%3A".len()).is_some_and(|start| start.eq_ignore_ascii_case("dsip%3A"));
    is_escaped.then(|| decode(link)).flatten().map(Cow::Owned)
}

fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked("dsip:".len())?;
    scheme.eq_ignore_ascii_case("dsip:").then_some(rest)
}

/// Characters that would let a name change how the text around it is shown: controls, and marks that reorder text.
fn unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Percent-encodes all but the characters that a query may hold and no chat program breaks a link at.
fn encode(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

/// The start of a refused text, for the person who typed it.
fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(48).map(|c| if unprintable(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(48).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOB: &str = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";

    fn parse(text: &str) -> Result<Link, LinkError> {
        text.parse()
    }

    #[test]
    fn lnk_2_a_bare_did_is_enough() {
        let link = parse(&format!("dsip:{BOB}")).expect("a bare link");
        assert_eq!(link, Link::to(BOB.parse().expect("a DID")));
        assert_eq!(parse(&format!("  DSIP:{BOB}\n")).expect("case and blanks"), link);
    }

    #[test]
    fn lnk_4_to_7_advice_survives_the_round_trip() {
        let link = Link {
            did: BOB.parse().expect("a DID"),
            nodes: vec![
                Node { uri: "wss://node.example:7443/dsip".into(), did: Some(BOB.parse().expect("a DID")) },
                Node { uri: "wss://[2001:db8::7]/dsip".into(), did: None },
            ],
            dht: vec!["/ip4/192.0.2.7/tcp/4101".into()],
            name: Some("Bøb & Co + 100 %".into()),
        };
        assert_eq!(parse(&link.to_string()), Ok(link));
    }

    #[test]
    fn lnk_5_a_fragment_names_the_node_too() {
        let link = parse(&format!("dsip:{BOB}?node=wss://h.example/dsip%23{BOB}")).expect("a link");
        assert_eq!(link.nodes.first().and_then(|node| node.did.clone()), BOB.parse().ok());
    }

    #[test]
    fn wph_20_22_and_25_a_web_link_is_the_link_in_it() {
        let link = Link {
            nodes: vec![Node { uri: "wss://node.example:7443/dsip".into(), did: BOB.parse().ok() }],
            name: Some("Bøb & Co".into()),
            ..Link::to(BOB.parse().expect("a DID"))
        };
        // WPH-20
        let page = link.nodes[0].page().expect("a page");
        assert_eq!(page, "https://node.example:7443/");
        let web = link.on(&page);
        assert!(web.starts_with(&format!("https://node.example:7443/#dsip:{BOB}?node=wss://node.example:7443/dsip&")));
        assert!(Link::looks_like(&web));
        assert_eq!(parse(&web), Ok(link.clone())); // WPH-25
        assert_eq!(parse(&web.replacen("https://node.example:7443/", " HTTPS://[2001:db8::7]", 1)), Ok(link.clone()));
        // WPH-22
        let escaped: String = link
            .to_string()
            .bytes()
            .map(|byte| match byte {
                b':' | b'/' | b'?' | b'&' | b'=' | b'%' => format!("%{byte:02x}"),
                other => char::from(other).to_string(),
            })
            .collect();
        assert_eq!(parse(&format!("https://h.example/#{escaped}")), Ok(link));
        assert!(matches!(parse("https://h.example/#dsip:bob"), Err(LinkError::Did(_))));
        let long = format!("https://h.example/#dsip:{BOB}?{}", "x".repeat(MAX_LEN));
        assert_eq!(parse(&long), Err(LinkError::TooLong));
        for other in [
            format!("http://h.example/#dsip:{BOB}"),
            format!("https://h.example/call#dsip:{BOB}"),
            format!("https://user@h.example/#dsip:{BOB}"),
            format!("https://h.example:0/#dsip:{BOB}"),
            format!("https:///#dsip:{BOB}"),
            format!("https://h.example/?x#dsip:{BOB}"),
            format!("https://h.example/#{BOB}"),
            format!("https://h.example/dsip:{BOB}"),
            "https://h.example/#dsip%3".to_owned(),
            "https://h.example/#dsip%3Adid%".to_owned(),
        ] {
            assert!(!Link::looks_like(&other), "{other}");
            assert_eq!(parse(&other), Err(LinkError::Scheme), "{other}");
        }
    }

    #[test]
    fn lnk_3_unknown_parameters_are_skipped() {
        assert_eq!(parse(&format!("dsip:{BOB}?colour=red&&x")), parse(&format!("dsip:{BOB}")));
    }

    #[test]
    fn every_mistake_is_named() {
        // LNK-1, LNK-6, LNK-7
        let long = "x".repeat(MAX_LEN);
        let crowd = "a&".repeat(17);
        for (rest, expected) in [
            ("?node=http://h/dsip", LinkError::Node("http://h/dsip".into())),
            ("?node=wss://", LinkError::Node("wss://".into())),
            ("?node=wss://u:p@h/dsip", LinkError::Node("wss://u:p@h/dsip".into())),
            ("?node=wss://h:0/dsip", LinkError::Node("wss://h:0/dsip".into())),
            ("?node=wss://h:99999/dsip", LinkError::Node("wss://h:99999/dsip".into())),
            ("?node-did=did:key:z", LinkError::NodeDidAlone),
            ("?node=wss://h/dsip&node-did=bob", LinkError::NodeDid("bob".into())),
            ("?dht=192.0.2.7", LinkError::Dht("192.0.2.7".into())),
            ("?name=a&name=b", LinkError::Repeated("name")),
            ("?name=%E2%80%AE", LinkError::Name),
            ("?name=%0a", LinkError::Name),
            ("?name=%4", LinkError::Encoding("name=%4".into())),
            ("?name=%ff", LinkError::Encoding("name=%ff".into())),
            ("?dht=/a&dht=/b&dht=/c&dht=/d&dht=/e", LinkError::TooMany("dht")),
            (" ?", LinkError::Characters),
            (&long, LinkError::TooLong),
            (&format!("?{crowd}"), LinkError::TooManyParameters),
        ] {
            assert_eq!(parse(&format!("dsip:{BOB}{rest}")), Err(expected), "{rest}");
        }
        assert_eq!(parse("sip:bob@example.com"), Err(LinkError::Scheme));
        assert_eq!(parse("dsip:"), Err(LinkError::Did(String::new())));
        assert_eq!(parse("dsip:did:key"), Err(LinkError::Did("did:key".into())));
        assert_eq!(parse(""), Err(LinkError::Scheme));
    }

    proptest! {
        #[test]
        fn what_parses_reads_the_same_again(text in "dsip:did:key:z6Mk[?&=%#:/a-z0-9.-]{0,80}") {
            if let Ok(link) = parse(&text) {
                prop_assert_eq!(parse(&link.to_string()), Ok(link));
            }
        }

        #[test]
        fn anything_at_all_is_answered(text in "\\PC{0,120}") {
            let _ = parse(&text);
            let _ = parse(&format!("dsip:{BOB}?{text}"));
        }
    }
}
