//! How requests failed: each kind and error number with its count and its first example. Pure.

use ringshot::load::Report;

/// What one cause of failures did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Its kind, with the system's error number where there is one.
    pub(crate) cause: String,
    pub(crate) requests: u64,
    /// How the first of them read, with its remedy.
    pub(crate) example: String,
}

/// Every outcome but the status classes, and requests that were cut off, which [`facts`](super::tables::facts) have as censored.
pub(crate) fn endings(report: &Report) -> Vec<Ending> {
    let is_failure = |kind: &str| !kind.ends_with("xx") && !matches!(kind, "other" | "cancelled");
    let failures = report.outcomes.iter().filter(|(kind, count)| is_failure(kind) && **count > 0);
    failures.flat_map(|(kind, requests)| of_kind(report, kind, *requests)).collect()
}

/// One for each cause of a kind. Results of earlier versions have examples by kind only, which are shown where they can be but one cause's.
fn of_kind(report: &Report, kind: &str, requests: u64) -> Vec<Ending> {
    let is_of_kind = |cause: &str| cause.split(' ').next() == Some(kind);
    let causes = report.error_causes.iter().filter(|(cause, _)| is_of_kind(cause));
    let ending = |(cause, requests): (&String, &u64)| {
        let example = report.error_cause_examples.get(cause).cloned();
        Ending { cause: cause.clone(), requests: *requests, example: example.unwrap_or_default() }
    };
    let mut endings: Vec<Ending> = causes.map(ending).collect();
    let example = || report.error_examples.get(kind).cloned().unwrap_or_default();
    match &mut endings[..] {
        [] => vec![Ending { cause: kind.to_owned(), requests, example: example() }],
        [only] if only.example.is_empty() => {
            only.example = example();
            endings
        }
        _ => endings,
    }
}
