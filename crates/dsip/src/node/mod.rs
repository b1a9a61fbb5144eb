//! `dsip node`: run a node, and say how to reach it; look at its configuration.

mod admin;
pub(crate) mod settings;
mod user;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use dsip_endpoint::dht;
use dsip_endpoint::link::Target;
use dsip_endpoint::qr;
use dsip_endpoint::resolve::Domain;
use dsip_endpoint::tls::server_name;
use dsip_node::{Acme, Config, Limits, Node, Ready, StartError, TurnConfig, TurnLimits, WakeConfig};
use dsip_proto::relay::rate::Rate;
use sd_notify::NotifyState;
use serde::Serialize;

use crate::cli::{Globals, switch};
use crate::end::End;
use crate::failure::{Exit, Failure};
use crate::output::Output;

use settings::Setting;

/// What `dsip node` takes.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The configuration file: any of these flags without its dashes [default: node/node.toml in the home, if there is one]
    #[arg(long, value_name = "FILE", env = "DSIP_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Address and port for WebSocket (TCP) and QUIC (UDP); port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:7443", env = "DSIP_LISTEN")]
    listen: SocketAddr,
    /// A name or address by which others reach this node; the first is how it calls itself; may be repeated
    #[arg(long, value_name = "HOST", env = "DSIP_HOST", value_delimiter = ',', value_parser = host)]
    host: Vec<String>,
    /// The domain whose names this node hosts, as others reach it: example.org, or example.org:7443 if that is not port 443
    #[arg(long, value_name = "HOST[:PORT]", env = "DSIP_DOMAIN")]
    domain: Option<Domain>,
    /// Address and port for the DHT (TCP) [default: the next free port]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_DHT_LISTEN")]
    dht_listen: Option<SocketAddr>,
    /// Address and port for STUN, and TURN over UDP [default: the next free port]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_STUN_LISTEN")]
    stun_listen: Option<SocketAddr>,
    /// Address and port for TURN over TCP [default: port 3478, or one that is free]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_TURN_TCP")]
    turn_tcp: Option<SocketAddr>,
    /// Address and port for TURN over TLS [default: port 5349, or one that is free]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_TURN_TLS")]
    turn_tls: Option<SocketAddr>,
    /// The address at which peers reach what is relayed, one of a family [default: where the node listens]; may be repeated
    #[arg(long, value_name = "ADDR", env = "DSIP_TURN_RELAY", value_delimiter = ',')]
    turn_relay: Vec<IpAddr>,
    /// The UDP ports of relayed addresses
    #[arg(long, value_name = "FROM-TO", default_value = "49152-65535", env = "DSIP_TURN_PORTS", value_parser = ports)]
    turn_ports: RangeInclusive<u16>,
    /// Relay to private addresses and to this machine, too
    #[arg(long, env = "DSIP_TURN_ALLOW_PRIVATE", value_parser = switch())]
    turn_allow_private: bool,
    /// Relay no media; STUN is still answered
    #[arg(long, env = "DSIP_NO_TURN", value_parser = switch())]
    no_turn: bool,
    /// Wake no devices that sleep
    #[arg(long, env = "DSIP_NO_WAKE", value_parser = switch())]
    no_wake: bool,
    /// How push services reach you, a mail address or an https URL; some want to know [default: the ACME contact, or the domain]
    #[arg(long, value_name = "ADDRESS", env = "DSIP_WAKE_CONTACT", value_parser = contact)]
    wake_contact: Option<String>,
    /// A certificate chain in PEM form, for a node with a domain [default: self-made from the node's own key]
    #[arg(long, value_name = "FILE", env = "DSIP_CERTIFICATE")]
    certificate: Option<PathBuf>,
    /// The key of the certificate, in PEM form
    #[arg(long, value_name = "FILE", env = "DSIP_KEY")]
    key: Option<PathBuf>,
    /// Another node of mine, where phones go while this one is away: wss://HOST:PORT/dsip#did:key:…
    #[arg(long, value_name = "URL", env = "DSIP_ELSEWHERE", value_parser = elsewhere)]
    elsewhere: Option<Target>,
    /// Serve members only: those added with `dsip node member add`, and who come with an invitation. Others can still call them
    #[arg(long, env = "DSIP_CLOSED", value_parser = switch())]
    closed: bool,
    /// Have the domain certified by an authority, whose terms you agree to; port 443 of the domain has to lead here
    #[arg(long, env = "DSIP_ACME", value_parser = switch())]
    acme: bool,
    /// The directory of the authority
    #[arg(long, value_name = "URL", default_value_t = Acme::default().directory, env = "DSIP_ACME_DIRECTORY")]
    acme_directory: String,
    /// A mail address at which the authority may reach you [default: none]
    #[arg(long, value_name = "ADDRESS", env = "DSIP_ACME_CONTACT")]
    acme_contact: Option<String>,
    /// Serve no web phone to browsers
    #[arg(long, env = "DSIP_NO_WEB", value_parser = switch())]
    no_web: bool,
    /// Address and port for metrics and health over plain HTTP; keep it to this machine or your own network [default: none]
    #[arg(long, value_name = "ADDR:PORT", env = "DSIP_METRICS")]
    metrics: Option<SocketAddr>,
    /// When told to end, how long calls that are relayed here may go on, in seconds
    #[arg(long, value_name = "S", default_value_t = 0, env = "DSIP_DRAIN")]
    drain: u32,
    /// What is logged to standard error: error, warn, info, debug, trace, or a filter such as dsip_node=debug
    #[arg(long, value_name = "FILTER", default_value = DEFAULT_LOG, env = "DSIP_LOG", value_parser = filter)]
    log: String,
    /// How it is logged
    #[arg(long, value_name = "FORMAT", default_value = "text", env = "DSIP_LOG_FORMAT")]
    log_format: LogFormat,
    /// Connections at one time
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, env = "DSIP_MAX_CONNECTIONS", help_heading = LIMITS, value_parser = some)]
    max_connections: usize,
    /// Connections from one address, or one IPv6 /64, at one time
    #[arg(long, value_name = "N", default_value_t = Limits::default().per_address, env = "DSIP_MAX_CONNECTIONS_PER_ADDRESS", help_heading = LIMITS, value_parser = some)]
    max_connections_per_address: usize,
    /// Envelopes of one device in a minute; twice as many if its identity is a did:web, four times for members and names here
    #[arg(long, value_name = "N", default_value_t = 4_500, env = "DSIP_MAX_ENVELOPES_PER_DEVICE", help_heading = LIMITS, value_parser = clap::value_parser!(u32).range(1..))]
    max_envelopes_per_device: u32,
    /// Envelopes of one identity in a minute; more for some, as above
    #[arg(long, value_name = "N", default_value_t = 6_000, env = "DSIP_MAX_ENVELOPES", help_heading = LIMITS, value_parser = clap::value_parser!(u32).range(1..))]
    max_envelopes: u32,
    /// Envelopes from one address, or one IPv6 /64, in a minute
    #[arg(long, value_name = "N", default_value_t = 120_000, env = "DSIP_MAX_ENVELOPES_PER_ADDRESS", help_heading = LIMITS, value_parser = clap::value_parser!(u32).range(1..))]
    max_envelopes_per_address: u32,
    /// Invites of one identity in a minute; more for some, as above
    #[arg(long, value_name = "N", default_value_t = 120, env = "DSIP_MAX_INVITES", help_heading = LIMITS, value_parser = clap::value_parser!(u32).range(1..))]
    max_invites: u32,
    /// How long an envelope waits for a device that is away, in hours
    #[arg(long, value_name = "H", default_value_t = 24, env = "DSIP_RETENTION", help_heading = LIMITS, value_parser = clap::value_parser!(u64).range(1..=168))]
    retention: u64,
    /// Relayed addresses of one identity at one time
    #[arg(long, value_name = "N", default_value_t = TurnLimits::default().per_holder, env = "DSIP_TURN_MAX_PER_IDENTITY", help_heading = LIMITS, value_parser = some)]
    turn_max_per_identity: usize,
    /// What one identity may have relayed, in kbit/s
    #[arg(long, value_name = "KBIT", default_value_t = TurnLimits::default().bandwidth / 125, env = "DSIP_TURN_MAX_BANDWIDTH", help_heading = LIMITS, value_parser = clap::value_parser!(u64).range(1..))]
    turn_max_bandwidth: u64,
    /// What is in effect, and where it comes from.
    #[arg(skip)]
    pub(crate) settings: Vec<Setting>,
}

/// What is logged if nobody says otherwise. Libraries name addresses of users in their warnings; ours do not.
const DEFAULT_LOG: &str = "warn,libp2p_kad=error,quinn_udp=error,yamux=error,dsip_node=info,dsip=info";

/// Where `--help` shows what is limited.
const LIMITS: &str = "Limits";

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say what is in effect and where it comes from, and what is wrong with it; start nothing
    CheckConfig,
    #[command(flatten)]
    Admin(admin::Command),
    /// Give names at the domain to people, and take them away; a node that runs need not be restarted
    User(user::Args),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object per line
    Json,
}

impl Args {
    /// What is logged, and whether as JSON.
    pub(crate) fn logging(&self) -> (&str, bool) {
        (&self.log, self.log_format == LogFormat::Json)
    }
}

/// How to reach the node that has just started.
#[derive(Serialize)]
struct Started<'a> {
    event: &'static str,
    #[serde(flatten)]
    ready: &'a Ready,
    /// The address together with the DID: all that a phone needs to know.
    url: String,
    /// The address of the web phone as a picture.
    #[serde(skip)]
    picture: Option<String>,
}

/// Runs the command, until the process is told to end.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let config = config(globals, &args)?;
    match args.action {
        Some(Action::CheckConfig) => return check(out, &config, args.settings),
        Some(Action::Admin(command)) => return admin::run(&config.home, out, command).await,
        Some(Action::User(args)) => return user::run(out, &config, args),
        None => {}
    }
    let mut patience = Duration::from_secs(args.drain.into());
    let mut end = End::new()?;
    let node = Node::start(config).await?;
    let ready = node.ready();
    let picture = ready.web.as_ref().and_then(|page| qr::picture(page).ok());
    out.event(&Started { event: "ready", ready, url: ready.url(), picture });
    notify(NotifyState::Ready);
    tokio::select! {
        () = end.wait() => {}
        told = node.told_to_drain() => patience = told,
    }
    notify(NotifyState::Stopping);
    if node.turn().allocations > 0 && !patience.is_zero() {
        out.progress("saying goodbye to connections, and waiting for calls that are relayed; once more ends at once");
        tokio::select! {
            () = node.drain(patience) => {}
            () = end.wait() => {}
        }
    } else {
        out.progress("saying goodbye to connections");
    }
    node.shutdown().await;
    Ok(Exit::Done)
}

/// Tells the service manager, if one wants to know (sd_notify(3)).
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// What the node is started with.
fn config(globals: &Globals, args: &Args) -> Result<Config, Failure> {
    let home = globals.home()?.dir().join("node");
    let parse = |text: &String| {
        dht::parse_address(text)
            .map_err(|error| Failure::usage("--dht", error, "write /ip4/ADDRESS/tcp/PORT/p2p/ID or HOST:PORT"))
    };
    let certificate = match (&args.certificate, &args.key) {
        (Some(chain), Some(key)) => Some((chain.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Failure::usage("--key", "missing", "name the file with the key of --certificate"));
        }
        (None, Some(_)) => {
            return Err(Failure::usage("--certificate", "missing", "name the file with the chain for --key"));
        }
    };
    let relays = |v4: bool| args.turn_relay.iter().filter(|relay| relay.is_ipv4() == v4).count();
    if relays(true) > 1 || relays(false) > 1 {
        return Err(Failure::usage(
            "--turn-relay",
            "two addresses of one family",
            "give one IPv4 and one IPv6 address",
        ));
    }
    let acme = Acme { directory: args.acme_directory.clone(), contact: args.acme_contact.clone() };
    if args.acme && args.domain.is_none() {
        return Err(Failure::usage("--domain", "missing", "name the domain that --acme is to have certified"));
    }
    if args.acme && certificate.is_some() {
        return Err(Failure::usage("--acme", "cannot go together with --certificate", "choose one"));
    }
    if !acme.directory.starts_with("https://") {
        return Err(Failure::usage("--acme-directory", "not an https URL", "leave it out for Let's Encrypt"));
    }
    let operator = args.acme_contact.as_ref().map(|address| format!("mailto:{address}"));
    let domain = args.domain.as_ref().map(|domain| format!("https://{domain}"));
    let limits = TurnLimits {
        per_holder: args.turn_max_per_identity,
        bandwidth: args.turn_max_bandwidth.saturating_mul(125),
        ..TurnLimits::default()
    };
    let mut config = Config {
        hosts: args.host.clone(),
        domain: args.domain.clone(),
        stun: args.stun_listen,
        turn: TurnConfig {
            enabled: !args.no_turn,
            relays: args.turn_relay.clone(),
            tcp: args.turn_tcp,
            tls: args.turn_tls,
            ports: args.turn_ports.clone(),
            allow_private: args.turn_allow_private,
            limits,
            ..TurnConfig::default()
        },
        wake: WakeConfig { enabled: !args.no_wake, contact: args.wake_contact.clone().or(operator).or(domain) },
        certificate,
        acme: args.acme.then_some(acme),
        dht: args.dht_listen,
        bootstrap: globals.dht.iter().map(parse).collect::<Result<_, _>>()?,
        ca: globals.ca.clone(),
        allow_private: globals.allow_private,
        elsewhere: args.elsewhere.clone(),
        closed: args.closed,
        web: !args.no_web,
        metrics: args.metrics,
        ..Config::new(home, args.listen)
    };
    config.limits.connections = args.max_connections;
    config.limits.per_address = args.max_connections_per_address;
    config.relay.rates.devices = Rate::per_minute(args.max_envelopes_per_device);
    config.relay.rates.envelopes = Rate::per_minute(args.max_envelopes);
    config.relay.rates.networks = Rate::per_minute(args.max_envelopes_per_address);
    config.relay.rates.invites = Rate::per_minute(args.max_invites);
    config.relay.engine.retention = Duration::from_secs(args.retention * 3600);
    Ok(config)
}

/// `dsip node check-config`: what would keep a node with this configuration from starting, as far as it shows beforehand.
fn check(out: &Output, config: &Config, settings: Vec<Setting>) -> Result<Exit, Failure> {
    config.check()?;
    out.event(&Checked { event: "checked", settings });
    Ok(Exit::Done)
}

/// What is in effect.
#[derive(Serialize)]
struct Checked {
    event: &'static str,
    settings: Vec<Setting>,
}

impl fmt::Display for Checked {
    /// As a file that says the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |value: &String| toml::Value::from(value.as_str()).to_string();
        for setting in &self.settings {
            let values: Vec<String> = setting.values.iter().map(quoted).collect();
            let value = match (setting.is_list, &setting.values[..]) {
                (true, _) => format!("[{}]", values.join(", ")),
                (false, []) => {
                    writeln!(f, "# {} is not set", setting.name)?;
                    continue;
                }
                (false, [plain, ..]) if plain.parse::<u64>().is_ok() || plain.parse::<bool>().is_ok() => plain.clone(),
                (false, _) => values.concat(),
            };
            writeln!(f, "{} = {value}  # {}", setting.name, setting.from)?;
        }
        write!(f, "# nothing is wrong with it")
    }
}

impl fmt::Display for Started<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "node         {}", self.ready.did)?;
        writeln!(f, "websocket    {}", self.ready.wss)?;
        writeln!(f, "quic         {}", self.ready.quic)?;
        writeln!(f, "dht          {}", self.ready.dht)?;
        writeln!(f, "stun         {}", self.ready.stun)?;
        for turn in &self.ready.turn {
            writeln!(f, "turn         {turn}")?;
        }
        writeln!(f, "certificate  {}", self.ready.ca.display())?;
        if let Some(metrics) = &self.ready.metrics {
            writeln!(f, "metrics      {metrics}")?;
        }
        write!(f, "phones use   --node '{}' --dht {}", self.url, self.ready.dht)?;
        if let Some(page) = &self.ready.web {
            let picture = self.picture.as_deref().unwrap_or_default();
            write!(f, "\nweb phone    {page}\n\n{picture}")?;
            if page.starts_with("https://localhost:") {
                write!(f, "\nOnly this machine finds it there; --host NAME-OR-ADDRESS makes it one that others find.")?;
            }
        }
        Ok(())
    }
}

/// What tracing understands.
fn filter(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned())
}

/// A name or an address, as it stands in a URL without its brackets.
fn host(text: &str) -> Result<String, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) if server_name(&name).is_some() => Ok(name),
        _ => Err("neither a host name nor an address".to_owned()),
    }
}

/// A number of things of which there has to be one at least.
pub(super) fn some(text: &str) -> Result<usize, String> {
    text.parse::<NonZeroUsize>().map(NonZeroUsize::get).map_err(|_| "write a whole number, 1 at least".to_owned())
}

/// A node with its DID: where it is proves nothing.
fn elsewhere(text: &str) -> Result<Target, String> {
    let target: Target = text.parse().map_err(|error| format!("{error}"))?;
    match target.node() {
        Some(_) => Ok(target),
        None => Err("the node's DID is missing: append # and what that node calls itself".to_owned()),
    }
}

/// An address of the operator's, as RFC 8292 wants it.
fn contact(text: &str) -> Result<String, &'static str> {
    match text {
        _ if text.chars().any(|character| character.is_control() || character.is_whitespace()) => {}
        _ if text.starts_with("mailto:") || text.starts_with("https://") => return Ok(text.to_owned()),
        _ if text.contains('@') => return Ok(format!("mailto:{text}")),
        _ => {}
    }
    Err("neither a mail address nor an https URL")
}

/// A range of ports, both ends included.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "write FROM-TO, two ports of which the first is not the greater".to_owned();
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from > 0 && from <= to { Ok(from..=to) } else { Err(wrong()) }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen { at, source } => Self::usage(at, source, "choose another address or port"),
            StartError::File { path, source } if source.kind() == std::io::ErrorKind::InvalidData => {
                Self::home(path, format!("is damaged: {source}"), "restore it from a copy, or move it away")
            }
            StartError::File { path, source } => {
                Self::home(path, source, "check the directory, or give another --home")
            }
            StartError::Key(path) => {
                Self::home(path, "not a key of a node's", "restore it, or move it away for a new identity")
            }
            StartError::Exposed(path) => Self::home(path, "others can read it", "`chmod 600` it, or move it away"),
            StartError::Store { home, source } => {
                Self::home(home, source, "see that no other node runs there, and that the disk is well")
            }
            StartError::Names(error) => error.into(),
            StartError::Tls(error) => Self::usage("certificate", error, "check --certificate, --key and --ca"),
            StartError::Dht(dht::Error::Listen(at, wrong)) => Self::usage(at, wrong, "choose another --dht-listen"),
            error => Self::fault("node", error, "try again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("whole").extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What quinn-udp says when a packet cannot be sent, word for word, with the address of whom it was for.
    #[test]
    fn the_log_names_no_address_of_a_user_unless_it_is_asked_for() {
        let log = Log::default();
        let into = log.clone();
        let filter = tracing_subscriber::EnvFilter::try_new(DEFAULT_LOG).expect("a filter");
        let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || into.clone()).finish();
        tracing::subscriber::with_default(logger, || {
            let transmit = "Transmit { destination: 192.0.2.7:44736 }";
            tracing::warn!(target: "quinn_udp", "sendmsg error: Operation not permitted, {transmit}");
            tracing::warn!(target: "yamux::connection", "192.0.2.7: maximum number of streams reached");
            tracing::warn!(target: "dsip_node::summary", "turned away in the last minute: connections closed: abuse 7");
        });
        let said = String::from_utf8(log.0.lock().expect("whole").clone()).expect("text");
        assert!(said.contains("abuse 7") && !said.contains("192.0.2.7"), "{said}");
    }
}
