//! What a relay has to find again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inbox::Place;
use crate::envelope::Recorded;
use crate::subscribe::authority::Mode;
use crate::wake::Endpoint;
use crate::wire::token::SubscriptionEvent;
use crate::wire::{Did, Ulid};

/// One change to what is kept. They are numbered from 1 in the order they come out, and a store that has made the first so
/// many of them durable says so; it may combine them, and it may not reorder two that concern the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Keep this envelope. Its sender waits for that, so it should not take long.
    Hold(Kept),
    /// The envelope with this arrival number is no longer ours to keep: its recipient has it, or nobody wants it any more.
    Release(u64),
    /// This device has bound here, or has gone (DIS-15).
    Device(KeptDevice),
    /// This device is forgotten.
    NoDevice(Did),
    /// This id was accepted (RPL-3, RPL-6). Whoever waits for nothing else need not hurry.
    Seen(Recorded),
    /// Somebody has subscribed, or a subscription was used up to a higher `seq`. Its first notify waits for this.
    Subscription(KeptSubscription),
    /// This subscription is over.
    NoSubscription(Ulid),
    /// A stream's record, its state, or what processors state about it.
    Record(KeptRecord),
    /// The record of this stream is forgotten.
    NoRecord(Arc<str>),
    /// What an identity said about its presence.
    Policy(KeptPolicy),
    /// That is over.
    NoPolicy(Did),
    /// A device says where it can be woken. It is told when that is done.
    Wake(KeptWake),
    /// This device is not woken any more.
    NoWake(Did),
}

/// An envelope that waits for its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it waits.
    pub place: Place,
    /// Its text.
    pub text: Arc<str>,
}

/// A device that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDevice {
    /// The device.
    pub device: Did,
    /// The identity it acts for.
    pub identity: Did,
    /// The Unix second it went away; `None` while it is bound.
    pub away_since: Option<u64>,
}

/// A subscription that has been accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSubscription {
    /// The id of its `subscribe`.
    pub id: Ulid,
    /// The identity that subscribed.
    pub subscriber: Did,
    /// The device that is told.
    pub device: Did,
    /// What to.
    pub target: String,
    /// Which events.
    pub events: Vec<SubscriptionEvent>,
    /// When it ends, in Unix seconds.
    pub expires_at: u64,
    /// No notify had a higher `seq` before this was written again (SUB-4).
    pub seq: u64,
    /// The token it was accepted for.
    pub capability: Option<String>,
    /// Whether its subscriber wants records with their notifies (PRS-20).
    pub with_record: bool,
}

/// A publisher's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    /// The stream.
    pub stream: Arc<str>,
    /// The `publish`.
    pub text: Arc<str>,
    /// Whether it was withdrawn since.
    pub withdrawn: bool,
    /// Statements about it, in the order they came.
    pub statements: Vec<KeptStatement>,
}

/// A processor's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptStatement {
    /// Who made it.
    pub processor: Did,
    /// The `provenance`.
    pub text: Arc<str>,
}

/// Who may see whether an identity is there, by its own word (PRS-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPolicy {
    /// The identity.
    pub subject: Did,
    /// The id of the message that said so; an older one changes nothing.
    pub said: Ulid,
    /// Until when it is kept, in Unix seconds.
    pub until: u64,
    /// Who may.
    pub mode: Mode,
}

/// Where a device can be woken (WAK-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptWake {
    /// The device.
    pub device: Did,
    /// The identity it acts for.
    pub identity: Did,
    /// Where.
    pub endpoint: Endpoint,
    /// Until when, in Unix seconds.
    pub until: u64,
}

/// Everything that is kept. A store gives it back at the start; it is also what a store is, without a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Envelopes, by arrival.
    pub held: BTreeMap<u64, Kept>,
    /// Devices.
    pub devices: BTreeMap<Did, KeptDevice>,
    /// Ids, in no order; those that are over do no harm.
    pub seen: Vec<Recorded>,
    /// Subscriptions, by id.
    pub subscriptions: BTreeMap<Ulid, KeptSubscription>,
    /// Records, by stream.
    pub records: BTreeMap<Arc<str>, KeptRecord>,
    /// Policies, by whose presence they are about.
    pub policies: BTreeMap<Did, KeptPolicy>,
    /// Where devices can be woken, by device.
    pub wakes: BTreeMap<Did, KeptWake>,
}

impl Memory {
    /// Makes one change.
    pub fn apply(&mut self, write: Write) {
        match write {
            Write::Hold(kept) => drop(self.held.insert(kept.place.number, kept)),
            Write::Release(number) => drop(self.held.remove(&number)),
            Write::Device(device) => drop(self.devices.insert(device.device.clone(), device)),
            Write::NoDevice(device) => drop(self.devices.remove(&device)),
            Write::Seen(id) => self.seen.push(id),
            Write::Subscription(kept) => drop(self.subscriptions.insert(kept.id, kept)),
            Write::NoSubscription(id) => drop(self.subscriptions.remove(&id)),
            Write::Record(kept) => drop(self.records.insert(kept.stream.clone(), kept)),
            Write::NoRecord(stream) => drop(self.records.remove(&stream)),
            Write::Policy(kept) => drop(self.policies.insert(kept.subject.clone(), kept)),
            Write::NoPolicy(subject) => drop(self.policies.remove(&subject)),
            Write::Wake(kept) => drop(self.wakes.insert(kept.device.clone(), kept)),
            Write::NoWake(device) => drop(self.wakes.remove(&device)),
        }
    }
}
