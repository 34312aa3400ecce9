//! Limits that hold over all cores: a budget of units that cores take and give back, and a core's lease on one. Never waits, never exceeds.
//!
//! A unit is a connection or a permit. Connections are taken one by one, since a dial costs far more than an atomic operation. Permits are taken in blocks,
//! since they are taken for every request: a core keeps what it has leased until another core starves.
//!
//! A core that starves is rung when a unit comes back, and whoever is fastest takes it. A core that has waiters of its own gives a unit up all the same to one
//! that starves and has two or more fewer; and in turn to one that has none, where there are fewer units than cores. Then no two cores differ by more than one
//! unit, and none gives what another would have to give back:
//!
//! ```text
//!            found nothing             another gives one up     it is free
//!  Nothing ─────────────────> Starving ───────────────> Promised ───────────> Granted
//!     ^                           │ one came back           │ not wanted         │ taken, or
//!     └───────────────────────────┴─────────────────────────┴────────────────────┘ not wanted
//! ```

mod lease;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use lease::Lease;

use super::doorbell::Doorbell;
use crate::clock::Instant;

/// How often a unit goes on in turn to a core that has none, for a budget of one unit; with more units more often. Each time costs a reconnect.
const TURN: Duration = Duration::from_millis(50);

/// What a core wants of a budget, see the module.
const NOTHING: u8 = 0;
const STARVING: u8 = 1;
const PROMISED: u8 = 2;
const GRANTED: u8 = 3;

/// One core's part of a budget.
#[derive(Debug, Default)]
#[repr(align(64))] // A line of its own: its core writes to it while the others write to theirs.
struct Seat {
    /// Units that it has or was promised, without those that it has promised to others.
    held: AtomicU32,
    /// Of these, units that others may have soon, where that is told.
    spare: AtomicU32,
    claim: AtomicU8,
}

impl Seat {
    fn claims(&self) -> u8 {
        self.claim.load(Ordering::SeqCst)
    }

    /// One step of the claim, if it stands there.
    fn step(&self, from: u8, to: u8) -> bool {
        self.claim.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// A limit shared by all cores.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u32,
    taken: AtomicU32,
    /// The most that were taken at once.
    most: AtomicU32,
    /// Cores that are [`STARVING`].
    starving: AtomicU32,
    /// When a unit last went on in turn, in nanoseconds of the clock.
    turned: AtomicU64,
    seats: Box<[Seat]>,
    /// How often any budget of the same client came to starve a core, or had a unit for one that starved.
    news: Arc<AtomicU64>,
    bells: Arc<[Arc<Doorbell>]>,
}

impl Budget {
    /// A budget of `limit` units over the cores whose bells these are.
    pub(crate) fn new(limit: u32, bells: Arc<[Arc<Doorbell>]>, news: Arc<AtomicU64>) -> Self {
        Self {
            limit,
            news,
            taken: AtomicU32::new(0),
            most: AtomicU32::new(0),
            starving: AtomicU32::new(0),
            turned: AtomicU64::new(0),
            seats: bells.iter().map(|_| Seat::default()).collect(),
            bells,
        }
    }

    fn seat(&self, core: u32) -> &Seat {
        &self.seats[core as usize]
    }

    /// Takes up to `wanted` units, at least one, for `core` and returns how many it got. One that was granted to it comes first.
    pub(crate) fn take(&self, core: u32, wanted: u32) -> u32 {
        let seat = self.seat(core);
        if seat.claims() == GRANTED && seat.step(GRANTED, NOTHING) {
            return 1;
        }
        let room = |taken: u32| {
            let got = wanted.min(self.limit.saturating_sub(taken));
            (got > 0).then_some(taken + got)
        };
        match self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room) {
            Ok(before) => {
                let got = wanted.min(self.limit - before);
                self.most.fetch_max(before + got, Ordering::Relaxed);
                seat.held.fetch_add(got, Ordering::SeqCst);
                got
            }
            Err(_) => 0,
        }
    }

    /// Takes one unit, or notes that `core` starves, so that it is rung when one comes back and others give up what they can spare.
    pub(crate) fn take_or_starve(&self, core: u32) -> bool {
        self.finds_or_starves(core, || self.take(core, 1) == 1)
    }

    /// Whether a unit is there to be taken, or else notes that `core` starves:
    /// [`Budget::take_or_starve`] without the take.
    pub(crate) fn has_room_or_starves(&self, core: u32) -> bool {
        // Ordered behind the note that it starves, as a take is.
        self.finds_or_starves(core, || self.taken.load(Ordering::SeqCst) < self.limit)
    }

    fn finds_or_starves(&self, core: u32, finds: impl Fn() -> bool) -> bool {
        if finds() {
            return true;
        }
        let news = self.seat(core).step(NOTHING, STARVING);
        if news {
            self.starving.fetch_add(1, Ordering::SeqCst);
        }
        // Between the two looks a unit may have come back without a ring.
        if finds() {
            self.renounce(core);
            return true;
        }
        if news {
            self.news.fetch_add(1, Ordering::SeqCst);
            let others = (0_u32..).zip(self.bells.iter()).filter(|(other, _)| *other != core);
            others.for_each(|(_, bell)| bell.ring());
        }
        false
    }

    /// Gives units of `core` back, and rings the cores that starve.
    pub(crate) fn give(&self, core: u32, units: u32) {
        if units > 0 {
            self.seat(core).held.fetch_sub(units, Ordering::SeqCst);
            self.free(units);
        }
    }

    /// Gives a unit of `core` to the core that it was promised to, or that has too few by now, or else back.
    pub(crate) fn pass_on(&self, core: u32, heir: Option<Heir>, now: Instant) {
        match heir.or_else(|| self.promise(core, now)) {
            Some(heir) => self.grant(heir),
            None => self.give(core, 1),
        }
    }

    fn free(&self, units: u32) {
        let before = self.taken.fetch_sub(units, Ordering::SeqCst);
        debug_assert!(before >= units, "more units came back than were taken");
        if self.starving.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (seat, bell) in self.seats.iter().zip(self.bells.iter()) {
            if seat.step(STARVING, NOTHING) {
                self.starving.fetch_sub(1, Ordering::SeqCst);
                self.news.fetch_add(1, Ordering::SeqCst);
                bell.ring();
            }
        }
    }

    /// Promises a unit of `core`, which has to free it then, to the core that starves most, if that should have it.
    pub(crate) fn promise(&self, core: u32, now: Instant) -> Option<Heir> {
        if !self.others_starve(core) {
            return None;
        }
        let cores = self.seats.len() as u32;
        let held = |core: &u32| self.seat(*core).held.load(Ordering::SeqCst);
        // From the next one on: of those that have as few, another is first each time.
        let others = (1..cores).map(|next| (core + next) % cores);
        let heir = others.filter(|other| self.starves(*other)).min_by_key(held)?;
        let due = match (held(&core), held(&heir)) {
            (1, 0) => self.try_turn(now),
            (ours, theirs) => ours >= theirs.saturating_add(2),
        };
        if !due {
            return None;
        }
        // Before it is told, so that whoever renounces it finds it there.
        self.seat(heir).held.fetch_add(1, Ordering::SeqCst);
        if !self.seat(heir).step(STARVING, PROMISED) {
            self.seat(heir).held.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        self.starving.fetch_sub(1, Ordering::SeqCst);
        self.seat(core).held.fetch_sub(1, Ordering::SeqCst);
        Some(Heir(heir))
    }

    /// Has a unit go on in turn; `false` if it is not time for that.
    fn try_turn(&self, now: Instant) -> bool {
        let last = self.turned.load(Ordering::SeqCst);
        let (next, now) = (Instant::from_nanos(last) + TURN / self.limit.max(1), now.as_nanos());
        let due = now >= next.as_nanos();
        due && self.turned.compare_exchange(last, now, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The unit that was promised is free.
    fn grant(&self, Heir(heir): Heir) {
        if self.seat(heir).step(PROMISED, GRANTED) {
            self.news.fetch_add(1, Ordering::SeqCst);
            self.bells[heir as usize].ring();
        } else {
            self.free(1);
        }
    }

    /// `core` wants no unit any more: what was granted to it is others'.
    pub(crate) fn renounce(&self, core: u32) {
        let seat = self.seat(core);
        loop {
            let claim = seat.claims();
            if claim == GRANTED {
                // Only `core` takes what was granted. First, so that whoever
                // counts what is coming finds it here or there.
                self.give(core, 1);
            }
            if claim == NOTHING || seat.step(claim, NOTHING) {
                return match claim {
                    STARVING => drop(self.starving.fetch_sub(1, Ordering::SeqCst)),
                    // Whoever promised it finds no claim.
                    PROMISED => drop(seat.held.fetch_sub(1, Ordering::SeqCst)),
                    _ => {}
                };
            }
            // Others have gone on with it: a step or two, and there are no more.
        }
    }

    /// [`Budget::renounce`] if a unit was granted. Who wants one after all looks again.
    pub(crate) fn decline(&self, core: u32) {
        if self.is_granted(core) {
            self.renounce(core);
            self.bells[core as usize].ring();
        }
    }

    /// Whether a unit is kept for `core`.
    pub(crate) fn is_granted(&self, core: u32) -> bool {
        self.seat(core).claims() == GRANTED
    }

    /// Whether `core` found nothing and was promised nothing.
    fn starves(&self, core: u32) -> bool {
        self.seat(core).claims() == STARVING
    }

    /// Whether `core` found nothing, and is rung when it can look again.
    pub(crate) fn waits(&self, core: u32) -> bool {
        matches!(self.seat(core).claims(), STARVING | PROMISED)
    }

    /// Whether a core other than `core` found nothing.
    #[inline]
    pub(crate) fn others_starve(&self, core: u32) -> bool {
        let starving = self.starving.load(Ordering::Relaxed);
        starving > 1 || (starving == 1 && !self.starves(core))
    }

    /// Whether one of them has no unit at all, so that none of its own comes free.
    pub(crate) fn others_have_none(&self, core: u32) -> bool {
        let others = (0..self.seats.len() as u32).filter(|other| *other != core);
        let has_none = |other: &u32| self.seat(*other).held.load(Ordering::SeqCst) == 0;
        others.filter(has_none).any(|other| self.starves(other))
    }

    /// Tells how many units `core` would give up to one that starves, or is about to give back. Told after they came back, so that whoever reads it finds them here or
    /// there.
    pub(crate) fn set_spare(&self, core: u32, spare: u32) {
        self.seat(core).spare.store(spare, Ordering::Release);
    }

    /// Units that come to those who wait without anybody else's request having to end: those told as spare, kept for a core, or there; looked at in the order of their way, so that none is missed.
    pub(crate) fn coming(&self) -> u32 {
        let spare: u32 = self.seats.iter().map(|seat| seat.spare.load(Ordering::Acquire)).sum();
        let granted = self.seats.iter().filter(|seat| seat.claims() == GRANTED).count() as u32;
        self.room().saturating_add(spare + granted)
    }

    /// Whether a unit is there to be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Units that are there to be taken.
    pub(crate) fn room(&self) -> u32 {
        self.limit.saturating_sub(self.taken())
    }

    /// Units taken now.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The most units that were taken at once.
    pub(crate) fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }
}

/// The core that a unit was promised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heir(u32);

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u32, cores: usize) -> Arc<Budget> {
        let bells: Vec<_> = (0..cores).map(|_| Arc::new(Doorbell::new().unwrap())).collect();
        Arc::new(Budget::new(limit, bells.into(), Arc::default()))
    }

    #[test]
    fn a_budget_is_never_exceeded() {
        let budget = budget(10, 2);
        assert_eq!((budget.take(1, 7), budget.take(1, 7), budget.take(1, 1)), (7, 3, 0));
        assert!(!budget.has_room() && !budget.take_or_starve(0));
        assert!(budget.others_starve(1) && !budget.others_starve(0));
        budget.give(1, 2);
        assert!(!budget.others_starve(1) && budget.take_or_starve(0));
        assert_eq!((budget.taken(), budget.most()), (9, 10));
    }

    /// What each core has, with so many units, once all that wait give up in turn what they must. `false`: nobody gave.
    fn even(limit: u32, cores: u32, held: &mut [u32], now: u64) -> bool {
        let budget = budget(limit, cores as usize);
        (0..cores).for_each(|core| {
            let held = held[core as usize];
            assert_eq!(if held > 0 { budget.take(core, held) } else { 0 }, held);
        });
        let mut gave = false;
        while (0..cores).any(|core| {
            (0..cores).for_each(|core| assert!(!budget.take_or_starve(core)));
            let Some(heir) = budget.promise(core, Instant::from_nanos(now)) else { return false };
            budget.pass_on(core, Some(heir), Instant::from_nanos(now));
            assert!(budget.is_granted(heir.0) && budget.take_or_starve(heir.0));
            true
        }) {
            gave = true;
        }
        assert_eq!(budget.taken(), limit);
        held.iter_mut().zip(&budget.seats).for_each(|(held, seat)| {
            *held = seat.held.load(Ordering::SeqCst);
        });
        gave
    }

    #[test]
    fn cores_that_all_wait_come_to_equal_shares() {
        let turn = TURN.as_nanos() as u64;
        for (mut held, expected) in [
            (vec![4, 0], vec![2, 2]),
            (vec![3, 0], vec![2, 1]),
            (vec![7, 1, 1], vec![3, 3, 3]),
            (vec![0, 0, 0, 6], vec![1, 2, 1, 2]),
            (vec![2, 1], vec![2, 1]),
            (vec![1, 1, 1], vec![1, 1, 1]),
        ] {
            let (limit, cores) = (held.iter().sum(), held.len() as u32);
            let mut sorted = expected.clone();
            sorted.sort_unstable();
            even(limit, cores, &mut held, turn);
            held.sort_unstable();
            assert_eq!(held, sorted);
            assert!(!even(limit, cores, &mut held, turn), "an even share is nobody's to give");
        }
    }

    #[test]
    fn fewer_units_than_cores_go_on_in_turn() {
        let (mut held, turn) = (vec![1, 0], TURN.as_nanos() as u64);
        assert!(!even(1, 2, &mut held, turn - 1));
        assert!(even(1, 2, &mut held, turn));
        assert_eq!(held, [0, 1]);
    }

    #[test]
    fn a_promise_that_nobody_wants_is_no_loss() {
        let (budget, late) = (budget(2, 2), Instant::from_nanos(u64::MAX / 2));
        let promised = || {
            assert_eq!(budget.take(0, 2), 2);
            assert!(!budget.take_or_starve(1));
            budget.promise(0, late).unwrap()
        };
        // Before it is free, and after.
        let heir = promised();
        budget.renounce(1);
        budget.pass_on(0, Some(heir), late);
        assert_eq!((budget.taken(), budget.take(1, 2)), (1, 1));
        budget.give(1, 1);
        budget.give(0, 1);
        let heir = promised();
        budget.pass_on(0, Some(heir), late);
        assert_eq!((budget.room(), budget.is_granted(1)), (0, true));
        budget.decline(1);
        assert_eq!((budget.room(), budget.is_granted(1)), (1, false));
        budget.give(0, 1);
        assert!(budget.seats.iter().all(|seat| seat.held.load(Ordering::SeqCst) == 0));
        assert_eq!((budget.taken(), budget.starving.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn what_is_coming_is_seen_on_its_way_back() {
        const ROUNDS: u64 = 5_000;
        let (budget, late) = (budget(1, 2), Instant::from_nanos(u64::MAX / 2));
        // Looked at while it is odd; which of them the reader has come to.
        let (phase, reached) = (AtomicU64::new(0), AtomicU64::new(0));
        let enter = |next: u64| {
            phase.store(next, Ordering::SeqCst);
            while reached.load(Ordering::SeqCst) != next {
                std::thread::yield_now();
            }
        };
        let look = || {
            let mut missed = 0;
            while reached.load(Ordering::SeqCst) < 2 * ROUNDS {
                let phase = phase.load(Ordering::SeqCst);
                missed += u32::from(phase % 2 == 1 && budget.coming() == 0);
                reached.store(phase, Ordering::SeqCst);
            }
            missed
        };
        let missed = std::thread::scope(|scope| {
            let reader = scope.spawn(look);
            for round in 0..ROUNDS {
                assert_eq!((budget.take(0, 1), budget.take_or_starve(1)), (1, false));
                budget.turned.store(0, Ordering::SeqCst);
                budget.pass_on(0, None, late);
                assert!(budget.is_granted(1));
                enter(2 * round + 1);
                budget.renounce(1);
                assert!(budget.has_room_or_starves(0));
                enter(2 * round + 2);
            }
            reader.join().unwrap()
        });
        assert_eq!(missed, 0);
    }

    #[test]
    fn who_only_looks_starves_too_and_takes_nothing() {
        let budget = budget(1, 2);
        assert!(budget.has_room_or_starves(0) && !budget.others_starve(1));
        assert_eq!(budget.take(1, 1), 1);
        assert!(!budget.has_room_or_starves(0) && budget.others_starve(1));
        budget.give(1, 1);
        assert!(budget.has_room_or_starves(0) && !budget.others_starve(1));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn a_starving_core_gets_what_another_can_spare() {
        let budget = budget(8, 2);
        let (mut one, mut two) = (Lease::new(budget.clone(), 0), Lease::new(budget.clone(), 1));
        (0..8).for_each(|_| assert!(one.try_take()));
        assert!(!two.try_take());
        one.give();
        assert!(two.try_take() && !two.try_take() && !one.try_take());
        assert_eq!((one.used(), two.used(), budget.taken()), (7, 1, 8));
        drop((one, two));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn many_threads_share_a_small_budget() {
        let budget = budget(3, 4);
        let inside = Arc::new(AtomicU32::new(0));
        let work = |core| {
            let (budget, inside) = (budget.clone(), inside.clone());
            std::thread::spawn(move || {
                let mut lease = Lease::new(budget, core);
                for _ in 0..20_000 {
                    if lease.try_take() {
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        lease.give_in_turn(Instant::now());
                    }
                    lease.share();
                }
            })
        };
        let threads: Vec<_> = (0..4).map(work).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(budget.taken(), 0);
    }
}
