//! What is to happen when: a queue in order of time, then of entry. Knows no sockets.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Things to come.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Item<T>>>,
    entered: u64,
}

#[derive(Debug)]
struct Item<T> {
    at: u64,
    order: u64,
    thing: T,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), entered: 0 }
    }

    /// Enters a thing for the time `at`, behind those that are entered for it.
    pub(super) fn enter(&mut self, at: u64, thing: T) {
        self.entered += 1;
        self.heap.push(Reverse(Item { at, order: self.entered, thing }));
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|item| item.0.at)
    }

    /// Takes the next thing, if its time has come.
    pub(super) fn take_due(&mut self, now: u64) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|item| item.0.thing)
    }

    /// All that is entered, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|item| &item.0.thing)
    }
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<T> Eq for Item<T> {}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Item<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_order_of_time_then_of_entry() {
        let mut agenda = Agenda::new();
        for (at, thing) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            agenda.enter(at, thing);
        }
        assert_eq!((agenda.take_due(0), agenda.next_at()), (None, Some(1)));
        let told: String = std::iter::from_fn(|| agenda.take_due(5)).collect();
        assert_eq!(told, "abcd");
        assert_eq!(agenda.next_at(), None);
    }
}
