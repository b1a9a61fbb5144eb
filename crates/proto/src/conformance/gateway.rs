//! Kind `gateway` (file 07, section 4): reason tables, media mapping, claims, downgrade and controller traces of file 05.

use serde_json::{Value, json};

use super::{Vector, field};
use crate::gateway::reason::{self, Header, Phase};
use crate::gateway::{
    Attestation, Caller, Controller, Direction, EarlyMedia, Facts, FromDsip, FromSip, Input, MediaAnchor, Output,
    Passport, ToDsip, ToSip, trunk,
};
use crate::trust;
use crate::wire::media::MediaDescriptor;
use crate::wire::token::{self, AnsweredBy, Status};
use crate::wire::{Did, Reason};

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let input = &vector.input;
    match text(input, "check")? {
        "reason-inbound" => reason_inbound(input),
        "reason-outbound" => reason_outbound(input),
        "sdp-to-descriptors" => Ok(sdp_to_descriptors(text(input, "sdp")?)),
        "descriptors-to-sdp" => Ok(
            json!({"m_lines": trunk::write(&field::<Vec<MediaDescriptor>>(&input["media"])?).iter().map(m_line).collect::<Vec<_>>()}),
        ),
        "claims" => {
            let claim = caller(input)?.claim(gateway()?).to_json();
            Ok(json!({"trust_basis": trust::tel_line(&claim), "claim": claim}))
        }
        "downgrade" => {
            let lost = facts(&input["facts"])?.losses();
            Ok(json!({"downgraded": !lost.is_empty(), "lost": lost}))
        }
        // The detail travels as text (GW-116); what is pinned is the value it stands for.
        "downgrade-error" => match facts(&input["facts"])?.detail() {
            Some(detail) => serde_json::from_str(&detail).map_err(|error| error.to_string()),
            None => Ok(Value::Null),
        },
        "trace" => trace(vector),
        unknown => Err(format!("unknown check {unknown:?}")),
    }
}

fn reason_inbound(input: &Value) -> Result<Value, String> {
    let moved_to = input["moved_to"].as_str();
    let mapped = reason::inbound(number(input, "sip_status")?, number(input, "q850")?, phase(input)?, moved_to);
    let mut result = json!({"reason": mapped.reason.as_str(), "carry": mapped.carry.as_str()});
    if let Some(detail) = mapped.detail {
        result["detail"] = detail.into();
    }
    Ok(result)
}

fn reason_outbound(input: &Value) -> Result<Value, String> {
    let reason: Reason = field(&input["reason"])?;
    if phase(input)? == Phase::Active {
        let q850 = reason::outbound_bye(&reason);
        return Ok(json!({"method": "BYE", "q850": q850, "reason_header": header(&Header(reason))}));
    }
    let mapped = reason::outbound(&reason);
    let mut result = json!({"status": mapped.status, "reason_header": header(&Header(reason))});
    if let Some(q850) = mapped.q850 {
        result["q850"] = q850.into();
    }
    if mapped.retry_after {
        result["retry_after"] = true.into();
    }
    Ok(result)
}

fn phase(input: &Value) -> Result<Phase, String> {
    match input["phase"].as_str() {
        None | Some("pre-answer") => Ok(Phase::PreAnswer),
        Some("active") => Ok(Phase::Active),
        Some("transport") => Ok(Phase::Transport),
        Some(unknown) => Err(format!("unknown phase {unknown:?}")),
    }
}

fn sdp_to_descriptors(sdp: &str) -> Value {
    let Ok(trunk) = trunk::read(sdp) else {
        return json!({"error": "unparseable"});
    };
    let media = trunk.media.iter().map(|medium| {
        let codecs: Vec<_> = medium.codecs.iter().map(|codec| json!({"id": codec.id()})).collect();
        json!({"type": medium.kind, "direction": medium.direction, "codecs": codecs})
    });
    json!({"media": media.collect::<Vec<_>>(), "srtp": trunk.srtp.as_str()})
}

fn m_line(medium: &trunk::Medium) -> Value {
    let encodings: Vec<_> = medium.codecs.iter().map(|codec| codec.encoding()).collect();
    json!({"kind": medium.kind, "encodings": encodings, "direction": medium.direction})
}

fn caller(input: &Value) -> Result<Caller, String> {
    let passport = input.get("identity").filter(|identity| !identity.is_null()).map(|identity| Passport {
        attestation: Attestation::parse(identity["attest"].as_str().unwrap_or_default()),
        verified: identity["verified"] == true,
        orig: identity["orig_tn"].as_str().map(str::to_owned),
    });
    let cnam = input["cnam"].as_str().map(str::to_owned);
    Ok(Caller { number: text(input, "from_tn")?.to_owned(), passport, cnam })
}

fn facts(facts: &Value) -> Result<Facts, String> {
    let flag = |name: &str| facts[name] == true;
    Ok(Facts {
        direction: direction(facts)?,
        trunk_srtp: flag("trunk_srtp"),
        identity_assertable: flag("identity_assertable"),
        attestation: Attestation::parse(facts["attestation"].as_str().unwrap_or_default()),
        policy_present: flag("policy_present"),
    })
}

fn direction(of: &Value) -> Result<Direction, String> {
    match of["direction"].as_str() {
        None | Some("outbound") => Ok(Direction::Outbound),
        Some("inbound") => Ok(Direction::Inbound),
        Some(unknown) => Err(format!("unknown direction {unknown:?}")),
    }
}

fn trace(vector: &Vector) -> Result<Value, String> {
    let early_media = match vector.context["early_media"].as_str() {
        None | Some("auto") => EarlyMedia::Auto,
        Some("always") => EarlyMedia::Always,
        Some("never") => EarlyMedia::Never,
        Some(unknown) => return Err(format!("unknown early media {unknown:?}")),
    };
    let mut controller = Controller::new(gateway()?, direction(&vector.context)?, early_media);
    let mut steps = Vec::new();
    for step in vector.input["steps"].as_array().ok_or("no array `steps`")? {
        let mut out = Vec::new();
        controller.handle(event(&step["event"])?, &mut out);
        let emit: Vec<_> = out.into_iter().map(emission).collect();
        let state = json!({"dsip": controller.dsip().as_str(), "sip": controller.sip().as_str()});
        steps.push(json!({"emit": emit, "state": state}));
    }
    Ok(json!({"steps": steps}))
}

fn event(event: &Value) -> Result<Input, String> {
    if let Some(message) = event.get("dsip") {
        from_dsip(message).map(Input::Dsip)
    } else if let Some(message) = event.get("sip") {
        from_sip(message).map(Input::Sip)
    } else if event["timer"] == "C" {
        Ok(Input::TimerC)
    } else {
        Err(format!("not an event: {event}"))
    }
}

fn from_dsip(message: &Value) -> Result<FromDsip, String> {
    let reason = || message.get("reason").map(field::<Reason>).transpose();
    Ok(match text(message, "type")? {
        "invite" => FromDsip::Invite,
        "progress" => FromDsip::Progress(message.get("status").map_or(Ok(Status::RINGING), field)?),
        "answer" => FromDsip::Answer(message.get("answered_by").map_or(Ok(AnsweredBy::USER), field)?),
        "reject" => FromDsip::Reject(reason()?),
        "cancel" => FromDsip::Cancel,
        "update" => FromDsip::Update { direction: flow(message)?, adds_video: false },
        "bye" => FromDsip::Bye(reason()?),
        _ => FromDsip::Other,
    })
}

fn from_sip(message: &Value) -> Result<FromSip, String> {
    if let Some(status) = number(message, "status")? {
        let moved_to = message["moved_to"].as_str().map(str::to_owned);
        let q850 = number(message, "q850")?;
        return Ok(FromSip::Response { status, sdp: message["sdp"] == true, q850, moved_to, announcement: None });
    }
    Ok(match text(message, "request")? {
        "INVITE" => FromSip::Invite(caller(message)?),
        "ACK" => FromSip::Ack,
        "BYE" => FromSip::Bye(number(message, "q850")?),
        "CANCEL" => FromSip::Cancel,
        "REFER" => FromSip::Refer,
        "re-INVITE" => FromSip::Reinvite(flow(message)?),
        _ => FromSip::Other,
    })
}

fn emission(output: Output) -> Value {
    match output {
        Output::Sip(message) => json!({"sip": to_sip(message)}),
        Output::Dsip(event) => json!({"dsip": to_dsip(event)}),
        Output::Media(MediaAnchor::Bridge) => json!({"media": "bridge"}),
        Output::Media(MediaAnchor::Release) => json!({"media": "release"}),
        Output::Ignored => json!({"ignore": "no meaning here"}),
    }
}

fn to_sip(message: ToSip) -> Value {
    match message {
        ToSip::Invite => "INVITE".into(),
        ToSip::Ack => "ACK".into(),
        ToSip::Cancel => "CANCEL".into(),
        ToSip::Response(status) => json!({"response": status}),
        ToSip::Accept(direction) => json!({"response": 200, "direction": direction}),
        ToSip::Refuse { with, header: reason } => {
            json!({"response": with.status, "q850": with.q850, "reason_header": header(&reason)})
        }
        ToSip::Bye { q850, header: reason } => {
            json!({"request": "BYE", "q850": q850, "reason_header": header(&reason)})
        }
        ToSip::Reinvite(direction) => json!({"request": "re-INVITE", "direction": direction}),
    }
}

fn to_dsip(event: ToDsip) -> Value {
    match event {
        ToDsip::Alert => json!({"local": "alert"}),
        ToDsip::Accept => json!({"local": "accept", "answered_by": AnsweredBy::GATEWAY.as_str()}),
        ToDsip::AutoReject { reason, detail: None } => json!({"local": "auto_reject", "reason": reason.as_str()}),
        ToDsip::AutoReject { reason, detail: Some(detail) } => {
            json!({"local": "auto_reject", "reason": reason.as_str(), "detail": detail})
        }
        ToDsip::Hangup(reason) => json!({"local": "hangup", "reason": reason.as_str()}),
        ToDsip::PlaceCall { claim, trust_basis } => {
            json!({"local": "place_call", "claims": [claim.to_json()], "trust_basis": trust_basis})
        }
        ToDsip::Cancel => json!({"local": "cancel"}),
        ToDsip::Update(direction) => json!({"local": "update", "direction": direction}),
        ToDsip::RejectUpdate(reason) => json!({"local": "reject_update", "reason": reason.as_str()}),
    }
}

fn header(header: &Header) -> Value {
    json!({"protocol": "DSIP", "text": header.0.as_str()})
}

/// The gateway that these vectors speak of (GW-94).
fn gateway() -> Result<Did, String> {
    "did:web:gw.example".parse().map_err(|error| format!("{error}"))
}

fn flow(message: &Value) -> Result<token::Direction, String> {
    message.get("direction").map_or(Ok(token::Direction::SendRecv), field)
}

fn number(input: &Value, name: &str) -> Result<Option<u16>, String> {
    let narrow = |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok());
    input.get(name).map(|value| narrow(value).ok_or_else(|| format!("`{name}` is no code"))).transpose()
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value[name].as_str().ok_or_else(|| format!("no string `{name}`"))
}
