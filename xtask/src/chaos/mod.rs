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

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::dice::Dice;
use self::faults::Fault;
use self::town::{Count, Town};
use crate::shell::{Failure, Outcome, has, is_ci};

/// How much more memory than at the start the node may have in hand after a fault.
const MORE_KIB: u64 = 32 << 10;

/// What to do.
struct Plan {
    seed: u64,
    time: Duration,
    /// Only faults whose description contains this.
    only: String,
    json: bool,
}

impl Plan {
    fn of(arguments: &[String]) -> Result<Self, Failure> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut plan =
            Self { seed: since.as_secs() % 100_000, time: Duration::from_secs(180), only: String::new(), json: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().and_then(|text| text.parse::<f64>().ok());
            match argument.as_str() {
                "--json" => plan.json = true,
                "--only" => plan.only = arguments.next().cloned().unwrap_or_default(),
                "--seed" => plan.seed = value().ok_or_else(|| Failure::new("--seed takes a number"))? as u64,
                "--minutes" => {
                    let minutes = value().filter(|minutes| (0.0..100_000.0).contains(minutes));
                    let minutes = minutes.ok_or_else(|| Failure::new("--minutes takes a number"))?;
                    plan.time = Duration::from_secs_f64(60.0 * minutes);
                }
                other => return Err(Failure::new(format!("{other}: --minutes N, --seed S, --only WORDS or --json"))),
            }
        }
        Ok(plan)
    }
}

/// Breaks things for as long as was asked, or until an invariant is broken.
pub(crate) fn run(binary: &str, counting: &str, arguments: &[String]) -> Outcome {
    let plan = Plan::of(arguments)?;
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
    let Plan { seed, time, only, json } = plan;
    let minutes = time.as_secs_f64() / 60.0;
    if !json {
        println!("seed {seed}, {minutes} minutes; again with: cargo x chaos --minutes {minutes} --seed {seed}");
    }
    let began = Instant::now();
    let mut town = Town::build(Path::new(binary), Path::new(counting))?;
    let outcome = rounds(&mut town, &mut Dice::new(seed), &only, began + time, json);
    let (rounds, broken) = match &outcome {
        Ok(rounds) => (*rounds, None),
        Err((rounds, failure)) => (*rounds, Some(failure.to_string())),
    };
    if json {
        let broken = broken.as_deref().map_or_else(|| "null".into(), quoted);
        println!(
            "{{\"event\":\"summary\",\"seed\":{seed},\"minutes\":{minutes},\"rounds\":{rounds},\"seconds\":{:.1},\"broken\":{broken}}}",
            began.elapsed().as_secs_f64()
        );
    } else {
        println!("{rounds} faults survived in {:.0} s", began.elapsed().as_secs_f64());
    }
    match broken {
        None => Ok(()),
        Some(failure) => Err(Failure::new(format!(
            "{failure}\n  seed {seed}, fault {}; logs are in {}; again with: cargo x chaos --minutes {minutes} --seed {seed}",
            rounds + 1,
            town.logs().display()
        ))),
    }
}

fn rounds(town: &mut Town, dice: &mut Dice, only: &str, until: Instant, json: bool) -> Result<usize, (usize, Failure)> {
    let mut rounds = 0;
    let mut deck = Vec::new();
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
    while Instant::now() < until {
        if deck.is_empty() {
            deck = Fault::deck(dice);
            deck.retain(|fault| fault.to_string().contains(only));
        }
        let Some(fault) = deck.pop() else { continue };
        let loss = match fault {
            Fault::Loss(_) => 20,
            _ => [0, 0, 1, 20][dice.below(4)],
        };
        let began = Instant::now();
        let (count, memory) = round(town, fault, loss, baseline)
            .map_err(|failure| (rounds, Failure::new(format!("{fault}, {loss} % loss: {failure}"))))?;
        rounds += 1;
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
    Ok(rounds)
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
