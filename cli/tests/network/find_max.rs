//! `ringshot find-max` against a server of known capacity: connections / delay. The machine may be too busy for a clean search, which then says so.

use super::json::check_schema;
use super::peer::dead_url;
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
    let value = ended.json_with_code(0);
    check_schema("find-max.schema.json", &value);
    // Four connections, each at most once in 20 ms; the last answers of a run may come after its end.
    let held = value["highest_held_per_second"].as_f64().expect("a rate");
    assert!(held > 0.0 && held < 220.0, "{value:#}");
    let steps = value["steps"].as_array().expect("a list");
    let lines = ended.stderr.lines().filter(|line| line.contains(" a second")).count();
    assert_eq!(lines, steps.len() + 1, "{ended:#?}");
    if value["end"] == "found" {
        let not_held = value["lowest_not_held_per_second"].as_f64().expect("a rate");
        assert!(held < not_held && value["confirmed"] == true, "{value:#}");
    }
}

#[test]
fn objectives_that_nothing_holds_end_with_3() {
    let server = Server::start(&[]);
    let url = format!("{}delay/20", server.url);
    let args = [&["find-max", &url, "--slo", "p50 < 1ms", "-q"], &SHORT[..]].concat();
    let ended = ringshot(&args);
    assert_eq!((ended.code(), ended.stderr.contains(" a second")), (Some(3), false), "{ended:#?}");
    assert!(ended.stdout.contains("No rate"), "{ended:#?}");
}

#[test]
fn a_dead_server_and_wrong_objectives() {
    let dead = dead_url();
    let args = [&["find-max", &dead, "--slo", "p99 < 1s"], &SHORT[..]].concat();
    let ended = ringshot(&args);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
    assert!(ended.stderr.contains("nothing succeeded: "), "{ended:#?}");
    let url = "http://127.0.0.1:9/";
    ringshot(&["find-max", url]).check_refused(&["--slo"]);
    ringshot(&["find-max", url, "--slo", "fast"]).check_refused(&["one of > >= < <="]);
    ringshot(&["find-max", url, "--slo", "p99<1s", "--precision", "0"])
        .check_refused(&["0.1% to 50%"]);
}
