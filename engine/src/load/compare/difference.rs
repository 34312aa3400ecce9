//! How far the percentiles of two sides lie apart, with intervals.

use serde::Serialize;

use super::super::histogram::{COARSE_BUCKETS, Coarse};
use super::super::report::Slot;
use super::super::statistics::{self, PAIRS_MIN, Pairing, Parts};
use super::contestant::Series;

/// How far a time of a time line may be from the truth, as a share of it: its buckets are a sixteenth of an octave wide.
const SLOT_RESOLUTION: f64 = 1.0 / 16.0;

/// The percentiles whose differences are taken, ascending.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// The difference of one percentile of the response time of successful requests, with its 95 % bootstrap interval. Censored requests are in it at the age that they
/// had, so that what one side never answered makes it longer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The percentile: `p50`, `p90`, `p99` or `p99_9`.
    pub metric: String,
    /// The first contestant's, over all its samples, in microseconds.
    pub of_us: f64,
    /// The second contestant's.
    pub to_us: f64,
    /// `of_us` less `to_us`.
    pub difference_us: f64,
    /// Lower end of the interval.
    pub low_us: f64,
    /// Upper end of the interval.
    pub high_us: f64,
    /// Whether `of_us` is a lower bound, because censored requests lie there.
    pub of_is_lower_bound: bool,
    /// Whether `to_us` is.
    pub to_is_lower_bound: bool,
    /// Whether a difference is shown: at least [`PAIRS_MIN`] parts a side, an interval without 0, and the shorter time is no lower bound, which might be longer than
    /// the other.
    pub significant: bool,
}

/// How far the parts of a comparison can be relied on.
pub(super) struct Doubt {
    pairing: Pairing,
    /// The parts of the side that has fewer.
    parts: usize,
    /// By what share of itself a time in a part may be off.
    resolution: f64,
}

impl Doubt {
    /// Of the slots of two time lines.
    pub(super) fn of_slots(parts: usize) -> Self {
        Self { pairing: Pairing::Apart, parts, resolution: SLOT_RESOLUTION }
    }

    pub(super) fn of_rounds(pairs: usize) -> Self {
        Self { pairing: Pairing::Paired, parts: pairs, resolution: 0.0 }
    }
}

pub(super) fn differences(
    of: Series<'_>,
    to: Series<'_>,
    parts: [Parts; 2],
    doubt: &Doubt,
    seed: u64,
) -> Vec<Difference> {
    let quantiles = PERCENTILES.map(|(_, quantile)| quantile);
    let [Some((mine, mine_exact)), Some((theirs, theirs_exact))] = [of, to].map(Series::success)
    else {
        return Vec::new();
    };
    let intervals = statistics::quantile_difference_intervals(
        &parts[0],
        &parts[1],
        &quantiles,
        doubt.pairing,
        seed,
    );
    let difference = |((metric, quantile), interval): (&(&str, f64), statistics::Interval)| {
        let (of_us, to_us) = (mine.quantile_us(*quantile), theirs.quantile_us(*quantile));
        let slack = doubt.resolution * of_us.max(to_us);
        let difference_us = of_us - to_us;
        // The parts lack what came in a run's last slot, which may move the whole's percentile out of what they show.
        let low_us = (interval.low / 1e3 - slack).min(difference_us);
        let high_us = (interval.high / 1e3 + slack).max(difference_us);
        let [of_is_lower_bound, to_is_lower_bound] =
            [mine_exact, theirs_exact].map(|exact_below| *quantile > exact_below);
        let shown = (low_us > 0.0 && !to_is_lower_bound) || (high_us < 0.0 && !of_is_lower_bound);
        Difference {
            metric: (*metric).to_owned(),
            of_us,
            to_us,
            difference_us,
            low_us,
            high_us,
            of_is_lower_bound,
            to_is_lower_bound,
            significant: doubt.parts >= PAIRS_MIN && shown,
        }
    };
    PERCENTILES.iter().zip(intervals).map(difference).collect()
}

/// A time line's slots as parts.
pub(super) fn slot_parts(slots: &[&Slot]) -> Parts {
    Parts::new(&slots.iter().map(|slot| filled(&slot.buckets)).collect::<Vec<_>>())
}

/// The buckets that are not empty, as time in nanoseconds and count.
fn filled(buckets: &Coarse) -> Vec<(u64, u64)> {
    let pair = |bucket: usize| (Coarse::middle_of(bucket), u64::from(buckets.counts()[bucket]));
    (0..COARSE_BUCKETS).map(pair).filter(|(_, count)| *count > 0).collect()
}
