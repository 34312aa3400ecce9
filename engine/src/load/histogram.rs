//! Histograms of times: exact to three digits for results, coarse for time lines and live views. No clock, and no allocation while recording but for the first time.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use hdrhistogram::Histogram as Hdr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::binomial::Binomial;
use super::packed::{Packed, begun, bytes_of};
use super::report::Latency;

/// The longest time that is told apart: longer ones are recorded as this and counted as saturated.
pub const LATENCY_MAX: Duration = Duration::from_secs(3_600);
const LATENCY_MAX_NANOS: u64 = 3_600_000_000_000;
/// Decimal digits that a recorded value keeps (HdrHistogram).
const DIGITS: u8 = 3;

/// Times in nanoseconds, each kept to three digits from 1 us to [`LATENCY_MAX`]. Takes about 260 KiB from the first one on, whatever is recorded.
///
/// Serialised as HdrHistogram's V2 format, compressed, in Base64: what other tools of that family read. One that was deserialised takes no more than that until it is
/// looked into or added to.
///
/// ```
/// use ringshot::load::Histogram;
///
/// let (mut times, mut others) = (Histogram::new(), Histogram::new());
/// times.record(1_500_000);
/// times.record_many(2_000_000, 98);
/// others.record(9_000_000);
/// times.add(&others);
/// assert_eq!((times.len(), times.is_empty()), (100, false));
/// assert!((times.quantile_us(0.5) - 2_000.0).abs() < 5.0); // three digits
/// let [low, high] = times.interval_us(0.5);
/// assert!(low <= high && times.latency().samples == 100);
/// assert_eq!(times.buckets().map(|(_, count)| count).sum::<u64>(), times.as_hdr().len());
/// assert_eq!(Histogram::from_base64(&times.to_base64())?, times);
/// assert!(Histogram::shortest_alike(2_000_000) <= 2_000_000);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    values: Option<Box<Hdr<u64>>>,
    /// What was read, until something is added to it. Never beside `values`.
    packed: Option<Box<Packed>>,
    saturated: u64,
    /// The lowest bucket that saturated ones are in, by its highest time in nanoseconds: from there on times are lower bounds.
    pub(super) saturated_from: Option<u64>,
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        let alike = match (&self.packed, &other.packed) {
            (Some(mine), Some(theirs)) => mine.is_same(theirs),
            _ => false,
        };
        self.saturated == other.saturated && (alike || self.held() == other.held())
    }
}

/// One without times. From 1 ns, so that three digits hold at 1 us too.
pub(super) fn empty() -> Hdr<u64> {
    let Ok(values) = Hdr::new_with_bounds(1, LATENCY_MAX_NANOS, DIGITS) else {
        unreachable!("the bounds are constants that the histogram accepts: a test makes one")
    };
    values
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[inline]
    fn values_mut(&mut self) -> &mut Hdr<u64> {
        self.values.get_or_insert_with(|| begun(&mut self.packed))
    }

    /// What it holds, to be looked at once; `None` if that is nothing.
    fn held(&self) -> Option<Cow<'_, Hdr<u64>>> {
        match (&self.values, &self.packed) {
            _ if self.is_empty() => None,
            (Some(values), _) => Some(Cow::Borrowed(values)),
            (None, packed) => packed.as_ref().map(|packed| Cow::Owned(*packed.to_hdr())),
        }
    }

    /// Keeps what it holds as it is saved: little, and slow to look into.
    pub(super) fn pack(&mut self) {
        if let Some(values) = self.values.take_if(|values| !values.is_empty()) {
            self.packed = Some(Box::new(Packed::of(&values)));
        }
        self.packed.iter_mut().for_each(|packed| packed.fold());
    }

    /// Records one time.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        if nanos > LATENCY_MAX_NANOS {
            self.saturate(1);
        }
        self.values_mut().saturating_record(nanos.min(LATENCY_MAX_NANOS));
    }

    /// Records the same time so often.
    pub fn record_many(&mut self, nanos: u64, count: u64) {
        if nanos > LATENCY_MAX_NANOS {
            self.saturate(count);
        }
        self.values_mut().saturating_record_n(nanos.min(LATENCY_MAX_NANOS), count);
    }

    #[cold]
    fn saturate(&mut self, count: u64) {
        self.saturated = self.saturated.saturating_add(count);
        let longest = self.values_mut().highest_equivalent(LATENCY_MAX_NANOS);
        self.saturated_from.get_or_insert(longest);
    }

    /// The shortest time that is recorded as this one is, in nanoseconds.
    #[must_use]
    pub fn shortest_alike(nanos: u64) -> u64 {
        match nanos {
            LATENCY_MAX_NANOS.. => LATENCY_MAX_NANOS + u64::from(nanos > LATENCY_MAX_NANOS),
            _ => Self::new().as_hdr().lowest_equivalent(nanos),
        }
    }

    /// Adds all that another one holds: exact, as all have the same buckets.
    pub fn add(&mut self, other: &Self) {
        let Some(theirs) = other.held() else { return };
        let added = self.values_mut().add(&*theirs);
        debug_assert!(added.is_ok(), "histograms of one shape");
        self.saturated = self.saturated.saturating_add(other.saturated);
        let both = [self.saturated_from, other.saturated_from];
        self.saturated_from = both.into_iter().flatten().min();
    }

    /// Times recorded.
    #[must_use]
    pub fn len(&self) -> u64 {
        let packed = self.packed.as_ref().map_or(0, |packed| packed.len());
        self.values.as_ref().map_or(packed, |values| values.len())
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time in microseconds that a share of `quantile` (0 to 1) of all times does not exceed; zero when empty.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        micros(self.as_hdr().value_at_quantile(quantile))
    }

    /// A 95 % interval of the quantile (between 0 and 1) in microseconds, that supposes nothing of the distribution: the order statistics beyond which the
    /// quantile lies in 2.5 % of cases at most, each, by the binomial distribution (Hahn & Meeker, Statistical Intervals, 5.2). Where there are too few samples
    /// for an end, the lower is zero and the upper infinite: 3,688 are needed for an upper end at 0.999. Both zero when empty.
    #[must_use]
    pub fn interval_us(&self, quantile: f64) -> [f64; 2] {
        if self.is_empty() {
            return [0.0; 2];
        }
        let below = Binomial { trials: self.len(), share: quantile };
        // Half a rank less is rounded up to it, however the quotient is rounded.
        let at = |rank: u64| self.quantile_us((rank as f64 - 0.5) / self.len() as f64);
        let low = below.low().map_or(0.0, |count| at(count + 1));
        [low, below.high().map_or(f64::INFINITY, at)]
    }

    /// The figures that reports show.
    #[must_use]
    pub fn latency(&self) -> Latency {
        if self.is_empty() {
            return Latency::default();
        }
        let values = self.as_hdr();
        let beyond = |share: f64| (self.len() as f64 * share).floor() as u64;
        Latency {
            mean: values.mean() / 1e3,
            min: micros(values.min()),
            p50: self.quantile_us(0.5),
            p75: self.quantile_us(0.75),
            p90: self.quantile_us(0.9),
            p95: self.quantile_us(0.95),
            p99: self.quantile_us(0.99),
            p99_9: self.quantile_us(0.999),
            p99_99: self.quantile_us(0.9999),
            p99_999: self.quantile_us(0.99999),
            max: micros(values.max()),
            stdev: values.stdev() / 1e3,
            samples: self.len(),
            saturated: self.saturated,
            p50_interval: self.interval_us(0.5),
            p99_interval: self.interval_us(0.99),
            p99_9_interval: self.interval_us(0.999),
            p99_99_interval: self.interval_us(0.9999),
            p99_999_interval: self.interval_us(0.99999),
            p99_9_samples: beyond(0.001),
            p99_99_samples: beyond(0.0001),
            p99_999_samples: beyond(0.00001),
        }
    }

    /// The non-empty buckets from the smallest: highest time of the bucket in nanoseconds, and how many fell into it.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.as_hdr()
            .iter_recorded()
            .map(|at| (at.value_iterated_to(), at.count_since_last_iteration()))
    }

    /// The histogram of HdrHistogram's own crate, in nanoseconds: for its logs and other formats.
    #[must_use]
    pub fn as_hdr(&self) -> &Hdr<u64> {
        static EMPTY: LazyLock<Hdr<u64>> = LazyLock::new(empty);
        let packed = || self.packed.as_ref().map(|packed| packed.as_hdr());
        self.values.as_deref().or_else(packed).unwrap_or_else(|| &EMPTY)
    }

    /// One that was saved, with so many times that were too long.
    pub(super) fn saved(packed: Option<Packed>, saturated: u64) -> Self {
        let read = Self { packed: packed.map(Box::new), ..Self::default() };
        // Those are the longest: an hour, or what it was where they were saved.
        let saturated_from = (saturated > 0).then(|| read.as_hdr().max());
        Self { saturated, saturated_from, ..read }
    }

    /// Times that were too long to be told apart.
    pub(super) fn saturated(&self) -> u64 {
        self.saturated
    }

    /// V2, compressed, in Base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        let bytes = match (&self.values, &self.packed) {
            (None, Some(packed)) => Cow::Borrowed(packed.bytes()),
            _ => Cow::Owned(bytes_of(self.as_hdr())),
        };
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
    }

    /// Reads what [`Histogram::to_base64`] wrote, or another tool whose histogram holds nanoseconds up to [`LATENCY_MAX`].
    ///
    /// # Errors
    /// In words: not Base64, not such a histogram, or with values above [`LATENCY_MAX`].
    pub fn from_base64(text: &str) -> Result<Self, String> {
        let values = Packed::read(text)?.map(|packed| packed.to_hdr());
        Ok(Self { values, ..Self::default() })
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// Buckets of a [`Coarse`] histogram.
pub const COARSE_BUCKETS: usize = 32 * SHARES;
/// Buckets an octave.
const SHARES: usize = 16;
/// Times up to 2^10 ns fall into the first octave.
const FIRST_OCTAVE: u32 = 10;

/// Times in sixteen buckets an octave, from 1 us to 73 minutes: good to 3 %, 2 KiB, cheap to copy and to subtract.
///
/// ```
/// use ringshot::load::Coarse;
///
/// let mut times = Coarse::default();
/// assert!(times.is_empty());
/// times.record(1_000_000);
/// let earlier = times.clone();
/// let bucket = Coarse::bucket_of(2_000_000);
/// times.add(bucket, 3);
/// assert_eq!((times.len(), times.since(&earlier).len(), times.counts()[bucket]), (4, 3, 3));
/// assert!(Coarse::middle_of(bucket).abs_diff(2_000_000) < 70_000);
/// assert!((times.quantile_us(0.9) - 2_000.0).abs() < 70.0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coarse {
    counts: Box<[u32; COARSE_BUCKETS]>,
}

impl Default for Coarse {
    fn default() -> Self {
        Self { counts: Box::new([0; COARSE_BUCKETS]) }
    }
}

impl Coarse {
    /// The bucket of a time in nanoseconds.
    #[inline]
    #[must_use]
    pub fn bucket_of(nanos: u64) -> usize {
        let nanos = nanos.max(1 << FIRST_OCTAVE);
        let octave = nanos.ilog2();
        let share = (nanos >> (octave - 4)) as usize & (SHARES - 1);
        (((octave - FIRST_OCTAVE) as usize) * SHARES + share).min(COARSE_BUCKETS - 1)
    }

    /// The middle of a bucket in nanoseconds.
    #[must_use]
    pub fn middle_of(bucket: usize) -> u64 {
        let (octave, share) = (bucket / SHARES, bucket % SHARES);
        let width = 1_u64 << (octave + FIRST_OCTAVE as usize - 4);
        (SHARES + share) as u64 * width + width / 2
    }

    /// Counts one time.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        if let Some(count) = self.counts.get_mut(Self::bucket_of(nanos)) {
            *count = count.wrapping_add(1);
        }
    }

    /// Adds `count` times to a bucket.
    pub fn add(&mut self, bucket: usize, count: u32) {
        if let Some(place) = self.counts.get_mut(bucket) {
            *place = place.wrapping_add(count);
        }
    }

    /// Adds all that another one holds.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine = mine.wrapping_add(*theirs);
        }
    }

    /// What came since `earlier`, an older copy of this.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (mine, theirs) in difference.counts.iter_mut().zip(earlier.counts.iter()) {
            *mine = mine.wrapping_sub(*theirs);
        }
        difference
    }

    /// All counts, by bucket.
    #[must_use]
    pub fn counts(&self) -> &[u32; COARSE_BUCKETS] {
        &self.counts
    }

    /// Times counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// The quantile (0 to 1) in microseconds, good to 3 %; zero when empty.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        let rank = ((self.len() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Self::middle_of(bucket) as f64 / 1e3;
            }
        }
        0.0
    }
}

/// Serialised as pairs of bucket and count, one after the other, of the buckets that are not empty.
impl Serialize for Coarse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        serializer.collect_seq(filled.flat_map(|(bucket, count)| [bucket as u32, *count]))
    }
}

impl<'de> Deserialize<'de> for Coarse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<u32>::deserialize(deserializer)?;
        let mut coarse = Self::default();
        for pair in pairs.chunks_exact(2) {
            coarse.add(pair[0] as usize, pair[1]);
        }
        Ok(coarse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn percentiles_keep_three_digits_from_a_microsecond_to_an_hour() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.latency(), Latency::default());
        (1..=1000).for_each(|micros| histogram.record(micros * 1000));
        let latency = histogram.latency();
        for (value, truth) in [(latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1000.0)] {
            assert!((value - truth).abs() <= truth * 0.001, "{value} for {truth}");
        }
        assert!((latency.mean - 500.5).abs() < 0.5 && latency.samples == 1000);
        for micros in [1.0, 1.5, 60e6, 79.6e6, 3_600e6] {
            let mut one = Histogram::new();
            one.record((micros * 1e3) as u64);
            assert!((one.latency().p50 - micros).abs() <= micros * 0.001, "{micros}");
        }
    }

    #[test]
    fn beyond_an_hour_is_recorded_as_an_hour_and_says_so() {
        let mut histogram = Histogram::new();
        histogram.record(3_599_000_000_000);
        assert_eq!((histogram.saturated_from, histogram.latency().saturated), (None, 0));
        let mut histogram = Histogram::new();
        histogram.record(3_601_000_000_000);
        histogram.record(u64::MAX);
        let latency = histogram.latency();
        assert_eq!((latency.saturated, latency.samples), (2, 2));
        assert!((latency.p50 - 3_600e6).abs() < 3_600e6 * 0.001, "{latency:?}");
    }

    /// Results were once saved with times up to a minute.
    #[test]
    fn what_was_saved_as_a_minute_or_more_stays_so_among_others() {
        let mut old = Histogram::new();
        (0..9).for_each(|_| old.record(1_000_000));
        old.record(60_000_000_000);
        let packed = || Packed::read(&old.to_base64()).unwrap();
        let saved = |saturated| Histogram::saved(packed(), saturated);
        let mut both = saved(1);
        let minute = both.saturated_from.unwrap();
        assert!(minute.abs_diff(60_000_000_000) < 60_000_000, "{minute}");
        let mut new = Histogram::new();
        new.record(90_000_000_000);
        new.record(u64::MAX);
        both.add(&new);
        assert_eq!((both.saturated_from, both.latency().saturated), (Some(minute), 2));
        new.add(&both);
        assert_eq!(new.saturated_from, Some(minute));
        assert_eq!(saved(0).saturated_from, None);
    }

    #[test]
    fn intervals_hold_the_quantile_and_narrow_with_samples() {
        let width = |samples: u64| {
            let mut histogram = Histogram::new();
            (0..samples).for_each(|at| histogram.record(1_000_000 + at * 1_000_000 / samples));
            let [low, high] = histogram.interval_us(0.99);
            let truth = histogram.quantile_us(0.99);
            assert!(low <= truth && truth <= high, "{low} {truth} {high}");
            high - low
        };
        assert!(width(100_000) < width(1_000));
        assert_eq!(Histogram::new().interval_us(0.5), [0.0, 0.0]);
    }

    /// Counted over runs of samples from an exponential distribution, whose quantiles are known.
    #[test]
    fn intervals_hold_the_quantile_in_95_of_100_runs() {
        let mut random = Random::new(1);
        let mut exponential = || {
            let even = (random.number() >> 11) as f64 / (1_u64 << 53) as f64;
            (-(1.0 - even).ln() * 1e6) as u64
        };
        let runs = 400;
        let mut check = |samples: u64, quantile: f64| {
            let truth = -(1.0 - quantile).ln() * 1e3;
            let covered = (0..runs).filter(|_| {
                let mut histogram = Histogram::new();
                (0..samples).for_each(|_| histogram.record(exponential()));
                let [low, high] = histogram.interval_us(quantile);
                low <= truth && truth <= high
            });
            let share = covered.count() as f64 / f64::from(runs);
            assert!(share >= 0.93, "{samples} samples, {quantile}: {share}");
        };
        for samples in [500, 1_000, 2_157, 10_000] {
            check(samples, 0.999);
        }
        check(30, 0.5);
        check(300, 0.99);
    }

    #[test]
    fn what_has_too_few_samples_beyond_it_has_no_upper_end() {
        let mut histogram = Histogram::new();
        (0..3_687).for_each(|micros| histogram.record(micros * 1_000));
        let [low, high] = histogram.interval_us(0.999);
        assert!((low - 3_678.0).abs() < 4.0 && high == f64::INFINITY, "{low} {high}");
        histogram.record(9_000_000);
        assert!((histogram.interval_us(0.999)[1] - 9_000.0).abs() < 9.0);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut histogram = Histogram::new();
        for nanos in [900, 1_000, 123_456_789, u64::MAX] {
            histogram.record(nanos);
        }
        let read =
            Histogram { saturated: 1, ..Histogram::from_base64(&histogram.to_base64()).unwrap() };
        assert_eq!(read, histogram);
        assert!(Histogram::from_base64("HISTFAAA").unwrap_err().contains("V2"));
        assert!(Histogram::from_base64("!").unwrap_err().contains("Base64"));
    }

    #[test]
    fn what_was_read_stays_packed_until_it_is_added_to() {
        let mut written = Histogram::new();
        [1_000, 2_000_000, u64::MAX].into_iter().for_each(|nanos| written.record(nanos));
        let read = Histogram::saved(Packed::read(&written.to_base64()).unwrap(), 1);
        assert!(read.len() == 3 && read.to_base64() == written.to_base64());
        assert!(read == read.clone() && read == written && read != Histogram::new());
        assert_eq!(read.latency(), written.latency());
        let (mut sum, mut expected) = (read.clone(), written.clone());
        sum.record(5_000);
        sum.add(&read);
        expected.record(5_000);
        expected.add(&written);
        assert!(sum.packed.is_none() && sum == expected && (sum.len(), sum.saturated) == (7, 2));
        sum.pack();
        assert!(sum.values.is_none() && sum == expected && sum.latency() == expected.latency());
        let mut nothing = Histogram::new();
        nothing.pack();
        assert!(
            nothing == Histogram::new() && Packed::read(&nothing.to_base64()).unwrap().is_none()
        );
    }

    #[test]
    fn coarse_buckets_are_in_order_and_good_to_three_percent() {
        let mut before = 0;
        for nanos in
            (1_100..100_000_000_000).step_by(7_919_001).chain([137_000_000_000, 4_390_000_000_000])
        {
            let bucket = Coarse::bucket_of(nanos);
            assert!(bucket >= before);
            before = bucket;
            let middle = Coarse::middle_of(bucket) as f64;
            assert!((middle / nanos as f64 - 1.0).abs() <= 0.034, "{nanos}: {middle}");
        }
        assert_eq!((Coarse::bucket_of(0), Coarse::bucket_of(u64::MAX)), (0, COARSE_BUCKETS - 1));
    }

    #[test]
    fn a_coarse_difference_is_what_came_since() {
        let mut coarse = Coarse::default();
        coarse.record(5_000);
        let before = coarse.clone();
        (0..9).for_each(|_| coarse.record(1_000_000));
        let since = coarse.since(&before);
        assert_eq!(since.len(), 9);
        assert!((since.quantile_us(0.5) / 1_000.0 - 1.0).abs() < 0.04);
    }
}
