//! A task as its owner sees it: awaited, cancelled, or let go. Never polls the task itself.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::mem::replace;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::error::message_of_panic;
use crate::sync::{drop_quietly, lock, wake_quietly};

/// What a panic threw, with its message.
///
/// ```
/// use ringshot::client::{Engine, TaskError, blocking::block_on};
///
/// let engine = Engine::builder().build()?;
/// let ended = block_on(engine.run_on(0, async |ctx| {
///     ctx.spawn(async { if true { panic!("at {}", 7) } }).await
/// }))?;
/// match ended {
///     Err(TaskError::Panicked(panicked)) => assert_eq!(panicked.message(), "at 7"),
///     other => unreachable!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Panicked(Box<Thrown>);

struct Thrown {
    message: Box<str>,
    /// Behind a lock, so that errors with a panic in them are `Sync`.
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Drop for Thrown {
    fn drop(&mut self) {
        // It is foreign, and whoever drops the panic is about to tell of it.
        drop_quietly(|| drop(lock(&self.payload).take()));
    }
}

impl Panicked {
    pub(super) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = message_of_panic(&*payload).into();
        Self(Box::new(Thrown { message, payload: Mutex::new(Some(payload)) }))
    }

    /// The text that the task panicked with; `not a text` if it threw something else.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What was thrown, for [`std::panic::resume_unwind`].
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        // It is there: nobody else takes it.
        lock(&self.0.payload).take().unwrap_or_else(|| Box::new(()))
    }
}

pin_project! {
    /// See [`caught`].
    pub(crate) struct Caught<F> {
        #[pin]
        future: F,
    }
}

/// What a future gives, or what it panicked with: for code of the caller's that runs in a task of the engine's.
pub(crate) fn caught<F: Future>(future: F) -> Caught<F> {
    Caught { future }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panicked>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        poll_caught(|| self.project().future.poll(context))
    }
}

/// One poll of it.
pub(super) fn poll_caught<T>(poll: impl FnOnce() -> Poll<T>) -> Poll<Result<T, Panicked>> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(Panicked::new(payload))),
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panicked").field(&self.message()).finish()
    }
}

/// Why there is no output of a task.
///
/// ```
/// use ringshot::client::{Engine, blocking::block_on};
///
/// let engine = Engine::builder().build()?;
/// let ended = block_on(engine.run_on(0, async |ctx| {
///     ctx.spawn(async { if true { panic!("of its own") } }).await
/// }))?;
/// assert_eq!(ended.unwrap_err().to_string(), "the task panicked: of its own");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It panicked; a bug in the task.
    #[error("the task panicked: {}", .0.message())]
    Panicked(Panicked),
    /// It was cancelled, or its core went away.
    #[error("the task was cancelled")]
    Cancelled,
}

/// A task's output on its way to the handle. Invariant: `Some` until it is taken.
#[derive(Debug)]
pub(super) struct Outcome<T>(Option<Result<T, Panicked>>);

impl<T> Outcome<T> {
    pub(super) fn new(result: Result<T, Panicked>) -> Self {
        Self(Some(result))
    }

    pub(super) fn is_panic(&self) -> bool {
        matches!(self.0, Some(Err(_)))
    }

    fn take(outcome: Option<Self>) -> Result<T, TaskError> {
        let result = outcome.and_then(|mut outcome| outcome.0.take());
        result.ok_or(TaskError::Cancelled)?.map_err(TaskError::Panicked)
    }
}

impl<T> Drop for Outcome<T> {
    fn drop(&mut self) {
        // Nobody wanted it: it goes on the core, in the midst of other tasks.
        drop_quietly(|| self.0 = None);
    }
}

/// What a task and its handle know of each other.
#[derive(Debug)]
enum Stage<T> {
    /// It runs, and this waits for it.
    Awaited(Option<Waker>),
    /// It runs, and nobody has a handle.
    Unwatched,
    /// It has ended, with this for the handle to take.
    Ended(Outcome<T>),
    /// It has ended, and there is nothing more to take.
    Over,
}

/// Where a task leaves its output and its handle finds it, on any thread. Invariant: what it holds is gone when both the task has ended and the handle has gone, so that an output which is not `Send` is dropped
/// by the handle or by the core, whoever frees this.
#[derive(Debug)]
pub(super) struct Joint<T>(Mutex<Stage<T>>);

// SAFETY: a `T` is put in by the core and taken out by the core or by the one handle, which is `Send` only if `T` is; by the invariant there is none when another thread drops this.
unsafe impl<T> Send for Joint<T> {}
// SAFETY: as for `Send`; the lock keeps the two apart, and nobody else reaches the `T`.
unsafe impl<T> Sync for Joint<T> {}

impl<T> Joint<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Stage::Awaited(None)))
    }

    /// Nothing of the caller's runs while it is locked, but for the clone of a waker.
    fn lock(&self) -> MutexGuard<'_, Stage<T>> {
        lock(&self.0)
    }

    /// The task has ended: on its core, once.
    pub(super) fn finish(&self, outcome: Option<Outcome<T>>) {
        let mut stage = self.lock();
        let (next, unwanted) = match (&*stage, outcome) {
            (Stage::Awaited(_), Some(outcome)) => (Stage::Ended(outcome), None),
            (_, outcome) => (Stage::Over, outcome),
        };
        let before = replace(&mut *stage, next);
        drop(stage);
        if let Stage::Awaited(Some(waker)) = before {
            // Foreign code, which must not end the core.
            wake_quietly(waker);
        }
        drop(unwanted);
    }

    /// What the task has left, once; `Ready(None)` if it left nothing.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Outcome<T>>> {
        let mut stage = self.lock();
        let next = match &*stage {
            Stage::Awaited(Some(waker)) if waker.will_wake(context.waker()) => {
                return Poll::Pending;
            }
            Stage::Awaited(_) => Stage::Awaited(Some(context.waker().clone())),
            Stage::Ended(_) => Stage::Over,
            Stage::Unwatched | Stage::Over => return Poll::Ready(None),
        };
        let before = replace(&mut *stage, next);
        drop(stage);
        match before {
            Stage::Ended(outcome) => Poll::Ready(Some(outcome)),
            // The waker before, if there was one, is dropped here.
            _ => Poll::Pending,
        }
    }

    /// The handle goes. Returns whether the task still runs.
    fn let_go(&self) -> bool {
        let mut stage = self.lock();
        let runs = matches!(*stage, Stage::Awaited(_));
        let next = if runs { Stage::Unwatched } else { Stage::Over };
        let before = replace(&mut *stage, next);
        drop(stage);
        drop(before);
        runs
    }

    fn has_ended(&self) -> bool {
        matches!(*self.lock(), Stage::Ended(_) | Stage::Over)
    }
}

/// A task as its handle sees it.
pub(super) trait Awaited<T> {
    fn joint(&self) -> &Joint<T>;
    /// Has its future dropped by the core.
    fn cancel(&self);
}

/// A running task. Awaiting it gives its output; dropping it cancels the task, whose future is then dropped on its core by the next [`Tasks::run`](super::Tasks::run).
/// `Send` if the output is.
///
/// ```
/// use ringshot::client::{Engine, Task, blocking::block_on};
///
/// let engine = Engine::builder().build()?;
/// let sum = block_on(engine.run_on(0, async |ctx| {
///     let tasks: Vec<Task<u64>> = (1..=4).map(|n| ctx.spawn(async move { n * n })).collect();
///     let mut sum = 0;
///     for task in tasks {
///         sum += task.await.expect("it does not panic");
///     }
///     sum
/// }))?;
/// assert_eq!(sum, 30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a task is cancelled when its handle is dropped: await it or call `detach`"]
pub struct Task<T> {
    /// None for one that never ran, or that has been let go.
    task: Option<Arc<dyn Awaited<T> + Send + Sync>>,
    /// `Send` only with the output.
    output: PhantomData<Mutex<T>>,
}

impl<T> Unpin for Task<T> {}
impl<T> UnwindSafe for Task<T> {}
impl<T> RefUnwindSafe for Task<T> {}

impl<T> Task<T> {
    pub(super) fn new(task: Arc<dyn Awaited<T> + Send + Sync>) -> Self {
        Self { task: Some(task), output: PhantomData }
    }

    /// The handle of a task that came too late.
    pub(super) fn over() -> Self {
        Self { task: None, output: PhantomData }
    }

    /// Lets the task run on its own.
    pub fn detach(mut self) {
        if let Some(task) = self.task.take() {
            task.joint().let_go();
        }
    }

    /// Whether there is an output, an error included.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(|task| task.joint().has_ended())
    }

    /// Cancels the task and waits until its future is dropped. Gives its output if it came first.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`] as a rule, [`TaskError::Panicked`] if it did so before.
    pub async fn cancel(self) -> Result<T, TaskError> {
        if let Some(task) = &self.task {
            task.cancel();
        }
        self.await
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = &self.task else { return Poll::Ready(Outcome::take(None)) };
        task.joint().poll(context).map(Outcome::take)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take()
            && task.joint().let_go()
        {
            task.cancel();
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{RawWaker, RawWakerVTable};
    use std::thread;

    use super::super::Tasks;
    use super::*;
    use crate::shard::doorbell::Doorbell;

    /// Counts its drop.
    #[derive(Clone)]
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn runner() -> (Arc<Doorbell>, Tasks) {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        (Arc::clone(&doorbell), Tasks::new(doorbell))
    }

    fn poll<T>(task: &mut Task<T>, waker: &Waker) -> Poll<Result<T, TaskError>> {
        Pin::new(task).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn an_output_is_dropped_once_whoever_comes_first() {
        type Act = fn(Task<Counted>);
        let acts: [Act; 4] = [
            drop,
            Task::detach,
            |mut task| drop(poll(&mut task, Waker::noop())),
            |task| {
                let mut cancel = Box::pin(task.cancel());
                let _ = cancel.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            },
        ];
        for act in acts {
            for acts_first in [true, false] {
                let (_, mut tasks) = runner();
                let drops = Arc::default();
                let output = Counted(Arc::clone(&drops));
                let task = tasks.spawner().spawn(async move { output });
                if acts_first {
                    act(task);
                    tasks.run(10);
                } else {
                    tasks.run(10);
                    act(task);
                }
                assert_eq!((drops.load(Ordering::Relaxed), tasks.live()), (1, 0), "{acts_first}");
                assert_eq!((Arc::strong_count(&drops), tasks.has_ready()), (1, false));
            }
        }
    }

    /// Handles that go, are polled and let go on another thread while their tasks end.
    #[test]
    fn a_handle_elsewhere_and_the_core_agree() {
        const TASKS: usize = 16;
        for round in 0..300 {
            let (_, mut tasks) = runner();
            let drops = Arc::new(AtomicUsize::new(0));
            let spawn = |number: usize| {
                let output = Counted(Arc::clone(&drops));
                let mut polls = number % 3;
                tasks.spawner().spawn(async move {
                    poll_fn(|context| {
                        context.waker().wake_by_ref();
                        let over = polls == 0;
                        polls = polls.saturating_sub(1);
                        if over { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                    output
                })
            };
            let handles: Vec<_> = (0..TASKS).map(spawn).collect();
            thread::scope(|scope| {
                scope.spawn(move || {
                    (0..round % 50).for_each(|_| std::hint::spin_loop());
                    for (number, mut task) in handles.into_iter().enumerate() {
                        match number % 4 {
                            0 => drop(task),
                            1 => task.detach(),
                            2 => drop(poll(&mut task, Waker::noop())),
                            _ => while poll(&mut task, Waker::noop()).is_pending() {},
                        }
                    }
                });
                while tasks.live() > 0 {
                    tasks.run(1 + round % 5);
                }
            });
            drop(tasks);
            assert_eq!(drops.load(Ordering::Relaxed), TASKS);
            assert_eq!(Arc::strong_count(&drops), 1, "a task was not freed");
        }
    }

    #[test]
    fn a_wake_of_what_has_ended_wakes_nobody() {
        let (doorbell, mut tasks) = runner();
        let (wakers_in, wakers) = std::sync::mpsc::channel();
        let spawner = tasks.spawner();
        let ends = move || {
            let wakers_in = wakers_in.clone();
            poll_fn(move |context| {
                // Woken while it ends, too.
                context.waker().wake_by_ref();
                let _ = wakers_in.send(context.waker().clone());
                Poll::Ready(())
            })
        };
        spawner.spawn(ends()).detach();
        assert_eq!((tasks.run(10), tasks.live(), tasks.has_ready()), (1, 0, false));
        let waker = wakers.recv().unwrap();
        waker.wake_by_ref();
        let rings = doorbell.rings();
        thread::scope(|scope| scope.spawn(|| waker.wake_by_ref()).join().unwrap());
        assert_eq!((tasks.run(10), tasks.has_ready(), doorbell.rings()), (0, false, rings));
        // Its place is another's now, which the old waker does not wake.
        let polls = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = std::rc::Rc::clone(&polls);
        let other = spawner.spawn(async move {
            counted.set(1);
            pending::<()>().await;
        });
        assert_eq!((tasks.run(10), polls.get()), (1, 1));
        waker.wake();
        assert_eq!((tasks.has_ready(), tasks.live()), (false, 1));
        drop(other);
        assert_eq!((tasks.run(10), tasks.live()), (1, 0));
    }

    #[test]
    fn a_handles_waker_that_panics_does_not_end_the_core() {
        const PANICS: RawWakerVTable = RawWakerVTable::new(
            |_| RawWaker::new(std::ptr::null(), &PANICS),
            |_| panic!("in a wake"),
            |_| panic!("in a wake"),
            |_| {},
        );
        // SAFETY: the functions do nothing with their pointer.
        let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &PANICS)) };
        let (_, mut tasks) = runner();
        let mut task = tasks.spawner().spawn(async { 5 });
        assert!(poll(&mut task, &waker).is_pending());
        assert_eq!((tasks.run(10), tasks.live()), (1, 0));
        assert!(matches!(poll(&mut task, Waker::noop()), Poll::Ready(Ok(5))));
    }
}
