//! A batch's credits: how many inputs may be pulled and not yet consumed. Pure.

use std::num::NonZeroUsize;

/// Credits that a consumer gives back at a time, if it has more results in its hands.
const GIVE_BLOCK: usize = 8;

/// How credits come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Each when its result was consumed.
    Window(NonZeroUsize),
    /// All together, when the last of them was.
    Barrier(NonZeroUsize),
}

/// Invariant: `free + out` is the pace's number, but for a barrier, of which some were consumed and wait for the others.
#[derive(Debug)]
pub(super) struct Credits {
    pace: Pace,
    free: usize,
    out: usize,
}

impl Credits {
    pub(super) fn new(pace: Pace) -> Self {
        let (Pace::Window(size) | Pace::Barrier(size)) = pace;
        Self { pace, free: size.get(), out: 0 }
    }

    /// How many a consumer that has more results in its hands collects before it gives them back.
    pub(super) fn block(&self) -> usize {
        let (Pace::Window(size) | Pace::Barrier(size)) = self.pace;
        (size.get() / 4).clamp(1, GIVE_BLOCK)
    }

    /// Credits that nobody has.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Takes up to `most`, and tells how many.
    pub(super) fn take(&mut self, most: usize) -> usize {
        let taken = self.free.min(most);
        self.free -= taken;
        self.out += taken;
        taken
    }

    /// Gives back what was not used.
    pub(super) fn untake(&mut self, unused: usize) {
        debug_assert!(unused <= self.out);
        self.free += unused;
        self.out -= unused;
        self.refill();
    }

    /// Gives back the credit of what was consumed.
    pub(super) fn give_back(&mut self) {
        debug_assert!(self.out > 0);
        self.out = self.out.saturating_sub(1);
        match self.pace {
            Pace::Window(_) => self.free += 1,
            Pace::Barrier(_) => self.refill(),
        }
    }

    fn refill(&mut self) {
        if let Pace::Barrier(size) = self.pace
            && self.out == 0
            && self.free == 0
        {
            self.free = size.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).unwrap()
    }

    #[test]
    fn a_window_slides() {
        let mut credits = Credits::new(Pace::Window(size(3)));
        assert_eq!((credits.take(2), credits.take(2), credits.take(2)), (2, 1, 0));
        credits.give_back();
        assert_eq!((credits.free(), credits.take(8)), (1, 1));
        credits.untake(1);
        assert_eq!(credits.take(8), 1);
    }

    #[test]
    fn a_barrier_waits_for_the_last() {
        let mut credits = Credits::new(Pace::Barrier(size(3)));
        assert_eq!(credits.take(2), 2);
        credits.give_back();
        credits.give_back();
        assert_eq!(credits.free(), 1, "the third of the batch is still to come");
        assert_eq!(credits.take(8), 1);
        assert_eq!(credits.free(), 0);
        credits.give_back();
        assert_eq!(credits.free(), 3);
        assert_eq!(credits.take(8), 3);
        credits.give_back();
        credits.give_back();
        assert_eq!(credits.take(8), 0);
        credits.give_back();
        assert_eq!(credits.take(8), 3);
        credits.untake(3);
        assert_eq!(credits.free(), 3);
    }
}
