//! `dsip load`: drive a node with many devices, and tell what it took.
//!
//! ```text
//!  schedule ── when, who, what ──► exchange ── signed envelopes ──► fleet ── links ──► the node
//!     (seed alone)                    │  ▲                            │  ▲                │
//!                                     ▼  └───────── fate ────────┐    │  └── frames ──────┘
//!                                   alarm                        │    ▼
//!                                                               measure ──► report ──► page, histograms
//! ```
//!
//! The load is open-loop: exchanges begin when the schedule says, however slow the node is, and latency counts from then.

mod alarm;
mod descriptors;
mod exchange;
mod fleet;
mod histograms;
mod measure;
mod node_metrics;
mod page;
mod plot;
mod report;
mod schedule;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dsip_endpoint::link::{Dialer, Target, Transport};
use dsip_endpoint::tls::Roots;
use dsip_proto::time::Seed;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use self::alarm::Alarm;
use self::exchange::Pace;
use self::fleet::{Fleet, Phase};
use self::node_metrics::NodeMetrics;
use self::report::{Progress, Report};
use self::schedule::{Exchange, Mix, Plan, Schedule};
use crate::call::seconds;
use crate::cli::Globals;
use crate::end::End;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Style};

/// Devices that come and go, if the mix has messages for such: one for so many that stay, and at least two.
const STAYING_FOR_ONE: usize = 10;

/// How long the last device to dial may take to be bound.
const LAST_ONE: Duration = Duration::from_secs(15);

/// How often progress is told.
const EACH: Duration = Duration::from_secs(1);

/// How often something is looked at that has no event of its own.
const LOOK: Duration = Duration::from_millis(50);

/// Points of a plot at most.
const POINTS: u32 = 600;

/// How long devices may take to leave.
const GOODBYE: Duration = Duration::from_secs(3);

/// What `dsip load` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Devices, each with an identity and a link of its own; besides those that come and go
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    devices: u32,
    /// How they connect; with `both`, every other one over QUIC
    #[arg(long, value_enum, value_name = "WHICH", default_value = "both")]
    transport: Over,
    /// Devices that dial in a second, at first
    #[arg(long, value_name = "R", default_value = "50", value_parser = rate)]
    connect_rate: f64,
    /// Exchanges that begin in a second: calls, and what else --mix names
    #[arg(long, value_name = "R", default_value = "10", value_parser = rate)]
    calls: f64,
    /// What exchanges: call, cancelled, declined, introduction, info (to a device that is there), away (to one that is not)
    #[arg(long, value_name = "KIND=WEIGHT,…", default_value = "call=70,cancelled=5,declined=5,info=15,away=5")]
    mix: Mix,
    /// How many seconds exchanges begin, the ramp included
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    duration: Duration,
    /// In how many seconds the rate grows to what was asked for
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    ramp: Duration,
    /// How many seconds it rings
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    ring: Duration,
    /// How many seconds a call lasts
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    hold: Duration,
    /// How many seconds those who come and go are away
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    away: Duration,
    /// After how many seconds a message counts as lost
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    deadline: Duration,
    /// What identities and schedule are made from [default: a fresh one, which is told]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Where the node shows its metrics (its --metrics): its memory during the load becomes part of the report
    #[arg(long, value_name = "ADDR:PORT", value_parser = node_metrics::address)]
    metrics: Option<SocketAddr>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write HdrHistogram's own files: a log by interval, and percentiles by kind of message
    #[arg(long, value_name = "DIR")]
    histograms: Option<PathBuf>,
}

/// Over which bindings devices connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Over {
    /// WebSocket over TLS.
    Ws,
    /// QUIC.
    Quic,
    /// Half of them each.
    Both,
}

/// A rate as people write it, above zero.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate > 0.0 && rate <= 1e6 { Ok(rate) } else { Err("not above zero and below a million".into()) }
}

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &Output, args: Args) -> Result<Exit, Failure> {
    let target = globals.node_target()?.ok_or_else(|| Failure::usage("--node", "missing", "name the node to load"))?;
    let roots = Roots::load(&globals.ca)
        .map_err(|error| Failure::usage("--ca", error, "give a readable file with a certificate in PEM form"))?;
    let present = usize::try_from(args.devices).unwrap_or(usize::MAX);
    let cycling = if args.mix.weight(Exchange::Away) > 0 { (present / STAYING_FOR_ONE).max(2) } else { 0 };
    descriptors::provide_for(present + cycling)?;
    // A run of an hour is not to end with a file that cannot be written.
    let page = args.report.as_ref().map(|path| page::create(path)).transpose()?;
    args.histograms.as_ref().map_or(Ok(()), |dir| histograms::create(dir))?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from(getrandom::u32().map_err(|error| Failure::fault("randomness", error, "give --seed"))?),
    };
    let mut ids = [0; 32];
    getrandom::fill(&mut ids).map_err(|error| Failure::fault("randomness", error, "try again"))?;
    let mut end = End::new()?;

    let targets = bindings(&target, args.transport);
    reach(&target, &targets, &roots).await?;
    let each = EACH.max(args.duration / POINTS);
    let node = match args.metrics {
        Some(at) => Some(NodeMetrics::watch(at, each).await.map_err(|error| {
            Failure::usage(format!("--metrics {at}"), error, "give the address that the node was given as --metrics")
        })?),
        None => None,
    };
    let alarm = Alarm::start().map_err(|error| Failure::fault("a thread", error, "try again"))?;
    let gathering = Duration::from_secs_f64((present + cycling) as f64 / args.connect_rate) + LAST_ONE;
    let fleet = Arc::new(Fleet::new(
        fleet::Config {
            seed,
            present,
            coming_and_going: cycling,
            targets,
            roots,
            valid_for: gathering + args.duration + args.deadline + Duration::from_secs(86_400),
            deadline: args.deadline,
            away: args.away,
            interval: each,
        },
        Seed::new(ids),
        alarm,
    ));

    let mut devices = JoinSet::new();
    for number in 0..present + cycling {
        let first = Duration::from_secs_f64(number as f64 / args.connect_rate);
        devices.spawn(fleet.clone().live(number, first));
    }
    let all = gather(&fleet, out, present + cycling, gathering, &mut end).await;
    let bound = fleet.bound(false);
    if bound.is_empty() {
        let measure = fleet.measure();
        let why = measure.faults().first().map_or("nobody got in".to_owned(), |(_, why, _)| (*why).to_owned());
        return Err(Failure::new(Exit::Unreachable, target, why, "check --node, and that the node runs"));
    }
    if bound.len() < 2 && all {
        let wrong = "only one device got in, and nobody calls themselves";
        return Err(Failure::new(Exit::Unreachable, target, wrong, "see what the node's limits are"));
    }

    let plan = Plan { rate: args.calls, ramp: args.ramp.min(args.duration), duration: args.duration, mix: args.mix };
    let pace = Pace { ring: args.ring, hold: args.hold };
    let (began, since, over) = (fleet.now(), SystemTime::now(), fleet.over());
    let mut stopped = !all;
    if !stopped {
        stopped = drive(&fleet, out, Load { seed, plan: plan.clone(), pace, each }, &bound, &mut end).await;
    }
    let load = fleet.now().saturating_sub(began).min(args.duration);
    drain(&fleet, out, stopped, &mut end).await;
    let node = node.map(|node| node.samples()).unwrap_or_default();
    fleet.enter(Phase::Over);
    let _ = timeout(GOODBYE, async { while devices.join_next().await.is_some() {} }).await;

    let measure = fleet.measure();
    let report = Report::new(
        &measure,
        report::Setting { target: target.to_string(), seed, plan, pace, away: args.away, deadline: args.deadline },
        report::Gathered { asked: present + cycling, bound: bound.len() + fleet.bound(true).len(), over },
        load,
        stopped,
        &node,
    );
    out.event(&report);
    for warning in report.warnings() {
        out.line(out.styled(Style::Bad, warning));
    }
    if let Some((file, path)) = page.zip(args.report.as_ref()) {
        page::write(file, path, &report, (&measure, each), &node)?;
        out.line(format!("page         {}", path.display()));
    }
    if let Some(dir) = &args.histograms {
        histograms::write(dir, &measure, since, each)?;
        out.line(format!("histograms   {}", dir.display()));
    }
    Ok(report.exit())
}

/// The node over each binding to use.
fn bindings(target: &Target, over: Over) -> Vec<Target> {
    let one = |transport: Transport| target.clone().with_bindings([transport.id()]);
    match over {
        Over::Ws => vec![one(Transport::Ws)],
        Over::Quic => vec![one(Transport::Quic)],
        Over::Both => vec![one(Transport::Ws), one(Transport::Quic)],
    }
}

/// Opens one link over each binding: a wrong address, key or certificate is told at once, and once.
async fn reach(target: &Target, targets: &[Target], roots: &Roots) -> Result<(), Failure> {
    for one in targets {
        Dialer::new(roots.clone())
            .open(one)
            .await
            .map_err(|error| Failure::new(Exit::Unreachable, target, error, "check --node, and that the node runs"))?;
    }
    Ok(())
}

/// Waits until every device is bound, or `longest`. False if the person wants it to end.
async fn gather(fleet: &Fleet, out: &Output, asked: usize, longest: Duration, end: &mut End) -> bool {
    let mut look = interval(LOOK);
    loop {
        let bound = fleet.bound(false).len() + fleet.bound(true).len();
        out.progress(format!("{bound} of {asked} devices are bound"));
        if bound >= asked || fleet.now() >= longest {
            return true;
        }
        tokio::select! {
            _ = look.tick() => {}
            () = end.wait() => return false,
        }
    }
}

/// What to drive a node with.
struct Load {
    seed: u64,
    plan: Plan,
    pace: Pace,
    each: Duration,
}

/// Begins exchanges as the schedule says. Whether the person ended it early.
async fn drive(fleet: &Arc<Fleet>, out: &Output, load: Load, bound: &[usize], end: &mut End) -> bool {
    let coming_and_going = fleet.bound(true);
    let from = fleet.now();
    fleet.measure().begin(from);
    fleet.enter(Phase::Load);
    let duration = load.plan.duration;
    let schedule = Schedule::new(load.seed, load.plan, bound.len(), coming_and_going.len());
    let (begin, pace, places) = (fleet.clone(), load.pace, bound.to_vec());
    let mut beginning = tokio::spawn(async move {
        let mut last = from;
        for mut arrival in schedule {
            arrival.from = places[arrival.from];
            arrival.to = match arrival.exchange {
                Exchange::Away => coming_and_going.get(arrival.to).copied().unwrap_or_default(),
                _ => places[arrival.to],
            };
            last = from + arrival.at;
            if !begin.pause(last).await {
                return;
            }
            begin.measure().tally(arrival.exchange).begun += 1;
            let fleet = begin.clone();
            tokio::spawn(async move { exchange::play(&fleet, pace, arrival, last).await });
        }
        begin.pause(last.max(from + duration)).await;
    });
    let mut look = interval(EACH);
    look.tick().await;
    let mut told = Progress::default();
    loop {
        tokio::select! {
            _ = &mut beginning => return false,
            () = end.wait() => {
                beginning.abort();
                return true;
            }
            _ = look.tick() => {
                let at = fleet.now();
                told = {
                    let mut measure = fleet.measure();
                    measure.expire(at);
                    Progress::since(&told, &measure, at.saturating_sub(from), (duration, load.each))
                };
                out.object(&told);
                out.progress(&told);
            }
        }
    }
}

/// Begins nothing any more, and waits for what is on its way: until it is there or overdue, or the person insists.
async fn drain(fleet: &Fleet, out: &Output, stopped: bool, end: &mut End) {
    fleet.enter(Phase::Draining);
    let mut look = interval(LOOK);
    loop {
        let under_way = {
            let mut measure = fleet.measure();
            measure.expire(fleet.now());
            measure.under_way()
        };
        if under_way == 0 {
            return;
        }
        let again = if stopped { "; Ctrl-C once more ends that as well" } else { "" };
        out.progress(format!("waiting for {under_way} exchanges to come to an end{again}"));
        tokio::select! {
            _ = look.tick() => {}
            () = end.wait() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "NaN", "inf", "many"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
