//! Kind `broadcast`: a publication, statements about it, and what a receiver makes of them (07 §5).

use serde_json::{Value, json};

use super::Vector;
use super::world::{World, reject};
use crate::broadcast::{self, Capabilities, Refusal, Statement};

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let world = World::of(&vector.context)?;
    let publication = vector.input.get("publication").ok_or("no `publication`")?.to_string();
    let statements: Vec<String> = list(vector.input.get("provenance")).map(Value::to_string).collect();
    let capabilities = vector.input.get("capabilities");
    let ids = |name| list(capabilities.and_then(|value| value.get(name))).filter_map(Value::as_str);
    let capabilities = Capabilities {
        codecs: ids("codecs").filter_map(|id| id.parse().ok()).collect(),
        transports: ids("transports").filter_map(|id| id.parse().ok()).collect(),
    };
    let evaluation = broadcast::evaluate(
        &mut world.verifier(&vector.context),
        &publication,
        statements.iter().map(String::as_str),
        &capabilities,
        world.now,
        &world.documents,
    );
    let evaluation = match evaluation {
        Ok(evaluation) => evaluation,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let display = &evaluation.display;
    Ok(json!({
        "verdict": "accept",
        "type": "publish",
        "signer": evaluation.publication.signer(),
        "identity": evaluation.publication.identity(),
        "selected_variant": evaluation.selected_variant,
        "provenance": evaluation.statements.iter().map(result).collect::<Vec<_>>(),
        "display": {
            "original_publisher": display.original_publisher,
            "delivered_by": display.delivered_by,
            "transcoded_by": display.transcoded_by,
            "integrity_mode": display.integrity,
        },
    }))
}

fn result(statement: &Result<Statement, Refusal>) -> Value {
    match statement {
        Ok(statement) => {
            let mut object = json!({
                "verdict": "accept",
                "processor": statement.processor,
                "operation": statement.operation,
                // BC-37: for every accepted statement, whatever the operation.
                "integrity_mode": "derivative-bound",
            });
            if let Some(violation) = statement.violation {
                object["policy_violation"] = violation.as_str().into();
            }
            object
        }
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: &Refusal) -> Value {
    match refusal {
        Refusal::Envelope(verdict) => reject(verdict),
        own => json!({"verdict": "reject", "code": own.as_str()}),
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
