//! What a batch's cores and its consumer share: inputs, credits, results, and how it ends. Runs no code of the caller's with its lock held, and never waits but through wakers.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use super::Done;
use super::credits::Credits;
use super::input::{Input, Pull, Pulled};
use super::summary::Tally;
use crate::client::engine::Note;
use crate::client::request::Request;
use crate::client::settings::Settings;
use crate::clock::Instant;
use crate::error::{Error, Kind, TimeoutKind};
use crate::mesh::Seat;
use crate::mesh::placement::Homes;
use crate::shard::pool::exchange::Standing;
use crate::sync::{drop_quietly, lock, wake_quietly};

/// Inputs that a core pulls at a time.
pub(super) const PULL_BLOCK: usize = 8;

/// Why a batch ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Deadline,
    /// The first error cancels its siblings.
    FailFast,
    /// The time to drain is over.
    Drained,
    Shutdown,
    /// Nobody wants the results any more.
    Abandoned,
}

impl End {
    /// What it does to a request that stood so.
    pub(super) fn error(self, standing: &Standing) -> Error {
        Error::new(self.kind(), standing.phase).with_progress(&standing.progress)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Deadline => Kind::Timeout(TimeoutKind::Deadline),
            Self::FailFast | Self::Drained | Self::Abandoned => Kind::Canceled,
            Self::Shutdown => Kind::Shutdown,
        }
    }
}

/// An input that was pulled, placed on a core.
pub(super) struct Job<T> {
    pub(super) index: u64,
    pub(super) tag: T,
    pub(super) request: Result<Request, Error>,
}

impl<T> Job<T> {
    /// What is left of it where it can't be begun. Its request's body goes, which may be code of the caller's.
    pub(super) fn failed(self, end: End) -> Done<T> {
        let result = self.request.and_then(|request| {
            let error = end.error(&Standing::default());
            let error = error.with_request(&request.method, request.target.redacted());
            let_go(request);
            Err(error)
        });
        Done { index: self.index, tag: self.tag, result }
    }
}

pub(super) enum Supply<T> {
    Here(Box<dyn Pull<T>>),
    /// A core pulls.
    Away,
    Gone,
}

/// One core's part.
pub(super) struct Lane<T> {
    /// Placed here and not begun. Each holds a credit.
    pub(super) handed: VecDeque<Job<T>>,
    /// Set while the core's driver sleeps.
    pub(super) driver: Option<Waker>,
}

pub(super) struct State<T> {
    pub(super) credits: Credits,
    pub(super) supply: Supply<T>,
    /// The core that a dry stream wakes: nobody else polls it.
    pub(super) puller: Option<u32>,
    pub(super) lanes: Box<[Lane<T>]>,
    /// Cores that have not told their end.
    pub(super) lanes_open: usize,
    pub(super) pulled: u64,
    pub(super) finished: u64,
    /// Finished and not consumed. Each holds a credit.
    pub(super) results: VecDeque<Done<T>>,
    pub(super) end: Option<End>,
    pub(super) paused: bool,
    /// Nothing more is to be pulled.
    pub(super) stopped: bool,
    /// It was shut down before its inputs had come to their end.
    pub(super) cut_short: bool,
    /// Ends to come, which a core's timer brings.
    pub(super) alarms: Vec<(Duration, End)>,
    pub(super) consumer: Option<Waker>,
    pub(super) tally: Tally,
    /// What the caller's iterator, stream or closure threw, for the consumer.
    pub(super) thrown: Option<Box<dyn Any + Send>>,
    pub(super) started: Instant,
    pub(super) ended: Option<Instant>,
}

/// What is fixed for a batch's life.
pub(super) struct Plan {
    pub(super) settings: Arc<Settings>,
    pub(super) seats: Arc<[Seat<Note>]>,
    pub(super) homes: Homes,
    pub(super) max_body_bytes: Option<u64>,
    pub(super) fails_fast: bool,
    /// Whether a core keeps what it pulled, if it may: results are consumed there too.
    pub(super) keeps: bool,
}

pub(super) struct Shared<T> {
    pub(super) plan: Plan,
    abandoned: AtomicBool,
    state: Mutex<State<T>>,
}

/// Drops what is the caller's, whose panic concerns nobody then.
pub(super) fn let_go<V>(value: V) {
    drop_quietly(|| drop(value));
}

pub(super) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(wake_quietly);
}

impl<T> State<T> {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.supply, Supply::Gone) && self.pulled == self.finished
    }

    /// Who has to hear of it if the batch is over now: everybody, but once.
    pub(super) fn tell_over(&mut self) -> Vec<Waker> {
        if !self.is_over() || self.ended.is_some() {
            return Vec::new();
        }
        self.ended = Some(Instant::now());
        self.everybody()
    }

    fn everybody(&mut self) -> Vec<Waker> {
        let drivers = self.lanes.iter_mut().filter_map(|lane| lane.driver.take());
        drivers.chain(self.consumer.take()).collect()
    }

    /// Takes the inputs away for good.
    fn take_supply(&mut self) -> Option<Box<dyn Pull<T>>> {
        self.stopped = true;
        match std::mem::replace(&mut self.supply, Supply::Gone) {
            Supply::Here(source) => Some(source),
            // Whoever pulls finds the batch stopped.
            away => {
                self.supply = away;
                None
            }
        }
    }

    pub(super) fn may_pull(&self, core: u32) -> bool {
        matches!(self.supply, Supply::Here(_))
            && self.credits.free() > 0
            && !self.paused
            && self.end.is_none()
            && self.puller.is_none_or(|puller| puller == core)
    }
}

impl<T: Send + 'static> Shared<T> {
    pub(super) fn new(plan: Plan, source: Box<dyn Pull<T>>, credits: Credits) -> Self {
        let lane = || Lane { handed: VecDeque::new(), driver: None };
        let state = State {
            credits,
            supply: Supply::Here(source),
            puller: None,
            lanes: plan.seats.iter().map(|_| lane()).collect(),
            lanes_open: 0,
            pulled: 0,
            finished: 0,
            results: VecDeque::new(),
            end: None,
            paused: false,
            stopped: false,
            cut_short: false,
            alarms: Vec::new(),
            consumer: None,
            tally: Tally::default(),
            thrown: None,
            started: Instant::now(),
            ended: None,
        };
        Self { plan, abandoned: AtomicBool::new(false), state: Mutex::new(state) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Ends the batch: nothing more is pulled, and what is in flight is cancelled. The first reason stays, but nothing stays when the batch is abandoned.
    pub(super) fn end(&self, why: End) {
        let state = self.lock();
        self.end_locked(state, why);
    }

    /// [`Shared::end`], once no other can come between.
    pub(super) fn end_locked(&self, mut state: MutexGuard<'_, State<T>>, why: End) {
        let abandoned = why == End::Abandoned;
        if !abandoned && (state.end.is_some() || state.is_over()) {
            return;
        }
        state.end = Some(why);
        let results = match abandoned {
            true => std::mem::take(&mut state.results),
            false => VecDeque::new(),
        };
        self.abandoned.fetch_or(abandoned, Ordering::AcqRel);
        let source = match why {
            // The consumer sees to what is still to come: `fail_rest`.
            End::Shutdown => None,
            _ => state.take_supply(),
        };
        let mut everybody = state.tell_over();
        everybody.extend(state.everybody());
        drop(state);
        wake(everybody);
        let_go(source);
        let_go(results);
    }

    /// Pulls nothing more; what is in flight goes on, for so long at most.
    pub(super) fn stop(&self, longest: Duration) {
        let mut state = self.lock();
        let source = state.take_supply();
        state.alarms.push((longest, End::Drained));
        let mut everybody = state.tell_over();
        everybody.extend(state.everybody());
        drop(state);
        wake(everybody);
        let_go(source);
    }

    /// A closure of the caller's panicked where no input can have that for its result: the consumer goes on with the panic.
    pub(super) fn throw(&self, payload: Box<dyn Any + Send>) {
        self.lock().thrown.get_or_insert(payload);
        self.end(End::FailFast);
    }

    /// Has nothing more pulled.
    pub(super) fn pause(&self) {
        self.lock().paused = true;
    }

    /// Goes on pulling.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        state.paused = false;
        let everybody = state.everybody();
        drop(state);
        wake(everybody);
    }

    /// Takes pulled inputs in, places them, and puts their source back.
    pub(super) fn put_back(
        &self,
        core: u32,
        source: Box<dyn Pull<T>>,
        (inputs, unused): (&mut Vec<Input<T>>, usize),
        pulled: Pulled,
    ) {
        let mut state = self.lock();
        state.credits.untake(unused);
        let mut wakers = Vec::new();
        if state.end != Some(End::Abandoned) {
            for (tag, request) in inputs.drain(..) {
                let lane = self.take_in(&mut state, core, tag, request);
                wakers.extend(lane.filter(|lane| *lane != core).and_then(|lane| {
                    let lane = &mut state.lanes[lane as usize];
                    lane.driver.take()
                }));
            }
        }
        let goes_on = !state.stopped && matches!(pulled, Pulled::More | Pulled::Dry);
        if matches!(pulled, Pulled::Dry) {
            state.puller = Some(core);
        }
        if let Pulled::Panicked(payload) = pulled {
            state.thrown.get_or_insert(payload);
        }
        let (supply, source) =
            if goes_on { (Supply::Here(source), None) } else { (Supply::Gone, Some(source)) };
        state.supply = supply;
        wakers.extend(state.tell_over());
        if state.end.is_some() {
            wakers.extend(state.consumer.take());
        }
        drop(state);
        wake(wakers);
        let_go(source);
    }

    /// Numbers an input and hands it to a core.
    fn take_in(
        &self,
        state: &mut State<T>,
        own: u32,
        tag: T,
        request: Result<Request, Error>,
    ) -> Option<u32> {
        let job = Job { index: state.pulled, tag, request };
        state.pulled += 1;
        let (core, spilled) = match state.end {
            None => self.place(&job, own),
            Some(_) => (own, false),
        };
        let load = &self.plan.seats[core as usize].load;
        load.placed.fetch_add(1, Ordering::Relaxed);
        load.placed_total.fetch_add(1, Ordering::Relaxed);
        load.spilled.fetch_add(u64::from(spilled), Ordering::Relaxed);
        let lane = state.lanes.get_mut(core as usize)?;
        lane.handed.push_back(job);
        Some(core)
    }

    fn place(&self, job: &Job<T>, own: u32) -> (u32, bool) {
        let Ok(request) = &job.request else { return (own, false) };
        let host = request.target.origin().number();
        match self.plan.keeps {
            true => self.plan.homes.keep(host, own, |core| self.load(core)),
            false => self.plan.homes.place(host, |core| self.load(core)),
        }
    }

    pub(super) fn load(&self, core: u32) -> u32 {
        self.plan.seats[core as usize].load.placed.load(Ordering::Relaxed)
    }
}
