//! `dsip contacts`: who may call.

use dsip_endpoint::home::Part;
use dsip_endpoint::phone::{Config, Network, Phone};
use dsip_endpoint::tls::Roots;
use dsip_proto::agent::Memory;
use dsip_proto::identity::PublicKey;
use dsip_proto::wire::Did;
use serde_json::json;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Style};
use crate::words::Teller;

/// What `dsip contacts` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

/// What to do about contacts; without one they are listed.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// List them
    List,
    /// Let an identity call without asking first
    Add {
        /// Its DID
        did: Did,
        /// What I call them
        #[arg(long)]
        name: Option<String>,
    },
    /// Take that back, and every grant given to it
    Remove {
        /// Its DID
        did: Did,
    },
    /// Make a single-use token that lets whoever presents it call
    Token,
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let teller = Teller::new(out);
    match args.action.unwrap_or(Action::List) {
        Action::List => list(&globals.home()?.load(Part::Contacts)?, &teller),
        Action::Add { did, name } => {
            if did.as_str().starts_with("did:key:")
                && let Err(error) = PublicKey::of_did(&did)
            {
                return Err(Failure::usage(did, error, "copy the whole DID; dsip id show prints it"));
            }
            let phone = offline(globals).await?;
            phone.allow(did.clone(), true, name).await?;
            phone.stop().await;
            teller.say("contact", json!({ "did": did, "allowed": true }), format!("{did} may call"), Style::Good);
        }
        Action::Remove { did } => {
            let phone = offline(globals).await?;
            let memory = phone.memory().await?;
            let mut known = memory.contacts.allowed().any(|allowed| *allowed == did);
            phone.allow(did.clone(), false, None).await?;
            for (grant, _) in memory.contacts.issued().filter(|(_, grant)| grant.other == did) {
                known = true;
                phone.revoke(grant).await?;
            }
            phone.stop().await;
            let words = if known {
                format!("{did} has to introduce themselves again")
            } else {
                format!("{did} was not among my contacts, and still is not")
            };
            teller.say("contact", json!({ "did": did, "allowed": false }), words, Style::Bold);
        }
        Action::Token => {
            let phone = offline(globals).await?;
            let token = phone.issue_token().await?;
            phone.stop().await;
            let words = format!("{token} · good for one dsip introduce --token");
            teller.say("token", json!({ "token": token }), words, Style::Good);
        }
    }
    Ok(Exit::Done)
}

fn list(memory: &Memory, teller: &Teller<'_>) {
    for did in memory.contacts.allowed() {
        let name = memory.names.get(did);
        let words = name.map_or_else(|| did.to_string(), |name| format!("{name} · {did}"));
        teller.say("contact", json!({ "did": did, "name": name, "allowed": true }), words, Style::Bold);
    }
    for (id, grant) in memory.contacts.issued() {
        let words = format!("{} · by a grant until {}", grant.other, grant.valid_until);
        let fields = json!({ "grant": id, "did": grant.other, "valid_until": grant.valid_until });
        teller.say("grant", fields, words, Style::Bold);
    }
}

/// The owner's phone without a network: only its address book is changed.
async fn offline(globals: &Globals) -> Result<Phone, Failure> {
    let config = Config { node: None, ..globals.owner().await? };
    let fault = |error: &dyn std::fmt::Display| Failure::fault("network", error, "try again");
    let roots = Roots::load::<&str>(&[]).map_err(|error| fault(&error))?;
    let network = Network::join(roots, &[], false).await.map_err(|error| fault(&error))?;
    let (phone, _) = Phone::start(config, network)?;
    Ok(phone)
}
