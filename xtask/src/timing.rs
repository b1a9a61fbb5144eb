//! `cargo x time`: how long one waits, against the budget.

use std::fs::FileTimes;
use std::time::{Duration, Instant, SystemTime};

use crate::shell::{Failure, Outcome, cargo, root, target};

/// A file that is touched, what is rebuilt then, and how long that may take.
const TOUCHED: &[(&str, &[&str], Duration)] = &[
    ("crates/proto/src/lib.rs", &["check", "--workspace", "--locked", "--quiet"], Duration::from_secs(15)),
    ("crates/dsip/src/main.rs", &["build", "-p", "dsip", "--locked", "--quiet"], Duration::from_secs(15)),
];

const COLD: Duration = Duration::from_secs(8 * 60);

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut late = Vec::new();
    let mut judge = |what: &str, took: Duration, budget: Duration| {
        println!("{what:<56} {:>6.1} s of {:>4} s", took.as_secs_f64(), budget.as_secs());
        if took > budget {
            late.push(what.to_owned());
        }
    };
    for (file, command, budget) in TOUCHED {
        cargo(command).run()?;
        let now = FileTimes::new().set_modified(SystemTime::now());
        std::fs::File::options().append(true).open(root().join(file))?.set_times(now)?;
        let start = Instant::now();
        cargo(command).run()?;
        judge(&format!("cargo {} after touching {file}", command[0]), start.elapsed(), *budget);
    }
    if arguments.iter().any(|argument| argument == "--cold") {
        let dir = target().join("cold");
        let start = Instant::now();
        let build = cargo(&["build", "--workspace", "--all-targets", "--locked", "--quiet", "--target-dir"]);
        build.arg(&dir.display().to_string()).run()?;
        judge("cold debug build of everything, tests included", start.elapsed(), COLD);
        std::fs::remove_dir_all(dir)?;
    }
    if late.is_empty() { Ok(()) } else { Err(Failure::new(format!("over budget: {}", late.join(", ")))) }
}
