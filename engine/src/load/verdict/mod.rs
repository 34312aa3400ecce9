//! What limited a run, from what its cores and sockets showed. Pure: figures in, words out.
//!
//! ```text
//! interrupted before anything was measured ............... unknown
//! requests failed at this machine's own limits ........... client
//! too short, nothing answered, most failed or were never
//! answered, no success ................................... unknown
//! stopped by a CPU quota ................................. client
//! closed loop:  a core without time to spare, which it may
//!               have lost to another program ............. client
//!               one that others kept waiting for longer
//!               than it ran .............................. client
//!               requests without a connection, whose users
//!               waited for the next attempt instead ...... unknown
//!               segments lost ............................ network
//!               users who thought for most of their time . none
//!               most of the time went there and back ..... network
//!               else each connection waited for answers .. server
//! open loop:    rate reached, requests sent on time ...... none
//!               rate reached, requests sent late ......... client
//!               rate missed, a core without time ......... client
//!               rate missed by failures alone, sent on
//!               time or late for connections that broke .. server
//!               rate missed, most waited for a connection  network, or server
//!               rate missed, requests sent late .......... client
//!               rate missed, else ........................ network, or server
//! ```

mod drift;
mod evidence;
mod failures;
mod network;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use drift::Drift;

use super::quota;
use super::report::{CoreReport, Report, Slot};
use network::Obstacle;

/// A shorter run says nothing: connections are still growing their windows, and CPU time is counted in ticks of milliseconds.
pub const SECONDS_MIN: f64 = 0.1;
/// A core that is on the CPU for this share of the time has none to spare: what is left goes to the kernel's own work on that core.
pub const CLIENT_BUSY_MIN: f64 = 0.95;
/// The share of the time that a core may be ready and not run, at most: one that others keep from running for longer sends and reads when they let it, however little it has to do.
const RUN_DELAY_MAX: f64 = 0.5;
/// The share of the time that a core may be ready and not run in a closed loop, at most, where that is more than it runs. A closed loop has no schedule by which its lag would show: whatever comes
/// meanwhile waits, and about that share of the rate is missing. Who runs for longer than it waits is busy, and has its limit above.
const WAIT_SHARE_MAX: f64 = 0.15;
/// The share of the offered rate that must be answered in time. Less is a backlog that grows without end.
pub(super) const RATE_REACHED_MIN: f64 = 0.99;
/// The client's own lag, at the 99th percentile, from which on its lateness is part of the response times: what counts as late for one request. The percentile's
/// 95 % interval must lie above it: of 50 requests one that was disturbed is the 99th percentile, and proves nothing.
const CLIENT_LAG_US_MAX: f64 = 1_000.0;
/// The share of requests that waited for a connection, or were given up, from which on there may simply be too few of them.
const CONNECTIONS_SHORT_MIN: f64 = 0.5;
/// The share of their time from which on it is rather the think times of users than the server that sets their rate.
const THINK_SHARE_MIN: f64 = 0.5;
/// The share of a run that its median response time may be where a single late answer of a few dozen is no backlog. One that grew by 1 % of the rate would have
/// made it longer: as long as it had grown halfway.
const QUICK_MAX: f64 = 0.005;
/// Slots below which the halves of a time line are too short to tell a backlog.
const HALVES_SLOTS_MIN: usize = 4;

/// What limited a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// This program, or the cores that it was given: the figures say little of the server.
    Client,
    /// The server.
    Server,
    /// What lies between.
    Network,
    /// Nothing: the rate that was asked for was reached, or users sent as often as their think times let them.
    None,
    /// The figures don't tell.
    Unknown,
}

/// What limited a run, in words and with the evidence.
///
/// ```
/// use ringshot::load::{Limit, Report, Verdict};
///
/// let verdict = Verdict::of(&Report::default());
/// assert_eq!((verdict.limit, verdict.valid), (Limit::Unknown, false)); // nothing was sent
/// println!("{}", verdict.summary);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What it was.
    pub limit: Limit,
    /// Whether the figures can be taken for the server's: true where the limit was the server, or none.
    pub valid: bool,
    /// One sentence.
    pub summary: String,
    /// What it rests on, a figure each.
    pub evidence: Vec<String>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self::new(Limit::Unknown, "Nothing is known of what limited this run.", Vec::new())
    }
}

impl Verdict {
    fn new(limit: Limit, summary: &str, evidence: Vec<String>) -> Self {
        let valid = matches!(limit, Limit::Server | Limit::None);
        Self { limit, valid, summary: summary.to_owned(), evidence }
    }

    /// What limited the run of a report, whose own verdict is not looked at.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        if report.interrupted && report.seconds <= 0.0 && report.errors == 0 {
            return Self::new(Limit::Unknown, UNMEASURED, Vec::new());
        }
        let evidence = evidence::of(report);
        if let Some((limit, summary)) = failures::judged(report) {
            return Self::new(limit, &summary, evidence);
        }
        let (limit, summary) = match () {
            () if report.is_throttled() => quota::THROTTLED,
            () if is_open(report) => open(report),
            () => closed(report),
        };
        Self::new(limit, &format!("{summary}{}", failures::refusals_told(report)), evidence)
    }
}

const UNMEASURED: &str = "The run was interrupted before anything was measured.";
const FULL_CORE: &str = "The client was the limit: a core of it had no time to spare, so the server may be faster than this.";
const SHARED_CORE: &str =
    "The client was the limit: a core of it had no time to spare, for it ran another program too.";

const WAITING_CORE: &str = "The client was the limit: others ran on a core of it while it had something to do, for longer than it ran itself, and its waiting is part of the figures.";

fn closed(report: &Report) -> (Limit, &'static str) {
    if let Some(words) = no_time_to_spare(report) {
        return (Limit::Client, words);
    }
    if report.cores.iter().any(is_kept_waiting) {
        return (Limit::Client, WAITING_CORE);
    }
    if failures::lack_connections(report) {
        return (
            Limit::Unknown,
            "Connections could not be made, and users waited for the next attempt, not for the server: nothing can be said of a limit.",
        );
    }
    if let Some(lost) = Obstacle::of_losses(report) {
        return (Limit::Network, lost.words());
    }
    if report.think_share >= THINK_SHARE_MIN {
        return (
            Limit::None,
            "Nothing was the limit: users spent most of their time in think times, which set the rate.",
        );
    }
    network_or(
        report,
        "The server was the limit: every connection waited for it while the client had time to spare.",
    )
}

/// When the requests of an open loop left the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Departure {
    InTime,
    /// Surely later than they were due by more than [`CLIENT_LAG_US_MAX`].
    Late,
}

fn open(report: &Report) -> (Limit, &'static str) {
    let [surely, _] = report.client_lag_us.p99_interval;
    let departure = if surely > CLIENT_LAG_US_MAX { Departure::Late } else { Departure::InTime };
    match (reached(report), departure) {
        (true, Departure::InTime) => {
            (Limit::None, "Nothing was the limit: the rate asked for was reached.")
        }
        (true, Departure::Late) => (
            Limit::Client,
            "The rate was reached, but the client sent requests late: its delay is part of the response times.",
        ),
        (false, departure) => missed(report, departure),
    }
}

/// Why the rate was missed.
fn missed(report: &Report, departure: Departure) -> (Limit, &'static str) {
    if let Some(words) = no_time_to_spare(report) {
        return (Limit::Client, words);
    }
    if is_missed_by_failures(report) {
        return match departure {
            Departure::InTime => (Limit::Server, failures::miss_told(report)),
            Departure::Late => (
                Limit::Client,
                "The rate lacks only what failed, but the client sent requests late: its delay is part of the response times.",
            ),
        };
    }
    if is_short_of_connections(report) {
        return network_or(
            report,
            "The server was the limit, at this number of connections: all of them waited for it while the client had time to spare. Only a run with more connections tells whether it could answer more at once.",
        );
    }
    if departure == Departure::Late {
        return (
            Limit::Client,
            "The client was the limit: it sent requests late though connections were free.",
        );
    }
    network_or(
        report,
        "The server was the limit: it answered less than the rate while the client had time to spare.",
    )
}

fn no_time_to_spare(report: &Report) -> Option<&'static str> {
    match () {
        () if busiest(report) >= CLIENT_BUSY_MIN => Some(FULL_CORE),
        () if is_crowded(report) => Some(SHARED_CORE),
        () => None,
    }
}

/// What lies between, where it can be told, else the server, in words that say no more than is known.
fn network_or(report: &Report, server: &'static str) -> (Limit, &'static str) {
    match Obstacle::of(report) {
        Some(obstacle) => (Limit::Network, obstacle.words()),
        None if network::may_slow_bodies(report) => (
            Limit::Server,
            "The server was the limit, or the network: bodies were on their way for most of the time while the client had time to spare.",
        ),
        None => (Limit::Server, server),
    }
}

fn is_open(report: &Report) -> bool {
    report.target_per_second > 0.0
}

/// Whether an open loop's server left no backlog: what it answered came as fast as it became due, whatever part failed or was given up.
pub(super) fn left_no_backlog(report: &Report) -> bool {
    let ended_in = |slot: &Slot| slot.requests + slot.errors;
    is_open(report) && (keeps_pace(report) || half_keeps_pace(&report.timeline, ended_in))
}

impl Report {
    /// Whether the server kept up with an open loop's schedule, be it that the client sent late: then it did so under more than was asked of it, since late requests come in bunches, and response times
    /// have the client's delay in them. False of a closed loop, which has no schedule, and of a run that was too short to tell.
    #[must_use]
    pub fn reached_its_rate(&self) -> bool {
        is_open(self) && self.seconds >= SECONDS_MIN && reached(self)
    }
}

/// Whether the server kept up with the schedule: it answered nearly all that was due, and nearly as fast as it became due.
fn reached(report: &Report) -> bool {
    keeps_up(report, report.requests, |slot| slot.requests)
}

/// Whether all that was due ended in time, and only failures are missing.
fn is_missed_by_failures(report: &Report) -> bool {
    let ended = report.requests + report.errors;
    report.errors > 0 && keeps_up(report, ended, |slot| slot.requests + slot.errors)
}

/// Whether most of what was due found all connections busy, or was given up.
fn is_short_of_connections(report: &Report) -> bool {
    share(report.waited + report.shed, report.offered) > CONNECTIONS_SHORT_MIN
}

/// Whether so many requests that ended are nearly all that were due, and ended nearly as fast as they became due.
fn keeps_up(report: &Report, ended: u64, ended_in: fn(&Slot) -> u64) -> bool {
    share(ended, report.offered) >= RATE_REACHED_MIN
        && (keeps_pace(report) || half_keeps_pace(&report.timeline, ended_in))
}

/// Answered of those that were due, 0 to 1.
fn answered(report: &Report) -> f64 {
    share(report.requests, report.offered)
}

/// The last answer comes one service time after the last request was sent, which is no backlog; waiting for a connection is. Those that come later still are a
/// backlog if they are many: a few slow answers, or one of a short run, say nothing of the rate.
fn keeps_pace(report: &Report) -> bool {
    let quick = report.response_time_us.p50 <= report.sending_seconds * QUICK_MAX * 1e6;
    let spared = if quick { 1 } else { 0 };
    report.behind <= spared || share(report.behind, report.requests) <= 1.0 - RATE_REACHED_MIN
}

/// Where many answers are slow, the time line's second half tells whether a backlog grew. What is answered when nothing is due any more is the backlog itself.
fn half_keeps_pace(timeline: &[Slot], ended_in: fn(&Slot) -> u64) -> bool {
    // The last slot in which requests were due may hold answers of the drain.
    let last = timeline.iter().rposition(|slot| slot.offered > 0).unwrap_or_default();
    let due = &timeline[..last];
    let half = &due[due.len() / 2..];
    let offered = half.iter().map(|slot| slot.offered).sum();
    let ended = half.iter().map(ended_in).sum();
    due.len() >= HALVES_SLOTS_MIN && share(ended, offered) >= RATE_REACHED_MIN
}

fn busiest(report: &Report) -> f64 {
    report.cores.iter().map(|core| core.busy).fold(0.0, f64::max)
}

/// Whether others ran on a core when the client was to.
fn is_crowded(report: &Report) -> bool {
    report.cores.iter().any(has_none_to_spare)
}

fn has_none_to_spare(core: &CoreReport) -> bool {
    taken(core) >= CLIENT_BUSY_MIN || core.run_delay >= RUN_DELAY_MAX
}

/// Whether a core of a closed loop waited for the CPU for so long that the figures show it.
fn is_kept_waiting(core: &CoreReport) -> bool {
    core.run_delay >= WAIT_SHARE_MAX && core.run_delay > core.busy
}

fn taken(core: &CoreReport) -> f64 {
    core.busy + core.run_delay
}

/// `part` of `whole`; zero of nothing.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
