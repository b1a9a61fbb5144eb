//! Two people act in the same moment, for every moment in which they can.

use std::time::Duration;

use dsip_proto::agent::Event;
use dsip_proto::wire::Ulid;
use dsip_sim::network::{HostId, Path};
use dsip_sim::world::{Manner, Setup, World, offer, selection};

use crate::end_of;

const SECOND: Duration = Duration::from_secs(1);

/// Alice and Bob, each on a node, over lines that take their time.
fn slow_lines(seed: u64, bob: Manner) -> (World, HostId, HostId, HostId) {
    let mut world = World::new(seed);
    let (hers, his) = (world.add_node("alpha", 0), world.add_node("beta", 0));
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(hers));
    let bob = world.add_phone(Setup::of("bob", "bob-phone").who(bob), Some(his));
    let slow = Path { latency: Duration::from_millis(80), jitter: Duration::from_millis(40), loss: 20 };
    world.network().set_path(alice, his, slow);
    world.network().set_path(bob, his, slow);
    world.run(3 * SECOND);
    (world, alice, bob, his)
}

/// Ends of the calls that a phone's owner saw.
fn ends(world: &World, phone: HostId) -> usize {
    world.seen(phone).filter(|event| matches!(event, Event::Ended { .. })).count()
}

#[test]
fn race_2_whenever_the_caller_gives_up_nobody_is_left_talking() {
    for step in 0..60 {
        let (mut world, alice, bob, his) = slow_lines(step, Manner::Accepts(SECOND));
        let call = world.call(alice, "bob", his);
        world.run(Duration::from_millis(50) * u32::try_from(step).expect("a small number"));
        world.hang_up(alice, call);
        world.run(40 * SECOND);
        assert!(world.talking(alice).is_empty() && world.talking(bob).is_empty(), "step {step}");
        assert_eq!(ends(&world, alice), 1, "step {step}: the caller sees one end");
        let rang = world.seen(bob).any(|event| matches!(event, Event::Incoming { .. }));
        assert_eq!(ends(&world, bob), usize::from(rang), "step {step}: the callee sees an end of what began");
    }
}

#[test]
fn both_hang_up_whenever_they_like_and_each_sees_one_end() {
    for step in 0..40 {
        let (mut world, alice, bob, his) = slow_lines(step, Manner::Accepts(SECOND));
        let call = world.call(alice, "bob", his);
        world.run(6 * SECOND);
        assert!(world.talking(alice).contains(&call) && world.talking(bob).contains(&call));
        world.hang_up(alice, call);
        world.run(Duration::from_millis(10) * u32::try_from(step).expect("a small number"));
        world.hang_up(bob, call);
        world.run(10 * SECOND);
        assert!(world.talking(alice).is_empty() && world.talking(bob).is_empty(), "step {step}");
        assert_eq!([ends(&world, alice), ends(&world, bob)], [1, 1], "step {step}");
    }
}

#[test]
fn the_caller_gives_up_while_the_callee_declines() {
    for step in 0..40 {
        let (mut world, alice, bob, his) = slow_lines(step, Manner::Declines(SECOND));
        let call = world.call(alice, "bob", his);
        world.run(Duration::from_millis(900 + 20 * step));
        world.hang_up(alice, call);
        world.run(30 * SECOND);
        assert!(world.talking(alice).is_empty() && world.talking(bob).is_empty());
        assert_eq!([ends(&world, alice), ends(&world, bob)], [1, 1], "step {step}");
    }
}

#[test]
fn rly_46_a_device_that_comes_online_while_it_rings_rings_and_can_answer() {
    for seed in 0..10 {
        let (mut world, alice, phone, his) = slow_lines(seed, Manner::Ignores);
        let call = world.call(alice, "bob", his);
        world.run(3 * SECOND);
        let laptop = world.add_phone(Setup::of("bob", "bob-laptop"), Some(his));
        world.run(8 * SECOND);
        assert!(world.talking(alice).contains(&call) && world.talking(laptop).contains(&call));
        let missed = world.seen(phone).filter_map(|event| end_of(event, call)).map(|(_, missed)| missed);
        assert_eq!(missed.collect::<Vec<_>>(), [false], "the phone stopped ringing, and missed nothing");
    }
}

/// Everybody accepts the updates they were offered and have not answered; how many that were.
fn accept_updates(world: &mut World, phones: [HostId; 2], call: Ulid) -> usize {
    let accepted = phones.map(|phone| world.command(phone, |agent, now| agent.accept_update(now, call, selection())));
    world.run(2 * SECOND);
    accepted.iter().filter(|accepted| accepted.is_ok()).count()
}

#[test]
fn upd_4_5_two_updates_in_the_same_moment_leave_one_and_the_call() {
    for step in 0..40 {
        let (mut world, alice, bob, his) = slow_lines(step, Manner::Accepts(SECOND));
        let call = world.call(alice, "bob", his);
        world.run(6 * SECOND);
        let hers = world.command(alice, |agent, now| agent.update(now, call, offer(), None));
        world.run(Duration::from_millis(10) * u32::try_from(step).expect("a small number"));
        let theirs = world.command(bob, |agent, now| agent.update(now, call, offer(), None));
        world.run(2 * SECOND);
        assert!(hers.is_ok());
        assert_eq!(accept_updates(&mut world, [alice, bob], call), 1, "step {step}: one of the two is on the table");
        let refused = [alice, bob]
            .map(|phone| world.seen(phone).filter(|event| matches!(event, Event::UpdateRejected { .. })).count());
        assert_eq!(
            refused[0] + refused[1],
            usize::from(theirs.is_ok()),
            "step {step}: the other was refused, if it left"
        );
        assert!(world.talking(alice).contains(&call) && world.talking(bob).contains(&call), "UPD-21");
        // Nothing is left open: either may offer again.
        for (one, other) in [(alice, bob), (bob, alice)] {
            world.command(one, |agent, now| agent.update(now, call, offer(), None)).expect("no update is open");
            world.run(2 * SECOND);
            assert_eq!(accept_updates(&mut world, [other, one], call), 1, "step {step}");
        }
    }
}
