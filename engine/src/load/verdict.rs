//! What limited a run, from what its cores and sockets showed. Pure: figures in, words out.
//!
//! ```text
//! too short, nothing answered ............................ unknown
//! stopped by a CPU quota ................................. client
//! closed loop:  a core without time to spare, which it may
//!               have lost to another program ............. client
//!               segments lost ............................ network
//!               users who thought for most of their time . none
//!               else each connection waited for answers .. server
//! open loop:    rate reached, requests sent on time ...... none
//!               rate reached, requests sent late ......... client
//!               rate missed, a core without time, or late  client
//!               rate missed, segments lost ............... network
//!               rate missed, else ........................ server
//! ```

use serde::{Deserialize, Serialize};

use super::quota;
use super::report::{CoreReport, Report, Slot, SocketsReport};

/// The share of time without a core from which on it is told.
const RUN_DELAY_TOLD_MIN: f64 = 0.01;
/// A shorter run says nothing: connections are still growing their windows, and CPU time is counted in ticks of milliseconds.
pub const SECONDS_MIN: f64 = 0.1;
/// A core that is on the CPU for this share of the time has none to spare: what is left goes to the kernel's own work on that core.
pub const CLIENT_BUSY_MIN: f64 = 0.95;
/// The share of the time that a core may be ready and not run, at most: one that others keep from running for longer sends and reads when they let it, however little it has to do.
const RUN_DELAY_MAX: f64 = 0.5;
/// The share of the offered rate that must be answered in time. Less is a backlog that grows without end.
const RATE_REACHED_MIN: f64 = 0.99;
/// The client's own lag, at the 99th percentile, from which on its lateness is part of the response times: what counts as late for one request. The percentile's
/// 95 % interval must lie above it: of 50 requests one that was disturbed is the 99th percentile, and proves nothing.
const CLIENT_LAG_US_MAX: f64 = 1_000.0;
/// The share of segments sent again from which on TCP's speed is set by losses rather than by its ends (Mathis and others 1997: at 1 % the window is about ten segments).
const RETRANSMITTED_MAX: f64 = 0.01;
/// Segments below which a share of them means nothing.
const SEGMENTS_MIN: u64 = 1_000;
/// The share of requests that waited for a connection from which on there may simply be too few of them.
const CONNECTIONS_SHORT_MIN: f64 = 0.5;
/// The share of their time from which on it is rather the think times of users than the server that sets their rate.
const THINK_SHARE_MIN: f64 = 0.5;
/// How far a Poisson process's count may lie below its mean, in standard deviations (the root of the mean): one run in 700 does.
const POISSON_DEVIATIONS_MAX: f64 = 3.0;
/// How far the last quarter of a run may lie from the first: rates of a healthy run vary by a few per cent.
const RATE_DRIFT_MAX: f64 = 0.10;
/// The same for the median response time, which a time line knows to 3 % only.
const MEDIAN_DRIFT_MAX: f64 = 0.25;
/// Slots below which quarters are too short to compare.
const DRIFT_SLOTS_MIN: usize = 8;
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
        let (limit, summary) = match () {
            () if report.seconds < SECONDS_MIN => {
                (Limit::Unknown, "The run was too short to tell what limited it.")
            }
            () if report.requests == 0 => {
                (Limit::Unknown, "Nothing was answered, so nothing can be said of a limit.")
            }
            () if quota::is_throttled(report) => quota::THROTTLED,
            () if is_open(report) => open(report),
            () => closed(report),
        };
        Self::new(limit, summary, evidence(report))
    }
}

const SHARED_CORE: &str =
    "The client was the limit: a core of it had no time to spare, for it ran another program too.";

fn closed(report: &Report) -> (Limit, &'static str) {
    if busiest(report) >= CLIENT_BUSY_MIN {
        return (
            Limit::Client,
            "The client was the limit: a core of it had no time to spare, so the server may be faster than this.",
        );
    }
    if is_crowded(report) {
        return (Limit::Client, SHARED_CORE);
    }
    if loses_segments(report) {
        return (Limit::Network, "The network was the limit: it lost segments.");
    }
    if report.think_share >= THINK_SHARE_MIN {
        return (
            Limit::None,
            "Nothing was the limit: users spent most of their time in think times, which set the rate.",
        );
    }
    (
        Limit::Server,
        "The server was the limit: every connection waited for it while the client had time to spare.",
    )
}

fn open(report: &Report) -> (Limit, &'static str) {
    let [surely, _] = report.client_lag_us.p99_interval;
    let late = surely > CLIENT_LAG_US_MAX;
    match (reached(report), late) {
        (true, false) => (Limit::None, "Nothing was the limit: the rate asked for was reached."),
        (true, true) => (
            Limit::Client,
            "The rate was reached, but the client sent requests late: its delay is part of the response times.",
        ),
        (false, _) if busiest(report) >= CLIENT_BUSY_MIN => (
            Limit::Client,
            "The client was the limit: a core of it had no time to spare, and the rate was not reached.",
        ),
        (false, _) if is_crowded(report) => (Limit::Client, SHARED_CORE),
        (false, true) => (
            Limit::Client,
            "The client was the limit: it sent requests late though connections were free.",
        ),
        (false, false) if loses_segments(report) => (
            Limit::Network,
            "The network was the limit: it lost segments, and the rate was not reached.",
        ),
        (false, false) if share(report.waited, report.sent) > CONNECTIONS_SHORT_MIN => (
            Limit::Server,
            "The server was the limit, at this number of connections: all of them waited for it while the client had time to spare. Only a run with more connections tells whether it could answer more at once.",
        ),
        (false, false) => (
            Limit::Server,
            "The server was the limit: it answered less than the rate while the client had time to spare.",
        ),
    }
}

fn is_open(report: &Report) -> bool {
    report.target_per_second > 0.0
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
    answered(report) >= RATE_REACHED_MIN
        && (keeps_pace(report) || half_keeps_pace(&report.timeline))
}

/// Answered of those that were due, 0 to 1.
fn answered(report: &Report) -> f64 {
    share(report.requests, report.offered)
}

/// The last answer comes one service time after the last request was sent, which is no backlog; waiting for a connection is.
fn keeps_pace(report: &Report) -> bool {
    let seconds = report.seconds - report.service_time_us.p50 * 1e-6;
    let least = report.target_per_second * seconds * RATE_REACHED_MIN - draw(report);
    seconds > 0.0 && report.requests as f64 >= least
}

/// How many requests fewer than the mean a schedule may have drawn.
fn draw(report: &Report) -> f64 {
    let is_drawn = !matches!(&*report.arrival, "constant" | "recorded");
    let deviation = (report.target_per_second * report.seconds).sqrt();
    if is_drawn { POISSON_DEVIATIONS_MAX * deviation } else { 0.0 }
}

/// A single slow answer at the end must not spoil a long run: the time line's second half tells whether a backlog grew.
fn half_keeps_pace(timeline: &[Slot]) -> bool {
    let whole = whole_slots(timeline);
    let half = &whole[whole.len() / 2..];
    let sum = |of: fn(&Slot) -> u64| half.iter().map(of).sum::<u64>();
    whole.len() >= HALVES_SLOTS_MIN
        && share(sum(|slot| slot.requests), sum(|slot| slot.offered)) >= RATE_REACHED_MIN
}

/// Without the last slot, which may be cut short and holds the drain.
fn whole_slots(timeline: &[Slot]) -> &[Slot] {
    &timeline[..timeline.len().saturating_sub(1)]
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

fn taken(core: &CoreReport) -> f64 {
    core.busy + core.run_delay
}

fn loses_segments(report: &Report) -> bool {
    report.sockets.is_some_and(|sockets| {
        sockets.segments_sent >= SEGMENTS_MIN && retransmitted(&sockets) > RETRANSMITTED_MAX
    })
}

fn retransmitted(sockets: &SocketsReport) -> f64 {
    share(sockets.segments_retransmitted, sockets.segments_sent)
}

/// `part` of `whole`; zero of nothing.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// How a run's last quarter differed from its first by more than a steady run's does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Answers a second in the first and in the last quarter.
    pub per_second: [f64; 2],
    /// Median response times in them, in microseconds: means of their slots.
    pub p50_us: [f64; 2],
}

impl Drift {
    /// `None` if the run was steady, too short to tell, or its rate was asked to change.
    #[must_use]
    pub fn of(report: &Report) -> Option<Self> {
        let slots = whole_slots(&report.timeline);
        let quarter = slots.len() / 4;
        let ends = [&slots[..quarter], &slots[slots.len() - quarter..]];
        let mean = |of: fn(&Slot) -> f64| {
            ends.map(|end| end.iter().map(of).sum::<f64>() / quarter.max(1) as f64)
        };
        let asked = mean(|slot| slot.offered as f64 / slot.seconds);
        if slots.len() < DRIFT_SLOTS_MIN || is_open(report) && differ(asked, RATE_DRIFT_MAX) {
            return None;
        }
        let drift = Self {
            per_second: mean(|slot| slot.requests as f64 / slot.seconds),
            p50_us: mean(|slot| slot.p50),
        };
        let drifts =
            differ(drift.per_second, RATE_DRIFT_MAX) || differ(drift.p50_us, MEDIAN_DRIFT_MAX);
        drifts.then_some(drift)
    }
}

fn differ([first, last]: [f64; 2], most: f64) -> bool {
    (last - first).abs() > first.max(last) * most
}

/// `changed from its first quarter to its last: 100 to 80 a second, p50 1.0 to 2.0 ms`.
impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([from, to], [before, after]) = (self.per_second, self.p50_us);
        write!(
            f,
            "changed from its first quarter to its last: {from:.0} to {to:.0} a second, p50 {before:.0} to {after:.0} us"
        )
    }
}

/// What the verdict rests on, from the most telling.
fn evidence(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if is_open(report) {
        lines.extend(schedule_evidence(report));
    }
    if report.think_share > 0.0 {
        let share = percent(report.think_share);
        lines.push(format!("users: {share} of their time was think time"));
    }
    lines.extend(quota::evidence(report));
    lines.extend(core_evidence(report));
    lines.extend(report.sockets.iter().flat_map(socket_evidence));
    lines.extend(Drift::of(report).map(|drift| format!("the run {drift}")));
    lines
}

fn schedule_evidence(report: &Report) -> [String; 3] {
    [
        format!(
            "rate: {:.1} a second asked for, {:.1} answered; {} of the requests that were due",
            report.target_per_second,
            report.requests_per_second,
            percent(answered(report))
        ),
        format!(
            "client lag: p99 {:.0} us from a request being due and a connection free to its being sent",
            report.client_lag_us.p99
        ),
        format!(
            "of the requests due: {} waited for a connection, {} late, {} shed",
            percent(share(report.waited, report.offered)),
            percent(share(report.late, report.offered)),
            percent(share(report.shed, report.offered))
        ),
    ]
}

fn core_evidence(report: &Report) -> Vec<String> {
    let sum = |of: fn(&CoreReport) -> u64| report.cores.iter().map(of).sum::<u64>();
    let busiest = report.cores.iter().max_by(|one, other| taken(one).total_cmp(&taken(other)));
    let full = report.cores.iter().filter(|core| has_none_to_spare(core)).count();
    let (overflows, starved) = (sum(|core| core.queue_overflows), sum(|core| core.buffers_starved));
    let lines = [
        busiest.map(|core| {
            format!(
                "cores: the busiest, {}, was busy for {} of the time{}; {full} of {} had none to spare",
                core.core,
                percent(core.busy),
                delayed(core),
                report.cores.len()
            )
        }),
        Some(format!("loop: {:.1} completions a turn", report.completions_per_turn)),
        (overflows > 0).then(|| format!("queue: completions overflowed it {overflows} times")),
        (starved > 0).then(|| format!("buffers: {starved} receives found none free")),
    ];
    lines.into_iter().flatten().collect()
}

fn delayed(core: &CoreReport) -> String {
    match core.run_delay >= RUN_DELAY_TOLD_MIN {
        true => format!(", and for {} ready while the core ran others", percent(core.run_delay)),
        false => String::new(),
    }
}

fn socket_evidence(sockets: &SocketsReport) -> Vec<String> {
    let lost = (sockets.segments_sent > 0).then(|| {
        format!(
            "network: {} of {} segments sent again, median round trip {:.0} us",
            percent(retransmitted(sockets)),
            sockets.segments_sent,
            sockets.rtt_us
        )
    });
    let queues = format!(
        "queues of a connection: {:.0} bytes unread by the client, {:.0} unacknowledged by the server",
        sockets.receive_queue_bytes, sockets.send_queue_bytes
    );
    let unread = sockets.server_queue_bytes.map(|bytes| {
        format!("server's queue of a connection: {bytes:.0} bytes unread by the server")
    });
    [lost, Some(queues), unread].into_iter().flatten().collect()
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Histogram;
    use super::super::report::Latency;
    use super::*;

    /// A closed loop of 10 s that leaves its core half idle.
    fn closed_loop() -> Report {
        Report {
            seconds: 10.0,
            requests: 1_000,
            offered: 1_000,
            requests_per_second: 100.0,
            cores: vec![
                CoreReport { core: 2, busy: 0.3, ..CoreReport::default() },
                CoreReport { core: 3, busy: 0.5, ..CoreReport::default() },
            ],
            ..Report::default()
        }
    }

    /// An open loop that reaches its rate.
    fn open_loop() -> Report {
        let arrival = "constant".to_owned();
        Report { target_per_second: 100.0, arrival, ..closed_loop() }
    }

    fn lossy() -> Option<SocketsReport> {
        let (segments_sent, segments_retransmitted) = (10_000, 200);
        Some(SocketsReport { segments_sent, segments_retransmitted, ..SocketsReport::default() })
    }

    fn lag(p99: f64) -> Latency {
        Latency { p99, p99_interval: [p99, p99], ..Latency::default() }
    }

    #[track_caller]
    fn check(report: Report, change: fn(&mut Report), limit: Limit) {
        let mut report = report;
        change(&mut report);
        let verdict = Verdict::of(&report);
        assert_eq!(verdict.limit, limit, "{verdict:#?}");
        assert_eq!(verdict.valid, matches!(limit, Limit::Server | Limit::None));
    }

    #[test]
    fn closed_loops() {
        let check = |change, limit| check(closed_loop(), change, limit);
        check(|_| (), Limit::Server);
        check(|r| r.cores[1].busy = 0.97, Limit::Client);
        check(|r| r.cores[1].run_delay = 0.48, Limit::Client);
        check(|r| r.cores[1].run_delay = 0.3, Limit::Server);
        // Little to do, and kept from it for most of the time.
        check(|r| (r.cores[1].busy, r.cores[1].run_delay) = (0.15, 0.75), Limit::Client);
        check(|r| r.sockets = lossy(), Limit::Network);
        check(|r| r.seconds = 0.05, Limit::Unknown);
        check(|r| r.requests = 0, Limit::Unknown);
        check(|r| r.think_share = 0.98, Limit::None);
        check(|r| r.think_share = 0.2, Limit::Server);
        check(|r| (r.think_share, r.cores[0].busy) = (0.98, 1.0), Limit::Client);
    }

    #[test]
    fn a_poisson_process_may_draw_fewer_than_its_mean() {
        let drawn = |requests, offered| {
            let arrival = "poisson".to_owned();
            Report { arrival, requests, offered, ..open_loop() }
        };
        check(drawn(930, 930), |_| (), Limit::None);
        check(drawn(930, 950), |_| (), Limit::Server);
        check(drawn(890, 890), |_| (), Limit::Server);
        check(drawn(930, 930), |r| r.arrival = "constant".to_owned(), Limit::Server);
    }

    #[test]
    fn open_loops() {
        let check = |change, limit| check(open_loop(), change, limit);
        check(|_| (), Limit::None);
        // Spinning for exact times keeps a core busy, and is no limit.
        check(|r| r.cores[0].busy = 1.0, Limit::None);
        let late = |r: &mut Report| r.client_lag_us = lag(1_500.0);
        check(late, Limit::Client);
        let mut reached = open_loop();
        late(&mut reached);
        assert!(reached.reached_its_rate() && !closed_loop().reached_its_rate());
        reached.requests = 900;
        assert!(!reached.reached_its_rate());
        let one_disturbed = |r: &mut Report| {
            let mut times = Histogram::new();
            (0..49).for_each(|_| times.record(40_000));
            times.record(9_000_000);
            r.client_lag_us = times.latency();
            assert!(r.client_lag_us.p99 > 1_000.0);
        };
        check(one_disturbed, Limit::None);
        check(|r| r.sockets = lossy(), Limit::None);
        check(|r| r.requests = 900, Limit::Server);
        check(|r| (r.requests, r.cores[0].busy) = (900, 0.96), Limit::Client);
        check(|r| (r.requests, r.client_lag_us) = (900, lag(5_000.0)), Limit::Client);
        check(|r| (r.requests, r.sockets) = (900, lossy()), Limit::Network);
        check(|r| r.seconds = 0.0, Limit::Unknown);
        let mut short = Report { requests: 900, sent: 900, ..open_loop() };
        assert!(!Verdict::of(&short).summary.contains("more connections"));
        short.waited = 800;
        assert!(Verdict::of(&short).summary.contains("more connections"));
    }

    #[test]
    fn the_last_answers_may_take_their_time_but_a_backlog_is_none() {
        let slow = |r: &mut Report| (r.seconds, r.service_time_us.p50) = (10.5, 5e5);
        check(open_loop(), slow, Limit::None);
        // 100 a second came in, 90 went out: at the end 1.1 s behind, in the middle half of it.
        let behind = |r: &mut Report| (r.seconds, r.response_time_us.p50) = (11.1, 0.55e6);
        let just_behind = |r: &mut Report| {
            (r.seconds, r.response_time_us.p50, r.service_time_us.p50) = (10.3, 0.25e6, 100.0);
        };
        check(open_loop(), just_behind, Limit::Server);
        check(open_loop(), behind, Limit::Server);
        let straggler = |r: &mut Report| {
            r.seconds = 12.0;
            r.timeline = slots(&[100.0; 11]);
        };
        check(open_loop(), straggler, Limit::None);
    }

    fn slots(requests: &[f64]) -> Vec<Slot> {
        let slot = |requests: &f64| Slot {
            seconds: 1.0,
            offered: 100,
            requests: *requests as u64,
            p50: 1e5 / requests,
            ..Slot::default()
        };
        requests.iter().map(slot).collect()
    }

    #[test]
    fn drift_is_told_from_noise_and_from_a_rate_that_was_to_change() {
        let drift = |rates: &[f64]| Drift::of(&Report { timeline: slots(rates), ..closed_loop() });
        assert_eq!(drift(&[]), None);
        assert_eq!(drift(&[100.0, 10.0]), None);
        assert_eq!(drift(&[100.0, 96.0, 103.0, 99.0, 100.0, 101.0, 97.0, 95.0, 9.0]), None);
        let slower = [100.0, 100.0, 90.0, 90.0, 90.0, 90.0, 80.0, 80.0, 1.0];
        let found = drift(&slower).unwrap();
        assert_eq!((found.per_second, found.p50_us), ([100.0, 80.0], [1_000.0, 1_250.0]));
        let report = Report { timeline: slots(&slower), ..closed_loop() };
        let lines = Verdict::of(&report).evidence;
        assert!(lines.iter().any(|line| line.contains("100 to 80 a second")), "{lines:#?}");
        let mut ramp = Report { timeline: slots(&slower), ..open_loop() };
        ramp.timeline.iter_mut().for_each(|slot| slot.offered = slot.requests);
        assert_eq!(Drift::of(&ramp), None);
    }

    #[test]
    fn the_evidence_names_figures() {
        let mut report = open_loop();
        report.sockets = lossy();
        report.cores[1].queue_overflows = 4;
        (report.waited, report.shed) = (250, 10);
        let lines = Verdict::of(&report).evidence;
        for part in [
            "100.0 a second asked for, 100.0 answered",
            "25.0% waited for a connection, 0.0% late, 1.0% shed",
            "the busiest, 3, was busy for 50.0% of the time; 0 of 2",
            "overflowed it 4 times",
            "2.0% of 10000 segments sent again",
        ] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
        }
    }
}
