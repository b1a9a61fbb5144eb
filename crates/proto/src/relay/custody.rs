//! What was handed to one connection and is not known to have arrived (docs/spec/custody.md).
//!
//! ```text
//!  push ─► waiting ── window ─► sent ── a question after it is answered ─► theirs
//!                                │ no answer in time: put on disk, if it is not there (CUS-13)
//!  the connection ends: what is not theirs goes back to the inbox, at its old place (CUS-14)
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::message::Message;
use super::rate::{Bucket, Rate};
use crate::time::Tick;
use crate::wire::Did;

/// What was sent is asked after at once; on a connection that is busy for longer, many envelopes share a question, for it
/// costs a small envelope's work.
const QUESTIONS: Rate = Rate { burst: 8, every: Duration::from_millis(500) };

/// What has not been acknowledged by then is put on disk: soon if its sender waits for that, else not so soon that every
/// call on a slow network would cost the disk something.
const KEEP_AFTER: Duration = Duration::from_secs(1);
const KEEP_AWAITED_AFTER: Duration = Duration::from_millis(100);

/// CUS-15: envelopes that are on their way to one device at once, and their bytes. More waits here for acknowledgements.
const WINDOW: usize = 128;
const WINDOW_BYTES: usize = 512 << 10;

/// So much is asked after at once.
const ASK_AT: u64 = 32;

/// Envelopes that one device may leave unacknowledged, and their bytes: a whole inbox under each of its two addresses, and
/// as much again. Who leaves more is not reading.
const MAX_UNACKNOWLEDGED: usize = 1_024;
const MAX_UNACKNOWLEDGED_BYTES: usize = 4 << 20;

/// An envelope in custody.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Its arrival number.
    pub(super) number: u64,
    /// Under which address it waits if it comes back, and until when; the latter is known if it has waited before.
    pub(super) address: Did,
    pub(super) deadline: Option<u64>,
    pub(super) message: Arc<Message>,
    pub(super) at: Tick,
    /// Whether it is on disk, or on its way there.
    pub(super) kept: bool,
    /// The device it came from, which may ask whether it is safe.
    pub(super) origin: Option<Did>,
}

/// The envelopes that one connection has not acknowledged. They are counted from 1 in the order they were handed over.
#[derive(Debug, Default)]
pub(super) struct Custody {
    out: VecDeque<Delivery>,
    bytes: usize,
    /// How many were handed over, sent, asked after, and acknowledged; each at most the one before it.
    pushed: u64,
    sent: u64,
    sent_bytes: usize,
    asked: u64,
    acknowledged: u64,
    /// How many of the first are on disk for certain, and before which one somebody waits for that.
    kept: u64,
    wanted: u64,
    questions: Bucket,
    /// When the next question may be put, if there is one to put.
    ask_from: Tick,
}

impl Custody {
    /// Takes one more. False if that makes too many; it is taken all the same.
    pub(super) fn push(&mut self, delivery: Delivery) -> bool {
        self.bytes += delivery.message.text.len();
        self.pushed += 1;
        self.out.push_back(delivery);
        self.out.len() <= MAX_UNACKNOWLEDGED && self.bytes <= MAX_UNACKNOWLEDGED_BYTES
    }

    /// The next one to send, if the window is open.
    pub(super) fn next(&mut self, now: Tick) -> Option<Arc<Message>> {
        let under_way = usize::try_from(self.sent - self.acknowledged).unwrap_or(usize::MAX);
        let message = self.out.get(under_way)?.message.clone();
        if under_way >= WINDOW || under_way > 0 && self.sent_bytes + message.text.len() > WINDOW_BYTES {
            return None;
        }
        if let Some(delivery) = self.out.get_mut(under_way) {
            delivery.at = now;
        }
        self.sent += 1;
        self.sent_bytes += message.text.len();
        Some(message)
    }

    /// The question to put now, if there is one. One is open at a time.
    pub(super) fn question(&mut self, now: Tick) -> Option<u64> {
        let unasked = self.sent - self.asked;
        if unasked == 0 || self.asked > self.acknowledged {
            return None;
        }
        let waits = self.sent < self.pushed;
        if !waits
            && unasked < ASK_AT
            && let Err(wait) = self.questions.take(QUESTIONS, now)
        {
            self.ask_from = now + wait;
            return None;
        }
        self.asked = self.sent;
        Some(self.asked)
    }

    /// Somebody waits: the next question may be put at once, and what is unacknowledged goes to disk soon.
    pub(super) fn hurry(&mut self) {
        self.wanted = self.pushed;
        self.questions = Bucket::default();
    }

    /// The device has the first so many.
    pub(super) fn acknowledge(&mut self, number: u64) -> Vec<Delivery> {
        let count = number.min(self.asked).saturating_sub(self.acknowledged);
        self.acknowledged += count;
        let theirs: Vec<Delivery> = (0..count).map_while(|_| self.out.pop_front()).collect();
        let bytes: usize = theirs.iter().map(|delivery| delivery.message.text.len()).sum();
        self.bytes -= bytes;
        self.sent_bytes -= bytes;
        self.kept = self.kept.max(self.acknowledged);
        theirs
    }

    /// The next one that has waited too long for its acknowledgement and is not on disk; it counts as kept from here on.
    pub(super) fn overdue(&mut self, now: Tick) -> Option<&Delivery> {
        let at = self.first_unkept()?;
        if now < self.out.get(at)?.at + self.patience() {
            return None;
        }
        let delivery = self.out.get_mut(at)?;
        delivery.kept = true;
        Some(delivery)
    }

    /// When [`question`](Self::question) or, where there is a disk to write to, [`overdue`](Self::overdue) has something.
    pub(super) fn due(&mut self, writable: bool) -> Option<Tick> {
        let ask = (self.sent > self.asked && self.asked == self.acknowledged).then_some(self.ask_from);
        let keep = if writable {
            self.first_unkept().and_then(|at| self.out.get(at)).map(|delivery| delivery.at + self.patience())
        } else {
            None
        };
        ask.into_iter().chain(keep).min()
    }

    /// How many were handed over and not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// All that was not acknowledged, in order; what is still said about it is too late.
    pub(super) fn take(&mut self) -> VecDeque<Delivery> {
        (self.sent, self.asked, self.acknowledged, self.kept) = (self.pushed, self.pushed, self.pushed, self.pushed);
        (self.bytes, self.sent_bytes) = (0, 0);
        std::mem::take(&mut self.out)
    }

    /// How long the first one that is not on disk may go without.
    fn patience(&self) -> Duration {
        if self.kept < self.wanted { KEEP_AWAITED_AFTER } else { KEEP_AFTER }
    }

    fn first_unkept(&mut self) -> Option<usize> {
        let from = usize::try_from(self.kept - self.acknowledged).ok()?;
        let skipped = self.out.iter().skip(from).take_while(|delivery| delivery.kept).count();
        self.kept += u64::try_from(skipped).ok()?;
        (from + skipped < self.out.len()).then_some(from + skipped)
    }
}
