//! What one core sends and counts: the load's side of a shard. Picks requests, stamps them, judges their responses. Sends nothing itself, reads no clock.
//!
//! | source of requests | who asks for the next one |
//! |---|---|
//! | closed loop, one server | the lane, when it has room |
//! | closed loop, several servers or think times | [`Worker::next_lane`], when a user has nothing to do |
//! | open loop | [`Worker::next_lane`], when a request is due and a lane idle; the lane, when it has room and a request waits |
//!
//! One request that is always the same and that nobody looks at needs no books: its lane and its sending time say all.

use std::sync::Arc;
use std::time::Duration;

use super::budget::{Allowance, Budget, Budgets};
use super::control::CoreGauge;
use super::expect::Check;
use super::fill::{Exhausted, Filler};
use super::flights::{Flight, Flights};
use super::mix::{Content, Mix, Picker, Think};
use super::open::Open;
use super::plan::Plan;
use super::recorder::{Recorder, Sample, Stamps};
use super::schedule::{Arrival, Schedule};
use super::timeline::{Timeline, Totals};
use super::users::Users;
use crate::clock::Instant;
use crate::proto::h1;
use crate::random::Random;
use crate::shard::{Failure, Handler, Next, Response};

/// A request sent this long after it was due is late.
pub const LATE_AFTER: Duration = Duration::from_millis(1);

/// Where requests come from.
#[derive(Debug)]
enum Source {
    /// Any lane that has room.
    Lanes,
    /// Users, each with a lane to every server.
    Users(Users),
    /// A schedule.
    Open(Open),
}

/// What a core does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Opens them and sends nothing.
    Connecting,
    /// Sends.
    Sending,
    /// Sends what was due before the end, and nothing else.
    Draining,
}

/// What one core counted in the measured time, besides what its recorder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tallies {
    /// Requests that were due, in an open loop.
    pub(super) offered: u64,
    /// Requests sent once more.
    pub(super) resent: u64,
    /// Requests sent too long after they were due.
    pub(super) late: u64,
    /// Requests that were due while all connections were busy.
    pub(super) waited: u64,
    /// Requests that were due and given up unsent.
    pub(super) shed: u64,
    /// Requests that failed without being sent.
    pub(super) unsent_failures: u64,
    /// Dials that failed and ended no request.
    pub(super) connect_failures: u64,
}

/// One core's load.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) recorder: Recorder,
    /// What was sent before measuring began.
    pub(super) warm_up: Recorder,
    pub(super) timeline: Timeline,
    /// When the last request of the measured time ended.
    pub(super) last_end: Instant,
    tallies: Tallies,
    /// When measuring began; requests due before it are not recorded with the rest.
    measured_from: Instant,
    mix: Arc<Mix>,
    /// By request of the mix: its place among the shard's templates, if it is one.
    templates: Vec<Option<u32>>,
    picker: Picker,
    filler: Filler,
    /// Where think times come from.
    random: Random,
    source: Source,
    stage: Stage,
    /// `None` where no books are needed.
    flights: Option<Flights>,
    /// By lane, if any response is looked at.
    checks: Vec<Check>,
    allowance: Allowance,
    /// The budget that begins when measuring does.
    reserved: Option<Arc<Budget>>,
    errors: u64,
    responses: u64,
}

impl Worker {
    /// The worker of core `place` of a plan, with its lanes, that connects and sends nothing yet.
    pub(super) fn new(plan: &Plan, place: usize, lanes: u32, budgets: &Budgets) -> Self {
        let mix = Arc::clone(&plan.mix);
        let closed = plan.arrival == Arrival::Closed;
        let books = !closed || mix.only().is_none();
        let stamps = if closed { Stamps::Sent } else { Stamps::Intended };
        let looks = if mix.expects() { lanes } else { 0 };
        Self {
            recorder: Recorder::new(stamps, mix.names.len()),
            warm_up: Recorder::new(stamps, 1),
            timeline: Timeline::default(),
            last_end: Instant::default(),
            tallies: Tallies::default(),
            measured_from: Instant::NEVER,
            templates: mix.template_places(),
            picker: Picker::new(&mix),
            filler: Filler::new(mix.seed, place),
            random: Random::new(mix.seed ^ place as u64),
            source: source(plan, lanes),
            stage: Stage::Connecting,
            flights: books.then(|| Flights::new(lanes, plan.pipeline)),
            checks: (0..looks).map(|_| Check::default()).collect(),
            allowance: if books {
                Allowance::of(Arc::clone(&budgets.first))
            } else {
                Allowance::Unlimited
            },
            reserved: budgets.measured.clone(),
            errors: 0,
            responses: 0,
            mix,
        }
    }

    /// Begins to send, by `schedule` in an open loop.
    pub(super) fn begin(&mut self, schedule: Option<Schedule>) {
        self.stage = Stage::Sending;
        if let (Source::Open(open), Some(schedule)) = (&mut self.source, schedule) {
            open.restart(schedule);
        }
    }

    /// Begins to measure: what is due from `from` on counts. An open loop goes on with `schedule`.
    pub(super) fn measure(&mut self, from: Instant, schedule: Option<Schedule>) {
        self.measured_from = from;
        self.last_end = from;
        self.timeline.begin(from);
        self.tallies =
            Tallies { connect_failures: self.tallies.connect_failures, ..Tallies::default() };
        if let Some(budget) = self.reserved.take() {
            self.allowance = Allowance::of(budget);
        }
        self.recall(from);
        self.begin(schedule);
    }

    /// Takes back what users wanted to send and could not yet: it was not taken from the budget that begins now.
    fn recall(&mut self, now: Instant) {
        let (Source::Users(users), Some(flights)) = (&mut self.source, &mut self.flights) else {
            return;
        };
        for lane in 0..flights.lanes() {
            while flights.take_back(lane).is_some() {
                users.free(lane, now, now);
            }
        }
    }

    /// Whether a request found no row in a feed that gives each row once: the run is over, on all cores.
    #[inline]
    pub(super) fn is_exhausted(&self) -> bool {
        self.mix.feeds.iter().any(|feed| feed.is_exhausted())
    }

    /// Whether everything that may be sent was sent.
    pub(super) fn is_spent(&self) -> bool {
        let unsent = self.flights.as_ref().map_or(0, Flights::unsent_in_all);
        let spent = match &self.source {
            Source::Open(open) => open.is_over(),
            _ => self.allowance.is_spent(),
        };
        (spent && unsent == 0) || self.is_exhausted()
    }

    /// Whether requests come due by the clock, or by users.
    #[inline]
    pub(super) fn is_paced(&self) -> bool {
        !matches!(self.source, Source::Lanes) && self.stage != Stage::Connecting
    }

    /// When a request is due next that no completion brings about.
    #[inline]
    pub(super) fn next_due(&self) -> Instant {
        match &self.source {
            Source::Lanes => Instant::NEVER,
            Source::Users(users) => users.next_due(),
            Source::Open(open) => open.next_due(),
        }
    }

    /// Gives the next request that is due to a lane that is ready for it, and returns the lane, which is to be roused.
    #[inline]
    pub(super) fn next_lane(
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

    fn next_user(&mut self, now: Instant) -> Option<u32> {
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
        self.give(lane, Flight { index, intended: now, possible: now, request });
        Some(lane)
    }

    fn give(&mut self, lane: u32, flight: Flight) -> bool {
        self.flights.as_mut().is_some_and(|flights| flights.give(lane, flight))
    }

    /// A request for a lane that has room. `false` if there is none.
    fn give_next(&mut self, lane: u32, now: Instant) -> bool {
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
    fn next_flight(&mut self, now: Instant) -> Option<Flight> {
        if self.stage != Stage::Sending {
            return None;
        }
        let index = self.allowance.next_number()?;
        let (request, _) = self.picker.pick(index);
        Some(Flight { index, intended: now, possible: now, request })
    }

    fn send_next(&mut self, lane: u32, now: Instant) -> Next {
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

    fn note_sent(&mut self, lane: u32, flight: &Flight, now: Instant) {
        if let Some(flights) = &mut self.flights {
            flights.send(lane);
        }
        if matches!(self.source, Source::Open(_)) && self.measures(flight.intended) {
            self.recorder.record_lag(flight.intended, flight.possible, now);
            self.tallies.late += u64::from(now - flight.intended > LATE_AFTER);
            self.tallies.waited += u64::from(flight.possible > flight.intended);
        }
    }

    /// Nothing is due from `end` on; what was before may still be sent.
    pub(super) fn end(&mut self, end: Instant) {
        self.stage = Stage::Draining;
        if let Source::Open(open) = &mut self.source {
            open.cut(end);
        }
    }

    /// Whether nothing waits to be sent after the end.
    pub(super) fn is_drained(&self) -> bool {
        let waits = matches!(&self.source, Source::Open(open) if !open.is_over());
        self.flights.as_ref().is_none_or(|flights| flights.unsent_in_all() == 0) && !waits
    }

    /// Gives up what was due and not sent.
    pub(super) fn give_up(&mut self) {
        if let Source::Open(open) = &mut self.source {
            open.give_up();
        }
        let lanes = self.flights.as_ref().map_or(0, Flights::lanes);
        for lane in 0..lanes {
            while let Some(flight) = self.flights.as_mut().and_then(|it| it.take_back(lane)) {
                self.shed(&flight);
            }
        }
    }

    /// A request that was given to a lane is not sent after all. A closed loop has promised none.
    fn shed(&mut self, flight: &Flight) {
        let promised = matches!(self.source, Source::Open(_)) && self.measures(flight.intended);
        self.tallies.shed += u64::from(promised);
    }

    /// What was counted.
    pub(super) fn tallies(&self) -> Tallies {
        let mut tallies = self.tallies;
        if let Source::Open(open) = &self.source {
            tallies.offered = open.offered;
            tallies.shed += open.shed;
        }
        tallies
    }

    /// What the time line shows.
    pub(super) fn totals(&self, bytes: u64) -> Totals {
        let (requests, errors) = (self.responses, self.errors);
        let offered = match &self.source {
            Source::Open(open) => open.offered,
            _ => requests + errors,
        };
        Totals { offered, requests, errors, bytes }
    }

    /// Shows the watchers how far this core is.
    #[inline]
    pub(super) fn publish(
        &self,
        gauge: &CoreGauge,
        totals: &Totals,
        in_flight: u32,
        connected: u64,
    ) {
        gauge.set_totals(totals, u64::from(in_flight), connected);
        if let Source::Open(open) = &self.source {
            gauge.set_lost(self.tallies.late, self.tallies.shed + open.shed);
        }
    }

    /// When measuring began.
    pub(super) fn measured_from(&self) -> Instant {
        self.measured_from
    }

    /// Whether a request due at `intended` counts.
    #[inline]
    fn measures(&self, intended: Instant) -> bool {
        intended >= self.measured_from
    }

    /// A lane's user has what it wanted, or never will.
    fn free(&mut self, lane: u32, think: Think, now: Instant) {
        if let Source::Users(users) = &mut self.source {
            let wait =
                self.random.between(think.min.as_nanos() as u64, think.max.as_nanos() as u64);
            users.free(lane, now, now + Duration::from_nanos(wait));
        }
    }

    /// The stamps of a request that ended at `done`.
    fn sample(&self, flight: &Flight, sent: Instant, first_byte: Instant, done: Instant) -> Sample {
        let intended = if matches!(self.source, Source::Open(_)) { flight.intended } else { sent };
        let name = self.mix.requests.get(flight.request as usize).map_or(0, |request| request.name);
        Sample { name, intended, sent, first_byte, done }
    }

    /// A response to a request with books.
    fn handle_booked(&mut self, lane: u32, response: Response, now: Instant) {
        let Some(flight) = self.flights.as_mut().and_then(|flights| flights.end(lane)) else {
            return;
        };
        let sample = self.sample(&flight, response.sent, response.first_byte, now);
        let Some(request) = self.mix.requests.get(flight.request as usize) else { return };
        let think = request.think;
        let judged = match (&request.expect, self.checks.get_mut(lane as usize)) {
            (Some(expect), Some(check)) => check.end(expect, response.status),
            _ => Ok(()),
        };
        match judged {
            Ok(()) => self.record(response.status, flight.intended, &sample),
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
    fn record(&mut self, status: u16, due: Instant, sample: &Sample) {
        if self.measures(due) {
            self.responses += 1;
            self.last_end = sample.done;
            self.recorder.record(status, sample);
        } else {
            self.warm_up.record(status, sample);
        }
    }

    fn record_failure(
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
    fn handle_dial_failure(&mut self, lane: u32, failure: Failure, now: Instant) {
        let flight = match self.flights.as_mut().and_then(|flights| flights.take_back(lane)) {
            None if self.stage == Stage::Sending => self.take_unsent(lane, now),
            flight => flight,
        };
        let Some(flight) = flight else {
            self.tallies.connect_failures += 1;
            return;
        };
        let request = self.mix.requests.get(flight.request as usize);
        let (name, think) = request.map_or((0, Think::default()), |it| (it.name, it.think));
        self.record_failure(&failure, name, flight.intended, None, now);
        self.free(lane, think, now);
    }

    /// The next request that a lane would have sent.
    fn take_unsent(&mut self, lane: u32, now: Instant) -> Option<Flight> {
        match &mut self.source {
            Source::Users(_) => None,
            Source::Open(open) => open.take_for(lane, &self.picker, now),
            Source::Lanes => self.next_flight(now),
        }
    }

    /// What the response that a lane is receiving must be, and what was seen of it.
    fn check(&mut self, lane: u32) -> Option<(&super::expect::Expect, &mut Check)> {
        let flight = self.flights.as_ref()?.first_sent(lane)?;
        let expect = self.mix.requests.get(flight.request as usize)?.expect.as_deref()?;
        Some((expect, self.checks.get_mut(lane as usize)?))
    }
}

/// Where the requests of a plan come from.
fn source(plan: &Plan, lanes: u32) -> Source {
    let mix = &plan.mix;
    let thinks = mix.requests.iter().any(|request| request.think != Think::default());
    match plan.arrival {
        Arrival::Closed if thinks || mix.targets.len() > 1 => {
            Source::Users(Users::new(lanes, mix.targets.len() as u32))
        }
        Arrival::Closed => Source::Lanes,
        _ => Source::Open(Open::new(mix.targets.len(), lanes, plan.pacing.shed_after)),
    }
}

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
        self.record(status, sent, &Sample { name: 0, intended: sent, sent, first_byte, done: now });
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
                self.give(lane, flight);
            }
            None => self.allowance.give_back(),
        }
    }
}
