//! Outputs and events of the agent, as the page reads them.

use dsip_proto::agent::{Change, Description, Event, Media, Output, Party, Question, Suspicion};
use dsip_proto::binding::webrtc::Sdp;
use dsip_proto::trust;
use dsip_proto::turn::Grant;
use dsip_proto::wire::Unsigned;
use serde_json::{Value, json};

/// One output. Its `type` says what to do.
pub(crate) fn output(output: Output) -> Value {
    match output {
        Output::Persist(Change::Memory(memory)) => {
            // Stored as a text that the page never looks into.
            json!({ "type": "persist", "memory": json!(memory).to_string() })
        }
        Output::Persist(Change::Seen(held)) => {
            json!({ "type": "persist", "seen": json!(held).to_string(), "id": held.id, "until": held.until })
        }
        Output::Dial(link, relay) => json!({ "type": "dial", "link": link.0, "uri": relay.uri, "node": relay.node }),
        Output::Transmit { link, frame, session: _ } => {
            let input = Unsigned::of(&frame).map(|unsigned| unsigned.input().to_owned());
            json!({ "type": "transmit", "link": link.0, "frame": frame, "input": input })
        }
        Output::Close(link) => json!({ "type": "close", "link": link.0 }),
        Output::Ask(ask, Question::Document(did)) => json!({ "type": "ask", "ask": ask.0, "did": did }),
        Output::Media(call, media) => json!({ "type": "media", "call": call, "media": act(media) }),
        Output::Publish(hint) => {
            let input = Unsigned::of(&hint).map(|unsigned| unsigned.input().to_owned());
            json!({ "type": "publish", "frame": hint, "input": input })
        }
        Output::Event(told) => json!({ "type": "event", "event": event(told) }),
        Output::Idle { wake } => json!({ "type": "idle", "wake": wake.map(|wake| wake.micros()) }),
    }
}

fn act(media: Media) -> Value {
    match media {
        // The permit ends here: the page opens a path for this and for nothing else (WEB-90).
        Media::Start(permit) => json!({ "act": "start", "remote": permit.remote() }),
        Media::Candidates(candidates) => json!({ "act": "candidates", "candidates": candidates }),
        Media::EndOfCandidates => json!({ "act": "end-of-candidates" }),
        Media::Apply(sdp) => json!({ "act": "apply", "sdp": sdp }),
        Media::RollBack => json!({ "act": "roll-back" }),
        Media::Adopt => json!({ "act": "adopt" }),
        Media::Text(sdp) => json!({ "act": "text", "sdp": sdp }),
        Media::Stop => json!({ "act": "stop" }),
    }
}

/// What somebody would like, section by section, with the `a=mid` by which the browser knows each.
pub(crate) fn description(description: &Description) -> Value {
    let sdp = Sdp::parse(&description.sdp).ok();
    let mids = sdp.iter().flat_map(|sdp| sdp.live().map(|section| section.value("mid")).collect::<Vec<_>>());
    let media = description.media.iter().zip(mids.chain(std::iter::repeat(None)));
    let media: Vec<_> = media
        .map(|(media, mid)| {
            json!({
                "type": media.kind.as_str(),
                "direction": media.direction.as_str(),
                "purpose": media.purpose,
                "mid": mid,
            })
        })
        .collect();
    json!({ "sdp": description.sdp, "media": media, "text": description.text })
}

fn party(party: &Party) -> Value {
    // What the basis rests on, as far as the rules tell (TRU-2): their text is that of the method, or that of a claim.
    let by_method = trust::basis(&party.identity, &[]) == party.basis;
    let (kind, domain) = match party.identity.method() {
        _ if !by_method => ("gateway", None),
        "web" => ("domain", Some(party.identity.specific().split(':').next().unwrap_or_default().replace("%3A", ":"))),
        "key" => ("self-asserted", None),
        _ => ("other", None),
    };
    json!({
        "identity": party.identity,
        "device": party.device,
        "claimedName": party.claimed_name,
        "contactName": party.contact,
        "known": party.known,
        "basis": { "text": party.basis, "kind": kind, "domain": domain },
    })
}

fn turn(grant: &Grant) -> Value {
    json!({
        "username": grant.username,
        "password": grant.password,
        "udp": grant.ports.udp,
        "tcp": grant.ports.tcp,
        "tls": grant.ports.tls,
    })
}

fn event(event: Event) -> Value {
    match event {
        Event::Online { relay, uri, stun_port, turn: grant, vapid } => {
            let (turn, vapid) = (grant.as_ref().map(turn), vapid.map(|key| key.to_string()));
            json!({ "type": "online", "relay": relay, "uri": uri, "stunPort": stun_port, "turn": turn, "vapid": vapid })
        }
        Event::Renewed { uri, stun_port, turn: grant } => {
            json!({ "type": "renewed", "uri": uri, "stunPort": stun_port, "turn": turn(&grant) })
        }
        Event::WakeRegistered { until } => json!({ "type": "wake-registered", "until": until }),
        Event::WakeRefused { reason } => json!({ "type": "wake-refused", "reason": reason }),
        Event::Aside { .. } => json!({ "type": "aside" }),
        Event::Offline { why } => json!({ "type": "offline", "why": why }),
        Event::Dialling { call, relay } => json!({ "type": "dialling", "call": call, "uri": relay.uri }),
        Event::Invited { call, relay } => json!({ "type": "invited", "call": call, "relay": relay }),
        Event::Progress { call, status, device } => {
            json!({ "type": "progress", "call": call, "status": status, "device": device })
        }
        Event::Incoming { call, party: who, offer } => {
            json!({ "type": "incoming", "call": call, "party": party(&who), "offer": description(&offer) })
        }
        Event::Answered { call, by, party: who, direction } => {
            json!({ "type": "answered", "call": call, "by": by, "party": party(&who), "direction": direction.as_str() })
        }
        Event::UpdateOffered { call, offer, by } => {
            json!({ "type": "update-offered", "call": call, "offer": description(&offer), "by": by })
        }
        Event::UpdateRejected { call, reason } => {
            json!({ "type": "update-rejected", "call": call, "reason": reason })
        }
        Event::Ended { call, reason, side, missed } => {
            let side = match side {
                dsip_proto::agent::Side::Us => "us",
                dsip_proto::agent::Side::Peer => "peer",
            };
            json!({ "type": "ended", "call": call, "reason": reason, "side": side, "missed": missed })
        }
        Event::Unreachable { call, why } => json!({ "type": "unreachable", "call": call, "why": why }),
        Event::TryAgain { call } => json!({ "type": "try-again", "call": call }),
        Event::Introduced { introduction, party: who, purpose, by_token } => {
            json!({
                "type": "introduced",
                "introduction": introduction,
                "party": party(&who),
                "purpose": purpose,
                "byToken": by_token,
            })
        }
        Event::Asked { introduction, relay } => {
            json!({ "type": "asked", "introduction": introduction, "relay": relay })
        }
        Event::Granted { introduction, by, valid_until } => {
            json!({ "type": "granted", "introduction": introduction, "by": by, "until": valid_until })
        }
        Event::IntroductionRejected { introduction, reason } => {
            json!({ "type": "introduction-rejected", "introduction": introduction, "reason": reason })
        }
        Event::Told { watch, by, told } => {
            json!({ "type": "told", "watch": watch, "by": by, "event": told.event, "state": told.state })
        }
        Event::WatchEnded { watch, reason } => json!({ "type": "watch-ended", "watch": watch, "reason": reason }),
        Event::Security { what, signer, session } => {
            let (what, detail) = match what {
                Suspicion::NotAParty { kind } => {
                    ("not-a-party", format!("a signed {kind} from somebody who is no party to the call"))
                }
                Suspicion::Unverified { code } => ("unverified", format!("a message that did not verify ({code})")),
                Suspicion::WrongRelay { why } => ("wrong-relay", why),
            };
            json!({ "type": "security", "what": what, "detail": detail, "signer": signer, "call": session })
        }
        Event::Reported { session, reason } => json!({ "type": "reported", "call": session, "reason": reason }),
    }
}
