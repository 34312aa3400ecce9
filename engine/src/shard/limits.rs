//! Limits that hold over all cores: a budget of units that cores take and give back, and a core's lease on one. Never waits, never exceeds.
//!
//! A unit is a connection or a permit. Connections are taken one by one, since a dial costs far more than an atomic operation. Permits are taken in blocks,
//! since they are taken for every request: a core keeps what it has leased until another core starves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::doorbell::Doorbell;

/// Most permits that a core leases at once.
const BLOCK_MAX: u32 = 8;

/// A limit shared by all cores.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u32,
    taken: AtomicU32,
    /// The most that were taken at once.
    most: AtomicU32,
    /// Cores that found nothing, a bit each (modulo 64).
    starving: AtomicU64,
    /// How often any budget of the same client came to starve a core.
    news: Arc<AtomicU64>,
    bells: Arc<[Arc<Doorbell>]>,
}

impl Budget {
    /// A budget of `limit` units over the cores whose bells these are.
    pub(crate) fn new(limit: u32, bells: Arc<[Arc<Doorbell>]>, news: Arc<AtomicU64>) -> Self {
        Self {
            limit,
            news,
            taken: AtomicU32::new(0),
            most: AtomicU32::new(0),
            starving: AtomicU64::new(0),
            bells,
        }
    }

    /// Takes up to `wanted` units and returns how many it got.
    pub(crate) fn take(&self, wanted: u32) -> u32 {
        let room = |taken: u32| {
            let got = wanted.min(self.limit.saturating_sub(taken));
            (got > 0).then_some(taken + got)
        };
        match self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room) {
            Ok(before) => {
                let got = wanted.min(self.limit - before);
                self.most.fetch_max(before + got, Ordering::Relaxed);
                got
            }
            Err(_) => 0,
        }
    }

    /// Takes one unit, or notes that `core` starves, so that it is rung when one comes back and others give up what they can spare.
    pub(crate) fn take_or_starve(&self, core: u32) -> bool {
        if self.take(1) == 1 {
            return true;
        }
        let bit = bit_of(core);
        let news = self.starving.fetch_or(bit, Ordering::SeqCst) & bit == 0;
        // Between the two looks a unit may have come back without a ring.
        if self.take(1) == 1 {
            return true;
        }
        if news {
            self.news.fetch_add(1, Ordering::SeqCst);
            self.ring(!bit);
        }
        false
    }

    /// Gives units back, and rings the cores that starve.
    pub(crate) fn give(&self, units: u32) {
        if units == 0 {
            return;
        }
        let before = self.taken.fetch_sub(units, Ordering::SeqCst);
        debug_assert!(before >= units, "more units came back than were taken");
        if self.starving.load(Ordering::SeqCst) != 0 {
            let starving = self.starving.swap(0, Ordering::SeqCst);
            self.ring(starving);
        }
    }

    /// Whether `core` found nothing, and is rung when a unit comes back.
    pub(crate) fn starves(&self, core: u32) -> bool {
        self.starving.load(Ordering::SeqCst) & bit_of(core) != 0
    }

    /// Whether a core other than `core` found nothing.
    #[inline]
    pub(crate) fn others_starve(&self, core: u32) -> bool {
        self.starving.load(Ordering::Relaxed) & !bit_of(core) != 0
    }

    /// Whether a unit is there to be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < self.limit
    }

    /// Units taken now.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The most units that were taken at once.
    pub(crate) fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    fn ring(&self, mask: u64) {
        for (core, bell) in self.bells.iter().enumerate() {
            if mask & bit_of(core as u32) != 0 {
                bell.ring();
            }
        }
    }
}

fn bit_of(core: u32) -> u64 {
    1 << (core % 64)
}

/// One core's share of a budget: the semaphore of its requests. Fairness is the business of whoever queues.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    core: u32,
    block: u32,
    held: u32,
    used: u32,
}

impl Lease {
    /// An empty lease of `core`.
    pub(crate) fn new(budget: Arc<Budget>, core: u32) -> Self {
        let cores = budget.bells.len().max(1) as u32;
        let block = (budget.limit / (4 * cores)).clamp(1, BLOCK_MAX);
        Self { budget, core, block, held: 0, used: 0 }
    }

    /// Takes a permit.
    #[inline]
    pub(crate) fn try_take(&mut self) -> bool {
        if self.used == self.held && !self.extend() {
            return false;
        }
        self.used += 1;
        true
    }

    fn extend(&mut self) -> bool {
        self.held += match self.budget.take(self.block) {
            0 => u32::from(self.budget.take_or_starve(self.core)),
            got => got,
        };
        self.used < self.held
    }

    /// Gives a permit back.
    #[inline]
    pub(crate) fn give(&mut self) {
        debug_assert!(self.used > 0, "a permit that was not taken");
        self.used -= 1;
        self.share();
    }

    /// Gives up what is leased and not used, if another core starves.
    #[inline]
    pub(crate) fn share(&mut self) {
        if self.held > self.used && self.budget.others_starve(self.core) {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        let spare = self.held - self.used;
        self.held = self.used;
        self.budget.give(spare);
    }

    /// Permits in use on this core.
    #[cfg(test)]
    fn used(&self) -> u32 {
        self.used
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.give(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u32, cores: usize) -> Arc<Budget> {
        let bells: Vec<_> = (0..cores).map(|_| Arc::new(Doorbell::new().unwrap())).collect();
        Arc::new(Budget::new(limit, bells.into(), Arc::default()))
    }

    #[test]
    fn a_budget_is_never_exceeded() {
        let budget = budget(10, 2);
        assert_eq!((budget.take(7), budget.take(7), budget.take(1)), (7, 3, 0));
        assert!(!budget.has_room() && !budget.take_or_starve(0));
        assert!(budget.others_starve(1) && !budget.others_starve(0));
        budget.give(2);
        assert!(!budget.others_starve(1) && budget.take_or_starve(0));
        assert_eq!((budget.taken(), budget.most()), (9, 10));
    }

    #[test]
    fn a_starving_core_gets_what_another_can_spare() {
        let budget = budget(8, 2);
        let (mut one, mut two) = (Lease::new(budget.clone(), 0), Lease::new(budget.clone(), 1));
        (0..8).for_each(|_| assert!(one.try_take()));
        assert!(!two.try_take());
        one.give();
        assert!(two.try_take() && !two.try_take() && !one.try_take());
        assert_eq!((one.used(), two.used(), budget.taken()), (7, 1, 8));
        drop((one, two));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn many_threads_share_a_small_budget() {
        let budget = budget(3, 4);
        let inside = Arc::new(AtomicU32::new(0));
        let work = |core| {
            let (budget, inside) = (budget.clone(), inside.clone());
            std::thread::spawn(move || {
                let mut lease = Lease::new(budget, core);
                for _ in 0..20_000 {
                    if lease.try_take() {
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        lease.give();
                    }
                    lease.share();
                }
            })
        };
        let threads: Vec<_> = (0..4).map(work).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(budget.taken(), 0);
    }
}
