//! What comes of each input, and in which order.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringshot::client::batch::Ordered;
use ringshot::client::{
    ClientBuilder, Error, Fetched, Kind, Request, Target, TimeoutKind, Timeouts, TotalFrom,
    blocking::block_on,
};
use ringshot::queue;
use ringshot_tests::engines::{Bench, on_each, on_each_with};

use crate::{count, counted, is_ok, rest};

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
        assert!(counters.most_in_progress <= 30, "{counters:?}");
        // One that timed out is closed, then replaced: an origin may accept the new one before it hears the end of the old (`Counters`).
        assert!(counters.most_open <= 2 * 30, "{counters:?}");
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
