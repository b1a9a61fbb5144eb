//! `dsip node`: run a node, and say how to reach it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use dsip_endpoint::dht;
use dsip_node::{Config, Node, Ready, StartError, TurnConfig};
use serde::Serialize;

use crate::cli::Globals;
use crate::end::End;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip node` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address and port for WebSocket (TCP) and QUIC (UDP); port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:7443", env = "DSIP_LISTEN")]
    listen: SocketAddr,
    /// A name or address by which others reach this node; the first is how it calls itself; may be repeated
    #[arg(long, value_name = "HOST", env = "DSIP_HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// Address and port for the DHT (TCP) [default: the next free port]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_DHT_LISTEN")]
    dht_listen: Option<SocketAddr>,
    /// Address and port for STUN, and TURN over UDP [default: the next free port]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_STUN_LISTEN")]
    stun_listen: Option<SocketAddr>,
    /// Address and port for TURN over TCP [default: port 3478, or one that is free]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_TURN_TCP")]
    turn_tcp: Option<SocketAddr>,
    /// Address and port for TURN over TLS [default: port 5349, or one that is free]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_TURN_TLS")]
    turn_tls: Option<SocketAddr>,
    /// The address at which peers reach what is relayed, one of a family [default: where the node listens]; may be repeated
    #[arg(long, value_name = "ADDR", env = "DSIP_TURN_RELAY", value_delimiter = ',')]
    turn_relay: Vec<IpAddr>,
    /// The UDP ports of relayed addresses
    #[arg(long, value_name = "FROM-TO", default_value = "49152-65535", env = "DSIP_TURN_PORTS", value_parser = ports)]
    turn_ports: RangeInclusive<u16>,
    /// Relay to private addresses and to this machine, too
    #[arg(long, env = "DSIP_TURN_ALLOW_PRIVATE")]
    turn_allow_private: bool,
    /// Relay no media; STUN is still answered
    #[arg(long, env = "DSIP_NO_TURN")]
    no_turn: bool,
    /// A certificate chain in PEM form, for a node with a domain [default: self-made from the node's own key]
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The key of the certificate, in PEM form
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

/// How to reach the node that has just started.
#[derive(Serialize)]
struct Started<'a> {
    event: &'static str,
    #[serde(flatten)]
    ready: &'a Ready,
    /// The address together with the DID: all that a phone needs to know.
    url: String,
}

/// Runs the command, until the process is told to end.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let home = globals.home()?.dir().join("node");
    let parse = |text: &String| {
        dht::parse_address(text)
            .map_err(|error| Failure::usage("--dht", error, "write /ip4/ADDRESS/tcp/PORT/p2p/ID or HOST:PORT"))
    };
    let config = Config {
        hosts: args.host,
        stun: args.stun_listen,
        turn: TurnConfig {
            enabled: !args.no_turn,
            relays: args.turn_relay,
            tcp: args.turn_tcp,
            tls: args.turn_tls,
            ports: args.turn_ports,
            allow_private: args.turn_allow_private,
            ..TurnConfig::default()
        },
        certificate: args.certificate.zip(args.key),
        dht: args.dht_listen,
        bootstrap: globals.dht.iter().map(parse).collect::<Result<_, _>>()?,
        ca: globals.ca.clone(),
        allow_private: globals.allow_private,
        ..Config::new(home, args.listen)
    };
    let mut end = End::new()?;
    let node = Node::start(config).await?;
    let ready = node.ready();
    out.event(&Started { event: "ready", ready, url: ready.url() });
    end.wait().await;
    out.progress("saying goodbye to connections");
    node.shutdown().await;
    Ok(Exit::Done)
}

impl fmt::Display for Started<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "node         {}", self.ready.did)?;
        writeln!(f, "websocket    {}", self.ready.wss)?;
        writeln!(f, "quic         {}", self.ready.quic)?;
        writeln!(f, "dht          {}", self.ready.dht)?;
        writeln!(f, "stun         {}", self.ready.stun)?;
        for turn in &self.ready.turn {
            writeln!(f, "turn         {turn}")?;
        }
        writeln!(f, "certificate  {}", self.ready.ca.display())?;
        write!(f, "phones use   --node '{}' --dht {}", self.url, self.ready.dht)
    }
}

/// A range of ports, both ends included.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "write FROM-TO, two ports of which the first is not the greater".to_owned();
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from > 0 && from <= to { Ok(from..=to) } else { Err(wrong()) }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen { at, source } => Self::usage(at, source, "choose another address or port"),
            StartError::File { path, source } => {
                Self::home(path, source, "check the directory, or give another --home")
            }
            StartError::Key(path) => {
                Self::home(path, "not a node key", "restore it, or move it away for a new identity")
            }
            StartError::Exposed(path) => Self::home(path, "others can read it", "`chmod 600` it, or move it away"),
            StartError::Store { home, source } => {
                Self::home(home, source, "see that no other node runs there, and that the disk is well")
            }
            StartError::Tls(error) => Self::usage("certificate", error, "check --certificate, --key and --ca"),
            StartError::Dht(dht::Error::Listen(at, wrong)) => Self::usage(at, wrong, "choose another --dht-listen"),
            error => Self::fault("node", error, "try again"),
        }
    }
}
