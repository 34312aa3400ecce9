//! Who turns a shard: a bare pinned thread, or a task of a glommio executor. Knows nothing of what the shard sends.

#[cfg(feature = "glommio")]
mod glommio;
pub mod thread;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Instant;
use crate::driver::Alarm;
use crate::shard::doorbell::Doorbell;
use crate::sys::affinity::{self, Pinned};

/// The longest that a turn of the thread host blocks: whatever is to wake it rings its bell.
const BLOCK_MAX: Duration = Duration::from_secs(1);

/// Who turns the shards.
///
/// ```
/// use ringshot::client::Engine;
/// use ringshot::host::Host;
///
/// let host: Host = "thread".parse()?;
/// host.try_start()?; // can it run here? It says what is in its way
/// let engine = Engine::builder().host(host).build()?;
/// assert_eq!(engine.host(), Host::Thread);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Host {
    /// A bare pinned thread a core.
    #[default]
    Thread,
    /// A task of a pinned glommio executor a core. Needs `io_uring`.
    ///
    /// glommio 0.9 keeps a descriptor, an eventfd, for each executor that ever was: an engine that
    /// goes leaves one for each of its cores. A process that makes one engine does not notice;
    /// one that makes them by the thousand comes to its limit on open files.
    #[cfg(feature = "glommio")]
    Glommio,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Thread => "thread",
            #[cfg(feature = "glommio")]
            Self::Glommio => "glommio",
        })
    }
}

/// A host's name that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no host is called {0:?}: use thread{glommio}", glommio = if cfg!(feature = "glommio") { " or glommio" } else { "" })]
pub struct UnknownHost(pub String);

impl FromStr for Host {
    type Err = UnknownHost;

    fn from_str(text: &str) -> Result<Self, UnknownHost> {
        match text {
            "thread" => Ok(Self::Thread),
            #[cfg(feature = "glommio")]
            "glommio" => Ok(Self::Glommio),
            _ => Err(UnknownHost(text.to_owned())),
        }
    }
}

/// What a host turns: a core with its mailbox, whatever its driver.
#[cfg_attr(not(feature = "glommio"), allow(dead_code, reason = "a bare thread only turns"))]
pub(crate) trait Turn {
    /// One turn that waits for at most `max_block`. `false` once it is over: then it is closed.
    ///
    /// # Errors
    /// Only when the driver is lost.
    fn turn(&mut self, max_block: Duration) -> io::Result<bool>;

    /// Others have the thread from now on until [`Turn::resume`].
    fn pause(&mut self);

    /// This has the thread again.
    fn resume(&mut self);

    /// Whether only a note, a timer or the end of an idle connection can come.
    fn is_quiet(&self) -> bool;

    /// Whether all that can come is a note, a timer or an event of the driver's: what is in flight is the kernel's to tell.
    fn only_waits(&self) -> bool;

    /// When its next timer is due.
    fn next_deadline(&self) -> Instant;

    /// The driver's alarm: see [`Driver::alarm`](crate::driver::Driver::alarm).
    ///
    /// # Errors
    /// As there.
    fn alarm(&mut self) -> io::Result<Alarm>;

    /// What others ring.
    fn bell(&self) -> &Arc<Doorbell>;

    /// Wakes `waker` when a future of this thread asks for something between two turns.
    fn kick_with(&self, waker: &Waker);
}

/// How a loop of turns shares its thread with others.
pub(crate) trait Pace {
    /// How long the next turn may block, where it would for `most`.
    fn block_max(&self, most: Duration) -> Duration;

    /// Lets others run, between two turns.
    fn give_way(&mut self) -> impl Future<Output = ()>;
}

/// Something to do on a host's thread that turns a shard of its own.
pub(crate) trait Work: Send + 'static {
    type Output: Send + 'static;

    fn run(self, pinned: Pinned, pace: impl Pace) -> impl Future<Output = Self::Output>;
}

struct Nothing;

impl Work for Nothing {
    type Output = ();

    async fn run(self, _pinned: Pinned, mut pace: impl Pace) {
        pace.give_way().await;
    }
}

/// Turns `turn` as a task of the executor that the calling thread runs, until it is over.
///
/// # Errors
/// `NotConnected` outside of an executor; what [`Driver::alarm`](crate::driver::Driver::alarm) reports.
#[cfg(feature = "glommio")]
pub(crate) fn attach(open: impl FnOnce() -> io::Result<Box<dyn Turn>>) -> io::Result<()> {
    glommio::attach(open)
}

impl Host {
    /// Starts a pinned thread that opens `job` and turns it until it is over.
    pub(crate) fn spawn<J>(self, core: usize, job: J) -> io::Result<JoinHandle<io::Result<()>>>
    where
        J: FnOnce(Pinned) -> io::Result<Box<dyn Turn>> + Send + 'static,
    {
        match self {
            Self::Thread => thread::spawn(core, move |pinned| {
                let mut turn = job(pinned)?;
                while turn.turn(BLOCK_MAX)? {}
                Ok(())
            }),
            #[cfg(feature = "glommio")]
            Self::Glommio => {
                glommio::spawn(core, async move |pinned| glommio::turn(job(pinned)?).await)
            }
        }
    }

    /// Starts a pinned thread and does `work` on it.
    pub(crate) fn spawn_work<W: Work>(
        self,
        core: usize,
        work: W,
    ) -> io::Result<JoinHandle<io::Result<W::Output>>> {
        match self {
            Self::Thread => {
                thread::spawn(core, move |pinned| Ok(thread::run(work.run(pinned, thread::Alone))))
            }
            #[cfg(feature = "glommio")]
            Self::Glommio => glommio::spawn(core, async move |pinned| {
                Ok(work.run(pinned, glommio::Shared::new()).await)
            }),
        }
    }

    /// Whether what this host needs is there, as far as that shows without starting it.
    ///
    /// ```
    /// assert!(ringshot::host::Host::Thread.check().is_ok());
    /// ```
    ///
    /// # Errors
    /// What keeps it from starting, and the remedy.
    pub fn check(self) -> io::Result<()> {
        match self {
            Self::Thread => Ok(()),
            #[cfg(feature = "glommio")]
            Self::Glommio => glommio::check(),
        }
    }

    /// Whether this host can start here: finds out by starting and ending it, on a thread of its own.
    ///
    /// # Errors
    /// What keeps it from starting, and the remedy.
    pub fn try_start(self) -> io::Result<()> {
        let core = affinity::cores().last().copied().unwrap_or_default();
        let nothing = |error: Box<dyn std::any::Any + Send>| {
            drop(error);
            Err(io::Error::other("its thread panicked"))
        };
        self.spawn_work(core, Nothing)?.join().unwrap_or_else(nothing)
    }
}
