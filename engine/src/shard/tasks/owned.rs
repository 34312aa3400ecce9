//! What one thread alone can reach, within what any thread may hold. With `live` and `handle` it has the unsafe code of the tasks.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

thread_local! {
    /// This thread's number, 0 if none was needed. Without a destructor, so that it can be read until the thread's very end.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// This thread's number, which no other thread ever has: unlike an address, it is not used again.
fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    if NUMBER.get() == 0 {
        NUMBER.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    }
    NUMBER.get()
}

/// A value that one thread alone can look at. Invariant: `owner` is the number of the thread that made it, and `value` is reached by `get` alone.
#[derive(Debug)]
pub(super) struct Owned<T> {
    owner: u64,
    value: T,
}

// SAFETY: `get` hands out `&T` to the thread with the number `owner` only, and numbers are never used again, so no two threads ever have a `&T` at the same time, however many have a
// `&Owned<T>`. The value may be dropped by another thread, which `T: Send` allows.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    pub(super) fn new(value: T) -> Self {
        Self { owner: number(), value }
    }

    /// The value, on its own thread.
    #[inline]
    pub(super) fn get(&self) -> Option<&T> {
        (self.owner == NUMBER.get()).then_some(&self.value)
    }
}

/// A future that is polled and dropped on the thread that made this, or never: one that is still there when this goes is forgotten. Invariants: `owner` is the number of that thread; the future is reached by
/// `poll` and `clear` alone, and moved by neither.
pub(super) struct Homed<F> {
    owner: u64,
    /// Some until `clear`.
    future: RefCell<ManuallyDrop<Option<F>>>,
}

// SAFETY: `future` is looked at by the thread with the number `owner` only, the one that made it, since numbers are never used again; another thread that drops this does nothing to the future.
unsafe impl<F> Send for Homed<F> {}
// SAFETY: as for `Send`: with `&Homed<F>` no other thread than its own gets as far as the cell.
unsafe impl<F> Sync for Homed<F> {}

impl<F: Future> Homed<F> {
    pub(super) fn new(future: F) -> Self {
        Self { owner: number(), future: RefCell::new(ManuallyDrop::new(Some(future))) }
    }

    /// Polls the future: pending as well where it can't be reached, on another thread, within its own poll, or when it is gone.
    ///
    /// `self` is pinned: it has to stay where it is until `clear`, or for good.
    #[inline]
    pub(super) fn poll(self: Pin<&Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.owner != NUMBER.get() {
            return Poll::Pending;
        }
        let Ok(mut future) = self.get_ref().future.try_borrow_mut() else { return Poll::Pending };
        let Some(future) = future.as_mut() else { return Poll::Pending };
        // SAFETY: the future is a part of `self`, which is pinned; nothing moves it out, and `clear` drops it in its place.
        unsafe { Pin::new_unchecked(future) }.poll(context)
    }

    /// Drops the future, on its own thread; a panic of its drop goes on. Elsewhere, within its own poll or a second time nothing happens.
    pub(super) fn clear(&self) {
        if self.owner != NUMBER.get() {
            return;
        }
        if let Ok(mut future) = self.future.try_borrow_mut() {
            **future = None;
        }
    }
}
