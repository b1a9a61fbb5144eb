//! The domain's certificate: shown on every port, and replaced while calls go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dsip_endpoint::link::{Dialer, Link, OpenError, Target, Transport};
use dsip_endpoint::tls::{Expect, Roots, server_name};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::World;
use crate::device::{Device, hear_exactly, say};

/// Writes a certificate for `localhost` and its key, as a program that renews them does: beside, then in their place.
fn renew(home: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    for (file, text) in [("chain.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
        std::fs::write(home.join("new"), text).expect("written");
        std::fs::rename(home.join("new"), home.join(file)).expect("renamed");
    }
    std::fs::copy(home.join("chain.pem"), home.join("root.pem")).expect("copied");
}

/// Somebody who trusts the certificate that was made last, and nothing that the node makes itself.
fn roots(home: &Path) -> Roots {
    Roots::load(&[home.join("root.pem")]).expect("loaded")
}

/// A node with a certificate for its domain.
async fn world(files: &Path) -> World {
    let pair = (files.join("chain.pem"), files.join("key.pem"));
    World::with(|config| {
        config.certificate = Some(pair);
        config.domain = Some("localhost".parse().expect("a domain"));
    })
    .await
}

/// Dials by name, as those do who know nothing but the domain.
async fn by_name(world: &World, roots: Roots, transport: Transport) -> Option<Link> {
    dial(world, roots, transport).await.ok()
}

async fn dial(world: &World, roots: Roots, transport: Transport) -> Result<Link, OpenError> {
    let target: Target = world.node.ready().wss.parse().expect("a target");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, target.port()));
    Dialer::new(roots).open_over(&target, transport, address).await
}

/// Whether TURN over TLS shows it.
async fn turn_shows(world: &World, roots: Roots) -> bool {
    let url = world.node.ready().turn.iter().find(|url| url.starts_with("turns:")).expect("TURN over TLS").clone();
    let port: u16 =
        url.trim_start_matches("turns:localhost:").split('?').next().expect("a port").parse().expect("a port");
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("somebody listens");
    let mut tls = roots.ws_client(&Expect::WebPki).expect("roots").as_ref().clone();
    tls.alpn_protocols = Vec::new();
    TlsConnector::from(Arc::new(tls)).connect(server_name("localhost").expect("a name"), tcp).await.is_ok()
}

/// Waits until a handshake by name succeeds.
async fn until_trusted(world: &World, roots: &Roots) {
    let trusted = async {
        while by_name(world, roots.clone(), Transport::Ws).await.is_none() {
            // An address that connects without pause is turned away for a while.
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), trusted).await.expect("the new one is shown");
}

#[tokio::test]
async fn a_new_certificate_is_shown_on_every_port_and_open_connections_go_on() {
    let files = tempfile::tempdir().expect("a directory");
    renew(files.path());
    let first = roots(files.path());
    let world = world(files.path()).await;
    let did = world.node.ready().did.clone();
    let (alice, bob) = (Device::new(1), Device::new(2));
    let mut alices = by_name(&world, first.clone(), Transport::Ws).await.expect("opened");
    let mut bobs = by_name(&world, first.clone(), Transport::Quic).await.expect("opened");
    alice.greet(&mut alices, did.as_str()).await;
    bob.greet(&mut bobs, did.as_str()).await;
    assert!(turn_shows(&world, first.clone()).await);

    renew(files.path());
    let second = roots(files.path());
    until_trusted(&world, &second).await;
    assert!(by_name(&world, second.clone(), Transport::Quic).await.is_some());
    assert!(turn_shows(&world, second).await);
    for transport in [Transport::Ws, Transport::Quic] {
        let refused = dial(&world, first.clone(), transport).await.err();
        assert!(matches!(refused, Some(OpenError::Untrusted { .. })), "the old one is not shown any more: {refused:?}");
    }
    // Whoever knows the node's key is not concerned.
    world.bind(&Device::new(3), Transport::Quic).await;

    let invite = alice.invite(&bob.did);
    say(&alices, &invite);
    hear_exactly(&mut bobs, &invite).await;
    let ringing = bob.ringing(&alice.did, invite.id);
    say(&bobs, &ringing);
    hear_exactly(&mut alices, &ringing).await;
}

#[tokio::test]
async fn a_renewal_that_went_wrong_can_be_put_right() {
    let files = tempfile::tempdir().expect("a directory");
    renew(files.path());
    let good = roots(files.path());
    let world = world(files.path()).await;
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n", "nothing"] {
        std::fs::write(files.path().join("chain.pem"), broken).expect("written");
        assert!(by_name(&world, good.clone(), Transport::Ws).await.is_some(), "{broken:?}");
    }
    std::fs::remove_file(files.path().join("key.pem")).expect("removed");
    assert!(by_name(&world, good, Transport::Ws).await.is_some());
    renew(files.path());
    until_trusted(&world, &roots(files.path())).await;
}
