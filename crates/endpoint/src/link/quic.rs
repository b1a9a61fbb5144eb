//! `quic/1.0`: envelopes over QUIC, one stream for each session. The rules (QB-n) are in `docs/spec/quic.md`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::{
    AckFrequencyConfig, Connection, ConnectionError, ReadError, RecvStream, SendStream, TransportConfig, VarInt,
    WriteError,
};
use socket2::SockRef;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::framing::{self, Broken, Frame};
use super::{Asker, Close, Closed, Command, Deliver, Heard, MAX_FRAME, MAX_QUESTIONS, Outgoing, Owed, Side, Stream};
use crate::tls::QUIC_ALPN_MARKS;

/// Session streams that one side may have open at a time (QB-22).
const MAX_STREAMS: u32 = 32;

/// Own streams kept open; below the other side's limit, so that finished ones have time to be given back (QB-23).
const OWN_STREAMS: usize = 24;

/// A session stream that carried nothing for so long is finished by the side that opened it (QB-23).
const STREAM_IDLE: Duration = Duration::from_secs(60);

/// The connection is lost when nothing was heard for so long (QB-41).
const IDLE: Duration = Duration::from_secs(45);

/// The dialling side sends a QUIC PING when it was idle for so long (QB-41).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a node may take to answer a first flight sent as 0-RTT before its links try something else (QB-33).
const EARLY_DEADLINE: Duration = Duration::from_millis(1500);

/// How long a closing side waits for its last frames to be acknowledged (QB-51).
const LINGER: Duration = Duration::from_secs(2);
/// How long we wait for the packet that closes a connection to be sent, which takes microseconds.
const GOODBYE: Duration = Duration::from_millis(200);

/// Packets that may go unacknowledged where the peer knows the acknowledgement frequency extension, until its delay of
/// 25 ms is over or one is missing. An envelope is two or three packets and mostly has an answer, on which the
/// acknowledgement travels for nothing.
const ACK_THRESHOLD: u32 = 9;

/// Octets of packets that the system may hold for one socket until we come to read them. The usual 208 KiB are a few hundred
/// packets: with that many devices on one socket a moment's delay loses some of each, and every loss costs a timeout.
const SOCKET_BUFFER: usize = 4 << 20;

/// QUIC's own settings, for either end.
#[must_use]
pub fn transport(side: Side) -> Arc<TransportConfig> {
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(ACK_THRESHOLD));
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acknowledgements))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS + 1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(2 * MAX_FRAME as u32))
        .receive_window(VarInt::from_u32(4 * MAX_FRAME as u32))
        .send_window(4 * MAX_FRAME as u64)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        // Signalling is a few packets at a time: larger ones would gain nothing and probing for them costs each device.
        .mtu_discovery_config(None)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE.as_millis() as u32).into()));
    if side == Side::Client {
        config.keep_alive_interval(Some(KEEP_ALIVE));
    }
    Arc::new(config)
}

/// Lets the system hold more packets for a UDP socket that serves many peers, as far as it permits.
pub fn enlarge<'a>(socket: impl Into<SockRef<'a>>) {
    if let Err(error) = socket.into().set_recv_buffer_size(SOCKET_BUFFER) {
        tracing::debug!(%error, "the socket's buffer stays as it is");
    }
}

/// A socket for links to any number of nodes.
pub(super) fn client_socket(any: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(any)?;
    enlarge(&socket);
    Ok(socket)
}

/// Moves frames both ways until either side closes or the connection breaks.
///
/// `early` is given by a client whose frames travel as 0-RTT until the node decides, and says how it did: should it refuse,
/// they are sent again on the connection it made instead (QB-32).
pub async fn drive<T, F>(
    connection: Connection,
    side: Side,
    early: Option<BoxFuture<'static, bool>>,
    mut outgoing: Outgoing,
    mut deliver: Deliver<T, F>,
) -> Closed
where
    T: Send,
    F: FnMut(Heard) -> Option<T> + Send,
{
    let first_alarm = if early.is_some() { EARLY_DEADLINE } else { STREAM_IDLE / 2 };
    let mut streams = Streams::new(connection.clone(), side, early);
    let mut owed = Owed::default();
    let mut accept = pin!(connection.accept_bi());
    let mut lost = pin!(connection.closed());
    let mut alarm = pin!(sleep_until(Instant::now() + first_alarm));
    loop {
        let event = poll_fn(|cx| {
            if outgoing.poll_cut(cx).is_ready() {
                return Poll::Ready(Event::Close(Close::TooSlow));
            }
            while let Some(mark) = owed.next(&outgoing.shared) {
                streams.vouch(&mark);
            }
            while let Poll::Ready(command) = outgoing.poll(cx) {
                match command {
                    Command::Send(stream, text) => streams.send(stream, text),
                    Command::Ask(asker) => streams.ask(asker),
                    Command::Vouch(mark) => streams.vouch(&mark),
                    Command::Close(close) => return Poll::Ready(Event::Close(close)),
                }
            }
            if let Poll::Ready(event) = streams.poll(cx, &outgoing) {
                return Poll::Ready(event);
            }
            if let Poll::Ready(accepted) = accept.as_mut().poll(cx) {
                accept.set(connection.accept_bi());
                if let Ok((send, recv)) = accepted {
                    return Poll::Ready(Event::Accepted(send, recv));
                }
            }
            if let Poll::Ready(error) = lost.as_mut().poll(cx) {
                return Poll::Ready(Event::Lost(error));
            }
            alarm.as_mut().poll(cx).map(|()| Event::Alarm)
        })
        .await;
        let close = match event {
            Event::Heard(Heard::Asked(mark)) if side == Side::Client => {
                owed.asked(mark);
                continue;
            }
            Event::Heard(heard) => {
                let is_frame = matches!(heard, Heard::Frame(_));
                match deliver.hand(&outgoing, heard).await {
                    Ok(()) if is_frame => {
                        owed.handed();
                        continue;
                    }
                    Ok(()) => continue,
                    Err(close) => close,
                }
            }
            Event::Accepted(send, recv) => {
                streams.accept(send, recv);
                continue;
            }
            Event::Alarm if streams.early.is_some() => {
                connection.close(VarInt::from_u32(Close::Silent.quic_code()), b"");
                return Closed::Unanswered;
            }
            Event::Alarm => {
                alarm.as_mut().reset(Instant::now() + STREAM_IDLE / 2);
                streams.finish_idle(Instant::now());
                continue;
            }
            Event::Close(close) => {
                if close != Close::TooSlow {
                    streams.drain(&outgoing).await;
                }
                close
            }
            Event::Lost(error) => return closed(error),
        };
        connection.close(VarInt::from_u32(close.quic_code()), close.text().as_bytes());
        goodbye(&connection).await;
        return Closed::Here(close);
    }
}

/// Returns when the packet that closes the connection has been sent. quinn sends it from a task of its own and tells nobody; a
/// process that ended before would be missed by its peer only after the idle time (QB-41).
async fn goodbye(connection: &Connection) {
    let until = Instant::now() + GOODBYE;
    while connection.stats().frame_tx.connection_close == 0 && Instant::now() < until {
        sleep(GOODBYE / 100).await;
    }
}

/// What the end of a QUIC connection means to a link.
#[must_use]
pub fn closed(error: ConnectionError) -> Closed {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            Closed::There(Close::from_quic_code(close.error_code.into_inner()))
        }
        ConnectionError::LocallyClosed => Closed::Here(Close::Done),
        ConnectionError::TimedOut => Closed::Lost("nothing heard for too long".into()),
        other => Closed::Lost(other.to_string()),
    }
}

enum Event {
    Heard(Heard),
    Accepted(SendStream, RecvStream),
    Close(Close),
    Alarm,
    Lost(ConnectionError),
}

/// The streams of one connection.
struct Streams {
    connection: Connection,
    side: Side,
    writers: BTreeMap<Stream, Writer>,
    writing: FuturesUnordered<BoxFuture<'static, (Stream, Wrote)>>,
    readers: Vec<Reader>,
    reading: FuturesUnordered<BoxFuture<'static, Read>>,
    /// Session streams that have to wait for another one (QB-21, QB-24).
    parked: VecDeque<(Stream, RecvStream)>,
    /// Whether a frame has arrived on the control stream (QB-21).
    greeted: bool,
    early: Option<Early>,
    readers_made: u64,
    /// Streams that carried frames since we last asked.
    unasked: BTreeSet<Stream>,
    /// What was asked and is not answered yet, in order.
    questions: VecDeque<Question>,
    /// Marks sent so far.
    marks: u64,
}

/// Somebody wants to know that the peer has everything.
struct Question {
    asker: Asker,
    /// The marks that have to come back; none before it was put.
    marks: BTreeSet<u64>,
    put: bool,
}

/// What is known while the node has not yet answered a first flight sent as 0-RTT.
struct Early {
    accepted: BoxFuture<'static, bool>,
    frames: Vec<(Stream, Arc<str>)>,
    written: usize,
}

type Piece = Frame<Arc<str>>;

/// One direction of one session, or of the control stream.
struct Writer {
    sending: Sending,
    queue: VecDeque<Piece>,
    /// Whether this side opened the stream, and so is the one to finish it first.
    ours: bool,
    /// The other side has finished it, so we do as soon as nothing is queued.
    ending: bool,
    used: Instant,
}

enum Sending {
    /// There is no stream; the next frame opens one.
    Absent,
    /// A future in `writing` has it.
    Busy,
    /// Opened when the node had decided about 0-RTT and we had yet to learn it. Nothing is on it until then.
    Opened(SendStream, RecvStream),
    Idle(SendStream),
}

enum Wrote {
    Opened(SendStream, RecvStream, usize),
    /// Opened too late to be part of a first flight; what was to be written was not.
    Late(SendStream, RecvStream, Piece),
    Frame(SendStream, usize),
    /// Finished, and all of it acknowledged.
    Retired,
    Failed(Fault),
}

struct Reader {
    id: u64,
    stream: Stream,
    /// No more will be sent on it once its end is reached, so a successor has to wait for that (QB-24).
    succeeded: bool,
    ours: bool,
}

enum Read {
    Begun(Result<Stream, Fault>, SendStream, RecvStream),
    Frame(u64, Result<Option<Frame<String>>, Fault>, RecvStream),
}

/// Why a stream is of no more use.
enum Fault {
    /// The peer broke a rule.
    Close(Close),
    /// The connection is going, or 0-RTT was refused: whoever knows more will say so.
    Gone,
}

impl Streams {
    fn new(connection: Connection, side: Side, early: Option<BoxFuture<'static, bool>>) -> Self {
        Self {
            connection,
            side,
            writers: BTreeMap::new(),
            writing: FuturesUnordered::new(),
            readers: Vec::new(),
            reading: FuturesUnordered::new(),
            parked: VecDeque::new(),
            greeted: false,
            early: early.map(|accepted| Early { accepted, frames: Vec::new(), written: 0 }),
            readers_made: 0,
            unasked: BTreeSet::new(),
            questions: VecDeque::new(),
            marks: 0,
        }
    }

    fn send(&mut self, stream: Stream, text: Arc<str>) {
        if let Some(early) = &mut self.early {
            early.frames.push((stream, text.clone()));
        }
        self.unasked.insert(stream);
        self.push(stream, Piece::Text(text));
    }

    fn push(&mut self, stream: Stream, piece: Piece) {
        let writer = self.writers.entry(stream).or_insert_with(|| Writer {
            sending: Sending::Absent,
            queue: VecDeque::new(),
            ours: true,
            ending: false,
            used: Instant::now(),
        });
        writer.queue.push_back(piece);
        self.pump(stream);
    }

    /// Whether the peer knows marks (QB-60); `None` while that is not settled.
    fn knows_marks(&self) -> Option<bool> {
        if self.early.is_some() {
            return None; // what is agreed now may not be what the node agrees to
        }
        let data = self.connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
        Some(data.protocol.as_deref() == Some(QUIC_ALPN_MARKS))
    }

    fn ask(&mut self, asker: Asker) {
        if self.questions.len() < MAX_QUESTIONS {
            self.questions.push_back(Question { asker, marks: BTreeSet::new(), put: false });
        }
    }

    /// QB-62: the echo of a mark may travel on any stream; the control stream is always there.
    fn vouch(&mut self, mark: &[u8]) {
        // A peer that asks and does not read gets no answer, and has to ask again.
        let waiting = self.writers.get(&Stream::Control).map_or(0, |writer| writer.queue.len());
        if let Ok(number) = mark.try_into()
            && waiting < MAX_QUESTIONS
        {
            self.push(Stream::Control, Piece::Echo(u64::from_be_bytes(number)));
        }
    }

    /// Puts the questions that were not put yet, and takes the answer of the first.
    fn next_answer(&mut self) -> Option<Heard> {
        while let Some(at) = self.questions.iter().position(|question| !question.put) {
            let knows_marks = self.knows_marks()?;
            // QB-63: towards a peer that knows no marks, handing over is all there is.
            for stream in std::mem::take(&mut self.unasked).into_iter().filter(|_| knows_marks) {
                self.marks += 1;
                if let Some(question) = self.questions.get_mut(at) {
                    question.marks.insert(self.marks);
                }
                self.push(stream, Piece::Mark(self.marks));
            }
            if let Some(question) = self.questions.get_mut(at) {
                question.put = true;
            }
        }
        while self.questions.front().is_some_and(|question| question.put && question.marks.is_empty()) {
            match self.questions.pop_front()?.asker {
                Asker::Number(number) => return Some(Heard::Reached(number)),
                Asker::Waiting(waiting) => drop(waiting.send(())),
            }
        }
        None
    }

    /// Starts whatever the writer of `stream` can do next.
    fn pump(&mut self, stream: Stream) {
        let undecided = self.early.is_some();
        let Some(writer) = self.writers.get_mut(&stream) else { return };
        match std::mem::replace(&mut writer.sending, Sending::Busy) {
            Sending::Busy => {}
            Sending::Absent => {
                // QB-20: only the dialling side opens the control stream; the other one waits for it.
                if stream == Stream::Control && self.side == Side::Server {
                    writer.sending = Sending::Absent;
                } else if let Some(piece) = writer.queue.pop_front() {
                    writer.ours = true;
                    writer.ending = false;
                    self.writing.push(Box::pin(open(self.connection.clone(), stream, piece, undecided)));
                } else {
                    self.writers.remove(&stream);
                }
            }
            Sending::Opened(send, recv) if undecided => writer.sending = Sending::Opened(send, recv),
            Sending::Opened(send, recv) => match writer.queue.pop_front() {
                Some(piece) => self.writing.push(Box::pin(begin(send, recv, stream, piece))),
                None => writer.sending = Sending::Opened(send, recv),
            },
            Sending::Idle(send) => match writer.queue.pop_front() {
                Some(piece) => {
                    writer.used = Instant::now();
                    self.writing.push(Box::pin(write(send, stream, piece)));
                }
                None if writer.ending => self.retire(stream, send),
                None => writer.sending = Sending::Idle(send),
            },
        }
    }

    /// Finishes our direction. A successor is opened only when all of it was acknowledged (QB-24).
    fn retire(&mut self, stream: Stream, mut send: SendStream) {
        for reader in self.readers.iter_mut().filter(|reader| reader.stream == stream && reader.ours) {
            reader.succeeded = true;
        }
        self.writing.push(Box::pin(async move {
            drop(send.finish());
            drop(send.stopped().await);
            (stream, Wrote::Retired)
        }));
    }

    /// QB-23: with many sessions open, the stream that was quiet for longest makes room.
    fn make_room(&mut self) {
        let own = |(stream, writer): &(&Stream, &Writer)| **stream != Stream::Control && writer.ours;
        // To finish a stream of a refused flight would finish the one that has its number now (QB-32).
        if self.early.is_some()
            || self.writers.len() <= OWN_STREAMS
            || self.writers.iter().filter(own).count() <= OWN_STREAMS
        {
            return;
        }
        let quietest = self
            .writers
            .iter()
            .filter(own)
            .filter(|(_, writer)| matches!(writer.sending, Sending::Idle(_)))
            .min_by_key(|(_, writer)| writer.used)
            .map(|(stream, _)| *stream);
        if let Some(stream) = quietest {
            self.finish(stream);
        }
    }

    /// QB-23: the side that opened a stream finishes it when it has been idle.
    fn finish_idle(&mut self, now: Instant) {
        let idle: Vec<Stream> = self
            .writers
            .iter()
            .filter(|(stream, writer)| **stream != Stream::Control && writer.ours && now >= writer.used + STREAM_IDLE)
            .map(|(stream, _)| *stream)
            .collect();
        for stream in idle {
            self.finish(stream);
        }
    }

    fn finish(&mut self, stream: Stream) {
        if let Some(writer) = self.writers.get_mut(&stream) {
            writer.ending = true;
            self.pump(stream);
        }
    }

    /// The peer opened a stream; its first octets say which.
    fn accept(&mut self, send: SendStream, recv: RecvStream) {
        self.reading.push(Box::pin(preamble(send, recv)));
    }

    fn begun(&mut self, stream: Stream, mut send: SendStream, recv: RecvStream) -> Result<(), Close> {
        let control = stream == Stream::Control;
        // QB-20: there is one control stream, and the dialling side opens it.
        if control && (self.side == Side::Client || self.greeted || self.readers.iter().any(|r| r.stream == stream)) {
            return Err(Close::Protocol);
        }
        let writer = self.writers.entry(stream).or_insert_with(|| Writer {
            sending: Sending::Absent,
            queue: VecDeque::new(),
            ours: false,
            ending: false,
            used: Instant::now(),
        });
        if matches!(writer.sending, Sending::Absent) {
            writer.sending = Sending::Idle(send);
            writer.ours = false;
            self.pump(stream);
        } else {
            // Both sides opened one for this session; each keeps writing on its own (QB-25).
            drop(send.finish());
        }
        let waits = !control && (!self.greeted || self.readers.iter().any(|r| r.stream == stream && r.succeeded));
        if waits {
            self.parked.push_back((stream, recv));
        } else {
            self.read(stream, recv, false);
        }
        Ok(())
    }

    fn read(&mut self, stream: Stream, recv: RecvStream, ours: bool) {
        self.readers_made += 1;
        let id = self.readers_made;
        // A stream of the peer's is only ever succeeded after it finished it.
        self.readers.push(Reader { id, stream, succeeded: !ours, ours });
        self.reading.push(Box::pin(frame(id, recv)));
    }

    /// A reader has reached its end: whoever waited for it goes on.
    fn ended(&mut self, id: u64) {
        let Some(at) = self.readers.iter().position(|reader| reader.id == id) else { return };
        let reader = self.readers.swap_remove(at);
        if let Some(writer) = self.writers.get_mut(&reader.stream)
            && !reader.ours
            && !writer.ours
        {
            writer.ending = true;
            self.pump(reader.stream);
        }
        self.unpark();
    }

    fn unpark(&mut self) {
        if !self.greeted {
            return;
        }
        for _ in 0..self.parked.len() {
            let Some((stream, recv)) = self.parked.pop_front() else { return };
            if self.readers.iter().any(|reader| reader.stream == stream && reader.succeeded) {
                self.parked.push_back((stream, recv));
            } else {
                self.read(stream, recv, false);
            }
        }
    }

    /// Moves every stream on; ready with the next frame that arrived, or with a reason to close.
    fn poll(&mut self, cx: &mut Context<'_>, outgoing: &Outgoing) -> Poll<Event> {
        self.poll_early(cx, outgoing);
        if let Some(heard) = self.next_answer() {
            return Poll::Ready(Event::Heard(heard));
        }
        loop {
            // Whatever completes may start something new in either set, so both are polled until neither moves.
            let wrote = match Pin::new(&mut self.writing).poll_next(cx) {
                Poll::Ready(Some((stream, wrote))) => {
                    if let Err(close) = self.wrote(stream, wrote, outgoing) {
                        return Poll::Ready(Event::Close(close));
                    }
                    true
                }
                Poll::Ready(None) | Poll::Pending => false,
            };
            match Pin::new(&mut self.reading).poll_next(cx) {
                Poll::Ready(Some(read)) => match self.has_read(read) {
                    Ok(Some(heard)) => return Poll::Ready(Event::Heard(heard)),
                    Ok(None) => {}
                    Err(close) => return Poll::Ready(Event::Close(close)),
                },
                Poll::Ready(None) | Poll::Pending if !wrote => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
    }

    fn wrote(&mut self, stream: Stream, wrote: Wrote, outgoing: &Outgoing) -> Result<(), Close> {
        let (sending, size) = match wrote {
            Wrote::Opened(send, recv, size) => {
                self.read(stream, recv, true);
                (Sending::Idle(send), size)
            }
            Wrote::Late(send, recv, piece) => {
                if let Some(writer) = self.writers.get_mut(&stream) {
                    writer.queue.push_front(piece);
                    writer.sending = Sending::Opened(send, recv);
                    self.pump(stream);
                }
                return Ok(());
            }
            Wrote::Frame(send, size) => (Sending::Idle(send), size),
            Wrote::Retired => (Sending::Absent, 0),
            Wrote::Failed(Fault::Close(close)) => return Err(close),
            Wrote::Failed(Fault::Gone) => return Ok(()),
        };
        match &mut self.early {
            Some(early) => early.written += size,
            None => outgoing.taken(size),
        }
        if let Some(writer) = self.writers.get_mut(&stream) {
            writer.sending = sending;
            self.pump(stream);
        }
        self.make_room();
        Ok(())
    }

    fn has_read(&mut self, read: Read) -> Result<Option<Heard>, Close> {
        match read {
            Read::Begun(Ok(stream), send, recv) => self.begun(stream, send, recv).map(|()| None),
            Read::Frame(id, Ok(Some(arrived)), recv) => {
                self.reading.push(Box::pin(frame(id, recv)));
                let stream = self.readers.iter().find(|reader| reader.id == id).map(|reader| reader.stream);
                if let Some(writer) = stream.and_then(|stream| self.writers.get_mut(&stream)) {
                    writer.used = Instant::now();
                }
                if stream == Some(Stream::Control) && !self.greeted {
                    self.greeted = true;
                    self.unpark();
                }
                match arrived {
                    Frame::Text(text) => Ok(Some(Heard::Frame(text))),
                    // QB-12, unless both sides agreed on more.
                    Frame::Mark(_) | Frame::Echo(_) if self.knows_marks() == Some(false) => Err(Close::TooLarge),
                    Frame::Mark(number) => Ok(Some(Heard::Asked(number.to_be_bytes().to_vec()))),
                    Frame::Echo(number) => {
                        for question in &mut self.questions {
                            question.marks.remove(&number);
                        }
                        Ok(self.next_answer())
                    }
                }
            }
            Read::Frame(id, Ok(None), _) => {
                self.ended(id);
                Ok(None)
            }
            Read::Begun(Err(Fault::Close(close)), ..) | Read::Frame(_, Err(Fault::Close(close)), _) => Err(close),
            Read::Begun(Err(Fault::Gone), ..) | Read::Frame(_, Err(Fault::Gone), _) => Ok(None),
        }
    }

    /// Once the node has decided about 0-RTT: forget what was kept, or send it again (QB-32).
    fn poll_early(&mut self, cx: &mut Context<'_>, outgoing: &Outgoing) {
        let Some(early) = &mut self.early else { return };
        let Poll::Ready(accepted) = early.accepted.as_mut().poll(cx) else { return };
        let Some(early) = self.early.take() else { return };
        if accepted {
            outgoing.taken(early.written);
            for stream in self.writers.keys().copied().collect::<Vec<_>>() {
                self.pump(stream);
            }
            for _ in OWN_STREAMS..self.writers.len() {
                self.make_room();
            }
            return;
        }
        let mut fresh = Self::new(self.connection.clone(), self.side, None);
        fresh.questions = std::mem::take(&mut self.questions); // none was put yet
        // What these carry first is among the frames of the flight.
        let opened = |(_, writer): &(Stream, Writer)| matches!(writer.sending, Sending::Opened(..));
        fresh.writers.extend(std::mem::take(&mut self.writers).into_iter().filter(opened));
        fresh.writers.values_mut().for_each(|writer| writer.queue.clear());
        *self = fresh;
        for (stream, text) in early.frames {
            self.send(stream, text);
        }
    }

    /// Waits until everything queued is acknowledged: closing a QUIC connection discards what is not (QB-51).
    async fn drain(&mut self, outgoing: &Outgoing) {
        let flushed = async {
            poll_fn(|cx| {
                // What arrives now has no reader any more.
                while self.poll(cx, outgoing).is_ready() {}
                let busy = |writer: &Writer| matches!(writer.sending, Sending::Busy) || !writer.queue.is_empty();
                if self.writers.values().any(busy) { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            for writer in std::mem::take(&mut self.writers).into_values() {
                if let Sending::Idle(mut send) = writer.sending {
                    drop(send.finish());
                    drop(send.stopped().await);
                }
            }
        };
        drop(timeout(LINGER, flushed).await);
    }
}

/// Opens a stream and writes what it begins with. A first flight takes no stream that is opened after the node has decided
/// about it (QB-32): quinn refuses what is written on the others, but whatever goes on this one arrives.
async fn open(connection: Connection, stream: Stream, piece: Piece, is_first_flight: bool) -> (Stream, Wrote) {
    let Ok((send, recv)) = connection.open_bi().await else { return (stream, Wrote::Failed(Fault::Gone)) };
    if is_first_flight && !recv.is_0rtt() {
        return (stream, Wrote::Late(send, recv, piece));
    }
    begin(send, recv, stream, piece).await
}

async fn begin(mut send: SendStream, recv: RecvStream, stream: Stream, piece: Piece) -> (Stream, Wrote) {
    let first = [&framing::preamble(stream)[..], &piece.octets()].concat();
    match send.write_all(&first).await {
        Ok(()) => (stream, Wrote::Opened(send, recv, size(&piece))),
        Err(error) => (stream, Wrote::Failed(error.into())),
    }
}

async fn write(mut send: SendStream, stream: Stream, piece: Piece) -> (Stream, Wrote) {
    match send.write_all(&piece.octets()).await {
        Ok(()) => (stream, Wrote::Frame(send, size(&piece))),
        Err(error) => (stream, Wrote::Failed(error.into())),
    }
}

/// What of it was counted when it was queued.
fn size(piece: &Piece) -> usize {
    match piece {
        Frame::Text(text) => text.len(),
        Frame::Mark(_) | Frame::Echo(_) => 0,
    }
}

async fn preamble(send: SendStream, mut recv: RecvStream) -> Read {
    let stream = framing::read_preamble(&mut recv).await;
    Read::Begun(stream.map_err(Fault::from), send, recv)
}

async fn frame(reader: u64, mut recv: RecvStream) -> Read {
    let frame = framing::read_frame(&mut recv).await;
    Read::Frame(reader, frame.map_err(Fault::from), recv)
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::TooLarge => Self::Close(Close::TooLarge),
            Broken::Cut => Self::Close(Close::Protocol),
            Broken::NotText => Self::Close(Close::NotText),
            Broken::Lost(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                // QB-26: what was on the stream is lost, and nobody would learn that it is.
                Some(ReadError::Reset(_)) => Self::Close(Close::Protocol),
                _ => Self::Gone,
            },
        }
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            // QB-26: nobody asks to stop a stream; to be rid of one, a side closes the connection.
            WriteError::Stopped(_) => Self::Close(Close::Protocol),
            _ => Self::Gone,
        }
    }
}
