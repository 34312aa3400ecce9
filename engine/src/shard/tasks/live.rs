//! A task: its future, what wakes it, and what its handle waits for, in one allocation. Never polled or dropped but on the core's thread.

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::handle::{Awaited, Joint, Outcome, poll_caught};
use super::owned::Homed;
use super::ready::{Place, Ready};
use crate::sync::drop_quietly;

/// A task as its core sees it.
pub(super) trait Run: Send + Sync {
    /// Polls it once, or drops its future if it was cancelled. Returns it unless it has ended.
    fn run(self: Arc<Self>) -> Option<Arc<dyn Run>>;
    /// Drops its future and tells its handle.
    fn end(&self);
    /// It is no longer in the queue of other threads.
    fn answer(&self);
}

/// A task. Never moved: made within an `Arc`, and never taken out of it.
pub(super) struct Live<F: Future> {
    ready: Arc<Ready>,
    place: Place,
    /// Whether it is in the queue of what other threads woke.
    is_called: AtomicBool,
    is_cancelled: AtomicBool,
    joint: Joint<F::Output>,
    future: Homed<F>,
}

impl<F: Future + 'static> Live<F> {
    pub(super) fn new(future: F, ready: Arc<Ready>, place: Place) -> Arc<Self> {
        let (is_called, is_cancelled) = (AtomicBool::new(false), AtomicBool::new(false));
        let (joint, future) = (Joint::new(), Homed::new(future));
        Arc::new(Self { ready, place, is_called, is_cancelled, joint, future })
    }

    #[inline]
    fn wake(&self) {
        self.ready.push(self.place, &self.is_called);
    }

    fn finish(&self, outcome: Option<Outcome<F::Output>>) {
        let panics = matches!(&outcome, Some(outcome) if outcome.is_panic());
        let drop_panics = !drop_quietly(|| self.future.clear());
        self.ready.count_panics(u64::from(panics) + u64::from(drop_panics));
        // Who wakes it from here on wakes nobody.
        self.is_called.store(true, Ordering::Release);
        self.joint.finish(outcome);
    }

    /// A waker's four functions. Their pointers come from `Arc::as_ptr` of an `Arc<Self>`, and a waker counts as one reference, but for the one that [`Run::run`] polls with.
    const WAKER: RawWakerVTable = RawWakerVTable::new(
        |task| {
            // SAFETY: the waker that is cloned keeps the task; the clone is the reference that is counted here.
            unsafe { Arc::increment_strong_count(task.cast::<Self>()) };
            RawWaker::new(task, &Self::WAKER)
        },
        // SAFETY: the waker is consumed, and its reference with it.
        |task| unsafe { Arc::from_raw(task.cast::<Self>()) }.wake(),
        // SAFETY: the waker keeps the task for as long as this lasts.
        |task| unsafe { &*task.cast::<Self>() }.wake(),
        // SAFETY: the waker's reference goes with it.
        |task| drop(unsafe { Arc::from_raw(task.cast::<Self>()) }),
    );
}

impl<F: Future + 'static> Run for Live<F> {
    #[inline]
    fn run(self: Arc<Self>) -> Option<Arc<dyn Run>> {
        if self.is_cancelled.load(Ordering::Acquire) {
            self.end();
            return None;
        }
        let waker = RawWaker::new(Arc::as_ptr(&self).cast(), &Self::WAKER);
        // SAFETY: the functions are those of a `Live<F>`. This waker counts as no reference, and is not dropped; that of the runner, `self`, outlives it.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(waker) });
        // SAFETY: a task never leaves its `Arc`.
        let future = unsafe { Pin::new_unchecked(&self.future) };
        match poll_caught(|| future.poll(&mut Context::from_waker(&waker))) {
            Poll::Pending => return Some(self),
            Poll::Ready(result) => self.finish(Some(Outcome::new(result))),
        }
        None
    }

    fn end(&self) {
        self.finish(None);
    }

    fn answer(&self) {
        // Before it is polled: who wakes it from here on calls it anew, and what those before did is seen.
        self.is_called.swap(false, Ordering::AcqRel);
    }
}

impl<F: Future + 'static> Awaited<F::Output> for Live<F> {
    fn joint(&self) -> &Joint<F::Output> {
        &self.joint
    }

    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.wake();
    }
}

/// See [`Spawner::task_bytes`](super::Spawner::task_bytes).
pub(super) const fn task_bytes<F: Future>() -> usize {
    // An `Arc` counts twice: those that hold it, and those that only may.
    let (counts, task) = (Layout::new::<[AtomicUsize; 2]>(), Layout::new::<Live<F>>());
    let align = if counts.align() > task.align() { counts.align() } else { task.align() };
    (counts.size().next_multiple_of(task.align()) + task.size()).next_multiple_of(align)
}
