//! One core: its pool, its tasks, its bell. `turn` runs tasks, acts, submits and waits, reaps. Knows no threads; whoever calls `turn` is its host.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::doorbell::Doorbell;
use super::intake::NEWS_AGE_MAX;
use super::pool::Pool;
use super::pool::desk::Desk;
use super::tasks::{Spawner, Tasks};
use crate::clock::Instant;
use crate::driver::Driver;

/// Most polls of tasks in one turn: what comes for sockets must not wait for ever.
const POLLS_PER_TURN: usize = 256;
/// Buckets that turns are counted in by their length: powers of two of microseconds.
pub const TURN_BUCKETS: usize = 24;

/// What else a core has to see to in each turn: its mailbox.
pub(crate) trait Inbox {
    /// Takes in what came; `true` if anything did.
    fn drain(&mut self) -> bool;
    /// Whether nothing is there to take in.
    fn is_empty(&self) -> bool;
}

/// Which bucket a turn belongs to that kept its core so long: `n` for 2^n to 2^(n+1) microseconds, 0 for less than 2.
#[inline]
fn bucket_of(length: Duration) -> usize {
    let micros = length.as_nanos() as u64 / 1_000;
    let bucket = micros.checked_ilog2().unwrap_or_default() as usize;
    bucket.min(TURN_BUCKETS - 1)
}

/// How long a turn kept the core, from the end of a wait until its tasks had had their turn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept {
    pub(crate) length: Duration,
    pub(crate) bucket: usize,
}

/// One core.
#[derive(Debug)]
pub(crate) struct Core<D: Driver> {
    // Tasks hold what the pool lends: they go first.
    tasks: Tasks,
    pool: Pool<D>,
    bell: Arc<Doorbell>,
    /// When the last wait ended, or the core was resumed.
    now: Instant,
    /// When completions were last reaped.
    reaped: Instant,
    /// Whether the last turn had completions: what they led to may not have been handed to the kernel.
    stirred: bool,
    kept: Kept,
}

impl<D: Driver> Core<D> {
    /// A core whose driver wakes at `bell`.
    ///
    /// # Errors
    /// What [`Driver::watch`] reports.
    pub(crate) fn new(
        mut pool: Pool<D>,
        tasks: Tasks,
        bell: Arc<Doorbell>,
        now: Instant,
    ) -> io::Result<Self> {
        pool.driver_mut().watch(bell.wakes()?)?;
        let kept = Kept::default();
        Ok(Self { tasks, pool, bell, now, reaped: now, stirred: false, kept })
    }

    pub(crate) fn pool(&self) -> &Pool<D> {
        &self.pool
    }

    pub(crate) fn pool_mut(&mut self) -> &mut Pool<D> {
        &mut self.pool
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(crate) fn tasks_mut(&mut self) -> &mut Tasks {
        &mut self.tasks
    }

    pub(crate) fn spawner(&self) -> Spawner {
        self.tasks.spawner()
    }

    pub(crate) fn desk(&self) -> &Rc<Desk> {
        self.pool.desk()
    }

    pub(crate) fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }

    /// How long the last turn kept the core.
    pub(crate) fn kept(&self) -> Kept {
        self.kept
    }

    /// When the turn's tasks had had theirs.
    pub(crate) fn worked_until(&self) -> Instant {
        self.now + self.kept.length
    }

    /// The first half of a turn: tasks, then their wishes.
    ///
    /// # Errors
    /// Only when the driver is lost.
    #[inline]
    pub(crate) fn work(
        &mut self,
        inbox: &mut impl Inbox,
        clock: &mut impl FnMut() -> Instant,
    ) -> io::Result<()> {
        inbox.drain();
        self.tasks.run(POLLS_PER_TURN);
        // They may have kept the core: what they asked for is dated by now.
        let worked_until = clock();
        if worked_until - self.reaped > NEWS_AGE_MAX {
            self.pool.wait(Duration::ZERO)?;
            self.pool.catch_up()?;
            self.reap(worked_until);
        }
        self.pool.act(self.now, worked_until);
        let length = worked_until - self.now;
        self.kept = Kept { length, bucket: bucket_of(length) };
        Ok(())
    }

    #[inline]
    fn reap(&mut self, now: Instant) {
        self.reaped = now;
        self.stirred = self.pool.reap(now) > 0;
    }

    /// The second half: one wait of at most `max_block`, then what came. `clock` is read after the wait.
    ///
    /// # Errors
    /// Only when the driver is lost.
    #[inline]
    pub(crate) fn wait(
        &mut self,
        max_block: Duration,
        inbox: &impl Inbox,
        clock: &mut impl FnMut() -> Instant,
    ) -> io::Result<()> {
        let busy = self.tasks.has_ready() || self.pool.desk().has_commands();
        // A bell that rings from here on is heard; one that rang before left something behind.
        let sleeps = !busy && !max_block.is_zero() && self.bell.prepare_sleep();
        let idle = sleeps && inbox.is_empty() && !self.tasks.has_ready();
        let waited = self.pool.wait(if idle { max_block } else { Duration::ZERO });
        self.bell.awake();
        waited?;
        self.now = clock();
        if self.now - self.reaped > NEWS_AGE_MAX {
            self.pool.catch_up()?;
        }
        self.reap(self.now);
        Ok(())
    }

    /// Others have the thread until [`Core::resume`]: what is asked for meanwhile is dated by the clock.
    pub(crate) fn pause(&self) {
        self.desk().pause();
    }

    /// Goes on at `now`: the time since the last turn was not spent here.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.now = now;
        self.pool.set_now(now);
    }

    /// Whether nothing is in flight: all that the kernel may tell is the end of an idle connection.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.pool.holds_nothing()
    }

    /// Whether all was handed to the kernel, the last look found nothing, and a turn would only wait for the kernel, timers or a ring of the bell.
    pub(crate) fn only_waits(&self) -> bool {
        !self.stirred && !self.tasks.has_ready() && !self.pool.desk().has_commands()
    }
}
