//! What a CPU quota of the control group did to a run: cores that were stopped measure themselves.

use std::time::Duration;

use super::report::Report;
use super::verdict::Limit;
use crate::sys::cgroup::Cgroups;

/// The share of the measured time for which a quota may have kept the group from running, at most: the kernel stops it until the next period begins, 100 ms apart as a
/// rule, and whatever is sent or answered meanwhile waits as long.
const THROTTLED_MAX: f64 = 0.03;

/// What [`Report::is_throttled`] means.
pub(super) const THROTTLED: (Limit, &str) = (
    Limit::Client,
    "The client was the limit: its control group had used up its CPU quota, and was stopped for part of the time.",
);

/// The quota of this process, watched by the thread that waits for a run.
#[derive(Debug)]
pub(super) struct QuotaWatch {
    groups: Cgroups,
    cores: Option<f64>,
    /// When requests began to be measured.
    before: Option<Duration>,
}

/// What a [`QuotaWatch`] saw.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct QuotaReport {
    /// See [`Report::cpu_quota`].
    pub(super) cores: Option<f64>,
    /// See [`Report::throttled_seconds`].
    pub(super) throttled_seconds: f64,
}

impl QuotaWatch {
    pub(super) fn of_process() -> Self {
        let groups = Cgroups::of_process();
        Self { cores: groups.quota(), groups, before: None }
    }

    /// Requests are measured from about now on. Only the first call counts.
    pub(super) fn begin(&mut self) {
        let groups = &self.groups;
        self.before.get_or_insert_with(|| groups.throttled());
    }

    /// What happened since.
    pub(super) fn report(&self) -> QuotaReport {
        let throttled = self.before.map(|before| self.groups.throttled().saturating_sub(before));
        QuotaReport {
            cores: self.cores,
            throttled_seconds: throttled.unwrap_or_default().as_secs_f64(),
        }
    }
}

impl Report {
    /// Whether a CPU quota stopped its control group for so long that the figures show it: more cores would use that up sooner.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.throttled_seconds > self.seconds * THROTTLED_MAX
    }
}

/// The figures behind it, where there is a quota.
pub(super) fn evidence(report: &Report) -> Option<String> {
    let (seconds, cores) = (report.throttled_seconds, report.cpu_quota);
    let quota = cores.map_or_else(String::new, |cores| format!(" of {cores:.2} cores"));
    (seconds > 0.0 || cores.is_some()).then(|| {
        format!(
            "control group: stopped for {seconds:.2} s, over all its cores, by a CPU quota{quota}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Verdict;
    use super::*;

    fn check(throttled_seconds: f64, target_per_second: f64, limit: Limit) {
        let mut report =
            Report { seconds: 2.0, requests: 2000, offered: 2000, ..Report::default() };
        (report.throttled_seconds, report.target_per_second) =
            (throttled_seconds, target_per_second);
        (report.arrival, report.cpu_quota) = ("constant".to_owned(), Some(0.2));
        let verdict = Verdict::of(&report);
        assert_eq!(verdict.limit, limit, "{verdict:?}");
        let line = format!(
            "control group: stopped for {throttled_seconds:.2} s, over all its cores, by a CPU quota of 0.20 cores"
        );
        assert!(verdict.evidence.contains(&line), "{verdict:?}");
    }

    #[test]
    fn who_was_stopped_was_the_limit() {
        check(1.6, 0.0, Limit::Client);
        check(0.07, 0.0, Limit::Client);
        check(0.05, 0.0, Limit::Server);
        check(1.6, 1000.0, Limit::Client);
        check(0.0, 1000.0, Limit::None);
        let short =
            Report { seconds: 0.05, requests: 1, throttled_seconds: 1.0, ..Report::default() };
        assert_eq!(Verdict::of(&short).limit, Limit::Unknown);
        assert_eq!(evidence(&Report::default()), None);
    }

    #[test]
    fn only_what_happens_from_the_start_on_counts() {
        let mut watch = QuotaWatch::of_process();
        assert_eq!(watch.report().throttled_seconds, 0.0);
        watch.begin();
        assert!(watch.report().throttled_seconds < 60.0);
    }
}
