//! The command line: sub-commands, the flags that all of them share, and one clear line for a mistake.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use dsip_endpoint::home::Home;
use dsip_proto::link;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{
    answer, call, conformance, contacts, demo, doctor, id, introduce, join, load, node, presence, publish, requests,
    resolve, wake, watch,
};

/// Call anyone by cryptographic identity: no phone number, no account, no company in between.
#[derive(Debug, Parser)]
#[command(name = "dsip", version, arg_required_else_help = true, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done                        5  nobody reachable
  1  a check did not hold        6  refused by the other side
  2  wrong command line          7  no answer
  3  home or identity            8  the call broke off
  4  target not found

Start with: dsip demo";

/// The flags every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Globals {
    /// Where identity, keys and contacts live [default: $XDG_DATA_HOME/dsip or ~/.local/share/dsip]
    #[arg(long, global = true, value_name = "DIR", env = "DSIP_HOME", help_heading = "Everywhere")]
    pub(crate) home: Option<PathBuf>,
    /// My node, e.g. wss://example.org:8443/dsip; a fragment #did:key:… names its DID
    #[arg(long, global = true, value_name = "URL", env = "DSIP_NODE", help_heading = "Everywhere")]
    pub(crate) node: Option<String>,
    /// A DHT node to start from, as a multiaddr with its peer id; may be repeated
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "DSIP_DHT",
        value_delimiter = ',',
        help_heading = "Everywhere"
    )]
    pub(crate) dht: Vec<String>,
    /// A STUN server besides my node, to tell a phone behind NAT its public address; may be repeated
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "DSIP_STUN",
        value_delimiter = ',',
        help_heading = "Everywhere"
    )]
    pub(crate) stun: Vec<String>,
    /// One more root certificate to trust, in PEM; may be repeated
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DSIP_CA",
        value_delimiter = ',',
        help_heading = "Everywhere"
    )]
    pub(crate) ca: Vec<PathBuf>,
    /// The file whose first line unlocks the identity key
    #[arg(long, global = true, value_name = "FILE", env = "DSIP_PASSPHRASE_FILE", help_heading = "Everywhere")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Let did:web, aliases and push services be in private address space (a LAN, this machine)
    #[arg(long, global = true, env = "DSIP_ALLOW_PRIVATE", help_heading = "Everywhere", value_parser = switch())]
    pub(crate) allow_private: bool,
    /// One JSON object per line on standard output
    #[arg(long, global = true, env = "DSIP_JSON", help_heading = "Everywhere", value_parser = switch())]
    pub(crate) json: bool,
}

impl Globals {
    /// The home in use.
    pub(crate) fn home(&self) -> Result<Home, Failure> {
        let dir = self.home.clone().or_else(Home::default_dir);
        let remedy = "give --home DIR";
        dir.map(Home::at).ok_or_else(|| Failure::home("home", "neither $XDG_DATA_HOME nor $HOME is set", remedy))
    }

    /// My node as a link names it, if I gave one.
    pub(crate) fn node_hint(&self) -> Result<Option<link::Node>, Failure> {
        let Some(node) = &self.node else { return Ok(None) };
        let (uri, did) = match node.split_once('#') {
            Some((uri, did)) => (uri, Some(did)),
            None => (node.as_str(), None),
        };
        let did = did.map(str::parse).transpose();
        let did = did.map_err(|error| Failure::usage("--node", error, "write wss://HOST:PORT/dsip#did:key:…"))?;
        Ok(Some(link::Node { uri: uri.into(), did }))
    }
}

/// What `dsip` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make and show identities, device keys and delegations
    Id(id::Args),
    /// Run a node: relay, DHT, STUN
    Node(Box<node::Args>),
    /// Wait for calls
    Answer(answer::Args),
    /// Call somebody
    Call(call::Args),
    /// Ask somebody for permission to call
    Introduce(introduce::Args),
    /// See and decide who asked to call me
    Requests(requests::Args),
    /// See and change who may call me
    Contacts(contacts::Args),
    /// Watch whether somebody is there, or how a stream of theirs stands
    Watch(watch::Args),
    /// Become a member of my node, which serves members only, with an invitation
    Join(join::Args),
    /// Have my node wake this device through a push service when somebody calls
    Wake(wake::Args),
    /// Say who may see whether I am there
    Presence(presence::Args),
    /// Tell those who watch that a stream of mine is on
    Publish(publish::Args),
    /// Withdraw that
    Unpublish(publish::Withdrawal),
    /// Find what is known about a DID, alias or link, and what of it has authority
    Resolve(resolve::Args),
    /// Say why calls do not work: ports, certificate, clock, NAT, relay
    Doctor(doctor::Args),
    /// Run a directory of conformance vectors
    Conformance(conformance::Args),
    /// Drive a node with many devices and measure how it fares
    Load(load::Args),
    /// Watch the whole system work on this machine alone
    Demo(demo::Args),
}

/// Parses the process's arguments. Help and version are printed here; a mistake becomes one line and exit code 2.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let line: Vec<OsString> = std::env::args_os().collect();
    let json = line.iter().any(|arg| arg == "--json")
        || std::env::var("DSIP_JSON")
            .is_ok_and(|value| matches!(&*value.to_lowercase(), "1" | "true" | "yes" | "on" | "y" | "t"));
    let show = |error: clap::Error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let shown = error.print();
            if shown.is_ok() && !error.use_stderr() { Exit::Done.into() } else { Exit::Usage.into() }
        }
        _ => Output::new(json).failed(&mistake(&error)),
    };
    let plain = without_empty(Cli::command());
    let mut matches = plain.clone().try_get_matches_from(&line).map_err(show)?;
    let Some(node_matches) = matches.subcommand_matches("node") else {
        return Cli::from_arg_matches(&matches).map_err(show);
    };
    let file = node::settings::file(node_matches, matches.get_one("home"));
    let with_file = file.as_deref().map(|file| node::settings::apply(plain.clone(), file)).transpose();
    let with_file = with_file.map_err(|failure| Output::new(json).failed(&failure))?;
    if let Some(with_file) = &with_file {
        matches = with_file.clone().try_get_matches_from(&line).map_err(show)?;
    }
    let mut cli = Cli::from_arg_matches(&matches).map_err(show)?;
    if let Command::Node(args) = &mut cli.command {
        args.settings = node::settings::effective(&plain, with_file.as_ref(), &matches);
    }
    Ok(cli)
}

/// The same command, to which environment variables that are set to nothing are not set: service managers and containers
/// have no other way to say so.
fn without_empty(command: clap::Command) -> clap::Command {
    let says_something = |arg: &clap::Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        value.is_none_or(|value| !value.is_empty())
    };
    command
        .mut_args(|arg| if says_something(&arg) { arg } else { arg.env(Resettable::Reset) })
        .mut_subcommands(without_empty)
}

/// What an environment variable or a file may set a switch to: 1, true, yes, on, or the opposite.
pub(crate) fn switch() -> BoolishValueParser {
    BoolishValueParser::new()
}

/// Says in the house's one-line form what clap found.
pub(crate) fn mistake(error: &clap::Error) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue).map(brief);
    let input = argument.clone().or(text(ContextKind::InvalidSubcommand)).unwrap_or_else(|| "command line".into());
    let wrong = match error.kind() {
        ErrorKind::InvalidSubcommand => "no such command".into(),
        ErrorKind::UnknownArgument => "no such flag or argument here".into(),
        ErrorKind::MissingRequiredArgument => "missing".into(),
        ErrorKind::MissingSubcommand => "a command is missing".into(),
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            Some(prior) => format!("cannot go together with {prior}"),
            None => "given twice, or together with something it excludes".into(),
        },
        ErrorKind::InvalidUtf8 => "not UTF-8 text".into(),
        _ => match (value, std::error::Error::source(error)) {
            (Some(value), Some(source)) if !value.is_empty() => format!("{value:?} cannot be used: {source}"),
            (Some(value), None) if !value.is_empty() => match text(ContextKind::ValidValue) {
                Some(valid) => format!("{value:?} is not one of {valid}"),
                None => format!("{value:?} cannot be used"),
            },
            _ => "a value is missing".into(),
        },
    };
    let remedy = match text(ContextKind::SuggestedArg).or(text(ContextKind::SuggestedSubcommand)) {
        Some(close) => format!("did you mean {close}?"),
        None => "see --help".into(),
    };
    Failure::usage(input, wrong, remedy)
}

/// Enough of a value to know it again.
fn brief(value: String) -> String {
    match value.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shared_flags_may_stand_before_or_after_the_command() {
        let before = Cli::try_parse_from(["dsip", "--json", "--home", "h", "id", "show"]).expect("flags first");
        let after = Cli::try_parse_from(["dsip", "id", "show", "--json", "--home", "h"]).expect("flags last");
        assert!(before.globals.json && after.globals.json);
        assert_eq!(before.globals.home, after.globals.home);
    }

    #[test]
    fn a_mistake_is_one_line_that_names_the_input() {
        for (line, named) in [
            (&["dsip", "dial"][..], "dial"),
            (&["dsip", "call"][..], "<TARGET>"),
            (&["dsip", "call", "did:key:z6Mk", "--duration", "soon"][..], "--duration"),
            (&["dsip", "id", "show", "--jsno"][..], "--jsno"),
            (&["dsip", "answer", "--auto", "perhaps"][..], "--auto"),
        ] {
            let error = Cli::try_parse_from(line).expect_err("a mistake");
            let said = mistake(&error).to_string();
            assert!(said.contains(named), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}
