//! Wake-ups of futures on other threads, batched: of those that one turn completes for one thread, the first is woken, and wakes the others when it is polled.
//!
//! A runtime's waker is cheap on its own thread, a push to a queue, and dear from another: tokio writes an eventfd for each. So a core wakes one future a turn and thread, and
//! leaves the other wakers in that thread's list; whatever future of ours is polled there next takes them out and wakes them, from the inside.
//!
//! ```text
//!  a core's turn                         the thread that awaits
//!  replies 1, 2, 3 ── wakes 1 ─────────> polls 1: wakes 2 and 3, polls 2, polls 3
//!                  ── 2, 3 in its list ─────^
//!                  ── after 200 us, if nobody came: wakes 2 and 3 itself
//! ```
//!
//! # Why no wake is lost
//! A waker is in the core's own list, in a thread's list, or woken. The core looks at the lists that it filled in each turn, and while one of them is full it does not sleep for longer than
//! [`GRACE`]: a future that was woken and is not polled (its task does something else first) delays the others by that at most. One that is dropped instead wakes them too.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use crate::clock::Instant;
use crate::sync::{lock, wake_quietly};

/// How long wakers stay in a thread's list before the core wakes them itself.
pub(super) const GRACE: Duration = Duration::from_micros(200);

/// The futures of one thread that are to be woken by the next one that is polled there.
#[derive(Debug, Default)]
#[repr(align(64))] // A line of its own: cores write to it.
pub(crate) struct WakeList {
    wakers: Mutex<Vec<Waker>>,
    /// How many there are.
    waiting: AtomicUsize,
    /// How often they were taken out.
    rounds: AtomicU64,
}

/// The lists of threads that have ended, for threads to come: there are never more lists than there were threads at once.
static FREE: Mutex<Vec<&'static WakeList>> = Mutex::new(Vec::new());

/// A thread's list, as long as the thread lives.
struct Lease(&'static WakeList);

impl Lease {
    fn new() -> Self {
        let free = lock(&FREE).pop();
        Self(free.unwrap_or_else(|| Box::leak(Box::default())))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.wake_all();
        lock(&FREE).push(self.0);
    }
}

thread_local! {
    static LEASE: Lease = Lease::new();
}

impl WakeList {
    /// The calling thread's; `None` while the thread ends.
    #[inline]
    pub(crate) fn here() -> Option<&'static Self> {
        LEASE.try_with(|lease| lease.0).ok()
    }

    /// Wakes all that are in it.
    #[inline]
    pub(crate) fn wake_all(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.take_and_wake();
        }
    }

    fn take_and_wake(&self) {
        let mut taken = {
            let mut wakers = self.lock();
            self.waiting.store(0, Ordering::Release);
            self.rounds.fetch_add(1, Ordering::Relaxed);
            std::mem::take(&mut *wakers)
        };
        taken.drain(..).for_each(wake_quietly);
        // Its memory, for the next batch.
        let mut wakers = self.lock();
        if wakers.capacity() == 0 {
            *wakers = taken;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        lock(&self.wakers)
    }

    /// Adds wakers; hands back the one to be woken at once, if nobody was woken yet to see to them.
    fn add(&self, mut wakers: impl Iterator<Item = Waker>) -> Option<Waker> {
        let mut list = self.lock();
        let first = if list.is_empty() { wakers.next() } else { None };
        list.extend(wakers);
        self.waiting.store(list.len(), Ordering::Release);
        first
    }

    fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }
}

/// Wakers that were left in a list.
#[derive(Debug)]
struct Left {
    list: &'static WakeList,
    /// Its rounds, and when.
    round: u64,
    since: Instant,
}

/// What one core has to wake on other threads.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    /// Of this turn.
    due: RefCell<Vec<(&'static WakeList, Waker)>>,
    left: RefCell<Vec<Left>>,
}

impl Wakes {
    /// Wakes a future of the thread with that list by the end of the turn.
    #[inline]
    pub(crate) fn push(&self, list: &'static WakeList, waker: Waker) {
        self.due.borrow_mut().push((list, waker));
    }

    /// The end of a turn: wakes one future a thread, and those that waited for too long. Whether there are others still: then [`Wakes::flush`] is due again within [`GRACE`].
    #[inline]
    pub(super) fn flush(&self, now: Instant) -> bool {
        if self.due.borrow().is_empty() && self.left.borrow().is_empty() {
            return false;
        }
        self.wake_late(now);
        let mut due = std::mem::take(&mut *self.due.borrow_mut());
        // Stable: in the order of the replies. Mostly there is one thread, and nothing moves.
        due.sort_by_key(|(list, _)| std::ptr::from_ref(*list).addr());
        let mut wakers = due.drain(..).peekable();
        while let Some((list, first)) = wakers.next() {
            let others = std::iter::from_fn(|| {
                wakers.next_if(|(other, _)| std::ptr::eq(*other, list)).map(|(_, waker)| waker)
            });
            let first = list.add(std::iter::once(first).chain(others));
            self.note_left(list, now);
            first.into_iter().for_each(wake_quietly);
        }
        drop(wakers);
        *self.due.borrow_mut() = due;
        self.owes()
    }

    /// Whether wakers may still be in a list.
    pub(super) fn owes(&self) -> bool {
        !self.left.borrow().is_empty()
    }

    fn note_left(&self, list: &'static WakeList, now: Instant) {
        let mut left = self.left.borrow_mut();
        if !list.is_empty() && !left.iter().any(|known| std::ptr::eq(known.list, list)) {
            left.push(Left { list, round: list.rounds.load(Ordering::Relaxed), since: now });
        }
    }

    fn wake_late(&self, now: Instant) {
        self.left.borrow_mut().retain_mut(|left| {
            if left.list.is_empty() {
                return false;
            }
            let round = left.list.rounds.load(Ordering::Relaxed);
            if round != left.round {
                (left.round, left.since) = (round, now);
            }
            let late = now - left.since >= GRACE;
            if late {
                left.list.wake_all();
            }
            !late
        });
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.due.get_mut().drain(..).for_each(|(_, waker)| wake_quietly(waker));
        self.left.get_mut().iter().for_each(|left| left.list.wake_all());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Wakers, and how many of them were woken.
    fn wakers(count: usize) -> (Vec<Waker>, impl Fn() -> Vec<usize>) {
        let counts: Vec<Arc<Count>> = (0..count).map(|_| Arc::default()).collect();
        let wakers = counts.iter().map(|count| Waker::from(Arc::clone(count))).collect();
        (wakers, move || counts.iter().map(|count| count.0.load(Ordering::Relaxed)).collect())
    }

    fn list() -> &'static WakeList {
        Box::leak(Box::default())
    }

    #[test]
    fn one_is_woken_and_the_next_poll_wakes_the_others_once() {
        let (list, wakes, now) = (list(), Wakes::default(), Instant::now());
        let (wakers, woken) = wakers(3);
        wakers.into_iter().for_each(|waker| wakes.push(list, waker));
        assert_eq!(woken(), [0, 0, 0]);
        assert!(wakes.flush(now));
        assert_eq!(woken(), [1, 0, 0]);
        list.wake_all();
        list.wake_all();
        assert_eq!(woken(), [1, 1, 1]);
        assert!(!wakes.flush(now));
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_from_being_woken() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("on purpose");
            }
        }
        let (list, wakes, now) = (list(), Wakes::default(), Instant::now());
        let (wakers, woken) = wakers(2);
        let panics = || Waker::from(Arc::new(Panics));
        for waker in [panics(), wakers[0].clone(), panics(), wakers[1].clone()] {
            wakes.push(list, waker);
        }
        assert!(wakes.flush(now));
        list.wake_all();
        assert_eq!(woken(), [1, 1]);
    }

    #[test]
    fn a_second_turn_adds_to_what_the_first_one_left() {
        let (list, wakes, now) = (list(), Wakes::default(), Instant::now());
        let (wakers, woken) = wakers(4);
        for pair in wakers.chunks(2) {
            pair.iter().for_each(|waker| wakes.push(list, waker.clone()));
            assert!(wakes.flush(now));
        }
        assert_eq!(woken(), [1, 0, 0, 0]);
        list.wake_all();
        assert_eq!(woken(), [1, 1, 1, 1]);
    }

    #[test]
    fn threads_do_not_wait_for_each_other() {
        let (lists, wakes, now) = ([list(), list()], Wakes::default(), Instant::now());
        let (wakers, woken) = wakers(4);
        for (place, waker) in wakers.into_iter().enumerate() {
            wakes.push(lists[place % 2], waker);
        }
        assert!(wakes.flush(now));
        assert_eq!(woken(), [1, 1, 0, 0]);
        lists[1].wake_all();
        assert_eq!(woken(), [1, 1, 0, 1]);
        assert!(wakes.flush(now));
    }

    #[test]
    fn what_nobody_wakes_is_woken_by_the_core_after_the_grace() {
        let (list, wakes, now) = (list(), Wakes::default(), Instant::now());
        let (wakers, woken) = wakers(3);
        wakers.into_iter().for_each(|waker| wakes.push(list, waker));
        assert!(wakes.flush(now));
        assert!(wakes.flush(now + (GRACE - Duration::from_nanos(1))));
        assert_eq!(woken(), [1, 0, 0]);
        assert!(!wakes.flush(now + GRACE));
        assert_eq!(woken(), [1, 1, 1]);
    }

    #[test]
    fn the_grace_begins_anew_with_each_batch() {
        let (list, wakes, now) = (list(), Wakes::default(), Instant::now());
        let (wakers, woken) = wakers(4);
        wakers[..2].iter().for_each(|waker| wakes.push(list, waker.clone()));
        wakes.flush(now);
        list.wake_all();
        wakers[2..].iter().for_each(|waker| wakes.push(list, waker.clone()));
        assert!(wakes.flush(now + GRACE));
        assert_eq!(woken(), [1, 1, 1, 0]);
        assert!(!wakes.flush(now + GRACE + GRACE));
        assert_eq!(woken(), [1, 1, 1, 1]);
    }

    #[test]
    fn a_core_that_ends_wakes_all() {
        let (list, wakes) = (list(), Wakes::default());
        let (wakers, woken) = wakers(3);
        wakers[..2].iter().for_each(|waker| wakes.push(list, waker.clone()));
        wakes.flush(Instant::now());
        wakes.push(list, wakers[2].clone());
        drop(wakes);
        assert_eq!(woken(), [1, 1, 1]);
    }

    #[test]
    fn a_thread_that_ends_wakes_what_it_was_left() {
        let (wakers, woken) = wakers(2);
        let wakes = std::thread::spawn(move || {
            let (wakes, list) = (Wakes::default(), WakeList::here().unwrap());
            wakers.into_iter().for_each(|waker| wakes.push(list, waker));
            wakes.flush(Instant::now());
            wakes
        });
        let wakes = wakes.join().unwrap();
        assert_eq!(woken(), [1, 1]);
        assert!(!wakes.flush(Instant::now()));
    }
}
