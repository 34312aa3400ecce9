//! A batch's results as they come, and in the order of its inputs. Never drives a request: the cores do.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use super::Done;
use super::reorder::Reorder;
use super::state::{End, Shared};
use super::summary::Summary;
use crate::client::Client;
use crate::client::blocking::{IN_A_TASK, block_on, may_wait_for};
use crate::clock::Instant;

/// Blocks of inputs that fail at once after a shutdown, before the executor's other tasks have their turn.
const BLOCKS_MAX: usize = 64;

/// Brings a batch to its cores. Nobody locks it: the mutex makes what holds it `Sync`.
pub(super) type Starting = Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// The consumer's hold on a batch. Dropping it abandons the batch.
pub(super) struct Handle<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    /// Results in the consumer's hands. All but those given on hold their credits.
    taken: VecDeque<Done<T>>,
    /// Credits to give back: fewer than `block`, and none while `taken` is empty.
    owed: usize,
    block: usize,
    /// Brings the batch to those cores whose mailboxes were full.
    starting: Option<Starting>,
    /// Keeps the engine.
    client: Client,
}

impl<T: Send + 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        self.shared.end(End::Abandoned);
    }
}

impl<T: Send + 'static> Handle<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, starting: Option<Starting>, client: Client) -> Self {
        let block = shared.lock().credits.block();
        Self { shared, taken: VecDeque::new(), owed: 0, block, starting, client }
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        if let Some(starting) = &mut self.starting
            && let starting = starting.get_mut().unwrap_or_else(PoisonError::into_inner)
            && starting.as_mut().poll(cx).is_ready()
        {
            self.starting = None;
        }
    }

    /// The next result, its credit given back: see [`Handle::consumed`].
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done<T>>> {
        if self.taken.is_empty() {
            // The first one's credit goes back under the same lock.
            ready!(self.poll_more(cx, 1));
            return Poll::Ready(self.taken.pop_front());
        }
        let done = self.taken.pop_front();
        self.consumed();
        Poll::Ready(done)
    }

    /// The next result. Its credit is the caller's to give back.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done<T>>> {
        if self.taken.is_empty() {
            ready!(self.poll_more(cx, 0));
        }
        Poll::Ready(self.taken.pop_front())
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, credits: usize) -> Poll<()> {
        self.start(cx);
        self.shared.fail_rest(cx);
        if !ready!(self.shared.poll_take(cx, &mut self.taken, credits)) {
            self.raise();
        }
        Poll::Ready(())
    }

    /// A result was consumed: its credit goes back, not alone if there are more to be consumed.
    fn consumed(&mut self) {
        self.owed += 1;
        self.pay(self.block);
    }

    /// Gives credits back if there are so many, or no more results at hand.
    fn pay(&mut self, block: usize) {
        if self.owed > 0 && (self.owed >= block || self.taken.is_empty()) {
            self.shared.consumed(std::mem::take(&mut self.owed));
        }
    }

    /// Goes on with a panic of the caller's own inputs or closures.
    fn raise(&self) {
        let thrown = self.shared.lock().thrown.take();
        if let Some(payload) = thrown {
            resume_unwind(payload);
        }
    }

    /// Waits until every core is done with the batch. `consume` gets those results that no core could consume.
    pub(super) async fn closed(&mut self, mut consume: impl FnMut(Done<T>)) {
        poll_fn(|cx| {
            self.start(cx);
            for _ in 0..BLOCKS_MAX {
                // What waits here holds credits, without which nothing more can fail.
                self.shared.take_left().into_iter().for_each(&mut consume);
                // It is noted who waits before the next look: a core that leaves then wakes it.
                if self.shared.poll_closed(cx).is_ready() {
                    return Poll::Ready(());
                }
                if !self.shared.fail_rest(cx) {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.raise();
        self.shared.take_left().into_iter().for_each(consume);
    }

    pub(super) fn summary(&self) -> Summary {
        let state = self.shared.lock();
        let ended = state.ended.unwrap_or_else(Instant::now);
        let summary = state.tally.summary(ended - state.started);
        Summary { cut_short: state.cut_short, ..summary }
    }
}

/// A batch's results as they come, from [`Batch::completed`](super::Batch::completed). A [`Stream`], and with [`Completed::into_blocking`] an iterator.
///
/// Whoever reads it slowly, or awaits something else, holds up nothing that is on its way; inputs are not pulled then, once the window is full of results.
/// Dropping it cancels what is in flight, at once.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # let urls: Vec<_> = (0..20).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
/// # use std::time::Duration;
/// let mut completed = client.batch(urls).completed();
/// block_on(async {
///     let first = completed.next().await.expect("there are twenty");
///     assert!(first.result.is_ok());
///     completed.pause(); // what is on its way goes on, nothing more begins
///     completed.resume();
///     let summary = completed.drain(Duration::from_secs(5)).await;
///     println!("{summary}");
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it cancels the batch"]
pub struct Completed<T: Send + 'static> {
    handle: Handle<T>,
}

impl<T: Send + 'static> Completed<T> {
    pub(super) fn new(handle: Handle<T>) -> Self {
        Self { handle }
    }

    /// The next result; `None` when every input that was pulled has had its own. A future that is dropped has taken nothing.
    ///
    /// # Panics
    /// When the batch's iterator or stream did, with what it threw, after the results of what it gave before.
    pub async fn next(&mut self) -> Option<Done<T>> {
        poll_fn(|cx| self.poll_done(cx)).await
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done<T>>> {
        self.handle.poll_next(cx)
    }

    /// Pulls no more inputs until [`Completed::resume`]. What is in flight goes on.
    pub fn pause(&self) {
        self.handle.shared.pause();
    }

    /// Pulls inputs again.
    pub fn resume(&self) {
        self.handle.shared.resume();
    }

    /// Pulls no more inputs, waits until what is in flight has ended or `longest` has passed, cancels the rest, and tells what the whole batch came to. The
    /// results that nobody took are dropped.
    ///
    /// # Panics
    /// As [`Completed::next`].
    pub async fn drain(mut self, longest: Duration) -> Summary {
        self.handle.shared.stop(longest);
        while self.next().await.is_some() {}
        self.handle.closed(drop).await;
        self.handle.summary()
    }

    /// Cancels what is in flight, and drops what nobody took: what dropping it does.
    pub fn abort(self) {}

    /// The results as an iterator that waits. Not for a core, or an executor's thread: in a task of a core it panics.
    pub fn into_blocking(self) -> Blocking<T> {
        Blocking(self)
    }
}

impl<T: Send + 'static> Stream for Completed<T> {
    type Item = Done<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Done<T>>> {
        self.poll_done(cx)
    }
}

impl<T: Send + 'static> fmt::Debug for Completed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.handle.shared.lock();
        f.debug_struct("Completed")
            .field("pulled", &state.pulled)
            .field("finished", &state.finished)
            .field("waiting", &(state.results.len() + self.handle.taken.len()))
            .finish_non_exhaustive()
    }
}

/// [`Completed`], for a thread that waits for each result.
///
/// # Panics
/// Where [`blocking::Client`](crate::client::blocking::Client) refuses its calls, since a result has no place for that error: the iterator would stop the core that
/// the task is on. And as [`Completed::next`].
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # let urls: Vec<_> = (0..20).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
/// let ok = client.batch(urls).completed().into_blocking().filter(|done| done.result.is_ok());
/// assert_eq!(ok.count(), 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it cancels the batch"]
pub struct Blocking<T: Send + 'static>(Completed<T>);

impl<T: Send + 'static> Iterator for Blocking<T> {
    type Item = Done<T>;

    fn next(&mut self) -> Option<Done<T>> {
        assert!(may_wait_for(self.0.handle.client.engine()), "{IN_A_TASK}");
        block_on(self.0.next())
    }
}

/// A batch's results in the order of its inputs, from [`Batch::ordered`](super::Batch::ordered). A [`Stream`].
///
/// Results that wait for an earlier one keep their credits, but for as many as the reorder buffer has room for: so at most that many more than the window are
/// pulled and not yet given. Dropping it cancels what is in flight, at once.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # let urls: Vec<_> = (0..20).map(|n| origin.url(&format!("/bytes/{n}"))).collect();
/// # use std::num::NonZeroUsize;
/// let mut ordered = client.batch(urls).ordered(NonZeroUsize::new(10).expect("not zero"));
/// let mut next = 0;
/// while let Some(done) = block_on(ordered.next()) {
///     assert_eq!(done.index, next);
///     next += 1;
/// }
/// assert_eq!(next, 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it cancels the batch"]
pub struct Ordered<T: Send + 'static> {
    handle: Handle<T>,
    early: Reorder<Done<T>>,
    /// Early results that have given their credits back at most.
    room: usize,
    /// Early results that keep them.
    withheld: usize,
}

impl<T: Send + 'static> Ordered<T> {
    pub(super) fn new(handle: Handle<T>, room: NonZeroUsize) -> Self {
        Self { handle, early: Reorder::new(), room: room.get(), withheld: 0 }
    }

    /// The next result; `None` when every input that was pulled has had its own. A future that is dropped has taken nothing.
    ///
    /// # Panics
    /// As [`Completed::next`].
    pub async fn next(&mut self) -> Option<Done<T>> {
        poll_fn(|cx| self.poll_done(cx)).await
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done<T>>> {
        loop {
            if let Some(done) = self.early.pop() {
                if self.withheld > 0 {
                    self.withheld -= 1;
                    self.handle.consumed();
                }
                return Poll::Ready(Some(done));
            }
            let Some(done) = ready!(self.handle.poll_take(cx)) else { return Poll::Ready(None) };
            self.early.insert(done.index, done);
            if self.early.waiting() > self.room {
                self.withheld += 1;
                self.handle.pay(self.handle.block);
            } else {
                self.handle.consumed();
            }
        }
    }
}

// Nothing is pinned in it.
impl<T: Send + 'static> Unpin for Handle<T> {}
impl<T: Send + 'static> Unpin for Ordered<T> {}

impl<T: Send + 'static> Stream for Ordered<T> {
    type Item = Done<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Done<T>>> {
        self.poll_done(cx)
    }
}

impl<T: Send + 'static> fmt::Debug for Ordered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered").field("early", &self.early.waiting()).finish_non_exhaustive()
    }
}
