//! How many requests a run may still send, and their numbers: one sequence for all cores, of which each takes a few at a time.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most requests that a core takes from the common budget at once.
const LEASE_MAX: u64 = 256;

/// The requests of a run that no core has taken yet.
#[derive(Debug)]
pub(super) struct Budget {
    /// The number of the next one.
    next: AtomicU64,
    end: u64,
    /// Size of a lease: small budgets are spread over the cores.
    lease: u64,
}

impl Budget {
    pub(super) fn new(requests: u64, cores: usize) -> Self {
        let lease = (requests / (16 * cores.max(1) as u64)).clamp(1, LEASE_MAX);
        Self { next: AtomicU64::new(0), end: requests, lease }
    }

    /// As many as anybody wants.
    pub(super) fn unlimited() -> Self {
        Self::new(u64::MAX, 1)
    }

    /// Takes up to one lease, at least `wanted` of it if there are so many.
    fn take(&self, wanted: u64) -> Range<u64> {
        let most = wanted.max(self.lease);
        let after = |next: u64| next + most.min(self.end - next);
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (next < self.end).then(|| after(next))
        });
        taken.map_or(0..0, |next| next..after(next))
    }

    fn is_spent(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.end
    }
}

/// What all cores of a run take their requests from.
#[derive(Debug, Clone)]
pub(super) struct Budgets {
    /// Before measuring begins, and for good in a run without a number of requests.
    pub(super) first: Arc<Budget>,
    /// Once it has begun.
    pub(super) measured: Option<Arc<Budget>>,
}

impl Budgets {
    /// For a run of so many requests.
    pub(super) fn of(requests: Option<u64>, cores: usize) -> Self {
        let measured = requests.map(|requests| Arc::new(Budget::new(requests, cores)));
        Self { first: Arc::new(Budget::unlimited()), measured }
    }
}

/// What a worker may send.
#[derive(Debug)]
pub(super) enum Allowance {
    /// As much as there is room for, without numbers.
    Unlimited,
    /// What is leased from a budget.
    Leased {
        /// All cores'.
        budget: Arc<Budget>,
        /// Leased and not used.
        held: Range<u64>,
        /// Used, and not given back.
        taken: u64,
    },
}

impl Allowance {
    /// Leases of a budget.
    pub(super) fn of(budget: Arc<Budget>) -> Self {
        Self::Leased { budget, held: 0..0, taken: 0 }
    }

    /// Takes up to `wanted` requests; fewer if no more are held, and none only if none are left.
    #[inline]
    pub(super) fn take(&mut self, wanted: u32) -> u32 {
        match self {
            Self::Unlimited => wanted,
            Self::Leased { budget, held, taken } => {
                if held.is_empty() {
                    *held = budget.take(u64::from(wanted));
                }
                let count = (held.end - held.start).min(u64::from(wanted));
                held.start += count;
                *taken += count;
                count as u32
            }
        }
    }

    /// Takes one request and gives its number.
    #[inline]
    pub(super) fn next_number(&mut self) -> Option<u64> {
        let Self::Leased { budget, held, taken } = self else { return Some(0) };
        if held.is_empty() {
            *held = budget.take(1);
        }
        *taken += u64::from(!held.is_empty());
        held.next()
    }

    /// Takes back a request that was not taken up. Its number is lost.
    pub(super) fn give_back(&mut self) {
        if let Self::Leased { held, taken, .. } = self {
            held.end += 1;
            *taken -= 1;
        }
    }

    /// Requests taken and not given back; `None` where they are not counted.
    pub(super) fn taken(&self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Leased { taken, .. } => Some(*taken),
        }
    }

    /// Whether nothing may be sent any more.
    pub(super) fn is_spent(&self) -> bool {
        match self {
            Self::Unlimited => false,
            Self::Leased { budget, held, .. } => held.is_empty() && budget.is_spent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leased(budget: &Arc<Budget>) -> Allowance {
        Allowance::of(Arc::clone(budget))
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
        assert_eq!((allowance.taken(), allowance.is_spent()), (Some(1), false));
        assert_eq!((allowance.take(8), allowance.taken()), (3, Some(4)));
    }

    #[test]
    fn every_number_is_given_once() {
        let budget = Arc::new(Budget::new(1_001, 2));
        let mut allowances = [leased(&budget), leased(&budget)];
        let mut numbers: Vec<u64> = Vec::new();
        while allowances.iter().any(|allowance| !allowance.is_spent()) {
            numbers.extend(allowances.iter_mut().filter_map(Allowance::next_number));
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..1_001));
        let mut endless = leased(&Arc::new(Budget::unlimited()));
        assert!((0..1_000).all(|number| endless.next_number() == Some(number)));
        assert!(!endless.is_spent());
    }
}
