//! What became of a request: judged, recorded, and its user set free.

use std::time::Duration;

use super::{Source, Stage, Worker};
use crate::clock::Instant;
use crate::load::expect::{Check, Expect};
use crate::load::flights::Flight;
use crate::load::mix::Think;
use crate::load::recorder::Sample;
use crate::shard::{Failure, Response};

/// What the request of a response says of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// Nothing: what it means is told by its class.
    Any,
    /// That it be the one which it is.
    ThisStatus,
}

impl Worker {
    /// A lane's user has what it wanted, or never will.
    pub(super) fn free(&mut self, lane: u32, think: Think, now: Instant) {
        if let Source::Users(users) = &mut self.source {
            let wait =
                self.random.between(think.min.as_nanos() as u64, think.max.as_nanos() as u64);
            users.free(lane, now, now + Duration::from_nanos(wait));
        }
    }

    /// The stamps of a request that ended at `done`.
    pub(super) fn sample(
        &self,
        flight: &Flight,
        sent: Instant,
        first_byte: Instant,
        done: Instant,
    ) -> Sample {
        let intended = if matches!(self.source, Source::Open(_)) { flight.intended } else { sent };
        let name = self.mix.requests.get(flight.request as usize).map_or(0, |request| request.name);
        Sample { name, intended, sent, first_byte, done }
    }

    /// A response to a request with books.
    pub(super) fn handle_booked(&mut self, lane: u32, response: Response, now: Instant) {
        let Some(flight) = self.flights.as_mut().and_then(|flights| flights.end(lane)) else {
            return;
        };
        let sample = self.sample(&flight, response.sent, response.first_byte, now);
        let Some(request) = self.mix.requests.get(flight.request as usize) else { return };
        let think = request.think;
        let wants = match &request.expect {
            Some(expect) if !expect.statuses.is_empty() => Wants::ThisStatus,
            _ => Wants::Any,
        };
        let judged = match (&request.expect, self.checks.get_mut(lane as usize)) {
            (Some(expect), Some(check)) => check.end(expect, response.status),
            _ => Ok(()),
        };
        match judged {
            Ok(()) => self.record(response.status, wants, flight.intended, &sample),
            Err(unexpected) if self.measures(flight.intended) => {
                self.errors += 1;
                self.last_end = now;
                self.recorder.record_unexpected(unexpected.what, || unexpected.example, &sample);
            }
            Err(unexpected) => {
                self.warm_up.record_unexpected(unexpected.what, || unexpected.example, &sample);
            }
        }
        self.free(lane, think, now);
    }

    /// Records a response to a request that was due, or in a closed loop given to its lane, at `due`.
    #[inline]
    pub(super) fn record(&mut self, status: u16, wants: Wants, due: Instant, sample: &Sample) {
        if !self.measures(due) {
            self.warm_up.record(status, sample);
            return;
        }
        self.responses += 1;
        self.last_response = sample.done;
        let sending_end = self.sending_end();
        if sample.done > sending_end {
            self.after.record(sample.done.nanos_since(sending_end));
        }
        match wants {
            Wants::Any => self.recorder.record(status, sample),
            Wants::ThisStatus => self.recorder.record_expected(status, sample),
        }
    }

    pub(super) fn record_failure(
        &mut self,
        failure: &Failure,
        name: u32,
        due: Instant,
        sample: Option<&Sample>,
        now: Instant,
    ) {
        if !self.measures(due) {
            self.warm_up.record_failure(failure, name, sample);
            return;
        }
        self.recorder.record_failure(failure, name, sample);
        if *failure != Failure::Cancelled {
            self.errors += 1;
            self.last_end = now;
            self.tallies.unsent_failures += u64::from(sample.is_none());
        }
    }

    /// A dial failed: it takes the request with it that was to use the connection, if there is one.
    pub(super) fn handle_dial_failure(&mut self, lane: u32, failure: Failure, now: Instant) {
        let flight = match self.flights.as_mut().and_then(|flights| flights.take_back(lane)) {
            None if self.stage == Stage::Sending => self.take_unsent(lane, now),
            flight => flight,
        };
        let Some(flight) = flight else {
            self.recorder.record_unconnected(&failure);
            return;
        };
        let request = self.mix.requests.get(flight.request as usize);
        let (name, think) = request.map_or((0, Think::default()), |it| (it.name, it.think));
        self.record_failure(&failure, name, flight.intended, None, now);
        if matches!(self.source, Source::Open(_)) && self.measures(flight.intended) {
            self.recorder.record_unmade(now.nanos_since(flight.intended));
        }
        self.free(lane, think, now);
    }

    /// What the response that a lane is receiving must be, and what was seen of it.
    pub(super) fn check(&mut self, lane: u32) -> Option<(&Expect, &mut Check)> {
        let flight = self.flights.as_ref()?.first_sent(lane)?;
        let expect = self.mix.requests.get(flight.request as usize)?.expect.as_deref()?;
        Some((expect, self.checks.get_mut(lane as usize)?))
    }
}
