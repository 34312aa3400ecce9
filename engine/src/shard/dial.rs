//! Opening a lane's connection, backing off after a failure, and closing. Never sends.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
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
        debug_assert_eq!(self.lanes[lane as usize].state, State::Vacant);
        if self.phase != Phase::Running || !handler.wants_connection(lane) {
            return;
        }
        while let Some(peer) = self.next_peer(lane) {
            self.counters.system_calls += socket::CALLS_FOR_PEER;
            match socket::for_peer(peer, self.driver.blocking()) {
                Ok(socket) => {
                    self.start_dial(lane, socket, peer, now);
                    return;
                }
                Err(error) if self.has_tried_all(lane) => {
                    self.lanes[lane as usize].state = State::BackingOff;
                    self.lanes[lane as usize].failures += 1;
                    handler.handle_failure(lane, Failure::Connect(Errno::of(&error)), None, now);
                    self.back_off(lane, now);
                    return;
                }
                // No socket of this family, say: the next address may have another.
                Err(_) => {}
            }
        }
    }

    fn start_dial(&mut self, lane: u32, socket: OwnedFd, peer: SocketAddr, now: Instant) {
        let connection = &mut self.lanes[lane as usize];
        connection.state = State::Dialing;
        let slot = connection.slot;
        self.open += 1;
        self.dialing.start(lane, now);
        self.submit(slot, Op::Connect { socket, peer });
    }

    /// The address that a lane tries next: first the one that answered last, then the others in their order.
    fn next_peer(&self, lane: u32) -> Option<SocketAddr> {
        let tried = self.lanes[lane as usize].tried;
        let place = (self.preferred + tried) as usize % self.config.peers.len().max(1);
        self.config.peers.get(place).copied()
    }

    /// Counts an address as tried. Whether it was the last one: the lane begins anew then.
    fn has_tried_all(&mut self, lane: u32) -> bool {
        let connection = &mut self.lanes[lane as usize];
        connection.tried += 1;
        let all = connection.tried as usize >= self.config.peers.len();
        if all {
            connection.tried = 0;
        }
        all
    }

    pub(super) fn handle_connected(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        let connection = &mut self.lanes[lane as usize];
        if connection.state != State::Dialing {
            return;
        }
        connection.state = State::Open;
        self.preferred =
            (self.preferred + connection.tried) % self.config.peers.len().max(1) as u32;
        connection.tried = 0;
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
        // A dial has failed when all addresses have: an IPv6 address that nothing listens on is no failure while the IPv4 one works.
        if self.has_tried_all(lane) {
            self.lanes[lane as usize].failures += 1;
            handler.handle_failure(lane, failure, None, now);
        }
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
        // An address that did not answer is no reason to wait before the next one.
        let waits = connection.failures > 0 && connection.tried == 0;
        if waits && self.phase == Phase::Running {
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
