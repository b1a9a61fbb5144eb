//! `transport:webrtc` 1.0: RTP over SRTP keyed by DTLS, found by full ICE with trickle, described in SDP (WEB-1).
//!
//! ```text
//!  media[] ──┐                       ┌─ accept
//!            ├─► offer() / answer() ─┤
//!  SDP ──────┘   (Sdp, Codec, roles) └─ Refusal { code, section } ─► reject / bye
//!
//!  candidates, both ways   ─► Exchange  ─► apply to the ICE agent / Pacer ─► signed info
//!  re-offers, both ways    ─► Renegotiation ─► install, apply, roll back, refuse an ICE restart
//! ```
//!
//! Descriptors are the authority on what was agreed, the SDP on how RTP runs (file 04, section 3); [`offer`] and [`answer`]
//! check that the two agree. Left to others on purpose: making SDP, ICE, DTLS and the certificate comparison (the media
//! engine), the subset test of an answer against its offer (the verification pipeline, WEB-36), which of several answers is
//! applied and what happens to a session when a check fails (the session engine).

mod candidates;
mod check;
mod codec;
mod describe;
mod pace;
mod renegotiation;
mod role;
mod sdp;

pub use candidates::{CANDIDATES_TOLERATED, Exchange, INFOS_TOLERATED, Ignored, Input, LOCAL_CANDIDATES, Output, Side};
pub use check::{Applies, Code, Described, Description, Refusal, answer, offer, update};
pub use codec::Codec;
pub use describe::{Indescribable, describe_answer, describe_offer};
pub use pace::Pacer;
pub use renegotiation::{Change, Credentials, Renegotiation, Step};
pub use role::{DtlsRole, Roles, roles};
pub use sdp::{Sdp, Section, Unparseable};

/// The only ICE mode of 1.0 (registry `dsip-ice-mode`).
pub const ICE_MODE: &str = "trickle";
