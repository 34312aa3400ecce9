//! What an origin's core sends: fixed answers from their templates, planned ones piece by piece, each in its turn.

use super::connection::State;
use super::delivery::{Ending, Step};
use super::server::Server;
use crate::clock::Instant;
use crate::driver::{Confirm, Driver, Op, Payload, Slot, Span};

/// Answer bytes in one send up to which it is quiet, as in `shard::exchange`.
const QUIET_BYTES_MAX: u32 = crate::shard::QUIET_BYTES_MAX;
/// Answer bytes in quiet sends behind which one is confirmed: a client that asks without reading would have the driver keep them without end.
const UNCONFIRMED_BYTES_MAX: u32 = 4 * QUIET_BYTES_MAX;

/// Whether the next answer may follow at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Follows,
    Waits,
}

impl<D: Driver> Server<D> {
    /// Sends of what is owed all that may go now: equal fixed answers at the front in one send.
    #[inline]
    pub(super) fn answer(&mut self, slot: Slot) {
        while let Some(connection) = self.connections.get_mut(slot.index as usize - 1) {
            if connection.slot != slot || connection.busy || connection.state == State::Closing {
                return;
            }
            let Some(kind) = connection.owed.front().copied() else { return };
            let Some(answer) = self.answers.get(kind).copied() else {
                if self.deliver(slot) == Next::Waits {
                    return;
                }
                continue;
            };
            let limit = connection.due.min(answer.copies.into()) as usize;
            if limit == 0 {
                return;
            }
            let count =
                connection.owed.iter().take(limit).take_while(|owed| **owed == kind).count();
            connection.owed.drain(..count);
            connection.due -= count as u64;
            let requests = connection.requests.min(count as u32);
            connection.requests -= requests;
            self.tally.end(requests);
            self.tally.served += count as u64;
            let bytes = count as u32 * answer.one_bytes;
            let last = connection.state == State::Ending && connection.owed.is_empty();
            connection.quiet_bytes += bytes;
            connection.busy = last
                || bytes > QUIET_BYTES_MAX
                || connection.quiet_bytes > UNCONFIRMED_BYTES_MAX
                || connection.planned;
            if connection.busy {
                connection.quiet_bytes = 0;
            }
            let confirm = if connection.busy { Confirm::Always } else { Confirm::OnFailure };
            let span = Span { template: answer.template, start: 0, bytes };
            self.submit(slot, Op::Send { span, confirm });
        }
    }

    pub(super) fn handle_sent(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        connection.busy = false;
        if connection.state == State::Ending && connection.owed.is_empty() {
            self.close(slot);
        } else {
            self.answer_on(slot);
        }
    }

    /// Sends on, and reads on if that was held back.
    fn answer_on(&mut self, slot: Slot) {
        self.answer(slot);
        if self.live(slot).is_some_and(|connection| connection.state == State::Held) {
            self.read_on(slot);
        }
    }

    /// Fixed answers whose time has come.
    pub(super) fn send_delayed(&mut self) {
        if self.delayed.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some((_, slot)) = self.delayed.front().copied().filter(|(due, _)| *due <= now) {
            self.delayed.pop_front();
            if let Some(connection) = self.live(slot) {
                connection.due += 1;
                self.answer_on(slot);
            }
        }
    }

    /// Planned answers whose time has come.
    pub(super) fn send_timed(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(index) = self.timers.pop_due(now) {
            if let Some(connection) = self.connections.get_mut(index as usize - 1) {
                connection.timer = None;
                let slot = connection.slot;
                self.answer_on(slot);
            }
        }
    }

    /// The time of new planned answers begins.
    #[cold]
    pub(super) fn start_deliveries(&mut self, slot: Slot) {
        let start = Instant::now() + self.delay;
        if let Some(connection) = self.live(slot) {
            connection.start_deliveries(start);
        }
    }

    /// Goes on with the planned answer at the front.
    #[cold]
    fn deliver(&mut self, slot: Slot) -> Next {
        let Some(connection) = self.connections.get_mut(slot.index as usize - 1) else {
            return Next::Waits;
        };
        let Some(delivery) = connection.deliveries.front_mut() else { return Next::Waits };
        let step = delivery.poll(Instant::now(), &self.letters.1);
        let over = delivery.is_over() && delivery.answers;
        let op = match step {
            // The client has gone, and what waits is not waited for.
            Step::Wait(_) if !connection.counted => {
                self.close(slot);
                return Next::Waits;
            }
            Step::Wait(due) => {
                if connection.timer.is_none() && due != Instant::NEVER {
                    connection.timer = Some(due);
                    self.timers.start(slot.index, due);
                }
                return Next::Waits;
            }
            Step::End(ending) => return self.end_delivery(slot, ending),
            Step::Bytes(bytes) => {
                Op::SendBytes { bytes: Payload::Buffer(bytes), confirm: Confirm::Always }
            }
            Step::Letters { start, bytes } => {
                let span = Span { template: self.letters.0, start, bytes };
                Op::Send { span, confirm: Confirm::Always }
            }
        };
        connection.busy = true;
        if over {
            self.count_answer(slot);
        }
        self.submit(slot, op);
        Next::Waits
    }

    /// Everything of the planned answer at the front was sent.
    fn end_delivery(&mut self, slot: Slot, ending: Ending) -> Next {
        let Some(connection) = self.live(slot) else { return Next::Waits };
        connection.end_delivery();
        let last = connection.state == State::Ending && connection.owed.is_empty();
        match ending {
            Ending::Reset => {
                self.submit(slot, Op::ResetOnClose);
                self.close(slot);
            }
            Ending::Close => self.close(slot),
            Ending::Answered if last => self.close(slot),
            Ending::Answered => return Next::Follows,
        }
        Next::Waits
    }

    /// The last piece of a planned answer is on its way.
    fn count_answer(&mut self, slot: Slot) {
        self.tally.served += 1;
        let Some(connection) = self.live(slot) else { return };
        let requests = connection.requests.min(1);
        connection.requests -= requests;
        self.tally.end(requests);
    }
}
