//! `--fail-if` and `--require-valid`: what they print, and how the program ends by them.

use super::peer::dead_url;
use super::program::{Server, ringshot};

fn run(url: &str, args: &[&str]) -> super::program::Ended {
    ringshot(&[&["run", url, "-n", "50", "-c", "2", "--timeout", "10s"], args].concat())
}

#[test]
fn each_condition_is_named_and_decides_the_exit_code() {
    let server = Server::start(&[]);
    let url = format!("{}delay/5", server.url);
    let passes = ["--fail-if", "p50 < 1us", "--fail-if", "error_rate > 0.1%"];
    let ended = run(&url, &passes);
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("\nThresholds\nkept     p50 < 1us"), "{ended:#?}");

    let ended = run(&url, &[&passes[..], &["--fail-if", "p50 > 1ms", "-o", "json"]].concat());
    let value = ended.json_with_code(3);
    let outcomes = value["thresholds"].as_array().expect("a list");
    let passed: Vec<_> = outcomes.iter().map(|it| it["passed"].as_bool()).collect();
    assert_eq!(passed, [Some(true), Some(true), Some(false)]);
    let last = &outcomes[2];
    assert_eq!((&last["text"], &last["metric"]), (&"p50 > 1ms".into(), &"p50".into()));
    assert_eq!(last["limit"], 1_000.0);
    assert!(last["value"].as_f64() >= Some(5_000.0), "{last}");
}

#[test]
fn no_response_comes_before_a_threshold() {
    let ended = run(&dead_url(), &["--fail-if", "errors > 0", "--require-valid"]);
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    assert!(ended.stdout.contains("FAILED   errors > 0"), "{ended:#?}");
}

#[test]
fn what_is_too_short_to_judge_is_not_valid() {
    let server = Server::start(&[]);
    let ended = ringshot(&["run", &server.url, "-n", "1", "-c", "1", "--require-valid"]);
    assert_eq!(ended.code(), Some(4), "{ended:#?}");
    let line = "ringshot: --require-valid: The run was too short to tell what limited it.";
    assert!(ended.stderr.lines().any(|it| it == line), "{ended:#?}");
    let both =
        ["run", &server.url, "-n", "1", "-c", "1", "--require-valid", "--fail-if", "max > 0s"];
    assert_eq!(ringshot(&both).code(), Some(3));
}

#[test]
fn a_server_that_waits_is_the_limit_and_the_run_valid() {
    let server = Server::start(&[]);
    let url = format!("{}delay/20", server.url);
    let ended = ringshot(&["run", &url, "-d", "1s", "-c", "2", "--require-valid", "-o", "json"]);
    let value = ended.json_with_code(0);
    assert_eq!(value["verdict"]["limit"], "server", "{value:#}");
    // Where the kernel answers questions on sockets, both connections are in it.
    let sockets = &value["sockets"];
    assert!(sockets.is_null() || sockets["samples"].as_u64() >= Some(2), "{sockets:#}");
}

#[test]
fn who_waits_for_a_connection_does_not_wait_for_the_server() {
    let server = Server::start(&[]);
    let urls = [&*server.url, &dead_url()];
    let ended = ringshot(&["run", urls[0], urls[1], "-d", "1s", "-c", "4", "--require-valid"]);
    assert_eq!(ended.code(), Some(4), "{ended:#?}");
    assert!(ended.stderr.contains("Connections could not be made"), "{ended:#?}");
}

#[test]
fn what_slack_holds_back_is_sent() {
    let server = Server::start(&[]);
    let load = ["-R", "500", "-c", "32", "-d", "1s", "--slack", "5ms", "--shed-after", "1ms"];
    for driver in ["auto", "epoll"] {
        let asked = ["run", &server.url, "--driver", driver, "-o", "json", "-q"];
        let value = ringshot(&[&asked[..], &load].concat()).json_with_code(0);
        assert_eq!(value["offered"], 500);
        // A machine that stalls may have more due at once than there are connections.
        assert!(value["shed"].as_u64() < Some(250), "{}", value["shed"]);
    }
}

#[test]
fn wrong_conditions_are_refused() {
    let check = |condition: &str, part: &str| {
        run("http://127.0.0.1:9/", &["--fail-if", condition]).check_refused(&[part]);
    };
    check("p99", "one of > >= < <=");
    check("p98 > 5ms", "p50, p75, p90");
    check("p99 > 5", "write 250us, 5ms, 1.5s or 2m");
}
