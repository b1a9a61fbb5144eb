//! One session: its states, and what every transition has at hand.

use std::collections::BTreeSet;
use std::time::Duration;

use super::active::Active;
use super::called::Called;
use super::calling::Calling;
use super::message::{Proof, Received};
use super::output::{Media, Output, Send, TimerEvent, TimerName, Ui};
use super::party::Peer;
use crate::time::{Now, Tick};
use crate::wire::{Did, Reason, Ulid};

/// A session that has not ended.
#[derive(Debug)]
pub(super) enum Session {
    /// We invited somebody (§2): INVITING, PROCEEDING.
    Calling(Calling),
    /// Somebody invited us (§3): OFFERED, ALERTING.
    Called(Called),
    /// There is a signed answer (§4): ACTIVE.
    Active(Active),
}

/// The record of a session that has ended, kept to recognise late traffic (SES-10). Ending takes no time (SES-9).
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) at: Tick,
    pub(super) role: EndedRole,
}

/// What an ended session still has to know.
#[derive(Debug)]
pub(super) enum EndedRole {
    /// We had invited `to`; a late answer is released with this reason (INI-13).
    Initiator { to: Did, late_answer: Reason },
    /// We had been invited by this device.
    Responder { peer: Peer },
}

/// What a transition leaves behind.
#[derive(Debug)]
pub(super) enum Step {
    /// The session goes on.
    Stay(Session),
    /// It has ended.
    End(Ended),
}

impl From<Calling> for Step {
    fn from(state: Calling) -> Self {
        Self::Stay(Session::Calling(state))
    }
}

impl From<Called> for Step {
    fn from(state: Called) -> Self {
        Self::Stay(Session::Called(state))
    }
}

impl From<Active> for Step {
    fn from(state: Active) -> Self {
        Self::Stay(Session::Active(state))
    }
}

impl From<Ended> for Step {
    fn from(state: Ended) -> Self {
        Self::End(state)
    }
}

impl Ended {
    pub(super) fn initiator(to: Did, late_answer: Reason, turn: &Turn<'_>) -> Self {
        Self { at: turn.now.tick, role: EndedRole::Initiator { to, late_answer } }
    }

    pub(super) fn responder(peer: Peer, turn: &Turn<'_>) -> Self {
        Self { at: turn.now.tick, role: EndedRole::Responder { peer } }
    }
}

/// One transition's surroundings: when, in which session, and where its actions go, in the order they are to happen.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) session: Ulid,
    pub(super) lengths: &'a TimerLengths,
    pub(super) timers: &'a mut Timers,
    pub(super) out: &'a mut Vec<Output>,
}

impl Turn<'_> {
    pub(super) fn send(&mut self, message: Send) {
        self.out.push(Output::Send(message));
    }

    pub(super) fn ui(&mut self, event: Ui) {
        self.out.push(Output::Ui { about: Some(self.session), event });
    }

    pub(super) fn media(&mut self, action: Media) {
        self.out.push(Output::Media { session: self.session, action });
    }

    /// `err(R)`: tells the sender, and changes nothing (SES-11).
    pub(super) fn error(&mut self, received: &Received, reason: Reason) {
        let (to, session, in_reply_to) = (received.from.clone(), Some(self.session), received.id);
        self.send(Send::Error { to, session, reason, in_reply_to });
    }

    /// Starts a timer.
    pub(super) fn start(&mut self, name: TimerName, secs: u64) -> Timer {
        self.out.push(Output::Timer { session: self.session, name, event: TimerEvent::Start(secs) });
        self.timers.started += 1;
        let timer = Timer { name, at: (self.now.tick + Duration::from_secs(secs), self.timers.started) };
        self.timers.running.insert((timer.at.0, timer.at.1, self.session));
        timer
    }

    /// Starts a timer in place of one that runs, which is no stop of its own (§0).
    pub(super) fn restart(&mut self, running: &Timer, secs: u64) -> Timer {
        self.timers.running.remove(&(running.at.0, running.at.1, self.session));
        self.start(running.name, secs)
    }

    /// Stops a timer; one that has just fired no longer runs, and no stop is told.
    pub(super) fn stop(&mut self, timer: &Timer) {
        if self.timers.running.remove(&(timer.at.0, timer.at.1, self.session)) {
            self.out.push(Output::Timer { session: self.session, name: timer.name, event: TimerEvent::Stop });
        }
    }
}

/// A timer of one session. A session never has two at once.
#[derive(Debug)]
pub(super) struct Timer {
    pub(super) name: TimerName,
    /// When it fires, and which start it was: timers due at once fire in start order (TMR-11).
    at: (Tick, u64),
}

/// Every running timer of the endpoint.
#[derive(Debug, Default)]
pub(super) struct Timers {
    running: BTreeSet<(Tick, u64, Ulid)>,
    started: u64,
}

impl Timers {
    /// When the next timer fires.
    pub(super) fn next(&self) -> Option<Tick> {
        self.running.first().map(|(at, ..)| *at)
    }

    /// Takes the first timer that is due at `now`: when it was due, and whose it is.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<(Tick, Ulid)> {
        let (at, _, session) = *self.running.first()?;
        if at > now {
            return None;
        }
        self.running.pop_first();
        Some((at, session))
    }
}

/// The configured timer lengths, in seconds, within their bounds (TMR-10).
#[derive(Debug, Clone, Copy)]
pub(super) struct TimerLengths {
    pub(super) establish: u64,
    pub(super) ring: u64,
    pub(super) ring_local: u64,
}

/// The bounds of T-Establish, in seconds (TMR-1).
pub const T_ESTABLISH: std::ops::RangeInclusive<u64> = 5..=60;

/// The bounds of T-Ring and T-Ring-Local, in seconds (TMR-2, TMR-4).
pub const T_RING: std::ops::RangeInclusive<u64> = 30..=300;

/// The hard cap of T-Queue, in seconds (TMR-3).
pub const T_QUEUE_MAX: u64 = 1_800;

/// `secs` within `bounds`.
pub(super) fn clamp(secs: u64, bounds: &std::ops::RangeInclusive<u64>) -> u64 {
    secs.clamp(*bounds.start(), *bounds.end())
}

/// The peer as a message proved it.
impl Peer {
    pub(super) fn of(received: &Received, identity: Did) -> Self {
        let until = received.proof.as_ref().and_then(|proof: &Proof| proof.until);
        Self { device: received.from.clone(), identity, until }
    }
}
