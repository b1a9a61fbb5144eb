//! What a vector's `context` tells the receiver (README V.3, V.5): clock, documents, delegations, memory.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::envelope::{Connection, Effective, HeldId, Offer, Supported, Verdict, Verified, Verifier, Warning};
use crate::identity::{Document, Documents, KeyId};
use crate::time::{Now, Seed, Tick, Wall};
use crate::wire::media::{MediaDescriptor, Transport};
use crate::wire::message::Answer;
use crate::wire::token::{ProfileId, Version};
use crate::wire::{Did, Field, Message, Ulid, json as strict};

/// The receiver of a vector's envelopes.
pub(super) struct World {
    pub(super) now: Now,
    pub(super) documents: Documents,
    pub(super) supported: Supported,
    pub(super) encoded_size: Option<usize>,
    pub(super) signer_kid: Option<KeyId>,
    hello_verified: Option<bool>,
    sent_hello_id: Option<Ulid>,
    offer: Option<(Vec<MediaDescriptor>, Vec<Transport>)>,
    introductions: Option<BTreeSet<Ulid>>,
}

impl World {
    pub(super) fn of(context: &Value) -> Result<Self, String> {
        let member = |name| context.get(name);
        let string = |name| member(name).and_then(Value::as_str);
        let seconds = member("now").and_then(Value::as_u64).unwrap_or_default();
        let mut documents = Documents::default();
        for (did, document) in member("did_documents").and_then(Value::as_object).into_iter().flatten() {
            let did: Did = did.parse().map_err(|error| format!("{did}: {error}"))?;
            // A document about another DID is no document of this one (ID-21).
            if let Ok(document) = Document::parse(&did, &document.to_string()) {
                documents.insert(document);
            }
        }
        let offer = member("offer").map(|offer| {
            let list = |name| offer.get(name).cloned().unwrap_or_else(|| json!([]));
            Ok::<_, String>((read(&list("media"))?, read(&list("transports"))?))
        });
        let ulids = |list: &Value| strings(Some(list)).filter_map(|id| id.parse().ok()).collect();
        Ok(Self {
            now: Now { tick: Tick::default(), wall: Wall::from_secs(seconds) },
            documents,
            supported: member("supported").map_or_else(Supported::default, supported),
            encoded_size: member("encoded_size").and_then(Value::as_u64).and_then(|size| size.try_into().ok()),
            signer_kid: string("signer_kid").and_then(|kid| kid.parse().ok()),
            hello_verified: member("hello_verified").and_then(Value::as_bool),
            sent_hello_id: string("sent_hello_id").and_then(|id| id.parse().ok()),
            offer: offer.transpose()?,
            introductions: member("known_introductions").map(ulids),
        })
    }

    /// A verifier with the context's delegations and seen ids.
    pub(super) fn verifier(&self, context: &Value) -> Verifier {
        let mut verifier = Verifier::new(self.supported.clone(), Seed::new([0; 32]));
        for delegation in context.get("delegations").and_then(Value::as_array).into_iter().flatten() {
            if let Ok(parsed) = strict::parse(&delegation.to_string()) {
                verifier.present(&parsed.root);
            }
        }
        if let Ok(sender) = "did:web:seen.example".parse::<Did>() {
            let ids = strings(context.get("seen_ids")).filter_map(|id| id.parse().ok());
            let seen = ids.map(|id| HeldId { id, sender: sender.clone(), until: u64::MAX });
            verifier.seen_mut().restore(seen, self.now.wall.secs());
        }
        verifier
    }

    /// Runs `check` with what the context says about connection and memory.
    pub(super) fn with_connection<T>(&self, check: impl FnOnce(Connection<'_>) -> T) -> T {
        let offer = |_: &Answer| self.offer.as_ref().map(|(media, transports)| Offer { media, transports });
        check(Connection {
            hello_verified: self.hello_verified,
            sent_hello_id: self.sent_hello_id,
            offer: Some(&offer),
            introductions: self.introductions.as_ref(),
        })
    }
}

/// `{"verdict": "reject", …}`.
pub(super) fn reject(verdict: &Verdict) -> Value {
    let mut object = json!({"verdict": "reject", "code": verdict.code.as_str()});
    if let Some(reason) = &verdict.reason {
        object["reason"] = reason.as_str().into();
    }
    object
}

/// `{"verdict": "accept", "type", "signer", "identity", …}`.
pub(super) fn accept(verified: &Verified<Message>) -> Value {
    let mut object = effects(verified.effective(), verified.warnings());
    object.insert("type".into(), verified.message().kind().as_str().into());
    object.insert("signer".into(), verified.signer().as_str().into());
    object.insert("identity".into(), verified.identity().as_str().into());
    Value::Object(object)
}

/// `{"verdict": "accept"}` with what the registries made of the message (VEC-3: nothing where there is none).
pub(super) fn effects(effective: &Effective, warnings: &[Warning]) -> Map<String, Value> {
    let mut members = Map::new();
    if let Some((reason, fallback)) = &effective.reason {
        members.insert("reason".into(), reason.as_str().into());
        members.insert("fallback".into(), fallback.as_str().into());
    }
    let tokens = [
        ("answered_by", effective.answered_by.as_ref().map(|value| value.as_str())),
        ("status", effective.status.as_ref().map(|value| value.as_str())),
        ("integrity", effective.integrity.as_ref().map(|value| value.as_str())),
    ];
    for (name, value) in tokens {
        if let Some(value) = value {
            members.insert(name.into(), value.into());
        }
    }
    let mut object = Map::new();
    object.insert("verdict".into(), "accept".into());
    if !members.is_empty() {
        object.insert("effective".into(), Value::Object(members));
    }
    if !warnings.is_empty() {
        let texts: Vec<&str> = warnings.iter().map(|warning| warning.as_str()).collect();
        object.insert("warnings".into(), texts.into());
    }
    object
}

fn supported(value: &Value) -> Supported {
    let core = value.get("core").and_then(Value::as_str).and_then(|core| core.parse().ok()).unwrap_or(Version::CORE);
    let ids = strings(value.get("profiles")).chain(strings(value.get("extensions")));
    Supported::with_core(core, ids.filter_map(|id| id.parse::<ProfileId>().ok()))
}

/// Reads a value through its field table.
fn read<T: Field>(value: &Value) -> Result<T, String> {
    let text = value.to_string();
    let parsed = strict::parse(&text).map_err(|error| error.to_string())?;
    T::read(parsed.root).map_err(|error| error.to_string())
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
