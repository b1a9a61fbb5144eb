//! Kind `state` (README V.6, V.7): feeds a vector's events to one engine and compares after each step.

mod authority;
mod endpoint;
mod relay;
mod subscriber;

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{Vector, difference};
use crate::wire::Did;

/// The engine that a vector drives.
enum Component {
    Endpoint(endpoint::Endpoint),
    Relay(relay::Relay),
    Authority(authority::Authority),
    Subscriber(subscriber::Subscriber),
}

/// Drives the vector's engine through its steps. The first step that differs fails the vector.
pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let context = Members::of(&vector.context)?;
    let mut component = match context.text("component")?.unwrap_or("endpoint") {
        "endpoint" => Component::Endpoint(endpoint::Endpoint::new(&context)?),
        "relay" => Component::Relay(relay::Relay::new(&context)?),
        "authority" => Component::Authority(authority::Authority::new(&context)?),
        "subscriber" => Component::Subscriber(subscriber::Subscriber::new(&context)?),
        other => return Err(format!("unknown component {other:?}")),
    };
    let steps = vector.input.get("steps").and_then(Value::as_array).ok_or("no `input.steps`")?;
    for (at, step) in steps.iter().enumerate() {
        let event = step.get("event").ok_or("a step without `event`")?;
        let expect = step.get("expect").ok_or("a step without `expect`")?;
        let produced = component.step(event, expect).map_err(|problem| format!("step {at}, {event}: {problem}"))?;
        if let Some(difference) = difference(&produced, expect) {
            return Err(format!("step {at}, {event}:\n{difference}"));
        }
    }
    Ok(vector.expect.clone())
}

impl Component {
    /// Feeds one event; what came of it, with the snapshots that `expect` asks for.
    fn step(&mut self, event: &Value, expect: &Value) -> Result<Value, String> {
        let event = Members::of(event)?;
        let emitted = match self {
            Self::Endpoint(endpoint) => endpoint.feed(&event)?,
            Self::Relay(relay) => relay.feed(&event)?,
            Self::Authority(authority) => authority.feed(&event)?,
            Self::Subscriber(subscriber) => subscriber.feed(&event)?,
        };
        let mut produced = Map::from_iter([("emit".to_owned(), Value::Array(emitted))]);
        for (name, wanted) in Members::of(expect)?.0.iter().filter(|(name, _)| *name != "emit") {
            let snapshot = match self {
                Self::Endpoint(endpoint) => endpoint.snapshot(name, wanted),
                Self::Relay(relay) => relay.snapshot(name, wanted),
                Self::Authority(authority) => authority.snapshot(name),
                Self::Subscriber(subscriber) => subscriber.snapshot(name),
            };
            produced.insert(name.clone(), snapshot.ok_or_else(|| format!("no snapshot is called {name:?}"))?);
        }
        Ok(Value::Object(produced))
    }
}

/// The members of an object in a vector file.
struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    fn of(value: &'a Value) -> Result<Self, String> {
        value.as_object().map(Self).ok_or_else(|| format!("not an object: {value}"))
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name)
    }

    fn object(&self, name: &str) -> Result<Option<Members<'a>>, String> {
        self.get(name).map(Members::of).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| format!("`{name}` is not a string"))).transpose()
    }

    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        self.get(name).map(|value| value.as_u64().ok_or_else(|| format!("`{name}` is not a number"))).transpose()
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|_| format!("`{name}` is malformed: {text:?}"))).transpose()
    }

    fn list<T: FromStr>(&self, name: &str) -> Result<Vec<T>, String> {
        let malformed = || format!("`{name}` is malformed");
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(malformed)?.iter();
        items.map(|item| item.as_str().and_then(|text| text.parse().ok()).ok_or_else(malformed)).collect()
    }

    /// A member that has to be there.
    fn required<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.parsed(name)?.ok_or_else(|| format!("no `{name}`"))
    }
}

/// The identity of each device that the trace names (VF-20).
fn identities(context: &Members<'_>) -> Result<BTreeMap<Did, Did>, String> {
    let Some(identities) = context.object("identities")? else { return Ok(BTreeMap::new()) };
    let devices = identities.0.keys();
    let pair = |device: &String| {
        let parsed = device.parse().map_err(|_| format!("not a DID: {device:?}"))?;
        Ok((parsed, identities.required(device)?))
    };
    devices.map(pair).collect()
}

fn seconds(members: &Members<'_>, name: &str) -> Result<u32, String> {
    let seconds = members.number(name)?.ok_or_else(|| format!("no `{name}`"))?;
    u32::try_from(seconds).map_err(|_| format!("`{name}` is out of range"))
}

/// An object of the members that are set.
fn members<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What something displays as, as a JSON string.
fn shown(value: impl std::fmt::Display) -> Option<Value> {
    Some(Value::String(value.to_string()))
}

/// The clock of a trace: it stands at `start` and moves by `advance` alone.
struct Clock(crate::time::Now);

impl Clock {
    fn new(context: &Members<'_>) -> Result<Self, String> {
        let wall = crate::time::Wall::from_secs(context.number("start")?.unwrap_or_default());
        Ok(Self(crate::time::Now { tick: crate::time::Tick::default(), wall }))
    }

    fn advance(&mut self, secs: u64) {
        self.0 = self.0.later(std::time::Duration::from_secs(secs));
    }
}
