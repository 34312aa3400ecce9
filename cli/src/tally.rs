//! The response times of a run's successes, added up from the snapshots of its watchers: whole counts, which can't wrap as those of a snapshot may.

use ringshot::load::{COARSE_BUCKETS, Coarse};

/// Counts by bucket of [`Coarse`]; good to 3 %.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    counts: Box<[u64; COARSE_BUCKETS]>,
    before: Coarse,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: Box::new([0; COARSE_BUCKETS]), before: Coarse::default() }
    }
}

impl Tally {
    /// Takes in what came since the snapshot before this one.
    pub(crate) fn follow(&mut self, now: &Coarse) {
        let since = now.since(&self.before);
        for (total, new) in self.counts.iter_mut().zip(since.counts()) {
            *total += u64::from(*new);
        }
        self.before = now.clone();
    }

    pub(crate) fn counts(&self) -> &[u64; COARSE_BUCKETS] {
        &self.counts
    }

    pub(crate) fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The quantile (0 to 1) in microseconds; `None` when empty.
    pub(crate) fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let rank = ((self.len() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Coarse::middle_of(bucket) as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_on_where_a_snapshot_wraps() {
        let (bucket, mut tally) = (Coarse::bucket_of(1_000_000), Tally::default());
        let mut now = Coarse::default();
        now.add(bucket, u32::MAX);
        tally.follow(&now);
        now.add(bucket, 3);
        tally.follow(&now);
        assert_eq!(tally.len(), u64::from(u32::MAX) + 3);
        let median = tally.quantile_us(0.5).unwrap_or_default();
        assert!((median / 1_000.0 - 1.0).abs() < 0.04, "{median}");
        assert_eq!(Tally::default().quantile_us(0.99), None);
    }
}
