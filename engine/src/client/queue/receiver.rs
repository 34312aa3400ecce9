//! The end of a queue where values come out: waiting for one, and the stream of them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use event_listener::{EventListener, Listener};
use futures_core::Stream;

use super::Shared;
use super::error::TryRecvError;
use super::ticket::Item;

/// The end of a queue where values come out. Also a [`Stream`] of [`Item`]s.
///
/// ```
/// use std::num::NonZeroUsize;
/// use ringshot::queue;
/// # use ringshot::client::blocking::block_on;
///
/// let (sender, receiver) = queue::bounded(NonZeroUsize::MIN);
/// let producer = std::thread::spawn(move || (0..3).for_each(|n| block_on(sender.send(n)).expect("it is open")));
/// let mut sum = 0;
/// while let Some(item) = block_on(receiver.recv()) {
///     sum += *item;
/// }
/// assert_eq!(sum, 3);
/// # producer.join().expect("it does not panic");
/// ```
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Of the stream.
    listener: Option<EventListener>,
}

impl<T> Receiver<T> {
    /// The first one.
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared, listener: None }
    }

    /// The value that was queued first, with its ticket; waits while there is none. `None` once the queue is closed and empty. A future that is dropped has taken nothing.
    pub async fn recv(&self) -> Option<Item<T>> {
        let mut waiting = Waiting { shared: &self.shared, listener: None };
        loop {
            if let Some(next) = self.attempt() {
                return next;
            }
            match &mut waiting.listener {
                // And tries again, for what came in between.
                None => waiting.listener = Some(self.shared.filled.listen()),
                Some(listener) => {
                    listener.await;
                    waiting.listener = None;
                }
            }
        }
    }

    /// The value that was queued first, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    pub fn try_recv(&self) -> Result<Item<T>, TryRecvError> {
        self.shared.try_recv()
    }

    /// See [`Sender::joined`](super::Sender::joined).
    pub async fn joined(&self) {
        self.shared.ledger.joined().await;
    }

    /// See [`Sender::close`](super::Sender::close).
    pub fn close(&self) {
        self.shared.close();
    }

    /// See [`Sender::close_now`](super::Sender::close_now).
    pub fn close_now(&self) -> usize {
        self.shared.close_now()
    }

    /// Values queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.lock().items.len()
    }

    /// What `recv` gives, or `None` if it has to wait.
    fn attempt(&self) -> Option<Option<Item<T>>> {
        match self.shared.try_recv() {
            Ok(item) => Some(Some(item)),
            Err(TryRecvError::Closed) => Some(None),
            Err(TryRecvError::Empty) => None,
        }
    }
}

/// A `recv` that waits. Dropped with a notification that it did not use, it passes that on.
struct Waiting<'a, T> {
    shared: &'a Shared<T>,
    listener: Option<EventListener>,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let notified = self.listener.take().is_some_and(Listener::discard);
        if notified && !self.shared.lock().items.is_empty() {
            self.shared.announce();
        }
    }
}

impl<T> Stream for Receiver<T> {
    type Item = Item<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(next) = self.attempt() {
                self.listener = None;
                return Poll::Ready(next);
            }
            match self.listener.as_mut() {
                None => self.listener = Some(self.shared.streamed.listen()),
                Some(listener) => {
                    ready!(Pin::new(listener).poll(context));
                    self.listener = None;
                }
            }
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.lock().receivers += 1;
        Self { shared: Arc::clone(&self.shared), listener: None }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receivers -= 1;
        let last = state.receivers == 0;
        drop(state);
        if last {
            self.shared.close_now();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("queued", &self.queued()).finish_non_exhaustive()
    }
}
