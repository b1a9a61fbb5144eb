//! `dsip resolve TARGET`: what is known about a target, where it came from, and what of it has authority.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip resolve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A DID, an alias or a dsip: link
    #[arg(value_name = "TARGET")]
    target: String,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("resolve", "this build does not have the command yet", "update dsip"))
}
