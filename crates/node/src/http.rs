//! What an HTTP client sees: the WebSocket endpoint at `/dsip`, and pages.
//!
//! HTTP itself is `hyper`'s. Here is what bounds it (WPH-10), and the way from a request to an upgraded connection. Several requests
//! may follow each other on a connection, since a browser fetches a dozen files to show one page.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dsip_endpoint::clock;
use dsip_endpoint::link::ws;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::admission::{Admission, Place};

pub(crate) use tokio_tungstenite::tungstenite::handshake::server::Request;
pub(crate) use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// The path of the signaling endpoint.
pub(crate) const PATH: &str = "/dsip";

/// A request head may be so long; a browser's, cookies of other ports of this host included, fits.
const LARGEST_HEAD: usize = 16 * 1024;

/// Header lines of one request.
const MOST_HEADERS: usize = 64;

/// What a connection may take before it is a WebSocket (WPH-10).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How long a head may take, and how long a connection may wait for the next one.
    pub(crate) head: Duration,
    /// How long a body may take.
    pub(crate) body: Duration,
    /// How long a connection may live. Who reads an answer more slowly than this is cut off.
    pub(crate) life: Duration,
    /// How many requests it may bring.
    pub(crate) requests: usize,
}

/// Kinds of text.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(crate) const DID: &str = "application/did+json";
pub(crate) const JRD: &str = "application/jrd+json";
pub(crate) const JSON: &str = "application/json";

/// Who may use an answer in a page of his own.
pub(crate) const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What is answered.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Page {
    pub(crate) fn ok(kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() }.with(header::CONTENT_TYPE, kind)
    }

    /// A line of text that is not what was asked for.
    pub(crate) fn status(status: StatusCode, says: &str) -> Self {
        Self { status, ..Self::ok(TEXT, says.to_owned()) }
    }

    pub(crate) fn nothing() -> Self {
        Self::status(StatusCode::NOT_FOUND, "Nothing here.\n")
    }

    /// It is there, but nothing that this method could be used for.
    pub(crate) fn only(methods: &'static str) -> Self {
        Self::status(StatusCode::METHOD_NOT_ALLOWED, "Not by this method.\n").with(header::ALLOW, methods)
    }

    /// It is done, and there is nothing to say.
    pub(crate) fn done() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.status == StatusCode::OK
    }

    /// The same with one more line in its head.
    pub(crate) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The same with a line that is not the same for everybody. One that cannot be a header's value is left out.
    pub(crate) fn saying(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same with the tag of what it says; nothing but the tag for those who have that already.
    pub(crate) fn tagged(self, request: &Request, tag: &str) -> Self {
        let known = request.headers().get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let is_known =
            known.flat_map(|value| value.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
        let mut page = self;
        if is_known {
            page.status = StatusCode::NOT_MODIFIED;
            page.headers.remove(header::CONTENT_TYPE);
            page.body = Bytes::new();
        }
        page.saying(header::ETAG, tag)
    }

    fn into_response(self) -> hyper::Response<Full<Bytes>> {
        let mut response = hyper::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// The tag of some content.
pub(crate) fn tag(content: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, content);
    let tag: String = hash.as_ref().iter().take(12).map(|octet| format!("{octet:02x}")).collect();
    format!("\"{tag}\"")
}

/// What a request brings.
pub(crate) struct Body {
    incoming: Incoming,
    within: Duration,
}

impl Body {
    /// All of it as text, if it is no longer than `most`; else what is to be answered.
    pub(crate) async fn text(self, request: &Request, most: usize) -> Result<String, Page> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let Some(length) = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok()) else {
            return Err(Page::status(StatusCode::LENGTH_REQUIRED, "How long?\n"));
        };
        if length > most {
            return Err(Page::status(StatusCode::PAYLOAD_TOO_LARGE, "too long\n"));
        }
        match timeout(self.within, Limited::new(self.incoming, most).collect()).await {
            Ok(Ok(body)) => String::from_utf8(body.to_bytes().into())
                .map_err(|_| Page::status(StatusCode::BAD_REQUEST, "not text\n")),
            Ok(Err(_)) => Err(Page::status(StatusCode::PAYLOAD_TOO_LARGE, "too long\n")),
            Err(_) => Err(Page::status(StatusCode::REQUEST_TIMEOUT, "too slow\n")),
        }
    }
}

/// Who answers requests.
pub(crate) trait Site: Send + Sync + 'static {
    /// Whether the signaling endpoint is here.
    const SIGNALING: bool;

    /// What is answered.
    fn answer(&self, from: IpAddr, request: &Request, body: Body) -> impl Future<Output = Page> + Send;

    /// The places of connections that bring requests, if these are counted by themselves.
    fn visitors(&self) -> Option<&Admission>;

    /// What one connection may take.
    fn bounds(&self) -> Bounds;
}

/// Answers what comes on a connection from `from`. A WebSocket upgrade of the endpoint gives the socket; nothing else does.
pub(crate) async fn serve<S, T: Site>(
    stream: S,
    from: IpAddr,
    site: Arc<T>,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<Option<WebSocketStream<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Bounds { head, life, requests, .. } = site.bounds();
    let visit = Arc::new(Visit {
        site,
        from,
        place: Mutex::default(),
        requests: AtomicUsize::new(0),
        upgrade: Mutex::default(),
    });
    let visited = visit.clone();
    let service = service_fn(move |request| {
        let visit = visit.clone();
        async move { visit.answer(request).await }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head); // WPH-10
    http.max_headers(MOST_HEADERS).max_header_size(LARGEST_HEAD).max_buf_size(LARGEST_HEAD).keep_alive(requests > 1);
    {
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let ended = async {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        };
        timeout(life, ended).await?.map_err(io::Error::other)?;
    }
    let upgrade = visited.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(upgrade) = upgrade else { return Ok(None) };
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let parts = upgraded.downcast::<TokioIo<S>>().map_err(|_| io::Error::other("another stream came back"))?;
    let (stream, rest) = (parts.io.into_inner(), parts.read_buf.into());
    Ok(Some(WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(ws::config())).await))
}

/// One connection's requests.
struct Visit<T> {
    site: Arc<T>,
    from: IpAddr,
    /// From the first request that is none for a WebSocket.
    place: Mutex<Option<Place>>,
    requests: AtomicUsize,
    upgrade: Mutex<Option<OnUpgrade>>,
}

impl<T: Site> Visit<T> {
    async fn answer(&self, request: hyper::Request<Incoming>) -> io::Result<hyper::Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let mut request = Request::from_parts(head, ());
        if T::SIGNALING && request.uri().path() == PATH {
            return Ok(self.upgrade(&mut request));
        }
        if !self.has_place() {
            let busy = Page::status(StatusCode::SERVICE_UNAVAILABLE, "Too many visitors.\n");
            return Ok(last(busy.with(header::RETRY_AFTER, "10").into_response()));
        }
        let bounds = self.site.bounds();
        let body = Body { incoming: body, within: bounds.body };
        let response = self.site.answer(self.from, &request, body).await.into_response();
        let is_last = self.requests.fetch_add(1, Ordering::Relaxed) + 1 >= bounds.requests;
        Ok(if is_last { last(response) } else { response })
    }

    /// WPH-50, WPH-51: whatever its origin, and without subprotocol and compression.
    fn upgrade(&self, request: &mut Request) -> hyper::Response<Full<Bytes>> {
        match create_response(request) {
            Ok(response) => {
                *self.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(hyper::upgrade::on(request));
                response.map(|()| Full::default())
            }
            Err(_) => {
                let page = Page::status(StatusCode::UPGRADE_REQUIRED, "This path speaks WebSocket.\n");
                last(page.with(header::UPGRADE, "websocket").into_response())
            }
        }
    }

    fn has_place(&self) -> bool {
        let Some(visitors) = self.site.visitors() else { return true };
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = visitors.admit(self.from, clock::now().tick);
        }
        place.is_some()
    }
}

/// After which the connection ends.
fn last(mut response: hyper::Response<Full<Bytes>>) -> hyper::Response<Full<Bytes>> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::admission::Limits;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    struct Desk {
        visitors: Admission,
        bounds: Bounds,
    }

    impl Site for Desk {
        const SIGNALING: bool = true;

        async fn answer(&self, _: IpAddr, request: &Request, body: Body) -> Page {
            match (request.method(), request.uri().path()) {
                (&Method::GET | &Method::HEAD, "/") => Page::ok(TEXT, "a node\n"),
                (&Method::POST, "/") => match body.text(request, 10).await {
                    Ok(text) => Page::ok(TEXT, text),
                    Err(refusal) => refusal,
                },
                (_, "/") => Page::only("GET, HEAD, POST"),
                _ => Page::nothing(),
            }
        }

        fn visitors(&self) -> Option<&Admission> {
            Some(&self.visitors)
        }

        fn bounds(&self) -> Bounds {
            self.bounds
        }
    }

    const FOR_EVER: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(50);
    const PATIENT: Bounds = Bounds { head: FOR_EVER, body: FOR_EVER, life: FOR_EVER, requests: 10 };

    fn site() -> Arc<Desk> {
        bounded(PATIENT)
    }

    fn bounded(bounds: Bounds) -> Arc<Desk> {
        let visitors = Admission::new(Limits { connections: 2, per_address: 2, ..Limits::default() });
        Arc::new(Desk { visitors, bounds })
    }

    /// A client, and what becomes of the connection.
    fn visit(site: &Arc<Desk>, room: usize) -> (DuplexStream, tokio::task::JoinHandle<io::Result<bool>>) {
        let (client, server) = duplex(room);
        let (site, (stop, stopping)) = (site.clone(), watch::channel(false));
        let served = tokio::spawn(async move {
            let socket = serve(server, FROM, site, stopping).await;
            drop(stop);
            socket.map(|socket| socket.is_some())
        });
        (client, served)
    }

    async fn answer_to(request: &str) -> String {
        // What is kept for another request ends soon.
        let (mut client, served) = visit(&bounded(Bounds { head: 4 * SOON, ..PATIENT }), 64 * 1024);
        client.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        drop(served.await);
        answer
    }

    #[tokio::test]
    async fn a_head_may_come_one_octet_at_a_time() {
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "200"),
            ("\r\nGET / HTTP/1.1\nHost: h\nConnection: close\n\n", "200"),
            ("\r\n\r\n\0", "400"),
        ] {
            let (mut client, served) = visit(&site(), 1);
            client.write_all(request.as_bytes()).await.expect("written");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("read");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
            assert!(!served.await.expect("ended").unwrap_or(false));
        }
    }

    #[tokio::test]
    async fn wph_10_what_is_no_request_is_refused() {
        let upgrade = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let cases = [
            (format!("GET /dsip HTTP/1.1\r\n{upgrade}"), "101"),
            // WPH-50
            (format!("GET /dsip HTTP/1.1\r\nOrigin: https://anything.example\r\n{upgrade}"), "101"),
            (format!("GET /elsewhere HTTP/1.1\r\n{upgrade}"), "404"),
            (format!("POST /dsip HTTP/1.1\r\n{upgrade}"), "426"),
            ("GET /dsip HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "426"),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "200"),
            ("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "200"),
            ("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".to_owned(), "405"),
            ("POST / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "411"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n12345678901".to_owned(), "413"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n1234567890".to_owned(), "200"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n".to_owned(), "400"),
            ("GET / HTTP/3.9\r\nHost: h\r\n\r\n".to_owned(), "400"),
            ("\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), "400"),
            (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(LARGEST_HEAD)), "431"),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MOST_HEADERS + 1)), "431"),
        ];
        for (request, status) in cases {
            let answer = answer_to(&request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.40}: {answer}");
        }
    }

    #[tokio::test]
    async fn wph_51_a_websocket_has_no_compression_and_no_subprotocol() {
        let answer = answer_to(
            "GET /dsip HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let answer = answer.await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101") && answer.contains("sec-websocket-accept"), "{answer}");
        assert!(!answer.contains("-extensions") && !answer.contains("-protocol"), "{answer}");
    }

    #[tokio::test]
    async fn wph_10_requests_follow_each_other_and_are_counted() {
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let answer = answer_to(&get.repeat(3)).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
        let answer = answer_to(&get.repeat(PATIENT.requests + 1)).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), PATIENT.requests);
        assert_eq!(answer.to_ascii_lowercase().matches("connection: close").count(), 1);
    }

    #[tokio::test]
    async fn wph_10_visitors_are_counted_and_websockets_are_not_visitors() {
        let site = site();
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut held = Vec::new();
        for status in ["200", "200", "503"] {
            let (mut client, served) = visit(&site, 64 * 1024);
            client.write_all(get.as_bytes()).await.expect("written");
            let mut answer = [0; 12];
            client.read_exact(&mut answer).await.expect("answered");
            assert_eq!(&answer, format!("HTTP/1.1 {status}").as_bytes());
            held.push((client, served));
        }
        let (mut client, served) = visit(&site, 64 * 1024);
        let upgrade = "GET /dsip HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(upgrade.as_bytes()).await.expect("written");
        assert!(served.await.expect("ended").expect("upgraded"), "calls are not concerned");
        // The third is refused and gone; when the first leaves, there is room.
        for (client, served) in held.drain(..) {
            drop(client);
            drop(served.await);
        }
        let (mut client, _) = visit(&site, 64 * 1024);
        client.write_all(get.as_bytes()).await.expect("written");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.expect("answered");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn wph_10_the_slow_and_the_idle_are_ended() {
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let (head, body) = (Bounds { head: SOON, ..PATIENT }, Bounds { body: SOON, head: SOON, ..PATIENT });
        let life = Bounds { life: SOON, ..PATIENT };
        for (bounds, said, room, status) in [
            // Nothing, a head without an end, nothing more, a body without an end, and an answer that is not read.
            (head, "", 64, ""),
            (head, "GET / HTTP/1.1\r\nHost: h\r\nX-", 64, ""),
            (head, get, 1024, "HTTP/1.1 200"),
            (body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n123", 1024, "HTTP/1.1 408"),
            (life, get, 32, "HTTP/1.1 200"),
        ] {
            let (mut client, served) = visit(&bounded(bounds), room);
            client.write_all(said.as_bytes()).await.expect("written");
            assert!(!served.await.expect("ended").unwrap_or(false));
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("read");
            assert!(answer.starts_with(status) && answer.is_empty() == status.is_empty(), "{said:?}: {answer}");
        }
    }
}
