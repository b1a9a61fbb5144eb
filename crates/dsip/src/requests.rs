//! `dsip requests`: who asked for permission to call, and the answer to them.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

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
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("requests", "this build does not have the command yet", "update dsip"))
}
