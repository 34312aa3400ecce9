//! A future's hold on its exchange: what it waits for, what it takes, what it gives. Touches no connection, and leaves a note for what the pool has to do.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::asked::{Ask, Asked, Command};
use super::desk::Desk;
use super::exchange::{Carrier, Exchange, Failed, Reader, Stage, Stamps, Standing, Trace};
use super::head::Head;
use super::outgoing::Outgoing;
use super::slab::Id;
use crate::clock::Instant;
use crate::error::Kind;
use crate::proto::h1;
use crate::shard::tasks::is_in_task;
use crate::sync::note_waker;

/// What [`InFlight::look`] shows.
pub(crate) struct Arrival<'a> {
    pub(crate) stamps: &'a Stamps,
    /// When the request first had a connection, in this attempt or before.
    pub(crate) acquired: Option<Instant>,
    pub(crate) carrier: &'a Carrier,
    /// Body bytes that were announced and not read yet.
    pub(crate) left: Option<u64>,
    /// Whether a stale connection cost it an attempt.
    pub(crate) was_retried: bool,
}

/// A future's hold on its exchange. Dropping it cancels what is not over.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(super) desk: Rc<Desk>,
    pub(super) id: Id,
    pub(super) trace: Option<Rc<Trace>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.give_back() {
            self.desk.ask(Ask::Drop, self.id);
        }
    }
}

/// How a request comes for a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Admission {
    #[default]
    First,
    /// It held one before, and gave it back for a while: before those that did not.
    Again,
}

/// A permit between two exchanges of one request. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit {
    desk: Rc<Desk>,
    /// Whose it is; nobody's once it was handed on.
    client: Option<u32>,
}

impl Permit {
    /// Another exchange has it from now on.
    pub(super) fn hand_on(mut self) {
        self.client = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.desk.note(Asked::permit(client));
        }
    }
}

/// What a failed exchange says when nobody remembers why.
pub(crate) fn shutdown() -> Box<Failed> {
    Box::new(Failed { kind: Kind::Shutdown, standing: Standing::default(), others: None })
}

impl InFlight {
    /// Frees the place of an exchange that has ended, for the next request of the same task: it is in the cache, and knows whom to wake. `false`: the pool has to.
    #[inline]
    fn give_back(&self) -> bool {
        // Somebody's drop in the midst of a look at another exchange.
        let Ok(mut exchanges) = self.desk.exchanges.try_borrow_mut() else { return false };
        let Some(exchange) = exchanges.find_mut(self.id) else { return true };
        if let Some(trace) = &self.trace {
            trace.standing.set(exchange.standing_at_drop());
        }
        if exchange.stage != Stage::Ended || !exchange.is_counted {
            return false;
        }
        let asked = Asked::over(exchange);
        // Only a task's of this core: who knows what another one keeps alive.
        let waker = exchange.waker.take().filter(|_| is_in_task());
        exchanges.free(self.id);
        if let Some(place) = exchanges.place_mut(self.id.index) {
            place.waker = waker;
        }
        drop(exchanges);
        self.desk.note(asked);
        true
    }

    #[inline]
    pub(super) fn with<R>(&self, read: impl FnOnce(&mut Exchange) -> R) -> Option<R> {
        self.desk.exchanges.borrow_mut().find_mut(self.id).map(read)
    }

    /// Takes the permit that it holds, if it holds one, for what follows it.
    pub(crate) fn take_permit(&self) -> Option<Permit> {
        self.with(|exchange| {
            std::mem::take(&mut exchange.has_permit)
                .then(|| Permit { desk: Rc::clone(&self.desk), client: Some(exchange.client) })
        })?
    }

    /// Who reads does so ahead of who wants the bytes.
    pub(crate) fn read_ahead(&self) {
        self.with(|exchange| exchange.reads_ahead = true);
    }

    /// How far it has come.
    pub(crate) fn standing(&self) -> Standing {
        self.with(|exchange| exchange.standing()).unwrap_or_default()
    }

    /// Body bytes that were announced and not read yet.
    pub(crate) fn left(&self) -> Option<u64> {
        self.with(|exchange| exchange.left)?
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
            exchange.await_news(cx);
            Poll::Pending
        });
        polled.unwrap_or_else(|| self.desk.poll_refusal(cx).map(|()| Err(shutdown())))
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) fn poll_chunk(&self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, Box<Failed>>> {
        let mut read = false;
        let polled = self.with(|exchange| {
            if let Some(chunk) = exchange.inbox.pop() {
                exchange.left = exchange.left.map(|left| left.saturating_sub(chunk.len() as u64));
                read = exchange.stage == Stage::Reading && exchange.inbox.bytes() == 0;
                return Poll::Ready(Ok(Some(chunk)));
            }
            if let Some(failed) = exchange.failed.take() {
                return Poll::Ready(Err(failed));
            }
            if exchange.stage == Stage::Ended {
                return Poll::Ready(Ok(None));
            }
            // From here on it is the server that is waited for.
            read = exchange.phase_deadline.is_none() && !exchange.reads_ahead;
            exchange.await_news(cx);
            Poll::Pending
        });
        if read {
            self.desk.ask(Ask::Read, self.id);
        }
        polled.unwrap_or_else(|| Poll::Ready(Err(shutdown())))
    }

    /// Nobody waits for bytes of the body, for now: the server has the rest of its time when somebody does again. One whose time had passed has none left.
    pub(crate) fn stop_waiting(&self) {
        // As in `give_back`: whoever is dropped there takes the body along.
        let Ok(mut exchanges) = self.desk.exchanges.try_borrow_mut() else { return };
        let Some(exchange) = exchanges.find_mut(self.id) else { return };
        exchange.awaits = false;
        let now = self.desk.now();
        let deadline = exchange.phase_deadline.filter(|deadline| *deadline > now);
        if let (Stage::Reading, Some(deadline)) = (exchange.stage, deadline) {
            exchange.phase_deadline = None;
            exchange.idle_left = Some(deadline - now);
        }
    }

    /// The whole body, if all of it has come in one piece.
    #[inline]
    pub(crate) fn take_whole(&self) -> Option<Bytes> {
        self.with(|exchange| {
            let inbox = &mut exchange.inbox;
            let whole =
                exchange.stage == Stage::Ended && exchange.failed.is_none() && inbox.is_one();
            whole.then(|| inbox.pop().unwrap_or_default())
        })?
    }

    /// The end of a body that is thrown away: bytes of it that nobody read.
    pub(crate) fn poll_discarded(&self, cx: &Context<'_>) -> Poll<Result<u64, Box<Failed>>> {
        let mut asked = false;
        let polled = self.with(|exchange| {
            asked = exchange.reader == Reader::Reads;
            exchange.reads_ahead = false;
            exchange.reader = Reader::Discards;
            exchange.discarded += exchange.inbox.bytes() as u64;
            exchange.inbox.clear();
            if let Some(failed) = exchange.failed.take() {
                return Poll::Ready(Err(failed));
            }
            if exchange.stage == Stage::Ended {
                return Poll::Ready(Ok(exchange.discarded));
            }
            exchange.await_news(cx);
            Poll::Pending
        });
        if asked {
            self.desk.ask(Ask::Discard, self.id);
        }
        polled.unwrap_or_else(|| Poll::Ready(Err(shutdown())))
    }

    /// What is known once the head is there, or the request has failed, read where it is.
    #[inline]
    pub(crate) fn look<R>(&self, look: impl FnOnce(Arrival<'_>) -> R) -> Option<R> {
        self.with(|exchange| {
            let Exchange { stamps, acquired, carrier, left, needs_fresh, .. } = exchange;
            let (acquired, left, was_retried) = (*acquired, *left, *needs_fresh);
            look(Arrival { stamps, acquired, carrier, left, was_retried })
        })
    }

    /// The trailers, once the body has ended, and when what happened.
    #[inline]
    pub(crate) fn take_end<R>(
        &self,
        take: impl FnOnce(Option<Box<HeaderMap>>, &Stamps) -> R,
    ) -> Option<R> {
        self.with(|exchange| take(exchange.trailers.take(), &exchange.stamps))
    }

    /// Whether another piece of the request's body is wanted: `false` when none ever will be.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<bool> {
        let polled = self.with(|exchange| {
            let over = exchange.stage == Stage::Ended;
            match &mut exchange.body {
                Outgoing::Pieces(pieces) if !over && !pieces.finished => {
                    // Behind the last byte announced it is asked at once for its end: a surplus is told then, and nothing of it kept.
                    let has_room = pieces.ready.is_empty() || pieces.count.is_complete();
                    if exchange.sends_body && has_room {
                        return Poll::Ready(true);
                    }
                    drop(note_waker(&mut pieces.maker, cx));
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
        self.desk.ask(Ask::Send, self.id);
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
        self.desk.ask(Ask::Send, self.id);
        Ok(())
    }

    /// Gives the request up because its body can't be made.
    pub(crate) fn abort(&self, problem: String) {
        self.desk.command(Command::Abort(self.id, problem));
    }
}
