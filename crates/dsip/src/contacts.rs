//! `dsip contacts`: who may call.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

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
        did: String,
        /// What I call them
        #[arg(long)]
        name: Option<String>,
    },
    /// Take that back, and every grant given to it
    Remove {
        /// Its DID
        did: String,
    },
    /// Make a single-use token that lets whoever presents it call
    Token,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("contacts", "this build does not have the command yet", "update dsip"))
}
