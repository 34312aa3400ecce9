//! `run -n N` sends N requests, and accounts for each of them once.

use serde_json::Value;

use super::peer::{Peer, dead_url};
use super::program::{Server, cores, drivers, ringshot};

/// Not a multiple of anything in [`SHAPES`].
const REQUESTS: u64 = 503;

/// Connections and requests in flight on each. One connection can't be spread over two cores.
const SHAPES: [(u64, u64); 6] = [(1, 1), (3, 1), (1, 16), (4, 8), (7, 3), (16, 128)];

/// The first core alone, and two of them if there are as many, and connections for both.
fn core_lists(connections: u64) -> Vec<String> {
    let cores: Vec<_> = cores().iter().map(u64::to_string).collect();
    let both = (cores.len() > 1 && connections > 1).then(|| cores[..2].join(","));
    [Some(cores[0].clone()), both].into_iter().flatten().collect()
}

fn run(url: &str, requests: u64, args: &[&str], code: i32) -> Value {
    let count = requests.to_string();
    let fixed = ["run", url, "-n", &count, "-q", "-o", "json"];
    let value = ringshot(&[&fixed, args].concat()).json_with_code(code);
    check_sums(&value, requests);
    value
}

/// `requests + errors + cancelled`, the outcomes, and the cores' shares: all sum up to `requests`.
fn check_sums(value: &Value, requests: u64) {
    let number = |value: &Value| value.as_u64().expect("a count");
    let sum =
        |key: &str| -> u64 { value[key].as_object().expect("counts").values().map(number).sum() };
    let answered = number(&value["requests"]);
    let errors = number(&value["errors"]);
    assert_eq!(answered + errors + number(&value["cancelled"]), requests, "{value:#}");
    assert_eq!(sum("outcomes"), requests, "{value:#}");
    assert_eq!(sum("status"), answered, "{value:#}");
    let cores = value["cores"].as_array().expect("cores");
    let of_cores = |key: &str| -> u64 { cores.iter().map(|core| number(&core[key])).sum() };
    assert_eq!((of_cores("requests"), of_cores("errors")), (answered, errors), "{value:#}");
    assert_eq!(value["latency_us"]["samples"], answered, "{value:#}");
}

/// Every driver, shape and list of cores, against servers with `serve`: N answers, and the server counted N.
fn check_exact(serve: &[&str], args: &[&str]) {
    for driver in drivers() {
        for (connections, pipeline) in SHAPES {
            for list in core_lists(connections) {
                let [connections, pipeline] = [connections, pipeline].map(|n| n.to_string());
                let shape = ["-c", &connections, "-p", &pipeline, "--cores", &list];
                let context = format!("{driver} {shape:?} {args:?}, served {serve:?}");
                let server = Server::start(serve);
                let all = [&shape, args, &["--driver", driver]].concat();
                let value = run(&server.url, REQUESTS, &all, 0);
                assert_eq!(value["requests"], REQUESTS, "{context}: {value:#}");
                assert_eq!(value["status"]["2xx"], REQUESTS, "{context}: {value:#}");
                assert_eq!(value["driver"], driver);
                assert_eq!(server.stop(), REQUESTS, "{context}: {value:#}");
            }
        }
    }
}

#[test]
fn with_keep_alive() {
    check_exact(&[], &[]);
}

#[test]
fn without_keep_alive() {
    check_exact(&[], &["--no-keepalive"]);
}

#[test]
fn against_a_server_that_closes_every_7() {
    check_exact(&["--close-every", "7"], &[]);
}

#[test]
fn without_keep_alive_against_a_server_that_closes_every_7() {
    check_exact(&["--close-every", "7"], &["--no-keepalive"]);
}

#[test]
fn a_body_with_each_request() {
    for driver in drivers() {
        let server = Server::start(&["--close-every", "7"]);
        let body = "b".repeat(5000);
        let args = ["-m", "POST", "-b", &body, "-c", "3", "-p", "2", "--driver", driver];
        assert_eq!(run(&server.url, REQUESTS, &args, 0)["requests"], REQUESTS);
        assert_eq!(server.stop(), REQUESTS);
    }
}

#[test]
fn fewer_requests_than_connections() {
    for driver in drivers() {
        for requests in [1, 3] {
            let server = Server::start(&[]);
            let args = ["-c", "16", "-p", "4", "--driver", driver];
            assert_eq!(run(&server.url, requests, &args, 0)["requests"], requests);
            assert_eq!(server.stop(), requests);
        }
    }
}

#[test]
fn a_server_that_drops_requests() {
    for driver in drivers() {
        let peer = Peer::flaky();
        let value = run(&peer.url, 100, &["-c", "4", "--driver", driver], 0);
        assert!(value["requests"].as_u64() > Some(0), "{value:#}");
        assert!(value["errors"].as_u64() > Some(0), "{value:#}");
        // A request is sent once: what was lost is an error, and no second try.
        assert_eq!((value["resent"].as_u64(), peer.requests()), (Some(0), 100), "{value:#}");
    }
}

#[test]
fn a_dead_port() {
    for driver in drivers() {
        let value = run(&dead_url(), 20, &["-c", "3", "--driver", driver], 1);
        assert_eq!(value["outcomes"]["connect"], 20, "{value:#}");
        assert!(value["error_examples"]["connect"].as_str().expect("one").contains("ECONNREFUSED"));
    }
}
