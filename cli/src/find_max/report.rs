//! What a search found, as JSON and for a person. Pure.

use ringshot::load::{Limit, Report, WarmUp};
use serde::Serialize;

use super::SUCCESS_SHARE_MIN;
use super::search::{End, Held, Stage};
use crate::output::format::{count, counted, microseconds, percent, rate};
use crate::output::text::lines;
use crate::thresholds::ThresholdOutcome;

/// Version of the JSON layout.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// `find-max -o json`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    pub(super) schema_version: u32,
    pub(super) ringshot_version: &'a str,
    pub(super) url: &'a str,
    pub(super) driver: String,
    pub(super) settings: Settings<'a>,
    /// Successes a second that a closed loop with the same connections reached.
    pub(super) ceiling_per_second: Option<f64>,
    pub(super) highest_held_per_second: Option<f64>,
    pub(super) lowest_not_held_per_second: Option<f64>,
    pub(super) confirmed: bool,
    pub(super) end: End,
    pub(super) interrupted: bool,
    pub(super) steps: &'a [Step],
    pub(super) unjudged: &'a [Unjudged],
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Settings<'a> {
    pub(super) method: &'a str,
    pub(super) connections: u32,
    pub(super) pipeline: u32,
    pub(super) objectives: Vec<&'a str>,
    pub(super) step_seconds: f64,
    pub(super) warm_up_seconds: f64,
    pub(super) precision: f64,
    pub(super) confirm: u32,
    pub(super) max_rate: Option<f64>,
}

/// One run at one rate.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) stage: Stage,
    /// Requests a second that were asked for.
    pub(super) rate_per_second: f64,
    pub(super) held: Held,
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Requests that were due while all connections were busy.
    pub(super) waited: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) client_lag_p99_us: f64,
    /// What limited it, by its verdict.
    pub(super) limit: Limit,
    pub(super) objectives: Vec<ThresholdOutcome>,
}

/// A run that says nothing of a rate: one before the search, or the one that Ctrl-C cut short.
#[derive(Debug, Serialize)]
pub(super) struct Unjudged {
    /// Requests a second that were asked for; null in a closed loop.
    pub(super) rate_per_second: Option<f64>,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// What was sent in a run, and what came of it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Counts {
    pub(super) requests_per_second: f64,
    pub(super) offered: u64,
    pub(super) sent: u64,
    pub(super) requests: u64,
    /// Requests answered with a 2xx or 3xx.
    pub(super) successes: u64,
    pub(super) errors: u64,
    pub(super) cancelled: u64,
    pub(super) shed: u64,
    pub(super) warm_up: WarmUp,
}

impl Counts {
    pub(super) fn of(report: &Report) -> Self {
        Self {
            requests_per_second: report.requests_per_second,
            offered: report.offered,
            sent: report.sent,
            requests: report.requests,
            successes: report.status.successes(),
            errors: report.errors,
            cancelled: report.cancelled,
            shed: report.shed,
            warm_up: report.warm_up,
        }
    }

    fn sent_in_warm_up(&self) -> u64 {
        self.warm_up.requests.saturating_add(self.warm_up.errors)
    }
}

impl Step {
    pub(super) fn new(
        stage: Stage,
        rate_per_second: f64,
        report: &Report,
        objectives: Vec<ThresholdOutcome>,
        held: Held,
    ) -> Self {
        Self {
            stage,
            rate_per_second,
            held,
            counts: Counts::of(report),
            waited: report.waited,
            p50_us: report.latency_us.p50,
            p99_us: report.latency_us.p99,
            client_lag_p99_us: report.client_lag_us.p99,
            limit: report.verdict.limit,
            objectives,
        }
    }
}

/// What an answer says that may be that of the connections.
const FEW_CONNECTIONS: &str =
    "\nwith these connections: most requests waited for one above it, and more (-c) may hold more";

/// `ceiling   12,345 a second in a closed loop`, or at the highest rate that is allowed.
pub(super) fn ceiling_line(per_second: f64, max_rate: Option<f64>) -> String {
    let how = if max_rate.is_some() { "at --max-rate" } else { "in a closed loop" };
    format!("{:<8}{:>12} a second {how}", "ceiling", rate(per_second))
}

/// `grow 1,000 a second  held  p50 1.00 ms, p99 2.00 ms`.
pub(super) fn step_line(step: &Step) -> String {
    let stage = match step.stage {
        Stage::Grow => "grow",
        Stage::Bisect => "bisect",
        Stage::Confirm => "confirm",
    };
    let outcome = match step.held {
        Held::Yes => {
            let (p50, p99) = (microseconds(step.p50_us), microseconds(step.p99_us));
            format!("held      p50 {p50:>8}, p99 {p99:>8}")
        }
        _ => format!("not held  {}", reason(step)),
    };
    format!("{stage:<8}{:>12} a second  {outcome}", rate(step.rate_per_second))
}

/// Why a step did not hold.
fn reason(step: &Step) -> String {
    let missed: Vec<String> = step
        .objectives
        .iter()
        .filter(|objective| !objective.passed)
        .map(|objective| format!("{}: {}", objective.text, objective.shown()))
        .collect();
    match step {
        Step { held: Held::ClientLimited, .. } => "the client was the limit".to_owned(),
        _ if !missed.is_empty() => missed.join(", "),
        Step { counts: Counts { shed, .. }, .. } if *shed > 0 => {
            format!("{} given up unsent", counted(*shed, "request"))
        }
        Step { counts: Counts { successes, requests, .. }, .. }
            if refuses(*successes, *requests) =>
        {
            let share = *successes as f64 / (*requests).max(1) as f64;
            format!("{} of the answers were 2xx or 3xx", percent(share))
        }
        _ => format!("{} a second answered", rate(step.counts.requests_per_second)),
    }
}

fn refuses(successes: u64, requests: u64) -> bool {
    (successes as f64) < requests as f64 * SUCCESS_SHARE_MIN
}

/// The answer, and the steps that led to it.
pub(super) fn render(document: &Document<'_>) -> String {
    let settings = &document.settings;
    let steps: String =
        document.steps.iter().map(|step| format!("{}\n", step_line(step))).collect();
    let load = format!(
        "{}, {}; {}",
        document.driver,
        counted(u64::from(settings.connections), "connection"),
        settings.objectives.join(", "),
    );
    format!(
        "{} {}\n{}\n{}\n{steps}{}\n\n{}\n",
        settings.method,
        document.url,
        lines(&load),
        ceiling_line(document.ceiling_per_second.unwrap_or(0.0), document.settings.max_rate),
        sent_line(document),
        answer(document)
    )
}

/// `sent      12,345 requests in steps, 1,234 before them and in warm-ups`.
fn sent_line(document: &Document<'_>) -> String {
    let Document { steps, unjudged, .. } = document;
    let in_steps = steps.iter().map(|step| step.counts.sent).fold(0, u64::saturating_add);
    let in_others = unjudged.iter().map(|run| run.counts.sent);
    let all = steps.iter().map(|step| &step.counts).chain(unjudged.iter().map(|run| &run.counts));
    let apart = in_others.chain(all.map(Counts::sent_in_warm_up)).fold(0, u64::saturating_add);
    format!(
        "{:<8}{:>12} requests in steps, {} before them and in warm-ups",
        "sent",
        count(in_steps),
        count(apart)
    )
}

fn answer(document: &Document<'_>) -> String {
    let Some(held) = document.highest_held_per_second else { return nothing(document) };
    let held = rate(held);
    let not_held = document.lowest_not_held_per_second.map(rate).unwrap_or_default();
    let below = if not_held.is_empty() { String::new() } else { format!(" and below {not_held}") };
    let answer = match document.end {
        End::Found => {
            let within = percent(width(document));
            let lacks = lacks_connections(document.steps, document.lowest_not_held_per_second);
            let few = if lacks { FEW_CONNECTIONS } else { "" };
            format!(
                "Highest rate: {held} a second is held, {not_held} is not (within {within}){few}"
            )
        }
        End::MaxRate => {
            format!("Highest rate: at least {held} a second, the highest that was allowed")
        }
        End::Client => format!(
            "Highest rate: at least {held} a second{below}, limited by the client:\nadd cores with --cores, or use another machine"
        ),
        End::NothingHolds | End::Unfinished => {
            format!("Highest rate: at least {held} a second; the search did not come to its end")
        }
    };
    if !document.confirmed {
        return answer;
    }
    let runs = counted(u64::from(document.settings.confirm), "longer run");
    format!("{answer}\nConfirmed by {runs}")
}

/// How far the ends of the answer lie apart, as a share of the upper one: no more than what was asked for, unless the steps ran out.
fn width(document: &Document<'_>) -> f64 {
    let ends = document.highest_held_per_second.zip(document.lowest_not_held_per_second);
    ends.map_or(0.0, |(held, not_held)| (not_held - held) / not_held)
}

/// Whether most requests waited for a connection at the rate that was not held.
fn lacks_connections(steps: &[Step], not_held: Option<f64>) -> bool {
    let is_it = |step: &&Step| step.held == Held::No && Some(step.rate_per_second) == not_held;
    steps.iter().rev().find(is_it).is_some_and(|step| step.waited > step.counts.offered / 2)
}

fn nothing(document: &Document<'_>) -> String {
    let words = match document.end {
        End::Client => {
            "No rate was held before the client was the limit: give it idle cores with --cores"
        }
        End::NothingHolds => {
            let rates = document.steps.iter().map(|step| step.rate_per_second);
            let least = rate(rates.fold(f64::INFINITY, f64::min));
            return format!(
                "No rate holds the objectives, not even {least} a second:\nlonger steps (--step-duration) can tell of less"
            );
        }
        _ => "No rate was held before the search ended",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::json;
    use crate::output::sample;
    use crate::thresholds::Condition;

    fn step(rate: f64, held: Held) -> Step {
        let objective: Condition = "p99 < 400us".parse().unwrap();
        let report = sample::report();
        let mut step = Step::new(Stage::Grow, rate, &report, vec![objective.demand(&report)], held);
        step.objectives[0].passed = held == Held::Yes;
        step.counts.sent = 3_412_345;
        step
    }

    fn with_document<T>(use_it: impl FnOnce(&mut Document<'_>) -> T) -> T {
        use_it(&mut Document {
            schema_version: SCHEMA_VERSION,
            ringshot_version: "0.1.0",
            url: "http://127.0.0.1:8080/",
            driver: "io_uring".to_owned(),
            settings: Settings {
                method: "GET",
                connections: 64,
                pipeline: 1,
                objectives: vec!["p99 < 400us"],
                step_seconds: 5.0,
                warm_up_seconds: 1.0,
                precision: 0.02,
                confirm: 3,
                max_rate: None,
            },
            ceiling_per_second: Some(12_000.0),
            highest_held_per_second: Some(10_000.0),
            lowest_not_held_per_second: Some(10_100.0),
            confirmed: true,
            end: End::Found,
            interrupted: false,
            steps: &[step(10_000.0, Held::Yes), step(10_100.0, Held::No)],
            unjudged: &[Unjudged {
                rate_per_second: None,
                counts: Counts { sent: 70_000, ..step(0.0, Held::Yes).counts },
            }],
        })
    }

    #[test]
    fn a_search_reads_so() {
        let expected = "\
GET http://127.0.0.1:8080/
io_uring, 64 connections; p99 < 400us

ceiling       12,000 a second in a closed loop
grow          10,000 a second  held      p50   180 us, p99   413 us
grow          10,100 a second  not held  p99 < 400us: 413 us
sent       6,824,690 requests in steps, 70,000 before them and in warm-ups

Highest rate: 10,000 a second is held, 10,100 is not (within 1.0%)
Confirmed by 3 longer runs
";
        assert_eq!(with_document(|document| render(document)), expected);
    }

    #[test]
    fn each_end_has_its_answer() {
        let check = |end, held, part: &str| {
            let text = with_document(|document| {
                (document.end, document.highest_held_per_second) = (end, held);
                answer(document)
            });
            assert!(text.contains(part), "{text}");
        };
        check(End::Found, Some(10_000.0), "10,100 is not (within 1.0%)");
        check(End::Found, Some(6_363.0), "10,100 is not (within 37.0%)");
        check(End::MaxRate, Some(5.0), "at least 5.00 a second, the highest that was allowed");
        check(End::Client, Some(5.0), "at least 5.00 a second and below 10,100, limited by");
        check(End::Unfinished, Some(5.0), "did not come to its end");
        check(End::Client, None, "before the client was the limit");
        check(End::NothingHolds, None, "No rate holds");
        check(End::Unfinished, None, "before the search ended");
    }

    #[test]
    fn too_few_connections_are_told() {
        let mut full = step(10_100.0, Held::No);
        (full.counts.offered, full.waited) = (100, 60);
        let steps = [full, step(10_000.0, Held::Yes)];
        assert!(lacks_connections(&steps, Some(10_100.0)));
        assert!(!lacks_connections(&steps, Some(20_000.0)));
        assert!(!lacks_connections(&[step(10_100.0, Held::No)], Some(10_100.0)));
    }

    #[test]
    fn reasons() {
        let mut it = step(1.0, Held::No);
        it.objectives.clear();
        assert_eq!(reason(&it), "341,235 a second answered");
        (it.counts.requests, it.counts.successes) = (400, 300);
        assert_eq!(reason(&it), "75.0% of the answers were 2xx or 3xx");
        it.counts.shed = 1;
        assert_eq!(reason(&it), "1 request given up unsent");
        it.held = Held::ClientLimited;
        assert_eq!(reason(&it), "the client was the limit");
    }

    #[test]
    fn the_document_fits_its_schema() {
        json::tests::check(
            "find-max.schema.json",
            &with_document(|document| json::to_text(document)),
        );
    }
}
