//! `ws/1.0`: one envelope per text frame over WebSocket over TLS (03 §2).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink as _, Stream as _};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Bytes, Message, Utf8Bytes};

use super::{Asker, Close, Closed, Command, Deliver, Heard, MAX_FRAME, MAX_QUESTIONS, Outgoing, Owed, Side, Target};
use crate::tls::server_name;

/// An idle client pings this often (WS-20).
const PING_AFTER: Duration = Duration::from_secs(30);

/// A server that heard nothing for so long asks: scripts in browsers cannot ping, but every browser answers (WPH-53).
const ASK_AFTER: Duration = Duration::from_secs(45);

/// A side that heard nothing for so long closes (WS-20).
const SILENCE: Duration = Duration::from_secs(90);

/// How long a closing side waits for the other to read the close frame.
const LINGER: Duration = Duration::from_secs(2);

/// How much a closing side reads and throws away meanwhile.
const LINGER_BYTES: usize = 1 << 20;

/// The library's limits: it may buffer one frame of the cap and no more (WS-12), and an idle device costs little.
#[must_use]
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(WRITE_AT_ONCE)
        .max_write_buffer_size(2 * MAX_FRAME)
        .max_frame_size(Some(MAX_FRAME))
        .max_message_size(Some(MAX_FRAME))
}

/// Frames that are queued together leave in TLS records of about this size instead of one each.
const WRITE_AT_ONCE: usize = 4096;

/// What a pong says that promises nothing (CUS-3).
const ALIVE: &[u8] = b"alive";

/// TLS and the WebSocket handshake over a fresh TCP connection. The caller sets the deadline.
pub(super) async fn connect(
    target: &Target,
    tcp: TcpStream,
    tls: Arc<ClientConfig>,
) -> io::Result<WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>> {
    tcp.set_nodelay(true)?; // WS-9
    let name = server_name(target.host()).ok_or_else(|| io::Error::other("the host is no name TLS could check"))?;
    let secured = TlsConnector::from(tls).connect(name, tcp).await?;
    let request = target.url().into_client_request().map_err(io::Error::other)?;
    let (socket, _) = tokio_tungstenite::client_async_with_config(request, secured, Some(config()))
        .await
        .map_err(io::Error::other)?;
    Ok(socket)
}

/// Moves frames both ways until either side closes or the connection breaks.
pub fn drive<S, T, F>(
    socket: WebSocketStream<S>,
    side: Side,
    outgoing: Outgoing,
    deliver: Deliver<T, F>,
) -> impl Future<Output = Closed> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    T: Send,
    F: FnMut(Heard) -> Option<T> + Send,
{
    // Made outside the future: an argument and what is made of it would each have their room in there.
    let now = Instant::now();
    let wire = Wire {
        socket,
        unflushed: false,
        heard: now,
        active: now,
        pinged: now,
        questions: VecDeque::new(),
        asked: 0,
        owed: Owed::default(),
    };
    run(wire, side, outgoing, deliver)
}

async fn run<S, T, F>(mut wire: Wire<S>, side: Side, mut outgoing: Outgoing, mut deliver: Deliver<T, F>) -> Closed
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    T: Send,
    F: FnMut(Heard) -> Option<T> + Send,
{
    let mut alarm = pin!(sleep_until(wire.deadline(side)));
    loop {
        let event = poll_fn(|cx| wire.poll(cx, &mut outgoing, alarm.as_mut())).await;
        let close = match event {
            Event::Received(Message::Text(text)) => {
                match deliver.hand(&outgoing, Heard::Frame(text.as_str().to_owned())).await {
                    Ok(()) => {
                        wire.owed.handed();
                        continue;
                    }
                    Err(close) => close,
                }
            }
            Event::Received(Message::Ping(mark)) if side == Side::Client => {
                wire.show_life();
                wire.owed.asked(mark.to_vec());
                continue;
            }
            Event::Received(Message::Ping(mark)) => {
                wire.show_life();
                match deliver.hand(&outgoing, Heard::Asked(mark.to_vec())).await {
                    Ok(()) => continue,
                    Err(close) => close,
                }
            }
            Event::Received(Message::Pong(mark)) => {
                let mut refused = None;
                for number in wire.answered(&mark) {
                    refused = deliver.hand(&outgoing, Heard::Reached(number)).await.err();
                }
                match refused {
                    None => continue,
                    Some(close) => close,
                }
            }
            // WS-14
            Event::Received(Message::Binary(_)) => Close::NotText,
            Event::Received(Message::Close(frame)) => {
                let status = frame.map_or(1000, |frame| u16::from(frame.code));
                // The library has queued the answering close frame; let it out.
                drop(timeout(LINGER, wire.flush()).await);
                return Closed::There(Close::from_ws_status(status));
            }
            Event::Received(Message::Frame(_)) => continue,
            Event::Cut => return Closed::Here(Close::TooSlow),
            Event::Close(close) => close,
            Event::Alarm => {
                let now = Instant::now();
                if now >= wire.heard + SILENCE {
                    Close::Silent
                } else {
                    if now >= wire.ping_due(side) {
                        wire.ping(now);
                    }
                    alarm.as_mut().reset(wire.deadline(side));
                    continue;
                }
            }
            Event::Failed(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. })) => Close::TooLarge,
            Event::Failed(tungstenite::Error::Utf8(_)) => Close::NotText,
            Event::Failed(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return Closed::Lost("the other side vanished".into());
            }
            Event::Failed(tungstenite::Error::Protocol(_) | tungstenite::Error::Capacity(_)) => Close::Protocol,
            Event::Failed(error) => return Closed::Lost(error.to_string()),
            Event::Ended => return Closed::Lost("the other side vanished".into()),
        };
        drop(timeout(LINGER, wire.close(close)).await);
        return Closed::Here(close);
    }
}

enum Event {
    Received(Message),
    Close(Close),
    Cut,
    Alarm,
    Failed(tungstenite::Error),
    Ended,
}

struct Wire<S> {
    socket: WebSocketStream<S>,
    unflushed: bool,
    /// When something was last heard.
    heard: Instant,
    /// When something last went either way.
    active: Instant,
    /// When we last pinged to see whether the other side lives.
    pinged: Instant,
    /// What was asked and is not answered yet, by the number in the ping.
    questions: VecDeque<(u64, Asker)>,
    /// How often we asked.
    asked: u64,
    owed: Owed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Writes and reads at the same time: two sides that both only write would wait for each other for ever.
    fn poll(&mut self, cx: &mut Context<'_>, outgoing: &mut Outgoing, alarm: Pin<&mut Sleep>) -> Poll<Event> {
        if outgoing.poll_cut(cx).is_ready() {
            return Poll::Ready(Event::Cut);
        }
        loop {
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Event::Failed(error)),
                Poll::Pending => break,
            }
            if let Some(mark) = self.owed.next(&outgoing.shared) {
                self.unflushed = true;
                if let Err(error) = Pin::new(&mut self.socket).start_send(Message::Pong(mark.into())) {
                    return Poll::Ready(Event::Failed(error));
                }
                continue;
            }
            match outgoing.poll(cx) {
                Poll::Ready(Command::Send(_, text)) => {
                    outgoing.taken(text.len());
                    self.active = Instant::now();
                    self.unflushed = true;
                    if let Err(error) = Pin::new(&mut self.socket).start_send(Message::Text(Utf8Bytes::from(&*text))) {
                        return Poll::Ready(Event::Failed(error));
                    }
                }
                Poll::Ready(Command::Ask(asker)) => self.ask(asker),
                Poll::Ready(Command::Vouch(mark)) => {
                    self.unflushed = true;
                    if let Err(error) = Pin::new(&mut self.socket).start_send(Message::Pong(mark.into())) {
                        return Poll::Ready(Event::Failed(error));
                    }
                }
                Poll::Ready(Command::Close(close)) => return Poll::Ready(Event::Close(close)),
                Poll::Pending => break,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Event::Failed(error)),
                Poll::Pending => {}
            }
        }
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => {
                self.heard = Instant::now();
                self.active = self.heard;
                return Poll::Ready(Event::Received(message));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Failed(error)),
            Poll::Ready(None) => return Poll::Ready(Event::Ended),
            Poll::Pending => {}
        }
        alarm.poll(cx).map(|()| Event::Alarm)
    }

    /// When the side has to look at the clock again.
    fn deadline(&self, side: Side) -> Instant {
        (self.heard + SILENCE).min(self.ping_due(side))
    }

    /// When the side pings: a client that is idle, a server that hears nothing.
    fn ping_due(&self, side: Side) -> Instant {
        match side {
            Side::Client => self.active + PING_AFTER,
            Side::Server => self.heard.max(self.pinged) + ASK_AFTER,
        }
    }

    fn ping(&mut self, now: Instant) {
        self.active = now;
        self.pinged = now;
        self.unflushed = true;
        // A socket that cannot take a ping now is blocked, and then it is not idle.
        drop(Pin::new(&mut self.socket).start_send(Message::Ping(Bytes::new())));
    }

    /// CUS-1, CUS-10: a ping overtakes nothing, and neither does its pong.
    fn ask(&mut self, asker: Asker) {
        if self.questions.len() >= MAX_QUESTIONS {
            return; // dropping the asker tells it; a node does not ask twice before it has an answer
        }
        self.asked += 1;
        self.questions.push_back((self.asked, asker));
        self.unflushed = true;
        // If this fails, so does everything after it.
        drop(Pin::new(&mut self.socket).start_send(Message::Ping(self.asked.to_be_bytes().to_vec().into())));
    }

    /// The other side's pong: the numbers of those who wait elsewhere. Later answers stand for earlier ones (RFC 6455,
    /// 5.5.3).
    fn answered(&mut self, mark: &[u8]) -> Vec<u64> {
        let Some(upto) = mark.try_into().ok().map(u64::from_be_bytes) else { return Vec::new() };
        let mut numbers = Vec::new();
        while self.questions.front().is_some_and(|(number, _)| *number <= upto) {
            match self.questions.pop_front() {
                Some((_, Asker::Number(number))) => numbers.push(number),
                Some((_, Asker::Waiting(waiting))) => drop(waiting.send(())),
                None => {}
            }
        }
        numbers
    }

    /// CUS-3: answers a ping with a pong that nobody asked for. It shows that we live, and replaces the library's own,
    /// which would promise what is not done yet.
    fn show_life(&mut self) {
        self.unflushed = true;
        drop(Pin::new(&mut self.socket).start_send(Message::Pong(Bytes::from_static(ALIVE))));
    }

    async fn flush(&mut self) {
        drop(poll_fn(|cx| Pin::new(&mut self.socket).poll_flush(cx)).await);
    }

    /// Says why, then reads for a while: a socket closed over unread bytes is reset, and the close frame with it.
    async fn close(&mut self, why: Close) {
        let frame = CloseFrame { code: CloseCode::from(why.ws_status()), reason: Utf8Bytes::from_static(why.text()) };
        if Pin::new(&mut self.socket).start_send(Message::Close(Some(frame))).is_err() {
            return;
        }
        self.flush().await;
        let raw = self.socket.get_mut();
        drop(tokio::io::AsyncWriteExt::shutdown(raw).await);
        let (mut sink, mut discarded) = (vec![0; 4096], 0);
        while discarded < LINGER_BYTES {
            match raw.read(&mut sink).await {
                Ok(read) if read > 0 => discarded += read,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[tokio::test]
    async fn wph_53_a_server_asks_who_has_been_silent() {
        let (near, far) = tokio::io::duplex(1024);
        let socket = WebSocketStream::from_raw_socket(near, Role::Server, Some(config())).await;
        let mut browser = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        let now = Instant::now();
        let silent = now.checked_sub(ASK_AFTER).expect("the machine runs for a minute already");
        let mut wire = Wire {
            socket,
            unflushed: false,
            heard: silent,
            active: now,
            pinged: silent,
            questions: VecDeque::new(),
            asked: 0,
            owed: Owed::default(),
        };
        assert!(wire.ping_due(Side::Server) <= now);
        wire.heard = now;
        assert_eq!(wire.deadline(Side::Server), now + ASK_AFTER, "who is heard is not asked");
        (wire.heard, wire.pinged) = (silent, now);
        assert_eq!(wire.deadline(Side::Server), now + ASK_AFTER, "who was asked is given time, until SILENCE ends it");
        wire.pinged = silent;
        let (_outbox, outgoing) = super::super::outbox();
        let (heard, _hears) = tokio::sync::mpsc::channel(1);
        let driven = tokio::spawn(run(wire, Side::Server, outgoing, Deliver::new(heard, Some)));
        let asked = browser.next().await.expect("open").expect("a frame");
        assert_eq!(asked, Message::Ping(Bytes::new()));
        driven.abort();
    }
}
