//! What a batch came to, in figures. Each core counts for itself; the counts are added at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::response::Fetched;
use crate::error::Error;

/// The longest latency that is told apart.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// What a batch came to.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # let urls: Vec<_> = (0..20).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
/// let summary = block_on(client.batch(urls).for_each(|_core, _done| {}));
/// assert_eq!((summary.ok, summary.failed(), summary.bytes), (20, 0, (0..20).sum()));
/// assert!(summary.latency.p50 <= summary.latency.max && summary.latency.max <= summary.elapsed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Inputs that ended in a response, whatever its status.
    pub ok: u64,
    /// Inputs that ended in an error, by [`Kind::name`](crate::client::Kind::name).
    pub errors: BTreeMap<&'static str, u64>,
    /// Times that a request was sent again, redirects not included.
    pub retried: u64,
    /// Body bytes of all responses.
    pub bytes: u64,
    /// From the start of the batch to its end.
    pub elapsed: Duration,
    /// Whether the engine was shut down before the inputs had come to their end: of those that were not pulled nothing more is known.
    pub cut_short: bool,
    /// How long the responses took, each from its submission to the end of its body.
    pub latency: Latency,
}

impl Summary {
    /// Inputs that ended in an error.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ok, {} failed", self.ok, self.failed())?;
        for (place, (kind, count)) in self.errors.iter().enumerate() {
            write!(f, "{}{count} {kind}", if place == 0 { " (" } else { ", " })?;
        }
        f.write_str(if self.errors.is_empty() { "" } else { ")" })?;
        let Latency { p50, p99, max, .. } = self.latency;
        write!(f, ", {} bytes in {:.3?}: p50 {p50:.1?}", self.bytes, self.elapsed)?;
        write!(f, ", p99 {p99:.1?}, max {max:.1?}")?;
        f.write_str(if self.cut_short { "; cut short by the engine's end" } else { "" })
    }
}

/// Quantiles of latencies, within 0.1%, in whole microseconds. All zero where nothing was measured.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let urls = (0..100).map(|_| origin.url("/")).collect::<Vec<_>>();
/// let latency = block_on(client.batch(urls).for_each(|_core, _done| {})).latency;
/// assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.max);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Latency {
    /// Half of them were shorter.
    pub p50: Duration,
    /// 90% of them were shorter.
    pub p90: Duration,
    /// 99% of them were shorter.
    pub p99: Duration,
    /// 99.9% of them were shorter.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latency {
    fn of(histogram: &Histogram<u32>) -> Self {
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(histogram.max()),
        }
    }
}

/// What counts of one result.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Ok { bytes: u64, attempts: u8, took: Option<Duration> },
    Failed { kind: &'static str, attempts: u8 },
}

impl Outcome {
    pub(super) fn of(result: &Result<Fetched, Error>) -> Self {
        match result {
            Ok(fetched) => Self::Ok {
                bytes: fetched.bytes().len() as u64,
                attempts: fetched.attempts(),
                took: fetched.timings().done,
            },
            Err(error) => Self::Failed { kind: error.kind().name(), attempts: error.attempt() },
        }
    }

    /// The closure that consumed it panicked.
    pub(super) fn panicked(self) -> Self {
        let (Self::Ok { attempts, .. } | Self::Failed { attempts, .. }) = self;
        Self::Failed { kind: "user", attempts }
    }

    pub(super) fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// One core's counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sums: Summary,
    /// Made with the first response: it takes 100 KB.
    latency: Option<Box<Histogram<u32>>>,
}

impl Tally {
    pub(super) fn record(&mut self, outcome: Outcome) {
        let (Outcome::Ok { attempts, .. } | Outcome::Failed { attempts, .. }) = outcome;
        self.sums.retried += u64::from(attempts.saturating_sub(1));
        match outcome {
            Outcome::Failed { kind, .. } => *self.sums.errors.entry(kind).or_default() += 1,
            Outcome::Ok { bytes, took, .. } => {
                self.sums.ok += 1;
                self.sums.bytes += bytes;
                took.into_iter().for_each(|took| self.note(took));
            }
        }
    }

    fn note(&mut self, took: Duration) {
        if self.latency.is_none() {
            // The bounds are right: with 3 digits and a maximum above 2 there is a histogram.
            let histogram = Histogram::new_with_bounds(1, LATENCY_MAX.as_micros() as u64, 3);
            self.latency = histogram.ok().map(Box::new);
        }
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(took.as_micros() as u64);
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.sums.ok += other.sums.ok;
        self.sums.retried += other.sums.retried;
        self.sums.bytes += other.sums.bytes;
        for (kind, count) in other.sums.errors {
            *self.sums.errors.entry(kind).or_default() += count;
        }
        match (&mut self.latency, other.latency) {
            // It can't fail between histograms of the same bounds.
            (Some(own), Some(other)) => drop(own.add(&*other)),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    pub(super) fn summary(&self, elapsed: Duration) -> Summary {
        let latency = self.latency.as_deref().map(Latency::of).unwrap_or_default();
        Summary { elapsed, latency, ..self.sums.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_cores_add_up() {
        let mut all = Tally::default();
        for core in 0..2 {
            let mut tally = Tally::default();
            for millis in 1..=500 {
                let took = Some(Duration::from_millis(500 * core + millis));
                tally.record(Outcome::Ok { bytes: 10, attempts: 1, took });
            }
            tally.record(Outcome::Failed { kind: "closed", attempts: 3 });
            all.add(tally);
        }
        let summary = all.summary(Duration::from_secs(1));
        assert_eq!((summary.ok, summary.bytes, summary.retried), (1000, 10_000, 4));
        assert_eq!((summary.failed(), summary.errors["closed"]), (2, 2));
        let within = |value: Duration, millis: f64| {
            assert!((value.as_secs_f64() * 1e3 / millis - 1.0).abs() < 0.002, "{value:?} {millis}");
        };
        within(summary.latency.p50, 500.0);
        within(summary.latency.p999, 999.0);
        within(summary.latency.max, 1000.0);
        let line = summary.to_string();
        assert!(line.starts_with("1000 ok, 2 failed (2 closed), 10000 bytes in 1"), "{line}");
        assert_eq!(Tally::default().summary(Duration::ZERO), Summary::default());
    }
}
