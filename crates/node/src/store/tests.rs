//! The embedded store on a disk that fails and on one that loses its power.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dsip_proto::envelope::{HeldId, Recorded};
use dsip_proto::identity::SecretKey;
use dsip_proto::relay::{Kept, KeptDevice, KeptPolicy, KeptRecord, KeptStatement, KeptSubscription, KeptWake, Place};
use dsip_proto::subscribe::authority::Mode;
use dsip_proto::time::Seed;
use dsip_proto::wake::Endpoint;
use dsip_proto::wire::token::SubscriptionEvent;
use dsip_proto::wire::{Did, Ulid};
use rand_chacha::rand_core::Rng as _;

use super::*;

fn did(seed: u8) -> Did {
    SecretKey::from_bytes(&[seed; 32]).did()
}

fn hold(number: u64) -> Write {
    let place = Place { address: did(2), number, deadline: 5_000 };
    Write::Hold(Kept { place, text: format!("{number} {}", "x".repeat(1500)).into() })
}

fn seen(number: u128, until: u64, is_held: bool) -> Write {
    Write::Seen(Recorded { id: HeldId { id: Ulid::from_bits(number), sender: did(1), until }, is_held })
}

fn device(seed: u8, away_since: Option<u64>) -> Write {
    Write::Device(KeptDevice { device: did(seed), identity: did(100), away_since })
}

/// Waits until the store has made `count` writes durable.
async fn stored(store: &mut Store, count: u64) {
    while store.changed().await.stored < count {}
}

#[test]
fn the_file_is_its_owners_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("node.redb");
    let mode = || std::fs::metadata(&file).expect("there").permissions().mode() & 0o777;
    drop(Store::open(home.path(), &did(9)).expect("made"));
    assert_eq!(mode(), 0o600);
    // As earlier versions left it.
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("changed");
    drop(Store::open(home.path(), &did(9)).expect("opened"));
    assert_eq!(mode(), 0o600);
}

#[tokio::test]
async fn what_is_stored_is_there_again() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut store, memory) = Store::open(home.path(), &did(9)).expect("opened");
    assert_eq!(memory, Memory::default());
    let until = u64::MAX / 2;
    let writes = [device(3, None), device(4, Some(7)), hold(1), hold(2), seen(5, until, true), seen(6, until, false)];
    store.write(&mut writes.to_vec());
    store.write(&mut vec![Write::Release(1), device(3, Some(8)), Write::NoDevice(did(4))]);
    stored(&mut store, 9).await;
    // A second node must not use the same file.
    assert!(matches!(Store::open(home.path(), &did(9)), Err(Error::File(_))));
    store.close();

    let (_store, memory) = Store::open(home.path(), &did(9)).expect("opened again");
    let Write::Hold(kept) = hold(2) else { unreachable!("it is one") };
    assert_eq!(memory.held.into_values().collect::<Vec<_>>(), [kept]);
    let Write::Device(kept) = device(3, Some(8)) else { unreachable!("it is one") };
    assert_eq!(memory.devices.into_values().collect::<Vec<_>>(), [kept]);
    let mut ids: Vec<_> = memory.seen.iter().map(|id| (id.id.id.to_bits(), id.is_held, id.id.until >= until)).collect();
    ids.sort_unstable();
    assert_eq!(ids, [(5, true, true), (6, false, true)]);
}

#[test]
fn what_the_authority_keeps_is_there_again() {
    let home = tempfile::tempdir().expect("a directory");
    let subscription = |number: u128, capability: Option<&str>| KeptSubscription {
        id: Ulid::from_bits(number),
        subscriber: did(1),
        device: did(2),
        target: did(3).to_string(),
        events: vec![SubscriptionEvent::PRESENCE, SubscriptionEvent::PUBLICATION],
        expires_at: 77,
        seq: 1_025,
        capability: capability.map(str::to_owned),
        with_record: capability.is_some(),
    };
    let record = |stream: &str, statements: usize| KeptRecord {
        stream: stream.into(),
        text: "publish".into(),
        withdrawn: statements > 0,
        statements: vec![KeptStatement { processor: did(4), text: "provenance".into() }; statements],
    };
    let policy = |subject: u8, mode| KeptPolicy { subject: did(subject), said: Ulid::from_bits(9), until: 99, mode };
    let wake = |device: u8| KeptWake {
        device: did(device),
        identity: did(100),
        endpoint: Endpoint::new(
            "https://push.example/up",
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "BTBZMqHH6r4Tts7J_aSIgg",
        )
        .expect("an endpoint"),
        until: 99,
    };
    let mut memory = Memory::default();
    let writes = [
        Write::Subscription(subscription(1, None)),
        Write::Subscription(subscription(2, Some("token"))),
        Write::Subscription(subscription(3, None)),
        Write::NoSubscription(Ulid::from_bits(3)),
        Write::Record(record("one", 0)),
        Write::Record(record("two", 2)),
        Write::Record(record("three", 0)),
        Write::NoRecord("three".into()),
        Write::Policy(policy(5, Mode::Public)),
        Write::Policy(policy(6, Mode::Allow([did(7), did(8)].into()))),
        Write::Policy(policy(7, Mode::Allow([].into()))),
        Write::Policy(policy(8, Mode::Public)),
        Write::NoPolicy(did(8)),
        Write::Wake(wake(10)),
        Write::Wake(wake(11)),
        Write::NoWake(did(11)),
    ];
    let (store, _) = Store::open(home.path(), &did(9)).expect("opened");
    for write in writes {
        memory.apply(write.clone());
        store.write(&mut vec![write]);
    }
    store.close();
    let (_store, found) = Store::open(home.path(), &did(9)).expect("opened again");
    assert_eq!(found, memory);
    let mode = std::fs::metadata(home.path().join(embedded::FILE)).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "WAK-6");
}

#[test]
fn what_was_handed_over_is_written_before_the_store_closes() {
    let home = tempfile::tempdir().expect("a directory");
    let (store, _) = Store::open(home.path(), &did(9)).expect("opened");
    store.write(&mut vec![hold(1)]);
    store.close();
    assert_eq!(Store::open(home.path(), &did(9)).expect("opened again").1.held.len(), 1);
}

#[tokio::test]
async fn ids_that_are_over_are_taken_off() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut store, _) = Store::open(home.path(), &did(9)).expect("opened");
    store.write(&mut vec![seen(1, 1_000, false), seen(2, 1_000, true), seen(3, u64::MAX / 2, true)]);
    stored(&mut store, 3).await;
    store.close();
    // The first commit after a start sweeps.
    let (mut store, _) = Store::open(home.path(), &did(9)).expect("opened again");
    store.write(&mut vec![hold(1)]);
    stored(&mut store, 1).await;
    store.close();
    assert_eq!(Store::open(home.path(), &did(9)).expect("opened a third time").1.seen.len(), 1);
}

#[test]
fn the_file_shrinks_again() {
    let home = tempfile::tempdir().expect("a directory");
    let mut disk = embedded::Disk::file(home.path(), &did(9)).expect("opened").0;
    let commit = |disk: &mut embedded::Disk, writes: Vec<Write>| {
        let mut batch = batch::Batch::default();
        writes.into_iter().for_each(|write| batch.push(write));
        disk.commit(&batch, 0).expect("committed");
    };
    let size = || std::fs::metadata(home.path().join("node.redb")).expect("there").len();
    commit(&mut disk, (0..8_000).map(hold).collect());
    let full = size();
    assert!(full > 8 << 20, "{full}");
    disk.tidy();
    assert_eq!(size(), full, "it is in use");
    commit(&mut disk, (0..8_000).map(Write::Release).collect());
    disk.tidy();
    assert!(size() < full / 4, "{} of {full}", size());
    commit(&mut disk, vec![hold(8_001)]);
}

/// A disk in memory: it refuses writes when told to, and loses what was not synced.
#[derive(Debug, Clone, Default)]
struct Platter(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    refuses: AtomicBool,
    /// The next sync panics.
    panics: AtomicBool,
    state: Mutex<Sectors>,
}

#[derive(Debug, Default, Clone)]
struct Sectors {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, in order.
    since: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Octets(usize, Vec<u8>),
}

fn change(octets: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => octets.resize(*length, 0),
        Change::Octets(at, new) => {
            if octets.len() < at + new.len() {
                octets.resize(at + new.len(), 0);
            }
            octets[*at..at + new.len()].copy_from_slice(new);
        }
    }
}

impl Platter {
    fn with<T>(&self, act: impl FnOnce(&mut Sectors) -> T) -> T {
        act(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn make(&self, new: Change) -> io::Result<()> {
        if self.0.refuses.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.with(|sectors| {
            change(&mut sectors.now, &new);
            sectors.since.push(new);
        });
        Ok(())
    }

    /// What is on it after a power cut: of what was not synced, each change is there or not.
    fn cut(&self, mut there: impl FnMut() -> bool) -> Self {
        let octets = self.with(|sectors| {
            let mut octets = sectors.durable.clone();
            sectors.since.iter().filter(|_| there()).for_each(|one| change(&mut octets, one));
            octets
        });
        let platter = Self::default();
        platter.with(|sectors| *sectors = Sectors { now: octets.clone(), durable: octets, since: Vec::new() });
        platter
    }
}

impl redb::StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|sectors| sectors.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|sectors| {
            let at = offset as usize;
            let octets = sectors.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(octets);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.make(Change::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        assert!(!self.0.panics.swap(false, Ordering::Relaxed), "as this test wants it");
        if self.0.refuses.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.with(|sectors| {
            sectors.durable = sectors.now.clone();
            sectors.since.clear();
        });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.make(Change::Octets(offset as usize, data.to_vec()))
    }
}

fn on(platter: &Platter) -> (Embedded, Memory) {
    let platter = platter.clone();
    let open = move || redb::Builder::new().set_cache_size(1 << 20).create_with_backend(platter.clone());
    Embedded::on(Box::new(open), &did(9)).expect("opened")
}

#[tokio::test]
async fn cus_20_and_22_a_disk_that_refuses_loses_nothing_and_is_tried_again() {
    let platter = Platter::default();
    let (mut store, _) = on(&platter);
    store.write(&mut vec![hold(1)]);
    assert_eq!(store.changed().await, Progress { stored: 1, writable: true });
    platter.0.refuses.store(true, Ordering::Relaxed);
    store.write(&mut vec![hold(2)]);
    assert_eq!(store.changed().await, Progress { stored: 1, writable: false });
    store.write(&mut vec![hold(3), Write::Release(1)]);
    platter.0.refuses.store(false, Ordering::Relaxed);
    while store.changed().await != (Progress { stored: 4, writable: true }) {}
    drop(store);
    assert_eq!(on(&platter).1.held.into_keys().collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn cus_20_a_database_that_panics_has_refused_and_is_tried_again() {
    let platter = Platter::default();
    let (mut store, _) = on(&platter);
    store.write(&mut vec![hold(1)]);
    assert_eq!(store.changed().await, Progress { stored: 1, writable: true });
    platter.0.panics.store(true, Ordering::Relaxed);
    store.write(&mut vec![hold(2)]);
    assert_eq!(store.changed().await, Progress { stored: 1, writable: false });
    store.write(&mut vec![hold(3), Write::Release(1)]);
    while store.changed().await != (Progress { stored: 4, writable: true }) {}
    drop(store);
    assert_eq!(on(&platter).1.held.into_keys().collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn cus_2_what_was_said_to_be_stored_survives_a_power_cut() {
    let mut rng = Seed::new([1; 32]).into_rng();
    let platter = Platter::default();
    let (mut store, _) = on(&platter);
    let mut written = 0;
    let mut durable = 0;
    for _ in 0..60 {
        let count = u64::from(rng.next_u32() % 8) + 1;
        store.write(&mut (written..written + count).map(hold).collect());
        written += count;
        if rng.next_u32().is_multiple_of(2) {
            durable = store.changed().await.stored;
        }
        // Cut while the thread may be in the middle of a commit; it goes on, on its own platter.
        let after = platter.cut(|| rng.next_u32().is_multiple_of(2));
        let held = on(&after).1.held;
        let count = held.len() as u64;
        assert!(held.into_keys().eq(0..count), "the first ones, and no gap");
        assert!(durable <= count && count <= written, "{durable} were durable, {count} of {written} are there");
    }
}
