//! What a run found, for people and for machines.

use std::fmt;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};
use serde::{Serialize, Serializer};

use super::exchange::Pace;
use super::measure::{Figures, Flow, Measure, Stage, Tally};
use super::node_metrics::{Memory, Sample};
use super::schedule::{Exchange, Plan};
use crate::failure::Exit;

/// A generator that sends one message in a hundred later than this measures itself.
const LATE: Duration = Duration::from_millis(10);

/// Octets.
pub(super) const MIB: f64 = 1_048_576.0;

/// What the run was asked to do.
pub(super) struct Setting {
    pub(super) target: String,
    pub(super) seed: u64,
    pub(super) plan: Plan,
    pub(super) pace: Pace,
    pub(super) away: Duration,
    pub(super) deadline: Duration,
}

/// Who was there when the load began.
#[derive(Debug, Serialize)]
pub(super) struct Gathered {
    pub(super) asked: usize,
    pub(super) bound: usize,
    /// Over WebSocket, over QUIC.
    pub(super) over: [usize; 2],
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    #[serde(serialize_with = "rounded")]
    pub(super) mean_ms: f64,
    #[serde(serialize_with = "rounded")]
    pub(super) p50_ms: f64,
    #[serde(serialize_with = "rounded")]
    pub(super) p90_ms: f64,
    #[serde(serialize_with = "rounded")]
    pub(super) p99_ms: f64,
    #[serde(serialize_with = "rounded")]
    pub(super) p99_9_ms: f64,
    #[serde(serialize_with = "rounded")]
    pub(super) max_ms: f64,
}

impl Percentiles {
    pub(super) fn of<C: Counter>(histogram: &Histogram<C>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1000.0,
        }
    }

    /// The columns of a table, after the count.
    pub(super) fn columns(&self) -> [String; 5] {
        let none = self.count == 0;
        [self.p50_ms, self.p90_ms, self.p99_ms, self.p99_9_ms, self.max_ms].map(|value| match value {
            _ if none => "–".into(),
            value if value < 10.0 => format!("{value:.2}"),
            value if value < 100.0 => format!("{value:.1}"),
            value => format!("{value:.0}"),
        })
    }
}

/// One kind of message.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) flow: Flow,
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) late: u64,
    pub(super) lost: u64,
    pub(super) refused: u64,
    pub(super) unsent: u64,
    pub(super) latency: Percentiles,
}

impl Row {
    fn of(flow: Flow, figures: &Figures) -> Self {
        let Figures { sent, arrived, late, lost, refused, unsent, latency } = figures;
        Self {
            flow,
            sent: *sent,
            arrived: *arrived,
            late: *late,
            lost: *lost,
            refused: *refused,
            unsent: *unsent,
            latency: Percentiles::of(latency),
        }
    }
}

/// One kind of exchange.
#[derive(Debug, Serialize)]
pub(super) struct Played {
    pub(super) exchange: Exchange,
    #[serde(flatten)]
    pub(super) tally: Tally,
}

/// Something that went wrong, and how often.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    pub(super) stage: Stage,
    pub(super) reason: String,
    pub(super) count: u64,
}

/// What a run found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    event: &'static str,
    pub(super) target: String,
    pub(super) seed: u64,
    pub(super) calls_per_second: f64,
    pub(super) mix: String,
    #[serde(serialize_with = "seconds")]
    pub(super) ramp_s: Duration,
    #[serde(serialize_with = "seconds")]
    pub(super) ring_s: Duration,
    #[serde(serialize_with = "seconds")]
    pub(super) hold_s: Duration,
    #[serde(serialize_with = "seconds")]
    pub(super) away_s: Duration,
    #[serde(serialize_with = "seconds")]
    pub(super) deadline_s: Duration,
    /// How long exchanges began.
    #[serde(serialize_with = "seconds")]
    pub(super) load_s: Duration,
    /// Somebody ended it before its time.
    pub(super) stopped: bool,
    pub(super) devices: Gathered,
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) lost: u64,
    pub(super) refused: u64,
    pub(super) unsent: u64,
    pub(super) unexpected: u64,
    pub(super) altered: u64,
    /// Messages that arrived, by second of load.
    #[serde(serialize_with = "rounded")]
    pub(super) per_second: f64,
    pub(super) exchanges: Vec<Played>,
    pub(super) messages: Vec<Row>,
    pub(super) setup: Percentiles,
    pub(super) connect: Percentiles,
    pub(super) bind: Percentiles,
    /// How late the generator itself was.
    pub(super) lateness: Percentiles,
    /// Whether the generator kept its schedule; if not, the latencies are its own.
    pub(super) kept_schedule: bool,
    /// Of the node, if its metrics were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Memory>,
    pub(super) faults: Vec<Fault>,
}

impl Report {
    pub(super) fn new(
        measure: &Measure,
        setting: Setting,
        devices: Gathered,
        load: Duration,
        stopped: bool,
        node: &[Sample],
    ) -> Self {
        let rows = Flow::ALL.map(|flow| Row::of(flow, measure.flow(flow)));
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        let arrived = sum(|row| row.arrived);
        let lateness = Percentiles::of(&measure.lateness);
        Self {
            event: "summary",
            target: setting.target,
            seed: setting.seed,
            calls_per_second: setting.plan.rate,
            mix: setting.plan.mix.to_string(),
            ramp_s: setting.plan.ramp,
            ring_s: setting.pace.ring,
            hold_s: setting.pace.hold,
            away_s: setting.away,
            deadline_s: setting.deadline,
            load_s: load,
            stopped,
            devices,
            sent: sum(|row| row.sent),
            arrived,
            lost: sum(|row| row.lost),
            refused: sum(|row| row.refused),
            unsent: sum(|row| row.unsent),
            unexpected: measure.unexpected,
            altered: measure.altered,
            per_second: if load.is_zero() { 0.0 } else { arrived as f64 / load.as_secs_f64() },
            exchanges: measure
                .exchanges()
                .filter(|(_, tally)| tally.begun > 0)
                .map(|(exchange, tally)| Played { exchange, tally })
                .collect(),
            messages: rows.into_iter().filter(|row| row.sent + row.unsent > 0).collect(),
            setup: Percentiles::of(&measure.setup),
            connect: Percentiles::of(&measure.connect),
            bind: Percentiles::of(&measure.bind),
            kept_schedule: lateness.p99_ms <= LATE.as_secs_f64() * 1000.0,
            lateness,
            memory: Memory::of(node),
            faults: measure
                .faults()
                .into_iter()
                .map(|(stage, reason, count)| Fault { stage, reason: reason.to_owned(), count })
                .collect(),
        }
    }

    /// What a reader must not overlook.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.kept_schedule {
            warnings.push(format!(
                "THE GENERATOR WAS LATE: it sent one message in a hundred {:.0} ms or more after it should have. The \
                 latencies are its own, not the node's: give it more processor time, or less to do.",
                self.lateness.p99_ms
            ));
        }
        if self.devices.bound < self.devices.asked {
            warnings.push(format!(
                "{} of {} devices were not bound and took no part.",
                self.devices.asked - self.devices.bound,
                self.devices.asked
            ));
        }
        if self.refused > 0 {
            warnings.push(format!(
                "The node refused {} of {} messages, for the reasons in the list.",
                self.refused, self.sent
            ));
        }
        if self.unsent > 0 {
            warnings.push(format!(
                "{} messages were due and not sent, mostly because their sender had lost its connection.",
                self.unsent
            ));
        }
        let broken = [
            (self.lost, "did not arrive in time"),
            (self.unexpected, "arrived a second time, or where nobody waited for them"),
            (self.altered, "arrived with another text than was sent"),
        ];
        warnings.extend(broken.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| {
            let messages = if count == 1 { "message" } else { "messages" };
            format!("{count} {messages} {what}.")
        }));
        warnings
    }

    /// How the command ends: what a node accepts, it has to deliver once, unchanged.
    pub(super) fn exit(&self) -> Exit {
        if self.lost + self.unexpected + self.altered > 0 {
            Exit::NotSo
        } else if self.arrived == 0 && self.refused > 0 {
            Exit::Refused
        } else if self.arrived == 0 && self.unsent > 0 {
            Exit::Unreachable
        } else {
            Exit::Done
        }
    }

    /// Spans besides those of single messages.
    pub(super) fn spans(&self) -> [(&'static str, &Percentiles); 4] {
        [
            ("call set-up, invite to answer", &self.setup),
            ("connection open", &self.connect),
            ("connection bound", &self.bind),
            ("the generator's own lateness", &self.lateness),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ws, quic] = self.devices.over;
        writeln!(f, "node         {}", self.target)?;
        writeln!(
            f,
            "devices      {} of {}: {ws} over ws/1.0, {quic} over quic/1.0",
            self.devices.bound, self.devices.asked
        )?;
        let early = if self.stopped { ", ended early" } else { "" };
        writeln!(
            f,
            "load         {:.1} s{early}, {} a second after {:.1} s, {} (seed {})",
            self.load_s.as_secs_f64(),
            self.calls_per_second,
            self.ramp_s.as_secs_f64(),
            self.mix,
            self.seed
        )?;
        writeln!(
            f,
            "messages     {} sent, {} arrived ({:.0} a second), {} refused, {} lost, {} not sent\n",
            self.sent, self.arrived, self.per_second, self.refused, self.lost, self.unsent
        )?;
        writeln!(f, "{:<14}{:>9}{:>11}{:>9}{:>9}", "exchange", "begun", "completed", "broken", "cut off")?;
        for Played { exchange, tally } in &self.exchanges {
            let Tally { begun, completed, broken, cut_off } = tally;
            writeln!(f, "{:<14}{begun:>9}{completed:>11}{broken:>9}{cut_off:>9}", exchange.name())?;
        }
        let header = ["sent", "arrived", "late", "refused", "lost"];
        write!(f, "\n{:<14}", "message, ms")?;
        header.iter().try_for_each(|name| write!(f, "{name:>9}"))?;
        ["p50", "p90", "p99", "p99.9", "max"].iter().try_for_each(|name| write!(f, "{name:>9}"))?;
        for row in &self.messages {
            write!(f, "\n{:<14}", row.flow.name())?;
            let counts = [row.sent, row.arrived, row.late, row.refused, row.lost];
            counts.iter().try_for_each(|count| write!(f, "{count:>9}"))?;
            row.latency.columns().iter().try_for_each(|column| write!(f, "{column:>9}"))?;
        }
        writeln!(f)?;
        for (name, span) in self.spans() {
            write!(f, "\n{name:<50}{:>9}", span.count)?;
            span.columns().iter().try_for_each(|column| write!(f, "{column:>9}"))?;
        }
        if let Some(Memory { first, most, last }) = self.memory {
            let [first, most, last] = [first, most, last].map(|octets| octets as f64 / MIB);
            write!(
                f,
                "\n\nthe node's memory, MiB: {first:.1} at the beginning, {most:.1} at most, {last:.1} at the end"
            )?;
        }
        for fault in &self.faults {
            write!(f, "\n{:>9} × {}: {}", fault.count, fault.stage.name(), fault.reason)?;
        }
        Ok(())
    }
}

/// How far a run has got, and what happened since the last time it was told.
#[derive(Debug, Default, Serialize)]
pub(super) struct Progress {
    event: &'static str,
    #[serde(serialize_with = "seconds")]
    at_s: Duration,
    sent: u64,
    arrived: u64,
    refused: u64,
    lost: u64,
    unsent: u64,
    /// Of the interval before this one.
    p50_ms: f64,
    p99_ms: f64,
    lateness_p99_ms: f64,
    #[serde(skip)]
    of: Duration,
    #[serde(skip)]
    arrived_now: u64,
}

impl Progress {
    /// At `at` of a load that lasts for `duration`, measured in intervals of `each`.
    pub(super) fn since(
        before: &Self,
        measure: &Measure,
        at: Duration,
        (duration, each): (Duration, Duration),
    ) -> Self {
        let mut now = Self { event: "progress", at_s: at, of: duration, ..Self::default() };
        for figures in Flow::ALL.map(|flow| measure.flow(flow)) {
            now.sent += figures.sent;
            now.arrived += figures.arrived;
            now.refused += figures.refused;
            now.lost += figures.lost;
            now.unsent += figures.unsent;
        }
        let place = usize::try_from(at.as_micros() / each.as_micros().max(1)).unwrap_or_default();
        if let Some(last) = place.checked_sub(1).and_then(|place| measure.intervals.get(place)) {
            let at = |histogram: &Histogram<u32>, quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
            now.p50_ms = at(&last.latency, 0.5);
            now.p99_ms = at(&last.latency, 0.99);
            now.lateness_p99_ms = at(&last.lateness, 0.99);
        }
        now.arrived_now = now.arrived.saturating_sub(before.arrived);
        now
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} of {:.0} s: {} messages a second, p50 {:.2} ms, p99 {:.2} ms, {} refused, {} lost",
            self.at_s.as_secs_f64(),
            self.of.as_secs_f64(),
            self.arrived_now,
            self.p50_ms,
            self.p99_ms,
            self.refused,
            self.lost
        )
    }
}

/// To the microsecond that was measured.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1000.0).round() / 1000.0)
}

fn seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(&span.as_secs_f64(), serializer)
}
