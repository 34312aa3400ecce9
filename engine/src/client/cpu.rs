//! Work that computes, among tasks that wait: how to let others go first, and how to hand it to a thread of its own. On any executor.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use event_listener::Event;

use super::queue::wait_for;
use crate::clock::Instant;
use crate::sync::lock;
use crate::sys::affinity;

/// The most threads that run offloaded work; as many as the process has cores, if those are fewer.
pub const OFFLOAD_THREADS_MAX: usize = 4;
/// Closures that wait for such a thread. Who offloads more waits.
pub const OFFLOAD_QUEUE_MAX: usize = 1024;
/// How long such a thread stays without work.
pub const OFFLOAD_IDLE: Duration = Duration::from_secs(5);

/// Lets the other tasks of the executor that are ready go first: wakes its task and waits to be polled again.
///
/// ```
/// # use ringshot::client::blocking::block_on;
/// # async fn compute_a_little() {}
/// # block_on(async {
/// for _ in 0..10 {
///     compute_a_little().await;
///     ringshot::cpu::yield_now().await;
/// }
/// # });
/// ```
pub async fn yield_now() {
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

/// How long a task may compute before it lets others go first. It counts the time since it last yielded by [`Budget::tick`], waits for other things included: a task that waited may yield once
/// without need.
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use ringshot::cpu::Budget;
///
/// # ringshot::client::blocking::block_on(async {
/// let mut budget = Budget::new(Duration::from_micros(200)).every(NonZeroU32::new(16).expect("not zero"));
/// let mut sum = 0_u64;
/// for number in 0..10_000 {
///     sum += number;
///     budget.tick().await; // other tasks have their turn every 200 microseconds
/// }
/// assert_eq!(sum, 49_995_000);
/// # });
/// ```
#[derive(Debug)]
pub struct Budget {
    slice: Duration,
    since: Instant,
    /// Of how many ticks one reads the clock.
    every: u32,
    ticks: u32,
}

impl Budget {
    /// A budget that begins now. Every tick reads the clock, which costs about 25 ns.
    #[must_use]
    pub fn new(slice: Duration) -> Self {
        Self { slice, since: Instant::now(), every: 1, ticks: 0 }
    }

    /// Reads the clock at every `ticks`-th tick only, for work in pieces that are shorter than reading it. The budget is overdrawn by up to so many pieces.
    #[must_use]
    pub fn every(mut self, ticks: NonZeroU32) -> Self {
        self.every = ticks.get();
        self
    }

    /// Yields if the budget is spent, and begins anew then.
    pub async fn tick(&mut self) {
        if self.is_spent() {
            yield_now().await;
            self.since = Instant::now();
        }
    }

    fn is_spent(&mut self) -> bool {
        self.ticks += 1;
        if self.ticks < self.every {
            return false;
        }
        self.ticks = 0;
        Instant::now() - self.since > self.slice
    }
}

/// Runs `work` on a helper thread and gives what it returns, for work that would keep a core from its connections, or that blocks.
///
/// At most [`OFFLOAD_THREADS_MAX`] threads serve the whole process, started when there is work and ended after [`OFFLOAD_IDLE`] without; they are not pinned. When
/// [`OFFLOAD_QUEUE_MAX`] closures wait for them this waits too. The work begins when the future is polled. A future that is dropped while it waits for room takes its work along; after
/// that the work is done all the same, and its result dropped on its thread. If not a single thread can be started the work is done on the caller's.
///
/// # Panics
/// When `work` does, with what it threw.
///
/// ```
/// # use ringshot::client::blocking::block_on;
/// # block_on(async {
/// let sorted = ringshot::cpu::offload(|| {
///     let mut numbers = vec![3, 1, 2];
///     numbers.sort();
///     numbers
/// })
/// .await;
/// assert_eq!(sorted, [1, 2, 3]);
/// # });
/// ```
pub async fn offload<F, R>(work: F) -> R
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    POOL.run(work).await
}

static POOL: Pool = Pool::new("ringshot-offload", OFFLOAD_IDLE);
/// Uploads read files here and bodies are written to them, so that work that waits for either does not wait for itself.
static FILES: Pool = Pool::new("ringshot-files", OFFLOAD_IDLE);

/// [`offload`] for what reads or writes files: not held up by work of the caller's.
pub(super) async fn use_file<F, R>(work: F) -> R
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    FILES.run(work).await
}

type Job = Box<dyn FnOnce() + Send>;
type Outcome<R> = Result<R, Box<dyn Any + Send>>;

/// What a helper thread leaves for the future that waits for it.
struct Promise<R> {
    outcome: Mutex<Option<Outcome<R>>>,
    kept: Event,
}

impl<R> Promise<R> {
    fn keep(&self, outcome: Outcome<R>) {
        *lock(&self.outcome) = Some(outcome);
        self.kept.notify(usize::MAX);
    }
}

/// Helper threads.
struct Pool {
    /// What its threads are called: 15 bytes are shown.
    name: &'static str,
    idle_time: Duration,
    state: Mutex<State>,
    work: Condvar,
    room: Event,
}

/// Invariant: `idle` threads wait for work or have been told of it, and have taken none of `jobs` yet.
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    const fn new(name: &'static str, idle_time: Duration) -> Self {
        let state = State { jobs: VecDeque::new(), threads: 0, idle: 0 };
        Self { name, idle_time, state: Mutex::new(state), work: Condvar::new(), room: Event::new() }
    }

    async fn run<F, R>(&'static self, work: F) -> R
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let promise = Arc::new(Promise { outcome: Mutex::new(None), kept: Event::new() });
        let kept = Arc::clone(&promise);
        let work = move || kept.keep(catch_unwind(AssertUnwindSafe(work)));
        let mut job: Option<Job> = Some(Box::new(work));
        wait_for(&self.room, || self.try_take(&mut job)).await;
        match wait_for(&promise.kept, || lock(&promise.outcome).take()).await {
            Ok(output) => output,
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Takes the job if there is room, and sees to it that a thread runs it.
    fn try_take(&'static self, job: &mut Option<Job>) -> Option<()> {
        let mut state = lock(&self.state);
        if state.jobs.len() >= OFFLOAD_QUEUE_MAX {
            return None;
        }
        state.jobs.extend(job.take());
        if state.jobs.len() <= state.idle {
            self.work.notify_one();
        } else if state.threads < threads_max() {
            state.threads += 1;
            drop(state);
            self.start_thread();
        }
        Some(())
    }

    /// Starts a thread that is counted already. Where there is none for what waits it is done here.
    fn start_thread(&'static self) {
        let builder = thread::Builder::new().name(self.name.to_owned());
        if builder.spawn(|| self.serve()).is_ok() {
            return;
        }
        let mut state = lock(&self.state);
        state.threads -= 1;
        let nobody = state.threads == 0;
        drop(state);
        if nobody {
            self.run_jobs();
        }
    }

    /// A helper thread's life.
    fn serve(&self) {
        affinity::unpin();
        loop {
            self.run_jobs();
            let mut state = lock(&self.state);
            if state.jobs.is_empty() {
                state.idle += 1;
                let waited = self
                    .work
                    .wait_timeout_while(state, self.idle_time, |state| state.jobs.is_empty());
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                state.idle -= 1;
                if state.jobs.is_empty() {
                    state.threads -= 1;
                    return;
                }
            }
        }
    }

    fn run_jobs(&self) {
        while let Some(job) = self.next() {
            self.room.notify_additional(1);
            // Its own panics are kept for who waits. What is left are those of a result that nobody waits for, when it is dropped; they end here.
            let _ = catch_unwind(AssertUnwindSafe(job)).map_err(std::mem::forget);
        }
    }

    fn next(&self) -> Option<Job> {
        lock(&self.state).jobs.pop_front()
    }
}

fn threads_max() -> usize {
    affinity::process_cores().min(OFFLOAD_THREADS_MAX)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use super::*;
    use crate::sync::block_on;

    fn pool(idle_time: Duration) -> &'static Pool {
        Box::leak(Box::new(Pool::new("ringshot-test", idle_time)))
    }

    fn polls<F: Future>(future: F) -> usize {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        (1..).find(|_| future.as_mut().poll(&mut context).is_ready()).unwrap()
    }

    #[test]
    fn a_budget_yields_when_it_is_spent() {
        assert_eq!(polls(yield_now()), 2);
        let mut rich = Budget::new(Duration::from_secs(3600));
        assert_eq!(polls(async { rich.tick().await }), 1);
        let mut poor = Budget::new(Duration::ZERO).every(NonZeroU32::new(3).unwrap());
        assert_eq!(
            polls(async {
                for _ in 0..7 {
                    poor.tick().await;
                }
            }),
            1 + 2
        );
    }

    #[test]
    fn offloaded_work_gives_its_result_or_its_panic() {
        fn check_send<T: Send>(future: T) -> T {
            future
        }
        let here = thread::current().id();
        let there = block_on(check_send(offload(|| thread::current().id())));
        assert_ne!(here, there);
        let panic = catch_unwind(|| block_on(offload(|| std::panic::panic_any(5))));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&5));
        assert_eq!(block_on(offload(|| 6)), 6);
    }

    #[test]
    fn work_goes_on_without_its_future() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the drop of a result");
            }
        }
        let pool = pool(OFFLOAD_IDLE);
        let (go, wait) = mpsc::channel::<()>();
        let (done_in, done) = mpsc::channel();
        {
            let work = move || {
                let _ = wait.recv();
                let _ = done_in.send(());
                Bomb
            };
            let mut future = pin!(pool.run(work));
            assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        drop(go);
        done.recv().unwrap();
        assert_eq!(block_on(pool.run(|| 1)), 1);
    }

    #[test]
    fn a_full_queue_waits_and_threads_are_bounded() {
        let pool = pool(OFFLOAD_IDLE);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let mut futures: Vec<_> = (0..OFFLOAD_QUEUE_MAX + OFFLOAD_THREADS_MAX + 10)
            .map(|number| {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                let gate = Arc::clone(&gate);
                Box::pin(pool.run(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    drop(gate.lock());
                    running.fetch_sub(1, Ordering::SeqCst);
                    number
                }))
            })
            .collect();
        for future in &mut futures {
            assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(lock(&pool.state).threads, threads_max());
        assert!(lock(&pool.state).jobs.len() + threads_max() >= OFFLOAD_QUEUE_MAX);
        assert!(pool.room.total_listeners() >= 10);
        drop(closed);
        for (number, future) in futures.into_iter().enumerate() {
            assert_eq!(block_on(future), number);
        }
        assert!(most.load(Ordering::SeqCst) <= threads_max());
        assert_eq!(lock(&pool.state).jobs.len(), 0);
    }

    #[test]
    fn idle_threads_end_and_are_started_again() {
        let pool = pool(Duration::from_millis(1));
        for round in 0..20 {
            assert_eq!(block_on(pool.run(move || round)), round);
            while round % 4 == 0 && lock(&pool.state).threads > 0 {
                thread::yield_now();
            }
        }
    }
}
