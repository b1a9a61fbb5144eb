//! Vectors that need signatures, and those for single messages: the pipeline, field tables, semantics, hints, broadcast,
//! trust lines. Inputs are signed here, by keys made from names.

mod broadcast;
mod dht;
mod envelope;
mod payload;
mod people;
mod semantic;
mod transport;
mod trust;

use serde_json::{Value, json};

use super::Vector;

/// The receiver's clock in every vector that does not say otherwise.
const NOW: u64 = 1_770_000_000;

/// One vector: which rules it is about, what is fed, what has to come out.
struct Case {
    kind: &'static str,
    name: String,
    rules: &'static [&'static str],
    about: &'static str,
    context: Value,
    input: Value,
    expect: Value,
}

pub(super) fn vectors() -> Vec<Vector> {
    [
        broadcast::cases(),
        dht::cases(),
        envelope::cases(),
        payload::cases(),
        semantic::cases(),
        transport::cases(),
        trust::cases(),
    ]
    .into_iter()
    .flatten()
    .map(|case| {
        let vector = Vector::new(case.kind, &case.name, case.rules, case.about);
        vector.context(case.context).input(case.input).expect(case.expect)
    })
    .collect()
}

fn reject(code: &str) -> Value {
    json!({"verdict": "reject", "code": code})
}

fn reject_with(code: &str, reason: &str) -> Value {
    json!({"verdict": "reject", "code": code, "reason": reason})
}

/// `value` with `change` applied.
fn with(mut value: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut value);
    value
}

/// `value` with the member `name` set.
fn set(value: Value, name: &str, member: impl Into<Value>) -> Value {
    with(value, |value| value[name] = member.into())
}

/// `value` without the member `name`.
fn unset(value: Value, name: &str) -> Value {
    with(value, |value| {
        value.as_object_mut().expect("an object").remove(name);
    })
}
