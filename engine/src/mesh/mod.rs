//! All cores: starts them, pins them, brings them their notes, stops them. Knows neither requests nor URLs; what a note means is its attendant's business.
//!
//! | file | what it is |
//! |---|---|
//! | `mailbox` | a core's bounded queue of notes |
//! | `placement` | which core serves a request |
//! | `gauges` | a core's figures, for anybody to read |

pub(crate) mod gauges;
pub(crate) mod mailbox;
pub(crate) mod placement;

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Instant;
use crate::driver::uring::{Config as RingConfig, Descriptors, Tier};
use crate::driver::{Alarm, Driver, DriverKind, Epoll, Limits, Uring};
use crate::host::{Host, Turn};
use crate::shard::core::{Core, Inbox};
use crate::shard::doorbell::Doorbell;
use crate::shard::pool::Pool;
use crate::shard::pool::desk::Desk;
use crate::shard::tasks::{Spawner, Stall, Tasks, Watch};
use crate::sys::affinity::Pinned;
use gauges::{CoreStats, Gauges, Load};
use mailbox::Mailbox;

/// How a mesh is made.
#[derive(Debug, Clone)]
pub(crate) struct MeshConfig {
    /// Cores, a shard each. Not empty.
    pub(crate) cores: Vec<usize>,
    pub(crate) driver: DriverKind,
    /// The ring's, if the driver is `io_uring`.
    pub(crate) tier: Tier,
    pub(crate) host: Host,
    /// Connections of one core.
    pub(crate) slots: u32,
    pub(crate) watch: Watch,
    pub(crate) on_stall: Option<OnStall>,
}

/// Who hears of a task that kept a core for too long: the core's number, and the longest stall so far.
#[derive(Clone)]
pub(crate) struct OnStall(pub(crate) Arc<dyn Fn(usize, Stall) + Send + Sync>);

impl fmt::Debug for OnStall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnStall")
    }
}

/// One core, seen from others.
#[derive(Debug)]
pub(crate) struct Seat<M> {
    pub(crate) core: usize,
    pub(crate) mailbox: Mailbox<M>,
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) gauges: Gauges,
    pub(crate) load: Load,
}

/// What a core's attendant is given when its core begins.
#[derive(Debug)]
pub(crate) struct Place {
    /// Number on this machine.
    pub(crate) core: usize,
    pub(crate) desk: Rc<Desk>,
    pub(crate) spawner: Spawner,
}

/// Makes a core's attendant, on its core.
pub(crate) type Attendant<'a, M> = dyn Fn(Place) -> Box<dyn FnMut(M)> + 'a;

/// Makes each core's attendant, on its core.
pub(crate) type Attendants<M> = Arc<dyn Fn(Place) -> Box<dyn FnMut(M)> + Send + Sync>;

/// All cores.
pub(crate) struct Mesh<M> {
    pub(crate) seats: Arc<[Seat<M>]>,
    pub(crate) bells: Arc<[Arc<Doorbell>]>,
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<io::Result<()>>>>,
}

impl<M> fmt::Debug for Mesh<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores: Vec<_> = self.seats.iter().map(|seat| seat.core).collect();
        f.debug_struct("Mesh").field("cores", &cores).finish_non_exhaustive()
    }
}

impl<M: Send + 'static> Mesh<M> {
    /// Starts a core each. When this returns they take notes.
    ///
    /// # Errors
    /// The core that could not start, and why; the others were stopped then.
    pub(crate) fn start(
        config: &MeshConfig,
        attendants: &Attendants<M>,
    ) -> Result<Self, (usize, io::Error)> {
        let mesh = Self::without_threads(&config.cores)?;
        for (index, core) in config.cores.iter().copied().enumerate() {
            if let Err(error) = mesh.start_core(index as u32, core, config, attendants) {
                mesh.stop();
                // They have just begun, and why this one did not is what counts.
                let _ = mesh.join();
                return Err((core, error));
            }
        }
        Ok(mesh)
    }

    fn start_core(
        &self,
        index: u32,
        core: usize,
        config: &MeshConfig,
        attendants: &Attendants<M>,
    ) -> io::Result<()> {
        let (ready, started) = std::sync::mpsc::channel();
        let job = self.job(index, config, Arc::clone(attendants), ready);
        let thread = config.host.spawn(core, move |pinned| job.open(pinned))?;
        let Ok(told) = started.recv() else {
            // It ended before it came to its driver.
            return ended(thread).and_then(|()| Err(io::Error::other("its thread ended")));
        };
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        told
    }

    /// Adds the only core as a task of the executor that the calling thread runs.
    ///
    /// # Errors
    /// `NotConnected` where it runs none; what the driver could not be opened for.
    #[cfg(feature = "glommio")]
    pub(crate) fn attach(
        &self,
        config: &MeshConfig,
        pinned: Pinned,
        attendants: Attendants<M>,
        attendant: &Attendant<'_, M>,
    ) -> io::Result<()> {
        let (ready, _) = std::sync::mpsc::channel();
        let job = self.job(0, config, attendants, ready);
        crate::host::attach(|| job.open_quietly(pinned, attendant))
    }

    /// The seats alone: somebody else turns the shards.
    pub(crate) fn without_threads(cores: &[usize]) -> Result<Self, (usize, io::Error)> {
        let mut seats = Vec::with_capacity(cores.len());
        for core in cores.iter().copied() {
            let bell = Doorbell::new().map_err(|error| (core, error))?;
            seats.push(Seat {
                core,
                mailbox: Mailbox::new(),
                bell: Arc::new(bell),
                gauges: Gauges::default(),
                load: Load::default(),
            });
        }
        let bells = seats.iter().map(|seat| Arc::clone(&seat.bell)).collect();
        Ok(Self { seats: seats.into(), bells, stop: Arc::default(), threads: Mutex::default() })
    }

    pub(crate) fn job(
        &self,
        index: u32,
        config: &MeshConfig,
        attendants: Attendants<M>,
        ready: std::sync::mpsc::Sender<io::Result<()>>,
    ) -> Job<M> {
        Job {
            index,
            config: config.clone(),
            seats: Arc::clone(&self.seats),
            stop: Arc::clone(&self.stop),
            attendants,
            ready,
        }
    }

    /// Stops every core: what is in flight fails, connections close.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.bells.iter().for_each(|bell| bell.ring());
    }

    /// Whether [`Mesh::stop`] was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until every core has ended. Not for a core's own thread.
    pub(crate) fn join(&self) -> io::Result<()> {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let own = std::thread::current().id();
        let mut outcome = Ok(());
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != own) {
            outcome = outcome.and(ended(thread));
        }
        outcome
    }

    /// How each core stands.
    pub(crate) fn stats(&self) -> Vec<CoreStats> {
        self.seats.iter().map(Seat::stats).collect()
    }
}

fn ended(thread: JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a core panicked")))
}

impl<M> Seat<M> {
    fn stats(&self) -> CoreStats {
        CoreStats {
            core: self.core,
            placed: self.load.placed.load(Ordering::Relaxed),
            placed_total: self.load.placed_total.load(Ordering::Relaxed),
            spilled: self.load.spilled.load(Ordering::Relaxed),
            rings: self.bell.rings(),
            signals: self.bell.signals(),
            ..self.gauges.read()
        }
    }
}

/// One core's part, before it begins.
pub(crate) struct Job<M> {
    index: u32,
    config: MeshConfig,
    seats: Arc<[Seat<M>]>,
    stop: Arc<AtomicBool>,
    attendants: Attendants<M>,
    ready: std::sync::mpsc::Sender<io::Result<()>>,
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

    fn open_quietly(
        self,
        pinned: Pinned,
        attendant: &Attendant<'_, M>,
    ) -> io::Result<Box<dyn Turn>> {
        let limits = Limits { slots: self.config.slots };
        match self.config.driver {
            DriverKind::IoUring => {
                let tier = self.config.tier;
                let config = RingConfig { limits, tier, descriptors: Descriptors::Fixed };
                self.take_place(Uring::open(config)?, pinned, attendant)
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
        let attend = attendant(Place {
            core: seat.core,
            desk: Rc::clone(core.desk()),
            spawner: core.spawner(),
        });
        let post = Post { index: self.index, seats: self.seats, attend };
        let on_stall = self.config.on_stall;
        Ok(Shift { core, post, stop: self.stop, on_stall, closing: None })
    }
}

/// A core's mailbox with whoever opens its notes.
struct Post<M> {
    index: u32,
    seats: Arc<[Seat<M>]>,
    attend: Box<dyn FnMut(M)>,
}

impl<M> Drop for Post<M> {
    fn drop(&mut self) {
        self.seats[self.index as usize].mailbox.close();
    }
}

impl<M> Inbox for Post<M> {
    #[inline]
    fn drain(&mut self) -> bool {
        let mailbox = &self.seats[self.index as usize].mailbox;
        let mut any = false;
        // As many as were there: those who push meanwhile wait for the next turn.
        for _ in 0..mailbox::MAILBOX_NOTES_MAX {
            let Some(note) = mailbox.pop() else { break };
            any = true;
            (self.attend)(note);
        }
        if any {
            mailbox.made_room();
        }
        any
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.seats[self.index as usize].mailbox.is_empty()
    }
}

/// How long closing connections may take before the driver is closed over them.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A core at work.
pub(crate) struct Shift<D: Driver, M> {
    core: Core<D>,
    post: Post<M>,
    stop: Arc<AtomicBool>,
    on_stall: Option<OnStall>,
    /// When closing is given up.
    closing: Option<Instant>,
}

impl<D: Driver, M> Shift<D, M> {
    pub(crate) fn core(&self) -> &Core<D> {
        &self.core
    }

    /// [`Turn::turn`] by a clock of the caller's.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub(crate) fn turn_by(
        &mut self,
        max_block: Duration,
        clock: &mut impl FnMut() -> Instant,
    ) -> io::Result<bool> {
        self.core.work(&mut self.post, clock);
        // Before the wait: a core that sleeps is seen as it is.
        self.publish();
        // Once it is closed nothing wakes it any more.
        let max_block = match self.closing {
            None => max_block,
            Some(_) if self.core.pool().is_closed() => Duration::ZERO,
            Some(deadline) => max_block.min(deadline - clock()),
        };
        self.core.wait(max_block, &self.post, clock)?;
        match self.closing {
            None => {
                if self.stop.load(Ordering::Relaxed) {
                    self.core.pool_mut().close();
                    self.closing = Some(clock() + CLOSE_MAX);
                }
                Ok(true)
            }
            Some(deadline) => {
                self.publish();
                Ok(!self.core.pool().is_closed() && clock() < deadline)
            }
        }
    }

    #[inline]
    fn publish(&self) {
        let seat = &self.post.seats[self.post.index as usize];
        let pool = self.core.pool();
        let tasks = (self.core.tasks().stalls(), self.core.tasks().live());
        let stall = seat.gauges.publish(pool.holding(), pool.counters(), tasks, self.core.kept());
        if let Some((stall, tell)) = stall.zip(self.on_stall.as_ref()) {
            (tell.0)(seat.core, stall);
        }
    }
}

impl<D: Driver, M> Drop for Shift<D, M> {
    /// Nobody else serves what was brought here: a core that ends, be it that its driver is lost or its executor gone, ends the engine.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if self.closing.is_none() {
            self.core.pool_mut().close();
        }
        self.post.seats.iter().for_each(|seat| seat.bell.ring());
    }
}

impl<D: Driver, M> Turn for Shift<D, M> {
    #[inline]
    fn turn(&mut self, max_block: Duration) -> io::Result<bool> {
        self.turn_by(max_block, &mut Instant::now)
    }

    fn pause(&mut self) {
        self.core.pause();
    }

    fn resume(&mut self) {
        self.core.resume(Instant::now());
    }

    fn is_quiet(&self) -> bool {
        self.closing.is_none() && self.core.is_quiet() && self.post.is_empty()
    }

    fn next_deadline(&self) -> Instant {
        self.core.pool().next_deadline()
    }

    fn alarm(&mut self) -> io::Result<Alarm> {
        self.core.pool_mut().driver_mut().alarm()
    }

    fn bell(&self) -> &Arc<Doorbell> {
        self.core.bell()
    }

    fn kick_with(&self, waker: &Waker) {
        self.core.desk().kick_with(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells when it is dropped.
    struct OnDrop(Arc<AtomicBool>);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_core_that_fails_to_start_stops_the_others() {
        let core = crate::sys::affinity::cores()[0];
        let config = MeshConfig {
            cores: vec![core, core],
            driver: DriverKind::Epoll,
            tier: Tier::SingleShot,
            host: Host::Thread,
            slots: 4,
            watch: Watch::default(),
            on_stall: None,
        };
        let ended = Arc::new(AtomicBool::new(false));
        let (guard, first) = (Arc::clone(&ended), AtomicBool::new(true));
        let attendants: Attendants<()> = Arc::new(move |_: Place| {
            assert!(first.swap(false, Ordering::SeqCst), "on purpose: the second core fails");
            let guard = OnDrop(Arc::clone(&guard));
            Box::new(move |()| {
                let _ = &guard;
            })
        });
        let (failed, error) = Mesh::start(&config, &attendants).unwrap_err();
        assert_eq!((failed, error.to_string().as_str()), (core, "a core panicked"));
        assert!(ended.load(Ordering::SeqCst));
    }
}
