//! How many requests wait for a connection that nobody makes for them, where that is limited. Turns away, serves nobody.
//!
//! A request waits, as far as the limit goes, if its connection is not in the making, nor a unit for one on its way: one that is there, idle anywhere, or being given
//! back. So many of those who were let in may be more than the limit.

use super::Pool;
use super::exchange::{Exchange, Stage};
use super::slab::Id;
use crate::driver::Driver;
use crate::error::Kind;

impl<D: Driver> Pool<D> {
    /// A request waits for a connection: one too many fails.
    pub(super) fn let_in(&mut self, id: Id, place: u32) {
        let Some(host) = self.hosts.find(place) else { return };
        let shared = &self.members[host.client as usize].shared;
        let Some(max_waiters) = shared.config.max_waiters else { return };
        if !self.is_left_waiting(id, place) || self.try_let_in(place, max_waiters) {
            return;
        }
        // What was on its way when we first looked may have come before we counted.
        self.serve(place);
        if self.is_left_waiting(id, place) && !self.try_let_in(place, max_waiters) {
            self.abort(id, Kind::PoolFull { max_waiters });
        }
    }

    /// Whether a request has no connection, and its host more that wait than were let in: some of those may have one in the making since.
    fn is_left_waiting(&self, id: Id, place: u32) -> bool {
        self.hosts.find(place).is_some_and(|host| host.undialed() > host.let_in)
            && self.with(id, |exchange: &mut Exchange| exchange.stage == Stage::Acquiring)
                == Some(true)
    }

    fn try_let_in(&mut self, place: u32, max_waiters: u32) -> bool {
        // Where slots are short, those being closed come next.
        let spare = if self.has_slot() { 0 } else { self.holding.closing };
        let Some(host) = self.hosts.find_mut(place) else { return true };
        let shared = &self.members[host.client as usize].shared;
        let joins = shared.join_waiters(&host.limits, max_waiters.saturating_add(spare));
        host.let_in += u32::from(joins);
        joins
    }

    /// A request was taken from among those that wait for a connection.
    pub(super) fn leave_waiters(&mut self, id: Id) {
        self.holding.waiting -= 1;
        let Some(place) = self.with(id, |exchange| exchange.host) else { return };
        self.count_waiters_off(place);
        // It wants no unit any more that others would give up for it.
        if self.hosts.find(place).is_some_and(|host| host.is_blocked && host.undialed() == 0) {
            self.look_at(place);
        }
    }

    /// Some of a host's waiters have a connection, or one in the making: as many as wait no more make room for others.
    pub(super) fn count_waiters_off(&mut self, place: u32) {
        let Some(host) = self.hosts.find_mut(place) else { return };
        let member = &mut self.members[host.client as usize];
        let leave = host.let_in.saturating_sub(host.undialed());
        if leave > 0 {
            host.let_in -= leave;
            member.shared.leave_waiters(&host.limits, leave);
        }
        host.tell_spare(member, self.core, 0);
    }

    /// [`Host::tell_spare`], with a unit that is being taken for one who waits: until that one is counted off, whoever looks must find it.
    #[inline]
    pub(super) fn tell_spare(&mut self, place: u32, taking: u32) {
        if let Some(host) = self.hosts.find_mut(place) {
            host.tell_spare(&mut self.members[host.client as usize], self.core, taking);
        }
    }
}
