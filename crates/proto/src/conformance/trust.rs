//! Kind `trust` (file 07, section 7): the lines of file 06, part D.

use serde_json::{Map, Value};

use super::Vector;
use crate::trust;

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let input = &vector.input;
    Ok(match input["check"].as_str().unwrap_or_default() {
        "basis" => {
            let identity = input["identity"].as_str().ok_or("no string `identity`")?;
            let identity = identity.parse().map_err(|error| format!("{identity}: {error}"))?;
            let claims = array(input, "claims")?.iter().map(object).collect::<Result<Vec<_>, _>>()?;
            trust::basis(&identity, &claims).into()
        }
        "tel-caller" => trust::tel_caller(&object(&input["claim"])?).into(),
        "downgrade" => trust::downgrade(array(input, "losses")?.iter().filter_map(Value::as_str)).into(),
        unknown => return Err(format!("unknown check {unknown:?}")),
    })
}

fn array<'a>(input: &'a Value, name: &str) -> Result<&'a [Value], String> {
    input[name].as_array().map(Vec::as_slice).ok_or_else(|| format!("no array `{name}`"))
}

fn object(value: &Value) -> Result<Map<String, Value>, String> {
    value.as_object().cloned().ok_or_else(|| format!("not an object: {value}"))
}
