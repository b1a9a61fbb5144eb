//! Kind `dht`: the verdict on one hint, and its conflict with a held one (07 §6).

use serde_json::{Value, json};

use super::Vector;
use super::world::World;
use crate::hints::{self, Refusal, Standing};
use crate::wire::{Envelope, json as strict};

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let world = World::of(&vector.context)?;
    let frame = vector.input.get("envelope").ok_or("no `envelope`")?.to_string();
    let held = vector.context.get("existing").map(standing).transpose()?;
    let mut verifier = world.verifier(&vector.context);
    let record = match hints::verify(&mut verifier, &frame, world.now, &world.documents) {
        Ok(record) => record,
        Err(refusal @ Refusal::SubjectMismatch) => {
            return Ok(json!({"verdict": "reject", "code": refusal.as_str()}));
        }
        Err(Refusal::Envelope(verdict)) => return Ok(super::world::reject(&verdict)),
    };
    let (winner, conflict) = hints::compare(held.as_ref(), record.standing(), world.now.wall.secs());
    Ok(json!({
        "verdict": "accept",
        "type": "reachability-hint",
        "signer": record.signer(),
        "identity": record.subject(),
        "winner": winner.as_str(),
        "conflict": conflict.as_str(),
    }))
}

/// A record that was accepted earlier, and is therefore decoded without being verified.
fn standing(envelope: &Value) -> Result<Standing, String> {
    let envelope = Envelope::parse(&envelope.to_string()).map_err(|error| error.to_string())?;
    let bytes = envelope.payload_bytes();
    let text = str::from_utf8(&bytes).map_err(|error| error.to_string())?;
    let payload = strict::parse(text).map_err(|error| error.to_string())?.root;
    let number = |name| payload.get(name).and_then(strict::Json::as_int).and_then(|value| u64::try_from(value).ok());
    Ok(Standing {
        seq: number("seq").ok_or("`existing` has no `seq`")?,
        expires_at: number("expires_at").ok_or("`existing` has no `expires_at`")?,
        payload: envelope.payload().to_owned(),
    })
}
