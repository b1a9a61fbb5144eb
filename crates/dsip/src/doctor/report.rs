//! What was found: one finding for each check, in the order of the list, as soon as those before it are known.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};

use crate::output::{Harmless, Output, Style};

/// What is checked. Each has one finding, and they are told in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    Identity,
    Dns,
    Tcp,
    Quic,
    Certificate,
    Hello,
    Clock,
    Stun,
    TurnUdp,
    TurnTcp,
    TurnTls,
    Relayed,
    Nat,
    Dht,
}

impl Check {
    const ALL: [Self; 14] = [
        Self::Identity,
        Self::Dns,
        Self::Tcp,
        Self::Quic,
        Self::Certificate,
        Self::Hello,
        Self::Clock,
        Self::Stun,
        Self::TurnUdp,
        Self::TurnTcp,
        Self::TurnTls,
        Self::Relayed,
        Self::Nat,
        Self::Dht,
    ];

    /// The checks that mean nothing without the node's `hello`.
    pub(super) const OF_HELLO: [Self; 6] =
        [Self::Clock, Self::Stun, Self::TurnUdp, Self::TurnTcp, Self::TurnTls, Self::Relayed];

    /// Its name, which scripts may rely on.
    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Quic => "quic",
            Self::Certificate => "certificate",
            Self::Hello => "hello",
            Self::Clock => "clock",
            Self::Stun => "stun",
            Self::TurnUdp => "turn-udp",
            Self::TurnTcp => "turn-tcp",
            Self::TurnTls => "turn-tls",
            Self::Relayed => "relayed",
            Self::Nat => "nat",
            Self::Dht => "dht",
        }
    }
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and something about it deserves attention.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be checked, or need not be.
    Skipped,
}

/// The finding of one check, in plain words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    outcome: Outcome,
    says: String,
    remedy: Option<String>,
    /// One word about it for programs, where there is one.
    kind: Option<&'static str>,
}

impl Finding {
    pub(super) fn ok(says: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Ok, says: says.to_string(), remedy: None, kind: None }
    }

    pub(super) fn warning(says: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Warning, says: says.to_string(), remedy: Some(remedy.to_string()), kind: None }
    }

    pub(super) fn failed(says: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Failed, says: says.to_string(), remedy: Some(remedy.to_string()), kind: None }
    }

    pub(super) fn of_kind(self, kind: &'static str) -> Self {
        Self { kind: Some(kind), ..self }
    }

    pub(super) fn skipped(says: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Skipped, says: says.to_string(), remedy: None, kind: None }
    }
}

/// A finding on its way out.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    check: Check,
    outcome: Outcome,
    says: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How many checks went how.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Summary {
    event: &'static str,
    ok: usize,
    warnings: usize,
    failed: usize,
    skipped: usize,
}

impl Summary {
    /// Whether nothing failed.
    pub(super) fn is_well(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, warnings, failed, skipped, .. } = self;
        write!(f, "{ok} ok, {warnings} with a warning, {failed} failed, {skipped} skipped")
    }
}

/// Where checks that run side by side leave their findings.
#[derive(Debug)]
pub(super) struct Report<'a> {
    out: &'a Output,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    found: [Option<Finding>; Check::ALL.len()],
    told: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a Output) -> Self {
        Self { out, state: Mutex::default() }
    }

    /// Leaves the finding of a check, and tells what can be told in order. The first finding of a check stands.
    pub(super) fn note(&self, check: Check, finding: Finding) {
        let mut state = self.state();
        if let Some(place) = state.found.get_mut(check as usize) {
            place.get_or_insert(finding);
        }
        while let (Some(check), Some(Some(finding))) = (Check::ALL.get(state.told), state.found.get(state.told)) {
            self.tell(*check, finding);
            state.told += 1;
        }
        if let Some(next) = Check::ALL.get(state.told) {
            self.out.progress(format!("checking {}", next.name()));
        }
    }

    /// The same finding for several checks.
    pub(super) fn note_all(&self, checks: &[Check], finding: &Finding) {
        checks.iter().for_each(|check| self.note(*check, finding.clone()));
    }

    /// Ends the report: what has no finding by now has this one.
    pub(super) fn close(self, rest: &Finding) -> Summary {
        self.note_all(&Check::ALL, rest);
        let state = self.state();
        let count = |outcome| state.found.iter().flatten().filter(|finding| finding.outcome == outcome).count();
        let summary = Summary {
            event: "summary",
            ok: count(Outcome::Ok),
            warnings: count(Outcome::Warning),
            failed: count(Outcome::Failed),
            skipped: count(Outcome::Skipped),
        };
        self.out.event(&summary);
        summary
    }

    fn tell(&self, check: Check, finding: &Finding) {
        let Finding { outcome, says, remedy, kind } = finding;
        let (word, style) = match outcome {
            Outcome::Ok => ("ok     ", Style::Good),
            Outcome::Warning => ("warning", Style::Doubtful),
            Outcome::Failed => ("FAILED ", Style::Bad),
            Outcome::Skipped => ("skipped", Style::Dim),
        };
        // What a stranger said may be quoted; a finding stays one line.
        let one_line = |text: &str| Harmless(text.split_whitespace().collect::<Vec<_>>().join(" ")).to_string();
        let (says, remedy) = (one_line(says), remedy.as_deref().map(one_line));
        self.out.object(&Line {
            event: "check",
            check,
            outcome: *outcome,
            says: &says,
            remedy: remedy.as_deref(),
            kind: *kind,
        });
        let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
        self.out.line(format!("{}  {:<12} {says}{remedy}", self.out.styled(style, word), check.name()));
    }

    /// A finding that a panic elsewhere interrupted is whole or absent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
