//! A histogram's values at quantiles that lie closer together the closer they come to the whole. Pure.

use ringshot::load::Histogram;

/// A quantile and what is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// From 0 to 1.
    pub(super) quantile: f64,
    /// In nanoseconds.
    pub(super) nanos: u64,
    /// Times up to this value.
    pub(super) seen: u64,
}

/// So many steps for each halving of what is left above, up to the whole; none of an empty histogram.
pub(super) fn steps(times: &Histogram, ticks: u32) -> Vec<Step> {
    let hdr = times.as_hdr();
    let mut steps: Vec<Step> = Vec::new();
    let mut seen = 0_u64;
    for found in hdr.iter_quantiles(ticks) {
        seen = seen.saturating_add(found.count_since_last_iteration());
        let quantile = found.quantile_iterated_to();
        // With more times than a quantile has digits for, the iterator stands still where the next step
        // is no other number.
        if quantile >= 1.0 || steps.last().is_some_and(|last| quantile <= last.quantile) {
            break;
        }
        steps.push(Step { quantile, nanos: found.value_iterated_to(), seen });
    }
    let whole = Step { quantile: 1.0, nanos: hdr.max(), seen: times.len() };
    steps.extend((!times.is_empty()).then_some(whole));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_at_the_whole_however_many_times_there_are() {
        for count in [1, 1_000, 1_000_000_000_000_000, 1 << 62] {
            let mut times = Histogram::new();
            times.record_many(1_000_000, count);
            for millis in 2..20 {
                times.record_many(millis * 1_000_000, 1);
            }
            for ticks in [1, 5, 12] {
                let steps = steps(&times, ticks);
                let last = steps.last().unwrap();
                assert_eq!((last.quantile, last.seen), (1.0, times.len()), "{count}");
                assert_eq!(last.nanos, times.as_hdr().max(), "{count}");
                assert!(steps.len() < 800, "{count}: {}", steps.len());
                assert!(steps.windows(2).all(|it| it[0].quantile < it[1].quantile), "{count}");
            }
        }
        assert_eq!(steps(&Histogram::new(), 5), []);
    }
}
