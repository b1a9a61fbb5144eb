//! One connection to a relay: dialling, `hello`, what waits for it, and when to try again.
//!
//! ```text
//!             Up                 relay's hello verified
//! Dialling ───────► Greeting ──────────────────────────► Bound
//!    ▲   │             │  no answer in 10 s, wrong relay,   │
//!    │   └─────────────┴──── wrong in_reply_to ─────────────┤ Down
//!    │                              ▼                       │
//!    └───── WS-22 back-off ───── Resting ◄──────────────────┘
//! ```
//!
//! `Aside` is apart from all that: another program of this device has the links (see `company`).
//!
//! Nothing that arrives acts before the relay's `hello` has been verified. What the sessions want to say waits here for it, in
//! order and bounded, except at a relay whose DID is known to be a key: TLS has proven that very key, so it may hear in the same
//! flight what it would hear a round trip later. A lost connection changes no session (WS-5, WS-23).

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::time::{Now, Tick};
use crate::wire::{Did, Ulid};

use super::Relay;

/// HEL-8: a relay that has not said `hello` by then is given up.
pub(super) const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// Envelopes one link keeps while it is not bound. A phone that is offline says little; more than this is a fault.
const WAITING_LIMIT: usize = 64;
/// Frames that did not verify before a link is hung up. A relay verifies what it forwards; one that lets this much
/// through is not doing its duty.
const REFUSALS_LIMIT: u64 = 1_000;
/// WS-22: the longest back-off.
const BACKOFF_LIMIT_SECS: u64 = 60;

/// Between two requests for TURN credentials, and the longest time that any are kept without asking anew.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
const RENEWAL_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// ELS-3: how long we stay elsewhere before we look for our own node again.
const DETOUR: Duration = Duration::from_secs(600);

/// How long a replaced link stays away: the node keeps what comes in meanwhile (SNF-1), and an invite lives longer (TMR-5).
const GIVE_WAY: Duration = Duration::from_secs(4);

/// Why a link exists, and therefore what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Our own node: kept up for as long as the phone runs.
    Home,
    /// A callee's node: closed when nothing uses it any more.
    Errand,
}

/// Credentials end before a link does; another `hello` on it brings new ones (TURN-6).
#[derive(Debug, Default)]
pub(super) struct Renewal {
    pub(super) due: Option<Tick>,
    pub(super) asked: Option<Ulid>,
}

impl Renewal {
    /// Half-way to `expires_at`, and never hastily: a relay must not make us greet it without end.
    pub(super) fn of(now: Now, expires_at: u64) -> Self {
        let left = Duration::from_secs(expires_at.saturating_sub(now.wall.secs()));
        let wait = (left / 2).clamp(RENEWAL_PAUSE, RENEWAL_LIMIT);
        Self { due: Some(now.tick + wait), asked: None }
    }

    /// The `hello` that asks is on its way; should it not be answered, another one will ask.
    pub(super) fn ask(&mut self, now: Now, hello: Ulid) {
        *self = Self { due: Some(now.tick + RENEWAL_PAUSE), asked: Some(hello) };
    }
}

/// A signed envelope that waits for its link.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) frame: String,
    pub(super) session: Option<Ulid>,
    /// Unix seconds after which the envelope would be refused anyway.
    pub(super) expires: u64,
}

#[derive(Debug)]
pub(super) enum State {
    Dialling,
    Greeting { hello: Ulid, until: Tick },
    Bound { relay: Did },
    Resting { until: Tick },
    Aside,
}

#[derive(Debug)]
pub(super) struct Link {
    /// Where it goes, or will be dialled next.
    pub(super) relay: Relay,
    /// The other of two places: where our own node says we find another when it is away, or our own while we are there.
    other: Option<Relay>,
    /// Until when we are elsewhere, if so.
    detour: Option<Tick>,
    pub(super) purpose: Purpose,
    pub(super) state: State,
    attempt: u32,
    waiting: VecDeque<Waiting>,
    /// When to ask for new TURN credentials, and the `hello` that asked already.
    pub(super) renewal: Renewal,
    /// When an errand link was last needed.
    pub(super) idle_since: Option<Tick>,
    /// Frames that did not verify lately: the count decides when to hang up. One is forgotten every second.
    refused: u64,
    /// Up to when the count has been forgotten.
    forgotten: Tick,
}

impl Link {
    pub(super) fn new(relay: Relay, purpose: Purpose) -> Self {
        Self {
            relay,
            other: None,
            detour: None,
            purpose,
            state: State::Dialling,
            attempt: 0,
            waiting: VecDeque::new(),
            renewal: Renewal::default(),
            idle_since: None,
            refused: 0,
            forgotten: Tick::from_micros(0),
        }
    }

    /// Whom we may talk to: who said a verified `hello`, or who proved the expected key in TLS and was sent ours.
    pub(super) fn listening(&self) -> Option<&Did> {
        match &self.state {
            State::Bound { relay } => Some(relay),
            State::Greeting { .. } => self.relay.node.as_ref().filter(|node| node.method() == "key"),
            State::Dialling | State::Resting { .. } | State::Aside => None,
        }
    }

    /// The relay identity whose verified `hello` owns this connection (PTY-2).
    pub(super) fn bound(&self) -> Option<&Did> {
        match &self.state {
            State::Bound { relay } => Some(relay),
            _ => None,
        }
    }

    /// Whether nothing has gone wrong here since the link was made, or last bound.
    pub(super) fn is_untried(&self) -> bool {
        self.attempt == 0
    }

    pub(super) fn greet(&mut self, hello: Ulid, now: Now) {
        self.renewal = Renewal::default();
        self.state = State::Greeting { hello, until: now.tick + GREETING_LIMIT };
    }

    /// The relay's `hello` was verified: back-off starts over (WS-25).
    pub(super) fn bind(&mut self, relay: Did) {
        self.state = State::Bound { relay };
        self.attempt = 0;
    }

    /// ELS-1: our own node says where another is; its word counts until it says something else.
    pub(super) fn know_other(&mut self, other: Option<Relay>) {
        if self.detour.is_none() {
            self.other = other;
        }
    }

    /// ELS-2: where to dial next, after `attempt` failures: our own node first, then each in turn.
    pub(super) fn turn(&mut self, now: Now) {
        let goes_elsewhere = self.attempt.is_multiple_of(2) && self.attempt > 0;
        if self.purpose == Purpose::Home
            && goes_elsewhere != self.detour.is_some()
            && let Some(other) = &mut self.other
        {
            std::mem::swap(&mut self.relay, other);
            self.detour = goes_elsewhere.then(|| now.tick + DETOUR);
        }
    }

    /// ELS-3: whether it is time to look for our own node; what waits there is handed out then (ELS-4).
    pub(super) fn is_detour_over(&self, now: Tick) -> bool {
        self.detour.is_some_and(|until| until <= now) && matches!(self.state, State::Bound { .. })
    }

    /// What waited and may go now, unless it has expired.
    pub(super) fn release(&mut self, now: Now) -> impl Iterator<Item = Waiting> + use<> {
        let secs = now.wall.secs();
        std::mem::take(&mut self.waiting).into_iter().filter(move |waiting| waiting.expires >= secs)
    }

    /// Keeps an envelope until the link is bound; the oldest goes when there are too many.
    pub(super) fn hold(&mut self, waiting: Waiting) {
        if self.waiting.len() >= WAITING_LIMIT {
            self.waiting.pop_front();
        }
        self.waiting.push_back(waiting);
    }

    /// WS-22: exponential back-off with full jitter, uniformly from 0 to min(60, 2^n) seconds.
    pub(super) fn rest(&mut self, now: Now, rng: &mut impl Rng) -> Duration {
        let ceiling = 1u64.checked_shl(self.attempt).unwrap_or(u64::MAX).min(BACKOFF_LIMIT_SECS) * 1_000_000;
        self.attempt = self.attempt.saturating_add(1);
        let delay = Duration::from_micros(rng.next_u64() % (ceiling + 1));
        self.state = State::Resting { until: now.tick + delay };
        delay
    }

    /// WS-7: a newer connection of this device took our place. It may be there for a single message or for a whole call;
    /// coming back at once would only throw it out, and be thrown out in turn.
    pub(super) fn give_way(&mut self, now: Now, rng: &mut impl Rng) {
        let jitter = Duration::from_millis(rng.next_u64() % 1000);
        self.state = State::Resting { until: now.tick + GIVE_WAY + jitter };
    }

    /// Another program of this device takes over: no link, and nothing to wait for but its end.
    pub(super) fn step_aside(&mut self) {
        self.renewal = Renewal::default();
        self.state = State::Aside;
    }

    /// That program is gone.
    pub(super) fn come_back(&mut self) {
        self.state = State::Dialling;
    }

    /// Counts a frame that did not verify. True if there were so many lately that the link is not worth having.
    pub(super) fn refuse(&mut self, now: Tick) -> bool {
        let secs = now.since(self.forgotten).as_secs();
        self.forgotten = self.forgotten + Duration::from_secs(secs);
        self.refused = self.refused.saturating_sub(secs) + 1;
        let too_many = self.refused > REFUSALS_LIMIT;
        if too_many {
            self.refused = 0;
        }
        too_many
    }

    /// When this link wants the clock.
    pub(super) fn wake(&self) -> Option<Tick> {
        match self.state {
            State::Greeting { until, .. } | State::Resting { until } => Some(until),
            State::Bound { .. } => self.renewal.due.into_iter().chain(self.detour).min(),
            State::Dialling | State::Aside => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Seed, Wall};

    const NOW: Now = Now { tick: Tick::from_micros(0), wall: Wall::from_secs(1_760_000_000) };

    fn link() -> Link {
        Link::new(
            Relay { uri: "wss://relay.example/dsip".into(), bindings: vec!["ws/1.0".into()], node: None },
            Purpose::Home,
        )
    }

    #[test]
    fn ws_22_backoff_grows_to_a_minute_and_no_further() {
        let mut rng = Seed::new([7; 32]).into_rng();
        let mut link = link();
        let mut longest = Duration::ZERO;
        for attempt in 0..200u32 {
            let delay = link.rest(NOW, &mut rng);
            let ceiling = Duration::from_secs(if attempt < 6 { 1 << attempt } else { BACKOFF_LIMIT_SECS });
            assert!(delay <= ceiling, "attempt {attempt} waits {delay:?}");
            longest = longest.max(delay);
        }
        assert!(longest > Duration::from_secs(50), "full jitter reaches towards the ceiling, got {longest:?}");
    }

    #[test]
    fn refusals_count_while_they_are_recent() {
        let (mut link, mut tick) = (link(), NOW.tick);
        for _ in 0..2 * REFUSALS_LIMIT {
            assert!(!link.refuse(tick), "one a second is forgotten as fast as it comes");
            tick = tick + Duration::from_secs(1);
        }
        let flood = (0..2 * REFUSALS_LIMIT).filter(|_| link.refuse(tick)).count();
        assert!(flood > 0, "a flood is not");
    }

    #[test]
    fn ws_23_what_waits_is_bounded_and_the_stale_is_dropped() {
        let mut link = link();
        for n in 0..WAITING_LIMIT as u64 + 10 {
            link.hold(Waiting { frame: n.to_string(), session: None, expires: NOW.wall.secs() + n });
        }
        let later = NOW.later(Duration::from_secs(20));
        let relay: Did = "did:web:relay.example".parse().expect("a DID");
        link.bind(relay);
        let sent: Vec<_> = link.release(later).map(|waiting| waiting.frame).collect();
        assert_eq!(sent.first().map(String::as_str), Some("20"));
        assert_eq!(sent.len(), WAITING_LIMIT - 10);
    }
}
