//! A node's disk: what was written is safe after a while, and not before.

use std::time::Duration;

use dsip_proto::relay::host::Input;
use dsip_proto::relay::{Memory, Write};
use dsip_proto::time::Tick;

/// How long a disk that refused is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// One disk, written in groups, as the store of a real node does.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    safe: Memory,
    /// On its way to the platter: all of it arrives or nothing.
    underway: Vec<Write>,
    waiting: Vec<Write>,
    stored: u64,
    due: Option<Tick>,
    /// How long a group takes; no time at all unless a world wants it.
    takes: Duration,
    refuses: bool,
    /// Whether the node knows that it refuses.
    told: bool,
}

impl Disk {
    /// What survives if the power goes now.
    pub(crate) fn safe(&self) -> &Memory {
        &self.safe
    }

    pub(crate) fn set_speed(&mut self, takes: Duration) {
        self.takes = takes;
    }

    /// Full, or read-only: the two look the same to who writes.
    pub(crate) fn set_refuses(&mut self, refuses: bool) {
        self.refuses = refuses;
    }

    pub(crate) fn write(&mut self, now: Tick, write: Write) {
        self.waiting.push(write);
        if self.due.is_none() {
            self.begin(now);
        }
    }

    /// When to look whether something has become safe.
    pub(crate) fn wake(&self) -> Option<Tick> {
        self.due
    }

    /// What the node learns from it by now.
    pub(crate) fn poll(&mut self, now: Tick) -> Vec<Input<'static>> {
        let mut news = Vec::new();
        while self.due.is_some_and(|due| due <= now) {
            if self.refuses {
                if !std::mem::replace(&mut self.told, true) {
                    news.push(Input::Disk { writable: false });
                }
                self.due = Some(now + RETRY);
                break;
            }
            for write in self.underway.drain(..) {
                self.safe.apply(write);
                self.stored += 1;
            }
            news.push(Input::Stored { count: self.stored });
            if std::mem::take(&mut self.told) {
                news.push(Input::Disk { writable: true });
            }
            self.due = None;
            if !self.waiting.is_empty() {
                self.begin(now);
            }
        }
        news
    }

    /// The power goes. What was under way may be safe all the same, without anybody knowing.
    pub(crate) fn crash(&mut self, made_it: bool) {
        if made_it && !self.refuses {
            for write in self.underway.drain(..) {
                self.safe.apply(write);
            }
        }
        self.underway.clear();
        self.waiting.clear();
        (self.stored, self.due, self.told) = (0, None, false);
    }

    fn begin(&mut self, now: Tick) {
        self.underway.append(&mut self.waiting);
        self.due = Some(now + self.takes);
    }
}
