//! Accounts for every request: begun once, ended once, answered with the right bytes, timed out neither early nor late, served in its turn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use ringshot::client::{Error, Kind, LocalBody, Response, Sent, TimeoutKind, Timeouts, TotalFrom};
use ringshot::clock::Instant;
use ringshot::driver::sim::Clock;

use super::book::{Answer, Book, HostId, Soundness};
use super::errand::{Errand, Upload};

/// A timer's tick, and the longest oversleep of the simulated kernel.
const LATE_MAX: Duration = Duration::from_millis(2);

/// What a client's requests are held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) timeouts: Timeouts,
    /// How often the policy lets a request be sent.
    pub(super) attempts: usize,
    /// Every request must succeed, but for those that nobody may repeat.
    pub(super) patient: bool,
    /// Idle connections may end under a request.
    pub(super) idle_ends: bool,
    /// Servers may speak HTTP/1.0.
    pub(super) old: bool,
}

/// How requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) begun: u64,
    pub(super) whole: u64,
    pub(super) dropped: u64,
    pub(super) timeouts: u64,
    pub(super) failed: u64,
    pub(super) stale: u64,
}

impl Totals {
    pub(super) fn merge(&mut self, other: &Self) {
        self.begun += other.begun;
        self.whole += other.whole;
        self.dropped += other.dropped;
        self.timeouts += other.timeouts;
        self.failed += other.failed;
        self.stale += other.stale;
    }
}

#[derive(Debug)]
struct Entry {
    errand: Errand,
    submitted: Instant,
    /// Since when its future is awaited.
    waits: Option<Instant>,
    ended: bool,
    /// When it had a connection, if that was its first attempt.
    acquired: Option<Instant>,
}

pub(super) struct Ledger {
    pub(super) terms: Vec<Terms>,
    pub(super) clock: Clock,
    pub(super) book: Rc<RefCell<Book>>,
    entries: BTreeMap<u64, Entry>,
    pub(super) live: usize,
    pub(super) totals: Totals,
    /// The engine was shut down: anything may fail.
    pub(super) shut: bool,
}

impl Ledger {
    pub(super) fn new(terms: Vec<Terms>, clock: Clock, book: &Rc<RefCell<Book>>) -> Self {
        let (entries, totals) = (BTreeMap::new(), Totals::default());
        Self { terms, clock, book: Rc::clone(book), entries, live: 0, totals, shut: false }
    }

    pub(super) fn problem(&self, problem: impl AsRef<str>) {
        let at = self.clock.now().as_nanos();
        self.book.borrow_mut().problem(format!("at {at}: {}", problem.as_ref()));
    }

    fn terms_of(&self, host: HostId) -> &Terms {
        &self.terms[usize::from(host.client)]
    }

    /// After a turn: whose total timeout is over must have been told.
    pub(super) fn check_overdue(&self) {
        let now = self.clock.now();
        for (id, entry) in self.entries.iter().filter(|(_, entry)| !entry.ended) {
            let timeouts = self.terms_of(entry.errand.host).timeouts;
            let total = entry.errand.total.or(timeouts.total);
            let Some((since, total)) = entry.waits.zip(total) else { continue };
            let due = (entry.submitted + total).max(since);
            if timeouts.total_from == TotalFrom::Submit && due + LATE_MAX < now && !self.shut {
                self.problem(format!("request {id} is overdue since {due:?}: {entry:?}"));
            }
        }
    }

    /// Those that have not ended.
    pub(super) fn stuck(&self) -> Vec<String> {
        let live = self.entries.values().filter(|entry| !entry.ended);
        live.map(|entry| format!("{entry:?}")).collect()
    }

    /// At the end: every request ended once, came as often as it may, and each host's had their connections in turn.
    pub(super) fn settle(&self) {
        let Totals { begun, whole, dropped, timeouts, failed, .. } = self.totals;
        if begun != whole + dropped + timeouts + failed || self.live != 0 {
            self.problem(format!("not every request ended once: {:?}", self.totals));
        }
        let mut last: BTreeMap<HostId, Instant> = BTreeMap::new();
        for (id, entry) in &self.entries {
            let Errand { host, .. } = entry.errand;
            let terms = self.terms_of(host);
            let receipts = self.book.borrow().receipts.get(id).cloned().unwrap_or_default();
            let most = if entry.errand.may_repeat() { 2 * terms.attempts } else { 1 };
            if receipts.len() > most {
                self.problem(format!("request {id} came {} times", receipts.len()));
            }
            if terms.attempts == 1 && receipts.get(1).is_some_and(|second| second.before > 0) {
                self.problem(format!("request {id} went to a used connection: {receipts:?}"));
            }
            if let Some(acquired) = entry.acquired.filter(|_| terms.patient) {
                let before = last.insert(host, acquired);
                if before.is_some_and(|before| before > acquired) {
                    self.problem(format!("request {id} overtook one before it"));
                }
            }
        }
    }
}

/// A request's place in the ledger. Dropped before its end, it says that the request was.
pub(super) struct Ticket {
    id: u64,
    ledger: Rc<RefCell<Ledger>>,
    ended: Cell<bool>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(|totals| totals.dropped += 1);
    }
}

impl Ticket {
    pub(super) fn begin(errand: &Errand, ledger: &Rc<RefCell<Ledger>>) -> Self {
        let mut book = ledger.borrow_mut();
        let submitted = book.clock.now();
        let entry =
            Entry { errand: errand.clone(), submitted, waits: None, ended: false, acquired: None };
        book.entries.insert(errand.id, entry);
        book.live += 1;
        book.totals.begun += 1;
        drop(book);
        Self { id: errand.id, ledger: Rc::clone(ledger), ended: Cell::new(false) }
    }

    fn end(&self, how: impl FnOnce(&mut Totals)) {
        if self.ended.replace(true) {
            return;
        }
        let mut ledger = self.ledger.borrow_mut();
        ledger.live -= 1;
        how(&mut ledger.totals);
        if let Some(entry) = ledger.entries.get_mut(&self.id) {
            entry.ended = true;
        }
    }

    fn problem(&self, problem: impl AsRef<str>) {
        let ledger = self.ledger.borrow();
        let errand = &ledger.entries[&self.id].errand;
        ledger.problem(format!("request {}: {}: {errand:?}", self.id, problem.as_ref()));
    }

    /// Awaits a future of the client's, during which its timeouts are due.
    pub(super) async fn wait<F: Future>(&self, future: F) -> F::Output {
        self.note_wait(true);
        let output = future.await;
        self.note_wait(false);
        output
    }

    fn note_wait(&self, waits: bool) {
        let mut ledger = self.ledger.borrow_mut();
        let now = ledger.clock.now();
        if let Some(entry) = ledger.entries.get_mut(&self.id) {
            entry.waits = waits.then_some(now);
        }
    }

    /// Finds the answer that a head belongs to; `None` if there is none, and it is no wonder.
    pub(super) fn check_head<'a>(&'a self, response: &Response<LocalBody>) -> Option<Reader<'a>> {
        let status = response.status().as_u16();
        let number = response.headers().get("x-answer");
        let number = number.and_then(|number| number.to_str().ok()?.parse::<usize>().ok());
        if status == 408 && number.is_none() {
            self.end(|totals| totals.failed += 1);
            if !self.ledger.borrow().terms_of(self.host()).idle_ends {
                self.problem("408 without an idle end");
            }
            return None;
        }
        let book = Rc::clone(&self.ledger.borrow().book);
        let answer = number.and_then(|number| book.borrow().answers.get(number).cloned());
        let Some(answer) = answer.filter(|answer| answer.request == self.id) else {
            self.problem(format!("the answer is another's: {number:?}"));
            return None;
        };
        if answer.status != status {
            self.problem(format!("status {status}, not {}", answer.status));
        }
        let mut ledger = self.ledger.borrow_mut();
        ledger.totals.stale += u64::from(response.attempts() > 1);
        let entry = ledger.entries.get_mut(&self.id)?;
        let first = response.attempts() == 1;
        let acquired = response.timings().acquired.filter(|_| first);
        entry.acquired = acquired.map(|acquired| entry.submitted + acquired);
        Some(Reader { ticket: self, answer, at: 0 })
    }

    fn host(&self) -> HostId {
        self.ledger.borrow().entries[&self.id].errand.host
    }

    /// It failed: for a reason that there was, and in time.
    pub(super) fn fail(&self, error: &Error) {
        let ledger = self.ledger.borrow();
        let entry = &ledger.entries[&self.id];
        let elapsed = ledger.clock.now() - entry.submitted;
        let terms = *ledger.terms_of(entry.errand.host);
        let (errand, shut) = (entry.errand.clone(), ledger.shut);
        drop(ledger);
        let doomed = errand.upload.is_doomed();
        let chunked = matches!(errand.upload, Upload::Stream(_) | Upload::Failing(_));
        let refused =
            matches!(error.kind(), Kind::RequestBody(_)) && (doomed || chunked && terms.old);
        let closed = matches!(error.kind(), Kind::Closed | Kind::Io(_)) && terms.idle_ends;
        let streamed = chunked || matches!(errand.upload, Upload::StreamOf(_));
        // What never left this machine is sent again, whatever its method (A5).
        let unsent = error.is_reused() && error.sent() == Sent::None;
        let unrepeatable = streamed || !errand.may_repeat() && !unsent;
        let excused = doomed || refused || shut || (closed && unrepeatable);
        if terms.patient && !excused {
            self.problem(format!("failed: {error}"));
        }
        if let Kind::Timeout(kind) = error.kind() {
            self.check_time(*kind, elapsed, &terms, &errand);
        }
        let timeout = error.is_timeout();
        self.end(|totals| if timeout { totals.timeouts += 1 } else { totals.failed += 1 });
    }

    fn check_time(&self, kind: TimeoutKind, elapsed: Duration, terms: &Terms, errand: &Errand) {
        let Timeouts { queue, acquire, resolve, send, head, read_idle, total, .. } = terms.timeouts;
        let (limit, exact) = match kind {
            TimeoutKind::Queue => (queue, terms.attempts == 1),
            TimeoutKind::Acquire => (acquire, false),
            TimeoutKind::Resolve => (resolve, false),
            TimeoutKind::Send => (send, false),
            TimeoutKind::Head => (head, false),
            TimeoutKind::ReadIdle => (read_idle, false),
            TimeoutKind::Total => (errand.total.or(total), false),
            _ => return,
        };
        let Some(limit) = limit else {
            return self.problem(format!("timed out without a timeout: {kind:?}"));
        };
        // A dial may have begun before the request that waits for it.
        let early = elapsed < limit && kind != TimeoutKind::Resolve;
        if early || exact && elapsed > limit + LATE_MAX {
            self.problem(format!("{kind:?} timed out after {elapsed:?}, not {limit:?}"));
        }
    }
}

/// Holds a body against its answer.
pub(super) struct Reader<'a> {
    ticket: &'a Ticket,
    answer: Answer,
    at: usize,
}

impl Reader<'_> {
    pub(super) fn take(&mut self, piece: &[u8]) {
        let expected = self.answer.body.get(self.at..self.at + piece.len());
        if expected != Some(piece) {
            self.ticket.problem(format!("wrong bytes at {} of its body", self.at));
        }
        self.at += piece.len();
    }

    pub(super) fn skip(&mut self, bytes: u64) {
        self.at += bytes as usize;
    }

    /// The body is said to be complete.
    pub(super) fn end(self, body: Option<&LocalBody>) {
        let (got, length) = (self.at, self.answer.body.len());
        if got != length || self.answer.sound == Soundness::Broken {
            let sound = self.answer.sound;
            self.ticket.problem(format!("{got} bytes of {length} are all of a {sound:?} answer"));
        }
        if let Some(body) = body {
            let sum = body.trailers().and_then(|trailers| trailers.get("x-sum"));
            let sum = sum.and_then(|sum| sum.to_str().ok()?.parse::<u64>().ok());
            if sum != self.answer.trailer {
                self.ticket.problem(format!("trailer {sum:?}, not {:?}", self.answer.trailer));
            }
            if body.timings().and_then(|timings| timings.done).is_none() {
                self.ticket.problem("an end without its time");
            }
        }
        self.ticket.end(|totals| totals.whole += 1);
    }
}
