//! From a received frame to a verified message, and from there to whoever it is for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::binding::webrtc;
use crate::endpoint::{self, Body, Proof, Received};
use crate::envelope::{self, Code, Connection, Verdict, Verified};
use crate::identity::Document;
use crate::time::Now;
use crate::trust;
use crate::wire::media::{ClaimedIdentity, MediaDescriptor, Transport, is_subset};
use crate::wire::token::TransportId;
use crate::wire::{Did, Envelope, Message, Reason, Ulid, json};

use super::calls::Call;
use super::link::State;
use super::{Agent, AskId, Change, Description, LinkId, Output, Party, Question, Suspicion};

/// How long a fetched document is believed before it is asked for again: a key that was taken out of it must not be
/// honoured for longer than this (RES-3).
const DOCUMENT_LIFETIME: Duration = Duration::from_secs(300);
/// Documents kept at one time; the oldest goes first.
const DOCUMENTS: usize = 256;

/// A verified message, with what is known about how it got here.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) link: LinkId,
    pub(super) message: Message,
    /// The device whose key signed.
    pub(super) device: Did,
    /// The identity it acts for, as far as proven now or before.
    pub(super) identity: Did,
    /// Until when that delegation is valid.
    pub(super) until: Option<u64>,
    /// The relay whose verified `hello` owns the connection that the session's invite went out on, or this one.
    pub(super) via: Option<Did>,
}

impl Inbound {
    /// What the message describes, for those that describe media.
    pub(super) fn described(&self) -> (&[MediaDescriptor], &[Transport]) {
        match &self.message {
            Message::Invite(invite) => (&invite.media, &invite.transports),
            Message::Answer(answer) => (&answer.media, &answer.transports),
            Message::Update(update) => (&update.media, update.transports.as_deref().unwrap_or_default()),
            _ => (&[], &[]),
        }
    }

    /// The same as a value to keep. None where the message describes no media at all.
    pub(super) fn description(&self) -> Option<Description> {
        let (media, transports) = self.described();
        (!media.is_empty()).then(|| Description::read(media, transports))
    }

    /// The part of [`Self::described`] that we would use: our transport alone (WEB-7).
    pub(super) fn usable(&self) -> (&[MediaDescriptor], &[Transport]) {
        let (media, transports) = self.described();
        let at = transports.iter().position(|transport| transport.id == TransportId::WEBRTC);
        (media, at.and_then(|at| transports.get(at..=at)).unwrap_or(transports))
    }

    pub(super) fn claims(&self) -> Option<&ClaimedIdentity> {
        match &self.message {
            Message::Invite(invite) => invite.identity.as_ref(),
            Message::Introduction(introduction) => Some(&introduction.identity),
            _ => None,
        }
    }

    pub(super) fn valid_until(&self) -> u64 {
        match &self.message {
            Message::Grant(grant) => grant.valid_until,
            _ => 0,
        }
    }
}

impl Agent {
    /// A frame arrived. If its verification will want documents that are not here, it waits for them.
    pub(super) fn received(&mut self, now: Now, link: LinkId, frame: &str) {
        if !self.links.contains_key(&link) {
            return;
        }
        let wants: BTreeSet<Did> =
            envelope::needs(frame).into_iter().filter(|did| !self.has_document(now, did)).collect();
        let signer = envelope::claimed_signer(frame);
        if wants.is_empty() && !self.parked.holds(link, signer.as_ref()) {
            return self.verify(now, link, frame);
        }
        // Where there is no room the frame is dropped: its sender has proven nothing, and our own timers go on.
        for did in self.parked.park(link, frame, signer, wants).unwrap_or_default() {
            let ask = AskId(self.fresh());
            self.parked.asked(ask, did.clone(), now);
            self.out.push_back(Output::Ask(ask, Question::Document(did)));
        }
    }

    /// The answer to a question, or that there will be none. What waited for it is verified either way: without its
    /// document it fails as unresolvable.
    pub(super) fn learn(&mut self, now: Now, ask: AskId, document: Option<Document>) {
        let Some((did, frames)) = self.parked.answered(ask) else { return };
        match document {
            Some(document) => {
                while self.learned.len() >= DOCUMENTS {
                    let Some(oldest) = self.learned.iter().min_by_key(|(_, at)| **at).map(|(did, _)| did.clone())
                    else {
                        break;
                    };
                    self.learned.remove(&oldest);
                    self.documents.remove(&oldest);
                }
                self.documents.insert(document);
                self.learned.insert(did, now.tick);
            }
            None => {
                self.documents.remove(&did);
                self.learned.remove(&did);
            }
        }
        for frame in frames {
            self.verify(now, frame.link, &frame.text);
        }
    }

    fn has_document(&self, now: Now, did: &Did) -> bool {
        self.learned.get(did).is_some_and(|at| now.tick.since(*at) < DOCUMENT_LIFETIME)
    }

    fn verify(&mut self, now: Now, link: LinkId, frame: &str) {
        let Some(known) = self.links.get(&link) else { return };
        let state = &known.state;
        let connection = match state {
            State::Greeting { hello, .. } => {
                Connection { hello_verified: Some(false), sent_hello_id: Some(*hello), ..Connection::default() }
            }
            State::Bound { .. } => {
                Connection { hello_verified: Some(true), sent_hello_id: known.renewal.asked, ..Connection::default() }
            }
            // Nothing of ours went out yet, so nothing can come in.
            State::Dialling | State::Resting { .. } | State::Aside => return,
        };
        let greeting = match state {
            State::Greeting { hello, .. } => Some((*hello, known.relay.node.clone())),
            _ => None,
        };
        match self.verifier.verify(frame, now, &self.documents, connection) {
            Ok(verified) => self.accepted(now, link, verified),
            Err(verdict) => match greeting {
                Some((hello, node)) => match refusal(frame, &verdict, hello, node.as_ref()) {
                    Some(reason) => self.not_served(now, link, &reason),
                    None => self.refused(now, link, true, &verdict),
                },
                None => self.refused(now, link, false, &verdict),
            },
        }
    }

    /// HEL-3, ADM-1: the relay refused our hello. That is no attack, and this link will carry nothing.
    fn not_served(&mut self, now: Now, link: LinkId, reason: &Reason) {
        self.hang_up_link(now, link, &format!("the node does not serve us: it refused our hello ({reason})"));
    }

    /// Something did not verify. It changes nothing, and is answered nothing: its sender is unknown (PIPE-5). During the
    /// greeting it means that this relay is of no use.
    fn refused(&mut self, now: Now, link: LinkId, greeting: bool, verdict: &Verdict) {
        let what = Suspicion::Unverified { code: verdict.code };
        self.suspect(now, link, what, None);
        if greeting {
            let why = format!("what the relay said instead of hello does not verify ({})", verdict.code);
            self.hang_up_link(now, link, &why);
        }
    }

    fn accepted(&mut self, now: Now, link: LinkId, verified: Verified<Message>) {
        if let Some(held) = verified.held() {
            // RPL-6: remembered before it acts.
            self.out.push_back(Output::Persist(Change::Seen(held.clone())));
        }
        let device = verified.signer().clone();
        let session = self.concerns(verified.message());
        // DEL-24: what this envelope proves, or else what an earlier one did. Of several identities that a device acts for,
        // the one at the other end of the call counts.
        let expected = session.and_then(|session| self.calls.get(&session)).map(Call::counterpart);
        let as_expected = verified.proofs().iter().find(|proof| Some(&proof.identity) == expected);
        let proven = as_expected.or(verified.proven()).cloned();
        let until = proven.as_ref().map(|proof| proof.until);
        let identity = proven.map_or_else(|| self.engine.identity_of(&device).clone(), |proof| proof.identity);
        let message = verified.into_message();
        if let Message::Hello(hello) = &message {
            return self.relay_said_hello(now, link, hello);
        }
        let over = session.and_then(|session| self.calls.get(&session)).map_or(link, |call| call.link);
        let via = self.links.get(&over).and_then(|link| link.bound().cloned());
        // A message that went over another link than its session is not the relay's of that session (PTY-2).
        let via = if over == link { via } else { None };
        let inbound = Inbound { link, message, device, identity, until, via };
        if !self.heard_about_waking(now, &inbound) && !self.heard_about_watch(now, &inbound) {
            self.dispatch(now, &inbound);
        }
    }

    /// The session that a message is about: a relay's error names none, but what it answers belongs to one (RLY-5).
    fn concerns(&self, message: &Message) -> Option<Ulid> {
        let replied_to = match message {
            Message::Error(error) => error.in_reply_to.and_then(|id| self.call_of(id)),
            _ => None,
        };
        message.session().or(replied_to)
    }

    /// Hands a verified message to the session engine.
    fn dispatch(&mut self, now: Now, inbound: &Inbound) {
        let Some(received) = self.project(inbound) else { return };
        let mut out = Vec::new();
        self.engine.handle(now, endpoint::Input::Received(received), &mut out);
        self.carry_out(now, Some(inbound), out);
    }

    /// What the session rules read of a message; none for what is no business of a phone's calls.
    fn project(&self, inbound: &Inbound) -> Option<Received> {
        let proof = Proof {
            device: inbound.device.clone(),
            identity: inbound.identity.clone(),
            until: inbound.until,
            via_relay: inbound.via.clone(),
        };
        let mut received = Received::of(&inbound.message, Some(proof))?;
        if let Body::Answer { session, media_ok, .. } = &mut received.body {
            *media_ok = self.selection_is_usable(inbound, *session);
        }
        Some(received)
    }

    /// NEG, WEB-101, WEB-103: whether an answer selects from what we offered, and its SDP agrees.
    fn selection_is_usable(&self, inbound: &Inbound, session: Ulid) -> bool {
        let Some(offer) = self.calls.get(&session).and_then(|call| call.offer()) else { return false };
        let transports = offer.transports();
        let offered = (&offer.media[..], &transports[..]);
        let selected = inbound.described();
        is_subset(selected, offered) && matches!(webrtc::answer(offered, selected), Ok(webrtc::Applies::WebRtc))
    }

    /// Who is behind a message, and on what basis we say so.
    pub(super) fn party(&self, inbound: &Inbound) -> Party {
        let claims = inbound.claims();
        let name = claims.and_then(|claims| claims.display_name.clone());
        let listed = claims.and_then(|claims| claims.claims.as_deref()).unwrap_or_default();
        Party {
            basis: trust::basis(&inbound.identity, listed),
            claimed_name: name,
            contact: self.memory.names.get(&inbound.identity).cloned(),
            known: self.engine.contacts().allowed().any(|did| *did == inbound.identity),
            identity: inbound.identity.clone(),
            device: inbound.device.clone(),
        }
    }
}

/// The reason by which a relay refused the `hello` we sent it: its signed `error` comes before any `hello` of its own, and so is
/// accepted for nothing else (stage 11b).
fn refusal(frame: &str, verdict: &Verdict, hello: Ulid, node: Option<&Did>) -> Option<Reason> {
    let origin = verdict.origin.as_ref().filter(|_| verdict.code == Code::HelloRequired)?;
    if node.is_some_and(|expected| *expected != origin.from) {
        return None; // HEL-6
    }
    let payload = Envelope::parse(frame).ok()?.payload_bytes();
    let parsed = json::parse(str::from_utf8(&payload).ok()?).ok()?;
    match Message::from_json(parsed.root).ok()? {
        Message::Error(error) if error.in_reply_to == Some(hello) => Some(error.reason),
        _ => None,
    }
}
