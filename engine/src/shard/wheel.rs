//! Deadlines that are all differently far away: a hierarchical timing wheel. No clock, no allocation once it has held as many timers as it ever will.
//!
//! Time is cut into ticks of 1 ms, a tick's number into eight digits of six bits, and every digit has a wheel of 64 slots. A timer lies on the wheel of the highest
//! digit in which its tick differs from the current one, in the slot of that digit; so whatever lies on a lower wheel is due earlier, and within a wheel the slots are
//! due in order. When time comes to a slot of wheel 0 its timers are due; when it comes to a slot of a higher wheel its timers move down (a cascade, at most seven in
//! a timer's life). Eight digits reach beyond the 584 years of an [`Instant`], so nothing is too far away.
//! See Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme 6.

use crate::clock::Instant;

/// Nanoseconds a tick. A timer expires at the end of the tick in which its deadline lies: never early, less than 1 ms late.
pub(crate) const TICK_NANOS: u64 = 1_000_000;
/// Bits a digit: 64 slots, as many as a bitmap of one word has bits.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Digits of a tick's number: 8 times 6 bits hold `u64::MAX / TICK_NANOS`.
const LEVELS: usize = 8;
/// Marks the end of a list.
const NIL: u32 = u32::MAX;
/// `Node::slot` of a node that is free.
const FREE: u16 = u16::MAX;

/// A running timer, for [`Wheel::stop`]. It stays harmless after its timer has expired or was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerId {
    index: u32,
    generation: u32,
}

impl TimerId {
    /// No timer.
    pub(crate) const NONE: Self = Self { index: NIL, generation: 0 };
}

/// One timer, or a place for one. Invariant: it is in the list of `slot` exactly while `slot != FREE`, and in the free list (by `next`) otherwise.
#[derive(Debug, Clone, Copy)]
struct Node {
    key: u64,
    tick: u64,
    previous: u32,
    next: u32,
    /// Counts the timers that this node has held.
    generation: u32,
    slot: u16,
}

/// Timers with arbitrary deadlines; start, stop and expiry are O(1).
#[derive(Debug)]
pub(crate) struct Wheel {
    nodes: Vec<Node>,
    free: u32,
    /// First node by slot: level times 64 plus digit.
    heads: Box<[u32; LEVELS * SLOTS]>,
    /// Slots that are not empty, a word a level.
    occupied: [u64; LEVELS],
    /// The tick that time has come to. Invariant: every timer's tick is this or later, and its slot is the one that `slot_of` gives.
    current: u64,
}

impl Wheel {
    /// A wheel without timers, at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            nodes: Vec::new(),
            free: NIL,
            heads: Box::new([NIL; LEVELS * SLOTS]),
            occupied: [0; LEVELS],
            current: now.as_nanos() / TICK_NANOS,
        }
    }

    /// Starts a timer that gives back `key` once `deadline` has passed; at once if it has already.
    pub(crate) fn start(&mut self, key: u64, deadline: Instant) -> TimerId {
        let tick = deadline.as_nanos().div_ceil(TICK_NANOS);
        let index = self.take_free();
        let Some(node) = self.nodes.get_mut(index as usize) else { return TimerId::NONE };
        (node.key, node.tick) = (key, tick.max(self.current));
        let generation = node.generation;
        self.link(index);
        TimerId { index, generation }
    }

    /// Stops a timer. One that has expired, or was stopped, is ignored.
    pub(crate) fn stop(&mut self, id: TimerId) {
        let known = self.nodes.get(id.index as usize);
        if known.is_some_and(|node| node.generation == id.generation && node.slot != FREE) {
            self.unlink(id.index);
            self.release(id.index);
        }
    }

    /// When to call [`Wheel::expired`] next, [`Instant::NEVER`] if no timer runs. For a deadline within the current 64 ticks it is the end of its tick; for a farther one it
    /// may be earlier, because timers have to move down a wheel. It is never later than a tick after the earliest deadline, or than the last `now` if that deadline has passed.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.earliest().map_or(Instant::NEVER, |(_, tick)| {
            Instant::from_nanos(tick.saturating_mul(TICK_NANOS))
        })
    }

    /// Removes a timer whose deadline has passed at `now` and returns its key, earlier ticks first: call it until there is none. `now` does not go backwards.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<u64> {
        let now_tick = (now.as_nanos() / TICK_NANOS).max(self.current);
        while let Some((slot, tick)) = self.earliest().filter(|(_, tick)| *tick <= now_tick) {
            self.current = tick;
            if slot < SLOTS {
                return self.take_first(slot);
            }
            self.cascade(slot);
        }
        self.current = now_tick;
        None
    }

    /// The first slot that is not empty, and the tick at which time comes to it.
    fn earliest(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let digit = u64::from(self.occupied[level].trailing_zeros());
        let shift = level as u32 * DIGIT_BITS;
        let tick = (self.current >> shift >> DIGIT_BITS << DIGIT_BITS | digit) << shift;
        Some((level * SLOTS + digit as usize, tick))
    }

    /// Where a timer of `tick` lies: by the highest digit in which it differs from the current tick.
    fn slot_of(&self, tick: u64) -> usize {
        let difference = (tick ^ self.current) | 1;
        let level = difference.ilog2() / DIGIT_BITS;
        let digit = (tick >> (level * DIGIT_BITS)) as usize % SLOTS;
        level as usize * SLOTS + digit
    }

    fn take_first(&mut self, slot: usize) -> Option<u64> {
        let index = self.heads[slot];
        let key = self.nodes.get(index as usize)?.key;
        self.unlink(index);
        self.release(index);
        Some(key)
    }

    /// Moves the timers of a slot, to which time has come, down to the wheels below.
    fn cascade(&mut self, slot: usize) {
        let mut index = std::mem::replace(&mut self.heads[slot], NIL);
        self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        while let Some(node) = self.nodes.get(index as usize) {
            let next = node.next;
            self.link(index);
            index = next;
        }
    }

    /// Puts a node into the list of its tick's slot.
    fn link(&mut self, index: u32) {
        let slot = self.slot_of(self.nodes[index as usize].tick);
        let next = std::mem::replace(&mut self.heads[slot], index);
        let node = &mut self.nodes[index as usize];
        (node.previous, node.next, node.slot) = (NIL, next, slot as u16);
        if let Some(after) = self.nodes.get_mut(next as usize) {
            after.previous = index;
        }
        self.occupied[slot / SLOTS] |= 1 << (slot % SLOTS);
    }

    fn unlink(&mut self, index: u32) {
        let Node { previous, next, slot, .. } = self.nodes[index as usize];
        let slot = slot as usize;
        match self.nodes.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.heads[slot] = next,
        }
        if let Some(after) = self.nodes.get_mut(next as usize) {
            after.previous = previous;
        }
        if self.heads[slot] == NIL {
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
    }

    /// A node in no list: a free one, or a new one.
    fn take_free(&mut self) -> u32 {
        let index = self.free;
        if let Some(node) = self.nodes.get(index as usize) {
            self.free = node.next;
            return index;
        }
        let node = Node { key: 0, tick: 0, previous: NIL, next: NIL, generation: 0, slot: FREE };
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        (node.slot, node.next) = (FREE, self.free);
        self.free = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn all_expired(wheel: &mut Wheel, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| wheel.expired(at(now))).collect()
    }

    /// A single timer: not a nanosecond early, less than a tick late, whatever the distance; and `next_deadline` leads there.
    fn check(start: u64, deadline: u64) {
        let mut wheel = Wheel::new(at(start));
        wheel.start(7, at(deadline));
        let mut steps = 0;
        let fired = loop {
            let next = wheel.next_deadline();
            assert!(next.as_nanos() < deadline.saturating_add(TICK_NANOS), "{start} {deadline}");
            if wheel.expired(next).is_some() {
                break next.as_nanos();
            }
            steps += 1;
        };
        assert!(fired >= deadline.min(start) && steps < LEVELS, "{start} {deadline}: {fired}");
        assert!(deadline < start || fired >= deadline, "{start} {deadline}: {fired}");
        assert_eq!(wheel.next_deadline(), Instant::NEVER);
    }

    #[test]
    fn a_timer_expires_within_a_tick_of_its_deadline() {
        for start in [0, 1, 999_999, 1_000_000, 63_999_999, HOUR, 1 << 62] {
            for distance in [0, 1, 999_999, 1_000_000, 64_000_000, HOUR, 10_000 * HOUR, 1 << 61] {
                check(start, start + distance);
            }
        }
        check(5 * TICK_NANOS, 5 * TICK_NANOS);
        assert_eq!(size_of::<TimerId>(), 8);
        assert_eq!(size_of::<Node>(), 32);
    }

    #[test]
    fn a_deadline_that_has_passed_expires_at_once() {
        let mut wheel = Wheel::new(at(HOUR));
        wheel.start(1, at(5));
        wheel.start(2, at(HOUR));
        assert!(wheel.next_deadline() <= at(HOUR));
        let mut keys = all_expired(&mut wheel, HOUR);
        keys.sort_unstable();
        assert_eq!(keys, [1, 2]);
    }

    #[test]
    fn stale_ids_are_ignored() {
        let mut wheel = Wheel::new(at(0));
        let first = wheel.start(1, at(HOUR));
        wheel.stop(first);
        let second = wheel.start(2, at(HOUR));
        assert_ne!(first, second);
        wheel.stop(first);
        wheel.stop(TimerId::NONE);
        assert_eq!(all_expired(&mut wheel, HOUR), [2]);
        wheel.stop(second);
        assert_eq!(wheel.next_deadline(), Instant::NEVER);
        wheel.start(3, Instant::NEVER);
        assert_eq!(wheel.expired(at(u64::MAX - TICK_NANOS)), None);
    }

    #[test]
    fn places_are_used_again() {
        let mut wheel = Wheel::new(at(0));
        for round in 0..1000 {
            let ids: Vec<_> = (0..8).map(|n| wheel.start(n, at(round * HOUR / 7 + n))).collect();
            ids.iter().step_by(2).for_each(|id| wheel.stop(*id));
            all_expired(&mut wheel, round * HOUR / 7 + TICK_NANOS);
        }
        assert!(wheel.nodes.len() <= 16);
    }

    fn random(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (*state >> 20) % below
    }

    /// From nothing to days, every magnitude equally often.
    fn random_span(state: &mut u64) -> u64 {
        let magnitude = random(state, 48);
        random(state, 1 << magnitude)
    }

    /// The naive model: timers in a list that is searched from end to end.
    struct Model {
        running: Vec<(u64, u64, TimerId)>,
        dead: Vec<TimerId>,
        now: u64,
    }

    impl Model {
        fn stop(&mut self, wheel: &mut Wheel, place: usize) {
            let (_, _, id) = self.running.swap_remove(place);
            wheel.stop(id);
            self.dead.push(id);
        }

        fn advance(&mut self, wheel: &mut Wheel) {
            let mut last = 0;
            for key in all_expired(wheel, self.now) {
                let place = self.running.iter().position(|(other, ..)| *other == key).unwrap();
                let (_, deadline, id) = self.running.swap_remove(place);
                assert!(deadline <= self.now, "{key} is early by {}", deadline - self.now);
                assert!(deadline / TICK_NANOS + 1 >= last, "{key} comes behind a later one");
                last = deadline / TICK_NANOS;
                self.dead.push(id);
            }
            for (key, deadline, _) in &self.running {
                assert!(deadline + TICK_NANOS > self.now, "{key} is late");
            }
        }

        fn check(&self, wheel: &Wheel) {
            let next = wheel.next_deadline();
            let earliest = self.running.iter().map(|(_, deadline, _)| *deadline).min();
            let Some(earliest) = earliest else { return assert_eq!(next, Instant::NEVER) };
            assert!(next.as_nanos() < (earliest + TICK_NANOS).max(self.now + 1));
            let near = earliest / TICK_NANOS / 64 == self.now / TICK_NANOS / 64;
            assert!(!near || next.as_nanos() >= earliest.min(self.now / TICK_NANOS * TICK_NANOS));
        }
    }

    #[test]
    fn agrees_with_a_naive_list() {
        for seed in 1..=20 {
            let mut state = seed;
            let now = random_span(&mut state);
            let mut wheel = Wheel::new(at(now));
            let mut model = Model { running: Vec::new(), dead: Vec::new(), now };
            for key in 0..3000 {
                match random(&mut state, 8) {
                    0..4 => {
                        let deadline = model.now + random_span(&mut state);
                        model.running.push((key, deadline, wheel.start(key, at(deadline))));
                    }
                    4 if !model.running.is_empty() => {
                        let place = random(&mut state, model.running.len() as u64) as usize;
                        model.stop(&mut wheel, place);
                    }
                    5 if !model.dead.is_empty() => {
                        let place = random(&mut state, model.dead.len() as u64) as usize;
                        wheel.stop(model.dead[place]);
                    }
                    _ => {
                        // Seldom far: else there is never more than a handful of timers.
                        let rare = random(&mut state, 40) == 0;
                        model.now += random_span(&mut state) >> if rare { 0 } else { 20 };
                        model.advance(&mut wheel);
                    }
                }
                model.check(&wheel);
            }
        }
    }
}
