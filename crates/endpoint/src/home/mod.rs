//! The home: one directory that holds who its owner is, and what this device must remember.
//!
//! ```text
//! profile.json       who I am: the identity (absent until this device is delegated) and my name
//! identity.key       the identity key, sealed under a passphrase                              0600
//! identity.next      the key that is to take its place, while that is under way                  0600
//! unlock             that passphrase, if nobody wants to be asked; may be moved elsewhere     0600
//! device.key         the device key, in the clear                                             0600
//! delegations.json   signed statements that a device may act for an identity
//! contacts.json …    what an endpoint keeps, see Part
//! seen.log           ids that must not be accepted twice (RPL-6)
//! lock               held for the time of one read-change-write
//! line, phones/      which of several programs speaks for the device
//! ```
//!
//! Losing the device key costs a device; the identity key delegates another. Nothing here decides what a key or a
//! delegation is worth: `dsip_proto::identity` and `dsip_proto::envelope` do. This module keeps bytes safe: from
//! crashes, from a second process, and from other users of the machine.

mod claim;
mod keys;
mod seen;
mod store;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::claim::Claim;
pub use self::keys::{Guard, Profile};
pub use self::seen::SeenLog;
use self::store::Access;
pub use dsip_proto::identity::seal::Passphrase;

/// A person's or a device's directory. Holding one means nothing yet: files are read when asked for.
///
/// Several processes may use one home at once: every change reads, changes and writes under a lock.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

/// One of the documents an endpoint keeps. Its content is the business of whoever keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Who may call, grants in both directions, requests and introductions.
    Contacts,
    /// What this device knows about the nodes it dialled: which transport worked, keys seen.
    Peers,
    /// What this device published about itself, and its sequence number.
    Published,
    /// In a node's home: who has a name at its domain.
    Names,
}

/// Which of the files that a part was stored in one after another: each is written anew, and moved to its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<std::time::SystemTime>,
    /// Two may be stored within one tick of the file system's clock.
    #[cfg(unix)]
    inode: u64,
}

/// Why a home could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {what}", path.display())]
    Corrupted {
        /// Which file.
        path: PathBuf,
        /// What was found; never quotes content.
        what: String,
    },
    /// A file was written by a newer program.
    #[error("{}: written by a newer dsip (format version {version})", path.display())]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Others than the owner can read key material.
    #[error("{}: others can read it (mode {mode:o})", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is something already that would be overwritten.
    #[error("{}: holds an identity already", path.display())]
    Exists {
        /// Which directory.
        path: PathBuf,
    },
    /// What was asked for is not there.
    #[error("{}: {what}", path.display())]
    Missing {
        /// Which file or directory.
        path: PathBuf,
        /// What it lacks.
        what: &'static str,
    },
    /// The passphrase does not open the identity key.
    #[error("{}: the passphrase does not open it", path.display())]
    WrongPassphrase {
        /// Which file.
        path: PathBuf,
    },
    /// A delegation is for somebody else, expired, or not signed by whom it names.
    #[error("the delegation is not usable here: {what}")]
    Delegation {
        /// What is wrong with it.
        what: String,
    },
    /// A DID's document does not list the key of this home's identity.
    #[error("{did} is not this identity: its document lists other keys")]
    Name {
        /// The DID.
        did: dsip_proto::wire::Did,
    },
    /// The identity key cannot be replaced.
    #[error("{what}")]
    Rotation {
        /// Why.
        what: &'static str,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// Sealing needs 64 MiB that are not there.
    #[error("not enough memory to seal a key")]
    Memory,
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        |source| Self::Io { path, source }
    }
}

impl Home {
    /// The home in `dir`, whether or not it exists yet.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where a home lies if nobody says otherwise: `$XDG_DATA_HOME/dsip`, else `~/.local/share/dsip`.
    #[must_use]
    pub fn default_dir() -> Option<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
        Some(data.join("dsip"))
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was last kept under `part`; the default if nothing was.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged. Nothing is lost by trying again after repair.
    pub fn load<T: DeserializeOwned + Default>(&self, part: Part) -> Result<T, Error> {
        Ok(store::read(&self.path(part.file()), part.format(), Access::Owner)?.unwrap_or_default())
    }

    /// Changes what is kept under `part`. The change sees what is on disk now, so a change made by another process in the
    /// meantime is built upon, not overwritten. Durable once this returns.
    ///
    /// # Errors
    /// If the file cannot be read or written; then the old content stands.
    pub fn update<T, R>(&self, part: Part, change: impl FnOnce(&mut T) -> R) -> Result<R, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.update_stamped(part, change).map(|(result, _)| result)
    }

    /// Like [`update`](Self::update), and tells the [`Stamp`] of what is stored now.
    pub(crate) fn update_stamped<T, R>(
        &self,
        part: Part,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<(R, Option<Stamp>), Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        store::make_dir(&self.dir)?;
        let _guard = store::lock(&self.dir)?;
        let mut content: T = self.load(part)?;
        let result = change(&mut content);
        store::write(&self.path(part.file()), part.format(), Access::Owner, &content)?;
        Ok((result, self.stamp(part)))
    }

    /// Like [`load`](Self::load), with the [`Stamp`] of what was read.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_stamped<T: DeserializeOwned + Default>(&self, part: Part) -> Result<(T, Option<Stamp>), Error> {
        store::make_dir(&self.dir)?;
        let _guard = store::lock(&self.dir)?;
        Ok((self.load(part)?, self.stamp(part)))
    }

    /// The ids seen before, as far as they matter at `now` (Unix seconds), and the log that remembers new ones.
    ///
    /// # Errors
    /// If the log cannot be read; an endpoint must then not accept held messages.
    pub fn seen(&self, now: u64) -> Result<(SeenLog, Vec<(dsip_proto::wire::Ulid, u64)>), Error> {
        store::make_dir(&self.dir)?;
        SeenLog::open(self.dir.clone(), now)
    }

    /// What tells one content of `part` from the next, whatever program stored it; none if nothing was.
    #[must_use]
    pub fn stamp(&self, part: Part) -> Option<Stamp> {
        let about = std::fs::metadata(self.path(part.file())).ok()?;
        Some(Stamp {
            modified: about.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&about),
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }
}

impl Part {
    fn file(self) -> &'static str {
        match self {
            Self::Contacts => "contacts.json",
            Self::Peers => "peers.json",
            Self::Published => "published.json",
            Self::Names => "names.json",
        }
    }

    fn format(self) -> &'static str {
        match self {
            Self::Contacts => "dsip/contacts",
            Self::Peers => "dsip/peers",
            Self::Published => "dsip/published",
            Self::Names => "dsip/names",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_that_change_one_part_lose_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let threads: Vec<_> = (0..4u32)
            .map(|thread| {
                let home = Home::at(dir.path().join("home"));
                std::thread::spawn(move || {
                    for n in 0..10 {
                        home.update(Part::Contacts, |all: &mut Vec<u32>| all.push(thread * 100 + n)).expect("updated");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("finished");
        }
        let mut all: Vec<u32> = Home::at(dir.path().join("home")).load(Part::Contacts).expect("loaded");
        all.sort_unstable();
        let expected: Vec<u32> = (0..4).flat_map(|thread| (0..10).map(move |n| thread * 100 + n)).collect();
        assert_eq!(all, expected);
    }
}
