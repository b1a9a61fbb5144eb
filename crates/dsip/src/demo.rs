//! `dsip demo`: the whole system on loopback, narrated.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the recordings go [default: a fresh temporary directory]
    #[arg(long, value_name = "DIR")]
    keep: Option<std::path::PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("demo", "this build does not have the command yet", "update dsip"))
}
