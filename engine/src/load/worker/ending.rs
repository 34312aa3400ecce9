//! How a run ends on one core: when nothing is due any more, what came after that, and what is given up. Reads no clock.

use super::{Source, Stage, Worker};
use crate::clock::Instant;
use crate::load::flights::Flight;
use crate::load::open::Telling;

impl Worker {
    /// Nothing is due from `end` on; what was before may still be sent.
    pub(in crate::load) fn end(&mut self, end: Instant) {
        self.stage = Stage::Draining;
        self.sending_end = self.sending_end.min(end);
        self.tallies.thought_ns = self.thought_ns(end).saturating_sub(self.thought_before_ns);
        if let Source::Open(open) = &mut self.source {
            open.cut(end);
        }
    }

    /// Whether nothing waits to be sent after the end.
    pub(in crate::load) fn is_drained(&self) -> bool {
        let waits = matches!(&self.source, Source::Open(open) if !open.is_over());
        self.flights.as_ref().is_none_or(|flights| flights.unsent_in_all() == 0) && !waits
    }

    /// Gives up what was due and not sent. Nobody saw its end: it is censored at its age, unless it is we who have nothing to send.
    pub(in crate::load) fn give_up(&mut self, now: Instant) {
        let (from, exhausted) = (self.measured_from, self.is_exhausted());
        let given = self.take_back_all();
        let Self { source: Source::Open(open), recorder, tallies, picker, mix, .. } = self else {
            return;
        };
        let oldest = now.nanos_since(from);
        let telling = if mix.names.len() > 1 { Telling::Each } else { Telling::Together };
        let mut unsent = |age: u64, count: u64, request: u32| {
            if age <= oldest && from <= now && !exhausted {
                let name = mix.requests.get(request as usize).map_or(0, |request| request.name);
                recorder.record_unsent(age, count, name);
            }
        };
        for flight in &given {
            tallies.shed += u64::from(flight.intended >= from);
            unsent(now.nanos_since(flight.intended), 1, flight.request);
        }
        open.give_up(picker, now, telling, unsent);
    }

    /// Takes back what lanes were given and have not sent.
    fn take_back_all(&mut self) -> Vec<Flight> {
        let Some(flights) = &mut self.flights else { return Vec::new() };
        let mut taken = Vec::new();
        for lane in 0..flights.lanes() {
            taken.extend(std::iter::from_fn(|| flights.take_back(lane)));
        }
        taken
    }

    /// When the last response of the measured time came, or when that began.
    pub(in crate::load) fn last_response(&self) -> Instant {
        self.last_response
    }

    /// The same; where there was none, when the last request ended.
    pub(in crate::load) fn last_end(&self) -> Instant {
        if self.responses > 0 { self.last_response } else { self.last_end }
    }

    /// When nothing is due or sent any more. Where so many requests are the end, that is known with the last of them.
    #[inline]
    pub(super) fn sending_end(&self) -> Instant {
        match &self.source {
            Source::Open(open) => {
                open.ran_out_at().map_or(self.sending_end, |last| last.min(self.sending_end))
            }
            _ => self.sending_end,
        }
    }
}
