//! What failed requests, and responses that are no success, say of a limit. Pure.

use super::super::report::Report;
use super::evidence::percent;
use super::{Limit, SECONDS_MIN, share};
use crate::sys::Errno;

/// Errors of this machine at its limit, or that forbids what was asked of it: no server's doing (connect(2)).
const OWN: [i32; 8] = [
    libc::EADDRNOTAVAIL,
    libc::EADDRINUSE,
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOBUFS,
    libc::ENOMEM,
    libc::EACCES,
    libc::EPERM,
];
/// The share of requests that may fail by them.
const OWN_MAX: f64 = 0.01;
/// The share of requests that may lack a connection in a closed loop, whose users wait for a while before they try again: the client's waiting, not the server's.
const UNCONNECTED_MAX: f64 = 0.01;
/// The share of failures and of refusals from which on they are told.
const TOLD_MIN: f64 = 0.01;
/// The share from which on they are most.
const MOST: f64 = 0.5;

impl Report {
    /// Whether more than 1 % of the requests failed at limits of this machine, such as its local ports or open files, whatever the server did.
    #[must_use]
    pub fn hits_own_limits(&self) -> bool {
        let own = own(self).map(|(_, count)| count).sum();
        share(own, ended(self)) > OWN_MAX
    }
}

/// Errors of our own making, with their counts.
fn own(report: &Report) -> impl Iterator<Item = (Errno, u64)> {
    let errno = |cause: &str| {
        let name = cause.rsplit(' ').next().unwrap_or_default();
        OWN.into_iter().map(Errno).find(|errno| errno.name() == name)
    };
    report.error_causes.iter().filter_map(move |(cause, count)| Some((errno(cause)?, *count)))
}

fn ended(report: &Report) -> u64 {
    report.requests + report.errors
}

/// What is to be said before anything else, if it is.
pub(super) fn judged(report: &Report) -> Option<(Limit, String)> {
    if report.hits_own_limits() {
        return Some((Limit::Client, own_words(report)));
    }
    let reason = match unexpected(report) {
        _ if report.seconds < SECONDS_MIN => {
            "The run was too short to tell what limited it.".to_owned()
        }
        Some(what) if report.requests == 0 => format!(
            "No response was as expected, most often because of its {what}, so nothing can be said of a limit."
        ),
        None if report.requests == 0 => {
            "Nothing was answered, so nothing can be said of a limit.".to_owned()
        }
        _ if mostly(report, failed(report)) => {
            "Most requests failed: the figures are of the few that did not, so nothing can be said of a limit.".to_owned()
        }
        _ if share(report.cancelled, ended(report) + report.cancelled) > MOST => {
            "Most requests that were sent had no answer when the run ended: the server hung, or needs longer than the run and its drain gave it. The figures are of the few that had one, so nothing can be said of a limit.".to_owned()
        }
        _ if mostly(report, failed(report) + report.cancelled) => {
            "Most requests that were sent failed, or had no answer when the run ended: the figures are of the few that had, so nothing can be said of a limit.".to_owned()
        }
        _ if report.refusals() == report.requests => {
            "No response was a success (2xx or 3xx), so nothing can be said of a limit.".to_owned()
        }
        _ => return None,
    };
    Some((Limit::Unknown, reason))
}

/// Requests that failed, and those that were never sent where connections can't be made, for which they failed too.
fn failed(report: &Report) -> u64 {
    report.errors + if lack_connections(report) { report.shed } else { 0 }
}

/// Whether so many without an answer are more than those with one.
fn mostly(report: &Report, unanswered: u64) -> bool {
    share(unanswered, report.requests + unanswered) > MOST
}

/// Whether more requests than a few failed since no connection could be made for them.
pub(super) fn lack_connections(report: &Report) -> bool {
    let unconnected = report.outcomes.get("connect").copied().unwrap_or_default();
    share(unconnected, ended(report)) > UNCONNECTED_MAX
}

/// Why an open loop's rate was missed by failures: most of them of requests that were sent, or of such as never found a connection.
pub(super) fn miss_told(report: &Report) -> &'static str {
    let unsent = report.offered.saturating_sub(report.sent).saturating_sub(report.shed);
    match share(unsent, report.errors) > MOST {
        true => {
            "The server was the limit: connections to it could not be made, so some of the requests that were due were never sent."
        }
        false => "The server was the limit: the rate was sent, but some of the requests failed.",
    }
}

/// Counts of responses that were not as expected, by what it was: `status`, `header`, `body` or `hash`.
fn all_unexpected(report: &Report) -> impl Iterator<Item = (&str, u64)> {
    let outcomes = report.outcomes.iter();
    outcomes.filter_map(|(kind, count)| Some((kind.strip_prefix("unexpected_")?, *count)))
}

/// What of them was most often not as expected, if any were.
fn unexpected(report: &Report) -> Option<&str> {
    all_unexpected(report).max_by_key(|(_, count)| *count).map(|(what, _)| what)
}

/// Names the error that came most often, and its remedy.
fn own_words(report: &Report) -> String {
    let most = own(report).max_by_key(|(_, count)| *count);
    let count = own(report).map(|(_, count)| count).sum();
    let named =
        most.map(|(errno, _)| format!(", most of them with {}{}", errno.name(), errno.remedy()));
    format!(
        "The client was the limit: {} of the requests failed at its own machine's limits{}.",
        percent(share(count, ended(report))),
        named.unwrap_or_default()
    )
}

/// What is to be added to a summary, if most responses were no success.
pub(super) fn refusals_told(report: &Report) -> &'static str {
    match share(report.refusals(), report.requests) > MOST {
        true => {
            " But most responses were no success (2xx or 3xx): this is how fast they are refused."
        }
        false => "",
    }
}

/// Shares of what went wrong.
pub(super) fn evidence(report: &Report) -> Vec<String> {
    let failed = share(report.errors, ended(report));
    let server_errors =
        report.status.server_error.saturating_sub(report.status_expected.server_error);
    let [unsuccessful, server_errors] =
        [report.refusals(), server_errors].map(|count| share(count, report.requests));
    let errors = (failed > TOLD_MIN).then(|| {
        let most = report.error_causes.iter().max_by_key(|(_, count)| **count);
        let named = most.map(|(cause, _)| format!(", most often by {cause}"));
        format!("errors: {} of the requests failed{}", percent(failed), named.unwrap_or_default())
    });
    let responses = (unsuccessful > TOLD_MIN).then(|| {
        let [all, of_server] = [unsuccessful, server_errors].map(percent);
        format!("responses: {all} were no success (2xx or 3xx), {of_server} were 5xx")
    });
    [errors, responses].into_iter().flatten().collect()
}
