//! Results with every field set, for the tests of everything that shows them.

use std::collections::BTreeMap;

use ringshot::load::compare::Series;

use ringshot::load::{
    Comparison, CoreReport, Histogram, Histograms, Latency, Limit, Report, Slot, StatusCounts,
    Verdict,
};

use super::json::{CompareDocument, RunDocument, Settings, Unmeasured};
use crate::placement::{Placement, Shared};
use crate::thresholds::ThresholdOutcome;

pub(crate) fn report() -> Report {
    Report {
        schema_version: 1,
        driver: "io_uring".to_owned(),
        host: "thread".to_owned(),
        arrival: "closed".to_owned(),
        slack_us: Some(0.0),
        spin_us: Some(0.0),
        requests: 3_412_345,
        errors: 0,
        cancelled: 0,
        resent: 0,
        seconds: 10.0,
        requests_per_second: 341_234.5,
        bytes_per_second: 55_300_000.0,
        cpu_us_per_request: 2.93,
        cpu_user_us_per_request: 0.31,
        cpu_system_us_per_request: 2.62,
        latency_us: Latency {
            mean: 187.3,
            stdev: 61.5,
            min: 92.1,
            p50: 180.1,
            p75: 212.0,
            p95: 289.0,
            p90: 245.0,
            p99: 412.7,
            p99_9: 1_234.5,
            p99_99: 4_567.8,
            p99_9_interval: [1_220.1, 1_240.9],
            p99_99_interval: [4_400.0, 4_700.0],
            p99_9_samples: 3_412,
            p99_99_samples: 341,
            max: 23_456.7,
            samples: 3_412_345,
            ..Latency::default()
        },
        exact_below: 1.0,
        status: StatusCounts { success: 3_412_345, ..StatusCounts::default() },
        outcomes: BTreeMap::from([("2xx".to_owned(), 3_412_345)]),
        error_examples: BTreeMap::new(),
        connections_opened: 64,
        system_calls_per_request: 0.0312,
        completions_per_turn: 31.5,
        cores: vec![core()],
        resident_bytes_max: 9_876_543,
        ..Report::default()
    }
}

/// The closed loop of [`report`].
pub(crate) fn document() -> RunDocument {
    RunDocument {
        ringshot_version: "0.1.0".to_owned(),
        method: "GET".to_owned(),
        url: "http://127.0.0.1:8080/".to_owned(),
        connections: 64,
        pipeline: 1,
        resolve_us: 0.0,
        machines: Vec::new(),
        report: report(),
        thresholds: Vec::new(),
    }
}

/// Ten seconds at 5,000 requests a second, with a stall of 20 ms once a second, 10 requests shed and 3 censored.
pub(crate) fn open_loop() -> RunDocument {
    let thresholds = [
        ("p99 > 5ms", "p99", 12_400.0, 5_000.0, false),
        ("rate < 4k", "rate", 4998.7, 4_000.0, true),
    ];
    let threshold =
        |(text, metric, value, limit, passed): (&str, &str, f64, f64, bool)| ThresholdOutcome {
            text: text.to_owned(),
            metric: metric.to_owned(),
            value: Some(value),
            is_lower_bound: false,
            limit,
            passed,
        };
    RunDocument {
        resolve_us: 120.5,
        report: open_loop_report(),
        thresholds: thresholds.into_iter().map(threshold).collect(),
        ..document()
    }
}

fn open_loop_report() -> Report {
    let histograms = histograms();
    let response_time = histograms.success_response_time().latency();
    Report {
        arrival: "constant".to_owned(),
        target_per_second: 5_000.0,
        requests: 49_987,
        requests_per_second: 4_998.7,
        cancelled: 3,
        offered: 50_000,
        sent: 49_990,
        shed: 10,
        late: 12,
        censored: 3,
        waited: 700,
        latency_us: response_time,
        response_time_us: response_time,
        service_time_us: histograms.success_service_time().latency(),
        schedule_lag_us: histograms.schedule_lag.latency(),
        exact_below: 0.999_74,
        classes: BTreeMap::from([("2xx".to_owned(), histograms.response_time["2xx"].latency())]),
        status: StatusCounts { success: 49_987, ..StatusCounts::default() },
        outcomes: BTreeMap::from([("2xx".to_owned(), 49_987), ("cancelled".to_owned(), 3)]),
        timeline: (0..10).map(slot).collect(),
        verdict: Verdict {
            limit: Limit::Server,
            valid: true,
            summary: "The server was the limit: it left requests waiting for a connection."
                .to_owned(),
            evidence: vec!["the busiest core was on the CPU 41.0% of the time".to_owned()],
        },
        histograms,
        ..report()
    }
}

/// Service times of 100 to 400 us; a hundredth of the requests meet the stall before they are sent.
fn histograms() -> Histograms {
    let (mut response, mut service, mut lag) =
        (Histogram::new(), Histogram::new(), Histogram::new());
    for request in 0..49_987_u64 {
        let nanos = 100_000 + request * 7_919 % 1_000 * 300;
        let stall = 50_u64.saturating_sub(request % 5_000) * 400_000;
        service.record(nanos);
        response.record(nanos + stall);
        lag.record(1_000 + request % 64 * 100);
    }
    let mut censored = Histogram::new();
    (0..3).for_each(|_| censored.record(19_900_000));
    let success = |times| BTreeMap::from([("2xx".to_owned(), times)]);
    Histograms {
        response_time: success(response),
        service_time: success(service),
        censored_response: censored.clone(),
        censored_service: censored,
        schedule_lag: lag,
        ..Histograms::default()
    }
}

fn slot(second: u32) -> Slot {
    Slot {
        start: f64::from(second),
        seconds: 1.0,
        offered: 5_000,
        requests: 4_990 + u64::from(second),
        errors: 0,
        bytes: 700_000,
        p50: 250.0 + f64::from(second),
        p99: 12_000.0,
        max: 20_300.0,
        ..Slot::default()
    }
}

fn core() -> CoreReport {
    CoreReport {
        machine: String::new(),
        core: 1,
        pinned: true,
        connections: 64,
        requests: 3_412_345,
        errors: 0,
        requests_per_second: 341_234.5,
        bytes_per_second: 55_300_000.0,
        busy: 0.998,
        run_delay: 0.0,
        cpu_user_seconds: 1.06,
        cpu_system_seconds: 8.94,
        turns: 108_328,
        completions: 3_412_345,
        system_calls: 106_465,
        queue_overflows: 0,
        buffers_starved: 0,
    }
}

/// Seven rounds in which `io_uring` is a quarter faster, at the same p99.
pub(crate) fn comparison() -> Comparison {
    let rounds = |driver: &str, rate: f64, shift: i32| -> Vec<Report> {
        (0..7)
            .map(|round| {
                let rate = rate * (1.0 + 0.001 * f64::from(round % 3));
                let mut report = report();
                report.driver = driver.to_owned();
                report.requests_per_second = rate;
                report.cpu_us_per_request = 1e6 / rate;
                report.latency_us.p50 = 6.4e7 / rate;
                report.latency_us.p99 = 412.0 + f64::from((round + shift) % 3);
                let mut times = Histogram::new();
                (0..100).for_each(|place| times.record((6.4e10 / rate) as u64 + place * 1_000));
                report.histograms.response_time.insert("2xx".to_owned(), times);
                report
            })
            .collect()
    };
    Comparison::new(
        Series { name: "io_uring", reports: &rounds("io_uring", 400_000.0, 0) },
        Series { name: "epoll", reports: &rounds("epoll", 320_000.0, 1) },
        1,
    )
}

/// Hands `use_it` the document of [`comparison`].
pub(crate) fn with_document<T>(use_it: impl FnOnce(&CompareDocument<'_>) -> T) -> T {
    use_it(&CompareDocument {
        schema_version: 1,
        ringshot_version: "0.1.0",
        url: Some("http://127.0.0.1:4711/"),
        sources: &["http://127.0.0.1:4711/"],
        settings: Some(&Settings {
            method: "GET".to_owned(),
            connections: 64,
            pipeline: 1,
            keep_alive: true,
            rounds: 7,
            round_seconds: 2.0,
            round_warm_up_seconds: 0.2,
            warm_up_seconds: 1.0,
            body_bytes: Some(13),
            seed: 1,
        }),
        placement: Some(&Placement {
            client_cores: vec![1],
            origin_cores: Some(vec![0]),
            shared: Shared::Nothing,
        }),
        asked_for: &[],
        rounds_completed: 7,
        interrupted: false,
        unmeasured: &[Unmeasured { requests: 12_345, ..Unmeasured::default() }; 2],
        comparison: &comparison(),
    })
}
