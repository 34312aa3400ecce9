//! When requests are due: the options of a closed or open loop into the engine's schedule. Pure.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ringshot::load::{Arrival, Pacing, Spacing, Stage, Stop};

use crate::exit::Failure;
use crate::units;

/// How long a run takes for which nothing else is said.
const DURATION: Duration = Duration::from_secs(10);
/// After the end of a run, by time or by Ctrl-C, responses may arrive for this long, but no longer than their own timeout, unless `--drain` says otherwise.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// When requests are due, and for how long.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Schedule")]
pub(crate) struct ScheduleArgs {
    /// How long to send, at most 30 days [default: 10s, without -n and --stages]
    #[arg(short, long, value_name = "TIME", value_parser = units::positive_duration)]
    pub(crate) duration: Option<Duration>,
    /// Send exactly this many requests: 1000, 10k, 1M; with -d whichever comes first
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = units::positive_count)]
    pub(crate) requests: Option<u64>,
    /// Requests a second over all cores, due whatever the server does: 50k, 0.5
    #[arg(short = 'R', long, value_name = "RATE", value_parser = units::rate)]
    pub(crate) rate: Option<f64>,
    /// Rates one after the other: '10s:0..50k, 30s:50k, 5s:50k..0'
    #[arg(long, value_name = "STAGES", conflicts_with = "rate", value_parser = stages)]
    pub(crate) stages: Option<Stages>,
    /// How requests are spread at a given rate
    #[arg(long, value_name = "constant|poisson", value_enum, default_value = "constant")]
    pub(crate) arrival: Spread,
    /// Give up a request that finds no connection for this long, and count it as shed
    #[arg(long, value_name = "TIME", value_parser = units::positive_duration)]
    pub(crate) shed_after: Option<Duration>,
    /// Watch the clock for this long before a request is due, instead of sleeping; at most 1 ms
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    pub(crate) spin: Duration,
    /// Let requests leave up to this late, at most 100 ms, several at once: less CPU, less precision
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    pub(crate) slack: Duration,
    /// Send for this long before the clock starts, measured apart
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    pub(crate) warmup: Duration,
    /// Wait this long for the last responses, with -n once all are sent [default: 2s after the end of -d or --stages, or --timeout if that is less]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) drain: Option<Duration>,
    /// Seed of all that is random: arrivals, weights, templates
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = units::number)]
    pub(crate) seed: u64,
}

/// `--arrival`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(crate) enum Spread {
    #[default]
    Constant,
    Poisson,
}

/// `--stages`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stages(Vec<Stage>);

impl ScheduleArgs {
    /// When the run stops sending. A schedule with an end needs nothing else.
    pub(crate) fn stop(&self) -> Stop {
        let after = match (self.duration, self.requests, &self.stages) {
            (None, None, None) => Some(DURATION),
            (after, ..) => after,
        };
        Stop { after, requests: self.requests }
    }

    /// When requests are due.
    ///
    /// # Errors
    /// An option that needs a rate without one.
    pub(crate) fn arrival(&self) -> Result<Arrival, Failure> {
        let spacing = match self.arrival {
            Spread::Constant => Spacing::Constant,
            Spread::Poisson => Spacing::Poisson { seed: self.seed },
        };
        match (&self.stages, self.rate) {
            (Some(Stages(stages)), _) => Ok(Arrival::Open { stages: stages.clone(), spacing }),
            (None, Some(rate)) => {
                // With -n alone the last request is the end.
                let length = self.stop().after.unwrap_or(ringshot::load::DURATION_MAX);
                let stages = vec![Stage { length, from: rate, to: rate }];
                Ok(Arrival::Open { stages, spacing })
            }
            (None, None) => self.closed(),
        }
    }

    fn closed(&self) -> Result<Arrival, Failure> {
        let needs_rate = [
            (self.arrival != Spread::Constant, "--arrival"),
            (self.shed_after.is_some(), "--shed-after"),
            (!self.spin.is_zero(), "--spin"),
            (!self.slack.is_zero(), "--slack"),
        ];
        match needs_rate.into_iter().find(|(given, _)| *given) {
            Some((_, option)) => Err(Failure::unusable(format_args!(
                "{option} means nothing without a rate: add --rate or --stages"
            ))),
            None => Ok(Arrival::Closed),
        }
    }

    pub(crate) fn pacing(&self) -> Pacing {
        Pacing { spin: self.spin, slack: self.slack, shed_after: self.shed_after }
    }

    /// How long to wait for the last responses, whose own timeout is `response`.
    pub(crate) fn drain(&self, response: Duration) -> Duration {
        self.drain.unwrap_or(response.min(DRAIN_MAX))
    }
}

/// `10s:0..50k, 30s:50k`: lengths and rates.
fn stages(text: &str) -> Result<Stages, String> {
    text.split(',').map(|part| stage(part.trim())).collect::<Result<_, _>>().map(Stages)
}

fn stage(text: &str) -> Result<Stage, String> {
    let wrong = || format!("{text:?} is not a stage: write 30s:50k to hold, 10s:0..50k for a ramp");
    let (length, rates) = text.split_once(':').ok_or_else(wrong)?;
    let (from, to) = rates.split_once("..").unwrap_or((rates, rates));
    Ok(Stage {
        length: units::duration(length)?,
        from: units::rate(from.trim())?,
        to: units::rate(to.trim())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn stages_are_holds_and_ramps() {
        let stage = |length, from, to| Stage { length, from, to };
        let expected = [stage(seconds(10), 0.0, 50e3), stage(seconds(30), 50e3, 50e3)];
        assert_eq!(stages("10s:0..50k, 30s:50k").unwrap().0, expected);
        for (text, words) in [
            ("", "not a stage"),
            ("10s", "not a stage"),
            ("10s:fast", "not a rate"),
            ("x:5", "not a duration"),
            ("10s:5,", "not a stage"),
            ("10s:1..2..3", "not a rate"),
            ("10s:100...200", "not a rate"),
        ] {
            let error = stages(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn the_first_end_counts_and_ten_seconds_without_one() {
        let args = |duration: Option<u64>, requests, stages: Option<&str>| ScheduleArgs {
            duration: duration.map(seconds),
            requests,
            stages: stages.map(|text| super::stages(text).unwrap()),
            ..ScheduleArgs::default()
        };
        let check = |args: ScheduleArgs, after: Option<u64>, requests| {
            assert_eq!(args.stop(), Stop { after: after.map(seconds), requests });
        };
        check(args(None, None, None), Some(10), None);
        check(args(None, Some(5), None), None, Some(5));
        check(args(Some(3), Some(5), None), Some(3), Some(5));
        check(args(None, None, Some("5s:10")), None, None);
        check(args(Some(1), None, Some("5s:10")), Some(1), None);
    }

    #[test]
    fn a_rate_makes_an_open_loop_and_its_options_need_one() {
        let rate = ScheduleArgs { rate: Some(100.0), ..ScheduleArgs::default() };
        assert_eq!(rate.arrival().unwrap(), Arrival::at_rate(100.0, seconds(10)));
        let endless = ScheduleArgs { requests: Some(7), ..rate };
        assert_eq!(endless.arrival().unwrap().length(), Some(ringshot::load::DURATION_MAX));
        assert_eq!(ScheduleArgs::default().arrival(), Ok(Arrival::Closed));
        let spin = ScheduleArgs { spin: seconds(1), ..ScheduleArgs::default() };
        assert!(spin.arrival().unwrap_err().to_string().contains("--spin means nothing"));
    }
}
