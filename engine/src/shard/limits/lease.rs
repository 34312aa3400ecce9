//! A core's lease on a budget of permits: blocks of them, kept until another core starves. Queues nobody.

use std::sync::Arc;

use super::Budget;
use crate::clock::Instant;

/// Most permits that a core leases at once.
const BLOCK_MAX: u32 = 8;

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
        self.held += match self.budget.take(self.core, self.block) {
            0 => u32::from(self.budget.take_or_starve(self.core)),
            got => got,
        };
        self.used < self.held
    }

    /// Gives a permit back that nobody waits for on this core.
    #[inline]
    pub(crate) fn give(&mut self) {
        debug_assert!(self.used > 0, "a permit that was not taken");
        self.used -= 1;
        self.share();
    }

    /// Gives a permit back that is for whoever waits on this core, unless another should have it.
    #[inline]
    pub(crate) fn give_in_turn(&mut self, now: Instant) {
        debug_assert!(self.used > 0, "a permit that was not taken");
        self.used -= 1;
        if let Some(heir) = self.budget.promise(self.core, now) {
            self.held -= 1;
            self.budget.grant(heir);
        }
    }

    /// Nobody waits on this core.
    pub(crate) fn renounce(&mut self) {
        self.budget.renounce(self.core);
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
        self.budget.give(self.core, spare);
    }

    /// Permits in use on this core.
    #[cfg(test)]
    pub(super) fn used(&self) -> u32 {
        self.used
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.renounce(self.core);
        self.budget.give(self.core, self.held);
    }
}
