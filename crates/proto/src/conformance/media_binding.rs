//! Kind `media-binding` (file 07, section 3): the checks, roles, candidates, renegotiation and one-answer walk of file 04.

use serde_json::{Value, json};

use super::{Vector, field};
use crate::binding::webrtc::{
    self, Applies, Change, Credentials, Described, Exchange, Input, Output, Refusal, Renegotiation, Side, Step,
};
use crate::wire::media::{MediaDescriptor, Transport};
use crate::wire::message::{IceCandidate, IceCandidates};
use crate::wire::{Did, Reason};

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let input = &vector.input;
    match text(input, "check")? {
        "offer" => Ok(verdict(webrtc::offer(Payload::read(&input["payload"])?.described()))),
        "answer" => {
            let (offer, answer) = (Payload::read(&input["offer"])?, Payload::read(&input["payload"])?);
            Ok(verdict(webrtc::answer(offer.described(), answer.described())))
        }
        "role" => role(input),
        "candidates" => candidates(vector),
        "renegotiation" => renegotiation(vector),
        "one-answer" => one_answer(input),
        unknown => Err(format!("unknown check {unknown:?}")),
    }
}

/// The decoded, partial payloads of these vectors: what is left out counts as empty.
struct Payload {
    media: Vec<MediaDescriptor>,
    transports: Vec<Transport>,
}

impl Payload {
    fn read(payload: &Value) -> Result<Self, String> {
        let elements = |name: &str| payload.get(name).cloned().unwrap_or_else(|| json!([]));
        Ok(Self { media: field(&elements("media"))?, transports: field(&elements("transports"))? })
    }

    fn described(&self) -> Described<'_> {
        (&self.media, &self.transports)
    }
}

fn verdict(outcome: Result<Applies, Refusal>) -> Value {
    match outcome {
        Ok(Applies::WebRtc) => json!({"verdict": "accept"}),
        Ok(Applies::NotWebRtc) => json!({"verdict": "accept", "binding": "not-webrtc"}),
        Err(refusal) => rejection(refusal),
    }
}

fn rejection(refusal: Refusal) -> Value {
    json!({"verdict": "reject", "code": refusal.code.as_str(), "reason": refusal.reason().as_str()})
}

fn role(input: &Value) -> Result<Value, String> {
    Ok(match webrtc::roles(text(input, "offer_setup")?, text(input, "answer_setup")?) {
        Ok(roles) => {
            json!({"verdict": "accept", "offerer": roles.offerer.as_str(), "answerer": roles.answerer.as_str()})
        }
        Err(refusal) => rejection(refusal),
    })
}

fn candidates(vector: &Vector) -> Result<Value, String> {
    let peer = vector.context.get("peer").map(did).transpose()?;
    let mut exchange = Exchange::new(peer);
    steps(&vector.input, |event| {
        let (name, value) = only_member(event)?;
        let input = match name {
            "local_candidate" => Input::LocalCandidate(field::<IceCandidate>(value)?),
            "gathering_complete" => Input::GatheringComplete,
            "active" => Input::Active,
            "remote_description" => Input::RemoteDescription,
            "remote_info" => Input::Info {
                from: did(&value["from"])?,
                data: IceCandidates {
                    candidates: field(&value["candidates"])?,
                    end_of_candidates: field(&value["end_of_candidates"])?,
                },
            },
            "session_end" => Input::SessionEnd,
            unknown => return Err(format!("unknown event {unknown:?}")),
        };
        let mut out = Vec::new();
        exchange.handle(input, &mut out);
        Ok(out.iter().map(candidate_emission).collect())
    })
}

fn candidate_emission(output: &Output) -> Value {
    match output {
        Output::Buffered { side: Side::Local, waiting } => json!({"buffer": "local", "n": waiting}),
        Output::Buffered { side: Side::Remote, waiting } => json!({"buffer": "remote", "n": waiting}),
        Output::Send(data) => json!({
            "send_info": {"candidates": data.candidates.len(), "end_of_candidates": data.end_of_candidates}
        }),
        Output::Apply(candidates) => json!({"apply": candidates.len()}),
        Output::RemoteEnd => json!({"remote_end": true}),
        Output::Ignored(why) => json!({"ignore": why.as_str()}),
        Output::Dropped(count) => json!({"drop_buffered": count}),
        Output::RateLimited => json!({"error": "policy.rate-limited"}),
        Output::Flooded => json!({"bye": "media.failed"}),
    }
}

fn renegotiation(vector: &Vector) -> Result<Value, String> {
    // The trace knows one user name for both sides and no password.
    let credentials = |ufrag: &str| Credentials { ufrag: ufrag.to_owned(), pwd: String::new() };
    let established = credentials(text(&vector.context, "ufrag")?);
    let mut machine = Renegotiation::new(established.clone(), established);
    steps(&vector.input, |event| {
        let (name, value) = only_member(event)?;
        let mut out = Vec::new();
        match name {
            "local_reoffer" => machine.handle(Change::LocalReoffer(&[credentials(text(value, "ufrag")?)]), &mut out),
            "remote_reoffer" => machine.handle(Change::RemoteReoffer(&[credentials(text(value, "ufrag")?)]), &mut out),
            "remote_answer" => machine.handle(Change::RemoteAnswer, &mut out),
            "remote_reject" => machine.handle(Change::RemoteReject, &mut out),
            "answer_update" => machine.handle(Change::AnswerUpdate, &mut out),
            _ => return Ok(vec![json!({"ignore": "unknown-event"})]),
        }
        Ok(out.iter().map(renegotiation_emission).collect())
    })
}

fn renegotiation_emission(step: &Step) -> Value {
    match step {
        Step::LocalPending => json!({"local_description": "pending"}),
        Step::LocalCurrent => json!({"local_description": "current"}),
        Step::ApplyAnswer => json!({"apply": "answer"}),
        Step::Rollback => json!({"rollback": true}),
        Step::UpdateOffered => json!({"ui": "update_offered"}),
        Step::ApplyOfferAndAnswer => json!({"apply": "remote-offer+answer"}),
        Step::Reject { reason, detail } => json!({"reject": {"reason": reason.as_str(), "detail": detail}}),
        Step::LocalBug { code, detail } => json!({"error": code, "detail": detail}),
        Step::NoPendingOffer => json!({"ignore": "no-pending-offer"}),
    }
}

/// WEB-100 to WEB-104. The walk itself is the session engine's: its first acceptable answer makes the session active, and
/// every later one is released (INI-10 to INI-12, INI-20). What is pinned here is which answers are acceptable.
fn one_answer(input: &Value) -> Result<Value, String> {
    let offer = Payload::read(&input["offer"])?;
    let mut applied = Value::Null;
    let mut legs = Vec::new();
    for answer in input["answers"].as_array().ok_or("no array `answers`")? {
        let from = &answer["from"];
        legs.push(if applied.is_null() {
            match webrtc::answer(offer.described(), Payload::read(answer)?.described()) {
                Ok(_) => {
                    applied = from.clone();
                    json!({"from": from, "applied": true})
                }
                Err(refusal) => {
                    json!({"from": from, "bye": refusal.reason().as_str(), "code": refusal.code.as_str()})
                }
            }
        } else {
            json!({"from": from, "bye": Reason::SESSION_ALREADY_ANSWERED.as_str()})
        });
    }
    Ok(json!({"applied": applied, "legs": legs}))
}

/// Feeds each event of a trace and collects what each emits (VF-5).
fn steps(input: &Value, mut feed: impl FnMut(&Value) -> Result<Vec<Value>, String>) -> Result<Value, String> {
    let steps = input["steps"].as_array().ok_or("no array `steps`")?;
    let emitted = steps.iter().map(|step| feed(&step["event"]).map(|emit| json!({"emit": emit})));
    Ok(json!({"steps": emitted.collect::<Result<Vec<_>, _>>()?}))
}

fn only_member(event: &Value) -> Result<(&str, &Value), String> {
    let mut members = event.as_object().into_iter().flatten();
    match (members.next(), members.next()) {
        (Some((name, value)), None) => Ok((name, value)),
        _ => Err(format!("not an event: {event}")),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value[name].as_str().ok_or_else(|| format!("no string `{name}`"))
}

fn did(value: &Value) -> Result<Did, String> {
    field(value)
}
