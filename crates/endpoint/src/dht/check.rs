//! The one place where a text from the overlay becomes a record (DHT-10 to DHT-13).

use dsip_proto::envelope::{self, Supported, Verifier};
use dsip_proto::hints::{self, Record, Refusal};
use dsip_proto::identity::Documents;
use dsip_proto::time::Seed;
use dsip_proto::wire::{Did, token::ProfileId};

use super::Error;
use crate::clock;

/// The profile that hints may declare (`dht-hints/0.1`).
const PROFILE: &str = "dht-hints/0.1";

pub(super) struct Checker {
    verifier: Verifier,
}

impl Checker {
    pub(super) fn new() -> Result<Self, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::Setup(error.to_string()))?;
        let known = PROFILE.parse().into_iter().chain([ProfileId::INTERACTIVE_MEDIA]);
        Ok(Self { verifier: Verifier::new(Supported::new(known), Seed::new(seed)) })
    }

    /// Verifies `text` with the documents at hand.
    pub(super) fn check(&mut self, text: &str, documents: &Documents) -> Result<Record, Refusal> {
        hints::verify(&mut self.verifier, text, clock::now(), documents)
    }
}

/// The documents that verifying `text` takes and that have to be fetched.
pub(super) fn needs(text: &str) -> Vec<Did> {
    envelope::needs(text)
}
