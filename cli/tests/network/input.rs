//! Bad input beyond `usage.rs`: one line on stderr, nothing on stdout, exit code 2.

use super::program::{Program, command, ringshot};

const URL: &str = "http://127.0.0.1:9/";

fn check(args: &[&str], parts: &[&str]) {
    ringshot(args).check_refused(parts);
}

fn check_run(args: &[&str], parts: &[&str]) {
    check(&[&["run", URL], args].concat(), parts);
}

#[test]
fn urls() {
    check(&["run", "localhost"], &["http://"]);
    check(&["run", "/path"], &["http://"]);
    check(&["run", "ftp://127.0.0.1/"], &["ftp"]);
    check(&["run", "http:///path"], &["empty host"]);
    check(&["run", "http://127.0.0.1:0/"], &["port"]);
    check(&["run", "http://127.0.0.1:99999/"], &["port"]);
    check(&["run", "http://127.0.0.1:x/"], &["port"]);
    check(&["run", "http://no-such-host.invalid/"], &["no-such-host.invalid", "check the name"]);
    check(&["run", "http://127.0.0.1/\r\nX: y"], &["0x0d"]);
    check(&["run", "https://127.0.0.1/"], &["https"]);
    check(&["run", ""], &["http://"]);
    check(&["compare", "no-such-host.invalid"], &["http://"]);
}

#[test]
fn loads() {
    check_run(&["-c", "0"], &["connections"]);
    check_run(&["-c", "5000000"], &["connections"]);
    check_run(&["-c", "-1"], &["-1"]);
    check_run(&["--cores", "999"], &["core 999 does not exist"]);
    check_run(&["--cores", ""], &["not a list of cores"]);
    check_run(&["-n", "0"], &["at least 1"]);
    check_run(&["-d", "0"], &["longer than 0"]);
    check_run(&["-d", "99999h"], &["duration"]);
    check_run(&["--pipeline", "0"], &["in flight"]);
    check_run(&["--pipeline", "100000"], &["in flight", "128"]);
    check_run(&["--timeout", "99999h"], &["timeout"]);
    check_run(&["--connect-timeout", "0"], &["longer than 0"]);
    check(&["compare", "--rounds", "0"], &["at least 5"]);
    check(&["compare", "-c", "0"], &["connections"]);
    check(&["serve", "--port", "0", "--body-bytes", "2GiB"], &["body", "1073741824"]);
    check(&["serve", "--port", "0", "--delay", "2h"], &["delay", "3600 s"]);
    check(&["serve", "--port", "0", "--close-every", "0"], &["at least 1"]);
}

#[test]
fn requests() {
    check_run(&["-H", "X: a\r\nY: b"], &["0x0d", "header X"]);
    check_run(&["-H", "X: a\nY: b"], &["0x0a"]);
    check_run(&["-H", "X: a\u{1}b"], &["0x01"]);
    check_run(&["-H", "X\u{7f}: a"], &["not a token"]);
    check_run(&["-H", ": a"], &["Name: value"]);
    check_run(&["-H", "Content-Length: 5"], &["Content-Length"]);
    check_run(&["-m", "GET\r\n"], &["is not a method"]);
    check_run(&["-m", ""], &["is not a method"]);
    check_run(&["-b", "@/no/such/file"], &["can't read /no/such/file"]);
    check_run(&["-b", "@/"], &["can't read /"]);
    check(&["compare", URL, "-b", "@/no/such/file"], &["can't read /no/such/file"]);
}

/// Runs the binary with at most so many open files, which a shell sets; `exec` leaves no shell behind.
fn check_files(files: u64, args: &[&str], parts: &[&str]) {
    let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_ringshot")]).args(args);
    Program::spawn(&mut shell).wait().check_refused(parts);
}

#[test]
fn more_connections_than_open_files_allow() {
    for driver in ["auto", "epoll"] {
        let args = ["run", URL, "-c", "1000", "--driver", driver];
        check_files(64, &args, &["1000 connections", "ulimit -n", "limit is 64"]);
    }
    if super::program::io_uring_works() {
        check_files(64, &["compare", "-c", "1000"], &["1000 connections", "ulimit -n"]);
    }
}

/// The number that the message names is enough, and one less is not.
#[test]
fn the_named_limit_is_the_one_needed() {
    let args = ["run", URL, "-c", "100", "-n", "1", "-q"];
    let with_limit = |files: &str| {
        let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_ringshot")]).args(args);
        Program::spawn(&mut shell).wait()
    };
    let refused = with_limit("64");
    let needed = refused.stderr.split("ulimit -n ").nth(1).expect("a remedy");
    let needed: u64 = needed.split('`').next().and_then(|n| n.parse().ok()).expect("a number");
    // Nothing listens there: exit code 1 is a run that took place.
    assert_eq!(with_limit(&needed.to_string()).code(), Some(1));
    with_limit(&(needed - 1).to_string()).check_refused(&[&format!("ulimit -n {needed}")]);
}

#[test]
fn a_body_of_the_wrong_kind_is_not_waited_for() {
    // Standard input is empty: so is the body, and the run takes place.
    let mut command = command(&["run", URL, "-b", "@-", "-n", "1", "-q"]);
    assert_eq!(Program::spawn(&mut command).wait().code(), Some(1));
}

#[test]
fn output_that_can_not_be_written() {
    let script = "\"$0\" doctor > /dev/full";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_ringshot")]);
    Program::spawn(&mut shell).wait().check_refused(&["standard output"]);
}
