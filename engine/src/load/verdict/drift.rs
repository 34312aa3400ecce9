//! How a run changed while it ran. Pure.

use super::super::report::{Report, Slot};
use super::is_open;

/// How far the last quarter of a run may lie from the first: rates of a healthy run vary by a few per cent.
const RATE_DRIFT_MAX: f64 = 0.10;
/// The same for the median response time, which a time line knows to 3 % only.
const MEDIAN_DRIFT_MAX: f64 = 0.25;
/// Slots below which quarters are too short to compare.
const DRIFT_SLOTS_MIN: usize = 8;

/// How a run's last quarter differed from its first by more than a steady run's does.
///
/// ```
/// use ringshot::load::{Drift, Report};
///
/// assert_eq!(Drift::of(&Report::default()), None); // too short to tell
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Answers a second in the first and in the last quarter.
    pub per_second: [f64; 2],
    /// Median response times in them, in microseconds: means of their slots.
    pub p50_us: [f64; 2],
}

impl Drift {
    /// `None` if the run was steady, too short to tell, or its rate was asked to change.
    #[must_use]
    pub fn of(report: &Report) -> Option<Self> {
        let slots = whole_slots(&report.timeline);
        let quarter = slots.len() / 4;
        let ends = [&slots[..quarter], &slots[slots.len() - quarter..]];
        let mean = |of: fn(&Slot) -> f64| {
            ends.map(|end| end.iter().map(of).sum::<f64>() / quarter.max(1) as f64)
        };
        let asked = mean(|slot| slot.offered as f64 / slot.seconds);
        if slots.len() < DRIFT_SLOTS_MIN || is_open(report) && differ(asked, RATE_DRIFT_MAX) {
            return None;
        }
        let drift = Self {
            per_second: mean(|slot| slot.requests as f64 / slot.seconds),
            p50_us: mean(|slot| slot.p50),
        };
        let drifts =
            differ(drift.per_second, RATE_DRIFT_MAX) || differ(drift.p50_us, MEDIAN_DRIFT_MAX);
        drifts.then_some(drift)
    }
}

fn differ([first, last]: [f64; 2], most: f64) -> bool {
    (last - first).abs() > first.max(last) * most
}

/// `changed from its first quarter to its last: 100 to 80 a second, p50 1.0 to 2.0 ms`.
impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([from, to], [before, after]) = (self.per_second, self.p50_us);
        write!(
            f,
            "changed from its first quarter to its last: {from:.0} to {to:.0} a second, p50 {before:.0} to {after:.0} us"
        )
    }
}

/// Without the last slot, which may be cut short and holds the drain.
fn whole_slots(timeline: &[Slot]) -> &[Slot] {
    &timeline[..timeline.len().saturating_sub(1)]
}
