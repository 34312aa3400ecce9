//! One request on its way between a handle on any thread and the core that serves it. Neither side waits for the other but through wakers.
//!
//! ```text
//!  any thread                                     the core
//!  Client::send ── Call in the mailbox ─────────> a task: LocalClient::send
//!     waits     <── head, whole body or an error ──  │
//!  Body::chunk  <── pieces, no more than a few ────  │ waits while they are not read
//!     dropped   ── flag, and a wake ─────────────>   └ dropped
//! ```

mod deliver;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::parcel::Parcel;
use super::response::{Meta, Whole};
use super::settings::Settings;
use crate::clock::Instant;
use crate::error::{Error, History, Kind, Phase, Progress, Sent};
use crate::mesh::wakes::{WakeList, Wakes};
use crate::shard::pool::exchange::{Stamps, Trace};
use crate::sync::{lock, note_waker, wake_quietly};

/// Bytes of a whole body up to which it is copied into what the handle's thread brought: less than it costs to give memory back to another thread.
const COPIED_BYTES_MAX: usize = 128;

/// Bytes of a body that wait between the core and whoever reads, from which the core stops receiving.
const BETWEEN_BYTES_MAX: usize = 64 << 10;

/// How much of a response the core reads before it replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The head; the body follows as it is read.
    Pieces,
    /// All of it.
    Whole,
}

/// What came back.
pub(crate) enum Reply {
    /// All of a response, and its request, which knows where it came from and is to be freed where it was made.
    Whole {
        meta: Box<Meta>,
        whole: Whole,
        parcel: Box<Parcel>,
    },
    /// A head whose body comes in pieces.
    Head(Box<Meta>),
    Failed(Error),
}

struct State {
    parcel: Option<Box<Parcel>>,
    reply: Option<Reply>,
    /// Bytes in `copied`, which are the whole body of `reply`.
    copied_bytes: u8,
    copied: [u8; COPIED_BYTES_MAX],
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    bytes: usize,
    /// Of a body that came in pieces: most come whole.
    ended: Option<Box<Result<Ended, Error>>>,
    told: Told,
    /// The handle's.
    reader: Option<Waker>,
    /// Since when the handle waits for a piece: zero where its time stands still between two turns, until the core has looked.
    waits_since: Option<Instant>,
    /// How long it had waited for that piece before, in waits that it gave up.
    waited: Duration,
    /// That of the thread where the handle was polled.
    list: Option<&'static WakeList>,
    /// The core's task.
    server: Option<Waker>,
}

impl State {
    /// How long the handle has waited for the next piece by `now`, the core's time.
    fn waited_by(&mut self, now: Instant) -> Duration {
        let waits = self.waits_since.as_mut().map(|since| {
            if *since == Instant::default() {
                // It could not say since when: it counts from here.
                *since = now;
            }
            now - *since
        });
        self.waited + waits.unwrap_or_default()
    }
}

/// How much the handle was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Told {
    #[default]
    Nothing,
    Head,
    /// The end, or why there is none.
    All,
}

/// What comes with the end of a body.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) trailers: Option<Box<HeaderMap>>,
    pub(crate) stamps: Option<Stamps>,
    /// Bytes thrown away, if that was asked for.
    pub(crate) discarded: u64,
}

/// One request on its way.
pub(crate) struct Call {
    settings: Arc<Settings>,
    state: Mutex<State>,
    cancelled: AtomicBool,
    discards: AtomicBool,
    reads: Reads,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl Call {
    pub(crate) fn new(settings: Arc<Settings>, parcel: Box<Parcel>, reads: Reads) -> Arc<Self> {
        let state = State {
            parcel: Some(parcel.with_blank()),
            reply: None,
            copied_bytes: 0,
            copied: [0; COPIED_BYTES_MAX],
            pieces: VecDeque::new(),
            bytes: 0,
            ended: None,
            told: Told::Nothing,
            reader: None,
            waits_since: None,
            waited: Duration::ZERO,
            list: None,
            server: None,
        };
        Arc::new(Self {
            settings,
            state: Mutex::new(state),
            cancelled: AtomicBool::new(false),
            discards: AtomicBool::new(false),
            reads,
        })
    }

    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// For the core: the request, and from now on its waker is known.
    pub(super) fn begin(&self, cx: &Context<'_>) -> Option<Box<Parcel>> {
        let mut state = self.lock();
        let before = note_waker(&mut state.server, cx);
        let parcel = state.parcel.take();
        drop(state);
        drop(before);
        parcel
    }

    /// For the core: it waits for something again.
    pub(super) fn note_server(&self, cx: &Context<'_>) {
        let before = note_waker(&mut self.lock().server, cx);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// The handle is gone: the core drops what it does for it.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        let (server, list) = {
            let mut state = self.lock();
            (state.server.take(), state.list)
        };
        server.into_iter().for_each(Waker::wake);
        // It may have been woken on behalf of others.
        list.into_iter().for_each(WakeList::wake_all);
    }

    fn wake_server(&self) {
        let server = self.lock().server.take();
        if let Some(server) = server {
            server.wake();
        }
    }

    /// For the handle: what came back.
    pub(crate) fn poll_reply(&self, cx: &Context<'_>) -> Poll<Reply> {
        self.polled(|mut state| match state.reply.take() {
            Some(mut reply) => {
                if let Reply::Whole { whole, .. } = &mut reply
                    && let Some(copied) = state.copied.get(..state.copied_bytes.into())
                    && !copied.is_empty()
                {
                    whole.bytes = Bytes::copy_from_slice(copied);
                }
                Poll::Ready(reply)
            }
            None => {
                let before = note_waker(&mut state.reader, cx);
                drop(state);
                drop(before);
                Poll::Pending
            }
        })
    }

    /// For the handle, wherever it is polled: others may wait for just that.
    fn polled<T>(&self, act: impl FnOnce(MutexGuard<'_, State>) -> T) -> T {
        let here = WakeList::here();
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.list, here);
        let polled = act(state);
        here.into_iter().for_each(WakeList::wake_all);
        before.into_iter().for_each(WakeList::wake_all);
        polled
    }

    /// For the handle: the next piece of the body, or its end.
    pub(crate) fn poll_piece(
        &self,
        cx: &Context<'_>,
        now: impl FnOnce() -> Instant,
    ) -> Poll<Result<Result<Bytes, Ended>, Error>> {
        self.polled(|mut state| {
            if let Some(piece) = state.pieces.pop_front() {
                state.bytes -= piece.len();
                let server = if state.bytes == 0 { state.server.take() } else { None };
                drop(state);
                server.into_iter().for_each(Waker::wake);
                return Poll::Ready(Ok(Ok(piece)));
            }
            match state.ended.take() {
                Some(ended) => {
                    let server = state.server.take();
                    drop(state);
                    server.into_iter().for_each(Waker::wake);
                    Poll::Ready((*ended).map(Err))
                }
                None => {
                    let before = note_waker(&mut state.reader, cx);
                    state.waits_since.get_or_insert_with(now);
                    drop(state);
                    drop(before);
                    Poll::Pending
                }
            }
        })
    }

    /// For the handle: it waits for no piece, from `now` on. A wait that had been too long by then stays one.
    pub(crate) fn stop_waiting(&self, now: Instant) {
        let mut state = self.lock();
        let Some(since) = state.waits_since else { return };
        let waited = state.waited + (now - since);
        let idle = self.settings.pool.config.timeouts.read_idle;
        if idle.is_none_or(|idle| waited < idle) {
            (state.waits_since, state.waited) = (None, waited);
        }
    }

    /// For the handle: throw the rest away, and tell its end.
    pub(crate) fn discard(&self) {
        if !self.discards.swap(true, Ordering::AcqRel) {
            self.wake_server();
        }
    }

    /// For the core: tells what came back. `wakes` are the core's, if it still turns.
    fn reply(&self, reply: Reply, wakes: Option<&Wakes>) {
        self.tell(wakes, |state| {
            state.told = if matches!(reply, Reply::Head(_)) { Told::Head } else { Told::All };
            state.reply = Some(reply);
        });
    }

    fn push(&self, piece: Bytes, wakes: &Wakes) {
        self.tell(Some(wakes), |state| {
            state.bytes += piece.len();
            state.pieces.push_back(piece);
        });
    }

    fn end(&self, ended: Result<Ended, Error>, wakes: Option<&Wakes>) {
        self.tell(wakes, |state| {
            state.told = Told::All;
            state.ended = Some(Box::new(ended));
        });
    }

    fn tell(&self, wakes: Option<&Wakes>, act: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        act(&mut state);
        (state.waits_since, state.waited) = (None, Duration::ZERO);
        let (reader, list) = (state.reader.take(), state.list);
        // It serves others next.
        let server = if state.told == Told::All { state.server.take() } else { None };
        drop(state);
        drop(server);
        match (reader, wakes.zip(list)) {
            (Some(reader), Some((wakes, list))) => wakes.push(list, reader),
            (Some(reader), None) => wake_quietly(reader),
            (None, _) => {}
        }
    }

    /// For the core: room for another piece, or a reader that wants none.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.bytes < BETWEEN_BYTES_MAX || self.discards.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let before = note_waker(&mut state.server, cx);
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// Nobody will tell the rest, because of `kind`. How far it came went with its task, but for its `trace`.
    pub(super) fn fail(&self, kind: Kind, trace: Option<&Trace>, wakes: Option<&Wakes>) {
        let (told, begun) = {
            let state = self.lock();
            (state.told, state.parcel.is_none())
        };
        match told {
            Told::Nothing if begun => self.reply(Reply::Failed(lost(kind, trace)), wakes),
            Told::Nothing => {
                self.reply(Reply::Failed(Error::new(kind, Phase::Queue)), wakes);
            }
            // The handle knows the rest.
            Told::Head => self.end(Err(Error::new(kind, Phase::Body)), wakes),
            Told::All => {}
        }
    }
}

/// The error of a request that was begun and whose task is gone.
fn lost(kind: Kind, trace: Option<&Trace>) -> Error {
    let Some(trace) = trace else {
        // It may have been processed.
        let progress = Progress { sent: Sent::Partial, ..Progress::default() };
        return Error::new(kind, Phase::Send).with_progress(&progress);
    };
    let standing = trace.standing.get();
    Error::new(kind, standing.phase)
        .with_progress(&standing.progress)
        .after(History { sent: trace.sent.get(), ..History::default() })
        .with_attempt(trace.attempts.get().max(1), Duration::ZERO)
}
