//! The names of a node's domain: `did:web` documents and WebFinger, for the node itself and for its users.
//!
//! ```text
//!  dsip node user add ──► names.json in the node's home ──► Names ──┬──► GET /.well-known/did.json       the node
//!                              (Register)                           ├──► GET /users/NAME/did.json        a user
//!                                                                   ├──► GET /users/NAME/key-rotation    why its key is the one
//!                                                                   ├──► GET /.well-known/webfinger      an alias
//!                                                                   └──► the relay: whose device is this?
//! ```
//!
//! `POST /users/NAME/key-rotation` replaces a user's key, by a record that the key itself has signed. The rules `NAM-n` are in
//! `docs/spec/names.md`.
//!
//! The file is the truth, whoever changes it, and is looked at with every question; so nobody has to tell a running node. The
//! relay's rules hold documents of their own, which [`watch`] keeps as they are here: a user who was removed, or whose key
//! changed, is not believed for minutes more.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dsip_endpoint::clock;
use dsip_endpoint::home::{self, Home, Part, Stamp};
use dsip_endpoint::resolve::{Alias, Domain, OwnDocuments, REL};
use dsip_proto::envelope::{Connection, Supported, Verifier};
use dsip_proto::identity::{Document, Documents, KeyId, PublicKey, Service, successor};
use dsip_proto::time::{Now, Seed};
use dsip_proto::wire::token::{BindingId, ProfileId};
use dsip_proto::wire::{Did, Message};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;
use url::form_urlencoded;

use crate::http::{self, Page, Request, StatusCode, header};
use crate::relay::{Input, Relay};

/// Names that one node takes. Its relay keeps a document for each.
const MAX_USERS: usize = 10_000;

/// NAM-3: a rotation record is not longer. The register holds one for each name.
const MAX_RECORD: usize = 4_096;

/// NAM-4: keys of a user that are remembered as not in use any more.
const MAX_RETIRED: usize = 16;

/// Where users' documents are.
const USERS: &str = "/users/";

/// Where, beside a document, the record is of how its key came to be the one in use (NAM-6).
const ROTATION: &str = "key-rotation";

/// How often the relay looks whether a name has come, changed or gone.
const LOOKS: Duration = Duration::from_millis(500);

/// How long others may keep what is answered. A key that was replaced works that much longer, so it is not long.
const KEPT: &str = "public, max-age=60";

/// What the register's file holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Entries {
    /// The domain that the node last ran with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(default)]
    users: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The key that signs for the user, as the `did:key` it would be.
    key: Did,
    /// When it was entered, in Unix seconds.
    since: u64,
    /// When the key was last replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotated: Option<u64>,
    /// The record of that, as it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    /// Keys that are not in use any more, the last ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<Did>,
}

impl Entry {
    fn new(key: Did, since: u64) -> Self {
        Self { key, since, rotated: None, record: None, retired: Vec::new() }
    }

    /// Replaces the key as `record` says. Doing it again is doing it once (NAM-5).
    fn rotate(&mut self, did: &Did, record: &str, now: Now) -> Result<(), RegisterError> {
        if self.record.as_deref() == Some(record) {
            return Ok(());
        }
        let refused = |why: &dyn Display| RegisterError::Record(why.to_string());
        let key = PublicKey::of_did(&self.key).map_err(|_| RegisterError::Key(self.key.clone()))?;
        let document = document(did.clone(), key, Vec::new());
        let current = KeyId::new(did.clone(), &key.to_multibase()).map_err(|error| refused(&error))?;
        let mut documents = Documents::default();
        documents.insert(document);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| refused(&error))?;
        let mut verifier = Verifier::new(Supported::new([ProfileId::INTERACTIVE_MEDIA]), Seed::new(seed));
        // ROT-3 to ROT-5, and that the key in use signed it.
        let verified = verifier.verify(record, now, &documents, Connection::default());
        let message = verified.map_err(|verdict| refused(&verdict.code))?.into_message();
        let Message::KeyRotation(rotation) = message else { return Err(refused(&"it is another kind of message")) };
        let before: Vec<PublicKey> = self.retired.iter().filter_map(|key| PublicKey::of_did(key).ok()).collect();
        let next = successor(&rotation, &current, &before).map_err(|error| refused(&error))?;
        self.retired.push(std::mem::replace(&mut self.key, next.did()));
        if self.retired.len() > MAX_RETIRED {
            self.retired.remove(0);
        }
        self.rotated = Some(now.wall.secs());
        self.record = Some(record.to_owned());
        Ok(())
    }
}

/// A document as this node publishes it. The key is its own fragment, so that no two keys of a DID ever share one (NAM-2).
fn document(did: Did, key: PublicKey, services: Vec<Service>) -> Document {
    Document::new(did, &key.to_multibase(), key, services)
}

/// Who has a name at a node's domain. It lies in the node's home; a node that runs sees each change within a second.
#[derive(Debug, Clone)]
pub struct Register(Home);

/// Somebody who has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// Who it makes them: `did:web:DOMAIN:users:NAME`.
    pub did: Did,
    /// What people type to call them.
    pub alias: String,
    /// The key that signs for them, as the `did:key` it would be.
    pub key: Did,
    /// Since when, in Unix seconds.
    pub since: u64,
    /// When the key was last replaced, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated: Option<u64>,
}

/// Why the register does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The file.
    #[error(transparent)]
    File(#[from] home::Error),
    /// Not a name (ALS-1).
    #[error("{0:?} is no name: 1 to 63 of a to z, 0 to 9, - and _, with single dots between them")]
    Name(String),
    /// Not an Ed25519 `did:key`.
    #[error("{0} is not a did:key of an Ed25519 key")]
    Key(Did),
    /// Somebody has it.
    #[error("the name {0:?} is taken")]
    Taken(String),
    /// Nobody has it.
    #[error("nobody has the name {0:?}")]
    Nobody(String),
    /// A rotation record that does not hold.
    #[error("the record is refused: {0}")]
    Record(String),
    /// There are too many.
    #[error("there are {MAX_USERS} names already")]
    Full,
}

impl Register {
    /// The register of the node whose home is in `dir`, whether or not there is one yet.
    #[must_use]
    pub fn of_node(dir: impl Into<PathBuf>) -> Self {
        Self(Home::at(dir))
    }

    /// The domain that the node last ran with, if it ever had one.
    pub fn domain(&self) -> Result<Option<Domain>, RegisterError> {
        Ok(self.load()?.domain.and_then(|text| text.parse().ok()))
    }

    /// Gives `name` to whoever holds `key`. Names are not handed on: a name that is taken has to be removed first.
    pub fn add(&self, domain: &Domain, name: &str, key: &Did, now: u64) -> Result<User, RegisterError> {
        if domain.user_did(name).is_none() {
            return Err(RegisterError::Name(name.to_owned()));
        }
        PublicKey::of_did(key).map_err(|_| RegisterError::Key(key.clone()))?;
        let entry = Entry::new(key.clone(), now);
        self.0.update(Part::Names, |entries: &mut Entries| {
            if entries.users.contains_key(name) {
                return Err(RegisterError::Taken(name.to_owned()));
            }
            if entries.users.len() >= MAX_USERS {
                return Err(RegisterError::Full);
            }
            entries.users.insert(name.to_owned(), entry.clone());
            Ok(())
        })??;
        User::of(domain, name, &entry).ok_or_else(|| RegisterError::Name(name.to_owned()))
    }

    /// Takes a name away. Its document is gone with it.
    pub fn remove(&self, name: &str) -> Result<(), RegisterError> {
        let removed = self.0.update(Part::Names, |entries: &mut Entries| entries.users.remove(name))?;
        removed.map(|_| ()).ok_or_else(|| RegisterError::Nobody(name.to_owned()))
    }

    /// Replaces the key behind a name as a `key-rotation` record says, which the key in use signed (ROT-5).
    pub fn rotate(&self, domain: &Domain, name: &str, record: &str, now: Now) -> Result<User, RegisterError> {
        let nobody = || RegisterError::Nobody(name.to_owned());
        let did = domain.user_did(name).ok_or_else(nobody)?;
        if record.len() > MAX_RECORD {
            return Err(RegisterError::Record(format!("it is longer than {MAX_RECORD} bytes")));
        }
        // Once without the lock, so that it is not held for those who sign nothing.
        let changed = |entries: &mut BTreeMap<String, Entry>| {
            let entry = entries.get_mut(name).ok_or_else(nobody)?;
            entry.rotate(&did, record, now)?;
            User::of(domain, name, entry).ok_or_else(nobody)
        };
        changed(&mut self.load()?.users)?;
        self.0.update(Part::Names, |entries: &mut Entries| changed(&mut entries.users))?
    }

    /// Who has `name`.
    pub fn user(&self, domain: &Domain, name: &str) -> Result<User, RegisterError> {
        let entries = self.load()?;
        let user = entries.users.get(name).and_then(|entry| User::of(domain, name, entry));
        user.ok_or_else(|| RegisterError::Nobody(name.to_owned()))
    }

    /// Everybody who has a name, by name.
    pub fn users(&self, domain: &Domain) -> Result<Vec<User>, RegisterError> {
        Ok(self.load()?.users.iter().filter_map(|(name, entry)| User::of(domain, name, entry)).collect())
    }

    /// Notes with which domain the node runs, for those who edit the register.
    fn runs_with(&self, domain: &Domain) -> Result<(), RegisterError> {
        let text = domain.to_string();
        let entries = self.load()?;
        if entries.domain.as_ref() == Some(&text) {
            return Ok(());
        }
        if let Some(before) = entries.domain.filter(|_| !entries.users.is_empty()) {
            tracing::warn!(%before, now = %text, "the domain has changed, and the DIDs of everybody who has a name with it");
        }
        Ok(self.0.update(Part::Names, |entries: &mut Entries| entries.domain = Some(text))?)
    }

    fn load(&self) -> Result<Entries, RegisterError> {
        Ok(self.0.load(Part::Names)?)
    }
}

impl User {
    fn of(domain: &Domain, name: &str, entry: &Entry) -> Option<Self> {
        let alias = domain.alias(name)?.to_string();
        Some(Self {
            name: name.to_owned(),
            did: domain.user_did(name)?,
            alias,
            key: entry.key.clone(),
            since: entry.since,
            rotated: entry.rotated,
        })
    }
}

/// The names that a running node answers for.
pub(crate) struct Names {
    register: Register,
    domain: Domain,
    node: PublicKey,
    services: Vec<Service>,
    known: Mutex<(Option<Stamp>, Arc<Entries>)>,
    /// The node itself has changed something.
    changed: Notify,
}

impl Names {
    /// Those of `domain`, at the node whose home is in `dir` and whose key is `node`.
    pub(crate) fn open(dir: PathBuf, domain: Domain, node: PublicKey) -> Result<Self, RegisterError> {
        let register = Register::of_node(dir);
        register.runs_with(&domain)?;
        let (entries, stamp) = register.0.load_stamped(Part::Names)?;
        let uri = format!("wss://{domain}{}", http::PATH);
        let services = vec![Service { uri, bindings: vec![BindingId::WS, BindingId::QUIC] }];
        Ok(Self {
            register,
            domain,
            node,
            services,
            known: Mutex::new((stamp, Arc::new(entries))),
            changed: Notify::new(),
        })
    }

    /// Whose names they are.
    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }

    /// What is answered to a request; nothing if the path is none of ours.
    ///
    /// NAM-1: whoever has no name, and what can be no name, get the same answer. Pages of any origin may read it, since phones run in
    /// browsers and all of it is public (RFC 7033, 5).
    pub(crate) fn page(&self, request: &Request) -> Option<Page> {
        let uri = request.uri();
        let page = match uri.path() {
            "/.well-known/did.json" => Some(Page::ok(http::DID, self.own().to_json())),
            "/.well-known/webfinger" => match resource(uri.query().unwrap_or_default()) {
                Some(asked) => self.webfinger(&asked).map(|answer| Page::ok(http::JRD, answer)),
                None => Some(Page::status(StatusCode::BAD_REQUEST, "Which resource?\n")),
            },
            path => {
                let (name, what) = path.strip_prefix(USERS)?.rsplit_once('/').unwrap_or_default();
                match what {
                    "did.json" => self.user(name).map(|document| Page::ok(http::DID, document.to_json())),
                    ROTATION => self.record(name).map(|record| Page::ok(http::JSON, record)),
                    _ => None,
                }
            }
        };
        let page = page.map(|page| fresh(request, page)).unwrap_or_else(Page::nothing);
        Some(page.with(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
    }

    /// Whose rotation record a request brings, if it is one of ours (NAM-3).
    pub(crate) fn rotated<'a>(&self, request: &'a Request) -> Option<&'a str> {
        request.uri().path().strip_prefix(USERS)?.strip_suffix(ROTATION)?.strip_suffix('/')
    }

    /// What becomes of such a record. It may block.
    pub(crate) fn rotate(&self, name: &str, record: &str) -> Page {
        let page = match self.register.rotate(&self.domain, name, record, clock::now()) {
            Ok(_) => {
                self.changed.notify_one();
                Page::done()
            }
            Err(RegisterError::Record(why)) => Page::status(StatusCode::CONFLICT, &format!("{why}\n")),
            Err(RegisterError::File(error)) => {
                tracing::error!(%error, "a key cannot be replaced");
                Page::status(StatusCode::SERVICE_UNAVAILABLE, "The register cannot be written.\n")
            }
            Err(_) => Page::nothing(),
        };
        page.with(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")
    }

    /// The documents that need no fetching.
    pub(crate) fn own_documents(self: &Arc<Self>) -> OwnDocuments {
        let names = self.clone();
        Arc::new(move |did| {
            if *did == names.domain.did() {
                return Some(Some(names.own()));
            }
            names.domain.user_of(did).map(|name| names.user(name))
        })
    }

    /// Every document, and the names as they are now.
    fn all(&self) -> (Vec<Document>, Arc<Entries>) {
        let entries = self.current();
        let users = entries.users.iter().filter_map(|(name, entry)| self.document(name, entry));
        (std::iter::once(self.own()).chain(users).collect(), entries)
    }

    fn own(&self) -> Document {
        document(self.domain.did(), self.node, self.services.clone())
    }

    fn record(&self, name: &str) -> Option<String> {
        self.current().users.get(name)?.record.clone()
    }

    fn user(&self, name: &str) -> Option<Document> {
        self.document(name, self.current().users.get(name)?)
    }

    fn document(&self, name: &str, entry: &Entry) -> Option<Document> {
        let key = PublicKey::of_did(&entry.key).ok()?;
        Some(document(self.domain.user_did(name)?, key, self.services.clone()))
    }

    /// ALS-3: which DID an alias leads to. The port is no part of an `acct:` URI; one that is written has to be ours.
    fn webfinger(&self, asked: &Asked) -> Option<String> {
        let alias: Alias = asked.resource.strip_prefix("acct:")?.parse().ok()?;
        let place = alias.place();
        if place.host() != self.domain.host() || (alias.has_port() && place != self.domain) {
            return None;
        }
        let did = self.user(alias.user())?.did().clone();
        let links = if asked.wants(REL) { vec![json!({"rel": REL, "href": did})] } else { Vec::new() };
        let subject = format!("acct:{}@{}", alias.user(), self.domain.host());
        Some(json!({"subject": subject, "aliases": [did], "links": links}).to_string())
    }

    /// The register as it is now, or as it was before somebody damaged it.
    fn current(&self) -> Arc<Entries> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.register.0.stamp(Part::Names);
        if stamp != known.0 {
            match self.register.0.load_stamped(Part::Names) {
                Ok((entries, stamp)) => *known = (stamp, Arc::new(entries)),
                Err(error) => {
                    tracing::error!(%error, "the names cannot be read; those from before go on");
                    known.0 = stamp;
                }
            }
        }
        known.1.clone()
    }
}

/// Tells the relay whose documents this node vouches for, now and with each change.
pub(crate) async fn watch(names: Arc<Names>, relay: Relay) {
    let (documents, mut before) = names.all();
    for document in documents {
        let did = document.did().clone();
        if relay.inputs.send(Input::Vouched { did, document: Some(document) }).await.is_err() {
            return;
        }
    }
    loop {
        // Nobody has to come within this time: it only passes sooner.
        drop(timeout(LOOKS, names.changed.notified()).await);
        let now = names.current();
        if Arc::ptr_eq(&now, &before) {
            continue;
        }
        let gone = before.users.keys().filter(|name| !now.users.contains_key(*name)).map(|name| (name, None));
        let changed = now.users.iter().filter(|(name, entry)| before.users.get(*name) != Some(entry));
        let changed = changed.map(|(name, entry)| (name, names.document(name, entry)));
        for (name, document) in gone.chain(changed) {
            let Some(did) = names.domain.user_did(name) else { continue };
            if relay.inputs.send(Input::Vouched { did, document }).await.is_err() {
                return;
            }
        }
        before = now;
    }
}

/// The query of a WebFinger request (RFC 7033, 4.1).
struct Asked {
    resource: String,
    /// None: every relation.
    relations: Vec<String>,
}

impl Asked {
    fn wants(&self, relation: &str) -> bool {
        self.relations.is_empty() || self.relations.iter().any(|wanted| wanted == relation)
    }
}

/// RFC 7033, 4.2: there has to be one resource.
fn resource(query: &str) -> Option<Asked> {
    let mut asked = None;
    let mut relations = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "resource" if asked.is_none() => asked = Some(value.into_owned()),
            "resource" => return None,
            "rel" => relations.push(value.into_owned()),
            _ => {}
        }
    }
    Some(Asked { resource: asked?, relations })
}

/// Lets others keep a good page for a while, and ask whether it is still the same.
fn fresh(request: &Request, page: Page) -> Page {
    if !page.is_ok() {
        return page;
    }
    let tag = http::tag(&page.body);
    page.tagged(request, &tag).with(header::CACHE_CONTROL, KEPT)
}
