//! `dsip requests`: who asked for permission to call, and the answer to them.

use std::time::Duration;

use dsip_endpoint::home::Part;
use dsip_endpoint::phone::{Event, Events, Phone};
use dsip_proto::agent::Memory;
use dsip_proto::wire::Ulid;
use serde_json::json;
use tokio::time::timeout;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Style};
use crate::phone::occupied;
use crate::words::Teller;

/// How long my node may take to answer before an answer to a request is given up.
const ONLINE: Duration = Duration::from_secs(20);

/// What `dsip requests` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

/// What to do about requests; without one they are listed.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// List them
    List,
    /// Allow the one who asked to call
    Grant {
        /// The id of the request
        id: String,
    },
    /// Decline a request
    Decline {
        /// The id of the request
        id: String,
    },
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let teller = Teller::new(out);
    match args.action.unwrap_or(Action::List) {
        Action::List => list(globals, &teller),
        Action::Grant { id } => {
            let (id, phone) = answering(globals, &id).await?;
            phone.grant(id).await?;
            phone.stop().await;
            teller.say("granted", json!({ "introduction": id }), "they may call from now on", Style::Good);
            Ok(Exit::Done)
        }
        Action::Decline { id } => {
            let (id, phone) = answering(globals, &id).await?;
            phone.reject_introduction(id, None).await?;
            phone.stop().await;
            teller.say("declined", json!({ "introduction": id }), "they were told", Style::Bold);
            Ok(Exit::Done)
        }
    }
}

fn list(globals: &Globals, teller: &Teller<'_>) -> Result<Exit, Failure> {
    let memory: Memory = globals.home()?.load(Part::Contacts)?;
    for (id, request) in memory.contacts.requests() {
        let said = memory.requests.get(&id);
        let name = said.and_then(|said| said.claimed_name.clone());
        let purpose = said.and_then(|said| said.purpose.clone());
        let mut words = format!("{id} · {}", request.identity);
        if let Some(name) = &name {
            words = format!("{words} · says to be \"{name}\"");
        }
        if let Some(purpose) = &purpose {
            words = format!("{words} · \"{purpose}\"");
        }
        let fields = json!({
            "introduction": id,
            "identity": request.identity,
            "device": request.device,
            "claimed_name": name,
            "purpose": purpose,
            "at": said.map(|said| said.at),
        });
        teller.say("request", fields, words, Style::Bold);
    }
    Ok(Exit::Done)
}

/// A phone that is online, and the request it is to answer.
async fn answering(globals: &Globals, id: &str) -> Result<(Ulid, Phone), Failure> {
    let id: Ulid = id.parse().map_err(|error| Failure::usage(id, error, "copy the id from dsip requests"))?;
    let memory: Memory = globals.home()?.load(Part::Contacts)?;
    if !memory.contacts.requests().any(|(pending, _)| pending == id) {
        return Err(Failure::usage(id, "no such request is waiting", "see dsip requests"));
    }
    let config = globals.owner().await?;
    if config.node.is_none() {
        return Err(Failure::usage("--node", "the answer leaves by my node, and none was given", "give --node URL"));
    }
    let (phone, mut events) = Phone::start(config, globals.network().await?)?;
    match timeout(ONLINE, online(&mut events)).await {
        Ok(Ok(())) => Ok((id, phone)),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(Exit::Unreachable, "--node", "it does not answer", "check that the node runs")),
    }
}

async fn online(events: &mut Events) -> Result<(), Failure> {
    let unreachable = |why: &str| Failure::new(Exit::Unreachable, "--node", why, "check that the node runs");
    while let Some(event) = events.next().await {
        match event {
            Event::Online { .. } => return Ok(()),
            Event::Offline { why } => return Err(unreachable(&why)),
            Event::Aside { company } => return Err(occupied(company)),
            _ => {}
        }
    }
    Err(unreachable("the phone stopped"))
}
