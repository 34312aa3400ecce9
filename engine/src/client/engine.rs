//! The engine: a shard on each of some cores, for any number of clients.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::builder::ClientBuilder;
use super::core_ctx::CoreCtx;
use super::engine_builder::EngineBuilder;
use super::servers::{self, Delivery};
use crate::clock::Instant;
use crate::driver::DriverKind;
use crate::error::{Error, Kind, Phase};
use crate::host::Host;
use crate::mesh::gauges::CoreStats;
use crate::mesh::{Attendants, Mesh, MeshConfig, Place};
use crate::shard::doorbell::Doorbell;

/// What is brought to a core.
pub(crate) enum Note {
    Call(Delivery),
    /// Something else to do there.
    Run(Box<dyn FnOnce(&CoreCtx) + Send>),
    /// A client is gone.
    Forget(u64),
}

/// Who opens a core's notes.
pub(crate) fn attendants() -> Attendants<Note> {
    Arc::new(|place: Place| {
        let ctx = CoreCtx::new(place);
        Box::new(move |note| attend(&ctx, note))
    })
}

/// Opens a note.
pub(super) fn attend(ctx: &CoreCtx, note: Note) {
    match note {
        Note::Call(call) => servers::serve(ctx, call),
        Note::Run(work) => work(ctx),
        Note::Forget(client) => ctx.forget(client),
    }
}

/// A shard on each of some cores. Cheap to clone; the last handle, those of its clients and of bodies that are still to come included, stops the cores
/// and waits for them: up to 2 s where servers do not let go of connections. [`Engine::shutdown`] does so before, where blocking is no harm.
///
/// ```
/// use ringshot::client::Engine;
///
/// let engine = Engine::builder().build()?;
/// let client = engine.client().build()?;
/// println!("{} cores on {}, each turned by {:?}", engine.cores(), engine.driver(), engine.host());
/// for core in engine.stats() {
///     println!("core {}: {} idle connections", core.core, core.holding.idle);
/// }
/// # drop(client);
/// engine.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    mesh: Mesh<Note>,
    driver: DriverKind,
    host: Host,
    slots: u32,
    time: Time,
}

/// Where the time comes from that requests count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// The system's clock.
    Clock,
    /// Whoever turns the core says it, at each turn.
    Turns,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.mesh.stop();
        // What ended a core before its time was told to whoever asked: `shutdown`.
        let _ = self.mesh.join();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("mesh", &self.0.mesh).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with choices of your own.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    pub(super) fn of(mesh: Mesh<Note>, config: &MeshConfig, time: Time) -> Self {
        let MeshConfig { driver, host, slots, .. } = *config;
        Self(Arc::new(Inner { mesh, driver, host, slots, time }))
    }

    pub(super) fn time(&self) -> Time {
        self.0.time
    }

    /// The time, where it does not stand still between two turns.
    pub(super) fn now(&self) -> Option<Instant> {
        (self.0.time == Time::Clock).then(Instant::now)
    }

    /// Begins a client of this engine.
    pub fn client(&self) -> ClientBuilder {
        ClientBuilder::new(self.clone())
    }

    /// How many cores it runs on.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.0.mesh.seats.len()
    }

    /// The driver of its cores.
    #[must_use]
    pub fn driver(&self) -> DriverKind {
        self.0.driver
    }

    /// Who turns its shards.
    #[must_use]
    pub fn host(&self) -> Host {
        self.0.host
    }

    /// How each core stands: where requests were placed, what connections there are, what kept it busy.
    #[must_use]
    pub fn stats(&self) -> Vec<CoreStats> {
        self.0.mesh.stats()
    }

    /// Runs a future on the `index`th core, beside its connections, and gives what it returns. The future is made there, and need not be `Send`.
    ///
    /// It is brought to the core by the call itself, and goes on there whether or not what this returns is awaited or dropped. Only where the core's mailbox is full, with
    /// [`MAILBOX_NOTES_MAX`](super::MAILBOX_NOTES_MAX) others, does what this returns bring it when it is polled, and dropped before then it never runs.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ringshot::client::{Engine, blocking};
    ///
    /// let engine = Engine::builder().build()?;
    /// let core = blocking::block_on(engine.run_on(0, |ctx| async move {
    ///     let not_send = Rc::new(ctx.core());
    ///     *not_send
    /// }))?;
    /// println!("ran on core {core}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Kind::Shutdown`] when the engine was shut down before it ended, [`Kind::User`] when it panicked, [`Kind::Config`] when there is no such core.
    pub fn run_on<W, F, T>(
        &self,
        index: usize,
        work: W,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<W, F, T>
    where
        W: FnOnce(CoreCtx) -> F + Send + 'static,
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (tell, told) = super::queue::bounded(std::num::NonZeroUsize::MIN);
        let run = move |ctx: &CoreCtx| {
            let inner = ctx.clone();
            let task = ctx.spawn(async move { work(inner).await });
            let report = async move {
                let outcome = match task.await {
                    Ok(value) => Ok(value),
                    Err(crate::shard::tasks::TaskError::Panicked(panicked)) => {
                        Err(Error::new(Kind::User(panicked.message().to_owned()), Phase::Build))
                    }
                    Err(_) => Err(Error::new(Kind::Shutdown, Phase::Build)),
                };
                let _ = tell.send(outcome).await;
            };
            ctx.spawn_named("report a task", report).detach();
        };
        let note = Note::Run(Box::new(run));
        let stopped = self.0.mesh.is_stopped();
        let left = if stopped { Some(note) } else { self.try_post(index, note).err() };
        let (sent, cores) = (left.map(|note| self.post(index, note)), self.cores());
        async move {
            if index >= cores {
                let problem =
                    format!("there is no core {index}: the engine has {cores}, counted from 0");
                return Err(Error::new(Kind::Config(problem), Phase::Build));
            }
            let shutdown = || Error::new(Kind::Shutdown, Phase::Queue);
            if let Some(sent) = sent {
                sent.await.map_err(|()| shutdown())?;
            }
            told.recv().await.map_or_else(|| Err(shutdown()), |item| item.into_inner())
        }
    }

    /// Whether the calling thread turns one of its cores, which does nothing while the thread waits.
    pub(super) fn is_on_a_core(&self) -> bool {
        !self.0.mesh.is_stopped() && self.0.mesh.is_on_a_core()
    }

    /// Stops every core: what is in flight fails with [`Kind::Shutdown`], connections close. Waits until they have, but not on a core itself.
    ///
    /// # Errors
    /// What ended a core before its time.
    pub fn shutdown(&self) -> io::Result<()> {
        self.0.mesh.stop();
        self.0.mesh.join()
    }

    /// Brings a note to a core, waiting for room. `Err` once the engine is stopped.
    pub(crate) fn post(
        &self,
        index: usize,
        note: Note,
    ) -> impl Future<Output = Result<(), ()>> + Send + use<> {
        let engine = Self(Arc::clone(&self.0));
        async move {
            let mut note = note;
            let Some(seat) = engine.0.mesh.seats.get(index) else { return Err(()) };
            loop {
                if engine.0.mesh.is_stopped() || seat.mailbox.is_closed() {
                    return Err(());
                }
                match seat.mailbox.push(note) {
                    Ok(()) => {
                        seat.bell.ring();
                        return Ok(());
                    }
                    Err(back) => note = back,
                }
                let room = seat.mailbox.listen();
                if !seat.mailbox.is_full() {
                    continue;
                }
                room.await;
            }
        }
    }

    /// Brings a note to a core if there is room.
    pub(crate) fn try_post(&self, index: usize, note: Note) -> Result<(), Note> {
        let Some(seat) = self.0.mesh.seats.get(index) else { return Err(note) };
        seat.mailbox.push(note)?;
        seat.bell.ring();
        Ok(())
    }

    pub(crate) fn mesh(&self) -> &Mesh<Note> {
        &self.0.mesh
    }

    pub(crate) fn bells(&self) -> Arc<[Arc<Doorbell>]> {
        Arc::clone(&self.0.mesh.bells)
    }

    pub(crate) fn slots(&self) -> u32 {
        self.0.slots
    }

    /// Requests placed on a core that are not over.
    #[inline]
    pub(crate) fn load(&self, index: u32) -> u32 {
        self.0.mesh.seats[index as usize].load.placed.load(Ordering::Relaxed)
    }
}

/// What a client's limits came to: see [`Client::limits_observed`](super::Client::limits_observed).
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// block_on(client.get(origin.url("/")).fetch())?;
/// let observed = client.limits_observed();
/// assert_eq!((observed.conns, observed.conns_per_host, observed.in_flight), (1, 1, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observed {
    /// The most connections at once, those being made included.
    pub conns: u32,
    /// The most connections to any one host at once. One that the host had room for and the total limit refused may be counted: never more than `max_conns_per_host`.
    pub conns_per_host: u32,
    /// The most permits that cores had leased at once; `None` without a limit.
    pub in_flight: Option<u32>,
    /// Connections now.
    pub conns_now: u32,
}
