//! Stopping a run, and watching it, from another thread. Costs the hot path a few plain stores a turn.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Instant;

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Opening rings.
    Starting = 0,
    /// Sending, not measuring yet.
    WarmUp = 1,
    /// Sending and measuring.
    Measuring = 2,
    /// Waiting for the last responses.
    Draining = 3,
    /// Over.
    Done = 4,
}

impl Phase {
    const ALL: [Self; 5] =
        [Self::Starting, Self::WarmUp, Self::Measuring, Self::Draining, Self::Done];
}

/// Where a run stands, over all cores. Read at one moment, but not all at the very same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests completed with a response since measuring began.
    pub requests: u64,
    /// Requests that failed since then.
    pub errors: u64,
    /// Bytes received since then.
    pub bytes: u64,
    /// Connections established since the start.
    pub connected: u64,
    /// Time since the run began.
    pub elapsed: Duration,
    /// The phase of the core that is furthest behind.
    pub phase: Phase,
}

/// One core's figures, alone on their cache lines: written by its shard, read by whoever watches.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct CoreGauge {
    pub(super) requests: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) connected: AtomicU64,
    pub(super) phase: AtomicU8,
}

impl CoreGauge {
    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}

/// A handle on a run: give it to [`super::run`] and keep a reference. Good for one run.
#[derive(Debug)]
pub struct Control {
    stop: AtomicBool,
    started: Instant,
    gauges: Mutex<Vec<Arc<CoreGauge>>>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

impl Control {
    /// A handle on a run that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self { stop: AtomicBool::new(false), started: Instant::now(), gauges: Mutex::default() }
    }

    /// Ends the run early: it stops sending within 20 ms, drains, and reports what it has.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether [`Control::stop`] was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Where the run stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: fn(&CoreGauge) -> &AtomicU64| {
            gauges.iter().map(|gauge| of(gauge).load(Ordering::Relaxed)).sum()
        };
        let phases = gauges.iter().map(|gauge| gauge.phase.load(Ordering::Relaxed));
        let phase = phases.min().unwrap_or_default();
        Snapshot {
            requests: sum(|gauge| &gauge.requests),
            errors: sum(|gauge| &gauge.errors),
            bytes: sum(|gauge| &gauge.bytes),
            connected: sum(|gauge| &gauge.connected),
            elapsed: Instant::now() - self.started,
            phase: Phase::ALL.get(usize::from(phase)).copied().unwrap_or(Phase::Done),
        }
    }

    /// Makes the gauges of a run on so many cores.
    pub(super) fn gauges(&self, cores: usize) -> Vec<Arc<CoreGauge>> {
        let made: Vec<_> = (0..cores).map(|_| Arc::new(CoreGauge::default())).collect();
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&made);
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sums_the_cores_and_shows_the_slowest_phase() {
        let control = Control::new();
        assert_eq!(control.snapshot().phase, Phase::Starting);
        let gauges = control.gauges(2);
        gauges[0].requests.store(3, Ordering::Relaxed);
        gauges[1].requests.store(4, Ordering::Relaxed);
        gauges[0].set_phase(Phase::Done);
        gauges[1].set_phase(Phase::Measuring);
        let snapshot = control.snapshot();
        assert_eq!((snapshot.requests, snapshot.phase), (7, Phase::Measuring));
        control.stop();
        assert!(control.is_stopped());
    }
}
