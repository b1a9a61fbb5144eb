//! The session engine: which message or request meets which session (§1.1), glare (§6), time, and bounds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::active::{Active, Update};
use super::called::{self, Called};
use super::calling::{self, Calling};
use super::command::Command;
use super::contacts::{Contacts, Grant};
use super::message::{Body, Received};
use super::output::{Drop, Output, Refused, Send, TimerEvent, TimerName, Ui};
use super::party::{Peer, Standing};
use super::session::{
    Ended, EndedRole, Session, Step, T_ESTABLISH, T_QUEUE_MAX, T_RING, TimerLengths, Timers, Turn, clamp,
};
use crate::time::{Now, Tick, Wall};
use crate::wire::token::AnsweredBy;
use crate::wire::{Did, Reason, Ulid};

/// Sessions that have not ended, at once. Further invites are refused as `endpoint.unavailable` without a record, further
/// calls of our own are refused.
pub const MAX_SESSIONS: usize = 1_024;

/// Sessions of one calling identity that we have not answered, at once. Further invites of it are refused as
/// `policy.rate-limited` without a record, so that nobody fills the table alone.
pub const MAX_UNANSWERED_PER_IDENTITY: usize = 16;

/// How long the record of an ended session is kept (SES-10): the replay window (RPL-1) at least. A leg that went through
/// every queue and rang as long as the timers allow may still answer an attempt that was withdrawn at its start, so it
/// is kept for all of that.
pub const ENDED_KEPT: Duration = Duration::from_secs(4 * T_QUEUE_MAX + 2 * 300);

/// Records of ended sessions kept at once. At this many, the oldest goes, however young: it is then answered like any
/// session that never was (SES-2), which releases a late leg as well.
pub const MAX_ENDED: usize = 4_096;

/// Devices whose identity is remembered beyond the message that proved it (DEL-24). At this many, the one learned first
/// is forgotten.
pub const MAX_IDENTITIES: usize = 4_096;

/// Who we are, and what our owner prefers.
#[derive(Debug, Clone)]
pub struct Config {
    /// This device.
    pub device: Did,
    /// The identity it is delegated for; itself, if none.
    pub identity: Did,
    /// T-Establish, in seconds (TMR-1).
    pub t_establish: u64,
    /// T-Ring, in seconds (TMR-2).
    pub t_ring: u64,
    /// T-Ring-Local, in seconds (TMR-4).
    pub t_ring_local: u64,
    /// Whether strangers have to introduce themselves before they may call (FC-10).
    pub first_contact_required: bool,
    /// What is known of first contacts from earlier runs.
    pub contacts: Contacts,
}

impl Config {
    /// The contract's timers, and a door open to everybody.
    #[must_use]
    pub fn new(device: Did, identity: Did) -> Self {
        Self {
            device,
            identity,
            t_establish: 15,
            t_ring: 120,
            t_ring_local: 120,
            first_contact_required: false,
            contacts: Contacts::default(),
        }
    }
}

/// What happens to an endpoint.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A message came in that the pipeline accepted (PIPE-6).
    Received(Received),
    /// The user, or a program, wants something.
    Command(Command),
}

/// Which side of a session we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We sent the invite.
    Initiator,
    /// We got it.
    Responder,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Invited; nobody has reacted.
    Inviting,
    /// Somebody works on our invite.
    Proceeding,
    /// An invite came; nothing rings.
    Offered,
    /// It rings here.
    Alerting,
    /// There is a signed answer.
    Active,
    /// Over.
    Ended,
}

/// A session as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Which side we are.
    pub role: Role,
    /// Where it stands.
    pub state: State,
    /// The open update.
    pub update: Option<Update>,
}

/// The rules of sessions and first contact for one device. See [`endpoint`](super) for its states.
#[derive(Debug)]
pub struct Engine {
    device: Did,
    identity: Did,
    lengths: TimerLengths,
    first_contact_required: bool,
    now: Now,
    live: BTreeMap<Ulid, Session>,
    ended: BTreeMap<Ulid, Ended>,
    /// Which session ended when, oldest first. A session ends once (INI-22).
    ended_order: VecDeque<(Tick, Ulid)>,
    timers: Timers,
    contacts: Contacts,
    /// The identity each device acts for, as verified delegations and `hello`s showed, and until when (DEL-24).
    identities: BTreeMap<Did, (Did, Option<u64>)>,
    identities_order: VecDeque<Did>,
}

impl Engine {
    /// An endpoint without sessions.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let lengths = TimerLengths {
            establish: clamp(config.t_establish, &T_ESTABLISH),
            ring: clamp(config.t_ring, &T_RING),
            ring_local: clamp(config.t_ring_local, &T_RING),
        };
        Self {
            device: config.device,
            identity: config.identity,
            lengths,
            first_contact_required: config.first_contact_required,
            now: Now::default(),
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            ended_order: VecDeque::new(),
            timers: Timers::default(),
            contacts: config.contacts,
            identities: BTreeMap::new(),
            identities_order: VecDeque::new(),
        }
    }

    /// Takes one input, after the timers that ran out before it, and appends what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        self.fire_timers(now, out);
        self.now = now;
        self.forget_ended();
        match input {
            Input::Tick => {}
            Input::Received(mut received) => {
                self.complete(&mut received);
                self.receive(&received, out);
            }
            Input::Command(command) => {
                if let Err(refused) = self.carry_out(command, out) {
                    out.push(Output::Refused(refused));
                }
            }
        }
    }

    /// When [`Input::Tick`] has something to do.
    #[must_use]
    pub fn wake(&self) -> Option<Tick> {
        let forget = self.ended_order.front().map(|(at, _)| *at + ENDED_KEPT);
        self.timers.next().into_iter().chain(forget).min()
    }

    /// Remembers that a verified delegation or `hello` showed `device` to act for `identity`, until that Unix second
    /// (DEL-24).
    pub fn learn(&mut self, device: &Did, identity: &Did, until: Option<u64>) {
        if device != identity && self.identities.insert(device.clone(), (identity.clone(), until)).is_none() {
            self.identities_order.push_back(device.clone());
            if self.identities_order.len() > MAX_IDENTITIES
                && let Some(first) = self.identities_order.pop_front()
            {
                self.identities.remove(&first);
            }
        }
    }

    /// How a session stands; `None` if it is not, or no longer, known.
    #[must_use]
    pub fn session(&self, id: Ulid) -> Option<Snapshot> {
        if let Some(ended) = self.ended.get(&id) {
            let role = match ended.role {
                EndedRole::Initiator { .. } => Role::Initiator,
                EndedRole::Responder { .. } => Role::Responder,
            };
            return Some(Snapshot { role, state: State::Ended, update: None });
        }
        let (role, state, update) = match self.live.get(&id)? {
            Session::Calling(Calling { stage: calling::Stage::Inviting { .. }, .. }) => {
                (Role::Initiator, State::Inviting, None)
            }
            Session::Calling(_) => (Role::Initiator, State::Proceeding, None),
            Session::Called(Called { stage: called::Stage::Offered { .. }, .. }) => {
                (Role::Responder, State::Offered, None)
            }
            Session::Called(_) => (Role::Responder, State::Alerting, None),
            Session::Active(active) => {
                let role = if active.invited().is_some() { Role::Initiator } else { Role::Responder };
                (role, State::Active, active.update)
            }
        };
        Some(Snapshot { role, state, update })
    }

    /// The sessions that have not ended.
    pub fn sessions(&self) -> impl Iterator<Item = Ulid> {
        self.live.keys().copied()
    }

    /// The device at the other end of a session: who answered ours, or who signed the invite.
    #[must_use]
    pub fn peer(&self, session: Ulid) -> Option<&Did> {
        match self.live.get(&session)? {
            Session::Calling(_) => None,
            Session::Called(called) => Some(&called.peer.device),
            Session::Active(active) => Some(&active.peer.device),
        }
    }

    /// Puts other contacts in place of those known: another program of the same owner changed what is stored.
    pub fn restore(&mut self, contacts: Contacts) {
        self.contacts = contacts;
    }

    /// What is known of first contacts.
    #[must_use]
    pub const fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// The identity that a device acts for, as far as is known and still valid; itself otherwise.
    #[must_use]
    pub fn identity_of<'a>(&'a self, device: &'a Did) -> &'a Did {
        self.delegation_of(device).map_or(device, |(identity, _)| identity)
    }

    fn delegation_of(&self, device: &Did) -> Option<&(Did, Option<u64>)> {
        let now = self.now.wall.secs();
        self.identities.get(device).filter(|(_, until)| until.is_none_or(|until| now < until))
    }

    // Receiving (§1.1)

    /// Learns from what the message proves. One that carries no delegation, as most do, is completed by what an earlier
    /// one proved.
    fn complete(&mut self, received: &mut Received) {
        let Some(proof) = &mut received.proof else { return };
        if proof.identity != proof.device {
            // Without an end it is the caller's own recollection of what we taught it, and no news.
            if proof.until.is_some() {
                self.learn(&proof.device, &proof.identity, proof.until);
            }
        } else if let Some((identity, until)) = self.delegation_of(&proof.device) {
            (proof.identity, proof.until) = (identity.clone(), *until);
        }
    }

    fn receive(&mut self, received: &Received, out: &mut Vec<Output>) {
        match &received.body {
            // PTY-1
            Body::Invite | Body::Introduction { .. } | Body::Grant { .. } if !self.is_for_us(received) => {
                let (to, in_reply_to) = (received.from.clone(), received.id);
                let reason = Reason::TRANSPORT_UNKNOWN_RECIPIENT;
                out.push(Output::Send(Send::Error { to, session: None, reason, in_reply_to }));
            }
            Body::Invite => self.invited(received, out), // RX-1
            Body::Error { reason, .. } => self.error(received, reason, out), // RX-2
            Body::Introduction { contact_token } => {
                // RX-3
                let sender = self.sender(received);
                self.contacts.introduced(received, sender, contact_token.as_deref(), self.now, out);
            }
            Body::Grant { session, scope, valid_until } => {
                // RX-4. Only whom we introduced ourselves to can grant it (PTY-2, in its spirit).
                if self.answers_our_introduction(received, *session) {
                    let grant = Grant { other: self.sender(received), scope: scope.clone(), valid_until: *valid_until };
                    self.contacts.granted(received, *session, grant, self.now, out);
                } else {
                    self.intrusion(received, out);
                    out.push(Output::Drop(Drop::UnknownIntroduction));
                }
            }
            Body::Reject { session, reason, .. }
                if self.contacts.pending_to(*session).is_some()
                    && self.answers_our_introduction(received, *session) =>
            {
                self.contacts.rejected(*session, reason, out); // RX-5
            }
            body => {
                if let Some(session) = body.session() {
                    self.receive_in_session(session, received, out);
                }
            }
        }
    }

    fn receive_in_session(&mut self, id: Ulid, received: &Received, out: &mut Vec<Output>) {
        let now = self.now.wall.secs();
        if let Some(ended) = self.ended.get(&id) {
            // RX-7
            if ended.standing(received) == Standing::Stranger {
                return self.unknown_session(id, received, out);
            }
            match (&ended.role, &received.body) {
                (EndedRole::Initiator { late_answer, .. }, Body::Answer { in_reply_to: None, .. }) => {
                    // INI-13, INI-21, RACE-5
                    let (to, reason) = (received.from.clone(), late_answer.clone());
                    out.push(Output::Send(Send::Bye { to, session: id, reason }));
                }
                _ => out.push(Output::Drop(Drop::EndedSession)), // RSP-13, PRG-16, GLR-6
            }
            return;
        }
        let Some(session) = self.live.remove(&id) else {
            return self.unknown_session(id, received, out); // RX-6
        };
        let sender = self.sender(received);
        let standing = session.standing(received, now);
        if standing == Standing::Stranger {
            self.live.insert(id, session);
            return self.unknown_session(id, received, out);
        }
        if standing == Standing::Lapsed {
            self.intrusion(received, out);
        }
        let mut turn = self.turn(id, out);
        // RX-8, RX-9
        let step = match (session, standing) {
            (Session::Active(active), Standing::Lapsed) => active.distrust(&mut turn).into(),
            (Session::Called(called), Standing::Lapsed) => called.distrust(&mut turn).into(),
            (Session::Calling(calling), _) => calling.receive(received, sender, &mut turn),
            (Session::Called(called), _) => called.receive(received, &mut turn),
            (Session::Active(active), _) => active.receive(received, &mut turn),
        };
        self.settle(id, step);
    }

    /// SES-2; and PTY-5, which must not look any different to who sent it.
    fn unknown_session(&self, session: Ulid, received: &Received, out: &mut Vec<Output>) {
        if self.live.contains_key(&session) || self.ended.contains_key(&session) {
            self.intrusion(received, out);
        }
        let (to, in_reply_to) = (received.from.clone(), received.id);
        let reason = Reason::SESSION_UNKNOWN_SESSION;
        out.push(Output::Send(Send::Error { to, session: Some(session), reason, in_reply_to }));
    }

    /// SES-8: shown, and never answered.
    fn error(&self, received: &Received, reason: &Reason, out: &mut Vec<Output>) {
        let Body::Error { session, in_reply_to, .. } = &received.body else { return };
        // A relay's errors name no session, but the invite they are about is one (RLY-5, SES-1).
        let about = session.or(*in_reply_to);
        let has_say = match (&received.proof, about) {
            (None, _) => true,
            (Some(proof), about) => {
                let now = self.now.wall.secs();
                let live = about.and_then(|id| self.live.get(&id)).map(|session| session.standing(received, now));
                let ended = about.and_then(|id| self.ended.get(&id)).map(|ended| ended.standing(received));
                let introduced = about.and_then(|id| self.contacts.pending_to(id));
                match live.or(ended) {
                    Some(standing) => standing == Standing::Party,
                    None => proof.is_relay() || introduced.is_some_and(|to| proof.is_bound_to(to)),
                }
            }
        };
        if has_say {
            out.push(Output::Ui { about, event: Ui::Error(reason.clone()) });
        } else {
            self.intrusion(received, out);
            out.push(Output::Drop(Drop::NotAParty));
        }
    }

    fn intrusion(&self, received: &Received, out: &mut Vec<Output>) {
        if let Some(proof) = &received.proof {
            let (signer, session) = (proof.device.clone(), received.body.session());
            out.push(Output::Intrusion { signer, session, kind: received.body.kind() });
        }
    }

    /// Whether the message is for this device, or for the identity it is delegated for (PTY-1, PTY-7).
    fn is_for_us(&self, received: &Received) -> bool {
        received.proof.is_none() || received.to.as_ref().is_some_and(|to| *to == self.device || *to == self.identity)
    }

    fn answers_our_introduction(&self, received: &Received, introduction: Ulid) -> bool {
        match (&received.proof, self.contacts.pending_to(introduction)) {
            (Some(proof), Some(to)) => proof.is_bound_to(to),
            _ => true,
        }
    }

    /// The identity a message comes from: as its envelope proved, or as the map says.
    fn sender(&self, received: &Received) -> Did {
        match &received.proof {
            Some(proof) => proof.identity.clone(),
            None => self.identity_of(&received.from).clone(),
        }
    }

    // Invites (§3.1, §6)

    fn invited(&mut self, received: &Received, out: &mut Vec<Output>) {
        let (id, from, sender) = (received.id, received.from.clone(), self.sender(received));
        let peer = Peer::of(received, sender.clone());
        if self.first_contact_required && !self.contacts.admits(&sender, self.now.wall.secs()) {
            return self.turn_away(id, peer, Reason::POLICY_FIRST_CONTACT_REQUIRED, out); // INV-1, GLR-7
        }
        let is_glaring = |session: &Session| match session {
            Session::Calling(calling) => *self.identity_of(&calling.to) == sender,
            _ => false,
        };
        // INV-2, GLR-1, GLR-2. Of several calls of ours to them, the smallest id decides.
        let ours = self.live.iter().find(|(_, session)| is_glaring(session)).map(|(id, _)| *id);
        let known = self.live.contains_key(&id);
        match ours {
            Some(ours) if ours < id && !known => {
                return self.turn_away(id, peer, Reason::SESSION_GLARE, out); // GLR-3
            }
            Some(ours) if ours == id => {
                // GLR-5
                self.lose_glare(ours, out);
                let reason = Reason::SESSION_GLARE;
                out.push(Output::Send(Send::Reject { to: from, session: id, reason, in_reply_to: None }));
                out.push(Output::Ui { about: Some(id), event: Ui::GlareRetry });
                return;
            }
            _ => {}
        }
        if self.ended.contains_key(&id) {
            out.push(Output::Drop(Drop::EndedSession)); // INV-3, INI-22
        } else if known {
            // INV-4
            let (session, reason) = (Some(id), Reason::SESSION_INVALID_STATE);
            out.push(Output::Send(Send::Error { to: from, session, reason, in_reply_to: id }));
        } else if let Some(reason) = self.is_too_much(&sender) {
            out.push(Output::Send(Send::Reject { to: from, session: id, reason, in_reply_to: None }));
        } else {
            if let Some(ours) = ours {
                self.lose_glare(ours, out); // GLR-4
            }
            // INV-5
            let mut turn = self.turn(id, out);
            let called = Called::offered(peer, received.expires_at, &mut turn);
            self.settle(id, called.into());
        }
    }

    /// Refuses an invite before anybody hears of it, and remembers that.
    fn turn_away(&mut self, id: Ulid, peer: Peer, reason: Reason, out: &mut Vec<Output>) {
        let to = peer.device.clone();
        out.push(Output::Send(Send::Reject { to, session: id, reason, in_reply_to: None }));
        // A session that exists under this id is not the stranger's to end.
        if !self.live.contains_key(&id) && !self.ended.contains_key(&id) {
            let ended = Ended::responder(peer, &self.turn(id, out));
            self.settle(id, ended.into());
        }
    }

    /// Our invite loses to theirs (GLR-4, GLR-5).
    fn lose_glare(&mut self, ours: Ulid, out: &mut Vec<Output>) {
        match self.live.remove(&ours) {
            Some(Session::Calling(calling)) => {
                let ended = calling.give_up(Reason::SESSION_GLARE, &mut self.turn(ours, out));
                self.settle(ours, ended.into());
            }
            Some(other) => {
                self.live.insert(ours, other);
            }
            None => {}
        }
    }

    /// Why there is no room for one more session that `caller` starts.
    fn is_too_much(&self, caller: &Did) -> Option<Reason> {
        if self.live.len() >= MAX_SESSIONS {
            return Some(Reason::ENDPOINT_UNAVAILABLE);
        }
        let is_theirs =
            |session: &&Session| matches!(session, Session::Called(called) if called.peer.identity == *caller);
        let unanswered = self.live.values().filter(is_theirs).count();
        (unanswered >= MAX_UNANSWERED_PER_IDENTITY).then_some(Reason::POLICY_RATE_LIMITED)
    }

    // Local requests

    fn carry_out(&mut self, command: Command, out: &mut Vec<Output>) -> Result<(), Refused> {
        match command {
            Command::PlaceCall { session, to } => self.place_call(session, to, out),
            Command::Cancel { session } => self.transit(session, out, |session, turn| match session {
                Session::Calling(calling) => Ok(calling.withdraw(Reason::USER_CANCELLED, turn).into()), // INI-7
                other => Err(other),                                                                    // INI-14
            }),
            Command::Hangup { session, reason } => self.transit(session, out, |session, turn| match session {
                Session::Active(active) => Ok(active.hang_up(reason.unwrap_or(Reason::USER_HANGUP), turn).into()),
                other => Err(other), // ACT-6
            }),
            Command::Alert { session, ring_timeout } => {
                self.answering(session, out, |called, turn| called.alert(ring_timeout, turn))
            }
            Command::AutoReject { session, reason } => {
                self.answering(session, out, |called, turn| called.auto_reject(reason, turn))
            }
            Command::Accept { session, answered_by } => {
                let answered_by = answered_by.unwrap_or(AnsweredBy::USER);
                self.answering(session, out, |called, turn| called.accept(answered_by, turn))
            }
            Command::Decline { session } => self.answering(session, out, Called::decline),
            Command::Update { session, id, answered_by } => {
                let (active, mut turn) = self.active(session, out)?; // UPD-20
                active.offer_update(id, answered_by, &mut turn)
            }
            Command::AnswerUpdate { session, in_reply_to, answered_by } => {
                let (active, mut turn) = self.active(session, out).map_err(no_update)?;
                active.answer_update(in_reply_to, answered_by.unwrap_or(AnsweredBy::USER), &mut turn)
            }
            Command::RejectUpdate { session, in_reply_to, reason } => {
                let (active, mut turn) = self.active(session, out).map_err(no_update)?;
                active.reject_update(in_reply_to, reason, &mut turn)
            }
            Command::Info { session } => {
                let (active, mut turn) = self.active(session, out)?; // ACT-6, INF-4
                active.send_info(&mut turn);
                Ok(())
            }
            Command::Introduce { id, to, purpose, contact_token } => {
                self.contacts.introduce(id, to, purpose, contact_token, out);
                Ok(())
            }
            Command::Grant { introduction, id, scope, valid_until } => {
                self.contacts.grant(introduction, id, scope, valid_until, self.now, out)
            }
            Command::RejectIntroduction { introduction, reason } => {
                self.contacts.reject(introduction, reason.unwrap_or(Reason::USER_DECLINED), out)
            }
            Command::Revoke { grant } => self.contacts.revoke(grant, out),
            Command::IssueToken { token, grant_id } => self.contacts.issue_token(token, grant_id, out),
            Command::Allow { identity, allowed } => self.contacts.allow(identity, allowed, out),
            Command::RequireFirstContact(required) => {
                self.first_contact_required = required;
                Ok(())
            }
            Command::EndDelegation { device } => {
                self.end_delegation(&device, out);
                Ok(())
            }
        }
    }

    fn place_call(&mut self, session: Ulid, to: Did, out: &mut Vec<Output>) -> Result<(), Refused> {
        if self.live.contains_key(&session) || self.ended.contains_key(&session) {
            return Err(Refused::InvalidState);
        }
        if self.live.len() >= MAX_SESSIONS {
            return Err(Refused::TooMany);
        }
        let grant = self.contacts.grant_for(self.identity_of(&to), self.now.wall.secs()); // FC-33
        let calling = Calling::place(to, grant, &mut self.turn(session, out));
        self.settle(session, calling.into());
        Ok(())
    }

    /// Ends every session with a device that has lost its delegation (PTY-6).
    fn end_delegation(&mut self, device: &Did, out: &mut Vec<Output>) {
        if self.identities.remove(device).is_some() {
            self.identities_order.retain(|known| known != device);
        }
        let lost = |peer: &Peer| peer.device == *device && peer.identity != *device;
        let is_lost = |session: &Session| match session {
            Session::Calling(_) => false,
            Session::Called(called) => lost(&called.peer),
            Session::Active(active) => lost(&active.peer),
        };
        let lost: Vec<Ulid> = self.live.iter().filter(|(_, session)| is_lost(session)).map(|(id, _)| *id).collect();
        for id in lost {
            let Some(session) = self.live.remove(&id) else { continue };
            let mut turn = self.turn(id, out);
            let step = match session {
                Session::Calling(calling) => calling.into(),
                Session::Called(called) => called.distrust(&mut turn).into(),
                Session::Active(active) => active.distrust(&mut turn).into(),
            };
            self.settle(id, step);
        }
    }

    /// Lets a request change a session's state; a state that does not allow it comes back unchanged.
    fn transit(
        &mut self,
        id: Ulid,
        out: &mut Vec<Output>,
        change: impl FnOnce(Session, &mut Turn<'_>) -> Result<Step, Session>,
    ) -> Result<(), Refused> {
        let Some(session) = self.live.remove(&id) else {
            return Err(self.no_live_session(id));
        };
        match change(session, &mut self.turn(id, out)) {
            Ok(step) => {
                self.settle(id, step);
                Ok(())
            }
            Err(unchanged) => {
                self.live.insert(id, unchanged);
                Err(Refused::InvalidState)
            }
        }
    }

    fn answering(
        &mut self,
        id: Ulid,
        out: &mut Vec<Output>,
        change: impl FnOnce(Called, &mut Turn<'_>) -> Result<Step, Called>,
    ) -> Result<(), Refused> {
        self.transit(id, out, |session, turn| match session {
            Session::Called(called) => change(called, turn).map_err(Session::Called),
            other => Err(other), // RSP-14
        })
    }

    fn active<'a>(&'a mut self, id: Ulid, out: &'a mut Vec<Output>) -> Result<(&'a mut Active, Turn<'a>), Refused> {
        let refused = self.no_live_session(id);
        let turn = Turn { now: self.now, session: id, lengths: &self.lengths, timers: &mut self.timers, out };
        match self.live.get_mut(&id) {
            Some(Session::Active(active)) => Ok((active, turn)),
            Some(_) => Err(Refused::InvalidState),
            None => Err(refused),
        }
    }

    /// Why a request finds no live session: it has ended, or there was none (RSP-23).
    fn no_live_session(&self, id: Ulid) -> Refused {
        if self.ended.contains_key(&id) { Refused::InvalidState } else { Refused::UnknownSession }
    }

    // Time and records

    /// Fires what is due, each at its own moment (TMR-11).
    fn fire_timers(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some((at, id)) = self.timers.take_due(now.tick) {
            let ago = u64::try_from(now.tick.since(at).as_millis()).unwrap_or(u64::MAX);
            self.now = Now { tick: at, wall: Wall::from_millis(now.wall.millis().saturating_sub(ago)) };
            let Some(session) = self.live.remove(&id) else { continue };
            let mut turn = self.turn(id, out);
            let fire = |name| Output::Timer { session: id, name, event: TimerEvent::Fire };
            let step = match session {
                Session::Calling(calling) => {
                    turn.out.push(fire(calling.running().name));
                    calling.give_up(Reason::SESSION_TIMEOUT, &mut turn).into() // INI-8
                }
                Session::Called(called) => {
                    turn.out.push(fire(TimerName::RingLocal));
                    called.no_answer(&mut turn).into() // RSP-9
                }
                Session::Active(active) => active.into(),
            };
            self.settle(id, step);
        }
    }

    fn settle(&mut self, id: Ulid, step: Step) {
        match step {
            Step::Stay(session) => {
                self.live.insert(id, session);
            }
            Step::End(ended) => {
                self.ended_order.push_back((ended.at, id));
                self.ended.insert(id, ended);
                if self.ended.len() > MAX_ENDED
                    && let Some((_, oldest)) = self.ended_order.pop_front()
                {
                    self.ended.remove(&oldest);
                }
            }
        }
    }

    fn forget_ended(&mut self) {
        while self.ended_order.front().is_some_and(|(at, _)| *at + ENDED_KEPT <= self.now.tick) {
            if let Some((_, id)) = self.ended_order.pop_front() {
                self.ended.remove(&id);
            }
        }
    }

    fn turn<'a>(&'a mut self, session: Ulid, out: &'a mut Vec<Output>) -> Turn<'a> {
        Turn { now: self.now, session, lengths: &self.lengths, timers: &mut self.timers, out }
    }
}

/// UPD-9 knows no other reason: a session that is not active has no update open.
fn no_update(refused: Refused) -> Refused {
    if refused == Refused::InvalidState { Refused::NoPendingUpdate } else { refused }
}
