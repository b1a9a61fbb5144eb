//! What a node keeps on disk: envelopes that wait, devices that are known, ids that must not be accepted twice.
//!
//! The rules say what is to be kept, as numbered [`Write`]s (`dsip_proto::relay`), and are told how many of them are
//! durable. Between the two stands a [`Store`], which is free in how it does that:
//!
//! ```text
//!  Host ── Write ─► Store::write ─► pending ─► the store's thread: one transaction, one commit for all that waits
//!    ▲                                                   │
//!    └──────────── Stored, Disk ◄── Store::changed ◄─────┘
//! ```
//!
//! Routing never waits for the disk. Envelopes are committed at once, together with whatever came while the last commit was
//! under way, so one that waits pays for two commits at most and a busy node for few. Ids and devices alone can wait for
//! [`LAZY`]: nobody is told anything that rests on them.
//!
//! A store that cannot write says so, keeps what it was given, and tries again (CUS-20 to CUS-22).
//!
//! There is one kind of store today. A cluster's would be a second variant (docs/decisions/0016-store.md).

mod batch;
pub(crate) mod embedded;
#[cfg(test)]
mod tests;

use std::path::Path;

use dsip_proto::relay::{Memory, Write};
use dsip_proto::wire::Did;

pub(crate) use embedded::Embedded;

/// How long ids and devices may wait for company.
const LAZY: std::time::Duration = std::time::Duration::from_secs(1);

/// How far a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How many writes are durable, of those it was given since it was opened.
    pub(crate) stored: u64,
    /// Whether the last attempt to write went well.
    pub(crate) writable: bool,
}

/// Where a node keeps what must not be lost.
pub(crate) enum Store {
    /// A file of this node's own.
    Embedded(Embedded),
}

/// A store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written, or another node uses it.
    #[error(transparent)]
    File(#[from] redb::Error),
    /// A later version wrote it.
    #[error("it has format {0}, which this version does not know")]
    Format(u64),
    /// The thread that writes cannot be started.
    #[error("no thread for it: {0}")]
    Thread(std::io::Error),
}

impl Store {
    /// Opens the store in the home of the node `own`, and makes it the first time. Also says what it kept.
    pub(crate) fn open(home: &Path, own: &Did) -> Result<(Self, Memory), Error> {
        let (embedded, memory) = Embedded::open(home, own)?;
        Ok((Self::Embedded(embedded), memory))
    }

    /// Hands over writes, in order, and leaves `writes` empty. Never waits.
    pub(crate) fn write(&self, writes: &mut Vec<Write>) {
        match self {
            Self::Embedded(embedded) => embedded.write(writes),
        }
    }

    /// Waits until there is progress.
    pub(crate) async fn changed(&mut self) -> Progress {
        match self {
            Self::Embedded(embedded) => embedded.changed().await,
        }
    }

    /// Writes down what it was given and closes. Waits for the disk.
    pub(crate) fn close(self) {
        match self {
            Self::Embedded(embedded) => drop(embedded),
        }
    }
}
