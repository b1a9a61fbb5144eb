//! What honest devices see.

use dsip_endpoint::link::{Close, Closed, Stream, Transport};

use crate::World;
use crate::device::{Device, hear, hear_error, hear_exactly, say};

const TRANSPORTS: [Transport; 2] = [Transport::Ws, Transport::Quic];

#[tokio::test]
async fn a_call_between_any_two_transports() {
    let world = World::start().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut caller = world.bind(&alice, TRANSPORTS[from]).await;
        let mut callee = world.bind(&bob, TRANSPORTS[to]).await;
        let invite = alice.invite(&bob.identity);
        say(&caller, &invite);
        hear_exactly(&mut callee, &invite).await;
        for said in [bob.ringing(&alice.did, invite.id), bob.answer(&alice.did, invite.id)] {
            say(&callee, &said);
            hear_exactly(&mut caller, &said).await;
        }
        let bye = alice.bye(&bob.did, invite.id);
        say(&caller, &bye);
        hear_exactly(&mut callee, &bye).await;
    }
}

#[tokio::test]
async fn rly_12_an_identity_rings_on_all_its_devices_and_the_rest_are_cancelled() {
    let world = World::start().await;
    let (alice, phone, laptop) = (Device::new(1), Device::of(2, 1), Device::of(2, 2));
    let mut caller = world.bind(&alice, Transport::Quic).await;
    let mut first = world.bind(&phone, Transport::Quic).await;
    let mut second = world.bind(&laptop, Transport::Ws).await;
    let invite = alice.invite(&phone.identity);
    say(&caller, &invite);
    hear_exactly(&mut first, &invite).await;
    hear_exactly(&mut second, &invite).await;
    let answer = laptop.answer(&alice.did, invite.id);
    say(&second, &answer);
    hear_exactly(&mut caller, &answer).await;
    let cancel = alice.cancel(&phone.identity, invite.id);
    say(&caller, &cancel);
    hear_exactly(&mut first, &cancel).await;
    // The one that answered hears nothing of the cancel: the next thing it gets is the bye.
    let bye = alice.bye(&laptop.did, invite.id);
    say(&caller, &bye);
    hear_exactly(&mut second, &bye).await;
}

#[tokio::test]
async fn snf_5_what_comes_while_a_device_is_away_waits_for_it() {
    let world = World::start().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let caller = world.bind(&alice, Transport::Ws).await;
    drop(world.bind(&bob, Transport::Quic).await);
    world.until(|counts| counts.bound == 1).await;
    let invite = alice.invite(&bob.identity);
    say(&caller, &invite);
    world.until(|counts| counts.queued == 1).await;
    let mut callee = world.bind(&bob, Transport::Ws).await;
    hear_exactly(&mut callee, &invite).await;
}

#[tokio::test]
async fn rly_14_nobody_there_is_said_in_a_signed_error() {
    let world = World::start().await;
    for transport in TRANSPORTS {
        let alice = Device::new(1);
        let mut caller = world.bind(&alice, transport).await;
        let invite = alice.invite(&Device::new(9).identity);
        say(&caller, &invite);
        hear_error(&mut caller, "transport.unknown-recipient", &invite).await;
    }
}

#[tokio::test]
async fn ws_7_and_qb_5_a_newer_connection_takes_over_and_keeps_the_binding() {
    let world = World::start().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let caller = world.bind(&alice, Transport::Quic).await;
    let mut newest = world.bind(&bob, Transport::Ws).await;
    for transport in [Transport::Quic, Transport::Ws, Transport::Quic] {
        let mut older = std::mem::replace(&mut newest, world.bind(&bob, transport).await);
        assert_eq!(older.recv().await, Err(Closed::There(Close::Replaced)));
        drop(older);
        // WS-9: the older one's end comes after the newer one's beginning, and must not undo it.
        world.until(|counts| counts.connections == 2).await;
        let invite = alice.invite(&bob.identity);
        say(&caller, &invite);
        hear_exactly(&mut newest, &invite).await;
        // What it has not acknowledged would come again on the next connection (CUS-14).
        tokio::select! {
            more = newest.recv() => panic!("nothing more was said: {more:?}"),
            kept = caller.kept() => kept.expect("acknowledged"),
        }
    }
}

#[tokio::test]
async fn hel_1_nothing_before_hello() {
    let world = World::start().await;
    for transport in TRANSPORTS {
        let (alice, mut link) = (Device::new(1), world.dial(transport).await);
        let invite = alice.invite(&Device::new(2).identity);
        // On its own stream QUIC would not even read it before the hello (QB-21).
        link.send(Stream::Control, invite.text.clone()).expect("queued");
        hear_error(&mut link, "transport.hello-required", &invite).await;
        alice.greet(&mut link, world.node.ready().did.as_str()).await;
    }
}

#[tokio::test]
async fn hel_9_a_hello_counts_once() {
    let world = World::start().await;
    let alice = Device::new(1);
    let hello = alice.hello(Some(world.node.ready().did.as_str()));
    let mut first = world.dial(Transport::Ws).await;
    say(&first, &hello);
    assert_eq!(hear(&mut first).await["type"], "hello");
    for transport in TRANSPORTS {
        let mut second = world.dial(transport).await;
        say(&second, &hello);
        hear_error(&mut second, "transport.hello-rejected", &hello).await;
    }
    // The eavesdropper's attempt did not even disturb the first.
    alice.greet(&mut first, world.node.ready().did.as_str()).await;
}

#[tokio::test]
async fn hel_12_a_hello_for_another_relay_is_refused() {
    let world = World::start().await;
    let (alice, ready) = (Device::new(1), world.node.ready());
    let port = world.target(Transport::Ws).port();
    for audience in ["did:web:elsewhere.example", "elsewhere.example:443", "127.0.0.1:1"] {
        let mut link = world.dial(Transport::Quic).await;
        let hello = alice.hello(Some(audience));
        say(&link, &hello);
        hear_error(&mut link, "transport.hello-rejected", &hello).await;
    }
    for audience in [ready.did.to_string(), format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
        let mut link = world.dial(Transport::Ws).await;
        alice.greet(&mut link, &audience).await;
    }
    let mut link = world.dial(Transport::Ws).await;
    let without = alice.hello(None);
    say(&link, &without);
    assert_eq!(hear(&mut link).await["type"], "hello", "accepted for interoperability");
}

#[tokio::test]
async fn a_device_can_be_called_itself() {
    let world = World::start().await;
    let (alice, bob) = (Device::new(1), Device::new(2));
    let mut callee = world.bind(&bob, Transport::Ws).await;
    let mut caller = world.bind(&alice, Transport::Quic).await;
    let invite = alice.invite(&bob.did);
    say(&caller, &invite);
    hear_exactly(&mut callee, &invite).await;
    let answer = bob.answer(&alice.did, invite.id);
    say(&callee, &answer);
    hear_exactly(&mut caller, &answer).await;
}
