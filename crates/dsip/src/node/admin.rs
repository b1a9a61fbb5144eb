//! Commands for a node that runs, over the socket in its home.

use std::fmt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use dsip_node::Allowance;
use dsip_node::control::{self, Ask, Blocked, Invited, Status};
use dsip_proto::wire::Did;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What an operator can ask for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say how the node is that runs in this home
    Status,
    /// Take no new work, say goodbye to phones, and end when relayed calls have ended
    Drain {
        /// After so many seconds end in any case
        #[arg(long, value_name = "S", default_value_t = 3_600)]
        within: u32,
    },
    /// Serve an identity, a device or a network no more
    Block {
        /// A DID, an address, or a network such as 192.0.2.0/24
        who: String,
        /// For so many hours [default: until it is unblocked]
        #[arg(long = "for", value_name = "H", value_parser = clap::value_parser!(u32).range(1..))]
        hours: Option<u32>,
    },
    /// Serve somebody again
    Unblock {
        /// As it was blocked
        who: String,
    },
    /// List who is blocked
    Blocked,
    /// Say what is allowed, or allow more or less until the node is started anew
    Limits {
        /// Connections at one time
        #[arg(long, value_name = "N", value_parser = super::some)]
        max_connections: Option<usize>,
        /// Connections from one address, or one IPv6 /64, at one time
        #[arg(long, value_name = "N", value_parser = super::some)]
        max_connections_per_address: Option<usize>,
        /// Envelopes of one device in a minute
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_envelopes_per_device: Option<u32>,
        /// Envelopes of one identity in a minute
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_envelopes: Option<u32>,
        /// Invites of one identity in a minute
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_invites: Option<u32>,
    },
    /// Say who belongs to a closed community, and change it
    #[command(subcommand)]
    Member(Member),
    /// Make an invitation to a closed community, for `dsip join`
    Invite {
        /// How many may come with it
        #[arg(long, value_name = "N", default_value_t = 1)]
        uses: u32,
        /// For how long
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        days: u32,
    },
    /// List the invitations that are out
    Invitations,
    /// Take an invitation back
    Disinvite {
        /// Its code
        code: String,
    },
}

/// Who belongs to a closed community.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Member {
    /// Let somebody in
    Add {
        /// Their identity
        did: Did,
    },
    /// Put somebody out
    Remove {
        /// Their identity
        did: Did,
    },
    /// List everybody
    List,
}

/// Runs a command against the node in `home`.
pub(crate) async fn run(home: &Path, out: &Output, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Status => out.event(&Shown::new("status", ask::<Status>(home, Ask::Status).await?)),
        Command::Drain { within } => {
            ask::<()>(home, Ask::Drain { within }).await?;
            out.event(&Done::new("draining", true));
        }
        Command::Block { who, hours } => {
            ask::<()>(home, Ask::Block { who, hours }).await?;
            out.event(&Done::new("blocked", true));
        }
        Command::Unblock { who } => out.event(&Done::new("unblocked", ask(home, Ask::Unblock { who }).await?)),
        Command::Blocked => {
            for blocked in ask::<Vec<Blocked>>(home, Ask::Blocked).await? {
                out.event(&Shown::new("blocked", blocked));
            }
        }
        Command::Limits {
            max_connections,
            max_connections_per_address,
            max_envelopes_per_device,
            max_envelopes,
            max_invites,
        } => {
            let ask_limits = Ask::Limits {
                max_connections,
                max_connections_per_address,
                max_envelopes_per_device,
                max_envelopes,
                max_invites,
            };
            out.event(&Shown::new("limits", ask::<Allowance>(home, ask_limits).await?));
        }
        Command::Member(Member::Add { did }) => {
            out.event(&Done::new("added", ask(home, Ask::MemberAdd { did }).await?));
        }
        Command::Member(Member::Remove { did }) => {
            out.event(&Done::new("removed", ask(home, Ask::MemberRemove { did }).await?));
        }
        Command::Member(Member::List) => {
            for did in ask::<Vec<Did>>(home, Ask::Members).await? {
                out.event(&Shown::new("member", Belongs { did }));
            }
        }
        Command::Invite { uses, days } => {
            out.event(&Shown::new("invitation", ask::<Invited>(home, Ask::Invite { uses, days }).await?));
        }
        Command::Invitations => {
            for invited in ask::<Vec<Invited>>(home, Ask::Invitations).await? {
                out.event(&Shown::new("invitation", invited));
            }
        }
        Command::Disinvite { code } => {
            out.event(&Done::new("disinvited", ask(home, Ask::Disinvite { code }).await?));
        }
    }
    Ok(Exit::Done)
}

async fn ask<T: DeserializeOwned>(home: &Path, what: Ask) -> Result<T, Failure> {
    control::ask(home, &what).await.map_err(|failed| match failed {
        control::Failed::Refused(why) => Failure::usage("the node", why, "see dsip node --help"),
        control::Failed::NoNode(_) => Failure::home(
            home.display(),
            "no node runs there",
            "start one with `dsip node`, or give the --home of the one that runs",
        ),
        control::Failed::Broken(error) => Failure::home(home.display(), error, "look at the node's log"),
    })
}

/// A time, for people.
fn date(secs: u64) -> humantime::Rfc3339Timestamp {
    // Four thousand years suffice; beyond, the format gives up.
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs.min(60 * 1_000_000_000)))
}

/// Something that was shown.
#[derive(Serialize)]
struct Shown<T> {
    event: &'static str,
    #[serde(flatten)]
    what: T,
}

impl<T> Shown<T> {
    fn new(event: &'static str, what: T) -> Self {
        Self { event, what }
    }
}

/// Something that was done, or was so already.
#[derive(Serialize)]
struct Done {
    event: &'static str,
    changed: bool,
}

impl Done {
    fn new(event: &'static str, changed: bool) -> Self {
        Self { event, changed }
    }
}

#[derive(Serialize)]
struct Belongs {
    did: Did,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.changed { self.event } else { "nothing to do: it was so already" })
    }
}

impl fmt::Display for Shown<Status> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.what;
        let counts = &status.counts;
        writeln!(f, "node         {} ({})", status.did, status.version)?;
        writeln!(f, "phones use   --node '{}' --dht {}", status.url, status.dht)?;
        writeln!(f, "running for  {}", humantime::format_duration(Duration::from_secs(status.uptime_s)))?;
        writeln!(f, "ready        {}", status.unready.as_deref().map_or("yes".to_owned(), |why| format!("no: {why}")))?;
        writeln!(f, "serves       {}", if status.closed { "members only" } else { "everybody" })?;
        writeln!(f, "connections  {}, devices bound {}", counts.connections, counts.bound)?;
        writeln!(f, "calls        {} without an end so far", counts.attempts)?;
        writeln!(
            f,
            "envelopes    {} delivered, {} had to wait, {} waiting, {} not acknowledged",
            counts.delivered, counts.queued, counts.held, counts.unacknowledged
        )?;
        writeln!(
            f,
            "refused      {} frames, {} envelopes; {} slow connections closed",
            counts.rejected, counts.refused, counts.too_slow
        )?;
        writeln!(f, "waking       {} devices can be woken, {} were asked to be", counts.sleepers, counts.woken)?;
        writeln!(f, "relaying     {} addresses, {} MB so far", status.turn_allocations, status.turn_bytes / 1_000_000)?;
        write!(f, "store        {} MB on disk", status.store_bytes / 1_000_000)
    }
}

impl fmt::Display for Shown<Blocked> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what.until {
            Some(until) => write!(f, "{}  until {}", self.what.who, date(until)),
            None => write!(f, "{}", self.what.who),
        }
    }
}

impl fmt::Display for Shown<Invited> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Invited { code, uses, until } = &self.what;
        write!(f, "{code}  for {uses}, until {}", date(*until))
    }
}

impl fmt::Display for Shown<Belongs> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what.did)
    }
}

impl fmt::Display for Shown<Allowance> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = &self.what;
        writeln!(f, "max-connections              {}", limits.max_connections)?;
        writeln!(f, "max-connections-per-address  {}", limits.max_connections_per_address)?;
        writeln!(f, "max-envelopes-per-device     {} a minute", limits.max_envelopes_per_device)?;
        writeln!(f, "max-envelopes                {} a minute", limits.max_envelopes)?;
        write!(f, "max-invites                  {} a minute", limits.max_invites)
    }
}
