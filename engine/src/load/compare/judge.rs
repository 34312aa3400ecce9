//! Whether the second side of a comparison is slower than the first, and whether that can be told at all. Figures in, words out.
//!
//! ```text
//! different loads were asked for ................. unlike
//! the second has no success, the first has ....... slower, by all of its speed
//! successes a second, in closed loops ............ slower by them, if that is shown
//! and the median response time, in open ones ..... slower by whichever is more
//! not shown, and successes were refused or never
//! came, or a median is a lower bound ............. undecided, as is too little
//! ```

use super::{Comparison, Contestant, Difference, Ratio, SUCCESSES};
use crate::load::statistics::PAIRS_MIN;

/// How much smaller than the first side's the second side's share of successes may be: of what is refused nobody can say how fast it would have been.
const SHARE_LOST_MAX: f64 = 0.01;
/// How far the rates of two schedules may lie apart, as a share of the higher: an average over the measured time, which a replay's is no round figure of.
const TARGETS_APART_MAX: f64 = 0.01;

/// What a comparison says to a limit on how much slower the second side may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// No more than the limit is shown.
    Kept,
    /// More than the limit is shown.
    Slower,
    /// Different loads were asked for, as these words say.
    Unlike(String),
    /// There is too little to judge by, as these words say.
    Undecided(String),
}

impl Comparison {
    /// What it says to a limit of `most`, a share of the second contestant's speed.
    #[must_use]
    pub fn judge(&self, most: f64) -> Judgement {
        match (&self.unlike, self.slowdown()) {
            (Some(unlike), _) => Judgement::Unlike(unlike.clone()),
            (None, Some(slower)) if slower > most => Judgement::Slower,
            _ => self.doubt().map_or(Judgement::Kept, Judgement::Undecided),
        }
    }

    /// By what share of its speed the second contestant is shown to be slower than the first: successes (2xx and 3xx) a second, or in two open loops, whose rates are
    /// set, the median response time where that says more; 1 if it has no success at all, and the first has. `None` if nothing is shown, or it is faster.
    #[must_use]
    pub fn slowdown(&self) -> Option<f64> {
        let (None, [of, to]) = (&self.unlike, &self.contestants[..]) else { return None };
        if lacks_success(to) && !lacks_success(of) {
            return Some(1.0);
        }
        let rate = self.speed().filter(|it| it.significant).map(|it| 1.0 - 1.0 / it.median);
        let median = self.median().filter(|it| it.significant && of.is_open_loop());
        let longer = median.map(|it| it.to_us / it.of_us - 1.0);
        rate.into_iter().chain(longer).reduce(f64::max).filter(|share| *share > 0.0)
    }

    /// Why what is not shown need not be so.
    fn doubt(&self) -> Option<String> {
        let [of, to] = &self.contestants[..] else { return None };
        if self.pairs < PAIRS_MIN {
            return Some(format!(
                "there are {} rounds or seconds to compare by, and {PAIRS_MIN} are needed",
                self.pairs
            ));
        }
        if lacks_success(of) || lacks_success(to) {
            return Some(no_success([of, to]));
        }
        let refuses = of.success_share() - to.success_share() > SHARE_LOST_MAX;
        match (refuses, of.is_open_loop(), self.median()) {
            (true, ..) => Some(shares([of, to])),
            (_, true, None) => {
                Some("one side has no 2xx whose response times are known".to_owned())
            }
            (_, true, Some(median)) => cut_off([of, to], median),
            _ => None,
        }
    }

    fn speed(&self) -> Option<&Ratio> {
        self.ratios.iter().find(|it| it.metric == SUCCESSES)
    }

    fn median(&self) -> Option<&Difference> {
        self.differences.iter().find(|it| it.metric == "p50")
    }
}

/// Why the rates of two sides can't be set against each other, if a schedule set them.
pub(super) fn unlike([of, to]: &[Contestant; 2]) -> Option<String> {
    let targets = [of, to].map(|one| one.target_per_second);
    let apart = (targets[0] - targets[1]).abs();
    let staged_alike = match (&of.stages, &to.stages) {
        (Some(of), Some(to)) => of == to,
        // Nobody knows any more.
        _ => true,
    };
    let alike = of.is_open_loop() == to.is_open_loop()
        && staged_alike
        && apart <= TARGETS_APART_MAX * targets[0].max(targets[1]);
    let asked = |one: &Contestant| match one.is_open_loop() {
        true => format!(
            "{} was to send {:.1} requests a second{}",
            one.name,
            one.target_per_second,
            in_stages(one)
        ),
        false => format!("{} was a closed loop", one.name),
    };
    (!alike).then(|| {
        format!("{}, and {}: different loads, whose speeds can't be compared", asked(of), asked(to))
    })
}

/// ` in stages of 10s:0..500, 30s:500`, where its rate was to change.
fn in_stages(one: &Contestant) -> String {
    let stages = one.stages.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
    if stages.is_empty() { String::new() } else { format!(" in stages of {}", stages.join(", ")) }
}

fn lacks_success(one: &Contestant) -> bool {
    one.status.successes() == 0
}

fn no_success(sides: [&Contestant; 2]) -> String {
    let without: Vec<&str> =
        sides.into_iter().filter(|one| lacks_success(one)).map(|one| &*one.name).collect();
    format!("no response of {} was a success (2xx or 3xx)", without.join(" and "))
}

/// Where half of a side's requests were not answered for as long as they were waited for, nobody knows its median.
fn cut_off([of, to]: [&Contestant; 2], median: &Difference) -> Option<String> {
    let bounds = [(of, median.of_is_lower_bound), (to, median.to_is_lower_bound)];
    let names: Vec<&str> =
        bounds.iter().filter(|(_, is_bound)| *is_bound).map(|(one, _)| &*one.name).collect();
    let names = names.join(" and ");
    let told = format!("so much of {names} was cut off that the median response time is not known");
    (!names.is_empty()).then_some(told)
}

fn shares([of, to]: [&Contestant; 2]) -> String {
    let percent = |one: &Contestant| one.success_share() * 100.0;
    format!(
        "{} answered {:.1}% of its requests with a success (2xx or 3xx), and {} {:.1}%",
        to.name,
        percent(to),
        of.name,
        percent(of)
    )
}

/// `B is 12.0% slower than A (95%: 9.0% to 15.0%); p50 and p99: no difference shown`.
pub(super) fn summary(comparison: &Comparison) -> String {
    let [of, to] = &comparison.contestants[..] else { return String::new() };
    let speed = match (&comparison.unlike, comparison.speed()) {
        (Some(unlike), _) => unlike.clone(),
        _ if lacks_success(of) || lacks_success(to) => no_success([of, to]),
        (None, None) => "no rates to compare".to_owned(),
        (None, Some(ratio)) => faster_or_slower([of, to], ratio),
    };
    let shown = comparison.differences.iter().filter(|it| it.significant).map(|it| {
        let word = if it.difference_us < 0.0 { "longer" } else { "shorter" };
        let change = (it.to_us / it.of_us - 1.0).abs() * 100.0;
        // The longer one's true time is further off yet.
        let least = if it.of_is_lower_bound || it.to_is_lower_bound { "at least " } else { "" };
        format!("; {} {least}{change:.1}% {word}", percentile_name(&it.metric))
    });
    let same: Vec<String> = comparison
        .differences
        .iter()
        .filter(|it| !it.significant)
        .map(|it| percentile_name(&it.metric))
        .collect();
    let rest = match same.is_empty() {
        true => String::new(),
        false => format!("; {}: no difference shown", same.join(", ")),
    };
    format!("{speed}{}{rest}", shown.collect::<String>())
}

/// In successes a second, and in those words where not all responses were: who refuses is not called fast.
fn faster_or_slower([of, to]: [&Contestant; 2], ratio: &Ratio) -> String {
    let refuses = |one: &Contestant| one.success_share() < 1.0 - SHARE_LOST_MAX;
    let counted = refuses(of) || refuses(to);
    let (what, words) = match counted {
        true => ("successes", ["fewer successes a second", "more successes a second"]),
        false => ("requests", ["slower", "faster"]),
    };
    let told = if counted { format!("; {}", shares([of, to])) } else { String::new() };
    if !ratio.significant {
        let (of, to) = (&of.name, &to.name);
        return format!("no difference in {what} a second is shown between {of} and {to}{told}");
    }
    let change = |ratio: f64| (1.0 / ratio - 1.0).abs() * 100.0;
    let (one, other) = (change(ratio.low), change(ratio.high));
    format!(
        "{} {} {:.1}% {} than {} (95%: {:.1}% to {:.1}%){told}",
        to.name,
        if counted { "has" } else { "is" },
        change(ratio.median),
        words[usize::from(ratio.median < 1.0)],
        of.name,
        one.min(other),
        one.max(other)
    )
}

/// `p99.9` for `p99_9`.
fn percentile_name(metric: &str) -> String {
    metric.replace('_', ".")
}

#[cfg(test)]
mod tests {
    use super::super::Series;
    use super::super::tests::{compare_runs, run};
    use super::*;
    use crate::load::details::StageReport;
    use crate::load::histogram::{Coarse, Histogram};
    use crate::load::report::Report;
    use crate::load::status::StatusCounts;

    /// A closed loop that is answered so often a second, with a success as often as that; the rest is refused at once.
    fn refusing(per_second: u64, successes: u64) -> Report {
        let mut report = run(successes.max(1), 5_000);
        if successes == 0 {
            report.histograms.response_time.clear();
            report.timeline.iter_mut().for_each(|slot| slot.buckets = Coarse::default());
        }
        report.timeline.iter_mut().for_each(|slot| slot.requests = per_second);
        report.requests_per_second = per_second as f64;
        report.requests = per_second * 11;
        let success = (successes * 11).min(report.requests);
        let server_error = report.requests - success;
        report.status = StatusCounts { success, server_error, ..StatusCounts::default() };
        report
    }

    #[track_caller]
    fn check(of: Report, to: Report, expected: fn(&Judgement) -> bool, said: &str) {
        let comparison = compare_runs(of, to);
        let judgement = comparison.judge(0.05);
        assert!(expected(&judgement), "{judgement:?} of {}", comparison.summary);
        let words = match judgement {
            Judgement::Unlike(words) | Judgement::Undecided(words) => words,
            _ => comparison.summary,
        };
        assert!(words.contains(said) && !words.contains("faster"), "{words}");
    }

    const UNDECIDED: fn(&Judgement) -> bool = |it| matches!(it, Judgement::Undecided(_));
    const UNLIKE: fn(&Judgement) -> bool = |it| matches!(it, Judgement::Unlike(_));
    const SLOWER: fn(&Judgement) -> bool = |it| *it == Judgement::Slower;
    const KEPT: fn(&Judgement) -> bool = |it| *it == Judgement::Kept;

    #[test]
    fn who_refuses_everything_at_once_is_slower() {
        let refuses = || refusing(5_000, 0);
        check(run(200, 5_000), refuses(), SLOWER, "no response of new was a success (2xx or 3xx)");
        check(refuses(), run(200, 5_000), UNDECIDED, "no response of old was a success");
        check(refuses(), refuses(), UNDECIDED, "no response of old and new was a success");
    }

    #[test]
    fn who_refuses_some_is_judged_by_the_rest() {
        let all = || refusing(200, 200);
        check(all(), refusing(500, 100), SLOWER, "new has 50.0% fewer successes a second than old");
        check(all(), refusing(500, 100), SLOWER, "; new answered 20.0% of its requests");
        // As many as the other, of more: nobody knows how fast it would be if it did what it was asked.
        check(all(), refusing(500, 200), UNDECIDED, "new answered 40.0% of its requests");
        check(refusing(500, 200), all(), KEPT, "no difference in successes a second is shown");
        check(all(), refusing(201, 200), KEPT, "no difference in requests a second is shown");
    }

    #[test]
    fn errors_are_no_successes_either() {
        let broken = Report { errors: 1_100, ..run(200, 5_000) };
        check(run(200, 5_000), broken, UNDECIDED, "of its requests with a success (2xx or 3xx)");
    }

    #[test]
    fn a_redirect_is_an_answer() {
        let redirects = |per_second: u64| {
            let mut report = refusing(per_second, 0);
            let redirect = report.requests;
            report.status = StatusCounts { redirect, ..StatusCounts::default() };
            report
        };
        check(redirects(200), redirects(200), KEPT, "no difference in requests a second");
        check(redirects(200), redirects(100), SLOWER, "new is 50.0% slower than old");
    }

    /// An open loop of which so many requests a second were asked.
    fn open(target_per_second: f64, micros: u64) -> Report {
        let arrival = "constant".to_owned();
        Report { arrival, target_per_second, ..run(target_per_second as u64, micros) }
    }

    #[test]
    fn schedules_of_one_mean_and_different_stages_are_different_loads() {
        let staged = |stages: &[(f64, f64)]| {
            let stage = |(from, to): &(f64, f64)| StageReport {
                seconds: 3.0,
                from_per_second: *from,
                to_per_second: *to,
            };
            let stages = Some(stages.iter().map(stage).collect());
            Report { stages, ..open(100.0, 5_000) }
        };
        let (rising, falling) = (|| staged(&[(0.0, 200.0)]), || staged(&[(200.0, 0.0)]));
        check(rising(), rising(), KEPT, "no difference");
        check(
            rising(),
            falling(),
            UNLIKE,
            "new was to send 100.0 requests a second in stages of 3s:200..0",
        );
        check(staged(&[]), falling(), UNLIKE, "old was to send 100.0 requests a second, and new");
        // Saved before the stages were.
        check(open(100.0, 5_000), falling(), KEPT, "no difference");
    }

    #[test]
    fn loads_of_different_kinds_are_not_set_against_each_other() {
        let closed = || run(1_000, 1_000);
        check(closed(), open(280.0, 1_000), UNLIKE, "old was a closed loop, and new was to send");
        check(open(280.0, 1_000), closed(), UNLIKE, "was to send 280.0 requests a second, and new");
        check(open(100.0, 1_000), open(200.0, 1_000), UNLIKE, "and new was to send 200.0 requests");
        let shown = compare_runs(closed(), open(280.0, 1_000));
        assert!(shown.ratios.is_empty() && shown.slowdown().is_none() && shown.pairs == 10);
    }

    #[test]
    fn open_loops_are_slower_by_their_times_or_by_what_they_refuse() {
        let ours = || open(200.0, 1_000);
        check(ours(), open(200.4, 1_000), KEPT, "no difference in requests a second");
        check(ours(), open(200.0, 1_500), SLOWER, "; p50 4");
        let arrival = "constant".to_owned();
        let refuses = Report { arrival, target_per_second: 200.0, ..refusing(200, 100) };
        check(ours(), refuses, SLOWER, "fewer successes a second than old");
        let mut untimed = ours();
        untimed.histograms.response_time.insert("2xx".to_owned(), Histogram::new());
        check(ours(), untimed, UNDECIDED, "no 2xx whose response times are known");
    }

    /// Some of whose requests, by their numbers, were still unanswered after six seconds.
    fn hanging(mut report: Report, hangs: fn(u64) -> bool) -> Report {
        let mut times = Histogram::new();
        for place in 0..report.requests {
            match hangs(place) {
                true => report.histograms.censored_response.record(6_000_000_000),
                false => times.record((1_000 + place % 10) * 1_000),
            }
        }
        report.histograms.response_time.insert("2xx".to_owned(), times.clone());
        report.cancelled = report.requests - times.len();
        report.requests = times.len();
        report.status.success = times.len();
        report
    }

    #[test]
    fn what_never_answered_is_in_the_times_and_keeps_no_limit() {
        let hangs = || hanging(open(200.0, 1_000), |place| place % 33 == 0);
        check(open(200.0, 1_000), hangs(), UNDECIDED, "new answered 97.0% of its requests");
        check(hangs(), open(200.0, 1_000), KEPT, "no difference in ");
        let of = vec![open(200.0, 1_000); 5];
        let to = vec![hangs(); 5];
        let series = [("A", &of), ("B", &to)].map(|(name, reports)| Series { name, reports });
        let comparison = Comparison::new(series[0], series[1], 1);
        let p99 = &comparison.differences[2];
        assert!(p99.to_us > 5.9e6 && p99.significant, "{p99:?}");
        assert!(p99.to_is_lower_bound && !p99.of_is_lower_bound, "{p99:?}");
        assert!(comparison.summary.contains("p99 at least "), "{}", comparison.summary);
        assert!(comparison.differences[..2].iter().all(|it| !it.to_is_lower_bound));
        assert!(matches!(comparison.judge(0.05), Judgement::Undecided(_)));
        let rows = &comparison.contestants[1];
        assert!((0.969..0.971).contains(&rows.exact_below), "{}", rows.exact_below);
        // A lower bound that is the shorter of the two may be the longer.
        let late = vec![open(200.0, 9_000_000); 5];
        let other = Comparison::new(series[1], Series { name: "C", reports: &late }, 1);
        let shown: Vec<bool> = other.differences.iter().map(|it| it.significant).collect();
        assert_eq!(shown, [true, true, false, false], "{other:#?}");
    }

    #[test]
    fn a_median_that_is_a_lower_bound_keeps_no_limit() {
        let most = || hanging(open(200.0, 1_000), |place| place % 3 > 0);
        let all = || hanging(open(200.0, 1_000), |_| true);
        check(most(), most(), UNDECIDED, "so much of old and new was cut off that the median");
        check(all(), all(), UNDECIDED, "no response of old and new was a success");
    }

    #[test]
    fn too_little_is_told() {
        let mut short = run(100, 1_000);
        short.timeline.truncate(4);
        check(run(100, 1_000), short, UNDECIDED, "there are 3 rounds or seconds to compare by");
    }
}
