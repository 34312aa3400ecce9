//! What a report tells of parts of its run: the warm-up, the stages of its schedule, the names of its requests. Plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::report::Latency;

/// What was sent before the clock started, in no other figure.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WarmUp {
    /// Its length in seconds.
    pub seconds: f64,
    /// Requests completed with a response.
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Requests that were due in it, in an open loop, and were not sent: too late for the limit that was set, or waiting when it ended.
    pub shed: u64,
    /// Median response time of successful requests in microseconds.
    pub p50_us: f64,
    /// 99th percentile of theirs in microseconds.
    pub p99_us: f64,
}

/// A stage of a schedule: a length of time in which the rate goes evenly from one value to another.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StageReport {
    /// Its length.
    pub seconds: f64,
    /// Requests a second at its start.
    pub from_per_second: f64,
    /// Requests a second at its end.
    pub to_per_second: f64,
}

/// `10s:0..500`, or `30s:500` where the rate stays.
impl fmt::Display for StageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, from_per_second: from, to_per_second: to } = self;
        match from == to {
            true => write!(f, "{seconds}s:{from}"),
            false => write!(f, "{seconds}s:{from}..{to}"),
        }
    }
}

/// One named request of a scenario.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NameReport {
    /// Its name.
    pub name: String,
    /// Requests completed with a response that met what was expected.
    pub requests: u64,
    /// Requests that ended in an error.
    pub errors: u64,
    /// Requests still unanswered when the run's drain time ended; neither in `requests` nor in `errors`.
    #[serde(default)]
    pub cancelled: u64,
    /// Requests whose end nobody saw: as [`Report::censored`](super::Report::censored).
    #[serde(default)]
    pub censored: u64,
    /// Response times in microseconds of successful requests: 2xx, and where a request says which status it expects, all that had it. Censored requests are in it at
    /// their age.
    pub latency_us: Latency,
    /// As [`Report::exact_below`](super::Report::exact_below), of `latency_us`.
    #[serde(default = "exact_throughout")]
    pub exact_below: f64,
    /// The samples of successful requests.
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    pub histogram: Histogram,
    /// Ages of censored requests.
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    pub censored_histogram: Histogram,
}

/// Of a name that was saved without its censored requests.
fn exact_throughout() -> f64 {
    1.0
}
