//! Who a DID is: its keys, its document, and the devices that may act for it.
//!
//! A `did:key` is its own key (ID-10 to ID-14); a `did:web` names a document that somebody else fetches and puts into
//! [`Documents`], the only authority for its keys (RES-3). A [`Delegation`] lets a device sign for an identity; whether
//! one holds is decided where envelopes are verified, in [`envelope`](crate::envelope).

mod delegation;
mod document;
mod fingerprint;
mod key;
mod rotation;
pub mod seal;
mod web;

pub use delegation::{Delegation, delegate};
pub use document::{Document, DocumentError, Documents, Method, Service};
pub use fingerprint::fingerprint;
pub use key::{DeviceKey, KeyId, KeyIdError, PublicKey, PublicKeyError, SecretKey};
pub use rotation::{RotationError, SuccessionError, check_rotation, rotate, successor};
pub use web::{WebDidError, document_url};

pub(crate) use delegation::header;
pub(crate) use document::derived;
