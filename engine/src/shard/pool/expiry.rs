//! What time ends: requests in any stage, dials, idle connections, drains, sleeps.
//!
//! Timers are moved only when they would be late. A request that sets a deadline behind the one its place is watched for anyway costs nothing; the timer that
//! fires early finds the present deadline and is set to it. So in steady state a request costs no timer operation at all.

use std::cell::RefCell;

use super::Pool;
use super::connection::State;
use super::desk::{CONNECTION_TIMER, DIAL_TIMER, Desk, EXCHANGE_TIMER, SLEEP_TIMER};
use super::exchange::{Exchange, Stage};
use super::slab::Id;
use crate::clock::Instant;
use crate::driver::Driver;
use crate::error::{Kind, TimeoutKind};
use crate::shard::wheel::{TimerId, Wheel};
use crate::sync::wake_quietly;

/// A timer that is only moved when it would be late: most deadlines are met, and setting one costs nothing then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timer {
    pub(super) id: TimerId,
    pub(super) due: Instant,
}

impl Default for Timer {
    fn default() -> Self {
        Self { id: TimerId::NONE, due: Instant::NEVER }
    }
}

/// Sees to it that `timer` fires no later than at `deadline`.
#[inline]
fn watch(wheel: &RefCell<Wheel>, timer: &mut Timer, key: u64, deadline: Instant) {
    if deadline < timer.due {
        let mut wheel = wheel.borrow_mut();
        wheel.stop(timer.id);
        *timer = Timer { id: wheel.start(key, deadline), due: deadline };
    }
}

/// [`Pool::watch_exchange`] for who has the exchange at hand.
#[inline]
pub(super) fn watch_deadlines(desk: &Desk, id: Id, exchange: &mut Exchange) {
    let deadline = exchange.deadline();
    watch(&desk.wheel, &mut exchange.timer, EXCHANGE_TIMER | u64::from(id.index), deadline);
}

impl<D: Driver> Pool<D> {
    /// Watches an exchange's deadlines.
    #[inline]
    pub(super) fn watch_exchange(&self, id: Id) {
        self.with(id, |exchange| watch_deadlines(&self.desk, id, exchange));
    }

    /// Watches a connection's deadline.
    #[inline]
    pub(super) fn watch_connection(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        let key = CONNECTION_TIMER | u64::from(index);
        watch(&self.desk.wheel, &mut connection.timer, key, connection.deadline);
    }

    /// Watches a dial's deadlines.
    pub(super) fn watch_dial(&mut self, id: Id) {
        if let Some(dial) = self.dials.find_mut(id) {
            let due = dial.due();
            watch(&self.desk.wheel, &mut dial.timer, DIAL_TIMER | u64::from(id.index), due);
        }
    }

    /// Ends what is past its deadline.
    #[inline]
    pub(super) fn expire(&mut self) {
        loop {
            let expired = self.desk.wheel.borrow_mut().expired(self.now);
            let Some(key) = expired else { return };
            let index = key as u32;
            match key & !u64::from(u32::MAX) {
                EXCHANGE_TIMER => self.expire_exchange(index),
                CONNECTION_TIMER => self.expire_connection(index),
                DIAL_TIMER => self.expire_dial(index),
                SLEEP_TIMER => self.expire_sleep(index),
                _ => debug_assert!(false, "a timer that nobody set"),
            }
        }
    }

    fn expire_exchange(&mut self, index: u32) {
        let mut exchanges = self.desk.exchanges.borrow_mut();
        if let Some(exchange) = exchanges.place_mut(index) {
            exchange.timer = Timer::default();
        }
        let Some(id) = exchanges.id_of(index) else { return };
        let now = self.now;
        let known = exchanges.find_mut(id).map(|exchange| {
            (exchange.stage, exchange.deadline() <= now, exchange.timeout_kind(now))
        });
        drop(exchanges);
        match known {
            Some((Stage::Expecting, true, kind)) if kind != TimeoutKind::Total => {
                // Silence is consent (RFC 9110 10.1.1).
                if let Some(connection) = self.carrier_of(id) {
                    self.go_on_sending(connection, id);
                }
            }
            Some((Stage::Sending, true, TimeoutKind::Send)) if !self.has_stalled(id) => {
                self.watch_exchange(id);
            }
            Some((stage, true, kind)) if stage != Stage::Ended => {
                self.abort(id, Kind::Timeout(kind));
            }
            Some(_) => self.watch_exchange(id),
            None => {}
        }
    }

    fn expire_connection(&mut self, index: u32) {
        let now = self.now;
        let connection = &mut self.connections[index as usize];
        connection.timer = Timer::default();
        if connection.deadline > now {
            self.watch_connection(index);
            return;
        }
        match connection.state {
            State::Idle => {
                if !self.keep_idle(index) {
                    self.counters.reaped += 1;
                    self.close_connection(index);
                }
            }
            State::Dialing(_) => {
                self.attempt_failed(index, Kind::Timeout(TimeoutKind::Connect));
            }
            State::Draining => {
                self.retire_active(index);
                self.close_connection(index);
            }
            State::Free | State::Busy(_) | State::Resting | State::Closing => {}
        }
    }

    fn expire_dial(&mut self, index: u32) {
        if let Some(dial) = self.dials.place_mut(index) {
            dial.timer = Timer::default();
        }
        let Some(id) = self.dials.id_of(index) else { return };
        let now = self.now;
        let Some(dial) = self.dials.find(id) else { return };
        if dial.deadline <= now {
            self.dial_timed_out(id);
        } else if dial.due() <= now {
            self.attempt(id);
            self.watch_dial(id);
        } else {
            self.watch_dial(id);
        }
    }

    fn expire_sleep(&mut self, index: u32) {
        let mut sleepers = self.desk.sleepers.borrow_mut();
        let id = sleepers.id_of(index);
        let waker = id.and_then(|id| sleepers.find_mut(id)?.end());
        // With the last reference to a task its sleeps go, which look here.
        drop(sleepers);
        waker.into_iter().for_each(wake_quietly);
    }
}
