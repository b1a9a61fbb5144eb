//! Any bytes as JSON text.

use dsip_proto::wire::json::{self, Json};
use serde_json::Value;

/// What our parser accepts an ordinary one accepts, with the same value; what it flags is there.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = json::parse(text) else { return };
    let is_odd = parsed.has_float || parsed.has_huge_integer;
    assert_eq!(is_odd, has_odd_number(&parsed.root));
    let ordinary: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        // 1e999 is well-formed, and beyond what serde_json can hold.
        Err(error) => return assert!(is_odd, "we accept nothing that is not JSON: {error}"),
    };
    // serde_json reads the integer -0 as a float.
    if !is_odd && !text.contains("-0") {
        assert_eq!(parsed.root.into_value(), ordinary);
    }
}

fn has_odd_number(json: &Json<'_>) -> bool {
    match json {
        Json::Number(_) => true,
        Json::Array(elements) => elements.iter().any(has_odd_number),
        Json::Object(members) => members.iter().any(|(_, value)| has_odd_number(value)),
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::String(_) => false,
    }
}
