//! Protected headers, and the delegations presented in them (01 §2, §4).

use super::cache::Cache;
use super::verdict::Code;
use crate::identity::{Delegation, Documents, KeyId, PublicKey, derived};
use crate::wire::envelope::strings;
use crate::wire::json::{self, Json};
use crate::wire::{Did, base64url};

/// A device acts for one identity, or a few. Each delegation beyond that is a signature check the sender did not pay for.
pub(super) const MAX_DELEGATIONS: usize = 8;

/// A decoded header.
pub(super) struct Header {
    pub(super) signatory: Signatory,
    pub(super) audience: Option<String>,
    pub(super) presented: Vec<Presented>,
}

/// Who signed, by name; the key behind the name is looked up each time, unless the name is the key.
pub(super) struct Signatory {
    pub(super) kid: KeyId,
    derived: Option<PublicKey>,
}

/// A presented delegation whose payload names a subject and a device (DEL-11).
pub(super) struct Presented {
    pub(super) subject: String,
    pub(super) device: String,
    /// Absent if stages 2, 3 or 6 fail for it.
    signed: Option<Signed>,
    names_itself: bool,
    has_signaling: bool,
    times: Option<(i64, i64)>,
}

struct Signed {
    signatory: Signatory,
    /// `protected.payload.signature`, and where the signature starts.
    text: Box<str>,
    dot: usize,
    /// Under which key its signature was checked, and with what result.
    checked: Option<([u8; 32], bool)>,
}

impl Header {
    /// Stage 3.
    pub(super) fn read(protected: &str) -> Result<Self, Code> {
        let bytes = base64url::decode(protected).ok_or(Code::EnvelopeShape)?;
        let text = str::from_utf8(&bytes).map_err(|_| Code::HeaderInvalid)?;
        let root = json::parse(text).map_err(|_| Code::HeaderInvalid)?.root;
        let signatory = Signatory::read(&root)?;
        let audience = root.get("aud").and_then(Json::as_str).map(str::to_owned);
        let elements = root.get("delegations").and_then(Json::as_array).unwrap_or_default();
        if elements.len() > MAX_DELEGATIONS {
            return Err(Code::HeaderInvalid);
        }
        Ok(Self { signatory, audience, presented: elements.iter().filter_map(Presented::read).collect() })
    }
}

impl Signatory {
    fn read(header: &Json<'_>) -> Result<Self, Code> {
        let string = |name| header.get(name).and_then(Json::as_str).ok_or(Code::HeaderInvalid);
        let (alg, kid) = (string("alg")?, string("kid")?);
        // ALG-1: ES256, `none` and everything else alike.
        if alg != "EdDSA" {
            return Err(Code::AlgUnsupported);
        }
        let kid: KeyId = kid.parse().map_err(|_| Code::KidInvalid)?;
        let derived = derived(&kid);
        Ok(Self { kid, derived })
    }

    /// Stage 4: the key, as the DID method says now (RES-3).
    pub(super) fn key<'a>(&'a self, documents: &'a Documents) -> Option<&'a PublicKey> {
        self.derived.as_ref().or_else(|| documents.listed(&self.kid))
    }
}

impl Presented {
    /// Reads one element; nothing if it is no object, or if its payload cannot be decoded (DEL-3, DEL-11).
    pub(super) fn read(element: &Json<'_>) -> Option<Self> {
        let payload = base64url::decode(element.get("payload")?.as_str()?)?;
        let payload = json::parse(str::from_utf8(&payload).ok()?).ok()?;
        let member = |name| payload.root.get(name);
        let string = |name| member(name).and_then(Json::as_str);
        let (subject, device) = (string("subject")?.to_owned(), string("device")?.to_owned());
        let capabilities = member("capabilities").and_then(Json::as_array).unwrap_or_default();
        let time = |name| member(name).and_then(Json::as_int);
        let is_clean = !payload.has_float && !payload.has_huge_integer;
        let signed = is_clean.then(|| Signed::read(element)).flatten();
        // DEL-1: signed by the subject itself; a device cannot delegate onward.
        let names_itself = string("type") == Some(Delegation::TYPE)
            && signed.as_ref().is_some_and(|signed| signed.signatory.kid.did().as_str() == subject);
        Some(Self {
            names_itself,
            has_signaling: capabilities.iter().any(|name| name.as_str() == Some(Delegation::SIGNALING)),
            times: time("issued_at").zip(time("expires_at")),
            subject,
            device,
            signed,
        })
    }

    /// DEL-13: whether it holds now, and until when.
    pub(super) fn check(
        &mut self,
        now_secs: u64,
        documents: &Documents,
        known: &mut Cache<[u8; 32]>,
    ) -> Result<u64, Code> {
        let signed = self.signed.as_mut().ok_or(Code::DelegationInvalid)?;
        if !signed.verifies(documents, known) || !self.names_itself {
            return Err(Code::DelegationInvalid);
        }
        if !self.has_signaling {
            return Err(Code::DelegationCapability);
        }
        let now = i64::try_from(now_secs).unwrap_or(i64::MAX);
        match self.times {
            Some((issued_at, expires_at)) if issued_at <= now && now < expires_at => {
                u64::try_from(expires_at).map_err(|_| Code::DelegationExpired)
            }
            _ => Err(Code::DelegationExpired),
        }
    }
}

impl Signed {
    fn read(element: &Json<'_>) -> Option<Self> {
        let [protected, payload, signature] = strings(element.clone()).ok()?;
        let header = base64url::decode(&protected)?;
        let signatory = Signatory::read(&json::parse(str::from_utf8(&header).ok()?).ok()?.root).ok()?;
        let text = format!("{protected}.{payload}.{signature}").into_boxed_str();
        let dot = text.len() - signature.len() - 1;
        Some(Self { signatory, text, dot, checked: None })
    }

    /// Whether its signature is that of the key its `kid` names now. The check itself is done once per key.
    fn verifies(&mut self, documents: &Documents, known: &mut Cache<[u8; 32]>) -> bool {
        let Some(key) = self.signatory.key(documents) else { return false };
        if let Some((under, holds)) = self.checked
            && under == *key.as_bytes()
        {
            return holds;
        }
        let holds = known.get_mut(&self.text).is_some_and(|under| under == key.as_bytes()) || {
            let (input, signature) = self.text.split_at(self.dot);
            let signature = base64url::decode(&signature[1..]);
            let holds = signature.is_some_and(|signature| key.verifies(input.as_bytes(), &signature));
            if holds {
                known.insert(self.text.clone(), *key.as_bytes());
            }
            holds
        };
        self.checked = Some((*key.as_bytes(), holds));
        holds
    }
}

/// Whose key a frame claims to be signed with. Nothing is authenticated: good for keeping a sender's frames in order, and
/// for nothing else.
#[must_use]
pub fn claimed_signer(frame: &str) -> Option<Did> {
    let parsed = json::parse(frame).ok()?;
    let header = base64url::decode(parsed.root.get("protected")?.as_str()?)?;
    let kid: KeyId = json::parse(str::from_utf8(&header).ok()?).ok()?.root.get("kid")?.as_str()?.parse().ok()?;
    Some(kid.did().clone())
}

/// The `did:web` DIDs whose documents verifying `frame` will want: the signer's and those of presented delegations.
///
/// Cheap, and nothing is authenticated: ask for what is missing, within limits, then verify. Malformed frames need none.
#[must_use]
pub fn needs(frame: &str) -> Vec<Did> {
    fn collect(protected: Option<&Json<'_>>, depth: usize, dids: &mut Vec<Did>) -> Option<()> {
        let header = base64url::decode(protected?.as_str()?)?;
        let root = json::parse(str::from_utf8(&header).ok()?).ok()?.root;
        if let Some(kid) = root.get("kid").and_then(Json::as_str).and_then(|kid| kid.parse::<KeyId>().ok())
            && kid.did().method() == "web"
            && !dids.contains(kid.did())
        {
            dids.push(kid.did().clone());
        }
        if depth > 0 {
            for element in root.get("delegations")?.as_array()?.iter().take(MAX_DELEGATIONS) {
                collect(element.get("protected"), depth - 1, dids);
            }
        }
        Some(())
    }
    let mut dids = Vec::new();
    if frame.len() <= crate::wire::message::MAX_ENVELOPE_BYTES
        && let Ok(parsed) = json::parse(frame)
    {
        collect(parsed.root.get("protected"), 1, &mut dids);
    }
    dids
}
