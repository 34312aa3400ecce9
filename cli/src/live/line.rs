//! The line that a person watches where there is no room for a screen, and while a run that was told to end does so.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringshot::load::{Snapshot, Stop};

use super::view::{how_far, phase, refusals};
use crate::output::format::{count, rate};

/// A line on stderr that is redrawn in place, and taken away at the end.
#[derive(Debug)]
pub(super) struct Line {
    bar: ProgressBar,
    stop: Stop,
    before: Option<Snapshot>,
}

impl Line {
    /// On stderr, which should be a terminal: elsewhere it shows nothing.
    pub(super) fn new(stop: Stop) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(u8::MAX);
        Self::on(ProgressBar::with_draw_target(None, target), stop)
    }

    fn on(bar: ProgressBar, stop: Stop) -> Self {
        let style = ProgressStyle::with_template("{wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { bar, stop, before: None }
    }

    /// Draws where the run is now.
    pub(super) fn show(&mut self, now: &Snapshot) {
        self.bar.set_message(line(self.before.as_ref(), now, self.stop));
        self.before = Some(now.clone());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `measuring 3.2 of 10 s   412,345 requests/s   0 errors`.
fn line(before: Option<&Snapshot>, now: &Snapshot, stop: Stop) -> String {
    format!(
        "{} {}   {} requests/s   {} errors{}",
        phase(now.phase),
        how_far(stop, now),
        rate(recent_rate(before, now)),
        count(now.errors),
        refusals(now, "   ")
    )
}

/// Requests a second since the line before; zero when no time or a new phase lies between.
#[allow(clippy::cast_precision_loss, reason = "a count of a fifth of a second")]
fn recent_rate(before: Option<&Snapshot>, now: &Snapshot) -> f64 {
    let (requests, elapsed) = before.map_or((0, Duration::ZERO), |b| (b.requests, b.elapsed));
    let seconds = now.elapsed.saturating_sub(elapsed).as_secs_f64();
    let requests = now.requests.saturating_sub(requests) as f64;
    if seconds > 0.0 { requests / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use ringshot::load::Phase;

    use super::*;

    fn snapshot(requests: u64, millis: u64, phase: Phase) -> Snapshot {
        let elapsed = Duration::from_millis(millis);
        let measured = elapsed;
        Snapshot { requests, errors: 2, elapsed, measured, connected: 64, ..Snapshot::at(phase) }
    }

    #[test]
    fn lines() {
        let before = snapshot(1_000, 3_000, Phase::Measuring);
        let now = snapshot(83_000, 3_200, Phase::Measuring);
        let ten = Stop::after(Duration::from_secs(10));
        let check =
            |before, now, stop, expected: &str| assert_eq!(line(before, now, stop), expected);
        check(Some(&before), &now, ten, "measuring 3.2 of 10 s   410,000 requests/s   2 errors");
        check(
            None,
            &before,
            Stop::requests(100_000),
            "measuring 1,000 of 100,000 requests, 3.0 s   333 requests/s   2 errors",
        );
        let start = snapshot(0, 0, Phase::Starting);
        check(Some(&now), &start, ten, "starting 0.0 s   0.00 requests/s   2 errors");
    }

    #[test]
    fn a_hidden_bar_takes_lines_and_leaves_nothing() {
        let mut bar = Line::on(ProgressBar::hidden(), Stop::requests(1));
        bar.show(&snapshot(1, 1, Phase::Done));
        assert!(bar.before.is_some() && bar.bar.is_hidden());
    }
}
