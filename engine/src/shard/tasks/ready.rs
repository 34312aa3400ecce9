//! The tasks to poll: a plain queue for wakes on the core's thread, one behind a lock for all others. Polls nothing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::doorbell::Doorbell;

/// What goes with a task: its name, for the watch, and where it goes when it is woken.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) name: &'static str,
    pub(super) ready: Arc<Ready>,
}

pub(super) type Runnable = async_task::Runnable<Label>;

/// Puts a task that was woken, on any thread, where it belongs. A function, not a closure that holds the queue: async-task counts references to a task around the call of one that holds anything,
/// four atomic operations a wake.
#[inline]
pub(super) fn schedule(runnable: Runnable) {
    let ready = Arc::as_ptr(&runnable.metadata().ready);
    // SAFETY: the task's label holds a reference to `ready`. It stays as long as `runnable`, which is put into a queue of this very thread here: nobody takes it out before this returns.
    let ready = unsafe { &*ready };
    match ready.local.get() {
        Some(local) => ready.push_own(local, runnable),
        // Here another thread may be done with the task, label and all, before this returns.
        None => Arc::clone(&runnable.metadata().ready).push_remote(runnable),
    }
}

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
struct Owned<T> {
    owner: u64,
    value: T,
}

// SAFETY: `get` hands out `&T` to the thread with the number `owner` only, and numbers are never used again, so no two threads ever have a `&T` at the same time, however many have a
// `&Owned<T>`. The value may be dropped by another thread, which `T: Send` allows.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    fn new(value: T) -> Self {
        Self { owner: number(), value }
    }

    /// The value, on its own thread.
    #[inline]
    fn get(&self) -> Option<&T> {
        (self.owner == NUMBER.get()).then_some(&self.value)
    }
}

/// What other threads woke. On cache lines of its own: they write here while the core works beside it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Remote {
    /// Holds a task at most once.
    queue: Mutex<Vec<Runnable>>,
    /// Whether the queue has any; stored with the lock held.
    any: AtomicBool,
}

/// The tasks to poll on one core.
#[derive(Debug)]
pub(super) struct Ready {
    local: Owned<RefCell<VecDeque<Runnable>>>,
    doorbell: Arc<Doorbell>,
    remote: Remote,
}

impl Ready {
    /// Empty queues of the calling thread.
    pub(super) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self { local: Owned::new(RefCell::default()), doorbell, remote: Remote::default() }
    }

    /// Takes a task that was woken, on any thread.
    #[inline]
    pub(super) fn push(&self, runnable: Runnable) {
        match self.local.get() {
            Some(local) => self.push_own(local, runnable),
            None => self.push_remote(runnable),
        }
    }

    #[inline]
    fn push_own(&self, local: &RefCell<VecDeque<Runnable>>, runnable: Runnable) {
        local.borrow_mut().push_back(runnable);
        self.doorbell.ring_own();
    }

    fn push_remote(&self, runnable: Runnable) {
        let mut queue = self.remote.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(runnable);
        let first = queue.len() == 1;
        self.remote.any.store(true, Ordering::Release);
        drop(queue);
        // Who comes after the first is collected with it.
        if first {
            self.doorbell.ring();
        }
    }

    /// Takes over what other threads woke, and returns how many tasks there are to pop: none on another thread.
    pub(super) fn collect(&self) -> usize {
        let Some(local) = self.local.get() else { return 0 };
        let mut local = local.borrow_mut();
        if self.remote.any.load(Ordering::Acquire) {
            let mut queue = self.remote.queue.lock().unwrap_or_else(PoisonError::into_inner);
            local.extend(queue.drain(..));
            self.remote.any.store(false, Ordering::Release);
        }
        local.len()
    }

    /// The task that became ready first, of those collected.
    #[inline]
    pub(super) fn pop(&self) -> Option<Runnable> {
        self.local.get()?.borrow_mut().pop_front()
    }

    /// Whether there is any, collected or not.
    pub(super) fn is_any(&self) -> bool {
        let local = self.local.get().is_some_and(|local| !local.borrow().is_empty());
        local || self.remote.any.load(Ordering::Acquire)
    }
}
