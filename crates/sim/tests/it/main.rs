//! Worlds in virtual time. `cargo x sim NAME --seed N` replays one with its story on screen.

mod calls;
mod chaos;
mod contact;
mod elsewhere;
mod faults;
mod network;
mod races;
mod renegotiation;
mod setup;
mod sleeping;
mod strangers;
mod watching;

use dsip_proto::agent::Event;
use dsip_proto::wire::token::Status;
use dsip_proto::wire::{Reason, Ulid};

/// Whether an event is the end of `call`, and why.
fn end_of(event: &Event, call: Ulid) -> Option<(Reason, bool)> {
    match event {
        Event::Ended { call: ended, reason, missed, .. } if *ended == call => Some((reason.clone(), *missed)),
        _ => None,
    }
}

/// Whether a device of the callee said it rings.
fn is_ringing(event: &Event) -> bool {
    matches!(event, Event::Progress { status, .. } if *status == Status::RINGING)
}
