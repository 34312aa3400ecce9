//! Connections that nginx ends: when idle, or after so many requests.

use std::time::{Duration, Instant};

use ringshot::client::{Reuse, Timeouts};
use ringshot_tests::servers::{Nginx, Settings};
use ringshot_tests::watch::wait_until;

use super::record::{Made, check_made, connections, record};
use super::rig::{Case, Rig, SOON, Way, each, each_at_once, get, post};

/// Around the second after which nginx ends an idle connection.
const PAUSES_MILLIS: [u64; 5] = [1000, 900, 1001, 1100, 998];

/// `GET`s, and a `POST` among `posts_each` of them, all at once.
pub(crate) fn burst(
    rig: &Rig,
    url: &str,
    ids: std::ops::Range<usize>,
    posts_each: usize,
) -> Vec<Made> {
    let named =
        |number: usize| (format!("{}.{number}.", rig.case), number.is_multiple_of(posts_each));
    let request = |number| {
        let (id, is_post) = named(number);
        let url = format!("{url}?id={id}");
        if is_post { post(&url, b"once".to_vec()) } else { get(&url) }
    };
    let outcomes = rig.fetch_all(ids.clone().map(request).collect());
    let made = ids.zip(outcomes).map(|(number, outcome)| {
        let (id, is_post) = named(number);
        Made { id, is_post, outcome }
    });
    made.collect()
}

#[test]
fn idle_connections_that_the_server_ends_cost_no_request() {
    let settings = Settings { keepalive_timeout: "1s", ..Settings::default() };
    let Some(nginx) = Nginx::start_with(settings) else { return };
    each_at_once(|case| check_pauses(&nginx, case));
}

fn check_pauses(nginx: &Nginx, case: Case) {
    let reuse = if case.way == Way::Local { Reuse::Lifo } else { Reuse::Fifo };
    let timeouts = Timeouts { total: Some(SOON), ..Timeouts::default() };
    let rig =
        Rig::new(case, |client| client.max_conns_per_host(24).reuse(reuse).timeouts(timeouts));
    let (url, mut made) = (nginx.url("/early"), Vec::new());
    let mut next = 0..;
    let mut some = |count: usize| {
        let first = next.by_ref().nth(count - 1).unwrap() + 1 - count;
        first..first + count
    };
    for pause in PAUSES_MILLIS {
        made.extend(burst(&rig, &url, some(48), 6));
        std::thread::sleep(Duration::from_millis(pause - 3));
        // A few at a time, so that some leave in the very moment in which their connection ends.
        for _ in 0..6 {
            made.extend(burst(&rig, &url, some(4), 6));
            std::thread::sleep(Duration::from_micros(700));
        }
    }
    let record = record(nginx, &format!("{case}."), made.len() * 9 / 10);
    check_made(&made, &record, |_| false);
    let failed = made.iter().filter(|made| made.outcome.is_err()).count();
    assert!(failed <= made.len() / 20, "{case}: {failed} of {} failed", made.len());
    rig.check_at_rest();
    assert!(rig.count(|counters| counters.evicted) > 0, "{case}: none was ended");
}

#[test]
fn connections_that_take_ten_requests() {
    let settings = Settings { keepalive_requests: 10, ..Settings::default() };
    let Some(nginx) = Nginx::start_with(settings) else { return };
    each_at_once(|case| {
        let rig = Rig::new(case, |client| client.max_conns_per_host(8));
        let made: Vec<_> =
            (0..5).flat_map(|n| burst(&rig, &nginx.url("/204"), 60 * n..60 * (n + 1), 3)).collect();
        let record = record(&nginx, &format!("{case}."), made.len());
        assert_eq!(record.len(), made.len(), "{case}");
        check_made(&made, &record, |_| false);
        assert!(record.iter().all(|seen| seen.number <= 10));
        assert!(connections(&record) >= made.len() / 10);
        // The server's count of requests on used connections, and ours.
        let reused = record.iter().filter(|seen| seen.number > 1).count() as u64;
        let ours = || (rig.count(|c| c.reused), rig.count(|c| c.responses));
        let equal = || ours() == (reused, made.len() as u64);
        assert!(wait_until(SOON, equal), "{case}: {reused} reused, by our count {:?}", ours());
        assert!(rig.count(|c| c.connected) >= connections(&record) as u64);
        rig.check_at_rest();
    });
}

/// A core sleeps for up to a second while nothing comes.
#[test]
fn a_core_that_sleeps_is_seen_as_it_is_and_ends_at_once() {
    let Some(nginx) = Nginx::start() else { return };
    each(|case| {
        let rig = Rig::new(case, |client| client);
        let mut slow = 0;
        // Now and then this machine is busy; a core that were late would be so every time.
        for _ in 0..5 {
            rig.fetch_all(vec![get(&nginx.url("/small"))]).remove(0).unwrap();
            let start = Instant::now();
            rig.check_at_rest();
            slow += usize::from(start.elapsed() > Duration::from_millis(300));
        }
        assert!(slow < 5, "{case}");
        let start = Instant::now();
        rig.engine.shutdown().unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{case}: {:?}", start.elapsed());
    });
}
