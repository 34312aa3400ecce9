//! What the snapshots of a run add up to: the last seconds, the whole run, a time line. Bounded, however long the run.

use std::collections::VecDeque;
use std::time::Duration;

use ringshot::load::{Arrival, Coarse, Phase, Snapshot};

use crate::tally::Tally;

/// How far back "the last seconds" go.
pub(super) const RECENT: Duration = Duration::from_secs(2);
/// Slots of the time line; when it is full, each two become one.
const SLOTS_MAX: usize = 128;
/// Length of the first slots: one tick.
const SLOT_SECONDS: f64 = 0.2;

/// The run so far.
#[derive(Debug)]
pub(super) struct History {
    /// The last of [`RECENT`], oldest first; never empty.
    recent: VecDeque<Snapshot>,
    whole: Tally,
    slots: Vec<Slot>,
    slot_seconds: f64,
}

/// A slice of the measured time.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    seconds: f64,
    requests: u64,
    /// Requests that were asked for.
    asked: f64,
    times: Coarse,
}

/// What came in the last seconds.
#[derive(Debug)]
pub(super) struct Recent {
    /// Requests completed with a response, a second.
    pub(super) rate: f64,
    pub(super) errors: u64,
    pub(super) times: Coarse,
    pub(super) cores: Vec<RecentCore>,
}

/// One core in the last seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecentCore {
    /// Share of the time on the CPU, 0 to 1.
    pub(super) busy: f64,
    /// Requests a second.
    pub(super) rate: f64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            recent: VecDeque::from([Snapshot::at(Phase::Starting)]),
            whole: Tally::default(),
            slots: Vec::new(),
            slot_seconds: SLOT_SECONDS,
        }
    }
}

impl History {
    /// Takes in where the run is now.
    pub(super) fn push(&mut self, now: &Snapshot, arrival: &Arrival) {
        let before = self.now();
        let seconds = now.measured.saturating_sub(before.measured).as_secs_f64();
        if seconds > 0.0 && now.phase == Phase::Measuring {
            let slot = Slot {
                seconds,
                requests: now.requests.saturating_sub(before.requests),
                asked: arrival.rate_at(now.measured).unwrap_or_default() * seconds,
                times: now.response_time.since(&before.response_time),
            };
            self.add_slot(slot);
        }
        self.whole.follow(&now.response_time);
        self.recent.push_back(now.clone());
        let from = now.elapsed.saturating_sub(RECENT);
        while self.recent.len() > 2 && self.recent[1].elapsed <= from {
            self.recent.pop_front();
        }
    }

    /// Where the run was last seen.
    pub(super) fn now(&self) -> &Snapshot {
        &self.recent[self.recent.len() - 1]
    }

    pub(super) fn whole(&self) -> &Tally {
        &self.whole
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn recent(&self) -> Recent {
        let (then, now) = (&self.recent[0], self.now());
        let per_second = |count: u64, seconds: f64| {
            if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
        };
        let measured = now.measured.saturating_sub(then.measured).as_secs_f64();
        let elapsed = now.elapsed.saturating_sub(then.elapsed).as_secs_f64();
        let core = |(place, core): (usize, &ringshot::load::CoreSnapshot)| {
            let before = then.cores.get(place).copied().unwrap_or_default();
            let cpu = core.cpu.saturating_sub(before.cpu).as_secs_f64();
            RecentCore {
                // Cores publish their CPU time a tenth of a second late, by turns more and less.
                busy: if elapsed > 0.0 { (cpu / elapsed).min(1.0) } else { 0.0 },
                rate: per_second(core.requests.saturating_sub(before.requests), measured),
            }
        };
        Recent {
            rate: per_second(now.requests.saturating_sub(then.requests), measured),
            errors: now.errors.saturating_sub(then.errors),
            times: now.response_time.since(&then.response_time),
            cores: now.cores.iter().enumerate().map(core).collect(),
        }
    }

    fn add_slot(&mut self, slot: Slot) {
        match self.slots.last_mut() {
            Some(last) if last.seconds + slot.seconds / 2.0 < self.slot_seconds => last.join(&slot),
            _ => self.slots.push(slot),
        }
        if self.slots.len() >= SLOTS_MAX {
            self.halve();
        }
    }

    fn halve(&mut self) {
        for at in 0..self.slots.len() / 2 {
            let second = std::mem::take(&mut self.slots[2 * at + 1]);
            self.slots[2 * at].join(&second);
            self.slots.swap(at, 2 * at);
        }
        self.slots.truncate(SLOTS_MAX / 2);
        self.slot_seconds *= 2.0;
    }
}

impl Slot {
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Requests completed with a response, a second.
    pub(super) fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Requests a second that were asked for; zero in a closed loop.
    pub(super) fn target(&self) -> f64 {
        self.asked / self.seconds
    }

    /// In microseconds; `None` if nothing ended in it.
    pub(super) fn p99_us(&self) -> Option<f64> {
        (!self.times.is_empty()).then(|| self.times.quantile_us(0.99))
    }

    fn join(&mut self, next: &Self) {
        self.seconds += next.seconds;
        self.requests += next.requests;
        self.asked += next.asked;
        for (bucket, count) in next.times.counts().iter().enumerate() {
            self.times.add(bucket, *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample::{facts, snapshot};

    fn history(ticks: u32) -> History {
        let mut history = History::default();
        let arrival = facts(2).arrival;
        (1..=ticks)
            .for_each(|tick| history.push(&snapshot(f64::from(tick) * SLOT_SECONDS), &arrival));
        history
    }

    #[test]
    fn the_last_seconds_forget_the_rest() {
        let history = history(40);
        let recent = history.recent();
        assert!((recent.rate - 50_000.0).abs() < 1.0, "{recent:?}");
        assert_eq!((recent.errors, history.now().errors), (0, 3));
        assert!((recent.times.len() as f64 - 100_000.0).abs() < 10.0, "{}", recent.times.len());
        let busy: Vec<f64> = recent.cores.iter().map(|core| core.busy).collect();
        assert!((busy[0] - 0.5).abs() < 1e-6 && (busy[1] - 1.0).abs() < 1e-6, "{busy:?}");
        assert_eq!(history.whole().len(), history.now().response_time.len());
        assert!(history.recent.len() <= 12);
    }

    #[test]
    fn the_time_line_is_bounded_and_loses_nothing() {
        for ticks in [1, 127, 128, 129, 1_000, 10_000] {
            let history = history(ticks);
            let slots = history.slots();
            assert!(slots.len() < SLOTS_MAX, "{ticks}");
            let requests: u64 = slots.iter().map(|slot| slot.requests).sum();
            assert_eq!(requests, history.now().requests, "{ticks}");
            let seconds: f64 = slots.iter().map(|slot| slot.seconds).sum();
            assert!((seconds - f64::from(ticks) * SLOT_SECONDS).abs() < 1e-3, "{ticks}");
            assert!(slots.iter().all(|slot| (slot.rate() - 50_000.0).abs() < 10.0), "{ticks}");
        }
    }

    #[test]
    fn nothing_is_nothing() {
        let history = History::default();
        assert!(history.slots().is_empty() && history.recent().cores.is_empty());
        assert!(history.recent().rate.abs() < f64::EPSILON);
    }
}
