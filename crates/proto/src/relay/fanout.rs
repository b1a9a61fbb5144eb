//! Notifies that have still to be sent: at most one for each subscription, the latest.
//!
//! ```text
//!  push ─► ready, in order ─► next ─► signed and sent
//!             ▲                 │ its device is away, or has too much unread
//!             └── wake(device) ─┴─► parked under the device
//! ```
//!
//! A subscriber wants to know how things stand, not how they stood: a notify that has not left makes room for the next one,
//! and `seq` may have gaps (SBR-11). So neither a stream with many subscribers, nor a phone that comes and goes, nor a
//! subscriber who does not read makes this grow beyond the subscriptions there are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::subscribe::authority::Notify;
use crate::wire::{Did, Ulid};

/// What has still to be sent.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    latest: BTreeMap<Ulid, Waiting>,
    ready: VecDeque<Ulid>,
    parked: BTreeMap<Did, BTreeSet<Ulid>>,
}

#[derive(Debug)]
struct Waiting {
    notify: Notify,
    parked: bool,
}

impl Fanout {
    /// Takes one in, in place of an earlier one of its subscription.
    pub(super) fn push(&mut self, notify: Notify) {
        let id = notify.subscription;
        if let Some(waiting) = self.latest.get_mut(&id) {
            waiting.notify = notify;
        } else {
            self.latest.insert(id, Waiting { notify, parked: false });
            self.ready.push_back(id);
        }
    }

    /// The next one to send.
    pub(super) fn next(&mut self) -> Option<Notify> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(waiting) = self.latest.remove(&id) {
                return Some(waiting.notify);
            }
        }
        None
    }

    /// Keeps one until [`wake`](Self::wake) of its device.
    pub(super) fn park(&mut self, notify: Notify) {
        let id = notify.subscription;
        self.parked.entry(notify.to.clone()).or_default().insert(id);
        self.latest.insert(id, Waiting { notify, parked: true });
    }

    /// What is parked for this device may be tried again.
    pub(super) fn wake(&mut self, device: &Did) {
        for id in self.parked.remove(device).unwrap_or_default() {
            if let Some(waiting) = self.latest.get_mut(&id) {
                waiting.parked = false;
                self.ready.push_back(id);
            }
        }
    }

    /// The subscription is over, and nothing more is said about it (SUB-7).
    pub(super) fn forget(&mut self, id: Ulid) {
        if let Some(Waiting { notify, parked: true }) = self.latest.remove(&id)
            && let Some(parked) = self.parked.get_mut(&notify.to)
        {
            parked.remove(&id);
            if parked.is_empty() {
                self.parked.remove(&notify.to);
            }
        }
        // In `ready` its id stays behind, to be passed over: there are no more of those than were pushed.
    }

    /// Whether there is something to send now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many have still to be sent.
    pub(super) fn len(&self) -> usize {
        self.latest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscribe::authority::Told;
    use crate::wire::token::NotifyState;

    fn did(name: &str) -> Did {
        format!("did:key:z6Mk{name}").parse().expect("a DID")
    }

    fn notify(to: &str, subscription: u128, seq: u64) -> Notify {
        Notify {
            to: did(to),
            subscription: Ulid::from_bits(subscription),
            seq,
            state: NotifyState::Active,
            reason: None,
            body: Told::Presence { available: true },
        }
    }

    #[test]
    fn sbr_11_the_latest_takes_the_place_of_what_has_not_left() {
        let mut fanout = Fanout::default();
        fanout.push(notify("A", 1, 1));
        fanout.push(notify("B", 2, 1));
        fanout.push(notify("A", 1, 2));
        assert_eq!(fanout.next(), Some(notify("A", 1, 2)), "its place in line stays");
        assert_eq!(fanout.next(), Some(notify("B", 2, 1)));
        assert_eq!(fanout.next(), None);
    }

    #[test]
    fn what_is_parked_waits_for_its_device_and_is_kept_up_to_date() {
        let mut fanout = Fanout::default();
        fanout.park(notify("A", 1, 1));
        fanout.push(notify("A", 1, 2));
        fanout.push(notify("B", 2, 1));
        assert_eq!(fanout.next(), Some(notify("B", 2, 1)));
        assert!(!fanout.is_ready());
        fanout.wake(&did("B"));
        assert!(!fanout.is_ready());
        fanout.wake(&did("A"));
        assert_eq!(fanout.next(), Some(notify("A", 1, 2)));
        fanout.park(notify("A", 1, 3));
        fanout.forget(Ulid::from_bits(1));
        fanout.wake(&did("A"));
        assert_eq!((fanout.next(), fanout.len()), (None, 0));
    }
}
