//! A dial's attempts on one address each: a slot, a unit, a socket, and what comes of it. Knows no names.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::Pool;
use super::connection::{Charge, Connection, State};
use super::dial::{ATTEMPT_DELAY, SLOT_DELAY};
use super::slab::Id;
use crate::clock::Instant;
use crate::driver::{Driver, Op};
use crate::error::Kind;
use crate::sys::{Errno, socket};

impl<D: Driver> Pool<D> {
    /// Tries the next address. The dial fails when there is none, and none is out.
    pub(super) fn attempt(&mut self, id: Id) {
        while let Some(dial) = self.dials.find_mut(id) {
            dial.next_attempt = None;
            let Some(peer) = dial.addresses.get(dial.next).copied() else {
                if dial.out.is_empty() {
                    self.fail_dial(id);
                }
                return;
            };
            if !self.has_slot() || !self.take_unit(id) {
                // Without a slot and a unit to spare the attempt that is out goes on alone.
                self.attempt_later(id);
                return;
            }
            let Some(dial) = self.dials.find_mut(id) else { return };
            dial.next += 1;
            let options = &self.members[dial.client as usize].shared.config.socket;
            match socket::for_peer_with(peer, self.driver.blocking(), options) {
                Ok(socket) => {
                    self.start_attempt(id, socket, peer);
                    return;
                }
                Err(error) => {
                    dial.spare_unit = true;
                    dial.failed.push((peer, Kind::Connect(Errno::of(&error))));
                }
            }
        }
    }

    /// No second attempt can be out beside the first, which must end in time for it then. Without one, the sockets of failed attempts are still being closed:
    /// looks again.
    fn attempt_later(&mut self, id: Id) {
        let now = self.now;
        let Some(dial) = self.dials.find_mut(id) else { return };
        let Some(last) = dial.out.last().copied() else {
            dial.next_attempt = Some(now + SLOT_DELAY);
            self.watch_dial(id);
            return;
        };
        let limit = self.members[dial.client as usize].shared.config.timeouts.connect_attempt;
        let connection = &mut self.connections[last as usize];
        connection.deadline = connection.deadline.min(limit.map_or(Instant::NEVER, |l| now + l));
        self.watch_connection(last);
    }

    /// Takes the dial's unit for an attempt, or another one if it has none.
    fn take_unit(&mut self, id: Id) -> bool {
        let Some(dial) = self.dials.find_mut(id) else { return false };
        if std::mem::take(&mut dial.spare_unit) {
            return true;
        }
        let (place, client) = (dial.host, dial.client);
        let Some(host) = self.hosts.find(place) else { return false };
        let shared = &self.members[client as usize].shared;
        if host.limits.conns.take(self.core, 1) == 0 {
            return false;
        }
        if shared.connections.take(self.core, 1) == 0 {
            host.limits.conns.give(self.core, 1);
            return false;
        }
        true
    }

    fn start_attempt(&mut self, id: Id, socket: OwnedFd, peer: SocketAddr) {
        let now = self.now;
        let Some(index) = self.take_slot() else {
            debug_assert!(false, "a unit without a slot");
            return;
        };
        let Some(dial) = self.dials.find_mut(id) else { return };
        let config = &self.members[dial.client as usize].shared.config;
        let first = dial.next == 1;
        let limit = if first { None } else { config.timeouts.connect_attempt };
        dial.out.push(index);
        dial.next_attempt = (dial.next < dial.addresses.len()).then_some(now + ATTEMPT_DELAY);
        let id_number = self.next_id;
        self.next_id += 1;
        let connection = &mut self.connections[index as usize];
        connection.machine.reset_to(&config.limits);
        connection.state = State::Dialing(id);
        connection.charge = Charge::Unit;
        (connection.client, connection.host) = (dial.client, dial.host);
        (connection.id, connection.peer) = (id_number, Some(peer));
        connection.started = dial.resolved;
        connection.deadline = limit.map_or(Instant::NEVER, |limit| now + limit);
        let slot = connection.slot;
        if let Some(host) = self.hosts.find_mut(dial.host) {
            host.open += 1;
        }
        self.holding.connecting += 1;
        self.submit(slot, Op::Connect { socket, peer });
        self.watch_connection(index);
        self.watch_dial(id);
    }

    pub(super) fn has_slot(&self) -> bool {
        !self.free.is_empty() || (self.connections.len() as u32) < self.slots
    }

    fn take_slot(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        let index = self.connections.len() as u32;
        let limits = self.members.first()?.shared.config.limits;
        (index < self.slots).then(|| self.connections.push(Connection::new(index, &limits)))?;
        Some(index)
    }

    pub(super) fn attempt_failed(&mut self, index: u32, kind: Kind) {
        let connection = &mut self.connections[index as usize];
        let State::Dialing(id) = connection.state else { return };
        // Its unit is the next attempt's at once: it is no connection, and never was.
        connection.charge = Charge::None;
        let peer = connection.peer;
        self.close_connection(index);
        let Some(dial) = self.dials.find_mut(id) else { return };
        dial.out.retain(|other| *other != index);
        dial.failed.extend(peer.map(|peer| (peer, kind)));
        if dial.spare_unit {
            self.discharge_of(id);
        } else {
            dial.spare_unit = true;
        }
        self.attempt(id);
    }

    fn discharge_of(&mut self, id: Id) {
        if let Some(place) = self.dials.find(id).map(|dial| dial.host) {
            self.discharge(place);
        }
    }
}
