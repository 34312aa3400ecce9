//! Two series of runs set side by side, as plain data. No IO and no running: reports in, figures out.

mod contestant;
mod difference;
mod judge;

use serde::Serialize;

use super::report::{Report, Slot};
use super::statistics::{self, Interval, PAIRS_MIN, Parts};
use contestant::Figure;
pub use contestant::{Contestant, MedianLatency, Round, Series, Spread};
pub use difference::Difference;
use difference::{Doubt, differences, slot_parts};
pub use judge::Judgement;
use judge::{summary, unlike};

/// What the rounds of two contestants show. `rounds[i]` of both form a pair.
///
/// ```
/// use ringshot::load::compare::{Comparison, Judgement, Series};
/// use ringshot::load::{Report, StatusCounts};
///
/// let round = |success: u64| Report {
///     requests: success,
///     status: StatusCounts { success, ..StatusCounts::default() },
///     seconds: 1.0,
///     requests_per_second: success as f64,
///     ..Report::default()
/// };
/// let before = [1000, 1010, 990, 1005, 995].map(round);
/// let after = [800, 810, 790, 805, 795].map(round);
/// let sides = [Series { name: "before", reports: &before }, Series { name: "after", reports: &after }];
/// let comparison = Comparison::new(sides[0], sides[1], 1);
/// assert!(comparison.slowdown().is_some_and(|share| share > 0.15 && share < 0.25));
/// assert_eq!(comparison.judge(0.05), Judgement::Slower);
/// let side = &comparison.contestants[1];
/// assert_eq!((side.success_share(), side.is_open_loop()), (1.0, false));
///
/// // Single runs are compared by the seconds of their time lines, which these have not.
/// let saved = Comparison::of_runs(sides[0], sides[1], 1);
/// assert!(matches!(saved.judge(0.05), Judgement::Undecided(_)));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The two contestants, in the order given.
    pub contestants: Vec<Contestant>,
    /// The first contestant's figures over the second's; a metric that is zero throughout has none, and none has where `unlike` says why.
    pub ratios: Vec<Ratio>,
    /// The first contestant's percentiles less the second's; none where a side has no samples.
    pub differences: Vec<Difference>,
    /// Why the sides' rates can't be set against each other, in words: different loads were asked for. `None` (null in JSON) if they can.
    pub unlike: Option<String>,
    /// Rounds, or whole seconds of the shorter of two runs, that were compared. Fewer than [`PAIRS_MIN`] show no difference, however large one is.
    pub pairs: usize,
    /// What is shown, in words.
    pub summary: String,
}

/// The median of one metric's paired ratios, with its 95 % bootstrap interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// The metric: `requests_per_second`, `successes_per_second`, `cpu_us_per_request`, `p50` or `p99`.
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

/// The metrics whose ratios are taken.
const METRICS: [(&str, Figure); 5] = [
    ("requests_per_second", |report| report.requests_per_second),
    (SUCCESSES, Report::successes_per_second),
    ("cpu_us_per_request", |report| report.cpu_us_per_request),
    ("p50", |report| report.latency_us.p50),
    ("p99", |report| report.latency_us.p99),
];

/// The metric by which speeds are judged: a server that refuses at once is not fast.
const SUCCESSES: &str = "successes_per_second";

impl Comparison {
    /// Compares `of` with `to`, round by round; the longer series' surplus enters no ratio and no interval.
    /// The same reports and seed give the same result.
    #[must_use]
    pub fn new(of: Series<'_>, to: Series<'_>, seed: u64) -> Self {
        let pairs = of.reports.len().min(to.reports.len());
        let parts = [of, to].map(|side| Parts::new(&side.rounds(pairs)));
        let ratios = METRICS.iter().filter_map(|metric| Ratio::new(metric, of, to, seed)).collect();
        let differences = differences(of, to, parts, &Doubt::of_rounds(pairs), seed);
        Self::of_parts([of, to], ratios, differences, pairs)
    }

    /// Compares two runs that were made at different times, such as saved results. There are no pairs: the seconds of each run's time line take the place of rounds and
    /// are drawn for each side on its own, so that what a run shows of its own ups and downs widens the interval. What differed between the two times can't be told
    /// from what differed between the sides.
    #[must_use]
    pub fn of_runs(of: Series<'_>, to: Series<'_>, seed: u64) -> Self {
        let slots = [of, to].map(Series::slots);
        let pairs = slots[0].len().min(slots[1].len());
        let parts = [0, 1].map(|side| slot_parts(&slots[side]));
        let ratios = Ratio::of_slots([of, to], &slots, seed);
        let differences = differences(of, to, parts, &Doubt::of_slots(pairs), seed);
        Self::of_parts([of, to], ratios, differences, pairs)
    }

    fn of_parts(
        sides: [Series<'_>; 2],
        ratios: Vec<Ratio>,
        differences: Vec<Difference>,
        pairs: usize,
    ) -> Self {
        let contestants = sides.map(Contestant::new);
        let unlike = unlike(&contestants);
        let ratios = if unlike.is_some() { Vec::new() } else { ratios };
        let contestants = contestants.into();
        let mut comparison =
            Self { contestants, ratios, differences, unlike, pairs, summary: String::new() };
        comparison.summary = summary(&comparison);
        comparison
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
        let median = statistics::median(&ratios)?;
        Some(Self::within([of, to], metric, median, interval, ratios.len()))
    }

    /// Of requests and of successes a second, from the slots of two time lines.
    fn of_slots(sides: [Series<'_>; 2], slots: &[Vec<&Slot>; 2], seed: u64) -> Vec<Self> {
        let answered = |slot: &&Slot| slot.requests as f64 / slot.seconds;
        let requests = [0, 1].map(|side| slots[side].iter().map(answered).collect::<Vec<f64>>());
        let metrics = [(&METRICS[0], requests), (&METRICS[1], sides.map(Series::slot_successes))];
        let ratio = |((metric, figure), [of, to]): (&(&str, Figure), [Vec<f64>; 2])| {
            let interval = statistics::mean_ratio_interval(&of, &to, seed)?;
            let [mine, theirs] = sides.map(|side| side.median(*figure));
            let pairs = of.len().min(to.len());
            Some(Self::within(sides, metric, mine / theirs, interval, pairs))
        };
        metrics.into_iter().filter_map(ratio).collect()
    }

    /// With an interval that holds its median, also where it is of other parts than the whole runs.
    fn within(
        [of, to]: [Series<'_>; 2],
        metric: &str,
        median: f64,
        interval: Interval,
        pairs: usize,
    ) -> Self {
        let interval = Interval { low: interval.low.min(median), high: interval.high.max(median) };
        let contains_one = interval.contains(1.0);
        Self {
            metric: metric.to_owned(),
            of: of.name.to_owned(),
            to: to.name.to_owned(),
            median,
            low: interval.low,
            high: interval.high,
            pairs,
            contains_one,
            significant: !contains_one && pairs >= PAIRS_MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::histogram::{Coarse, Histogram};
    use super::super::report::{CoreReport, Latency};
    use super::super::status::StatusCounts;
    use super::*;

    const SUCCESS: &str = "2xx";

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
    pub(super) fn run(per_second: u64, micros: u64) -> Report {
        let mut report = Report { errors: 0, ..report(per_second as f64, 0.0) };
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
        report.requests = times.len();
        report.status = StatusCounts { success: times.len(), ..StatusCounts::default() };
        report.histograms.response_time.insert(SUCCESS.to_owned(), times);
        report
    }

    pub(super) fn compare_runs(of: Report, to: Report) -> Comparison {
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
    fn an_interval_holds_its_estimate_whatever_came_in_the_last_slot() {
        let calm = run(100, 1_000);
        let mut stalled = calm.clone();
        let times = stalled.histograms.response_time.get_mut(SUCCESS).unwrap();
        (0..50).for_each(|_| times.record(900_000_000));
        let comparison = compare_runs(calm, stalled);
        for it in &comparison.differences {
            assert!(it.low_us <= it.difference_us && it.difference_us <= it.high_us, "{it:?}");
        }
        let p99 = difference(&comparison, "p99");
        assert!(p99.difference_us < -800_000.0 && !p99.significant, "{p99:?}");
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
