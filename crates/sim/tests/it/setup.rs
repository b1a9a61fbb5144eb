//! How many round trips a call takes to set up.

use std::time::Duration;

use dsip_sim::setup::{Delays, ROUND_TRIP, measure};

/// The engine hands an audio packet out a timer's tick after it was given one.
const TICKS: Duration = Duration::from_millis(1);

#[test]
fn a_warm_call_rings_after_one_round_trip_and_is_answered_after_another() {
    let delays = measure(1);
    assert_eq!(delays.ring, ROUND_TRIP, "hello and invite travel in the first flight");
    assert_eq!(delays.ringback, ROUND_TRIP);
    assert_eq!(delays.answer, ROUND_TRIP);
    assert_eq!((delays.ring, delays.answer), (Delays::MINIMUM.ring, Delays::MINIMUM.answer));
}

/// The engine lets the handshake wait for ICE to nominate a pair, which costs both a round trip, and DTLS 1.2 costs the callee
/// another one.
#[test]
fn audio_flows_one_and_two_round_trips_after_it_could() {
    for seed in 1..=5 {
        let (delays, least) = (measure(seed), Delays::MINIMUM);
        assert!(delays.heard_by_callee <= least.heard_by_callee + ROUND_TRIP + TICKS, "{delays:?}");
        assert!(delays.heard_by_caller <= least.heard_by_caller + 2 * ROUND_TRIP + TICKS, "{delays:?}");
    }
}
