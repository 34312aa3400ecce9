//! When a connection's answer goes on: at most one time a connection. No clock.

use std::collections::BTreeSet;

use crate::clock::Instant;

/// Times by connection. A stopped one is gone at once, so that a client that comes and goes leaves nothing behind.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, u32)>,
}

impl Timers {
    /// Starts the timer of a connection that has none running.
    pub(super) fn start(&mut self, connection: u32, due: Instant) {
        self.due.insert((due, connection));
    }

    /// Stops a timer that was started for `due`.
    pub(super) fn stop(&mut self, connection: u32, due: Instant) {
        self.due.remove(&(due, connection));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes the connection whose time came first, if it has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let (due, _) = self.due.first()?;
        if *due > now {
            return None;
        }
        self.due.pop_first().map(|(_, connection)| connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_order_and_stopped_ones_never() {
        let at = Instant::from_nanos;
        let mut timers = Timers::default();
        for (connection, due) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
            timers.start(connection, at(due));
        }
        timers.stop(3, at(20));
        assert_eq!((timers.next_due(), timers.pop_due(at(9))), (Some(at(10)), None));
        let popped: Vec<u32> = std::iter::from_fn(|| timers.pop_due(at(30))).collect();
        assert_eq!(popped, [2, 4, 1]);
        assert!(timers.is_empty() && timers.next_due().is_none());
    }
}
