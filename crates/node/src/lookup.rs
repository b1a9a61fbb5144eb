//! What a page in a browser cannot ask by itself: the DHT and the DNS (`docs/spec/web.md`, WPH-30 to WPH-39).
//!
//! ```text
//!  GET  /dsip/v1/node            who this is
//!  GET  /dsip/v1/records/DID     signed records as the DHT has them, for the page to verify
//!  POST /dsip/v1/records         a signed record for the DHT
//!  GET  /dsip/v1/alias/ALIAS     the DID that an alias leads to
//! ```
//!
//! There is no look-up of documents: whoever answered one would have authority over keys (WPH-36).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dsip_endpoint::clock;
use dsip_endpoint::dht::{self, Dht};
use dsip_endpoint::link::MAX_FRAME;
use dsip_endpoint::resolve::{Alias, AliasOrigin, Resolver};
use dsip_proto::reach;
use dsip_proto::relay::rate::{Bucket, Buckets, Rate};
use dsip_proto::wire::Did;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::http::{self, Body, Method, Page, Request, StatusCode, header};

/// Where all of it is.
pub(crate) const UNDER: &str = "/dsip/v1/";

/// WPH-37: look-ups from one address.
const LOOK_UPS: Rate = Rate::per_minute(60);

/// WPH-37: publications from one address. A phone signs its record anew every 240 s.
const PUBLICATIONS: Rate = Rate::per_minute(60);

/// WPH-37: publications in all. Other nodes take so many of one peer, and replicas have to go the same way.
const ALL_PUBLICATIONS: Rate = Rate::per_minute(1_200);

/// Addresses whose rates are remembered at once.
const MOST_ADDRESSES: usize = 65_536;

/// WPH-37: look-ups under way at one time.
const AT_ONCE: usize = 64;

/// WPH-37: how long an answer of the DHT serves.
const FRESH: Duration = Duration::from_secs(10);

/// Answers that are kept, and how long one may be to be kept.
const MOST_KEPT: usize = 1_024;
const LARGEST_KEPT: usize = 16 * 1024;

/// WPH-32: so much text of records is given.
const LARGEST_ANSWER: usize = 256 * 1024;

/// What can be asked, and by whom how often.
pub(crate) struct Lookup {
    about: Bytes,
    dht: Dht,
    resolver: Resolver,
    rates: Mutex<Rates>,
    places: Semaphore,
    kept: Mutex<BTreeMap<Did, Slot>>,
}

/// Whoever holds it asks; others with the same question wait for the answer.
type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

struct Kept {
    answer: Bytes,
    until: Instant,
}

struct Rates {
    look_ups: Buckets<IpAddr>,
    publications: Buckets<IpAddr>,
    all_publications: Bucket,
}

/// How the node is reached, as it says itself (WPH-31).
#[derive(Serialize)]
pub(crate) struct About<'a> {
    pub(crate) did: &'a Did,
    pub(crate) wss: &'a str,
    pub(crate) dht: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) web: Option<&'a str>,
}

/// The records of somebody (WPH-32). Nobody is told who asked for them, the log neither (WPH-39).
#[derive(Serialize)]
struct Records<'a> {
    subject: &'a Did,
    records: Vec<&'a str>,
    refused: usize,
    asked: u32,
    answered: u32,
}

impl Lookup {
    pub(crate) fn new(about: &About<'_>, dht: Dht, resolver: Resolver) -> Self {
        let rates = Rates {
            look_ups: Buckets::new(LOOK_UPS, MOST_ADDRESSES),
            publications: Buckets::new(PUBLICATIONS, MOST_ADDRESSES),
            all_publications: Bucket::default(),
        };
        Self {
            about: json!(about).to_string().into(),
            dht,
            resolver,
            rates: Mutex::new(rates),
            places: Semaphore::new(AT_ONCE),
            kept: Mutex::default(),
        }
    }

    /// What is answered to a request under [`UNDER`]. It may be read by pages of every origin (WPH-30).
    pub(crate) async fn answer(&self, from: IpAddr, request: &Request, body: Body) -> Page {
        let page = self.page(from, request, body).await.unwrap_or_else(|refusal| refusal);
        page.with(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")
            .with(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date")
            .with(http::CORP, "cross-origin")
            .with(header::CACHE_CONTROL, "no-store")
    }

    async fn page(&self, from: IpAddr, request: &Request, body: Body) -> Result<Page, Page> {
        let path = request.uri().path().strip_prefix(UNDER).unwrap_or_default();
        let (what, about) = path.split_once('/').map_or((path, None), |(what, about)| (what, Some(about)));
        let method = match *request.method() {
            Method::HEAD => &Method::GET,
            ref method => method,
        };
        match (method, what, about) {
            (&Method::OPTIONS, ..) => Ok(Page::done()
                .with(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST")
                .with(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type")
                .with(header::ACCESS_CONTROL_MAX_AGE, "86400")),
            (&Method::GET, "node", None) => Ok(Page::ok(http::JSON, self.about.clone())),
            (&Method::GET, "records", Some(did)) => self.records(from, did).await,
            (&Method::GET, "alias", Some(alias)) => self.alias(from, alias).await,
            (&Method::POST, "records", None) => self.publish(from, request, body).await,
            (_, "node", None) | (_, "records" | "alias", Some(_)) => Err(only("GET, HEAD, OPTIONS")),
            (_, "records", None) => Err(only("POST, OPTIONS")),
            _ => Err(refusal(StatusCode::NOT_FOUND, "nothing-here", "there is nothing of this name")),
        }
    }

    async fn records(&self, from: IpAddr, did: &str) -> Result<Page, Page> {
        let did: Did = segment(did).and_then(|text| text.parse().ok()).ok_or_else(|| {
            refusal(StatusCode::BAD_REQUEST, "not-a-did", "give a DID, percent-encoded as one segment of the path")
        })?;
        self.may_look_up(from).map_err(too_often)?;
        let slot = self.slot(&did);
        let mut slot = slot.lock().await;
        if let Some(kept) = slot.as_ref().filter(|kept| kept.until > Instant::now()) {
            return Ok(Page::ok(http::JSON, kept.answer.clone()));
        }
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        let records = match self.dht.find(&did).await {
            Ok(found) => json!(Records::of(&did, &found)),
            // WPH-32: who is alone knows of nobody, which `answered` says.
            Err(dht::Error::NoPeers) => json!(Records::none(&did)),
            Err(error) => return Err(refused(&error)),
        };
        let answer = Bytes::from(records.to_string());
        let keep = answer.len() <= LARGEST_KEPT;
        *slot = keep.then(|| Kept { answer: answer.clone(), until: Instant::now() + FRESH });
        Ok(Page::ok(http::JSON, answer))
    }

    /// WPH-34.
    async fn publish(&self, from: IpAddr, request: &Request, body: Body) -> Result<Page, Page> {
        {
            let now = clock::now().tick;
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            rates.publications.take(&reach::subscriber(from), now).map_err(too_often)?;
            rates.all_publications.take(ALL_PUBLICATIONS, now).map_err(too_often)?;
        }
        let text = body.text(request, MAX_FRAME).await.map_err(|page| match page.status {
            StatusCode::LENGTH_REQUIRED => refusal(page.status, "length-required", "say how long the record is"),
            StatusCode::PAYLOAD_TOO_LARGE => refusal(page.status, "too-large", "an envelope has at most 65,536 bytes"),
            status => refusal(status, "not-an-envelope", "send the record as text, and in time"),
        })?;
        // WPH-34: it is authentic by itself, or refused.
        let dht::Published { accepted, asked, .. } = self.dht.publish(text).await.map_err(|error| refused(&error))?;
        Ok(Page::ok(http::JSON, json!({"accepted": accepted, "asked": asked}).to_string()))
    }

    async fn alias(&self, from: IpAddr, alias: &str) -> Result<Page, Page> {
        // WPH-35: without a port, so that nobody has ports of others tried by this node.
        let alias: Alias = segment(alias)
            .and_then(|text| text.parse().ok())
            .filter(|alias: &Alias| !alias.has_port())
            .ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "not-an-alias", "give USER@DOMAIN, without a port"))?;
        self.may_look_up(from).map_err(too_often)?;
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        match self.resolver.alias(&alias).await {
            Ok((did, by)) => {
                let by = match by {
                    AliasOrigin::WebFinger => "webfinger",
                    AliasOrigin::Dns => "dns",
                };
                Ok(Page::ok(http::JSON, json!({"alias": alias.to_string(), "did": did, "by": by}).to_string()))
            }
            // WPH-38: why is nobody's business outside.
            Err(_) => Err(refusal(StatusCode::NOT_FOUND, "unknown-alias", "it leads to no DID that this node can see")),
        }
    }

    /// Or how long to wait.
    fn may_look_up(&self, from: IpAddr) -> Result<(), Duration> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.look_ups.take(&reach::subscriber(from), clock::now().tick)
    }

    fn slot(&self, did: &Did) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT && !kept.contains_key(did) {
            let now = Instant::now();
            let is_fresh = |slot: &Option<Kept>| slot.as_ref().is_some_and(|kept| kept.until > now);
            kept.retain(|_, slot| slot.try_lock().map_or(true, |slot| is_fresh(&slot)));
            if kept.len() >= MOST_KEPT {
                kept.pop_first();
            }
        }
        kept.entry(did.clone()).or_default().clone()
    }
}

impl<'a> Records<'a> {
    fn none(subject: &'a Did) -> Self {
        Self { subject, records: Vec::new(), refused: 0, asked: 0, answered: 0 }
    }

    /// WPH-32: the winner first, and as many of the others as there is room for.
    fn of(subject: &'a Did, found: &'a dht::Found) -> Self {
        let winner = found.winner.iter().map(|record| &**record.text());
        let others = found.all.iter().map(|(record, _)| &**record.text());
        let mut records: Vec<&str> = Vec::new();
        let mut room = LARGEST_ANSWER;
        for text in winner.chain(others) {
            if !records.contains(&text) && text.len() <= room {
                room -= text.len();
                records.push(text);
            }
        }
        let dht::Effort { requests, answered, .. } = found.effort;
        Self { subject, records, refused: found.refused.len(), asked: requests, answered }
    }
}

/// One segment of a path, decoded once.
fn segment(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    (!text.contains('/')).then(|| text.into_owned())
}

fn refusal(status: StatusCode, error: &str, detail: &str) -> Page {
    Page { status, ..Page::ok(http::JSON, json!({"error": error, "detail": detail}).to_string()) }
}

fn only(methods: &'static str) -> Page {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "method", "not by this method").with(header::ALLOW, methods)
}

fn too_often(wait: Duration) -> Page {
    let page =
        refusal(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "too many questions from this address; ask later");
    page.saying(header::RETRY_AFTER, &wait.as_secs().saturating_add(1).to_string())
}

fn busy() -> Page {
    let page = refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many look-ups at this moment; ask again");
    page.with(header::RETRY_AFTER, "2")
}

fn refused(error: &dht::Error) -> Page {
    match error {
        dht::Error::Invalid(why) => {
            let detail = "the record does not verify, so nobody would keep it";
            let body = json!({"error": "refused", "detail": detail, "verdict": why.as_str()}).to_string();
            Page { status: StatusCode::FORBIDDEN, ..Page::ok(http::JSON, body) }
        }
        dht::Error::NoPeers => {
            let page = refusal(StatusCode::SERVICE_UNAVAILABLE, "no-peers", "this node reaches nobody in the DHT");
            page.with(header::RETRY_AFTER, "30")
        }
        dht::Error::Closed | dht::Error::Setup(_) | dht::Error::Listen(..) => busy(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use dsip_endpoint::resolve;
    use dsip_endpoint::tls::{Expect, Roots};
    use serde_json::Value;
    use tokio::net::UdpSocket;

    use super::*;

    const BOB: &str = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";
    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Answers every question for TXT records with one that reads `text`.
    async fn name_server(text: String) -> SocketAddr {
        let socket = UdpSocket::bind((FROM, 0)).await.expect("bound");
        let at = socket.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                // RFC 1035, 4.1: twelve octets of head, then the name up to its empty label, its type and class.
                let name = packet[12..length].iter().position(|octet| *octet == 0).expect("a name") + 1;
                let mut answer =
                    [&packet[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &packet[12..12 + name + 4]].concat();
                let octets = u8::try_from(text.len()).expect("short");
                answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, octets + 1, octets]);
                answer.extend(text.as_bytes());
                drop(socket.send_to(&answer, from).await);
            }
        });
        at
    }

    async fn lookup(dns: SocketAddr) -> Lookup {
        let tls = Roots::load::<&str>(&[]).expect("roots").ws_client(&Expect::WebPki).expect("TLS");
        let config = resolve::Config { tls, allow_private: false, dns: Some(dns), patience: resolve::PATIENCE };
        let resolver = Resolver::new(&config).expect("a resolver");
        let alone = dht::Config { role: dht::Role::Device, bootstrap: Vec::new(), remembered: None, documents: None };
        let did = BOB.parse().expect("a DID");
        let about = About { did: &did, wss: "", dht: "", domain: None, web: None };
        Lookup::new(&about, Dht::start(alone).await.expect("started"), resolver)
    }

    #[tokio::test]
    async fn wph_35_an_alias_leads_to_a_did_by_the_dns() {
        let lookup = lookup(name_server(format!("did={BOB}")).await).await;
        let page = lookup.alias(FROM, "Bob%40no-such-host.example").await.expect("known");
        let answer: Value = serde_json::from_slice(&page.body).expect("JSON");
        assert_eq!(answer, json!({"alias": "bob@no-such-host.example", "did": BOB, "by": "dns"}));
    }

    #[tokio::test]
    async fn wph_37_what_is_kept_is_bounded() {
        let lookup = lookup((FROM, 9).into()).await;
        for number in 0..MOST_KEPT + 10 {
            let slot = lookup.slot(&format!("did:web:host{number}.example").parse().expect("a DID"));
            *slot.try_lock().expect("free") =
                Some(Kept { answer: Bytes::new(), until: Instant::now() + Duration::from_secs(3600) });
        }
        assert_eq!(lookup.kept.lock().expect("whole").len(), MOST_KEPT);
    }
}
