//! First contact, both sides (02 §11): who may call, who asked to, whom we asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::message::Received;
use super::output::{Drop, Output, Refused, Send, Ui};
use crate::time::Now;
use crate::wire::token::Scope;
use crate::wire::{Did, Reason, Ulid};

/// Requests of others that wait for an answer. At this many, the oldest is no longer waited for: silence is an outcome
/// (FC-3), and a box that strangers filled once must not stay shut.
pub const MAX_REQUESTS: usize = 256;

/// Introductions of ours that wait for an answer. At this many, the oldest is no longer waited for.
pub const MAX_PENDING: usize = 256;

/// Grants issued, and grants held. At this many, those that have lapsed make room.
pub const MAX_GRANTS: usize = 4_096;

/// Contact tokens given out and not used.
pub const MAX_TOKENS: usize = 1_024;

/// Identities in the allow set.
pub const MAX_ALLOWED: usize = 16_384;

/// Ids of introductions remembered to tell a repeated one (FC-20). The pipeline's own seen set (RPL-6) goes back further.
pub const MAX_SEEN: usize = 1_024;

/// How long a grant made from a contact token is valid, in seconds (FC-21).
pub const TOKEN_GRANT_SECS: u64 = 31_536_000;

/// Everything the rules of first contact remember. It outlives the process: store it whenever the engine says that it
/// [changed](Output::ContactsChanged), and hand it back in [`Config`](super::Config).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contacts {
    allow: BTreeSet<Did>,
    issued: BTreeMap<Ulid, Grant>,
    held: BTreeMap<Ulid, Grant>,
    tokens: BTreeMap<String, Ulid>,
    requests: BTreeMap<Ulid, Request>,
    pending: BTreeMap<Ulid, Did>,
    seen: VecDeque<Ulid>,
}

/// A contact grant, issued or held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The other identity: the grantee of an issued grant, the issuer of a held one.
    pub other: Did,
    /// What it allows.
    pub scope: Vec<Scope>,
    /// Until when, in Unix seconds.
    pub valid_until: u64,
}

/// Somebody who asked for permission to make contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The device that asked.
    pub device: Did,
    /// The identity it acts for.
    pub identity: Did,
}

impl Grant {
    fn is_live(&self, now: u64) -> bool {
        self.valid_until > now
    }

    /// FC-11, FC-13
    fn admits_invites_of(&self, other: &Did, now: u64) -> bool {
        self.other == *other && self.is_live(now) && self.scope.contains(&Scope::INVITE)
    }
}

impl Contacts {
    /// The identities that may call without a grant.
    pub fn allowed(&self) -> impl Iterator<Item = &Did> {
        self.allow.iter()
    }

    /// The grants issued and not revoked, by id.
    pub fn issued(&self) -> impl Iterator<Item = (Ulid, &Grant)> {
        self.issued.iter().map(|(id, grant)| (*id, grant))
    }

    /// The grants others gave us, by id.
    pub fn held(&self) -> impl Iterator<Item = (Ulid, &Grant)> {
        self.held.iter().map(|(id, grant)| (*id, grant))
    }

    /// The requests that wait for our answer, by the introduction's id.
    pub fn requests(&self) -> impl Iterator<Item = (Ulid, &Request)> {
        self.requests.iter().map(|(id, request)| (*id, request))
    }

    /// Our introductions that nobody has answered, with whom each went to.
    pub fn pending(&self) -> impl Iterator<Item = (Ulid, &Did)> {
        self.pending.iter().map(|(id, to)| (*id, to))
    }

    /// Whether an invite of `identity` is admitted where first contact is required (FC-10, FC-11).
    ///
    /// The grant that an invite names is no matter: it only helps relays that keep no state, and quoting another's admits
    /// nobody (FC-12).
    #[must_use]
    pub fn admits(&self, identity: &Did, now: u64) -> bool {
        self.allow.contains(identity) || self.issued.values().any(|grant| grant.admits_invites_of(identity, now))
    }

    /// The grant to name in an invite to `identity`: the smallest id of those that are live (FC-33).
    #[must_use]
    pub fn grant_for(&self, identity: &Did, now: u64) -> Option<Ulid> {
        self.held.iter().find(|(_, grant)| grant.admits_invites_of(identity, now)).map(|(id, _)| *id)
    }

    /// Whom the pending introduction went to.
    pub(super) fn pending_to(&self, introduction: Ulid) -> Option<&Did> {
        self.pending.get(&introduction)
    }

    /// What two programs of one owner made of `base`, together: entry by entry, what `mine` changed, and otherwise `theirs`.
    #[must_use]
    pub fn merge(base: &Self, mine: &Self, theirs: Self) -> Self {
        let is_new = |id: &&Ulid| !base.seen.contains(id) && !theirs.seen.contains(id);
        let mut seen: VecDeque<Ulid> = theirs.seen.iter().chain(mine.seen.iter().filter(is_new)).copied().collect();
        seen.drain(..seen.len().saturating_sub(MAX_SEEN));
        let mut allow = theirs.allow;
        allow.extend(mine.allow.difference(&base.allow).cloned());
        allow.retain(|identity| mine.allow.contains(identity) || !base.allow.contains(identity));
        Self {
            allow,
            issued: merge_entries(&base.issued, &mine.issued, theirs.issued),
            held: merge_entries(&base.held, &mine.held, theirs.held),
            tokens: merge_entries(&base.tokens, &mine.tokens, theirs.tokens),
            requests: merge_entries(&base.requests, &mine.requests, theirs.requests),
            pending: merge_entries(&base.pending, &mine.pending, theirs.pending),
            seen,
        }
    }

    // The recipient (FC-20 to FC-27)

    pub(super) fn introduced(
        &mut self,
        received: &Received,
        identity: Did,
        contact_token: Option<&str>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let (id, now) = (received.id, now.wall.secs());
        if self.seen.contains(&id) || self.requests.contains_key(&id) {
            out.push(Output::Drop(Drop::DuplicateIntroduction)); // FC-20
            return;
        }
        let introduction =
            |token| Output::Ui { about: Some(id), event: Ui::IntroductionReceived { from: identity.clone(), token } };
        // FC-4, FC-21. A token stays unused while there is no room for its grant.
        if let Some(token) = contact_token
            && self.tokens.contains_key(token)
            && make_room(&mut self.issued, now)
            && let Some(grant_id) = self.tokens.remove(token)
        {
            let scope = vec![Scope::INVITE];
            let valid_until = now.saturating_add(TOKEN_GRANT_SECS);
            self.see(id);
            self.issued.insert(grant_id, Grant { other: identity.clone(), scope: scope.clone(), valid_until });
            out.push(Output::ContactsChanged);
            out.push(introduction(true));
            out.push(Output::Send(Send::Grant { to: identity, session: id, id: grant_id, scope, valid_until }));
            return;
        }
        while self.requests.len() >= MAX_REQUESTS {
            let Some(oldest) = self.oldest_request() else { break };
            self.requests.remove(&oldest);
        }
        // FC-22
        self.see(id);
        out.push(Output::ContactsChanged);
        out.push(introduction(false));
        self.requests.insert(id, Request { device: received.from.clone(), identity });
    }

    /// FC-23
    pub(super) fn grant(
        &mut self,
        introduction: Ulid,
        id: Ulid,
        scope: Vec<Scope>,
        valid_until: u64,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        if !self.requests.contains_key(&introduction) {
            return Err(Refused::UnknownIntroduction); // FC-25
        }
        if !make_room(&mut self.issued, now.wall.secs()) {
            return Err(Refused::TooMany);
        }
        let Some(Request { identity, .. }) = self.requests.remove(&introduction) else { return Ok(()) };
        let scope = if scope.is_empty() { vec![Scope::INVITE] } else { scope };
        self.issued.insert(id, Grant { other: identity.clone(), scope: scope.clone(), valid_until });
        out.push(Output::ContactsChanged);
        out.push(Output::Send(Send::Grant { to: identity, session: introduction, id, scope, valid_until }));
        Ok(())
    }

    /// FC-24. Unlike a grant, it goes to the device that asked.
    pub(super) fn reject(&mut self, introduction: Ulid, reason: Reason, out: &mut Vec<Output>) -> Result<(), Refused> {
        let Request { device: to, .. } = self.requests.remove(&introduction).ok_or(Refused::UnknownIntroduction)?;
        out.push(Output::ContactsChanged);
        out.push(Output::Send(Send::Reject { to, session: introduction, reason, in_reply_to: None }));
        Ok(())
    }

    /// FC-26
    pub(super) fn revoke(&mut self, grant: Ulid, out: &mut Vec<Output>) -> Result<(), Refused> {
        self.issued.remove(&grant).ok_or(Refused::UnknownGrant)?;
        out.push(Output::ContactsChanged);
        Ok(())
    }

    /// FC-27
    pub(super) fn issue_token(&mut self, token: String, grant_id: Ulid, out: &mut Vec<Output>) -> Result<(), Refused> {
        if self.tokens.len() >= MAX_TOKENS && !self.tokens.contains_key(&token) {
            return Err(Refused::TooMany);
        }
        self.tokens.insert(token, grant_id);
        out.push(Output::ContactsChanged);
        Ok(())
    }

    /// FC-10
    pub(super) fn allow(&mut self, identity: Did, allowed: bool, out: &mut Vec<Output>) -> Result<(), Refused> {
        if allowed && self.allow.len() >= MAX_ALLOWED && !self.allow.contains(&identity) {
            return Err(Refused::TooMany);
        }
        if if allowed { self.allow.insert(identity) } else { self.allow.remove(&identity) } {
            out.push(Output::ContactsChanged);
        }
        Ok(())
    }

    // The sender (FC-30 to FC-33)

    /// FC-30
    pub(super) fn introduce(
        &mut self,
        id: Ulid,
        to: Did,
        purpose: Option<String>,
        contact_token: Option<String>,
        out: &mut Vec<Output>,
    ) {
        if self.pending.len() >= MAX_PENDING {
            // Ids begin with the time they were made at (ULID-2): the first is the oldest.
            self.pending.pop_first();
        }
        self.pending.insert(id, to.clone());
        out.push(Output::ContactsChanged);
        out.push(Output::Send(Send::Introduction { to, id, purpose, contact_token }));
    }

    /// FC-31
    pub(super) fn granted(
        &mut self,
        received: &Received,
        introduction: Ulid,
        grant: Grant,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if self.pending.remove(&introduction).is_none() {
            out.push(Output::Drop(Drop::UnknownIntroduction));
            return;
        }
        let by = grant.other.clone();
        if make_room(&mut self.held, now.wall.secs()) {
            self.held.insert(received.id, grant);
        }
        out.push(Output::ContactsChanged);
        out.push(Output::Ui { about: Some(introduction), event: Ui::Granted { by } });
    }

    /// FC-32
    pub(super) fn rejected(&mut self, introduction: Ulid, reason: &Reason, out: &mut Vec<Output>) {
        self.pending.remove(&introduction);
        out.push(Output::ContactsChanged);
        out.push(Output::Ui { about: Some(introduction), event: Ui::IntroductionRejected(reason.effective().0) });
    }

    /// The request that arrived first. Its id cannot tell, for the sender chose it; what is not among the seen ids any more
    /// arrived before all that are.
    fn oldest_request(&self) -> Option<Ulid> {
        let forgotten = self.requests.keys().find(|id| !self.seen.contains(id));
        forgotten.or_else(|| self.seen.iter().find(|id| self.requests.contains_key(id))).copied()
    }

    fn see(&mut self, introduction: Ulid) {
        if self.seen.len() >= MAX_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(introduction);
    }
}

/// The map that came of `base` where one program made it `mine` and another `theirs`. Where both changed an entry, `mine`
/// wins.
pub(crate) fn merge_entries<K: Ord + Clone, V: PartialEq + Clone>(
    base: &BTreeMap<K, V>,
    mine: &BTreeMap<K, V>,
    theirs: BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    let mut merged = theirs;
    merged.retain(|key, _| mine.contains_key(key) || !base.contains_key(key));
    let changed = mine.iter().filter(|(key, value)| base.get(key) != Some(value));
    merged.extend(changed.map(|(key, value)| (key.clone(), value.clone())));
    merged
}

/// Whether there is room for one more grant, once those that lapsed have gone if need be.
fn make_room(grants: &mut BTreeMap<Ulid, Grant>, now: u64) -> bool {
    if grants.len() >= MAX_GRANTS {
        grants.retain(|_, grant| grant.is_live(now));
    }
    grants.len() < MAX_GRANTS
}
