//! How many requests a run may still send: one number for all cores, from which each takes a few at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most requests that a core takes from the common budget at once.
const LEASE_MAX: u64 = 256;

/// How many requests are left to send, over all cores.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    /// Size of a lease: small budgets are spread over the cores.
    lease: u64,
}

impl Budget {
    pub(super) fn new(requests: u64, cores: usize) -> Self {
        let lease = (requests / (16 * cores.max(1) as u64)).clamp(1, LEASE_MAX);
        Self { left: AtomicU64::new(requests), lease }
    }

    /// Takes up to one lease, at least `wanted` of it if there are so many.
    fn take(&self, wanted: u64) -> u64 {
        let most = wanted.max(self.lease);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left > 0).then(|| left - left.min(most))
        });
        taken.map_or(0, |before| before.min(most))
    }

    fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

/// What a worker may send.
#[derive(Debug)]
pub(super) enum Allowance {
    /// As much as there is room for.
    Unlimited,
    /// What is leased from a budget.
    Leased {
        /// All cores'.
        budget: Arc<Budget>,
        /// Taken and not used.
        held: u64,
    },
}

impl Allowance {
    /// Takes up to `wanted` requests.
    #[inline]
    pub(super) fn take(&mut self, wanted: u32) -> u32 {
        match self {
            Self::Unlimited => wanted,
            Self::Leased { budget, held } => {
                if *held < u64::from(wanted) {
                    *held += budget.take(u64::from(wanted) - *held);
                }
                let taken = (*held).min(u64::from(wanted));
                *held -= taken;
                taken as u32
            }
        }
    }

    /// Takes back a request that was not taken up.
    pub(super) fn give_back(&mut self) {
        if let Self::Leased { held, .. } = self {
            *held += 1;
        }
    }

    /// Whether nothing may be sent any more.
    pub(super) fn is_spent(&self) -> bool {
        match self {
            Self::Unlimited => false,
            Self::Leased { budget, held } => *held == 0 && budget.is_spent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leased(budget: &Arc<Budget>) -> Allowance {
        Allowance::Leased { budget: Arc::clone(budget), held: 0 }
    }

    #[test]
    fn a_budget_is_spent_exactly_once_over_all_cores() {
        for (requests, cores) in [(0, 1), (1, 4), (7, 2), (1000, 3), (100_000, 2)] {
            let budget = Arc::new(Budget::new(requests, cores));
            let mut allowances: Vec<_> = (0..cores).map(|_| leased(&budget)).collect();
            let mut sent = 0_u64;
            while allowances.iter().any(|allowance| !allowance.is_spent()) {
                sent += allowances.iter_mut().map(|each| u64::from(each.take(16))).sum::<u64>();
            }
            assert_eq!(sent, requests, "{requests} over {cores}");
        }
    }

    #[test]
    fn what_was_not_taken_up_is_there_again() {
        let mut allowance = leased(&Arc::new(Budget::new(4, 1)));
        assert_eq!((allowance.take(8), allowance.is_spent()), (4, true));
        (0..3).for_each(|_| allowance.give_back());
        assert_eq!((allowance.is_spent(), allowance.take(8)), (false, 3));
    }
}
