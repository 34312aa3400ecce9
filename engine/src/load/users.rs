//! Users of a closed loop that visit several servers or think between requests: who may send next, and when. Reads no clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::clock::Instant;

/// One core's users. Each has one lane to every target and one request at a time.
#[derive(Debug)]
pub(super) struct Users {
    ready: VecDeque<u32>,
    thinking: BinaryHeap<Reverse<(Instant, u32)>>,
    targets: u32,
    /// Think times given so far, over all users, in nanoseconds.
    given_ns: u64,
}

impl Users {
    /// So many lanes' users, all of them ready.
    pub(super) fn new(lanes: u32, targets: u32) -> Self {
        let ready = (0..lanes / targets.max(1)).collect();
        Self { ready, thinking: BinaryHeap::new(), targets: targets.max(1), given_ns: 0 }
    }

    /// The user of a lane has its answer, and sends again from `then` on.
    pub(super) fn free(&mut self, lane: u32, now: Instant, then: Instant) {
        let user = lane / self.targets;
        if then <= now {
            self.ready.push_back(user);
        } else {
            self.given_ns += then.nanos_since(now);
            self.thinking.push(Reverse((then, user)));
        }
    }

    /// A user who may send.
    pub(super) fn next(&mut self, now: Instant) -> Option<u32> {
        while self.thinking.peek().is_some_and(|Reverse((then, _))| *then <= now) {
            self.ready.extend(self.thinking.pop().map(|Reverse((_, user))| user));
        }
        self.ready.pop_front()
    }

    /// A user who could not send after all.
    pub(super) fn put_back(&mut self, user: u32) {
        self.ready.push_front(user);
    }

    /// The lane of a user to a target.
    pub(super) fn lane(&self, user: u32, target: u32) -> u32 {
        user * self.targets + target
    }

    /// How long users have thought until `now`, summed over them, in nanoseconds.
    pub(super) fn thought_ns(&self, now: Instant) -> u64 {
        let ahead = |Reverse((then, _)): &Reverse<(Instant, u32)>| then.nanos_since(now);
        self.given_ns.saturating_sub(self.thinking.iter().map(ahead).sum())
    }

    /// When the next user has thought enough.
    pub(super) fn next_due(&self) -> Instant {
        self.thinking.peek().map_or(Instant::NEVER, |Reverse((then, _))| *then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_take_turns_and_think() {
        let at = Instant::from_nanos;
        let mut users = Users::new(6, 2);
        let order: Vec<u32> = std::iter::from_fn(|| users.next(at(0))).collect();
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(users.lane(2, 1), 5);
        users.free(5, at(10), at(50));
        users.free(0, at(10), at(10));
        assert_eq!(
            (users.next_due(), users.next(at(49)), users.next(at(49))),
            (at(50), Some(0), None)
        );
        assert_eq!((users.next(at(50)), users.next_due()), (Some(2), Instant::NEVER));
        // 40 ns so far: the other had no pause.
        assert_eq!((users.thought_ns(at(50)), users.thought_ns(at(60))), (40, 40));
        users.free(0, at(60), at(160));
        assert_eq!((users.thought_ns(at(60)), users.thought_ns(at(90))), (40, 70));
        users.put_back(2);
        assert_eq!(users.next(at(50)), Some(2));
    }
}
