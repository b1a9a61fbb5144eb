//! Component `subscriber`: one party's own subscriptions on abbreviated messages.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Clock, Members, members, shown};
use crate::subscribe::subscriber::{Input, Notify, Output, Request, Subscriber as Engine};
use crate::wire::{Did, Reason};

pub(super) struct Subscriber {
    engine: Engine,
    clock: Clock,
    identities: BTreeMap<Did, Did>,
}

impl Subscriber {
    pub(super) fn new(context: &Members<'_>) -> Result<Self, String> {
        let clock = Clock::new(context)?;
        Ok(Self { engine: Engine::new(clock.0), clock, identities: super::identities(context)? })
    }

    pub(super) fn feed(&mut self, event: &Members<'_>) -> Result<Vec<Value>, String> {
        let input = if let Some(message) = event.object("recv")? {
            self.received(&message)?
        } else if let Some(secs) = event.number("advance")? {
            self.clock.advance(secs);
            Input::Tick
        } else {
            match event.required::<String>("local")?.as_str() {
                "subscribe" => Input::Subscribe(Request {
                    id: event.required("id")?,
                    to: event.required("to")?,
                    target: event.required("target")?,
                    events: event.list("events")?,
                    expires_in: super::seconds(event, "expires_in")?,
                }),
                other => return Err(format!("unknown subscriber event {other:?}")),
            }
        };
        let mut out = Vec::new();
        self.engine.handle(self.clock.0, input, &mut out);
        Ok(out.into_iter().map(emission).collect())
    }

    pub(super) fn snapshot(&self, name: &str) -> Option<Value> {
        if name != "subscriptions" {
            return None;
        }
        let held = self.engine.subscriptions().map(|(id, held)| {
            (id.to_string(), json!({"target": held.target, "state": held.state.as_str(), "seq": held.seq}))
        });
        Some(held.collect())
    }

    fn received(&self, message: &Members<'_>) -> Result<Input, String> {
        let device: Did = message.required("from")?;
        let identity = self.identities.get(&device).unwrap_or(&device).clone();
        let from = (device, identity);
        Ok(match message.required::<String>("type")?.as_str() {
            "notify" => Input::Notify(Notify {
                from,
                subscription: message.required("subscription")?,
                seq: message.number("seq")?.unwrap_or_default(),
                state: message.required("state")?,
                reason: message.parsed("reason")?,
                body: message.object("body")?.map(|body| body.0.clone()).unwrap_or_default(),
            }),
            "reject" => {
                let reason = message.parsed("reason")?.unwrap_or(Reason::SESSION_FAILED);
                Input::Reject { from, session: message.required("session")?, reason }
            }
            _ => Input::Other,
        })
    }
}

fn emission(output: Output) -> Value {
    match output {
        Output::Send(Request { id, to, target, events, expires_in }) => json!({"send": members([
            ("type", Some("subscribe".into())),
            ("to", shown(to)),
            ("id", shown(id)),
            ("target", Some(target.into())),
            ("events", Some(json!(events))),
            ("expires_in", Some(expires_in.into())),
        ])}),
        Output::Told { event, state } => json!({"ui": "notify", "event": event, "state": state}),
        Output::Terminated(reason) => json!({"ui": "subscription_terminated", "reason": reason}),
        Output::Rejected(reason) => json!({"ui": "subscription_rejected", "reason": reason}),
        Output::Lapsed(id) => json!({"ui": "subscription_lapsed", "subscription": id}),
        Output::Drop(why) => json!({"drop": why.as_str()}),
        Output::Refused(id) => json!({"refused": "subscription-limit", "subscription": id}),
    }
}
