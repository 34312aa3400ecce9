//! How fast inputs are pulled: windows, pauses, barriers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringshot::client::blocking::block_on;
use ringshot_tests::engines::on_each;
use ringshot_tests::load::RUN_MAX;
use ringshot_tests::watch::wait_until;

use crate::{count, counted, is_ok, rest};

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
