//! Text to plain values and back, with no meaning attached: DIDs, ids, strict JSON, message structs, registries.
//!
//! [`json`] parses strictly; [`message`] holds the closed structs of 01 §11, built from [`media`], [`token`] and
//! [`reason`]. [`Envelope`] is a signed object
//! as text. What is read here is well-formed, and nothing more: who said it is for [`envelope`](crate::envelope).

pub mod base64url;
mod did;
pub(crate) mod envelope;
mod field;
pub mod json;
pub mod media;
pub mod message;
pub mod reason;
pub mod token;
mod ulid;

pub use did::{Did, DidSyntaxError};
pub use envelope::{Envelope, EnvelopeSyntaxError, Unsigned};
pub use field::{Field, SchemaError};
pub use message::{Kind, Message};
pub use reason::Reason;
pub use ulid::{Ulid, UlidSyntaxError};
