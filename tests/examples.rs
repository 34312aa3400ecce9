//! The library's examples, run as they are, each against an origin of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ringshot::host::Host;
use ringshot_tests::load::hosts;

/// The longest that an example may take: far more than any does.
const EXAMPLE_MAX: Duration = Duration::from_secs(60);

/// What memory may grow by over a batch: 8 MiB, and half of that for the machine.
const GROWTH_KIB_MAX: u64 = 12 << 10;

/// Whether a program was built of the files as they are now: beside it, cargo lists them.
fn is_fresh(program: &Path) -> bool {
    let modified = |file: &Path| file.metadata()?.modified();
    let Ok(built) = modified(program) else { return false };
    let list = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let Some((_, files)) = list.split_once(": ") else { return false };
    let is_older = |file: &str| modified(Path::new(file)).is_ok_and(|changed| changed <= built);
    files.split_whitespace().all(is_older)
}

/// The program of an example, next to this test's. Built with it by `cargo test --workspace`; here if this package is tested alone.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(name);
    static BUILDS: Mutex<()> = Mutex::new(());
    let builds = BUILDS.lock();
    if !is_fresh(&program) {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--examples", "--locked"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the examples can't be built");
    }
    drop(builds);
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

/// The number that stands between these words.
#[track_caller]
fn number(out: &str, before: &str, after: &str) -> u64 {
    let found = out.lines().find_map(|line| {
        let (_, rest) = line.split_once(before)?;
        rest.split_once(after)?.0.parse().ok()
    });
    found.unwrap_or_else(|| panic!("no number between {before:?} and {after:?} in\n{out}"))
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
    let out = run("producer_consumer", &["200"]);
    assert!(out.contains("200 consumed, 0 failed"), "{out}");
    let (queued, flying) =
        (number(&out, "at most ", " of 10 that"), number(&out, "at most ", " of 20 that"));
    assert!((1..=10).contains(&queued) && (1..=20).contains(&flying), "{out}");
}

#[test]
fn as_completed() {
    check("as_completed", &[], &["3 of 50 were enough"]);
}

#[test]
fn million_urls() {
    let out = run("million_urls", &["20000"]);
    assert!(out.contains("20000 results, 0 failed, 260000 bytes"), "{out}");
    assert!(number(&out, "memory grew by ", " KiB") <= GROWTH_KIB_MAX, "{out}");
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
    if !hosts().contains(&Host::Glommio) {
        return;
    }
    check("inside_glommio", &[], &["32000 requests, 3200000 bytes", "on the executor's own core"]);
}

#[test]
fn blocking() {
    let error = "connect to 127.0.0.1:1: ECONNREFUSED";
    check("blocking", &[], &["200 OK from http://127.0.0.1:", "10 threads: 5000000 bytes", error]);
}
