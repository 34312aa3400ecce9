//! Where the cores of a run wait for each other before they start. A core that can't come lets the others go home.

use std::sync::{Condvar, Mutex, PoisonError};

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
}

/// What was behind the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// All are there.
    All,
    /// One failed: nobody starts.
    Nobody,
}

impl Gate {
    pub(super) fn new(missing: usize) -> Self {
        Self { state: Mutex::new(State { missing, failed: false }), moved: Condvar::new() }
    }

    /// Comes, and waits for the others.
    pub(super) fn pass(&self) -> Start {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.missing = state.missing.saturating_sub(1);
        self.moved.notify_all();
        while state.missing > 0 && !state.failed {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed { Start::Nobody } else { Start::All }
    }

    /// Somebody will not come, unless all have already.
    pub(super) fn fail(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
        let check = |fails: bool, start: Start| {
            let gate = Gate::new(3);
            thread::scope(|scope| {
                let others = [0, 1].map(|_| scope.spawn(|| gate.pass()));
                if fails {
                    gate.fail();
                } else {
                    assert_eq!(gate.pass(), start);
                }
                gate.fail();
                others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), start));
            });
        };
        check(false, Start::All);
        check(true, Start::Nobody);
    }
}
