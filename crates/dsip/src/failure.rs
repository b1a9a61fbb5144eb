//! How a command ends: documented exit codes, and errors of one line that say which input, what is wrong, what to do.

use std::fmt;
use std::process::ExitCode;

use dsip_endpoint::home;

use crate::output::acts;

/// The exit codes of `dsip`. `docs/guide/cli.md` documents them; scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done. A call: it was answered, and ended by one of the two.
    Done = 0,
    /// Something that was checked did not hold: a vector, a claim of the demo. Also our own faults.
    NotSo = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The home, the identity or its passphrase.
    Home = 3,
    /// The target could not be resolved to an identity or to a place to dial.
    NotFound = 4,
    /// Nobody could be reached: no connection, or the network failed.
    Unreachable = 5,
    /// The other side refused: busy, declined, not allowed without an introduction.
    Refused = 6,
    /// Nobody answered in time.
    NoAnswer = 7,
    /// The call was answered and then broke off.
    BrokeOff = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked, in one line: `dsip: <input>: <wrong>; <remedy>`.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    input: String,
    wrong: String,
    remedy: String,
}

impl Failure {
    /// A failure that ends the process with `exit`. `input` names what the person gave, `wrong` says what is the matter
    /// with it, `remedy` what to do next.
    pub(crate) fn new(
        exit: Exit,
        input: impl fmt::Display,
        wrong: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        Self { exit, input: one_line(&input), wrong: one_line(&wrong), remedy: one_line(&remedy) }
    }

    /// A mistake on the command line.
    pub(crate) fn usage(input: impl fmt::Display, wrong: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, input, wrong, remedy)
    }

    /// Something about the home directory or the identity in it.
    pub(crate) fn home(input: impl fmt::Display, wrong: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(Exit::Home, input, wrong, remedy)
    }

    /// Something that should work and did not, without anybody's mistake.
    pub(crate) fn fault(input: impl fmt::Display, wrong: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(Exit::NotSo, input, wrong, remedy)
    }

    /// The same about an input that is better called so.
    pub(crate) fn at(self, input: impl fmt::Display) -> Self {
        Self { input: one_line(&input), ..self }
    }

    /// The code the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What is wrong, and what to do.
    pub(crate) fn parts(&self) -> (&str, &str) {
        (&self.wrong, &self.remedy)
    }

    /// The failure as the JSON event that ends a `--json` run.
    pub(crate) fn event(&self) -> serde_json::Value {
        serde_json::json!({
            "event": "failed",
            "code": self.exit as u8,
            "input": self.input,
            "wrong": self.wrong,
            "remedy": self.remedy,
        })
    }
}

impl From<home::Error> for Failure {
    fn from(error: home::Error) -> Self {
        let (input, wrong, remedy) = match &error {
            home::Error::Io { path, source } => (path.display().to_string(), source.to_string(), "check the directory"),
            home::Error::Corrupted { path, what } => {
                (path.display().to_string(), format!("is damaged: {what}"), "restore it from a copy, or move it away")
            }
            home::Error::TooNew { path, version } => (
                path.display().to_string(),
                format!("has format version {version}"),
                "use the newer dsip that wrote it",
            ),
            home::Error::Exposed { path, mode } => {
                let remedy = "`chmod 600` it, and consider who may have read it";
                (path.display().to_string(), format!("others can read it (mode {mode:o})"), remedy)
            }
            home::Error::Exists { path } => (
                path.display().to_string(),
                "holds an identity already, which is not overwritten".into(),
                "choose another --home, or keep it",
            ),
            home::Error::Missing { path, what } => {
                (path.display().to_string(), (*what).into(), "run `dsip id new` first, or give the right --home")
            }
            home::Error::WrongPassphrase { path } => {
                (path.display().to_string(), "the passphrase does not open it".into(), "try again")
            }
            home::Error::Delegation { what } => {
                ("delegation".into(), what.clone(), "have `dsip id delegate` make one for this device's DID")
            }
            home::Error::Name { did } => (
                did.to_string(),
                "its document does not list the key of this identity".into(),
                "give its operator the did:key that `dsip id show` says",
            ),
            home::Error::Rotation { what } => ("identity".into(), (*what).into(), "see docs/guide/names.md"),
            home::Error::Randomness | home::Error::Memory => ("system".into(), error.to_string(), "try again later"),
        };
        Self::home(input, wrong, remedy)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dsip: {}: {}; {}", self.input, self.wrong, self.remedy)
    }
}

/// One line, and nothing a terminal would act on: messages may quote what a peer or a file said.
fn one_line(text: &impl fmt::Display) -> String {
    let text = text.to_string();
    let cleaned: String = text.chars().map(|c| if acts(c) { ' ' } else { c }).collect();
    cleaned.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_without_control_characters() {
        let failure = Failure::home("identity.json", "line 1\nline 2\u{1b}[31m", "restore it");
        assert_eq!(failure.to_string(), "dsip: identity.json: line 1 line 2 [31m; restore it");
    }
}
