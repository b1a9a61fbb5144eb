//! Any bytes as JSON text.

use dsip_proto::wire::json::{self, Json};
use serde_json::Value;

/// What our parser accepts an ordinary one accepts, with the same value; what it flags is there.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = json::parse(text) else { return };
    let ordinary: Value = serde_json::from_str(text).expect("we accept nothing that is not JSON");
    assert_eq!(parsed.has_float || parsed.has_huge_integer, has_odd_number(&parsed.root));
    // serde_json reads the integer -0 as a float.
    if !parsed.has_float && !parsed.has_huge_integer && !text.contains("-0") {
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
