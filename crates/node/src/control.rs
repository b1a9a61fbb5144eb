//! Admin commands: a Unix socket in the node's home, one line of JSON each way. Who may open the socket is for the file system
//! to say; there is no other way in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dsip_endpoint::clock;
use dsip_proto::relay::host::Invitation;
use dsip_proto::turn::Issuer;
use dsip_proto::wire::Did;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::Ready;
use crate::admission::Admission;
use crate::metrics::Health;
use crate::relay::{Allowance, Counts, Input, Relay, Watch};
use crate::roster::{Roster, Who, Wrong};
use crate::turn::Turn;

/// The socket's name in the node's home.
const SOCKET: &str = "control.sock";

/// The longest line that is read.
const LONGEST: u64 = 64 * 1024;

/// How long one command may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often it is looked for those whose time is over.
const LOOKS: Duration = Duration::from_secs(30);

/// Characters of an invitation, five bits of chance each.
const CODE: usize = 20;

/// How often one invitation can be used, and for how many days.
const MOST_USES: u32 = 10_000;
const MOST_DAYS: u32 = 366;

/// What an operator asks a node that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// How it is: [`Status`].
    Status,
    /// To take no new work and end when what is relayed has ended, or after so many seconds.
    Drain {
        /// Seconds.
        within: u32,
    },
    /// To serve an identity, a device or a network no more.
    Block {
        /// A DID, an address, or a network such as `192.0.2.0/24`.
        who: String,
        /// For so many hours; for ever if it does not say.
        hours: Option<u32>,
    },
    /// To serve them again: whether they were blocked.
    Unblock {
        /// As in `Block`.
        who: String,
    },
    /// Who is blocked: a list of [`Blocked`].
    Blocked,
    /// To allow more or less until it is started anew; then what is allowed: [`Allowance`].
    Limits {
        /// See [`Allowance::max_connections`].
        max_connections: Option<usize>,
        /// See [`Allowance::max_connections_per_address`].
        max_connections_per_address: Option<usize>,
        /// See [`Allowance::max_envelopes_per_device`].
        max_envelopes_per_device: Option<u32>,
        /// See [`Allowance::max_envelopes`].
        max_envelopes: Option<u32>,
        /// See [`Allowance::max_invites`].
        max_invites: Option<u32>,
    },
    /// To make somebody a member of a closed community: whether they were none.
    MemberAdd {
        /// Their identity.
        did: Did,
    },
    /// To make them no member: whether they were one.
    MemberRemove {
        /// Their identity.
        did: Did,
    },
    /// Who is a member: a list of DIDs.
    Members,
    /// To make an invitation: its code.
    Invite {
        /// How many may come with it.
        uses: u32,
        /// For how many days.
        days: u32,
    },
    /// To take an invitation back: whether there was one.
    Disinvite {
        /// Its code.
        code: String,
    },
    /// Which invitations are out: a list of [`Invited`].
    Invitations,
}

/// How a node is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// What runs.
    pub version: String,
    /// The node's DID.
    pub did: Did,
    /// How it is reached: its address together with its DID.
    pub url: String,
    /// How its DHT is joined.
    pub dht: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Why it wants no new work, if so.
    pub unready: Option<String>,
    /// Whether it serves members only.
    pub closed: bool,
    /// What it has done and has in hand.
    pub counts: Counts,
    /// Relayed addresses now.
    pub turn_allocations: usize,
    /// Octets relayed, both ways.
    pub turn_bytes: u64,
    /// Octets that its store takes on the disk.
    pub store_bytes: u64,
    /// What is allowed.
    pub limits: Allowance,
}

/// Somebody who is blocked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Blocked {
    /// A DID or a network.
    pub who: String,
    /// Until when, in Unix seconds, if not for ever.
    pub until: Option<u64>,
}

/// An invitation that is out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invited {
    /// What has to be brought.
    pub code: String,
    /// How many may still come.
    pub uses: u32,
    /// Until when, in Unix seconds.
    pub until: u64,
}

/// A node could not be asked, or would not.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No node runs in this home.
    #[error("no node runs in {0}")]
    NoNode(String),
    /// It does not answer as it should.
    #[error("the node does not answer: {0}")]
    Broken(io::Error),
    /// It will not.
    #[error("{0}")]
    Refused(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done(serde_json::Value),
    Wrong(String),
}

/// Asks the node that runs in `home`.
pub async fn ask<T: DeserializeOwned>(home: &Path, ask: &Ask) -> Result<T, Failed> {
    let stream = UnixStream::connect(home.join(SOCKET)).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failed::NoNode(home.display().to_string()),
        _ => Failed::Broken(error),
    })?;
    let exchange = async {
        let mut stream = BufReader::new(stream);
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        let answer: Answer = serde_json::from_str(&answer)?;
        match answer {
            Answer::Done(value) => Ok(Ok(serde_json::from_value(value)?)),
            Answer::Wrong(why) => Ok(Err(why)),
        }
    };
    match timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(why)) => Err(Failed::Refused(why)),
        Err(error) => Err(Failed::Broken(error)),
    }
}

/// What the commands act on.
pub(crate) struct Control {
    pub(crate) ready: Ready,
    pub(crate) store: PathBuf,
    pub(crate) health: Health,
    pub(crate) counts: Watch,
    pub(crate) turn: Arc<Turn>,
    pub(crate) issuer: Issuer,
    pub(crate) roster: Roster,
    pub(crate) relay: Relay,
    pub(crate) admission: Admission,
    pub(crate) limits: watch::Sender<Allowance>,
    /// Where it is told that the node is to drain.
    pub(crate) drain: watch::Sender<Option<Duration>>,
    pub(crate) started: Instant,
}

/// Opens the socket. One that a node before this one left behind makes room.
pub(crate) fn listen(home: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;

    let path = home.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Control {
    /// Obeys, one command at a time, and lets in again whose time is over.
    pub(crate) async fn serve(self, listener: Option<UnixListener>) {
        self.enforce().await;
        loop {
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep(LOOKS) => {
                    if self.roster.expire(clock::now().wall.secs()).0 {
                        self.enforce().await;
                    }
                }
                accepted = accepted => match accepted {
                    Ok((stream, _)) => drop(timeout(DEADLINE, self.converse(stream)).await),
                    Err(error) => {
                        tracing::warn!(%error, "cannot take admin commands");
                        sleep(LOOKS).await;
                    }
                },
            }
        }
    }

    async fn converse(&self, mut stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.split();
        let mut line = String::new();
        BufReader::new(read.take(LONGEST)).read_line(&mut line).await?;
        let answer = match serde_json::from_str(&line) {
            Ok(ask) => self.obey(ask).await.map_or_else(Answer::Wrong, Answer::Done),
            Err(error) => Answer::Wrong(format!("not a command: {error}")),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        write.write_all(&line).await
    }

    async fn obey(&self, ask: Ask) -> Result<serde_json::Value, String> {
        let kept = |wrong: Wrong| wrong.to_string();
        let done = match ask {
            Ask::Status => to_json(&self.status()),
            Ask::Drain { within } => {
                tracing::info!(within, "told to drain");
                self.drain.send_replace(Some(Duration::from_secs(within.into())));
                to_json(&())
            }
            Ask::Block { who, hours } => {
                let who: Who = who.parse()?;
                if matches!(&who, Who::Party(did) if *did == self.ready.did) {
                    return Err("that is this node".to_owned());
                }
                let now = clock::now().wall.secs();
                let until = hours.map(|hours| now.saturating_add(3_600 * u64::from(hours)));
                self.roster.bar(&who, until).map_err(kept)?;
                tracing::info!("somebody was blocked");
                self.enforce().await;
                if let Who::Network(network) = who {
                    self.tell(Input::Shut(network)).await;
                }
                to_json(&())
            }
            Ask::Unblock { who } => {
                let was = self.roster.unbar(&who.parse()?).map_err(kept)?;
                tracing::info!(was, "somebody is not blocked any more");
                self.enforce().await;
                to_json(&was)
            }
            Ask::Blocked => {
                let barred = self.roster.barred().into_iter();
                to_json(&barred.map(|(who, until)| Blocked { who, until }).collect::<Vec<_>>())
            }
            Ask::Limits {
                max_connections,
                max_connections_per_address,
                max_envelopes_per_device,
                max_envelopes,
                max_invites,
            } => {
                let before = *self.limits.borrow();
                let limits = Allowance {
                    max_connections: max_connections.unwrap_or(before.max_connections),
                    max_connections_per_address: max_connections_per_address
                        .unwrap_or(before.max_connections_per_address),
                    max_envelopes_per_device: max_envelopes_per_device.unwrap_or(before.max_envelopes_per_device),
                    max_envelopes: max_envelopes.unwrap_or(before.max_envelopes),
                    max_invites: max_invites.unwrap_or(before.max_invites),
                };
                let Allowance { max_connections, max_connections_per_address, .. } = limits;
                let rates = [limits.max_envelopes_per_device, limits.max_envelopes, limits.max_invites];
                if max_connections == 0 || max_connections_per_address == 0 || rates.contains(&0) {
                    return Err("a limit of none would let nobody speak; 1 is the least".to_owned());
                }
                if limits != before {
                    self.limits.send_replace(limits);
                    self.admission.allow(limits.max_connections, limits.max_connections_per_address);
                    tracing::info!(?limits, "other limits, until the node is started anew");
                    self.tell(Input::Allow(limits)).await;
                }
                to_json(&limits)
            }
            Ask::MemberAdd { did } => {
                let was_none = self.roster.add(&did).map_err(kept)?;
                tracing::info!(members = self.roster.admittance().members.len(), "somebody was made a member");
                self.tell(Input::Admit).await;
                to_json(&was_none)
            }
            Ask::MemberRemove { did } => {
                let was = self.roster.remove(&did).map_err(kept)?;
                tracing::info!(members = self.roster.admittance().members.len(), "somebody is no member any more");
                self.tell(Input::Admit).await;
                to_json(&was)
            }
            Ask::Members => to_json(&self.roster.admittance().members),
            Ask::Invite { uses, days } => {
                if !(1..=MOST_USES).contains(&uses) || !(1..=MOST_DAYS).contains(&days) {
                    return Err(format!("1 to {MOST_USES} may come, for 1 to {MOST_DAYS} days"));
                }
                let code = code()?;
                let until = clock::now().wall.secs() + 86_400 * u64::from(days);
                self.roster.invite(code.clone(), Invitation { uses, until }).map_err(kept)?;
                tracing::info!(uses, days, "an invitation was made");
                self.tell(Input::Admit).await;
                to_json(&Invited { code, uses, until })
            }
            Ask::Disinvite { code } => {
                let was = self.roster.disinvite(&code).map_err(kept)?;
                tracing::info!(was, "an invitation was taken back");
                self.tell(Input::Admit).await;
                to_json(&was)
            }
            Ask::Invitations => {
                let codes = self.roster.admittance().codes.into_iter();
                to_json(
                    &codes.map(|(code, Invitation { uses, until })| Invited { code, uses, until }).collect::<Vec<_>>(),
                )
            }
        };
        done.map_err(|error| error.to_string())
    }

    fn status(&self) -> Status {
        let turn = self.turn.counts();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            did: self.ready.did.clone(),
            url: self.ready.url(),
            dht: self.ready.dht.clone(),
            uptime_s: self.started.elapsed().as_secs(),
            unready: self.health.unready().map(str::to_owned),
            closed: self.roster.admittance().closed,
            counts: self.counts.read(),
            turn_allocations: turn.allocations,
            turn_bytes: turn.octets,
            store_bytes: std::fs::metadata(&self.store).map_or(0, |file| file.len()),
            limits: *self.limits.borrow(),
        }
    }

    /// Makes what the roster says so, everywhere.
    async fn enforce(&self) {
        let barred = self.roster.admittance().barred;
        self.turn.bar(barred.iter().map(|did| self.issuer.holder(did)).collect());
        self.admission.bar(self.roster.networks());
        self.tell(Input::Admit).await;
    }

    async fn tell(&self, input: Input) {
        // The relay has stopped if nobody takes it.
        drop(self.relay.inputs.send(input).await);
    }
}

fn to_json(value: &impl Serialize) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(value)
}

/// An invitation's code: easy to read aloud.
fn code() -> Result<String, String> {
    const DIGITS: &[u8; 32] = b"23456789abcdefghijkmnpqrstuvwxyz";
    let mut chance = [0; CODE];
    getrandom::fill(&mut chance).map_err(|_| "the system gives no randomness".to_owned())?;
    let digit = |octet: &u8| char::from(DIGITS[usize::from(octet % 32)]);
    let groups: Vec<String> = chance.chunks(5).map(|group| group.iter().map(digit).collect()).collect();
    Ok(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_long_readable_and_never_the_same() {
        let (one, other) = (code().expect("a code"), code().expect("a code"));
        assert_ne!(one, other);
        assert_eq!(one.len(), 23, "{one}");
        assert!(one.bytes().all(|octet| octet == b'-' || octet.is_ascii_lowercase() || octet.is_ascii_digit()));
    }
}
