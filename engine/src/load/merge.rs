//! What the cores found, merged into one report. Arithmetic only.

use std::time::Duration;

use super::control::Control;
use super::details::{NameReport, StageReport, WarmUp};
use super::histogram::{Histogram, LATENCY_MAX};
use super::plan::Plan;
use super::quota::QuotaReport;
use super::recorder::Recorder;
use super::report::{CoreReport, Report, SCHEMA_VERSION, Slot, SocketsReport};
use super::schedule::{Arrival, Stage};
use super::tallies::NameTally;
use super::timeline::Timeline;
use super::verdict::{RATE_REACHED_MIN, Verdict, left_no_backlog};
use super::worker::Tallies;
use crate::driver::Counters;
use crate::sys::affinity::Pinned;
use crate::sys::process::{CpuTime, resident_bytes_max};

/// What one core found.
pub(super) struct CoreOutcome {
    pub(super) core: usize,
    pub(super) pinned: Pinned,
    pub(super) connections: u32,
    pub(super) recorder: Recorder,
    pub(super) warm_up: Recorder,
    pub(super) warm_up_seconds: f64,
    /// Requests of the warm-up that were due and given up.
    pub(super) warm_up_shed: u64,
    pub(super) timeline: Timeline,
    pub(super) tallies: Tallies,
    /// Seconds of the measured time in which requests could be due.
    pub(super) sending: f64,
    /// Seconds from the start of it to the last response.
    pub(super) last_response: f64,
    /// How long after the last request was due, or sent, responses came.
    pub(super) after: Histogram,
    /// With the drain.
    pub(super) cpu: CpuTime,
    /// The share of the sending time that it was on the CPU.
    pub(super) busy: f64,
    /// The share of the sending time that it was ready and did not run.
    pub(super) run_delay: f64,
    pub(super) connected: u64,
    pub(super) bytes: u64,
    pub(super) turns: u64,
    pub(super) turns_with_completions: u64,
    pub(super) completions: u64,
    pub(super) driver: Counters,
}

/// `part` of `whole`, zero if there is no whole.
pub(super) fn per(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// In whole and fractional microseconds; nanoseconds are exact.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// One recorder of all cores'. They are large: moved, not copied.
fn take_merged(
    outcomes: &mut [CoreOutcome],
    of: impl FnMut(&mut CoreOutcome) -> &mut Recorder,
) -> Recorder {
    let mut recorders = outcomes.iter_mut().map(of).map(std::mem::take);
    let mut all = recorders.next().unwrap_or_default();
    recorders.for_each(|recorder| all.merge(&recorder));
    all
}

/// Merges what the cores found; there is at least one.
pub(super) fn report(
    plan: &Plan,
    control: &Control,
    mut outcomes: Vec<CoreOutcome>,
    sockets: Option<SocketsReport>,
    quota: QuotaReport,
) -> Report {
    let cores = outcomes.iter().map(core_report).collect();
    let after = after_sending(&outcomes);
    let recorder = take_merged(&mut outcomes, |outcome| &mut outcome.recorder);
    let unmeasured = take_merged(&mut outcomes, |outcome| &mut outcome.warm_up);
    let sum = |of: &dyn Fn(&CoreOutcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let tally = |of: fn(&Tallies) -> u64| sum(&|outcome| of(&outcome.tallies));
    let last_response = longest(&outcomes, |outcome| outcome.last_response);
    let (requests, errors, cancelled) =
        (recorder.responses(), recorder.errors(), recorder.cancelled());
    let offered = requests + errors + cancelled + tally(|it| it.shed);
    let sending = sending_seconds(plan, &outcomes, offered);
    let sent = (requests + errors + cancelled).saturating_sub(tally(|it| it.unsent_failures));
    let connections = connections(&outcomes, &recorder, sockets);
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        driver: plan.driver.to_string(),
        host: plan.host.to_string(),
        arrival: plan.arrival.name().to_owned(),
        stages: Some(stages(&plan.arrival)),
        slack_us: Some(micros(plan.pacing.slack)),
        spin_us: Some(micros(plan.pacing.spin)),
        target_per_second: target(plan, sending),
        requests,
        errors,
        cancelled,
        resent: tally(|it| it.resent),
        offered,
        sent,
        shed: tally(|it| it.shed),
        late: tally(|it| it.late),
        censored: recorder.censored(),
        waited: tally(|it| it.waited),
        seconds: sending,
        sending_seconds: sending,
        last_response_seconds: last_response,
        status: recorder.status(),
        status_expected: recorder.status_expected(),
        outcomes: recorder.outcomes(),
        error_examples: recorder.examples(),
        error_causes: recorder.causes(),
        error_cause_examples: recorder.cause_examples(),
        think_share: think_share(plan, &outcomes),
        completions_per_turn: completions_per_turn(&outcomes),
        warm_up: warm_up(&outcomes, &unmeasured),
        names: names(plan, &recorder),
        timeline: timeline(&outcomes, sending.max(last_response)),
        cores,
        resident_bytes_max: resident_bytes_max(),
        exhausted_feeds: exhausted_feeds(plan),
        interrupted: control.is_stopped(),
        histograms: recorder.into_histograms(),
        ..connections
    };
    (report.cpu_quota, report.throttled_seconds) = (quota.cores, quota.throttled_seconds);
    set_costs(&mut report, &outcomes);
    report.set_times();
    set_rates(&mut report, &outcomes, &after);
    report.verdict = Verdict::of(&report);
    report
}

/// What became of the connections, in a report that tells nothing else.
fn connections(
    outcomes: &[CoreOutcome],
    recorder: &Recorder,
    sockets: Option<SocketsReport>,
) -> Report {
    let connections_opened = outcomes.iter().map(|outcome| outcome.connected).sum();
    let (connect_failure_causes, connect_failure_examples) = recorder.connect_failure_causes();
    Report {
        connections_opened,
        connect_failures: recorder.connect_failures(),
        connect_failure_causes,
        connect_failure_examples,
        // What the kernel has of sockets that never connected says nothing of a network.
        sockets: sockets.filter(|_| connections_opened > 0),
        ..Report::default()
    }
}

fn longest(outcomes: &[CoreOutcome], of: fn(&CoreOutcome) -> f64) -> f64 {
    outcomes.iter().map(of).fold(0.0, f64::max)
}

/// How long after the end of sending responses came, on all cores.
fn after_sending(outcomes: &[CoreOutcome]) -> Histogram {
    let mut all = Histogram::new();
    outcomes.iter().for_each(|outcome| all.add(&outcome.after));
    all
}

/// The length of the measured time, and rates over it: until nothing was due any more, where an open loop's server kept up with it; else until all but the last few
/// responses had come, for those that are missing then are a backlog, or the answers to a closed loop's last requests.
fn set_rates(report: &mut Report, outcomes: &[CoreOutcome], after: &Histogram) {
    if report.target_per_second > 0.0 {
        report.behind = later_than(after, report.service_time_us.p50);
    }
    if !left_no_backlog(report) {
        report.seconds +=
            overrun(after, report.requests, report.last_response_seconds - report.seconds);
    }
    let seconds = report.seconds;
    let bytes = outcomes.iter().map(|outcome| outcome.bytes as f64);
    report.requests_per_second = per(report.requests as f64, seconds);
    report.bytes_per_second = per(bytes.clone().sum(), seconds);
    for (core, bytes) in report.cores.iter_mut().zip(bytes) {
        core.requests_per_second = per(core.requests as f64, seconds);
        core.bytes_per_second = per(bytes, seconds);
    }
}

/// Times longer than so many microseconds.
fn later_than(times: &Histogram, micros: f64) -> u64 {
    times.buckets().filter(|(nanos, _)| *nanos as f64 > micros * 1e3).map(|(_, count)| count).sum()
}

/// Seconds after the end of sending until all of so many responses had come but for the share that a rate may lack; until the last one came where a histogram can't tell.
fn overrun(after: &Histogram, requests: u64, last: f64) -> f64 {
    let spared = (requests as f64 * (1.0 - RATE_REACHED_MIN)) as u64;
    match after.len().checked_sub(spared) {
        None | Some(0) => 0.0,
        Some(counted) => {
            let time = after.quantile_us((counted as f64 - 0.5) / after.len() as f64) * 1e-6;
            if time < LATENCY_MAX.as_secs_f64() { time.min(last.max(0.0)) } else { last }
        }
    }
}

/// What a request cost the client.
fn set_costs(report: &mut Report, outcomes: &[CoreOutcome]) {
    let sum = |of: fn(&CoreOutcome) -> f64| outcomes.iter().map(of).sum::<f64>();
    let a_request = |whole: f64| per(whole, report.requests as f64);
    let user = a_request(sum(|it| it.cpu.user.as_secs_f64() * 1e6));
    let system = a_request(sum(|it| it.cpu.system.as_secs_f64() * 1e6));
    report.system_calls_per_request = a_request(sum(|it| it.driver.system_calls as f64));
    report.cpu_us_per_request = user + system;
    (report.cpu_user_us_per_request, report.cpu_system_us_per_request) = (user, system);
}

fn timeline(outcomes: &[CoreOutcome], seconds: f64) -> Vec<Slot> {
    let timelines: Vec<&Timeline> = outcomes.iter().map(|outcome| &outcome.timeline).collect();
    Timeline::merge(&timelines, seconds)
}

/// Over the turns that had any.
fn completions_per_turn(outcomes: &[CoreOutcome]) -> f64 {
    let completions = outcomes.iter().map(|it| it.completions).sum::<u64>();
    let turns = outcomes.iter().map(|it| it.turns_with_completions).sum::<u64>();
    per(completions as f64, turns as f64)
}

/// Think time over the time that users had.
fn think_share(plan: &Plan, outcomes: &[CoreOutcome]) -> f64 {
    let servers = plan.mix.targets.len().max(1) as f64;
    let had = |it: &CoreOutcome| f64::from(it.connections) / servers * it.sending;
    let thought = |it: &CoreOutcome| it.tallies.thought_ns as f64 * 1e-9;
    per(outcomes.iter().map(thought).sum(), outcomes.iter().map(had).sum())
}

fn exhausted_feeds(plan: &Plan) -> Vec<String> {
    let exhausted = plan.mix.feeds.iter().filter(|feed| feed.is_exhausted());
    exhausted.map(|feed| feed.name().to_owned()).collect()
}

/// The rate that was asked for, on average over the time in which requests were due; zero in a closed loop. A run that ended sooner was not asked for the rest.
fn target(plan: &Plan, sending: f64) -> f64 {
    let whole = plan.length().map_or(sending, |length| length.as_secs_f64());
    plan.arrival.mean_rate(if sending > 0.0 { sending } else { whole })
}

/// The stages of a schedule whose rate was to change.
fn stages(arrival: &Arrival) -> Vec<StageReport> {
    let Arrival::Open { stages, .. } = arrival else { return Vec::new() };
    let first = stages.first().map_or(0.0, |stage| stage.from);
    if stages.iter().all(|stage| [stage.from, stage.to] == [first; 2]) {
        return Vec::new();
    }
    let report = |stage: &Stage| StageReport {
        seconds: stage.length.as_secs_f64(),
        from_per_second: stage.from,
        to_per_second: stage.to,
    };
    stages.iter().map(report).collect()
}

/// The part of the time in which requests could be due that was over when the last one was: of so many, until one more would have been. A log ends with its last
/// line: what is shorter than a second, as one of a single line is, counts as a second.
fn sending_seconds(plan: &Plan, outcomes: &[CoreOutcome], offered: u64) -> f64 {
    let sending = longest(outcomes, |outcome| outcome.sending);
    if plan.arrival == Arrival::Closed {
        return sending;
    }
    let whole = plan.length().map_or(f64::INFINITY, |length| length.as_secs_f64());
    let whole = plan.stop.requests.map_or(whole, |requests| whole.min(seconds_of(plan, requests)));
    let all_due = plan.stop.requests.is_some_and(|requests| offered >= requests);
    match plan.arrival {
        _ if sending < whole && !all_due => sending,
        Arrival::Recorded(_) => whole.max(1.0),
        _ => whole,
    }
}

/// Seconds until one more request than so many is due, or the rate is zero behind the last of them; infinite if neither comes.
fn seconds_of(plan: &Plan, requests: u64) -> f64 {
    let last = plan.arrival.seconds_until(requests.saturating_sub(1));
    let pause = last.and_then(|last| plan.arrival.pause_after(last));
    let next = plan.arrival.seconds_until(requests);
    [pause, next].into_iter().flatten().fold(f64::INFINITY, f64::min)
}

fn warm_up(outcomes: &[CoreOutcome], all: &Recorder) -> WarmUp {
    let latency = all.latency();
    WarmUp {
        seconds: longest(outcomes, |outcome| outcome.warm_up_seconds),
        shed: outcomes.iter().map(|outcome| outcome.warm_up_shed).sum(),
        requests: all.responses(),
        errors: all.errors(),
        p50_us: latency.p50,
        p99_us: latency.p99,
    }
}

fn names(plan: &Plan, recorder: &Recorder) -> Vec<NameReport> {
    let named = plan.mix.names.iter().zip(recorder.names());
    let report = |(name, tally): (&String, &NameTally)| {
        let mut report = NameReport {
            name: name.clone(),
            requests: tally.requests,
            errors: tally.errors,
            cancelled: tally.cancelled,
            censored: tally.censored.len(),
            histogram: tally.response.clone(),
            censored_histogram: tally.censored.clone(),
            ..NameReport::default()
        };
        report.set_times();
        report
    };
    named.map(report).collect()
}

fn core_report(outcome: &CoreOutcome) -> CoreReport {
    CoreReport {
        machine: String::new(),
        core: outcome.core,
        pinned: outcome.pinned == Pinned::Yes,
        connections: outcome.connections,
        requests: outcome.recorder.responses(),
        errors: outcome.recorder.errors(),
        busy: outcome.busy,
        run_delay: outcome.run_delay,
        cpu_user_seconds: outcome.cpu.user.as_secs_f64(),
        cpu_system_seconds: outcome.cpu.system.as_secs_f64(),
        turns: outcome.turns,
        completions: outcome.completions,
        system_calls: outcome.driver.system_calls,
        queue_overflows: outcome.driver.queue_overflows,
        buffers_starved: outcome.driver.buffers_starved,
        ..CoreReport::default()
    }
}
