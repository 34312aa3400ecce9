//! What a verdict rests on, in words with a figure each. Pure.

use super::super::quota;
use super::super::report::{CoreReport, Report};
use super::{Drift, answered, failures, has_none_to_spare, is_open, network, share, taken};

/// The share of time without a core from which on it is told.
const RUN_DELAY_TOLD_MIN: f64 = 0.01;
/// The share of the median response time that a run's slack is, from which on it is told.
const SLACK_TOLD_MIN: f64 = 0.1;

/// What the verdict rests on, from the most telling.
pub(super) fn of(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if is_open(report) {
        lines.extend(schedule_evidence(report));
    }
    lines.extend(failures::evidence(report));
    if report.think_share > 0.0 {
        let share = percent(report.think_share);
        lines.push(format!("users: {share} of their time was think time"));
    }
    lines.extend(quota::evidence(report));
    lines.extend(core_evidence(report));
    lines.extend(network::evidence(report));
    lines.extend(Drift::of(report).map(|drift| format!("the run {drift}")));
    lines
}

fn schedule_evidence(report: &Report) -> impl Iterator<Item = String> {
    let slack = report.slack_us.filter(|slack| *slack > 0.0);
    let since = if slack.is_some() { ", its slack over" } else { "" };
    let median = report.response_time_us.p50;
    let held_up = slack.filter(|slack| median > 0.0 && *slack > median * SLACK_TOLD_MIN);
    let lines = [
        format!(
            "rate: {:.1} a second asked for, {:.1} answered; {} of the requests that were due",
            report.target_per_second,
            report.requests_per_second,
            percent(answered(report))
        ),
        format!(
            "client lag: p99 {:.0} us from a request being due{since} and a connection free to its being sent",
            report.client_lag_us.p99
        ),
        format!(
            "of the requests due: {} waited for a connection, {} late, {} shed",
            percent(share(report.waited, report.offered)),
            percent(share(report.late, report.offered)),
            percent(share(report.shed, report.offered))
        ),
    ];
    let held_up = held_up.map(|slack| {
        format!(
            "slack: response times hold up to {} of the client's own waiting, as --slack asked, beside a median of {}",
            time(slack),
            time(median)
        )
    });
    let behind = (report.behind > 0).then(|| {
        format!(
            "answers: {} came later than a median service time after the last request was due",
            percent(share(report.behind, report.requests))
        )
    });
    lines.into_iter().chain(behind).chain(held_up)
}

/// `1.21 s`, of microseconds.
pub(super) fn time(micros: f64) -> String {
    match micros {
        short if short < 999.5 => format!("{short:.0} us"),
        medium if medium < 999_500.0 => format!("{} ms", digits(medium / 1e3)),
        long => format!("{} s", digits(long / 1e6)),
    }
}

/// `1.21`, `12.1`, `121`.
fn digits(figure: f64) -> String {
    match figure {
        small if small < 9.995 => format!("{small:.2}"),
        medium if medium < 99.95 => format!("{medium:.1}"),
        large => format!("{large:.0}"),
    }
}

fn core_evidence(report: &Report) -> Vec<String> {
    let sum = |of: fn(&CoreReport) -> u64| report.cores.iter().map(of).sum::<u64>();
    let fullest = report.cores.iter().max_by(|one, other| taken(one).total_cmp(&taken(other)));
    let full = report.cores.iter().filter(|core| has_none_to_spare(core)).count();
    let (overflows, starved) = (sum(|core| core.queue_overflows), sum(|core| core.buffers_starved));
    let lines = [
        fullest.map(|core| {
            format!(
                "cores: {} had the least time to spare, busy for {} of the time{}; {full} of {} had none",
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

/// `12.3%`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}
