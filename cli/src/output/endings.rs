//! How requests failed: each kind and error number with its count and its first example. Pure.

use std::collections::BTreeMap;

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

/// Whether it is no response, nor a request that was cut off, which [`facts`](super::tables::facts) have as censored.
fn is_failure(kind: &str) -> bool {
    !kind.ends_with("xx") && !matches!(kind, "other" | "cancelled")
}

/// The example of the kind of failure that ended most requests.
pub(crate) fn example<'a>(
    outcomes: &BTreeMap<String, u64>,
    examples: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let failures = examples.iter().filter(|(kind, _)| is_failure(kind));
    let most = failures.max_by_key(|(kind, _)| outcomes.get(*kind).copied().unwrap_or(0));
    most.map(|(_, example)| example.as_str())
}

/// Every outcome but the status classes and what was cut off.
pub(crate) fn endings(report: &Report) -> Vec<Ending> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_of_what_ended_most_and_never_of_what_was_cut_off() {
        let examples: BTreeMap<String, String> = ["cancelled", "connect", "timeout"]
            .map(|kind| (kind.to_owned(), format!("an example of {kind}")))
            .into();
        let outcomes = [("cancelled", 900), ("connect", 2), ("timeout", 100), ("2xx", 1)]
            .map(|(kind, requests)| (kind.to_owned(), requests))
            .into();
        assert_eq!(example(&outcomes, &examples), Some("an example of timeout"));
        let cut_off = [("cancelled".to_owned(), "when the run ended".to_owned())].into();
        assert_eq!(example(&outcomes, &cut_off), None);
    }
}
