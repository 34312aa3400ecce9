//! A task's future, and the list of those that exist. Never polled or dropped but on the core's thread.

use std::any::Any;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use super::Core;
use super::handle::{Outcome, drop_quietly, poll_caught};

/// The tasks that exist, with a waker each, so that a runner that goes away can reach all of them. Invariant: a number is either in `free` or held by one [`Live`].
#[derive(Debug, Default)]
pub(super) struct Registry {
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl Registry {
    /// A number for a new task.
    pub(super) fn reserve(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.wakers.push(None);
            self.wakers.len() as u32 - 1
        })
    }

    pub(super) fn set_waker(&mut self, entry: u32, waker: Waker) {
        if let Some(place) = self.wakers.get_mut(entry as usize) {
            *place = Some(waker);
        }
    }

    /// Gives a number back. Its waker is for the caller to drop, when the registry is no longer borrowed.
    fn release(&mut self, entry: u32) -> Option<Waker> {
        self.free.push(entry);
        self.wakers.get_mut(entry as usize).and_then(Option::take)
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.wakers.iter_mut().filter_map(Option::take).collect()
    }

    pub(super) fn live(&self) -> usize {
        self.wakers.len() - self.free.len()
    }
}

pin_project! {
    /// A future that catches its panics, in its drop too, and leaves the registry when it goes.
    pub(super) struct Live<F> {
        // Some until the drop.
        #[pin]
        future: Option<F>,
        core: Rc<Core>,
        entry: u32,
    }

    impl<F> PinnedDrop for Live<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let panicked = !drop_quietly(|| this.future.set(None));
            this.core.panics.set(this.core.panics.get() + u64::from(panicked));
            let waker = this.core.registry.borrow_mut().release(*this.entry);
            drop(waker);
        }
    }
}

impl<F> Live<F> {
    pub(super) fn new(future: F, core: Rc<Core>, entry: u32) -> Self {
        Self { future: Some(future), core, entry }
    }
}

impl<F: Future> Future for Live<F> {
    type Output = Outcome<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else { return Poll::Pending };
        poll_caught(|| future.poll(context)).map(|result| {
            this.core.panics.set(this.core.panics.get() + u64::from(result.is_err()));
            Outcome::new(result)
        })
    }
}

/// Bytes of a task before its future: state, waker of who awaits it, table, name, a flag, and the way to the queue (async-task 4.7).
const HEADER_BYTES: usize = 64;
/// Bytes with which `spawn_local` remembers the thread.
const THREAD_BYTES: usize = 8;
/// From here on async-task puts the future into an allocation of its own.
const BOXED_BYTES: usize = 2048;

/// See [`Spawner::task_bytes`](super::Spawner::task_bytes).
pub(super) const fn task_bytes<F: Future>() -> usize {
    let future = size_of::<Live<F>>() + THREAD_BYTES;
    let (boxed, future) =
        if future >= BOXED_BYTES { (future, size_of::<usize>()) } else { (0, future) };
    let output = size_of::<Result<Outcome<F::Output>, Box<dyn Any + Send>>>();
    HEADER_BYTES + boxed + if future > output { future } else { output }
}
