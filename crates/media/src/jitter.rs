//! The jitter buffer: packets in as the network brings them, frames out as the ear wants them.
//!
//! ```text
//!   insert ──► window of transit times ──► target delay
//!      │                                        │
//!      ▼                                        ▼
//!   packets by sequence number ──► next: play, recover, conceal, pause ──► decoder
//! ```
//!
//! Each arrival tells how long the packet was on its way, up to a constant: arrival minus media time. The least such time in
//! the last ten seconds is the undisturbed path; the spread above it is jitter, and the target delay covers most of that.
//! Both clocks enter only through this difference, so a clock that runs fast or slow shifts the least time slowly, and
//! playing follows.
//!
//! The buffer changes its delay by one frame at a time: it waits (conceals without advancing) when it runs ahead of its target and
//! skips a frame when it lags, by preference a quiet one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dsip_proto::time::Tick;

use crate::codec::opus::duration;
use crate::codec::{FRAME, RATE};

/// Transit times remembered: ten seconds' worth.
const WINDOW: usize = 500;

/// The share of packets that the target delay lets arrive in time.
const IN_TIME: f32 = 0.97;

/// What the target adds to the spread: the driver asks for a frame up to one frame length later than the ideal moment.
const MARGIN: Duration = Duration::from_millis(20);

/// The target before anything is known.
const FIRST_TARGET: Duration = Duration::from_millis(40);

/// The target never exceeds this: beyond it a conversation is hard, and the late packets are better lost.
const MAX_TARGET: Duration = Duration::from_millis(400);

/// How far behind its target the buffer may play before it skips a quiet frame, and any frame.
const LAG_QUIET: Duration = Duration::from_millis(40);
const LAG_ANY: Duration = Duration::from_millis(120);

/// A packet this far from where the stream is starts a new stream, e.g. after hold.
const JUMP: u64 = 2 * RATE as u64;

/// Numbers and times that no call reaches: 48 kHz would take two centuries. Below it no sum here can overflow.
const BEYOND: u64 = 1 << 48;

/// Packets held at once: two seconds of the shortest frames anybody sends in practice.
const CAPACITY: usize = 200;

/// What to play next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Decode this.
    Play(Vec<u8>),
    /// The frame is lost but the packet after it is here: rebuild so many samples from it. It stays in the buffer.
    Recover(Vec<u8>, usize),
    /// Make up so many samples.
    Conceal(usize),
    /// The sender is silent, or seems to be (DTX, or nothing has come yet): so many samples of nothing new.
    Pause(usize),
}

/// What the buffer counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets that came, duplicates excluded.
    pub received: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Packets that came after their turn. They count as received, but nobody heard them.
    pub late: u64,
    /// Packets that came more than once.
    pub duplicate: u64,
    /// Frames played.
    pub played: u64,
    /// Frames rebuilt from the packet that followed.
    pub recovered: u64,
    /// Frames made up.
    pub concealed: u64,
    /// Frames skipped to catch up with the sender's clock.
    pub skipped: u64,
}

#[derive(Debug)]
struct Packet {
    time: u64,
    samples: usize,
    payload: Vec<u8>,
}

/// The buffer of one stream.
#[derive(Debug, Default)]
pub struct Jitter {
    packets: BTreeMap<u64, Packet>,
    /// Transit times in microseconds, newest last.
    transits: VecDeque<i64>,
    target: Option<Duration>,
    /// The stream, once it plays.
    stream: Option<Stream>,
    counts: Counts,
    /// RFC 3550, 6.4.1, in microseconds.
    jitter: f64,
    last_transit: Option<i64>,
    seq_range: Option<(u64, u64)>,
    /// Sequence numbers of streams before the present one.
    expected_before: u64,
    average_size: f32,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// The media time that is played next.
    head: u64,
    /// The sequence number last taken out.
    last_seq: Option<u64>,
    /// Frames since the delay was last changed.
    settled: u32,
    /// Packets in a row that came impossibly early or late.
    astray: u32,
    /// Frames for which there was nothing: losses or a pause, as the next packet's number will tell.
    unexplained: u64,
}

impl Jitter {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a packet; `seq` and `time` are extended and do not wrap.
    pub fn insert(&mut self, now: Tick, seq: u64, time: u64, payload: &[u8]) {
        let Some(samples) = duration(payload) else { return };
        if seq.max(time) >= BEYOND {
            return;
        }
        if let Some(stream) = &mut self.stream {
            let behind = time + JUMP < stream.head;
            let ahead = time > stream.head + JUMP;
            if behind || ahead {
                // One such packet is a stray; several are the sender's new idea of time.
                stream.astray += 1;
                if stream.astray < 3 {
                    return;
                }
                self.restart();
            } else {
                stream.astray = 0;
            }
        }
        if self.packets.contains_key(&seq) || self.stream.is_some_and(|s| s.last_seq == Some(seq)) {
            self.counts.duplicate += 1;
            return;
        }
        self.measure(now, seq, time);
        self.counts.received += 1;
        if self.stream.is_some_and(|stream| time < stream.head) {
            self.counts.late += 1;
            return;
        }
        self.average_size += (payload.len() as f32 - self.average_size) * 0.05;
        self.packets.insert(seq, Packet { time, samples, payload: payload.to_vec() });
        while self.packets.len() > CAPACITY {
            self.packets.pop_first();
            self.counts.skipped += 1;
        }
    }

    /// What to play at `now`. To be asked whenever the listener runs out of samples.
    pub fn next(&mut self, now: Tick) -> Next {
        let Some(ideal) = self.ideal_head(now) else { return Next::Pause(FRAME) };
        let Some(mut stream) = self.stream else {
            return self.start(ideal);
        };
        stream.settled = stream.settled.saturating_add(1);
        let next = self.choose(&mut stream, ideal);
        self.stream = Some(stream);
        next
    }

    /// How many packets wait to be played; never more than two hundred.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.packets.len()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let expected = self.seq_range.map_or(0, |(first, last)| last - first + 1) + self.expected_before;
        Counts { lost: expected.saturating_sub(self.counts.received), ..self.counts }
    }

    /// The interarrival jitter of RFC 3550.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter as u64)
    }

    /// How long a packet that came by the undisturbed path waits here.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.target.unwrap_or(FIRST_TARGET)
    }

    fn start(&mut self, ideal: i64) -> Next {
        let Some((_, first)) = self.packets.first_key_value() else { return Next::Pause(FRAME) };
        let head = first.time;
        if i64::try_from(head).unwrap_or(i64::MAX) > ideal {
            return Next::Pause(FRAME);
        }
        let mut stream = Stream { head, last_seq: None, settled: 0, astray: 0, unexplained: 0 };
        let next = self.choose(&mut stream, ideal);
        self.stream = Some(stream);
        next
    }

    fn choose(&mut self, stream: &mut Stream, ideal: i64) -> Next {
        while self.packets.first_key_value().is_some_and(|(_, packet)| packet.time < stream.head) {
            self.packets.pop_first();
            self.counts.late += 1;
        }
        // Positive: we play later than we need to. Negative: we are ahead of what the target allows.
        let lag = (ideal - i64::try_from(stream.head).unwrap_or(i64::MAX)).saturating_mul(1_000_000) / i64::from(RATE);
        let frame = i64::try_from(FRAME).unwrap_or(0) * 1_000_000 / i64::from(RATE);
        let Some((seq, packet)) = self.packets.first_key_value() else {
            // Not due yet by the target: wait for it rather than give it up.
            if lag >= -frame / 2 {
                stream.head += FRAME as u64;
                stream.unexplained += 1;
            }
            return Next::Pause(FRAME);
        };
        let (seq, time, samples) = (*seq, packet.time, packet.samples);
        let missing = stream.last_seq.map_or(0, |last| seq.saturating_sub(last + 1));
        self.counts.concealed += std::mem::take(&mut stream.unexplained).min(missing);
        if time > stream.head {
            let gap = usize::try_from(time - stream.head).unwrap_or(FRAME);
            if missing == 0 {
                // The sender left nothing out: it was silent.
                stream.head += gap.min(FRAME) as u64;
                return Next::Pause(gap.min(FRAME));
            }
            if gap <= FRAME {
                let payload = packet.payload.clone();
                stream.head = time;
                self.counts.recovered += 1;
                return Next::Recover(payload, gap);
            }
            if lag < -frame {
                // The hole may still be filled by a packet that is merely out of order.
                self.counts.concealed += 1;
                return Next::Conceal(FRAME);
            }
            stream.head += FRAME as u64;
            return self.conceal();
        }
        if lag < -frame && stream.settled >= 5 {
            stream.settled = 0;
            self.counts.concealed += 1;
            return Next::Conceal(FRAME);
        }
        let Some((seq, packet)) = self.packets.pop_first() else { return Next::Pause(FRAME) };
        stream.head = time + samples as u64;
        stream.last_seq = Some(seq);
        let quiet = (packet.payload.len() as f32) < self.average_size * 0.6;
        let lagging = lag >= micros(if quiet { LAG_QUIET } else { LAG_ANY });
        if lagging && stream.settled >= 5 && !self.packets.is_empty() {
            stream.settled = 0;
            self.counts.skipped += 1;
            return self.choose(stream, ideal);
        }
        self.counts.played += 1;
        Next::Play(packet.payload)
    }

    fn conceal(&mut self) -> Next {
        self.counts.concealed += 1;
        Next::Conceal(FRAME)
    }

    /// The media time that should be played now, by the target.
    fn ideal_head(&self, now: Tick) -> Option<i64> {
        let least = *self.transits.iter().min()?;
        let now = i64::try_from(now.micros()).ok()?;
        let at = now - least - micros(self.delay());
        Some((i128::from(at) * i128::from(RATE) / 1_000_000) as i64)
    }

    fn measure(&mut self, now: Tick, seq: u64, time: u64) {
        let media = i64::try_from(u128::from(time) * 1_000_000 / u128::from(RATE)).unwrap_or(i64::MAX);
        let transit = i64::try_from(now.micros()).unwrap_or(i64::MAX).saturating_sub(media);
        if let Some(last) = self.last_transit.replace(transit) {
            let difference = transit.saturating_sub(last).unsigned_abs() as f64;
            self.jitter += (difference - self.jitter) / 16.0;
        }
        self.transits.push_back(transit);
        if self.transits.len() > WINDOW {
            self.transits.pop_front();
        }
        self.seq_range = Some(match self.seq_range {
            Some((first, last)) => (first.min(seq), last.max(seq)),
            None => (seq, seq),
        });
        let mut sorted: Vec<i64> = self.transits.iter().copied().collect();
        let at = ((sorted.len() - 1) as f32 * IN_TIME) as usize;
        let (_, high, _) = sorted.select_nth_unstable(at);
        let high = *high;
        let least = self.transits.iter().min().copied().unwrap_or(high);
        let spread = Duration::from_micros(u64::try_from(high - least).unwrap_or(0));
        let wanted = (spread + MARGIN).min(MAX_TARGET);
        // A few packets say little about the path.
        self.target = Some(if self.transits.len() < 25 { wanted.max(FIRST_TARGET) } else { wanted });
    }

    /// Forgets the stream but not what was counted.
    fn restart(&mut self) {
        if let Some((first, last)) = self.seq_range.take() {
            self.expected_before += last - first + 1;
        }
        self.packets.clear();
        self.transits.clear();
        self.last_transit = None;
        self.stream = None;
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
