//! What an HTTP client sees: the WebSocket endpoint at `/dsip`, and pages of text.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
pub(crate) use tokio_tungstenite::tungstenite::handshake::server::Request;
use tokio_tungstenite::tungstenite::handshake::server::{create_response, write_response};
use tokio_tungstenite::tungstenite::http;
use tokio_tungstenite::tungstenite::protocol::Role;

use dsip_endpoint::link::ws;

/// The path of the signaling endpoint.
pub(crate) const PATH: &str = "/dsip";

/// A request head may be so long; a browser's, cookies of other ports of this host included, fits.
const LARGEST_HEAD: usize = 16 * 1024;

/// Header lines of one request.
const MOST_HEADERS: usize = 64;

/// Kinds of text.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(crate) const DID: &str = "application/did+json";
pub(crate) const JRD: &str = "application/jrd+json";
pub(crate) const JSON: &str = "application/json";

const OK: &str = "200 OK";
const DONE: &str = "204 No Content";
const UNCHANGED: &str = "304 Not Modified";
pub(crate) const BAD_REQUEST: &str = "400 Bad Request";
pub(crate) const CONFLICT: &str = "409 Conflict";
pub(crate) const UNAVAILABLE: &str = "503 Service Unavailable";

/// What a request may bring; nothing here takes more.
const LARGEST_BODY: usize = 8 * 1024;

/// What becomes of what a request brings. It may block.
pub(crate) type Work = Box<dyn FnOnce(String) -> Page + Send>;

/// What is answered.
pub(crate) struct Page {
    status: &'static str,
    kind: &'static str,
    pub(crate) body: String,
    /// Lines of the head that only this page has.
    headers: String,
}

impl Page {
    pub(crate) fn ok(kind: &'static str, body: String) -> Self {
        Self { status: OK, kind, body, headers: String::new() }
    }

    /// A line of text that is not what was asked for.
    pub(crate) fn status(status: &'static str, says: &str) -> Self {
        Self { status, ..Self::ok(TEXT, says.to_owned()) }
    }

    pub(crate) fn nothing() -> Self {
        Self::status("404 Not Found", "Nothing here.\n")
    }

    /// Who asks has it already.
    pub(crate) fn unchanged() -> Self {
        Self::status(UNCHANGED, "")
    }

    /// It is done, and there is nothing to say.
    pub(crate) fn done() -> Self {
        Self::status(DONE, "")
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.status == OK
    }

    /// The same with one more line in its head; `value` is ours.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        for part in [name, ": ", value, "\r\n"] {
            self.headers.push_str(part);
        }
        self
    }
}

/// Reads one request. A WebSocket upgrade of the endpoint gives the socket; any other request its answer, and nothing
/// more to do. The caller sets the deadline.
pub(crate) async fn accept<S>(
    mut stream: S,
    page: impl FnOnce(&Request) -> Option<Page>,
    post: impl FnOnce(&Request) -> Option<Work>,
) -> io::Result<Option<WebSocketStream<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some((request, rest)) = read(&mut stream).await? else { return Ok(None) };
    match (request.uri().path(), create_response(&request)) {
        (PATH, Ok(response)) => {
            let mut head = Vec::new();
            write_response(&mut head, &response).map_err(io::Error::other)?;
            stream.write_all(&head).await?;
            stream.flush().await?;
            Ok(Some(WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(ws::config())).await))
        }
        (PATH, Err(_)) => {
            let says = "This path speaks WebSocket.\n";
            say(&mut stream, "426 Upgrade Required", TEXT, "Upgrade: websocket\r\n", says).await.map(|()| None)
        }
        _ if request.method() == http::Method::POST => match post(&request) {
            Some(work) => take(&mut stream, &request, rest, work).await.map(|()| None),
            None => show(&mut stream, &request, page).await.map(|()| None),
        },
        _ => show(&mut stream, &request, page).await.map(|()| None),
    }
}

/// Reads one request and answers it with a page. The caller sets the deadline.
pub(crate) async fn answer<S>(mut stream: S, page: impl FnOnce(&Request) -> Option<Page>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some((request, _)) = read(&mut stream).await? else { return Ok(()) };
    show(&mut stream, &request, page).await
}

/// One request, and what came after its head; nothing if it had to be refused.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<Option<(Request, Vec<u8>)>> {
    let mut head = Vec::with_capacity(1024);
    let mut searched: usize = 0;
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A head is parsed once, however many pieces it comes in.
        if !has_blank_line(head.get(searched.saturating_sub(2)..).unwrap_or_default()) {
            if head.len() >= LARGEST_HEAD {
                say(stream, "431 Request Header Fields Too Large", TEXT, "", "too long\n").await?;
                return Ok(None);
            }
            searched = head.len();
            continue;
        }
        match parse(&head) {
            Ok((request, length)) => return Ok(Some((request, head.split_off(length)))),
            Err(BadRequest) => {
                say(stream, "400 Bad Request", TEXT, "", "not HTTP/1.1\n").await?;
                return Ok(None);
            }
        }
    }
}

async fn show<S: AsyncWrite + Unpin>(
    stream: &mut S,
    request: &Request,
    page: impl FnOnce(&Request) -> Option<Page>,
) -> io::Result<()> {
    let head_only = request.method() == http::Method::HEAD;
    if request.method() != http::Method::GET && !head_only {
        return say(stream, "405 Method Not Allowed", TEXT, "Allow: GET, HEAD\r\n", "Only GET.\n").await;
    }
    let page = page(request).unwrap_or_else(Page::nothing);
    if head_only {
        // RFC 9110, 9.3.2: what GET would say, without saying it.
        let head = head(page.status, page.kind, page.body.len(), &page.headers);
        stream.write_all(head.as_bytes()).await?;
        return stream.shutdown().await;
    }
    say(stream, page.status, page.kind, &page.headers, &page.body).await
}

/// Reads what the request brings, and answers with what becomes of it.
async fn take<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &Request,
    mut body: Vec<u8>,
    work: Work,
) -> io::Result<()> {
    let length = request.headers().get(http::header::CONTENT_LENGTH);
    let Some(length) = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok()) else {
        return say(stream, "411 Length Required", TEXT, "", "How long?\n").await;
    };
    if length > LARGEST_BODY {
        return say(stream, "413 Content Too Large", TEXT, "", "too long\n").await;
    }
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    body.truncate(length);
    let page = match String::from_utf8(body) {
        Ok(text) => tokio::task::spawn_blocking(move || work(text)).await.map_err(io::Error::other)?,
        Err(_) => Page::status(BAD_REQUEST, "not text\n"),
    };
    say(stream, page.status, page.kind, &page.headers, &page.body).await
}

async fn say<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: &str,
    kind: &str,
    header: &str,
    body: &str,
) -> io::Result<()> {
    let head = head(status, kind, body.len(), header);
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}

/// The head of an answer whose body has this length.
fn head(status: &str, kind: &str, length: usize, header: &str) -> String {
    // RFC 9110, 8.6: nothing has no length, and what is not sent again has the length it had.
    let length = if matches!(status, UNCHANGED | DONE) {
        String::new()
    } else {
        format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n")
    };
    format!("HTTP/1.1 {status}\r\n{length}{header}Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n")
}

struct BadRequest;

/// Whether a head ends here.
fn has_blank_line(part: &[u8]) -> bool {
    part.windows(2).any(|ends| ends == b"\n\n") || part.windows(3).any(|ends| ends == b"\n\r\n")
}

/// The request and the length of its head, which is complete.
fn parse(head: &[u8]) -> Result<(Request, usize), BadRequest> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(head).map_err(|_| BadRequest)? else {
        return Err(BadRequest);
    };
    let version = if parsed.version == Some(1) { http::Version::HTTP_11 } else { http::Version::HTTP_10 };
    let mut request = http::Request::builder()
        .method(parsed.method.unwrap_or_default())
        .uri(parsed.path.unwrap_or_default())
        .version(version);
    for header in parsed.headers {
        request = request.header(header.name, header.value);
    }
    request.body(()).map(|request| (request, length)).map_err(|_| BadRequest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(request: &Request) -> Option<Page> {
        (request.uri().path() == "/").then(|| Page::ok(TEXT, "a node\n".to_owned()))
    }

    async fn answer_to(request: &str) -> String {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        client.write_all(request.as_bytes()).await.expect("written");
        let accepted =
            tokio::spawn(async move { accept(server, front, |_| None).await.map(|socket| socket.is_some()) });
        client.shutdown().await.expect("half closed");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        drop(accepted.await);
        answer
    }

    #[tokio::test]
    async fn a_head_may_come_one_octet_at_a_time() {
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "200"),
            ("\r\nGET / HTTP/1.1\nHost: h\n\n", "200"),
            ("\r\n\r\n", "400"),
        ] {
            let (mut client, server) = tokio::io::duplex(1);
            let accepted =
                tokio::spawn(async move { accept(server, front, |_| None).await.map(|socket| socket.is_some()) });
            client.write_all(request.as_bytes()).await.expect("written");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("read");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
            assert!(!accepted.await.expect("ended").expect("answered"));
        }
    }

    #[tokio::test]
    async fn head_is_answered_as_get_is_without_the_body() {
        let get = answer_to("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let head = answer_to("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(format!("{head}a node\n"), get);
        assert!(answer_to("HEAD /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn only_the_endpoint_upgrades() {
        let upgrade = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let cases = [
            (format!("GET /dsip HTTP/1.1\r\n{upgrade}"), "101"),
            (format!("GET /elsewhere HTTP/1.1\r\n{upgrade}"), "404"),
            ("GET /dsip HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "426"),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "200"),
            ("POST / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "405"),
            ("\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), "400"),
            (format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(LARGEST_HEAD)), "431"),
        ];
        for (request, status) in cases {
            let answer = answer_to(&request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.40}: {answer}");
        }
    }
}
