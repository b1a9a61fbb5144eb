//! DID documents: which keys a DID has, and where it is reached (01 §1.3, §1.4).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::key::{KeyId, PublicKey};
use crate::wire::json::{self, Json};
use crate::wire::{Did, token::BindingId};

const SIGNALING: &str = "DSIPSignaling";

/// What a DID document says, as far as DSIP reads it. The method that produced it vouches for it; nothing in it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    id: Did,
    methods: Vec<Method>,
    services: Vec<Service>,
}

/// A verification method of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// The full DID URL, or `#fragment` alone.
    pub id: String,
    /// The key; `None` where the entry holds no Ed25519 key or another controller's (RES-2).
    pub key: Option<PublicKey>,
}

/// A place where a DID takes signalling connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its `wss://` address.
    pub uri: String,
    /// The bindings it speaks.
    pub bindings: Vec<BindingId>,
}

/// The text is not a usable DID document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not a JSON object.
    #[error("the DID document is not a JSON object")]
    NotAnObject,
    /// Its `id` is not the DID that was asked for (ID-21).
    #[error("the DID document is about another DID")]
    OtherSubject,
}

/// Every document a verification may consult: the whole world as far as it knows (ID-22).
#[derive(Debug, Clone, Default)]
pub struct Documents(BTreeMap<Did, Document>);

impl Document {
    /// A document for `did` with one key under `#<fragment>`.
    #[must_use]
    pub fn new(did: Did, fragment: &str, key: PublicKey, services: Vec<Service>) -> Self {
        let method = Method { id: format!("{did}#{fragment}"), key: Some(key) };
        Self { id: did, methods: vec![method], services }
    }

    /// The document that a `did:key` implies (ID-13).
    #[must_use]
    pub fn of_key(key: PublicKey) -> Self {
        Self::new(key.did(), &key.to_multibase(), key, Vec::new())
    }

    /// Reads the document of `did`. Unknown members are ignored, unusable methods and services left out; the `id` has to
    /// match (ID-21).
    pub fn parse(did: &Did, text: &str) -> Result<Self, DocumentError> {
        let root = json::parse(text).map_err(|_| DocumentError::NotAnObject)?.root;
        if root.as_object().is_none() {
            return Err(DocumentError::NotAnObject);
        }
        if root.get("id").and_then(Json::as_str) != Some(did.as_str()) {
            return Err(DocumentError::OtherSubject);
        }
        let entries = |name| root.get(name).and_then(Json::as_array).unwrap_or_default();
        Ok(Self {
            id: did.clone(),
            methods: entries("verificationMethod").iter().filter_map(|entry| Method::read(did, entry)).collect(),
            services: entries("service").iter().filter_map(Service::read).collect(),
        })
    }

    /// The document as it is published.
    #[must_use]
    pub fn to_json(&self) -> String {
        let full = |id: &str| if id.starts_with('#') { format!("{}{id}", self.id) } else { id.to_owned() };
        let usable = self.methods.iter().filter_map(|method| Some((full(&method.id), method.key?)));
        let ids: Vec<String> = usable.clone().map(|(id, _)| id).collect();
        let methods: Vec<Value> = usable
            .map(|(id, key)| {
                json!({"id": id, "type": "Multikey", "controller": self.id, "publicKeyMultibase": key.to_multibase()})
            })
            .collect();
        let services: Vec<Value> = self
            .services
            .iter()
            .enumerate()
            .map(|(at, service)| {
                let number = if at == 0 { String::new() } else { format!("-{}", at + 1) };
                json!({
                    "id": format!("{}#dsip-signaling{number}", self.id),
                    "type": SIGNALING,
                    "serviceEndpoint": {"uri": service.uri, "bindings": service.bindings},
                })
            })
            .collect();
        json!({
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": self.id,
            "verificationMethod": methods,
            "authentication": ids,
            "assertionMethod": ids,
            "service": services,
        })
        .to_string()
    }

    /// Whose document it is.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.id
    }

    /// Its verification methods.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Its signalling services, in the order of the document.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Adds the key `#<fragment>` behind those that are there.
    pub fn add_method(&mut self, fragment: &str, key: PublicKey) {
        self.methods.push(Method { id: format!("{}#{fragment}", self.id), key: Some(key) });
    }

    /// The key that `kid` names (RES-2): the first method of that id decides.
    #[must_use]
    pub fn key(&self, kid: &KeyId) -> Option<&PublicKey> {
        if *kid.did() != self.id {
            return None;
        }
        let names = |id: &str| match id.split_once('#') {
            Some((did, fragment)) => (did.is_empty() || did == self.id.as_str()) && fragment == kid.fragment(),
            None => false,
        };
        self.methods.iter().find(|method| names(&method.id))?.key.as_ref()
    }
}

impl Method {
    fn read(did: &Did, entry: &Json<'_>) -> Option<Self> {
        let id = entry.get("id")?.as_str()?.to_owned();
        let own = entry.get("controller").is_none_or(|controller| controller.as_str() == Some(did.as_str()));
        let key = entry.get("publicKeyMultibase").and_then(Json::as_str);
        let key = key.filter(|_| own).and_then(|text| PublicKey::from_multibase(text).ok());
        Some(Self { id, key })
    }
}

impl Service {
    fn read(entry: &Json<'_>) -> Option<Self> {
        if entry.get("type")?.as_str()? != SIGNALING {
            return None;
        }
        let endpoint = entry.get("serviceEndpoint")?;
        let uri = endpoint.get("uri")?.as_str().filter(|uri| uri.starts_with("wss://"))?.to_owned();
        let bindings = endpoint.get("bindings").and_then(Json::as_array).unwrap_or_default();
        let bindings = bindings.iter().filter_map(|binding| binding.as_str()?.parse().ok()).collect();
        Some(Self { uri, bindings })
    }
}

impl Documents {
    /// Puts a document in the place of any earlier one of the same DID.
    pub fn insert(&mut self, document: Document) {
        self.0.insert(document.id.clone(), document);
    }

    /// Forgets the document of `did`.
    pub fn remove(&mut self, did: &Did) -> Option<Document> {
        self.0.remove(did)
    }

    /// The document of `did`, if it was put in.
    #[must_use]
    pub fn get(&self, did: &Did) -> Option<&Document> {
        self.0.get(did)
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that `kid` names: derived for `did:key` (RES-1), listed for any other method (RES-2).
    #[must_use]
    pub fn resolve(&self, kid: &KeyId) -> Option<PublicKey> {
        match kid.did().method() {
            "key" => derived(kid),
            _ => self.listed(kid).copied(),
        }
    }

    /// The key that the document of `kid` lists. Only `did:web` has documents that count (ID-4).
    pub(crate) fn listed(&self, kid: &KeyId) -> Option<&PublicKey> {
        (kid.did().method() == "web").then(|| self.0.get(kid.did())?.key(kid)).flatten()
    }
}

/// The key that `kid` is, if it names a `did:key` by its one method (RES-1).
pub(crate) fn derived(kid: &KeyId) -> Option<PublicKey> {
    // ID-13: the fragment repeats the multibase key.
    (kid.fragment() == kid.did().specific()).then(|| PublicKey::of_did(kid.did()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    fn did(text: &str) -> Did {
        text.parse().expect("a DID")
    }

    fn bob() -> (Did, PublicKey) {
        (did("did:web:example.com:users:bob"), SecretKey::from_bytes(&[7; 32]).public())
    }

    #[test]
    fn a_document_survives_its_own_text() {
        let (bob, key) = bob();
        let service = Service { uri: "wss://relay.example.com/dsip".into(), bindings: vec![BindingId::WS] };
        let document = Document::new(bob.clone(), "key-1", key, vec![service]);
        assert_eq!(Document::parse(&bob, &document.to_json()), Ok(document));
    }

    #[test]
    fn id_21_the_document_is_about_the_did() {
        let (bob, key) = bob();
        let text = Document::new(bob, "key-1", key, Vec::new()).to_json();
        assert_eq!(Document::parse(&did("did:web:example.com"), &text), Err(DocumentError::OtherSubject));
    }

    #[test]
    fn res_2_first_method_of_that_id_controller_and_short_ids() {
        let (bob, key) = bob();
        let multibase = key.to_multibase();
        let parse = |methods: Value| {
            let text = json!({"id": bob, "verificationMethod": methods}).to_string();
            Document::parse(&bob, &text).expect("a document")
        };
        let kid: KeyId = format!("{bob}#key-1").parse().expect("a key id");
        let short = parse(json!([{"id": "#key-1", "publicKeyMultibase": multibase}]));
        assert_eq!(short.key(&kid), Some(&key));
        let foreign = parse(json!([
            {"id": "#key-1", "controller": "did:web:evil.example", "publicKeyMultibase": multibase},
            {"id": kid.to_string(), "controller": bob, "publicKeyMultibase": multibase},
        ]));
        assert_eq!(foreign.key(&kid), None, "the first entry of that id decides");
        assert_eq!(short.key(&format!("{bob}#key-2").parse().expect("a key id")), None);
    }

    #[test]
    fn id_4_and_id_13_other_methods_and_other_fragments_are_unresolvable() {
        let (bob, key) = bob();
        let mut documents = Documents::default();
        documents.insert(Document::new(bob.clone(), "key-1", key, Vec::new()));
        documents.insert(Document::new(did("did:peer:2x"), "key-1", key, Vec::new()));
        documents.insert(Document::new(key.did(), "key-1", key, Vec::new()));
        let resolve = |kid: &str| documents.resolve(&kid.parse().expect("a key id"));
        assert_eq!(resolve(&format!("{bob}#key-1")), Some(key));
        assert_eq!(resolve("did:peer:2x#key-1"), None);
        assert_eq!(resolve(&key.kid().to_string()), Some(key));
        assert_eq!(resolve(&format!("{}#key-1", key.did())), None);
    }
}
