//! What a session found out about the networks it tried, for saying why there was no path.

use std::fmt;

use super::relays::Attempts;

/// How far this side reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// Whether a STUN server was asked, and whether one answered.
    pub(super) asked: bool,
    pub(super) answered: bool,
    relay: Attempts,
}

impl Reach {
    pub(super) fn with(&self, relay: Attempts) -> Self {
        Self { relay, ..*self }
    }

    /// Whether UDP seems not to leave this network.
    #[must_use]
    pub fn is_udp_blocked(&self) -> bool {
        self.asked && !self.answered
    }

    /// How TURN servers were reached.
    #[must_use]
    pub fn relay(&self) -> &Attempts {
        &self.relay
    }
}

/// The likely cause, in words.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.asked, self.answered) {
            (true, true) => f.write_str("UDP works on this side")?,
            (true, false) => f.write_str("UDP seems blocked on this side")?,
            (false, _) => f.write_str("nobody was there to ask how this side looks from outside")?,
        }
        let relay = &self.relay;
        if relay.is_empty() {
            return f.write_str(", and no node relays for it");
        }
        let mut worked: Vec<String> = relay.worked().map(|via| via.to_string()).collect();
        worked.dedup();
        if worked.is_empty() {
            return write!(f, ", and the node's relay cannot be used ({relay})");
        }
        let by = worked.join(" and ");
        write!(f, ", but the node's relay works over {by}: it is likely the other side that cannot be reached")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Via;

    fn reach(asked: bool, answered: bool, relay: &[(Via, Result<(), &str>)]) -> String {
        let relay = relay.iter().map(|(via, outcome)| (*via, outcome.map_err(str::to_owned)));
        Reach { asked, answered, relay: Attempts::default() }.with(relay.collect()).to_string()
    }

    #[test]
    fn the_likely_cause_is_named() {
        let silent = "the server does not answer";
        let blocked = reach(true, false, &[(Via::Udp, Err(silent)), (Via::Tcp, Err("no answer"))]);
        assert_eq!(
            blocked,
            "UDP seems blocked on this side, and the node's relay cannot be used (UDP: the server does not answer, \
             TCP: no answer)"
        );
        let other = reach(true, false, &[(Via::Udp, Err(silent)), (Via::Tcp, Ok(()))]);
        assert!(other.contains("works over TCP: it is likely the other side"), "{other}");
        assert_eq!(reach(true, true, &[]), "UDP works on this side, and no node relays for it");
    }
}
