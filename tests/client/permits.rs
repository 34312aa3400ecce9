//! `max_in_flight`, as a server counts it, and who keeps a permit: http-client.md A5, client-api.md E1.

use std::sync::{Arc, Mutex};

use ringshot::client::{Attempt, Retry, Timeouts, TotalFrom};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{LONG, OK, Started, check, check_on, get, millis, origin};

fn check_in_flight(cores: usize, limit: u32) {
    check_on(
        cores,
        |builder| builder.max_in_flight(limit),
        |access| {
            let origin = origin();
            let start =
                |n: usize| access.start_on(n % access.engine.cores(), get(&origin.url("/delay/4")));
            let started: Vec<_> = (0..40).map(start).collect();
            for request in started {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            let most = origin.counters().most_in_progress;
            assert!(most <= u64::from(limit), "{most} of {limit}");
            assert!(access.client.limits_observed().in_flight.unwrap() <= limit);
        },
    );
}

/// A server that answers after 50 ms, `/hop` with a redirect and the first `/busy` with 503, and the paths that it was asked for in turn.
fn recording() -> (Peer, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let paths = Arc::clone(&asked);
    let peer = Peer::start(move |mut peer| {
        while let Some(request) = peer.request() {
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            let mut paths = paths.lock().unwrap();
            let again = paths.contains(&path);
            paths.push(path.clone());
            drop(paths);
            std::thread::sleep(millis(50));
            peer.send(match path.as_str() {
                "/hop" => "HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n",
                "/busy" if !again => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
                _ => OK,
            });
        }
    });
    (peer, asked)
}

/// First come, first served, however many hops that takes; and whoever waits to be sent again comes back before those that were not sent at all.
fn check_order(first: &str, expected: [&str; 4]) {
    let retry = || {
        let busy = |attempt: &Attempt<'_>| attempt.status().is_some_and(|status| status == 503);
        Retry::budget(1.0).backoff(millis(10)..millis(20)).on(busy)
    };
    check(
        |builder| builder.max_in_flight(1).retry(retry()),
        |access| {
            let (peer, asked) = recording();
            let start = |path: &str| {
                let url = format!("http://{}{path}", peer.address());
                access.start(get(&url).redirects(1))
            };
            let first = start(first);
            access.wait_for(1, |core| core.holding.active.into());
            let second = start("/second");
            access.wait_for(1, |core| core.holding.queued.into());
            let third = start("/third");
            access.wait_for(2, |core| core.holding.queued.into());
            for request in [first, second, third] {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            assert_eq!(*asked.lock().unwrap(), expected);
            access.wait_for(0, |core| core.holding.in_flight.into());
            // Its permit came back.
            assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
        },
    );
}

#[test]
fn a_redirect_keeps_its_permit() {
    check_order("/hop", ["/hop", "/end", "/second", "/third"]);
}

#[test]
fn a_retry_comes_before_those_that_had_no_permit() {
    check_order("/busy", ["/busy", "/second", "/busy", "/third"]);
}

/// A total timeout that counts from the first connection is not spent in the queue by requests that hold a permit.
#[test]
fn who_is_redirected_waits_once() {
    let from_connection = Timeouts {
        total: Some(millis(400)),
        total_from: TotalFrom::Acquire,
        ..Timeouts::default()
    };
    check(
        |builder| builder.max_in_flight(2).timeouts(from_connection),
        |access| {
            let origin = origin();
            let url = origin.url("/redirect/1?delay=20");
            let start = |_| access.start(get(&url).redirects(1));
            let started: Vec<_> = (0..40).map(start).collect();
            for request in started {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            assert!(origin.counters().most_in_progress <= 2);
        },
    );
}

#[test]
fn requests_in_flight_are_limited() {
    for limit in [1, 3, 16] {
        check_in_flight(1, limit);
        check_in_flight(2, limit);
    }
}

/// Requests that wait to be sent again, on two cores, while others hold all permits: neither core wakes the other for nothing.
#[test]
fn who_waits_for_a_permit_again_keeps_no_core_awake() {
    let busy = |attempt: &Attempt<'_>| attempt.status().is_some_and(|status| status == 503);
    let retry = || Retry::budget(1.0).attempts(99).backoff(millis(300)..millis(301)).on(busy);
    check_on(
        2,
        |builder| builder.max_in_flight(2).retry(retry()),
        |access| {
            let (origin, cores) = (origin(), access.engine.cores());
            let start = |path: &str| -> Vec<_> {
                let url = origin.url(path);
                (0..2).map(|n| access.start_on(n % cores, get(&url))).collect()
            };
            let again = start("/status/503");
            // Both are back from the origin, and their permits are free.
            assert!(wait_until(LONG, || origin.counters().served >= 2));
            let hold = start("/hang");
            access.wait_for(2, |core| core.holding.queued.into());
            let turns = || access.total(|core| core.turns.iter().sum());
            let before = turns();
            std::thread::sleep(millis(300));
            assert!(turns() - before < 100, "{} turns", turns() - before);
            again.into_iter().chain(hold).for_each(Started::cancel);
            access.wait_empty();
        },
    );
}
