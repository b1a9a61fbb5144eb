//! Routing between devices that dial out: who is bound, which legs an invite has, what waits for whom (03 §3).
//!
//! [`Engine`] is the state machine. It sees the members of a message that routing depends on and carries the received
//! text along unread and unchanged (RLY-1). It has no connections: its host binds devices by their verified `hello`,
//! hands in verified messages, sends what comes out, and signs what the relay itself has to say.
//!
//! ```text
//!             invite, somebody bound                              invite, nobody bound but known
//!                      │                                                      │
//!                      ▼              bind: flush (RLY-50)                    ▼
//!   bind (RLY-46)   ┌──────┐ ◄──────────────────────────────────────────── queued ──► dropped: deadline (SNF-2)
//!   adds a leg ───► │ open │                                                     └──► dropped: cancel (RLY-15)
//!                   └──────┘
//!     a leg answers    │    every leg refused       the initiator
//!     (RLY-22)         │    or expired (RLY-40)     cancels (RLY-18)
//!        ┌─────────────┴──────────┬───────────────────────┐
//!        ▼                        ▼                       ▼
//!    answered                 rejected                cancelled        once no leg is live: over, kept DECIDED_KEPT
//!
//!   a leg:  delivered ──► answered · rejected · expired · cancelled    (only `delivered` is live)
//! ```
//!
//! Nothing here grows without end: what one sender makes the relay hold is booked to that sender, every inbox, the whole
//! inbox, attempts and known devices have their own limits, and each limit is a constant that says what happens at it. No
//! message costs a walk over all attempts, queues or devices.

mod attempt;
mod custody;
mod engine;
mod fanout;
pub mod host;
mod inbox;
mod kept;
mod message;
mod pushes;
pub mod rate;
#[cfg(test)]
mod tests;

pub use attempt::{LegState, Outcome, QUEUED_LEG, RINGING_LEG, SILENT_LEG};
pub use engine::{
    Config, DECIDED_KEPT, Dequeue, Drop, Engine, Input, Load, MAX_DECIDED, MAX_DEVICES, MAX_KNOWN, MAX_LEGS, MAX_LIVE,
    MAX_OPEN_PER_SENDER, Output, Path, RETENTION,
};
pub use host::Host;
pub use inbox::{
    MAX_BYTES_PER_SENDER, MAX_FOR_STRANGERS, MAX_HELD, MAX_HELD_BYTES, MAX_INTRODUCTIONS, MAX_PER_SENDER, MAX_QUEUED,
    MAX_QUEUED_BYTES, Place,
};
pub use kept::{Kept, KeptDevice, KeptPolicy, KeptRecord, KeptStatement, KeptSubscription, KeptWake, Memory, Write};
pub use message::{Body, Message};
