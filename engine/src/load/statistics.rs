//! Order statistics and the bootstrap over small samples. Pure: no clock and no entropy, the seed is an argument.
//!
//! The interval of a ratio is the percentile bootstrap of Efron & Tibshirani, *An Introduction to the
//! Bootstrap* (1993), chapter 13: draw as many pairs as there are, with replacement, take the median
//! of their ratios, do so [`RESAMPLES`] times, and cut 2.5 % off either end of the sorted medians,
//! or less of few pairs, whose resamples lie closer together than their truth: the expanded interval
//! of Hesterberg, *What Teachers Should Know About the Bootstrap* (2015), section 5.3.
//! Pairs are resampled, not the two sides apart: the two runs of a round are neighbours in time, so
//! whatever slows the machine for a while slows both and leaves their ratio alone.

use crate::random::Random;

/// Resamples drawn for one interval.
pub const RESAMPLES: usize = 10_000;

/// Fewest pairs from which an interval says anything. By chance all 5 lie on one side of the true
/// median in 1 of 16 cases, so that lowest to highest covers it in 94 %; 4 pairs reach 88 % at most.
pub const PAIRS_MIN: usize = 5;

/// Resamples drawn for the interval of a percentile, each of which merges histograms: enough for 50 in each tail.
pub const PERCENTILE_RESAMPLES: usize = 2_000;

/// The standard normal quantile that leaves 2.5 % above it.
const NORMAL_QUANTILE: f64 = 1.959_964;

/// A closed interval.
///
/// ```
/// use ringshot::load::statistics::{mean_ratio_interval, median, median_interval, paired_ratios, quartiles};
///
/// let (of, to) = ([1010.0, 990.0, 1000.0, 1005.0, 995.0], [800.0, 790.0, 810.0, 805.0, 795.0]);
/// let ratios = paired_ratios(&of, &to);
/// let interval = median_interval(&ratios, 1).expect("there are ratios");
/// assert!(interval.contains(median(&ratios).expect("likewise")) && !interval.contains(1.0));
/// let apart = mean_ratio_interval(&of, &to, 1).expect("no side is empty");
/// assert!(apart.contains(1.25));
/// assert_eq!(quartiles(&of).map(|quarters| quarters.median), Some(1000.0));
/// ```
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
    middle(medians, values.len())
}

/// The 95 % interval of `mean(of) / mean(to)` of two samples that are not paired, each drawn on its own. `None` if one of them is empty or `to` can be zero.
#[must_use]
pub fn mean_ratio_interval(of: &[f64], to: &[f64], seed: u64) -> Option<Interval> {
    let mut random = Random::new(seed);
    let mut mean = |values: &[f64]| {
        let drawn = (0..values.len()).map(|_| values[random.below(values.len() as u64) as usize]);
        drawn.sum::<f64>() / values.len() as f64
    };
    let ratios: Vec<f64> = (0..RESAMPLES).map(|_| mean(of) / mean(to)).collect();
    ratios
        .iter()
        .all(|ratio| ratio.is_finite())
        .then(|| middle(ratios, of.len().min(to.len())))
        .flatten()
}

/// Without the tails at either end, of resamples of so many parts.
fn middle(mut drawn: Vec<f64>, parts: usize) -> Option<Interval> {
    drawn.sort_unstable_by(f64::total_cmp);
    let cut = (drawn.len() as f64 * tail(parts)) as usize;
    Some(Interval { low: *drawn.get(cut)?, high: *drawn.get(drawn.len().checked_sub(1 + cut)?)? })
}

/// The share of resamples that is cut off at each end: as much of a normal distribution as lies beyond Student's quantile, and beyond what a resample's spread is short
/// of. 2.5 % for many parts, 0.1 % for five.
fn tail(parts: usize) -> f64 {
    let count = parts.max(2) as f64;
    let (z, freedom) = (NORMAL_QUANTILE, count - 1.0);
    // Student's quantile by Fisher's expansion (Abramowitz & Stegun 26.7.5), the upper tail by Laplace's continued fraction (26.2.14).
    let student = z
        + (z.powi(3) + z) / (4.0 * freedom)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom * freedom);
    let beyond = student * (count / freedom).sqrt();
    let fraction = (1..=20).rev().fold(beyond, |sum, step| beyond + f64::from(step) / sum);
    (-beyond * beyond / 2.0).exp() / (std::f64::consts::TAU.sqrt() * fraction)
}

/// Whether the parts of two sides are drawn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// The parts of the same place belong together: what slows one slows the other.
    Paired,
    /// Each side is drawn on its own.
    Apart,
}

/// Parts of a sample, such as the rounds of a comparison: how often each value occurred in each of them.
///
/// ```
/// use ringshot::load::statistics::{Pairing, Parts, quantile_difference_intervals};
///
/// // Five rounds a side, each with a hundred values; the first side's are 300 more.
/// let rounds = |more: u64| {
///     let round = |round: u64| (0..100).map(|value| (1_000 + round + value + more, 1)).collect();
///     Parts::new(&[0, 1, 2, 3, 4].map(round))
/// };
/// let (of, to) = (rounds(300), rounds(0));
/// let found = quantile_difference_intervals(&of, &to, &[0.5, 0.99], Pairing::Paired, 1);
/// assert!(found.iter().all(|interval| interval.contains(300.0)));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// All values that occurred, in order.
    values: Vec<f64>,
    /// For each part, the count of each value.
    counts: Vec<Vec<f64>>,
}

impl Parts {
    /// Parts from their pairs of value and count.
    #[must_use]
    pub fn new(parts: &[Vec<(u64, u64)>]) -> Self {
        let mut known: Vec<u64> = parts.iter().flatten().map(|(value, _)| *value).collect();
        known.sort_unstable();
        known.dedup();
        let row = |part: &Vec<(u64, u64)>| {
            let mut row = vec![0.0; known.len()];
            for (value, count) in part {
                if let Ok(place) = known.binary_search(value) {
                    row[place] += *count as f64;
                }
            }
            row
        };
        let counts = parts.iter().map(row).collect();
        Self { values: known.iter().map(|value| *value as f64).collect(), counts }
    }

    /// The values at these quantiles (0 to 1, ascending), of all parts merged, each as often as its weight says.
    fn quantiles(&self, weights: &[u32], quantiles: &[f64]) -> Vec<f64> {
        let mut merged = vec![0.0; self.values.len()];
        for (row, weight) in self.counts.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
            let weight = f64::from(*weight);
            merged.iter_mut().zip(row).for_each(|(sum, count)| *sum += weight * count);
        }
        let total: f64 = merged.iter().sum();
        let (mut seen, mut found) = (0.0, Vec::with_capacity(quantiles.len()));
        for (value, count) in self.values.iter().zip(&merged) {
            seen += count;
            while quantiles.get(found.len()).is_some_and(|share| seen >= share * total) {
                found.push(*value);
            }
        }
        found.resize(quantiles.len(), self.values.last().copied().unwrap_or(0.0));
        found
    }

    fn draw(&self, random: &mut Random) -> Vec<u32> {
        let parts = self.counts.len();
        let mut weights = vec![0; parts];
        (0..parts).for_each(|_| weights[random.below(parts as u64) as usize] += 1);
        weights
    }
}

/// The 95 % intervals of the differences `of - to` at these quantiles (0 to 1, ascending), by percentile bootstrap over the parts: in each resample the histograms of the
/// parts that were drawn are merged, never their percentiles averaged. Empty if a side has no parts.
#[must_use]
pub fn quantile_difference_intervals(
    of: &Parts,
    to: &Parts,
    quantiles: &[f64],
    pairing: Pairing,
    seed: u64,
) -> Vec<Interval> {
    if of.counts.is_empty() || to.counts.is_empty() {
        return Vec::new();
    }
    let mut random = Random::new(seed);
    let mut differences = vec![Vec::with_capacity(PERCENTILE_RESAMPLES); quantiles.len()];
    for _ in 0..PERCENTILE_RESAMPLES {
        let mine = of.draw(&mut random);
        let theirs = match pairing {
            Pairing::Paired => mine.clone(),
            Pairing::Apart => to.draw(&mut random),
        };
        let (mine, theirs) = (of.quantiles(&mine, quantiles), to.quantiles(&theirs, quantiles));
        for (all, (mine, theirs)) in differences.iter_mut().zip(mine.iter().zip(&theirs)) {
            all.push(mine - theirs);
        }
    }
    let parts = of.counts.len().min(to.counts.len());
    differences.into_iter().filter_map(|drawn| middle(drawn, parts)).collect()
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
    fn quantiles_are_of_the_merged_parts() {
        let parts = Parts::new(&[vec![(10, 9), (50, 1)], vec![(20, 10)]]);
        let at = |weights: &[u32]| parts.quantiles(weights, &[0.5, 0.9, 1.0]);
        assert_eq!(at(&[1, 0]), [10.0, 10.0, 50.0]);
        assert_eq!(at(&[0, 2]), [20.0, 20.0, 20.0]);
        assert_eq!(at(&[1, 1]), [20.0, 20.0, 50.0]);
        assert_eq!(Parts::new(&[]).quantiles(&[], &[0.5]), [0.0]);
    }

    #[test]
    fn a_shift_of_all_parts_is_found_at_every_quantile() {
        let part = |shift: u64| (0..100_u64).map(|value| (1_000 + value + shift, 1)).collect();
        let rounds = |shift| Parts::new(&[0, 5, 10, 15, 20].map(|drift: u64| part(shift + drift)));
        let (slow, fast) = (rounds(300), rounds(0));
        let shares = [0.5, 0.99];
        for pairing in [Pairing::Paired, Pairing::Apart] {
            let found = quantile_difference_intervals(&slow, &fast, &shares, pairing, 3);
            assert_eq!(found.len(), 2);
            assert!(found.iter().all(|it| it.contains(300.0) && it.low > 250.0), "{found:?}");
        }
        // What slows both sides of a round leaves no doubt of their difference.
        let paired = quantile_difference_intervals(&slow, &fast, &shares, Pairing::Paired, 3);
        assert_eq!(paired[0], Interval { low: 300.0, high: 300.0 });
        let none =
            quantile_difference_intervals(&slow, &Parts::new(&[]), &shares, Pairing::Apart, 3);
        assert!(none.is_empty());
    }

    #[test]
    fn the_ratio_of_means_needs_no_pairs() {
        let found = mean_ratio_interval(&[20.0, 21.0, 19.0], &[10.0, 10.0], 1).unwrap();
        assert!(found.contains(2.0) && found.low >= 1.9 && found.high <= 2.1, "{found:?}");
        assert_eq!(mean_ratio_interval(&[1.0], &[0.0], 1), None);
        assert_eq!(mean_ratio_interval(&[], &[1.0], 1), None);
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
        assert!((0.93..=1.0).contains(&share), "covered {share}");
    }

    #[test]
    fn few_parts_have_less_cut_off() {
        let check = |parts: usize, expected: f64| {
            let found = tail(parts);
            assert!((found / expected - 1.0).abs() < 0.2, "{parts}: {found}");
        };
        // By the tables: t(4) is 2.776, t(6) 2.447, t(19) 2.093.
        check(5, 0.000_95);
        check(7, 0.004_1);
        check(20, 0.015_9);
        check(1_000_000, 0.025);
    }

    /// Two sides alike are told apart no more often than one in twenty times, or little more.
    #[test]
    fn what_is_alike_is_seldom_told_apart() {
        let mut random = Random::new(5);
        let rounds = |random: &mut Random| {
            let part = |random: &mut Random| {
                // What is slow for a whole round, as on a shared machine, and values above it.
                let base = 1_000 + random.below(300);
                (0..200).map(|_| (base + random.below(500), 1)).collect()
            };
            Parts::new(&[(); 7].map(|()| part(random)))
        };
        let trials = 100;
        let apart = (0..trials).filter(|&trial| {
            let (of, to) = (rounds(&mut random), rounds(&mut random));
            let found = quantile_difference_intervals(&of, &to, &[0.5], Pairing::Paired, trial);
            !found[0].contains(0.0)
        });
        let share = apart.count() as f64 / trials as f64;
        assert!(share < 0.1, "told apart {share}");
    }
}
