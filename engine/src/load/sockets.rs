//! What the kernel says of a run's connections, now and then, from a thread that sends nothing.

use super::plan::Plan;
use super::report::SocketsReport;
use crate::clock::Instant;

/// Samples of a run's connections.
#[derive(Debug)]
pub(super) struct Sockets {}

impl Sockets {
    /// For the servers of a plan.
    pub(super) fn of(_plan: &Plan) -> Self {
        Self {}
    }

    /// Looks, if the last look is long enough ago.
    pub(super) fn sample(&mut self, _now: Instant) {}

    /// What all looks showed.
    pub(super) fn report(&self) -> Option<SocketsReport> {
        None
    }
}
