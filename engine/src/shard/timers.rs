//! Deadlines that are all equally far away: one first-in-first-out list a timeout class. No clock, no allocation after `new`.
//!
//! Since every member of a class waits the same time, the order of starting is the order of expiring: start, stop and expiry are O(1), on 16 bytes a member.

use std::time::Duration;

use crate::clock::Instant;

/// Marks the end of a list and a node that is in none.
const NIL: u32 = u32::MAX;

/// One member. Invariant: linked exactly while `previous != ABSENT`.
#[derive(Debug, Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    started: Instant,
}

/// `previous` of a node that is in no list.
const ABSENT: u32 = u32::MAX - 1;

/// The members of one timeout class, in the order in which they started. A member is a number below the `members` of [`Fifo::new`].
#[derive(Debug)]
pub struct Fifo {
    nodes: Box<[Node]>,
    head: u32,
    tail: u32,
    timeout: Duration,
}

impl Fifo {
    /// A class of up to `members` members with one timeout.
    #[must_use]
    pub fn new(members: usize, timeout: Duration) -> Self {
        let absent = Node { previous: ABSENT, next: NIL, started: Instant::default() };
        Self { nodes: vec![absent; members].into_boxed_slice(), head: NIL, tail: NIL, timeout }
    }

    /// Starts a member at `now`, which must not be earlier than the start before it; a running one starts anew.
    #[inline]
    pub fn start(&mut self, member: u32, now: Instant) {
        self.stop(member);
        let Some(node) = self.nodes.get_mut(member as usize) else { return };
        *node = Node { previous: self.tail, next: NIL, started: now };
        match self.nodes.get_mut(self.tail as usize) {
            Some(last) => last.next = member,
            None => self.head = member,
        }
        self.tail = member;
    }

    /// Stops a member and returns when it started; `None` if it was not running.
    #[inline]
    pub fn stop(&mut self, member: u32) -> Option<Instant> {
        let node = self.nodes.get_mut(member as usize)?;
        if node.previous == ABSENT {
            return None;
        }
        let Node { previous, next, started } =
            std::mem::replace(node, Node { previous: ABSENT, next: NIL, started: node.started });
        match self.nodes.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(after) => after.previous = previous,
            None => self.tail = previous,
        }
        Some(started)
    }

    /// The earliest deadline, [`Instant::NEVER`] if none is running.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.nodes
            .get(self.head as usize)
            .map_or(Instant::NEVER, |node| node.started + self.timeout)
    }

    /// The member whose deadline came first, if it is at or before `now`. It stays until it is stopped.
    #[inline]
    #[must_use]
    pub fn expired(&self, now: Instant) -> Option<u32> {
        (self.next_deadline() <= now).then_some(self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_expired(fifo: &mut Fifo, now: Instant) -> Option<u32> {
        fifo.expired(now).inspect(|member| assert!(fifo.stop(*member).is_some()))
    }

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn members_expire_in_the_order_of_their_start_and_not_before() {
        let mut fifo = Fifo::new(4, Duration::from_nanos(100));
        assert_eq!(fifo.next_deadline(), Instant::NEVER);
        assert_eq!(take_expired(&mut fifo, at(u64::MAX - 1)), None);
        for (member, start) in [(2, 10), (0, 20), (3, 20)] {
            fifo.start(member, at(start));
        }
        assert_eq!(fifo.next_deadline(), at(110));
        assert_eq!(take_expired(&mut fifo, at(109)), None);
        assert_eq!(take_expired(&mut fifo, at(200)), Some(2));
        assert_eq!(take_expired(&mut fifo, at(200)), Some(0));
        assert_eq!(fifo.stop(3), Some(at(20)));
        assert_eq!((fifo.stop(3), fifo.stop(9)), (None, None));
        assert_eq!(take_expired(&mut fifo, at(200)), None);
    }

    #[test]
    fn a_started_member_starts_anew() {
        let mut fifo = Fifo::new(2, Duration::from_nanos(100));
        fifo.start(0, at(0));
        fifo.start(1, at(5));
        fifo.start(0, at(50));
        assert_eq!(take_expired(&mut fifo, at(149)), Some(1));
        assert_eq!(fifo.next_deadline(), at(150));
    }

    /// Against a list that is searched from end to end.
    #[test]
    fn agrees_with_a_naive_list() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut fifo = Fifo::new(16, Duration::from_nanos(50));
        let mut naive: Vec<(u32, u64)> = Vec::new();
        for now in 0..20_000 {
            let member = random(16) as u32;
            let known = naive.iter().position(|(other, _)| *other == member);
            if random(2) == 0 {
                let started = known.map(|place| at(naive.remove(place).1));
                assert_eq!(fifo.stop(member), started);
            } else {
                known.map(|place| naive.remove(place));
                naive.push((member, now));
                fifo.start(member, at(now));
            }
            while let Some(expired) = take_expired(&mut fifo, at(now)) {
                let (first, started) = naive.remove(0);
                assert!(expired == first && started + 50 <= now);
            }
            assert!(naive.first().is_none_or(|(_, started)| started + 50 > now));
        }
    }
}
