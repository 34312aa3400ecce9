//! How a run changed while it ran. Pure.

use super::super::report::{Report, Slot};
use super::evidence::time;
use super::is_open;

/// How far the last quarter of a run may lie from the first: rates of a healthy run vary by a few per cent.
const RATE_DRIFT_MAX: f64 = 0.10;
/// The same for the median response time, which a time line knows to 3 % only.
const MEDIAN_DRIFT_MAX: f64 = 0.25;
/// How many standard deviations of a difference chance may make.
const DEVIATIONS_MAX: f64 = 3.0;
/// The standard deviation of the median of one sample from an exponential distribution, as a share of it, by the rule for large samples: 1 / ln 2. That of n is less by their root.
const MEDIAN_DEVIATION: f64 = std::f64::consts::LOG2_E;
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
    /// Median response times in them, in microseconds: means of their slots' by what they answered. Zero where there was no success.
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
            p50_us: ends.map(median_us),
        };
        (rates_drift(drift.per_second, ends) || medians_drift(drift.p50_us, ends)).then_some(drift)
    }
}

/// Whether rates differ by more than a few per cent, and by more than counts do by chance.
fn rates_drift(per_second: [f64; 2], ends: [&[Slot]; 2]) -> bool {
    let [first, last] = ends.map(answered);
    let chance = DEVIATIONS_MAX * (first + last).sqrt();
    differ(per_second, RATE_DRIFT_MAX) && (last - first).abs() > chance
}

/// The same of medians, of which fewer than forty answers a quarter tell nothing.
fn medians_drift(p50_us: [f64; 2], ends: [&[Slot]; 2]) -> bool {
    let [first, last] = ends.map(answered);
    let chance = DEVIATIONS_MAX * MEDIAN_DEVIATION * (1.0 / first + 1.0 / last).sqrt();
    p50_us.iter().all(|median| *median > 0.0) && differ(p50_us, MEDIAN_DRIFT_MAX.max(chance))
}

fn answered(slots: &[Slot]) -> f64 {
    slots.iter().map(|slot| slot.requests as f64).sum()
}

/// Of the slots in which something succeeded.
fn median_us(slots: &[Slot]) -> f64 {
    let timed = || slots.iter().filter(|slot| slot.p50 > 0.0);
    let weighted = timed().map(|slot| slot.p50 * slot.requests as f64).sum::<f64>();
    weighted / timed().map(|slot| slot.requests as f64).sum::<f64>().max(1.0)
}

fn differ([first, last]: [f64; 2], most: f64) -> bool {
    (last - first).abs() > first.max(last) * most
}

/// `12`, or `1.25` where that says more.
fn rate(per_second: f64) -> String {
    if per_second < 9.995 { format!("{per_second:.2}") } else { format!("{per_second:.0}") }
}

/// `changed from its first quarter to its last: 100 to 80 a second, p50 1.00 ms to 2.00 ms`.
impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [from, to] = self.per_second.map(rate);
        write!(f, "changed from its first quarter to its last: {from} to {to} a second")?;
        match self.p50_us {
            [before, after] if before > 0.0 && after > 0.0 => {
                write!(f, ", p50 {} to {}", time(before), time(after))
            }
            _ => Ok(()),
        }
    }
}

/// Without the last slot, which may be cut short and holds the drain.
fn whole_slots(timeline: &[Slot]) -> &[Slot] {
    &timeline[..timeline.len().saturating_sub(1)]
}
