//! Where the cores of a run wait for each other before they start. A core that can't come lets the others go home.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::clock::Instant;
use crate::sync::lock;

/// Opens once all have come, or one has failed.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    missing: usize,
    failed: bool,
    /// When the last one came.
    opened: Instant,
}

/// What was behind the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// All are there, since this moment, which is the same for all.
    At(Instant),
    /// One failed: nobody starts.
    Nobody,
}

impl Gate {
    pub(super) fn new(missing: usize) -> Self {
        let opened = Instant::default();
        Self { state: Mutex::new(State { missing, failed: false, opened }), moved: Condvar::new() }
    }

    /// Comes at `now`, and waits for the others.
    pub(super) fn pass(&self, now: Instant) -> Start {
        let mut state = lock(&self.state);
        state.missing = state.missing.saturating_sub(1);
        state.opened = state.opened.max(now);
        self.moved.notify_all();
        while state.missing > 0 && !state.failed {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed { Start::Nobody } else { Start::At(state.opened) }
    }

    /// Somebody will not come, unless all have already.
    pub(super) fn fail(&self) {
        let mut state = lock(&self.state);
        state.failed |= state.missing > 0;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_start_together_or_nobody_does() {
        let at = Instant::from_nanos;
        let check = |fails: bool, start: Start| {
            let gate = Gate::new(3);
            thread::scope(|scope| {
                let gate = &gate;
                let others = [5, 9].map(|nanos| scope.spawn(move || gate.pass(at(nanos))));
                if fails {
                    gate.fail();
                } else {
                    assert_eq!(gate.pass(at(7)), start);
                }
                gate.fail();
                others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), start));
            });
        };
        check(false, Start::At(at(9)));
        check(true, Start::Nobody);
    }
}
