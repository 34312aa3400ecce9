//! Two series of runs set side by side, as plain data. No IO and no running: reports in, figures out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::report::{Latency, Report, StatusCounts};
use super::statistics::{self, PAIRS_MIN};

/// What the rounds of two contestants show. `rounds[i]` of both form a pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The two contestants, in the order given.
    pub contestants: Vec<Contestant>,
    /// The first contestant's figures over the second's; a metric that is zero throughout has none.
    pub ratios: Vec<Ratio>,
}

/// One contestant: the figures of a run, each the median over its rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contestant {
    /// What it is called in the ratios.
    pub name: String,
    /// The driver that ran.
    pub driver: String,
    /// The host that ran.
    pub host: String,
    /// Median of the requests completed in a round.
    pub requests: f64,
    /// Median of the errors of a round; see `errors_total`, which a rare error does not escape.
    pub errors: f64,
    /// Requests completed in all rounds.
    pub requests_total: u64,
    /// Errors of all rounds.
    pub errors_total: u64,
    /// Median length of a round's measured time, in seconds.
    pub seconds: f64,
    /// Median of requests a second.
    pub requests_per_second: f64,
    /// Median of bytes received a second.
    pub bytes_per_second: f64,
    /// Median of the client's CPU time a request, in microseconds.
    pub cpu_us_per_request: f64,
    /// Its user part, a median of its own.
    pub cpu_user_us_per_request: f64,
    /// Its system part, a median of its own.
    pub cpu_system_us_per_request: f64,
    /// Median of each percentile, in microseconds; `samples` and `saturated` are sums.
    pub latency_us: Latency,
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

/// The median of one metric's paired ratios, with its 95 % bootstrap interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// The metric: `requests_per_second`, `cpu_us_per_request`, `p50` or `p99`.
    pub metric: String,
    /// The contestant above the line.
    pub of: String,
    /// The contestant below the line.
    pub to: String,
    /// Median of the paired ratios.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Pairs that went in.
    pub pairs: usize,
    /// Whether the interval contains 1.
    pub contains_one: bool,
    /// Whether a difference is shown: at least [`PAIRS_MIN`] pairs, and an interval without 1.
    pub significant: bool,
}

/// One contestant's name and its rounds.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its rounds, in the order in which they ran.
    pub reports: &'a [Report],
}

/// One figure of a report.
type Figure = fn(&Report) -> f64;

/// The metrics whose ratios are taken.
const METRICS: [(&str, Figure); 4] = [
    ("requests_per_second", |report| report.requests_per_second),
    ("cpu_us_per_request", |report| report.cpu_us_per_request),
    ("p50", |report| report.latency_us.p50),
    ("p99", |report| report.latency_us.p99),
];

impl Comparison {
    /// Compares `of` with `to`, round by round; the longer series' surplus enters no ratio.
    /// The same reports and seed give the same result.
    #[must_use]
    pub fn new(of: Series<'_>, to: Series<'_>, seed: u64) -> Self {
        Self {
            contestants: vec![Contestant::new(of), Contestant::new(to)],
            ratios: METRICS.iter().filter_map(|metric| Ratio::new(metric, of, to, seed)).collect(),
        }
    }
}

impl Ratio {
    fn new(
        (metric, figure): &(&str, Figure),
        of: Series<'_>,
        to: Series<'_>,
        seed: u64,
    ) -> Option<Self> {
        let ratios = statistics::paired_ratios(&of.figures(*figure), &to.figures(*figure));
        let interval = statistics::median_interval(&ratios, seed)?;
        let contains_one = interval.contains(1.0);
        Some(Self {
            metric: (*metric).to_owned(),
            of: of.name.to_owned(),
            to: to.name.to_owned(),
            median: statistics::median(&ratios)?,
            low: interval.low,
            high: interval.high,
            pairs: ratios.len(),
            contains_one,
            significant: !contains_one && ratios.len() >= PAIRS_MIN,
        })
    }
}

impl Contestant {
    fn new(series: Series<'_>) -> Self {
        let median = |figure: Figure| series.median(figure);
        let reports = series.reports;
        Self {
            name: series.name.to_owned(),
            driver: reports.first().map(|report| report.driver.clone()).unwrap_or_default(),
            host: reports.first().map(|report| report.host.clone()).unwrap_or_default(),
            requests: median(|report| count(report.requests)),
            errors: median(|report| count(report.errors)),
            requests_total: reports.iter().map(|report| report.requests).sum(),
            errors_total: reports.iter().map(|report| report.errors).sum(),
            seconds: median(|report| report.seconds),
            requests_per_second: median(|report| report.requests_per_second),
            bytes_per_second: median(|report| report.bytes_per_second),
            cpu_us_per_request: median(|report| report.cpu_us_per_request),
            cpu_user_us_per_request: median(|report| report.cpu_user_us_per_request),
            cpu_system_us_per_request: median(|report| report.cpu_system_us_per_request),
            latency_us: series.latency(),
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

impl Series<'_> {
    fn figures(&self, figure: Figure) -> Vec<f64> {
        self.reports.iter().map(figure).collect()
    }

    /// Zero if there are no rounds.
    fn median(&self, figure: Figure) -> f64 {
        statistics::median(&self.figures(figure)).unwrap_or(0.0)
    }

    fn latency(&self) -> Latency {
        Latency {
            mean: self.median(|report| report.latency_us.mean),
            p50: self.median(|report| report.latency_us.p50),
            p90: self.median(|report| report.latency_us.p90),
            p99: self.median(|report| report.latency_us.p99),
            p99_9: self.median(|report| report.latency_us.p99_9),
            p99_99: self.median(|report| report.latency_us.p99_99),
            max: self.median(|report| report.latency_us.max),
            samples: self.reports.iter().map(|report| report.latency_us.samples).sum(),
            saturated: self.reports.iter().map(|report| report.latency_us.saturated).sum(),
            ..Latency::default()
        }
    }
}

fn busiest(report: &Report) -> f64 {
    report.cores.iter().map(|core| core.busy).fold(0.0, f64::max)
}

#[allow(clippy::cast_precision_loss, reason = "exact below 2^53 requests")]
fn count(requests: u64) -> f64 {
    requests as f64
}

fn status(reports: &[Report]) -> StatusCounts {
    reports.iter().fold(StatusCounts::default(), |sum, report| StatusCounts {
        success: sum.success + report.status.success,
        redirect: sum.redirect + report.status.redirect,
        client_error: sum.client_error + report.status.client_error,
        server_error: sum.server_error + report.status.server_error,
        other: sum.other + report.status.other,
    })
}

fn outcomes(reports: &[Report]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (kind, count) in reports.iter().flat_map(|report| &report.outcomes) {
        *sums.entry(kind.clone()).or_insert(0) += count;
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

#[cfg(test)]
mod tests {
    use super::super::report::CoreReport;
    use super::*;

    fn core(busy: f64) -> CoreReport {
        CoreReport { busy, ..CoreReport::default() }
    }

    fn report(requests_per_second: f64, p99: f64) -> Report {
        Report {
            driver: "epoll".to_owned(),
            host: "thread".to_owned(),
            requests: 10,
            errors: 1,
            seconds: 1.0,
            requests_per_second,
            cpu_us_per_request: 1e6 / requests_per_second,
            latency_us: Latency { p50: 0.0, p99, samples: 10, ..Latency::default() },
            status: StatusCounts { success: 9, other: 1, ..StatusCounts::default() },
            outcomes: BTreeMap::from([("2xx".to_owned(), 9), ("reset".to_owned(), 1)]),
            error_examples: BTreeMap::from([("reset".to_owned(), format!("at {p99}"))]),
            cores: vec![core(0.5), core(0.75)],
            ..Report::default()
        }
    }

    fn compare(of: &[Report], to: &[Report]) -> Comparison {
        Comparison::new(
            Series { name: "io_uring", reports: of },
            Series { name: "epoll", reports: to },
            1,
        )
    }

    fn reports(rates: &[f64]) -> Vec<Report> {
        rates.iter().map(|&rate| report(rate, 100.0)).collect()
    }

    fn ratio<'a>(comparison: &'a Comparison, metric: &str) -> Option<&'a Ratio> {
        comparison.ratios.iter().find(|ratio| ratio.metric == metric)
    }

    #[test]
    fn a_steady_lead_is_significant_in_either_direction() {
        let comparison = compare(
            &reports(&[120.0, 121.0, 119.0, 122.0, 120.0]),
            &reports(&[100.0, 100.0, 100.0, 101.0, 99.0]),
        );
        let faster = ratio(&comparison, "requests_per_second").unwrap();
        assert!(faster.significant && !faster.contains_one && faster.low > 1.0, "{faster:?}");
        assert_eq!(
            (faster.of.as_str(), faster.to.as_str(), faster.pairs),
            ("io_uring", "epoll", 5)
        );
        let cheaper = ratio(&comparison, "cpu_us_per_request").unwrap();
        assert!(cheaper.significant && cheaper.high < 1.0, "{cheaper:?}");
    }

    #[test]
    fn no_difference_and_too_few_pairs_are_not_significant() {
        let same = compare(&reports(&[100.0; 7]), &reports(&[100.0; 7]));
        let same = ratio(&same, "p99").unwrap();
        assert!(same.contains_one && !same.significant, "{same:?}");
        let few = compare(&reports(&[200.0; 4]), &reports(&[100.0; 4]));
        let few = ratio(&few, "requests_per_second").unwrap();
        assert!(!few.contains_one && !few.significant, "{few:?}");
    }

    #[test]
    fn a_metric_that_is_zero_has_no_ratio() {
        let comparison = compare(&reports(&[1.0; 5]), &reports(&[1.0; 5]));
        assert_eq!(ratio(&comparison, "p50"), None);
        assert!(compare(&[], &[]).ratios.is_empty());
    }

    #[test]
    fn contestants_hold_medians_sums_and_first_examples() {
        let rounds = [report(10.0, 5.0), report(30.0, 7.0), report(20.0, 6.0)];
        let comparison = compare(&rounds, &[]);
        let one = &comparison.contestants[0];
        assert_eq!((one.requests_per_second, one.latency_us.p99, one.busy), (20.0, 6.0, 0.75));
        assert_eq!((one.requests, one.requests_total, one.errors_total), (10.0, 30, 3));
        assert_eq!((one.status.success, one.status.other, one.latency_us.samples), (27, 3, 30));
        assert_eq!(one.outcomes["reset"], 3);
        assert_eq!(one.error_examples["reset"], "at 5");
        assert_eq!((one.spread.min, one.spread.low_quartile, one.spread.max), (10.0, 15.0, 30.0));
        assert_eq!(one.rounds[1].requests_per_second, 30.0);
        assert_eq!(comparison.contestants[1].requests, 0.0);
    }
}
