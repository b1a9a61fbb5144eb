//! What a relay has to find again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inbox::Place;
use crate::envelope::Recorded;
use crate::wire::Did;

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

/// Everything that is kept. A store gives it back at the start; it is also what a store is, without a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Envelopes, by arrival.
    pub held: BTreeMap<u64, Kept>,
    /// Devices.
    pub devices: BTreeMap<Did, KeptDevice>,
    /// Ids, in no order; those that are over do no harm.
    pub seen: Vec<Recorded>,
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
        }
    }
}
