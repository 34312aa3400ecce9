//! One request and its response, between the future that awaits it and the connection that carries it. Plain state.
//!
//! ```text
//!          no permit free            no connection free
//! Opened ──────────────> Queued ───> Acquiring <────────────── died on a reused connection (once)
//!    │                                   │ connection                   ^
//!    │  ┌────────────────────────────────┘                              │
//!    v  v            100, or its timeout            sent                │
//!  Sending ──> Expecting ──────────> Sending ────────────> Waiting ─────┤
//!                                                             │ head    │
//!                                                             v         v
//!                                                           Reading ──> Ended
//! ```
//! Whatever the stage, dropping the future ends it; the connection goes back only if the response was read to its end.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::expiry::Timer;
use super::head::Head;
use super::in_flight::Admission;
use super::inbox::Inbox;
use super::origin::Origin;
use super::outgoing::Outgoing;
use super::send::Taking;
use super::slab::Renew;
use crate::clock::Instant;
use crate::error::{Kind, Phase, Progress, Sent, TimeoutKind};
use crate::proto::h1;
use crate::sync::{drop_quietly, note_waker, wake_quietly};

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// Not submitted yet.
    #[default]
    Opened,
    Queued,
    Acquiring,
    Sending,
    Expecting,
    Waiting,
    Reading,
    /// The response is complete, or the request has failed.
    Ended,
}

/// When what happened. Zero: it did not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stamps {
    pub(crate) submitted: Instant,
    pub(crate) queued: Instant,
    pub(crate) acquired: Instant,
    pub(crate) resolved: Instant,
    pub(crate) connected: Instant,
    pub(crate) sent: Instant,
    pub(crate) first_byte: Instant,
    pub(crate) done: Instant,
}

/// The connection that carries or carried a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carrier {
    pub(crate) id: u64,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) reused: bool,
}

/// Whether somebody reads the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reader {
    #[default]
    Reads,
    /// It shall be thrown away, and its end told.
    Discards,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) phase: Phase,
    pub(crate) progress: Progress,
}

impl Default for Standing {
    fn default() -> Self {
        Self { phase: Phase::Queue, progress: Progress::default() }
    }
}

/// What is left of a request that was dropped midway, for whoever has to tell of it.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Where it stood when its last attempt was dropped, or that it waits for the next one.
    pub(crate) standing: Cell<Standing>,
    /// Attempts begun.
    pub(crate) attempts: Cell<u8>,
    /// The most that an attempt before the last one sent.
    pub(crate) sent: Cell<Sent>,
}

/// Why a request failed.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) kind: Kind,
    pub(crate) standing: Standing,
    /// What became of the host's other addresses, if it was dialed at several.
    pub(crate) others: Option<Arc<str>>,
}

/// One request and its response.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) stage: Stage,
    /// Which client's.
    pub(super) client: u32,
    /// It stays until this place has a request to another one, see [`Exchange::go_to`].
    pub(super) origin: Option<Arc<Origin>>,
    /// Place of its host, from the submission on.
    pub(super) host: u32,
    /// The encoded head.
    pub(super) head_bytes: Vec<u8>,
    pub(super) sent: h1::Sent,
    pub(super) body: Outgoing,
    /// Whether `Expect: 100-continue` was sent.
    pub(super) expects: bool,
    /// Whether pieces of the body may go out: not before `100 Continue`, where that is waited for.
    pub(super) sends_body: bool,
    /// Sends handed to the driver for the present attempt.
    pub(super) sends: u32,
    pub(super) idempotent: bool,
    /// Only a fresh connection will do: it died on a reused one.
    pub(super) needs_fresh: bool,
    /// It may not be sent again.
    pub(super) is_last: bool,
    pub(super) has_permit: bool,
    pub(super) admission: Admission,
    /// The pool counts it as in flight.
    pub(super) is_counted: bool,
    pub(super) connection: Option<u32>,
    /// How far the dial had come that a request was waiting for when it was aborted.
    pub(super) dialing: Option<Phase>,
    pub(super) carrier: Carrier,
    /// How much of it the kernel took.
    pub(super) progress: Sent,
    /// How much of it went out on connections before this one.
    pub(super) before: Sent,
    pub(super) total: Option<Duration>,
    /// When the request first had a connection: before the redirect or retry that this one is.
    pub(super) acquired: Option<Instant>,
    pub(super) phase_deadline: Option<Instant>,
    /// What is left of the server's time for the next bytes of the body, where somebody has waited for them and gave up.
    pub(super) idle_left: Option<Duration>,
    pub(super) taking: Taking,
    pub(super) total_deadline: Option<Instant>,
    pub(super) stamps: Stamps,
    /// Stays from one request to the next, where they are the same task's: making one costs a reference that other threads could count too.
    pub(super) waker: Option<Waker>,
    /// Whether it is to be woken.
    pub(super) awaits: bool,
    pub(super) head: Option<Arc<Head>>,
    pub(super) inbox: Inbox,
    pub(super) reader: Reader,
    /// Who reads does so ahead of who wants the bytes: the clock of an idle server is not for the pool to watch.
    pub(super) reads_ahead: bool,
    /// Body bytes that were announced and not read yet.
    pub(super) left: Option<u64>,
    pub(super) got_bytes: u64,
    pub(super) discarded: u64,
    pub(super) trailers: Option<Box<HeaderMap>>,
    pub(super) failed: Option<Box<Failed>>,
    /// The timer of this place: it outlives its exchange, see `expiry`.
    pub(super) timer: Timer,
}

impl Renew for Exchange {
    /// One by one: as a whole, both the old and the new one would be moved.
    fn renew(&mut self) {
        let Self {
            stage,
            client,
            origin: _,
            host,
            head_bytes,
            sent,
            body,
            expects,
            sends_body,
            sends,
            idempotent,
            needs_fresh,
            is_last,
            has_permit,
            admission,
            is_counted,
            connection,
            dialing,
            carrier,
            progress,
            before,
            total,
            acquired,
            phase_deadline,
            idle_left,
            taking,
            total_deadline,
            stamps,
            waker,
            awaits,
            head,
            inbox,
            reader,
            reads_ahead,
            left,
            got_bytes,
            discarded,
            trailers,
            failed,
            timer: _,
        } = self;
        head_bytes.clear();
        inbox.clear();
        (*stage, *sent, *reader) = Default::default();
        (*client, *host, *sends, *got_bytes, *discarded) = Default::default();
        (*expects, *sends_body, *idempotent, *needs_fresh) = Default::default();
        (*has_permit, *admission, *is_counted) = Default::default();
        (*awaits, *reads_ahead, *left, *idle_left, *taking) = Default::default();
        (*connection, *dialing, *carrier, *progress, *before) = Default::default();
        (*total, *acquired, *phase_deadline, *total_deadline) = Default::default();
        *is_last = false;
        *stamps = Stamps::default();
        *waker = None;
        *head = None;
        *trailers = None;
        *failed = None;
        *body = Outgoing::None;
    }
}

impl Exchange {
    /// So many bytes of the response came: the server has all of its time for the next ones.
    #[inline]
    pub(super) fn note_bytes(&mut self, bytes: u64) {
        self.got_bytes += bytes;
        self.idle_left = None;
    }

    /// Notes where it goes. Counting a reference to what other cores count too costs all of them a cache miss, and most requests go where the last one went.
    #[inline]
    pub(super) fn go_to(&mut self, origin: &Arc<Origin>) {
        if !self.origin.as_ref().is_some_and(|last| Arc::ptr_eq(last, origin)) {
            self.origin = Some(Arc::clone(origin));
        }
    }

    /// The earliest of its deadlines.
    #[inline]
    pub(super) fn deadline(&self) -> Instant {
        let phase = self.phase_deadline.unwrap_or(Instant::NEVER);
        phase.min(self.total_deadline.unwrap_or(Instant::NEVER))
    }

    #[inline]
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.awaits)
            && let Some(waker) = &self.waker
        {
            drop_quietly(|| waker.wake_by_ref());
        }
    }

    /// Wakes `cx` when there is news.
    #[inline]
    pub(super) fn await_news(&mut self, cx: &Context<'_>) {
        self.awaits = true;
        // Whose drop looks at an exchange finds them all taken: `InFlight::give_back`.
        drop(note_waker(&mut self.waker, cx));
    }

    pub(super) fn wake_maker(&mut self) {
        if let Outgoing::Pieces(pieces) = &mut self.body
            && let Some(maker) = pieces.maker.take()
        {
            wake_quietly(maker);
        }
    }

    /// Ends it, once.
    pub(super) fn fail(&mut self, kind: Kind) {
        if self.stage == Stage::Ended {
            return;
        }
        let mut standing = self.standing();
        standing.phase = kind.phase().unwrap_or(standing.phase);
        self.failed = Some(Box::new(Failed { kind, standing, others: None }));
        self.stage = Stage::Ended;
        self.phase_deadline = None;
        self.total_deadline = None;
        self.wake();
        self.wake_maker();
    }

    pub(super) fn standing(&self) -> Standing {
        let progress = Progress {
            peer: self.carrier.peer,
            reused: self.carrier.reused,
            sent: self.progress.max(self.before),
            got_bytes: self.got_bytes,
        };
        Standing { phase: self.phase(), progress }
    }

    /// What a drop at this moment finds: where it failed, if nobody has been told yet.
    pub(super) fn standing_at_drop(&self) -> Standing {
        self.failed.as_ref().map_or_else(|| self.standing(), |failed| failed.standing)
    }

    fn phase(&self) -> Phase {
        match self.stage {
            Stage::Opened | Stage::Queued => Phase::Queue,
            Stage::Acquiring => self.dialing.unwrap_or(Phase::Acquire),
            Stage::Sending | Stage::Expecting => Phase::Send,
            Stage::Waiting => Phase::Head,
            Stage::Reading | Stage::Ended => Phase::Body,
        }
    }

    /// Which timeout the present stage is waiting for.
    pub(super) fn timeout_kind(&self, now: Instant) -> TimeoutKind {
        if self.total_deadline.is_some_and(|deadline| deadline <= now) {
            return TimeoutKind::Total;
        }
        match self.stage {
            Stage::Opened | Stage::Queued => TimeoutKind::Queue,
            Stage::Acquiring => TimeoutKind::Acquire,
            Stage::Sending | Stage::Expecting => TimeoutKind::Send,
            Stage::Waiting => TimeoutKind::Head,
            Stage::Reading | Stage::Ended => TimeoutKind::ReadIdle,
        }
    }

    /// Back to before its first byte, for another connection.
    pub(super) fn rewind(&mut self) {
        if let Outgoing::Whole { sent, .. } = &mut self.body {
            *sent = 0;
        }
        self.before = self.before.max(self.progress);
        self.progress = Sent::None;
        self.sends = 0;
        self.sends_body = false;
        self.connection = None;
        self.carrier.reused = false;
        self.needs_fresh = true;
        self.stage = Stage::Acquiring;
    }

    /// Whether its response speaks of the idleness of a reused connection (RFC 9110 15.5.9), not of the request, which can go to a fresh one.
    #[inline]
    pub(super) fn is_stale_408(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.status == StatusCode::REQUEST_TIMEOUT)
            && self.idempotent
            && !(self.needs_fresh || self.is_last)
            && self.body.is_replayable()
    }

    /// As if nothing had come.
    pub(super) fn forget_response(&mut self) {
        self.head = None;
        self.got_bytes = 0;
        self.inbox.clear();
        self.discarded = 0;
        (self.left, self.trailers) = (None, None);
        self.stamps.first_byte = Instant::default();
    }

    #[inline]
    pub(super) fn take_piece(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        match self.reader {
            Reader::Reads => {
                self.inbox.push(piece);
                self.wake();
            }
            Reader::Discards => self.discarded += piece.len() as u64,
        }
    }
}
