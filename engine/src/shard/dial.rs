//! Opening a lane's connection, backing off after a failure, and closing. Never sends.

use std::cmp::Reverse;
use std::io;
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
    /// Connections that are there.
    #[must_use]
    pub fn connected(&self) -> u32 {
        self.lanes.iter().filter(|connection| connection.state == State::Open).count() as u32
    }

    /// Connections in the making.
    #[must_use]
    pub fn dialing(&self) -> u32 {
        self.lanes.iter().filter(|connection| connection.state == State::Dialing).count() as u32
    }

    /// Starts a connection on a vacant lane, if the handler wants one.
    pub(super) fn dial(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        debug_assert_eq!(self.lanes[lane as usize].state, State::Vacant);
        if self.phase != Phase::Running || !handler.wants_connection(lane) {
            return;
        }
        while let Some(peer) = self.next_peer(lane) {
            match self.socket_for(lane, peer) {
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

    /// A socket, bound to the next local address of the peer's family if there are such: each server's connections take them in turn.
    fn socket_for(&mut self, lane: u32, peer: SocketAddr) -> io::Result<OwnedFd> {
        self.counters.system_calls += socket::CALLS_FOR_PEER;
        let socket = socket::for_peer(peer, self.driver.blocking())?;
        let sources = &self.config.sources;
        let mut of_family = sources.iter().filter(|source| source.is_ipv4() == peer.is_ipv4());
        let count = of_family.clone().count() as u64;
        if count > 0 {
            let bound = &mut self.bound[lane as usize % self.config.targets.len().max(1)];
            let source = of_family.nth((*bound % count) as usize);
            *bound += 1;
            self.counters.system_calls += socket::CALLS_TO_BIND;
            source.map_or(Ok(()), |source| socket::bind_source(&socket, *source))?;
        }
        Ok(socket)
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
        let (peers, preferred) = self.peers_of(lane);
        let place = (preferred + self.lanes[lane as usize].tried) as usize % peers.len().max(1);
        peers.get(place).copied()
    }

    /// The addresses of a lane's server, and the place of the one that answered last.
    fn peers_of(&self, lane: u32) -> (&[SocketAddr], u32) {
        let target = lane as usize % self.config.targets.len().max(1);
        (self.config.targets.get(target).map_or(&[], Vec::as_slice), self.preferred[target])
    }

    /// Counts an address as tried. Whether it was the last one: the lane begins anew then.
    fn has_tried_all(&mut self, lane: u32) -> bool {
        let peers = self.peers_of(lane).0.len();
        let connection = &mut self.lanes[lane as usize];
        connection.tried += 1;
        let all = connection.tried as usize >= peers;
        if all {
            connection.tried = 0;
        }
        all
    }

    pub(super) fn handle_connected(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        if self.lanes[lane as usize].state != State::Dialing {
            return;
        }
        let (peers, preferred) = self.peers_of(lane);
        let count = peers.len().max(1) as u32;
        let connection = &mut self.lanes[lane as usize];
        connection.state = State::Open;
        connection.left = self.config.requests_per_connection;
        let answered = (preferred + std::mem::take(&mut connection.tried)) % count;
        self.preferred[lane as usize % self.config.targets.len()] = answered;
        if let Some(since) = self.dialing.stop(lane) {
            handler.handle_connected(lane, now - since);
        }
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
