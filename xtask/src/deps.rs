//! `cargo x deps`: what we ship of other people's work.

use std::collections::{BTreeMap, BTreeSet};

use crate::shell::{Failure, Outcome, cargo, has, root};
use crate::source;

/// Licences that may be in a binary under MIT or Apache-2.0. One alternative of an `OR` is enough.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "MPL-2.0",
    "CDLA-Permissive-2.0",
    "OpenSSL",
    "BSL-1.0",
    "MIT-0",
];

pub(crate) fn run(_: &[String]) -> Outcome {
    let mut problems = licences()?;
    problems.extend(unused()?);
    duplicates()?;
    if has("cargo-audit", "--version") {
        cargo(&["audit"]).run()?;
    } else {
        eprintln!("\n# advisories: skipped; `cargo install cargo-audit` enables it");
    }
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::new(format!("{} problems", problems.len()))) }
}

fn licences() -> Result<Vec<String>, Failure> {
    eprintln!("# licences");
    let tree = cargo(&["tree", "--workspace", "--locked", "--edges", "normal,build", "--prefix", "none"]);
    let text = tree.arg("--format").arg("{p}|{l}").capture()?;
    let crates: BTreeSet<&str> =
        text.lines().map(|line| line.trim_end_matches(" (*)")).filter(|l| !l.is_empty()).collect();
    let mut problems = Vec::new();
    for line in &crates {
        let (name, licence) = line.split_once('|').unwrap_or((line, ""));
        if !is_allowed(licence) {
            problems.push(format!("{name}: licence {licence:?}"));
        }
    }
    println!("{} crates", crates.len());
    Ok(problems)
}

/// `A AND (B OR C)`, without a parser: every part of an `AND` has to offer one licence that we take.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    !plain.is_empty()
        && plain.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

/// Dependencies in a manifest that no source file of the crate mentions.
fn unused() -> Result<Vec<String>, Failure> {
    eprintln!("\n# unused dependencies");
    let mut problems = Vec::new();
    for manifest in source::files(&root().join("crates"), "toml")? {
        let Some(dir) = manifest.parent() else { continue };
        let mut sources = String::new();
        for path in source::files(dir, "rs")? {
            sources.push_str(&std::fs::read_to_string(path)?);
        }
        let mut in_dependencies = false;
        for line in std::fs::read_to_string(&manifest)?.lines() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            }
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if in_dependencies && !name.is_empty() && !line.starts_with(['[', '#']) {
                let used = sources.contains(&name.replace('-', "_"));
                if !used {
                    problems.push(format!("{}: {name} is not used", manifest.display()));
                }
            }
        }
    }
    Ok(problems)
}

/// Crates that are built in more than one version. Told, not judged: most are other people's to mend.
fn duplicates() -> Outcome {
    eprintln!("\n# more than one version");
    let tree = cargo(&["tree", "--workspace", "--locked", "--edges", "normal", "--prefix", "none"]);
    let text = tree.arg("--format").arg("{p}").capture()?;
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        println!("{name}: {}", versions.iter().copied().collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alternative_of_each_part_is_enough() {
        assert!(is_allowed("MIT OR GPL-3.0"));
        assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(is_allowed("MIT/Apache-2.0"));
        assert!(!is_allowed("MIT AND AGPL-3.0"));
        assert!(!is_allowed(""));
    }
}
