//! Whom the operator lets in and whom not, kept in a file of the home.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dsip_endpoint::clock;
use dsip_proto::relay::host::{Admittance, Invitation};
use dsip_proto::wire::Did;
use serde::{Deserialize, Serialize};

use crate::admission::Network;
use crate::home;

/// The file.
pub(crate) const FILE: &str = "roster.json";

/// Entries of each kind. What an operator does by hand stays far below.
const MOST: usize = 65_536;

/// Why something cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("there is no room for more")]
    Full,
    #[error("the change cannot be kept, and is not made: {0}")]
    Disk(String),
}

/// Everything the file holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    #[serde(flatten)]
    admittance: Admittance,
    /// Networks that may not connect, as text.
    networks: Vec<String>,
    /// When those who are barred for a while are let in again, by DID or network, in Unix seconds.
    until: BTreeMap<String, u64>,
}

/// The roster of a node. Clones are one.
#[derive(Clone)]
pub(crate) struct Roster {
    path: PathBuf,
    kept: Arc<Mutex<Kept>>,
}

impl Roster {
    /// The one in this home; empty if there is none.
    pub(crate) fn open(home: &Path, closed: bool) -> io::Result<Self> {
        let path = home.join(FILE);
        let mut kept: Kept = match fs::read(&path) {
            Ok(octets) => serde_json::from_slice(&octets)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error),
        };
        kept.admittance.closed = closed;
        Ok(Self { path, kept: Arc::new(Mutex::new(kept)) })
    }

    pub(crate) fn admittance(&self) -> Admittance {
        self.lock().admittance.clone()
    }

    pub(crate) fn networks(&self) -> Vec<Network> {
        self.lock().networks.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Who is barred, and until when, if not for ever.
    pub(crate) fn barred(&self) -> Vec<(String, Option<u64>)> {
        let kept = self.lock();
        let dids = kept.admittance.barred.iter().map(Did::to_string);
        dids.chain(kept.networks.iter().cloned()).map(|who| (who.clone(), kept.until.get(&who).copied())).collect()
    }

    /// Bars somebody, until then or for ever.
    pub(crate) fn bar(&self, who: &Who, until: Option<u64>) -> Result<(), Wrong> {
        self.change(|kept| {
            match who {
                Who::Party(did) => drop(kept.admittance.barred.insert(did.clone())),
                Who::Network(network) if kept.networks.contains(&network.to_string()) => {}
                Who::Network(network) => kept.networks.push(network.to_string()),
            }
            match until {
                Some(until) => drop(kept.until.insert(who.to_string(), until)),
                None => drop(kept.until.remove(&who.to_string())),
            }
        })
    }

    /// Lets somebody in again. Whether they were barred.
    pub(crate) fn unbar(&self, who: &Who) -> Result<bool, Wrong> {
        self.change(|kept| kept.unbar(who))
    }

    /// Lets in again whose time is over; says whether there was anybody, and when to look next.
    pub(crate) fn expire(&self, now: u64) -> (bool, Option<u64>) {
        let over: Vec<Who> = {
            let kept = self.lock();
            let over = kept.until.iter().filter(|(_, until)| **until <= now);
            over.filter_map(|(who, _)| who.parse().ok()).collect()
        };
        let any = !over.is_empty();
        if any {
            let done = self.change(|kept| {
                for who in &over {
                    kept.unbar(who);
                }
            });
            if let Err(error) = done {
                tracing::warn!(%error, "whose time is over stays barred for now");
            }
        }
        (any, self.lock().until.values().copied().filter(|until| *until > now).min())
    }

    /// Makes somebody a member. Whether they were none.
    pub(crate) fn add(&self, member: &Did) -> Result<bool, Wrong> {
        self.change(|kept| kept.admittance.members.insert(member.clone()))
    }

    /// Makes somebody no member. Whether they were one.
    pub(crate) fn remove(&self, member: &Did) -> Result<bool, Wrong> {
        self.change(|kept| kept.admittance.members.remove(member))
    }

    /// Lets whoever brings this code become a member.
    pub(crate) fn invite(&self, code: String, invitation: Invitation) -> Result<(), Wrong> {
        self.change(|kept| {
            let now = clock::now().wall.secs();
            kept.admittance.codes.retain(|_, invitation| invitation.until >= now);
            kept.admittance.codes.insert(code, invitation);
        })
    }

    /// Takes an invitation back. Whether there was one.
    pub(crate) fn disinvite(&self, code: &str) -> Result<bool, Wrong> {
        self.change(|kept| kept.admittance.codes.remove(code).is_some())
    }

    /// Somebody came with this code, and the rules let them in.
    pub(crate) fn joined(&self, identity: &Did, code: &str) {
        let now = clock::now().wall.secs();
        let joined = self.change(|kept| kept.admittance.redeem(code, identity, now));
        match joined {
            Ok(_) => tracing::info!("somebody joined with an invitation"),
            Err(error) => tracing::error!(%error, "who has joined will have to do so again after a restart"),
        }
    }

    /// Makes a change, if it can be kept.
    fn change<T>(&self, make: impl FnOnce(&mut Kept) -> T) -> Result<T, Wrong> {
        let mut held = self.lock();
        let mut changed = held.clone();
        let made = make(&mut changed);
        let Admittance { barred, members, codes, .. } = &changed.admittance;
        if [barred.len(), members.len(), codes.len(), changed.networks.len()].into_iter().any(|count| count > MOST) {
            return Err(Wrong::Full);
        }
        let disk = |error: io::Error| Wrong::Disk(error.to_string());
        let octets = serde_json::to_vec_pretty(&changed).map_err(|error| disk(error.into()))?;
        home::write_new(&self.path, &octets).map_err(disk)?;
        *held = changed;
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // It is replaced as a whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn unbar(&mut self, who: &Who) -> bool {
        let text = who.to_string();
        self.until.remove(&text);
        match who {
            Who::Party(did) => self.admittance.barred.remove(did),
            Who::Network(_) => {
                let before = self.networks.len();
                self.networks.retain(|network| *network != text);
                self.networks.len() < before
            }
        }
    }
}

/// Somebody to bar: an identity, a device, or a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Party(Did),
    Network(Network),
}

impl std::str::FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("did:") {
            return text.parse().map(Self::Party).map_err(|_| format!("{text:?} is no DID"));
        }
        text.parse().map(Self::Network)
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Party(did) => write!(f, "{did}"),
            Self::Network(network) => write!(f, "{network}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(text: &str) -> Who {
        text.parse().expect("somebody")
    }

    const MALLORY: &str = "did:web:mallory.example";

    #[test]
    fn what_was_decided_outlives_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let roster = Roster::open(dir.path(), true).expect("opened");
        let bob: Did = "did:web:bob.example".parse().expect("a DID");
        roster.bar(&who(MALLORY), None).expect("kept");
        roster.bar(&who("192.0.2.0/24"), Some(1_000)).expect("kept");
        assert_eq!(roster.add(&bob), Ok(true));
        roster.invite("code".to_owned(), Invitation { uses: 2, until: u64::MAX }).expect("kept");
        roster.joined(&"did:web:carol.example".parse().expect("a DID"), "code");

        let again = Roster::open(dir.path(), true).expect("opened again");
        assert_eq!(again.admittance(), roster.admittance());
        assert_eq!(again.admittance().members.len(), 2);
        assert_eq!(again.admittance().codes["code"].uses, 1);
        assert_eq!(again.barred(), [(MALLORY.to_owned(), None), ("192.0.2.0/24".to_owned(), Some(1_000))]);
        assert_eq!(again.expire(999), (false, Some(1_000)));
        assert_eq!(again.expire(1_000), (true, None));
        assert_eq!(again.networks(), []);
        assert_eq!(again.unbar(&who(MALLORY)), Ok(true));
        assert_eq!(again.unbar(&who(MALLORY)), Ok(false));
        assert!(again.barred().is_empty());
    }

    #[test]
    fn what_cannot_be_kept_is_not_done() {
        let dir = tempfile::tempdir().expect("a directory");
        let roster = Roster::open(dir.path(), false).expect("opened");
        fs::create_dir(dir.path().join(FILE)).expect("in the way");
        assert!(matches!(roster.bar(&who(MALLORY), None), Err(Wrong::Disk(_))));
        assert!(roster.barred().is_empty());
    }

    #[test]
    fn a_file_that_is_none_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(FILE), "{\"barred\": 7}").expect("written");
        assert!(Roster::open(dir.path(), false).is_err());
    }
}
