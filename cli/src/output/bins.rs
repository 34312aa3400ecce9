//! Times in bins of equal ratio, for drawing. Pure.

use std::collections::BTreeMap;

use ringshot::load::Histogram;

/// Bins a decade, the finest first.
const STEPS: [f64; 7] = [40.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5];

/// The times above one bound, up to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bin {
    /// Its lower bound in microseconds, outside it.
    pub(crate) above_us: f64,
    /// Its upper bound in microseconds, inside it.
    pub(crate) up_to_us: f64,
    /// Times in it.
    pub(crate) count: u64,
}

/// All bins from the first to the last that holds something, of the finest ratio that needs no more than `most`; none of an empty histogram.
pub(crate) fn bins(times: &Histogram, most: usize) -> Vec<Bin> {
    let candidates = STEPS.iter().map(|steps| spaced(times, *steps));
    candidates.into_iter().find(|bins| bins.len() <= most).unwrap_or_default()
}

fn spaced(times: &Histogram, steps: f64) -> Vec<Bin> {
    let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
    for (nanos, count) in times.buckets() {
        let micros = (nanos.max(1) as f64) / 1e3;
        *counts.entry((micros.log10() * steps).ceil() as i32).or_default() += count;
    }
    let Some((first, last)) = counts.keys().next().zip(counts.keys().next_back()) else {
        return Vec::new();
    };
    let bound = |place: i32| 10_f64.powf(f64::from(place) / steps);
    let bin = |place: i32| Bin {
        above_us: bound(place - 1),
        up_to_us: bound(place),
        count: counts.get(&place).copied().unwrap_or(0),
    };
    (*first..=*last).map(bin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let mut times = Histogram::new();
        micros.into_iter().for_each(|micros| times.record(micros * 1_000));
        times
    }

    #[test]
    fn every_time_is_in_one_bin_and_bins_meet() {
        let times = times((1..60_000).step_by(7));
        for most in [12, 24, 60] {
            let bins = bins(&times, most);
            assert!(bins.len() > most / 3 && bins.len() <= most, "{most}: {}", bins.len());
            assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), times.len());
            assert!(bins.windows(2).all(|pair| pair[0].up_to_us == pair[1].above_us));
        }
    }

    #[test]
    fn gaps_are_bins_too_and_nothing_has_none() {
        let bins = bins(&times([90, 9_000]), 4);
        assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [1, 0, 1]);
        assert!((bins[0].up_to_us - 100.0).abs() < 1e-6);
        assert_eq!(super::bins(&Histogram::new(), 5), []);
    }

    #[test]
    fn the_widest_spread_fits_the_narrowest_drawing() {
        let mut all = Histogram::new();
        [0, 1, u64::MAX].into_iter().for_each(|nanos| all.record(nanos));
        assert_eq!(bins(&all, 12).iter().map(|bin| bin.count).sum::<u64>(), 3);
    }
}
