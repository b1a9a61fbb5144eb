//! `cargo x rules`: where each rule of the contract is enforced, and what proves it.
//!
//! `docs/spec/rules.txt` lists the rules we claim. A claimed rule has to be cited by code and by a test: by a test whose
//! name starts with it (`fn race_4_…`), or that mentions it, or by one of our own vectors. A rule marked `suite` is
//! proved by the shared conformance vectors instead, which do not name rules. One marked `untested:` says why no test can
//! show it; code still has to cite it. Every rule that a table in `docs/spec/` begins a row with has to be among them.

use std::collections::{BTreeMap, BTreeSet};

use crate::shell::{Failure, Outcome, root};
use crate::source;

/// The prefixes of the contract. Those of our own specifications are read from the tables in `docs/spec/`.
const PREFIXES: &[&str] = &[
    "CNV", "ID", "RES", "DSC", "DEL", "ROT", "ENV", "ALG", "PAY", "ULID", "PIPE", "RPL", "VER", "SEM", "REG", "RSN",
    "MSG", "SES", "RX", "PTY", "INI", "INV", "RSP", "ACT", "RACE", "GLR", "UPD", "TMR", "PRG", "INF", "NEG", "ANS",
    "SCR", "FRK", "FC", "SUB", "AUT", "SBR", "BND", "WS", "HEL", "CAP", "RLY", "SNF", "QUIC", "WEB", "GW", "RTP", "BC",
    "DHT", "TRU", "VF", "CNF", "VEC",
];

const CLAIMED: &str = "docs/spec/rules.txt";

/// Where a rule is cited.
#[derive(Default)]
struct Evidence {
    code: Vec<String>,
    tests: Vec<String>,
}

/// A rule's id, ordered by prefix and then by number.
type Rule = (String, u32);

/// What a rule's id may begin with.
type Prefixes = BTreeSet<String>;

/// How a claimed rule is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    /// By a test that names it.
    Test,
    /// By the shared vectors.
    Suite,
    /// Not at all, for this reason.
    Untested(String),
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let claim = arguments.iter().any(|argument| argument == "--claim");
    let prefixes = prefixes()?;
    let evidence = scan(&prefixes)?;
    let claimed = read_claims(&prefixes)?;
    let mut gaps = Vec::new();
    for (rule, place) in defined(&prefixes)? {
        if !claimed.contains_key(&rule) {
            gaps.push(format!("{}: defined in {place}, and not claimed in {CLAIMED}", id(&rule)));
        }
    }
    for (rule, proof) in &claimed {
        let found = evidence.get(rule);
        if found.is_none_or(|found| found.code.is_empty()) {
            gaps.push(format!("{}: no code cites it", id(rule)));
        }
        let is_tested = found.is_some_and(|found| !found.tests.is_empty());
        match proof {
            Proof::Test if !is_tested => gaps.push(format!("{}: no test names it", id(rule))),
            Proof::Untested(_) if is_tested => gaps.push(format!(
                "{}: is said to be untested; {}",
                id(rule),
                brief(&found.map(|found| found.tests.clone()).unwrap_or_default())
            )),
            Proof::Test | Proof::Suite | Proof::Untested(_) => {}
        }
    }
    println!("{:<9} {:<44} test", "rule", "code");
    for (rule, found) in &evidence {
        let test = match claimed.get(rule) {
            Some(Proof::Suite) if found.tests.is_empty() => "(the shared vectors)".into(),
            Some(Proof::Untested(reason)) => format!("({reason})"),
            _ => brief(&found.tests),
        };
        println!("{:<9} {:<44} {test}", id(rule), brief(&found.code));
    }
    if claim {
        let proved = evidence.iter().filter(|(_, found)| !found.code.is_empty() && !found.tests.is_empty());
        let mut all = claimed;
        for (rule, _) in proved {
            all.entry(rule.clone()).or_insert(Proof::Test);
        }
        write_claims(&all)?;
        println!("{} rules claimed in {CLAIMED}", all.len());
        return Ok(());
    }
    for gap in &gaps {
        println!("{gap}");
    }
    let open = evidence.keys().filter(|rule| !claimed.contains_key(*rule)).count();
    println!("{} rules claimed, {} gaps; {open} more are cited and not claimed", claimed.len(), gaps.len());
    if gaps.is_empty() { Ok(()) } else { Err(Failure::new(format!("{} gaps", gaps.len()))) }
}

/// The contract's prefixes, and those of rules that a table in `docs/spec/` defines: `| QB-12 | … |`.
fn prefixes() -> Result<Prefixes, Failure> {
    let mut prefixes: Prefixes = PREFIXES.iter().map(|prefix| (*prefix).to_owned()).collect();
    for path in source::files(&root().join("docs/spec"), "md")? {
        let text = std::fs::read_to_string(&path)?;
        for cell in text.lines().filter_map(|line| line.strip_prefix("| ")) {
            let id = cell.split(' ').next().unwrap_or_default();
            if let Some((prefix, number)) = id.split_once('-')
                && number.parse::<u32>().is_ok()
            {
                prefixes.insert(prefix.to_owned());
            }
        }
    }
    Ok(prefixes)
}

/// Where the page's side of the rules is, and whether that is tests.
const WEB: [(&str, &str, bool); 7] = [
    ("web/client/src", "ts", false),
    ("web/app/src", "ts", false),
    ("web/app/src", "tsx", false),
    ("web/client/test", "js", true),
    ("web/app/test", "ts", true),
    ("web/e2e", "mjs", true),
    ("web/app/test", "mjs", true),
];

fn scan(prefixes: &Prefixes) -> Result<BTreeMap<Rule, Evidence>, Failure> {
    let mut evidence: BTreeMap<Rule, Evidence> = BTreeMap::new();
    let root = root();
    for path in source::files(&root.join("crates"), "rs")? {
        let text = std::fs::read_to_string(&path)?;
        let shown = path.strip_prefix(root.join("crates")).unwrap_or(&path).display().to_string();
        for line in source::lines(&path, &text) {
            let place = format!("{shown}:{}", line.number);
            if line.is_test {
                let named = line.code.split_once("fn ").map(|(_, rest)| named_by(prefixes, rest)).unwrap_or_default();
                for rule in cited(prefixes, line.text).into_iter().chain(named) {
                    evidence.entry(rule).or_default().tests.push(place.clone());
                }
            } else {
                for rule in cited(prefixes, line.text) {
                    evidence.entry(rule).or_default().code.push(place.clone());
                }
            }
        }
    }
    for (folder, extension, are_tests) in WEB {
        for path in source::files(&root.join(folder), extension)? {
            let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            for (number, line) in std::fs::read_to_string(&path)?.lines().enumerate() {
                for rule in cited(prefixes, line) {
                    let found = evidence.entry(rule).or_default();
                    let places = if are_tests { &mut found.tests } else { &mut found.code };
                    places.push(format!("{shown}:{}", number + 1));
                }
            }
        }
    }
    for path in source::files(&root.join("vectors"), "json")? {
        let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        for rule in cited(prefixes, &std::fs::read_to_string(&path)?) {
            evidence.entry(rule).or_default().tests.push(shown.clone());
        }
    }
    Ok(evidence)
}

/// Every rule id in a text.
fn cited(prefixes: &Prefixes, text: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let Some((prefix, rest)) = word.split_once('-') else { continue };
        let digits = rest.split('-').next().unwrap_or_default();
        if prefixes.contains(prefix)
            && let Ok(number) = digits.parse()
        {
            rules.push((prefix.to_owned(), number));
        }
    }
    rules
}

/// The rules a test function is named after: `race_4_answered_elsewhere` is RACE-4, `dsc_2_and_lnk_8` two of them.
fn named_by(prefixes: &Prefixes, function: &str) -> Vec<Rule> {
    let name = function.split('(').next().unwrap_or_default();
    let mut rules = Vec::new();
    let mut prefix = None;
    for part in name.split('_').filter(|part| *part != "and") {
        let upper = part.to_ascii_uppercase();
        match (part.parse(), &prefix) {
            (Ok(number), Some(prefix)) => rules.push((String::clone(prefix), number)),
            _ if prefixes.contains(&upper) => prefix = Some(upper),
            _ => break,
        }
    }
    rules
}

/// The rules that tables in `docs/spec/` begin a row with, and where the first of those rows is.
fn defined(prefixes: &Prefixes) -> Result<BTreeMap<Rule, String>, Failure> {
    let mut rules = BTreeMap::new();
    for path in source::files(&root().join("docs/spec"), "md")? {
        let page = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (index, line) in std::fs::read_to_string(&path)?.lines().enumerate() {
            let Some((cell, _)) = line.strip_prefix("| ").and_then(|line| line.split_once(" |")) else { continue };
            for rule in cited(prefixes, cell) {
                rules.entry(rule).or_insert_with(|| format!("{page}:{}", index + 1));
            }
        }
    }
    Ok(rules)
}

fn read_claims(prefixes: &Prefixes) -> Result<BTreeMap<Rule, Proof>, Failure> {
    let text = std::fs::read_to_string(root().join(CLAIMED)).unwrap_or_default();
    let mut claims = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let mut words = line.split_whitespace();
        let rule = words.next().map(|word| cited(prefixes, word)).and_then(|rules| rules.into_iter().next());
        let rule = rule.ok_or_else(|| Failure::new(format!("{CLAIMED}:{}: {line:?} is no rule id", index + 1)))?;
        let reason = words.clone().skip(1).collect::<Vec<_>>().join(" ");
        let proof = match words.next() {
            None => Proof::Test,
            Some("suite") => Proof::Suite,
            Some("untested:") if !reason.is_empty() => Proof::Untested(reason),
            Some(_) => {
                return Err(Failure::new(format!("{CLAIMED}:{}: nothing, `suite` or `untested: WHY`", index + 1)));
            }
        };
        claims.insert(rule, proof);
    }
    Ok(claims)
}

fn write_claims(claims: &BTreeMap<Rule, Proof>) -> Outcome {
    let mut text = String::from(
        "# The rules of the contract that this implementation claims: each is cited where it is enforced and proved by a\n\
         # test that names it, or, where it says `suite`, by the shared conformance vectors, or no test can show it, and it\n\
         # says why: `untested: WHY`. Every rule of docs/spec is here. `cargo x rules` checks this; `cargo x rules --claim`\n\
         # adds what has become provable. A line leaves this file only together with a reason.\n",
    );
    for (rule, proof) in claims {
        let proof = match proof {
            Proof::Test => String::new(),
            Proof::Suite => " suite".into(),
            Proof::Untested(reason) => format!(" untested: {reason}"),
        };
        text.push_str(&format!("{}{proof}\n", id(rule)));
    }
    std::fs::write(root().join(CLAIMED), text).map_err(Failure::from)
}

fn id((prefix, number): &Rule) -> String {
    format!("{prefix}-{number}")
}

/// The first place, and how many more there are.
fn brief(places: &[String]) -> String {
    match places {
        [] => "-".into(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_text_and_in_names() {
        let prefixes = PREFIXES.iter().map(|prefix| (*prefix).to_owned()).collect();
        assert_eq!(cited(&prefixes, "// RACE-4, and UTF-8; see (DEL-24)."), [("RACE".into(), 4), ("DEL".into(), 24)]);
        assert_eq!(named_by(&prefixes, "race_4_answered_elsewhere()"), [("RACE".into(), 4)]);
        assert_eq!(named_by(&prefixes, "id_2()"), [("ID".into(), 2)]);
        assert_eq!(
            named_by(&prefixes, "aut_2_3_and_res_4_of_5()"),
            [("AUT".into(), 2), ("AUT".into(), 3), ("RES".into(), 4)]
        );
        assert_eq!(named_by(&prefixes, "two_processes()"), []);
    }
}
