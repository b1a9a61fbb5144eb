//! The media side of an `update`: which description is in force, and no ICE restart (file 04, section 9).

use super::Sdp;
use crate::wire::Reason;

/// The detail of the local bug that WEB-88 names; pinned to the letter by the vectors.
const LOCAL_RESTART: &str = "a re-offer MUST keep the ICE credentials";

/// One side's ICE credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
}

/// The descriptions of one established transport. The session engine decides whether an update is allowed at all; this
/// machine says what the media stack does about it.
#[derive(Debug)]
pub struct Renegotiation {
    local: Credentials,
    remote: Credentials,
    pending: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Our media stack made a new offer with these credentials.
    LocalReoffer(&'a [Credentials]),
    /// The peer answered our update.
    RemoteAnswer,
    /// The peer refused it, `session.glare` included.
    RemoteReject,
    /// The peer sent an update with these credentials.
    RemoteReoffer(&'a [Credentials]),
    /// We answered the peer's update.
    AnswerUpdate,
}

/// What the media stack or the session does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The new offer is installed locally; only now may it be sent (WEB-85).
    LocalPending,
    /// The local description is settled: the new one after an answer, the old one after a rollback.
    LocalCurrent,
    /// Apply the peer's answer.
    ApplyAnswer,
    /// Go back to the previous local description.
    Rollback,
    /// Show the peer's wish; the peer connection stays untouched until it is answered (WEB-86).
    UpdateOffered,
    /// Apply the peer's offer, and our answer to it.
    ApplyOfferAndAnswer,
    /// The peer asked for an ICE restart: `reject` with this reason and detail, the session goes on (WEB-88).
    Reject {
        /// The reason token.
        reason: Reason,
        /// The `detail`.
        detail: &'static str,
    },
    /// Our own stack restarted ICE, which is a bug: the offer must not be sent (WEB-88).
    LocalBug {
        /// The check code.
        code: &'static str,
        /// What went wrong.
        detail: &'static str,
    },
    /// There was no offer of ours to settle.
    NoPendingOffer,
}

impl Renegotiation {
    /// The transport as the first offer and answer left it.
    #[must_use]
    pub fn new(local: Credentials, remote: Credentials) -> Self {
        Self { local, remote, pending: false }
    }

    /// Says what `change` leads to, in order.
    pub fn handle(&mut self, change: Change<'_>, out: &mut Vec<Step>) {
        match change {
            Change::LocalReoffer(offered) if restarts(&self.local, offered) => {
                out.push(Step::LocalBug { code: "binding-ice-restart", detail: LOCAL_RESTART });
            }
            Change::LocalReoffer(_) => {
                self.pending = true;
                out.push(Step::LocalPending);
            }
            Change::RemoteAnswer => self.settle(Step::ApplyAnswer, out),
            Change::RemoteReject => self.settle(Step::Rollback, out),
            Change::RemoteReoffer(offered) if restarts(&self.remote, offered) => {
                out.push(Step::Reject { reason: Reason::MEDIA_UNSUPPORTED, detail: "ice-restart" });
            }
            Change::RemoteReoffer(_) => out.push(Step::UpdateOffered),
            Change::AnswerUpdate => out.push(Step::ApplyOfferAndAnswer),
        }
    }

    fn settle(&mut self, how: Step, out: &mut Vec<Step>) {
        if std::mem::take(&mut self.pending) {
            out.extend([how, Step::LocalCurrent]);
        } else {
            out.push(Step::NoPendingOffer);
        }
    }
}

impl Credentials {
    /// The credentials of every live section of `sdp`, in order; a section without any contributes empty ones, which
    /// count as different from the established ones.
    #[must_use]
    pub fn of(sdp: &Sdp<'_>) -> Vec<Self> {
        let read = |value: Option<&str>| value.unwrap_or_default().to_owned();
        sdp.live()
            .map(|section| Self { ufrag: read(section.value("ice-ufrag")), pwd: read(section.value("ice-pwd")) })
            .collect()
    }
}

impl std::fmt::Debug for Credentials {
    // The password authenticates connectivity checks; it has no place in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// WEB-88: any section whose user name or password differs is a restart.
fn restarts(established: &Credentials, offered: &[Credentials]) -> bool {
    offered.iter().any(|credentials| credentials != established)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(ufrag: &str, pwd: &str) -> Credentials {
        Credentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() }
    }

    fn steps(machine: &mut Renegotiation, change: Change<'_>) -> Vec<Step> {
        let mut out = Vec::new();
        machine.handle(change, &mut out);
        out
    }

    fn established() -> Renegotiation {
        Renegotiation::new(credentials("ours", "a"), credentials("theirs", "b"))
    }

    #[test]
    fn web_85_an_answered_reoffer_becomes_current() {
        let mut machine = established();
        let ours = [credentials("ours", "a")];
        assert_eq!(steps(&mut machine, Change::LocalReoffer(&ours)), [Step::LocalPending]);
        assert_eq!(steps(&mut machine, Change::RemoteAnswer), [Step::ApplyAnswer, Step::LocalCurrent]);
        assert_eq!(steps(&mut machine, Change::RemoteAnswer), [Step::NoPendingOffer]);
    }

    #[test]
    fn web_85_a_rejected_reoffer_is_rolled_back() {
        let mut machine = established();
        let ours = [credentials("ours", "a")];
        assert_eq!(steps(&mut machine, Change::LocalReoffer(&ours)), [Step::LocalPending]);
        assert_eq!(steps(&mut machine, Change::RemoteReject), [Step::Rollback, Step::LocalCurrent]);
        assert_eq!(steps(&mut machine, Change::RemoteReject), [Step::NoPendingOffer]);
    }

    #[test]
    fn web_88_either_credential_of_any_section_makes_a_restart() {
        let mut machine = established();
        let kept = credentials("theirs", "b");
        for offered in [credentials("other", "b"), credentials("theirs", "other")] {
            let refused = [Step::Reject { reason: Reason::MEDIA_UNSUPPORTED, detail: "ice-restart" }];
            assert_eq!(steps(&mut machine, Change::RemoteReoffer(&[kept.clone(), offered])), refused);
        }
        assert_eq!(steps(&mut machine, Change::RemoteReoffer(&[kept.clone(), kept])), [Step::UpdateOffered]);
        assert_eq!(steps(&mut machine, Change::AnswerUpdate), [Step::ApplyOfferAndAnswer]);
    }

    #[test]
    fn web_88_a_local_restart_is_a_bug_and_leaves_nothing_pending() {
        let mut machine = established();
        let bug = Step::LocalBug { code: "binding-ice-restart", detail: "a re-offer MUST keep the ICE credentials" };
        assert_eq!(steps(&mut machine, Change::LocalReoffer(&[credentials("new", "a")])), [bug]);
        assert_eq!(steps(&mut machine, Change::RemoteAnswer), [Step::NoPendingOffer]);
    }

    #[test]
    fn credentials_are_read_from_live_sections_and_hide_the_password() {
        let sdp = Sdp::parse("v=0\na=ice-ufrag:u\na=ice-pwd:secret\nm=audio 9 x\nm=video 0 x\na=ice-ufrag:other\n");
        let read = Credentials::of(&sdp.expect("readable"));
        assert_eq!(read, [credentials("u", "secret")]);
        assert_eq!(format!("{read:?}"), r#"[Credentials { ufrag: "u", .. }]"#);
    }
}
