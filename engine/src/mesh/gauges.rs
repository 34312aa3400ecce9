//! A core's figures, written by its shard in each turn and read by anybody. Each on cache lines of its own.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::shard::core::Kept;
use crate::shard::tasks::{Stall, Stalls};
use crate::shard::{Holding, PoolCounters, TURN_BUCKETS};
use crate::sync::lock;
use crate::sys::affinity::Pinned;

/// Looks at a core's figures before what may be torn is taken.
const LOOKS_MAX: u32 = 1000;

/// How a core stands. What it holds and what it counted are of the same moment, the end of its last turn; the rest may be a little younger.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// block_on(client.get(origin.url("/")).fetch())?;
/// let placed: u64 = engine.stats().iter().map(|core| core.placed_total).sum();
/// assert_eq!(placed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CoreStats {
    /// Its number on this machine.
    pub core: usize,
    /// Whether its thread is pinned to it; it may not be where the kernel refuses.
    pub pinned: bool,
    /// What it holds.
    pub holding: Holding,
    /// What it counted.
    pub counters: PoolCounters,
    /// Requests of `Client`s and batches placed on it that are not over. Those of a `LocalClient` are placed by whoever makes them, and in none of these three.
    pub placed: u32,
    /// Those placed on it since the start.
    pub placed_total: u64,
    /// Of these, requests whose home was another core: because that was behind, or because this one had pulled them for a batch whose results it consumes.
    pub spilled: u64,
    /// How often its bell was rung.
    pub rings: u64,
    /// Rings that took a system call: the core was asleep.
    pub signals: u64,
    /// Polls of tasks that kept the core for longer than the stall limit.
    pub stalls: u64,
    /// The longest of them since the start, with the task's name.
    pub longest_stall: Option<Stall>,
    /// Tasks alive.
    pub tasks: u64,
    /// The longest time that a turn kept the core: from the end of a wait to the beginning of the next.
    pub longest_turn: Duration,
    /// Turns by that time: bucket `n` counts those of 2^n to 2^(n+1) microseconds, bucket 0 those below 2.
    pub turns: [u64; TURN_BUCKETS],
}

/// What a core writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauges {
    /// Odd while the core writes `holding` and `counters`, which are read together or not at all: a connection that changes from active to idle is never
    /// neither.
    edition: AtomicU64,
    pinned: AtomicBool,
    holding: [AtomicU32; 7],
    counters: [AtomicU64; 12],
    stalls: AtomicU64,
    tasks: AtomicU64,
    longest_turn: AtomicU64,
    turns: [AtomicU64; TURN_BUCKETS],
    longest_stall: std::sync::Mutex<Option<Stall>>,
}

/// What senders write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load {
    /// Requests placed on the core that are not over.
    pub(crate) placed: AtomicU32,
    pub(crate) placed_total: AtomicU64,
    pub(crate) spilled: AtomicU64,
}

impl Gauges {
    /// Notes whether the core's thread is pinned.
    pub(crate) fn set_pinned(&self, pinned: Pinned) {
        self.pinned.store(pinned == Pinned::Yes, Ordering::Relaxed);
    }

    /// Publishes a core's figures. Tells whether there was another stall.
    pub(crate) fn publish(
        &self,
        holding: Holding,
        counters: PoolCounters,
        (stalls, tasks): (Stalls, usize),
        kept: Kept,
    ) -> bool {
        self.publish_pool(holding, counters);
        self.tasks.store(tasks as u64, Ordering::Relaxed);
        let length = kept.length.as_nanos() as u64;
        if length > self.longest_turn.load(Ordering::Relaxed) {
            self.longest_turn.store(length, Ordering::Relaxed);
        }
        let turns = &self.turns[kept.bucket];
        // Only this core writes: no need for an operation that is atomic as a whole.
        turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if self.stalls.load(Ordering::Relaxed) == stalls.count {
            return false;
        }
        self.stalls.store(stalls.count, Ordering::Relaxed);
        *lock(&self.longest_stall) = stalls.longest;
        true
    }

    fn publish_pool(&self, holding: Holding, counters: PoolCounters) {
        let edition = self.edition.load(Ordering::Relaxed);
        self.edition.store(edition + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (gauge, value) in self.holding.iter().zip(of_holding(holding)) {
            gauge.store(value, Ordering::Relaxed);
        }
        for (gauge, value) in self.counters.iter().zip(of_counters(counters)) {
            gauge.store(value, Ordering::Relaxed);
        }
        self.edition.store(edition + 2, Ordering::Release);
    }

    /// What one turn published. Where the core writes each time that this looks, the last look counts, whole or not.
    fn read_pool(&self) -> (Holding, PoolCounters) {
        let mut tries = 0;
        loop {
            let before = self.edition.load(Ordering::Acquire);
            let holding = std::array::from_fn(|place| self.holding[place].load(Ordering::Relaxed));
            let counters =
                std::array::from_fn(|place| self.counters[place].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            let whole = before.is_multiple_of(2) && self.edition.load(Ordering::Relaxed) == before;
            if whole || tries == LOOKS_MAX {
                return (to_holding(holding), to_counters(counters));
            }
            tries += 1;
            // The core may have lost its processor in the midst of writing.
            std::thread::yield_now();
        }
    }

    /// Reads what was published.
    pub(crate) fn read(&self) -> CoreStats {
        let (holding, counters) = self.read_pool();
        CoreStats {
            pinned: self.pinned.load(Ordering::Relaxed),
            holding,
            counters,
            stalls: self.stalls.load(Ordering::Relaxed),
            longest_stall: *lock(&self.longest_stall),
            tasks: self.tasks.load(Ordering::Relaxed),
            longest_turn: Duration::from_nanos(self.longest_turn.load(Ordering::Relaxed)),
            turns: std::array::from_fn(|place| self.turns[place].load(Ordering::Relaxed)),
            ..CoreStats::default()
        }
    }
}

/// The fields of a struct as an array and back, in the order that is written here once.
macro_rules! as_array {
    ($what:ident as [$figure:ty; $count:literal], $to:ident, $from:ident: $($field:ident),+ $(,)?) => {
        fn $to($what { $($field),+ }: $what) -> [$figure; $count] {
            [$($field),+]
        }

        fn $from([$($field),+]: [$figure; $count]) -> $what {
            $what { $($field),+ }
        }
    };
}

as_array!(Holding as [u32; 7], of_holding, to_holding:
    in_flight, queued, waiting, active, idle, connecting, closing);
as_array!(PoolCounters as [u64; 12], of_counters, to_counters:
    requests, responses, failures, cancelled, connected, reused, stale_retries, evicted, reaped,
    bytes_received, turns, completions);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_was_published_together() {
        let gauges = std::sync::Arc::new(Gauges::default());
        let written = std::sync::Arc::clone(&gauges);
        let writer = std::thread::spawn(move || {
            for n in 1..50_000_u32 {
                let counters = to_counters([u64::from(n); 12]);
                written.publish_pool(to_holding([n; 7]), counters);
            }
        });
        while !writer.is_finished() {
            let (holding, counters) = gauges.read_pool();
            let (held, counted) = (of_holding(holding), of_counters(counters));
            assert!(held.iter().all(|value| *value == held[0]), "{held:?}");
            assert!(counted.iter().all(|value| *value == u64::from(held[0])), "{counted:?}");
        }
        writer.join().unwrap();
    }

    #[test]
    fn what_is_published_is_read() {
        let gauges = Gauges::default();
        let holding = to_holding([1, 2, 3, 4, 5, 6, 7]);
        let counters = to_counters(std::array::from_fn(|place| place as u64 + 10));
        let stall = Stall { name: "slow", lasted: Duration::from_secs(1) };
        let stalls = Stalls { count: 1, longest: Some(stall), latest: None };
        let kept = Kept { length: Duration::from_micros(5), bucket: 2 };
        assert!(gauges.publish(holding, counters, (stalls, 9), kept));
        assert!(!gauges.publish(holding, counters, (stalls, 9), kept));
        let read = gauges.read();
        assert_eq!(
            (read.holding, read.counters, read.stalls, read.tasks),
            (holding, counters, 1, 9)
        );
        assert_eq!(read.longest_stall.map(|stall| stall.name), Some("slow"));
        assert_eq!((read.longest_turn, read.turns[2]), (Duration::from_micros(5), 2));
    }
}
