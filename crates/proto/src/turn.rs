//! TURN credentials: a node hands them out in its `hello`, and its TURN server verifies them without remembering any
//! (docs/spec/turn.md).
//!
//! ```text
//!   Issuer ──issue──► Grant ──► capabilities of a relay's hello ──► Grant::read ──► the phone's TURN client
//!      └────open──► Holder: whom a username stands for, for quotas   ◄── username ──────────┘
//! ```
//!
//! A username is `<Unix time of its end>:<salt and masked holder>`. Its password is a MAC over it, so the server needs only its
//! secret. The mask is another MAC, over the salt: TURN usernames travel in the clear, and nobody but the node may tell from
//! two of them that they belong to one identity.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::wire::{Did, base64url};

/// The member of `capabilities` that carries a grant (TURN-1).
const MEMBER: &str = "turn";

/// Octets of salt in a username. 2^36 usernames of one node's secret before two are likely to share one.
pub const SALT: usize = 9;

/// Octets that stand for an identity.
const HOLDER: usize = 12;

/// The longest username or password that a phone takes from a node.
const LONGEST: usize = 256;

/// Whom a username stands for: the same for every username of one identity, and meaningless outside the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder([u8; HOLDER]);

/// The UDP, TCP and TLS ports on which a node's host serves TURN. Never an address: it is the host that was dialled (TURN-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    /// TURN over UDP.
    pub udp: Option<u16>,
    /// TURN over TCP.
    pub tcp: Option<u16>,
    /// TURN over TLS on TCP.
    pub tls: Option<u16>,
}

/// A username and its password, until when they work, and where.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// Travels in the clear.
    pub username: String,
    /// Never does.
    pub password: String,
    /// Unix seconds.
    pub expires_at: u64,
    /// Where on the node's host.
    pub ports: Ports,
}

/// TURN-5: neither of the two is ever shown.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expires_at, ports, .. } = self;
        f.debug_struct("Grant").field("expires_at", expires_at).field("ports", ports).finish_non_exhaustive()
    }
}

impl Grant {
    /// TURN-1: the member of `capabilities` and its value.
    #[must_use]
    pub fn member(&self) -> (String, Value) {
        let mut turn = Map::new();
        turn.insert("username".to_owned(), self.username.clone().into());
        turn.insert("password".to_owned(), self.password.clone().into());
        turn.insert("expires_at".to_owned(), self.expires_at.into());
        let Ports { udp, tcp, tls } = self.ports;
        for (name, port) in [("udp_port", udp), ("tcp_port", tcp), ("tls_port", tls)] {
            if let Some(port) = port {
                turn.insert(name.to_owned(), port.into());
            }
        }
        (MEMBER.to_owned(), turn.into())
    }

    /// The grant among the open members of `capabilities`. What is not of the right form counts as absent (CAP-2).
    #[must_use]
    pub fn read(members: &Map<String, Value>) -> Option<Self> {
        let turn = members.get(MEMBER)?.as_object()?;
        let text =
            |name| turn.get(name)?.as_str().filter(|text| (1..=LONGEST).contains(&text.len())).map(str::to_owned);
        let port = |name| turn.get(name)?.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let ports = Ports { udp: port("udp_port"), tcp: port("tcp_port"), tls: port("tls_port") };
        let (username, password) = (text("username")?, text("password")?);
        let expires_at = turn.get("expires_at")?.as_u64()?;
        Some(Self { username, password, expires_at, ports }).filter(|grant| grant.ports != Ports::default())
    }
}

/// Makes credentials and verifies them, by one secret.
#[derive(Clone)]
pub struct Issuer {
    secret: [u8; 32],
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer")
    }
}

impl Issuer {
    /// An issuer with this secret.
    #[must_use]
    pub const fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The issuer of the node whose key has this seed. What it signs and what it issues have nothing in common but the seed.
    #[must_use]
    pub fn of_node(seed: &[u8; 32]) -> Self {
        Self::new(Sha256::new().chain_update(b"dsip turn credentials").chain_update(seed).finalize().into())
    }

    /// TURN-2: credentials for `identity` until `expires_at`, in Unix seconds. `salt` is random.
    #[must_use]
    pub fn issue(&self, identity: &Did, expires_at: u64, salt: [u8; SALT], ports: Ports) -> Grant {
        let Holder(digest) = self.holder(identity);
        let mut masked = [0; SALT + HOLDER];
        let (front, back) = masked.split_at_mut(SALT);
        front.copy_from_slice(&salt);
        for ((octet, holder), mask) in back.iter_mut().zip(digest).zip(self.mac(b"mask", &salt)) {
            *octet = holder ^ mask;
        }
        let username = format!("{expires_at}:{}", base64url::encode(&masked));
        Grant { password: self.password(&username), username, expires_at, ports }
    }

    /// Until when a username works, in Unix seconds, and for whom. It proves nothing before its password is.
    #[must_use]
    pub fn open(&self, username: &str) -> Option<(u64, Holder)> {
        let (expires_at, masked) = username.split_once(':')?;
        let masked: [u8; SALT + HOLDER] = base64url::decode(masked)?.try_into().ok()?;
        let (salt, back) = masked.split_at(SALT);
        let mut holder = [0; HOLDER];
        for ((holder, octet), mask) in holder.iter_mut().zip(back).zip(self.mac(b"mask", salt)) {
            *holder = octet ^ mask;
        }
        Some((expires_at.parse().ok()?, Holder(holder)))
    }

    /// Whom usernames of `identity` stand for.
    #[must_use]
    pub fn holder(&self, identity: &Did) -> Holder {
        let mut holder = [0; HOLDER];
        for (octet, of_mac) in holder.iter_mut().zip(self.mac(b"holder", identity.as_str().as_bytes())) {
            *octet = of_mac;
        }
        Holder(holder)
    }

    /// The password that belongs to a username.
    #[must_use]
    pub fn password(&self, username: &str) -> String {
        base64url::encode(&self.mac(b"password", username.as_bytes()))
    }

    /// A MAC for something of the server's own, e.g. nonces, apart from those of credentials.
    #[must_use]
    pub fn tag(&self, what: &[u8]) -> [u8; 32] {
        self.mac(b"tag", what)
    }

    fn mac(&self, purpose: &[u8], what: &[u8]) -> [u8; 32] {
        // Each purpose has a key of its own.
        let key = Sha256::new().chain_update(b"dsip turn ").chain_update(purpose).chain_update([0]);
        let mut block = [0; 64];
        block[..32].copy_from_slice(&key.chain_update(self.secret).finalize());
        Hmac::<Sha256>::new(&block.into()).chain_update(what).finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    const PORTS: Ports = Ports { udp: Some(3478), tcp: None, tls: Some(5349) };

    fn issuer() -> Issuer {
        Issuer::new([7; 32])
    }

    fn alice() -> Did {
        SecretKey::from_bytes(&[1; 32]).did()
    }

    #[test]
    fn turn_2_usernames_of_one_identity_differ_and_open_to_one_holder() {
        let first = issuer().issue(&alice(), 1_800_000_000, [1; SALT], PORTS);
        let second = issuer().issue(&alice(), 1_800_000_000, [2; SALT], PORTS);
        let masked =
            |grant: &Grant| base64url::decode(grant.username.split_once(':').expect("a colon").1).expect("base64url");
        let (one, other) = (masked(&first), masked(&second));
        assert!(one[SALT..].iter().zip(&other[SALT..]).filter(|(a, b)| a == b).count() < HOLDER / 2);
        let holder = issuer().open(&first.username).expect("opened");
        assert_eq!(holder.0, 1_800_000_000);
        assert_eq!(issuer().open(&second.username), Some(holder));
        let bob = SecretKey::from_bytes(&[2; 32]).did();
        let his = issuer().issue(&bob, 1_800_000_000, [1; SALT], PORTS);
        assert_ne!(issuer().open(&his.username), Some(holder));
    }

    #[test]
    fn turn_2_a_password_belongs_to_one_username_and_one_secret() {
        let grant = issuer().issue(&alice(), 1_800_000_000, [1; SALT], PORTS);
        assert_eq!(issuer().password(&grant.username), grant.password);
        let longer = grant.username.replacen("18", "19", 1);
        assert!(issuer().open(&longer).is_some(), "the form is right");
        assert_ne!(issuer().password(&longer), grant.password, "who asks for longer has no password for it");
        assert_ne!(Issuer::new([8; 32]).password(&grant.username), grant.password);
    }

    #[test]
    fn turn_1_a_grant_survives_the_hello_and_rubbish_counts_as_none() {
        let grant = issuer().issue(&alice(), 1_800_000_000, [1; SALT], PORTS);
        let members: Map<_, _> = [grant.member()].into_iter().collect();
        assert_eq!(Grant::read(&members).as_ref(), Some(&grant));
        for (name, value) in [
            ("username", Value::from(7)),
            ("password", Value::from("")),
            ("username", Value::from("x".repeat(LONGEST + 1))),
            ("expires_at", Value::from(-1)),
        ] {
            let mut broken = members.clone();
            broken[MEMBER][name] = value;
            assert_eq!(Grant::read(&broken), None, "{name}");
        }
        let mut portless = members;
        portless[MEMBER]["udp_port"] = 0.into();
        portless[MEMBER]["tls_port"] = 70_000.into();
        assert_eq!(Grant::read(&portless), None);
    }

    #[test]
    fn rubbish_opens_to_nobody() {
        for username in
            ["", ":", "1", "1:", "x:AAAA", "1:!!!!", ":AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "99999999999999999999999:A"]
        {
            assert_eq!(issuer().open(username), None, "{username:?}");
        }
    }

    #[test]
    fn turn_5_nothing_secret_is_printed() {
        let grant = issuer().issue(&alice(), 1_800_000_000, [1; SALT], PORTS);
        let shown = format!("{grant:?} {:?}", issuer());
        assert!(!shown.contains(&grant.password) && !shown.contains(&grant.username), "{shown}");
    }
}
