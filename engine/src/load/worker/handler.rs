//! The shard's questions, and what it tells.

use std::time::Duration;

use super::answers::Wants;
use super::{Source, Stage, Worker};
use crate::clock::Instant;
use crate::load::expect::Check;
use crate::load::fill::Exhausted;
use crate::load::flights::Flight;
use crate::load::mix::Content;
use crate::load::recorder::Sample;
use crate::proto::h1;
use crate::shard::{Failure, Handler, Next, Response};

impl Handler for Worker {
    #[inline]
    fn poll_requests(&mut self, lane: u32, room: u32, now: Instant) -> Next {
        if self.stage == Stage::Connecting {
            return Next::Nothing;
        }
        let Some(flights) = &self.flights else {
            let count = if self.stage == Stage::Sending { self.allowance.take(room) } else { 0 };
            return count.into();
        };
        if flights.unsent(lane) == 0 && !self.give_next(lane, now) {
            return Next::Nothing;
        }
        self.send_next(lane, now)
    }

    fn write_request(&mut self, lane: u32, now: Instant, into: &mut Vec<u8>) -> Option<h1::Sent> {
        let flight = self.flights.as_ref()?.first_unsent(lane)?;
        let Content::Filled(filled) = &self.mix.requests.get(flight.request as usize)?.content
        else {
            return None;
        };
        match self.filler.fill(filled, &self.mix.feeds, flight.index, into) {
            Ok(sent) => {
                self.note_sent(lane, &flight, now);
                Some(sent)
            }
            Err(Exhausted) => {
                if let Some(flight) = self.flights.as_mut().and_then(|it| it.take_back(lane)) {
                    self.shed(&flight);
                }
                None
            }
        }
    }

    fn wants_connection(&mut self, lane: u32) -> bool {
        let waits = self.flights.as_ref().is_some_and(|flights| flights.unsent(lane) > 0);
        waits
            || match &self.source {
                _ if self.stage == Stage::Connecting => true,
                _ if self.is_exhausted() => false,
                Source::Users(_) => false,
                Source::Open(open) => !open.is_over(),
                Source::Lanes => self.stage == Stage::Sending && !self.is_spent(),
            }
    }

    fn handle_connected(&mut self, _lane: u32, took: Duration) {
        self.recorder.record_connect(took.as_nanos() as u64);
    }

    fn handle_unused(&mut self, _lane: u32, failure: Failure) {
        self.recorder.record_unconnected(&failure);
    }

    fn handle_head(&mut self, lane: u32, head: &h1::Head<'_>) {
        if let Some((expect, check)) = self.check(lane) {
            check.handle_head(expect, head);
        }
    }

    fn handle_body(&mut self, lane: u32, piece: &[u8]) {
        if let Some((expect, check)) = self.check(lane) {
            check.handle_body(expect, piece);
        }
    }

    #[inline]
    fn handle_response(&mut self, lane: u32, response: Response, now: Instant) {
        if self.flights.is_some() {
            self.handle_booked(lane, response, now);
            return;
        }
        let Response { sent, first_byte, status } = response;
        let sample = Sample { name: 0, intended: sent, sent, first_byte, done: now };
        self.record(status, Wants::Any, sent, &sample);
    }

    fn handle_failure(&mut self, lane: u32, failure: Failure, sent: Option<Instant>, now: Instant) {
        let Some(sent) = sent else {
            self.handle_dial_failure(lane, failure, now);
            return;
        };
        let unbooked = Flight { intended: sent, ..Flight::default() };
        let booked = self.flights.as_mut().and_then(|flights| flights.end(lane));
        let flight = booked.unwrap_or(unbooked);
        if let Some(check) = self.checks.get_mut(lane as usize) {
            *check = Check::default();
        }
        let sample = self.sample(&flight, sent, now, now);
        self.record_failure(&failure, sample.name, flight.intended, Some(&sample), now);
        let think = self.mix.requests.get(flight.request as usize).map(|request| request.think);
        self.free(lane, think.unwrap_or_default(), now);
    }

    fn handle_unsent(&mut self, lane: u32, sent: Instant) {
        let flight = self.flights.as_mut().and_then(|flights| flights.end(lane));
        let due = flight.map_or(sent, |flight| flight.intended);
        // What the warm-up sent is nobody's loss, and no part of the budget.
        if !self.measures(due) && flight.is_none() {
            return;
        }
        self.tallies.resent += u64::from(self.measures(due));
        match flight {
            Some(flight) => {
                self.give(lane, Flight { resent: true, ..flight });
            }
            None => self.allowance.give_back(),
        }
    }
}
