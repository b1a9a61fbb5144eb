//! Where a phone's memory rests: in a home directory, or nowhere.

use std::time::SystemTime;

use dsip_proto::agent::{Change, Memory};
use dsip_proto::envelope::HeldId;
use dsip_proto::wire::Did;

use crate::clock;
use crate::home::{self, Home, Part, SeenLog};

/// What carries out [`Change`]s, durably and in order.
#[derive(Debug)]
pub(super) enum Storage {
    /// An ephemeral phone: nothing outlives the process.
    Nowhere,
    /// A home directory.
    Home {
        /// The directory.
        home: Home,
        /// Ids of held messages.
        log: SeenLog,
        /// When what is known here was stored.
        known: Option<SystemTime>,
    },
}

impl Storage {
    /// Opens `home`, and brings back what the phone knew. `owner` stands in for the senders of held ids: the log keeps
    /// ids alone, since an id is refused whoever sends it again (RPL-5).
    pub(super) fn open(home: Home, owner: &Did) -> Result<(Self, Memory), home::Error> {
        let (log, seen) = home.seen(clock::now().wall.secs())?;
        let known = home.stored_at(Part::Contacts);
        let mut memory: Memory = home.load(Part::Contacts)?;
        memory.seen = seen.into_iter().map(|(id, until)| HeldId { id, sender: owner.clone(), until }).collect();
        Ok((Self::Home { home, log, known }, memory))
    }

    /// Stores one change. When this returns, it survives a crash.
    pub(super) fn store(&mut self, change: Change) -> Result<(), home::Error> {
        let Self::Home { home, log, known } = self else { return Ok(()) };
        match change {
            Change::Memory(memory) => {
                home.update(Part::Contacts, |stored: &mut Memory| *stored = *memory)?;
                *known = home.stored_at(Part::Contacts);
                Ok(())
            }
            Change::Seen(held) => log.record(held.id, held.until, clock::now().wall.secs()),
        }
    }

    /// What another program stored meanwhile, if one did: `dsip requests grant` beside a phone that waits for calls.
    pub(super) fn changed_by_others(&mut self) -> Option<Memory> {
        let Self::Home { home, known, .. } = self else { return None };
        let at = home.stored_at(Part::Contacts);
        if at == *known {
            return None;
        }
        let memory = home.load(Part::Contacts).ok()?;
        *known = at;
        Some(memory)
    }

    /// Whether there is anything another program could change.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Home { .. })
    }
}
