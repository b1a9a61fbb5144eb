//! Waking at a moment, to some hundred microseconds.
//!
//! The runtime's own timer counts in milliseconds, which is more than a node takes to route an envelope. So one thread
//! sleeps as exactly as the system can, and wakes whoever is due.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use tokio::sync::oneshot;

/// Wakes whoever asks it to. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Alarm {
    requests: Sender<Request>,
}

#[derive(Debug)]
struct Request {
    at: Instant,
    wake: oneshot::Sender<()>,
}

impl Alarm {
    pub(super) fn start() -> std::io::Result<Self> {
        let (requests, receiver) = channel();
        std::thread::Builder::new().name("load-alarm".into()).spawn(move || run(&receiver))?;
        Ok(Self { requests })
    }

    /// Returns at `at`, or at once if that is past.
    pub(super) async fn wait(&self, at: Instant) {
        if at <= Instant::now() {
            return;
        }
        let (wake, woken) = oneshot::channel();
        // The thread outlives every sender; were it gone, whoever waits goes on early and is counted as such.
        if self.requests.send(Request { at, wake }).is_ok() {
            let _ = woken.await;
        }
    }
}

fn run(requests: &Receiver<Request>) {
    let mut waiting: BinaryHeap<Request> = BinaryHeap::new();
    loop {
        let now = Instant::now();
        while waiting.peek().is_some_and(|next| next.at <= now) {
            // Whoever gave up waiting is not there to be woken.
            let _ = waiting.pop().map(|due| due.wake.send(()));
        }
        let received = match waiting.peek() {
            Some(next) => requests.recv_timeout(next.at.saturating_duration_since(now)),
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(request) => waiting.push(request),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

// The earliest stands at the top of the heap.
impl Ord for Request {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Request {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Request {}
