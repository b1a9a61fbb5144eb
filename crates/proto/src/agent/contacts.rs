//! First contact, the address book, and what of it survives a restart.

use crate::endpoint::{self, Command, MAX_ALLOWED};
use crate::time::Now;
use crate::wire::message::MAX_INTRODUCTION_BYTES;
use crate::wire::token::Scope;
use crate::wire::{Did, Message, Reason, Ulid};

use super::inbound::Inbound;
use super::link::Purpose;
use super::{Agent, Change, Event, LinkId, Memory, Misuse, Output, Policy, Relay, Request};

/// How long a grant lasts that the owner gives without saying more: a year, as for one made from a token (FC-21).
const GRANT_SECS: u64 = endpoint::TOKEN_GRANT_SECS;
/// FC-1: the longest purpose, in characters.
const PURPOSE_LIMIT: usize = 280;
/// Links remembered for the sake of answers to requests.
const ASKED_OVER: usize = 64;

/// An introduction of ours that nobody has answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errand {
    pub(super) link: LinkId,
    /// Whether it has left, rather than wait for its link.
    sent: bool,
}

impl Agent {
    pub(super) fn engine_config(did: &Did, device: &Did, policy: Policy, memory: &Memory) -> endpoint::Config {
        endpoint::Config {
            first_contact_required: policy.first_contact,
            contacts: memory.contacts.clone(),
            ..endpoint::Config::new(device.clone(), did.clone())
        }
    }

    /// Asks `to` for permission to call. Dialled like a call, but it never rings (FC-2); returns the introduction's id.
    pub fn introduce(
        &mut self,
        now: Now,
        to: Did,
        routes: Vec<Relay>,
        purpose: Option<String>,
        contact_token: Option<String>,
    ) -> Result<Ulid, Misuse> {
        let own = self.home.and_then(|home| self.links.get(&home)).map(|link| link.relay.clone());
        let relay = Self::routes(routes).pop_front().or(own).ok_or(Misuse::Nowhere)?;
        let long = purpose.as_ref().is_some_and(|purpose| purpose.chars().count() > PURPOSE_LIMIT)
            || contact_token.as_ref().is_some_and(|token| token.len() > MAX_INTRODUCTION_BYTES / 2);
        if long {
            return Err(Misuse::TooLong);
        }
        let id = Ulid::generate(now.wall, &mut self.rng);
        let link = self.link_to(&relay, Purpose::Errand);
        self.errands.insert(id, Errand { link, sent: false });
        if let Err(refused) = self.command(now, Command::Introduce { id, to, purpose, contact_token }) {
            self.errands.remove(&id);
            return Err(refused);
        }
        self.introduced_over(link);
        Ok(id)
    }

    /// The link is bound: the introductions that waited for it have left.
    pub(super) fn introduced_over(&mut self, link: LinkId) {
        let Some(relay) = self.links.get(&link).and_then(|link| link.listening().cloned()) else { return };
        for (id, errand) in self.errands.iter_mut().filter(|(_, errand)| errand.link == link && !errand.sent) {
            errand.sent = true;
            self.out.push_back(Output::Event(Event::Asked { introduction: *id, relay: relay.clone() }));
        }
    }

    /// The link is gone: what has not left will not.
    pub(super) fn introductions_lost(&mut self, link: LinkId, why: &str) {
        let lost = self.errands.extract_if(.., |_, errand| errand.link == link && !errand.sent);
        let events = lost.map(|(call, _)| Output::Event(Event::Unreachable { call, why: why.to_owned() }));
        self.out.extend(events);
    }

    /// Grants a request: its sender may call from now on. Returns the grant's id.
    pub fn grant(&mut self, now: Now, introduction: Ulid) -> Result<Ulid, Misuse> {
        let id = Ulid::generate(now.wall, &mut self.rng);
        let valid_until = now.wall.secs() + GRANT_SECS;
        self.command(now, Command::Grant { introduction, id, scope: vec![Scope::INVITE], valid_until })?;
        self.forget_request(introduction);
        Ok(id)
    }

    /// Refuses a request. Saying nothing is an answer as well (FC-3).
    pub fn reject_introduction(&mut self, now: Now, introduction: Ulid, reason: Option<Reason>) -> Result<(), Misuse> {
        self.command(now, Command::RejectIntroduction { introduction, reason })?;
        self.forget_request(introduction);
        Ok(())
    }

    /// Takes a grant back.
    pub fn revoke(&mut self, now: Now, grant: Ulid) -> Result<(), Misuse> {
        self.command(now, Command::Revoke { grant })
    }

    /// Remembers a contact token that the owner hands out (FC-27).
    pub fn issue_token(&mut self, now: Now, token: String) -> Result<(), Misuse> {
        let grant_id = Ulid::generate(now.wall, &mut self.rng);
        self.command(now, Command::IssueToken { token, grant_id })
    }

    /// Puts an identity into the address book, or takes it out. Whoever is in it may call without asking first.
    pub fn allow(&mut self, now: Now, identity: &Did, allowed: bool, name: Option<String>) -> Result<(), Misuse> {
        match name.filter(|_| allowed) {
            Some(name) => {
                self.memory.names.insert(identity.clone(), name);
            }
            None if !allowed => {
                self.memory.names.remove(identity);
            }
            None => {}
        }
        self.command(now, Command::Allow { identity: identity.clone(), allowed })?;
        self.remember_contacts();
        Ok(())
    }

    /// Blocks an identity, or no longer. Its calls do not ring: it hears what it would hear from a phone that takes no calls at
    /// all. Its introductions get no answer (FC-3). What was granted to it is taken back, and it leaves the address book.
    pub fn block(&mut self, now: Now, identity: &Did, blocked: bool) -> Result<(), Misuse> {
        if !blocked {
            self.memory.blocked.remove(identity);
            self.persist();
            return Ok(());
        }
        if self.memory.blocked.len() >= MAX_ALLOWED && !self.memory.blocked.contains(identity) {
            return Err(Misuse::TooManyBlocked);
        }
        self.memory.blocked.insert(identity.clone());
        self.memory.names.remove(identity);
        self.memory.requests.retain(|_, request| request.identity != *identity);
        let issued = self.engine.contacts().issued().filter(|(_, grant)| grant.other == *identity).map(|(id, _)| id);
        for grant in issued.collect::<Vec<_>>() {
            self.command(now, Command::Revoke { grant })?;
        }
        self.command(now, Command::Allow { identity: identity.clone(), allowed: false })?;
        self.remember_contacts();
        Ok(())
    }

    /// Takes over what another program of the same owner stored, such as a request that was granted at another terminal.
    pub fn adopt(&mut self, memory: Memory) {
        self.engine.restore(memory.contacts.clone());
        self.memory = memory;
    }

    /// Changes whom the phone lets in.
    pub fn set_policy(&mut self, now: Now, policy: Policy) -> Result<(), Misuse> {
        self.policy = policy;
        self.command(now, Command::RequireFirstContact(policy.first_contact))
    }

    /// The engine's contacts changed: stored before whatever follows leaves.
    pub(super) fn remember_contacts(&mut self) {
        self.memory.contacts = self.engine.contacts().clone();
        let contacts = &self.memory.contacts;
        self.memory.requests.retain(|id, _| contacts.requests().any(|(pending, _)| pending == *id));
        self.persist();
    }

    fn forget_request(&mut self, introduction: Ulid) {
        self.asked_over.remove(&introduction);
        if self.memory.requests.remove(&introduction).is_some() {
            self.persist();
        }
    }

    fn persist(&mut self) {
        self.out.push_back(Output::Persist(Change::Memory(Box::new(self.memory.clone()))));
    }

    /// FC-21, FC-22: somebody introduced themselves.
    pub(super) fn introduced(&mut self, now: Now, cause: Option<&Inbound>, by_token: bool) {
        let Some(cause) = cause else { return };
        let Message::Introduction(introduction) = &cause.message else { return };
        let (id, party) = (introduction.common.id, self.party(cause));
        if self.memory.blocked.contains(&party.identity) {
            return;
        }
        let purpose = introduction.purpose.clone();
        if !by_token {
            let request = Request {
                identity: party.identity.clone(),
                claimed_name: party.claimed_name.clone(),
                purpose: purpose.clone(),
                at: now.wall.secs(),
            };
            self.memory.requests.insert(id, request);
            self.memory.contacts = self.engine.contacts().clone();
            self.persist();
        }
        while self.asked_over.len() >= ASKED_OVER {
            self.asked_over.pop_first();
        }
        self.asked_over.insert(id, cause.link);
        self.out.push_back(Output::Event(Event::Introduced { introduction: id, party, purpose, by_token }));
    }
}
