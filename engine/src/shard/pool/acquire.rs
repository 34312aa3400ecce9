//! Permits, connections, and who is next: first come, first served for each host, and no host waits for another's. Opens nothing itself.

use super::connection::{Charge, State};
use super::exchange::{Carrier, Exchange, Stage};
use super::host::Member;
use super::slab::Id;
use super::{Pool, config};
use crate::clock::Instant;
use crate::driver::Driver;
use crate::error::Kind;

impl<D: Driver> Pool<D> {
    /// Reads or changes a live exchange.
    #[inline]
    pub(super) fn with<R>(&self, id: Id, act: impl FnOnce(&mut Exchange) -> R) -> Option<R> {
        self.desk.exchanges.borrow_mut().find_mut(id).map(act)
    }

    /// Begins with a request: a permit first.
    pub(super) fn start(&mut self, id: Id) {
        self.counters.requests += 1;
        self.holding.in_flight += 1;
        let now = self.now;
        let mut exchanges = self.desk.exchanges.borrow_mut();
        let Some(exchange) = exchanges.find_mut(id) else { return };
        let client = exchange.client;
        let member = &mut self.members[client as usize];
        member.exchanges += 1;
        if self.desk.is_closed() {
            drop(exchanges);
            self.abort(id, Kind::Shutdown);
            return;
        }
        let timeouts = &member.shared.config.timeouts;
        exchange.total = exchange.total.or(timeouts.total);
        if timeouts.total_from == config::TotalFrom::Submit {
            exchange.total_deadline = exchange.total.map(|total| exchange.stamps.submitted + total);
        }
        let free = member.queue.is_empty();
        let admitted = match &mut member.lease {
            Some(lease) => free && lease.try_take(),
            None => true,
        };
        let queue_timeout = timeouts.queue;
        exchange.stage = Stage::Queued;
        exchange.phase_deadline = queue_timeout.filter(|_| !admitted).map(|queue| now + queue);
        drop(exchanges);
        if admitted {
            self.admit(id);
        } else {
            let member = &mut self.members[client as usize];
            self.waiting.push_back(&mut member.queue, id.index);
            self.holding.queued += 1;
            self.watch_exchange(id);
        }
    }

    /// A permit is held: a connection next.
    fn admit(&mut self, id: Id) {
        let now = self.now;
        let mut exchanges = self.desk.exchanges.borrow_mut();
        let Some(exchange) = exchanges.find_mut(id) else { return };
        let client = exchange.client;
        let Some(origin) = &exchange.origin else { return };
        let member = &mut self.members[client as usize];
        // Not before: a host is forgotten when nothing is left of it, though requests for it wait for a permit.
        let place = self.hosts.place(client, member, origin);
        exchange.host = place;
        exchange.has_permit = member.lease.is_some();
        exchange.stamps.queued = now;
        exchange.stage = Stage::Acquiring;
        let timeouts = &member.shared.config.timeouts;
        exchange.phase_deadline = timeouts.acquire.map(|acquire| now + acquire);
        let fresh = exchange.needs_fresh;
        if timeouts.total_from == config::TotalFrom::Acquire {
            let since = exchange.admitted.unwrap_or(now);
            exchange.total_deadline = exchange.total.map(|total| since + total);
        }
        drop(exchanges);
        if self.refuses_chunked(place, id) {
            self.refuse_chunked(id);
            return;
        }
        let none_waits =
            !fresh && self.hosts.find(place).is_some_and(|host| host.waiters.is_empty());
        if none_waits && let Some(index) = self.pick_idle(place) {
            self.assign(index, id);
            return;
        }
        if let Some(host) = self.hosts.find_mut(place) {
            let list = if fresh { &mut host.fresh } else { &mut host.waiters };
            self.waiting.push_back(list, id.index);
            self.holding.waiting += 1;
        }
        self.watch_exchange(id);
        self.serve(place);
        self.count_waiter(id, place);
    }

    /// A request that found no connection, and that none is being made for, waits: one too many fails.
    fn count_waiter(&mut self, id: Id, place: u32) {
        let Some(host) = self.hosts.find(place).filter(|host| host.undialed() > 0) else { return };
        let shared = &self.members[host.client as usize].shared;
        let Some(max_waiters) = shared.config.max_waiters else { return };
        let waits = |exchange: &mut Exchange| exchange.stage == Stage::Acquiring;
        if self.with(id, waits) != Some(true) {
            return;
        }
        if shared.join_waiters(max_waiters) {
            self.with(id, |exchange| exchange.counts_as_waiter = true);
        } else {
            self.abort(id, Kind::PoolFull { max_waiters });
        }
    }

    /// Gives idle connections to those who wait, and dials for the others.
    pub(super) fn serve(&mut self, place: u32) {
        while self.hosts.find(place).is_some_and(|host| !host.waiters.is_empty()) {
            let Some(index) = self.pick_idle(place) else { break };
            if !self.serve_with(index, place) {
                self.go_idle(index);
                break;
            }
        }
        self.dial_more(place);
    }

    /// Gives a connection that is free to the first who waits for one; `false` if nobody does.
    pub(super) fn serve_with(&mut self, index: u32, place: u32) -> bool {
        let fresh = !self.connections[index as usize].may_be_stale();
        while let Some(id) = self.next_waiter(place, fresh) {
            if !self.refuses_chunked(place, id) {
                self.assign(index, id);
                return true;
            }
            self.refuse_chunked(id);
        }
        false
    }

    /// Takes the first who waits out of its list; those who need a fresh connection go first where there is one.
    fn next_waiter(&mut self, place: u32, fresh: bool) -> Option<Id> {
        let host = self.hosts.find_mut(place)?;
        let first = if fresh { self.waiting.pop_front(&mut host.fresh) } else { None };
        let waiter = first.or_else(|| self.waiting.pop_front(&mut host.waiters))?;
        let id = self.desk.exchanges.borrow().id_of(waiter);
        debug_assert!(id.is_some(), "a waiter that is gone");
        id.inspect(|id| self.leave_waiters(*id))
    }

    /// A request was taken from among those that wait for a connection.
    pub(super) fn leave_waiters(&mut self, id: Id) {
        self.holding.waiting -= 1;
        let counted = self.with(id, |exchange| {
            let counted = std::mem::take(&mut exchange.counts_as_waiter);
            counted.then_some(exchange.client)
        });
        if let Some(client) = counted.flatten() {
            self.members[client as usize].shared.leave_waiters();
        }
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
    #[inline]
    pub(super) fn assign(&mut self, index: u32, id: Id) {
        let now = self.now;
        let connection = &mut self.connections[index as usize];
        connection.state = State::Busy(id);
        connection.deadline = Instant::NEVER;
        let reused = connection.served > 0;
        let carrier = Carrier { id: connection.id, peer: connection.peer, reused };
        let (started, connected) = (connection.started, connection.connected);
        self.counters.reused += u64::from(reused);
        self.mark_active(index);
        self.with(id, |exchange| {
            exchange.connection = Some(index);
            exchange.carrier = carrier;
            exchange.stamps.acquired = now;
            if !reused {
                exchange.stamps.resolved = started;
                exchange.stamps.connected = connected;
            }
        });
        self.send_request(index, id);
    }

    /// A server of HTTP/1.0 takes a chunked body for the next request (RFC 9112 6.1).
    fn refuses_chunked(&self, place: u32, id: Id) -> bool {
        self.hosts.find(place).is_some_and(|host| host.is_http10)
            && self.with(id, |exchange| exchange.body.is_chunked()) == Some(true)
    }

    fn refuse_chunked(&mut self, id: Id) {
        let problem = "the server speaks HTTP/1.0 and can't take a body of unknown length";
        self.abort(id, Kind::RequestBody(problem.to_owned()));
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
        let spent = connection.retires <= self.now || connection.left == Some(0);
        if spent || self.desk.is_closed() || self.yields(index) {
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
        if let Some(host) = self.hosts.find_mut(self.connections[index as usize].host) {
            host.active -= 1;
        }
    }

    /// Whether a host that has no connection, because others have them all, has waited longer than those who would get this one: no host waits for ever.
    fn must_yield(&self, index: u32) -> bool {
        let connection = &self.connections[index as usize];
        // Whoever got the unit in its turn uses it once.
        if !connection.may_be_stale() {
            return false;
        }
        let blocked = match self.has_slot() {
            true => self.blocked_by_units(connection.client),
            false => self.blocked_by_slots(connection.client),
        };
        let Some(blocked) = blocked.filter(|blocked| *blocked != connection.host) else {
            return false;
        };
        match (self.waits_since(blocked), self.waits_since(connection.host)) {
            (Some(theirs), Some(ours)) => theirs < ours,
            (theirs, _) => theirs.is_some(),
        }
    }

    /// The host of a client whose turn it is at the client's next unit, where all are taken.
    fn blocked_by_units(&self, client: u32) -> Option<u32> {
        let member = &self.members[client as usize];
        if member.blocked.is_empty() || member.shared.connections.has_room() {
            return None;
        }
        self.first_blocked(member)
    }

    /// The host of any client that has waited longest for a slot; the slot's present client would have the unit that comes back with it.
    fn blocked_by_slots(&self, client: u32) -> Option<u32> {
        let has_unit = |number: usize, member: &Member| {
            number == client as usize || member.shared.connections.has_room()
        };
        let members = self.members.iter().enumerate();
        let waiting = members.filter(|(number, member)| has_unit(*number, member));
        let blocked = waiting.filter_map(|(_, member)| self.first_blocked(member));
        let since = |place| self.waits_since(place).map(|since| (since, place));
        blocked.filter_map(since).min().map(|(_, place)| place)
    }

    /// The first of a client's hosts whose own limit leaves it room: no other could use a unit.
    fn first_blocked(&self, member: &Member) -> Option<u32> {
        let has_room =
            |place: &u32| self.hosts.find(*place).is_some_and(|host| host.budget.has_room());
        member.blocked.iter().copied().find(has_room)
    }

    /// [`Pool::must_yield`], and if so what is yielded does not come back to its host before the others had their turn.
    fn yields(&mut self, index: u32) -> bool {
        let yields = self.must_yield(index);
        if yields {
            self.step_back(self.connections[index as usize].host);
        }
        yields
    }

    fn step_back(&mut self, place: u32) {
        let Some(host) = self.hosts.find(place).filter(|host| host.is_blocked) else { return };
        let blocked = &mut self.members[host.client as usize].blocked;
        blocked.retain(|other| *other != place);
        blocked.push(place);
    }

    /// Since when the first request of a host waits for a connection.
    fn waits_since(&self, place: u32) -> Option<Instant> {
        let host = self.hosts.find(place)?;
        let first = host.fresh.first().or_else(|| host.waiters.first())?;
        let id = self.desk.exchanges.borrow().id_of(first)?;
        self.with(id, |exchange| exchange.stamps.queued)
    }

    pub(super) fn go_idle(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        let Some(host) = self.hosts.find_mut(connection.host) else { return };
        let member = &mut self.members[connection.client as usize];
        // Whoever starves on another core needs the unit more than we may.
        if host.budget.others_starve(self.core)
            || member.shared.connections.others_starve(self.core)
        {
            self.counters.reaped += 1;
            connection.state = State::Idle;
            self.close_connection(index);
            return;
        }
        connection.state = State::Idle;
        connection.rested = true;
        connection.idle_since = self.now;
        let idle = member.shared.config.idle_timeout;
        let idle = connection.kept.map_or(idle, |kept| idle.min(kept));
        connection.deadline = (self.now + idle).min(connection.retires);
        self.idle_of_host.push_back(&mut host.idle, index);
        self.idle_of_member.push_back(&mut member.idle, index);
        self.holding.idle += 1;
        self.watch_connection(index);
        self.receive_next(index);
    }

    /// Takes a unit of both budgets for a new connection, or notes that the host has to wait for one.
    pub(super) fn charge(&mut self, place: u32) -> Charge {
        let (core, has_slot) = (self.core, self.has_slot());
        let Some(host) = self.hosts.find_mut(place) else { return Charge::None };
        let member = &mut self.members[host.client as usize];
        // Units that are on their way back are for those who wait already.
        let enough = member.returning > member.blocked.len() as u32;
        if !host.budget.take_or_starve(core) {
            // Where a fresh connection is needed, an idle one is in the way.
            let spare = host.idle.first().filter(|_| !host.fresh.is_empty() && !enough);
            self.close_spare(spare);
            self.block(place);
            return Charge::None;
        }
        let spare = member.idle.first().filter(|_| !enough);
        let total = &member.shared.connections;
        if has_slot && (total.take(1) == 1 || (spare.is_none() && total.take_or_starve(core))) {
            return Charge::Unit;
        }
        host.budget.give(1);
        // An idle connection to another host, or where slots are short of another client, makes room once it is closed.
        self.close_spare(if has_slot { spare } else { self.spare_slot() });
        self.block(place);
        Charge::None
    }

    /// The connection idle longest of all clients, unless the slots of those being closed are enough for all who wait.
    fn spare_slot(&self) -> Option<u32> {
        let waiting: usize = self.members.iter().map(|member| member.blocked.len()).sum();
        if self.holding.closing as usize > waiting {
            return None;
        }
        let idle = self.members.iter().filter_map(|member| member.idle.first());
        idle.min_by_key(|index| self.connections[*index as usize].idle_since)
    }

    fn close_spare(&mut self, spare: Option<u32>) {
        if let Some(index) = spare {
            self.counters.reaped += 1;
            self.close_connection(index);
        }
    }

    pub(super) fn block_if_waiting(&mut self, place: u32) {
        if self.hosts.find(place).is_some_and(|host| host.undialed() > 0) {
            self.block(place);
        }
    }

    fn block(&mut self, place: u32) {
        let Some(host) = self.hosts.find_mut(place) else { return };
        if !host.is_blocked {
            host.is_blocked = true;
            self.members[host.client as usize].blocked.push(place);
        }
    }

    /// Gives a unit of both budgets back.
    pub(super) fn discharge(&mut self, place: u32) {
        if let Some(host) = self.hosts.find(place) {
            host.budget.give(1);
            self.members[host.client as usize].shared.connections.give(1);
        }
    }

    /// Gives a permit back, and with it the next request its turn.
    pub(super) fn give_permit(&mut self, client: u32) {
        if let Some(lease) = &mut self.member(client).lease {
            lease.give();
        }
        self.grant_permits(client);
    }

    fn grant_permits(&mut self, client: u32) {
        loop {
            let member = &mut self.members[client as usize];
            let Some(lease) = &mut member.lease else { return };
            if member.queue.is_empty() || !lease.try_take() {
                return;
            }
            let first = self.waiting.pop_front(&mut member.queue);
            self.holding.queued -= 1;
            let id = first.and_then(|first| self.desk.exchanges.borrow().id_of(first));
            match id {
                Some(id) => self.admit(id),
                None => debug_assert!(false, "a request in the queue that is gone"),
            }
        }
    }

    /// What came back from other cores, and what they need from us.
    #[inline]
    pub(super) fn serve_starving(&mut self) {
        let members = self.members.len() as u32;
        // Another goes first each time: what is scarce for all clients of a core is nobody's for ever.
        self.first_member = if self.first_member + 1 < members { self.first_member + 1 } else { 0 };
        for client in (self.first_member..members).chain(0..self.first_member) {
            let member = &mut self.members[client as usize];
            let news = member.shared.news();
            if news != member.seen {
                member.seen = news;
                self.share_spare(client);
            }
            let member = &self.members[client as usize];
            if !member.queue.is_empty() {
                self.grant_permits(client);
            }
            if !self.members[client as usize].blocked.is_empty() {
                self.unblock(client);
            }
        }
    }

    /// Tries those again that wait for a unit, in their turn.
    fn unblock(&mut self, client: u32) {
        let core = self.core;
        let member = self.member(client);
        let total = &member.shared.connections;
        if !total.has_room() && member.idle.is_empty() {
            // The unit that we were rung for went to somebody faster, and with it the note that we starve.
            if total.starves(core) || !total.take_or_starve(core) {
                return;
            }
            total.give(1);
        }
        let mut blocked = std::mem::take(&mut self.unblocking);
        std::mem::swap(&mut blocked, &mut self.member(client).blocked);
        let mut served = 0;
        for at in 0..blocked.len() {
            let place = blocked[at];
            let Some(host) = self.hosts.find_mut(place) else { continue };
            host.is_blocked = false;
            let dials = host.dials.len();
            self.serve(place);
            let got = self.hosts.find(place).is_some_and(|host| host.dials.len() > dials);
            if got && self.member(client).blocked.last() == Some(&place) {
                // It wants more: behind those that got nothing.
                self.member(client).blocked.pop();
                blocked[served] = place;
                served += 1;
            }
            self.forget_unused(place);
        }
        self.member(client).blocked.extend_from_slice(&blocked[..served]);
        blocked.clear();
        self.unblocking = blocked;
    }

    /// Closes an idle connection, or gives up permits, where another core starves.
    fn share_spare(&mut self, client: u32) {
        let member = &mut self.members[client as usize];
        if let Some(lease) = &mut member.lease {
            lease.share();
        }
        let mut spare = Vec::new();
        if member.shared.connections.others_starve(self.core) {
            spare.extend(member.idle.first());
        }
        for place in self.hosts.places() {
            let host = self.hosts.find(place).filter(|host| host.client == client);
            let starving = host.filter(|host| host.budget.others_starve(self.core));
            spare.extend(starving.and_then(|host| host.idle.first()));
        }
        for index in spare {
            self.counters.reaped += 1;
            self.close_connection(index);
        }
    }
}
