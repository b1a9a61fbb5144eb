//! What a command says: events as human text, or as one JSON object per line.
//!
//! An event is a value that knows both forms: `Serialize` for machines, `Display` for people. Events go to standard
//! output; progress, prompts and errors go to standard error, so that either form can be piped. Colours and progress
//! appear on a terminal only, and never when `NO_COLOR` is set.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::failure::Failure;

/// Where a command's words go, and in which form.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    colour: bool,
    progress: bool,
    /// Whether a progress line stands on the terminal and has to be wiped before anything else is written.
    standing: AtomicBool,
}

/// How a word is set off on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// Names and headings.
    Bold,
    /// What matters less.
    Dim,
    /// What held.
    Good,
    /// What deserves a second look.
    Doubtful,
    /// What did not hold.
    Bad,
}

impl Output {
    /// Output in JSON, or for people.
    pub(crate) fn new(json: bool) -> Self {
        let plain = json || std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            colour: !plain && !dumb && std::io::stdout().is_terminal(),
            progress: !json && !dumb && std::io::stderr().is_terminal(),
            standing: AtomicBool::new(false),
        }
    }

    /// Writes one event, in the form asked for.
    pub(crate) fn event(&self, event: &(impl Serialize + fmt::Display)) {
        if self.json {
            self.object(event);
        } else {
            self.line(Harmless(event));
        }
    }

    /// Writes a JSON line when JSON was asked for; people see nothing.
    pub(crate) fn object(&self, event: &impl Serialize) {
        if self.json {
            match serde_json::to_string(event) {
                Ok(text) => self.write(&text),
                Err(error) => tracing::error!(%error, "an event cannot be written as JSON"),
            }
        }
    }

    /// Writes a line for people; a JSON reader sees nothing.
    pub(crate) fn line(&self, text: impl fmt::Display) {
        if !self.json {
            self.write(&text.to_string());
        }
    }

    /// Shows what is going on right now, on a terminal only; the next call, or the next line, replaces it.
    pub(crate) fn progress(&self, text: impl fmt::Display) {
        if self.progress {
            let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
            let _ = std::io::stderr().flush();
            self.standing.store(true, Ordering::Relaxed);
        }
    }

    /// `text`, set off on a terminal.
    pub(crate) fn styled(&self, style: Style, text: impl fmt::Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Doubtful => "33",
            Style::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Reports why the command ends, and gives the exit code: one line on standard error, and the event in JSON.
    pub(crate) fn failed(&self, failure: &Failure) -> ExitCode {
        self.wipe();
        self.object(&failure.event());
        let _ = writeln!(std::io::stderr(), "{failure}");
        failure.exit().into()
    }

    /// A closed pipe is the reader's way of saying "enough"; it is no failure of ours.
    fn write(&self, line: &str) {
        self.wipe();
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{line}");
        let _ = stdout.flush();
    }

    fn wipe(&self) {
        if self.standing.swap(false, Ordering::Relaxed) {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// Text for people that may quote what a stranger said, without what a terminal would act on: control characters, which
/// move the cursor, colour or retitle, and the marks that turn the direction of writing, which make a text read as
/// another. Only a line's end stays, for who writes several.
pub(crate) struct Harmless<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Harmless<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string().chars().filter(|c| *c == '\n' || !acts(*c)).try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

/// Whether a terminal does something with a character instead of showing it.
pub(crate) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_left_out() {
        let said = "Zoë\u{1b}[2J\u{1b}]0;bank\u{7}\r\u{9b}31m \u{202e}olleh\u{2066}\nbye\u{7f}";
        assert_eq!(Harmless(said).to_string(), "Zoë[2J]0;bank31m olleh\nbye");
    }
}
