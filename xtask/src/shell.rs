//! Running other programs: each is printed before it runs, so that anybody can run it alone.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command of `cargo x` either did its work or says in a sentence why not.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Whether this is continuous integration, where nothing may be skipped.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|set| !set.is_empty() && set != "false")
}

/// `cargo`, in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Run {
    Run::new("cargo", arguments)
}

/// A program about to run in the root of the workspace.
pub(crate) struct Run {
    shown: String,
    command: Command,
}

impl Run {
    pub(crate) fn new(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(root());
        Self { shown: format!("{program} {}", arguments.join(" ")), command }
    }

    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.shown = format!("{} {argument}", self.shown);
        self.command.arg(argument);
        self
    }

    /// In another directory than the root.
    pub(crate) fn within(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.shown = format!("{name}={value} {}", self.shown);
        self.command.env(name, value);
        self
    }

    /// Runs it with its output on screen.
    pub(crate) fn run(mut self) -> Outcome {
        eprintln!("\n$ {}", self.shown);
        let status = self.command.status().map_err(|error| self.missing(&error))?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("`{}` failed ({status})", self.shown))) }
    }

    /// Runs it with its output on screen, and hands each line of standard output to `each` as well.
    pub(crate) fn watch(mut self, mut each: impl FnMut(&str)) -> Outcome {
        eprintln!("\n$ {}", self.shown);
        let spawned = self.command.stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| self.missing(&error))?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                let line = line?;
                println!("{line}");
                each(&line);
            }
        }
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("`{}` failed ({status})", self.shown))) }
    }

    /// Runs it silently and returns its standard output.
    pub(crate) fn capture(mut self) -> Result<String, Failure> {
        let output = self.command.stderr(Stdio::inherit()).output().map_err(|error| self.missing(&error))?;
        if !output.status.success() {
            return Err(Failure::new(format!("`{}` failed ({})", self.shown, output.status)));
        }
        String::from_utf8(output.stdout).map_err(Failure::new)
    }

    fn missing(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("`{}` cannot be started: {error}", self.shown))
    }
}

/// Whether a program is installed.
pub(crate) fn has(program: &str, probe: &str) -> bool {
    let status = Command::new(program).arg(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
