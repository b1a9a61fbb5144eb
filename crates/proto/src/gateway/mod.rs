//! The SIP/PSTN gateway's decisions: what each leg of a crossing call is told.
//!
//! A call that enters or leaves through the PSTN is presumed to lose trust. Only a PSTN identity mechanism that really
//! carries the DSIP identity across lifts the presumption, and whatever is lost is said out loud (file 05).
//!
//! ```text
//!            verified DSIP messages                         SIP responses and requests
//!                     │                                                │
//!   session engine ◄──┤ local events ◄── Controller ──► SIP messages ──┤──► SIP adapter
//!                                            │
//!                          media anchor: bridge, release
//! ```
//!
//! [`Controller`] is the back-to-back user agent's brain (GW-8); around it stand functions that map reasons
//! ([`reason`]), media ([`trunk`]), callers ([`Caller`]) and losses ([`Facts`]). Left to others on purpose: SIP text,
//! transactions and retransmission, the `Identity` header's certificate check, Digest, media anchoring and transcoding.
//! The module lives here until the SIP crate comes and takes it along; it needs nothing of SIP but numbers and names.

mod claim;
mod controller;
mod downgrade;
pub mod reason;
pub mod trunk;

pub use claim::{Attestation, Caller, Passport, TelClaim};
pub use controller::{
    Controller, Direction, DsipLeg, EarlyMedia, FromDsip, FromSip, Input, MediaAnchor, Output, SipLeg, ToDsip, ToSip,
};
pub use downgrade::{Facts, Loss};
