//! The listener of `ws/1.0`.

use std::io;
use std::net::SocketAddr;
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
use crate::http;
use crate::metrics::{self, Health};
use crate::names::Names;
use crate::relay::{Input, Relay};

/// What is said to those who come with a browser.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) about: Arc<str>,
    pub(crate) health: Health,
    pub(crate) names: Option<Arc<Names>>,
}

impl Front {
    fn page(&self, request: &http::Request) -> Option<http::Page> {
        match request.uri().path() {
            "/" => Some(http::Page::ok(http::TEXT, self.about.to_string())),
            path => metrics::health(path, &self.health).or_else(|| self.names.as_ref()?.page(request)),
        }
    }
}

/// Accepts until the node stops, then waits for the connections to end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    admission: Admission,
    relay: Relay,
    front: Front,
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
        connections.spawn(connection(tcp, from, acceptor.clone(), relay.clone(), front.clone(), place));
    }
    drop(listener);
    drop(relay);
    // Who is still in a handshake after that is cut off.
    drop(timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await);
}

async fn connection(tcp: TcpStream, from: SocketAddr, acceptor: TlsAcceptor, relay: Relay, front: Front, place: Place) {
    let at = tcp.local_addr().ok().map(|at| at.to_string());
    // Boxed, so that its room is given back before the connection's long life begins.
    let handshake = Box::pin(timeout(HANDSHAKE_DEADLINE, handshake(tcp, acceptor, front)));
    let socket = match handshake.await {
        Ok(Ok(Some(socket))) => socket,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return tracing::debug!(%from, %error, "handshake failed"),
        Err(_) => return tracing::debug!(%from, "handshake took too long"),
    };
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

async fn handshake(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    front: Front,
) -> io::Result<Option<WebSocketStream<Box<TlsStream<TcpStream>>>>> {
    tcp.set_nodelay(true)?; // WS-9
    // Boxed, because every move from here on would leave a copy's room in the connection's task.
    let secured = Box::new(acceptor.accept(tcp).await?);
    let post = |request: &http::Request| front.names.as_ref()?.post(request);
    http::accept(secured, |request| front.page(request), post).await
}
