//! A run's report for a person, at most 80 columns wide but for the words of errors. Pure.

use std::time::Duration;

use ringshot::load::{CoreReport, Latency, Report, StatusCounts};

use super::format::{
    bytes, count, counted, format_latency, length, microseconds, percent, rate, three_digits,
};
use crate::cores;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Headline<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) connections: u32,
    pub(crate) pipeline: u32,
}

/// The whole report.
pub(crate) fn render(headline: &Headline<'_>, report: &Report) -> String {
    let sections = [
        head(headline, report),
        totals(report),
        latency(&report.latency_us),
        status(report.status),
        errors(report),
        per_core(&report.cores),
    ];
    let shown: Vec<_> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    shown.join("\n")
}

fn head(headline: &Headline<'_>, report: &Report) -> String {
    let Headline { method, url, connections, pipeline } = headline;
    let mut numbers: Vec<usize> = report.cores.iter().map(|core| core.core).collect();
    numbers.sort_unstable();
    let depth = if *pipeline > 1 { format!(", pipeline {pipeline}") } else { String::new() };
    let cut = if report.interrupted { "; interrupted" } else { "" };
    format!(
        "{method} {url}\n{}{}, {} on {}{depth}{cut}\n",
        report.driver,
        on_host(&report.host),
        counted(u64::from(*connections), "connection"),
        cores::name(&numbers),
    )
}

/// Where the loop ran on something else than a thread of its own.
fn on_host(host: &str) -> String {
    if host == "thread" { String::new() } else { format!(" on {host}") }
}

fn totals(report: &Report) -> String {
    let requests = format!(
        "{} in {}, {} a second, {}/s",
        count(report.requests),
        measured(report.seconds),
        rate(report.requests_per_second),
        bytes(report.bytes_per_second)
    );
    let cost = if report.requests == 0 { String::new() } else { cost(report) };
    [
        line("Requests", &requests),
        line("Errors", &count(report.errors)),
        cost,
        line("Memory", &format!("{} resident", bytes(whole(report.resident_bytes_max)))),
    ]
    .concat()
}

/// `10 s`, `1.007 s`, `326 us`.
fn measured(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds).unwrap_or_default() {
        short if short < Duration::from_secs(1) => format_latency(short),
        long => length(Duration::from_secs_f64((long.as_secs_f64() * 1e3).round() / 1e3)),
    }
}

fn cost(report: &Report) -> String {
    let cpu = format!(
        "{} us a request: {} user, {} system",
        three_digits(report.cpu_us_per_request),
        three_digits(report.cpu_user_us_per_request),
        three_digits(report.cpu_system_us_per_request)
    );
    let turns = turns(report.system_calls_per_request, report.completions_per_turn);
    line("CPU", &cpu) + &line("Loop", &turns)
}

fn turns(system_calls: f64, completions: f64) -> String {
    format!("{system_calls:.3} system calls a request, {completions:.1} completions a turn")
}

fn latency(latency: &Latency) -> String {
    if latency.samples == 0 {
        return String::new();
    }
    let names = ["mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let values = [
        latency.mean,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p99_9,
        latency.p99_99,
        latency.max,
    ];
    let cells = |texts: [String; 7]| texts.map(|text| format!("{text:>9}")).concat();
    let head = cells(names.map(str::to_owned));
    format!("Latency  {head}\n         {}\n", cells(values.map(microseconds)))
}

fn status(status: StatusCounts) -> String {
    let classes = [
        ("2xx", status.success),
        ("3xx", status.redirect),
        ("4xx", status.client_error),
        ("5xx", status.server_error),
        ("other", status.other),
    ];
    let shown: Vec<String> = classes
        .iter()
        .filter(|(_, requests)| *requests > 0)
        .map(|(class, requests)| format!("{class} {}", count(*requests)))
        .collect();
    if shown.is_empty() { String::new() } else { line("Status", &shown.join(", ")) }
}

/// Every outcome but the status classes, each with its first example.
fn errors(report: &Report) -> String {
    let is_status = |kind: &str| kind.ends_with("xx") || kind == "other";
    let kinds =
        report.outcomes.iter().filter(|(kind, requests)| !is_status(kind) && **requests > 0);
    kinds
        .map(|(kind, requests)| {
            let example = report.error_examples.get(kind);
            let example = example.map(|text| format!(", first: {text}")).unwrap_or_default();
            line("Ended by", &format!("{kind} {}{example}", count(*requests)))
        })
        .collect()
}

fn per_core(cores: &[CoreReport]) -> String {
    let row = |cells: [String; 6]| {
        let [core, connections, requests, rate, errors, busy] = cells;
        format!("{core:<9}{connections:>11}{requests:>16}{rate:>12}{errors:>11}{busy:>9}\n")
    };
    let head = ["Core", "connections", "requests", "a second", "errors", "busy"];
    let rows = cores.iter().map(|core| {
        row([
            core.core.to_string(),
            count(u64::from(core.connections)),
            count(core.requests),
            rate(core.requests_per_second),
            count(core.errors),
            percent(core.busy),
        ])
    });
    std::iter::once(row(head.map(str::to_owned))).chain(rows).collect()
}

fn line(label: &str, text: &str) -> String {
    format!("{label:<9}{text}\n")
}

#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
fn whole(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    const HEADLINE: Headline<'static> =
        Headline { method: "GET", url: "http://127.0.0.1:8080/", connections: 64, pipeline: 1 };

    #[test]
    fn a_report_reads_so() {
        let expected = "\
GET http://127.0.0.1:8080/
io_uring, 64 connections on core 1

Requests 3,412,345 in 10 s, 341,235 a second, 55.3 MB/s
Errors   0
CPU      2.93 us a request: 0.31 user, 2.62 system
Loop     0.031 system calls a request, 31.5 completions a turn
Memory   9.88 MB resident

Latency       mean      p50      p90      p99    p99.9   p99.99      max
            187 us   180 us   245 us   413 us  1.23 ms  4.57 ms  23.5 ms

Status   2xx 3,412,345

Core     connections        requests    a second     errors     busy
1                 64       3,412,345     341,235          0    99.8%
";
        assert_eq!(render(&HEADLINE, &sample::report()), expected);
    }

    #[test]
    fn errors_show_their_first_example() {
        let mut report = sample::report();
        report.outcomes.insert("connect".to_owned(), 64);
        report.outcomes.insert("cancelled".to_owned(), 1);
        report.error_examples.insert("connect".to_owned(), "connection refused".to_owned());
        let expected = "Ended by cancelled 1\nEnded by connect 64, first: connection refused\n";
        assert_eq!(errors(&report), expected);
    }

    #[test]
    fn measured_times() {
        let check = |seconds, expected| assert_eq!(measured(seconds), expected);
        check(10.000_4, "10 s");
        check(1.0069, "1.007 s");
        check(0.000_326, "326 us");
        check(f64::NAN, "0 ns");
    }

    #[test]
    fn without_requests_there_is_no_cost_of_one() {
        let mut report = sample::report();
        report.requests = 0;
        assert!(!totals(&report).contains("a request"));
    }

    #[test]
    fn nothing_recorded_shows_no_latency_and_no_status() {
        assert_eq!(latency(&Latency::default()), "");
        assert_eq!(status(StatusCounts::default()), "");
    }

    #[test]
    fn pipeline_and_interruption_are_named() {
        let mut report = sample::report();
        report.interrupted = true;
        report.host = "glommio".to_owned();
        let text = head(&Headline { pipeline: 16, ..HEADLINE }, &report);
        let line = "io_uring on glommio, 64 connections on core 1, pipeline 16; interrupted\n";
        assert!(text.ends_with(line), "{text}");
    }

    #[test]
    fn wide_figures_stay_within_80_columns() {
        let mut report = sample::report();
        report.requests = u64::from(u32::MAX) * 1_000;
        report.cores[0].requests = report.requests;
        report.requests_per_second = 99_999_999.0;
        report.seconds = 86_400.123;
        let text = render(&HEADLINE, &report);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
