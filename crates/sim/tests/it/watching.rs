//! Watching somebody while nodes crash and phones come and go.

use std::time::Duration;

use dsip_proto::agent::{Event, Visibility};
use dsip_sim::world::{Setup, World};

const SECOND: Duration = Duration::from_secs(1);

/// What a watch was told, in order.
fn states<'a>(seen: impl Iterator<Item = &'a Event>) -> Vec<String> {
    let state = |event: &Event| match event {
        Event::Told { told, .. } => told.state.clone(),
        Event::WatchEnded { reason, .. } => Some(format!("over: {reason:?}")),
        _ => None,
    };
    seen.filter_map(state).collect()
}

#[test]
fn sub_4_a_watch_outlives_its_node_and_nobody_is_told_twice() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let node = world.add_node("node", 0);
        let alice = world.add_phone(Setup::of("alice", "alice-phone"), Some(node));
        let bob = world.add_phone(Setup::of("bob", "bob-phone"), Some(node));
        world.run(3 * SECOND);
        world.command(bob, |agent, now| agent.show_presence(now, &Visibility::Public)).expect("a home");
        world.run(SECOND);
        let whom = world.did("bob");
        world.command(alice, |agent, now| agent.watch_presence(now, &whom, Vec::new())).expect("a home");
        world.run(2 * SECOND);
        assert_eq!(states(world.seen(alice)), ["available"]);

        world.crash(node);
        world.run(10 * SECOND);
        world.restart(node);
        world.run(60 * SECOND);
        // Both are back. Bob's return is news to the node; nobody was said to be away because the node was.
        assert_eq!(states(world.seen(alice)), ["available", "available"], "seed {seed}");
        world.crash(bob);
        world.run(60 * SECOND);
        world.restart(bob);
        world.run(60 * SECOND);
        let told = states(world.seen(alice));
        assert_eq!(told.get(2..), Some(&["offline".to_owned(), "available".to_owned()][..]), "seed {seed}");
        // SUB-2: it is renewed for as long as anybody watches.
        world.run(3 * 3600 * SECOND);
        assert!(states(world.seen(alice)).iter().all(|state| state == "available" || state == "offline"));
        assert!(states(world.seen(alice)).len() >= told.len() + 5, "a renewal tells how things stand");
    }
}
