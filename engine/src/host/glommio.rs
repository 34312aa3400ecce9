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
//! What has been in flight for [`DULL_TURNS`] without a word counts as quiet, for [`DULL_SLEEP_MAX`] at a time.
//!
//! # Wake latency
//! While requests are in flight the thread is in our driver most of the time, and glommio reads its rings and timers only when no task is ready or its preemption timer fires, which is
//! after 100 ms (a shorter one is no way out: glommio 0.9 goes to sleep over tasks that are ready if it fires too soon). So a turn blocks for [`BLOCK_MAX`] at most, and every [`LOOK_EVERY`]
//! the task waits for a timer that is due at once, which makes glommio look. A timer, a channel or a file of the same executor is served within [`LOOK_EVERY`] + [`BLOCK_MAX`] + half a turn (at most
//! some hundred microseconds), below 1 ms while nobody else uses the core; a task that is ready already waits for [`BLOCK_MAX`] and a turn. Where others used the thread since the last turn, the next one does not block at all. Tasks that
//! are ready all the time keep glommio from looking, with a shard or without: then the shard only yields to them. `benches/` measures it: `wake_latency`.
//!
//! # Sleep
//! With nothing in flight the task waits for one descriptor: an epoll instance of the driver's alarm and the doorbell, both by edges, so that neither has to be read. glommio polls
//! it with its own ring. It has no public poll, but its streams poll before they read, whatever the descriptor is: the read fails (`ENOTSOCK`) as soon as there is something to read. Before it sleeps the
//! host forgets old edges, takes a turn that does not block, and sleeps if that left nothing to do; what comes after the old edges were forgotten makes new ones.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::Timer;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, executor};

use super::{Pace, Turn, thread};
use crate::clock::Instant;
use crate::driver::{Alarm, probe};
use crate::sys::Errno;
use crate::sys::affinity::Pinned;
use crate::sys::epoll::{Epoll, Event};
use crate::sys::process;

/// The longest that a turn blocks in the driver while requests are in flight.
const BLOCK_MAX: Duration = Duration::from_micros(100);
/// How often glommio is made to look at its rings, timers and channels while a shard is busy. A look costs mostly three system calls; 30 us of CPU on a loaded 6.18 machine.
const LOOK_EVERY: Duration = Duration::from_micros(640);
/// Turns in a row that blocked and found nothing from which on the task sleeps over what is in flight: a millisecond or more. What is slower than that comes some ten microseconds later,
/// and waiting for it costs no processor, which was 12 to 20 % of one.
const DULL_TURNS: u32 = 10;
/// The longest such sleep. Whatever a driver has left to do that it tells nobody of is done then.
const DULL_SLEEP_MAX: Duration = Duration::from_millis(10);
/// When a timer is due that is due at once: not before it is started, and before glommio has come to look.
const AT_ONCE: Duration = Duration::from_micros(1);
/// The part of the time that waiting for looks may take: one of so many.
const LOOKS_SHARE: u32 = 4;
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
pub(super) fn check() -> io::Result<()> {
    probe::best_tier().map_err(|blocked| {
        let text = format!("glommio needs io_uring: {blocked}, or use the thread host");
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
    let builder = LocalExecutorBuilder::new(Placement::Unbound).name("ringshot").io_memory(0);
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
    // There is no way to ask whether there is an executor but this: it panics where there is none.
    catch_unwind(|| executor().id()).map_err(|_| {
        let text = "this thread runs no glommio executor: attach inside one";
        io::Error::new(io::ErrorKind::NotConnected, text)
    })?;
    process::prepare_membarrier();
    let room = Rc::new(RefCell::new(Some(Guest::new(open()?)?)));
    let lease = Lease::new(Rc::clone(&room));
    let task = async move {
        // The shard's end is told by whatever its owner opened it with.
        let _ = run(&room).await;
        drop(room.take());
        drop(lease);
    };
    drop(glommio::spawn_local(task).detach());
    Ok(())
}

/// A loop's place among the tasks of its executor.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whether others used the thread since the last turn. glommio does not tell whether a task is ready; the time says whether one ran.
    crowded: bool,
    /// When glommio is to look next.
    look: Instant,
    /// When the shard got the thread back.
    back: Instant,
}

impl Shared {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { crowded: false, look: now, back: now }
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
        // The next turn will be about as long as this one: before or after it, whichever is nearer.
        if left + (left - self.back) / 2 < self.look {
            executor().yield_task_queue_now().await;
            self.back = Instant::now();
            self.crowded = self.back - left > PAUSE_ALONE;
        } else {
            Timer::new(AT_ONCE).await;
            self.back = Instant::now();
            // Tasks that are always ready make it long: then there are fewer.
            self.look = self.back + LOOK_EVERY.max((self.back - left) * LOOKS_SHARE);
        }
    }
}

/// Turns a shard until it is over.
///
/// # Errors
/// What [`Turn::turn`] and [`Sleeper::new`] report.
pub(super) async fn turn(turn: Box<dyn Turn>) -> io::Result<()> {
    let room = Rc::new(RefCell::new(Some(Guest::new(turn)?)));
    // A task of the executor that panics ends it, and this never goes on.
    let lease = Lease::new(Rc::clone(&room));
    let outcome = run(&room).await;
    drop(room.take());
    drop(lease);
    outcome
}

/// A shard in an executor, with what wakes it.
struct Guest {
    turn: Box<dyn Turn>,
    sleeper: Sleeper,
    /// Turns in a row that blocked, and found nothing of what is in flight.
    dull: u32,
}

/// What follows a turn.
enum Next {
    Over,
    GiveWay,
    Sleep,
}

/// Where a shard lives between two turns: not in its task, see [`Lease`].
type Room = RefCell<Option<Guest>>;

async fn run(room: &Room) -> io::Result<()> {
    let mut pace = Shared::new();
    let in_room = |act: &mut dyn FnMut(&mut Guest)| room.borrow_mut().as_mut().map(act);
    loop {
        let next = room.borrow_mut().as_mut().map(|guest| guest.turn(&pace));
        match next.transpose()?.unwrap_or(Next::Over) {
            Next::Over => return Ok(()),
            Next::GiveWay => pace.give_way().await,
            Next::Sleep => {
                let mut asleep = false;
                poll_fn(|cx| {
                    let woken = std::mem::replace(&mut asleep, true);
                    let mut polled = Poll::Ready(());
                    if !woken {
                        in_room(&mut |guest| polled = guest.fall_asleep(cx));
                    }
                    polled
                })
                .await;
                in_room(&mut |guest| guest.wake_up());
            }
        }
    }
}

impl Guest {
    fn new(mut turn: Box<dyn Turn>) -> io::Result<Self> {
        let sleeper = Sleeper::new(&mut *turn)?;
        Ok(Self { turn, sleeper, dull: 0 })
    }

    #[inline]
    fn turn(&mut self, pace: &Shared) -> io::Result<Next> {
        self.turn.resume();
        // Something is to be begun, which may be answered soon.
        if !self.turn.only_waits() {
            self.dull = 0;
        }
        let may_sleep = self.may_sleep();
        let block = if may_sleep { Duration::ZERO } else { pace.block_max(BLOCK_MAX) };
        if may_sleep {
            self.sleeper.forget_edges()?;
        }
        if !self.turn.turn(block)? {
            return Ok(Next::Over);
        }
        self.turn.pause();
        let only_waits = self.turn.only_waits();
        self.dull = if only_waits { self.dull + u32::from(!block.is_zero()) } else { 0 };
        // Old edges are forgotten only if it might have slept before.
        Ok(if may_sleep && self.may_sleep() { Next::Sleep } else { Next::GiveWay })
    }

    /// Whether there is nothing to do, and nothing that is likely to come soon.
    fn may_sleep(&self) -> bool {
        self.turn.is_quiet() || self.dull >= DULL_TURNS && self.turn.only_waits()
    }

    /// Has whatever may happen wake the task, unless it has happened.
    fn fall_asleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // In this order: a ring that is not seen here finds the bell asleep, and makes an edge.
        if !self.turn.bell().prepare_sleep() || !self.turn.only_waits() {
            return Poll::Ready(());
        }
        self.turn.kick_with(cx.waker());
        let mut deadline = self.turn.next_deadline();
        if !self.turn.is_quiet() {
            deadline = deadline.min(Instant::now() + DULL_SLEEP_MAX);
        }
        let due = self.sleeper.poll_timer(deadline, cx).is_ready();
        if due { Poll::Ready(()) } else { self.sleeper.poll_edges(cx) }
    }

    fn wake_up(&mut self) {
        self.turn.bell().awake();
        self.sleeper.timer = None;
    }
}

/// What wakes a host that sleeps outside the driver.
struct Sleeper {
    edges: Epoll,
    /// Polls `edges` by glommio's ring. Kept until it has fired.
    poll: Option<TcpStream>,
    timer: Option<Timer>,
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
        Ok(Self { edges, poll: None, timer: None, _watched: [alarm, bell] })
    }

    fn forget_edges(&mut self) -> io::Result<()> {
        match self.edges.wait(&mut [Event::NONE; 2], 0) {
            Ok(_) | Err(Errno(libc::EINTR)) => Ok(()),
            Err(Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn poll_timer(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if due == Instant::NEVER {
            return Poll::Pending;
        }
        let timer = self.timer.insert(Timer::new(due - Instant::now()));
        Pin::new(timer).poll(cx).map(drop)
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

/// Ends a shard's stay when its executor goes. glommio never drops a task that waits, but it drops the waker of a timer that is not due: that of this one never is.
struct Lease(#[allow(dead_code, reason = "kept until it is dropped")] Timer);

impl Lease {
    /// Longer than an executor lives.
    const TERM: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

    fn new(room: Rc<Room>) -> Self {
        let eviction = Eviction(NEXT_EVICTION.fetch_add(1, Ordering::Relaxed));
        ROOMS.with_borrow_mut(|rooms| rooms.push((eviction.0, room)));
        let waker = Waker::from(Arc::new(eviction));
        let mut timer = Timer::new(Self::TERM);
        let _never = Pin::new(&mut timer).poll(&mut Context::from_waker(&waker));
        Self(timer)
    }
}

thread_local! {
    /// The rooms of this thread's executors.
    static ROOMS: RefCell<Vec<(u64, Rc<Room>)>> = const { RefCell::new(Vec::new()) };
}

static NEXT_EVICTION: AtomicU64 = AtomicU64::new(0);

/// Clears a room when it is dropped, which glommio does on the room's thread.
struct Eviction(u64);

impl Wake for Eviction {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Eviction {
    fn drop(&mut self) {
        let room = ROOMS.try_with(|rooms| {
            let mut rooms = rooms.borrow_mut();
            let place = rooms.iter().position(|(number, _)| *number == self.0)?;
            Some(rooms.swap_remove(place).1)
        });
        // Outside of the list: what goes with it may drop other shards. A room in use is that of a turn which has just ended the executor: its task goes on.
        if let Ok(Some(room)) = room {
            let guest = room.try_borrow_mut().ok().and_then(|mut room| room.take());
            drop(guest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_locked_memory_is_refused_with_the_remedy() {
        assert!(check_locked_memory(LOCKED_MEMORY_MIN).is_ok());
        let error = check_locked_memory(64 << 10).unwrap_err().to_string();
        for part in ["524288 bytes", "65536", "ulimit -l 512", "the thread host"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_comes_while_others_run_is_not_waited_for() {
        let executor = executor_here().unwrap();
        executor.run(async {
            let mut pace = Shared::new();
            assert_eq!(pace.block_max(Duration::from_secs(1)), BLOCK_MAX);
            // The first is a look.
            pace.give_way().await;
            let _other = glommio::spawn_local(async {
                for _ in 0..100 {
                    std::thread::sleep(Duration::from_micros(100));
                    glommio::executor().yield_now().await;
                }
            });
            while !pace.crowded {
                pace.give_way().await;
            }
            assert_eq!(pace.block_max(Duration::from_secs(1)), Duration::ZERO);
        });
    }

    #[test]
    fn a_loop_goes_on_however_seldom_it_is_given_the_core() {
        // A thread that loses its core between two looks must not put the executor to sleep over a task that is ready.
        let handle = spawn(0, async |_| {
            let mut pace = Shared::new();
            for turn in 0..200 {
                if turn % 10 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                pace.give_way().await;
            }
            Ok(())
        });
        handle.unwrap().join().unwrap().unwrap();
    }
}
