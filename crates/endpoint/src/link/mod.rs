//! Links: what lies between a signed envelope and the wire, at both ends.
//!
//! A link carries whole envelopes, in order, over one connection, and knows nothing of what is in them (BND-8). Two
//! bindings exist: `ws/1.0` in [`ws`] and `quic/1.0` in [`quic`]; [`Dialer`] races them. The rules above say which
//! session a frame belongs to by naming its [`Stream`]; nothing here parses a message.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dsip_endpoint::link::{Dialer, Stream, Target};
//! use dsip_endpoint::tls::Roots;
//!
//! let dialer = Dialer::new(Roots::load::<&str>(&[])?);
//! let target: Target = "wss://node.example/dsip".parse()?;
//! let mut link = dialer.open(&target).await?;
//! link.send(Stream::Control, "a signed hello".into())?;
//! while let Ok(frame) = link.recv().await {
//!     println!("{frame}");
//! }
//! # Ok(()) }
//! ```

mod dial;
pub mod framing;
pub mod quic;
mod target;
pub mod ws;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use dsip_proto::wire::Ulid;
use futures_util::task::AtomicWaker;
use tokio::sync::{mpsc, oneshot};

pub use dial::{Dialer, OpenError};
pub use target::{Target, TargetError};

/// The largest frame of either binding, in bytes, inclusive (WS-11, QB-12).
pub const MAX_FRAME: usize = 65_536;

/// How long TLS and whatever handshake follows it may take (WS-9, QB-40).
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Frames that may wait on one link, each way.
const QUEUED_FRAMES: usize = 256;

/// How much text may wait to be sent before the other side counts as a slow reader (QB-42).
pub const QUEUED_BYTES: usize = 1 << 20;

/// Where a frame travels, so that one session never waits for another. `ws/1.0` has a single path and ignores it. Which way a
/// frame came is not told: it proves nothing (QB-27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// `hello` and everything that belongs to no session.
    Control,
    /// The session with this id.
    Session(Ulid),
}

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that dialled: it keeps the connection alive, and opens the control stream over QUIC.
    Client,
    /// The side that listens.
    Server,
}

/// The binding a link uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `ws/1.0`
    Ws,
    /// `quic/1.0`
    Quic,
}

impl Transport {
    /// The binding's registered id.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Ws => "ws/1.0",
            Self::Quic => "quic/1.0",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// Why one side closes a link, as the other side gets to see it: a WebSocket status or a QUIC application code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// There is nothing more to say.
    Done,
    /// This side is shutting down; come back elsewhere or later.
    GoingAway,
    /// The framing is broken.
    Protocol,
    /// The frame is no text, or no envelope (WS-14).
    NotText,
    /// The frame is over the cap (WS-12).
    TooLarge,
    /// No verified `hello` in time (HEL-8).
    HelloMissing,
    /// A newer connection of the same device took over (WS-7).
    Replaced,
    /// What was sent is not being read.
    TooSlow,
    /// Too many messages that no honest peer sends.
    Abuse,
    /// No room for another connection.
    Full,
    /// Nothing heard for too long (WS-20).
    Silent,
    /// This side serves the other no more (ADM-1).
    NotServed,
}

impl Close {
    const ALL: [Self; 12] = [
        Self::Done,
        Self::GoingAway,
        Self::Protocol,
        Self::NotText,
        Self::TooLarge,
        Self::HelloMissing,
        Self::Replaced,
        Self::TooSlow,
        Self::Abuse,
        Self::Full,
        Self::Silent,
        Self::NotServed,
    ];

    /// The WebSocket close status: a registered one where it fits, else one from the private range.
    #[must_use]
    pub fn ws_status(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::NotText => 1003,
            Self::TooLarge => 1009,
            Self::Full => 1013,
            Self::HelloMissing => 4001,
            Self::Replaced => 4002,
            Self::TooSlow => 4003,
            Self::Abuse => 4004,
            Self::Silent => 4005,
            Self::NotServed => 4006,
        }
    }

    /// The QUIC application error code (QB-50).
    #[must_use]
    pub fn quic_code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::GoingAway => 1,
            Self::Protocol => 2,
            Self::NotText => 3,
            Self::TooLarge => 4,
            Self::HelloMissing => 5,
            Self::Replaced => 6,
            Self::TooSlow => 7,
            Self::Abuse => 8,
            Self::Full => 9,
            Self::Silent => 10,
            Self::NotServed => 11,
        }
    }

    /// What a WebSocket status says; a status that says nothing to us means the peer was done.
    #[must_use]
    pub fn from_ws_status(status: u16) -> Self {
        // 1007 is what a WebSocket library says by itself when a text frame is not UTF-8.
        let status = if status == 1007 { 1003 } else { status };
        Self::ALL.into_iter().find(|close| close.ws_status() == status).unwrap_or(Self::Done)
    }

    /// What a QUIC application code says.
    #[must_use]
    pub fn from_quic_code(code: u64) -> Self {
        Self::ALL.into_iter().find(|close| u64::from(close.quic_code()) == code).unwrap_or(Self::Done)
    }

    /// One line for people and for the close frame.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::GoingAway => "going away",
            Self::Protocol => "broken framing",
            Self::NotText => "not a text frame with one envelope",
            Self::TooLarge => "frame over 65536 bytes",
            Self::HelloMissing => "no verified hello in time",
            Self::Replaced => "replaced by a newer connection of this device",
            Self::TooSlow => "reading too slowly",
            Self::Abuse => "too many unacceptable messages",
            Self::Full => "no room for another connection",
            Self::Silent => "nothing heard for too long",
            Self::NotServed => "this node does not serve you",
        }
    }
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// We closed it.
    #[error("closed: {}", .0.text())]
    Here(Close),
    /// The other side closed it.
    #[error("closed by the other side: {}", .0.text())]
    There(Close),
    /// Frames were sent as 0-RTT, but the node never answered: QUIC does not reach it any more (QB-33).
    #[error("the node did not answer over QUIC")]
    Unanswered,
    /// The connection broke; the text is for people.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// A frame could not be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// So much is waiting already that the other side must have stopped reading.
    #[error("too much is waiting to be sent on this link")]
    Full,
    /// The link has ended.
    #[error("the link has ended")]
    Closed,
    /// No binding carries a frame of this size (WS-11).
    #[error("a frame may have at most 65536 bytes")]
    TooLarge,
}

/// An open connection to a node. Dropping it, or both halves, closes the connection.
#[derive(Debug)]
pub struct Link {
    /// Dropped first: what it handed out was dealt with, and the node may still learn that.
    inbox: Inbox,
    outbox: Outbox,
    transport: Transport,
    remote: SocketAddr,
    early: bool,
}

impl Link {
    /// Queues one frame. It is sent in order with the others of its stream.
    pub fn send(&self, stream: Stream, frame: Arc<str>) -> Result<(), SendError> {
        self.outbox.send(stream, frame)
    }

    /// The next frame, or how the link ended.
    pub async fn recv(&mut self) -> Result<String, Closed> {
        self.inbox.recv().await
    }

    /// Waits until the other side has taken over everything sent so far; see [`Outbox::kept`].
    pub async fn kept(&self) -> Result<(), SendError> {
        self.outbox.kept().await
    }

    /// Sends what is queued, then closes.
    pub fn close(&self, why: Close) {
        self.outbox.close(why);
    }

    /// The binding in use.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The address the node answered from.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the link was handed out before the node answered, so that the first frames travel as 0-RTT (QB-30).
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.early
    }

    /// Both directions apart, for two tasks.
    #[must_use]
    pub fn split(self) -> (Outbox, Inbox) {
        (self.outbox, self.inbox)
    }
}

/// The receiving half of a link.
#[derive(Debug)]
pub struct Inbox {
    frames: mpsc::Receiver<Result<String, Closed>>,
    /// Frames handed out.
    count: u64,
    shared: Arc<Shared>,
    ended: Option<Closed>,
}

impl Inbox {
    /// The next frame, or how the link ended; the latter as often as it is asked for.
    ///
    /// Who asks for the next has dealt with the last: the node may then learn that it need not keep it (CUS-11). What must
    /// not be lost is to be put away before.
    pub async fn recv(&mut self) -> Result<String, Closed> {
        self.shared.took(self.count);
        if let Some(closed) = &self.ended {
            return Err(closed.clone());
        }
        let received = self.frames.recv().await.unwrap_or(Err(Closed::Here(Close::Done)));
        self.ended = received.as_ref().err().cloned();
        self.count += 1;
        received
    }

    /// How many of the frames handed out came before a question of the other side that was answered since, and are thus
    /// this side's own (CUS-12) as soon as the answer has arrived. What is sent on [`Stream::Control`] from now on arrives
    /// after it. Over `quic/1.0`, where a question may be put on several streams, the count includes the first part of one.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.took(self.count);
    }
}

/// The sending half of a connection, at either end. Cheap to clone; when the last clone goes, the connection closes.
#[derive(Debug, Clone)]
pub struct Outbox {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What a connection's driver takes from its [`Outbox`].
#[derive(Debug)]
pub struct Outgoing {
    commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Command {
    Send(Stream, Arc<str>),
    /// Ask the other side to say when it has all of the above.
    Ask(Asker),
    /// Say that we have everything up to the other side's question.
    Vouch(Mark),
    Close(Close),
}

/// What a side that asks wrote into its question, to find it again in the answer: at most 125 octets.
pub type Mark = Vec<u8>;

/// Who wants to know that the other side has everything.
#[derive(Debug)]
enum Asker {
    /// A node: it is told the number with [`Heard::Reached`].
    Number(u64),
    /// [`Outbox::kept`].
    Waiting(oneshot::Sender<()>),
}

/// What a connection's driver hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A frame.
    Frame(String),
    /// The other side asks to be told when everything before this is in safe hands; answer with [`Outbox::vouch`]. Only
    /// listening sides hear it: a [`Link`] answers by itself.
    Asked(Mark),
    /// The other side has everything that was sent before [`Outbox::ask`] was given this number.
    Reached(u64),
}

impl Heard {
    /// The frame, for those who want nothing else.
    #[must_use]
    pub fn frame(self) -> Option<String> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::Asked(_) | Self::Reached(_) => None,
        }
    }
}

/// Questions that may be open on one connection.
const MAX_QUESTIONS: usize = 64;

#[derive(Debug, Default)]
struct Shared {
    /// Text queued and not yet handed to the transport.
    bytes: AtomicUsize,
    cut: AtomicBool,
    driver: AtomicWaker,
    /// Frames that the reader of the other direction has dealt with, where that is a [`Link`]'s.
    taken: AtomicU64,
    /// Whether the driver waits for that.
    owes: AtomicBool,
    /// Frames up to the last question that was answered.
    acknowledged: AtomicU64,
}

impl Shared {
    fn took(&self, count: u64) {
        self.taken.store(count, Ordering::SeqCst);
        if self.owes.load(Ordering::SeqCst) {
            self.driver.wake();
        }
    }
}

/// The other side's questions that a device has not answered yet: it answers when its program has dealt with everything that
/// came before (CUS-11).
#[derive(Debug, Default)]
struct Owed {
    frames: u64,
    marks: VecDeque<(u64, Mark)>,
}

impl Owed {
    /// A frame was handed to the program.
    fn handed(&mut self) {
        self.frames += 1;
    }

    /// Whoever asks and does not listen need not be answered.
    fn asked(&mut self, mark: Mark) {
        if self.marks.len() >= MAX_QUESTIONS {
            self.marks.pop_front();
        }
        self.marks.push_back((self.frames, mark));
    }

    /// The next question that can be answered. Registers for the next occasion through [`Outgoing::poll_cut`], which every
    /// driver polls first.
    fn next(&mut self, shared: &Shared) -> Option<Mark> {
        let (frames, _) = self.marks.front()?;
        shared.owes.store(true, Ordering::SeqCst);
        if shared.taken.load(Ordering::SeqCst) < *frames {
            return None;
        }
        let (frames, mark) = self.marks.pop_front()?;
        shared.acknowledged.store(frames, Ordering::SeqCst);
        shared.owes.store(!self.marks.is_empty(), Ordering::SeqCst);
        Some(mark)
    }
}

/// A bounded queue for one connection: where to put frames, and where its driver takes them from.
#[must_use]
pub fn outbox() -> (Outbox, Outgoing) {
    let (sender, receiver) = mpsc::channel(QUEUED_FRAMES);
    let shared = Arc::new(Shared::default());
    (Outbox { commands: sender, shared: shared.clone() }, Outgoing { commands: receiver, shared })
}

impl Outbox {
    /// Queues one frame.
    pub fn send(&self, stream: Stream, frame: Arc<str>) -> Result<(), SendError> {
        let size = frame.len();
        if size > MAX_FRAME {
            return Err(SendError::TooLarge);
        }
        if self.shared.bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size) > QUEUED_BYTES {
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
            return Err(SendError::Full);
        }
        self.commands.try_send(Command::Send(stream, frame)).map_err(|refused| {
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Closed,
            }
        })
    }

    /// Asks the other side to say when it has everything sent so far (CUS-10); the driver then hears `number` again. False
    /// if there is no room to ask now.
    pub fn ask(&self, number: u64) -> bool {
        self.commands.try_send(Command::Ask(Asker::Number(number))).is_ok()
    }

    /// Answers the other side's question (CUS-1).
    pub fn vouch(&self, mark: Mark) {
        if self.commands.try_send(Command::Vouch(mark)).is_err() {
            // Who leaves 256 frames unread is about to be cut off, and whoever asked asks again on the next connection.
            self.cut();
        }
    }

    /// Waits until the other side has taken over everything sent so far, as far as it promises anything at all: our nodes
    /// have then stored it, handed it over or refused it (CUS-1). Many may wait at once.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the link ends first: what was not taken over may be lost. [`SendError::Full`] as with
    /// [`send`](Self::send).
    pub async fn kept(&self) -> Result<(), SendError> {
        let (sender, reached) = oneshot::channel();
        self.commands.try_send(Command::Ask(Asker::Waiting(sender))).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })?;
        reached.await.map_err(|_| SendError::Closed)
    }

    /// Sends what is queued, then closes. If the queue is full, nobody is reading it, and it is given up.
    pub fn close(&self, why: Close) {
        if self.commands.try_send(Command::Close(why)).is_err() {
            self.cut();
        }
    }

    /// Ends the connection at once, as one does with a slow reader.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::Release);
        self.shared.driver.wake();
    }

    /// Whether the driver is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }
}

impl Outgoing {
    /// The next command; ready with a close when every [`Outbox`] is gone or the connection was cut.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Command> {
        match self.commands.poll_recv(cx) {
            Poll::Ready(Some(command)) => Poll::Ready(command),
            Poll::Ready(None) => Poll::Ready(Command::Close(Close::Done)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Ready once the connection was cut.
    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.driver.register(cx.waker());
        if self.shared.cut.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    async fn cut(&self) {
        poll_fn(|cx| self.poll_cut(cx)).await;
    }

    /// The transport took `size` bytes of text.
    fn taken(&self, size: usize) {
        self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// Where a connection's driver puts what it hears: a shared or a private channel, each thing wrapped so that its reader
/// knows whose it is, or left out. A full channel holds the driver back, and through it the peer.
#[derive(Debug, Clone)]
pub struct Deliver<T, F> {
    to: mpsc::Sender<T>,
    wrap: F,
}

impl<T: Send, F: FnMut(Heard) -> Option<T> + Send> Deliver<T, F> {
    /// What is heard goes to `to`, wrapped by `wrap`.
    pub fn new(to: mpsc::Sender<T>, wrap: F) -> Self {
        Self { to, wrap }
    }

    /// Waits for room and hands over one thing; an error means that nobody reads any more, or that we were cut.
    async fn hand(&mut self, outgoing: &Outgoing, heard: Heard) -> Result<(), Close> {
        let Some(wrapped) = (self.wrap)(heard) else { return Ok(()) };
        tokio::select! {
            biased;
            sent = self.to.send(wrapped) => sent.map_err(|_| Close::Done),
            () = outgoing.cut() => Err(Close::TooSlow),
        }
    }
}

/// A link whose driver is `run`, given its ends of the two queues.
fn spawn<R, D>(transport: Transport, remote: SocketAddr, early: bool, run: R) -> Link
where
    R: FnOnce(Outgoing, Deliver<Result<String, Closed>, fn(Heard) -> Option<Result<String, Closed>>>) -> D,
    D: Future<Output = Closed> + Send + 'static,
{
    let (outbox, outgoing) = outbox();
    let (sender, frames) = mpsc::channel(QUEUED_FRAMES);
    let shared = outgoing.shared.clone();
    let driver = run(outgoing, Deliver::new(sender.clone(), |heard| Heard::frame(heard).map(Ok)));
    tokio::spawn(async move {
        let closed = driver.await;
        // Whoever dropped the link does not wait for its end.
        drop(sender.send(Err(closed)).await);
    });
    Link { outbox, inbox: Inbox { frames, count: 0, shared, ended: None }, transport, remote, early }
}

#[cfg(test)]
mod loopback;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_reason_survives_either_wire() {
        for close in Close::ALL {
            assert_eq!(Close::from_ws_status(close.ws_status()), close);
            assert_eq!(Close::from_quic_code(u64::from(close.quic_code())), close);
        }
        assert_eq!(Close::from_ws_status(1007), Close::NotText);
    }

    #[test]
    fn ws_11_the_cap_is_inclusive() {
        let (outbox, _outgoing) = outbox();
        assert_eq!(outbox.send(Stream::Control, "x".repeat(MAX_FRAME).into()), Ok(()));
        assert_eq!(outbox.send(Stream::Control, "x".repeat(MAX_FRAME + 1).into()), Err(SendError::TooLarge));
    }

    #[test]
    fn a_queue_nobody_reads_is_bounded_in_bytes_and_frames() {
        let (large, _outgoing) = outbox();
        let frame: Arc<str> = "x".repeat(MAX_FRAME).into();
        let taken = (0..).take_while(|_| large.send(Stream::Control, frame.clone()).is_ok()).count();
        assert_eq!(taken, QUEUED_BYTES / MAX_FRAME);
        let (small, _outgoing) = outbox();
        let taken = (0..).take_while(|_| small.send(Stream::Control, "x".into()).is_ok()).count();
        assert_eq!(taken, QUEUED_FRAMES);
    }
}
