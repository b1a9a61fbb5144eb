//! What identities say about their own presence (docs/spec/presence.md).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::relay::kept::KeptPolicy;
use crate::subscribe::authority::Mode;
use crate::wire::{Did, Ulid};

/// PRS-4: how long a policy holds after it was last said.
pub const POLICY_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Identities whose policies are kept.
const MAX_POLICIES: usize = 65_536;

/// PRS-3: whom one policy may list, and all of them together.
pub const MAX_LISTED: usize = 256;
const MAX_LISTED_TOTAL: usize = 1 << 20;

/// The policies that are kept.
#[derive(Debug, Default)]
pub(super) struct Policies {
    by_subject: BTreeMap<Did, KeptPolicy>,
    until: BTreeSet<(u64, Did)>,
    listed: usize,
}

/// There is no room for one more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Policies {
    /// Keeps a policy, unless a later one of its subject is kept. Whether it did.
    pub(super) fn put(&mut self, policy: KeptPolicy) -> Result<bool, Full> {
        let held = self.by_subject.get(&policy.subject);
        if held.is_some_and(|held| held.said >= policy.said) {
            return Ok(false);
        }
        let (before, after) = (held.map_or(0, listed), listed(&policy));
        let is_new = held.is_none();
        if after > MAX_LISTED
            || after > before && self.listed - before + after > MAX_LISTED_TOTAL
            || is_new && self.by_subject.len() >= MAX_POLICIES
        {
            return Err(Full);
        }
        self.listed = self.listed - before + after;
        if let Some(held) = held {
            self.until.remove(&(held.until, held.subject.clone()));
        }
        self.until.insert((policy.until, policy.subject.clone()));
        self.by_subject.insert(policy.subject.clone(), policy);
        Ok(true)
    }

    /// Forgets one whose time is over by `now`, and says whose.
    pub(super) fn expire(&mut self, now: u64) -> Option<Did> {
        if self.next_until()? > now {
            return None;
        }
        let (_, subject) = self.until.pop_first()?;
        if let Some(policy) = self.by_subject.remove(&subject) {
            self.listed -= listed(&policy);
        }
        Some(subject)
    }

    /// When the next one is over, in Unix seconds.
    pub(super) fn next_until(&self) -> Option<u64> {
        self.until.first().map(|(until, _)| *until)
    }
}

fn listed(policy: &KeptPolicy) -> usize {
    match &policy.mode {
        Mode::Public => 0,
        Mode::Allow(listed) => listed.len(),
    }
}

/// PRS-1, PRS-2: the policy that is among the claims of a `subscribe`.
pub(super) fn claimed(claims: &[Map<String, Value>]) -> Option<Mode> {
    let claim = claims.iter().find(|claim| is(claim, "presence-policy"))?;
    match claim.get("mode")?.as_str()? {
        "public" => Some(Mode::Public),
        "allow" => {
            let listed = claim.get("allow")?.as_array()?.iter().map(|did| did.as_str()?.parse().ok());
            listed.collect::<Option<_>>().map(Mode::Allow)
        }
        _ => None,
    }
}

/// Whether a claim has this type.
pub(super) fn is(claim: &Map<String, Value>, kind: &str) -> bool {
    claim.get("type").and_then(Value::as_str) == Some(kind)
}

/// What is kept of a policy that was said now.
pub(super) fn kept(subject: Did, said: Ulid, now: u64, mode: Mode) -> KeptPolicy {
    KeptPolicy { subject, said, until: now.saturating_add(POLICY_KEPT.as_secs()), mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(number: usize, said: u128, names: usize) -> KeptPolicy {
        let did = |number: usize| -> Did { format!("did:web:p{number}.example").parse().expect("a DID") };
        kept(did(number), Ulid::from_bits(said), 1_000, Mode::Allow((0..names).map(did).collect()))
    }

    #[test]
    fn prs_3_policies_are_bounded_and_the_latest_word_counts() {
        let mut policies = Policies::default();
        assert_eq!(policies.put(policy(1, 5, 3)), Ok(true));
        assert_eq!(policies.put(policy(1, 4, 9)), Ok(false), "an older word");
        assert_eq!(policies.put(policy(1, 6, MAX_LISTED + 1)), Err(Full));
        assert_eq!(policies.put(policy(1, 6, 2)), Ok(true));
        assert_eq!(policies.listed, 2);
        let fits = MAX_LISTED_TOTAL / MAX_LISTED;
        let kept = (2..2 * fits).filter(|number| policies.put(policy(*number, 1, MAX_LISTED)) == Ok(true)).count();
        assert_eq!(kept, fits - 1);
        assert_eq!(policies.put(policy(1, 7, 1)), Ok(true), "less is always possible");
    }

    #[test]
    fn prs_4_a_policy_that_is_not_repeated_is_forgotten() {
        let mut policies = Policies::default();
        assert_eq!(policies.put(policy(1, 5, 3)), Ok(true));
        let until = policies.next_until().expect("a time");
        assert_eq!(until, 1_000 + POLICY_KEPT.as_secs());
        assert_eq!(policies.expire(until - 1), None);
        assert_eq!(policies.expire(until), Some(policy(1, 5, 3).subject));
        assert_eq!((policies.listed, policies.next_until()), (0, None));
    }
}
