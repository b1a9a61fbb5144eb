//! What happened, in the order it happened. Printed when a world fails, or when somebody asks to see it.

use std::collections::VecDeque;
use std::fmt;

use dsip_proto::time::Tick;

/// More lines than this are kept of the end only; what matters for a failure is rarely older.
const MOST_LINES: usize = 5_000;

/// A world's log. Dropping it in a failing test prints it, with the seed that replays it.
pub(crate) struct Story {
    seed: u64,
    begin: Tick,
    lines: VecDeque<String>,
    left_out: usize,
}

impl Story {
    pub(crate) fn new(seed: u64, begin: Tick) -> Self {
        Self { seed, begin, lines: VecDeque::new(), left_out: 0 }
    }

    /// Notes what `who` saw or did.
    pub(crate) fn tell(&mut self, at: Tick, who: &str, what: impl fmt::Display) {
        if self.lines.len() == MOST_LINES {
            self.lines.pop_front();
            self.left_out += 1;
        }
        let seconds = at.since(self.begin).as_secs_f64();
        self.lines.push_back(format!("{seconds:>10.4} s  {who:<14} {what}"));
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let asked = ["DSIP_SIM_SEED", "DSIP_SIM_STORY"].iter().any(|name| std::env::var_os(name).is_some());
        if std::thread::panicking() || asked {
            if self.left_out > 0 {
                println!("… {} earlier lines left out", self.left_out);
            }
            for line in &self.lines {
                println!("{line}");
            }
            println!("seed {}: replay this world with --seed {}", self.seed, self.seed);
        }
    }
}
