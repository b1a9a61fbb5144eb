//! The measurements as files that HdrHistogram's own tools read.
//!
//! `latency.hlog` is an interval log in the form V2, in milliseconds: every message that did not wait at the node. Each
//! `*.hgrm` beside it is the table of percentiles that those tools print, and that plotters take.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};

use super::measure::{Flow, Latency, Measure};
use crate::failure::Failure;

/// Lines of a table for each halving of what is left to 100 %.
const TICKS: u32 = 5;

/// What three digits take: the next power of two above twice a thousand.
const SUB_BUCKETS: u32 = 2048;

/// Microseconds in the unit of the files.
const UNIT: f64 = 1000.0;

/// Makes the directory, so that a run does not end without a place for its files.
pub(super) fn create(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))
}

/// Writes everything that has a value.
pub(super) fn write(dir: &Path, measure: &Measure, began: SystemTime, each: Duration) -> Result<(), Failure> {
    let log = dir.join("latency.hlog");
    write_log(&log, measure, began, each).map_err(|error| unwritable(&log, &error))?;
    let flows = Flow::ALL.map(|flow| (flow.name(), &measure.flow(flow).latency));
    let spans = [
        ("setup", &measure.setup),
        ("connect", &measure.connect),
        ("bind", &measure.bind),
        ("lateness", &measure.lateness),
    ];
    for (name, histogram) in flows.into_iter().chain(spans).filter(|(_, histogram)| !histogram.is_empty()) {
        let path = dir.join(format!("{name}.hgrm"));
        let mut file = File::create(&path).map(BufWriter::new).map_err(|error| unwritable(&path, &error))?;
        write_percentiles(&mut file, histogram)
            .and_then(|()| file.flush())
            .map_err(|error| unwritable(&path, &error))?;
    }
    Ok(())
}

fn write_log(path: &Path, measure: &Measure, began: SystemTime, each: Duration) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut serializer = V2DeflateSerializer::new();
    let failed = |error: IntervalLogWriterError<_>| io::Error::other(format!("{error:?}"));
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("dsip load: latency of messages, counted from when each should have been sent; milliseconds")
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(UNIT)
        .begin_log_with(&mut file, &mut serializer)?;
    for (number, interval) in (0_u32..).zip(&measure.intervals) {
        log.write_histogram(&interval.latency, each * number, each, None).map_err(failed)?;
    }
    file.flush()
}

/// The table that `HistogramLogProcessor` prints.
fn write_percentiles(file: &mut impl Write, histogram: &Latency) -> io::Result<()> {
    writeln!(file, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / UNIT, step.quantile_iterated_to());
        write!(file, "{value:>12.3} {quantile:>14.12} {count:>10}")?;
        if quantile < 1.0 { writeln!(file, " {:>14.2}", 1.0 / (1.0 - quantile))? } else { writeln!(file)? }
    }
    let (mean, deviation, max) = (histogram.mean() / UNIT, histogram.stdev() / UNIT, histogram.max() as f64 / UNIT);
    writeln!(file, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
    writeln!(file, "#[Max     = {max:>12.3}, Total count    = {:>12}]", histogram.len())?;
    writeln!(file, "#[Buckets = {:>12}, SubBuckets     = {SUB_BUCKETS:>12}]", histogram.buckets())
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(path.display(), error, "give --histograms a directory that can be written")
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::super::measure::note;
    use super::*;

    #[test]
    fn the_files_hold_what_was_measured() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut measure = Measure::new(1, Duration::from_secs(1));
        for millis in 1..=1000 {
            note(&mut measure.setup, Duration::from_millis(millis));
        }
        measure.intervals.resize_with(3, Default::default);
        note(&mut measure.intervals[2].latency, Duration::from_millis(7));
        write(dir.path(), &measure, SystemTime::now(), Duration::from_secs(1)).expect("written");

        let table = fs::read_to_string(dir.path().join("setup.hgrm")).expect("a file");
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let median = lines.iter().find(|line| line.get(1) == Some(&"0.500000000000")).expect("a median");
        assert_eq!((median[0], median[2], median[3]), ("500.223", "500", "2.00"));
        assert!(table.contains("Total count    =         1000]"), "{table}");

        let log = fs::read(dir.path().join("latency.hlog")).expect("a file");
        let entries = IntervalLogIterator::new(&log).map(|entry| entry.expect("well-formed"));
        let encoded: Vec<String> = entries
            .filter_map(|entry| match entry {
                LogEntry::Interval(interval) => Some(interval.encoded_histogram().to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(encoded.len(), 3);
        let bytes = base64(&encoded[2]);
        let read: Histogram<u32> = Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
        assert_eq!((read.len(), read.max() / 100), (1, 70));
        assert!(!dir.path().join("invite.hgrm").exists(), "nothing was measured of it");
    }

    fn base64(text: &str) -> Vec<u8> {
        let plain = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
        dsip_proto::wire::base64url::decode(&plain).expect("base64")
    }
}
