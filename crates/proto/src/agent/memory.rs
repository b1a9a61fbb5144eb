//! What a phone has to remember across restarts.
//!
//! The agent works on its own [`Memory`] and emits a [`Change`] for every step that must survive, always before the message
//! that relies on it. A driver that stores the changes in order, and hands the result back at the next start, gets a phone
//! that accepts nothing twice and forgets no grant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::endpoint::Contacts;
use crate::envelope::HeldId;
use crate::wire::{Did, Ulid};

/// First contact, the address book, and the held ids already seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Who may call, who asked to, whom we asked.
    pub contacts: Contacts,
    /// The owner's own names for people.
    pub names: BTreeMap<Did, String>,
    /// What those said who ask for permission to call: claims (FC-2). By the introduction's id.
    pub requests: BTreeMap<Ulid, Request>,
    /// Held messages accepted, and until when each must be refused (RPL-6), in Unix seconds. They come one by one
    /// ([`Change::Seen`]) and are stored apart.
    #[serde(skip)]
    pub seen: Vec<HeldId>,
}

/// What somebody said who asked for permission to call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The identity that asks.
    pub identity: Did,
    /// The name it claims.
    pub claimed_name: Option<String>,
    /// What it says it wants.
    pub purpose: Option<String>,
    /// When it arrived, in Unix seconds.
    pub at: u64,
}

/// One step that must survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The memory is this now, `seen` aside.
    Memory(Box<Memory>),
    /// A held message was accepted, and must be refused from now on.
    Seen(HeldId),
}
