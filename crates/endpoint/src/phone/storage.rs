//! Where a phone's memory rests: in a home directory, or nowhere.
//!
//! Other programs of the same owner change the same contacts: `dsip requests grant` beside a phone that waits for calls. So
//! what is stored is merged, entry by entry, with what they stored since; and what they stored is [`news`](Storage::news).

use dsip_proto::agent::{Change, Memory};
use dsip_proto::envelope::HeldId;
use dsip_proto::wire::Did;

use crate::clock;
use crate::home::{self, Home, Part, SeenLog, Stamp};

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
        /// What the phone last knew, which its next change starts from.
        base: Box<Memory>,
        /// What is stored, where that is more than the phone knows.
        news: Option<Box<Memory>>,
        /// Which content that is.
        stamp: Option<Stamp>,
    },
}

impl Storage {
    /// Opens `home`, and brings back what the phone knew. `owner` stands in for the senders of held ids: the log keeps
    /// ids alone, since an id is refused whoever sends it again (RPL-5).
    pub(super) fn open(home: Home, owner: &Did) -> Result<(Self, Memory), home::Error> {
        let (log, seen) = home.seen(clock::now().wall.secs())?;
        let (mut memory, stamp): (Memory, _) = home.load_stamped(Part::Contacts)?;
        let base = Box::new(memory.clone());
        memory.seen = seen.into_iter().map(|(id, until)| HeldId { id, sender: owner.clone(), until }).collect();
        Ok((Self::Home { home, log, base, news: None, stamp }, memory))
    }

    /// Stores one change. When this returns, it survives a crash.
    pub(super) fn store(&mut self, change: Change) -> Result<(), home::Error> {
        let Self::Home { home, log, base, news, stamp } = self else { return Ok(()) };
        match change {
            Change::Memory(mine) => {
                let merge = |stored: &mut Memory| {
                    *stored = Memory::merge(base, &mine, std::mem::take(stored));
                    (*stored != *mine).then(|| Box::new(stored.clone()))
                };
                (*news, *stamp) = home.update_stamped(Part::Contacts, merge)?;
                *base = mine;
                Ok(())
            }
            Change::Seen(held) => log.record(held.id, held.until, clock::now().wall.secs()),
        }
    }

    /// Looks whether another program stored something. As a rule this reads one timestamp.
    pub(super) fn look(&mut self) {
        let Self::Home { home, news, stamp, .. } = self else { return };
        if home.stamp(Part::Contacts) == *stamp {
            return;
        }
        if let Ok((stored, at)) = home.load_stamped(Part::Contacts) {
            (*news, *stamp) = (Some(Box::new(stored)), at);
        }
    }

    /// What other programs stored that the phone does not know. To be taken over at once, and only when nothing that the
    /// phone changed is yet to be stored: what is stored next is compared with this.
    pub(super) fn news(&mut self) -> Option<Memory> {
        let Self::Home { base, news, .. } = self else { return None };
        let memory = news.take()?;
        base.clone_from(&memory);
        Some(*memory)
    }

    /// The home, if there is one.
    pub(super) const fn home(&self) -> Option<&Home> {
        match self {
            Self::Nowhere => None,
            Self::Home { home, .. } => Some(home),
        }
    }

    /// Whether there is anything another program could change.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Home { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsip_proto::identity::SecretKey;

    fn did(n: u8) -> Did {
        SecretKey::from_bytes(&[n; 32]).did()
    }

    fn knowing(names: &[u8]) -> Memory {
        Memory { names: names.iter().map(|n| (did(*n), n.to_string())).collect(), ..Memory::default() }
    }

    #[test]
    fn what_another_program_changes_between_two_looks_is_kept_and_learned() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(dir.path());
        home.update(Part::Contacts, |stored| *stored = knowing(&[1, 2])).expect("stored");
        let (mut storage, memory) = Storage::open(home.clone(), &did(9)).expect("opened");
        assert_eq!(memory, knowing(&[1, 2]));
        let store = |storage: &mut Storage, memory| storage.store(Change::Memory(Box::new(memory))).expect("stored");

        home.update(Part::Contacts, |stored| *stored = knowing(&[1, 3])).expect("another removed 2 and added 3");
        store(&mut storage, knowing(&[1, 2, 4]));
        store(&mut storage, knowing(&[1, 2, 4, 5]));
        assert_eq!(home.load::<Memory>(Part::Contacts).expect("loaded"), knowing(&[1, 3, 4, 5]));
        storage.look();
        assert_eq!(storage.news(), Some(knowing(&[1, 3, 4, 5])));
        store(&mut storage, knowing(&[1, 3, 4]));
        assert_eq!(home.load::<Memory>(Part::Contacts).expect("loaded"), knowing(&[1, 3, 4]));
        storage.look();
        assert_eq!(storage.news(), None, "what it stored itself is no news");

        home.update(Part::Contacts, |stored| *stored = knowing(&[6])).expect("stored");
        storage.look();
        assert_eq!(storage.news(), Some(knowing(&[6])));
    }
}
