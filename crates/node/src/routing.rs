//! Where the rules' frames go: the one seam of routing.
//!
//! The rules hold the bindings: which device is bound at which connection. They know a connection by its name alone ([`Conn`]);
//! what is behind the name is decided here.
//!
//! ```text
//!  Host ── Transmit · Question · Vouch · Close ─► Routes ─► a link of this process
//!    ▲                                                          │
//!    └──────────────── Received · Reached · Closed ◄────────────┘
//! ```
//!
//! There is one kind of routes today. A cluster's would be a second variant, in which a name may also stand for a device that is
//! bound at another process (docs/decisions/0026-routing.md).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use dsip_endpoint::link::{Close, Mark, Outbox, SendError, Stream};
use dsip_proto::relay::host::Conn;

/// Where connections lead.
pub(crate) enum Routes {
    /// Each is a link of this process.
    Local(Local),
}

/// Links, with where each comes from.
#[derive(Default)]
pub(crate) struct Local(HashMap<Conn, (IpAddr, Outbox)>);

/// A connection was cut off: what was sent on it is not being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unread;

impl Routes {
    /// Routes of a node that shares its work with nobody.
    pub(crate) fn new() -> Self {
        Self::Local(Local::default())
    }

    /// A link from this address has this name from now on.
    pub(crate) fn open(&mut self, conn: Conn, from: IpAddr, outbox: Outbox) {
        let Self::Local(Local(links)) = self;
        links.insert(conn, (from, outbox));
    }

    /// It has ended by itself.
    pub(crate) fn ended(&mut self, conn: Conn) {
        let Self::Local(Local(links)) = self;
        links.remove(&conn);
    }

    /// Sends a frame; a connection that is gone takes none.
    ///
    /// # Errors
    /// [`Unread`] if so much waits already that the connection was cut off instead.
    pub(crate) fn transmit(&self, conn: Conn, stream: Stream, frame: Arc<str>) -> Result<(), Unread> {
        let Self::Local(Local(links)) = self;
        let Some((_, outbox)) = links.get(&conn) else { return Ok(()) };
        match outbox.send(stream, frame) {
            Ok(()) | Err(SendError::Closed | SendError::TooLarge) => Ok(()),
            Err(SendError::Full) => {
                outbox.cut();
                Err(Unread)
            }
        }
    }

    /// Asks to be told by this number when everything sent before has arrived (CUS-10).
    pub(crate) fn ask(&self, conn: Conn, number: u64) {
        let Self::Local(Local(links)) = self;
        if let Some((_, outbox)) = links.get(&conn)
            && !outbox.ask(number)
        {
            // What is full of frames is not being read; what is closed is gone already.
            outbox.cut();
        }
    }

    /// Answers a question (CUS-1).
    pub(crate) fn vouch(&self, conn: Conn, mark: Mark) {
        let Self::Local(Local(links)) = self;
        if let Some((_, outbox)) = links.get(&conn) {
            outbox.vouch(mark);
        }
    }

    /// Sends what is queued, then closes; nothing more can be sent.
    pub(crate) fn close(&mut self, conn: Conn, why: Close) {
        let Self::Local(Local(links)) = self;
        if let Some((_, outbox)) = links.remove(&conn) {
            outbox.close(why);
        }
    }

    /// Closes links from some addresses. Each says itself that it has ended.
    pub(crate) fn shut(&self, is_meant: impl Fn(IpAddr) -> bool) {
        let Self::Local(Local(links)) = self;
        for (_, outbox) in links.values().filter(|(from, _)| is_meant(*from)) {
            outbox.close(Close::NotServed);
        }
    }

    /// Closes everything, and says what there was.
    pub(crate) fn end(&mut self, why: Close) -> Vec<Conn> {
        let Self::Local(Local(links)) = self;
        let end = |(conn, (_, outbox)): (Conn, (IpAddr, Outbox))| {
            outbox.close(why);
            conn
        };
        links.drain().map(end).collect()
    }

    /// Links of this process that are open, bound or not.
    pub(crate) fn links(&self) -> usize {
        let Self::Local(Local(links)) = self;
        links.len()
    }
}
