//! One core's time line: what came in each slot of the measured time. Its size is bounded; no clock.

use std::time::Duration;

use super::histogram::Coarse;
use super::report::Slot;
use crate::clock::Instant;

/// Slots of a time line are fewer than this; with as many, two become one, and slots are twice as long from then on.
pub const TIMELINE_SLOTS_MAX: usize = 3600;
/// The length of a slot at first.
pub const SLOT: Duration = Duration::from_secs(1);

/// What has been counted since measuring began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) offered: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) bytes: u64,
}

/// The slots so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    slots: Vec<CoreSlot>,
    /// Zero before measuring begins.
    length: Duration,
    /// When the current slot ends.
    end: Instant,
    totals: Totals,
    response_time: Coarse,
}

#[derive(Debug, Clone)]
struct CoreSlot {
    totals: Totals,
    response_time: Coarse,
}

impl CoreSlot {
    fn add(&mut self, other: &Self) {
        self.totals.offered += other.totals.offered;
        self.totals.requests += other.totals.requests;
        self.totals.errors += other.totals.errors;
        self.totals.bytes += other.totals.bytes;
        self.response_time.add_all(&other.response_time);
    }
}

impl Timeline {
    /// Begins at `from`.
    pub(super) fn begin(&mut self, from: Instant) {
        *self = Self { length: SLOT, end: from + SLOT, ..Self::default() };
    }

    /// Whether the current slot is over at `now`.
    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.end && !self.length.is_zero()
    }

    /// When the current slot ends.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// Ends the current slot, and begins the next.
    pub(super) fn roll(&mut self, totals: Totals, response_time: &Coarse) {
        self.push(totals, response_time);
        self.end = self.end + self.length;
    }

    /// Ends the last slot.
    pub(super) fn finish(&mut self, totals: Totals, response_time: &Coarse) {
        if self.length > Duration::ZERO {
            self.push(totals, response_time);
            self.end = Instant::NEVER;
        }
    }

    /// Invariant: no count of `totals` is lower than it was before.
    fn push(&mut self, totals: Totals, response_time: &Coarse) {
        let before = std::mem::replace(&mut self.totals, totals);
        debug_assert!(totals.offered >= before.offered, "{totals:?} after {before:?}");
        let slot = CoreSlot {
            totals: Totals {
                offered: totals.offered.saturating_sub(before.offered),
                requests: totals.requests.saturating_sub(before.requests),
                errors: totals.errors.saturating_sub(before.errors),
                bytes: totals.bytes.saturating_sub(before.bytes),
            },
            response_time: response_time.since(&self.response_time),
        };
        self.response_time = response_time.clone();
        self.slots.push(slot);
        if self.slots.len() == TIMELINE_SLOTS_MAX {
            self.halve();
        }
    }

    /// Two slots become one. An odd one at the end becomes one of its own, of which the second half is not there yet, or never will be.
    fn halve(&mut self) {
        for place in 0..self.slots.len().div_ceil(2) {
            let mut pair = self.slots[2 * place].clone();
            if let Some(second) = self.slots.get(2 * place + 1) {
                pair.add(second);
            }
            self.slots[place] = pair;
        }
        self.slots.truncate(self.slots.len().div_ceil(2));
        self.length *= 2;
    }

    /// All cores' slots as one time line of `seconds`.
    pub(super) fn merge(cores: &[&Self], seconds: f64) -> Vec<Slot> {
        let length = cores.iter().map(|core| core.length).max().unwrap_or_default();
        let mut sum: Vec<CoreSlot> = Vec::new();
        for core in cores {
            let mut core = (*core).clone();
            while core.length < length && !core.length.is_zero() {
                core.halve();
            }
            for (place, slot) in core.slots.iter().enumerate() {
                match sum.get_mut(place) {
                    Some(all) => all.add(slot),
                    None => sum.push(slot.clone()),
                }
            }
        }
        fold_drain(&mut sum, length, seconds);
        let shown = |(place, slot): (usize, &CoreSlot)| slot.shown(place, length, seconds);
        sum.iter().enumerate().map(shown).collect()
    }
}

/// What came after the end belongs to the last slot before it.
fn fold_drain(slots: &mut Vec<CoreSlot>, length: Duration, seconds: f64) {
    let inside = (seconds / length.as_secs_f64()).ceil().max(1.0) as usize;
    for late in slots.split_off(inside.min(slots.len())) {
        if let Some(last) = slots.last_mut() {
            last.add(&late);
        }
    }
}

impl CoreSlot {
    fn shown(&self, place: usize, length: Duration, seconds: f64) -> Slot {
        let start = place as f64 * length.as_secs_f64();
        Slot {
            start,
            seconds: length.as_secs_f64().min((seconds - start).max(0.0)),
            offered: self.totals.offered,
            requests: self.totals.requests,
            errors: self.totals.errors,
            bytes: self.totals.bytes,
            p50: self.response_time.quantile_us(0.5),
            p99: self.response_time.quantile_us(0.99),
            max: self.response_time.quantile_us(1.0),
            buckets: self.response_time.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u64) -> Totals {
        Totals { requests, offered: requests, ..Totals::default() }
    }

    #[test]
    fn slots_hold_what_came_in_them_and_add_up() {
        let from = Instant::from_nanos(0);
        let at = |millis| from + Duration::from_millis(millis);
        let (mut timeline, mut times) = (Timeline::default(), Coarse::default());
        assert!(!timeline.is_due(at(5_000)) || timeline.slots.is_empty());
        timeline.begin(from);
        times.record(1_000_000);
        assert!(!timeline.is_due(at(999)) && timeline.is_due(at(1_000)));
        timeline.roll(totals(7), &times);
        timeline.roll(totals(9), &times);
        timeline.roll(totals(9), &times);
        assert_eq!(timeline.end(), at(4_000));
        timeline.finish(totals(10), &times);
        let slots = Timeline::merge(&[&timeline, &timeline.clone()], 3.5);
        let requests: Vec<u64> = slots.iter().map(|slot| slot.requests).collect();
        assert_eq!(requests, [14, 4, 0, 2]);
        let shorter = Timeline::merge(&[&timeline], 2.9);
        assert_eq!(shorter.last().map(|slot| slot.requests), Some(1));
        assert!((slots[0].p50 / 1e3 - 1.0).abs() < 0.04 && slots[1].p50 == 0.0);
        assert!((slots[3].start - 3.0).abs() < 1e-9 && (slots[3].seconds - 0.5).abs() < 1e-9);
    }

    /// A core's time line of so many seconds in which 100 requests ended each.
    fn steady(seconds: u64) -> Timeline {
        let (mut timeline, times) = (Timeline::default(), Coarse::default());
        timeline.begin(Instant::from_nanos(0));
        for second in 1..=seconds {
            if timeline.is_due(Instant::from_nanos(second * 1_000_000_000)) {
                timeline.roll(totals(100 * second), &times);
            }
            assert!(timeline.slots.len() < TIMELINE_SLOTS_MAX);
        }
        timeline.finish(totals(100 * seconds), &times);
        timeline
    }

    #[test]
    fn a_long_run_has_longer_slots_and_no_more_of_them() {
        for seconds in [3_599, 3_600, 3_601, 7_199, 7_200, 7_201, 7_204, 10_799, 14_400, 20_003] {
            let slots = Timeline::merge(&[&steady(seconds)], seconds as f64);
            assert!(slots.len() <= TIMELINE_SLOTS_MAX, "{}", slots.len());
            assert_eq!(slots.iter().map(|slot| slot.requests).sum::<u64>(), 100 * seconds);
            for slot in slots {
                let rate = slot.requests as f64 / slot.seconds;
                assert!((rate - 100.0).abs() < 1e-6, "{seconds} s: {rate} at {} s", slot.start);
            }
        }
    }

    /// One core has longer slots than another, which may end with one that has no second half.
    #[test]
    fn cores_that_end_at_different_times_lose_nothing() {
        for (long, short) in [(3_605, 3_598), (3_605, 3_597), (7_300, 3_599), (7_300, 1_001)] {
            let cores = [steady(long), steady(short)];
            let slots = Timeline::merge(&[&cores[0], &cores[1]], long as f64);
            let requests = slots.iter().map(|slot| slot.requests).sum::<u64>();
            assert_eq!(requests, 100 * (long + short), "{long} {short}");
            let whole = slots.iter().filter(|slot| slot.start + slot.seconds <= short as f64);
            for slot in whole {
                assert!((slot.requests as f64 / slot.seconds - 200.0).abs() < 1e-6, "{slot:?}");
            }
        }
    }
}
