//! `dsip id`: identities, device keys and delegations.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip id` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with identities.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// Make an identity, a device key and the delegation between them
    New,
    /// Show who I am
    Show,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("id", "this build does not have the command yet", "update dsip"))
}
