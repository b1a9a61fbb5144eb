//! `dsip join`: become a member of a node that serves members only.

use std::fmt;
use std::time::Duration;

use dsip_endpoint::phone::{Company, Event, Events, Phone};
use dsip_proto::relay::host::LONGEST_CODE;
use dsip_proto::wire::{Did, Ulid};
use serde::Serialize;
use tokio::time::timeout;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::phone::occupied;

/// How long my node may take to say that it is so.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `dsip join` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The invitation, as the operator gave it
    #[arg(value_name = "CODE", value_parser = code)]
    code: String,
}

/// I am in.
#[derive(Serialize)]
struct Joined {
    event: &'static str,
    did: Did,
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a member now", self.did)
    }
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let (phone, mut events) = Phone::start(globals.owner().await?, globals.network().await?)?;
    let watch = phone.join(args.code).await?;
    let answer = timeout(PATIENCE, answer(&mut events, watch)).await;
    let did = phone.did().clone();
    phone.stop().await;
    match answer {
        Ok(Err(company)) => Err(occupied(company)),
        Ok(Ok(Some(true))) => {
            out.event(&Joined { event: "joined", did });
            Ok(Exit::Done)
        }
        Ok(Ok(Some(false))) => {
            Err(Failure::new(Exit::Refused, "CODE", "it opens nothing at this node", "ask the operator for another"))
        }
        Ok(Ok(None)) | Err(_) => {
            Err(Failure::new(Exit::Unreachable, "--node", "my node did not answer", "check --node, or try again"))
        }
    }
}

/// ADM-2: what can be an invitation, as the node has it.
fn code(text: &str) -> Result<String, String> {
    let code = text.trim().to_lowercase();
    match code.len() {
        0 => Err("there is nothing in it".into()),
        length if length > LONGEST_CODE => Err(format!("no invitation has more than {LONGEST_CODE} characters")),
        _ => Ok(code),
    }
}

/// Whether the node took the invitation; nothing if it does not say, and an error if it could not be asked.
async fn answer(events: &mut Events, watch: Ulid) -> Result<Option<bool>, Company> {
    while let Some(event) = events.next().await {
        match event {
            Event::Told { watch: id, .. } if id == watch => return Ok(Some(true)),
            Event::WatchEnded { watch: id, reason } if id == watch => return Ok(reason.map(|_| false)),
            Event::Aside { company } => return Err(company),
            _ => {}
        }
    }
    Ok(None)
}
