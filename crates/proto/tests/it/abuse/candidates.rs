//! Random candidates, messages and endings at one exchange and its pacer, and what must hold after each.

use std::collections::VecDeque;
use std::time::Duration;

use dsip_proto::binding::webrtc::{CANDIDATES_TOLERATED, Exchange, Ignored, Input, LOCAL_CANDIDATES, Output, Pacer};
use dsip_proto::time::Tick;
use dsip_proto::wire::Did;
use dsip_proto::wire::message::{IceCandidate, IceCandidates};

/// Reads `data` as a list of operations and checks the invariants after each.
pub(crate) fn run(data: &[u8]) {
    let mut world = World::new();
    for pair in data.chunks(2) {
        let (operation, argument) = (pair[0], pair.get(1).copied().unwrap_or_default());
        match operation % 12 {
            0..=3 => (0..=argument % 16).for_each(|_| world.gather()),
            4 => world.feed(Input::GatheringComplete),
            5 => world.activate(),
            6 => world.feed(Input::RemoteDescription),
            7 | 8 => world.hear(PEER, usize::from(argument % 65), argument & 0x80 != 0),
            9 => world.hear(STRANGER, usize::from(argument % 65), argument & 0x80 != 0),
            10 => world.wait(Duration::from_millis(u64::from(argument) * 7)),
            _ if argument > 250 => world.end(),
            _ => {}
        }
    }
}

const PEER: &str = "did:key:z6MkPeer";
const STRANGER: &str = "did:key:z6MkStranger";

struct World {
    exchange: Exchange,
    pacer: Pacer,
    tick: Tick,
    made: usize,
    active: bool,
    ended: bool,
    end_markers: usize,
    /// Candidates that the exchange sent and that have not left the pacer.
    leaving: VecDeque<IceCandidate>,
    left: usize,
    departures: Vec<Tick>,
    /// Candidates that the peer sent and that have not been applied.
    arriving: VecDeque<IceCandidate>,
    taken: usize,
    complaints: usize,
    hang_ups: usize,
}

impl World {
    fn new() -> Self {
        Self {
            exchange: Exchange::new(PEER.parse().ok()),
            pacer: Pacer::default(),
            tick: Tick::default(),
            made: 0,
            active: false,
            ended: false,
            end_markers: 0,
            leaving: VecDeque::new(),
            left: 0,
            departures: Vec::new(),
            arriving: VecDeque::new(),
            taken: 0,
            complaints: 0,
            hang_ups: 0,
        }
    }

    fn candidate(&mut self) -> IceCandidate {
        self.made += 1;
        IceCandidate { candidate: format!("candidate:{}", self.made), sdp_mid: "0".into(), sdp_m_line_index: None }
    }

    fn gather(&mut self) {
        let candidate = self.candidate();
        self.feed(Input::LocalCandidate(candidate));
    }

    fn activate(&mut self) {
        self.active = true;
        self.feed(Input::Active);
    }

    fn hear(&mut self, from: &str, count: usize, end: bool) {
        let candidates: Vec<_> = (0..count).map(|_| self.candidate()).collect();
        let from: Did = from.parse().expect("a DID");
        let data = IceCandidates { candidates: candidates.clone(), end_of_candidates: end };
        let mut out = Vec::new();
        self.exchange.handle(Input::Info { from: from.clone(), data }, &mut out);
        let refused =
            out.iter().any(|output| matches!(output, Output::Ignored(_) | Output::RateLimited | Output::Flooded));
        if from.as_str() == STRANGER {
            let why = if self.ended { Ignored::Ended } else { Ignored::NotParty };
            assert_eq!(out, [Output::Ignored(why)], "a stranger was heard");
        } else if !refused {
            self.taken += count;
            self.arriving.extend(candidates);
            assert!(self.taken <= CANDIDATES_TOLERATED, "WEB-97");
        }
        self.check(out);
    }

    fn end(&mut self) {
        self.feed(Input::SessionEnd);
        self.ended = true;
    }

    fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.exchange.handle(input, &mut out);
        self.check(out);
    }

    fn check(&mut self, out: Vec<Output>) {
        for output in out {
            assert!(!self.ended || output == Output::Ignored(Ignored::Ended), "WEB-76: {output:?}");
            match output {
                Output::Send(data) => {
                    assert!(self.active, "WEB-77: an info before the session was active");
                    assert!(data.candidates.len() <= 64, "WEB-79");
                    self.end_markers += usize::from(data.end_of_candidates);
                    assert!(self.end_markers <= 1, "WEB-78");
                    self.leaving.extend(data.candidates.iter().cloned());
                    assert!(self.leaving.len() + self.left <= LOCAL_CANDIDATES);
                    self.pacer.push(data);
                }
                Output::Apply(candidates) => {
                    for candidate in candidates {
                        assert_eq!(self.arriving.pop_front(), Some(candidate), "WEB-80: out of order");
                    }
                }
                Output::RateLimited => self.complaints += 1,
                Output::Flooded => self.hang_ups += 1,
                Output::Buffered { .. } | Output::RemoteEnd | Output::Ignored(_) | Output::Dropped(_) => {}
            }
        }
        assert!(self.complaints <= 1 && self.hang_ups <= self.complaints, "a flood was answered message by message");
        self.drain();
    }

    fn wait(&mut self, by: Duration) {
        let until = self.tick + by;
        while let Some(wake) = self.pacer.wake().filter(|wake| *wake <= until) {
            assert!(wake > self.tick, "something due was left undone");
            self.tick = wake;
            self.drain();
        }
        self.tick = until;
    }

    fn drain(&mut self) {
        while let Some(data) = self.pacer.poll(self.tick) {
            assert!(data.candidates.len() <= 64, "WEB-79");
            for candidate in data.candidates {
                assert_eq!(self.leaving.pop_front(), Some(candidate), "WEB-80: lost or out of order");
                self.left += 1;
            }
            self.departures.push(self.tick);
        }
        let tenth = self.departures.iter().rev().nth(10);
        assert!(
            tenth.is_none_or(|tenth| self.departures.last().is_none_or(|last| last.since(*tenth) >= SECOND)),
            "WEB-96"
        );
    }
}

const SECOND: Duration = Duration::from_secs(1);
