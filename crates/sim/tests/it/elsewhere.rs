//! Phones whose node is away (docs/spec/elsewhere.md).

use std::time::Duration;

use dsip_proto::agent::{Event, Policy};
use dsip_sim::network::HostId;
use dsip_sim::world::{Manner, Setup, World};

const SECOND: Duration = Duration::from_secs(1);

/// The nodes at which a phone was, in order.
fn places(world: &World, phone: HostId) -> Vec<String> {
    let place = |event: &Event| match event {
        Event::Online { uri, .. } => {
            Some(uri.trim_start_matches("wss://").trim_end_matches(".example/dsip").to_owned())
        }
        _ => None,
    };
    world.seen(phone).filter_map(place).collect()
}

#[test]
fn els_2_3_phones_go_elsewhere_and_come_home() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let (home, other) = (world.add_node("home", 0), world.add_node("other", 0));
        world.send_elsewhere(home, other);
        world.crash(home);
        world.restart(home);
        let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(other));
        let bob = world.add_phone(Setup::of("bob", "bob-phone").who(Manner::Accepts(SECOND)), Some(home));
        world.run(5 * SECOND);
        assert_eq!(places(&world, bob), ["home"], "seed {seed}");

        world.crash(home);
        world.run(60 * SECOND);
        assert_eq!(places(&world, bob), ["home", "other"], "seed {seed}");
        // There they can be called.
        let call = world.call(alice, "bob", other);
        world.run(10 * SECOND);
        assert!(world.talking(bob).contains(&call), "seed {seed}");
        world.hang_up(alice, call);

        // As long as the home is away, a look for it ends elsewhere again.
        world.run(700 * SECOND);
        assert_eq!(places(&world, bob).last().map(String::as_str), Some("other"), "seed {seed}");
        world.restart(home);
        world.run(700 * SECOND);
        assert_eq!(places(&world, bob).last().map(String::as_str), Some("home"), "seed {seed}");
        world.run(3600 * SECOND);
        assert_eq!(places(&world, bob).last().map(String::as_str), Some("home"), "seed {seed}: and there they stay");
    }
}

#[test]
fn els_4_what_waits_at_home_waits_there() {
    let mut world = World::new(3);
    let (home, other) = (world.add_node("home", 0), world.add_node("other", 0));
    world.send_elsewhere(home, other);
    world.crash(home);
    world.restart(home);
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(other));
    let careful = Policy { first_contact: true, ..Policy::default() };
    let bob = world.add_phone(Setup { policy: careful, ..Setup::of("bob", "bob-phone") }, Some(home));
    world.run(5 * SECOND);
    world.crash(home);
    world.run(60 * SECOND);
    world.restart(home);
    assert_eq!(places(&world, bob), ["home", "other"]);
    let (to, relay) = (world.did("bob"), world.relay(home));
    let asked = world.command(alice, |agent, now| agent.introduce(now, to, vec![relay], None, None));
    asked.expect("an introduction that can be sent");
    let requests = |world: &World| world.seen(bob).filter(|event| matches!(event, Event::Introduced { .. })).count();
    world.run(60 * SECOND);
    assert_eq!((requests(&world), places(&world, bob).len()), (0, 2), "they are still elsewhere");
    world.run(700 * SECOND);
    assert_eq!((requests(&world), places(&world, bob).last().map(String::as_str)), (1, Some("home")));
}

#[test]
fn els_1_only_ones_own_node_can_send_one_elsewhere() {
    let mut world = World::new(7);
    let (home, callees, trap) = (world.add_node("home", 0), world.add_node("callees", 0), world.add_node("trap", 0));
    world.send_elsewhere(callees, trap);
    world.crash(callees);
    world.restart(callees);
    let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(home));
    let bob = world.add_phone(Setup::of("bob", "bob-phone").who(Manner::Accepts(SECOND)), Some(callees));
    world.run(5 * SECOND);
    world.call(alice, "bob", callees);
    world.run(10 * SECOND);
    world.crash(callees);
    world.crash(home);
    world.run(120 * SECOND);
    assert_eq!(places(&world, alice), ["home"], "somebody else's node says nothing about hers");
    assert_eq!(places(&world, bob), ["callees", "trap"]);
}
