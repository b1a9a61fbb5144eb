//! What the pipeline lets through.

use std::sync::Arc;

use super::seen::{HeldId, Recorded};
use super::stages::{Effective, Warning};
use crate::identity::KeyId;
use crate::wire::message::OneType;
use crate::wire::{Did, Message};

/// A message that passed every stage: signed by `signer`, who may speak for `identity`, fresh, new, and well-formed.
///
/// Only this module's pipeline makes one, so whoever takes a `Verified` needs no check of its own. It proves what was said
/// at the moment of receipt; whether the sender is a party to the session is for the session to decide.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    pub(super) message: T,
    pub(super) text: Arc<str>,
    pub(super) kid: KeyId,
    pub(super) identity: Did,
    pub(super) proofs: Vec<Proof>,
    pub(super) effective: Effective,
    pub(super) warnings: Vec<Warning>,
    pub(super) audience: Option<String>,
    pub(super) recorded: Option<Recorded>,
}

/// A delegation that was verified: the signer may act for `identity` until then (DEL-24).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The identity behind the signer.
    pub identity: Did,
    /// When the delegation ends, in Unix seconds; in that very second it is over.
    pub until: u64,
}

impl<T> Verified<T> {
    /// What was said.
    #[must_use]
    pub const fn message(&self) -> &T {
        &self.message
    }

    /// The text exactly as received, to forward or keep (ENV-5). Cloning it copies no bytes.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The key that signed.
    #[must_use]
    pub const fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// Whose key that is: a device, as a rule (DEL-20).
    #[must_use]
    pub const fn signer(&self) -> &Did {
        self.kid.did()
    }

    /// For whom it was said: `from`, or `on_behalf_of` on a `hello` that has it (DEL-22).
    #[must_use]
    pub const fn identity(&self) -> &Did {
        &self.identity
    }

    /// Every identity that the signer proved to act for, from the delegations presented with it (DEL-24).
    #[must_use]
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }

    /// The identity behind the signer: the first that was proved, if any.
    #[must_use]
    pub fn proven(&self) -> Option<&Proof> {
        self.proofs.first()
    }

    /// What the registries make of its tokens.
    #[must_use]
    pub const fn effective(&self) -> &Effective {
        &self.effective
    }

    /// What is odd about it.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The header's `aud`: for whom a `hello` was made (HEL-12).
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// The id to store, if it has to be remembered across restarts (RPL-6).
    #[must_use]
    pub fn held(&self) -> Option<&HeldId> {
        self.recorded.as_ref().filter(|recorded| recorded.is_held).map(|recorded| &recorded.id)
    }

    /// The id that was recorded, of whatever type; none if it was only looked at.
    #[must_use]
    pub const fn recorded(&self) -> Option<&Recorded> {
        self.recorded.as_ref()
    }

    /// What was said, without its proof.
    #[must_use]
    pub fn into_message(self) -> T {
        self.message
    }
}

impl Verified<Message> {
    /// The same proof about a message of one type; `None` if it is of another.
    #[must_use]
    pub(crate) fn only<T: OneType>(self) -> Option<Verified<T>> {
        let Self { message, text, kid, identity, proofs, effective, warnings, audience, recorded } = self;
        let message = T::of(message)?;
        Some(Verified { message, text, kid, identity, proofs, effective, warnings, audience, recorded })
    }
}
