//! The listener of HTTPS, and thus of `ws/1.0`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use dsip_endpoint::clock;
use dsip_endpoint::link::{self, Deliver, HANDSHAKE_DEADLINE, Side, outbox};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;

use crate::GRACE;
use crate::admission::{self, Admission, Place};
use crate::front::Front;
use crate::http;
use crate::relay::{Input, Relay};

/// What TLS keeps of an answer that its reader does not take (WPH-10).
const UNREAD: usize = 16 * 1024;

/// Accepts until the node stops, then waits for the connections to end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    admission: Admission,
    relay: Relay,
    front: Arc<Front>,
    mut stopping: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        let (tcp, from) = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = admission::next(&listener) => accepted,
        };
        // Dropping the socket is all the answer there is room for.
        let Some(place) = admission.admit(from.ip(), clock::now().tick) else { continue };
        // Boxed, so that its room is given back before the connection's long life begins.
        let visit = Box::pin(handshake(tcp, from, acceptor.clone(), front.clone(), stopping.clone()));
        connections.spawn(connection(visit, from, relay.clone(), place));
    }
    drop(listener);
    drop(relay);
    // Who is still in a handshake after that is cut off.
    drop(timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await);
}

async fn connection(
    visit: Pin<Box<impl Future<Output = io::Result<Option<Socket>>>>>,
    from: SocketAddr,
    relay: Relay,
    place: Place,
) {
    let socket = match visit.await {
        Ok(Some(socket)) => socket,
        Ok(None) => return,
        Err(error) => return tracing::debug!(%from, %error, "handshake failed"),
    };
    let at = socket.get_ref().get_ref().0.local_addr().ok().map(|at| at.to_string());
    let conn = relay.name();
    let (outbox, outgoing) = outbox();
    if relay.inputs.send(Input::Connected { conn, from: from.ip(), at, outbox }).await.is_err() {
        return;
    }
    let deliver = Deliver::new(relay.inputs.clone(), move |heard| Some(Input::Heard { conn, heard }));
    let closed = link::ws::drive(socket, Side::Server, outgoing, deliver).await;
    tracing::debug!(conn = conn.0, %closed, "connection ended");
    // The relay has stopped if nobody takes it.
    drop(relay.inputs.send(Input::Closed { conn }).await);
    drop(place);
}

type Socket = WebSocketStream<Box<TlsStream<TcpStream>>>;

/// Until there is a WebSocket, or the connection has had its answers.
async fn handshake(
    tcp: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
    front: Arc<Front>,
    stopping: watch::Receiver<bool>,
) -> io::Result<Option<Socket>> {
    tcp.set_nodelay(true)?; // WS-9
    // Boxed, because every move from here on would leave a copy's room in the connection's task.
    let mut secured = Box::new(timeout(HANDSHAKE_DEADLINE, acceptor.accept(tcp)).await??);
    secured.get_mut().1.set_buffer_limit(Some(UNREAD));
    http::serve(secured, from.ip(), front, stopping).await
}
