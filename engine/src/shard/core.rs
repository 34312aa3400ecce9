//! One core: its pool, its tasks, its bell. `turn` runs tasks, acts, submits and waits, reaps. Knows no threads; whoever calls `turn` is its host.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::doorbell::Doorbell;
use super::pool::Pool;
use super::pool::desk::Desk;
use super::tasks::{Spawner, Tasks};
use crate::clock::Instant;
use crate::driver::Driver;

/// Most polls of tasks in one turn: what comes for sockets must not wait for ever.
const POLLS_PER_TURN: usize = 256;
/// Buckets of [`Turns`]: powers of two of microseconds.
pub const TURN_BUCKETS: usize = 24;

/// What else a core has to see to in each turn: its mailbox.
pub(crate) trait Inbox {
    /// Takes in what came; `true` if anything did.
    fn drain(&mut self) -> bool;
    /// Whether nothing is there to take in.
    fn is_empty(&self) -> bool;
}

/// How long turns kept the core, from the end of a wait to the beginning of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turns {
    /// Turns by length: bucket `n` counts those of 2^n to 2^(n+1) microseconds, bucket 0 those below 2.
    pub buckets: [u64; TURN_BUCKETS],
    /// The longest.
    pub longest: Duration,
}

impl Turns {
    #[inline]
    fn note(&mut self, length: Duration) {
        let micros = length.as_nanos() as u64 / 1_000;
        let bucket = micros.checked_ilog2().unwrap_or_default() as usize;
        self.buckets[bucket.min(TURN_BUCKETS - 1)] += 1;
        self.longest = self.longest.max(length);
    }
}

/// One core.
#[derive(Debug)]
pub(crate) struct Core<D: Driver> {
    // Tasks hold what the pool lends: they go first.
    tasks: Tasks,
    pool: Pool<D>,
    bell: Arc<Doorbell>,
    /// When the last wait ended.
    now: Instant,
    turns: Turns,
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
        Ok(Self { tasks, pool, bell, now, turns: Turns::default() })
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

    pub(crate) fn spawner(&self) -> Spawner {
        self.tasks.spawner()
    }

    pub(crate) fn desk(&self) -> &Rc<Desk> {
        self.pool.desk()
    }

    pub(crate) fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }

    /// How long turns kept the core.
    pub(crate) fn turns(&self) -> Turns {
        self.turns
    }

    /// One turn: tasks, then their wishes, then one wait of at most `max_block`, then what came. `clock` is read before and after the wait,
    /// and `publish` is called before it: a core may sleep for long, and its figures must not be older than its sleep.
    ///
    /// # Errors
    /// Only when the driver is lost.
    #[inline]
    pub(crate) fn turn(
        &mut self,
        max_block: Duration,
        inbox: &mut impl Inbox,
        clock: &mut impl FnMut() -> Instant,
        publish: impl FnOnce(&Self),
    ) -> io::Result<()> {
        inbox.drain();
        self.tasks.run(POLLS_PER_TURN);
        self.pool.act();
        publish(self);
        let busy = self.tasks.has_ready() || self.pool.desk().has_commands();
        // A bell that rings from here on is heard; one that rang before left something behind.
        let sleeps = !busy && !max_block.is_zero() && self.bell.prepare_sleep();
        let idle = sleeps && inbox.is_empty() && !self.tasks.has_ready();
        self.turns.note(clock() - self.now);
        let waited = self.pool.wait(if idle { max_block } else { Duration::ZERO });
        self.bell.awake();
        waited?;
        self.now = clock();
        self.pool.reap(self.now);
        Ok(())
    }

    /// Whether a turn would only wait for the end of idle connections, timers or a ring of the bell.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pool.is_quiet() && !self.tasks.has_ready() && !self.pool.desk().has_commands()
    }
}
