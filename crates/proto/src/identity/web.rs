//! Where the document of a `did:web` is (ID-20).

use crate::wire::Did;

/// The DID names no place on the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a did:web with a host, an optional port and plain path segments")]
pub struct WebDidError;

/// The HTTPS URL of the document (ID-20, ID-21).
///
/// Refuses other methods, and spellings a URL parser would turn into another host or path than they show: escapes other
/// than the port's colon in the host, empty segments, `.` and `..`.
pub fn document_url(did: &Did) -> Result<String, WebDidError> {
    if did.method() != "web" {
        return Err(WebDidError);
    }
    let mut pieces = did.specific().split(':');
    let host = pieces.next().unwrap_or_default().replace("%3A", ":").replace("%3a", ":");
    let path: Vec<&str> = pieces.collect();
    if !is_host(&host) || !path.iter().all(|segment| is_segment(segment)) {
        return Err(WebDidError);
    }
    let path = if path.is_empty() { ".well-known".to_owned() } else { path.join("/") };
    Ok(format!("https://{host}/{path}/did.json"))
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok()
}

fn is_segment(segment: &str) -> bool {
    let dots = segment.replace("%2e", ".").replace("%2E", ".");
    !matches!(dots.as_str(), "" | "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(did: &str) -> Result<String, WebDidError> {
        document_url(&did.parse().expect("a DID"))
    }

    #[test]
    fn id_20_urls() {
        for (did, expected) in [
            ("did:web:example.com", "https://example.com/.well-known/did.json"),
            ("did:web:example.com:users:bob", "https://example.com/users/bob/did.json"),
            ("did:web:example.com%3A8443", "https://example.com:8443/.well-known/did.json"),
            ("did:web:example.com%3A8443:users:bob", "https://example.com:8443/users/bob/did.json"),
        ] {
            assert_eq!(url(did).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn id_20_refuses_what_would_be_read_as_another_place() {
        for did in [
            "did:key:z6Mk",
            "did:web:example.com%2Fevil.example",
            "did:web:example.com%3A",
            "did:web:example.com%3A99999",
            "did:web:example.com%3A1%3A2",
            "did:web:a_b",
            "did:web::x",
            "did:web:example.com::x",
            "did:web:example.com:..:x",
            "did:web:example.com:%2e%2E:x",
        ] {
            assert_eq!(url(did), Err(WebDidError), "{did}");
        }
    }
}
