//! Interleaved rounds: every contestant once a round, in an order that turns round, then medians and the median of the rounds' ratios.

use std::io::Write;

use crate::bare::Outcome;

/// One contestant's figures in one round; what is not known is not a number, so that nobody takes it for a measured zero.
#[derive(Debug, Clone, Copy)]
pub struct Score {
    /// Requests a second.
    pub rate: f64,
    /// CPU of the client a request, user and system, in microseconds.
    pub cpu_us: f64,
    /// The user part of it.
    pub user_us: f64,
    /// Bytes received a second, heads included.
    pub bytes_rate: f64,
    /// Completions that a turn of the client brought, on average.
    pub company: f64,
    /// Allocations a request.
    pub allocations: f64,
    /// The median latency with one request in flight, in microseconds.
    pub p50_us: f64,
}

/// Nothing is known yet.
impl Default for Score {
    fn default() -> Self {
        const UNKNOWN: f64 = f64::NAN;
        Self {
            rate: UNKNOWN,
            cpu_us: UNKNOWN,
            user_us: UNKNOWN,
            bytes_rate: UNKNOWN,
            company: UNKNOWN,
            allocations: UNKNOWN,
            p50_us: UNKNOWN,
        }
    }
}

/// Something that can be run for a round.
pub type Run<'a> = Box<dyn FnMut() -> Outcome<Score> + 'a>;

/// All rounds of a contest: `scores[contestant][round]`.
#[derive(Debug)]
pub struct Contest {
    names: Vec<String>,
    scores: Vec<Vec<Score>>,
}

impl Contest {
    /// Runs `rounds` rounds, in the order of [`turns`].
    ///
    /// # Errors
    /// The first failure of a contestant.
    pub fn hold(rounds: usize, contestants: &mut [(String, Run<'_>)]) -> Outcome<Self> {
        let count = contestants.len();
        let mut scores = vec![Vec::new(); count];
        for round in 0..rounds {
            for place in turns(round, count) {
                scores[place].push(contestants[place].1()?);
            }
        }
        let names = contestants.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self { names, scores })
    }

    /// The median of `figure` over a contestant's rounds.
    #[must_use]
    pub fn median(&self, contestant: usize, figure: fn(&Score) -> f64) -> f64 {
        median(self.scores[contestant].iter().map(figure).collect())
    }

    /// The median over the rounds of `figure` of one contestant divided by that of another.
    #[must_use]
    pub fn ratio(&self, of: usize, to: usize, figure: fn(&Score) -> f64) -> f64 {
        let rounds = self.scores[of].iter().zip(&self.scores[to]);
        median(rounds.map(|(a, b)| figure(a) / figure(b)).collect())
    }

    /// Prints a line a contestant.
    ///
    /// # Errors
    /// What standard output reports.
    pub fn print(&self) -> Outcome<()> {
        let mut out = std::io::stdout();
        for (place, name) in self.names.iter().enumerate() {
            let rate = self.median(place, |score| score.rate);
            let cpu = self.median(place, |score| score.cpu_us);
            let user = self.median(place, |score| score.user_us);
            let bytes = self.median(place, |score| score.bytes_rate) / 1e6;
            let rates: Vec<f64> = self.scores[place].iter().map(|score| score.rate).collect();
            let low = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let high = rates.iter().copied().fold(0.0, f64::max);
            writeln!(
                out,
                "  {name:<22} {rate:>10.0} req/s ({low:.0} to {high:.0})  CPU {} us/req (user {})  {} MB/s",
                known(cpu, 7, 2),
                known(user, 0, 2),
                known(bytes, 8, 1),
            )?;
        }
        Ok(())
    }

    /// Prints one ratio that has nothing to reach.
    ///
    /// # Errors
    /// What standard output reports.
    pub fn print_plain_ratio(
        &self,
        what: &str,
        of: usize,
        to: usize,
        figure: fn(&Score) -> f64,
    ) -> Outcome<()> {
        let ratio = self.ratio(of, to, figure);
        writeln!(std::io::stdout(), "  {what}: {ratio:.3}")?;
        Ok(())
    }

    /// Prints one ratio beside what it is to reach.
    ///
    /// # Errors
    /// What standard output reports.
    pub fn print_ratio(
        &self,
        what: &str,
        of: usize,
        to: usize,
        figure: fn(&Score) -> f64,
        reach: f64,
    ) -> Outcome<()> {
        let ratio = self.ratio(of, to, figure);
        let verdict = if ratio >= reach { "reached" } else { "BEHIND" };
        let mut out = std::io::stdout();
        writeln!(out, "  {what}: {ratio:.3} (to reach {reach:.2}: {verdict})")?;
        Ok(())
    }
}

/// The order of `count` contestants in a round: reversed every other round, so that a drift of the machine favours none.
pub fn turns(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| if round.is_multiple_of(2) { turn } else { count - 1 - turn })
}

/// A figure, or a dash for one that is not known.
fn known(figure: f64, width: usize, digits: usize) -> String {
    match figure.is_finite() {
        true => format!("{figure:>width$.digits$}"),
        false => format!("{:>width$}", "-"),
    }
}

/// The middle value; the mean of the two middle ones of an even number; zero of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (count, middle) if count % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        (_, middle) => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_zero() {
        let run = |score: Score| -> (String, Run<'static>) {
            (String::new(), Box::new(move || Ok(score)))
        };
        let mut contestants = [
            run(Score { rate: 1.0, ..Score::default() }),
            run(Score { rate: 1.0, user_us: 0.0, ..Score::default() }),
        ];
        let contest = Contest::hold(2, &mut contestants).unwrap();
        let user = |place| known(contest.median(place, |score| score.user_us), 0, 2);
        assert_eq!((user(0), user(1)), ("-".to_owned(), "0.00".to_owned()));
        assert_eq!(
            (known(f64::NAN, 3, 1), known(2.0, 5, 1)),
            ("  -".to_owned(), "  2.0".to_owned())
        );
    }

    #[test]
    fn every_other_round_is_reversed() {
        let order = |round| turns(round, 3).collect::<Vec<_>>();
        assert_eq!((order(0), order(1), order(2)), (vec![0, 1, 2], vec![2, 1, 0], vec![0, 1, 2]));
    }
}
