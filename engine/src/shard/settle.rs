//! How a turn waits: for one completion, or for a few, where that costs nobody anything. Decides, never waits itself.

use std::time::Duration;

use crate::clock::Instant;

/// Whether a shard may wait for company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Each turn starts with the first completion.
    Never,
    /// A turn may wait a little for more.
    Gather,
}

/// What the waiting is decided from.
#[derive(Debug)]
pub(super) struct Gathering {
    settle: Settle,
}

impl Gathering {
    pub(super) fn new(settle: Settle) -> Self {
        Self { settle }
    }

    pub(super) fn handle_turn(&mut self, _reaped: u32, _now: Instant) {}

    /// Completions to wait for, and how long for more than one.
    #[inline]
    pub(super) fn plan(&self, _in_flight: u32) -> (u32, Duration) {
        let _ = self.settle;
        (1, Duration::ZERO)
    }
}
