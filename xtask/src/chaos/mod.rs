//! `cargo x chaos`: a node, its phones and a crowd that counts, while things go wrong. Needs root, `ip`, `nft`, `mkfs.ext4` and
//! `openssl`; for clocks and certificates `faketime`.
//!
//! One fault after another, each on a network that loses no packet, one in a hundred or one in five. After each: nothing that
//! the node vouched for is lost or out of order, nothing came twice that was acknowledged, a call can be placed, the long call
//! goes on, no phone rang twice, and the node has no more memory in hand than before. The seed decides what goes wrong, for
//! how long, and in which order; not what the machine's scheduler makes of it.

mod dice;
mod faults;
mod town;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::dice::Dice;
use self::faults::Fault;
use self::town::{Count, Town};
use crate::shell::{Failure, Outcome, has, is_ci};

/// How much more memory than at the start the node may have in hand after a fault.
const MORE_KIB: u64 = 32 << 10;

/// How long a fault lasts at most, where it lasts a while; and where every kind of fault is to happen once and soon.
const LONGEST: Duration = Duration::from_secs(6);
const LONGEST_ONCE: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    seed: u64,
    until: Until,
    /// Only kinds of fault whose name contains this.
    only: String,
    json: bool,
}

/// When it is enough.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Until {
    /// So much later.
    Over(Duration),
    /// When every kind of fault has happened once.
    Once,
}

impl Until {
    fn longest(self) -> Duration {
        match self {
            Self::Over(_) => LONGEST,
            Self::Once => LONGEST_ONCE,
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over(time) => write!(f, "--minutes {}", time.as_secs_f64() / 60.0),
            Self::Once => f.write_str("--once"),
        }
    }
}

impl Plan {
    /// Reads the command line.
    pub(crate) fn of(arguments: &[String]) -> Result<Self, Failure> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut plan = Self {
            seed: since.as_secs() % 100_000,
            until: Until::Over(Duration::from_secs(180)),
            only: String::new(),
            json: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = |what: &str| {
                let value = arguments.next().filter(|text| !text.starts_with("--"));
                value.ok_or_else(|| Failure::new(format!("{argument} takes {what}")))
            };
            match argument.as_str() {
                "--json" => plan.json = true,
                "--once" => plan.until = Until::Once,
                "--only" => plan.only = value("words from the name of a fault")?.clone(),
                "--seed" => {
                    let text = value("a whole number")?;
                    let seed = text.parse().map_err(|_| Failure::new(format!("--seed {text}: a whole number")))?;
                    plan.seed = seed;
                }
                "--minutes" => {
                    let text = value("a number above 0")?;
                    let minutes = text.parse::<f64>().ok().filter(|minutes| (0.001..100_000.0).contains(minutes));
                    let minutes = minutes.ok_or_else(|| Failure::new(format!("--minutes {text}: a number above 0")))?;
                    plan.until = Until::Over(Duration::from_secs_f64(60.0 * minutes));
                }
                other => {
                    let known = "--minutes N, --once, --seed S, --only WORDS or --json";
                    return Err(Failure::new(format!("{other}: {known}")));
                }
            }
        }
        plan.check()?;
        Ok(plan)
    }

    /// What to type for the same faults once more.
    fn again(&self) -> String {
        let only = if self.only.is_empty() { String::new() } else { format!(" --only {:?}", self.only) };
        format!("cargo x chaos {} --seed {}{only}", self.until, self.seed)
    }

    /// Whether anything would happen at all.
    fn check(&self) -> Outcome {
        let kinds: Vec<_> = Fault::deck(&mut Dice::new(self.seed), LONGEST).into_iter().map(Fault::kind).collect();
        if kinds.iter().any(|kind| kind.contains(&self.only)) {
            return Ok(());
        }
        let kinds = kinds.join("\n  ");
        Err(Failure::new(format!("--only {:?}: no fault is called so; there are\n  {kinds}", self.only)))
    }
}

/// Breaks things for as long as was asked, or until an invariant is broken.
pub(crate) fn run(binary: &str, counting: &str, plan: &Plan) -> Outcome {
    for (program, probe) in [("ip", "-V"), ("nft", "--version"), ("mkfs.ext4", "-V"), ("openssl", "version")] {
        if !has(program, probe) {
            return Err(Failure::new(format!(
                "`{program}` is needed; apt-get install iproute2 nftables e2fsprogs openssl"
            )));
        }
    }
    if !Town::has_clocks() {
        if is_ci() {
            return Err(Failure::new("`faketime` is needed; apt-get install faketime"));
        }
        eprintln!("no `faketime` here: clocks will not jump, and certificates not expire");
    }
    let Plan { seed, until, json, .. } = *plan;
    let again = plan.again();
    if !json {
        println!("seed {seed}; again with: {again}");
    }
    let began = Instant::now();
    let mut town = Town::build(Path::new(binary), Path::new(counting))?;
    let outcome = rounds(&mut town, plan);
    let (rounds, broken) = match &outcome {
        Ok(rounds) => (*rounds, None),
        Err((rounds, failure)) => (*rounds, Some(failure.to_string())),
    };
    if json {
        let broken = broken.as_deref().map_or_else(|| "null".into(), quoted);
        println!(
            "{{\"event\":\"summary\",\"seed\":{seed},\"until\":\"{until}\",\"rounds\":{rounds},\"seconds\":{:.1},\"broken\":{broken}}}",
            began.elapsed().as_secs_f64()
        );
    } else {
        println!("{rounds} faults survived in {:.0} s", began.elapsed().as_secs_f64());
    }
    match broken {
        None => Ok(()),
        Some(failure) => Err(Failure::new(format!(
            "{failure}\n  seed {seed}, fault {}; logs are in {}; again with: {again}",
            rounds + 1,
            town.logs().display()
        ))),
    }
}

fn rounds(town: &mut Town, plan: &Plan) -> Result<usize, (usize, Failure)> {
    let Plan { seed, until, ref only, json } = *plan;
    let mut dice = Dice::new(seed);
    let mut rounds = 0;
    let mut deck = Vec::new();
    let mut vouched = 0;
    let baseline = first_look(town).map_err(|failure| (0, failure))?;
    if !json {
        println!(
            "{:>3}  {:<42} {:>5}  {:>6}  {:>9} {:>9} {:>8} {:>8}",
            "", "fault", "loss", "took", "vouched", "arrived", "refused", "node KiB"
        );
        println!(
            "{:>3}  {:<42} {:>5}  {:>6}  {:>9} {:>9} {:>8} {baseline:>8}",
            0, "(everybody settles in)", "", "", "", "", ""
        );
    }
    let began = Instant::now();
    loop {
        let enough = match until {
            Until::Over(time) => rounds > 0 && began.elapsed() >= time,
            Until::Once => rounds > 0 && deck.is_empty(),
        };
        if enough {
            return Ok(rounds);
        }
        if deck.is_empty() {
            deck = Fault::deck(&mut dice, until.longest());
            deck.retain(|fault| fault.kind().contains(only));
        }
        let Some(fault) = deck.pop() else { return Err((rounds, Failure::new(format!("{only:?}: no such fault")))) };
        let loss = match fault {
            Fault::Loss(_) => 20,
            _ => [0, 0, 1, 20][dice.below(4)],
        };
        let began = Instant::now();
        let (count, memory) = round(town, fault, loss, baseline)
            .map_err(|failure| (rounds, Failure::new(format!("{fault}, {loss} % loss: {failure}"))))?;
        rounds += 1;
        let before = std::mem::replace(&mut vouched, count.vouched);
        if count.vouched <= before {
            return Err((rounds, Failure::new(format!("{fault}: the node vouched for nothing since the last fault"))));
        }
        let Count { vouched, received, refused } = count;
        let took = began.elapsed().as_secs_f64();
        if json {
            println!(
                "{{\"event\":\"round\",\"number\":{rounds},\"fault\":{},\"loss\":{loss},\"seconds\":{took:.1},\
                 \"vouched\":{vouched},\"received\":{received},\"refused\":{refused},\"node_kib\":{memory}}}",
                quoted(&fault.to_string())
            );
        } else {
            println!(
                "{rounds:>3}  {:<42} {loss:>3} %  {took:>4.1} s  {vouched:>9} {received:>9} {refused:>8} {memory:>8}",
                fault.to_string()
            );
        }
    }
}

/// Everything works before anything goes wrong. Returns the memory that takes.
fn first_look(town: &mut Town) -> Result<u64, Failure> {
    town.talk()?;
    town.short_call()?;
    town.settle()?;
    town.check_calls()?;
    town.memory()
}

/// One fault, and what has to hold afterwards.
fn round(town: &mut Town, fault: Fault, loss: u32, baseline: u64) -> Result<(Count, u64), Failure> {
    if !fault.wants_silence() {
        town.talk()?;
    }
    town.lose(loss)?;
    let happened = fault.happen(town);
    town.lose(0)?;
    happened?;
    if fault.wants_silence() {
        town.talk()?;
    }
    town.short_call()?;
    let count = town.settle()?;
    town.check_calls()?;
    let memory = town.memory()?;
    if memory > baseline + MORE_KIB {
        return Err(Failure::new(format!("the node has {memory} KiB in hand, and had {baseline} at the start")));
    }
    Ok((count, memory))
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c.is_control() => vec![' '],
            c => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Plan::of(&arguments).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for (line, told) in [
            ("--minutes 0", "--minutes 0: a number above 0"),
            ("--minutes", "--minutes takes a number above 0"),
            ("--minutes soon", "--minutes soon: a number above 0"),
            ("--seed -1", "--seed -1: a whole number"),
            ("--only --json", "--only takes words from the name of a fault"),
            ("--rounds 3", "--rounds: --minutes N, --once, --seed S, --only WORDS or --json"),
        ] {
            assert_eq!(plan(line).expect_err(line), told, "{line}");
        }
        let told = plan("--only erthquake").expect_err("no such fault");
        assert!(
            told.starts_with("--only \"erthquake\": no fault is called so") && told.contains("\n  disk full"),
            "{told}"
        );
    }

    #[test]
    fn a_plan_says_how_to_follow_it_again() {
        for line in ["--minutes 2 --seed 7", "--once --seed 12345", "--minutes 0.5 --seed 1 --only disk"] {
            let first = plan(line).expect(line);
            let again = first.again().replace('"', "");
            assert_eq!(plan(again.strip_prefix("cargo x chaos ").expect("a command")), Ok(first), "{line}");
        }
    }

    #[test]
    fn every_kind_is_dealt_once() {
        for seed in 0..50 {
            let deck = Fault::deck(&mut Dice::new(seed), LONGEST_ONCE);
            let mut kinds: Vec<_> = deck.iter().map(|fault| fault.kind()).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!((deck.len(), kinds.len()), if Town::has_clocks() { (11, 11) } else { (9, 9) });
        }
    }
}
