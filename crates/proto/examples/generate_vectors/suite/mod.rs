//! The vectors, as (name, text).

mod broadcast;
mod dht;
mod envelope;
mod payload;
mod people;
mod semantic;
mod transport;
mod trust;

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The receiver's clock in every vector that does not say otherwise.
pub(crate) const NOW: u64 = 1_770_000_000;

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

/// Every file, by its path below the vectors root without `.json`.
pub(crate) fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let cases = [
        broadcast::cases(),
        dht::cases(),
        envelope::cases(),
        payload::cases(),
        semantic::cases(),
        transport::cases(),
        trust::cases(),
    ];
    for case in cases.into_iter().flatten() {
        let id = format!("{}/{}", case.kind, case.name);
        let vector = json!({
            "vector": id, "format": 1, "kind": case.kind, "description": case.about, "spec_ref": case.rules,
            "context": case.context, "input": case.input, "expect": case.expect,
        });
        let text = serde_json::to_string_pretty(&vector).expect("plain data serialises");
        assert!(files.insert(id.clone(), format!("{text}\n")).is_none(), "two vectors called {id}");
    }
    files
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
