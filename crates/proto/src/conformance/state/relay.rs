//! Component `relay`: the routing engine on abbreviated messages.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Clock, Members, members, shown};
use crate::relay::{Body, Config, Dequeue, Drop, Engine, Input, LegState, Message, Outcome, Output, Path, RETENTION};
use crate::wire::{Did, Kind, Ulid};

pub(super) struct Relay {
    engine: Engine,
    clock: Clock,
}

impl Relay {
    pub(super) fn new(context: &Members<'_>) -> Result<Self, String> {
        let clock = Clock::new(context)?;
        let retention = context.number("offline_retention_s")?.map_or(RETENTION, Duration::from_secs);
        // A trace expires legs by an event of its own, and its relay forgets nobody (DIS-15).
        let config = Config { retention, known_for: None, limits_legs: false, ..Config::default() };
        Ok(Self { engine: Engine::new(config), clock })
    }

    pub(super) fn feed(&mut self, event: &Members<'_>) -> Result<Vec<Value>, String> {
        let now = self.clock.0;
        let mut out = Vec::new();
        let input = if let Some(message) = event.object("recv")? {
            Input::Received(received(&message)?)
        } else if let Some(secs) = event.number("advance")? {
            self.clock.advance(secs);
            Input::Tick
        } else {
            match event.required::<String>("relay")?.as_str() {
                "bind" => Input::Bind { device: event.required("device")?, identity: event.required("identity")? },
                "unbind" => Input::Unbind { device: event.required("device")? },
                "leg_expired" => {
                    let (session, leg): (Ulid, Did) = (event.required("session")?, event.required("leg")?);
                    self.engine.expire_leg(now, session, &leg, &mut out);
                    Input::Tick
                }
                "invite" => {
                    let invite = Message {
                        id: event.required("session")?,
                        from: event.required("from")?,
                        to: event.parsed("to")?,
                        session: None,
                        in_reply_to: None,
                        expires_at: None,
                        body: Body::Invite,
                        text: "".into(),
                    };
                    self.engine.place(now, invite, event.list("legs")?, &mut out);
                    Input::Tick
                }
                other => return Err(format!("unknown relay event {other:?}")),
            }
        };
        self.engine.handle(self.clock.0, input, &mut out);
        Ok(out.into_iter().map(emission).collect())
    }

    pub(super) fn snapshot(&self, name: &str, wanted: &Value) -> Option<Value> {
        match name {
            "attempts" => {
                let ids = wanted.as_object()?.keys();
                Some(ids.map(|id| (id.clone(), id.parse().map_or(Value::Null, |id| self.attempt(id)))).collect())
            }
            "inbox" => {
                let waiting = self.engine.waiting();
                Some(waiting.map(|(to, count)| (to.to_string(), Value::from(count))).collect())
            }
            _ => None,
        }
    }

    fn attempt(&self, session: Ulid) -> Value {
        let Some((legs, outcome)) = self.engine.attempt(session) else { return Value::Null };
        let legs: Map<String, Value> =
            legs.map(|(device, state)| (device.to_string(), leg_state(state).into())).collect();
        json!({
            "legs": legs,
            "outcome": outcome.map(|outcome| match outcome {
                Outcome::Answered => "answered",
                Outcome::Rejected => "rejected",
                Outcome::Cancelled => "cancelled",
            }),
        })
    }
}

fn received(message: &Members<'_>) -> Result<Message, String> {
    let name = message.required::<String>("type")?;
    let body = match name.as_str() {
        "introduction" => Body::Introduction,
        "invite" => Body::Invite,
        "progress" => Body::Progress { status: message.required("status")? },
        "answer" => Body::Answer,
        "reject" => Body::Reject { reason: message.required("reason")? },
        "cancel" => Body::Cancel { reason: message.required("reason")? },
        other => Body::Other(Kind::of(other).ok_or_else(|| format!("unknown message type {other:?}"))?),
    };
    Ok(Message {
        id: message.required("id")?,
        from: message.required("from")?,
        to: message.parsed("to")?,
        session: message.parsed("session")?,
        in_reply_to: message.parsed("in_reply_to")?,
        expires_at: message.number("expires_at")?,
        body,
        text: "".into(),
    })
}

fn emission(output: Output) -> Value {
    match output {
        Output::Deliver { leg, message, path, .. } => {
            let with_id = matches!(path, Path::Plain | Path::Flush | Path::LateLeg);
            let reason = match &message.body {
                Body::Cancel { reason } if path == Path::Withdrawal => shown(reason),
                _ => None,
            };
            json!({"deliver": members([
                ("leg", shown(leg)),
                ("type", shown(message.body.kind().as_str())),
                ("reason", reason),
                ("id", with_id.then_some(message.id).and_then(shown)),
            ])})
        }
        Output::Forward { leg, message, .. } => {
            let (status, reason) = match &message.body {
                Body::Progress { status } => (shown(status), None),
                Body::Reject { reason } => (None, shown(reason)),
                _ => (None, None),
            };
            json!({"forward": members([
                ("type", shown(message.body.kind().as_str())),
                ("from", shown(leg)),
                ("status", status),
                ("reason", reason),
            ])})
        }
        Output::Refuse { leg, reason, .. } => json!({"forward": {"type": "reject", "from": leg, "reason": reason}}),
        Output::Error { to, reason, in_reply_to } => {
            json!({"send": {"type": "error", "to": to, "reason": reason, "in_reply_to": in_reply_to}})
        }
        Output::Queued { to, message } => json!({"queue": {"to": to, "type": message.body.kind().as_str()}}),
        Output::Dequeued { to, message, why } => {
            let why = match why {
                Dequeue::Expired => "expired",
                Dequeue::Cancelled => "cancelled",
            };
            json!({"dequeue": {"to": to, "type": message.body.kind().as_str(), "why": why}})
        }
        Output::Drop { why, .. } => json!({"drop": match why {
            Drop::UnknownLeg => "unknown-leg",
            Drop::LegTerminated => "leg-terminated",
            Drop::NotAttemptScoped => "not-attempt-scoped",
            Drop::InboxFull => "inbox-full",
        }}),
        Output::NotBound { device } => json!({"not_bound": {"device": device}}),
    }
}

fn leg_state(state: LegState) -> &'static str {
    match state {
        LegState::Delivered => "delivered",
        LegState::Answered => "answered",
        LegState::Rejected => "rejected",
        LegState::Expired => "expired",
        LegState::Cancelled => "cancelled",
    }
}
