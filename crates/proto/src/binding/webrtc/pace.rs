//! How fast candidates go out (WEB-96): found together, sent together, and never more than ten `info` in a second.

use std::collections::VecDeque;
use std::time::Duration;

use super::candidates::{says_nothing, split};
use crate::time::Tick;
use crate::wire::message::IceCandidates;

/// Candidates that appear within this time of each other share an `info`.
const WINDOW: Duration = Duration::from_millis(50);

/// No more than [`PER_SECOND`] messages leave in any stretch of this length.
const SECOND: Duration = Duration::from_secs(1);

const PER_SECOND: usize = 10;

/// Joins what an [`Exchange`](super::Exchange) sends into few messages, in order. The first one leaves at once: a window
/// that delayed it would cost every call 50 ms for nothing.
#[derive(Debug)]
pub struct Pacer {
    waiting: IceCandidates,
    departures: VecDeque<Tick>,
}

impl Pacer {
    /// Takes what is to be sent.
    pub fn push(&mut self, data: IceCandidates) {
        self.waiting.candidates.extend(data.candidates);
        self.waiting.end_of_candidates |= data.end_of_candidates;
    }

    /// The next `info` to send at `tick`, if its time has come. Call until `None`; nothing is ever lost by calling late.
    pub fn poll(&mut self, tick: Tick) -> Option<IceCandidates> {
        if self.wake()? > tick {
            return None;
        }
        if self.departures.len() >= PER_SECOND {
            self.departures.pop_front();
        }
        self.departures.push_back(tick);
        let mut parts = split(std::mem::replace(&mut self.waiting, nothing()));
        let first = parts.next();
        parts.for_each(|part| self.push(part));
        first
    }

    /// When [`Self::poll`] will have something; `None` if nothing waits.
    #[must_use]
    pub fn wake(&self) -> Option<Tick> {
        if says_nothing(&self.waiting) {
            return None;
        }
        let after_last = self.departures.back().map_or(Tick::default(), |last| *last + WINDOW);
        let oldest = self.departures.front().filter(|_| self.departures.len() >= PER_SECOND);
        Some(oldest.map_or(after_last, |oldest| after_last.max(*oldest + SECOND)))
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self { waiting: nothing(), departures: VecDeque::new() }
    }
}

fn nothing() -> IceCandidates {
    IceCandidates { candidates: Vec::new(), end_of_candidates: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::IceCandidate;

    fn one(name: usize) -> IceCandidates {
        let candidate =
            IceCandidate { candidate: format!("candidate:{name}"), sdp_mid: "0".into(), sdp_m_line_index: None };
        IceCandidates { candidates: vec![candidate], end_of_candidates: false }
    }

    fn at(millis: u64) -> Tick {
        Tick::from_micros(millis * 1000)
    }

    #[test]
    fn web_96_the_first_leaves_at_once_and_what_follows_closely_is_joined() {
        let mut pacer = Pacer::default();
        pacer.push(one(1));
        assert_eq!(pacer.poll(at(1000)).map(|data| data.candidates.len()), Some(1));
        pacer.push(one(2));
        pacer.push(one(3));
        pacer.push(IceCandidates { candidates: Vec::new(), end_of_candidates: true });
        assert_eq!(pacer.poll(at(1049)), None);
        assert_eq!(pacer.wake(), Some(at(1050)));
        let joined = pacer.poll(at(1050)).expect("due");
        assert_eq!((joined.candidates.len(), joined.end_of_candidates), (2, true));
        assert_eq!((pacer.wake(), pacer.poll(at(9999))), (None, None));
    }

    #[test]
    fn web_96_never_more_than_ten_in_any_second_and_nothing_is_lost() {
        let mut pacer = Pacer::default();
        let mut departures = Vec::new();
        let mut sent = Vec::new();
        for millis in 0..6000 {
            if millis < 4000 && millis % 20 == 0 {
                pacer.push(one(usize::try_from(millis).expect("small")));
            }
            while let Some(data) = pacer.poll(at(millis)) {
                departures.push(millis);
                sent.extend(data.candidates);
            }
        }
        assert_eq!(sent.len(), 200);
        assert!(sent.windows(2).all(|pair| pair[0] != pair[1]));
        for (index, first) in departures.iter().enumerate() {
            assert!(departures.get(index + PER_SECOND).is_none_or(|later| later - first >= 1000), "{departures:?}");
        }
    }

    #[test]
    fn web_79_a_long_wait_still_splits_at_sixty_four() {
        let mut pacer = Pacer::default();
        (0..100).for_each(|name| pacer.push(one(name)));
        pacer.push(IceCandidates { candidates: Vec::new(), end_of_candidates: true });
        let first = pacer.poll(at(0)).expect("due");
        let second = pacer.poll(at(50)).expect("due");
        assert_eq!((first.candidates.len(), first.end_of_candidates), (64, false));
        assert_eq!((second.candidates.len(), second.end_of_candidates), (36, true));
    }
}
