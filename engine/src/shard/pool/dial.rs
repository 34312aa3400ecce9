//! New connections: a name, its addresses, and attempts on them in turn, the next one while the last is still out (RFC 8305). Sends nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::asked::Lookup;
use super::connection::{Charge, State};
use super::exchange::{Exchange, Stage};
use super::expiry::Timer;
use super::slab::{Id, Renew};
use super::units::Wants;
use crate::clock::Instant;
use crate::driver::Driver;
use crate::error::{Kind, Phase, TimeoutKind, text_of_others};
use crate::shard::connection::Receiving;

/// How long an attempt is alone before the next address is tried beside it (RFC 8305 section 8).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How soon a dial that found every slot taken looks again.
pub(super) const SLOT_DELAY: Duration = Duration::from_millis(1);

/// One dial: it leads to one connection, or to a failure.
#[derive(Debug, Default)]
pub(super) struct Dial {
    pub(super) host: u32,
    pub(super) client: u32,
    /// Empty while the name is being resolved.
    pub(super) addresses: Vec<SocketAddr>,
    /// The next of them to try.
    pub(super) next: usize,
    /// Connections of the attempts that are out.
    pub(super) out: Vec<u32>,
    /// Whether a unit of the budgets is held that no attempt has.
    pub(super) spare_unit: bool,
    pub(super) started: Instant,
    pub(super) resolved: Instant,
    /// When the next address is tried, though the last may still answer.
    pub(super) next_attempt: Option<Instant>,
    /// When it has failed as a whole.
    pub(super) deadline: Instant,
    /// The addresses that failed, and why.
    pub(super) failed: Vec<(SocketAddr, Kind)>,
    pub(super) timer: Timer,
}

impl Renew for Dial {
    fn renew(&mut self) {
        let (mut addresses, mut out) =
            (std::mem::take(&mut self.addresses), std::mem::take(&mut self.out));
        addresses.clear();
        out.clear();
        *self = Self { addresses, out, timer: self.timer, ..Self::default() };
    }
}

impl Dial {
    pub(super) fn is_resolving(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The address tried last.
    fn tried(&self) -> Option<SocketAddr> {
        self.addresses.get(self.next.saturating_sub(1)).copied()
    }

    /// The failure that tells most: the last one, but for those that are this machine's lack of a
    /// way to the address, such as IPv6 without a route, while another address gave an answer.
    fn most_telling(&self) -> Option<(SocketAddr, Kind)> {
        let tells = |kind: &Kind| !matches!(kind, Kind::Connect(errno) if errno.has_no_way());
        let telling = self.failed.iter().rev().find(|(_, kind)| tells(kind));
        telling.or_else(|| self.failed.last()).cloned()
    }

    /// When time has to look at it next.
    pub(super) fn due(&self) -> Instant {
        self.deadline.min(self.next_attempt.unwrap_or(Instant::NEVER))
    }
}

fn no_address() -> Kind {
    Kind::Resolve { problem: "the name has no address".to_owned(), is_temporary: false }
}

impl<D: Driver> Pool<D> {
    /// Starts as many dials as there are requests without one, within the limits.
    pub(super) fn dial_more(&mut self, place: u32) {
        loop {
            let Some(host) = self.hosts.find(place) else { return };
            if host.undialed() == 0 || self.desk.is_closed() {
                return;
            }
            self.tell_spare(place, 1);
            let charge = self.try_dial(place);
            self.count_waiters_off(place);
            if charge == Charge::None {
                return;
            }
        }
    }

    fn try_dial(&mut self, place: u32) -> Charge {
        let Some(host) = self.hosts.find(place) else { return Charge::None };
        if !host.limits.dials.take_or_starve(self.core) {
            self.block(place, Wants::OfHost);
            return Charge::None;
        }
        let charge = self.charge(place);
        if charge == Charge::Unit {
            self.start_dial(place);
        } else if let Some(host) = self.hosts.find(place) {
            host.limits.dials.give(self.core, 1);
        }
        charge
    }

    fn start_dial(&mut self, place: u32) {
        let now = self.now;
        let Some(host) = self.hosts.find_mut(place) else { return };
        let id = self.dials.take();
        self.dialing.push_back(&mut host.dials, id.index);
        let (client, origin) = (host.client, Arc::clone(&host.origin));
        let config = &self.members[client as usize].shared.config;
        let Some(dial) = self.dials.find_mut(id) else { return };
        (dial.host, dial.client, dial.started, dial.spare_unit) = (place, client, now, true);
        dial.deadline = config.timeouts.resolve.map_or(Instant::NEVER, |resolve| now + resolve);
        if let Some(address) = origin.address.filter(|_| !config.resolves_addresses) {
            dial.addresses.push(address);
            self.begin_attempts(id);
        } else {
            self.watch_dial(id);
            self.desk.want_lookup(Lookup::Wanted { dial: id, client, origin });
        }
    }

    pub(super) fn handle_resolved(&mut self, id: Id, outcome: Result<Vec<SocketAddr>, Kind>) {
        let Some(dial) = self.dials.find_mut(id) else { return };
        match outcome {
            Ok(addresses) if addresses.is_empty() => self.dial_failed(id, no_address()),
            Ok(addresses) => {
                dial.addresses.extend_from_slice(&addresses);
                self.begin_attempts(id);
            }
            Err(kind) => self.dial_failed(id, kind),
        }
    }

    fn begin_attempts(&mut self, id: Id) {
        let now = self.now;
        let Some(dial) = self.dials.find_mut(id) else { return };
        dial.resolved = now;
        let timeouts = &self.members[dial.client as usize].shared.config.timeouts;
        dial.deadline = timeouts.connect.map_or(Instant::NEVER, |connect| now + connect);
        self.attempt(id);
    }

    pub(super) fn handle_connected(&mut self, index: u32) {
        let now = self.now;
        let connection = &mut self.connections[index as usize];
        let State::Dialing(id) = connection.state else { return };
        let place = connection.host;
        let config = &self.members[connection.client as usize].shared.config;
        connection.connected = now;
        connection.retires = config.max_lifetime.map_or(Instant::NEVER, |lifetime| {
            // Up to a tenth shorter, so that connections made together don't end together.
            let tenth = lifetime.as_nanos() as u64 / 10;
            let off = connection.id.wrapping_mul(0x9E37_79B9_7F4A_7C15) % tenth.max(1);
            now + lifetime.saturating_sub(Duration::from_nanos(off))
        });
        connection.receiving = Receiving::Nothing;
        connection.deadline = Instant::NEVER;
        // Between states: released below like one that has just carried a request.
        connection.state = State::Draining;
        self.holding.connecting -= 1;
        self.counters.connected += 1;
        self.mark_active(index);
        self.end_dial(id, Some(index));
        self.release(index);
        self.serve(place);
    }

    /// How far the dial has come that a request waits for, and the address that it tries; nothing where the limits keep it waiting.
    pub(super) fn dialing_for(&self, id: Id) -> Option<(Phase, Option<SocketAddr>)> {
        let waits =
            |exchange: &mut Exchange| (exchange.stage == Stage::Acquiring).then_some(exchange.host);
        let host = self.hosts.find(self.with(id, waits)??)?;
        let first = self.dials.id_of(host.dials.first()?)?;
        if host.undialed() > 0 && host.active > 0 {
            return None;
        }
        let dial = self.dials.find(first)?;
        let phase = if dial.is_resolving() { Phase::Resolve } else { Phase::Connect };
        Some((phase, self.awaited(dial)))
    }

    /// The address that has been tried for longest and has not answered, or else the one tried last.
    fn awaited(&self, dial: &Dial) -> Option<SocketAddr> {
        let first = dial.out.first().and_then(|index| self.connections[*index as usize].peer);
        first.or_else(|| dial.tried())
    }

    /// No address is left.
    pub(super) fn fail_dial(&mut self, id: Id) {
        match self.dials.find(id).and_then(Dial::most_telling) {
            Some((peer, kind)) => self.dial_failed_at(id, kind, Some(peer)),
            None => self.dial_failed(id, no_address()),
        }
    }

    /// Time is up for a dial as a whole.
    pub(super) fn dial_timed_out(&mut self, id: Id) {
        let Some(dial) = self.dials.find(id) else { return };
        let kind = if dial.is_resolving() { TimeoutKind::Resolve } else { TimeoutKind::Connect };
        let (kind, awaited) = (Kind::Timeout(kind), self.awaited(dial));
        if let Some(dial) = self.dials.find_mut(id) {
            let out = dial.out.iter().filter_map(|index| self.connections[*index as usize].peer);
            dial.failed.extend(out.map(|peer| (peer, kind.clone())));
        }
        self.dial_failed_at(id, kind, awaited);
    }

    fn dial_failed(&mut self, id: Id, kind: Kind) {
        self.dial_failed_at(id, kind, None);
    }

    /// A dial has failed: so has the request that waited longest; and where nothing else could help them, all that waited when it began.
    fn dial_failed_at(&mut self, id: Id, kind: Kind, peer: Option<SocketAddr>) {
        let Some(dial) = self.dials.find(id) else { return };
        let (place, started) = (dial.host, dial.started);
        let others = text_of_others(&dial.failed, peer);
        self.end_dial(id, None);
        self.note_unreachable(place, &kind);
        let hopeless = self
            .hosts
            .find(place)
            .is_some_and(|host| host.active == 0 && host.idle.is_empty() && host.dials.is_empty());
        let mut first = true;
        while let Some(waiter) = self.first_waiter(place) {
            let since = self.with(waiter, |exchange| exchange.stamps.queued);
            let waited = since.is_some_and(|since| since <= started);
            let fails = first || (hopeless && waited);
            if !fails {
                break;
            }
            first = false;
            self.fail_waiter(waiter, place, kind.clone(), (peer, &others));
        }
        // Their dials begin in the next turn: one that fails at once must not lead to the next within itself.
        self.block_if_waiting(place);
        self.forget_unused(place);
    }

    /// A name whose addresses all failed may have others by now.
    fn note_unreachable(&self, place: u32, kind: &Kind) {
        let Some(host) = self.hosts.find(place) else { return };
        if host.origin.address.is_none() && !matches!(kind, Kind::Resolve { .. }) {
            let (client, origin) = (host.client, Arc::clone(&host.origin));
            self.desk.want_lookup(Lookup::Unreachable { client, origin });
        }
    }

    fn first_waiter(&self, place: u32) -> Option<Id> {
        let host = self.hosts.find(place)?;
        let first = host.fresh.first().or_else(|| host.waiters.first())?;
        self.desk.exchanges.borrow().id_of(first)
    }

    fn fail_waiter(
        &mut self,
        id: Id,
        place: u32,
        kind: Kind,
        (peer, others): (Option<SocketAddr>, &Option<Arc<str>>),
    ) {
        let fresh = self.with(id, |exchange| exchange.needs_fresh) == Some(true);
        if let Some(host) = self.hosts.find_mut(place) {
            let list = if fresh { &mut host.fresh } else { &mut host.waiters };
            let left = self.waiting.remove(list, id.index);
            debug_assert!(left, "a waiter in no list");
        }
        self.leave_waiters(id);
        self.with(id, |exchange| exchange.carrier.peer = peer);
        self.fail_exchange(id, kind);
        self.with(id, |exchange| {
            if let Some(failed) = &mut exchange.failed {
                failed.others.clone_from(others);
            }
        });
    }

    /// Takes a dial off the books. Attempts other than `winner` are given up.
    fn end_dial(&mut self, id: Id, winner: Option<u32>) {
        let Some(dial) = self.dials.find_mut(id) else { return };
        let (place, spare) = (dial.host, std::mem::take(&mut dial.spare_unit));
        let out = std::mem::take(&mut dial.out);
        if dial.is_resolving() {
            self.desk.want_lookup(Lookup::GivenUp { dial: id });
        }
        if let Some(host) = self.hosts.find_mut(place) {
            self.dialing.remove(&mut host.dials, id.index);
            host.limits.dials.pass_on(self.core, None, self.now);
        }
        self.look_at(place);
        self.dials.free(id);
        if spare {
            self.discharge(place);
            self.tell_spare(place, 0);
        }
        for index in out.into_iter().filter(|index| Some(*index) != winner) {
            self.close_connection(index);
        }
    }

    /// Gives up a dial that nobody waits for.
    pub(super) fn cancel_dial(&mut self, id: Id) {
        self.end_dial(id, None);
    }

    /// Gives up the youngest dial of a host, if there are more of them than requests that wait.
    pub(super) fn cancel_surplus_dial(&mut self, place: u32) {
        let Some(host) = self.hosts.find(place) else { return };
        if host.dials.len() > host.waiters.len() + host.fresh.len()
            && let Some(id) = host.dials.last().and_then(|dial| self.dials.id_of(dial))
        {
            self.cancel_dial(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Errno;

    #[test]
    fn a_lack_of_a_route_hides_no_answer() {
        let check = |errnos: &[i32], expected: usize| {
            let failed = errnos.iter().zip(1..).map(|(errno, port)| {
                (SocketAddr::from(([10, 0, 0, 1], port)), Kind::Connect(Errno(*errno)))
            });
            let dial = Dial { failed: failed.collect(), ..Dial::default() };
            let (told, _) = dial.most_telling().unwrap();
            assert_eq!(usize::from(told.port()), expected, "{errnos:?}");
        };
        let (refused, no_route) = (libc::ECONNREFUSED, libc::ENETUNREACH);
        check(&[refused, no_route], 1);
        check(&[no_route, refused, libc::EAFNOSUPPORT], 2);
        check(&[refused, libc::EHOSTUNREACH], 2);
        check(&[no_route, no_route], 2);
        assert!(Dial::default().most_telling().is_none());
    }
}
