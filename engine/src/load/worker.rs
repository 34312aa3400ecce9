//! What one core sends and counts: the load's side of a shard. Closed loop: a lane sends its next request when there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::control::CoreGauge;
use super::recorder::Recorder;
use crate::clock::Instant;
use crate::shard::{Failure, Handler, Response};

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
enum Allowance {
    /// As much as there is room for.
    Unlimited,
    /// What is leased from a budget.
    Leased { budget: Arc<Budget>, held: u64 },
}

/// One core's load.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) recorder: Recorder,
    /// Requests sent once more.
    pub(super) resent: u64,
    /// When the last request of the measured time ended.
    pub(super) last_end: Instant,
    /// When measuring began; requests sent before it are not recorded, so that a budget holds exactly those after it.
    measured_from: Instant,
    allowance: Allowance,
    /// The budget that begins when measuring does.
    reserved: Option<Arc<Budget>>,
    errors: u64,
    responses: u64,
}

impl Worker {
    /// A worker that sends without limit until [`Worker::measure`], and within `budget` from then on.
    pub(super) fn new(budget: Option<Arc<Budget>>) -> Self {
        Self {
            recorder: Recorder::new(),
            resent: 0,
            last_end: Instant::default(),
            measured_from: Instant::NEVER,
            allowance: Allowance::Unlimited,
            reserved: budget,
            errors: 0,
            responses: 0,
        }
    }

    /// Begins to measure: what is sent from now on counts.
    pub(super) fn measure(&mut self, now: Instant) {
        self.measured_from = now;
        self.last_end = now;
        if let Some(budget) = self.reserved.take() {
            self.allowance = Allowance::Leased { budget, held: 0 };
        }
    }

    /// Whether everything that may be sent was sent.
    pub(super) fn is_spent(&self) -> bool {
        match &self.allowance {
            Allowance::Unlimited => false,
            Allowance::Leased { budget, held } => *held == 0 && budget.is_spent(),
        }
    }

    /// Takes up to `wanted` requests.
    #[inline]
    fn take(&mut self, wanted: u32) -> u32 {
        match &mut self.allowance {
            Allowance::Unlimited => wanted,
            Allowance::Leased { budget, held } => {
                if *held < u64::from(wanted) {
                    *held += budget.take(u64::from(wanted) - *held);
                }
                let taken = (*held).min(u64::from(wanted));
                *held -= taken;
                taken as u32
            }
        }
    }

    /// Shows the watchers how far this core is.
    #[inline]
    pub(super) fn publish(&self, gauge: &CoreGauge, bytes: u64, connected: u64) {
        gauge.requests.store(self.responses, Ordering::Relaxed);
        gauge.errors.store(self.errors, Ordering::Relaxed);
        gauge.bytes.store(bytes, Ordering::Relaxed);
        gauge.connected.store(connected, Ordering::Relaxed);
    }

    /// When measuring began.
    pub(super) fn measured_from(&self) -> Instant {
        self.measured_from
    }

    /// Whether a request sent at `sent` counts.
    fn measures(&self, sent: Instant) -> bool {
        sent >= self.measured_from
    }
}

impl Handler for Worker {
    #[inline]
    fn poll_requests(&mut self, _lane: u32, room: u32, _now: Instant) -> u32 {
        self.take(room)
    }

    fn wants_connection(&mut self, _lane: u32) -> bool {
        !self.is_spent()
    }

    #[inline]
    fn handle_response(&mut self, _lane: u32, response: Response, now: Instant) {
        if self.measures(response.sent) {
            self.responses += 1;
            self.last_end = now;
            self.recorder.record(response.status, now.nanos_since(response.sent));
        }
    }

    fn handle_body(&mut self, _lane: u32, _piece: &[u8]) {}

    fn handle_failure(
        &mut self,
        _lane: u32,
        failure: Failure,
        sent: Option<Instant>,
        now: Instant,
    ) {
        // A dial fails the request that was to use it, if there is one left.
        if sent.is_none() && self.take(1) == 0 {
            return;
        }
        if self.measures(sent.unwrap_or(now)) {
            self.recorder.record_failure(&failure);
            if failure != Failure::Cancelled {
                self.errors += 1;
                self.last_end = now;
            }
        }
    }

    fn handle_unsent(&mut self, _lane: u32, sent: Instant) {
        // What the warm-up sent is nobody's loss, and no part of the budget.
        if self.measures(sent) {
            self.resent += 1;
            if let Allowance::Leased { held, .. } = &mut self.allowance {
                *held += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_exactly_once_over_all_cores() {
        for (requests, cores) in [(0, 1), (1, 4), (7, 2), (1000, 3), (100_000, 2)] {
            let budget = Arc::new(Budget::new(requests, cores));
            let mut workers: Vec<_> =
                (0..cores).map(|_| Worker::new(Some(Arc::clone(&budget)))).collect();
            workers.iter_mut().for_each(|worker| worker.measure(Instant::from_nanos(1)));
            let mut sent = 0_u64;
            while workers.iter().any(|worker| !worker.is_spent()) {
                sent += workers.iter_mut().map(|worker| u64::from(worker.take(16))).sum::<u64>();
            }
            assert_eq!(sent, requests, "{requests} over {cores}");
        }
    }

    #[test]
    fn a_request_that_was_not_taken_up_goes_back_to_the_budget() {
        let mut worker = Worker::new(Some(Arc::new(Budget::new(4, 1))));
        worker.measure(Instant::from_nanos(1));
        assert_eq!((worker.take(8), worker.is_spent()), (4, true));
        (1..=3).for_each(|nanos| worker.handle_unsent(0, Instant::from_nanos(nanos)));
        // Sent in the warm-up.
        worker.handle_unsent(0, Instant::from_nanos(0));
        assert_eq!((worker.is_spent(), worker.take(8), worker.resent), (false, 3, 3));
    }

    #[test]
    fn what_is_sent_in_the_warm_up_is_not_recorded() {
        let mut worker = Worker::new(None);
        let at = Instant::from_nanos;
        let response = |sent| Response { sent: at(sent), status: 200 };
        worker.handle_response(0, response(1), at(5));
        worker.measure(at(10));
        worker.handle_response(0, response(1), at(11));
        worker.handle_failure(0, Failure::Timeout, Some(at(9)), at(12));
        assert_eq!((worker.recorder.responses(), worker.recorder.errors()), (0, 0));
        worker.handle_response(0, response(10), at(12));
        worker.handle_failure(0, Failure::Timeout, Some(at(11)), at(12));
        assert_eq!((worker.recorder.responses(), worker.recorder.errors()), (1, 1));
    }
}
