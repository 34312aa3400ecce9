//! When requests are due: fixed before the run, one sequence for all cores, each of which takes one of every n. No clock, nothing kept of what is past.
//!
//! Request `i` is due when the integral of the rate reaches `i`; with Poisson arrivals, when it reaches the sum of `i + 1` exponential draws, which makes it a
//! Poisson process whose intensity follows the rate (time change: Çınlar, Introduction to Stochastic Processes, 4.7).

use std::sync::Arc;
use std::time::Duration;

use super::stages::{Stages, count_before};
use crate::clock::Instant;
use crate::random::Random;

/// The highest rate of a stage, in requests a second over all cores.
pub const RATE_MAX: f64 = 1e9;
/// The same of Poisson arrivals, each of which is drawn on every core: in a tenth of the time, or two.
pub const POISSON_RATE_MAX: f64 = 1e7;
/// Most stages of a schedule.
pub const STAGES_MAX: usize = 1024;
/// Most requests of a recorded schedule: 8 bytes each.
pub const RECORDED_MAX: usize = 1 << 27;

/// Poisson arrivals that are drawn to tell when so many have been due: in a tenth of a second. Of more the mean is off by less than one in a thousand.
const DRAWN_MAX: u64 = 10_000_000;

/// When requests are due.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// When a connection has room: a closed loop, whose rate the server sets.
    Closed,
    /// At times of their own, whatever the server does: an open loop.
    Open {
        /// One after the other. Not empty.
        stages: Vec<Stage>,
        /// How requests are spread within them.
        spacing: Spacing,
    },
    /// At these times from the start, in nanoseconds and in order: a recording's.
    Recorded(Arc<[u64]>),
}

/// A length of time in which the rate goes evenly from one value to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// How long it takes; zero for a step.
    pub length: Duration,
    /// Requests a second at its start, 0 to [`RATE_MAX`].
    pub from: f64,
    /// Requests a second at its end.
    pub to: f64,
}

impl Stage {
    /// Requests of the whole stage.
    pub(super) fn requests(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length.as_secs_f64()
    }

    /// Seconds from its start until `count` requests are due in it; less than [`Stage::requests`]. Never longer than the stage.
    pub(super) fn seconds_until(&self, count: f64) -> f64 {
        // The quotient below has no value at the foot of a ramp from zero.
        if count <= 0.0 {
            return 0.0;
        }
        let length = self.length.as_secs_f64();
        let growth = (self.to - self.from) / length;
        // The stable form of the quadratic's root: no difference of near numbers.
        let root = (self.from * self.from + 2.0 * growth * count).max(0.0).sqrt();
        (2.0 * count / (self.from + root)).min(length)
    }
}

/// How requests are spread at a given rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly.
    Constant,
    /// As independent clients would: exponential gaps, drawn from this seed.
    Poisson {
        /// The same seed gives the same times.
        seed: u64,
    },
}

impl Arrival {
    /// A constant rate for so long.
    #[must_use]
    pub fn at_rate(per_second: f64, length: Duration) -> Self {
        let stages = vec![Stage { length, from: per_second, to: per_second }];
        Self::Open { stages, spacing: Spacing::Constant }
    }

    /// What it is called in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { spacing: Spacing::Constant, .. } => "constant",
            Self::Open { spacing: Spacing::Poisson { .. }, .. } => "poisson",
            Self::Recorded(_) => "recorded",
        }
    }

    /// How long it goes on; `None` for as long as the run does.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        match self {
            Self::Closed => None,
            Self::Open { stages, .. } => {
                let lengths = stages.iter().map(|stage| stage.length);
                Some(lengths.fold(Duration::ZERO, Duration::saturating_add))
            }
            Self::Recorded(times) => {
                Some(Duration::from_nanos(times.last().map_or(0, |at| at.saturating_add(1))))
            }
        }
    }

    /// Requests a second on average over its first `seconds`; zero for a closed loop.
    #[must_use]
    pub fn mean_rate(&self, seconds: f64) -> f64 {
        if seconds <= 0.0 {
            return 0.0;
        }
        let requests = match self {
            Self::Closed => 0.0,
            // As it was asked for, to the last digit.
            Self::Open { stages, .. } if is_level(stages, seconds) => return stages[0].from,
            Self::Open { stages, .. } => requests_within(stages, seconds),
            Self::Recorded(times) => {
                times.partition_point(|at| (*at as f64) < seconds * 1e9) as f64
            }
        };
        requests / seconds
    }

    /// Requests a second that are asked for `elapsed` after the start; `None` where that means nothing.
    #[must_use]
    pub fn rate_at(&self, elapsed: Duration) -> Option<f64> {
        let Self::Open { stages, .. } = self else { return None };
        let mut left = elapsed;
        for stage in stages {
            if left < stage.length {
                let share = left.as_secs_f64() / stage.length.as_secs_f64();
                return Some(stage.from + (stage.to - stage.from) * share);
            }
            left -= stage.length;
        }
        Some(0.0)
    }

    /// Seconds from the start until so many requests have been due and one more is; `None` if there are no more. More than [`DRAWN_MAX`] Poisson arrivals are
    /// taken to be due when they are on average.
    pub(super) fn seconds_until(&self, requests: u64) -> Option<f64> {
        let nanos = match self {
            Self::Closed => None,
            Self::Open { stages, spacing } => {
                let spacing = if requests > DRAWN_MAX { Spacing::Constant } else { *spacing };
                Stages::new(stages, spacing).time_of(requests)
            }
            Self::Recorded(times) => times.get(requests as usize).copied(),
        };
        nanos.map(|nanos| nanos as f64 * 1e-9)
    }

    /// When the first stage without requests begins that is not over at `seconds`; `None` if there is none.
    pub(super) fn pause_after(&self, seconds: f64) -> Option<f64> {
        let Self::Open { stages, .. } = self else { return None };
        let mut start = 0.0;
        for stage in stages {
            if stage.requests() <= 0.0 && start >= seconds {
                return Some(start);
            }
            start += stage.length.as_secs_f64();
        }
        None
    }

    /// The schedule of a warm-up of this length: the rate with which this one begins, or of a ramp from zero the mean.
    pub(super) fn warm_up(&self, length: Duration) -> Self {
        match self {
            Self::Open { stages, spacing } => {
                let rate = stages
                    .iter()
                    .find(|stage| stage.requests() > 0.0)
                    .map_or(0.0, |it| if it.from > 0.0 { it.from } else { it.to / 2.0 });
                let stages = vec![Stage { length, from: rate, to: rate }];
                Self::Open { stages, spacing: *spacing }
            }
            Self::Closed => Self::Closed,
            Self::Recorded(_) => Self::Recorded(Arc::new([])),
        }
    }
}

/// Whether the rate is the same over the first `seconds`, within the first stage.
fn is_level(stages: &[Stage], seconds: f64) -> bool {
    let lasts = |stage: &Stage| stage.from == stage.to && seconds <= stage.length.as_secs_f64();
    stages.first().is_some_and(lasts)
}

pub(super) fn requests_within(stages: &[Stage], seconds: f64) -> f64 {
    let (mut left, mut requests) = (seconds, 0.0);
    for stage in stages {
        let length = stage.length.as_secs_f64();
        if left < length {
            let at = stage.from + (stage.to - stage.from) * left / length;
            return requests + (stage.from + at) / 2.0 * left;
        }
        requests += stage.requests();
        left -= length;
    }
    requests
}

/// One core's part of the sequence: one request of each *block*, which has as many as there are cores.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    times: Times,
    base: Instant,
    /// The block of the next request: how many came before it.
    block: u64,
    /// One more than the last number.
    end: u64,
    /// Which core, of how many.
    place: u64,
    cores: u64,
    /// Nothing is due from here on.
    until: Instant,
    due: Instant,
    /// When the last one was due that was taken.
    last: Instant,
}

/// A request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// Its number over all cores.
    pub(super) index: u64,
    /// When.
    pub(super) at: Instant,
}

#[derive(Debug, Clone)]
enum Times {
    Stages(Stages),
    Recorded(Arc<[u64]>),
}

impl Schedule {
    /// The part of core `place` of `cores`, from `base` on, up to `requests` requests over all cores. `None` for a closed loop.
    pub(super) fn new(
        arrival: &Arrival,
        base: Instant,
        (place, cores): (usize, usize),
        requests: u64,
    ) -> Option<Self> {
        let times = match arrival {
            Arrival::Closed => return None,
            Arrival::Open { stages, spacing } => Times::Stages(Stages::new(stages, *spacing)),
            Arrival::Recorded(times) => Times::Recorded(Arc::clone(times)),
        };
        let (place, cores) = (place as u64, cores as u64);
        let (until, due) = (Instant::NEVER, Instant::NEVER);
        let (block, end, last) = (0, requests, Instant::default());
        let mut schedule = Self { times, base, block, end, place, cores, until, due, last };
        schedule.find();
        Some(schedule)
    }

    /// One in which nothing is due.
    pub(super) fn empty() -> Self {
        let (times, base, until) =
            (Times::Recorded(Arc::new([])), Instant::default(), Instant::NEVER);
        let (due, last) = (Instant::NEVER, Instant::default());
        Self { times, base, block: 0, end: 0, place: 0, cores: 1, until, due, last }
    }

    /// When the next one is due; [`Instant::NEVER`] when there is none.
    #[inline]
    pub(super) fn next_due(&self) -> Instant {
        self.due
    }

    /// When the last one was due that was taken.
    pub(super) fn last_due(&self) -> Instant {
        self.last
    }

    /// Whether as many were due as may be, however long it could go on.
    pub(super) fn is_used_up(&self) -> bool {
        self.number_in(self.block) >= self.end
    }

    /// The next one, if it is due at `now`.
    #[inline]
    pub(super) fn peek(&self, now: Instant) -> Option<Due> {
        let is_due = self.due <= now && self.due != Instant::NEVER;
        is_due.then(|| Due { index: self.number_in(self.block), at: self.due })
    }

    /// Takes the next one, if it is due at `now`.
    #[inline]
    pub(super) fn take(&mut self, now: Instant) -> Option<Due> {
        let due = self.peek(now)?;
        self.last = due.at;
        self.block += 1;
        self.find();
        Some(due)
    }

    /// Takes all that are due before `until`, and returns how many. However many they are it takes no longer, but for the draws of Poisson arrivals.
    pub(super) fn skip(&mut self, until: Instant) -> u64 {
        let before = self.block;
        let until = until.min(self.until);
        match self.times.count_before(until.nanos_since(self.base)) {
            Some(count) => {
                let count = count.min(self.end);
                let whole = count / self.cores;
                let next = whole + u64::from(self.number_in(whole) < count);
                if self.due < until && next > self.block {
                    self.block = next - 1;
                    self.find();
                    let _ = self.take(self.due);
                }
            }
            None => while self.due < until && self.take(self.due).is_some() {},
        }
        self.block - before
    }

    /// The number of this core's request in a block. Cores change places from block to block, so that requests that come in turn, such as those of several URLs, are spread over all of them.
    fn number_in(&self, block: u64) -> u64 {
        let turn = if self.cores > 1 { Random::new(block).below(self.cores) } else { 0 };
        block * self.cores + (self.place + turn) % self.cores
    }

    /// Leaves out what is due at `until` or after it.
    pub(super) fn cut(&mut self, until: Instant) {
        self.until = until;
        if self.due >= until {
            self.due = Instant::NEVER;
        }
    }

    fn find(&mut self) {
        let index = self.number_in(self.block);
        let at = match &mut self.times {
            _ if index >= self.end => None,
            Times::Stages(stages) => stages.time_of(index),
            Times::Recorded(times) => times.get(index as usize).copied(),
        };
        let due = at.map(|nanos| self.base + Duration::from_nanos(nanos));
        self.due = due.filter(|due| *due < self.until).unwrap_or(Instant::NEVER);
    }
}

impl Times {
    /// Requests of all cores that are due before so many nanoseconds from the start; `None` where only drawing each would tell.
    fn count_before(&self, nanos: u64) -> Option<u64> {
        match self {
            Self::Stages(stages) if stages.are_drawn() => None,
            Self::Stages(stages) => Some(count_before(stages.all(), nanos)),
            Self::Recorded(times) => Some(times.partition_point(|at| *at < nanos) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Instant = Instant::from_nanos(1_000);

    fn times(arrival: &Arrival, cores: usize, requests: u64) -> Vec<(u64, f64)> {
        let mut all = Vec::new();
        for place in 0..cores {
            let mut schedule = Schedule::new(arrival, BASE, (place, cores), requests).unwrap();
            while let Some(due) = schedule.take(Instant::from_nanos(u64::MAX - 1)) {
                all.push((due.index, due.at.nanos_since(BASE) as f64 / 1e9));
            }
        }
        all.sort_by_key(|(index, _)| *index);
        all
    }

    fn open(stages: &[(u64, f64, f64)], spacing: Spacing) -> Arrival {
        let stage = |(seconds, from, to): &(u64, f64, f64)| Stage {
            length: Duration::from_secs(*seconds),
            from: *from,
            to: *to,
        };
        Arrival::Open { stages: stages.iter().map(stage).collect(), spacing }
    }

    #[test]
    fn a_constant_rate_is_even_whatever_the_cores() {
        let arrival = Arrival::at_rate(1_000.0, Duration::from_secs(3));
        for cores in [1, 2, 7] {
            let times = times(&arrival, cores, u64::MAX);
            assert_eq!(times.len(), 3_000);
            for (index, seconds) in times {
                assert!((seconds - index as f64 / 1e3).abs() < 2e-9, "{index} {seconds}");
            }
        }
        assert_eq!(times(&arrival, 2, 5).len(), 5);
    }

    #[test]
    fn a_ramp_holds_its_integral() {
        let arrival =
            open(&[(10, 0.0, 100.0), (2, 100.0, 100.0), (5, 50.0, 0.0)], Spacing::Constant);
        let times = times(&arrival, 3, u64::MAX);
        assert_eq!(times.len(), 500 + 200 + 125);
        // After half of the ramp a quarter of its requests are due.
        let half = times.iter().filter(|(_, seconds)| *seconds < 5.0).count();
        assert_eq!(half, 125);
        assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        assert!((times[500].1 - 10.0).abs() < 1e-6 && (times[700].1 - 12.0).abs() < 1e-6);
        assert!((arrival.mean_rate(17.0) - 825.0 / 17.0).abs() < 1e-9);
        let constant = Arrival::at_rate(1_000.1, Duration::from_secs(9));
        for millis in 1..2_000 {
            assert_eq!(constant.mean_rate(f64::from(millis) * 1.001e-3), 1_000.1, "{millis}");
        }
        assert_eq!(arrival.rate_at(Duration::from_secs(5)), Some(50.0));
        assert_eq!(arrival.rate_at(Duration::from_secs(99)), Some(0.0));
    }

    /// Where a whole number of requests comes before a ramp from zero, one is due at its very foot, and not at the start of the run.
    #[test]
    fn a_later_ramp_from_zero_begins_where_it_stands() {
        let check = |stages: &[(u64, f64, f64)], index: usize, at: f64| {
            let times = times(&open(stages, Spacing::Constant), 1, u64::MAX);
            assert!((times[index].1 - at).abs() < 1e-9, "{stages:?}: {:?}", times[index]);
        };
        check(&[(1, 10.0, 10.0), (1, 0.0, 0.0), (1, 0.0, 20.0)], 10, 2.0);
        check(&[(1, 100.0, 100.0), (2, 0.0, 0.0), (1, 0.0, 100.0)], 100, 3.0);
        check(&[(5, 100.0, 0.0), (5, 0.0, 100.0)], 250, 5.0);
        check(&[(5, 100.0, 0.0), (0, 7.0, 0.0), (5, 0.0, 100.0)], 250, 5.0);
        check(&[(0, 0.0, 100.0), (5, 0.0, 100.0)], 0, 0.0);
    }

    #[test]
    fn no_request_is_due_before_the_one_ahead_of_it_whatever_the_stages() {
        for seed in 0..300 {
            let random = &mut Random::new(seed);
            let rates = [0.0, 0.1, 1.0, 33.3, 100.0];
            let mut rate = || rates[random.below(5) as usize];
            let ends: Vec<(f64, f64)> = (0..9).map(|_| (rate(), rate())).collect();
            let stages: Vec<_> =
                ends.iter().map(|(from, to)| (random.below(4), *from, *to)).collect();
            for spacing in [Spacing::Constant, Spacing::Poisson { seed }] {
                let times = times(&open(&stages, spacing), 1, u64::MAX);
                let ordered = times.windows(2).all(|pair| pair[0].1 <= pair[1].1);
                assert!(ordered, "seed {seed}: {stages:?} {times:?}");
                // Each is due while the schedule has a rate, or begins to.
                let arrival = open(&stages, spacing);
                for (_, at) in times {
                    let after = Duration::from_secs_f64(at) + Duration::from_micros(1);
                    let rate = arrival.rate_at(after).unwrap();
                    // Stages are whole seconds.
                    let stops = after.subsec_micros() < 3;
                    assert!(rate > 0.0 || stops, "seed {seed}: {stages:?} {at}");
                }
            }
        }
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_exponentials() {
        let arrival = open(&[(100, 1_000.0, 1_000.0)], Spacing::Poisson { seed: 7 });
        let one = times(&arrival, 1, u64::MAX);
        assert_eq!(one, times(&arrival, 4, u64::MAX), "one sequence for all cores");
        let gaps: Vec<f64> = one.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation =
            (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!(
            (mean * 1e3 - 1.0).abs() < 0.02 && (deviation / mean - 1.0).abs() < 0.03,
            "{mean} {deviation}"
        );
    }

    #[test]
    fn a_recording_is_followed_to_its_end() {
        let arrival = Arrival::Recorded(Arc::new([0, 5, 5, 1_000_000_000]));
        let times = times(&arrival, 2, u64::MAX);
        assert_eq!(times, [(0, 0.0), (1, 5e-9), (2, 5e-9), (3, 1.0)]);
        assert!(Schedule::new(&Arrival::Closed, BASE, (0, 1), 1).is_none());
    }

    /// Skipping counts what taking one by one does, to any time, on each core.
    #[test]
    fn what_is_skipped_is_what_would_have_been_taken() {
        let recorded = Arrival::Recorded(Arc::new([0, 5, 5, 1_000_000_000, 7_000_000_000]));
        let stages = [(2, 0.0, 100.0), (1, 0.0, 0.0), (3, 33.3, 33.3), (1, 70.0, 0.0)];
        let poisson = open(&stages, Spacing::Poisson { seed: 3 });
        for arrival in [recorded, open(&stages, Spacing::Constant), poisson] {
            for (place, cores) in [(0, 1), (0, 2), (1, 2), (4, 7)] {
                for (millis, requests) in (0..9_000).step_by(37).zip([u64::MAX, 150].repeat(200)) {
                    let new = || {
                        let mut new = Schedule::new(&arrival, BASE, (place, cores), requests);
                        new.iter_mut().for_each(|new| new.cut(BASE + Duration::from_millis(6_700)));
                        new.unwrap()
                    };
                    let until = BASE + Duration::from_millis(millis);
                    let (mut taking, mut skipping) = (new(), new());
                    let taken = std::iter::from_fn(|| {
                        (taking.next_due() < until).then(|| taking.take(until))?
                    });
                    assert_eq!(taken.count() as u64, skipping.skip(until), "{arrival:?} {millis}");
                    let mut both = [&mut taking, &mut skipping].map(|it| it.take(it.next_due()));
                    assert_eq!(both[0].take(), both[1].take(), "{arrival:?} {millis}");
                }
            }
        }
    }

    #[test]
    fn requests_in_turn_are_spread_over_the_cores() {
        let arrival = Arrival::at_rate(1_000.0, Duration::from_secs(10));
        for (cores, period) in [(2, 2), (2, 4), (3, 3), (4, 2)] {
            let mut schedule = Schedule::new(&arrival, BASE, (1, cores), u64::MAX).unwrap();
            let mut of_kind = vec![0; period];
            while let Some(due) = schedule.take(schedule.next_due()) {
                of_kind[due.index as usize % period] += 1;
            }
            let fair = 10_000 / cores / period;
            let even = of_kind.iter().all(|count: &usize| count.abs_diff(fair) < fair / 4);
            assert!(even, "{cores} cores, {period} in turn: {of_kind:?}");
        }
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let arrival = Arrival::at_rate(10.0, Duration::from_secs(1));
        let mut schedule = Schedule::new(&arrival, BASE, (0, 1), u64::MAX).unwrap();
        assert_eq!(schedule.take(BASE), Some(Due { index: 0, at: BASE }));
        assert_eq!(schedule.take(BASE), None);
        assert_eq!(schedule.next_due(), BASE + Duration::from_millis(100));
        schedule.cut(BASE + Duration::from_millis(300));
        let rest = std::iter::from_fn(|| schedule.take(BASE + Duration::from_secs(1)));
        assert_eq!(rest.count(), 2);
    }
}
