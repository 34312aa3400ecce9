//! The total timeout: what it covers, from when it counts, and what it says it was waiting for (http-client.md A6).

use std::time::Instant;

use crate::access::{LONG, check, get, millis, origin};
use crate::timeouts::{
    SHORT, assert_timeout, check_behind, check_full, check_hang, check_silent, with,
};
use ringshot::client::{ClientBuilder, Phase, Retry, Sent, TimeoutKind, Timeouts, TotalFrom};

#[test]
fn total_of_a_server_that_hangs() {
    check_hang(with(|all| all.total = Some(SHORT)), TimeoutKind::Total, Phase::Head, Sent::All);
    let from_connection = |all: &mut Timeouts| {
        (all.total, all.total_from) = (Some(SHORT), TotalFrom::Acquire);
    };
    check_hang(with(from_connection), TimeoutKind::Total, Phase::Head, Sent::All);
}

#[test]
fn total_while_waiting() {
    let total = with(|all| all.total = Some(SHORT));
    let one = |builder: ClientBuilder| total(builder.max_conns_per_host(1));
    check_behind(one, TimeoutKind::Total, Phase::Acquire);
    check_behind(|builder| total(builder.max_in_flight(1)), TimeoutKind::Total, Phase::Queue);
}

/// From the connection on: what waits for one, or for a permit, has all the time in the world.
#[test]
fn total_from_the_connection() {
    let total = with(|all| (all.total, all.total_from) = (Some(SHORT * 4), TotalFrom::Acquire));
    let limits: [fn(ClientBuilder) -> ClientBuilder; 3] = [
        |builder| builder.max_conns_per_host(1),
        |builder| builder.max_conns(1),
        |builder| builder.max_in_flight(1),
    ];
    for limit in limits {
        check(
            |builder| total(limit(builder)),
            |access| {
                let origin = origin();
                let start = |_| access.start(get(&origin.url("/delay/150")));
                let started: Vec<_> = (0..4).map(start).collect();
                let begun = Instant::now();
                started.into_iter().for_each(|request| drop(request.outcome().unwrap()));
                assert!(begun.elapsed() > SHORT * 4);
            },
        );
    }
}

/// The making of its connection has timeouts of its own.
#[test]
fn total_from_the_connection_leaves_its_dial_alone() {
    let total = with(|all| {
        (all.total, all.total_from) = (Some(millis(10)), TotalFrom::Acquire);
        (all.resolve, all.connect) = (Some(SHORT), Some(SHORT));
    });
    check_silent(&total, TimeoutKind::Resolve);
    check_full(&total, TimeoutKind::Connect);
}

/// One total for a chain of redirects, from wherever it counts: they are one request.
#[test]
fn total_over_redirects() {
    for from in [TotalFrom::Submit, TotalFrom::Acquire] {
        check(with(|all| (all.total, all.total_from) = (Some(SHORT), from)), |access| {
            let (origin, begun) = (origin(), Instant::now());
            let url = origin.url("/redirect/8?delay=30");
            let error = access.fetch(get(&url).redirects(10)).unwrap_err();
            // On a machine that stalls, the third response is seen together with the deadline, just before it.
            assert!(matches!(error.phase(), Phase::Head | Phase::Queue), "{error}");
            assert_timeout(&error, TimeoutKind::Total, error.phase(), Sent::All);
            assert!(begun.elapsed() < LONG);
        });
    }
}

/// A wait that would outlast the total timeout is not waited: what there is, is the outcome.
#[test]
fn total_is_not_slept_through() {
    let total = with(|all| all.total = Some(SHORT * 4));
    check(
        |builder| total(builder.retry(Retry::budget(1.0).on(|_| true))),
        |access| {
            let begun = Instant::now();
            let response = access.get(&origin().url("/retry-after/5")).unwrap();
            assert_eq!((response.status().as_u16(), response.attempts()), (503, 1));
            assert!(begun.elapsed() < millis(2_000), "{:?}", begun.elapsed());
        },
    );
}

/// What the total timeout ends says what it was waiting for: a limit of the caller's it is only where one is reached.
#[test]
fn total_of_a_dial() {
    let total = || with(|all| all.total = Some(SHORT));
    check_silent(total(), TimeoutKind::Total);
    check_full(total(), TimeoutKind::Total);
}

#[test]
fn total_in_the_body() {
    check(with(|all| all.total = Some(SHORT)), |access| {
        let error = access.get(&origin().url("/stream/1000/10/20")).unwrap_err();
        assert_timeout(&error, TimeoutKind::Total, Phase::Body, Sent::All);
    });
}
