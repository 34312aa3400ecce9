//! Where futures and the pool of their core meet: requests in, responses out, and nothing else. Never touches a socket.
//!
//! A future reads and fills its exchange and leaves a [`Command`]; the pool acts on commands in its next turn. So a future that is dropped in the midst of
//! anything only ever leaves a note.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::config::Shared;
use super::exchange::{
    Carrier, Exchange, Failed, Outgoing, Pieces, Reader, Stage, Stamps, Standing, Trace,
};
use super::head::Head;
use super::origin::Origin;
use super::slab::{Id, Renew, Slab};
use crate::clock::Instant;
use crate::error::Kind;
use crate::proto::h1;
use crate::shard::wheel::{TimerId, Wheel};

/// What a future asks of the pool.
#[derive(Debug)]
pub(super) enum Command {
    /// Take a client in, under this number.
    Join(u32, Arc<Shared>),
    /// Nobody uses a client on this core any more.
    Leave(u32),
    /// Begin with an exchange.
    Start(Id),
    /// Its future is gone.
    Drop(Id),
    /// Bytes of its body were read: receive on.
    Read(Id),
    /// Throw the rest of its body away, and tell the end.
    Discard(Id),
    /// There is more of its request's body, or its end.
    Send(Id),
    /// Its request's body can't go on.
    Abort(Id, String),
    /// A name was resolved.
    Resolved(Id, Result<Vec<SocketAddr>, String>),
}

/// What the pool asks of whoever resolves names.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A dial waits for the addresses of a name: answer with [`Desk::resolved`].
    Wanted { dial: Id, client: u32, origin: Arc<Origin> },
    /// The dial waits no longer.
    GivenUp { dial: Id },
    /// None of a name's addresses could be connected to.
    Unreachable { client: u32, origin: Arc<Origin> },
    /// Nothing is left of a client, and nothing asked before this is unanswered: its number may be given to another.
    Left { client: u32 },
}

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
    pub(super) fn wake(&mut self) {
        self.over = true;
        self.timer = None;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One core's desk.
pub(crate) struct Desk {
    pub(super) exchanges: RefCell<Slab<Exchange>>,
    pub(super) commands: RefCell<Vec<Command>>,
    pub(super) wheel: RefCell<Wheel>,
    pub(super) sleepers: RefCell<Slab<Sleeper>>,
    lookups: RefCell<Lookups>,
    now: Cell<Instant>,
    /// Between two turns, when others have the thread: time goes on.
    away: Cell<bool>,
    /// Wakes the host's task, where commands may come while it sleeps.
    kick: RefCell<Option<Waker>>,
    closed: Cell<bool>,
}

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
pub(crate) struct Submission {
    /// Which client's.
    pub(crate) client: u32,
    pub(crate) origin: Arc<Origin>,
    pub(crate) body: Outgoing,
    /// Whether the head says `Expect: 100-continue`.
    pub(crate) expects: bool,
    pub(crate) idempotent: bool,
    /// Whether only a fresh connection will do.
    pub(crate) needs_fresh: bool,
    /// Instead of the client's total timeout.
    pub(crate) total: Option<Duration>,
    /// When the total timeout and the stamps begin: a redirect or a retry goes on with the first one's.
    pub(crate) submitted: Instant,
    /// When it first held a permit, if it has before.
    pub(crate) admitted: Option<Instant>,
    /// Learns where the request stood, if it is dropped midway.
    pub(crate) trace: Option<Rc<Trace>>,
}

impl Desk {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            exchanges: RefCell::default(),
            commands: RefCell::default(),
            wheel: RefCell::new(Wheel::new(now)),
            sleepers: RefCell::default(),
            lookups: RefCell::default(),
            now: Cell::new(now),
            away: Cell::new(false),
            kick: RefCell::default(),
            closed: Cell::new(false),
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
        for id in sleepers.ids() {
            if let Some(sleeper) = sleepers.find_mut(id) {
                sleeper.waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Whether the pool takes no more requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    #[inline]
    pub(super) fn command(&self, command: Command) {
        self.commands.borrow_mut().push(command);
        if let Some(waker) = self.kick.borrow_mut().take() {
            waker.wake();
        }
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
        !self.commands.borrow().is_empty()
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
        submission: Submission,
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
        exchange.origin = Some(submission.origin);
        exchange.body = submission.body;
        exchange.expects = submission.expects;
        exchange.idempotent = submission.idempotent;
        exchange.total = submission.total;
        exchange.needs_fresh = submission.needs_fresh;
        exchange.stamps.submitted = submission.submitted;
        exchange.admitted = submission.admitted;
        drop(exchanges);
        self.command(Command::Start(id));
        Ok(in_flight)
    }

    pub(super) fn want_lookup(&self, lookup: Lookup) {
        let mut lookups = self.lookups.borrow_mut();
        lookups.waiting.push_back(lookup);
        if let Some(resolver) = lookups.resolver.take() {
            resolver.wake();
        }
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
    pub(crate) fn resolved(&self, dial: Id, outcome: Result<Vec<SocketAddr>, String>) {
        self.command(Command::Resolved(dial, outcome));
    }

    /// Ends after `duration`, up to 1 ms late, counted from the present turn.
    pub(crate) fn sleep(self: &Rc<Self>, duration: Duration) -> Sleep {
        let id = self.sleepers.borrow_mut().take();
        let key = SLEEP_TIMER | u64::from(id.index);
        let timer = self.wheel.borrow_mut().start(key, self.now() + duration);
        if let Some(sleeper) = self.sleepers.borrow_mut().find_mut(id) {
            sleeper.timer = Some(timer);
        }
        if let Some(waker) = self.kick.borrow_mut().take() {
            waker.wake();
        }
        Sleep { desk: Rc::clone(self), id }
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

/// A future's hold on its exchange. Dropping it cancels what is not over.
#[derive(Debug)]
pub(crate) struct InFlight {
    desk: Rc<Desk>,
    id: Id,
    trace: Option<Rc<Trace>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(trace) = &self.trace
            && let Some(standing) = self.with(|exchange| exchange.standing_at_drop())
        {
            trace.standing.set(standing);
        }
        self.desk.command(Command::Drop(self.id));
    }
}

/// What a failed exchange says when nobody remembers why.
fn shutdown() -> Box<Failed> {
    Box::new(Failed { kind: Kind::Shutdown, standing: Standing::default() })
}

impl InFlight {
    fn with<R>(&self, read: impl FnOnce(&mut Exchange) -> R) -> Option<R> {
        self.desk.exchanges.borrow_mut().find_mut(self.id).map(read)
    }

    /// When the present turn of its core began.
    pub(crate) fn now(&self) -> Instant {
        self.desk.now()
    }

    /// The head of the response.
    #[inline]
    pub(crate) fn poll_head(&self, cx: &Context<'_>) -> Poll<Result<Arc<Head>, Box<Failed>>> {
        let polled = self.with(|exchange| {
            if let Some(head) = exchange.head.take() {
                return Poll::Ready(Ok(head));
            }
            if let Some(failed) = exchange.failed.take() {
                return Poll::Ready(Err(failed));
            }
            note_waker(&mut exchange.waker, cx);
            Poll::Pending
        });
        polled.unwrap_or_else(|| Poll::Ready(Err(shutdown())))
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) fn poll_chunk(&self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, Box<Failed>>> {
        let mut read = false;
        let polled = self.with(|exchange| {
            if let Some(chunk) = exchange.inbox.chunks.pop_front() {
                exchange.inbox.bytes -= chunk.len();
                read = exchange.stage == Stage::Reading && exchange.inbox.bytes == 0;
                return Poll::Ready(Ok(Some(chunk)));
            }
            if let Some(failed) = exchange.failed.take() {
                return Poll::Ready(Err(failed));
            }
            if exchange.stage == Stage::Ended {
                return Poll::Ready(Ok(None));
            }
            note_waker(&mut exchange.waker, cx);
            Poll::Pending
        });
        if read {
            self.desk.command(Command::Read(self.id));
        }
        polled.unwrap_or_else(|| Poll::Ready(Err(shutdown())))
    }

    /// The whole body, if all of it has come in one piece.
    #[inline]
    pub(crate) fn take_whole(&self) -> Option<Bytes> {
        self.with(|exchange| {
            let inbox = &mut exchange.inbox;
            let whole = exchange.stage == Stage::Ended
                && exchange.failed.is_none()
                && inbox.chunks.len() <= 1;
            whole.then(|| {
                inbox.bytes = 0;
                inbox.chunks.pop_front().unwrap_or_default()
            })
        })?
    }

    /// The end of a body that is thrown away: bytes of it that nobody read.
    pub(crate) fn poll_discarded(&self, cx: &Context<'_>) -> Poll<Result<u64, Box<Failed>>> {
        let mut asked = false;
        let polled = self.with(|exchange| {
            asked = exchange.reader == Reader::Reads;
            exchange.reader = Reader::Discards;
            exchange.discarded += exchange.inbox.bytes as u64;
            exchange.inbox.chunks.clear();
            exchange.inbox.bytes = 0;
            if let Some(failed) = exchange.failed.take() {
                return Poll::Ready(Err(failed));
            }
            if exchange.stage == Stage::Ended {
                return Poll::Ready(Ok(exchange.discarded));
            }
            note_waker(&mut exchange.waker, cx);
            Poll::Pending
        });
        if asked {
            self.desk.command(Command::Discard(self.id));
        }
        polled.unwrap_or_else(|| Poll::Ready(Err(shutdown())))
    }

    pub(crate) fn stamps(&self) -> Stamps {
        self.with(|exchange| exchange.stamps).unwrap_or_default()
    }

    pub(crate) fn carrier(&self) -> Carrier {
        self.with(|exchange| exchange.carrier).unwrap_or_default()
    }

    /// Whether a stale connection cost it an attempt.
    pub(crate) fn was_retried(&self) -> bool {
        self.with(|exchange| exchange.needs_fresh).unwrap_or_default()
    }

    /// The trailers, once the body has ended.
    pub(crate) fn take_trailers(&self) -> Option<Box<HeaderMap>> {
        self.with(|exchange| exchange.trailers.take())?
    }

    /// Whether another piece of the request's body is wanted: `false` when none ever will be.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<bool> {
        let polled = self.with(|exchange| {
            let over = exchange.stage == Stage::Ended;
            match &mut exchange.body {
                Outgoing::Pieces(pieces) if !over && !pieces.finished => {
                    if exchange.sends_body && pieces.ready.is_empty() {
                        return Poll::Ready(true);
                    }
                    note_waker(&mut pieces.maker, cx);
                    Poll::Pending
                }
                _ => Poll::Ready(false),
            }
        });
        polled.unwrap_or(Poll::Ready(false))
    }

    /// Adds a piece to the request's body.
    ///
    /// # Errors
    /// [`h1::BodyError`] if it is longer than its head says; nothing of it is sent then.
    pub(crate) fn push_piece(&self, piece: Bytes) -> Result<(), h1::BodyError> {
        let pushed = self.with(|exchange| {
            let Outgoing::Pieces(pieces) = &mut exchange.body else { return Ok(()) };
            pieces.push(piece)
        });
        pushed.unwrap_or(Ok(()))?;
        self.desk.command(Command::Send(self.id));
        Ok(())
    }

    /// Ends the request's body.
    ///
    /// # Errors
    /// [`h1::BodyError`] if it is shorter than its head says.
    pub(crate) fn finish_body(&self) -> Result<(), h1::BodyError> {
        let finished = self.with(|exchange| {
            let Outgoing::Pieces(pieces) = &mut exchange.body else { return Ok(()) };
            pieces.finish()
        });
        finished.unwrap_or(Ok(()))?;
        self.desk.command(Command::Send(self.id));
        Ok(())
    }

    /// Gives the request up because its body can't be made.
    pub(crate) fn abort(&self, problem: String) {
        self.desk.command(Command::Abort(self.id, problem));
    }
}

/// Keeps the waker of `cx`, unless it is kept already.
#[inline]
fn note_waker(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

impl Pieces {
    /// A body of this length that somebody makes.
    pub(crate) fn new(length: h1::BodyLength) -> Self {
        Self {
            ready: VecDeque::new(),
            finished: false,
            count: h1::BodyCount::new(length),
            chunked: length == h1::BodyLength::Chunked,
            maker: None,
            touched: false,
        }
    }

    fn push(&mut self, piece: Bytes) -> Result<(), h1::BodyError> {
        self.count.handle_bytes(piece.len() as u64)?;
        if piece.is_empty() {
            return Ok(());
        }
        self.touched = true;
        if self.chunked {
            let mut framed = Vec::with_capacity(piece.len() + 16);
            h1::encode_chunk(&piece, &mut framed);
            self.ready.push_back(framed.into());
        } else {
            self.ready.push_back(piece);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), h1::BodyError> {
        self.count.handle_end()?;
        if self.chunked && !self.finished {
            self.ready.push_back(Bytes::from_static(h1::LAST_CHUNK));
            self.touched = true;
        }
        self.finished = true;
        Ok(())
    }
}
