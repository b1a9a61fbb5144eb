//! `cargo x rules`: where each rule of the contract is enforced, and what proves it.
//!
//! `docs/spec/rules.txt` lists the rules we claim. A claimed rule has to be cited by code and by a test: by a test whose
//! name starts with it (`fn race_4_…`), or that mentions it, or by one of our own vectors. A rule marked `suite` is
//! proved by the shared conformance vectors instead, which do not name rules.

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

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let claim = arguments.iter().any(|argument| argument == "--claim");
    let prefixes = prefixes()?;
    let evidence = scan(&prefixes)?;
    let claimed = read_claims(&prefixes)?;
    let mut gaps = Vec::new();
    for (rule, suite) in &claimed {
        let found = evidence.get(rule);
        if found.is_none_or(|found| found.code.is_empty()) {
            gaps.push(format!("{}: no code cites it", id(rule)));
        }
        if !suite && found.is_none_or(|found| found.tests.is_empty()) {
            gaps.push(format!("{}: no test names it", id(rule)));
        }
    }
    println!("{:<9} {:<44} test", "rule", "code");
    for (rule, found) in &evidence {
        let suite = claimed.get(rule) == Some(&true);
        let test = if found.tests.is_empty() && suite { "(the shared vectors)".into() } else { brief(&found.tests) };
        println!("{:<9} {:<44} {test}", id(rule), brief(&found.code));
    }
    if claim {
        let proved = evidence.iter().filter(|(_, found)| !found.code.is_empty() && !found.tests.is_empty());
        let mut all = claimed;
        for (rule, _) in proved {
            all.entry(rule.clone()).or_insert(false);
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

fn scan(prefixes: &Prefixes) -> Result<BTreeMap<Rule, Evidence>, Failure> {
    let mut evidence: BTreeMap<Rule, Evidence> = BTreeMap::new();
    let root = root();
    for path in source::files(&root.join("crates"), "rs")? {
        let text = std::fs::read_to_string(&path)?;
        let shown = path.strip_prefix(root.join("crates")).unwrap_or(&path).display().to_string();
        for line in source::lines(&path, &text) {
            let place = format!("{shown}:{}", line.number);
            if line.is_test {
                let named = line.code.split_once("fn ").and_then(|(_, rest)| named_by(prefixes, rest));
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

/// The rule a test function is named after: `race_4_answered_elsewhere` is RACE-4.
fn named_by(prefixes: &Prefixes, function: &str) -> Option<Rule> {
    let mut parts = function.split('_');
    let prefix = parts.next()?.to_ascii_uppercase();
    let number = parts.next()?.split('(').next()?.parse().ok()?;
    prefixes.contains(&prefix).then_some((prefix, number))
}

fn read_claims(prefixes: &Prefixes) -> Result<BTreeMap<Rule, bool>, Failure> {
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
        claims.insert(rule, words.next() == Some("suite"));
    }
    Ok(claims)
}

fn write_claims(claims: &BTreeMap<Rule, bool>) -> Outcome {
    let mut text = String::from(
        "# The rules of the contract that this implementation claims: each is cited where it is enforced and proved by a\n\
         # test that names it, or, where it says `suite`, by the shared conformance vectors. `cargo x rules` checks this;\n\
         # `cargo x rules --claim` adds what has become provable. A line leaves this file only together with a reason.\n",
    );
    for (rule, suite) in claims {
        text.push_str(&id(rule));
        text.push_str(if *suite { " suite\n" } else { "\n" });
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
        assert_eq!(named_by(&prefixes, "race_4_answered_elsewhere()"), Some(("RACE".into(), 4)));
        assert_eq!(named_by(&prefixes, "id_2()"), Some(("ID".into(), 2)));
        assert_eq!(named_by(&prefixes, "two_processes()"), None);
    }
}
