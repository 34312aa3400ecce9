//! The future of one resolution. Runs on any executor, or on none; dropping it hurts nobody else who waits for the same name.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use event_listener::EventListener;

use super::flight::Flight;
use super::resolver::Inner;
use super::{Addresses, ResolveError};
use crate::sync::block_on;

/// A resolution in progress; made by [`Resolver::resolve`](super::Resolver::resolve).
///
/// Literals, overrides, `localhost` and names in the cache are ready at the first poll. It has no timeout of its own: drop it when it took too long.
/// Polled again after it was ready, it is ready again.
///
/// ```
/// use ringshot::client::blocking::block_on;
/// use ringshot::clock::Instant;
/// use ringshot::resolve::{Resolver, Resolving};
///
/// let resolver = Resolver::builder().build()?;
/// let resolving: Resolving = resolver.resolve("127.0.0.1", 80, Instant::now());
/// assert_eq!(block_on(resolving)?.first(), ([127, 0, 0, 1], 80).into());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct Resolving(State);

enum State {
    Ready(Result<Addresses, ResolveError>),
    Waiting(Waiting),
}

/// One of those who wait for a flight.
struct Waiting {
    inner: Arc<Inner>,
    flight: Arc<Flight>,
    port: u16,
    /// Heard since the last poll.
    listener: Option<EventListener>,
}

impl Resolving {
    pub(super) fn ready(result: Result<Addresses, ResolveError>) -> Self {
        Self(State::Ready(result))
    }

    /// Waits for `flight`, which counts it already.
    pub(super) fn waiting(inner: Arc<Inner>, flight: Arc<Flight>, port: u16) -> Self {
        Self(State::Waiting(Waiting { inner, flight, port, listener: None }))
    }

    /// Blocks the calling thread until it is ready: never call it on a thread that turns a shard or an executor.
    ///
    /// # Errors
    /// Those of [`Resolver::resolve`](super::Resolver::resolve).
    pub fn wait(self) -> Result<Addresses, ResolveError> {
        block_on(self)
    }
}

impl Future for Resolving {
    type Output = Result<Addresses, ResolveError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.clone()),
            State::Waiting(waiting) => waiting.poll(context),
        }
    }
}

impl Waiting {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Addresses, ResolveError>> {
        // Before the look, so that no ring falls between the two.
        let mut listener = self.flight.listen();
        let (inner, flight) = (&self.inner, &self.flight);
        let looked = flight.poll(|name| inner.ask(name), |result| inner.land(flight, result));
        if let Poll::Ready(outcome) = looked {
            return Poll::Ready(inner.addresses(outcome, self.port));
        }
        if Pin::new(&mut listener).poll(context).is_ready() {
            // Not in a loop here: a lookup that wakes itself would never let this task go.
            context.waker().wake_by_ref();
            flight.look_again();
        }
        self.listener = Some(listener);
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inner.leave(&self.flight);
    }
}

impl fmt::Debug for Resolving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Ready(result) => f.debug_tuple("Ready").field(result).finish(),
            State::Waiting(waiting) => {
                f.debug_tuple("Waiting").field(waiting.flight.name()).finish()
            }
        }
    }
}
