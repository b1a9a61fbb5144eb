//! Runs language-neutral conformance vectors against the shipping code.
//!
//! A vector is one JSON file: a `kind`, a `context`, an `input` and what is to come out, `expect` (VEC-1, VEC-2, VF-1).
//! Each kind has a module here that feeds the vector's input to the code under test and returns what that code produced;
//! this module compares it with `expect` (VEC-3, VF-2). The runner opens no file: a caller hands in names and texts.

mod broadcast;
mod dht;
mod envelope;
mod gateway;
mod media_binding;
mod payload;
mod semantic;
mod state;
mod trust;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Map, Value};

use crate::wire::{Field, json};

/// One conformance vector, parsed by an ordinary JSON parser (VEC-5).
#[derive(Debug, Clone)]
pub(crate) struct Vector {
    /// The vector's id: its path below the vectors root without `.json` (VEC-2).
    pub(crate) id: String,
    /// Which engine it drives; equals the folder's name.
    pub(crate) kind: String,
    /// What the receiver knows beforehand.
    pub(crate) context: Value,
    /// What is fed.
    pub(crate) input: Value,
    /// What has to come out.
    pub(crate) expect: Value,
}

/// What became of one vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The vector's id, or the name it was handed in under where the text does not say.
    pub id: String,
    /// Why it failed, over one or more lines; `None` if it passed.
    pub failure: Option<String>,
}

/// What became of many vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// One outcome per vector, in the order they were handed in.
    pub outcomes: Vec<Outcome>,
}

impl Outcome {
    /// Whether the code produced exactly what the vector expects.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

impl Report {
    /// How many vectors passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.passed()).count()
    }

    /// How many vectors failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.outcomes.len() - self.passed()
    }

    /// Whether something ran and all of it passed; running nothing is not a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        !self.outcomes.is_empty() && self.failed() == 0
    }
}

impl fmt::Display for Report {
    /// Each failure with its difference, then the totals as the last line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            if let Some(failure) = &outcome.failure {
                writeln!(f, "FAIL {}", outcome.id)?;
                for line in failure.lines() {
                    writeln!(f, "     {line}")?;
                }
            }
        }
        write!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}

/// Runs vectors given as (name, text); a name is the path below the vectors root without `.json`.
///
/// A vector whose id differs from the name it is filed under fails (VEC-2).
pub fn run_all<N: AsRef<str>, T: AsRef<str>>(vectors: impl IntoIterator<Item = (N, T)>) -> Report {
    let outcomes = vectors
        .into_iter()
        .map(|(name, text)| {
            let name = name.as_ref();
            let mut outcome = run(text.as_ref());
            if outcome.id != name && outcome.failure.is_none() {
                outcome.failure = Some(format!("the file calls itself {:?}", outcome.id));
            }
            name.clone_into(&mut outcome.id);
            outcome
        })
        .collect();
    Report { outcomes }
}

/// Runs one vector. A malformed vector, an unknown kind and a panic are failures, never skips (VEC-4, VF-3).
#[must_use]
pub fn run(text: &str) -> Outcome {
    let vector = match Vector::parse(text) {
        Ok(vector) => vector,
        Err(problem) => return Outcome { id: String::new(), failure: Some(problem) },
    };
    let produced = catch_unwind(AssertUnwindSafe(|| vector.produce()));
    let failure = match produced {
        Ok(Ok(produced)) => difference(&produced, &vector.expect),
        Ok(Err(problem)) => Some(problem),
        Err(panic) => Some(format!("panicked: {}", panic_text(panic.as_ref()))),
    };
    Outcome { id: vector.id, failure }
}

impl Vector {
    fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(mut members) = value else { return Err("not a JSON object".into()) };
        if members.get("format").and_then(Value::as_u64) != Some(1) {
            return Err("`format` is not 1".into());
        }
        let mut string = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(format!("no string `{name}`")),
        };
        let (id, kind) = (string("vector")?, string("kind")?);
        let context = members.remove("context").unwrap_or_else(|| Value::Object(Map::new()));
        let input = members.remove("input").ok_or("no `input`")?;
        let expect = members.remove("expect").ok_or("no `expect`")?;
        Ok(Self { id, kind, context, input, expect })
    }

    /// What the code under test makes of the input, in the shape of `expect`.
    ///
    /// A module for another kind plugs in here: `pub(super) fn run(vector: &Vector) -> Result<Value, String>`. One that
    /// compares by itself, step by step, returns `vector.expect` unchanged when all is as expected, else an `Err`.
    fn produce(&self) -> Result<Value, String> {
        match self.kind.as_str() {
            "state" => state::run(self),
            "payload" => payload::run(self),
            "gateway" => gateway::run(self),
            "media-binding" => media_binding::run(self),
            "trust" => trust::run(self),
            "broadcast" => broadcast::run(self),
            "dht" => dht::run(self),
            "envelope" | "transport" => envelope::run(self),
            "semantic" => semantic::run(self),
            unknown => Err(format!("unknown kind {unknown:?}")),
        }
    }
}

/// Reads a value of a vector as the shipping decoder reads it off the wire.
pub(crate) fn field<T: Field>(value: &Value) -> Result<T, String> {
    let text = value.to_string();
    let parsed = json::parse(&text).map_err(|_| format!("not strict JSON: {text}"))?;
    T::read(parsed.root).map_err(|error| format!("{text}: {error}"))
}

/// Where two JSON values differ, one line per place; `None` if they are equal (VEC-3, VF-2: absent is not null).
pub(crate) fn difference(produced: &Value, expected: &Value) -> Option<String> {
    let mut lines = Vec::new();
    compare("", Some(produced), Some(expected), &mut lines);
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn compare(path: &str, produced: Option<&Value>, expected: Option<&Value>, lines: &mut Vec<String>) {
    match (produced, expected) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names = b.keys().chain(a.keys().filter(|name| !b.contains_key(*name)));
            for name in names {
                compare(&format!("{path}/{name}"), a.get(name), b.get(name), lines);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                compare(&format!("{path}/{at}"), a.get(at), b.get(at), lines);
            }
        }
        (a, b) if a == b => {}
        (a, b) => {
            let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            let place = if path.is_empty() { "/" } else { path };
            lines.push(format!("{place}: expected {}, got {}", show(b), show(a)));
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn vec_3_extra_missing_and_null_members_differ() {
        assert_eq!(difference(&json!({"a": 1, "b": [1, 2]}), &json!({"b": [1, 2], "a": 1})), None);
        assert_eq!(difference(&json!({}), &json!({"a": null})).as_deref(), Some("/a: expected null, got nothing"));
        assert_eq!(
            difference(&json!({"a": [1], "x": 0}), &json!({"a": [1, 2]})).as_deref(),
            Some("/a/1: expected 2, got nothing\n/x: expected nothing, got 0")
        );
    }

    #[test]
    fn vec_4_unknown_kind_is_a_failure() {
        let outcome = run(r#"{"vector":"x/y","format":1,"kind":"x","context":{},"input":{},"expect":{}}"#);
        assert_eq!(outcome.failure.as_deref(), Some("unknown kind \"x\""));
    }

    #[test]
    fn an_empty_run_is_no_success() {
        assert!(!Report::default().is_success());
        assert_eq!(Report::default().to_string(), "0 passed, 0 failed");
    }
}
