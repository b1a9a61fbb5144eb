//! What goes wrong, and how it is mended.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use super::dice::Dice;
use super::town::{Clock, PLACES, Served, Town};
use crate::shell::{Failure, Outcome};

/// How long what lasts a while lasts at least.
const SHORTEST_MS: u64 = 1_000;

/// Something that goes wrong for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The node is killed, and started again.
    Kill,
    /// The node is told to end, and started again.
    Restart,
    /// The node's process gets no time.
    Pause(Duration),
    /// A phone is killed, and started again.
    KillPhone,
    /// One machine's cable is pulled.
    Cut(&'static str, Duration),
    /// Packets vanish, in both directions, whatever they are.
    Loss(Duration),
    /// No block is free on the node's disk.
    DiskFull(Duration),
    /// The disk breaks under the running node, and is repaired.
    DiskBreaks(Duration),
    /// The node is started on a disk that it cannot write.
    ReadOnly,
    /// A clock jumps by so many seconds, and back.
    Clock(Clock, i64, Duration),
    /// The node comes back with a certificate that is over, then with a fresh one.
    Certificate,
}

impl Fault {
    /// One of each kind, in random order, with random details; what lasts a while lasts at most `longest`.
    pub(super) fn deck(dice: &mut Dice, longest: Duration) -> Vec<Self> {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let while_ = |dice: &mut Dice| Duration::from_millis(dice.between(SHORTEST_MS, longest));
        let who = PLACES[dice.below(PLACES.len())].0;
        let clock = [Clock::Node, Clock::Dave][dice.below(2)];
        let jump = [3_600, -3_600][dice.below(2)];
        let mut deck = vec![
            Self::Kill,
            Self::Restart,
            Self::Pause(while_(dice)),
            Self::KillPhone,
            Self::Cut(who, while_(dice)),
            Self::Loss(while_(dice)),
            Self::DiskFull(while_(dice)),
            Self::DiskBreaks(while_(dice)),
            Self::ReadOnly,
        ];
        if Town::has_clocks() {
            deck.extend([Self::Clock(clock, jump, while_(dice)), Self::Certificate]);
        }
        for last in (1..deck.len()).rev() {
            deck.swap(last, dice.below(last + 1));
        }
        deck
    }

    /// What kind of fault it is, whatever its details.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Kill => "the node is killed",
            Self::Restart => "the node is started anew",
            Self::Pause(_) => "the node stands still",
            Self::KillPhone => "a phone is killed",
            Self::Cut(..) => "cut off",
            Self::Loss(_) => "nothing but loss",
            Self::DiskFull(_) => "disk full",
            Self::DiskBreaks(_) => "disk broken",
            Self::ReadOnly => "started on a read-only disk",
            Self::Clock(..) => "clock",
            Self::Certificate => "certificate expired, then replaced",
        }
    }

    /// Whether the crowd has to be silent: what it says would be over before it arrives, and nobody's fault.
    pub(super) fn wants_silence(self) -> bool {
        matches!(self, Self::Clock(Clock::Node, ..))
    }

    /// Lets it happen, and mends it.
    pub(super) fn happen(self, town: &mut Town) -> Outcome {
        match self {
            Self::Kill => {
                town.kill_node();
                start_again(town)
            }
            Self::Restart => {
                town.signal("-TERM")?;
                if let Some(node) = &mut town.node {
                    node.ends_well("the node")?;
                }
                start_again(town)
            }
            Self::Pause(time) => {
                town.signal("-STOP")?;
                sleep(time);
                town.signal("-CONT")
            }
            Self::KillPhone => town.restart_dave(),
            Self::Cut(who, time) => {
                town.net.ip("wire", &format!("link set p-{who} down"))?;
                sleep(time);
                town.net.ip("wire", &format!("link set p-{who} up"))
            }
            Self::Loss(time) => {
                sleep(time);
                Ok(())
            }
            Self::DiskFull(time) => {
                town.disk.fill()?;
                sleep(time);
                // CUS-21: what goes straight through goes on.
                let called = town.short_call();
                town.disk.clear()?;
                called
            }
            Self::DiskBreaks(time) => {
                town.disk.break_down()?;
                sleep(time);
                let called = town.short_call();
                town.kill_node();
                town.disk.repair()?;
                start_again(town)?;
                called
            }
            Self::ReadOnly => {
                town.kill_node();
                town.disk.set_read_only(true)?;
                let refused = town.start_node_in_vain();
                town.disk.set_read_only(false)?;
                start_again(town)?;
                refused
            }
            Self::Clock(clock, seconds, time) => {
                town.set_clock(clock, seconds)?;
                sleep(time);
                town.set_clock(clock, 0)?;
                // The clock is looked at once a second.
                sleep(Duration::from_secs(2));
                Ok(())
            }
            Self::Certificate => {
                town.kill_node();
                town.start_node(Served::Expired)?;
                // Who knows the node by its key is not concerned; and then dave is back, so that nothing else keeps others away.
                town.short_call()?;
                if town.call_by_certificate()? {
                    return Err(Failure::new("a certificate that is over was good enough"));
                }
                town.kill_node();
                start_again(town)?;
                town.short_call()?;
                if town.call_by_certificate()? {
                    return Ok(());
                }
                Err(Failure::new("a fresh certificate was not good enough"))
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: &Duration| format!("{:.1} s", time.as_secs_f64());
        let kind = self.kind();
        match self {
            Self::Pause(time) | Self::Loss(time) | Self::DiskFull(time) | Self::DiskBreaks(time) => {
                write!(f, "{kind} for {}", seconds(time))
            }
            Self::Cut(who, time) => write!(f, "{who} {kind} for {}", seconds(time)),
            Self::Clock(clock, by, time) => write!(f, "{}'s {kind} {by:+} s for {}", clock.name(), seconds(time)),
            Self::Kill | Self::Restart | Self::KillPhone | Self::ReadOnly | Self::Certificate => f.write_str(kind),
        }
    }
}

fn start_again(town: &mut Town) -> Outcome {
    town.start_node(Served::Good)
}
