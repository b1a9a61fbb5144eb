//! What two devices do with each other, step by step. Each step is due at a moment that follows from the schedule or from
//! the arrival before it, whether or not this machine is ready by then.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dsip_proto::wire::media::{ClaimedIdentity, MediaDescriptor, Transport};
use dsip_proto::wire::message::{
    Answer, Bye, Cancel, IceCandidate, IceCandidates, Info, Introduction, Invite, Progress, Reject,
};
use dsip_proto::wire::token::{About, AnsweredBy, CodecId, Direction, MediaType, ProfileId, Status, TransportId};
use dsip_proto::wire::{Message, Reason, Ulid};

use super::fleet::{Device, Fleet};
use super::measure::{Fate, Flow, note};
use super::schedule::{Arrival, Exchange};

/// How often somebody looks for somebody else to write to.
const LOOK: Duration = Duration::from_millis(20);

/// How long people take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long it rings until the callee answers or declines, or the caller gives up.
    pub(super) ring: Duration,
    /// How long they talk.
    pub(super) hold: Duration,
}

/// Why an exchange did not get to its end.
enum Broken {
    /// A message was lost, refused or not sent.
    Message,
    /// The load ended first.
    CutOff,
}

/// Plays one exchange, which counts as begun, and should have begun at `begin`.
pub(super) async fn play(fleet: &Fleet, pace: Pace, arrival: Arrival, begin: Duration) {
    let (from, to) = (arrival.from, arrival.to);
    let played = match arrival.exchange {
        Exchange::Call => call(fleet, pace, (from, to), begin).await,
        Exchange::Cancelled => cancelled(fleet, pace, (from, to), begin).await,
        Exchange::Declined => declined(fleet, pace, (from, to), begin).await,
        Exchange::Introduction => introduction(fleet, (from, to), begin).await,
        Exchange::Info => info(fleet, Flow::Info, (from, to), begin).await,
        Exchange::Away => away(fleet, (from, to), begin).await,
    };
    let mut measure = fleet.measure();
    let tally = measure.tally(arrival.exchange);
    match played {
        Ok(()) => tally.completed += 1,
        Err(Broken::Message) => tally.broken += 1,
        Err(Broken::CutOff) => tally.cut_off += 1,
    }
}

/// Invite, ringing, answer, bye.
async fn call(fleet: &Fleet, pace: Pace, (from, to): (usize, usize), begin: Duration) -> Result<(), Broken> {
    let [caller, callee] = [from, to].map(|number| &fleet.devices[number]);
    let (session, rang) = invite(fleet, (from, to), begin).await?;
    let picked_up = rang + pace.ring;
    let answer = async {
        pause(fleet, picked_up).await?;
        let answer = Answer {
            common: fleet.common(callee, &MEDIA),
            to: caller.did.clone(),
            session,
            answered_by: AnsweredBy::USER,
            media: vec![audio()],
            transports: vec![Transport::new(TransportId::WEBRTC)],
            policy: None,
            in_reply_to: None,
        };
        arrived(fleet.say(Flow::Answer, (to, from), picked_up, answer.into()).await)
    };
    // The callee picks up when its time has come, whether or not the caller heard it ring by then.
    let (_, answered) = tokio::try_join!(ringing(fleet, (from, to), session, rang), answer)?;
    note(&mut fleet.measure().setup, answered.saturating_sub(begin).saturating_sub(pace.ring));
    let hung_up = answered + pace.hold;
    pause(fleet, hung_up).await?;
    let common = fleet.common(caller, &MEDIA);
    let (to_did, reason) = (callee.did.clone(), Reason::USER_HANGUP);
    let bye = Bye { common, to: to_did, session, reason, detail: None, retry_after: None };
    arrived(fleet.say(Flow::Bye, (from, to), hung_up, bye.into()).await).map(drop)
}

/// Invite, ringing, and the caller gives up.
async fn cancelled(fleet: &Fleet, pace: Pace, (from, to): (usize, usize), begin: Duration) -> Result<(), Broken> {
    let (session, rang) = invite(fleet, (from, to), begin).await?;
    let gave_up = ringing(fleet, (from, to), session, rang).await? + pace.ring;
    pause(fleet, gave_up).await?;
    let common = fleet.common(&fleet.devices[from], &MEDIA);
    let (to_did, reason) = (fleet.devices[to].identity.clone(), Reason::USER_CANCELLED);
    let cancel = Cancel { common, to: to_did, session, reason, detail: None, retry_after: None };
    arrived(fleet.say(Flow::Cancel, (from, to), gave_up, cancel.into()).await).map(drop)
}

/// Invite, ringing, and the callee declines.
async fn declined(fleet: &Fleet, pace: Pace, (from, to): (usize, usize), begin: Duration) -> Result<(), Broken> {
    let (session, rang) = invite(fleet, (from, to), begin).await?;
    let said_no = rang + pace.ring;
    let reject = async {
        pause(fleet, said_no).await?;
        let reject = Reject {
            common: fleet.common(&fleet.devices[to], &MEDIA),
            to: fleet.devices[from].did.clone(),
            session,
            reason: Reason::USER_DECLINED,
            detail: None,
            retry_after: None,
            in_reply_to: None,
        };
        arrived(fleet.say(Flow::Reject, (to, from), said_no, reject.into()).await)
    };
    tokio::try_join!(ringing(fleet, (from, to), session, rang), reject).map(drop)
}

/// The session, and since when the callee knows of it.
async fn invite(fleet: &Fleet, (from, to): (usize, usize), begin: Duration) -> Result<(Ulid, Duration), Broken> {
    let [caller, callee] = [from, to].map(|number| &fleet.devices[number]);
    let invite = Invite {
        common: fleet.common(caller, &MEDIA),
        to: callee.identity.clone(),
        media: vec![audio()],
        transports: vec![Transport::new(TransportId::WEBRTC)],
        intent: None,
        identity: None,
        policy: None,
        grant: None,
    };
    let session = invite.common.id;
    let rang = arrived(fleet.say(Flow::Invite, (from, to), begin, invite.into()).await)?;
    Ok((session, rang))
}

/// Since when the caller knows that it rings.
async fn ringing(fleet: &Fleet, (from, to): (usize, usize), session: Ulid, rang: Duration) -> Result<Duration, Broken> {
    let [caller, callee] = [from, to].map(|number| &fleet.devices[number]);
    let ringing = Progress {
        common: fleet.common(callee, &MEDIA),
        to: caller.did.clone(),
        session,
        status: Status::RINGING,
        ring_timeout: Some(60),
        queue_timeout: None,
    };
    arrived(fleet.say(Flow::Ringing, (to, from), rang, ringing.into()).await)
}

async fn introduction(fleet: &Fleet, (from, to): (usize, usize), begin: Duration) -> Result<(), Broken> {
    let introduction = Introduction {
        common: fleet.common(&fleet.devices[from], &[]),
        to: fleet.devices[to].identity.clone(),
        identity: ClaimedIdentity { display_name: Some(format!("Device {from}")), claims: None },
        purpose: Some("Measuring how a node fares under load.".into()),
        contact_token: None,
    };
    arrived(fleet.say(Flow::Introduction, (from, to), begin, introduction.into()).await).map(drop)
}

/// An `info` to one device, as it carries ICE candidates.
async fn info(fleet: &Fleet, flow: Flow, (from, to): (usize, usize), begin: Duration) -> Result<(), Broken> {
    let sender: &Device = &fleet.devices[from];
    let candidate = IceCandidate {
        candidate: "candidate:1 1 udp 2130706431 192.0.2.7 49170 typ host".into(),
        sdp_mid: "0".into(),
        sdp_m_line_index: Some(0),
    };
    let info = Info {
        common: fleet.common(sender, &MEDIA),
        to: fleet.devices[to].did.clone(),
        session: sender.talk,
        about: About::WEBRTC,
        data: IceCandidates { candidates: vec![candidate], end_of_candidates: false }.to_data(),
    };
    arrived(fleet.say(flow, (from, to), begin, Message::from(info)).await).map(drop)
}

/// An `info` to somebody who comes and goes: to that one, or to the next who is not just leaving.
async fn away(fleet: &Fleet, (from, to): (usize, usize), mut begin: Duration) -> Result<(), Broken> {
    let all = fleet.bound(true);
    let (before, after) = all.split_at(all.partition_point(|number| *number < to));
    let takes = |number: &&usize| fleet.devices[**number].takes.load(Ordering::Relaxed);
    loop {
        if let Some(to) = after.iter().chain(before).find(takes) {
            return info(fleet, Flow::Stored, (from, *to), begin).await;
        }
        begin += LOOK;
        pause(fleet, begin).await?;
    }
}

async fn pause(fleet: &Fleet, until: Duration) -> Result<(), Broken> {
    if fleet.pause(until).await { Ok(()) } else { Err(Broken::CutOff) }
}

fn arrived(fate: Fate) -> Result<Duration, Broken> {
    match fate {
        Fate::Arrived(at) => Ok(at),
        Fate::Refused | Fate::Lost | Fate::Unsent => Err(Broken::Message),
    }
}

const MEDIA: [ProfileId; 1] = [ProfileId::INTERACTIVE_MEDIA];

fn audio() -> MediaDescriptor {
    MediaDescriptor::new(MediaType::Audio, Direction::SendRecv, &[CodecId::OPUS])
}
