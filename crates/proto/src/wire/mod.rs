//! Text to plain values and back, with no meaning attached: DIDs, ids, strict JSON, message structs, registries.

mod did;
mod ulid;

pub use did::{Did, DidSyntaxError};
pub use ulid::{Ulid, UlidSyntaxError};
