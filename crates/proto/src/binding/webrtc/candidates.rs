//! The candidate exchange of one local description (file 04, section 8.2).
//!
//! ```text
//! local   Buffering ── the session becomes active ──► Trickling       what was gathered goes out as one info
//! remote  Buffering ── remote description applied ──► Applying        what arrived goes to the ICE agent
//! either  ── session ends ──► nothing is kept, sent or applied any more
//! ```
//!
//! It decides; it does not pace. What it sends goes through a [`Pacer`](super::Pacer) on the way to the wire.

use crate::wire::Did;
use crate::wire::message::{IceCandidate, IceCandidates};

/// The most candidates one `info` carries (file 04, section 8.1).
pub(super) const CANDIDATES_PER_INFO: usize = 64;

/// The most candidates of our own that one description trickles: no receiver has to take more (WEB-97).
pub const LOCAL_CANDIDATES: usize = 128;

/// The `info` messages taken from the peer for one description; WEB-97 asks for no fewer than 32.
pub const INFOS_TOLERATED: usize = 64;

/// The candidates taken from the peer for one description; WEB-97 asks for no fewer than 128.
pub const CANDIDATES_TOLERATED: usize = 256;

/// The exchange for one local description. An accepted update begins a new one (WEB-82).
#[derive(Debug)]
pub struct Exchange {
    peer: Option<Did>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open { local: Local, remote: Remote, taken: Taken },
    Ended,
}

#[derive(Debug)]
enum Local {
    Buffering { candidates: Vec<IceCandidate>, gathered: bool },
    Trickling { sent: usize, end_sent: bool },
}

#[derive(Debug)]
struct Remote {
    description: Description,
    ended: bool,
}

#[derive(Debug)]
enum Description {
    Awaited { candidates: Vec<IceCandidate> },
    Applied,
}

/// What the peer's messages have used up of what WEB-97 grants.
#[derive(Debug, Default)]
struct Taken {
    infos: usize,
    candidates: usize,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The ICE agent found a candidate of ours.
    LocalCandidate(IceCandidate),
    /// The ICE agent has found all it will find.
    GatheringComplete,
    /// The session became ACTIVE here: the answer was accepted, or our own answer has been sent (WEB-77).
    Active,
    /// The peer's SDP was handed to the media stack.
    RemoteDescription,
    /// A verified `info` arrived.
    Info {
        /// The device that signed it.
        from: Did,
        /// What it carries.
        data: IceCandidates,
    },
    /// The session ended.
    SessionEnd,
}

/// What to do, and what was noted.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Something was put aside for later.
    Buffered {
        /// Whose candidates these are.
        side: Side,
        /// How many are waiting now.
        waiting: usize,
    },
    /// Send this in a signed `info`.
    Send(IceCandidates),
    /// Give these to the ICE agent, in this order (WEB-80).
    Apply(Vec<IceCandidate>),
    /// The peer has no more candidates.
    RemoteEnd,
    /// The input has no effect.
    Ignored(Ignored),
    /// The session ended while this many candidates were waiting; they are gone.
    Dropped(usize),
    /// The peer passed what WEB-97 grants: answer this once with `error` `policy.rate-limited`.
    RateLimited,
    /// It went on regardless: `bye` `media.failed` (file 04, section 13).
    Flooded,
}

/// Whose candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Ours.
    Local,
    /// The peer's.
    Remote,
}

/// Why an input has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// The session is over (WEB-76).
    Ended,
    /// The sender is not the device that is party to the media (WEB-69).
    NotParty,
    /// The peer said before that it has no more (WEB-70).
    AfterEnd,
    /// Over what WEB-97 grants, and said so before.
    RateLimited,
    /// More local candidates than any peer has to take.
    Surplus,
}

impl Exchange {
    /// The exchange for a first description, before the session is active. `peer` is the device whose `info` counts; an
    /// initiator does not know it before it accepts an answer (WEB-81).
    #[must_use]
    pub fn new(peer: Option<Did>) -> Self {
        let local = Local::Buffering { candidates: Vec::new(), gathered: false };
        Self { peer, state: State::Open { local, remote: Remote::awaited(), taken: Taken::default() } }
    }

    /// The exchange that an accepted update begins: the session is active already, every flag and limit starts over, and
    /// candidates that waited for a superseded offer are gone (WEB-82, WEB-97).
    #[must_use]
    pub fn renewed(peer: Did) -> Self {
        let local = Local::Trickling { sent: 0, end_sent: false };
        Self { peer: Some(peer), state: State::Open { local, remote: Remote::awaited(), taken: Taken::default() } }
    }

    /// Names the device that is party to the media: whoever signed the accepted answer, or the offer in force (WEB-81).
    pub fn set_peer(&mut self, peer: Did) {
        self.peer = Some(peer);
    }

    /// Advances the exchange. What to do comes out in order.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        let State::Open { local, remote, taken } = &mut self.state else {
            // WEB-76
            out.push(Output::Ignored(Ignored::Ended));
            return;
        };
        match input {
            Input::LocalCandidate(candidate) => local.candidate(candidate, out),
            Input::GatheringComplete => local.gathered(out),
            Input::Active => local.activate(out),
            Input::RemoteDescription => remote.apply_description(out),
            // WEB-69: without a peer there is no attribution to check, as in a trace that names none.
            Input::Info { from, .. } if self.peer.as_ref().is_some_and(|peer| *peer != from) => {
                out.push(Output::Ignored(Ignored::NotParty));
            }
            // WEB-70
            Input::Info { .. } if remote.ended => out.push(Output::Ignored(Ignored::AfterEnd)),
            Input::Info { data, .. } => match taken.take(&data) {
                None => remote.receive(data, out),
                Some(refused) => out.push(refused),
            },
            Input::SessionEnd => {
                let waiting = local.waiting() + remote.waiting();
                self.state = State::Ended;
                // WEB-74, WEB-75
                if waiting > 0 {
                    out.push(Output::Dropped(waiting));
                }
            }
        }
    }
}

impl Local {
    fn candidate(&mut self, candidate: IceCandidate, out: &mut Vec<Output>) {
        match self {
            Self::Buffering { candidates, .. } if candidates.len() < LOCAL_CANDIDATES => {
                // WEB-60
                candidates.push(candidate);
                out.push(Output::Buffered { side: Side::Local, waiting: candidates.len() });
            }
            Self::Trickling { sent, .. } if *sent < LOCAL_CANDIDATES => {
                // WEB-61
                *sent += 1;
                out.push(Output::Send(IceCandidates { candidates: vec![candidate], end_of_candidates: false }));
            }
            Self::Buffering { .. } | Self::Trickling { .. } => out.push(Output::Ignored(Ignored::Surplus)),
        }
    }

    fn gathered(&mut self, out: &mut Vec<Output>) {
        match self {
            // WEB-62
            Self::Buffering { gathered, .. } => *gathered = true,
            // WEB-63, WEB-64, WEB-78
            Self::Trickling { end_sent, .. } => {
                if !std::mem::replace(end_sent, true) {
                    out.push(Output::Send(IceCandidates { candidates: Vec::new(), end_of_candidates: true }));
                }
            }
        }
    }

    fn activate(&mut self, out: &mut Vec<Output>) {
        let Self::Buffering { candidates, gathered } = self else {
            return;
        };
        let (candidates, gathered) = (std::mem::take(candidates), *gathered);
        *self = Self::Trickling { sent: candidates.len(), end_sent: gathered };
        // WEB-65, WEB-66
        out.extend(split(IceCandidates { candidates, end_of_candidates: gathered }).map(Output::Send));
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Buffering { candidates, .. } => candidates.len(),
            Self::Trickling { .. } => 0,
        }
    }
}

impl Remote {
    fn awaited() -> Self {
        Self { description: Description::Awaited { candidates: Vec::new() }, ended: false }
    }

    fn apply_description(&mut self, out: &mut Vec<Output>) {
        // WEB-67, WEB-68
        match std::mem::replace(&mut self.description, Description::Applied) {
            Description::Awaited { candidates } if !candidates.is_empty() => out.push(Output::Apply(candidates)),
            Description::Awaited { .. } | Description::Applied => {}
        }
    }

    fn receive(&mut self, data: IceCandidates, out: &mut Vec<Output>) {
        if !data.candidates.is_empty() {
            match &mut self.description {
                // WEB-71
                Description::Awaited { candidates } => {
                    candidates.extend(data.candidates);
                    out.push(Output::Buffered { side: Side::Remote, waiting: candidates.len() });
                }
                // WEB-72
                Description::Applied => out.push(Output::Apply(data.candidates)),
            }
        }
        // WEB-73
        if data.end_of_candidates {
            self.ended = true;
            out.push(Output::RemoteEnd);
        }
    }

    fn waiting(&self) -> usize {
        match &self.description {
            Description::Awaited { candidates } => candidates.len(),
            Description::Applied => 0,
        }
    }
}

impl Taken {
    /// Counts `data`; says what to do instead of taking it once the peer is over its limit. One complaint, then silence,
    /// then one request to hang up: a flood must not be answered message by message.
    fn take(&mut self, data: &IceCandidates) -> Option<Output> {
        let excess = |count: usize, limit: usize| count.saturating_sub(limit);
        let over =
            |taken: &Self| excess(taken.infos, INFOS_TOLERATED).max(excess(taken.candidates, CANDIDATES_TOLERATED));
        let before = over(self);
        self.infos = self.infos.saturating_add(1);
        self.candidates = self.candidates.saturating_add(data.candidates.len());
        match (before, over(self)) {
            (_, 0) => None,
            (0, _) => Some(Output::RateLimited),
            (before, after) if before < INFOS_TOLERATED && after >= INFOS_TOLERATED => Some(Output::Flooded),
            _ => Some(Output::Ignored(Ignored::RateLimited)),
        }
    }
}

impl Ignored {
    /// The label that traces and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::NotParty => "not-party",
            Self::AfterEnd => "after-end",
            Self::RateLimited => "rate-limited",
            Self::Surplus => "surplus",
        }
    }
}

/// WEB-79: no more than 64 candidates each, and the end marker on the last alone. Nothing to say makes no message.
pub(super) fn split(data: IceCandidates) -> impl Iterator<Item = IceCandidates> {
    let IceCandidates { mut candidates, end_of_candidates: mut end } = data;
    std::iter::from_fn(move || {
        if candidates.len() > CANDIDATES_PER_INFO {
            let rest = candidates.split_off(CANDIDATES_PER_INFO);
            return Some(IceCandidates {
                candidates: std::mem::replace(&mut candidates, rest),
                end_of_candidates: false,
            });
        }
        let last =
            IceCandidates { candidates: std::mem::take(&mut candidates), end_of_candidates: std::mem::take(&mut end) };
        (!says_nothing(&last)).then_some(last)
    })
}

pub(super) fn says_nothing(data: &IceCandidates) -> bool {
    data.candidates.is_empty() && !data.end_of_candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Did {
        "did:key:z6MkPeer".parse().expect("a DID")
    }

    fn candidate(port: usize) -> IceCandidate {
        IceCandidate {
            candidate: format!("candidate:1 1 udp 1 192.0.2.1 {port} typ host"),
            sdp_mid: "0".to_owned(),
            sdp_m_line_index: None,
        }
    }

    fn candidates(count: usize) -> Vec<IceCandidate> {
        (0..count).map(candidate).collect()
    }

    fn info(count: usize, end_of_candidates: bool) -> Input {
        Input::Info { from: peer(), data: IceCandidates { candidates: candidates(count), end_of_candidates } }
    }

    fn feed(exchange: &mut Exchange, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut out = Vec::new();
        for input in inputs {
            exchange.handle(input, &mut out);
        }
        out
    }

    fn sizes(out: &[Output]) -> Vec<(usize, bool)> {
        out.iter()
            .filter_map(|output| match output {
                Output::Send(data) => Some((data.candidates.len(), data.end_of_candidates)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn web_66_becoming_active_with_nothing_gathered_says_nothing() {
        let mut exchange = Exchange::new(Some(peer()));
        assert_eq!(feed(&mut exchange, [Input::Active, Input::Active]), []);
    }

    #[test]
    fn web_78_the_end_marker_goes_out_once_whenever_gathering_ended() {
        let mut exchange = Exchange::new(Some(peer()));
        let out =
            feed(&mut exchange, [Input::GatheringComplete, Input::Active, Input::Active, Input::GatheringComplete]);
        assert_eq!(sizes(&out), [(0, true)]);
    }

    #[test]
    fn web_79_more_than_sixty_four_candidates_are_split_and_the_end_is_on_the_last() {
        for (count, expected) in [
            (63, vec![(63, true)]),
            (64, vec![(64, true)]),
            (65, vec![(64, false), (1, true)]),
            (128, vec![(64, false), (64, true)]),
        ] {
            let mut exchange = Exchange::new(Some(peer()));
            feed(&mut exchange, candidates(count).into_iter().map(Input::LocalCandidate));
            let out = feed(&mut exchange, [Input::GatheringComplete, Input::Active]);
            assert_eq!(sizes(&out), expected, "{count}");
            let sent = out.into_iter().flat_map(|output| match output {
                Output::Send(data) => data.candidates,
                _ => Vec::new(),
            });
            assert_eq!(sent.collect::<Vec<_>>(), candidates(count), "WEB-80: order is kept");
        }
    }

    #[test]
    fn local_candidates_are_bounded_before_and_after_activation() {
        let mut exchange = Exchange::new(Some(peer()));
        let all = || candidates(LOCAL_CANDIDATES + 1).into_iter().map(Input::LocalCandidate);
        assert_eq!(feed(&mut exchange, all()).pop(), Some(Output::Ignored(Ignored::Surplus)));
        let out = feed(&mut exchange, [Input::Active, Input::LocalCandidate(candidate(0))]);
        assert_eq!(out.last(), Some(&Output::Ignored(Ignored::Surplus)));
    }

    #[test]
    fn web_69_without_a_known_peer_everyone_counts_and_afterwards_only_the_peer() {
        let mut exchange = Exchange::new(None);
        assert_eq!(feed(&mut exchange, [info(1, false)]), [Output::Buffered { side: Side::Remote, waiting: 1 }]);
        exchange.set_peer("did:key:z6MkOther".parse().expect("a DID"));
        assert_eq!(feed(&mut exchange, [info(1, false)]), [Output::Ignored(Ignored::NotParty)]);
    }

    #[test]
    fn web_70_a_repeated_end_marker_is_ignored() {
        let mut exchange = Exchange::new(Some(peer()));
        let out = feed(&mut exchange, [Input::RemoteDescription, info(0, true), info(0, true), info(1, false)]);
        let ignored = || Output::Ignored(Ignored::AfterEnd);
        assert_eq!(out, [Output::RemoteEnd, ignored(), ignored()]);
    }

    #[test]
    fn web_74_to_76_the_end_of_the_session_drops_both_buffers_once() {
        let mut exchange = Exchange::new(Some(peer()));
        feed(&mut exchange, [Input::LocalCandidate(candidate(1)), info(2, false)]);
        let out = feed(&mut exchange, [Input::SessionEnd, Input::SessionEnd, Input::RemoteDescription, Input::Active]);
        let ended = || Output::Ignored(Ignored::Ended);
        assert_eq!(out, [Output::Dropped(3), ended(), ended(), ended()]);
        assert_eq!(feed(&mut Exchange::new(None), [Input::SessionEnd]), []);
    }

    #[test]
    fn web_82_an_update_begins_a_fresh_exchange_that_trickles_at_once() {
        let mut exchange = Exchange::renewed(peer());
        let out = feed(&mut exchange, [Input::LocalCandidate(candidate(1)), Input::GatheringComplete]);
        assert_eq!(sizes(&out), [(1, false), (0, true)]);
        assert_eq!(feed(&mut exchange, [info(1, true)]).len(), 2);
    }

    #[test]
    fn web_97_a_peer_gets_its_grant_one_complaint_and_one_request_to_hang_up() {
        let mut exchange = Exchange::new(Some(peer()));
        feed(&mut exchange, [Input::RemoteDescription]);
        let out = feed(&mut exchange, (0..10 * INFOS_TOLERATED).map(|_| info(1, false)));
        let count = |wanted: &Output| out.iter().filter(|output| *output == wanted).count();
        assert!(out.iter().take(INFOS_TOLERATED).all(|output| matches!(output, Output::Apply(_))));
        assert_eq!(out.get(INFOS_TOLERATED), Some(&Output::RateLimited));
        assert_eq!((count(&Output::RateLimited), count(&Output::Flooded)), (1, 1));
    }

    #[test]
    fn web_97_what_waits_for_the_remote_description_is_bounded() {
        let mut exchange = Exchange::new(Some(peer()));
        let out = feed(&mut exchange, (0..100).map(|_| info(64, false)));
        let most = out.iter().filter_map(|output| match output {
            Output::Buffered { waiting, .. } => Some(*waiting),
            _ => None,
        });
        assert_eq!(most.max(), Some(CANDIDATES_TOLERATED));
        assert_eq!(feed(&mut exchange, [Input::SessionEnd]), [Output::Dropped(CANDIDATES_TOLERATED)]);
    }
}
