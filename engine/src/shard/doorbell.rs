//! Wakes a core that sleeps in its driver. Carries no work: who rings has put the work elsewhere before. Never blocks.
//!
//! One word holds how often it was rung since the core was last awake, and whether the core sleeps:
//!
//! ```text
//!             ring: count + 1                      ring: count + 1, and the first one writes the eventfd
//!             +---+                                +---+
//!             v   |       prepare_sleep (count 0)  v   |
//!            awake ------------------------------> asleep
//!              ^                                     |
//!              +-------------- awake: count = 0 -----+
//! ```
//!
//! # Why no wake is lost
//! The danger is that of every sleep: the core looks for work, finds none, and sleeps; in between, somebody stores work, looks whether the core sleeps, sees that it
//! does not, and leaves. With two variables (the work and the flag) each side stores to one and then loads the other, and only a `SeqCst` fence between store and load
//! on both sides forbids that both miss each other. Here both sides read, modify and write the *same* word, in one instruction each, and such operations have one
//! order that all threads agree on, whatever their ordering. Either `ring` comes first: then `prepare_sleep` finds a count that is not 0 and refuses.
//! Or `prepare_sleep` comes first: then `ring` finds the core asleep and writes the eventfd, which the driver then sees, asleep already or not.
//! What remains is that the work itself is visible: `ring` releases, and `awake` acquires from every `ring` that it has counted (each continues the release sequence
//! of those before). A `ring` that `awake` has not counted yet makes the next `prepare_sleep` refuse. So the core's order is: `awake`, look for work, `prepare_sleep`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::eventfd::EventFd;

/// The bit of the word that says that the core sleeps; the others count.
const ASLEEP: u64 = 1 << 63;

/// The bell of one core, rung by anybody. A ring costs about 3 ns while the core is awake, and a write(2) once a sleep (`benches/criterion/tasks.rs`).
///
/// ```
/// use std::sync::Arc;
/// use ringshot::shard::doorbell::Doorbell;
///
/// let doorbell = Arc::new(Doorbell::new()?);
/// assert!(doorbell.prepare_sleep()); // nobody rang: the core may sleep
/// let ringer = Arc::clone(&doorbell);
/// std::thread::spawn(move || ringer.ring()).join().expect("rings");
/// doorbell.awake();
/// assert_eq!((doorbell.rings(), doorbell.signals()), (1, 1));
///
/// doorbell.ring(); // awake: nothing is written
/// assert!(!doorbell.prepare_sleep()); // there is something to look at first
/// assert_eq!((doorbell.rings(), doorbell.signals()), (2, 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(align(64))] // A line of its own: ringers write to it while others read what lies beside.
pub struct Doorbell {
    /// `ASLEEP`, and how often it was rung since `awake`.
    word: AtomicU64,
    /// How often it was rung until `awake`. Only the core stores.
    rings: AtomicU64,
    /// The most that [`Doorbell::rings`] has told. Only its callers store.
    told: AtomicU64,
    signals: AtomicU64,
    eventfd: EventFd,
}

impl Doorbell {
    /// The bell of a core that is awake.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` when descriptors run out.
    pub fn new() -> io::Result<Self> {
        let [word, rings, told, signals] = [0; 4].map(AtomicU64::new);
        Ok(Self { word, rings, told, signals, eventfd: EventFd::new()? })
    }

    /// Says that there is work, from any thread, after having put it where the core looks. Writes the eventfd only if the core sleeps and nobody has rung since.
    #[inline]
    pub fn ring(&self) {
        if self.word.fetch_add(1, Ordering::AcqRel) == ASLEEP {
            self.signals.fetch_add(1, Ordering::Relaxed);
            self.eventfd.signal();
        }
    }

    /// Rings from the core's own thread: needless while the core is awake, since it looks for work before it sleeps. Costs one load then.
    #[inline]
    pub(crate) fn ring_own(&self) {
        if self.word.load(Ordering::Relaxed) & ASLEEP != 0 {
            self.ring();
        }
    }

    /// Announces that the core, whose thread calls this, is about to sleep until its descriptor is readable. `false` if the bell was rung since [`Doorbell::awake`]:
    /// then it must not sleep, but call `awake` and look for work.
    #[inline]
    #[must_use]
    pub fn prepare_sleep(&self) -> bool {
        let was = self.word.compare_exchange(0, ASLEEP, Ordering::AcqRel, Ordering::Relaxed);
        matches!(was, Ok(_) | Err(ASLEEP))
    }

    /// Says that the core, whose thread calls this, is awake and about to look for work: before it looks, every time it looks. Costs one load if nobody rang.
    #[inline]
    pub fn awake(&self) {
        if self.word.load(Ordering::Relaxed) != 0 {
            let rung = self.word.swap(0, Ordering::AcqRel) & !ASLEEP;
            // Behind the swap, so that nobody counts them twice.
            self.rings.store(self.rings.load(Ordering::Relaxed) + rung, Ordering::Release);
        }
    }

    /// A descriptor that becomes readable when a sleeping core is rung. The counter behind it is not read here: watch it for edges (`EPOLLET`, a multishot poll), or
    /// read it where it is watched. It may become readable once after the core has woken by itself.
    ///
    /// # Errors
    /// `EMFILE` when descriptors run out.
    pub fn wakes(&self) -> io::Result<OwnedFd> {
        self.eventfd.try_clone().map(OwnedFd::from)
    }

    /// How often it was rung; never less than it told before.
    #[must_use]
    pub fn rings(&self) -> u64 {
        let before = self.rings.load(Ordering::Acquire);
        // While the core goes from one to the other, what it has in hand is in neither.
        let rings = before + (self.word.load(Ordering::Relaxed) & !ASLEEP);
        self.told.fetch_max(rings, Ordering::Relaxed).max(rings)
    }

    /// How often the eventfd was written: rings that found the core asleep.
    #[must_use]
    pub fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::sys::epoll::{Epoll, Event};

    /// Longer than any sleep can last unless a wake was lost.
    const LOST_MS: i32 = 20_000;

    #[test]
    fn the_count_of_rings_never_goes_back() {
        const RINGS: u64 = 5_000_000;
        let doorbell = Doorbell::new().unwrap();
        let back = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut last, mut back) = (0, 0);
                while last < RINGS {
                    let rings = doorbell.rings();
                    back += u32::from(rings < last);
                    last = rings;
                }
                back
            });
            for _ in 0..RINGS {
                doorbell.ring();
                doorbell.awake();
            }
            reader.join().unwrap()
        });
        assert_eq!((doorbell.rings(), back), (RINGS, 0));
    }

    #[test]
    fn only_the_first_ring_of_a_sleep_is_written() {
        let doorbell = Doorbell::new().unwrap();
        for _ in 0..3 {
            doorbell.ring();
        }
        assert!(!doorbell.prepare_sleep());
        doorbell.awake();
        assert!(doorbell.prepare_sleep() && doorbell.prepare_sleep());
        assert_eq!((doorbell.rings(), doorbell.signals(), doorbell.eventfd.drain()), (3, 0, 0));
        for _ in 0..3 {
            doorbell.ring();
        }
        assert!(!doorbell.prepare_sleep());
        assert_eq!((doorbell.rings(), doorbell.signals(), doorbell.eventfd.drain()), (6, 1, 1));
        doorbell.awake();
        assert!(doorbell.prepare_sleep());
    }

    #[test]
    fn a_core_that_wakes_by_itself_is_not_signalled() {
        let doorbell = Doorbell::new().unwrap();
        assert!(doorbell.prepare_sleep());
        doorbell.awake();
        doorbell.ring();
        assert_eq!((doorbell.rings(), doorbell.signals()), (1, 0));
    }

    /// Ringers put work and ring; the core takes work and sleeps. `pace` spins between two rings vary, so that rings meet every moment of falling asleep.
    fn check(ringers: u64, rings: u64, wait_until_taken: bool) {
        let doorbell = Doorbell::new().unwrap();
        let (work, taken, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let epoll = Epoll::open().unwrap();
        let wakes = doorbell.wakes().unwrap();
        epoll.add(wakes.as_fd(), 0).unwrap();
        thread::scope(|scope| {
            for ringer in 0..ringers {
                let (doorbell, work, taken, done) = (&doorbell, &work, &taken, &done);
                scope.spawn(move || {
                    for ring in 0..rings {
                        let mine = work.fetch_add(1, Ordering::Relaxed) + 1;
                        doorbell.ring();
                        (0..(ring * 7 + ringer) % 64).for_each(|_| std::hint::spin_loop());
                        while wait_until_taken
                            && taken.load(Ordering::Relaxed) < mine
                            && !done.load(Ordering::Relaxed)
                        {
                            thread::yield_now();
                        }
                    }
                });
            }
            let mut lost = false;
            while taken.load(Ordering::Relaxed) < ringers * rings && !lost {
                doorbell.awake();
                taken.store(work.load(Ordering::Relaxed), Ordering::Relaxed);
                if taken.load(Ordering::Relaxed) < ringers * rings && doorbell.prepare_sleep() {
                    lost = epoll.wait(&mut [Event::NONE], LOST_MS) == Ok(0);
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(!lost, "a wake was lost");
        });
        doorbell.awake();
        assert_eq!(doorbell.rings(), ringers * rings);
        assert!(doorbell.signals() <= doorbell.rings());
    }

    #[test]
    fn no_wake_is_lost() {
        check(1, 20_000, true);
        check(3, 3_000, true);
        check(3, 50_000, false);
    }
}
