//! `dsip call TARGET`: find, dial, ring, talk, and say how it went.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip call` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A DID, an alias such as bob@example.org, or a dsip: link
    #[arg(value_name = "TARGET")]
    target: String,
    /// Call under another identity: `ephemeral` is a fresh one, linked to nothing
    #[arg(long = "as", value_enum, value_name = "WHO")]
    identity: Option<Identity>,
    /// What to send: a WAV or Ogg/Opus FILE, tone[:HZ], silence, or exec:COMMAND (its standard output)
    #[arg(long, value_name = "SRC")]
    audio_in: Option<String>,
    /// Where to record what is heard: FILE.wav, FILE.opus, or exec:COMMAND (its standard input)
    #[arg(long, value_name = "FILE")]
    audio_out: Option<String>,
    /// Hang up this many seconds after the answer
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
}

/// Under which identity a call goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Identity {
    /// A fresh did:key for this call alone.
    Ephemeral,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("call", "this build does not have the command yet", "update dsip"))
}
