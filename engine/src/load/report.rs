//! What a run found, as plain data: it serialises to the documented JSON and is printed elsewhere.

use std::collections::BTreeMap;

use serde::Serialize;

/// Version of the layout of [`Report`].
pub const SCHEMA_VERSION: u32 = 1;

/// The figures of one run. Requests are counted by outcome: each ends in exactly one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this layout; it changes when a key changes its meaning or goes.
    pub schema_version: u32,
    /// The driver that ran: `io_uring` or `epoll`.
    pub driver: String,
    /// The host that ran: `thread` or `glommio`.
    pub host: String,
    /// Requests completed with a whole response, whatever its status.
    pub requests: u64,
    /// Requests that ended without a response: every outcome but the status classes and `cancelled`.
    pub errors: u64,
    /// Requests still unanswered when the run's drain time ended; neither in `requests` nor in `errors`.
    pub cancelled: u64,
    /// Pipelined requests sent once more, because the server closed before it took them up.
    pub resent: u64,
    /// Length of the measured time, in seconds.
    pub seconds: f64,
    /// `requests` / `seconds`.
    pub requests_per_second: f64,
    /// Bytes received, heads included, a second.
    pub bytes_per_second: f64,
    /// CPU time of the client threads (user and system) a request, in microseconds.
    pub cpu_us_per_request: f64,
    /// The user part of `cpu_us_per_request`.
    pub cpu_user_us_per_request: f64,
    /// The system part of `cpu_us_per_request`.
    pub cpu_system_us_per_request: f64,
    /// From a request being sent to its last byte being read, of completed requests, in microseconds.
    pub latency_us: Latency,
    /// Completed requests by status class.
    pub status: StatusCounts,
    /// All requests by outcome: `2xx` and the like, `connect`, `reset`, `timeout`, `protocol_<kind>`, `cancelled`.
    /// Only outcomes that occurred.
    pub outcomes: BTreeMap<String, u64>,
    /// The first example of each kind of error, in words.
    pub error_examples: BTreeMap<String, String>,
    /// Connections opened, those of reconnects included.
    pub connections_opened: u64,
    /// System calls of the client threads a request, counted by the engine.
    pub system_calls_per_request: f64,
    /// Completions handled in one turn of the loop, on average over the turns that had any.
    pub completions_per_turn: f64,
    /// Each core's share.
    pub cores: Vec<CoreReport>,
    /// The largest resident set of the process so far, in bytes.
    pub resident_bytes_max: u64,
    /// True if the run was cut short (Ctrl-C).
    pub interrupted: bool,
}

/// Percentiles of a histogram, in microseconds. All zero when nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean: f64,
    /// Half of the samples are at or below this.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p99_9: f64,
    /// The 99.99th percentile.
    pub p99_99: f64,
    /// The largest sample.
    pub max: f64,
    /// Samples recorded.
    pub samples: u64,
    /// Samples above the histogram's 60 s: counted here and recorded as 60 s, so that percentiles which read 60 s mean "60 s or more".
    pub saturated: u64,
}

/// Completed requests by status class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StatusCounts {
    /// 200 to 299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    pub redirect: u64,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    pub server_error: u64,
    /// Everything else that is well-formed: 100 to 199 as final status, 600 to 999.
    pub other: u64,
}

/// One core's share of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CoreReport {
    /// The core's number, as the system counts.
    pub core: usize,
    /// Whether the thread could be pinned to it.
    pub pinned: bool,
    /// Connections this core held.
    pub connections: u32,
    /// Requests completed with a response.
    pub requests: u64,
    /// Requests that ended in an error.
    pub errors: u64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Bytes received a second.
    pub bytes_per_second: f64,
    /// Share of the measured time in which the thread was on the CPU, 0 to 1.
    pub busy: f64,
    /// CPU time in user mode, in seconds.
    pub cpu_user_seconds: f64,
    /// CPU time in the kernel, in seconds.
    pub cpu_system_seconds: f64,
    /// Turns of the loop.
    pub turns: u64,
    /// Completions handled.
    pub completions: u64,
    /// System calls made.
    pub system_calls: u64,
    /// Times the completion queue overflowed (`io_uring` only).
    pub queue_overflows: u64,
    /// Times a receive found no free buffer (`io_uring` only).
    pub buffers_starved: u64,
}
