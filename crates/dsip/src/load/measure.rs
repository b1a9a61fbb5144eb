//! What was sent, what became of it, and how long that took.
//!
//! Time is a value here: every moment is a span since the epoch of the run, and comes from whoever calls. A message's
//! latency counts from when it *should* have been sent: were it counted from when it was, a generator that stalls
//! together with the node would leave out exactly the slow ones (coordinated omission). How late the generator itself was is
//! counted beside it, so that nobody takes its own slowness for the node's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use dsip_proto::wire::Ulid;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::oneshot;

use super::schedule::Exchange;

/// The most different reasons that are told apart.
const MAX_REASONS: usize = 64;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Flow {
    Invite,
    Ringing,
    Answer,
    Reject,
    Cancel,
    Bye,
    Introduction,
    Info,
    /// What waited at the node: counted from the moment its recipient came back.
    Stored,
}

impl Flow {
    pub(super) const ALL: [Self; 9] = [
        Self::Invite,
        Self::Ringing,
        Self::Answer,
        Self::Reject,
        Self::Cancel,
        Self::Bye,
        Self::Introduction,
        Self::Info,
        Self::Stored,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Ringing => "ringing",
            Self::Answer => "answer",
            Self::Reject => "reject",
            Self::Cancel => "cancel",
            Self::Bye => "bye",
            Self::Introduction => "introduction",
            Self::Info => "info",
            Self::Stored => "stored",
        }
    }
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its recipient has it, since then.
    Arrived(Duration),
    /// The node said no.
    Refused,
    /// It did not arrive in time.
    Lost,
    /// It could not be handed to a link.
    Unsent,
}

/// Where something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// Opening a link.
    Connect,
    /// Saying hello on it.
    Hello,
    /// A link that was in use ended.
    Closed,
    /// The node refused a message.
    Refused,
    /// A message could not be handed to a link.
    Unsent,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "no connection",
            Self::Hello => "no hello",
            Self::Closed => "link ended",
            Self::Refused => "refused",
            Self::Unsent => "not sent",
        }
    }
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) flow: Flow,
    /// The device that is to get it.
    pub(super) to: usize,
    /// When it should have been sent.
    pub(super) intended: Duration,
    /// From when on it counts as lost.
    pub(super) due: Duration,
    /// A hash of its text: a node changes nothing (RLY-1).
    pub(super) hash: u64,
    /// Who waits for its fate.
    pub(super) tell: oneshot::Sender<Fate>,
}

#[derive(Debug)]
struct Pending {
    flow: Flow,
    to: usize,
    intended: Duration,
    hash: u64,
    /// Gone once it was told that it is lost.
    tell: Option<oneshot::Sender<Fate>>,
}

/// Microseconds, to three digits.
pub(super) type Latency = Histogram<u64>;

/// What became of the messages of one flow.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) sent: u64,
    pub(super) arrived: u64,
    /// Among those that arrived: after their deadline.
    pub(super) late: u64,
    pub(super) lost: u64,
    pub(super) refused: u64,
    pub(super) unsent: u64,
    pub(super) latency: Latency,
}

impl Default for Figures {
    fn default() -> Self {
        Self { sent: 0, arrived: 0, late: 0, lost: 0, refused: 0, unsent: 0, latency: latency() }
    }
}

/// What became of the exchanges of one kind.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Tally {
    pub(super) begun: u64,
    pub(super) completed: u64,
    /// A message of it was lost, refused or not sent.
    pub(super) broken: u64,
    /// The load ended first.
    pub(super) cut_off: u64,
}

/// A span of the load.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    /// Of what should have been sent in this interval and did not wait at the node; to two digits, as there are many.
    pub(super) latency: Histogram<u32>,
    pub(super) lateness: Histogram<u32>,
}

impl Default for Interval {
    fn default() -> Self {
        let digits = || Histogram::new(2).expect("two digits are among those it can keep");
        Self { sent: 0, arrived: 0, refused: 0, lost: 0, latency: digits(), lateness: digits() }
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Measure {
    waiting: HashMap<Ulid, Pending>,
    due: BinaryHeap<Reverse<(Duration, Ulid)>>,
    /// Messages on their way to each device.
    towards: Vec<usize>,
    flows: [Figures; Flow::ALL.len()],
    exchanges: [Tally; Exchange::ALL.len()],
    /// When the load begins, and how long an interval of it is.
    from: Duration,
    each: Duration,
    pub(super) intervals: Vec<Interval>,
    /// Dialling a node, until the link is there.
    pub(super) connect: Latency,
    /// Dialling a node, until it answered the hello.
    pub(super) bind: Latency,
    /// From the invite to the answer, without the time it rang.
    pub(super) setup: Latency,
    /// How much later than intended messages were sent.
    pub(super) lateness: Latency,
    faults: BTreeMap<(Stage, String), u64>,
    /// Frames nobody waits for: a second copy, or on the wrong link.
    pub(super) unexpected: u64,
    /// Messages that arrived with another text than was sent.
    pub(super) altered: u64,
}

impl Measure {
    pub(super) fn new(devices: usize, each: Duration) -> Self {
        Self {
            waiting: HashMap::new(),
            due: BinaryHeap::new(),
            towards: vec![0; devices],
            flows: Default::default(),
            exchanges: Default::default(),
            from: Duration::ZERO,
            each,
            intervals: Vec::new(),
            connect: latency(),
            bind: latency(),
            setup: latency(),
            lateness: latency(),
            faults: BTreeMap::new(),
            unexpected: 0,
            altered: 0,
        }
    }

    /// The load begins.
    pub(super) fn begin(&mut self, at: Duration) {
        self.from = at;
    }

    // Messages

    /// A message was handed to its sender's link at `at`.
    pub(super) fn sent(&mut self, id: Ulid, message: Waiting, at: Duration) {
        let Waiting { flow, to, intended, due, hash, tell } = message;
        let lateness = at.saturating_sub(intended);
        note(&mut self.lateness, lateness);
        self.flows[flow as usize].sent += 1;
        let interval = self.interval(intended);
        interval.sent += 1;
        note(&mut interval.lateness, lateness);
        if let Some(towards) = self.towards.get_mut(to) {
            *towards += 1;
        }
        self.due.push(Reverse((due, id)));
        self.waiting.insert(id, Pending { flow, to, intended, hash, tell: Some(tell) });
    }

    /// The link did not take it after all.
    pub(super) fn unsent(&mut self, id: Ulid, why: &str) {
        if let Some(pending) = self.take(id) {
            let figures = &mut self.flows[pending.flow as usize];
            figures.sent -= 1;
            figures.unsent += 1;
            let interval = self.interval(pending.intended);
            interval.sent -= 1;
            tell(pending, Fate::Unsent);
        }
        self.fault(Stage::Unsent, why);
    }

    /// A frame with this id came to `device`, which is there since `back`. Whether it was waited for.
    pub(super) fn arrived(&mut self, id: Ulid, device: usize, hash: u64, back: Duration, at: Duration) -> bool {
        if self.waiting.get(&id).is_none_or(|pending| pending.to != device) {
            return false;
        }
        let Some(pending) = self.take(id) else { return false };
        if pending.hash != hash {
            self.altered += 1;
        }
        let stored = pending.flow == Flow::Stored;
        let since = if stored { pending.intended.max(back) } else { pending.intended };
        let took = at.saturating_sub(since);
        let figures = &mut self.flows[pending.flow as usize];
        figures.arrived += 1;
        note(&mut figures.latency, took);
        if pending.tell.is_none() {
            figures.lost -= 1;
            figures.late += 1;
            let then = self.interval(pending.intended);
            then.lost -= 1;
        }
        self.interval(at).arrived += 1;
        if !stored {
            note(&mut self.interval(pending.intended).latency, took);
        }
        tell(pending, Fate::Arrived(at));
        true
    }

    /// The node said that it does not route the message with this id.
    pub(super) fn refused(&mut self, id: Option<Ulid>, reason: &str, at: Duration) {
        self.fault(Stage::Refused, reason);
        let Some(pending) = id.and_then(|id| self.take(id)) else { return };
        let figures = &mut self.flows[pending.flow as usize];
        figures.refused += 1;
        if pending.tell.is_none() {
            figures.lost -= 1;
            self.interval(pending.intended).lost -= 1;
        }
        self.interval(at).refused += 1;
        tell(pending, Fate::Refused);
    }

    /// Whatever is overdue counts as lost, unless it arrives after all.
    pub(super) fn expire(&mut self, at: Duration) {
        while let Some(Reverse((due, id))) = self.due.peek().copied()
            && due <= at
        {
            self.due.pop();
            self.lose(id);
        }
    }

    /// Messages on their way to one device, those that are overdue excepted.
    pub(super) fn towards(&self, device: usize) -> usize {
        self.towards.get(device).copied().unwrap_or_default()
    }

    /// Exchanges that have begun and not ended.
    pub(super) fn under_way(&self) -> u64 {
        self.exchanges.iter().map(|one| one.begun - one.completed - one.broken - one.cut_off).sum()
    }

    pub(super) fn flow(&self, flow: Flow) -> &Figures {
        &self.flows[flow as usize]
    }

    // Exchanges and connections

    pub(super) fn tally(&mut self, exchange: Exchange) -> &mut Tally {
        &mut self.exchanges[exchange as usize]
    }

    pub(super) fn exchanges(&self) -> impl Iterator<Item = (Exchange, Tally)> {
        Exchange::ALL.into_iter().zip(self.exchanges)
    }

    /// Something went wrong that has no message, or has been counted with it.
    pub(super) fn fault(&mut self, stage: Stage, reason: &str) {
        let key = (stage, reason.to_owned());
        let known = self.faults.len() < MAX_REASONS || self.faults.contains_key(&key);
        *self.faults.entry(if known { key } else { (stage, "other reasons".into()) }).or_default() += 1;
    }

    /// What went wrong, the most frequent first.
    pub(super) fn faults(&self) -> Vec<(Stage, &str, u64)> {
        let mut faults: Vec<_> =
            self.faults.iter().map(|((stage, reason), count)| (*stage, reason.as_str(), *count)).collect();
        faults.sort_by_key(|(.., count)| Reverse(*count));
        faults
    }

    fn take(&mut self, id: Ulid) -> Option<Pending> {
        let pending = self.waiting.remove(&id)?;
        // What is overdue was taken off already.
        if pending.tell.is_some()
            && let Some(towards) = self.towards.get_mut(pending.to)
        {
            *towards -= 1;
        }
        Some(pending)
    }

    fn lose(&mut self, id: Ulid) {
        let Some(pending) = self.waiting.get_mut(&id) else { return };
        let Some(tell) = pending.tell.take() else { return };
        let (flow, to, intended) = (pending.flow, pending.to, pending.intended);
        let _ = tell.send(Fate::Lost);
        if let Some(towards) = self.towards.get_mut(to) {
            *towards -= 1;
        }
        self.flows[flow as usize].lost += 1;
        self.interval(intended).lost += 1;
    }

    /// The interval that `at` lies in.
    fn interval(&mut self, at: Duration) -> &mut Interval {
        let place = at.saturating_sub(self.from).as_micros() / self.each.as_micros().max(1);
        let place = usize::try_from(place).unwrap_or_default();
        if self.intervals.len() <= place {
            self.intervals.resize_with(place + 1, Interval::default);
        }
        &mut self.intervals[place]
    }
}

pub(super) fn latency() -> Latency {
    Histogram::new(3).expect("three digits are among those it can keep")
}

/// A histogram that grows with its values takes every one of them.
pub(super) fn note<C: hdrhistogram::Counter>(histogram: &mut Histogram<C>, span: Duration) {
    // It could only fail for a value beyond what 64 bits index; spans here are below a year.
    let _ = histogram.record(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
}

fn tell(pending: Pending, fate: Fate) {
    // An exchange that was cut off waits for nothing any more.
    let _ = pending.tell.map(|tell| tell.send(fate));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const DEADLINE: Duration = Duration::from_secs(10);

    fn measure() -> Measure {
        Measure::new(2, Duration::from_secs(1))
    }

    /// Has device 0 send message `number` to device 1.
    fn send(measure: &mut Measure, number: u32, flow: Flow, intended: Duration, at: Duration) -> (Ulid, Receiver) {
        let id = Ulid::from_bits(number.into());
        let (tell, told) = oneshot::channel();
        measure.sent(id, Waiting { flow, to: 1, intended, due: intended + DEADLINE, hash: 7, tell }, at);
        (id, told)
    }

    type Receiver = oneshot::Receiver<Fate>;

    #[test]
    fn a_stall_of_the_node_is_seen_by_every_message_that_should_have_been_sent_in_it() {
        // Ten a second for ten seconds; the node answers in 1 ms, but stands still from second 5 to second 7.
        let mut measure = measure();
        for number in 0..100 {
            let intended = number * 100 * MS;
            let stalled = (5_000 * MS..7_000 * MS).contains(&intended);
            let answered = if stalled { 7_000 * MS } else { intended + MS };
            // A generator that waits for the node sends late, and from when it sent, each message took 1 ms.
            let at = if stalled { 7_000 * MS - MS } else { intended };
            let (id, _told) = send(&mut measure, number, Flow::Info, intended, at);
            assert!(measure.arrived(id, 1, 7, Duration::ZERO, answered));
        }
        let latency = &measure.flow(Flow::Info).latency;
        // Twenty of a hundred should have been sent in those two seconds, and waited for 100 ms to 2 s.
        assert_eq!(latency.len(), 100);
        assert!((99_000..=101_000).contains(&latency.value_at_quantile(0.81)), "{}", latency.value_at_quantile(0.81));
        assert!(latency.value_at_quantile(0.905) >= 990_000, "{}", latency.value_at_quantile(0.905));
        assert!(latency.max() >= 1_999_000);
        // And that the generator was late is told.
        assert!(measure.lateness.value_at_quantile(0.99) >= 1_800_000);
        assert_eq!(measure.lateness.value_at_quantile(0.8), 0);
    }

    #[test]
    fn what_is_overdue_is_lost_until_it_arrives_after_all_and_its_latency_counts() {
        let mut measure = measure();
        let (id, mut told) = send(&mut measure, 1, Flow::Bye, Duration::ZERO, Duration::ZERO);
        measure.expire(DEADLINE - MS);
        assert!(told.try_recv().is_err());
        assert_eq!((measure.towards(1), measure.flow(Flow::Bye).lost), (1, 0));
        measure.expire(DEADLINE);
        assert_eq!(told.try_recv(), Ok(Fate::Lost));
        assert_eq!((measure.towards(1), measure.flow(Flow::Bye).lost), (0, 1));
        assert!(measure.arrived(id, 1, 7, Duration::ZERO, 2 * DEADLINE));
        let figures = measure.flow(Flow::Bye);
        assert_eq!((figures.lost, figures.late, figures.arrived), (0, 1, 1));
        assert!(figures.latency.max() >= 19_900_000);
        assert_eq!(measure.intervals[0].lost, 0);
    }

    #[test]
    fn a_copy_a_stray_and_a_changed_text_are_told_apart() {
        let mut measure = measure();
        let (id, _told) = send(&mut measure, 1, Flow::Info, Duration::ZERO, Duration::ZERO);
        assert!(!measure.arrived(id, 0, 7, Duration::ZERO, MS), "it is for another device");
        assert!(measure.arrived(id, 1, 8, Duration::ZERO, MS));
        assert_eq!(measure.altered, 1);
        assert!(!measure.arrived(id, 1, 7, Duration::ZERO, MS), "a second copy");
        assert_eq!(measure.flow(Flow::Info).arrived, 1);
    }

    #[test]
    fn what_waited_counts_from_the_moment_its_recipient_is_back() {
        let mut measure = measure();
        let (first, _told) = send(&mut measure, 1, Flow::Stored, Duration::ZERO, Duration::ZERO);
        let (second, _also) = send(&mut measure, 2, Flow::Stored, 6_000 * MS, 6_000 * MS);
        let back = 5_000 * MS;
        assert!(measure.arrived(first, 1, 7, back, back + 2 * MS));
        assert!(measure.arrived(second, 1, 7, back, 6_001 * MS));
        let latency = &measure.flow(Flow::Stored).latency;
        assert_eq!((latency.min(), latency.max()), (1_000, 2_000));
        assert!(measure.intervals.iter().all(|interval| interval.latency.is_empty()), "it is not the node's latency");
    }

    #[test]
    fn refusals_count_by_reason_and_reasons_have_a_bound() {
        let mut measure = measure();
        let (id, mut told) = send(&mut measure, 1, Flow::Invite, Duration::ZERO, Duration::ZERO);
        measure.refused(Some(id), "policy.rate-limited", MS);
        assert_eq!(told.try_recv(), Ok(Fate::Refused));
        measure.refused(None, "policy.rate-limited", MS);
        assert_eq!(measure.faults(), [(Stage::Refused, "policy.rate-limited", 2)]);
        assert_eq!((measure.flow(Flow::Invite).refused, measure.towards(1)), (1, 0));
        for number in 0..1000 {
            measure.fault(Stage::Closed, &number.to_string());
        }
        assert!(measure.faults().len() <= MAX_REASONS + Stage::Unsent as usize + 1);
    }

    #[test]
    fn what_a_link_does_not_take_was_not_sent() {
        let mut measure = measure();
        let (id, mut told) = send(&mut measure, 1, Flow::Info, Duration::ZERO, Duration::ZERO);
        measure.unsent(id, "full");
        assert_eq!(told.try_recv(), Ok(Fate::Unsent));
        let figures = measure.flow(Flow::Info);
        assert_eq!((figures.sent, figures.unsent, measure.intervals[0].sent), (0, 1, 0));
    }
}
