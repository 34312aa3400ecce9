//! The end of an engine: whatever is in flight ends with it, and nothing hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Instant;

use ringshot::client::blocking::block_on;
use ringshot::client::{Cores, Engine, Error, Kind};
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, Started, check, check_on, drivers, get, millis, origin};

#[track_caller]
fn assert_shutdown(outcome: Result<impl std::fmt::Debug, Error>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error.kind(), Kind::Shutdown), "{error}");
    assert!(!error.is_retryable(), "{error}");
}

/// In every phase: queued, waiting, connecting, sent, in the body.
#[test]
fn a_shutdown_ends_what_is_in_flight() {
    check(
        |builder| builder.max_in_flight(6).max_conns_per_host(2),
        |access| {
            let (origin, hole) = (origin(), crate::names::full_listener());
            let mut started: Vec<_> =
                (0..4).map(|_| access.start(get(&origin.url("/hang")))).collect();
            started.push(access.start(get(&format!("http://{}/", hole.address))));
            started.push(access.start(get(&format!("http://{}/", hole.address))));
            access.wait_for(6, |core| core.holding.in_flight.into());
            started.extend((0..3).map(|_| access.start(get(&origin.url("/")))));
            access.wait_for(3, |core| core.holding.queued.into());
            let begun = Instant::now();
            access.engine.shutdown().unwrap();
            started.into_iter().map(Started::outcome).for_each(|outcome| assert_shutdown(outcome));
            assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
            assert!(wait_until(LONG, || origin.counters().open == 0));
            // And what comes later fails at once.
            let begun = Instant::now();
            assert_shutdown(access.get(&origin.url("/")));
            assert_shutdown(block_on(access.engine.run_on(0, async |_| ())));
            assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
            access.engine.shutdown().unwrap();
        },
    );
}

#[test]
fn a_shutdown_ends_a_body() {
    check(
        |builder| builder,
        |access| {
            let origin = origin();
            let (url, engine) = (origin.url("/stream/1000000/10/20"), access.engine.clone());
            std::thread::spawn(move || {
                std::thread::sleep(millis(100));
                engine.shutdown().unwrap();
            });
            let outcome = match access.way {
                crate::access::Way::Thread => block_on(async {
                    let mut response = access.client.send(get(&url)).await?;
                    while response.chunk().await?.is_some() {}
                    Ok(())
                }),
                crate::access::Way::Core => {
                    let client = access.client.clone();
                    block_on(access.engine.run_on(0, async move |ctx| {
                        let mut response = ctx.client(&client).send(get(&url)).await?;
                        while response.chunk().await?.is_some() {}
                        Ok(())
                    }))
                    .and_then(|outcome| outcome)
                }
            };
            assert_shutdown(outcome);
        },
    );
}

/// Requests that come while the engine goes either succeed or fail with it; none is left hanging.
#[test]
fn nothing_hangs_in_a_shutdown() {
    for round in 0..6 {
        check_on(
            2,
            |builder| builder,
            |access| {
                let origin = origin();
                let stop = Arc::<AtomicU64>::default();
                let ask = |_| {
                    let (access, url, stop) =
                        (access.clone(), origin.url("/delay/1"), Arc::clone(&stop));
                    std::thread::spawn(move || {
                        while stop.load(Ordering::SeqCst) == 0 {
                            match access.get(&url) {
                                Ok(response) => assert_eq!(response.status(), 200),
                                Err(error) => {
                                    assert!(matches!(error.kind(), Kind::Shutdown), "{error}");
                                }
                            }
                        }
                    })
                };
                let threads: Vec<_> = (0..6).map(ask).collect();
                std::thread::sleep(millis(15 + 3 * round));
                access.engine.shutdown().unwrap();
                stop.store(1, Ordering::SeqCst);
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            },
        );
    }
}

/// Whoever shuts an engine down, as the second one too, finds its cores ended.
#[test]
fn a_shutdown_is_waited_for_by_all_who_ask_for_it() {
    for driver in drivers() {
        let engine = Engine::builder().cores(Cores::Count(1)).driver(driver).build().unwrap();
        let (begun, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (beginning, ending) = (Arc::clone(&begun), Arc::clone(&over));
        let busy = engine.run_on(0, async move |_| {
            beginning.store(1, Ordering::SeqCst);
            std::thread::sleep(millis(200));
            ending.store(1, Ordering::SeqCst);
        });
        std::thread::scope(|scope| {
            scope.spawn(|| block_on(busy));
            assert!(wait_until(LONG, || begun.load(Ordering::SeqCst) == 1));
            for _ in 0..3 {
                scope.spawn(|| {
                    engine.shutdown().unwrap();
                    assert_eq!(over.load(Ordering::SeqCst), 1, "{driver:?}");
                });
            }
        });
    }
}

/// The last handle of an engine, dropped by a task on one of its own cores: the core can't wait for itself.
#[test]
fn an_engine_may_be_dropped_on_its_own_core() {
    for driver in drivers() {
        for cores in [1, 2] {
            let cores = Cores::Count(cores.min(ringshot::sys::affinity::cores().len()));
            let engine = Engine::builder().cores(cores).driver(driver).build().unwrap();
            let origin = origin();
            let client = engine.client().build().unwrap();
            let (tell, told) = std::sync::mpsc::channel();
            let (url, own) = (origin.url("/"), engine.clone());
            let work = async move |ctx: ringshot::client::CoreCtx| {
                assert_eq!(ctx.client(&client).send(get(&url)).await.unwrap().status(), 200);
                // The test's own handles are gone by then.
                ctx.sleep(millis(100)).await;
                drop((client, own));
                tell.send(()).unwrap();
            };
            let mut running = Box::pin(engine.run_on(0, work));
            let mut context = Context::from_waker(Waker::noop());
            assert!(running.as_mut().poll(&mut context).is_pending());
            drop((running, engine));
            assert!(told.recv_timeout(LONG).is_ok(), "{driver:?}");
            assert!(wait_until(LONG, || origin.counters().open == 0), "{driver:?}");
        }
    }
}
