//! `dsip wake`: have my node wake this device through a push service when something waits for it.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use dsip_endpoint::phone::{Event, Events, Phone};
use dsip_endpoint::wake;
use dsip_proto::wake::Endpoint;
use dsip_proto::wire::Reason;
use serde::Serialize;
use tokio::time::timeout;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// How long my node may take to say that it is so.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `dsip wake` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where my push service takes messages for this device, as a UnifiedPush distributor gives it
    #[arg(value_name = "URL", required_unless_present = "off")]
    url: Option<String>,
    /// The key that messages are to be encrypted with, in base64url, if something reads them [default: one that nobody has]
    #[arg(long, value_name = "KEY", requires = "auth")]
    p256dh: Option<String>,
    /// The secret that goes with it, in base64url
    #[arg(long, value_name = "SECRET", requires = "p256dh")]
    auth: Option<String>,
    /// Do not wake this device any more
    #[arg(long, conflicts_with_all = ["url", "p256dh", "auth"])]
    off: bool,
}

/// It is so.
#[derive(Serialize)]
struct Registered {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

impl fmt::Display for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) => {
                let until = UNIX_EPOCH + Duration::from_secs(until.min(60 * 1_000_000_000));
                let until = humantime::format_rfc3339_seconds(until);
                write!(f, "my node wakes this device, until {until} if it does not come by before")
            }
            None => f.write_str("my node does not wake this device any more"),
        }
    }
}

/// An endpoint that arrives is enough for.
pub(crate) fn unread(input: &str, url: &str) -> Result<Endpoint, Failure> {
    wake::unread(url).map_err(|error| Failure::usage(input, error, "give the https URL that the push service gave"))
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let endpoint = match (&args.url, &args.p256dh, &args.auth) {
        (Some(url), Some(p256dh), Some(auth)) => Some(
            Endpoint::new(url, p256dh, auth)
                .map_err(|error| Failure::usage("URL", error, "give what the push service gave, as it is"))?,
        ),
        (Some(url), ..) => Some(unread("URL", url)?),
        (None, ..) => None,
    };
    let (phone, mut events) = Phone::start(globals.owner().await?, globals.network().await?)?;
    let nowhere = |_| Failure::usage("--node", "a node is what wakes, and none was given", "give --node wss://…");
    match endpoint {
        Some(endpoint) => phone.register_wake(endpoint, None).await.map_err(nowhere)?,
        None => phone.unregister_wake().await.map_err(nowhere)?,
    }
    let answer = timeout(PATIENCE, answer(&mut events)).await;
    phone.stop().await;
    match answer {
        Ok(Some(Ok(until))) => {
            out.event(&Registered { event: "wake", until });
            Ok(Exit::Done)
        }
        Ok(Some(Err(Some(reason)))) => {
            let wrong = format!("my node refuses it ({reason})");
            Err(Failure::new(Exit::Refused, "URL", wrong, "see docs/guide/wake.md for what nodes take"))
        }
        Ok(Some(Err(None))) => {
            Err(Failure::new(Exit::Refused, "--node", "my node wakes nobody", "ask its operator, or use another"))
        }
        Ok(None) | Err(_) => {
            Err(Failure::new(Exit::Unreachable, "--node", "my node did not answer", "check --node, or try again"))
        }
    }
}

/// Until when the node wakes us, or why it does not; nothing if it does not say.
async fn answer(events: &mut Events) -> Option<Result<Option<u64>, Option<Reason>>> {
    loop {
        match events.next().await? {
            Event::WakeRegistered { until } => return Some(Ok(until)),
            Event::WakeRefused { reason } => return Some(Err(reason)),
            _ => {}
        }
    }
}
