//! Networks that lose, cut and delay; clocks that are off; machines that crash and come back.

use std::time::Duration;

use dsip_proto::agent::Event;
use dsip_sim::network::{HostId, Path};
use dsip_sim::world::{Manner, Setup, World};

use crate::end_of;

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    world: World,
    alice: HostId,
    bob: HostId,
    node: HostId,
}

/// Alice and Bob on one node; Bob picks up after `delay`.
fn scene(seed: u64, delay: Duration) -> Scene {
    let mut world = World::new(seed);
    let node = world.add_node("node", 0);
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(node));
    let bob = world.add_phone(Setup::of("bob", "bob-phone").who(Manner::Accepts(delay)), Some(node));
    world.run(3 * SECOND);
    Scene { world, alice, bob, node }
}

#[test]
fn a_line_that_loses_every_fifth_packet_still_carries_calls() {
    for seed in 0..30 {
        let Scene { mut world, alice, bob, node } = scene(seed, 2 * SECOND);
        let bad = Path { loss: 200, latency: Duration::from_millis(120), jitter: Duration::from_millis(60) };
        world.network().set_path(alice, node, bad);
        world.network().set_path(bob, node, bad);
        let call = world.call(alice, "bob", node);
        world.run(30 * SECOND);
        assert!(world.talking(alice).contains(&call) && world.talking(bob).contains(&call));
        world.hang_up(bob, call);
        world.run(30 * SECOND);
        assert!(world.talking(alice).is_empty() && world.talking(bob).is_empty());
    }
}

#[test]
fn a_short_cut_while_it_rings_delays_the_answer() {
    for seed in 0..20 {
        let Scene { mut world, alice, bob, node } = scene(seed, 4 * SECOND);
        let call = world.call(alice, "bob", node);
        world.run(2 * SECOND);
        world.network().cut(bob, node);
        world.run(10 * SECOND);
        assert!(!world.talking(alice).contains(&call), "an answer that has not arrived opens nothing");
        world.network().mend(bob, node);
        world.run(5 * SECOND);
        assert!(world.talking(alice).contains(&call) && world.talking(bob).contains(&call));
    }
}

#[test]
fn a_long_cut_while_it_rings_leaves_nobody_talking_alone_for_ever() {
    for seed in 0..20 {
        let Scene { mut world, alice, bob, node } = scene(seed, 4 * SECOND);
        let call = world.call(alice, "bob", node);
        world.run(2 * SECOND);
        world.network().cut(bob, node);
        world.run(180 * SECOND);
        world.network().mend(bob, node);
        world.run(300 * SECOND);
        assert!(world.seen(alice).any(|event| end_of(event, call).is_some()), "the caller's phone gave up");
        assert!(world.talking(alice).is_empty());
    }
}

/// A message lives for 30 s (invite, hello) to 120 s (what follows), and is refused once its receiver's clock says it is
/// over: a phone may run that much behind, or ahead, of those it talks to, and no more, whatever the window allows.
#[test]
fn a_clock_may_be_off_by_less_than_a_message_lives() {
    for (skew, works) in [(0, true), (100, true), (-25, true), (-60, false), (200, false), (400, false), (-400, false)]
    {
        let mut world = World::new(9);
        let node = world.add_node("node", 0);
        let alice = world.add_phone(Setup::of("alice", "alice-phone").skewed(skew), Some(node));
        let bob = world.add_phone(Setup::of("bob", "bob-phone"), Some(node));
        world.run(5 * SECOND);
        let call = world.call(alice, "bob", node);
        world.run(30 * SECOND);
        assert_eq!(world.talking(bob).contains(&call), works, "skew {skew} s");
        assert_eq!(world.talking(alice).contains(&call), works, "skew {skew} s");
    }
}

#[test]
fn two_skewed_clocks_refuse_each_other_and_nobody_else() {
    let mut world = World::new(3);
    let node = world.add_node("node", 0);
    let fast = world.add_phone(Setup::of("alice", "alice-phone").skewed(100), Some(node));
    let slow = world.add_phone(Setup::of("bob", "bob-phone").skewed(-25), Some(node));
    let right = world.add_phone(Setup::of("carol", "carol-phone"), Some(node));
    world.run(5 * SECOND);
    let between = world.call(fast, "bob", node);
    let with_right = world.call(fast, "carol", node);
    world.run(30 * SECOND);
    assert!(!world.talking(fast).contains(&between), "125 s apart: the answer is over when it arrives");
    assert!(!world.talking(slow).contains(&between), "and whoever talks alone gives up");
    assert!(world.talking(right).contains(&with_right) && world.talking(fast).contains(&with_right));
}

#[test]
fn a_node_that_crashes_is_found_again_and_calls_go_on() {
    for seed in 0..20 {
        let Scene { mut world, alice, bob, node } = scene(seed, 2 * SECOND);
        let call = world.call(alice, "bob", node);
        world.run(6 * SECOND);
        assert!(world.talking(alice).contains(&call) && world.talking(bob).contains(&call));
        world.crash(node);
        world.run(20 * SECOND);
        assert!(world.talking(alice).contains(&call), "media does not go through the node");
        world.restart(node);
        world.run(120 * SECOND);
        let online = |phone| world.seen(phone).filter(|event| matches!(event, Event::Online { .. })).count();
        assert!(online(alice) >= 2 && online(bob) >= 2, "both bound again");
        world.hang_up(alice, call);
        world.run(10 * SECOND);
        assert!(world.talking(bob).is_empty(), "the hang-up found its way");
        let again = world.call(bob, "alice", node);
        world.run(10 * SECOND);
        assert!(world.talking(alice).contains(&again) && world.talking(bob).contains(&again));
    }
}

#[test]
fn a_node_that_crashes_while_it_rings_leaves_no_half_call() {
    for seed in 0..20 {
        let Scene { mut world, alice, bob, node } = scene(seed, 6 * SECOND);
        let call = world.call(alice, "bob", node);
        world.run(2 * SECOND);
        world.crash(node);
        world.run(2 * SECOND);
        world.restart(node);
        world.run(400 * SECOND);
        let both = [alice, bob].map(|phone| world.talking(phone).contains(&call));
        assert_eq!(both[0], both[1], "both or neither");
    }
}

#[test]
fn a_phone_that_restarts_accepts_nothing_twice_and_can_be_called() {
    for seed in 0..10 {
        let Scene { mut world, alice, bob, node } = scene(seed, 2 * SECOND);
        world.crash(bob);
        world.run(5 * SECOND);
        let call = world.call(alice, "bob", node);
        world.run(5 * SECOND);
        assert!(!world.talking(alice).contains(&call), "nobody is there");
        world.restart(bob);
        world.run(20 * SECOND);
        let rings = world.seen(bob).filter(|event| matches!(event, Event::Incoming { .. })).count();
        assert_eq!(rings, 1, "the held invite rings once");
        assert!(world.talking(alice).contains(&call) && world.talking(bob).contains(&call));
    }
}
