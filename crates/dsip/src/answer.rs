//! `dsip answer`: wait for calls, show who calls and on what basis of trust, and ask.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip answer` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Decide without asking: accept, let the caller leave word first, or decline
    #[arg(long, value_enum, value_name = "HOW")]
    auto: Option<Auto>,
    /// What to send: a WAV or Ogg/Opus FILE, tone[:HZ], silence, or exec:COMMAND (its standard output)
    #[arg(long, value_name = "SRC")]
    audio_in: Option<String>,
    /// Where to record what is heard: FILE.wav, FILE.opus, or exec:COMMAND (its standard input)
    #[arg(long, value_name = "FILE")]
    audio_out: Option<String>,
    /// Publish in the DHT where this identity can be dialled
    #[arg(long)]
    publish: bool,
    /// End after the first call
    #[arg(long)]
    once: bool,
}

/// What becomes of a call nobody is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Auto {
    /// Answer it.
    Accept,
    /// Screen it.
    Screen,
    /// Decline it.
    Decline,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("answer", "this build does not have the command yet", "update dsip"))
}
