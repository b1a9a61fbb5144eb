//! Calls: what a person asks for, and what the session engine's decisions mean for links, media and the screen.

use std::collections::VecDeque;
use std::time::Duration;

use crate::binding::webrtc::{self, Change, Credentials, Exchange, Pacer, Renegotiation, Sdp, Step};
use crate::endpoint::{self, Command, Send, Ui};
use crate::time::{Now, Tick};
use crate::wire::message::{IceCandidate, IceCandidates};
use crate::wire::token::{AnsweredBy, Direction};
use crate::wire::{Did, Message, Reason, Ulid};

use super::inbound::Inbound;
use super::link::Purpose;
use super::{Agent, Description, Event, LinkId, Media, Misuse, Output, Party, Permit, Relay, Side};

/// Calls at one time, those that ended lately included. A phone that holds more is being flooded.
const CALLS_LIMIT: usize = 64;
/// How long one place may take to be dialled and to say `hello` before the next is tried.
const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// How long an ended call is kept for the sake of late traffic, which still needs its link.
const AFTERLIFE: Duration = Duration::from_secs(60);

/// One call. The session engine knows its state; this is what the engine leaves to others.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) link: LinkId,
    stage: Stage,
    /// Whom it was placed to; for a call that came in, the caller's device.
    to: Did,
    /// Who is at the other end, as far as proven.
    party: Option<Party>,
    outgoing: bool,
    /// Our description: the offer, then the answer or the accepted update.
    pub(super) ours: Option<Description>,
    /// The peer's.
    theirs: Option<Description>,
    /// Our update, while it is open.
    pub(super) proposed: Option<Description>,
    /// The peer's update, while it is open.
    offered: Option<(Ulid, Description)>,
    /// The descriptions in force, once the call is active.
    renegotiation: Option<Renegotiation>,
    exchange: Exchange,
    pacer: Pacer,
    /// The data of the `info` that the engine is about to send.
    pub(super) info: Option<serde_json::Map<String, serde_json::Value>>,
    /// The detail of the `reject` that the engine is about to send (WEB-33).
    pub(super) detail: Option<String>,
    /// The id of the answer we sent to the invite.
    pub(super) answer: Option<Ulid>,
    missed: bool,
    active: bool,
    /// When the delegation of the device at the other end runs out (PTY-6).
    delegated_until: Option<Tick>,
}

#[derive(Debug)]
enum Stage {
    /// Looking for a link that works; the invite has not been sent.
    Dialling { routes: VecDeque<Relay>, until: Tick },
    /// The session engine has it.
    Placed,
    /// Over.
    Ended { until: Tick },
}

impl Call {
    fn new(link: LinkId, stage: Stage, to: Did, outgoing: bool, peer: Option<Did>) -> Self {
        Self {
            link,
            stage,
            to,
            party: None,
            outgoing,
            ours: None,
            theirs: None,
            proposed: None,
            offered: None,
            renegotiation: None,
            exchange: Exchange::new(peer),
            pacer: Pacer::default(),
            info: None,
            detail: None,
            answer: None,
            missed: false,
            active: false,
            delegated_until: None,
        }
    }

    /// A message of the device at the other end proves anew until when it may speak.
    fn renew(&mut self, now: Now, cause: &Inbound) {
        if let Some(until) = cause.until {
            self.delegated_until = Some(now.tick + Duration::from_secs(until.saturating_sub(now.wall.secs())));
        }
    }

    /// What a change of the descriptions leads to. Before the call is active there are none to change.
    fn renegotiate(&mut self, change: Change<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(renegotiation) = &mut self.renegotiation {
            renegotiation.handle(change, &mut steps);
        }
        steps
    }

    /// The identity at the other end, as far as proven; until then, whom the call was placed to.
    pub(super) fn counterpart(&self) -> &Did {
        self.party.as_ref().map_or(&self.to, |party| &party.identity)
    }

    pub(super) fn is_live(&self) -> bool {
        !matches!(self.stage, Stage::Ended { .. })
    }

    pub(super) fn offer(&self) -> Option<&Description> {
        self.proposed.as_ref().or(self.ours.as_ref())
    }

    pub(super) fn wake(&self) -> Option<Tick> {
        match &self.stage {
            Stage::Dialling { until, .. } | Stage::Ended { until } => Some(*until),
            Stage::Placed => self.pacer.wake().into_iter().chain(self.delegated_until).min(),
        }
    }
}

impl Agent {
    /// Calls `to`. The places in `routes` are tried in order, our own node after them; the first whose relay says a
    /// verified `hello` carries the call. Returns the session's id, which is also the call's.
    pub fn call(&mut self, now: Now, to: Did, routes: Vec<Relay>, offer: Description) -> Result<Ulid, Misuse> {
        if self.live_calls().count() >= self.policy.calls || self.calls.len() >= CALLS_LIMIT {
            return Err(Misuse::TooManyCalls);
        }
        let mut routes = Self::routes(routes);
        let home = self.home.and_then(|home| self.links.get(&home)).map(|link| link.relay.clone());
        if let Some(home) = home
            && routes.iter().all(|relay| relay.uri != home.uri)
        {
            routes.push_back(home);
        }
        let first = routes.pop_front().ok_or(Misuse::Nowhere)?;
        let session = Ulid::generate(now.wall, &mut self.rng);
        let link = self.link_to(&first, Purpose::Errand);
        let stage = Stage::Dialling { routes, until: now.tick + DIAL_LIMIT };
        let mut call = Call::new(link, stage, to, true, None);
        call.ours = Some(offer);
        self.calls.insert(session, call);
        self.out.push_back(Output::Event(Event::Dialling { call: session, relay: first }));
        self.invite_over(now, link);
        Ok(session)
    }

    /// Answers a call that rings here. `selection` is our SDP answer to its offer.
    pub fn accept(
        &mut self,
        now: Now,
        call: Ulid,
        selection: Description,
        answered_by: AnsweredBy,
    ) -> Result<(), Misuse> {
        let previous = self.calls.get_mut(&call).map(|call| call.ours.replace(selection));
        let done = self.command(now, Command::Accept { session: call, answered_by: Some(answered_by) });
        if done.is_err()
            && let (Some(call), Some(previous)) = (self.calls.get_mut(&call), previous)
        {
            call.ours = previous;
        }
        done
    }

    /// Refuses a call that rings here.
    pub fn decline(&mut self, now: Now, call: Ulid) -> Result<(), Misuse> {
        self.command(now, Command::Decline { session: call })?;
        self.ended(now, call, Reason::USER_DECLINED, Side::Us);
        Ok(())
    }

    /// Gives up a call that nobody has answered yet.
    pub fn cancel(&mut self, now: Now, call: Ulid) -> Result<(), Misuse> {
        if self.calls.get(&call).is_some_and(|call| matches!(call.stage, Stage::Dialling { .. })) {
            self.ended(now, call, Reason::USER_CANCELLED, Side::Us);
            return Ok(());
        }
        self.command(now, Command::Cancel { session: call })?;
        self.ended(now, call, Reason::USER_CANCELLED, Side::Us);
        Ok(())
    }

    /// Ends a call that is up. Without a reason it is an ordinary hang-up (ACT-10).
    pub fn hang_up(&mut self, now: Now, call: Ulid, reason: Option<Reason>) -> Result<(), Misuse> {
        self.command(now, Command::Hangup { session: call, reason: reason.clone() })?;
        self.ended(now, call, reason.unwrap_or(Reason::USER_HANGUP), Side::Us);
        Ok(())
    }

    /// Ends a call in whatever state it is: gives up, declines or hangs up.
    pub fn end(&mut self, now: Now, call: Ulid) -> Result<(), Misuse> {
        match self.engine.session(call).map(|session| (session.role, session.state)) {
            Some((_, endpoint::State::Active)) => self.hang_up(now, call, None),
            Some((endpoint::Role::Responder, endpoint::State::Alerting)) => self.decline(now, call),
            _ => self.cancel(now, call),
        }
    }

    /// The calls that are not over.
    pub fn live_calls(&self) -> impl Iterator<Item = Ulid> {
        self.calls.iter().filter(|(_, call)| call.is_live()).map(|(id, _)| *id)
    }

    /// Offers a change, such as sound in both directions after screening (SCR-3). The media engine has installed it
    /// locally already (WEB-85); the answer arrives as [`Media::Apply`] or [`Media::RollBack`].
    pub fn update(
        &mut self,
        now: Now,
        call: Ulid,
        offer: Description,
        answered_by: Option<AnsweredBy>,
    ) -> Result<(), Misuse> {
        let id = Ulid::generate(now.wall, &mut self.rng);
        let state = self.calls.get_mut(&call).ok_or(endpoint::Refused::UnknownSession)?;
        let pending = state.proposed.is_some();
        if !pending {
            let steps = state.renegotiate(Change::LocalReoffer(&credentials(&offer.sdp)));
            if steps.iter().any(|step| matches!(step, Step::LocalBug { .. })) {
                return Err(Misuse::IceRestart);
            }
        }
        let previous = state.proposed.replace(offer);
        let done = self.command(now, Command::Update { session: call, id, answered_by });
        if done.is_err()
            && let Some(call) = self.calls.get_mut(&call)
        {
            call.proposed = previous;
            if !pending {
                // It was never sent, so nobody will answer it.
                call.renegotiate(Change::RemoteReject);
            }
        }
        done
    }

    /// Accepts the change the peer offered. `selection` is our SDP answer to it.
    pub fn accept_update(&mut self, now: Now, call: Ulid, selection: Description) -> Result<(), Misuse> {
        let (update, previous) = {
            let state = self.calls.get_mut(&call).ok_or(endpoint::Refused::UnknownSession)?;
            let update = state.offered.as_ref().map(|(id, _)| *id).ok_or(endpoint::Refused::NoPendingUpdate)?;
            (update, state.ours.replace(selection))
        };
        let done = self.command(now, Command::AnswerUpdate { session: call, in_reply_to: update, answered_by: None });
        if done.is_err()
            && let Some(state) = self.calls.get_mut(&call)
        {
            state.ours = previous;
        }
        done
    }

    /// Refuses the change the peer offered; the call goes on as it is (WEB-95).
    pub fn reject_update(&mut self, now: Now, call: Ulid, reason: Reason) -> Result<(), Misuse> {
        let state = self.calls.get_mut(&call).ok_or(endpoint::Refused::UnknownSession)?;
        let (update, _) = state.offered.take().ok_or(endpoint::Refused::NoPendingUpdate)?;
        self.command(now, Command::RejectUpdate { session: call, in_reply_to: update, reason })
    }

    /// The media engine found a candidate of ours. It leaves in a signed `info` once the call is active (INF-4).
    pub fn candidate(&mut self, now: Now, call: Ulid, candidate: String, sdp_mid: String) {
        let candidate = IceCandidate { candidate, sdp_mid, sdp_m_line_index: None };
        self.exchange(now, call, webrtc::Input::LocalCandidate(candidate));
    }

    /// The media engine has found all it will find.
    pub fn gathered(&mut self, now: Now, call: Ulid) {
        self.exchange(now, call, webrtc::Input::GatheringComplete);
    }

    /// A link is ready, or a call was just placed: sends the invites that waited for this one.
    pub(super) fn invite_over(&mut self, now: Now, id: LinkId) {
        let Some(relay) = self.links.get(&id).and_then(|link| link.listening().cloned()) else { return };
        let ready: Vec<(Ulid, Did)> = self
            .calls
            .iter()
            .filter(|(_, call)| call.link == id && matches!(call.stage, Stage::Dialling { .. }))
            .map(|(session, call)| (*session, call.to.clone()))
            .collect();
        for (session, to) in ready {
            if let Some(call) = self.calls.get_mut(&session) {
                call.stage = Stage::Placed;
            }
            self.out.push_back(Output::Event(Event::Invited { call: session, relay: relay.clone() }));
            if self.command(now, Command::PlaceCall { session, to }).is_err() {
                self.ended(now, session, Reason::SESSION_FAILED, Side::Us);
            }
        }
    }

    /// A link was lost: the calls that were waiting to send their invite over it try the next place.
    pub(super) fn try_elsewhere(&mut self, now: Now, id: LinkId, why: &str) {
        let waiting: Vec<Ulid> = self
            .calls
            .iter()
            .filter(|(_, call)| call.link == id && matches!(call.stage, Stage::Dialling { .. }))
            .map(|(session, _)| *session)
            .collect();
        for session in waiting {
            self.next_route(now, session, why);
        }
    }

    /// A link was lost before its relay said a word: the invites that left with our `hello` were never taken.
    pub(super) fn never_heard(&mut self, now: Now, id: LinkId, why: &str) {
        let early =
            |call: &Call| call.link == id && call.outgoing && matches!(call.stage, Stage::Placed) && !call.active;
        let lost: Vec<Ulid> = self.calls.iter().filter(|(_, call)| early(call)).map(|(session, _)| *session).collect();
        for session in lost {
            let _ = self.command(now, Command::Cancel { session });
            self.out.push_back(Output::Event(Event::Unreachable { call: session, why: why.to_owned() }));
            self.bury(now, session);
        }
    }

    fn next_route(&mut self, now: Now, session: Ulid, why: &str) {
        let Some(call) = self.calls.get_mut(&session) else { return };
        let Stage::Dialling { routes, until } = &mut call.stage else { return };
        let Some(next) = routes.pop_front() else {
            self.out.push_back(Output::Event(Event::Unreachable { call: session, why: why.to_owned() }));
            return self.bury(now, session);
        };
        *until = now.tick + DIAL_LIMIT;
        let link = self.link_to(&next, Purpose::Errand);
        if let Some(call) = self.calls.get_mut(&session) {
            call.link = link;
        }
        self.out.push_back(Output::Event(Event::Dialling { call: session, relay: next }));
        self.invite_over(now, link);
    }

    /// The time that a place may take begins anew: nothing was dialled meanwhile.
    pub(super) fn dial_anew(&mut self, now: Now) {
        for call in self.calls.values_mut() {
            if let Stage::Dialling { until, .. } = &mut call.stage {
                *until = now.tick + DIAL_LIMIT;
            }
        }
    }

    /// What the clock does to calls.
    pub(super) fn advance_calls(&mut self, now: Now) {
        let mut out = Vec::new();
        self.engine.handle(now, endpoint::Input::Tick, &mut out);
        self.carry_out(now, None, out);
        let due: Vec<Ulid> = self
            .calls
            .iter()
            .filter(|(_, call)| call.wake().is_some_and(|wake| wake <= now.tick))
            .map(|(session, _)| *session)
            .collect();
        for session in due {
            let Some(call) = self.calls.get_mut(&session) else { continue };
            match &call.stage {
                Stage::Dialling { .. } if self.aside => self.dial_anew(now),
                Stage::Dialling { .. } => self.next_route(now, session, "nobody answered there in time"),
                Stage::Placed => {
                    self.send_candidates(now, session);
                    self.end_lapsed(now, session);
                }
                Stage::Ended { .. } => {
                    self.calls.remove(&session);
                }
            }
        }
    }

    /// PTY-6: the device at the other end may not act for the caller any more.
    fn end_lapsed(&mut self, now: Now, session: Ulid) {
        let Some(call) = self.calls.get_mut(&session) else { return };
        if call.delegated_until.is_some_and(|until| until <= now.tick) {
            call.delegated_until = None;
            if let Some(device) = call.party.as_ref().map(|party| party.device.clone()) {
                let _ = self.command(now, Command::EndDelegation { device });
            }
        }
    }

    /// Notes who is at the other end of a call, and until when that is proven.
    fn meet(&mut self, now: Now, session: Ulid, cause: &Inbound) {
        let party = self.party(cause);
        let Some(call) = self.calls.get_mut(&session) else { return };
        // What a party said about itself at first is not taken back by a later message that says nothing.
        let claimed_name = party.claimed_name.clone().or(call.party.take().and_then(|known| known.claimed_name));
        call.party = Some(Party { claimed_name, ..party });
        call.renew(now, cause);
    }

    /// Gives the engine a command and carries out what follows.
    pub(super) fn command(&mut self, now: Now, command: Command) -> Result<(), Misuse> {
        let mut out = Vec::new();
        self.engine.handle(now, endpoint::Input::Command(command), &mut out);
        let refused = out.iter().find_map(|output| match output {
            endpoint::Output::Refused(refused) => Some(*refused),
            _ => None,
        });
        // Even a command that is refused may come after a timer that was due, and what that did has to be done.
        self.carry_out(now, None, out);
        refused.map_or(Ok(()), |refused| Err(refused.into()))
    }

    /// Carries out what the engine decided, in its order. `cause` is the message it decided on.
    pub(super) fn carry_out(&mut self, now: Now, cause: Option<&Inbound>, outputs: Vec<endpoint::Output>) {
        for output in outputs {
            match output {
                endpoint::Output::Send(send) => self.send(now, cause, send),
                endpoint::Output::Media { session, action } => self.media(now, cause, session, action),
                endpoint::Output::Ui { about, event } => self.tell(now, cause, about, event),
                endpoint::Output::Info { session, .. } => self.take_info(now, cause, session),
                endpoint::Output::ContactsChanged => self.remember_contacts(),
                endpoint::Output::Intrusion { signer, session, kind } => {
                    // Strangers may be as loud as they like: it is not the fault of the relay, which cannot know who is party.
                    if self.intruders.is_news(now.tick, &signer, kind) {
                        let (what, signer) = (super::Suspicion::NotAParty { kind }, Some(signer));
                        self.out.push_back(Output::Event(Event::Security { what, signer, session }));
                    }
                }
                // The engine keeps its own time, and what it ignores needs no one's attention; commands look for refusals
                // themselves.
                endpoint::Output::Timer { .. } | endpoint::Output::Drop(_) | endpoint::Output::Refused(_) => {}
            }
        }
    }

    /// Completes, signs and routes: a session speaks over the link its invite used, errors and everything else over the link
    /// that provoked them, or over our own node.
    fn send(&mut self, now: Now, cause: Option<&Inbound>, send: Send) {
        let Some(message) = self.complete(now, send) else { return };
        let over = message.session().and_then(|session| {
            let call = self.calls.get(&session).map(|call| call.link);
            call.or_else(|| self.asked_over.get(&session).copied())
        });
        let over = match &message {
            Message::Introduction(introduction) => self.errands.get(&introduction.common.id).map(|errand| errand.link),
            // An error answers what came, on the way it came: a stranger is not found where the call is.
            Message::Error(_) => None,
            _ => over,
        };
        let stands = |link: &LinkId| self.links.contains_key(link);
        let link = over.filter(stands).or(cause.map(|cause| cause.link)).or(self.home);
        if let Some(link) = link {
            self.say(link, message);
        }
    }

    fn media(&mut self, now: Now, cause: Option<&Inbound>, session: Ulid, action: endpoint::Media) {
        let answer = cause.and_then(Inbound::description);
        match action {
            endpoint::Media::Start => {
                let Some(call) = self.calls.get_mut(&session) else { return };
                call.active = true;
                let text = answer.as_ref().filter(|_| call.outgoing).and_then(|answer| answer.text.clone());
                let remote = call.outgoing.then(|| answer.as_ref().map(|answer| answer.sdp.clone())).flatten();
                if let Some(answer) = answer {
                    call.theirs = Some(answer);
                }
                call.renegotiation = Some(Renegotiation::new(established(&call.ours), established(&call.theirs)));
                if let (true, Some(cause)) = (call.outgoing, cause) {
                    // WEB-81
                    call.exchange.set_peer(cause.device.clone());
                }
                let outgoing = call.outgoing;
                self.out.extend(text.map(|text| Output::Media(session, Media::Text(text))));
                self.out.push_back(Output::Media(session, Media::Start(Permit { remote })));
                if let (true, Some(cause)) = (outgoing, cause) {
                    self.meet(now, session, cause);
                }
                self.exchange(now, session, webrtc::Input::RemoteDescription);
                self.exchange(now, session, webrtc::Input::Active);
            }
            endpoint::Media::Stop => {
                self.exchange(now, session, webrtc::Input::SessionEnd);
                self.out.push_back(Output::Media(session, Media::Stop));
            }
            endpoint::Media::ApplyUpdate => {
                let Some(call) = self.calls.get_mut(&session) else { return };
                let peer = call.party.as_ref().map(|party| party.device.clone());
                let act = match call.proposed.take() {
                    // WEB-85: our offer was answered.
                    Some(offer) => {
                        call.renegotiate(Change::RemoteAnswer);
                        call.ours = Some(offer);
                        let sdp = answer.as_ref().map(|answer| answer.sdp.clone()).unwrap_or_default();
                        let text = answer.as_ref().and_then(|answer| answer.text.clone());
                        self.out.extend(text.map(|text| Output::Media(session, Media::Text(text))));
                        call.theirs = answer;
                        Media::Apply(sdp)
                    }
                    // We answered the peer's offer.
                    None => {
                        call.renegotiate(Change::AnswerUpdate);
                        call.theirs = call.offered.take().map(|(_, offer)| offer);
                        Media::Adopt
                    }
                };
                if let Some(peer) = peer {
                    // WEB-82
                    call.exchange = Exchange::renewed(peer);
                }
                self.out.push_back(Output::Media(session, act));
                self.exchange(now, session, webrtc::Input::RemoteDescription);
            }
        }
    }

    fn tell(&mut self, now: Now, cause: Option<&Inbound>, about: Option<Ulid>, event: Ui) {
        let Some(session) = about.or_else(|| cause.map(|cause| cause.message.common().id)) else { return };
        let event = match event {
            Ui::Offered => return self.offered(now, cause, session),
            Ui::MissedCall => {
                if let Some(call) = self.calls.get_mut(&session) {
                    call.missed = true;
                }
                return;
            }
            Ui::Ended(reason) => {
                let side = if cause.is_some() { Side::Peer } else { Side::Us };
                return self.ended(now, session, reason, side);
            }
            Ui::UpdateOffered => return self.update_offered(now, cause, session),
            Ui::UpdateRejected(reason) => {
                if let Some(call) = self.calls.get_mut(&session) {
                    call.proposed = None;
                    call.renegotiate(Change::RemoteReject);
                }
                self.out.push_back(Output::Media(session, Media::RollBack));
                Event::UpdateRejected { call: session, reason }
            }
            Ui::Answered(by) => return self.answered(cause, session, by),
            Ui::Progress(status) => {
                let Some(cause) = cause else { return };
                Event::Progress { call: session, status, device: cause.device.clone() }
            }
            Ui::GlareRetry => Event::TryAgain { call: session },
            Ui::Error(reason) => return self.reported(now, cause, about, reason),
            Ui::IntroductionReceived { token, .. } => return self.introduced(now, cause, token),
            Ui::Granted { by } => {
                let valid_until = cause.map_or(0, Inbound::valid_until);
                self.errands.remove(&session);
                Event::Granted { introduction: session, by, valid_until }
            }
            Ui::IntroductionRejected(reason) => {
                self.errands.remove(&session);
                Event::IntroductionRejected { introduction: session, reason }
            }
        };
        self.out.push_back(Output::Event(event));
    }

    /// An invite was admitted (INV-5). It rings only if its offer is usable and the owner wants calls at all.
    fn offered(&mut self, now: Now, cause: Option<&Inbound>, session: Ulid) {
        let Some(cause) = cause else { return };
        let Some(offer) = cause.description() else { return };
        let busy = self.live_calls().count() >= self.policy.calls || self.calls.len() >= CALLS_LIMIT;
        let stage = Stage::Placed;
        let mut call = Call::new(cause.link, stage, cause.device.clone(), false, Some(cause.device.clone()));
        let party = self.party(cause);
        call.party = Some(party.clone());
        call.renew(now, cause);
        call.theirs = Some(offer.clone());
        let refusal = if busy {
            Some((Reason::ENDPOINT_BUSY, None))
        } else if self.policy.do_not_disturb || self.memory.blocked.contains(&party.identity) {
            // Whoever is blocked cannot tell that from a phone that takes no calls.
            Some((Reason::ENDPOINT_UNAVAILABLE, None))
        } else {
            unusable(cause, |offer| match webrtc::offer(offer)? {
                webrtc::Applies::WebRtc => Ok(()),
                // Another transport, and we speak no other.
                webrtc::Applies::NotWebRtc => webrtc::update(offer),
            })
        };
        self.calls.insert(session, call);
        match refusal {
            Some((reason, detail)) => {
                if let Some(call) = self.calls.get_mut(&session) {
                    call.detail = detail;
                }
                let _ = self.command(now, Command::AutoReject { session, reason });
                self.bury(now, session);
            }
            None => {
                if self.command(now, Command::Alert { session, ring_timeout: None }).is_ok()
                    && self.calls.get(&session).is_some_and(Call::is_live)
                {
                    self.out.push_back(Output::Event(Event::Incoming { call: session, party, offer }));
                }
            }
        }
    }

    /// ANS-1, ANS-2: somebody answered, or says who is there now.
    fn answered(&mut self, cause: Option<&Inbound>, session: Ulid, by: AnsweredBy) {
        let Some(cause) = cause else { return };
        // An update may say who is there now; that is told with the update itself.
        if matches!(cause.message, Message::Update(_)) {
            return;
        }
        let party = self.party(cause);
        let direction = cause.description().map(|answer| answer.direction());
        let direction = direction.unwrap_or(Direction::Inactive);
        self.out.push_back(Output::Event(Event::Answered { call: session, by, party, direction }));
    }

    /// UPD-3: the peer's wish is shown only if it could be granted (WEB-31, WEB-34, WEB-88).
    fn update_offered(&mut self, now: Now, cause: Option<&Inbound>, session: Ulid) {
        let Some(cause) = cause else { return };
        let update = cause.message.common().id;
        let refusal = unusable(cause, webrtc::update);
        let restart = || {
            let offered = credentials(&cause.description()?.sdp);
            let steps = self.calls.get_mut(&session)?.renegotiate(Change::RemoteReoffer(&offered));
            steps.into_iter().find_map(|step| match step {
                Step::Reject { reason, detail } => Some((reason, Some(detail.to_owned()))),
                _ => None,
            })
        };
        if let Some((reason, detail)) = refusal.or_else(restart) {
            if let Some(call) = self.calls.get_mut(&session) {
                call.detail = detail;
            }
            let _ = self.command(now, Command::RejectUpdate { session, in_reply_to: update, reason });
            return;
        }
        let Some(offer) = cause.description() else { return };
        let by = match &cause.message {
            Message::Update(update) => update.answered_by.as_ref().map(AnsweredBy::effective),
            _ => None,
        };
        if let Some(call) = self.calls.get_mut(&session) {
            call.offered = Some((update, offer.clone()));
        }
        self.out.push_back(Output::Event(Event::UpdateOffered { call: session, offer, by }));
    }

    /// SES-8: an error changes no state of a session. But a relay that says it cannot deliver our invite has said all
    /// that will ever be said, and the person should not wait for a timer to learn it.
    fn reported(&mut self, now: Now, cause: Option<&Inbound>, session: Option<Ulid>, reason: Reason) {
        let in_reply_to = cause.and_then(|cause| match &cause.message {
            Message::Error(error) => error.in_reply_to,
            _ => None,
        });
        let in_reply_to = in_reply_to.filter(|_| cause.is_some_and(|cause| cause.via.as_ref() == Some(&cause.device)));
        let undelivered = in_reply_to
            .filter(|id| self.calls.get(id).is_some_and(|call| call.outgoing && !call.active && call.is_live()));
        // The relay let another leg's answer through and not ours: RACE-4 keeps this session going, but nobody is there.
        let unheard = in_reply_to.filter(|id| !self.calls.contains_key(id)).and_then(|id| self.call_of(id));
        let unheard = unheard.filter(|session| self.calls.get(session).is_some_and(Call::is_live));
        let session = session.or(undelivered).or(unheard);
        self.out.push_back(Output::Event(Event::Reported { session, reason: reason.clone() }));
        if let Some(session) = undelivered {
            let _ = self.command(now, Command::Cancel { session });
            self.ended(now, session, reason, Side::Peer);
        } else if let Some(session) = unheard {
            // ACT-10
            let _ = self.command(now, Command::Hangup { session, reason: Some(Reason::MEDIA_FAILED) });
            self.ended(now, session, Reason::SESSION_FAILED, Side::Peer);
        }
    }

    /// The call that a message of ours belongs to: its invite, or our answer to it.
    pub(super) fn call_of(&self, message: Ulid) -> Option<Ulid> {
        let mut calls = self.calls.iter();
        calls.find(|(id, call)| **id == message || call.answer == Some(message)).map(|(id, _)| *id)
    }

    /// A call is over, whoever ended it: said once.
    pub(super) fn ended(&mut self, now: Now, session: Ulid, reason: Reason, side: Side) {
        let Some(call) = self.calls.get(&session).filter(|call| call.is_live()) else { return };
        // RSP-7 shows what the caller gave up on; what nobody picked up in time is as missed.
        let rang_out = !call.outgoing && side == Side::Us && reason == Reason::USER_NO_ANSWER;
        let missed = call.missed || rang_out;
        self.out.push_back(Output::Event(Event::Ended { call: session, reason, side, missed }));
        self.bury(now, session);
    }

    fn bury(&mut self, now: Now, session: Ulid) {
        if let Some(call) = self.calls.get_mut(&session) {
            call.stage = Stage::Ended { until: now.tick + AFTERLIFE };
            call.exchange.handle(webrtc::Input::SessionEnd, &mut Vec::new());
        }
    }

    fn take_info(&mut self, now: Now, cause: Option<&Inbound>, session: Ulid) {
        let Some((from, Message::Info(info))) = cause.map(|cause| (cause.device.clone(), &cause.message)) else {
            return;
        };
        let Ok(data) = IceCandidates::of(&info.data) else { return };
        self.exchange(now, session, webrtc::Input::Info { from, data });
    }

    /// Advances the candidate exchange of a call and does what it says.
    fn exchange(&mut self, now: Now, session: Ulid, input: webrtc::Input) {
        let Some(call) = self.calls.get_mut(&session) else { return };
        let mut outputs = Vec::new();
        call.exchange.handle(input, &mut outputs);
        for output in outputs {
            match output {
                webrtc::Output::Send(data) => {
                    if let Some(call) = self.calls.get_mut(&session) {
                        call.pacer.push(data);
                    }
                }
                webrtc::Output::Apply(candidates) => {
                    let candidates = candidates.into_iter().map(|candidate| candidate.candidate).collect();
                    self.out.push_back(Output::Media(session, Media::Candidates(candidates)));
                }
                webrtc::Output::RemoteEnd => {
                    self.out.push_back(Output::Media(session, Media::EndOfCandidates));
                }
                webrtc::Output::Flooded => {
                    let _ = self.hang_up(now, session, Some(Reason::MEDIA_FAILED));
                }
                webrtc::Output::RateLimited
                | webrtc::Output::Buffered { .. }
                | webrtc::Output::Ignored(_)
                | webrtc::Output::Dropped(_) => {}
            }
        }
        self.send_candidates(now, session);
    }

    /// WEB-96: what the pacer lets go now.
    fn send_candidates(&mut self, now: Now, session: Ulid) {
        while let Some(data) = self.calls.get_mut(&session).and_then(|call| call.pacer.poll(now.tick)) {
            if let Some(call) = self.calls.get_mut(&session) {
                call.info = Some(data.to_data());
            }
            if self.command(now, Command::Info { session }).is_err() {
                return;
            }
        }
    }
}

/// Why the description in `cause` cannot be used, with the reason that travels and its detail.
fn unusable(
    cause: &Inbound,
    check: impl FnOnce(webrtc::Described<'_>) -> Result<(), webrtc::Refusal>,
) -> Option<(Reason, Option<String>)> {
    let refusal = check(cause.usable()).err()?;
    Some((refusal.reason(), Some(refusal.detail())))
}

fn credentials(sdp: &str) -> Vec<Credentials> {
    Sdp::parse(sdp).map(|sdp| Credentials::of(&sdp)).unwrap_or_default()
}

/// The credentials of a description: all sections of a bundle have the same (WEB-44).
fn established(description: &Option<Description>) -> Credentials {
    let sections = description.as_ref().map(|description| credentials(&description.sdp)).unwrap_or_default();
    sections.into_iter().next().unwrap_or_default()
}
