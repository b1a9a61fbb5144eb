//! `dsip conformance DIR`: run a directory of vectors.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip conformance` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory; every .json file below it is a vector, fixtures.json excepted
    #[arg(value_name = "DIR")]
    dir: std::path::PathBuf,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("conformance", "this build does not have the command yet", "update dsip"))
}
