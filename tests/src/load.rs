//! Runs of `ringshot::load` with defaults for a test: small, on loopback, and never longer than a bound.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use http::Method;
use ringshot::driver::uring::{Config, Uring};
use ringshot::driver::{Driver, DriverChoice, DriverKind};
use ringshot::host::Host;
use ringshot::load::{Control, KeepAlive, Plan, Report, Request, Stop, Template, Timeouts, run};
use ringshot::proto::url::Url;
use ringshot::sys::affinity;

use crate::watch::announce;

/// How long any run may take before the test fails: far beyond what one needs, even on a busy machine.
pub const RUN_MAX: Duration = Duration::from_secs(40);

/// The drivers that work here. Says so once, past the harness, where `io_uring` does not.
#[must_use]
pub fn drivers() -> Vec<DriverKind> {
    static FOUND: LazyLock<Vec<DriverKind>> =
        LazyLock::new(|| match Uring::open(Config::for_slots(1)) {
            Ok(driver) => {
                assert_eq!(driver.name(), "io_uring");
                vec![DriverKind::IoUring, DriverKind::Epoll]
            }
            Err(error) => {
                announce(&format!("SKIPPED on io_uring, which does not work here: {error}"));
                vec![DriverKind::Epoll]
            }
        });
    FOUND.clone()
}

/// [`drivers`], as an engine is told of them.
#[must_use]
pub fn choices() -> Vec<DriverChoice> {
    let choice = |driver| match driver {
        DriverKind::IoUring => DriverChoice::IoUring,
        DriverKind::Epoll => DriverChoice::Epoll,
    };
    drivers().into_iter().map(choice).collect()
}

/// The hosts that can start here: glommio needs `io_uring`, whatever the driver. Where that works, glommio has to.
#[must_use]
pub fn hosts() -> Vec<Host> {
    static FOUND: LazyLock<Vec<Host>> = LazyLock::new(|| {
        if drivers().contains(&DriverKind::IoUring) {
            return vec![Host::Thread, Host::Glommio];
        }
        announce("SKIPPED on glommio, which needs io_uring");
        vec![Host::Thread]
    });
    FOUND.clone()
}

/// The cores in turn, so that tests that run at the same time don't share one.
#[must_use]
pub fn next_core() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let cores = affinity::cores();
    cores[NEXT.fetch_add(1, Ordering::Relaxed) % cores.len()]
}

/// A request, before it is encoded: a `GET` without a body unless told.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// Fields besides `Host` and what the body needs.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it says `Connection: close`.
    pub keep_alive: KeepAlive,
}

impl Default for Asked {
    fn default() -> Self {
        let keep_alive = KeepAlive::On;
        Self { method: Method::GET, headers: Vec::new(), body: Vec::new(), keep_alive }
    }
}

impl Asked {
    /// A request with another method.
    #[must_use]
    pub fn method(method: Method) -> Self {
        Self { method, ..Self::default() }
    }

    /// A `POST` of `body`.
    #[must_use]
    pub fn post(body: Vec<u8>) -> Self {
        Self { method: Method::POST, body, ..Self::default() }
    }

    /// The same with one more field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Encodes it for `url`.
    #[must_use]
    pub fn encode(&self, url: &Url) -> Template {
        let request = Request {
            method: &self.method,
            url,
            headers: &self.headers,
            body: &self.body,
            keep_alive: self.keep_alive,
        };
        Template::encode(&request).expect("a request that can be encoded")
    }
}

/// A plan of exactly 64 requests on 4 connections of one core.
#[must_use]
pub fn plan(url: &str, driver: DriverKind, asked: &Asked) -> Plan {
    let url = Url::parse(url).expect("a URL");
    let host = url.host.parse().expect("tests connect to addresses, not to names");
    let peers = vec![std::net::SocketAddr::new(host, url.port)];
    Plan {
        connections: 4,
        driver,
        keep_alive: asked.keep_alive,
        stop: Stop::requests(64),
        drain: Duration::from_secs(5),
        timeouts: Timeouts { connect: Duration::from_secs(10), response: Duration::from_secs(20) },
        ..Plan::closed(asked.encode(&url), peers, vec![next_core()])
    }
}

/// Runs `plan` and checks that the report adds up. Fails the test if the run does not end within [`RUN_MAX`].
///
/// # Panics
/// When the run fails, hangs, or its figures contradict each other.
#[must_use]
pub fn run_whole(plan: &Plan) -> Report {
    run_controlled(plan, &Arc::new(Control::new()))
}

/// The same with a handle of the caller's.
///
/// # Panics
/// As [`run_whole`].
#[must_use]
pub fn run_controlled(plan: &Plan, control: &Arc<Control>) -> Report {
    let (sender, receiver) = mpsc::channel();
    let (task, handle) = (plan.clone(), Arc::clone(control));
    let thread = std::thread::spawn(move || {
        let _ = sender.send(run(&task, &handle));
    });
    let Ok(outcome) = receiver.recv_timeout(RUN_MAX) else {
        let snapshot = control.snapshot();
        control.stop();
        // A run that hangs in its loop ends by this, and the next test finds the machine free.
        let _ = receiver.recv_timeout(Duration::from_secs(5));
        panic!("the run on {} hangs: {snapshot:?}", plan.driver);
    };
    thread.join().expect("the run's thread");
    let report = outcome.expect("a run");
    check_sums(plan, &report);
    report
}

/// What holds for every report: each request has one outcome, and a budget is spent exactly.
fn check_sums(plan: &Plan, report: &Report) {
    let all: u64 = report.outcomes.values().sum();
    assert_eq!(all, report.requests + report.errors + report.cancelled, "{report:#?}");
    let classes = report.classes.iter().filter(|(class, _)| *class != "error");
    let samples: u64 = classes.map(|(_, times)| times.samples).sum();
    assert_eq!(samples, report.requests, "{report:#?}");
    let (success, censored) = (report.status.success, report.censored);
    assert_eq!(report.latency_us.samples, success + censored, "{report:#?}");
    assert_eq!(report.offered, all + report.shed, "{report:#?}");
    let cores: u64 = report.cores.iter().map(|core| core.requests).sum();
    assert_eq!(cores, report.requests, "{report:#?}");
    let counted = plan.stop.requests.filter(|_| plan.stop.after.is_none());
    if let (Some(count), false) = (counted, report.interrupted) {
        assert_eq!(all + report.shed, count, "exactly the requests asked for: {report:#?}");
    }
}

/// Runs `plan` and checks that its outcomes are these, and no others.
///
/// # Panics
/// When they differ, or as [`run_whole`].
#[track_caller]
pub fn check_outcomes(plan: &Plan, expected: &[(&str, u64)]) -> Report {
    let report = run_whole(plan);
    let told: Vec<_> =
        report.outcomes.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(told, expected, "on {}: {:?}", plan.driver, report.error_examples);
    report
}
