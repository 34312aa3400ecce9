//! Order statistics and the bootstrap over small samples. Pure: no clock and no entropy, the seed is an argument.
//!
//! The interval of a ratio is the percentile bootstrap of Efron & Tibshirani, *An Introduction to the
//! Bootstrap* (1993), chapter 13: draw as many pairs as there are, with replacement, take the median
//! of their ratios, do so [`RESAMPLES`] times, and cut 2.5 % off either end of the sorted medians.
//! Pairs are resampled, not the two sides apart: the two runs of a round are neighbours in time, so
//! whatever slows the machine for a while slows both and leaves their ratio alone.

use crate::random::Random;

/// Resamples drawn for one interval.
pub const RESAMPLES: usize = 10_000;

/// Fewest pairs from which an interval says anything. By chance all 5 lie on one side of the true
/// median in 1 of 16 cases, so that lowest to highest covers it in 94 %; 4 pairs reach 88 % at most.
pub const PAIRS_MIN: usize = 5;

/// The share that is cut off at each end of an interval, of 40: 1 in 40 is 2.5 %.
const TAIL_OF: usize = 40;

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies in the interval, its ends included.
    #[must_use]
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Where a sample's quarters lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quartiles {
    /// The smallest value.
    pub min: f64,
    /// A quarter of the sample is at or below this.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// Three quarters of the sample are at or below this.
    pub high: f64,
    /// The largest value.
    pub max: f64,
}

/// The median: the middle value, or the mean of the middle two. `None` if `values` is empty.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// Smallest, quartiles and largest. `None` if `values` is empty.
#[must_use]
pub fn quartiles(values: &[f64]) -> Option<Quartiles> {
    let sorted = sorted(values);
    let at = |share| quantile(&sorted, share);
    Some(Quartiles {
        min: at(0.0)?,
        low: at(0.25)?,
        median: at(0.5)?,
        high: at(0.75)?,
        max: at(1.0)?,
    })
}

/// `of[i] / to[i]` of every pair whose ratio is a finite number.
#[must_use]
pub fn paired_ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).filter(|ratio| ratio.is_finite()).collect()
}

/// The 95 % interval of the median of `values`, by percentile bootstrap. `None` if `values` is empty.
///
/// The same values and seed give the same interval. With fewer than [`PAIRS_MIN`] values the
/// result is too narrow to mean 95 %.
#[must_use]
pub fn median_interval(values: &[f64], seed: u64) -> Option<Interval> {
    let mut random = Random::new(seed);
    let mut drawn = vec![0.0; values.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.fill_with(|| values[random.below(values.len() as u64) as usize]);
        medians.push(median(&drawn)?);
    }
    medians.sort_unstable_by(f64::total_cmp);
    let cut = medians.len() / TAIL_OF;
    Some(Interval { low: *medians.get(cut)?, high: *medians.get(medians.len() - 1 - cut)? })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Linear between the two nearest values (Hyndman & Fan's type 7, the default of R and NumPy).
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position in a sample of rounds, far below 2^52"
)]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * sorted.len().checked_sub(1)? as f64;
    let below = sorted.get(position.floor() as usize)?;
    let above = sorted.get(position.ceil() as usize)?;
    Some(below + (above - below) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_the_mean_of_the_middle_two() {
        let check = |values: &[f64], expected| assert_eq!(median(values), expected, "{values:?}");
        check(&[], None);
        check(&[3.0], Some(3.0));
        check(&[9.0, 1.0], Some(5.0));
        check(&[9.0, 1.0, 2.0], Some(2.0));
        check(&[4.0, 1.0, 3.0, 2.0], Some(2.5));
    }

    #[test]
    fn quartiles_are_of_type_7() {
        let q = quartiles(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(q, Quartiles { min: 1.0, low: 1.75, median: 2.5, high: 3.25, max: 4.0 });
        assert_eq!(quartiles(&[]), None);
        let one = quartiles(&[7.0]).unwrap();
        assert_eq!((one.min, one.low, one.max), (7.0, 7.0, 7.0));
    }

    #[test]
    fn ratios_pair_by_round_and_drop_what_is_no_number() {
        assert_eq!(paired_ratios(&[2.0, 9.0, 1.0], &[1.0, 3.0, 0.0]), [2.0, 3.0]);
        assert_eq!(paired_ratios(&[0.0, 1.0], &[0.0, 2.0]), [0.5]);
        assert_eq!(paired_ratios(&[1.0, 2.0], &[1.0]), [1.0]);
    }

    #[test]
    fn the_interval_is_repeatable_and_holds_the_median() {
        let values = [1.21, 1.25, 1.19, 1.24, 1.22, 1.30, 1.23];
        let interval = median_interval(&values, 42).unwrap();
        assert_eq!(median_interval(&values, 42), Some(interval));
        assert!(interval.contains(median(&values).unwrap()), "{interval:?}");
        assert!(!interval.contains(1.0));
        assert!(interval.low >= 1.19 && interval.high <= 1.30, "{interval:?}");
    }

    #[test]
    fn five_pairs_give_lowest_to_highest() {
        // The median of 5 draws is the lowest value in 5.8 % of resamples, more than the 2.5 % cut.
        let interval = median_interval(&[5.0, 1.0, 4.0, 2.0, 3.0], 7).unwrap();
        assert_eq!(interval, Interval { low: 1.0, high: 5.0 });
    }

    #[test]
    fn edges_of_the_interval() {
        assert_eq!(median_interval(&[], 1), None);
        assert_eq!(median_interval(&[2.0], 1), Some(Interval { low: 2.0, high: 2.0 }));
        assert!(Interval { low: 1.0, high: 2.0 }.contains(1.0));
    }

    #[test]
    fn the_interval_covers_the_true_median_about_as_often_as_it_says() {
        let mut random = Random::new(99);
        let trials = 200;
        let covered = (0..trials).filter(|&trial| {
            let sample: Vec<f64> =
                (0..9).map(|_| (random.number() >> 11) as f64 / (1_u64 << 53) as f64).collect();
            median_interval(&sample, trial).unwrap().contains(0.5)
        });
        let share = covered.count() as f64 / trials as f64;
        assert!((0.88..=1.0).contains(&share), "covered {share}");
    }
}
