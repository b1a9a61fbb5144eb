//! Reachability hints: signed records on an overlay that say where an identity can be dialled (06, part C).
//!
//! A hint helps to choose an endpoint and decides nothing: identity and trust come from the call's own envelopes, and a
//! DID document always wins. Whoever stores, forwards or returns a record verifies it first (DHT-28); whoever reads
//! collects all it can get and folds them (DHT-29).

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::envelope::{Code, Ids, Proof, Verdict, Verified, Verifier};
use crate::identity::Documents;
use crate::time::Now;
use crate::wire::media::VersionBlock;
use crate::wire::message::{Common, HintEndpoint, ReachabilityHint};
use crate::wire::{Did, Envelope, Ulid};

/// The Kademlia protocol that carries hints (DHT-6).
pub const PROTOCOL: &str = "/dsip/hints/0.6";

/// The longest a hint should live, in seconds (DHT-3).
pub const MAX_LIFETIME: u64 = 3_600;

/// How often a publisher signs its hint anew while it is online, in seconds: a strict peer sees a fresh one, too (DHT-30).
pub const RESIGN_AFTER: u64 = 240;

/// The bytes of a sha2-256 multihash.
const KEY_BYTES: usize = 34;

/// A verified hint: signed by its subject, or by a device that acts for it.
#[derive(Debug, Clone)]
pub struct Record {
    hint: Verified<ReachabilityHint>,
    standing: Standing,
}

/// What decides between two records of one subject: number, expiry, content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The record's number.
    pub seq: u64,
    /// Its expiry, in Unix seconds.
    pub expires_at: u64,
    /// Its encoded payload: two records of one content are one record, whoever signed them (DHT-26).
    pub payload: String,
}

/// Why a record is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A stage of the envelope pipeline failed.
    Envelope(Verdict),
    /// It is about somebody other than who signed it (DHT-11).
    SubjectMismatch,
}

/// Which of two records stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// The one that came in.
    Input,
    /// The one that was held.
    Existing,
}

/// How two records relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Not at all: nothing live was held, or it is the same record.
    None,
    /// The input is newer.
    NewerSeq,
    /// The input is older.
    OlderSeq,
    /// Two live records of one number say different things: a warning (DHT-25).
    SameSeqLive,
}

/// The outcome of a look-up: the record that stands, to be shown as a hint and never as an authority (DHT-29).
#[derive(Debug, Clone)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Some other record of the same number contradicts it.
    pub contradicted: bool,
}

/// The key of `subject`'s records: a multihash of its normalised text (DHT-5).
#[must_use]
pub fn key(subject: &str) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..2].copy_from_slice(&[0x12, 0x20]);
    key[2..].copy_from_slice(&Sha256::digest(normalised(subject)));
    key
}

/// Lower-case scheme and method, the rest as it is (ID-3).
fn normalised(subject: &str) -> String {
    match subject.match_indices(':').nth(1) {
        Some((at, _)) => {
            let (prefix, rest) = subject.split_at(at);
            format!("{}{rest}", prefix.to_ascii_lowercase())
        }
        None => subject.to_owned(),
    }
}

/// A hint for `subject`, issued now and numbered by its time (DHT-2), to be signed by the subject or a device of its.
#[must_use]
pub fn hint(subject: &Did, endpoints: Vec<HintEndpoint>, id: Ulid, now: Now, lifetime: u64) -> ReachabilityHint {
    let issued_at = now.wall.secs();
    let common = Common {
        dsip: VersionBlock::new(&[]),
        id,
        from: subject.clone(),
        issued_at,
        expires_at: issued_at + lifetime.clamp(1, MAX_LIFETIME),
    };
    ReachabilityHint { common, subject: subject.clone(), seq: issued_at, endpoints }
}

/// Verifies one record (DHT-10 to DHT-13). Its id is not remembered: the same record comes again and again (DHT-27).
pub fn verify(verifier: &mut Verifier, frame: &str, now: Now, documents: &Documents) -> Result<Record, Refusal> {
    let verified = verifier.verify_record(frame, now, documents, Ids::Repeated, |authentic| {
        let own = authentic.string("subject") == Some(authentic.identity().as_str());
        if own { Ok(()) } else { Err(Refusal::SubjectMismatch) } // DHT-11
    })?;
    let hint = verified.only::<ReachabilityHint>().ok_or(Verdict::new(Code::SchemaInvalid))?;
    let payload = Envelope::parse(hint.text()).map_err(|_| Verdict::new(Code::EnvelopeShape))?.payload().to_owned();
    let (seq, expires_at) = (hint.message().seq, hint.message().common.expires_at);
    Ok(Record { hint, standing: Standing { seq, expires_at, payload } })
}

/// Whether `input` replaces what is held, first match of DHT-20 to DHT-25.
#[must_use]
pub fn compare(held: Option<&Standing>, input: &Standing, now_secs: u64) -> (Winner, Conflict) {
    let Some(held) = held.filter(|held| held.expires_at >= now_secs) else {
        return (Winner::Input, Conflict::None); // DHT-20, DHT-21
    };
    if input.seq > held.seq {
        (Winner::Input, Conflict::NewerSeq) // DHT-22
    } else if input.seq < held.seq {
        (Winner::Existing, Conflict::OlderSeq) // DHT-23
    } else if input.payload == held.payload {
        (Winner::Existing, Conflict::None) // DHT-24
    } else {
        (Winner::Existing, Conflict::SameSeqLive) // DHT-25
    }
}

/// Folds every record found under one key into the one that stands (DHT-29).
#[must_use]
pub fn fold(records: impl IntoIterator<Item = Record>, now: Now) -> Option<Found> {
    let now_secs = now.wall.secs();
    let live = records.into_iter().filter(|record| record.standing.expires_at >= now_secs);
    live.fold(None, |found: Option<Found>, record| {
        let held = found.as_ref().map(|found| &found.record.standing);
        match (compare(held, &record.standing, now_secs), found) {
            ((Winner::Input, _), _) | (_, None) => Some(Found { record, contradicted: false }),
            ((Winner::Existing, conflict), Some(found)) => {
                Some(Found { contradicted: found.contradicted || conflict == Conflict::SameSeqLive, ..found })
            }
        }
    })
}

impl Record {
    /// Whose record it is.
    #[must_use]
    pub const fn subject(&self) -> &Did {
        &self.hint.message().subject
    }

    /// Who signed it: the subject or one of its devices.
    #[must_use]
    pub const fn signer(&self) -> &Did {
        self.hint.signer()
    }

    /// The identities that the signer proved to act for.
    #[must_use]
    pub fn proofs(&self) -> &[Proof] {
        self.hint.proofs()
    }

    /// Where to dial.
    #[must_use]
    pub fn endpoints(&self) -> &[HintEndpoint] {
        &self.hint.message().endpoints
    }

    /// The whole hint.
    #[must_use]
    pub const fn hint(&self) -> &ReachabilityHint {
        self.hint.message()
    }

    /// What decides between it and another.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The text as it is stored and passed on, never written anew (DHT-6).
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        self.hint.text()
    }
}

impl Winner {
    /// The word in a vector.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Existing => "existing",
        }
    }
}

impl Conflict {
    /// The word in a vector.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NewerSeq => "newer-seq",
            Self::OlderSeq => "older-seq",
            Self::SameSeqLive => "same-seq-live",
        }
    }
}

impl Refusal {
    /// The code of the check that failed.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Envelope(verdict) => verdict.code.as_str(),
            Self::SubjectMismatch => "hint-subject-mismatch",
        }
    }
}

impl From<Verdict> for Refusal {
    fn from(verdict: Verdict) -> Self {
        Self::Envelope(verdict)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Signer, Supported};
    use crate::identity::SecretKey;
    use crate::time::{Seed, Tick, Wall};

    const NOW: u64 = 1_760_000_000;

    fn at(secs: u64) -> Now {
        Now { tick: Tick::default(), wall: Wall::from_secs(secs) }
    }

    fn record(uri: &str, now: u64, lifetime: u64) -> Record {
        let signer = Signer::of_key(SecretKey::from_bytes(&[1; 32]));
        let endpoint = HintEndpoint {
            uri: uri.into(),
            bindings: vec!["ws/1.0".parse().expect("a binding")],
            rest: Default::default(),
        };
        let id = Ulid::generate(at(now).wall, &mut Seed::new([2; 32]).into_rng());
        let hint = hint(signer.kid().did(), vec![endpoint], id, at(now), lifetime);
        let frame = signer.sign(&hint.into()).text();
        let mut verifier = Verifier::new(Supported::default(), Seed::new([3; 32]));
        verify(&mut verifier, &frame, at(now), &Documents::default()).expect("a good record")
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn dht_5_worked_keys() {
        for (subject, expected) in [
            (
                "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf",
                "122074aea5990021973e0612acdcb8838f42876e1f9d9f323c37432301741f014069",
            ),
            (
                "DID:KEY:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf",
                "122074aea5990021973e0612acdcb8838f42876e1f9d9f323c37432301741f014069",
            ),
            ("did:web:example.com:users:bob", "1220c2b22303e40c0dceef869f6057c2512fb520f21c28de378e0003459ce15e5841"),
        ] {
            assert_eq!(hex(&key(subject)), expected);
        }
        assert_eq!(normalised("No:Method"), "No:Method");
    }

    #[test]
    fn dht_27_the_same_record_may_come_again() {
        let record = record("wss://a.example/dsip", NOW, 600);
        let mut verifier = Verifier::new(Supported::default(), Seed::new([3; 32]));
        for later in [0, 100, 600] {
            assert!(verify(&mut verifier, record.text(), at(NOW + later), &Documents::default()).is_ok());
        }
        let late = verify(&mut verifier, record.text(), at(NOW + 601), &Documents::default());
        assert_eq!(late.expect_err("it is over").as_str(), "expired");
        assert!(verifier.seen().is_empty());
    }

    #[test]
    fn dht_29_all_records_are_folded_and_order_does_not_matter() {
        let (old, new) = (record("wss://old.example/dsip", NOW, 3600), record("wss://new.example/dsip", NOW + 10, 60));
        let over = record("wss://over.example/dsip", NOW + 15, 1);
        for records in [vec![old.clone(), new.clone(), over.clone()], vec![over, new, old]] {
            let found = fold(records, at(NOW + 20)).expect("two are live");
            assert_eq!(found.record.endpoints()[0].uri, "wss://new.example/dsip");
            assert!(!found.contradicted);
        }
        assert!(fold(Vec::new(), at(NOW)).is_none());
    }

    #[test]
    fn dht_25_a_contradiction_keeps_the_first_and_warns() {
        let (one, other) = (record("wss://one.example/dsip", NOW, 60), record("wss://other.example/dsip", NOW, 60));
        let found = fold([one, other], at(NOW)).expect("both are live");
        assert_eq!(found.record.endpoints()[0].uri, "wss://one.example/dsip");
        assert!(found.contradicted);
    }
}
