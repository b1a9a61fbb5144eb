//! The binary as a person or a script meets it: arguments in, lines and exit codes out.

mod call;
mod conformance;
mod doctor;
mod id;
mod load;
mod names;
mod node;
mod presence;
mod resolve;
mod wake;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// `dsip` with a home of its own, without a terminal and without this machine's settings.
fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dsip"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DSIP_")) {
        command.env_remove(name);
    }
    command.env("DSIP_HOME", home).args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn dsip(home: &Path, arguments: &[&str]) -> Output {
    command(home, arguments).output().expect("the binary runs")
}

/// The last line of standard output, as JSON.
fn last_event(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let line = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {text:?}; {output:?}"))
}

/// The one line of a failure.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}
