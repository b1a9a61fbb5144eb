//! Who meddled in a session lately, so that the owner hears of it without being flooded (PTY-5).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Tick;
use crate::wire::{Did, Kind};

/// How long the same thing from the same signer is not worth another word.
const QUIET: Duration = Duration::from_secs(60);
/// Signers and kinds told apart. Keys cost a stranger nothing, so beyond this many in a minute nothing more is said.
const LIMIT: usize = 256;

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Intruders {
    told: BTreeMap<(Did, Kind), Tick>,
}

impl Intruders {
    /// Whether a message of this kind by this signer is worth telling the owner.
    pub(super) fn is_news(&mut self, now: Tick, signer: &Did, kind: Kind) -> bool {
        let who = (signer.clone(), kind);
        if self.told.get(&who).is_some_and(|at| now.since(*at) < QUIET) {
            return false;
        }
        if self.told.len() >= LIMIT {
            self.told.retain(|_, at| now.since(*at) < QUIET);
        }
        let room = self.told.len() < LIMIT;
        if room {
            self.told.insert(who, now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    fn stranger(n: u64) -> Did {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        SecretKey::from_bytes(&bytes).did()
    }

    #[test]
    fn pty_5_the_owner_hears_of_each_intruder_once_a_minute() {
        let (mut intruders, start) = (Intruders::default(), Tick::from_micros(0));
        let mut told = |after: u64, n, kind| intruders.is_news(start + Duration::from_secs(after), &stranger(n), kind);
        assert!(told(0, 1, Kind::Bye) && !told(1, 1, Kind::Bye) && !told(59, 1, Kind::Bye));
        assert!(told(59, 1, Kind::Cancel) && told(59, 2, Kind::Bye), "something else, somebody else");
        assert!(told(60, 1, Kind::Bye), "a minute later");
    }

    #[test]
    fn pty_5_a_crowd_is_bounded_and_passes() {
        let (mut intruders, start) = (Intruders::default(), Tick::from_micros(0));
        let told = (0..2 * LIMIT as u64).filter(|n| intruders.is_news(start, &stranger(*n), Kind::Bye)).count();
        assert_eq!(told, LIMIT);
        assert!(intruders.is_news(start + QUIET, &stranger(9_999), Kind::Bye));
        assert_eq!(intruders.told.len(), 1);
    }
}
