//! Whose turn it is when a connection comes free while units are scarce: no host's queue holds up another host. Opens and closes nothing itself.
//!
//! A host that has fewer connections gets one from a host that has two more at its next response, so that shares are equal after as many new connections as units
//! were in the wrong place. Where there are more hosts than units, the unit of one goes on when others have waited for longer, or after [`TENURE`].

use std::time::Duration;

use super::Pool;
use super::host::Member;
use crate::clock::Instant;
use crate::driver::Driver;

/// Hosts that a connection which comes free is compared with: those whose turn is next, and as many others.
const NEXT_HOSTS_MAX: usize = 16;

/// How long the only connection of a host serves it before another host that has none gets its unit, though those who wait there came later. Where there are more
/// hosts than units, each of which has work for long, a unit that went on with every response would cost as many connections as requests.
const TENURE: Duration = Duration::from_millis(50);

impl<D: Driver> Pool<D> {
    /// Has a connection that comes free be closed for a host that needs its unit more, where units are scarce: no host's queue keeps another waiting. That one is
    /// next then, and the connection's own host comes after all others.
    pub(super) fn try_yield(&mut self, index: u32) -> bool {
        let connection = &self.connections[index as usize];
        let (own, client) = (connection.host, connection.client);
        let has_slot = self.has_slot();
        // Whoever got the unit in its turn uses it once.
        if has_slot && self.members[client as usize].blocked.is_empty()
            || !connection.may_be_stale()
        {
            return false;
        }
        let members = if has_slot { client..client + 1 } else { 0..self.members.len() as u32 };
        // What is coming back already is for the first of them.
        let coming = if has_slot { self.member(client).returning } else { self.holding.closing };
        let mut coming = coming as usize;
        for number in members {
            let member = &self.members[number as usize];
            let has_room = member.shared.connections.has_room();
            // The slot's present client would have the unit that comes back with it.
            if member.blocked.is_empty()
                || if has_slot { has_room } else { !has_room && number != client }
            {
                continue;
            }
            match self.neediest(member, index, coming) {
                Ok(place) => {
                    self.step_back(own);
                    self.step_forward(place);
                    return true;
                }
                Err(others) => coming -= others,
            }
            let member = self.member(number);
            let (seen, all) = (member.looked_through + NEXT_HOSTS_MAX, member.blocked.len());
            member.looked_through = if seen < all { seen } else { 0 };
        }
        false
    }

    /// The first of a client's hosts that needs the unit of a connection more than its own host does, after so many others that do; else how many did. Looks at those
    /// whose turn is next, and in turn at all others.
    fn neediest(&self, member: &Member, index: u32, others: usize) -> Result<u32, usize> {
        let (first, rest) = member.blocked.split_at(member.blocked.len().min(NEXT_HOSTS_MAX));
        let seen = member.looked_through.saturating_sub(first.len()).min(rest.len());
        let looked_at = first.iter().chain(rest[seen..].iter().take(NEXT_HOSTS_MAX));
        let mut needy = looked_at.filter(|place| self.needs_more(**place, index));
        let mut passed = 0;
        while passed < others {
            needy.next().ok_or(passed)?;
            passed += 1;
        }
        needy.next().copied().ok_or(passed)
    }

    /// Whether a host needs the unit of a connection more than its own host does: that one has more connections left; or neither has any, and the connection has
    /// served its own for long, or others have waited for longer.
    fn needs_more(&self, place: u32, index: u32) -> bool {
        let connection = &self.connections[index as usize];
        let own = connection.host;
        let (Some(theirs), Some(ours)) = (self.hosts.find(place), self.hosts.find(own)) else {
            return false;
        };
        if place == own || !theirs.may_dial() || theirs.undialed() == 0 {
            return false;
        }
        match (theirs.held(), ours.held()) {
            _ if !ours.is_awaited() => true,
            (0, 0) => {
                let first = self.waits_since(own).unwrap_or(Instant::NEVER);
                self.now >= connection.connected + TENURE
                    || self.waits_since(place).is_some_and(|since| since < first)
            }
            (theirs, ours) => theirs < ours,
        }
    }

    fn step_back(&mut self, place: u32) {
        let Some(host) = self.hosts.find(place).filter(|host| host.is_blocked) else { return };
        let blocked = &mut self.members[host.client as usize].blocked;
        blocked.retain(|other| *other != place);
        blocked.push(place);
    }

    fn step_forward(&mut self, place: u32) {
        let Some(host) = self.hosts.find(place) else { return };
        let blocked = &mut self.members[host.client as usize].blocked;
        if let Some(at) = blocked.iter().position(|other| *other == place) {
            blocked[..=at].rotate_right(1);
        }
    }

    /// Since when the first request of a host waits for a connection.
    fn waits_since(&self, place: u32) -> Option<Instant> {
        let host = self.hosts.find(place)?;
        let first = host.fresh.first().or_else(|| host.waiters.first())?;
        let id = self.desk.exchanges.borrow().id_of(first)?;
        self.with(id, |exchange| exchange.stamps.queued)
    }
}
