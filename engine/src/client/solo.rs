//! An engine of one core that its owner turns: for loops of one's own, and for the simulator. Starts no thread.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use super::core_ctx::CoreCtx;
use super::engine::{Engine, Note, Time, attend};
use crate::clock::Instant;
use crate::driver::uring::Tier;
use crate::driver::{Driver, DriverKind};
use crate::host::Host;
use crate::mesh::{Mesh, MeshConfig, Place, Shift};
use crate::shard::tasks::Watch;
use crate::shard::{Holding, PoolCounters};
use crate::sys::affinity::Pinned;

/// One core on a driver of the caller's, turned by the caller: nothing happens between two turns.
///
/// ```
/// use std::time::Duration;
/// use ringshot::clock::Instant;
/// use ringshot::client::Solo;
/// use ringshot::driver::{Epoll, Limits};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let url = format!("http://{}/", origin.address());
///
/// let driver = Epoll::open(Limits { slots: 16 })?;
/// let mut solo = Solo::new(driver, 16, Instant::now())?;
/// let client = solo.ctx().client(&solo.engine().client().max_conns(16).build()?);
/// let task = solo.ctx().spawn(async move { client.get(&url).send().await?.bytes().await });
/// while !task.is_finished() {
///     solo.turn(Duration::from_secs(1), &mut Instant::now)?;
/// }
/// assert_eq!(solo.counters().connected, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Solo<D: Driver> {
    shift: Shift<D, Note>,
    ctx: CoreCtx,
    engine: Engine,
}

/// What a [`Solo`] keeps beyond its connections.
///
/// ```
/// use ringshot::client::Solo;
/// use ringshot::clock::Instant;
/// use ringshot::driver::{Epoll, Limits};
///
/// let solo = Solo::new(Epoll::open(Limits { slots: 4 })?, 4, Instant::now())?;
/// assert_eq!((solo.kept().hosts, solo.kept().exchanges), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Hosts that anything is kept of.
    pub hosts: usize,
    /// Requests that are not given back.
    pub exchanges: usize,
    /// Places for clients: as many as there were at once, whoever came and went.
    pub client_places: usize,
}

impl<D: Driver> fmt::Debug for Solo<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Solo").field("holding", &self.holding()).finish_non_exhaustive()
    }
}

impl<D: Driver> Solo<D> {
    /// A core with at most `slots` connections, as many as `driver` was opened for.
    ///
    /// # Errors
    /// What [`Driver::watch`] reports, and `EMFILE`.
    pub fn new(driver: D, slots: u32, now: Instant) -> io::Result<Self> {
        let config = MeshConfig {
            cores: vec![0],
            // A simulation is none of the kernel's, and most like the one without buffers of the kernel's choice.
            driver: DriverKind::named(driver.name()).unwrap_or(DriverKind::Epoll),
            tier: Tier::SingleShot,
            host: Host::Thread,
            slots,
            watch: Watch::default(),
            on_stall: None,
        };
        let mesh = Mesh::without_threads(&config.cores).map_err(|(_, error)| error)?;
        let (ready, _) = mpsc::channel();
        let job = mesh.job(0, &config, super::engine::attendants(), ready);
        let seated = RefCell::new(None);
        let attendant = |place: Place| {
            let ctx = CoreCtx::new(place);
            *seated.borrow_mut() = Some(ctx.clone());
            let attend: Box<dyn FnMut(Note)> = Box::new(move |note| attend(&ctx, note));
            attend
        };
        let shift = job.shift(driver, Pinned::No, now, &attendant)?;
        let unseated = || io::Error::other("the core has no attendant");
        let ctx = seated.take().ok_or_else(unseated)?;
        Ok(Self { shift, ctx, engine: Engine::of(mesh, &config, Time::Turns) })
    }

    /// The core, for tasks and core-local clients.
    #[must_use]
    pub fn ctx(&self) -> &CoreCtx {
        &self.ctx
    }

    /// The engine, for clients.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// One turn: runs tasks, submits, waits for at most `max_block`, takes in what came. `clock` tells the time. `false` once all is closed after
    /// [`Engine::shutdown`].
    ///
    /// # Errors
    /// Only when the driver is lost.
    pub fn turn(
        &mut self,
        max_block: Duration,
        clock: &mut impl FnMut() -> Instant,
    ) -> io::Result<bool> {
        self.shift.turn_by(max_block, clock)
    }

    /// What is held at this moment.
    #[must_use]
    pub fn holding(&self) -> Holding {
        self.shift.core().pool().holding()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> PoolCounters {
        self.shift.core().pool().counters()
    }

    /// Tasks alive: one of the core's own, and those that were spawned.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.shift.core().tasks().live()
    }

    /// What is kept beyond connections: for tests of leaks.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let pool = self.shift.core().pool();
        let (hosts, exchanges) = (pool.hosts(), pool.desk().exchanges());
        Kept { hosts, exchanges, client_places: pool.client_places() }
    }

    /// The driver, to read its counters.
    #[must_use]
    pub fn driver(&self) -> &D {
        self.shift.core().pool().driver()
    }
}
