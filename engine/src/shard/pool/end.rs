//! How connections and exchanges end, and what is tried again: once, on a fresh connection, if that can do no harm (RFC 9110 9.2.2, RFC 9112 9.3.1).

use super::Pool;
use super::connection::{Charge, State};
use super::exchange::{Exchange, Stage};
use super::slab::Id;
use crate::driver::{Driver, Op};
use crate::error::{Kind, Sent};
use crate::proto::h1;
use crate::shard::connection::{Receiving, Sending};

/// The most of a dropped body that is thrown away to keep its connection.
pub const DRAIN_BYTES_MAX: u64 = 64 << 10;
/// How long that may take.
pub const DRAIN_TIME_MAX: std::time::Duration = std::time::Duration::from_millis(100);

/// What an exchange has that its end gives back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    Permit,
}

impl<D: Driver> Pool<D> {
    /// The response is complete. Its connection goes back, if it can carry another.
    #[inline]
    pub(super) fn finish_response(&mut self, index: u32, end: h1::End) {
        let now = self.now;
        let connection = &mut self.connections[index as usize];
        let mut reusable = end.is_ok() && connection.sending == Sending::Free;
        if let State::Busy(id) = connection.state {
            let may_repeat = self.may_repeat(index);
            let sent = self.with(id, |exchange| {
                if may_repeat && exchange.is_stale_408() {
                    return None;
                }
                exchange.stamps.done = now;
                exchange.stage = Stage::Ended;
                exchange.phase_deadline = None;
                exchange.total_deadline = None;
                exchange.connection = None;
                let sent = exchange.body.is_out();
                exchange.wake();
                exchange.wake_maker();
                Some(sent)
            });
            if sent == Some(None) {
                return self.resend(index, id);
            }
            // The server has decided without reading all of the request (RFC 9112 9.5).
            reusable &= sent.flatten() == Some(true);
            self.counters.responses += 1;
        }
        let connection = &mut self.connections[index as usize];
        connection.served += 1;
        if let Some(host) = self.hosts.find_mut(connection.host)
            && host.is_http10 != connection.is_http10
        {
            host.is_http10 = connection.is_http10;
            let shared = &self.members[host.client as usize].shared;
            if host.is_http10 {
                shared.note_http10(&host.origin);
            } else {
                shared.forget_http10(&host.origin);
            }
        }
        if reusable {
            self.release_or_rest(index);
        } else {
            self.retire_active(index);
            self.close_connection(index);
        }
    }

    /// A 408 to a request on a reused connection was meant for its idleness: the request goes to a fresh one, whether or not all of the body is there, unless somebody has read the head. Tells whether it does.
    pub(super) fn resend_after_408(&mut self, index: u32) -> bool {
        let State::Busy(id) = self.connections[index as usize].state else { return false };
        let again = self.may_repeat(index)
            && self.with(id, |exchange| exchange.is_stale_408()) == Some(true);
        if again {
            self.resend(index, id);
        }
        again
    }

    /// Whether the server may have given the connection up before it got the present request, and that may be sent again.
    fn may_repeat(&self, index: u32) -> bool {
        let connection = &self.connections[index as usize];
        connection.may_be_stale()
            && self.members[connection.client as usize].shared.config.retry_stale
    }

    fn resend(&mut self, index: u32, id: Id) {
        self.with(id, Exchange::forget_response);
        self.fail_connection(index, Kind::Closed);
    }

    /// The connection broke with its request, which fails, or goes once to a fresh one.
    pub(super) fn fail_connection(&mut self, index: u32, kind: Kind) {
        let connection = &self.connections[index as usize];
        let (state, reused) = (connection.state, connection.may_be_stale());
        let place = connection.host;
        if matches!(state, State::Busy(_) | State::Draining) {
            self.retire_active(index);
        }
        self.close_connection(index);
        let State::Busy(id) = state else { return };
        let client = self.with(id, |exchange| exchange.client).unwrap_or_default();
        let stale = reused && self.members[client as usize].shared.config.retry_stale;
        let again = stale
            && matches!(kind, Kind::Closed | Kind::Io(_))
            && self.with(id, |exchange| {
                let harmless = exchange.progress == Sent::None || exchange.idempotent;
                exchange.got_bytes == 0
                    && harmless
                    && !(exchange.needs_fresh || exchange.is_last)
                    && exchange.body.is_replayable()
            }) == Some(true);
        if again { self.try_fresh(id, place) } else { self.fail_exchange(id, kind) }
    }

    /// Puts a request in front of those that wait for a fresh connection. It has waited before: the limit on waiters does not turn it away.
    fn try_fresh(&mut self, id: Id, place: u32) {
        self.counters.stale_retries += 1;
        let now = self.now;
        let mut exchanges = self.desk.exchanges.borrow_mut();
        let Some(exchange) = exchanges.find_mut(id) else { return };
        exchange.rewind();
        let shared = &self.members[exchange.client as usize].shared;
        exchange.phase_deadline = shared.config.timeouts.acquire.map(|acquire| now + acquire);
        drop(exchanges);
        if let Some(host) = self.hosts.find_mut(place) {
            self.waiting.push_front(&mut host.fresh, id.index);
            self.holding.waiting += 1;
        }
        self.tell_spare(place, 0);
        self.watch_exchange(id);
        self.serve(place);
    }

    /// Ends an exchange with a failure. It must be in no list and on no connection.
    pub(super) fn fail_exchange(&mut self, id: Id, kind: Kind) {
        let failed = self.with(id, |exchange| {
            let failed = exchange.stage != Stage::Ended;
            exchange.connection = None;
            exchange.fail(kind);
            failed
        });
        self.counters.failures += u64::from(failed == Some(true));
    }

    /// Ends an exchange wherever it is, with what it holds.
    pub(super) fn abort(&mut self, id: Id, kind: Kind) {
        if let Some(index) = self.carrier_of(id) {
            self.retire_active(index);
            self.close_connection(index);
        }
        // Nobody dials for what is turned away.
        let turned_away = matches!(kind, Kind::PoolFull { .. });
        if let Some((phase, peer)) = self.dialing_for(id).filter(|_| !turned_away) {
            self.with(id, |exchange| {
                (exchange.dialing, exchange.carrier.peer) = (Some(phase), peer);
            });
        }
        self.leave_lists(id);
        self.fail_exchange(id, kind);
    }

    /// Takes an exchange out of the queue or from among the waiters; a dial that nobody waits for any more ends.
    fn leave_lists(&mut self, id: Id) {
        let known = self.with(id, |it| (it.stage, it.client, it.host, it.admission));
        let Some((stage, client, place, admission)) = known else { return };
        if stage == Stage::Queued {
            let queue = self.members[client as usize].queue_of(admission);
            let left = self.waiting.remove(queue, id.index);
            self.holding.queued -= u32::from(left);
        }
        if stage == Stage::Acquiring && self.waiting.is_linked(id.index) {
            self.leave_host(id, place);
        }
    }

    fn leave_host(&mut self, id: Id, place: u32) {
        let fresh = self.with(id, |exchange| exchange.needs_fresh) == Some(true);
        let Some(host) = self.hosts.find_mut(place) else { return };
        let list = if fresh { &mut host.fresh } else { &mut host.waiters };
        self.waiting.remove(list, id.index);
        self.leave_waiters(id);
        self.cancel_surplus_dial(place);
        self.forget_unused(place);
    }

    /// The future is gone: everything comes back, and the connection stays if little of the response is left.
    pub(super) fn drop_exchange(&mut self, id: Id) {
        let known = self.with(id, |it| (it.stage, it.client, it.has_permit, it.host));
        let Some((stage, client, has_permit, place)) = known else { return };
        if stage == Stage::Opened {
            // Its head could not be encoded: it was never started.
            self.desk.exchanges.borrow_mut().free(id);
            return;
        }
        if stage != Stage::Ended {
            self.counters.cancelled += 1;
            self.leave_lists(id);
            if let Some(index) = self.carrier_of(id) {
                if stage == Stage::Reading { self.drain(index, id) } else { self.give_up(index) }
            }
        }
        self.desk.exchanges.borrow_mut().free(id);
        self.count_out(client, place, if has_permit { Held::Permit } else { Held::Nothing });
    }

    /// An exchange of this client and host is given back, with what it held.
    #[inline]
    pub(super) fn count_out(&mut self, client: u32, place: u32, held: Held) {
        self.holding.in_flight -= 1;
        self.member(client).exchanges -= 1;
        if held == Held::Permit {
            self.give_permit(client);
        }
        self.forget_unused(place);
        self.vacate(client);
    }

    fn give_up(&mut self, index: u32) {
        self.retire_active(index);
        self.close_connection(index);
    }

    /// Throws away the little that is left of a body, or else the connection.
    fn drain(&mut self, index: u32, id: Id) {
        let sent = self.with(id, |exchange| exchange.body.is_out()) == Some(true);
        let connection = &mut self.connections[index as usize];
        let left = connection.machine.discardable();
        let little = left <= DRAIN_BYTES_MAX && connection.machine.close_reason().is_none();
        if !little || !sent || connection.sending == Sending::Busy {
            self.give_up(index);
            return;
        }
        connection.state = State::Draining;
        connection.drain_bytes = DRAIN_BYTES_MAX;
        connection.deadline = self.now + DRAIN_TIME_MAX;
        connection.drains = true;
        let place = connection.host;
        if let Some(host) = self.hosts.find_mut(place) {
            host.draining += 1;
        }
        self.tell_spare(place, 0);
        self.watch_connection(index);
        self.receive_next(index);
    }

    /// An idle connection ended by itself, or spoke unasked; or one that rests.
    pub(super) fn evict(&mut self, index: u32) {
        self.counters.evicted += 1;
        if self.connections[index as usize].state == State::Resting {
            self.retire_active(index);
        }
        self.close_connection(index);
    }

    /// Closes a connection. Its exchange must have been told before or be told after.
    pub(super) fn close_connection(&mut self, index: u32) {
        let resets = self.may_be_unread(index);
        match self.connections[index as usize].state {
            State::Free | State::Closing => return,
            State::Idle => self.leave_idle(index),
            State::Dialing(_) => self.holding.connecting -= 1,
            State::Resting => self.end_rest(index),
            State::Busy(_) | State::Draining => {}
        }
        let connection = &mut self.connections[index as usize];
        connection.state = State::Closing;
        connection.receiving = Receiving::Nothing;
        connection.deadline = crate::clock::Instant::NEVER;
        if connection.charge == Charge::Unit {
            self.members[connection.client as usize].returning += 1;
            if let Some(host) = self.hosts.find_mut(connection.host) {
                host.returning += 1;
            }
        }
        self.holding.closing += 1;
        let (slot, place) = (connection.slot, connection.host);
        if resets {
            self.submit(slot, Op::ResetOnClose);
        }
        self.submit(slot, Op::Close);
        self.tell_spare(place, 0);
    }

    /// Whether a server that does not read may keep some of a body from it: an end would wait behind that, and the connection stay open there. What goes out in one
    /// send with the head is small enough to be there.
    fn may_be_unread(&self, index: u32) -> bool {
        let State::Busy(id) = self.connections[index as usize].state else { return false };
        let unread = |exchange: &mut Exchange| {
            exchange.sends > 1 && (exchange.stage != Stage::Ended || !exchange.body.is_out())
        };
        self.with(id, unread) == Some(true)
    }

    /// The socket is closed: its units come back, and with them somebody's turn.
    pub(super) fn handle_closed(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        debug_assert_eq!(connection.state, State::Closing);
        let (client, place, charge) = (connection.client, connection.host, connection.charge);
        let heirs = connection.heirs;
        let limits = self.members[client as usize].shared.config.limits;
        connection.renew(&limits);
        self.free.push(index);
        self.holding.closing -= 1;
        if let Some(host) = self.hosts.find_mut(place) {
            host.open -= 1;
        }
        if charge == Charge::Unit {
            self.pass_on(place, heirs);
            let member = &mut self.members[client as usize];
            member.returning -= 1;
            if let Some(host) = self.hosts.find_mut(place) {
                host.returning -= 1;
                host.tell_spare(member, self.core, 0);
            }
        }
        if self.members.iter().all(|member| member.blocked.is_empty()) {
            self.serve(place);
        } else {
            // Others have waited longer for the unit or the slot: this host's turn comes after theirs.
            self.block_if_waiting(place);
        }
        self.forget_unused(place);
    }
}
