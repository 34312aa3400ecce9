//! The times of requests over stages of a rate, found one after the other: by the integral of the rate, or by draws. No clock.

use std::sync::Arc;

use super::schedule::{Spacing, Stage, requests_within};
use crate::random::Random;

/// By the integral of the rate, then by the times themselves, from which rounding may part it.
pub(super) fn count_before(stages: &[Stage], nanos: u64) -> u64 {
    let is_before = |index| {
        let at = Stages::new(stages, Spacing::Constant).time_of(index);
        at.is_some_and(|at| at < nanos)
    };
    let mut count = requests_within(stages, nanos as f64 * 1e-9).ceil() as u64;
    while count > 0 && !is_before(count - 1) {
        count -= 1;
    }
    while is_before(count) {
        count += 1;
    }
    count
}

/// Finds the times of requests in order.
#[derive(Debug, Clone)]
pub(super) struct Stages {
    /// Shared, so that a copy of a schedule costs no memory of its own.
    stages: Arc<[Stage]>,
    current: usize,
    /// Requests and seconds before the current stage.
    before: f64,
    start: f64,
    /// The draws so far, with Poisson arrivals: how many, and their sum.
    draws: Option<Draws>,
}

#[derive(Debug, Clone)]
struct Draws {
    random: Random,
    count: u64,
    sum: f64,
}

impl Draws {
    /// The sum of the first `count` draws; never asked for fewer than before.
    fn sum_of(&mut self, count: u64) -> f64 {
        while self.count < count {
            self.count += 1;
            // In (0, 1], so that the logarithm is finite.
            let share = ((self.random.number() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            self.sum -= share.ln();
        }
        self.sum
    }
}

impl Stages {
    pub(super) fn new(stages: &[Stage], spacing: Spacing) -> Self {
        let draws = match spacing {
            Spacing::Constant => None,
            Spacing::Poisson { seed } => {
                Some(Draws { random: Random::new(seed), count: 0, sum: 0.0 })
            }
        };
        Self { stages: stages.into(), current: 0, before: 0.0, start: 0.0, draws }
    }

    /// The stages themselves.
    pub(super) fn all(&self) -> &[Stage] {
        &self.stages
    }

    /// Whether only drawing each request tells when it is due.
    pub(super) fn are_drawn(&self) -> bool {
        self.draws.is_some()
    }

    /// Nanoseconds from the start; `None` after the last stage.
    pub(super) fn time_of(&mut self, index: u64) -> Option<u64> {
        let wanted = match &mut self.draws {
            None => index as f64,
            Some(draws) => draws.sum_of(index + 1),
        };
        loop {
            let stage = self.stages.get(self.current)?;
            // Sums are rounded: one that begins a stage must not be found a little before it, where nothing may be due.
            let count = (wanted - self.before).max(0.0);
            if count < stage.requests() {
                let seconds = self.start + stage.seconds_until(count);
                return Some((seconds * 1e9) as u64);
            }
            self.before += stage.requests();
            self.start += stage.length.as_secs_f64();
            self.current += 1;
        }
    }
}
