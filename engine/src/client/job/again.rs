//! Whether a request is sent again, and when: the policy's part, and that of a connection which was stale. Sends nothing.

use std::time::Duration;

use super::Job;
use crate::client::Attempt;
use crate::client::request_body::Source;
use crate::clock::Instant;
use crate::error::{Error, Kind, Phase};
use crate::shard::TotalFrom;
use crate::shard::pool::exchange::Standing;
use crate::shard::pool::head::Head;
use crate::shard::pool::in_flight::Admission;

impl Job<'_> {
    /// Waits until the request may be sent again after this error, if it may.
    pub(super) async fn try_again(&mut self, error: Error) -> Result<(), Error> {
        let harmless = || self.may_repeat() || !error.may_have_been_processed();
        let repeats = || self.body.is_some() && harmless();
        let Some(wait) = self.wait_of(repeats, &Attempt::Failed(&error), None)? else {
            return Err(error);
        };
        self.leave(error.sent());
        self.again(wait).await
    }

    /// How long to wait before the request is sent again, if it may be, if its policy wants that, and if time is left.
    ///
    /// # Errors
    /// [`Kind::User`] where the policy's judge panicked.
    pub(super) fn wait_of(
        &self,
        repeats: impl FnOnce() -> bool,
        attempt: &Attempt<'_>,
        head: Option<&Head>,
    ) -> Result<Option<Duration>, Error> {
        let (retry, attempts) = (&self.client.member.settings.retry, self.parcel.attempts);
        let judged = retry.is_worth(attempts, attempt);
        if !judged.map_err(|message| self.judge_panicked(message, attempt))? || !repeats() {
            return Ok(None);
        }
        let wait = retry.wait(attempts, head.map(Head::headers));
        let in_time = self.deadline().is_none_or(|deadline| self.client.now() + wait < deadline);
        Ok((in_time && retry.withdraw()).then_some(wait))
    }

    /// The caller's judge had what the attempt came to, and panicked: that is how far the request had come.
    fn judge_panicked(&self, message: String, attempt: &Attempt<'_>) -> Error {
        let kind = Kind::User(message);
        if let Attempt::Failed(error) = attempt {
            return Error::clone(error).turned_into(kind);
        }
        let Standing { phase, progress } = self.standing();
        self.error(Error::new(kind, phase).with_progress(&progress))
    }

    /// When the total timeout passes, if there is one and it has begun.
    fn deadline(&self) -> Option<Instant> {
        let timeouts = &self.client.member.settings.pool.config.timeouts;
        let total = self.parcel.request.timeout.or(timeouts.total)?;
        let since = match timeouts.total_from {
            TotalFrom::Submit => Some(self.parcel.submitted),
            TotalFrom::Acquire => self.parcel.acquired,
        };
        since.map(|since| since + total)
    }

    pub(super) fn may_repeat(&self) -> bool {
        self.parcel.request.is_idempotent()
    }

    /// A body that was partly made when a reused connection died: the pool could not repeat it, but whoever can make it again may.
    pub(super) fn is_stale(&self, error: &Error) -> bool {
        let harmless = self.may_repeat() || !error.may_have_been_processed();
        let stale = error.is_reused() && error.got_bytes() == 0;
        let retries = self.client.member.settings.pool.config.retry_stale;
        retries
            && stale
            && harmless
            && !self.parcel.fresh
            && !self.is_last()
            && matches!(error.kind(), Kind::Closed | Kind::Io(_))
            && matches!(self.body, Some(Source::File(_)))
    }

    /// Whether it has been sent as often as its policy allows, with the present attempt.
    pub(super) fn is_last(&self) -> bool {
        self.client.member.settings.retry.is_last(self.parcel.attempts)
    }

    /// Waits for the next attempt. Who waits holds nothing, and comes back to the front of the queue.
    ///
    /// # Errors
    /// [`Kind::Shutdown`] where the core takes no more requests by then: there is no next attempt.
    pub(super) async fn again(&mut self, wait: Duration) -> Result<(), Error> {
        self.parcel.request.body.0 = self.body.take().unwrap_or_default();
        if !wait.is_zero() {
            if self.permit.take().is_some() {
                self.admission = Admission::Again;
            }
            let standing = Standing { phase: Phase::Backoff, ..Standing::default() };
            self.trace.iter().for_each(|trace| trace.standing.set(standing));
            self.client.ctx.sleep(wait).await;
        }
        if self.client.ctx.is_closing() {
            return Err(self.error(Error::new(Kind::Shutdown, Phase::Backoff)));
        }
        Ok(())
    }
}
