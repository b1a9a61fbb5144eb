//! Documents of `did:web` identities: asked for when a frame lacks one, while the frame waits.

use std::time::Duration;

use super::{Close, Conn, Event, Host, Output};
use crate::envelope::needs;
use crate::identity::Document;
use crate::time::{Now, Tick};
use crate::wire::Did;
use crate::wire::message::MAX_ENVELOPE_BYTES;

/// How long a fetched document is believed: a key that its owner removed goes on working for so long at most.
const DOCUMENT_KEPT: Duration = Duration::from_secs(300);

/// How long a document that could not be had is not asked for again.
const MISSING_KEPT: Duration = Duration::from_secs(30);

/// How long frames wait for a document.
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(10);

/// Documents kept, and documents known to be missing, each.
const MAX_DOCUMENTS: usize = 4_096;

/// Documents asked for at one time.
const MAX_ASKED: usize = 256;

/// Frames of one connection that may wait for a document, and their bytes.
const MAX_PARKED: usize = 32;
const MAX_PARKED_BYTES: usize = 4 * MAX_ENVELOPE_BYTES;

/// What waits for a document.
pub(super) enum Parked {
    Frame(Box<str>),
    Asked(Vec<u8>),
}

pub(super) struct Asked {
    pub(super) until: Tick,
    pub(super) waiting: Vec<Conn>,
}

impl Host {
    /// Asks for the documents that this frame lacks. False if none is worth asking for.
    pub(super) fn ask(&mut self, now: Now, conn: Conn, frame: &str, out: &mut Vec<Output>) -> bool {
        let unknown: Vec<Did> = needs(frame)
            .into_iter()
            .filter(|did| !self.known.contains_key(did) && self.documents.get(did).is_none())
            .collect();
        let Some(connection) = self.connections.get_mut(&conn) else { return false };
        for did in unknown {
            if !self.asked.contains_key(&did) {
                if self.asked.len() >= MAX_ASKED {
                    continue;
                }
                if let Err(limit) = self.accounts.fetch(&connection.from, now.tick) {
                    out.push(Output::Event(Event::Limited(limit)));
                    continue;
                }
                out.push(Output::Ask(did.clone()));
            }
            let until = now.tick + DOCUMENT_DEADLINE;
            let asked = self.asked.entry(did.clone()).or_insert(Asked { until, waiting: Vec::new() });
            asked.waiting.push(conn);
            connection.lacking.insert(did);
        }
        !connection.lacking.is_empty()
    }

    pub(super) fn park(&mut self, now: Now, conn: Conn, parked: Parked, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let size = match &parked {
            Parked::Frame(frame) => frame.len(),
            Parked::Asked(mark) => mark.len(),
        };
        if connection.parked.len() >= MAX_PARKED || connection.parked_bytes + size > MAX_PARKED_BYTES {
            return self.close(now, conn, Close::Abuse, out);
        }
        connection.parked_bytes += size;
        connection.parked.push_back(parked);
    }

    pub(super) fn answered(&mut self, now: Now, did: &Did, document: Option<Document>, out: &mut Vec<Output>) {
        let Some(asked) = self.asked.remove(did) else { return }; // late, or twice
        // What the operator has vouched for in the meantime stands.
        if self.documents.get(did).is_none() {
            self.believe(now, did, document);
        }
        for conn in asked.waiting {
            let Some(connection) = self.connections.get_mut(&conn) else { continue };
            connection.lacking.remove(did);
            if connection.lacking.is_empty() {
                self.unpark(now, conn, out);
            }
        }
    }

    fn believe(&mut self, now: Now, did: &Did, document: Option<Document>) {
        let kept = if document.is_some() { DOCUMENT_KEPT } else { MISSING_KEPT };
        if self.known.len() >= MAX_DOCUMENTS
            && let Some((due, oldest)) = self.forget.pop_first()
        {
            debug_assert!(due >= now.tick, "what is due was forgotten at the start of this call");
            self.known.remove(&oldest);
            self.documents.remove(&oldest);
        }
        let until = now.tick + kept;
        self.known.insert(did.clone(), until);
        self.forget.insert((until, did.clone()));
        if let Some(document) = document {
            self.documents.insert(document);
        }
    }

    fn unpark(&mut self, now: Now, conn: Conn, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let mut waiting = std::mem::take(&mut connection.parked);
        connection.parked_bytes = 0;
        while let Some(parked) = waiting.pop_front() {
            match parked {
                Parked::Frame(frame) => {
                    if !self.judge(now, conn, &frame, out) {
                        // It waits for another document, and the rest wait behind it.
                        for parked in waiting {
                            self.park(now, conn, parked, out);
                        }
                        return;
                    }
                }
                Parked::Asked(mark) => self.asked_by(now, conn, mark, out),
            }
            if !self.is_open(conn) {
                return;
            }
        }
    }
}
