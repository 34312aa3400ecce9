//! How a batch goes on: what a core does next, what becomes of a result, and who is woken for it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Done;
use super::input::{self, Pull, Pulled};
use super::state::{End, Job, PULL_BLOCK, Shared, State, Supply, let_go, wake};
use super::summary::{Outcome, Tally};
use crate::sync::note_waker;

/// The most inputs that get an error each, after the engine was shut down before they were pulled.
const REST_MAX: usize = 1 << 20;

/// What a core's driver has to do.
pub(super) enum Step<T> {
    /// Nothing, until it is woken.
    Wait,
    /// Nothing any more.
    Over,
    /// Cancel all that is on its way here.
    Cancel,
    Start(Job<T>),
    /// The batch has ended before this was begun.
    Fail(Job<T>, End),
    /// Pull so many.
    Pull(Box<dyn Pull<T>>, usize),
    /// End the batch so after a time.
    Arm(Duration, End),
}

/// What else a core has on its way when an input of it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    None,
    InFlight,
}

/// How a driver stands when it asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// What was on its way has been cancelled.
    pub(super) cancelled: bool,
    /// Nothing is on its way.
    pub(super) idle: bool,
    /// The stream had nothing since the driver was woken.
    pub(super) dry: bool,
}

impl<T> State<T> {
    /// A driver to be woken for free credits: the one that a stream wakes, else `own`, else the least busy that sleeps.
    fn driver_to_pull(
        &mut self,
        own: Option<u32>,
        load: impl Fn(u32) -> u32,
        homes: impl Iterator<Item = u32>,
    ) -> Option<Waker> {
        if let Some(core) = self.puller {
            return self.lanes.get_mut(core as usize)?.driver.take();
        }
        let sleeps =
            |core: &u32| self.lanes.get(*core as usize).is_some_and(|lane| lane.driver.is_some());
        let core =
            own.filter(sleeps).or_else(|| homes.filter(sleeps).min_by_key(|core| load(*core)));
        self.lanes.get_mut(core? as usize)?.driver.take()
    }
}

impl<T: Send + 'static> Shared<T> {
    /// The next thing for a core's driver to do; it is woken when there is more, if there is nothing.
    pub(super) fn next_step(&self, core: u32, standing: Standing, cx: &Context<'_>) -> Step<T> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.end.is_some() && !standing.cancelled {
            return Step::Cancel;
        }
        if let Some((after, end)) = state.alarms.pop() {
            return Step::Arm(after, end);
        }
        if standing.idle && state.end.is_none() {
            self.steal(state, core);
        }
        let lane = &mut state.lanes[core as usize];
        if let Some(job) = lane.handed.pop_front() {
            return match state.end {
                None => Step::Start(job),
                Some(end) => Step::Fail(job, end),
            };
        }
        if state.is_over() {
            return Step::Over;
        }
        if state.may_pull(core) && !standing.dry {
            match std::mem::replace(&mut state.supply, Supply::Away) {
                Supply::Here(source) => return Step::Pull(source, state.credits.take(PULL_BLOCK)),
                other => state.supply = other,
            }
        }
        let before = note_waker(&mut state.lanes[core as usize].driver, cx);
        drop(guard);
        drop(before);
        Step::Wait
    }

    /// A core without anything to do takes half of what was handed to the one that is furthest behind, as far as the hosts' homes allow.
    fn steal(&self, state: &mut State<T>, core: u32) {
        let own = &state.lanes[core as usize].handed;
        let behind = (0..state.lanes.len()).max_by_key(|lane| state.lanes[*lane].handed.len());
        let Some(behind) = behind.filter(|behind| *behind != core as usize && own.is_empty())
        else {
            return;
        };
        let allowed = |job: &Job<T>| match &job.request {
            Ok(request) => self.plan.homes.may_serve(request.target.origin().number(), core),
            Err(_) => true,
        };
        for _ in 0..state.lanes[behind].handed.len().div_ceil(2) {
            if !state.lanes[behind].handed.back().is_some_and(allowed) {
                break;
            }
            let job = state.lanes[behind].handed.pop_back();
            state.lanes[core as usize].handed.extend(job);
            self.plan.seats[behind].load.placed.fetch_sub(1, Ordering::Relaxed);
            self.plan.seats[core as usize].load.placed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an input of `core` as finished. What is `left` of it waits for the consumer; else it was consumed. With no `others` there the core can take more.
    pub(super) fn settle(&self, core: u32, left: Option<Done<T>>, others: Others) {
        self.plan.seats[core as usize].load.placed.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.lock();
        state.finished += 1;
        let (mut consumer, mut driver, mut garbage) = (None, None, None);
        match left {
            Some(done) if state.end != Some(End::Abandoned) => {
                state.results.push_back(done);
                consumer = state.consumer.take();
            }
            left => {
                garbage = left;
                driver = self.give_back(&mut state, 1, Some(core));
            }
        }
        let behind =
            others == Others::None && state.lanes.iter().any(|lane| !lane.handed.is_empty());
        if behind && driver.is_none() {
            driver = state.lanes[core as usize].driver.take();
        }
        let everybody = state.tell_over();
        drop(state);
        wake(consumer.into_iter().chain(driver));
        wake(everybody);
        let_go(garbage);
    }

    /// Gives credits of consumed inputs back, and finds a driver that is to use them.
    fn give_back(&self, state: &mut State<T>, credits: usize, own: Option<u32>) -> Option<Waker> {
        (0..credits).for_each(|_| state.credits.give_back());
        let here = matches!(state.supply, Supply::Here(_));
        if !here || state.credits.free() == 0 || state.paused || state.end.is_some() {
            return None;
        }
        state.driver_to_pull(own, |core| self.load(core), self.plan.homes.of_client())
    }

    /// A core is done with the batch, or is gone before its time: then the batch ends, nothing more is handed to the core, and these are what it did not begin.
    pub(super) fn leave_lane(&self, core: u32) -> VecDeque<Job<T>> {
        let mut state = self.lock();
        let lane = &mut state.lanes[core as usize];
        let (handed, driver) = (std::mem::take(&mut lane.handed), lane.driver.take());
        self.end_locked(state, End::Shutdown);
        drop(driver);
        handed
    }

    /// A core has nothing to do with the batch any more.
    pub(super) fn close_lane(&self, core: u32, tally: Tally) {
        for job in self.leave_lane(core) {
            let done = job.failed(End::Shutdown);
            self.lock().tally.record(Outcome::of(&done.result));
            self.settle(core, Some(done), Others::InFlight);
        }
        let mut state = self.lock();
        state.tally.add(tally);
        state.lanes_open -= 1;
        let consumer = state.consumer.take();
        drop(state);
        wake(consumer);
    }

    /// After a shutdown: what is still to come of the inputs fails here, at the consumer's, as many at a time as there are credits for. Where their end is not in
    /// sight, one more stands for all. `true` if there may be more.
    pub(super) fn fail_rest(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.lock();
        let due = state.end == Some(End::Shutdown) && state.results.is_empty();
        if !due || !matches!(state.supply, Supply::Here(_)) {
            return false;
        }
        let most = state.credits.take(PULL_BLOCK);
        let Supply::Here(mut source) = std::mem::replace(&mut state.supply, Supply::Away) else {
            return false;
        };
        // Nobody else numbers inputs while this pulls.
        let first = state.pulled;
        drop(state);
        let in_sight = source.most().is_some_and(|most| most <= REST_MAX);
        let wanted = if in_sight { most } else { most.min(1) };
        let mut inputs = Vec::new();
        let pulled = input::pull(&mut *source, &mut inputs, wanted, cx);
        let goes_on = matches!(pulled, Pulled::More) && (in_sight || most == 0);
        let failed: Vec<_> = (first..)
            .zip(inputs)
            .map(|(index, (tag, request))| Job { index, tag, request }.failed(End::Shutdown))
            .collect();
        let mut state = self.lock();
        state.credits.untake(most - failed.len());
        state.cut_short |= !goes_on && !matches!(pulled, Pulled::Ended);
        if let Pulled::Panicked(payload) = pulled {
            state.thrown.get_or_insert(payload);
        }
        for done in failed {
            state.tally.record(Outcome::of(&done.result));
            state.results.push_back(done);
            state.pulled += 1;
            state.finished += 1;
        }
        let stays = goes_on && !state.stopped;
        let (supply, garbage) =
            if stays { (Supply::Here(source), None) } else { (Supply::Gone, Some(source)) };
        state.supply = supply;
        let everybody = state.tell_over();
        drop(state);
        wake(everybody);
        let_go(garbage);
        goes_on && most > 0
    }

    /// The results that no core could consume: they count as consumed.
    pub(super) fn take_left(&self) -> VecDeque<Done<T>> {
        let mut state = self.lock();
        let left = std::mem::take(&mut state.results);
        left.iter().for_each(|_| state.credits.give_back());
        left
    }

    /// Moves the results that wait into the consumer's empty hands, against so many credits for each time that there are any. `false` when there are no more.
    pub(super) fn poll_take(
        &self,
        cx: &Context<'_>,
        into: &mut VecDeque<Done<T>>,
        credits: usize,
    ) -> Poll<bool> {
        let mut state = self.lock();
        if !state.results.is_empty() {
            std::mem::swap(&mut state.results, into);
            let driver = self.give_back(&mut state, credits, None);
            drop(state);
            wake(driver);
            return Poll::Ready(true);
        }
        if state.is_over() {
            return Poll::Ready(false);
        }
        let before = note_waker(&mut state.consumer, cx);
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// The consumer has consumed so many results.
    pub(super) fn consumed(&self, credits: usize) {
        let mut state = self.lock();
        let driver = self.give_back(&mut state, credits, None);
        drop(state);
        wake(driver);
    }

    /// The end of all of it: every core has told its figures.
    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_over() && state.lanes_open == 0 {
            return Poll::Ready(());
        }
        let before = note_waker(&mut state.consumer, cx);
        drop(state);
        drop(before);
        Poll::Pending
    }
}
