//! Conditions on a run's figures, as people type them: `p99 > 5ms`, `error_rate > 0.1%`, `rate < 49k`. Pure.

use std::str::FromStr;

use clap::Args;
use ringshot::load::{Latency, Report};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::output::format::{bound_sign, count, microseconds_apart, percent_apart, rate_apart};
use crate::units;

/// When a run has failed.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Thresholds")]
pub(crate) struct ThresholdArgs {
    /// Exit with 3 if this holds, like 'p99 > 5ms', 'error_rate > 0.1%', 'rate < 49k'; repeat it for more
    #[arg(long, value_name = "CONDITION")]
    pub(crate) fail_if: Vec<Condition>,
    /// Exit with 4 unless the figures can be taken for the server's, by the run's verdict
    #[arg(long)]
    pub(crate) require_valid: bool,
}

impl ThresholdArgs {
    /// What each condition says of a report.
    pub(crate) fn judge(&self, report: &Report) -> Vec<ThresholdOutcome> {
        self.fail_if.iter().map(|condition| condition.forbid(report)).collect()
    }

    /// How a run ends by its conditions and its verdict; what failed first in the order of the codes counts. Says on stderr why a run is not valid.
    /// Of a server that answered, and of which nothing was measured yet, nothing is judged.
    pub(crate) fn exit(&self, report: &Report, outcomes: &[ThresholdOutcome]) -> Exit {
        if report.interrupted && report.requests == 0 && report.warm_up.requests > 0 {
            return Failure::interrupted(UNMEASURED).report();
        }
        let invalid = self.require_valid && !report.verdict.valid;
        if invalid {
            let summary = &report.verdict.summary;
            Failure::invalid(format_args!("--require-valid: {summary}")).report();
        }
        match report.requests {
            0 => Exit::NoResponse,
            _ if outcomes.iter().any(|outcome| !outcome.passed) => Exit::ThresholdFailed,
            _ if invalid => Exit::Invalid,
            _ => Exit::Ok,
        }
    }
}

const UNMEASURED: &str = "interrupted in the warm-up, before anything was measured: let it run longer, or shorten --warmup";

/// What one condition came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ThresholdOutcome {
    /// As it was given.
    pub(crate) text: String,
    /// The figure's name.
    pub(crate) metric: String,
    /// The figure: microseconds, a share of 1, a count, or a rate a second; `None` if nothing was recorded of it.
    pub(crate) value: Option<f64>,
    /// Whether the figure is a lower bound, because requests that were cut off lie there: one that is below the limit then passes nothing.
    #[serde(default)]
    pub(crate) is_lower_bound: bool,
    /// What it was held against, in the same unit.
    pub(crate) limit: f64,
    /// Whether the run is good by it.
    pub(crate) passed: bool,
}

impl ThresholdOutcome {
    /// What was asked and what was found.
    pub(crate) fn in_words(&self) -> String {
        match self.value {
            Some(_) if self.is_lower_bound => {
                let Self { text, metric, .. } = self;
                format!("{text}: {metric} was {}, a lower bound", self.shown())
            }
            Some(_) => format!("{}: {} was {}", self.text, self.metric, self.shown()),
            None => format!("{}: {} of {}", self.text, self.shown(), self.metric),
        }
    }

    /// The figure as a person reads it.
    pub(crate) fn shown(&self) -> String {
        let unit = Metric::from_str(&self.metric).map(|metric| metric.unit());
        match (self.value, unit) {
            (None, _) | (_, Err(_)) => "nothing recorded".to_owned(),
            (Some(value), Ok(Unit::Time)) => {
                let sign = bound_sign(self.is_lower_bound);
                format!("{sign}{}", microseconds_apart(value, self.limit))
            }
            (Some(value), Ok(Unit::Share)) => percent_apart(value, self.limit),
            (Some(value), Ok(Unit::Rate)) => format!("{} a second", rate_apart(value, self.limit)),
            (Some(value), Ok(Unit::Count)) => whole(value),
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
fn whole(value: f64) -> String {
    count(value as u64)
}

/// A comparison of one figure with a limit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    text: String,
    metric: Metric,
    order: Order,
    limit: f64,
}

impl Condition {
    /// The run fails if this holds, and if there is nothing to tell it by: no sample, or a lower bound that is below the limit.
    pub(crate) fn forbid(&self, report: &Report) -> ThresholdOutcome {
        self.outcome(report, |holds| !holds)
    }

    /// The run fails unless this is known to hold.
    pub(crate) fn demand(&self, report: &Report) -> ThresholdOutcome {
        self.outcome(report, |holds| holds)
    }

    fn outcome(&self, report: &Report, passes: fn(bool) -> bool) -> ThresholdOutcome {
        let (value, is_lower_bound) = (self.metric.of(report), self.metric.is_lower_bound(report));
        let is_known = |value| !is_lower_bound || self.order.is_sure_above(value, self.limit);
        let is_good = |value| is_known(value) && passes(self.order.holds(value, self.limit));
        ThresholdOutcome {
            text: self.text.clone(),
            metric: self.metric.name(),
            value,
            is_lower_bound,
            limit: self.limit,
            passed: value.is_some_and(is_good),
        }
    }

    /// As it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is on a time that only requests have which are due at times of their own.
    pub(crate) fn needs_schedule(&self) -> bool {
        matches!(self.metric, Metric::Time { of, .. } if TIMES[of].0.ends_with("lag_"))
    }

    /// Whether it is on the figure of this name.
    pub(crate) fn is_of(&self, figure: &str) -> bool {
        self.metric.name() == figure
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a condition: write a figure, one of > >= < <=, and a limit, like 'p99 > 5ms'"
            )
        };
        let place = text.find(['<', '>']).ok_or_else(wrong)?;
        let (name, rest) = text.split_at(place);
        let found = Order::ALL.iter().find(|(sign, _)| rest.starts_with(sign));
        let (sign, order) = found.ok_or_else(wrong)?;
        let metric: Metric = name.trim().parse()?;
        let limit = metric.unit().parse(rest[sign.len()..].trim())?;
        Ok(Self { text: text.trim().to_owned(), metric, order: *order, limit })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Order {
    /// Longer signs first.
    const ALL: [(&'static str, Self); 4] =
        [(">=", Self::AtLeast), ("<=", Self::AtMost), (">", Self::Above), ("<", Self::Below)];

    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
        }
    }

    /// Whether all that is more than `value` compares with `limit` as it does.
    fn is_sure_above(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above | Self::AtMost => value > limit,
            Self::AtLeast | Self::Below => value >= limit,
        }
    }
}

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Microseconds.
    Time,
    /// A part of 1.
    Share,
    /// A number of requests.
    Count,
    /// Requests a second.
    Rate,
}

impl Unit {
    fn parse(self, text: &str) -> Result<f64, String> {
        match self {
            // Without a unit nobody knows whether it is seconds or milliseconds.
            Self::Time => match units::duration(text) {
                Ok(time) if time.is_zero() || text.ends_with(char::is_alphabetic) => {
                    // A report's times are nanoseconds by this divisor too.
                    Ok(time.as_nanos() as f64 / 1e3)
                }
                _ => Err(format!("{text:?} is not a time: write 250us, 5ms, 1.5s or 2m")),
            },
            Self::Share => units::share(text),
            Self::Count | Self::Rate => units::rate(text)
                .map_err(|_| format!("{text:?} is not a number: write 500, 49k or 1.5M")),
        }
    }
}

/// A figure of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    /// Of one of the times, one of its statistics, by their places.
    Time { of: usize, statistic: usize },
    /// By its place in [`FIGURES`].
    Figure(usize),
}

type Time = fn(&Report) -> &Latency;
type Statistic = fn(&Latency) -> f64;
/// From which share of the samples on the percentiles of a time are lower bounds.
type ExactBelow = fn(&Report) -> f64;
type Figure = fn(&Report) -> f64;

/// Times by the beginnings of their names; the headline has none and comes last, because every name begins with it.
const TIMES: [(&str, Time, ExactBelow); 7] = [
    ("service_", |report| &report.service_time_us, service_exact_below),
    ("response_", |report| &report.response_time_us, exact_below),
    ("first_byte_", |report| &report.first_byte_us, |report| told_apart(&report.first_byte_us)),
    ("connect_", |report| &report.connect_us, |report| told_apart(&report.connect_us)),
    ("client_lag_", |report| &report.client_lag_us, |report| told_apart(&report.client_lag_us)),
    ("lag_", |report| &report.schedule_lag_us, |report| told_apart(&report.schedule_lag_us)),
    ("", |report| &report.latency_us, exact_below),
];

/// Statistics of a time, and which share of its samples must be exact for them to be: all of them for the mean.
const STATISTICS: [(&str, f64, Statistic); 11] = [
    ("mean", 1.0, |it| it.mean),
    ("min", f64::MIN_POSITIVE, |it| it.min),
    ("p50", 0.5, |it| it.p50),
    ("p75", 0.75, |it| it.p75),
    ("p90", 0.9, |it| it.p90),
    ("p95", 0.95, |it| it.p95),
    ("p99", 0.99, |it| it.p99),
    ("p99.9", 0.999, |it| it.p99_9),
    ("p99.99", 0.9999, |it| it.p99_99),
    ("p99.999", 0.99999, |it| it.p99_999),
    ("max", 1.0, |it| it.max),
];

/// From which share of the headline's samples on percentiles are lower bounds.
pub(crate) fn exact_below(report: &Report) -> f64 {
    // Results that were saved before this was told say nothing of what was cut off either.
    let told = if report.censored > 0 { report.exact_below } else { 1.0 };
    told.min(told_apart(&report.latency_us))
}

fn service_exact_below(report: &Report) -> f64 {
    report.histograms.service_time_exact_below()
}

/// The share of samples that are no longer than a histogram tells apart: all that is to be known of what is recorded of no request that was cut off.
pub(crate) fn told_apart(times: &Latency) -> f64 {
    1.0 - part(times.saturated, times.samples)
}

/// Figures that are no times.
const FIGURES: [(&str, Unit, Figure); 11] = [
    ("rate", Unit::Rate, |it| it.requests_per_second),
    ("offered_rate", Unit::Rate, |it| part(it.offered, 1) / sending_seconds(it)),
    ("requests", Unit::Count, |it| part(it.requests, 1)),
    ("errors", Unit::Count, |it| part(it.errors, 1)),
    ("shed", Unit::Count, |it| part(it.shed, 1)),
    ("late", Unit::Count, |it| part(it.late, 1)),
    ("cancelled", Unit::Count, |it| part(it.cancelled, 1)),
    ("error_rate", Unit::Share, |it| part(it.errors, it.requests.saturating_add(it.errors))),
    ("success_rate", Unit::Share, |it| part(it.status.success, due(it))),
    ("shed_rate", Unit::Share, |it| part(it.shed, it.offered)),
    ("late_rate", Unit::Share, |it| part(it.late, it.offered)),
];

/// All requests that were due, however they ended: also those that the end cut off, and those that were never sent.
fn due(report: &Report) -> u64 {
    let ends = [report.requests, report.errors, report.cancelled, report.shed];
    ends.into_iter().fold(0, u64::saturating_add)
}

/// The seconds in which requests were due, without the drain after them; never zero. Results that were saved before this was told have the drain in it.
pub(crate) fn sending_seconds(report: &Report) -> f64 {
    let told = report.sending_seconds > 0.0;
    let seconds = if told { report.sending_seconds } else { report.seconds };
    seconds.max(f64::MIN_POSITIVE)
}

/// `some` of `all`; zero of nothing.
#[allow(clippy::cast_precision_loss, reason = "exact below 2^53 requests")]
fn part(some: u64, all: u64) -> f64 {
    some as f64 / all.max(1) as f64
}

impl Metric {
    fn unit(self) -> Unit {
        match self {
            Self::Time { .. } => Unit::Time,
            Self::Figure(place) => FIGURES[place].1,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Time { of, statistic } => format!("{}{}", TIMES[of].0, STATISTICS[statistic].0),
            Self::Figure(place) => FIGURES[place].0.to_owned(),
        }
    }

    /// `None` for a time of which nothing was recorded.
    fn of(self, report: &Report) -> Option<f64> {
        match self {
            Self::Time { of, statistic } => {
                let times = TIMES[of].1(report);
                (times.samples > 0).then(|| STATISTICS[statistic].2(times))
            }
            Self::Figure(place) => Some(FIGURES[place].2(report)),
        }
    }

    /// Whether requests that were cut off are in it at an age that they outlived.
    fn is_lower_bound(self, report: &Report) -> bool {
        match self {
            Self::Time { of, statistic } => STATISTICS[statistic].1 > TIMES[of].2(report),
            Self::Figure(_) => false,
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if let Some(place) = FIGURES.iter().position(|(known, ..)| *known == name) {
            return Ok(Self::Figure(place));
        }
        let time = TIMES.iter().enumerate().find_map(|(of, (start, ..))| {
            let rest = name.strip_prefix(start)?.replace('_', ".");
            let statistic = STATISTICS.iter().position(|(known, ..)| *known == rest)?;
            Some(Self::Time { of, statistic })
        });
        time.ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> String {
    let names = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
    format!(
        "no figure is called {name:?}: use {}, the same after {}, or {}",
        names(&mut STATISTICS.iter().map(|(name, ..)| *name)),
        names(&mut TIMES.iter().map(|(start, ..)| *start).filter(|start| !start.is_empty())),
        names(&mut FIGURES.iter().map(|(name, ..)| *name)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn report() -> Report {
        let mut report = sample::report();
        report.latency_us.p99_999 = 9_000.0;
        (report.offered, report.errors, report.shed) = (3_500_000, 35_000, 350);
        report
    }

    #[track_caller]
    fn check(text: &str, value: f64, limit: f64, holds: bool) {
        let condition: Condition = text.parse().unwrap();
        let outcome = condition.demand(&report());
        let found = outcome.value.unwrap();
        assert!((found - value).abs() < 1e-4 * value.max(1e-3), "{text}: {found}");
        assert!((outcome.limit - limit).abs() < 1e-9 * limit.max(1.0), "{text}: {outcome:?}");
        assert_eq!((outcome.passed, outcome.text.as_str()), (holds, text.trim()));
        assert_eq!(condition.forbid(&report()).passed, !holds, "{text}");
    }

    #[test]
    fn conditions_read_figures_orders_and_units() {
        check("p99 > 5ms", 412.7, 5_000.0, false);
        check("p99>412.7us", 412.7, 412.7, false);
        check("p99 >= 412.7us", 412.7, 412.7, true);
        check(" p50<1s ", 180.1, 1e6, true);
        check("p99.9 <= 2 ms", 1_234.5, 2_000.0, true);
        check("p99_9 < 1ms", 1_234.5, 1_000.0, false);
        check("p99.999 > 5ms", 9_000.0, 5_000.0, true);
        check("max > 20ms", 23_456.7, 20_000.0, true);
        check("mean < 100us", 187.3, 100.0, false);
        check("rate < 349k", 341_234.5, 349_000.0, true);
        check("requests >= 1M", 3_412_345.0, 1e6, true);
        check("errors > 35k", 35_000.0, 35_000.0, false);
        check("error_rate > 0.1%", 0.010_152_7, 0.001, true);
        check("success_rate < 0.99", 0.989_746_7, 0.99, true);
        check("shed > 0", 350.0, 0.0, true);
        check("shed_rate > 1 %", 0.000_1, 0.01, false);
        check("offered_rate < 351k", 350_000.0, 351_000.0, true);
    }

    #[test]
    fn what_nobody_answered_is_no_success() {
        let check = |cancelled, shed, expected: f64| {
            let mut report = Report { requests: 50, cancelled, shed, ..Report::default() };
            report.status.success = 50;
            let outcome = Condition::from_str("success_rate > 99%").unwrap().demand(&report);
            assert!((outcome.value.unwrap() - expected).abs() < 1e-9, "{outcome:?}");
        };
        check(0, 0, 1.0);
        check(50, 0, 0.5);
        check(25, 25, 0.5);
    }

    #[test]
    fn what_the_run_waited_for_at_its_end_is_no_time_of_sending() {
        let check = |sending_seconds, expected: f64| {
            let mut report = Report { offered: 20, seconds: 2.8, ..Report::default() };
            report.sending_seconds = sending_seconds;
            let outcome = Condition::from_str("offered_rate < 9").unwrap().forbid(&report);
            assert!((outcome.value.unwrap() - expected).abs() < 0.01, "{outcome:?}");
        };
        check(2.0, 10.0);
        // As it was saved once.
        check(0.0, 7.14);
    }

    #[test]
    fn times_go_by_their_beginnings() {
        let mut report = report();
        let places: [fn(&mut Report) -> &mut Latency; 6] = [
            |it| &mut it.service_time_us,
            |it| &mut it.response_time_us,
            |it| &mut it.first_byte_us,
            |it| &mut it.connect_us,
            |it| &mut it.client_lag_us,
            |it| &mut it.schedule_lag_us,
        ];
        for (place, (start, ..)) in places.iter().zip(TIMES) {
            *place(&mut report) = Latency { p99: 7.0, samples: 1, ..Latency::default() };
            let condition: Condition = format!("{start}p99 > 1us").parse().unwrap();
            let outcome = condition.forbid(&report);
            assert_eq!((outcome.value, outcome.passed), (Some(7.0), false), "{start}");
            assert_eq!(outcome.metric, format!("{start}p99"));
            *place(&mut report) = Latency::default();
        }
    }

    #[test]
    fn what_was_not_recorded_passes_nothing() {
        let outcome = Condition::from_str("lag_p99 > 1ms").unwrap().forbid(&report());
        assert_eq!((outcome.value, outcome.passed), (None, false));
        assert_eq!(outcome.shown(), "nothing recorded");
        assert!(!Condition::from_str("lag_p99 < 1ms").unwrap().demand(&report()).passed);
    }

    #[test]
    fn a_lower_bound_passes_nothing_that_it_may_be_above() {
        let mut report = report();
        (report.censored, report.exact_below) = (45, 0.966);
        report.latency_us.p99 = 1_060_000.0;
        let check = |text: &str, forbidden: bool, demanded: bool, is_lower_bound: bool| {
            let condition: Condition = text.parse().unwrap();
            let [forbid, demand] = [condition.forbid(&report), condition.demand(&report)];
            assert_eq!((forbid.passed, demand.passed), (forbidden, demanded), "{text}");
            assert_eq!(forbid.is_lower_bound, is_lower_bound, "{text}");
        };
        // 1.06 s or more: whether it is above 5 s nobody saw.
        check("p99 > 5s", false, false, true);
        check("p99 >= 5s", false, false, true);
        check("p99 < 5s", false, false, true);
        check("p99 <= 5s", false, false, true);
        check("p99 > 1s", false, true, true);
        check("p99 < 1s", true, false, true);
        check("p99 >= 1.06s", false, true, true);
        check("p99 > 1.06s", false, false, true);
        check("p99 < 1.06s", true, false, true);
        check("p99 <= 1.06s", false, false, true);
        check("mean < 1s", false, false, true);
        check("max < 1s", false, false, true);
        check("min < 1s", false, true, false);
        check("p95 > 1s", true, false, false);
        let told = Condition::from_str("p99 > 5s").unwrap().forbid(&report).in_words();
        assert_eq!(told, "p99 > 5s: p99 was ≥1.06 s, a lower bound");
        // Results that were saved before there was such a figure.
        (report.censored, report.exact_below) = (0, 0.0);
        assert!(Condition::from_str("p99 > 5s").unwrap().forbid(&report).passed);
    }

    #[test]
    fn what_is_longer_than_a_histogram_tells_apart_is_a_lower_bound() {
        let mut report = report();
        for times in [&mut report.latency_us, &mut report.connect_us] {
            (times.samples, times.saturated) = (1_000, 45);
            (times.p99, times.p90) = (3_600e6, 1e6);
        }
        report.exact_below = 1.0;
        for metric in ["p99", "connect_p99"] {
            let judged = |text: &str| Condition::from_str(text).unwrap().forbid(&report);
            assert!(!judged(&format!("{metric} > 2h")).passed, "{metric}");
            assert!(judged(&format!("{metric} > 2h")).is_lower_bound, "{metric}");
        }
        assert!(Condition::from_str("p90 > 2s").unwrap().forbid(&report).passed);
    }

    #[test]
    fn service_times_have_lower_bounds_of_their_own() {
        let mut report = report();
        (0..50).for_each(|_| report.histograms.censored_service.record(1));
        report.service_time_us = report.histograms.success_service_time().latency();
        let check = |text: &str, passed: bool| {
            assert_eq!(Condition::from_str(text).unwrap().forbid(&report).passed, passed, "{text}");
        };
        check("service_p99 > 5s", false);
        check("p99 > 5s", true);
    }

    #[test]
    fn the_help_lists_every_figure() {
        let (_, list) = crate::args::RUN_EXAMPLES.split_once("Figures of --fail-if: ").unwrap();
        let (list, _) = list.split_once(". ").unwrap();
        let words: Vec<&str> = list.split([' ', ',', ';', '\n']).collect();
        let times = TIMES.iter().map(|(start, ..)| *start).filter(|start| !start.is_empty());
        let statistics = STATISTICS.iter().map(|(name, ..)| *name);
        for name in statistics.chain(times).chain(FIGURES.iter().map(|(name, ..)| *name)) {
            assert!(words.contains(&name), "{name}: {words:?}");
        }
    }

    #[test]
    fn wrong_conditions_say_what_is_allowed() {
        let check = |text: &str, part: &str| {
            let error = Condition::from_str(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "one of > >= < <=");
        check("p99 = 5ms", "one of > >= < <=");
        check("p98 > 5ms", "p50, p75, p90, p95, p99, p99.9");
        check("lag > 5ms", "service_, response_, first_byte_");
        check("> 5ms", "no figure is called \"\"");
        check("p99 > 5", "write 250us, 5ms, 1.5s or 2m");
        check("p99 >", "write 250us, 5ms, 1.5s or 2m");
        check("p99 > 5%", "is not a time");
        check("error_rate > 5ms", "write 0.1% or 0.001");
        check("error_rate > 200%", "write 0.1% or 0.001");
        check("error_rate > nan", "write 0.1% or 0.001");
        check("rate < fast", "write 500, 49k or 1.5M");
    }

    #[test]
    fn a_figure_that_is_its_limit_is_neither_above_nor_below_it() {
        let check = |figure: &str, limit: &str, report: &Report| {
            for (order, holds) in [(">", false), (">=", true), ("<", false), ("<=", true)] {
                let text = format!("{figure} {order} {limit}");
                let outcome = Condition::from_str(&text).unwrap().demand(report);
                assert_eq!(outcome.passed, holds, "{text}: {outcome:?}");
            }
        };
        let mut report = report();
        for tenths in 0..=1_000_u32 {
            (report.errors, report.requests) = (tenths.into(), (1_000 - tenths).into());
            check("error_rate", &format!("{}.{}%", tenths / 10, tenths % 10), &report);
        }
        for nanos in (1..5_000_u32).map(|step| step * 1_013) {
            report.latency_us.p99 = f64::from(nanos) / 1e3;
            check("p99", &format!("{}.{:03}us", nanos / 1_000, nanos % 1_000), &report);
            check("p99", &format!("{}.{:06}ms", nanos / 1_000_000, nanos % 1_000_000), &report);
        }
        for rate in (1..200_u32).map(|step| step * 1_005) {
            report.requests_per_second = rate.into();
            check("rate", &format!("{}.{:03}k", rate / 1_000, rate % 1_000), &report);
        }
    }

    #[test]
    fn exit_codes_have_an_order() {
        let check = |fail_if: &[&str], valid: bool, requests: u64, expected: Exit| {
            let fail_if = fail_if.iter().map(|text| text.parse().unwrap()).collect();
            let args = ThresholdArgs { fail_if, require_valid: true };
            let mut report = report();
            (report.verdict.valid, report.requests) = (valid, requests);
            assert_eq!(args.exit(&report, &args.judge(&report)), expected, "{args:?}");
        };
        check(&[], true, 1, Exit::Ok);
        check(&[], false, 1, Exit::Invalid);
        check(&["p99 > 5ms"], true, 1, Exit::Ok);
        check(&["p99 > 5ms", "p50 > 1us"], false, 1, Exit::ThresholdFailed);
        check(&["p50 > 1us"], false, 0, Exit::NoResponse);
    }

    #[test]
    fn nothing_is_judged_of_a_warm_up() {
        let check = |interrupted, measured, warmed_up, expected: Exit| {
            let fail_if = vec!["p50 > 1us".parse().unwrap()];
            let args = ThresholdArgs { fail_if, require_valid: true };
            let mut report = Report { interrupted, requests: measured, ..report() };
            report.warm_up.requests = warmed_up;
            assert_eq!(args.exit(&report, &args.judge(&report)), expected, "{measured}");
        };
        check(true, 0, 9, Exit::Interrupted);
        check(true, 0, 0, Exit::NoResponse);
        check(false, 0, 9, Exit::NoResponse);
        check(true, 1, 9, Exit::ThresholdFailed);
    }

    #[test]
    fn an_outcome_reads_so() {
        let args = ["p99 > 5ms", "error_rate > 0.1%", "rate < 49k", "shed > 0"];
        let fail_if = args.iter().map(|text| text.parse().unwrap()).collect();
        let outcomes = ThresholdArgs { fail_if, require_valid: false }.judge(&report());
        let told: Vec<(bool, String)> =
            outcomes.iter().map(|outcome| (outcome.passed, outcome.in_words())).collect();
        let expected = [
            (true, "p99 > 5ms: p99 was 413 us"),
            (false, "error_rate > 0.1%: error_rate was 1.0%"),
            (true, "rate < 49k: rate was 341,235 a second"),
            (false, "shed > 0: shed was 350"),
        ];
        assert_eq!(told, expected.map(|(passed, words)| (passed, words.to_owned())));
    }

    #[test]
    fn no_figure_is_rounded_to_the_limit_that_it_is_beyond() {
        let mut report = report();
        (report.requests, report.errors, report.shed) = (999_960, 40, 0);
        report.status.success = 999_960;
        let check = |text: &str, expected: &str| {
            let told = Condition::from_str(text).unwrap().forbid(&report).in_words();
            assert_eq!(told, format!("{text}: {expected}"));
        };
        check("error_rate > 0.003%", "error_rate was 0.004%");
        check("error_rate > 0.1%", "error_rate was 0.004%");
        check("success_rate < 99.999%", "success_rate was 99.996%");
        check("shed_rate > 0.01%", "shed_rate was 0.00%");
    }
}
