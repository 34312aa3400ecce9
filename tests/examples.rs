//! The library's examples, run as they are, each against an origin of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringshot::driver::DriverKind;
use ringshot_tests::load::drivers;
use ringshot_tests::watch::announce;

/// The longest that an example may take: far more than any does.
const EXAMPLE_MAX: Duration = Duration::from_secs(60);

/// The program of an example, next to this test's. Built with it by `cargo test --workspace`; here if this package is tested alone.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(name);
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--examples", "--locked"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the examples can't be built");
    }
    program
}

/// Runs an example and gives what it prints.
#[track_caller]
fn run(name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program(name));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > EXAMPLE_MAX {
            child.kill().unwrap();
            panic!("{name} did not end within {EXAMPLE_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let [out, err] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && err.is_empty(), "{name}: {:?}\n{out}{err}", output.status);
    out
}

#[track_caller]
fn check(name: &str, arguments: &[&str], said: &[&str]) {
    let out = run(name, arguments);
    for words in said {
        assert!(out.contains(words), "{words:?} is not in\n{out}");
    }
}

#[test]
fn scalable_client() {
    let outcomes = "outcomes: {\"200 OK\": 950, \"timeout_total\": 50}";
    let out = run("scalable_client", &["3"]);
    assert!(out.contains(outcomes) && out.contains("in_flight: Some(100)"), "{out}");
    let most = out.rsplit_once("saw at once: [").unwrap().1.trim().trim_end_matches(']');
    let most: Vec<u64> = most.split(", ").map(|most| most.parse().unwrap()).collect();
    assert!(most.len() == 4 && most.iter().all(|most| (1..=30).contains(most)), "{out}");
}

#[test]
fn producer_consumer() {
    check("producer_consumer", &["200"], &["200 consumed, 0 failed", "never more than 10 queued"]);
}

#[test]
fn as_completed() {
    check("as_completed", &[], &["3 of 50 were enough"]);
}

#[test]
fn million_urls() {
    check("million_urls", &["20000"], &["20000 results, 0 failed, 260000 bytes", "memory grew by"]);
}

#[test]
fn crawler() {
    check("crawler", &[], &["2000 pages with ", "at most 30 connections to a host"]);
}

#[test]
fn from_tokio() {
    let said = [
        "17: 200 OK, 1700 bytes",
        "a body: there and back",
        "a redirect: 302 Found to Some(\"/",
        "what looks like another host: 200 OK of the upstream's",
        "fails: 502 Bad Gateway GET http://127.",
    ];
    check("from_tokio", &[], &said);
}

#[test]
fn inside_glommio() {
    if !drivers().contains(&DriverKind::IoUring) {
        return announce(
            "glommio needs io_uring, which does not work here: its example is skipped",
        );
    }
    check("inside_glommio", &[], &["32000 requests, 3200000 bytes", "on the executor's own core"]);
}

#[test]
fn blocking() {
    let error = "connect to 127.0.0.1:1: ECONNREFUSED";
    check("blocking", &[], &["200 OK from http://127.0.0.1:", "10 threads: 5000000 bytes", error]);
}
