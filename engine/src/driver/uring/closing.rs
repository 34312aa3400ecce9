//! The end of a slot: cancel, wait for the last completion, close, tell. Never blocks.

use super::{Descriptors, Uring, prep};
use crate::driver::{Kind, Slot, Token};
use crate::sys::socket;

impl Uring {
    pub(super) fn close(&mut self, slot: Slot) -> Result<(), ()> {
        let descriptors = self.descriptors;
        let Some(entry) = self.in_flight.live(slot) else { return Ok(()) };
        if entry.closing() {
            return Ok(());
        }
        if entry.sending {
            self.outboxes.forget_waiting(slot);
        }
        // What was queued quietly goes out first: its place in the file table is the next socket's after this.
        if entry.idle() && entry.quiet_batch != self.batch {
            entry.set_closing();
            self.finish_close(slot);
            return Ok(());
        }
        let sqe = prep::cancel_all(Self::target(descriptors, slot, entry));
        self.push(&sqe.user_data(Token { slot, kind: Kind::Cancel }.pack()))?;
        if let Some(entry) = self.in_flight.live(slot) {
            entry.set_closing();
            entry.started();
        }
        Ok(())
    }

    /// Ends what a cancellation did not find: an operation that was about to be tried again, and then waits for the peer for ever.
    ///
    /// A send or receive that finds the socket ready while it arms its poll is queued as task work, and a cancellation of the same enter misses it (6.18).
    pub(super) fn end_lingering(&mut self) {
        while let Some(slot) = self.lingering.pop() {
            let socket = self.in_flight.live(slot).and_then(|entry| entry.socket.as_ref());
            if let Some(socket) = socket {
                self.counters.system_calls += 1;
                // ENOTCONN: nothing waits on a socket that is not connected.
                let _ = socket::shut_down(socket);
            }
        }
    }

    /// Closes the socket of a slot that nothing is pending for, and remembers to tell it.
    pub(super) fn finish_close(&mut self, slot: Slot) {
        let Some(socket) = self.in_flight.vacate(slot) else { return };
        if self.descriptors == Descriptors::Fixed {
            self.counters.system_calls += 1;
            // A place that can't be emptied is overwritten by the next socket.
            let _ = self.ring.submitter().register_files_update(slot.index, &[-1]);
        }
        self.counters.system_calls += 1;
        drop(socket);
        self.closed.push(slot);
    }
}
