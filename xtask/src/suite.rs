//! The layers of tests, and what continuous integration makes of them.

use std::path::PathBuf;

use crate::shell::{Failure, Outcome, Run, cargo, has, is_ci, root, target};
use crate::{chaos, check, net, rules, web};

/// Everything that is fast: rules, worlds, corpora, loopback. Ends with the totals over all crates.
pub(crate) fn test(arguments: &[String]) -> Outcome {
    let totals = run_tests(arguments)?;
    println!("\n{} passed, {} failed", totals.0, totals.1);
    if totals.1 == 0 { Ok(()) } else { Err(Failure::new("some tests failed")) }
}

fn run_tests(arguments: &[String]) -> Result<(u32, u32), Failure> {
    let mut totals = (0, 0);
    let mut run = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    for argument in arguments {
        run = run.arg(argument);
    }
    let outcome = run.watch(|line| {
        let Some(line) = line.strip_prefix("test result: ") else { return };
        totals.0 += count(line, " passed");
        totals.1 += count(line, " failed");
    });
    // A failing test is in the totals; a build that broke is not.
    match outcome {
        Err(failure) if totals.1 == 0 => Err(failure),
        _ => Ok(totals),
    }
}

/// Replays one world with its story on screen.
pub(crate) fn sim(arguments: &[String]) -> Outcome {
    let mut names = arguments.iter();
    let (mut filter, mut seed) = (None, None);
    while let Some(argument) = names.next() {
        match argument.as_str() {
            "--seed" => seed = names.next(),
            name => filter = Some(name),
        }
    }
    let filter = filter.ok_or_else(|| Failure::new("which world? `cargo test -p dsip-sim -- --list` names them"))?;
    let run = cargo(&["test", "-p", "dsip-sim", "--test", "it", "--locked", "--", "--nocapture", filter]);
    match seed {
        Some(seed) => run.env("DSIP_SIM_SEED", seed).run(),
        None => run.env("DSIP_SIM_STORY", "1").run(),
    }
}

/// The shared vectors, where there are any, and our own.
pub(crate) fn vectors(arguments: &[String]) -> Outcome {
    let kind = arguments.first().map(String::as_str).unwrap_or_default();
    cargo(&["build", "-p", "dsip", "--locked"]).run()?;
    let mut dirs = vec![root().join("vectors")];
    let shared = shared().join("conformance/vectors");
    if shared.is_dir() {
        dirs.push(shared);
    } else if is_ci() {
        return Err(Failure::new(format!("{}: the shared vectors are missing", shared.display())));
    }
    for dir in dirs.into_iter().map(|dir| dir.join(kind)).filter(|dir| dir.is_dir()) {
        let dir = dir.display().to_string();
        cargo(&["run", "-p", "dsip", "--locked", "--quiet", "--", "conformance", &dir]).run()?;
    }
    Ok(())
}

/// Where the shared material lies: beside the repository unless `DSIP_SHARED` says otherwise.
fn shared() -> PathBuf {
    std::env::var_os("DSIP_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from)
}

/// Fuzzes one target, or `all` of them one after another; without a name the targets are listed.
///
/// With a nightly toolchain the address sanitizer watches. Without one the stable compiler is let do what only instrumentation
/// needs, and panics and arithmetic overflow are what can be found: the code has no `unsafe` to speak of.
pub(crate) fn fuzz(arguments: &[String]) -> Outcome {
    if !has("cargo-fuzz", "--version") {
        return Err(Failure::new("cargo-fuzz is not installed; `cargo install cargo-fuzz`"));
    }
    let Some(wanted) = arguments.first() else { return cargo(&["fuzz", "list"]).run() };
    let seconds: u32 = match arguments.get(1).map(|text| text.parse()) {
        None => 60,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => return Err(Failure::new("how many seconds? a whole number")),
    };
    let list = cargo(&["fuzz", "list"]).capture()?;
    let targets: Vec<&str> = list.lines().filter(|target| wanted == "all" || target == wanted).collect();
    if targets.is_empty() {
        return Err(Failure::new(format!("{wanted}: no such target; `cargo x fuzz` lists them")));
    }
    let has_nightly =
        has("rustup", "--version") && Run::new("rustup", &["run", "nightly", "rustc", "-V"]).capture().is_ok();
    for target in targets {
        // What is found goes into the first directory; what is worth keeping is committed to the second by hand.
        let found = crate::shell::target().join("fuzz-corpus").join(target);
        std::fs::create_dir_all(&found)?;
        let run = if has_nightly {
            Run::new("rustup", &["run", "nightly", "cargo", "fuzz", "run", target])
        } else {
            cargo(&["fuzz", "run", "--sanitizer", "none", target]).env("RUSTC_BOOTSTRAP", "1")
        };
        let run = run.arg(&found.display().to_string()).arg(&format!("fuzz/corpus/{target}"));
        run.arg("--").arg(&format!("-max_total_time={seconds}")).arg("-rss_limit_mb=2048").run()?;
    }
    Ok(())
}

/// Real sockets behind real NAT.
pub(crate) fn net(arguments: &[String]) -> Outcome {
    net::run(&binary()?, arguments)
}

/// A node under random faults.
pub(crate) fn chaos(arguments: &[String]) -> Outcome {
    let plan = chaos::Plan::of(arguments)?;
    // With the features of the whole workspace, as the tests have it already: those of one crate alone would be another build.
    let built = cargo(&["test", "--workspace", "--test", "it", "--no-run", "--locked", "--message-format=json"]);
    let built = built.capture()?;
    let of_node = built.lines().filter(|line| line.contains("crates/node/Cargo.toml\""));
    let mut executables = of_node.filter_map(|line| line.split("\"executable\":\"").nth(1)?.split('"').next());
    let counting = executables.next_back().ok_or_else(|| Failure::new("the counting clients were not built"))?;
    chaos::run(&binary()?, counting, &plan)
}

/// Calls with an independent implementation.
pub(crate) fn interop(_: &[String]) -> Outcome {
    let binary = binary()?;
    let environment = target().join("interop");
    let python = environment.join("bin/python");
    if !python.exists() {
        Run::new("python3", &["-m", "venv", &environment.display().to_string()]).run()?;
    }
    let python = python.display().to_string();
    Run::new(&python, &["-m", "pip", "install", "--quiet", "--requirement", "interop/requirements.txt"]).run()?;
    Run::new(&python, &["interop/run.py", &binary]).run()
}

/// Two people and a call.
pub(crate) fn demo(arguments: &[String]) -> Outcome {
    let mut run = cargo(&["run", "--release", "--locked", "--", "demo"]);
    for argument in arguments {
        run = run.arg(argument);
    }
    run.run()
}

/// Measures. Every benchmark prints ratios of what one run measured, so that a slow machine changes none of them.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let run = cargo(&["bench", "--workspace", "--locked"]);
    match arguments.first() {
        Some(name) => run.arg("--bench").arg(name).run(),
        None => run.arg("--bench").arg("*").run(),
    }
}

/// What continuous integration runs.
pub(crate) fn ci(_: &[String]) -> Outcome {
    check::run(&[])?;
    rules::run(&[])?;
    let totals = run_tests(&[])?;
    // Each of these runs even if one before it failed: a broken build of tomorrow is found today.
    let steps = [
        ("vectors", vectors(&[])),
        ("demo", demo(&[])),
        ("interop", interop(&[])),
        ("web", web::run(&["--client".into(), "--test".into()])),
        ("net", net(&[])),
        ("chaos", chaos(&["--once".into()])),
    ];
    println!();
    let (mut passed, mut failed) = totals;
    for (name, outcome) in &steps {
        match outcome {
            Ok(()) => passed += 1,
            Err(failure) => {
                failed += 1;
                println!("{name}: {failure}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} failed"))) }
}

/// The shipped binary, built; or the one that `DSIP_BINARY` names.
fn binary() -> Result<String, Failure> {
    if let Ok(binary) = std::env::var("DSIP_BINARY") {
        return Ok(binary);
    }
    cargo(&["build", "--release", "--locked", "-p", "dsip"]).run()?;
    Ok(target().join("release/dsip").display().to_string())
}

/// The number that stands before `word`.
fn count(line: &str, word: &str) -> u32 {
    let before = line.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_the_test_runners_last_line() {
        let line = "ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!((count(line, " passed"), count(line, " failed")), (12, 3));
    }
}
