//! Setting up, talking, failing.

use std::time::Duration;

use dsip_media::audio::signal;
use dsip_media::call::{Direction, Event, Failure, Offer, Offered, Permit};

use crate::world::{MS, Path, Peer, World, address, at, config, speech};

#[test]
fn speech_flows_both_ways() {
    let mut world = World::call(1, Path::GOOD, (speech("alice.wav"), speech("bob.wav")));
    world.run(Duration::from_secs(11));
    let (at_alice, at_bob) = world.similarity();
    assert!(at_alice.is_faithful() && at_alice.score > 0.85, "{at_alice:?}");
    assert!(at_bob.is_faithful() && at_bob.score > 0.85, "{at_bob:?}");
    for peer in &world.peers {
        let report = peer.report();
        assert_eq!((report.lost, report.late), (0, 0), "{report:?}");
        assert!(report.mos.unwrap() > 4.2, "{report:?}");
        assert!((35.0..60.0).contains(&report.round_trip_ms.unwrap()), "{report:?}");
        assert!(report.buffer_ms <= 45.0, "{report:?}");
        assert_eq!(report.remote_loss, Some(0.0), "{report:?}");
    }
}

#[test]
fn loss_is_concealed_and_recovered() {
    for (loss, least_score, mos) in [(5, 0.8, 2.8..4.3), (10, 0.75, 2.0..4.0), (20, 0.6, 1.3..3.6)] {
        let path = Path { loss, ..Path::GOOD };
        let mut world = World::call(40 + loss, path, (speech("alice.wav"), speech("bob.wav")));
        world.run(Duration::from_secs(12));
        let (at_alice, at_bob) = world.similarity();
        for (peer, similarity) in world.peers.iter().zip([at_alice, at_bob]) {
            let report = peer.report();
            assert!(similarity.score > least_score, "{loss} %: {similarity:?} {report:?}");
            assert!((report.loss() - loss as f32 / 100.0).abs() < 0.06, "{loss} %: {report:?}");
            assert!(report.recovered * 2 > report.lost, "{loss} %: {report:?}");
            assert!(mos.contains(&report.mos.unwrap()), "{loss} %: {report:?}");
        }
    }
}

#[test]
fn reordering_is_heard_by_nobody() {
    let path = Path { jitter: 60 * MS, ..Path::GOOD };
    let mut world = World::call(3, path, (speech("alice.wav"), speech("bob.wav")));
    world.run(Duration::from_secs(12));
    let (at_alice, at_bob) = world.similarity();
    for (peer, similarity) in world.peers.iter().zip([at_alice, at_bob]) {
        let report = peer.report();
        assert!(similarity.is_faithful(), "{similarity:?} {report:?}");
        assert!(report.late * 20 < report.received, "{report:?}");
        assert!((40.0..120.0).contains(&report.buffer_ms), "{report:?}");
    }
}

#[test]
fn silence_sends_little() {
    let mut world = World::connected(4, Path::GOOD, (vec![], signal::tone(440.0, 0.3).take(480_000).collect()));
    let (quiet, loud) = (world.alice().sent, world.bob().sent);
    world.run(Duration::from_secs(5));
    let (quiet, loud) = (world.alice().sent - quiet, world.bob().sent - loud);
    assert_eq!(loud, 250);
    assert!(quiet < 30, "{quiet} packets of silence in five seconds");
    assert_eq!(world.bob().report().concealed, 0, "a pause is no loss: {:?}", world.bob().report());
}

#[test]
fn a_clock_that_runs_fast_is_followed() {
    for skew in [-500, 500] {
        let tone: Vec<f32> = signal::speechlike(5).take(48_000 * 62).collect();
        let mut world = World::call(5, Path::GOOD, (tone, vec![]));
        world.alice().skew(skew);
        world.run(Duration::from_secs(60));
        // Half a millisecond a second is 30 ms in a minute: one frame and a half, made up or skipped.
        let report = world.bob().report();
        assert!(report.buffer_ms < 80.0, "{report:?}");
        assert!(report.late + report.concealed < 20, "{skew}: {report:?}");
    }
}

/// Round trips of 100 ms. The callee is active when it sends the answer, the caller when it gets it, 50 ms later.
#[test]
fn set_up_takes_few_round_trips() {
    let path = Path { delay: 50 * MS, ..Path::GOOD };
    let mut world = World::new(6, path);
    let (a, b) = (address("10.0.0.1:4000"), address("10.0.0.2:5000"));
    let (offer, description) = Offer::new(config(), world.now, Direction::SendRecv, &[a]);
    let mut offered = Offered::new(config(), world.now, description).unwrap();
    offered.add_local(b);
    let (answer, description) = offered.answer(world.now, Direction::SendRecv).unwrap();
    let tone = || signal::tone(440.0, 0.3).take(480_000).collect::<Vec<_>>();
    let answered = world.now;
    let bob = answer.activate(world.now, Permit::session_is_active());
    world.add(Peer::new("bob", bob, b, tone()));
    world.run(50 * MS);
    let alice = offer.accept(world.now, &description.sdp, Permit::session_is_active()).unwrap();
    world.add(Peer::new("alice", alice, a, tone()));
    world.run(Duration::from_secs(3));
    for peer in &world.peers {
        let connected = peer.connected_at().unwrap().since(answered);
        let sound = peer.first_sound.unwrap().since(answered);
        println!("{}: connected {connected:?} after the answer, first sound {sound:?}", peer.name);
        assert!(connected <= 550 * MS, "{}: {connected:?}", peer.name);
        assert!(sound <= 700 * MS, "{}: {sound:?}", peer.name);
    }
}

#[test]
fn web_91_a_wrong_certificate_ends_the_call() {
    let mut world = World::new(7, Path::GOOD);
    let (a, b) = (address("10.0.0.1:4000"), address("10.0.0.2:5000"));
    let (offer, description) = Offer::new(config(), world.now, Direction::SendRecv, &[a]);
    let mut offered = Offered::new(config(), world.now, description).unwrap();
    offered.add_local(b);
    let (answer, description) = offered.answer(world.now, Direction::SendRecv).unwrap();
    // Somebody else signed: same everything, another fingerprint.
    let (before, fingerprint) = description.sdp.split_once("a=fingerprint:sha-256 ").unwrap();
    let flipped = if fingerprint.starts_with("00") { "11" } else { "00" };
    let forged = format!("{before}a=fingerprint:sha-256 {flipped}{}", &fingerprint[2..]);
    let bob = answer.activate(world.now, Permit::session_is_active());
    let alice = offer.accept(world.now, &forged, Permit::session_is_active()).unwrap();
    world.add(Peer::new("alice", alice, a, vec![0.1; 48_000]));
    world.add(Peer::new("bob", bob, b, vec![0.1; 48_000]));
    world.run(Duration::from_secs(5));
    assert!(world.alice().saw(&Event::Failed(Failure::Fingerprint)), "{:?}", world.alice().events);
    assert!(!world.alice().saw(&Event::Connected));
    assert_eq!(world.alice().sent, 0);
    assert!(world.bob().heard.iter().all(|sample| *sample == 0.0));
}

#[test]
fn without_a_path_the_call_fails_after_thirty_seconds() {
    let mut world = World::call(8, Path { loss: 100, ..Path::GOOD }, (vec![], vec![]));
    world.run(Duration::from_secs(29));
    assert!(!world.alice().saw(&Event::Failed(Failure::Connectivity)));
    world.run(Duration::from_secs(2));
    for peer in &world.peers {
        assert!(peer.saw(&Event::Failed(Failure::Connectivity)), "{:?}", peer.events);
    }
    let sent = world.transmitted;
    world.run(Duration::from_secs(30));
    assert_eq!(world.transmitted, sent, "a failed call is silent");
}

#[test]
fn closing_tells_the_peer() {
    let mut world = World::connected(9, Path::GOOD, (vec![], vec![]));
    let now = world.now;
    world.alice().call.close(now);
    world.run(Duration::from_secs(1));
    assert!(world.bob().saw(&Event::Closed), "{:?}", world.bob().events);
    assert!(now >= at(1000));
}

/// Timers of the handshake, of ICE and of our own must not catch up with a call that works.
#[test]
fn a_call_lasts() {
    let mut world = World::connected(10, Path::GOOD, (vec![], vec![]));
    world.run(Duration::from_secs(200));
    for peer in &world.peers {
        let unwanted = |event: &Event| !matches!(event, Event::Link(_) | Event::Connected);
        assert!(
            !peer.events.iter().any(|(_, event)| unwanted(event)),
            "{:?}",
            peer.events.iter().filter(|(_, event)| unwanted(event)).collect::<Vec<_>>()
        );
    }
    world.alice().source = signal::tone(440.0, 0.3).take(48_000 * 300).collect();
    let before = world.bob().report().received;
    world.run(Duration::from_secs(2));
    assert!(world.bob().report().received > before + 90);
}

#[test]
fn the_set_up_survives_loss() {
    for seed in 0..10 {
        let mut world = World::call(100 + seed, Path { loss: 20, ..Path::GOOD }, (vec![], vec![]));
        world.run(Duration::from_secs(20));
        for peer in &world.peers {
            assert!(peer.connected_at().is_some(), "seed {seed}: {:?}", peer.events);
        }
    }
}
