//! `ringshot compare`: the same load on two drivers, two hosts or two URLs, in turn, round by round; or two saved results.
//!
//! ```text
//! warm up io_uring, warm up epoll, then rounds:  I E | E I | I E | E I | ...
//! ```
//! The order alternates, so that a drift of the machine favours neither. A round counts when both have run.

mod origin;
mod saved;
mod sides;

use std::sync::Arc;
use std::time::Duration;

use ringshot::load::compare::{Judgement, Series};
use ringshot::load::{Comparison, DURATION_MAX, Mix, Plan, Report, Stop, statistics};
use ringshot::sys::affinity;

use crate::args::{CompareArgs, Format};
use crate::exit::{Exit, Failure};
use crate::network::NetworkArgs;
use crate::output::format::{counted, length, percent, rate};
use crate::output::json::{self, Unmeasured};
use crate::output::{self, comparison};
use crate::placement::{Placement, Server};
use crate::signals::Interrupts;
use crate::target::Target;
use crate::warnings::{self, Warning};
use crate::{plan, topology, units, watch};
use origin::OriginProcess;
use sides::Sides;

/// Version of the JSON layout.
const SCHEMA_VERSION: u32 = 1;
/// The unmeasured start of each run is a tenth of it, but no longer than this.
const ROUND_WARM_UP_MAX: Duration = Duration::from_millis(200);
/// Runs that are made again because their core was taken away for so long that not even a first request was sent.
const STALLS_MAX: u32 = 3;

/// Runs the rounds, or reads two results, and prints what they show.
pub(crate) fn compare(args: &CompareArgs) -> Result<Exit, Failure> {
    match saved::files(&args.urls)? {
        Some(files) => saved::compare(args, files),
        None => compare_now(args),
    }
}

fn compare_now(args: &CompareArgs) -> Result<Exit, Failure> {
    check_rounds(args.rounds)?;
    check_warm_up(args.warmup)?;
    let sides = Sides::of(args)?;
    let interrupts = Interrupts::install()?;
    let placement = place(args)?;
    let origin = match args.urls[..] {
        [] => Some(OriginProcess::start(&placement, args.body_bytes)?),
        _ => None,
    };
    let targets = targets(args, origin.as_ref())?;
    let plans = round_plans(args, &targets, &placement)?;
    plans.iter().try_for_each(Plan::check).map_err(Failure::unusable)?;
    let mut warnings: Vec<_> = Warning::of_placement(&placement).into_iter().collect();
    let sides = sides.choose(args, &plans[0].conns_by_core(), &mut warnings)?;
    let plans = sides.of_plans(plans);
    warnings::print(&warnings);
    let mut session = Session {
        plans,
        sides,
        args,
        interrupts: &interrupts,
        rounds: [Vec::new(), Vec::new()],
        unmeasured: [Unmeasured::default(); 2],
    };
    session.say(&format!("{}: {}", urls(&targets).join(" and "), placement.describe()));
    session.warm_up()?;
    session.run_rounds()?;
    finish(&session, &targets, &placement)
}

/// Where each side goes.
fn targets(args: &CompareArgs, origin: Option<&OriginProcess>) -> Result<[Target; 2], Failure> {
    let network = NetworkArgs::default();
    let first = args.urls.first().map(String::as_str).or(origin.map(OriginProcess::url));
    let first = Target::find(first.unwrap_or_default(), &network)?;
    let second = match args.urls.get(1) {
        Some(url) => Target::find(url, &network)?,
        None => first.clone(),
    };
    Ok([first, second])
}

/// One, or two that differ.
fn urls([first, second]: &[Target; 2]) -> Vec<&str> {
    let mut urls = vec![first.text.as_str(), second.text.as_str()];
    urls.dedup();
    urls
}

/// The rounds as they go on.
struct Session<'a> {
    /// The run of a round, of each side.
    plans: [Plan; 2],
    sides: Sides,
    args: &'a CompareArgs,
    interrupts: &'a Interrupts,
    /// The reports of each side; after each round both have as many.
    rounds: [Vec<Report>; 2],
    /// What each side was sent beside them.
    unmeasured: [Unmeasured; 2],
}

impl Session<'_> {
    fn warm_up(&mut self) -> Result<(), Failure> {
        if self.args.warmup.is_zero() {
            return Ok(());
        }
        self.say(&format!("warming up, {} each", length(self.args.warmup)));
        for side in [0, 1] {
            let stop = Stop::after(self.args.warmup);
            if self.interrupts.seen() {
                return Ok(());
            }
            let report = self.drive(side, &Plan { stop, ..self.plans[side].clone() })?;
            self.unmeasured[side].add_all(&report);
        }
        Ok(())
    }

    fn run_rounds(&mut self) -> Result<(), Failure> {
        for round in 0..self.args.rounds {
            let Some(pair) = self.round(sides::order(round))? else { break };
            self.say(&round_line(round, self.args.rounds, &pair));
            for (side, report) in pair.into_iter().enumerate() {
                self.unmeasured[side].add_warm_up(&report);
                self.rounds[side].push(report);
            }
        }
        Ok(())
    }

    /// Both sides once, in this order; the reports are in the order of [`Sides`].
    /// `None` if it was interrupted.
    fn round(&mut self, order: [usize; 2]) -> Result<Option<[Report; 2]>, Failure> {
        let [first, second] = order;
        let one = self.drive(first, &self.plans[first].clone())?;
        if self.interrupts.seen() {
            self.unmeasured[first].add_all(&one);
            return Ok(None);
        }
        let other = self.drive(second, &self.plans[second].clone())?;
        if self.interrupts.seen() {
            self.unmeasured[first].add_all(&one);
            self.unmeasured[second].add_all(&other);
            return Ok(None);
        }
        Ok(Some(if first == 0 { [one, other] } else { [other, one] }))
    }

    fn drive(&mut self, side: usize, plan: &Plan) -> Result<Report, Failure> {
        let mut report = watch::drive(plan, self.interrupts, None)?;
        let mut stalls = 0;
        while report.outcomes.is_empty() && stalls < STALLS_MAX && !self.interrupts.seen() {
            self.unmeasured[side].add_all(&report);
            report = watch::drive(plan, self.interrupts, None)?;
            stalls += 1;
        }
        if report.requests == 0 && !self.interrupts.seen() {
            let side = match self.args.urls.get(side) {
                Some(url) if self.args.urls.len() == 2 => url.clone(),
                _ => self.sides.0[side].to_string(),
            };
            return Err(Failure::no_response(format_args!(
                "no response came with {side}: {}",
                reason(&report)
            )));
        }
        Ok(report)
    }

    fn say(&self, line: &str) {
        if !self.args.output.quiet {
            output::tell(line);
        }
    }

    fn comparison(&self) -> Comparison {
        let [of, to] = &self.rounds;
        let name = self.sides.names();
        Comparison::new(
            Series { name: &name[0], reports: of },
            Series { name: &name[1], reports: to },
            self.args.seed,
        )
    }
}

fn finish(
    session: &Session<'_>,
    targets: &[Target; 2],
    placement: &Placement,
) -> Result<Exit, Failure> {
    let rounds_completed = session.rounds[0].len();
    if rounds_completed == 0 {
        return Err(Failure::interrupted(
            "interrupted before the first round was complete: there is nothing to compare yet; \
             let it run longer, or make rounds shorter with -d",
        ));
    }
    let document = json::CompareDocument {
        schema_version: SCHEMA_VERSION,
        ringshot_version: env!("CARGO_PKG_VERSION"),
        url: Some(&targets[0].text),
        sources: &urls(targets),
        settings: Some(&settings(session.args, &session.plans[0])),
        placement: Some(placement),
        asked_for: &[],
        rounds_completed,
        interrupted: session.interrupts.seen(),
        unmeasured: &session.unmeasured,
        comparison: &session.comparison(),
    };
    conclude(session.args, &document)
}

/// Prints, warns, and decides how the command ends.
fn conclude(args: &CompareArgs, document: &json::CompareDocument<'_>) -> Result<Exit, Failure> {
    match args.output.output {
        Format::Json => output::print(&json::compare(document)),
        Format::Text => output::print_text(&comparison::render(document)),
    }?;
    warnings::print(&Warning::of_comparison(document.comparison));
    match args.fail_if_slower {
        Some(most) => judge(most, judgement(document, most), &document.comparison.summary),
        None => Ok(Exit::Ok),
    }
}

/// A saved result that is not valid is nothing to judge by. In rounds the client may be what is compared, so that it counts only how busy it was.
fn judgement(document: &json::CompareDocument<'_>, most: f64) -> Judgement {
    let judged = document.comparison.judge(most);
    let is_saved = document.settings.is_none();
    let invalid = document.comparison.contestants.iter().filter(|one| is_saved && !one.valid);
    let invalid: Vec<&str> = invalid.map(|one| &*one.name).collect();
    match judged {
        Judgement::Unlike(_) => judged,
        _ if invalid.is_empty() => judged,
        _ => {
            Judgement::Undecided(format!("the figures of {} are not valid", invalid.join(" and ")))
        }
    }
}

fn judge(most: f64, judgement: Judgement, summary: &str) -> Result<Exit, Failure> {
    let gate = format!("--fail-if-slower {}", percent(most));
    match judgement {
        Judgement::Kept => Ok(Exit::Ok),
        Judgement::Slower => Err(Failure::threshold(format_args!("{gate}: {summary}"))),
        Judgement::Unlike(reason) => {
            Err(Failure::unusable(format_args!("{gate} can't be judged: {reason}")))
        }
        Judgement::Undecided(reason) => {
            Err(Failure::invalid(format_args!("{gate} can't be judged: {reason}")))
        }
    }
}

fn check_rounds(rounds: u32) -> Result<(), Failure> {
    let min = statistics::PAIRS_MIN;
    if usize::try_from(rounds).is_ok_and(|rounds| rounds < min) {
        return Err(Failure::unusable(format_args!(
            "--rounds {rounds} is too few for a 95% interval: use at least {min}"
        )));
    }
    Ok(())
}

fn check_warm_up(warm_up: Duration) -> Result<(), Failure> {
    match warm_up > DURATION_MAX {
        true => {
            let most = units::days(DURATION_MAX);
            Err(Failure::unusable(format!("--warmup must be at most {most}")))
        }
        false => Ok(()),
    }
}

fn place(args: &CompareArgs) -> Result<Placement, Failure> {
    let server = if args.urls.is_empty() { Server::Ours } else { Server::Theirs };
    let siblings = |core| topology::siblings(core).unwrap_or_else(|| vec![core]);
    let mut placement = Placement::choose(&args.load.cores, &affinity::cores(), server, siblings)?;
    // Fewer connections than cores would leave some without any.
    if args.load.cores == crate::cores::CoreList::Auto {
        let at_most = usize::try_from(args.load.connections).unwrap_or(usize::MAX).max(1);
        placement.client_cores.truncate(at_most);
    }
    Ok(placement)
}

fn round_plans(
    args: &CompareArgs,
    targets: &[Target; 2],
    at: &Placement,
) -> Result<[Plan; 2], Failure> {
    let plan = |place: usize| {
        let (stop, cores) = (Stop::after(args.duration), at.client_cores.clone());
        let template = plan::Asked::of(&args.load)?.encode(&targets[place].url)?;
        let mix = Arc::new(Mix::single(template, targets[place].peers.clone()));
        let plan = plan::load(&args.load, mix, cores, stop);
        Ok(Plan { warm_up: (args.duration / 10).min(ROUND_WARM_UP_MAX), ..plan })
    };
    Ok([plan(0)?, plan(1)?])
}

fn settings(args: &CompareArgs, plan: &Plan) -> json::Settings {
    json::Settings {
        method: args.load.method.clone(),
        connections: args.load.connections,
        pipeline: args.load.pipeline,
        keep_alive: !args.load.no_keepalive,
        rounds: args.rounds,
        round_seconds: args.duration.as_secs_f64(),
        round_warm_up_seconds: plan.warm_up.as_secs_f64(),
        warm_up_seconds: args.warmup.as_secs_f64(),
        body_bytes: args.urls.is_empty().then_some(args.body_bytes),
        seed: args.seed,
    }
}

fn round_line(round: u32, rounds: u32, [of, to]: &[Report; 2]) -> String {
    format!(
        "round {} of {rounds}: {} and {} requests/s, ratio {:.3}",
        round + 1,
        rate(of.requests_per_second),
        rate(to.requests_per_second),
        of.requests_per_second / to.requests_per_second,
    )
}

/// The most frequent way in which requests ended, with its example.
fn reason(report: &Report) -> String {
    let most = report.outcomes.iter().max_by_key(|(_, requests)| **requests);
    let Some((kind, requests)) = most else {
        return "no request was sent: is the round too short?".to_owned();
    };
    match report.error_examples.get(kind) {
        Some(example) => format!("{example} ({})", counted(*requests, "request")),
        None => format!("{} ended by {kind}", counted(*requests, "request")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn rounds_have_a_least_number() {
        assert!(check_rounds(4).unwrap_err().to_string().contains("at least 5"));
        assert_eq!(check_rounds(5), Ok(()));
    }

    #[test]
    fn a_round_is_one_line() {
        let mut epoll = sample::report();
        epoll.requests_per_second = 300_000.0;
        assert_eq!(
            round_line(0, 7, &[sample::report(), epoll]),
            "round 1 of 7: 341,235 and 300,000 requests/s, ratio 1.137"
        );
    }

    #[test]
    fn a_failed_run_says_why() {
        let mut report = sample::report();
        report.outcomes = [("connect".to_owned(), 64), ("timeout".to_owned(), 1)].into();
        assert_eq!(reason(&report), "64 requests ended by connect");
        report.error_examples = [("connect".to_owned(), "refused".to_owned())].into();
        assert_eq!(reason(&report), "refused (64 requests)");
        report.outcomes.clear();
        assert!(reason(&report).starts_with("no request was sent"));
    }
}
