//! `cargo x check`: what a reviewer should never have to say.

use std::path::Path;

use crate::shell::{Failure, Outcome, Run, cargo, is_ci, root};
use crate::source;
use crate::web;

/// What may never appear in a pure crate's code, and why.
const IMPURE: &[(&str, &str)] = &[
    ("async fn", "the rules run without a runtime"),
    (".await", "the rules run without a runtime"),
    ("tokio", "the rules run without a runtime"),
    ("std::thread", "the rules run in the caller's thread"),
    ("Instant::now", "time is a value: take Now"),
    ("SystemTime", "time is a value: take Now"),
    ("TcpStream", "no sockets: return what is to be sent"),
    ("TcpListener", "no sockets: return what is to be sent"),
    ("UdpSocket", "no sockets: return what is to be sent"),
    ("std::fs", "no files: return what is to be kept"),
    ("std::env", "no environment: take a configuration"),
    ("getrandom", "randomness is a value: take Seed"),
    ("OsRng", "randomness is a value: take Seed"),
    ("Mutex<", "state has one owner"),
    ("RwLock<", "state has one owner"),
];

/// What may never appear in the crates that touch the world, and why.
const RULES_ELSEWHERE: &[(&str, &str)] = &[
    ("ed25519_dalek::", "signatures are checked in dsip-proto::envelope"),
    ("verify_strict", "signatures are checked in dsip-proto::envelope"),
];

/// Where each list applies.
const BORDERS: &[(&str, &[(&str, &str)])] = &[
    ("crates/proto/src", IMPURE),
    ("crates/media/src", IMPURE),
    ("crates/endpoint/src", RULES_ELSEWHERE),
    ("crates/node/src", RULES_ELSEWHERE),
    ("crates/dsip/src", RULES_ELSEWHERE),
    ("crates/web/src", RULES_ELSEWHERE),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "core", "util", "utils", "helper", "helpers", "types", "traits", "manager", "misc"];

pub(crate) fn run(_: &[String]) -> Outcome {
    cargo(&["fmt", "--all", "--check"]).run()?;
    borders()?;
    manifests()?;
    names()?;
    links()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]).run()?;
    cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]).env("RUSTDOCFLAGS", "-Dwarnings").run()?;
    web::check()?;
    browser()
}

/// Code that has to stay pure, or to leave the rules to the crate that has them.
fn borders() -> Outcome {
    eprintln!("\n# forbidden imports");
    let mut found = Vec::new();
    for (dir, forbidden) in BORDERS {
        for path in source::files(&root().join(dir), "rs")? {
            let text = std::fs::read_to_string(&path)?;
            for line in source::lines(&path, &text).iter().filter(|line| !line.is_test) {
                for (word, why) in *forbidden {
                    if line.code.contains(word) {
                        found.push(format!("{}:{}: `{word}`: {why}", shown(&path), line.number));
                    }
                }
            }
        }
    }
    report(found)
}

/// Which crate may depend on which.
fn manifests() -> Outcome {
    eprintln!("\n# manifests");
    let mut found = Vec::new();
    for path in source::files(&root(), "toml")? {
        if path.file_name().is_none_or(|name| name != "Cargo.toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let owner = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let mut section = String::new();
        for (index, line) in text.lines().enumerate() {
            if let Some(name) = line.trim().strip_prefix('[') {
                section = name.trim_end_matches(']').into();
            }
            let depends = !section.starts_with("workspace");
            let shipped = depends && section.ends_with("dependencies") && section != "dev-dependencies";
            let wrong = if shipped && line.starts_with("dsip-sim") {
                "the simulated world is for tests: [dev-dependencies] only"
            } else if depends && line.starts_with("dsip-node") && !matches!(owner.as_str(), "dsip" | "fuzz") {
                "only the binary depends on the node"
            } else if shipped && owner == "proto" && (line.starts_with("tokio") || line.starts_with("dsip-")) {
                "the rules depend on no runtime and no neighbour"
            } else {
                continue;
            };
            found.push(format!("{}:{}: {line}: {wrong}", shown(&path), index + 1));
        }
    }
    report(found)
}

/// Modules and crates whose name is a drawer for everything.
fn names() -> Outcome {
    eprintln!("\n# names");
    let mut found = Vec::new();
    for path in source::files(&root().join("crates"), "rs")? {
        let module = match path.file_stem() {
            Some(name) if name == "mod" => path.parent().and_then(Path::file_name),
            name => name,
        };
        if module.is_some_and(|name| EMPTY_NAMES.iter().any(|empty| name == *empty)) {
            found.push(format!("{}: say what is inside", shown(&path)));
        }
    }
    report(found)
}

/// Relative links in the documents lead somewhere.
fn links() -> Outcome {
    eprintln!("\n# links between documents");
    let mut found = Vec::new();
    for path in source::files(&root(), "md")? {
        let text = std::fs::read_to_string(&path)?;
        for (index, line) in text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
                let elsewhere = target.is_empty() || target.contains(':');
                if !elsewhere && !path.parent().unwrap_or(&path).join(target).exists() {
                    found.push(format!("{}:{}: {target} does not exist", shown(&path), index + 1));
                }
            }
        }
    }
    report(found)
}

/// The rules also build for the browser. The target is not part of the pinned toolchain, so that nobody downloads it
/// who does not need it.
fn browser() -> Outcome {
    const TARGET: &str = "wasm32-unknown-unknown";
    let installed = Run::new("rustup", &["target", "list", "--installed"]).capture().unwrap_or_default();
    if !installed.lines().any(|line| line == TARGET) {
        eprintln!("\n# browser build: skipped; `rustup target add {TARGET}` enables it");
        return Ok(());
    }
    let deny = if is_ci() { "-Dwarnings" } else { "" };
    cargo(&["check", "-p", "dsip-proto", "-p", "dsip-web", "--target", TARGET, "--locked"]).env("RUSTFLAGS", deny).run()
}

fn report(found: Vec<String>) -> Outcome {
    for line in &found {
        eprintln!("{line}");
    }
    if found.is_empty() { Ok(()) } else { Err(Failure::new(format!("{} violations", found.len()))) }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
