//! A task as its owner sees it: awaited, cancelled, or let go. Never polls the task itself.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use async_task::FallibleTask;
use pin_project_lite::pin_project;

use super::ready::Label;
use crate::error::message_of_panic;

/// What a panic threw, with its message.
pub struct Panicked(Box<Thrown>);

struct Thrown {
    message: Box<str>,
    /// Behind a lock, so that errors with a panic in them are `Sync`.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl Panicked {
    pub(super) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = message_of_panic(&*payload).into();
        Self(Box::new(Thrown { message, payload: Mutex::new(payload) }))
    }

    /// The text that the task panicked with; `not a text` if it threw something else.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What was thrown, for [`std::panic::resume_unwind`].
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

pin_project! {
    /// See [`caught`].
    pub(crate) struct Caught<F> {
        #[pin]
        future: F,
    }
}

/// What a future gives, or what it panicked with: for code of the caller's that runs in a task of the engine's.
pub(crate) fn caught<F: Future>(future: F) -> Caught<F> {
    Caught { future }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panicked>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        poll_caught(|| self.project().future.poll(context))
    }
}

/// One poll of it.
pub(super) fn poll_caught<T>(poll: impl FnOnce() -> Poll<T>) -> Poll<Result<T, Panicked>> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(Panicked::new(payload))),
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panicked").field(&self.message()).finish()
    }
}

/// Why there is no output of a task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It panicked; a bug in the task.
    #[error("the task panicked: {}", .0.message())]
    Panicked(Panicked),
    /// It was cancelled, or its core went away.
    #[error("the task was cancelled")]
    Cancelled,
}

/// A task's output on its way to the handle. Invariant: `Some` until it is taken.
#[derive(Debug)]
pub(super) struct Outcome<T>(Option<Result<T, Panicked>>);

impl<T> Outcome<T> {
    pub(super) fn new(result: Result<T, Panicked>) -> Self {
        Self(Some(result))
    }

    fn take(outcome: Option<Self>) -> Result<T, TaskError> {
        let result = outcome.and_then(|mut outcome| outcome.0.take());
        result.ok_or(TaskError::Cancelled)?.map_err(TaskError::Panicked)
    }
}

impl<T> Drop for Outcome<T> {
    fn drop(&mut self) {
        // Nobody wanted it: it goes on the core, in the midst of other tasks.
        drop_quietly(|| self.0 = None);
    }
}

/// Runs a drop of foreign things and returns whether it went well.
pub(super) fn drop_quietly(drop: impl FnOnce()) -> bool {
    // What a panicking drop throws is not dropped in its turn: that could go on forever.
    catch_unwind(AssertUnwindSafe(drop)).map_err(std::mem::forget).is_ok()
}

/// A running task. Awaiting it gives its output; dropping it cancels the task, whose future is then dropped on its core by the next [`Tasks::run`](super::Tasks::run).
/// `Send` if the output is.
#[derive(Debug)]
#[must_use = "a task is cancelled when its handle is dropped: await it or call `detach`"]
pub struct Task<T>(FallibleTask<Outcome<T>, Label>);

impl<T> Task<T> {
    pub(super) fn new(task: async_task::Task<Outcome<T>, Label>) -> Self {
        Self(task.fallible())
    }

    /// Lets the task run on its own.
    pub fn detach(self) {
        self.0.detach();
    }

    /// Whether there is an output, an error included; `true` also for a task that was cancelled and is still to be dropped.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Cancels the task and waits until its future is dropped. Gives its output if it came first.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`] as a rule, [`TaskError::Panicked`] if it did so before.
    pub async fn cancel(self) -> Result<T, TaskError> {
        Outcome::take(self.0.cancel().await)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(Outcome::take)
    }
}
