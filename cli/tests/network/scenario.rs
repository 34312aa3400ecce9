//! What is sent, through the command: scenario files, several URLs, lists, logs. What it reports is what the server served.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::program::{Ended, Server, drivers, ringshot};

/// A file with `text`, in the folder that Cargo gives tests.
fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("a file can be written");
    path.display().to_string()
}

fn run(args: &[&str]) -> Ended {
    ringshot(&[&["run", "-q", "-o", "json"], args].concat())
}

/// The example of `docs/scenario.md`, as it stands there, on both drivers.
#[test]
fn the_example_of_the_document() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/example/shop.toml");
    let docs = docs.display().to_string();
    for driver in drivers() {
        let server = Server::start(&[]);
        let args = ["--scenario", &docs, &server.url, "-n", "300", "-c", "4", "--driver", driver];
        let value = run(&args).json_with_code(0);
        assert_eq!(value["requests"], 300, "{value:#}");
        assert_eq!(value["status"]["2xx"], 300, "{value:#}");
        let names = value["names"].as_array().expect("names");
        let told: Vec<_> =
            names.iter().map(|name| name["name"].as_str().expect("a name")).collect();
        assert_eq!(told, ["front page", "item", "order"]);
        let counts = names.iter().map(|name| name["requests"].as_u64().expect("a count"));
        assert_eq!(counts.sum::<u64>(), 300);
        assert_eq!(server.stop(), 300);
    }
}

#[test]
fn several_urls_are_asked_for_in_turn() {
    let (one, two) = (Server::start(&[]), Server::start(&[]));
    let missing = format!("{}status/404", two.url);
    let check = |value: &Value| {
        assert_eq!(value["status"]["2xx"], 101, "{value:#}");
        assert_eq!(value["status"]["4xx"], 100, "{value:#}");
    };
    let core = ["-n", "201", "-c", "2"];
    check(&run(&[&[one.url.as_str(), missing.as_str()], &core[..]].concat()).json_with_code(0));
    let list = file("urls.txt", &format!("# two\n{}\n\n{missing}\n", one.url));
    check(&run(&[&["--urls", list.as_str()], &core[..]].concat()).json_with_code(0));
    assert_eq!((one.stop(), two.stop()), (202, 200));
}

#[test]
fn a_log_is_replayed_each_request_once() {
    let line = |second: u32, request: &str| {
        format!("::1 - - [01/Jan/2020:00:00:{second:02} +0000] \"{request} HTTP/1.1\" 200 1\n")
    };
    let log = line(1, "GET /status/404") + "garbage\n" + &line(0, "GET /a") + &line(0, "POST /b");
    let log = file("access.log", &log);
    for driver in drivers() {
        for speed in ["4", "closed"] {
            let server = Server::start(&[]);
            let args = ["--replay", &log, &server.url, "--replay-speed", speed, "--driver", driver];
            let ended = run(&[&args[..], &["-c", "1"]].concat());
            assert!(
                ended.stderr.contains("1 line of the log skipped, such as line 2, \"garbage\"")
            );
            let value = ended.json_with_code(0);
            assert_eq!((&value["status"]["2xx"], &value["status"]["4xx"]), (&2.into(), &1.into()));
            assert_eq!(value["arrival"], if speed == "4" { "recorded" } else { "closed" });
            assert_eq!(server.stop(), 3);
        }
    }
}

/// A limit ends a replay sooner, and never begins the log anew.
#[test]
fn a_limit_never_adds_to_a_log() {
    let line = "::1 - - [01/Jan/2020:00:00:00 +0000] \"GET /a HTTP/1.1\" 200 1\n";
    let log = file("short.log", &line.repeat(7));
    for (limit, requests) in [(["-d", "10"], 7), (["-n", "100"], 7), (["-n", "5"], 5)] {
        let server = Server::start(&[]);
        let args = ["--replay", &log, &server.url, "--replay-speed", "closed", "-c", "2"];
        let value = run(&[&args[..], &limit].concat()).json_with_code(0);
        assert_eq!((&value["requests"], server.stop()), (&requests.into(), requests), "{limit:?}");
    }
}

#[test]
fn chunked_bodies_arrive_whole() {
    let text = "[[request]]\nurl = '/echo'\nmethod = 'POST'\nbody = 'n={{rand:7:7}}'\nchunked = true\n\
                expect = { status = 200, body_contains = 'n=7' }\n\
                [[request]]\nurl = '/headers?{{ seq }}'\nmethod = 'POST'\nbody = 'x'\nchunked = true\n\
                expect = { status = 200, body_contains = 'Transfer-Encoding: chunked' }\n";
    let scenario = file("chunked.toml", text);
    for driver in drivers() {
        let server = Server::start(&[]);
        let args = ["--scenario", &scenario, &server.url, "-n", "20", "--driver", driver];
        let value = run(&args).json_with_code(0);
        assert_eq!((&value["requests"], &value["errors"]), (&20.into(), &0.into()), "{value:#}");
        assert_eq!(server.stop(), 20);
    }
}

#[test]
fn think_times_in_an_open_loop_are_warned_of() {
    let server = Server::start(&[]);
    let scenario = file("think.toml", "[[request]]\nurl = '/'\nthink = '1ms'\n");
    let check = |limit: &[&str], is_told: bool| {
        let ended = run(&[&["--scenario", &scenario, &server.url, "-n", "2"], limit].concat());
        assert_eq!(ended.stderr.contains("think times count in a closed loop only"), is_told);
    };
    check(&["-R", "100"], true);
    check(&[], false);
}

#[test]
fn what_was_not_expected_is_an_error() {
    let server = Server::start(&[]);
    let text = "[[request]]\nurl = '/status/503'\nexpect = { status = ['2xx'] }\n";
    let scenario = file("expect.toml", text);
    let value = run(&["--scenario", &scenario, &server.url, "-n", "9", "-c", "1"]).json();
    assert_eq!((&value["errors"], &value["outcomes"]["unexpected_status"]), (&9.into(), &9.into()));
}

#[test]
fn what_can_not_be_sent_is_refused_in_one_line() {
    let url = "http://127.0.0.1:9/";
    let bad = file("bad.toml", "base_url = 'http://h'\n[[request]]\nurl = '/{{no}}'\n");
    run(&["--scenario", &bad]).check_refused(&["bad.toml: line 3: ", "the path has {{no}}"]);
    run(&["--scenario", "/no/such.toml"]).check_refused(&["can't read /no/such.toml"]);
    run(&["--scenario", &bad, url, url]).check_refused(&["--scenario takes one URL"]);
    run(&["--scenario", &bad, "-m", "PUT"]).check_refused(&["cannot be used with"]);
    run(&["--scenario", &bad, "--chunked"]).check_refused(&["chunked = true"]);
    run(&["--scenario", &bad, "http://h/x"]).check_refused(&["the base URL has a path"]);
    run(&["http://127.0.0.1/{{seq}}"]).check_refused(&["{{seq}}", "--scenario"]);
    run(&["--urls", "-", "-b", "@-"]).check_refused(&["--urls and --body", "standard input"]);
    let empty = file("empty.txt", "# nothing\n");
    run(&["--urls", &empty]).check_refused(&["empty.txt: it has no URL"]);
    run(&["--urls", &empty, url]).check_refused(&["cannot be used with"]);
    run(&["--replay", &empty, url]).check_refused(&["no line says a request", "line 1"]);
    run(&["--replay", &empty]).check_refused(&["<URL>"]);
    run(&["--replay", &empty, url, "--replay-speed", "fast"]).check_refused(&["--replay-speed"]);
}
