//! Whom the operator lets in (docs/spec/admittance.md).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use serde_json::{Map, Value};

use super::{Close, Conn, Host, Output, State, policies};
use crate::relay::message::Message;
use crate::time::Now;
use crate::wire::{Did, message};

/// ADM-2: the type of the claim that carries an invitation.
pub const INVITE_CODE: &str = "invite-code";

/// ADM-2: the longest code there can be, in octets.
pub const LONGEST_CODE: usize = 64;

/// Whom the operator lets in, and whom not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Admittance {
    /// ADM-1: identities and devices that are not served at all.
    pub barred: BTreeSet<Did>,
    /// ADM-3: whether only members are served.
    pub closed: bool,
    /// Identities that belong to the community.
    pub members: BTreeSet<Did>,
    /// ADM-2: what makes whoever brings it a member.
    pub codes: BTreeMap<String, Invitation>,
}

/// What is behind a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// How many may still come with it.
    pub uses: u32,
    /// Until when, in Unix seconds.
    pub until: u64,
}

impl Admittance {
    /// ADM-2: makes `identity` a member if `code` is good by the Unix second `now`. Whether it did.
    pub fn redeem(&mut self, code: &str, identity: &Did, now: u64) -> bool {
        if self.members.contains(identity) {
            return false;
        }
        let is_open = |held: &&mut Invitation| !code.is_empty() && held.uses > 0 && now <= held.until;
        let Some(invitation) = self.codes.get_mut(code).filter(is_open) else {
            return false;
        };
        invitation.uses -= 1;
        if invitation.uses == 0 {
            self.codes.remove(code);
        }
        self.members.insert(identity.clone())
    }

    /// Whether this identity gets everything that the node has to give.
    pub(super) fn serves(&self, identity: &Did) -> bool {
        !self.closed || self.members.contains(identity)
    }
}

/// The invitation that somebody brings along; an empty one, which is never good, for what can be none.
fn brought(claims: &[Map<String, Value>]) -> Option<&str> {
    let claim = claims.iter().find(|claim| policies::is(claim, INVITE_CODE))?;
    let code = claim.get("code").and_then(Value::as_str).filter(|code| code.len() <= LONGEST_CODE);
    Some(code.unwrap_or_default())
}

impl Host {
    /// ADM-1: whether neither is barred.
    pub(super) fn may_bind(&self, device: &Did, identity: &Did) -> bool {
        let barred = &self.admittance.barred;
        barred.is_empty() || !barred.contains(device) && !barred.contains(identity)
    }

    /// The operator has changed their mind: who is barred now is told to go.
    pub(super) fn admit(&mut self, now: Now, admittance: Admittance, out: &mut Vec<Output>) {
        self.admittance = admittance;
        let unwanted: Vec<Conn> = self
            .connections
            .iter()
            .filter(|(_, connection)| match &connection.state {
                State::Bound { device, identity } => !self.may_bind(device, identity),
                State::Greeting | State::Closing => false,
            })
            .map(|(conn, _)| *conn)
            .collect();
        for conn in unwanted {
            self.close(now, conn, Close::Barred, out);
        }
        self.wake_those_served(out);
    }

    /// ADM-2: lets `identity` in if it asks for that. False if what it brought is not good.
    pub(super) fn join(
        &mut self,
        now: Now,
        identity: &Did,
        subscribe: &message::Subscribe,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(code) = subscribe.claims.as_deref().and_then(brought) else { return true };
        if self.admittance.members.contains(identity) {
            return true;
        }
        let is_good = self.admittance.redeem(code, identity, now.wall.secs());
        if is_good {
            out.push(Output::Joined { identity: identity.clone(), code: code.to_owned() });
        }
        is_good
    }

    /// ADM-3: whether one of the two is a member, or everybody is served.
    pub(super) fn may_route(&self, from: &Did, message: &Message) -> bool {
        if self.admittance.serves(from) {
            return true;
        }
        message.to.as_ref().is_some_and(|to| {
            *to == self.did
                || self.admittance.serves(to)
                || self.engine.identity_of(to).is_some_and(|of| self.admittance.serves(of))
        })
    }
}
