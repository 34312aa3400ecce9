//! How batches end before their time, and that each input is told once.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use ringshot::client::blocking::block_on;
use ringshot::client::{
    BoxError, Client, ClientBuilder, Cores, Done, Engine, Error, Kind, Phase, Request, RequestBody,
    Sent, Solo, TimeoutKind,
};
use ringshot::driver::{DriverChoice, DriverKind, Epoll, Limits};
use ringshot::origin::{Config, Origin};
use ringshot::queue;
use ringshot_tests::engines::{Bench, on_each, on_each_with};
use ringshot_tests::load::RUN_MAX;
use ringshot_tests::watch::wait_until;

use crate::{count, counted, is_ok, rest};

#[test]
fn leaving_early_cancels_what_is_in_flight() {
    on_each(|bench| {
        let first = [bench.url("/"), bench.url("/")].into_iter();
        let hang = bench.url("/hang");
        let (pulled, urls) = counted(first.chain(std::iter::repeat_with(move || hang.clone())));
        let mut completed = bench.client.batch(urls).window(count(50)).completed();
        for _ in 0..2 {
            assert!(is_ok(&block_on(completed.next()).unwrap().result));
        }
        let all = || bench.origin.counters().in_progress == 50;
        assert!(wait_until(RUN_MAX / 4, all), "{:?}", bench.origin.counters());
        let began = Instant::now();
        drop(completed);
        // Those that hang lose their connections; idle ones are kept.
        let gone = || bench.origin.counters().in_progress == 0;
        assert!(wait_until(Duration::from_secs(5), gone), "{:?}", bench.origin.counters());
        println!("closed after {:?}", began.elapsed());
        assert!(bench.origin.counters().open <= 2);
        assert_eq!(pulled.load(Ordering::SeqCst), 52);
    });
}

#[test]
fn the_first_error_cancels_its_siblings() {
    on_each(|bench| {
        let (hang, abort) = (bench.url("/hang"), bench.url("/abort?delay=100"));
        let urls = (0..).map(move |n| if n == 5 { abort.clone() } else { hang.clone() });
        let (pulled, urls) = counted(urls);
        let results = block_on(bench.client.batch(urls).window(count(40)).fail_fast().collect());
        assert_eq!((results.len(), pulled.load(Ordering::SeqCst)), (40, 40));
        for (n, result) in results.iter().enumerate() {
            let error = result.as_ref().unwrap_err();
            let kind = if n == 5 { "closed" } else { "canceled" };
            assert_eq!(error.kind().name(), kind, "{error}");
            let path = if n == 5 { "/abort?..." } else { "/hang" };
            assert_eq!(error.url(), Some(&*bench.url(path)));
        }
        // A status is no error.
        let urls = vec![bench.url("/status/503"); 10];
        let results = block_on(bench.client.batch(urls).fail_fast().collect());
        assert!(results.iter().all(|result| result.as_ref().unwrap().status() == 503));
    });
}

#[test]
fn a_deadline_ends_what_is_in_flight_and_the_pulling() {
    on_each(|bench| {
        let hang = bench.url("/hang");
        let (pulled, urls) = counted(std::iter::repeat(hang));
        let batch = bench.client.batch(urls).window(count(30));
        let began = Instant::now();
        let results = block_on(batch.deadline(Duration::from_millis(200)).collect());
        assert!(began.elapsed() >= Duration::from_millis(199), "{:?}", began.elapsed());
        assert_eq!((results.len(), pulled.load(Ordering::SeqCst)), (30, 30));
        for result in results {
            let error = result.unwrap_err();
            assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Deadline)), "{error}");
            assert_eq!(error.url(), Some(&*bench.url("/hang")));
        }
        // A stream that never gives anything.
        let (_sender, receiver) = queue::bounded::<String>(NonZeroUsize::MIN);
        let batch = bench.client.batch(receiver).deadline(Duration::from_millis(50));
        assert!(rest(batch.completed()).is_empty());
    });
}

#[test]
fn draining_finishes_what_is_in_flight_or_cancels_it() {
    on_each(|bench| {
        let (pulled, urls) = counted(std::iter::repeat(bench.url("/delay/500")));
        let completed = bench.client.batch(urls).window(count(10)).completed();
        assert!(wait_until(RUN_MAX / 4, || bench.origin.counters().in_progress == 10));
        let summary = block_on(completed.drain(RUN_MAX));
        assert_eq!((summary.ok, summary.failed()), (10, 0), "{summary}");
        assert_eq!(pulled.load(Ordering::SeqCst), 10);
        let hang = std::iter::repeat_n(bench.url("/hang"), 10);
        let completed = bench.client.batch(hang).window(count(4)).completed();
        assert!(wait_until(RUN_MAX / 4, || bench.origin.counters().in_progress == 4));
        let summary = block_on(completed.drain(Duration::from_millis(50)));
        assert_eq!((summary.ok, summary.errors["canceled"]), (0, 4), "{summary}");
    });
}

#[test]
fn inputs_that_panic_end_the_batch_and_go_on_in_who_reads_it() {
    on_each(|bench| {
        let url = bench.url("/");
        let urls = move || {
            let url = url.clone();
            (0..100).map(move |n| if n < 20 { url.clone() } else { panic!("at {n}") })
        };
        let message = |thrown: Box<dyn std::any::Any + Send>| {
            assert_eq!(thrown.downcast_ref::<String>().map(String::as_str), Some("at 20"));
        };
        let mut completed = bench.client.batch(urls()).window(count(5)).completed();
        for _ in 0..20 {
            assert!(is_ok(&block_on(completed.next()).unwrap().result));
        }
        let next = || block_on(completed.next());
        message(catch_unwind(AssertUnwindSafe(next)).unwrap_err());
        assert!(block_on(completed.next()).is_none(), "once");
        let batch = bench.client.batch(urls());
        let collect = || block_on(batch.collect());
        message(catch_unwind(AssertUnwindSafe(collect)).unwrap_err());
        let batch = bench.client.batch(urls());
        let fold = || block_on(batch.fold_per_core(|| panic!("at 20"), |(), _| {}, |(), ()| ()));
        assert!(catch_unwind(AssertUnwindSafe(fold)).is_err());
    });
}

#[test]
fn the_end_of_the_engine_is_the_end_of_its_batches() {
    on_each(|bench| {
        let (pulled, url) = (Arc::new(AtomicUsize::new(0)), bench.url("/hang"));
        let seen = Arc::clone(&pulled);
        let hang = std::iter::repeat(url).inspect(move |_| _ = seen.fetch_add(1, Ordering::SeqCst));
        let completed = bench.client.batch(hang).window(count(300)).completed();
        let (_sender, receiver) = queue::bounded::<String>(NonZeroUsize::MIN);
        let waits = bench.client.batch(receiver).completed();
        assert!(wait_until(RUN_MAX / 4, || bench.origin.counters().in_progress >= 100));
        let hang = std::iter::repeat(bench.url("/hang"));
        let batch = bench.client.batch(hang);
        let collects = thread::spawn(move || block_on(batch.collect()));
        assert!(wait_until(RUN_MAX / 4, || bench
            .engine
            .stats()
            .iter()
            .any(|core| core.placed > 300 || core.placed_total >= 200)));
        bench.engine.shutdown().unwrap();
        let all = rest(completed);
        // The last one that was pulled stands for all that were not.
        assert_eq!(all.len(), pulled.load(Ordering::SeqCst));
        assert!((100..=301).contains(&all.len()), "{} results", all.len());
        for done in all {
            let error = done.result.unwrap_err();
            assert_eq!(error.kind().name(), "shutdown", "{error}");
            assert_eq!(error.url(), Some(&*bench.url("/hang")));
        }
        assert!(rest(waits).is_empty());
        let collected = collects.join().unwrap();
        assert!(collected.iter().all(|result| !is_ok(result)));
        let late = bench.client.batch(vec![bench.url("/"); 3]);
        assert_eq!(shutdowns(rest(late.completed()).into_iter().map(|done| done.result)), 3);
        let late = bench.client.batch(vec![bench.url("/"); 3]);
        let summary = block_on(late.for_each(|_, _| {}));
        assert_eq!((summary.ok, summary.errors["shutdown"], summary.cut_short), (0, 3, false));
        bench.stopped.store(true, Ordering::SeqCst);
    });
}

/// How many results are the engine's end; none is anything else.
fn shutdowns<R: std::fmt::Debug>(results: impl Iterator<Item = Result<R, Error>>) -> usize {
    let name = |result: Result<R, Error>| result.unwrap_err().kind().name();
    results.map(name).inspect(|name| assert_eq!(*name, "shutdown")).count()
}

/// As many results as inputs where their end is in sight, and one more than were pulled where it is not.
#[test]
fn every_input_ends_though_its_engine_did() {
    on_each(|bench| {
        bench.engine.shutdown().unwrap();
        let url = bench.url("/");
        let urls = |count: usize| vec![url.clone(); count];
        let batch = |count| bench.client.batch(urls(count));
        for inputs in [0, 3, 1000] {
            assert_eq!(shutdowns(block_on(batch(inputs).collect()).into_iter()), inputs);
            let window = batch(inputs).window(count(1)).collect();
            assert_eq!(shutdowns(block_on(window).into_iter()), inputs);
            let barrier = batch(inputs).barrier(count(7)).completed();
            assert_eq!(shutdowns(rest(barrier).into_iter().map(|done| done.result)), inputs);
            let mut ordered = batch(inputs).ordered(count(2));
            for index in 0..inputs {
                assert_eq!(block_on(ordered.next()).unwrap().index, index as u64);
            }
            assert!(block_on(ordered.next()).is_none());
            let add = |sum: &mut usize, _: Done| *sum += 1;
            assert_eq!(
                block_on(batch(inputs).fold_per_core(|| 0, add, |one, two| one + two)),
                inputs
            );
        }
        let endless = || bench.client.batch(std::iter::repeat(url.clone()));
        assert_eq!(shutdowns(block_on(endless().collect()).into_iter()), 1);
        let summary = block_on(endless().for_each(|_, _| {}));
        assert_eq!((summary.errors["shutdown"], summary.cut_short), (1, true));
        let panics = bench.client.batch((0..9).map(|_| -> String { panic!("of its own") }));
        let collect = || block_on(panics.collect());
        assert!(catch_unwind(AssertUnwindSafe(collect)).is_err());
        bench.stopped.store(true, Ordering::SeqCst);
    });
}

/// A body that can't be dropped without a panic.
struct Fragile;

impl Stream for Fragile {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("on purpose: a body is dropped");
    }
}

#[test]
fn bodies_that_panic_when_they_are_dropped_keep_no_batch_from_its_end() {
    on_each(|bench| {
        let hang = bench.url("/hang");
        let fragile = move |n: usize| {
            let url = if n == 0 { "no URL" } else { &*hang };
            let request = Request::new(http::Method::POST, url)?;
            Ok(request.body(RequestBody::stream(Fragile)))
        };
        // The first input's error ends it when hardly any of the others was begun.
        let results =
            block_on(bench.client.batch((0..8).map(fragile.clone())).fail_fast().collect());
        assert!((1..=8).contains(&results.len()), "{results:?}");
        assert!(results.iter().all(|result| !is_ok(result)), "{results:?}");
        bench.engine.shutdown().unwrap();
        let late = bench.client.batch((1..4).map(fragile).collect::<Vec<_>>());
        assert_eq!(shutdowns(block_on(late.collect()).into_iter()), 3);
        bench.stopped.store(true, Ordering::SeqCst);
    });
}

/// What is shut down midway tells of every input.
#[test]
fn inputs_that_were_not_pulled_are_told_too() {
    on_each(|bench| {
        let url = bench.url("/delay/2");
        for round in 0..10 {
            let all = cut_short(bench, round * 1500, |client| {
                block_on(client.batch(vec![url.clone(); 300]).window(count(8)).collect())
            });
            assert_eq!(all.len(), 300);
        }
    });
}

#[test]
fn batches_dropped_at_any_moment_leave_nothing() {
    on_each(|bench| {
        let paths = ["/", "/delay/3", "/bytes/70000", "/stream/3000/1000/1", "/hang", "/abort"];
        let urls: Vec<_> = paths.iter().map(|path| bench.url(path)).collect();
        for round in 0..150_u64 {
            let urls = urls.clone().into_iter().cycle().map(move |url| (Arc::new(round), url));
            let batch = bench.client.batch(urls).window(count(1 + round as usize % 40));
            match round % 3 {
                0 => {
                    let mut completed = batch.completed();
                    for _ in 0..round % 7 {
                        block_on(completed.next());
                    }
                    thread::sleep(Duration::from_micros(round * 37 % 5000));
                }
                1 => {
                    let mut collect = Box::pin(batch.collect());
                    let waker = std::task::Waker::noop();
                    let mut cx = Context::from_waker(waker);
                    assert!(collect.as_mut().poll(&mut cx).is_pending());
                    thread::sleep(Duration::from_micros(round * 53 % 5000));
                }
                _ => drop(batch.ordered(count(3))),
            }
        }
    });
}

/// The error of what was cancelled says how far it had come.
#[test]
fn what_was_cancelled_tells_how_far_it_had_come() {
    let limits = |builder: ClientBuilder| builder.max_conns_per_host(2);
    on_each_with(limits, |bench| {
        let errors = |paths: &[&str]| -> Vec<_> {
            let urls: Vec<_> = paths.iter().map(|path| bench.url(path)).collect();
            let batch = bench.client.batch(urls).deadline(Duration::from_millis(500));
            block_on(batch.collect()).into_iter().map(|result| result.unwrap_err()).collect()
        };
        let two = errors(&["/hang", "/stream/2000000/1000/50"]);
        let told = two.iter().map(|error| (error.phase(), error.sent()));
        assert!(told.eq([(Phase::Head, Sent::All), (Phase::Body, Sent::All)]), "{two:?}");
        assert_eq!(two[0].peer(), Some(bench.origin.address()));
        assert!(two[0].may_have_been_processed() && two[1].got_bytes() > 0);
        // Two have the connections, whichever came first, and the third waits for one.
        let three = errors(&["/hang", "/hang", "/hang"]);
        let waits = |error: &&Error| error.phase() == Phase::Acquire;
        let waiting: Vec<_> = three.iter().filter(waits).collect();
        assert_eq!(waiting.len(), 1, "{three:?}");
        assert!(waiting[0].sent() == Sent::None && !waiting[0].may_have_been_processed());
    });
}

/// An engine like the bench's that ends after `micros`, while a batch of `bench`'s URLs runs on it.
fn cut_short<R: Send>(bench: &Bench, micros: u64, run: impl FnOnce(&Client) -> R + Send) -> R {
    let driver = match bench.engine.driver() {
        DriverKind::IoUring => DriverChoice::IoUring,
        DriverKind::Epoll => DriverChoice::Epoll,
    };
    let cores = Cores::Count(bench.engine.cores());
    let engine = Engine::builder().cores(cores).driver(driver).build().unwrap();
    let client = engine.client().build().unwrap();
    thread::scope(|scope| {
        let run = scope.spawn(|| run(&client));
        thread::sleep(Duration::from_micros(micros));
        engine.shutdown().unwrap();
        run.join().unwrap()
    })
}

#[test]
fn each_input_is_counted_once_when_its_core_ends() {
    on_each(|bench| {
        let (quick, slow) = (bench.url("/"), bench.url("/delay/2"));
        let urls = || {
            let (quick, slow) = (quick.clone(), slow.clone());
            counted((0_u64..).map(move |n| if n % 7 == 0 { slow.clone() } else { quick.clone() }))
        };
        for round in 0..12 {
            let micros = round * round * 150;
            let (pulled, inputs) = urls();
            let called = Arc::new(AtomicUsize::new(0));
            let calls = Arc::clone(&called);
            let summary = cut_short(bench, micros, |client| {
                block_on(client.batch(inputs).for_each(move |_, _| {
                    calls.fetch_add(1, Ordering::SeqCst);
                }))
            });
            let pulled = pulled.load(Ordering::SeqCst) as u64;
            assert_eq!(summary.ok + summary.failed(), pulled, "{summary}");
            assert!(called.load(Ordering::SeqCst) as u64 <= pulled);
            let (pulled, inputs) = urls();
            let folded = cut_short(bench, micros, |client| {
                let count = |sum: &mut usize, _: Done| *sum += 1;
                block_on(client.batch(inputs).fold_per_core(|| 0, count, |one, other| one + other))
            });
            assert_eq!(folded, pulled.load(Ordering::SeqCst));
        }
    });
}

/// A core that goes without a word, with what is on its way and what it did not begin.
#[test]
fn a_core_that_vanishes_calls_for_each_input() {
    let origin = Origin::start(&Config::on_loopback()).unwrap();
    let driver = Epoll::open(Limits { slots: 16 }).unwrap();
    let mut solo = Solo::new(driver, 16, ringshot::clock::Instant::now()).unwrap();
    let client = solo.engine().client().max_conns(16).build().unwrap();
    let (pulled, urls) = counted(std::iter::repeat(origin.url("/hang")));
    let called = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&called);
    let batch = client.batch(urls).window(count(20));
    let summary = thread::spawn(move || {
        block_on(batch.for_each(move |_, done| {
            assert_eq!(done.result.unwrap_err().kind().name(), "shutdown");
            calls.fetch_add(1, Ordering::SeqCst);
        }))
    });
    let begun = Instant::now();
    while origin.counters().in_progress < 16 && begun.elapsed() < RUN_MAX {
        solo.turn(Duration::from_millis(5), &mut ringshot::clock::Instant::now).unwrap();
    }
    drop(solo);
    let summary = summary.join().unwrap();
    // One more stands for all that the core had not heard of.
    assert_eq!((pulled.load(Ordering::SeqCst), called.load(Ordering::SeqCst)), (21, 20));
    assert_eq!((summary.ok, summary.errors["shutdown"]), (0, 21), "{summary}");
}
