//! What was sent and is not done: the count behind `joined`, and the tickets that bring it down.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
        if self.values > 0 && self.ledger.finish(self.values as u64) {
            self.ledger.finished.notify(usize::MAX);
        }
    }
}

/// What was sent and is not done.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Below [`TIMES`] what is unfinished; above, how often that came to 0: who waits for it must not miss it because more was sent since. One number, since whoever
    /// saw the one without the other would take what was done before for what it waits for.
    count: AtomicU64,
    finished: Event,
}

/// One time that nothing was unfinished. It wraps after 16 million of them, which nobody sleeps through; a queue holds fewer values than this.
const TIMES: u64 = 1 << 40;

impl Ledger {
    pub(super) fn add_one(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// So many are done; whether all are.
    fn finish(&self, values: u64) -> bool {
        let less = |count: u64| {
            let left = count - values;
            Some(if left.is_multiple_of(TIMES) { left.wrapping_add(TIMES) } else { left })
        };
        let before = self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        before.is_ok_and(|before| before % TIMES == values)
    }

    pub(super) async fn joined(&self) {
        let before = self.count.load(Ordering::SeqCst) / TIMES;
        wait_for(&self.finished, || {
            let count = self.count.load(Ordering::SeqCst);
            (count.is_multiple_of(TIMES) || count / TIMES != before).then_some(())
        })
        .await;
    }
}
