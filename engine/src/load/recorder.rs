//! Latencies and outcomes of one core. Each request is recorded once; nothing is sampled, dropped or invented.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::report::{Latency, StatusCounts};
use crate::shard::Failure;

/// The longest latency that is told apart: longer ones are recorded as this and counted as saturated.
pub const LATENCY_MAX: Duration = Duration::from_secs(60);
const LATENCY_MAX_NANOS: u64 = 60_000_000_000;
/// Decimal digits that a recorded value keeps (HdrHistogram).
const DIGITS: u8 = 3;

/// What one core, or several merged, recorded.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Latencies in nanoseconds, from 1 ns, so that three digits hold at 1 us too.
    latency: Histogram<u64>,
    saturated: u64,
    status: [u64; 5],
    failures: BTreeMap<String, Tally>,
}

/// How often a failure came, and how its first one read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tally {
    count: u64,
    example: String,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// An empty recorder. Takes about 220 KiB.
    #[must_use]
    pub fn new() -> Self {
        let Ok(latency) = Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, DIGITS) else {
            unreachable!("the bounds are constants that the histogram accepts: a test makes one")
        };
        Self { latency, saturated: 0, status: [0; 5], failures: BTreeMap::new() }
    }

    /// Records a response: its status class, and its latency in nanoseconds.
    #[inline]
    pub fn record(&mut self, status: u16, nanos: u64) {
        // Classes 2 to 5 have places 0 to 3; what is left goes to the last.
        let class = (usize::from(status / 100)).wrapping_sub(2).min(4);
        self.status[class] += 1;
        if nanos > LATENCY_MAX_NANOS {
            self.saturated += 1;
        }
        self.latency.saturating_record(nanos.min(LATENCY_MAX_NANOS));
    }

    /// Counts a failure, and keeps how the first of its kind reads.
    pub fn record_failure(&mut self, failure: &Failure) {
        let kind = failure.kind();
        let known = self.failures.get_mut(kind.as_ref());
        match known {
            Some(tally) => tally.count += 1,
            None => {
                let tally = Tally { count: 1, example: failure.to_string() };
                self.failures.insert(kind.into_owned(), tally);
            }
        }
    }

    /// Adds what another core recorded.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be out of range.
        let added = self.latency.add(&other.latency);
        debug_assert!(added.is_ok(), "histograms of one shape");
        self.saturated += other.saturated;
        for (mine, theirs) in self.status.iter_mut().zip(other.status) {
            *mine += theirs;
        }
        for (kind, theirs) in &other.failures {
            let tally = self.failures.entry(kind.clone());
            tally.and_modify(|mine| mine.count += theirs.count).or_insert_with(|| theirs.clone());
        }
    }

    /// Responses recorded.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.status.iter().sum()
    }

    /// Failures recorded, cancelled requests apart.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.failures.values().map(|tally| tally.count).sum::<u64>() - self.cancelled()
    }

    /// Requests that were cancelled.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        self.failures.get(Failure::CANCELLED).map_or(0, |tally| tally.count)
    }

    /// Responses by class.
    #[must_use]
    pub fn status(&self) -> StatusCounts {
        let [success, redirect, client_error, server_error, other] = self.status;
        StatusCounts { success, redirect, client_error, server_error, other }
    }

    /// Every outcome that occurred, with its count.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        let classes = ["2xx", "3xx", "4xx", "5xx", "other"].into_iter().zip(self.status);
        let responses = classes.filter(|(_, count)| *count > 0);
        let failures = self.failures.iter().map(|(kind, tally)| (kind.clone(), tally.count));
        responses.map(|(class, count)| (class.to_owned(), count)).chain(failures).collect()
    }

    /// The first example of each kind of failure.
    #[must_use]
    pub fn examples(&self) -> BTreeMap<String, String> {
        let tallies = self.failures.iter();
        tallies.map(|(kind, tally)| (kind.clone(), tally.example.clone())).collect()
    }

    /// The latencies' percentiles.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile: f64| micros(self.latency.value_at_quantile(quantile));
        if self.latency.is_empty() {
            return Latency::default();
        }
        Latency {
            mean: self.latency.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: micros(self.latency.max()),
            samples: self.latency.len(),
            saturated: self.saturated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Errno;

    #[test]
    fn percentiles_keep_three_digits_from_a_microsecond_to_a_minute() {
        let mut recorder = Recorder::new();
        assert_eq!(recorder.latency(), Latency::default());
        for micros in 1..=1000 {
            recorder.record(200, micros * 1000);
        }
        let latency = recorder.latency();
        for (value, truth) in [(latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1000.0)] {
            assert!((value - truth).abs() <= truth * 0.001, "{value} for {truth}");
        }
        assert!((latency.mean - 500.5).abs() < 0.5 && latency.samples == 1000);
        for micros in [1.0, 1.5, 60e6] {
            let mut one = Recorder::new();
            one.record(200, (micros * 1e3) as u64);
            assert!((one.latency().p50 - micros).abs() <= micros * 0.001, "{micros}");
        }
    }

    #[test]
    fn beyond_a_minute_is_recorded_as_a_minute_and_says_so() {
        let mut recorder = Recorder::new();
        recorder.record(200, 61_000_000_000);
        recorder.record(200, u64::MAX);
        let latency = recorder.latency();
        assert_eq!((latency.saturated, latency.samples), (2, 2));
        assert!((latency.p50 - 60e6).abs() < 60e6 * 0.001, "{latency:?}");
    }

    #[test]
    fn each_outcome_is_counted_once_and_merged() {
        let mut recorder = Recorder::new();
        for status in [200, 204, 301, 404, 500, 599, 700, 199] {
            recorder.record(status, 1000);
        }
        let refused = Failure::Connect(Errno(libc::ECONNREFUSED));
        recorder.record_failure(&refused);
        recorder.record_failure(&Failure::Cancelled);
        let mut sum = Recorder::new();
        sum.merge(&recorder);
        sum.merge(&recorder);
        assert_eq!((sum.responses(), sum.errors(), sum.cancelled()), (16, 2, 2));
        let expected = [
            ("2xx", 4),
            ("3xx", 2),
            ("4xx", 2),
            ("5xx", 4),
            ("cancelled", 2),
            ("connect", 2),
            ("other", 4),
        ];
        assert_eq!(sum.outcomes(), expected.map(|(kind, count)| (kind.to_owned(), count)).into());
        assert!(sum.examples()["connect"].contains("ECONNREFUSED"), "{:?}", sum.examples());
        let status = sum.status();
        assert_eq!((status.success, status.other), (4, 4));
    }
}
