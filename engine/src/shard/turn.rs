//! One turn of a shard: wait, reap, act on each completion, expire. Decides nothing of a connection's.

use std::io;
use std::time::Duration;

use super::connection::State;
use super::intake::{self, Intake, NEWS_AGE_MAX};
use super::{Failure, Handler, Shard};
use crate::clock::Instant;
use crate::driver::{Completion, Driver, Event, Op, Slot, Wait};
use crate::sys::cache;

/// How many completions before its turn a completion's memory is asked for.
const PREFETCH_AHEAD: usize = 2;

impl<D: Driver> Shard<D> {
    /// One turn: submit and wait for at most `max_block`, reap, expire, act. `clock` is read once, after the wait, and its reading is returned.
    ///
    /// # Errors
    /// Only when the driver is lost.
    #[inline]
    pub fn turn(
        &mut self,
        max_block: Duration,
        handler: &mut impl Handler,
        clock: &mut impl FnMut() -> Instant,
    ) -> io::Result<Instant> {
        self.turn_since(None, max_block, handler, clock)
    }

    /// [`Shard::turn`], which blocks until `max_block` after `since`, to the microsecond where the driver can.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn turn_since(
        &mut self,
        since: Option<Instant>,
        max_block: Duration,
        handler: &mut impl Handler,
        clock: &mut impl FnMut() -> Instant,
    ) -> io::Result<Instant> {
        self.wait(since, max_block)?;
        let now = clock();
        if now - self.now > NEWS_AGE_MAX {
            self.lateness.note();
            intake::catch_up(&mut self.driver)?;
        }
        self.now = now;
        self.backlog.flush(&mut self.driver);
        let mut intake = Intake::from(self.counters.bytes_received);
        let reaped_last = loop {
            let mut completions = std::mem::take(&mut self.completions);
            let count = self.driver.reap(&mut completions);
            let mut rest = completions.drain(..);
            while let Some(completion) = rest.next() {
                if let Some(ahead) = rest.as_slice().get(PREFETCH_AHEAD) {
                    self.prefetch(ahead);
                }
                self.handle_completion(completion, handler, now);
            }
            drop(rest);
            self.completions = completions;
            if !intake.goes_on(count, self.counters.bytes_received) {
                break count;
            }
        };
        if !self.held.is_empty() {
            self.release_held(handler, now);
        }
        if self.lateness.may_expire(reaped_last) {
            self.expire(handler, now);
        }
        self.note_turn(intake.completions(), now);
        Ok(now)
    }

    /// Has what a completion will touch brought into the cache: with a thousand connections none of it is there.
    #[inline]
    fn prefetch(&self, completion: &Completion) {
        if let Some(connection) = self.lanes.get(completion.slot.index as usize) {
            cache::prefetch(connection);
        }
        if let Event::Received(lent, _) = &completion.event {
            cache::prefetch(self.driver.bytes(lent));
        }
    }

    fn note_turn(&mut self, reaped: usize, now: Instant) {
        self.counters.turns += 1;
        self.counters.turns_with_completions += u64::from(reaped > 0);
        self.counters.completions += reaped as u64;
        let bytes = self.counters.bytes_received;
        self.settle.handle_turn(reaped as u32, self.in_flight, bytes, now);
    }

    #[inline]
    fn wait(&mut self, since: Option<Instant>, max_block: Duration) -> io::Result<()> {
        // The time since the last turn began is not taken off: a turn is short, and a timer that is late by one is in order.
        let timeout = (self.next_deadline() - self.now).min(max_block);
        let block = self.backlog.is_empty() && self.held.is_empty() && !timeout.is_zero();
        let (completions, settle) = self.settle.plan(self.in_flight);
        let completions = if block { completions } else { 0 };
        self.driver.wait(Wait { completions, settle, timeout, since })
    }

    fn next_deadline(&self) -> Instant {
        let backoff = self.backoff.peek().map_or(Instant::NEVER, |entry| entry.0.0);
        self.dialing.next_deadline().min(self.awaiting.next_deadline()).min(backoff)
    }

    fn expire(&mut self, handler: &mut impl Handler, now: Instant) {
        while let Some(request) = self.awaiting.expired(now) {
            // It, and those behind it on the connection, which can't be answered before it.
            self.fail(request / self.config.pipeline, Failure::Timeout, handler, now);
            debug_assert_ne!(
                self.awaiting.expired(now),
                Some(request),
                "a failure ends its request"
            );
        }
        while let Some(lane) = self.dialing.expired(now) {
            self.dial_failed(lane, Failure::ConnectTimeout, handler, now);
            debug_assert_ne!(self.dialing.expired(now), Some(lane), "a failure ends its dial");
        }
        while self.backoff.peek().is_some_and(|entry| entry.0.0 <= now) {
            let Some(std::cmp::Reverse((_, lane))) = self.backoff.pop() else { break };
            if self.lanes[lane as usize].state == State::BackingOff {
                self.lanes[lane as usize].state = State::Vacant;
                self.dial(lane, handler, now);
            }
        }
    }

    #[inline]
    fn handle_completion(
        &mut self,
        completion: Completion,
        handler: &mut impl Handler,
        now: Instant,
    ) {
        let Completion { slot, event } = completion;
        let lane = slot.index;
        let live = self.lanes.get(lane as usize).is_some_and(|connection| connection.slot == slot);
        if !live {
            // A late completion of a dead slot: only its buffer matters.
            if let Event::Received(lent, _) = event {
                self.driver.give_back(lent);
            }
            return;
        }
        match event {
            Event::Received(lent, armed) => self.handle_received(lane, lent, armed, handler, now),
            Event::Discarded { bytes, has_more } => {
                self.handle_discarded(lane, bytes, has_more, handler, now);
            }
            Event::ReceiveEnded(end) => self.handle_receive_ended(lane, end, handler, now),
            Event::Sent => self.handle_sent(lane, handler, now),
            Event::SendFailed { errno, .. } => self.handle_send_failed(lane, errno, handler, now),
            Event::Connected => self.handle_connected(lane, handler, now),
            Event::ConnectFailed(errno) => {
                self.dial_failed(lane, Failure::Connect(errno), handler, now);
            }
            Event::Closed => self.handle_closed(lane, handler, now),
            // A client listens to nobody.
            Event::Accepted(_) | Event::AcceptFailed(_) => {}
        }
    }

    /// Hands an operation to the driver, now or in a later turn.
    // Always: see [`Backlog::submit`](super::backlog::Backlog::submit).
    #[inline(always)]
    pub(super) fn submit(&mut self, slot: Slot, op: Op) {
        self.backlog.submit(&mut self.driver, slot, op);
    }
}
