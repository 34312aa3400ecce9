//! One run: a host a core, all starting together, merged at the end. Blocks its caller; never prints.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use super::budget::Budgets;
use super::control::{Control, CoreGauge, Phase};
use super::drive::Drive;
use super::expect::Expect;
use super::feed::Feed;
use super::gate::Gate;
use super::merge::{CoreOutcome, report};
use super::mix::Content;
use super::plan::{KeepAlive, Plan, share};
use super::plan_error::PlanError;
use super::quota::QuotaWatch;
use super::report::Report;
use super::schedule::{Arrival, Schedule};
use super::sockets::Sockets;
use crate::clock::Instant;
use crate::driver::probe::{self, Blocked};
use crate::driver::uring::{Config as RingConfig, Descriptors, Tier};
use crate::driver::{Driver, DriverKind, Epoll, Limits, Uring};
use crate::host::{Host, Pace, Work};
use crate::proto::h1;
use crate::shard::{Body, Config, Heads, Settle, Shard};
use crate::sys::affinity::Pinned;
use crate::sys::process;

/// The longest a turn blocks: how late a stop is noticed.
pub(super) const BLOCK_MAX: Duration = Duration::from_millis(20);

/// Why a run could not be run, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The plan can't be run as it is.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A host could not be started.
    #[error("can't start the {host} host on core {core}: {source}")]
    Host {
        /// The host.
        host: Host,
        /// The core.
        core: usize,
        /// What the system said.
        source: io::Error,
    },
    /// `io_uring` can't be used here.
    #[error("{0}, or use epoll")]
    Blocked(#[from] Blocked),
    /// The driver could not be opened on a core.
    #[error("can't open {driver} on core {core}: {source}")]
    Open {
        /// The driver.
        driver: DriverKind,
        /// The core.
        core: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The driver was lost during the run.
    #[error("{driver} failed on core {core}: {source}")]
    Lost {
        /// The driver.
        driver: DriverKind,
        /// The core.
        core: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// A thread panicked: a bug of ours.
    #[error("the thread of core {core} panicked: please report this as a bug")]
    Panicked {
        /// The core.
        core: usize,
    },
}

/// The longest that the thread which waits for a run sleeps: each wake-up costs as much as several requests.
const WATCH_MAX: Duration = Duration::from_secs(1);
/// The same until requests are measured, which it is to see in time.
const WATCH_START: Duration = Duration::from_millis(20);

/// What all cores of a run share.
pub(super) struct Shared {
    /// The control's: see [`Control::stop`].
    pub(super) stop: Arc<AtomicBool>,
    pub(super) start: Gate,
    pub(super) budgets: Budgets,
    /// Cores that have not sent all that they may.
    pub(super) unsent: AtomicUsize,
    /// Cores that have not ended.
    pub(super) running: AtomicUsize,
    /// Who waits for them.
    pub(super) watcher: Thread,
}

impl Shared {
    /// For `cores` cores that have not started, which the calling thread waits for.
    pub(super) fn new(plan: &Plan, cores: usize, control: &Control) -> Self {
        Self {
            stop: control.stop_flag(),
            start: Gate::new(cores),
            budgets: Budgets::of(plan.stop.requests, cores),
            unsent: AtomicUsize::new(cores),
            running: AtomicUsize::new(cores),
            watcher: std::thread::current(),
        }
    }
}

/// Runs `plan` to its end, or until `control` stops it.
///
/// ```
/// use http::Method;
/// use ringshot::load::{Control, KeepAlive, Plan, Request, Stop, Template, run};
/// use ringshot::proto::url::Url;
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
///
/// let url = Url::parse(&origin.url("/"))?;
/// let request = Request { method: &Method::GET, url: &url, headers: &[], body: b"", keep_alive: KeepAlive::On };
/// let cores = vec![ringshot::sys::affinity::cores()[0]];
/// let plan = Plan::closed(Template::encode(&request)?, vec![origin.address()], cores);
/// let plan = Plan { connections: 4, stop: Stop::requests(100), ..plan };
/// let report = run(&plan, &Control::new())?;
/// assert_eq!((report.requests, report.errors), (100, 0));
/// println!("{:.0} successes a second, p99 {:.0} us", report.successes_per_second(), report.latency_us.p99);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`RunError::Plan`] before anything is sent; the others when a core fails, after all cores have ended.
pub fn run(plan: &Plan, control: &Control) -> Result<Report, RunError> {
    plan.check()?;
    let tier = match plan.driver {
        DriverKind::IoUring => probe::best_tier()?,
        DriverKind::Epoll => Tier::SingleShot,
    };
    let (cores, host) = (plan.cores.len(), plan.host);
    plan.mix.feeds.iter().map(Arc::as_ref).for_each(Feed::rewind);
    let shared = Arc::new(Shared::new(plan, cores, control));
    let gauges = control.gauges(cores);
    let mut handles = Vec::with_capacity(cores);
    for (index, (core, gauge)) in plan.cores.iter().copied().zip(&gauges).enumerate() {
        let job = Job {
            core,
            place: index,
            lanes: plan.conns_of(index),
            plan: plan.clone(),
            tier,
            shared: Arc::clone(&shared),
            gauge: Arc::clone(gauge),
            all_sent: false,
        };
        match plan.host.spawn_work(core, job) {
            Ok(handle) => handles.push((core, handle)),
            Err(source) => {
                // Those that were started must not go on without anybody who waits for them.
                control.stop();
                let _ = join(host, handles);
                return Err(RunError::Host { host, core, source });
            }
        }
    }
    let (mut sockets, mut quota) = (Sockets::of(plan), QuotaWatch::of_process());
    while shared.running.load(Ordering::Acquire) > 0 {
        let watch = if control.phase() == Phase::Measuring {
            quota.begin();
            let now = Instant::now();
            sockets.sample(now);
            (sockets.next() - now).min(WATCH_MAX)
        } else {
            WATCH_START
        };
        std::thread::park_timeout(watch);
    }
    let outcomes = join(host, handles)?;
    gauges.iter().for_each(|gauge| gauge.set_phase(Phase::Done));
    Ok(report(plan, control, outcomes, sockets.report(), quota.report()))
}

/// A thread that runs a core's job.
type Handle = JoinHandle<io::Result<Result<CoreOutcome, RunError>>>;

/// Waits for all cores, then tells what they found, or the first error.
fn join(host: Host, handles: Vec<(usize, Handle)>) -> Result<Vec<CoreOutcome>, RunError> {
    let ended = |(core, handle): (usize, Handle)| {
        let ended = handle.join().map_err(|_| RunError::Panicked { core })?;
        ended.map_err(|source| RunError::Host { host, core, source })?
    };
    let all: Vec<_> = handles.into_iter().map(ended).collect();
    all.into_iter().collect()
}

/// One core's part of a run.
pub(super) struct Job {
    pub(super) core: usize,
    /// Its place among the cores of the run.
    pub(super) place: usize,
    pub(super) lanes: u32,
    pub(super) plan: Plan,
    /// The ring's, if the driver is `io_uring`.
    pub(super) tier: Tier,
    pub(super) shared: Arc<Shared>,
    pub(super) gauge: Arc<CoreGauge>,
    /// Whether it is none of the unsent ones among the shared.
    pub(super) all_sent: bool,
}

impl Drop for Job {
    /// The others must not wait for a core that never came to the start, nor the watcher for one that is over.
    fn drop(&mut self) {
        self.shared.start.fail();
        self.note_all_sent();
        self.shared.running.fetch_sub(1, Ordering::Release);
        self.shared.watcher.unpark();
    }
}

impl Work for Job {
    type Output = Result<CoreOutcome, RunError>;

    /// Generic inside, concrete here: the driver is picked once.
    async fn run(self, pinned: Pinned, pace: impl Pace) -> Result<CoreOutcome, RunError> {
        let driver = self.plan.driver;
        let limits = Limits { slots: self.lanes };
        // A thread that is to wake up on time must say so: by default the kernel may be 50 us late, to wake several at once.
        process::set_timer_slack(Duration::from_nanos(1));
        match driver {
            DriverKind::IoUring => {
                let descriptors = match self.plan.keep_alive {
                    KeepAlive::On => Descriptors::Fixed,
                    KeepAlive::Off => Descriptors::Plain,
                };
                let config = RingConfig { limits, tier: self.tier, descriptors };
                self.open(pinned, pace, Uring::open(config).map_err(probe::explain)).await
            }
            DriverKind::Epoll => self.open(pinned, pace, Epoll::open(limits)).await,
        }
    }
}

impl Job {
    async fn open<D: Driver>(
        self,
        pinned: Pinned,
        pace: impl Pace,
        driver: io::Result<D>,
    ) -> Result<CoreOutcome, RunError> {
        let (core, kind) = (self.core, self.plan.driver);
        let shard = driver.and_then(|driver| Shard::new(driver, self.config()));
        let shard = shard.map_err(|source| RunError::Open { driver: kind, core, source })?;
        let driven = Drive::new(self, shard, pinned, pace, Instant::now).run().await;
        driven.map_err(|source| RunError::Lost { driver: kind, core, source })
    }

    pub(super) fn config(&self) -> Config {
        let plan = &self.plan;
        let mix = &plan.mix;
        let pipeline = match plan.keep_alive {
            KeepAlive::On => plan.pipeline,
            KeepAlive::Off => 1,
        };
        // Books are kept request by request, so that copies help only where there are none.
        let copies = if mix.only().is_some() { pipeline } else { 1 };
        let fixed = mix.requests.iter().filter_map(|request| match &request.content {
            Content::Fixed(template) => Some(template.copies(copies)),
            Content::Filled(_) => None,
        });
        let settle = match plan.arrival {
            Arrival::Closed => Settle::WhileFree,
            // A request that is due must not wait for company.
            _ if plan.pacing.slack.is_zero() => Settle::Never,
            _ => Settle::Always,
        };
        Config {
            targets: mix.targets.iter().map(|target| target.peers.clone()).collect(),
            sources: plan.sources.clone(),
            sources_taken: self.users_before(),
            lanes: self.lanes,
            templates: fixed.collect(),
            pipeline,
            connect_timeout: plan.timeouts.connect,
            response_timeout: plan.timeouts.response,
            requests_per_connection: match plan.keep_alive {
                KeepAlive::On => plan.requests_per_connection.unwrap_or(u64::MAX),
                KeepAlive::Off => 1,
            },
            heads: if mix.expects_of(Expect::looks_at_head) { Heads::Tell } else { Heads::Ignore },
            body: if mix.expects_of(Expect::looks_at_body) { Body::Read } else { Body::Discard },
            settle,
            limits: h1::Limits::default(),
        }
    }

    /// This core has nothing more to send.
    pub(super) fn note_all_sent(&mut self) {
        if !self.all_sent {
            self.all_sent = true;
            self.shared.unsent.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// It has something to send, if it is what was sent already.
    pub(super) fn note_unsent(&mut self) {
        if self.all_sent {
            self.all_sent = false;
            self.shared.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connections to each server that the cores before this one have.
    fn users_before(&self) -> u64 {
        let cores = self.plan.cores.len();
        let users = |place| u64::from(share(self.plan.connections, cores, place));
        (0..self.place).map(users).sum()
    }

    /// Connections to open before the clock starts: no more than there will be requests.
    pub(super) fn lanes_first(&self) -> u32 {
        let cores = self.plan.cores.len() as u64;
        let most = self.plan.stop.requests.map_or(u64::MAX, |requests| requests.div_ceil(cores));
        match self.plan.keep_alive {
            KeepAlive::On => u64::from(self.lanes).min(most) as u32,
            KeepAlive::Off => 0,
        }
    }

    /// This core's part of a schedule that begins at `from`.
    pub(super) fn schedule(
        &self,
        arrival: &Arrival,
        from: Instant,
        requests: u64,
    ) -> Option<Schedule> {
        Schedule::new(arrival, from, (self.place, self.plan.cores.len()), requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_are_waited_for_before_the_first_error_is_told() {
        let ended = Arc::new(AtomicUsize::new(0));
        let spawn = |core: usize| {
            let ended = Arc::clone(&ended);
            let handle: Handle = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10 * core as u64));
                ended.fetch_add(1, Ordering::Relaxed);
                Err(io::Error::from_raw_os_error(libc::EAGAIN))
            });
            (core, handle)
        };
        let all = join(Host::Thread, (0..3).map(spawn).collect());
        assert!(matches!(all, Err(RunError::Host { core: 0, .. })));
        assert_eq!(ended.load(Ordering::Relaxed), 3);
    }
}
