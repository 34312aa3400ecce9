//! A bounded queue between tasks, on any executor: many senders, many receivers, first in first out. Full means wait. Never grows beyond its capacity, never blocks a thread.
//!
//! It does what `asyncio.Queue` does (Python 3.13), with tickets instead of calls that can be forgotten:
//!
//! | asyncio | here |
//! |---|---|
//! | `Queue(maxsize)` | [`bounded`]; there is no unbounded one |
//! | `await put(value)`, `put_nowait` and `QueueFull` | [`Sender::send`], [`Sender::try_send`] and [`TrySendError::Full`] |
//! | `await get()`, `get_nowait` and `QueueEmpty` | [`Receiver::recv`], [`Receiver::try_recv`] and [`TryRecvError::Empty`] |
//! | `task_done()` | the drop of the [`Item`], or of its [`Ticket`] |
//! | `await join()` | [`Sender::joined`], [`Receiver::joined`] |
//! | `shutdown()` | [`Sender::close`], [`Receiver::close`]: sends fail from now on, waiting ones too; what is queued is still received, then `recv` gives `None` |
//! | `shutdown(immediate=True)` | [`Sender::close_now`], [`Receiver::close_now`]: what is queued is dropped and counts as done; what was received still counts until its ticket is dropped |
//!
//! When the last sender goes the queue closes; when the last receiver goes it closes now, since nobody could receive what is queued.
//!
//! Who waits is woken in the order of coming, as in asyncio. `try_send`, `try_recv` and a `send` or `recv` that need not wait may come before them; whoever finds its place
//! taken when it looks waits anew, behind those who wait then. A [`Receiver`] that is used as a stream is woken where no `recv` waits, together with all others that are.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use ringshot::queue;
//! # use ringshot::client::blocking::block_on;
//!
//! let (sender, receiver) = queue::bounded(NonZeroUsize::MIN);
//! let workers = [receiver.clone(), receiver].map(|receiver| {
//!     std::thread::spawn(move || {
//!         block_on(async {
//!             let mut sum = 0;
//!             while let Some(item) = receiver.recv().await {
//!                 sum += *item; // done with it when the item is dropped, here
//!             }
//!             sum
//!         })
//!     })
//! });
//! block_on(async {
//!     for number in 1..=100 {
//!         sender.send(number).await.expect("workers live"); // waits when they are behind
//!     }
//!     sender.joined().await; // all 100 are done, not just received
//!     sender.close(); // so the workers end
//!     assert!(sender.send(101).await.is_err());
//! });
//! let sums = workers.map(|worker| worker.join().expect("a worker that does not panic"));
//! assert_eq!(sums[0] + sums[1], 5050);
//! ```

mod error;
mod receiver;
mod ticket;

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use event_listener::{Event, EventListener};

use crate::sync::lock;
pub use error::{Closed, TryRecvError, TrySendError};
pub use receiver::Receiver;
use ticket::Ledger;
pub use ticket::{Item, Ticket};

/// A queue of at most `capacity` values, both ends of which can be cloned. Allocates as it fills.
///
/// ```
/// use std::num::NonZeroUsize;
/// use ringshot::queue;
///
/// let (sender, receiver) = queue::bounded(NonZeroUsize::new(2).expect("not zero"));
/// sender.try_send(1)?;
/// sender.try_send(2)?;
/// assert!(sender.try_send(3).is_err(), "full");
/// assert_eq!(*receiver.try_recv()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn bounded<T>(capacity: NonZeroUsize) -> (Sender<T>, Receiver<T>) {
    let state = State { items: VecDeque::new(), phase: Phase::Open, senders: 1, receivers: 1 };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        capacity: capacity.get(),
        ledger: Arc::default(),
        room: Event::new(),
        filled: Event::new(),
        streamed: Event::new(),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver::new(shared))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Closed,
}

/// Invariant: `items` holds at most the capacity, and each of them is counted in the ledger.
struct State<T> {
    items: VecDeque<T>,
    phase: Phase,
    senders: usize,
    receivers: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    ledger: Arc<Ledger>,
    /// Notified once for every value that leaves, and everybody at the close.
    room: Event,
    /// Notified once for every value that comes, and everybody at the close.
    filled: Event,
    /// All streams that wait: notified for a value that no `recv` waits for, since one of them may not be polled for a long time.
    streamed: Event,
}

/// Tries until it succeeds, whenever `event` is notified. A notification that a dropped future did not use goes on to the next who listens (event-listener).
pub(super) async fn wait_for<R>(event: &Event, mut attempt: impl FnMut() -> Option<R>) -> R {
    let mut listener: Option<EventListener> = None;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        match listener.take() {
            // And tries again, for what came in between.
            None => listener = Some(event.listen()),
            Some(listener) => listener.await,
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.lock();
        if state.phase == Phase::Closed {
            return Err(TrySendError::Closed(value));
        }
        if state.items.len() >= self.capacity {
            return Err(TrySendError::Full(value));
        }
        state.items.push_back(value);
        self.ledger.add_one();
        drop(state);
        self.announce();
        Ok(())
    }

    /// There is a value for who waits.
    fn announce(&self) {
        if self.filled.notify_additional(1) == 0 {
            self.streamed.notify(usize::MAX);
        }
    }

    fn try_recv(&self) -> Result<Item<T>, TryRecvError> {
        let mut state = self.lock();
        let Some(value) = state.items.pop_front() else {
            return Err(match state.phase {
                Phase::Open => TryRecvError::Empty,
                Phase::Closed => TryRecvError::Closed,
            });
        };
        drop(state);
        self.room.notify_additional(1);
        Ok(Item::new(value, Ticket::new(&self.ledger, 1)))
    }

    fn close(&self) {
        self.lock().phase = Phase::Closed;
        self.room.notify(usize::MAX);
        self.filled.notify(usize::MAX);
        self.streamed.notify(usize::MAX);
    }

    fn close_now(&self) -> usize {
        self.close();
        let items = std::mem::take(&mut self.lock().items);
        // Dropped after the items, also if one of them panics then.
        let ticket = Ticket::new(&self.ledger, items.len());
        drop(items);
        ticket.values()
    }
}

/// The end of a queue where values go in.
///
/// ```
/// use std::num::NonZeroUsize;
/// use ringshot::queue;
/// # use ringshot::client::blocking::block_on;
///
/// let (sender, receiver) = queue::bounded(NonZeroUsize::MIN);
/// block_on(async {
///     sender.send("work").await?;
///     drop(receiver.recv().await); // done with it
///     sender.joined().await;
///     assert_eq!(sender.queued(), 0);
///     sender.close(); // what is in it may still be received; `close_now` throws it away
///     assert!(sender.send("late").await.is_err());
///     Ok::<_, queue::Closed<&str>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Queues a value, and waits for room while the queue is full. A future that is dropped has not sent its value, and takes it along.
    ///
    /// # Errors
    /// [`Closed`] with the value if the queue is closed, be it while this waits.
    pub async fn send(&self, value: T) -> Result<(), Closed<T>> {
        let mut value = value;
        let mut listener: Option<EventListener> = None;
        loop {
            value = match self.shared.try_send(value) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(value)) => return Err(Closed(value)),
                Err(TrySendError::Full(value)) => value,
            };
            match listener.take() {
                None => listener = Some(self.shared.room.listen()),
                Some(listener) => listener.await,
            }
        }
    }

    /// Queues a value if there is room.
    ///
    /// # Errors
    /// [`TrySendError::Full`] and [`TrySendError::Closed`], with the value.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.shared.try_send(value)
    }

    /// Waits until everything that was sent is done: received, and its ticket dropped. What is sent while this waits counts too, unless all was done for a moment. Returns at once if
    /// nothing was sent.
    pub async fn joined(&self) {
        self.shared.ledger.joined().await;
    }

    /// Ends sending: waiting and later sends fail, what is queued can still be received.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Ends sending and receiving: [`Sender::close`], and what is queued is dropped and counts as done. Returns how many values that were.
    pub fn close_now(&self) -> usize {
        self.shared.close_now()
    }

    /// Values queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.lock().items.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.senders -= 1;
        let last = state.senders == 0;
        drop(state);
        if last {
            self.shared.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use futures_core::Stream;

    use super::*;
    use crate::sync::block_on;

    fn new<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        bounded(NonZeroUsize::new(capacity).unwrap())
    }

    fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn first_in_first_out_and_no_more_than_the_capacity() {
        let (sender, receiver) = new(2);
        assert!(sender.try_send(1).is_ok() && sender.try_send(2).is_ok());
        assert!(matches!(sender.try_send(3), Err(TrySendError::Full(3))));
        assert_eq!(*receiver.try_recv().unwrap(), 1);
        assert!(sender.try_send(3).is_ok());
        assert_eq!(sender.queued(), 2);
        let rest =
            [receiver.try_recv(), receiver.try_recv()].map(|item| item.unwrap().into_inner());
        assert_eq!(rest, [2, 3]);
        assert_eq!(receiver.try_recv().unwrap_err(), TryRecvError::Empty);
    }

    #[test]
    fn senders_wait_for_room_in_their_order() {
        let (sender, receiver) = new(1);
        block_on(sender.send(0)).unwrap();
        let mut waiting: Vec<_> = (1..=3).map(|number| Box::pin(sender.send(number))).collect();
        assert!(waiting.iter_mut().all(|future| poll(future).is_pending()));
        assert_eq!(*receiver.try_recv().unwrap(), 0);
        assert!(poll(&mut waiting[2]).is_pending() && poll(&mut waiting[1]).is_pending());
        // Its room goes to the next when it gives up.
        drop(waiting.remove(0));
        assert!(poll(&mut waiting[0]).is_ready());
        assert_eq!(*receiver.try_recv().unwrap(), 2);
    }

    #[test]
    fn receivers_wait_for_values_and_lose_none() {
        let (sender, receiver) = new(4);
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(receiver.recv())).collect();
        assert!(waiting.iter_mut().all(|future| poll(future).is_pending()));
        assert!(sender.try_send(1).is_ok() && sender.try_send(2).is_ok());
        // Told of a value, and gives up: the value is for the third.
        drop(waiting.remove(0));
        for (future, value) in waiting.iter_mut().zip([1, 2]) {
            assert!(matches!(poll(future), Poll::Ready(Some(item)) if *item == value));
        }
    }

    /// A stream that is not polled any more, as that of a paused batch, keeps no value from others.
    #[test]
    fn a_stream_that_sleeps_on_takes_no_wake_up_along() {
        let (sender, receiver) = new(4);
        let mut streams = [receiver.clone(), receiver.clone()];
        let mut context = Context::from_waker(Waker::noop());
        for stream in &mut streams {
            assert!(Pin::new(stream).poll_next(&mut context).is_pending());
        }
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(receiver.recv())).collect();
        assert!(waiting.iter_mut().all(|future| poll(future).is_pending()));
        sender.try_send(1).unwrap();
        // Told of the value, and gives up: the other is told.
        drop(waiting.remove(0));
        assert!(poll(&mut waiting[0]).is_ready());
        assert!(Pin::new(&mut streams[0]).poll_next(&mut context).is_pending());
        // Nobody but streams waits: the second need not wait for the first.
        sender.try_send(2).unwrap();
        assert!(Pin::new(&mut streams[1]).poll_next(&mut context).is_ready());
    }

    #[test]
    fn joined_waits_for_the_tickets() {
        let (sender, receiver) = new(4);
        block_on(sender.joined());
        for number in 0..3 {
            sender.try_send(number).unwrap();
        }
        let mut joined = Box::pin(sender.joined());
        let (mut item, second) = (receiver.try_recv().unwrap(), receiver.try_recv().unwrap());
        *item += 1;
        let (value, ticket) = item.into_parts();
        assert_eq!((value, second.into_inner()), (1, 1));
        drop(receiver.try_recv());
        assert!(poll(&mut joined).is_pending());
        drop(ticket);
        // Done for a moment is done.
        sender.try_send(4).unwrap();
        assert!(poll(&mut joined).is_ready());
        assert!(poll(&mut Box::pin(receiver.joined())).is_pending());
    }

    #[test]
    fn closing_fails_senders_and_lets_receivers_finish() {
        let (sender, receiver) = new(1);
        sender.try_send(1).unwrap();
        let mut waiting = Box::pin(sender.send(2));
        assert!(poll(&mut waiting).is_pending());
        receiver.close();
        assert!(matches!(poll(&mut waiting), Poll::Ready(Err(Closed(2)))));
        assert!(matches!(sender.try_send(3), Err(TrySendError::Closed(3))));
        assert_eq!(*block_on(receiver.recv()).unwrap(), 1);
        assert!(block_on(receiver.recv()).is_none());
        assert_eq!(receiver.try_recv().unwrap_err(), TryRecvError::Closed);
        block_on(sender.joined());
    }

    #[test]
    fn closing_now_drops_what_is_queued() {
        let (sender, receiver) = new(4);
        let value = Arc::new(());
        for _ in 0..3 {
            sender.try_send(Arc::clone(&value)).unwrap();
        }
        let held = receiver.try_recv().unwrap();
        let mut joined = Box::pin(sender.joined());
        assert!(poll(&mut joined).is_pending());
        assert_eq!((sender.close_now(), Arc::strong_count(&value)), (2, 2));
        assert!(block_on(receiver.recv()).is_none() && poll(&mut joined).is_pending());
        drop(held);
        assert!(poll(&mut joined).is_ready());
        assert_eq!((sender.close_now(), receiver.close_now()), (0, 0));
    }

    #[test]
    fn the_last_of_either_end_closes() {
        let (sender, receiver) = new(4);
        sender.try_send(1).unwrap();
        let mut waiting = Box::pin(receiver.recv());
        drop(sender.clone());
        drop(sender);
        assert!(matches!(poll(&mut waiting), Poll::Ready(Some(item)) if *item == 1));
        assert!(poll(&mut Box::pin(receiver.recv())).is_ready());

        let (sender, receiver) = new(1);
        sender.try_send(1).unwrap();
        let mut waiting = Box::pin(sender.send(2));
        assert!(poll(&mut waiting).is_pending());
        drop(receiver.clone());
        drop(receiver);
        assert!(matches!(poll(&mut waiting), Poll::Ready(Err(Closed(2)))));
        block_on(sender.joined());
    }

    #[test]
    fn a_receiver_is_a_stream() {
        let (sender, mut receiver) = new(2);
        let next = |receiver: &mut Receiver<i32>| {
            Pin::new(receiver).poll_next(&mut Context::from_waker(Waker::noop()))
        };
        assert!(next(&mut receiver).is_pending());
        sender.try_send(1).unwrap();
        assert!(matches!(next(&mut receiver), Poll::Ready(Some(item)) if *item == 1));
        assert!(next(&mut receiver).is_pending());
        drop(sender);
        assert!(matches!(next(&mut receiver), Poll::Ready(None)));
    }

    #[test]
    fn errors_say_what_and_need_nothing_of_the_value() {
        struct Opaque;
        let (sender, receiver) = new::<Opaque>(1);
        sender.try_send(Opaque).unwrap();
        let full = sender.try_send(Opaque).unwrap_err();
        assert_eq!(format!("{full} {full:?}"), "the queue is full Full(..)");
        assert_eq!(format!("{sender:?}"), "Sender { queued: 1, .. }");
        drop(receiver);
        let closed = block_on(sender.send(Opaque)).unwrap_err();
        assert_eq!(format!("{closed} {closed:?}"), "the queue is closed Closed(..)");
    }

    /// Several senders and receivers on threads: everything arrives once, each sender's values in their order.
    #[test]
    fn nothing_is_lost_between_threads() {
        const VALUES: usize = 5_000;
        fn check_shared<T: Send + Sync>(_: &T) {}
        let (sender, receiver) = new(3);
        check_shared(&(&sender, &receiver));
        let mut counts = [[0; 3]; 3];
        thread::scope(|scope| {
            for number in 0..3 {
                let sender = sender.clone();
                scope.spawn(move || {
                    block_on(async {
                        for value in 0..VALUES {
                            sender.send((number, value)).await.unwrap();
                        }
                        sender.joined().await;
                    });
                });
            }
            for (place, count) in counts.iter_mut().enumerate() {
                let mut receiver = receiver.clone();
                scope.spawn(move || {
                    let mut last = [None; 3];
                    block_on(async {
                        loop {
                            // By the stream, or by the method.
                            let next = match place {
                                0 => poll_fn(|cx| Pin::new(&mut receiver).poll_next(cx)).await,
                                _ => receiver.recv().await,
                            };
                            let Some(item) = next else { return };
                            let (sender, value) = *item;
                            assert!(last[sender] < Some(value));
                            last[sender] = Some(value);
                            count[sender] += 1;
                        }
                    });
                });
            }
            drop((sender, receiver));
        });
        let sums = [0, 1, 2].map(|sender| counts.iter().map(|count| count[sender]).sum::<usize>());
        assert_eq!(sums, [VALUES; 3]);
    }
}
