//! What a run was to do, in words. Pure.

use ringshot::load::Report;

use super::format::{count, counted};
use super::json::RunDocument;
use super::tables::{due, is_open_loop};

/// What was sent where.
pub(crate) fn heading(document: &RunDocument) -> String {
    format!("{} {}", document.method, document.url)
}

/// What a run was to do, in a line.
pub(crate) fn asked_for(document: &RunDocument) -> String {
    let schedule = match is_open_loop(&document.report) {
        true => format!("; {}", due(&document.report)),
        false => String::new(),
    };
    format!("{}; {}{schedule}", heading(document), setting(document))
}

/// What a heading of latencies says of the censored requests among them, and from where to where a closed loop's count, in fewer words where there is less room.
pub(super) fn with_censored(report: &Report) -> (String, &'static str) {
    match report.censored {
        0 => (String::new(), "from sent to the last byte"),
        censored => (format!(" and {} censored", count(censored)), "from when sent"),
    }
}

/// With what it was sent.
pub(crate) fn setting(document: &RunDocument) -> String {
    let RunDocument { connections, pipeline, report, machines, .. } = document;
    let mut numbers: Vec<usize> = report.cores.iter().map(|core| core.core).collect();
    numbers.sort_unstable();
    let place = match machines.is_empty() {
        true => crate::cores::name(&numbers),
        false => format!("{} of {}", counted(numbers.len() as u64, "core"), machines.join(", ")),
    };
    let depth = if *pipeline > 1 { format!(", pipeline {pipeline}") } else { String::new() };
    let cut = if report.interrupted { "; interrupted" } else { "" };
    format!(
        "{}{}, {} on {place}{depth}{cut}",
        report.driver,
        on_host(&report.host),
        counted(u64::from(*connections), "connection"),
    )
}

/// Where the loop ran on something else than a thread of its own.
fn on_host(host: &str) -> String {
    if host == "thread" { String::new() } else { format!(" on {host}") }
}
