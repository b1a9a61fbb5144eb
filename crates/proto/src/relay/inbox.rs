//! Store-and-forward (03 §3.6): what waits for whom, until when, and how much of it one sender may make us keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::kept::{Kept, Write};
use super::message::{Body, Message};
use crate::wire::{Did, Ulid};

/// Introductions that wait in one inbox (SNF-8); further ones vanish without telling the sender.
pub const MAX_INTRODUCTIONS: usize = 16;

/// Envelopes of every type that wait in one inbox (SNF-8); further ones are refused.
pub const MAX_QUEUED: usize = 256;

/// Bytes that wait in one inbox (SNF-8).
pub const MAX_QUEUED_BYTES: usize = 1 << 20;

/// Introductions that wait for addresses never bound here. They are kept only so that a missing recipient looks like a
/// silent one (RLY-60), so they have a small purse of their own: the oldest makes room for the newest, and no flood of
/// them takes room from people who do exist.
pub const MAX_FOR_STRANGERS: usize = 8_192;

/// Envelopes of one sender that the relay holds at once, in inboxes and as invites of open attempts.
pub const MAX_PER_SENDER: usize = 4_096;

/// Bytes of one sender that the relay holds at once.
pub const MAX_BYTES_PER_SENDER: usize = 8 << 20;

/// Envelopes that the relay holds at once, for everybody together.
pub const MAX_HELD: usize = 262_144;

/// Bytes that the relay holds at once, for everybody together.
pub const MAX_HELD_BYTES: usize = 512 << 20;

/// Why an envelope is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The recipient's inbox has no room left.
    Inbox,
    /// The sender has used up its share, or the relay as a whole is full.
    Share,
}

/// How much the relay holds, and for how much of it each sender is to blame.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    total: Share,
    senders: BTreeMap<Did, Share>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    envelopes: usize,
    bytes: usize,
}

impl Share {
    fn with(self, bytes: usize) -> Self {
        Self { envelopes: self.envelopes.saturating_add(1), bytes: self.bytes.saturating_add(bytes) }
    }
}

impl Ledger {
    /// Books `message`, or refuses if its sender or the relay as a whole would hold too much.
    pub(super) fn take(&mut self, message: &Message) -> Result<(), Full> {
        let size = message.text.len();
        let sender = self.senders.get(&message.from).copied().unwrap_or_default().with(size);
        let total = self.total.with(size);
        if sender.envelopes > MAX_PER_SENDER
            || sender.bytes > MAX_BYTES_PER_SENDER
            || total.envelopes > MAX_HELD
            || total.bytes > MAX_HELD_BYTES
        {
            return Err(Full::Share);
        }
        self.book(message);
        Ok(())
    }

    /// Books `message`, however much that makes.
    fn book(&mut self, message: &Message) {
        let size = message.text.len();
        self.total = self.total.with(size);
        let sender = self.senders.entry(message.from.clone()).or_default();
        *sender = sender.with(size);
    }

    /// Books `message` out again.
    pub(super) fn give_back(&mut self, message: &Message) {
        let size = message.text.len();
        let less = |share: &mut Share| {
            share.envelopes = share.envelopes.saturating_sub(1);
            share.bytes = share.bytes.saturating_sub(size);
        };
        less(&mut self.total);
        if let Some(sender) = self.senders.get_mut(&message.from) {
            less(sender);
            if sender.envelopes == 0 {
                self.senders.remove(&message.from);
            }
        }
    }

    pub(super) const fn envelopes(&self) -> usize {
        self.total.envelopes
    }

    pub(super) const fn bytes(&self) -> usize {
        self.total.bytes
    }
}

/// Where an envelope waits, or goes back to if it turns out that its recipient did not get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub address: Did,
    /// Its arrival, counted across all inboxes: they are in this order.
    pub number: u64,
    /// Until when it waits, in Unix seconds (SNF-2).
    pub deadline: u64,
}

/// Every queue of the relay, by the address as written in `to`.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queues: BTreeMap<Did, Queue>,
    /// What is due when: by deadline, then by arrival.
    deadlines: BTreeSet<(u64, u64, Did)>,
    /// Introductions for addresses unknown here, by arrival.
    for_strangers: BTreeMap<u64, Did>,
    /// The next arrival number.
    arrivals: u64,
    /// What is to be put on disk or taken off it, in order.
    pub(super) writes: Vec<Write>,
}

/// One address's envelopes, in arrival order.
#[derive(Debug, Default)]
struct Queue {
    held: BTreeMap<u64, Held>,
    introductions: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    message: Arc<Message>,
    deadline: u64,
}

impl Inbox {
    /// Keeps `message` under `to` until `deadline`, in Unix seconds. `known` says whether `to` ever bound here.
    pub(super) fn push(
        &mut self,
        to: &Did,
        message: Arc<Message>,
        deadline: u64,
        known: bool,
        ledger: &mut Ledger,
    ) -> Result<(), Full> {
        let introduction = message.body == Body::Introduction;
        if let Some(queue) = self.queues.get(to) {
            let full = queue.held.len() >= MAX_QUEUED
                || queue.bytes.saturating_add(message.text.len()) > MAX_QUEUED_BYTES
                || introduction && queue.introductions >= MAX_INTRODUCTIONS;
            if full {
                return Err(Full::Inbox);
            }
        }
        ledger.take(&message)?;
        if !known {
            if self.for_strangers.len() >= MAX_FOR_STRANGERS
                && let Some((oldest, address)) = self.for_strangers.pop_first()
                && self.remove(&address, oldest, ledger).is_some()
            {
                self.writes.push(Write::Release(oldest));
            }
            self.for_strangers.insert(self.arrivals, to.clone());
        }
        let place = Place { address: to.clone(), number: self.number(), deadline };
        self.writes.push(Write::Hold(Kept { place: place.clone(), text: message.text.clone() }));
        self.insert(place, message);
        Ok(())
    }

    /// Puts `message` where it was before, or where it would have been had its recipient been away. It was let in once, so no
    /// limit stands in its way. What is not on disk yet goes there.
    pub(super) fn put_back(&mut self, place: Place, message: Arc<Message>, on_disk: bool, ledger: &mut Ledger) {
        ledger.book(&message);
        if !on_disk {
            self.writes.push(Write::Hold(Kept { place: place.clone(), text: message.text.clone() }));
        }
        self.insert(place, message);
    }

    /// Puts back what was on disk when the relay last stopped.
    pub(super) fn restore(&mut self, place: Place, message: Message, known: bool, ledger: &mut Ledger) {
        self.arrivals = self.arrivals.max(place.number.saturating_add(1));
        if !known {
            self.for_strangers.insert(place.number, place.address.clone());
        }
        self.put_back(place, Arc::new(message), true, ledger);
    }

    /// A new arrival's number.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.arrivals;
        self.arrivals += 1;
        number
    }

    fn insert(&mut self, Place { address, number, deadline }: Place, message: Arc<Message>) {
        let queue = self.queues.entry(address.clone()).or_default();
        queue.introductions += usize::from(message.body == Body::Introduction);
        queue.bytes += message.text.len();
        queue.held.insert(number, Held { message, deadline });
        self.deadlines.insert((deadline, number, address));
    }

    /// Takes out all that waits under `to`, in arrival order; on disk it stays until its recipient has it. Some of it may be
    /// too old for its receiver by now, which is the receiver's business (SNF-7).
    pub(super) fn flush(&mut self, to: &Did, ledger: &mut Ledger) -> Vec<(Place, Arc<Message>)> {
        let Some(queue) = self.queues.remove(to) else { return Vec::new() };
        let mut flushed = Vec::with_capacity(queue.held.len());
        for (arrival, held) in queue.held {
            self.deadlines.remove(&(held.deadline, arrival, to.clone()));
            self.for_strangers.remove(&arrival);
            ledger.give_back(&held.message);
            flushed.push((Place { address: to.clone(), number: arrival, deadline: held.deadline }, held.message));
        }
        flushed
    }

    /// The invite that opens `session`, if it waits under `to`.
    pub(super) fn invite(&self, to: &Did, session: Ulid) -> Option<&Message> {
        let held = &self.queues.get(to)?.held;
        held.values().map(|held| &*held.message).find(|message| message.body == Body::Invite && message.id == session)
    }

    /// Takes out the message `id` that waits under `to`.
    pub(super) fn withdraw(&mut self, to: &Did, id: Ulid, ledger: &mut Ledger) -> Option<Arc<Message>> {
        let held = &self.queues.get(to)?.held;
        let arrival = held.iter().find(|(_, held)| held.message.id == id).map(|(arrival, _)| *arrival)?;
        self.writes.push(Write::Release(arrival));
        self.remove(to, arrival, ledger)
    }

    /// Drops what is due at `now`, in Unix seconds: by address, then by arrival (SNF-2).
    pub(super) fn expire(&mut self, now: u64, ledger: &mut Ledger) -> Vec<(Did, Arc<Message>)> {
        let mut due = Vec::new();
        while self.deadlines.first().is_some_and(|(deadline, ..)| *deadline <= now) {
            if let Some((_, arrival, address)) = self.deadlines.pop_first() {
                due.push((address, arrival));
            }
        }
        due.sort();
        due.into_iter()
            .filter_map(|(address, arrival)| {
                let message = self.remove(&address, arrival, ledger)?;
                self.writes.push(Write::Release(arrival));
                Some((address, message))
            })
            .collect()
    }

    /// When the next envelope is due, in Unix seconds.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, ..)| *deadline)
    }

    /// Every address for which something waits, and how much.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Did, usize)> {
        self.queues.iter().map(|(address, queue)| (address, queue.held.len()))
    }

    fn remove(&mut self, to: &Did, arrival: u64, ledger: &mut Ledger) -> Option<Arc<Message>> {
        let queue = self.queues.get_mut(to)?;
        let held = queue.held.remove(&arrival)?;
        queue.introductions -= usize::from(held.message.body == Body::Introduction);
        queue.bytes -= held.message.text.len();
        if queue.held.is_empty() {
            self.queues.remove(to);
        }
        self.deadlines.remove(&(held.deadline, arrival, to.clone()));
        self.for_strangers.remove(&arrival);
        ledger.give_back(&held.message);
        Some(held.message)
    }
}
