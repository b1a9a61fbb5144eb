//! The file of peers that survives a restart, so that a newcomer's bootstrap peers stop mattering after the first day.
//!
//! One multiaddr with a `/p2p/` part per line. The file is ours, but what stands in it came from strangers, and a disk
//! may hand back anything: it is read line by line under bounds, and a line that makes no sense is skipped.

use std::io;
use std::path::Path;

use libp2p::PeerId;
use libp2p::multiaddr::{Multiaddr, Protocol};

/// At most this many peers are remembered.
pub const MAX_REMEMBERED: usize = 128;
/// A longer file is not ours.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads the text of the file: every address that can be dialled and says whom it leads to.
#[must_use]
pub fn parse(text: &str) -> Vec<(PeerId, Multiaddr)> {
    text.lines().filter(|line| line.len() <= 256).filter_map(peer).take(MAX_REMEMBERED).collect()
}

/// Splits an address that ends in `/p2p/ID`.
pub(super) fn split(mut address: Multiaddr) -> Option<(PeerId, Multiaddr)> {
    match address.pop() {
        Some(Protocol::P2p(peer)) if !address.is_empty() => Some((peer, address)),
        _ => None,
    }
}

fn peer(line: &str) -> Option<(PeerId, Multiaddr)> {
    let (peer, address) = split(line.trim().parse().ok()?)?;
    address.iter().any(|part| matches!(part, Protocol::Tcp(_))).then_some((peer, address))
}

/// What the file holds; nothing if there is none.
pub(super) async fn load(path: &Path) -> Vec<(PeerId, Multiaddr)> {
    match tokio::fs::metadata(path).await {
        Ok(file) if file.len() <= MAX_BYTES => {}
        Ok(_) => {
            tracing::warn!(path = %path.display(), "the file of remembered DHT peers is too long; ignoring it");
            return Vec::new();
        }
        Err(_) => return Vec::new(),
    }
    tokio::fs::read(path).await.map(|bytes| parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
}

/// Replaces the file's content, so that a crash leaves either the old or the new one.
///
/// It is written at once and not by another thread: a look-up's process may end with the answer, and the file is small.
pub(super) fn save<'a>(path: &Path, peers: impl Iterator<Item = (&'a PeerId, &'a Multiaddr)>) -> io::Result<()> {
    let mut text = String::new();
    for (peer, address) in peers.take(MAX_REMEMBERED) {
        if let Ok(address) = address.clone().with_p2p(*peer) {
            text.push_str(&address.to_string());
            text.push('\n');
        }
    }
    // Several processes may share the file: whoever is last wins, and nobody reads a mixture.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_make_no_sense_are_skipped() {
        let id = PeerId::random();
        let text = format!(
            "\n/ip4/192.0.2.7/tcp/4101/p2p/{id}\nrubbish\n/ip4/192.0.2.7/tcp/4101\n/p2p/{id}\n/ip4/1.1.1.1/udp/1/p2p/{id}\n{}",
            "x".repeat(5000)
        );
        let peers = parse(&text);
        assert_eq!(peers, [(id, "/ip4/192.0.2.7/tcp/4101".parse().expect("an address"))]);
    }

    #[test]
    fn no_more_are_read_than_are_remembered() {
        let text = format!("/ip4/192.0.2.7/tcp/4101/p2p/{}\n", PeerId::random()).repeat(MAX_REMEMBERED + 9);
        assert_eq!(parse(&text).len(), MAX_REMEMBERED);
    }
}
