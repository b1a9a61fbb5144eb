//! Kind `media-binding` (file 07, section 3): the checks, roles, candidates, renegotiation and one-answer walk of file 04.

use serde_json::{Value, json};

use super::Vector;
use crate::binding::webrtc::{
    self, Applies, Change, Credentials, Data, Descriptors, Exchange, Ice, Input, Leg, Medium, OneAnswer, Output,
    Refusal, Renegotiation, Side, Step, Transport,
};
use crate::wire::Did;

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let input = &vector.input;
    match text(input, "check")? {
        "offer" => Ok(verdict(webrtc::offer(&descriptors(&input["payload"])))),
        "answer" => Ok(verdict(webrtc::answer(&descriptors(&input["offer"]), &descriptors(&input["payload"])))),
        "role" => role(input),
        "candidates" => candidates(vector),
        "renegotiation" => renegotiation(vector),
        "one-answer" => one_answer(input),
        unknown => Err(format!("unknown check {unknown:?}")),
    }
}

/// The decoded, partial payloads of these vectors, as the checks read them.
fn descriptors(payload: &Value) -> Descriptors<'_> {
    let elements = |name: &str| payload[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let media = elements("media").iter().map(|medium| Medium {
        kind: medium["type"].as_str().unwrap_or_default(),
        direction: medium["direction"].as_str().unwrap_or_default(),
        codecs: medium["codecs"].as_array().into_iter().flatten().filter_map(|codec| codec["id"].as_str()).collect(),
    });
    let transport = elements("transports").first().map(|transport| Transport {
        id: transport["id"].as_str().unwrap_or_default(),
        ice: Ice::read(transport.get("ice").map(Value::as_str)),
        sdp: transport["sdp"].as_str(),
    });
    Descriptors { media: media.collect(), transport }
}

fn verdict(outcome: Result<Applies, Refusal>) -> Value {
    match outcome {
        Ok(Applies::WebRtc) => json!({"verdict": "accept"}),
        Ok(Applies::NotWebRtc) => json!({"verdict": "accept", "binding": "not-webrtc"}),
        Err(refusal) => rejection(refusal),
    }
}

fn rejection(refusal: Refusal) -> Value {
    json!({"verdict": "reject", "code": refusal.code.as_str(), "reason": refusal.reason()})
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
            "local_candidate" => Input::LocalCandidate(decode(value)?),
            "gathering_complete" => Input::GatheringComplete,
            "active" => Input::Active,
            "remote_description" => Input::RemoteDescription,
            "remote_info" => Input::Info {
                from: did(&value["from"])?,
                data: Data {
                    candidates: decode(&value["candidates"])?,
                    end_of_candidates: decode(&value["end_of_candidates"])?,
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
        Step::Reject { reason, detail } => json!({"reject": {"reason": reason, "detail": detail}}),
        Step::LocalBug { code, detail } => json!({"error": code, "detail": detail}),
        Step::NoPendingOffer => json!({"ignore": "no-pending-offer"}),
    }
}

fn one_answer(input: &Value) -> Result<Value, String> {
    let mut walk = OneAnswer::new(&descriptors(&input["offer"]));
    let mut applied = Value::Null;
    let mut legs = Vec::new();
    for answer in input["answers"].as_array().ok_or("no array `answers`")? {
        let from = &answer["from"];
        let leg = walk.judge(&descriptors(answer));
        legs.push(match leg {
            Leg::Applied => {
                applied = from.clone();
                json!({"from": from, "applied": true})
            }
            Leg::Failed(refusal) => json!({"from": from, "bye": leg.bye(), "code": refusal.code.as_str()}),
            Leg::Released => json!({"from": from, "bye": leg.bye()}),
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
    decode(value)
}

fn decode<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| format!("{value}: {error}"))
}
