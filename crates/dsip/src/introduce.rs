//! `dsip introduce TARGET`: ask somebody for permission to call.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip introduce` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A DID, an alias or a dsip: link
    #[arg(value_name = "TARGET")]
    target: String,
    /// What it is about, in a few words
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// A token that they gave out beforehand
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("introduce", "this build does not have the command yet", "update dsip"))
}
