//! What an origin counts, readable from other threads. A core writes once a turn.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an origin has seen, as its own account: what a client claims about its limits is held against it.
///
/// A client's end of a connection counts as soon as it is heard, and an answer as soon as it is handed over to be sent: a client that keeps to a limit is never
/// seen to have more requests in progress. Connections may be more for a moment, by those that replace others: all that wait are accepted at once, also those that came after the wait whose
/// events are being looked at, and the ends that came before them are heard in the next turn.
///
/// ```
/// use ringshot::client::{Engine, blocking::block_on};
/// use ringshot::origin::{Config, Counters, Origin};
///
/// let origin = Origin::start(&Config::on_loopback())?;
/// assert_eq!(origin.counters(), Counters::default());
/// let client = Engine::builder().build()?.client().max_conns(1).build()?;
/// for _ in 0..3 {
///     block_on(client.get(origin.url("/")).fetch())?;
/// }
/// assert_eq!((origin.counters().accepted, origin.counters().most_open), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Answers given; those broken off on purpose among them.
    pub served: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// The most connections open at once.
    pub most_open: u64,
    /// Times that a connection could not be accepted, mostly because file descriptors had run out; it is tried again a tenth of a second later.
    pub accept_failures: u64,
    /// Requests that have begun and are not answered.
    pub in_progress: u64,
    /// The most requests in progress at once. With several cores it is the sum of each core's most, so the real number may be lower.
    pub most_in_progress: u64,
}

/// Connections of all cores.
#[derive(Debug, Default)]
pub(super) struct Open {
    now: AtomicU64,
    most: AtomicU64,
}

impl Open {
    pub(super) fn read(&self) -> (u64, u64) {
        (self.now.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed))
    }

    fn change(&self, from: u64, to: u64) {
        let change = to.wrapping_sub(from);
        let before = self.now.fetch_add(change, Ordering::Relaxed);
        self.most.fetch_max(before.wrapping_add(change), Ordering::Relaxed);
    }
}

/// One core's numbers, as others see them.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Published {
    served: AtomicU64,
    accepted: AtomicU64,
    accept_failures: AtomicU64,
    in_progress: AtomicU64,
    most_in_progress: AtomicU64,
}

impl Published {
    pub(super) fn add_to(&self, counters: &mut Counters) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        counters.served += read(&self.served);
        counters.accepted += read(&self.accepted);
        counters.accept_failures += read(&self.accept_failures);
        counters.in_progress += read(&self.in_progress);
        counters.most_in_progress += read(&self.most_in_progress);
    }

    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

/// One core's numbers, as it counts them.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) served: u64,
    pub(super) accepted: u64,
    pub(super) accept_failures: u64,
    pub(super) open: u64,
    pub(super) in_progress: u64,
    pub(super) most_in_progress: u64,
}

impl Tally {
    /// Writes the numbers; `told` is how many connections were open at the last time.
    #[inline]
    pub(super) fn publish(&self, told: &mut u64, to: &Published, open: &Open) {
        let write = |number: &AtomicU64, value| number.store(value, Ordering::Relaxed);
        write(&to.accepted, self.accepted);
        write(&to.accept_failures, self.accept_failures);
        write(&to.in_progress, self.in_progress);
        write(&to.most_in_progress, self.most_in_progress);
        write(&to.served, self.served);
        if self.open != *told {
            open.change(*told, self.open);
            *told = self.open;
        }
    }

    #[inline]
    pub(super) fn begin(&mut self, requests: u32) {
        self.in_progress += u64::from(requests);
        self.most_in_progress = self.most_in_progress.max(self.in_progress);
    }

    #[inline]
    pub(super) fn end(&mut self, requests: u32) {
        self.in_progress = self.in_progress.saturating_sub(requests.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_add_up() {
        let (open, cores) = (Open::default(), [Published::default(), Published::default()]);
        let (mut tallies, mut told) = ([Tally::default(); 2], [0; 2]);
        for opened in [3, 1, 2] {
            for core in 0..2 {
                tallies[core].open = opened;
                tallies[core].accepted += opened;
                tallies[core].begin(2);
                tallies[core].end(1);
                tallies[core].publish(&mut told[core], &cores[core], &open);
            }
        }
        let mut counters = Counters::default();
        cores.iter().for_each(|core| core.add_to(&mut counters));
        assert_eq!(open.read(), (4, 6));
        assert_eq!((counters.accepted, counters.in_progress), (12, 6));
        assert_eq!(counters.most_in_progress, 8);
    }
}
