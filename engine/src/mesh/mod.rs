//! All cores: starts them, pins them, brings them their notes, stops them. Knows neither requests nor URLs; what a note means is its attendant's business.
//!
//! | file | what it is |
//! |---|---|
//! | `job` | a core's part before it begins |
//! | `shift` | a core at work |
//! | `mailbox` | a core's bounded queue of notes |
//! | `placement` | which core serves a request |
//! | `gauges` | a core's figures, for anybody to read |
//! | `wakes` | wake-ups of other threads, batched |

pub(crate) mod gauges;
mod job;
pub(crate) mod mailbox;
pub(crate) mod placement;
mod shift;
pub(crate) mod wakes;

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, ThreadId};

use crate::driver::DriverKind;
use crate::driver::uring::Tier;
use crate::host::Host;
use crate::shard::doorbell::Doorbell;
use crate::shard::pool::desk::Desk;
use crate::shard::tasks::{Spawner, Stall, Watch};
use crate::sync::lock;
#[cfg(feature = "glommio")]
use crate::sys::affinity::Pinned;
use gauges::{CoreStats, Gauges, Load};
use mailbox::Mailbox;
use wakes::Wakes;

pub(crate) use job::Job;
pub(crate) use shift::Shift;

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
    /// What others ring: no other core has the same.
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) desk: Rc<Desk>,
    pub(crate) spawner: Spawner,
    pub(crate) wakes: Rc<Wakes>,
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
    /// Locked as long as somebody waits for them.
    threads: Mutex<Vec<JoinHandle<io::Result<()>>>>,
    /// Those that turn a core, and are not to wait for it.
    own: Mutex<Vec<ThreadId>>,
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
        lock(&self.own).push(thread.thread().id());
        lock(&self.threads).push(thread);
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
        crate::host::attach(|| job.open_quietly(pinned, attendant))?;
        lock(&self.own).push(std::thread::current().id());
        Ok(())
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
        let seats = seats.into();
        Ok(Self {
            seats,
            bells,
            stop: Arc::default(),
            threads: Mutex::default(),
            own: Mutex::default(),
        })
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

    /// Whether the calling thread turns one of the cores: what waits for them here waits for itself.
    pub(crate) fn is_on_a_core(&self) -> bool {
        lock(&self.own).contains(&std::thread::current().id())
    }

    /// Waits until every core has ended, whoever else waits for that. Not on a core, which would wait for itself.
    pub(crate) fn join(&self) -> io::Result<()> {
        if self.is_on_a_core() {
            return Ok(());
        }
        // All of them, whatever becomes of the first.
        let outcomes: Vec<_> = lock(&self.threads).drain(..).map(ended).collect();
        outcomes.into_iter().collect()
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
