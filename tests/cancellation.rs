//! A hundred thousand requests, cancelled at random moments in every phase: futures, bodies, batches, tasks and whole engines are dropped, on every driver and
//! host, from other threads and on the cores. Then every count is where it began. (The simulator's part of it is in `client_simulation`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(test)]
#[path = "cancellation/places.rs"]
mod places;
#[cfg(test)]
#[path = "cancellation/users.rs"]
mod users;

use std::sync::Arc;
use std::time::Duration;

use ringshot::client::{Client, Cores, Engine, Holding, Timeouts, blocking::block_on};
use ringshot::driver::{DriverChoice, DriverKind};
use ringshot::host::Host;
use ringshot_tests::load::{drivers, hosts};
use ringshot_tests::watch::{descriptors, threads, wait_until};

use places::Places;

/// Requests that a pool has seen begin and be cancelled, over all drivers and hosts.
const CANCELLED: u64 = 100_000;
/// Futures and tasks dropped for that: about half of them before their request has come to its pool.
const DROPPED: u64 = 280_000;
/// Longer than anything takes to come back: a full backlog keeps a connect for its timeout.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// Engines that are ended in the midst of their work, for each driver and host.
const ENGINES: u64 = 12;
/// Requests that must succeed after all that.
const PROOFS: usize = 400;

#[cfg(test)]
fn engine(host: Host, driver: DriverKind, cores: usize) -> Engine {
    let driver = match driver {
        DriverKind::IoUring => DriverChoice::IoUring,
        DriverKind::Epoll => DriverChoice::Epoll,
    };
    let builder = Engine::builder().cores(Cores::Count(cores)).driver(driver).host(host);
    builder.conns_per_core(256).build().unwrap()
}

/// Limits that are reached: requests wait for permits and for connections.
#[cfg(test)]
fn client(engine: &Engine) -> Client {
    let timeouts = Timeouts {
        connect: Some(Duration::from_millis(300)),
        resolve: Some(Duration::from_millis(300)),
        expect: Duration::from_millis(3),
        ..Timeouts::default()
    };
    let builder = engine.client().resolver(Places::resolver()).timeouts(timeouts);
    let builder = builder.max_in_flight(150).max_conns(100).max_conns_per_host(60);
    builder.idle_timeout(Duration::from_millis(50)).build().unwrap()
}

/// Whether nothing is held but what an engine holds by itself: a task of each core's own.
#[cfg(test)]
fn is_empty(engine: &Engine, client: &Client) -> bool {
    let stats = engine.stats();
    let empty = |holding: &Holding| *holding == Holding::default();
    stats.iter().all(|core| empty(&core.holding) && core.placed == 0 && core.tasks == 1)
        && client.limits_observed().conns_now == 0
}

/// Permits, buffers and connections are all to be had again: as many requests as there are permits, at once, again and again.
#[cfg(test)]
fn prove(client: &Client, places: &Places) {
    let urls = (0..PROOFS).map(|n| places.origin.url(&format!("/bytes/{}", n * 100)));
    let results = block_on(client.batch(urls.collect::<Vec<_>>()).collect());
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.as_ref().unwrap().bytes().len(), n * 100);
    }
}

#[cfg(test)]
fn cancel_on(host: Host, driver: DriverKind, places: &Arc<Places>, count: u64) -> u64 {
    let cores = ringshot::sys::affinity::cores().len().min(2);
    let engine = engine(host, driver, cores);
    let client = client(&engine);
    let seed = count ^ 0x5EED;
    std::thread::scope(|scope| {
        scope.spawn(|| users::drop_futures(&client, places, count / 4, seed));
        scope.spawn(|| users::drop_futures(&client, places, count / 4, seed + 1));
        scope.spawn(|| users::drop_batches(&client, places, count / 8, seed + 2));
        let half = (count - count / 4 * 2 - count / 8) / cores as u64 + 1;
        for core in 0..cores {
            let (engine, client) = (&engine, &client);
            let seed = seed + 3 + core as u64;
            scope.spawn(move || users::drop_tasks(engine, client, places, core, half, seed));
        }
    });
    let settled = wait_until(SETTLE_MAX, || is_empty(&engine, &client));
    let (stats, observed) = (engine.stats(), client.limits_observed());
    assert!(settled, "left on {host}, {driver}: {stats:#?} {observed:?}");
    let cancelled: u64 = stats.iter().map(|core| core.counters.cancelled).sum();
    println!("{host}, {driver}: {cancelled} exchanges cancelled, {observed:?}");
    assert!(observed.conns <= 100 && observed.conns_per_host <= 60, "{observed:?}");
    assert!(observed.in_flight.unwrap() <= 150, "{observed:?}");
    prove(&client, places);
    cancelled
}

/// What has to come back. glommio 0.9 itself keeps an eventfd for each executor that ever was: those are not counted on it.
#[cfg(test)]
fn files_of(host: Host, files: Vec<String>) -> Vec<String> {
    let counts = |file: &String| host == Host::Thread || !file.contains("[eventfd]");
    files.into_iter().filter(counts).collect()
}

#[test]
fn a_hundred_thousand_cancelled_requests_leave_nothing() {
    let places = Places::open();
    let (drivers, hosts) = (drivers(), hosts());
    let combinations = (drivers.len() * hosts.len()) as u64;
    // Helper threads that stay are started before the count.
    drop(engine(hosts[0], drivers[0], 1));
    let mut cancelled = 0;
    let (before, threads_before) = (descriptors(), threads());
    for host in hosts {
        for driver in drivers.iter().copied() {
            let mut count = DROPPED / combinations;
            for seed in 0..ENGINES {
                let engine = engine(host, driver, 1 + seed as usize % 2);
                let client = client(&engine);
                count = count.saturating_sub(users::end_engine(engine, client, &places, seed));
            }
            cancelled += cancel_on(host, driver, &places, count);
            // The thread of the engine above may be on the kernel's list still when it is counted.
            let back = || {
                files_of(host, descriptors()) == files_of(host, before.clone())
                    && threads() <= threads_before
            };
            let settled = wait_until(SETTLE_MAX, back);
            let (seen, files) = (places.origin.counters(), descriptors());
            assert!(settled, "on {host}, {driver}: {files:#?}, {} threads, {seen:?}", threads());
        }
    }
    let counters = || places.origin.counters();
    let gone = wait_until(SETTLE_MAX, || counters().open == 0 && counters().in_progress == 0);
    assert!(gone, "{:?}", counters());
    assert!(cancelled >= CANCELLED, "only {cancelled} were cancelled by a pool");
}
