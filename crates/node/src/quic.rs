//! The listener of `quic/1.0`.

mod socket;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use dsip_endpoint::clock;
use dsip_endpoint::link::{self, Close, Deliver, Side, outbox};
use dsip_endpoint::tls::Certificate;
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::GRACE;
use crate::admission::{Admission, Place};
use crate::relay::{Input, Relay};

/// Handshakes under way beyond which a client has to prove its address first (RFC 9000, 8.1.2).
const UNPROVEN: usize = 256;

/// First packets that may wait to be looked at, and the bytes of each one's early data that are kept meanwhile.
const MAX_INCOMING: usize = 1024;
const INCOMING_BYTES: u64 = 64 * 1024;
const ALL_INCOMING_BYTES: u64 = 8 << 20;

/// The endpoint on a bound socket, for the node with this seed.
pub(crate) fn listen(socket: UdpSocket, certificate: &Certificate, seed: &[u8; 32]) -> io::Result<Endpoint> {
    link::quic::enlarge(&socket);
    let tls = certificate.quic_server().map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(link::quic::transport(Side::Server))
        .migration(true) // QB-43
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(ALL_INCOMING_BYTES);
    let socket = Arc::new(socket::Socket::new(socket)?);
    let own = same_after_a_restart(seed);
    Endpoint::new_with_abstract_socket(own, Some(config), socket, Arc::new(TokioRuntime))
}

/// QB-45: lets this node disown the connections of a process before it that was killed. Its connection ids are known as its own
/// by one key, and answered with what another one makes of them.
fn same_after_a_restart(seed: &[u8; 32]) -> EndpointConfig {
    let root = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let reset = hmac::sign(&root, b"dsip stateless reset");
    let ids = hmac::sign(&root, b"dsip connection ids");
    let ids = ids.as_ref().first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets));
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref())));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

/// Accepts until the node stops, then waits for the connections to end.
pub(crate) async fn serve(
    endpoint: Endpoint,
    port: u16,
    admission: Admission,
    relay: Relay,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let unproven = Arc::new(());
    loop {
        let incoming = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming,
                None => break,
            },
        };
        let from = incoming.remote_address(); // QB-44: it counts for as long as the connection lasts
        if !incoming.remote_address_validated() && Arc::strong_count(&unproven) > UNPROVEN {
            // A retry cannot fail for a client that has not answered one yet.
            drop(incoming.retry());
            continue;
        }
        let Some(place) = admission.admit(from.ip(), clock::now().tick) else {
            incoming.refuse();
            continue;
        };
        connections.spawn(connection(incoming, from, port, relay.clone(), place, unproven.clone()));
    }
    drop(relay);
    // Who is still in a handshake after that is cut off.
    drop(timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await);
    endpoint.close(Close::GoingAway.quic_code().into(), Close::GoingAway.text().as_bytes());
    endpoint.wait_idle().await;
}

/// One connection, from its first packet. `unproven` is held until the client has shown that it is where it says.
async fn connection(incoming: Incoming, from: SocketAddr, port: u16, relay: Relay, place: Place, unproven: Arc<()>) {
    let at = incoming.local_ip().map(|ip| SocketAddr::new(ip, port).to_string());
    // QB-34: the device proves itself by its hello, so what came with the first flight is read at once. A handshake that
    // is never completed meets the hello's deadline.
    let (connection, handshake) = match incoming.accept().map(quinn::Connecting::into_0rtt) {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(_)) => return,
        Err(error) => return tracing::debug!(%from, %error, "handshake failed"),
    };
    let conn = relay.name();
    let (outbox, outgoing) = outbox();
    if relay.inputs.send(Input::Connected { conn, from: from.ip(), at, outbox }).await.is_err() {
        return;
    }
    let deliver = Deliver::new(relay.inputs.clone(), move |heard| Some(Input::Heard { conn, heard }));
    let proof = async {
        handshake.await;
        drop(unproven);
    };
    let (closed, ()) = tokio::join!(link::quic::drive(connection, Side::Server, None, outgoing, deliver), proof);
    tracing::debug!(conn = conn.0, %closed, "connection ended");
    // The relay has stopped if nobody takes it.
    drop(relay.inputs.send(Input::Closed { conn }).await);
    drop(place);
}
