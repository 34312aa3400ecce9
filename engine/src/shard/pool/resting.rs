//! Connections between their response and the next request, until all that had come by then is known: what stands behind the response would be taken for the answer to
//! that request, and what the server has closed would lose it. Sends nothing.
//!
//! A connection rests where somebody waits for it already, until the completions of the turn are handled, one of which may be its end; and where the driver has said
//! that more can be received behind the response, until a reap has told what. Every other goes idle at once, with a receive armed.

use super::Pool;
use super::connection::State;
use crate::driver::{Driver, REAPS_TO_TELL, Slot};
use crate::shard::connection::Receiving;

/// One that rests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resting {
    slot: Slot,
    /// Whether there is something behind the response.
    has_more: bool,
    /// The reap after which it is free.
    until: u64,
}

impl<D: Driver> Pool<D> {
    /// The response on a connection is complete: it is free, now or when it is known what stands behind the response.
    #[inline]
    pub(super) fn release_or_rest(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        let has_more = std::mem::take(&mut connection.has_more);
        let host = self.hosts.find_mut(connection.host);
        let Some(host) = host.filter(|host| has_more || host.is_awaited()) else {
            self.release(index);
            return;
        };
        host.draining -= u32::from(std::mem::take(&mut connection.drains));
        host.resting += 1;
        connection.state = State::Resting;
        let until = self.reaps + if has_more { REAPS_TO_TELL } else { 0 };
        self.resting.push(Resting { slot: connection.slot, has_more, until });
        let place = connection.host;
        self.count_waiters_off(place);
        self.receive_next(index);
    }

    /// The receive of a connection that rests ended without a word of what stands there: another is armed, and tells it.
    pub(super) fn rest_on(&mut self, index: u32) {
        let slot = self.connections[index as usize].slot;
        let until = self.reaps + REAPS_TO_TELL;
        let mut resting = self.resting.iter_mut();
        if let Some(rests) = resting.find(|rests| rests.slot == slot && rests.has_more) {
            rests.until = until;
        }
        self.receive_next(index);
    }

    /// Takes a connection out of its rest: it is free, or it is closed.
    pub(super) fn end_rest(&mut self, index: u32) {
        if let Some(host) = self.hosts.find_mut(self.connections[index as usize].host) {
            host.resting -= 1;
        }
    }

    /// Frees those of which all is known by now.
    #[inline]
    pub(super) fn release_rested(&mut self) {
        if !self.resting.is_empty() {
            self.release_some();
        }
    }

    fn release_some(&mut self) {
        let mut resting = std::mem::take(&mut self.resting);
        resting.retain(|rests| {
            let index = rests.slot.index;
            let connection = &mut self.connections[index as usize];
            // It may have ended, and its place may have another by now.
            if connection.slot != rests.slot || connection.state != State::Resting {
                return false;
            }
            let is_deaf = rests.has_more && connection.receiving == Receiving::Stopping;
            if rests.until > self.reaps || is_deaf {
                return true;
            }
            // As it was before: busy with a response that is over.
            connection.state = State::Draining;
            let place = connection.host;
            self.end_rest(index);
            self.release(index);
            self.tell_spare(place, 0);
            false
        });
        // What was freed may have led to others.
        resting.append(&mut self.resting);
        self.resting = resting;
    }
}
