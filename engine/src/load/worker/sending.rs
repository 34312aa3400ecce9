//! Which request goes out next, and on which lane.

use super::{Source, Stage, Worker};
use crate::clock::Instant;
use crate::load::flights::Flight;
use crate::load::worker::LATE_AFTER;
use crate::shard::Next;

impl Worker {
    /// Gives the next request that is due to a lane that is ready for it, and returns the lane, which is to be roused.
    #[inline]
    pub(in crate::load) fn next_lane(
        &mut self,
        now: Instant,
        is_ready: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        if self.is_exhausted() {
            return None;
        }
        match &mut self.source {
            Source::Lanes => None,
            Source::Users(_) => self.next_user(now),
            Source::Open(open) => {
                let (lane, flight) = open.dispatch(&self.picker, now, is_ready)?;
                self.give(lane, flight);
                Some(lane)
            }
        }
    }

    pub(super) fn next_user(&mut self, now: Instant) -> Option<u32> {
        let Source::Users(users) = &mut self.source else { return None };
        if self.stage != Stage::Sending {
            return None;
        }
        let user = users.next(now)?;
        let Some(index) = self.allowance.next_number() else {
            users.put_back(user);
            return None;
        };
        let (request, target) = self.picker.pick(index);
        let lane = users.lane(user, target);
        self.give(lane, Flight { index, intended: now, possible: now, request, resent: false });
        Some(lane)
    }

    pub(super) fn give(&mut self, lane: u32, flight: Flight) -> bool {
        self.flights.as_mut().is_some_and(|flights| flights.give(lane, flight))
    }

    /// A request for a lane that has room. `false` if there is none.
    pub(super) fn give_next(&mut self, lane: u32, now: Instant) -> bool {
        if self.is_exhausted() {
            return false;
        }
        match &mut self.source {
            Source::Users(_) => false,
            Source::Open(open) => match open.request_for(lane, &self.picker, now) {
                Some(flight) => self.give(lane, flight),
                None => false,
            },
            Source::Lanes => match self.next_flight(now) {
                Some(flight) => self.give(lane, flight),
                None => false,
            },
        }
    }

    /// The next request of a closed loop.
    pub(super) fn next_flight(&mut self, now: Instant) -> Option<Flight> {
        if self.stage != Stage::Sending {
            return None;
        }
        let index = self.allowance.next_number()?;
        let (request, _) = self.picker.pick(index);
        Some(Flight { index, intended: now, possible: now, request, resent: false })
    }

    pub(super) fn send_next(&mut self, lane: u32, now: Instant) -> Next {
        let Some(flight) = self.flights.as_ref().and_then(|flights| flights.first_unsent(lane))
        else {
            return Next::Nothing;
        };
        match self.templates.get(flight.request as usize).copied().flatten() {
            None => Next::Written,
            Some(place) => {
                self.note_sent(lane, &flight, now);
                Next::Template { place, count: 1 }
            }
        }
    }

    pub(super) fn note_sent(&mut self, lane: u32, flight: &Flight, now: Instant) {
        if let Some(flights) = &mut self.flights {
            flights.send(lane);
        }
        let counts = self.measures(flight.intended) && !flight.resent;
        if let (Source::Open(open), true) = (&self.source, counts) {
            self.recorder.record_lag(flight.intended, flight.possible, now);
            self.tallies.late += u64::from(now - flight.intended > LATE_AFTER);
            self.tallies.waited += u64::from(open.has_waited(flight));
        }
    }

    /// The next request that a lane would have sent.
    pub(super) fn take_unsent(&mut self, lane: u32, now: Instant) -> Option<Flight> {
        match &mut self.source {
            Source::Users(_) => None,
            Source::Open(open) => open.take_for(lane, &self.picker, now),
            Source::Lanes => self.next_flight(now),
        }
    }
}
