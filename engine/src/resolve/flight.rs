//! One lookup in progress and everybody who waits for it. Nobody owns it: whoever is polled carries it on, so that none who is dropped or idle holds up the others.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use event_listener::{Event, EventListener};

use super::cache::Outcome;
use super::{Answer, Lookup, ResolveError};
use crate::error::message_of_panic;

/// The age from which on a lookup is not joined any more, but made anew: as long as resolv.conf(5) gives three servers by default, twice 5 s each.
pub const FLIGHT_AGE_MAX: Duration = Duration::from_secs(30);

/// Wakes everybody who waits.
struct Bell(Event);

impl Bell {
    fn ring(&self) {
        self.0.notify(usize::MAX);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// A lookup that is shared.
///
/// ```text
/// idle ──first poll──> asked ──ready──> done
///                        └────panic───> done: Other, with the message, for everybody
/// ```
pub(super) struct Flight {
    name: Arc<str>,
    /// Its end. Seen without the lock: who meets another at the lock is rung for only if that one goes on to an end.
    done: OnceLock<Outcome>,
    /// `None` before it is asked, and when it is done. Locked while it is polled; never waited for.
    lookup: Mutex<Option<Lookup>>,
    /// Apart from the lookup, which holds it as its waker: no cycle.
    bell: Arc<Bell>,
    waker: Waker,
}

impl Flight {
    pub(super) fn new(name: Arc<str>) -> Self {
        let bell = Arc::new(Bell(Event::new()));
        let waker = Waker::from(Arc::clone(&bell));
        Self { name, done: OnceLock::new(), lookup: Mutex::new(None), bell, waker }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Hears every ring from now on.
    pub(super) fn listen(&self) -> EventListener {
        self.bell.0.listen()
    }

    /// Carries the lookup on, unless somebody else is just doing so. `ask` begins it, `land` makes of its end what everybody gets.
    ///
    /// Who finds it pending must have listened before, and calls [`look_again`](Self::look_again) if it has rung since.
    pub(super) fn poll(
        &self,
        ask: impl FnOnce(&str) -> Lookup,
        land: impl FnOnce(Result<Answer, ResolveError>) -> Outcome,
    ) -> Poll<Outcome> {
        match self.done.get() {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => self.carry_on(ask, land),
        }
    }

    fn carry_on(
        &self,
        ask: impl FnOnce(&str) -> Lookup,
        land: impl FnOnce(Result<Answer, ResolveError>) -> Outcome,
    ) -> Poll<Outcome> {
        let polled = self.poll_locked(ask, land);
        if polled.is_ready() {
            // After the lock: who is woken finds it free.
            self.bell.ring();
        }
        polled
    }

    fn poll_locked(
        &self,
        ask: impl FnOnce(&str) -> Lookup,
        land: impl FnOnce(Result<Answer, ResolveError>) -> Outcome,
    ) -> Poll<Outcome> {
        let Some(mut lookup) = self.try_lock() else { return Poll::Pending };
        if let Some(outcome) = self.done.get() {
            return Poll::Ready(outcome.clone());
        }
        // The lookup is the caller's code, its drop too.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let asked = lookup.get_or_insert_with(|| ask(&self.name));
            let polled = asked.as_mut().poll(&mut Context::from_waker(&self.waker));
            if polled.is_ready() {
                *lookup = None;
            }
            polled
        }));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => self.done.get_or_init(|| land(result)),
            // The lookup is not polled again, and goes with the flight.
            Err(payload) => self.done.get_or_init(|| Err(self.panicked(&*payload))),
        };
        Poll::Ready(outcome.clone())
    }

    /// The bell rang while the lookup was being polled, when others could not: everybody is woken for another look.
    pub(super) fn look_again(&self) {
        self.bell.ring();
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<Lookup>>> {
        match self.lookup.try_lock() {
            Ok(lookup) => Some(lookup),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        }
    }

    fn panicked(&self, payload: &(dyn Any + Send)) -> ResolveError {
        let reason = format!("it panicked: {}", message_of_panic(payload));
        ResolveError::Other { name: Arc::clone(&self.name), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(flight: &Flight, answer: Poll<Answer>) -> Poll<Outcome> {
        let ask =
            |_: &str| -> Lookup { Box::pin(std::future::poll_fn(move |_| answer.clone().map(Ok))) };
        let none = ResolveError::NotFound { name: "a.test".into() };
        flight.poll(ask, |_| Err(none))
    }

    #[test]
    fn an_end_is_seen_while_somebody_else_looks() {
        let flight = Flight::new("a.test".into());
        let held = flight.lookup.lock().unwrap();
        assert!(poll(&flight, Poll::Ready(Answer::default())).is_pending());
        drop(held);
        assert!(poll(&flight, Poll::Ready(Answer::default())).is_ready());
        let _held = flight.lookup.lock().unwrap();
        assert!(poll(&flight, Poll::Pending).is_ready());
    }

    #[test]
    fn an_end_rings_for_everybody_and_nothing_else_does() {
        let flight = Flight::new("a.test".into());
        let mut listeners = [flight.listen(), flight.listen()];
        let mut heard = || {
            let mut noop = Context::from_waker(Waker::noop());
            let polled = listeners
                .each_mut()
                .map(|listener| Future::poll(std::pin::Pin::new(listener), &mut noop).is_ready());
            polled.iter().filter(|ready| **ready).count()
        };
        assert_eq!(heard(), 0);
        assert!(poll(&flight, Poll::Ready(Answer::default())).is_ready());
        assert_eq!(heard(), 2);
    }
}
