//! Time: the only file that asks the kernel for it. A turn takes `now` from here once and passes it on as an argument.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock (`CLOCK_MONOTONIC`), in nanoseconds since boot.
///
/// Unlike [`std::time::Instant`] it can be made from a number, so that the simulator
/// and the tests run on a virtual clock, and it takes 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(u64);

impl Instant {
    /// The latest instant there is: a deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The current time. Costs one vDSO call, about 25 ns.
    #[inline]
    #[must_use]
    pub fn now() -> Self {
        crate::sys::monotonic().map_or(Self(0), Self)
    }

    /// The current time as of the kernel's last tick: up to 10 ms behind [`Instant::now`], mostly 4. Costs about 6 ns.
    #[inline]
    #[must_use]
    pub fn coarse() -> Self {
        crate::sys::monotonic_coarse().map_or(Self(0), Self)
    }

    /// The instant `nanos` nanoseconds after the clock's zero.
    #[inline]
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's zero.
    #[inline]
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self` in nanoseconds; zero if `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The time from `rhs` to `self`; zero if `rhs` is later.
    #[inline]
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(rhs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_forward_and_never_wraps() {
        let start = Instant::now();
        assert!(start.as_nanos() > 0);
        assert!(Instant::now() >= start);
        assert!(Instant::coarse() <= Instant::now());
        assert_eq!(Instant::NEVER + Duration::from_secs(1), Instant::NEVER);
        assert_eq!(Instant::from_nanos(5) - Instant::from_nanos(9), Duration::ZERO);
        assert_eq!(Instant::from_nanos(9).nanos_since(Instant::from_nanos(5)), 4);
    }
}
