//! Kind `payload`: the field table of one message type, or of the envelope object, and nothing else (README V.4).

use serde_json::{Value, json};

use super::Vector;
use crate::wire::json::{self, Json};
use crate::wire::{Kind, Message};

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let schema = vector.input.get("schema").and_then(Value::as_str).ok_or("no string `schema`")?;
    let text = vector.input.get("payload").ok_or("no `payload`")?.to_string();
    let valid = match (schema, json::parse(&text)) {
        (_, Err(_)) => false,
        ("envelope", Ok(parsed)) => is_envelope(&parsed.root),
        (schema, Ok(parsed)) => {
            let kind = Kind::of(schema).ok_or_else(|| format!("unknown schema {schema:?}"))?;
            Message::from_json(parsed.root).is_ok_and(|message| message.kind() == kind)
        }
    };
    Ok(if valid { json!({"verdict": "accept"}) } else { json!({"verdict": "reject", "code": "schema-invalid"}) })
}

/// 01 §11.21: closed, three strings over the base64url alphabet.
fn is_envelope(object: &Json<'_>) -> bool {
    let encoded =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    object.as_object().is_some_and(|members| members.len() == 3)
        && ["protected", "payload", "signature"]
            .iter()
            .all(|name| object.get(name).and_then(Json::as_str).is_some_and(encoded))
}
