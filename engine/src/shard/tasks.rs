//! What runs on a core besides connections: futures that need not be `Send`, polled between two turns of the shard. Knows no driver and no time but its watch's.
//!
//! ```text
//!            spawn                       run                            returns Ready, or is cancelled
//! (nothing) -------> ready (a queue) ---------> polled --------------------------------------> gone
//!                     ^    ^                      | returns Pending
//!     wake, own thread|    |collected by run      v
//!                     |    +-- remote queue <-- waiting
//!                     +---------------------------+   wake, another thread: and the doorbell rings
//! ```
//!
//! A task is one allocation; [`Spawner::task_bytes`] tells its size. Its wakers are `Send` and may outlive everything: those on the core's thread push to a plain queue, without an atomic operation,
//! those elsewhere to a queue behind a lock; each holds a task at most once. The future itself never leaves its thread: it is polled and dropped by [`Tasks`] alone, also when a waker or
//! the [`Task`] goes away elsewhere.
//!
//! A panic, be it in a poll, in the drop of a future or in the drop of its output, ends that task alone.
//!
//! | file | what it is |
//! |---|---|
//! | `handle` | the task as its owner sees it |
//! | `live` | the task itself: its future, what wakes it, where its output goes |
//! | `owned` | what one thread alone can reach |
//! | `ready` | the places of those alive, and the queues of those to poll |
//! | `watch` | finds the task that keeps the core |

mod handle;
mod live;
mod owned;
mod ready;
mod watch;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::doorbell::Doorbell;
use crate::sync::drop_quietly;
pub(crate) use handle::caught;
pub use handle::{Panicked, Task, TaskError};
use live::Live;
use ready::Ready;
pub use watch::{SLOW_AFTER, Stall, Stalls, Watch};

/// What the spawners, the tasks and their runner share on the core's thread.
#[derive(Debug)]
struct Core {
    ready: Arc<Ready>,
    /// Tasks that are kept for work to come.
    resting: Cell<usize>,
    /// Set when the runner goes: what is spawned afterwards is dropped at once.
    closed: Cell<bool>,
}

/// Runs the tasks of one core. Not `Send`: what it runs belongs to the thread that made it. Dropping it cancels all tasks and drops their futures, here and now.
///
/// ```
/// use std::{rc::Rc, sync::Arc};
/// use ringshot::shard::{doorbell::Doorbell, tasks::Tasks};
///
/// let mut tasks = Tasks::new(Arc::new(Doorbell::new()?));
/// let spawner = tasks.spawner();
/// let shared = Rc::new(20); // not Send
/// let inner = Rc::clone(&shared);
/// let first = spawner.spawn(async move { *inner + 1 });
/// let second = spawner.spawn(async move { first.await.map(|half| 2 * half) });
/// spawner.spawn(async { panic!("of no concern to the others") }).detach();
/// spawner.spawn(async move { assert_eq!(second.await.unwrap().unwrap(), 42) }).detach();
/// while tasks.has_ready() {
///     tasks.run(64);
/// }
/// assert_eq!((tasks.live(), tasks.panics(), Rc::strong_count(&shared)), (0, 1, 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Tasks {
    core: Rc<Core>,
    watch: Watch,
    stalls: Stalls,
}

impl Tasks {
    /// A runner without tasks on the calling thread. `doorbell` is rung when another thread wakes a task, or when this thread does while the core sleeps.
    #[must_use]
    pub fn new(doorbell: Arc<Doorbell>) -> Self {
        let ready = Arc::new(Ready::new(doorbell));
        let core = Core { ready, resting: Cell::new(0), closed: Cell::new(false) };
        Self { core: Rc::new(core), watch: Watch::default(), stalls: Stalls::default() }
    }

    /// Sets what counts as a task that keeps the core.
    #[must_use]
    pub fn with_watch(mut self, watch: Watch) -> Self {
        self.watch = watch;
        self
    }

    /// Gives tasks to this runner.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner { core: Rc::clone(&self.core) }
    }

    /// Polls those tasks that are ready now, `budget` at most, in the order in which they became so, and returns how many. A task that becomes ready meanwhile, by its own doing too, waits for
    /// the next call.
    pub fn run(&mut self, budget: usize) -> usize {
        let ready = &self.core.ready;
        let batch = ready.collect().min(budget);
        if batch == 0 {
            return 0;
        }
        let _polling = Polling::begin();
        let mut since = self.watch.read_clock();
        for ran in 0..batch {
            let Some((index, task)) = ready.take() else { return ran };
            let waits = task.run();
            let now = self.watch.read_clock();
            if now - since >= self.watch.slow_after {
                self.stalls.record(Stall { name: ready.name(index), lasted: now - since });
            }
            since = now;
            match waits {
                Some(task) => ready.give_back(index, task),
                None => ready.release(index),
            }
        }
        batch
    }

    /// Whether [`Tasks::run`] has something to poll.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.core.ready.is_any()
    }

    /// Tasks whose futures exist: spawned, and neither finished nor cancelled. Those that rest are not counted.
    #[must_use]
    pub fn live(&self) -> usize {
        self.core.ready.live() - self.core.resting.get()
    }

    /// Tasks that ended in a panic, and panics of their drops.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.core.ready.panics()
    }

    /// The polls that kept the core for too long.
    #[must_use]
    pub fn stalls(&self) -> Stalls {
        self.stalls
    }

    /// Takes the longest of the polls that kept the core since the last call.
    pub fn take_stall(&mut self) -> Option<Stall> {
        self.stalls.latest.take()
    }
}

thread_local! {
    /// Whether the thread polls a task. Without a destructor.
    static POLLS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is in a task of a core: what waits here keeps the core from doing what it waits for.
pub(crate) fn is_in_task() -> bool {
    POLLS.get()
}

/// Tasks are being polled until this goes.
struct Polling {
    before: bool,
}

impl Polling {
    fn begin() -> Self {
        Self { before: POLLS.replace(true) }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        POLLS.set(self.before);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.core.closed.set(true);
        let ready = &self.core.ready;
        // What is dropped may wake others, and nothing is added any more.
        for (index, task) in ready.take_all() {
            task.end();
            ready.release(index);
        }
        while ready.take().is_some() {}
    }
}

/// Gives tasks to the [`Tasks`] it came from, on its thread: cheap to clone, not `Send`.
#[derive(Debug, Clone)]
pub struct Spawner {
    core: Rc<Core>,
}

impl Spawner {
    /// Starts a task, which is polled first by the next [`Tasks::run`]. When the runner is gone the future is dropped at once. A stall is reported under the future's type name.
    #[inline]
    pub fn spawn<F: Future + 'static>(&self, future: F) -> Task<F::Output> {
        self.spawn_named(std::any::type_name::<F>(), future)
    }

    /// [`Spawner::spawn`], with the name under which a stall is reported.
    #[inline]
    pub fn spawn_named<F: Future + 'static>(
        &self,
        name: &'static str,
        future: F,
    ) -> Task<F::Output> {
        let Core { ready, closed, .. } = &*self.core;
        let place = if closed.get() { None } else { ready.reserve() };
        let Some(place) = place else {
            let panicked = !drop_quietly(|| drop(future));
            ready.count_panics(u64::from(panicked));
            return Task::over();
        };
        let task = Live::new(future, Arc::clone(ready), place);
        ready.insert(place, name, Arc::clone(&task) as _);
        Task::new(task)
    }

    /// The task that asks has nothing to do, and is kept for work to come: it is no task that [`Tasks::live`] counts until this is dropped.
    pub(crate) fn rest(&self) -> Rest {
        self.core.resting.set(self.core.resting.get() + 1);
        Rest(Rc::clone(&self.core))
    }

    /// Bytes that are allocated for a task of such a future, the future included: about 100 over it, and its output. Beyond that it takes 64 bytes in the lists of the core.
    #[must_use]
    pub const fn task_bytes<F: Future>() -> usize {
        live::task_bytes::<F>()
    }
}

/// As long as a task rests.
#[derive(Debug)]
pub(crate) struct Rest(Rc<Core>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.resting.set(self.0.resting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{pending, poll_fn};
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Poll, Waker};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::sys::epoll::{Epoll, Event};

    fn new() -> Tasks {
        Tasks::new(Arc::new(Doorbell::new().unwrap()))
    }

    fn run_all(tasks: &mut Tasks) {
        while tasks.has_ready() {
            tasks.run(usize::MAX);
        }
    }

    /// Wakes itself and lets the others go first.
    async fn yield_now() {
        let mut yielded = false;
        poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Hands its waker out and never ends; counts polls.
    async fn give_waker(out: mpsc::Sender<Waker>, polls: Rc<Cell<usize>>) {
        poll_fn(|context| {
            polls.set(polls.get() + 1);
            let _ = out.send(context.waker().clone());
            Poll::<()>::Pending
        })
        .await;
    }

    /// Runs a closure when it goes.
    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    fn poll_once<T>(task: &mut Task<T>) -> Poll<Result<T, TaskError>> {
        Pin::new(task).poll(&mut std::task::Context::from_waker(Waker::noop()))
    }

    #[test]
    fn outputs_come_through_the_handle() {
        let mut tasks = new();
        let spawner = tasks.spawner();
        let text = Rc::new("not Send");
        let mut task = spawner.spawn(async move { text.len() });
        assert!(poll_once(&mut task).is_pending() && !task.is_finished());
        assert_eq!((tasks.live(), tasks.run(10), tasks.live()), (1, 1, 0));
        assert!(task.is_finished());
        assert!(matches!(poll_once(&mut task), Poll::Ready(Ok(8))));
        assert_eq!(tasks.run(10), 0);
    }

    #[test]
    fn a_task_that_wakes_itself_waits_for_the_next_round() {
        let mut tasks = new();
        let order = Rc::new(RefCell::new(Vec::new()));
        for name in 0..3 {
            let order = Rc::clone(&order);
            let spawner = tasks.spawner();
            let task = async move {
                for round in 0..2 {
                    order.borrow_mut().push((name, round));
                    spawner.spawn(async {}).detach();
                    yield_now().await;
                }
            };
            tasks.spawner().spawn(task).detach();
        }
        assert_eq!(tasks.run(usize::MAX), 3);
        assert_eq!(*order.borrow(), [(0, 0), (1, 0), (2, 0)]);
        // Each has spawned another and woken itself. Of the six the budget takes two, and one of those adds two.
        assert_eq!((tasks.run(2), tasks.run(usize::MAX)), (2, 6));
        assert_eq!(order.borrow()[3..], [(0, 1), (1, 1), (2, 1)]);
        run_all(&mut tasks);
        assert_eq!(tasks.live(), 0);
    }

    #[test]
    fn a_dropped_handle_cancels_and_a_detached_task_goes_on() {
        let mut tasks = new();
        let dropped = Rc::new(Cell::new(0));
        let spawn = |detach: bool| {
            let dropped = Rc::clone(&dropped);
            let guard = OnDrop(move || dropped.set(dropped.get() + 1));
            let task = tasks.spawner().spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            if detach { task.detach() } else { drop(task) }
        };
        spawn(true);
        spawn(false);
        run_all(&mut tasks);
        assert_eq!((dropped.get(), tasks.live()), (1, 1));
        drop(tasks);
        assert_eq!(dropped.get(), 2);
    }

    #[test]
    fn cancelling_waits_for_the_drop_and_gives_an_output_that_came_first() {
        let mut tasks = new();
        let spawner = tasks.spawner();
        let dropped = Rc::new(Cell::new(false));
        let guard = OnDrop({
            let dropped = Rc::clone(&dropped);
            move || dropped.set(true)
        });
        let endless = spawner.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        let finished = spawner.spawn(async { 7 });
        let mut check = spawner.spawn(async move {
            assert!(matches!(endless.cancel().await, Err(TaskError::Cancelled)));
            assert!(dropped.get());
            finished.cancel().await.unwrap()
        });
        run_all(&mut tasks);
        assert!(matches!(poll_once(&mut check), Poll::Ready(Ok(7))));
    }

    #[test]
    fn a_panic_ends_its_task_alone() {
        let mut tasks = new();
        let spawner = tasks.spawner();
        let mut text = spawner.spawn(async { panic!("number {}", 5) });
        let mut number = spawner.spawn(async { std::panic::panic_any(5) });
        let mut other = spawner.spawn(async { 1 });
        // In drops: of a future that is cancelled, of one that has ended, and of an output that nobody takes.
        drop(spawner.spawn(async {
            let _guard = OnDrop(|| panic!("in a drop"));
            pending::<()>().await;
        }));
        let guard = OnDrop(|| panic!("in a drop"));
        spawner
            .spawn(poll_fn(move |_| {
                let _ = &guard;
                Poll::Ready(())
            }))
            .detach();
        spawner.spawn(async { OnDrop(|| panic!("in a drop")) }).detach();
        run_all(&mut tasks);
        assert!(matches!(poll_once(&mut other), Poll::Ready(Ok(1))));
        let Poll::Ready(Err(error)) = poll_once(&mut text) else { panic!("a panic was expected") };
        assert_eq!(error.to_string(), "the task panicked: number 5");
        let Poll::Ready(Err(TaskError::Panicked(thrown))) = poll_once(&mut number) else {
            panic!("a panic was expected")
        };
        assert_eq!(thrown.message(), "not a text");
        assert_eq!(thrown.into_payload().downcast_ref(), Some(&5));
        assert_eq!((tasks.live(), tasks.panics()), (0, 3));
    }

    #[test]
    fn a_runner_that_goes_drops_everything_on_its_thread() {
        let mut tasks = new();
        let spawner = tasks.spawner();
        let (wakers_in, wakers) = mpsc::channel();
        let here = thread::current().id();
        let dropped = Rc::new(Cell::new(0));
        for _ in 0..10 {
            let (dropped, wakers_in, late) =
                (Rc::clone(&dropped), wakers_in.clone(), spawner.clone());
            let guard = OnDrop(move || {
                assert_eq!(thread::current().id(), here);
                dropped.set(dropped.get() + 1);
                // Comes too late, and wakes nobody.
                late.spawn(async { panic!("polled") }).detach();
            });
            let task = async move {
                let _guard = guard;
                give_waker(wakers_in, Rc::default()).await;
            };
            spawner.spawn(task).detach();
        }
        let mut awaited = spawner.spawn(pending::<()>());
        run_all(&mut tasks);
        let wakers: Vec<Waker> = wakers.try_iter().collect();
        wakers[0].wake_by_ref();
        drop(tasks);
        assert_eq!((dropped.get(), spawner.core.ready.live()), (10, 0));
        assert!(matches!(poll_once(&mut awaited), Poll::Ready(Err(TaskError::Cancelled))));
        thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
        assert!(matches!(poll_once(&mut spawner.spawn(async {})), Poll::Ready(Err(_))));
        assert_eq!(spawner.core.ready.collect(), 0);
    }

    /// Threads wake tasks while the runner goes: whatever the moment, all are dropped here and nothing remains.
    #[test]
    fn wakes_that_race_with_the_end_are_harmless() {
        for round in 0..200 {
            let mut tasks = new();
            let (wakers_in, wakers) = mpsc::channel();
            let count = Rc::new(());
            for _ in 0..8 {
                let (wakers_in, count) = (wakers_in.clone(), Rc::clone(&count));
                let task = async move {
                    give_waker(wakers_in, Rc::default()).await;
                    drop(count);
                };
                tasks.spawner().spawn(task).detach();
            }
            tasks.run(usize::MAX);
            let wakers: Vec<Waker> = wakers.try_iter().collect();
            thread::scope(|scope| {
                scope.spawn(move || {
                    for turn in 0..50 {
                        wakers.iter().for_each(Waker::wake_by_ref);
                        (0..(round * 13 + turn) % 40).for_each(|_| std::hint::spin_loop());
                    }
                });
                thread::yield_now();
                tasks.run(round);
                drop(tasks);
                assert_eq!(Rc::strong_count(&count), 1);
            });
        }
    }

    #[test]
    fn a_wake_from_elsewhere_rings_once_and_queues_a_task_once() {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let mut tasks = Tasks::new(Arc::clone(&doorbell));
        let (wakers_in, wakers) = mpsc::channel();
        let polls = Rc::new(Cell::new(0));
        for _ in 0..2 {
            tasks.spawner().spawn(give_waker(wakers_in.clone(), Rc::clone(&polls))).detach();
        }
        run_all(&mut tasks);
        assert_eq!((polls.get(), doorbell.rings()), (2, 0));
        let wakers: Vec<Waker> = wakers.try_iter().collect();
        thread::scope(|scope| {
            scope.spawn(|| wakers.iter().chain(&wakers).for_each(Waker::wake_by_ref));
        });
        assert!(tasks.has_ready() && !doorbell.prepare_sleep());
        assert_eq!((tasks.run(10), polls.get(), doorbell.rings()), (2, 4, 1));
        // On the own thread it rings only while the core sleeps.
        doorbell.awake();
        wakers[0].wake_by_ref();
        assert_eq!((tasks.run(10), doorbell.rings()), (1, 1));
        assert!(doorbell.prepare_sleep());
        wakers[0].wake_by_ref();
        assert_eq!((tasks.run(10), doorbell.rings(), doorbell.signals()), (1, 2, 1));
    }

    /// The loop of a core: sleeps only on the doorbell, and every wake from elsewhere must arrive.
    #[test]
    fn no_wake_is_lost_between_threads() {
        const ROUNDS: usize = 2_000;
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let mut tasks = Tasks::new(Arc::clone(&doorbell));
        let epoll = Epoll::open().unwrap();
        let wakes = doorbell.wakes().unwrap();
        epoll.add(std::os::fd::AsFd::as_fd(&wakes), 0).unwrap();
        let (wakers_in, wakers) = mpsc::channel::<Waker>();
        let woken = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&woken);
        let mut task = tasks.spawner().spawn(async move {
            for round in 1..=ROUNDS {
                poll_fn(|context| {
                    if seen.load(Ordering::Acquire) >= round {
                        return Poll::Ready(());
                    }
                    let _ = wakers_in.send(context.waker().clone());
                    Poll::Pending
                })
                .await;
            }
        });
        let waker_thread = thread::spawn(move || {
            for waker in wakers {
                woken.fetch_add(1, Ordering::Release);
                waker.wake();
            }
        });
        while poll_once(&mut task).is_pending() {
            doorbell.awake();
            if tasks.run(10) == 0 && doorbell.prepare_sleep() {
                assert_ne!(epoll.wait(&mut [Event::NONE], 20_000), Ok(0), "a wake was lost");
            }
        }
        drop(tasks);
        waker_thread.join().unwrap();
    }

    #[test]
    fn the_watch_names_what_keeps_the_core() {
        let sleep = |ms| async move { thread::sleep(Duration::from_millis(ms)) };
        let mut tasks = new().with_watch(Watch { slow_after: Duration::from_millis(20) });
        assert_eq!(Watch::default().slow_after, Duration::from_millis(10));
        let spawner = tasks.spawner();
        spawner.spawn_named("short", sleep(1)).detach();
        spawner.spawn_named("long", sleep(60)).detach();
        spawner.spawn_named("longest", sleep(300)).detach();
        run_all(&mut tasks);
        let Stalls { count, longest, latest } = tasks.stalls();
        let longest = longest.unwrap();
        assert!(count >= 2 && longest.lasted >= Duration::from_millis(290), "{count} {longest:?}");
        assert_eq!((longest.name, tasks.take_stall()), ("longest", latest));
        // What is taken is of its own time, however long another was before.
        tasks.spawner().spawn_named("after", sleep(60)).detach();
        run_all(&mut tasks);
        assert_eq!(tasks.take_stall().map(|stall| stall.name), Some("after"));
        assert_eq!((tasks.take_stall(), tasks.stalls().longest), (None, Some(longest)));
        let mut unwatched = new().with_watch(Watch { slow_after: Duration::MAX });
        unwatched.spawner().spawn(sleep(60)).detach();
        run_all(&mut unwatched);
        assert_eq!(unwatched.stalls(), Stalls::default());
    }

    #[test]
    fn two_runners_of_a_thread_keep_their_tasks_apart() {
        let (mut one, mut two) = (new(), new());
        let mut task = one.spawner().spawn(async { 1 });
        let mut other = two.spawner().spawn(async move {
            yield_now().await;
            (&mut task).await.unwrap() + 1
        });
        run_all(&mut two);
        assert!(!two.has_ready() && one.has_ready() && !other.is_finished());
        run_all(&mut one);
        run_all(&mut two);
        assert!(matches!(poll_once(&mut other), Poll::Ready(Ok(2))));
    }
}
