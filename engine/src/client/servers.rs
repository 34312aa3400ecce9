//! The tasks of a core that serve calls. One that has served its call waits for another: most of what a task costs is its memory, which comes and goes by the dozen.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::call::Call;
use super::core_ctx::CoreCtx;
use super::local::LocalClient;
use super::request_body::Source;
use super::settings::Settings;
use crate::error::Kind;
use crate::shard::pool::exchange::Trace;
use crate::shard::tasks::caught;
use crate::sync::note_waker;

/// Tasks that wait for a call at most, on each core; more end when they have served theirs. Some 700 bytes each.
const WAITING_MAX: usize = 256;

/// A call on its way to its core, and there: dropped before its end, it tells the handle so.
#[derive(Debug)]
pub(crate) struct Delivery {
    call: Arc<Call>,
    /// The handle was told all there is.
    over: bool,
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.over {
            // The core has ended.
            self.call.fail(Kind::Shutdown, None, None);
        }
    }
}

impl Delivery {
    pub(crate) fn new(call: Arc<Call>) -> Self {
        Self { call, over: false }
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        self.call.settings()
    }

    /// Serves the call, unless its handle is gone before.
    async fn serve(mut self, client: LocalClient) {
        let call = &*self.call;
        let Some(parcel) = poll_fn(|cx| Poll::Ready(call.begin(cx))).await else { return };
        // A stream is the one thing in a request that may panic.
        let streams = matches!(parcel.request.body.0, Source::Stream { .. });
        let trace = streams.then(Rc::<Trace>::default);
        let mut work = pin!(caught(call.work(&client, parcel, trace.clone())));
        let mut is_noted = true;
        let over = poll_fn(|cx| {
            if call.is_cancelled() {
                return Poll::Ready(false);
            }
            let polled = work.as_mut().poll(cx).map(|worked| {
                let Err(panicked) = worked else { return true };
                let kind = Kind::User(panicked.message().to_owned());
                call.fail(kind, trace.as_deref(), Some(client.ctx().wakes()));
                false
            });
            if polled.is_pending() && !std::mem::take(&mut is_noted) {
                call.note_server(cx);
                // A handle that went before the waker was there.
                if call.is_cancelled() {
                    return Poll::Ready(false);
                }
            }
            polled
        });
        self.over = over.await;
    }
}

/// The tasks of a core that wait for a call, the last one first.
#[derive(Debug, Default)]
pub(super) struct Servers(RefCell<Vec<Weak<Server>>>);

/// Where a task that waits finds its next call.
#[derive(Debug, Default)]
struct Server(RefCell<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: Option<(Delivery, LocalClient)>,
    waker: Option<Waker>,
}

impl Server {
    fn poll_next(&self, cx: &Context<'_>) -> Poll<(Delivery, LocalClient)> {
        let Waiting { next, waker } = &mut *self.0.borrow_mut();
        if let Some(next) = next.take() {
            return Poll::Ready(next);
        }
        // It is this task's own, whenever it is polled.
        drop(note_waker(waker, cx));
        Poll::Pending
    }
}

/// Has a call served by a task of the core.
pub(super) fn serve(ctx: &CoreCtx, call: Delivery) {
    let client = ctx.client_of(call.settings());
    let waiting = ctx.servers().0.borrow_mut().pop();
    match waiting.and_then(|server| server.upgrade()) {
        Some(server) => {
            let mut waiting = server.0.borrow_mut();
            waiting.next = Some((call, client));
            if let Some(waker) = &waiting.waker {
                waker.wake_by_ref();
            }
        }
        None => ctx.spawn_named("serve a call", serve_calls(ctx.clone(), call, client)).detach(),
    }
}

/// Serves a call, and then others.
async fn serve_calls(ctx: CoreCtx, call: Delivery, client: LocalClient) {
    let mut next = (call, client);
    let server = Rc::new(Server::default());
    loop {
        let (call, client) = next;
        call.serve(client).await;
        {
            let mut waiting = ctx.servers().0.borrow_mut();
            if waiting.len() >= WAITING_MAX {
                return;
            }
            waiting.push(Rc::downgrade(&server));
        }
        let _rest = ctx.rest();
        next = poll_fn(|cx| server.poll_next(cx)).await;
    }
}
