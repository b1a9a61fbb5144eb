//! Random messages and responses at one gateway controller, and what must hold after each.

use dsip_proto::gateway::{
    Caller, Controller, Direction, DsipLeg, EarlyMedia, FromDsip, FromSip, Input, MediaAnchor, Output, SipLeg, ToDsip,
    ToSip,
};
use dsip_proto::wire::Reason;
use dsip_proto::wire::token::{AnsweredBy, Direction as Flow, Status};

/// Reads `data` as a list of events and checks the invariants after each.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let first = usize::from(bytes.next().unwrap_or_default());
    let direction = [Direction::Outbound, Direction::Inbound][first % 2];
    let early_media = [EarlyMedia::Auto, EarlyMedia::Always, EarlyMedia::Never][first / 2 % 3];
    let gateway = "did:web:gw.example".parse().expect("a DID");
    let mut call = Call { controller: Controller::new(gateway, direction, early_media), bridged: false, over: false };
    while let Some(event) = bytes.next() {
        call.feed(input(event, bytes.next().unwrap_or_default()));
    }
}

struct Call {
    controller: Controller,
    bridged: bool,
    over: bool,
}

impl Call {
    fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.controller.handle(input.clone(), &mut out);
        for output in &out {
            match output {
                Output::Media(MediaAnchor::Bridge) => {
                    assert!(!self.bridged && !self.over, "bridged twice, or after the end: {input:?}");
                    self.bridged = true;
                }
                Output::Media(MediaAnchor::Release) => self.bridged = false,
                Output::Dsip(ToDsip::Accept | ToDsip::Alert | ToDsip::PlaceCall { .. }) => {
                    assert!(!self.over, "a call came back after its end: {input:?}");
                }
                Output::Sip(ToSip::Accept(_)) => {
                    assert!(!self.over || matches!(input, Input::Dsip(FromDsip::UpdateAnswered(_))));
                }
                Output::Dsip(_) | Output::Sip(_) | Output::Ignored => {}
            }
        }
        let (dsip, sip) = (self.controller.dsip(), self.controller.sip());
        let over = dsip == DsipLeg::Ended;
        assert!(over || !self.over, "the DSIP leg was revived by {input:?}");
        assert!(!over || sip != SipLeg::Confirmed, "a party was left on the line by {input:?}");
        assert!(!over || !self.bridged, "media outlived the call: {input:?}");
        self.over = over;
    }
}

fn input(event: u8, argument: u8) -> Input {
    let reason =
        [None, Some(Reason::USER_DECLINED), Some(Reason::SESSION_TIMEOUT), "x-shop.closed".parse::<Reason>().ok()]
            [usize::from(argument % 4)]
        .clone();
    let flow = Flow::ALL[usize::from(argument % 4)];
    let number = |among: &[u16]| among[usize::from(argument) % among.len()];
    match event % 22 {
        0 | 1 => Input::Dsip(FromDsip::Invite),
        2 => Input::Dsip(FromDsip::Progress([Status::TRYING, Status::RINGING][usize::from(argument % 2)].clone())),
        3 | 4 => {
            Input::Dsip(FromDsip::Answer([AnsweredBy::USER, AnsweredBy::SCREENING][usize::from(argument % 2)].clone()))
        }
        5 => Input::Dsip(FromDsip::Reject(reason)),
        6 => Input::Dsip(FromDsip::Cancel),
        7 => Input::Dsip(FromDsip::Update { direction: flow, adds_video: argument > 127 }),
        8 => Input::Dsip(FromDsip::UpdateAnswered(flow)),
        9 => Input::Dsip(FromDsip::UpdateRejected(reason.unwrap_or(Reason::MEDIA_UNSUPPORTED))),
        10 => Input::Dsip(FromDsip::Bye(reason)),
        11 => Input::Dsip(FromDsip::Other),
        12 | 13 => Input::Sip(FromSip::Response {
            status: number(&[100, 180, 183, 183, 200, 202, 302, 404, 486, 487, 503, 999, 0]),
            sdp: argument > 60,
            q850: (argument > 128).then_some(u16::from(argument)),
            moved_to: (argument > 200).then(|| "tel:+1".to_owned()),
            announcement: reason,
        }),
        14 | 15 => Input::Sip(FromSip::Invite(Caller { number: "+1".into(), ..Caller::default() })),
        16 => Input::Sip(FromSip::Ack),
        17 => Input::Sip(FromSip::Bye((argument > 128).then_some(u16::from(argument)))),
        18 => Input::Sip(FromSip::Cancel),
        19 => Input::Sip([FromSip::Refer, FromSip::Other][usize::from(argument % 2)].clone()),
        20 => Input::Sip(FromSip::Reinvite(flow)),
        _ => Input::TimerC,
    }
}
