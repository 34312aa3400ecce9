//! What follows from a report's histograms: percentiles, and from where on they are lower bounds. Arithmetic only.

use std::collections::BTreeMap;

use super::details::NameReport;
use super::histogram::Histogram;
use super::merge::per;
use super::report::{Histograms, Latency, Report};

/// The class of the headline.
const SUCCESS: &str = "2xx";

impl Histograms {
    /// Response times of successful requests (2xx), with those of censored ones at their age: what the headline rests on.
    #[must_use]
    pub fn success_response_time(&self) -> Histogram {
        success(&self.response_time, &self.censored_response)
    }

    /// Service times of successful requests (2xx), with those of censored ones at their age.
    #[must_use]
    pub fn success_service_time(&self) -> Histogram {
        success(&self.service_time, &self.censored_service)
    }

    /// As [`Report::exact_below`], of service times.
    #[must_use]
    pub fn service_time_exact_below(&self) -> f64 {
        exact_below(&self.success_service_time(), &self.censored_service)
    }
}

impl Report {
    /// Sets what follows from the histograms.
    pub(super) fn set_times(&mut self) {
        let histograms = &self.histograms;
        let response_time = histograms.success_response_time();
        self.response_time_us = latency(&response_time, &histograms.censored_response);
        self.latency_us = self.response_time_us;
        self.service_time_us =
            latency(&histograms.success_service_time(), &histograms.censored_service);
        self.first_byte_us = histograms.first_byte.latency();
        self.connect_us = histograms.connect.latency();
        self.schedule_lag_us = histograms.schedule_lag.latency();
        self.client_lag_us = histograms.client_lag.latency();
        self.exact_below = exact_below(&response_time, &histograms.censored_response);
        self.classes = latencies(&histograms.response_time);
    }
}

impl NameReport {
    /// Sets what follows from the histograms.
    pub(super) fn set_times(&mut self) {
        let mut all = self.histogram.clone();
        all.add(&self.censored_histogram);
        self.latency_us = latency(&all, &self.censored_histogram);
        self.exact_below = exact_below(&all, &self.censored_histogram);
    }
}

/// From which bucket on the times of `all`, which holds `censored` too, are lower bounds: those of requests whose end nobody saw, and those that are longer than
/// a histogram tells apart.
fn bounds_from(all: &Histogram, censored: &Histogram) -> Option<u64> {
    let youngest = censored.buckets().next().map(|(nanos, _)| nanos);
    [youngest, all.saturated_from].into_iter().flatten().min()
}

/// The figures of `all`, which holds `censored` too. An upper end of an interval among lower bounds is one itself, so that none is known.
fn latency(all: &Histogram, censored: &Histogram) -> Latency {
    let mut latency = all.latency();
    let Some(bounds_from) = bounds_from(all, censored) else { return latency };
    let intervals = [
        &mut latency.p50_interval,
        &mut latency.p99_interval,
        &mut latency.p99_9_interval,
        &mut latency.p99_99_interval,
        &mut latency.p99_999_interval,
    ];
    for [_, high] in intervals {
        if *high >= bounds_from as f64 / 1e3 {
            *high = f64::INFINITY;
        }
    }
    latency
}

fn success(classes: &BTreeMap<String, Histogram>, censored: &Histogram) -> Histogram {
    let mut times = classes.get(SUCCESS).cloned().unwrap_or_default();
    times.add(censored);
    times
}

/// The share of `all`, which holds `censored` too, that lies below every sample that is a lower bound.
pub(super) fn exact_below(all: &Histogram, censored: &Histogram) -> f64 {
    let Some(bounds_from) = bounds_from(all, censored) else { return 1.0 };
    let below = all.buckets().take_while(|(nanos, _)| *nanos < bounds_from);
    per(below.map(|(_, count)| count).sum::<u64>() as f64, all.len() as f64)
}

fn latencies(classes: &BTreeMap<String, Histogram>) -> BTreeMap<String, Latency> {
    classes.iter().map(|(class, times)| (class.clone(), times.latency())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(millis: &[u64]) -> Histogram {
        let mut times = Histogram::new();
        millis.iter().for_each(|millis| times.record(millis * 1_000_000));
        times
    }

    #[test]
    fn percentiles_are_exact_below_the_youngest_censored_request() {
        let histograms = Histograms {
            response_time: BTreeMap::from([("2xx".to_owned(), times(&[1, 2, 3, 50]))]),
            service_time: BTreeMap::from([("2xx".to_owned(), times(&[1, 2, 3, 4]))]),
            censored_response: times(&[40]),
            censored_service: times(&[30]),
            ..Histograms::default()
        };
        let mut report = Report { histograms, ..Report::default() };
        report.set_times();
        assert_eq!((report.exact_below, report.latency_us.samples), (0.6, 5));
        assert_eq!(report.histograms.service_time_exact_below(), 0.8);
        assert_eq!(report.classes["2xx"].samples, 4);
        assert_eq!(exact_below(&times(&[1]), &Histogram::new()), 1.0);
    }

    #[test]
    fn percentiles_are_exact_below_what_is_longer_than_an_hour() {
        let mut all = times(&[1, 2, 3, 70_000]);
        assert_eq!(exact_below(&all, &Histogram::new()), 1.0);
        all.record(u64::MAX);
        assert_eq!(exact_below(&all, &Histogram::new()), 0.8);
        assert_eq!(exact_below(&all, &times(&[3])), 0.4);
        let none = Histogram::new();
        assert_eq!(latency(&all, &none).p50_interval[1], f64::INFINITY);
        let mut report = Report::default();
        report.histograms.response_time.insert("2xx".to_owned(), all);
        report.set_times();
        assert_eq!((report.exact_below, report.latency_us.saturated), (0.8, 1));
    }

    #[test]
    fn an_interval_has_no_upper_end_among_censored_requests() {
        let answered: Vec<u64> = (1..=5_000).collect();
        let highs = |censored: &[u64]| {
            let mut all = times(&answered);
            all.add(&times(censored));
            let latency = latency(&all, &times(censored));
            [latency.p50_interval, latency.p99_interval, latency.p99_9_interval].map(|it| it[1])
        };
        assert!(highs(&[]).iter().all(|high| high.is_finite()));
        // Older than all that was answered: only of the tail nobody knows how long it is.
        let [median, _, tail] = highs(&[9_000; 20]);
        assert!((median / 1e3 - 2_580.0).abs() < 30.0 && tail == f64::INFINITY, "{median} {tail}");
        // Younger than the median, which is a lower bound itself.
        assert_eq!(highs(&[100; 20]), [f64::INFINITY; 3]);
        let all = latency(&times(&[9_000; 500]), &times(&[9_000; 500]));
        assert!(all.p50_interval[0] > 8.9e6, "the lower end holds: {all:?}");
    }
}
