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
    let reason = match () {
        () if report.seconds < SECONDS_MIN => "The run was too short to tell what limited it.",
        () if report.requests == 0 => "Nothing was answered, so nothing can be said of a limit.",
        () if share(report.errors, ended(report)) > MOST => {
            "Most requests failed: the figures are of the few that did not, so nothing can be said of a limit."
        }
        () if refused(report) == report.requests => {
            "No response was a success (2xx or 3xx), so nothing can be said of a limit."
        }
        () => return None,
    };
    Some((Limit::Unknown, reason.to_owned()))
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

/// Responses that are no success.
fn refused(report: &Report) -> u64 {
    let status = report.status;
    status.client_error + status.server_error + status.other
}

/// What is to be added to a summary, if most responses were no success.
pub(super) fn refusals_told(report: &Report) -> &'static str {
    match share(refused(report), report.requests) > MOST {
        true => {
            " But most responses were no success (2xx or 3xx): this is how fast they are refused."
        }
        false => "",
    }
}

/// Shares of what went wrong.
pub(super) fn evidence(report: &Report) -> Vec<String> {
    let failed = share(report.errors, ended(report));
    let [unsuccessful, server_errors] =
        [refused(report), report.status.server_error].map(|count| share(count, report.requests));
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
