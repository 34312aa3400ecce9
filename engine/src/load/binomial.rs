//! The binomial distribution, summed term by term up to a million million trials: between which ranks
//! a quantile lies, and whether a share is above another. Pure; exact but for rounding.

/// What lies beyond each end of a two-sided 95 % interval, at most.
const TAIL: f64 = 0.025;
/// Terms below this part of the largest: all of them together are less than a rounding error.
const NEGLIGIBLE: f64 = 1e-18;

/// With more trials than this the sums would take seconds, and the normal distribution tells the same
/// ends to a part in a million of their distance.
const SUMMED_TRIALS_MAX: u64 = 1 << 40;
/// 2.5 % of a normal distribution lie further from its mean than so many standard deviations, on each
/// side.
const DEVIATIONS: f64 = 1.959_964;

/// How often an event occurs in so many independent trials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binomial {
    pub(super) trials: u64,
    /// How likely it is in one trial: between 0 and 1.
    pub(super) share: f64,
}

/// A count and how likely it is, as a part of the most likely one.
type Term = (u64, f64);
/// From one term to its neighbour.
type Step = fn(Binomial, Term) -> Option<Term>;

impl Binomial {
    /// The largest count that is, or fewer are, in 2.5 % of cases at most; `None` if even zero is likelier.
    pub(super) fn low(self) -> Option<u64> {
        match self.of_many() {
            Some((mean, distance)) => Some(mean.saturating_sub(distance)),
            None => self.end(Self::fewer),
        }
    }

    /// The smallest count that is, or more are, in 2.5 % of cases at most; `None` if even all trials are likelier.
    pub(super) fn high(self) -> Option<u64> {
        match self.of_many() {
            Some((mean, distance)) => Some(mean.saturating_add(distance).min(self.trials)),
            None => self.end(Self::more),
        }
    }

    /// The mean, and how far the ends lie from it, of more trials than are summed.
    fn of_many(self) -> Option<(u64, u64)> {
        let mean = self.trials as f64 * self.share;
        let distance = DEVIATIONS * (mean * (1.0 - self.share)).sqrt();
        (self.trials > SUMMED_TRIALS_MAX).then_some((mean as u64, distance as u64))
    }

    /// Takes so many steps of the standard deviation's size as matter, whatever the number of trials.
    fn end(self, step: Step) -> Option<u64> {
        let sum = |step: Step| self.terms(step).map(|(_, term)| term).sum::<f64>();
        // The mode is on both sides.
        let all = sum(Self::fewer) + sum(Self::more) - 1.0;
        let mut beyond = sum(step);
        let is_end = |(_, term): &Term| {
            let within = beyond <= TAIL * all;
            beyond -= term;
            within
        };
        self.terms(step).find(is_end).map(|(count, _)| count)
    }

    /// From the mode outwards.
    fn terms(self, step: Step) -> impl Iterator<Item = Term> {
        let mode = ((self.trials as f64 + 1.0) * self.share) as u64;
        let first = (mode.min(self.trials), 1.0);
        std::iter::successors(Some(first), move |term| step(self, *term))
            .take_while(|(_, term)| *term > NEGLIGIBLE)
    }

    fn fewer(self, (count, term): Term) -> Option<Term> {
        let misses = (self.trials - count) as f64 + 1.0;
        let ratio = count as f64 * (1.0 - self.share) / (misses * self.share);
        (count > 0).then(|| (count - 1, term * ratio))
    }

    fn more(self, (count, term): Term) -> Option<Term> {
        let misses = (self.trials - count) as f64;
        let ratio = misses * self.share / ((count + 1) as f64 * (1.0 - self.share));
        (count < self.trials).then(|| (count + 1, term * ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_those_of_the_tables() {
        let check = |trials, share, expected| {
            let drawn = Binomial { trials, share };
            assert_eq!([drawn.low(), drawn.high()], expected, "{drawn:?}");
        };
        check(0, 0.5, [None, None]);
        // 2^-5 is 3.1 %, 2^-6 is 1.6 %.
        check(5, 0.5, [None, None]);
        check(6, 0.5, [Some(0), Some(6)]);
        // P(X <= 39) is 1.76 % and P(X <= 40) 2.84 %.
        check(100, 0.5, [Some(39), Some(61)]);
        check(100, 0.01, [None, Some(4)]);
        // 0.999^1000 is 36.8 %, and 0.999^3688 is 2.5 %.
        check(1_000, 0.999, [Some(996), None]);
        check(3_687, 0.999, [Some(3_678), None]);
        check(3_688, 0.999, [Some(3_679), Some(3_688)]);
    }

    #[test]
    fn large_numbers_lie_1_96_deviations_from_the_mean() {
        for trials in [1_000_000_000, SUMMED_TRIALS_MAX + 2, 1 << 62] {
            let [low, high] = {
                let drawn = Binomial { trials, share: 0.5 };
                [drawn.low().unwrap(), drawn.high().unwrap()]
            };
            let spread = 1.959_964 * (trials as f64 / 4.0).sqrt();
            for distance in [trials / 2 - low, high - trials / 2] {
                assert!((distance as f64 - spread).abs() <= 1.5, "{distance} for {spread}");
            }
        }
    }
}
