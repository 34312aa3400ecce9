//! Units of the limits, and slots of the core: who gives one up, and whose turn it is at the next. No host waits for ever. Opens nothing itself.

use super::Pool;
use super::connection::Charge;
use super::host::Member;
use crate::clock::Instant;
use crate::driver::Driver;

impl<D: Driver> Pool<D> {
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
    pub(super) fn yields(&mut self, index: u32) -> bool {
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
            // Taken in the opposite order: whoever gets the host's unit finds the client's given back.
            self.members[host.client as usize].shared.connections.give(1);
            host.budget.give(1);
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
            if member.has_queue() {
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
