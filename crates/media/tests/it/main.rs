//! Calls in a virtual network and in virtual time.

#![allow(clippy::unwrap_used, missing_docs)]
// The engine counts from some instant; the tests take the present one, and only ever use differences to it.
#![allow(clippy::disallowed_methods)]

mod abuse;
mod call;
mod hostile;
mod listening;
mod negotiation;
mod roaming;
mod turn;
mod world;
