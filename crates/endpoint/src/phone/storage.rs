//! Where a phone's memory rests: in a home directory, or nowhere.

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
    Home(Home, SeenLog),
}

impl Storage {
    /// Opens `home`, and brings back what the phone knew. `owner` stands in for the senders of held ids: the log keeps
    /// ids alone, since an id is refused whoever sends it again (RPL-5).
    pub(super) fn open(home: Home, owner: &Did) -> Result<(Self, Memory), home::Error> {
        let (log, seen) = home.seen(clock::now().wall.secs())?;
        let mut memory: Memory = home.load(Part::Contacts)?;
        memory.seen = seen.into_iter().map(|(id, until)| HeldId { id, sender: owner.clone(), until }).collect();
        Ok((Self::Home(home, log), memory))
    }

    /// Stores one change. When this returns, it survives a crash.
    pub(super) fn store(&mut self, change: Change) -> Result<(), home::Error> {
        let Self::Home(home, log) = self else { return Ok(()) };
        match change {
            Change::Memory(memory) => home.update(Part::Contacts, |stored: &mut Memory| *stored = *memory),
            Change::Seen(held) => log.record(held.id, held.until, clock::now().wall.secs()),
        }
    }
}
