//! The one place where our ticks meet the engine's `Instant`.

use std::time::{Duration, Instant};

use dsip_proto::time::Tick;

/// The instant that tick zero stands for. The driver reads it once, when it starts its clock; nothing here reads one.
#[derive(Debug, Clone, Copy)]
pub struct Origin(Instant);

impl Origin {
    /// Ties tick zero to an instant.
    #[must_use]
    pub const fn new(zero: Instant) -> Self {
        Self(zero)
    }

    pub(super) fn instant(self, tick: Tick) -> Instant {
        self.0 + Duration::from_micros(tick.micros())
    }

    /// The first tick that is not before `instant`, so that waking then is never early.
    pub(super) fn tick(self, instant: Instant) -> Tick {
        let since = instant.saturating_duration_since(self.0);
        let micros = since.as_nanos().div_ceil(1000);
        Tick::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
