//! How long it takes to set up a call, in round trips, beside what the protocol needs at least.
//!
//! `cargo x bench setup`. Virtual time: no machine makes it quicker or slower. Where the minimum comes from is told at
//! [`Delays::MINIMUM`].

use std::time::Duration;

use dsip_sim::setup::{Delays, ROUND_TRIP, measure};

/// Engines draw keys and ids at random. It makes no difference, and that is worth being sure of.
const WORLDS: u64 = 10;

fn main() {
    let worlds: Vec<Delays> = (1..=WORLDS).map(measure).collect();
    println!("round trips of {} ms, the slowest of {WORLDS} worlds\n", ROUND_TRIP.as_millis());
    println!("{:<48} {:>7} {:>8} {:>9}", "", "ours", "minimum", "distance");
    let row = |what: &str, delay: fn(&Delays) -> Duration| {
        let ours = worlds.iter().map(delay).max().map_or(f64::NAN, round_trips);
        let minimum = round_trips(delay(&Delays::MINIMUM));
        println!("{what:<48} {ours:>7.2} {minimum:>8.2} {:>9.2}", ours - minimum);
    };
    row("press to ring (warm: 0-RTT)", |delays| delays.ring);
    row("ring to ringback", |delays| delays.ringback);
    row("accept to answer, verified by the caller", |delays| delays.answer);
    row("accept to first audio, caller to callee", |delays| delays.heard_by_callee);
    row("accept to first audio, callee to caller", |delays| delays.heard_by_caller);
}

fn round_trips(delay: Duration) -> f64 {
    delay.as_secs_f64() / ROUND_TRIP.as_secs_f64()
}
