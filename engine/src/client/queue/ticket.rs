//! What was sent and is not done: the count behind `joined`, and the tickets that bring it down.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use event_listener::Event;

use super::wait_for;

/// A value that was received. It is done when this is dropped.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use ringshot::queue;
/// let (sender, receiver) = queue::bounded(NonZeroUsize::MIN);
/// sender.try_send(String::from("value"))?;
/// let (value, ticket) = receiver.try_recv()?.into_parts();
/// assert_eq!(value, "value"); // and not done yet: `joined` waits for the ticket
/// drop(ticket);
///
/// sender.try_send(String::from("another"))?;
/// assert_eq!(receiver.try_recv()?.into_inner(), "another"); // and done
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Item<T> {
    // Dropped first.
    value: T,
    ticket: Ticket,
}

impl<T> Item<T> {
    pub(super) fn new(value: T, ticket: Ticket) -> Self {
        Self { value, ticket }
    }

    /// The value, which is done herewith.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The value, and the ticket to be dropped when it is done.
    pub fn into_parts(self) -> (T, Ticket) {
        (self.value, self.ticket)
    }
}

impl<T> Deref for Item<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Item<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Stands for a received value that is not done. `joined` waits for its drop, wherever that is.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use ringshot::{client::blocking::block_on, queue};
/// let (sender, receiver) = queue::bounded(NonZeroUsize::MIN);
/// sender.try_send(1)?;
/// let (_, ticket) = receiver.try_recv()?.into_parts();
/// std::thread::spawn(move || drop(ticket));
/// block_on(sender.joined()); // until the ticket is gone
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a ticket that is dropped says that its value is done"]
pub struct Ticket {
    ledger: Arc<Ledger>,
    values: usize,
}

impl Ticket {
    /// For so many of the values that the ledger counts.
    pub(super) fn new(ledger: &Arc<Ledger>, values: usize) -> Self {
        Self { ledger: Arc::clone(ledger), values }
    }

    pub(super) fn values(&self) -> usize {
        self.values
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let before = self.ledger.unfinished.fetch_sub(self.values, Ordering::SeqCst);
        if before == self.values {
            self.ledger.settled.fetch_add(1, Ordering::SeqCst);
            self.ledger.finished.notify(usize::MAX);
        }
    }
}

/// What was sent and is not done.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    unfinished: AtomicUsize,
    /// How often `unfinished` came to 0: who waits for that must not miss it because more was sent since.
    settled: AtomicU64,
    finished: Event,
}

impl Ledger {
    pub(super) fn add_one(&self) {
        self.unfinished.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) async fn joined(&self) {
        let before = self.settled.load(Ordering::SeqCst);
        wait_for(&self.finished, || {
            let done = self.unfinished.load(Ordering::SeqCst) == 0
                || self.settled.load(Ordering::SeqCst) != before;
            done.then_some(())
        })
        .await;
    }
}
