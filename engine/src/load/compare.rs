//! Two series of runs set side by side, as plain data. No IO and no running: reports in, figures out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::{COARSE_BUCKETS, Coarse, Histogram};
use super::report::{Report, Slot, StatusCounts};
use super::statistics::{self, PAIRS_MIN, Pairing, Parts};

/// The class whose response times are compared.
const SUCCESS: &str = "2xx";
/// How far a time of a time line may be from the truth, as a share of it: its buckets are a sixteenth of an octave wide.
const SLOT_RESOLUTION: f64 = 1.0 / 16.0;

/// What the rounds of two contestants show. `rounds[i]` of both form a pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The two contestants, in the order given.
    pub contestants: Vec<Contestant>,
    /// The first contestant's figures over the second's; a metric that is zero throughout has none.
    pub ratios: Vec<Ratio>,
    /// The first contestant's percentiles less the second's; none where a side has no samples.
    pub differences: Vec<Difference>,
    /// What is shown, in words.
    pub summary: String,
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
    /// When requests were due: `closed`, `constant`, `poisson` or `recorded`.
    pub arrival: String,
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
    /// Median of each percentile.
    pub latency_us: MedianLatency,
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

/// The difference of one percentile of the response time of successful requests, with its 95 % bootstrap interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The percentile: `p50`, `p90`, `p99` or `p99_9`.
    pub metric: String,
    /// The first contestant's, over all its samples, in microseconds.
    pub of_us: f64,
    /// The second contestant's.
    pub to_us: f64,
    /// `of_us` less `to_us`.
    pub difference_us: f64,
    /// Lower end of the interval.
    pub low_us: f64,
    /// Upper end of the interval.
    pub high_us: f64,
    /// Whether a difference is shown: at least [`PAIRS_MIN`] parts a side, and an interval without 0.
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

/// The percentiles whose differences are taken, ascending.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

impl Comparison {
    /// Compares `of` with `to`, round by round; the longer series' surplus enters no ratio and no interval.
    /// The same reports and seed give the same result.
    #[must_use]
    pub fn new(of: Series<'_>, to: Series<'_>, seed: u64) -> Self {
        let pairs = of.reports.len().min(to.reports.len());
        let parts = [of, to].map(|side| Parts::new(&side.rounds(pairs)));
        let ratios = METRICS.iter().filter_map(|metric| Ratio::new(metric, of, to, seed)).collect();
        let differences = differences(of, to, &parts, &Doubt::of_rounds(pairs), seed);
        Self::of_parts([of, to], ratios, differences)
    }

    /// Compares two runs that were made at different times, such as saved results. There are no pairs: the seconds of each run's time line take the place of rounds and
    /// are drawn for each side on its own, so that what a run shows of its own ups and downs widens the interval. What differed between the two times can't be told
    /// from what differed between the sides.
    #[must_use]
    pub fn of_runs(of: Series<'_>, to: Series<'_>, seed: u64) -> Self {
        let slots = [of, to].map(Series::slots);
        let parts = [0, 1].map(|side| {
            Parts::new(&slots[side].iter().map(|it| filled(&it.buckets)).collect::<Vec<_>>())
        });
        let doubt = Doubt {
            pairing: Pairing::Apart,
            parts: slots[0].len().min(slots[1].len()),
            resolution: SLOT_RESOLUTION,
        };
        let ratios = Ratio::of_slots(of, to, &slots, seed).into_iter().collect();
        let differences = differences(of, to, &parts, &doubt, seed);
        Self::of_parts([of, to], ratios, differences)
    }

    fn of_parts(sides: [Series<'_>; 2], ratios: Vec<Ratio>, differences: Vec<Difference>) -> Self {
        let contestants = sides.map(Contestant::new).into();
        let summary = summary(sides, &ratios, &differences);
        Self { contestants, ratios, differences, summary }
    }

    /// By what share of its speed the second contestant is shown to be slower than the first: requests a second, or in two open loops, whose rates are set, the median
    /// response time. `None` if nothing is shown, or it is faster.
    #[must_use]
    pub fn slowdown(&self) -> Option<f64> {
        let rate = self.ratios.iter().find(|it| it.metric == "requests_per_second");
        let median = self.differences.iter().find(|it| it.metric == "p50");
        let slower = match self.contestants.iter().all(|one| one.arrival != "closed") {
            true => median.filter(|it| it.significant).map(|it| it.to_us / it.of_us - 1.0),
            false => rate.filter(|it| it.significant).map(|it| 1.0 - 1.0 / it.median),
        };
        slower.filter(|share| *share > 0.0)
    }
}

/// How far the parts of a comparison can be relied on.
struct Doubt {
    pairing: Pairing,
    /// The parts of the side that has fewer.
    parts: usize,
    /// By what share of itself a time in a part may be off.
    resolution: f64,
}

impl Doubt {
    fn of_rounds(pairs: usize) -> Self {
        Self { pairing: Pairing::Paired, parts: pairs, resolution: 0.0 }
    }
}

fn differences(
    of: Series<'_>,
    to: Series<'_>,
    parts: &[Parts; 2],
    doubt: &Doubt,
    seed: u64,
) -> Vec<Difference> {
    let quantiles = PERCENTILES.map(|(_, quantile)| quantile);
    let [mine, theirs] = [of, to].map(Series::success);
    if mine.is_empty() || theirs.is_empty() {
        return Vec::new();
    }
    let intervals = statistics::quantile_difference_intervals(
        &parts[0],
        &parts[1],
        &quantiles,
        doubt.pairing,
        seed,
    );
    let difference = |((metric, quantile), interval): (&(&str, f64), statistics::Interval)| {
        let (of_us, to_us) = (mine.quantile_us(*quantile), theirs.quantile_us(*quantile));
        let slack = doubt.resolution * of_us.max(to_us);
        let (low_us, high_us) = (interval.low / 1e3 - slack, interval.high / 1e3 + slack);
        Difference {
            metric: (*metric).to_owned(),
            of_us,
            to_us,
            difference_us: of_us - to_us,
            low_us,
            high_us,
            significant: doubt.parts >= PAIRS_MIN && (low_us > 0.0 || high_us < 0.0),
        }
    };
    PERCENTILES.iter().zip(intervals).map(difference).collect()
}

/// `B is 12.0% slower than A (95%: 9.0% to 15.0%); p50 and p99: no difference shown`.
fn summary([of, to]: [Series<'_>; 2], ratios: &[Ratio], differences: &[Difference]) -> String {
    let rate = ratios.iter().find(|it| it.metric == "requests_per_second");
    let speed = match rate {
        None => "no rates to compare".to_owned(),
        Some(it) if !it.significant => {
            format!(
                "no difference in requests a second is shown between {} and {}",
                of.name, to.name
            )
        }
        Some(it) => {
            let change = |ratio: f64| (1.0 / ratio - 1.0).abs() * 100.0;
            let (one, other) = (change(it.low), change(it.high));
            format!(
                "{} is {:.1}% {} than {} (95%: {:.1}% to {:.1}%)",
                to.name,
                change(it.median),
                if it.median > 1.0 { "slower" } else { "faster" },
                of.name,
                one.min(other),
                one.max(other)
            )
        }
    };
    let shown = differences.iter().filter(|it| it.significant).map(|it| {
        let word = if it.difference_us < 0.0 { "longer" } else { "shorter" };
        let change = (it.to_us / it.of_us - 1.0).abs() * 100.0;
        format!("; {} {change:.1}% {word}", percentile_name(&it.metric))
    });
    let same: Vec<String> = differences
        .iter()
        .filter(|it| !it.significant)
        .map(|it| percentile_name(&it.metric))
        .collect();
    let rest = match same.is_empty() {
        true => String::new(),
        false => format!("; {}: no difference shown", same.join(", ")),
    };
    format!("{speed}{}{rest}", shown.collect::<String>())
}

/// `p99.9` for `p99_9`.
fn percentile_name(metric: &str) -> String {
    metric.replace('_', ".")
}

/// The buckets that are not empty, as time in nanoseconds and count.
fn filled(buckets: &Coarse) -> Vec<(u64, u64)> {
    let pair = |bucket: usize| (Coarse::middle_of(bucket), u64::from(buckets.counts()[bucket]));
    (0..COARSE_BUCKETS).map(pair).filter(|(_, count)| *count > 0).collect()
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

    /// Of requests a second, from the slots of two time lines.
    fn of_slots(
        of: Series<'_>,
        to: Series<'_>,
        slots: &[Vec<&Slot>; 2],
        seed: u64,
    ) -> Option<Self> {
        let [mine, theirs] = [0, 1].map(|side| {
            let rate = |slot: &&Slot| slot.requests as f64 / slot.seconds;
            slots[side].iter().map(rate).collect::<Vec<f64>>()
        });
        let interval = statistics::mean_ratio_interval(&mine, &theirs, seed)?;
        let contains_one = interval.contains(1.0);
        let pairs = mine.len().min(theirs.len());
        let rate = |report: &Report| report.requests_per_second;
        Some(Self {
            metric: "requests_per_second".to_owned(),
            of: of.name.to_owned(),
            to: to.name.to_owned(),
            median: of.median(rate) / to.median(rate),
            low: interval.low,
            high: interval.high,
            pairs,
            contains_one,
            significant: !contains_one && pairs >= PAIRS_MIN,
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
            arrival: reports.first().map(|report| report.arrival.clone()).unwrap_or_default(),
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

impl<'a> Series<'a> {
    /// The times of each of the first `most` rounds, as pairs of nanoseconds and count.
    fn rounds(self, most: usize) -> Vec<Vec<(u64, u64)>> {
        let times = |report: &Report| {
            let success = report.histograms.response_time.get(SUCCESS);
            success.map(|times| times.buckets().collect()).unwrap_or_default()
        };
        self.reports.iter().take(most).map(times).collect()
    }

    /// The time lines' slots, but for the last, which may be cut short and holds the drain.
    fn slots(self) -> Vec<&'a Slot> {
        let whole = |report: &'a Report| {
            let slots = &report.timeline;
            slots[..slots.len().saturating_sub(1)].iter().filter(|slot| slot.seconds > 0.0)
        };
        self.reports.iter().flat_map(whole).collect()
    }

    /// The times of all rounds.
    fn success(self) -> Histogram {
        let mut all = Histogram::new();
        let times = self.reports.iter().filter_map(|it| it.histograms.response_time.get(SUCCESS));
        times.for_each(|times| all.add(times));
        all
    }

    fn figures(&self, figure: Figure) -> Vec<f64> {
        self.reports.iter().map(figure).collect()
    }

    /// Zero if there are no rounds.
    fn median(&self, figure: Figure) -> f64 {
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
    use super::super::report::{CoreReport, Latency};
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

    /// A run of ten seconds, each with so many answers of so many microseconds, and one cut short.
    fn run(per_second: u64, micros: u64) -> Report {
        let mut report = report(per_second as f64, 0.0);
        let mut times = Histogram::new();
        for second in 0..11 {
            let mut buckets = Coarse::default();
            // No second is like the other.
            let requests = per_second + second % 3;
            for request in 0..requests {
                let nanos = (micros + request % 10) * 1_000;
                buckets.record(nanos);
                times.record(nanos);
            }
            report.timeline.push(Slot { seconds: 1.0, requests, buckets, ..Slot::default() });
        }
        report.arrival = "closed".to_owned();
        report.histograms.response_time.insert(SUCCESS.to_owned(), times);
        report
    }

    fn compare_runs(of: Report, to: Report) -> Comparison {
        let (of, to) = ([of], [to]);
        Comparison::of_runs(
            Series { name: "old", reports: &of },
            Series { name: "new", reports: &to },
            1,
        )
    }

    fn difference<'a>(comparison: &'a Comparison, metric: &str) -> &'a Difference {
        comparison.differences.iter().find(|it| it.metric == metric).unwrap()
    }

    #[test]
    fn two_runs_are_compared_by_their_seconds() {
        let slower = compare_runs(run(100, 1_000), run(80, 2_000));
        let rate = ratio(&slower, "requests_per_second").unwrap();
        assert!(rate.significant && rate.low > 1.2 && rate.pairs == 10, "{rate:?}");
        let p99 = difference(&slower, "p99");
        assert!(p99.significant && p99.high_us < -800.0, "{p99:?}");
        assert!((-1_002.0..-998.0).contains(&p99.difference_us), "{p99:?}");
        assert!((0.19..0.21).contains(&slower.slowdown().unwrap()), "{slower:#?}");
        assert!(
            slower.summary.starts_with("new is 20.0% slower than old (95%: "),
            "{}",
            slower.summary
        );
        assert!(slower.summary.contains("; p99 99"), "{}", slower.summary);
        assert_eq!(compare_runs(run(80, 2_000), run(100, 1_000)).slowdown(), None);
    }

    #[test]
    fn runs_alike_show_nothing() {
        // 3 % is less than a time line can tell.
        let same = compare_runs(run(100, 1_000), run(100, 1_030));
        assert!(same.differences.iter().all(|it| !it.significant), "{same:#?}");
        assert_eq!((same.slowdown(), same.differences.len()), (None, 4));
        let expected = "no difference in requests a second is shown between old and new; \
                        p50, p90, p99, p99.9: no difference shown";
        assert_eq!(same.summary, expected);
    }

    #[test]
    fn open_loops_are_judged_by_their_times() {
        let open = |micros| Report { arrival: "constant".to_owned(), ..run(100, micros) };
        let slowdown = compare_runs(open(1_000), open(1_500)).slowdown().unwrap();
        assert!((0.45..0.55).contains(&slowdown), "{slowdown}");
    }

    #[test]
    fn rounds_give_differences_of_merged_percentiles() {
        let rounds =
            |shift: u64| [0, 10, 20, 30, 40].map(|drift: u64| run(100, 1_000 + shift + drift));
        let comparison = compare(&rounds(200), &rounds(0));
        let p50 = difference(&comparison, "p50");
        assert!(p50.significant && p50.low_us > 190.0 && p50.high_us < 210.0, "{p50:?}");
        assert!(
            compare(&rounds(0)[..4], &rounds(200)[..4])
                .differences
                .iter()
                .all(|it| !it.significant)
        );
        assert!(compare(&[], &[]).differences.is_empty());
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
