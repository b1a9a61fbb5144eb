//! What an HTTPS client sees: the WebSocket endpoint at `/dsip`, and a word about what this is everywhere else.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::http;
use tokio_tungstenite::tungstenite::protocol::Role;

use dsip_endpoint::link::ws;

/// The path of the signaling endpoint.
pub(crate) const PATH: &str = "/dsip";

/// A request head may be so long; a browser's, cookies of other ports of this host included, fits.
const LARGEST_HEAD: usize = 16 * 1024;

/// Header lines of one request.
const MOST_HEADERS: usize = 64;

/// Reads one request. A WebSocket upgrade of the endpoint gives the socket; any other request its answer, and nothing
/// more to do. The caller sets the deadline.
pub(crate) async fn accept<S>(mut stream: S, about: &str) -> io::Result<Option<WebSocketStream<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::with_capacity(1024);
    let mut searched: usize = 0;
    let (request, rest) = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A head is parsed once, however many pieces it comes in.
        if !has_blank_line(head.get(searched.saturating_sub(2)..).unwrap_or_default()) {
            if head.len() >= LARGEST_HEAD {
                return say(stream, "431 Request Header Fields Too Large", "", "too long\n").await.map(|()| None);
            }
            searched = head.len();
            continue;
        }
        match parse(&head) {
            Ok((request, length)) => break (request, head.split_off(length)),
            Err(BadRequest) => return say(stream, "400 Bad Request", "", "not HTTP/1.1\n").await.map(|()| None),
        }
    };
    let (status, header, body) = match (request.uri().path(), create_response(&request)) {
        (PATH, Ok(response)) => {
            let mut head = Vec::new();
            write_response(&mut head, &response).map_err(io::Error::other)?;
            stream.write_all(&head).await?;
            stream.flush().await?;
            return Ok(Some(
                WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(ws::config())).await,
            ));
        }
        (PATH, Err(_)) => ("426 Upgrade Required", "Upgrade: websocket\r\n", "This path speaks WebSocket.\n"),
        _ if request.method() != http::Method::GET => ("405 Method Not Allowed", "Allow: GET\r\n", "Only GET.\n"),
        ("/", _) => ("200 OK", "", about),
        _ => ("404 Not Found", "", "Nothing here.\n"),
    };
    say(stream, status, header, body).await.map(|()| None)
}

async fn say<S: AsyncWrite + Unpin>(mut stream: S, status: &str, header: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{header}\
         Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.shutdown().await
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

    async fn answer_to(request: &str) -> String {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        client.write_all(request.as_bytes()).await.expect("written");
        let accepted = tokio::spawn(async move { accept(server, "a node\n").await.map(|socket| socket.is_some()) });
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
            let accepted = tokio::spawn(async move { accept(server, "a node\n").await.map(|socket| socket.is_some()) });
            client.write_all(request.as_bytes()).await.expect("written");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("read");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
            assert!(!accepted.await.expect("ended").expect("answered"));
        }
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
