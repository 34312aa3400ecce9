//! A run's figures as labelled lines and tables of words, which text and HTML lay out each in its own way. Pure.

use std::time::Duration;

use ringshot::load::{CoreReport, Latency, Report, SocketsReport, StatusCounts};

use super::format::{
    at_least, bytes, count, counted, format_latency, length, microseconds, percent, rate,
    three_digits,
};
use super::headings::with_censored;
use super::json::RunDocument;
use super::shortened::shortened;
use crate::thresholds::{sending_seconds, told_apart};

/// How long the last response may take for each second that is measured, until it is told apart.
const LAST_TOLD_MIN: f64 = 1.01;

/// The first column is of words, the others of figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    /// What is to be said below it.
    pub(crate) note: String,
}

/// A label and what it is about.
pub(crate) type Fact = (&'static str, String);

/// Whether requests were due at times of their own.
pub(crate) fn is_open_loop(report: &Report) -> bool {
    !matches!(&*report.arrival, "" | "closed")
}

/// Everything that one line says.
pub(crate) fn facts(document: &RunDocument) -> Vec<Fact> {
    let report = &document.report;
    let mut facts = vec![("Requests", requests(report))];
    facts.extend(drain(report).map(|it| ("Drain", it)));
    if is_open_loop(report) {
        facts.extend(schedule(report));
    }
    if report.censored > 0 {
        facts.push(("Censored", censored(report)));
    }
    if !report.exhausted_feeds.is_empty() {
        facts.push(("Feeds", format!("no row left of {}", report.exhausted_feeds.join(", "))));
    }
    facts.push(("Status", status(report.status)));
    facts.push(("Errors", count(report.errors)));
    facts.extend(unconnected(report));
    if report.requests > 0 {
        facts.push(("CPU", cpu(report)));
        facts.push(("Loop", turns(report)));
    }
    facts.push(("Memory", format!("{} resident", bytes(report.resident_bytes_max as f64))));
    facts.extend(report.sockets.map(|sockets| ("Network", network(&sockets))));
    if document.resolve_us > 0.0 {
        let time = microseconds(document.resolve_us);
        facts.push(("Names", format!("looked up in {time}, before the run")));
    }
    facts.extend((report.warm_up.seconds > 0.0).then(|| ("Warm-up", warm_up(report))));
    facts.retain(|(_, text)| !text.is_empty());
    facts
}

/// What became of connections that took no request with them, by cause.
fn unconnected(report: &Report) -> impl Iterator<Item = Fact> {
    report.connect_failure_causes.iter().map(|(cause, failed)| {
        let first = report.connect_failure_examples.get(cause);
        let first = first.map(|first| format!(", first: {first}")).unwrap_or_default();
        let failed = counted(*failed, "connection");
        ("Connect", format!("{failed} failed with no request on them: {cause}{first}"))
    })
}

fn network(sockets: &SocketsReport) -> String {
    let again = counted(sockets.segments_retransmitted, "segment");
    let unordered = match sockets.segments_out_of_order {
        0 => String::new(),
        some => {
            format!(", {} of {} came out of order", count(some), count(sockets.segments_received))
        }
    };
    let (sent, round_trip) = (count(sockets.segments_sent), microseconds(sockets.rtt_us));
    format!("{again} of {sent} sent again{unordered}, round trip {round_trip}")
}

fn requests(report: &Report) -> String {
    format!(
        "{} in {}, {} a second, {}/s",
        count(report.requests),
        measured(report.seconds),
        rate(report.requests_per_second),
        bytes(report.bytes_per_second)
    )
}

/// How much longer the last response took than what is measured, where that is more than a hundredth.
fn drain(report: &Report) -> Option<String> {
    let last = report.last_response_seconds;
    let told = || format!("the last response came after {}", measured(last));
    (last > report.seconds * LAST_TOLD_MIN).then(told)
}

fn censored(report: &Report) -> String {
    let unsent = match report.censored.saturating_sub(report.cancelled) {
        0 => String::new(),
        unsent => format!(", {} never sent", count(unsent)),
    };
    let all = count(report.censored);
    format!("{all} unanswered at the end{unsent}: in neither count, in latency at their age")
}

/// What was asked for beside what was done: never silently fewer.
fn schedule(report: &Report) -> [Fact; 3] {
    let Report { offered, sent, shed, late, waited, .. } = *report;
    let per_second = if sent > 0 { sent as f64 / sending_seconds(report) } else { 0.0 };
    let unsent = match offered.saturating_sub(sent).saturating_sub(shed) {
        0 => String::new(),
        failed => format!(", {} failed unsent", count(failed)),
    };
    [
        ("Schedule", due(report)),
        (
            "Offered",
            format!("{}: {} sent, {} shed{unsent}", count(offered), count(sent), count(shed)),
        ),
        (
            "Sent",
            format!(
                "{} a second, {} late by over 1 ms, {} waited for a connection",
                rate(per_second),
                count(late),
                count(waited)
            ),
        ),
    ]
}

/// When requests were due, and how the client kept to it where that was not left as it is.
pub(super) fn due(report: &Report) -> String {
    let pacing = [("slack", report.slack_us), ("spin", report.spin_us)];
    let words = pacing.into_iter().filter_map(|(name, time)| match time {
        Some(0.0) => None,
        Some(time) => Some(format!(", {name} {}", microseconds(time))),
        None => Some(format!(", {name} mixed")),
    });
    let rate = rate(report.target_per_second);
    let due = match report.stages.as_deref() {
        Some(stages @ [_, ..]) => {
            let stages: Vec<_> = stages.iter().map(ToString::to_string).collect();
            let stages = stages.join(", ");
            format!("{}, {rate} a second on average over stages {stages}", report.arrival)
        }
        _ => format!("{}, {rate} a second", report.arrival),
    };
    std::iter::once(due).chain(words).collect()
}

/// `10 s`, `1.007 s`, `326 us`.
pub(super) fn measured(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds).unwrap_or_default() {
        short if short < Duration::from_secs(1) => format_latency(short),
        long => length(long),
    }
}

fn cpu(report: &Report) -> String {
    format!(
        "{} us a request: {} user, {} system",
        three_digits(report.cpu_us_per_request),
        three_digits(report.cpu_user_us_per_request),
        three_digits(report.cpu_system_us_per_request)
    )
}

fn turns(report: &Report) -> String {
    format!(
        "{:.3} system calls a request, {:.1} completions a turn",
        report.system_calls_per_request, report.completions_per_turn
    )
}

fn warm_up(report: &Report) -> String {
    let it = &report.warm_up;
    let times = match it.p99_us > 0.0 {
        true => format!(": p50 {}, p99 {}", microseconds(it.p50_us), microseconds(it.p99_us)),
        false => String::new(),
    };
    let (requests, errors) = (counted(it.requests, "request"), counted(it.errors, "error"));
    let shed = match it.shed {
        0 => String::new(),
        shed => format!(", {} not sent,", counted(shed, "due request")),
    };
    format!("{requests} and {errors}{shed} in {}, counted apart{times}", measured(it.seconds))
}

fn status(status: StatusCounts) -> String {
    let occurred = status.by_class().into_iter().filter(|(_, requests)| *requests > 0);
    let shown: Vec<_> =
        occurred.map(|(class, requests)| format!("{class} {}", count(requests))).collect();
    shown.join(", ")
}

/// Samples beyond a percentile, and its interval.
type RestsOn = fn(&Latency) -> (u64, [f64; 2]);

/// One line of the percentiles.
struct Percentile {
    label: &'static str,
    /// The share of samples that it stands above; 0 for what is no lower bound whatever was censored.
    share: f64,
    of: fn(&Latency) -> f64,
    /// For those that few samples may lie beyond.
    rests_on: Option<RestsOn>,
}

const fn plain(label: &'static str, share: f64, of: fn(&Latency) -> f64) -> Percentile {
    Percentile { label, share, of, rests_on: None }
}

const fn tail(
    label: &'static str,
    share: f64,
    of: fn(&Latency) -> f64,
    rests_on: RestsOn,
) -> Percentile {
    Percentile { label, share, of, rests_on: Some(rests_on) }
}

const PERCENTILES: [Percentile; 12] = [
    plain("mean", 1.0, |it| it.mean),
    plain("stdev", 0.0, |it| it.stdev),
    plain("min", 0.0, |it| it.min),
    plain("p50", 0.5, |it| it.p50),
    plain("p75", 0.75, |it| it.p75),
    plain("p90", 0.9, |it| it.p90),
    plain("p95", 0.95, |it| it.p95),
    plain("p99", 0.99, |it| it.p99),
    tail("p99.9", 0.999, |it| it.p99_9, |it| (it.p99_9_samples, it.p99_9_interval)),
    tail("p99.99", 0.9999, |it| it.p99_99, |it| (it.p99_99_samples, it.p99_99_interval)),
    tail("p99.999", 0.99999, |it| it.p99_999, |it| (it.p99_999_samples, it.p99_999_interval)),
    plain("max", 1.0, |it| it.max),
];

impl Percentile {
    /// With a sign where censored requests make it a lower bound.
    fn shown(&self, times: &Latency, exact_below: f64) -> String {
        at_least(self.share > exact_below, (self.of)(times))
    }

    /// Samples beyond it and its interval; `None` for one that rests on no sample at all.
    fn support(&self, times: &Latency) -> Option<[String; 2]> {
        match self.rests_on.map(|of| of(times)) {
            None => Some([String::new(), String::new()]),
            Some((0, _)) => None,
            Some((samples, ends)) => Some([count(samples), interval(ends)]),
        }
    }
}

/// `1.22 ms to 1.24 ms`, or `≥ 1.22 ms` where there are too few samples for an upper end, or censored requests lie there.
fn interval([low, high]: [f64; 2]) -> String {
    match high.is_finite() {
        true => format!("{} to {}", microseconds(low), microseconds(high)),
        false => format!("≥ {}", microseconds(low)),
    }
}

/// The headline's percentiles: response time, and service time beside it in an open loop. `None` if nothing succeeded.
pub(crate) fn percentiles(report: &Report) -> Option<Table> {
    if report.status.success == 0 {
        return None;
    }
    let successes = counted(report.status.success, "successful request");
    let (censored, from) = with_censored(report);
    Some(match is_open_loop(report) {
        true => Table {
            title: format!("Latency of {successes} (2xx){censored}"),
            head: vec!["", "response", "service", "samples beyond", "95% interval"],
            rows: open_rows(report),
            note: "response, with its interval: from when due; service: from when sent".to_owned(),
        },
        false => Table {
            title: format!("Latency of {successes} (2xx){censored}, {from}"),
            head: vec!["", "latency", "samples beyond", "95% interval"],
            rows: closed_rows(report),
            note: String::new(),
        },
    })
}

fn closed_rows(report: &Report) -> Vec<Vec<String>> {
    let times = &report.latency_us;
    let exact_below = report.exact_below.min(told_apart(times));
    let row = |it: &Percentile| {
        let [beyond, interval] = it.support(times)?;
        Some(vec![it.label.to_owned(), it.shown(times, exact_below), beyond, interval])
    };
    PERCENTILES.iter().filter_map(row).collect()
}

fn open_rows(report: &Report) -> Vec<Vec<String>> {
    let (response, service) = (&report.response_time_us, &report.service_time_us);
    let exact_below = report.exact_below.min(told_apart(response));
    let service_exact_below = report.histograms.service_time_exact_below();
    let row = |it: &Percentile| {
        let [beyond, interval] = it.support(response)?;
        let response = it.shown(response, exact_below);
        let service = it.shown(service, service_exact_below);
        Some(vec![it.label.to_owned(), response, service, beyond, interval])
    };
    PERCENTILES.iter().filter_map(row).collect()
}

const SHORT_HEAD: [&str; 6] = ["p50", "p90", "p99", "p99.9", "max", "samples"];

fn short(times: &Latency) -> Vec<String> {
    let exact_below = told_apart(times);
    let at = |share: f64, value| at_least(share > exact_below, value);
    // The table of the headline leaves it out too where it rests on no sample.
    let p99_9 = match times.p99_9_samples {
        0 => "-".to_owned(),
        _ => at(0.999, times.p99_9),
    };
    let [p50, p90, p99] = [(0.5, times.p50), (0.9, times.p90), (0.99, times.p99)]
        .map(|(share, value)| at(share, value));
    vec![p50, p90, p99, p99_9, at(1.0, times.max), count(times.samples)]
}

fn short_table(title: &str, rows: impl Iterator<Item = (String, Latency)>) -> Option<Table> {
    let rows: Vec<_> = rows.map(|(label, times)| [vec![label], short(&times)].concat()).collect();
    let head = std::iter::once("").chain(SHORT_HEAD).collect();
    (!rows.is_empty()).then(|| Table { title: title.to_owned(), head, rows, note: String::new() })
}

/// Where time goes beside the headline: connecting, the first byte, and the client's own lag.
pub(crate) fn phases(report: &Report) -> Option<Table> {
    let phases = [
        ("connect", report.connect_us),
        ("first byte", report.first_byte_us),
        ("lag of sending", report.schedule_lag_us),
        ("  client's own", report.client_lag_us),
    ];
    let measured = phases.into_iter().filter(|(_, times)| times.samples > 0);
    short_table("Phases", measured.map(|(label, times)| (label.to_owned(), times)))
}

/// Latency by outcome; `None` if there was only success.
pub(crate) fn classes(report: &Report) -> Option<Table> {
    let others = report.classes.keys().any(|class| class != "2xx");
    let rows = report.classes.iter().map(|(class, times)| (class.clone(), *times));
    if others { short_table("Response time by outcome", rows) } else { None }
}

/// Each core's share.
pub(crate) fn cores(cores: &[CoreReport]) -> Table {
    let row = |core: &CoreReport| {
        vec![
            core_name(core),
            count(u64::from(core.connections)),
            count(core.requests),
            rate(core.requests_per_second),
            count(core.errors),
            percent(core.busy),
        ]
    };
    Table {
        title: "Cores".to_owned(),
        head: vec!["", "connections", "requests", "a second", "errors", "busy"],
        rows: cores.iter().map(row).collect(),
        note: imbalance(cores).unwrap_or_default(),
    }
}

/// `3`, or `left/3` of a merged report.
pub(crate) fn core_name(core: &CoreReport) -> String {
    match core.machine.is_empty() {
        true => core.core.to_string(),
        false => shortened(&format!("{}/{}", core.machine, core.core)),
    }
}

/// How uneven the cores were, if there are several.
fn imbalance(cores: &[CoreReport]) -> Option<String> {
    let requests = || cores.iter().map(|core| core.requests);
    let idle = || requests().filter(|count| *count == 0).count() as u64;
    let (most, fewest) = (requests().max()?, requests().min()?);
    match (cores.len(), fewest) {
        (1, _) => None,
        (_, 0) => Some(format!("{} completed nothing", counted(idle(), "core"))),
        _ => Some(format!("most to fewest requests: {:.2}", most as f64 / fewest as f64)),
    }
}

#[cfg(test)]
mod tests {
    use ringshot::load::{NameReport, StageReport};

    use super::*;
    use crate::output::by_name::names;
    use crate::output::sample;

    #[test]
    fn measured_times() {
        let check = |seconds, expected| assert_eq!(measured(seconds), expected);
        check(10.000_4, "10 s");
        check(1.0069, "1.007 s");
        check(0.000_326, "326 us");
        check(f64::NAN, "0 ns");
    }

    #[test]
    fn what_is_longer_than_a_histogram_tells_apart_is_marked() {
        let mut report = sample::report();
        let times = Latency { p99: 3_600e6, max: 3_600e6, samples: 200, ..Latency::default() };
        report.latency_us = Latency { saturated: 3, ..times };
        report.connect_us = Latency { saturated: 1, ..times };
        let rows = percentiles(&report).unwrap().rows;
        let shown = |label: &str| rows.iter().find(|row| row[0] == label).unwrap()[1].clone();
        assert!(shown("p99").starts_with('≥') && shown("max").starts_with('≥'), "{rows:?}");
        assert!(!shown("p95").starts_with('≥'), "{rows:?}");
        let phases = phases(&report).unwrap().rows;
        assert!(!phases[0][3].starts_with('≥') && phases[0][5].starts_with('≥'), "{phases:?}");
    }

    #[test]
    fn connections_that_failed_with_no_request_say_why() {
        let mut document = sample::open_loop();
        let shown = |document: &RunDocument| {
            let facts = facts(document).into_iter();
            facts.filter(|(label, _)| *label == "Connect").map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert!(shown(&document).is_empty());
        let report = &mut document.report;
        report.connect_failure_causes = [("connect_timeout".to_owned(), 4)].into();
        report.connect_failure_examples =
            [("connect_timeout".to_owned(), "connect: no answer; see somaxconn".to_owned())].into();
        assert_eq!(
            shown(&document),
            [
                "4 connections failed with no request on them: connect_timeout, first: connect: no answer; see somaxconn"
            ]
        );
    }

    #[test]
    fn an_open_loop_hides_nothing_that_was_not_sent() {
        let mut report = sample::open_loop().report;
        report.offered += 5;
        let [_, (_, offered), (_, sent)] = schedule(&report);
        assert_eq!(offered, "50,005: 49,990 sent, 10 shed, 5 failed unsent");
        assert_eq!(sent, "4,999 a second, 12 late by over 1 ms, 700 waited for a connection");
    }

    #[test]
    fn a_last_response_is_told_where_it_took_longer_than_what_is_measured() {
        let mut report = sample::report();
        let drain_of = |report: &Report| drain(report).unwrap_or_default();
        report.seconds = 3.0;
        for last in [2.9, 3.02] {
            report.last_response_seconds = last;
            assert_eq!(drain_of(&report), "");
        }
        report.last_response_seconds = 4.338;
        assert_eq!(drain_of(&report), "the last response came after 4.338 s");
    }

    #[test]
    fn phases_and_classes_claim_no_percentile_that_rests_on_no_sample() {
        let times = Latency { samples: 1_500, p99_9: 7.0, p99_9_samples: 1, ..Latency::default() };
        assert_eq!(short(&times)[3..], ["7.00 us", "0 ns", "1,500"]);
        assert_eq!(short(&Latency { p99_9_samples: 0, ..times })[3..], ["-", "0 ns", "1,500"]);
    }

    #[test]
    fn percentiles_that_rest_on_no_sample_are_left_out() {
        let labels = |samples| {
            let mut report = sample::document().report;
            report.latency_us.p99_999_samples = samples;
            let rows = percentiles(&report).unwrap().rows;
            rows.into_iter().map(|row| row[0].clone()).collect::<Vec<_>>()
        };
        assert!(labels(3).contains(&"p99.999".to_owned()));
        assert!(!labels(0).contains(&"p99.999".to_owned()));
    }

    #[test]
    fn an_interval_without_an_upper_end_says_so() {
        let mut report = sample::document().report;
        report.latency_us.p99_99_interval = [4_400.0, f64::INFINITY];
        let rows = percentiles(&report).unwrap().rows;
        let of = |label| rows.iter().find(|row| row[0] == label).unwrap().last().unwrap().clone();
        assert_eq!(of("p99.99"), "≥ 4.40 ms");
        assert_eq!(of("p99.9"), "1.22 ms to 1.24 ms");
    }

    #[test]
    fn what_lies_above_a_censored_request_is_a_lower_bound() {
        let rows = percentiles(&sample::open_loop().report).unwrap().rows;
        let marked: Vec<_> =
            rows.iter().filter(|row| row[1].starts_with('≥')).map(|row| &*row[0]).collect();
        assert_eq!(marked, ["mean", "p99.99", "max"]);
    }

    #[test]
    fn no_time_is_shown_where_none_was_measured() {
        let mut report = sample::document().report;
        let hung = NameReport { name: "hung".to_owned(), errors: 3, ..NameReport::default() };
        report.names = vec![hung];
        assert_eq!(names(&report).unwrap().rows[0][1..], ["0", "3", "-", "-", "-", "-"]);
        report.warm_up = ringshot::load::WarmUp { seconds: 0.5, ..Default::default() };
        assert_eq!(warm_up(&report), "0 requests and 0 errors in 500 ms, counted apart");
        report.warm_up.shed = 7;
        let told = "0 requests and 0 errors, 7 due requests not sent, in 500 ms, counted apart";
        assert_eq!(warm_up(&report), told);
    }

    #[test]
    fn a_name_shows_what_was_cut_off_and_what_was_wanted() {
        let mut report = sample::document().report;
        let named = |name: &str, censored, exact_below| NameReport {
            name: name.to_owned(),
            requests: 6,
            cancelled: censored,
            censored,
            exact_below,
            latency_us: Latency {
                p50: 1e3,
                p90: 2e3,
                p99: 3e3,
                max: 4e3,
                samples: 12,
                ..Latency::default()
            },
            ..NameReport::default()
        };
        report.names = vec![named("half", 6, 0.5), named("whole", 0, 1.0)];
        let table = names(&report).unwrap();
        assert_eq!((&*table.title, table.head[3]), ("By name (latency of 2xx)", "censored"));
        let half = ["half", "6", "0", "6", "1.00 ms", "≥2.00 ms", "≥3.00 ms", "≥4.00 ms"];
        assert_eq!(table.rows[0], half);
        assert!(!table.rows[1].concat().contains('≥'));
        report.names.remove(0);
        report.status_expected.client_error = 3;
        let table = names(&report).unwrap();
        assert!(table.title.contains("of a status that was expected") && table.head[3] == "p50");
    }

    #[test]
    fn the_stages_of_a_schedule_are_shown() {
        let mut report = sample::open_loop().report;
        assert_eq!(due(&report), "constant, 5,000 a second");
        let stage = |seconds, from_per_second, to_per_second| StageReport {
            seconds,
            from_per_second,
            to_per_second,
        };
        report.stages = Some(vec![stage(2.5, 0.0, 8e3), stage(5.0, 8e3, 8e3)]);
        let told = "constant, 5,000 a second on average over stages 2.5s:0..8000, 5s:8000";
        assert_eq!(due(&report), told);
    }

    #[test]
    fn nothing_recorded_shows_no_latency_and_no_status() {
        let report = Report::default();
        assert_eq!((percentiles(&report), phases(&report), names(&report)), (None, None, None));
        let document = RunDocument { report, resolve_us: 0.0, ..sample::document() };
        let labels: Vec<_> = facts(&document).iter().map(|(label, _)| *label).collect();
        assert_eq!(labels, ["Requests", "Errors", "Memory"]);
    }

    #[test]
    fn a_core_of_a_merged_report_names_its_machine() {
        let core = CoreReport { machine: "left".to_owned(), core: 3, ..CoreReport::default() };
        assert_eq!(core_name(&core), "left/3");
    }

    #[test]
    fn uneven_cores_say_so() {
        let core = |requests| CoreReport { requests, ..CoreReport::default() };
        assert_eq!(imbalance(&[core(7)]), None);
        assert_eq!(imbalance(&[core(150), core(100)]).unwrap(), "most to fewest requests: 1.50");
        assert_eq!(imbalance(&[core(1), core(0)]).unwrap(), "1 core completed nothing");
        assert_eq!(imbalance(&[core(0), core(1), core(0)]).unwrap(), "2 cores completed nothing");
    }
}
