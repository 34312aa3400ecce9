//! `ringshot find-max`: the highest constant rate at which a server holds its objectives.
//!
//! ```text
//! closed loop, or --max-rate (warms up, and shows the ceiling) -> grow -> bisect -> confirm
//! ```
//! Each step is an open loop of its own, with a warm-up at its rate. What is tried next is `search`'s to say; here it is run and judged.

mod report;
mod search;

use std::time::Duration;

use clap::Args;
use ringshot::driver::DriverChoice;
use ringshot::load::{Arrival, Limit, Plan, RATE_MAX, Report, Stop};

use crate::args::{Format, LoadArgs, OutputArgs};
use crate::exit::{Exit, Failure};
use crate::names::driver_names;
use crate::network::NetworkArgs;
use crate::output::{self, endings, json};
use crate::plan::{self, Prepared};
use crate::signals::Interrupts;
use crate::target::Target;
use crate::thresholds::{Condition, ThresholdOutcome};
use crate::{units, warnings, watch};
use report::{Counts, Document, Settings, Step, Unjudged};
use search::{Bounds, End, Held, Search};

/// The search begins at this share of what the closed loop reached.
const START_SHARE: f64 = 0.25;
/// The share of the requests that were due which must be answered with a success, where no objective says another.
const SUCCESS_SHARE_MIN: f64 = 0.99;
/// The lowest rate that is tried, in requests a second.
const RATE_MIN: f64 = 1.0;
/// Requests that a step must have at least: one that comes back in time may be luck.
const STEP_REQUESTS_MIN: f64 = 10.0;
/// How much longer the runs that confirm are than the others.
const CONFIRM_LENGTH: u32 = 2;

pub(crate) const EXAMPLES: &str = "\
Examples:
  ringshot find-max http://10.0.0.7/ --slo 'p99 < 5ms'
  ringshot find-max http://10.0.0.7/ --slo 'p99.9 < 20ms' --slo 'error_rate < 0.1%' \\
      -c 512 --step-duration 10s -o json

A rate is held if every objective holds, at least 99% of the requests that were due are
answered in time, none is given up unsent, and 99% are answered with a success (2xx or
3xx), unless an objective names success_rate: a server that refuses holds nothing. If the
client was the limit, or a confirmation fails, the step is taken once more before it
bounds the search. The answer is an interval: the highest rate that was held, and the
lowest that was not. Figures of --slo: those of `ringshot run --fail-if`.
Exit codes: 0 found, or at least a rate that holds; 1 nothing succeeded to begin with;
2 bad input or environment; 3 no rate holds the objectives;
4 none was held before the client was the limit, or before Ctrl-C;
130 a second Ctrl-C";

/// `ringshot find-max`.
#[derive(Debug, Args)]
pub(crate) struct FindMaxArgs {
    /// Where to send the requests
    pub(crate) url: String,
    /// What must hold, like 'p99 < 5ms'; repeat it for more
    #[arg(long, value_name = "CONDITION", required = true, help_heading = "Search")]
    pub(crate) slo: Vec<Condition>,
    /// Measured length of each step; runs that confirm are twice as long
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Search")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) step_duration: Duration,
    /// Send at each step's rate for this long before it is measured
    #[arg(long, value_name = "TIME", default_value = "1s", help_heading = "Search")]
    #[arg(value_parser = units::duration)]
    pub(crate) warmup: Duration,
    /// The highest rate to send at, before the search too [default: as far as it holds]
    #[arg(long, value_name = "RATE", value_parser = rate_above_zero, help_heading = "Search")]
    pub(crate) max_rate: Option<f64>,
    /// How close the two ends of the answer must come, 0.1% to 50%
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = precision)]
    #[arg(help_heading = "Search")]
    pub(crate) precision: f64,
    /// Longer runs at the answer that must all hold
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = units::small_count)]
    #[arg(help_heading = "Search")]
    pub(crate) confirm: u32,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// The system interface that drives the sockets; auto is io_uring where it works
    #[arg(long, value_name = "auto|io_uring|epoll", default_value = "auto")]
    #[arg(help_heading = "Placement", value_parser = driver_names(), hide_possible_values = true)]
    pub(crate) driver: DriverChoice,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The lowest rate that steps of this length can tell anything of.
fn min_rate(step: Duration) -> f64 {
    RATE_MIN.max(STEP_REQUESTS_MIN / step.as_secs_f64())
}

fn rate_above_zero(text: &str) -> Result<f64, String> {
    match units::rate(text)? {
        rate if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("it must be above 0 and at most {RATE_MAX} a second")),
    }
}

fn precision(text: &str) -> Result<f64, String> {
    match units::share(text)? {
        share if (0.001..=0.5).contains(&share) => Ok(share),
        _ => Err("it must be 0.1% to 50%".to_owned()),
    }
}

/// Searches, and prints what was found.
pub(crate) fn find_max(args: &FindMaxArgs) -> Result<Exit, Failure> {
    let target = Target::find(&args.url, &args.network)?;
    let prepared = plan::for_search(args, &target)?;
    let interrupts = Interrupts::install()?;
    let Prepared { config: plan, warnings } = prepared.on_driver(args.driver)?;
    warnings::print(&warnings);
    let (steps, unjudged) = (Vec::new(), Vec::new());
    let mut session = Session { plan, args, interrupts: &interrupts, steps, unjudged };
    let ceiling = match session.ceiling() {
        Ok(ceiling) => ceiling,
        Err(failure) => return without_a_step(&session, &target, failure),
    };
    let search = session.search(&ceiling)?;
    let document = document(&session, &target, &search, Some(ceiling.successes_per_second));
    match args.output.output {
        Format::Json => output::print(&json::to_text(&document)),
        Format::Text => output::print_text(&report::render(&document)),
    }?;
    Ok(match (document.highest_held_per_second, document.end) {
        (Some(_), _) => Exit::Ok,
        (None, End::NothingHolds) => Exit::ThresholdFailed,
        (None, _) => Exit::Invalid,
    })
}

/// A search that could not begin: as JSON with what was sent until then.
fn without_a_step(
    session: &Session<'_>,
    target: &Target,
    failure: Failure,
) -> Result<Exit, Failure> {
    let sent_some = !session.unjudged.is_empty();
    if sent_some && matches!(session.args.output.output, Format::Json) {
        let search = Search::new(session.bounds(0.0));
        output::print(&json::to_text(&document(session, target, &search, None)))?;
    }
    Err(failure)
}

/// What came of the run before the first step.
struct Ceiling {
    successes_per_second: f64,
    /// The rate from which on a start is looked for.
    start: f64,
}

/// The steps as they go on.
struct Session<'a> {
    /// A closed loop; each step sets its schedule.
    plan: Plan,
    args: &'a FindMaxArgs,
    interrupts: &'a Interrupts,
    steps: Vec<Step>,
    unjudged: Vec<Unjudged>,
}

impl Session<'_> {
    /// How many successes a second a closed loop reaches, or the highest rate that is allowed: nothing above it can be reached with these connections, and the server is warm then.
    fn ceiling(&mut self) -> Result<Ceiling, Failure> {
        let report = self.probe(self.args.max_rate)?;
        let refuses_all = report.status.successes() == 0 && report.connections_opened > 0;
        let ceiling = if refuses_all {
            // Perhaps because so much comes: then the search goes down from there.
            let least = min_rate(self.args.step_duration);
            let gently =
                self.probe(Some(self.args.max_rate.map_or(least, |most| least.min(most))))?;
            self.judge(&gently)?;
            let start = report.offered as f64 / report.seconds.max(f64::MIN_POSITIVE);
            Ceiling { successes_per_second: 0.0, start }
        } else {
            self.judge(&report)?;
            let successes_per_second = report.successes_per_second();
            Ceiling { successes_per_second, start: successes_per_second }
        };
        self.say(&report::ceiling_line(ceiling.successes_per_second, self.args.max_rate));
        Ok(ceiling)
    }

    /// A run at a rate, or in a closed loop.
    fn probe(&mut self, rate: Option<f64>) -> Result<Report, Failure> {
        let length = self.args.step_duration;
        let arrival = rate.map_or(Arrival::Closed, |rate| Arrival::at_rate(rate, length));
        let (stop, warm_up) = (Stop::after(length), self.args.warmup);
        let plan = Plan { arrival, stop, warm_up, ..self.plan.clone() };
        let report = watch::drive(&plan, self.interrupts, None)?;
        self.unjudged.push(Unjudged { rate_per_second: rate, counts: Counts::of(&report) });
        match self.interrupts.seen() {
            true => Err(Failure::invalid("interrupted before a rate was tried: let it run longer")),
            false => Ok(report),
        }
    }

    /// Whether a search can begin after such a run: something succeeded, and the objectives can be told of it.
    fn judge(&self, report: &Report) -> Result<(), Failure> {
        if report.status.successes() == 0 {
            let example = endings::example(&report.outcomes, &report.error_examples);
            let example = example.unwrap_or("no response was a 2xx or 3xx");
            return Err(Failure::no_response(format_args!("nothing succeeded: {example}")));
        }
        if let Some(blank) = blank(report, &self.args.slo) {
            return Err(Failure::no_response(format_args!(
                "--slo {:?} can't be judged: times are those of 2xx responses, and there was none",
                blank.text
            )));
        }
        Ok(())
    }

    fn search(&mut self, ceiling: &Ceiling) -> Result<Search, Failure> {
        let mut search = Search::new(self.bounds(ceiling.start * START_SHARE));
        while !self.interrupts.seen()
            && let Some((stage, rate)) = search.next()
        {
            match self.step(stage, rate)? {
                Some(held) => search.learn(rate, held),
                None => break,
            }
        }
        Ok(search)
    }

    fn bounds(&self, start: f64) -> Bounds {
        let args = self.args;
        Bounds {
            start,
            min_rate: min_rate(args.step_duration),
            max_rate: args.max_rate.unwrap_or(RATE_MAX),
            precision: args.precision,
            confirm: args.confirm,
        }
    }

    /// One open loop; `None` if it was interrupted.
    fn step(&mut self, stage: search::Stage, rate: f64) -> Result<Option<Held>, Failure> {
        let times = if stage == search::Stage::Confirm { CONFIRM_LENGTH } else { 1 };
        let length = self.args.step_duration * times;
        let plan = Plan {
            arrival: Arrival::at_rate(rate, length),
            stop: Stop::after(length),
            warm_up: self.args.warmup,
            ..self.plan.clone()
        };
        let report = watch::drive(&plan, self.interrupts, None)?;
        if self.interrupts.seen() {
            let counts = Counts::of(&report);
            self.unjudged.push(Unjudged { rate_per_second: Some(rate), counts });
            return Ok(None);
        }
        let objectives = self.args.slo.iter().map(|slo| slo.demand(&report)).collect();
        let step = Step::new(stage, rate, &report, objectives, held(&report, &self.args.slo));
        self.say(&report::step_line(&step));
        let held = step.held;
        self.steps.push(step);
        Ok(Some(held))
    }

    fn say(&self, line: &str) {
        if !self.args.output.quiet {
            output::tell(line);
        }
    }
}

/// The first objective of which a run before the search shows nothing. A closed loop has no lag to show: the steps have.
fn blank(report: &Report, objectives: &[Condition]) -> Option<ThresholdOutcome> {
    let is_closed = report.target_per_second <= 0.0;
    let told = objectives.iter().filter(|slo| !(is_closed && slo.needs_schedule()));
    told.map(|slo| slo.demand(report)).find(|outcome| outcome.value.is_none())
}

/// Whether the server held the rate of a step. A client that was late makes response times longer, never shorter: what holds in spite of it holds.
fn held(report: &Report, objectives: &[Condition]) -> Held {
    let kept = objectives.iter().all(|slo| slo.demand(report).passed)
        && report.shed == 0
        && succeeds(report, objectives);
    match report.verdict.limit {
        Limit::None | Limit::Client if kept && report.reached_its_rate() => Held::Yes,
        Limit::Client => Held::ClientLimited,
        _ => Held::No,
    }
}

/// Whether the server did what was asked nearly each time, or as often as an objective says, which is kept or not with the others.
fn succeeds(report: &Report, objectives: &[Condition]) -> bool {
    let least = report.offered as f64 * SUCCESS_SHARE_MIN;
    objectives.iter().any(|slo| slo.is_of("success_rate"))
        || report.status.successes() as f64 >= least
}

fn document<'a>(
    session: &'a Session<'_>,
    target: &'a Target,
    search: &Search,
    ceiling: Option<f64>,
) -> Document<'a> {
    let args = session.args;
    Document {
        schema_version: report::SCHEMA_VERSION,
        ringshot_version: env!("CARGO_PKG_VERSION"),
        url: &target.text,
        driver: session.plan.driver.to_string(),
        settings: Settings {
            method: &args.load.method,
            connections: args.load.connections,
            pipeline: args.load.pipeline,
            objectives: args.slo.iter().map(Condition::text).collect(),
            step_seconds: args.step_duration.as_secs_f64(),
            warm_up_seconds: args.warmup.as_secs_f64(),
            precision: args.precision,
            confirm: args.confirm,
            max_rate: args.max_rate,
        },
        ceiling_per_second: ceiling,
        highest_held_per_second: search.held(),
        lowest_not_held_per_second: search.not_held(),
        confirmed: search.is_confirmed(),
        end: search.end(),
        interrupted: session.interrupts.seen(),
        steps: &session.steps,
        unjudged: &session.unjudged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn a_step_is_held_only_if_all_is_well() {
        let slo: Vec<Condition> =
            ["p99 < 1ms", "error_rate < 1%"].iter().map(|text| text.parse().unwrap()).collect();
        let check = |change: fn(&mut Report), expected| {
            let mut report = sample::report();
            // A schedule that was kept.
            report.target_per_second = report.requests as f64 / report.seconds;
            report.offered = report.requests;
            report.status.success = report.requests;
            report.verdict.limit = Limit::None;
            change(&mut report);
            assert_eq!(held(&report, &slo), expected, "{:?}", report.verdict);
        };
        check(|_| (), Held::Yes);
        check(|r| r.latency_us.p99 = 1_500.0, Held::No);
        check(|r| r.errors = r.requests, Held::No);
        check(|r| r.shed = 1, Held::No);
        check(|r| r.verdict.limit = Limit::Server, Held::No);
        check(|r| r.verdict.limit = Limit::Unknown, Held::No);
        // Late, and good enough all the same.
        check(|r| r.verdict.limit = Limit::Client, Held::Yes);
        let late = |r: &mut Report| (r.verdict.limit, r.latency_us.p99) = (Limit::Client, 1_500.0);
        check(late, Held::ClientLimited);
        let short = |r: &mut Report| (r.verdict.limit, r.requests) = (Limit::Client, r.offered / 2);
        check(short, Held::ClientLimited);
    }

    #[test]
    fn a_server_that_refuses_at_once_holds_nothing() {
        let check = |slo: &str, refused: u64, redirected: u64, expected| {
            let mut report = sample::report();
            (report.requests, report.offered, report.target_per_second) = (1_000, 1_000, 100.0);
            (report.status.server_error, report.status.redirect) = (refused, redirected);
            report.status.success = 1_000 - refused - redirected;
            report.verdict.limit = Limit::None;
            assert_eq!(held(&report, &[slo.parse().unwrap()]), expected, "{slo}: {refused}");
        };
        check("p99 < 1ms", 10, 0, Held::Yes);
        check("p99 < 1ms", 11, 0, Held::No);
        check("p99 < 1ms", 0, 500, Held::Yes);
        // No 5xx is an error, but success_rate counts each.
        check("error_rate < 50%", 11, 0, Held::No);
        check("success_rate > 90%", 50, 0, Held::Yes);
        check("success_rate > 90%", 150, 0, Held::No);
    }

    #[test]
    fn a_lag_is_judged_where_there_is_one() {
        let check = |target_per_second, slo: &str, expected: Option<&str>| {
            let mut report = Report { target_per_second, ..sample::report() };
            report.schedule_lag_us = ringshot::load::Latency::default();
            report.latency_us.samples = 0;
            let found = blank(&report, &[slo.parse().unwrap()]);
            assert_eq!(found.map(|it| it.metric).as_deref(), expected, "{slo}");
        };
        check(0.0, "lag_p99 < 1ms", None);
        check(0.0, "client_lag_max < 1ms", None);
        check(0.0, "p99 < 1ms", Some("p99"));
        check(100.0, "lag_p99 < 1ms", Some("lag_p99"));
        check(100.0, "error_rate < 1%", None);
    }

    #[test]
    fn precisions() {
        assert_eq!((precision("2%"), precision("0.05")), (Ok(0.02), Ok(0.05)));
        for text in ["", "0", "60%", "two"] {
            assert!(precision(text).is_err(), "{text}");
        }
        assert!(rate_above_zero("0").is_err() && rate_above_zero("10G").is_err());
    }
}
