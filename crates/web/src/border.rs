//! How answers cross the border: `{"ok": …}` or `{"error": {"code": …, "message": …}}`.

use serde::Serialize;
use serde_json::{Value, json};

/// What could not be done: a code of the package's `ErrorCode`, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }

    /// The page handed in what it never should: a fault of ours.
    pub(crate) fn internal(message: impl ToString) -> Self {
        Self::new("internal", message)
    }
}

/// The answer as text.
pub(crate) fn answer<T: Serialize>(result: Result<T, Failure>) -> String {
    let answer: Value = match result {
        Ok(value) => json!({ "ok": value }),
        Err(Failure { code, message }) => json!({ "error": { "code": code, "message": message } }),
    };
    answer.to_string()
}
