//! haproxy that ends idle connections, with and without a word, closes without an answer, resets, or falls silent.

use std::time::Duration;

use ringshot::client::{Error, Kind, TimeoutKind, Timeouts};
use ringshot_tests::servers::{Haproxy, Nginx};

use super::idle::burst;
use super::record::{check_made, record};
use super::rig::{Case, Rig, SOON, each_at_once};

/// Requests against haproxy with `front` in its configuration, before nginx; the pauses lie around its timeouts.
fn check_proxied(front: &str, pauses: &[u64], may_fail: impl Fn(&Error) -> bool + Sync) {
    let Some(nginx) = Nginx::start() else { return };
    let Some(haproxy) = Haproxy::start_with(&nginx, front) else { return };
    each_at_once(|case| check_case(case, &nginx, &haproxy, pauses, &may_fail));
}

fn check_case(
    case: Case,
    nginx: &Nginx,
    haproxy: &Haproxy,
    pauses: &[u64],
    may_fail: impl Fn(&Error) -> bool,
) {
    let head = Some(Duration::from_millis(700));
    let timeouts = Timeouts { head, total: Some(SOON), ..Timeouts::default() };
    let rig = Rig::new(case, |client| client.max_conns_per_host(16).timeouts(timeouts));
    let (url, mut made) = (haproxy.url("/early"), Vec::new());
    for (round, pause) in pauses.iter().enumerate() {
        made.extend(burst(&rig, &url, 40 * round..40 * round + 32, 5));
        std::thread::sleep(Duration::from_millis(*pause));
        made.extend(burst(&rig, &url, 40 * round + 32..40 * (round + 1), 5));
    }
    let record = record(nginx, &format!("{case}."), made.len() / 3);
    check_made(&made, &record, may_fail);
    let came = made.iter().filter(|made| made.outcome.is_ok()).count();
    assert!(came * 3 > made.len(), "{case}: only {came} of {} came back", made.len());
    rig.check_at_rest();
}

#[test]
fn a_proxy_that_ends_idle_connections() {
    // An answer of 408 to those that never said anything, an end to the others.
    let front = "timeout http-request 80ms\n timeout http-keep-alive 100ms";
    check_proxied(front, &[78, 99, 80, 101, 100, 120, 79, 81, 100, 99], |_| false);
}

#[test]
fn a_proxy_that_resets_idle_connections() {
    let front = "option nolinger\n timeout client 60ms\n timeout http-request 50ms\n timeout http-keep-alive 60ms";
    check_proxied(front, &[58, 59, 60, 61, 62, 70, 59, 60, 60, 61], |_| false);
}

#[test]
fn a_proxy_that_closes_without_an_answer() {
    // One request in ten, on new connections and used ones alike: only those on used ones are tried again.
    let front = "http-request reject if { rand(10) eq 0 }";
    let ended = |error: &Error| {
        matches!(error.kind(), Kind::Closed | Kind::Io(_)) && error.may_have_been_processed()
    };
    check_proxied(front, &[0; 10], |error| ended(error) && !error.is_reused());
}

#[test]
fn a_proxy_that_resets_without_an_answer() {
    let front = "option nolinger\n http-request reject if { rand(10) eq 0 }";
    let ended = |error: &Error| {
        matches!(error.kind(), Kind::Closed | Kind::Io(_)) && error.may_have_been_processed()
    };
    check_proxied(front, &[0; 10], |error| ended(error) && !error.is_reused());
}

#[test]
fn a_proxy_that_falls_silent() {
    let front = "http-request silent-drop if { rand(30) eq 0 }";
    let timed_out = |error: &Error| {
        matches!(error.kind(), Kind::Timeout(TimeoutKind::Head)) && error.may_have_been_processed()
    };
    check_proxied(front, &[0; 3], timed_out);
}
