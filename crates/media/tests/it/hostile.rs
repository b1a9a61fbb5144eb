//! Anything may come over the network.

use std::time::Duration;

use dsip_media::audio::signal;
use dsip_media::call::{Description, Descriptor, Direction, Event, Offer, Offered, Permit};

use crate::world::{Path, World, address, at, config};

fn tone() -> Vec<f32> {
    signal::tone(440.0, 0.3).take(48_000 * 60).collect()
}

/// From strangers, and under the peer's own address.
#[test]
fn garbage_does_not_disturb_a_call() {
    let mut world = World::connected(51, Path::GOOD, (tone(), tone()));
    let (alice, bob) = (world.alice().locals[0], world.bob().locals[0]);
    for round in 0..3_000_u64 {
        let length = usize::try_from(world.random() % 300).unwrap();
        let mut payload: Vec<u8> = (0..length).map(|_| u8::try_from(world.random() & 0xff).unwrap()).collect();
        // Every kind of packet by its first byte: STUN, DTLS records of every type, RTP, RTCP, nothing.
        if let Some(first) = payload.first_mut() {
            *first = [0, 1, 20, 21, 22, 23, 25, 63, 128, 129, 144, 191, 255][usize::try_from(round % 13).unwrap()];
        }
        let source = if round % 2 == 0 { alice } else { address("192.0.2.66:666") };
        world.inject(source, bob, &payload);
        if round % 100 == 0 {
            world.run(Duration::from_millis(20));
        }
    }
    let before = [world.alice().report().received, world.bob().report().received];
    world.run(Duration::from_secs(3));
    for peer in [0, 1] {
        let peer = &world.peers[peer];
        assert!(
            !peer.events.iter().any(|(_, event)| matches!(event, Event::Failed(_) | Event::Closed)),
            "{:?}",
            peer.events
        );
    }
    assert!(world.alice().report().received > before[0] + 140);
    assert!(world.bob().report().received > before[1] + 140);
}

/// Recorded packets of the call itself, bits flipped and repeated.
#[test]
fn twisted_and_repeated_packets_do_not_disturb_a_call() {
    let mut world = World::call(52, Path::GOOD, (tone(), tone()));
    let (alice, bob) = (world.alice().locals[0], world.bob().locals[0]);
    world.run(Duration::from_secs(2));
    let recorded = world.recorded.clone();
    assert!(recorded.len() >= 100);
    for packet in &recorded {
        let mut twisted = packet.clone();
        let at = usize::try_from(world.random()).unwrap_or(0) % twisted.len();
        twisted[at] ^= 1 << (world.random() % 8);
        world.inject(alice, bob, &twisted);
        world.inject(alice, bob, packet);
        world.inject(alice, bob, packet);
    }
    let before = world.bob().report().received;
    world.run(Duration::from_secs(3));
    assert!(world.bob().report().received > before + 90, "{:?}", world.bob().events);
}

#[test]
fn rubbish_candidates_are_refused_and_bounded() {
    let mut world = World::connected(53, Path::GOOD, (tone(), tone()));
    let now = world.now;
    for text in ["", "candidate:", "candidate:1 1 udp", "candidate:1 1 udp 1 nowhere.local 1 typ host", "a=candidate:x"]
    {
        assert!(!world.alice().call.add_remote_candidate(now, text), "{text}");
    }
    let mut taken = 0;
    for port in 1..5_000 {
        let text = format!("candidate:1 1 udp 1 192.0.2.1 {port} typ host");
        taken += u32::from(world.alice().call.add_remote_candidate(now, &text));
    }
    assert!((128..600).contains(&taken), "WEB-97: {taken}");
    let before = world.alice().report().received;
    world.run(Duration::from_secs(2));
    assert!(world.alice().report().received > before + 90);
}

/// Damaged descriptions yield an error or a call, never a panic.
#[test]
fn damaged_sdp_is_survived() {
    let (offer, description) = Offer::new(config(), at(0), Direction::SendRecv, &[address("10.0.0.1:4000")]);
    drop(offer);
    let lines: Vec<&str> = description.sdp.split_inclusive("\r\n").collect();
    let try_as_offer = |sdp: String| {
        let description = Description { sdp, media: vec![Descriptor::audio(Direction::SendRecv)] };
        let _ = Offered::new(config(), at(0), description).unwrap().answer(at(0), Direction::SendRecv);
    };
    let try_as_answer = |sdp: &str| {
        let (offer, _) = Offer::new(config(), at(0), Direction::SendRecv, &[]);
        let _ = offer.accept(at(0), sdp, Permit::session_is_active());
    };
    for left_out in 0..lines.len() {
        let without: String =
            lines.iter().enumerate().filter(|(index, _)| *index != left_out).map(|(_, line)| *line).collect();
        try_as_answer(&without);
        try_as_offer(without);
        let twice: String = lines[..=left_out].concat() + &lines[left_out..].concat();
        try_as_answer(&twice);
        try_as_offer(twice);
        try_as_offer(lines[..left_out].concat());
    }
    for at in (0..description.sdp.len()).step_by(19) {
        let mut bytes = description.sdp.clone().into_bytes();
        bytes[at] = b'0' + u8::try_from(at % 60).unwrap();
        let sdp = String::from_utf8(bytes).unwrap();
        try_as_answer(&sdp);
        try_as_offer(sdp);
    }
}
