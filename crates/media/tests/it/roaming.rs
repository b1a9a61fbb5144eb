//! NATs, changed addresses, outages.

use std::time::Duration;

use dsip_media::audio::signal;
use dsip_media::call::{Direction, Event, Failure, Offer, Offered, Permit};

use crate::world::{Path, Peer, World, address, config};

fn tone() -> Vec<f32> {
    signal::tone(440.0, 0.3).take(48_000 * 60).collect()
}

/// How many packets of the other's audio arrive in the next two seconds.
fn arriving(world: &mut World, peer: usize) -> u64 {
    let before = world.peers[peer].report().received;
    world.run(Duration::from_secs(2));
    world.peers[peer].report().received - before
}

#[test]
fn both_behind_a_nat_meet_by_their_reflexive_candidates() {
    let mut world = World::new(21, Path::GOOD);
    let (a, b) = (address("192.168.1.2:4000"), address("192.168.2.2:5000"));
    let (outside_a, outside_b) = (address("203.0.113.1:40000"), address("198.51.100.1:50000"));
    world.put_behind_nat(a, outside_a);
    world.put_behind_nat(b, outside_b);
    let (mut offer, description) = Offer::new(config(), world.now, Direction::SendRecv, &[a]);
    let from_alice = offer.add_reflexive(outside_a, a).unwrap();
    let mut offered = Offered::new(config(), world.now, description).unwrap();
    offered.add_local(b);
    let (mut answer, description) = offered.answer(world.now, Direction::SendRecv).unwrap();
    let from_bob = answer.add_reflexive(outside_b, b).unwrap();
    assert!(from_bob.candidate.contains("198.51.100.1 50000 typ srflx"), "{from_bob:?}");
    assert!(!from_bob.sdp_mid.is_empty() && from_alice.sdp_mid == from_bob.sdp_mid, "{from_alice:?} {from_bob:?}");
    let bob = answer.activate(world.now, Permit::session_is_active());
    let alice = offer.accept(world.now, &description.sdp, Permit::session_is_active()).unwrap();
    world.add(Peer::new("alice", alice, a, tone()));
    world.add(Peer::new("bob", bob, b, tone()));
    let now = world.now;
    assert!(world.alice().call.add_remote_candidate(now, &from_bob.candidate));
    assert!(world.bob().call.add_remote_candidate(now, &from_alice.candidate));
    world.run(Duration::from_secs(4));
    for peer in [0, 1] {
        assert!(world.peers[peer].connected_at().is_some(), "{:?}", world.peers[peer].events);
        assert!(arriving(&mut world, peer) >= 95);
    }
}

/// Either side moves; the other learns it from the checks alone, whoever controls the choice of pairs.
#[test]
fn a_device_that_moves_keeps_its_call() {
    for mover in [0, 1] {
        let mut world = World::connected(22, Path::GOOD, (tone(), tone()));
        let old = world.peers[mover].locals[0];
        let new = address("172.16.0.9:6000");
        world.dead.insert(old);
        // The machine notices within a second.
        world.run(Duration::from_secs(1));
        let now = world.now;
        let peer = &mut world.peers[mover];
        peer.locals.push(new);
        peer.call.remove_local(now, old);
        assert!(peer.call.add_local(now, new).is_some());
        world.run(Duration::from_secs(4));
        for peer in [0, 1] {
            assert!(arriving(&mut world, peer) >= 95, "mover {mover}, at {peer}: {:?}", world.peers[peer].events);
        }
        // And back again.
        let now = world.now;
        world.dead = [new].into();
        let peer = &mut world.peers[mover];
        peer.call.remove_local(now, new);
        assert!(peer.call.add_local(now, old).is_some());
        world.run(Duration::from_secs(5));
        for peer in [0, 1] {
            assert!(arriving(&mut world, peer) >= 95, "back, mover {mover}, at {peer}: {:?}", world.peers[peer].events);
            assert!(!world.peers[peer].events.iter().any(|(_, event)| matches!(event, Event::Failed(_))));
        }
    }
}

/// Two networks, of which the one in use dies without the machine noticing.
#[test]
fn a_network_that_dies_quietly_is_left_for_the_other() {
    for mover in [0, 1] {
        let mut world = World::connected(27, Path::GOOD, (tone(), tone()));
        let (first, second) = (world.peers[mover].locals[0], address("172.16.0.9:6000"));
        let now = world.now;
        world.peers[mover].locals.push(second);
        world.peers[mover].call.add_local(now, second).unwrap();
        world.run(Duration::from_secs(2));
        for dead in [first, second] {
            world.dead = [dead].into();
            world.run(Duration::from_secs(4));
            for peer in [0, 1] {
                let events = &world.peers[peer].events.clone();
                assert!(arriving(&mut world, peer) >= 95, "mover {mover}, {dead} dead, at {peer}: {events:?}");
            }
        }
    }
}

#[test]
fn both_may_move_one_after_the_other() {
    let mut world = World::connected(23, Path::GOOD, (tone(), tone()));
    for (mover, new) in [(0, "172.16.0.9:6000"), (1, "172.16.0.10:6000"), (0, "172.16.0.11:6000")] {
        let now = world.now;
        let old = *world.peers[mover].locals.last().unwrap();
        world.dead.insert(old);
        let peer = &mut world.peers[mover];
        peer.locals.push(address(new));
        peer.call.remove_local(now, old);
        peer.call.add_local(now, address(new)).unwrap();
        world.run(Duration::from_secs(6));
        for peer in [0, 1] {
            assert!(arriving(&mut world, peer) >= 95, "{new}, at {peer}: {:?}", world.peers[peer].events);
        }
    }
}

#[test]
fn an_outage_of_fifteen_seconds_is_survived() {
    let mut world = World::connected(24, Path::GOOD, (tone(), tone()));
    world.path.loss = 100;
    world.run(Duration::from_secs(15));
    world.path.loss = 0;
    world.run(Duration::from_secs(5));
    for peer in [0, 1] {
        assert!(arriving(&mut world, peer) >= 95, "at {peer}: {:?}", world.peers[peer].events);
        assert!(world.peers[peer].saw(&Event::Interrupted) && world.peers[peer].saw(&Event::Resumed));
    }
}

#[test]
fn an_outage_of_a_minute_ends_the_call() {
    let mut world = World::connected(25, Path::GOOD, (tone(), tone()));
    world.path.loss = 100;
    world.run(Duration::from_secs(32));
    for peer in &world.peers {
        assert!(peer.saw(&Event::Failed(Failure::Connectivity)), "{:?}", peer.events);
    }
}

/// The machine has no address at all for a while, then another one.
#[test]
fn a_device_without_any_network_for_ten_seconds_comes_back() {
    for mover in [0, 1] {
        let mut world = World::connected(26, Path::GOOD, (tone(), tone()));
        let (old, new) = (world.peers[mover].locals[0], address("172.16.0.9:6000"));
        let now = world.now;
        world.dead.insert(old);
        world.peers[mover].call.remove_local(now, old);
        world.run(Duration::from_secs(10));
        let now = world.now;
        world.peers[mover].locals.push(new);
        world.peers[mover].call.add_local(now, new).unwrap();
        world.run(Duration::from_secs(4));
        for peer in [0, 1] {
            assert!(arriving(&mut world, peer) >= 95, "mover {mover}, at {peer}: {:?}", world.peers[peer].events);
        }
    }
}
