//! Phones that are off, and are switched on by their push service when somebody calls.

use std::time::Duration;

use dsip_proto::agent::Event;
use dsip_sim::network::{HostId, Path};
use dsip_sim::world::{Manner, Setup, World};

use crate::end_of;

const SECOND: Duration = Duration::from_secs(1);

/// Alice, and Bob who picks up after two seconds and whose phone takes `wakes_in` to start.
fn scene(seed: u64, wakes_in: Duration) -> (World, HostId, HostId, HostId) {
    let mut world = World::new(seed);
    let node = world.add_node("node", 0);
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(node));
    let bob = world.add_phone(Setup::of("bob", "bob-phone").who(Manner::Accepts(2 * SECOND)), Some(node));
    world.set_wake(bob, wakes_in);
    world.run(5 * SECOND);
    let registered = |event: &Event| matches!(event, Event::WakeRegistered { until: Some(_) });
    assert!(world.seen(bob).any(registered));
    (world, alice, bob, node)
}

#[test]
fn wak_15_a_phone_that_is_off_is_woken_and_answers() {
    for seed in 0..40 {
        let (mut world, alice, bob, node) = scene(seed, 8 * SECOND);
        if seed % 4 == 1 {
            // The node forgets nothing over a crash.
            world.run(2 * SECOND);
            world.crash(node);
            world.restart(node);
            world.run(70 * SECOND);
        }
        world.crash(bob);
        if seed % 4 != 2 {
            // Else it fell asleep without a word: the node still takes its connection for one (WAK-12).
            world.run(SECOND);
        }
        if seed % 4 == 3 {
            let bad = Path { loss: 100, latency: Duration::from_millis(150), jitter: Duration::from_millis(50) };
            world.network().set_path(bob, node, bad);
        }
        let call = world.call(alice, "bob", node);
        world.run(8 * SECOND);
        assert!(!world.talking(alice).contains(&call));
        world.run(20 * SECOND);
        assert!(world.talking(alice).contains(&call) && world.talking(bob).contains(&call), "seed {seed}");
        world.hang_up(alice, call);
        world.run(10 * SECOND);
        assert!(world.seen(bob).any(|event| end_of(event, call).is_some_and(|(_, missed)| !missed)));
    }
}

#[test]
fn wak_16_a_phone_that_is_woken_too_late_says_nothing_of_the_call() {
    for seed in 0..20 {
        // Either the caller has given up, or the invite is over.
        let (mut world, alice, bob, node) = scene(seed, 45 * SECOND);
        world.crash(bob);
        world.run(SECOND);
        let call = world.call(alice, "bob", node);
        world.run(if seed % 2 == 0 { 5 * SECOND } else { 40 * SECOND });
        if seed % 2 == 0 {
            world.hang_up(alice, call);
        }
        assert!(world.seen(alice).any(|event| end_of(event, call).is_some()));
        world.run(60 * SECOND);
        let about = |event: &Event| matches!(event, Event::Incoming { .. } | Event::Ended { .. });
        assert!(!world.seen(bob).any(about), "it rang nowhere, so nobody missed it");
    }
}
