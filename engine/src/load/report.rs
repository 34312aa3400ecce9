//! What a run found, as plain data: it serialises to the documented JSON, is read back from it, and is printed elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::details::{NameReport, StageReport, WarmUp};
use super::histogram::{Coarse, Histogram};
use super::status::StatusCounts;
use super::verdict::Verdict;

/// Version of the layout of [`Report`].
pub const SCHEMA_VERSION: u32 = 1;

/// The figures of one run. Requests are counted by outcome: each ends in exactly one.
///
/// ```
/// use ringshot::load::{MergeError, Report, SCHEMA_VERSION, StatusCounts};
///
/// let part = |success: u64, seconds: f64| Report {
///     schema_version: SCHEMA_VERSION,
///     requests: success,
///     status: StatusCounts { success, ..StatusCounts::default() },
///     seconds,
///     requests_per_second: success as f64 / seconds,
///     ..Report::default()
/// };
/// let whole = Report::merge(&[("left".to_owned(), part(300, 2.0)), ("right".to_owned(), part(120, 2.0))])?;
/// assert_eq!((whole.requests, whole.successes_per_second()), (420, 210.0));
/// assert!(!whole.is_throttled() && !whole.hits_own_limits());
/// assert!(!whole.reached_its_rate()); // a closed loop has none
/// # Ok::<(), MergeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Version of this layout; it changes when a key changes its meaning or goes.
    pub schema_version: u32,
    /// The driver that ran: `io_uring` or `epoll`; `mixed` in a report merged of runs that differ in it.
    pub driver: String,
    /// The host that ran: `thread` or `glommio`, or `mixed`.
    pub host: String,
    /// When requests were due: `closed`, `constant`, `poisson` or `recorded`, or `mixed`.
    pub arrival: String,
    /// The stages of a schedule whose rate was to change, in their order; empty where it was not, and in a closed loop. Of reports merged with stages of the same lengths
    /// the sums of their rates; `None` (null in JSON) where the lengths differ, and in a report saved before this was known.
    pub stages: Option<Vec<StageReport>>,
    /// How late a request might leave so that several went out at once, in microseconds; zero if each was sent when due, `None` (null in JSON) in a report
    /// merged of runs that differ in it.
    #[serde(default = "not_asked_for")]
    pub slack_us: Option<f64>,
    /// How long before a request was due its core watched the clock, in microseconds; zero if it slept, `None` (null in JSON) in a report merged of runs that
    /// differ in it.
    #[serde(default = "not_asked_for")]
    pub spin_us: Option<f64>,
    /// Requests a second that the schedule asked for, on average over `sending_seconds`; zero in a closed loop.
    pub target_per_second: f64,
    /// Requests completed with a whole response, whatever its status, which met what was expected of it.
    pub requests: u64,
    /// Requests that ended without such a response: every outcome but the status classes and `cancelled`.
    pub errors: u64,
    /// Requests still unanswered when the run's drain time ended; neither in `requests` nor in `errors`.
    pub cancelled: u64,
    /// Pipelined requests sent once more, because the server closed before it took them up.
    pub resent: u64,
    /// Requests that were due in the measured time: all that were sent, in a closed loop. Sent, shed, and failed without being sent make it up.
    pub offered: u64,
    /// Requests that were handed to a connection; `requests`, `errors` and `cancelled` but for those whose connection could not be made.
    pub sent: u64,
    /// Requests that were due and given up unsent: too late for the limit that was set, or still waiting when the run ended.
    pub shed: u64,
    /// Requests sent more than a millisecond after they were due.
    pub late: u64,
    /// Requests whose end nobody saw, recorded at the age that they had: `cancelled`, and those shed because the run was over, which have no service time.
    pub censored: u64,
    /// Requests that were due while all connections were busy.
    pub waited: u64,
    /// Requests of an open loop that were answered later than a median service time after the last one was due: a backlog, or a few slow answers.
    pub behind: u64,
    /// Length of the measured time, in seconds: `sending_seconds` and, unless an open loop's server kept up with the rate, what it took from then on until all but
    /// 1 % of the responses had come. Neither errors nor a few late responses make it longer.
    pub seconds: f64,
    /// The part of `seconds` in which requests were due or, in a closed loop, sent: what a run waited for its last responses is not in it.
    pub sending_seconds: f64,
    /// From the start of the measured time to the last response, in seconds.
    pub last_response_seconds: f64,
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
    /// The headline: response times of successful requests (2xx), in microseconds; the same as `response_time_us`.
    pub latency_us: Latency,
    /// From when a successful request (2xx) was due to its last byte, in microseconds; censored requests are in it at their age.
    pub response_time_us: Latency,
    /// From a successful request (2xx) being sent to its last byte, in microseconds; censored requests are in it at their age.
    pub service_time_us: Latency,
    /// From a request being sent to the first byte of its response, in microseconds, of successful requests (2xx).
    pub first_byte_us: Latency,
    /// From a connection being asked for to its being there, in microseconds, of all connections.
    pub connect_us: Latency,
    /// From when a request was due to its being sent, in microseconds; empty in a closed loop.
    pub schedule_lag_us: Latency,
    /// The client's own part of the lag: from when a request was due, its slack (`slack_us`) over and a connection free, to its being sent, in microseconds.
    pub client_lag_us: Latency,
    /// The share of samples of `response_time_us`, 0 to 1, from which on percentiles are lower bounds, because censored requests lie there, or
    /// samples that are longer than a histogram tells apart (`saturated`); 1 if there are none.
    pub exact_below: f64,
    /// Response times by class, in microseconds: `2xx`, `3xx`, `4xx`, `5xx`, `other` and `error`. Only classes that occurred. Requests that failed before they could be sent are in `error` from when they
    /// were due; in a closed loop, where nothing is due, they are in none.
    pub classes: BTreeMap<String, Latency>,
    /// Completed requests by status class.
    pub status: StatusCounts,
    /// Those of `status` whose requests say which status they expect: what was wanted, whatever its class.
    pub status_expected: StatusCounts,
    /// All requests by outcome: `2xx` and the like, `connect`, `reset`, `timeout`, `protocol_<kind>`, `behind_failed`, `unexpected_<what>`, `cancelled`.
    /// Only outcomes that occurred.
    pub outcomes: BTreeMap<String, u64>,
    /// The first example of each kind of error, in words.
    pub error_examples: BTreeMap<String, String>,
    /// Errors by kind and system error number, such as `connect ECONNREFUSED`. Only those that occurred.
    pub error_causes: BTreeMap<String, u64>,
    /// The first example of each of `error_causes`, in words, with its remedy where that is known.
    pub error_cause_examples: BTreeMap<String, String>,
    /// Connections opened, those of reconnects included.
    pub connections_opened: u64,
    /// Dials that failed, and connections that the server ended before anything was sent on them, where no request was lost by it: before the clock started, or
    /// while none was due. The others ended a request each, in `errors`.
    pub connect_failures: u64,
    /// `connect_failures` by kind and system error number, as `error_causes`.
    pub connect_failure_causes: BTreeMap<String, u64>,
    /// The first example of each of them, in words, with its remedy where that is known.
    pub connect_failure_examples: BTreeMap<String, String>,
    /// System calls of the client threads a request, counted by the engine.
    pub system_calls_per_request: f64,
    /// Completions handled in one turn of the loop, on average over the turns that had any.
    pub completions_per_turn: f64,
    /// The share of the measured time that users spent in think times, 0 to 1; zero without them and in an open loop.
    pub think_share: f64,
    /// Cores' worth of CPU time that the quota of this process's control group allows (cgroups(7)); `None` (null in JSON) without one, the tightest of several
    /// machines'.
    pub cpu_quota: Option<f64>,
    /// How long such a quota kept the threads of the control group from running in the measured time and the drain behind it, in seconds summed over its cores;
    /// that of the worst of several machines.
    pub throttled_seconds: f64,
    /// What was sent before the clock started.
    pub warm_up: WarmUp,
    /// Figures by name of request, in the order of the scenario; empty for a request without a name, as a plain URL is.
    pub names: Vec<NameReport>,
    /// One slot a second, or longer ones in a long run.
    pub timeline: Vec<Slot>,
    /// What the kernel says of the connections; `None` if it was not asked or can't tell.
    pub sockets: Option<SocketsReport>,
    /// What limited this run.
    pub verdict: Verdict,
    /// Each core's share.
    pub cores: Vec<CoreReport>,
    /// The largest resident set of the process so far, in bytes.
    pub resident_bytes_max: u64,
    /// Feeds that give each row once and ran out of them, which ended the run.
    pub exhausted_feeds: Vec<String>,
    /// True if the run was cut short (Ctrl-C).
    pub interrupted: bool,
    /// The samples themselves, so that reports can be merged exactly and drawn again.
    pub histograms: Histograms,
}

/// The pacing of a report that does not say it.
#[allow(clippy::unnecessary_wraps)] // The field is an `Option`, as runs that differ have none.
fn not_asked_for() -> Option<f64> {
    Some(0.0)
}

/// Percentiles of a histogram, in microseconds. All zero when nothing was recorded.
///
/// ```
/// use ringshot::load::Histogram;
///
/// let mut times = Histogram::new();
/// (1..=1000_u64).for_each(|micros| times.record(micros * 1000));
/// let latency = times.latency();
/// assert_eq!((latency.samples, latency.min.round(), latency.p50.round()), (1000, 1.0, 500.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean: f64,
    /// The smallest sample.
    pub min: f64,
    /// Half of the samples are at or below this.
    pub p50: f64,
    /// The 75th percentile.
    pub p75: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p99_9: f64,
    /// The 99.99th percentile.
    pub p99_99: f64,
    /// The 99.999th percentile.
    pub p99_999: f64,
    /// The largest sample.
    pub max: f64,
    /// Standard deviation.
    pub stdev: f64,
    /// Samples recorded.
    pub samples: u64,
    /// Samples above the histogram's hour: counted here and recorded as an hour, so that percentiles which read an hour mean "an hour or more", as `exact_below`
    /// tells. In results that were saved once it is 60 s.
    pub saturated: u64,
    /// 95 % interval of `p50`, low and high; it supposes nothing of the distribution. Where there are too few samples for an upper end, or censored requests lie
    /// there, that is infinite: null in JSON, here and in the others.
    #[serde(deserialize_with = "interval")]
    pub p50_interval: [f64; 2],
    /// 95 % interval of `p99`.
    #[serde(deserialize_with = "interval")]
    pub p99_interval: [f64; 2],
    /// 95 % interval of `p99_9`.
    #[serde(deserialize_with = "interval")]
    pub p99_9_interval: [f64; 2],
    /// 95 % interval of `p99_99`.
    #[serde(deserialize_with = "interval")]
    pub p99_99_interval: [f64; 2],
    /// 95 % interval of `p99_999`.
    #[serde(deserialize_with = "interval")]
    pub p99_999_interval: [f64; 2],
    /// Samples beyond the 99.9th percentile: what it rests on.
    pub p99_9_samples: u64,
    /// Samples beyond the 99.99th percentile.
    pub p99_99_samples: u64,
    /// Samples beyond the 99.999th percentile.
    pub p99_999_samples: u64,
}

/// JSON has no infinity: an end that is not there is null.
fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<[f64; 2], D::Error> {
    let ends = <[Option<f64>; 2]>::deserialize(from)?;
    Ok(ends.map(|end| end.unwrap_or(f64::INFINITY)))
}

/// A slice of the measured time, over all cores.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// Its start, in seconds from the start of the measured time.
    pub start: f64,
    /// Its length in seconds; the last one may be shorter.
    pub seconds: f64,
    /// Requests that were due in it, as far as they were looked at.
    pub offered: u64,
    /// Responses completed in it.
    pub requests: u64,
    /// Errors in it.
    pub errors: u64,
    /// Bytes received in it.
    pub bytes: u64,
    /// Median response time of the successful requests (2xx) that ended in it, in microseconds, good to 3 %; zero if there were none.
    pub p50: f64,
    /// 99th percentile, good to 3 %.
    pub p99: f64,
    /// The largest, good to 3 %.
    pub max: f64,
    /// The buckets behind these: pairs of [`Coarse`] bucket and count.
    pub buckets: Coarse,
}

/// What the kernel said of a run's connections, in samples taken twice a second (sock_diag(7), tcp(7)).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SocketsReport {
    /// Connections looked at, over all samples.
    pub samples: u64,
    /// Segments sent in the measured time, by the connections that were looked at, up to the last look.
    pub segments_sent: u64,
    /// Segments sent again among them.
    pub segments_retransmitted: u64,
    /// Segments with data received in the measured time by the same connections (Linux 4.6; else zero).
    pub segments_received: u64,
    /// Segments among them that came before one that was sent earlier: most often because that one was lost (Linux 5.4; else zero).
    pub segments_out_of_order: u64,
    /// Median smoothed round trip in microseconds.
    pub rtt_us: f64,
    /// The least round trip of a connection in microseconds, as the median over the connections (Linux 4.6; else zero).
    pub min_rtt_us: f64,
    /// Bytes received and not yet read by us, on average over the samples.
    pub receive_queue_bytes: f64,
    /// Bytes sent and not yet acknowledged by the server, on average over the samples.
    pub send_queue_bytes: f64,
    /// Bytes that the server's end had received and not read, on average over the samples of those; `None` unless the server is on this machine.
    pub server_queue_bytes: Option<f64>,
}

/// One core's share of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CoreReport {
    /// The machine it belongs to, in a report merged of several; else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub machine: String,
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
    /// Share of the time in which requests were sent that the thread was on the CPU, 0 to 1.
    pub busy: f64,
    /// Share of that time in which the thread was ready to run while its core ran another, 0 to 1 (`/proc/PID/schedstat`); zero where the kernel does not say.
    pub run_delay: f64,
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

/// The samples of a run, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Histograms {
    /// Response times by class, as in [`Report::classes`].
    pub response_time: BTreeMap<String, Histogram>,
    /// Service times by class.
    pub service_time: BTreeMap<String, Histogram>,
    /// Ages of censored requests, from when they were due.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub censored_response: Histogram,
    /// Ages of censored requests, from when they were sent.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub censored_service: Histogram,
    /// As [`Report::first_byte_us`].
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub first_byte: Histogram,
    /// As [`Report::connect_us`].
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub connect: Histogram,
    /// As [`Report::schedule_lag_us`].
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub schedule_lag: Histogram,
    /// As [`Report::client_lag_us`].
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub client_lag: Histogram,
}

impl Report {
    /// Successes (2xx and 3xx) a second: as `requests_per_second`, without the responses that refused what was asked.
    #[must_use]
    pub fn successes_per_second(&self) -> f64 {
        self.requests_per_second * self.status.successes() as f64 / self.requests.max(1) as f64
    }

    /// Responses that are neither a success (2xx or 3xx) nor what their request expects.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.status.refusals().saturating_sub(self.status_expected.refusals())
    }
}
