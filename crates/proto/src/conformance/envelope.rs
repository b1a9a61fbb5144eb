//! Kinds `envelope` and `transport`: stages 1 to 14 on one envelope (README V.3).

use serde_json::Value;

use super::Vector;
use super::world::{World, accept, reject};

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let world = World::of(&vector.context)?;
    let frame = match vector.input.get("frame").and_then(Value::as_str) {
        Some(frame) => frame.to_owned(),
        None => vector.input.get("envelope").ok_or("neither `frame` nor `envelope`")?.to_string(),
    };
    let mut verifier = world.verifier(&vector.context);
    let result = world.with_connection(|connection| verifier.verify(&frame, world.now, &world.documents, connection));
    Ok(match result {
        Ok(verified) => accept(&verified),
        Err(verdict) => reject(&verdict),
    })
}
