//! A comparison for a person, at most 80 columns wide. Pure.

use std::time::Duration;

use ringshot::load::Comparison;
use ringshot::load::compare::{Contestant, Difference, Ratio, Spread};
use ringshot::load::statistics::PAIRS_MIN;

use super::format::{
    at_least, bytes, count, counted, length, microseconds, percent, rate, three_digits,
};
use super::json::{CompareDocument, Settings};
use super::letters::printable;
use super::text::{indented, lines};

/// The letters of a name that every table has room for.
const NAME_MIN: usize = 11;

/// One line of the table: its label and how a contestant's figure is written.
type Row = (&'static str, fn(&Contestant) -> String);

const ROWS: [Row; 13] = [
    ("requests a second", |one| rate(one.requests_per_second)),
    ("  min to max", |one| min_to_max(one.spread)),
    ("  middle half", |one| middle_half(one.spread)),
    ("successes a second", |one| rate(one.successes_per_second)),
    ("bytes a second", |one| bytes(one.bytes_per_second)),
    ("CPU a request", |one| micros_of_cpu(one.cpu_us_per_request)),
    ("  user", |one| micros_of_cpu(one.cpu_user_us_per_request)),
    ("  system", |one| micros_of_cpu(one.cpu_system_us_per_request)),
    ("latency p50", |one| latency(one, 0.5, one.latency_us.p50)),
    ("latency p99", |one| latency(one, 0.99, one.latency_us.p99)),
    ("system calls a request", |one| format!("{:.3}", one.system_calls_per_request)),
    ("completions a turn", |one| format!("{:.1}", one.completions_per_turn)),
    ("busiest client core", |one| percent(one.busy)),
];

/// How what is compared is called.
struct Words {
    /// Above the contestants' figures.
    figures: &'static str,
    /// The sum among them.
    errors: &'static str,
    ratios: &'static str,
    /// Of what percentiles are taken.
    samples: &'static str,
    /// What one part is called.
    part: &'static str,
}

const ROUNDS: Words = Words {
    figures: "medians of the rounds",
    errors: "errors, all rounds",
    ratios: "median of the rounds' ratios",
    samples: "all rounds",
    part: "rounds",
};
const RUNS: Words = Words {
    figures: "whole runs",
    errors: "errors",
    ratios: "by the runs' seconds",
    samples: "whole runs",
    part: "seconds",
};

/// Nothing for a contestant without a 2xx.
fn latency(one: &Contestant, share: f64, micros: f64) -> String {
    match one.latency_us.samples {
        0 => "-".to_owned(),
        _ => at_least(share > one.exact_below, micros),
    }
}

/// The metrics whose ratios are shown: key, label, and the words for above and below 1. Of latencies the differences are, which are of all samples: two answers
/// to one question would only leave the reader to choose.
const METRICS: [(&str, &str, [&str; 2]); 3] = [
    ("requests_per_second", "requests a second", ["more", "fewer"]),
    ("successes_per_second", "successes a second", ["more", "fewer"]),
    ("cpu_us_per_request", "CPU a request", ["more", "less"]),
];

/// The whole comparison.
pub(crate) fn render(document: &CompareDocument<'_>) -> String {
    let comparison = document.comparison;
    let words = if document.settings.is_some() { &ROUNDS } else { &RUNS };
    printable(&format!(
        "{}\n{}\n{}\n{}\n{}",
        head(document),
        table(document, words),
        ratios(comparison, words),
        differences(comparison, words),
        summary(&comparison.summary)
    ))
}

/// What is said of percentiles gets a line of its own.
fn summary(summary: &str) -> String {
    match summary.split_once("; ") {
        Some((speed, percentiles)) => {
            lines(&format!("{speed};")) + &lines(&format!("{percentiles}."))
        }
        None => lines(&format!("{summary}.")),
    }
}

fn head(document: &CompareDocument<'_>) -> String {
    let (Some(settings), Some(placement)) = (document.settings, document.placement) else {
        return format!("saved results\n{}", saved(document));
    };
    let pipeline = match settings.pipeline {
        1 => String::new(),
        depth => format!(", pipeline {depth}"),
    };
    let closing = if settings.keep_alive { "" } else { ", no keep-alive" };
    let connections = counted(u64::from(settings.connections), "connection");
    let where_to = format!("{}, {}", sources(document.sources), placement.describe());
    let load = format!("{connections}{pipeline}{closing}; {}", rounds(document, settings));
    let head: String = format!("{} {where_to}", settings.method).lines().map(continued).collect();
    head + &lines(&load)
}

/// A line of the head on as many as it needs; the second source stands further right.
fn continued(line: &str) -> String {
    indented(line, line.len() - line.trim_start().len())
}

/// Which file each side is, by the name that the columns have for it if that is not its own, and what its run was asked for.
fn saved(document: &CompareDocument<'_>) -> String {
    let names = document.comparison.contestants.iter().map(|one| &*one.name);
    let sides = names.zip(document.sources).zip(document.asked_for);
    let side = |((name, file), asked): ((&str, &&str), &String)| {
        let letter = if matches!(name, "A" | "B") { format!("{name} ") } else { String::new() };
        format!("{letter}{file}:\n{}", indented(asked, 2))
    };
    sides.map(side).collect()
}

/// The URL, or what the two are called.
fn sources(sources: &[&str]) -> String {
    match sources {
        [first, second] => format!("A {first}\n  and B {second}"),
        _ => sources.concat(),
    }
}

/// `7 rounds of 2 s a driver, in turn`.
fn rounds(document: &CompareDocument<'_>, settings: &Settings) -> String {
    let Settings { rounds, round_seconds, .. } = settings;
    let each = length(Duration::try_from_secs_f64(*round_seconds).unwrap_or_default());
    let contestants = &document.comparison.contestants[..];
    let (side, common) = match (document.sources, contestants) {
        ([_, _], [of, _]) => ("URL", format!("; both with {}", of.driver)),
        _ => sides(contestants),
    };
    match document.interrupted {
        true => format!(
            "{} of {rounds} rounds of {each} a {side}, interrupted{common}",
            document.rounds_completed
        ),
        false => format!("{rounds} rounds of {each} a {side}, in turn{common}"),
    }
}

/// What the contestants differ in, and what is worth saying of what they have in common.
fn sides(contestants: &[Contestant]) -> (&'static str, String) {
    match contestants {
        [of, to] if of.host != to.host => ("host", format!("; both with {}", of.driver)),
        [of, _] if of.host != "thread" => ("driver", format!("; both on {}", of.host)),
        _ => ("driver", String::new()),
    }
}

/// Whether it says what another line does not: successes are told where not all responses were, and spreads of several rounds.
fn is_told(label: &str, contestants: &[Contestant]) -> bool {
    match label {
        "successes a second" => contestants.iter().any(|one| one.status.refusals() > 0),
        "  min to max" | "  middle half" => contestants.iter().any(|one| one.rounds.len() > 1),
        _ => true,
    }
}

fn table(document: &CompareDocument<'_>, words: &Words) -> String {
    let contestants = &document.comparison.contestants;
    let row = |label: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>26}")).collect();
        format!("{label:<26}{cells}\n")
    };
    let head = row(words.figures, contestants.iter().map(|one| short(&one.name, 25)).collect());
    let told = ROWS.iter().filter(|(label, _)| is_told(label, contestants));
    let rows = told.map(|(label, cell)| row(label, contestants.iter().map(cell).collect()));
    let errors = contestants.iter().map(|one| count(one.errors_total)).collect();
    let unmeasured = document.unmeasured.iter().map(|sent| count(sent.total())).collect();
    let sent = document.unmeasured.iter().any(|sent| sent.total() > 0);
    let apart = sent.then(|| row("sent in warm-ups", unmeasured));
    std::iter::once(head).chain(rows).chain([row(words.errors, errors)]).chain(apart).collect()
}

fn ratios(comparison: &Comparison, words: &Words) -> String {
    let Some(first) = comparison.ratios.first() else {
        let why = match comparison.unlike {
            Some(_) => "different loads were asked for",
            None => "one side measured nothing, or too little",
        };
        return format!("no ratio: {why}\n");
    };
    let label = format!("{} to {}", short(&first.of, NAME_MIN), short(&first.to, NAME_MIN));
    let head = format!("{label:<20}{:>8}{:>20}   {}\n", "ratio", "95% interval", words.ratios);
    let told = METRICS.iter().filter(|(_, label, _)| is_told(label, &comparison.contestants));
    let rows = told.filter_map(|(key, label, ends)| {
        let ratio = comparison.ratios.iter().find(|ratio| ratio.metric == *key)?;
        let interval = format!("{:.3} to {:.3}", ratio.low, ratio.high);
        let verdict = verdict(ratio, *ends, words.part);
        Some(format!("{label:<20}{:>8.3}{interval:>20}   {verdict}\n", ratio.median))
    });
    std::iter::once(head).chain(rows).collect()
}

/// Percentiles of all samples of each side, and how far they lie apart.
fn differences(comparison: &Comparison, words: &Words) -> String {
    if comparison.differences.is_empty() {
        return "latencies can't be compared: one side has no 2xx\n".to_owned();
    }
    let name = |one: &Contestant| format!("{:>12}", short(&one.name, NAME_MIN));
    let names: String = comparison.contestants.iter().map(name).collect();
    let head = format!("{:<20}{names}   95% interval of the difference\n", words.samples);
    let line = |it: &Difference| {
        let interval = format!("{} to {}", signed(it.low_us), signed(it.high_us));
        let name = format!("latency {}", it.metric.replace('_', "."));
        format!(
            "{:<20}{:>12}{:>12}   {interval}{}\n",
            name,
            at_least(it.of_is_lower_bound, it.of_us),
            at_least(it.to_is_lower_bound, it.to_us),
            if it.significant { "" } else { ", not shown" }
        )
    };
    std::iter::once(head).chain(comparison.differences.iter().map(line)).collect()
}

/// Whether what the narrowest column shows of two names differs.
pub(crate) fn are_told_apart(of: &str, to: &str) -> bool {
    short(of, NAME_MIN) != short(to, NAME_MIN)
}

/// The end of a name that is too long for its column: of a file, what tells it from others.
fn short(name: &str, most: usize) -> String {
    let skipped = name.chars().count().saturating_sub(most);
    name.chars().skip(skipped).collect()
}

/// A difference of times with its sign.
fn signed(latency_us: f64) -> String {
    let sign = if latency_us < 0.0 { "-" } else { "+" };
    format!("{sign}{}", microseconds(latency_us.abs()))
}

fn verdict(ratio: &Ratio, [above, below]: [&str; 2], part: &str) -> String {
    let change = (ratio.median - 1.0) * 100.0;
    let word = if change > 0.0 { above } else { below };
    match ratio {
        Ratio { pairs, .. } if *pairs < PAIRS_MIN => format!("too few {part} to tell"),
        Ratio { contains_one: true, .. } => "no difference shown".to_owned(),
        _ => format!("{:.1}% {word}", change.abs()),
    }
}

fn min_to_max(spread: Spread) -> String {
    format!("{} to {}", rate(spread.min), rate(spread.max))
}

fn middle_half(spread: Spread) -> String {
    format!("{} to {}", rate(spread.low_quartile), rate(spread.high_quartile))
}

fn micros_of_cpu(micros: f64) -> String {
    format!("{} us", three_digits(micros))
}

#[cfg(test)]
mod tests {
    use ringshot::load::Slot;
    use ringshot::load::compare::Series;

    use super::*;
    use crate::output::sample;

    #[test]
    fn a_comparison_reads_so() {
        let expected = "\
GET http://127.0.0.1:4711/, client on core 1, origin on core 0
64 connections; 7 rounds of 2 s a driver, in turn

medians of the rounds                       io_uring                     epoll
requests a second                            400,400                   320,320
  min to max                      400,000 to 400,800        320,000 to 320,640
  middle half                     400,000 to 400,600        320,000 to 320,480
bytes a second                               55.3 MB                   55.3 MB
CPU a request                                2.50 us                   3.12 us
  user                                       0.31 us                   0.31 us
  system                                     2.62 us                   2.62 us
latency p50                                   160 us                    200 us
latency p99                                   413 us                    413 us
system calls a request                         0.031                     0.031
completions a turn                              31.5                      31.5
busiest client core                            99.8%                     99.8%
errors, all rounds                                 0                         0
sent in warm-ups                              12,345                    12,345

io_uring to epoll      ratio        95% interval   median of the rounds' ratios
requests a second      1.250      1.250 to 1.250   25.0% more
CPU a request          0.800      0.800 to 0.800   20.0% less

all rounds              io_uring       epoll   95% interval of the difference
latency p50               209 us      249 us   -40.1 us to -39.9 us
latency p90               249 us      289 us   -40.1 us to -39.9 us
latency p99               258 us      298 us   -40.2 us to -40.1 us
latency p99.9             259 us      299 us   -40.1 us to -39.9 us

epoll is 20.0% slower than io_uring (95%: 20.0% to 20.0%);
p50 19.2% longer; p90 16.0% longer; p99 15.6% longer; p99.9 15.4% longer.
";
        assert_eq!(sample::with_document(render), expected);
        assert!(expected.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn nothing_but_a_url_is_wider_than_a_terminal() {
        let asked = "GET http://127.0.0.1:18401/a; io_uring, 64 connections on cores 0-15; \
                     constant, 5,000 a second over stages 5s:0..5000, 5s:5000, 5s:5000..0"
            .to_owned();
        let mut comparison = sample::comparison();
        comparison.summary =
            "after.json is slower than before.json, and may be so, since a lot of \
            things can be said of it; p50 19.2% longer; p90 16.0% longer; p99 15.6% longer; \
            p99.9 15.4% longer; and some"
                .to_owned();
        let text = sample::with_document(|document| {
            let saved = CompareDocument {
                settings: None,
                placement: None,
                sources: &["before.json", "after.json"],
                asked_for: &[asked.clone(), asked.clone()],
                comparison: &comparison,
                ..*document
            };
            render(&saved)
        });
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("\n  constant") || text.contains("\n  a second"), "{text}");
        assert!(text.ends_with("\nsome.\n"), "{text}");
    }

    #[test]
    fn hosts_are_told_apart() {
        let mut contestants = sample::comparison().contestants;
        contestants[1].host = "glommio".to_owned();
        assert_eq!(sides(&contestants), ("host", "; both with io_uring".to_owned()));
        contestants[0].host = "glommio".to_owned();
        assert_eq!(sides(&contestants), ("driver", "; both on glommio".to_owned()));
    }

    #[test]
    fn long_names_and_saved_results() {
        assert_eq!(
            (short("epoll", 11), short("results/before.json", 11)),
            ("epoll".into(), "before.json".into())
        );
        let text = sample::with_document(|document| {
            let saved = CompareDocument {
                settings: None,
                placement: None,
                sources: &["before.json", "after.json"],
                asked_for: &[
                    "GET http://a/; io_uring".to_owned(),
                    "GET http://b/; epoll".to_owned(),
                ],
                ..*document
            };
            head(&saved)
        });
        let expected = "saved results\nbefore.json:\n  GET http://a/; io_uring\nafter.json:\n  GET http://b/; epoll\n";
        assert_eq!(text, expected);
        let text = sample::with_document(|document| {
            let mut comparison = sample::comparison();
            comparison.contestants[0].name = "A".to_owned();
            comparison.contestants[1].name = "B".to_owned();
            let (settings, placement, sources) = (None, None, &["a/x.json", "b/x.json"]);
            let asked_for = &["GET http://a/".to_owned(), "GET http://b/".to_owned()];
            let comparison = &comparison;
            head(&CompareDocument {
                settings,
                placement,
                sources,
                asked_for,
                comparison,
                ..*document
            })
        });
        let expected =
            "saved results\nA a/x.json:\n  GET http://a/\nB b/x.json:\n  GET http://b/\n";
        assert_eq!(text, expected);
        let text = sample::with_document(|document| {
            head(&CompareDocument { sources: &["http://a/", "http://b/"], ..*document })
        });
        assert!(text.starts_with("GET A http://a/\n  and B http://b/, client on"), "{text}");
        assert!(text.contains("a URL, in turn"), "{text}");
    }

    #[test]
    fn two_runs_are_no_rounds() {
        let run = |rate: f64, refused: u64| {
            let mut run = sample::report();
            run.requests_per_second = rate;
            run.status.success -= refused;
            run.status.server_error = refused;
            run.timeline = vec![Slot { seconds: 1.0, requests: 9, ..Slot::default() }; 8];
            run.timeline.iter_mut().for_each(|slot| slot.buckets.record(1_000_000));
            [run]
        };
        let saved = |refused: u64| {
            let (of, to) = (run(400.0, 0), run(400.0, refused));
            let comparison = Comparison::of_runs(
                Series { name: "a-folder-of-results/before.json", reports: &of },
                Series { name: "a-folder-of-results/after.json", reports: &to },
                1,
            );
            sample::with_document(|document| {
                let files = &["before.json", "after.json"];
                let (settings, placement, comparison) = (None, None, &comparison);
                let sources = files;
                render(&CompareDocument { settings, placement, comparison, sources, ..*document })
            })
        };
        let text = saved(0);
        assert!(!text.contains("round") && !text.contains("middle half"), "{text}");
        assert!(text.contains("\nwhole runs") && !text.contains("successes"), "{text}");
        assert!(text.contains("\nbefore.json to /after.json"), "{text}");
        let text = saved(1_000_000);
        let row =
            "successes a second                               400                       283\n";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn what_was_cut_off_makes_lower_bounds() {
        let mut comparison = sample::comparison();
        comparison.contestants[1].exact_below = 0.966;
        comparison.differences[2].to_is_lower_bound = true;
        let text = sample::with_document(|document| {
            render(&CompareDocument { comparison: &comparison, ..*document })
        });
        let rows = [
            "latency p50                                   160 us                    200 us\n",
            "latency p99                                   413 us                   ≥413 us\n",
            "latency p90               249 us      289 us ",
            "latency p99               258 us     ≥298 us ",
        ];
        for row in rows {
            assert!(text.contains(row), "{text}");
        }
    }

    #[test]
    fn verdicts() {
        let mut it = sample::comparison().ratios.remove(0);
        let words = ["more", "fewer"];
        assert_eq!(verdict(&it, words, "rounds"), "25.0% more");
        it.median = 0.75;
        assert_eq!(verdict(&it, words, "rounds"), "25.0% fewer");
        it.contains_one = true;
        assert_eq!(verdict(&it, words, "rounds"), "no difference shown");
        it.pairs = 4;
        assert_eq!(verdict(&it, words, "rounds"), "too few rounds to tell");
    }

    #[test]
    fn an_interrupted_comparison_says_so() {
        let text = sample::with_document(|document| {
            head(&CompareDocument { interrupted: true, rounds_completed: 3, ..*document })
        });
        assert!(text.contains("; 3 of 7 rounds of 2 s a driver, interrupted"), "{text}");
        let mut comparison = sample::comparison();
        comparison.ratios.clear();
        assert!(ratios(&comparison, &ROUNDS).starts_with("no ratio: one side measured nothing"));
        comparison.unlike = Some("old was a closed loop".to_owned());
        assert!(ratios(&comparison, &RUNS).starts_with("no ratio: different loads"));
    }
}
