//! Bodies that a thread makes while they are sent, and pauses that block nobody: for tests of who waits for whom.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use ringshot::client::BoxError;

#[derive(Default)]
struct State {
    pieces: VecDeque<Result<Bytes, BoxError>>,
    ended: bool,
    waker: Option<Waker>,
}

/// The end where pieces go in. Dropping it ends the body.
pub(crate) struct Feeder(Arc<Mutex<State>>);

impl Feeder {
    pub(crate) fn push(&self, piece: impl Into<Bytes>) {
        self.put(Ok(piece.into()));
    }

    pub(crate) fn fail(&self, problem: &str) {
        self.put(Err(problem.into()));
    }

    fn put(&self, piece: Result<Bytes, BoxError>) {
        let mut state = self.0.lock().unwrap();
        state.pieces.push_back(piece);
        state.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap();
        state.ended = true;
        state.waker.take().into_iter().for_each(Waker::wake);
    }
}

/// A stream of what a thread makes.
pub(crate) struct Fed(Arc<Mutex<State>>);

impl Stream for Fed {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock().unwrap();
        match state.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(piece)),
            None if state.ended => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A stream that `make` fills on a thread of its own.
pub(crate) fn fed(make: impl FnOnce(&Feeder) + Send + 'static) -> Fed {
    let state = Arc::<Mutex<State>>::default();
    let feeder = Feeder(Arc::clone(&state));
    std::thread::spawn(move || make(&feeder));
    Fed(state)
}

/// A stream of `pieces` pieces that is never short of the next, and counts those that were taken.
pub(crate) struct Endless {
    pub(crate) piece: Bytes,
    pub(crate) left: u64,
    pub(crate) taken: Arc<AtomicU64>,
}

impl Stream for Endless {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.taken.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(self.piece.clone())))
    }
}

/// Waits without blocking whoever polls.
pub(crate) async fn pause(duration: Duration) {
    let mut fed = fed(move |_| std::thread::sleep(duration));
    std::future::poll_fn(|cx| Pin::new(&mut fed).poll_next(cx).map(drop)).await;
}
