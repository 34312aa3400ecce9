//! One core: a driver, its connections and their timers. `turn` runs one loop turn: reap, timers, act, submit and wait. Knows no threads, prints nothing.
//!
//! A shard keeps a fixed number of *lanes*. Each lane holds at most one connection, opens it when there is something to send, and opens another when it is gone.
//! What is sent and what becomes of it is the business of a [`Handler`], which the shard asks and tells; the shard itself decides how: when to connect, how to
//! receive, when to give up. Every request that was sent ends in exactly one of [`Handler::handle_response`], [`Handler::handle_failure`] and
//! [`Handler::handle_unsent`].
//!
//! | file | what it is |
//! |---|---|
//! | `turn` | one turn of the loop |
//! | `config` | what is fixed for a shard's life |
//! | `connection` | one lane: its state graph and what it is receiving |
//! | `counters` | what is counted |
//! | `dial` | opening, backing off, closing |
//! | `doorbell` | wakes a core that sleeps in its driver |
//! | `exchange` | requests out, responses in |
//! | `held` | requests kept back until it is known what stands behind a response |
//! | `backlog` | operations that wait for room |
//! | `intake` | how much a turn takes in |
//! | `reading` | responses out of received bytes |
//! | `failure` | how requests fail |
//! | `handler` | who gives a shard its work |
//! | `timers` | one list a timeout class |
//! | `settle` | how long to wait for company before a turn |
//! | `core`, `tasks` | futures that run on the core, and the loop that runs them |
//! | `pool`, `limits` | connections of a client, and limits that hold over all cores |
//! | `wheel` | arbitrary deadlines |

mod backlog;
mod config;
mod connection;
pub(crate) mod core;
mod counters;
mod dial;
pub mod doorbell;
mod exchange;
mod failure;
mod handler;
mod held;
pub(crate) mod intake;
pub(crate) mod limits;
pub(crate) mod pool;
mod reading;
mod settle;
pub mod tasks;
pub mod timers;
mod turn;
pub(crate) mod wheel;

use std::io;
use std::rc::Rc;

use crate::clock::Instant;
use crate::driver::{Completion, Driver, Slot, TemplateId};
use crate::proto::h1;
use backlog::Backlog;
pub use config::{Body, Config, Copies, Heads};
use connection::{Connection, State};
pub use core::TURN_BUCKETS;
pub use counters::Counters;
pub use dial::{BACKOFF_FIRST, BACKOFF_MAX};
pub use exchange::{LARGE_BODY_BYTES, QUIET_BYTES_MAX};
pub use failure::Failure;
pub use handler::{Handler, Next, Response};
use intake::Lateness;
pub use pool::config::{Reuse, Timeouts, TotalFrom};
pub use pool::{ATTEMPT_DELAY, DRAIN_BYTES_MAX, DRAIN_TIME_MAX, Holding, PoolCounters};
pub use settle::{GATHER_TIME, Settle};
use timers::Fifo;

/// Whether lanes still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// No new requests, no new connections.
    Draining,
    /// Everything is being closed.
    Closing,
}

/// The connections of one core on one driver. Not `Send` in spirit: it belongs to the thread that opened its driver.
#[derive(Debug)]
pub struct Shard<D: Driver> {
    driver: D,
    config: Config,
    templates: Vec<TemplateId>,
    /// Requests that one send may hold.
    copies: u32,
    /// Bytes of the largest request so far.
    request_bytes_max: u32,
    /// Whether there are requests that nothing may follow before they are answered: none are pipelined then.
    one_by_one: bool,
    lanes: Box<[Connection]>,
    /// By lane.
    dialing: Fifo,
    /// By request: lane times pipeline, plus the request's number modulo pipeline.
    awaiting: Fifo,
    /// Lanes that back off, by due time: a heap of at most one entry a lane.
    backoff: std::collections::BinaryHeap<std::cmp::Reverse<(Instant, u32)>>,
    completions: Vec<Completion>,
    /// Connections whose next request is kept back, and the turn from which on it is not.
    held: Vec<(Slot, u64)>,
    backlog: Backlog,
    lateness: Lateness,
    memo: h1::HeadMemo,
    phase: Phase,
    /// Lanes whose slot is in use.
    open: u32,
    /// When the last turn began.
    now: Instant,
    /// By target: the place of the address that answered last.
    preferred: Box<[u32]>,
    /// By server: sockets that were bound to a local address, those of other shards before it included.
    bound: Box<[u64]>,
    /// Requests unanswered.
    in_flight: u32,
    settle: settle::Gathering,
    counters: Counters,
}

impl<D: Driver> Shard<D> {
    /// A shard on `driver`, with all lanes closed.
    ///
    /// # Errors
    /// `InvalidInput` if the requests are empty or too large for the driver.
    pub fn new(mut driver: D, config: Config) -> io::Result<Self> {
        let templates = config.templates.iter();
        let templates = templates.map(|copies| driver.register(Rc::clone(&copies.bytes)));
        let templates = templates.collect::<io::Result<_>>()?;
        let copies = config.templates.iter().map(Copies::count).min().unwrap_or(u32::MAX);
        let sizes = config.templates.iter().map(|copies| copies.request_bytes);
        let request_bytes_max = sizes.max().unwrap_or_default();
        let one_by_one = config.templates.iter().any(|copies| copies.sent.is_final());
        let lanes = (0..config.lanes)
            .map(|lane| Connection::new(lane, config.pipeline, &config.limits))
            .collect();
        let nodes = config.lanes as usize * config.pipeline as usize;
        Ok(Self {
            templates,
            copies,
            request_bytes_max,
            one_by_one,
            lanes,
            dialing: Fifo::new(config.lanes as usize, config.connect_timeout),
            awaiting: Fifo::new(nodes, config.response_timeout),
            backoff: std::collections::BinaryHeap::with_capacity(config.lanes as usize),
            completions: Vec::with_capacity(2 * crate::driver::REAP_MAX),
            held: Vec::new(),
            backlog: Backlog::default(),
            lateness: Lateness::default(),
            memo: h1::HeadMemo::new(),
            phase: Phase::Running,
            open: 0,
            now: Instant::default(),
            preferred: vec![0; config.targets.len()].into(),
            bound: vec![config.sources_taken; config.targets.len()].into(),
            in_flight: 0,
            settle: settle::Gathering::new(config.settle),
            counters: Counters::default(),
            driver,
            config,
        })
    }

    /// Opens connections and sends where the handler has something: call it at the start, and when a handler that had nothing has something again.
    pub fn rouse(&mut self, handler: &mut impl Handler, now: Instant) {
        for lane in 0..self.config.lanes {
            self.rouse_lane(lane, handler, now);
        }
    }

    /// The same for one lane.
    #[inline]
    pub fn rouse_lane(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        self.now = now;
        match self.lanes.get(lane as usize).map(|connection| connection.state) {
            Some(State::Vacant) => self.dial(lane, handler, now),
            Some(State::Open) => self.send_more(lane, handler, now),
            _ => {}
        }
    }

    /// Whether a request given to this lane now would go out at once.
    #[inline]
    #[must_use]
    pub fn is_ready(&self, lane: u32) -> bool {
        self.phase == Phase::Running
            && self.lanes.get(lane as usize).is_some_and(|connection| {
                connection.state == State::Open
                    && connection.sending == connection::Sending::Free
                    && connection.unanswered() < self.config.pipeline
                    && (connection.unanswered() == 0 || !self.is_unproven(connection))
                    && connection.left > 0
                    && connection.machine.close_reason().is_none()
            })
    }

    /// Stops sending and connecting; responses that are due still come.
    pub fn drain(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining;
        }
    }

    /// Ends what is unanswered as [`Failure::Cancelled`] and closes every connection: turn until [`Shard::is_closed`].
    pub fn close(&mut self, handler: &mut impl Handler, now: Instant) {
        self.phase = Phase::Closing;
        self.backoff.clear();
        for lane in 0..self.config.lanes {
            self.fail_outstanding(lane, Failure::Cancelled, handler, now);
            self.close_connection(lane);
        }
    }

    /// Whether no request is unanswered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Whether no connection is open or in the making.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.open == 0 && self.backlog.is_empty()
    }

    /// Requests unanswered.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The driver, to read its counters.
    #[must_use]
    pub fn driver(&self) -> &D {
        &self.driver
    }
}
