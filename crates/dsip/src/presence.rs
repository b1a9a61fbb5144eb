//! `dsip presence`: who may see whether I am there, by the word of my node.

use std::time::Duration;

use dsip_endpoint::home::Part;
use dsip_endpoint::phone::{Event, Events, Phone, Visibility};
use dsip_proto::agent::Memory;
use dsip_proto::wire::{Did, Ulid};
use tokio::time::timeout;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::phone::occupied;
use crate::words::Teller;

/// How long my node may take to say that it is so.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `dsip presence` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who may see whether I am there
    #[arg(value_enum, value_name = "WHO")]
    who: Who,
    /// With `only`: their DIDs
    #[arg(value_name = "DID")]
    dids: Vec<Did>,
}

/// Who may see whether somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Who {
    /// Nobody, as it is until I say otherwise
    Nobody,
    /// Those in my address book, see dsip contacts
    Contacts,
    /// These and nobody else
    Only,
    /// Everybody who asks
    Everybody,
}

impl Who {
    /// The same, as the node is told.
    pub(crate) fn visibility(self, globals: &Globals, only: Vec<Did>) -> Result<Visibility, Failure> {
        Ok(match self {
            Self::Nobody => Visibility::Only(Vec::new()),
            Self::Only if only.is_empty() => {
                return Err(Failure::usage("only", "nobody is named", "use dsip presence only DID…"));
            }
            Self::Only => Visibility::Only(only),
            Self::Everybody => Visibility::Public,
            Self::Contacts => {
                let memory: Memory = globals.home()?.load(Part::Contacts)?;
                Visibility::Only(memory.contacts.allowed().cloned().collect())
            }
        })
    }
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    if args.who != Who::Only && !args.dids.is_empty() {
        return Err(Failure::usage("DID", "only `dsip presence only` takes a list", "see dsip presence --help"));
    }
    let visibility = args.who.visibility(globals, args.dids)?;
    let (phone, mut events) = Phone::start(globals.owner().await?, globals.network().await?)?;
    let watch = phone.show_presence(visibility).await?;
    let exit = outcome(&mut events, &Teller::new(out), watch, |_| true).await;
    phone.stop().await;
    exit
}

/// Tells what my node says until it has said this about a watch.
pub(crate) async fn outcome(
    events: &mut Events,
    teller: &Teller<'_>,
    watch: Ulid,
    done: impl Fn(&dsip_endpoint::phone::Told) -> bool,
) -> Result<Exit, Failure> {
    let hear = async {
        while let Some(event) = events.next().await {
            match &event {
                Event::Online { .. } => {}
                Event::Aside { company } => return Err(occupied(*company)),
                event => teller.event(event),
            }
            match event {
                Event::Told { watch: id, told, .. } if id == watch && done(&told) => return Ok(Exit::Done),
                Event::WatchEnded { watch: id, reason } if id == watch => {
                    return Ok(if reason.is_some() { Exit::Refused } else { Exit::Unreachable });
                }
                Event::Reported { .. } => return Ok(Exit::Refused),
                _ => {}
            }
        }
        Ok(Exit::NotSo)
    };
    let unheard = |_| Failure::new(Exit::Unreachable, "--node", "my node did not answer", "check --node, or try again");
    timeout(PATIENCE, hear).await.map_err(unheard)?
}
