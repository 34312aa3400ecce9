//! Batches against the built-in origin: on both drivers, on one core and on two. Each batch leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ringshot::client::batch::{Completed, Ordered};
use ringshot::client::{
    Client, ClientBuilder, Cores, Done, Engine, Error, Fetched, Kind, Request, Target, TimeoutKind,
    Timeouts, TotalFrom, blocking::block_on,
};
use ringshot::driver::{DriverChoice, DriverKind};
use ringshot::origin::{Config, Origin};
use ringshot::queue;
use ringshot::sys::affinity;
use ringshot_tests::load::{RUN_MAX, drivers, next_core};
use ringshot_tests::watch::wait_until;

struct Bench {
    engine: Engine,
    client: Client,
    origin: Arc<Origin>,
    stopped: AtomicBool,
}

/// Runs `check` on each driver, with one core and with two, within a time; and finds nothing left behind.
fn on_each(check: fn(&Bench)) {
    on_each_with(|builder| builder, check);
}

fn on_each_with(limits: fn(ClientBuilder) -> ClientBuilder, check: fn(&Bench)) {
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
                ringshot_tests::watch::announce(&format!("failed on {driver}, {cores} cores"));
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
    // On epoll it hears the end of a connection before it accepts the next: what it counts is the client's own count.
    let origin_driver = DriverKind::Epoll;
    let config =
        Config { driver: origin_driver, cores: vec![next_core()], ..Config::on_loopback() };
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
    fn url(&self, path: &str) -> String {
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

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn is_ok(result: &Result<Fetched, Error>) -> bool {
    result.as_ref().is_ok_and(|response| response.status() == 200)
}

/// The rest of a batch's results, as they come.
fn rest<T: Send + 'static>(completed: Completed<T>) -> Vec<Done<T>> {
    completed.into_blocking().collect()
}

/// An iterator that counts what was pulled.
fn counted<I: Iterator>(items: I) -> (Arc<AtomicUsize>, impl Iterator<Item = I::Item> + use<I>) {
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let counts = items.inspect(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (pulled, counts)
}

#[test]
fn results_are_in_the_order_of_the_inputs() {
    on_each(|bench| {
        let paths = (0..300).map(|n| bench.url(&format!("/bytes/{n}")));
        let urls: Vec<String> = paths.collect();
        let results = block_on(bench.client.batch(urls).collect());
        assert_eq!(results.len(), 300);
        for (n, result) in results.iter().enumerate() {
            assert_eq!(result.as_ref().unwrap().bytes().len(), n);
        }
        assert!(bench.origin.counters().most_in_progress <= 100);
    });
}

#[test]
fn one_in_twenty_hangs_and_the_others_get_through_within_the_limits() {
    // 50 hang and 30 may at a time: whoever waits for a permit is not timed.
    let limits = |builder: ClientBuilder| {
        let total = Some(Duration::from_secs(1));
        let timeouts = Timeouts { total, total_from: TotalFrom::Acquire, ..Timeouts::default() };
        builder.max_conns_per_host(30).max_in_flight(30).timeouts(timeouts)
    };
    on_each_with(limits, |bench| {
        let path = |n: u32| if n % 20 == 7 { "/hang".into() } else { format!("/bytes/{n}") };
        let urls: Vec<_> = (0..1000).map(|n| bench.url(&path(n))).collect();
        let began = Instant::now();
        let results = block_on(bench.client.batch(urls).window(count(500)).collect());
        let took = began.elapsed();
        check_one_in_twenty(bench, &results, |n, response| response.bytes().len() == n);
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(9), "{took:?}");
        assert!(bench.client.limits_observed().conns_per_host <= 30);
        let counters = bench.origin.counters();
        assert!(counters.most_open <= 30 && counters.most_in_progress <= 30, "{counters:?}");
    });
}

/// Every twentieth timed out and says which it was; the others are as they should.
fn check_one_in_twenty(
    bench: &Bench,
    results: &[Result<Fetched, Error>],
    good: impl Fn(usize, &Fetched) -> bool,
) {
    assert_eq!(results.len(), 1000);
    for (n, result) in results.iter().enumerate() {
        match result {
            Ok(response) => assert!(n % 20 != 7 && good(n, response), "{n}: {response:?}"),
            Err(error) => {
                assert_eq!(n % 20, 7, "{error}");
                assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Total)), "{error}");
                assert_eq!(error.url(), Some(&*bench.url("/hang")));
            }
        }
    }
    assert_eq!(results.iter().filter(|result| is_ok(result)).count(), 950);
}

#[test]
fn with_room_for_all_that_hang_950_of_1000_are_ok() {
    let limits = |builder: ClientBuilder| builder.timeout(Duration::from_secs(1));
    on_each_with(limits, |bench| {
        let path = |n: u32| if n % 20 == 7 { "/hang" } else { "/" };
        let urls: Vec<_> = (0..1000).map(|n| bench.url(path(n))).collect();
        let began = Instant::now();
        let results = block_on(bench.client.batch(urls).collect());
        let took = began.elapsed();
        check_one_in_twenty(bench, &results, |_, response| response.bytes().len() == 13);
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(6), "{took:?}");
    });
}

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
fn a_slow_consumer_stops_the_pulling_but_not_what_is_in_flight() {
    on_each(|bench| {
        let url = bench.url("/");
        let (pulled, urls) = counted(std::iter::repeat_n(url, 2000));
        let mut completed = bench.client.batch(urls).window(count(20)).completed();
        let mut consumed = 0;
        assert!(wait_until(RUN_MAX / 4, || bench.origin.counters().served == 20));
        while let Some(done) = block_on(completed.next()) {
            assert!(is_ok(&done.result));
            consumed += 1;
            if consumed % 100 == 0 {
                // All that is in flight ends without the consumer.
                let idle = || bench.origin.counters().in_progress == 0;
                assert!(wait_until(RUN_MAX / 4, idle));
            }
            assert!(pulled.load(Ordering::SeqCst) <= consumed + 20);
        }
        assert_eq!((consumed, pulled.load(Ordering::SeqCst)), (2000, 2000));
    });
}

#[test]
fn a_closure_that_panics_concerns_its_own_input() {
    on_each(|bench| {
        let urls: Vec<_> = (0..200).map(|n| (n, bench.url("/bytes/3"))).collect();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = Arc::clone(&seen);
        let batch = bench.client.batch(urls).window(count(30));
        let summary = block_on(batch.for_each(move |_, done| {
            assert_ne!(done.tag, 77, "as the test wants it");
            sees.lock().unwrap().push(done.tag);
        }));
        assert_eq!((summary.ok, summary.failed(), summary.errors["user"]), (199, 1, 1));
        assert_eq!(summary.bytes, 3 * 199);
        let latency = summary.latency;
        assert!(latency.p50 > Duration::ZERO && latency.p50 <= latency.max, "{summary}");
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        assert!(seen.into_iter().eq((0..200).filter(|n| *n != 77)));
    });
}

#[test]
fn folding_keeps_to_the_cores() {
    on_each(|bench| {
        // Slow enough that a core which comes late finds something to do.
        let urls = std::iter::repeat_n(bench.url("/bytes/10?delay=50"), 200);
        let f = |sum: &mut (u64, Vec<usize>), done: Done| {
            let response = done.result.unwrap();
            sum.0 += response.bytes().len() as u64;
            sum.1.push(response.connection().core);
        };
        let merge = |(bytes, mut cores): (u64, Vec<usize>), other: (u64, Vec<usize>)| {
            assert!(other.1.iter().all(|core| !cores.contains(core)), "a part comes from one core");
            cores.extend(other.1);
            (bytes + other.0, cores)
        };
        let fold = bench.client.batch(urls).fold_per_core(|| (0, Vec::new()), f, merge);
        let (bytes, cores) = block_on(fold);
        assert_eq!((bytes, cores.len()), (2000, 200));
        let mut used = cores.clone();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), bench.engine.cores(), "one host spreads over all cores");
    });
}

#[test]
fn small_limits_keep_a_batch_to_few_cores() {
    let limits = |builder: ClientBuilder| builder.max_conns_per_host(1);
    on_each_with(limits, |bench| {
        let urls = std::iter::repeat_n(bench.url("/"), 100);
        let cores = bench.client.batch(urls).fold_per_core(
            Vec::new,
            |cores, done| cores.push(done.result.unwrap().connection().core),
            |mut one, other| {
                one.extend(other);
                one
            },
        );
        let cores = block_on(cores);
        assert_eq!(cores.len(), 100);
        assert!(cores.iter().all(|core| *core == cores[0]));
        assert_eq!(bench.origin.counters().most_open, 1);
    });
}

#[test]
fn each_error_names_its_url() {
    on_each(|bench| {
        let paths = ["/abort", "/truncate/10", "/reset", "/bytes/100000"];
        let urls: Vec<_> = paths.iter().map(|path| bench.url(path)).collect();
        let mut completed = bench.client.batch(urls.clone()).max_body(1000).completed();
        let mut kinds = [""; 4];
        while let Some(done) = block_on(completed.next()) {
            let error = done.result.unwrap_err();
            assert_eq!(error.url(), Some(&*urls[done.index as usize]), "{error}");
            kinds[done.index as usize] = error.kind().name();
        }
        assert_eq!((kinds[0], kinds[1], kinds[3]), ("closed", "truncated", "limit"));
        assert!(["io", "truncated"].contains(&kinds[2]), "{kinds:?}");
    });
}

#[test]
fn inputs_are_requests_urls_or_errors_with_tags_or_without() {
    on_each(|bench| {
        let url = bench.url("/echo");
        let target: Target = url.parse().unwrap();
        let post =
            || Request::new(http::Method::POST, &target).map(|request| request.body("hello"));
        let mixed = vec![post(), Request::get("ftp://nowhere/"), Request::get(&url)];
        let results = block_on(bench.client.batch(mixed).collect());
        assert_eq!(results[0].as_ref().unwrap().bytes(), "hello");
        assert_eq!(results[1].as_ref().unwrap_err().kind().name(), "url");
        assert!(is_ok(&results[2]));
        for results in [
            block_on(bench.client.batch([target.clone()]).collect()),
            block_on(bench.client.batch([post().unwrap()]).collect()),
            block_on(bench.client.batch([("tag", &*url.clone().leak())]).collect()),
            block_on(bench.client.batch([bench.client.get(&url).build()]).collect()),
        ] {
            assert!(is_ok(&results[0]), "{results:?}");
        }
        let redirected = block_on(bench.client.batch([bench.url("/redirect/3")]).collect());
        assert_eq!(redirected[0].as_ref().unwrap().redirects(), 3);
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
fn a_pause_stops_the_pulling_alone() {
    on_each(|bench| {
        let (pulled, urls) = counted(std::iter::repeat_n(bench.url("/delay/1"), 200));
        let mut completed = bench.client.batch(urls).window(count(10)).completed();
        for _ in 0..20 {
            assert!(block_on(completed.next()).is_some());
        }
        completed.pause();
        // What a core pulls at this moment is still served.
        let mut last = 0;
        let steady = || std::mem::replace(&mut last, pulled.load(Ordering::SeqCst)) == last;
        thread::sleep(Duration::from_millis(20));
        assert!(wait_until(RUN_MAX / 4, steady));
        let paused = pulled.load(Ordering::SeqCst);
        for _ in 20..paused {
            assert!(block_on(completed.next()).is_some());
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(pulled.load(Ordering::SeqCst), paused);
        completed.resume();
        assert_eq!(rest(completed).len(), 200 - paused);
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
fn an_ordered_stream_waits_for_the_slow_with_a_bounded_buffer() {
    on_each(|bench| {
        let slow = bench.url("/delay/150");
        let quick = bench.url("/");
        let urls = (0..400).map(move |n| if n % 100 == 0 { slow.clone() } else { quick.clone() });
        let (pulled, urls) = counted(urls.enumerate());
        let mut ordered = bench.client.batch(urls).window(count(10)).ordered(count(20));
        for n in 0..400 {
            let done = block_on(ordered.next()).unwrap();
            assert_eq!((done.index, done.tag), (n as u64, n));
            assert!(is_ok(&done.result));
            assert!(pulled.load(Ordering::SeqCst) <= n + 1 + 10 + 20);
        }
        assert!(block_on(ordered.next()).is_none());
    });
}

#[test]
fn a_queue_is_pulled_as_a_stream_and_its_items_are_done_with_their_results() {
    on_each(|bench| {
        let (sender, receiver) = queue::bounded(count(2));
        let sent = Arc::new(AtomicU64::new(0));
        let (url, sends) = (bench.url("/"), Arc::clone(&sent));
        let producer = thread::spawn(move || {
            for n in 0..300_u64 {
                block_on(sender.send((n, url.clone()))).unwrap();
                sends.fetch_add(1, Ordering::SeqCst);
            }
            block_on(sender.joined());
        });
        let mut completed = bench.client.batch(receiver).window(count(8)).completed();
        let mut seen = vec![false; 300];
        for consumed in 1..=300 {
            let done = block_on(completed.next()).unwrap();
            let (n, ticket) = done.tag;
            assert!(!std::mem::replace(&mut seen[n as usize], true));
            // Pulled at most, in the queue, and the one that waits to be.
            assert!(sent.load(Ordering::SeqCst) <= consumed + 8 + 2);
            drop(ticket);
        }
        producer.join().unwrap();
        assert!(block_on(completed.next()).is_none());
    });
}

#[test]
fn empty_inputs_and_a_window_of_one() {
    on_each(|bench| {
        assert!(block_on(bench.client.batch(Vec::<String>::new()).collect()).is_empty());
        assert!(rest(bench.client.batch(Vec::<String>::new()).completed()).is_empty());
        let nothing = bench.client.batch(Vec::<String>::new());
        assert_eq!(block_on(nothing.for_each(|_, _| {})).ok, 0);
        let nothing = bench.client.batch(Vec::<String>::new());
        assert_eq!(block_on(nothing.fold_per_core(|| 1, |_, _| {}, |one, _| one)), 1);
        let urls = || std::iter::repeat_n(bench.url("/"), 50);
        let one = NonZeroUsize::MIN;
        assert_eq!(block_on(bench.client.batch(urls()).window(one).collect()).len(), 50);
        assert_eq!(rest(bench.client.batch(urls()).window(one).completed()).len(), 50);
        let summary = block_on(bench.client.batch(urls()).window(one).for_each(|_, _| {}));
        assert_eq!(summary.ok, 50);
        assert_eq!(bench.origin.counters().most_in_progress, 1);
        let ordered = bench.client.batch(urls()).window(one).ordered(one);
        assert_eq!(count_of(ordered), 50);
    });
}

fn count_of(mut ordered: Ordered<()>) -> u64 {
    let mut next = 0;
    while let Some(done) = block_on(ordered.next()) {
        assert_eq!(done.index, next);
        next += 1;
    }
    next
}

#[test]
fn a_barrier_waits_for_the_slowest() {
    on_each(|bench| {
        let served = Arc::new(Mutex::new(Vec::new()));
        let sees = Arc::clone(&served);
        let (slow, quick) = (bench.url("/delay/30"), bench.url("/"));
        let origin = Arc::clone(&bench.origin);
        let urls = (0..40).map(move |n| {
            // What was answered when an input is pulled; all of the lots before its own.
            sees.lock().unwrap().push(origin.counters().served);
            if n % 10 == 0 { slow.clone() } else { quick.clone() }
        });
        let results = block_on(bench.client.batch(urls).barrier(count(10)).collect());
        assert!(results.iter().all(is_ok));
        for (n, served) in served.lock().unwrap().iter().enumerate() {
            // The origin tells its count a moment after its answer.
            let before = (n / 10 * 10) as u64;
            assert!((before.saturating_sub(1)..before + 10).contains(served), "{n}: {served}");
        }
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
        let hang = std::iter::repeat(bench.url("/hang"));
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
        assert_eq!(all.len(), 300);
        for done in all {
            let error = done.result.unwrap_err();
            assert_eq!(error.kind().name(), "shutdown", "{error}");
            assert_eq!(error.url(), Some(&*bench.url("/hang")));
        }
        assert!(rest(waits).is_empty());
        let collected = collects.join().unwrap();
        assert!(collected.iter().all(|result| !is_ok(result)));
        let late = bench.client.batch(vec![bench.url("/"); 3]);
        assert!(rest(late.completed()).is_empty(), "nothing is pulled");
        let late = bench.client.batch(vec![bench.url("/"); 3]);
        let summary = block_on(late.for_each(|_, _| {}));
        assert_eq!((summary.ok, summary.failed()), (0, 0));
        bench.stopped.store(true, Ordering::SeqCst);
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
                    let mut cx = std::task::Context::from_waker(waker);
                    assert!(collect.as_mut().poll(&mut cx).is_pending());
                    thread::sleep(Duration::from_micros(round * 53 % 5000));
                }
                _ => drop(batch.ordered(count(3))),
            }
        }
    });
}
