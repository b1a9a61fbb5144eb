//! What a sender may rely on, and what a recipient acknowledges, over real sockets.

use dsip_endpoint::link::Transport;
use dsip_proto::wire::Ulid;

use crate::device::{Device, hear_error, hear_exactly, say};
use crate::{World, start};

const TRANSPORTS: [Transport; 2] = [Transport::Ws, Transport::Quic];

#[tokio::test]
async fn cus_1_what_is_vouched_for_survives_a_restart() {
    for transport in TRANSPORTS {
        let mut world = World::start().await;
        let (alice, bob) = (Device::new(1), Device::new(2));
        drop(world.bind(&bob, transport).await);
        world.until(|counts| counts.bound == 0).await;
        let caller = world.bind(&alice, transport).await;
        let said: Vec<_> = (0..20).map(|_| alice.bye(&bob.did, Ulid::from_bits(1))).collect();
        for said in &said {
            say(&caller, said);
        }
        caller.kept().await.expect("vouched for");
        world.node.shutdown().await;
        world.node = start(world.home.path(), |_| {}).await;
        let mut callee = world.bind(&bob, transport).await;
        for said in &said {
            hear_exactly(&mut callee, said).await;
        }
        tokio::select! {
            more = callee.recv() => panic!("nothing more was said: {more:?}"),
            () = world.until(|counts| counts.unacknowledged == 0) => {}
        }
        world.node.shutdown().await;
        world.node = start(world.home.path(), |_| {}).await;
        let mut callee = world.bind(&bob, transport).await;
        let last = alice.bye(&bob.did, Ulid::from_bits(1));
        say(&world.bind(&alice, transport).await, &last);
        hear_exactly(&mut callee, &last).await; // CUS-12: nothing else was kept
    }
}

#[tokio::test]
async fn cus_4_a_refusal_comes_before_the_answer() {
    let world = World::start().await;
    for transport in TRANSPORTS {
        let alice = Device::new(1);
        let mut caller = world.bind(&alice, transport).await;
        let bye = alice.bye(&Device::new(9).did, Ulid::from_bits(1));
        say(&caller, &bye);
        caller.kept().await.expect("vouched for");
        hear_error(&mut caller, "transport.unknown-recipient", &bye).await;
    }
}

#[tokio::test]
async fn cus_11_only_what_a_program_has_dealt_with_is_acknowledged() {
    let world = World::start().await;
    for transport in TRANSPORTS {
        let (alice, bob) = (Device::new(1), Device::new(2));
        let caller = world.bind(&alice, transport).await;
        let mut callee = world.bind(&bob, transport).await;
        let [read, unread] = [0, 1].map(|_| alice.bye(&bob.did, Ulid::from_bits(1)));
        say(&caller, &read);
        say(&caller, &unread);
        hear_exactly(&mut callee, &read).await;
        caller.kept().await.expect("vouched for: what Bob does not read is on disk");
        drop(callee);
        let mut callee = world.bind(&bob, transport).await;
        // Whether the first was acknowledged depends on who was faster; the second was not.
        let next = callee.recv().await.expect("a frame");
        if next == *read.text {
            hear_exactly(&mut callee, &unread).await;
        } else {
            assert_eq!(next, *unread.text);
        }
    }
}
