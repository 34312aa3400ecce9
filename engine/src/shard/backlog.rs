//! Operations that the driver's queue had no room for: they wait for the next turn, in their order. Submits nothing by itself.

use std::collections::VecDeque;

use crate::driver::{Driver, Full, Op, Slot};

/// What waits for room, at most a few operations a connection.
#[derive(Debug, Default)]
pub(super) struct Backlog(VecDeque<(Slot, Op)>);

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands an operation to the driver, or keeps it behind those that wait already.
    // Always: the operation is built where it is taken apart again, and never becomes memory.
    #[inline(always)]
    pub(super) fn submit(&mut self, driver: &mut impl Driver, slot: Slot, op: Op) {
        if !self.0.is_empty() {
            self.0.push_back((slot, op));
        } else if let Err(Full { op }) = driver.try_submit(slot, op) {
            self.0.push_back((slot, op));
        }
    }

    /// Submits what waits, as far as there is room.
    pub(super) fn flush(&mut self, driver: &mut impl Driver) {
        while let Some((slot, op)) = self.0.pop_front() {
            if let Err(Full { op }) = driver.try_submit(slot, op) {
                self.0.push_front((slot, op));
                return;
            }
        }
    }
}
