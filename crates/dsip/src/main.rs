//! DSIP on the command line: a phone, a node and a demonstration in one binary.
//!
//! No rule of the protocol lives here: a command parses its arguments, drives `dsip-endpoint` or `dsip-node`, and prints. Every
//! command has a file or folder of its name with its `Args` and one `run`; what they share is [`cli`] (flags), [`output`] (human or JSON)
//! and [`failure`] (exit codes, one-line errors).

mod answer;
mod call;
mod cli;
mod conformance;
mod contacts;
mod demo;
mod doctor;
mod end;
mod failure;
mod id;
mod introduce;
mod join;
mod load;
mod node;
mod output;
mod passphrase;
mod phone;
mod presence;
mod publish;
mod requests;
mod resolve;
mod wake;
mod watch;
mod words;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::failure::{Exit, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    if let Err(wrong) = log_to_stderr(&cli.command) {
        return Output::new(cli.globals.json).failed(&wrong);
    }
    let out = Output::new(cli.globals.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let wrong = Failure::fault("the async runtime", error, "free some memory or threads and try again");
            return out.failed(&wrong);
        }
    };
    let result = runtime.block_on(run(cli, &out));
    // A resolver or a prompt may sit in a blocking thread; the process does not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => out.failed(&failure),
    }
}

async fn run(cli: Cli, out: &Output) -> Result<Exit, Failure> {
    let globals = &cli.globals;
    match cli.command {
        Command::Id(args) => id::run(globals, out, args).await,
        Command::Node(args) => node::run(globals, out, *args).await,
        Command::Answer(args) => answer::run(globals, out, args).await,
        Command::Call(args) => call::run(globals, out, args).await,
        Command::Introduce(args) => introduce::run(globals, out, args).await,
        Command::Requests(args) => requests::run(globals, out, args).await,
        Command::Contacts(args) => contacts::run(globals, out, args).await,
        Command::Watch(args) => watch::run(globals, out, args).await,
        Command::Join(args) => join::run(globals, out, args).await,
        Command::Wake(args) => wake::run(globals, out, args).await,
        Command::Presence(args) => presence::run(globals, out, args).await,
        Command::Publish(args) => publish::run(globals, out, args).await,
        Command::Unpublish(args) => publish::withdraw(globals, out, args).await,
        Command::Resolve(args) => resolve::run(globals, out, args).await,
        Command::Doctor(args) => doctor::run(globals, out, args).await,
        Command::Conformance(args) => conformance::run(globals, out, args).await,
        Command::Load(args) => load::run(globals, out, args).await,
        Command::Demo(args) => demo::run(globals, out, args).await,
    }
}

/// Logs go to standard error so that standard output stays events only; `DSIP_LOG` filters as `RUST_LOG` would.
fn log_to_stderr(command: &Command) -> Result<(), Failure> {
    use std::io::IsTerminal as _;
    let wrong = |error| Failure::usage("DSIP_LOG", error, "write error, warn, info, debug, trace, or dsip_node=debug");
    let (filter, as_json) = match command {
        Command::Node(args) => args.logging(),
        _ => (&*std::env::var("DSIP_LOG").ok().filter(|filter| !filter.is_empty()).unwrap_or("error".into()), false),
    };
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(wrong)?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match as_json {
        true => log.json().flatten_event(true).init(),
        false => log.with_ansi(colour).init(),
    }
    Ok(())
}
