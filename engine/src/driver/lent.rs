//! Bytes that a driver lends, and by which driver: what one lent another one refuses. Knows no
//! buffer.

use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes in a buffer that the driver lends: to be given back once, after they were read.
///
/// Not `Clone`: whoever holds it is the one who gives it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lent buffer must be given back to its driver"]
pub struct Lent {
    pub(super) start: u32,
    pub(super) bytes: u32,
    lender: u32,
    pub(super) buffer: u16,
    pub(super) has_more: bool,
}

// Moved with each completion that brings bytes.
const _: () = assert!(size_of::<Lent>() == 16);

impl Lent {
    /// Whether the driver knows that more can be received at once: bytes, or the end. A receive
    /// that is armed tells it within [`REAPS_TO_TELL`](super::REAPS_TO_TELL) reaps. `false` says
    /// nothing.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.has_more
    }
}

/// What makes a driver's [`Lent`]s, and knows them again: one for each driver, for drivers alone.
///
/// Its number is no other lender's of this process, not even after it was dropped: a [`Lent`] may
/// outlive its driver, and must not read the memory of the next one.
#[derive(Debug)]
pub struct Lender(u32);

/// The number of the next lender.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Lender {
    /// A lender like no other.
    ///
    /// # Panics
    /// After 2^32 - 1 of them: no number is used twice.
    #[must_use]
    pub fn new() -> Self {
        let (Ok(number) | Err(number)) =
            NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| number.checked_add(1));
        assert!(number < u32::MAX, "all numbers of drivers are used");
        Self(number)
    }

    /// Bytes `start` to `start + bytes` of the buffer that its driver calls `buffer`, and whether
    /// the driver knows of more behind them ([`Lent::has_more`]).
    #[inline]
    pub const fn lend(&self, buffer: u16, start: u32, bytes: u32, has_more: bool) -> Lent {
        Lent { start, bytes, lender: self.0, buffer, has_more }
    }

    /// Sees to it that it was this lender who lent.
    ///
    /// # Panics
    /// If it was another.
    #[inline]
    pub fn check(&self, lent: &Lent) {
        assert!(lent.lender == self.0, "a buffer that one driver lent was handed to another");
    }
}

impl Default for Lender {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::driver::{Driver, Epoll, Limits, Uring, sim, uring};

    /// Whether the driver refuses what `of` lent.
    fn refuses(driver: &mut dyn Driver, of: &Lender) -> (bool, bool) {
        let lent = of.lend(0, 0, 1, false);
        let bytes = catch_unwind(AssertUnwindSafe(|| driver.bytes(&lent).len()));
        let given_back = catch_unwind(AssertUnwindSafe(|| driver.give_back(lent)));
        (bytes.is_err(), given_back.is_err())
    }

    #[test]
    fn no_driver_takes_what_another_lent() {
        let limits = Limits { slots: 2 };
        let sim = sim::Sim::open(sim::Config::calm(2, 1), |_| unreachable!("nobody connects"));
        let mut drivers: Vec<Box<dyn Driver>> =
            vec![Box::new(Epoll::open(limits).unwrap()), Box::new(sim)];
        match Uring::open(uring::Config::for_slots(2)) {
            Ok(uring) => drivers.push(Box::new(uring)),
            Err(_) => eprintln!("skipped: no io_uring here"),
        }
        let other = Lender::new();
        for driver in &mut drivers {
            assert_eq!(refuses(&mut **driver, &other), (true, true), "{}", driver.name());
        }
    }

    /// A [`Lent`] may outlive its driver.
    #[test]
    fn a_number_is_not_used_again() {
        let lent = Lender::new().lend(0, 0, 1, false);
        for _ in 0..3 {
            let next = Lender::new();
            next.check(&next.lend(0, 0, 1, false));
            assert!(catch_unwind(|| next.check(&lent)).is_err());
        }
    }
}
