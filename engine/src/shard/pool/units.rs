//! Units of the limits, and slots of the core: who gives one up, and whose turn it is at the next. No host waits for ever, and no core. Opens nothing itself.

use std::time::Duration;

use super::Pool;
use super::connection::{Charge, Heirs, State};
use super::host::{Host, Member};
use crate::driver::Driver;

/// How long a connection is idle before another core that starves, and has others that may come free, gets its unit. At once it would be asked back: where there are about
/// as many requests as units, each core has one too many and one too few in turn, and a third of the requests would pay for a new connection.
const SPARE_AFTER: Duration = Duration::from_millis(20);
/// What a host waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// A unit of its own limits: it is looked at when one comes back, here or elsewhere.
    OfHost,
    /// What others of its client, or of the core, may let go of: it is looked at each turn.
    OfClient,
}

/// Which of the hosts that wait are tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// All, on news from other cores.
    All,
    Due,
}

impl<D: Driver> Pool<D> {
    /// A client's hosts that wait for a unit and whose own limit leaves them room, in turn, without `own`: no other could use a unit.
    fn blocked_but(&self, member: &Member, own: u32) -> impl Iterator<Item = u32> {
        let others = member.blocked.iter().copied().filter(move |place| *place != own);
        others.filter(move |place| self.hosts.find(*place).is_some_and(Host::may_dial))
    }

    /// Whether the units that are left are for hosts that wait already: whoever comes later has its turn with them, in [`Pool::unblock`].
    pub(super) fn comes_later(&self, place: u32) -> bool {
        let Some(host) = self.hosts.find(place) else { return false };
        let member = &self.members[host.client as usize];
        let blocked = member.blocked.len();
        blocked > 0
            && member.shared.connections.room() as usize <= blocked
            && self.blocked_but(member, place).next().is_some()
    }

    /// Promises the units of a connection that comes free to another core, which has fewer; `false` if none has. The connection is closed for it then.
    pub(super) fn try_cede(&mut self, index: u32) -> bool {
        let connection = &mut self.connections[index as usize];
        let Some(host) = self.hosts.find(connection.host) else { return false };
        let total = &self.members[connection.client as usize].shared.connections;
        let starves = host.limits.conns.others_starve(self.core) || total.others_starve(self.core);
        // Whoever got the unit uses it once.
        if !starves || !connection.may_be_stale() {
            return false;
        }
        connection.heirs = Heirs {
            of_host: host.limits.conns.promise(self.core, self.now),
            of_client: total.promise(self.core, self.now),
        };
        connection.heirs != Heirs::default()
    }

    /// Takes a unit of both budgets for a new connection, or notes that the host has to wait for one.
    pub(super) fn charge(&mut self, place: u32) -> Charge {
        let (core, has_slot) = (self.core, self.has_slot());
        let Some(host) = self.hosts.find_mut(place) else { return Charge::None };
        let member = &mut self.members[host.client as usize];
        // Units that are on their way back are for those who wait already.
        let enough = member.returning > member.blocked.len() as u32;
        if !host.limits.conns.take_or_starve(core) {
            // Where a fresh connection is needed, an idle one is in the way.
            let spare = host.idle.first().filter(|_| !host.fresh.is_empty() && !enough);
            self.close_spare(spare);
            self.block(place, Wants::OfHost);
            return Charge::None;
        }
        let spare = member.idle.first().filter(|_| !enough);
        let total = &member.shared.connections;
        if has_slot && (total.take(core, 1) == 1 || (spare.is_none() && total.take_or_starve(core)))
        {
            return Charge::Unit;
        }
        host.limits.conns.give(core, 1);
        // An idle connection to another host, or where slots are short of another client, makes room once it is closed.
        self.close_spare(if has_slot { spare } else { self.spare_slot() });
        self.block(place, Wants::OfClient);
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
            self.block(place, Wants::OfClient);
        }
    }

    pub(super) fn block(&mut self, place: u32, wants: Wants) {
        let Some(host) = self.hosts.find_mut(place) else { return };
        let member = &mut self.members[host.client as usize];
        if !host.is_blocked {
            host.is_blocked = true;
            member.blocked.push(place);
        }
        if wants == Wants::OfClient && !host.is_due {
            host.is_due = true;
            member.due += 1;
        }
    }

    /// Has a blocked host be looked at in the next turn: what it wants may be there, or it wants nothing more.
    pub(super) fn look_at(&mut self, place: u32) {
        if self.hosts.find(place).is_some_and(|host| host.is_blocked) {
            self.block(place, Wants::OfClient);
        }
    }

    /// Gives a unit of both budgets back.
    pub(super) fn discharge(&mut self, place: u32) {
        self.pass_on(place, Heirs::default());
    }

    /// Gives a unit of both budgets to whom it was promised, or back.
    pub(super) fn pass_on(&mut self, place: u32, heirs: Heirs) {
        if let Some(host) = self.hosts.find(place) {
            // Taken in the opposite order: whoever gets the host's unit finds the client's given back.
            let total = &self.members[host.client as usize].shared.connections;
            total.pass_on(self.core, heirs.of_client, self.now);
            host.limits.conns.pass_on(self.core, heirs.of_host, self.now);
        }
        self.look_at(place);
    }

    /// Gives back the units of connections that were not seen to close: their driver goes, and they with it.
    pub(crate) fn abandon(&mut self) {
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            let charge = std::mem::replace(&mut connection.charge, Charge::None);
            let (place, heirs) = (connection.host, connection.heirs);
            if connection.state != State::Free && charge == Charge::Unit {
                self.pass_on(place, heirs);
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
            let is_new = news != member.seen;
            if is_new {
                member.seen = news;
                self.share_spare(client);
            }
            let member = &self.members[client as usize];
            if member.has_queue() {
                self.grant_permits(client);
            }
            let member = &self.members[client as usize];
            // What was granted is taken or given back.
            if !member.blocked.is_empty() {
                if is_new {
                    self.unblock(client, Which::All);
                } else if member.due > 0 && self.may_unblock(client) {
                    self.unblock(client, Which::Due);
                }
            } else if is_new {
                member.shared.connections.renounce(self.core);
            }
        }
    }

    /// Whether a host may find a unit, or make room for one.
    fn may_unblock(&mut self, client: u32) -> bool {
        let (core, has_slot, anything_idle) = (self.core, self.has_slot(), self.holding.idle > 0);
        let member = self.member(client);
        let total = &member.shared.connections;
        if !member.idle.is_empty() {
            return true;
        }
        if total.has_room() || total.is_granted(core) {
            // Without a slot, only an idle connection of another client helps.
            return has_slot || anything_idle;
        }
        // The unit that we were rung for went to somebody faster, and with it the note that we starve.
        !total.waits(core) && total.has_room_or_starves(core)
    }

    /// Tries those again that wait for a unit, in their turn.
    fn unblock(&mut self, client: u32, which: Which) {
        let core = self.core;
        let was_granted = self.member(client).shared.connections.is_granted(core);
        let mut blocked = std::mem::take(&mut self.unblocking);
        std::mem::swap(&mut blocked, &mut self.member(client).blocked);
        let (mut served, mut tried) = (0, blocked.len());
        for at in 0..blocked.len() {
            let place = blocked[at];
            if which == Which::Due && self.hosts.find(place).is_some_and(|host| !host.is_due) {
                self.member(client).blocked.push(place);
                continue;
            }
            if at > 0 && !self.may_unblock(client) {
                // Nothing is left, and we are rung when something is: the others keep their turn. What was news for them is none the next time.
                blocked[at..].iter().for_each(|place| self.look_at(*place));
                tried = at;
                break;
            }
            let Some(host) = self.hosts.find_mut(place) else { continue };
            let was_due = std::mem::take(&mut host.is_due);
            host.is_blocked = false;
            let dials = host.dials.len();
            self.member(client).due -= u32::from(was_due);
            self.serve_in_turn(place);
            let got = self.hosts.find(place).is_some_and(|host| host.dials.len() > dials);
            if got && self.member(client).blocked.last() == Some(&place) {
                // It wants more: behind those that got nothing.
                self.member(client).blocked.pop();
                blocked[served] = place;
                served += 1;
            }
            if let Some(host) = self.hosts.find(place).filter(|host| !host.is_blocked) {
                host.limits.renounce(core);
            }
            self.forget_unused(place);
        }
        let still = &mut self.member(client).blocked;
        still.extend_from_slice(&blocked[tried..]);
        still.extend_from_slice(&blocked[..served]);
        blocked.clear();
        self.unblocking = blocked;
        if was_granted {
            // Nobody needed it.
            self.member(client).shared.connections.decline(core);
        }
    }

    /// Closes an idle connection, or gives up permits, where another core starves.
    fn share_spare(&mut self, client: u32) {
        let member = &mut self.members[client as usize];
        let has_queue = member.has_queue();
        if let Some(lease) = &mut member.lease {
            if has_queue { lease.share() } else { lease.renounce() }
        }
        let mut spare = Vec::new();
        let first = member.idle.first();
        if member.shared.connections.others_starve(self.core) {
            spare.extend(first);
        }
        // Of each host the one that is idle longest, where that host's other cores starve.
        let mut next = first;
        while let Some(index) = next {
            next = self.idle_of_member.next(index);
            let host = self.hosts.find(self.connections[index as usize].host);
            let starving = host.is_some_and(|host| {
                host.idle.first() == Some(index) && host.limits.conns.others_starve(self.core)
            });
            if starving && !spare.contains(&index) {
                spare.push(index);
            }
        }
        for index in spare {
            if !self.keep_idle(index) {
                self.counters.reaped += 1;
                self.close_connection(index);
            }
        }
    }

    /// Sets until when an idle connection stays: where another core starves for what it holds, not long. `false` if it does not stay at all.
    pub(super) fn keep_idle(&mut self, index: u32) -> bool {
        let connection = &mut self.connections[index as usize];
        let shared = &self.members[connection.client as usize].shared;
        let host = self.hosts.find(connection.host).map(|host| &host.limits.conns);
        let budgets = || host.into_iter().chain([&shared.connections]);
        let starved = budgets().any(|budget| budget.others_starve(self.core));
        let most = match starved {
            true if budgets().any(|budget| budget.others_have_none(self.core)) => Duration::ZERO,
            true => SPARE_AFTER,
            false => Duration::MAX,
        };
        connection.deadline = connection.idle_until(shared.config.idle_timeout.min(most));
        let stays = connection.deadline > self.now;
        if stays {
            self.watch_connection(index);
        }
        stays
    }
}
