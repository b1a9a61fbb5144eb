//! People who call each other while nothing goes wrong but the delays of a real network.

use std::time::Duration;

use dsip_proto::agent::Event;
use dsip_sim::network::{HostId, Path};
use dsip_sim::world::{Manner, Setup, World};

use crate::{end_of, is_ringing};

const SECOND: Duration = Duration::from_secs(1);

/// Alice with a phone and Bob with several, on a node each.
fn alice_and_bob(seed: u64, bobs: &[(&str, Manner)]) -> (World, HostId, Vec<HostId>, HostId) {
    let mut world = World::new(seed);
    let (hers, his) = (world.add_node("alpha", 0), world.add_node("beta", 0));
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(hers));
    let bobs = bobs.iter().map(|(name, manner)| world.add_phone(Setup::of("bob", name).who(*manner), Some(his)));
    let bobs = bobs.collect();
    world.run(3 * SECOND);
    (world, alice, bobs, his)
}

#[test]
fn a_call_is_found_answered_and_ended() {
    for seed in 0..20 {
        let (mut world, alice, bobs, his) = alice_and_bob(seed, &[("bob-phone", Manner::Accepts(2 * SECOND))]);
        let call = world.call(alice, "bob", his);
        world.run(5 * SECOND);
        assert!(world.seen(alice).any(is_ringing));
        assert!(world.seen(alice).any(|event| matches!(event, Event::Answered { .. })));
        for phone in [alice, bobs[0]] {
            assert!(world.talking(phone).contains(&call), "both talk");
        }
        world.hang_up(alice, call);
        world.run(2 * SECOND);
        for phone in [alice, bobs[0]] {
            assert!(world.talking(phone).is_empty(), "nobody talks any more");
            assert!(world.seen(phone).any(|event| end_of(event, call).is_some()));
        }
    }
}

#[test]
fn of_three_devices_one_answers_and_none_shows_a_missed_call() {
    for seed in 0..20 {
        let after = |secs| Manner::Accepts(SECOND * secs);
        let phones = [("bob-phone", after(3)), ("bob-laptop", after(2)), ("bob-tablet", Manner::Ignores)];
        let (mut world, alice, bobs, his) = alice_and_bob(seed, &phones);
        let call = world.call(alice, "bob", his);
        world.run(8 * SECOND);
        let talking: Vec<bool> = bobs.iter().map(|bob| world.talking(*bob).contains(&call)).collect();
        assert_eq!(talking, [false, true, false], "the one who was first");
        assert!(world.talking(alice).contains(&call));
        for bob in &bobs {
            assert!(world.seen(*bob).any(|event| matches!(event, Event::Incoming { .. })), "every device rings");
            let missed = world.seen(*bob).filter_map(|event| end_of(event, call)).any(|(_, missed)| missed);
            assert!(!missed, "answered elsewhere is not missed");
        }
    }
}

#[test]
fn when_two_devices_are_picked_up_at_once_one_of_them_wins() {
    for seed in 0..40 {
        let at_once = Manner::Accepts(2 * SECOND);
        let (mut world, alice, bobs, his) = alice_and_bob(seed, &[("bob-phone", at_once), ("bob-laptop", at_once)]);
        // The two answers race over lines that differ, so that either may be first.
        world.network().set_path(bobs[0], his, Path { jitter: Duration::from_millis(80), ..Path::default() });
        let call = world.call(alice, "bob", his);
        // RACE-4 keeps the loser's session going; that the relay refused its answer tells it that nobody is there.
        world.run(8 * SECOND);
        let talking = bobs.iter().filter(|bob| world.talking(**bob).contains(&call)).count();
        assert_eq!(talking, 1);
        assert!(world.talking(alice).contains(&call));
    }
}

#[test]
fn every_device_declines_and_the_caller_is_told() {
    let declines = Manner::Declines(SECOND);
    let (mut world, alice, bobs, his) = alice_and_bob(1, &[("bob-phone", declines), ("bob-laptop", declines)]);
    let call = world.call(alice, "bob", his);
    world.run(5 * SECOND);
    assert!(world.seen(alice).any(|event| end_of(event, call).is_some()));
    for phone in [alice, bobs[0], bobs[1]] {
        assert!(world.talking(phone).is_empty());
    }
}

#[test]
fn a_call_nobody_answers_is_missed_once_and_given_up() {
    let (mut world, alice, bobs, his) = alice_and_bob(1, &[("bob-phone", Manner::Ignores)]);
    let call = world.call(alice, "bob", his);
    world.run(300 * SECOND);
    let ends: Vec<_> = world.seen(alice).filter_map(|event| end_of(event, call)).collect();
    assert_eq!(ends.len(), 1, "one end");
    let missed: Vec<_> = world.seen(bobs[0]).filter_map(|event| end_of(event, call)).collect();
    assert!(matches!(&missed[..], [(_, true)]), "{missed:?}");
}

#[test]
fn two_who_call_each_other_at_once_end_up_in_one_call() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let (hers, his) = (world.add_node("alpha", 0), world.add_node("beta", 0));
        let late = Manner::Accepts(2 * SECOND);
        let alice = world.add_phone(Setup::of("alice", "alice-phone").who(late), Some(hers));
        let bob = world.add_phone(Setup::of("bob", "bob-phone").who(late), Some(his));
        world.run(3 * SECOND);
        world.call(alice, "bob", his);
        world.call(bob, "alice", hers);
        world.run(15 * SECOND);
        assert_eq!(world.talking(alice).len(), 1, "one call, not two and not none");
        assert_eq!(world.talking(alice), world.talking(bob));
    }
}

#[test]
fn fifty_callers_all_get_through() {
    let mut world = World::new(50);
    let nodes: Vec<_> = (0..5).map(|n| world.add_node(&format!("node-{n}"), 0)).collect();
    let phones: Vec<(String, HostId, HostId)> = (0..100)
        .map(|n| {
            let (owner, node) = (format!("person-{n}"), nodes[n % nodes.len()]);
            let phone = world.add_phone(Setup::of(&owner, &owner), Some(node));
            (owner, phone, node)
        })
        .collect();
    world.run(5 * SECOND);
    let (callers, callees) = phones.split_at(50);
    let calls: Vec<_> = callers
        .iter()
        .zip(callees)
        .map(|((_, phone, _), (owner, callee, node))| {
            let call = world.call(*phone, owner, *node);
            world.run(Duration::from_millis(40));
            (*phone, *callee, call)
        })
        .collect();
    world.run(10 * SECOND);
    for (caller, callee, call) in &calls {
        assert!(world.talking(*caller).contains(call) && world.talking(*callee).contains(call));
    }
    for (caller, _, call) in &calls {
        world.hang_up(*caller, *call);
    }
    world.run(5 * SECOND);
    for (caller, callee, _) in &calls {
        assert!(world.talking(*caller).is_empty() && world.talking(*callee).is_empty());
    }
}
