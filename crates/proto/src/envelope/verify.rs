//! The pipeline of 01 §6.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cache::{Cache, SecretHash};
use super::header::{Header, Presented};
use super::seen::{HeldId, Limits, Novelty, Recorded, SeenIds};
use super::stages::{Connection, Effective, Supported, semantics};
use super::verdict::{Code, Origin, Verdict};
use super::verified::{Proof, Verified};
use crate::identity::{Documents, KeyId};
use crate::time::{Now, Seed};
use crate::wire::envelope::strings;
use crate::wire::json::{self, Json};
use crate::wire::message::{MAX_ENVELOPE_BYTES, MessageError};
use crate::wire::{Did, Envelope, Kind, Message, Reason, Ulid, base64url};

/// How far `issued_at` may lie from the receiver's clock, in seconds, either way (RPL-1), and from the id's own time
/// (ULID-3).
const WINDOW: u64 = 300;

/// How long a held message may live for the past edge of the window not to apply to it, in seconds (RPL-6, SEM-8).
const MAX_HELD: u64 = 604_800;

/// Texts kept by the caches: enough for some thousand devices.
const HEADER_CACHE_BYTES: usize = 8 << 20;
const DELEGATION_CACHE_BYTES: usize = 4 << 20;

/// Headers beyond this size are decoded each time; they are nobody's ordinary one.
const MAX_CACHED_HEADER: usize = 8 << 10;

/// How many delegations the verifier's own store takes.
const MAX_STORED: usize = 16_384;

/// Everything a receiving component remembers in order to judge envelopes. Each has its own (RPL-5).
pub struct Verifier {
    supported: Supported,
    seen: SeenIds,
    headers: Cache<Header>,
    /// Delegation texts, and the key each was found to be signed with.
    delegations: Cache<[u8; 32]>,
    /// The verifier's own delegations, by device, in the order they were learned (DEL-2).
    store: BTreeMap<String, Vec<Presented>>,
    stored: usize,
}

/// An envelope taken apart (stages 1 and 2).
pub(crate) struct Opened<'f> {
    frame: &'f str,
    protected: Cow<'f, str>,
    /// `protected.payload`, the signature input (ENV-4).
    input: String,
    payload: Result<String, Code>,
    signature: Vec<u8>,
}

/// A payload that passed stages 1 to 11: who said it is known, what it means is not yet.
pub(crate) struct Authentic<'o> {
    frame: &'o str,
    root: Json<'o>,
    core: Core,
    kid: KeyId,
    identity: Did,
    proofs: Vec<Proof>,
    audience: Option<String>,
    recorded: Option<Recorded>,
}

/// The core fields (PAY-4).
struct Core {
    kind: Option<Kind>,
    id: Ulid,
    from: Did,
    issued_at: u64,
    expires_at: u64,
}

/// Whether an id may come twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// Stage 10 applies, and the id is recorded.
    Once,
    /// Stage 10 applies, and nothing is recorded: records are fetched as often as anybody likes.
    Known,
    /// Stage 10 does not apply: the same record is legitimately seen again and again (DHT-27).
    Repeated,
}

impl Verifier {
    /// A verifier that has seen nothing yet. The seed keeps peers from choosing ids that collide.
    #[must_use]
    pub fn new(supported: Supported, seed: Seed) -> Self {
        Self::with_limits(supported, Limits::default(), seed)
    }

    /// As [`new`](Self::new), remembering as many ids as `limits` say.
    #[must_use]
    pub fn with_limits(supported: Supported, limits: Limits, seed: Seed) -> Self {
        let mut rng = seed.into_rng();
        let hash = SecretHash::new(&mut rng);
        Self {
            supported,
            seen: SeenIds::new(limits, &mut rng),
            headers: Cache::new(HEADER_CACHE_BYTES, &hash),
            delegations: Cache::new(DELEGATION_CACHE_BYTES, &hash),
            store: BTreeMap::new(),
            stored: 0,
        }
    }

    /// Keeps a delegation for later, to be checked whenever it is used (DEL-2). False if it names nobody, or if there is
    /// no room.
    pub fn learn(&mut self, delegation: &Envelope) -> bool {
        json::parse(&delegation.text()).is_ok_and(|parsed| self.present(&parsed.root))
    }

    /// As [`learn`](Self::learn), from whatever was presented as a delegation.
    pub(crate) fn present(&mut self, delegation: &Json<'_>) -> bool {
        let Some(presented) = Presented::read(delegation).filter(|_| self.stored < MAX_STORED) else { return false };
        self.store.entry(presented.device.clone()).or_default().push(presented);
        self.stored += 1;
        true
    }

    /// Drops stored delegations of `subject`, such as when its key was compromised (ROT-7).
    pub fn forget(&mut self, subject: &Did) {
        self.store.retain(|_, list| {
            list.retain(|presented| presented.subject != subject.as_str());
            !list.is_empty()
        });
        self.stored = self.store.values().map(Vec::len).sum();
    }

    /// Whether `device` may act for `subject` now, by the stored delegations alone (DEL-10 to DEL-12).
    pub fn may_act(&mut self, subject: &Did, device: &Did, now: Now, documents: &Documents) -> Result<(), Code> {
        let (store, known) = (&mut self.store, &mut self.delegations);
        let mut bench = Bench { store, header: &mut [], known, documents, now_secs: now.wall.secs() };
        bench.bind(subject.as_str(), device.as_str())
    }

    /// The ids seen so far.
    #[must_use]
    pub const fn seen(&self) -> &SeenIds {
        &self.seen
    }

    /// The ids seen so far, to restore those from before a restart.
    pub const fn seen_mut(&mut self) -> &mut SeenIds {
        &mut self.seen
    }

    /// Judges a received text frame, all fourteen stages in order, and remembers its id (RPL-4).
    ///
    /// `documents` has to hold what [`needs`](super::needs) asks for; a missing document is a missing key.
    pub fn verify(
        &mut self,
        frame: &str,
        now: Now,
        documents: &Documents,
        connection: Connection<'_>,
    ) -> Result<Verified<Message>, Verdict> {
        let opened = Opened::read(frame)?;
        let authentic = self.authenticate(&opened, now, documents, Ids::Once)?;
        if connection.hello_verified == Some(false) && authentic.core.kind != Some(Kind::Hello) {
            let verdict = Verdict::with_reason(Code::HelloRequired, Reason::TRANSPORT_HELLO_REQUIRED); // stage 11b
            return Err(authentic.refused(verdict));
        }
        authentic.accept(&self.supported, &connection)
    }

    /// Judges a record that comes from an overlay or a cache, on no connection. `inspect` runs between stages 11 and 12.
    pub(crate) fn verify_record<R: From<Verdict>>(
        &mut self,
        frame: &str,
        now: Now,
        documents: &Documents,
        ids: Ids,
        inspect: impl FnOnce(&Authentic<'_>) -> Result<(), R>,
    ) -> Result<Verified<Message>, R> {
        let opened = Opened::read(frame)?;
        let authentic = self.authenticate(&opened, now, documents, ids)?;
        inspect(&authentic)?;
        Ok(authentic.accept(&self.supported, &Connection::default())?)
    }

    /// Stages 3 to 11.
    pub(crate) fn authenticate<'o>(
        &mut self,
        opened: &'o Opened<'_>,
        now: Now,
        documents: &Documents,
        ids: Ids,
    ) -> Result<Authentic<'o>, Verdict> {
        let now_secs = now.wall.secs();
        self.headers.age(now.tick);
        self.delegations.age(now.tick);
        let mut fresh = None;
        let header = match self.headers.get_mut(&opened.protected) {
            Some(header) => header,
            None => fresh.insert(Header::read(&opened.protected).map_err(Verdict::new)?), // stage 3
        };
        let key = header.signatory.key(documents).ok_or(Verdict::new(Code::KidUnresolvable))?; // stage 4
        if !key.verifies(opened.input.as_bytes(), &opened.signature) {
            return Err(Verdict::new(Code::SignatureInvalid)); // stage 5
        }
        let root = opened.payload().map_err(Verdict::new)?; // stage 6
        let core = Core::read(&root).ok_or(Verdict::new(Code::PayloadShape))?;

        // Stage 7.
        let signer = header.signatory.kid.did().clone();
        let mut bench = Bench {
            store: &mut self.store,
            header: &mut header.presented,
            known: &mut self.delegations,
            documents,
            now_secs,
        };
        let on_behalf_of = match core.kind {
            Some(Kind::Hello) => root.get("on_behalf_of").and_then(Json::as_str),
            _ => None,
        };
        let bound = bench.bind(core.from.as_str(), signer.as_str()).and_then(|()| {
            on_behalf_of.map_or(Ok(()), |identity| bench.bind(identity, core.from.as_str())) // DEL-21
        });
        let proofs = bench.proofs(signer.as_str());
        let mut authentic = Authentic {
            frame: opened.frame,
            // DEL-22; one that is bound is a DID, or it is `from` itself.
            identity: on_behalf_of.and_then(|identity| identity.parse().ok()).unwrap_or_else(|| core.from.clone()),
            kid: header.signatory.kid.clone(),
            audience: header.audience.clone(),
            proofs,
            root,
            core,
            recorded: None,
        };
        if let Some(header) = fresh
            && opened.protected.len() <= MAX_CACHED_HEADER
        {
            self.headers.insert(opened.protected.as_ref().into(), header);
        }
        if let Err(code) = bound {
            let reason = (authentic.core.kind == Some(Kind::Hello)).then_some(Reason::TRANSPORT_HELLO_REJECTED); // DEL-23
            return Err(authentic.refused(Verdict { code, reason, origin: None }));
        }
        match self.freshness(&authentic.core, &signer, now_secs, ids) {
            Ok(recorded) => authentic.recorded = recorded,
            Err(verdict) => return Err(authentic.refused(verdict)),
        }
        Ok(authentic)
    }

    /// Stages 8 to 11, and the recording of the id behind them.
    fn freshness(&mut self, core: &Core, signer: &Did, now: u64, ids: Ids) -> Result<Option<Recorded>, Verdict> {
        let refuse = |code| Err(Verdict::new(code));
        if core.expires_at <= core.issued_at {
            return refuse(Code::ExpiryOrder); // stage 8, RPL-2
        }
        // RPL-6: held types are exempt from the past edge, not from the future one.
        let is_held = core.kind.is_some_and(Kind::is_held) && core.expires_at - core.issued_at <= MAX_HELD;
        let is_past = core.issued_at.saturating_add(WINDOW) < now;
        if core.issued_at > now.saturating_add(WINDOW) || is_past && !is_held {
            return refuse(Code::ReplayWindow); // stage 9a
        }
        if core.expires_at < now {
            let reason = (core.kind == Some(Kind::Invite)).then_some(Reason::SESSION_EXPIRED);
            return Err(Verdict { code: Code::Expired, reason, origin: None }); // stage 9b
        }
        if ids != Ids::Repeated {
            match self.seen.novelty(core.id, signer, is_held, now) {
                Novelty::New => {}
                Novelty::Seen => return refuse(Code::DuplicateId), // stage 10
                Novelty::NoRoom => {
                    return Err(Verdict::with_reason(Code::TooManyIds, Reason::TRANSPORT_RATE_LIMITED));
                }
            }
        }
        if (core.id.millis() / 1000).abs_diff(core.issued_at) > WINDOW {
            return refuse(Code::UlidIssuedAtMismatch); // stage 11, ULID-3
        }
        if ids != Ids::Once {
            return Ok(None);
        }
        // RPL-3, RPL-4.
        let until = if is_held { core.expires_at } else { core.issued_at.saturating_add(WINDOW) };
        self.seen.insert(core.id, signer, is_held, until);
        Ok(Some(Recorded { id: HeldId { id: core.id, sender: signer.clone(), until }, is_held }))
    }
}

impl<'f> Opened<'f> {
    /// Stages 1 and 2.
    pub(crate) fn read(frame: &'f str) -> Result<Self, Verdict> {
        if frame.len() > MAX_ENVELOPE_BYTES {
            return Err(Verdict::with_reason(Code::FrameTooLarge, Reason::TRANSPORT_ENVELOPE_TOO_LARGE));
        }
        Self::take_apart(frame).ok_or(Verdict::new(Code::EnvelopeShape))
    }

    fn take_apart(frame: &'f str) -> Option<Self> {
        let [protected, payload, signature] = strings(json::parse(frame).ok()?.root).ok()?;
        let mut input = String::with_capacity(protected.len() + 1 + payload.len());
        input.push_str(&protected);
        input.push('.');
        input.push_str(&payload);
        // ENV-2 asks for non-empty strings of base64url; the header's own is checked where it is decoded.
        let decode = |text: &str| base64url::decode(text).filter(|bytes| !bytes.is_empty());
        let payload = String::from_utf8(decode(&payload)?).map_err(|_| Code::PayloadNotUtf8);
        let signature = decode(&signature)?;
        if protected.is_empty() {
            return None;
        }
        Some(Self { frame, protected, input, payload, signature })
    }

    /// Stage 6 without the core fields: one JSON object without floats (PAY-1 to PAY-3, PAY-5).
    fn payload(&self) -> Result<Json<'_>, Code> {
        let text = self.payload.as_ref().map_err(|code| *code)?;
        let parsed = json::parse(text).map_err(|_| Code::PayloadNotJson)?;
        if parsed.root.as_object().is_none() {
            return Err(Code::PayloadNotJson);
        }
        if parsed.has_float {
            return Err(Code::PayloadFloat);
        }
        // PAY-7
        if parsed.has_huge_integer { Err(Code::PayloadShape) } else { Ok(parsed.root) }
    }
}

impl Core {
    /// PAY-4.
    fn read(root: &Json<'_>) -> Option<Self> {
        let time = |name| u64::try_from(root.get(name)?.as_int()?).ok();
        let string = |name| root.get(name)?.as_str();
        root.get("dsip")?.as_object()?;
        Some(Self {
            kind: Kind::of(string("type")?),
            id: string("id")?.parse().ok()?,
            from: string("from")?.parse().ok()?,
            issued_at: time("issued_at")?,
            expires_at: time("expires_at")?,
        })
    }
}

/// The delegations presented for one envelope: the verifier's own, then those in its header (DEL-2).
struct Bench<'a> {
    store: &'a mut BTreeMap<String, Vec<Presented>>,
    header: &'a mut [Presented],
    known: &'a mut Cache<[u8; 32]>,
    documents: &'a Documents,
    now_secs: u64,
}

impl Bench<'_> {
    /// DEL-10 to DEL-12: whether `device` may act for `subject`.
    fn bind(&mut self, subject: &str, device: &str) -> Result<(), Code> {
        if subject == device {
            return Ok(());
        }
        let mut first_failure = None;
        let stored = self.store.get_mut(device).map(Vec::as_mut_slice).unwrap_or_default();
        for presented in stored.iter_mut().chain(self.header.iter_mut()) {
            if presented.subject == subject && presented.device == device {
                match presented.check(self.now_secs, self.documents, self.known) {
                    Ok(_) => return Ok(()),
                    Err(code) => first_failure = first_failure.or(Some(code)),
                }
            }
        }
        Err(first_failure.unwrap_or(Code::SignerMismatch))
    }

    /// DEL-24: every identity that `device` may act for.
    fn proofs(&mut self, device: &str) -> Vec<Proof> {
        let mut proofs: Vec<Proof> = Vec::new();
        let stored = self.store.get_mut(device).map(Vec::as_mut_slice).unwrap_or_default();
        for presented in stored.iter_mut().chain(self.header.iter_mut()) {
            if presented.device != device {
                continue;
            }
            let Ok(until) = presented.check(self.now_secs, self.documents, self.known) else { continue };
            let Ok(identity) = presented.subject.parse::<Did>() else { continue };
            match proofs.iter_mut().find(|proof| proof.identity == identity) {
                Some(proof) => proof.until = proof.until.max(until),
                None => proofs.push(Proof { identity, until }),
            }
        }
        proofs
    }
}

impl Authentic<'_> {
    /// For whom it was said.
    pub(crate) const fn identity(&self) -> &Did {
        &self.identity
    }

    /// A string member of the payload, whose schema has not been checked yet.
    pub(crate) fn string(&self, name: &str) -> Option<&str> {
        self.root.get(name).and_then(Json::as_str)
    }

    /// Stages 12 to 14.
    pub(crate) fn accept(
        mut self,
        supported: &Supported,
        connection: &Connection<'_>,
    ) -> Result<Verified<Message>, Verdict> {
        let version = self.root.get("dsip").map_or(Ok(()), |dsip| supported.negotiate(dsip)); // stage 12
        if let Err(verdict) = version {
            return Err(self.refused(verdict));
        }
        // The message takes the payload apart, so what a refusal tells about it is noted before.
        let session = self.session();
        let lacks_offer = self.lacks_offer();
        let root = std::mem::replace(&mut self.root, Json::Null);
        let refused = |this: &Self, verdict| this.refusal(verdict, session, lacks_offer);
        let message = Message::from_json(root).map_err(|error| {
            let code = match error {
                MessageError::UnknownType => Code::UnknownType,
                MessageError::Schema(_) => Code::SchemaInvalid,
            };
            refused(&self, Verdict::new(code)) // stage 13
        })?;
        semantics(&message, connection, Some(self.frame.len()), Some(&self.kid))
            .map_err(|verdict| refused(&self, verdict))?; // stage 14
        let (effective, warnings) = Effective::of(&message);
        Ok(Verified {
            message,
            text: Arc::from(self.frame),
            kid: self.kid,
            identity: self.identity,
            proofs: self.proofs,
            effective,
            warnings,
            audience: self.audience,
            recorded: self.recorded,
        })
    }

    /// `verdict`, with what is known about the sender.
    pub(crate) fn refused(&self, verdict: Verdict) -> Verdict {
        self.refusal(verdict, self.session(), self.lacks_offer())
    }

    fn refusal(&self, mut verdict: Verdict, session: Option<Ulid>, lacks_offer: bool) -> Verdict {
        verdict.origin = Some(Box::new(Origin {
            signer: self.kid.did().clone(),
            from: self.core.from.clone(),
            id: self.core.id,
            kind: self.core.kind,
            session,
            lacks_offer,
        }));
        verdict
    }

    fn session(&self) -> Option<Ulid> {
        match self.core.kind {
            Some(Kind::Invite) => Some(self.core.id),
            _ => self.string("session")?.parse().ok(),
        }
    }

    /// PIPE-4.
    fn lacks_offer(&self) -> bool {
        matches!(self.core.kind, Some(Kind::Invite | Kind::Update))
            && self.root.get("media").and_then(Json::as_array).is_none_or(<[_]>::is_empty)
    }
}
