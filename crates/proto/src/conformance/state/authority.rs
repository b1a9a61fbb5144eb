//! Component `authority`: publications, statements and subscriptions on abbreviated messages.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Clock, Members, members, shown};
use crate::conformance::field;
use crate::subscribe::authority::{Authority as Engine, Body, Input, Mode, Notify, Output, Received};
use crate::wire::token::Operation;
use crate::wire::{Did, Reason};

pub(super) struct Authority {
    engine: Engine,
    clock: Clock,
    identities: BTreeMap<Did, Did>,
}

impl Authority {
    pub(super) fn new(context: &Members<'_>) -> Result<Self, String> {
        let clock = Clock::new(context)?;
        let identities = super::identities(context)?;
        // AUT-41: whoever appears as an identity in the device map is known.
        Ok(Self { engine: Engine::new(clock.0, identities.values().cloned()), clock, identities })
    }

    pub(super) fn feed(&mut self, event: &Members<'_>) -> Result<Vec<Value>, String> {
        let input = if let Some(message) = event.object("recv")? {
            let device: Did = message.required("from")?;
            let identity = self.identities.get(&device).unwrap_or(&device).clone();
            Input::Received(Received { device, identity, body: body(&message)? })
        } else if let Some(secs) = event.number("advance")? {
            self.clock.advance(secs);
            Input::Tick
        } else {
            let name = event.parsed::<String>("relay")?.map_or_else(|| event.required("local"), Ok)?;
            match name.as_str() {
                "bind" => Input::Bind { device: event.required("device")?, identity: event.required("identity")? },
                "unbind" => Input::Unbind { device: event.required("device")?, identity: event.required("identity")? },
                "policy" => Input::Policy { target: event.required("target")?, mode: mode(event)? },
                "issue_capability" => {
                    Input::IssueCapability { token: event.required("token")?, target: event.required("target")? }
                }
                other => return Err(format!("unknown authority event {other:?}")),
            }
        };
        let mut out = Vec::new();
        self.engine.handle(self.clock.0, input, &mut out);
        Ok(out.into_iter().filter_map(emission).collect())
    }

    pub(super) fn snapshot(&self, name: &str) -> Option<Value> {
        match name {
            "publications" => {
                let records = self.engine.publications().map(|(stream, record)| {
                    let snapshot = json!({
                        "publication": record.publication,
                        "publisher": record.publisher,
                        "state": record.state.as_str(),
                    });
                    (stream.to_owned(), snapshot)
                });
                Some(records.collect())
            }
            "subscriptions" => {
                let held = self.engine.subscriptions().map(|(id, held)| {
                    let snapshot = json!({
                        "subscriber": held.subscriber,
                        "target": &*held.target,
                        "events": held.events,
                        "seq": held.seq,
                        "expires_at": held.expires_at,
                    });
                    (id.to_string(), snapshot)
                });
                Some(held.collect())
            }
            _ => None,
        }
    }
}

fn body(message: &Members<'_>) -> Result<Body, String> {
    Ok(match message.required::<String>("type")?.as_str() {
        "publish" => Body::Publish {
            id: message.required("id")?,
            publisher: message.required("publisher")?,
            stream: message.required("stream_id")?,
            state: message.required("state")?,
            variants: variants(message),
            policy: message.get("policy").map(field).transpose()?,
            expires_at: message.number("expires_at")?.unwrap_or(u64::MAX),
        },
        "unpublish" => {
            Body::Unpublish { stream: message.required("stream_id")?, publication: message.required("publication")? }
        }
        "provenance" => Body::Provenance {
            stream: message.required("original_stream")?,
            publication: message.required("original_publication")?,
            processor: message.required("processor")?,
            operation: message.parsed("operation")?.unwrap_or(Operation::RELAY),
            input_variant: message.required("input_variant")?,
        },
        "subscribe" => Body::Subscribe {
            id: message.required("id")?,
            target: message.required("target")?,
            events: message.list("events")?,
            expires_in: super::seconds(message, "expires_in")?,
            capability: message.parsed("capability")?,
        },
        _ => Body::Other,
    })
}

fn variants(message: &Members<'_>) -> Vec<String> {
    let variants = message.get("variants").and_then(Value::as_array).into_iter().flatten();
    variants.filter_map(|variant| variant["id"].as_str()).map(str::to_owned).collect()
}

fn mode(event: &Members<'_>) -> Result<Mode, String> {
    match event.required::<String>("mode")?.as_str() {
        "public" => Ok(Mode::Public),
        "allow" => Ok(Mode::Allow(event.list("allow")?.into_iter().collect())),
        other => Err(format!("unknown mode {other:?}")),
    }
}

/// None for what the engine tells its host alone.
fn emission(output: Output) -> Option<Value> {
    Some(match output {
        Output::Forgotten { .. } => return None,
        Output::Publication { stream, state } => {
            json!({"publication": {"stream": &*stream, "state": state.as_str()}})
        }
        Output::Provenance { stream, processor } => {
            json!({"provenance": {"stream": &*stream, "processor": processor}})
        }
        Output::Subscription { id, gone } => json!({"subscription": {"id": id, "state": gone.as_str()}}),
        Output::Notify(Notify { to, subscription, seq, state, reason, body }) => json!({"send": members([
            ("type", Some("notify".into())),
            ("to", shown(to)),
            ("subscription", shown(subscription)),
            ("seq", Some(seq.into())),
            ("state", shown(state)),
            ("reason", reason.and_then(shown)),
            ("body", Some(body.to_map().into())),
        ])}),
        Output::Reject { to, session } => json!({"send": members([
            ("type", Some("reject".into())),
            ("to", shown(to)),
            ("session", shown(session)),
            ("reason", shown(Reason::POLICY_BLOCKED)),
        ])}),
        Output::Drop(why) => json!({"drop": why.as_str()}),
    })
}
