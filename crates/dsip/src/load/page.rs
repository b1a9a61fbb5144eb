//! The report as one HTML file that needs nothing else: plots, and the same tables as the terminal shows.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

use super::measure::{Flow, Interval, Measure, Tally};
use super::node_metrics::{Memory, Sample};
use super::plot::{Plot, Scale, Series};
use super::report::{MIB, Percentiles, Played, Report};
use crate::failure::Failure;

/// Points of a percentile curve for each halving of what is left to 100 %.
const TICKS: u32 = 8;

const STYLE: &str = include_str!("page.css");

/// Makes the file, so that a run does not end without a place for it.
pub(super) fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| unwritable(path, &error))
}

/// Writes the page.
pub(super) fn write(
    mut file: File,
    path: &Path,
    report: &Report,
    measured: (&Measure, Duration),
    node: &[Sample],
) -> Result<(), Failure> {
    file.write_all(page(report, measured, node).as_bytes()).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(path.display(), error, "give --report a file that can be written")
}

fn page(report: &Report, (measure, each): (&Measure, Duration), node: &[Sample]) -> String {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    // Writing to a string cannot fail.
    let mut put = |text: std::fmt::Arguments<'_>| {
        let _ = page.write_fmt(text);
    };
    put(format_args!("<meta name=\"viewport\" content=\"width=device-width\"/>\n<title>dsip load</title>\n"));
    put(format_args!("<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>dsip load</h1>\n"));
    put(format_args!("{}", facts(report)));
    for warning in report.warnings() {
        put(format_args!("<p class=\"warning\">{}</p>\n", escaped(&warning)));
    }
    for plot in plots(measure, report.load_s, each).into_iter().chain(of_the_node(node)) {
        put(format_args!("{}\n", plot.figure()));
    }
    put(format_args!("{}{}{}", messages(report), spans(report), exchanges(report)));
    if !report.faults.is_empty() {
        put(format_args!(
            "<h2>What went wrong</h2>\n<table><tr><th>times</th><th class=\"name\">what</th><th class=\"name\">reason</th></tr>\n"
        ));
        for fault in &report.faults {
            let (count, stage, reason) = (fault.count, fault.stage.name(), escaped(&fault.reason));
            put(format_args!(
                "<tr><td>{count}</td><td class=\"name\">{stage}</td><td class=\"name long\">{reason}</td></tr>\n"
            ));
        }
        put(format_args!("</table>\n"));
    }
    put(format_args!(
        "<p class=\"note\">Latency counts from the moment a message should have been sent, whether the generator was ready or \
         not, until its recipient had it; “stored” from the moment its recipient came back. The dashed line is how late \
         the generator itself was.</p>\n</body>\n</html>\n"
    ));
    page
}

/// What was done, in a line each.
fn facts(report: &Report) -> String {
    let [ws, quic] = report.devices.over;
    let stopped = if report.stopped { ", ended early" } else { "" };
    let facts = [
        ("node", report.target.clone()),
        (
            "devices",
            format!("{} of {}: {ws} over ws/1.0, {quic} over quic/1.0", report.devices.bound, report.devices.asked),
        ),
        (
            "load",
            format!(
                "{} exchanges a second ({}), for {:.1} s{stopped}, of which {:.1} s ramp",
                report.calls_per_second,
                report.mix,
                report.load_s.as_secs_f64(),
                report.ramp_s.as_secs_f64()
            ),
        ),
        (
            "people",
            format!(
                "let it ring for {} s, talk for {} s, are away for {} s",
                report.ring_s.as_secs_f64(),
                report.hold_s.as_secs_f64(),
                report.away_s.as_secs_f64()
            ),
        ),
        (
            "messages",
            format!(
                "{} sent, {} arrived ({:.0} a second), {} refused, {} lost after {} s, {} not sent",
                report.sent,
                report.arrived,
                report.per_second,
                report.refused,
                report.lost,
                report.deadline_s.as_secs_f64(),
                report.unsent
            ),
        ),
        ("seed", report.seed.to_string()),
    ];
    let memory = report.memory.map(|Memory { first, most, last }| {
        let [first, most, last] = [first, most, last].map(|octets| octets as f64 / MIB);
        let text = format!("{first:.1} MiB at the beginning, {most:.1} at most, {last:.1} at the end");
        ("memory", text)
    });
    let rows: String = facts
        .iter()
        .chain(&memory)
        .map(|(name, text)| format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(text)))
        .collect();
    format!("<dl>\n{rows}</dl>\n")
}

/// A column of a table of latencies.
const COLUMNS: &str = "<th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th>";

fn cells(percentiles: &Percentiles) -> String {
    percentiles.columns().iter().map(|column| format!("<td>{column}</td>")).collect()
}

fn messages(report: &Report) -> String {
    let rows = report.messages.iter().map(|row| {
        let counts = [row.sent, row.arrived, row.late, row.refused, row.lost, row.unsent];
        let counts: String = counts.iter().map(|count| format!("<td>{count}</td>")).collect();
        format!("<tr><td class=\"name\">{}</td>{counts}{}</tr>\n", row.flow.name(), cells(&row.latency))
    });
    let head = "<th>sent</th><th>arrived</th><th>late</th><th>refused</th><th>lost</th><th>not sent</th>";
    format!(
        "<h2>Messages, sender to recipient, ms</h2>\n<table><tr><th></th>{head}{COLUMNS}</tr>\n{}</table>\n",
        rows.collect::<String>()
    )
}

fn spans(report: &Report) -> String {
    let rows = report
        .spans()
        .into_iter()
        .map(|(name, span)| format!("<tr><td class=\"name\">{name}</td><td>{}</td>{}</tr>\n", span.count, cells(span)));
    format!(
        "<h2>Other spans, ms</h2>\n<table><tr><th></th><th>count</th>{COLUMNS}</tr>\n{}</table>\n",
        rows.collect::<String>()
    )
}

fn exchanges(report: &Report) -> String {
    let rows = report.exchanges.iter().map(|Played { exchange, tally }| {
        let Tally { begun, completed, broken, cut_off } = tally;
        let counts: String =
            [begun, completed, broken, cut_off].iter().map(|count| format!("<td>{count}</td>")).collect();
        format!("<tr><td class=\"name\">{exchange}</td>{counts}</tr>\n")
    });
    let head = "<th>begun</th><th>completed</th><th>broken</th><th>cut off by the end</th>";
    format!("<h2>Exchanges</h2>\n<table><tr><th></th>{head}</tr>\n{}</table>\n", rows.collect::<String>())
}

fn plots(measure: &Measure, load: Duration, each: Duration) -> Vec<Plot> {
    // What is left of an interval after the end would look like a slump.
    let whole = usize::try_from(load.as_millis() / each.as_millis().max(1)).unwrap_or(usize::MAX).max(1);
    let middle = |number: usize| (number as f64 + 0.5) * each.as_secs_f64();
    let over_time = |name: &str, colour, of: &dyn Fn(&Interval) -> Option<f64>| {
        let values = measure.intervals.iter().take(whole).enumerate();
        let values: Vec<_> = values.map(|(number, interval)| (middle(number), of(interval))).collect();
        let pieces = values.split(|(_, value)| value.is_none());
        let pieces = pieces.map(|piece| piece.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect());
        Series { name: name.into(), colour, dashed: false, pieces: pieces.collect() }
    };
    let at = |histogram: &Histogram<u32>, quantile| {
        (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64 / 1000.0)
    };
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
    let mut latency: Vec<Series> = (0..)
        .zip(quantiles)
        .map(|(colour, (name, quantile))| over_time(name, colour, &|interval| at(&interval.latency, quantile)))
        .collect();
    let lateness = over_time("generator late, p99", 9, &|interval| at(&interval.lateness, 0.99));
    latency.push(Series { dashed: true, ..lateness });

    let a_second = |count: u64| Some(count as f64 / each.as_secs_f64());
    let throughput = vec![
        over_time("sent", 0, &|interval| a_second(interval.sent)),
        over_time("arrived", 1, &|interval| a_second(interval.arrived)),
        over_time("refused", 2, &|interval| a_second(interval.refused)),
        over_time("lost", 3, &|interval| a_second(interval.lost)),
    ];

    let flows = Flow::ALL.into_iter().map(|flow| (flow.name(), &measure.flow(flow).latency));
    let mut curves: Vec<Series> = (0..)
        .zip(flows)
        .filter(|(_, (_, histogram))| !histogram.is_empty())
        .map(|(colour, (name, histogram))| Series {
            name: name.into(),
            colour,
            dashed: false,
            pieces: vec![curve(histogram)],
        })
        .collect();
    let own = Series { name: "generator late".into(), colour: 9, dashed: true, pieces: vec![curve(&measure.lateness)] };
    curves.push(own);

    vec![
        Plot {
            title: "Latency over time",
            x: (Scale::Linear, "seconds of load"),
            y: (Scale::Log, "milliseconds"),
            series: latency,
        },
        Plot {
            title: "Messages a second",
            x: (Scale::Linear, "seconds of load"),
            y: (Scale::Linear, "messages a second"),
            series: throughput,
        },
        Plot {
            title: "Latency by percentile",
            x: (Scale::Quantile, "of the messages took at most"),
            y: (Scale::Log, "milliseconds"),
            series: curves,
        },
    ]
}

/// What the node said of itself; nothing if it was not asked.
fn of_the_node(samples: &[Sample]) -> Vec<Plot> {
    if samples.is_empty() {
        return Vec::new();
    }
    let line = |name: &str, colour, of: fn(&Sample) -> f64| {
        let points = samples.iter().map(|sample| (sample.at.as_secs_f64(), of(sample))).collect();
        vec![Series { name: name.into(), colour, dashed: false, pieces: vec![points] }]
    };
    let x = (Scale::Linear, "seconds, connecting included");
    vec![
        Plot {
            title: "Memory of the node",
            x,
            y: (Scale::Linear, "MiB"),
            series: line("resident", 4, |sample| sample.memory / MIB),
        },
        Plot {
            title: "Envelopes the node holds",
            x,
            y: (Scale::Linear, "envelopes"),
            series: line("queued, or not acknowledged", 5, |sample| sample.envelopes),
        },
    ]
}

/// Values in milliseconds by quantile, as far as there are enough of them.
fn curve<C: Counter>(histogram: &Histogram<C>) -> Vec<(f64, f64)> {
    let most = 1.0 - 1.0 / histogram.len().max(2) as f64;
    histogram
        .iter_quantiles(TICKS)
        .map(|step| (step.quantile_iterated_to().min(most), step.value_iterated_to() as f64 / 1000.0))
        .collect()
}

/// Text as HTML: what a node says ends up in reasons.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
