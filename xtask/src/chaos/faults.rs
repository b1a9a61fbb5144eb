//! What goes wrong, and how it is mended.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use super::dice::Dice;
use super::town::{Clock, PLACES, Served, Town};
use crate::shell::{Failure, Outcome};

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
    /// One of each kind, in random order, with random details.
    pub(super) fn deck(dice: &mut Dice) -> Vec<Self> {
        let while_ = |dice: &mut Dice| Duration::from_millis(dice.between(1_000, 6_000));
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
        match self {
            Self::Kill => write!(f, "the node is killed"),
            Self::Restart => write!(f, "the node is started anew"),
            Self::Pause(time) => write!(f, "the node stands still for {}", seconds(time)),
            Self::KillPhone => write!(f, "a phone is killed"),
            Self::Cut(who, time) => write!(f, "{who} cut off for {}", seconds(time)),
            Self::Loss(time) => write!(f, "nothing else for {}", seconds(time)),
            Self::DiskFull(time) => write!(f, "disk full for {}", seconds(time)),
            Self::DiskBreaks(time) => write!(f, "disk broken for {}", seconds(time)),
            Self::ReadOnly => write!(f, "started on a read-only disk"),
            Self::Clock(clock, by, time) => write!(f, "{}'s clock {by:+} s for {}", clock.name(), seconds(time)),
            Self::Certificate => write!(f, "certificate expired, then replaced"),
        }
    }
}

fn start_again(town: &mut Town) -> Outcome {
    town.start_node(Served::Good)
}
