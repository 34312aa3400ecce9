//! The glommio host: a shard as a task of a pinned executor, ours or an application's. The only file that names glommio; none of its sockets is used.
//!
//! ```text
//!              +--------- requests in flight ---------+
//!              v                                      |
//!   turn, which blocks in the driver <= 100 us --> yield to glommio
//!              ^                                      |
//!              | a completion, the bell,              | quiet
//!              | a request, a timer                   v
//!              +----- asleep: glommio's ring polls ---+
//! ```
//!
//! # Wake latency
//! While requests are in flight the thread is in our driver most of the time, where glommio neither reads its rings nor its timers. A turn blocks for [`BLOCK_MAX`] at most,
//! and glommio takes the thread from the task every [`LOOK_EVERY`]: its preemption timer, of the executor or of the task queue of an attached shard. So a timer, a channel or a file of
//! the same executor is served within [`LOOK_EVERY`] + [`BLOCK_MAX`] + one turn (tens of microseconds), which stays below 1 ms; a task that is ready already waits for [`BLOCK_MAX`] and a turn.
//! Where others used the thread since the last turn, the next one does not block at all. `benches/` measures it: `wake_latency`.
//!
//! # Sleep
//! With nothing in flight the task waits for one descriptor: an epoll instance of the driver's alarm and the doorbell, both by edges, so that neither has to be read. glommio polls
//! it with its own ring. It has no public poll, but its streams poll before they read, whatever the descriptor is: the read fails (`ENOTSOCK`) as soon as there is something to read. Before it sleeps the
//! host forgets old edges, takes a turn that does not block, and sleeps if that left nothing to do; what comes after the old edges were forgotten makes new ones.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::Timer;
use glommio::{
    Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle, executor,
};

use super::{Pace, Turn, thread};
use crate::clock::Instant;
use crate::driver::{Alarm, probe};
use crate::sys::affinity::Pinned;
use crate::sys::epoll::{Epoll, Event};
use crate::sys::process;

/// The longest that a turn blocks in the driver while requests are in flight.
const BLOCK_MAX: Duration = Duration::from_micros(100);
/// How often glommio looks at its rings, timers and channels while a shard is busy. A look costs it about five system calls.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// A pause between two turns in which nobody else can have done much.
const PAUSE_ALONE: Duration = Duration::from_micros(2);
/// Locked memory without which glommio 0.9 does not start, in bytes.
const LOCKED_MEMORY_MIN: u64 = 512 << 10;

/// Starts a pinned thread with an executor, and runs `work` on it.
///
/// # Errors
/// What keeps glommio from starting here, and the remedy.
pub(super) fn spawn<T, W>(core: usize, work: W) -> io::Result<JoinHandle<io::Result<T>>>
where
    T: Send + 'static,
    W: AsyncFnOnce(Pinned) -> io::Result<T> + Send + 'static,
{
    check()?;
    thread::spawn(core, move |pinned| {
        process::prepare_membarrier();
        executor_here()?.run(async move { work(pinned).await })
    })
}

/// Finds what glommio would panic at, or end the process for.
fn check() -> io::Result<()> {
    probe::best_tier().map_err(|blocked| {
        let text = format!("glommio needs io_uring: {blocked}, and use the thread host");
        io::Error::new(io::ErrorKind::Unsupported, text)
    })?;
    check_locked_memory(process::locked_memory_limit().soft)
}

fn check_locked_memory(limit: u64) -> io::Result<()> {
    if limit >= LOCKED_MEMORY_MIN {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "glommio locks {LOCKED_MEMORY_MIN} bytes of memory, and the limit is {limit}: raise it with `ulimit -l {}`, or use the thread host",
            LOCKED_MEMORY_MIN >> 10
        ),
    ))
}

/// An executor on the calling thread, which is pinned already: glommio's own pinning reads more of /sys than containers show.
fn executor_here() -> io::Result<LocalExecutor> {
    let builder = LocalExecutorBuilder::new(Placement::Unbound)
        .name("ringshot")
        .io_memory(0)
        .preempt_timer(LOOK_EVERY);
    match catch_unwind(AssertUnwindSafe(|| builder.make())) {
        Ok(made) => made.map_err(|error| io::Error::other(format!("glommio: {error}"))),
        Err(_) => Err(io::Error::other("glommio panicked at its start: use the thread host")),
    }
}

/// Turns a shard as a task of the executor that the calling thread runs.
///
/// # Errors
/// `NotConnected` outside of an executor, else what `open` and [`Sleeper::new`] report.
pub(super) fn attach(open: impl FnOnce() -> io::Result<Box<dyn Turn>>) -> io::Result<()> {
    let queue = queue()?;
    let mut turn = open()?;
    let sleeper = Sleeper::new(&mut *turn)?;
    process::prepare_membarrier();
    // The shard's end is told by whatever its owner opened it with.
    let task = async move { drop(turn_with(turn, sleeper).await) };
    let spawned = glommio::spawn_local_into(task, queue);
    spawned.map(|task| drop(task.detach())).map_err(|error| io::Error::other(error.to_string()))
}

/// The task queue of all shards on this thread's executor: it has glommio look at its rings every [`LOOK_EVERY`] while one of them is busy, and rest while none is.
fn queue() -> io::Result<TaskQueueHandle> {
    thread_local! {
        static QUEUE: Cell<Option<(usize, TaskQueueHandle)>> = const { Cell::new(None) };
    }
    // There is no way to ask but this: it panics on other threads.
    let here = catch_unwind(|| executor().id());
    let id = here.map_err(|_| {
        let text = "this thread runs no glommio executor: attach inside one";
        io::Error::new(io::ErrorKind::NotConnected, text)
    })?;
    if let Some((_, queue)) = QUEUE.get().filter(|(of, _)| *of == id) {
        return Ok(queue);
    }
    let latency = Latency::Matters(LOOK_EVERY);
    let queue = executor().create_task_queue(Shares::default(), latency, "ringshot");
    QUEUE.set(Some((id, queue)));
    Ok(queue)
}

/// A loop's place among the tasks of its executor.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whether others used the thread since the last turn. glommio does not tell whether a task is ready; the time says whether one ran.
    crowded: bool,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { crowded: false }
    }
}

impl Pace for Shared {
    #[inline]
    fn block_max(&self, most: Duration) -> Duration {
        if self.crowded { Duration::ZERO } else { most.min(BLOCK_MAX) }
    }

    #[inline]
    async fn give_way(&mut self) {
        let left = Instant::now();
        executor().yield_task_queue_now().await;
        self.crowded = Instant::now() - left > PAUSE_ALONE;
    }
}

/// Turns a shard until it is over.
///
/// # Errors
/// What [`Turn::turn`] and [`Sleeper::new`] report.
pub(super) async fn turn(mut turn: Box<dyn Turn>) -> io::Result<()> {
    let sleeper = Sleeper::new(&mut *turn)?;
    turn_with(turn, sleeper).await
}

async fn turn_with(mut turn: Box<dyn Turn>, mut sleeper: Sleeper) -> io::Result<()> {
    let mut pace = Shared::new();
    loop {
        turn.resume();
        let quiet = turn.is_quiet();
        let block = if quiet { Duration::ZERO } else { pace.block_max(BLOCK_MAX) };
        if quiet {
            sleeper.forget_edges()?;
        }
        if !turn.turn(block)? {
            return Ok(());
        }
        turn.pause();
        if quiet && turn.is_quiet() {
            sleeper.sleep(&mut *turn).await;
        } else {
            pace.give_way().await;
        }
    }
}

/// What wakes a host that sleeps outside the driver.
struct Sleeper {
    edges: Epoll,
    /// Polls `edges` by glommio's ring. Kept until it has fired.
    poll: Option<TcpStream>,
    /// What `edges` watches: kept open, since a watch ends with its descriptor.
    _watched: [OwnedFd; 2],
}

impl Sleeper {
    /// # Errors
    /// What the driver's alarm and epoll_ctl(2) report.
    fn new(turn: &mut dyn Turn) -> io::Result<Self> {
        let edges = Epoll::open()?;
        let (Alarm::Counter(alarm) | Alarm::Readable(alarm)) = turn.alarm()?;
        let bell = turn.bell().wakes()?;
        edges.add_reader(alarm.as_fd(), 0)?;
        edges.add_reader(bell.as_fd(), 1)?;
        Ok(Self { edges, poll: None, _watched: [alarm, bell] })
    }

    fn forget_edges(&mut self) -> io::Result<()> {
        let forgotten = self.edges.wait(&mut [Event::NONE; 2], 0);
        forgotten.map(drop).map_err(|errno| io::Error::from_raw_os_error(errno.0))
    }

    /// Sleeps until something happens, or not at all if it has. May end without a cause.
    async fn sleep(&mut self, turn: &mut dyn Turn) {
        // In this order: a ring that is not seen here finds the bell asleep, and makes an edge.
        if turn.bell().prepare_sleep() && turn.is_quiet() {
            let due = turn.next_deadline();
            let mut timer = (due != Instant::NEVER).then(|| Timer::new(due - Instant::now()));
            let mut asleep = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut asleep, true) {
                    return Poll::Ready(());
                }
                turn.kick_with(cx.waker());
                let due = timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready());
                if due || self.poll_edges(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        turn.bell().awake();
    }

    fn poll_edges(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll.is_none() {
            let Ok(copy) = self.edges.as_fd().try_clone_to_owned() else { return Poll::Ready(()) };
            // SAFETY: the stream becomes the owner of a descriptor that nobody else has.
            self.poll = Some(unsafe { TcpStream::from_raw_fd(copy.into_raw_fd()) });
        }
        let polled = self.poll.as_mut().map(|poll| Pin::new(poll).poll_read(cx, &mut [0]));
        if polled.is_some_and(|polled| polled.is_pending()) {
            return Poll::Pending;
        }
        // Its read failed, as it does on what is no socket: it would not poll again.
        self.poll = None;
        Poll::Ready(())
    }
}
