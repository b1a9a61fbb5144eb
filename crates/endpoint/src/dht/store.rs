//! What a node keeps for others: verified records only, one per key, bounded in number and bytes, gone when they expire.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dsip_proto::hints::{self, Conflict, Record, Winner};
use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore};
use libp2p::kad::{self, KBucketDistance, KBucketKey, ProviderRecord, RecordKey};

/// Records a node holds at most. At the expected kilobyte each this is what [`MAX_BYTES`] fits.
const MAX_RECORDS: usize = 32_768;
/// Bytes of record text a node holds at most.
const MAX_BYTES: usize = 48 << 20;
/// Records a node holds at most that one and the same peer handed over (DHT-32).
const MAX_PER_PEER: usize = 4096;

/// Records by key.
pub(super) struct Store {
    here: KBucketKey<PeerId>,
    held: BTreeMap<Vec<u8>, Held>,
    bytes: usize,
    per_peer: BTreeMap<PeerId, usize>,
}

struct Held {
    record: Record,
    from: PeerId,
    expires: Instant,
    distance: KBucketDistance,
}

/// What became of a verified record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is held now.
    Stored,
    /// Another one stands (DHT-23, DHT-24).
    Older,
    /// DHT-25: the held one stands, and something is wrong with the subject's clock or key.
    Conflict,
    /// There is no room for it.
    Full,
}

impl Store {
    pub(super) fn new(here: PeerId) -> Self {
        Self { here: here.into(), held: BTreeMap::new(), bytes: 0, per_peer: BTreeMap::new() }
    }

    /// Whether exactly `text` is held under `key`, so that it need not be verified again.
    pub(super) fn holds(&self, key: &[u8], text: &[u8]) -> bool {
        self.held.get(key).is_some_and(|held| held.record.text().as_bytes() == text)
    }

    /// Folds a verified record that `from` handed over into what is held (DHT-14, DHT-20 to DHT-25).
    pub(super) fn keep(&mut self, record: Record, from: PeerId, wall: u64) -> Kept {
        let key = hints::key(record.subject().as_str()).to_vec();
        let held = self.held.get(&key).map(|held| held.record.standing());
        match hints::compare(held, record.standing(), wall) {
            (Winner::Input, _) => {}
            (Winner::Existing, Conflict::SameSeqLive) => return Kept::Conflict,
            (Winner::Existing, _) => return Kept::Older,
        }
        // What is held under the key makes room, but only once it is certain that there is enough.
        let (its_peer, its_size) =
            self.held.get(&key).map_or((None, 0), |held| (Some(held.from), held.record.text().len()));
        let others = self.per_peer.get(&from).map_or(0, |count| count - usize::from(its_peer == Some(from)));
        if others >= MAX_PER_PEER {
            return Kept::Full;
        }
        let distance = self.here.distance(&KBucketKey::new(key.clone()));
        let size = record.text().len();
        let here = RecordKey::from(key.clone());
        while self.held.len() - usize::from(its_peer.is_some()) >= MAX_RECORDS
            || self.bytes - its_size + size > MAX_BYTES
        {
            // The record furthest from here is the one that twenty other nodes are more responsible for.
            let others = self.held.iter().filter(|(other, _)| **other != key);
            let furthest = others.max_by_key(|(_, held)| held.distance).map(|(key, held)| (key.clone(), held.distance));
            match furthest {
                Some((key, its)) if its > distance => self.remove(&RecordKey::from(key)),
                _ => return Kept::Full,
            }
        }
        self.remove(&here);
        let expires = Instant::now() + Duration::from_secs(record.standing().expires_at.saturating_sub(wall));
        self.bytes += size;
        *self.per_peer.entry(from).or_default() += 1;
        self.held.insert(key, Held { record, from, expires, distance });
        Kept::Stored
    }

    /// Drops what has expired.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        let over: Vec<_> =
            self.held.iter().filter(|(_, held)| held.expires <= now).map(|(key, _)| key.clone()).collect();
        for key in over {
            self.remove(&RecordKey::from(key));
        }
    }
}

impl Held {
    fn to_kad(&self, key: &[u8]) -> kad::Record {
        kad::Record {
            key: RecordKey::new(&key),
            value: self.record.text().as_bytes().to_vec(),
            publisher: None,
            expires: Some(self.expires),
        }
    }
}

/// What Kademlia sees of the store. It may read; only [`Store::keep`] writes, so that nothing unverified gets in.
impl RecordStore for Store {
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;
    type RecordsIter<'a> = Box<dyn Iterator<Item = Cow<'a, kad::Record>> + 'a>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, kad::Record>> {
        let held = self.held.get(key.as_ref()).filter(|held| held.expires > Instant::now())?;
        Some(Cow::Owned(held.to_kad(key.as_ref())))
    }

    fn put(&mut self, _: kad::Record) -> Result<(), Error> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, key: &RecordKey) {
        let Some(held) = self.held.remove(key.as_ref()) else { return };
        self.bytes = self.bytes.saturating_sub(held.record.text().len());
        if let Some(count) = self.per_peer.get_mut(&held.from) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(&held.from);
            }
        }
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        let now = Instant::now();
        Box::new(
            self.held
                .iter()
                .filter(move |(_, held)| held.expires > now)
                .map(|(key, held)| Cow::Owned(held.to_kad(key))),
        )
    }

    /// The overlay holds no provider records.
    fn add_provider(&mut self, _: ProviderRecord) -> Result<(), Error> {
        Err(Error::MaxProvidedKeys)
    }

    fn providers(&self, _: &RecordKey) -> Vec<ProviderRecord> {
        Vec::new()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, _: &RecordKey, _: &PeerId) {}
}

#[cfg(test)]
mod tests {
    use dsip_proto::envelope::{Signer, Supported, Verifier};
    use dsip_proto::identity::{Documents, SecretKey};
    use dsip_proto::time::{Now, Seed, Tick, Wall};
    use dsip_proto::wire::Ulid;
    use dsip_proto::wire::message::HintEndpoint;

    use super::*;

    const NOW: u64 = 1_760_000_000;

    fn record(person: u8, seq: u64, uri: &str) -> Record {
        let now = Now { tick: Tick::default(), wall: Wall::from_secs(NOW) };
        let signer = Signer::of_key(SecretKey::from_bytes(&[person; 32]));
        let bindings = vec!["ws/1.0".parse().expect("a binding")];
        let endpoint = HintEndpoint { uri: uri.to_owned(), bindings, rest: Default::default() };
        let id = Ulid::generate(now.wall, &mut Seed::new([2; 32]).into_rng());
        let mut hint = hints::hint(signer.kid().did(), vec![endpoint], id, now, 60);
        hint.seq = seq;
        let mut verifier = Verifier::new(Supported::default(), Seed::new([3; 32]));
        let text = signer.sign(&hint.into()).text();
        hints::verify(&mut verifier, &text, now, &Documents::default()).expect("a good record")
    }

    fn key(record: &Record) -> RecordKey {
        RecordKey::new(&hints::key(record.subject().as_str()))
    }

    #[test]
    fn dht_20_to_25_decide_what_is_held() {
        let (mut store, peer) = (Store::new(PeerId::random()), PeerId::random());
        let first = record(1, 5, "wss://a.example");
        assert_eq!(store.keep(first.clone(), peer, NOW), Kept::Stored);
        assert!(store.holds(key(&first).as_ref(), first.text().as_bytes()));
        // DHT-14
        assert_eq!(store.keep(record(1, 4, "wss://b.example"), peer, NOW), Kept::Older);
        assert_eq!(store.keep(record(1, 5, "wss://b.example"), peer, NOW), Kept::Conflict);
        assert_eq!(store.keep(record(1, 6, "wss://b.example"), peer, NOW), Kept::Stored);
        // DHT-21: past its end, a held record stands in nobody's way.
        assert_eq!(store.keep(record(1, 1, "wss://c.example"), peer, NOW + 61), Kept::Stored);
        assert_eq!(store.held.len(), 1);
    }

    #[test]
    fn dht_6_a_record_is_returned_byte_for_byte_and_only_while_it_lives() {
        let (mut store, peer) = (Store::new(PeerId::random()), PeerId::random());
        let (live, over) = (record(1, 1, "wss://a.example"), record(2, 1, "wss://b.example"));
        store.keep(live.clone(), peer, NOW);
        store.keep(over.clone(), peer, NOW + 60);
        assert_eq!(store.get(&key(&live)).expect("it lives").value, live.text().as_bytes());
        assert!(store.get(&key(&over)).is_none());
        assert_eq!(store.records().count(), 1);
        store.sweep();
        assert_eq!(store.held.len(), 1);
        assert_eq!(store.bytes, live.text().len());
    }

    #[test]
    fn dht_28_kademlia_itself_cannot_write() {
        let mut store = Store::new(PeerId::random());
        assert!(store.put(kad::Record::new(vec![1], vec![2])).is_err());
        assert_eq!(store.held.len(), 0);
    }

    #[test]
    fn dht_32_one_peer_does_not_fill_the_store() {
        let (mut store, flooder) = (Store::new(PeerId::random()), PeerId::random());
        store.per_peer.insert(flooder, MAX_PER_PEER);
        assert_eq!(store.keep(record(1, 1, "wss://a.example"), flooder, NOW), Kept::Full);
        let first = record(1, 1, "wss://a.example");
        assert_eq!(store.keep(first.clone(), PeerId::random(), NOW), Kept::Stored);
        assert_eq!(store.keep(record(1, 2, "wss://b.example"), flooder, NOW), Kept::Full);
        assert!(store.get(&key(&first)).is_some(), "what was held stays");
    }

    #[test]
    fn dht_32_a_full_store_keeps_what_is_closest_to_it() {
        let (mut store, peer) = (Store::new(PeerId::random()), PeerId::random());
        let mut by_distance: Vec<Record> = (1..=3).map(|person| record(person, 1, "wss://a.example")).collect();
        by_distance.sort_by_key(|record| store.here.distance(&KBucketKey::new(key(record).to_vec())));
        let [near, middle, far] = <[Record; 3]>::try_from(by_distance).expect("three");
        store.keep(middle.clone(), peer, NOW);
        store.bytes = MAX_BYTES - 1;
        assert_eq!(store.keep(far, peer, NOW), Kept::Full);
        assert_eq!(store.keep(near.clone(), peer, NOW), Kept::Stored);
        assert!(store.get(&key(&middle)).is_none() && store.get(&key(&near)).is_some());
    }
}
