//! Subscriptions, presence and publications: who may be told what, and until when (02 section 12, file 06 part B).
//!
//! ```text
//!  publisher ── publish, unpublish ──►  Authority  ◄── subscribe ── Subscriber ──► what a person is shown
//!  processor ── provenance ──────────►  (relay or   ── notify ───►
//!  connections ── bind, unbind ──────►   domain)    ── reject ───►
//! ```
//!
//! Both are pure engines: [`authority::Authority`] holds records and subscriptions, [`subscriber::Subscriber`] holds one
//! party's own subscriptions. All messages that reach them are verified. Whoever is not allowed to ask and whoever asks
//! about nothing get the same answer (SUB-6), and so do those who ask for more than an authority can hold.

pub mod authority;
pub mod subscriber;
