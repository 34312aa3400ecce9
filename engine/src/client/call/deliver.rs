//! The core's side of a call: sends its request, and tells all of what comes back. Waits while that is not taken.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Call, Ended, Reads, Reply, Told};
use crate::client::core_ctx::CoreCtx;
use crate::client::local::LocalClient;
use crate::client::local_body::LocalBody;
use crate::client::parcel::Parcel;
use crate::client::response::{Response, Sourced};
use crate::error::Error;
use crate::mesh::wakes::Wakes;
use crate::shard::pool::desk::Sleep;
use crate::shard::pool::exchange::Trace;
use crate::sync::note_waker;

impl Call {
    /// For the core: sends the request and tells all of what comes back. `trace` learns where it stood, if it goes before.
    pub(in crate::client) async fn work(
        &self,
        client: &LocalClient,
        parcel: Box<Parcel>,
        trace: Option<Rc<Trace>>,
    ) {
        let wakes = client.ctx().wakes();
        if self.reads == Reads::Whole {
            let fetched = Box::pin(client.fetch_parcel(parcel, trace)).await;
            let reply = match fetched {
                Ok((Response { meta, body: whole }, parcel)) => {
                    Reply::Whole { meta, whole, parcel }
                }
                Err(error) => Reply::Failed(error),
            };
            return self.reply(reply, Some(wakes));
        }
        match client.send_parcel(parcel, trace).await {
            Err(error) => self.reply(Reply::Failed(error), Some(wakes)),
            Ok(response) => {
                if let Some(response) = self.deliver_whole(response, wakes) {
                    // Apart: a response that comes in pieces needs more room than the others' tasks have.
                    Box::pin(self.deliver(response, client.ctx())).await;
                }
            }
        }
    }

    /// Whether a response holds its permit until it was read: with a limit on requests in flight, what nobody has read yet is one.
    fn holds(&self) -> bool {
        self.settings.pool.permits.is_some()
    }

    /// Delivers a response of which all is there, or gives it back.
    fn deliver_whole(
        &self,
        mut response: Response<LocalBody>,
        wakes: &Wakes,
    ) -> Option<Response<LocalBody>> {
        let Response { meta, body } = &mut response;
        let whole = if self.holds() { None } else { body.take_whole(&mut meta.stamps) };
        let Some(mut whole) = whole else { return Some(response) };
        let (meta, parcel) = (response.meta, response.body.into_parcel());
        let mut own = None;
        self.tell(Some(wakes), |state| {
            if let Some(place) = state.copied.get_mut(..whole.bytes.len()) {
                place.copy_from_slice(&whole.bytes);
                state.copied_bytes = place.len() as u8;
                own = Some(std::mem::take(&mut whole.bytes));
            }
            state.told = Told::All;
            state.reply = Some(Reply::Whole { meta, whole, parcel });
        });
        drop(own);
        None
    }

    async fn deliver(&self, response: Response<LocalBody>, ctx: &CoreCtx) {
        let Response { mut meta, mut body } = response;
        let wakes = ctx.wakes();
        meta.target = body.target().cloned();
        body.read_ahead();
        let holds = self.holds();
        if holds {
            body.keep();
        }
        self.reply(Reply::Head(meta), Some(wakes));
        loop {
            poll_fn(|cx| self.poll_room(cx)).await;
            if self.discards.load(Ordering::Acquire) {
                let discarded = body.discard().await;
                let ended = discarded.map(|discarded| Ended { discarded, ..Ended::default() });
                self.end(ended, Some(wakes));
                break;
            }
            match self.next_piece(&mut body, ctx).await {
                None => {}
                Some(Ok(Some(piece))) => self.push(piece, wakes),
                Some(Ok(None)) => {
                    let (trailers, stamps) = body.take_end();
                    self.end(Ok(Ended { trailers, stamps, discarded: 0 }), Some(wakes));
                    break;
                }
                Some(Err(error)) => return self.end(Err(error), Some(wakes)),
            }
        }
        if holds {
            // `body` has the permit, until the handle has read all of it.
            poll_fn(|cx| self.poll_taken(cx)).await;
        }
    }

    /// For the core: the handle has come to the end.
    fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.ended.is_none() {
            return Poll::Ready(());
        }
        let before = note_waker(&mut state.server, cx);
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// The next piece, or `None` once the reader wants none.
    async fn next_piece(
        &self,
        body: &mut LocalBody,
        ctx: &CoreCtx,
    ) -> Option<Result<Option<Bytes>, Error>> {
        let mut timer = None;
        poll_fn(|cx| {
            if self.discards.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            if let Poll::Ready(piece) = body.poll_chunk(cx) {
                return Poll::Ready(Some(piece));
            }
            self.poll_idle(cx, ctx, &mut timer).map(|()| Some(Err(body.time_out())))
        })
        .await
    }

    /// The handle has waited for `read_idle`, in one wait or in several. How long it has is looked at when a wait that began at once would be over, so that none
    /// costs a wake-up.
    fn poll_idle(
        &self,
        cx: &mut Context<'_>,
        ctx: &CoreCtx,
        timer: &mut Option<Sleep>,
    ) -> Poll<()> {
        let Some(idle) = self.settings.pool.config.timeouts.read_idle else { return Poll::Pending };
        loop {
            let sleep = timer.get_or_insert_with(|| ctx.desk().sleep(idle));
            ready!(Pin::new(sleep).poll(cx));
            if ctx.is_closing() {
                // The body says so.
                return Poll::Pending;
            }
            let waited = self.lock().waited_by(ctx.desk().now());
            if waited >= idle {
                return Poll::Ready(());
            }
            *timer = Some(ctx.desk().sleep(idle - waited));
        }
    }
}
