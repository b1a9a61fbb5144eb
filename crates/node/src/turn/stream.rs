//! TURN over TCP and TLS: connections cut into messages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dsip_endpoint::clock;
use dsip_endpoint::link::HANDSHAKE_DEADLINE;
use dsip_media::turn::Frames;
use dsip_media::turn::server::{Client, HEADROOM, Via};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{DATAGRAM, Turn, buffer};
use crate::admission::{self, Admission, Place};

/// Messages that may wait for a client. More than that are late.
const QUEUE: usize = 64;

/// Names connections, of both listeners.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Accepts until the node stops; then whatever is open ends.
pub(super) async fn serve(
    turn: Arc<Turn>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    admission: Admission,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, from) = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            Some(_) = connections.join_next() => continue,
            accepted = admission::next(&listener) => accepted,
        };
        let Some(place) = admission.admit(from.ip(), clock::now().tick) else { continue };
        connections.spawn(connection(turn.clone(), tcp, from, tls.clone(), place));
    }
}

async fn connection(turn: Arc<Turn>, tcp: TcpStream, from: SocketAddr, tls: Option<TlsAcceptor>, place: Place) {
    let address = SocketAddr::new(from.ip().to_canonical(), from.port());
    let client = Client { address, via: Via::Stream(NEXT.fetch_add(1, Ordering::Relaxed)) };
    let ended = async {
        tcp.set_nodelay(true)?;
        match tls {
            None => turn.converse(client, tcp).await,
            Some(acceptor) => {
                let secured = timeout(HANDSHAKE_DEADLINE, acceptor.accept(tcp)).await??;
                turn.converse(client, secured).await
            }
        }
    };
    if let Err(error) = ended.await {
        tracing::debug!(%from, %error, "TURN connection ended");
    }
    drop(place);
}

impl Turn {
    /// Serves one connection, and ends its allocation when it ends.
    async fn converse(self: &Arc<Self>, client: Client, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let Via::Stream(name) = client.via else { return Ok(()) };
        let (queue, outgoing) = mpsc::channel(QUEUE);
        self.lock().streams.insert(name, queue);
        let ended = self.exchange(client, stream, outgoing).await;
        let mut state = self.lock();
        state.streams.remove(&name);
        let mut out = std::mem::take(&mut state.out);
        state.server.closed(client, &mut out);
        self.discard(&mut state, &mut out);
        state.out = out;
        ended
    }

    async fn exchange(
        self: &Arc<Self>,
        client: Client,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        mut outgoing: mpsc::Receiver<Vec<u8>>,
    ) -> io::Result<()> {
        let mut frames = Frames::default();
        let mut octets = vec![0; DATAGRAM];
        let mut packet = buffer();
        let mut checks = tokio::time::interval(self.idle);
        checks.reset();
        loop {
            tokio::select! {
                read = stream.read(&mut octets) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    frames.push(octets.get(..read).unwrap_or_default());
                    while let Some(frame) = frames.pop().map_err(io::Error::other)? {
                        // What is too long for a datagram is not relayed, but a request may not be that long either.
                        let data = HEADROOM..HEADROOM + frame.len();
                        let Some(room) = packet.get_mut(data.clone()) else { continue };
                        room.copy_from_slice(frame);
                        self.from_client(client, &mut packet, data);
                    }
                }
                message = outgoing.recv() => {
                    // The allocation is over, and nothing is left to say.
                    let Some(message) = message else { return Ok(()) };
                    timeout(self.idle, async {
                        stream.write_all(&message).await?;
                        while let Ok(message) = outgoing.try_recv() {
                            stream.write_all(&message).await?;
                        }
                        stream.flush().await
                    }).await??;
                }
                _ = checks.tick() => if !self.lock().server.serves(client) {
                    return Ok(());
                },
            }
        }
    }
}
