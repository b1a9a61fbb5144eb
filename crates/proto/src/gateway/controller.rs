//! The back-to-back user agent's brain: two legs, one call (file 05, section 2).
//!
//! ```text
//! outbound   dsip  Idle ► Inviting ► Proceeding ► Active ► Ended      sip  Idle ► Calling ► Early ► Confirmed ► Terminated
//! inbound    dsip  Idle ► Offered  ► Alerting   ► Active ► Ended      sip  Idle ► Early   ► Confirmed ► Terminated
//! ```
//!
//! The session engine hosts the DSIP leg and all its timers; SIP Timer C is the only one that comes here (GW-50).

use super::reason::{self, Header, Phase};
use super::{Caller, TelClaim};
use crate::trust;
use crate::wire::token::{AnsweredBy, Direction as Flow, Status};
use crate::wire::{Did, Reason};

/// One call across the border.
#[derive(Debug)]
pub struct Controller {
    gateway: Did,
    direction: Direction,
    early_media: EarlyMedia,
    dsip: DsipLeg,
    sip: SipLeg,
    answered: bool,
    withdrawn: bool,
}

/// Which way a call crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A DSIP caller reaches into the PSTN: the DSIP leg is the responder, the SIP leg a UAC.
    Outbound,
    /// A PSTN caller reaches a DSIP identity: the DSIP leg is the initiator, the SIP leg a UAS.
    Inbound,
}

/// What a trunk's early media means (file 05, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyMedia {
    /// An announcement that was recognised becomes its reason; anything else is answered and bridged.
    #[default]
    Auto,
    /// Answered and bridged.
    Always,
    /// Ringing, no more.
    Never,
}

/// How far the DSIP leg is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the states of file 05, section 2.1")]
pub enum DsipLeg {
    Idle,
    Inviting,
    Proceeding,
    Offered,
    Alerting,
    Active,
    Ended,
}

/// How far the SIP leg is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the states of file 05, section 2.1")]
pub enum SipLeg {
    Idle,
    Calling,
    Early,
    Confirmed,
    Terminated,
}

/// What happened on either leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A verified DSIP message, or what the session engine made of one.
    Dsip(FromDsip),
    /// A SIP response to our INVITE, or a SIP request.
    Sip(FromSip),
    /// SIP Timer C ran out.
    TimerC,
}

/// What the DSIP side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromDsip {
    /// An `invite` that admission let pass (GW-52).
    Invite,
    /// `progress`.
    Progress(Status),
    /// The first `answer`.
    Answer(AnsweredBy),
    /// `reject` of the invite; without a reason it counts as `session.failed`.
    Reject(Option<Reason>),
    /// The caller withdrew, or one of the engine's timers did.
    Cancel,
    /// An `update`.
    Update {
        /// The direction it asks for.
        direction: Flow,
        /// Whether it adds video, which has no way across (GW-54).
        adds_video: bool,
    },
    /// The answer to an update that a re-INVITE caused.
    UpdateAnswered(Flow),
    /// The refusal of an update that a re-INVITE caused.
    UpdateRejected(Reason),
    /// `bye`; without a reason it counts as `user.hangup`.
    Bye(Option<Reason>),
    /// Any other message: nothing of it crosses, candidates included (GW-55).
    Other,
}

/// What the SIP side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromSip {
    /// A response to our INVITE.
    Response {
        /// The status.
        status: u16,
        /// Whether it carries SDP.
        sdp: bool,
        /// The Q.850 cause in its `Reason` header.
        q850: Option<u16>,
        /// Whom it names as the number's successor.
        moved_to: Option<String>,
        /// What its early media says, if the host recognised an announcement (GW-76).
        announcement: Option<Reason>,
    },
    /// INVITE.
    Invite(Caller),
    /// ACK.
    Ack,
    /// BYE, with the Q.850 cause in its `Reason` header.
    Bye(Option<u16>),
    /// CANCEL.
    Cancel,
    /// REFER.
    Refer,
    /// re-INVITE, with the direction its SDP asks for.
    Reinvite(Flow),
    /// Any other request.
    Other,
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send on the SIP leg.
    Sip(ToSip),
    /// Feed to the session engine.
    Dsip(ToDsip),
    /// Move the media anchor.
    Media(MediaAnchor),
    /// The input has no meaning here (GW-48).
    Ignored,
}

/// What goes to the SIP side. The adapter uses what SIP allows at that point: before a final response our BYE is a CANCEL
/// as UAC and a final response as UAS (GW-51).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSip {
    /// INVITE.
    Invite,
    /// ACK.
    Ack,
    /// CANCEL.
    Cancel,
    /// A response without more.
    Response(u16),
    /// 200 to an INVITE or re-INVITE. `SendOnly` stands for "the PSTN party is the only sender": the adapter, and only
    /// it, writes the SDP direction that makes the caller audible and plays nothing back (GW-95).
    Accept(Flow),
    /// A final refusal.
    Refuse {
        /// Status, cause and whether `Retry-After` goes along.
        with: reason::Outbound,
        /// The `Reason: DSIP` header.
        header: Header,
    },
    /// BYE.
    Bye {
        /// The Q.850 cause.
        q850: u16,
        /// The `Reason: DSIP` header.
        header: Header,
    },
    /// re-INVITE.
    Reinvite(Flow),
}

/// Local events for the session engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToDsip {
    /// Tell the caller that it rings.
    Alert,
    /// Answer as a gateway: it cannot know that a human picked up (GW-7).
    Accept,
    /// Refuse the invite.
    AutoReject {
        /// Why.
        reason: Reason,
        /// The foreign code.
        detail: Option<String>,
    },
    /// End the call.
    Hangup(Reason),
    /// Call the DSIP identity on behalf of the gateway (GW-6).
    PlaceCall {
        /// What SIP says about the caller.
        claim: TelClaim,
        /// The line a client shows (TRU-3).
        trust_basis: String,
    },
    /// Withdraw that call.
    Cancel,
    /// Renegotiate.
    Update(Flow),
    /// Refuse the peer's update; the call goes on.
    RejectUpdate(Reason),
}

/// What the media anchor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaAnchor {
    /// Media may flow between the legs.
    Bridge,
    /// Media stops.
    Release,
}

impl Controller {
    /// A call that `gateway` carries across.
    #[must_use]
    pub fn new(gateway: Did, direction: Direction, early_media: EarlyMedia) -> Self {
        Self {
            gateway,
            direction,
            early_media,
            dsip: DsipLeg::Idle,
            sip: SipLeg::Idle,
            answered: false,
            withdrawn: false,
        }
    }

    /// Advances the call. What to do comes out in order.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match (self.direction, input) {
            (_, Input::Dsip(FromDsip::Update { direction, adds_video })) => update(direction, adds_video, out),
            (_, Input::Dsip(FromDsip::Bye(reason))) => self.dsip_bye(reason, out),
            (_, Input::Sip(FromSip::Bye(q850))) => self.sip_bye(q850, out),
            // GW-41: the direction is copied, not turned around.
            (_, Input::Sip(FromSip::Reinvite(direction))) => out.push(Output::Dsip(ToDsip::Update(direction))),
            // GW-46
            (_, Input::Sip(FromSip::Refer)) => out.push(Output::Sip(ToSip::Response(603))),
            // GW-47
            (_, Input::Sip(FromSip::Ack)) => {}
            // GW-53: neither ends the call.
            (_, Input::Dsip(FromDsip::UpdateAnswered(direction))) => out.push(Output::Sip(ToSip::Accept(direction))),
            (_, Input::Dsip(FromDsip::UpdateRejected(reason))) => out.push(Output::Sip(refusal(reason))),
            (Direction::Outbound, Input::Dsip(message)) => self.outbound_dsip(&message, out),
            (Direction::Outbound, Input::Sip(FromSip::Response { status, sdp, q850, moved_to, announcement })) => {
                match status {
                    ..180 => {}
                    180..200 => self.ringing(status == 183 && sdp, announcement, out),
                    200..300 => self.connected(out),
                    300.. => self.failed(status, q850, moved_to.as_deref(), out),
                }
            }
            (Direction::Outbound, Input::TimerC) => self.timer_c(out),
            (Direction::Inbound, Input::Sip(FromSip::Invite(caller))) => self.incoming(caller, out),
            (Direction::Inbound, Input::Sip(FromSip::Cancel)) => self.sip_cancel(out),
            (Direction::Inbound, Input::Dsip(message)) => self.inbound_dsip(message, out),
            // GW-48
            (Direction::Outbound, Input::Sip(FromSip::Invite(_) | FromSip::Cancel | FromSip::Other))
            | (Direction::Inbound, Input::Sip(FromSip::Response { .. } | FromSip::Other) | Input::TimerC) => {
                out.push(Output::Ignored);
            }
        }
    }

    /// How far the DSIP leg is.
    #[must_use]
    pub fn dsip(&self) -> DsipLeg {
        self.dsip
    }

    /// How far the SIP leg is.
    #[must_use]
    pub fn sip(&self) -> SipLeg {
        self.sip
    }

    fn outbound_dsip(&mut self, message: &FromDsip, out: &mut Vec<Output>) {
        match message {
            // GW-10
            FromDsip::Invite if self.dsip == DsipLeg::Idle => {
                (self.dsip, self.sip) = (DsipLeg::Inviting, SipLeg::Calling);
                out.push(Output::Sip(ToSip::Invite));
            }
            FromDsip::Cancel => self.withdraw(out),
            _ => out.push(Output::Ignored),
        }
    }

    /// 180 to 199.
    fn ringing(&mut self, early_sdp: bool, announcement: Option<Reason>, out: &mut Vec<Output>) {
        // GW-22
        if self.withdrawn || self.dsip == DsipLeg::Ended {
            return;
        }
        // GW-12, GW-120
        self.sip = SipLeg::Early;
        if self.dsip == DsipLeg::Inviting {
            self.dsip = DsipLeg::Proceeding;
            out.push(Output::Dsip(ToDsip::Alert));
        }
        if !early_sdp || self.answered || self.early_media == EarlyMedia::Never {
            return;
        }
        match announcement.filter(|_| self.early_media == EarlyMedia::Auto) {
            // GW-76: the network said in words what it would not say in a status.
            Some(reason) => {
                (self.dsip, self.withdrawn) = (DsipLeg::Ended, true);
                out.push(Output::Dsip(ToDsip::AutoReject { reason, detail: None }));
                out.push(Output::Sip(ToSip::Cancel));
            }
            // GW-13
            None => self.answer(out),
        }
    }

    fn connected(&mut self, out: &mut Vec<Output>) {
        out.push(Output::Sip(ToSip::Ack));
        if self.withdrawn || self.dsip == DsipLeg::Ended {
            // GW-20, and whatever else ended the DSIP side while the 200 was on its way.
            (self.dsip, self.sip) = (DsipLeg::Ended, SipLeg::Terminated);
            out.push(Output::Sip(ToSip::Bye { q850: 16, header: Header(Reason::SESSION_CANCELLED) }));
            return;
        }
        self.sip = SipLeg::Confirmed;
        // GW-14; GW-15 if early media was the answer.
        if !self.answered {
            self.answer(out);
        }
    }

    fn answer(&mut self, out: &mut Vec<Output>) {
        (self.dsip, self.answered) = (DsipLeg::Active, true);
        out.push(Output::Dsip(ToDsip::Accept));
        out.push(Output::Media(MediaAnchor::Bridge));
    }

    fn failed(&mut self, status: u16, q850: Option<u16>, moved_to: Option<&str>, out: &mut Vec<Output>) {
        let over = self.dsip == DsipLeg::Ended;
        if over && !self.withdrawn {
            out.push(Output::Ignored);
            return;
        }
        (self.dsip, self.sip) = (DsipLeg::Ended, SipLeg::Terminated);
        if over {
            // GW-21
        } else if self.answered {
            // GW-17
            let mapped = reason::inbound(Some(status), q850, Phase::Active, moved_to);
            out.push(Output::Dsip(ToDsip::Hangup(mapped.reason)));
            out.push(Output::Media(MediaAnchor::Release));
        } else {
            // GW-16
            let mapped = reason::inbound(Some(status), q850, Phase::PreAnswer, moved_to);
            out.push(Output::Dsip(ToDsip::AutoReject { reason: mapped.reason, detail: mapped.detail }));
        }
    }

    fn withdraw(&mut self, out: &mut Vec<Output>) {
        (self.dsip, self.withdrawn) = (DsipLeg::Ended, true);
        match self.sip {
            // GW-18
            SipLeg::Calling | SipLeg::Early => out.push(Output::Sip(ToSip::Cancel)),
            // The withdrawal crossed our answer. GW-19 names no output here, but the other party is on the line: leaving
            // it there would hold the trunk until somebody else hangs up.
            SipLeg::Confirmed => {
                self.sip = SipLeg::Terminated;
                out.push(Output::Sip(ToSip::Bye { q850: 16, header: Header(Reason::SESSION_CANCELLED) }));
            }
            // GW-19
            SipLeg::Idle | SipLeg::Terminated => {}
        }
        if std::mem::take(&mut self.answered) {
            out.push(Output::Media(MediaAnchor::Release));
        }
    }

    fn timer_c(&mut self, out: &mut Vec<Output>) {
        let running = match self.sip {
            SipLeg::Early => true,
            SipLeg::Calling => !self.answered,
            SipLeg::Idle | SipLeg::Confirmed | SipLeg::Terminated => false,
        };
        if !running || self.withdrawn {
            out.push(Output::Ignored);
            return;
        }
        // A 200 that crosses our CANCEL must be acknowledged and ended as after a withdrawal.
        self.withdrawn = true;
        (self.dsip, self.sip) = (DsipLeg::Ended, SipLeg::Terminated);
        out.push(Output::Sip(ToSip::Cancel));
        if self.answered {
            // GW-24
            out.push(Output::Dsip(ToDsip::Hangup(Reason::GATEWAY_UNREACHABLE)));
            out.push(Output::Media(MediaAnchor::Release));
        } else {
            // GW-23
            let detail = Some("SIP Timer C".to_owned());
            out.push(Output::Dsip(ToDsip::AutoReject { reason: Reason::GATEWAY_UNREACHABLE, detail }));
        }
    }

    fn incoming(&mut self, caller: Caller, out: &mut Vec<Output>) {
        if self.dsip != DsipLeg::Idle {
            out.push(Output::Ignored);
            return;
        }
        // GW-30
        (self.dsip, self.sip) = (DsipLeg::Offered, SipLeg::Early);
        let claim = caller.claim(self.gateway.clone());
        let trust_basis = trust::tel_line(&claim.to_json()).unwrap_or_default();
        out.push(Output::Dsip(ToDsip::PlaceCall { claim, trust_basis }));
        out.push(Output::Sip(ToSip::Response(100)));
    }

    fn inbound_dsip(&mut self, message: FromDsip, out: &mut Vec<Output>) {
        let open = matches!(self.dsip, DsipLeg::Offered | DsipLeg::Alerting);
        match message {
            // GW-56: `trying` says nothing that the 100 did not say.
            FromDsip::Progress(status) if open && status.effective() == Status::TRYING => {}
            // GW-31
            FromDsip::Progress(_) if open => {
                self.dsip = DsipLeg::Alerting;
                out.push(Output::Sip(ToSip::Response(180)));
            }
            // GW-32, GW-95
            FromDsip::Answer(answered_by) if open => {
                (self.dsip, self.sip, self.answered) = (DsipLeg::Active, SipLeg::Confirmed, true);
                let screened = answered_by == AnsweredBy::SCREENING;
                out.push(Output::Sip(ToSip::Accept(if screened { Flow::SendOnly } else { Flow::SendRecv })));
                out.push(Output::Media(MediaAnchor::Bridge));
            }
            // GW-33
            FromDsip::Reject(reason) if open => {
                (self.dsip, self.sip) = (DsipLeg::Ended, SipLeg::Terminated);
                out.push(Output::Sip(refusal(reason.unwrap_or(Reason::SESSION_FAILED))));
            }
            _ => out.push(Output::Ignored),
        }
    }

    fn sip_cancel(&mut self, out: &mut Vec<Output>) {
        out.push(Output::Sip(ToSip::Response(200)));
        // GW-34; otherwise GW-35: an answered call is not torn down by a late CANCEL.
        if matches!(self.dsip, DsipLeg::Offered | DsipLeg::Alerting) {
            (self.dsip, self.sip) = (DsipLeg::Ended, SipLeg::Terminated);
            out.push(Output::Dsip(ToDsip::Cancel));
            out.push(Output::Sip(ToSip::Response(487)));
        }
    }

    fn dsip_bye(&mut self, reason: Option<Reason>, out: &mut Vec<Output>) {
        self.dsip = DsipLeg::Ended;
        // GW-42; otherwise GW-43.
        if matches!(self.sip, SipLeg::Calling | SipLeg::Early | SipLeg::Confirmed) {
            self.sip = SipLeg::Terminated;
            let reason = reason.unwrap_or(Reason::USER_HANGUP);
            out.push(Output::Sip(ToSip::Bye { q850: reason::outbound_bye(&reason), header: Header(reason) }));
        }
        out.push(Output::Media(MediaAnchor::Release));
    }

    fn sip_bye(&mut self, q850: Option<u16>, out: &mut Vec<Output>) {
        self.sip = SipLeg::Terminated;
        out.push(Output::Sip(ToSip::Response(200)));
        // GW-44; otherwise GW-45.
        if self.dsip != DsipLeg::Ended {
            self.dsip = DsipLeg::Ended;
            out.push(Output::Dsip(ToDsip::Hangup(reason::inbound(None, q850, Phase::Active, None).reason)));
            out.push(Output::Media(MediaAnchor::Release));
        }
    }
}

fn update(direction: Flow, adds_video: bool, out: &mut Vec<Output>) {
    out.push(if adds_video {
        // GW-54
        Output::Dsip(ToDsip::RejectUpdate(Reason::MEDIA_UNSUPPORTED))
    } else {
        // GW-40
        Output::Sip(ToSip::Reinvite(direction))
    });
}

fn refusal(reason: Reason) -> ToSip {
    ToSip::Refuse { with: reason::outbound(&reason), header: Header(reason) }
}

impl DsipLeg {
    /// The state's name in traces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Inviting => "inviting",
            Self::Proceeding => "proceeding",
            Self::Offered => "offered",
            Self::Alerting => "alerting",
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }
}

impl SipLeg {
    /// The state's name in traces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Calling => "calling",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
            Self::Terminated => "terminated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attestation, Passport};
    use super::*;

    fn controller(direction: Direction, early_media: EarlyMedia) -> Controller {
        Controller::new("did:web:gw.example".parse().expect("a DID"), direction, early_media)
    }

    fn feed(call: &mut Controller, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        call.handle(input, &mut out);
        out
    }

    fn dsip(message: FromDsip) -> Input {
        Input::Dsip(message)
    }

    fn status(status: u16) -> Input {
        Input::Sip(FromSip::Response { status, sdp: status == 183, q850: None, moved_to: None, announcement: None })
    }

    /// A call from DSIP whose INVITE has gone out, after these responses.
    fn outbound(early_media: EarlyMedia, responses: &[u16]) -> Controller {
        let mut call = controller(Direction::Outbound, early_media);
        assert_eq!(feed(&mut call, dsip(FromDsip::Invite)), [Output::Sip(ToSip::Invite)]);
        for response in responses {
            feed(&mut call, status(*response));
        }
        call
    }

    /// A call from the PSTN that was offered to DSIP.
    fn inbound() -> Controller {
        let mut call = controller(Direction::Inbound, EarlyMedia::Auto);
        let caller = Caller { number: "+15551234567".into(), ..Caller::default() };
        assert_eq!(feed(&mut call, Input::Sip(FromSip::Invite(caller))).len(), 2);
        call
    }

    fn states(call: &Controller) -> (&'static str, &'static str) {
        (call.dsip().as_str(), call.sip().as_str())
    }

    fn bye(q850: u16, reason: Reason) -> Output {
        Output::Sip(ToSip::Bye { q850, header: Header(reason) })
    }

    const BRIDGE: Output = Output::Media(MediaAnchor::Bridge);
    const RELEASE: Output = Output::Media(MediaAnchor::Release);

    #[test]
    fn gw_12_it_rings_once() {
        let mut call = outbound(EarlyMedia::Auto, &[100]);
        assert_eq!(feed(&mut call, status(180)), [Output::Dsip(ToDsip::Alert)]);
        assert_eq!((feed(&mut call, status(180)), states(&call)), (vec![], ("proceeding", "early")));
    }

    #[test]
    fn gw_13_and_15_early_media_is_the_answer_and_the_200_only_confirms() {
        for early_media in [EarlyMedia::Auto, EarlyMedia::Always] {
            let mut call = outbound(early_media, &[]);
            let answered = [Output::Dsip(ToDsip::Alert), Output::Dsip(ToDsip::Accept), BRIDGE];
            assert_eq!((feed(&mut call, status(183)).as_slice(), states(&call)), (&answered[..], ("active", "early")));
            assert_eq!(feed(&mut call, status(183)), []);
            assert_eq!(feed(&mut call, status(200)), [Output::Sip(ToSip::Ack)]);
            assert_eq!(states(&call), ("active", "confirmed"));
        }
    }

    #[test]
    fn gw_14_without_early_media_the_200_answers() {
        let mut call = outbound(EarlyMedia::Never, &[]);
        assert_eq!(feed(&mut call, status(183)), [Output::Dsip(ToDsip::Alert)]);
        let answered = [Output::Sip(ToSip::Ack), Output::Dsip(ToDsip::Accept), BRIDGE];
        assert_eq!((feed(&mut call, status(200)).as_slice(), states(&call)), (&answered[..], ("active", "confirmed")));
    }

    #[test]
    fn gw_76_a_recognised_announcement_refuses_and_withdraws() {
        let announced = |early_media| {
            let mut call = outbound(early_media, &[180]);
            let announcement = Some(Reason::IDENTITY_NOT_IN_SERVICE);
            let response = FromSip::Response { status: 183, sdp: true, q850: None, moved_to: None, announcement };
            (feed(&mut call, Input::Sip(response)), call)
        };
        let (out, mut call) = announced(EarlyMedia::Auto);
        let rejected = ToDsip::AutoReject { reason: Reason::IDENTITY_NOT_IN_SERVICE, detail: None };
        assert_eq!(out, [Output::Dsip(rejected), Output::Sip(ToSip::Cancel)]);
        assert_eq!((feed(&mut call, status(487)), states(&call)), (vec![], ("ended", "terminated")));
        // `always` answers whatever is said.
        assert_eq!(announced(EarlyMedia::Always).0, [Output::Dsip(ToDsip::Accept), BRIDGE]);
    }

    #[test]
    fn gw_17_a_failure_after_early_media_ends_the_call() {
        let mut call = outbound(EarlyMedia::Auto, &[183]);
        assert_eq!(feed(&mut call, status(503)), [Output::Dsip(ToDsip::Hangup(Reason::GATEWAY_UNREACHABLE)), RELEASE]);
        assert_eq!(feed(&mut call, status(503)), [Output::Ignored]);
    }

    #[test]
    fn gw_20_a_200_that_crosses_a_withdrawal_is_acknowledged_and_ended() {
        for (responses, release) in [(&[][..], vec![]), (&[180], vec![]), (&[183], vec![RELEASE])] {
            let mut call = outbound(EarlyMedia::Auto, responses);
            let mut expected = vec![Output::Sip(ToSip::Cancel)];
            expected.extend(release);
            assert_eq!(feed(&mut call, dsip(FromDsip::Cancel)), expected);
            assert_eq!(feed(&mut call, status(180)), [], "GW-22");
            let ended = [Output::Sip(ToSip::Ack), bye(16, Reason::SESSION_CANCELLED)];
            assert_eq!((feed(&mut call, status(200)).as_slice(), states(&call)), (&ended[..], ("ended", "terminated")));
        }
    }

    #[test]
    fn gw_19_a_withdrawal_that_crosses_our_answer_leaves_nobody_on_the_line() {
        let mut call = outbound(EarlyMedia::Auto, &[180, 200]);
        assert_eq!(feed(&mut call, dsip(FromDsip::Cancel)), [bye(16, Reason::SESSION_CANCELLED), RELEASE]);
        assert_eq!(states(&call), ("ended", "terminated"));
        assert_eq!(feed(&mut controller(Direction::Outbound, EarlyMedia::Auto), dsip(FromDsip::Cancel)), []);
    }

    #[test]
    fn gw_23_and_24_timer_c() {
        let unreachable = Reason::GATEWAY_UNREACHABLE;
        for responses in [&[][..], &[180]] {
            let mut call = outbound(EarlyMedia::Auto, responses);
            let rejected = ToDsip::AutoReject { reason: unreachable.clone(), detail: Some("SIP Timer C".into()) };
            assert_eq!(feed(&mut call, Input::TimerC), [Output::Sip(ToSip::Cancel), Output::Dsip(rejected)]);
            assert_eq!(feed(&mut call, Input::TimerC), [Output::Ignored]);
            assert_eq!(feed(&mut call, status(487)), [], "the answer to our CANCEL");
            assert_eq!(feed(&mut call, status(200)), [Output::Sip(ToSip::Ack), bye(16, Reason::SESSION_CANCELLED)]);
        }
        let mut early = outbound(EarlyMedia::Auto, &[183]);
        let ended = [Output::Sip(ToSip::Cancel), Output::Dsip(ToDsip::Hangup(unreachable)), RELEASE];
        assert_eq!((feed(&mut early, Input::TimerC).as_slice(), states(&early)), (&ended[..], ("ended", "terminated")));
        assert_eq!(feed(&mut outbound(EarlyMedia::Auto, &[200]), Input::TimerC), [Output::Ignored]);
    }

    #[test]
    fn gw_30_the_caller_is_a_claim_of_the_gateway() {
        let mut call = controller(Direction::Inbound, EarlyMedia::Auto);
        let number = "+15551234567".to_owned();
        let passport = Passport { attestation: Attestation::A, verified: true, orig: Some(number.clone()) };
        let caller = Caller { number, passport: Some(passport), cnam: None };
        let out = feed(&mut call, Input::Sip(FromSip::Invite(caller.clone())));
        let [Output::Dsip(ToDsip::PlaceCall { claim, trust_basis }), Output::Sip(ToSip::Response(100))] = &out[..]
        else {
            panic!("a call and a 100, got {out:?}");
        };
        assert_eq!(claim.verified_attestation(), Attestation::A);
        assert_eq!(trust_basis, "Gateway attested by gw.example · STIR attestation A (verified)");
        assert_eq!(feed(&mut call, Input::Sip(FromSip::Invite(caller))), [Output::Ignored]);
    }

    #[test]
    fn gw_31_and_56_ringing_says_so_and_trying_says_nothing() {
        let mut call = inbound();
        assert_eq!(feed(&mut call, dsip(FromDsip::Progress(Status::TRYING))), []);
        assert_eq!(states(&call), ("offered", "early"));
        for status in [Status::RINGING, Status::QUEUED, Status::FORWARDED] {
            assert_eq!(feed(&mut call, dsip(FromDsip::Progress(status))), [Output::Sip(ToSip::Response(180))]);
        }
        assert_eq!(states(&call), ("alerting", "early"));
    }

    #[test]
    fn gw_33_a_refusal_keeps_its_literal_token() {
        for (reason, status, q850) in [
            (Some(Reason::POLICY_FIRST_CONTACT_REQUIRED), 403, Some(21)),
            (Some(Reason::USER_CANCELLED), 487, None),
            (None, 500, Some(41)),
        ] {
            let mut call = inbound();
            let header = Header(reason.clone().unwrap_or(Reason::SESSION_FAILED));
            let with = reason::Outbound { status, q850, retry_after: false };
            let out = feed(&mut call, dsip(FromDsip::Reject(reason.clone())));
            assert_eq!(out, [Output::Sip(ToSip::Refuse { with, header })]);
            assert_eq!(feed(&mut call, dsip(FromDsip::Reject(reason))), [Output::Ignored]);
        }
    }

    #[test]
    fn gw_35_a_cancel_cannot_tear_down_an_answered_call() {
        let mut call = inbound();
        feed(&mut call, dsip(FromDsip::Answer(AnsweredBy::USER)));
        assert_eq!(feed(&mut call, Input::Sip(FromSip::Cancel)), [Output::Sip(ToSip::Response(200))]);
        assert_eq!(states(&call), ("active", "confirmed"));
    }

    #[test]
    fn gw_40_53_and_54_updates_cross_as_re_invites_without_video() {
        let mut call = inbound();
        feed(&mut call, dsip(FromDsip::Answer(AnsweredBy::SCREENING)));
        let update = |adds_video| dsip(FromDsip::Update { direction: Flow::SendRecv, adds_video });
        assert_eq!(feed(&mut call, update(false)), [Output::Sip(ToSip::Reinvite(Flow::SendRecv))]);
        let refused = ToDsip::RejectUpdate(Reason::MEDIA_UNSUPPORTED);
        assert_eq!(feed(&mut call, update(true)), [Output::Dsip(refused)]);
        let accepted = [Output::Sip(ToSip::Accept(Flow::RecvOnly))];
        assert_eq!(feed(&mut call, dsip(FromDsip::UpdateAnswered(Flow::RecvOnly))), accepted);
        let out = feed(&mut call, dsip(FromDsip::UpdateRejected(Reason::MEDIA_UNSUPPORTED)));
        let with = reason::Outbound { status: 488, q850: Some(65), retry_after: false };
        let header = Header(Reason::MEDIA_UNSUPPORTED);
        assert_eq!(out, [Output::Sip(ToSip::Refuse { with, header })]);
        assert_eq!(states(&call), ("active", "confirmed"));
    }

    #[test]
    fn gw_42_and_43_a_bye_ends_the_sip_call_once() {
        let mut call = outbound(EarlyMedia::Auto, &[200]);
        let ended = [bye(31, Reason::POLICY_TERMINATED), RELEASE];
        assert_eq!(feed(&mut call, dsip(FromDsip::Bye(Some(Reason::POLICY_TERMINATED)))), ended);
        assert_eq!(feed(&mut call, dsip(FromDsip::Bye(None))), [RELEASE]);
        let mut early = outbound(EarlyMedia::Auto, &[183]);
        assert_eq!(feed(&mut early, dsip(FromDsip::Bye(None))), [bye(16, Reason::USER_HANGUP), RELEASE]);
        // The 200 comes all the same: it may not bring the call back.
        let ended = [Output::Sip(ToSip::Ack), bye(16, Reason::SESSION_CANCELLED)];
        assert_eq!(feed(&mut early, status(200)), ended);
    }

    #[test]
    fn gw_44_and_45_a_sip_bye_is_always_answered() {
        let mut call = outbound(EarlyMedia::Auto, &[200]);
        let busy = Input::Sip(FromSip::Bye(Some(17)));
        let ended = [Output::Sip(ToSip::Response(200)), Output::Dsip(ToDsip::Hangup(Reason::GATEWAY_MAPPED)), RELEASE];
        assert_eq!(feed(&mut call, busy.clone()), ended);
        assert_eq!(feed(&mut call, busy), [Output::Sip(ToSip::Response(200))]);
    }

    #[test]
    fn gw_48_what_has_no_meaning_changes_nothing() {
        let mut call = outbound(EarlyMedia::Auto, &[180]);
        for input in [
            dsip(FromDsip::Invite),
            dsip(FromDsip::Answer(AnsweredBy::USER)),
            dsip(FromDsip::Other),
            Input::Sip(FromSip::Invite(Caller::default())),
            Input::Sip(FromSip::Cancel),
            Input::Sip(FromSip::Other),
        ] {
            assert_eq!(feed(&mut call, input.clone()), [Output::Ignored], "{input:?}");
            assert_eq!(states(&call), ("proceeding", "early"));
        }
        assert_eq!(feed(&mut inbound(), status(200)), [Output::Ignored]);
        assert_eq!(feed(&mut inbound(), Input::TimerC), [Output::Ignored]);
    }
}
