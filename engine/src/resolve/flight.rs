//! One lookup in progress and everybody who waits for it. Nobody owns it: whoever is polled carries it on, so that none who is dropped or idle holds up the others.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use event_listener::{Event, EventListener};

use super::cache::Outcome;
use super::{Answer, Lookup, ResolveError};

/// The age from which on a lookup is not joined any more, but made anew: as long as resolv.conf(5) gives three servers by default, twice 5 s each.
pub const FLIGHT_AGE_MAX: Duration = Duration::from_secs(30);

/// ```text
/// Idle ──first poll──> Asked ──ready──> Done
///                        └──panic──> (poisoned) ──next poll──> Done(Other)
/// ```
enum Stage {
    Idle,
    Asked(Lookup),
    Done(Outcome),
}

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

/// Rings when dropped, if the lookup came to an end: be it by a panic.
struct Ring<'a> {
    bell: &'a Bell,
    landed: bool,
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        if self.landed || std::thread::panicking() {
            self.bell.ring();
        }
    }
}

/// A lookup that is shared.
pub(super) struct Flight {
    name: Arc<str>,
    /// Locked while the lookup is polled; never waited for.
    stage: Mutex<Stage>,
    /// Apart from the lookup, which holds it as its waker: no cycle.
    bell: Arc<Bell>,
    waker: Waker,
}

impl Flight {
    pub(super) fn new(name: Arc<str>) -> Self {
        let bell = Arc::new(Bell(Event::new()));
        let waker = Waker::from(Arc::clone(&bell));
        Self { name, stage: Mutex::new(Stage::Idle), bell, waker }
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
        // Dropped after the lock: who is woken finds it free.
        let mut ring = Ring { bell: &self.bell, landed: false };
        let Some(mut stage) = self.try_lock() else { return Poll::Pending };
        if matches!(*stage, Stage::Idle) {
            *stage = Stage::Asked(ask(&self.name));
        }
        if let Stage::Asked(lookup) = &mut *stage {
            let Poll::Ready(result) = lookup.as_mut().poll(&mut Context::from_waker(&self.waker))
            else {
                return Poll::Pending;
            };
            ring.landed = true;
            *stage = Stage::Done(land(result));
        }
        match &*stage {
            Stage::Done(outcome) => Poll::Ready(outcome.clone()),
            Stage::Idle | Stage::Asked(_) => Poll::Pending,
        }
    }

    /// The bell rang while the lookup was being polled, when others could not: everybody is woken for another look.
    pub(super) fn look_again(&self) {
        self.bell.ring();
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Stage>> {
        match self.stage.try_lock() {
            Ok(stage) => Some(stage),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(poisoned)) => {
                let mut stage = poisoned.into_inner();
                if !matches!(*stage, Stage::Done(_)) {
                    *stage = Stage::Done(Err(self.panicked()));
                }
                Some(stage)
            }
        }
    }

    fn panicked(&self) -> ResolveError {
        ResolveError::Other { name: Arc::clone(&self.name), reason: "it panicked".into() }
    }
}
