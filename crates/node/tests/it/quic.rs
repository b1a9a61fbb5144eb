//! What only `quic/1.0` can do (docs/spec/quic.md).

use dsip_endpoint::link::{Dialer, Transport};

use crate::device::{Device, hear, hear_exactly, say};
use crate::{World, no_roots};

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
