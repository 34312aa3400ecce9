//! The wait for a body's next piece. Dropped before that came, it is over: the clock of `read_idle` stands still while nobody waits.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::error::Error;

/// A body that is read piece by piece.
pub(super) trait Pieces {
    /// The next piece, or `None` at the end. From `Pending` on it is waited for.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>>;

    /// Nobody waits for the next piece any more, for now.
    fn stop_waiting(&mut self);
}

/// The next piece of a body.
pub(super) struct Chunk<'a, B: Pieces> {
    body: &'a mut B,
    waits: bool,
}

impl<'a, B: Pieces> Chunk<'a, B> {
    pub(super) fn of(body: &'a mut B) -> Self {
        Self { body, waits: false }
    }
}

impl<B: Pieces> Future for Chunk<'_, B> {
    type Output = Result<Option<Bytes>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.body.poll_piece(cx);
        self.waits = polled.is_pending();
        polled
    }
}

impl<B: Pieces> Drop for Chunk<'_, B> {
    fn drop(&mut self) {
        if self.waits {
            self.body.stop_waiting();
        }
    }
}
