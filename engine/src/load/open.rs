//! The open loop of one core: requests come due whatever the connections do, and go to idle lanes in turn or wait for one. Reads no clock.

use std::collections::VecDeque;
use std::time::Duration;

use super::flights::Flight;
use super::histogram::Histogram;
use super::mix::Picker;
use super::plan::Pacing;
use super::queue::{Queue, Requests};
use super::schedule::Schedule;
use crate::clock::Instant;

/// Requests that are due, and lanes that have nothing to do.
#[derive(Debug)]
pub(super) struct Open {
    schedule: Schedule,
    /// By target: due requests without a connection.
    waiting: Box<[Queue]>,
    /// By target: lanes that asked for a request in vain, in that order.
    idle: Box<[VecDeque<u32>]>,
    /// By lane: whether it is in `idle`.
    listed: Box<[bool]>,
    pacing: Pacing,
    /// The schedule as far as it was counted ahead of what is taken: when more than may wait is due.
    ahead: Schedule,
    /// Requests due before `ahead`'s next.
    ahead_due: u64,
    /// When the slot of the time line ends that is being filled.
    slot_end: Instant,
    /// Requests taken that were due before that.
    in_slot: u64,
    /// By target: since when no look found a connection free for what waits; [`Instant::NEVER`] while nothing does. Kept only where requests are given up.
    short_since: Box<[Instant]>,
    /// When what waits was last looked through.
    looked_at: Instant,
    /// Requests taken from the schedule.
    pub(super) offered: u64,
    /// Requests given up.
    pub(super) shed: u64,
}

/// The least time between two looks that only give up what has waited too long: a core that took one for each request would be busy with that alone.
const SHED_EVERY: Duration = Duration::from_millis(1);

/// Requests of a core that are given up one by one at the end of a run: within a second.
const EACH_MAX: u64 = 1 << 22;

/// Requests taken from the schedule at a time: in a few milliseconds, after which the clock is looked at again. Where more come due than can be taken the rest is taken later, or never.
const PULLED_MAX: usize = 1 << 16;

/// How requests that are given up are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// Those whose ages a histogram takes for the same together, whatever they are: in no time, however many there are.
    Together,
    /// Each for itself, since they are counted by name; of more than [`EACH_MAX`] the rest together. As many ages as a histogram tells apart draw a name each, so that the
    /// names' shares hold there too, if not to the last request.
    Each,
}

impl Open {
    /// For so many targets and lanes; nothing is due before [`Open::restart`].
    pub(super) fn new(targets: usize, lanes: u32, pacing: Pacing) -> Self {
        Self {
            schedule: Schedule::empty(),
            waiting: std::iter::repeat_with(Queue::default).take(targets).collect(),
            idle: vec![VecDeque::new(); targets].into(),
            listed: vec![false; lanes as usize].into(),
            pacing,
            ahead: Schedule::empty(),
            ahead_due: 0,
            slot_end: Instant::NEVER,
            in_slot: 0,
            short_since: vec![Instant::NEVER; targets].into(),
            looked_at: Instant::default(),
            offered: 0,
            shed: 0,
        }
    }

    /// When the last request was due of as many as there may be; `None` while there are more to come.
    #[inline]
    pub(super) fn ran_out_at(&self) -> Option<Instant> {
        let is_over = self.schedule.next_due() == Instant::NEVER;
        (is_over && self.schedule.is_used_up()).then_some(self.schedule.last_due())
    }

    /// Goes on with another schedule, and begins to count anew. Returns how many requests of the old one were given up: too late, waiting, or not taken.
    pub(super) fn restart(&mut self, schedule: Schedule) -> u64 {
        let waited = self.waiting.iter_mut().map(Queue::clear);
        let left = waited.sum::<u64>() + self.schedule.skip(Instant::NEVER);
        self.schedule = schedule;
        self.forget() + left
    }

    /// Counts nothing of what was so far. Returns how many requests had been given up.
    pub(super) fn forget(&mut self) -> u64 {
        (self.offered, self.ahead_due, self.in_slot) = (0, 0, 0);
        std::mem::take(&mut self.shed)
    }

    /// From here on the time line's slot ends at `end`.
    pub(super) fn begin_slot(&mut self, end: Instant) {
        (self.slot_end, self.in_slot) = (end, self.offered);
    }

    /// Requests that were due before the end of the slot, taken or not.
    pub(super) fn due_in_slot(&mut self) -> u64 {
        if self.schedule.next_due() >= self.slot_end {
            return self.in_slot;
        }
        self.count_due(self.slot_end);
        self.ahead_due
    }

    /// Counts what is due before `until`, taken or not. Invariant: no `until` lies before an earlier one.
    pub(super) fn count_due(&mut self, until: Instant) {
        if self.schedule.next_due() >= until {
            return;
        }
        if self.ahead_due <= self.offered {
            (self.ahead, self.ahead_due) = (self.schedule.clone(), self.offered);
        }
        self.ahead_due += self.ahead.skip(until);
    }

    /// Requests that have come due, as far as they were counted.
    pub(super) fn due(&self) -> u64 {
        self.offered.max(self.ahead_due)
    }

    /// When the next request is to go out, or to be given up.
    pub(super) fn next_due(&self) -> Instant {
        self.next_pull().min(self.next_shed())
    }

    /// When the next request is to go out, with all that are due by then. Never while as many wait for each server as may: then the next lane that asks is what
    /// brings it about, and what is due stays in the schedule, which needs no memory for it.
    fn next_pull(&self) -> Instant {
        if self.is_full() { Instant::NEVER } else { self.schedule.next_due() + self.pacing.slack }
    }

    /// When the next request will have waited too long: who looked later could not tell it from one that was late by the client's doing.
    fn next_shed(&self) -> Instant {
        let Some(limit) = self.pacing.shed_after else { return Instant::NEVER };
        let waits = self.waiting.iter().zip(&self.short_since);
        let since = waits.filter_map(|(queue, since)| Some(queue.first()?.possible.max(*since)));
        let first = since.min().unwrap_or(Instant::NEVER);
        if first == Instant::NEVER {
            first
        } else {
            (first + limit).max(self.looked_at + SHED_EVERY)
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.iter().all(Queue::is_full)
    }

    /// Whether nothing is due any more, and nothing waits.
    pub(super) fn is_over(&self) -> bool {
        self.schedule.next_due() == Instant::NEVER && self.waiting.iter().all(Queue::is_empty)
    }

    /// Whether as many were due as may be, however long the schedule goes on.
    pub(super) fn is_used_up(&self) -> bool {
        self.schedule.is_used_up()
    }

    fn target_of(&self, lane: u32) -> usize {
        lane as usize % self.idle.len().max(1)
    }

    /// A lane has room: the request that has waited longest for its server, or one that is due now. Without one the lane is noted as idle.
    pub(super) fn request_for(
        &mut self,
        lane: u32,
        picker: &Picker,
        now: Instant,
    ) -> Option<Flight> {
        let target = self.target_of(lane);
        let served = self.idle[target].is_empty();
        // What waits already goes first, and is not given up when there is a lane for it.
        let mut flight = self.pop(target, picker);
        if flight.is_none() {
            self.pull(picker, now);
            flight = self.pop(target, picker);
        }
        self.note_shortage(target, now);
        if let Some(flight) = flight {
            // With other lanes idle it was our own turn that it waited for.
            let possible = if served { now } else { flight.possible };
            return Some(Flight { possible, ..flight });
        }
        self.note_idle(lane);
        None
    }

    /// The next request that is due and has an idle lane for which `is_ready` holds.
    pub(super) fn dispatch(
        &mut self,
        picker: &Picker,
        now: Instant,
        is_ready: impl Fn(u32) -> bool,
    ) -> Option<(u32, Flight)> {
        self.pull(picker, now);
        for target in 0..self.waiting.len() {
            while !self.waiting[target].is_empty() {
                let Some(lane) = self.idle[target].pop_front() else { break };
                self.listed[lane as usize] = false;
                // One that is not says so again when it is.
                if !is_ready(lane) {
                    continue;
                }
                if let Some(flight) = self.pop(target, picker) {
                    return Some((lane, flight));
                }
                self.note_idle(lane);
            }
        }
        self.look_through(picker, now);
        None
    }

    /// Gives up what no connection was free for, for too long, once every lane that asked has been given something.
    fn look_through(&mut self, picker: &Picker, now: Instant) {
        if self.pacing.shed_after.is_none() {
            return;
        }
        self.looked_at = now;
        for target in 0..self.waiting.len() {
            self.note_shortage(target, now);
            self.shed_late(target, picker, now);
        }
    }

    /// Whether something waits for a server now, and no lane.
    fn note_shortage(&mut self, target: usize, now: Instant) {
        let is_short = !self.waiting[target].is_empty() && self.idle[target].is_empty();
        let since = &mut self.short_since[target];
        *since = if is_short { now.min(*since) } else { Instant::NEVER };
    }

    /// Whether a request found all connections busy when it was to go out.
    pub(super) fn has_waited(&self, flight: &Flight) -> bool {
        flight.possible > flight.intended + self.pacing.slack
    }

    /// A lane may have more to do.
    pub(super) fn note_idle(&mut self, lane: u32) {
        let target = self.target_of(lane);
        if !std::mem::replace(&mut self.listed[lane as usize], true) {
            self.idle[target].push_back(lane);
        }
    }

    /// Takes a request that is due, to be failed: its server can't be reached.
    pub(super) fn take_for(&mut self, lane: u32, picker: &Picker, now: Instant) -> Option<Flight> {
        self.pull(picker, now);
        let target = self.target_of(lane);
        self.pop(target, picker)
    }

    /// Nothing is due any more at `end` or after it.
    pub(super) fn cut(&mut self, end: Instant) {
        self.schedule.cut(end);
        self.ahead.cut(end);
    }

    /// Gives up everything that was due and not sent, and tells the ages of what was not too late anyway, of how many requests, and the place of one of them in the mix.
    pub(super) fn give_up(
        &mut self,
        picker: &Picker,
        now: Instant,
        telling: Telling,
        mut unsent: impl FnMut(u64, u64, u32),
    ) {
        let limit = self.pacing.shed_after.filter(|_| self.is_full());
        for target in 0..self.waiting.len() {
            while let Some(flight) = self.pop(target, picker) {
                self.shed += 1;
                if !self.is_too_late(target, &flight, now) {
                    unsent(now.nanos_since(flight.intended), 1, flight.request);
                }
            }
        }
        // Too late as well: there was no room for them even to wait.
        let too_old = limit.map(|limit| limit + self.pacing.slack);
        let mut given = too_old.map_or(0, |age| self.skip(before(now, age)));
        // Due after `now`: nothing that was cut is.
        while let Some(due) = self.schedule.peek(now) {
            let (flight, _) = self.requests(picker).flight(due);
            let age = now.nanos_since(due.at);
            let count = match telling {
                Telling::Each if given < EACH_MAX => self.take(now),
                _ => {
                    let alike = Duration::from_nanos(Histogram::shortest_alike(age));
                    self.skip(before(now, alike) + Duration::from_nanos(1))
                }
            };
            unsent(age, count, flight.request);
            given += count;
        }
        self.shed += given;
    }

    /// Takes the next request, if it is due at `now`, and returns how many that are.
    fn take(&mut self, now: Instant) -> u64 {
        let Some(due) = self.schedule.take(now) else { return 0 };
        self.offered += 1;
        if due.at < self.slot_end {
            self.in_slot = self.offered;
        }
        1
    }

    /// Takes all that are due before `until`, and returns how many.
    fn skip(&mut self, until: Instant) -> u64 {
        let in_slot = self.schedule.skip(until.min(self.slot_end));
        let later = self.schedule.skip(until);
        if in_slot > 0 {
            self.in_slot = self.offered + in_slot;
        }
        self.offered += in_slot + later;
        in_slot + later
    }

    fn requests<'a>(&self, picker: &'a Picker) -> Requests<'a> {
        Requests { picker, slack: self.pacing.slack }
    }

    fn pop(&mut self, target: usize, picker: &Picker) -> Option<Flight> {
        let requests = self.requests(picker);
        self.waiting[target].pop(target, requests)
    }

    /// Gives up what has waited too long for a server.
    fn shed_late(&mut self, target: usize, picker: &Picker, now: Instant) {
        let is_late = |it: &Self| {
            it.waiting[target].first().is_some_and(|flight| it.is_too_late(target, flight, now))
        };
        while is_late(self) {
            self.shed += u64::from(self.pop(target, picker).is_some());
        }
    }

    /// Whether a request that waits has found no connection for too long. What was held back before that, by its slack or by a client that did not look, found none in its way.
    fn is_too_late(&self, target: usize, flight: &Flight, now: Instant) -> bool {
        let since = flight.possible.max(self.short_since[target]);
        self.pacing.shed_after.is_some_and(|limit| now - since > limit)
    }

    /// Takes what is due from the schedule, unless as many wait for each server as may. A server that is behind holds nobody else up.
    fn pull(&mut self, picker: &Picker, now: Instant) {
        if self.next_pull() > now {
            return;
        }
        for _ in 0..PULLED_MAX {
            let Some(due) = self.schedule.peek(now) else { return };
            let (flight, target) = self.requests(picker).flight(due);
            let target = target as usize;
            if self.waiting[target].is_full() {
                self.shed_late(target, picker, now);
                if self.skip_late(now) {
                    continue;
                }
                if self.is_full() {
                    return;
                }
            }
            self.waiting[target].push(flight, &self.schedule);
            let _ = self.take(now);
        }
    }

    /// Gives up, without a look at each, what would be too late as soon as it waited, where no server has had a connection free for so long and nothing waits for one. Whether there was any.
    fn skip_late(&mut self, now: Instant) -> bool {
        let Some(limit) = self.pacing.shed_after else { return false };
        let are_short = self.short_since.iter().all(|since| now - *since > limit);
        if !are_short || !self.waiting.iter().all(Queue::is_empty) {
            return false;
        }
        let late = self.skip(before(now, limit + self.pacing.slack));
        self.shed += late;
        late > 0
    }
}

/// So long before `now`.
fn before(now: Instant, length: Duration) -> Instant {
    Instant::from_nanos(now.nanos_since(Instant::from_nanos(length.as_nanos() as u64)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::mix::testing;
    use crate::load::queue::WAITING_MAX;
    use crate::load::{Arrival, Spacing, Stage};

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// A request every 10 ms for 100 ms, to one of so many targets in turn.
    fn open(targets: u32, shed_after: Option<Duration>) -> (Open, Picker) {
        let arrival = Arrival::at_rate(100.0, Duration::from_millis(100));
        let pacing = Pacing { shed_after, ..Pacing::default() };
        let mut open = Open::new(targets as usize, 4 * targets, pacing);
        assert!(open.is_over());
        open.restart(Schedule::new(&arrival, at(0), (0, 1), u64::MAX).unwrap());
        (open, Picker::new(&testing::mix(targets)))
    }

    #[test]
    fn a_due_request_goes_to_the_lane_that_is_idle_longest() {
        let (mut open, picker) = open(1, None);
        for lane in [2, 0, 2, 1] {
            open.note_idle(lane);
        }
        let mut lane_at =
            |millis| open.dispatch(&picker, at(millis), |lane| lane != 0).map(|(lane, _)| lane);
        assert_eq!([0, 5, 10, 20].map(&mut lane_at), [Some(2), None, Some(1), None]);
        // A lane that asks gets what waits, and the wait was not ours.
        let flight = open.request_for(3, &picker, at(27)).unwrap();
        assert_eq!((flight.index, flight.intended, flight.possible), (2, at(20), at(27)));
        assert_eq!(open.request_for(3, &picker, at(28)), None);
    }

    #[test]
    fn with_slack_requests_leave_together() {
        let (mut open, picker) = open(1, None);
        open.pacing.slack = Duration::from_millis(25);
        (0..4).for_each(|lane| open.note_idle(lane));
        let mut sent_at =
            |millis| std::iter::from_fn(|| open.dispatch(&picker, at(millis), |_| true)).count();
        // Those of 0, 10 and 20 ms at once, when the first has waited long enough.
        assert_eq!([0, 10, 24, 25, 30].map(&mut sent_at), [0, 0, 0, 3, 0]);
        assert_eq!(open.next_due(), at(55));
    }

    #[test]
    fn a_server_that_is_behind_holds_nobody_else_up() {
        let (mut open, picker) = open(2, None);
        // Only the second server has an idle lane.
        (0..4).for_each(|user| open.note_idle(2 * user + 1));
        let lanes: Vec<u32> = std::iter::from_fn(|| open.dispatch(&picker, at(75), |_| true))
            .map(|(lane, _)| lane)
            .collect();
        assert_eq!(lanes, [1, 3, 5, 7]);
        assert_eq!((open.offered, open.shed), (8, 0));
    }

    /// However far it is behind, and with each request to it kept: none is lost, and none is sent twice or out of turn.
    #[test]
    fn a_server_that_is_far_behind_holds_nobody_else_up() {
        let arrival = Arrival::at_rate(1e5, Duration::from_secs(1));
        for shed_after in [None, Some(Duration::from_micros(500_005))] {
            let (mut open, picker) = open(2, shed_after);
            open.restart(Schedule::new(&arrival, at(0), (0, 1), u64::MAX).unwrap());
            // The second server takes whatever comes, at once, and the first nothing.
            for millis in 1..=1_000 {
                assert_eq!(open.dispatch(&picker, at(millis), |_| false), None);
                let mut count = 0;
                while let Some(flight) = open.request_for(1, &picker, at(millis)) {
                    assert!(flight.index % 2 == 1 && flight.intended >= at(millis - 1));
                    count += 1;
                }
                assert_eq!(count, 50, "{millis}");
            }
            assert_eq!((open.offered, open.next_pull()), (100_000, Instant::NEVER));
            // Then the first takes some.
            let first = if shed_after.is_some() { 50_000 } else { 0 };
            for nth in 0..20_000 {
                let flight = open.request_for(0, &picker, at(1_001));
                assert_eq!(flight.map(|flight| flight.index), Some(first + 2 * nth));
            }
            let mut unsent = 0;
            open.give_up(&picker, at(2_000), Telling::Together, |_, count, _| unsent += count);
            // What is too late anyway has no age that counts.
            let told = if shed_after.is_some() { 0 } else { 30_000 };
            assert_eq!((open.shed, unsent, open.is_over()), (30_000, told, true));
        }
    }

    /// A core that looked at the clock all the while would be busy, and be taken for the limit.
    #[test]
    fn with_as_many_waiting_as_may_only_a_lane_brings_the_next() {
        let arrival = Arrival::at_rate(1e6, Duration::from_secs(1));
        let (mut open, picker) = open(1, None);
        open.restart(Schedule::new(&arrival, at(0), (0, 1), u64::MAX).unwrap());
        assert_eq!(open.dispatch(&picker, at(500), |_| true), None);
        assert_eq!((open.offered, open.next_due()), (WAITING_MAX as u64, Instant::NEVER));
        assert_eq!(open.request_for(0, &picker, at(500)).map(|flight| flight.index), Some(0));
        assert!(open.next_due() < at(500) && !open.is_over());
    }

    #[test]
    fn what_is_too_late_or_left_over_is_shed_and_counted() {
        let (mut open, picker) = open(1, Some(Duration::from_millis(25)));
        let mut shed_at = |millis| {
            assert_eq!(open.dispatch(&picker, at(millis), |_| true), None);
            (open.shed, open.next_due())
        };
        // Whatever was due before the first look at 15 ms has waited since then.
        assert_eq!([15, 30, 40].map(&mut shed_at), [(0, at(20)), (0, at(40)), (0, at(41))]);
        assert_eq!(shed_at(41), (2, at(45)));
        // A lane that asks gets what waits, however long that has.
        assert_eq!(open.request_for(0, &picker, at(60)).map(|flight| flight.index), Some(2));
        assert_eq!(open.dispatch(&picker, at(60), |_| true), None);
        assert_eq!((open.shed, open.offered), (3, 7));
        open.cut(at(90));
        let mut unsent = Vec::new();
        let tell = |age, count, _| unsent.push((age, count));
        open.give_up(&picker, at(90), Telling::Together, tell);
        assert_eq!((open.shed, open.offered, open.is_over()), (8, 9, true));
        // Those of 40 to 60 ms were too late; the others had not been looked at.
        assert_eq!(unsent, [(20_000_000, 1), (10_000_000, 1)]);
    }

    #[test]
    fn what_a_late_client_held_back_is_sent_and_not_shed() {
        for slack in [0, 20] {
            let (mut open, picker) = open(1, Some(Duration::from_millis(1)));
            open.pacing.slack = Duration::from_millis(slack);
            (0..4).for_each(|lane| open.note_idle(lane));
            let mut sent_at = |millis| {
                let sent = std::iter::from_fn(|| open.dispatch(&picker, at(millis), |_| true));
                (sent.map(|(_, flight)| flight.index).collect::<Vec<_>>(), open.shed)
            };
            // The other two have waited since then, unless they may be late anyway.
            assert_eq!(sent_at(50), (vec![0, 1, 2, 3], 0));
            let given_up = [2, 0][usize::from(slack > 10)];
            assert_eq!(sent_at(52), (vec![], given_up), "{slack}");
        }
    }

    /// A backlog that it would take minutes to count one by one.
    #[test]
    fn a_backlog_is_given_up_at_once_and_exactly() {
        for telling in [Telling::Together, Telling::Each] {
            let (mut open, picker) = open(1, None);
            let arrival = Arrival::at_rate(1e9, Duration::from_secs(4_000));
            open.restart(Schedule::new(&arrival, at(0), (0, 2), u64::MAX).unwrap());
            open.cut(at(3_900_000));
            let mut ages = Histogram::new();
            let tell = |age, count, _| ages.record_many(age, count);
            open.give_up(&picker, at(3_901_000), telling, tell);
            let all = 3_900 * 1_000_000_000 / 2;
            assert_eq!((open.shed, open.offered, ages.len()), (all, all, all));
            // All but those of the last hour are as old as is told apart.
            let old = all - 3_599 * 500_000_000;
            assert!(ages.latency().saturated.abs_diff(old) <= 500_000_000 / 1_000);
            assert!((ages.latency().min / 1e6 - 1.0).abs() < 0.002, "{:?}", ages.latency());
        }
    }

    #[test]
    fn a_slot_holds_what_was_due_in_it_however_far_behind_the_connections_are() {
        let arrival = Arrival::at_rate(1e5, Duration::from_secs(3));
        let poisson = Arrival::Open {
            stages: vec![Stage { length: Duration::from_secs(3), from: 1e5, to: 1e5 }],
            spacing: Spacing::Poisson { seed: 5 },
        };
        for (arrival, off) in [(arrival, 0), (poisson, 2_000)] {
            for takes in [0, 20_000, 300_000] {
                let (mut open, picker) = open(1, None);
                open.restart(Schedule::new(&arrival, at(0), (0, 1), u64::MAX).unwrap());
                let mut counts = Vec::new();
                for second in 1..=4 {
                    open.begin_slot(at(1_000 * second));
                    // A little late, so that some of the next slot are taken already.
                    let now = at(1_000 * second + 5);
                    for _ in 0..takes {
                        let _ = open.request_for(0, &picker, now);
                    }
                    counts.push(open.due_in_slot());
                    open.count_due(now);
                    let by_now = (counts[counts.len() - 1] + 500).min(300_000 + off);
                    assert!(open.due().abs_diff(by_now) <= 100 + off, "{} {counts:?}", open.due());
                }
                let even = counts.iter().zip([100_000_u64, 200_000, 300_000, 300_000]);
                assert!(even.clone().all(|(it, due)| it.abs_diff(due) <= off), "{counts:?}");
                assert_eq!(counts[2], counts[3]);
                open.give_up(&picker, at(5_000), Telling::Together, |_, _, _| ());
                assert_eq!(open.offered, counts[3]);
            }
        }
    }

    /// Each look takes a bounded time, however many have come due since the last one.
    #[test]
    fn a_rate_beyond_all_measure_is_given_up_without_a_look_at_each() {
        let arrival = Arrival::at_rate(1e9, Duration::from_secs(100));
        let (mut open, picker) = open(1, Some(Duration::from_millis(1)));
        open.restart(Schedule::new(&arrival, at(0), (0, 1), u64::MAX).unwrap());
        open.begin_slot(at(50_000));
        for second in 0..=100 {
            assert_eq!(open.dispatch(&picker, at(1_000 * second + 1), |_| false), None);
        }
        assert_eq!(open.due_in_slot(), 50_000_000_000);
        // All but those of the last millisecond, and what still waits.
        assert!(open.offered.abs_diff(100_000_000_000) < 2_000_000, "{}", open.offered);
        assert!(open.offered - open.shed <= WAITING_MAX as u64);
        let (mut many, picker) = self::open(8, None);
        many.restart(Schedule::new(&arrival, at(0), (0, 1), u64::MAX).unwrap());
        many.note_idle(1);
        assert!(many.dispatch(&picker, at(50_000), |_| true).is_some());
        assert_eq!(many.offered, PULLED_MAX as u64);
        assert!(many.next_due() < at(50_000));
    }

    /// What is given up when a run is ended belongs to the slot in which it was due, even where that is over by then.
    #[test]
    fn a_slot_holds_what_is_given_up_of_it() {
        let stages = vec![Stage { length: Duration::from_secs(9), from: 1e5, to: 1e5 }];
        for spacing in [Spacing::Constant, Spacing::Poisson { seed: 5 }] {
            for telling in [Telling::Together, Telling::Each] {
                for shed_after in [None, Some(Duration::from_millis(1))] {
                    let arrival = Arrival::Open { stages: stages.clone(), spacing };
                    let (mut open, picker) = open(1, shed_after);
                    open.restart(Schedule::new(&arrival, at(0), (0, 1), u64::MAX).unwrap());
                    open.begin_slot(at(1_000));
                    for millis in 1..=1_000 {
                        assert_eq!(open.dispatch(&picker, at(millis), |_| false), None);
                    }
                    let before = open.due_in_slot();
                    open.begin_slot(at(2_000));
                    open.cut(at(1_950));
                    open.give_up(&picker, at(2_001), telling, |_, _, _| ());
                    let after = open.due_in_slot();
                    assert!(before.abs_diff(100_000) < 2_000 && after > before + 90_000);
                    assert_eq!(after, open.offered);
                }
            }
        }
    }
}
