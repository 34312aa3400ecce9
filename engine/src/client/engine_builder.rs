//! How an engine is made: on which cores, with which driver and host. Starts nothing before `build`.

use std::io;
use std::sync::Arc;

use super::engine::{Engine, Time, attendants};
use crate::driver::probe::{self, Blocked};
use crate::driver::uring::Tier;
use crate::driver::{DriverChoice, DriverKind, SLOTS_MAX};
use crate::host::Host;
use crate::mesh::{Mesh, MeshConfig, OnStall};
use crate::shard::tasks::{Stall, Watch};
use crate::sys::{affinity, process};

/// Connections that a core has room for where nothing else was set.
const CONNS_PER_CORE_DEFAULT: u32 = 8192;

/// Which cores an engine runs on.
///
/// ```
/// use ringshot::client::{Cores, Engine, EngineError};
///
/// assert_eq!(Engine::builder().cores(Cores::Count(1)).build()?.cores(), 1);
/// let unknown = Engine::builder().cores(Cores::List(vec![9999])).build();
/// assert!(matches!(unknown, Err(EngineError::NoSuchCore(9999))));
/// # let core = ringshot::sys::affinity::cores()[0];
/// let twice = Engine::builder().cores(Cores::List(vec![core, core])).build();
/// assert!(matches!(twice, Err(EngineError::CoreTwice(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cores {
    /// Half of those that this process may use, the last ones, rounded up (2 of 3, the one of one): the rest is for whoever uses the responses.
    #[default]
    Auto,
    /// So many, the last ones that this process may use.
    Count(usize),
    /// These, by their numbers on this machine, each once.
    List(Vec<usize>),
}

impl Cores {
    fn list(&self) -> Result<Vec<usize>, EngineError> {
        let mut cores = affinity::cores();
        let most = cores.len();
        let count = match self {
            Self::Auto => most.div_ceil(2),
            Self::Count(count) => *count,
            Self::List(list) => {
                let unknown = list.iter().find(|core| !cores.contains(core));
                let twice = (1..list.len()).find(|at| list[..*at].contains(&list[*at]));
                return match (unknown, twice) {
                    (Some(core), _) => Err(EngineError::NoSuchCore(*core)),
                    (None, Some(at)) => Err(EngineError::CoreTwice(list[at])),
                    (None, None) if list.is_empty() => Err(EngineError::NoCores),
                    (None, None) => Ok(list.clone()),
                };
            }
        };
        if count == 0 || count > most {
            return Err(EngineError::CoreCount { asked: count, most });
        }
        Ok(cores.split_off(most - count))
    }
}

/// Why an engine could not start.
///
/// ```
/// use ringshot::client::{Cores, Engine};
///
/// let error = Engine::builder().cores(Cores::List(Vec::new())).build().unwrap_err();
/// assert_eq!(error.to_string(), "an engine needs at least one core");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No core was named.
    #[error("an engine needs at least one core")]
    NoCores,
    /// A core that this process may not use.
    #[error("core {0} does not exist here, or this process may not use it")]
    NoSuchCore(usize),
    /// A core that was named more than once: two shards would share it.
    #[error("core {0} was named twice")]
    CoreTwice(usize),
    /// None, or more than there are.
    #[error("{asked} cores were asked for, and 1 to {most} are there")]
    CoreCount {
        /// Asked for.
        asked: usize,
        /// There are.
        most: usize,
    },
    /// Connections a core out of range.
    #[error("conns_per_core must be 1 to {SLOTS_MAX}")]
    ConnsPerCore,
    /// `io_uring` was asked for and can't be used here.
    #[error("{0}, or use epoll: DriverChoice::Auto does by itself")]
    Blocked(#[from] Blocked),
    /// A core could not be started.
    #[error("can't start core {core}: {source}")]
    Core {
        /// The core.
        core: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// Builds an [`Engine`].
///
/// ```
/// use ringshot::client::{Cores, Engine};
/// use ringshot::driver::DriverChoice;
///
/// let builder = Engine::builder().cores(Cores::Count(1)).driver(DriverChoice::Epoll);
/// let engine = builder.conns_per_core(1000).build()?;
/// assert_eq!(engine.cores(), 1);
/// # Ok::<(), ringshot::client::EngineError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct EngineBuilder {
    cores: Cores,
    driver: DriverChoice,
    host: Host,
    conns_per_core: Option<u32>,
    watch: Watch,
    on_stall: Option<OnStall>,
}

impl EngineBuilder {
    /// Sets the cores.
    pub fn cores(mut self, cores: Cores) -> Self {
        self.cores = cores;
        self
    }

    /// Sets the driver: `io_uring` where it works and else epoll, unless told. It does not work where it is blocked, nor where the memory that may be locked is
    /// too little for the rings of all cores (some 0.65 MiB each with room for 8192 connections); [`Engine::driver`] says which it is.
    pub fn driver(mut self, driver: DriverChoice) -> Self {
        self.driver = driver;
        self
    }

    /// Sets who turns the shards.
    pub fn host(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// Sets how many connections a core has room for, 1 to [`SLOTS_MAX`]: 8192 unless told, or what the file limit allows.
    pub fn conns_per_core(mut self, conns: u32) -> Self {
        self.conns_per_core = Some(conns);
        self
    }

    /// Sets how long a task may keep a core before that counts as a stall, which [`CoreStats::longest_stall`](super::CoreStats::longest_stall) names: 10 ms unless told. Any
    /// duration does; less than a tick of the coarse clock finds no more than a tick does (see [`Watch`]), zero counts every poll, and [`Duration::MAX`](std::time::Duration::MAX) turns it off.
    pub fn watch(mut self, watch: Watch) -> Self {
        self.watch = watch;
        self
    }

    /// Tells that tasks kept a core for longer than the stall limit, once a turn in which any did: the core's number, and the longest stall of that turn, with the
    /// task's name. The longest of all turns is [`CoreStats::longest_stall`](super::CoreStats::longest_stall), and how many there were is counted in [`CoreStats::stalls`](super::CoreStats::stalls). Called on that core; what it panics with is dropped.
    ///
    /// ```
    /// use ringshot::client::Engine;
    ///
    /// let engine = Engine::builder()
    ///     .on_stall(|core, stall| eprintln!("core {core}: {} kept it for {:?}", stall.name, stall.lasted))
    ///     .build()?;
    /// # Ok::<(), ringshot::client::EngineError>(())
    /// ```
    pub fn on_stall(mut self, tell: impl Fn(usize, Stall) + Send + Sync + 'static) -> Self {
        self.on_stall = Some(OnStall(Arc::new(tell)));
        self
    }

    /// What the mesh is made with, on these cores.
    pub(crate) fn config(&self, cores: Vec<usize>) -> Result<MeshConfig, EngineError> {
        let (driver, tier) = match self.driver {
            DriverChoice::Epoll => (DriverKind::Epoll, Tier::SingleShot),
            DriverChoice::IoUring => (DriverKind::IoUring, probe::best_tier()?),
            DriverChoice::Auto => match probe::best_tier() {
                Ok(tier) => (DriverKind::IoUring, tier),
                Err(_) => (DriverKind::Epoll, Tier::SingleShot),
            },
        };
        let slots = match self.conns_per_core {
            Some(slots) if slots == 0 || slots > SLOTS_MAX => {
                return Err(EngineError::ConnsPerCore);
            }
            Some(slots) => slots,
            None => {
                let files = u32::try_from(process::file_limit().soft).unwrap_or(u32::MAX);
                CONNS_PER_CORE_DEFAULT.min(files).max(1)
            }
        };
        let on_stall = self.on_stall.clone();
        Ok(MeshConfig { cores, driver, tier, host: self.host, slots, watch: self.watch, on_stall })
    }

    /// Starts the cores. When this returns, they take requests.
    ///
    /// # Errors
    /// [`EngineError`]; nothing runs then.
    pub fn build(self) -> Result<Engine, EngineError> {
        let cores = self.cores.list()?;
        // Where the host can't start, no choice of a driver helps.
        let first = cores.first().copied().ok_or(EngineError::NoCores)?;
        self.host.check().map_err(|source| EngineError::Core { core: first, source })?;
        let config = self.config(cores)?;
        self.start(config, |config| {
            let mesh = Mesh::start(config, &attendants())?;
            Ok(Engine::of(mesh, config, Time::Clock))
        })
    }

    /// Calls `start`; again with epoll on all cores where the choice is free and one of
    /// them could not be started on `io_uring`, though a ring works here: memory that may
    /// be locked is too little for all of them, or whatever else the kernel says to the
    /// next. What keeps a core from starting on either is told by the second try.
    pub(super) fn start<T>(
        &self,
        config: MeshConfig,
        start: impl Fn(&MeshConfig) -> Result<T, (usize, io::Error)>,
    ) -> Result<T, EngineError> {
        let may_fall_back =
            self.driver == DriverChoice::Auto && config.driver == DriverKind::IoUring;
        let started = match start(&config) {
            Err(_) if may_fall_back => start(&MeshConfig { driver: DriverKind::Epoll, ..config }),
            started => started,
        };
        started.map_err(|(core, source)| EngineError::Core { core, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a choice on two cores of which the second has no ring, for this reason.
    fn started(choice: DriverChoice, errno: i32) -> Result<DriverKind, EngineError> {
        let builder = Engine::builder().driver(choice);
        let mut config = builder.clone().driver(DriverChoice::Epoll).config(vec![0, 1])?;
        config.driver = DriverKind::IoUring;
        builder.start(config, |config| match config.driver {
            DriverKind::IoUring => Err((1, io::Error::from_raw_os_error(errno))),
            DriverKind::Epoll => Ok(config.driver),
        })
    }

    #[test]
    fn all_cores_run_on_epoll_where_one_has_no_ring_whatever_the_reason() {
        for errno in [libc::ENOMEM, libc::EPERM, libc::EMFILE, libc::EINVAL] {
            assert_eq!(started(DriverChoice::Auto, errno).unwrap(), DriverKind::Epoll);
            let refused = started(DriverChoice::IoUring, errno);
            assert!(matches!(refused, Err(EngineError::Core { core: 1, .. })), "{refused:?}");
        }
    }
}
