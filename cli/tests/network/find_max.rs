//! `ringshot find-max` against a server of known capacity: connections / delay. The machine may be too busy for a clean search, which then says so.

use serde_json::Value;

use super::json::check_schema;
use super::peer::{Peer, dead_url};
use super::program::{Server, ringshot};

const SHORT: [&str; 10] = [
    "--step-duration",
    "400ms",
    "--warmup",
    "100ms",
    "--precision",
    "10%",
    "--confirm",
    "1",
    "-c",
    "4",
];

#[test]
fn it_finds_what_the_connections_allow() {
    let server = Server::start(&[]);
    let url = format!("{}delay/20", server.url);
    let args = [&["find-max", &url, "--slo", "p99 < 1s", "-o", "json"], &SHORT[..]].concat();
    let ended = ringshot(&args);
    let value = ended.json();
    check_schema("find-max.schema.json", &value);
    let steps = value["steps"].as_array().expect("a list");
    let lines = ended.stderr.lines().filter(|line| line.contains(" a second")).count();
    assert_eq!(lines, steps.len() + 1, "{ended:#?}");
    let Some(held) = value["highest_held_per_second"].as_f64() else {
        let code = if value["end"] == "nothing_holds" { 3 } else { 4 };
        assert_eq!(ended.code(), Some(code), "{ended:#?}");
        return;
    };
    // Four connections, each at most once in 20 ms; the last answers of a run may come after its end.
    assert!(ended.code() == Some(0) && held > 0.0 && held < 220.0, "{ended:#?}");
    if value["end"] == "found" {
        let not_held = value["lowest_not_held_per_second"].as_f64().expect("a rate");
        assert!(held < not_held && value["confirmed"] == true, "{value:#}");
    }
}

/// Each request that the server has seen is in one count: those of warm-ups, and of runs before the
/// search, too.
#[test]
fn all_that_a_search_sends_is_told() {
    let server = Server::start(&[]);
    let url = format!("{}delay/20", server.url);
    let args = [&["find-max", &url, "--slo", "p99 < 1s", "-q", "-o", "json"], &SHORT[..]].concat();
    let value: Value = serde_json::from_str(&ringshot(&args).stdout).expect("JSON");
    let number = |value: &Value| value.as_u64().expect("a count");
    let runs = ["steps", "unjudged"].map(|key| value[key].as_array().expect("a list"));
    let sent = |run: &Value| {
        let warm_up = &run["warm_up"];
        number(&run["sent"]) + number(&warm_up["requests"]) + number(&warm_up["errors"])
    };
    let told: u64 = runs.into_iter().flatten().map(sent).sum();
    assert_eq!(server.stop(), told, "{value:#}");
    assert!(value["unjudged"][0]["rate_per_second"].is_null(), "{value:#}");
}

/// What there is to tell of a search that could not begin.
#[test]
fn a_search_that_could_not_begin_is_an_object_too() {
    let server = Server::start(&[]);
    let url = format!("{}status/503", server.url);
    let args = [&["find-max", &url, "--slo", "p99 < 1s", "-q", "-o", "json"], &SHORT[..]].concat();
    let value = ringshot(&args).json_with_code(1);
    check_schema("find-max.schema.json", &value);
    assert!(value["ceiling_per_second"].is_null() && value["end"] == "unfinished", "{value:#}");
    assert_eq!(value["unjudged"].as_array().map(Vec::len), Some(2), "{value:#}");
}

#[test]
fn objectives_that_nothing_holds() {
    let server = Server::start(&[]);
    let url = format!("{}delay/20", server.url);
    let args = [&["find-max", &url, "--slo", "p50 < 1ms", "-q"], &SHORT[..]].concat();
    let ended = ringshot(&args);
    // The latter where the machine is so busy that the client is the limit.
    let ends = [(3, "No rate holds the objectives"), (4, "before the client was the limit")];
    let said =
        |(code, words): &(i32, &str)| ended.code() == Some(*code) && ended.stdout.contains(words);
    assert!(ends.iter().any(said) && !ended.stderr.contains(" a second"), "{ended:#?}");
}

#[test]
fn a_server_that_refuses_half_holds_nothing() {
    let server = Server::start(&[]);
    let url = format!("{}fail/50", server.url);
    let args = [&["find-max", &url, "--slo", "p99 < 1s", "-o", "json"], &SHORT[..]].concat();
    let ended = ringshot(&args);
    let value = ended.json();
    check_schema("find-max.schema.json", &value);
    // The latter where the machine is so busy that the client is the limit.
    assert!(matches!(ended.code(), Some(3 | 4)), "{ended:#?}");
    let held = value["steps"].as_array().expect("a list").iter().filter(|it| it["held"] == "yes");
    assert_eq!(held.count(), 0, "{value:#}");
}

/// It answers nothing while more comes than it can take: what it does hold lies below.
#[test]
fn a_server_that_refuses_all_of_too_much_is_asked_for_less() {
    let peer = Peer::touchy();
    let args = [&["find-max", &peer.url, "--slo", "p99 < 1s"], &SHORT[..]].concat();
    let ended = ringshot(&args);
    assert!(matches!(ended.code(), Some(0 | 3 | 4)), "{ended:#?}");
}

#[test]
fn no_run_of_a_search_sends_at_more_than_the_highest_rate() {
    let peer = Peer::healthy();
    let slo = ["find-max", &peer.url, "--slo", "p99 < 9s", "--max-rate", "50"];
    let ended = ringshot(&[&slo, &SHORT[..]].concat());
    assert!(ended.stderr.contains("a second at --max-rate"), "{ended:#?}");
    // A closed loop would send thousands a second.
    assert!(peer.requests() < 1_500, "{} {ended:#?}", peer.requests());
}

#[test]
fn a_dead_server_and_wrong_objectives() {
    let dead = dead_url();
    let args = [&["find-max", &dead, "--slo", "p99 < 1s"], &SHORT[..]].concat();
    let ended = ringshot(&args);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
    assert!(ended.stderr.contains("nothing succeeded: "), "{ended:#?}");
    let server = Server::start(&[]);
    let unavailable = format!("{}status/503", server.url);
    let args = [&["find-max", &unavailable, "--slo", "p99 < 1s"], &SHORT[..]].concat();
    let ended = ringshot(&args);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
    assert!(ended.stderr.contains("nothing succeeded: no response was a 2xx or 3xx"), "{ended:#?}");
    // Answers of any other kind have no times, but count as answers.
    let moved = format!("{}status/302", server.url);
    let search = |slo| {
        let all = [&["find-max", &moved, "--slo", slo, "--max-rate", "100"], &SHORT[..]].concat();
        ringshot(&all)
    };
    let ended = search("p99 < 1s");
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("times are those of 2xx responses"), "{ended:#?}");
    assert!(matches!(search("error_rate < 1%").code(), Some(0 | 4)), "{ended:#?}");
    let url = "http://127.0.0.1:9/";
    ringshot(&["find-max", url]).check_refused(&["--slo"]);
    ringshot(&["find-max", url, "--slo", "fast"]).check_refused(&["one of > >= < <="]);
    ringshot(&["find-max", url, "--slo", "p99<1s", "--precision", "0"])
        .check_refused(&["0.1% to 50%"]);
}
