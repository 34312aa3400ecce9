//! Permits, connections, and who is next: first come, first served for each host, and no host waits for another's. Opens nothing itself.

use std::rc::Rc;

use super::connection::State;
use super::exchange::{Carrier, Exchange, Stage};
use super::host::Presence;
use super::in_flight::Admission;
use super::send::Rest;
use super::slab::Id;
use super::{Pool, config};
use crate::clock::Instant;
use crate::driver::Driver;
use crate::error::{Kind, TimeoutKind};

impl<D: Driver> Pool<D> {
    /// Reads or changes a live exchange.
    #[inline]
    pub(super) fn with<R>(&self, id: Id, act: impl FnOnce(&mut Exchange) -> R) -> Option<R> {
        self.desk.exchanges.borrow_mut().find_mut(id).map(act)
    }

    /// Begins with a request: a permit first, unless one was handed on to it.
    pub(super) fn start(&mut self, id: Id) {
        self.counters.requests += 1;
        self.holding.in_flight += 1;
        let now = self.now;
        let desk = Rc::clone(&self.desk);
        let mut exchanges = desk.exchanges.borrow_mut();
        let Some(exchange) = exchanges.find_mut(id) else { return };
        let client = exchange.client;
        let member = &mut self.members[client as usize];
        member.exchanges += 1;
        exchange.is_counted = true;
        if self.desk.is_closed() {
            drop(exchanges);
            self.abort(id, Kind::Shutdown);
            return;
        }
        let timeouts = &member.shared.config.timeouts;
        exchange.total = exchange.total.or(timeouts.total);
        let submitted = exchange.stamps.submitted;
        let since = match timeouts.total_from {
            // What the turn's beginning stands for came some time in it: no timeout is early.
            config::TotalFrom::Submit if submitted == self.began => Some(now),
            config::TotalFrom::Submit => Some(submitted),
            // An attempt or a redirect before this one had a connection.
            config::TotalFrom::Acquire => exchange.acquired,
        };
        exchange.total_deadline = since.zip(exchange.total).map(|(since, total)| since + total);
        if exchange.total_deadline.is_some_and(|deadline| deadline <= now) {
            // It waited in a mailbox, or for another attempt.
            drop(exchanges);
            self.abort(id, Kind::Timeout(TimeoutKind::Total));
            return;
        }
        let free = match exchange.admission {
            Admission::First => !member.has_queue(),
            Admission::Again => member.returned.is_empty(),
        };
        let admitted = match &mut member.lease {
            Some(lease) => exchange.has_permit || free && lease.try_take(),
            None => true,
        };
        let queue_timeout = timeouts.queue;
        exchange.stage = Stage::Queued;
        exchange.phase_deadline = queue_timeout.filter(|_| !admitted).map(|queue| now + queue);
        if admitted {
            let assigned = self.assign_idle(id, exchange);
            drop(exchanges);
            self.go_out_or_wait(id, assigned);
        } else {
            let admission = exchange.admission;
            drop(exchanges);
            let queue = self.members[client as usize].queue_of(admission);
            self.waiting.push_back(queue, id.index);
            self.holding.queued += 1;
            self.watch_exchange(id);
        }
    }

    /// A permit is held: a connection next.
    fn admit(&mut self, id: Id) {
        let desk = Rc::clone(&self.desk);
        let mut exchanges = desk.exchanges.borrow_mut();
        let Some(exchange) = exchanges.find_mut(id) else { return };
        let assigned = self.assign_idle(id, exchange);
        drop(exchanges);
        self.go_out_or_wait(id, assigned);
    }

    /// Gives a request that holds a permit an idle connection, if there is one and nobody waits for it.
    #[inline]
    fn assign_idle(&mut self, id: Id, exchange: &mut Exchange) -> Option<(u32, Rest)> {
        let (now, client) = (self.now, exchange.client);
        let origin = exchange.origin.as_ref()?;
        let member = &mut self.members[client as usize];
        // Not before: a host is forgotten when nothing is left of it, though requests for it wait for a permit.
        let place = self.hosts.place(client, member, origin);
        exchange.host = place;
        exchange.has_permit = member.lease.is_some();
        exchange.stamps.queued = now;
        exchange.stage = Stage::Acquiring;
        let timeouts = &member.shared.config.timeouts;
        exchange.phase_deadline = timeouts.acquire.map(|acquire| now + acquire);
        let host = self.hosts.find(place)?;
        if exchange.needs_fresh || !host.waiters.is_empty() || host.refuses(exchange) {
            return None;
        }
        let index = self.pick_idle(place)?;
        self.tell_spare(place, 0);
        Some((index, self.assign_to(index, id, exchange)))
    }

    /// What follows [`Pool::assign_idle`]: the request is on its way, or waits for a connection.
    #[inline]
    fn go_out_or_wait(&mut self, id: Id, assigned: Option<(u32, Rest)>) {
        match assigned {
            Some((index, rest)) => self.go_out(index, id, rest),
            None => self.wait_for_connection(id),
        }
    }

    fn wait_for_connection(&mut self, id: Id) {
        let known = self.with(id, |exchange| (exchange.host, exchange.needs_fresh));
        let Some((place, fresh)) = known else { return };
        if self.refuses_chunked(place, id) {
            self.refuse_chunked(id);
            return;
        }
        if let Some(host) = self.hosts.find_mut(place) {
            let list = if fresh { &mut host.fresh } else { &mut host.waiters };
            self.waiting.push_back(list, id.index);
            self.holding.waiting += 1;
            host.tell_spare(&mut self.members[host.client as usize], self.core, 0);
        }
        self.watch_exchange(id);
        self.serve(place);
        self.let_in(id, place);
    }

    /// Gives idle connections to those who wait, and dials for the others, unless units are scarce and it is not their turn.
    pub(super) fn serve(&mut self, place: u32) {
        if self.comes_later(place) {
            self.serve_idle(place);
            self.block_if_waiting(place);
        } else {
            self.serve_in_turn(place);
        }
    }

    /// [`Pool::serve`] for a host whose turn it is.
    pub(super) fn serve_in_turn(&mut self, place: u32) {
        self.serve_idle(place);
        self.dial_more(place);
    }

    fn serve_idle(&mut self, place: u32) {
        while self.hosts.find(place).is_some_and(|host| !host.waiters.is_empty()) {
            let Some(index) = self.pick_idle(place) else { return };
            if !self.serve_with(index, place) {
                self.go_idle(index);
                return;
            }
        }
    }

    /// Gives a connection that is free to the first who waits for one; `false` if nobody does.
    pub(super) fn serve_with(&mut self, index: u32, place: u32) -> bool {
        while let Some(id) = self.next_waiter(index, place) {
            if !self.refuses_chunked(place, id) {
                self.assign(index, id);
                return true;
            }
            self.refuse_chunked(id);
        }
        false
    }

    /// Takes the first who waits for such a connection out of its list; those who need a fresh one go first where it is fresh.
    fn next_waiter(&mut self, index: u32, place: u32) -> Option<Id> {
        let fresh = !self.connections[index as usize].may_be_stale();
        let host = self.hosts.find_mut(place)?;
        let first = if fresh { self.waiting.pop_front(&mut host.fresh) } else { None };
        let waiter = first.or_else(|| self.waiting.pop_front(&mut host.waiters))?;
        let id = self.desk.exchanges.borrow().id_of(waiter);
        debug_assert!(id.is_some(), "a waiter that is gone");
        id.inspect(|id| self.leave_waiters(*id))
    }

    /// Takes an idle connection that is not past its time.
    #[inline]
    fn pick_idle(&mut self, place: u32) -> Option<u32> {
        loop {
            let host = self.hosts.find_mut(place)?;
            let reuse = self.members[host.client as usize].shared.config.reuse;
            let index = match reuse {
                config::Reuse::Lifo => host.idle.last()?,
                config::Reuse::Fifo => host.idle.first()?,
            };
            self.leave_idle(index);
            if self.connections[index as usize].deadline > self.now {
                return Some(index);
            }
            self.counters.reaped += 1;
            self.close_connection(index);
        }
    }

    /// Takes an idle connection out of the lists; its state is the caller's next move.
    #[inline]
    pub(super) fn leave_idle(&mut self, index: u32) {
        let connection = &self.connections[index as usize];
        let Some(host) = self.hosts.find_mut(connection.host) else { return };
        if self.idle_of_host.remove(&mut host.idle, index) {
            let member = &mut self.members[connection.client as usize];
            self.idle_of_member.remove(&mut member.idle, index);
            self.holding.idle -= 1;
        }
    }

    /// Gives a connection a request.
    fn assign(&mut self, index: u32, id: Id) {
        let desk = Rc::clone(&self.desk);
        let mut exchanges = desk.exchanges.borrow_mut();
        let Some(exchange) = exchanges.find_mut(id) else { return };
        let rest = self.assign_to(index, id, exchange);
        drop(exchanges);
        self.go_out(index, id, rest);
    }

    /// [`Pool::assign`] up to the first send.
    #[inline]
    fn assign_to(&mut self, index: u32, id: Id, exchange: &mut Exchange) -> Rest {
        let connection = &mut self.connections[index as usize];
        connection.state = State::Busy(id);
        connection.deadline = Instant::NEVER;
        let reused = connection.served > 0;
        self.counters.reused += u64::from(reused);
        exchange.connection = Some(index);
        exchange.carrier = Carrier { id: connection.id, peer: connection.peer, reused };
        exchange.stamps.acquired = self.now;
        let since = *exchange.acquired.get_or_insert(self.now);
        let timeouts = &self.members[exchange.client as usize].shared.config.timeouts;
        if timeouts.total_from == config::TotalFrom::Acquire {
            exchange.total_deadline = exchange.total.map(|total| since + total);
        }
        if !reused {
            exchange.stamps.resolved = connection.started;
            exchange.stamps.connected = connection.connected;
        }
        self.mark_active(index);
        self.send_request(index, id, exchange)
    }

    pub(super) fn mark_active(&mut self, index: u32) {
        self.holding.active += 1;
        if let Some(host) = self.hosts.find_mut(self.connections[index as usize].host) {
            host.active += 1;
        }
    }

    /// A connection is free for the next request: somebody's who waits, or idle.
    #[inline]
    pub(super) fn release(&mut self, index: u32) {
        self.retire_active(index);
        let connection = &self.connections[index as usize];
        let place = connection.host;
        // A fresh one serves the request that it was made for, however short its life.
        let old = connection.retires <= self.now && connection.may_be_stale();
        let spent = old || connection.is_given_up();
        if spent || self.desk.is_closed() || self.try_yield(index) || self.try_cede(index) {
            self.counters.reaped += 1;
            self.close_connection(index);
        } else if !self.serve_with(index, place) {
            self.go_idle(index);
        }
    }

    /// A connection no longer carries a request.
    #[inline]
    pub(super) fn retire_active(&mut self, index: u32) {
        self.holding.active -= 1;
        let connection = &mut self.connections[index as usize];
        let drained = std::mem::take(&mut connection.drains);
        if let Some(host) = self.hosts.find_mut(connection.host) {
            host.active -= 1;
            host.draining -= u32::from(drained);
        }
    }

    pub(super) fn go_idle(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        let Some(host) = self.hosts.find_mut(connection.host) else { return };
        let member = &mut self.members[connection.client as usize];
        if member.presence != Presence::Here {
            // Nobody asks for it any more.
            self.counters.reaped += 1;
            connection.state = State::Idle;
            self.close_connection(index);
            return;
        }
        let total = &member.shared.connections;
        let starved = host.limits.conns.others_starve(self.core) || total.others_starve(self.core);
        connection.state = State::Idle;
        connection.rested = true;
        connection.idle_since = self.now;
        connection.deadline = connection.idle_until(member.shared.config.idle_timeout);
        self.idle_of_host.push_back(&mut host.idle, index);
        self.idle_of_member.push_back(&mut member.idle, index);
        self.holding.idle += 1;
        host.tell_spare(member, self.core, 0);
        if starved && !self.keep_idle(index) {
            self.counters.reaped += 1;
            self.close_connection(index);
            return;
        }
        self.watch_connection(index);
        self.receive_next(index);
    }

    /// Gives a permit back, and with it the next request its turn.
    pub(super) fn give_permit(&mut self, client: u32) {
        let now = self.now;
        let member = self.member(client);
        let has_queue = member.has_queue();
        if let Some(lease) = &mut member.lease {
            if has_queue { lease.give_in_turn(now) } else { lease.give() }
        }
        self.grant_permits(client);
    }

    pub(super) fn grant_permits(&mut self, client: u32) {
        loop {
            let member = &mut self.members[client as usize];
            let has_queue = member.has_queue();
            let Some(lease) = &mut member.lease else { return };
            if !has_queue || !lease.try_take() {
                return;
            }
            let first = self.waiting.pop_front(&mut member.returned);
            let first = first.or_else(|| self.waiting.pop_front(&mut member.queue));
            self.holding.queued -= 1;
            let id = first.and_then(|first| self.desk.exchanges.borrow().id_of(first));
            match id {
                Some(id) => self.admit(id),
                None => debug_assert!(false, "a request in the queue that is gone"),
            }
        }
    }
}
