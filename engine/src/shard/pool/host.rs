//! What a core knows of one host: its idle connections, who waits for one, and how many there may be. Plain state.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::config::{HostLimits, Shared};
use super::exchange::Exchange;
use super::in_flight::Admission;
use super::list::List;
use super::origin::{Numbered, Origin};
use crate::shard::limits::Lease;

/// One host of one client.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) client: u32,
    pub(super) origin: Arc<Origin>,
    /// What all cores share of its limits.
    pub(super) limits: Arc<HostLimits>,
    /// Idle connections, the one idle longest first.
    pub(super) idle: List,
    /// Requests that wait for any connection, the oldest first.
    pub(super) waiters: List,
    /// Requests that wait for a fresh one.
    pub(super) fresh: List,
    /// Dials in progress, by place.
    pub(super) dials: List,
    /// Connections that carry requests, drain or rest.
    pub(super) active: u32,
    /// Of those, the ones that rest: each is about to serve somebody.
    pub(super) resting: u32,
    /// Of those, the ones that drain: no longer than [`DRAIN_TIME_MAX`](super::DRAIN_TIME_MAX).
    pub(super) draining: u32,
    /// Sockets, from the attempt to the close.
    pub(super) open: u32,
    /// Of those, the ones being closed whose units come back.
    pub(super) returning: u32,
    /// Connections at rest, drained or in the making for nobody, as last told.
    pub(super) unasked: u32,
    /// Those who wait and were let in by the limit on waiters.
    pub(super) let_in: u32,
    /// It answered in HTTP/1.0 last: it can't take a chunked body (RFC 9112 6.1).
    pub(super) is_http10: bool,
    /// In the list of those that wait for a unit.
    pub(super) is_blocked: bool,
    /// In that list, and looked at each turn: what it waits for comes back without a word to it.
    pub(super) is_due: bool,
}

impl Host {
    /// Connections, in the making or made, that are not being closed.
    pub(super) fn held(&self) -> u32 {
        self.idle.len() + self.active + self.dials.len()
    }

    /// Whether its own limits leave it room for another.
    pub(super) fn may_dial(&self) -> bool {
        self.limits.conns.has_room() && self.limits.dials.has_room()
    }

    /// Requests that no dial is under way for, and no connection about to be free.
    pub(super) fn undialed(&self) -> u32 {
        let fresh = self.fresh.len();
        let any = self.waiters.len().saturating_sub(self.resting);
        (any + fresh).saturating_sub(self.dials.len())
    }

    /// Tells all cores what this one will give up soon, where requests are refused for want of connections: what is idle, drained, being closed, at rest or in the making for nobody, and so many units that are being taken.
    #[inline]
    pub(super) fn tell_spare(&mut self, member: &mut Member, core: u32, taking: u32) {
        if member.shared.config.max_waiters.is_none() {
            return;
        }
        let waiting = self.waiters.len() + self.fresh.len();
        let unasked = (self.dials.len() + self.resting).saturating_sub(waiting) + self.draining;
        member.unasked = member.unasked + unasked - self.unasked;
        self.unasked = unasked;
        let of_host = self.idle.len() + self.returning + unasked;
        self.limits.conns.set_spare(core, of_host + taking);
        self.limits.dials.set_spare(core, unasked + taking);
        let of_client = member.idle.len() + member.returning + member.unasked;
        member.shared.connections.set_spare(core, of_client + taking);
    }

    /// Whether it can't take the body of this request, whose length is not known.
    #[inline]
    pub(super) fn refuses(&self, exchange: &Exchange) -> bool {
        self.is_http10 && exchange.body.is_chunked()
    }

    /// Whether a request waits for a connection.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiters.is_empty() || !self.fresh.is_empty()
    }

    fn is_unused(&self) -> bool {
        let lists = [&self.idle, &self.waiters, &self.fresh, &self.dials];
        self.active + self.open == 0 && lists.iter().all(|list| list.is_empty())
    }
}

/// Whether a client is used on a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    /// Nobody uses it any more, but something is left of it.
    Leaving,
    /// Its place is for the next.
    Left,
}

/// One client's part of a core.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
    places: HashMap<Arc<Origin>, u32, BuildHasherDefault<Numbered>>,
    /// Its permits, if they are limited.
    pub(super) lease: Option<Lease>,
    /// Requests that wait for a permit, the oldest first.
    pub(super) queue: List,
    /// Those among them that have held one and gave it back between two attempts: they come before all others.
    pub(super) returned: List,
    /// Idle connections of all its hosts, the one idle longest first.
    pub(super) idle: List,
    /// Hosts that wait for a unit of a budget, in turn.
    pub(super) blocked: Vec<u32>,
    /// How many of them have been compared with a connection that came free, since it began with the first.
    pub(super) looked_through: usize,
    /// Of these, how many are to be looked at each turn.
    pub(super) due: u32,
    /// Requests that are not given back.
    pub(super) exchanges: u32,
    pub(super) presence: Presence,
    /// Connections being closed whose units come back.
    pub(super) returning: u32,
    /// Connections of all its hosts that are at rest, drained or in the making for nobody.
    pub(super) unasked: u32,
    /// The news that was acted on.
    pub(super) seen: u64,
}

impl Member {
    pub(super) fn new(shared: Arc<Shared>, core: u32) -> Self {
        let lease = shared.permits.as_ref().map(|budget| Lease::new(Arc::clone(budget), core));
        Self {
            shared,
            places: HashMap::default(),
            lease,
            queue: List::default(),
            returned: List::default(),
            idle: List::default(),
            blocked: Vec::new(),
            looked_through: 0,
            due: 0,
            exchanges: 0,
            presence: Presence::Here,
            returning: 0,
            unasked: 0,
            seen: 0,
        }
    }

    /// Those who wait for a permit like this.
    pub(super) fn queue_of(&mut self, admission: Admission) -> &mut List {
        match admission {
            Admission::First => &mut self.queue,
            Admission::Again => &mut self.returned,
        }
    }

    /// Whether a request waits for a permit.
    #[inline]
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty() || !self.returned.is_empty()
    }

    /// Whether no request and no connection is left of it: a connection keeps its host.
    pub(super) fn is_unused(&self) -> bool {
        self.exchanges == 0 && self.places.is_empty()
    }
}

/// All hosts of a core, by place.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: Vec<Option<Host>>,
    free: Vec<u32>,
}

impl Hosts {
    /// The place of a host, which is made if it is new.
    #[inline]
    pub(super) fn place(&mut self, client: u32, member: &mut Member, origin: &Arc<Origin>) -> u32 {
        if let Some(place) = member.places.get(origin) {
            return *place;
        }
        let host = Host {
            client,
            origin: Arc::clone(origin),
            limits: member.shared.host(origin),
            idle: List::default(),
            waiters: List::default(),
            fresh: List::default(),
            dials: List::default(),
            active: 0,
            resting: 0,
            draining: 0,
            open: 0,
            returning: 0,
            unasked: 0,
            let_in: 0,
            is_http10: member.shared.is_http10(origin),
            is_blocked: false,
            is_due: false,
        };
        let place = self.free.pop().unwrap_or(self.hosts.len() as u32);
        if place as usize == self.hosts.len() {
            self.hosts.push(Some(host));
        } else {
            self.hosts[place as usize] = Some(host);
        }
        member.places.insert(Arc::clone(origin), place);
        place
    }

    #[inline]
    pub(super) fn find(&self, place: u32) -> Option<&Host> {
        self.hosts.get(place as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn find_mut(&mut self, place: u32) -> Option<&mut Host> {
        self.hosts.get_mut(place as usize)?.as_mut()
    }

    /// Forgets a host that nothing is left of, so that a crawler's hosts don't add up. Gives the client whose it was.
    pub(super) fn forget_unused(
        &mut self,
        place: u32,
        members: &mut [Member],
        core: u32,
    ) -> Option<u32> {
        self.find(place).filter(|host| host.is_unused() && !host.is_blocked)?;
        let host = self.hosts[place as usize].take()?;
        self.free.push(place);
        let member = members.get_mut(host.client as usize)?;
        member.places.remove(&host.origin);
        member.unasked -= host.unasked;
        host.limits.renounce(core);
        member.shared.forget(&host.origin, host.limits);
        Some(host.client)
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len() - self.free.len()
    }
}
