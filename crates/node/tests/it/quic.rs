//! What only `quic/1.0` can do (docs/spec/quic.md).

use std::sync::Arc;
use std::time::Duration;

use dsip_endpoint::link::{Dialer, Stream, Transport};
use dsip_node::Limits;
use dsip_proto::wire::Ulid;
use quinn::crypto::rustls::QuicClientConfig;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::device::{Device, hear, hear_exactly, say};
use crate::{World, no_roots};

/// A QUIC client below the link, on a socket that is bound to this address.
fn client(world: &World, at: &str) -> quinn::Endpoint {
    let crypto: QuicClientConfig = no_roots().quic_client(&world.target(Transport::Quic).expect()).expect("configured");
    let mut endpoint = quinn::Endpoint::client(format!("{at}:0").parse().expect("an address")).expect("bound");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint
}

#[tokio::test]
async fn qb_27_an_envelope_on_another_stream_counts_like_any() {
    let world = World::start().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let mut callee = world.bind(&bob, Transport::Ws).await;
    let caller = world.bind(&alice, Transport::Quic).await;
    for stream in [Stream::Control, Stream::Session(Ulid::from_bits(1))] {
        let bye = alice.bye(&bob.did, Ulid::from_bits(7));
        caller.send(stream, bye.text.clone()).expect("queued");
        hear_exactly(&mut callee, &bye).await;
    }
}

#[tokio::test]
async fn qb_40_a_handshake_that_nobody_completes_is_over_after_ten_seconds() {
    let world = World::start().await;
    let node = ("127.0.0.1", world.target(Transport::Quic).port());
    // What the client sends first comes through, and nothing after it.
    let wire = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let client = client(&world, "127.0.0.1");
    let at = wire.local_addr().expect("an address");
    let connecting = client.connect(at, "localhost").expect("begun");
    let mut packet = [0; 2048];
    let (length, _) = wire.recv_from(&mut packet).await.expect("received");
    wire.send_to(&packet[..length], node).await.expect("sent");
    world.until(|counts| counts.connections == 1).await;
    // Sooner than the idle timeout of 45 s.
    let over = async {
        while world.node.counts().connections > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), over).await.expect("given up");
    drop(connecting);
}

#[tokio::test]
async fn qb_44_a_connection_counts_where_it_began() {
    let world = World::with(|config| config.limits = Limits { per_address: 1, ..Limits::default() }).await;
    let node = format!("127.0.0.1:{}", world.target(Transport::Quic).port()).parse().expect("an address");
    let (first, here, there) = (client(&world, "127.0.0.1"), client(&world, "127.0.0.1"), client(&world, "127.0.0.2"));
    let connection = first.connect(node, "localhost").expect("begun").await.expect("connected");
    let moved = std::net::UdpSocket::bind("127.0.0.2:0").expect("bound");
    first.rebind(moved).expect("moved");
    // It goes on from there.
    let device = Device::new(1);
    let hello = device.hello(Some(world.node.ready().did.as_str()));
    let (mut send, mut recv) = connection.open_bi().await.expect("opened");
    let length = u32::try_from(hello.text.len()).expect("short").to_be_bytes();
    send.write_all(&[&[0; 16][..], &length, hello.text.as_bytes()].concat()).await.expect("written");
    recv.read_exact(&mut [0; 4]).await.expect("answered");
    // Its place is still taken where it began, and there is one where it is now.
    here.connect(node, "localhost").expect("begun").await.expect_err("refused");
    let other = there.connect(node, "localhost").expect("begun").await.expect("connected");
    // And given back there.
    connection.close(0u32.into(), b"");
    world.until(|counts| counts.connections == 1).await;
    let again = timeout(Duration::from_secs(10), async {
        loop {
            if let Ok(again) = here.connect(node, "localhost").expect("begun").await {
                break again;
            }
        }
    });
    drop((again.await.expect("there is a place"), other));
}

#[tokio::test]
async fn qb_52_a_call_goes_on_over_another_connection() {
    // WS-5
    let world = World::start().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let mut callee = world.bind(&bob, Transport::Quic).await;
    let caller = world.bind(&alice, Transport::Quic).await;
    let invite = alice.invite(&bob.identity);
    say(&caller, &invite);
    hear_exactly(&mut callee, &invite).await;
    drop(caller);
    world.until(|counts| counts.connections == 1).await;
    // What the callee says of it waits for the caller, in whose eyes nothing has ended.
    let ringing = bob.ringing(&alice.did, invite.id);
    say(&callee, &ringing);
    let mut caller = world.bind(&alice, Transport::Quic).await;
    hear_exactly(&mut caller, &ringing).await;
    let cancel = alice.cancel(&bob.identity, invite.id);
    say(&caller, &cancel);
    hear_exactly(&mut callee, &cancel).await;
}

#[tokio::test]
async fn qb_30_hello_and_invite_travel_with_the_first_flight() {
    let world = World::start().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let mut callee = world.bind(&bob, Transport::Ws).await;
    let dialer = Dialer::new(no_roots());
    let target = world.target(Transport::Quic);
    let mut first = dialer.open(&target).await.expect("opened");
    alice.greet(&mut first, world.node.ready().did.as_str()).await;
    drop(first);

    let mut link = dialer.open(&target).await.expect("opened");
    assert!(link.is_early());
    let hello = alice.hello(Some(world.node.ready().did.as_str()));
    let invite = alice.invite(&bob.identity);
    say(&link, &hello);
    say(&link, &invite);
    hear_exactly(&mut callee, &invite).await;
    assert_eq!(hear(&mut link).await["in_reply_to"], hello.id.to_string());
}

#[tokio::test]
async fn qb_43_a_device_that_moves_keeps_its_binding_without_a_new_hello() {
    let world = World::start().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let caller = world.bind(&alice, Transport::Ws).await;
    let dialer = Dialer::new(no_roots());
    let mut callee = dialer.open(&world.target(Transport::Quic)).await.expect("opened");
    bob.greet(&mut callee, world.node.ready().did.as_str()).await;
    for _ in 0..3 {
        dialer.rebind().expect("bound");
        let ringing = bob.ringing(&alice.did, alice.invite(&bob.identity).id);
        // Whatever it says first shows the node the new path.
        say(&callee, &ringing);
        let invite = alice.invite(&bob.identity);
        say(&caller, &invite);
        hear_exactly(&mut callee, &invite).await;
        let counts = world.node.counts();
        assert_eq!((counts.connections, counts.bound), (2, 2));
    }
}
