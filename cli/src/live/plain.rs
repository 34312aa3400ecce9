//! A line every few seconds, for logs and pipes.

use std::time::Duration;

use ringshot::load::Snapshot;

use super::Facts;
use super::view::{how_far, phase, refusals};
use crate::output::format::{count, counted, microseconds, rate};

/// When the first line is due: whoever waits sees soon that something happens.
const FIRST: Duration = Duration::from_secs(2);
/// From one line to the next.
const EVERY: Duration = Duration::from_secs(5);

/// What the line before was made from.
#[derive(Debug, Default)]
pub(super) struct Plain {
    before: Option<Snapshot>,
}

impl Plain {
    pub(super) fn tick(&self) -> Duration {
        if self.before.is_some() { EVERY } else { FIRST }
    }

    pub(super) fn show(&mut self, facts: &Facts, now: &Snapshot) {
        crate::warnings::notice(line(facts, self.before.as_ref(), now));
        self.before = Some(now.clone());
    }
}

/// `7.0 of 60 s: measuring, 49,998 requests/s of 50,000, p50 289 us and p99 540 us of 2xx, 64 in flight, 0 errors`: of the time since the line before; errors, and responses that were neither 2xx nor 3xx, of the run.
fn line(facts: &Facts, before: Option<&Snapshot>, now: &Snapshot) -> String {
    let start = Snapshot::at(now.phase);
    let before = before.unwrap_or(&start);
    let seconds = now.measured.saturating_sub(before.measured).as_secs_f64();
    let requests = now.requests.saturating_sub(before.requests);
    let per_second = if seconds > 0.0 { requests as f64 / seconds } else { 0.0 };
    let target = facts.arrival.rate_at(now.measured);
    let target = target.map_or_else(String::new, |target| format!(" of {}", rate(target)));
    let times = now.response_time.since(&before.response_time);
    let quantile = |quantile| match times.is_empty() {
        true => "-".to_owned(),
        false => microseconds(times.quantile_us(quantile)),
    };
    format!(
        "{}: {}, {} requests/s{target}, p50 {} and p99 {} of 2xx, {} in flight, {}{}",
        how_far(facts.stop, now),
        phase(now.phase),
        rate(per_second),
        quantile(0.5),
        quantile(0.99),
        count(now.in_flight),
        counted(now.errors, "error"),
        refusals(now, ", "),
    )
}

#[cfg(test)]
mod tests {
    use ringshot::load::{Arrival, Phase, StatusCounts};

    use super::*;
    use crate::live::sample::{facts, snapshot};

    #[test]
    fn lines_show_what_came_since_the_one_before() {
        let check = |arrival, before: Option<&Snapshot>, now: &Snapshot, expected: &str| {
            assert_eq!(line(&Facts { arrival, ..facts(2) }, before, now), expected);
        };
        let open = Arrival::at_rate(50_000.0, Duration::from_secs(60));
        let (two, seven) = (snapshot(2.0), snapshot(7.0));
        check(
            open,
            Some(&two),
            &seven,
            "7.0 of 10 s: measuring, 50,000 requests/s of 50,000, p50 303 us and p99 639 us of 2xx, 64 in flight, 3 errors",
        );
        check(
            Arrival::Closed,
            None,
            &Snapshot::at(Phase::Starting),
            "0.0 s: starting, 0.00 requests/s, p50 - and p99 - of 2xx, 0 in flight, 0 errors",
        );
        // What is answered and refused does not look well.
        let status = StatusCounts { server_error: 1_200, client_error: 34, ..Default::default() };
        check(
            Arrival::Closed,
            None,
            &Snapshot { requests: 1_234, status, ..Snapshot::at(Phase::Measuring) },
            "0.0 of 10 s: measuring, 0.00 requests/s, p50 - and p99 - of 2xx, 0 in flight, 0 errors, 1,234 not 2xx/3xx",
        );
    }

    #[test]
    fn the_first_line_comes_sooner() {
        let mut plain = Plain::default();
        assert_eq!(plain.tick(), FIRST);
        plain.before = Some(snapshot(1.0));
        assert_eq!(plain.tick(), EVERY);
    }
}
