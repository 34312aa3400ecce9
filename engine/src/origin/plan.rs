//! What one request shall get. Plain data, and what chance makes of it; sends nothing.

use std::time::Duration;

use super::DELAY_MAX;
use crate::random::Random;

/// An answer as a path asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) status: u16,
    /// Whether `?status=` counts.
    pub(super) status_may_change: bool,
    /// Counted from when the request was whole.
    pub(super) delay: Duration,
    /// What chance adds to the delay.
    pub(super) spread: Option<Spread>,
    /// Of a hundred requests, so many get 503.
    pub(super) fail_percent: u32,
    /// Further header lines, each with its line end.
    pub(super) fields: String,
    pub(super) body: Body,
    pub(super) framing: Framing,
    /// Only with [`Framing::Chunked`].
    pub(super) trailers: bool,
    pub(super) pace: Option<Pace>,
    pub(super) close: bool,
    pub(super) fate: Fate,
    pub(super) expectation: Expectation,
    /// 100s before the answer.
    pub(super) interims: u32,
}

/// A delay that is log-normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) median: Duration,
    /// Standard deviation of the logarithm, in hundredths.
    pub(super) sigma_percent: u32,
}

/// What the body is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// As long as that of the fixed answer.
    Fixed,
    /// So many letters.
    Letters(u64),
    /// This text.
    Text(String),
    /// The status in words.
    Reason,
    /// The request's body.
    Echo,
    /// The request's head.
    Head,
}

/// How the end of the body is told (RFC 9112 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
    UntilClose,
}

/// A body that comes in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) piece_bytes: u64,
    /// Between one piece and the next.
    pub(super) every: Duration,
}

/// What becomes of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Whole,
    /// Half of the body, then the end of the connection.
    Truncate,
    /// Half of the body, then a reset.
    Reset,
    /// The end of the connection instead of an answer.
    Abort,
    /// None, and the connection stays.
    Hang,
}

/// What becomes of `Expect: 100-continue` (RFC 9110 10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    Met,
    Refused,
    Ignored,
}

impl Default for Plan {
    /// The fixed answer.
    fn default() -> Self {
        Self {
            status: 200,
            status_may_change: true,
            delay: Duration::ZERO,
            spread: None,
            fail_percent: 0,
            fields: String::new(),
            body: Body::Fixed,
            framing: Framing::Length,
            trailers: false,
            pace: None,
            close: false,
            fate: Fate::Whole,
            expectation: Expectation::Met,
            interims: 0,
        }
    }
}

impl Plan {
    /// An answer with this status, whatever else is asked for.
    pub(super) fn with_status(status: u16) -> Self {
        Self { status_may_change: false, ..Self::with_default_status(status) }
    }

    /// An answer with this status unless another is asked for.
    pub(super) fn with_default_status(status: u16) -> Self {
        Self { status, body: Body::Reason, ..Self::default() }
    }

    /// A 400 that says why.
    pub(super) fn refused(text: String) -> Self {
        Self { body: Body::Text(text), ..Self::with_status(400) }
    }

    /// Draws what is left to chance.
    pub(super) fn settle(&mut self, random: &mut Random) {
        if let Some(spread) = self.spread.take() {
            self.delay = (self.delay + spread.draw(random)).min(DELAY_MAX);
        }
        if self.fail_percent > 0 && random.below(100) < self.fail_percent.into() {
            self.status = 503;
            self.body = Body::Reason;
        }
    }
}

impl Spread {
    /// One delay: `median * exp(sigma * z)` with a normal `z` (Box and Muller 1958).
    fn draw(self, random: &mut Random) -> Duration {
        // 53 bits are what an f64 holds exactly; never zero, which has no logarithm.
        let mut uniform = || ((random.number() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let factor = (f64::from(self.sigma_percent) / 100.0 * normal).exp();
        let seconds = self.median.as_secs_f64() * factor;
        Duration::from_secs_f64(seconds.min(DELAY_MAX.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(seed: u64, sigma_percent: u32) -> Vec<Duration> {
        let mut random = Random::new(seed);
        let spread = Some(Spread { median: Duration::from_millis(20), sigma_percent });
        let draw = |_| {
            let mut plan = Plan { spread, ..Plan::default() };
            plan.settle(&mut random);
            plan.delay
        };
        (0..1001).map(draw).collect()
    }

    #[test]
    fn log_normal_delays_have_their_median_and_repeat_with_the_seed() {
        assert!(delays(1, 0).iter().all(|delay| *delay == Duration::from_millis(20)));
        assert_eq!(delays(1, 100), delays(1, 100));
        assert_ne!(delays(1, 100), delays(2, 100));
        let mut delays = delays(7, 100);
        delays.sort();
        let near = |delay: Duration, millis: f64| {
            let seen = delay.as_secs_f64() * 1e3;
            assert!((millis * 0.85..millis * 1.18).contains(&seen), "{seen} ms, not {millis}");
        };
        near(delays[500], 20.0);
        // One standard deviation: a factor of e.
        near(delays[841], 54.4);
        near(delays[159], 7.4);
        let wild = Spread { median: DELAY_MAX, sigma_percent: 1000 };
        let mut random = Random::new(3);
        assert!((0..100).all(|_| wild.draw(&mut random) <= DELAY_MAX));
    }

    #[test]
    fn the_share_that_fails_is_the_one_asked_for() {
        let failed = |percent| {
            let mut random = Random::new(5);
            let draw = |_: &i32| {
                let mut plan = Plan { fail_percent: percent, ..Plan::default() };
                plan.settle(&mut random);
                plan.status == 503
            };
            (0..1000).filter(draw).count()
        };
        assert_eq!((failed(0), failed(100)), (0, 1000));
        assert!((250..350).contains(&failed(30)), "{}", failed(30));
    }
}
