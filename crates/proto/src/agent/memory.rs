//! What a phone has to remember across restarts.
//!
//! The agent works on its own [`Memory`] and emits a [`Change`] for every step that must survive, always before the message
//! that relies on it. A driver that stores the changes in order, and hands the result back at the next start, gets a phone
//! that accepts nothing twice and forgets no grant.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::endpoint::{Contacts, merge_entries};
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
    /// Whom the owner wants to hear nothing from.
    pub blocked: BTreeSet<Did>,
    /// What those said who ask for permission to call: claims (FC-2). By the introduction's id.
    pub requests: BTreeMap<Ulid, Request>,
    /// Held messages accepted, and until when each must be refused (RPL-6), in Unix seconds. They come one by one
    /// ([`Change::Seen`]) and are stored apart.
    #[serde(skip)]
    pub seen: Vec<HeldId>,
}

impl Memory {
    /// What two programs of one owner made of `base`, together: entry by entry, what `mine` changed, and otherwise `theirs`.
    #[must_use]
    pub fn merge(base: &Self, mine: &Self, theirs: Self) -> Self {
        let mut blocked = theirs.blocked;
        blocked.extend(mine.blocked.difference(&base.blocked).cloned());
        blocked.retain(|identity| mine.blocked.contains(identity) || !base.blocked.contains(identity));
        Self {
            blocked,
            contacts: Contacts::merge(&base.contacts, &mine.contacts, theirs.contacts),
            names: merge_entries(&base.names, &mine.names, theirs.names),
            requests: merge_entries(&base.requests, &mine.requests, theirs.requests),
            seen: mine.seen.clone(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    fn names(of: &[(u8, &str)]) -> Memory {
        let names = of.iter().map(|(n, name)| (SecretKey::from_bytes(&[*n; 32]).did(), (*name).to_owned())).collect();
        Memory { names, ..Memory::default() }
    }

    #[test]
    fn a_merge_keeps_what_either_changed() {
        let base = names(&[(1, "kept"), (2, "mine removes"), (3, "they remove"), (4, "both change")]);
        let mine = names(&[(1, "kept"), (3, "they remove"), (4, "my way"), (5, "I add")]);
        let theirs = names(&[(1, "they rename"), (2, "mine removes"), (4, "their way"), (6, "they add")]);
        let merged = names(&[(1, "they rename"), (4, "my way"), (5, "I add"), (6, "they add")]);
        assert_eq!(Memory::merge(&base, &mine, theirs), merged);
    }

    #[test]
    fn a_merge_blocks_whom_either_blocked_and_nobody_whom_either_let_go() {
        let did = |n: u8| SecretKey::from_bytes(&[n; 32]).did();
        let blocking = |of: &[u8]| Memory { blocked: of.iter().map(|n| did(*n)).collect(), ..Memory::default() };
        let merged = Memory::merge(&blocking(&[1, 2, 3]), &blocking(&[1, 3, 4]), blocking(&[1, 2, 5]));
        assert_eq!(merged, blocking(&[1, 4, 5]));
    }

    #[test]
    fn a_merge_of_nothing_new_is_what_they_have() {
        let (base, theirs) = (names(&[(1, "a")]), names(&[(2, "b")]));
        assert_eq!(Memory::merge(&base, &base, theirs.clone()), theirs);
    }
}
