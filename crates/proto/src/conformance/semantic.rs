//! Kind `semantic`: stages 12 to 14 on a payload that is taken as authentic (README V.5).

use serde_json::Value;

use super::Vector;
use super::world::{World, effects, reject};
use crate::envelope::{Code, Effective, Verdict, semantics};
use crate::wire::message::MessageError;
use crate::wire::{Message, json};

pub(super) fn run(vector: &Vector) -> Result<Value, String> {
    let world = World::of(&vector.context)?;
    let text = vector.input.get("payload").ok_or("no `payload`")?.to_string();
    let root = json::parse(&text).map_err(|error| error.to_string())?.root;
    let judge = || {
        root.get("dsip").map_or(Ok(()), |dsip| world.supported.negotiate(dsip))?;
        let message = Message::from_json(root.clone()).map_err(|error| match error {
            MessageError::UnknownType => Verdict::new(Code::UnknownType),
            MessageError::Schema(_) => Verdict::new(Code::SchemaInvalid),
        })?;
        world.with_connection(|connection| {
            semantics(&message, &connection, world.encoded_size, world.signer_kid.as_ref())
        })?;
        Ok(Effective::of(&message))
    };
    Ok(match judge() {
        Ok((effective, warnings)) => Value::Object(effects(&effective, &warnings)),
        Err(verdict) => reject(&verdict),
    })
}
