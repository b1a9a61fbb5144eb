//! `dsip node`: run a node, and say how to reach it.

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What `dsip node` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address and port for WebSocket (TCP) and QUIC (UDP); port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:7443", env = "DSIP_LISTEN")]
    listen: std::net::SocketAddr,
}

/// Runs the command.
pub(crate) async fn run(_globals: &Globals, _out: &Output, _args: Args) -> Result<Exit, Failure> {
    Err(Failure::fault("node", "this build does not have the command yet", "update dsip"))
}
