//! The store of a single node: one `redb` file, and one thread that writes it.
//!
//! | table | key | value | read |
//! |---|---|---|---|
//! | `held` | arrival number | deadline, address, envelope | at the start |
//! | `devices` | device | identity, since when away | at the start |
//! | `seen` | until when, whether of a held type, number | ids, 16 octets each | at the start |
//! | `subscriptions` | id of the `subscribe` | who, what to, until when, which `seq` is used up | at the start |
//! | `records` | stream | the `publish`, whether it was withdrawn, statements about it | at the start |
//! | `policies` | identity | who may see whether it is there, by which word, until when | at the start |
//! | `wakes` | device | identity, where it is woken, until when | at the start |
//! | `meta` | name | number | at the start |
//!
//! Arrivals go up, so envelopes are added at one end of their tree and mostly taken off at the other. Ids lie in runs by the
//! moment they are over, many to a row: a commit adds a row or two, and what is over goes as a range. Envelopes that are over
//! are released by the relay, which has them by deadline; so nothing is ever searched through.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dsip_endpoint::clock;
use dsip_proto::envelope::{HeldId, Recorded};
use dsip_proto::relay::{
    Kept, KeptDevice, KeptPolicy, KeptRecord, KeptStatement, KeptSubscription, KeptWake, Memory, Place, Write,
};
use dsip_proto::subscribe::authority::Mode;
use dsip_proto::wake::Endpoint;
use dsip_proto::wire::token::SubscriptionEvent;
use dsip_proto::wire::{Did, Ulid, base64url};
use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use tokio::sync::watch;

use super::batch::Batch;
use super::{Error, LAZY, Progress};

const HELD: TableDefinition<'_, u64, (u64, &str, &str)> = TableDefinition::new("held");
const DEVICES: TableDefinition<'_, &str, (&str, Option<u64>)> = TableDefinition::new("devices");
const SEEN: TableDefinition<'_, (u64, bool, u64), &[u8]> = TableDefinition::new("seen");
const SUBSCRIPTIONS: TableDefinition<'_, u128, Subscription<'_>> = TableDefinition::new("subscriptions");
const RECORDS: TableDefinition<'_, &str, Record<'_>> = TableDefinition::new("records");
const POLICIES: TableDefinition<'_, &str, (u128, u64, Option<Vec<&str>>)> = TableDefinition::new("policies");
const WAKES: TableDefinition<'_, &str, Wake<'_>> = TableDefinition::new("wakes");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Subscriber, device, target, events, expiry, `seq`, capability, whether records go with it.
type Subscription<'a> = (&'a str, &'a str, &'a str, Vec<&'a str>, u64, u64, Option<&'a str>, bool);

/// The `publish`, whether it was withdrawn, processors and their statements.
type Record<'a> = (&'a str, bool, Vec<(&'a str, &'a str)>);

/// Identity, URL, key and secret of the endpoint, expiry.
type Wake<'a> = (&'a str, &'a str, &'a str, &'a str, u64);

/// The names in `meta`: the version of all this, and how often the file was opened.
const FORMAT: &str = "format";
const OPENED: &str = "opened";
const THIS_FORMAT: u64 = 1;

/// The file, in a node's home.
pub(crate) const FILE: &str = "node.redb";

/// Pages kept in memory. What is read again is the edges of the trees.
const CACHE: usize = 8 << 20;

/// Ids are over in runs of so many seconds.
const RUN_SECS: u64 = 16;

/// How often ids that are over are taken off.
const SWEEP: Duration = Duration::from_secs(60);

/// How long a disk that refused a write is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// When nothing was written for so long, the file may be made smaller.
const IDLE: Duration = Duration::from_secs(10);

/// A file below this size stays as it is; a larger one is rewritten when more than half of it is free.
const COMPACT_FROM: u64 = 8 << 20;

/// The store, as its owner sees it.
pub(crate) struct Embedded {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    /// The thread is gone, and that was said.
    is_over: bool,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    batch: Batch,
    closing: bool,
}

impl Embedded {
    pub(super) fn open(home: &Path, own: &Did) -> Result<(Self, Memory), Error> {
        Self::with(Disk::file(home, own)?)
    }

    #[cfg(test)]
    pub(super) fn on(open: Box<Open>, own: &Did) -> Result<(Self, Memory), Error> {
        Self::with(Disk::open(None, open, own)?)
    }

    fn with((disk, memory): (Disk, Memory)) -> Result<(Self, Memory), Error> {
        let shared = Arc::new(Shared::default());
        let (told, progress) = watch::channel(Progress { stored: 0, writable: true });
        let writer = Writer { disk, shared: shared.clone(), told };
        let thread =
            std::thread::Builder::new().name("store".into()).spawn(move || writer.run()).map_err(Error::Thread)?;
        Ok((Self { shared, progress, is_over: false, thread: Some(thread) }, memory))
    }

    pub(super) fn write(&self, writes: &mut Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let mut pending = self.shared.lock();
        let (was_empty, was_urgent) = (pending.batch.is_empty(), pending.batch.urgent);
        for write in writes.drain(..) {
            pending.batch.push(write);
        }
        if was_empty || pending.batch.urgent && !was_urgent {
            self.shared.changed.notify_one();
        }
    }

    pub(super) async fn changed(&mut self) -> Progress {
        if self.progress.changed().await.is_err() {
            // The thread ends when this does, or it panicked: nothing is written any more, and nobody is told it was.
            if std::mem::replace(&mut self.is_over, true) {
                std::future::pending::<()>().await;
            }
            return Progress { writable: false, ..*self.progress.borrow() };
        }
        *self.progress.borrow_and_update()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // A batch is whole after each write that is pushed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what waits to the end of `batch`: at once if somebody waits for it, else in company. Says whether the store is
    /// closing. Returns empty-handed after [`IDLE`].
    fn take(&self, batch: &mut Batch) -> bool {
        let mut pending = self.lock();
        let idle_until = Instant::now() + IDLE;
        while pending.batch.is_empty() && !pending.closing {
            let (locked, timeout) = self.wait(pending, idle_until);
            pending = locked;
            if timeout {
                break;
            }
        }
        let lazy_until = Instant::now() + LAZY;
        while !pending.batch.is_empty() && !pending.batch.urgent && !pending.closing {
            let (locked, timeout) = self.wait(pending, lazy_until);
            pending = locked;
            if timeout {
                break;
            }
        }
        batch.append(&mut pending.batch);
        pending.closing
    }

    fn wait<'a>(&self, pending: MutexGuard<'a, Pending>, until: Instant) -> (MutexGuard<'a, Pending>, bool) {
        let left = until.saturating_duration_since(Instant::now());
        let (pending, timeout) = self.changed.wait_timeout(pending, left).unwrap_or_else(PoisonError::into_inner);
        (pending, timeout.timed_out())
    }

    /// Waits before the disk is tried again. Says whether the store is closing.
    fn rest(&self) -> bool {
        let until = Instant::now() + RETRY;
        let mut pending = self.lock();
        while !pending.closing {
            let (locked, timeout) = self.wait(pending, until);
            pending = locked;
            if timeout {
                break;
            }
        }
        pending.closing
    }
}

/// The thread's side.
struct Writer {
    disk: Disk,
    shared: Arc<Shared>,
    told: watch::Sender<Progress>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Batch::default();
        let mut tidy = true;
        loop {
            let closing = self.shared.take(&mut batch);
            if batch.is_empty() {
                if closing {
                    return;
                }
                if !std::mem::replace(&mut tidy, true) {
                    drop(unpanicked(&mut self.disk, Disk::tidy));
                }
                continue;
            }
            tidy = false;
            let now = clock::now().wall.secs();
            match unpanicked(&mut self.disk, |disk| disk.commit(&batch, now)).and_then(|done| Ok(done?)) {
                Ok(()) => {
                    batch.clear();
                    let before = self.told.send_replace(Progress { stored: batch.upto, writable: true });
                    if !before.writable {
                        tracing::info!("the store can be written again");
                    }
                }
                Err(error) => {
                    let mut was_writable = false;
                    self.told.send_modify(|told| was_writable = std::mem::replace(&mut told.writable, false));
                    if was_writable {
                        tracing::error!(%error, "the store cannot be written; what would have to wait is refused");
                    }
                    if self.shared.rest() {
                        tracing::error!(%error, "the store was closed with writes that it could not make");
                        return;
                    }
                }
            }
        }
    }
}

/// Why a commit was not made.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Disk(#[from] redb::Error),
    #[error("the database panicked")]
    Panicked,
}

/// A database that panics has refused: it is given up, and the next attempt opens it anew. Of nothing that it was at work on
/// was anything said to anybody.
fn unpanicked<T>(disk: &mut Disk, work: impl FnOnce(&mut Disk) -> T) -> Result<T, Failed> {
    catch_unwind(AssertUnwindSafe(|| work(disk))).map_err(|_| {
        disk.database = None;
        Failed::Panicked
    })
}

/// Opens the database; again after a failure, for one that failed once takes nothing more.
pub(super) type Open = dyn Fn() -> Result<Database, redb::DatabaseError> + Send;

/// The file.
pub(super) struct Disk {
    path: Option<PathBuf>,
    open: Box<Open>,
    database: Option<Database>,
    /// What makes keys of `seen` unique: how often the file was opened, and rows since.
    run: u64,
    rows: u64,
    swept: Option<Instant>,
}

impl Disk {
    pub(super) fn file(home: &Path, own: &Did) -> Result<(Self, Memory), Error> {
        let path = home.join(FILE);
        let file = path.clone();
        let open = move || {
            let backend = FileBackend::new(private(&file)?)?;
            redb::Builder::new().set_cache_size(CACHE).create_with_backend(backend)
        };
        Self::open(Some(path), Box::new(open), own)
    }

    fn open(path: Option<PathBuf>, open: Box<Open>, own: &Did) -> Result<(Self, Memory), Error> {
        let database = open().map_err(redb::Error::from)?;
        let run = begin(&database)?;
        let memory = read(&database, own)?;
        Ok((Self { path, open, database: Some(database), run, rows: 0, swept: None }, memory))
    }

    /// Makes everything in `batch` durable (CUS-2), or nothing. Doing so twice does no harm.
    pub(super) fn commit(&mut self, batch: &Batch, now: u64) -> Result<(), redb::Error> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.open)()?,
        };
        let sweep = self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP);
        self.rows += 1;
        write(&database, batch, (self.run << 40) + self.rows, sweep.then_some(now))?;
        self.database = Some(database);
        if sweep {
            self.swept = Some(Instant::now());
        }
        Ok(())
    }

    /// Makes the file smaller if most of it is free.
    pub(super) fn tidy(&mut self) {
        let size = self.path.as_ref().and_then(|path| std::fs::metadata(path).ok()).map_or(0, |file| file.len());
        let Some(database) = self.database.as_mut().filter(|_| size >= COMPACT_FROM) else { return };
        let used = || -> Result<u64, redb::Error> {
            let transaction = database.begin_write()?;
            let stats = transaction.stats()?;
            transaction.abort()?;
            Ok(stats.allocated_pages() * stats.page_size() as u64)
        };
        let began = Instant::now();
        let compacted = match used() {
            Ok(used) if used > size / 2 => return,
            Ok(_) => database.compact().map_err(redb::Error::from),
            Err(error) => Err(error),
        };
        match compacted {
            Ok(_) => tracing::debug!(size, took = ?began.elapsed(), "the store was made smaller"),
            // The next write finds out whether it is the disk, and starts with a fresh database.
            Err(error) => {
                tracing::debug!(%error, "the store was not made smaller");
                self.database = None;
            }
        }
    }
}

/// Makes the tables, checks the version, and counts this opening.
/// Opens a file for its owner alone, or makes it: it holds what people say to each other before they are there to hear it.
fn private(path: &Path) -> Result<File, redb::StorageError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn begin(database: &Database) -> Result<u64, Error> {
    let begin = || -> Result<Result<u64, u64>, redb::Error> {
        let transaction = database.begin_write()?;
        let run;
        {
            let mut meta = transaction.open_table(META)?;
            let format = meta.get(FORMAT)?.map_or(THIS_FORMAT, |format| format.value());
            if format != THIS_FORMAT {
                return Ok(Err(format));
            }
            run = meta.get(OPENED)?.map_or(0, |opened| opened.value()) + 1;
            meta.insert(FORMAT, THIS_FORMAT)?;
            meta.insert(OPENED, run)?;
            transaction.open_table(HELD)?;
            transaction.open_table(DEVICES)?;
            transaction.open_table(SEEN)?;
            transaction.open_table(SUBSCRIPTIONS)?;
            transaction.open_table(RECORDS)?;
            transaction.open_table(POLICIES)?;
            transaction.open_table(WAKES)?;
        }
        transaction.commit()?;
        Ok(Ok(run))
    };
    begin()?.map_err(Error::Format)
}

fn write(database: &Database, batch: &Batch, row: u64, sweep: Option<u64>) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // What is in the file is chosen by strangers, and checksums alone would let them choose what a torn commit looks like.
    transaction.set_two_phase_commit(true);
    {
        if !batch.held.is_empty() {
            let mut held = transaction.open_table(HELD)?;
            for (number, kept) in &batch.held {
                match kept {
                    Some(Kept { place, text }) => {
                        held.insert(number, (place.deadline, place.address.as_str(), &**text))?;
                    }
                    None => drop(held.remove(number)?),
                }
            }
        }
        if !batch.devices.is_empty() {
            let mut devices = transaction.open_table(DEVICES)?;
            for (device, kept) in &batch.devices {
                match kept {
                    Some(kept) => {
                        devices.insert(device.as_str(), (kept.identity.as_str(), kept.away_since))?;
                    }
                    None => drop(devices.remove(device.as_str())?),
                }
            }
        }
        write_told(&transaction, batch)?;
        if !batch.seen.is_empty() || sweep.is_some() {
            let mut seen = transaction.open_table(SEEN)?;
            for ((until, is_held), ids) in runs(&batch.seen) {
                seen.insert((until, is_held, row), ids.as_slice())?;
            }
            if let Some(now) = sweep {
                seen.retain_in(..(now, false, 0), |_, _| false)?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// What the authority keeps.
fn write_told(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    if !batch.subscriptions.is_empty() {
        let mut table = transaction.open_table(SUBSCRIPTIONS)?;
        for (id, kept) in &batch.subscriptions {
            let Some(kept) = kept else {
                table.remove(id.to_bits())?;
                continue;
            };
            let events = kept.events.iter().map(SubscriptionEvent::as_str).collect();
            let (subscriber, device) = (kept.subscriber.as_str(), kept.device.as_str());
            let (target, capability) = (kept.target.as_str(), kept.capability.as_deref());
            let row = (subscriber, device, target, events, kept.expires_at, kept.seq, capability, kept.with_record);
            table.insert(id.to_bits(), row)?;
        }
    }
    if !batch.records.is_empty() {
        let mut table = transaction.open_table(RECORDS)?;
        for (stream, kept) in &batch.records {
            let Some(kept) = kept else {
                table.remove(&**stream)?;
                continue;
            };
            let statements = kept.statements.iter().map(|kept| (kept.processor.as_str(), &*kept.text)).collect();
            table.insert(&**stream, (&*kept.text, kept.withdrawn, statements))?;
        }
    }
    if !batch.policies.is_empty() {
        let mut table = transaction.open_table(POLICIES)?;
        for (subject, kept) in &batch.policies {
            let Some(kept) = kept else {
                table.remove(subject.as_str())?;
                continue;
            };
            let listed = match &kept.mode {
                Mode::Public => None,
                Mode::Allow(listed) => Some(listed.iter().map(Did::as_str).collect()),
            };
            table.insert(subject.as_str(), (kept.said.to_bits(), kept.until, listed))?;
        }
    }
    if !batch.wakes.is_empty() {
        let mut table = transaction.open_table(WAKES)?;
        for (device, kept) in &batch.wakes {
            let Some(KeptWake { identity, endpoint, until, .. }) = kept else {
                table.remove(device.as_str())?;
                continue;
            };
            let (key, auth) = (endpoint.key().to_string(), base64url::encode(endpoint.auth()));
            table.insert(device.as_str(), (identity.as_str(), &**endpoint.url(), &*key, &*auth, *until))?;
        }
    }
    Ok(())
}

/// Ids by the moment they are over.
fn runs(seen: &[Recorded]) -> BTreeMap<(u64, bool), Vec<u8>> {
    let mut runs: BTreeMap<(u64, bool), Vec<u8>> = BTreeMap::new();
    for Recorded { id, is_held } in seen {
        let until = id.until.checked_next_multiple_of(RUN_SECS).unwrap_or(u64::MAX);
        runs.entry((until, *is_held)).or_default().extend(id.id.to_bits().to_be_bytes());
    }
    runs
}

fn read(database: &Database, own: &Did) -> Result<Memory, redb::Error> {
    let transaction = database.begin_read()?;
    let mut memory = Memory::default();
    for row in transaction.open_table(DEVICES)?.iter()? {
        let (device, kept) = row?;
        let (identity, away_since) = kept.value();
        if let (Ok(device), Ok(identity)) = (device.value().parse::<Did>(), identity.parse()) {
            memory.devices.insert(device.clone(), KeptDevice { device, identity, away_since });
        }
    }
    for row in transaction.open_table(HELD)?.iter()? {
        let (number, kept) = row?;
        let (deadline, address, text) = kept.value();
        if let Ok(address) = address.parse() {
            let place = Place { address, number: number.value(), deadline };
            memory.held.insert(place.number, Kept { place, text: text.into() });
        }
    }
    for row in transaction.open_table(SEEN)?.iter()? {
        let (key, ids) = row?;
        let (until, is_held, _) = key.value();
        for octets in ids.value().as_chunks::<16>().0 {
            // Whose it was matters for nobody's limit any more.
            let id = HeldId { id: Ulid::from_bits(u128::from_be_bytes(*octets)), sender: own.clone(), until };
            memory.seen.push(Recorded { id, is_held });
        }
    }
    read_told(&transaction, &mut memory)?;
    Ok(memory)
}

/// What the authority keeps.
fn read_told(transaction: &ReadTransaction, memory: &mut Memory) -> Result<(), redb::Error> {
    for row in transaction.open_table(SUBSCRIPTIONS)?.iter()? {
        let (id, kept) = row?;
        let (subscriber, device, target, events, expires_at, seq, capability, with_record) = kept.value();
        let (id, events) = (Ulid::from_bits(id.value()), events.iter().map(|event| event.parse()).collect());
        if let (Ok(subscriber), Ok(device), Ok(events)) = (subscriber.parse(), device.parse(), events) {
            let (target, capability) = (target.to_owned(), capability.map(str::to_owned));
            let kept =
                KeptSubscription { id, subscriber, device, target, events, expires_at, seq, capability, with_record };
            memory.subscriptions.insert(id, kept);
        }
    }
    for row in transaction.open_table(RECORDS)?.iter()? {
        let (stream, kept) = row?;
        let (text, withdrawn, statements) = kept.value();
        let statement = |(processor, text): &(&str, &str)| {
            Some(KeptStatement { processor: processor.parse().ok()?, text: (*text).into() })
        };
        let statements = statements.iter().filter_map(statement).collect();
        let stream: Arc<str> = stream.value().into();
        memory.records.insert(stream.clone(), KeptRecord { stream, text: text.into(), withdrawn, statements });
    }
    for row in transaction.open_table(POLICIES)?.iter()? {
        let (subject, kept) = row?;
        let (said, until, listed) = kept.value();
        let Ok(subject) = subject.value().parse::<Did>() else { continue };
        let mode = match listed {
            None => Mode::Public,
            Some(listed) => Mode::Allow(listed.iter().filter_map(|did| did.parse().ok()).collect()),
        };
        let kept = KeptPolicy { subject: subject.clone(), said: Ulid::from_bits(said), until, mode };
        memory.policies.insert(subject, kept);
    }
    for row in transaction.open_table(WAKES)?.iter()? {
        let (device, kept) = row?;
        let (identity, url, key, auth, until) = kept.value();
        if let (Ok(device), Ok(identity), Ok(endpoint)) =
            (device.value().parse::<Did>(), identity.parse(), Endpoint::new(url, key, auth))
        {
            memory.wakes.insert(device.clone(), KeptWake { device, identity, endpoint, until });
        }
    }
    Ok(())
}
