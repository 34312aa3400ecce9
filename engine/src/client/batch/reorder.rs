//! Results that wait for an earlier one. Pure.

use std::collections::VecDeque;

/// Puts what comes with indices from 0 into their order. Holds as many places as the latest is ahead of the first that is missing: whoever inserts bounds that.
#[derive(Debug)]
pub(super) struct Reorder<V> {
    /// The index that is given next, that of the first place.
    next: u64,
    places: VecDeque<Option<V>>,
    waiting: usize,
}

impl<V> Reorder<V> {
    pub(super) fn new() -> Self {
        Self { next: 0, places: VecDeque::new(), waiting: 0 }
    }

    /// Values held, the next one included if it is there.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a value in. Each index comes once.
    pub(super) fn insert(&mut self, index: u64, value: V) {
        debug_assert!(index >= self.next);
        let place = index.saturating_sub(self.next) as usize;
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        let before = self.places[place].replace(value);
        debug_assert!(before.is_none());
        self.waiting += 1;
    }

    /// The value with the next index, if it is there.
    pub(super) fn pop(&mut self) -> Option<V> {
        let value = self.places.front_mut()?.take()?;
        self.places.pop_front();
        self.next += 1;
        self.waiting -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_any_order_goes_in_one() {
        let check = |order: &[u64]| {
            let mut reorder = Reorder::new();
            let mut given = Vec::new();
            for (taken, index) in order.iter().enumerate() {
                reorder.insert(*index, *index);
                given.extend(std::iter::from_fn(|| reorder.pop()));
                assert_eq!(reorder.waiting(), taken + 1 - given.len());
            }
            assert!(given.iter().copied().eq(0..order.len() as u64), "{order:?}: {given:?}");
        };
        check(&[]);
        check(&[0, 1, 2]);
        check(&[2, 1, 0]);
        check(&[1, 0, 3, 4, 2, 5]);
        check(&[5, 4, 3, 2, 1, 0]);
        check(&(0..1000).map(|place| place ^ 7).collect::<Vec<_>>());
    }
}
