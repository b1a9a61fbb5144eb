//! The jitter buffer alone: arrivals as tables, playing as what would be heard.

use std::time::Duration;

use dsip_media::jitter::{Jitter, Next};
use dsip_proto::time::Tick;

/// A 20 ms Opus packet that says which it is.
fn packet(number: u8) -> [u8; 3] {
    [1 << 3, number, number]
}

fn millis(millis: u64) -> Tick {
    Tick::from_micros(millis * 1000)
}

/// Feeds `(arrival, number)` and plays every 20 ms until `end`; numbers played, `r` recovered, `c` concealed, `.` pause.
fn play(arrivals: &[(u64, u8)], end: u64) -> (String, Jitter) {
    let mut jitter = Jitter::new();
    let mut story = String::new();
    let mut arrivals = arrivals.iter().peekable();
    for now in (0..end).step_by(20) {
        while let Some((_, number)) = arrivals.next_if(|(at, _)| *at <= now) {
            jitter.insert(millis(now), u64::from(*number), u64::from(*number) * 960, &packet(*number));
        }
        match jitter.next(millis(now)) {
            Next::Play(payload) => story += &format!("{} ", payload[1]),
            Next::Recover(..) => story += "r ",
            Next::Conceal(_) => story += "c ",
            Next::Pause(_) => story += ". ",
        }
    }
    (story, jitter)
}

fn steady(numbers: impl Iterator<Item = u8>) -> Vec<(u64, u8)> {
    numbers.map(|number| (100 + u64::from(number) * 20, number)).collect()
}

#[test]
fn a_steady_stream_is_played_as_it_is() {
    let (story, jitter) = play(&steady(0..20), 560);
    assert!(story.contains("0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"), "{story}");
    let counts = jitter.counts();
    assert_eq!((counts.received, counts.lost, counts.late, counts.played), (20, 0, 0, 20));
}

#[test]
fn a_lost_packet_is_rebuilt_from_the_next() {
    let (story, jitter) = play(&steady((0..20).filter(|number| *number != 7)), 560);
    assert!(story.contains("6 r 8"), "{story}");
    assert_eq!((jitter.counts().lost, jitter.counts().recovered), (1, 1));
}

#[test]
fn of_a_burst_only_the_last_is_rebuilt() {
    let (story, jitter) = play(&steady((0..20).filter(|number| !(7..10).contains(number))), 560);
    assert!(story.contains("6 . c r 10"), "{story}");
    let counts = jitter.counts();
    // What looked like a pause at first was a loss, as the next number shows.
    assert_eq!((counts.lost, counts.concealed, counts.recovered), (3, 2, 1));
}

#[test]
fn swapped_packets_are_put_right() {
    let mut arrivals = steady(0..20);
    arrivals.swap(7, 8);
    (arrivals[7].0, arrivals[8].0) = (arrivals[8].0, arrivals[8].0);
    let (story, jitter) = play(&arrivals, 560);
    assert!(story.contains("6 7 8 9"), "{story}");
    assert_eq!(jitter.counts().lost, 0);
}

#[test]
fn duplicates_and_latecomers_are_dropped() {
    let mut arrivals = steady((0..20).filter(|number| *number != 5));
    arrivals.push((100 + 15 * 20, 5));
    arrivals.push((100 + 10 * 20, 10));
    arrivals.sort();
    let (story, jitter) = play(&arrivals, 560);
    assert!(story.contains("4 r 6"), "{story}");
    let counts = jitter.counts();
    assert_eq!((counts.late, counts.duplicate, counts.lost), (1, 1, 0), "{counts:?}");
}

#[test]
fn a_sender_that_pauses_is_not_lossy() {
    // DTX: numbers go on, times jump.
    let mut jitter = Jitter::new();
    let mut story = Vec::new();
    for now in (0..2_000_u64).step_by(20) {
        match now {
            100..=280 => jitter.insert(millis(now), (now - 100) / 20, (now - 100) / 20 * 960, &packet(1)),
            1_000..=1_200 => jitter.insert(millis(now), 10 + (now - 1_000) / 20, (now - 100) / 20 * 960, &packet(2)),
            _ => {}
        }
        story.push(jitter.next(millis(now)));
    }
    let counts = jitter.counts();
    assert_eq!((counts.lost, counts.late, counts.played, counts.recovered), (0, 0, 21, 0), "{counts:?}");
    assert!(counts.concealed <= 5, "{counts:?}");
}

#[test]
fn the_delay_follows_the_jitter() {
    let mut jitter = Jitter::new();
    let mut random = 12_345_u64;
    let mut arrivals: Vec<(u64, u64)> = (0..1_000)
        .map(|number| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (100 + number * 20 + (random >> 33) % 80, number)
        })
        .collect();
    arrivals.sort();
    let mut arrivals = arrivals.into_iter().peekable();
    for now in (0..20_200_u64).step_by(20) {
        while let Some((_, number)) = arrivals.next_if(|(at, _)| *at <= now) {
            jitter.insert(millis(now), number, number * 960, &packet(1));
        }
        jitter.next(millis(now));
    }
    let counts = jitter.counts();
    assert!(
        jitter.delay() > Duration::from_millis(70) && jitter.delay() < Duration::from_millis(130),
        "{:?}",
        jitter.delay()
    );
    assert!(counts.late < 40 && counts.lost == 0, "{counts:?}");
}

#[test]
fn a_new_stream_takes_over() {
    let mut jitter = Jitter::new();
    for now in (0..1_000_u64).step_by(20) {
        jitter.insert(millis(now), now / 20, now / 20 * 960, &packet(1));
        jitter.next(millis(now));
    }
    // The sender starts over, far away in time and number.
    let mut heard = 0;
    for now in (1_000..2_000_u64).step_by(20) {
        jitter.insert(millis(now), 1_000_000 + now / 20, 90_000_000 + now / 20 * 960, &packet(2));
        heard += u32::from(matches!(jitter.next(millis(now)), Next::Play(payload) if payload[1] == 2));
    }
    assert!(heard > 40, "{heard}");
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut jitter = Jitter::new();
    let mut most = 0;
    for number in 0..100_000_u64 {
        jitter.insert(millis(1), number, number % 90 * 960, &packet(1));
        jitter.insert(millis(1), number, u64::MAX / 2 - number, &packet(1));
        most = most.max(jitter.waiting());
    }
    assert_eq!(most, 200, "full, and never fuller");
    for now in 0..1_000 {
        jitter.next(millis(now * 20));
    }
    // Times and numbers at their extremes must not overflow.
    for extreme in [0, 1, u64::MAX / 4, u64::MAX - 1, u64::MAX] {
        for _ in 0..4 {
            jitter.insert(Tick::from_micros(u64::MAX), extreme, extreme, &packet(1));
            jitter.next(Tick::from_micros(u64::MAX));
            assert!(jitter.waiting() <= 200);
        }
    }
}
