//! What an operator decides: how much is kept, what each party may do, what devices are told.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Wake, engine};
use crate::envelope::Limits;
use crate::relay::rate::Rate;
use crate::turn;
use crate::wire::Did;

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// Routing and queues.
    pub engine: engine::Config,
    /// Host and port pairs, as clients dial them, that a `hello` may be addressed to besides the relay's DID (HEL-12).
    pub addresses: Vec<String>,
    /// Whether a `hello` without `aud` is refused (HEL-12).
    pub requires_audience: bool,
    /// The UDP port on which this node's hosts answer STUN, told to devices as `stun_port` among the capabilities.
    pub stun_port: Option<u16>,
    /// TURN credentials for devices that bind, if this node has a TURN server.
    pub turn: Option<Turn>,
    /// Waking devices that sleep, if this node does.
    pub wake: Option<Wake>,
    /// Another node of the operator's, told to devices for when this one is away (ELS-1).
    pub elsewhere: Option<Elsewhere>,
    /// How many message ids are remembered (RPL-5).
    pub seen: Limits,
    /// Whether anybody may see who is connected here, unless they said otherwise. Off as a rule (SUB-9).
    pub presence_is_public: bool,
    /// What each party may do.
    pub rates: Rates,
    /// Connections at one time.
    pub max_connections: usize,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its WebSocket address, `wss://…`.
    pub uri: String,
    /// Its DID.
    pub node: Did,
}

impl Elsewhere {
    /// ELS-1: the member of `capabilities` and its value.
    pub(super) fn member(&self) -> (String, Value) {
        let value = serde_json::json!({ "uri": self.uri, "node": self.node });
        (MEMBER.to_owned(), value)
    }

    /// What a node says among its capabilities. What is not of the right form counts as absent (CAP-2).
    #[must_use]
    pub fn read(members: &Map<String, Value>) -> Option<Self> {
        let elsewhere = members.get(MEMBER)?.as_object()?;
        let text = |name| elsewhere.get(name)?.as_str().filter(|text| text.len() <= LONGEST);
        let uri = text("uri").filter(|uri| uri.starts_with("wss://"))?.to_owned();
        Some(Self { uri, node: text("node")?.parse().ok()? })
    }
}

const MEMBER: &str = "elsewhere";

/// The longest address that is taken from a node.
const LONGEST: usize = 512;

/// The TURN server of this node, as far as devices are told (TURN-1).
#[derive(Debug, Clone)]
pub struct Turn {
    /// Shared with the server.
    pub issuer: turn::Issuer,
    /// Where on this node's hosts it is.
    pub ports: turn::Ports,
    /// How long credentials work; a device asks for new ones half-way (TURN-6).
    pub lifetime: Duration,
}

/// Who may do how much. None of it depends on whether a recipient exists (RLY-61). Envelopes, invites and `info` are those of
/// a stranger; other [`Tier`](super::Tier)s may send more of them.
#[derive(Debug, Clone)]
pub struct Rates {
    /// Envelopes of one device (RLY-70).
    pub devices: Rate,
    /// Envelopes of one identity, all its devices together (RLY-70).
    pub envelopes: Rate,
    /// Envelopes from one address, or one IPv6 /64, whoever signs them: identities cost nothing.
    pub networks: Rate,
    /// Invites of one identity (RLY-71).
    pub invites: Rate,
    /// `info` of one identity (RLY-71).
    pub infos: Rate,
    /// Introductions of one self-issued identity (RLY-61).
    pub introductions: Rate,
    /// Introductions of one identity that rests on a domain.
    pub domain_introductions: Rate,
    /// Introductions to one recipient, whoever sends them (RLY-61).
    pub introductions_received: Rate,
    /// `subscribe` of one identity.
    pub subscribes: Rate,
    /// `publish`, `unpublish` and `provenance` of one identity.
    pub publications: Rate,
    /// Frames from one address before a verified `hello`.
    pub strangers: Rate,
    /// Documents that frames from one address may make us fetch.
    pub fetches: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            // A device that has gone wild leaves something to the others of its identity.
            devices: Rate::per_minute(4_500),
            envelopes: Rate::per_minute(6_000),
            networks: Rate::per_minute(120_000),
            invites: Rate::per_minute(120),
            infos: Rate::per_minute(1_200),
            introductions: Rate { burst: 8, every: hours(3) },
            domain_introductions: Rate { burst: 64, every: hours(1) },
            introductions_received: Rate { burst: 64, every: Duration::from_secs(600) },
            subscribes: Rate { burst: 256, every: Duration::from_secs(1) },
            publications: Rate { burst: 32, every: Duration::from_secs(5) },
            strangers: Rate { burst: 512, every: Duration::from_millis(50) },
            fetches: Rate { burst: 16, every: Duration::from_secs(2) },
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: engine::Config::default(),
            addresses: Vec::new(),
            requires_audience: false,
            stun_port: None,
            turn: None,
            wake: None,
            elsewhere: None,
            presence_is_public: false,
            // What the rates below let through in one replay window, for one identity of those who may most and for a busy node.
            seen: Limits { live_per_sender: 262_144, live: 1 << 23, ..Limits::default() },
            rates: Rates::default(),
            max_connections: 100_000,
        }
    }
}
