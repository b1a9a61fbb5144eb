//! What is answered to those who come with HTTP: the page, look-ups, names, health.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dsip_endpoint::tls::Certificate;
use dsip_proto::relay::rate::Rate;

use crate::admission::{Admission, Limits};
use crate::http::{self, Body, HeaderValue, Method, Page, Request, Site, StatusCode, header};
use crate::lookup::{self, Lookup};
use crate::metrics::{self, Health};
use crate::names::Names;
use crate::web::Phone;

/// WPH-10: connections that bring requests, besides all that is limited for connections of any kind. What one holds while its client
/// does not read is some 50 KiB; a browser opens up to six.
const VISITORS: Limits =
    Limits { connections: 2_048, per_address: 128, opens: Rate { burst: 512, every: Duration::from_millis(20) } };

/// WPH-10: a page has about ten files.
const BOUNDS: http::Bounds = http::Bounds {
    head: Duration::from_secs(10),
    body: Duration::from_secs(10),
    life: Duration::from_secs(300),
    requests: 100,
};

/// What answers that are no page may do in a browser: nothing.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// WPH-8: for a year.
const SECURE: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// NAM-3: what a request to a name may bring.
const LARGEST_RECORD: usize = 8 * 1024;

/// The answers.
pub(crate) struct Front {
    about: String,
    phone: Option<Phone>,
    lookup: Lookup,
    health: Health,
    names: Option<Arc<Names>>,
    domain: Option<Certificate>,
    visitors: Admission,
}

impl Front {
    /// Without a `phone` it is a line of text that says what this is (WPH-11). `domain` is given if the domain is reached at port
    /// 443 (WPH-8).
    pub(crate) fn new(
        about: String,
        phone: Option<Phone>,
        lookup: Lookup,
        health: Health,
        names: Option<Arc<Names>>,
        domain: Option<Certificate>,
    ) -> Self {
        Self { about, phone, lookup, health, names, domain, visitors: Admission::new(VISITORS) }
    }

    fn get(&self, request: &Request) -> Page {
        let path = request.uri().path();
        let page = self.phone.as_ref().and_then(|phone| phone.page(request));
        let page = page.or_else(|| (path == "/").then(|| Page::ok(http::TEXT, self.about.clone())));
        let page = page.or_else(|| metrics::health(path, &self.health));
        page.or_else(|| self.names.as_ref()?.page(request)).unwrap_or_else(Page::nothing)
    }

    /// A user's rotation record (NAM-3).
    async fn post(&self, request: &Request, body: Body) -> Page {
        let about = self.names.as_ref().and_then(|names| Some((names, names.rotated(request)?)));
        let Some((names, name)) = about else { return Page::only("GET, HEAD") };
        let (names, name) = (names.clone(), name.to_owned());
        let record = match body.text(request, LARGEST_RECORD).await {
            Ok(record) => record,
            Err(refusal) => return refusal,
        };
        let rotated = tokio::task::spawn_blocking(move || names.rotate(&name, &record)).await;
        rotated.unwrap_or_else(|_| Page::status(StatusCode::SERVICE_UNAVAILABLE, "It went wrong.\n"))
    }
}

impl Site for Front {
    const SIGNALING: bool = true;

    async fn answer(&self, from: IpAddr, request: &Request, body: Body) -> Page {
        let mut page = match *request.method() {
            _ if request.uri().path().starts_with(lookup::UNDER) => self.lookup.answer(from, request, body).await,
            Method::GET | Method::HEAD => self.get(request),
            Method::POST => self.post(request, body).await,
            _ => Page::only("GET, HEAD"),
        };
        page.headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NOTHING);
        if self.domain.as_ref().is_some_and(Certificate::shows_domain) {
            page.headers.insert(header::STRICT_TRANSPORT_SECURITY, SECURE);
        }
        page
    }

    fn visitors(&self) -> Option<&Admission> {
        Some(&self.visitors)
    }

    fn bounds(&self) -> http::Bounds {
        BOUNDS
    }
}
