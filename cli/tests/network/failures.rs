//! Runs in which nothing succeeds: they end by themselves, say why, and exit 1.

use serde_json::Value;

use super::peer::{Peer, dead_url};
use super::program::{drivers, ringshot};

/// A short run on each driver; `check` is given its outcomes.
fn check_failing(url: &str, args: &[&str], check: fn(&Value)) {
    for driver in drivers() {
        let fixed = ["run", url, "-c", "3", "-q", "-o", "json", "--driver", driver];
        let value = ringshot(&[&fixed, args].concat()).json_with_code(1);
        assert_eq!(value["requests"], 0, "{value:#}");
        // Those that were cut off are in it at their age.
        assert_eq!(value["latency_us"]["samples"], value["censored"], "{value:#}");
        check(&value["outcomes"]);
    }
}

fn count(outcomes: &Value, kind: &str) -> u64 {
    outcomes[kind].as_u64().unwrap_or_default()
}

#[test]
fn nothing_listens() {
    check_failing(&dead_url(), &["-d", "400ms"], |outcomes| {
        assert!(count(outcomes, "connect") > 0, "{outcomes}");
    });
}

#[test]
fn nothing_listens_and_the_text_says_so() {
    let ended = ringshot(&["run", &dead_url(), "-d", "300ms", "-q"]);
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    assert!(ended.stdout.contains("ECONNREFUSED"), "{ended:#?}");
}

#[test]
fn no_answer_ever() {
    let peer = Peer::silent();
    check_failing(&peer.url, &["-d", "700ms", "--timeout", "200ms"], |outcomes| {
        assert!(count(outcomes, "timeout") > 0, "{outcomes}");
    });
    // With the usual timeout of 30 s nothing has timed out when the run ends: it is cut off.
    check_failing(&peer.url, &["-d", "300ms"], |outcomes| {
        assert_eq!(
            (count(outcomes, "cancelled"), count(outcomes, "timeout")),
            (3, 0),
            "{outcomes}"
        );
    });
}

#[test]
fn an_answer_that_is_no_http() {
    let peer = Peer::garbage();
    check_failing(&peer.url, &["-n", "30"], |outcomes| {
        let kinds = outcomes.as_object().expect("counts");
        assert!(kinds.keys().all(|kind| kind.starts_with("protocol_")), "{outcomes}");
        assert_eq!(kinds.values().filter_map(Value::as_u64).sum::<u64>(), 30, "{outcomes}");
    });
}

#[test]
fn an_answer_cut_short() {
    let peer = Peer::truncating();
    check_failing(&peer.url, &["-n", "30"], |outcomes| {
        let kinds = outcomes.as_object().expect("counts");
        assert_eq!(kinds.values().filter_map(Value::as_u64).sum::<u64>(), 30, "{outcomes}");
        assert!(!kinds.contains_key("2xx"), "{outcomes}");
    });
}

#[test]
fn a_comparison_with_nobody() {
    if !super::program::io_uring_works() {
        return;
    }
    let ended = ringshot(&["compare", &dead_url(), "-q", "--rounds", "5", "-d", "100ms"]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
    assert!(ended.stderr.contains("no response came with io_uring"), "{ended:#?}");
    assert!(ended.stderr.contains("ECONNREFUSED"), "{ended:#?}");
}
