//! What locks, wakers and drops of foreign things need in common. Blocks for no longer than a lock is held, but in [`block_on`], and lets no panic of others end a core.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Locks. No code of others runs with one of our locks held but for the copy of a waker, before anything has changed: there is nothing that a panic could have left half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a drop of foreign things, or one of their wakers, and returns whether it went well.
pub(crate) fn drop_quietly(drop: impl FnOnce()) -> bool {
    // What a panicking drop throws is not dropped in its turn: that could go on forever.
    catch_unwind(AssertUnwindSafe(drop)).map_err(std::mem::forget).is_ok()
}

/// Wakes whoever waits: a waker may be foreign code, which must not end a core.
#[inline]
pub(crate) fn wake_quietly(waker: Waker) {
    drop_quietly(|| waker.wake());
}

/// Keeps the waker of `cx`, unless it is kept already. Gives the one that it replaces, to be dropped without a lock: the last of a task takes along what the task holds, which may be ours.
#[inline]
#[must_use]
pub(crate) fn note_waker(place: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        _ => place.replace(cx.waker().clone()),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on the calling thread, which sleeps while there is nothing to do.
///
/// Not for a task of a core: the core would sleep too, and with it whatever it was to do for the future.
///
/// ```
/// assert_eq!(ringshot::client::blocking::block_on(async { 2 + 2 }), 4);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
