//! Lanes whose next request is kept back, because the driver knows of more behind the response that answered the last one. Sends what is due, decides nothing else.

use super::connection::{Receiving, Sending};
use super::{Handler, Shard};
use crate::clock::Instant;
use crate::driver::{Driver, REAPS_TO_TELL};

impl<D: Driver> Shard<D> {
    /// Keeps the next request back where all are answered, until it is known what stands behind the last response: bytes would be taken for the answer, and the end
    /// would lose it.
    #[cold]
    pub(super) fn hold(&mut self, lane: u32) {
        let connection = &mut self.lanes[lane as usize];
        if connection.unanswered() == 0 && connection.sending == Sending::Free {
            connection.sending = Sending::Held;
            self.held.push((connection.slot, self.counters.turns + REAPS_TO_TELL));
        }
    }

    /// The receive of a lane ended without a word of what stands there: another is armed, and tells it.
    pub(super) fn listen_on(&mut self, lane: u32) {
        let (slot, due) = (self.lanes[lane as usize].slot, self.counters.turns + REAPS_TO_TELL);
        self.held.iter_mut().filter(|held| held.0 == slot).for_each(|held| held.1 = due);
        self.receive_next(lane);
    }

    /// Sends what was kept back until now.
    #[cold]
    pub(super) fn release_held(&mut self, handler: &mut impl Handler, now: Instant) {
        let mut at = 0;
        while let Some((slot, due)) = self.held.get(at).copied() {
            let connection = &mut self.lanes[slot.index as usize];
            // It may have ended, and the lane may have another by now.
            let is_held = connection.slot == slot && connection.sending == Sending::Held;
            if is_held && (due > self.counters.turns || connection.receiving == Receiving::Stopping)
            {
                at += 1;
                continue;
            }
            self.held.swap_remove(at);
            if is_held {
                connection.sending = Sending::Free;
                self.send_more(slot.index, handler, now);
            }
        }
    }
}
