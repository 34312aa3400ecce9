//! How requests failed: each kind with its count, its causes and its first example. Pure.

use ringshot::load::Report;

use super::format::count;

/// What one kind of failure did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) kind: String,
    pub(crate) requests: u64,
    /// How the first of them read, with its remedy.
    pub(crate) example: String,
    /// System errors behind it, with their counts.
    pub(crate) causes: Vec<String>,
}

/// Every outcome but the status classes, and requests that were cut off, which [`facts`](super::tables::facts) have as censored.
pub(crate) fn endings(report: &Report) -> Vec<Ending> {
    let is_failure = |kind: &str| !kind.ends_with("xx") && !matches!(kind, "other" | "cancelled");
    let failures = report.outcomes.iter().filter(|(kind, count)| is_failure(kind) && **count > 0);
    let ending = |(kind, requests): (&String, &u64)| Ending {
        kind: kind.clone(),
        requests: *requests,
        example: report.error_examples.get(kind).cloned().unwrap_or_default(),
        causes: causes(report, kind),
    };
    failures.map(ending).collect()
}

fn causes(report: &Report, kind: &str) -> Vec<String> {
    let of_kind = report.error_causes.iter().filter_map(|(cause, requests)| {
        let errno = cause.strip_prefix(kind)?.strip_prefix(' ')?;
        Some(format!("{errno} {}", count(*requests)))
    });
    of_kind.collect()
}
