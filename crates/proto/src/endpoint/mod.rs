//! Sessions and first contact, as one device lives them (02 §1 to §11).
//!
//! [`Engine`] is the state machine. It sees the members of a verified message that transitions depend on, and what the
//! envelope proved about the sender; it says what to send, show and start, in the order it is to happen. Offers and
//! selections are not its matter: whoever drives it checks an answer's media first and tells the result
//! ([`Body::Answer`]), so that a leg whose answer fails cannot move the session (INI-20, WEB-103).
//!
//! ```text
//!  we call                                                     we are called
//!
//!  place_call                                                  invite ──► turned away: first contact (INV-1), glare
//!      │                                                          │
//!      ▼ T-Establish                                              ▼
//!  INVITING ──────┐                                           OFFERED ── alert too late, auto_reject, cancel ──┐
//!      │ progress │ cancel, reject, timer,                        │ alert                                      │
//!      ▼          │ glare lost                                    ▼ T-Ring-Local                               │
//!  PROCEEDING ────┤ T-Ring, T-Queue                           ALERTING ── decline, timer, cancel ──────────────┤
//!      │ answer   │                                               │ accept                                     │
//!      ▼          │                                               ▼                                            │
//!   ACTIVE ───────┴─── bye, hangup, delegation lost ──► ENDED ◄── ACTIVE ── bye, hangup, crossed cancel ───────┘
//!      └── update, answer or reject of it, info                   └── the same
//! ```
//!
//! Media starts on entry to ACTIVE and nowhere else, and ACTIVE is entered in two places: where an initiator accepts an
//! answer from a device bound to whom it invited, and where a responder sends one (SES-7). Both emit [`Media::Start`];
//! nothing else does.
//!
//! `party` decides who may speak in a session at all, before any of this is looked at. `contacts` holds what first
//! contact remembers; it is the only part that outlives the process.

mod active;
mod called;
mod calling;
mod command;
mod contacts;
mod engine;
mod message;
mod output;
mod party;
mod session;
#[cfg(test)]
mod tests;

pub use active::{Direction, INFO_PERIOD, MAX_INFO, Update};
pub use calling::MAX_QUEUED;
pub use command::Command;
pub(crate) use contacts::merge_entries;
pub use contacts::{
    Contacts, Grant, MAX_ALLOWED, MAX_GRANTS, MAX_PENDING, MAX_REQUESTS, MAX_SEEN, MAX_TOKENS, Request,
    TOKEN_GRANT_SECS,
};
pub use engine::{
    Config, ENDED_KEPT, Engine, Input, MAX_ENDED, MAX_IDENTITIES, MAX_SESSIONS, MAX_UNANSWERED_PER_IDENTITY, Role,
    Snapshot, State,
};
pub use message::{Body, Proof, Received};
pub use output::{Drop, Media, Output, Refused, Send, TimerEvent, TimerName, Ui};
pub use session::{T_ESTABLISH, T_QUEUE_MAX, T_RING};
