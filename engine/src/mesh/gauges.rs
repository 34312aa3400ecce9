//! A core's figures, written by its shard in each turn and read by anybody. Each on cache lines of its own.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::shard::tasks::{Stall, Stalls};
use crate::shard::{Holding, PoolCounters};

/// How a core stands. Read at one moment, but not all at the very same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CoreStats {
    /// Its number on this machine.
    pub core: usize,
    /// What it holds.
    pub holding: Holding,
    /// What it counted.
    pub counters: PoolCounters,
    /// Requests placed on it that are not over.
    pub placed: u32,
    /// Requests placed on it since the start.
    pub placed_total: u64,
    /// Of those, requests whose home was another core, which was behind.
    pub spilled: u64,
    /// How often its bell was rung, and how often that took a system call.
    pub rings: u64,
    /// Rings that took a system call: the core was asleep.
    pub signals: u64,
    /// Polls of tasks that kept the core for longer than the stall limit.
    pub stalls: u64,
    /// The longest of them, with the task's name.
    pub longest_stall: Option<Stall>,
    /// Tasks alive.
    pub tasks: u64,
    /// The longest turn.
    pub longest_turn: Duration,
}

/// What a core writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauges {
    holding: [AtomicU32; 7],
    counters: [AtomicU64; 12],
    stalls: AtomicU64,
    tasks: AtomicU64,
    longest_turn: AtomicU64,
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
    /// Publishes a core's figures.
    pub(crate) fn publish(
        &self,
        holding: Holding,
        counters: PoolCounters,
        (stalls, tasks): (Stalls, usize),
        longest_turn: Duration,
    ) {
        for (gauge, value) in self.holding.iter().zip(of_holding(&holding)) {
            gauge.store(value, Ordering::Relaxed);
        }
        for (gauge, value) in self.counters.iter().zip(of_counters(&counters)) {
            gauge.store(value, Ordering::Relaxed);
        }
        self.tasks.store(tasks as u64, Ordering::Relaxed);
        self.longest_turn.store(longest_turn.as_nanos() as u64, Ordering::Relaxed);
        if self.stalls.swap(stalls.count, Ordering::Relaxed) != stalls.count {
            let mut longest = lock(&self.longest_stall);
            *longest = stalls.longest;
        }
    }

    /// Reads what was published.
    pub(crate) fn read(&self) -> CoreStats {
        let holding = std::array::from_fn(|place| self.holding[place].load(Ordering::Relaxed));
        let counters = std::array::from_fn(|place| self.counters[place].load(Ordering::Relaxed));
        CoreStats {
            holding: to_holding(holding),
            counters: to_counters(counters),
            stalls: self.stalls.load(Ordering::Relaxed),
            longest_stall: *lock(&self.longest_stall),
            tasks: self.tasks.load(Ordering::Relaxed),
            longest_turn: Duration::from_nanos(self.longest_turn.load(Ordering::Relaxed)),
            ..CoreStats::default()
        }
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn of_holding(holding: &Holding) -> [u32; 7] {
    let Holding { in_flight, queued, waiting, active, idle, connecting, closing } = *holding;
    [in_flight, queued, waiting, active, idle, connecting, closing]
}

fn to_holding(values: [u32; 7]) -> Holding {
    let [in_flight, queued, waiting, active, idle, connecting, closing] = values;
    Holding { in_flight, queued, waiting, active, idle, connecting, closing }
}

fn of_counters(counters: &PoolCounters) -> [u64; 12] {
    let PoolCounters {
        requests,
        responses,
        failures,
        cancelled,
        connected,
        reused,
        stale_retries,
        evicted,
        reaped,
        bytes_received,
        turns,
        completions,
    } = *counters;
    [
        requests,
        responses,
        failures,
        cancelled,
        connected,
        reused,
        stale_retries,
        evicted,
        reaped,
        bytes_received,
        turns,
        completions,
    ]
}

fn to_counters(values: [u64; 12]) -> PoolCounters {
    let [
        requests,
        responses,
        failures,
        cancelled,
        connected,
        reused,
        stale_retries,
        evicted,
        reaped,
        bytes_received,
        turns,
        completions,
    ] = values;
    PoolCounters {
        requests,
        responses,
        failures,
        cancelled,
        connected,
        reused,
        stale_retries,
        evicted,
        reaped,
        bytes_received,
        turns,
        completions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read() {
        let gauges = Gauges::default();
        let holding = to_holding([1, 2, 3, 4, 5, 6, 7]);
        let counters = to_counters(std::array::from_fn(|place| place as u64 + 10));
        let stall = Stall { name: "slow", lasted: Duration::from_secs(1) };
        let stalls = Stalls { count: 1, longest: Some(stall) };
        gauges.publish(holding, counters, (stalls, 9), Duration::from_micros(5));
        let read = gauges.read();
        assert_eq!(
            (read.holding, read.counters, read.stalls, read.tasks),
            (holding, counters, 1, 9)
        );
        assert_eq!(read.longest_stall.map(|stall| stall.name), Some("slow"));
        assert_eq!(read.longest_turn, Duration::from_micros(5));
    }
}
