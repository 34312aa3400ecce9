//! One side of a comparison: its rounds, and the figures that stand for them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::details::StageReport;
use super::super::histogram::Histogram;
use super::super::report::{Histograms, Report, Slot};
use super::super::statistics;
use super::super::status::StatusCounts;
use super::super::times;

/// One contestant's name and its rounds.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its rounds, in the order in which they ran.
    pub reports: &'a [Report],
}

/// One figure of a report.
pub(super) type Figure = fn(&Report) -> f64;

/// One contestant: the figures of a run, each the median over its rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contestant {
    /// What it is called in the ratios.
    pub name: String,
    /// The driver that ran.
    pub driver: String,
    /// The host that ran.
    pub host: String,
    /// When requests were due: `closed`, `constant`, `poisson` or `recorded`.
    pub arrival: String,
    /// Requests a second that its schedule asked for; zero in a closed loop.
    pub target_per_second: f64,
    /// Its schedule's stages: see [`Report::stages`].
    pub stages: Option<Vec<StageReport>>,
    /// How late a request might leave, in microseconds: see [`Report::slack_us`].
    pub slack_us: Option<f64>,
    /// How long before a request was due its core watched the clock, in microseconds: see [`Report::spin_us`].
    pub spin_us: Option<f64>,
    /// Whether the verdicts of all its rounds, or of the saved result, say that the figures can be taken for the server's: see [`Verdict::valid`](crate::load::Verdict::valid).
    pub valid: bool,
    /// Median of the requests completed in a round.
    pub requests: f64,
    /// Median of the errors of a round; see `errors_total`, which a rare error does not escape.
    pub errors: f64,
    /// Requests completed in all rounds.
    pub requests_total: u64,
    /// Errors of all rounds.
    pub errors_total: u64,
    /// Requests of all rounds that were sent and not answered when their round was over.
    pub cancelled_total: u64,
    /// Requests of all rounds that were due and never sent.
    pub shed_total: u64,
    /// Median length of a round's measured time, in seconds.
    pub seconds: f64,
    /// Median of requests a second.
    pub requests_per_second: f64,
    /// Median of successes (2xx and 3xx) a second, by which speeds are judged.
    pub successes_per_second: f64,
    /// Median of bytes received a second.
    pub bytes_per_second: f64,
    /// Median of the client's CPU time a request, in microseconds.
    pub cpu_us_per_request: f64,
    /// Its user part, a median of its own.
    pub cpu_user_us_per_request: f64,
    /// Its system part, a median of its own.
    pub cpu_system_us_per_request: f64,
    /// Median of each percentile.
    pub latency_us: MedianLatency,
    /// The share of samples of `latency_us`, 0 to 1, from which on its percentiles are lower bounds: the least of the rounds'. See [`Report::exact_below`].
    pub exact_below: f64,
    /// Completed requests by status class, over all rounds.
    pub status: StatusCounts,
    /// Requests by outcome, over all rounds.
    pub outcomes: BTreeMap<String, u64>,
    /// The first example of each kind of error.
    pub error_examples: BTreeMap<String, String>,
    /// Median of system calls a request.
    pub system_calls_per_request: f64,
    /// Median of completions a turn.
    pub completions_per_turn: f64,
    /// Median of the busiest core's share of the time on the CPU, 0 to 1.
    pub busy: f64,
    /// The largest resident set of the process after any of the rounds, in bytes.
    pub resident_bytes_max: u64,
    /// Spread of requests a second over the rounds.
    pub spread: Spread,
    /// The rounds, in the order in which they ran.
    pub rounds: Vec<Round>,
}

/// The latency of a contestant's rounds, in microseconds: medians over the rounds, but for `samples` and `saturated`, which are sums.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct MedianLatency {
    /// Of the means.
    pub mean: f64,
    /// Of the medians.
    pub p50: f64,
    /// Of the 90th percentiles.
    pub p90: f64,
    /// Of the 99th percentiles.
    pub p99: f64,
    /// Of the 99.9th percentiles.
    pub p99_9: f64,
    /// Of the 99.99th percentiles.
    pub p99_99: f64,
    /// Of the largest.
    pub max: f64,
    /// Samples of all rounds.
    pub samples: u64,
    /// Samples beyond the histogram, of all rounds.
    pub saturated: u64,
}

/// How far the rounds lie apart, in requests a second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spread {
    /// The slowest round.
    pub min: f64,
    /// The lower quartile.
    pub low_quartile: f64,
    /// The upper quartile.
    pub high_quartile: f64,
    /// The fastest round.
    pub max: f64,
}

/// The raw figures of one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Round {
    /// Requests completed with a response.
    pub requests: u64,
    /// Requests that ended without one.
    pub errors: u64,
    /// Measured time in seconds.
    pub seconds: f64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Bytes received a second.
    pub bytes_per_second: f64,
    /// CPU time of the client threads a request, in microseconds.
    pub cpu_us_per_request: f64,
    /// Half of the latencies are at or below this, in microseconds.
    pub p50: f64,
    /// The 99th percentile of the latency, in microseconds.
    pub p99: f64,
    /// System calls a request.
    pub system_calls_per_request: f64,
    /// Completions a turn.
    pub completions_per_turn: f64,
    /// The busiest core's share of the time on the CPU, 0 to 1.
    pub busy: f64,
}

impl Contestant {
    pub(super) fn new(series: Series<'_>) -> Self {
        let median = |figure: Figure| series.median(figure);
        let reports = series.reports;
        Self {
            name: series.name.to_owned(),
            driver: reports.first().map(|report| report.driver.clone()).unwrap_or_default(),
            host: reports.first().map(|report| report.host.clone()).unwrap_or_default(),
            arrival: reports.first().map(|report| report.arrival.clone()).unwrap_or_default(),
            target_per_second: reports.first().map_or(0.0, |report| report.target_per_second),
            stages: reports.first().and_then(|report| report.stages.clone()),
            slack_us: reports.first().map_or(Some(0.0), |report| report.slack_us),
            spin_us: reports.first().map_or(Some(0.0), |report| report.spin_us),
            valid: reports.iter().all(|report| report.verdict.valid),
            requests: median(|report| count(report.requests)),
            errors: median(|report| count(report.errors)),
            requests_total: total(reports, |report| report.requests),
            errors_total: total(reports, |report| report.errors),
            cancelled_total: total(reports, |report| report.cancelled),
            shed_total: total(reports, |report| report.shed),
            seconds: median(|report| report.seconds),
            requests_per_second: median(|report| report.requests_per_second),
            successes_per_second: median(Report::successes_per_second),
            bytes_per_second: median(|report| report.bytes_per_second),
            cpu_us_per_request: median(|report| report.cpu_us_per_request),
            cpu_user_us_per_request: median(|report| report.cpu_user_us_per_request),
            cpu_system_us_per_request: median(|report| report.cpu_system_us_per_request),
            latency_us: series.latency(),
            exact_below: reports.iter().map(exact_below).fold(1.0, f64::min),
            status: status(reports),
            outcomes: outcomes(reports),
            error_examples: error_examples(reports),
            system_calls_per_request: median(|report| report.system_calls_per_request),
            completions_per_turn: median(|report| report.completions_per_turn),
            busy: median(busiest),
            resident_bytes_max: reports.iter().map(|r| r.resident_bytes_max).max().unwrap_or(0),
            spread: Spread::new(&series.figures(|report| report.requests_per_second)),
            rounds: reports.iter().map(Round::new).collect(),
        }
    }
}

impl Contestant {
    /// Whether requests were due at times of their own.
    #[must_use]
    pub fn is_open_loop(&self) -> bool {
        !matches!(&*self.arrival, "" | "closed")
    }

    /// The share of the requests that were due which ended in a success (2xx or 3xx), 0 to 1: what the end cut off and what was never sent is none.
    #[must_use]
    pub fn success_share(&self) -> f64 {
        let Self { requests_total, errors_total, cancelled_total, shed_total, .. } = self;
        let ends = [requests_total, errors_total, cancelled_total, shed_total];
        let due = ends.into_iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        count(self.status.successes()) / count(due.max(1))
    }
}

impl Spread {
    fn new(values: &[f64]) -> Self {
        statistics::quartiles(values).map_or(Self::default(), |q| Self {
            min: q.min,
            low_quartile: q.low,
            high_quartile: q.high,
            max: q.max,
        })
    }
}

impl Round {
    fn new(report: &Report) -> Self {
        Self {
            requests: report.requests,
            errors: report.errors,
            seconds: report.seconds,
            requests_per_second: report.requests_per_second,
            bytes_per_second: report.bytes_per_second,
            cpu_us_per_request: report.cpu_us_per_request,
            p50: report.latency_us.p50,
            p99: report.latency_us.p99,
            system_calls_per_request: report.system_calls_per_request,
            completions_per_turn: report.completions_per_turn,
            busy: busiest(report),
        }
    }
}

impl<'a> Series<'a> {
    /// The times of each of the first `most` rounds, as pairs of nanoseconds and count; censored requests are in them at their age.
    pub(super) fn rounds(self, most: usize) -> Vec<Vec<(u64, u64)>> {
        let times = |report: &Report| report.histograms.success_response_time().buckets().collect();
        self.reports.iter().take(most).map(times).collect()
    }

    /// The time lines' slots, but for the last, which may be cut short and holds the drain.
    pub(super) fn slots(self) -> Vec<&'a Slot> {
        let whole = |report: &'a Report| {
            let slots = &report.timeline;
            slots[..slots.len().saturating_sub(1)].iter().filter(|slot| slot.seconds > 0.0)
        };
        self.reports.iter().flat_map(whole).collect()
    }

    /// Successes a second in each of those slots: 2xx are counted there, 3xx spread by the whole run's share of them.
    pub(super) fn slot_successes(self) -> Vec<f64> {
        let redirects = total(self.reports, |report| report.status.redirect);
        let share = count(redirects) / count(total(self.reports, |it| it.requests).max(1));
        let rate =
            |slot: &Slot| (count(slot.buckets.len()) + share * count(slot.requests)) / slot.seconds;
        self.slots().into_iter().map(rate).collect()
    }

    /// The times of all rounds, censored requests at their age, and the share of them from which on they are lower bounds. `None` without a 2xx.
    pub(super) fn success(self) -> Option<(Histogram, f64)> {
        let (mut all, mut censored) = (Histogram::new(), Histogram::new());
        for report in self.reports {
            all.add(&report.histograms.success_response_time());
            censored.add(&report.histograms.censored_response);
        }
        let exact_below = times::exact_below(&all, &censored);
        (all.len() > censored.len()).then_some((all, exact_below))
    }

    pub(super) fn figures(&self, figure: Figure) -> Vec<f64> {
        self.reports.iter().map(figure).collect()
    }

    /// Zero if there are no rounds.
    pub(super) fn median(&self, figure: Figure) -> f64 {
        statistics::median(&self.figures(figure)).unwrap_or(0.0)
    }

    fn latency(&self) -> MedianLatency {
        MedianLatency {
            mean: self.median(|report| report.latency_us.mean),
            p50: self.median(|report| report.latency_us.p50),
            p90: self.median(|report| report.latency_us.p90),
            p99: self.median(|report| report.latency_us.p99),
            p99_9: self.median(|report| report.latency_us.p99_9),
            p99_99: self.median(|report| report.latency_us.p99_99),
            max: self.median(|report| report.latency_us.max),
            samples: self.reports.iter().map(|report| report.latency_us.samples).sum(),
            saturated: self.reports.iter().map(|report| report.latency_us.saturated).sum(),
        }
    }
}

fn total(reports: &[Report], of: fn(&Report) -> u64) -> u64 {
    reports.iter().map(of).fold(0, u64::saturating_add)
}

/// As [`Report::exact_below`], which reports that were saved once lack.
fn exact_below(report: &Report) -> f64 {
    let Histograms { censored_response, .. } = &report.histograms;
    times::exact_below(&report.histograms.success_response_time(), censored_response)
}

fn busiest(report: &Report) -> f64 {
    report.cores.iter().map(|core| core.busy).fold(0.0, f64::max)
}

#[allow(clippy::cast_precision_loss, reason = "exact below 2^53 requests")]
fn count(requests: u64) -> f64 {
    requests as f64
}

fn status(reports: &[Report]) -> StatusCounts {
    reports.iter().fold(StatusCounts::default(), |sum, report| sum.plus(report.status))
}

fn outcomes(reports: &[Report]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (kind, count) in reports.iter().flat_map(|report| &report.outcomes) {
        let sum = sums.entry(kind.clone()).or_insert(0_u64);
        *sum = sum.saturating_add(*count);
    }
    sums
}

fn error_examples(reports: &[Report]) -> BTreeMap<String, String> {
    let mut first = BTreeMap::new();
    for (kind, example) in reports.iter().flat_map(|report| &report.error_examples) {
        first.entry(kind.clone()).or_insert_with(|| example.clone());
    }
    first
}
