//! What the cores found, merged into one report. Arithmetic only.

use std::time::Duration;

use super::control::Control;
use super::plan::Plan;
use super::recorder::Recorder;
use super::report::{CoreReport, Report, SCHEMA_VERSION};
use crate::driver::Counters;
use crate::sys::affinity::Pinned;
use crate::sys::process::{CpuTime, resident_bytes_max};

/// What one core found.
pub(super) struct CoreOutcome {
    pub(super) core: usize,
    pub(super) pinned: Pinned,
    pub(super) connections: u32,
    pub(super) recorder: Recorder,
    pub(super) resent: u64,
    pub(super) seconds: f64,
    pub(super) cpu: CpuTime,
    pub(super) connected: u64,
    pub(super) bytes: u64,
    pub(super) turns: u64,
    pub(super) turns_with_completions: u64,
    pub(super) completions: u64,
    pub(super) driver: Counters,
}

/// `part` of `whole`, zero if there is no whole.
fn per(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Merges what the cores found.
pub(super) fn report(plan: &Plan, control: &Control, outcomes: &[CoreOutcome]) -> Report {
    let mut recorder = Recorder::new();
    outcomes.iter().for_each(|outcome| recorder.merge(&outcome.recorder));
    let sum = |of: &dyn Fn(&CoreOutcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let cpu = |of: &dyn Fn(&CpuTime) -> Duration| {
        outcomes.iter().map(|outcome| of(&outcome.cpu).as_secs_f64() * 1e6).sum::<f64>()
    };
    let seconds = outcomes.iter().map(|outcome| outcome.seconds).fold(0.0, f64::max);
    let requests = recorder.responses();
    let (user, system) = (cpu(&|time| time.user), cpu(&|time| time.system));
    Report {
        schema_version: SCHEMA_VERSION,
        driver: plan.driver.to_string(),
        host: plan.host.to_string(),
        requests,
        errors: recorder.errors(),
        cancelled: recorder.cancelled(),
        resent: sum(&|outcome| outcome.resent),
        seconds,
        requests_per_second: per(requests as f64, seconds),
        bytes_per_second: per(sum(&|outcome| outcome.bytes) as f64, seconds),
        cpu_us_per_request: per(user + system, requests as f64),
        cpu_user_us_per_request: per(user, requests as f64),
        cpu_system_us_per_request: per(system, requests as f64),
        latency_us: recorder.latency(),
        status: recorder.status(),
        outcomes: recorder.outcomes(),
        error_examples: recorder.examples(),
        connections_opened: sum(&|outcome| outcome.connected),
        system_calls_per_request: per(
            sum(&|outcome| outcome.driver.system_calls) as f64,
            requests as f64,
        ),
        completions_per_turn: per(
            sum(&|outcome| outcome.completions) as f64,
            sum(&|outcome| outcome.turns_with_completions) as f64,
        ),
        cores: outcomes.iter().map(core_report).collect(),
        resident_bytes_max: resident_bytes_max(),
        interrupted: control.is_stopped(),
    }
}

fn core_report(outcome: &CoreOutcome) -> CoreReport {
    let requests = outcome.recorder.responses();
    CoreReport {
        core: outcome.core,
        pinned: outcome.pinned == Pinned::Yes,
        connections: outcome.connections,
        requests,
        errors: outcome.recorder.errors(),
        requests_per_second: per(requests as f64, outcome.seconds),
        bytes_per_second: per(outcome.bytes as f64, outcome.seconds),
        busy: per(outcome.cpu.total().as_secs_f64(), outcome.seconds).min(1.0),
        cpu_user_seconds: outcome.cpu.user.as_secs_f64(),
        cpu_system_seconds: outcome.cpu.system.as_secs_f64(),
        turns: outcome.turns,
        completions: outcome.completions,
        system_calls: outcome.driver.system_calls,
        queue_overflows: outcome.driver.queue_overflows,
        buffers_starved: outcome.driver.buffers_starved,
    }
}
