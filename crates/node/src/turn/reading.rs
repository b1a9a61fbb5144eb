//! Reading a UDP socket for as long as the node runs, whatever the system says in between.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// Datagrams read in a row from one socket before others have their turn.
const BATCH: usize = 64;

/// How long a socket that cannot be read is left alone: the system may be out of memory.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a socket can be read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    fails: AtomicBool,
    failures: AtomicU64,
}

impl Reading {
    /// Whether the last attempt failed, though nothing is wrong with any peer.
    pub(crate) fn fails(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    /// How often one has.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Remembers how an attempt went, and waits before the next one if it has to.
    pub(super) async fn note(&self, read: io::Result<()>) {
        let Err(error) = read else {
            if self.fails.swap(false, Ordering::Relaxed) {
                tracing::info!("a UDP socket of STUN and TURN can be read again");
            }
            return tokio::task::coop::consume_budget().await;
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !self.fails.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "a UDP socket of STUN and TURN cannot be read");
        }
        sleep(PAUSE).await;
    }
}

/// Takes what a socket has, with `receive` into `buffer`, as far as it is one task's turn. An error is about the socket, not
/// about a peer.
pub(super) fn receive_all(
    buffer: &mut [u8],
    mut receive: impl FnMut(&mut [u8]) -> io::Result<(Range<usize>, SocketAddr)>,
    mut take: impl FnMut(&mut [u8], Range<usize>, SocketAddr),
) -> io::Result<()> {
    for _ in 0..BATCH {
        match receive(buffer) {
            Ok((data, from)) => take(buffer, data, from),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // An ICMP message about some earlier packet; the socket itself is well.
            Err(error) if is_about_a_peer(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_about_a_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_fails_is_read_again_after_a_pause() {
        let out_of_memory = || Err(io::Error::from(io::ErrorKind::OutOfMemory));
        let from: SocketAddr = "192.0.2.1:9".parse().expect("an address");
        let refused = || Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        let empty = || Err(io::Error::from(io::ErrorKind::WouldBlock));
        let mut socket = VecDeque::from([
            Ok((0..1, from)),
            refused(),
            Ok((0..2, from)),
            out_of_memory(),
            out_of_memory(),
            Ok((0..3, from)),
            empty(),
        ]);
        let (reading, mut heard) = (Reading::default(), Vec::new());
        let mut seen = Vec::new();
        while !socket.is_empty() {
            let read = receive_all(
                &mut [],
                |_| socket.pop_front().expect("it was read too often"),
                |_, data, _| heard.push(data.end),
            );
            let began = tokio::time::Instant::now();
            let has_failed = read.is_err();
            reading.note(read).await;
            assert!(!has_failed || began.elapsed() >= PAUSE, "it must not be read in a loop meanwhile");
            seen.push((reading.fails(), reading.failures()));
        }
        assert_eq!(
            heard,
            [1, 2, 3],
            "what an error about a peer stands between is read, and what comes after a failure"
        );
        assert_eq!(seen, [(true, 1), (true, 2), (false, 2)]);
    }
}
