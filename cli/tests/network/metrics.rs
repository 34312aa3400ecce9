//! `--metrics-listen` during a run, read over bare TCP; and what is said on stderr meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::program::{PATIENCE, Program, Server, ringshot};

/// What `address` answers to a request for `path`.
fn fetch(address: &str, path: &str) -> String {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(client, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

/// The sum of the samples whose names begin with `name`.
fn sum(page: &str, name: &str) -> f64 {
    let samples = page.lines().filter(|line| line.starts_with(name));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn the_counters_of_a_run_grow_and_agree_and_end_with_it() {
    let server = Server::start(&[]);
    let args = ["run", &server.url, "-d", "60s", "-c", "2", "-q", "--metrics-listen", "0"];
    let mut program = Program::start(&args);
    let line = program.stderr_line("metrics at http://");
    let address = line.rsplit("http://").next().and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.expect("an address");
    let page = loop {
        let answer = fetch(address, "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        if sum(&answer, "ringshot_response_time_seconds_count ") > 0.0 {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let requests = sum(&page, "ringshot_requests_total ");
    // One snapshot, but the cores go on while it is taken.
    assert!(sum(&page, "ringshot_core_requests_total{") >= requests * 0.5, "{page}");
    assert!(sum(&page, "ringshot_response_time_seconds_sum ") > 0.0, "{page}");
    assert!(page.contains("\nringshot_phase{phase=\"measuring\"} 1\n"), "{page}");
    assert!((sum(&page, "ringshot_connections ") - 2.0).abs() < 1e-9, "{page}");
    // What is told is taken each 100 ms or so: on a busy machine the next page may be the same.
    let grows = || sum(&fetch(address, "/metrics"), "ringshot_requests_total ") > requests;
    let until = std::time::Instant::now() + PATIENCE;
    while !grows() {
        assert!(std::time::Instant::now() < until, "the counters stand still");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(fetch(address, "/other").starts_with("HTTP/1.1 404 "));
    program.signal("-INT");
    assert_eq!(program.wait().code(), Some(0));
    assert!(TcpStream::connect(address).is_err(), "it still listens on {address}");
}

#[test]
fn refusals_are_counted_by_class_and_have_no_response_time() {
    let server = Server::start(&[]);
    let url = format!("{}status/503", server.url);
    let mut program =
        Program::start(&["run", &url, "-d", "60s", "-c", "2", "--metrics-listen", "0"]);
    let line = program.stderr_line("metrics at http://");
    let address = line.rsplit("http://").next().and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.expect("an address").to_owned();
    let line = program.stderr_line(" not 2xx/3xx");
    assert!(line.contains("p50 - and p99 - of 2xx"), "{line}");
    let page = fetch(&address, "/metrics");
    assert!(sum(&page, "ringshot_responses_total{class=\"5xx\"} ") > 0.0, "{page}");
    assert!(sum(&page, "ringshot_response_time_seconds_count ") == 0.0, "{page}");
    program.signal("-INT");
    program.wait();
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let args = ["run", "http://127.0.0.1:9/", "-n", "1", "--metrics-listen", &address];
    ringshot(&args).check_refused(&["--metrics-listen: can't listen on", &address]);
}

#[test]
fn a_pipe_gets_lines_and_no_screen() {
    let server = Server::start(&[]);
    let ended = ringshot(&["run", &server.url, "-d", "2500ms", "-c", "2"]);
    let lines: Vec<_> = ended.stderr.lines().filter(|line| line.contains("measuring")).collect();
    assert_eq!(lines.len(), 1, "{ended:#?}");
    assert!(lines[0].starts_with("ringshot: ") && lines[0].contains(" requests/s, p50 "));
    assert!(!ended.stderr.contains('\x1b'), "{ended:#?}");
    let silent = ringshot(&["run", &server.url, "-d", "2500ms", "-c", "2", "--live", "off"]);
    assert!(!silent.stderr.contains("measuring"), "{silent:#?}");
    let refused = ringshot(&["run", &server.url, "-n", "1", "--live", "full"]);
    assert!(refused.stderr.contains("need a terminal on stderr"), "{refused:#?}");
    assert_eq!(refused.code(), Some(2));
}
