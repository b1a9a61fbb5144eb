//! From what a person types to where a device dials, in the order of DSC-1 to DSC-3.
//!
//! ```text
//!  alias ── WebFinger, DNS TXT ──►┐
//!  dsip: link, QR code ──────────►├─► DID ─► document ──────► services        has authority (DSC-2)
//!  DID ──────────────────────────►┘     └──► DHT, link ─────► signed hints, advice   has none
//!                                                                   └─► dial candidates, in this order
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Resolver`]: documents and aliases, cached and bounded |
//! | `locate.rs` | [`Resolver::locate`]: the whole way, and what each step is worth |
//! | `web.rs` | a guarded HTTPS fetch |
//! | `alias.rs` | `user@domain`, and what its domain may answer |
//!
//! The text of links is in [`dsip_proto::link`], their pictures in [`qr`](crate::qr).
//!
//! Nothing found on the way can make a key valid: keys come from the document alone (RES-3).

mod alias;
mod locate;
mod web;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dsip_proto::identity::{Document, DocumentError, Documents, PublicKey, document_url};
use dsip_proto::wire::{Did, Envelope};
use futures_util::FutureExt as _;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::Semaphore;

pub use alias::{Alias, AliasError, AnswerError, Domain, DomainError, REL, read_txt, read_webfinger};
pub use locate::{Candidate, Located, Source, Target, TargetError};
pub use web::{Answer, FetchError, MAX_BYTES, Web};

use crate::dht;

/// FET-4: how long a fetched document is believed without asking again, unless its server says less or, up to
/// [`MAX_FRESH`], more. A key that was retired works that much longer.
const FRESH: Duration = Duration::from_secs(120);
/// No server may have its document believed longer than this.
const MAX_FRESH: Duration = Duration::from_secs(600);
/// A document is not fetched again before this, so that a burst of messages causes one fetch.
const MIN_FRESH: Duration = Duration::from_secs(5);
/// How long a failure is remembered: long enough against a burst, short enough for a repaired server.
const FAILED: Duration = Duration::from_secs(5);
/// Documents kept.
const MAX_KEPT: usize = 1024;
/// FET-4: fetches under way at one time; strangers' messages can cause them.
const MAX_FETCHES: usize = 16;
/// FET-2: how long a web or DNS server may take, unless [`Config`] says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// What resolving needs from outside.
pub struct Config {
    /// TLS for fetching documents: Web PKI with the roots one trusts.
    pub tls: Arc<rustls::ClientConfig>,
    /// Whether `did:web` and aliases may lead to this machine or a private network.
    pub allow_private: bool,
    /// The DNS server to ask for TXT records instead of the system's.
    pub dns: Option<SocketAddr>,
    /// How long a web or DNS server may take to answer; [`PATIENCE`] as a rule.
    pub patience: Duration,
}

/// Resolves DIDs and aliases. Clones share one cache.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
    /// Documents that need no fetching because they are published by this very program.
    own: Option<OwnDocuments>,
}

/// What a program publishes itself: nothing for a DID that is not its to answer for, otherwise the document, or that there
/// is none.
pub type OwnDocuments = Arc<dyn Fn(&Did) -> Option<Option<Document>> + Send + Sync>;

struct Inner {
    web: Web,
    /// Absent on a machine without DNS configuration.
    dns: Option<TokioResolver>,
    patience: Duration,
    kept: Mutex<BTreeMap<Did, Arc<tokio::sync::Mutex<Option<Kept>>>>>,
    fetches: Semaphore,
}

struct Kept {
    outcome: Result<Arc<Document>, ResolveError>,
    fetched: Instant,
    until: Instant,
}

/// The set-up was refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up HTTPS: {0}")]
pub struct SetupError(String);

impl SetupError {
    /// With this cause.
    #[must_use]
    pub fn new(cause: &dyn std::error::Error) -> Self {
        Self(cause.to_string())
    }
}

/// A document, and where it came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The document. It alone says which keys are the DID's.
    pub document: Arc<Document>,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a document came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Computed from the key in a `did:key`: nobody was asked, nobody can interfere.
    Derived,
    /// Fetched over HTTPS; rests on DNS and Web PKI (ID-23).
    Web {
        /// From here.
        url: String,
        /// So long ago.
        age: Duration,
    },
}

/// Why a DID has no usable document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// ID-4.
    #[error("did:{0} is not a method DSIP resolves; did:key and did:web are")]
    Method(String),
    /// ID-12.
    #[error("the DID holds no Ed25519 key; was it cut off or mistyped?")]
    Key,
    /// ID-20.
    #[error("the DID names no host or path a document could be at")]
    Url,
    /// Fetching failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// ID-21: what was fetched is not this DID's document.
    #[error("{0}")]
    Document(#[from] DocumentError),
}

/// Why an alias leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{alias} leads to no DID: {webfinger}; DNS: {txt}")]
pub struct UnknownAlias {
    /// The alias.
    pub alias: Alias,
    /// What came of WebFinger.
    pub webfinger: String,
    /// What came of the TXT record.
    pub txt: String,
}

/// How an alias was answered. Neither way is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasOrigin {
    /// By the domain's web server, over HTTPS.
    WebFinger,
    /// By the domain's DNS.
    Dns,
}

impl Resolver {
    /// A resolver with an empty cache.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if the TLS configuration is not usable for HTTPS.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let web = Web::new(config.tls.as_ref().clone(), config.allow_private, config.patience)?;
        let inner = Inner {
            web,
            dns: dns(config.dns),
            patience: config.patience,
            kept: Mutex::new(BTreeMap::new()),
            fetches: Semaphore::new(MAX_FETCHES),
        };
        Ok(Self { inner: Arc::new(inner), own: None })
    }

    /// The same, except that `own` is asked first. A server that fetched its own documents would depend on its own name, its
    /// certificate and the way back through its router, and would believe what it has just replaced.
    #[must_use]
    pub fn publishing(self, own: OwnDocuments) -> Self {
        Self { own: Some(own), ..self }
    }

    /// The document of `did`: derived, from the cache, or fetched.
    ///
    /// # Errors
    ///
    /// [`ResolveError`]. A failure is not repeated over the network for a few seconds.
    pub async fn document(&self, did: &Did) -> Result<Resolved, ResolveError> {
        match did.method() {
            "key" => {
                let key = PublicKey::of_did(did).map_err(|_| ResolveError::Key)?;
                Ok(Resolved { document: Arc::new(Document::of_key(key)), origin: Origin::Derived })
            }
            "web" => self.fetched(did).await,
            other => Err(ResolveError::Method(other.to_owned())),
        }
    }

    /// The documents of `dids`, as far as they can be had: what verifying a message takes.
    pub async fn documents(&self, dids: &[Did]) -> Documents {
        let mut documents = Documents::default();
        for resolved in futures_util::future::join_all(dids.iter().map(|did| self.document(did))).await {
            match resolved {
                Ok(resolved) => documents.insert(resolved.document.as_ref().clone()),
                Err(error) => tracing::debug!(%error, "a DID document is not to be had"),
            }
        }
        documents
    }

    /// Hands a `key-rotation` record to whoever publishes the document of `did` (NAM-3). What that host makes of it shows in the
    /// document.
    ///
    /// # Errors
    ///
    /// [`ResolveError`]; [`FetchError::Refused`] with the host's own words, [`FetchError::NotFound`] if it takes no records.
    pub async fn hand_in(&self, did: &Did, record: &Envelope) -> Result<(), ResolveError> {
        let url = document_url(did).map_err(|_| ResolveError::Url)?;
        let beside = url.strip_suffix("did.json").ok_or(ResolveError::Url)?;
        Ok(self.inner.web.post(&format!("{beside}key-rotation"), record.text()).await?)
    }

    /// [`documents`](Self::documents) in the form the DHT wants it.
    #[must_use]
    pub fn for_dht(&self) -> dht::FetchDocuments {
        let resolver = self.clone();
        Arc::new(move |dids| {
            let resolver = resolver.clone();
            async move { resolver.documents(&dids).await }.boxed()
        })
    }

    /// The DID that `alias` leads to: by WebFinger, then by DNS (DSC-1, ALS-6).
    ///
    /// # Errors
    ///
    /// [`UnknownAlias`], with what became of either way.
    pub async fn alias(&self, alias: &Alias) -> Result<(Did, AliasOrigin), UnknownAlias> {
        let webfinger = match self.inner.web.get(&alias.webfinger(), "application/jrd+json, application/json").await {
            Ok(fetched) => match read_webfinger(&fetched.text) {
                Ok(did) => return Ok((did, AliasOrigin::WebFinger)),
                // The domain's own word is contradictory: DNS could only add a third opinion.
                Err(error @ AnswerError::Ambiguous(..)) => {
                    let txt = "not asked".to_owned();
                    return Err(UnknownAlias { alias: alias.clone(), webfinger: error.to_string(), txt });
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        match self.txt(alias).await {
            Ok(did) => Ok((did, AliasOrigin::Dns)),
            Err(txt) => Err(UnknownAlias { alias: alias.clone(), webfinger, txt }),
        }
    }

    async fn txt(&self, alias: &Alias) -> Result<Did, String> {
        let name = alias.txt().ok_or("an alias with a port has no DNS record")?;
        let dns = self.inner.dns.as_ref().ok_or("this machine has no DNS server configured")?;
        let answer = match tokio::time::timeout(self.inner.patience, dns.lookup(name, RecordType::TXT)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_no_records_found() => return Err("no record of that name".to_owned()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no answer in time".to_owned()),
        };
        let texts: Vec<String> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::TXT(text) => Some(text.to_string()),
                _ => None,
            })
            .collect();
        read_txt(texts.iter().map(String::as_str)).map_err(|error| error.to_string())
    }

    async fn fetched(&self, did: &Did) -> Result<Resolved, ResolveError> {
        let url = document_url(did).map_err(|_| ResolveError::Url)?;
        if let Some(own) = self.own.as_ref().and_then(|own| own(did)) {
            let document = own.ok_or_else(|| FetchError::NotFound("this node".to_owned()))?;
            return Ok(Resolved { document: Arc::new(document), origin: Origin::Web { url, age: Duration::ZERO } });
        }
        // Whoever holds the slot fetches; others with the same question wait for its answer.
        let slot = self.slot(did);
        let mut slot = slot.lock().await;
        let now = Instant::now();
        if slot.as_ref().is_none_or(|kept| kept.until <= now) {
            *slot = Some(self.fetch(did, &url).await);
        }
        let kept = slot.as_ref().ok_or(ResolveError::Url)?;
        let document = kept.outcome.clone()?;
        Ok(Resolved { document, origin: Origin::Web { url, age: now.saturating_duration_since(kept.fetched) } })
    }

    async fn fetch(&self, did: &Did, url: &str) -> Kept {
        let _permit = self.inner.fetches.acquire().await;
        let fetched = self.inner.web.get(url, "application/did+json, application/json").await;
        let now = Instant::now();
        let max_age = fetched.as_ref().ok().and_then(|fetched| fetched.max_age);
        let outcome = fetched
            .map_err(ResolveError::from)
            .and_then(|fetched| Document::parse(did, &fetched.text).map_err(ResolveError::from))
            .map(Arc::new);
        let fresh = if outcome.is_ok() { max_age.unwrap_or(FRESH).clamp(MIN_FRESH, MAX_FRESH) } else { FAILED };
        Kept { outcome, fetched: now, until: now + fresh }
    }

    fn slot(&self, did: &Did) -> Arc<tokio::sync::Mutex<Option<Kept>>> {
        let mut kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT && !kept.contains_key(did) {
            let now = Instant::now();
            let stale = |slot: &Option<Kept>| slot.as_ref().is_none_or(|kept| kept.until <= now);
            kept.retain(|_, slot| slot.try_lock().map_or(true, |slot| !stale(&slot)));
            if kept.len() >= MAX_KEPT {
                kept.pop_first();
            }
        }
        kept.entry(did.clone()).or_default().clone()
    }
}

fn dns(server: Option<SocketAddr>) -> Option<TokioResolver> {
    let builder = match server {
        Some(server) => {
            let mut name_server = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut name_server.connections {
                connection.port = server.port();
            }
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => {
            TokioResolver::builder_tokio().inspect_err(|error| tracing::debug!(%error, "no DNS configuration")).ok()?
        }
    };
    builder.build().inspect_err(|error| tracing::debug!(%error, "no DNS")).ok()
}
