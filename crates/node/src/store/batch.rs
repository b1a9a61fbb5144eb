//! What waits for the next commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use dsip_proto::envelope::Recorded;
use dsip_proto::relay::{Kept, KeptDevice, KeptPolicy, KeptRecord, KeptSubscription, KeptWake, Write};
use dsip_proto::wire::{Did, Ulid};

/// The last word on each thing: what came in between never reaches the disk. So a batch that waits for a disk that is out of
/// order holds no more than the relay's own bounds allow.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) held: BTreeMap<u64, Option<Kept>>,
    pub(super) devices: BTreeMap<Did, Option<KeptDevice>>,
    pub(super) seen: Vec<Recorded>,
    pub(super) subscriptions: BTreeMap<Ulid, Option<KeptSubscription>>,
    pub(super) records: BTreeMap<Arc<str>, Option<KeptRecord>>,
    pub(super) policies: BTreeMap<Did, Option<KeptPolicy>>,
    pub(super) wakes: BTreeMap<Did, Option<KeptWake>>,
    /// The number of the last write in it.
    pub(super) upto: u64,
    /// Whether somebody waits for it.
    pub(super) urgent: bool,
    writes: u64,
}

impl Batch {
    pub(super) fn push(&mut self, write: Write) {
        self.writes += 1;
        self.upto += 1;
        match write {
            Write::Hold(kept) => {
                self.urgent = true;
                self.held.insert(kept.place.number, Some(kept));
            }
            Write::Release(number) => {
                self.urgent = true;
                self.held.insert(number, None);
            }
            Write::Device(device) => {
                // Whoever has just bound is known from now on, also if the node is killed the next moment (SNF-1).
                self.urgent |= device.away_since.is_none();
                self.devices.insert(device.device.clone(), Some(device));
            }
            Write::NoDevice(device) => {
                self.devices.insert(device, None);
            }
            Write::Seen(recorded) => self.seen.push(recorded),
            // Who subscribed, published or chose waits to hear that it holds. Ends can wait: they would only come again.
            Write::Subscription(kept) => {
                self.urgent = true;
                self.subscriptions.insert(kept.id, Some(kept));
            }
            Write::NoSubscription(id) => {
                self.subscriptions.insert(id, None);
            }
            Write::Record(kept) => {
                self.urgent = true;
                self.records.insert(kept.stream.clone(), Some(kept));
            }
            Write::NoRecord(stream) => {
                self.records.insert(stream, None);
            }
            Write::Policy(kept) => {
                self.urgent = true;
                self.policies.insert(kept.subject.clone(), Some(kept));
            }
            Write::NoPolicy(subject) => {
                self.policies.insert(subject, None);
            }
            Write::Wake(kept) => {
                self.urgent = true;
                self.wakes.insert(kept.device.clone(), Some(kept));
            }
            // Its device waits to hear that it is not woken any more, or the push service says so itself.
            Write::NoWake(device) => {
                self.urgent = true;
                self.wakes.insert(device, None);
            }
        }
    }

    /// Takes over what came later.
    pub(super) fn append(&mut self, later: &mut Self) {
        self.held.append(&mut later.held);
        self.devices.append(&mut later.devices);
        self.seen.append(&mut later.seen);
        self.subscriptions.append(&mut later.subscriptions);
        self.records.append(&mut later.records);
        self.policies.append(&mut later.policies);
        self.wakes.append(&mut later.wakes);
        self.writes += std::mem::take(&mut later.writes);
        self.upto = later.upto;
        self.urgent |= std::mem::take(&mut later.urgent);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes == 0
    }

    /// Everything in it is durable.
    pub(super) fn clear(&mut self) {
        *self = Self { upto: self.upto, ..Self::default() };
    }
}
