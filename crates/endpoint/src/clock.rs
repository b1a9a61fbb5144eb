//! Both clocks of this machine, as the value the rules take.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dsip_proto::time::{Now, Tick, Wall};

/// Both clocks, now. The monotonic one counts from the first call in this process.
///
/// A wall clock that stands before 1970 reads as 1970; everything will then look issued in the future, and be refused.
#[must_use]
pub fn now() -> Now {
    Now { tick: tick(Instant::now()), wall: wall() }
}

/// The moment of `instant` on the monotonic clock.
#[must_use]
pub fn tick(instant: Instant) -> Tick {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = instant.saturating_duration_since(*ORIGIN.get_or_init(Instant::now));
    Tick::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
