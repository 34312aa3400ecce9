//! The binary's manners: bad input is one line on stderr and exit code 2. None of this needs a network.
#![allow(clippy::expect_used, reason = "a test that can't start its program has failed")]

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

fn ringshot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringshot"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// One line on stderr that begins with `ringshot: ` and holds `part`; nothing on stdout; exit code 2.
fn check_line(output: &Output, part: &str) {
    let line = stderr(output);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("ringshot: ") && line.ends_with('\n'), "{line}");
    assert!(line.to_lowercase().contains(&part.to_lowercase()), "expected {part:?}: {line}");
    assert_eq!(stdout(output), "");
    assert_eq!(output.status.code(), Some(2), "{line}");
}

fn check(args: &[&str], part: &str) {
    check_line(&ringshot(args), part);
}

const URL: &str = "http://127.0.0.1:9/";

#[test]
fn urls_that_can_not_be_used() {
    check(&["run"], "<URL>");
    check(&["run", "127.0.0.1:8080"], "http://");
    check(&["run", "https://127.0.0.1/"], "https");
    check(&["run", "http://127.0.0.1:0/"], "the port of \"http://127.0.0.1:0/\"");
    check(&["run", "http://nosuch.invalid/"], "nosuch.invalid");
    check(&["compare", "https://127.0.0.1/"], "https");
}

#[test]
fn loads_that_can_not_be_run() {
    check(&["run", URL, "-c", "0"], "connections");
    check(&["run", URL, "-c", "many"], "not a count");
    check(&["run", URL, "-n", "0"], "at least 1");
    check(&["run", URL, "-d", "0s"], "longer than 0");
    check(&["run", URL, "-d", "soon"], "not a duration");
    check(&["run", URL, "-R", "1", "--stages", "1s:1"], "cannot be used with");
    check(&["run", URL, "-R", "fast"], "not a rate");
    check(&["run", URL, "-R", "0"], "zero all along");
    check(&["run", URL, "--stages", "10s"], "not a stage");
    check(&["run", URL, "--spin", "10us"], "--spin means nothing without a rate");
    check(&["run", URL, "-R", "1", "--spin", "1s"], "time to spin");
    check(&["run", URL, "--bind", "::1"], "another family");
    // Of a net for documentation (RFC 5737).
    check(&["run", URL, "--bind", "192.0.2.9"], "192.0.2.9 is no address of this machine");
    for many in ["224.0.0.1", "255.255.255.255", "127.255.255.255"] {
        check(&["run", URL, "--bind", many], "is a multicast or broadcast address");
    }
    check(&["run", URL, "--stages", "10000000000000000000:5,10000000000000000000:5"], "30 days");
    check(&["run", URL, "--drain", "9999h"], "the drain must be at most 30 days");
    check(&["run", URL, "-R", "100M", "--arrival", "poisson"], "with Poisson arrivals");
    check(&["run", "http://me:secret@127.0.0.1/"], "--user NAME:PASSWORD");
    check(&["run", URL, "--stages", "1s:100...200"], "not a rate");
    check(&["run", URL, "-u", "name"], "NAME:PASSWORD");
    check(&["run", URL, "--connect-to", "x"], "HOST:PORT:HOST:PORT");
    check(&["run", URL, "--timeout", "0"], "longer than 0");
    check(&["run", URL, "--driver", "kqueue"], "not one of auto, io_uring, epoll");
    check(&["compare", "--rounds", "4"], "at least 5");
}

#[test]
fn an_argument_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let body = std::ffi::OsStr::from_bytes(b"@\xff");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringshot"));
    let output = command.args(["run", URL, "-b"]).arg(body).output().expect("it starts");
    check_line(&output, "argument 4, \"@\u{fffd}\"");
    let command = std::ffi::OsStr::from_bytes(b"r\xff");
    let output = Command::new(env!("CARGO_BIN_EXE_ringshot")).arg(command).output();
    check_line(&output.expect("it starts"), "unrecognized subcommand");
}

#[test]
fn cores_that_do_not_exist() {
    check(&["run", URL, "--cores", "8000"], "core 8000 does not exist");
    check(&["run", URL, "--cores", "5-2"], "not a list of cores");
    check(&["run", URL, "--cores", "0,0"], "core 0");
    check(&["serve", "--port", "0", "--cores", "8000"], "core 8000 does not exist");
}

#[test]
fn requests_that_can_not_be_sent() {
    check(&["run", URL, "-H", "no colon"], "Name: value");
    check(&["run", URL, "-H", "bad name: x"], "bad name");
    check(&["run", URL, "-m", "G ET"], "is not a method");
    check(&["run", URL, "-b", "@/no/such/file"], "/no/such/file");
    check(&["run", URL, "--bearer", ""], "--bearer is empty");
}

#[test]
fn results_that_can_not_be_shown() {
    let directory = std::env::temp_dir().join(format!("ringshot-usage-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("other.json");
    std::fs::write(&file, "{\"schema_version\": 99}").expect("a file");
    let path = file.to_str().expect("UTF-8");
    check(&["report"], "<FILE>");
    check(&["report", "/no/such/result.json"], "can't read /no/such/result.json");
    check(&["report", path], "has schema_version 99");
    check(&["report", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], "is no result");
    check(&["run", URL, "--out-dir", path], "--out-dir: can't write");
    check(&["run", URL, "-o", "yaml"], "[possible values: text, json, csv, html, hgrm]");
    std::fs::remove_dir_all(directory).expect("it is ours");
}

#[test]
fn more_connections_than_open_files_allow() {
    let command = "ulimit -n 64 && exec \"$0\" run http://127.0.0.1:9/ -c 1000";
    let output = Command::new("sh")
        .args(["-c", command, env!("CARGO_BIN_EXE_ringshot")])
        .output()
        .expect("sh starts");
    check_line(&output, "ulimit -n");
}

#[test]
fn a_port_in_use() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    check(&["serve", "--port", &port], &format!("port {port} is taken"));
    check(&["serve", "--port", "70000"], "70000");
}

#[test]
fn two_signals_at_once_are_one() {
    let mut child = serve_any_port();
    // Both wait while the process is stopped, and come at one instant, as those of timeout(1) do.
    for signal in ["-STOP", "-INT", "-TERM", "-CONT"] {
        kill(signal, &child);
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn one_signal_ends_a_server_in_order() {
    let mut child = serve_any_port();
    kill("-TERM", &child);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// A `ringshot serve` that has said that it is ready.
fn serve_any_port() -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringshot"))
        .args(["serve", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = [0; 23];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("its first line");
    assert_eq!(&line, b"serving http://127.0.0.");
    child
}

fn kill(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
}

#[test]
fn words_that_are_no_command_or_option() {
    check(&["dance"], "see `ringshot --help`");
    check(&["run", URL, "--conections", "1"], "--connections");
    check(&["run", URL, "--live", "screen"], "plain");
    check(&["run", URL, "--live", "full", "-q"], "cannot be used with");
    check(&["run", URL, "--metrics-listen", "here"], "not a port or address");
    check(&["man", "dance"], "no command is called");
    check(&["completions", "cmd"], "zsh");
}

#[test]
fn help_is_not_an_error() {
    let check_help = |args: &[&str], parts: &[&str]| {
        let output = ringshot(args);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
        let text = stdout(&output);
        for part in parts {
            assert!(text.contains(part), "{args:?} lacks {part:?}: {text}");
        }
    };
    check_help(&["--help"], &["compare", "Exit codes", "130"]);
    check_help(&["run", "--help"], &["--no-keepalive", "[default: 10s,", "Examples:", "10k"]);
    check_help(&["serve", "--help"], &["--body-bytes", "[default: 8080]", "KiB", "/delay/MS"]);
    check_help(&["compare", "--help"], &["--rounds", "[default: 7]", "--seed"]);
    check_help(&["report", "--help"], &["--out-dir", "hgrm", "both", "merged"]);
    check_help(&["doctor", "--help"], &["--output"]);
    check_help(&["completions", "bash"], &["_ringshot", "--metrics-listen", "--live"]);
    check_help(&["man"], &[".TH ringshot", "ringshot\\-run"]);
    check_help(&["man", "run"], &[".TH ringshot-run", "\\-\\-connections"]);
    check_help(&["--version"], &[env!("CARGO_PKG_VERSION")]);
    let bare = ringshot(&[]);
    assert_eq!((bare.status.code(), stdout(&bare).as_str()), (Some(2), ""));
    assert!(stderr(&bare).contains("Usage: ringshot"));
}

#[test]
fn doctor_needs_nothing() {
    let text = ringshot(&["doctor"]);
    assert_eq!(text.status.code(), Some(0));
    for part in ["kernel", "io_uring", "open files", "For a serious run"] {
        assert!(stdout(&text).contains(part), "{part}: {}", stdout(&text));
    }
    let json = ringshot(&["doctor", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(value["cores"].as_array().is_some_and(|cores| !cores.is_empty()), "{value}");
}
