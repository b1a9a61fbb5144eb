//! The commands of `cargo x`. Standard library alone, so that they are there before anything else has been built.

mod chaos;
mod check;
mod deps;
mod namespaces;
mod net;
mod rules;
mod shell;
mod source;
mod suite;
mod timing;
mod web;

use std::process::ExitCode;

use crate::shell::Outcome;

/// One command: its name, what it takes, what it does.
struct Command {
    name: &'static str,
    takes: &'static str,
    does: &'static str,
    run: fn(&[String]) -> Outcome,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "check",
        takes: "",
        does: "format, clippy, documentation, forbidden imports, links",
        run: check::run,
    },
    Command {
        name: "test",
        takes: "[FILTER]",
        does: "everything fast: rules, worlds, corpora, loopback",
        run: suite::test,
    },
    Command {
        name: "sim",
        takes: "NAME [--seed N]",
        does: "replay one world with its story on screen",
        run: suite::sim,
    },
    Command { name: "rules", takes: "[--claim]", does: "rule, code and test; fails on a gap", run: rules::run },
    Command { name: "vectors", takes: "[KIND]", does: "run the conformance vectors", run: suite::vectors },
    Command {
        name: "fuzz",
        takes: "[TARGET|all [SECS]]",
        does: "fuzz a decoder, or each in turn; needs cargo-fuzz",
        run: suite::fuzz,
    },
    Command {
        name: "net",
        takes: "[NAME]",
        does: "real sockets behind real NAT, in network namespaces; needs root",
        run: suite::net,
    },
    Command {
        name: "chaos",
        takes: "[--minutes N|--once]",
        does: "a node and phones under random faults; --seed S, --only WORDS, --json; needs root",
        run: suite::chaos,
    },
    Command {
        name: "interop",
        takes: "",
        does: "calls with an independent implementation; needs python3",
        run: suite::interop,
    },
    Command {
        name: "web",
        takes: "[--client] [--test]",
        does: "the page that nodes serve, or the npm package alone; needs npm; --test tests both, in a browser",
        run: web::run,
    },
    Command { name: "bench", takes: "[NAME]", does: "measure; the table is docs/performance.md", run: suite::bench },
    Command { name: "deps", takes: "", does: "licences, duplicate versions, unused dependencies", run: deps::run },
    Command { name: "time", takes: "[--cold]", does: "rebuild times against the budget", run: timing::run },
    Command { name: "demo", takes: "", does: "two people and a call on loopback, narrated", run: suite::demo },
    Command { name: "ci", takes: "", does: "what continuous integration runs, and nothing else", run: suite::ci },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        usage();
        return ExitCode::from(2);
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        if !matches!(name.as_str(), "help" | "--help" | "-h") {
            eprintln!("cargo x: {name}: no such command; these are");
        }
        usage();
        return ExitCode::from(2);
    };
    match (command.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cargo x {name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() {
    for command in COMMANDS {
        eprintln!("  cargo x {:<24} {}", format!("{} {}", command.name, command.takes), command.does);
    }
}
