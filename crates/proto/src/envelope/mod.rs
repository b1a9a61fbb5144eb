//! Signing, and the pipeline that alone turns received text into a [`Verified`] message (01 §4 to §10).
//!
//! ```text
//! frame ─► shape ─► header ─► key ─► signature ─► payload ─► delegation ─► freshness ─► version ─► schema ─► semantics
//!   1        2        3        4         5           6           7           8–11         12         13         14
//!                                                                                                    Verified<Message>
//! ```
//!
//! The earliest stage that fails decides the [`Verdict`]. [`Verifier::verify`] is a pure function of the frame, the
//! documents, both clocks and what the verifier remembers; recording the id is its last act (PIPE-7). What is remembered
//! only saves work: a cached header, key or delegation is checked against the documents and the clock each time (RES-3).

mod cache;
mod header;
mod seen;
mod sign;
mod stages;
mod verdict;
mod verified;
mod verify;

#[cfg(test)]
mod tests;

pub use crate::wire::envelope::{Envelope, EnvelopeSyntaxError};
pub use header::{claimed_signer, needs};
pub use seen::{HeldId, Limits, Recorded, SeenIds};
pub use sign::Signer;
pub use stages::{Connection, Effective, FindOffer, Offer, Supported, Warning};
pub use verdict::{Code, Origin, Verdict};
pub use verified::{Proof, Verified};
pub use verify::Verifier;

pub(crate) use stages::semantics;
pub(crate) use verify::{Authentic, Ids};
