//! One run: a host a core, all starting together, merged at the end. Blocks its caller; never prints.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::control::{Control, CoreGauge, Phase};
use super::gate::{Gate, Start};
use super::merge::{CoreOutcome, report};
use super::plan::{KeepAlive, Plan, PlanError, Stop};
use super::report::Report;
use super::worker::{Budget, Worker};
use crate::clock::Instant;
use crate::driver::probe::{self, Blocked};
use crate::driver::uring::{Config as RingConfig, Descriptors, Tier};
use crate::driver::{Counters, Driver, DriverKind, Epoll, Limits, Uring};
use crate::host::{Host, Pace, Work};
use crate::proto::h1;
use crate::shard::{Body, Config, Settle, Shard};
use crate::sys::affinity::Pinned;
use crate::sys::process::CpuTime;

/// The longest a turn blocks: how late a stop is noticed.
const BLOCK_MAX: Duration = Duration::from_millis(20);
/// How long closing connections may take before the ring is closed over them.
const CLOSE_MAX: Duration = Duration::from_secs(2);

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
    #[error(transparent)]
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

/// What all cores of a run share.
struct Shared {
    stop: AtomicBool,
    start: Gate,
    budget: Option<Arc<Budget>>,
}

/// Runs `plan` to its end, or until `control` stops it.
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
    let budget = match plan.stop {
        Stop::Requests(requests) => Some(Arc::new(Budget::new(requests, cores))),
        Stop::After(_) => None,
    };
    let shared = Arc::new(Shared { stop: AtomicBool::new(false), start: Gate::new(cores), budget });
    let gauges = control.gauges(cores);
    let mut handles = Vec::with_capacity(cores);
    for (index, (core, gauge)) in plan.cores.iter().copied().zip(&gauges).enumerate() {
        let job = Job {
            core,
            connections: share(plan.connections, cores, index),
            plan: plan.clone(),
            tier,
            shared: Arc::clone(&shared),
            gauge: Arc::clone(gauge),
        };
        let handle = plan.host.spawn_work(core, job);
        handles.push((core, handle.map_err(|source| RunError::Host { host, core, source })?));
    }
    while handles.iter().any(|(_, handle)| !handle.is_finished()) {
        if control.is_stopped() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        std::thread::park_timeout(BLOCK_MAX / 4);
    }
    let mut outcomes = Vec::with_capacity(cores);
    for (core, handle) in handles {
        let ended = handle.join().map_err(|_| RunError::Panicked { core })?;
        outcomes.push(ended.map_err(|source| RunError::Host { host, core, source })??);
    }
    gauges.iter().for_each(|gauge| gauge.set_phase(Phase::Done));
    Ok(report(plan, control, &outcomes))
}

/// The `index`th of `parts` shares of `whole`: they differ by one at most, the first are the larger.
fn share(whole: u32, parts: usize, index: usize) -> u32 {
    let parts = parts.max(1) as u32;
    whole / parts + u32::from((index as u32) < whole % parts)
}

/// One core's part of a run.
struct Job {
    core: usize,
    connections: u32,
    plan: Plan,
    /// The ring's, if the driver is `io_uring`.
    tier: Tier,
    shared: Arc<Shared>,
    gauge: Arc<CoreGauge>,
}

impl Drop for Job {
    /// The others must not wait for a core that never came to the start.
    fn drop(&mut self) {
        self.shared.start.fail();
    }
}

impl Work for Job {
    type Output = Result<CoreOutcome, RunError>;

    /// Generic inside, concrete here: the driver is picked once.
    async fn run(self, pinned: Pinned, pace: impl Pace) -> Result<CoreOutcome, RunError> {
        let driver = self.plan.driver;
        let limits = Limits { slots: self.connections };
        match driver {
            DriverKind::IoUring => {
                let descriptors = match self.plan.keep_alive {
                    KeepAlive::On => Descriptors::Fixed,
                    KeepAlive::Off => Descriptors::Plain,
                };
                let config = RingConfig { limits, tier: self.tier, descriptors };
                self.open(pinned, pace, Uring::open(config)).await
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
        let start = self.shared.start.pass();
        let drive = Drive::new(self, shard, pinned, pace);
        let driven = drive.run(start).await;
        driven.map_err(|source| RunError::Lost { driver: kind, core, source })
    }

    fn config(&self) -> Config {
        let plan = &self.plan;
        Config {
            peers: plan.peers.clone(),
            lanes: self.connections,
            requests: plan.template.copies(plan.pipeline),
            request_bytes: plan.template.bytes().len() as u32,
            sent: plan.template.sent(),
            pipeline: plan.pipeline,
            connect_timeout: plan.timeouts.connect,
            response_timeout: plan.timeouts.response,
            body: Body::Discard,
            settle: Settle::WhileFree,
            limits: h1::Limits::default(),
        }
    }
}

/// A job with its shard: the loop of one core.
struct Drive<D: Driver, P> {
    job: Job,
    shard: Shard<D>,
    worker: Worker,
    pinned: Pinned,
    pace: P,
    /// What had been counted when measuring began.
    before: Before,
}

/// Readings at the start of the measured time.
#[derive(Default)]
struct Before {
    cpu: CpuTime,
    shard: crate::shard::Counters,
    driver: Counters,
}

impl<D: Driver, P: Pace> Drive<D, P> {
    fn new(job: Job, shard: Shard<D>, pinned: Pinned, pace: P) -> Self {
        let worker = Worker::new(job.shared.budget.clone());
        Self { job, shard, worker, pinned, pace, before: Before::default() }
    }

    async fn run(mut self, start_of: Start) -> io::Result<CoreOutcome> {
        let start = Instant::now();
        let measured_from = start + self.job.plan.warm_up;
        if self.job.plan.warm_up.is_zero() {
            self.measure(start);
        } else {
            self.job.gauge.set_phase(Phase::WarmUp);
        }
        let end = match self.job.plan.stop {
            Stop::After(duration) => measured_from + duration,
            Stop::Requests(_) => Instant::NEVER,
        };
        if start_of == Start::Nobody {
            return Ok(self.outcome(start, start));
        }
        self.shard.rouse(&mut self.worker, start);
        let mut measuring = self.job.plan.warm_up.is_zero();
        let mut now = start;
        while now < end && !self.job.shared.stop.load(Ordering::Relaxed) {
            if !measuring && now >= measured_from {
                measuring = true;
                // A nanosecond later: what the last turn sent belongs to the warm-up.
                self.measure(now + Duration::from_nanos(1));
            }
            if measuring && self.worker.is_spent() && self.shard.is_idle() {
                break;
            }
            now = self.turn((end - now).min(BLOCK_MAX)).await?;
        }
        let stopped_at = now;
        now = self.drain(now).await?;
        let ended = if end == Instant::NEVER {
            self.worker.last_end
        } else {
            stopped_at.max(self.worker.last_end)
        };
        let outcome =
            self.outcome(if measuring { self.worker.measured_from() } else { now }, ended);
        self.close(now).await?;
        Ok(outcome)
    }
}

impl<D: Driver, P: Pace> Drive<D, P> {
    #[inline]
    async fn turn(&mut self, max_block: Duration) -> io::Result<Instant> {
        let max_block = self.pace.block_max(max_block);
        let now = self.shard.turn(max_block, &mut self.worker, &mut Instant::now)?;
        let counters = self.shard.counters();
        let bytes = counters.bytes_received - self.before.shard.bytes_received;
        self.worker.publish(&self.job.gauge, bytes, counters.connected);
        self.pace.give_way().await;
        Ok(now)
    }

    /// Begins to measure.
    fn measure(&mut self, now: Instant) {
        self.job.gauge.set_phase(Phase::Measuring);
        self.worker.measure(now);
        self.before = Before {
            cpu: CpuTime::of_thread(),
            shard: self.shard.counters(),
            driver: self.shard.driver().counters(),
        };
    }

    /// Waits for the last responses, then cancels what is left.
    async fn drain(&mut self, mut now: Instant) -> io::Result<Instant> {
        self.job.gauge.set_phase(Phase::Draining);
        self.shard.drain();
        let deadline = now + self.job.plan.drain;
        while !self.shard.is_idle() && now < deadline {
            now = self.turn((deadline - now).min(BLOCK_MAX)).await?;
        }
        self.shard.close(&mut self.worker, now);
        Ok(now)
    }

    /// Gives descriptors and buffers back in order, for as long as that may take.
    async fn close(&mut self, mut now: Instant) -> io::Result<()> {
        let deadline = now + CLOSE_MAX;
        while !self.shard.is_closed() && now < deadline {
            now = self.turn(BLOCK_MAX).await?;
        }
        Ok(())
    }

    fn outcome(&self, from: Instant, to: Instant) -> CoreOutcome {
        let (shard, before) = (self.shard.counters(), &self.before);
        let driver = self.shard.driver().counters();
        CoreOutcome {
            core: self.job.core,
            pinned: self.pinned,
            connections: self.job.connections,
            recorder: self.worker.recorder.clone(),
            resent: self.worker.resent,
            seconds: (to - from).as_secs_f64(),
            cpu: CpuTime::of_thread().since(before.cpu),
            connected: shard.connected,
            bytes: shard.bytes_received - before.shard.bytes_received,
            turns: shard.turns - before.shard.turns,
            turns_with_completions: shard.turns_with_completions
                - before.shard.turns_with_completions,
            completions: shard.completions - before.shard.completions,
            driver: Counters {
                system_calls: driver.system_calls - before.driver.system_calls + shard.system_calls
                    - before.shard.system_calls,
                waits: driver.waits - before.driver.waits,
                completions: driver.completions - before.driver.completions,
                queue_overflows: driver.queue_overflows - before.driver.queue_overflows,
                buffers_starved: driver.buffers_starved - before.driver.buffers_starved,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_with_the_remainder() {
        let shares =
            |whole, parts| (0..parts).map(|index| share(whole, parts, index)).collect::<Vec<_>>();
        assert_eq!(shares(10, 4), [3, 3, 2, 2]);
        assert_eq!(shares(3, 3), [1, 1, 1]);
        assert_eq!(shares(1, 1), [1]);
    }
}
