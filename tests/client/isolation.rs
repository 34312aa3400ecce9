//! What user code does to its core: it computes, panics, loops, and holds what it was given. Others are told the truth, and the core ends when it is asked to.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_core::Stream;
use http::Method;
use ringshot::client::blocking::block_on;
use ringshot::client::{
    BoxError, CoreCtx, Cores, Engine, Kind, LocalClient, Phase, Request, RequestBody, Stall,
    Timeouts, Watch,
};
use ringshot::resolve::{Lookup, Resolve, Resolver};
use ringshot_tests::load::hosts;
use ringshot_tests::peer::{ENDLESS_MAX, Peer};
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, Way, check, drivers, get, millis, origin};

/// Engines of one core, on every driver and host.
pub(crate) fn engines() -> impl Iterator<Item = Engine> {
    let all = drivers()
        .into_iter()
        .flat_map(|driver| hosts().into_iter().map(move |host| (driver, host)));
    all.map(|(driver, host)| {
        Engine::builder().cores(Cores::Count(1)).driver(driver).host(host).build().unwrap()
    })
}

/// Starts `work` on the core of each engine, and ends the engine.
fn check_end(work: impl AsyncFnOnce(CoreCtx, LocalClient) + Clone + Send + 'static) {
    for engine in engines() {
        let (work, client) = (work.clone(), engine.client().build().unwrap());
        let begin = async move |ctx: CoreCtx| {
            let (inner, client) = (ctx.clone(), ctx.client(&client));
            ctx.spawn(async move { work(inner, client).await }).detach();
            ctx.sleep(millis(20)).await;
        };
        block_on(engine.run_on(0, begin)).unwrap();
        let ended = std::thread::spawn(move || engine.shutdown());
        assert!(wait_until(LONG, || ended.is_finished()), "it goes on");
        ended.join().unwrap().unwrap();
    }
}

#[test]
fn who_sleeps_for_ever_does_not_outlive_the_engine() {
    check_end(async |ctx, _| {
        loop {
            ctx.sleep(millis(5)).await;
        }
    });
}

#[test]
fn who_asks_for_ever_does_not_outlive_the_engine() {
    let origin = origin();
    let url = origin.url("/");
    check_end(async move |_, client| {
        loop {
            let _ = client.fetch(get(&url)).await;
        }
    });
}

#[test]
fn no_time_is_early_on_a_core_that_has_just_computed() {
    let (busy, time) = (millis(150), millis(200));
    for engine in engines() {
        let origin = origin();
        let client = engine.client().build().unwrap();
        let url = origin.url("/hang");
        let work = async move |ctx: CoreCtx| {
            ctx.sleep(millis(1)).await;
            let compute = || std::thread::sleep(busy);
            compute();
            let began = Instant::now();
            ctx.sleep(time).await;
            let slept = began.elapsed();
            compute();
            let began = Instant::now();
            let outcome = ctx.client(&client).fetch(get(&url).timeout(time)).await;
            (slept, outcome, began.elapsed())
        };
        let (slept, outcome, waited) = block_on(engine.run_on(0, work)).unwrap();
        assert!(slept >= time, "slept for {slept:?}");
        assert!(outcome.unwrap_err().is_timeout());
        assert!(waited >= time, "timed out after {waited:?}");
    }
}

#[test]
fn a_total_timeout_counts_from_where_the_request_was_submitted() {
    let origin = origin();
    for engine in engines() {
        let client = engine.client().build().unwrap();
        // The core computes while requests for it wait in its mailbox.
        let block = async |_: CoreCtx| std::thread::sleep(millis(300));
        let blocked = std::thread::spawn({
            let engine = engine.clone();
            move || block_on(engine.run_on(0, block)).unwrap()
        });
        std::thread::sleep(millis(50));
        let error = client.fetch(get(&origin.url("/")).timeout(millis(100)));
        let before = origin.counters().served;
        let error = block_on(error).unwrap_err();
        assert!(error.is_timeout() && error.phase() == Phase::Queue, "{error}");
        assert!(error.elapsed() >= millis(100), "{error}");
        assert_eq!(origin.counters().served, before, "it was sent all the same");
        blocked.join().unwrap();
    }
}

#[test]
fn a_server_that_never_runs_dry_keeps_nobody_waiting() {
    let (endless, origin) = (Peer::start(|mut peer| peer.send_for_ever()), origin());
    for engine in engines() {
        let client = engine.client().build().unwrap();
        let (url, other) = (endless.url(), origin.url("/"));
        let work = async move |ctx: CoreCtx| {
            let (client, began) = (ctx.client(&client), Instant::now());
            let flooded = client.clone();
            let flooded = ctx.spawn(async move {
                let response = flooded.send(get(&url).timeout(millis(500))).await?;
                response.into_body().discard().await
            });
            for _ in 0..20 {
                client.fetch(get(&other)).await.unwrap();
                ctx.sleep(millis(5)).await;
            }
            (flooded.await.unwrap().unwrap_err(), began.elapsed())
        };
        let (error, waited) = block_on(engine.run_on(0, work)).unwrap();
        assert!(error.is_timeout(), "{error}");
        assert!(waited < ENDLESS_MAX / 2, "{waited:?}");
    }
}

/// A body that can't be made.
struct Panics;

impl Stream for Panics {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        panic!("no piece today");
    }
}

#[test]
fn a_panic_in_user_code_is_told_as_one() {
    check(
        |client| client,
        |access| {
            if access.way == Way::Core {
                // There it is the caller's own task that panics.
                return;
            }
            let origin = origin();
            let request = Request::new(Method::POST, &*origin.url("/echo")).unwrap();
            let error = access.fetch(request.body(RequestBody::stream(Panics))).unwrap_err();
            let Kind::User(message) = error.kind() else { panic!("{error}") };
            assert_eq!(message, "no piece today");
            assert!(error.url().is_some_and(|url| url.ends_with("/echo")), "{error}");
            assert!(error.method().is_some() && error.may_have_been_processed(), "{error}");
            assert_eq!(access.fetch(get(&origin.url("/"))).unwrap().status(), 200);
        },
    );
}

#[test]
fn a_permit_is_held_until_the_body_was_read_or_dropped() {
    let origin = origin();
    for driver in drivers() {
        let engine = Engine::builder().cores(Cores::Count(1)).driver(driver).build().unwrap();
        let client = engine.client().max_in_flight(1).build().unwrap();
        let ask = || block_on(client.send(get(&origin.url("/bytes/5")).timeout(millis(300))));
        let check_held = || assert!(ask().unwrap_err().is_timeout(), "the permit is not held");
        let response = ask().unwrap();
        check_held();
        drop(response);
        let response = ask().unwrap();
        check_held();
        assert_eq!(block_on(response.bytes()).unwrap().len(), 5);
        let mut response = ask().unwrap();
        assert!(block_on(response.chunk()).unwrap().is_some());
        check_held();
        assert!(block_on(response.chunk()).unwrap().is_none());
        assert_eq!(ask().unwrap().status(), 200);
        let stats = || engine.stats()[0].holding;
        assert!(wait_until(LONG, || stats().in_flight == 0), "{:?}", stats());
    }
}

/// Panics whenever it is asked.
struct PanickingResolver;

impl Resolve for PanickingResolver {
    fn lookup(&self, _: &str) -> Lookup {
        Box::pin(async { panic!("no names today") })
    }
}

#[test]
fn a_resolver_that_panics_is_told_of_at_once() {
    let timeouts = Timeouts { resolve: None, acquire: None, total: None, ..Timeouts::default() };
    check(
        |client| {
            let resolver = Resolver::builder().resolve_with(PanickingResolver).build().unwrap();
            client.resolver(resolver).timeouts(timeouts)
        },
        |access| {
            for _ in 0..2 {
                let error = access.fetch(get("http://name.test/")).unwrap_err();
                assert!(matches!(error.kind(), Kind::Resolve { .. }), "{error}");
                assert!(error.to_string().contains("panicked"), "{error}");
            }
        },
    );
}

#[test]
fn who_is_told_of_stalls_may_panic() {
    let engine = Engine::builder()
        .cores(Cores::Count(1))
        .on_stall(|_, _| panic!("it is only a stall"))
        .build()
        .unwrap();
    let client = engine.client().build().unwrap();
    block_on(engine.run_on(0, async |_| std::thread::sleep(millis(200)))).unwrap();
    let origin = origin();
    assert_eq!(block_on(client.fetch(get(&origin.url("/")))).unwrap().status(), 200);
    assert!(engine.stats()[0].stalls > 0);
}

#[test]
fn work_that_waits_for_uploads_of_files_does_not_wait_for_itself() {
    let origin = origin();
    let engine = Engine::builder().cores(Cores::Count(1)).build().unwrap();
    let client = engine.client().build().unwrap();
    let path = std::env::temp_dir().join(format!("ringshot-upload-{}", std::process::id()));
    std::fs::write(&path, "from a file").unwrap();
    // More at once than there are threads for such work.
    let uploads: Vec<_> = (0..2 * ringshot::cpu::OFFLOAD_THREADS_MAX)
        .map(|_| {
            let (client, url, path) = (client.clone(), origin.url("/echo"), path.clone());
            let upload = move || {
                let body = RequestBody::file(std::fs::File::open(path).unwrap());
                let request = Request::new(Method::POST, url).unwrap().body(body);
                block_on(client.fetch(request)).unwrap().bytes().len()
            };
            std::thread::spawn(|| block_on(ringshot::cpu::offload(upload)))
        })
        .collect();
    assert!(wait_until(LONG, || uploads.iter().all(|upload| upload.is_finished())));
    uploads.into_iter().for_each(|upload| assert_eq!(upload.join().unwrap(), 11));
    std::fs::remove_file(path).unwrap();
}

/// What it is given is of the turn that it is told of: a shorter stall is not called by a longer one's name.
#[test]
fn each_stall_is_told_by_its_own_name() {
    let told = Arc::<Mutex<Vec<Stall>>>::default();
    let all = Arc::clone(&told);
    let engine = Engine::builder()
        .cores(Cores::Count(1))
        .watch(Watch { slow_after: millis(20) })
        .on_stall(move |_, stall| all.lock().unwrap().push(stall))
        .build()
        .unwrap();
    let work = async |ctx: CoreCtx| {
        for (name, length) in [("long", 90), ("short", 50)] {
            let blocks = async move { std::thread::sleep(millis(length)) };
            ctx.spawn_named(name, blocks).await.unwrap();
        }
    };
    block_on(engine.run_on(0, work)).unwrap();
    engine.shutdown().unwrap();
    let named = |name| told.lock().unwrap().iter().filter(|stall| stall.name == name).count();
    assert_eq!((named("long"), named("short")), (1, 1), "{told:?}");
    assert_eq!(engine.stats()[0].longest_stall.map(|stall| stall.name), Some("long"));
}

/// The call itself brings the work to its core: whoever wants no result need not wait for one.
#[test]
fn what_is_run_on_a_core_runs_though_nobody_awaits_it() {
    for engine in engines() {
        let (tell, told) = std::sync::mpsc::channel();
        drop(engine.run_on(0, async move |ctx: CoreCtx| {
            ctx.sleep(millis(5)).await;
            tell.send(ctx.core()).unwrap();
        }));
        assert!(told.recv_timeout(LONG).is_ok());
        engine.shutdown().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        drop(engine.run_on(0, async move |_| tell.send(()).unwrap()));
        assert!(told.recv_timeout(LONG).is_err(), "it ran on an engine that was shut down");
    }
}

#[test]
fn a_core_that_does_not_exist_is_named() {
    let engine = Engine::builder().cores(Cores::Count(1)).build().unwrap();
    let error = block_on(engine.run_on(99, async |_| ())).unwrap_err();
    assert!(matches!(error.kind(), Kind::Config(_)), "{error}");
    assert!(error.to_string().contains("no core 99: the engine has 1"), "{error}");
}

#[test]
fn a_body_in_hand_keeps_its_engine() {
    let origin = origin();
    for engine in engines() {
        let client = engine.client().build().unwrap();
        let response = block_on(client.send(get(&origin.url("/stream/1000/100/20")))).unwrap();
        drop((engine, client));
        assert_eq!(block_on(response.bytes()).unwrap().len(), 1000);
    }
}

/// A core has no part in the limits of another engine's client: it says so to who asks, and goes on.
#[test]
fn a_client_of_another_engine_is_refused() {
    let origin = origin();
    for engine in engines() {
        let other = Engine::builder().cores(Cores::Count(1)).build().unwrap();
        let (own, foreign) = (engine.client().build().unwrap(), other.client().build().unwrap());
        let url = origin.url("/");
        let status = async move |ctx: CoreCtx, client| {
            ctx.client(&client).fetch(get(&url)).await.map(|response| response.status())
        };
        let refused = status.clone();
        let error = block_on(engine.run_on(0, async move |ctx| refused(ctx, foreign).await));
        let error = error.unwrap_err();
        let Kind::User(message) = error.kind() else { panic!("{error}") };
        assert!(message.contains("another engine's"), "{message}");
        let served = block_on(engine.run_on(0, async move |ctx| status(ctx, own).await)).unwrap();
        assert_eq!(served.unwrap(), 200);
    }
}

/// A stream that is ready for ever with nothing keeps neither other requests nor its own timeout waiting.
#[test]
fn pieces_of_nothing_keep_nobody_waiting() {
    struct Nothing;
    impl Stream for Nothing {
        type Item = Result<Bytes, BoxError>;

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(Some(Ok(Bytes::new())))
        }
    }
    for engine in engines() {
        let (origin, client) = (origin(), engine.client().build().unwrap());
        let upload = Request::new(Method::POST, origin.url("/echo")).unwrap();
        let upload = upload.body(RequestBody::stream(Nothing)).timeout(millis(300));
        block_on(async {
            let mut sent = Box::pin(client.fetch(upload));
            let begun = std::future::poll_fn(|cx| Poll::Ready(sent.as_mut().poll(cx))).await;
            assert!(begun.is_pending());
            assert_eq!(client.fetch(get(&origin.url("/"))).await.unwrap().status(), 200);
            assert!(sent.await.unwrap_err().is_timeout());
        });
    }
}
