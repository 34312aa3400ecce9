//! How results read, whole.

use ringshot::load::{Latency, NameReport};

use super::*;
use crate::output::sample;

#[test]
fn a_closed_loop_reads_so() {
    let expected = "\
GET http://127.0.0.1:8080/
io_uring, 64 connections on core 1

Requests 3,412,345 in 10 s, 341,235 a second, 55.3 MB/s
Status   2xx 3,412,345
Errors   0
CPU      2.93 us a request: 0.31 user, 2.62 system
Loop     0.031 system calls a request, 31.5 completions a turn
Memory   9.88 MB resident

Latency of 3,412,345 successful requests (2xx), from sent to the last byte
            latency  samples beyond        95% interval
mean         187 us
stdev       61.5 us
min         92.1 us
p50          180 us
p75          212 us
p90          245 us
p95          289 us
p99          413 us
p99.9       1.23 ms           3,412  1.22 ms to 1.24 ms
p99.99      4.57 ms             341  4.40 ms to 4.70 ms
max         23.5 ms

Cores
           connections   requests  a second    errors      busy
1                   64  3,412,345   341,235         0     99.8%

Verdict  NOT VALID: Nothing is known of what limited this run.
";
    assert_eq!(render(&sample::document()), expected);
}

#[test]
fn an_open_loop_reads_so() {
    let expected = "\
GET http://127.0.0.1:8080/
io_uring, 64 connections on core 1

Requests 49,987 in 10 s, 4,999 a second, 55.3 MB/s
Schedule constant, 5,000 a second
Offered  50,000: 49,990 sent, 10 shed
Sent     4,999 a second, 12 late by over 1 ms, 700 waited for a connection
Censored 3 unanswered at the end: in neither count, in latency at their age
Status   2xx 49,987
Errors   0
CPU      2.93 us a request: 0.31 user, 2.62 system
Loop     0.031 system calls a request, 31.5 completions a turn
Memory   9.88 MB resident
Names    looked up in 120 us, before the run

Latency of 49,987 successful requests (2xx) and 3 censored
           response   service  samples beyond        95% interval
mean        ≥353 us   ≥251 us
stdev       1.18 ms    175 us
min          100 us    100 us
p50          252 us    250 us
p75          327 us    325 us
p90          373 us    370 us
p95          388 us    385 us
p99          509 us    397 us
p99.9       18.7 ms    400 us              49  17.9 ms to 19.1 ms
p99.99     ≥20.1 ms    400 us               4  20.0 ms to 20.1 ms
max        ≥20.1 ms  ≥19.9 ms
response, with its interval: from when due; service: from when sent

Up to        requests     cumulative
158 us          9,627          19.2%  ███████████████▉
251 us         15,306          49.8%  █████████████████████████▎
398 us         24,254          98.3%  ████████████████████████████████████████
631 us            310          99.0%  ▌
1.00 ms            10          99.0%  ▏
1.58 ms            10          99.0%  ▏
2.51 ms            20          99.0%  ▏
3.98 ms            40          99.1%  ▏
6.31 ms            60          99.2%  ▏
10.0 ms            90          99.4%  ▏
15.8 ms           150          99.7%  ▎
25.1 ms           113           100%  ▏

Phases
                     p50       p90       p99     p99.9       max   samples
lag of sending   4.10 us   6.70 us   7.30 us   7.30 us   7.30 us    49,987

Cores
           connections   requests  a second    errors      busy
1                   64  3,412,345   341,235         0     99.8%

Thresholds
FAILED   p99 > 5ms: p99 was 12.4 ms
kept     rate < 4k: rate was 4,999 a second

Verdict  The server was the limit: it left requests waiting for a connection.
         - the busiest core was on the CPU 41.0% of the time
";
    assert_eq!(render(&sample::open_loop()), expected);
}

#[test]
fn a_schedule_names_the_pacing_that_was_asked_for() {
    let check = |slack_us, spin_us, expected: &str| {
        let mut document = sample::open_loop();
        (document.report.slack_us, document.report.spin_us) = (slack_us, spin_us);
        let line = format!("\nSchedule constant, 5,000 a second{expected}\n");
        let text = render(&document);
        assert!(text.contains(&line), "{text}");
    };
    check(Some(1_000.0), Some(100.0), ", slack 1.00 ms, spin 100 us");
    check(Some(0.0), Some(20.0), ", spin 20.0 us");
    check(None, Some(0.0), ", slack mixed");
}

#[test]
fn each_cause_of_errors_shows_its_first_example() {
    let mut report = sample::document().report;
    report.outcomes.insert("connect".to_owned(), 64);
    report.outcomes.insert("cancelled".to_owned(), 1);
    report.error_causes.insert("connect ECONNREFUSED".to_owned(), 60);
    report.error_causes.insert("connect EADDRNOTAVAIL".to_owned(), 4);
    report.error_causes.insert("connect_timeout".to_owned(), 4);
    let refused = "connect: ECONNREFUSED (Connection refused): nothing listens there";
    report.error_examples.insert("connect".to_owned(), refused.to_owned());
    let shown = |report: &Report| endings::endings(report).iter().map(ending).collect::<String>();
    let saved_earlier = "\
Ended by connect EADDRNOTAVAIL 4
Ended by connect ECONNREFUSED 60
";
    assert_eq!(shown(&report), saved_earlier);
    let examples = [
        ("connect ECONNREFUSED", refused),
        ("connect EADDRNOTAVAIL", "connect: EADDRNOTAVAIL: no local port is free"),
    ];
    report.error_cause_examples =
        examples.map(|(cause, example)| (cause.to_owned(), example.to_owned())).into();
    let expected = "\
Ended by connect EADDRNOTAVAIL 4, first: connect: EADDRNOTAVAIL: no local port
         is free
Ended by connect ECONNREFUSED 60, first: connect: ECONNREFUSED (Connection
         refused): nothing listens there
";
    assert_eq!(shown(&report), expected);
    // Of one cause the kind's example is its own.
    report.error_cause_examples.clear();
    report.error_causes.remove("connect EADDRNOTAVAIL");
    assert!(shown(&report).contains("ECONNREFUSED 60, first: connect: ECONNREFUSED"));
    report.error_causes.clear();
    assert!(shown(&report).starts_with("Ended by connect 64, first: connect: ECONNREFUSED"));
}

#[test]
fn an_invalid_run_says_so() {
    let mut it = sample::open_loop().report.verdict;
    it.valid = false;
    let text = verdict(&it);
    assert!(text.starts_with("Verdict  NOT VALID: The server"), "{text}");
}

#[test]
fn many_urls_and_machines_stay_within_80_columns() {
    let mut document = sample::document();
    let numbered = |name: &str| (0..12).map(|n| format!("{name}{n}")).collect::<Vec<_>>();
    document.url = numbered("http://127.0.0.1:18080/").join(", ");
    document.machines = numbered("machine");
    let text = render(&document);
    assert!(text.lines().all(|line| columns(line) <= WIDTH), "{text}");
    assert!(text.contains("GET http://127.0.0.1:18080/0, ") && text.contains("/11\nio_uring, "));
    assert!(text.contains(" machine11\n"), "{text}");
}

#[test]
fn words_are_wrapped_between_words() {
    assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    assert_eq!(wrapped("unbreakable a", 4), ["unbreakable", "a"]);
    assert_eq!(wrapped("  ", 4), Vec::<String>::new());
}

#[test]
fn what_could_move_a_terminal_is_replaced() {
    let mut document = sample::document();
    document.url = "http://h/\u{1b}[2J\r".to_owned();
    let text = render(&document);
    assert!(text.starts_with("GET http://h/\u{fffd}[2J\u{fffd}\n"), "{text}");
    document.url = "http://h/\u{202e}moc".to_owned();
    assert!(render(&document).starts_with("GET http://h/\u{fffd}moc\n"));
}

#[test]
fn columns_stand_below_each_other_whatever_the_letters() {
    let row = |name: &str| vec![name.to_owned(), "7".to_owned()];
    let rows = ["search", "検索", "e\u{301}t\u{e9}"].map(row).into();
    let head = vec!["", "requests"];
    let text = table(&Table { title: "By name".to_owned(), head, rows, ..Table::default() });
    let ends: Vec<usize> = text.lines().skip(1).map(columns).collect();
    assert_eq!(ends, [ends[0]; 4], "{text}");
}

#[test]
fn a_heading_names_all_that_is_drawn_below_it() {
    let mut document = sample::document();
    document.report.censored = 3;
    let heading = "Latency of 3,412,345 successful requests (2xx) and 3 censored, from when sent\n";
    assert!(render(&document).contains(heading), "{}", render(&document));
}

#[test]
fn names_make_room_for_figures() {
    let name = |path: &str, requests| NameReport {
        name: format!("http://127.0.0.1:18080/{path}"),
        requests,
        censored: 10,
        exact_below: 0.0,
        latency_us: Latency {
            p50: 6e5,
            p90: 1e6,
            p99: 1.1e6,
            max: 1.1e6,
            samples: 10,
            ..Latency::default()
        },
        ..NameReport::default()
    };
    for requests in [0, 3, 1_234_567, 123_456_789] {
        let mut document = sample::open_loop();
        document.report.names = vec![name("hang", requests), name("ok", requests)];
        let text = render(&document);
        assert!(text.lines().all(|line| columns(line) <= WIDTH), "{text}");
        let of = |end: &str| text.lines().filter(|line| line.contains(end)).count();
        assert_eq!((of("/hang "), of("/ok ")), (1, 1), "{text}");
    }
}

#[test]
fn wide_figures_stay_within_80_columns() {
    let mut document = sample::open_loop();
    let report = &mut document.report;
    report.requests = u64::from(u32::MAX) * 1_000;
    report.cores[0].requests = report.requests;
    report.cores[0].machine = "a-machine-with-a-long-name".to_owned();
    report.requests_per_second = 99_999_999.0;
    report.seconds = 86_400.123;
    let text = render(&document);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
}
