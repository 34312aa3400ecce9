//! An HTTP/1.1 origin on the same driver, for loopback runs with nothing installed. Not a web server: it has no files, and most paths get the same answer.
//!
//! The fixed answer is built to be faster than any client here, so that it is not what is measured: no allocation, no parsing of heads seen before, one send
//! for all requests of a receive. These paths decide what happens instead, for examples and tests of a client:
//!
//! | path | what happens |
//! |---|---|
//! | `/delay/MS` | the fixed answer after MS milliseconds, at most [`DELAY_MAX`] |
//! | `/lognormal/MEDIAN_MS/SIGMA_PERCENT` | the fixed answer after a random delay: log-normal, seeded ([`Config::seed`]) |
//! | `/hang` | no answer, ever; nor to what is pipelined behind it |
//! | `/status/CODE` | an answer with this status, 200 to 599 |
//! | `/fail/PERCENT` | 503 for this share of the requests, seeded; else the fixed answer |
//! | `/retry-after/SECONDS` | 503 with `Retry-After` |
//! | `/bytes/N` | a body of N bytes, at most [`BODY_BYTES_MAX`] |
//! | `/chunked/N` | the same, chunked |
//! | `/stream/N/PIECE_BYTES/EVERY_MS` | N bytes with a known length: a piece at once, and then one every EVERY_MS |
//! | `/truncate/N` | announces N bytes, sends half of them, closes |
//! | `/reset` | announces 1000 bytes, sends half of them, resets the connection |
//! | `/abort` | closes the connection instead of answering |
//! | `/close` | the fixed answer with `Connection: close` |
//! | `/echo` | the request's body, up to [`ECHO_BYTES_MAX`]; 413 beyond |
//! | `/headers` | the request's head as text |
//! | `/redirect/N` | 302 to `/redirect/N-1`, and so on to the fixed answer; the query goes along |
//! | `/redirect-to?url=URL` | 302 to URL, which is percent-encoded |
//! | `/expect` | the fixed answer. As on every path, `Expect: 100-continue` is met with 100 before the body is read |
//! | `/expect/417` | 417 at once if the request expects 100, and the connection closes; else the fixed answer |
//! | `/expect/ignore` | the fixed answer once the body is there, and never 100 |
//! | `/continue/N` | 100 N times, then the fixed answer |
//!
//! Behind a `?` each takes any of `delay=MS`, `status=CODE` (where the path does not say one), `close`, `chunked`, `trailers` (chunked, with one), and `unframed` (a body
//! that ends with the connection); the rest of a query is ignored. A value out of range gets 400, with a text that says what it may be. A delay begins when the
//! request is whole. Answers keep the order of their requests; `HEAD` gets the head alone; request bodies are read, by length or chunked.
//!
//! A client that asks for more than it takes is not read any further, once it is owed 4096 answers or answers that take 4 MiB to keep: TCP's window pushes back. It is read
//! again when it has taken half of them, and cut off if it takes nothing for ten seconds.
//!
//! A request that names no host or several, that has more than 128 fields, or that asks for a tunnel (`CONNECT`) is refused with 400, 431 or 501, and the connection closed.
//!
//! A client that closes its side is not answered any more, unless the answer is being sent: so the origin's [`Counters`] follow the client's own count.

mod answer;
mod answering;
mod config;
mod connection;
mod counters;
mod delivery;
mod directive;
mod hold;
mod incoming;
mod plan;
mod request;
mod server;
mod timers;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::driver::probe;
use crate::driver::uring::Config as RingConfig;
use crate::driver::{Driver, DriverKind, Epoll, Limits, Uring};
use crate::host::thread;
use crate::sys::socket::{self, Blocking, Share};
use counters::{Open, Published};
use server::Server;

pub use config::{BODY_BYTES_MAX, CONNECTIONS_MAX, Config, DELAY_MAX, OriginError};
pub use counters::Counters;
pub use directive::{DIRECTIVES, Directive};
pub use incoming::ECHO_BYTES_MAX;

/// A running origin. Stops when it is dropped.
///
/// ```
/// use ringshot::client::{Engine, blocking};
/// use ringshot::origin::{Config, Origin};
///
/// let origin = Origin::start(&Config::on_loopback())?;
/// let client = blocking::Client::from(Engine::builder().build()?.client().build()?);
/// let response = client.get(origin.url("/bytes/5")).send()?;
/// assert_eq!(response.connection().peer, Some(origin.address()));
/// assert_eq!(client.get(origin.url("/status/404")).send()?.status(), 404);
/// println!("{} answers so far", origin.served()); // as of each core's last turn
/// assert_eq!(origin.stop()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    open: Arc<Open>,
    cores: Vec<Arc<Published>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Origin {
    /// Listens and starts a thread a core. When this returns, connections are accepted.
    ///
    /// # Errors
    /// [`OriginError`]: nothing runs then.
    pub fn start(config: &Config) -> Result<Self, OriginError> {
        config.check()?;
        let (address, listeners) = listen(config)?;
        let mut origin = Self {
            address,
            stop: Arc::default(),
            open: Arc::default(),
            cores: Vec::new(),
            threads: Vec::new(),
        };
        for ((ordinal, core), listener) in config.cores.iter().copied().enumerate().zip(listeners) {
            let published = Arc::<Published>::default();
            let job = Job {
                config: Config { seed: config.seed.wrapping_add(ordinal as u64), ..config.clone() },
                listener,
                stop: Arc::clone(&origin.stop),
                published: Arc::clone(&published),
                open: Arc::clone(&origin.open),
            };
            let (ready, started) = std::sync::mpsc::channel();
            let failed = |source| OriginError::Core { core, source };
            origin.cores.push(published);
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

    /// The URL of a path, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers given so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.cores.iter().map(|core| core.served()).sum()
    }

    /// What it counted so far. A core writes its numbers at the end of each turn: an answer that a client has read may be missing for some microseconds.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (open, most_open) = self.open.read();
        let mut counters = Counters { open, most_open, ..Counters::default() };
        self.cores.iter().for_each(|core| core.add_to(&mut counters));
        counters
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
    published: Arc<Published>,
    open: Arc<Open>,
}

type Ready = std::sync::mpsc::Sender<io::Result<()>>;

impl Job {
    fn run(self, ready: &Ready) -> io::Result<()> {
        let slots = self.config.conns_per_core();
        match self.config.driver {
            DriverKind::IoUring => {
                let tier = probe::best_tier().map_err(io::Error::other);
                let config = |tier| RingConfig { tier, ..RingConfig::for_slots(slots) };
                self.serve(
                    tier.and_then(|tier| Uring::open(config(tier)).map_err(probe::explain)),
                    slots,
                    ready,
                )
            }
            DriverKind::Epoll => self.serve(Epoll::open(Limits { slots }), slots, ready),
        }
    }

    fn serve<D: Driver>(self, driver: io::Result<D>, slots: u32, ready: &Ready) -> io::Result<()> {
        let server = driver.and_then(|driver| {
            let accounts = (self.published, self.open);
            Server::new(driver, slots, &self.config, self.listener, accounts)
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
