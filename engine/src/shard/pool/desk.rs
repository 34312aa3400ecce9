//! Where futures and the pool of their core meet: requests in, responses out, and nothing else. Never touches a socket.
//!
//! A future reads and fills its exchange and leaves a note of what it [asks](Ask); the pool acts on notes in its next turn. So a future that is dropped in the midst of
//! anything only ever leaves a note; the place of an exchange that has ended it frees itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::asked::{Ask, Asked, Command, Lookup};
use super::config::Shared;
use super::exchange::{Exchange, Trace};
use super::in_flight::{Admission, InFlight, Permit};
use super::origin::Origin;
use super::outgoing::Outgoing;
use super::slab::{Id, Renew, Slab};
use crate::clock::Instant;
use crate::error::Kind;
use crate::proto::h1;
use crate::shard::wheel::{TimerId, Wheel};
use crate::sync::wake_quietly;

/// What a key of the wheel belongs to: the kind in the high half, the place in the low.
pub(super) const EXCHANGE_TIMER: u64 = 1 << 32;

pub(super) const CONNECTION_TIMER: u64 = 2 << 32;

pub(super) const DIAL_TIMER: u64 = 3 << 32;

pub(super) const SLEEP_TIMER: u64 = 4 << 32;

/// Somebody who sleeps on this core.
#[derive(Debug, Default)]
pub(super) struct Sleeper {
    waker: Option<Waker>,
    pub(super) over: bool,
    timer: Option<TimerId>,
}

impl Renew for Sleeper {
    fn renew(&mut self) {
        *self = Self::default();
    }
}

impl Sleeper {
    /// Its time is over; the waker is for when nothing is borrowed any more.
    pub(super) fn end(&mut self) -> Option<Waker> {
        self.over = true;
        self.timer = None;
        self.waker.take()
    }
}

/// One core's desk.
pub(crate) struct Desk {
    pub(super) exchanges: RefCell<Slab<Exchange>>,
    pub(super) asked: RefCell<Vec<Asked>>,
    commands: RefCell<VecDeque<Command>>,
    pub(super) wheel: RefCell<Wheel>,
    pub(super) sleepers: RefCell<Slab<Sleeper>>,
    lookups: RefCell<Lookups>,
    now: Cell<Instant>,
    /// Between two turns, when others have the thread: time goes on.
    away: Cell<bool>,
    /// Wakes the host's task, where commands may come while it sleeps.
    kick: RefCell<Option<Waker>>,
    closed: Cell<bool>,
    /// What was asked for since it was closed.
    refusals: Cell<u32>,
}

/// How often a closed desk refuses at once: who asks on and on then lets others have their turn first, so that no loop outlives its core.
const REFUSALS_AT_ONCE: u32 = 64;

#[derive(Debug, Default)]
struct Lookups {
    waiting: VecDeque<Lookup>,
    resolver: Option<Waker>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("now", &self.now.get()).finish_non_exhaustive()
    }
}

/// A request that is ready to go.
#[derive(Debug)]
pub(crate) struct Submission<'a> {
    /// Which client's.
    pub(crate) client: u32,
    pub(crate) origin: &'a Arc<Origin>,
    /// Taken, if there is one.
    pub(crate) body: &'a mut Outgoing,
    /// Whether the head says `Expect: 100-continue`.
    pub(crate) expects: bool,
    pub(crate) idempotent: bool,
    /// Whether only a fresh connection will do.
    pub(crate) needs_fresh: bool,
    /// Whether it may not be sent again, wherever it dies.
    pub(crate) is_last: bool,
    /// Instead of the client's total timeout.
    pub(crate) total: Option<Duration>,
    /// When the total timeout and the stamps begin: a redirect or a retry goes on with the first one's.
    pub(crate) submitted: Instant,
    /// When it first had a connection, if it has before.
    pub(crate) acquired: Option<Instant>,
    /// The one that it still holds.
    pub(crate) permit: Option<Permit>,
    pub(crate) admission: Admission,
    /// Learns where the request stood, if it is dropped midway.
    pub(crate) trace: Option<Rc<Trace>>,
}

impl Desk {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            exchanges: RefCell::default(),
            asked: RefCell::default(),
            commands: RefCell::default(),
            wheel: RefCell::new(Wheel::new(now)),
            sleepers: RefCell::default(),
            lookups: RefCell::default(),
            now: Cell::new(now),
            away: Cell::new(false),
            kick: RefCell::default(),
            closed: Cell::new(false),
            refusals: Cell::new(0),
        }
    }

    /// When the present turn began; between two turns, on a thread with others, the clock's time: the last turn may be long ago.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        if self.away.get() { Instant::now() } else { self.now.get() }
    }

    /// Others have the thread until the next turn.
    pub(crate) fn pause(&self) {
        self.away.set(true);
    }

    pub(super) fn set_now(&self, now: Instant) {
        self.away.set(false);
        self.now.set(now);
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// A closed desk lets nobody sleep.
    pub(super) fn wake_sleepers(&self) {
        let mut sleepers = self.sleepers.borrow_mut();
        let ids = sleepers.ids();
        let taken = ids.into_iter().filter_map(|id| sleepers.find_mut(id)?.waker.take());
        let wakers: Vec<Waker> = taken.collect();
        // With the last reference to a task its sleeps go, which look here.
        drop(sleepers);
        wakers.into_iter().for_each(wake_quietly);
    }

    /// For what a closed desk refuses: whether to say so now.
    pub(super) fn poll_refusal(&self, cx: &Context<'_>) -> Poll<()> {
        self.refusals.set(self.refusals.get().wrapping_add(1));
        if self.refusals.get().is_multiple_of(REFUSALS_AT_ONCE) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Whether the pool takes no more requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn command(&self, command: Command) {
        self.commands.borrow_mut().push_back(command);
        self.ask(Ask::Else, Id::NONE);
    }

    pub(super) fn next_command(&self) -> Option<Command> {
        self.commands.borrow_mut().pop_front()
    }

    #[inline]
    pub(super) fn ask(&self, ask: Ask, id: Id) {
        self.note(Asked::of(ask, id));
    }

    #[inline]
    pub(super) fn note(&self, asked: Asked) {
        self.asked.borrow_mut().push(asked);
        self.kick();
    }

    #[inline]
    fn kick(&self) {
        let waker = self.kick.borrow_mut().take();
        waker.into_iter().for_each(wake_quietly);
    }

    /// Takes a client in, under the lowest number that was never used, or one that [`Lookup::Left`] gave back.
    pub(crate) fn join(&self, client: u32, shared: Arc<Shared>) {
        self.command(Command::Join(client, shared));
    }

    /// Nobody uses a client any more: its idle connections close, and its number is given back when nothing is left of it.
    pub(crate) fn leave(&self, client: u32) {
        self.command(Command::Leave(client));
    }

    /// Whether the pool has something to act on.
    #[inline]
    pub(crate) fn has_commands(&self) -> bool {
        !self.asked.borrow().is_empty()
    }

    /// Wakes `waker` at the next command: for a host that sleeps outside the shard.
    pub(crate) fn kick_with(&self, waker: &Waker) {
        *self.kick.borrow_mut() = Some(waker.clone());
    }

    /// Submits a request. `encode` writes its head, and says what the response side must know of it.
    ///
    /// # Errors
    /// What `encode` found.
    pub(crate) fn submit<E>(
        self: &Rc<Self>,
        submission: Submission<'_>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<h1::Sent, E>,
    ) -> Result<InFlight, E> {
        let trace = submission.trace;
        let mut exchanges = self.exchanges.borrow_mut();
        let id = exchanges.take();
        if self.closed.get() {
            // Nobody acts on commands any more: the future finds no exchange, which says so.
            exchanges.free(id);
            return Ok(InFlight { desk: Rc::clone(self), id, trace });
        }
        let in_flight = InFlight { desk: Rc::clone(self), id, trace };
        let Some(exchange) = exchanges.find_mut(id) else { return Ok(in_flight) };
        match encode(&mut exchange.head_bytes) {
            Ok(sent) => exchange.sent = sent,
            Err(error) => {
                drop(exchanges);
                return Err(error);
            }
        }
        exchange.client = submission.client;
        exchange.go_to(submission.origin);
        if !matches!(submission.body, Outgoing::None) {
            exchange.body = std::mem::take(submission.body);
        }
        exchange.expects = submission.expects;
        exchange.idempotent = submission.idempotent;
        exchange.total = submission.total;
        (exchange.needs_fresh, exchange.is_last) = (submission.needs_fresh, submission.is_last);
        exchange.stamps.submitted = submission.submitted;
        exchange.acquired = submission.acquired;
        exchange.has_permit = submission.permit.map(Permit::hand_on).is_some();
        exchange.admission = submission.admission;
        drop(exchanges);
        self.ask(Ask::Start, id);
        Ok(in_flight)
    }

    pub(super) fn want_lookup(&self, lookup: Lookup) {
        let mut lookups = self.lookups.borrow_mut();
        lookups.waiting.push_back(lookup);
        let resolver = lookups.resolver.take();
        drop(lookups);
        resolver.into_iter().for_each(wake_quietly);
    }

    /// The next name to resolve. Never ends while the core lives.
    pub(crate) fn poll_lookup(&self, cx: &mut Context<'_>) -> Poll<Lookup> {
        let mut lookups = self.lookups.borrow_mut();
        match lookups.waiting.pop_front() {
            Some(lookup) => Poll::Ready(lookup),
            None => {
                lookups.resolver = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Answers a [`Lookup`]: addresses in the order in which to try them, or what to tell those who wait.
    pub(crate) fn resolved(&self, dial: Id, outcome: Result<Vec<SocketAddr>, Kind>) {
        self.command(Command::Resolved(dial, outcome));
    }

    /// Ends after `duration`, never sooner but on a closed desk: within a turn it is counted from when the turn's tasks have had theirs. Up to 1 ms late.
    pub(crate) fn sleep(self: &Rc<Self>, duration: Duration) -> Sleep {
        let id = self.sleepers.borrow_mut().take();
        if !self.is_closed() {
            if self.away.get() {
                self.start_sleep(id, self.now() + duration);
            }
            // Between two turns it wakes the host, which has to know of the timer.
            self.command(Command::Sleep(id, duration));
        }
        Sleep { desk: Rc::clone(self), id }
    }

    /// Sets a sleeper's timer, unless it has one or is gone.
    pub(super) fn start_sleep(&self, id: Id, deadline: Instant) {
        let mut sleepers = self.sleepers.borrow_mut();
        if let Some(sleeper) = sleepers.find_mut(id).filter(|it| it.timer.is_none() && !it.over) {
            let key = SLEEP_TIMER | u64::from(id.index);
            sleeper.timer = Some(self.wheel.borrow_mut().start(key, deadline));
        }
    }

    /// Exchanges that are not over: for tests of leaks.
    pub(crate) fn exchanges(&self) -> usize {
        self.exchanges.borrow().len()
    }
}

/// A wait on this core: see [`Desk::sleep`].
#[derive(Debug)]
pub(crate) struct Sleep {
    desk: Rc<Desk>,
    id: Id,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleepers = self.desk.sleepers.borrow_mut();
        match sleepers.find_mut(self.id) {
            Some(sleeper) if !sleeper.over && !self.desk.is_closed() => {
                sleeper.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(_) if self.desk.is_closed() => self.desk.poll_refusal(cx),
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut sleepers = self.desk.sleepers.borrow_mut();
        let timer = sleepers.find_mut(self.id).and_then(|sleeper| sleeper.timer.take());
        sleepers.free(self.id);
        if let Some(timer) = timer {
            self.desk.wheel.borrow_mut().stop(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who outlives its core and sleeps on and on leaves nothing: nobody takes notes away any more.
    #[test]
    fn a_closed_desk_takes_no_notes_of_sleepers() {
        let desk = Rc::new(Desk::new(Instant::now()));
        drop(desk.sleep(Duration::from_secs(1)));
        assert_eq!((desk.asked.borrow().len(), desk.commands.borrow().len()), (1, 1));
        for pauses in [false, true] {
            desk.close();
            if pauses {
                desk.pause();
            }
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..10 * REFUSALS_AT_ONCE {
                let mut sleep = desk.sleep(Duration::from_secs(1));
                let mut poll = || std::pin::Pin::new(&mut sleep).poll(&mut cx);
                assert!(poll().is_ready() || poll().is_ready());
            }
            assert_eq!((desk.asked.borrow().len(), desk.commands.borrow().len()), (1, 1));
            assert_eq!(
                (desk.sleepers.borrow().len(), desk.wheel.borrow().next_deadline()),
                (0, Instant::NEVER)
            );
        }
    }
}
