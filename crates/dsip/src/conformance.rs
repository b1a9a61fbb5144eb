//! `dsip conformance DIR`: run a directory of vectors.

use std::fmt;
use std::path::{Path, PathBuf};

use dsip_proto::conformance::{self, Outcome};
use serde::Serialize;

use crate::cli::Globals;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Style};

/// What `dsip conformance` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory; every .json file in it, at any depth, is a vector, fixtures.json excepted
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// One vector, as JSON. People see failures only.
#[derive(Serialize)]
struct Ran<'a> {
    event: &'static str,
    vector: &'a str,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    event: &'static str,
    passed: usize,
    failed: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Runs every vector below the directory. Exit code 1 if one fails, or if there is none.
pub(crate) async fn run(_globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let files = vectors_below(&args.dir)?;
    let (mut passed, mut failed) = (0, 0);
    for path in files {
        let name = path.strip_prefix(&args.dir).unwrap_or(&path).with_extension("");
        let name = name.to_string_lossy();
        out.progress(&name);
        let outcome = match std::fs::read_to_string(&path) {
            Ok(text) => conformance::run(&text),
            Err(error) => Outcome { id: String::new(), failure: Some(format!("cannot be read: {error}")) },
        };
        *(if outcome.passed() { &mut passed } else { &mut failed }) += 1;
        let failure = outcome.failure.as_deref();
        out.object(&Ran { event: "vector", vector: &name, passed: outcome.passed(), failure });
        if let Some(failure) = failure {
            out.line(format_args!("{} {name}", out.styled(Style::Bad, "FAIL")));
            for line in failure.lines() {
                out.line(format_args!("     {line}"));
            }
        }
    }
    out.event(&Summary { event: "summary", passed, failed });
    Ok(if failed == 0 && passed > 0 { Exit::Done } else { Exit::NotSo })
}

/// Every vector file at any depth, in the order of their names, so that two runs compare line by line.
fn vectors_below(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |dir: &Path, error: std::io::Error| {
        Failure::fault(dir.display(), error, "give a directory of conformance vectors that can be read")
    };
    let (mut dirs, mut files) = (vec![root.to_path_buf()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).map_err(|error| unreadable(&dir, error))? {
            let entry = entry.map_err(|error| unreadable(&dir, error))?;
            let path = entry.path();
            // A link to a directory is not followed: it may lead back up.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(path);
            } else if path.extension().is_some_and(|end| end == "json") && entry.file_name() != "fixtures.json" {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    async fn exit_for(dir: &Path) -> Result<Exit, Failure> {
        let line = ["dsip".as_ref(), "conformance".as_ref(), dir.as_os_str()];
        let cli = Cli::try_parse_from(line).expect("a command line");
        let Command::Conformance(args) = cli.command else { panic!("another command") };
        run(&cli.globals, &Output::new(false), args).await
    }

    #[tokio::test]
    async fn an_empty_a_missing_and_a_failing_directory_all_end_with_1() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("fixtures.json"), "{}").expect("written");
        assert_eq!(exit_for(dir.path()).await.expect("ran"), Exit::NotSo);
        let missing = exit_for(&dir.path().join("missing")).await.expect_err("nothing there");
        assert_eq!(missing.exit(), Exit::NotSo);
        std::fs::create_dir(dir.path().join("deep")).expect("made");
        std::fs::write(dir.path().join("deep/broken.json"), "not JSON").expect("written");
        assert_eq!(exit_for(dir.path()).await.expect("ran"), Exit::NotSo);
    }
}
