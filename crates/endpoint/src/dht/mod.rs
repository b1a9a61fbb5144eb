//! The DHT of reachability hints: who can be dialled where, as signed by the people themselves (06 part C).
//!
//! Kademlia of libp2p over TCP, Noise and Yamux, under its own protocol id. Nodes store; devices only ask and publish.
//! The overlay is a bulletin board without a landlord, so nothing on it is believed for being there:
//!
//! ```text
//!  publish ──► 20 nodes closest to the key ──► limits ──► verify ──► conflict table ──► store   (DHT-28)
//!  find    ──► ask the 20 closest ──► verify each answer ──► conflict table ──► Found           (DHT-29)
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Dht`], the handle, and what comes out of it |
//! | `driver.rs` | the one task that owns the swarm |
//! | `check.rs` | where a text becomes a record, or does not |
//! | `store.rs` | what a node keeps for others: bounded, expiring, folded through the conflict table |
//! | `limits.rs` | what one peer may cost us |
//! | `remembered.rs` | the file of peers that survives a restart |
//!
//! What this cannot do is in DHT-32 and in `docs/guide/finding-people.md`: there is no defence against somebody who
//! owns the twenty nodes around a key. They can withhold a record or serve an old one. They cannot make one up.

mod check;
mod driver;
mod limits;
mod remembered;
mod store;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dsip_proto::identity::Documents;
use dsip_proto::wire::Did;
use futures_util::future::BoxFuture;
use futures_util::io::{AsyncRead, AsyncWrite};
pub use libp2p::PeerId;
use libp2p::core::transport::Boxed;
pub use libp2p::multiaddr::{Multiaddr, Protocol};
use tokio::sync::{mpsc, oneshot};

pub use dsip_proto::hints::{PROTOCOL, Record, Refusal};
pub use remembered::{MAX_REMEMBERED, parse as parse_remembered};

/// What a DHT needs to start.
pub struct Config {
    /// Whether this is a node that stores for others, or a device.
    pub role: Role,
    /// Peers to join through: several, so that none of them decides who takes part (DHT-32).
    pub bootstrap: Vec<Multiaddr>,
    /// Where learned peers are remembered across restarts (DHT-6).
    pub remembered: Option<PathBuf>,
    /// Fetches the DID documents that a record's signature needs. Without it, only `did:key` records verify.
    pub documents: Option<FetchDocuments>,
}

/// Fetches documents of `did:web` identities: whatever could be had of them.
pub type FetchDocuments = Arc<dyn Fn(Vec<Did>) -> BoxFuture<'static, Documents> + Send + Sync>;

/// The part one plays in the overlay.
pub enum Role {
    /// Stores records and answers others. Its peer id derives from the node's own Ed25519 key.
    Node {
        /// The node's Ed25519 secret key.
        secret: [u8; 32],
        /// Where to listen.
        listen: Vec<SocketAddr>,
        /// Names and addresses by which others reach it, besides those listened on; the first is how it calls itself.
        hosts: Vec<String>,
    },
    /// Asks and publishes under a fresh random peer id that is linked to nothing.
    Device,
}

/// A running part in the overlay. Clones share it; it leaves when the last one is dropped.
#[derive(Clone)]
pub struct Dht {
    commands: mpsc::Sender<driver::Command>,
    peer: PeerId,
    listening: Vec<Multiaddr>,
}

/// What a look-up brought, verified and folded (DHT-29). All of it is a hint: it says where to dial and nothing about
/// who answers there.
#[derive(Debug, Clone)]
pub struct Found {
    /// The record that the conflict table leaves standing.
    pub winner: Option<Record>,
    /// Every distinct record that verified, each with the peers that returned it (none: it was held here).
    pub all: Vec<(Arc<Record>, Vec<PeerId>)>,
    /// Answers that did not verify, with the verdict's code. No trace of their content is kept.
    pub refused: Vec<(PeerId, Refusal)>,
    /// What the user should know, such as two live records of one sequence number (DHT-25).
    pub warnings: Vec<Warning>,
    /// What it cost.
    pub effort: Effort,
}

/// Something odd about what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// DHT-25: the subject signed two different records with one sequence number.
    #[error("two different live records carry sequence number {seq}; keeping the first")]
    SameSequence {
        /// The sequence number in question.
        seq: u64,
    },
    /// Some peer returned something that its alleged subject did not sign, or not like this.
    #[error("{peers} peer(s) returned records that do not verify")]
    Refused {
        /// How many peers did.
        peers: usize,
    },
}

/// The cost of a look-up or a publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Requests sent to peers.
    pub requests: u32,
    /// Requests that were answered.
    pub answered: u32,
    /// Rounds of asking until the first record was in: 1 if a peer known before had it. Absent where none was found.
    pub hops: Option<u32>,
    /// From the command to the first record that verified. It is no result yet: a later answer may bring a newer one.
    pub first: Option<Duration>,
    /// From the command to the result.
    pub elapsed: Duration,
}

/// A record that was handed to the nodes around its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Nodes that took it. They may drop it again: nobody can see that from outside.
    pub accepted: usize,
    /// Nodes that were asked to take it.
    pub asked: usize,
    /// What it cost.
    pub effort: Effort,
}

/// Why the overlay could not be joined, asked or published to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The role's key is not an Ed25519 key, or the transport could not be set up.
    #[error("cannot set up the DHT: {0}")]
    Setup(String),
    /// A listening address is taken or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, String),
    /// No peer of the overlay answered.
    #[error("no DHT peer could be reached; give one with --dht, or check the network")]
    NoPeers,
    /// The record to publish is not valid, so no node would keep it.
    #[error("the record does not verify ({0}); nobody would keep it")]
    Invalid(#[from] Refusal),
    /// The DHT has been shut down.
    #[error("the DHT was shut down")]
    Closed,
}

/// A peer of the overlay that is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id, which is a hash of its key.
    pub id: PeerId,
    /// Where it listens.
    pub addresses: Vec<Multiaddr>,
    /// Whether a connection to it is open.
    pub connected: bool,
}

impl Dht {
    /// Joins the overlay. Returns when listening (a node) or at once (a device); peers are dialled in the background.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when a node cannot listen where it should, [`Error::Setup`] when its key is none.
    pub async fn start(config: Config) -> Result<Self, Error> {
        driver::start(config).await
    }

    /// Joins an overlay that runs over other streams than TCP's, such as those of a virtual network. What is said over
    /// them stays the same: Noise, Yamux, Kademlia. `streams` has to understand the addresses in `config`.
    ///
    /// # Errors
    ///
    /// As [`Dht::start`].
    #[doc(hidden)]
    pub async fn start_over<S>(config: Config, streams: Boxed<S>) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        driver::start_over(config, streams).await
    }

    /// This participant's peer id.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Where a node is reached: by its names, then where it listens; each with its `/p2p/` part, ready to be another's bootstrap address. Empty for a device.
    #[must_use]
    pub fn listening(&self) -> &[Multiaddr] {
        &self.listening
    }

    /// Asks the nodes closest to `subject`'s key for its records, verifies and folds all of them (DHT-29).
    ///
    /// Asking tells those nodes that somebody cares about `subject` (DHT-31).
    ///
    /// # Errors
    ///
    /// [`Error::NoPeers`] if nobody could be asked. Nothing found is not an error: `winner` is `None`.
    pub async fn find(&self, subject: &Did) -> Result<Found, Error> {
        let subject = subject.clone();
        self.command(|reply| driver::Command::Find { subject, reply }).await?
    }

    /// Hands `envelope`, the text of a signed hint, to the nodes closest to its key, once. Whoever holds the key signs it
    /// afresh in time and comes again (DHT-30). There is no delete: what is out there lives until its `expires_at`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the text does not verify here, [`Error::NoPeers`] if there is nobody to hand it to.
    pub async fn publish(&self, envelope: impl Into<Arc<str>>) -> Result<Published, Error> {
        let text = envelope.into();
        self.command(|reply| driver::Command::Publish { text, reply }).await?
    }

    /// Tells the DHT of a peer it may not know, such as one that a link advises to ask.
    pub async fn introduce(&self, address: Multiaddr) {
        let _ = self.commands.send(driver::Command::Introduce { address }).await;
    }

    /// The peers known here.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub async fn peers(&self) -> Result<Vec<Peer>, Error> {
        self.command(|reply| driver::Command::Peers { reply }).await
    }

    /// Waits until at least one peer of the overlay is connected and the first look around is done, or gives up.
    ///
    /// # Errors
    ///
    /// [`Error::NoPeers`] after a few seconds without anybody.
    pub async fn joined(&self) -> Result<(), Error> {
        self.command(|reply| driver::Command::Joined { reply }).await?
    }

    /// Leaves in order: writes the remembered peers, closes the connections, and returns when that is done.
    pub async fn shutdown(self) {
        let _ = self.command(|reply| driver::Command::Shutdown { reply }).await;
    }

    async fn command<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> driver::Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }
}

/// Reads a DHT address as people write it: a multiaddr, or `HOST:PORT`.
///
/// # Errors
///
/// A sentence for the person who wrote it.
pub fn parse_address(text: &str) -> Result<Multiaddr, String> {
    let text = text.trim();
    if text.starts_with('/') {
        let address: Multiaddr = text.parse().map_err(|error| format!("\"{text}\" is not a multiaddr ({error})"))?;
        return if address.iter().any(|part| matches!(part, Protocol::Tcp(_))) {
            Ok(address)
        } else {
            Err(format!("\"{text}\" has no /tcp/PORT part; the DHT runs over TCP"))
        };
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(multiaddr(address));
    }
    let host_and_port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match host_and_port {
        Some((host, port)) if !host.is_empty() && !host.contains([':', '/']) => {
            Ok(Multiaddr::empty().with(Protocol::Dns(host.to_owned().into())).with(Protocol::Tcp(port)))
        }
        _ => Err(format!("\"{text}\" is not a DHT address; write HOST:PORT or /ip4/192.0.2.7/tcp/4101/p2p/12D3Koo…")),
    }
}

/// The multiaddr of a TCP socket.
#[must_use]
pub fn multiaddr(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()))
}

/// `host` at the port of `at`.
fn under(host: &str, at: &Multiaddr) -> Option<Multiaddr> {
    let port = at.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    })?;
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => Some(multiaddr((ip, port).into())),
        Err(_) => parse_address(&format!("{host}:{port}")).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_as_its_operator_says() {
        let at = parse_address("127.0.0.1:4101").expect("an address");
        for (host, expected) in [
            ("node.example", "/dns/node.example/tcp/4101"),
            ("192.0.2.7", "/ip4/192.0.2.7/tcp/4101"),
            ("[2001:db8::7]", "/ip6/2001:db8::7/tcp/4101"),
        ] {
            assert_eq!(under(host, &at).map(|address| address.to_string()).as_deref(), Some(expected));
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, expected) in [
            ("127.0.0.1:4101", "/ip4/127.0.0.1/tcp/4101"),
            ("[2001:db8::7]:4101", "/ip6/2001:db8::7/tcp/4101"),
            ("node.example:4101", "/dns/node.example/tcp/4101"),
            (" /dns4/node.example/tcp/4101 ", "/dns4/node.example/tcp/4101"),
        ] {
            assert_eq!(parse_address(text).map(|address| address.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in ["", "node.example", "node.example:x", "/ip4/127.0.0.1/udp/1", "/nonsense", "2001:db8::7:1"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }
}
