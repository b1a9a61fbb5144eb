//! The conformance vectors, run by the very module that makes calls.

use dsip_proto::conformance;
use serde_json::json;
use wasm_bindgen::prelude::wasm_bindgen;

/// Runs one vector, a JSON text: `{"id", "failure"}`, where `failure` is null if it passed (VEC-3).
#[wasm_bindgen(js_name = runVector)]
#[must_use]
pub fn run_vector(text: &str) -> String {
    let outcome = conformance::run(text);
    json!({ "id": outcome.id, "failure": outcome.failure }).to_string()
}
