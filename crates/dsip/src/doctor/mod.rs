//! `dsip doctor`: why calls do not work, in words a person can act on.
//!
//! ```text
//!   identity                                     the home
//!   dns ─► tcp ─► certificate ─► hello ─► clock  the node, seen from here
//!      └─► quic                      └──► stun, turn-udp, turn-tcp, turn-tls, relayed
//!   nat                                          this network
//!   dht                                          the overlay
//! ```
//!
//! Everything is tried as a phone would do it, from where the program runs: an operator who wants to see the node as others see
//! it runs this on another machine. Nobody else is asked for help, so there is nobody to trust about the result.

mod hello;
mod identity;
mod nat;
mod node;
mod relay;
mod report;

use std::net::SocketAddr;
use std::time::Duration;

use dsip_endpoint::phone::{Identity, Network};
use dsip_proto::identity::SecretKey;
use tokio::time::timeout;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use report::{Check, Finding, Report};

/// What `dsip doctor` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check under another identity: `ephemeral` is a fresh one, and no home is read
    #[arg(long = "as", value_enum, value_name = "WHO")]
    identity: Option<crate::call::Identity>,
    /// Warn of what ends within so many days
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    within: u64,
    /// Give up after so many seconds
    #[arg(long, value_name = "S", default_value = "40", value_parser = crate::call::seconds)]
    timeout: Duration,
}

/// How long one step may take: connecting, a handshake, an answer.
const STEP: Duration = Duration::from_secs(5);

const DAY: u64 = 86_400;

/// Who says `hello`.
struct Who {
    identity: Identity,
    /// Whether it is the owner of the home, and not somebody made up for this.
    is_owner: bool,
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let target = globals.node_target()?;
    if target.is_none() && globals.stun.is_empty() {
        return Err(Failure::usage("--node", "missing", "name the node to check, or a STUN server with --stun"));
    }
    let network = globals.network().await?;
    let Ok(others) = timeout(STEP, globals.stun_servers()).await else {
        return Err(Failure::usage(
            "--stun",
            "cannot be looked up in time",
            "give an address, or check this machine's DNS",
        ));
    };
    let others = others?;
    let report = Report::new(out);
    let who = match args.identity {
        Some(crate::call::Identity::Ephemeral) => {
            report.note(Check::Identity, Finding::skipped("a fresh identity is used, as asked"));
            None
        }
        None => identity::check(globals, &report, args.within).await,
    };
    let who = match who {
        Some(identity) => Who { identity, is_owner: true },
        None => Who { identity: stranger()?, is_owner: false },
    };
    let all = async {
        let node = async {
            match &target {
                Some(target) => node::check(&report, &network, target, &who, globals.allow_private, args.within).await,
                None => None,
            }
        };
        let around = async {
            let relay = node.await;
            nat::check(&report, relay, &others).await;
        };
        tokio::join!(around, overlay(&report, &network));
    };
    let rest = match timeout(args.timeout, all).await {
        Ok(()) if target.is_none() => Finding::skipped("there is no node to check; name one with --node"),
        Ok(()) => Finding::skipped("there is nothing to check it with"),
        Err(_) => Finding::failed(
            format!("no result within {} seconds", args.timeout.as_secs_f64()),
            "try again, with a longer --timeout",
        ),
    };
    let summary = report.close(&rest);
    Ok(if summary.is_well() { Exit::Done } else { Exit::NotSo })
}

fn stranger() -> Result<Identity, Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| Failure::fault("the system's randomness", error, "try again"))?;
    let device = SecretKey::from_bytes(&secret);
    Ok(Identity { did: device.did(), device: device.into(), delegations: Vec::new(), name: None })
}

/// Whether somebody of the DHT answers.
async fn overlay(report: &Report<'_>, network: &Network) {
    let Some(dht) = network.dht() else {
        let says = "no DHT node is known; name one with --dht to check it and to be found there";
        return report.note(Check::Dht, Finding::skipped(says));
    };
    let finding = match timeout(2 * STEP, dht.joined()).await {
        Ok(Ok(())) => {
            let peers = dht.peers().await.unwrap_or_default();
            let connected = peers.iter().filter(|peer| peer.connected).count();
            Finding::ok(format!("{connected} of the DHT's nodes answer"))
        }
        Ok(Err(error)) => Finding::failed(error, "check the addresses, and that their TCP ports are open"),
        Err(_) => {
            Finding::failed("no node of the DHT answers", "check the addresses, and that their TCP ports are open")
        }
    };
    report.note(Check::Dht, finding);
}

/// What a span of time looks like to people.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / DAY),
    }
}

/// Addresses, for a sentence.
fn listed(addresses: impl IntoIterator<Item = SocketAddr>) -> String {
    addresses.into_iter().map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
}
