//! A network without sockets: byte streams that take [`DELAY`] each way, on a clock that only moves when nobody has
//! anything left to do. What is measured on it is round trips and nothing else, the same on every machine.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{BoxFuture, Ready, ready};
use futures_util::io::{AsyncRead, AsyncWrite};
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};

/// What every byte takes from one machine to another. Bandwidth is not limited and nothing is lost.
pub(crate) const DELAY: Duration = Duration::from_millis(50);

/// The network and its clock. Clones are the same network.
#[derive(Clone, Default)]
pub(crate) struct Network {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    now: Duration,
    /// Who is to be woken when; the number tells apart what is due at one time.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    slept: u64,
    listeners: BTreeMap<Multiaddr, Arc<Mutex<Backlog>>>,
}

/// Connections that a listener has not taken yet.
#[derive(Default)]
struct Backlog {
    streams: VecDeque<Stream>,
    waker: Option<Waker>,
}

impl Network {
    pub(crate) fn now(&self) -> Duration {
        lock(&self.shared).now
    }

    /// Moves the clock to the next thing that is due: to be called when all there is to do now has been done.
    pub(crate) fn advance(&self) {
        let mut shared = lock(&self.shared);
        let Some((&(next, _), _)) = shared.sleepers.first_key_value() else { return };
        shared.now = next;
        let later = shared.sleepers.split_off(&(next + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut shared.sleepers, later);
        drop(shared);
        due.into_values().for_each(Waker::wake);
    }

    /// What a machine speaks to the others through.
    pub(crate) fn transport(&self) -> Boxed<Stream> {
        Wire { network: self.clone(), listening: Vec::new() }.boxed()
    }

    fn wake_at(&self, at: Duration, waker: Waker) {
        let mut shared = lock(&self.shared);
        shared.slept += 1;
        let number = shared.slept;
        shared.sleepers.insert((at, number), waker);
    }

    async fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        std::future::poll_fn(|cx| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            self.wake_at(until, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn pair(&self) -> (Stream, Stream) {
        let (there, back) = (Arc::default(), Arc::default());
        let far = Stream { network: self.clone(), reads: Arc::clone(&there), writes: Arc::clone(&back) };
        (Stream { network: self.clone(), reads: back, writes: there }, far)
    }
}

struct Wire {
    network: Network,
    listening: Vec<Listening>,
}

struct Listening {
    id: ListenerId,
    address: Multiaddr,
    announced: bool,
    backlog: Arc<Mutex<Backlog>>,
}

impl Transport for Wire {
    type Output = Stream;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Stream>>;
    type Dial = BoxFuture<'static, io::Result<Stream>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let backlog = Arc::<Mutex<Backlog>>::default();
        lock(&self.network.shared).listeners.insert(address.clone(), Arc::clone(&backlog));
        self.listening.push(Listening { id, address, announced: false, backlog });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let before = self.listening.len();
        self.listening.retain(|listening| listening.id != id);
        self.listening.len() < before
    }

    /// As TCP does it: one round trip until the dialer may send.
    fn dial(&mut self, mut address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        if matches!(address.iter().last(), Some(libp2p::multiaddr::Protocol::P2p(_))) {
            address.pop();
        }
        let network = self.network.clone();
        Ok(Box::pin(async move {
            network.sleep(DELAY).await;
            let backlog = lock(&network.shared).listeners.get(&address).cloned();
            let backlog = backlog.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = network.pair();
            {
                let mut backlog = lock(&backlog);
                backlog.streams.push_back(far);
                backlog.waker.take().into_iter().for_each(Waker::wake);
            }
            network.sleep(DELAY).await;
            Ok(near)
        }))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        for listening in &mut self.listening {
            let (listener_id, local_addr) = (listening.id, listening.address.clone());
            if !std::mem::replace(&mut listening.announced, true) {
                return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr: local_addr });
            }
            let mut backlog = lock(&listening.backlog);
            if let Some(stream) = backlog.streams.pop_front() {
                let upgrade = ready(Ok(stream));
                let send_back_addr = local_addr.clone();
                return Poll::Ready(TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr });
            }
            backlog.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// One end of a connection.
pub(crate) struct Stream {
    network: Network,
    reads: Arc<Mutex<Pipe>>,
    writes: Arc<Mutex<Pipe>>,
}

/// Bytes on their way in one direction, and when they are there.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<(Duration, VecDeque<u8>)>,
    /// From when on its end can be seen.
    closed: Option<Duration>,
    reader: Option<Waker>,
}

impl Stream {
    fn send(&self, bytes: Option<&[u8]>) {
        let at = self.network.now() + DELAY;
        let mut pipe = lock(&self.writes);
        match bytes {
            Some(bytes) => pipe.bytes.push_back((at, bytes.iter().copied().collect())),
            None => _ = pipe.closed.get_or_insert(at),
        }
        if let Some(reader) = pipe.reader.take() {
            self.network.wake_at(at, reader);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.reads);
        let Some(at) = pipe.bytes.front().map(|(at, _)| *at).or(pipe.closed) else {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if at > self.network.now() {
            self.network.wake_at(at, cx.waker().clone());
            return Poll::Pending;
        }
        let Some((_, bytes)) = pipe.bytes.front_mut() else { return Poll::Ready(Ok(0)) };
        let read = io::Read::read(bytes, buffer)?;
        if bytes.is_empty() {
            pipe.bytes.pop_front();
        }
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send(Some(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send(None);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.send(None);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
