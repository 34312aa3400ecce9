//! The handler that accounts for every request: given out once, ended once, answered with the right bytes, and timed out neither early nor late.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::driver::sim::{Clock, Random};
use ringshot::shard::{BACKOFF_MAX, Body, Failure, Handler, Next, Response};

use super::server::{Book, Soundness};

/// Longer than any simulated close takes, and one turn.
const CLOSING_MAX: Duration = Duration::from_millis(10);
/// Problems that are kept.
const PROBLEMS_MAX: usize = 8;

/// What a ledger holds its shard to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) connect_timeout: Duration,
    /// Addresses: a dial to one of several may end without a word to the handler, and the next begins when the socket is closed.
    pub(super) peers: usize,
    pub(super) response_timeout: Duration,
    pub(super) body: Body,
    /// Whether failures are problems.
    pub(super) failures: Failures,
    /// How often a lane that asks is left waiting until the next rouse.
    pub(super) idleness: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failures {
    Expected,
    Problems,
}

/// How requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) given: u64,
    pub(super) responses: u64,
    pub(super) failures: u64,
    pub(super) cancelled: u64,
    pub(super) timeouts: u64,
    pub(super) unsent: u64,
    pub(super) dials_failed: u64,
    pub(super) body_bytes: u64,
}

#[derive(Debug, Clone, Default)]
struct Lane {
    /// When its unanswered requests were given out.
    sent: VecDeque<Instant>,
    /// Bytes of the current body.
    body_bytes: usize,
    dialing_since: Option<Instant>,
    /// When it failed and has to dial again.
    failed_at: Option<Instant>,
    /// When a request of it timed out last: those behind it fail with it.
    timed_out_at: Option<Instant>,
    /// Whether it was answered while [`Phase::Probing`].
    alive: bool,
}

pub(super) struct Ledger {
    terms: Terms,
    clock: Clock,
    random: Random,
    book: Rc<RefCell<Book>>,
    lanes: Vec<Lane>,
    pub(super) budget: u64,
    pub(super) totals: Totals,
    pub(super) problems: Vec<String>,
    pub(super) phase: Phase,
    /// Everything told, in order, for comparing two runs.
    pub(super) digest: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests up to the budget, as many as there is room for.
    Running,
    /// One request a lane, until it is answered: no lane may be stuck.
    Probing,
    Draining,
    Closed,
}

impl Ledger {
    pub(super) fn new(
        terms: Terms,
        lanes: u32,
        budget: u64,
        seed: u64,
        clock: Clock,
        book: &Rc<RefCell<Book>>,
    ) -> Self {
        Self {
            terms,
            clock,
            random: Random::new(seed),
            book: Rc::clone(book),
            lanes: vec![Lane::default(); lanes as usize],
            budget,
            totals: Totals::default(),
            problems: Vec::new(),
            phase: Phase::Running,
            digest: 0,
        }
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            let at = self.clock.now().as_nanos();
            self.problems.push(format!("at {at}: {}", problem.into()));
        }
    }

    fn note(&mut self, kind: u64, lane: u32, number: u64) {
        for number in [kind, u64::from(lane), number, self.clock.now().as_nanos()] {
            self.digest = Random::new(self.digest ^ number).number();
        }
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.sent.len() as u64).sum()
    }

    fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Probing)
    }

    fn is_to_probe(&self, lane: u32) -> bool {
        let lane = &self.lanes[lane as usize];
        !lane.alive && lane.sent.is_empty()
    }

    /// Whether every lane has answered since the probing began.
    pub(super) fn all_alive(&self) -> bool {
        self.lanes.iter().all(|lane| lane.alive)
    }

    /// Lanes that have not.
    pub(super) fn stuck(&self) -> Vec<usize> {
        (0..self.lanes.len()).filter(|lane| !self.lanes[*lane].alive).collect()
    }

    fn draw_requests(&mut self, room: u32) -> u64 {
        if self.random.chance(self.terms.idleness) {
            return 0;
        }
        let most = u64::from(room).min(self.budget);
        let count = if most == 0 { 0 } else { self.random.part(most, 0.3) };
        self.budget -= count;
        count
    }

    fn take_sent(&mut self, lane: u32, told: Option<Instant>) {
        let sent = self.lanes[lane as usize].sent.pop_front();
        if sent.is_none() {
            self.problem(format!("lane {lane}: a request ended that was not given out"));
        } else if told.is_some() && told != sent {
            self.problem(format!("lane {lane}: sent at {sent:?}, told {told:?}"));
        }
    }

    /// After a turn: nothing that is due may be left waiting.
    pub(super) fn handle_turn(&mut self) {
        let now = self.clock.now();
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let overdue =
                lane.sent.front().is_some_and(|it| *it + self.terms.response_timeout <= now);
            let dial = lane.dialing_since.filter(|_| self.is_sending());
            let failed = lane.failed_at.filter(|_| self.is_sending());
            if failed.is_some_and(|at| at + BACKOFF_MAX + CLOSING_MAX <= now) {
                self.problem(format!("lane {index}: its backoff does not end"));
            }
            if overdue {
                self.problem(format!("lane {index}: a request is overdue after the turn"));
            }
            let closing = if self.terms.peers > 1 { CLOSING_MAX } else { Duration::ZERO };
            if dial.is_some_and(|since| since + self.terms.connect_timeout + closing <= now) {
                self.problem(format!("lane {index}: a dial is overdue after the turn"));
            }
        }
    }

    /// At the end: every request ended in exactly one way.
    pub(super) fn settle(&mut self) {
        let Totals { given, responses, failures, cancelled, unsent, .. } = self.totals;
        let ended = responses + failures + cancelled + unsent;
        if given != ended || self.outstanding() != 0 {
            self.problem(format!("{given} requests were given out, {ended} ended"));
        }
    }

    fn check_timeout(&mut self, lane: u32, sent: Option<Instant>, now: Instant) {
        let timeout = self.terms.response_timeout;
        let known = &mut self.lanes[lane as usize];
        let follows = known.timed_out_at == Some(now);
        known.timed_out_at = Some(now);
        if !follows && sent.is_none_or(|sent| sent + timeout > now) {
            self.problem(format!("lane {lane}: timed out before its time"));
        }
        self.totals.timeouts += 1;
    }

    fn check_dial(&mut self, lane: u32, failure: Failure, now: Instant) {
        let since = self.lanes[lane as usize].dialing_since.take();
        let early = since.is_none_or(|since| since + self.terms.connect_timeout > now);
        match failure {
            Failure::ConnectTimeout if early => {
                self.problem(format!("lane {lane}: a dial timed out before its time"));
            }
            Failure::ConnectTimeout | Failure::Connect(_) => {}
            _ => self.problem(format!("lane {lane}: {failure} without a request")),
        }
        self.totals.dials_failed += 1;
    }
}

impl Handler for Ledger {
    fn poll_requests(&mut self, lane: u32, room: u32, now: Instant) -> Next {
        if now != self.clock.now() || room == 0 || !self.is_sending() {
            self.problem(format!("lane {lane}: asked for {room} requests in {:?}", self.phase));
        }
        self.lanes[lane as usize].dialing_since = None;
        let count = match self.phase {
            Phase::Probing => u64::from(self.is_to_probe(lane)),
            _ => self.draw_requests(room),
        };
        self.totals.given += count;
        self.lanes[lane as usize].sent.extend((0..count).map(|_| now));
        self.note(1, lane, count);
        (count as u32).into()
    }

    fn wants_connection(&mut self, lane: u32) -> bool {
        self.lanes[lane as usize].failed_at = None;
        let wants = match self.phase {
            Phase::Probing => self.is_to_probe(lane),
            _ => self.budget > 0,
        };
        // An address may have been tried in vain before; one that is no longer wanted ends the dial.
        self.lanes[lane as usize].dialing_since = wants.then(|| self.clock.now());
        wants
    }

    fn handle_response(&mut self, lane: u32, response: Response, _now: Instant) {
        self.note(2, lane, response.status.into());
        self.totals.responses += 1;
        self.take_sent(lane, Some(response.sent));
        self.lanes[lane as usize].alive |= self.phase == Phase::Probing;
        let body_bytes = std::mem::take(&mut self.lanes[lane as usize].body_bytes);
        let answer = self.book.borrow_mut().lanes[lane as usize].pop_front();
        match answer {
            Some(answer) if answer.sound == Soundness::Sound => {
                let whole = self.terms.body == Body::Discard || body_bytes == answer.body.len();
                if answer.status != response.status || !whole {
                    let expected = (answer.status, answer.body.len());
                    let got = (response.status, body_bytes);
                    self.problem(format!("lane {lane}: expected {expected:?}, got {got:?}"));
                }
            }
            Some(_) => self.problem(format!("lane {lane}: took a broken response for a sound one")),
            None => self.problem(format!("lane {lane}: a response that no server sent")),
        }
    }

    fn handle_body(&mut self, lane: u32, piece: &[u8]) {
        let known = &mut self.lanes[lane as usize];
        let start = known.body_bytes;
        known.body_bytes += piece.len();
        self.totals.body_bytes += piece.len() as u64;
        let book = self.book.borrow();
        let answer = book.lanes[lane as usize].front();
        let expected = answer.and_then(|answer| answer.body.get(start..start + piece.len()));
        let right = expected == Some(piece) && self.terms.body == Body::Read;
        drop(book);
        if !right {
            self.problem(format!("lane {lane}: wrong bytes at {start}, {} of them", piece.len()));
        }
    }

    fn handle_failure(&mut self, lane: u32, failure: Failure, sent: Option<Instant>, now: Instant) {
        self.note(3, lane, failure.kind().len() as u64);
        self.lanes[lane as usize].body_bytes = 0;
        self.lanes[lane as usize].failed_at.get_or_insert(now);
        let cancelled = failure == Failure::Cancelled;
        if self.terms.failures == Failures::Problems && !cancelled {
            self.problem(format!("lane {lane}: failed without a fault: {failure}"));
        }
        if sent.is_none() {
            self.check_dial(lane, failure, now);
            return;
        }
        if failure == Failure::Timeout {
            self.check_timeout(lane, sent, now);
        }
        self.take_sent(lane, sent);
        self.totals.cancelled += u64::from(cancelled);
        self.totals.failures += u64::from(!cancelled);
    }

    fn handle_unsent(&mut self, lane: u32, sent: Instant) {
        self.note(4, lane, 1);
        self.take_sent(lane, Some(sent));
        let answered = self.book.borrow().lanes[lane as usize].len();
        if answered > 0 {
            self.problem(format!("lane {lane}: unsent, but {answered} were answered"));
        }
        self.totals.unsent += 1;
        if self.phase == Phase::Running {
            self.budget += 1;
        }
    }
}
