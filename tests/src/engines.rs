//! An engine, a client and an origin, on each driver, with one core and with two; and that nothing is left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use ringshot::client::{Client, ClientBuilder, Cores, Engine};
use ringshot::driver::{DriverChoice, DriverKind};
use ringshot::origin::{Config, Origin};
use ringshot::sys::affinity;

use crate::load::{RUN_MAX, drivers, next_core};
use crate::watch::{announce, wait_until};

/// What a check is given.
#[derive(Debug)]
pub struct Bench {
    /// On the driver and the cores that are checked.
    pub engine: Engine,
    /// With the limits asked for.
    pub client: Client,
    /// On epoll, where it hears the end of a connection before it accepts the next: what it counts is the client's own count.
    pub origin: Arc<Origin>,
    /// Set by a check that stops the engine: then nothing is looked for in it.
    pub stopped: AtomicBool,
}

/// Runs `check` on each driver, with one core and with two, within a time; and finds nothing left behind.
pub fn on_each(check: fn(&Bench)) {
    on_each_with(|builder| builder, check);
}

/// [`on_each`] with a client of such limits.
pub fn on_each_with(limits: fn(ClientBuilder) -> ClientBuilder, check: fn(&Bench)) {
    for driver in drivers() {
        for cores in 1..=affinity::cores().len().min(2) {
            let (tell, told) = mpsc::channel();
            let run = thread::spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| run(driver, cores, limits, check)));
                let _ = tell.send(());
                outcome
            });
            let ended = told.recv_timeout(RUN_MAX);
            assert!(ended.is_ok(), "{driver} on {cores} cores takes too long");
            if let Err(payload) = run.join().unwrap() {
                announce(&format!("on {driver}, {cores} cores"));
                std::panic::resume_unwind(payload);
            }
        }
    }
}

fn run(
    driver: DriverKind,
    cores: usize,
    limits: fn(ClientBuilder) -> ClientBuilder,
    check: fn(&Bench),
) {
    let cores_of_origin = vec![next_core()];
    let config =
        Config { driver: DriverKind::Epoll, cores: cores_of_origin, ..Config::on_loopback() };
    let origin = Arc::new(Origin::start(&config).unwrap());
    let choice = match driver {
        DriverKind::IoUring => DriverChoice::IoUring,
        DriverKind::Epoll => DriverChoice::Epoll,
    };
    let engine = Engine::builder().cores(Cores::Count(cores)).driver(choice).build().unwrap();
    let client = limits(engine.client()).build().unwrap();
    let bench = Bench { engine, client, origin, stopped: AtomicBool::new(false) };
    check(&bench);
    if !bench.stopped.load(Ordering::SeqCst) {
        bench.check_quiet();
    }
}

impl Bench {
    /// The URL of a path of the origin.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.origin.url(path)
    }

    /// Nothing is in flight, here and there; one task a core, its own.
    fn check_quiet(&self) {
        let quiet = || {
            self.engine.stats().iter().all(|core| {
                let held = core.holding;
                let sums = [held.in_flight, held.queued, held.waiting, held.active, core.placed];
                sums.iter().sum::<u32>() + held.connecting == 0 && core.tasks == 1
            }) && self.origin.counters().in_progress == 0
        };
        assert!(
            wait_until(RUN_MAX / 4, quiet),
            "{:#?} {:?}",
            self.engine.stats(),
            self.origin.counters()
        );
    }
}
