//! Fetching a small text over HTTPS from wherever a stranger's DID or alias points (`FET-n` in `docs/spec/discovery.md`).
//!
//! The URL is the stranger's choice, so a fetch gives little and reaches little: no redirect is followed, no proxy or
//! cookie is used, the answer is cut off at a limit of size and time, and the address is checked after the name has been
//! resolved, on the very address that is then connected to. Otherwise a name could resolve to a public address for the
//! check and to a machine in our own network for the connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dsip_proto::reach;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::SetupError;

/// FET-2: the longest document that is read. A DID document has one or two kilobytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// Connections kept open to one server that has nothing to do for us.
const IDLE_EACH: usize = 4;

/// For how long a server may tell us to go away.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Of what a server says about its refusal, so much is shown.
const MAX_WHY: usize = 200;

/// Why a text could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address belongs to this machine or a private network.
    #[error("{0} is an address in a private network; a public DID has no business there (--allow-private permits it)")]
    Private(String),
    /// The name does not resolve, nobody listens, or TLS fails.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// The host asked.
        host: String,
        /// The innermost cause.
        why: String,
    },
    /// No complete answer in time.
    #[error("{0} took too long to answer")]
    Slow(String),
    /// The server points elsewhere.
    #[error("{0} redirects, which is not followed; its operator has to serve the document itself")]
    Redirect(String),
    /// The server says it is not there.
    #[error("{0} says there is nothing of that name")]
    NotFound(String),
    /// Another answer than the document.
    #[error("{host} answered with HTTP status {status}")]
    Status {
        /// The host asked.
        host: String,
        /// The status.
        status: u16,
    },
    /// The server does not take what it was given.
    #[error("{host} refuses it: {why}")]
    Refused {
        /// The host.
        host: String,
        /// Its own words.
        why: String,
    },
    /// More than [`MAX_BYTES`].
    #[error("{0} sent more than 64 KiB")]
    TooLarge(String),
    /// Bytes that are no text.
    #[error("{0} did not send UTF-8 text")]
    NotText(String),
}

/// What was fetched.
pub(super) struct Fetched {
    pub(super) text: String,
    /// How long the server says it stays true.
    pub(super) max_age: Option<Duration>,
}

/// What a server says to something that it was handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its HTTP status. A redirect is an answer like others.
    pub status: u16,
    /// When to come again, if it says so.
    pub retry_after: Option<Duration>,
}

/// HTTPS to wherever a stranger points: `FET-1` to `FET-3` for whoever has something to fetch, or to hand over, there.
#[derive(Clone)]
pub struct Web {
    client: Client,
    allow_private: bool,
}

impl Web {
    /// `patience` is for the whole exchange; half of it has to do for the connection.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if the TLS configuration is not usable for HTTPS.
    pub fn new(tls: rustls::ClientConfig, allow_private: bool, patience: Duration) -> Result<Self, SetupError> {
        // FET-1
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Guard { allow_private })
            .connect_timeout(patience / 2)
            .timeout(patience)
            .user_agent("dsip")
            .pool_max_idle_per_host(IDLE_EACH)
            .build()
            .map_err(|error| SetupError::new(&error))?;
        Ok(Self { client, allow_private })
    }

    /// Hands `body` over to `url` by POST, with these headers. What the server says besides its status is not read.
    pub async fn hand_over(&self, url: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, FetchError> {
        let (host, url) = self.host(url)?;
        let sent = self.client.post(url).headers(headers).body(body).send().await;
        let answer = sent.map_err(|error| failed(&host, &error))?;
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        Ok(Answer { status: answer.status().as_u16(), retry_after })
    }

    /// The text at `url`, which has to be an `https` one.
    pub(super) async fn get(&self, url: &str, accept: &'static str) -> Result<Fetched, FetchError> {
        let (host, url) = self.host(url)?;
        let mut answer =
            self.client.get(url).header(ACCEPT, accept).send().await.map_err(|error| failed(&host, &error))?;
        match answer.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(FetchError::Redirect(host)),
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(FetchError::NotFound(host)),
            status => return Err(FetchError::Status { host, status: status.as_u16() }),
        }
        let max_age = answer.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let text = text(&host, &mut answer).await?;
        Ok(Fetched { text, max_age })
    }

    /// Hands `text` over to `url`.
    pub(super) async fn post(&self, url: &str, text: String) -> Result<(), FetchError> {
        let (host, url) = self.host(url)?;
        let sent = self.client.post(url).header(CONTENT_TYPE, "application/json").body(text).send().await;
        let mut answer = sent.map_err(|error| failed(&host, &error))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::METHOD_NOT_ALLOWED => {
                Err(FetchError::NotFound(host))
            }
            StatusCode::CONFLICT => {
                let why = self::text(&host, &mut answer).await?;
                let why = why.chars().take(MAX_WHY).filter(|character| !character.is_control()).collect();
                Err(FetchError::Refused { host, why })
            }
            status => Err(FetchError::Status { host, status: status.as_u16() }),
        }
    }

    /// The host that a URL leads to, if it may be asked.
    fn host(&self, url: &str) -> Result<(String, Url), FetchError> {
        let url = Url::parse(url)
            .map_err(|error| FetchError::Unreachable { host: url.to_owned(), why: error.to_string() })?;
        let host = url.host_str().unwrap_or_default().to_owned();
        // FET-3: a numeric host goes past the name resolver.
        let numeric = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if !self.allow_private && numeric.is_ok_and(|ip| !reach::is_public(ip)) {
            return Err(FetchError::Private(host));
        }
        Ok((host, url))
    }
}

/// FET-2: the body, as far as it is a text that is short enough.
async fn text(host: &str, answer: &mut Response) -> Result<String, FetchError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(host, &error))? {
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::TooLarge(host.to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| FetchError::NotText(host.to_owned()))
}

/// FET-3: resolves names to public addresses only. What it returns is what is connected to, so there is no second look-up that
/// could say something else.
struct Guard {
    allow_private: bool,
}

/// Every address of a name is private.
#[derive(Debug)]
struct PrivateAddress;

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all its addresses are private")
    }
}

impl std::error::Error for PrivateAddress {}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let known = !found.is_empty();
            let usable: Vec<SocketAddr> =
                found.into_iter().filter(|address| allow_private || reach::is_public(address.ip())).collect();
            if usable.is_empty() && known {
                return Err(PrivateAddress.into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

fn failed(host: &str, error: &reqwest::Error) -> FetchError {
    let mut cause: &dyn std::error::Error = error;
    loop {
        if cause.is::<PrivateAddress>() {
            return FetchError::Private(host.to_owned());
        }
        match cause.source() {
            Some(inner) => cause = inner,
            None => break,
        }
    }
    if error.is_timeout() {
        return FetchError::Slow(host.to_owned());
    }
    FetchError::Unreachable { host: host.to_owned(), why: cause.to_string() }
}

/// The `max-age` of a `Cache-Control` header; zero where it forbids keeping the answer.
fn max_age(header: &str) -> Option<Duration> {
    let mut directives = header.split(',').map(str::trim);
    let forbidden = directives.clone().any(|directive| matches!(directive, "no-store" | "no-cache"));
    if forbidden {
        return Some(Duration::ZERO);
    }
    directives.find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok()).map(Duration::from_secs)
}

/// RFC 9110, 10.2.3: seconds, or a date. Nobody is waited for longer than a day.
fn retry_after(header: &str) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            httpdate::parse_http_date(header).ok()?.duration_since(std::time::SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read() {
        assert_eq!(retry_after(" 7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "it is past");
        assert_eq!(retry_after("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST_WAIT));
        for rubbish in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(retry_after(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn cache_control_is_read() {
        assert_eq!(max_age("public, max-age=60"), Some(Duration::from_secs(60)));
        assert_eq!(max_age("max-age=60, no-store"), Some(Duration::ZERO));
        assert_eq!(max_age("private"), None);
        assert_eq!(max_age("max-age=x"), None);
    }
}
