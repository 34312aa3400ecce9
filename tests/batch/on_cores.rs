//! Results that are used on the core that got them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringshot::client::{ClientBuilder, Done, blocking::block_on};
use ringshot_tests::engines::{on_each, on_each_with};
use ringshot_tests::load::RUN_MAX;
use ringshot_tests::watch::wait_until;

use crate::count;

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
fn a_core_that_is_kept_busy_keeps_no_credits_from_the_others() {
    on_each(|bench| {
        if bench.engine.cores() < 2 {
            return;
        }
        let urls = std::iter::repeat_n(bench.url("/"), 400);
        let (called, at_waking) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (calls, waking) = (Arc::clone(&called), Arc::clone(&at_waking));
        let batch = bench.client.batch(urls).window(count(20));
        let summary = block_on(batch.for_each(move |_, _| {
            if calls.fetch_add(1, Ordering::SeqCst) == 5 {
                let most = || calls.load(Ordering::SeqCst) >= 400 - 20;
                wait_until(RUN_MAX / 4, most);
                waking.store(calls.load(Ordering::SeqCst), Ordering::SeqCst);
            }
        }));
        assert_eq!((summary.ok, called.load(Ordering::SeqCst)), (400, 400));
        // All but what was on its way on the core that was busy.
        assert!(at_waking.load(Ordering::SeqCst) >= 400 - 20, "{at_waking:?}");
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
