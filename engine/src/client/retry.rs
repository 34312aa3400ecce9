//! When to send a request again, and when not: a policy, a budget that bounds the extra load, a wait that grows and is random. Sends nothing.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::error::{Error, message_of_panic};
use crate::sync::drop_quietly;

/// What a first attempt costs and a retry takes, in thousandths of a retry.
const RETRY_COST: i64 = 1_000;
/// Retries that a budget allows before any success paid for them.
const BUDGET_START: i64 = 10 * RETRY_COST;
/// The most that a budget saves up.
const BUDGET_MAX: i64 = 1_000 * RETRY_COST;
/// The longest `Retry-After` that is waited for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How an attempt ended: what a [`Retry`] policy judges.
///
/// ```
/// use ringshot::client::{Attempt, Retry};
///
/// let judge = |attempt: &Attempt<'_>| match attempt {
///     Attempt::Response(status) => *status == 429,
///     attempt => attempt.error().is_some_and(|error| error.is_timeout()),
/// };
/// assert!(judge(&Attempt::Response(http::StatusCode::TOO_MANY_REQUESTS)));
/// let retry = Retry::budget(0.1).on(judge);
/// # let _ = retry;
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Attempt<'a> {
    /// With a response of this status.
    Response(StatusCode),
    /// With an error.
    Failed(&'a Error),
}

impl Attempt<'_> {
    /// The status, where there is a response.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Response(status) => Some(*status),
            Self::Failed(_) => None,
        }
    }

    /// The error, where there is none.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Response(_) => None,
            Self::Failed(error) => Some(error),
        }
    }
}

type Judge = dyn Fn(&Attempt<'_>) -> bool + Send + Sync;

/// A policy of retries. It never sends a request again that may have been processed, unless it is idempotent (RFC 9110 9.2.2), and no body that is a stream.
///
/// It judges what becomes of the head, and where the library reads the body too (`fetch` of each client, `blocking::Client`, batches) what becomes of the body: there a
/// response that was cut short is an error like any other. Who has [`send`](super::Client::send) give him a body in pieces has had some of them: that is tried again by
/// nobody.
///
/// With [`max_in_flight`](super::ClientBuilder::max_in_flight) whoever waits for another attempt gives its permit back, and comes before those that had none.
///
/// Without one too, a request that died on a reused connection goes once to a fresh one: see
/// [`ClientBuilder::retry_stale`](super::ClientBuilder::retry_stale). So does each attempt of a policy, as long as [`Retry::attempts`], of which that is one, are left.
///
/// ```
/// use std::time::Duration;
/// use ringshot::client::Retry;
///
/// // At most one retry for ten requests, after 50 ms to 2 s, for 503 and for errors that may pass.
/// let retry = Retry::budget(0.1)
///     .backoff(Duration::from_millis(50)..Duration::from_secs(2))
///     .attempts(4)
///     .on(|attempt| attempt.status().is_some_and(|status| status == 503));
/// # let _ = retry;
/// let never = Retry::none(); // the default
/// # let _ = never;
/// ```
pub struct Retry {
    attempts: u8,
    backoff: Range<Duration>,
    share: i64,
    saved: AtomicI64,
    judge: Option<Arc<Judge>>,
}

/// The same policy with a budget of its own: one client's retries take none of another's.
impl Clone for Retry {
    fn clone(&self) -> Self {
        let Self { attempts, ref backoff, share, ref judge, .. } = *self;
        let (backoff, judge) = (backoff.clone(), judge.clone());
        Self { attempts, backoff, share, saved: AtomicI64::new(BUDGET_START), judge }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("attempts", &self.attempts)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::none()
    }
}

impl Retry {
    /// No retries, but for those of stale connections.
    #[must_use]
    pub fn none() -> Self {
        Self { attempts: 1, ..Self::budget(0.0) }
    }

    /// Up to two retries of each request, and over all requests of a client at most `share` retries for each request, 0.0 to 1.0 (after ten that are free).
    /// What is less or no number counts as 0.0, what is more as 1.0; with 0.0 the ten are all.
    #[must_use]
    pub fn budget(share: f64) -> Self {
        Self {
            attempts: 3,
            backoff: Duration::from_millis(50)..Duration::from_secs(2),
            share: (share.clamp(0.0, 1.0) * RETRY_COST as f64) as i64,
            saved: AtomicI64::new(BUDGET_START),
            judge: None,
        }
    }

    /// How often a request is sent, the first time and repeats on a fresh connection included: 1 to 255; 0 counts as 1. With 1 there is no policy, and what died on a reused
    /// connection is sent again as without one.
    #[must_use]
    pub fn attempts(mut self, attempts: u8) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The wait before a retry: random between nothing and a bound that starts with the first, doubles, and ends with the last ("full jitter"). A
    /// `Retry-After` in seconds is waited for instead, up to [`RETRY_AFTER_MAX`]. The end is never exceeded: where it is before the start it is the bound from the first retry on, and where it is
    /// zero nothing is waited for.
    #[must_use]
    pub fn backoff(mut self, bounds: Range<Duration>) -> Self {
        self.backoff = bounds;
        self
    }

    /// Which attempts are worth another, besides those whose error [may pass](Error::is_retryable). Where it panics the request ends as
    /// [`Kind::User`](crate::error::Kind::User).
    #[must_use]
    pub fn on(mut self, judge: impl Fn(&Attempt<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.judge = Some(Arc::new(judge));
        self
    }

    /// Whether it may ever want a second attempt.
    pub(crate) fn repeats(&self) -> bool {
        self.attempts > 1
    }

    /// Whether nothing may follow attempt `number`, not even its repeat on a fresh connection. Without a policy that is the pool's to say.
    pub(crate) fn is_last(&self, number: u8) -> bool {
        self.repeats() && number >= self.attempts
    }

    /// A request begins: it pays for a share of a retry.
    pub(crate) fn deposit(&self) {
        if self.share > 0 && self.saved.load(Ordering::Relaxed) < BUDGET_MAX {
            self.saved.fetch_add(self.share, Ordering::Relaxed);
        }
    }

    /// Whether attempt `number`, which ended so, may be followed by another: [`Retry::withdraw`] pays for it.
    ///
    /// # Errors
    /// What its judge panicked with.
    pub(crate) fn is_worth(&self, number: u8, attempt: &Attempt<'_>) -> Result<bool, String> {
        if number >= self.attempts {
            return Ok(false);
        }
        let passing = attempt.error().is_some_and(Error::is_retryable);
        match &self.judge {
            Some(judge) if !passing => judged(&**judge, attempt),
            _ => Ok(passing),
        }
    }

    /// Pays for a retry, if enough was saved for it.
    pub(crate) fn withdraw(&self) -> bool {
        let left = |saved: i64| (saved >= RETRY_COST).then_some(saved - RETRY_COST);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// How long to wait after attempt `number`.
    pub(crate) fn wait(&self, number: u8, headers: Option<&HeaderMap>) -> Duration {
        if let Some(after) = headers.and_then(retry_after) {
            return after.min(RETRY_AFTER_MAX);
        }
        let doublings = u32::from(number.saturating_sub(1)).min(20);
        let bound = self.backoff.start.saturating_mul(2_u32.pow(doublings)).min(self.backoff.end);
        let random = RandomState::new().hash_one(number);
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random % bound.max(1))
    }
}

/// What the caller's judge says, or what it panicked with.
fn judged(judge: &Judge, attempt: &Attempt<'_>) -> Result<bool, String> {
    catch_unwind(AssertUnwindSafe(|| judge(attempt))).map_err(|payload| {
        let message = message_of_panic(&*payload).to_owned();
        drop_quietly(|| drop(payload));
        message
    })
}

/// The seconds that a `Retry-After` asks for; a date is not read (RFC 9110 10.2.3). More than can be counted is as long as can be.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Kind, Phase, TimeoutKind};

    fn wants(retry: &Retry, number: u8, attempt: &Attempt<'_>) -> bool {
        retry.is_worth(number, attempt).unwrap() && retry.withdraw()
    }

    #[test]
    fn retry_after_is_seconds() {
        let check = |value: &str, expected: Option<u64>| {
            let headers = [(http::header::RETRY_AFTER, value.parse().unwrap())];
            let asked = retry_after(&headers.into_iter().collect());
            assert_eq!(asked, expected.map(Duration::from_secs), "{value:?}");
        };
        check(" 120 ", Some(120));
        check("18446744073709551616", Some(u64::MAX));
        for none in ["", "+2", "-1", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            check(none, None);
        }
    }

    #[test]
    fn a_budget_bounds_the_retries_of_all_requests() {
        let retry = Retry::budget(0.1).attempts(3).on(|attempt| attempt.status().is_some());
        let attempt = Attempt::Response(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((0..100).filter(|_| wants(&retry, 1, &attempt)).count(), 10);
        (0..100).for_each(|_| retry.deposit());
        assert_eq!((0..100).filter(|_| wants(&retry, 1, &attempt)).count(), 10);
        (0..100).for_each(|_| retry.deposit());
        assert!(wants(&retry, 2, &attempt) && !wants(&retry, 3, &attempt));
    }

    #[test]
    fn a_copy_has_a_budget_of_its_own() {
        let retry = Retry::budget(0.1).on(|attempt| attempt.status().is_some());
        let attempt = Attempt::Response(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((0..100).filter(|_| wants(&retry, 1, &attempt)).count(), 10);
        assert_eq!((0..100).filter(|_| wants(&retry.clone(), 1, &attempt)).count(), 100);
        let copy = retry.clone();
        assert_eq!((0..100).filter(|_| wants(&copy, 1, &attempt)).count(), 10);
    }

    #[test]
    fn errors_that_may_pass_are_tried_again_and_others_are_not() {
        let retry = Retry::budget(1.0);
        let check = |kind: Kind, wanted: bool| {
            let error = Error::new(kind, Phase::Connect);
            assert_eq!(wants(&retry, 1, &Attempt::Failed(&error)), wanted, "{error}");
        };
        check(Kind::Closed, true);
        check(Kind::Timeout(TimeoutKind::Connect), true);
        check(Kind::Timeout(TimeoutKind::Total), false);
        check(Kind::Canceled, false);
        let error = Error::new(Kind::Closed, Phase::Head);
        assert!(!wants(&Retry::none(), 1, &Attempt::Failed(&error)));
    }

    #[test]
    fn what_leaves_its_range_counts_as_its_end() {
        let check = |share: f64, expected: i64| {
            assert_eq!(Retry::budget(share).share, expected, "{share}");
        };
        check(f64::NAN, 0);
        check(-1.0, 0);
        check(2.0, RETRY_COST);
        check(f64::INFINITY, RETRY_COST);
        assert!(!Retry::budget(1.0).attempts(0).repeats());
        let longest = |from: u64, to: u64| {
            let bounds = Duration::from_millis(from)..Duration::from_millis(to);
            let retry = Retry::budget(1.0).backoff(bounds);
            (0..200).map(|_| retry.wait(1, None)).max().unwrap()
        };
        let backwards = longest(200, 100);
        let (half, whole) = (Duration::from_millis(50), Duration::from_millis(100));
        assert!(backwards > half && backwards < whole, "{backwards:?}");
        assert_eq!((longest(50, 0), longest(0, 50)), (Duration::ZERO, Duration::ZERO));
        let endless = Retry::budget(1.0).backoff(Duration::MAX..Duration::MAX);
        assert!((0..200).any(|_| endless.wait(1, None) > RETRY_AFTER_MAX));
    }

    #[test]
    fn waits_grow_and_are_random() {
        let retry =
            Retry::budget(1.0).backoff(Duration::from_millis(10)..Duration::from_millis(35));
        for (number, most) in [(1, 10), (2, 20), (3, 35), (200, 35)] {
            let waits: Vec<_> = (0..200).map(|_| retry.wait(number, None)).collect();
            assert!(waits.iter().all(|wait| *wait < Duration::from_millis(most)));
            assert!(waits.iter().any(|wait| *wait > Duration::from_millis(most / 2)));
        }
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "2".parse().unwrap());
        assert_eq!(retry.wait(1, Some(&headers)), Duration::from_secs(2));
        headers.insert("retry-after", "4000".parse().unwrap());
        assert_eq!(retry.wait(1, Some(&headers)), RETRY_AFTER_MAX);
    }
}
