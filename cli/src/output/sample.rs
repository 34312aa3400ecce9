//! Results with every field set, for the tests of everything that shows them.

use std::collections::BTreeMap;

use ringshot::load::compare::Series;

use ringshot::load::{Comparison, CoreReport, Histogram, Latency, Report, StatusCounts};

use super::json::{CompareDocument, Settings};
use crate::placement::{Placement, Shared};

pub(crate) fn report() -> Report {
    Report {
        schema_version: 1,
        driver: "io_uring".to_owned(),
        host: "thread".to_owned(),
        arrival: "closed".to_owned(),
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
            p50: 180.1,
            p90: 245.0,
            p99: 412.7,
            p99_9: 1_234.5,
            p99_99: 4_567.8,
            max: 23_456.7,
            samples: 3_412_345,
            ..Latency::default()
        },
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

fn core() -> CoreReport {
    CoreReport {
        core: 1,
        pinned: true,
        connections: 64,
        requests: 3_412_345,
        errors: 0,
        requests_per_second: 341_234.5,
        bytes_per_second: 55_300_000.0,
        busy: 0.998,
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
        rounds_completed: 7,
        interrupted: false,
        comparison: &comparison(),
    })
}
