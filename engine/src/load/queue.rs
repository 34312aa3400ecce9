//! What waits for one server: due requests in their order, as many in memory as may be. Those beyond are counted, and found in the schedule again when there is
//! room for them. Reads no clock.

use std::collections::VecDeque;
use std::time::Duration;

use super::flights::Flight;
use super::mix::Picker;
use super::schedule::{Due, Schedule};

/// Requests of one core that may wait in memory for a connection to one server.
pub(super) const WAITING_MAX: usize = 1 << 14;

/// Requests that are due and have no connection yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Invariant: as many as may be while there are any beyond.
    flights: VecDeque<Flight>,
    beyond: Option<Beyond>,
}

/// Requests that were due when the queue was full.
#[derive(Debug)]
struct Beyond {
    /// How many; at least one.
    count: u64,
    /// The schedule from the first of them on, or from before it.
    schedule: Schedule,
}

/// Turns what is due into requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requests<'a> {
    pub(super) picker: &'a Picker,
    /// The slack of the run.
    pub(super) slack: Duration,
}

impl Requests<'_> {
    /// The request that is due, and its server.
    #[inline]
    pub(super) fn flight(&self, due: Due) -> (Flight, u32) {
        let (request, target) = self.picker.pick(due.index);
        let possible = due.at + self.slack;
        (Flight { index: due.index, intended: due.at, possible, request, resent: false }, target)
    }

    /// The next request to a server, of a schedule that has one.
    fn next_to(&self, target: u32, schedule: &mut Schedule) -> Option<Flight> {
        loop {
            let (flight, its) = self.flight(schedule.take(schedule.next_due())?);
            if its == target {
                return Some(flight);
            }
        }
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether one more would not be kept in memory.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.flights.len() >= WAITING_MAX
    }

    /// The request that has waited longest.
    pub(super) fn first(&self) -> Option<&Flight> {
        self.flights.front()
    }

    /// One more waits, which is the next of `schedule`.
    pub(super) fn push(&mut self, flight: Flight, schedule: &Schedule) {
        let is_full = self.is_full();
        match &mut self.beyond {
            Some(beyond) => beyond.count += 1,
            None if is_full => {
                self.beyond = Some(Beyond { count: 1, schedule: schedule.clone() });
            }
            None => self.flights.push_back(flight),
        }
    }

    /// Takes the request that has waited longest for server `target`, whose queue this is.
    pub(super) fn pop(&mut self, target: usize, requests: Requests<'_>) -> Option<Flight> {
        let flight = self.flights.pop_front()?;
        if let Some(beyond) = &mut self.beyond {
            self.flights.extend(requests.next_to(target as u32, &mut beyond.schedule));
            beyond.count -= 1;
            if beyond.count == 0 {
                self.beyond = None;
            }
        }
        Some(flight)
    }

    /// Forgets all that wait, and returns how many they were.
    pub(super) fn clear(&mut self) -> u64 {
        let held = self.flights.len() as u64;
        self.flights.clear();
        held + self.beyond.take().map_or(0, |beyond| beyond.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;
    use crate::load::mix::testing;
    use crate::load::{Arrival, Mix, Order, Spacing, Stage};

    /// Whatever is taken in between, requests come out in the order in which they were due, each once, and only those to the queue's server.
    #[test]
    fn a_queue_holds_some_and_forgets_none() {
        let stages = vec![Stage { length: Duration::from_secs(1), from: 4e5, to: 0.0 }];
        let picker = Picker::new(&Mix { order: Order::Weighted, ..testing::mix(3) });
        let requests = Requests { picker: &picker, slack: Duration::from_micros(7) };
        for (spacing, cores) in [(Spacing::Constant, 1), (Spacing::Poisson { seed: 9 }, 2)] {
            let arrival = Arrival::Open { stages: stages.clone(), spacing };
            // Popped so often for each push, in steps of the run.
            for pops in [[0, 0, 0], [0, 1, 0], [0, 2, 1], [1, 0, 3]] {
                let base = Instant::from_nanos(5);
                let mut schedule = Schedule::new(&arrival, base, (0, cores), u64::MAX).unwrap();
                let (mut queue, mut expected, mut out) = (Queue::default(), Vec::new(), Vec::new());
                while let Some(due) = schedule.peek(schedule.next_due()) {
                    let (flight, target) = requests.flight(due);
                    if target == 1 {
                        expected.push(flight);
                        queue.push(flight, &schedule);
                        assert!(queue.flights.len() <= WAITING_MAX);
                        let pops = pops[expected.len() / 20_000 % 3];
                        (0..pops).for_each(|_| out.extend(queue.pop(1, requests)));
                    }
                    assert_eq!(schedule.take(schedule.next_due()), Some(due));
                    assert!(queue.beyond.is_none() || queue.is_full());
                }
                let held = queue.flights.len() as u64;
                let left = held + queue.beyond.as_ref().map_or(0, |beyond| beyond.count);
                assert_eq!(left as usize, expected.len() - out.len());
                let half = left / 2;
                (0..half).for_each(|_| out.extend(queue.pop(1, requests)));
                assert!(out == expected[..out.len()]);
                assert_eq!((queue.clear(), queue.is_empty()), (left - half, true));
                assert_eq!(queue.pop(1, requests), None);
            }
        }
    }
}
