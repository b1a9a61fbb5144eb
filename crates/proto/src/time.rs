//! Time and randomness as values.
//!
//! The rules need two clocks: a monotonic one for timers and Unix time for validity. Both arrive together as [`Now`], so
//! that a simulated world can move them and no engine can read a real clock.

use std::time::Duration;

/// Both clocks, read by the driver at one moment and handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic time, for timers.
    pub tick: Tick,
    /// Wall-clock time, for validity.
    pub wall: Wall,
}

impl Now {
    /// Both clocks `by` later.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self { tick: self.tick + by, wall: Wall::from_millis(self.wall.millis().saturating_add(millis(by))) }
    }
}

/// A moment on the monotonic clock: microseconds since an origin that only the driver knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// The moment `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// How long this moment lies after `earlier`; zero if it does not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Tick {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A moment in Unix time, in milliseconds. The wire speaks seconds (CNV-5), ULIDs speak milliseconds (ULID-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(u64);

impl Wall {
    /// The moment `secs` Unix seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// The moment `millis` Unix milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Whole Unix seconds.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// Unix milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }
}

/// 32 bytes of randomness that a machine consumes once, at birth. It cannot be cloned, printed or persisted.
pub struct Seed([u8; 32]);

impl Seed {
    /// Takes 32 bytes that the caller drew from a cryptographic source, or from a test's own counter.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The generator this seed stands for.
    #[must_use]
    pub fn into_rng(self) -> rand_chacha::ChaCha20Rng {
        use rand_chacha::rand_core::SeedableRng as _;
        rand_chacha::ChaCha20Rng::from_seed(self.0)
    }
}

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}
