//! Ids that must not be accepted twice, across restarts (RPL-6).
//!
//! One record of fixed length per id, appended and synced before the message acts. A crash in mid-record leaves a tail
//! of another length, which the next record or opening cuts off.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use dsip_proto::wire::Ulid;

use super::Error;
use super::store::{self, Access};

/// `ULID SP expiry(12 digits) LF`.
const RECORD: usize = 26 + 1 + 12 + 1;

/// Below this many bytes the file is not worth rewriting.
const COMPACT_FROM: u64 = 1 << 20;

/// The ids that a home has seen, on disk.
#[derive(Debug)]
pub struct SeenLog {
    dir: PathBuf,
    compact_at: u64,
}

impl SeenLog {
    /// Opens the log of the home in `dir` and returns the ids that still matter at `now` (Unix seconds), oldest first.
    pub(super) fn open(dir: PathBuf, now: u64) -> Result<(Self, Vec<(Ulid, u64)>), Error> {
        let mut log = Self { dir, compact_at: COMPACT_FROM };
        let _guard = store::lock(&log.dir)?;
        let live = log.compact(now)?;
        Ok((log, live))
    }

    /// Remembers `id` until `until` (Unix seconds), durably: once this returns, no restart forgets it.
    ///
    /// # Errors
    /// [`Error::Io`] if it could not be written; the message must then not act.
    pub fn record(&mut self, id: Ulid, until: u64, now: u64) -> Result<(), Error> {
        let _guard = store::lock(&self.dir)?;
        let path = self.path();
        let mut file = OpenOptions::new().append(true).create(true).open(&path).map_err(Error::io(&path))?;
        store::leave_to_owner(&file, &path).map_err(Error::io(&path))?;
        let size = file.metadata().map_err(Error::io(&path))?.len();
        let torn = size % RECORD as u64;
        if torn > 0 {
            file.set_len(size - torn).map_err(Error::io(&path))?;
        }
        file.write_all(line(id, until).as_bytes()).and_then(|()| file.sync_data()).map_err(Error::io(&path))?;
        if file.metadata().map_err(Error::io(&path))?.len() >= self.compact_at {
            self.compact(now)?;
        }
        Ok(())
    }

    /// Drops what has expired and a torn tail. The file may grow to twice what stays before this is done again, so the
    /// work per record is constant on average.
    fn compact(&mut self, now: u64) -> Result<Vec<(Ulid, u64)>, Error> {
        let path = self.path();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(&path)(error)),
        };
        let live: Vec<_> =
            bytes.split_inclusive(|byte| *byte == b'\n').filter_map(parse).filter(|(_, until)| *until >= now).collect();
        if live.len() * RECORD != bytes.len() {
            let text: String = live.iter().map(|(id, until)| line(*id, *until)).collect();
            store::replace(&path, Access::Owner, text.as_bytes())?;
        }
        let size = u64::try_from(live.len() * RECORD).unwrap_or(u64::MAX);
        self.compact_at = size.saturating_mul(2).max(COMPACT_FROM);
        Ok(live)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("seen.log")
    }
}

/// Every record has the same length; an expiry of more than twelve digits would be the year 33658.
fn line(id: Ulid, until: u64) -> String {
    format!("{id} {:012}\n", until.min(999_999_999_999))
}

/// Reads the record that a line ends with; what stands before it was torn.
fn parse(line: &[u8]) -> Option<(Ulid, u64)> {
    let record = line.get(line.len().checked_sub(RECORD)?..)?;
    let text = std::str::from_utf8(record).ok()?.strip_suffix('\n')?;
    let (id, until) = text.split_once(' ')?;
    Some((id.parse().ok()?, until.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Ulid {
        format!("01K742SG001QG79X9HH56TS8{n:02}").parse().expect("a ULID")
    }

    #[test]
    fn rpl_6_seen_ids_survive_a_restart_until_they_expire() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, before) = SeenLog::open(dir.path().into(), 100).expect("opened");
        assert!(before.is_empty());
        log.record(id(1), 200, 100).expect("recorded");
        log.record(id(2), 400, 100).expect("recorded");
        let (_, live) = SeenLog::open(dir.path().into(), 200).expect("opened again");
        assert_eq!(live, [(id(1), 200), (id(2), 400)]);
        let (_, live) = SeenLog::open(dir.path().into(), 201).expect("opened later");
        assert_eq!(live, [(id(2), 400)]);
    }

    #[test]
    fn rpl_6_a_torn_record_costs_only_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, _) = SeenLog::open(dir.path().into(), 1).expect("opened");
        log.record(id(1), 200, 1).expect("recorded");
        let path = dir.path().join("seen.log");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes.extend_from_slice(&line(id(2), 300).as_bytes()[..17]);
        std::fs::write(&path, bytes).expect("torn");
        log.record(id(3), 300, 1).expect("recorded");
        assert_eq!(SeenLog::open(dir.path().into(), 1).expect("opened").1, [(id(1), 200), (id(3), 300)]);
    }

    #[test]
    fn rpl_6_a_tear_in_the_middle_hides_nothing_after_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let torn = format!("{}{}{}", &line(id(1), 200)[..31], line(id(2), 200), line(id(3), 300));
        std::fs::write(dir.path().join("seen.log"), torn).expect("torn");
        assert_eq!(SeenLog::open(dir.path().into(), 1).expect("opened").1, [(id(2), 200), (id(3), 300)]);
    }

    #[test]
    fn rpl_6_the_log_does_not_keep_what_expired() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, _) = SeenLog::open(dir.path().into(), 1).expect("opened");
        log.compact_at = 4 * RECORD as u64;
        for now in 1..=4 {
            log.record(id(1), now, now).expect("recorded");
        }
        let size = std::fs::metadata(dir.path().join("seen.log")).expect("there").len();
        assert_eq!(size, RECORD as u64, "only the last one is still alive");
    }
}
