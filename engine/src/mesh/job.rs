//! One core's part before it begins: what is needed to open its driver, on its own thread. Starts no thread.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::shift::{LAST_TURNS_MAX, Post, Shift};
use super::wakes::Wakes;
use super::{Attendant, Attendants, MeshConfig, Place, Seat};
use crate::clock::Instant;
use crate::driver::probe;
use crate::driver::uring::{Config as RingConfig, Descriptors};
use crate::driver::{Driver, DriverKind, Epoll, Limits, Uring};
use crate::host::Turn;
use crate::shard::core::Core;
use crate::shard::pool::Pool;
use crate::shard::tasks::Tasks;
use crate::sys::affinity::Pinned;

/// One core's part, before it begins.
pub(crate) struct Job<M> {
    pub(super) index: u32,
    pub(super) config: MeshConfig,
    pub(super) seats: Arc<[Seat<M>]>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) attendants: Attendants<M>,
    pub(super) ready: std::sync::mpsc::Sender<io::Result<()>>,
}

impl<M: Send + 'static> Job<M> {
    /// Opens the driver on the calling thread, and tells whoever waits for it.
    ///
    /// # Errors
    /// What the driver could not be opened for.
    pub(crate) fn open(self, pinned: Pinned) -> io::Result<Box<dyn Turn>> {
        let ready = self.ready.clone();
        let attendants = Arc::clone(&self.attendants);
        let opened = self.open_quietly(pinned, &*attendants);
        let told = match &opened {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // Nobody listens any more only if the mesh gave up.
        let _ = ready.send(told);
        opened
    }

    pub(super) fn open_quietly(
        self,
        pinned: Pinned,
        attendant: &Attendant<'_, M>,
    ) -> io::Result<Box<dyn Turn>> {
        let limits = Limits { slots: self.config.slots };
        match self.config.driver {
            DriverKind::IoUring => {
                let tier = self.config.tier;
                let config = RingConfig { limits, tier, descriptors: Descriptors::Fixed };
                self.take_place(Uring::open(config).map_err(probe::explain)?, pinned, attendant)
            }
            DriverKind::Epoll => self.take_place(Epoll::open(limits)?, pinned, attendant),
        }
    }

    fn take_place<D: Driver + 'static>(
        self,
        driver: D,
        pinned: Pinned,
        attendant: &Attendant<'_, M>,
    ) -> io::Result<Box<dyn Turn>> {
        Ok(Box::new(self.shift(driver, pinned, Instant::now(), attendant)?))
    }

    /// The core at work on a driver that is open already.
    pub(crate) fn shift<D: Driver>(
        self,
        driver: D,
        pinned: Pinned,
        now: Instant,
        attendant: &Attendant<'_, M>,
    ) -> io::Result<Shift<D, M>> {
        let seat = &self.seats[self.index as usize];
        let bell = Arc::clone(&seat.bell);
        let pool = Pool::new(driver, self.config.slots, self.index, now);
        let tasks = Tasks::new(Arc::clone(&bell)).with_watch(self.config.watch);
        let core = Core::new(pool, tasks, bell, now)?;
        seat.gauges.set_pinned(pinned);
        let wakes = Rc::<Wakes>::default();
        let attend = attendant(Place {
            core: seat.core,
            bell: Arc::clone(&seat.bell),
            desk: Rc::clone(core.desk()),
            spawner: core.spawner(),
            wakes: Rc::clone(&wakes),
        });
        let post = Post { index: self.index, seats: self.seats, attend };
        let on_stall = self.config.on_stall;
        Ok(Shift {
            core,
            post,
            wakes,
            stop: self.stop,
            on_stall,
            closing: None,
            last_turns: LAST_TURNS_MAX,
        })
    }
}
