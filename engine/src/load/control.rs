//! Stopping a run, and watching it, from another thread. Costs the hot path a few plain stores a turn.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::histogram::{COARSE_BUCKETS, Coarse};
use super::recorder::Recorder;
use super::status::StatusCounts;
use super::timeline::Totals;
use crate::clock::Instant;
use crate::sync::lock;

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Opening rings and connections.
    Starting = 0,
    /// Sending, not measuring yet.
    WarmUp = 1,
    /// Sending and measuring.
    Measuring = 2,
    /// Waiting for the last responses.
    Draining = 3,
    /// Over.
    Done = 4,
}

impl Phase {
    const ALL: [Self; 5] =
        [Self::Starting, Self::WarmUp, Self::Measuring, Self::Draining, Self::Done];
}

/// Where a run stands, over all cores. Read at one moment, but not all at the very same.
///
/// ```
/// use ringshot::load::{Phase, Snapshot};
///
/// // What a view shows before the run has begun.
/// let before = Snapshot::at(Phase::Starting);
/// assert_eq!((before.requests, before.errors, before.cores.len()), (0, 0, 0));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Requests that were due since measuring began, as of at most [`PUBLISH_EVERY`] ago; all that ended, in a closed loop.
    pub offered: u64,
    /// Requests sent more than a millisecond after they were due.
    pub late: u64,
    /// Requests given up unsent.
    pub shed: u64,
    /// Requests on the wire now.
    pub in_flight: u64,
    /// Time since measuring began; zero before.
    pub measured: Duration,
    /// Each core, in the order of the plan.
    pub cores: Vec<CoreSnapshot>,
    /// Response times of successful requests (2xx) since measuring began, as of at most [`PUBLISH_EVERY`] ago.
    pub response_time: Coarse,
    /// Responses by status class since then, of the same age.
    pub status: StatusCounts,
    /// Requests completed with a response since measuring began.
    pub requests: u64,
    /// Requests that failed since then.
    pub errors: u64,
    /// Bytes received since then.
    pub bytes: u64,
    /// Connections established since the start.
    pub connected: u64,
    /// Time since the run began.
    pub elapsed: Duration,
    /// The phase of the core that is furthest behind.
    pub phase: Phase,
}

impl Snapshot {
    /// A run in this phase in which nothing has happened.
    #[must_use]
    pub fn at(phase: Phase) -> Self {
        Self {
            offered: 0,
            late: 0,
            shed: 0,
            in_flight: 0,
            measured: Duration::ZERO,
            cores: Vec::new(),
            response_time: Coarse::default(),
            status: StatusCounts::default(),
            requests: 0,
            errors: 0,
            bytes: 0,
            connected: 0,
            elapsed: Duration::ZERO,
            phase,
        }
    }
}

/// Where one core stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CoreSnapshot {
    /// Requests completed with a response since measuring began.
    pub requests: u64,
    /// CPU time of its thread since the run began.
    pub cpu: Duration,
    /// Connections it has established so far.
    pub connected: u64,
}

/// How often a core publishes what costs more than a store.
pub const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// One core's figures, alone on their cache lines: written by its shard, read by whoever watches.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct CoreGauge {
    pub(super) requests: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) offered: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) shed: AtomicU64,
    pub(super) in_flight: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) connected: AtomicU64,
    pub(super) cpu_nanos: AtomicU64,
    pub(super) measured_from: AtomicU64,
    pub(super) phase: AtomicU8,
    /// In the order of [`StatusCounts`].
    status: [AtomicU64; 5],
    response_time: Box<[AtomicU32; COARSE_BUCKETS]>,
}

impl Default for CoreGauge {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            requests: zero(),
            errors: zero(),
            offered: zero(),
            late: zero(),
            shed: zero(),
            in_flight: zero(),
            bytes: zero(),
            connected: zero(),
            cpu_nanos: zero(),
            measured_from: AtomicU64::new(u64::MAX),
            phase: AtomicU8::default(),
            status: std::array::from_fn(|_| zero()),
            response_time: Box::new([const { AtomicU32::new(0) }; COARSE_BUCKETS]),
        }
    }
}

impl CoreGauge {
    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn set_measured_from(&self, from: Instant) {
        self.measured_from.store(from.as_nanos(), Ordering::Relaxed);
    }

    /// Shows how many requests have been due.
    #[inline]
    pub(super) fn set_offered(&self, offered: u64) {
        self.offered.store(offered, Ordering::Relaxed);
    }

    /// Shows what was counted so far.
    #[inline]
    pub(super) fn set_totals(&self, totals: &Totals, in_flight: u64, connected: u64) {
        self.requests.store(totals.requests, Ordering::Relaxed);
        self.errors.store(totals.errors, Ordering::Relaxed);
        self.bytes.store(totals.bytes, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Shows what a schedule lost so far.
    #[inline]
    pub(super) fn set_lost(&self, late: u64, shed: u64) {
        self.late.store(late, Ordering::Relaxed);
        self.shed.store(shed, Ordering::Relaxed);
    }

    /// Shows the response times and statuses so far, and the CPU time.
    pub(super) fn publish_slow(&self, recorder: &Recorder, cpu: Duration) {
        for (place, count) in self.response_time.iter().zip(recorder.coarse().counts()) {
            place.store(*count, Ordering::Relaxed);
        }
        let StatusCounts { success, redirect, client_error, server_error, other } =
            recorder.status();
        let counts = [success, redirect, client_error, server_error, other];
        for (place, count) in self.status.iter().zip(counts) {
            place.store(count, Ordering::Relaxed);
        }
        self.cpu_nanos.store(cpu.as_nanos() as u64, Ordering::Relaxed);
    }

    fn snapshot(&self) -> CoreSnapshot {
        CoreSnapshot {
            requests: self.requests.load(Ordering::Relaxed),
            cpu: Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed)),
            connected: self.connected.load(Ordering::Relaxed),
        }
    }
}

/// A handle on a run: give it to [`super::run`] and keep a reference. Good for one run.
///
/// ```
/// use std::time::Duration;
/// use ringshot::load::{Control, Phase, run};
/// # use ringshot::load::{KeepAlive, Plan, Request, Template};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let url = ringshot::proto::url::Url::parse(&origin.url("/"))?;
/// # let request = Request { method: &http::Method::GET, url: &url, headers: &[], body: b"", keep_alive: KeepAlive::On };
/// # let cores = vec![ringshot::sys::affinity::cores()[0]];
/// # let plan = Plan { connections: 2, ..Plan::closed(Template::encode(&request)?, vec![origin.address()], cores) };
///
/// let control = Control::new();
/// let report = std::thread::scope(|scope| {
///     let running = scope.spawn(|| run(&plan, &control));
///     // Ten seconds were planned, and ten responses are enough.
///     while control.snapshot().requests < 10 && !running.is_finished() {
///         std::thread::sleep(Duration::from_millis(5));
///     }
///     control.stop();
///     running.join().expect("a run does not panic")
/// })?;
/// assert!(control.is_stopped() && report.requests >= 10 && report.seconds < 10.0);
/// assert_eq!(control.phase(), Phase::Done);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Control {
    stop: Arc<AtomicBool>,
    started: Instant,
    gauges: Mutex<Vec<Arc<CoreGauge>>>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

impl Control {
    /// A handle on a run that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self { stop: Arc::default(), started: Instant::now(), gauges: Mutex::default() }
    }

    /// Ends the run early: it stops sending within 20 ms, drains, and reports what it has. One that drains already is at its end, and what is unanswered is cancelled.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether [`Control::stop`] was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What the cores look at.
    pub(super) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Where the run stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let gauges = lock(&self.gauges);
        let sum = |of: fn(&CoreGauge) -> &AtomicU64| {
            gauges.iter().map(|gauge| of(gauge).load(Ordering::Relaxed)).sum()
        };
        let phase = slowest(&gauges);
        let mut response_time = Coarse::default();
        for gauge in gauges.iter() {
            for (bucket, count) in gauge.response_time.iter().enumerate() {
                response_time.add(bucket, count.load(Ordering::Relaxed));
            }
        }
        let now = Instant::now();
        let from = gauges.iter().map(|gauge| gauge.measured_from.load(Ordering::Relaxed)).min();
        Snapshot {
            offered: sum(|gauge| &gauge.offered),
            late: sum(|gauge| &gauge.late),
            shed: sum(|gauge| &gauge.shed),
            in_flight: sum(|gauge| &gauge.in_flight),
            measured: now - Instant::from_nanos(from.unwrap_or(u64::MAX)),
            cores: gauges.iter().map(|gauge| gauge.snapshot()).collect(),
            response_time,
            status: status(&gauges),
            requests: sum(|gauge| &gauge.requests),
            errors: sum(|gauge| &gauge.errors),
            bytes: sum(|gauge| &gauge.bytes),
            connected: sum(|gauge| &gauge.connected),
            elapsed: now - self.started,
            phase,
        }
    }

    /// The phase of the core that is furthest behind.
    #[must_use]
    pub fn phase(&self) -> Phase {
        slowest(&lock(&self.gauges))
    }

    /// Makes the gauges of a run on so many cores.
    pub(super) fn gauges(&self, cores: usize) -> Vec<Arc<CoreGauge>> {
        let made: Vec<_> = (0..cores).map(|_| Arc::new(CoreGauge::default())).collect();
        lock(&self.gauges).clone_from(&made);
        made
    }
}

fn status(gauges: &[Arc<CoreGauge>]) -> StatusCounts {
    let sum =
        |place: usize| gauges.iter().map(|gauge| gauge.status[place].load(Ordering::Relaxed)).sum();
    let [success, redirect, client_error, server_error, other] = [0, 1, 2, 3, 4].map(sum);
    StatusCounts { success, redirect, client_error, server_error, other }
}

fn slowest(gauges: &[Arc<CoreGauge>]) -> Phase {
    let phases = gauges.iter().map(|gauge| gauge.phase.load(Ordering::Relaxed));
    let phase = phases.min().unwrap_or_default();
    Phase::ALL.get(usize::from(phase)).copied().unwrap_or(Phase::Done)
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Sample;
    use super::*;

    #[test]
    fn statuses_and_times_of_success_are_shown_now_and_then() {
        let control = Control::new();
        let mut recorder = Recorder::default();
        let at = Instant::from_nanos;
        let sample =
            Sample { name: 0, intended: at(0), sent: at(0), first_byte: at(9), done: at(9) };
        for status in [200, 204, 301, 404, 503, 503, 700] {
            recorder.record(status, &sample);
        }
        for gauge in control.gauges(2) {
            gauge.publish_slow(&recorder, Duration::ZERO);
        }
        let Snapshot { status, response_time, .. } = control.snapshot();
        assert_eq!((status.success, response_time.len(), status.server_error), (4, 4, 4));
        assert_eq!((status.successes(), status.refusals()), (6, 8));
    }

    #[test]
    fn a_snapshot_sums_the_cores_and_shows_the_slowest_phase() {
        let control = Control::new();
        assert_eq!(control.snapshot().phase, Phase::Starting);
        let gauges = control.gauges(2);
        gauges[0].requests.store(3, Ordering::Relaxed);
        gauges[1].requests.store(4, Ordering::Relaxed);
        gauges[0].set_phase(Phase::Done);
        gauges[1].set_phase(Phase::Measuring);
        let snapshot = control.snapshot();
        assert_eq!((snapshot.requests, snapshot.phase), (7, Phase::Measuring));
        control.stop();
        assert!(control.is_stopped());
    }
}
