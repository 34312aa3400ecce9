//! Opening a lane's connection, backing off after a failure, and closing. Never sends.

use std::cmp::Reverse;
use std::time::Duration;

use super::connection::{Receiving, State};
use super::{Failure, Handler, Phase, Shard};
use crate::clock::Instant;
use crate::driver::{Driver, Op};
use crate::sys::{Errno, socket};

/// The first wait after a dial that failed; it doubles with each failure in a row.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(1);
/// The longest wait between dials of one lane.
pub const BACKOFF_MAX: Duration = Duration::from_millis(100);

impl<D: Driver> Shard<D> {
    /// Starts a connection on a vacant lane, if the handler wants one.
    pub(super) fn dial(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        let connection = &mut self.lanes[lane as usize];
        debug_assert_eq!(connection.state, State::Vacant);
        if self.phase != Phase::Running || !handler.wants_connection(lane) {
            return;
        }
        let place = (lane as usize + connection.failures as usize) % self.config.peers.len().max(1);
        let Some(peer) = self.config.peers.get(place).copied() else { return };
        match socket::for_peer(peer, self.driver.blocking()) {
            Ok(socket) => {
                connection.state = State::Dialing;
                let slot = connection.slot;
                self.open += 1;
                self.dialing.start(lane, now);
                self.submit(slot, Op::Connect { socket, peer });
            }
            Err(error) => {
                connection.state = State::BackingOff;
                handler.handle_failure(lane, Failure::Connect(Errno::of(&error)), None, now);
                self.back_off(lane, now);
            }
        }
    }

    pub(super) fn handle_connected(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        let connection = &mut self.lanes[lane as usize];
        if connection.state != State::Dialing {
            return;
        }
        connection.state = State::Open;
        self.dialing.stop(lane);
        self.counters.connected += 1;
        self.send_more(lane, handler, now);
        self.receive_next(lane);
    }

    pub(super) fn dial_failed(
        &mut self,
        lane: u32,
        failure: Failure,
        handler: &mut impl Handler,
        now: Instant,
    ) {
        if self.lanes[lane as usize].state != State::Dialing {
            return;
        }
        self.lanes[lane as usize].failures += 1;
        handler.handle_failure(lane, failure, None, now);
        self.close_connection(lane);
    }

    /// Gives a connection up. Its requests must have been ended before.
    pub(super) fn close_connection(&mut self, lane: u32) {
        let connection = &mut self.lanes[lane as usize];
        match connection.state {
            State::Vacant | State::Closing => return,
            State::BackingOff => {
                connection.state = State::Vacant;
                return;
            }
            State::Dialing | State::Open => {}
        }
        debug_assert_eq!(connection.unanswered(), 0, "requests that nobody ended");
        connection.state = State::Closing;
        connection.receiving = Receiving::Nothing;
        let slot = connection.slot;
        self.dialing.stop(lane);
        self.submit(slot, Op::Close);
    }

    /// The slot is free: the lane dials again, at once or after its backoff.
    pub(super) fn handle_closed(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        let connection = &mut self.lanes[lane as usize];
        debug_assert_eq!(connection.state, State::Closing);
        connection.renew();
        self.open -= 1;
        if connection.failures > 0 && self.phase == Phase::Running {
            connection.state = State::BackingOff;
            self.back_off(lane, now);
        } else {
            connection.state = State::Vacant;
            self.dial(lane, handler, now);
        }
    }

    /// Doubles with each failure in a row; lanes are spread over the second half of the wait, so that they don't dial in step.
    fn back_off(&mut self, lane: u32, now: Instant) {
        let connection = &mut self.lanes[lane as usize];
        let doublings = connection.failures.saturating_sub(1).min(16);
        let wait = (BACKOFF_FIRST * 2_u32.pow(doublings)).min(BACKOFF_MAX);
        let share = lane.wrapping_mul(0x9E37_79B9) >> 24;
        let wait = wait / 2 + wait / 2 * share / 255;
        connection.failures = connection.failures.max(1);
        self.backoff.push(Reverse((now + wait, lane)));
    }
}
