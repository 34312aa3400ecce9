//! What one core sends and counts: the load's side of a shard. Picks requests, stamps them, judges their responses. Sends nothing itself, reads no clock.
//!
//! | source of requests | who asks for the next one |
//! |---|---|
//! | closed loop, one server | the lane, when it has room |
//! | closed loop, several servers or think times | [`Worker::next_lane`], when a user has nothing to do |
//! | open loop | [`Worker::next_lane`], when a request is due and a lane idle; the lane, when it has room and a request waits |
//!
//! One request that is always the same and that nobody looks at needs no books: its lane and its sending time say all.

mod answers;
mod ending;
mod handler;
mod sending;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::load::budget::{Allowance, Budget, Budgets};
use crate::load::control::CoreGauge;
use crate::load::expect::Check;
use crate::load::fill::Filler;
use crate::load::flights::{Flight, Flights};
use crate::load::histogram::Histogram;
use crate::load::mix::{Mix, Picker, Think};
use crate::load::open::Open;
use crate::load::plan::Plan;
use crate::load::recorder::{Recorder, Stamps};
use crate::load::schedule::{Arrival, Schedule};
use crate::load::timeline::{Timeline, Totals};
use crate::load::users::Users;
use crate::random::Random;

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
    Open(Box<Open>),
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
pub(in crate::load) struct Tallies {
    /// Requests that were due, in an open loop.
    pub(in crate::load) offered: u64,
    /// Requests sent once more.
    pub(in crate::load) resent: u64,
    /// Requests sent too long after they were due.
    pub(in crate::load) late: u64,
    /// Requests that were due while all connections were busy.
    pub(in crate::load) waited: u64,
    /// Requests that were due and given up unsent.
    pub(in crate::load) shed: u64,
    /// Requests that failed without being sent.
    pub(in crate::load) unsent_failures: u64,
    /// Time that users spent thinking, summed over them, in nanoseconds.
    pub(in crate::load) thought_ns: u64,
}

/// One core's load.
#[derive(Debug)]
pub(in crate::load) struct Worker {
    pub(in crate::load) recorder: Recorder,
    /// What was sent before measuring began.
    pub(in crate::load) warm_up: Recorder,
    /// Requests that were due before measuring began and were given up.
    pub(in crate::load) warm_up_shed: u64,
    pub(in crate::load) timeline: Timeline,
    /// When the last request of the measured time ended, by whatever.
    last_end: Instant,
    /// When the last response to one came.
    last_response: Instant,
    /// When nothing is due or sent any more, as far as that is known.
    sending_end: Instant,
    /// How long after that responses came.
    pub(in crate::load) after: Histogram,
    tallies: Tallies,
    /// What users had thought when measuring began, in nanoseconds.
    thought_before_ns: u64,
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
    pub(in crate::load) fn new(plan: &Plan, place: usize, lanes: u32, budgets: &Budgets) -> Self {
        let mix = Arc::clone(&plan.mix);
        let closed = plan.arrival == Arrival::Closed;
        let books = !closed || mix.only().is_none();
        let stamps = if closed { Stamps::Sent } else { Stamps::Intended };
        let looks = if mix.expects() { lanes } else { 0 };
        Self {
            recorder: Recorder::with_names(stamps, mix.names_told()),
            warm_up: Recorder::new(stamps, 1),
            warm_up_shed: 0,
            timeline: Timeline::default(),
            last_end: Instant::default(),
            last_response: Instant::default(),
            sending_end: Instant::NEVER,
            after: Histogram::new(),
            tallies: Tallies::default(),
            thought_before_ns: 0,
            measured_from: Instant::NEVER,
            templates: mix.template_places(),
            picker: Picker::new(&mix),
            filler: Filler::new(mix.seed),
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
    pub(in crate::load) fn begin(&mut self, schedule: Option<Schedule>) {
        self.stage = Stage::Sending;
        if let (Source::Open(open), Some(schedule)) = (&mut self.source, schedule) {
            self.warm_up_shed += open.restart(schedule);
        }
    }

    /// The run ended before measuring began: what was counted belongs to the warm-up.
    pub(in crate::load) fn forget(&mut self) {
        self.tallies = Tallies::default();
        if let Source::Open(open) = &mut self.source {
            self.warm_up_shed += open.forget();
        }
    }

    /// Begins to measure: what is due from `from` on and before `end` counts. An open loop goes on with `schedule`.
    pub(in crate::load) fn measure(
        &mut self,
        from: Instant,
        end: Instant,
        schedule: Option<Schedule>,
    ) {
        (self.measured_from, self.sending_end) = (from, end);
        (self.last_end, self.last_response) = (from, from);
        self.timeline.begin(from);
        self.tallies = Tallies::default();
        self.thought_before_ns = self.thought_ns(from);
        if let Some(budget) = self.reserved.take() {
            self.allowance = Allowance::of(budget);
        }
        self.recall(from);
        self.begin(schedule);
        self.begin_slot();
    }

    fn begin_slot(&mut self) {
        if let Source::Open(open) = &mut self.source {
            open.begin_slot(self.timeline.end());
        }
    }

    /// Ends the slots of the time line that are over at `now`.
    pub(in crate::load) fn roll_timeline(&mut self, now: Instant, totals: Totals) {
        while self.timeline.is_due(now) {
            let offered = match &mut self.source {
                Source::Open(open) => open.due_in_slot(),
                _ => totals.offered,
            };
            self.timeline.roll(Totals { offered, ..totals }, self.recorder.coarse());
            self.begin_slot();
        }
    }

    /// Ends the time line.
    pub(in crate::load) fn finish_timeline(&mut self, totals: Totals) {
        let offered = match &self.source {
            Source::Open(open) => open.offered,
            _ => totals.offered + self.recorder.cancelled(),
        };
        self.timeline.finish(Totals { offered, ..totals }, self.recorder.coarse());
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
    pub(in crate::load) fn is_exhausted(&self) -> bool {
        self.mix.feeds.iter().any(|feed| feed.is_exhausted())
    }

    /// Whether everything that may be sent was sent.
    pub(in crate::load) fn is_spent(&self) -> bool {
        let unsent = self.flights.as_ref().map_or(0, Flights::unsent_in_all);
        let spent = match &self.source {
            Source::Open(open) => open.is_over(),
            _ => self.allowance.is_spent(),
        };
        (spent && unsent == 0) || self.is_exhausted()
    }

    /// Whether no number is left of those that may be sent, however long it could go on.
    pub(in crate::load) fn is_counted_out(&self) -> bool {
        match &self.source {
            Source::Open(open) => open.is_used_up(),
            _ => self.allowance.is_spent(),
        }
    }

    /// Whether each request of the measured time that was taken has ended, where that is known: what the warm-up sent may still be unanswered.
    pub(in crate::load) fn is_answered(&self) -> bool {
        let taken = match &self.source {
            Source::Open(open) => Some(open.offered.saturating_sub(open.shed + self.tallies.shed)),
            _ => self.allowance.taken(),
        };
        taken == Some(self.responses + self.errors)
    }

    /// Whether requests come due by the clock, or by users.
    #[inline]
    pub(in crate::load) fn is_paced(&self) -> bool {
        !matches!(self.source, Source::Lanes) && self.stage != Stage::Connecting
    }

    /// When a request is due next that no completion brings about.
    #[inline]
    pub(in crate::load) fn next_due(&self) -> Instant {
        match &self.source {
            _ if self.is_exhausted() => Instant::NEVER,
            Source::Lanes => Instant::NEVER,
            // After the end nobody sends any more, however long they have thought.
            Source::Users(users) if self.stage == Stage::Sending => users.next_due(),
            Source::Users(_) => Instant::NEVER,
            Source::Open(open) => open.next_due(),
        }
    }

    fn thought_ns(&self, now: Instant) -> u64 {
        match &self.source {
            Source::Users(users) => users.thought_ns(now),
            _ => 0,
        }
    }

    /// A request that was given to a lane is not sent after all. A closed loop has promised none.
    fn shed(&mut self, flight: &Flight) {
        let promised = matches!(self.source, Source::Open(_)) && self.measures(flight.intended);
        self.tallies.shed += u64::from(promised);
    }

    /// What was counted.
    pub(in crate::load) fn tallies(&self) -> Tallies {
        let mut tallies = self.tallies;
        if let Source::Open(open) = &self.source {
            tallies.offered = open.offered;
            tallies.shed += open.shed;
        }
        tallies
    }

    /// What the time line shows.
    pub(in crate::load) fn totals(&self, bytes: u64) -> Totals {
        let (requests, errors) = (self.responses, self.errors);
        let offered = match &self.source {
            Source::Open(open) => open.offered,
            _ => requests + errors,
        };
        Totals { offered, requests, errors, bytes }
    }

    /// Shows the watchers how far this core is.
    #[inline]
    pub(in crate::load) fn publish(
        &self,
        gauge: &CoreGauge,
        totals: &Totals,
        in_flight: u32,
        connected: u64,
    ) {
        gauge.set_totals(totals, u64::from(in_flight), connected);
        match &self.source {
            // What a warm-up was due is not shown.
            Source::Open(_) if self.measured_from == Instant::NEVER => {}
            Source::Open(open) => {
                gauge.set_offered(open.due());
                gauge.set_lost(self.tallies.late, self.tallies.shed + open.shed);
            }
            _ => gauge.set_offered(totals.offered),
        }
    }

    /// Counts what is due by now, for the watchers: where connections are behind it is more than was taken.
    pub(in crate::load) fn count_due(&mut self, now: Instant) {
        if let Source::Open(open) = &mut self.source {
            open.count_due(now);
        }
    }

    /// When measuring began.
    pub(in crate::load) fn measured_from(&self) -> Instant {
        self.measured_from
    }

    /// Whether a request due at `intended` counts.
    #[inline]
    fn measures(&self, intended: Instant) -> bool {
        intended >= self.measured_from
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
        _ => Source::Open(Box::new(Open::new(mix.targets.len(), lanes, plan.pacing))),
    }
}
