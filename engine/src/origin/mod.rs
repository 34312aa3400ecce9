//! A fixed-response HTTP/1.1 origin on the same driver, for loopback runs with nothing installed. Not a web server: every path gets the same answer.
//!
//! It is built to be faster than any client here, so that it is not what is measured: no allocation, no parsing of heads seen before, one send for all
//! requests of a receive.

mod answer;
mod connection;
mod request;
mod server;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::driver::probe;
use crate::driver::uring::Config as RingConfig;
use crate::driver::{Driver, DriverKind, Epoll, Limits, Uring};
use crate::host::thread;
use crate::sys::process;
use crate::sys::socket::{self, Blocking, Share};
use server::Server;

/// The largest body that an origin serves.
pub const BODY_BYTES_MAX: u64 = 1 << 30;
/// Most connections of one core.
pub const CONNECTIONS_MAX: u32 = 1 << 17;
/// The longest delay of an answer.
pub const DELAY_MAX: Duration = Duration::from_secs(3600);
/// Descriptors that are not connections.
const FILES_BESIDES_CONNECTIONS: u64 = 32;

/// What an origin serves, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// The cores that serve, a pinned thread each. Not empty.
    pub cores: Vec<usize>,
    /// The driver of every core.
    pub driver: DriverKind,
    /// Bytes of each body, at most [`BODY_BYTES_MAX`].
    pub body_bytes: u64,
    /// How long each answer waits, at most [`DELAY_MAX`].
    pub delay: Duration,
    /// Close each connection, with notice, after so many answers; `None` never.
    pub close_every: Option<u64>,
}

/// Why an origin could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// A value outside its range.
    #[error("{what} must be {range}")]
    OutOfRange {
        /// Which value.
        what: &'static str,
        /// What it may be.
        range: String,
    },
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A thread or its driver could not be started.
    #[error("can't serve on core {core}: {source}")]
    Core {
        /// The core.
        core: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// A running origin. Stops when it is dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    served: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Config {
    fn check(&self) -> Result<(), OriginError> {
        let out = |what, range: String| Err(OriginError::OutOfRange { what, range });
        if self.cores.is_empty() {
            return out("the number of cores", "at least 1".to_owned());
        }
        if self.body_bytes > BODY_BYTES_MAX {
            return out("the body", format!("at most {BODY_BYTES_MAX} bytes"));
        }
        if self.delay > DELAY_MAX {
            return out("the delay", format!("at most {} s", DELAY_MAX.as_secs()));
        }
        if self.close_every == Some(0) {
            return out("the number of answers a connection", "at least 1".to_owned());
        }
        Ok(())
    }
}

impl Origin {
    /// Listens and starts a thread a core. When this returns, connections are accepted.
    ///
    /// # Errors
    /// [`OriginError`]: nothing runs then.
    pub fn start(config: &Config) -> Result<Self, OriginError> {
        config.check()?;
        let (address, listeners) = listen(config)?;
        let mut origin =
            Self { address, stop: Arc::default(), served: Vec::new(), threads: Vec::new() };
        for (core, listener) in config.cores.iter().copied().zip(listeners) {
            let served = Arc::<AtomicU64>::default();
            let job = Job {
                config: config.clone(),
                listener,
                stop: Arc::clone(&origin.stop),
                served: Arc::clone(&served),
            };
            let (ready, started) = std::sync::mpsc::channel();
            let failed = |source| OriginError::Core { core, source };
            origin.served.push(served);
            let thread = thread::spawn(core, move |_| job.run(&ready)).map_err(failed)?;
            origin.threads.push(thread);
            let gone = |_| Err(io::Error::other("its thread ended"));
            started.recv().unwrap_or_else(gone).map_err(failed)?;
        }
        Ok(origin)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers given so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.iter().map(|served| served.load(Ordering::Relaxed)).sum()
    }

    /// Closes every connection, ends the threads, and gives the number of all answers.
    ///
    /// # Errors
    /// What ended a core before its time.
    pub fn stop(mut self) -> io::Result<u64> {
        self.join()?;
        Ok(self.served())
    }

    fn join(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcome = Ok(());
        for thread in self.threads.drain(..) {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a core panicked")));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // Whoever wants to know calls `stop`.
        let _ = self.join();
    }
}

/// One listener a core. Several share the port, after it was found free.
fn listen(config: &Config) -> Result<(SocketAddr, Vec<OwnedFd>), OriginError> {
    let failed = |source| OriginError::Listen { address: config.address, source };
    let open = |address, share| socket::listen(address, share, Blocking::No);
    let first = open(config.address, Share::Alone).map_err(failed)?;
    let address = socket::local_address(&first).map_err(failed)?;
    if config.cores.len() == 1 {
        return Ok((address, vec![first]));
    }
    drop(first);
    let listeners = config.cores.iter().map(|_| open(address, Share::Port));
    Ok((address, listeners.collect::<io::Result<_>>().map_err(failed)?))
}

/// One core's part.
struct Job {
    config: Config,
    listener: OwnedFd,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
}

type Ready = std::sync::mpsc::Sender<io::Result<()>>;

impl Job {
    fn run(self, ready: &Ready) -> io::Result<()> {
        let share = process::file_limit().soft.saturating_sub(FILES_BESIDES_CONNECTIONS);
        let slots =
            (share / self.config.cores.len() as u64).clamp(2, CONNECTIONS_MAX.into()) as u32;
        match self.config.driver {
            DriverKind::IoUring => {
                let tier = probe::best_tier().map_err(io::Error::other);
                let config = |tier| RingConfig { tier, ..RingConfig::for_slots(slots) };
                self.serve(tier.and_then(|tier| Uring::open(config(tier))), slots, ready)
            }
            DriverKind::Epoll => self.serve(Epoll::open(Limits { slots }), slots, ready),
        }
    }

    fn serve<D: Driver>(self, driver: io::Result<D>, slots: u32, ready: &Ready) -> io::Result<()> {
        let server = driver.and_then(|driver| {
            Server::new(driver, slots, &self.config, self.listener, self.served)
        });
        match server {
            Ok(mut server) => {
                // Nobody listens any more only if `start` gave up.
                let _ = ready.send(Ok(()));
                server.run(&self.stop)
            }
            Err(error) => {
                let _ = ready.send(Err(io::Error::new(error.kind(), error.to_string())));
                Err(error)
            }
        }
    }
}
